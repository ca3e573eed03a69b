"""CIFAR-10-P (Hendrycks & Dietterich 2019): images that change a little from frame to frame, and how often a
prediction flips.

The ten sequences that the flip rate is averaged over, regenerated. Rotation, scale and zoom follow Pillow,
motion blur ImageMagick's formula, tilt OpenCV's perspective without its rounding of places to 1/32 pixel.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch

from eplib import corruption_random
from eplib import corruption_tools as tools
from eplib.checks import InputError, one_of
from eplib.corruption_noise import normal, photons
from eplib.corruption_spatter import wet
from eplib.corruption_tools import SIDE
from eplib.corruptions import as_images, checked

CHUNK = 32  # images at a time
STEPS = range(-15, 16)  # of the sequences that pass through the image as it is


@dataclass(frozen=True)
class Sequence:
    """apply: (images float64 [N, 3, 32, 32], *draws) -> frames, a list of float64 [N, 3, 32, 32]. draw:
    (generator, image) -> tuple of arrays, or None.
    """

    frames: int
    apply: callable
    draw: callable = None


def sequence(images, name, ids, seed=0):
    """Images [N, 3, 32, 32] in [0, 1] -> frames [N, F, 3, 32, 32], quantised to 8 bits.

    name: one of `SEQUENCES`, which says how many frames F. ids, seed: as for `corruptions.corrupt`. Raises
    InputError for unknown names and for images of other sizes, types or ranges.
    """
    chosen = SEQUENCES[one_of("sequence", name, SEQUENCES)]
    ids = checked(images, ids)
    parts = [
        _frames(chosen, name, images[i : i + CHUNK], ids[i : i + CHUNK], seed)
        for i in range(0, len(images), CHUNK)
    ]
    return torch.cat(parts)


def flip_rates(predictions, name):
    """Flip probability of every image, float64 [N], from its predictions [N, F] on the frames of a sequence.

    The share of frames whose prediction differs from that of the frame before; of noise, whose frames do not
    follow from each other, from that of the first frame, the image itself. Raises InputError where the
    predictions are not [N, F].
    """
    frames = SEQUENCES[one_of("sequence", name, SEQUENCES)].frames
    if predictions.ndim != 2 or predictions.shape[1] != frames:
        raise InputError(
            f"predictions of shape {list(predictions.shape)}: give [N, {frames}], the frames of {name}"
        )
    before = predictions[:, :1] if name.endswith("noise") else predictions[:, :-1]
    return (predictions[:, 1:] != before).double().mean(1)


def _frames(chosen, name, images, ids, seed):
    x = tools.levels(images)
    draws = []
    if chosen.draw:
        arrays = corruption_random.drawn(chosen.draw, (), f"sequence {name}", 0, x.cpu().numpy(), ids, seed)
        draws = [tools.constant(array, x) for array in arrays]
    return torch.stack([as_images(tools.truncated(f), images) for f in chosen.apply(x, *draws)], 1)


def gaussian_noise(x, noise):
    return [x, *(x + 0.02 * noise[:, i] for i in range(30))]


def shot_noise(x, counts):
    return [x, *(counts[:, i] / 700 for i in range(30))]


def motion_blur(x):
    return [tools.motion(x, x.new_full((len(x),), 9.0 * i), 6, 1.8) for i in range(-20, 1)]


def zoom_blur(x):
    """Frame i is the mean of the image and its zooms by 1.004, 1.008, … 1 + 0.004 i."""
    frames, total = [x], x.clone()
    for i in range(1, 31):
        total += turned(x, 0, 1 + 0.004 * i)
        frames.append(total / (i + 1))
    return frames


def spatter(x, noise):
    """Water that runs down: four fifths of it move one row from frame to frame.

    One frame in fourteen has no water left, an image as it is; the original divides 0 by 0 there.
    """
    liquid = tools.along_both(0.6 + 0.265 * noise, tools.gaussian(1.75))
    liquid, frames = torch.where(liquid < 0.7, 0, liquid), []
    for _ in range(31):
        frames.append(wet(x, liquid, 0.6))
        moved = torch.nn.functional.pad(liquid, (0, 0, 1, 0))[:, :SIDE]
        liquid = 0.2 * liquid + 0.8 * moved
    return frames


def brightness(x):
    value, saturation, hue = tools.hue_saturation_value(x)
    return [(value + 0.015 * i).clamp(0, 1) * (1 - saturation * hue) for i in STEPS]


def translate(x):
    """From 7 pixels to the left to 8 to the right, black beyond the image."""
    rows, columns = (places.expand(len(x), -1, -1) for places in tools.grid(x))
    return [tools.sampled(x, rows, columns - i, "zeros") for i in range(-7, 9)]


def rotate(x):
    return [turned(x, i, 1) for i in STEPS]


def scale(x):
    return [turned(x, 0, (70 + 2 * i) / 100) for i in range(31)]


def turned(x, degrees, factor):
    """Images turned clockwise around their centre and scaled, linear between pixels, black outside."""
    rows, columns = (places - (SIDE - 1) / 2 for places in tools.grid(x))
    cosine, sine = (f(math.radians(degrees)) / factor for f in (math.cos, math.sin))
    down, right = cosine * rows - sine * columns, cosine * columns + sine * rows
    half = SIDE / 2
    inside = (down >= -half) & (down < half) & (right >= -half) & (right < half)
    places = ((offset + (SIDE - 1) / 2).expand(len(x), -1, -1) for offset in (down, right))
    return tools.truncated(tools.sampled(x, *places, "nearest") * inside)


def tilt(x):
    """The image's plane turned by 0.75 i degrees around both its axes, seen from a distance of 32 √2."""
    rows, columns = tools.grid(x)
    frames = []
    for i in STEPS:
        back = tools.constant(np.linalg.inv(_perspective(0.75 * i)), x)
        y, z, depth = (back[k, 0] * columns + back[k, 1] * rows + back[k, 2] for k in (1, 0, 2))
        places = ((place / depth).expand(len(x), -1, -1) for place in (y, z))
        frames.append(tools.rounded(tools.sampled(x, *places, "zeros")))
    return frames


def _perspective(degrees):
    """The projection [3, 3] of (column, row, 1), turned around the vertical, then the horizontal axis."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    half, focus = SIDE / 2, SIDE * 2**0.5
    # the 1 in the third row lifts the plane by one pixel, as in the original
    lift = np.array([[1, 0, -half], [0, 1, -half], [0, 0, 1], [0, 0, 1]])
    vertical = np.array([[c, 0, -s, 0], [0, 1, 0, 0], [s, 0, c, 0], [0, 0, 0, 1]])
    horizontal = np.array([[1, 0, 0, 0], [0, c, -s, 0], [0, s, c, 0], [0, 0, 0, 1]])
    away = np.eye(4)
    away[2, 3] = focus
    onto = np.array([[focus, 0, half, 0], [0, focus, half, 0], [0, 0, 1, 0]])
    return onto @ away @ horizontal @ vertical @ lift


def _thirty_normal(generator, image):
    return normal(generator, np.broadcast_to(image, (30, *image.shape)))


def _thirty_photons(generator, image):
    return photons(generator, np.broadcast_to(image, (30, *image.shape)), 700)


def _noise(generator, _):
    return (generator.standard_normal((SIDE, SIDE)),)


SEQUENCES = {
    "gaussian_noise": Sequence(31, gaussian_noise, _thirty_normal),
    "shot_noise": Sequence(31, shot_noise, _thirty_photons),
    "motion_blur": Sequence(21, motion_blur),
    "zoom_blur": Sequence(31, zoom_blur),
    "spatter": Sequence(31, spatter, _noise),
    "brightness": Sequence(31, brightness),
    "translate": Sequence(16, translate),
    "rotate": Sequence(31, rotate),
    "tilt": Sequence(31, tilt),
    "scale": Sequence(31, scale),
}

"""Weather of CIFAR-10-C (Hendrycks & Dietterich 2019, with their parameters for 32×32 pixels)."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from eplib import corruption_tools as tools
from eplib.checks import InputError
from eplib.corruption_tools import GREY, SIDE, Corruption

FROST = ("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg")
PLASMA_DRAWS = 3 * (4**5 - 1) // 3  # one for every pixel but the first of a 32×32 map


def brightness(x, amount):
    """V of hue, saturation and value raised by `amount`."""
    value, saturation, hue = tools.hue_saturation_value(x)
    return (value + amount).clamp(0, 1) * (1 - saturation * hue)


def fog(x, uniform, strength, decay):
    """Plasma clouds of weight `strength`, then scaled so that the brightest pixel keeps its value."""
    brightest = x.amax((1, 2, 3), keepdim=True)
    cloudy = x + strength * plasma(uniform, decay)[:, None]
    return cloudy * brightest / (brightest + strength)


def plasma(uniform, decay):
    """Clouds [N, 32, 32] from 0 to 1 by the diamond-square algorithm on a torus.

    uniform: [N, 1023] in [−1, 1), in the order of the algorithm: for step 32, 16, … 2 the centres of squares,
    then the edges' middles along rows, then along columns. Each is the mean of four neighbours plus w² ×
    uniform, w = 100 / decayᵏ in round k = 0, 1, …
    """
    clouds = uniform.new_zeros(len(uniform), SIDE, SIDE)
    step, width, used = SIDE, 100.0, 0

    def wobbled(total):
        nonlocal used
        count = total[0].numel()
        noise = uniform[:, used : used + count].view(total.shape)
        used += count
        return total / 4 + width**2 * noise

    while step >= 2:
        half = step // 2
        corners = clouds[:, ::step, ::step]
        pairs = corners + corners.roll(-1, 1)
        centres = wobbled(pairs + pairs.roll(-1, 2))
        clouds[:, half::step, half::step] = centres
        along_rows = centres + centres.roll(1, 1) + corners + corners.roll(-1, 2)
        clouds[:, ::step, half::step] = wobbled(along_rows)
        along_columns = centres + centres.roll(1, 2) + corners + corners.roll(-1, 1)
        clouds[:, half::step, ::step] = wobbled(along_columns)
        step, width = half, width / decay
    clouds = clouds - clouds.amin((1, 2), keepdim=True)
    return clouds / clouds.amax((1, 2), keepdim=True)


def _plasma_draws(generator, *_):
    return (generator.uniform(-1, 1, PLASMA_DRAWS),)


def frost(x, place, image_weight, frost_weight):
    """Image and a crop of a frost texture, added with these weights. place: [N, 3], which texture and the
    first row and column of the crop.
    """
    return image_weight * x + frost_weight * tools.constant(_crops(place.long().tolist()), x)


def _crops(places):
    textures = frost_textures()
    crops = [textures[t][row : row + SIDE, column : column + SIDE] for t, row, column in places]
    return np.stack(crops).transpose(0, 3, 1, 2)


@cache
def frost_textures():
    """The frost textures as float64 arrays [H, W, 3] in [0, 1], a fifth of their size.

    They are photographs that the package imagecorruptions carries (Apache-2.0). The original shrinks them
    linearly by exactly 5, which takes the pixel in the middle of every 5×5. It also picks among the first
    five only, never the sixth: reproduced here. Raises InputError where the package is missing.
    """
    found = find_spec(
        "imagecorruptions"
    )  # only found, never imported: it needs OpenCV and an old scikit-image
    if found is None:
        raise InputError(
            "the frost textures of the package imagecorruptions are missing: pip install --no-deps"
            " imagecorruptions"
        )
    folder = Path(found.submodule_search_locations[0]) / "frost"
    return [np.asarray(Image.open(folder / f).convert("RGB"))[2::5, 2::5] / 255 for f in FROST]


def _frost_place(generator, *_):
    texture = generator.integers(len(FROST))
    rows, columns, _ = frost_textures()[texture].shape
    return (np.array([texture, generator.integers(0, rows - SIDE), generator.integers(0, columns - SIDE)]),)


def snow(x, noise, angle, mean, deviation, zoom, threshold, radius, sigma, keep):
    """Flakes (zoomed noise above a threshold, smeared downwards, and the same turned by 180°) over an image
    whitened by 1 − keep.
    """
    flakes = tools.along_both(mean + deviation * noise, tools.zoom(zoom))
    flakes = tools.truncated(torch.where(flakes < threshold, 0, flakes))
    flakes = tools.motion(flakes[:, None], angle, radius, sigma)
    grey = (x * tools.constant(np.array(GREY).reshape(3, 1, 1), x)).sum(1, keepdim=True)
    whitened = keep * x + (1 - keep) * torch.maximum(x, 1.5 * grey + 0.5)
    return whitened + flakes + flakes.flip(2, 3)


def _snow_draws(generator, *_):
    return generator.standard_normal((SIDE, SIDE)), generator.uniform(-135, -45)


WEATHER = (
    Corruption(
        "snow",
        "weather",
        snow,
        (
            (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ),
        _snow_draws,
    ),
    Corruption(
        "frost",
        "weather",
        frost,
        ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
        _frost_place,
        coloured=True,
    ),
    Corruption("fog", "weather", fog, ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)), _plasma_draws),
    Corruption("brightness", "weather", brightness, ((0.05,), (0.1,), (0.15,), (0.2,), (0.3,))),
)

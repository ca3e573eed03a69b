"""What corruptions share: their table's row, 8-bit levels, blurs and zooms as matrices, warps, motion."""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from scipy import ndimage

SIDE = 32  # pixels; every parameter of these corruptions is for images of this size
GREY = (0.299, 0.587, 0.114)  # weights of red, green and blue in the brightness of a pixel (BT.601)
# A value this close below a level counts as that level, so that no device or batch decides: the originals let
# rounding errors decide, which takes a level from some pixels that should not change
SNAP = 1e-6


@dataclass(frozen=True)
class Corruption:
    """A row of the table of corruptions.

    apply: (images float64 [N, 3, 32, 32] of 8-bit levels / 255, *draws as float64 tensors [N, ...],
    *parameters) -> float64 [N, 3, 32, 32]. parameters: a tuple for every severity 1…5. draw: (generator,
    image, *parameters) -> tuple of arrays, the random numbers of one image, or None. coloured: makes colours
    of a grey image.
    """

    name: str
    family: str
    apply: callable
    parameters: tuple
    draw: callable = None
    coloured: bool = False


def levels(images):
    """Images in [0, 1] as float64, rounded to the 8-bit levels / 255 that corruptions start from."""
    return (images.double() * 255).round() / 255


def truncated(x):
    """Values clipped to [0, 1] and cut to the 8-bit level below, as float64 level / 255."""
    return (x.clamp(0, 1) * 255 + SNAP).floor() / 255


def rounded(x):
    """Values clipped to [0, 1] and rounded to the next 8-bit level, as float64 level / 255."""
    return (x.clamp(0, 1) * 255).round() / 255


def constant(array, x):
    """A NumPy array as a tensor of the type and on the device of `x`."""
    return torch.from_numpy(np.ascontiguousarray(array)).to(x)


def along_both(x, matrix):
    """A linear map of 32 pixels to 32 pixels along rows and along columns: M x Mᵀ."""
    matrix = constant(matrix, x)
    return matrix @ x @ matrix.T


@cache
def gaussian(sigma, mode="nearest", truncate=4.0):
    """The matrix [32, 32] of a Gaussian blur of standard deviation σ pixels; mode: SciPy's name of the
    border.
    """
    return ndimage.gaussian_filter1d(np.eye(SIDE), sigma, axis=0, mode=mode, truncate=truncate)


@cache
def zoom(factor):
    """The matrix [32, 32] of a linear zoom into the centre by `factor` >= 1."""
    inner = math.ceil(SIDE / factor)
    start = (SIDE - inner) // 2
    zoomed = ndimage.zoom(np.eye(inner), (factor, 1), order=1)
    trim = (len(zoomed) - SIDE) // 2
    matrix = np.zeros((SIDE, SIDE))
    matrix[:, start : start + inner] = zoomed[trim : trim + SIDE]
    return matrix


def grid(x):
    """Row and column of every pixel, float64 [32, 32] each, on the device of `x`."""
    places = torch.arange(SIDE, dtype=x.dtype, device=x.device)
    return torch.meshgrid(places, places, indexing="ij")


def per_image(values):
    """Numbers [N] shaped to multiply maps [N, 32, 32]."""
    return values[:, None, None]


def picked(x, rows, columns):
    """The pixels of images [N, C, H, W] at integer places [N, H, W]."""
    places = (rows * x.shape[-1] + columns).flatten(1)[:, None].expand(-1, x.shape[1], -1)
    return x.flatten(2).gather(2, places).view(*x.shape[:2], *rows.shape[1:])


def sampled(x, rows, columns, border):
    """Images [N, C, H, W] at real places [N, H, W], linear between the four pixels around each.

    border: what lies beyond the image: "zeros", "nearest" (its edge), "mirror" (mirrored at the centre of the
    edge pixel) or "reflect" (mirrored at the border of the edge pixel).
    """
    top, left = rows.floor(), columns.floor()
    result = 0
    for i, row_weight in ((top, 1 - (rows - top)), (top + 1, rows - top)):
        for j, column_weight in ((left, 1 - (columns - left)), (left + 1, columns - left)):
            weight = row_weight * column_weight
            if border == "zeros":
                weight = weight * ((i >= 0) & (i < SIDE) & (j >= 0) & (j < SIDE))
            pixels = picked(x, _folded(i.long(), border), _folded(j.long(), border))
            result = result + weight[:, None] * pixels
    return result


def _folded(places, border):
    if border in ("zeros", "nearest"):
        return places.clamp(0, SIDE - 1)
    period, shift = (2 * SIDE - 2, 0) if border == "mirror" else (2 * SIDE, 1)
    places = places.remainder(period)
    return torch.where(places < SIDE, places, period - shift - places)


def motion(x, angle, radius, sigma):
    """Images [N, C, 32, 32] smeared in the direction of `angle` [N] (degrees), edges continued.

    ImageMagick's MotionBlur as a formula: out(p) = Σᵢ kᵢ in(p + ⌈i (sin, cos) − ½⌉) over i = 0 … 2 ⌈radius⌉,
    k ∝ exp(−i² / 2σ²), rounded to 8 bits. ImageMagick itself is not asked, so 16-bit roundings may differ.
    """
    steps = np.arange(2 * math.ceil(radius) + 1)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    weights /= weights.sum()
    rows, columns = grid(x)
    sine, cosine = per_image(angle.deg2rad().sin()), per_image(angle.deg2rad().cos())
    result = 0
    for i, weight in zip(steps.tolist(), weights.tolist(), strict=True):
        if weight < 1e-9:  # far below an 8-bit level
            break
        y = (rows + (i * sine - 0.5).ceil()).clamp(0, SIDE - 1).long()
        x_place = (columns + (i * cosine - 0.5).ceil()).clamp(0, SIDE - 1).long()
        result = result + weight * picked(x, y, x_place)
    return rounded(result)


def hue_saturation_value(x):
    """Images as V, S [N, 1, H, W] and w [N, 3, H, W] with x = V (1 − S w): w holds the hue, 0 in the largest
    channel and 1 in the smallest. A grey pixel has S = 0 and the hue of red.
    """
    value, low = x.amax(1, keepdim=True), x.amin(1, keepdim=True)
    span = value - low
    saturation = torch.where(value > 0, span / value.clamp(min=1 / 255), 0)
    red = torch.tensor([0.0, 1, 1], dtype=x.dtype, device=x.device).view(1, 3, 1, 1)
    return value, saturation, torch.where(span > 0, (value - x) / span.clamp(min=1 / 255), red)

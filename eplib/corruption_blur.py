"""Blurs of CIFAR-10-C (Hendrycks & Dietterich 2019, with their parameters for 32×32 pixels)."""

from functools import cache

import numpy as np
from scipy import ndimage
from torch.nn import functional

from eplib import corruption_tools as tools
from eplib.corruption_tools import SIDE, Corruption


def gaussian_blur(x, sigma):
    return tools.along_both(x, tools.gaussian(sigma))


def defocus_blur(x, radius, alias):
    """A disk of `radius` pixels, softened by a 3×3 Gaussian of standard deviation `alias`."""
    kernel, reach = _disk(radius, alias), 2
    padded = functional.pad(x, (reach,) * 4, mode="reflect")
    taps = [(i, j) for i in range(2 * reach + 1) for j in range(2 * reach + 1) if kernel[i, j] > 0]
    return sum(float(kernel[i, j]) * padded[..., i : i + SIDE, j : j + SIDE] for i, j in taps)


@cache
def _disk(radius, alias):
    rows, columns = np.mgrid[-2:3, -2:3]
    disk = (rows**2 + columns**2 <= radius**2).astype(float)
    line = np.exp(-(np.array([-1.0, 0, 1]) ** 2) / (2 * alias**2))
    line /= line.sum()
    return ndimage.correlate(disk / disk.sum(), np.outer(line, line), mode="constant")


def glass_blur(x, shifts, sigma, iterations):
    """Blurred, every inner pixel replaced by itself or a neighbour above or to the left, blurred again.

    shifts: [N, iterations, 2, 30, 30], −1 or 0, vertical then horizontal. The original means to swap two
    pixels, but its NumPy views make it copy one over the other: reproduced here. As it goes from the last
    pixel to the first, what it copies is not yet changed, so all pixels of one iteration are copied at once.
    """
    blur = tools.gaussian(sigma)
    x = tools.truncated(tools.along_both(x, blur))
    rows, columns = (places.long() for places in tools.grid(x))
    shifts = functional.pad(shifts.long(), (2, 0, 2, 0))
    for i in range(iterations):
        x = tools.picked(x, rows + shifts[:, i, 0], columns + shifts[:, i, 1])
    return tools.along_both(x, blur)


def _shifts(generator, image, sigma, iterations):
    return (generator.integers(-1, 1, (iterations, 2, SIDE - 2, SIDE - 2)),)


def motion_blur(x, angle, radius, sigma):
    return tools.motion(x, angle, radius, sigma)


def _sideways(generator, *_):
    return (generator.uniform(-45, 45),)


def zoom_blur(x, end):
    """The mean of the image and of its zooms by 1, 1.01, … up to `end` (by float steps that may include
    it).
    """
    total = x.clone()
    factors = _factors(end)
    for factor in factors:
        total += tools.along_both(x, tools.zoom(factor))
    return total / (len(factors) + 1)


@cache
def _factors(end):
    return tuple(np.arange(1, end, 0.01).tolist())


BLUR = (
    Corruption(
        "defocus_blur", "blur", defocus_blur, ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1))
    ),
    Corruption(
        "glass_blur", "blur", glass_blur, ((0.05, 1), (0.25, 1), (0.4, 1), (0.25, 2), (0.4, 2)), _shifts
    ),
    Corruption("motion_blur", "blur", motion_blur, ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)), _sideways),
    Corruption("zoom_blur", "blur", zoom_blur, ((1.06,), (1.11,), (1.16,), (1.21,), (1.26,))),
    Corruption("gaussian_blur", "blur", gaussian_blur, ((0.4,), (0.6,), (0.7,), (0.8,), (1,))),
)

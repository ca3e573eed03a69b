"""What cameras and transmission do, after 3D Common Corruptions (Kar et al. 2022), without depth.

iso_noise, low_light and color_quant have the parameters published there. bit_error and flash are defined
here: the originals break a video stream and relight a scene by its reconstructed surfaces, which an image of
32×32 pixels does not have.
"""

import math

import numpy as np
import torch

from eplib import corruption_tools as tools
from eplib.corruption_tools import SIDE, Corruption

FIELD = math.radians(60)  # of view, from edge to edge


def iso_noise(x, counts, noise, deviation):
    """Photon noise of rate 25 and electronic noise of 0.7 × deviation."""
    return (counts / 25).clamp(0, 1) + 0.7 * deviation * noise


def low_light(x, counts, noise, ceiling):
    """Values stretched to [0, 1], squared, times `ceiling`; photon noise of rate 120, electronic of 0.018."""
    return (counts / 120).clamp(0, 1) + 0.018 * noise


def color_quant(x, bits):
    """Only the upper bits of every value."""
    step = 2.0 ** (8 - bits)
    return (x * 255 / step + tools.SNAP).floor() * step / 255


def bit_error(x, flipped, rate):
    """Every bit of every 8-bit value flips with probability `rate`: an uncoded transmission with errors."""
    weights = 2 ** torch.arange(8, device=x.device)
    mask = ((flipped < rate).long() * weights).sum(-1)
    return ((x * 255).round().long() ^ mask).to(x) / 255


def flash(x, weakness):
    """A lamp at the camera in front of a flat wall: x (1 + cos(angle) / weakness), field of view 60°."""
    rows, columns = (places - (SIDE - 1) / 2 for places in tools.grid(x))
    focus = SIDE / 2 / math.tan(FIELD / 2)
    return x * (1 + focus / (rows**2 + columns**2 + focus**2).sqrt() / weakness)


def _iso_draws(generator, image, _):
    return generator.poisson(image * 25), generator.standard_normal(image.shape)


def _low_light_draws(generator, image, ceiling):
    low, high = image.min(), image.max()
    dark = ceiling * ((image - low) / max(high - low, 1 / 255)) ** 2
    return generator.poisson(dark * 120), generator.standard_normal(image.shape)


def _bits(generator, image, _):
    return (generator.random((*image.shape, 8), dtype=np.float32),)


CAMERA = (
    Corruption(
        "iso_noise", "camera", iso_noise, ((0.08,), (0.12,), (0.18,), (0.26,), (0.38,)), _iso_draws, True
    ),
    Corruption(
        "low_light", "camera", low_light, ((0.6,), (0.5,), (0.4,), (0.3,), (0.2,)), _low_light_draws, True
    ),
    Corruption("color_quant", "camera", color_quant, ((5,), (4,), (3,), (2,), (1,))),
    Corruption(
        "bit_error", "camera", bit_error, ((0.001,), (0.002,), (0.005,), (0.01,), (0.02,)), _bits, True
    ),
    Corruption("flash", "camera", flash, ((2.4,), (1.4,), (0.9,), (0.6,), (0.4,))),
)

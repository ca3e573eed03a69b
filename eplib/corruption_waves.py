"""The five types of ImageNet-C-bar (Mintun et al. 2021) that CIFAR-10-C-bar leaves out, at their ImageNet
levels and with lengths relative to the image's side.
"""

import math

import numpy as np
import torch

from eplib import corruption_tools as tools
from eplib.corruption_bar import leveled
from eplib.corruption_tools import SIDE, Corruption

LATTICE = 256  # gradients of Perlin noise
OCTAVES = (1, 2, 4, 8, 16)
SOFT = 1.0  # pixels, the blur of caustics


def single_frequency_greyscale(x, frequency, phase, level):
    """One plane wave of amplitude 19.6 level / 255; frequency: [N, 2] radians a pixel along columns, rows."""
    rows, columns = tools.grid(x)
    across, down = (tools.per_image(f) for f in frequency.T)
    wave = (columns * across + rows * down + tools.per_image(phase)).sin()
    return x + 19.6 * level / 255 * wave[:, None]


def cocentric_sine_waves(x, centre, waves, level):
    """Wavy rings around a centre, a sawtooth from −½ to ½ in each, times 12.8 level / 255.

    waves: [N, 3], how often a ring waves around the circle, by how many pixels, and the rings' width.
    """
    rows, columns = tools.grid(x)
    right, down = (places - tools.per_image(c) for places, c in zip((columns, rows), centre.T, strict=True))
    often, amplitude, width = (tools.per_image(v) for v in waves.T)
    distance = torch.hypot(right, down) + amplitude * (often * torch.atan2(right, down)).sin()
    return x + 12.8 * level / 255 * (distance.remainder(width) / width - 0.5)[:, None]


def plasma_noise(x, time, iterations, sharpness, scale, level):
    """Three folded sine fields, weight 6.4 level / 255, over an image of the remaining weight."""
    down, right = (places / (SIDE * tools.per_image(scale)) for places in tools.grid(x))
    time, sharpness = tools.per_image(time), tools.per_image(sharpness)
    frequency, delay, damping = torch.ones_like(time), torch.ones_like(time), torch.ones_like(time)
    for k in range(6):
        more = tools.per_image(iterations) > k
        first = (down * frequency + time / delay).cos() / damping
        second = (right * frequency + time / delay).sin() / damping
        right = torch.where(more, right + first - 0.3 * second, right)
        down = torch.where(more, down + second + 0.3 * first, down)
        frequency, delay, damping = 1.93 * frequency, 1.15 * delay, damping * (2.25 - sharpness)
    fields = (right - time).sin(), ((right + down + time.sin()) / 2).sin(), (down + time).sin()
    share = 6.4 * level / 255
    return (1 - share) * x + share * torch.stack(fields, 1)


def perlin_noise(x, order, angles, level):
    """Turbulence of Perlin noise (1985), five octaves from cells of 4.6 pixels down, weight level / 20.

    order: [N, 256], a permutation, and angles: [N, 256], of the gradients on the lattice.
    """
    rows, columns = (places / (32 * SIDE / 224) for places in tools.grid(x))
    total = sum(_perlin(k * rows, k * columns, order.long(), angles).abs() / k for k in OCTAVES)
    share = level / 20
    return (1 - share) * x + share * (total / 2 + 0.5).clamp(0, 1)[:, None]


def _perlin(rows, columns, order, angles):
    top, left = rows.floor(), columns.floor()
    result = 0
    for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
        down, right = rows - top - i, columns - left - j
        first = order.gather(1, ((top + i).long() % LATTICE).flatten()[None].expand(len(order), -1))
        corner = order.gather(1, (first + (left + j).long().flatten()) % LATTICE)
        angle = angles.gather(1, corner).view(-1, SIDE, SIDE)
        fade = _fade(down.abs()) * _fade(right.abs())
        result = result + fade * (down * angle.cos() + right * angle.sin())
    return 1.5 * result


def _fade(distance):
    return 1 - distance**2 * (3 - 2 * distance)


def caustic_refraction(x, time, size, level):
    """The image through moving water: light caustics as a lens (refraction 4, 1.6 level pixels deep) that
    displaces what lies below and, times level / 5, lights it.
    """
    light = tools.along_both(_caustics(x, time, size), tools.gaussian(SOFT, "reflect"))
    around = torch.nn.functional.pad(light, (1, 1, 1, 1))
    slope_down = around[:, 2:, 1:-1] - around[:, :-2, 1:-1]
    slope_right = around[:, 1:-1, 2:] - around[:, 1:-1, :-2]
    normal = (slope_down**2 + slope_right**2 + 1).rsqrt()  # the cosine of the angle of incidence
    angle = normal.clamp(max=1).acos()
    flat = normal >= 1 - 1e-3
    bend = (angle - (angle.sin() / 4).asin()).sin() / angle.sin().clamp(min=1e-6)
    depth = 1.6 * level
    moved = [
        places + torch.where(flat, 0, (depth * bend * normal * slope * 1000).round() / 1000)
        for places, slope in zip(tools.grid(x), (slope_down, slope_right), strict=True)
    ]
    return tools.sampled(x, *moved, "zeros") + level / 5 * (slope_down - slope_right)[:, None]


def _caustics(x, time, size):
    """Light [N, 32, 32] from 0 to 1 on the ground of moving water, by five folded waves."""
    time = tools.per_image(time)
    down, right = (
        (places / (SIDE * tools.per_image(size))).remainder(1) * 2 * math.pi - 250 for places in tools.grid(x)
    )
    i, j, total = down, right, torch.ones_like(down)
    for k in range(1, 6):
        t = time * (1 - 3.5 / k)
        i, j = (
            down + (t - i).cos() + (t + j).sin(),
            right + (t - j).sin() + (t + i).cos(),
        )
        total = total + 200 / torch.hypot(down / (i + t).sin(), right / (j + t).cos())
    return (1.17 - (total / 5) ** 1.4).abs().pow(8).clamp(0, 1)


def _wave(generator, *_):
    first = generator.uniform(-np.pi, np.pi)
    pair = np.array([first, generator.uniform(-abs(first), abs(first))])
    return pair[generator.permutation(2)], generator.uniform(0, 2 * np.pi)


def _rings(generator, *_):
    return generator.uniform(0, SIDE, 2), generator.uniform(0, (10, SIDE / 10, SIDE / 10))


def _plasma(generator, *_):
    time, iterations = generator.uniform(0, 6 * np.pi), generator.integers(4, 7)
    return time, iterations, generator.uniform(0.5, 1.0), generator.uniform(0.075, 0.2)


def _lattice(generator, *_):
    return generator.permutation(LATTICE), generator.uniform(0, 2 * np.pi, LATTICE)


def _water(generator, *_):
    return generator.uniform(0.5, 2.0), generator.uniform(0.75, 1.25)


WAVES = (
    Corruption("caustic_refraction", "bar", caustic_refraction, leveled(2.35, 3.2, 4.9, 6.6, 9.15), _water),
    Corruption("cocentric_sine_waves", "bar", cocentric_sine_waves, leveled(3, 5, 8, 9, 10), _rings),
    Corruption("perlin_noise", "bar", perlin_noise, leveled(4.6, 5.2, 5.8, 7.6, 8.8), _lattice),
    Corruption("plasma_noise", "bar", plasma_noise, leveled(4.75, 7, 8.5, 9.25, 10), _plasma, True),
    Corruption(
        "single_frequency_greyscale", "bar", single_frequency_greyscale, leveled(1, 1.5, 2, 4.5, 5), _wave
    ),
)

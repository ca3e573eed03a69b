"""CIFAR-10-C-bar (Mintun et al. 2021), chosen to be unlike CIFAR-10-C; each parameter is a level × its share
of 10.
"""

import math
from functools import cache

import numpy as np
import torch
from scipy import ndimage
from skimage import draw as drawing

from eplib import corruption_tools as tools
from eplib.corruption_tools import SIDE, Corruption

CELLS = 40  # of the largest checkerboard: 4 · 32 pixels over the smallest cell of 3.2
RAYS = 200  # a sparkle has fewer
GREY = 128 / 255
MIDDLE = (SIDE - 1) / 2


def leveled(*levels):
    """Levels of severities 1…5 as parameters."""
    return tuple((float(level),) for level in levels)


def blue_noise_sample(x, phases, level):
    """Pixels where blue noise (amplitude ∝ frequency) lies below 0.3 level − 2.5 deviations become black."""
    noise = spectral(phases, _frequency())
    return x * (noise > 0.3 * level - 2.5)[:, None]


def brownish_noise(x, phases, level):
    """Noise of amplitude 1 / (frequency² + 1), another in each channel, of deviation 6.4 level / 255."""
    return x + 6.4 * level / 255 * spectral(phases, 1 / (_frequency() ** 2 + 1))


def spectral(phases, amplitude):
    """Real noise [..., 32, 32] of unit deviation from phases [..., 32, 16] and the amplitude [32, 32] of each
    frequency, the centre being frequency 0. The other half of the phases is the first, turned by 180°.
    """
    phases = torch.cat([phases, phases.flip(-2, -1)], -1)
    amplitude = tools.constant(amplitude, phases)
    spectrum = torch.polar(amplitude.expand_as(phases), phases).roll((SIDE // 2, SIDE // 2), (-2, -1))
    noise = torch.fft.ifft2(spectrum).real
    return noise / noise.std((-2, -1), correction=0, keepdim=True)


@cache
def _frequency():
    rows, columns = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    return np.hypot(rows, columns)


def checkerboard_cutout(x, angle, cell, board, level):
    """A share level / 10 of the dark fields of a turned checkerboard becomes grey."""
    sine, cosine, cell = (tools.per_image(v) for v in (angle.sin(), angle.cos(), SIDE * cell))
    rows, columns = tools.grid(x)
    along, across = (cosine * rows + sine * columns) / cell, (cosine * columns - sine * rows) / cell
    dark = along.remainder(2).floor() == across.remainder(2).floor()
    count = (4 * SIDE / cell).floor()
    i, j = (v.trunc().remainder(count).long() for v in (along, across))  # negative ones count from the end
    chosen = board.flatten(1).gather(1, (CELLS * i + j).flatten(1)).view_as(dark) < level / 10
    return torch.where((dark & chosen)[:, None], GREY, x)


def sparkles(x, centres, lengths, rays, level):
    """Five white stars of radius 0.32 level pixels."""
    radius = 0.32 * level
    for k in range(5):
        bright = flare(centres[:, k], (radius * (1 + 0.25 * lengths[:, k])).clamp(min=1), rays[:, k], 1)
        x = x + bright[:, None] * (1 - x)
    return x


def inverse_sparkles(x, centre, lengths, rays, level):
    """White everywhere but in one star of radius 8 pixels, whose edge sharpens with the level."""
    dark = flare(centre, 0.25 * SIDE * (1 + 0.25 * lengths), rays, 6.5 * level / 50)
    return 1 + dark[:, None] * (x - 1)


def flare(centre, lengths, rays, power):
    """The strength [N, 32, 32] of a star: 1 at its centre [N, 2], falling with distance⁻² to the power given.

    lengths: [N, 200], of which the first `rays` [N] are used, evenly over the circle and linear in between.
    """
    rows, columns = tools.grid(centre)
    down, right = rows - tools.per_image(centre[:, 0]), columns - tools.per_image(centre[:, 1])
    turn = (torch.atan2(right, down) + math.pi) / (2 * math.pi) * tools.per_image(rays)
    first = turn.floor()
    between = turn - first
    around = tools.per_image(rays)
    lower, upper = (
        lengths.gather(1, k.remainder(around).long().flatten(1)).view_as(turn) for k in (first, first + 1)
    )
    length = lower + between * (upper - lower)
    fall = (length**2 / (down**2 + right**2 + 1e-4)) ** power
    return ((1 - (between - 0.5) ** 2) * fall).clamp(0, 1)


def pinch_and_twirl(x, signs, level):
    """Nine discs of radius 5 in a 3×3 grid, each drawn outwards and turned by up to level π / 20 to either
    side; the last two rows and columns stay.
    """
    cell, radius = SIDE // 3, SIDE // 3 / 2
    rows, columns = tools.grid(x)
    angles = tools.constant(np.zeros((SIDE, SIDE)), x).expand(len(x), -1, -1).clone()
    angles[:, : 3 * cell, : 3 * cell] = signs.mT.repeat_interleave(cell, 1).repeat_interleave(cell, 2)
    middles = [(places // cell) * cell + radius for places in (rows, columns)]
    down, right = rows - middles[0], columns - middles[1]
    distance = torch.hypot(down, right)
    inside = (distance <= radius) & (distance >= 0.0005) & (torch.maximum(rows, columns) < 3 * cell)
    share = (distance / radius).clamp(1e-6, 1)
    stretch = (math.pi / 2 * share).sin() ** -(0.04 * level + 0.1)
    turn = angles * level * math.pi / 20 * (1 - share) ** 2
    new_rows = middles[0] + stretch * (down * turn.cos() - right * turn.sin())
    new_columns = middles[1] + stretch * (down * turn.sin() + right * turn.cos())
    return tools.sampled(
        x, torch.where(inside, new_rows, rows), torch.where(inside, new_columns, columns), "zeros"
    )


def ripple(x, wavelengths, phases, level):
    """Rows and columns displaced by waves of amplitude 0.08 level pixels."""
    moved = [
        places + 0.08 * level * (2 * math.pi * places / (SIDE * tools.per_image(length)) + shift).sin()
        for places, length, shift in zip(
            tools.grid(x), wavelengths.T, (tools.per_image(p) for p in phases.T), strict=True
        )
    ]
    return tools.sampled(x, *moved, "zeros")


def circular_motion_blur(x, level):
    """The mean of 21 rotations by −1.5 level … 1.5 level degrees, weights exp(−2t²), t from −1 to 1."""
    matrix = tools.constant(_circular(level), x)
    return (x.flatten(2) @ matrix).view_as(x)


@cache
def _circular(level):
    """The matrix [1024, 1024] of the blur: cubic B-splines at the turned places, black outside the image."""
    rows, columns = (places.ravel() - MIDDLE for places in np.mgrid[:SIDE, :SIDE])
    pixels, taps, times = np.arange(SIDE * SIDE), np.zeros((SIDE * SIDE, SIDE * SIDE)), np.linspace(-1, 1, 21)
    weights = np.exp(-2 * times**2)
    for weight, angle in zip(weights / weights.sum(), np.radians(1.5 * level * times), strict=True):
        down = np.cos(angle) * rows + np.sin(angle) * columns + MIDDLE
        right = np.cos(angle) * columns - np.sin(angle) * rows + MIDDLE
        share = weight * (np.minimum(down, right) >= 0) * (np.maximum(down, right) <= SIDE - 1)
        for i, j in np.ndindex(4, 4):
            y, x = np.floor(down) - 1 + i, np.floor(right) - 1 + j
            places = (_mirrored(y) * SIDE + _mirrored(x)).astype(int)
            taps[pixels, places] += share * _spline(down - y) * _spline(right - x)
    coefficients = ndimage.spline_filter1d(np.eye(SIDE), 3, axis=0, mode="mirror")
    return (coefficients.T @ taps.reshape(-1, SIDE, SIDE) @ coefficients).reshape(SIDE * SIDE, -1).T


def _mirrored(places):
    return SIDE - 1 - abs(SIDE - 1 - abs(places))


def _spline(distance):
    """The cubic B-spline at distances up to 2."""
    near, far = abs(distance), 2 - abs(distance)
    return np.where(near < 1, 2 / 3 - near**2 + near**3 / 2, far**3 / 6)


def lines(x, angle, spread, places, level):
    """int(3.2 level) grey lines with soft edges, 64 pixels long, in directions around an angle.

    Every line cuts the image to 8 bits, as in the original, which draws into an 8-bit image.
    """
    cover = tools.constant(_covers(angle, spread, places), x)
    for k in range(cover.shape[1]):
        x = tools.truncated(x + cover[:, k, None] * (GREY - x))
    return x


def _covers(angle, spread, places):
    angle, spread, places = (v.cpu().numpy() for v in (angle, spread, places))
    cover = np.zeros((*places.shape[:2], SIDE, SIDE))
    turned = angle[:, None] + 2 * np.pi * spread[:, None] * (places[..., 2] - 0.5)
    reach = SIDE * np.stack([np.cos(turned), np.sin(turned)], -1)
    ends = np.trunc(np.concatenate([SIDE * places[..., :2] - reach, SIDE * places[..., :2] + reach], -1))
    for place in np.ndindex(cover.shape[:2]):
        rows, columns, values = drawing.line_aa(*ends[place].astype(int))
        seen = (rows >= 0) & (columns >= 0) & (rows < SIDE) & (columns < SIDE)
        cover[place][rows[seen], columns[seen]] = values[seen]
    return cover


def transverse_chromatic_abberation(x, order, level):
    """Channels zoomed by 1, 1 + 0.025 level and 1 + 0.05 level, in an order [N, 3] of their own.

    As in the original SciPy's cubic splines run without their filter, which softens every channel, and the
    result is rounded to 8 bits.
    """
    zooms = np.stack([_unfiltered_zoom(1 + 0.025 * level * k) for k in range(3)])
    matrices = tools.constant(zooms, x)[order.long()]
    return tools.rounded(matrices @ x @ matrices.mT)


@cache
def _unfiltered_zoom(scale):
    zoomed = np.stack([ndimage.zoom(row, scale, prefilter=False) for row in np.eye(SIDE)], 1)
    edge = (len(zoomed) - SIDE) // 2
    return zoomed[edge : edge + SIDE]


def _phases(generator, *_):
    return (generator.uniform(0, 2 * np.pi, (SIDE, SIDE // 2)),)


def _three_phases(generator, *_):
    return (generator.uniform(0, 2 * np.pi, (3, SIDE, SIDE // 2)),)


def _board(generator, *_):
    angle, cell = generator.uniform(0, 2 * np.pi), generator.uniform(0.1, 0.25)
    return angle, cell, generator.random((CELLS, CELLS))


def _stars(generator, *_):
    centres = generator.uniform(0, SIDE, (5, 2))
    return centres, generator.standard_normal((5, RAYS)), generator.integers(50, RAYS, 5)


def _star(generator, *_):
    centre = SIDE * generator.uniform(0.25, 0.75, 2)
    return centre, generator.standard_normal(RAYS), generator.integers(50, RAYS)


def _signs(generator, *_):
    return (generator.choice([-1, 1], (3, 3)),)


def _waves(generator, *_):
    return generator.uniform(0.1, 0.3, 2), generator.uniform(0, 2 * np.pi, 2)


def _strokes(generator, _, level):
    angle, spread = generator.uniform(0, 2 * np.pi), generator.uniform(0.1, 1.0)
    return angle, spread, generator.random((int(level / 10 * SIDE), 3))


def _order(generator, *_):
    return (generator.permutation(3),)


BAR = (
    Corruption("blue_noise_sample", "bar", blue_noise_sample, leveled(0.7, 1.4, 2.1, 3.5, 4.2), _phases),
    Corruption("brownish_noise", "bar", brownish_noise, leveled(2.5, 4, 5.5, 6.5, 7), _three_phases, True),
    Corruption("checkerboard_cutout", "bar", checkerboard_cutout, leveled(1, 2, 3, 4, 5), _board),
    Corruption("circular_motion_blur", "bar", circular_motion_blur, leveled(2.8, 3.6, 4.4, 5.2, 6)),
    Corruption("inverse_sparkles", "bar", inverse_sparkles, leveled(1, 1.5, 2.5, 4.5, 5), _star),
    Corruption("lines", "bar", lines, leveled(0.5, 1, 1.5, 2, 2.5), _strokes),
    Corruption("pinch_and_twirl", "bar", pinch_and_twirl, leveled(5.5, 6, 6.5, 8.5, 10), _signs),
    Corruption("ripple", "bar", ripple, leveled(5.5, 6, 6.5, 7.5, 8), _waves),
    Corruption("sparkles", "bar", sparkles, leveled(0.7, 3.5, 5.6, 6.3, 7), _stars),
    Corruption(
        "transverse_chromatic_abberation",
        "bar",
        transverse_chromatic_abberation,
        leveled(1, 2, 5, 9, 10),
        _order,
        True,
    ),
)

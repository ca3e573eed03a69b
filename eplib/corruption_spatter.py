"""Spatter of CIFAR-10-C: water (severities 1 to 3) and mud (4 and 5), with OpenCV's integer steps as tensor
functions.
"""

import math

import torch
from torch.nn import functional

from eplib import corruption_tools as tools
from eplib.corruption_tools import SIDE, Corruption

WATER, MUD = (175, 238, 238), (63, 42, 20)  # red, green, blue of 255
FAR = 20  # distances from an edge of the water are cut here
# distances of a pixel to its neighbours in OpenCV's 5×5 approximation: sides, diagonals, knight's moves
CHAMFER = {1: 1.0, 2: 1.4, 5: 2.1969}
EMBOSS = ((-2, -1, 0), (-1, 1, 1), (0, 1, 2))


def spatter(x, noise, mean, deviation, blur, threshold, strength, mud):
    """Blurred noise above a threshold is liquid. Water is brightest by its edges and added; mud covers."""
    liquid = tools.along_both(mean + deviation * noise, tools.gaussian(blur))
    liquid = torch.where(liquid < threshold, 0, liquid)
    if not mud:
        return wet(x, liquid, strength)
    cover = tools.along_both((liquid > threshold).to(x), tools.gaussian(strength))
    cover = torch.where(cover < 0.8, 0, cover)[:, None]
    return x * (1 - cover) + cover * _colour(MUD, x)


def wet(x, liquid, strength):
    """Images with water: the liquid [N, 32, 32] times its relief, its largest value scaled to `strength`.

    Where the liquid exceeds 1 its 8-bit level begins again at 0, as in the original. That divides 0 by 0
    where there is no liquid; here such an image stays as it is.
    """
    liquid = (liquid * 255).floor() % 256
    amount = liquid * relief(liquid)
    amount = strength * amount / amount.amax((1, 2), keepdim=True).clamp(min=1)
    return x + amount[:, None] * _colour(WATER, x)


def _colour(rgb, x):
    return torch.tensor(rgb, dtype=x.dtype, device=x.device).view(1, 3, 1, 1) / 255


def relief(liquid):
    """8-bit maps [N, 32, 32] -> their distances from edges, equalised and lit from one side, 0 to 255."""
    distance = _mean3(distances(edges(liquid)))
    flat = _equalised((distance + tools.SNAP).floor())
    emboss = torch.tensor(EMBOSS, dtype=liquid.dtype, device=liquid.device)
    padded = functional.pad(flat[:, None], (1,) * 4, mode="reflect")[:, 0]
    lit = sum(emboss[i, j] * padded[:, i : i + SIDE, j : j + SIDE] for i in range(3) for j in range(3))
    return _mean3(lit.clamp(0, 255)).round()


def edges(levels, low=50, high=150):
    """Canny edges (1986) of 8-bit maps, bool [N, 32, 32]: Sobel gradients in the ℓ1 norm, thinned, those
    above `low` kept where they hang together with one above `high`.
    """
    padded = functional.pad(levels[:, None], (1,) * 4, mode="replicate")[:, 0]
    smooth = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    horizontal = smooth[:, :, 2:] - smooth[:, :, :-2]
    smooth = padded[:, :, :-2] + 2 * padded[:, :, 1:-1] + padded[:, :, 2:]
    vertical = smooth[:, 2:] - smooth[:, :-2]
    size = horizontal.abs() + vertical.abs()
    around = functional.pad(size, (1,) * 4)

    def beside(down, right):
        return around[:, 1 + down : 1 + down + SIDE, 1 + right : 1 + right + SIDE]

    slope, steep = horizontal.abs() * math.tan(math.pi / 8), horizontal.abs() * math.tan(3 * math.pi / 8)
    across = (size > beside(0, -1)) & (size >= beside(0, 1))
    up = (size > beside(-1, 0)) & (size >= beside(1, 0))
    falling = (size > beside(-1, -1)) & (size > beside(1, 1))
    rising = (size > beside(-1, 1)) & (size > beside(1, -1))
    diagonal = torch.where(horizontal * vertical < 0, rising, falling)
    flat = vertical.abs() < slope
    peak = torch.where(flat, across, torch.where(vertical.abs() > steep, up, diagonal)) & (size > low)
    found = peak & (size > high)
    while True:
        grown = peak & (functional.max_pool2d(found.float()[:, None], 3, 1, 1)[:, 0] > 0)
        if torch.equal(grown, found):
            return found
        found = grown


def distances(found):
    """Distances from the pixels `found`, up to 20, as shortest ways of sides, diagonals and knight's
    moves.
    """
    distance = torch.where(found, 0.0, float(FAR)).double()
    moves = [(i, j) for i in range(-2, 3) for j in range(-2, 3) if i * i + j * j in CHAMFER]
    while True:
        padded = functional.pad(distance, (2,) * 4, value=float(FAR))
        shorter = distance
        for i, j in moves:
            way = padded[:, 2 + i : 2 + i + SIDE, 2 + j : 2 + j + SIDE] + CHAMFER[i * i + j * j]
            shorter = torch.minimum(shorter, way)
        if torch.equal(shorter, distance):
            return distance
        distance = shorter


def _mean3(maps):
    return functional.avg_pool2d(functional.pad(maps[:, None], (1,) * 4, mode="reflect"), 3, 1)[:, 0]


def _equalised(maps):
    """Levels 0 … 20 spread over 0 to 255 by their ranks, the lowest at 0; constant maps stay."""
    counts = torch.stack([(maps == level).sum((1, 2)) for level in range(FAR + 1)], 1).double()
    ranks = counts.cumsum(1)
    lowest = counts.gather(1, (counts > 0).int().argmax(1, keepdim=True))
    total = SIDE * SIDE
    table = ((ranks - lowest).clamp(min=0) * 255 / (total - lowest).clamp(min=1)).round()
    spread = table.gather(1, maps.flatten(1).long()).view_as(maps)
    return torch.where((lowest == total)[:, :, None], maps, spread)


def _noise(generator, *_):
    return (generator.standard_normal((SIDE, SIDE)),)


SPATTER = (
    Corruption(
        "spatter",
        "weather",
        spatter,
        (
            (0.62, 0.1, 0.7, 0.7, 0.5, False),
            (0.65, 0.1, 0.8, 0.7, 0.5, False),
            (0.65, 0.3, 1, 0.69, 0.5, False),
            (0.65, 0.1, 0.7, 0.69, 0.6, True),
            (0.65, 0.1, 0.5, 0.68, 0.6, True),
        ),
        _noise,
        coloured=True,
    ),
)

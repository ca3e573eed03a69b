"""One boundary enlarged again and again: does what looks ragged become smooth, or does it stay ragged?

The plane through three images is looked at on a grid, then `FACTOR` times enlarged around a place where two
classes meet, and so on. A smooth boundary looks like a line soon, with the exponent α = 1; a fractal one
keeps its exponent.
"""

import numpy as np
import torch

from eplib import slices
from eplib.attacks import AttackedModel, predicted
from eplib.checks import InputError, check_labels
from eplib.corruption_scores import interval
from eplib.parts import in_parts
from eplib.studies import Found, share

FACTOR = 8  # by which every level enlarges the one before
LEVELS = 4


def zooms(net, images, labels, sizes, folder=None, progress=True):
    """`Found` of the plane through every image and the next two (`slices.plane`), enlarged `LEVELS` − 1
    times around the boundary that is nearest to the middle of the level before.

    images: [N, C, H, W], N ≥ 3. sizes: side (cells of a grid to a side), batch (points at a time). Rows:
    accuracy; then for every level (column zoom: the enlargement) dimension and exponent of
    `slices.described`, means over the images that have a boundary with their t interval. Array classes uint8
    [levels, side + 1, side + 1, N]; where a plane has one class only, every level repeats the first. Raises
    InputError for bad input.
    """
    if len(images) < 3 or sizes["side"] < 3 * slices.BOXES_LEFT:
        raise InputError(
            f"{len(images)} images and {sizes['side']} cells: give 3 or more, and"
            f" {3 * slices.BOXES_LEFT} cells or more"
        )
    net.check(images)
    check_labels(labels, images, net.classes)
    model = AttackedModel(net)

    def part(where):
        found = _levels(model, slices.plane(model, images, where.start, "images"), sizes)
        right = (predicted(model, images[where]) == labels[where]).cpu().numpy()
        return {"classes": np.stack(found)[..., None], "right": right}

    done, seconds = in_parts(len(images), 1, part, "zooms", folder, progress)
    phase, right = {"predict_steps": model.steps, "order": model.order}, done["right"]
    rows = [phase | share("accuracy", torch.from_numpy(right))]
    for level in range(LEVELS):
        for metric in ("dimension", "exponent"):
            value, low, high, count = measured(done["classes"], level, metric)
            bounds = {"value": value, "low": low, "high": high, "n": count}
            rows.append(phase | {"zoom": FACTOR**level, "metric": metric} | bounds)
    return Found(rows, right, right[None], {"classes": done["classes"]}, seconds)


def _levels(model, plane, sizes):
    """The grids of classes of every level."""
    corner, first, second = plane
    found = []
    for _ in range(LEVELS):
        grid = slices.classified(model, corner, first, second, sizes)
        found.append(grid)
        middle = nearest_boundary(grid)
        if middle is None:
            return found + [grid] * (LEVELS - len(found))
        along, up = (float(m) / sizes["side"] for m in middle)
        centre = corner + along * first + up * second
        first, second = first / FACTOR, second / FACTOR
        corner = centre - (first + second) / 2
    return found


def nearest_boundary(grid):
    """(x, y), in cells, of the place between two neighbours of unlike classes that is nearest to the middle
    of a grid [S + 1, S + 1]; None where there is one class only.
    """
    across = np.argwhere(grid[1:] != grid[:-1]) + np.array([0.5, 0])
    along = np.argwhere(grid[:, 1:] != grid[:, :-1]) + np.array([0, 0.5])
    places = np.concatenate([across, along])
    if not len(places):
        return None
    return tuple(places[((places - (len(grid) - 1) / 2) ** 2).sum(1).argmin()])


def measured(classes, level, metric):
    """(mean, low, high, number of images) of a metric of `slices.described` at a level over the images that
    have it; NaN without two of them.
    """
    values = np.array([slices.described(c)[metric] for c in np.moveaxis(classes[level], -1, 0)])
    values = values[np.isfinite(values)]
    if len(values) < 2:
        return (*(float("nan"),) * 3, len(values))
    return *interval(values), len(values)

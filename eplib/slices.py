"""Planes through the space of images: which class a network gives to every point of a square grid, and what
the boundaries between the classes look like there.

Box-counting dimension, the uncertainty exponent inside the plane (dimension = 2 − α), basin entropy and
boundary basin entropy (Daza et al. 2016).
"""

import numpy as np
import torch

from eplib import attacks, uncertainty
from eplib.attacks import AttackedModel, predicted
from eplib.checks import InputError, check_labels
from eplib.parts import in_parts
from eplib.studies import Found, share

KINDS = ("images", "attack")
MARGIN = 0.25  # how far a plane through three images goes beyond them, in their distances
REACH = 3.0  # ℓ2 length to all sides of an image in its plane with an attack
EPSILON, PGD_STEPS = 1.0, 20  # of the attack whose direction is shown
BOX = 4  # points to a side of a box of the entropies
SHIFTS = (1, 2, 3, 4, 6, 8)  # in cells, of the exponent inside the plane
BOXES_LEFT = 8  # boxes to a side that the largest size of box-counting leaves at least
FRACTAL = np.log(2)  # a boundary basin entropy above this cannot come from a smooth boundary of two classes


def slices(net, images, labels, sizes, folder=None, progress=True):
    """`Found` of two planes through every image: "images", through it and the next two (after the last comes
    the first), and "attack", through it along the change of ℓ2 PGD on the network's own prediction and along
    a random direction at a right angle, the same for every network. Nothing is clipped.

    images: [N, C, H, W], N ≥ 3. sizes: side (cells of the grid to a side, divisible by 4), batch (points at a
    time). Rows: accuracy; then for every plane (columns plane, image: its place) the metrics of `described`.
    Array classes uint8 [2, side + 1, side + 1, N], predicted; the first coordinate goes along the second
    image or the attack. Raises InputError for bad input.
    """
    if len(images) < 3 or sizes["side"] % BOX or sizes["side"] < BOX:
        raise InputError(
            f"{len(images)} images and {sizes['side']} cells: give 3 or more, and cells divisible by {BOX}"
        )
    net.check(images)
    check_labels(labels, images, net.classes)
    model = AttackedModel(net)

    def part(where):
        grids = [classified(model, *plane(model, images, where.start, kind), sizes) for kind in KINDS]
        right = (predicted(model, images[where]) == labels[where]).cpu().numpy()
        return {"classes": np.stack(grids)[..., None], "right": right}

    done, seconds = in_parts(len(images), 1, part, "planes", folder, progress)
    phase = {"predict_steps": model.steps, "order": model.order}
    rows, right = [phase | share("accuracy", torch.from_numpy(done["right"]))], done["right"]
    for k, kind in enumerate(KINDS):
        for image in range(len(images)):
            found = described(done["classes"][k, ..., image])
            where = phase | {"plane": kind, "image": image}
            rows += [where | {"metric": name, "value": value} for name, value in found.items()]
    return Found(rows, right, right[None], {"classes": done["classes"]}, seconds)


def plane(model, images, place, kind):
    """(corner, first, second): the point of the plane at the grid's origin and its two whole sides, each
    [C, H, W].
    """
    image = images[place]
    if kind == "images":
        first, second = (images[(place + k) % len(images)] - image for k in (1, 2))
        return image - MARGIN * (first + second), (1 + 2 * MARGIN) * first, (1 + 2 * MARGIN) * second
    x = images[place : place + 1]
    threat = attacks.ThreatModel("l2", EPSILON)
    first = (attacks.pgd(model, x, predicted(model, x), threat, PGD_STEPS) - x)[0]
    second = uncertainty.directions(image.shape, [place], 1, seed=2)[0, 0].to(image)
    first = first / first.norm() if first.any() else torch.ones_like(first) / first.numel() ** 0.5
    second = second - (second * first).sum() * first
    first, second = 2 * REACH * first, 2 * REACH * second / second.norm()
    return image - (first + second) / 2, first, second


@torch.no_grad()
def classified(model, corner, first, second, sizes):
    """uint8 [side + 1, side + 1], the class at every corner of the cells."""
    along = torch.linspace(0, 1, sizes["side"] + 1, device=corner.device)
    shares, found = torch.cartesian_prod(along, along).to(corner), []
    for part in shares.split(sizes["batch"]):
        points = corner + part[:, 0, None, None, None] * first + part[:, 1, None, None, None] * second
        found.append(predicted(model, points))
    return torch.cat(found).view(len(along), len(along)).to(torch.uint8).cpu().numpy()


def described(classes):
    """{metric: number} of a grid of classes [S + 1, S + 1]: classes (how many), dimension (by box counting),
    exponent (of moving a point inside the plane), basin_entropy, boundary_entropy; NaN where there is no
    boundary.
    """
    basin, boundary = entropies(classes)
    return {
        "classes": len(np.unique(classes)),
        "dimension": dimension(classes),
        "exponent": exponent(classes),
        "basin_entropy": basin,
        "boundary_entropy": boundary,
    }


def box_counts(classes):
    """(sizes, counts): how many boxes of so many cells to a side, edges included, hold several classes."""
    side = len(classes) - 1
    sizes = [s for s in range(1, side // BOXES_LEFT + 1) if side % s == 0]
    counts = []
    for s in sizes:
        windows = np.lib.stride_tricks.sliding_window_view(classes, (s + 1, s + 1))[::s, ::s]
        counts.append(int((windows.max((2, 3)) != windows.min((2, 3))).sum()))
    return np.array(sizes), np.array(counts)


def dimension(classes):
    """The box-counting dimension of the boundaries: −d log(boxes) / d log(side), by least squares weighted
    with the counts; NaN without a boundary.
    """
    sizes, counts = box_counts(classes)
    if (counts == 0).any() or len(sizes) < 3:
        return float("nan")
    return float(-np.polyfit(np.log(sizes), np.log(counts), 1, w=np.sqrt(counts))[0])


def exponent(classes):
    """α inside the plane: how the share of points whose class is another one k cells along either axis grows
    with k, the same points for every k; NaN without a boundary.
    """
    shifts = [k for k in SHIFTS if k <= (len(classes) - 1) // 4]
    left = len(classes) - shifts[-1] if shifts else 0
    differ = [
        np.mean([(at[k : left + k] != at[:left]).mean() for at in (classes, classes.T)]) for k in shifts
    ]
    if len(shifts) < 3 or min(differ) == 0:
        return float("nan")
    weights = np.sqrt(np.array(differ) / (1 - np.minimum(differ, 0.999)))
    return float(np.polyfit(np.log(shifts), np.log(differ), 1, w=weights)[0])


def entropies(classes):
    """(basin entropy, boundary basin entropy): the mean of −Σ p log p over boxes of `BOX` × `BOX` points, p
    the shares of the classes in a box; over all boxes, and over those with more than one class (NaN without
    any).
    """
    side = (len(classes) // BOX) * BOX
    boxes = classes[:side, :side].reshape(side // BOX, BOX, side // BOX, BOX).swapaxes(1, 2)
    boxes = boxes.reshape(-1, BOX * BOX)
    shares = np.stack([(boxes == c).mean(1) for c in np.unique(classes)], 1)
    entropy = -(shares * np.log(np.where(shares > 0, shares, 1))).sum(1)
    mixed = (shares > 0).sum(1) > 1
    return float(entropy.mean()), float(entropy[mixed].mean()) if mixed.any() else float("nan")

"""What is measured of a network for its uncertainty exponent: outcomes of moving images in random directions,
and the smallest changes that alter its prediction. Classes are the network's own, not the labels.
"""

from pathlib import Path

import numpy as np
import torch

from eplib import minimal_norm, uncertainty
from eplib.attacks import AttackedModel, predicted
from eplib.checks import check_labels
from eplib.corruption_scores import interval
from eplib.parts import in_parts
from eplib.studies import Found, quartiles, share

GRID = (0.02, 20.0)  # ℓ2 lengths, pixels in [0, 1]
PILOT_SHARES, HALVINGS = (0.04, 0.16), 7  # whose ε a pilot looks for by halving that range
PILOT_SEED = 1  # its directions are others than the measured
HIGHEST = uncertainty.SMALL.highest  # the share up to which the pilot places ε
ABOVE = 1.2  # the lowest ε should have so many times the changes that a fit needs
KINDS = ("test", "uniform", "permuted")


def uncertainty_of(net, images, labels, sizes, folder=None, progress=True):
    """`Found` of moving points by ±ε in random directions, as in `uncertainty.flips`: nothing is clipped.

    sizes: directions, points (number of ε), pilot (points that place the ε; 0 spreads them over `GRID`),
    others (how many of the points that are no images), batch. folder: where finished parts are kept, see
    `parts.in_parts`.

    Rows: accuracy of the images as they are; then for every kind of points (column points): "test" images,
    "uniform" ones in [0, 1]^D and "permuted" ones (test images with the pixels of each in random order), and
    for every ε (norm l2): uncertain, the share of the two-sided rule with the t interval of means over
    points, and one_sided. Arrays, for every kind: flips_… uint8 [E, directions, 2, ⌈N / 8⌉], bits of N;
    epsilons_… [E]. Raises InputError for bad input.
    """
    net.check(images)
    check_labels(labels, images, net.classes)
    model = AttackedModel(net)
    rows, arrays, seconds, right = [], {}, 0.0, None
    for kind in KINDS:
        points = points_of(kind, images if kind == "test" else images[: sizes["others"]])
        epsilons = placed(model, points, sizes)

        def part(where, points=points, epsilons=epsilons):
            return _part(model, points, labels, where, epsilons, sizes["directions"])

        place = Path(folder) / kind if folder else None
        done, took = in_parts(len(points), sizes["batch"], part, f"random, {kind}", place, progress)
        seconds += took
        right = done["right"] if right is None else right
        where = {"points": kind, "norm": "l2", "predict_steps": model.steps, "order": model.order}
        rows += _rows(where, epsilons, done["flips"])
        arrays[f"flips_{kind}"] = np.packbits(done["flips"], axis=-1)
        arrays[f"epsilons_{kind}"] = epsilons
    clean = {"predict_steps": model.steps, "order": model.order, "points": "test"}
    rows.insert(0, clean | share("accuracy", torch.from_numpy(right)))
    return Found(rows, right, right[None], arrays, seconds)


def points_of(kind, images):
    """Points [N, C, H, W] in [0, 1] of a kind; those of a place in the order are the same for every
    network.
    """
    if kind == "test":
        return images
    drawn = []
    for place, image in enumerate(images):
        generator = torch.Generator().manual_seed(7_000_003 + place)
        if kind == "uniform":
            drawn.append(torch.rand(image.shape, generator=generator).to(image))
        else:
            order = torch.randperm(image[0].numel(), generator=generator).to(image.device)
            drawn.append(image.flatten(1)[:, order].view_as(image))
    return torch.stack(drawn)


def placed(model, points, sizes):
    """The ε to measure, ascending: from where a pilot's power law promises just enough changes for the fit to
    where it reaches the share `HIGHEST`; over the whole `GRID` without a pilot, and where too few of its
    points change even there.
    """
    grid = np.geomspace(*GRID, sizes["points"])
    if not sizes["pilot"]:
        return grid
    x = points[: sizes["pilot"]]
    moved = uncertainty.directions(x.shape[1:], range(len(x)), 1, PILOT_SEED)[0].to(x)
    own = _predicted(model, x, sizes["batch"])

    def share_of(epsilon):
        sides = [_predicted(model, x + s * epsilon * moved, sizes["batch"]) != own for s in (1, -1)]
        return (sides[0] | sides[1]).double().mean().item()

    if share_of(GRID[1]) < PILOT_SHARES[1]:
        return grid
    found = []
    for wanted in PILOT_SHARES:
        low, high = np.log(GRID)
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            low, high = (middle, high) if share_of(float(np.exp(middle))) < wanted else (low, middle)
        found.append((low + high) / 2)
    slope = np.log(PILOT_SHARES[1] / PILOT_SHARES[0]) / max(found[1] - found[0], 0.05)
    enough = ABOVE * uncertainty.SMALL.fewest / (len(points) * sizes["directions"])
    ends = [found[0] + np.log(s / PILOT_SHARES[0]) / slope for s in (min(enough, 0.3 * HIGHEST), HIGHEST)]
    return np.geomspace(*np.exp(ends), sizes["points"])


def _predicted(model, points, batch):
    return torch.cat([predicted(model, x) for x in points.split(batch)])


def _part(model, points, labels, where, epsilons, count):
    x = points[where]
    moved = uncertainty.directions(x.shape[1:], range(where.start, where.stop), count).to(x)
    outcomes = uncertainty.flips(lambda z: predicted(model, z).cpu(), x, moved, epsilons)
    return {"flips": outcomes, "right": (predicted(model, x) == labels[where]).cpu().numpy()}


def _rows(where, epsilons, outcomes):
    rows = []
    for two_sided, metric in ((True, "uncertain"), (False, "one_sided")):
        changed, trials = uncertainty.counts(outcomes, two_sided)
        for epsilon, each in zip(epsilons, changed, strict=True):
            value, low, high = interval(each / trials)
            n = each.size * trials
            bounds = {"value": value, "low": max(low, 0.0), "high": min(high, 1.0), "n": n}
            rows.append(where | {"epsilon": float(epsilon), "metric": metric} | bounds)
    return rows


def adversarial_distances(net, images, labels, sizes, folder=None, progress=True):
    """`Found` of the smallest ℓ2 change of every image that alters the network's own prediction, right or
    wrong, by DDN (`minimal_norm.fast_minimum_norm`): pixels stay in [0, 1].

    sizes: steps, batch. Rows: accuracy; minimal_norm (median, low and high the quartiles; inf where that many
    were not found); found (share for which a change was found). Array minimal_norm float32 [N], inf where
    nothing was found. Raises InputError for bad input.
    """
    net.check(images)
    check_labels(labels, images, net.classes)
    model = AttackedModel(net)

    def part(where):
        x = images[where]
        own = predicted(model, x)
        found = minimal_norm.fast_minimum_norm(model, x, own, "l2", sizes["steps"])
        return {"minimal_norm": np.float32(found.norm), "right": (own == labels[where]).cpu().numpy()}

    words = "smallest change"
    done, seconds = in_parts(len(images), sizes["batch"], part, words, folder, progress)
    norms, right = done["minimal_norm"], done["right"]
    where = {"predict_steps": model.steps, "order": model.order}
    searched = where | {"attack": "ddn", "norm": "l2", "labels": "predicted", "attack_steps": sizes["steps"]}
    rows = [
        where | share("accuracy", torch.from_numpy(right)),
        searched | quartiles("minimal_norm", torch.from_numpy(norms)),
        searched | share("found", torch.from_numpy(np.isfinite(norms))),
    ]
    return Found(rows, right, right[None], {"minimal_norm": norms}, seconds)


def random_outcomes(result, kind="test"):
    """(ε [E], outcomes bool [E, directions, 2, N]) of a kind of points in a result of "uncertainty"."""
    count = len(result.image_ids)
    if kind != "test":
        count = min(count, result.settings["sizes"]["others"])
    bits = np.unpackbits(result.arrays[f"flips_{kind}"], -1, count)
    return result.arrays[f"epsilons_{kind}"], bits.astype(bool)

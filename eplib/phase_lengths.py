"""One EP-CNN with free phases of several lengths, each attacked by itself: what the steps do."""

from pathlib import Path

import numpy as np
import torch

from eplib import gradients, minimal_norm, suite
from eplib.attacks import AttackedModel, ThreatModel, predicted
from eplib.benchmark import timed
from eplib.checks import InputError, check_labels
from eplib.dynamics import settle
from eplib.network import EPCNN
from eplib.parts import in_parts
from eplib.studies import Found, quartiles, share

ORDER = "synchronous"  # the paper's
SETTLED = 250  # steps behind the paper's predictions
TIMINGS = 3  # of one gradient; the shortest counts, the least disturbed by other work on the machine
NOT_JUDGED = -1  # in the array transferred


def phase_lengths(net, images, labels, sizes, folder=None, progress=True):
    """`Found` of an EP-CNN whose free phase takes T synchronous steps, for every T of `lengths`: it predicts
    after T steps, and attacks see it so, with the exact gradient through all T.

    sizes: lengths (ascending), queries and epsilon (of Square, ℓ∞, pixel units of [0, 1]), searches, cw_steps
    and constant (of C&W, see `minimal_norm.carlini_wagner`), batch (images at a time; the place of its first
    one seeds Square, alike for every T). folder: where finished parts are kept, see `parts.in_parts`.

    Rows, all with predict_steps T and order. Without an attack: accuracy; unsettled (share of images with a
    residual of 1e-3 or more after T steps); gradient_seconds (of one gradient through T steps, an image:
    median and quartiles). Under "square": accuracy. Under "carlini-wagner", over the images that are right
    after T steps and left out where there are none: minimal_norm (ℓ2: median and quartiles, inf where that
    many were not found) and found (share for which a change was found); then, but for T = 250, transferred:
    of the images broken at T that are right after 250 steps, the share whose change also breaks the network
    after 250 steps. `clean` is by the longest phase. Arrays [T, N]: minimal_norm float32, 0 for images that
    are wrong already, inf where nothing was found; transferred int8, 1 or 0, NOT_JUDGED (-1) where it isn't
    asked. Raises InputError for bad input, and for a network without a free phase.
    """
    _check(net, images, labels, sizes)
    rows, correct, kept, seconds = [], [], [], 0.0
    for steps in sizes["lengths"]:

        def part(where, steps=steps):
            return _attacked(net, images[where], labels[where], sizes, steps, where.start)

        place = Path(folder) / str(steps) if folder else None
        words = f"{steps} free steps"
        found, took = in_parts(len(images), sizes["batch"], part, words, place, progress)
        rows += _rows(steps, found, sizes)
        correct += [found["clean"], found["square"]]
        kept.append(found)
        seconds += took
    arrays = {name: np.stack([found[name] for found in kept]) for name in ("minimal_norm", "transferred")}
    return Found(rows, kept[-1]["clean"], np.stack(correct), arrays, seconds)


def _check(net, images, labels, sizes):
    if not isinstance(net, EPCNN):
        raise InputError("phase-lengths of a network without a free phase: measure an energy-based network")
    lengths = list(sizes["lengths"])
    if not lengths or lengths != sorted(set(lengths)) or lengths[0] < 1:
        raise InputError(f"lengths {lengths} of the free phase: give steps from 1 up in ascending order")
    net.check(images)
    check_labels(labels, images, net.classes)


def _attacked(net, images, labels, sizes, steps, start):
    """{name: array [N]} of a batch that begins at image `start`: clean, unsettled, square (right under it),
    minimal_norm, transferred, gradient_seconds.
    """
    model = AttackedModel(net, steps, ORDER)
    clean, square = predicted(model, images) == labels, torch.zeros_like(labels, dtype=torch.bool)
    if clean.any():
        x, y, threat = images[clean], labels[clean], ThreatModel("linf", sizes["epsilon"])
        broken = suite.checked(model, x, y, threat, "square", sizes["queries"], start)
        square[clean] = predicted(model, broken) == y
    searched = sizes["searches"], sizes["cw_steps"], sizes["constant"]
    minimal = minimal_norm.carlini_wagner(model, images, labels, *searched)
    device = images.device

    def gradient():
        return gradients.input_gradient(net, images, labels, "unrolled", steps, ORDER)

    seconds = min(timed(gradient, device) for _ in range(TIMINGS)) / len(images)
    found = {
        "clean": clean.cpu().numpy(),
        "unsettled": (settle(net, images, steps, ORDER).residual >= gradients.SETTLED).cpu().numpy(),
        "square": square.cpu().numpy(),
        "minimal_norm": minimal.norm.astype(np.float32),
        "gradient_seconds": np.full(len(images), seconds),
    }
    return found | {"transferred": _transferred(net, images, labels, minimal, steps)}


def _transferred(net, images, labels, minimal, steps):
    """int8 [N]: whether the changes found at `steps` also break the network after SETTLED steps."""
    settled = AttackedModel(net, SETTLED, ORDER)
    right, left = ((predicted(settled, x) == labels).cpu().numpy() for x in (images, minimal.adversarial))
    judged = right & (minimal.norm > 0) & np.isfinite(minimal.norm) & (steps != SETTLED)
    return np.where(judged, ~left, NOT_JUDGED).astype(np.int8)


def _rows(steps, found, sizes):
    """The rows of one length from what `_attacked` gave for all images."""
    found = {name: torch.from_numpy(values) for name, values in found.items()}
    where = {"predict_steps": steps, "order": ORDER}
    square = where | {"attack": "square", "norm": "linf", "epsilon": sizes["epsilon"], "labels": "true"}
    cw = where | {"attack": "carlini-wagner", "norm": "l2", "gradient": "unrolled", "labels": "true"}
    cw |= {"attack_steps": sizes["cw_steps"]}
    rows = [
        where | share("accuracy", found["clean"]),
        where | share("unsettled", found["unsettled"]),
        where | quartiles("gradient_seconds", found["gradient_seconds"]),
        square | {"attack_steps": sizes["queries"]} | share("accuracy", found["square"]),
    ]
    norms, judged = found["minimal_norm"], found["transferred"] != NOT_JUDGED
    if (norms > 0).any():
        rows.append(cw | quartiles("minimal_norm", norms[norms > 0]))
        rows.append(cw | share("found", norms[norms > 0].isfinite()))
    if judged.any():
        rows.append(cw | share("transferred", found["transferred"][judged] == 1))
    return rows

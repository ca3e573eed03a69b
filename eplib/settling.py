"""Phases watched step by step, for the explorer *Settling*: what `eplib.explorers.settling` shows.

Every image runs through one free phase and two nudged phases (+β, −β) in each of two orders: synchronous, as
in the paper, and the network's own (or forward, where that is synchronous).
"""

import math
from dataclasses import dataclass
from itertools import accumulate, pairwise
from numbers import Integral, Real

import numpy as np
import torch

from eplib.checks import InputError, check_labels
from eplib.dynamics import Equilibrium, settle
from eplib.phases import nudged_order

STEPS = 250  # of a free phase: the paper's
# steps whose states are kept: of a free phase, and of a nudged one
FRAMES = (*range(21), 25, 30, 40, 60, 80, 100, 150, 250, 400, 600, 1000)
NUDGED_FRAMES = tuple(range(11))
LEVELS = 16  # grey levels of a state


@dataclass(frozen=True)
class Run:
    """One phase of N images, watched.

    steps: the F steps whose states are kept, 0 first. states: L tensors [F, N, C, H, W]. logits: [F, N,
    classes]. residual, energy: [T + 1, N], of every step from 0 to T = the last of `steps`, as in
    `eplib.dynamics.Equilibrium`. end: where the phase ended.
    """

    steps: tuple
    states: tuple
    logits: torch.Tensor
    residual: torch.Tensor
    energy: torch.Tensor
    end: Equilibrium


def orders(net):
    """The two orders shown: one to compare with, and the network's own; one of them is synchronous."""
    return "forward" if net.order == "synchronous" else "synchronous", net.order


def frames(steps):
    """The recorded steps of a free phase of `steps` steps: 0 first, `steps` last."""
    return (*(s for s in FRAMES if s < steps), steps)


def run(net, images, steps, order, labels=None, beta=0.0, start=None):
    """The `Run` of images [N, C, H, W] over increasing `steps` that begin with 0; the rest as in `settle`."""
    phase = dict(order=order, labels=labels, beta=beta)
    kept = [settle(net, images, 0, start=start, **phase)]
    for before, step in pairwise(steps):
        kept.append(settle(net, images, step - before, start=kept[-1], record=True, **phase))
    curves = {
        name: torch.cat([getattr(kept[0], name)[None], *(e.trajectory[name] for e in kept[1:])])
        for name in ("residual", "energy")
    }
    return Run(
        tuple(steps),
        tuple(torch.stack(layer) for layer in zip(*(e.states for e in kept), strict=True)),
        torch.stack([e.logits for e in kept]),
        **curves,
        end=kept[-1],
    )


def runs(net, images, labels, beta, steps=STEPS):
    """{order: (free `Run`, at +β, at −β)} of images [N, C, H, W] with their labels [N].

    The nudged phases start from the end of the free one and take `NUDGED_FRAMES`' steps in the order that
    belongs to it.
    """
    found = {}
    for order in orders(net):
        free = run(net, images, frames(steps), order)
        nudged = (
            run(net, images, NUDGED_FRAMES, nudged_order(order), labels, signed, free.end)
            for signed in (beta, -beta)
        )
        found[order] = (free, *nudged)
    return found


def examples(net, images, labels, count=4):
    """Places, int64 [count], of images worth watching: first those that end `STEPS` steps with different
    predictions in the two orders, then those whose states differ most (mean |difference| of a unit), and last
    an ordinary one: right in both orders, with the least difference.
    """
    one, other = (settle(net, images, STEPS, order) for order in orders(net))
    units = [torch.cat([s.flatten(1) for s in e.states], 1) for e in (one, other)]
    apart = (units[0] - units[1]).abs().mean(1).tolist()
    predicted, elsewhere = one.logits.argmax(1).tolist(), other.logits.argmax(1).tolist()
    places = range(len(images))
    ordinary = [i for i in places if predicted[i] == elsewhere[i] == int(labels[i])]
    last = [min(ordinary, key=apart.__getitem__)] if ordinary else []
    ranked = sorted(set(places) - set(last), key=lambda i: (predicted[i] == elsewhere[i], -apart[i], i))
    return torch.tensor(ranked[: count - len(last)] + last)


def sheet(found, layer, place):
    """All recorded states of one layer and one image, uint8 [F·H, C·W]: a row of maps for every frame, a
    column for every channel, 0 for a state of 0 and 255 for 1, in `LEVELS` levels.

    Frames stand in the order of `found` (see `runs`), phase after phase.
    """
    states = torch.cat([r.states[layer][:, place] for phases in found.values() for r in phases])
    levels = (states.cpu().double().numpy() * (LEVELS - 1)).round().astype(np.uint8)
    count, channels, height, width = levels.shape
    return (levels * (255 // (LEVELS - 1))).transpose(0, 2, 1, 3).reshape(count * height, channels * width)


def numbers(found, place):
    """What the explorer says of one image: for every order and phase {"first": place of its first frame in
    the sheets, "probabilities" [F][classes], "residual" [T + 1], "energy" [T + 1]}, rounded.
    """
    every = [r for phases in found.values() for r in phases]
    firsts = list(accumulate((len(r.steps) for r in every), initial=0))
    told = [
        {
            "first": first,
            "probabilities": [[round(p, 4) for p in row] for row in r.logits[:, place].softmax(1).tolist()],
            "residual": [float(f"{v:.3g}") for v in r.residual[:, place].tolist()],
            "energy": [float(f"{v:.6g}") for v in r.energy[:, place].tolist()],
        }
        for r, first in zip(every, firsts, strict=False)
    ]
    return [told[:3], told[3:]]


def check(net, images, labels, classes, beta, steps):
    """Raise InputError unless these can be watched: images with labels, a name for every class, a β above 0,
    a number of free steps.
    """
    net.check(images)
    check_labels(labels, images, net.classes)
    if len(classes) != net.classes:
        raise InputError(f"{len(classes)} names of classes: this network has {net.classes}")
    if not isinstance(beta, Real) or not 0 < beta < math.inf:
        raise InputError(f"β = {beta!r}: give a finite number above 0")
    if not isinstance(steps, Integral) or not 1 <= steps <= FRAMES[-1]:
        raise InputError(f"T = {steps!r} free steps: give a whole number from 1 to {FRAMES[-1]}")

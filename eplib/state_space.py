"""The space of an EP-CNN's states: which attractors an image has, what a kick does to where a start ends, and
whether a kick at an equilibrium dies out. Here alone a boundary could be fractal.
"""

import numpy as np
import torch

from eplib import attractors
from eplib.checks import InputError, check_labels
from eplib.dynamics import settle
from eplib.network import EPCNN
from eplib.parts import in_parts
from eplib.phases import largest_change
from eplib.studies import Found, quartiles, share

KICKS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 0.3)  # ℓ2 lengths over that of the state
KICKED_STARTS = 4  # random starts of an image that are kicked
RETURN_KICK = 1e-2  # at the equilibrium, of its ℓ2 length
RETURN_STEPS = (1, 2, 5, 10, 20, 50, 100)
MOVING, AT_REST, CYCLE = 0, 1, 2  # of `attractors.period`


def state_space(net, images, labels, sizes, folder=None, progress=True):
    """`Found` of where states of an EP-CNN end, in its own order of updates and in the paper's.

    Every image starts from zero, from all ones, from the equilibrium of another image and from random states
    (every unit uniform in [0, 1]); a random start is also kicked, in a random direction, before it settles;
    and the equilibrium that is reached from zero is kicked too. sizes: starts (random ones), steps, batch.

    Rows, with the order: accuracy (from zero), at_rest, period_two and moving (shares of starts), attractors
    (mean number found among starts at rest), several_attractors and several_classes (shares of images, the
    latter among all starts), agreement (share of starts that end in the class reached from zero); kick_left
    (column predict_steps: steps after the kick; median and quartiles of the distance over the kick). In the
    network's own order, for every kick (column epsilon): class_changed and end_changed (shares of kicked
    starts). Arrays, orders first: kind int8 and classes uint8 [O, K, N], count int16 [O, N], kick_left
    float32 [O, steps, N]; class_changed and end_changed bool [kicks, starts, N]. Raises InputError for bad
    input and for a network without a free phase.
    """
    if not isinstance(net, EPCNN):
        raise InputError("state-space of a network without a free phase: measure an energy-based network")
    net.check(images)
    check_labels(labels, images, net.classes)
    orders = list(dict.fromkeys((net.order, "synchronous")))

    def part(where):
        x = images[where]
        begins = _begins(net, x, sizes, where.start)
        found = [_ends(net, x, begins, sizes["steps"], order) for order in orders]
        joined = {key: np.stack([f[key] for f in found]) for key in found[0]}
        right = joined["classes"][0, 0] == labels[where].cpu().numpy()
        return joined | _kicked(net, x, begins, sizes, where.start) | {"right": right}

    done, seconds = in_parts(len(images), sizes["batch"], part, "state space", folder, progress)
    rows = []
    for place, order in enumerate(orders):
        rows += _rows({"predict_steps": sizes["steps"], "order": order}, done, place, labels)
    where = {"predict_steps": sizes["steps"], "order": net.order, "norm": "l2"}
    for i, kick in enumerate(KICKS):
        for metric in ("class_changed", "end_changed"):
            rows.append(where | {"epsilon": kick} | share(metric, torch.from_numpy(done[metric][i])))
    correct = done["classes"][:, 0] == labels.cpu().numpy()
    right = done.pop("right")
    return Found(rows, right, correct, done, seconds)


def _begins(net, images, sizes, first):
    """Starts in this order: zero, all ones, another image's equilibrium, random ones."""
    ones = [torch.ones(len(images), *shape, device=images.device) for shape in net.shapes]
    other = settle(net, images.roll(1, 0), sizes["steps"], tolerance=attractors.SETTLED).states
    drawn = (attractors.random_states(net, len(images), first * 1000 + k) for k in range(sizes["starts"]))
    return [None, ones, other, *drawn]


def _ends(net, images, begins, steps, order):
    """Where the starts end, and what is left of a kick at the end of the first: {name: array [..., N]}."""
    found = attractors.from_starts(net, images, begins, steps, order)
    kinds = [attractors.period(net, images, [s[k] for s in found.states], order) for k in range(len(begins))]
    return {
        "kind": torch.stack(kinds).to(torch.int8).cpu().numpy(),
        "classes": found.classes.to(torch.uint8).cpu().numpy(),
        "count": found.count.to(torch.int16).cpu().numpy(),
        "kick_left": _kick_left(net, images, [s[0] for s in found.states], order),
    }


def _kick_left(net, images, states, order):
    """float32 [steps, N]: the distance of a kicked state from the one that was not, over the kick."""
    kicked = _kick(states, RETURN_KICK, 0)
    start, left, before = length(kicked, states), [], 0
    for steps in RETURN_STEPS:
        states, kicked = (
            settle(net, images, steps - before, order, start=s).states for s in (states, kicked)
        )
        left.append(length(kicked, states) / start)
        before = steps
    return torch.stack(left).float().cpu().numpy()


def _kicked(net, images, begins, sizes, first):
    """{class_changed, end_changed: bool [kicks, starts, N]} of random starts, in the network's own order."""
    steps, drawn = sizes["steps"], begins[3 : 3 + KICKED_STARTS]
    found = {"class_changed": [], "end_changed": []}
    ends = [settle(net, images, steps, start=b, tolerance=attractors.SETTLED) for b in drawn]
    for kick in KICKS:
        moved = [
            settle(net, images, steps, start=_kick(b, kick, first + k), tolerance=attractors.SETTLED)
            for k, b in enumerate(drawn)
        ]
        pairs = list(zip(ends, moved, strict=True))
        classes = [a.logits.argmax(1) != b.logits.argmax(1) for a, b in pairs]
        apart = [largest_change(a.states, b.states) >= attractors.SAME for a, b in pairs]
        found["class_changed"].append(torch.stack(classes).cpu().numpy())
        found["end_changed"].append(torch.stack(apart).cpu().numpy())
    return {name: np.stack(values) for name, values in found.items()}


def _kick(states, size, seed):
    """States moved in a random direction by `size` of their ℓ2 length, image by image."""
    generator = torch.Generator().manual_seed(90_001 + seed)
    drawn = [torch.randn(s.shape, generator=generator).to(s) for s in states]
    scale = size * length(states) / length(drawn)
    return [s + scale.view(-1, 1, 1, 1) * d for s, d in zip(states, drawn, strict=True)]


def length(states, others=None):
    """[N]: the ℓ2 length of states over all layers, or of their difference from others."""
    parts = states if others is None else [a - b for a, b in zip(states, others, strict=True)]
    return torch.cat([p.flatten(1) for p in parts], 1).norm(dim=1)


def _rows(where, done, place, labels):
    """The rows of one order."""
    kind, classes = done["kind"][place], done["classes"][place]
    count, left = done["count"][place], done["kick_left"][place]
    right = torch.from_numpy(classes[0] == labels.cpu().numpy())
    rows = [where | share("accuracy", right)]
    for metric, value in (("at_rest", AT_REST), ("period_two", CYCLE), ("moving", MOVING)):
        rows.append(where | share(metric, torch.from_numpy(kind == value)))
    ends = {"value": float(count.mean()), "low": int(count.min()), "high": int(count.max()), "n": len(count)}
    rows.append(where | {"metric": "attractors", **ends})
    rows.append(where | share("several_attractors", torch.from_numpy(count > 1)))
    rows.append(where | share("several_classes", torch.from_numpy((classes != classes[0]).any(0))))
    rows.append(where | share("agreement", torch.from_numpy(classes[1:] == classes[0])))
    for steps, values in zip(RETURN_STEPS, left, strict=True):
        rows.append(where | {"predict_steps": steps} | quartiles("kick_left", torch.from_numpy(values)))
    return rows

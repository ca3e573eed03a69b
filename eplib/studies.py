"""What is measured of an EP-CNN's equilibria and of its learning rule: the rows of a result, one study each.

A study takes (network, images, labels, sizes, progress) and returns `Found`; `eplib.measurements` stores it.
"""

import copy
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm

from eplib import attacks, attractors, learning
from eplib.dynamics import settle
from eplib.phases import ORDERS, drive
from eplib.statistics import wilson

SHOWN_STEPS = (*range(1, 21), 25, 30, 40, 50, 60, 70, 80, 100, 120, 150, 200, 250)
BETAS = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02)
NUDGED_STEPS = (4, 8, 15, 30)


@dataclass(frozen=True)
class Found:
    """rows: of the table, without the columns that name the network. clean: bool [N]. correct: bool [accuracy
    rows, N], in the order of the accuracy rows. arrays: more per-image arrays, {name: array}. seconds: that
    it took in all runs, where it was stopped and went on.
    """

    rows: list
    clean: np.ndarray
    correct: np.ndarray
    arrays: dict = field(default_factory=dict)
    seconds: float | None = None


def settling(net, images, labels, sizes, progress=True):
    """Accuracy, residual and energy after every one of `SHOWN_STEPS` free steps, in every order.

    Rows: accuracy (Wilson interval), residual and energy (median over images; low and high are the quartiles)
    and, at the last step, the shares of images in a cycle of period two and at rest. sizes: images at a time
    (batch), steps.
    """
    shown = [t for t in SHOWN_STEPS if t <= sizes["steps"]]
    rows, correct = [], []
    for order in _bar(ORDERS, "settling", progress):
        parts, cycles = [], []
        for x in images.split(sizes["batch"]):
            run = settle(net, x, sizes["steps"], order, record=True)
            parts.append({name: v[[t - 1 for t in shown]] for name, v in run.trajectory.items()})
            cycles.append(attractors.period(net, x, run.states, order))
        kept = {name: torch.cat([p[name] for p in parts], dim=1) for name in parts[0]}
        right = kept["logits"].argmax(2) == labels
        for i, t in enumerate(shown):
            where = {"predict_steps": t, "order": order}
            rows.append(where | share("accuracy", right[i]))
            rows += [where | quartiles(name, kept[name][i]) for name in ("residual", "energy")]
            correct.append(right[i])
        cycles = torch.cat(cycles)
        where = {"predict_steps": sizes["steps"], "order": order}
        rows += [where | share("period_two", cycles == 2), where | share("at_rest", cycles == 1)]
    correct = torch.stack(correct).cpu().numpy()
    own = [r for r in rows if r["metric"] == "accuracy"]
    last = [i for i, r in enumerate(own) if r["order"] == net.order][-1]
    return Found(rows, correct[last], correct)


def multistability(net, images, labels, sizes, progress=True):
    """How many attractors an image has, whether they agree on its class, and whether attractors of one class
    lie together. sizes: starts, steps, batch.

    Rows: accuracy (from zero), attractors (mean number found from starts + 1 starts), settled (share of
    starts), several_classes (share of images whose attractors disagree), agreement (share of random starts
    that end in the class reached from zero), nearest_class (share of images whose nearest attractor of
    another image is of their true class, from zero) and nearest_class_pixels (the same of the images
    themselves).
    """
    parts = [
        attractors.find(net, x, sizes["starts"], sizes["steps"], seed=i * sizes["starts"])
        for i, x in enumerate(_bar(images.split(sizes["batch"]), "attractors", progress))
    ]
    classes = torch.cat([p.classes for p in parts], dim=1)
    settled = torch.cat([p.settled for p in parts], dim=1)
    count = torch.cat([p.count for p in parts])
    states = torch.cat([torch.cat([s[0].flatten(1) for s in p.states], dim=1) for p in parts])
    right = classes[0] == labels
    agree = (classes[1:] == classes[0]) & settled[1:] & settled[0]
    differ = (classes[:, None] != classes[None]) & settled[:, None] & settled[None]
    several = differ.any(dim=1).any(dim=0)
    owners = torch.arange(len(labels))
    near = attractors.nearest_label(states, owners, labels) == labels
    near_pixels = attractors.nearest_label(images.flatten(1), owners, labels) == labels
    where = {"predict_steps": sizes["steps"], "order": net.order}
    rows = [
        share("accuracy", right),
        {"metric": "attractors", **_mean_and_range(count)},
        share("settled", settled.flatten()),
        share("several_classes", several),
        share("agreement", agree.flatten()),
        share("nearest_class", near),
        share("nearest_class_pixels", near_pixels),
    ]
    kept = {"count": count, "classes": classes, "settled": settled, "near": near, "near_pixels": near_pixels}
    right = right.cpu().numpy()
    arrays = {name: value.cpu().numpy() for name, value in kept.items()}
    return Found([where | r for r in rows], right, right[None], arrays)


def landscape(net, images, labels, sizes, progress=True):
    """The energy of the equilibrium along the straight path to an attacked image, and along a random path
    of the same ℓ2 length. sizes: epsilon (of ℓ2 PGD), attack_steps, points, steps, batch.

    Rows, for path "attack" and "random" in the column `attack`: barrier (rise of the energy above the
    straight line between its ends; median, low and high are the quartiles), hysteresis (share of the path on
    which the class depends on the direction of travel; the same), flipped (share of images whose class
    changes). Arrays: energy_attack, energy_random [points, N] from zero; barrier_… and hysteresis_… [N].
    """
    model, threat = attacks.AttackedModel(net), attacks.ThreatModel("l2", sizes["epsilon"])
    found = {"attack": [], "random": []}
    for i, x in enumerate(_bar(images.split(sizes["batch"]), "paths", progress)):
        y = labels[i * sizes["batch"] :][: len(x)]
        attacked = attacks.pgd(model, x, y, threat, sizes["attack_steps"])
        ends = {"attack": attacked, "random": random_end(x, (attacked - x).flatten(1).norm(dim=1), i)}
        for kind, end in ends.items():
            found[kind].append(attractors.along(net, x, end, sizes["points"], sizes["steps"]))
    rows, arrays = [], {}
    for kind, paths in found.items():
        barrier = torch.cat([p.barrier() for p in paths])
        hysteresis = torch.cat([p.hysteresis() for p in paths])
        classes = torch.cat([p.classes for p in paths], dim=2)
        where = {"attack": kind, "norm": "l2", "epsilon": sizes["epsilon"], "order": net.order}
        rows += [where | quartiles("barrier", barrier), where | quartiles("hysteresis", hysteresis)]
        rows.append(where | share("flipped", classes[0, 0] != classes[0, -1]))
        energy = torch.cat([p.energy[0] for p in paths], dim=1)
        kept = {"energy": energy, "barrier": barrier, "hysteresis": hysteresis}
        arrays |= {f"{name}_{kind}": v.cpu().numpy() for name, v in kept.items()}
    clean = (classes[0, 0] == labels).cpu().numpy()
    rows.append(share("accuracy", torch.from_numpy(clean)))
    return Found(rows, clean, clean[None], arrays)


def random_end(images, lengths, seed):
    """Images in [0, 1] at the ℓ2 distances `lengths` [N] from `images`, in Gaussian directions: stretched
    until what clipping leaves has that length (by bisection), or as long as the box allows.
    """
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(seed)).to(images)
    noise = noise / noise.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    low, high = torch.zeros_like(lengths), 1e3 * lengths
    for _ in range(50):
        middle = (low + high) / 2
        end = (images + noise * middle.view(-1, 1, 1, 1)).clamp(0, 1)
        short = (end - images).flatten(1).norm(dim=1) < lengths
        low, high = torch.where(short, middle, low), torch.where(short, high, middle)
    return (images + noise * high.view(-1, 1, 1, 1)).clamp(0, 1)


def estimators(net, images, labels, sizes, progress=True):
    """How well every estimator's weight gradient agrees with the adjoint (β → 0) of the same free state,
    layer by layer, in float64. sizes: steps (of the free phase), adjoint_sweeps, batch, trained_with (β,
    nudged steps, arg-max).

    Rows: metric "cosine" and "norm_ratio" in the columns layer (1 … L, and "read-out"), estimator, beta,
    nudged_steps, arg_max: the median over batches, low and high the smallest and the largest; n the batches.
    """
    net = copy.deepcopy(net).double()
    batches = list(zip(images.double().split(sizes["batch"]), labels.split(sizes["batch"]), strict=True))
    cases, trained = [("bptt", None, None, None)], tuple(sizes["trained_with"])
    cases += [("centred", b, k, a) for b in BETAS for k in NUDGED_STEPS for a in ("live", "frozen")]
    cases += [] if ("centred", *trained) in cases else [("centred", *trained)]
    cases += [("one-sided", b, NUDGED_STEPS[-1], "frozen") for b in BETAS]
    compared, right = {case: [] for case in cases}, []
    for x, y in _bar(batches, "estimators", progress):
        image = drive(net, x)
        free = learning.free_phase(net, image, sizes["steps"], net.order, taped=True)
        right.append(free.logits().argmax(1) == y)
        exact = learning.estimate(net, image, free, y, "adjoint", None, sizes["adjoint_sweeps"], None, None)
        for case in cases:
            estimator, beta, steps, arg_max = case
            found = learning.estimate(net, image, free, y, estimator, beta, steps, net.order, arg_max)
            compared[case].append(_compare(found, exact))
    rows = []
    for (estimator, beta, steps, arg_max), values in compared.items():
        where = dict(estimator=estimator, beta=beta, nudged_steps=steps, arg_max=arg_max, order=net.order)
        where["predict_steps"] = sizes["steps"]
        for layer, pairs in _by_layer(values):
            for metric, numbers in zip(("cosine", "norm_ratio"), pairs, strict=True):
                low, middle, high = min(numbers), float(np.median(numbers)), max(numbers)
                row = dict(layer=layer, metric=metric, value=middle, low=low, high=high, n=len(numbers))
                rows.append(where | row)
    right = torch.cat(right)
    rows.append({"predict_steps": sizes["steps"], "order": net.order, **share("accuracy", right)})
    right = right.cpu().numpy()
    return Found(rows, right, right[None])


def schedules(net, images, labels, sizes, progress=True):
    """What the network's own training schedule gives up against the paper's (synchronous, live arg-max, β
    0.5) on the same weights. sizes: trained_with (β, nudged steps, arg-max), free_steps and nudged_steps of
    the paper's, batch.

    Rows: accuracy at the network's own free phase and at the paper's; cosine of the two weight gradients by
    layer (column layer; median over batches, low and high the smallest and the largest; n the batches).
    """
    beta, nudged, arg_max = sizes["trained_with"]
    own = ("centred", beta, net.steps, nudged, net.order, arg_max)
    both = (own, ("centred", 0.5, sizes["free_steps"], sizes["nudged_steps"], "synchronous", "live"))
    batches = list(zip(images.split(sizes["batch"]), labels.split(sizes["batch"]), strict=True))
    values, right = [], []
    for x, y in _bar(batches, "schedules", progress):
        values.append(_compare(*(learning.compute(net, x, y, *schedule) for schedule in both)))
        right.append(torch.stack([settle(net, x, s[2], s[4]).logits.argmax(1) == y for s in both]))
    correct, rows = torch.cat(right, dim=1), []
    for schedule, outcome in zip(both, correct, strict=True):
        rows.append({"predict_steps": schedule[2], "order": schedule[4], **share("accuracy", outcome)})
    for layer, (cosines, _) in _by_layer(values):
        low, middle, high = min(cosines), float(np.median(cosines)), max(cosines)
        rows.append(dict(layer=layer, metric="cosine", value=middle, low=low, high=high, n=len(cosines)))
    correct = correct.cpu().numpy()
    return Found(rows, correct[0], correct)


def _compare(estimate, exact):
    """{weight name: (cosine, ‖estimate‖ / ‖exact‖)}."""
    found = {}
    for name, reference in exact.items():
        if name.endswith("weight"):
            cosine = F.cosine_similarity(estimate[name].flatten(), reference.flatten(), dim=0).item()
            found[name] = cosine, (estimate[name].norm() / reference.norm()).item()
    return found


def _by_layer(values):
    """(layer, (cosines, norm ratios)) of every weight over the batches."""
    for i, name in enumerate(values[0]):
        layer = "read-out" if name.startswith("readout") else str(i + 1)
        yield layer, tuple(zip(*(v[name] for v in values), strict=True))


def share(metric, outcome):
    """A row: the share of a bool tensor that is true, with its Wilson interval."""
    low, high = wilson(outcome.sum().item(), outcome.numel())
    return {
        "metric": metric,
        "value": outcome.double().mean().item(),
        "low": low,
        "high": high,
        "n": outcome.numel(),
    }


def quartiles(metric, values):
    """A row: the median of a tensor, and its quartiles as low and high; inf where one lies between a number
    and inf or between two inf, where torch interpolates to nan.
    """
    values = values.double()
    places = values.new_tensor([0.25, 0.5, 0.75])
    above = torch.quantile(values, places, interpolation="higher")
    low, middle, high = torch.where(above.isinf(), above, torch.quantile(values, places)).tolist()
    return {"metric": metric, "value": middle, "low": low, "high": high, "n": values.numel()}


def _mean_and_range(counts):
    low, high = counts.min().item(), counts.max().item()
    return {"value": counts.double().mean().item(), "low": low, "high": high, "n": len(counts)}


def _bar(parts, name, progress):
    return tqdm(list(parts), unit="part", desc=name, disable=not progress)


STUDIES = {
    "settling": settling,
    "multistability": multistability,
    "landscape": landscape,
    "estimators": estimators,
    "schedules": schedules,
}

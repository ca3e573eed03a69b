"""Checks that an attack and its evaluation do what they should, before anyone believes their numbers."""

import copy
from pathlib import Path

import numpy as np
import torch

from eplib import attacks, planted, suite
from eplib.attacks import AttackedModel, ThreatModel, fitting, free_memory, predicted
from eplib.checks import InputError, check_labels
from eplib.dynamics import settle
from eplib.parts import in_parts
from eplib.studies import Found, share

NORM = "linf"
EPSILONS = (0.01, 8 / 255, 64 / 255, 1.0)  # the last two must break everything
REPEATED = 0.01  # where attacks are repeated: neither none nor all of the images break
SETTLED, CAP = 1e-4, 1000  # residual below which an image has settled, and steps that it is given
LONG = (250, "synchronous")  # the paper's prediction


def sanity(net, images, labels, sizes, folder=None, progress=True):
    """`Found` of checks of PGD (`attacks.pgd`, ℓ∞, true labels, every ε of `EPSILONS` anew) and of the
    network.

    sizes: planted (so many of the images get the dear checks), steps (of PGD), batch (images at a time, fewer
    where memory is short). folder: where finished parts are kept, see `parts.in_parts`. Rows, each with n:
    accuracy at every ε; "repaired", the share of images broken at one ε and right at a larger one; of all
    changed images "pixel_low", "pixel_high" and "distance", the largest in units of ε; for an energy-based
    network "unsettled" (column at: "clean" or "attacked" at `REPEATED`), the share of residuals of `SETTLED`
    or more after its own free phase, after `LONG`, and where its own order goes on until no unit moves by
    more, at most for `CAP` steps. Of the first images alone: "identical", the share with the same logits and
    the same changed image, bit by bit, in two runs; "same_in_float64" and "same_alone" (batches of one), the
    share with the same outcome of the attack at `REPEATED`; "separable", the share of images with a read-out
    that tells a planted example apart, and, among these, "planted" (column attack), the share for which the
    attack finds one, see `eplib.planted`, with n = 0 where the network has no last linear layer; and
    "fallback", the share of the adjoint's n gradients there that were unrolled. Raises InputError for bad
    input.
    """
    net.check(images)
    check_labels(labels, images, net.classes)
    if sizes["planted"] < 1:
        raise InputError(f"planted = {sizes['planted']}: give 1 or more images")
    model = AttackedModel(net)
    suite.check_model(model, images[: sizes["batch"]])
    batch = fitting(sizes["batch"], model.bytes_an_image(), free_memory(images.device))
    few, steps = min(sizes["planted"], len(images)), sizes["steps"]
    places = [Path(folder) / name if folder else None for name in ("all", "few")]

    def attacked(rows):
        return _attacked(model, images[rows], labels[rows], steps)

    def repeated(rows):
        return _repeated(model, images[rows], labels[rows], steps, rows.start)

    every, took = in_parts(len(images), batch, attacked, "sanity", places[0], progress)
    first, more = in_parts(few, batch, repeated, "sanity, repeats", places[1], progress)
    where = {"predict_steps": model.steps, "order": model.order}
    pgd = where | {"attack": "pgd", "norm": NORM, "labels": "true", "gradient": model.gradient}
    rows = _rows_of_attack(pgd | {"attack_steps": steps}, every)
    if model.recurrent:
        rows += _rows_of_phases(net, every["unsettled"])
    rows += _rows_of_repeats(pgd | {"attack_steps": steps, "epsilon": REPEATED}, first)
    rows += _rows_of_planted(net, where | {"norm": NORM}, steps, first)
    return Found(rows, every["clean"], every["correct"], seconds=took + more)


def _changed(model, x, right, y, epsilon, steps):
    """PGD at ε of the images that are right, the others as they are."""
    changed = x.clone()
    if right.any():
        changed[right] = attacks.pgd(model, x[right], y[right], ThreatModel(NORM, epsilon), steps)
    return changed


def _attacked(model, x, y, steps):
    """What `parts.in_parts` keeps of the checks of all images."""
    clean = predicted(model, x) == y
    changed = [_changed(model, x, clean, y, epsilon, steps) for epsilon in EPSILONS]
    found = {
        "correct": [clean & (predicted(model, c) == y) for c in changed],
        "low": [c.flatten(1).amin(1) for c in changed],
        "high": [c.flatten(1).amax(1) for c in changed],
        "distance": [ThreatModel(NORM, e).distance(c, x) / e for e, c in zip(EPSILONS, changed, strict=True)],
    }
    if model.recurrent:
        repeated = changed[EPSILONS.index(REPEATED)]
        found["unsettled"] = [_unsettled(model.net, shown) for shown in (x, repeated)]
    kept = {name: torch.stack(values).cpu().numpy() for name, values in found.items()}
    return kept | {"clean": clean.cpu().numpy()}


def _phases(net):
    """(steps, order, tolerance) of the free phases at whose end the residual is looked at."""
    return (net.steps, net.order, None), (*LONG, None), (CAP, net.order, SETTLED / 10)


def _unsettled(net, x):
    """bool [3, N]: which images have not settled after each of `_phases`."""
    ends = [settle(net, x, steps, order, tolerance=tolerance) for steps, order, tolerance in _phases(net)]
    return torch.stack([end.residual >= SETTLED for end in ends])


@torch.no_grad()
def _repeated(model, x, y, steps, start):
    """What `parts.in_parts` keeps of the checks of the first images."""
    clean = predicted(model, x) == y
    runs = [(model(x), _changed(model, x, clean, y, REPEATED, steps)) for _ in range(2)]
    same = [(a == b).flatten(1).all(1) for a, b in zip(*runs, strict=True)]
    right = clean & (predicted(model, runs[0][1]) == y)
    precise = AttackedModel(copy.deepcopy(model.net).double())
    alone = [_outcome(model, x[i : i + 1], y[i : i + 1], steps) for i in range(len(x))]
    found = {
        "identical": same[0] & same[1],
        "same_in_float64": _outcome(precise, x.double(), y, steps) == right,
        "same_alone": torch.cat(alone) == right,
    }
    if planted.attacks_of(model.net):
        separable, outcomes, fallbacks = planted.found(model.net, x, steps, start)
        found |= {"separable": separable, "planted": torch.stack(list(outcomes.values()))}
        found["fallbacks"] = torch.zeros(len(outcomes), len(x), dtype=torch.int64)
        found["fallbacks"][:, 0] = torch.tensor(list(fallbacks.values()))  # of the part, at its first image
    return {name: value.cpu().numpy() for name, value in found.items()}


def _outcome(model, x, y, steps):
    """bool [N]: which images are right before and after PGD at `REPEATED`."""
    clean = predicted(model, x) == y
    return clean & (predicted(model, _changed(model, x, clean, y, REPEATED, steps)) == y)


def _rows_of_attack(where, every):
    rows = [
        where | {"epsilon": epsilon} | share("accuracy", torch.from_numpy(right))
        for epsilon, right in zip(EPSILONS, every["correct"], strict=True)
    ]
    right = every["correct"]
    broken = every["clean"] & ~np.logical_and.accumulate(right)  # at this ε or a smaller one
    rows.append(where | share("repaired", torch.from_numpy((right[1:] & broken[:-1]).any(0))))
    extremes = {
        "pixel_low": every["low"].min(),
        "pixel_high": every["high"].max(),
        "distance": every["distance"].max(),
    }
    return rows + [where | {"metric": m, "value": float(v), "n": right.size} for m, v in extremes.items()]


def _rows_of_phases(net, unsettled):
    """Rows of unsettled, bool [2, 3, N]: clean and attacked, after each of `_phases`."""
    rows, attacked = [], {"at": "attacked", "attack": "pgd", "norm": NORM, "epsilon": REPEATED}
    for where, ends in zip(({"at": "clean"}, attacked), unsettled, strict=True):
        for (steps, order, _), outcome in zip(_phases(net), ends, strict=True):
            phase = {"predict_steps": steps, "order": order}
            rows.append(where | phase | share("unsettled", torch.from_numpy(outcome)))
    return rows


def _rows_of_repeats(where, first):
    names = ("identical", "same_in_float64", "same_alone")
    return [where | share(name, torch.from_numpy(first[name])) for name in names]


def _rows_of_planted(net, where, steps, first):
    where = where | {"epsilon": planted.THREAT.epsilon}
    if "planted" not in first:
        return [where | {"attack": "pgd", "metric": "planted", "n": 0}]
    separable = first["separable"]
    rows = [where | share("separable", torch.from_numpy(separable))]
    found = zip(planted.attacks_of(net), first["planted"], first["fallbacks"], strict=True)
    for name, hit, unrolled in found:
        by = where | {"attack": name, "attack_steps": planted.ATTACKS[name][2] * steps}
        outcome = torch.from_numpy(hit[separable])
        rows.append(by | (share("planted", outcome) if len(outcome) else {"metric": "planted", "n": 0}))
        count = len(outcome) * steps
        if planted.ATTACKS[name][0] == "adjoint" and count:
            rows.append(by | {"metric": "fallback", "value": float(unrolled.sum() / count), "n": count})
    return rows

"""Comparing how semantic the changes of two networks are: on the images that all networks get right, image by
image, by five primary measures that were fixed beforehand.
"""

from dataclasses import dataclass

import numpy as np

from eplib import black_box, statistics
from eplib.checks import InputError
from eplib.semantics_changes import Setting, settings

ROBUST, STANDARD = ("judge-l2", "judge-linf"), "judge-standard"
EFFECT = Setting("effect", 2.0, "targeted", "attack")  # where the primary measures are compared
BUDGET = Setting("budget", 1.0, "targeted", "attack")  # and looked at beside
PRIMARY = {
    "P1": "shift of the robust judges",
    "P2": "gradient towards the class mean",
    "P3": "low frequencies",
    "P4": "class consistency",
    "P5": "transfer asymmetry",
}
DECIDING = ("P1", "P2")
TRANSFERRED = 8 / 255  # ℓ∞ ε of transferred images


@dataclass(frozen=True)
class Compared:
    """The EP-CNN beside a rival in one measure. first, second: means, second None where only a difference has
    a meaning. low, high: bootstrap interval of the mean difference, 95 %. effect: matched rank-biserial
    correlation. p: of the permutation test, adjusted by Holm over the primary measures with this rival. n:
    images.
    """

    measure: str
    rival: str
    seed: int
    first: float
    second: float | None
    difference: float
    low: float
    high: float
    effect: float
    p: float
    n: int


def values(result, name, setting):
    """float [N] of a result of "semantics": an array at a `Setting`, or one of gradients; NaN where it does
    not exist. "shift" and "judged" of "robust" are the means over both robust judges.
    """
    what, _, judge = name.partition(" ")
    if judge == "robust":
        return np.mean([values(result, f"{what} {j}", setting) for j in ROBUST], 0)
    found = result.arrays[name].astype(float)
    if found.ndim == 1:
        return found
    return found[settings(result.settings["sizes"]).index(setting)]


def primary(result, measure, setting):
    """float [N] of one of P1 to P4."""
    name = {"P1": "shift robust", "P2": "prototype", "P3": "low", "P4": "consistency"}[measure]
    return values(result, name, setting)


def common(found):
    """bool [N]: the images that every one of some results has right. Raises InputError for results of other
    images than each other's.
    """
    if any(not np.array_equal(r.image_ids, found[0].image_ids) for r in found):
        raise InputError("results of other images than each other's: measure all networks alike")
    return np.all([r.correct_clean for r in found], 0)


def asymmetry(first, second):
    """(ids, float [n]): over the images that two networks get right, by how much more often the images that
    PGD made on the first fool the second than the other way round: 1, 0 or −1 an image.

    first, second: results of "transfer". None where one was not measured with the other's images at
    `TRANSFERRED` or the measured ε nearest to it.
    """
    epsilon = min(first.epsilons, key=lambda e: abs(e - TRANSFERRED))
    try:
        left = [
            black_box.right_from(target, epsilon, [source.settings["model"]])
            for target, source in ((second, first), (first, second))
        ]
    except InputError:
        return None
    both = first.correct_clean & second.correct_clean
    fooled = [~right for right in left]
    return first.image_ids[both], (fooled[0].astype(float) - fooled[1])[both]


def compared(found, transfers, rival, seed, setting=EFFECT, among=None):
    """[Compared]: the EP-CNN of a seed beside a rival of that seed, one a primary measure that both have.

    found, transfers: {model: [Result of "semantics" or "transfer", one a seed]}. among: models whose images
    right count, by default these two. P2 does not depend on the setting, P5 is at ℓ∞ `TRANSFERRED`. [] where
    one of the two was not measured.
    """
    own, other = (of_seed(found, m, seed) for m in ("ep-cnn", rival))
    if own is None or other is None:
        return []
    of_all = [of_seed(found, m, seed) for m in among or ("ep-cnn", rival)]
    right, rows = common([r for r in of_all if r]), []
    for measure in PRIMARY:
        if measure == "P5":
            pair = [of_seed(transfers, m, seed) for m in ("ep-cnn", rival)]
            told = asymmetry(*pair) if all(pair) else None
            if told is None:
                continue
            ids, first = told
            first = first[np.isin(ids, own.image_ids[right])]
            second = np.zeros_like(first)
        else:
            first, second = (primary(r, measure, setting)[right] for r in (own, other))
        there = np.isfinite(first) & np.isfinite(second)
        if there.sum() > 1:
            rows.append(_tested(measure, rival, seed, first[there], second[there]))
    adjusted = statistics.holm([r.p for r in rows])
    return [_with_p(r, p) for r, p in zip(rows, adjusted, strict=True)]


def _tested(measure, rival, seed, first, second):
    difference = first - second
    low, high = statistics.mean_interval(difference)
    alone = measure == "P5"
    return Compared(
        measure,
        rival,
        seed,
        float(first.mean()),
        None if alone else float(second.mean()),
        float(difference.mean()),
        low,
        high,
        statistics.rank_biserial(first, second),
        statistics.permutation(first, second),
        len(first),
    )


def _with_p(row, p):
    return Compared(**{**row.__dict__, "p": p})


def of_seed(found, model, seed):
    """The result of a model and seed, or None."""
    return next((r for r in found.get(model, []) if r.settings["seed"] == seed), None)


def all_compared(found, transfers, rivals, setting=EFFECT):
    """[Compared] of the EP-CNN with every rival, of the seeds for which every rival of `rivals` that is
    stored of the first seed is there, on the images that all of them have right.
    """
    seeds = [r.settings["seed"] for r in found.get("ep-cnn", [])]
    stored = [m for m in rivals if seeds and of_seed(found, m, seeds[0])]
    complete = [s for s in seeds if stored and all(of_seed(found, m, s) for m in stored)]
    among = ("ep-cnn", *stored)
    return [
        row
        for seed in complete
        for rival in stored
        for row in compared(found, transfers, rival, seed, setting, among)
    ]

"""What causes it: pairs of networks that differ in one thing, and how often each stays right on the same
images under all attacks measured.
"""

from dataclasses import dataclass, replace

import numpy as np

from eplib import scales
from eplib.black_box import common
from eplib.statistics import detectable, holm, mcnemar, paired_difference


@dataclass(frozen=True)
class Pair:
    """Two models that differ in one thing. cause: key of `CAUSES`. model: with it. without: without it.
    thing: what differs, in words.
    """

    cause: str
    model: str
    without: str
    thing: str


CAUSES = {  # {key: what would have to be true}
    "everything": "all that differs in the paper's comparison, together, makes it robust",
    "rule": "the learning rule makes it robust",
    "feedback": "feedback while it settles makes it robust",
    "settling": "settling makes it robust",
    "normalisation": "the CNN's BatchNorm makes the CNN fragile",
    "decay": "weight decay makes it robust",
    "unit": "the bounded unit makes it robust",
    "pooling": "max pooling makes it robust",
    "settings": "it depends on how Equilibrium Propagation is set",
    "gradient": "small input gradients make a CNN robust",
    "teaching": "what makes it robust can be taught to a feed-forward network",
    "adversarial": "Equilibrium Propagation adds to adversarial training",
}
PAIRS = (
    Pair("everything", "ep-cnn", "cnn", "everything that differs in the paper's comparison"),
    Pair("rule", "ep-cnn", "twin-bptt", "Equilibrium Propagation instead of BPTT"),
    Pair("rule", "ep-cnn", "twin-adjoint", "Equilibrium Propagation instead of the adjoint"),
    Pair("rule", "ep-cnn", "twin-one-sided", "two nudged phases instead of one"),
    Pair("feedback", "ep-cnn", "twin-cut", "feedback, which is cut in the other"),
    Pair("settling", "ep-cnn", "cnn-like-ep", "settling, instead of one sweep forward"),
    Pair("settling", "twin-bptt", "cnn-like-ep", "settling, both trained by back-propagation"),
    Pair("normalisation", "cnn-plain", "cnn", "no BatchNorm"),
    Pair("normalisation", "cnn-plain-wd-3e-4", "cnn-wd-3e-4", "no BatchNorm, both with weight decay"),
    Pair("decay", "cnn-plain-wd-3e-4", "cnn-plain", "weight decay, without BatchNorm"),
    Pair("decay", "cnn-wd-3e-4", "cnn", "weight decay, with BatchNorm"),
    Pair("decay", "cnn-like-ep", "cnn-like-ep-wd-0", "weight decay, with the EP-CNN's unit"),
    Pair("decay", "ep-cnn", "ep-cnn-wd-0", "weight decay in the EP-CNN"),
    Pair("unit", "cnn-like-ep-wd-0", "cnn-plain", "the EP-CNN's unit instead of ReLU"),
    Pair("unit", "cnn-sigmoid", "cnn", "a hard sigmoid instead of ReLU, with BatchNorm"),
    Pair("pooling", "ep-cnn", "ep-cnn-average", "max pooling instead of average pooling"),
    Pair("settings", "ep-cnn-beta-0.1", "ep-cnn", "β 0.1 instead of 0.5"),
    Pair("settings", "ep-cnn-beta-1", "ep-cnn", "β 1 instead of 0.5"),
    Pair("settings", "ep-cnn-half-k", "ep-cnn", "half the nudged steps"),
    Pair("settings", "ep-cnn-double-k", "ep-cnn", "twice the nudged steps"),
    Pair("settings", "ep-cnn-squared-error", "ep-cnn", "squared error instead of cross-entropy"),
    Pair("settings", "ep-cnn-live", "ep-cnn", "pooling winners that may switch while nudged"),
    Pair("gradient", "cnn-penalised", "cnn-plain", "a penalty on the input gradient"),
    Pair("gradient", "cnn-penalised-2", "cnn-plain", "twice that penalty"),
    Pair("teaching", "student-of-ep-cnn", "student-of-cnn", "the EP-CNN as teacher instead of the CNN"),
    Pair("adversarial", "ep-cnn-at-l2-0.5", "cnn-at-l2-0.5", "adversarial training on both, an EP-CNN"),
)


def pairs(scale):
    """`PAIRS` as a scale has them: where it trains variants of Equilibrium Propagation on a smaller network,
    "ep-cnn-16", pairs of two of them are of that one.
    """
    rows = scales.scale(scale).rows
    return tuple(p if {p.model, p.without} <= rows.keys() else _smaller(p) for p in PAIRS)


def _smaller(pair):
    both = {k: getattr(pair, k) for k in ("model", "without")}
    if not all(m.startswith("ep-cnn") for m in both.values()):
        return pair
    return replace(pair, **{k: m.replace("ep-cnn", "ep-cnn-16", 1) for k, m in both.items()})


@dataclass(frozen=True)
class Compared:
    """A `Pair` of networks of one seed on the images they share. n: of them. first, second: accuracy under
    attack. clean: that of both without one. difference, low, high: of the two accuracies under attack, with
    its 95 % interval. both: images that both get right
    without an attack. kept: (share of those that each still gets right under it). p: exact McNemar test,
    adjusted by Holm over all pairs of the table. detectable: the smallest difference that as many images
    with as many that differ would have shown, before that adjustment.
    """

    pair: Pair
    seed: int
    n: int
    first: float
    second: float
    clean: tuple
    difference: float
    low: float
    high: float
    both: int
    kept: tuple
    p: float
    detectable: float


def compared(found, epsilon, pairs):
    """[Compared] of every pair of which both networks are there, in every seed that they share, in the order
    of [Pair].

    found: {model: [Result, one a seed]} of outcomes under all attacks (see `smallest.beside`). epsilon: one
    at which all were measured.
    """
    rows = []
    for pair in pairs:
        seeds = [{r.settings["seed"]: r for r in found.get(m, ())} for m in (pair.model, pair.without)]
        for seed in sorted(seeds[0].keys() & seeds[1].keys()):
            rows.append((pair, seed, *_outcomes([each[seed] for each in seeds], epsilon)))
    p_values = holm([mcnemar(*right) for _, _, right, _ in rows])
    return [_row(*row, p) for row, p in zip(rows, p_values, strict=True)]


def _outcomes(results, epsilon):
    """((right under attack) of both, (right without one) of both), bool [n], on the images they share."""
    both = list(zip(results, common(results)[1], strict=True))
    right = tuple(r.correct[list(r.epsilons).index(epsilon)][places] for r, places in both)
    return right, tuple(r.correct_clean[places] for r, places in both)


def _row(pair, seed, right, clean, p):
    first, second = right
    difference, low, high = paired_difference(first, second)
    both = clean[0] & clean[1]
    return Compared(
        pair,
        seed,
        len(first),
        float(first.mean()),
        float(second.mean()),
        tuple(float(c.mean()) for c in clean),
        difference,
        low,
        high,
        int(both.sum()),
        tuple(float(np.mean(r[both])) if both.any() else np.nan for r in right),
        p,
        detectable(len(first), float((first != second).mean())),
    )

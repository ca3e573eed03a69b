"""Whether models keep their order from one scale to another: Kendall's τ between their accuracies, its range
over resampled images, and a rule fixed before the numbers.
"""

from dataclasses import dataclass

import numpy as np

from eplib import black_box, chapters, pictures, scales
from eplib import corruption_scores as scores
from eplib.corruption_verdicts import AGREEING
from eplib.scale_limits import outcome, targets
from eplib.statistics import LEVEL, RESAMPLES
from eplib.verdicts import Verdict, judged

SCALES = (("quick", "cpu"), ("quick", "paper"), ("cpu", "paper"))  # whose orders of models are compared
ORDERED = {  # {what is compared: its measurement}
    "no attack": "pgd-linf",
    "ℓ∞ PGD": "pgd-linf",
    "ℓ2 PGD": "pgd-l2",
    "suite of attacks": "suite-linf",
    "Square": "square-linf",
    "corruptions": "corruptions",
    "corruptions beyond": "corruptions-beyond",
}


@dataclass(frozen=True)
class Order:
    """The order of models at two scales. first, second: {model: (mean, low, high) of accuracy}, the same
    models. tau, low, high: Kendall's τ between the two orders and its range over resampled images. turned:
    pairs of models that are in opposite order at the two scales in every resample.
    """

    what: str
    first: dict
    second: dict
    tau: float
    low: float
    high: float
    turned: tuple = ()

    @property
    def counts(self):
        """Whether there are enough models to judge by."""
        return len(self.first) >= scores.NETWORKS


def orders(small, large):
    """[Order] of the models that have a measurement of `ORDERED` stored at both scales, for each that two or
    more have.
    """
    tables, epsilons = {}, targets()
    for measurement in dict.fromkeys(ORDERED.values()):
        # the larger scale has fewer networks: only these are looked for at the other
        second = _stored(large, measurement)
        first = _stored(small, measurement, list(second)) if second else {}
        models = [m for m in first if m in second]
        for what in (w for w, m in ORDERED.items() if m == measurement and len(models) > 1):
            tables[what] = [_table({m: of[m] for m in models}, what, epsilons) for of in (first, second)]
    together = sum(len(first) >= scores.NETWORKS for first, _ in tables.values())
    return [order(what, *both, max(together, 1)) for what, both in tables.items()]


def _stored(scale, measurement, models=None):
    """{model: [Result]} at a scale; of corruptions, those that looked at the same corrupted images."""
    size = scales.scale(scale)
    found = chapters.stored(chapters.Shown(scale, size.dataset, size.seeds), measurement, models)
    corrupted = measurement.startswith("corruptions") and "ep-cnn" in found
    return scores.of_one_source(found) if corrupted else found


def _table(found, what, epsilons):
    """{model: float [n]}: how far each image is right, the mean over seeds, on the images that all share."""
    every = [(m, r) for m, results in found.items() for r in results]
    right = {}
    for (model, result), at in zip(every, black_box.common([r for _, r in every])[1], strict=True):
        right.setdefault(model, []).append(_right(result, what, epsilons)[at])
    return {m: np.mean(r, 0) for m, r in right.items()}


def _right(result, what, epsilons):
    """float [N]: how far each image of a result is right in what is compared."""
    measurement = ORDERED[what]
    if measurement.startswith("corruptions"):
        types = scores.SETS["18"] if measurement == "corruptions" else None
        return scores.per_image(result, types=types)
    return outcome(result, None if what == "no attack" else epsilons[result.norm]).astype(float)


def order(what, first, second, judged_together=1):
    """The `Order` of models from {model: float [n]} of two scales, images of each resampled on their own.

    judged_together: so many such orders share the level of 0.05 (Bonferroni).
    """
    tables = [np.stack(list(of.values())) for of in (first, second)]
    drawn, rng = [], np.random.default_rng(0)
    for table in tables:
        chosen = rng.integers(0, table.shape[1], (RESAMPLES, table.shape[1]))
        drawn.append(np.stack([row[chosen].mean(1) for row in table]))
    taus = tau(*drawn)
    tail = 50 * LEVEL / judged_together
    low, high = np.percentile(taus, (tail, 100 - tail), method="inverted_cdf")  # values that occurred
    middle = float(tau(*(t.mean(1) for t in tables)))
    models, agree = list(first), _agreement(*drawn)
    turned = [
        (models[i], models[j]) for i, j, same in zip(*_pairs(first), agree, strict=True) if same.max() < 0
    ]
    means = [{m: scores.interval(values) for m, values in of.items()} for of in (first, second)]
    return Order(what, *means, middle, float(low), float(high), tuple(turned))


def tau(first, second):
    """Kendall's τ between values [models, …] of the same models: the share of pairs in the same order minus
    that in the other; pairs that are equal somewhere count as neither.
    """
    return _agreement(first, second).mean(0)


def _agreement(first, second):
    """[pairs, …]: 1 where a pair of models is in the same order in both, −1 in the other, 0 where equal."""
    i, j = _pairs(first)
    return np.sign(first[i] - first[j]) * np.sign(second[i] - second[j])


def _pairs(models):
    return np.triu_indices(len(models), 1)


def compared(scale):
    """{(small, large): ([Order], Verdict)} of every two scales of `SCALES`, first the one that says most
    about a scale: with the next larger one.
    """
    found = {}
    for small, large in sorted(SCALES, key=lambda pair: pair[0] != scale):
        own, size = orders(small, large), scales.scale(large)
        results = chapters.stored(chapters.Shown(large, size.dataset, size.seeds), "pgd-linf", ("ep-cnn",))
        found[small, large] = own, predicts(own, small, large, results.get("ep-cnn", []))
    return found


def predicts(found, small, large, results):
    """Does the order of models at one scale predict that at another? A `Verdict` from [Order].

    These networks: looked at is every measurement that five or more models have at both. Contradicted when
    in one of them the whole range of Kendall's τ lies below 0.5 and some pair of models is in opposite order
    in every resample (models that hardly differ have a random order); supported when the range lies at or
    above 0.5 in all; otherwise undecided, as it is when there is none. results: of one model at the larger
    scale, one a seed, [] where there is none.
    """
    looked_at = [o for o in found if o.counts]
    networks = "undecided"
    if any(o.high < AGREEING and o.turned for o in looked_at):
        networks = "contradicted"
    elif looked_at and all(o.low >= AGREEING for o in looked_at):
        networks = "supported"
    overturn = (
        f"{scores.NETWORKS} or more models measured at both scales, and the range of τ on the other side of"
        f" {AGREEING}, for a contradiction with a pair that clearly changes places."
    )
    if not looked_at:
        most = max((len(o.first) for o in found), default=0)
        sentence = (
            f"For these networks: undecided. {most or 'No'} models have the same measurement stored at"
            f" {small} and at {large} scale; to compare their order {scores.NETWORKS} are needed."
        )
    else:
        told = "; ".join(map(_told, looked_at))
        sentence = (
            f"For these networks: {networks}. Between the orders of models at {small} and at {large} scale"
            f" Kendall's τ is, with its range over resampled images: {told}."
        )
    if not results:
        return Verdict(networks, "undecided", sentence, overturn)
    return judged(networks, results, sentence, overturn)


def _told(o):
    pairs = " and ".join(f"{pictures.name(a)} with {pictures.name(b)}" for a, b in o.turned)
    places = f", in every resample {pairs} change places" if pairs else ""
    return f"{o.what}, {len(o.first)} models, {in_words(o)}{places}"


def in_words(o):
    """τ of an `Order` and its range."""
    return f"τ {o.tau:.2f} ({o.low:.2f} to {o.high:.2f})".replace("-", "−")

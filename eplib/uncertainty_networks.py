"""What is known of every network about its boundary and about its robustness, and whether the two go together
over networks.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from eplib import corruption_scores, published, uncertainty
from eplib.statistics import LEVEL, RESAMPLES
from eplib.uncertainty import SMALL, STANDARD, Exponent
from eplib.uncertainty_measurements import random_outcomes
from eplib.verdicts import nearest

RATIO_SHARE = 0.03  # of the three of `uncertainty.SHARES`, the one that associations use
COORDINATES = 3072


@dataclass(frozen=True)
class Network:
    """One network. adversarial, random: `Exponent` of smallest changes and of random directions on test
    images, None where not identifiable or not measured. hill: cross-check of the first. near: the ε at which
    3 % of the images change by their smallest change, that is the prefactor as a length. ratio: {share: (ρ,
    low, high)}. clean, robust, corrupted: accuracies, NaN where not measured.
    """

    model: str
    seed: int
    adversarial: Exponent | None
    random: Exponent | None
    hill: float
    near: float
    ratio: dict
    clean: float
    robust: float
    corrupted: float

    @property
    def values(self):
        """{name: number or NaN} of what the hypothesis may be about."""
        return {
            "exponent": self.adversarial.alpha[0] if self.adversarial else np.nan,
            "exponent, random": self.random.alpha[0] if self.random else np.nan,
            "distance": self.near,
            "ratio": self.ratio[RATIO_SHARE][0] if self.ratio else np.nan,
        }


def window(result):
    """The `Window` of a result's scale: the standard's, or the wider one where ε were placed by a pilot."""
    return SMALL if result.settings["sizes"]["pilot"] else STANDARD


def random_exponent(result, kind="test", keep=None, two_sided=True):
    """`Exponent`, or None, of moving points of a kind in random directions. keep: bool [N], which of them."""
    epsilons, outcomes = random_outcomes(result, kind)
    outcomes = outcomes if keep is None else outcomes[..., keep]
    changed, trials = uncertainty.counts(outcomes, two_sided)
    return uncertainty.exponent(epsilons, changed, trials, window(result))


def ratios(random, distances, two_sided=True):
    """{share: (ρ, low, high)} of the images that both results looked at."""
    epsilons, outcomes = random_outcomes(random)
    lengths = distances.arrays["minimal_norm"]
    count = min(len(lengths), outcomes.shape[-1])
    changed, trials = uncertainty.counts(outcomes[..., :count], two_sided)
    return {
        q: uncertainty.ratio(epsilons, changed, trials, lengths[:count], COORDINATES, q)
        for q in uncertainty.SHARES
    }


def networks(random, distances, attacked, corrupted):
    """[Network] of every network with a result of "adversarial-distances".

    random, distances, attacked, corrupted: {model: [Result, one a seed]} of "uncertainty",
    "adversarial-distances", "pgd-l2" and "corruptions".
    """
    found = []
    for model, results in distances.items():
        for result in results:
            seed, lengths = result.settings["seed"], result.arrays["minimal_norm"].astype(float)
            moved, left, spoilt = (_of_seed(r, model, seed) for r in (random, attacked, corrupted))
            exponent = uncertainty.of_distances(lengths)
            found.append(
                Network(
                    model,
                    seed,
                    exponent,
                    random_exponent(moved) if moved else None,
                    uncertainty.hill(lengths) if exponent else np.nan,
                    float(np.quantile(lengths, RATIO_SHARE, method="inverted_cdf")),
                    ratios(moved, result) if moved else {},
                    float(result.correct_clean.mean()),
                    robust_accuracy(left) if left else np.nan,
                    corruption_accuracy(spoilt) if spoilt else np.nan,
                )
            )
    return found


def _of_seed(results, model, seed):
    return next((r for r in results.get(model, ()) if r.settings["seed"] == seed), None)


def strength(result):
    """The measured ℓ2 ε nearest to the one at which the published EP-CNN leads its CNN most."""
    return nearest(result, published.largest_gap("l2")[0])


def robust_accuracy(result):
    """Accuracy under ℓ2 PGD at `strength`."""
    return float(result.correct[list(result.epsilons).index(strength(result))].mean())


def corruption_accuracy(result):
    """Mean accuracy over the corruptions and severities of a result of "corruptions"."""
    return float(corruption_scores.mean(corruption_scores.surface(result)))


@dataclass(frozen=True)
class Association:
    """A rank correlation over networks. value, low, high: Spearman's and the 95 % interval of the bootstrap
    over kinds of networks, whose seeds stay together; NaN where it cannot be had. networks, kinds: how many.
    """

    value: float
    low: float
    high: float
    networks: int
    kinds: int


def association(found, name, target, resamples=RESAMPLES):
    """`Association` of a value of `Network.values` with "robust" or "corrupted" accuracy."""
    points = [(n.model, n.values[name], getattr(n, target)) for n in found]
    points = [p for p in points if np.isfinite(p[1:]).all()]
    kinds = sorted({p[0] for p in points})
    if len(kinds) < 3:
        return Association(np.nan, np.nan, np.nan, len(points), len(kinds))
    pairs = {k: np.array([p[1:] for p in points if p[0] == k]) for k in kinds}
    generator, drawn = np.random.default_rng(0), []
    for _ in range(resamples):
        chosen = generator.integers(0, len(kinds), len(kinds))
        drawn.append(_spearman(np.concatenate([pairs[kinds[i]] for i in chosen])))
    drawn = np.array(drawn)[np.isfinite(drawn)]
    low, high = np.quantile(drawn, (LEVEL / 2, 1 - LEVEL / 2)) if len(drawn) else (np.nan, np.nan)
    value = _spearman(np.concatenate(list(pairs.values())))
    return Association(float(value), float(low), float(high), len(points), len(kinds))


def _spearman(pairs):
    first, second = (rankdata(column) for column in pairs.T)
    if not np.ptp(first) or not np.ptp(second):
        return np.nan
    return np.corrcoef(first, second)[0, 1]

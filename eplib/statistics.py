"""Intervals and tests: thin calls of scipy and statsmodels."""

import gc

import numpy as np
from scipy.stats import binomtest, bootstrap, norm, permutation_test, rankdata, ttest_ind, wilcoxon

LEVEL = 0.05
POWER = 0.8
RESAMPLES = 1000
PERMUTATIONS = 10_000


def wilson(successes, n, confidence=0.95):
    """The Wilson score interval (low, high) of a share of `n` images."""
    interval = binomtest(int(successes), int(n)).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def mcnemar(first, second):
    """Exact two-sided McNemar test on the same images: p that two networks with outcomes `first` and `second`
    (bool [N]) are right equally often. 1.0 when they never differ.
    """
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    discordant = only_first + only_second
    return float(binomtest(only_first, discordant).pvalue) if discordant else 1.0


def paired_difference(first, second, confidence=0.95):
    """(difference, low, high): how much more often `first` is right than `second` (bool [N]) on the same
    images, as a fraction, with the adjusted Wald interval of Agresti and Min (2005).
    """
    n = len(first)
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    a, b, total = only_first + 0.5, only_second + 0.5, n + 2
    middle, half = (a - b) / total, norm.ppf((1 + confidence) / 2)
    half *= (a + b - (a - b) ** 2 / total) ** 0.5 / total
    return (only_first - only_second) / n, float(max(middle - half, -1)), float(min(middle + half, 1))


def detectable(n, discordant, level=LEVEL, power=POWER):
    """The smallest difference in accuracy, as a fraction, that a two-sided McNemar test of `n` images finds
    with this power when two networks differ on a share `discordant` of them: the d of
    n = (z_{1−level/2} √ψ + z_power √(ψ − d²))² / d², ψ the share (Connor 1987). 1.0 where no difference that
    such a share allows is found.
    """
    first, second = norm.ppf(1 - level / 2), norm.ppf(power)
    # squared and ordered by d: (n + z₂²) d² − 2 z₁ √(nψ) d + (z₁² − z₂²) ψ = 0, whose larger root is d
    a, b, c = n + second**2, -2 * first * (n * discordant) ** 0.5, (first**2 - second**2) * discordant
    d = (-b + (b * b - 4 * a * c) ** 0.5) / (2 * a)
    return float(d) if discordant and d <= discordant else 1.0


def signed_rank(first, second):
    """Two-sided Wilcoxon signed-rank test on pairs of numbers: p that their differences are as often and as
    far above 0 as below. 1.0 when they never differ.
    """
    return float(wilcoxon(first, second).pvalue) if (first != second).any() else 1.0


def mean_interval(values, confidence=0.95, resamples=RESAMPLES, seed=0):
    """Percentile bootstrap interval (low, high) of a mean over images, float [N], N ≥ 2."""
    found = bootstrap(
        (values,),
        np.mean,
        n_resamples=resamples,
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(found.low), float(found.high)


def permutation(first, second, seed=0):
    """Two-sided permutation test on pairs of numbers: p that the mean difference is as large when the two of
    every pair are exchanged at random, `PERMUTATIONS` times, or in every way where there are no more. 1.0
    when they never differ.
    """
    if not (first != second).any():
        return 1.0
    found = permutation_test(
        (first, second),
        lambda a, b, axis: np.mean(a - b, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=PERMUTATIONS - 1,
        batch=1000,
        rng=np.random.default_rng(seed),
    )
    return float(found.pvalue)


def rank_biserial(first, second):
    """Matched-pairs rank-biserial correlation of pairs of numbers: by how much the ranks of the differences
    above 0 outweigh those below, from −1 to 1; 0.0 when they never differ.
    """
    difference = np.asarray(first, float) - np.asarray(second, float)
    difference = difference[difference != 0]
    if not len(difference):
        return 0.0
    ranks = rankdata(np.abs(difference))
    return float((ranks * np.sign(difference)).sum() / ranks.sum())


def holm(p_values):
    """p-values adjusted for their number by Holm's step-down method, in the order given."""
    from statsmodels.stats.multitest import multipletests  # only here: it takes a second to import

    if not len(p_values):
        return []
    gc.freeze()  # it collects garbage at every call, which among all that is loaded takes far longer
    try:
        return [float(p) for p in multipletests(p_values, method="holm")[1]]
    finally:
        gc.unfreeze()


def welch(first, second, confidence=0.95):
    """(difference of means, low, high, p): Welch's t test between two groups of networks, a number a seed.
    Without two numbers in each group there is no interval: (difference, −inf, inf, 1.0).
    """
    difference = float(np.mean(first) - np.mean(second))
    if min(len(first), len(second)) < 2 or not (np.ptp(first) or np.ptp(second)):
        return difference, -np.inf, np.inf, 1.0
    found = ttest_ind(first, second, equal_var=False)
    low, high = found.confidence_interval(confidence)
    return difference, float(low), float(high), float(found.pvalue)


def cluster_bootstrap(count, statistic, confidence=0.95, resamples=RESAMPLES, seed=0):
    """Percentile interval (low, high) of a statistic over `count` images: `statistic(places)` is computed of
    resampled places of images, int [count], so that all that belongs to an image stays together. Resamples
    for which it is NaN are left out; (NaN, NaN) where it is for most of them.
    """
    found = bootstrap(
        (np.arange(count),),
        lambda places: statistic(places),
        n_resamples=resamples,
        vectorized=False,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).bootstrap_distribution
    kept = found[~np.isnan(found)]
    if 2 * len(kept) < resamples:
        return np.nan, np.nan
    tail = 50 * (1 - confidence)
    # values that occurred, none between them: some statistics have gaps
    ends = np.percentile(kept, (tail, 100 - tail), method="inverted_cdf")
    return tuple(float(v) for v in ends)

"""Intervals and tests: thin calls of scipy."""

from scipy.stats import binomtest, norm, wilcoxon


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


def signed_rank(first, second):
    """Two-sided Wilcoxon signed-rank test on pairs of numbers: p that their differences are as often and as
    far above 0 as below. 1.0 when they never differ.
    """
    return float(wilcoxon(first, second).pvalue) if (first != second).any() else 1.0


def holm(p_values):
    """p-values adjusted for their number by Holm's step-down method, in the order given."""
    adjusted, running = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = running
    return adjusted

import math

import numpy as np
import pytest
from scipy import stats

from eplib.statistics import cluster_bootstrap, detectable, holm, mcnemar, mean_interval, welch, wilson


@pytest.mark.parametrize("k, n", [(0, 1), (1, 1), (0, 20), (20, 20), (3, 7), (50, 100), (499, 500)])
def test_wilson_equals_its_closed_formula(k, n):
    z, share = 1.959963984540054, k / n  # the 97.5 % quantile of the normal distribution
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low, high = wilson(k, n)
    assert (low, high) == pytest.approx((centre - half, centre + half), abs=1e-12)
    assert 0 <= low <= share <= high <= 1 and low < high


def test_wilson_narrows_with_more_images_and_less_confidence():
    widths = [high - low for low, high in (wilson(5, 10), wilson(50, 100), wilson(50, 100, confidence=0.5))]
    assert widths == sorted(widths, reverse=True)


def outcomes(both, only_first, only_second, neither):
    counts = (both, only_first, only_second, neither)
    return np.repeat([True, True, False, False], counts), np.repeat([True, False, True, False], counts)


@pytest.mark.parametrize("only_first, only_second", [(1, 0), (0, 1), (5, 5), (0, 6), (9, 3), (40, 61)])
def test_mcnemar_equals_the_binomial_sum_and_is_symmetric(only_first, only_second):
    discordant, fewer = only_first + only_second, min(only_first, only_second)
    tail = sum(math.comb(discordant, i) for i in range(fewer + 1)) / 2**discordant
    first, second = outcomes(17, only_first, only_second, 4)
    assert mcnemar(first, second) == pytest.approx(min(1.0, 2 * tail), rel=1e-9)
    assert mcnemar(second, first) == mcnemar(first, second)


def test_mcnemar_looks_at_differing_images_only():
    assert mcnemar(*outcomes(0, 8, 2, 0)) == mcnemar(*outcomes(1000, 8, 2, 50))


def test_mcnemar_of_equal_outcomes_is_one():
    assert mcnemar(*outcomes(5, 0, 0, 5)) == 1.0


def test_holm_of_a_hand_worked_example():
    # sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1: 0.02, 0.03, 0.06, 0.04, and none below the one before
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_stops_at_one_and_leaves_a_single_value_alone():
    assert holm([0.04]) == [0.04]
    assert holm([0.9, 0.6]) == [1.0, 1.0]
    assert holm([0.03, 0.03]) == pytest.approx([0.06, 0.06])


def test_holm_of_nothing_is_nothing():
    assert holm([]) == []


@pytest.mark.parametrize("images, share, d", [(977, 0.05, 0.02), (1957, 0.1, 0.02), (5878, 0.3, 0.02)])
def test_detectable_differences_are_those_of_the_formula(images, share, d):
    assert detectable(images, share) == pytest.approx(d, rel=2e-3)
    first, second, x = 1.959963984540054, 0.8416212335729143, detectable(images, share)
    needed = (first * share**0.5 + second * (share - x * x) ** 0.5) ** 2 / x**2
    assert needed == pytest.approx(images, rel=1e-9)


def test_a_test_of_that_size_has_that_power():
    rng, n, share = np.random.default_rng(0), 400, 0.2
    d = detectable(n, share)
    found = 0
    for _ in range(1000):
        draws = rng.random(n)
        first, second = draws < (share + d) / 2, (draws >= (share + d) / 2) & (draws < share)
        found += abs(first.sum() - second.sum()) / (first.sum() + second.sum()) ** 0.5 > 1.96  # not exact
    assert found / 1000 == pytest.approx(0.8, abs=0.04)


def test_nothing_is_detectable_where_hardly_any_image_differs():
    assert detectable(64, 0.05) == detectable(1000, 0.0) == 1.0
    assert detectable(64, 0.3) > detectable(640, 0.3) > detectable(6400, 0.3)


def test_welch_equals_its_formula():
    first, second = np.array([0.60, 0.62, 0.57, 0.61, 0.66]), np.array([0.50, 0.55, 0.56])
    difference, low, high, p = welch(first, second)
    errors = [v.var(ddof=1) / len(v) for v in (first, second)]
    free = sum(errors) ** 2 / sum(e**2 / (len(v) - 1) for e, v in zip(errors, (first, second), strict=True))
    half = stats.t.ppf(0.975, free) * sum(errors) ** 0.5
    assert (difference, low, high) == pytest.approx(
        (first.mean() - second.mean(), difference - half, difference + half)
    )
    assert p == pytest.approx(2 * stats.t.sf(difference / sum(errors) ** 0.5, free))
    assert (low > 0) == (p < 0.05)


@pytest.mark.parametrize("first, second", [([0.5], [0.4, 0.3]), ([0.5, 0.5], [0.4, 0.4])])
def test_welch_decides_nothing_without_a_spread(first, second):
    difference, low, high, p = welch(first, second)
    assert difference == pytest.approx(np.mean(first) - np.mean(second))
    assert (low, high, p) == (-np.inf, np.inf, 1.0)


def test_the_cluster_bootstrap_of_a_mean_is_near_the_normal_interval_and_repeats():
    values = np.random.default_rng(1).normal(3, 2, 400)
    found = cluster_bootstrap(400, lambda places: values[places].mean())
    half = 1.96 * values.std() / 20
    assert found == pytest.approx((values.mean() - half, values.mean() + half), abs=0.03)
    assert found == cluster_bootstrap(400, lambda places: values[places].mean())
    assert found != cluster_bootstrap(400, lambda places: values[places].mean(), seed=1)


def test_what_belongs_to_an_image_is_resampled_together():
    """Ten equal values an image say no more than one."""
    values = np.random.default_rng(2).normal(size=50)
    ten = np.repeat(values[:, None], 10, 1)
    single = cluster_bootstrap(50, lambda places: values[places].mean())
    assert cluster_bootstrap(50, lambda places: ten[places].mean()) == pytest.approx(single)


def test_resamples_without_a_number_are_left_out_unless_they_are_most():
    def rare(places):
        return np.nan if places[0] == 0 else 1.0

    assert cluster_bootstrap(20, rare) == (1.0, 1.0)
    assert np.isnan(cluster_bootstrap(20, lambda places: np.nan)).all()


def test_the_interval_of_a_mean_is_that_of_the_cluster_bootstrap_and_holds_the_mean():
    values = np.random.default_rng(0).normal(3, 1, 80)
    low, high = mean_interval(values)
    other = cluster_bootstrap(80, lambda places: values[places].mean())
    assert low < values.mean() < high and (low, high) == pytest.approx(other, abs=0.03)
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 80**0.5, rel=0.1)

import math

import numpy as np
import pytest

from eplib.statistics import holm, mcnemar, wilson


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

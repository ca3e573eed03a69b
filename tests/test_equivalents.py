import numpy as np
import pytest

from eplib import equivalents, sizes
from eplib.equivalents import area, crossings, equivalent, half_radius, training_equivalent


def test_the_half_radius_is_where_half_of_all_images_are_right():
    norms = np.array([0, 0, 0.3, 0.5, 0.9, np.inf])
    radius = half_radius(norms)
    assert radius == pytest.approx(0.4)
    assert (norms > radius).mean() == 0.5
    assert half_radius(np.array([0, 0, 1.0])) == 0 and half_radius(np.array([np.inf] * 3)) == np.inf


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_the_area_is_that_under_the_curve_on_a_logarithmic_axis(norm):
    low, high = sizes.EPSILONS[norm][0], sizes.EPSILONS[norm][-1]
    norms = np.concatenate([np.geomspace(low / 3, 3 * high, 200), [0, np.inf]])
    x = np.geomspace(low, high, 20_001)
    accuracy = (norms > x[:, None]).mean(1)
    assert area(norms, norm) == pytest.approx(np.trapezoid(accuracy, np.linspace(0, 1, len(x))), abs=1e-4)
    assert area(np.array([0.0]), norm) == 0 and area(np.array([np.inf]), norm) == 1


LADDER = {0.0: 0.2, 0.5: 0.6, 1.0: 0.8}


@pytest.mark.parametrize(
    "value, epsilon",
    [(0.2, 0.0), (0.4, 0.25), (0.6, 0.5), (0.7, 0.75), (0.8, 1.0), (0.1, -np.inf), (0.9, np.inf)],
)
def test_the_equivalent_lies_on_the_line_through_the_ladder(value, epsilon):
    assert equivalent(value, LADDER) == pytest.approx(epsilon)


def test_a_ladder_that_goes_down_again_is_met_first():
    assert equivalent(0.5, {0.0: 0.2, 0.5: 0.8, 1.0: 0.4}) == pytest.approx(0.25)
    assert equivalent(0.3, {0.0: 0.3, 0.5: 0.3, 1.0: 0.4}) == 0.0


def test_a_cnn_of_the_ladder_is_worth_its_own_training():
    rng = np.random.default_rng(0)
    base = rng.lognormal(size=300)
    ladder = {e: base * (1 + 4 * e) for e in (0.0, 0.25, 0.5, 1.0)}
    for name in equivalents.MEASURES:
        epsilon, low, high, value = training_equivalent(ladder[0.25], ladder, "l2", name)
        assert (epsilon, low, high) == pytest.approx((0.25, 0.25, 0.25))  # the same images in all of them
        assert value == equivalents.measure(name, ladder[0.25], "l2")
    between, low, high, _ = training_equivalent(base * 1.5 * rng.lognormal(0, 0.3, 300), ladder, "l2", "area")
    assert low < between < high and 0 < between < 0.25


def test_an_interval_may_end_outside_of_the_ladder():
    base = np.linspace(0.5, 1.5, 101)
    epsilon, low, high, _ = training_equivalent(base * 0.1, {0.0: base, 1.0: 2 * base}, "l2", "half radius")
    assert epsilon == low == high == -np.inf
    epsilon, low, high, _ = training_equivalent(base * 9, {0.0: base, 1.0: 2 * base}, "l2", "half radius")
    assert epsilon == low == high == np.inf


def test_curves_cross_where_their_difference_changes_sign():
    x = (0.1, 1.0, 10.0)
    assert crossings(x, (0.9, 0.6, 0.1), (0.8, 0.5, 0.3)) == [(pytest.approx(10 ** (1 / 3)), False)]
    assert crossings(x, (0.8, 0.5, 0.3), (0.9, 0.6, 0.1)) == [(pytest.approx(10 ** (1 / 3)), True)]
    assert crossings(x, (0.9, 0.5, 0.3), (0.8, 0.5, 0.1)) == []  # they touch
    assert crossings(x, (0.9, 0.5, 0.1), (0.8, 0.5, 0.3)) == [(pytest.approx(1.0), False)]
    assert crossings(x, (0.5,) * 3, (0.5,) * 3) == []
    assert len(crossings(x, (0.9, 0.4, 0.3), (0.8, 0.5, 0.2))) == 2

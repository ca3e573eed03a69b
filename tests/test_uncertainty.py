import numpy as np
import pytest
import torch

from eplib import uncertainty, uncertainty_controls
from eplib.checks import InputError
from eplib.uncertainty import SMALL, STANDARD, Window


def test_a_circle_has_exponent_one_and_newtons_basins_less():
    for control in (uncertainty_controls.circle(), uncertainty_controls.newton()):
        assert control.passes and control.found.scales, control
        low, high = control.found.alpha[1:]
        assert low < control.found.alpha[0] < high and high - low < 0.15
    assert control.found.alpha[2] < 0.6  # far from a smooth boundary


def test_newtons_roots_are_their_own_basins():
    z = np.array([1, -0.5 + 0.8j, -0.5 - 0.8j])
    assert uncertainty_controls.newton_class(z).tolist() == [0, 1, 2]


def test_a_plane_with_few_points_near_it_has_exponent_two():
    for control in (uncertainty_controls.flat_adversarial(), uncertainty_controls.flat_random()):
        assert control.passes and control.found.scales, control
    assert uncertainty_controls.flat_adversarial(0).found.alpha[0] == pytest.approx(1, abs=0.02)


def test_ratio_of_a_plane_is_that_of_theory():
    assert uncertainty_controls.flat_ratio(True)[0] == pytest.approx(np.sqrt(2 * np.pi) / 2, abs=0.03)
    assert uncertainty_controls.flat_ratio(False)[0] == pytest.approx(np.sqrt(2 * np.pi), abs=0.05)


def test_flat_points_agree_with_a_plane_that_is_classified():
    """The shortcut by one component against real directions in 3,072 dimensions."""
    distances, _ = uncertainty_controls.flat(0, points=1500)
    points = torch.zeros(1500, 3072)
    points[:, 0] = torch.from_numpy(distances)
    moved = uncertainty.directions((3072,), range(1500), 2)
    assert torch.allclose(moved.norm(dim=2), torch.ones(2, 1500), atol=1e-5)
    epsilons = [10.0, 30.0]
    found = uncertainty.flips(lambda x: (x[:, 0] > 0).numpy(), points, moved, epsilons)
    assert found.shape == (2, 2, 2, 1500) and not found.all(2).any()  # a plane is crossed on one side
    shares = found.any(2).mean((1, 2))
    expected = uncertainty.flat_share(np.array(epsilons) / np.sqrt(3072), 0)
    assert shares == pytest.approx(expected, rel=0.12)


def test_directions_depend_on_the_place_alone():
    whole = uncertainty.directions((3, 4, 4), range(5), 2)
    assert torch.equal(whole[:, 3:], uncertainty.directions((3, 4, 4), range(3, 5), 2))
    assert not torch.equal(whole[0], whole[1])
    assert not torch.equal(whole, uncertainty.directions((3, 4, 4), range(5), 2, seed=1))


def test_counts_are_two_sided_or_of_every_trial():
    outcomes = np.zeros((1, 2, 2, 3), bool)
    outcomes[0, 0, :, 0] = outcomes[0, 1, 0, 0] = outcomes[0, 1, 1, 2] = True
    two, trials = uncertainty.counts(outcomes)
    assert two.tolist() == [[2, 0, 1]] and trials == 2
    one, trials = uncertainty.counts(outcomes, two_sided=False)
    assert one.tolist() == [[3, 0, 1]] and trials == 4


def power_law(alpha, points=4000, seed=0):
    """Distances with P(d ≤ ε) = ε^α on [0, 1]."""
    return np.random.default_rng(seed).random(points) ** (1 / alpha)


def test_exponent_and_hill_are_those_of_a_power_law():
    for alpha in (0.7, 1.5):
        distances = power_law(alpha)
        found = uncertainty.of_distances(distances)
        assert found.alpha[1] < alpha < found.alpha[2] and found.prefactor[1] < 1 < found.prefactor[2]
        assert uncertainty.hill(distances) == pytest.approx(alpha, rel=0.15) and found.scales


def test_fit_is_numpys_weighted_least_squares():
    epsilons, shares = np.geomspace(0.1, 2, 7), np.array([0.004, 0.01, 0.013, 0.02, 0.03, 0.06, 0.08])
    alpha, prefactor, bend = (v[0] for v in uncertainty.fitted(epsilons, shares[None]))
    x, w = np.log(epsilons), np.sqrt(shares / (1 - shares))
    line, curve = (np.polyfit(x, np.log(shares), degree, w=w) for degree in (1, 2))
    assert (alpha, prefactor) == pytest.approx((line[0], np.exp(line[1])))
    slope = np.polyval(np.polyder(curve), x[[0, -1]])
    assert bend == pytest.approx(slope[1] - slope[0])


def test_bootstrap_keeps_the_trials_of_a_point_together():
    one = (power_law(1.0, 500) <= np.geomspace(0.02, 0.1, 8)[:, None]).astype(int)
    single = uncertainty.exponent(np.geomspace(0.02, 0.1, 8), one, 1, Window(1, 1.0))
    copied = uncertainty.exponent(np.geomspace(0.02, 0.1, 8), 9 * one, 9, Window(1, 1.0))
    assert copied.alpha == pytest.approx(single.alpha)  # nine equal trials say no more than one


def test_a_curve_without_a_power_law_is_told():
    epsilons = np.geomspace(0.09, 0.21, 10)
    changed = np.arange(20_000) < 20_000 * np.exp(-0.4 / epsilons)[:, None] * 0.2
    found = uncertainty.exponent(epsilons, changed, 1, STANDARD)
    assert found.bend[2] < -0.25 and not found.scales
    straight = uncertainty.exponent(epsilons, np.arange(20_000) < 8000 * epsilons[:, None], 1, SMALL)
    assert straight.scales and straight.alpha[0] == pytest.approx(1, abs=0.01)


def test_too_few_points_are_not_identifiable():
    epsilons, distances = np.geomspace(0.05, 0.1, 5), power_law(1.0)
    assert uncertainty.exponent(epsilons, distances <= epsilons[:, None], 1, SMALL) is None
    wide = np.geomspace(0.005, 0.09, 5)  # as few, over more than a decade
    assert uncertainty.exponent(wide, distances <= wide[:, None], 1, SMALL) is not None
    assert uncertainty.exponent(wide, distances[:100] <= wide[:, None], 1, SMALL) is None  # counts
    assert uncertainty.of_distances(np.full(50, np.inf)) is None
    with pytest.raises(InputError, match="up to inf"):
        uncertainty.thresholds(np.full(50, np.inf))


def test_difference_is_paired_and_covers():
    first, second = (uncertainty.of_distances(power_law(a, seed=s)) for a, s in ((1.8, 0), (1.0, 0)))
    value, low, high = uncertainty.difference(first, second)
    assert low < value < high and low > 0.4
    apart = np.hypot(*(np.ptp(e.alpha[1:]) for e in (first, second)))
    assert high - low < 0.6 * apart  # the same ranks: most of the variation is shared
    assert uncertainty.difference(first, first) == (0.0, 0.0, 0.0)


def test_share_is_reached_between_measured_points_only():
    epsilons, shares = [1, 2, 4], [0.01, 0.02, 0.04]
    assert uncertainty.at_share(epsilons, shares, 0.03) == pytest.approx(3)
    assert np.isnan(uncertainty.at_share(epsilons, shares, 0.05))
    assert np.isnan(uncertainty.at_share(epsilons, [0, 0, 0], 0.05))
    centre, slope = uncertainty.slopes([1, 2, 4], [0.01, 0.02, 0.08])
    assert slope.tolist() == pytest.approx([1, 2]) and centre[0] == pytest.approx(np.sqrt(2) / 100)


def test_bias_of_a_window_is_small_at_small_shares_and_grows():
    assert abs(uncertainty.bias(STANDARD, 80_000)) < 0.001
    assert abs(uncertainty.bias(SMALL, 2000)) < 0.01
    assert uncertainty.bias(Window(20, 0.3), 2000) < -0.05
    assert uncertainty.bias(SMALL, 2000, power=2) < -0.05

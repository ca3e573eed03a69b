import numpy as np
import pytest

from eplib import filtering, uncertainty_networks, uncertainty_verdicts, zooms
from eplib.results import Result
from eplib.uncertainty import Exponent
from eplib.uncertainty_networks import Network

KINDS = [f"kind-{i}" for i in range(8)]


def network(model, alpha, robust, corrupted=0.5, seed=11, near=0.1, rho=1.0):
    found = alpha and Exponent((alpha, alpha, alpha), (1, 1, 1), (0, 0, 0), np.arange(6), np.array([alpha]))
    ratio = {q: (rho, rho, rho) for q in (0.01, 0.03, 0.1)}
    return Network(model, seed, found, None, 1.0, near, ratio, 0.9, robust, corrupted)


def attacked(seeds=(11,), dataset="sample"):
    settings = {"epsilons": [0.309, 0.766], "norm": "l2", "dataset": dataset, "scale": "quick"}
    return [
        Result(settings | {"seed": s}, None, np.arange(4), np.ones(4, bool), np.ones((2, 4), bool), {})
        for s in seeds
    ]


def test_hypothesis_follows_the_sign_of_the_correlation():
    rising = [network(k, 1 + 0.1 * i, 0.1 * i) for i, k in enumerate(KINDS)]
    falling = [network(k, 2 - 0.1 * i, 0.1 * i) for i, k in enumerate(KINDS)]
    mixed = [network(k, 1 + 0.1 * (i * 5 % 8), 0.1 * (i * 3 % 8)) for i, k in enumerate(KINDS)]
    words = [
        uncertainty_verdicts.larger_exponent_more_robust(f, attacked()).networks
        for f in (rising, falling, mixed, rising[:5])
    ]
    assert words == ["supported", "contradicted", "undecided", "undecided"]
    verdict = uncertainty_verdicts.larger_exponent_more_robust(rising, attacked())
    assert "8 networks of 8 kinds" in verdict.sentence and "+1.00" in verdict.sentence
    assert verdict.method == "undecided" and "not the paper's" in verdict.sentence
    assert (
        "more than the 0 kinds" in uncertainty_verdicts.larger_exponent_more_robust([], attacked()).sentence
    )
    many = uncertainty_verdicts.larger_exponent_more_robust(rising, attacked(range(5), "cifar10"))
    assert many.method == "supported"


def test_networks_without_an_exponent_do_not_count():
    found = [network(k, 1 + 0.1 * i, 0.1 * i) for i, k in enumerate(KINDS)]
    found[3] = network(KINDS[3], None, 0.9)
    found[4] = network(KINDS[4], 1.4, np.nan)
    a = uncertainty_networks.association(found, "exponent", "robust")
    assert (a.networks, a.kinds) == (6, 6) and a.value == pytest.approx(1)
    assert uncertainty_networks.association(found, "distance", "corrupted").value != 1


def test_seeds_of_a_kind_are_drawn_together():
    few = [network(k, 1 + 0.1 * (i % 3), 0.1 * i) for i, k in enumerate(KINDS)]
    copies = [network(n.model, n.values["exponent"], n.robust, seed=s) for n in few for s in range(5)]
    one, five = (uncertainty_networks.association(f, "exponent", "robust") for f in (few, copies))
    assert five.networks == 40 and five.kinds == 8
    assert (five.low, five.high) == pytest.approx((one.low, one.high), abs=0.02)


def moved(shrink, layer=None, seed=11, images=20):
    """A result of "filtering" in which random perturbations end `shrink` times as large, in the first layer
    `layer` times.
    """
    lengths, generator = [4, 20, 100, 250], np.random.default_rng(seed)
    shape = (len(filtering.KINDS), len(filtering.LEVELS), 1 + len(lengths), 3, images)
    array = np.ones(shape) * (1 + 0.01 * generator.random(images))
    array[:, :, 3, 1], array[:, :, 3, 0] = (
        f * (1 + 0.02 * generator.random(images)) for f in (shrink, layer or shrink)
    )
    settings = {"sizes": {"lengths": lengths}, "seed": seed, "dataset": "sample"}
    right = np.ones(images, bool)
    return Result(settings, None, np.arange(images), right, right[None], {}, {"moved": array})


def test_filtering_is_judged_by_the_first_layer_and_the_whole_state():
    cases = {
        "supported": [moved(0.5), moved(0.8, seed=13)],
        "contradicted": [moved(2.0), moved(1.2, 1.1, 13)],
        "undecided": [moved(2.0, 0.5)],
    }
    for word, results in cases.items():
        assert uncertainty_verdicts.dynamics_filter(results).networks == word
    assert uncertainty_verdicts.dynamics_filter([moved(0.5), moved(1.5, seed=13)]).networks == "undecided"
    sentence = uncertainty_verdicts.dynamics_filter([moved(2.0, 0.5)]).sentence
    assert (
        "after 100 steps" in sentence
        and "first layer it is 0.5" in sentence
        and "state it is 2.0" in sentence
    )


def zoomed(ragged, seed=11, planes=5, boundary=True):
    """A result of "zooms" whose levels are noise where `ragged`, else half planes."""
    generator = np.random.default_rng(seed)
    classes = np.zeros((zooms.LEVELS, 25, 25, planes), np.uint8)
    for level, rough in enumerate(ragged):
        for plane in range(planes * boundary):
            classes[level, 9 + plane % 3 :, :, plane] = 1
            if rough:
                classes[level, ..., plane] = generator.integers(0, 2, (25, 25))
    settings = {"sizes": {"side": 24}, "seed": seed, "dataset": "sample"}
    right = np.ones(planes, bool)
    return Result(settings, None, np.arange(planes), right, right[None], {}, {"classes": classes})


def test_the_boundary_is_fractal_where_every_enlargement_is_ragged():
    cases = {
        "supported": [zoomed([1, 1, 1, 1]), zoomed([1, 1, 1, 1], 13)],
        "contradicted": [zoomed([1, 1, 0, 0]), zoomed([0, 0, 0, 0], 13)],
        "undecided": [zoomed([1, 1, 1, 1]), zoomed([1, 1, 0, 0], 13)],
    }
    for word, results in cases.items():
        verdict = uncertainty_verdicts.boundary_is_fractal(results)
        assert verdict.networks == word, (word, verdict.sentence)
    assert uncertainty_verdicts.boundary_is_fractal([zoomed([0, 0, 0, 1])]).networks == "undecided"
    assert uncertainty_verdicts.boundary_is_fractal([zoomed([1] * 4, planes=2)]).networks == "undecided"
    flat = uncertainty_verdicts.boundary_is_fractal([zoomed([0] * 4, boundary=False)])
    assert flat.networks == "undecided"
    assert uncertainty_verdicts.ragged(cases["undecided"]) == [1, 8]
    assert uncertainty_verdicts.ragged(cases["supported"]) == [1, 8, 64, 512]
    assert uncertainty_verdicts.ragged([zoomed([1] * 4, planes=2)]) == []
    assert "512 times" in verdict.sentence and "up to 5 planes and 2 networks" in verdict.sentence


def test_shrinkage_of_a_cell_has_an_interval():
    value, low, high = uncertainty_verdicts.shrunk(moved(0.5), "random", 4, "state")
    assert low < value < high and value == pytest.approx(0.5, abs=0.02)
    nothing = moved(0.5)
    nothing.arrays["moved"][:, :, 0] = 0
    assert np.isnan(uncertainty_verdicts.shrunk(nothing, "random", 4, "state")).all()

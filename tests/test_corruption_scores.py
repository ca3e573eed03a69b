from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from corrupted import OWN, PUBLISHED, SETTLED, N, falling, flipping, result
from scipy import stats
from scipy.special import expit, logit

from eplib import corruption_scores as scores
from eplib import corruption_verdicts as verdicts
from eplib.checks import InputError
from eplib.corruptions import CIFAR_C, FAMILIES, STANDARD

SEVERITIES = (1, 2, 3, 4, 5)
SURFACE = pd.DataFrame(
    {1: [0.8, 0.6, 0.9], 2: [0.4, 0.5, 0.7]}, index=["gaussian_noise", "fog", "jpeg_compression"]
)
REFERENCE = pd.DataFrame(
    {1: [0.5, 0.8, 0.9], 2: [0.3, 0.6, 0.9]}, index=["gaussian_noise", "fog", "jpeg_compression"]
)


def test_the_sets_are_those_that_their_numbers_say():
    assert {name: len(types) for name, types in scores.SETS.items()} == {"15": 15, "19": 19, "18": 18}
    assert set(scores.SETS["19"]) - set(scores.SETS["18"]) == {"frost"}
    assert set(scores.SETS["15"]) < set(scores.SETS["19"])
    assert {FAMILIES[c] for c in CIFAR_C} == set(scores.FAMILY_NAMES)


def test_a_surface_holds_every_accuracy_once_in_the_order_of_the_table():
    found = result("ep-cnn", lambda name, s, phase: 0.01 * (len(name) + s), clean=0.9)
    surface = scores.surface(found)
    assert list(surface.index) == list(CIFAR_C) and list(surface.columns) == list(SEVERITIES)
    for name in CIFAR_C:
        for s in SEVERITIES:
            assert surface.loc[name, s] == pytest.approx(0.01 * (len(name) + s))
    assert scores.clean(found) == 0.9


def test_every_phase_has_a_surface_of_its_own_and_another_is_refused():
    lengths = {OWN: 0.5, PUBLISHED: 0.6, SETTLED: 0.7}
    found = result("ep-cnn", lambda name, s, phase: lengths[phase], phases=list(lengths), severities=(1, 3))
    assert scores.phases(found) == list(lengths)
    for phase, value in lengths.items():
        assert scores.mean(scores.surface(found, phase)) == pytest.approx(value)
        assert scores.right(found, phase, ["fog"], [3]).mean() == pytest.approx(value)
    assert scores.mean(scores.surface(found)) == pytest.approx(0.5)  # the first
    with pytest.raises(InputError, match="no accuracy after 60 forward steps: give one of 20 forward, 29"):
        scores.surface(found, (60, "forward"))
    assert scores.phases(result("cnn", 0.5)) == [(None, None)]


def test_shares_of_an_image_are_means_over_the_chosen_cells():
    found = result("cnn", lambda name, s, phase: 0.1 * s if name == "fog" else 1.0)
    fog = scores.per_image(found, types=["fog"])
    assert fog[:10].tolist() == [1.0] * 10 and fog[15] == pytest.approx(0.8) and fog[60] == 0
    assert scores.per_image(found, types=["fog", "snow"], severities=[1, 2])[15] == pytest.approx(0.75)
    assert scores.per_image(found).mean() == pytest.approx(scores.mean(scores.surface(found)))
    with pytest.raises(InputError, match="without fog, hail at severities 1, 2, 3, 4, 5"):
        scores.right(found, types=["fog", "hail"])
    with pytest.raises(InputError, match="at severities 6"):
        scores.right(found, types=["fog"], severities=[6])


def test_means_are_over_the_types_and_severities_named():
    assert scores.mean(SURFACE) == pytest.approx((0.8 + 0.4 + 0.6 + 0.5 + 0.9 + 0.7) / 6)
    assert scores.mean(SURFACE, ["fog"]) == pytest.approx(0.55)
    assert scores.by_severity(SURFACE) == pytest.approx({1: 2.3 / 3, 2: 1.6 / 3})
    assert scores.by_family(SURFACE) == pytest.approx({"noise": 0.6, "weather": 0.55, "digital": 0.8})
    assert scores.mean(scores.average([SURFACE, REFERENCE])) == pytest.approx((3.9 + 4.0) / 12)
    with pytest.raises(InputError, match="no accuracy under frost: measure it first"):
        scores.mean(SURFACE, ["fog", "frost"])


def test_relative_scores_by_hand():
    assert scores.relative(0.6, 0.8) == pytest.approx((0.2, 0.75))
    errors = scores.corruption_errors(SURFACE, REFERENCE)
    # 1 − accuracy: noise 0.2 + 0.6 over 0.5 + 0.7, fog 0.4 + 0.5 over 0.2 + 0.4, jpeg 0.1 + 0.3 over 0.2
    assert errors.tolist() == pytest.approx([0.8 / 1.2, 0.9 / 0.6, 0.4 / 0.2])
    assert scores.mean_error(errors) == (pytest.approx((0.8 / 1.2 + 1.5 + 2) / 3), 3)
    relative = scores.relative_errors(SURFACE, 0.95, REFERENCE, 0.9)
    # noise (0.8 − 0.1) / (1.2 − 0.2), fog (0.9 − 0.1) / (0.6 − 0.2); on jpeg the reference loses nothing
    assert relative.iloc[:2].tolist() == pytest.approx([0.7, 2.0]) and np.isnan(relative.iloc[2])
    assert scores.mean_error(relative) == (pytest.approx(1.35), 2)


def test_a_network_against_itself_scores_one_whatever_the_order_of_its_types():
    shuffled = REFERENCE.iloc[[2, 0, 1]]
    assert scores.corruption_errors(shuffled, REFERENCE).tolist() == pytest.approx([1, 1, 1])
    assert scores.mean_error(scores.relative_errors(shuffled, 0.95, REFERENCE, 0.95))[0] == pytest.approx(1)
    perfect = SURFACE * 0 + 1.0
    assert scores.mean_error(scores.corruption_errors(SURFACE, perfect))[1] == 0
    with pytest.raises(InputError, match="other than the reference's"):
        scores.corruption_errors(SURFACE, REFERENCE[[1]])


def test_intervals_are_those_of_student():
    values = np.random.default_rng(0).random(30)
    middle, low, high = scores.interval(values)
    expected = stats.t.interval(0.95, 29, values.mean(), stats.sem(values))
    assert (middle, low, high) == pytest.approx((values.mean(), *expected))
    assert np.isnan(scores.interval([0.5])[1])


def networks(count=12, seed=0, spread=0.15):
    """[(clean, corrupted)] near logit(corrupted) = −0.6 + 0.8 logit(clean)."""
    random = np.random.default_rng(seed)
    clean = expit(random.uniform(1, 3, count))
    return list(
        zip(clean, expit(-0.6 + 0.8 * logit(clean) + spread * random.normal(size=count)), strict=True)
    )


def test_the_line_and_its_band_are_those_of_least_squares():
    points = networks()
    fitted = scores.line(points, 10_000)
    x, y = logit(np.array(points)).T
    reference = stats.linregress(x, y)
    assert (fitted.slope, fitted.intercept) == pytest.approx((reference.slope, reference.intercept))
    # the prediction interval from the inverse of XᵀX, another way to write it
    design = np.stack([np.ones_like(x), x], 1)
    rest = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
    variance = rest @ rest / (len(x) - 2)
    at = np.array([1, logit(0.87)])
    half = stats.t.ppf(0.975, len(x) - 2) * np.sqrt(
        variance * (1 + at @ np.linalg.inv(design.T @ design) @ at)
    )
    assert fitted.band(0.87) == pytest.approx(half) and fitted.networks == 12
    assert logit(fitted.at(0.87)) == pytest.approx(fitted.intercept + fitted.slope * logit(0.87))
    assert fitted.band(0.87, judged=4) < half


def test_prediction_intervals_hold_what_they_promise():
    inside = []
    for seed in range(400):
        *others, judged = networks(11, seed)
        _, low, high = scores.above(scores.line(others, 10**6), [judged], 10**6)
        inside.append(low <= 0 <= high)
    assert 0.91 < np.mean(inside) < 0.985


def test_a_network_above_the_line_is_found_there_and_extremes_stay_finite():
    fitted = scores.line(networks(), 1000)
    rest, low, high = scores.above(fitted, [(0.85, float(expit(logit(fitted.at(0.85)) + 1)))], 1000)
    assert rest == pytest.approx(1) and 0 < low < rest < high
    assert np.isfinite(scores.above(fitted, [(1.0, 0.0)], 1000)).all()
    assert scores.inside([0, 0.5, 1], 100).tolist() == [0.005, 0.5, 0.995]


def test_lines_need_networks_that_differ():
    with pytest.raises(InputError, match="4 networks for a line: measure 5 or more"):
        scores.line(networks(4), 100)
    with pytest.raises(InputError, match="do not differ in clean accuracy"):
        scores.line([(0.8, v) for v in (0.5, 0.6, 0.7, 0.4, 0.3)], 100)


def test_only_results_on_the_ep_cnn_s_images_are_kept():
    official = dict(source="official")
    found = {
        "ep-cnn": [result("ep-cnn", 0.5, seed=11, **official), result("ep-cnn", 0.5, seed=13)],
        "cnn": [result("cnn", 0.5, seed=11, **official)],
        "vit-8": [result("vit-8", 0.5)],
    }
    kept = scores.of_one_source(found)
    assert {m: [r.settings["seed"] for r in rs] for m, rs in kept.items()} == {"ep-cnn": [11], "cnn": [11]}


# verdicts


def pair(ep, rival, seeds=(11,), **more):
    """Results of EP-CNN and a rival whose accuracy falls from these starts, one a seed."""
    return tuple(
        [result(model, falling(start, 0.05), seed=s, **more) for s in seeds]
        for model, start in (("ep-cnn", ep), ("cnn", rival))
    )


@pytest.mark.parametrize("ep, rival, word", [(0.8, 0.6, "supported"), (0.6, 0.8, "contradicted")])
def test_who_keeps_clearly_more_leads(ep, rival, word):
    said = verdicts.leads(*pair(ep, rival), "CNN")
    assert said.networks == word and said.method == "undecided"
    means = [0.15 + scores.mean(scores.surface(r[0])) - 0.15 for r in pair(ep, rival)]
    for mean in means:
        assert f"{mean:.1%}" in said.sentence
    assert f"For these networks: {word}." in said.sentence and "100 images" in said.sentence


def test_one_seed_the_other_way_leaves_it_undecided():
    one, other = pair(0.8, 0.6), pair(0.6, 0.8, seeds=(13,))
    both = tuple(a + b for a, b in zip(one, other, strict=True))
    assert verdicts.leads(*both, "CNN").networks == "undecided"
    assert verdicts.leads(*pair(0.8, 0.6, seeds=(11, 13)), "CNN").networks == "supported"


def test_equal_networks_are_undecided_and_comparable():
    same = pair(0.7, 0.7)
    assert verdicts.leads(*same, "CNN").networks == "undecided"
    assert verdicts.comparable(*same, "CNN").networks == "supported"


@pytest.mark.parametrize(
    "ep, rival, word",
    [
        (0.7, 0.9, "contradicted"),
        (0.9, 0.7, "supported"),
        (0.72, 0.72, "supported"),
        (0.7, 0.74, "contradicted"),
    ],
)
def test_comparable_is_two_points(ep, rival, word):
    assert verdicts.comparable(*pair(ep, rival), "rival").networks == word


def test_comparable_is_undecided_where_the_interval_holds_two_points():
    ep, rival = pair(0.7, 0.72)
    opposite = [result("cnn", falling(0.72, 0.05), last=True)]  # right on other images: a wide interval
    said = verdicts.comparable(ep, opposite, "rival")
    assert said.networks == "undecided" and "+2.0 points for the rival" in said.sentence
    assert "comparable would be at most 2" in said.sentence


def test_only_the_types_named_count():
    ep = [result("ep-cnn", lambda name, s, phase: 0.9 if name == "frost" else 0.5)]
    cnn = [result("cnn", lambda name, s, phase: 0.1 if name == "frost" else 0.7)]
    assert verdicts.leads(ep, cnn, "CNN", ["frost"]).networks == "supported"
    others = verdicts.leads(ep, cnn, "CNN", scores.SETS["18"])
    assert others.networks == "contradicted" and "70.0%" in others.sentence


@pytest.mark.parametrize("rule", [verdicts.leads, verdicts.comparable])
def test_an_under_trained_network_decides_nothing(rule):
    ep = [result("ep-cnn", 0.8, clean=0.9)]
    cnn = [result("cnn", 0.4, clean=0.7)]
    said = rule(ep, cnn, "CNN")
    assert said.networks == "undecided" and "The CNN is under-trained" in said.sentence


def test_five_seeds_on_cifar_speak_about_the_method():
    seeds = (11, 13, 17, 19, 31)
    said = verdicts.leads(*pair(0.8, 0.6, seeds=seeds, dataset="cifar10"), "CNN")
    assert said.method == "supported" and "5 seeds on the paper's kind of images" in said.sentence


def test_other_seeds_images_or_sources_are_not_compared():
    ep, cnn = pair(0.8, 0.6)
    with pytest.raises(InputError, match=r"seeds \[11\].*seeds \[13\]: give one of each"):
        verdicts.leads(ep, pair(0.8, 0.6, seeds=(13,))[1], "CNN")
    for other in (dict(first=1), dict(source="official"), dict(dataset="cifar10")):
        with pytest.raises(InputError, match="other corrupted images than each other"):
            verdicts.leads(ep, [result("cnn", 0.5, **other)], "CNN")


@pytest.mark.parametrize(
    "short, long, word", [(0.5, 0.7, "supported"), (0.7, 0.5, "contradicted"), (0.6, 0.6, "contradicted")]
)
def test_settling_helps_where_more_steps_keep_more(short, long, word):
    lengths = {OWN: 0.3, PUBLISHED: short, SETTLED: long}
    found = [
        result("ep-cnn", lambda name, s, p: lengths[p], phases=list(lengths), severities=(1, 3), seed=s)
        for s in (11, 13)
    ]
    said = verdicts.settling_helps(found)
    assert said.networks == word
    assert f"250 synchronous steps the EP-CNN keeps {long:.1%}" in said.sentence
    assert f"a gain of {100 * (long - short):+.1f} points" in said.sentence


def test_settling_is_undecided_where_networks_disagree():
    def lengths(short, long):
        values = {PUBLISHED: short, SETTLED: long}
        return result("ep-cnn", lambda name, s, p: values[p], phases=list(values), severities=(3,))

    assert verdicts.settling_helps([lengths(0.5, 0.7), lengths(0.7, 0.5)]).networks == "undecided"


@pytest.mark.parametrize("above, word", [(1.5, "supported"), (-1.5, "contradicted"), (0.0, "undecided")])
def test_effective_robustness_is_what_lies_above_the_line(above, word):
    others = networks(15, spread=0.1)
    line = scores.line(others, N)
    point = (0.85, float(expit(logit(line.at(0.85)) + above)))
    said = verdicts.effective([result("ep-cnn", 0.5)], point, others)
    assert said.networks == word and "15 other networks predict" in said.sentence
    assert f"{above:+.2f} in logits" in said.sentence
    few = verdicts.effective([result("ep-cnn", 0.5)], point, others[:9])
    assert "9 other networks, of the 15 wanted," in few.sentence
    none = verdicts.effective([result("ep-cnn", 0.5)], point, others[:4])
    assert none.networks == "undecided" and "needs 5 of them, and there are 4" in none.sentence


@pytest.mark.parametrize(
    "ep, cnn, word", [(0.02, 0.08, "supported"), (0.08, 0.02, "contradicted"), (0.05, 0.05, "undecided")]
)
def test_who_flips_clearly_less_is_steadier(ep, cnn, word):
    said = verdicts.steadier([flipping("ep-cnn", ep)], [flipping("cnn", cnn)], "CNN")
    assert said.networks == word
    rates = [flipping("x", p).arrays["flips"].mean() for p in (ep, cnn)]
    assert all(f"{rate:.2%}" in said.sentence for rate in rates)


def test_an_under_trained_network_is_not_called_steady():
    said = verdicts.steadier([flipping("ep-cnn", 0.0, clean=0.5)], [flipping("cnn", 0.1)], "CNN")
    assert said.networks == "undecided" and "The EP-CNN is under-trained" in said.sentence


def ranked(order):
    models = ("ep-cnn", "cnn", "cnn-plain", "vit-8", "mixer", "twin-bptt")
    return dict(zip(models, order, strict=True))


@pytest.mark.parametrize(
    "second, word",
    [
        ((0.6, 0.5, 0.4, 0.3, 0.2, 0.1), "supported"),
        ((0.1, 0.2, 0.3, 0.4, 0.5, 0.6), "contradicted"),
        ((0.6, 0.1, 0.5, 0.2, 0.4, 0.3), "undecided"),
    ],
)
def test_rankings_are_alike_where_few_pairs_change_places(second, word):
    first = ranked((0.9, 0.8, 0.7, 0.6, 0.5, 0.4))
    said = verdicts.same_ranking(first, ranked(second), [result("ep-cnn", 0.5, types="beyond")])
    assert said.networks == word
    place = 1 + sum(v > second[0] for v in second)
    assert f"the EP-CNN is number 1 and number {place}" in said.sentence
    tau = stats.kendalltau(list(first.values()), second).statistic
    assert f"Kendall τ of {tau:.2f}" in said.sentence
    few = verdicts.same_ranking({"ep-cnn": 0.5, "cnn": 0.4}, ranked(second), [result("ep-cnn", 0.5)])
    assert few.networks == "undecided" and "2 networks were measured under both" in few.sentence


def test_the_standard_set_is_that_of_the_benchmarks():
    extra = {"speckle_noise", "gaussian_blur", "spatter", "saturate"}
    assert set(STANDARD) == set(CIFAR_C) - extra and len(STANDARD) == 15


def test_results_without_the_rows_that_are_asked_for_are_refused():
    found = result("cnn", 0.5)
    empty = replace(found, table=found.table[found.table.corruption == "none"])
    with pytest.raises(InputError, match="without corruptions"):
        scores.per_image(empty)

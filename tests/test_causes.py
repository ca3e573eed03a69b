import numpy as np
import pandas as pd
import pytest
from drawings import axes_only, words_only

from eplib import (
    cause_figures,
    cause_sentences,
    cause_verdicts,
    causes,
    explained,
    scales,
    statistics,
)
from eplib.causes import Compared, Pair
from eplib.chapters import Badge
from eplib.results import Result

N = 100
EPSILONS = (0.1, 0.3, 1.0)
BADGE = Badge("sample", "quick", N, (1,))


def outcome(model, kept, seed=1, clean=None, dataset="sample", ids=None, norms=None):
    """kept: bool [N] or how many images are right at ε = 0.3; half as many at 1, all of `clean` at 0.1."""
    clean = np.arange(N) < 95 if clean is None else clean
    kept = np.arange(N) < kept if isinstance(kept, int) else kept
    correct = np.stack([clean, kept & clean, kept & clean & (np.arange(N) % 2 == 0)])
    settings = {"model": model, "seed": seed, "dataset": dataset, "scale": "quick", "norm": "l2"}
    settings |= {
        "epsilons": EPSILONS,
        "measurement": "pgd-l2",
        "predict_steps": 20 if "ep" in model else None,
    }
    arrays = {} if norms is None else norms
    ids = np.arange(N) if ids is None else ids
    return Result(settings, pd.DataFrame(), ids, clean, correct, {"seconds": 1.0}, arrays)


def test_every_pair_is_of_networks_that_can_be_trained_and_has_a_cause():
    rows = scales.scale("quick").rows
    for pair in causes.PAIRS:
        assert {pair.model, pair.without} <= rows.keys() and pair.cause in causes.CAUSES
    assert {p.cause for p in causes.PAIRS} == set(causes.CAUSES)
    assert len({(p.model, p.without) for p in causes.PAIRS}) == len(causes.PAIRS)
    assert set(cause_sentences.RIVALS) <= rows.keys()


def test_at_a_scale_with_smaller_variants_pairs_are_of_those():
    assert causes.pairs("quick") == causes.PAIRS
    for before, pair in zip(causes.PAIRS, causes.pairs("cpu"), strict=True):
        there = {pair.model, pair.without} <= scales.scale("cpu").rows.keys()
        assert there or before.cause == "adversarial"
        if "ep-cnn-16" in (pair.model, pair.without):
            assert pair.model.startswith("ep-cnn-16") and pair.without.startswith("ep-cnn-16")


def test_pairs_are_compared_on_the_same_images_in_the_seeds_that_both_have():
    first, second = np.arange(N) < 70, np.arange(N) % 3 > 0
    found = {"a": [outcome("a", first), outcome("a", 10, seed=2)], "b": [outcome("b", second)], "c": []}
    pairs = (Pair("rule", "a", "b", "x"), Pair("rule", "a", "c", "y"))
    (row,) = causes.compared(found, 0.3, pairs)
    a, b = found["a"][0].correct[1], found["b"][0].correct[1]
    assert (row.pair, row.seed, row.n) == (pairs[0], 1, N)
    assert (row.first, row.second, row.clean) == (a.mean(), b.mean(), (0.95, 0.95))
    assert (row.difference, row.low, row.high) == statistics.paired_difference(a, b)
    assert row.p == statistics.mcnemar(a, b)
    assert row.detectable == statistics.detectable(N, (a != b).mean())
    assert row.both == 95 and row.kept == (a[:95].mean(), b[:95].mean())


def test_p_values_are_adjusted_over_all_pairs_and_seeds_together():
    found = {m: [outcome(m, k, s) for s in (1, 2)] for m, k in (("a", 80), ("b", 66), ("c", 70))}
    pairs = (Pair("rule", "a", "b", "x"), Pair("rule", "a", "c", "y"))
    rows = causes.compared(found, 0.3, pairs)
    plain = [statistics.mcnemar(*(found[m][i].correct[1] for m in "a" + w)) for w in "bc" for i in (0, 1)]
    assert [r.p for r in rows] == statistics.holm(plain) and len(rows) == 4


def test_only_shared_images_count():
    shifted = outcome("b", 50, ids=np.arange(N) + 40)
    (row,) = causes.compared({"a": [outcome("a", 80)], "b": [shifted]}, 0.3, (Pair("rule", "a", "b", "x"),))
    assert row.n == 60 and row.first == 40 / 60 and row.second == 50 / 60


def row(low=-0.1, difference=0.0, high=0.1, p=0.5, clean=(0.9, 0.9), cause="rule", model="ep-cnn"):
    pair = Pair(cause, model, "twin-bptt", "a thing")
    return Compared(pair, 1, N, 0.5 + difference, 0.5, clean, difference, low, high, 80, (0.5, 0.5), p, 0.1)


AHEAD = dict(low=0.1, difference=0.2, high=0.3, p=0.01)
BEHIND = dict(low=-0.3, difference=-0.2, high=-0.1, p=0.01)
SMALL = dict(low=-0.04, difference=0.0, high=0.05)


@pytest.mark.parametrize(
    "rows, word",
    [
        ([AHEAD, AHEAD], "supported"),
        ([AHEAD, AHEAD | dict(p=0.05)], "undecided"),
        ([AHEAD, SMALL], "undecided"),
        ([SMALL, SMALL], "contradicted"),
        ([SMALL, SMALL | dict(high=0.0501)], "undecided"),
        ([BEHIND, SMALL], "contradicted"),
        ([BEHIND | dict(p=0.06)], "contradicted"),  # no lead of five points either
        ([dict(low=-0.3, difference=-0.1, high=0.1, p=0.01)], "contradicted"),
        ([AHEAD, BEHIND], "undecided"),
        ([AHEAD, AHEAD | dict(clean=(0.9, 0.79))], "undecided"),
        ([AHEAD | dict(clean=(0.9, 0.8))], "supported"),
        ([{}], "undecided"),
        ([], "undecided"),
    ],
)
def test_the_word_for_a_cause_flips_with_its_pairs(rows, word):
    assert cause_verdicts.cause([row(**r) for r in rows]) == word


@pytest.mark.parametrize(
    "rows, word",
    [
        ([BEHIND, {}], "supported"),
        ([AHEAD], "supported"),
        ([SMALL | dict(low=-0.05), SMALL], "contradicted"),
        ([SMALL | dict(low=-0.0501), SMALL], "undecided"),
    ],
)
def test_settings_matter_in_either_direction(rows, word):
    rows = [row(cause="settings", **r) for r in rows]
    assert cause_verdicts.cause(rows, both_ways=True) == word
    assert cause_verdicts.words(rows) == {"settings": word}


def test_the_rules_verdict_names_every_twin_and_speaks_about_the_method_separately():
    rows = [row(**AHEAD), row(**AHEAD), row(cause="decay", **BEHIND)]
    verdict = cause_verdicts.about_the_rule(rows, [outcome("ep-cnn", 50)], 0.3)
    assert (verdict.networks, verdict.method) == ("supported", "undecided")
    assert "twin by BPTT 50.0% (seed 1, lead 10 to 30 points, p 0.01)" in verdict.sentence
    assert "ℓ2 ε = 0.3" in verdict.sentence and "these images are not the paper's" in verdict.sentence
    paper = [outcome("ep-cnn", 50, s, dataset="cifar10") for s in range(5)]
    five = [Compared(*[getattr(r, f) for f in r.__dataclass_fields__]) for r in rows[:1]]
    five = [
        Compared(r.pair, s, *[getattr(r, f) for f in list(r.__dataclass_fields__)[2:]])
        for r in five
        for s in range(5)
    ]
    assert cause_verdicts.about_the_rule(five, paper, 0.3).method == "supported"
    assert cause_verdicts.about_the_rule([], paper, 0.3).networks == "undecided"


def measured(model, margin, gradient, distance, seed=1, steps=None):
    """A pair of results ("margins", "minimal-l2") of 20 images, of which 4 are wrong."""
    clean, ids = np.arange(20) < 16, np.arange(20)
    spread = np.linspace(0.5, 1.5, 16)  # of mean and median 1
    whole = np.concatenate([spread, [9, 9, 9, 9]])
    settings = {"model": model, "seed": seed, "predict_steps": steps, "scale": "quick", "dataset": "sample"}
    found = dict(margin=margin * whole, gradient_l2=gradient * whole)
    norms = np.where(clean, distance * whole, 0)
    first = Result(settings, pd.DataFrame(), ids, clean, clean[None], {}, found)
    second = Result(
        settings, pd.DataFrame(), ids[::-1], clean[::-1], clean[None], {}, {"minimal_norm": norms[::-1]}
    )
    return first, second


def networks(count=12, noise=0.02, ep=()):
    """({model: [margins]}, {model: [lengths]}): distance = 0.7 margin^0.8 / gradient^0.9, times noise; and
    EP-CNNs that lie at these multiples of it.
    """
    rng, margins, lengths = np.random.default_rng(0), {}, {}
    for i in range(count + len(ep)):
        margin, gradient = rng.lognormal(1, 0.5), rng.lognormal(0, 0.5)
        distance = 0.7 * margin**0.8 / gradient**0.9
        own = i >= count
        model = "ep-cnn" if own else f"n{i}"
        distance *= ep[i - count] if own else np.exp(rng.normal(0, noise))
        first, second = measured(model, margin, gradient, distance, seed=i, steps=20 if own else None)
        margins.setdefault(model, []).append(first)
        lengths.setdefault(model, []).append(second)
    return margins, lengths


def test_points_are_medians_over_images_that_are_right_in_whatever_order():
    margins, lengths = ({"a": [r]} for r in measured("a", 2.0, 0.5, 3.0, steps=20))
    (point,) = explained.points(margins, lengths)
    assert (point.margin, point.gradient, point.distance) == pytest.approx((2, 0.5, 3))
    assert (point.model, point.seed, point.settles) == ("a", 1, True)
    one_step = measured("a", 2.0, 0.5, 3.0, steps=1)
    assert not explained.points({"a": [one_step[0]]}, {"a": [one_step[1]]})[0].settles
    assert explained.points(margins, {}) == []
    lengths["a"][0].arrays["minimal_norm"][lengths["a"][0].correct_clean] = np.inf
    assert explained.points(margins, lengths) == []


def test_the_line_finds_the_slopes_it_was_made_with_and_leaves_out_what_settles():
    margins, lengths = networks(noise=1e-8, ep=(0.2,))
    line = explained.line(explained.points(margins, lengths))
    assert (line.on_margin, line.on_gradient, line.networks) == (pytest.approx(0.8), pytest.approx(-0.9), 12)
    assert np.exp(line.constant) == pytest.approx(0.7) and line.r2 == pytest.approx(1)
    assert explained.line(explained.points(*networks(count=explained.FEWEST - 1, ep=(1, 1, 1)))) is None


def test_the_prediction_interval_is_that_of_the_formula():
    points = explained.points(*networks(noise=0.1))
    line = explained.line(points)
    x = np.array([[1, np.log(p.margin), np.log(p.gradient)] for p in points])
    y = np.log([p.distance for p in points])
    solution, left, *_ = np.linalg.lstsq(x, y, rcond=None)
    row = np.array([1, np.log(3.0), np.log(0.7)])
    sd = (left[0] / (len(y) - 3) * (1 + row @ np.linalg.inv(x.T @ x) @ row)) ** 0.5
    half = 2.2621571627409915 * sd  # Student's t, 97.5 %, 9 degrees of freedom
    middle, low, high = line.predicted(explained.Point("x", 1, 3.0, 0.7, 1.0, True))
    assert np.log([middle, low, high]) == pytest.approx(
        [row @ solution, row @ solution - half, row @ solution + half]
    )


@pytest.mark.parametrize(
    "ep, word",
    [
        ((1.0, 1.0), "supported"),
        ((0.2, 0.3), "contradicted"),
        ((4.0, 3.0), "contradicted"),
        ((0.2, 1.0), "undecided"),
        ((0.2, 4.0), "undecided"),
    ],
)
def test_the_verdict_about_margin_and_gradient_flips_with_where_the_ep_cnns_lie(ep, word):
    points = explained.points(*networks(noise=0.05, ep=ep))
    verdict = cause_verdicts.explains(points, explained.line(points), [outcome("ep-cnn", 50)])
    assert (verdict.networks, verdict.method) == (word, "undecided")
    assert "means of 2 seeds" in verdict.sentence and "12 networks without a free phase" in verdict.sentence


def test_without_a_line_nothing_is_decided():
    points = explained.points(*networks(count=3, ep=(1.0,)))
    assert cause_verdicts.explains(points, None, []).networks == "undecided"
    assert "Too few networks" in cause_figures.predictions("fig-line", points, None, BADGE)


@pytest.fixture
def words(monkeypatch):
    monkeypatch.setattr(cause_figures, "draw", words_only)


@pytest.fixture
def axes(monkeypatch):
    monkeypatch.setattr(cause_figures, "draw", axes_only)


def everything():
    kept = {"ep-cnn": 60, "cnn": 30, "twin-bptt": 58, "cnn-like-ep": 40, "cnn-at-l2-0.5": 75}
    return {m: [outcome(m, k)] for m, k in kept.items()}


def test_the_figure_of_pairs_draws_and_tells_every_lead(axes, monkeypatch):
    rows = causes.compared(everything(), 0.3, causes.PAIRS)
    (ax,) = cause_figures.pairs("fig-causes", rows, BADGE, "l2", 0.3)
    labels = [t.get_text() for t in ax.get_yticklabels()]
    assert len(rows) == len(labels) == 4 and "twin by BPTT" in " ".join(labels)
    dots = [line.get_xdata()[0] for line in ax.lines if line.get_marker() == "o"]
    assert dots == [100 * r.difference for r in reversed(rows)]
    monkeypatch.setattr(cause_figures, "draw", words_only)
    picture = cause_figures.pairs("fig-causes", rows, BADGE, "l2", 0.3)
    for r in rows:
        assert f"{100 * r.difference:+.0f} ({100 * r.low:.0f} to {100 * r.high:.0f})" in picture.alt
    assert "ℓ2 ε = 0.3" in picture.caption and "How to read it" in picture.caption


def test_the_figure_at_matched_accuracy_has_a_dot_a_network(axes):
    (ax,) = cause_figures.matched("fig-matched", everything(), 0.3, BADGE)
    dots = {(x, y) for line in ax.lines for x, y in zip(*line.get_data(), strict=True)}
    assert dots == {(0.95, k) for k in (0.6, 0.3, 0.58, 0.4, 0.75)}
    assert "EP-CNN" in {t.get_text() for t in ax.texts}


def test_the_figure_of_predictions_shows_both_distances_of_every_network(axes, monkeypatch):
    points = explained.points(*networks(ep=(0.3,)))
    line = explained.line(points)
    (ax,) = cause_figures.predictions("fig-line", points, line, BADGE)
    dots = [line.get_ydata()[0] for line in ax.lines if line.get_marker() == "o"]
    assert dots == [p.distance for p in points]
    monkeypatch.setattr(cause_figures, "draw", words_only)
    told = cause_figures.predictions("fig-line", points, line, BADGE)
    assert f"and {points[-1].distance:.2f}." in told.alt and "12 networks" in told.caption


def test_tables_and_answers_are_composed_from_the_pairs():
    found = everything()
    rows = causes.compared(found, 0.3, causes.PAIRS)
    page = cause_sentences.pair_table(rows)
    for r in rows:
        assert f"{100 * r.difference:+.1f}" in page and f"{r.p:.2g}" in page
    said = cause_sentences.answer(rows, found["ep-cnn"], BADGE, 0.3)
    words = cause_verdicts.words(rows)
    assert words["everything"] == words["settling"] == "supported" or "undecided" in words.values()
    for cause, word in words.items():
        assert (causes.CAUSES[cause] in said) == (word != "undecided")
    told = cause_sentences.missing(found, "quick")
    assert "twin by the adjoint" in told and "twin by BPTT" not in told
    whole = {m: [] for p in causes.PAIRS for m in (p.model, p.without)}
    assert cause_sentences.missing(whole, "quick") == ""


def lengths(factors):
    """{model: [Result with minimal norms of the same images]}, 1 … 2 times a factor."""
    base = np.linspace(1, 2, N)
    return {
        m: [
            outcome(m, 50, seed=s, norms={"minimal_norm": f * base})
            for s in ((1, 2) if m == "ep-cnn" else (1,))
        ]
        for m, f in factors.items()
    }


def test_what_adversarial_training_it_is_worth_is_told_for_every_seed_and_measure():
    found = lengths({"ep-cnn": 0.3, "cnn": 0.1, "cnn-at-l2-0.5": 0.5, "cnn-at-linf-8": 9.0})
    assert list(cause_sentences.ladders(found, "l2")) == [0.0, 0.5]
    assert list(cause_sentences.ladders(found, "linf")) == [0.0, 8 / 255]
    rows = cause_sentences.worth(found, "l2", ("ep-cnn", "twin-bptt"))
    assert [(r[0], r[1], r[2]) for r in rows] == [
        ("ep-cnn", s, m) for s in (1, 2) for m in ("half radius", "area")
    ]
    assert rows[0][4:] == pytest.approx((0.25, 0.25, 0.25))
    page = cause_sentences.worth_table({"l2": rows})
    assert "0.25" in page and "0.25 to 0.25" in page
    assert cause_sentences.worth(lengths({"ep-cnn": 1, "cnn": 1}), "l2", ("ep-cnn",)) == []
    assert "No ladder" in cause_sentences.worth_table({"l2": []})
    above = cause_sentences.worth(lengths({"ep-cnn": 9, "cnn": 0.1, "cnn-at-l2-0.5": 0.5}), "l2", ("ep-cnn",))
    assert "above all" in cause_sentences.worth_table({"l2": above})


def test_the_ladder_is_drawn_beside_the_published_one(axes):
    found = {"l2": lengths({"ep-cnn": 0.3, "cnn": 0.1, "cnn-at-l2-0.5": 0.5}), "linf": lengths({"ep-cnn": 1})}
    shown = cause_sentences.panels_of(found)
    assert [title for title, *_ in shown] == ["published, ℓ2 (CIFAR-10)", "ours, ℓ2"]
    drawn = cause_figures.ladder("fig-ladder", shown, BADGE)
    assert drawn[1].lines[0].get_ydata().tolist() == pytest.approx([0.15, 0.75])
    assert drawn[1].lines[1].get_ydata()[0] == pytest.approx(0.45)
    assert len(drawn[0].lines[0].get_xdata()) == 5


def test_the_published_half_radii_lie_between_the_published_points_around_them():
    _, _, radii, ((_, _, value, _, _),) = cause_sentences.published_panel()
    assert sorted(radii) == [0.0, 0.05, 0.5, 0.75, 1.0]
    assert radii[0.0][0] < value < radii[0.5][0] < radii[1.0][0]
    said = cause_sentences.published_worth()
    assert f"to one half at {value:.3g}, the CNN's at {radii[0.0][0]:.3g}" in said


def test_crossings_are_told_under_pgd_and_under_all_attacks():
    pgd = {"ep-cnn": [outcome("ep-cnn", 60)], "cnn-at-l2-0.5": [outcome("cnn-at-l2-0.5", 40)]}
    every = {"ep-cnn": [outcome("ep-cnn", 30)], "cnn-at-l2-0.5": pgd["cnn-at-l2-0.5"]}
    said = cause_sentences.crossing({"PGD": pgd, "all": every}, cause_sentences.RIVALS)
    assert "PGD nowhere; all attacks nowhere" in said and "adversarial training ℓ2 0.5" in said
    every["ep-cnn"][0].correct[2] = True
    said = cause_sentences.crossing({"PGD": pgd, "all": every}, cause_sentences.RIVALS)
    assert "(then the EP-CNN is ahead)" in said
    assert cause_sentences.crossing({"PGD": {"ep-cnn": []}, "all": {}}, cause_sentences.RIVALS) == ""


def test_results_are_cut_to_the_images_that_all_share():
    found = lengths({"a": 1.0})
    found |= {"b": [outcome("b", 50, ids=np.arange(N) + 30, norms={"minimal_norm": np.arange(N) + 1.0})]}
    kept = cause_sentences.shared(found)
    assert kept["a"][0].image_ids.tolist() == kept["b"][0].image_ids.tolist() == list(range(30, N))
    assert kept["b"][0].arrays["minimal_norm"].tolist() == list(range(1, N - 29))
    assert cause_sentences.shared({}) == {}


def test_slopes_and_gradients_are_told_from_the_points():
    points = explained.points(*networks(noise=1e-8, ep=(0.2,)))
    assert "1.74 times the distance" in cause_sentences.slopes(explained.line(points))
    assert cause_sentences.slopes(None) == ""
    assert f"EP-CNN {points[-1].gradient:.3g}" in cause_sentences.gradients(points, ("ep-cnn", "cnn"))

import functools

import numpy as np
import pandas as pd
import pytest
import torch
from drawings import (
    axes_only,
    is_valid_svg_of_the_same_bytes_that_loads_nothing,
    shows_itself_with_a_text_for_those_who_cannot_see_it,
    words_only,
)

from eplib import exactness_figures as figures
from eplib import exactness_sentences as sentences
from eplib import pictures
from eplib.arithmetic import FORMATS
from eplib.chapters import Badge
from eplib.checks import InputError
from eplib.exactness import AGAIN, ALONE
from eplib.exactness_verdicts import attacks_as_well, differing, exact_enough
from eplib.lockstep import CASES, COMPARED, CONTROL, EXACT, LIVE, shown
from eplib.results import Result
from eplib.statistics import wilson
from eplib.studies import quartiles, share

N, LEFT = 200, 100
PAGE = Badge("sample", "quick", N, (11, 13))
SIZE = dict(zip((*FORMATS[1:], CONTROL), (1e-6, 2e-3, 5e-2, 1e-3, 1e-5), strict=True))  # of differences


def first(count, n=N):
    return torch.arange(n) < count


def around(value, n):
    """n numbers whose median is `value`."""
    return torch.linspace(0.5, 1.5, n) * value


def result(model="ep-cnn", seed=11, classes=0, late=None, outcomes=0, coarse=0, dataset="sample", n=N):
    """What "exactness" stores. In float32 so many of n classes differ after the own free phase, `late` after
    the long one, and so many outcomes; under the attack in bfloat16 so many images more are right.
    """
    recurrent, rows, correct = model.startswith("ep-cnn"), [], []
    late = classes if late is None else late

    def accuracy(right, **columns):
        rows.append(columns | share("accuracy", right))
        correct.append(right.numpy())

    phases = [(20, "forward", classes), (250, "synchronous", late)] if recurrent else [(None, None, classes)]
    for steps, order, count in phases:
        where = {"predict_steps": steps, "order": order}
        for name in FORMATS:
            accuracy(first(0.9 * n, n), precision=name, **where)
        for name, arg_max in CASES[: None if recurrent else len(COMPARED)]:
            size = SIZE[name] * (1 if arg_max == LIVE else 1e-2)
            case = where | {"precision": name, "against": EXACT, "arg_max": arg_max if recurrent else None}
            differ = count if name == "float32" and arg_max == LIVE else round(10 * size * n)
            rows.append(case | share("class_differs", first(differ, n)))
            rows.append(case | quartiles("logit_difference", around(size, n)))
            if recurrent:
                units = {"metric": "units_differ", "value": size / 10, "low": size / 20, "high": size, "n": n}
                rows.append(case | units)
                rows.append(case | quartiles("apart_after", torch.full((n,), 9.0 if size > 0.01 else np.inf)))
                for t in shown(steps):
                    rows.append(case | quartiles("difference", around(size * t, n)) | {"predict_steps": t})
                if arg_max == LIVE:
                    rows.append(case | share("pattern_differs", first(min(n, 1e4 * size), n)))
                    rows.append(case | quartiles("residual", around(1e-3, n)))
                    if size > 0.01:
                        rows.append(case | share("switched_before", first(0.8 * n, n)[: round(0.9 * n)]))
        if recurrent:
            exact = where | {"precision": EXACT, "arg_max": LIVE}
            rows.append(exact | quartiles("residual", around(1e-3, n)))
    for name in COMPARED:
        for metric in ("gradient_cosine", "sign_agreement", "dithered_cosine", "norm_ratio"):
            value = 0.75 if metric == "gradient_cosine" else 0.999
            rows.append({"precision": name, "against": EXACT} | quartiles(metric, torch.full((n,), value)))
        rows.append({"precision": name, "against": EXACT} | share("zero_gradient", first(0, n)))
    made = {"attack": "pgd", "norm": "l2", "epsilon": 1.208, "predict_steps": None, "order": None}
    made |= {"predict_steps": 20, "order": "forward"} if recurrent else {}
    left = n // 2
    for judge in ("own", EXACT):
        for name in FORMATS[0 if judge == "own" else 1 :]:
            now = left + coarse if name == "bfloat16" and judge == EXACT else left
            accuracy(first(now, n), precision=name, judge=judge, **made)
    accuracy(first(left, n), precision=ALONE, judge="own", **made)
    for name in FORMATS[1:]:
        for judge in ("own", EXACT):
            differ = outcomes if name == "float32" else 7
            columns = {"precision": name, "against": EXACT, "judge": judge} | made
            rows.append(columns | share("outcome_differs", first(differ, n)))
    fine = {"precision": "float32", "against": EXACT, "judge": "own"} | made
    rows.append(fine | share("dithered_outcome_differs", first(2, n)))
    alone = {"precision": ALONE, "against": "float32"} | made
    rows.append(alone | {"judge": "own"} | share("outcome_differs", first(3, n)))
    rows.append(alone | share("class_differs", first(1, n)))
    rows.append({"precision": AGAIN, "against": "float32"} | made | share("identical", first(n, n)))
    table = pd.DataFrame(rows)
    table["emulated"] = table.precision.isin(["tf32", "float16"])
    sizes = {"norm": "l2", "epsilon": 1.208, "steps": 20, "long": 250}
    settings = {"measurement": "exactness", "model": model, "seed": seed, "dataset": dataset, "sizes": sizes}
    settings |= {"scale": "quick", "predict_steps": 20 if recurrent else None}
    settings |= {"order": "forward" if recurrent else None}
    right = np.array(correct)
    return Result(settings, table, np.arange(n), right[1], right, {})


@functools.cache
def found():
    return {"ep-cnn": [result(seed=11), result(seed=13)], "cnn": [result("cnn")]}


@pytest.mark.parametrize(
    "networks, word",
    [
        ([{}, {}], "supported"),
        ([{"classes": 2, "outcomes": 4}] * 2, "supported"),  # 1 % and 2 % of 200
        ([{"classes": 3}, {}], "undecided"),
        ([{"outcomes": 5}, {}], "undecided"),
        ([{"late": 3}, {}], "undecided"),  # the long free phase counts as well
        ([{"classes": 3}] * 2, "undecided"),  # above, but not clearly
        ([{"classes": 8}] * 2, "contradicted"),
        ([{"late": 8}, {"outcomes": 12}], "contradicted"),
        ([{"classes": 8}, {}], "undecided"),
    ],
)
def test_float32_is_exact_enough_where_few_enough_images_differ(networks, word):
    assert wilson(3, N)[0] < 0.01 < wilson(8, N)[0] and wilson(5, N)[0] < 0.02 < wilson(12, N)[0]
    results = [result(seed=seed, **n) for seed, n in zip((11, 13), networks, strict=True)]
    verdict = exact_enough(results)
    assert verdict.networks == word and verdict.sentence.startswith(f"For these networks: {word}. In float32")
    assert verdict.method == "undecided" and "these images are not the paper's" in verdict.sentence


def test_the_upper_bound_is_printed_beside_a_zero():
    verdict = exact_enough([result(n=32)])
    high, outcome = wilson(0, 64)[1], wilson(0, 32)[1]
    assert (
        f"0 of 64 (0.0%, 95 % interval 0.0% to {high:.1%}) classes, counted after every" in verdict.sentence
    )
    assert f"0 of 32 (0.0%, 95 % interval 0.0% to {outcome:.1%}) outcomes under PGD" in verdict.sentence
    assert verdict.overturn.startswith("One network in which more than 1 %")


@pytest.mark.parametrize(
    "coarse, word",
    [
        ((0, 0), "supported"),
        ((4, -4), "supported"),
        ((5, 0), "undecided"),
        ((30, 0), "undecided"),
        ((30, 25), "contradicted"),
        ((-30, 25), "contradicted"),
    ],
)
def test_bfloat16_attacks_as_well_within_two_points(coarse, word):
    results = [result(seed=seed, coarse=c) for seed, c in zip((11, 13), coarse, strict=True)]
    verdict = attacks_as_well(results)
    assert verdict.networks == word and verdict.sentence.startswith(
        f"For these networks: {word}. PGD with 20"
    )
    assert f"{np.mean([LEFT + c for c in coarse]) / N:.1%} of 400" in verdict.sentence
    assert "-0.0 points" not in verdict.sentence


def test_enough_seeds_on_the_papers_images_speak_about_the_method():
    results = [result(seed=s, dataset="cifar10") for s in (11, 13, 17, 19, 31)]
    assert exact_enough(results).method == attacks_as_well(results).method == "supported"
    assert exact_enough(results[:4]).method == "undecided"


def test_other_counts_are_not_taken_for_those_of_a_format():
    classes, outcomes = differing(result(classes=1, late=2, outcomes=3), "float32")
    assert classes == [(1, N), (2, N)] and outcomes == (3, N)  # held arg-max and single images left out
    assert differing(result("cnn", classes=1), "float32")[0] == [(1, N)]
    plain = result()
    for lacking in ("class_differs", "outcome_differs", "accuracy"):
        less = Result(plain.settings, plain.table[plain.table.metric != lacking], *[plain.image_ids] * 3, {})
        with pytest.raises(InputError, match="measure exactness again"):
            exact_enough([less])
            attacks_as_well([less])


def test_the_answer_changes_with_the_verdicts():
    seen = set()
    for classes, coarse in ((0, 0), (8, 30), (3, 5)):
        results = [result(classes=classes, coarse=coarse)]
        said = {"float32": exact_enough(results), "bfloat16": attacks_as_well(results)}
        seen.add(sentences.answer(said, results, PAGE))
    assert len(seen) == 3 and all("Fashion-MNIST sample, quick scale" in text for text in seen)
    assert any(
        "float32 is not exact enough" in text and "16 of 400 classes and 0 of 200" in text for text in seen
    )


def test_the_paper_is_quoted_from_its_settings():
    text = sentences.paper()
    assert "250 synchronous steps" in text and "settings record no number format" in text


def test_why_counts_switches_over_seeds_and_shows_the_held_arg_max():
    text = sentences.why(found()["ep-cnn"])
    assert (
        "In 640 of the 720 times that an image came apart by more than 0.01" in text
    )  # bfloat16, two phases
    assert (
        "after 250 synchronous steps float32 0.00% and 0.00%" in text and "bfloat16 0.50% and 0.01%" in text
    )
    fine = result()
    table = fine.table[fine.table.metric != "switched_before"]
    none = Result(fine.settings, table, fine.image_ids, fine.correct_clean, fine.correct, {})
    assert "No image came apart" in sentences.why([none])


def test_tables_have_a_line_for_every_format():
    states, slopes = sentences.states(found()["ep-cnn"]), sentences.slopes(found())
    assert states.count("<tr>") == 1 + 2 * (1 + len(COMPARED)) and slopes.count("<tr>") == 1 + 2 * len(
        COMPARED
    )
    assert "<td>1.0e-06</td><td>0.5%</td><td>0 of 400</td><td>never</td><td>0.001</td>" in states
    assert "<td>360 of 400</td><td>9</td>" in states
    assert "<td>0.7500</td><td>0.9990</td><td>99.9%</td><td>0.999</td><td>0%</td>" in slopes
    assert "nan" not in states + slopes


def test_ties_single_images_and_limits_in_words():
    text = sentences.ties(found())
    assert "EP-CNN 0.7500, on dithered images 0.999000; outcomes that differ (seed 11, 13) 0 of 400" in text
    assert "on dithered images 4 of 400. CNN 0.7500" in text
    plain = result(seed=13)
    table = plain.table[plain.table.metric != "dithered_outcome_differs"]  # as first measured
    older = Result(plain.settings, table, plain.image_ids, plain.correct_clean, plain.correct, {})
    assert "(seed 11) 0 of 200, on" in sentences.ties({"ep-cnn": [result(), older]})
    assert "outcomes that differ" not in sentences.ties({"ep-cnn": [older]})
    text = sentences.one_by_one(found())
    high = wilson(6, 400)[1]
    assert (
        "EP-CNN: one at a time 2 of 400 classes and 6 of 400 outcomes differ" in text
        and f"{high:.1%}" in text
    )
    assert "once more, 400 of 400 images have bitwise the same" in text
    text = sentences.limits(found())
    assert f"still allows {wilson(0, N)[1]:.0%}" in text and "TF32 and float16" in text


def drawn(monkeypatch, how, call):
    monkeypatch.setattr(pictures, "draw", how)
    return call()


CALLS = (
    lambda: figures.differences(found(), PAGE),
    lambda: figures.growth(found()["ep-cnn"], PAGE),
    lambda: figures.accuracies(found(), PAGE),
)
LABELS = ("fig-differences", "fig-growth", "fig-formats")


@pytest.mark.parametrize("place", range(3), ids=LABELS)
def test_figures_are_pictures(place):
    pair = [CALLS[place](), CALLS[place]()], LABELS[place]
    is_valid_svg_of_the_same_bytes_that_loads_nothing(pair)
    shows_itself_with_a_text_for_those_who_cannot_see_it(pair)


def test_differences_show_every_network_and_phase_and_zeros_as_zeros(monkeypatch):
    axes = drawn(monkeypatch, axes_only, CALLS[0])
    assert len(axes) == 3 and [len(ax.get_yticklabels()) for ax in axes][0] == 6
    marks = [[l for l in ax.lines if l.get_marker() not in ("None", "")] for ax in axes]
    formats = len(FORMATS) - 1  # and single images, which have no free phase of their own
    assert [len(m) for m in marks] == [2 * len(COMPARED), 3 * len(COMPARED) + 2, 2 * (formats + 1)]
    zeros = [m for m in marks[1] if m.get_markerfacecolor() == "white"]
    floor = axes[1].get_xlim()[0] * 1.6
    assert zeros and all(m.get_xdata()[0] == pytest.approx(floor) for m in zeros)
    assert axes[1].get_xticklabels()[0].get_text() == "0"
    limits = [l.get_xdata()[0] for ax in axes for l in ax.lines if l.get_linestyle() == ":"]
    assert limits == [0.01, 0.02]
    words = drawn(monkeypatch, words_only, CALLS[0])
    assert "With seed 11 only: CNN." in words.caption and "TF32 and float16" in words.caption
    assert "EP-CNN, 20 forward steps, bfloat16: 0.50% of the units" in words.alt


def test_growth_shows_both_arg_max_and_stops_with_the_phase(monkeypatch):
    axes = drawn(monkeypatch, axes_only, CALLS[1])
    assert [ax.get_title() for ax in axes] == ["20 forward steps", "250 synchronous steps"]
    for ax, last in zip(axes, (20, 250), strict=True):
        solid = [l for l in ax.lines if l.get_linestyle() == "-"]
        dotted = [l for l in ax.lines if l.get_linestyle() == ":"]
        assert (len(solid), len(dotted)) == (len(COMPARED), len(FORMATS) - 1)
        assert all(l.get_xdata()[-1] == last for l in (*solid, *dotted))
        assert solid[1].get_ydata()[-1] == pytest.approx(SIZE["float32"] * last)
        assert dotted[0].get_ydata()[-1] == pytest.approx(SIZE["float32"] * last / 100)
    words = drawn(monkeypatch, words_only, CALLS[1])
    assert f"after 250 synchronous steps bfloat16 {SIZE['bfloat16'] * 250:.2g}, with float64's" in words.alt


def test_one_phase_has_one_panel(monkeypatch):
    own = result()
    same = own.settings | {"predict_steps": 250, "order": "synchronous"}
    table = own.table[own.table.order != "forward"]
    alone = Result(same, table, own.image_ids, own.correct_clean, own.correct, {})
    axes = drawn(monkeypatch, axes_only, lambda: figures.growth([alone], PAGE))
    assert len(axes) == 1 and axes[0].get_title() == "250 synchronous steps"


def test_two_phases_in_one_order_are_told_apart(monkeypatch):
    own = result()
    table = own.table.replace({"order": {"forward": "synchronous"}})
    both = Result(
        own.settings | {"order": "synchronous"}, table, own.image_ids, own.correct_clean, own.correct, {}
    )
    axes = drawn(monkeypatch, axes_only, lambda: figures.growth([both], PAGE))
    assert [ax.lines[0].get_xdata()[-1] for ax in axes] == [20, 250]
    assert [len(set(ax.lines[0].get_xdata())) for ax in axes] == [len(ax.lines[0].get_xdata()) for ax in axes]
    assert "after 20 synchronous steps float32" in sentences.why([both])


def test_accuracies_show_both_judges_beside_float64(monkeypatch):
    axes = drawn(monkeypatch, axes_only, CALLS[2])
    assert [ax.get_title() for ax in axes] == ["EP-CNN", "CNN"]
    marks = [l for l in axes[0].lines if l.get_marker() == "o"]
    opened = [m for m in marks if m.get_markerfacecolor() == "white"]
    assert (len(marks), len(opened)) == (len(FORMATS) + 1 + len(FORMATS) - 1, len(FORMATS) - 1)
    assert all(m.get_xdata()[0] == 0.5 for m in marks)
    words = drawn(monkeypatch, words_only, CALLS[2])
    assert "ℓ2 ε = 1.21" in words.caption and "float32, one image at a time 50.0%" in words.alt

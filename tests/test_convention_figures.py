import itertools
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from drawings import axes_only, words_only
from matplotlib.text import Text

from eplib import convention_figures as figures
from eplib import convention_sentences as sentences
from eplib import curves, data, published_curves
from eplib.chapters import Badge
from eplib.checks import InputError
from eplib.conventions import VARIANTS
from eplib.results import Result
from eplib.statistics import wilson

N, CLEAN = 200, 160
BADGE = Badge("sample", "quick", N, (0,))
EPSILONS = {"linf": (0.01, 0.1), "l2": (0.309, 3.0)}
ABSENT = {("linf", "loss averaged over a batch"), ("cnn", sentences.HORIZONS)}


def outcome(kept, repaired=0):
    """`kept` of the images that were right before stay right, `repaired` of the others become right."""
    return (np.arange(N) < kept) | ((np.arange(N) >= CLEAN) & (np.arange(N) < CLEAN + repaired))


def result(model="ep-cnn", seed=0, epsilons=EPSILONS, **given):
    """A result of "conventions". given: {convention with _ for spaces: [(kept, repaired) at every ε]}, where
    all others keep 100 and 20.
    """
    rows, correct = [], []
    named = [(n, v) for n in epsilons for v in VARIANTS if not {(n, v), (model, v)} & ABSENT]
    for norm, name in [*named, *(("linf", f"Square, {seen}") for seen in ("logits", "probabilities"))]:
        counts = given.get(re.sub(r"\W+", "_", name), [(100, 0), (20, 0)])
        for epsilon, (kept, repaired) in zip(epsilons[norm], counts, strict=True):
            attack = "square" if "Square" in name else "pgd"
            where = {"attack": attack, "norm": norm, "epsilon": epsilon, "convention": name}
            correct.append(outcome(kept, repaired))
            rows.append(where | {"metric": "accuracy", "value": correct[-1].mean()})
    energy = model == "ep-cnn"
    settings = {"seed": seed, "dataset": "sample", "measurement": "conventions", "model": model}
    settings |= {"predict_steps": 20 if energy else None, "order": "forward" if energy else None}
    return Result(settings, pd.DataFrame(rows), np.arange(N), outcome(CLEAN), np.array(correct), {})


def pair(ep=None, cnn=None):
    return {"ep-cnn": [result(**ep or {})], "cnn": [result("cnn", **cnn or {})]}


def drawn(found, norm):
    """The axes of the figure of conventions, and the figure without its drawing."""
    kept = []

    def keep(*given):
        kept.append(axes_only(*given))
        return words_only(*given[:5])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "draw", keep)
        return kept, figures.accuracy("fig-x", found, norm, BADGE)


def cells(html):
    return [re.findall("<t[hd]>(.*?)</t[hd]>", line) for line in re.findall("<tr>(.*?)</tr>", html)]


def test_one_convention_alone_is_what_verdicts_and_curves_take():
    found = pair({"predicted_labels": [(90, 5), (10, 30)]})
    alone = sentences.under(found, "linf", "predicted labels")
    (curve,) = curves.of_results({"ep-cnn": alone["ep-cnn"]}, False)
    assert curve.x == EPSILONS["linf"] and curve.y == pytest.approx((0.475, 0.2))
    assert alone["ep-cnn"][0].norm == "linf" and len(alone["ep-cnn"][0].correct) == 2
    assert sentences.under(found, "linf", "loss averaged over a batch") == {}
    assert list(sentences.under(found, "l2", sentences.HORIZONS)) == ["ep-cnn"]
    assert sentences.norms(found) == ["linf", "l2"]
    assert sentences.norms({"cnn": [result("cnn", epsilons={"linf": (0.01, 0.1)})]}) == ["linf"]


def test_repaired_images_are_those_that_were_wrong():
    two = [result(seed=s, predicted_labels=[(90, 5), (10, 20 * s)]) for s in (0, 1)]
    at = {(r.norm, r.epsilon): r for r in sentences.repaired(two)}
    assert list(at) == [(n, e) for n in ("linf", "l2") for e in EPSILONS[n]]
    last = at["linf", 0.1]
    assert (last.images, last.wrong, last.repaired, last.kept) == (400, 80, 20, 20)
    assert last.error == 0.2 and last.share == 0.25 and last.floor == 0.05
    assert last.floor + last.kept / last.images == pytest.approx((10 / N + 30 / N) / 2)  # all that counts
    nobody = replace(two[0], correct_clean=np.ones(N, bool))
    assert {r.share for r in sentences.repaired([nobody])} == {0.0}


def test_the_arithmetic_of_repair_is_told_beside_the_published_levels():
    text = sentences.who_is_repaired(pair({"predicted_labels": [(90, 5), (10, 30)]}))
    assert (
        "EP-CNN at ℓ∞ ε = 25.5/255: 30 of 40 wrong images end right, 20.0% × 75.0% = 15.0% of all, beside"
        " 5.0%" in text
    )
    assert "CNN at ℓ2 ε = 3: 0 of 40" in text
    level, clean = sentences.levels()["ep-cnn"]
    assert f"EP-CNN {level:.1%} = {1 - clean:.1%} × {level / (1 - clean):.1%}" in text
    lines = cells(figures.repaired_table(pair({"predicted_labels": [(90, 5), (10, 30)]})))
    assert ["EP-CNN", "ℓ∞ ε = 25.5/255", "30 of 40", "20.0", "75.0", "15.0", "5.0", "20.0"] in lines
    assert len(lines) == 1 + 2 * 4


def test_published_levels_are_those_of_the_tables():
    table, text = published_curves.curves("Adversarial_Accuracy_Inf"), sentences.published_levels()
    found = sentences.levels()
    assert set(found) == set(table) and found["cnn"][1] is None
    for key, (accuracy, clean) in found.items():
        assert accuracy == table[key]["mean"][0.1]
        beside = f" (clean error {1 - clean:.1%})" if clean else ""
        assert f"{published_curves.name(key)} {accuracy:.1%}{beside}" in text
    assert f"taken further: CNN {table['cnn']['mean'].iloc[-1]:.1%} at ε = 255/255" in text


def test_the_answer_tells_points_and_whether_the_order_moves():
    same = sentences.answer(pair({"published": [(100, 0), (20, 30)]}), BADGE)
    assert same.startswith("**In one sentence.**") and same.count(".**") == 1 and same.endswith("scale).")
    assert "at ℓ∞ ε = 25.5/255 EP-CNN +15.0 points (25.0% instead of 10.0%), CNN +0.0 points" in same
    assert "same under both at 2 of 4 strengths and changes at ℓ∞ ε = 25.5/255, ℓ2 ε = 3 (" in same
    still = sentences.answer(pair(), BADGE)
    assert "same under both at 4 of 4 strengths (" in still and "changes" not in still
    less = sentences.answer(pair({"published": [(100, 0), (14, 0)]}), BADGE)
    assert "EP-CNN -3.0 points (7.0% instead of 10.0%)" in less


@pytest.mark.parametrize(
    "published, corrected, who, word",
    [
        ([(100, 0)] * 2, [(100, 0)] * 2, ["neither clearly"] * 2, "no clear order in either"),
        ([(140, 0)] * 2, [(140, 0)] * 2, ["EP-CNN"] * 2, "survives"),
        ([(140, 0)] * 2, [(100, 0)] * 2, ["EP-CNN", "neither clearly"], "does not survive"),
        ([(100, 0)] * 2, [(140, 0)] * 2, ["neither clearly", "EP-CNN"], "appears"),
        ([(140, 0)] * 2, [(20, 0)] * 2, ["EP-CNN", "CNN"], "is reversed"),
    ],
)
def test_what_holds_flips_with_the_results(published, corrected, who, word):
    level = {"published": [(100, 0)] * 2, "corrected": [(100, 0)] * 2}
    found = pair({"published": published, "corrected": corrected}, level)
    lines = cells(figures.what_holds(found))[1:]
    assert [line[2:] for line in lines] == [[*who, word]] * 4
    assert lines[0][0] == "EP-CNN or CNN, ℓ∞ ε = 2.55/255" and lines[1][0].endswith("25.5/255")
    curve = published_curves.curves("Adversarial_Accuracy_Inf")
    assert lines[0][1] == ", ".join(f"{curve[m]['mean'][0.01]:.1%}" for m in ("ep-cnn", "cnn"))


def test_what_holds_names_rivals_with_a_published_curve_and_who_is_under_trained():
    found = pair() | {m: [result(m)] for m in ("vit-8", "cnn-at-l2-0.5", "twin-bptt")}
    table = figures.what_holds(found)
    assert len(cells(table)) == 1 + 3 * 4 and "ViT" in table and "twin" not in table
    assert "under-trained" not in table
    weak = replace(result("cnn"), correct_clean=outcome(100))
    assert "The CNN is under-trained" in figures.what_holds({"ep-cnn": [result()], "cnn": [weak]})
    beyond = {"linf": (0.01, 0.1), "l2": (0.309, 30.0)}
    far = {m: [result(m, epsilons=beyond)] for m in ("ep-cnn", "cnn")}
    assert [line[1] for line in cells(figures.what_holds(far))][-1] == "–"


def test_effects_follow_the_results_and_leave_out_what_does_not_apply():
    found = pair({"five_random_starts": [(60, 0), (20, 0)]}, {"five_random_starts": [(99, 0), (20, 0)]})
    text = sentences.effect(found, "five random starts")
    assert (
        "EP-CNN -20.0 points at ℓ∞ ε = 2.55/255 (30.0% instead of 50.0%), clear at 2 of 4 strengths" in text
    )
    assert "CNN -0.5 points" in text and "clear at 0 of 4" in text and text.startswith("**Five random")
    text = sentences.horizons(pair({"70_steps_attacked_250_predicted": [(140, 0), (20, 0)]}))
    assert "EP-CNN +20.0 points" in text and "; CNN" not in text
    assert text.endswith("Own horizon: 20 forward steps.")
    text = sentences.horizons({"cnn": [result("cnn")]})
    assert "applies to no network shown" in text and "Own horizon" not in text
    averaged = sentences.effect(pair({"loss_averaged_over_a_batch": [(140, 0), (20, 0)]}), list(VARIANTS)[3])
    assert "EP-CNN +20.0 points at ℓ2 ε = 0.309" in averaged and "clear at 1 of 2 strengths" in averaged


def test_a_change_is_clear_only_where_every_seed_agrees():
    up, down = ({"published": [(kept, 0), (20, 0)]} for kept in (140, 60))
    assert sentences.changes([result(**up), result(seed=1, **up)], "published")[0][-1]
    assert not sentences.changes([result(**up), result(seed=1, **down)], "published")[0][-1]
    assert sentences.points(-0.0001) == "+0.0"


@pytest.mark.parametrize(
    "seen, words",
    [
        ([(100, 0), (20, 0)], "of the EP-CNN not clearly more or fewer images survive;"),
        ([(150, 0), (20, 0)], "of the EP-CNN clearly more images survive (at 1 of 2 strengths);"),
        ([(50, 0), (2, 0)], "of the EP-CNN clearly fewer images survive (at 2 of 2 strengths);"),
    ],
)
def test_square_with_probabilities_follows_the_results(seen, words):
    found = pair({"Square_probabilities": seen})
    assert words in sentences.square(found)
    kept, line = seen[0][0], cells(figures.square_table(found))[1]
    assert line[:4] == ["EP-CNN", "ℓ∞ ε = 2.55/255", "50.0%", f"{kept / N:.1%}"]
    assert line[4:] == [str(max(kept - 100, 0)), str(max(100 - kept, 0)), str(N)]


def test_intervals_shrink_with_the_sample():
    for epsilon, mean in ((0.01, 0.536), (8 / 255, 0.085)):
        _, value, intervals = figures.sampled(epsilon)["ep-cnn"]
        assert value == pytest.approx(mean) and intervals[200] == wilson(round(200 * mean), 200)
        widths = [high - low for low, high in intervals.values()]
        assert widths == sorted(widths, reverse=True)
        for n in figures.SAMPLES:
            difference, low, high = figures.lead(epsilon, n)
            assert low < difference < high
    # Newcombe (1998), table II, case 56/70 and 48/80: 0.0524 to 0.3339
    with pytest.MonkeyPatch.context() as patch:
        sides = [(0.01, k / n, {1: wilson(k, n)}) for k, n in ((56, 70), (48, 80))]
        patch.setattr(figures, "sampled", lambda _: dict(zip("ab", sides, strict=True)))
        assert figures.lead(0.01, 1) == pytest.approx((0.2, 0.0524, 0.3339), abs=1e-4)


def test_whether_samples_tell_networks_apart_depends_on_their_size():
    few, many = figures.separated(200), figures.separated(10_000)
    assert "apart at ℓ∞ ε = 2.55/255 (" in few and "not apart at ℓ∞ ε = 8/255" in few
    assert "not apart" not in many and many.count("apart at") == 2
    table = figures.sample_table()
    assert len(cells(table)) == 7 and "on 10,000 images" in table


@pytest.mark.parametrize("order", [None, torch.arange(3)])
def test_which_images_says_whether_the_order_is_that_of_the_files(monkeypatch, order):
    shipped = data.load("sample", "test")
    monkeypatch.setattr(data, "load", lambda name, split: replace(shipped, official=order))
    text = sentences.which_images("cifar10", 200)
    assert "the first 200 test images of CIFAR-10" in text
    assert ("canonical order, a substitute" in text) == (order is None)
    assert ("in the order that the paper used" in text) == (order is not None)
    assert ("not the paper's" in sentences.which_images("fashion-mnist", 64)) == (order is not None)


@pytest.mark.parametrize("count", [1, 2, 3, 8])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_everything_written_is_inside_and_no_number_covers_another(count, norm):
    epsilons = {n: tuple(e * 1.2**i for i in range(count)) for n, e in (("linf", 0.01), ("l2", 0.3))}
    share = {re.sub(r"\W+", "_", v): [(150, 10)] * count for v in (*VARIANTS, "Square, logits")}
    share["Square_probabilities"] = share["published"]
    found = {m: [result(m, epsilons=epsilons, **share)] for m in ("ep-cnn", "cnn")}
    picture = figures.accuracy("fig-x", found, norm, BADGE)
    assert picture.caption.startswith("How to read it: ") and BADGE.text in picture.caption
    assert picture.alt.count("ε = ") == count and picture.alt.endswith(".")
    (axs,), _ = drawn(found, norm)
    shown = [ax for ax in axs.ravel() if ax.axison]
    assert len(shown) == count
    canvas = shown[0].figure
    canvas.draw_without_rendering()
    for ax in shown:
        lines = len(VARIANTS) - (norm == "linf")
        assert len(ax.texts) == 2 * lines - 1 + 2  # numbers, but one that does not apply, and names
        labels = [*ax.texts, ax._left_title, ax.xaxis.label, *ax.get_yticklabels()]
        boxes = [Text.get_window_extent(t) for t in labels if t.get_visible() and t.get_text()]
        for box in boxes:
            corners = (box.x0, box.y0, canvas.bbox.x1 - box.x1, canvas.bbox.y1 - box.y1)
            assert min(corners) >= 0
        for one, other in itertools.combinations(boxes[: len(ax.texts) + 1], 2):
            assert not one.overlaps(other)
        for other in shown:
            assert other is ax or not any(b.overlaps(other.bbox) for b in boxes)


def test_a_network_alone_is_drawn_and_none_is_refused():
    (axs,), picture = drawn({"cnn": [result("cnn")]}, "l2")
    assert [t.get_text() for t in axs[0].texts][:2] == ["CNN", "50.0%"]
    assert sentences.HORIZONS not in picture.alt and "EP-CNN" not in picture.alt
    with pytest.raises(InputError, match="no convention measured in l2"):
        figures.accuracy("x", {"cnn": [result("cnn", epsilons={"linf": (0.01, 0.1)})]}, "l2", BADGE)


def test_the_figure_of_sample_sizes_is_drawn_from_the_published_table():
    picture = figures.sample_size("fig-s")
    mean = published_curves.curves(figures.AUTOATTACK)["ep-cnn"]["mean"]
    assert f"EP-CNN {mean.iloc[1]:.1%} at 0.255/255 and {mean[0.1]:.1%} at 25.5/255" in picture.alt
    assert picture.caption.startswith("How to read it: ") and "10,000" in picture.caption
    assert picture == figures.sample_size("fig-s")

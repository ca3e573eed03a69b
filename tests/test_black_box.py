import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from drawings import (
    axes_only,
    is_valid_svg_of_the_same_bytes_that_loads_nothing,
    shows_itself_with_a_text_for_those_who_cannot_see_it,
    words_only,
)
from matplotlib.text import Text

from eplib import benchmark, black_box, pictures
from eplib import black_box_figures as figures
from eplib import black_box_sentences as sentences
from eplib.chapters import Badge, Shown
from eplib.checks import InputError
from eplib.results import Result
from eplib.suite import AUTOATTACK
from eplib.transfers import ANY

N, LINF, L2 = 100, [0.01, 0.0464], [0.486, 1.208]
SHORT = [["apgd-ce", 20], ["fab-t", 10], ["square", 200]]
PAGE = Badge("sample", "quick", N, (11, 13))
MODELS = ("ep-cnn", "cnn", "vit-8", "cnn-at-l2-0.5", "twin-bptt", "cnn-penalised", "student-of-ep-cnn")


def result(measurement, model, correct, seed=11, clean=None, sizes=None, table=None, **arrays):
    """What a measurement stores; without sizes that of PGD. correct: bool [E, N]."""
    clean = np.arange(correct.shape[1]) < 90 if clean is None else clean
    recurrent = model.startswith(("ep-cnn", "twin"))
    settings = {
        "measurement": measurement,
        "model": model,
        "seed": seed,
        "dataset": "sample",
        "scale": "quick",
        "predict_steps": 20 if recurrent else None,
        "order": "forward" if recurrent else None,
    }
    norm = "l2" if measurement in ("pgd-l2", "square-l2", "hop-skip-jump") else "linf"
    where = {"norm": norm, "epsilons": L2 if norm == "l2" else LINF}
    settings |= {"sizes": where | sizes} if sizes is not None else where
    return Result(settings, table, np.arange(correct.shape[1]), clean, correct, {}, arrays)


def first(*counts):
    """The first so many of N images, at every ε."""
    return np.array([np.arange(N) < count for count in counts])


def pgd(model, *counts, norm="linf", seed=11):
    return result(f"pgd-{norm}", model, first(*counts), seed)


def noise(model, *counts, seed=11):
    return result("noise-linf", model, first(*counts), seed, sizes={"plan": [["noise", 50]]})


def square(model, *counts, seed=11, queries=500):
    """So many survive at each ε; the others that are right broke after 1, 6, 11, … queries."""
    survive, asked = first(*counts), np.zeros((len(counts), N), np.int32)
    right = np.arange(N) < 90
    for i, now in enumerate(survive):
        before = right if i == 0 else survive[i - 1]
        asked[i] = np.where(now, -1, np.where(before, 1 + 5 * np.arange(N), 0))
    return result("square-linf", model, survive, seed, sizes={"queries": queries}, queries=asked)


def several(model, *found, seed=11, plan=SHORT):
    """found, for every ε: how many survive, and how many each part broke, the last part's first."""
    parts = (-1, *reversed(range(len(plan))), -2)
    counts = [(survive, *reversed(broken), N - survive - sum(broken)) for survive, *broken in found]
    by = np.array([np.repeat(parts, c) for c in counts], np.int8)
    return result("suite-linf", model, by == -1, seed, by[0] != -2, sizes={"plan": plan}, found_by=by)


def transferred(model, seed=11, **counts):
    """counts: how many images are right at each ε of those made on a source ("_" in the place of "-")."""
    named = {source.replace("_", "-"): c for source, c in counts.items()}
    named[ANY] = [min(c) for c in zip(*named.values(), strict=True)]
    rows = [{"metric": "accuracy", "other_model": s, "epsilon": e} for s in named for e in LINF]
    correct = first(*(c for each in named.values() for c in each))
    return result("transfer", model, correct, seed, sizes={}, table=pd.DataFrame(rows))


def stored(**changes):
    """{measurement: {model: [Result]}} of a page that lacks Square in ℓ2 alone; the EP-CNN leads."""
    at = {m: 4 * i for i, m in enumerate(MODELS)}
    found = {
        "square-linf": {m: [square(m, 80 - at[m], 50 - at[m])] for m in MODELS},
        "suite-linf": {
            m: [several(m, (60 - at[m], 20 + at[m], 8, 2), (30 - at[m], 50 + at[m], 8, 2))] for m in MODELS
        },
        "noise-linf": {m: [noise(m, 88, 80)] for m in MODELS},
        "pgd-linf": {m: [pgd(m, 70 - at[m], 40 - at[m])] for m in MODELS},
        "transfer": {m: [transferred(m, ep_cnn=(70, 35), cnn=(80, 60 - at[m]))] for m in MODELS},
        "hop-skip-jump": {m: [hop(m, 60, 30)] for m in MODELS[:2]},
        "pgd-l2": {m: [pgd(m, 60, 30, norm="l2")] for m in MODELS[:2]},
        "square-l2": {},
    }
    return found | changes


def hop(model, *counts, seed=11):
    return result("hop-skip-jump", model, first(*counts), seed, sizes={"steps": 10})


def lead(ep, cnn, plan=SHORT):
    """Square and the union with so many images right at both ε of EP-CNN and CNN."""
    pair = {"ep-cnn": ep, "cnn": cnn}
    return {
        "square-linf": {m: [square(m, k, k)] for m, k in pair.items()},
        "suite-linf": {
            m: [several(m, *[(k, 90 - k, *[0] * (len(plan) - 1))] * 2, plan=plan)] for m, k in pair.items()
        },
    }


@pytest.mark.parametrize(
    "ep, cnn, word, said",
    [
        (60, 20, "supported", "keeps more images right than the CNN under Square"),
        (20, 60, "contradicted", "keeps fewer images right than the CNN under Square"),
        (40, 40, "undecided", "is not shown to differ from the CNN under Square"),
    ],
)
def test_verdicts_and_the_answer_follow_the_images(ep, cnn, word, said):
    found = lead(ep, cnn)
    verdicts = sentences.black_box_verdicts(found)
    assert [v.networks for v in verdicts.values()] == [word] * 2
    assert "Under Square with ℓ∞ ε = 11.8/255" in verdicts["square-linf"].sentence  # nearest to the published
    assert "Under the short suite with ℓ∞ ε = 2.55/255" in verdicts["suite-linf"].sentence
    answer = sentences.answer(verdicts, found, PAGE)
    assert said in answer and "it under the short suite (Fashion-MNIST sample, quick scale)" in answer


def test_only_the_standard_plan_is_called_autoattack():
    short, whole = lead(60, 20), lead(60, 20, [list(part) for part in AUTOATTACK])
    assert sentences.plan(short["suite-linf"]).startswith(
        "Ours is a short suite and not AutoAttack: APGD-CE 20 steps, FAB-T 10 steps, Square 200 queries;"
    )
    assert sentences.plan(short["suite-linf"]).startswith(figures.our_plan(short["suite-linf"]))
    assert figures.our_plan({}) == ""
    said = sentences.plan(whole["suite-linf"])
    assert said.startswith("Ours is the standard AutoAttack: APGD-CE 100 steps") and "5,000 queries" in said
    assert "APGD-CE, APGD-DLR, DeepFool, Square" in said and "every larger one" not in said
    verdicts = sentences.black_box_verdicts(whole)
    assert "Under AutoAttack with" in verdicts["suite-linf"].sentence
    assert "short" not in sentences.answer(verdicts, whole, PAGE)
    table = sentences.seeing_less(stored())[0]
    assert "<th>the short suite</th>" in table and "AutoAttack" not in table


def test_published_numbers_are_read(monkeypatch):
    said = sentences.published_claims()
    assert "ℓ∞ Square, 1,000 iterations: EP-CNN 64.3% and CNN 26.2% at ε = 5.49/255" in said
    assert "ℓ∞ AutoAttack: EP-CNN 53.6% and CNN 19.8% at ε = 2.55/255" in said
    assert said.endswith("At ε = 8/255 the authors' AutoAttack leaves EP-CNN 8.5% and CNN 5.2%.")
    before = sentences.published_curves.curves
    monkeypatch.setattr(
        sentences.published_curves,
        "curves",
        lambda figure: {m: t.assign(mean=0.5 * t["mean"]) for m, t in before(figure).items()},
    )
    assert "EP-CNN 32.1% and CNN 13.1%" in sentences.published_claims()
    assert "EP-CNN answered with probabilities and the CNNs with logits" in sentences.answers()


def test_what_is_not_stored_is_named_with_its_command(tmp_path, monkeypatch):
    shown = Shown("quick", "sample", (11,))
    said = sentences.missing(shown, stored(), "square-l2", "transfer")
    assert len(said) == 1 and "No result of square-l2 is stored at quick scale" in said[0]
    command = re.search("`python -m eplib (.+)`", said[0])[1]
    assert command == (
        "measure --checkpoint data/checkpoints/quick/ep-cnn-sample-s11.safetensors --measurement square-l2"
    )
    assert sentences.missing(shown, stored(), "transfer") == []


def test_decisions_are_compared_with_gradients_on_shared_images():
    assert "In 0 of 2 networks" in sentences.decisions(stored())
    better = stored(**{"hop-skip-jump": {"ep-cnn": [hop("ep-cnn", 57, 33)], "cnn": [hop("cnn", 62, 30)]}})
    said = sentences.decisions(better)
    assert "In 1 of 2 networks HopSkipJump" in said and "of 100:" in said
    assert said.endswith("EP-CNN, seed 11: 3 and 3; CNN, seed 11: 0 and 2.")
    turned = replace(hop("cnn", 55, 28), image_ids=np.arange(N)[::-1])  # the same images in another order
    said = sentences.decisions(stored(**{"hop-skip-jump": {"cnn": [turned]}}))
    assert said.endswith("CNN, seed 11: 45 and 40.")
    assert "No network is stored with both" in sentences.decisions(stored(**{"hop-skip-jump": {}}))


def test_every_attacker_is_compared_on_the_same_images_at_the_largest_shared_strength():
    short = square("cnn", 30, 20)
    short = replace(
        short,
        image_ids=short.image_ids[:50],
        correct_clean=short.correct_clean[:50],
        correct=short.correct[:, :50],
    )
    found = stored(**{"square-linf": {"ep-cnn": [square("ep-cnn", 80, 50)], "cnn": [short]}})
    epsilon, networks = black_box.compare(found)
    assert epsilon == 0.0464 and {len(right) for s in networks for right in s.left.values()} == {50}
    assert [s.model for s in networks][:2] == ["ep-cnn", "cnn"] and len(networks) == len(MODELS)
    only = {k: {} for k in found} | {k: {"cnn": found[k]["cnn"]} for k in ("noise-linf", "pgd-linf")}
    only["noise-linf"]["cnn"][0].settings["sizes"]["epsilons"] = [0.001, 0.01]
    assert black_box.compare(only)[0] == 0.01
    only["noise-linf"]["cnn"][0].settings["sizes"]["epsilons"] = [0.001, 0.1]
    assert black_box.compare(only) == (None, [])
    (said,) = sentences.seeing_less(only)
    assert said.startswith("No ε at which")


def test_the_union_is_never_larger_than_a_part():
    rng = np.random.default_rng(0)
    found = stored()
    for kind in black_box.BLACK + black_box.WHITE:
        for (given,) in found[kind].values():
            given.correct[:] &= rng.random(given.correct.shape) < 0.8
    _, networks = black_box.compare(found)
    assert len(networks) == len(MODELS)
    for s in networks:
        parts = [*s.left.values(), s.gradients, s.clean]
        assert all(s.everything.sum() <= part.sum() for part in parts[:-1])
        assert not (s.everything & ~np.all(parts[:-1], 0)).any() and s.black >= s.everything.mean()
        assert s.alone == (s.gradients & ~s.everything).sum()


def cells(html):
    found = [re.findall("<t[hd]>(.*?)</t[hd]>", line) for line in re.findall("<tr>(.*?)</tr>", html)]
    return {line[0]: line[1:] for line in found}


def test_the_table_has_a_cell_for_every_attacker():
    found = stored(**{"noise-linf": {"cnn": [noise("cnn", 88, 80)]}})
    table, _ = sentences.seeing_less(found)
    lines = cells(table)
    assert lines["network"][1:] == [
        *("no attack", "noise", "transfer", "Square", "PGD", "the short suite"),
        *("all of them", "broken by a black box alone"),
    ]
    assert lines["EP-CNN"] == ["11", "90.0", "–", "60.0", "50.0", "40.0", "30.0", "30.0", "2"]
    # of the CNN: not its own images, for which transfer is a white box
    assert lines["CNN"] == ["11", "90.0", "80.0", "35.0", "46.0", "36.0", "26.0", "26.0", "2"]
    assert "100 test images" in table and "ε = 11.8/255" in table


def test_white_box_against_black_box():
    _, said = sentences.seeing_less(stored())
    assert said.startswith("**White box ≤ black box** in 7 of 7 networks: at ℓ∞ ε = 11.8/255")
    assert "So it must be where gradient attacks work" in said and "2 of EP-CNN (seed 11)" in said
    weak = {k: {} for k in stored()} | {
        "pgd-linf": {"ep-cnn": [pgd("ep-cnn", 90, 85)]},
        "square-linf": {"ep-cnn": [square("ep-cnn", 90, 80)]},
        "suite-linf": {"ep-cnn": [several("ep-cnn", (70, 20, 0, 0), (40, 10, 0, 40))]},
    }
    _, said = sentences.seeing_less(weak)  # Square of the suite broke what gradients left
    assert "in 1 of 1 networks" in said and "broke 40 of EP-CNN (seed 11), of 100 each" in said
    weak["square-linf"]["ep-cnn"] = [square("ep-cnn", 90, 79)]
    _, said = sentences.seeing_less(weak)
    assert "in 0 of 1 networks" in said and "In EP-CNN (seed 11) a black box leaves fewer, a sign" in said
    none = stored()
    none["suite-linf"] = {}
    none["square-linf"] = {"ep-cnn": [square("ep-cnn", 90, 70)]}
    none["transfer"] = {}
    table, said = sentences.seeing_less(none)
    assert "Black boxes alone broke no image" in said and "several attacks" in table


def test_queries_count_from_the_strength_that_broke_an_image():
    given = square("cnn", 80, 50)
    after = black_box.broken_after(given, 0.0464)
    assert np.isinf(after[:50]).all() and (after[90:] == 0).all()
    assert after[50] == 251 and after[79] == 396 and after[80] == 401  # the last at the smaller ε
    assert np.isinf(black_box.broken_after(given, 0.01)[:80]).all()
    assert black_box.left_after([given], 0.0464, 0) == 0.9
    assert black_box.left_after([given], 0.0464, black_box.asked(given)) == given.correct[1].mean() == 0.5
    assert black_box.left_after([given, square("cnn", 90, 90)], 0.0464, 300) == pytest.approx((0.8 + 0.9) / 2)
    with pytest.raises(InputError, match="ε = 0.5 was not measured: give one of 0.01, 0.0464"):
        black_box.broken_after(given, 0.5)


COSTS = {"ep-cnn": 5.0, "cnn": 0.2}
TARGET = sentences.targets()["square-linf"]


def test_the_same_cost_is_fewer_queries_of_the_dearer_network():
    found = {"ep-cnn": [square("ep-cnn", 80, 50)], "cnn": [square("cnn", 80, 50)]}
    assert black_box.matched(found, COSTS) == ("cnn", "ep-cnn", pytest.approx(0.2 * 501))
    said = sentences.matched_cost(found, COSTS)
    assert "The whole attack on the CNN, 501 queries, takes 100 ms of its time" in said
    assert "the attacker of the EP-CNN asks 20 times and leaves 90.0%; with all 501 queries, 50.0%" in said
    assert "+40.0 points at matched cost is +0.0 at matched queries" in said
    swapped = sentences.matched_cost(found, {"ep-cnn": 0.2, "cnn": 0.2})
    assert "asks 501 times and leaves 50.0%" in swapped
    assert black_box.matched(found, {"cnn": 0.2}) is None
    assert "no inference time of 20 forward steps" in sentences.matched_cost(found, {"cnn": 0.2})


def test_milliseconds_are_those_of_the_stored_benchmark(tmp_path, monkeypatch):
    found = {m: [square(m, 80, 50)] for m in MODELS}
    found["twin-cut"] = [square("twin-cut", 80, 50)]
    found["twin-cut"][0].settings["predict_steps"] = 1
    costs = black_box.milliseconds(found)
    rows = {
        (r["steps"], r["method"]): r for r in benchmark.stored("cost")["rows"] if r["task"] == "inference"
    }
    assert costs["ep-cnn"] == costs["twin-bptt"] == rows[20, "EP-CNN"]["milliseconds"] / 32
    assert costs["cnn"] == costs["cnn-at-l2-0.5"] == rows[None, "CNN"]["milliseconds"] / 32
    assert not {"vit-8", "twin-cut"} & set(costs)
    monkeypatch.setattr(benchmark, "STORED", tmp_path)
    assert black_box.milliseconds(found) == {}


def test_limits_say_how_little_was_asked():
    said = sentences.limits(stored())
    assert "Square asked 500 times here, fewer than the 5,000 of the literature" in said
    assert "1,000 iterations. With 100 images an accuracy near one half is known to within 10 points" in said
    whole = {"square-linf": {"ep-cnn": [square("ep-cnn", 80, 50, queries=5000)]}}
    assert "asked 5,000 times here, as many as the 5,000" in sentences.limits(whole)


def test_transfer_leaves_out_the_network_itself():
    given = transferred("ep-cnn", ep_cnn=(10, 5), cnn=(70, 60), vit_8=(65, 64))
    assert black_box.sources(given) == ["ep-cnn", "cnn", "vit-8"]
    assert black_box.others(given) == ["cnn", "vit-8"]
    assert black_box.right_from(given, 0.0464, ["cnn", "vit-8"]).sum() == 60
    assert black_box.right_from(given, 0.01, ["vit-8"]).sum() == 65
    for made_on, epsilon in ((["cct"], 0.01), (["cnn"], 0.3), ([], 0.01)):
        with pytest.raises(InputError, match="measure transfer"):
            black_box.right_from(given, epsilon, made_on)
    assert figures.transfer({}, PAGE) == []


def test_badges_are_those_of_the_measurement():
    found = {m: [square(m, 80, 50, seed=s) for s in (11, 13)] for m in ("ep-cnn", "cnn")}
    found["vit-8"] = [square("vit-8", 80, 50, seed=17)]
    assert figures.badge(found, None) == PAGE
    assert figures.badge({"vit-8": found["vit-8"]}, PAGE).seeds == (17,)
    assert figures.badge({}, PAGE) is PAGE


DRAWN = {
    "fig-broken-by": lambda: figures.broken_by(stored()["suite-linf"], PAGE),
    "fig-budgets": lambda: figures.budgets(stored()["square-linf"], COSTS, TARGET, PAGE),
    "fig-transfer": lambda: figures.transfer(stored()["transfer"], PAGE)[0],
}


@pytest.mark.parametrize("label", DRAWN)
def test_figures_show_themselves(label):
    pair = ([DRAWN[label](), DRAWN[label]()], label)
    is_valid_svg_of_the_same_bytes_that_loads_nothing(pair)
    shows_itself_with_a_text_for_those_who_cannot_see_it(pair)


def drawn(draw):
    """(the axes, the picture) of a figure."""
    found = []

    def keep(*given, **size):
        found.append(axes_only(*given, **size))
        return words_only(*given, **size)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "draw", keep)
        picture = draw()
    return found[0], picture


@pytest.mark.parametrize("label", DRAWN)
def test_everything_written_is_inside_and_no_label_covers_another(label):
    axes, _ = drawn(DRAWN[label])
    canvas = axes[0].figure
    canvas.draw_without_rendering()
    texts = [t for ax in axes for t in (*ax.texts, ax.title, ax.xaxis.label, ax.yaxis.label)]
    for ax in axes:
        for i, (axis, limits) in enumerate(((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim()))):
            labels = axis.get_majorticklabels()
            texts += [t for t in labels if min(limits) <= t.get_position()[i] <= max(limits)]
    texts += [t for legend in canvas.legends for t in legend.get_texts()]
    boxes = [Text.get_window_extent(t) for t in texts if t.get_text() and t.get_visible()]
    for box in boxes:
        assert min(box.x0, box.y0, canvas.bbox.x1 - box.x1, canvas.bbox.y1 - box.y1) >= 0
    for ax in axes:
        named = [Text.get_window_extent(t) for t in ax.texts]
        assert not any(a.overlaps(b) for i, a in enumerate(named) for b in named[:i])


def test_bars_are_the_shares_of_each_attack():
    axes, picture = drawn(DRAWN["fig-broken-by"])
    widths = [p.get_width() for p in axes[1].patches[:5]]
    assert widths == pytest.approx([0.3, 0.5, 0.08, 0.02, 0.1])  # the EP-CNN at the larger ε
    assert sum(p.get_width() for p in axes[0].patches) == pytest.approx(len(MODELS))
    assert [t.get_text() for t in axes[0].figure.legends[0].get_texts()] == [
        *("survived", "APGD-CE", "FAB-T", "Square", "wrong before")
    ]
    assert "EP-CNN: 30.0% survived, 50.0% APGD-CE, 8.0% FAB-T, 2.0% Square, 10.0% wrong" in picture.alt
    assert "With seed" not in picture.caption
    pair = {"ep-cnn": [several("ep-cnn", (60, 30, 0, 0), (k, 90 - k, 0, 0), seed=k) for k in (20, 40)]}
    axes, _ = drawn(lambda: figures.broken_by(pair, PAGE))
    assert axes[1].patches[0].get_width() == pytest.approx(0.3)
    with pytest.raises(InputError, match="no result of several attacks"):
        figures.broken_by({}, PAGE)


def test_curves_fall_with_the_queries_and_end_at_the_accuracy():
    axes, picture = drawn(DRAWN["fig-budgets"])
    left, right = axes
    assert [t.get_text() for t in left.texts] == ["EP-CNN", "CNN", "ViT, 8-pixel patches", "CNN adv. ℓ2 0.5"]
    assert [t.get_text() for t in right.texts] == ["EP-CNN", "CNN"]
    for line in left.lines:
        assert line.get_xdata()[0] == 1 and line.get_xdata()[-1] == 501
        assert (np.diff(line.get_ydata()) <= 0).all()
    assert left.lines[0].get_ydata()[-1] == 0.5 and left.lines[1].get_ydata()[-1] == 0.46
    assert right.lines[1].get_xdata()[-1] == pytest.approx(100.2) == right.lines[-1].get_xdata()[0]
    assert "Dotted: the whole attack on the CNN is over" in picture.caption
    axes, picture = drawn(lambda: figures.budgets(stored()["square-linf"], {"cnn": 0.2}, TARGET, PAGE))
    assert len(axes) == 1 and "Dotted" not in picture.caption


def test_the_heat_map_has_a_cell_for_every_source():
    axes, picture = drawn(DRAWN["fig-transfer"])
    (ax,) = axes
    assert [t.get_text() for t in ax.texts[:4]] == ["90%", "35%", "60%", "60%"]
    assert [t.get_text() for t in ax.texts[4:8]] == ["90%", "35%", "56%", "35%"]
    assert len(ax.patches) == 2 and ax.patches[0].get_xy() == (1, 0) and ax.patches[1].get_xy() == (2, 1)
    assert "EP-CNN no attack 90%, EP-CNN 35%, CNN 60%, any other 60%" in picture.alt

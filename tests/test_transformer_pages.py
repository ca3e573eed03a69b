"""Figures and sentences of the page about several transformers, from results whose numbers are known."""

import functools
import re
from functools import partial

import numpy as np
import pytest
from corrupted import result
from drawings import (
    axes_only,
    is_valid_svg_of_the_same_bytes_that_loads_nothing,
    shows_itself_with_a_text_for_those_who_cannot_see_it,
)

from eplib import campaign, chapters, pictures, published
from eplib import transformer_figures as figures
from eplib import transformer_sentences as sentences
from eplib import transformer_verdicts as rules
from eplib.chapters import Badge, Shown
from eplib.results import Result

PAGE = Badge(
    "sample",
    "quick",
    100,
    (11, 13),
)
SHOWN = Shown("quick", "sample", (11, 13))
MODELS = (*figures.DRAWN, *rules.HALFWAY)
RIGHT = {m: 0.3 + 0.02 * i for i, m in enumerate(MODELS)} | {"ep-cnn": 0.8, "cnn": 0.7}
CLEAN = {m: 0.88 - 0.05 * m.endswith("-halfway") for m in MODELS} | {"ep-cnn": 0.9}

corrupted = functools.cache(partial(result, names=rules.TYPES, severities=(3,)))


def attacked(measurement, model, seed, n=100):
    norm = "l2" if measurement == "pgd-l2" else "linf"
    target = published.largest_gap(norm)[0]
    shift = {"pgd-linf": 0, "pgd-l2": 0.05, "suite-linf": -0.1}[measurement]
    correct = np.zeros((2, n), bool)
    correct[0, : round(n * (RIGHT[model] + shift))] = True
    correct[1, : round(n * (RIGHT[model] + shift) / 2)] = True
    settings = {
        "measurement": measurement,
        "model": model,
        "seed": seed,
        "dataset": "sample",
        "scale": "quick",
    }
    settings |= {"epsilons": [target, 10 * target], "norm": norm}
    if measurement == "suite-linf":
        settings["sizes"] = {"plan": [["apgd-ce", 20], ["square", 200]]}
    return Result(settings, None, np.arange(n), np.arange(n) < round(n * CLEAN[model]), correct, {})


def stored(models=MODELS, seeds=(11, 13)):
    found = {m: {k: [attacked(m, k, s) for s in seeds] for k in models} for m in sentences.MEASURED[:3]}
    found["corruptions"] = {k: [corrupted(k, RIGHT[k], CLEAN[k], s) for s in seeds] for k in models}
    return found


@pytest.fixture(scope="module")
def found():
    return stored()


def cells(table):
    return [re.findall(r"<t[hd]>(.*?)</t[hd]>", line) for line in re.findall(r"<tr>(.*?)</tr>", str(table))]


# figures


def test_points_are_means_over_seeds_at_the_epsilon_that_is_compared(found):
    for measurement, shift in (("pgd-linf", 0), ("pgd-l2", 0.05), ("suite-linf", -0.1), ("corruptions", 0)):
        at = figures.points(found, measurement)
        assert set(at) == set(MODELS)
        for model, (clean, value, low, high) in at.items():
            assert clean == pytest.approx(CLEAN[model])
            assert value == pytest.approx(RIGHT[model] + shift, abs=0.0051) and low < value < high
    assert figures.points({}, "pgd-linf") == {}


@pytest.fixture(scope="module")
def drawn(found):
    return [figures.against_clean(found, PAGE) for _ in range(2)]


@pytest.mark.parametrize(
    "place, label", [(0, "fig-transformers-attacks"), (1, "fig-transformers-corruptions")]
)
def test_pictures_can_be_shown(drawn, place, label):
    pair = [pictures_of[place] for pictures_of in drawn], label
    is_valid_svg_of_the_same_bytes_that_loads_nothing(pair)
    shows_itself_with_a_text_for_those_who_cannot_see_it(pair)


def test_half_trained_networks_are_hollow_and_joined_to_the_trained_one(found, monkeypatch):
    monkeypatch.setattr(pictures, "draw", axes_only)
    (pgd, suite), (corruptions,) = figures.against_clean(found, PAGE)
    for ax, shift in ((pgd, 0), (suite, -0.1), (corruptions, 0)):
        marks = {tuple(np.round(np.ravel(m.get_xydata()), 3)): m for m in ax.lines if m.get_marker() in "o*"}
        for model in MODELS:
            place = (round(CLEAN[model], 3), round(RIGHT[model] + shift, 2))
            mark = marks[next(k for k in marks if np.allclose(k, place, atol=0.006))]
            hollow = model in rules.HALFWAY
            assert (mark.get_markerfacecolor() == "white") == hollow
            assert mark.get_color() == figures.COLOURS[model.removesuffix("-halfway")]
            assert mark.get_marker() == ("*" if model == "ep-cnn" else "o")
        assert len(marks) == len(MODELS)
        joins = [m for m in ax.lines if len(m.get_xdata()) == 2 and m.get_xdata()[0] != m.get_xdata()[1]]
        assert len(joins) == len(rules.HALFWAY)
        names = {t.get_text().replace("\n", " ") for t in ax.texts}
        assert names == {pictures.name(m) for m in figures.DRAWN}  # a name an architecture
        threshold = next(m for m in ax.lines if m.get_linestyle() == ":")
        assert threshold.get_xdata()[0] == pytest.approx(0.9 - 0.1)
    assert pgd.get_title(loc="left") == "under PGD with ℓ∞ ε = 2.55/255"
    assert suite.get_title(loc="left") == "under the short suite with ℓ∞ ε = 2.55/255"


def test_a_half_trained_network_alone_keeps_its_name_and_nothing_is_drawn_without_an_ep_cnn(
    found, monkeypatch
):
    monkeypatch.setattr(pictures, "draw", axes_only)
    some = {"pgd-linf": {m: found["pgd-linf"][m] for m in ("ep-cnn", "cct-halfway")}}
    ((ax,),) = figures.against_clean(some, PAGE)
    assert {t.get_text() for t in ax.texts} == {"EP-CNN", "CCT"}
    assert figures.against_clean({"pgd-linf": {"cct": found["pgd-linf"]["cct"]}}, PAGE) == []


def test_no_colour_is_shared():
    used = [figures.COLOURS[m] for m in figures.DRAWN]
    assert len(set(used)) == len(figures.DRAWN)


@pytest.mark.parametrize("measurement", ["pgd-linf", "pgd-l2", "suite-linf"])
def test_curves_of_all_trained_networks_beside_the_published_vit(found, measurement):
    toggle = figures.against_epsilon(found, measurement, PAGE)
    both = toggle.views["side by side"].alt
    theirs, ours = both.split("ours:")
    assert "ViT" in theirs and "EP-CNN" in theirs
    assert all(pictures.name(m) in ours for m in figures.DRAWN) and "half-trained" not in ours
    assert ("short suite and not AutoAttack" in toggle.caption) == (measurement == "suite-linf")


def test_curves_where_nothing_is_stored(found):
    none = figures.against_epsilon({"suite-linf": {}}, "suite-linf", PAGE)
    assert "no network stored yet" in none.caption
    few = {"pgd-l2": {m: found["pgd-l2"][m] for m in ("ep-cnn", "cnn", "swin")}}
    few["pgd-l2"]["swin"] = few["pgd-l2"]["swin"][:1]
    assert "seed 11 only: Swin" in figures.against_epsilon(few, "pgd-l2", PAGE).caption


# sentences


def test_the_table_has_a_line_a_checkpoint_and_a_column_a_measurement(found):
    head, *lines = cells(sentences.overview(found))
    assert head[:4] == ["network", "checkpoint", "seeds", "clean"] and len(head) == 8
    assert "ε = 2.55/255" in head[4] and "ℓ2" in head[5] and "short suite" in head[6]
    assert len(lines) == len(MODELS)
    by_place = {tuple(line[:2]): line[2:] for line in lines}
    assert by_place["Swin", "half-trained"][:3] == [
        "11, 13",
        "83.0",
        f"{100 * RIGHT['swin-halfway']:.1f}",
    ]
    final = by_place["ViT, 4-pixel patches", "final, strong augmentation"]
    assert float(final[2]) == pytest.approx(100 * RIGHT["vit-4-augmented"], abs=0.6)
    assert float(final[4]) == pytest.approx(float(final[2]) - 10, abs=0.6)
    some = stored(("ep-cnn", "cct"))
    del some["suite-linf"]
    _, *lines = cells(sentences.overview(some | {"suite-linf": {}}))
    assert [line[6] for line in lines] == ["–", "–"] and len(lines) == 2


def test_the_table_of_comparisons_has_every_lead_and_the_word(found):
    head, *lines = cells(sentences.comparisons(found, rules.FINAL))
    assert len(lines) == len(rules.FINAL) and head[-1] == "more robust?"
    said, family = rules.each(found), rules.compared(found, rules.FINAL)
    for rival, line in zip(rules.FINAL, lines, strict=True):
        assert line[-1] == said[rival].networks == "supported"
        for measurement, cell in zip(rules.COMPARISONS, line[2:5], strict=True):
            ahead = 100 * np.mean(family[rival][measurement].ahead)
            assert cell.startswith(f"{ahead:+.1f} (p ") and "2 seeds; supported" in cell
    assert f"over the {6 * len(rules.FINAL)} tests" in str(sentences.comparisons(found, rules.FINAL))
    assert "None of these" in sentences.comparisons({}, rules.HALFWAY)


def test_an_under_trained_network_is_marked_in_the_table(monkeypatch):
    monkeypatch.setitem(CLEAN, "cct-halfway", 0.7)
    _, line = cells(sentences.comparisons(stored(("ep-cnn", "cct-halfway")), rules.HALFWAY))
    assert line[:2] == ["CCT", "half-trained"] and line[-1] == "undecided (under-trained)"


@pytest.mark.parametrize(
    "ep, tells",
    [
        (0.8, "more robust than 6 of 6 transformers in all three comparisons, clearly less robust than none"),
        (
            0.25,
            "more robust than none of 6 transformers in all three comparisons, clearly less robust than 6",
        ),
    ],
)
def test_the_answer_counts_transformers_without_the_control(ep, tells, monkeypatch):
    monkeypatch.setitem(RIGHT, "ep-cnn", ep)
    for i, model in enumerate(rules.FINAL):
        monkeypatch.setitem(RIGHT, model, 0.45 + 0.01 * i)
    said = rules.each(stored())
    text = sentences.answer(rules.every(said), said, PAGE)
    assert text.startswith("**In one sentence.** Our EP-CNN is clearly") and tells in text
    word = "supported" if ep == 0.8 else "contradicted"
    assert text.endswith(f"every transformer is {word} (Fashion-MNIST sample, quick scale).")


def test_an_answer_without_transformers():
    assert "no transformer is stored yet" in sentences.answer(rules.every({}), {}, PAGE).lower()


def test_published_numbers_come_from_the_stored_curves():
    text = sentences.published_claims()
    rows = published.table("autoattack", model="vit", variant="patchgrid4_augment1", series="AA_Square")
    at = rows.iloc[(rows.epsilon - 0.01).abs().argsort()[:1]]["mean"].iloc[0]
    assert f"ViT {at:.1%}" in text and "ℓ∞ AutoAttack" in text and "ℓ∞ PGD" in text


def test_what_could_be_resolved(found):
    family = rules.compared(found, rules.FINAL)
    limits = [by["suite-linf"].resolved for by in family.values()]
    text = sentences.power(found)
    assert f"{100 * min(limits):.0f} to {100 * max(limits):.0f} points" in text and "80%" in text
    assert "corruptions" not in text
    assert "nothing to resolve" in sentences.power({})
    assert sentences._range([1.0]) == "none" and sentences._range([0.1, 1.0]) == "10 to 10 points, or none"


def test_words_at_two_checkpoints(found, monkeypatch):
    assert "for 6 of 6 architectures." in sentences.two_checkpoints(found)
    monkeypatch.setitem(RIGHT, "swin-halfway", 0.8)
    assert (
        "for 5 of 6 architectures; another for Swin undecided, then supported."
        in sentences.two_checkpoints(stored())
    )
    assert "No architecture" in sentences.two_checkpoints(stored(("ep-cnn", "cct")))


def test_what_pgd_and_the_suite_leave_of_the_strongly_augmented_network(found):
    text = sentences.smoothing(found)
    half = (RIGHT["vit-4-augmented"], RIGHT["vit-4-augmented"] - 0.1)
    first, second = re.search(r"strong augmentation (\S+)% and (\S+)%", text).groups()
    assert float(first) == pytest.approx(50 * half[0], abs=0.6)  # at the largest ε
    assert float(second) == pytest.approx(50 * half[1], abs=0.6)
    assert "EP-CNN 40.0% and 35.0%" in text and "no verdict" in text
    assert "not stored" in sentences.smoothing(stored(("ep-cnn", "vit-4")))


def test_what_is_missing_are_the_campaigns_own_entries(found):
    every = sentences.missing(SHOWN, {m: {} for m in sentences.MEASURED})
    names = {p.network.name for p in campaign.pieces() if p.scale == "quick" and p.seed in SHOWN.seeds}
    told = set(re.findall(r"`(quick/\S+)`", every))
    assert (
        {f"quick/sample/{m}-s{s}" for m in (*rules.FINAL, *rules.HALFWAY) for s in (11, 13)} <= told <= names
    )
    assert "campaign run --scale quick" in every
    assert "Everything" in sentences.missing(SHOWN, found)
    suite = found["suite-linf"]
    some = found | {"suite-linf": suite | {"cct": suite["cct"][:1]}}
    assert "suite-linf of `quick/sample/cct-s13`." in sentences.missing(SHOWN, some)
    assert "trains none" in sentences.missing(
        Shown("smoke", "sample", (0,)),
        {"pgd-linf": {m: [attacked("pgd-linf", m, 0)] for m in ("ep-cnn", "cnn")}},
    )


def test_results_of_half_trained_networks_are_asked_for_by_name(monkeypatch):
    asked = []

    def stored_of(shown, measurement, models=None):
        asked.append(models)
        return {}

    monkeypatch.setattr(chapters, "stored", stored_of)
    found = sentences.gathered(SHOWN, {"pgd-linf": {"ep-cnn": ["a result"]}})
    assert all(set(models) == set(MODELS) for models in asked)
    assert found["pgd-linf"] == {"ep-cnn": ["a result"]} and found["corruptions"] == {}


def test_limits_name_what_is_not_looked_at():
    text = sentences.limits(SHOWN)
    assert (
        "All 7 networks" in text and "84,000" in text and "Pretrained transformers are not looked at" in text
    )

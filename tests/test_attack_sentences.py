from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from eplib import attack_figures, attack_sentences, checks, data, published_curves
from eplib.chapters import Badge, Shown
from eplib.results import Result

N = 400
BADGE = Badge("sample", "quick", N, (11, 13))


def result(model, right, seed=11, norm="linf"):
    """`right` of N images right at each of three ε."""
    epsilons = {"linf": [0.01, 0.0215, 0.1], "l2": [0.309, 0.766, 3.0]}[norm]
    settings = {"epsilons": epsilons, "norm": norm, "seed": seed, "dataset": "sample", "model": model}
    correct = np.tile(np.arange(N) < right, (3, 1))
    return Result(settings, None, np.arange(N), np.ones(N, bool), correct, {})


def found(ep, norm="linf", **rivals):
    """{model: [Result]} with so many images right; the EP-CNN has two seeds, everything else one."""
    names = {"cnn": "cnn", "vit": "vit-8", "trained": "cnn-at-l2-0.5"}
    every = {"ep-cnn": [result("ep-cnn", ep, seed, norm) for seed in (11, 13)]}
    return every | {names[k]: [result(names[k], right, 11, norm)] for k, right in rivals.items()}


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_every_rival_that_is_there_gets_its_verdict(norm):
    said = attack_sentences.white_box_verdicts(
        found(300, norm, cnn=200, vit=350, trained=310), norm, "cnn-at-l2-0.5"
    )
    words = {key: verdict.networks for key, verdict in said.items()}
    assert words == {
        ("cnn", "leads"): "supported",
        ("vit-8", "leads"): "contradicted",
        ("cnn-at-l2-0.5", "comparable"): "supported",
    }
    assert "(one seed;" in said["cnn", "leads"].sentence  # paired by the seeds that both have
    few = attack_sentences.white_box_verdicts(found(300, norm, cnn=300), norm, "cnn-at-l2-0.5")
    assert list(few) == [("cnn", "leads")] and few["cnn", "leads"].networks == "undecided"


def test_the_answer_follows_the_verdicts():
    def answer(**rivals):
        said = attack_sentences.white_box_verdicts(found(300, **rivals), "linf", "cnn-at-l2-0.5")
        return attack_sentences.white_box_answer({"linf": said}, BADGE)

    assert "in ℓ∞ it keeps more images right than the CNN (" in answer(cnn=200)
    assert "keeps fewer images right than the CNN (" in answer(cnn=390)
    assert "is not shown to differ from the CNN (" in answer(cnn=301)
    assert "clearly fewer images right than the CNN trained against ℓ2 0.5" in answer(trained=390)
    assert "as many images right as the CNN trained against ℓ2 0.5" in answer(trained=200)


def test_strengths_are_in_255ths_for_linf_alone():
    assert checks.strength("linf", 0.01) == "ℓ∞ ε = 2.55/255" and checks.amount("linf", 8 / 255) == "8/255"
    assert checks.strength("l2", 1.208) == "ℓ2 ε = 1.21" and checks.amount("linf", float("inf")) == "∞"


def test_names_in_sentences():
    assert attack_sentences.rival_name("cnn-at-linf-2") == "CNN trained against ℓ∞ 2/255"
    assert attack_sentences.rival_name("vit-8") == "ViT, 8-pixel patches"


def falling(model, *rights):
    """`rights` of N images right at 0.01, 0.0215 and 0.1."""
    (one,) = found(300, cnn=1)["cnn"]
    return {model: [replace(one, correct=np.array([np.arange(N) < right for right in rights]))]}


def test_where_half_is_broken_is_interpolated_over_the_logarithm():
    half = attack_sentences.half_broken
    assert half(falling("cnn", 300, 200, 100)["cnn"]) == pytest.approx(0.0215)
    assert half(falling("cnn", 300, 100, 0)["cnn"]) == pytest.approx((0.01 * 0.0215) ** 0.5)
    assert half(falling("cnn", 199, 100, 0)["cnn"]) is half(falling("cnn", 399, 300, 201)["cnn"]) is None
    weak = falling("cnn", 100, 50, 0)["cnn"]
    weak = [replace(weak[0], correct_clean=np.arange(N) < 100)]  # half of those that were right
    assert half(weak) == pytest.approx(0.0215)


@pytest.mark.parametrize(
    "radius, side",
    [(0.0431, "far to the left of"), (0.042, "near"), (0.011, "near"), (0.01, "far to the right of")],
)
def test_curves_are_told_against_their_slopes(radius, side):
    given = falling("cnn", 300, 200, 100)
    said = attack_sentences.slopes(
        given | falling("vit-8", 399, 390, 380), {"cnn": radius, "vit-8": 1}, "linf"
    )
    assert f"{side} the diamond: CNN 5.48/255 (◇ {255 * radius:.3g}/255)." in said and "ViT" not in said
    assert ("unrepresentatively small" in said) == (side == "far to the left of")
    assert attack_sentences.slopes(given, {}, "linf") == ""


def test_published_claims_quote_the_curves():
    curves = published_curves.curves("Adversarial_Accuracy_Inf")
    at = {model: table["mean"].loc[0.01] for model, table in curves.items() if 0.01 in table.index}
    text = attack_sentences.published_claims("linf")
    assert f"EP-CNN {at['ep-cnn']:.1%} and CNN {at['cnn']:.1%} at ε = 2.55/255" in text
    assert f"EP-CNN {at['ep-cnn']:.1%} and ViT {at['vit']:.1%} at ε = 2.55/255" in text
    assert text.count("adv.") == 2


def test_cifar100_claims_name_both_sides_of_every_figure():
    figures = ("Adversarial_Plotter_MichaelMeeting.py:CIFAR100_AA", "CIFAR100_Square_Attack_Accuracy_100")
    text = attack_sentences.cifar100_claims(figures)
    assert all(published_curves.of(f).title in text for f in figures)
    assert text.count("EP-CNN") == 2 and text.count("%") == 8


def test_the_page_of_cifar100_says_whether_we_have_networks():
    assert "no CIFAR-100 network yet" in attack_sentences.cifar100_answer(None, {})
    shown = Shown("cpu", "cifar100", (11,))
    assert "(EP-CNN, CNN; cpu scale)" in attack_sentences.cifar100_answer(shown, {"ep-cnn": [], "cnn": []})


def test_a_figure_says_whose_seeds_are_fewer():
    said = attack_figures.fewer(found(300, cnn=200, vit=100), BADGE)
    assert said == "With seed 11 only: CNN, ViT, 8-pixel patches."
    assert attack_figures.fewer({"ep-cnn": found(300)["ep-cnn"]}, BADGE) == ""


@pytest.mark.parametrize(
    "dataset, official, same",
    [
        ("cifar10", np.arange(N), True),
        ("cifar10", np.arange(N)[::-1], True),  # in another order
        ("cifar10", np.arange(N) + 1, False),
        ("cifar10", None, False),
        ("sample", np.arange(N), False),  # another data set than the paper's
    ],
)
def test_images_are_the_papers_or_a_labelled_substitute(monkeypatch, dataset, official, same):
    order = None if official is None else torch.tensor(official.copy())
    monkeypatch.setattr(data, "available", lambda name: True)
    monkeypatch.setattr(data, "load", lambda *a: SimpleNamespace(official=order))
    given = found(300)
    given["ep-cnn"][0].settings["dataset"] = dataset
    said = attack_figures.which_images(given, "Square_Attack_Accuracy_100")
    assert said.startswith("The published EP-CNN was attacked on the first 200 images of the original test")
    assert ("ours are the first 400 of these files too." in said) == same
    assert ("a substitute, the first 400 test images of " in said) != same
    monkeypatch.setattr(data, "available", lambda name: False)
    assert "a substitute" in attack_figures.which_images(given, "Square_Attack_Accuracy_100")
    assert attack_figures.which_images({}, "Square_Attack_Accuracy_100") == ""


def test_ours_beside_a_published_figure_are_those_that_are_there():
    figure = attack_figures.beside(
        "fig-x", "Adversarial_Accuracy_Inf", found(300, cnn=200), ("ep-cnn", "vit-8", "cnn"), BADGE, {}
    )
    assert "With seed 11 only: CNN." in figure.caption and "Dashed" in figure.caption
    ours = figure.views["ours"].alt
    assert "EP-CNN 75.0%" in ours and "CNN 50.0%" in ours and "ViT" not in ours
    empty = attack_figures.beside("fig-x", "Adversarial_Accuracy_Inf", {}, ("ep-cnn",), None)
    assert "no network stored yet" in empty.views["ours"].alt

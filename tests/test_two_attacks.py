import re
from dataclasses import replace
from types import SimpleNamespace

import drawings
import numpy as np
import pytest
import torch
from synthetic import INF, N, minimal, pgd

from eplib import two_attacks
from eplib.attacks import AttackedModel, predicted
from eplib.chapters import Badge

BADGE, SHOWN = Badge("sample", "quick", N, (0,)), SimpleNamespace(dataset="sample")
SIZES = {"searches": 6, "steps": 60, "constant": 1e-3}


@pytest.fixture
def one_network(tiny, monkeypatch):
    """Both models of a page are the tiny network; its images, those it gets right, of an unknown order."""
    model, x, y = tiny
    pixels = (255 * x).round().to(torch.uint8)
    classes = tuple(f"class {i}" for i in range(10))
    test = SimpleNamespace(name="sample", images=pixels, labels=y.clone(), classes=classes, official=None)
    monkeypatch.setattr(two_attacks.data, "load", lambda *a: test)
    monkeypatch.setattr(two_attacks.chapters, "networks", lambda *a: [SimpleNamespace(net=model.net)])
    assert (predicted(AttackedModel(model.net), pixels / 255) == y).all()
    return test


def both(norms, searches=6):
    results = [minimal(norms)]
    results[0].settings["sizes"] |= {"searches": searches}
    return {"ep-cnn": results, "cnn": results}, {"ep-cnn": [pgd((1, 1, 1), 64, epsilons=(0.05, 0.9, 3.0))]}


def test_copies_are_what_the_attacks_find(tiny):
    model, x, y = tiny
    made = two_attacks.copies(model.net, x[0], y[0], 0.9, 20, SIZES)
    assert list(made) == ["image", "PGD", "C&W"]
    image, guess, loss, length = made["image"]
    assert torch.equal(image, x[0]) and guess == y[0] and length == 0
    for attack in ("PGD", "C&W"):
        copy, guess, now, length = made[attack]
        assert length == pytest.approx((copy - x[0]).norm().item()) and length <= 0.9 + 1e-5
        assert now > loss and copy.shape == x[0].shape
    assert made["C&W"][1] != y[0] and made["C&W"][3] < made["PGD"][3] and made["C&W"][2] < made["PGD"][2]
    blind = two_attacks.copies(model.net, x[0], y[0], 0.9, 20, SIZES | {"searches": 1, "steps": 1})
    assert list(blind) == ["image", "PGD"]


def test_without_the_order_of_the_files_it_is_a_labelled_substitute(one_network):
    norms = np.full(64, 0.4)
    norms[:2] = 0, INF
    found = two_attacks.specimen(SHOWN, *both(norms))
    assert found.which.startswith("Test image 2 of Fashion-MNIST sample in this project's canonical order")
    assert "a substitute for test image 7 of the original files" in found.which
    assert found.which.endswith("the source of these images does not say which that is.")
    assert found.epsilon == 0.9 and list(found.made) == ["ep-cnn", "cnn"]
    assert found.made["cnn"]["image"][1] == int(one_network.labels[2])


@pytest.mark.parametrize("name, own", [("cifar10", "the one in"), ("sample", "at the place of the one in")])
def test_it_is_the_papers_image_where_the_source_knows_it(one_network, name, own):
    one_network.official, one_network.name = torch.arange(64).flip(0), name
    norms = np.full(8, 0.4)  # it need not be among the images measured
    found = two_attacks.specimen(SHOWN, *both(norms))
    assert torch.equal(found.made["cnn"]["image"][0], one_network.images[56] / 255)
    assert found.which.startswith("Test image 7 of the original files of ")
    assert found.which.endswith(f"{own} the paper's pictures.") and "substitute" not in found.which


def test_the_papers_image_must_be_right(one_network):
    one_network.official = torch.arange(64).flip(0)
    one_network.labels[56] = (one_network.labels[56] + 1) % 10
    found = two_attacks.specimen(SHOWN, *both(np.full(8, 0.4)))
    assert found.which.startswith("Test image 0 of Fashion-MNIST sample in this project's canonical order")
    assert found.which.endswith("of these networks one gets that wrong or C&W does not break it.")


@pytest.mark.parametrize("norms, searches", [(INF, 6), (0, 6), (0.4, 1)])
def test_where_no_image_is_broken_the_page_says_so(one_network, norms, searches):
    networks, others = both(np.full(2, norms), searches)
    networks["cnn"][0].settings["sizes"] |= {"steps": 60 if searches > 1 else 1}
    assert two_attacks.specimen(SHOWN, networks, others) is None
    said = two_attacks.question("fig-x", None, networks, BADGE)
    assert "None of the first 2 test images is right in EP-CNN and CNN and broken by C&amp;W." in said
    assert "<figure" not in said and said.startswith("<details") and said.endswith("</details>")


def test_the_question_is_folded_and_answered_on_the_image(one_network):
    found = two_attacks.specimen(SHOWN, *both(np.full(64, 0.4)))
    said = two_attacks.question("fig-x", found, {}, BADGE)
    assert said.startswith("<details") and said.count("<summary>") == 1 and " open" not in said[:60]
    assert said.index("</summary>") < said.index("<figure") and said.count("<figure") == 1
    (_, _, high, long), (_, _, low, short) = found.made["cnn"]["PGD"], found.made["cnn"]["C&W"]
    assert f"loss of the CNN to {high:.3g} with a change of ℓ2 length {long:.3g}, which changes" in said
    assert f"C&amp;W changes the class with {short:.3g}, at a loss of {low:.3g}" in said
    unchanged = {m: c | {"PGD": c["image"]} for m, c in found.made.items()}
    said = two_attacks.question("fig-x", replace(found, made=unchanged), {}, BADGE)
    assert "which does not change the class" in said


def test_the_picture_tells_its_numbers(one_network):
    found = two_attacks.specimen(SHOWN, *both(np.full(64, 0.4)))
    pair = [two_attacks.figure("fig-two", found, BADGE) for _ in range(2)]
    drawings.shows_itself_with_a_text_for_those_who_cannot_see_it((pair, "fig-two"))
    assert pair[0] == pair[1] and found.which in pair[0].caption and "ε = 0.9," in pair[0].caption
    assert f"CNN, image: class {int(one_network.labels[0])}, loss" in pair[0].alt
    assert "EP-CNN, C&W: class" in pair[0].alt and "CNN, PGD: class" in pair[0].alt


def test_both_changes_fill_the_range(one_network, monkeypatch):
    monkeypatch.setattr(two_attacks, "draw", drawings.axes_only)
    axes = two_attacks.figure("fig-x", two_attacks.specimen(SHOWN, *both(np.full(64, 0.4))), BADGE)
    assert axes.shape == (2, 5)
    for ax in axes[:, [2, 4]].flat:
        shown = np.asarray(ax.images[0].get_array())
        assert np.abs(shown - 0.5).max() == pytest.approx(0.5, abs=1e-4)
        assert re.fullmatch(r"change by (PGD|C&W)\n× [\d.]+", ax.get_title())
    assert axes[0, 0].get_ylabel() == "EP-CNN" and axes[1, 0].get_ylabel() == "CNN"

import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from eplib import data, perturbation_figures, perturbations, published, scales, training
from eplib.attacks import AttackedModel, predicted
from eplib.chapters import Badge
from eplib.results import Result

BADGE = Badge("sample", "quick", 60, (1,))
CLASSES = tuple(f"class {c}" for c in range(10))


def result(dataset="sample", seed=1):
    right = np.ones(4, bool)
    return Result({"dataset": dataset, "seed": seed}, None, np.arange(4), right, right[None], {})


@pytest.fixture(scope="module")
def nets(tiny):
    return {"ep-cnn": tiny[0], "cnn": tiny[0]}


@pytest.fixture(scope="module")
def test(tiny):
    """The images of the tiny network; it gets those of class 3, and image 2, wrong."""
    labels = torch.where(tiny[2] == 3, 4, tiny[2])
    labels[2] = 9
    pixels = (255 * tiny[1]).round().to(torch.uint8)
    return SimpleNamespace(images=pixels, labels=labels, classes=CLASSES)


@pytest.fixture(scope="module")
def shown(nets, test):
    return perturbations.chosen(nets, test)


@pytest.fixture(scope="module")
def initial():
    """Untrained networks of smoke scale."""
    images = data.load("sample", "train").images[:50]
    return {
        model: AttackedModel(training.initial(scales.row("smoke", model), images, 10, 0).eval())
        for model in ("ep-cnn", "cnn", "vit-8")
    }


@pytest.mark.parametrize("ahead, word", [(0.3, "supported"), (-0.3, "contradicted"), (0.0, "undecided")])
def test_the_word_follows_which_picture_is_more_like_the_image(ahead, word):
    noise = np.random.default_rng(0).normal(size=(2, 40))
    verdict = perturbations.copied(0.5 + ahead + 0.1 * noise[0], 0.5 + 0.1 * noise[1], [result()])
    assert verdict.networks == word and verdict.method == "undecided"
    assert verdict.sentence.startswith(f"For these networks: {word}") and "40 images" in verdict.sentence
    assert f"by {0.5 + ahead + 0.1 * noise[0].mean():.2f} when both" in verdict.sentence
    five = [result("cifar10", seed) for seed in range(5)]
    assert perturbations.copied(0.9 + 0.1 * noise[0], 0.5 + 0.1 * noise[1], five).method == "supported"


def test_without_images_nothing_is_decided():
    verdict = perturbations.copied(np.zeros(0), np.zeros(0), [result()])
    assert verdict.networks == "undecided" and "nan" not in verdict.sentence


def test_a_stretched_difference_holds_a_copy_of_the_image_and_a_plain_one_does_not():
    torch.manual_seed(0)
    image = torch.rand(6, 3, 32, 32)
    attacked = image + 0.02 * torch.randn(image.shape)
    attacked[:, :, 0, 0] = 1.4  # one pixel beyond white shrinks all others when it is stretched back
    drawn = perturbations.as_published(image, attacked)
    assert drawn.amin((1, 2, 3)).abs().max() == 0 and drawn.amax((1, 2, 3)).min() == 1
    drawn[:, :, 0, 0], attacked[:, :, 0, 0] = 0, image[:, :, 0, 0]
    assert (perturbations.likeness(drawn, image) > 0.8).all()
    assert (perturbations.likeness((attacked - image).abs(), image) < 0.2).all()
    assert perturbations.likeness(image * 0, image).tolist() == [0] * 6
    assert torch.allclose(perturbations.rescaled(0.3 + 0.2 * image), perturbations.rescaled(image), atol=1e-5)


def test_images_are_the_first_of_each_class_that_all_networks_get_right(nets, test, shown):
    images, labels, ids = shown
    assert len(ids) == perturbations.COUNT and labels.tolist() == [0, 1, 2, 4, 5, 6, 7, 8]
    x = data.as_float(test.images)
    right = predicted(nets["cnn"], x) == test.labels
    for image, label, i in zip(images, labels, ids, strict=True):
        assert right[i] and not (right & (test.labels == label))[:i].any() and torch.equal(image, x[i])
    wrong = SimpleNamespace(images=test.images, labels=(test.labels + 1) % 10, classes=CLASSES)
    kept = (predicted(nets["cnn"], x) == wrong.labels).sum()
    assert kept < 10 and len(perturbations.chosen(nets, wrong)[2]) in (perturbations.COUNT, kept)


def test_rows_hold_what_the_attacks_did(nets, shown):
    images, labels, _ = shown
    budget = perturbations.at_budget(nets, images, labels)
    assert [r.model for r in budget] == list(nets)
    for row in budget:
        assert (row.lengths <= perturbations.BUDGET + 1e-4).all() and row.lengths.max() > 0.5
        assert torch.equal(row.adversarial - images, row.change) and 0 < row.scale < row.change.abs().max()
        assert (row.change.abs() > row.scale).float().mean() < 2 * perturbations.BEYOND
        assert torch.equal(row.answers, predicted(nets[row.model], row.adversarial))
    for row in perturbations.at_effect(nets, images, labels, 30):
        found = row.lengths > 0
        assert found.any() and (row.answers != labels)[found].all()
    columns = perturbations.papers(nets, images[0], labels[0])
    for row in columns:
        assert np.allclose(row.lengths, perturbations.COLUMNS, rtol=0.05)
    assert min(r.adversarial.min() for r in columns) < 0  # as published


def test_pictures_have_one_scale_a_row_and_say_what_networks_answer(nets, shown):
    images, labels, _ = shown
    rows = perturbations.at_budget(nets, images, labels)

    def draw():
        return perturbation_figures.attacks("fig-x", rows, images, labels, CLASSES, BADGE, "PGD.")

    figure = draw()
    assert list(figure.views) == ["perturbations", "attacked images"] and "quick scale" in figure.caption
    assert figure == draw() and figure.label == "fig-x"
    links = re.findall(r'href="([^"]*)"', figure.svg)
    assert links and all(link.startswith(("#", "data:image/png")) for link in links)
    for row in rows:
        assert f"{CLASSES[row.answers[0]]} at {row.lengths[0]:.2f}" in figure.alt
        shown_as = perturbation_figures.signed(row.change, row.change.abs().max().item())
        assert shown_as.min() >= 0 and shown_as.max() <= 1
        assert max(shown_as.max() - 0.5, 0.5 - shown_as.min()) == pytest.approx(0.5)
        assert (perturbation_figures.signed(row.change * 0, row.scale) == 0.5).all()
    test = data.load("sample", "test")
    place, words = perturbation_figures.which(test, "sample")
    assert place == test.published_order()[7] and "substitute" in words
    assert "frog, the one" in perturbation_figures.which(test, "cifar10")[1]
    paper = perturbation_figures.papers(
        "fig-p", perturbations.papers(nets, images[0], labels[0]), images[0], 0, CLASSES, BADGE, words
    )
    assert len(paper.views) == 3 and all(len(v.alt) > 60 for v in paper.views.values())


def test_filters_and_synthesised_images_are_drawn_for_every_network(initial):
    filters = perturbation_figures.filters("fig-f", initial, BADGE)
    assert "EP-CNN 3×3 pixels" in filters.alt and "ViT, 8-pixel patches 8×8 pixels" in filters.alt
    assert filters.svg.count("<image") == 4 + 4 + perturbation_figures.FILTERS
    made = perturbations.synthesised(initial, 2)
    for judge in (None, initial["cnn"]):
        picture = perturbation_figures.synthesised("fig-s", made, initial, judge, CLASSES, BADGE, 2)
        assert picture.svg.count("<image") == 10 * (1 + len(initial))
        assert ("no judge is stored" in picture.caption) == (judge is None)
    assert "“class" in picture.alt and "How to read it" in picture.caption


def test_the_page_names_what_is_missing_and_draws_the_papers_figures():
    assert "CNN, adversarial training ℓ2 0.5" in perturbation_figures.missing(
        {"ep-cnn": 0}, perturbations.DRAWN
    )
    assert perturbation_figures.missing(dict.fromkeys(perturbations.DRAWN), perturbations.DRAWN) == ""
    figures = published.figures()
    assert set(figures[figures.chapter == "perturbations"].label) == {"fig-perturbations-paper"}
    said = perturbation_figures.answer(SimpleNamespace(networks="supported"), BADGE)
    assert "puts the image itself" in said and "frog" in perturbation_figures.published_claim()

import itertools
import re
from types import SimpleNamespace

import drawings
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.text import Text

from eplib import attack_verdicts, curves, minimal_figures, panels
from eplib.attacks import AttackedModel, predicted
from eplib.chapters import Badge
from eplib.minimal_measurements import _found
from eplib.pictures import COLOURS
from eplib.results import Result

N, INF = 100, float("inf")
EPSILONS = (0.05, 0.5, 3.0)
BADGE = Badge("sample", "quick", N, (0,))
SHOWN = SimpleNamespace(dataset="sample")


def minimal(norms, seed=0, attack="carlini-wagner"):
    """A result of minimal norms, as it is measured: 0 is wrong already, inf is not broken."""
    norms = np.asarray(norms, np.float32)
    made = _found({"attack": attack, "norm": "l2"}, norms, np.zeros(len(norms)), EPSILONS)
    sizes = {"norm": "l2", "epsilons": list(EPSILONS), "searches": 3, "steps": 60, "constant": 1e-3}
    settings = {"sizes": sizes, "seed": seed, "dataset": "sample", "measurement": attack}
    table = pd.DataFrame(made.rows)
    return Result(settings, table, np.arange(len(norms)), made.clean, made.correct, {}, made.arrays)


def pgd(counts, n=N, seed=0, epsilons=EPSILONS):
    """So many of n images right at each ε: the last ones."""
    correct = np.array([np.arange(n) >= n - count for count in counts])
    settings = {"epsilons": list(epsilons), "norm": "l2", "seed": seed, "attack_steps": 20}
    return Result(settings, None, np.arange(n), np.ones(n, bool), correct, {})


EASY, HARD = np.linspace(0.1, 1.0, N), np.linspace(0.3, 3.0, N)
SOME = np.where(np.arange(N) % 10 == 0, INF, np.where(np.arange(N) % 10 == 1, 0, HARD))  # 10 not, 10 wrong


def found(**norms):
    return {model.replace("_", "-"): [minimal(n)] for model, n in norms.items()}


def drawn(monkeypatch, *arguments):
    """The axes of `distribution` or `two_attacks`."""
    with monkeypatch.context() as patch:
        patch.setattr(minimal_figures, "draw", drawings.axes_only)
        return minimal_figures.distribution(*arguments)


def words(monkeypatch, function, *arguments):
    monkeypatch.setattr(minimal_figures, "draw", drawings.words_only)
    monkeypatch.setattr(curves, "draw", drawings.words_only)
    return function(*arguments)


def test_the_answer_follows_the_norms():
    for ep, cnn, said in ((HARD, EASY, "larger"), (EASY, HARD, "smaller"), (EASY, EASY, "not shown")):
        networks = found(ep_cnn=ep, cnn=cnn, vit_8=EASY / 2, twin_adjoint=HARD)
        verdicts = minimal_figures.verdicts(networks)
        assert list(verdicts) == ["cnn", "vit-8"]  # of the rivals alone
        answer = minimal_figures.answer(verdicts, networks, BADGE)
        assert re.search(rf"breaking the EP-CNN .*{said}.* than breaking the CNN; it takes larger", answer)
        assert "(Fashion-MNIST sample, quick scale). Of the images that are right the attack broke" in answer
        assert "100 of 100 for the EP-CNN, 100 of 100 for the CNN, 100 of 100 for the ViT" in answer
    assert verdicts["vit-8"] == attack_verdicts.larger_changes(
        [minimal(EASY)], [minimal(EASY / 2)], "ViT, 8-pixel patches"
    )


def test_without_a_common_image_the_verdict_is_undecided():
    right = np.arange(N) < 50
    networks = found(ep_cnn=np.where(right, INF, 0), cnn=np.where(right, 0, EASY))
    ((_, verdict),) = minimal_figures.verdicts(networks).items()
    answer = minimal_figures.answer({"cnn": verdict}, networks, BADGE)
    assert "broke 0 of 50 for the EP-CNN, 50 of 50 for the CNN;" in answer
    assert (verdict.networks, verdict.method) == ("undecided", "undecided")
    assert verdict.sentence.startswith("For these networks: undecided. Of the 100 test images there is none")


def test_pairs_are_of_the_seeds_that_both_have():
    networks = {"ep-cnn": [minimal(HARD, s) for s in (0, 1)], "cnn": [minimal(EASY, 1)]}
    assert "one seed" in minimal_figures.verdicts(networks)["cnn"].sentence


def test_the_spread_is_over_right_images_of_all_seeds():
    norms, quartiles = minimal_figures.spread([minimal(SOME), minimal(EASY, 1)])
    assert len(norms) == 190 and np.isinf(norms).sum() == 10 and (norms > 0).all()
    medians = [minimal(n).table.query("metric == 'minimal_norm'").value.iloc[0] for n in (SOME, EASY)]
    assert quartiles[1] == pytest.approx(np.mean(medians)) and quartiles[0] < quartiles[1] < quartiles[2]
    norms, quartiles = minimal_figures.spread([minimal(np.full(N, INF))])
    assert np.isinf(norms).all() and quartiles == (INF, INF, INF)
    norms, quartiles = minimal_figures.spread([minimal(np.zeros(N))])
    assert len(norms) == 0 and quartiles is None


def test_every_right_image_is_a_dot_and_those_not_broken_stand_behind_the_edge(monkeypatch):
    networks = found(ep_cnn=SOME, cnn=EASY, vit_8=np.full(N, INF), cnn_plain=np.zeros(N))
    (ax,) = drawn(monkeypatch, "fig-x", networks, BADGE)
    dots = [line for line in ax.lines if line.get_marker() == "o"]
    beyond = [line for line in ax.lines if line.get_marker() == ">"]
    assert [len(line.get_xdata()) for line in dots] == [0, 0, 100, 80]  # the first model is at the top
    assert [len(line.get_xdata()) for line in beyond] == [0, 100, 0, 10]
    edge = next(line for line in ax.lines if line.get_linestyle() == ":").get_xdata()[0]
    assert np.concatenate([line.get_xdata() for line in dots]).max() < edge
    left, right = ax.get_xlim()
    for line in beyond:
        assert all(edge < x < right for x in line.get_xdata())
    assert left < 0.1 and ax.get_xscale() == "log"
    for line, y in zip(dots, range(4), strict=True):
        assert (np.abs(line.get_ydata() - y) < 0.3).all()
    assert [t.get_text() for t in ax.get_yticklabels()][::-1] == [curves.name(m) for m in networks]
    numbers = [t.get_text() for t in ax.texts]
    assert numbers == [
        "not broken",
        "no image right",
        "median not found; 0 of 100 broken",
        "median 0.55; 100 of 100 broken",
        f"median {np.quantile(np.sort(SOME[SOME > 0]), 0.5):.3g}; 80 of 90 broken",
    ]


def test_labels_have_the_colours_of_their_dots_and_stay_inside(monkeypatch):
    models = ("ep_cnn", "cnn", "vit_8", "cnn_at_l2_0.5", "cnn_like_ep", "student_of_ep_cnn", "cnn_penalised")
    (ax,) = drawn(monkeypatch, "fig-x", found(**{m: SOME for m in models}), BADGE)
    canvas = ax.figure
    canvas.draw_without_rendering()
    texts = [t for t in (*ax.texts, *ax.get_xticklabels(), *ax.get_yticklabels(), ax.xaxis.label)]
    boxes = [Text.get_window_extent(t) for t in texts if t.get_text()]
    for text, box in zip(texts, boxes, strict=False):
        corners = (box.x0, box.y0, canvas.bbox.x1 - box.x1, canvas.bbox.y1 - box.y1)
        assert min(corners) >= 0, text
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other)
    dots = [line for line in ax.lines if line.get_marker() == "o"]
    assert dots[-1].get_color() == COLOURS["ep-cnn"] and len({d.get_color() for d in dots}) == len(models)
    for line, text in zip(dots, ax.texts[1:], strict=True):
        assert text.get_color() == panels.readable(line.get_color())


def test_the_distribution_tells_what_it_shows(monkeypatch):
    first = words(monkeypatch, minimal_figures.distribution, "fig-x", found(ep_cnn=SOME, cnn=EASY), BADGE)
    assert "CNN: median 0.55; 100 of 100 broken" in first.alt and "EP-CNN: median" in first.alt
    assert "80 of 90 broken" in first.alt and "first 100 test images" in first.caption
    other = words(monkeypatch, minimal_figures.distribution, "fig-x", found(ep_cnn=EASY, cnn=SOME), BADGE)
    assert "EP-CNN: median 0.55; 100 of 100 broken" in other.alt and other.caption == first.caption


def test_pgd_is_compared_on_the_same_images_seed_and_strengths():
    networks = {"ep-cnn": [minimal(EASY[:40], 3), minimal(EASY[:40], 4)], "cnn": [minimal(EASY)]}
    others = {"ep-cnn": [pgd((90, 70, 5), seed=4)], "vit-8": [pgd((1, 1, 1))]}
    compared = minimal_figures.beside_pgd(networks, others)
    assert list(compared) == ["ep-cnn"] and [e for e, *_ in compared["ep-cnn"]] == list(EPSILONS)
    for (epsilon, cw, right), count in zip(compared["ep-cnn"], (30, 10, 0), strict=True):
        assert (cw == (np.float32(EASY[:40]) > epsilon)).all() and right.sum() == count


@pytest.mark.parametrize(
    "counts, more", [((100, 80, 10), (2, 0, 1)), ((90, 20, 0), (0, 2, 1)), ((100, 20, 10), (1, 1, 1))]
)
def test_which_attack_finds_more_is_counted(counts, more):
    compared = minimal_figures.beside_pgd(found(cnn=EASY), {"cnn": [pgd(counts)]})
    assert [int(cw.sum()) for _, cw, _ in compared["cnn"]] == [100, 55, 0]
    said = minimal_figures.which_finds_more(compared)
    assert f"for the CNN C&W leaves less accuracy than PGD at {more[0]} of 3 ε" in said
    assert f"PGD less than C&W at {more[1]}, both the same at {more[2]}." in said


def test_both_attacks_are_drawn_of_every_network(monkeypatch):
    networks = found(ep_cnn=HARD, cnn=EASY)
    others = {model: [pgd((90, 20, 5))] for model in networks}
    picture = words(monkeypatch, minimal_figures.pgd_figure, "fig-x", networks, others, BADGE)
    for model, attack in itertools.product(("EP-CNN", "CNN"), ("C&W", "PGD")):
        assert f"{model}, {attack} " in picture.alt
    assert "CNN, PGD 90.0% at 0.05 and 5.0% at 3" in picture.alt
    assert "CNN, C&W 100.0% at 0.05 and 0.0% at 3" in picture.alt
    assert picture.caption.endswith("PGD takes 20 steps.") and "dark is C&W" in picture.caption


def test_the_table_has_a_line_a_model():
    networks = found(ep_cnn=SOME, cnn=EASY, vit_8=np.zeros(N), cnn_plain=np.full(N, INF))
    fast = {"cnn": [minimal(EASY / 2, attack="ddn")], "cnn-plain": [minimal(np.zeros(N), attack="ddn")]}
    html = minimal_figures.table(networks, fast, {"cnn": 0.345})
    lines = [re.findall("<t[hd]>(.*?)</t[hd]>", line) for line in re.findall("<tr>(.*?)</tr>", html)]
    assert lines[2] == ["CNN", "0", "100.0", "0.55", "0.325 to 0.775", "100.0", "0.275", "0.345"]
    assert lines[1][:3] == ["EP-CNN", "0", "90.0"] and lines[1][5:] == ["88.9", "–", "–"]
    assert lines[3] == ["ViT, 8-pixel patches", "0", "0.0", "–", "– to –", "–", "–", "–"]
    assert lines[4][3:] == ["not found", "not found to not found", "0.0", "–", "–"]


def test_the_limits_follow_the_search():
    networks = found(ep_cnn=SOME, cnn=EASY)
    alone = minimal_figures.upper_bounds(networks, {})
    assert "3 values of its constant and 60 steps" in alone and "broke 180 of 190 images" in alone
    assert "fast" not in alone
    for factor, count in ((0.5, 100), (2, 0)):
        both = minimal_figures.upper_bounds(networks, {"cnn": [minimal(factor * EASY, attack="ddn")]})
        assert f"found a smaller one in {count} of 100 cases" in both


@pytest.fixture
def one_network(tiny, monkeypatch):
    """Both models of a chapter are the tiny network: its images, those it gets right."""
    model, x, y = tiny
    pixels = (255 * x).round().to(torch.uint8)
    classes = [f"class {i}" for i in range(10)]
    test = SimpleNamespace(images=pixels, labels=y, classes=classes)
    monkeypatch.setattr(minimal_figures.data, "load", lambda *a: test)
    nets = [SimpleNamespace(net=model.net)]
    monkeypatch.setattr(minimal_figures.chapters, "networks", lambda *a: nets)
    assert (predicted(AttackedModel(model.net), pixels / 255) == y).all()
    return test


def both(norms, searches=6):
    results = [minimal(norms)]
    results[0].settings["sizes"] |= {"searches": searches}
    return {"ep-cnn": results, "cnn": results}, {"ep-cnn": [pgd((1, 1, 1), 64, epsilons=(0.05, 0.9, 3.0))]}


def test_copies_are_what_the_attacks_find(tiny):
    model, x, y = tiny
    made = minimal_figures.copies(
        model.net, x[0], y[0], 0.9, 20, {"searches": 6, "steps": 60, "constant": 1e-3}
    )
    assert list(made) == ["image", "PGD", "C&W"]
    image, guess, loss, length = made["image"]
    assert torch.equal(image, x[0]) and guess == y[0] and length == 0
    for attack in ("PGD", "C&W"):
        copy, guess, now, length = made[attack]
        assert length == pytest.approx((copy - x[0]).norm().item()) and length <= 0.9 + 1e-5
        assert now > loss and copy.shape == x[0].shape
    assert made["C&W"][1] != y[0] and made["C&W"][3] < made["PGD"][3] and made["C&W"][2] < made["PGD"][2]
    blind = minimal_figures.copies(
        model.net, x[0], y[0], 0.9, 20, {"searches": 1, "steps": 1, "constant": 1e-3}
    )
    assert list(blind) == ["image", "PGD"]


def test_the_image_is_the_first_that_both_get_right_and_that_is_broken(one_network, monkeypatch):
    norms = np.full(64, 0.4)
    norms[:2] = 0, INF
    picture = words(monkeypatch, minimal_figures.two_attacks, "fig-x", SHOWN, *both(norms), BADGE)
    assert "Test image 2 of Fashion-MNIST sample" in picture.caption and "ε = 0.9," in picture.caption
    assert f"CNN, image: class {int(one_network.labels[2])}, loss" in picture.alt
    assert "EP-CNN, C&W: class" in picture.alt and "CNN, PGD: class" in picture.alt


@pytest.mark.parametrize("norms, searches", [(INF, 6), (0, 6), (0.4, 1)])
def test_where_no_image_is_broken_the_page_says_so(one_network, norms, searches):
    networks, others = both(np.full(2, norms), searches)
    networks["cnn"][0].settings["sizes"] |= {"steps": 60 if searches > 1 else 1}
    said = minimal_figures.two_attacks("fig-x", SHOWN, networks, others, BADGE)
    assert said == "None of the first 2 test images is right in EP-CNN and CNN and broken by C&W."


def test_pictures_are_valid_and_tell_their_numbers(one_network):
    networks, others = both(np.full(64, 0.4))
    for label, draw in {
        "fig-norms": lambda label: minimal_figures.distribution(label, found(ep_cnn=SOME, cnn=EASY), BADGE),
        "fig-two": lambda label: minimal_figures.two_attacks(label, SHOWN, networks, others, BADGE),
    }.items():
        pair = [draw(label), draw(label)], label
        if label == "fig-norms":  # images are drawn with links to data inside
            drawings.is_valid_svg_of_the_same_bytes_that_loads_nothing(pair)
        drawings.shows_itself_with_a_text_for_those_who_cannot_see_it(pair)


def test_both_changes_fill_the_range(one_network, monkeypatch):
    monkeypatch.setattr(minimal_figures, "draw", drawings.axes_only)
    axes = minimal_figures.two_attacks("fig-x", SHOWN, *both(np.full(64, 0.4)), BADGE)
    assert axes.shape == (2, 5)
    for ax in axes[:, [2, 4]].flat:
        shown = np.asarray(ax.images[0].get_array())
        assert np.abs(shown - 0.5).max() == pytest.approx(0.5, abs=1e-4)
        assert re.fullmatch(r"change by (PGD|C&W)\n× [\d.]+", ax.get_title())
    assert axes[0, 0].get_ylabel() == "EP-CNN" and axes[1, 0].get_ylabel() == "CNN"

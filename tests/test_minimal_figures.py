import itertools

import drawings
import numpy as np
import pytest
from matplotlib.text import Text
from synthetic import EASY, HARD, INF, SOME, N, found, minimal, pgd

from eplib import curves, minimal_figures, panels, smallest
from eplib.chapters import Badge
from eplib.pictures import COLOURS

BADGE = Badge("sample", "quick", N, (0,))
PAIR = ("ep-cnn", "cnn")


def lengths(**norms):
    """C&W with these norms, and DDN that finds nothing smaller, but 0.2 where C&W found nothing."""
    more = {m: np.where(np.isinf(n), 0.2, np.where(n > 0, 10, 0)) for m, n in norms.items()}
    return smallest.lengths({"C&W": found(**norms), "DDN": found(**more)})


def drawn(monkeypatch, *arguments):
    """The axes of `distribution`."""
    with monkeypatch.context() as patch:
        patch.setattr(minimal_figures, "draw", drawings.axes_only)
        return minimal_figures.distribution(*arguments)


def words(monkeypatch, function, *arguments):
    monkeypatch.setattr(minimal_figures, "draw", drawings.words_only)
    monkeypatch.setattr(curves, "draw", drawings.words_only)
    return function(*arguments)


def test_the_spread_is_over_right_images_of_all_seeds(recwarn):
    norms, three = minimal_figures.spread([minimal(SOME), minimal(EASY, 1)])
    assert len(norms) == 190 and np.isinf(norms).sum() == 10 and (norms > 0).all()
    medians = [minimal(n).table.query("metric == 'minimal_norm'").value.iloc[0] for n in (SOME, EASY)]
    assert three[1] == pytest.approx(np.mean(medians)) and three[0] < three[1] < three[2]
    norms, three = minimal_figures.spread([minimal(np.full(N, INF))])
    assert np.isinf(norms).all() and three == (INF, INF, INF)
    norms, three = minimal_figures.spread([minimal(np.zeros(N))])
    assert len(norms) == 0 and three is None
    assert minimal_figures.spread([minimal(np.zeros(N)), minimal(EASY, 1)])[1][1] == pytest.approx(0.55)
    assert not recwarn.list


def test_every_right_image_is_a_dot_in_both_rows_and_those_not_broken_stand_behind_the_edge(monkeypatch):
    networks = dict(ep_cnn=SOME, cnn=EASY, vit_8=np.full(N, INF), cnn_plain=np.zeros(N))
    (ax,) = drawn(monkeypatch, "fig-x", lengths(**networks), "C&W", BADGE)
    dots = [line for line in ax.lines if line.get_marker() == "o"]
    beyond = [line for line in ax.lines if line.get_marker() == ">"]
    # the first model is at the top; of both rows that of all attacks is drawn first
    assert [len(line.get_xdata()) for line in dots] == [0, 0, 100, 0, 100, 100, 90, 80]
    assert [len(line.get_xdata()) for line in beyond] == [0, 0, 0, 100, 0, 0, 0, 10]
    assert [line.get_markerfacecolor() == "none" for line in dots] == [False, True] * 4
    edge = next(line for line in ax.lines if line.get_linestyle() == ":").get_xdata()[0]
    assert np.concatenate([line.get_xdata() for line in dots]).max() < edge
    left, right = ax.get_xlim()
    for line in beyond:
        assert all(edge < x < right for x in line.get_xdata())
    assert left < 0.1 and ax.get_xscale() == "log"
    for i, line in enumerate(dots):
        assert (np.abs(line.get_ydata() - (i // 2 + (0.22, -0.22)[i % 2])) < 0.1).all()
    assert [t.get_text() for t in ax.get_yticklabels()][::-1] == [
        curves.name(m.replace("_", "-")) for m in networks
    ]
    both = np.where(np.isinf(SOME), 0.2, SOME)
    assert [t.get_text() for t in ax.texts] == [
        "not broken",
        "no image right",
        "C&W: no image right",
        "median 0.2; 100 of 100 broken",
        "C&W: median not found; 0 of 100 broken",
        "median 0.55; 100 of 100 broken",
        "C&W: median 0.55; 100 of 100 broken",
        f"median {np.median(both[both > 0]):.3g}; 90 of 90 broken",
        f"C&W: median {np.median(SOME[SOME > 0]):.3g}; 80 of 90 broken",
    ]


def test_labels_have_the_colours_of_their_dots_and_stay_inside(monkeypatch):
    models = ("ep_cnn", "cnn", "vit_8", "cnn_at_l2_0.5", "cnn_like_ep", "student_of_ep_cnn", "cnn_penalised")
    (ax,) = drawn(monkeypatch, "fig-x", lengths(**{m: SOME for m in models}), "C&W", BADGE)
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
    networks = lengths(ep_cnn=SOME, cnn=EASY)
    first = words(monkeypatch, minimal_figures.distribution, "fig-x", networks, "C&W", BADGE)
    assert "; CNN: median 0.55; 100 of 100 broken, C&W alone median 0.55; 100 of 100 broken" in first.alt
    assert "90 of 90 broken, C&W alone" in first.alt and "80 of 90 broken" in first.alt
    assert "first 100 test images" in first.caption and "change that C&W or DDN found" in first.caption


def beside(**changes):
    """EP-CNN and CNN under PGD, C&W and DDN."""
    attacks = {"C&W": found(ep_cnn=HARD, cnn=EASY), "DDN": found(ep_cnn=HARD / 2, cnn=EASY)}
    return smallest.beside({m: [pgd((90, 20, 5))] for m in PAIR} | changes, attacks)


def test_every_attack_is_a_line_of_every_network(monkeypatch):
    picture = words(monkeypatch, minimal_figures.beside_pgd, "fig-x", beside(), PAIR, BADGE)
    for model, attack in itertools.product(("EP-CNN", "CNN"), ("PGD", "C&W", "DDN")):
        assert f"{model}, {attack} " in picture.alt
    assert "CNN, PGD 90.0% at 0.05 and 5.0% at 3" in picture.alt and "all" not in picture.alt.split(": ")[2]
    assert "CNN, C&W 100.0% at 0.05 and 0.0% at 3" in picture.alt
    assert picture.caption.endswith("PGD takes 20 steps.")
    assert "C&W dash-dotted and DDN dotted, on the same 100 images as PGD" in picture.caption
    alone = words(monkeypatch, minimal_figures.beside_pgd, "fig-x", beside(), ("cnn",), BADGE)
    assert "EP-CNN" not in alone.alt


def test_attacks_of_one_network_share_its_colour_and_differ_in_their_lines(monkeypatch):
    monkeypatch.setattr(curves, "draw", drawings.axes_only)
    (ax,) = minimal_figures.beside_pgd("fig-x", beside(), PAIR, BADGE)
    assert [(line.get_color(), line.get_linestyle()) for line in ax.lines] == [
        (COLOURS[model], style) for model in PAIR for style in ("--", "-.", ":")
    ]


def test_the_badge_of_the_comparison_is_of_its_own_images_and_seeds(monkeypatch):
    first = {"ep-cnn": [pgd((90, 20, 5), seed=s) for s in (0, 1)], "cnn": [pgd((90, 20, 5))]}
    short = {"ep-cnn": [minimal(HARD[:40], s) for s in (0, 1)], "cnn": [minimal(EASY[:40])]}
    compared = smallest.beside(first, {"DDN": short})
    picture = words(monkeypatch, minimal_figures.beside_pgd, "fig-x", compared, PAIR, BADGE)
    assert "n = 40 test images, seeds 0, 1" in picture.caption
    assert "With seed 0 only: CNN. PGD takes" in picture.caption


def test_where_there_is_nothing_to_compare_a_sentence_stands(monkeypatch):
    nothing = smallest.beside({"cnn": [pgd((1, 1, 1))]}, {"DDN": {}})
    said = minimal_figures.beside_pgd("fig-x", nothing, PAIR, BADGE)
    assert said.startswith("None of these networks is stored with PGD")


def test_the_picture_is_valid_and_tells_its_numbers():
    networks = lengths(ep_cnn=SOME, cnn=EASY)
    pair = [minimal_figures.distribution("fig-norms", networks, "C&W", BADGE) for _ in range(2)], "fig-norms"
    drawings.is_valid_svg_of_the_same_bytes_that_loads_nothing(pair)
    drawings.shows_itself_with_a_text_for_those_who_cannot_see_it(pair)

from dataclasses import replace

import numpy as np
import pytest
from drawings import (
    axes_only,
    is_valid_svg_of_the_same_bytes_that_loads_nothing,
    shows_itself_with_a_text_for_those_who_cannot_see_it,
    words_only,
)
from matplotlib import colors
from matplotlib.patches import Rectangle
from matrices import ATTACKED, N, result

from eplib import curves, horizon_figures, pictures, published_curves
from eplib.chapters import Badge
from eplib.checks import InputError
from eplib.statistics import wilson
from eplib.toggles import Toggle

PAGE = Badge("sample", "quick", 500, (0, 1, 2))
KEPT = {(1, 0, 1): 16, (1, 1, 1): 9, (1, 2, 1): 12, (1, 3, 1): np.arange(N) >= 14, (2, 1, 1): 2}


def drawn(results, **options):
    """The axes of the matrix."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "draw", axes_only)
        return horizon_figures.matrix(results, PAGE, **options)


def cells(ax):
    """{(line, column): (its number, its weight, the contrast of number and colour)}."""
    (mesh,) = ax.collections
    shape = mesh.get_array().shape
    fills = mesh.cmap(mesh.norm(mesh.get_array().reshape(shape)))
    found = {}
    for text in ax.texts:
        x, y = (int(v) for v in text.get_position())
        light = sorted(luminance(c) for c in (fills[y, x], colors.to_rgba(text.get_color())))
        contrast = (light[1] + 0.05) / (light[0] + 0.05)
        found[y, x] = (text.get_text(), text.get_weight(), contrast)
    return found


def luminance(colour):
    rgb = np.array(colour[:3])
    return np.where(rgb > 0.04, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92) @ (0.2126, 0.7152, 0.0722)


def test_a_matrix_holds_every_cell_and_the_worst_case_of_each_image():
    kept = {(1, 3, 1): (np.arange(N) >= 4) & (np.arange(N) < 18)}
    (ax,) = drawn([result(KEPT | kept)])
    found = cells(ax)
    assert len(found) == 6 * 4 and "ℓ2 ε = 1;" in ax.get_title()
    numbers = [[found[y, x][0] for x in range(4)] for y in range(6)]
    assert [line[1] for line in numbers] == ["90", "80", "45", "60", "70", "25"]  # images 4 to 8 are left
    assert all(line[0] == line[2] == line[3] == "90" for line in numbers)
    bold = {place for place, (_, weight, _) in found.items() if weight == "bold"}
    assert bold == {(2, 1)} | {(y, x) for y in range(1, 5) for x in (0, 2, 3)}
    assert [t.get_text() for t in ax.get_yticklabels()] == [
        "no attack",
        "4 steps",
        "29 steps",
        "leaky, 60",
        "adjoint, 250",
        "worst case",
    ]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["10", "250", "own", "converged"]


def test_numbers_can_be_read_on_every_colour():
    places = [(e, a, p) for e in range(3) for a in range(4) for p in range(4)]
    kept = {place: i % (N + 1) for i, place in enumerate(places)}
    one = result(kept, clean=np.ones(N, bool))
    axes = drawn([one], epsilons=(0.5, 1.0, 2.0))
    found = [cell for ax in axes for cell in cells(ax).values()]
    assert {int(number) for number, *_ in found} == {100 * i // N for i in range(N + 1)}
    assert all(contrast >= 4.5 for *_, contrast in found)


def test_cells_are_means_over_seeds_and_panels_the_epsilons_asked_for():
    axes = drawn([result(KEPT), result({}, seed=1)], epsilons=[1.0, 2.0])
    assert [cells(ax)[2, 1][0] for ax in axes] == [
        "68",
        "50",
    ]  # halves are rounded up: (45 + 90) / 2 and (10 + 90) / 2
    assert "ε = 1;" in axes[0].get_title() and "ε = 2;" in axes[1].get_title()


def test_what_the_paper_drew_is_outlined():
    boxes = [p for p in drawn([result({})])[0].patches if isinstance(p, Rectangle)]
    assert [p.get_xy() for p in boxes] == [(1, 2)]  # 29 steps attacked, 250 predicted
    picture = horizon_figures.matrix([result({})], PAGE)
    assert "Outlined: horizons of the paper's figure." in picture.caption
    without = [result({}, attacked=tuple((t, "adjoint") for t, _ in ATTACKED))]
    assert "Outlined" not in horizon_figures.matrix(without, PAGE).caption
    steps = [s for s in range(1, 100) if horizon_figures.published(s, "unrolled", "250")]
    assert tuple(steps) == published_curves.HORIZONS
    assert not horizon_figures.published(29, "adjoint", "250")
    assert not horizon_figures.published(29, "unrolled", "own")


def test_captions_name_what_was_measured_not_what_else_the_page_shows():
    low, high = wilson(N // 2, N)
    caption = horizon_figures.matrix([result({}, seed=2)], PAGE).caption
    assert "n = 20 test images, seed 2" in caption and f"{low:.0%} to {high:.0%}" in caption
    assert "20 forward steps" in caption and "(5.0% of the images at most)" in caption


def test_the_matrix_in_words():
    alt = horizon_figures.matrix([result(KEPT)], PAGE).alt
    assert "Predicted after 250 steps: no attack 90, 4 steps 80, 29 steps 45" in alt
    assert "Worst case over all attacks by prediction: 10 90, 250 0, own 90, converged 90." in alt


def test_the_matrix_is_drawn_whole_and_with_words():
    twice = [horizon_figures.matrix([result(KEPT)], PAGE) for _ in range(2)]
    is_valid_svg_of_the_same_bytes_that_loads_nothing((twice, "fig-horizons"))
    shows_itself_with_a_text_for_those_who_cannot_see_it((twice, "fig-horizons"))


def test_results_that_do_not_belong_together_are_refused():
    other = result({}, epsilons=(0.5, 1.0, 3.0))
    for given in ([], [result({}), other]):
        with pytest.raises(InputError, match="with different sizes or none"):
            horizon_figures.matrix(given, PAGE)
    with pytest.raises(InputError, match="ε 0.7 was not measured"):
        horizon_figures.matrix([result({})], PAGE, epsilons=[0.7])
    loaded = result({}, epsilons=[0.5, 1.0, 2.0], attacked=[list(a) for a in ATTACKED])
    assert horizon_figures.sizes_of([result({}), loaded])["epsilons"] == [0.5, 1.0, 2.0]


@pytest.fixture
def shown(monkeypatch):
    """The figure of time steps as `curves.figure` is asked for it, and itself without its drawings."""
    asked, right = [], curves.figure

    def keep(*given):
        asked.append(given)
        return right(*given)

    monkeypatch.setattr(curves, "figure", keep)
    monkeypatch.setattr(curves, "draw", words_only)

    def make(*results):
        figure = horizon_figures.timesteps(list(results), PAGE)
        return asked[-1], figure

    return make


def test_our_curves_are_all_attacks_after_as_many_steps_as_in_the_paper_and_their_worst_case(shown):
    kept = {(e, a, 0): 0 for e in range(3) for a in range(4)}  # after 10 steps: not drawn
    (label, published, ours, badge, *_), figure = shown(result(KEPT | kept), result(kept, seed=1))
    assert (label, published) == ("fig-timesteps", "Adversarial_Accuracy_Timesteps")
    assert [c.label for c in ours] == [
        "4 attack steps",
        "29 attack steps",
        "leaky, 60",
        "adjoint, 250",
        "worst case of all",
    ]
    assert all(c.x == (0.5, 1.0, 2.0) and c.dashed for c in ours)
    assert ours[1].y == pytest.approx((0.9, (0.45 + 0.9) / 2, (0.1 + 0.9) / 2))
    assert ours[4].y == pytest.approx((0.9, (0 + 0.9) / 2, (0.1 + 0.9) / 2))
    assert (badge.n, badge.seeds) == (N, (0, 1))
    assert isinstance(figure, Toggle) and "All are classified after 250 steps." in figure.caption
    assert curves.DASHED in figure.caption and "29 attack steps 90.0% at 0.5" in figure.alt


def test_curves_on_the_papers_images_are_not_dashed_and_without_results_only_the_paper_is_there(shown):
    figure = horizon_figures.timesteps([result({})], replace(PAGE, dataset="cifar10"))
    assert curves.DASHED not in figure.caption
    _, figure = shown()
    assert "70 attack steps" in figure.alt and "no network stored yet" in figure.caption


def test_the_redrawn_figure_shows_the_paper_ours_or_both():
    figure = horizon_figures.timesteps([result(KEPT)], PAGE)
    assert list(figure.views) == ["side by side", "published", "ours"] and figure.label == "fig-timesteps"
    assert "70 attack steps" in figure.views["published"].alt
    assert "worst case of all" not in figure.views["published"].alt
    assert "worst case of all" in figure.views["ours"].alt

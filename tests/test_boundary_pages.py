import re

import drawings
import numpy as np
import pandas as pd
import pytest
import torch
from test_uncertainty_verdicts import zoomed

from eplib import (
    filtering,
    filtering_figures,
    slice_figures,
    slices,
    state_sentences,
    state_space,
    uncertainty,
    uncertainty_controls,
    uncertainty_figures,
    uncertainty_networks,
    uncertainty_sentences,
)
from eplib.chapters import Badge
from eplib.results import Result
from eplib.verdicts import Verdict

N = 800
BADGE = Badge("sample", "quick", N, (11,))


def distances(model="ep-cnn", alpha=1.0, scale=1.0, seed=11, n=N):
    """A result of "adversarial-distances" with P(d ≤ ε) = (ε / scale)^α."""
    order = np.random.default_rng(5).permutation(n)
    lengths = scale * ((order + 0.5) / n) ** (1 / alpha)
    settings = {"model": model, "seed": seed, "dataset": "sample", "scale": "quick", "sizes": {"steps": 100}}
    right = np.arange(n) % 10 > 0
    arrays = {"minimal_norm": np.float32(lengths)}
    return Result(settings, None, np.arange(n), right, right[None], {}, arrays)


def moved(model="ep-cnn", alpha=1.0, scale=60.0, seed=11, n=N, pilot=200):
    """A result of "uncertainty" in which the first of two directions changes at distances of a power law."""
    lengths = distances(model, alpha, scale, n=n).arrays["minimal_norm"]
    epsilons = scale * np.geomspace(0.03, 0.095, 8) ** (1 / alpha)
    outcomes = np.zeros((8, 2, 2, n), bool)
    outcomes[:, :, 0] = (lengths <= epsilons[:, None])[:, None]
    sizes = {"directions": 2, "points": 8, "pilot": pilot, "others": n}
    settings = {"model": model, "seed": seed, "dataset": "sample", "scale": "quick", "sizes": sizes}
    arrays = {f"flips_{k}": np.packbits(outcomes, -1) for k in ("test", "uniform", "permuted")}
    arrays |= {f"epsilons_{k}": epsilons for k in ("test", "uniform", "permuted")}
    right = np.arange(n) % 10 > 0
    return Result(settings, None, np.arange(n), right, right[None], {}, arrays)


def attacked(left, seed=11, n=N):
    settings = {"epsilons": [0.309, 0.766], "norm": "l2", "seed": seed, "dataset": "sample", "scale": "quick"}
    correct = np.stack([np.arange(n) < left * n, np.zeros(n, bool)])
    return Result(settings, None, np.arange(n), np.ones(n, bool), correct, {})


MODELS = {"ep-cnn": 1.2, "cnn": 1.6, "vit-8": 2.0, "cnn-plain": 1.0}
NEAR = {m: [distances(m, a)] for m, a in MODELS.items()}
RANDOM = {m: [moved(m, a)] for m, a in MODELS.items()}
LEFT = {m: [attacked(a / 3)] for m, a in MODELS.items()}


@pytest.fixture(scope="module")
def networks():
    return uncertainty_networks.networks(RANDOM, NEAR, LEFT, {})


def test_a_network_is_what_its_results_say(networks):
    by_model = {n.model: n for n in networks}
    assert list(by_model) == list(MODELS)
    for model, alpha in MODELS.items():
        n = by_model[model]
        assert n.adversarial.alpha[0] == pytest.approx(alpha, rel=0.03) == n.hill
        assert n.random.alpha[0] == pytest.approx(alpha, rel=0.03)
        assert n.near == pytest.approx(0.03 ** (1 / alpha), rel=0.05)
        assert n.robust == pytest.approx(alpha / 3, abs=1e-2) and n.clean == 0.9
        assert n.ratio[0.03][0] == pytest.approx(60 / np.sqrt(3072), rel=0.05)  # the same images, 60 times
        assert np.isnan(n.ratio[0.1][0]) and np.isnan(n.corrupted)


def test_the_window_is_the_standards_without_a_pilot():
    assert uncertainty_networks.window(moved()) == uncertainty.SMALL
    assert uncertainty_networks.window(moved(pilot=0)) == uncertainty.STANDARD
    assert uncertainty_networks.random_exponent(moved(pilot=0)) is None  # too few below 3 %


def test_tables_have_a_line_a_network(networks):
    text = uncertainty_sentences.exponents_table(networks)
    assert text.count("<tr>") == 1 + len(networks) and "EP-CNN, seed 11" in text
    n = networks[0]
    assert uncertainty_sentences.exponent_cell(n.adversarial).startswith(f"{n.adversarial.alpha[0]:.2f} (")
    assert uncertainty_sentences.exponent_cell(None) == "not identifiable"
    bent = uncertainty.Exponent((1, 1, 1), (1, 1, 1), (0.5, 0.4, 0.6), np.arange(3), np.ones(2))
    assert uncertainty_sentences.exponent_cell(bent).endswith("no scaling regime")
    text = uncertainty_sentences.elsewhere_table(RANDOM)
    assert text.count("<tr>") == 4 and "shuffled pixels" in text


def test_controls_are_told_apart_by_whether_they_pass():
    good = uncertainty_controls.flat_adversarial()
    bad = uncertainty_controls.Control("bent", 1.0, 0.1, good.found, good.epsilons, good.shares)
    ratios = {"two-sided": (1.25, 1.2, 1.3), "one-sided": (2.0, 1.9, 2.1)}
    text = uncertainty_sentences.controls_table([good, bad], ratios)
    assert re.findall(r"<td>(yes|no)</td>", text) == ["yes", "no", "yes", "no"]


def test_sentences_turn_with_the_numbers(networks):
    words = uncertainty_sentences.compared(NEAR, RANDOM)
    assert re.search("smallest changes differs by -0.4.* with seed 11, smaller in every pair; ", words)
    assert re.search("random directions differs by -0.4.* with seed 11, smaller in every pair.$", words)
    assert words.count("larger in every pair") == 0
    assert uncertainty_sentences.compared(NEAR, RANDOM, "vit-8", "cnn").count("larger in every pair") == 2
    assert uncertainty_sentences.compared(NEAR, RANDOM, "cnn", "cnn").count("not shown to differ") == 2
    assert uncertainty_sentences.compared({}, {}).count("can be compared") == 2
    told = uncertainty_sentences.associations(networks)
    assert "the exponent: +1.00" in told and "too few networks for accuracy under corruptions" in told
    absent = uncertainty_sentences.missing({"uncertainty": RANDOM, "slices": {}}, "quick")
    assert "CNN, adversarial training ℓ2 0.5, untrained convolutions." in absent[0] and len(absent) == 2
    window = uncertainty_sentences.bias_words(RANDOM["ep-cnn"][0])
    assert "at least 20 of the 1,600 outcomes" in window and "pilot of 200 images" in window
    assert "no such fit" in uncertainty_sentences.bias_words(moved(n=40))
    verdicts = [Verdict(w, "undecided", "", "") for w in ("supported", "contradicted", "undecided")]
    answers = {
        str(uncertainty_sentences.answer(a, b, c, [], BADGE))
        for a in verdicts
        for b in verdicts
        for c in verdicts
    }
    assert len(answers) == 27 and all("quick scale" in a for a in answers)
    supported, _, undecided = verdicts
    found = uncertainty_sentences.answer(undecided, undecided, undecided, [1, 8], BADGE)
    assert "is ragged, enlarged 1 and 8 times, and whether" in found
    assert "enlarged 1" not in uncertainty_sentences.answer(undecided, supported, undecided, [1], BADGE)
    told = uncertainty_sentences.enlargements({"ep-cnn": [1, 8, 64], "cnn": []})
    assert told.endswith("EP-CNN enlarged 1, 8 and 64 times; CNN at none.")
    assert "wide" in uncertainty_sentences.limits(networks, NEAR)
    low = {"a": [distances(scale=0.1)], "b": [distances(scale=10)]}
    assert "shorter than 0.0069, where the window of 1 of 2" in uncertainty_sentences.limits([], low)
    assert "between 1.0" in uncertainty_sentences.associations(networks)
    assert "No primary exponent" in uncertainty_sentences.limits([], NEAR)


def planes(boundary=0.55):
    """A result of "slices": half planes, one with noise."""
    side = 48
    classes = np.zeros((2, side + 1, side + 1, 3), np.uint8)
    classes[:, int(boundary * side) :] = 1
    classes[0, ..., 2] = np.random.default_rng(0).integers(0, 5, (side + 1, side + 1))
    rows = [
        {"metric": m, "value": v, "plane": kind, "image": i}
        for k, kind in enumerate(slices.KINDS)
        for i in range(3)
        for m, v in slices.described(classes[k, ..., i]).items()
    ]
    settings = {"sizes": {"side": side}, "seed": 11, "dataset": "sample", "scale": "quick"}
    right = np.ones(3, bool)
    return Result(settings, pd.DataFrame(rows), np.arange(3), right, right[None], {}, {"classes": classes})


def states(several=True, seed=11, images=12):
    """A result of "state-space" of an EP-CNN: every start ends elsewhere, or all in one place."""
    orders, starts, kicks = 2, 5, len(state_space.KICKS)
    generator = np.random.default_rng(seed)
    reached = np.array(state_space.KICKS) / 3 if several else np.zeros(kicks)
    changed = generator.random((kicks, 4, images)) < reached[:, None, None]
    left = 0.5 ** np.arange(len(state_space.RETURN_STEPS))
    done = {
        "kind": np.ones((orders, starts, images), np.int8),
        "classes": np.zeros((orders, starts, images), np.uint8),
        "count": np.full((orders, images), 4 if several else 1, np.int16),
        "kick_left": np.tile(left[None, :, None], (orders, 1, images)).astype(np.float32),
    }
    labels, rows = torch.zeros(images, dtype=torch.long), []
    for place, order in enumerate(("forward", "synchronous")):
        rows += state_space._rows({"predict_steps": 500, "order": order}, done, place, labels)
    settings = {"sizes": {"starts": 2, "steps": 500}, "seed": seed, "order": "forward", "dataset": "sample"}
    arrays = done | {"end_changed": changed, "class_changed": changed & False}
    right = np.ones(images, bool)
    return Result(settings, pd.DataFrame(rows), np.arange(images), right, right[None], {}, arrays)


def filtered(shrink, seed=11):
    shape = (len(filtering.KINDS), len(filtering.LEVELS), 4, 3, 6)
    array = np.ones(shape)
    array[:, :, 1:] = np.asarray(shrink).reshape(-1, 1, 1, 1, 1)
    settings = {"sizes": {"lengths": [4, 20, 100]}, "seed": seed, "dataset": "sample"}
    right = np.ones(6, bool)
    return Result(settings, None, np.arange(6), right, right[None], {}, {"moved": array})


def test_words_about_planes_and_states_turn_with_the_numbers():
    text = state_sentences.slices_table({"ep-cnn": planes()})
    assert text.count("<tr>") == 3 and "EP-CNN, three images" in text
    told = state_sentences.ragged_planes({"ep-cnn": planes()})
    assert "are EP-CNN 1.00 to 1.99" in told and "1 of 6 planes" in told
    one_class = planes(boundary=1.1)
    one_class.table.loc[:, "value"] = np.nan
    assert "No plane has a boundary" in state_sentences.ragged_planes({"ep-cnn": one_class})
    assert "is multistable: 100%" in state_sentences.state_words([states()])
    alone = state_sentences.state_words([states(several=False)])
    assert "mostly monostable: 0%" in alone and "no exponent of the states is identifiable" in alone
    text = state_sentences.state_table({"ep-cnn": [states()]})
    assert text.count("<tr>") == 3 and "seed 11, synchronous" in text


def test_the_exponent_of_states_is_that_of_kicks():
    generator = np.random.default_rng(0)
    reach = (np.array(state_space.KICKS) ** 0.5) * 0.9
    result = states(images=400)
    result.arrays["end_changed"] = generator.random((4, 400))[None] < reach[:, None, None]
    found = state_sentences.kick_exponent(result)
    assert found.alpha[0] == pytest.approx(0.5, abs=0.06) and found.alpha[2] < 1
    assert "clearly below 1 in every network" in state_sentences.state_words([result])


def test_words_about_filtering_name_kinds_and_sizes():
    told = state_sentences.filtering_words([filtered([0.5, 2.0, 1.5, 0.9])])
    assert "random at every size (×0.50" in told and "adversarial at no size (×2.00" in told
    assert "end 1.0 times as far apart; a response in proportion would be 64" in told
    one = filtered([2.0] * 4)
    one.arrays["moved"][0, :2, 1:, 0] = 0.5
    assert "random at 1, 2/255" in state_sentences.filtering_words([one])
    grid = filtering_figures.medians([filtered([0.5] * 4), filtered([2.0] * 4)], "state")
    assert grid.shape == (4, 7, 3) and grid == pytest.approx(np.ones((4, 7, 3)))  # geometric means


FIGURES = {
    "fig-boundary-growth": lambda n: uncertainty_figures.growth(RANDOM, NEAR, BADGE),
    "fig-boundary-robustness": lambda n: uncertainty_figures.against_robustness(n, BADGE),
    "fig-boundary-planes": lambda n: slice_figures.planes({"ep-cnn": planes(), "cnn": planes()}, 0, BADGE),
    "fig-boundary-enlarged": lambda n: slice_figures.enlarged({"ep-cnn": zoomed([1] * 4)}, BADGE),
    "fig-boundary-enlargement": lambda n: slice_figures.by_enlargement({"ep-cnn": [zoomed([1] * 4)]}, BADGE),
    "fig-boundary-kicks": lambda n: filtering_figures.kicks({"ep-cnn": [states()]}, BADGE),
    "fig-boundary-filtering": lambda n: filtering_figures.where_it_ends(
        [filtered([2.0] * 4)], "state", BADGE
    ),
    "fig-boundary-filtering-first-layer": lambda n: filtering_figures.where_it_ends(
        [filtered([2.0] * 4)], "first layer", BADGE
    ),
    "fig-boundary-controls": lambda n: uncertainty_figures.controls(
        [uncertainty_controls.flat_adversarial()] * 4
    ),
}


@pytest.mark.parametrize("label", FIGURES)
def test_every_figure_is_whole(label, networks):
    pair = [FIGURES[label](networks) for _ in range(2)], label
    if label not in ("fig-boundary-planes", "fig-boundary-enlarged"):  # pixels are part of the file
        drawings.is_valid_svg_of_the_same_bytes_that_loads_nothing(pair)
    if label != "fig-boundary-controls":  # of no result
        drawings.shows_itself_with_a_text_for_those_who_cannot_see_it(pair)
    assert pair[0][0] == pair[0][1]
    assert pair[0][0].caption.startswith("How to read it")


def test_figures_show_their_numbers(monkeypatch, networks):
    for module in (uncertainty_figures, filtering_figures, slice_figures):
        monkeypatch.setattr(module, "draw", drawings.axes_only)
    left, right = uncertainty_figures.growth(RANDOM, NEAR, BADGE)
    shown = [m for m in uncertainty_figures.EXAMINED if m in MODELS]
    assert len(left.lines) == len(shown) and len(right.lines) == 2 * len(shown)  # dots and a line each
    assert {line.get_linestyle() for line in left.lines} == {"--"}  # other images than the paper's
    axes = uncertainty_figures.against_robustness(networks, BADGE)
    assert [len(ax.lines) for ax in axes[0]] == [4, 4, 4] and [len(ax.lines) for ax in axes[1]] == [0, 0, 0]
    assert axes[0, 0].lines[0].get_xdata()[0] == networks[0].values["exponent"]
    cells = filtering_figures.where_it_ends([filtered([0.5, 1.0, 2.0, 4.0])], "state", BADGE)
    assert [ax.texts[0].get_text() for ax in cells[:4]] == ["0.5", "1", "2", "4"]
    (curve,) = slice_figures.by_enlargement({"ep-cnn": [zoomed([0, 0, 1, 1])]}, BADGE)
    y = curve.lines[0].get_ydata()
    assert y[:2] == pytest.approx([1, 1], abs=0.05) and max(y[2:]) < 0.2
    empty, full = zoomed([0] * 4), zoomed([0] * 4)
    empty.arrays["classes"][..., :3] = full.arrays["classes"][..., :2] = 0
    assert slice_figures.widest({"a": empty}) == 3 and slice_figures.widest({"a": full, "b": empty}) == 3
    kicked, back = filtering_figures.kicks({"ep-cnn": [states()]}, BADGE)
    assert len(kicked.lines) == 2 == len(back.lines)
    assert back.lines[0].get_ydata()[:2].tolist() == [1.0, 0.5]
    grid = slice_figures.planes({"ep-cnn": planes(), "cnn": planes()}, 1, BADGE)
    assert (
        grid.shape == (2, 2)
        and (grid[1, 0].images[0].get_array() == planes().arrays["classes"][1, ..., 1].T).all()
    )

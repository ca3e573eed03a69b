import drawings
import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from eplib import learning_figures as figures
from eplib.chapters import Badge
from eplib.checkpoints import Checkpoint
from eplib.pictures import COLOURS, NAMES
from eplib.results import Result
from eplib.statistics import wilson
from eplib.studies import BETAS, NUDGED_STEPS

LAYERS = ("1", "2", "3", "4", "read-out")
MODELS = ("ep-cnn", "ep-cnn-live", "twin-one-sided", "twin-adjoint", "twin-bptt")
N = 500


def badge(dataset="sample", seeds=(0,)):
    return Badge(dataset, "quick", N, tuple(seeds))


def cosine(layer, beta, steps, arg_max):
    """Falls with β when the arg-max is frozen, and has a dip when it is live."""
    depth = 1 if layer == "read-out" else 1 + 0.2 * int(layer)
    frozen = 1 - 0.1 * beta * depth - 0.05 / steps
    return frozen if arg_max == "frozen" else frozen - 0.6 * np.exp(-(np.log(beta / 0.05) ** 2))


def estimators(trained=(0.5, 8, "frozen"), cosine=cosine, layers=LAYERS):
    cases = [("bptt", None, None, None)]
    cases += [("centred", b, k, a) for b in BETAS for k in NUDGED_STEPS for a in ("live", "frozen")]
    cases += [] if ("centred", *trained) in cases else [("centred", *trained)]
    cases += [("one-sided", b, 30, "frozen") for b in BETAS]
    rows = []
    for estimator, beta, steps, arg_max in cases:
        where = dict(estimator=estimator, beta=beta, nudged_steps=steps, arg_max=arg_max)
        for layer in layers:
            value = cosine(layer, beta, steps, arg_max) if estimator == "centred" else 0.123
            rows.append(where | dict(layer=layer, metric="cosine", value=value, n=5))
            rows.append(where | dict(layer=layer, metric="norm_ratio", value=7.0, n=5))
    rows.append({"metric": "accuracy", "value": 0.5, "n": 100})
    settings = {"seed": 0, "dataset": "sample", "sizes": {"trained_with": list(trained), "batch": 20}}
    return Result(
        settings, pd.DataFrame(rows), np.arange(100), np.ones(100, bool), np.ones((1, 100), bool), {}
    )


def checkpoint(model="ep-cnn", seed=0, best=0.86, epochs=8):
    history = []
    for epoch in range(1, epochs + 1):
        rate = 0.5 + 0.5 * np.cos(np.pi * epoch / epochs)
        names = [*(f"convs.{l}.weight" for l in range(4)), "readout.weight"]
        history.append(
            {
                "epoch": epoch,
                "images_seen": epoch * 11_000,
                "validation_accuracy": round(best - 0.2 / epoch - 0.01 * seed, 4),
                "residual": 0.05 / epoch,
                "dead": [0.3 + 0.02 * epoch, 0.45, 0.5, 0.25],
                "saturated": [0.03, 0.01, 0.01 * epoch, 0.0],
                "update": {name: 2e-3 / (l + 1) * max(rate, 1e-5) for l, name in enumerate(names)},
                "warnings": [],
            }
        )
    record = {"model": model, "seed": seed, "training": {"history": history}}
    return Checkpoint(f"{model}-sample-s{seed}", None, record)


SAID = {  # of the provoked runs, by their place
    1: ["convs.1.weight, convs.2.weight, convs.3.weight, readout.weight: hardly learns, take larger gains"],
    5: ["the gradient's norm is 1.2e+09 at iteration 7 with weights of norm 35: training stopped, take less"],
    8: ["the network guesses (12%, 10 classes): take other rates, gains, steps or nudging strength", "more"],
    9: ["layer 2: 58% of its units are saturated, take smaller gains or rates"],
}
TURNED = (
    ("nothing", 1.0),
    *(("learning rates", to) for to in (0.0625, 0.25, 4.0, 16.0, 256.0)),
    *(("gains", to) for to in (0.25, 0.5, 2.0, 4.0)),
    *(("free steps", to) for to in (1.0, 2.0, 3.0, 12.0)),
    *(("β", to) for to in (0.02, 5.0, 50.0)),
    *(("adjoint sweeps", to) for to in (4.0, 60.0)),
)
RIGHT = (425, 300, 390, 430, 350, 0, 250, 380, 60, 45, 380, 400, 420, 428, 422, 410, 300, 425, 420)


def provoked(right=RIGHT, said=SAID):
    rows = []
    for (name, to), k in zip(TURNED, right, strict=False):
        low, high = wilson(k, N)
        where = {"turned": name, "to": to}
        rows.append(where | {"metric": "accuracy", "value": k / N, "low": low, "high": high, "n": N})
        rows.append(where | {"metric": "residual", "value": 0.5})
    correct = np.array([np.arange(N) < k for k in right])
    settings = {"seed": 0, "dataset": "sample", "model": "ep-cnn"}
    record = {"said": [said.get(i, []) for i in range(len(right))]}
    return Result(settings, pd.DataFrame(rows), np.arange(N), correct[0], correct, record)


def agreement(**settings):
    return figures.agreement(estimators(**settings), badge())


def training_curves(seeds=3):
    networks = {"ep-cnn": [checkpoint(seed=s) for s in range(seeds)]}
    networks |= {m: [checkpoint(m, best=0.86 - 0.03 * i)] for i, m in enumerate(MODELS[1:], start=1)}
    return figures.training_curves(networks, badge(seeds=range(seeds)))


def monitors(**settings):
    return figures.monitors(checkpoint(**settings), badge())


def failures(*args):
    return figures.failures(provoked(*args), badge())


PICTURES = {
    "fig-agreement": agreement,
    "fig-training-curves": training_curves,
    "fig-monitors": monitors,
    "fig-failures": failures,
}


@pytest.fixture(scope="module", params=PICTURES)
def pair(request):
    """The same picture, drawn twice, and the label it should have."""
    return [PICTURES[request.param]() for _ in range(2)], request.param


@pytest.fixture
def words(monkeypatch):
    """Pictures without their drawing."""
    monkeypatch.setattr(figures, "draw", drawings.words_only)


@pytest.fixture
def axes(monkeypatch):
    """Instead of pictures the axes that they are drawn on, always a list."""
    monkeypatch.setattr(figures, "draw", drawings.axes_only)


def test_pictures_are_valid_svg_of_the_same_bytes_that_loads_nothing(pair):
    drawings.is_valid_svg_of_the_same_bytes_that_loads_nothing(pair)


def test_pictures_show_themselves_with_a_text_for_those_who_cannot_see_them(pair):
    drawings.shows_itself_with_a_text_for_those_who_cannot_see_it(pair)


CROWDED = PICTURES | {
    "one epoch": lambda: monitors(epochs=1),
    "120 epochs": lambda: monitors(epochs=120),
    "5,500,000 images": lambda: figures.training_curves({"ep-cnn": [checkpoint(epochs=500)]}, badge()),
    "three runs": lambda: failures(RIGHT[:3], {}),
}


@pytest.mark.parametrize("name", CROWDED)
def test_no_text_is_cut_off_and_none_lies_on_another(axes, name):
    found = CROWDED[name]()
    figure = found[0].figure
    figure.draw_without_rendering()
    assert all(legend.get_frame_on() is False for legend in legends(found))
    hidden = {id(t) for ax in found for axis in (ax.xaxis, ax.yaxis) for t in out_of_view(axis)}
    texts = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip()]
    texts = [t for t in texts if id(t) not in hidden]
    assert len(texts) > 10
    boxes = [t.get_window_extent() for t in texts]
    inside = figure.bbox.padded(1)
    for text, box in zip(texts, boxes, strict=True):
        assert inside.x0 <= box.x0 and box.x1 <= inside.x1, text.get_text()
        assert inside.y0 <= box.y0 and box.y1 <= inside.y1, text.get_text()
    for i, box in enumerate(boxes):
        for text, other in zip(texts[:i], boxes[:i], strict=True):
            assert not box.padded(-1).overlaps(other.padded(-1)), (texts[i].get_text(), text.get_text())


def out_of_view(axis):
    low, high = sorted(axis.get_view_interval())
    ticks = (*axis.get_major_ticks(), *axis.get_minor_ticks())
    return [t.label1 for t in ticks if not low <= t.get_loc() <= high]


def legends(found):
    return [l for l in (*found[0].figure.legends, *(ax.get_legend() for ax in found)) if l]


def lines(ax, colour):
    """[(x, y, style)] of the lines of a colour."""
    return [(l.get_xdata(), l.get_ydata(), l.get_linestyle()) for l in ax.lines if l.get_color() == colour]


def test_the_highest_and_the_lowest_cosine_are_told(words):
    picture = agreement()
    values = {
        (layer, b, k, a): cosine(layer, b, k, a)
        for layer in LAYERS
        for b in BETAS
        for k in NUDGED_STEPS
        for a in ("live", "frozen")
    }
    best, worst = max(values, key=values.get), min(values, key=values.get)
    assert best[0] == "read-out" and worst[0] == "4"
    assert f"Highest {values[best]:.3f} (read-out, β {best[1]}, frozen)" in picture.alt
    assert f"lowest {values[worst]:.3f} (convolution 4, β {worst[1]}, live)" in picture.alt
    assert "5 weight tensors" in picture.alt and "5 batches" in picture.caption
    assert "2 weight tensors" in agreement(layers=("1", "read-out")).alt


@pytest.mark.parametrize(
    "trained", [(0.5, 8, "frozen"), (0.5, 3, "frozen"), (0.3, 8, "live"), (0.3, 60, "live")]
)
def test_cosines_are_drawn_by_layer_for_the_fewest_and_the_most_steps(axes, trained):
    panels = agreement(trained=trained)
    assert [ax.get_title() for ax in panels] == [*(f"convolution {l}" for l in LAYERS[:-1]), "read-out"]
    for ax, layer in zip(panels, LAYERS, strict=True):
        for arg_max, colour, style in (("frozen", COLOURS["ep-cnn"], "-"), ("live", COLOURS["cnn"], "--")):
            for steps, (x, y, drawn) in zip((4, 30), lines(ax, colour), strict=True):
                at = dict(zip(x, y, strict=True))
                assert drawn == style and sorted(at) == list(x)
                for beta in BETAS:
                    assert at[beta] == cosine(layer, beta, steps, arg_max)
    texts = [t.get_text() for t in panels[0].figure.legends[0].get_texts()]
    assert texts == [f"{a} arg-max, {k} steps" for a in ("frozen", "live") for k in (4, 30)]


def test_cosines_below_zero_stay_inside_the_picture(axes):
    for lowest in (-0.9, 0.3):
        for ax in agreement(cosine=lambda l, b, k, a, low=lowest: low if b == 0.1 else 0.9):
            low, high = ax.get_ylim()
            assert low < min(0, lowest) and high > 1


@pytest.mark.parametrize("seeds", [1, 3])
def test_training_curves_tell_the_mean_at_the_end_of_every_kind(words, seeds):
    picture = training_curves(seeds)
    ours = np.mean([0.86 - 0.2 / 8 - 0.01 * s for s in range(seeds)])
    numbers = [("ep-cnn", ours), *((m, 0.86 - 0.03 * i - 0.025) for i, m in enumerate(MODELS[1:], start=1))]
    for model, value in numbers:
        for text in (picture.alt, picture.caption):
            assert f"{NAMES[model]} {value:.1%}" in text


@pytest.mark.parametrize("seeds", [1, 3])
def test_training_curves_are_drawn_in_the_colours_of_their_models(axes, seeds):
    (ax,) = training_curves(seeds)
    for model in MODELS:
        drawn = lines(ax, COLOURS[model])
        assert len(drawn) == (seeds if model == "ep-cnn" else 1)
    for seed, (x, y, _) in enumerate(lines(ax, COLOURS["ep-cnn"])):
        history = checkpoint(seed=seed).record["training"]["history"]
        assert list(x) == [11_000 * e for e in range(1, 9)]
        assert list(y) == [h["validation_accuracy"] for h in history]
    assert [t.get_text() for t in ax.get_legend().get_texts()] == [NAMES[m] for m in MODELS]


def test_only_the_models_given_are_drawn(axes):
    (ax,) = figures.training_curves({"twin-bptt": [checkpoint("twin-bptt")]}, badge())
    assert [line.get_color() for line in ax.lines] == [COLOURS["twin-bptt"]]


def test_monitors_tell_where_training_ended(words):
    picture = monitors()
    assert "over 8 epochs" in picture.alt and "residual 0.0063" in picture.alt
    assert "dead 46%, 45%, 50%, 25%" in picture.alt and "saturated 3%, 1%, 8%, 0%" in picture.alt
    assert "ep-cnn-sample-s0" in picture.caption
    assert "residual 0.05," in monitors(epochs=1).alt


def test_monitors_are_drawn_epoch_by_epoch(axes):
    panels = monitors()
    history = checkpoint().record["training"]["history"]
    assert [len(ax.lines) for ax in panels] == [1, 4, 4, 5]
    for ax, name in zip(panels[1:3], ("dead", "saturated"), strict=True):
        assert np.transpose([l.get_ydata() for l in ax.lines]).tolist() == [h[name] for h in history]
    updates = np.transpose([l.get_ydata() for l in panels[3].lines])
    assert updates.tolist() == [list(h["update"].values()) for h in history]
    assert panels[0].lines[0].get_ydata().tolist() == [h["residual"] for h in history]
    assert all(ax.get_xlim() == (0.5, 8.5) for ax in panels)
    assert all(list(l.get_xdata()) == list(range(1, 9)) for ax in panels for l in ax.lines)
    assert panels[3].lines[4].get_color() == COLOURS["cnn"]
    texts = [t.get_text() for t in panels[0].figure.legends[0].get_texts()]
    assert texts == ["layer 1", "layer 2", "layer 3", "layer 4", "read-out"]


@pytest.mark.parametrize("epochs, residual", [(1, 0.05), (1, 1.0), (3, 0.0), (3, 1e-7)])
def test_residuals_of_any_size_are_inside_the_picture(axes, epochs, residual):
    network = checkpoint(epochs=epochs)
    for epoch in network.record["training"]["history"]:
        epoch["residual"] = residual
    ax = figures.monitors(network, badge())[0]
    low, high = ax.get_ylim()
    assert all(low < y < high for y in ax.lines[0].get_ydata())


def marks(ax, colour, marker):
    """Heights at which points of a colour and shape are drawn."""
    return [l.get_ydata()[0] for l in ax.lines if (l.get_color(), l.get_marker()) == (colour, marker)]


def test_reported_runs_are_told(words):
    picture = failures()
    assert len(SAID) == picture.alt.count("(reported)")
    assert f"{len(SAID)} of {len(RIGHT)} runs were reported" in picture.caption
    for part in (
        "as it should be 85%;",
        "learning rates × 1/16 60% (reported)",
        "learning rates × 256 0% (reported)",
        "gains × 1/2 76%;",
        "gains × 4 9% (reported)",
        "free steps = 12 86%",
        "β = 0.02 84%;",
    ):
        assert part in picture.alt
    assert "(reported)" not in failures(RIGHT, {}).alt


@pytest.mark.parametrize("said", [SAID, {}, {0: ["x"], 18: ["y", "z"]}])
def test_reported_runs_are_crosses_and_others_dots(axes, said):
    (ax,) = failures(RIGHT, said)
    rows = [len(RIGHT) - 1 - i for i in range(len(RIGHT))]  # the unturned run on top
    assert marks(ax, COLOURS["cnn"], "X") == [rows[i] for i in sorted(said)]
    assert marks(ax, COLOURS["ep-cnn"], "o") == [y for i, y in enumerate(rows) if i not in said]
    assert len(ax.texts) == len(RIGHT)
    for i, text in enumerate(ax.texts):
        assert (text.get_text() == "nothing to report") == (i not in said)
        assert text.get_color() == COLOURS["cnn" if i in said else "ep-cnn"]
    x = {l.get_ydata()[0]: l.get_xdata()[0] for l in ax.lines if l.get_marker() in ("X", "o")}
    assert [x[y] for y in rows] == [k / N for k in RIGHT]
    assert ax.get_xlim()[0] < 0 and ax.get_ylim()[0] < 0  # a run with no image right is seen whole


@pytest.mark.parametrize(
    "words, short",
    [
        (SAID[1][0], "convs.1, convs.2, convs.3, readout: hardly learns"),
        (
            "convs.0.weight, convs.1.weight, readout.weight: moves by 2% or more in one step, take less",
            "convs.0, convs.1, readout: moves by 2% or more in one step",
        ),
        (
            "convs.0.weight, convs.1.weight, convs.2.weight, readout.weight: moves by 2% or more in one step",
            "convs.0 and 3 more: moves by 2% or more in one step",
        ),
        (SAID[5][0], "stopped, the gradient's norm is 1.2e+09 at iteration 7"),
        (SAID[8][0], "the network guesses (12%, 10 classes)"),
        (SAID[9][0], "layer 2: 58% of its units are saturated"),
        ("word " * 30, "word " * 11 + "…"),
    ],
)
def test_what_monitors_say_is_shortened_to_what_is_wrong(words, short):
    assert figures._short(words) == short


def test_long_words_beside_the_runs_are_not_cut_off(axes):
    (ax,) = failures(RIGHT, {i: ["WIDE " * 30] for i in range(len(RIGHT))})
    ax.figure.draw_without_rendering()
    assert max(t.get_window_extent().x1 for t in ax.texts) <= ax.figure.bbox.x1
    assert ax.bbox.width > 0.25 * ax.figure.bbox.width

import re
from functools import cache

import drawings
import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from eplib import equilibrium_figures as figures
from eplib import published
from eplib.chapters import Badge
from eplib.phases import ORDERS
from eplib.pictures import COLOURS
from eplib.results import Result
from eplib.statistics import wilson
from eplib.studies import SHOWN_STEPS

N = 100
DELAY = {"synchronous": 3, "even-odd": 2, "forward": 0, "backward": 3}  # steps before the image is heard
REST = {
    "synchronous": 20,
    "even-odd": 12,
    "forward": 10,
    "backward": 11,
}  # steps for a residual to fall to 1/e


def result(rows, seed=0, dataset="sample", order="forward", sizes=None, **arrays):
    settings = {"seed": seed, "dataset": dataset, "order": order, "sizes": sizes or {}}
    return Result(
        settings, pd.DataFrame(rows), np.arange(N), np.ones(N, bool), np.ones((1, N), bool), {}, arrays
    )


@cache
def share(metric, count, n=N):
    low, high = wilson(count, n)
    return {"metric": metric, "value": count / n, "low": low, "high": high, "n": n}


def spread(metric, value, by):
    return {"metric": metric, "value": value, "low": value - by, "high": value + by, "n": N}


def settling(seed=0, best=90, steps=SHOWN_STEPS, **settings):
    """Accuracies that rise from 10 % to `best` %, residuals and energies that fall, each in every order."""
    rows = []
    for order in ORDERS:
        for t in steps:
            heard = max(0, t - DELAY[order])
            right = round(10 + (best - 10 - seed) * (1 - np.exp(-heard / 3)))
            residual = max(np.exp(-t / REST[order]), 1e-7 * (1 + seed))
            where = {"predict_steps": t, "order": order}
            rows.append(where | share("accuracy", right))
            rows.append(where | spread("residual", residual, residual / 2))
            rows.append(
                where | spread("energy", -1037.0 - seed + 600 * np.exp(-(t + 3 - DELAY[order]) / 4), 20)
            )
        where = {"predict_steps": steps[-1], "order": order}
        rows += [where | share("period_two", 4), where | share("at_rest", 90)]
    return result(rows, seed, **settings)


SHARES = {  # of 100 images: what the table says about each question
    "settled": (99, 100, 100),
    "several_classes": (15, 12, 22),
    "agreement": (92, 95, 89),
    "nearest_class": (63, 66, 58),
    "nearest_class_pixels": (40, 41, 39),
}
CONTROL = {metric: tuple(max(0, c - 33) for c in counts) for metric, counts in SHARES.items()}


def starts(seed=0, shares=SHARES, attractors=4.9, k=8, **settings):
    rows = [share("accuracy", 85), spread("attractors", attractors - seed, 1)]
    rows += [share(metric, counts[seed]) for metric, counts in shares.items()]
    return result(rows, seed, sizes={"starts": k}, **settings)


def paths(seed=0, attack=46.0, random=41.0, hill=16.0, points=15, **settings):
    """Energies that rise to `attack` and to `random` at the end, with a hill on the way to the former."""
    way, each = np.linspace(0, 1, points)[:, None], np.linspace(0.8, 1.2, 40)
    energy = {
        "attack": -1000 + each * (attack * way + 4 * hill * way * (1 - way)),
        "random": -1000 + each * (random * way + hill * way * (1 - way)),
    }
    rows = [
        {**spread("barrier", (hill + seed) / k, 1), "attack": kind}
        for kind, k in (("attack", 1), ("random", 4))
    ]
    arrays = {f"energy_{kind}": e for kind, e in energy.items()}
    return result(rows, seed, sizes={"epsilon": 3.0}, **arrays, **settings)


def badge(dataset="sample", seeds=3):
    return Badge(dataset, "quick", N, tuple(range(seeds)))


def free_steps(seeds=3, dataset="sample", **settings):
    return figures.free_steps(
        {"ep-cnn": [settling(s, **settings) for s in range(seeds)]}, badge(dataset, seeds)
    )


def residuals(seeds=3, **settings):
    return figures.residuals({"ep-cnn": [settling(s, **settings) for s in range(seeds)]}, badge(seeds=seeds))


def multistability(seeds=3, shares=SHARES, **settings):
    outcomes = {
        "ep-cnn": [starts(s, shares, **settings) for s in range(seeds)],
        "twin-untrained": [starts(0, CONTROL, 2.3)],
    }
    return figures.multistability(outcomes, badge(seeds=seeds))


def landscape(seeds=3, **settings):
    outcomes = {
        "ep-cnn": [paths(s, **settings) for s in range(seeds)],
        "twin-untrained": [paths(0, 9.0, 22.0, 2.0)],
    }
    return figures.landscape(outcomes, badge(seeds=seeds))


PICTURES = {
    "fig-characteristic-time": free_steps,
    "fig-residuals": residuals,
    "fig-attractors": multistability,
    "fig-landscape": landscape,
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


@pytest.mark.parametrize("label", PICTURES)
def test_no_text_is_cut_off_and_none_lies_on_another(axes, label):
    found = PICTURES[label]()
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


@pytest.mark.parametrize("label", PICTURES)
def test_one_network_is_drawn_as_well_as_three(axes, label):
    one, three = (PICTURES[label](seeds=seeds) for seeds in (1, 3))
    drawn = [sum(len(ax.lines) + len(ax.containers) for ax in found) for found in (one, three)]
    alike = label in ("fig-residuals", "fig-landscape")  # means, and the first network alone
    assert (drawn[0] == drawn[1]) == alike and drawn[0] > 1


def test_captions_name_the_seeds_that_are_drawn(words):
    for label, picture in PICTURES.items():
        assert "seed 0" in picture(1).caption
        assert ("seeds 0, 1, 2" in picture(3).caption) == (label != "fig-landscape")


def test_captions_count_the_images_of_their_own_study(words):
    outcomes = {"ep-cnn": [starts()], "twin-untrained": [starts(0, CONTROL)]}
    ways = {"ep-cnn": [paths()], "twin-untrained": [paths()]}
    other = Badge("sample", "quick", 300, (0,))  # of the study that the page begins with
    for picture in (figures.multistability(outcomes, other), figures.landscape(ways, other)):
        assert f"n = {N} test images" in picture.caption and "300" not in picture.caption


def test_the_label_of_the_first_figure_is_the_one_of_the_papers():
    known = published.figures().set_index("figure").label
    assert list(PICTURES)[0] == known["Characteristic_Time"]


def test_mean_curves_are_means_over_networks_step_by_step():
    tables = [
        pd.DataFrame({"predict_steps": [1, 2, 5], "value": values})
        for values in ([0.1, 0.5, 0.9], [0.3, 0.6, 0.7], [0.2, 0.1, 0.2])
    ]
    curve = figures.mean_curve(tables)
    assert curve.index.tolist() == [1, 2, 5]
    assert curve.to_numpy() == pytest.approx(np.mean([t.value for t in tables], axis=0))
    assert figures.mean_curve(tables[:1]).tolist() == [0.1, 0.5, 0.9]


def test_rows_are_those_of_a_metric_and_of_what_is_asked_for():
    results = [settling(s) for s in range(2)]
    for table in figures.rows(results, "energy", order="backward", predict_steps=5):
        assert len(table) == 1
        assert table.iloc[0][["metric", "order", "predict_steps"]].tolist() == ["energy", "backward", 5]
    assert [len(t) for t in figures.rows(results, "at_rest")] == [len(ORDERS)] * 2


def values(result, metric, order):
    t = result.table
    return t[(t.metric == metric) & (t.order == order)].value.to_numpy()


def at(picture, order, step):
    """The accuracy in percent that a picture's text names."""
    return int(re.search(rf"{order}[^;]*?(\d+)% at step {step}\b", picture.alt).group(1))


def test_accuracies_by_step_are_told_published_and_ours(words):
    picture, networks = free_steps(3), [settling(s) for s in range(3)]
    theirs = published.free_step_curve()["mean"]
    for step in (3, 10, 60, 250):
        assert at(picture, "Published:", step) == round(100 * theirs[step])
        for order in ("synchronous", "forward"):
            ours = [values(n, "accuracy", order)[SHOWN_STEPS.index(step)] for n in networks]
            assert at(picture, order, step) == pytest.approx(100 * np.mean(ours), abs=0.51)
    lower = figures.free_steps({"ep-cnn": [settling(0, best=60)]}, badge(seeds=1))
    assert at(lower, "forward", 250) == 60 and at(free_steps(1), "forward", 250) == 90


def test_accuracies_are_drawn_by_network_beside_the_published_ones(axes):
    left, right = free_steps(3)
    theirs = published.free_step_curve()["mean"]
    ((x, y, _),) = lines(left, COLOURS["ep-cnn"])
    assert x.tolist() == theirs.index.tolist() and y.tolist() == theirs.tolist()
    for order in ("synchronous", "forward"):
        drawn = lines(right, figures.ORDER_COLOURS[order])
        assert len(drawn) == 3
        for seed, (x, y, _) in enumerate(drawn):
            assert x.tolist() == list(SHOWN_STEPS)
            assert y.tolist() == values(settling(seed), "accuracy", order).tolist()
    texts = [t.get_text() for t in right.get_legend().get_texts()]
    assert texts == ["synchronous order", "forward order"]
    assert right.get_ylim() == (0, 1) and right.get_xlim()[1] > 250


@pytest.mark.parametrize("order", ORDERS)
def test_the_order_of_training_is_drawn_beside_the_synchronous_one(axes, order):
    right = free_steps(1, order=order)[1]
    assert len(right.lines) == (1 if order == "synchronous" else 2)
    assert len(lines(right, figures.ORDER_COLOURS[order])) == 1


def test_the_order_of_training_is_told(words):
    both, one = free_steps(1, order="even-odd"), free_steps(1, order="synchronous")
    assert "even-odd 33% at step 3" in both.alt and "in the order it was trained with" in both.caption
    assert one.alt.count("at step 60") == 2 and "in its training" in one.caption


def test_curves_of_other_images_are_dashed_and_say_so(axes):
    for dataset, style in (("cifar10", "-"), ("cifar100", "--"), ("sample", "--")):
        left, right = free_steps(2, dataset)
        assert {line.get_linestyle() for line in right.lines} == {style}
        assert left.lines[0].get_linestyle() == "-"
        assert right.get_title() == f"ours, {badge(dataset).dataset_name}"


def test_captions_say_why_curves_are_dashed(words):
    assert "dashed, because" in free_steps(1).caption and "dashed" not in free_steps(1, "cifar10").caption


def test_the_published_curve_moves_with_the_published_numbers(monkeypatch, axes):
    theirs = published.free_step_curve()
    monkeypatch.setattr(published, "free_step_curve", lambda: theirs * [0.5, 0.5, 0.5, 1])
    assert free_steps(1)[0].lines[0].get_ydata()[59] == pytest.approx(theirs["mean"][60] / 2)


def test_a_short_study_is_drawn_too(axes):
    short = settling(steps=range(1, 21))
    assert len(figures.free_steps({"ep-cnn": [short]}, badge(seeds=1))[1].lines[0].get_xdata()) == 20
    assert len(figures.residuals({"ep-cnn": [short]}, badge(seeds=1))[0].lines) == len(ORDERS)


def test_a_short_study_is_told_as_far_as_it_goes(words):
    short = settling(steps=range(1, 21))
    assert figures.free_steps({"ep-cnn": [short]}, badge(seeds=1)).alt.endswith("at step 10.")
    assert "after 20 steps" in figures.residuals({"ep-cnn": [short]}, badge(seeds=1)).caption


def test_residuals_and_energies_are_drawn_in_every_order(axes):
    panels = residuals(3)
    assert set(figures.ORDER_COLOURS) == set(ORDERS)
    for ax, metric in zip(panels, ("residual", "energy"), strict=True):
        for order, colour in figures.ORDER_COLOURS.items():
            ((x, y, _),) = lines(ax, colour)
            expected = np.mean([values(settling(s), metric, order) for s in range(3)], axis=0)
            assert x.tolist() == list(SHOWN_STEPS) and np.asarray(y) == pytest.approx(expected)
    low, high = panels[0].get_ylim()
    assert low < 1e-7 and high > 1  # float32 comes to rest near 1e-7
    assert [t.get_text() for t in panels[1].get_legend().get_texts()] == list(figures.ORDER_COLOURS)


def test_residuals_at_the_end_are_told(words):
    picture = residuals(3)
    for order in ORDERS:
        last = np.mean([max(np.exp(-250 / REST[order]), 1e-7 * (1 + s)) for s in range(3)])
        assert f"{order} {last:.1g}" in picture.caption and f"{order} {last:.1g}" in picture.alt
    assert "after 250 steps" in picture.caption


def test_residuals_that_vanish_can_be_drawn():
    still = settling()
    still.table.loc[still.table.metric == "residual", ["value", "low", "high"]] = 0.0
    assert "synchronous 0," in figures.residuals({"ep-cnn": [still]}, badge(seeds=1)).caption


def test_attractors_are_counted_and_their_shares_told_as_means(words):
    picture = multistability(3)
    assert "from 8 random states" in picture.caption and "Found in 9 starts" in picture.caption
    assert "EP-CNN 3.9, untrained convolutions 2.3" in picture.caption  # the mean of 4.9, 3.9 and 2.9
    for metric, question in figures.QUESTIONS.items():
        question = " ".join(question.split())
        assert f"{question} {np.mean(SHARES[metric]):.0f}%" in picture.alt
        assert f"{question} {CONTROL[metric][0]}%" in picture.alt
    assert "_" not in picture.alt


def test_shares_are_dots_in_the_colours_of_their_models(axes):
    (ax,) = multistability(3)
    names = [label.get_text() for label in ax.get_yticklabels()]
    for metric, question in figures.QUESTIONS.items():
        for model, counts in (("ep-cnn", SHARES[metric]), ("twin-untrained", CONTROL[metric][:1])):
            here = [
                (x[0], y[0]) for x, y, _ in lines(ax, COLOURS[model]) if round(y[0]) == names.index(question)
            ]
            assert sorted(x for x, _ in here) == sorted(c / N for c in counts)
            assert len({y for _, y in here}) == len(counts)  # beside each other
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["EP-CNN", "untrained convolutions"]


@pytest.mark.parametrize("count", [0, N])
def test_intervals_at_the_ends_of_the_scale_can_be_drawn(axes, count):
    (ax,) = multistability(1, {metric: (count,) for metric in SHARES})
    assert len(lines(ax, COLOURS["ep-cnn"])) == len(SHARES)


def test_barriers_are_told_of_the_first_network_and_of_the_control(words):
    picture = landscape(3)
    numbers = "EP-CNN attack 16.0; EP-CNN random 4.0; untrained convolutions attack 2.0; untrained"
    assert numbers in picture.caption and numbers in picture.alt and "ε = 3" in picture.caption
    assert "EP-CNN attack 8.0" in landscape(1, hill=8.0).alt


def test_energies_are_drawn_above_that_of_the_clean_image(axes):
    left, right = landscape(3)
    for ax, network in ((left, paths()), (right, paths(0, 9.0, 22.0, 2.0))):
        for line, kind in zip(ax.lines, ("attack", "random"), strict=True):
            energy = network.arrays[f"energy_{kind}"]
            assert line.get_ydata() == pytest.approx(np.median(energy - energy[0], axis=1))
            assert line.get_xdata()[[0, -1]].tolist() == [0, 1]
    assert left.get_title() == "EP-CNN" and right.get_title() == "untrained convolutions"
    texts = [t.get_text() for t in left.figure.legends[0].get_texts()]
    assert texts == ["towards the attacked image", "in a random direction"]

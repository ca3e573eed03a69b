import re
from dataclasses import asdict, replace
from pathlib import Path
from xml.etree import ElementTree

import drawings
import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from eplib import baselines, checkpoints, files, measurements, networks, pictures, results, scales, verdicts
from eplib import network_figures as figures
from eplib.chapters import Badge
from eplib.checks import InputError
from eplib.results import Result

BADGE = Badge("sample", "quick", 2000, (11, 13))
STORED = files.ROOT / "data" / "checkpoints"


def table(scale, accuracies, own):
    """A "clean" table: accuracy at the own phase and, of an energy-based network, at the scale's others."""
    phases = [own, *(scales.scale(scale).attack.settled if own[0] else ())]
    rows = [
        {"predict_steps": steps, "order": order, "metric": "accuracy", "value": a}
        for (steps, order), a in zip(phases, accuracies, strict=False)
    ]
    return results.tidy(pd.DataFrame(rows))


def entry(model="ep-cnn", seed=11, test=0.87, validation=0.86, epochs=4, scale="quick", **changes):
    """A network of a row, as if trained for `epochs`; test: None where it was not measured."""
    row = scales.row(scale, model)
    history = [
        {"images_seen": 1000 * e, "validation_accuracy": validation - 0.1 * (1 - e / epochs), "seconds": 9.0}
        for e in range(1, epochs + 1)
    ]
    if row.recipe.kind == "readout":
        history = [{"validation_accuracy": validation}]
    training = {"recipe": asdict(row.recipe), "history": history, "seconds": 90.0}
    record = {"network": {"kind": row.kind, **row.settings()}, "training": training, "device": "a device"}
    own, clean = (row.steps or None, row.order or None), None
    if test is not None:
        settings = {"predict_steps": own[0], "order": own[1], "seed": seed, "dataset": "sample"}
        right = np.arange(1000) < round(1000 * test)
        values = [test, *(test - 0.01 * i for i in (1, 2))]
        clean = Result(settings, table(scale, values, own), np.arange(1000), right, right[None], {})
    path = STORED / scale / f"{model}-sample-s{seed}.safetensors"
    found = networks.Entry(model, seed, "sample", scale, record, path, 1234, clean)
    return replace(found, **changes)


def many(scale="cpu", seeds=(1, 2, 3)):
    """Every row of a scale, some of several seeds, some not measured: as full as a page gets."""
    found = []
    for i, model in enumerate(scales.scale(scale).rows):
        test = None if i % 7 == 3 else 0.2 + 0.7 * ((5 * i) % 11) / 10 if i else 0.86
        for j, seed in enumerate(seeds if i % 3 == 0 else seeds[:1]):
            found.append(entry(model, seed, test and test - 0.004 * j, 0.88 - 0.011 * (i % 9), scale=scale))
    return found


def few():
    """Ordinary, under-trained and not measured."""
    low = entry("twin-one-sided", test=None, validation=0.1)
    return [entry(), entry(seed=13, test=0.89), low, entry("cnn", test=0.9), entry("cnn", 13, test=0.5)]


def store(folder, model, seed, measured=None):
    """A checkpoint with untrained weights at smoke scale and, when `measured`, its "clean" result."""
    row = scales.row("smoke", model)
    net = baselines.kind(row.kind)(**row.settings())
    training = {"recipe": asdict(row.recipe), "history": [{"validation_accuracy": 0.25}], "seconds": 1.0}
    place = Path(folder) / "checkpoints" / "smoke"
    path = checkpoints.save(place, net, model, "sample", "smoke", seed, training)
    if measured:
        settings = measurements.settings_of(checkpoints.load(path), "clean")
        rows = table("smoke", measured, (settings["predict_steps"], settings["order"]))
        right = np.ones((len(rows), 20), bool)
        results.save(Result(settings, rows, np.arange(20), right[0], right, {}), Path(folder) / "results")
    return path


def test_stored_networks_are_found_by_row_then_seed_with_and_without_a_result(out):
    for seed in (13, 2):
        store(out, "cnn", seed, measured=(0.7,) if seed == 2 else None)
    store(out, "ep-cnn", 0, measured=(0.6, 0.5))
    store(out, "twin-bptt", 0)
    found = networks.entries("smoke")
    assert [(e.model, e.seed) for e in found] == [("ep-cnn", 0), ("twin-bptt", 0), ("cnn", 2), ("cnn", 13)]
    assert [e.accuracies for e in found] == [
        {"test": 0.6, "validation": 0.25},
        {"validation": 0.25},
        {"test": 0.7, "validation": 0.25},
        {"validation": 0.25},
    ]
    assert [e.kind for e in found] == ["test", "validation", "test", "validation"]
    assert [e.settled for e in found] == [0.5, None, None, None]
    weights = checkpoints.load(found[0].path).net.parameters()
    assert found[0].parameters == sum(p.numel() for p in weights) > 1000
    assert {(e.dataset, e.scale, e.path.parent) for e in found} == {
        ("sample", "smoke", out / "checkpoints" / "smoke")
    }


def test_only_the_data_set_and_the_seeds_asked_for_are_found(out):
    for seed in (1, 2, 3):
        store(out, "cnn", seed)
    assert [e.seed for e in networks.entries("smoke", "sample", (3, 1))] == [1, 3]
    assert networks.entries("smoke", "cifar10") == []


def test_what_is_no_row_of_the_scale_is_left_out_and_what_is_damaged_is_refused(out):
    path = store(out, "cnn", 1)
    foreign = files.read_json(path.with_suffix(".json"), "record") | {"model": "cnn-of-yesterday"}
    files.write_json(path.with_name("cnn-of-yesterday-sample-s1.json"), foreign)
    assert [e.model for e in networks.entries("smoke")] == ["cnn"]
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(InputError, match="damaged"):
        networks.entries("smoke")


def test_the_committed_networks_of_quick_are_found_and_may_be_hidden_by_ones_written_since(out):
    committed = networks.entries("quick")
    assert {("ep-cnn", 11), ("cnn", 11)} <= {(e.model, e.seed) for e in committed}
    assert all(e.path.parent == STORED / "quick" for e in committed)
    copy = out / "checkpoints" / "quick" / committed[0].path.name
    for ending in (".json", ".safetensors"):
        files.write(copy.with_suffix(ending), committed[0].path.with_suffix(ending).read_bytes())
    again = networks.entries("quick")
    assert len(again) == len(committed) and again[0].path == copy


@pytest.mark.parametrize(
    "test, low", [(0.77, False), (0.7699, True), (0.9, False), (0.1, True), (0.87, False)]
)
def test_a_network_is_under_trained_from_more_than_ten_points_below_the_mean_on(test, low):
    among = [entry(test=0.84), entry(seed=13, test=0.9), entry("cnn", test=test)]  # mean 0.87
    assert networks.under_trained(among[2], among) == low


def test_test_accuracies_are_compared_with_each_other_and_validation_accuracies_with_each_other():
    measured = entry(test=0.9, validation=0.5)
    assert networks.under_trained(entry("cnn", test=0.6, validation=0.6), [measured])
    assert not networks.under_trained(entry("cnn", test=None, validation=0.6), [measured])
    assert networks.under_trained(entry("cnn", test=None, validation=0.3), [measured])
    unmeasured = entry(test=None, validation=0.9)
    assert networks.under_trained(entry("cnn", test=0.9, validation=0.6), [unmeasured])


def test_without_an_ep_cnn_on_the_same_data_no_network_is_under_trained():
    low, ep = entry("cnn", test=0.1, validation=0.1), entry()
    assert networks.under_trained(low, [ep])
    assert not networks.under_trained(low, [replace(ep, dataset="cifar10")])
    assert not networks.under_trained(low, [low, entry("ep-cnn-live")])


def test_of_adversarial_training_the_epoch_counts_whose_weights_were_kept():
    robust = entry("cnn-at-l2-0.5", test=None)
    for h, r in zip(robust.record["training"]["history"], (0.1, 0.4, 0.4, 0.2), strict=True):
        h["robust_validation_accuracy"] = r
    assert robust.accuracies == {"validation": pytest.approx(0.86 - 0.1 * 0.5)}
    assert entry("cnn", test=None).accuracies == {"validation": 0.86}


def clean_results(*shares):
    return [entry(seed=i, test=s).clean for i, s in enumerate(shares)]


def test_the_verdict_of_the_chapter_follows_the_rule_and_tells_its_numbers():
    good = networks.comparable(clean_results(0.8, 0.9), clean_results(0.9, 1.0))
    assert good.networks == "supported" and good.method == "undecided"
    assert "EP-CNN gets 85.0%" in good.sentence and "CNN 95.0%" in good.sentence
    bad = networks.comparable(clean_results(0.8, 0.9), clean_results(0.9, 1.0, 1.0))
    assert bad.networks == "contradicted" and "The EP-CNN is under-trained" in bad.sentence
    assert "10 points" in good.overturn and str(verdicts.SEEDS_FOR_METHOD) in good.overturn


def test_the_answer_counts_and_names_what_is_stored():
    text = networks.answer(few(), BADGE)
    assert "5 networks of 3 kinds are stored (Fashion-MNIST sample, quick scale)" in text
    assert "the EP-CNN gets 88.0% of test images right (mean of 2 seeds)" in text
    assert "the CNN gets 70.0% of test images right (mean of 2 seeds)" in text
    assert text.endswith("2 are under-trained (twin by one-sided EP, CNN).")
    alone = networks.answer([entry(test=None)], BADGE)
    assert "1 network of 1 kind is stored" in alone and "86.0% of validation images right (one seed)" in alone
    assert alone.endswith("none are under-trained.")
    assert "the CNN" not in alone


def test_the_rule_tells_the_numbers_it_is_applied_with():
    rule = networks.rule(few())
    assert "10 points" in rule and "(88.0% on test images and 86.0% on validation images)" in rule
    assert "none is stored" in networks.rule([entry("cnn")])


@pytest.mark.parametrize(
    "model, words",
    [
        (
            "ep-cnn",
            "16-32-64-64, 20 forward steps; two nudged phases, β 0.5, 8 nudged steps, frozen arg-max, weight"
            " decay 3e-4",
        ),
        ("ep-cnn-average", "average pooling"),
        ("ep-cnn-live", "live arg-max"),
        ("ep-cnn-squared-error", "squared error"),
        ("ep-cnn-beta-0.1", "β 0.1"),
        ("ep-cnn-60", "60 synchronous steps"),
        ("twin-one-sided", "one nudged phase"),
        ("twin-untrained", "16-32-64-64, 20 forward steps; only the read-out is fitted"),
        ("twin-cut", "1 forward step; only the read-out is fitted, convolutions of the EP-CNN"),
        ("cnn", "16-32-64-64, BatchNorm, ReLU"),
        ("cnn-plain-wd-1e-4", "16-32-64-64, no BatchNorm, ReLU; weight decay 1e-4"),
        ("cnn-sigmoid", "BatchNorm, hard sigmoid"),
        ("cnn-like-ep", "no BatchNorm, the EP-CNN's unit; weight decay 3e-4"),
        ("cnn-penalised", "gradient penalty 1"),
        ("cnn-at-l2-0.5", "PGD-3 ℓ2 0.5"),
        ("cnn-at-linf-8", "PGD-3 ℓ∞ 8/255"),
        ("student-of-cnn", "taught by the CNN"),
        ("vit-4", "ViT, patches of 4 pixels, width 96, depth 5, 3 heads; AdamW, weight decay 0.05"),
        ("vit-4-augmented", "weight decay 0.05, RandAugment, label smoothing 0.1"),
        ("mixer-halfway", "AdamW, weight decay 0.05, stopped after 50% of the run"),
        ("swin", "Swin, patches of 2 pixels, width 48, depths 2-2, 3-6 heads"),
    ],
)
def test_what_a_network_is_is_told_from_its_record(model, words):
    said = networks.in_words(entry(model).record)
    assert words in said and (said == words or model not in ("ep-cnn", "twin-untrained", "cnn"))


def test_records_older_than_a_setting_are_told_like_those_with_its_default():
    record = entry("cnn").record
    for name in ("optimiser", "adversary", "source", "gradient_penalty", "loss"):
        del record["training"]["recipe"][name]
    assert networks.in_words(record) == networks.in_words(entry("cnn").record)


@pytest.mark.parametrize("scale", scales.SCALES)
def test_every_row_has_a_title_and_words_of_its_own(scale):
    size = scales.scale(scale)
    for rows in (size.rows, *size.others.values()):
        titles = {model: pictures.name(model) for model in rows}
        assert len(set(titles.values())) == len(rows) and all(t.strip() for t in titles.values())
        unknown = [m for m, title in titles.items() if title == m]
        assert not unknown, f"no rule of eplib.pictures fits {unknown}"


@pytest.mark.parametrize(
    "model, title",
    [
        ("cnn-plain-wd-1e-4", "CNN without BatchNorm, weight decay 1e-4"),
        ("cnn-at-linf-8", "CNN, adversarial training ℓ∞ 8/255"),
        ("ep-cnn-16", "EP-CNN 16"),
        ("ep-cnn-16-60", "EP-CNN 16, 60 + 2 × 20 synchronous steps"),
        ("ep-cnn-16-at-l2-0.5", "EP-CNN 16, adversarial training ℓ2 0.5"),
        ("ep-cnn-60", "EP-CNN, 60 + 2 × 20 synchronous steps"),
        ("vit-lite-halfway", "ViT-Lite, half-trained"),
        ("vit-4-augmented", "ViT, 4-pixel patches, strong augmentation"),
        ("something-new", "something-new"),
    ],
)
def test_titles_follow_from_names(model, title):
    assert pictures.name(model) == title


def lines(shown):
    """The cells of the table's lines, as elements; it must be well formed."""
    page = str(figures.overview(shown)).replace("download aria", 'download="" aria')
    root = ElementTree.fromstring(f"<div>{page}</div>")
    return [list(line) for line in root.iter("tr")]


def words(cells):
    return ["".join(cell.itertext()) for cell in cells]


def test_the_table_has_a_line_a_network_with_what_it_reached():
    head, *body = lines(few())
    assert len(body) == 5 and "after 250 synchronous steps" in words(head)
    first = words(body[0])
    assert first[0] == "EP-CNN" and first[2:5] == ["11", "4,000", "1,234"]
    assert first[5:9] == ["1.5\u00a0min", "87.0%", "85.0%", "yes"]
    assert body[0][0].get("rowspan") == "2" and len(body[1]) == len(body[0]) - 2
    assert words(body[2])[6:9] == ["10.0% (validation)", "–", "under-trained"]
    assert words(body[3])[6:9] == ["90.0%", "–", "yes"] and words(body[4])[6] == "under-trained"
    assert sum(int(line[0].get("rowspan")) for line in body if line[0].tag == "th") == 5


def test_core_minutes_are_told_where_they_were_recorded_and_images_where_they_were_seen():
    timed = entry()
    timed.record["training"]["history"][-1]["core_seconds"] = 600
    assert words(lines([timed])[1])[5] == "10.0\u00a0core-min"
    assert words(lines([entry("twin-untrained")])[1])[3] == "–"
    assert "a device" in figures.overview([timed])


def test_networks_of_one_model_that_differ_are_told_apart():
    other = entry(seed=13)
    other.record["network"]["steps"] = 30
    body = lines([entry(), other, entry(seed=17)])[1:]
    assert [line[0].get("rowspan") for line in body] == ["1", "1", "1"]
    assert "30 forward steps" in words(body[1])[1]


def test_what_comes_from_records_is_escaped():
    evil = entry(model="cnn")
    evil = replace(evil, model='<b>"x"&', path=evil.path.with_name('<i>"&-s1.safetensors'))
    evil.record["network"]["order"] = evil.record["device"] = "<script>"
    page = str(figures.overview([evil, entry()]))
    assert not re.search("<b>|<i>|<script>", page)
    line = lines([evil, entry()])[1]
    assert words(line)[0] == '<b>"x"&' and len(line[-1].findall("a")) == 2


def test_links_lead_to_the_files_beside_the_pages_and_nowhere_outside():
    committed = networks.entries("quick")
    body = lines(committed)[1:]
    assert len(body) == len(committed)
    for line, e in zip(body, committed, strict=True):
        hrefs = [a.get("href") for a in line[-1].findall("a")]
        assert hrefs == [f"../data/checkpoints/quick/{e.path.stem}{end}" for end in (".safetensors", ".json")]
        assert all((files.ROOT / "book" / href).resolve().exists() for href in hrefs)
    assert "://" not in str(figures.overview(committed))
    elsewhere = replace(entry(), path=Path("/tmp/elsewhere/quick/mine.safetensors"))
    cell = lines([elsewhere])[1][-1]
    assert not cell.findall("a") and "mine.safetensors" in words([cell])[0]


PICTURES = {
    "fig-networks": lambda: figures.accuracies(few(), BADGE),
    "fig-all-curves": lambda: figures.curves(few(), BADGE),
}


@pytest.fixture(scope="module", params=PICTURES)
def pair(request):
    """The same picture, drawn twice, and the label it should have."""
    return [PICTURES[request.param]() for _ in range(2)], request.param


@pytest.fixture
def told(monkeypatch):
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


def test_accuracies_are_told(told):
    picture = figures.accuracies(few(), BADGE)
    assert picture.alt == (
        "Clean accuracy of 5 networks of 3 kinds: EP-CNN 87.0%, 89.0%; twin by one-sided EP 10.0%"
        " (validation) (1 under-trained); CNN 90.0%, 50.0% (1 under-trained)."
    )
    assert "2 of 5 networks are under-trained" in picture.caption and "10 points" in picture.caption


def marks(ax):
    """[(accuracy, line, marker, hollow)] of the plot of accuracies."""
    found = [l for l in ax.lines if l.get_marker() in ("o", "D")]
    return [
        (l.get_xdata()[0], l.get_ydata()[0], l.get_marker(), l.get_markerfacecolor() == "white")
        for l in found
    ]


def test_every_network_is_a_mark_on_the_line_of_its_model(axes):
    (ax,) = figures.accuracies(few(), BADGE)
    assert marks(ax) == [
        (0.87, 0, "o", False),
        (0.89, 0, "o", False),
        (0.1, 1, "D", True),
        (0.9, 2, "o", False),
        (0.5, 2, "o", True),
    ]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["EP-CNN", "twin by one-sided EP", "CNN"]
    assert [t.get_text() for t in ax.texts] == ["", "under-trained, validation", "1 under-trained"]
    dotted = [l for l in ax.lines if l.get_linestyle() == ":"]
    assert [list(l.get_xdata()) for l in dotted] == [[pytest.approx(0.78)] * 2]


def test_curves_are_told_and_drawn_by_family(axes, monkeypatch):
    shown = [*few(), entry("twin-untrained"), entry("cnn-at-l2-0.5"), entry("vit-4", validation=0.7)]
    panels = figures.curves(shown, BADGE)
    assert [ax.get_title("left") for ax in panels] == [
        "Equilibrium Propagation",
        "the same network, trained otherwise",
        "feed-forward CNNs",
        "adversarially trained",
        "transformers and patch networks",
    ]
    assert [len(ax.lines) for ax in panels] == [2, 1, 2, 1, 1]
    history = few()[2].record["training"]["history"]
    (line,) = panels[1].lines
    assert list(line.get_xdata()) == [h["images_seen"] for h in history]
    assert list(line.get_ydata()) == [h["validation_accuracy"] for h in history]
    assert [t.get_text() for t in panels[0].texts] == ["EP-CNN (2 seeds)"]
    assert len({ax.get_xlim() for ax in panels}) == 1
    for ax in panels:
        inside = [ax.viewLim.contains(*point) for l in ax.lines for point in l.get_xydata()]
        assert inside and all(inside)
    monkeypatch.setattr(figures, "draw", drawings.words_only)
    picture = figures.curves(shown, BADGE)
    assert "fitted: 1." in picture.caption and "fitted" not in figures.curves(few(), BADGE).caption
    assert "curves of 7 networks" in picture.alt
    assert "the same network, trained otherwise: twin by one-sided EP 10.0%;" in picture.alt
    assert picture.alt.endswith("transformers and patch networks: ViT, 4-pixel patches 70.0%.")


@pytest.mark.parametrize(
    "model, name",
    [
        ("ep-cnn-16-live", "Equilibrium Propagation"),
        ("ep-cnn-at-l2-0.5", "adversarially trained"),
        ("twin-cut", "the same network, trained otherwise"),
        ("cnn", "feed-forward CNNs"),
        ("cnn-penalised", "feed-forward CNNs"),
        ("cnn-at-linf-1", "adversarially trained"),
        ("judge-l2", "adversarially trained"),
        ("student-of-cnn", "students"),
        ("cct", "transformers and patch networks"),
    ],
)
def test_every_model_has_its_family(model, name):
    assert figures.family(model) == name and name in figures.ORDER


CROWDED = {
    "few accuracies": lambda: figures.accuracies(few(), BADGE),
    "few curves": lambda: figures.curves(few(), BADGE),
    "many accuracies": lambda: figures.accuracies(many(), BADGE),
    "many curves": lambda: figures.curves(many(), BADGE),
    "one network": lambda: figures.accuracies([entry()], BADGE),
    "equal accuracies": lambda: figures.curves([entry(m) for m in scales.scale("quick").rows], BADGE),
}


@pytest.mark.parametrize("name", CROWDED)
def test_no_text_is_cut_off_and_none_lies_on_another(axes, name):
    found = CROWDED[name]()
    figure = found[0].figure
    figure.draw_without_rendering()
    hidden = {id(t) for ax in found for axis in (ax.xaxis, ax.yaxis) for t in out_of_view(axis)}
    texts = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip()]
    texts = [t for t in texts if id(t) not in hidden]
    assert len(texts) > 5
    boxes = [Text.get_window_extent(t) for t in texts]  # of an annotation without its line
    for text, box in zip(texts, boxes, strict=True):
        assert figure.bbox.padded(1).x0 <= box.x0 and box.x1 <= figure.bbox.padded(1).x1, text.get_text()
        assert figure.bbox.padded(1).y0 <= box.y0 and box.y1 <= figure.bbox.padded(1).y1, text.get_text()
    for i, box in enumerate(boxes):
        for text, other in zip(texts[:i], boxes[:i], strict=True):
            assert not box.padded(-1).overlaps(other.padded(-1)), (texts[i].get_text(), text.get_text())
    assert all(ax.bbox.width > 0.4 * figure.bbox.width for ax in found)


def out_of_view(axis):
    low, high = sorted(axis.get_view_interval())
    return [t.label1 for t in axis.get_major_ticks() if not low <= t.get_loc() <= high]


def test_remarks_do_not_lie_on_marks(axes):
    (ax,) = figures.accuracies(many(), BADGE)
    ax.figure.draw_without_rendering()
    places = [ax.transData.transform((x, y)) for x, y, *_ in marks(ax)]
    boxes = [Text.get_window_extent(t) for t in ax.texts if t.get_text()]
    assert len(boxes) > 10
    assert not [1 for box in boxes for place in places if box.contains(*place)]


@pytest.mark.parametrize(
    "places, gap, moved",
    [
        ([0.5], 0.1, [0.5]),
        ([0.2, 0.8], 0.1, [0.2, 0.8]),
        ([0.8, 0.2, 0.8], 0.1, [0.75, 0.2, 0.85]),
        ([0.5, 0.5, 0.5, 0.9], 0.2, [0.3, 0.5, 0.7, 0.9]),
        ([1.0, 1.0, 1.0], 0.25, [0.5, 0.75, 1.0]),
        ([0.0, 0.1], 0.5, [0.0, 0.5]),
        ([0.0, 0.0, 0.0], 0.6, [0.0, 0.6, 1.2]),
    ],
)
def test_labels_are_moved_apart_in_their_order(places, gap, moved):
    assert figures.spread(places, gap) == pytest.approx(moved)

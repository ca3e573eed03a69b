import csv
import html
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pandas as pd
import pytest

from eplib import files, model_sentences, scales, sentences
from eplib.chapters import Badge, Shown
from eplib.phases import ORDERS
from eplib.pictures import NAMES
from eplib.results import Result
from eplib.sentences import Html, Text
from eplib.verdicts import Verdict

LAYERS = ("1", "2", "read-out")
WORDS = {"supported": "yes", "contradicted": "no", "undecided": "undecided"}
BADGE = Badge("sample", "quick", 100, (0, 1))


def result(rows, n=100, sizes=None, **record):
    settings = {"seed": 0, "dataset": "sample", "sizes": sizes or {}}
    return Result(settings, pd.DataFrame(rows), np.arange(n), np.ones(n, bool), np.ones((1, n), bool), record)


def verdict(word):
    return Verdict(word, "undecided", "", "")


def published_rows(name, **columns):
    """Rows of a published table, read without the library."""
    with open(files.ROOT / "data" / "published" / f"{name}.csv", encoding="utf-8") as file:
        return [r for r in csv.DictReader(file) if all(r[c] == v for c, v in columns.items())]


def cells(table):
    """The lines of an HTML table as lists of cells, its head first."""
    lines = re.findall(r"<tr>(.*?)</tr>", str(table))
    return [[html.unescape(c) for c in re.findall(r"<t[hd]>(.*?)</t[hd]>", line)] for line in lines]


def test_the_published_accuracy_is_told_at_four_steps():
    rows = published_rows("results", evaluation="free-step", model="ep-cnn", dataset="cifar10")
    theirs = {int(r["free_step"]): float(r["mean"]) for r in rows}
    text = model_sentences.published_settling()
    assert isinstance(text, Text)
    for step, value in ((3, "10.0%"), (10, "73.7%"), (60, "88.1%"), (250, "88.1%")):
        assert f"{value} at step {step}" in text and f"{theirs[step]:.1%}" == value
    assert "CIFAR-10" in text and "5 seeds" in text and "2401.11543" in text


def starts(attractors, k=8):
    return result(
        [{"metric": "accuracy", "value": 0.8}, {"metric": "attractors", "value": attractors}],
        sizes={"starts": k},
    )


@pytest.mark.parametrize("settled", WORDS)
@pytest.mark.parametrize("meaning", WORDS)
def test_the_answer_on_the_equilibrium_follows_the_verdicts(settled, meaning):
    text = model_sentences.equilibrium_answer(verdict(settled), verdict(meaning), [starts(4.0)], BADGE)
    assert f"free step 60, as published? For these networks: {WORDS[settled]};" in text
    assert f"mean classes is: {WORDS[meaning]} (Fashion-MNIST sample, quick scale)." in text
    assert isinstance(text, Text) and text.startswith("**In one sentence.**")


def test_the_answer_on_the_equilibrium_counts_attractors_over_networks():
    words = [verdict("supported"), verdict("undecided")]
    text = model_sentences.equilibrium_answer(*words, [starts(4.0), starts(5.5), starts(2.0)], BADGE)
    assert "9 starts" in text and f" {(4.0 + 5.5 + 2.0) / 3:.1f} " in text
    one = model_sentences.equilibrium_answer(*words, [starts(1.0, k=2)], BADGE)
    assert "3 starts" in one and " 1.0 " in one and "not one equilibrium" not in one


@pytest.mark.parametrize("gradient", WORDS)
@pytest.mark.parametrize("caught", WORDS)
def test_the_answer_on_learning_follows_the_verdicts(gradient, caught):
    text = model_sentences.learning_answer(verdict(gradient), verdict(caught), BADGE)
    assert f"networks: {WORDS[gradient]};" in text
    assert f"fails? {WORDS[caught].capitalize()} (Fashion-MNIST sample, quick scale)." in text


def settled(at_rest, period_two, steps=250):
    """Shares at the end, one a study order; accuracies at other steps lie around them."""
    rows = []
    for order, rest, two in zip(ORDERS, at_rest, period_two, strict=True):
        for t in (1, steps):
            rows.append({"metric": "accuracy", "order": order, "predict_steps": t, "value": 0.123})
        for metric, value in (("period_two", two), ("at_rest", rest)):
            rows.append({"metric": metric, "order": order, "predict_steps": steps, "value": value})
    return result(rows)


def test_cycles_are_means_over_networks_in_every_order():
    first, second = (0.5, 0.9, 1.0, 0.8), (0.7, 1.0, 1.0, 0.9)
    twos = (0.4, 0.0, 0.0, 0.1), (0.25, 0.0, 0.0, 0.0)
    text = model_sentences.cycles([settled(first, twos[0]), settled(second, twos[1])])
    for order, a, b, c, d in zip(ORDERS, first, second, *twos, strict=True):
        assert f"{order} {50 * (a + b):.1f} % at rest, {50 * (c + d):.1f} % in a cycle" in text
    assert "synchronous 60.0 % at rest, 32.5 %" in text and "After 250 steps" in text and "0.001" in text
    alone = model_sentences.cycles([settled(first, twos[0], steps=60)])
    assert "synchronous 50.0 % at rest, 40.0 %" in alone and "After 60 steps" in alone
    assert all(text.count(f"{order} ") == 1 for order in ORDERS)


def number(estimator, beta, steps, arg_max, layer, metric):
    """A different number for every row of the study, with four digits."""
    key = f"{estimator} {beta} {steps} {arg_max} {layer} {metric}"
    return int(files.sha256(key.encode())[:8], 16) % 10_000 / 10_000


def estimators(trained=(0.5, 8, "frozen"), layers=LAYERS, batches=5, n=100):
    cases = [("bptt", None, None, None)]
    cases += [("centred", b, k, a) for b in (0.5, 0.1) for k in (4, 8, 30) for a in ("live", "frozen")]
    cases += [] if ("centred", *trained) in cases else [("centred", *trained)]
    cases += [("one-sided", b, 30, "frozen") for b in (0.5, 0.1)]
    rows = []
    for case in cases:
        where = dict(zip(("estimator", "beta", "nudged_steps", "arg_max"), case, strict=True))
        for layer in layers:
            for metric in ("cosine", "norm_ratio"):
                value = number(*case, layer, metric)
                rows.append(where | dict(layer=layer, metric=metric, value=value, n=batches))
    rows.append({"metric": "accuracy", "value": 0.5, "n": n})
    return result(rows, n, sizes={"trained_with": list(trained), "batch": 20})


@pytest.mark.parametrize(
    "trained", [(0.5, 8, "frozen"), (0.5, 30, "live"), (0.1, 30, "frozen"), (0.7, 60, "frozen")]
)
def test_the_table_of_estimators_has_the_numbers_of_every_layer(trained):
    header, *lines = cells(model_sentences.estimator_table(estimators(trained)))
    assert header == ["weight gradient by", "conv 1", "conv 2", "read-out"]
    shown = {
        "back-propagation through time": ("bptt", None, None, None),
        f"centred EP as trained (β {trained[0]}, {trained[1]} steps, {trained[2]})": ("centred", *trained),
        "centred EP, β 0.1, 30 steps, frozen": ("centred", 0.1, 30, "frozen"),
        "centred EP, β 0.1, 30 steps, live": ("centred", 0.1, 30, "live"),
        "one-sided EP, β 0.1, 30 steps, frozen": ("one-sided", 0.1, 30, "frozen"),
    }
    assert [line[0] for line in lines] == list(shown)
    for line, case in zip(lines, shown.values(), strict=True):
        for layer, cell in zip(LAYERS, line[1:], strict=True):
            cosine, ratio = (number(*case, layer, metric) for metric in ("cosine", "norm_ratio"))
            assert cell == f"{cosine:.4f} (× {ratio:.2f})"


def test_the_table_of_estimators_says_what_it_is_a_median_of():
    assert "over 5 batches of 20 images, float64" in model_sentences.estimator_table(estimators())
    small = model_sentences.estimator_table(estimators(batches=1, n=10, layers=("1", "read-out")))
    assert "over 1 batch of 10 images" in small and len(cells(small)[0]) == 3


def table_of_settings(scale, dataset):
    header, *lines = cells(model_sentences.settings_table(Shown(scale, dataset, (0,))))
    return header, {name: (theirs, ours, source) for name, theirs, ours, source in lines}


@pytest.mark.parametrize(
    "dataset, scale, theirs, beta",
    [
        ("cifar10", "cpu", "cifar10", "0.5"),
        ("cifar10", "paper", "cifar10", "0.5"),
        ("cifar100", "paper", "cifar100", "1.0"),
        ("sample", "quick", "cifar10", "0.5"),
        ("fashion-mnist", "smoke", "cifar10", "0.5"),
    ],
)
def test_published_settings_stand_beside_ours_with_their_source(dataset, scale, theirs, beta):
    header, rows = table_of_settings(scale, dataset)
    assert header == [
        "setting",
        f"published ({theirs})",
        f"here ({scale})",
        "source of the published value",
    ]
    known = {r["setting"]: r for r in published_rows("settings", dataset=theirs, model="ep-cnn")}
    assert known["beta"]["value"] == beta
    row = scales.row(scale, "ep-cnn", dataset)
    assert rows["nudging strength β"][:2] == (beta, f"±{row.recipe.beta}")
    for name, setting, ours in (
        ("channels", "channels", row.channels),
        ("learning rates", "learning_rates", row.recipe.learning_rates),
    ):
        assert rows[name][:2] == (known[setting]["value"].replace(" ", ", "), ", ".join(map(str, ours)))
    for name, setting, ours in (
        ("batch", "batch", row.recipe.batch),
        ("momentum", "momentum", row.recipe.momentum),
        ("order of updates", "order", row.order),
    ):
        assert rows[name][:2] == (known[setting]["value"], str(ours))
    assert rows["length of training, in epochs or images seen"][1] == f"{row.recipe.images_seen:,} images"
    assert rows["free steps in training"][1].endswith(f"{row.recipe.phases[-1][1]} to 100%")
    assert rows["nudged steps"][1].endswith(f"{row.recipe.phases[-1][2]} to 100%")
    assert rows["arg-max in the nudged phases"][:2] == ("live", row.recipe.arg_max)
    assert len(rows) == len(model_sentences.SETTINGS)
    sources = {r["source"] for r in known.values()}
    for name, (value, ours, source) in rows.items():
        assert value and ours and "None" not in ours and "(" not in value, name
        assert source.replace("\\", "") in sources, name


def test_the_same_normalisation_is_the_same_number():
    spreads = {
        (scale, dataset): table_of_settings(scale, dataset)[1]["standard deviations in the normalisation"][:2]
        for scale, dataset in (("paper", "cifar10"), ("paper", "cifar100"), ("cpu", "cifar10"))
    }
    assert spreads == {
        ("paper", "cifar10"): ("3", "3"),
        ("paper", "cifar100"): ("1", "1"),
        ("cpu", "cifar10"): ("3", "1.5"),
    }


def test_a_table_escapes_its_cells_and_keeps_its_note():
    text = str(sentences.table(["a", "b"], [["<x>", 1]], "1 < 2"))
    assert "&lt;x&gt;" in text and "<p>1 &lt; 2</p>" in text and cells(text) == [["a", "b"], ["<x>", "1"]]


def provoked(said, turned=(("nothing", 1.0), ("gains", 0.25), ("<β>", 50.0))):
    rows = []
    for name, to in turned:
        rows += [
            {"turned": name, "to": to, "metric": m, "value": 0.5} for m in ("accuracy", "residual", "dead")
        ]
    return result(rows, said=said)


def test_what_monitors_said_folds_out_and_is_escaped():
    said = model_sentences.said(provoked([[], ["a < b & c", "second"], ["<script>alert('x')</script>"]]))
    assert isinstance(said, Html) and "<script" not in said
    root = ElementTree.fromstring(said)
    assert root.tag == "details" and root[0].tag == "summary" and root[0].text
    items = ["".join(item.itertext()) for item in root.iter("li")]
    assert items == [
        "as it should be: nothing",
        "gains 0.25: a < b & c; second",
        "<β> 50: <script>alert('x')</script>",
    ]


def test_networks_shown_are_counted_by_their_kind():
    text = model_sentences.twins({"ep-cnn": [None] * 3, "twin-bptt": [None], "ep-cnn-live": [None] * 2})
    assert f"{NAMES['ep-cnn']} (3), {NAMES['twin-bptt']} (1), {NAMES['ep-cnn-live']} (2)." in text
    assert "twin-" not in text and "  " not in text

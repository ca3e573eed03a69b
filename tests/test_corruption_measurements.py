import json

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import random_net

from eplib import checkpoints, corruption_official, corruptions, data, measurements, results, scales
from eplib import corruption_measurements as measured
from eplib.checks import InputError, Interrupted, check_images
from eplib.corruption_measurements import CORRUPTED, NONE, classes, phases_of
from eplib.corruption_scores import interval
from eplib.corruption_sequences import SEQUENCES, sequence
from eplib.dynamics import settle
from eplib.statistics import wilson

FEW = {"cifar-c": ("gaussian_noise", "contrast", "fog"), "beyond": ("lines", "low_light")}
GRID = ("corruptions", "corruptions-settled", "corruptions-beyond")
SIZES = {
    "types": "cifar-c",
    "severities": (1, 5),
    "phases": ["own", [4, "synchronous"], [9, "synchronous"]],
    "source": "regenerated",
    "batch": 2,
}
CELLS = [(NONE, 0), *((name, s) for name in FEW["cifar-c"] for s in (1, 5))]
CELLS5 = [(name, s) for name in FEW["cifar-c"] for s in (1, 2, 3, 4, 5)]
IDS = torch.tensor([3, 7, 11, 12, 40])


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """A few types of each set, so that a test takes seconds."""
    monkeypatch.setattr(measured, "TYPES", FEW)


@pytest.fixture(scope="module")
def images():
    test = data.load("sample", "test")
    return data.as_float(test.images[IDS]), test.labels[IDS]


class Templates(torch.nn.Module):
    """Says which of ten random patterns an image fits best, compared with the mean of some images."""

    classes = 10

    def __init__(self, images):
        super().__init__()
        weight = torch.randn(3 * 32 * 32, 10, generator=torch.Generator().manual_seed(0))
        self.weight, self.mean = torch.nn.Parameter(weight), images.mean(0).flatten()

    def check(self, images):
        check_images(images, (3, 32, 32))

    def forward(self, images):
        return (images.flatten(1) - self.mean) @ self.weight


@pytest.fixture(scope="module")
def nets(images):
    """{kind: a network that gives these images, with and without corruption, several classes}."""
    energy_based, x = random_net((5, 6, 7, 8), (1, 1, 1, 0), 32), images[0].double()
    with torch.no_grad():
        energy_based.readout.bias -= settle(energy_based, x, 6, "forward").logits.mean(0)
    energy_based.steps, energy_based.order = 6, "forward"
    return {"ep-cnn": energy_based, "cnn": Templates(images[0])}


@pytest.mark.parametrize("kind", ["ep-cnn", "cnn"])
def test_every_cell_is_the_network_on_that_corruption_of_each_image(nets, images, kind):
    net, x = nets[kind], images[0]
    y = classes(net, x, phases_of(net, ["own"]))[0]
    y[0] = (y[0] + 1) % 10
    found = measured.corruptions(net, x, y, IDS, SIZES, progress=False)
    phases = [(6, "forward"), (4, "synchronous"), (9, "synchronous")] if kind == "ep-cnn" else [(None, None)]
    where = [(r["corruption"], r["severity"], r["predict_steps"], r["order"]) for r in found.rows]
    assert where == [(*cell, *phase) for phase in phases for cell in CELLS]
    for row, right in zip(found.rows, found.correct, strict=True):
        for i, image in enumerate(IDS.tolist()):  # one by one, each with its own id
            z = x[i : i + 1]
            if row["severity"]:
                z = corruptions.corrupt(z, row["corruption"], row["severity"], [image])
            phase = {"steps": row["predict_steps"], "order": row["order"]}
            logits = settle(net, z, **phase).logits if kind == "ep-cnn" else net(z)
            assert right[i] == (logits.argmax(1) == y[i]).item(), (row, i)
        low, high = wilson(right.sum(), 5)
        assert (row["value"], row["low"], row["high"], row["n"]) == (right.mean(), low, high, 5)
    assert np.array_equal(found.clean, found.correct[0]) and found.clean.sum() == 4
    assert len({tuple(right) for right in found.correct[1:]}) > 2  # cells differ


def test_own_is_the_free_phase_that_the_clean_accuracy_is_measured_after(smoke):
    clean = measurements.measure(smoke["ep-cnn"], "clean", progress=False)
    found = measurements.measure(smoke["ep-cnn"], "corruptions", images=20, progress=False)
    assert np.array_equal(found.correct_clean, clean.correct_clean)


def test_a_phase_that_goes_on_from_a_shorter_one_gives_the_same_logits(nets, images):
    net, x = nets["ep-cnn"], images[0]
    phases = [(3, "forward"), (3, "synchronous"), (8, "synchronous"), (5, "synchronous"), (7, "forward")]
    expected = torch.stack([settle(net, x, steps, order).logits.argmax(1) for steps, order in phases])
    assert torch.equal(classes(net, x, phases), expected)
    assert len({tuple(row) for row in expected.tolist()}) > 1  # phases differ here


def test_phases_count_once_and_a_feed_forward_network_has_none(smoke):
    net = smoke["ep-cnn"].net
    wanted = ["own", [6, "forward"], [29, "synchronous"], [29, "synchronous"]]
    assert phases_of(net, wanted) == [(6, "forward"), (29, "synchronous")]
    assert phases_of(smoke["cnn"].net, wanted) == [(None, None)]


def test_what_an_image_suffers_depends_on_its_id_and_not_on_its_batch(nets, images, monkeypatch):
    net, (x, y) = nets["cnn"], images
    y = classes(net, x, [(None, None)])[0]
    one, other = (
        measured.corruptions(net, x, y, IDS, SIZES | {"batch": batch}, progress=False) for batch in (5, 1)
    )
    assert np.array_equal(one.correct, other.correct)
    given = []

    def noted(images, name, severity, ids):
        given.append((name, severity, ids.tolist()))
        return corruptions.corrupt(images, name, severity, ids)

    monkeypatch.setattr(measured, "corrupt", noted)
    other = measured.corruptions(net, x, y, IDS + 1, SIZES | {"batch": 5}, progress=False)
    assert given == [(*cell, (IDS + 1).tolist()) for cell in CELLS[1:]]
    assert not np.array_equal(one.correct, other.correct)


@pytest.mark.parametrize("measurement", GRID)
@pytest.mark.parametrize("kind", ["ep-cnn", "cnn"])
def test_a_result_is_stored_and_found_with_its_corruptions(smoke, out, kind, measurement):
    if (kind, measurement) == ("cnn", "corruptions-settled"):
        with pytest.raises(InputError, match="measure an energy-based network"):
            measurements.measure(smoke[kind], measurement, progress=False)
        return
    result, path = measurements.measure_and_keep(smoke[kind], measurement, images=3, progress=False)
    again = results.load(path)
    assert again.settings == json.loads(json.dumps(result.settings))
    assert again.settings["sizes"]["source"] == "regenerated"
    assert np.array_equal(again.correct, result.correct) and again.correct.shape[1] == 3
    types = FEW[again.settings["sizes"]["types"]]
    severities = again.settings["sizes"]["severities"]
    rows = again.table
    count = 1 + len(types) * len(severities)
    phases = 3 if measurement == "corruptions-settled" else 1
    assert len(rows) == phases * count and set(rows.metric) == {"accuracy"}
    assert list(rows.corruption[:count]) == [NONE, *(t for t in types for _ in severities)]
    assert rows.predict_steps.isna().all() == (kind == "cnn")
    if phases == 3:
        assert list(rows.predict_steps[::count]) == [6, 29, 250]
        assert list(rows.order[::count]) == ["forward", "synchronous", "synchronous"]
    assert np.allclose(rows.value, again.correct.mean(1)) and (rows.n == 3).all()


def test_what_was_stopped_keeps_its_parts_and_goes_on(smoke, out, monkeypatch):
    sizes = scales.scale("smoke").attacks["corruptions"]
    monkeypatch.setitem(scales.scale("smoke").attacks, "corruptions", sizes | {"batch": 2})
    whole = measurements.measure(smoke["cnn"], "corruptions", progress=False)
    calls, corrupt = [], measured.corrupt

    def stopping(images, name, severity, ids):
        calls.append(list(ids))
        if len(calls) == 20:  # in the second batch
            raise KeyboardInterrupt
        return corrupt(images, name, severity, ids)

    monkeypatch.setattr(measured, "corrupt", stopping)
    with pytest.raises(Interrupted, match="1 finished parts kept"):
        measurements.measure_and_keep(smoke["cnn"], "corruptions", progress=False)
    calls.clear()
    result, _ = measurements.measure_and_keep(smoke["cnn"], "corruptions", progress=False)
    assert np.array_equal(result.correct, whole.correct)
    assert all(ids == [2, 3] for ids in calls)  # the first two images were done


@pytest.mark.parametrize("kind", ["ep-cnn", "cnn"])
def test_flips_are_those_of_the_network_s_predictions_frame_by_frame(nets, images, kind, monkeypatch):
    names = ("gaussian_noise", "translate")
    monkeypatch.setattr(measured, "SEQUENCES", {name: SEQUENCES[name] for name in names})
    net, x = nets[kind], images[0]
    phases = phases_of(net, ["own"])
    y = classes(net, x, phases)[0]
    y[0] = (y[0] + 1) % 10
    found = measured.flips(net, x, y, IDS, SIZES, progress=False)
    for name, rates in zip(names, found.arrays["flips"], strict=True):
        frames = sequence(x, name, IDS)
        for i in range(len(x)):
            said = classes(net, frames[i], phases)[0]
            before = said[:1] if "noise" in name else said[:-1]
            assert rates[i] == pytest.approx((said[1:] != before).double().mean().item())
    assert found.arrays["flips"].max() > 0
    clean, *rows = found.rows
    assert found.clean.tolist() == [False, True, True, True, True]
    assert (clean["corruption"], clean["value"]) == (NONE, 0.8)
    assert [r["corruption"] for r in rows] == list(names) and {r["metric"] for r in rows} == {"flip"}
    for row, rates in zip(rows, found.arrays["flips"], strict=True):
        assert (row["value"], row["n"]) == (pytest.approx(rates.mean()), 5)
        assert (row["low"], row["high"]) == pytest.approx(interval(rates)[1:])
    again = measured.flips(net, x, y, IDS, SIZES | {"batch": 5}, progress=False)
    assert np.array_equal(again.arrays["flips"], found.arrays["flips"])


def test_flips_are_stored_and_found(smoke, out):
    result, path = measurements.measure_and_keep(smoke["cnn"], "flips", images=2, progress=False)
    again = results.load(path)
    assert np.array_equal(again.arrays["flips"], result.arrays["flips"]) and len(again.table) == 11
    assert again.arrays["flips"].shape == (10, 2) and again.correct.shape == (1, 2)


def official_folder(root, monkeypatch, order):
    """A tiny CIFAR-10 in `root` with its official corrupted images, all of one value a severity."""
    random = np.random.default_rng(0)
    arrays = {
        f"{split}_{what}": values
        for split in ("train", "test")
        for what, values in {
            "images": random.integers(0, 256, (6, 32, 32, 3), dtype=np.uint8),
            "labels": np.arange(6),
        }.items()
    }
    np.savez(root / "cifar10.npz", **arrays, **({"test_official": np.arange(6)} if order else {}))
    monkeypatch.setenv("EPLIB_DATA", str(root))
    monkeypatch.setattr(corruption_official, "IMAGES", 6)
    monkeypatch.setattr(corruption_official, "SHAPE", (30, 32, 32, 3))
    folder = root / "CIFAR-10-C"
    folder.mkdir()
    values = (10 * (np.arange(30) + 1)).astype(np.uint8)
    for place, name in enumerate(corruptions.CIFAR_C):
        np.save(
            folder / f"{name}.npy", np.broadcast_to((values - place)[:, None, None, None], (30, 32, 32, 3))
        )
    np.save(folder / "labels.npy", np.tile(np.arange(6), 5).astype(np.uint8))
    return values


def test_official_images_are_used_where_they_are_at_hand(smoke, tmp_path, monkeypatch):
    values = official_folder(tmp_path, monkeypatch, order=True)
    record = smoke["cnn"].record | {"dataset": "cifar10"}
    checkpoint = checkpoints.Checkpoint("cnn-cifar10-s0", smoke["cnn"].net, record)
    seen = []
    monkeypatch.setattr(measured, "classes", lambda net, x, phases: seen.append(x) or torch.zeros(1, len(x)))
    result = measurements.measure(checkpoint, "corruptions", images=4, progress=False)
    assert result.settings["sizes"]["source"] == "official"
    assert result.settings["sizes"]["dataset"] == "cifar10"
    test = data.load("cifar10", "test")
    _, *corrupted = seen
    for k, (name, severity) in enumerate(CELLS5):
        rows = values[6 * (severity - 1) + test.official[:4].numpy()] - corruptions.CIFAR_C.index(name)
        assert np.allclose(255 * corrupted[k][:, 0, 0, 0].numpy(), rows, atol=1e-4), name
    beyond = measurements.settings_of(checkpoint, "corruptions-beyond")
    assert beyond["sizes"]["source"] == "regenerated"  # there are no official arrays of these
    assert measurements.settings_of(smoke["cnn"], "corruptions")["sizes"]["source"] == "regenerated"


def test_official_images_whose_order_is_not_known_are_refused(smoke, tmp_path, monkeypatch):
    official_folder(tmp_path, monkeypatch, order=False)
    record = smoke["cnn"].record | {"dataset": "cifar10"}
    checkpoint = checkpoints.Checkpoint("cnn-cifar10-s0", smoke["cnn"].net, record)
    with pytest.raises(InputError, match="official order of cifar10 is not known"):
        measurements.measure(checkpoint, "corruptions", images=4, progress=False)


def test_what_is_stored_of_regenerated_images_is_found_beside_official_ones(smoke, out, monkeypatch):
    first = measurements.stored_or_measured(smoke["cnn"], "corruptions", progress=False)
    monkeypatch.setattr(corruption_official, "available", lambda dataset: True)
    assert measurements.settings_of(smoke["cnn"], "corruptions") != first.settings
    again = measurements.stored(smoke["cnn"], "corruptions")
    assert again.settings["sizes"]["source"] == "regenerated"
    assert np.array_equal(again.correct, first.correct)
    assert measurements.stored(smoke["cnn"], "clean") is None


@pytest.mark.parametrize("change", [lambda x: x - 0.5, lambda x: 3 * x, lambda x: x * float("nan")])
def test_images_that_are_normalised_already_are_refused_in_one_sentence(smoke, images, change):
    x, y = images
    with pytest.raises(InputError, match=r"images with values from .* pixels in \[0, 1\]"):
        measured.corruptions(smoke["cnn"].net, change(x), y, IDS, SIZES, progress=False)


@pytest.mark.parametrize(
    "change, message",
    [
        (
            dict(types="imagenet-c"),
            "unknown types of corruptions 'imagenet-c': choose one of cifar-c",
        ),
        (dict(severities=(1, 6)), "unknown severity 6: choose one of 1, 2, 3, 4, 5"),
        (dict(batch=0), "give 1 or more"),
        (dict(phases=[[5, "sideways"]]), "sideways"),
    ],
)
def test_bad_sizes_are_refused(smoke, images, change, message):
    with pytest.raises(InputError, match=message):
        measured.corruptions(smoke["ep-cnn"].net, *images, IDS, SIZES | change, progress=False)


def test_ids_that_do_not_fit_the_images_are_refused(smoke, images):
    with pytest.raises(InputError, match="image ids"):
        measured.corruptions(smoke["cnn"].net, *images, IDS[:3], SIZES, progress=False)


def test_every_scale_has_sizes_for_every_measurement_and_the_published_length_of_the_free_phase():
    for scale in scales.SCALES.values():
        sizes = {name: scale.attacks[name] for name in CORRUPTED}
        assert all(1 <= s["images"] <= 10_000 and s["batch"] >= 1 for s in sizes.values())
        assert [29, "synchronous"] in map(list, sizes["corruptions-settled"]["phases"])
        assert [250, "synchronous"] in map(list, sizes["corruptions-settled"]["phases"])
        assert sizes["corruptions-beyond"]["phases"] == sizes["corruptions"]["phases"]
        assert sizes["corruptions-settled"]["images"] <= sizes["corruptions"]["images"]
    assert scales.scale("quick").attacks["corruptions"]["phases"] == ["own"]
    for scale in ("cpu", "paper"):
        assert scales.scale(scale).attacks["corruptions"]["phases"] == [(29, "synchronous")]


def test_the_types_are_the_published_sets_and_nothing_else(monkeypatch):
    monkeypatch.undo()
    c, beyond = measured.TYPES["cifar-c"], measured.TYPES["beyond"]
    assert len(c) == 19 and len(beyond) == 20 and not set(c) & set(beyond)
    assert {*c, *beyond} == set(corruptions.TABLE)
    assert set(pd.read_csv(results.files.ROOT / "data/published/results.csv").corruption.dropna()) == set(c)

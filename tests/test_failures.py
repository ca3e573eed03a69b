import dataclasses
import json

import numpy as np
import pytest
import torch

from eplib import data, failures, files, monitors, results, scales, training
from eplib.checks import InputError
from eplib.dynamics import settle
from eplib.statistics import wilson

EVERYWHERE = [
    ("smoke", "sample"),
    ("quick", "sample"),
    ("cpu", "cifar10"),
    ("paper", "cifar10"),
    ("paper", "cifar100"),
]


def recipe_of(scale, dataset):
    return dataclasses.replace(
        scales.row(scale, "ep-cnn", dataset).recipe, **scales.scale(scale).studies["failures"]["recipe"]
    )


@pytest.fixture(scope="module")
def few():
    """The first 400 training images, of which smoke holds 100 out."""
    train = data.load("sample", "train")
    return dataclasses.replace(
        train, images=train.images[:400], labels=train.labels[:400], ids=train.ids[:400]
    )


# what is turned


@pytest.mark.parametrize("scale, dataset", EVERYWHERE)
def test_one_setting_is_turned_and_the_others_stay(scale, dataset):
    recipe = recipe_of(scale, dataset)
    before = dataclasses.asdict(recipe)
    fields = {
        "learning rates": {"learning_rates"},
        "gains": {"gains"},
        "free steps": {"phases"},
        "β": {"beta"},
        # the sweeps take the place of the nudged steps, and exact gradients need 32 bits
        "adjoint sweeps": {"estimator", "phases", "precision"},
    }
    assert fields.keys() == failures.TURNED.keys()
    for turned, values in failures.TURNED.items():
        for to in values:
            after = dataclasses.asdict(failures.changed(recipe, turned, to))
            same = set()
            if turned == "adjoint sweeps":
                same |= {"phases"} if to == recipe.phases[0][2] else set()
                same |= {"precision"} if recipe.precision == "float32" else set()
            assert {key for key in before if after[key] != before[key]} == fields[turned] - same, (turned, to)
    assert dataclasses.asdict(recipe) == before
    assert failures.changed(recipe, "nothing", 1.0) == recipe


def test_a_turned_setting_is_what_it_is_turned_to():
    recipe = recipe_of("quick", "sample")
    ((until, free, nudged),) = recipe.phases
    turned = {name: failures.changed(recipe, name, 3) for name in failures.TURNED}
    rates = [
        b / a for a, b in zip(recipe.learning_rates, turned["learning rates"].learning_rates, strict=True)
    ]
    assert rates == pytest.approx([3] * 5)
    assert [b / a for a, b in zip(recipe.gains, turned["gains"].gains, strict=True)] == pytest.approx([3] * 4)
    assert turned["free steps"].phases == ((until, 3, nudged),) and until == 1.0
    assert turned["β"].beta == 3 and recipe.beta != 3
    assert turned["adjoint sweeps"].estimator == "adjoint"
    assert turned["adjoint sweeps"].phases == ((until, free, 3),)


def test_a_recipe_without_gains_has_gains_of_one_that_can_be_turned():
    recipe = recipe_of("paper", "cifar100")
    assert recipe.gains is None  # as published: the framework's own initialisation
    assert failures.changed(recipe, "gains", 4).gains == (4, 4, 4, 4)


def test_what_cannot_be_turned_is_refused():
    with pytest.raises(InputError, match="weather.*nothing.*gains"):
        failures.changed(recipe_of("smoke", "sample"), "weather", 2)


@pytest.mark.parametrize("scale, dataset", EVERYWHERE)
def test_settings_are_json_and_their_name_stands_for_all_of_them(scale, dataset, monkeypatch):
    settings = failures.settings_of(scale, dataset, 3)
    name = results.stem(settings)
    again = json.loads(json.dumps(settings))
    assert results.stem(again) == results.stem(dict(reversed(again.items()))) == name
    assert results.stem(failures.settings_of(scale, dataset, 3)) == name
    assert again["turned"][0] == ["nothing", 1.0]
    assert len(again["turned"]) == 1 + sum(map(len, failures.TURNED.values()))
    size, row = scales.scale(scale), scales.row(scale, "ep-cnn", dataset)
    assert again["images"] == size.studies["failures"]["images"]
    assert again["recipe"]["images_seen"] == size.studies["failures"]["recipe"]["images_seen"]
    assert results.stem(failures.settings_of(scale, dataset, 4)) != name
    monkeypatch.setattr(scales, "row", lambda *a: dataclasses.replace(row, steps=row.steps + 1))
    assert results.stem(failures.settings_of(scale, dataset, 3)) != name  # it is measured after these steps
    monkeypatch.undo()
    monkeypatch.setitem(failures.TURNED, "gains", (1 / 4, 1 / 2, 2, 5))
    assert results.stem(failures.settings_of(scale, dataset, 3)) != name


# one run


def provoke(few, turned, to, seed=0):
    return failures.provoke("smoke", "sample", seed, turned, to, few)


def weights(net):
    return torch.cat([p.detach().flatten() for p in net.parameters()])


def test_nothing_turned_is_a_short_run_of_the_scales_own_recipe(few):
    net, history, reason = provoke(few, "nothing", 1.0)
    assert reason is None and not net.training
    (epoch,) = history
    assert epoch["images_seen"] == 250 and epoch["phase"] == (6, 4)
    assert {"residual", "dead", "saturated", "update", "warnings", "validation_accuracy"} <= epoch.keys()
    # the watched numbers are those of the network that comes back, on held-out images
    held_out = data.as_float(few.images[300:])
    for name, numbers in monitors.states(net, held_out, 6).items():
        assert epoch[name] == pytest.approx(numbers), name
    right = settle(net, held_out, 6).logits.argmax(1) == few.labels[300:]
    assert epoch["validation_accuracy"] == pytest.approx(right.double().mean().item())
    start = training.initial(scales.row("smoke", "ep-cnn"), few.images[:300], 10, 0)
    assert (
        0.001 < (weights(net) - weights(start)).norm() / weights(start).norm() < 0.5
    )  # it did train, a little


def test_a_run_never_trains_on_the_images_that_are_held_out(few, monkeypatch):
    given = []
    monkeypatch.setattr(training, "run", lambda *arguments: given.append(arguments))
    provoke(few, "β", 5, seed=7)
    ((_, recipe, images, labels, validation, seed, history, *_),) = given
    assert torch.equal(images, few.images[:300]) and torch.equal(labels, few.labels[:300])
    assert torch.equal(validation[0], few.images[300:]) and torch.equal(validation[1], few.labels[300:])
    assert recipe.beta == 5 and seed == 7 and history == []


def test_the_same_run_gives_the_same_network_and_the_seed_another(few):
    runs = [
        provoke(few, turned, 1, seed)[0] for turned, seed in (("nothing", 0), ("gains", 0), ("nothing", 1))
    ]
    first, same, other = map(weights, runs)
    assert torch.equal(first, same)  # gains turned by 1 are not turned
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    "turned, to, words",
    [
        ("gains", 1e4, ["saturated", "does not converge", "guesses"]),
        ("gains", 1e-4, ["hardly learns"]),
        ("learning rates", 1e6, ["moves by", "saturated"]),
        ("learning rates", 1e-6, ["hardly learns"]),
    ],
)
def test_a_setting_turned_too_far_is_warned_of(few, turned, to, words):
    *_, history, reason = provoke(few, turned, to)
    assert reason is None
    for word in words:
        assert any(word in sentence for sentence in history[-1]["warnings"]), word


def test_a_run_that_explodes_is_stopped_with_a_reason_and_comes_back(few):
    net, history, reason = provoke(few, "learning rates", 1e30)
    assert history == [] and "training stopped" in reason and "\n" not in reason
    assert not net.training


# all runs


def test_all_runs_are_stored_once_and_found_again(out, few, monkeypatch):
    # beside the unturned run a harmless one and one that is stopped
    monkeypatch.setattr(failures, "TURNED", {"free steps": (1,), "learning rates": (1e30,)})
    test = data.load("sample", "test")
    monkeypatch.setattr(data, "load", lambda name, split: {"train": few, "test": test}[split])
    found = failures.stored_or_provoked("smoke", "sample", 0, progress=False)
    (path,) = out.rglob("*.json")
    assert path.parent == out / "results" / "smoke" / "sample" / "failures"
    assert not (files.ROOT / "data" / "results" / "smoke").exists()
    runs = [("nothing", 1.0), ("free steps", 1.0), ("learning rates", 1e30)]
    table = found.table
    assert list(table[["turned", "to"]].drop_duplicates().itertuples(index=False, name=None)) == runs

    # accuracy on the first test images, after the network's own free phase; a stopped run has none right
    accuracy = table[table.metric == "accuracy"]
    assert list(zip(accuracy.turned, accuracy.to, strict=True)) == runs
    assert found.correct.shape == (3, 20) and list(found.image_ids) == list(range(20))
    assert accuracy.value.tolist() == pytest.approx(found.correct.mean(axis=1).tolist())
    for row, right in zip(accuracy.itertuples(), found.correct, strict=True):
        assert (row.low, row.high) == pytest.approx(wilson(right.sum(), 20)) and row.n == 20
    assert not found.correct[2].any() and np.array_equal(found.correct_clean, found.correct[0])
    net, history, _ = provoke(few, "free steps", 1)
    predicted = settle(net, data.as_float(test.images[:20]), 6).logits.argmax(1)
    assert np.array_equal(found.correct[1], (predicted == test.labels[:20]).numpy())
    assert found.correct[1].any()

    # what the monitors saw and said
    last, rows = history[-1], table[table.turned == "free steps"].set_index("metric").value
    expected = {"residual": last["residual"], "dead": max(last["dead"]), "saturated": max(last["saturated"])}
    expected |= {"update": min(last["update"].values())}
    assert rows.drop("accuracy").to_dict() == pytest.approx(expected)
    assert set(table[table.turned == "learning rates"].metric) == {"accuracy"}
    said = found.record["said"]
    assert len(said) == 3 and said[1] == last["warnings"]
    assert len(said[2]) == 1 and "training stopped" in said[2][0]

    monkeypatch.setattr(training, "run", lambda *a, **k: pytest.fail("trained again"))
    again = failures.stored_or_provoked("smoke", "sample", 0, progress=False)
    assert np.array_equal(again.correct, found.correct) and again.table.equals(table)
    assert again.settings == found.settings and again.record == found.record
    with pytest.raises(pytest.fail.Exception, match="trained again"):  # other settings are another result
        failures.stored_or_provoked("smoke", "sample", 1, progress=False)

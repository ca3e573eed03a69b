from dataclasses import replace

import numpy as np
import pytest

from eplib import checkpoints, data, measurements, precision, results, scales, training
from eplib.checks import InputError
from eplib.statistics import wilson


@pytest.mark.parametrize("attack", ["pgd-linf", "pgd-l2"])
def test_a_measurement_keeps_every_image_and_agrees_with_its_table(smoke, attack):
    result = measurements.measure(smoke["ep-cnn"], attack, images=10, epsilons=[0.05, 0.01], progress=False)
    assert result.settings["epsilons"] == [0.01, 0.05] and list(result.table.epsilon) == [0.01, 0.05]
    assert result.correct.shape == (2, 10) and list(result.image_ids) == list(range(10))
    assert list(result.table.value) == [c.mean() for c in result.correct]
    low, high = wilson(result.correct[1].sum(), 10)
    assert (result.table.low[1], result.table.high[1]) == (low, high)
    assert set(result.table.columns) == set(results.COLUMNS)
    assert result.record["data_sha256"] == data.load("sample", "test").sha256


def test_clean_accuracy_at_the_networks_own_free_phase_and_at_longer_ones(smoke):
    result = measurements.measure(smoke["ep-cnn"], "clean", progress=False)
    test = data.load("sample", "test")
    right = smoke["ep-cnn"].net(data.as_float(test.images[:20])).argmax(1) == test.labels[:20]
    assert np.array_equal(result.correct_clean, right.numpy())
    assert list(zip(result.table.predict_steps, result.table.order, strict=True)) == [
        (6, "forward"),
        (30, "synchronous"),
    ]


def test_the_same_settings_are_measured_once_and_found_again(smoke, out, monkeypatch):
    first = measurements.stored_or_measured(smoke["cnn"], "pgd-linf", progress=False)
    monkeypatch.setattr(measurements, "measure", lambda *a, **k: pytest.fail("measured again"))
    again = measurements.stored_or_measured(smoke["cnn"], "pgd-linf", progress=False)
    assert np.array_equal(first.correct, again.correct) and first.settings == again.settings
    assert len(list(out.rglob("*.json"))) == 1


def test_the_same_measurement_gives_the_same_outcomes(smoke):
    a, b = (measurements.measure(smoke["ep-cnn"], "pgd-l2", progress=False) for _ in range(2))
    assert np.array_equal(a.correct, b.correct) and a.settings == b.settings


@pytest.mark.parametrize(
    "arguments",
    [
        ("pgd-l7",),
        ("pgd-linf", 0),
        ("pgd-linf", -3),
        ("pgd-linf", 5, [-0.1]),
        ("pgd-linf", 5, [float("nan")]),
    ],
)
def test_bad_requests_are_refused(smoke, arguments):
    with pytest.raises(InputError):
        measurements.settings_of(smoke["cnn"], *arguments)


def test_a_scale_that_searches_in_16_bits_says_so_in_the_settings(smoke, monkeypatch):
    plain = measurements.measure(smoke["ep-cnn"], "pgd-linf", progress=False)
    size = scales.scale("smoke")
    searching = replace(size, attack=replace(size.attack, search="bfloat16 where native"))
    monkeypatch.setitem(scales.SCALES, "smoke", searching)
    monkeypatch.setattr(precision, "native_bfloat16", lambda device: True)
    result = measurements.measure(smoke["ep-cnn"], "pgd-linf", progress=False)
    assert "search" not in plain.settings and result.settings["search"] == "bfloat16 where native"
    assert not (result.correct & ~plain.correct).any()
    assert "search" not in measurements.settings_of(smoke["cnn"], "pgd-linf")
    assert scales.scale("paper").attack.search == "bfloat16 where native"


def test_a_judge_is_never_attacked_and_has_a_seed_of_its_own(tmp_path):
    with pytest.raises(InputError, match="other seeds"):
        training.train("judge-linf", "sample", "smoke", 0, tmp_path, progress=False)
    judge = checkpoints.load(training.train("judge-linf", "sample", "smoke", 101, tmp_path, progress=False))
    assert judge.record["training"]["recipe"]["adversary"][0] == "linf"
    assert measurements.measure(judge, "clean", progress=False).correct.shape == (1, 20)
    for attack in ("pgd-linf", "pgd-l2"):
        with pytest.raises(InputError, match="no attack may see"):
            measurements.settings_of(judge, attack)

import pytest
import torch

from eplib import benchmark, corruptions, learning, reference
from eplib.network import EPCNN


def test_report_has_every_time_and_its_ratio_to_autograd():
    report = benchmark.training_iteration(rounds=1)
    times, ratio = report["milliseconds"], report["ratio"]
    assert all(t > 0 for t in times.values()) and report["device"] and report["torch"]
    assert set(ratio) == set(times) and ratio["autograd of Φ"] == 1
    assert ratio["closed form"] == pytest.approx(times["autograd of Φ"] / times["closed form"], rel=0.05)
    assert ratio["fast"] == pytest.approx(report["milliseconds_of_310_steps"] / times["fast"], rel=0.05)
    assert report["milliseconds_of_310_steps"] == pytest.approx(times["autograd of Φ"] * 310 / 40, rel=0.05)


def test_both_sides_do_the_same_work():
    torch.manual_seed(0)
    net = EPCNN((4, 6, 8, 8), benchmark.PADDINGS, mean=0.5, std=0.25).double()
    images, labels = torch.rand(4, 3, 32, 32, dtype=torch.float64), torch.arange(4)
    steps = benchmark.FREE_STEPS, benchmark.NUDGED_STEPS
    ours = learning.weight_gradients(
        net,
        images,
        labels,
        beta=benchmark.BETA,
        free_steps=steps[0],
        nudged_steps=steps[1],
        order="synchronous",
    )
    theirs = reference.nudged_gradients(net, images, labels, benchmark.BETA, *steps, "synchronous")
    assert max((ours[k] - theirs[k]).abs().max() for k in ours) < 1e-12


def test_corruptions_are_timed_one_by_one_and_add_up_to_the_whole_set():
    report = benchmark.corruption_speed(count=2, rounds=1)
    assert list(report["milliseconds"]) == list(corruptions.TABLE)
    assert all(low <= report["milliseconds"][c] <= high for c, (low, high) in report["spread"].items())
    total = sum(report["milliseconds"][c] for c in corruptions.CIFAR_C) * 5000 / 60_000
    assert report["minutes_of_the_whole_set"] == pytest.approx(total, abs=0.02) and total > 0

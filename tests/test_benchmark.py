import torch

from eplib import benchmark, learning, reference
from eplib.network import EPCNN


def test_report_has_both_times_and_their_ratio():
    report = benchmark.training_iteration(rounds=1)
    times = report["milliseconds"]
    assert all(t > 0 for t in times.values()) and report["device"] and report["torch"]
    assert abs(report["ratio"] - times["autograd of Φ"] / times["closed form"]) < 0.05 * report["ratio"]


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

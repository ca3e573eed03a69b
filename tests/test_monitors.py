import pytest
import torch
from conftest import random_batch, random_net

from eplib import dynamics, monitors

CALM = {"residual": 0.01, "dead": [0.5], "saturated": [0.1]}
WELL = ({"convs.0.weight": 3e-3}, 1.0, 0.8, 10)  # update, share of the learning rate, accuracy, classes


def test_shares_of_silent_and_saturated_units_are_counted():
    net = random_net(gain=3.0)
    images, _ = random_batch(net)
    report = monitors.states(net, images, 8)
    settled = dynamics.settle(net, images, 8)
    for l, state in enumerate(settled.states):
        assert report["dead"][l] == pytest.approx((state <= 0).sum().item() / state.numel())
        assert report["saturated"][l] == pytest.approx((state >= 1).sum().item() / state.numel())
    assert report["residual"] == settled.residual.median()


@pytest.mark.parametrize(
    "change, word",
    [
        (lambda net: [c.bias.fill_(-9.0) for c in net.convs], "silent"),
        (lambda net: [c.bias.fill_(9.0) for c in net.convs], "saturated"),
    ],
)
def test_a_network_that_cannot_learn_is_warned_of(change, word):
    net = random_net()
    images, _ = random_batch(net)
    assert monitors.warnings(monitors.states(net, images, 30), *WELL) == []
    with torch.no_grad():
        change(net)
    found = monitors.warnings(monitors.states(net, images, 30), *WELL)
    assert len(found) >= 3 and all(word in sentence and "layer" in sentence for sentence in found)


def test_a_free_phase_that_does_not_converge_is_warned_of():
    assert monitors.warnings(CALM, *WELL) == []
    assert "converge" in monitors.warnings(CALM | {"residual": 0.9}, *WELL)[0]


@pytest.mark.parametrize(
    "update, share, accuracy, word",
    [
        (1e-4, 1.0, 0.5, "hardly learns"),
        (1e-4, 0.1, 0.5, None),  # small because the schedule has lowered the rate
        (1e-9, 0.001, 0.5, None),
        (0.05, 1.0, 0.5, "moves by"),
        (float("nan"), 1.0, 0.5, "moves by"),
        (3e-3, 1.0, 0.11, "guesses"),
    ],
)
def test_updates_are_judged_at_the_full_learning_rate(update, share, accuracy, word):
    found = monitors.warnings(CALM, {"convs.0.weight": update}, share, accuracy, 10)
    assert len(found) == (word is not None) and all(word in sentence for sentence in found)


def test_update_sizes_are_relative_to_the_weights():
    net = random_net()
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    with torch.no_grad():
        net.convs[1].weight *= 1.25
    sizes = monitors.update_sizes(net, before)
    assert sizes["convs.1.weight"] == pytest.approx(0.25) and sizes["convs.0.weight"] == 0
    assert set(sizes) == {"convs.0.weight", "convs.1.weight", "convs.2.weight", "readout.weight"}


def test_a_network_of_any_kind_that_guesses_is_told_so():
    assert "guesses (10%" in monitors.guessing(0.1, 10)[0] and monitors.guessing(0.5, 10) == []

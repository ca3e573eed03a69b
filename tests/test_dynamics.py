import itertools

import pytest
import torch
from conftest import random_batch, random_net

from eplib import phases, pooling, reference
from eplib.checks import InputError
from eplib.dynamics import settle

NETS = {
    "deep": ((5, 6, 7, 8), (1, 1, 1, 0), 32),
    "odd": ((4, 5), (1, 0), 13),
    "wide padding": ((4, 6, 5), (0, 1, 2), 22),
    "one layer": ((6,), (2,), 10),
}
AVERAGE = dict(pooling="average", gain=4.0)  # this gain leaves units at either end and in between
POOLINGS = pytest.mark.parametrize("settings", [{}, AVERAGE], ids=["max", "average"])


def largest(a, b):
    return max((x - y).abs().max().item() for x, y in zip(a, b, strict=True))


@POOLINGS
@pytest.mark.parametrize("name, order", list(itertools.product(NETS, phases.ORDERS)))
def test_states_equal_autograd_of_the_primitive_function(name, order, settings):
    net = random_net(*NETS[name], **settings)
    images, labels = random_batch(net, 3)
    free, expected = settle(net, images, 250, order), reference.relax(net, images, 250, order)
    assert largest(free.states, expected) < 1e-12
    for beta in (0.5, -0.5):
        nudged_order = phases.nudged_order(order)
        nudged = settle(net, images, 25, nudged_order, labels, beta, start=free)
        assert (
            largest(nudged.states, reference.relax(net, images, 25, nudged_order, labels, beta, expected))
            < 1e-12
        )
        assert largest(nudged.states, free.states) > 1e-6


def test_one_step_from_zero_where_every_window_ties():
    net = random_net(gain=1.0)
    images, _ = random_batch(net)
    for steps in (1, 2):
        ours = settle(net, images, steps, "synchronous").states
        assert largest(ours, reference.relax(net, images, steps, "synchronous")) < 1e-15


def test_both_nudged_phases_in_one_batch_equal_two_runs():
    net = random_net()
    images, labels = random_batch(net)
    free = settle(net, images, 20)
    twice = settle(
        net,
        images.repeat(2, 1, 1, 1),
        9,
        "backward",
        labels.repeat(2),
        torch.tensor([0.3] * 4 + [-0.3] * 4, dtype=torch.float64),
        start=[s.repeat(2, 1, 1, 1) for s in free.states],
    )
    for rows, beta in ((slice(0, 4), 0.3), (slice(4, 8), -0.3)):
        alone = settle(net, images, 9, "backward", labels, beta, start=free)
        assert largest([s[rows] for s in twice.states], alone.states) < 1e-14


def test_residual_is_the_move_of_one_more_synchronous_step():
    net = random_net()
    images, _ = random_batch(net)
    for order in phases.ORDERS:
        now = settle(net, images, 5, order)
        after = settle(net, images, 1, "synchronous", start=now)
        moved = torch.stack(
            [(a - b).abs().amax((1, 2, 3)) for a, b in zip(now.states, after.states, strict=True)]
        ).amax(0)
        torch.testing.assert_close(now.residual, moved)
    assert settle(net, images, 500).residual.max() < 1e-12


@pytest.mark.parametrize("settings", [{"gain": 3.0}, AVERAGE], ids=["max", "average"])
def test_tolerance_judges_every_image_alone(settings):
    net = random_net(**settings)
    images, _ = random_batch(net, 6)
    together = settle(net, images, 400, tolerance=1e-4)
    assert len(set(together.image_steps.tolist())) > 1  # they stop at different times, or this shows nothing
    assert together.steps == together.image_steps.max()
    for i in range(6):
        alone = settle(net, images[i : i + 1], 400, tolerance=1e-4)
        assert alone.steps == together.image_steps[i]
        assert largest(alone.states, [s[i : i + 1] for s in together.states]) < 1e-12
    assert together.residual.max() < 1e-2


@POOLINGS
@pytest.mark.parametrize("loss", phases.LOSSES)
def test_record_keeps_logits_residual_and_energy_of_every_step(loss, settings):
    net = random_net(**settings)
    images, labels = random_batch(net)
    free, nudged = settle(net, images, 6, record=True), (images, 4, "backward", labels, 0.7)
    recorded = settle(net, *nudged, start=free, record=True, loss=loss)
    for t in range(6):
        until = settle(net, images, t + 1)
        torch.testing.assert_close(free.trajectory["logits"][t], until.logits)
        torch.testing.assert_close(free.trajectory["residual"][t], until.residual)
        expected = sum(s.square().flatten(1).sum(1) for s in until.states) - net.primitive(
            images, until.states
        )
        torch.testing.assert_close(free.trajectory["energy"][t], expected)
    pulled = sum(s.square().flatten(1).sum(1) for s in recorded.states)
    pulled = pulled - net.primitive(images, recorded.states, labels, 0.7, loss)
    torch.testing.assert_close(recorded.trajectory["energy"][-1], pulled)
    assert settle(net, images, 6).trajectory is None


@pytest.mark.parametrize("pooling", ["max", "average"])
@pytest.mark.parametrize("order", ["forward", "backward", "even-odd"])
def test_one_layer_after_another_never_raises_the_energy(order, pooling):
    net = random_net(gain=4.0, pooling=pooling)
    images, _ = random_batch(net, 8)
    start = [torch.rand(8, *shape, dtype=torch.float64) for shape in net.shapes]
    energy = settle(net, images, 60, order, start=start, record=True).trajectory["energy"]
    assert (energy.diff(dim=0) <= 1e-9).all() and (energy[0] - energy[-1] > 1e-3).all()


def test_frozen_pooling_uses_the_winners_of_the_start():
    net = random_net()
    images, labels = random_batch(net)
    free = settle(net, images, 200)
    frozen = settle(net, images, 30, "backward", labels, 0.5, start=free, arg_max="frozen")
    assert largest(frozen.states, free.states) > 1e-6
    codes = [phases.Phase(net, phases.drive(net, images), free.states).codes(l) for l in range(3)]
    z = torch.nn.functional.conv2d(frozen.states[0], net.convs[1].weight, net.convs[1].bias, padding=1)
    u = pooling.gather(z, codes[1]) + pooling.send_down(
        frozen.states[2], codes[2], net.convs[2].weight, net.convs[2].padding, frozen.states[1].shape
    )
    assert (phases.activation(u) - frozen.states[1]).abs().max() < 1e-9  # settled under the frozen winners


def test_average_pooling_has_no_winners_to_freeze():
    net = random_net((4, 6, 5), (1, 1, 1), 14, **AVERAGE)
    images, labels = random_batch(net)
    free = settle(net, images, 20)
    live, frozen = (
        settle(net, images, 30, "backward", labels, 0.5, start=free, arg_max=a) for a in ("live", "frozen")
    )
    assert all(torch.equal(a, b) for a, b in zip(live.states, frozen.states, strict=True))
    assert largest(live.states, free.states) > 1e-6


def test_float32_stays_close_to_float64_for_few_steps():
    net = random_net()
    images, _ = random_batch(net)
    exact = settle(net, images, 10)
    single = settle(net.float(), images.float(), 10)
    assert single.states[0].dtype == torch.float32
    assert largest(single.states, [s.float() for s in exact.states]) < 1e-4


def test_channels_last_changes_nothing():
    net = random_net()
    images, _ = random_batch(net)
    plain = settle(net.to(memory_format=torch.contiguous_format), images, 30)
    last = settle(net.to(memory_format=torch.channels_last), images.to(memory_format=torch.channels_last), 30)
    assert largest(plain.states, last.states) < 1e-12
    assert last.states[0].is_contiguous(memory_format=torch.channels_last)


def test_defaults_are_the_networks_own():
    net = random_net(steps=4, order="synchronous")
    images, _ = random_batch(net)
    assert largest(settle(net, images).states, settle(net, images, 4, "synchronous").states) == 0
    assert largest(settle(net, images).states, settle(net, images, 4, "forward").states) > 0


@pytest.mark.parametrize(
    "arguments",
    [
        dict(order="sideways"),
        dict(steps=-1),
        dict(beta=0.5),
        dict(arg_max="thawed"),
        dict(labels=torch.tensor([0, 1, 2, 10])),
        dict(labels=torch.tensor([0, 1])),
        dict(labels=torch.zeros(4)),
        dict(start=[torch.zeros(4, 5, 8, 8)]),
    ],
)
def test_bad_arguments_are_refused_in_one_sentence(arguments):
    net = random_net()
    with pytest.raises(InputError) as error:
        settle(net, random_batch(net)[0], **arguments)
    assert "\n" not in str(error.value)

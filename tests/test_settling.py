import numpy as np
import pytest
import torch
from conftest import random_batch, random_net

from eplib import settling
from eplib.checks import InputError
from eplib.dynamics import settle


def sensitive_net():
    """A net whose predictions differ between the orders for some images of `random_batch`."""
    net = random_net(gain=6.0, seed=2)
    with torch.no_grad():
        net.readout.weight *= 20
        net.readout.bias *= 0
    return net


@pytest.mark.parametrize("order", ["synchronous", "forward"])
def test_a_free_phase_is_the_same_watched_or_not(order):
    net = random_net()
    images, _ = random_batch(net, 3)
    run = settling.run(net, images, settling.frames(30), order)
    assert run.steps == (*range(21), 25, 30)
    for frame, step in enumerate(run.steps):
        there = settle(net, images, step, order)
        for kept, state in zip(run.states, there.states, strict=True):
            assert torch.equal(kept[frame], state)
        assert torch.equal(run.logits[frame], there.logits)
    whole = settle(net, images, 30, order, record=True).trajectory
    assert run.residual.shape == run.energy.shape == (31, 3)
    assert torch.equal(run.residual[1:], whole["residual"]) and torch.equal(run.energy[1:], whole["energy"])
    assert torch.equal(run.energy[0], torch.zeros_like(run.energy[0]))  # ‖s‖² − Φ of a state of zeros


@pytest.mark.parametrize("own, back", [("forward", "backward"), ("synchronous", "synchronous")])
def test_nudged_phases_start_from_the_free_end_with_label_and_beta(own, back):
    net = random_net(order=own)
    images, labels = random_batch(net, 2)
    found = settling.runs(net, images, labels, 0.4, steps=12)
    assert list(found) == list(settling.orders(net)) and settling.orders(net)[1] == own
    free, plus, minus = found[own]
    end = settle(net, images, 12, own)
    for run, beta in ((plus, 0.4), (minus, -0.4)):
        assert run.steps == settling.NUDGED_FRAMES
        for frame in (0, 4, 10):
            there = settle(net, images, frame, back, labels, beta, start=end)
            assert torch.equal(run.states[1][frame], there.states[1])
            assert torch.equal(run.logits[frame], there.logits)
            assert torch.equal(run.energy[frame], there.energy)
            assert torch.equal(run.residual[frame], there.residual)
    assert torch.equal(plus.states[0][0], free.states[0][-1])
    assert not torch.equal(plus.states[-1][-1], minus.states[-1][-1])


@pytest.mark.parametrize("steps, last", [(1, (0, 1)), (20, (19, 20)), (22, (20, 22)), (250, (150, 250))])
def test_recorded_steps_end_with_the_phase(steps, last):
    assert settling.frames(steps)[0] == 0 and settling.frames(steps)[-2:] == last


def test_examples_begin_with_the_order_sensitive_and_end_with_an_ordinary_one():
    net = sensitive_net()
    images, _ = random_batch(net, 24)
    one, other = (settle(net, images, 250, order) for order in ("synchronous", "forward"))
    predicted, elsewhere = one.logits.argmax(1), other.logits.argmax(1)
    labels = predicted.clone()
    labels[::2] = (labels[::2] + 1) % 10  # wrong in both orders
    differ = set((predicted != elsewhere).nonzero().flatten().tolist())
    assert differ
    picked = settling.examples(net, images, labels, len(differ) + 3).tolist()
    assert picked == settling.examples(net, images, labels, len(differ) + 3).tolist()
    assert len(set(picked)) == len(differ) + 3 and set(picked[: len(differ)]) == differ
    units = [torch.cat([s.flatten(1) for s in e.states], 1) for e in (one, other)]
    apart = (units[0] - units[1]).abs().mean(1)
    after, last = picked[len(differ) : -1], picked[-1]
    assert apart[after].tolist() == sorted(apart[after].tolist(), reverse=True)
    assert predicted[last] == elsewhere[last] == labels[last]
    assert apart[last] <= apart[after].min()


def test_examples_without_an_ordinary_image_are_still_examples():
    net = random_net()
    images, _ = random_batch(net, 3)
    wrong = (settle(net, images, 250, "forward").logits.argmax(1) + 1) % 10
    assert sorted(settling.examples(net, images, wrong, 5).tolist()) == [0, 1, 2]


def test_sheets_hold_every_state_within_half_a_grey_level():
    net = random_net()
    images, labels = random_batch(net, 2)
    found = settling.runs(net, images, labels, 0.5, steps=7)
    told = settling.numbers(found, 1)
    for layer, (channels, height, width) in enumerate(net.shapes):
        sheet = settling.sheet(found, layer, 1)
        assert sheet.dtype == np.uint8 and len(np.unique(sheet)) <= settling.LEVELS
        for phases, kept in zip(told, found.values(), strict=True):
            for said, run in zip(phases, kept, strict=True):
                for frame in range(len(run.steps)):
                    top = (said["first"] + frame) * height
                    maps = sheet[top : top + height].reshape(height, channels, width).transpose(1, 0, 2) / 255
                    assert np.abs(maps - run.states[layer][frame, 1].numpy()).max() <= 1 / 30 + 1e-12


def test_numbers_are_those_of_the_run():
    net = random_net()
    images, labels = random_batch(net, 2)
    found = settling.runs(net, images, labels, 0.5, steps=7)
    for phases, kept in zip(settling.numbers(found, 0), found.values(), strict=True):
        for said, run in zip(phases, kept, strict=True):
            assert np.allclose(said["probabilities"], run.logits[:, 0].softmax(1), atol=5e-5)
            assert np.allclose(said["residual"], run.residual[:, 0], rtol=5e-3)
            assert np.allclose(said["energy"], run.energy[:, 0], rtol=5e-6)


@pytest.mark.parametrize(
    "wrong, words",
    [
        (dict(beta=0.0), "above 0"),
        (dict(beta=float("nan")), "above 0"),
        (dict(beta="much"), "above 0"),
        (dict(steps=0), "from 1 to 1000"),
        (dict(steps=2.5), "from 1 to 1000"),
        (dict(classes=["a", "b"]), "2 names of classes"),
        (dict(labels=torch.tensor([1])), "labels"),
        (dict(images=torch.ones(2, 3, 4, 4)), "images of shape"),
    ],
)
def test_what_cannot_be_watched_is_refused_in_a_sentence(wrong, words):
    net = random_net()
    images, labels = random_batch(net, 2)
    given = dict(images=images, labels=labels, classes=list("abcdefghij"), beta=0.5, steps=20)
    settling.check(net, **given)
    with pytest.raises(InputError, match=words):
        settling.check(net, **(given | wrong))

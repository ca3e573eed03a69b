import copy
import math

import numpy as np
import pytest
import torch
from conftest import random_batch, random_net
from torch import nn

from eplib import data, margins
from eplib.attacks import AttackedModel
from eplib.checks import InputError, check_images

ROW = {"metric", "value", "low", "high", "n", "predict_steps", "order"}


class Linear(nn.Module):
    """Three classes told apart by linear functions of four pixels: margins and gradients are known."""

    classes = 3

    def __init__(self, weight, bias):
        super().__init__()
        self.layer = nn.Linear(4, 3).double()
        with torch.no_grad():
            self.layer.weight.copy_(torch.tensor(weight))
            self.layer.bias.copy_(torch.tensor(bias))

    def check(self, images):
        check_images(images, (1, 2, 2))

    def forward(self, images):
        return self.layer(images.flatten(1))


def linear():
    return Linear([[3.0, 0, -4, 0], [0, 0, 0, 0], [0, 0, 0, 0]], [1.0, 0, -2])


def pick(rows, metric, **where):
    (row,) = [r for r in rows if r["metric"] == metric and all(r.get(k) == v for k, v in where.items())]
    return row


def close(row, values):
    low, middle, high = np.quantile(np.asarray(values, np.float64), [0.25, 0.5, 0.75])
    assert (row["low"], row["value"], row["high"]) == pytest.approx((low, middle, high), rel=1e-6)
    assert row["n"] == len(values)


def run(net, x, y, **options):
    return margins.margins(net, x, y, {"batch": 3}, progress=False, **options)


def test_the_radius_of_a_linear_network_is_its_distance_to_the_boundary():
    net = linear()
    x = torch.rand(20, 1, 2, 2, generator=torch.Generator().manual_seed(0)).double()
    flat = x.flatten(1)
    lead = 3 * flat[:, 0] - 4 * flat[:, 2] + 1  # of class 0 over class 1, which is before class 2
    y = torch.where(lead > 0, 0, 1)
    y[:4] = 1 - y[:4]  # wrong
    found = run(net, x, y)
    margin = torch.where(y == 0, lead, -lead)
    np.testing.assert_allclose(found.arrays["margin"], margin, rtol=1e-5)
    assert all(v.dtype == np.float32 and v.shape == (20,) for v in found.arrays.values())
    np.testing.assert_allclose(found.arrays["gradient_linf"], 7)
    np.testing.assert_allclose(found.arrays["gradient_l2"], 5)
    right = margin > 0
    assert found.clean.tolist() == right.tolist() == [False] * 4 + [True] * 16
    assert (found.correct == found.clean[None]).all()
    close(pick(found.rows, "margin"), margin[right])
    for norm, dual in (("linf", 7), ("l2", 5)):
        close(pick(found.rows, "gradient_norm", norm=norm), torch.full((16,), dual))
        close(pick(found.rows, "radius", norm=norm), margin[right] / dual)
    assert pick(found.rows, "accuracy")["value"] == 0.8 and pick(found.rows, "accuracy")["n"] == 20
    assert pick(found.rows, "zero_gradient")["value"] == 0
    assert all(set(r) - {"norm"} == ROW and r["order"] is None for r in found.rows)
    # the radius in each norm is reached: a move by it towards class 1 gives a tie, and a shorter one none
    i = int(torch.nonzero(right & (y == 0))[0])
    for norm, move in (("linf", [-1.0, 0, 1, 0]), ("l2", [-0.6, 0, 0.8, 0])):
        radius = found.arrays["margin"][i] / found.arrays[f"gradient_{norm}"][i]
        logits = net(x[i : i + 1] + radius * torch.tensor(move).view(1, 1, 2, 2).double())
        assert (logits[0, 0] - logits[0, 1]).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("pooling", ["max", "average"])
def test_the_gradient_of_an_ep_cnns_margin_agrees_with_finite_differences(pooling):
    net = random_net(pooling=pooling, gain=2.0 if pooling == "max" else 4.0, steps=9, order="backward")
    x, y = random_batch(net)
    margin, gradient, right = margins.differentiated(AttackedModel(net), x, y)
    logits = net(x)
    for i, label in enumerate(y.tolist()):  # by its own definition
        others = [v for j, v in enumerate(logits[i].tolist()) if j != label]
        assert margin[i].item() == pytest.approx(logits[i, label].item() - max(others), abs=1e-12)
    assert right.tolist() == (logits.argmax(1) == y).tolist()
    assert (gradient.flatten(1).abs().amax(1) > 0).all()
    generator = torch.Generator().manual_seed(3)
    for _ in range(5):
        step = 1e-6 * torch.randn(x.shape, generator=generator).double()
        ends = [margins.differentiated(AttackedModel(net), x + s * step, y)[0] for s in (1, -1)]
        expected = (ends[0] - ends[1]) / 2
        torch.testing.assert_close((gradient * step).flatten(1).sum(1), expected, rtol=1e-4, atol=1e-11)


def test_flat_images_are_infinitely_far_and_ties_at_no_distance():
    flat = Linear([[0.0] * 4] * 3, [2.0, 0, 0])
    x, y = torch.full((6, 1, 2, 2), 0.5).double(), torch.zeros(6, dtype=torch.int64)
    found = run(flat, x, y)
    radius = pick(found.rows, "radius", norm="l2")
    assert radius["low"] == radius["value"] == radius["high"] == math.inf
    assert pick(found.rows, "zero_gradient")["value"] == 1 and pick(found.rows, "margin")["value"] == 2
    tied = run(Linear([[0.0] * 4] * 3, [0.0, 0, 0]), x, y)
    assert tied.clean.all() and pick(tied.rows, "radius", norm="linf")["high"] == 0


def test_without_a_right_image_only_the_accuracy_is_there():
    x, y = torch.zeros(3, 1, 2, 2).double(), torch.tensor([1, 2, 1])
    found = run(linear(), x, y)
    assert [(r["metric"], r["value"], r["n"]) for r in found.rows] == [("accuracy", 0.0, 3)]
    assert found.arrays["margin"].tolist() == [-1, -3, -1]


@pytest.mark.parametrize("kind", ["ep-cnn", "cnn"])
def test_batches_change_nothing_and_the_network_is_left_as_it_was(smoke, kind):
    net = copy.deepcopy(smoke[kind].net).double().requires_grad_()
    test = data.load("sample", "test")
    x, y = data.as_float(test.images[:7]).double(), test.labels[:7]
    found = run(net, x, y)
    whole = margins.margins(net, x, y, {"batch": 7}, progress=False)
    assert all(np.allclose(found.arrays[k], whole.arrays[k], rtol=1e-5) for k in whole.arrays)
    assert (found.clean == (net(x).argmax(1) == y).numpy()).all()
    assert all(p.grad is None and p.requires_grad for p in net.parameters())
    row = found.rows[0]
    assert (row["predict_steps"], row["order"]) == (
        (net.steps, net.order) if kind == "ep-cnn" else (None, None)
    )


def test_a_run_that_was_stopped_goes_on(monkeypatch, tmp_path):
    net = random_net()
    x, y = random_batch(net, 8)
    fresh, compute, calls = run(net, x, y), margins.differentiated, []

    def stopping(*given):
        calls.append(given)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return compute(*given)

    monkeypatch.setattr(margins, "differentiated", stopping)
    with pytest.raises(KeyboardInterrupt):
        run(net, x, y, folder=tmp_path)
    again = run(net, x, y, folder=tmp_path)
    assert len(calls) == 4  # the two parts that were done are not computed again
    assert again.rows == fresh.rows and (again.clean == fresh.clean).all()
    assert all(np.array_equal(again.arrays[k], fresh.arrays[k]) for k in fresh.arrays)


def test_logits_that_attacks_cannot_use_are_refused():
    net = linear()
    x, y = torch.rand(4, 1, 2, 2).double(), torch.zeros(4, dtype=torch.int64)
    given = net.forward
    for change, message in (
        (lambda logits: logits.softmax(1), "probabilities"),
        (lambda logits: logits + torch.rand_like(logits), "deterministic"),
        (lambda logits: logits / 0, "finite"),
    ):
        net.forward = lambda images, change=change: change(given(images))
        with pytest.raises(InputError, match=message):
            run(net, x, y)


def test_bad_input_is_refused():
    net = linear()
    x, y = torch.rand(4, 1, 2, 2).double(), torch.zeros(4, dtype=torch.int64)
    for images, labels, message in (
        (2 + x, y, "images"),
        (x[..., :1], y, "images"),
        (x, y + 3, "labels"),
        (x, y[:3], "labels"),
    ):
        with pytest.raises(InputError, match=message):
            run(net, images, labels)
    with pytest.raises(InputError, match="1 or more"):
        margins.margins(net, x, y, {"batch": 0}, progress=False)

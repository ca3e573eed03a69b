import numpy as np
import pytest
import torch
from conftest import random_batch, random_net

from eplib import data, minimal_norm, phase_lengths, suite
from eplib.attacks import AttackedModel, ThreatModel, predicted
from eplib.checks import InputError
from eplib.dynamics import settle
from eplib.phase_lengths import NOT_JUDGED
from eplib.reference import logits, relax
from eplib.statistics import wilson

LAST = 30  # instead of 250 steps
SIZES = {
    "lengths": [4, 8, LAST],
    "queries": 8,
    "searches": 3,
    "cw_steps": 10,
    "constant": 1.0,
    "epsilon": 0.2,
    "batch": 3,
}
LENGTHS = SIZES["lengths"]


def measured(case, **change):
    return phase_lengths.phase_lengths(*case, SIZES | change, progress=False)


def after(net, images, steps):
    """Classes after so many synchronous steps, by autograd of Φ."""
    return logits(net, relax(net, images, steps, "synchronous")).argmax(1)


@pytest.fixture(scope="module", autouse=True)
def shorter():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(phase_lengths, "SETTLED", LAST)
        yield


@pytest.fixture(scope="module")
def case():
    """(network, 7 images, labels): a network that tells these images apart, one label wrong."""
    net = random_net()
    x, _ = random_batch(net, 7)
    middle = logits(net, relax(net, x, LAST, "synchronous")).mean(0)
    with torch.no_grad():
        net.readout.bias -= middle
        net.readout.weight *= 20
        net.readout.bias *= 20
    y = after(net, x, LAST)
    assert len(set(y.tolist())) > 2
    y[0] = (y[0] + 1) % 10
    return net, x, y


@pytest.fixture(scope="module")
def found(case):
    return measured(case)


def rows(found, metric, attack=None):
    return [r for r in found.rows if r["metric"] == metric and r.get("attack") == attack]


def test_clean_accuracy_and_residuals_are_those_of_each_length(case, found):
    net, x, y = case
    for i, (steps, row) in enumerate(zip(LENGTHS, rows(found, "accuracy"), strict=True)):
        right = after(net, x, steps) == y
        assert found.correct[2 * i].tolist() == right.tolist()
        assert row["predict_steps"] == steps and row["order"] == "synchronous"
        assert row["value"] == right.double().mean() and (row["low"], row["high"]) == wilson(right.sum(), 7)
    assert (found.clean == found.correct[-2]).all()
    for steps, row in zip(LENGTHS, rows(found, "unsettled"), strict=True):
        moved = settle(net, x, steps, "synchronous").residual >= 1e-3
        assert row["value"] == moved.double().mean() and row["n"] == 7
    assert rows(found, "unsettled")[0]["value"] == 1 > rows(found, "unsettled")[-1]["value"]


def test_square_attacks_every_length_by_itself(case, found):
    net, x, y = case
    for i, (steps, row) in enumerate(zip(LENGTHS, rows(found, "accuracy", "square"), strict=True)):
        model, left = AttackedModel(net, steps, "synchronous"), []
        for start in (0, 3, 6):
            images, labels = x[start : start + 3], y[start : start + 3]
            right = after(net, images, steps) == labels
            if right.any():
                threat, which = ThreatModel("linf", 0.2), (images[right], labels[right])
                broken = suite.checked(model, *which, threat, "square", 8, start)
                right[right.clone()] = after(net, broken, steps) == labels[right]
            left += right.tolist()
        assert found.correct[2 * i + 1].tolist() == left and row["value"] == np.mean(left)
        assert row["norm"] == "linf" and row["epsilon"] == 0.2 and row["attack_steps"] == 8
    broken = found.correct[::2] & ~found.correct[1::2]
    assert broken.any() and not (found.correct[1::2] & ~found.correct[::2]).any()


def test_carlini_wagner_attacks_every_length_and_is_judged_by_the_settled_network(case, found):
    net, x, y = case
    norms, transferred = found.arrays["minimal_norm"], found.arrays["transferred"]
    assert norms.shape == transferred.shape == (3, 7)
    assert norms.dtype == np.float32 and transferred.dtype == np.int8
    settled = after(net, x, LAST) == y
    for i, steps in enumerate(LENGTHS):
        model = AttackedModel(net, steps, "synchronous")
        parts = [
            minimal_norm.carlini_wagner(model, x[s : s + 3], y[s : s + 3], 3, 10, 1.0) for s in (0, 3, 6)
        ]
        assert (norms[i] == np.float32(np.concatenate([p.norm for p in parts]))).all()
        assert ((norms[i] > 0) == found.correct[2 * i]).all()
        adversarial = torch.cat([p.adversarial for p in parts])
        judged = settled & torch.from_numpy((norms[i] > 0) & np.isfinite(norms[i]))
        expected = torch.where(judged, (after(net, adversarial, LAST) != y).to(torch.int8), NOT_JUDGED)
        if steps == LAST:
            expected[:] = NOT_JUDGED
        assert transferred[i].tolist() == expected.tolist()
    assert (transferred[:2] == 1).any() and (transferred[:2] == 0).any()
    for steps, length, row in zip(LENGTHS, norms, rows(found, "minimal_norm", "carlini-wagner"), strict=True):
        right = length[length > 0]
        assert row["value"] == np.median(right) and row["n"] == len(right) and row["predict_steps"] == steps
    for length, row in zip(norms, rows(found, "found", "carlini-wagner"), strict=True):
        assert row["value"] == np.isfinite(length[length > 0]).mean()
    told = rows(found, "transferred", "carlini-wagner")
    assert [r["predict_steps"] for r in told] == [4, 8]
    for outcome, row in zip(transferred, told, strict=False):
        asked = outcome[outcome != NOT_JUDGED]
        assert row["value"] == asked.mean() and row["n"] == len(asked)
        assert (row["low"], row["high"]) == wilson(asked.sum(), len(asked))


def test_the_cost_of_a_gradient_is_the_shortest_of_its_timings(case, monkeypatch):
    clock = iter([0.9, 0.6, 0.7, 2.0, 0.2, 0.3])  # of three images each, and of one
    seen, right = [], phase_lengths.gradients.input_gradient

    def gradient(net, images, labels, *how):
        seen.append((len(images), *how))
        return right(net, images, labels, *how)

    def timed(function, device):
        function()
        return next(clock)

    monkeypatch.setattr(phase_lengths, "timed", timed)
    monkeypatch.setattr(phase_lengths.gradients, "input_gradient", gradient)
    net, x, y = case
    (row,) = rows(measured((net, x[:4], y[:4]), lengths=[5]), "gradient_seconds")
    assert seen == [(3, "unrolled", 5, "synchronous")] * 3 + [(1, "unrolled", 5, "synchronous")] * 3
    assert (row["value"], row["n"], row["predict_steps"]) == (pytest.approx(0.2), 4, 5)


def test_without_an_image_that_is_right_nothing_is_attacked(case):
    net, x, y = case
    nobodys = set(range(10)) - {*after(net, x, 3).tolist(), *after(net, x, 4).tolist()}
    found = measured((net, x, torch.full_like(y, min(nobodys))), lengths=[3, 4])
    assert not found.correct.any() and not found.arrays["minimal_norm"].any()
    assert {r["metric"] for r in found.rows} == {"accuracy", "unsettled", "gradient_seconds"}


def test_a_trained_network_is_measured(smoke):
    net, x = smoke["ep-cnn"].net, data.as_float(data.load("sample", "test").images[:2])
    y = predicted(AttackedModel(net, 12, "synchronous"), x)
    found = phase_lengths.phase_lengths(net, x, y, SIZES | {"lengths": [4, 12]}, progress=False)
    assert found.clean.all() and found.correct.shape == (4, 2) and found.seconds > 0
    assert {r["order"] for r in found.rows} == {"synchronous"} != {net.order}


def test_a_measurement_that_was_stopped_goes_on_with_the_next_part(case, found, monkeypatch, tmp_path):
    attack, calls = minimal_norm.carlini_wagner, []

    def stopping(*given):
        calls.append(given)
        if len(calls) == 5:  # the second part of the second length
            raise KeyboardInterrupt
        return attack(*given)

    monkeypatch.setattr(phase_lengths.minimal_norm, "carlini_wagner", stopping)
    with pytest.raises(KeyboardInterrupt):
        phase_lengths.phase_lengths(*case, SIZES, tmp_path, progress=False)
    assert len(list(tmp_path.glob("4/*.npz"))) == 3 and len(list(tmp_path.glob("8/*.npz"))) == 1
    torch.rand(3)
    again = phase_lengths.phase_lengths(*case, SIZES, tmp_path, progress=False)
    assert len(calls) == 5 + 5
    assert (again.correct == found.correct).all()
    assert all((again.arrays[name] == found.arrays[name]).all() for name in found.arrays)


def test_bad_input_is_refused(case, smoke):
    net, x, y = case
    for change, message in (
        ({"sizes": SIZES | {"lengths": []}}, r"lengths \[\]"),
        ({"sizes": SIZES | {"lengths": [6, 3]}}, "ascending"),
        ({"sizes": SIZES | {"lengths": [3, 3]}}, "ascending"),
        ({"sizes": SIZES | {"lengths": [0, 3]}}, "from 1 up"),
        ({"sizes": SIZES | {"epsilon": -1}}, "epsilon = -1"),
        ({"sizes": SIZES | {"queries": 0}}, "steps = 0 of square"),
        ({"sizes": SIZES | {"searches": 0}}, "binary_search_steps = 0"),
        ({"sizes": SIZES | {"batch": 0}}, "parts of 0"),
        ({"net": smoke["cnn"].net}, "without a free phase"),
        ({"images": 2 * x}, "images"),
        ({"labels": y + 9}, "labels"),
    ):
        with pytest.raises(InputError, match=message):
            phase_lengths.phase_lengths(
                **dict(net=net, images=x, labels=y, sizes=SIZES, progress=False) | change
            )

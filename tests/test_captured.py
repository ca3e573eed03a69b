import torch
from conftest import random_batch, random_net

from eplib import captured
from eplib.captured import Captured
from eplib.learning import compute, weight_gradients

SETTINGS = ("centred", 0.5, 8, 4, "forward", "frozen")


def test_on_the_cpu_the_function_is_called():
    calls = []
    function = Captured(lambda a, b: calls.append(1) or a + b)
    assert (
        function(torch.tensor(1.0), torch.tensor(2.0)) == 3
        and function(torch.tensor(1.0), torch.tensor(5.0)) == 6
    )
    assert len(calls) == 2 and not function.graphs


def test_the_switch_turns_capturing_off(monkeypatch):
    monkeypatch.setenv(captured.SWITCH, "0")
    assert Captured(lambda a: a).refused
    monkeypatch.delenv(captured.SWITCH)
    assert not Captured(lambda a: a).refused


def test_a_function_that_cannot_be_captured_is_called_and_the_reason_printed_once(monkeypatch, capsys):
    class OnCuda(torch.Tensor):
        is_cuda = True

    def fails(*_):
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(Captured, "_capture", fails)
    double = Captured(lambda a: 2 * a)
    x = torch.ones(2).as_subclass(OnCuda)
    assert torch.equal(double(x), 2 * x) and torch.equal(double(x), 2 * x)
    assert capsys.readouterr().err.count("not permitted") == 1


def test_the_captured_computation_is_the_checked_one():
    net = random_net()
    images, labels = random_batch(net)
    free = compute(net, images, labels, *SETTINGS)
    names = dict(
        zip(("estimator", "beta", "free_steps", "nudged_steps", "order", "arg_max"), SETTINGS, strict=True)
    )
    checked = weight_gradients(net, images, labels, **names)
    assert all(torch.equal(free[name], checked[name]) for name in checked)

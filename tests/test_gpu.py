"""What only a GPU can show: states, captured gradients, exact input gradients and attacks against the same on
the CPU, and training that repeats itself. `python -m eplib benchmark --gpu-report DIR` runs these first.
"""

import pytest
import torch
from conftest import random_batch, random_net

from eplib import checkpoints, measurements, training
from eplib.captured import Captured
from eplib.dynamics import settle
from eplib.gradients import input_gradient
from eplib.learning import compute

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: nothing to test here")


def cosine(a, b):
    a, b = (x.detach().cpu().double().flatten() for x in (a, b))
    return torch.nn.functional.cosine_similarity(a, b, dim=0).item()


@pytest.mark.parametrize("order", ["synchronous", "forward"])
def test_states_equal_those_of_the_cpu_in_float64(order):
    net = random_net()
    images, _ = random_batch(net)
    expected = settle(net, images, 50, order).states
    found = settle(net.cuda(), images.cuda(), 50, order).states
    assert max((a.cpu() - b).abs().max() for a, b in zip(found, expected, strict=True)) < 1e-10


@pytest.mark.parametrize("arg_max", ["frozen", "live"])
@pytest.mark.parametrize("estimator", ["centred", "one-sided", "adjoint", "bptt"])
def test_a_replayed_gradient_equals_the_float64_reference_for_new_images(estimator, arg_max):
    net = random_net()
    settings = (estimator, 0.5, 8, 4, "forward", arg_max)
    batches = [random_batch(net, 8, seed) for seed in (1, 2)]
    exact = [compute(net, *batch, *settings) for batch in batches]
    exact = [{name: value.clone() for name, value in found.items()} for found in exact]
    net.float().cuda()
    replay = Captured(lambda a, b: compute(net, a, b, *settings))
    for expected, (images, labels) in zip(exact, batches, strict=True):
        found = replay(images.float().cuda(), labels.cuda())
        assert all(cosine(found[name], value) > 0.999 for name, value in expected.items())
    assert replay.graphs and not replay.refused


@pytest.mark.parametrize("method", ["unrolled", "leaky"])
def test_the_gradient_in_the_image_equals_that_of_the_cpu_in_float64(method):
    net = random_net()
    images, labels = random_batch(net, 6)
    exact = input_gradient(net, images, labels, method, 30)
    net.cuda()
    assert (input_gradient(net, images.cuda(), labels.cuda(), method, 30).cpu() - exact).abs().max() < 1e-10


@pytest.mark.parametrize("model", ["ep-cnn", "twin-bptt", "cnn", "vit-4"])
def test_training_twice_gives_the_same_weights(tmp_path, model):
    once, again = (
        training.train(model, "sample", "smoke", 0, tmp_path / name, progress=False, device="cuda")
        for name in ("once", "again")
    )
    first, second = checkpoints.load(once), checkpoints.load(again)
    assert first.sha256 == second.sha256


@pytest.mark.parametrize("model", ["ep-cnn", "cnn"])
def test_an_attack_ends_as_on_the_cpu(tmp_path, model):
    path = training.train(model, "sample", "smoke", 0, tmp_path, progress=False, device="cpu")
    settings = dict(measurement="pgd-linf", progress=False)
    here, there = (
        measurements.measure(checkpoints.load(path), device=device, **settings) for device in ("cpu", "cuda")
    )
    assert (here.correct == there.correct).mean() > 0.95

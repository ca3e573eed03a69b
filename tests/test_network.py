import json

import pytest
import torch
from conftest import random_batch, random_net

from eplib import reference
from eplib.checks import InputError
from eplib.network import EPCNN


@pytest.mark.parametrize("pooling", ["max", "average"])
def test_primitive_equals_its_definition(pooling):
    net = random_net(pooling=pooling)
    images, labels = random_batch(net)
    states = [torch.rand(4, *shape, dtype=torch.float64) for shape in net.shapes]
    torch.testing.assert_close(net.primitive(images, states), reference.primitive(net, images, states))
    nudged = net.primitive(images, states, labels, beta=0.7)
    torch.testing.assert_close(nudged, reference.primitive(net, images, states, labels, 0.7))
    assert not torch.allclose(nudged, net.primitive(images, states))


def test_published_network_has_the_published_size():
    net = EPCNN((128, 256, 512, 512), (1, 1, 1, 0))
    assert sum(p.numel() for p in net.parameters()) == 3_843_850
    assert [tuple(s) for s in net.shapes] == [(128, 16, 16), (256, 8, 8), (512, 4, 4), (512, 1, 1)]


def test_normalisation_is_part_of_the_model():
    plain, net = random_net(), random_net()
    images, _ = random_batch(net)
    net.mean.fill_(0.0)
    net.std.fill_(1.0)
    torch.testing.assert_close(net.normalise((images - 0.5) / 0.3), plain.normalise(images))
    assert {"mean", "std"} <= dict(net.named_buffers()).keys()


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_logits_are_the_same_with_and_without_autograd(mode):
    net = random_net(steps=7)
    images, _ = random_batch(net)
    with mode():
        logits = net(images)
    assert logits.shape == (4, 10) and not logits.requires_grad
    states = reference.relax(net, images, 7, "forward")
    torch.testing.assert_close(logits, reference.logits(net, states).detach(), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "change, word",
    [
        (lambda x: x * 255, "values"),
        (lambda x: x - 0.5, "values"),
        (lambda x: x.fill_(float("nan")), "nan"),
        (lambda x: x[:, :, :15], "shape"),
        (lambda x: x[:, :1], "shape"),
        (lambda x: x[0], "shape"),
        (lambda x: (x * 255).byte(), "floating"),
        (lambda x: x[:0], "shape"),
        (lambda x: x.numpy(), "shape"),
    ],
)
def test_images_that_do_not_fit_are_refused_in_one_sentence(change, word):
    net = random_net()
    images, _ = random_batch(net)
    with pytest.raises(InputError, match=word) as error:
        net(change(images))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "settings",
    [
        dict(order="sideways"),
        dict(steps=0),
        dict(paddings=(1, 1)),
        dict(image_size=8),
        dict(pooling="mean"),
        dict(pooling=None),
    ],
)
def test_settings_that_make_no_network_are_refused(settings):
    with pytest.raises(InputError):
        EPCNN(**dict(dict(channels=(4, 4, 4), paddings=(1, 0, 0)), **settings))


@pytest.mark.parametrize("pooling", ["max", "average"])
def test_settings_build_the_same_network_again(pooling):
    net = random_net(size=18, classes=7, in_channels=2, order="even-odd", pooling=pooling)
    net.steps = 9  # changed afterwards, and still told
    settings = json.loads(json.dumps(net.settings))
    assert settings == net.settings
    again = EPCNN(**settings, mean=0.5, std=0.3).double()
    assert again.settings == settings and again.shapes == net.shapes
    again.load_state_dict(net.state_dict())
    images, _ = random_batch(net)
    assert torch.equal(again(images), net(images))


def test_pooling_is_maximum_unless_asked_otherwise():
    net, average = random_net(), random_net(pooling="average")
    images, _ = random_batch(net)
    assert net.pooling == "max" and average.pooling == "average"
    assert torch.equal(random_net(pooling="max")(images), net(images))
    assert not torch.allclose(average(images), net(images))

import pytest
import torch
from conftest import random_batch, random_net

from eplib import reference
from eplib.checks import InputError
from eplib.learning import weight_gradients


def relative(ours, expected):
    return max(((ours[k] - expected[k]).norm() / expected[k].norm()).item() for k in expected)


@pytest.mark.parametrize("order", ["synchronous", "forward", "even-odd"])
@pytest.mark.parametrize(
    "channels, paddings, size", [((5, 6, 7, 8), (1, 1, 1, 0), 32), ((4, 5), (1, 0), 13), ((6,), (2,), 10)]
)
def test_centred_gradient_equals_autograd_of_the_primitive_function(channels, paddings, size, order):
    net = random_net(channels, paddings, size)
    images, labels = random_batch(net)
    ours = weight_gradients(net, images, labels, beta=0.5, free_steps=40, nudged_steps=15, order=order)
    expected = reference.centred_gradients(net, images, labels, 0.5, 40, 15, order)
    assert list(ours) == [name for name, _ in net.named_parameters()]
    assert relative(ours, expected) < 1e-9


@pytest.mark.parametrize("arg_max", ["live", "frozen"])
def test_gradient_tends_to_back_propagation_through_the_settled_network(arg_max):
    net = random_net(steps=300)
    images, labels = random_batch(net)
    states = reference.relax(net, images, 60, "forward", create_graph=True)
    loss = torch.nn.functional.cross_entropy(reference.logits(net, states), labels)
    names, parameters = zip(*net.named_parameters(), strict=True)
    bptt = dict(zip(names, torch.autograd.grad(loss, parameters), strict=True))
    errors = []
    for beta in (1e-2, 1e-3):
        ours = weight_gradients(net, images, labels, beta=beta, nudged_steps=60, arg_max=arg_max)
        errors.append(relative(ours, bptt))
    assert errors[0] < 1e-3 and errors[1] < 1e-5


def test_a_step_down_the_gradient_lowers_the_loss():
    net = random_net(steps=60)
    images, labels = random_batch(net, 8)
    before = torch.nn.functional.cross_entropy(net(images), labels)
    gradients = weight_gradients(net, images, labels, beta=0.1, nudged_steps=20)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            parameter -= 0.05 * gradients[name]
    assert torch.nn.functional.cross_entropy(net(images), labels) < before


def test_gradient_of_a_batch_is_the_mean_over_its_images():
    net = random_net()
    images, labels = random_batch(net)
    together = weight_gradients(net, images, labels)
    alone = [weight_gradients(net, images[i : i + 1], labels[i : i + 1]) for i in range(4)]
    assert relative({k: sum(g[k] for g in alone) / 4 for k in together}, together) < 1e-10


def test_works_in_inference_mode_and_leaves_the_network_alone():
    net = random_net()
    images, labels = random_batch(net)
    before = [p.clone() for p in net.parameters()]
    expected = weight_gradients(net, images, labels)
    with torch.inference_mode():
        inside = weight_gradients(net, images, labels)
    assert relative(inside, expected) < 1e-12
    assert all(torch.equal(a, b) and a.grad is None for a, b in zip(net.parameters(), before, strict=True))


@pytest.mark.parametrize(
    "arguments",
    [
        dict(estimator="guess"),
        dict(beta=0.0),
        dict(beta=-0.5),
        dict(nudged_steps=0),
        dict(arg_max="thawed"),
        dict(order="sideways"),
        dict(beta=float("nan")),
    ],
)
def test_bad_arguments_are_refused(arguments):
    net = random_net()
    with pytest.raises(InputError):
        weight_gradients(net, *random_batch(net), **arguments)

import pytest
import torch
from conftest import AVERAGE, NETS, POOLINGS, random_batch, random_net

from eplib import dynamics, reference
from eplib.checks import InputError
from eplib.learning import weight_gradients


def relative(ours, expected):
    return max(((ours[k] - expected[k]).norm() / expected[k].norm()).item() for k in expected)


@pytest.mark.parametrize("order", ["synchronous", "forward", "even-odd"])
@NETS
def test_centred_gradient_equals_autograd_of_the_primitive_function(shape, settings, order):
    net = random_net(*shape, **settings)
    images, labels = random_batch(net)
    ours = weight_gradients(net, images, labels, beta=0.5, free_steps=40, nudged_steps=15, order=order)
    expected = reference.nudged_gradients(net, images, labels, 0.5, 40, 15, order)
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


@pytest.mark.parametrize("estimator", ["centred", "one-sided"])
def test_average_pooling_has_no_winners_to_freeze(estimator):
    net = random_net((4, 6, 5), (1, 1, 1), 14, **AVERAGE)
    images, labels = random_batch(net)
    live, frozen = (weight_gradients(net, images, labels, estimator, arg_max=a) for a in ("live", "frozen"))
    assert all(torch.equal(live[name], frozen[name]) for name in live)


def test_average_pooling_in_16_bits_points_where_the_exact_gradient_does():
    net = random_net(**AVERAGE)
    images, labels = random_batch(net, 8)
    exact = weight_gradients(net, images, labels)
    rough = weight_gradients(net, images, labels, dtype=torch.bfloat16)
    for name, gradient in exact.items():
        assert rough[name].dtype == torch.float64 and not torch.equal(rough[name], gradient)
        assert torch.nn.functional.cosine_similarity(rough[name].flatten(), gradient.flatten(), dim=0) > 0.7


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


@POOLINGS
@pytest.mark.parametrize("loss", ["cross-entropy", "squared-error"])
@pytest.mark.parametrize("one_sided", [False, True])
@pytest.mark.parametrize("order", ["synchronous", "forward"])
def test_every_estimator_and_loss_equals_autograd_of_the_primitive_function(order, one_sided, loss, settings):
    net = random_net(**settings)
    images, labels = random_batch(net)
    estimator = "one-sided" if one_sided else "centred"
    ours = weight_gradients(
        net, images, labels, estimator, 0.3, free_steps=40, nudged_steps=15, order=order, loss=loss
    )
    expected = reference.nudged_gradients(net, images, labels, 0.3, 40, 15, order, loss, one_sided)
    assert relative(ours, expected) < 1e-9


def test_random_sign_is_the_one_sided_estimate_with_either_sign():
    net = random_net()
    images, labels = random_batch(net)
    arguments = dict(free_steps=40, nudged_steps=15, order="synchronous")
    expected = {
        sign: reference.nudged_gradients(
            net, images, labels, sign * 0.3, 40, 15, "synchronous", one_sided=True
        )
        for sign in (1, -1)
    }
    drawn = set()
    for seed in range(8):
        generator = torch.Generator().manual_seed(seed)
        ours = weight_gradients(net, images, labels, "random-sign", 0.3, generator=generator, **arguments)
        errors = {sign: relative(ours, gradient) for sign, gradient in expected.items()}
        drawn.add(min(errors, key=errors.get))
        assert min(errors.values()) < 1e-9
    assert drawn == {1, -1}


@pytest.mark.parametrize("loss", ["cross-entropy", "squared-error"])
@pytest.mark.parametrize("order", ["synchronous", "forward", "even-odd"])
@NETS
def test_bptt_equals_autograd_through_every_step(shape, settings, order, loss):
    net = random_net(*shape, **settings)
    images, labels = random_batch(net, 3)
    ours = weight_gradients(net, images, labels, "bptt", free_steps=20, order=order, loss=loss)
    assert relative(ours, reference.bptt_gradients(net, images, labels, 20, order, loss)) < 1e-12


@pytest.mark.parametrize("loss", ["cross-entropy", "squared-error"])
@pytest.mark.parametrize("shape, settings", [((), {}), ((), AVERAGE), (((4, 6, 5), (1, 1, 1), 14), AVERAGE)])
def test_adjoint_equals_back_propagation_through_the_settled_network(shape, settings, loss):
    net = random_net(*shape, steps=100, **settings)
    images, labels = random_batch(net)
    assert dynamics.settle(net, images).residual.max() < 1e-12
    ours = weight_gradients(net, images, labels, "adjoint", nudged_steps=200, loss=loss)
    assert relative(ours, reference.bptt_gradients(net, images, labels, 100, "forward", loss)) < 1e-9


def test_centred_gradient_tends_to_the_adjoint_with_the_square_of_beta():
    net = random_net(steps=300)
    images, labels = random_batch(net)
    assert dynamics.settle(net, images).residual.max() < 1e-12
    exact = weight_gradients(net, images, labels, "adjoint", nudged_steps=300)

    def error(estimator, beta):
        ours = weight_gradients(net, images, labels, estimator, beta, nudged_steps=300, arg_max="frozen")
        return relative(ours, exact)

    assert error("centred", 1e-3) < 1e-6
    assert error("centred", 1e-2) / error("centred", 1e-3) == pytest.approx(100, rel=0.1)
    assert error("one-sided", 1e-2) / error("one-sided", 1e-3) == pytest.approx(10, rel=0.1)
    assert error("one-sided", 1e-3) > 100 * error("centred", 1e-3)

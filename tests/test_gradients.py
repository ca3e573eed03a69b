import pytest
import torch
from conftest import NETS, POOLINGS, random_batch, random_net

from eplib import dynamics, gradients, phases, reference
from eplib.checks import InputError
from eplib.gradients import input_gradient


def bptt(net, images, labels, steps, order, start=None):
    images = images.clone().requires_grad_()
    states = reference.relax(net, images, steps, order, start=start, create_graph=True)
    loss = torch.nn.functional.cross_entropy(reference.logits(net, states), labels, reduction="sum")
    return torch.autograd.grad(loss, images)[0]


def relative(a, b):
    return ((a - b).norm() / b.norm()).item()


@pytest.mark.parametrize("order", phases.ORDERS)
@pytest.mark.parametrize("steps", [4, 25])
@NETS
def test_unrolled_equals_back_propagation_through_time(shape, settings, steps, order):
    net = random_net(*shape, **settings)
    images, labels = random_batch(net, 3)
    assert (
        relative(
            input_gradient(net, images, labels, free_steps=steps, order=order),
            bptt(net, images, labels, steps, order),
        )
        < 1e-12
    )


@POOLINGS
@pytest.mark.parametrize("order", phases.ORDERS)
def test_last_steps_equal_back_propagation_from_the_state_before_them(order, settings):
    net = random_net(**settings)
    images, labels = random_batch(net)
    middle = [s.detach() for s in dynamics.settle(net, images, 30, order).states]
    ours = input_gradient(net, images, labels, free_steps=36, order=order, last=6)
    assert relative(ours, bptt(net, images, labels, 6, order, start=middle)) < 1e-12
    assert relative(ours, input_gradient(net, images, labels, free_steps=36, order=order)) > 1e-6


@POOLINGS
@pytest.mark.parametrize("shape", [((5, 6, 7, 8), (1, 1, 1, 0), 32), ((4, 6, 5), (1, 1, 1), 14)])
def test_adjoint_equals_back_propagation_when_settled(shape, settings):
    for seed in range(3):
        net = random_net(*shape, seed=seed, **settings)
        images, labels = random_batch(net, 3, seed + 10)
        assert dynamics.settle(net, images, 100).residual.max() < 1e-10
        ours = input_gradient(net, images, labels, method="adjoint", free_steps=100)
        assert relative(ours, bptt(net, images, labels, 100, "forward")) < 1e-6


@POOLINGS
def test_gradient_equals_finite_differences(settings):
    net = random_net(steps=200, **settings)
    images, labels = random_batch(net)
    images = 0.2 + 0.6 * images
    direction = torch.randn(images.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))

    def loss(x):
        return torch.nn.functional.cross_entropy(net(x), labels, reduction="sum").item()

    measured = (loss(images + 1e-6 * direction) - loss(images - 1e-6 * direction)) / 2e-6
    for method in ("unrolled", "adjoint"):
        predicted = (input_gradient(net, images, labels, method) * direction).sum().item()
        assert abs(predicted - measured) < 1e-5 * abs(measured)


@POOLINGS
@pytest.mark.parametrize("order", ["synchronous", "forward"])
def test_the_gradient_in_16_bits_points_where_the_exact_one_does(order, settings):
    net = random_net(**settings)
    images, labels = random_batch(net, 8)
    exact = input_gradient(net, images, labels, free_steps=20, order=order)
    trace = gradients.follow(net, images, 20, order, dtype=torch.bfloat16)
    assert trace.phase.states[0].dtype == torch.bfloat16 and trace.logits.dtype == torch.float64
    onehot = torch.nn.functional.one_hot(labels, net.classes)
    found = trace.pull_back(trace.logits.softmax(1) - onehot)
    assert found.dtype == torch.float64
    cosine = torch.nn.functional.cosine_similarity(found.flatten(1), exact.flatten(1))
    assert cosine.median() > 0.95 and not torch.equal(found, exact)


@POOLINGS
def test_some_rows_of_a_trace_are_the_trace_of_those_images(settings):
    net = random_net(**settings)
    images, labels = random_batch(net)
    which = torch.tensor([True, False, True, True])
    pull = torch.nn.functional.one_hot(labels, net.classes)
    found = gradients.follow(net, images, 60, method="adjoint").rows(which).pull_back(pull[which])
    alone = gradients.follow(net, images[which], 60, method="adjoint").pull_back(pull[which])
    assert len(found) == 3 and relative(found, alone) < 1e-10


def test_average_pooling_keeps_clip_patterns_only():
    images, _ = random_batch(random_net())
    kept = {
        pooling: gradients.follow(random_net(pooling=pooling), images, 5).bytes
        for pooling in ("max", "average")
    }
    units = sum(shape.numel() for shape in random_net().shapes)
    assert kept["average"] == 5 * len(images) * units < kept["max"]


@POOLINGS
def test_the_learning_rule_gives_the_gradient_of_a_settled_image(settings):
    net = random_net(**settings)
    images, labels = random_batch(net, 4)
    exact = input_gradient(net, images, labels, "adjoint", free_steps=200)
    found = input_gradient(net, images, labels, "ep", free_steps=200)
    cosines = torch.nn.functional.cosine_similarity(found.flatten(1), exact.flatten(1))
    assert cosines.min() > 0.9 and cosines.median() > 0.99  # a nudge may reach a kink of the hard sigmoid
    assert (found.flatten(1).norm(dim=1) / exact.flatten(1).norm(dim=1) - 1).abs().median() < 0.05


def test_the_learning_rule_approaches_the_exact_gradient_with_the_square_of_its_nudge(monkeypatch):
    net = random_net()
    images, labels = random_batch(net, 4)
    exact, errors = input_gradient(net, images, labels, "adjoint", free_steps=300), []
    for nudge in (1e-2, 1e-3):
        monkeypatch.setattr(gradients, "NUDGE", nudge)
        monkeypatch.setattr(gradients, "NUDGED_SWEEPS", 300)
        errors.append(relative(input_gradient(net, images, labels, "ep", free_steps=300), exact))
    assert errors[1] < 1e-6 and errors[1] < errors[0] / 50 + 1e-9


@pytest.mark.parametrize("order", ["synchronous", "forward"])
def test_the_leaky_gradient_equals_back_propagation_through_a_leaky_hard_sigmoid(order, monkeypatch):
    class Leaky(torch.autograd.Function):
        @staticmethod
        def forward(context, u):
            context.save_for_backward(u)
            return (u * 0.5).clamp(0, 1)

        @staticmethod
        def backward(context, pull):
            (u,) = context.saved_tensors
            return torch.where((u > 0) & (u < 2), 0.5 * pull, gradients.LEAK * pull)

    net = random_net(gain=3.0)
    images, labels = random_batch(net, 3)
    weights = {l: conv for l, conv in enumerate(net.convs)}
    x = images.clone().requires_grad_()
    states = [torch.zeros(len(x), *shape, dtype=x.dtype) for shape in net.shapes]
    for _ in range(6):
        for group in phases.groups(order, len(states)):
            fields = {}
            for l in group:
                below = net.normalise(x) if l == 0 else states[l - 1]
                u = torch.nn.functional.max_pool2d(weights[l](below), 2)
                if l + 1 < len(states):
                    z, conv = weights[l + 1](states[l]), weights[l + 1]
                    _, codes = torch.nn.functional.max_pool2d(z.detach(), 2, return_indices=True)
                    up = torch.nn.functional.max_unpool2d(states[l + 1], codes, 2, output_size=z.shape[-2:])
                    u = u + torch.nn.functional.conv_transpose2d(up, conv.weight, padding=conv.padding)
                fields[l] = u
            for l, u in fields.items():
                states[l] = Leaky.apply(u)
    loss = torch.nn.functional.cross_entropy(net.readout(states[-1].flatten(1)), labels, reduction="sum")
    expected = torch.autograd.grad(loss, x)[0]
    ours = input_gradient(net, images, labels, "leaky", free_steps=6, order=order)
    assert relative(ours, expected) < 1e-12
    assert relative(ours, input_gradient(net, images, labels, free_steps=6, order=order)) > 1e-3


def test_an_adjoint_that_is_not_solved_is_refused(monkeypatch):
    net = random_net(gain=2.0)
    images, labels = random_batch(net)
    monkeypatch.setattr(gradients, "ADJOINT_SWEEPS", 2)
    monkeypatch.setattr(gradients.adjoint, "__defaults__", (2,))
    with pytest.raises(InputError, match="not solved"):
        input_gradient(net, images, labels, "adjoint", free_steps=400)


def test_only_the_steps_that_are_asked_for_are_recorded():
    net = random_net()
    images, _ = random_batch(net)
    whole, last = (gradients.follow(net, images, 30, last=last) for last in (None, 5))
    assert len(last.phase.tape) == 5 * len(net.convs) and last.bytes < whole.bytes / 5
    assert torch.equal(whole.logits, last.logits)


def test_adjoint_is_refused_where_the_network_has_not_settled():
    net = random_net(gain=3.0)
    images, labels = random_batch(net)
    with pytest.raises(InputError, match="not settled"):
        input_gradient(net, images, labels, method="adjoint", free_steps=2)


def test_fewer_steps_than_layers_see_no_pixel():
    net = random_net()
    images, labels = random_batch(net)
    assert input_gradient(net, images, labels, free_steps=2, order="synchronous").abs().max() == 0
    assert input_gradient(net, images, labels, free_steps=3, order="synchronous").abs().max() > 0


@pytest.mark.parametrize(
    "arguments", [dict(method="magic"), dict(last=0), dict(method="adjoint", last=3), dict(order="sideways")]
)
def test_bad_arguments_are_refused(arguments):
    net = random_net()
    with pytest.raises(InputError):
        input_gradient(net, *random_batch(net), **arguments)

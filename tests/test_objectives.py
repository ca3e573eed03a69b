import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from conftest import random_batch, random_net

from eplib import attacks, baselines, data, gradients, learning, objectives, scales, training
from eplib.baselines import CNN
from eplib.recipes import Recipe

BACKPROP = Recipe("backprop", 100, 4, (0.1,))


def small(seed=0, **options):
    torch.manual_seed(seed)
    return CNN((5, 6, 7), (1, 1, 0), image_size=16, mean=0.5, std=0.3, **options).double()


@pytest.fixture
def batch():
    return random_batch(small())


def found(net, recipe, batch, teacher=None, phase=None):
    objectives.gradient_of(net, recipe, teacher)(*batch, phase)
    return {name: p.grad.clone() for name, p in net.named_parameters()}


def test_backprop_is_the_gradient_of_the_mean_cross_entropy(batch):
    net = small(norm=False)
    loss = F.cross_entropy(net(batch[0]), batch[1])
    expected = torch.autograd.grad(loss, list(net.parameters()))
    for a, b in zip(found(net, BACKPROP, batch).values(), expected, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("loss", ["cross-entropy", "squared-error"])
def test_an_ep_recipe_hands_over_what_learning_computes(loss):
    net = random_net()
    batch = random_batch(net)
    recipe = Recipe("ep", 100, 4, (0.1,), beta=0.3, arg_max="frozen", loss=loss)
    expected = learning.weight_gradients(net, *batch, "centred", 0.3, 7, 4, None, "frozen", loss)
    for name, gradient in found(net, recipe, batch, phase=(7, 4)).items():
        torch.testing.assert_close(gradient, expected[name])


def test_the_penalty_is_the_squared_norm_of_the_input_gradient(batch):
    net, (x, y) = small(norm=False), batch
    x = x.clone().requires_grad_()
    losses = F.cross_entropy(net(x), y, reduction="none")
    slopes = [torch.autograd.grad(l, x, retain_graph=True)[0] for l in losses]
    expected = losses.mean() + 3.0 * torch.stack([s.square().sum() for s in slopes]).mean()
    torch.testing.assert_close(objectives.penalised(net, batch[0], y, 3.0), expected)
    assert expected > losses.mean()


def test_the_penalised_gradient_agrees_with_finite_differences(batch):
    net = small(norm=False)
    gradient = found(net, replace(BACKPROP, gradient_penalty=0.5), batch)["convs.1.weight"]
    direction = torch.randn(gradient.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    losses = []
    for sign in (1, -1):
        moved = copy.deepcopy(net)
        with torch.no_grad():
            moved.convs[1].weight += sign * 1e-6 * direction
        losses.append(objectives.penalised(moved, *batch, 0.5).item())
    measured = (losses[0] - losses[1]) / 2e-6
    assert abs((gradient * direction).sum().item() - measured) < 1e-5 * abs(measured)


@pytest.mark.parametrize("recurrent", [True, False])
def test_a_student_is_compared_with_every_layer_and_answer_of_its_teacher(recurrent, batch):
    teacher = random_net() if recurrent else small(3).eval()
    student = small(norm=False, unit="ep")
    states, answer = objectives._layers(teacher, batch[0])
    outputs = student.layers(batch[0])
    torch.testing.assert_close(answer, teacher(batch[0]))
    assert [s.shape for s in states] == [o.shape for o in outputs]
    p, q = answer.softmax(1), student(batch[0]).softmax(1)
    expected = (p * (p / q).log()).sum(1).mean()
    for state, output in zip(states, outputs, strict=True):
        expected = expected + (output - state).square().mean() / state.var()
    torch.testing.assert_close(objectives.imitation(student, teacher, batch[0]), expected)


def test_a_student_that_is_its_teacher_has_nothing_to_learn(batch):
    teacher = small(norm=False, unit="ep")
    gradient = found(copy.deepcopy(teacher), BACKPROP, batch, teacher)
    assert max(g.abs().max() for g in gradient.values()) < 1e-12
    assert objectives.imitation(small(1, norm=False, unit="ep"), teacher, batch[0]) > 0.1


@pytest.mark.parametrize("adversary", [("linf", 0.05, 3), ("l2", 1.0, 2)])
def test_adversarial_training_descends_the_loss_of_attacked_images(batch, adversary):
    net, (x, y) = small(), batch
    net.norms[0].running_mean.uniform_(-1, 1)
    before = net.norms[0].running_mean.clone()
    threat = attacks.ThreatModel(*adversary[:2])
    adversarial = attacks.pgd(attacks.AttackedModel(copy.deepcopy(net)), x, y, threat, adversary[2])
    assert 0 < threat.distance(adversarial, x).max() <= threat.epsilon * (1 + 1e-6)
    plain = copy.deepcopy(net).train()
    expected = found(plain, BACKPROP, (adversarial, y))
    net.train()
    for name, gradient in found(net, replace(BACKPROP, adversary=adversary), batch).items():
        torch.testing.assert_close(gradient, expected[name])
    assert net.training and not torch.equal(net.norms[0].running_mean, before)
    # BatchNorm saw the attacked images once, not the steps of the attack
    torch.testing.assert_close(net.norms[0].running_mean, plain.norms[0].running_mean)


def test_an_energy_based_network_is_attacked_through_the_steps_it_trains_with():
    net = random_net(steps=30)
    batch = random_batch(net)
    adversarial = objectives.attacked(net, *batch, ("linf", 0.03, 1), phase=(6, 2))
    slope = gradients.input_gradient(net, *batch, free_steps=6)
    step = (batch[0] + 0.03 * slope.sign()).clamp(0, 1)  # one step of 2.5 ε, projected to ε
    torch.testing.assert_close(adversarial, step)


def test_robust_accuracy_counts_images_right_after_an_attack_of_twice_the_steps(batch):
    net, adversary = small(), ("linf", 0.2, 2)
    net.eval()
    y = attacks.predicted(net, batch[0])
    model = attacks.AttackedModel(net)
    adversarial = attacks.pgd(model, batch[0], y, attacks.ThreatModel("linf", 0.2), 4)
    expected = (attacks.predicted(model, adversarial) == y).double().mean().item()
    assert objectives.robust_accuracy(net, batch[0], y, adversary) == expected < 1


def test_adversarial_training_on_real_images_makes_a_network_more_robust():
    sample = data.load("sample", "train")
    x, y = sample.images[:600], sample.labels[:600]
    held_out = data.as_float(sample.images[600:700]), sample.labels[600:700]
    row, accuracy = scales.row("smoke", "cnn"), {}
    adversary = ("linf", 0.1, 1)
    for kind in (None, adversary):
        recipe = replace(row.recipe, adversary=kind)
        net = training.initial(row, x, 10, 0)
        optimiser = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
        gradient = objectives.gradient_of(net, recipe)
        for i in range(36):
            batch = slice(50 * (i % 12), 50 * (i % 12) + 50)
            net.train()
            gradient(data.as_float(x[batch]), y[batch], None)
            optimiser.step()
        accuracy[kind] = objectives.robust_accuracy(net, *held_out, adversary)
    assert accuracy[adversary] > accuracy[None] + 0.1


def test_the_student_and_the_cut_network_learn_from_the_network_of_their_seed(tmp_path, smoke):
    path = training.train("ep-cnn", "sample", "smoke", 0, tmp_path, progress=False)
    from eplib import checkpoints

    teacher = checkpoints.load(path)
    cut = checkpoints.load(training.train("twin-cut", "sample", "smoke", 0, tmp_path, progress=False))
    assert torch.equal(cut.net.convs[2].weight, teacher.net.convs[2].weight)
    assert not torch.equal(cut.net.readout.weight, teacher.net.readout.weight)
    assert cut.record["training"]["source_sha256"] == teacher.sha256
    x = torch.rand(2, 3, 32, 32)
    below = cut.net.normalise(x)  # one sweep from zero hears nothing from above
    for conv in cut.net.convs:
        below = (F.max_pool2d(conv(below), 2) / 2).clamp(0, 1)
    torch.testing.assert_close(cut.net(x), cut.net.readout(below.flatten(1)))


def test_every_unit_of_a_cnn_is_its_formula(batch):
    formulas = {
        "relu": lambda u: u.clamp(min=0),
        "hard-sigmoid": lambda u: ((u + 3) / 6).clamp(0, 1),
        "ep": lambda u: (u / 2).clamp(0, 1),
    }
    assert set(formulas) == set(baselines.UNITS)
    for unit, formula in formulas.items():
        net = small(norm=False, unit=unit)
        x = (batch[0] - 0.5) / 0.3
        for conv, output in zip(net.convs, net.layers(batch[0]), strict=True):
            x = F.max_pool2d(formula(conv(x)), 2)
            torch.testing.assert_close(output, x)
        torch.testing.assert_close(net(batch[0]), net.readout(x.flatten(1)))

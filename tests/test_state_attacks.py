import copy

import pytest
import torch
import torch.nn.functional as F
from conftest import POOLINGS, random_batch, random_net

from eplib import baselines, conventions, dynamics, losses, reference, state_attacks
from eplib.attacks import AttackedModel, ThreatModel, predicted
from eplib.losses import STATE_ATTACKS
from eplib.state_attacks import Intermediate, Joint, featured, nearest

THREATS = pytest.mark.parametrize("threat", [ThreatModel("l2", 1.0), ThreatModel("linf", 0.05)])


def gradient(model, loss, images, targets):
    x = images.clone().requires_grad_()
    return torch.autograd.grad(loss(model(x), targets).sum(), x)[0]


def relaxed(net, images, steps, order, start=None):
    """(images that can be differentiated, states of `reference.relax` from them)."""
    x = images.clone().requires_grad_()
    return x, reference.relax(net, x, steps, order, start=start, create_graph=True)


def close(a, b):
    return ((a - b).norm() / b.norm()).item() < 1e-12


@POOLINGS
def test_features_are_the_last_state_and_their_gradient_is_exact(settings):
    net = random_net(steps=12, **settings)
    images, _ = random_batch(net, 3)
    model, before = AttackedModel(featured(net)), copy.deepcopy(net.state_dict())
    states = dynamics.settle(net, images).states[-1].flatten(1)
    assert torch.equal(model(images), states) and states.std() > 0
    assert all(torch.equal(v, net.state_dict()[k]) for k, v in before.items())
    targets = states.roll(1, 0)
    x, expected = relaxed(net, images, 12, net.order)
    loss = state_attacks.closeness(expected[-1].flatten(1), targets).sum()
    assert close(gradient(model, state_attacks.closeness, images, targets), torch.autograd.grad(loss, x)[0])


@pytest.mark.parametrize(
    "kind, settings",
    [
        ("CNN", dict(channels=[4, 5], paddings=[1, 1], image_size=16)),
        ("ViT", dict(patch=8, width=12, depth=1, heads=2, mlp=12)),
        ("CCT", dict(channels=[6], width=12, depth=1, heads=2, mlp=12)),
        ("Swin", dict(patch=4, width=12, depths=[1], heads=[2], window=4)),
        ("Mixer", dict(patch=8, width=12, depth=1)),
    ],
)
def test_features_of_other_networks_are_what_their_last_linear_layer_takes(kind, settings):
    torch.manual_seed(0)
    net = baselines.build({"kind": kind, **settings}).eval()
    linear = [m for m in net.modules() if isinstance(m, torch.nn.Linear) and m.out_features == net.classes][
        -1
    ]
    torch.nn.init.normal_(linear.weight)
    images = torch.rand(3, 3, net.image_size, net.image_size)
    features = AttackedModel(featured(net))(images)
    assert features.shape == (3, linear.in_features) and features.std(0).max() > 0
    assert torch.allclose(linear(features), net(images), atol=1e-5)


def test_a_network_without_a_last_linear_layer_has_no_features(tiny):
    assert featured(tiny[0].net) is None


def test_the_target_is_the_nearest_state_of_another_class_than_the_label():
    net = random_net()
    images, labels = random_batch(net, 5)
    model = AttackedModel(featured(net))
    own = model(images)
    states = 0.5 * torch.rand(30, own.shape[1], dtype=torch.float64)
    classes = torch.randint(0, 10, (30,))
    for i, target in enumerate(nearest(model, images, labels, states, classes)):
        allowed = states[classes != labels[i]]
        assert torch.equal(target, min(allowed, key=lambda s, i=i: (s - own[i]).norm()))
    alone = nearest(model, images, labels, states[:1], labels[:1].clone())
    same = labels == labels[0]
    assert torch.equal(alone[same], own[same]) and torch.equal(
        alone[~same], states[:1].expand_as(alone[~same])
    )


@pytest.mark.parametrize("order", ["forward", "synchronous"])
def test_losses_of_intermediate_logits_are_those_of_one_unrolled_free_phase(order):
    net = random_net(steps=12, order=order)
    images, labels = random_batch(net, 3)
    model, x = Intermediate(net), images.clone().requires_grad_()
    read = [reference.logits(net, relaxed(net, images, t, order)[1]) for t in (3, 6, 12)]
    assert torch.allclose(model(images), torch.stack(read, 1), atol=1e-12)
    states, expected, before = None, 0.0, 0
    for t in (3, 6, 12):  # one free phase, read out three times
        states = reference.relax(net, x, t - before, order, start=states, create_graph=True)
        logits, before = reference.logits(net, states), t
        expected = expected + F.cross_entropy(logits, labels, reduction="sum") / 3
    loss = losses.over_steps(losses.cross_entropy)
    assert close(gradient(model, loss, images, labels), torch.autograd.grad(expected, x)[0])
    mean = torch.stack(read).mean(0)
    assert torch.allclose(state_attacks.margin_of_mean(model(images), labels), losses.margin(mean, labels))


def test_a_short_free_phase_has_no_step_zero():
    net = random_net(steps=3)
    assert Intermediate(net)(random_batch(net)[0]).shape == (4, 2, 10)  # after 1 and 3 steps


def test_the_joint_attack_goes_on_from_its_states():
    net = random_net(steps=10)
    images, labels = random_batch(net, 3)
    other = (0.5 * images + 0.25).clone()
    joint, steps = Joint(net, images), state_attacks.JOINT_STEPS
    start = dynamics.settle(net, images).states
    for shown in (other, images):
        x, expected = relaxed(net, shown, steps, net.order, start=start)
        loss = losses.cross_entropy(reference.logits(net, expected), labels).sum()
        found = gradient(joint, losses.cross_entropy, shown, labels)
        assert close(found, torch.autograd.grad(loss, x)[0])
        start = [s.detach() for s in expected]
        assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(joint.states, start, strict=True))


@THREATS
def test_every_attack_reaches_what_it_is_for_within_its_budget(threat):
    net = random_net(steps=30, gain=2.5)
    images = 0.3 + 0.4 * random_batch(net, 8)[0]
    with torch.no_grad():
        net.readout.bias -= net(images).mean(0)  # so that there are several classes
    judge = AttackedModel(net)
    labels = predicted(judge, images)
    attacks = state_attacks.all_of(net, images, 3)
    assert tuple(attacks) == STATE_ATTACKS
    states = AttackedModel(featured(net))
    targets = nearest(states, images, labels, states(images), labels)
    intermediate = Intermediate(net)
    reached = {
        "hidden-state matching": lambda x: state_attacks.closeness(states(x), targets),
        "intermediate cross-entropy": lambda x: losses.over_steps(losses.cross_entropy)(
            intermediate(x), labels
        ),
        "intermediate margin": lambda x: state_attacks.margin_of_mean(intermediate(x), labels),
        "joint": lambda x: losses.cross_entropy(judge(x), labels),
    }
    for name, attack in attacks.items():
        found = attack(images, labels, threat, 10)
        assert threat.distance(found, images).max() <= threat.epsilon * (1 + 1e-9)
        assert found.min() >= 0 and found.max() <= 1
        rise = reached[name](found) - reached[name](images)
        assert (rise > 0).double().mean() >= 0.85, name
        assert torch.equal(found, attack(images, labels, threat, 10)), name


def test_the_joint_attack_takes_as_many_free_steps_as_plain_pgd(monkeypatch):
    net, seen = random_net(steps=30), []
    images, labels = random_batch(net)
    attack = state_attacks.all_of(net, images, 4)["joint"]
    right = conventions.pgd
    monkeypatch.setattr(state_attacks, "pgd", lambda *a, **k: seen.append(a[4]) or right(*a, **k))
    attack(images, labels, ThreatModel("l2", 0.5), 4)
    assert seen == [30 * 4 // state_attacks.JOINT_STEPS]

import copy

import numpy as np
import pytest
import torch
from conftest import Planted
from torch import nn

from eplib import data, suite
from eplib.attacks import AttackedModel, ThreatModel, predicted
from eplib.checks import InputError
from eplib.union import union

STEPS = {"square": 30, "noise": 5}  # 4 for all others
GRADIENT = ("pgd", "pgd-random", "apgd-ce", "apgd-t", "fab-t")


class Broken(nn.Module):
    """A model whose logits are changed on their way out."""

    def __init__(self, model, change):
        super().__init__()
        self.net, self.model, self.change = model.net, model, change

    def forward(self, images):
        return self.change(self.model(images))


@pytest.fixture(scope="module")
def images():
    return data.as_float(data.load("sample", "test").images[:64])


def margin(model, images, labels):
    """[N]: how far another class is ahead."""
    logits = model(images).detach()
    others = logits.scatter(1, labels[:, None], -float("inf")).amax(1)
    return others - logits.gather(1, labels[:, None])[:, 0]


@pytest.mark.parametrize("kind", ["ep-cnn", "cnn"])
@pytest.mark.parametrize("norm, epsilon", [("linf", 0.05), ("l2", 1.0)])
@pytest.mark.parametrize("name", suite.ATTACKS)
def test_every_attack_keeps_the_rules_and_leaves_no_trace(smoke, images, kind, norm, epsilon, name):
    net = copy.deepcopy(smoke[kind].net).requires_grad_()
    model, x = AttackedModel(net), images[:6]
    y, threat, steps = predicted(model, x), ThreatModel(norm, epsilon), STEPS.get(name, 4)
    torch.manual_seed(7)
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    adversarial = suite.checked(model, x, y, threat, name, steps, seed=3)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert (np.random.get_state()[1] == numpy_state).all()
    assert not any(module.training for module in model.modules())
    assert all(p.requires_grad and p.grad is None for p in net.parameters())
    assert adversarial.shape == x.shape and not adversarial.requires_grad
    assert adversarial.min() >= 0 and adversarial.max() <= 1
    assert threat.distance(adversarial, x).max() <= epsilon * (1 + 1e-4) + 1e-6
    with torch.no_grad():
        again = suite.checked(model, x, y, threat, name, steps, seed=3)
    assert torch.equal(adversarial, again)
    rises = margin(model, adversarial, y) - margin(model, x, y)
    broken = predicted(model, adversarial) != y
    if name in ("pgd", "pgd-random"):  # the others give back what they do not break
        assert rises.mean() > 0
    elif name != "noise":
        assert (broken | (adversarial == x).flatten(1).all(1)).all()


@pytest.mark.parametrize("name", suite.ATTACKS)
def test_without_a_budget_no_image_changes(smoke, images, name):
    model, x = AttackedModel(smoke["cnn"].net), images[:2]
    for norm in ("linf", "l2"):
        same = suite.checked(model, x, predicted(model, x), ThreatModel(norm, 0.0), name, 2, 0)
        assert torch.equal(same, x) and same is not x


@pytest.mark.parametrize("name", [name for name in suite.ATTACKS if name != "pgd"])
def test_seeds_matter_where_anything_is_random(tiny, name):
    model, x, y = tiny
    threat = ThreatModel("linf", 0.2)
    results = [suite.checked(model, x, y, threat, name, STEPS.get(name, 4), seed) for seed in (0, 1)]
    assert torch.equal(*results) == (name == "fab-t")  # which starts at the image


@pytest.mark.parametrize("norm, epsilon", [("linf", 0.1), ("l2", 0.8)])
@pytest.mark.parametrize("name", GRADIENT)
def test_gradient_attacks_find_a_planted_example_and_none_beyond_the_budget(norm, epsilon, name):
    for share, expected in ((0.9, True), (1.1, False)):
        model = AttackedModel(Planted(norm, share * epsilon))
        x, y = model.net.images(), torch.zeros(3, dtype=torch.int64)
        assert (predicted(model, x) == 0).all()
        adversarial = suite.checked(model, x, y, ThreatModel(norm, epsilon), name, 20, 0)
        assert (predicted(model, adversarial) != 0).tolist() == [expected] * 3


@pytest.mark.parametrize("norm, epsilon, share", [("linf", 0.1, 0.6), ("l2", 0.8, 0.3)])
def test_square_finds_a_planted_example_with_enough_queries(norm, epsilon, share):
    model = AttackedModel(Planted(norm, share * epsilon))
    x, y, threat = model.net.images(), torch.zeros(3, dtype=torch.int64), ThreatModel(norm, epsilon)
    for queries, expected in ((1, False), (600, True)):
        adversarial = suite.checked(model, x, y, threat, "square", queries, 0)
        assert (predicted(model, adversarial) != 0).tolist() == [expected] * 3


@pytest.mark.parametrize("norm, epsilon", [("linf", 0.1), ("l2", 0.8)])
def test_noise_finds_a_planted_example_with_enough_draws(norm, epsilon):
    threat, y = ThreatModel(norm, epsilon), torch.zeros(3, dtype=torch.int64)
    for share, expected in ((0.1, True), (1.1, False)):
        model = AttackedModel(Planted(norm, share * epsilon))
        x = model.net.images()
        adversarial = suite.checked(model, x, y, threat, "noise", 200, 0)
        assert (predicted(model, adversarial) != 0).tolist() == [expected] * 3


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_noise_uses_its_whole_budget_and_gets_worse_with_more_draws(norm):
    model = AttackedModel(Planted(norm, 0.5))
    x, y, threat = model.net.images(), torch.zeros(3, dtype=torch.int64), ThreatModel(norm, 0.05)
    one, many = (suite.checked(model, x, y, threat, "noise", draws, 0) for draws in (1, 40))
    for noisy in (one, many):
        torch.testing.assert_close(threat.distance(noisy, x), torch.full((3,), 0.05))
    assert (margin(model, many, y) >= margin(model, one, y)).all() and not torch.equal(many, one)
    if norm == "linf":
        torch.testing.assert_close((one - x).abs(), torch.full_like(x, 0.05))


def test_restarts_are_the_worst_of_single_runs(smoke, images, monkeypatch):
    model, x = AttackedModel(smoke["cnn"].net), images[:6]
    y, threat = predicted(model, x), ThreatModel("l2", 0.5)
    five = margin(model, suite.checked(model, x, y, threat, "pgd-random", 3, 0), y)
    monkeypatch.setattr(suite, "RESTARTS", 1)
    one = margin(model, suite.checked(model, x, y, threat, "pgd-random", 3, 0), y)
    assert (five >= one - 1e-6).all() and (five > one + 1e-6).any()


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda x: x + 0.2, "0.1"),
        (lambda x: x - 0.2, "0.1"),
        (lambda x: x * float("nan"), "finite"),
        (lambda x: 1.05 + 0 * x, "1.05"),
        (lambda x: -0.05 + 0 * x, "-0.05"),
    ],
)
def test_an_attack_that_leaves_its_threat_model_is_refused(monkeypatch, spoil, message):
    model = AttackedModel(Planted("linf", 0.5))
    x = torch.full((2, 1, 16, 16), 0.5)
    monkeypatch.setitem(suite.ATTACKS, "square", lambda model, x, y, threat, steps, seed: spoil(x))
    with pytest.raises(InputError, match=f"square.*{message}"):
        suite.checked(model, x, torch.zeros(2, dtype=torch.int64), ThreatModel("linf", 0.1), "square", 1, 0)


def test_an_attack_may_err_by_rounding(monkeypatch):
    model = AttackedModel(Planted("linf", 0.5))
    x, y, threat = (
        torch.full((2, 1, 16, 16), 0.5),
        torch.zeros(2, dtype=torch.int64),
        ThreatModel("linf", 0.1),
    )
    for over, refused in ((5e-6, False), (2e-5, True)):
        monkeypatch.setitem(suite.ATTACKS, "pgd", lambda *_, over=over: x + 0.1 + over)
        if refused:
            with pytest.raises(InputError, match="pgd"):
                suite.checked(model, x, y, threat, "pgd", 1, 0)
        else:
            suite.checked(model, x, y, threat, "pgd", 1, 0)


def test_models_that_attacks_cannot_use_are_refused(smoke, images):
    model, x = AttackedModel(smoke["cnn"].net), images[:4]
    suite.check_model(model, x)
    suite.check_model(Broken(model, lambda logits: logits.softmax(1) + 0.01), x)  # not a distribution
    suite.check_model(
        Broken(model, lambda logits: logits.softmax(1) * torch.tensor([2, 0.1])[[0] * 9 + [1]]), x
    )
    for change, message in (
        (lambda logits: logits.softmax(1), "probabilities"),
        (lambda logits: logits + 0.1 * torch.rand_like(logits), "deterministic"),
        (lambda logits: logits / 0, "finite"),
        (lambda logits: logits * float("nan"), "finite"),
    ):
        with pytest.raises(InputError, match=message):
            suite.check_model(Broken(model, change), x)
    with pytest.raises(InputError, match="probabilities"):
        broken = Broken(model, lambda logits: logits.softmax(1))
        union(broken, x, predicted(model, x), "linf", (0.1,), [("pgd", 1)], 4, progress=False)


def test_only_the_whole_plan_is_autoattack():
    assert suite.is_autoattack(suite.AUTOATTACK) and suite.is_autoattack([list(p) for p in suite.AUTOATTACK])
    assert not suite.is_autoattack(suite.AUTOATTACK[:3])
    assert not suite.is_autoattack((*suite.AUTOATTACK[:3], ("square", 1000)))


def test_bad_settings_are_refused(tiny):
    model, x, y = tiny
    with pytest.raises(InputError, match="steps = 0 of apgd-ce"):
        suite.checked(model, x, y, ThreatModel("linf", 0.1), "apgd-ce", 0, 0)
    with pytest.raises(InputError, match="float32"):
        suite.checked(model, x.double(), y, ThreatModel("linf", 0.1), "fab-t", 1, 0)
    few = AttackedModel(Planted("linf", 0.1))
    few.net.classes = 3
    with pytest.raises(InputError, match="3 classes"):
        suite.checked(few, few.net.images(), y[:3] * 0, ThreatModel("linf", 0.1), "apgd-t", 1, 0)

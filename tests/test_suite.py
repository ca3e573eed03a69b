import copy

import numpy as np
import pytest
import torch
from torch import nn

from eplib import attacks, data, suite
from eplib.attacks import AttackedModel, ThreatModel, predicted
from eplib.checks import InputError, check_images

STEPS = {"square": 30, "noise": 5}  # 4 for all others
GRADIENT = ("pgd", "pgd-random", "apgd-ce", "apgd-t", "fab-t")


class Planted(nn.Module):
    """Class 0 everywhere but beyond a hyperplane at `distance` (in `norm`) of every image of `images()`."""

    classes = 4

    def __init__(self, norm, distance, size=16):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        hidden = 1 + torch.rand(1, 1, size, size, generator=generator)
        hidden[..., size // 2 :] *= -1
        others = 0.01 * torch.randn(2, 1, size, size, generator=generator)
        hidden *= 5 / distance / (hidden.abs().sum() if norm == "linf" else hidden.norm())
        self.weight = nn.Parameter(torch.cat([hidden, others]).flatten(1))
        self.generator, self.size = generator, size

    def images(self, count=3):
        """Grey images with some noise, none of it towards the hyperplane."""
        noise = 0.1 * torch.rand(count, self.size**2, generator=self.generator)
        direction = nn.functional.normalize(self.weight[:1].detach())
        noise -= (noise @ direction.T) * direction
        return (0.5 + noise).unflatten(1, (1, self.size, self.size))

    def check(self, images):
        check_images(images, (1, self.size, self.size))

    def forward(self, images):
        moved = (images - 0.5).flatten(1) @ self.weight.T
        return torch.cat([torch.zeros_like(moved[:, :1]), moved - moved.new_tensor([5, 20, 20])], 1)


class Tiny(nn.Module):
    """A small network that learns to tell ten noisy patterns of 16 × 16 pixels apart."""

    classes = 10

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Conv2d(1, 8, 5, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10))
        self.patterns = torch.rand(10, 1, 16, 16)
        optimizer = torch.optim.Adam(self.parameters(), 0.01)
        for _ in range(60):
            loss = nn.functional.cross_entropy(self(self.images(64)), torch.arange(64) % 10)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def images(self, count):
        labels = torch.arange(count) % 10
        return (0.25 + 0.5 * self.patterns[labels] + 0.2 * torch.randn(count, 1, 16, 16)).clamp(0, 1)

    def check(self, images):
        check_images(images, (1, 16, 16))

    def forward(self, images):
        return self.layers(images)


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


@pytest.fixture(scope="module")
def tiny():
    """(model, 64 images, labels that it gives them)."""
    with torch.random.fork_rng():
        model = AttackedModel(Tiny())
        x = model.net.images(64)
    y = predicted(model, x)
    assert (y == torch.arange(64) % 10).float().mean() > 0.8
    return model, x, y


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
        suite.union(broken, x, predicted(model, x), "linf", (0.1,), [("pgd", 1)], 4, progress=False)


PLAN = (("noise", 2), ("pgd", 2), ("apgd-ce", 3), ("square", 20))


@pytest.fixture(scope="module")
def run(tiny):
    """(model, images, labels, norm, epsilons, plan, batch) and its Outcomes, three images being wrong."""
    model, x, y = tiny[0], tiny[1][:20], tiny[2][:20].clone()
    y[:3] = (y[:3] + 1) % 10
    arguments = model, x, y, "linf", (0.0, 0.03, 0.06, 0.2), PLAN, 8
    return arguments, suite.union(*arguments, progress=False)


def test_outcomes_of_a_union_are_consistent(run):
    _, outcomes = run
    assert outcomes.clean.tolist() == [False] * 3 + [True] * 17
    assert outcomes.correct.dtype == bool and outcomes.found_by.dtype == np.int8
    assert outcomes.correct.shape == outcomes.found_by.shape == (4, 20)
    assert (outcomes.correct == (outcomes.found_by == -1)).all()
    assert (outcomes.found_by[:, :3] == -2).all() and (outcomes.found_by[:, 3:] >= -1).all()
    assert (outcomes.correct[0] == outcomes.clean).all()
    assert (np.diff(outcomes.correct.astype(int), axis=0) <= 0).all()
    assert 0 < outcomes.correct[2].sum() < 17 and len(np.unique(outcomes.found_by)) > 3
    for before, after in zip(outcomes.found_by, outcomes.found_by[1:], strict=False):
        assert (after[before >= 0] == before[before >= 0]).all()


def test_a_union_is_reproducible(run):
    arguments, outcomes = run
    torch.rand(5)
    assert (suite.union(*arguments, progress=False).found_by == outcomes.found_by).all()


def test_only_survivors_are_attacked_each_call_by_its_own_seed(run, monkeypatch):
    arguments, outcomes = run
    calls = []

    def counted(model, x, y, threat, name, steps, seed, right=suite.checked):
        assert (predicted(model, x) == y).all()
        calls.append((threat.epsilon, name, steps, len(x), seed))
        return right(model, x, y, threat, name, steps, seed)

    monkeypatch.setattr(suite, "checked", counted)
    suite.union(*arguments, progress=False)
    expected, survivors = [], outcomes.found_by
    for start in (0, 8, 16):
        part = survivors[:, start : start + 8]
        for i, epsilon in enumerate(arguments[4]):
            for j, (name, steps) in enumerate(PLAN):
                left = (part[i] == -1) | (part[i] >= j)
                if i:
                    left &= part[i - 1] == -1
                if left.any():
                    expected.append((epsilon, name, steps, left.sum()))
    assert [call[:4] for call in calls] == expected
    seeds = [call[4] for call in calls]
    assert len(set(seeds)) == len(seeds)
    calls.clear()
    suite.union(*arguments, seed=1, progress=False)
    assert not set(seeds) & {call[4] for call in calls}


def test_an_attack_more_never_saves_an_image(run):
    arguments, _ = run
    model, x, y, norm, epsilons, _, batch = arguments
    one = suite.union(model, x, y, norm, epsilons, PLAN[1:2], batch, progress=False)
    two = suite.union(model, x, y, norm, epsilons, (*PLAN[1:2], ("noise", 1)), batch, progress=False)
    assert not (two.correct & ~one.correct).any()
    assert (two.found_by[one.found_by == 0] == 0).all()


def test_a_union_of_pgd_alone_is_robust_outcomes(run):
    model, x, y, norm, epsilons, _, batch = run[0]
    clean, correct = attacks.robust_outcomes(model, x, y, norm, epsilons, 3, batch, progress=False)
    outcomes = suite.union(model, x, y, norm, epsilons, [("pgd", 3)], batch, progress=False)
    assert (outcomes.clean == clean).all() and (outcomes.correct == correct).all()


def test_a_union_shows_how_far_it_is(run, capsys):
    model, x, y, norm, epsilons, _, _ = run[0]
    outcomes = suite.union(model, x, y, norm, epsilons, [("pgd", 2)], 20)
    share = outcomes.correct[-1].mean()
    assert f"ε = 0.2: {share:.3f} right" in capsys.readouterr().err


@pytest.mark.parametrize("norm, scale", [("linf", 1), ("l2", 8)])
@pytest.mark.parametrize("name, steps", [("apgd-ce", 10), ("apgd-t", 5), ("fab-t", 5), ("square", 100)])
def test_parts_agree_with_the_reference(tiny, norm, scale, name, steps):
    from pyautoattack import AutoAttack

    model, x, y = tiny
    low, high, ours = 0.02 * scale, 0.6 * scale, 0
    while not 24 <= ours <= 40:  # a budget at which the count is worth comparing
        epsilon = (low * high) ** 0.5
        ours = suite.union(model, x, y, norm, [epsilon], [(name, steps)], 64, progress=False).correct.sum()
        low, high = (epsilon, high) if ours > 40 else (low, epsilon)
        assert high > 1.01 * low
    seed = suite._seed(0, 0, 0, 0)  # the same random numbers, which matter for few queries
    reference = AutoAttack(
        model, norm=suite._NORM[norm], eps=epsilon, version="custom", attacks=[name], seed=seed
    )
    reference.apgd.n_iter = reference.apgd_targeted.n_iter = reference.fab.n_iter = steps
    reference.apgd.n_restarts, reference.square.n_queries = 1, steps
    with suite.isolated(model, 0):
        adversarial, _ = reference.run_standard_evaluation(x, y, batch_size=64)
    theirs = (predicted(model, adversarial) == y).sum().item()
    assert abs(theirs - ours) <= 2


def test_only_the_whole_plan_is_autoattack():
    assert suite.is_autoattack(suite.AUTOATTACK) and suite.is_autoattack([list(p) for p in suite.AUTOATTACK])
    assert not suite.is_autoattack(suite.AUTOATTACK[:3])
    assert not suite.is_autoattack((*suite.AUTOATTACK[:3], ("square", 1000)))


def test_bad_settings_are_refused(run):
    model, x, y, *_ = run[0]
    for change, message in (
        ({"epsilons": (0.2, 0.1)}, "ascending"),
        ({"plan": ()}, "plan"),
        ({"plan": [("guess", 1)]}, "attack 'guess'"),
        ({"plan": [("apgd-ce", 0)]}, "steps = 0 of apgd-ce"),
        ({"norm": "l3"}, "norm"),
        ({"labels": y + 10}, "labels"),
        ({"images": 2 * x}, "images"),
    ):
        good = dict(images=x, labels=y, norm="linf", epsilons=(0.1,), plan=[("pgd", 1)], batch=20)
        with pytest.raises(InputError, match=message):
            suite.union(model, **good | change, progress=False)
    with pytest.raises(InputError, match="float32"):
        suite.checked(model, x.double(), y, ThreatModel("linf", 0.1), "fab-t", 1, 0)
    few = AttackedModel(Planted("linf", 0.1))
    few.net.classes = 3
    with pytest.raises(InputError, match="3 classes"):
        suite.checked(few, few.net.images(), y[:3] * 0, ThreatModel("linf", 0.1), "apgd-t", 1, 0)

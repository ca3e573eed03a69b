import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from conftest import Planted, random_batch, random_net
from torch import nn

from eplib import conventions, iterations, scales, suite
from eplib.attacks import AttackedModel, ThreatModel, pgd, predicted
from eplib.checks import InputError
from eplib.iterations import Run, by_restarts, by_steps, course, flattened, left_within, runs, shown
from eplib.results import Result

SIZES = {"norm": "l2", "epsilon": 1.0, "steps": 12, "restarts": 3, "batch": 7}
NORMS = pytest.mark.parametrize("norm, epsilon", [("linf", 0.12), ("l2", 1.0)])


@pytest.fixture(scope="module")
def case(tiny):
    """(network, 12 images, labels): the first two labels are wrong."""
    model, x, y = tiny[0], tiny[1][:12], tiny[2][:12].clone()
    y[:2] = (y[:2] + 1) % 10
    return model.net, x, y


def run(net, x, y, folder=None, **changes):
    return iterations.iterations(net, x, y, SIZES | changes, folder, progress=False)


def accuracy(found):
    """{(attack, steps, starts): bool [N]}."""
    rows = [r for r in found.rows if r["metric"] == "accuracy"]
    keys = [(r["attack"], r["attack_steps"], r["restarts"]) for r in rows]
    assert [r["value"] for r in rows] == pytest.approx(found.correct.mean(1).tolist())
    return dict(zip(keys, found.correct, strict=True))


def values(found, metric):
    """{iteration or None: value}."""
    return {r.get("iteration"): r["value"] for r in found.rows if r["metric"] == metric}


def test_the_ladder_of_every_scale_ends_with_two_lengths_from_several_starts():
    first, last = Run("fgsm", 1, (1,)), Run("apgd-ce", 100, (1,))
    ladder = (Run("pgd", 10, (1,)), Run("pgd", 20, (1,)), Run("pgd", 50, (1, 5)), Run("pgd", 100, (1, 5)))
    assert runs(100, 5) == (first, *ladder, last)
    for size in scales.SCALES.values():
        sizes = size.attacks["iterations"]
        plan = runs(sizes["steps"], sizes["restarts"])
        several = [r for r in plan if len(r.starts) > 1]
        assert [r.steps for r in several] == sorted({r.steps for r in plan if r.attack == "pgd"})[-2:]
        assert all(r.starts[0] == 1 and r.starts[-1] == sizes["restarts"] for r in several)
    assert [r.steps for r in runs(1000, 20)[1:-1]] == [10, 20, 50, 100, 200, 500, 1000]
    assert runs(1000, 20)[-2].starts == (1, 5, 10, 20)
    assert [r.steps for r in runs(6, 2)] == [1, 1, 2, 5, 6, 6]


def test_shown_iterations_are_all_or_evenly_spread():
    assert shown(7) == tuple(range(8)) and shown(100) == tuple(range(101))
    assert shown(500) == tuple(range(0, 501, 5)) and shown(250)[-3:] == (246, 249, 250)


@NORMS
def test_outcomes_are_those_of_the_attacks_themselves(case, norm, epsilon):
    net, x, y = case
    found, model, threat = (
        run(net, x, y, norm=norm, epsilon=epsilon),
        AttackedModel(net),
        ThreatModel(norm, epsilon),
    )
    outcomes, clean = accuracy(found), predicted(model, x) == y
    assert (found.clean == clean.numpy()).all() and found.clean.tolist()[:2] == [False, False]
    for steps in (10, 12):
        right = predicted(model, pgd(model, x, y, threat, steps)) == y
        assert (outcomes["pgd", steps, 1] == (clean & right).numpy()).all()
    z = x.clone().requires_grad_()
    gradient = torch.autograd.grad(F.cross_entropy(model(z), y), z)[0]
    length = gradient.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    step = gradient.sign() if norm == "linf" else gradient / length
    right = predicted(model, (x + epsilon * step).clamp(0, 1)) == y
    assert (outcomes["fgsm", 1, 1] == (clean & right).numpy()).all()
    for start in (0, 7):  # of the two parts
        rows = slice(start, start + 7)
        alive = clean[rows]
        seed = int(np.random.SeedSequence((start, 12, 0)).generate_state(1)[0])
        z = suite.checked(model, x[rows][alive], y[rows][alive], threat, "apgd-ce", 12, seed)
        right = predicted(model, z) == y[rows][alive]
        assert (outcomes["apgd-ce", 12, 1][rows][alive.numpy()] == right.numpy()).all()
    assert 0 < outcomes["pgd", 12, 1].sum() < clean.sum()


def test_starts_are_seeded_by_the_place_of_their_part_and_the_worst_counts(case):
    net, x, y = case
    outcomes = accuracy(run(net, x, y, norm="linf", epsilon=0.08, steps=2, restarts=12))
    several = [("pgd", steps, starts) for steps in (1, 2) for starts in (1, 5, 10, 12)]
    assert [key for key in outcomes if key[0] == "pgd"] == several
    model, threat = AttackedModel(net), ThreatModel("linf", 0.08)
    for first in (0, 7):
        u, v = x[first : first + 7], y[first : first + 7]
        alive = predicted(model, u) == v
        for start in range(12):
            random = np.random.default_rng((first, 2, start)) if start else None
            z = conventions.pgd(model, u[alive], v[alive], threat, 2, conventions.CORRECTED, random)
            alive[alive.clone()] = predicted(model, z) == v[alive]
            if start + 1 in (1, 5, 10, 12):
                found = outcomes["pgd", 2, start + 1][first : first + 7]
                assert (found == alive.numpy()).all()
    assert outcomes["pgd", 2, 12].sum() < outcomes["pgd", 2, 1].sum()


@NORMS
def test_the_course_is_that_of_the_iterates(case, norm, epsilon):
    net, x, y = case
    found, model = run(net, x, y, norm=norm, epsilon=epsilon), AttackedModel(net)
    z, losses, right = x.clone(), [], []
    for _ in range(13):  # plain PGD, written down once more
        z.requires_grad_()
        logits = model(z)
        losses.append(F.cross_entropy(logits, y, reduction="none"))
        right.append(logits.argmax(1) == y)
        gradient = torch.autograd.grad(losses[-1].sum(), z)[0]
        length = gradient.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        step = gradient.sign() if norm == "linf" else gradient / length
        change = z.detach() + 2.5 * epsilon / 12 * step - x
        if norm == "linf":
            change = change.clamp(-epsilon, epsilon)
        else:
            change = change * (epsilon / change.flatten(1).norm(dim=1).clamp_min(epsilon)).view(-1, 1, 1, 1)
        z = (x + change).clamp(0, 1)
    losses, right = torch.stack(losses).detach(), torch.stack(right)
    clean = found.clean
    np.testing.assert_allclose(found.arrays["loss"][:, clean], losses[:, clean], rtol=2e-3, atol=1e-4)
    assert np.isnan(found.arrays["loss"][:, ~clean]).all() and found.arrays["loss"].dtype == np.float32
    assert (found.arrays["right_at"] == (right & torch.from_numpy(clean)).numpy()).all()
    assert list(values(found, "loss")) == list(range(13))
    assert values(found, "loss")[12] == pytest.approx(losses[12, clean].median().item(), rel=0.3)
    assert values(found, "running_accuracy")[0] == clean.mean()
    assert values(found, "running_accuracy")[12] == accuracy(found)["pgd", 12, 1].mean()
    assert list(values(found, "zero_gradient")) == [*range(12), None]


class Cliff(nn.Module):
    """Two classes by the mean of one pixel: flat below 0.2, a slope of 1 up to 0.6, then one of 10⁸."""

    classes = 4

    def __init__(self):
        super().__init__()
        self.size = nn.Parameter(torch.ones(()))

    def check(self, images):
        assert images.shape[1:] == (1, 1, 1)

    def forward(self, images):
        x = images.flatten()
        score = (x.clamp(0.2, 0.6) + 1e8 * (x - 0.6).clamp_min(0)) * self.size
        return torch.stack([torch.full_like(x, 0.65), score, 0 * x - 9, 0 * x - 9], 1)


def test_zero_and_exploding_gradients_are_found_where_they_are():
    x = torch.tensor([0.05, 0.52, 0.3, 0.9]).double().view(4, 1, 1, 1)
    y = torch.zeros(4, dtype=torch.int64)
    found = run(Cliff().double(), x, y, norm="linf", epsilon=0.2, steps=5)
    # steps of 0.1: the first never moves, the second passes 0.6 with its second step, the last is wrong
    assert found.clean.tolist() == [True, True, True, False]
    assert found.arrays["zero_gradient"].T.tolist() == [[True] * 5, *[[False] * 5] * 3]
    beyond = found.arrays["exploding"].T
    assert not beyond[[0, 2, 3]].any() and beyond[1].any() and not beyond[1, :1].any()
    assert values(found, "zero_gradient") == pytest.approx(dict.fromkeys([*range(5), None], 1 / 3))
    assert values(found, "exploding")[None] == pytest.approx(1 / 3) and values(found, "exploding")[0] == 0


def test_the_gradient_of_a_confident_network_does_not_explode_by_itself():
    """The loss's own slope grows by 10⁸ here, and the network's by nothing."""
    net = Planted("l2", 0.5)
    x, y = net.images(), torch.zeros(3, dtype=torch.int64)
    with torch.no_grad():
        net.weight *= 4
    sure = Shifted(net, 20.0)
    found = run(sure, x, y, epsilon=1.0)
    assert found.arrays["loss"][0].max() < 1e-7 and found.arrays["loss"][-1].min() > 0.1
    assert not found.arrays["exploding"].any() and not found.arrays["zero_gradient"].any()


class Shifted(nn.Module):
    """A planted network that is surer of class 0."""

    classes = 4

    def __init__(self, net, by):
        super().__init__()
        self.body, self.by, self.check = net, by, net.check

    def forward(self, images):
        logits = self.body(images)
        return torch.cat([logits[:, :1] + self.by, logits[:, 1:]], 1)


class Poisoned(torch.autograd.Function):
    @staticmethod
    def forward(_, logits):
        return logits.clone()

    @staticmethod
    def backward(_, pull):
        return pull * torch.nan


class Undifferentiable(nn.Module):
    """A network whose gradients are no numbers."""

    classes = 10

    def __init__(self, net):
        super().__init__()
        self.body, self.check = net, net.check

    def forward(self, images):
        return Poisoned.apply(self.body(images))


def test_an_attack_that_leaves_the_numbers_breaks_nothing(case):
    net, x, y = case
    found = run(Undifferentiable(net), x, y)
    assert (found.correct == found.clean).all() and found.clean.sum() == 10
    assert found.arrays["exploding"][:, found.clean].all() and not found.arrays["zero_gradient"].any()


def test_costs_are_counted_for_an_image_attacked_to_the_end(case):
    rows = [r for r in run(*case).rows if r["metric"] == "accuracy"]
    cost = {(r["attack"], r["attack_steps"], r["restarts"]): r["gradient_evaluations"] for r in rows}
    assert cost["fgsm", 1, 1] == 1 and cost["apgd-ce", 12, 1] == 13
    assert all(cost["pgd", steps, starts] == steps * starts for steps in (10, 12) for starts in (1, 3))
    seconds = {(r["attack"], r["attack_steps"], r["restarts"]): r["image_seconds"] for r in rows}
    assert seconds["pgd", 12, 3] == pytest.approx(3 * seconds["pgd", 12, 1]) and min(seconds.values()) > 0


def test_an_energy_based_network_is_attacked_at_its_own_free_phase():
    net = random_net((4, 5), (1, 0), 12, steps=5, order="backward")
    x, _ = random_batch(net, 5)
    y = predicted(AttackedModel(net), x)
    y[0] = (y[0] + 1) % 10
    found = run(net, x, y, epsilon=2.0)
    assert all(
        (r["predict_steps"], r["order"], r["gradient"]) == (5, "backward", "unrolled") for r in found.rows
    )
    model = AttackedModel(net)
    right = predicted(model, pgd(model, x, y, ThreatModel("l2", 2.0), 12)) == y
    assert (accuracy(found)["pgd", 12, 1] == (right.numpy() & found.clean)).all()
    assert not found.arrays["zero_gradient"][:, found.clean].any()


def test_without_a_right_image_only_accuracies_are_there(case):
    net, x, y = case
    found = run(net, x, (predicted(AttackedModel(net), x) + 1) % 10)
    assert {r["metric"] for r in found.rows} == {"accuracy", "running_accuracy"}
    assert not found.correct.any() and all("image_seconds" not in r for r in found.rows)


def test_a_run_that_was_stopped_goes_on(case, monkeypatch, tmp_path):
    whole, attack, calls = run(*case), iterations._attack, []

    def stopping(*given):
        calls.append(given)
        if len(calls) == 12:
            raise KeyboardInterrupt
        return attack(*given)

    monkeypatch.setattr(iterations, "_attack", stopping)
    with pytest.raises(KeyboardInterrupt):
        run(*case, tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    monkeypatch.setattr(iterations, "_attack", attack)
    again = run(*case, tmp_path)
    assert [{**r, "image_seconds": 0} for r in again.rows] == [{**r, "image_seconds": 0} for r in whole.rows]
    assert (again.correct == whole.correct).all()
    assert all(np.array_equal(again.arrays[k], v, equal_nan=True) for k, v in whole.arrays.items())


def test_bad_input_is_refused(case):
    net, x, y = case
    for images, labels, changes, message in (
        (2 * x, y, {}, "images"),
        (x, y + 9, {}, "labels"),
        (x, y, {"steps": 1}, "1 steps and 3 restarts"),
        (x, y, {"restarts": 1}, "12 steps and 1 restarts"),
        (x, y, {"norm": "l1"}, "norm"),
        (x, y, {"epsilon": -1.0}, "epsilon"),
        (x, y, {"batch": 0}, "parts of 0"),
    ):
        with pytest.raises(InputError, match=message):
            run(net, images, labels, **changes)


def result(accuracies, more=()):
    """A result of accuracies {(attack, steps, starts): value}, with a gradient a step and start."""
    rows = [
        {
            "metric": "accuracy",
            "attack": attack,
            "attack_steps": steps,
            "restarts": starts,
            "value": value,
            "gradient_evaluations": steps * starts,
            "image_seconds": 0.5 * steps * starts,
            "iteration": np.nan,
        }
        for (attack, steps, starts), value in accuracies.items()
    ]
    none = np.zeros((0, 0), bool)
    return Result({}, pd.DataFrame([*rows, *more]), np.arange(0), none, none, {})


FLAT = {
    ("fgsm", 1, 1): 0.9,
    ("pgd", 10, 1): 0.8,
    ("pgd", 20, 1): 0.7,
    ("pgd", 50, 1): 0.624,
    ("pgd", 50, 5): 0.604,
    ("pgd", 50, 10): 0.6,
    ("pgd", 100, 1): 0.62,
    ("pgd", 100, 5): 0.604,
    ("pgd", 100, 10): 0.6,
    ("apgd-ce", 100, 1): 0.59,
}


@pytest.mark.parametrize(
    "change, passes, points",
    [
        ({}, True, 0.4),
        ({("pgd", 100, 5): 0.606}, False, 0.6),
        ({("pgd", 50, 10): 0.61}, False, 1.0),
        ({("pgd", 50, 10): 0.59}, False, 1.0),
        ({("pgd", 100, 1): 0.9, ("pgd", 50, 1): 0.2}, True, 0.4),  # the most starts decide
    ],
)
def test_pgd_flattens_where_neither_steps_nor_starts_change_it(change, passes, points):
    assert flattened(result(FLAT | change)) == (passes, pytest.approx(points))


def test_what_a_budget_leaves_is_the_worst_that_it_affords():
    found = result(FLAT)
    for budget, left in ((1, 0.9), (10, 0.8), (49, 0.7), (50, 0.624), (100, 0.59), (10_000, 0.59)):
        assert left_within(found, "gradient_evaluations", budget) == left
        assert left_within(found, "image_seconds", budget / 2) == left
    assert np.isnan(left_within(found, "gradient_evaluations", 0))
    with pytest.raises(InputError, match="cost"):
        left_within(found, "joules", 1)


def test_curves_of_effort_and_of_the_course_are_read_in_order():
    loss = [{"metric": "loss", "iteration": i, "value": 0.1 * i, "attack": "pgd"} for i in range(4)]
    found = result(dict(reversed(FLAT.items())), loss)
    assert by_steps(found) == ([10, 20, 50, 100], [0.8, 0.7, 0.624, 0.62])
    assert by_restarts(found) == ([1, 5, 10], [0.62, 0.604, 0.6])
    assert course(found, "loss") == ([0, 1, 2, 3], pytest.approx([0, 0.1, 0.2, 0.3]))
    with pytest.raises(InputError, match="metric"):
        course(found, "accuracy")

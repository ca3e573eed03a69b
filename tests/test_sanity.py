import copy

import pytest
import torch
from torch import nn

from eplib import data, planted, sanity
from eplib.attacks import AttackedModel, ThreatModel, pgd, predicted
from eplib.checks import InputError, check_images
from eplib.dynamics import settle
from eplib.sanity import CAP, EPSILONS, LONG, REPEATED, SETTLED
from eplib.statistics import wilson

SIZES = {"planted": 3, "steps": 3, "batch": 4}


class Odd(nn.Module):
    """Ten classes told apart by the first pixel, with a `change` of (logits, images) on their way out."""

    classes = 10

    def __init__(self, change=lambda logits, images: logits):
        super().__init__()
        self.weight, self.change = nn.Parameter(torch.ones(1)), change
        self.calls = 0

    def check(self, images):
        check_images(images, (1, 4, 4))

    def forward(self, images):
        self.calls += 1
        first = images.flatten(1)[:, :1] * self.weight.to(images)
        logits = torch.cat([0.6 - first, first - 0.5, torch.zeros_like(first).expand(-1, 8) - 5], 1)
        return self.change(logits, images)


def grey(first=0.5):
    """Six images whose first pixel is `first`, with their labels: class 0 below 0.55."""
    images = torch.full((6, 1, 4, 4), 0.5)
    images[:, 0, 0, 0] = first
    return images, torch.zeros(6, dtype=torch.int64)


def run(net, x, y, sizes=SIZES, **options):
    return sanity.sanity(net, x, y, sizes, progress=False, **options)


def pick(found, metric, **columns):
    return [r for r in found.rows if r["metric"] == metric and all(r.get(k) == v for k, v in columns.items())]


def value(found, metric, **columns):
    (row,) = pick(found, metric, **columns)
    return row["value"]


@pytest.fixture(scope="module")
def measured(smoke):
    """{kind: (network, images, labels, Found)}: the first label is wrong."""
    x, found = data.as_float(data.load("sample", "test").images[:5]), {}
    for kind, c in smoke.items():
        net = copy.deepcopy(c.net)
        y = predicted(AttackedModel(net), x)
        y[0] = (y[0] + 1) % 10
        found[kind] = net, x, y, run(net, x, y)
    return found


@pytest.mark.parametrize("kind", ["ep-cnn", "cnn"])
def test_rows_of_the_attack_are_its_outcomes(measured, kind):
    net, x, y, found = measured[kind]
    model, rows = AttackedModel(net), pick(found, "accuracy")
    assert [r["epsilon"] for r in rows] == list(EPSILONS) and found.correct.shape == (4, 5)
    assert found.clean.tolist() == [False] + 4 * [True] and not found.correct[:, 0].any()
    for epsilon, right, row in zip(EPSILONS, found.correct, rows, strict=True):
        adversarial = pgd(model, x[1:], y[1:], ThreatModel("linf", epsilon), 3)
        assert right[1:].tolist() == (predicted(model, adversarial) == y[1:]).tolist()
        assert (row["value"], row["n"]) == (right.mean(), 5)
        assert (row["low"], row["high"]) == wilson(right.sum(), 5)
    low, high = value(found, "pixel_low"), value(found, "pixel_high")
    assert low == 0 and high == 1 and 0.9 < value(found, "distance") <= 1 + 1e-5
    assert {r["n"] for m in ("pixel_low", "pixel_high", "distance") for r in pick(found, m)} == {20}
    named = [
        r for r in found.rows if r.get("attack") == "pgd" and r["metric"] not in ("planted", "unsettled")
    ]
    shared = {"norm": "linf", "labels": "true", "gradient": model.gradient, "attack_steps": 3}
    shared |= {"predict_steps": model.steps, "order": model.order}
    assert named and all(r | shared == r for r in named)


@pytest.mark.parametrize("kind", ["ep-cnn", "cnn"])
def test_a_network_of_this_project_repeats_itself(measured, kind):
    found = measured[kind][3]
    for metric in ("identical", "same_in_float64", "same_alone"):
        (row,) = pick(found, metric)
        assert row["value"] == 1 and row["n"] == SIZES["planted"] and row["epsilon"] == REPEATED


def test_shares_that_have_not_settled_are_those_of_settle(measured):
    net, x, y, found = measured["ep-cnn"]
    model = AttackedModel(net)
    attacked = x.clone()
    attacked[1:] = pgd(model, x[1:], y[1:], ThreatModel("linf", REPEATED), 3)
    for at, shown in (("clean", x), ("attacked", attacked)):
        for steps, order in ((net.steps, net.order), LONG, (CAP, net.order)):
            (row,) = pick(found, "unsettled", at=at, predict_steps=steps, order=order)
            residual = settle(net, shown, steps, order).residual
            assert row["value"] == (residual >= SETTLED).double().mean() and row["n"] == 5
            assert row.get("epsilon") == (REPEATED if at == "attacked" else None)
    shares = [value(found, "unsettled", at="clean", predict_steps=s) for s in (net.steps, CAP)]
    assert shares == [1, 0]  # so that the rows can tell the two apart
    assert not pick(measured["cnn"][3], "unsettled")


@pytest.mark.parametrize("kind", ["ep-cnn", "cnn"])
def test_rows_of_planted_examples_are_those_of_the_test(measured, kind):
    net, x, _, found = measured[kind]
    separable, outcomes, fallbacks = planted.found(net, x[:3], 3, 0)
    assert value(found, "separable") == separable.double().mean()
    rows = pick(found, "planted")
    assert [r["attack"] for r in rows] == list(planted.attacks_of(net))
    for row, hit in zip(rows, outcomes.values(), strict=True):
        assert row["n"] == separable.sum() and row["value"] == hit[separable].double().mean()
        assert row["attack_steps"] == planted.ATTACKS[row["attack"]][2] * 3
        assert row["epsilon"] == planted.THREAT.epsilon and row["norm"] == "linf"
    rows, count = pick(found, "fallback"), 3 * int(separable.sum())
    shares = [fallbacks["pgd-adjoint"] / count] if kind == "ep-cnn" else []
    assert [r["value"] for r in rows] == shares and {r["n"] for r in rows} <= {count}


def test_without_a_last_linear_layer_nothing_is_planted():
    found = run(Odd(), *grey())
    (row,) = pick(found, "planted")
    assert row["attack"] == "pgd" and row["n"] == 0 and "value" not in row
    assert not pick(found, "separable")


def test_where_no_read_out_separates_nothing_is_planted(smoke):
    net = copy.deepcopy(smoke["cnn"].net)
    with torch.no_grad():
        net.norms[-1].weight.zero_()
    x = data.as_float(data.load("sample", "test").images[:3])
    found = run(net, x, predicted(AttackedModel(net), x))
    assert value(found, "separable") == 0 and {r["n"] for r in pick(found, "planted")} == {0}


def test_everything_breaks_when_everything_is_allowed():
    found = run(Odd(), *grey(), sizes=SIZES | {"steps": 10})
    assert [r["value"] for r in pick(found, "accuracy")] == [1, 1, 0, 0]
    assert value(found, "repaired") == 0

    def stubborn(logits, images):
        return 0 * logits + 5 * torch.eye(10)[:1].to(logits)

    found = run(Odd(stubborn), *grey())
    assert [r["value"] for r in pick(found, "accuracy")] == [1] * 4


def test_an_image_that_a_larger_budget_repairs_is_counted():
    def window(logits, images):
        wrong = (images[:, 0, 0, :1] > 0.505) & (images[:, 0, 0, :1] < 0.52)
        return torch.where(wrong, logits - 4 * torch.eye(10)[0].to(logits), logits)

    net, (x, y) = Odd(window), grey()
    x[:2, 0, 0, 0] = 0.2  # two that nothing breaks so soon
    found = run(net, x, y, sizes=SIZES | {"steps": 10})
    assert [r["value"] for r in pick(found, "accuracy")] == [2 / 6, 1, pytest.approx(2 / 6), 0]
    assert value(found, "repaired") == pytest.approx(4 / 6)


def test_two_runs_that_differ_in_a_bit_are_told():
    net = Odd(lambda logits, images: logits + 1e-6 * net.calls)
    assert value(run(net, *grey()), "identical") == 0


def test_an_outcome_that_hangs_on_the_precision_is_told():
    def fragile(logits, images):
        return logits.roll(1, 1) if images.dtype == torch.float64 else logits

    found = run(Odd(fragile), *grey())
    assert value(found, "same_in_float64") == 0 and value(found, "same_alone") == 1


def test_an_outcome_that_hangs_on_the_batch_is_told():
    def sociable(logits, images):
        return logits.roll(1, 1) if len(images) == 1 else logits

    found = run(Odd(sociable), *grey(), sizes=SIZES | {"batch": 3})
    assert value(found, "same_alone") == 0 and value(found, "same_in_float64") == 1


def test_a_run_that_was_stopped_goes_on(measured, monkeypatch, tmp_path):
    net, x, y, whole = measured["cnn"]
    right = sanity.planted.found

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(sanity.planted, "found", stopped)
    with pytest.raises(KeyboardInterrupt):
        run(net, x, y, folder=tmp_path)
    assert len(list((tmp_path / "all").glob("*.npz"))) == 2 and not (tmp_path / "few").exists()
    monkeypatch.setattr(sanity.planted, "found", right)
    again = run(net, x, y, folder=tmp_path)
    assert again.rows == whole.rows and (again.correct == whole.correct).all()


def test_bad_input_is_refused():
    net, (x, y) = Odd(), grey()
    confident = Odd(lambda logits, _: logits.softmax(1))
    for given, message in (
        ((net, x, y, SIZES | {"planted": 0}), "planted = 0"),
        ((net, x, y, SIZES | {"steps": 0}), "steps = 0"),
        ((net, 3 * x, y), "images"),
        ((net, x, y + 10), "labels"),
        ((confident, x, y), "probabilities"),
    ):
        with pytest.raises(InputError, match=message):
            run(*given)

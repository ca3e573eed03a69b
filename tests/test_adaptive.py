import copy

import numpy as np
import pytest
import torch
from scipy.stats import beta
from torch import nn

from eplib import adaptive, data, losses, suite
from eplib.adaptive import attacks_on, gap
from eplib.attacks import AttackedModel, predicted
from eplib.checks import InputError
from eplib.results import Result
from eplib.statistics import wilson

SIZES = {"epsilons": [0.3, 1.5], "norm": "l2", "steps": 3, "batch": 4}
STATES, HORIZONS = list(losses.STATE_ATTACKS), [h[0] for h in adaptive.HORIZONS]


class Confident(nn.Module):
    """A network whose logits are so large that its cross-entropy has no gradient."""

    def __init__(self, net):
        super().__init__()
        self.net, self.classes, self.check = net, net.classes, net.check

    def forward(self, images):
        return 1e6 * self.net(images)


@pytest.fixture(scope="module")
def networks(smoke):
    """{kind: (network, 6 images, labels)}: the first label is wrong; "confident" has scaled logits."""
    x = data.as_float(data.load("sample", "test").images[:6])
    found = {}
    for kind in ("ep-cnn", "cnn", "confident"):
        net = copy.deepcopy(smoke["ep-cnn" if kind == "confident" else kind].net)
        with torch.no_grad():
            net.readout.bias -= net(x).mean(0)  # so that it has several classes
            if kind == "confident":
                net.readout.weight *= 1e8
                net.readout.bias *= 1e8
        y = predicted(AttackedModel(net), x)
        y[0] = (y[0] + 1) % 10
        found[kind] = net, x, y
    return found


def run(case, **changes):
    return adaptive.adaptive(*case, SIZES | changes, progress=False)


def pick(rows, **columns):
    return [r for r in rows if all(r.get(k) == v for k, v in columns.items())]


def test_the_order_is_gradients_with_losses_then_horizons_then_states(networks):
    names = [attack.name for attack in attacks_on(*networks["ep-cnn"][:2], 4)]
    expected = [f"{g}, {loss}" for g in adaptive.GRADIENTS for loss in losses.LOSSES]
    assert names == expected[1:] + HORIZONS + STATES and expected[0] == "unrolled, cross-entropy"
    names = [attack.name for attack in attacks_on(*networks["cnn"][:2], 4)]
    assert names == [f"autograd, {loss}" for loss in list(losses.LOSSES)[1:]]


@pytest.mark.parametrize("kind", ["ep-cnn", "cnn"])
def test_the_attack_of_a_name_is_the_one_it_says(networks, kind):
    net, x, _ = networks[kind]
    for attack in attacks_on(net, x, 4):
        if attack.name in STATES:
            assert attack.model is None
            continue
        model, loss = attack.model, attack.run.keywords["loss"]
        if attack.name in HORIZONS:
            settings = (attack.name, model.steps, model.order, model.gradient, model.last)
            known = [(n, s, order or net.order, g, last) for n, s, order, g, last in adaptive.HORIZONS]
            assert settings in known and loss is losses.cross_entropy
        else:
            gradient, name = attack.name.split(", ")
            assert model.gradient == gradient and loss is losses.LOSSES[name] and model.last is None
            assert model.steps == getattr(net, "steps", None) and model.order == getattr(net, "order", None)


@pytest.mark.parametrize("kind", ["ep-cnn", "cnn"])
def test_rows_arrays_and_bits_agree(networks, kind):
    net, x, y = networks[kind]
    found, alone = run(networks[kind]), run(networks[kind], batch=6)
    names = [attack.name for attack in attacks_on(net, x, 4)]
    by = found.arrays["found_by"]
    assert by.dtype == np.int8 and by.shape == (2, 6) and (by == alone.arrays["found_by"]).all()
    assert (by[:, 0] == -2).all() and found.clean.tolist() == [False] + 5 * [True] and by.max() <= len(names)
    assert ((by[0] == -1) | (by[0] == by[1])).all()  # what is broken stays broken, by the same attack
    plain, together = found.correct[:2], found.correct[2:]
    assert (together == (by == -1)).all() and not (together & ~plain).any() and not plain[:, 0].any()
    assert not (plain[1] & ~plain[0]).any() and (plain | (by == 0) | (by == -2) | (by > 0)).all()
    accuracy = pick(found.rows, metric="accuracy")
    assert [(r["attack"], r["epsilon"]) for r in accuracy] == [
        (a, e) for a in ("pgd", "adaptive") for e in SIZES["epsilons"]
    ]
    for row, right in zip(accuracy, found.correct, strict=True):
        assert (row["value"], row["n"]) == (right.mean(), 6)
        assert (row["low"], row["high"]) == wilson(right.sum(), 6)
    for e, epsilon in enumerate(SIZES["epsilons"]):
        rows = pick(found.rows, metric="broken", epsilon=epsilon)
        assert [r["by"] for r in rows] == names
        assert [r["value"] for r in rows] == [(by[e] == j).mean() for j in range(1, len(names) + 1)]
    shared = {"norm": "l2", "labels": "true", "attack_steps": 3}
    shared |= {"predict_steps": getattr(net, "steps", None), "order": getattr(net, "order", None)}
    assert pick(found.rows, **shared) == found.rows
    assert {r.get("gradient") for r in pick(found.rows, attack="pgd")} == {AttackedModel(net).gradient}


def test_plain_pgd_is_that_of_the_suite(networks):
    net, x, y = networks["ep-cnn"]
    found, model = run(networks["ep-cnn"]), AttackedModel(net)
    left = found.clean.copy()
    for right, epsilon in zip(found.correct[:2], SIZES["epsilons"], strict=True):
        threat = adaptive.ThreatModel("l2", epsilon)
        left &= (predicted(model, suite.checked(model, x, y, threat, "pgd", 3, 0)) == y).numpy()
        assert (right == left).all()


def test_a_confident_network_hides_nothing_from_other_losses(networks, tiny):
    found = run(networks["confident"], epsilons=[4.0], steps=8)
    plain, together = found.correct
    assert plain.sum() == 5 and together.sum() <= 3  # cross-entropy has no gradient there
    names = [attack.name for attack in attacks_on(*networks["confident"][:2], 4)]
    broke = {names[j - 1] for j in found.arrays["found_by"][0] if j > 0}
    assert broke and not any(name.endswith(", cross-entropy") for name in broke)
    feedforward = Confident(tiny[0].net), tiny[1][:12], tiny[2][:12]
    found = run(feedforward, epsilons=[0.3], norm="linf", steps=10)
    assert found.correct[0].all() and not found.correct[1].any()


@pytest.mark.parametrize("steps, all_of_them", [(2, True), (100, False)])
def test_images_that_have_not_settled_are_counted(networks, steps, all_of_them, monkeypatch):
    net, x, y = networks["ep-cnn"]
    net = copy.deepcopy(net)
    net.steps = steps
    chosen = [a for a in attacks_on(net, x, 4) if a.name in ("adjoint, cross-entropy", HORIZONS[0])]
    monkeypatch.setattr(adaptive, "attacks_on", lambda *_: chosen)
    y = predicted(AttackedModel(net), x)
    found = run((net, x, y), epsilons=[1e-3])
    (row,) = pick(found.rows, metric="fallback")
    assert row["by"] == "adjoint, cross-entropy" and row["n"] == 6 * SIZES["steps"]
    assert row["value"] == (1 if all_of_them else 0)


def test_an_attack_that_leaves_its_budget_is_refused(networks, monkeypatch):
    def far(x, y, threat, steps):
        return (x + 2 * threat.epsilon).clamp(0, 1)

    monkeypatch.setattr(adaptive, "attacks_on", lambda *_: [adaptive.Attack("far", far, AttackedModel(net))])
    net = networks["cnn"][0]
    with pytest.raises(InputError, match="far changed an image"):
        run(networks["cnn"], epsilons=[1e-4])


def test_a_run_that_was_stopped_goes_on(networks, monkeypatch, tmp_path, capsys):
    net, x, y = networks["cnn"]
    whole = adaptive.adaptive(net, x, y, SIZES)
    assert f"{whole.correct[-1].mean():.3f} right" in capsys.readouterr().err
    within, calls = suite.within, []

    def stopping(*given):
        calls.append(given)
        if given[1].shape[0] == 2:  # the second part has two images
            raise KeyboardInterrupt
        return within(*given)

    with monkeypatch.context() as patch:
        patch.setattr(suite, "within", stopping)
        with pytest.raises(KeyboardInterrupt):
            adaptive.adaptive(net, x, y, SIZES, tmp_path, progress=False)
    assert len(list(tmp_path.iterdir())) == 1
    again = adaptive.adaptive(net, x, y, SIZES, tmp_path, progress=False)
    assert again.rows == whole.rows and (again.correct == whole.correct).all() and again.seconds > 0


@pytest.mark.parametrize("beyond, n", [(0, 30), (7, 30), (30, 30)])
def test_the_gap_is_exact(beyond, n):
    plain = np.ones((2, n), bool)
    together = plain.copy()
    together[1, :beyond] = False
    settings = {"measurement": "adaptive", "sizes": SIZES}
    result = Result(settings, None, np.arange(n), plain[0], np.concatenate([plain, together]), {})
    difference, low, high = gap(result, 1.5)
    assert difference == beyond / n and gap(result, 0.3)[0] == 0
    assert low == pytest.approx(beta.ppf(0.025, beyond, n - beyond + 1) if beyond else 0)
    assert high == pytest.approx(beta.ppf(0.975, beyond + 1, n - beyond) if beyond < n else 1)
    with pytest.raises(InputError, match="0.7 was not measured"):
        gap(result, 0.7)


def test_bad_input_is_refused(networks):
    net, x, y = networks["cnn"]
    for changes, message in (
        ({"sizes": SIZES | {"epsilons": [0.2, 0.1]}}, "ascending"),
        ({"sizes": SIZES | {"epsilons": []}}, "one or more"),
        ({"sizes": SIZES | {"norm": "l1"}}, "norm"),
        ({"sizes": SIZES | {"steps": 0}}, "steps = 0"),
        ({"images": 2 * x}, "images"),
        ({"labels": y + 10}, "labels"),
    ):
        with pytest.raises(InputError, match=message):
            adaptive.adaptive(**dict(net=net, images=x, labels=y, sizes=SIZES, progress=False) | changes)

import copy

import numpy as np
import pytest
import torch
from conftest import Planted, Tiny

from eplib import data, suite
from eplib.attacks import AttackedModel, ThreatModel, pgd, predicted
from eplib.checks import InputError
from eplib.statistics import wilson
from eplib.transfers import ANY, transfer

SIZES = {"epsilons": [0.0, 0.04, 0.08, 0.3], "norm": "linf", "steps": 4, "batch": 5}


@pytest.fixture(scope="module")
def case(tiny):
    """(network, 12 images, labels, sources): two labels are wrong; the other source is a noisy copy."""
    model, x, y = tiny[0], tiny[1][:12], tiny[2][:12].clone()
    y[:2] = (y[:2] + 1) % 10
    other = copy.deepcopy(model.net)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter += 0.5 * parameter.std() * torch.randn(parameter.shape, generator=generator)
    return model.net, x, y, {"other": other, "itself": model.net}


def test_outcomes_are_those_of_pgd_on_every_source(case):
    net, x, y, sources = case
    found = transfer(net, x, y, SIZES, sources, progress=False)
    target, expected = AttackedModel(net), []
    clean = (predicted(target, x) == y).numpy()
    for source in sources.values():
        right = clean
        for epsilon in SIZES["epsilons"]:  # all images, also those that are broken already
            adversarial = pgd(AttackedModel(source), x, y, ThreatModel("linf", epsilon), SIZES["steps"])
            right = right & (predicted(target, adversarial) == y).numpy()
            expected.append(right)
    expected += [expected[i] & expected[i + 4] for i in range(4)]
    assert found.clean.tolist() == clean.tolist() == [False] * 2 + [True] * 10
    assert found.correct.dtype == bool and (found.correct == np.array(expected)).all()
    assert (found.correct[4:8] != found.correct[:4]).any() and found.correct[4].sum() == 10
    assert found.correct[7].sum() == found.correct[11].sum() == 0
    places = [(name, epsilon) for name in ("other", "itself", ANY) for epsilon in SIZES["epsilons"]]
    for row, place, right in zip(found.rows, places, expected, strict=True):
        assert (row["other_model"], row["epsilon"]) == place and row["metric"] == "accuracy"
        assert row["value"] == right.mean() and (row["low"], row["high"]) == wilson(right.sum(), 12)
        assert row["n"] == 12 and row["attack"] == "transfer" and row["norm"] == "linf"
        assert row["labels"] == "true" and row["attack_steps"] == 4
        assert row["predict_steps"] is None is row["order"]


@pytest.mark.parametrize("norm, distance", [("linf", 0.1), ("l2", 0.8)])
def test_a_planted_example_transfers_to_the_same_plane_only(norm, distance):
    net, near, elsewhere = Planted(norm, distance), Planted(norm, distance / 2), Planted(norm, distance)
    with torch.no_grad():
        elsewhere.weight[0] = elsewhere.weight[0].roll(1) * torch.tensor([1.0, -1.0]).repeat(128)
    x, y = net.images(), torch.zeros(3, dtype=torch.int64)
    sizes = {"epsilons": [0.9 * distance, 1.1 * distance], "norm": norm, "steps": 10, "batch": 3}
    found = transfer(net, x, y, sizes, {"near": near, "elsewhere": elsewhere}, progress=False)
    assert found.clean.all()
    assert found.correct.all(1).tolist() == [True, False, True, True, True, False]


def test_a_source_is_asked_only_for_what_the_target_still_gets_right(case, monkeypatch):
    net, x, y, sources = case
    checked, asked = suite.checked, []

    def counted(model, images, *given, **more):
        asked.append(len(images))
        return checked(model, images, *given, **more)

    monkeypatch.setattr(suite, "checked", counted)
    found = transfer(net, x, y, SIZES | {"batch": 12}, sources, progress=False)
    assert asked == [n for s in (0, 4) for n in (10, *found.correct[s : s + 3].sum(1)) if n]


@pytest.mark.parametrize("target", ["ep-cnn", "cnn"])
def test_networks_of_both_kinds_attack_each_other(smoke, target):
    nets = {kind: smoke[kind].net for kind in ("ep-cnn", "cnn")}
    net, x = nets[target], data.as_float(data.load("sample", "test").images[:4])
    y = predicted(AttackedModel(net), x)
    sizes = {"epsilons": [0.02, 0.2], "norm": "linf", "steps": 2, "batch": 4}
    found = transfer(net, x, y, sizes, nets, progress=False)
    assert found.clean.all() and found.correct.shape == (6, 4)
    known = (net.steps, net.order) if target == "ep-cnn" else (None, None)
    assert {(row["predict_steps"], row["order"]) for row in found.rows} == {known}
    assert all(p.grad is None for each in nets.values() for p in each.parameters())


def test_a_transfer_that_was_stopped_goes_on_and_shows_where_it_is(case, monkeypatch, tmp_path, capsys):
    net, x, y, sources = case
    whole = transfer(net, x, y, SIZES, sources)
    assert f"ε = 0.3: {whole.correct[-1].mean():.3f} right" in capsys.readouterr().err
    checked, calls = suite.checked, []

    def stopping(*given, **more):
        calls.append(given)
        if len(calls) == 9:
            raise KeyboardInterrupt
        return checked(*given, **more)

    monkeypatch.setattr(suite, "checked", stopping)
    with pytest.raises(KeyboardInterrupt):
        transfer(net, x, y, SIZES, sources, tmp_path, progress=False)
    kept = len(list(tmp_path.iterdir()))
    assert 0 < kept < 3
    again = transfer(net, x, y, SIZES, sources, tmp_path, progress=False)
    assert again.seconds > 0 and again.rows == whole.rows and (again.correct == whole.correct).all()
    assert (again.clean == whole.clean).all()


def test_bad_input_is_refused(case):
    net, x, y, sources = case
    fewer = copy.deepcopy(net)
    fewer.classes = 9
    for change, message in (
        ({"sources": {}}, "sources"),
        ({"sources": {"large": Planted("linf", 0.1, size=18)}}, "source 'large'.*images of shape"),
        ({"sources": {"fewer": fewer}}, "'fewer' has 9 classes"),
        ({"sizes": SIZES | {"epsilons": [0.2, 0.1]}}, "ascending"),
        ({"sizes": SIZES | {"epsilons": [-0.1]}}, "epsilon = -0.1"),
        ({"sizes": SIZES | {"norm": "l1"}}, "norm"),
        ({"sizes": SIZES | {"steps": 0}}, "steps = 0"),
        ({"sizes": SIZES | {"batch": 0}}, "parts of 0"),
        ({"images": 2 * x}, "images"),
        ({"labels": y + 9}, "labels"),
    ):
        good = dict(net=net, images=x, labels=y, sizes=SIZES, sources=sources, progress=False)
        with pytest.raises(InputError, match=message):
            transfer(**good | change)
    with pytest.raises(InputError, match="finite"):
        broken = Tiny()
        torch.nn.init.constant_(broken.layers[-1].bias, float("nan"))
        transfer(net, x, y, SIZES, {"broken": broken}, progress=False)

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import POOLINGS, random_batch, random_net

from eplib import agreement, dynamics, finite_differences, gradients, reference
from eplib.agreement import COMPARED, EXACT, Case, cases, compared, gate
from eplib.attacks import AttackedModel, ThreatModel, pgd, predicted
from eplib.baselines import CNN
from eplib.checks import InputError
from eplib.finite_differences import CHANGED, INCLUDED, UNSETTLED
from eplib.results import Result

SIZES = {"norm": "l2", "epsilon": 0.5, "directions": 2, "batch": 4}
COLUMNS = ("gradient", "last", "attack_horizon", "order")


def run(net, images, labels, **changes):
    return agreement.agreement(net, images, labels, SIZES | changes, progress=False)


@pytest.fixture(scope="module")
def case():
    """(network, images, labels, what was found)."""
    net = random_net((3, 4, 5))
    images, labels = random_batch(net, 3)
    return net, images, labels, run(net, images, labels)


def pick(rows, metric, **where):
    (row,) = [r for r in rows if r["metric"] == metric and all(r.get(k) == v for k, v in where.items())]
    return row


def where_of(case, at):
    return {"at": at, **dict(zip(COLUMNS, (case.method, case.last, case.steps, case.order), strict=True))}


def test_every_case_is_measured_once():
    assert len(set(COMPARED)) == len(COMPARED) == 7 and EXACT not in COMPARED
    own = cases(random_net(steps=6, order="backward"))
    assert own[0] == EXACT and own[1:-1] == COMPARED and own[-1] == Case("unrolled", 6, "backward", None)
    assert cases(random_net(steps=250, order="synchronous")) == (EXACT, *COMPARED)
    assert cases(random_net(steps=29, order="synchronous")) == (EXACT, *COMPARED)


def test_gradients_are_compared_with_the_exact_one_at_clean_and_attacked_images(case):
    net, images, labels, found = case
    own = AttackedModel(net)
    attacked = pgd(own, images, labels, ThreatModel("l2", 0.5), 20)
    for at, x in (("clean", images), ("attacked", attacked)):
        flat = {}
        for c in cases(net):
            gradient = gradients.input_gradient(net, x, labels, c.method, c.steps, c.order, c.last)
            flat[c] = gradient.flatten(1).numpy()
        exact = flat[EXACT]
        for i, c in enumerate(cases(net)):
            g, norms = flat[c], [np.linalg.norm(v, axis=1) for v in (flat[c], exact)]
            expected = {
                "cosine": (g * exact).sum(1) / norms[0] / norms[1],
                "ratio": norms[0] / norms[1],
                "signs": (np.sign(g) == np.sign(exact)).mean(1),
                "zero": norms[0] == 0,
                "exploding": norms[0] > 1e3 * norms[1],
            }
            for name, values in expected.items():
                np.testing.assert_allclose(found.arrays[f"{name}_{at}"][i], values, rtol=1e-6, atol=1e-9)
            if c != EXACT:
                row = pick(found.rows, "gradient_cosine", **where_of(c, at))
                low, middle, high = np.quantile(expected["cosine"], [0.25, 0.5, 0.75])
                assert (row["low"], row["value"], row["high"]) == pytest.approx((low, middle, high), rel=1e-6)
                assert row["n"] == 3
        right = [predicted(own, x), predicted(AttackedModel(net, 250, "synchronous"), x)]
        assert (found.arrays[f"right_{at}"] == (torch.stack(right) == labels).numpy()).all()
    own_horizon = found.arrays["cosine_clean"][-1]
    assert (own_horizon < 0.999999).any() and (
        found.arrays["cosine_clean"][COMPARED.index(EXACT._replace(method="adjoint")) + 1] > 0.9999
    ).all()


def test_accuracy_rows_stand_beside_their_outcomes(case):
    rows = [r for r in case[3].rows if r["metric"] == "accuracy"]
    assert [r["value"] for r in rows] == pytest.approx(case[3].correct.mean(1).tolist())
    assert [(r["at"], r["predict_steps"], r["epsilon"]) for r in rows] == [
        ("clean", 20, 0.0),
        ("clean", 250, 0.0),
        ("attacked", 20, 0.5),
        ("attacked", 250, 0.5),
    ]
    assert (case[3].clean == case[3].correct[0]).all()


def test_finite_differences_are_those_of_the_same_images(case):
    net, images, labels, found = case
    alone = finite_differences.compare(net, images, labels, 2)
    assert all(
        np.allclose(found.arrays[k], v, equal_nan=True, rtol=1e-6, atol=1e-12) for k, v in alone.items()
    )
    row = pick(found.rows, "fd_cosine")
    assert row["n"] == 3 and row["value"] == pytest.approx(np.median(alone["fd_cosine"]))
    assert all(pick(found.rows, f"fd_{name}")["value"] == 0 for name in ("excluded", "unsettled", "tied"))


@POOLINGS
def test_states_are_linearised_as_autograd_does(settings):
    net = random_net((3, 4, 5), (1, 1, 0), 16, **settings)
    images, labels = random_batch(net, 2)
    found = run(net, images, labels)
    state = dynamics.settle(net, images, 250, "synchronous").states
    for n in range(2):
        shapes = [s[n : n + 1].shape for s in state]
        flat = torch.cat([s[n].flatten() for s in state])

        def step(flat, n=n, shapes=shapes):
            parts = flat.split([shape.numel() for shape in shapes])
            start = [p.view(shape) for p, shape in zip(parts, shapes, strict=True)]
            after = reference.relax(net, images[n : n + 1], 1, "synchronous", start=start, create_graph=True)
            return torch.cat([s.flatten() for s in after])

        jacobian = torch.autograd.functional.jacobian(step, flat)
        radius = torch.linalg.eigvals(jacobian).abs().max().item()
        assert found.arrays["radius_clean"][n] == pytest.approx(radius, rel=0.02)
        assert found.arrays["radius_clean"][n] <= radius * (1 + 1e-9)
    at_bounds = [((s == 0) | (s == 1)).double().flatten(1).mean(1) for s in state]
    np.testing.assert_allclose(found.arrays["saturated_clean"], torch.stack(at_bounds))
    for l, shares in enumerate(at_bounds):
        row = pick(found.rows, "saturated", at="clean", layer=l + 1)
        assert row["value"] == pytest.approx(np.median(shares))
    assert pick(found.rows, "unsettled", at="clean")["value"] == 0
    assert pick(found.rows, "residual", at="attacked")["high"] < 1e-9


def test_an_adjoint_counts_only_where_the_image_has_settled(case, monkeypatch):
    net, images, labels, _ = case
    residual = dynamics.settle(net, images, 250, "synchronous").residual
    monkeypatch.setattr(gradients, "SETTLED", 0.0)
    found = run(net, images, labels)
    assert (residual >= 0).all() and pick(found.rows, "unsettled", at="clean")["value"] == 1
    place = cases(net).index(Case("adjoint", 250, "synchronous"))
    for name in ("cosine", "ratio", "signs", "zero", "exploding"):
        assert np.isnan(found.arrays[f"{name}_clean"][place]).all()
    assert not any(r.get("gradient") == "adjoint" and r["metric"] == "gradient_cosine" for r in found.rows)
    assert not any(r["metric"] == "spectral_radius" for r in found.rows)


def test_a_network_without_gradients_has_zero_ones_and_no_direction():
    net = random_net()
    images, labels = random_batch(net, 3)
    with torch.no_grad():
        net.convs[0].weight *= 0
    found = run(net, images, labels)
    for c in cases(net):
        assert pick(found.rows, "zero_gradient", **where_of(c, "clean"))["value"] == 1
        assert pick(found.rows, "exploding", **where_of(c, "clean"))["value"] == 0
    assert not any(r["metric"] == "gradient_cosine" for r in found.rows)


def test_gradients_that_lead_nowhere_count_as_such():
    exact = torch.tensor([[3.0, 4], [3, 4], [3, 4], [3, 4], [0, 0], [3, 4]]).view(6, 1, 1, 2)
    others = torch.tensor([[0.0, 0], [torch.nan, 1], [torch.inf, 0], [-3e4, -4e4], [1, 2], [6, 8]])
    usable = torch.tensor([True] * 6)
    found = agreement._against(others.view(6, 1, 1, 2), usable, exact)
    nan = torch.nan
    for name, expected in {
        "cosine": [0, 0, 0, -1, nan, 1],
        "ratio": [0, torch.inf, torch.inf, 1e4, nan, 2],
        "signs": [0, 0, 0, 0, nan, 1],
        "zero": [1, 0, 0, 0, 0, 0],
        "exploding": [0, 1, 1, 1, 0, 0],
    }.items():
        np.testing.assert_allclose(found[name], expected, rtol=1e-6, err_msg=name)
    unused = agreement._against(others.view(6, 1, 1, 2), ~usable, exact)
    assert all(value.isnan().all() for value in unused.values())


def test_a_weak_gradient_is_no_zero_and_keeps_its_direction():
    tiny = torch.tensor([[3e-25, 4e-25]]).view(1, 1, 1, 2)
    found = agreement._against(2 * tiny, torch.tensor([True]), tiny)
    assert found["cosine"].item() == pytest.approx(1) and found["ratio"].item() == pytest.approx(2)
    assert found["zero"].item() == 0


def test_parts_change_nothing_and_a_run_that_was_stopped_goes_on(case, monkeypatch, tmp_path):
    net, images, labels, whole = case
    compare, calls = finite_differences.compare, []

    def stopping(*given):
        calls.append(given)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return compare(*given)

    monkeypatch.setattr(finite_differences, "compare", stopping)
    with pytest.raises(KeyboardInterrupt):
        agreement.agreement(net, images, labels, SIZES | {"batch": 2}, tmp_path, progress=False)
    found = agreement.agreement(net, images, labels, SIZES | {"batch": 2}, tmp_path, progress=False)
    assert len(calls) == 3  # the first part is not computed again
    for name, values in whole.arrays.items():
        assert np.allclose(found.arrays[name], values, rtol=1e-5, atol=1e-9, equal_nan=True), name
    assert [r["metric"] for r in found.rows] == [r["metric"] for r in whole.rows]


def test_the_network_is_left_as_it_was(case):
    net = copy.deepcopy(case[0]).float().requires_grad_()
    before = copy.deepcopy(net.state_dict())
    run(net, case[1][:1].float(), case[2][:1])
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(p.grad is None and p.requires_grad and p.dtype == torch.float32 for p in net.parameters())


def test_bad_input_is_refused(case):
    net, images, labels, _ = case
    with pytest.raises(InputError, match="feed-forward"):
        run(CNN((4, 6, 8, 8), (1, 1, 1, 0)), images, labels)
    for x, y, changes, message in (
        (2 + images, labels, {}, "images"),
        (images, labels + 9, {}, "labels"),
        (images, labels, {"norm": "l1"}, "norm"),
        (images, labels, {"epsilon": -1}, "epsilon"),
    ):
        with pytest.raises(InputError, match=message):
            run(net, x, y, **changes)


def result(outcome, cosines, rows=()):
    arrays = {"fd_outcome": np.array(outcome, np.int8), "fd_cosine": np.array(cosines)}
    n = len(outcome)
    return Result({}, pd.DataFrame(rows), np.arange(n), np.ones(n, bool), np.ones((1, n), bool), {}, arrays)


@pytest.mark.parametrize(
    "outcome, cosines, expected",
    [
        ([INCLUDED] * 4, [0.9992, 0.9999, 1.0, 0.2], (True, 0.99955, 4, 0)),
        ([INCLUDED] * 4, [0.9989, 0.9989, 1.0, 0.2], (False, 0.9989, 4, 0)),
        ([INCLUDED, CHANGED, UNSETTLED, CHANGED], [0.9991, np.nan, np.nan, np.nan], (True, 0.9991, 1, 2)),
        ([INCLUDED, INCLUDED, CHANGED], [0.9, 0.99, np.nan], (False, 0.945, 2, 1)),
    ],
)
def test_the_gate_asks_for_the_median_over_included_images(outcome, cosines, expected):
    assert tuple(gate(result(outcome, cosines))) == pytest.approx(expected)


def test_a_gate_without_an_image_is_shut():
    passes, cosine, n, excluded = gate(result([CHANGED, UNSETTLED], [np.nan, np.nan]))
    assert not passes and np.isnan(cosine) and (n, excluded) == (0, 1)


def test_gradients_are_named_in_the_order_of_their_cases(case):
    net, *_, found = case
    made = result([INCLUDED], [1.0], found.rows)
    for at in ("clean", "attacked"):
        told = compared(made, "gradient_cosine", at)
        assert [words for words, *_ in told] == [
            "through 10 synchronous steps",
            "through 29 synchronous steps",
            "through 70 synchronous steps",
            "last 20 of 250 synchronous steps",
            "leaky, last 20 of 250 synchronous steps",
            "adjoint after 250 synchronous steps",
            "learning rule after 250 synchronous steps",
            "through 20 forward steps",
        ]
        assert [value for _, value, *_ in told] == pytest.approx(
            np.median(found.arrays[f"cosine_{at}"][1:], axis=1).tolist()
        )
    assert compared(made, "zero_gradient", "clean")[0][0] == "through 250 synchronous steps"
    for metric, at in (("fd_cosine", "clean"), ("gradient_cosine", "elsewhere")):
        with pytest.raises(InputError):
            compared(made, metric, at)

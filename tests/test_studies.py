import copy
import math
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import random_batch, random_net
from test_attractors import bright, switch

from eplib import attacks, attractors, measurements, results, studies
from eplib.attractors import Attractors
from eplib.checks import InputError
from eplib.dynamics import settle
from eplib.learning import weight_gradients
from eplib.phases import ORDERS

ROW = {"metric", "value", "low", "high", "n"}


def pick(rows, **where):
    """The rows with these values."""
    return [r for r in rows if all(r.get(key) == value for key, value in where.items())]


def one(rows, **where):
    (row,) = pick(rows, **where)
    return row


def wilson(right, n, z=1.959963984540054):
    """The interval by its own formula."""
    share, denominator = right / n, 1 + z * z / n
    middle = (share + z * z / (2 * n)) / denominator
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / denominator
    return middle - half, middle + half


def agrees(row, outcome):
    """Whether a row says the share of a list of bools, with its interval."""
    right, n = sum(map(bool, outcome)), len(outcome)
    assert row["n"] == n and row["value"] == pytest.approx(right / n)
    assert (row["low"], row["high"]) == pytest.approx(wilson(right, n), abs=1e-9)


def is_quartiles(row, values):
    low, middle, high = np.quantile(np.asarray(values, np.float64), [0.25, 0.5, 0.75])
    assert (row["low"], row["value"], row["high"]) == pytest.approx((low, middle, high), rel=1e-9, abs=1e-12)
    assert row["n"] == len(values)


# rows


@pytest.mark.parametrize(
    "outcome", [[True] * 7, [False] * 7, [True, False, False], [[True, False], [True, True]]]
)
def test_a_share_and_its_interval(outcome):
    row = studies.share("accuracy", torch.tensor(outcome))
    agrees(row, np.ravel(outcome).tolist())
    assert row.keys() == ROW and row["metric"] == "accuracy" and row["low"] <= row["value"] <= row["high"]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.int64])
def test_quartiles_are_those_of_numpy(dtype):
    values = (torch.rand(23, generator=torch.Generator().manual_seed(0)) * 100).to(dtype)
    row = studies.quartiles("residual", values)
    is_quartiles(row, values.numpy())
    assert row.keys() == ROW and row["low"] < row["value"] < row["high"]


@pytest.mark.parametrize(
    "values, expected",
    [
        ([1, 2, 3, 4, 5], (2, 3, 4)),
        ([1, 2, 3, 4, np.inf], (2, 3, 4)),  # each quartile is one of the numbers
        ([1, 2, 3, np.inf, np.inf], (2, 3, np.inf)),
        ([1, 2, 3, np.inf], (1.75, 2.5, np.inf)),  # between 3 and inf
        ([1, np.inf, np.inf, np.inf], (np.inf,) * 3),
        ([np.inf], (np.inf,) * 3),
        ([4, 1], (1.75, 2.5, 3.25)),
        ([1, 2, np.inf, np.inf], (1.75, np.inf, np.inf)),
        ([3, 1, 2, 5, np.inf], (2, 3, 5)),
        ([7], (7, 7, 7)),
    ],
)
def test_quartiles_with_infinite_numbers_are_never_nan(values, expected):
    row = studies.quartiles("radius", torch.tensor(values, dtype=torch.float64))
    assert (row["low"], row["value"], row["high"]) == pytest.approx(expected)
    assert row["n"] == len(values) and row["metric"] == "radius"


# settling


def discerning(net, images):
    """The network with a read-out that tells these images apart, whose settled states are much alike."""
    with torch.no_grad():
        net.readout.bias.copy_(-net.readout.weight @ settle(net, images, 60).states[-1].flatten(1).mean(0))
    return net


def test_settling_says_what_happens_after_every_step_in_every_order():
    net = random_net(gain=4.0, steps=5, order="even-odd")
    images, _ = random_batch(net, 7)
    labels = settle(discerning(net, images), images, 26).logits.argmax(1)
    found = studies.settling(net, images, labels, {"batch": 3, "steps": 26}, progress=False)
    shown = [*range(1, 21), 25]
    expected, seen = [], set()
    for order in ORDERS:
        for t in shown:
            run, where = settle(net, images, t, order), {"predict_steps": t, "order": order}
            expected.append((run.logits.argmax(1) == labels).tolist())
            agrees(one(found.rows, metric="accuracy", **where), expected[-1])
            is_quartiles(one(found.rows, metric="residual", **where), run.residual)
            is_quartiles(one(found.rows, metric="energy", **where), run.energy)
            seen.add(sum(expected[-1]))
    assert len(seen) > 2  # the accuracies differ, or any row would do
    assert found.correct.tolist() == expected and found.correct.dtype == bool
    accuracies = pick(found.rows, metric="accuracy")  # "in the order of the accuracy rows"
    assert [r["value"] for r in accuracies] == pytest.approx(found.correct.mean(axis=1).tolist())
    counts = Counter(r["metric"] for r in found.rows)
    assert counts == {name: 84 for name in ("accuracy", "residual", "energy")} | {
        "period_two": 4,
        "at_rest": 4,
    }


def test_settlings_clean_outcome_is_the_last_of_the_networks_own_order():
    last = set()
    for order in ORDERS:
        net = random_net(gain=4.0, steps=5, order=order)
        images, _ = random_batch(net, 7)
        labels = settle(discerning(net, images), images, 60, "forward").logits.argmax(1)
        found = studies.settling(net, images, labels, {"batch": 7, "steps": 3}, progress=False)
        assert found.clean.tolist() == (settle(net, images, 3).logits.argmax(1) == labels).tolist()
        last.add(tuple(found.clean))
    assert len(last) > 1  # the orders differ


def test_settling_counts_cycles_and_rest_after_the_last_step():
    # u_1 = 6 v − 4 s_2 and u_2 = 3 − 4 s_1, synchronously from (0, 0). v = 0: (0, 1), (0, 1), … rests. v = ½:
    # (1, 1), (0, 0), … swings. v = 1.4 / 6: (0.7, 1), (0, 0.1), (0.5, 1), (0, 0.5) is on its way to (0, 1).
    net, images = switch(0.0, -4.0, 3.0), bright(0.0, 0.5, 0.0, 1.4 / 6, 0.5, 0.5)
    sizes, where = {"batch": 4, "steps": 2}, {"predict_steps": 2, "order": "synchronous"}
    rows = studies.settling(net, images, torch.zeros(6).long(), sizes, progress=False).rows
    agrees(one(rows, metric="at_rest", **where), [True, False, True, False, False, False])
    agrees(one(rows, metric="period_two", **where), [False, True, False, False, True, True])
    # forward, s_2 sees the new s_1 = 3 v: (0, 1), (1, 0), (0.7, 0.1); then (0, 1), (1, 0), (0.5, 0.5)
    agrees(
        one(rows, metric="at_rest", predict_steps=2, order="forward"), [True, True, True, False, True, True]
    )
    agrees(one(rows, metric="period_two", predict_steps=2, order="forward"), [False] * 6)


# multistability


def several(net, images, labels, starts=5, steps=25, batch=4):
    return studies.multistability(net, images, labels, dict(starts=starts, steps=steps, batch=batch), False)


@pytest.fixture(scope="module")
def unstable():
    net = random_net((4, 5), (1, 1), 10, gain=6.0)
    images, _ = random_batch(net, 10)
    labels = settle(discerning(net, images), images, 25).logits.argmax(1)
    labels[::3] = (labels[::3] + 1) % 10
    return net, images, labels, several(net, images, labels)


def test_multistability_says_what_its_arrays_say(unstable):
    net, images, labels, found = unstable
    classes, settled, count = (found.arrays[name] for name in ("classes", "settled", "count"))
    assert classes.shape == settled.shape == (6, 10) and count.shape == (10,)
    assert settled.dtype == bool and 0 < settled.sum() < settled.size
    disagree, agree = [], []
    for n in range(10):
        disagree.append(len({classes[k, n] for k in range(6) if settled[k, n]}) > 1)
        both = [settled[0, n] and settled[k, n] for k in range(1, 6)]
        agree += [b and classes[k, n] == classes[0, n] for k, b in enumerate(both, start=1)]
    assert 0 < sum(disagree) < 10 and 0 < sum(agree) < 50
    agrees(one(found.rows, metric="several_classes"), disagree)
    agrees(one(found.rows, metric="agreement"), agree)
    agrees(one(found.rows, metric="settled"), settled.ravel())
    agrees(one(found.rows, metric="accuracy"), classes[0] == labels.numpy())
    for name in ("near", "near_pixels"):
        metric = name.replace("near", "nearest_class")
        agrees(one(found.rows, metric=metric), found.arrays[name])
    row = one(found.rows, metric="attractors")
    assert (row["value"], row["low"], row["high"], row["n"]) == (count.mean(), count.min(), count.max(), 10)
    assert len(found.rows) == 7 and {(r["predict_steps"], r["order"]) for r in found.rows} == {
        (25, "forward")
    }
    assert found.clean.tolist() == found.correct[0].tolist() == (classes[0] == labels.numpy()).tolist()
    assert found.correct.shape == (1, 10)


def test_multistability_starts_from_zero_and_looks_for_neighbours_among_all_images(unstable):
    net, images, labels, found = unstable
    own = settle(net, images, 60, tolerance=1e-4)
    assert found.arrays["classes"][0].tolist() == own.logits.argmax(1).tolist()
    for name, vectors in (
        ("near", torch.cat([s.flatten(1) for s in own.states], dim=1)),
        ("near_pixels", images.flatten(1)),
    ):
        expected = []
        for i in range(10):  # the batches are of 4: a neighbour may lie in another
            others = [j for j in range(10) if j != i]
            nearest = min(others, key=lambda j: (vectors[i] - vectors[j]).norm().item())
            expected.append((labels[nearest] == labels[i]).item())
        assert found.arrays[name].tolist() == expected


def test_what_starts_find_is_counted_start_by_start(monkeypatch):
    settled = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 0], [1, 1, 0, 0]]).bool()
    classes = torch.tensor([[0, 1, 0, 0], [1, 1, 1, 1], [2, 1, 0, 1]])
    places = torch.tensor([[0.0, 1.0, 10.0, 11.0], [0.0, 10.0, 1.0, 11.0], [0.0, 11.0, 10.0, 1.0]])
    by_hand = Attractors(
        settled, torch.where(settled, classes, -1), classes, (places[..., None, None, None],)
    )
    monkeypatch.setattr(attractors, "find", lambda *a, **k: by_hand)
    net = random_net()
    found = several(net, random_batch(net)[0], torch.tensor([3, 3, 0, 0]), starts=2)
    # the first image's attractors disagree although its zero start never settles; so do the third's
    agrees(one(found.rows, metric="several_classes"), [True, False, True, False])
    # of the second image all starts end in one class, but zero ends nowhere; nothing agrees with that
    agrees(one(found.rows, metric="agreement"), [False] * 8)
    agrees(one(found.rows, metric="settled"), settled.flatten())
    agrees(one(found.rows, metric="accuracy"), [False, False, True, True])
    agrees(one(found.rows, metric="nearest_class"), [True] * 4)  # from zero: 0 is next to 1, and 10 to 11


def test_one_image_has_no_neighbour():
    net = random_net()
    with pytest.raises(InputError, match="2 or more"):
        several(net, *random_batch(net, 1), starts=1, steps=3)


# landscape


@pytest.fixture
def walks(monkeypatch):
    """Every walk that a study asks for, as (images, ends, points, steps, what it found)."""
    kept, along = [], attractors.along

    def spy(net, images, ends, points, steps):
        kept.append((images, ends, points, steps, along(net, images, ends, points, steps)))
        return kept[-1][-1]

    monkeypatch.setattr(attractors, "along", spy)
    return kept


SIZES = dict(epsilon=0.4, attack_steps=4, points=4, steps=12, batch=3)


def test_landscape_walks_to_the_attack_and_as_far_at_random(walks):
    net = random_net(gain=3.0)
    images, labels = random_batch(net, 5)
    images = 0.4 + 0.2 * images  # far from 0 and 1: nothing is clipped
    studies.landscape(net, images, labels, SIZES, progress=False)
    assert [len(w[0]) for w in walks] == [3, 3, 2, 2] and {w[2:4] for w in walks} == {(4, 12)}
    threat, model = attacks.ThreatModel("l2", 0.4), attacks.AttackedModel(net)
    for i in (0, 1):
        (x, attacked, *_), (same, random, *_) = walks[2 * i : 2 * i + 2]
        part = slice(3 * i, 3 * i + 3)
        assert torch.equal(x, images[part]) and torch.equal(x, same)
        torch.testing.assert_close(attacked, attacks.pgd(model, x, labels[part], threat, 4))
        length = (attacked - x).flatten(1).norm(dim=1)
        assert (length > 0.1).all() and (length <= 0.4 + 1e-6).all()
        torch.testing.assert_close((random - x).flatten(1).norm(dim=1), length)
        direction = torch.cosine_similarity((attacked - x).flatten(1), (random - x).flatten(1))
        assert direction.abs().max() < 0.2  # 768 dimensions: an angle near 90°
    first, second = ((w[1] - w[0])[0] for w in walks[1::2])
    assert torch.cosine_similarity(first.flatten(), second.flatten(), dim=0).abs() < 0.2  # not the same noise


def test_a_random_path_is_as_long_as_the_attack_although_it_stays_in_range(walks):
    net = random_net(gain=3.0)
    images, labels = random_batch(net, 3)
    images = images.round()
    studies.landscape(net, images, labels, SIZES | {"epsilon": 3.0}, progress=False)
    (x, attacked, *_), (_, random, *_) = walks
    assert random.min() >= 0 and random.max() <= 1
    lengths = [(end - x).flatten(1).norm(dim=1) for end in (random, attacked)]
    torch.testing.assert_close(
        *lengths, rtol=1e-4, atol=1e-6
    )  # though half of the noise leads out of the range


def test_landscape_says_what_was_found_on_the_walks(walks):
    net = random_net((4, 5), (1, 1), 10, gain=6.0, order="even-odd")
    images, _ = random_batch(net, 8)
    labels = settle(net, images, 12).logits.argmax(1)
    labels[1] = (labels[1] + 1) % 10
    sizes = SIZES | {"epsilon": 3.0, "points": 6}
    found = studies.landscape(net, images, labels, sizes, progress=False)
    clean = [i != 1 for i in range(8)]
    agrees(one(found.rows, metric="accuracy"), clean)
    assert found.clean.tolist() == found.correct[0].tolist() == clean and found.correct.shape == (1, 8)
    flips = []
    for i, kind in enumerate(("attack", "random")):
        where = {"attack": kind, "norm": "l2", "epsilon": 3.0, "order": "even-odd"}
        energy, barrier, hysteresis = (
            found.arrays[f"{n}_{kind}"] for n in ("energy", "barrier", "hysteresis")
        )
        assert energy.shape == (6, 8) and barrier.shape == hysteresis.shape == (8,)
        line = energy[0] + np.linspace(0, 1, 6)[:, None] * (energy[-1] - energy[0])
        np.testing.assert_allclose(barrier, (energy - line).max(axis=0), atol=1e-12)
        is_quartiles(one(found.rows, metric="barrier", **where), barrier)
        is_quartiles(one(found.rows, metric="hysteresis", **where), hysteresis)
        ends = torch.cat([w[1] for w in walks[i::2]])
        for place, at in ((0, images), (-1, ends)):
            expected = settle(net, at, 12, tolerance=1e-4).energy
            np.testing.assert_allclose(energy[place], expected, atol=1e-9)
        before, after = (settle(net, x, 12, tolerance=1e-4).logits.argmax(1) for x in (images, ends))
        flips.append((before != after).tolist())
        agrees(one(found.rows, metric="flipped", **where), flips[-1])
    assert any(flips[0]) and found.arrays["hysteresis_attack"].max() > 0
    assert len(found.arrays) == 6 and len(found.rows) == 7


# estimators


def compared(net, images, labels, **sizes):
    sizes = dict(steps=150, adjoint_sweeps=400, batch=2, trained_with=[0.3, 4, "live"]) | sizes
    return studies.estimators(net, images, labels, sizes, progress=False)


@pytest.fixture(scope="module")
def settled():
    """A network that settles, and what the study of its estimators finds."""
    net = random_net((4, 5), (1, 0), 13)
    images, labels = random_batch(net, 5)
    assert settle(net, images, 150).residual.max() < 1e-12
    return net, images, labels, compared(net, images, labels).rows


def test_back_propagation_through_a_settled_phase_is_the_adjoint(settled):
    net, images, labels, rows = settled
    for layer in ("1", "2", "read-out"):
        for metric in ("cosine", "norm_ratio"):
            row = one(rows, estimator="bptt", layer=layer, metric=metric)
            assert (row["value"], row["low"], row["high"]) == pytest.approx((1, 1, 1), abs=1e-9)
    early = compared(net, images, labels, steps=2).rows  # and before it has settled it is not
    assert one(early, estimator="bptt", layer="1", metric="cosine")["value"] < 0.9999
    assert {r["predict_steps"] for r in early} == {2} and {r["predict_steps"] for r in rows} == {150}


def test_centred_estimates_tend_to_the_adjoint_with_beta_faster_than_one_sided_ones(settled):
    *_, rows = settled
    for layer in ("1", "2", "read-out"):
        where = {"layer": layer, "nudged_steps": 30, "arg_max": "frozen"}
        centred, single = (
            {(m, b): one(rows, estimator=e, metric=m, beta=b, **where)["value"]
             for m in ("cosine", "norm_ratio") for b in studies.BETAS}
            for e in ("centred", "one-sided")
        )  # fmt: skip
        assert centred["cosine", 0.02] > 1 - 1e-7 and abs(centred["norm_ratio", 0.02] - 1) < 1e-3
        if layer != "read-out":
            assert 1 - centred["cosine", 0.02] < (1 - centred["cosine", 1.0]) / 100
            assert abs(single["norm_ratio", 0.02] - 1) > abs(centred["norm_ratio", 0.02] - 1)
            assert abs(single["norm_ratio", 0.02] - 1) < abs(single["norm_ratio", 1.0] - 1) / 10


@pytest.mark.parametrize(
    "case", [("centred", 0.5, 8, "live"), ("one-sided", 0.1, 30, "frozen"), ("centred", 0.3, 4, "live")]
)
def test_a_row_compares_the_estimate_with_the_adjoint_batch_by_batch(settled, case):
    net, images, labels, rows = settled
    estimator, beta, steps, arg_max = case
    names = {"1": "convs.0.weight", "2": "convs.1.weight", "read-out": "readout.weight"}
    cosines, ratios = ({layer: [] for layer in names} for _ in range(2))
    for part in (slice(0, 2), slice(2, 4), slice(4, 5)):
        x, y = images[part], labels[part]
        exact = weight_gradients(net, x, y, "adjoint", free_steps=150, nudged_steps=400)
        ours = weight_gradients(net, x, y, estimator, beta, 150, steps, arg_max=arg_max)
        for layer, name in names.items():
            a, b = ours[name].flatten().numpy(), exact[name].flatten().numpy()
            cosines[layer].append(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))
            ratios[layer].append(np.linalg.norm(a) / np.linalg.norm(b))
    for layer in names:
        for metric, values in (("cosine", cosines[layer]), ("norm_ratio", ratios[layer])):
            where = dict(beta=beta, nudged_steps=steps, arg_max=arg_max, order="forward", layer=layer)
            row = one(rows, estimator=estimator, metric=metric, **where)
            expected = (min(values), sorted(values)[1], max(values))
            assert (row["low"], row["value"], row["high"]) == pytest.approx(expected, rel=1e-9)
            assert row["n"] == 3 and max(values) - min(values) > 1e-6


def test_every_estimator_has_a_row_a_layer_once_and_the_settings_of_training_too(settled, monkeypatch):
    net, images, labels, rows = settled
    keys = [
        tuple(r.get(k) for k in ("estimator", "beta", "nudged_steps", "arg_max", "layer", "metric"))
        for r in rows
        if r["metric"] != "accuracy"
    ]
    cases = 1 + len(studies.BETAS) * len(studies.NUDGED_STEPS) * 2 + 1 + len(studies.BETAS)
    assert len(keys) == len(set(keys)) == cases * 3 * 2
    monkeypatch.setattr(studies, "BETAS", (0.5,))
    monkeypatch.setattr(studies, "NUDGED_STEPS", (4,))
    for trained, expected in (([0.5, 4, "live"], 4), ([0.5, 4, "frozen"], 4), ([0.5, 5, "live"], 5)):
        again = compared(net, images[:2], labels[:2], trained_with=trained).rows
        assert len(again) == expected * 3 * 2 + 1 and {r["n"] for r in again} == {1, 2}  # batches, and images
        assert [r["n"] for r in again].count(2) == 1
        beta, steps, arg_max = trained
        assert len(pick(again, estimator="centred", beta=beta, nudged_steps=steps, arg_max=arg_max)) == 6


def test_estimators_are_compared_in_float64_and_the_network_stays_as_it_is(monkeypatch):
    monkeypatch.setattr(studies, "BETAS", (0.1,))
    monkeypatch.setattr(studies, "NUDGED_STEPS", (20,))
    net = random_net((4, 5), (1, 0), 13).float()
    images, labels = random_batch(net, 4)
    classes = settle(net, images, 150).logits.argmax(1)
    labels = (classes + torch.tensor([0, 0, 1, 1])) % 10
    before = [p.clone() for p in net.parameters()]
    found = compared(net, images, labels)
    for parameter, old in zip(net.parameters(), before, strict=True):
        assert parameter.dtype == torch.float32 and torch.equal(parameter, old) and parameter.grad is None
    exact = compared(copy.deepcopy(net).double(), images.double(), labels)
    assert [r["value"] for r in found.rows] == pytest.approx([r["value"] for r in exact.rows], abs=1e-12)
    agrees(one(found.rows, metric="accuracy"), [True, True, False, False])
    assert found.clean.tolist() == found.correct[0].tolist() == [True, True, False, False]


# schedules


def test_a_schedule_compared_with_itself_loses_nothing():
    net = random_net(order="synchronous", steps=9)
    images, labels = random_batch(net, 6)
    sizes = dict(trained_with=[0.5, 4, "live"], free_steps=9, nudged_steps=4, batch=3)
    found = studies.schedules(net, images, labels, sizes, progress=False)
    cosines = pick(found.rows, metric="cosine")
    assert [r["layer"] for r in cosines] == ["1", "2", "3", "read-out"] and {r["n"] for r in cosines} == {2}
    assert all(r["value"] == pytest.approx(1, abs=1e-12) for r in cosines)
    assert np.array_equal(found.correct[0], found.correct[1])


def test_what_a_fast_schedule_gives_up_is_measured_on_the_same_weights():
    net = random_net(gain=3.0, order="forward", steps=3)
    images, labels = random_batch(net, 6)
    sizes = dict(trained_with=[0.5, 2, "frozen"], free_steps=40, nudged_steps=10, batch=6)
    found = studies.schedules(net, images, labels, sizes, progress=False)
    fast = weight_gradients(net, images, labels, free_steps=3, nudged_steps=2, arg_max="frozen")
    slow = weight_gradients(
        net, images, labels, free_steps=40, nudged_steps=10, order="synchronous", arg_max="live"
    )
    for row, name in zip(
        pick(found.rows, metric="cosine"), [n for n in fast if n.endswith("weight")], strict=True
    ):
        expected = torch.cosine_similarity(fast[name].flatten(), slow[name].flatten(), dim=0)
        assert row["value"] == pytest.approx(expected.item()) and row["value"] < 0.999
    for steps, order, outcome in ((3, "forward", found.correct[0]), (40, "synchronous", found.correct[1])):
        right = settle(net, images, steps, order).logits.argmax(1) == labels
        agrees(one(found.rows, metric="accuracy", predict_steps=steps), right)
        assert outcome.tolist() == right.tolist()


# stored


@pytest.mark.parametrize("study", list(studies.STUDIES))
def test_a_study_asked_of_a_feed_forward_network_is_refused_in_one_sentence(smoke, study):
    with pytest.raises(InputError, match="no equilibria") as error:
        measurements.settings_of(smoke["cnn"], study)
    assert "\n" not in str(error.value) and study in str(error.value)


def test_a_networks_training_is_among_the_settings_of_its_estimators(smoke):
    settings = measurements.settings_of(smoke["ep-cnn"], "estimators", images=3)
    recipe = smoke["ep-cnn"].record["training"]["recipe"]
    assert settings["sizes"]["trained_with"] == [recipe["beta"], 3, recipe["arg_max"]] == [0.5, 3, "frozen"]
    assert settings["images"] == 3 and "images" not in settings["sizes"]
    assert "trained_with" not in measurements.settings_of(smoke["ep-cnn"], "settling")["sizes"]


@pytest.mark.parametrize(
    "study, columns, arrays",
    [
        ("settling", set(), set()),
        ("multistability", set(), {"count", "classes", "settled", "near", "near_pixels"}),
        (
            "landscape",
            set(),
            {f"{a}_{k}" for a in ("energy", "barrier", "hysteresis") for k in ("attack", "random")},
        ),
        ("estimators", {"layer", "estimator", "beta", "nudged_steps", "arg_max"}, set()),
        ("schedules", {"layer"}, set()),
    ],
)
def test_a_stored_study_comes_back_whole(smoke, tmp_path, monkeypatch, study, columns, arrays):
    monkeypatch.setattr(studies, "BETAS", (0.1,))
    monkeypatch.setattr(studies, "NUDGED_STEPS", (4,))
    images = 2 if study == "estimators" else 5
    before = measurements.measure(smoke["ep-cnn"], study, images=images, progress=False)
    after = results.load(results.save(before, tmp_path))
    assert set(after.table.columns) == {*results.COLUMNS, *columns} and after.settings == before.settings
    pd.testing.assert_frame_equal(after.table, before.table, check_dtype=False, check_exact=True)
    assert after.arrays.keys() == arrays
    for name, array in before.arrays.items():
        assert np.array_equal(after.arrays[name], array) and after.arrays[name].dtype == array.dtype
        assert array.shape[-1] == images
    assert np.array_equal(after.correct, before.correct)
    assert np.array_equal(after.correct_clean, before.correct_clean)
    accuracy = after.table[after.table.metric == "accuracy"]
    assert accuracy.value.tolist() == pytest.approx(after.correct.mean(axis=1).tolist())
    for column in columns:
        assert after.table[column].notna().any()

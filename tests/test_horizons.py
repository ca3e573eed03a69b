import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import Planted, random_batch, random_net

from eplib import horizons, parts
from eplib.attacks import AttackedModel, ThreatModel, pgd, predicted
from eplib.checks import InputError
from eplib.dynamics import settle
from eplib.results import Result
from eplib.statistics import wilson

SIZES = {
    "norm": "l2",
    "epsilons": [1.0, 4.0],
    "attacked": [[3, "unrolled"], [12, "unrolled"], [12, "leaky"], [60, "adjoint"], [60, "ep"]],
    "predicted": [5, 20],
    "steps": 3,
    "batch": 2,
}


@pytest.fixture(scope="module")
def case():
    """(network, 11 images, labels of which two are wrong): half of the attacks break something."""
    net = random_net(steps=8, order="forward", gain=2.0)
    with torch.no_grad():
        net.readout.weight *= 20
    images, _ = random_batch(net, 11)
    labels = settle(net, images, 20, "synchronous").logits.argmax(1)
    labels[:2] = (labels[:2] + 1) % 10
    return net, images, labels


@pytest.fixture(scope="module")
def found(case):
    return horizons.horizons(*case, SIZES, progress=False)


def judged(net, images, steps):
    """Classes [P, N], each phase from its beginning, and who never came to rest, step by step."""
    phases = [(t, "synchronous") for t in steps] + [(net.steps, net.order)]
    classes = [settle(net, images, *phase).logits.argmax(1) for phase in phases]
    ends, still = [], []
    for x in images.split(1):
        run = settle(net, x, steps[-1], "synchronous")
        taken = steps[-1]
        while taken < horizons.CAP:
            run, before = settle(net, x, 1, "synchronous", start=run), run
            taken += 1
            if max((a - b).abs().max() for a, b in zip(run.states, before.states, strict=True)) <= 1e-5:
                break
        ends.append(run.logits.argmax(1))
        still.append(run.residual >= 1e-4)
    return torch.stack([*classes, torch.cat(ends)]).numpy(), torch.cat(still).numpy()


def test_every_cell_is_pgd_with_its_gradient_judged_by_whole_free_phases(case, found):
    net, images, labels = case
    y = labels.numpy()
    classes, still = judged(net, images, SIZES["predicted"])
    clean = classes == y
    expected, unsettled = [*clean], [still]
    for epsilon, (steps, gradient) in itertools.product(SIZES["epsilons"], SIZES["attacked"]):
        last = 20 if gradient == "leaky" else None
        model = AttackedModel(net, steps, "synchronous", gradient, last=last)
        adversarial = pgd(model, images, labels, ThreatModel("l2", epsilon), 3)
        classes, still = judged(net, adversarial, SIZES["predicted"])
        expected += [*(clean & (classes == y))]
        unsettled.append(still)
    assert found.correct.dtype == bool and np.array_equal(found.correct, expected)
    assert np.array_equal(found.clean, clean[2]) and not clean[1, :2].any() and clean[1, 2:].all()
    assert 0.1 < found.correct[3:].mean() < 0.9 * clean.mean()  # something is broken and something is not
    rows = [r for r in found.rows if r["metric"] == "unsettled"]
    assert [r["value"] for r in rows] == [s.mean() for s in unsettled]
    assert {r["prediction"] for r in rows} == {"converged"}


def test_rows_say_what_they_are_of(found):
    rows = [r for r in found.rows if r["metric"] == "accuracy"]
    phases = {"5": (5, "synchronous"), "20": (20, "synchronous"), "own": (8, "forward")}
    phases["converged"] = (None, "synchronous")
    attacks = [(0.0, "none", None, None), *((e, "pgd", *a) for e in (1.0, 4.0) for a in SIZES["attacked"])]
    places = [(attack, prediction) for attack in attacks for prediction in phases]
    for row, (attack, prediction), right in zip(rows, places, found.correct, strict=True):
        assert (row["epsilon"], row["attack"], row.get("attack_horizon"), row.get("gradient")) == attack
        assert row["prediction"] == prediction and (row["predict_steps"], row["order"]) == phases[prediction]
        assert row["value"] == right.mean() and (row["low"], row["high"]) == wilson(right.sum(), 11)
        assert row["norm"] == "l2" and row["labels"] == "true"
        assert row.get("attack_steps") == (3 if attack[1] == "pgd" else None)


def test_what_is_kept_of_the_first_images_gives_their_perturbations_back(case, found):
    net, images, labels = case
    assert found.arrays["changes"].shape == (2, 5, 8, 3, 16, 16) and found.arrays["peaks"].shape == (2, 5, 8)
    for e, a in ((0, 1), (1, 3)):
        model = horizons.attacker(net, *SIZES["attacked"][a])
        threat = ThreatModel("l2", SIZES["epsilons"][e])
        change = (pgd(model, images[:8], labels[:8], threat, 3) - images[:8]).numpy()
        peaks = found.arrays["peaks"][e, a]
        decoded = found.arrays["changes"][e, a] * (peaks / 127)[:, None, None, None]
        assert np.abs(decoded - change).max() <= peaks.max() / 254 * 1.001
        assert np.allclose(peaks, np.abs(change).max((1, 2, 3)), rtol=1e-6)
    right = found.arrays["predicted"] == labels[:8].numpy()
    clean = found.arrays["predicted_clean"] == labels[:8].numpy()
    assert np.array_equal(clean, found.correct[:4, :8])
    assert np.array_equal((right & clean).reshape(-1, 8), found.correct[4:, :8])


def test_changes_are_kept_whatever_their_size():
    changes = torch.zeros(3, 1, 2, 2)
    changes[1, 0, 0, 0], changes[1, 0, 1, 1], changes[2] = -0.5, 0.1, 1e-6
    codes, peaks = horizons.encoded(changes)
    assert codes.dtype == torch.int8 and peaks.tolist() == pytest.approx([0, 0.5, 1e-6])
    assert codes[0].eq(0).all() and codes[1, 0].tolist() == [[-127, 0], [0, 25]] and codes[2].eq(127).all()


def test_an_attack_that_ends_before_the_image_is_heard_has_no_gradient_and_breaks_nothing(case):
    net, images, labels = case  # three layers: the read-out hears from the image after three steps
    sizes = SIZES | {"attacked": [[2, "unrolled"], [3, "unrolled"]]}
    found = horizons.horizons(net, images, labels, sizes, progress=False)
    zero = [r for r in found.rows if r["metric"] == "zero_gradient"]
    assert [(r["attack_horizon"], r["value"]) for r in zero] == [(2, 1.0), (3, 0.0)]
    result = stored(found, sizes)
    clean, right = horizons.outcomes(result)
    assert np.array_equal(right[:, 0], np.broadcast_to(clean, right[:, 0].shape))
    assert (right[:, 1] != clean).any() and not found.arrays["changes"][:, 0].any()


def test_adjoints_of_states_on_their_way_are_counted_as_what_they_are(case):
    net, images, labels = case
    sizes = SIZES | {"attacked": [[2, "adjoint"], [60, "adjoint"], [2, "unrolled"]], "epsilons": [1.0]}
    found = horizons.horizons(net, images, labels, sizes, progress=False)
    counts = [(r["attack_horizon"], r["value"], r["n"]) for r in found.rows if r["metric"] == "fallback"]
    assert counts == [(2, 1.0, 33), (60, 0.0, 33)]
    _, right = horizons.outcomes(stored(found, sizes))
    assert np.array_equal(right[0, 0], right[0, 2])  # every one was unrolled instead


def test_states_that_swing_do_not_count_as_converged():
    net = random_net((16, 16, 16, 16), (1, 1, 1, 1), gain=16.0, seed=1)
    with torch.no_grad():
        for conv in net.convs:
            conv.bias -= 1.2
    images, _ = random_batch(net, 6)
    _, unsettled = horizons.predictions(net, images, [10])
    assert unsettled.any() and not unsettled.all()
    run = settle(net, images, horizons.CAP, "synchronous")
    assert torch.equal(unsettled, run.residual >= horizons.SETTLED)


def test_what_was_stopped_goes_on_and_parts_change_nothing(case, tmp_path, monkeypatch):
    net, images, labels = case
    sizes = SIZES | {"attacked": [[3, "unrolled"], [60, "adjoint"]]}
    whole = horizons.horizons(net, images, labels, sizes | {"batch": 11}, progress=False)
    cells, calls = horizons._cells, []

    def stopping(*given):
        calls.append(given)
        if len(calls) == 4:  # in the second part
            raise KeyboardInterrupt
        return cells(*given)

    monkeypatch.setattr(horizons, "_cells", stopping)
    with pytest.raises(KeyboardInterrupt):
        horizons.horizons(net, images, labels, sizes, tmp_path, progress=False)
    assert [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.npz")] == ["shown/0-8.npz"]
    found = horizons.horizons(net, images, labels, sizes, tmp_path, progress=False)
    assert len(calls) == 4 + 4 and found.rows == whole.rows
    assert np.array_equal(found.correct, whole.correct) and found.arrays.keys() == whole.arrays.keys()
    assert all(np.array_equal(found.arrays[k], v) for k, v in whole.arrays.items())
    parts.forget(tmp_path)
    assert not tmp_path.exists()


def test_few_images_are_all_shown(case):
    net, images, labels = case
    sizes = SIZES | {"attacked": [[3, "unrolled"]]}
    found = horizons.horizons(net, images[:3], labels[:3], sizes, progress=False)
    assert found.arrays["changes"].shape[:3] == (2, 1, 3) and found.correct.shape[1] == 3


@pytest.mark.parametrize(
    "wrong, words",
    [
        (dict(predicted=[20, 10]), "between 0 and 1000, ascending"),
        (dict(predicted=[10, 10]), "between 0 and 1000, ascending"),
        (dict(predicted=[0, 10]), "between 0 and 1000, ascending"),
        (dict(predicted=[10, 1000]), "between 0 and 1000, ascending"),
        (dict(attacked=[[10, "autograd"]]), "unknown gradient method 'autograd'"),
        (dict(norm="l1"), "unknown norm"),
        (dict(epsilons=[-1.0]), "epsilon = -1.0"),
        (dict(steps=0), "steps = 0"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_a_sentence(case, wrong, words):
    with pytest.raises(InputError, match=words):
        horizons.horizons(*case, SIZES | wrong, progress=False)


def test_a_network_without_a_free_phase_has_no_horizons():
    with pytest.raises(InputError, match="measure an energy-based network"):
        net = Planted("l2", 1.0)
        horizons.horizons(net, net.images(2), torch.zeros(2, dtype=torch.int64), SIZES)


def stored(found, sizes):
    return Result({"sizes": sizes}, pd.DataFrame(found.rows), None, found.clean, found.correct, {})


@pytest.fixture
def matrix():
    """A result of 6 images: two ε, three attacks, one counted prediction beside own and converged."""
    sizes = {"epsilons": [0.5, 2.0], "attacked": [[4, "unrolled"], [9, "ep"], [9, "adjoint"]]}
    sizes |= {"predicted": [7], "norm": "l2"}
    right = np.ones((2, 3, 3, 6), bool)
    right[..., 5] = False  # wrong before
    right[1, 0, 0, :1] = False
    right[1, 1, 0, 1:4] = False
    right[1, 2, 0, 2:3] = False
    right[0, 1, 2, 0] = False
    clean = np.ones((3, 6), bool)
    clean[:, 5] = False
    correct = np.concatenate([clean, right.reshape(-1, 6)])
    return Result({"sizes": sizes}, pd.DataFrame(), np.arange(6), clean[1], correct, {})


def test_the_worst_case_is_taken_image_by_image(matrix):
    assert horizons.worst_case(matrix, 2.0, "7").tolist() == [False] * 4 + [True, False]
    assert horizons.worst_case(matrix, 0.5, "7").tolist() == [True] * 5 + [False]
    assert horizons.worst_case(matrix, 0.5, "converged").tolist() == [False, *[True] * 4, False]
    table = horizons.by_cell(matrix, 2.0)
    assert np.allclose(6 * table[:, 0], [5, 4, 2, 4, 1]) and np.allclose(6 * table[:, 1:], 5)


def test_who_breaks_most_and_who_breaks_alone(matrix):
    assert horizons.breaks(matrix, 2.0, "7") == [(1, 1), (3, 2), (1, 0)]
    assert horizons.breaks(matrix, 0.5, "own") == [(0, 0)] * 3


def test_the_widest_gap_is_where_one_attack_says_least(matrix):
    assert horizons.widest_gap(matrix) == ((1, 0, 0), pytest.approx(3 / 6))  # the first of two attacks
    matrix.correct[3:] = matrix.correct[1]
    assert horizons.widest_gap(matrix) == ((0, 0, 0), 0.0)


@pytest.mark.parametrize("where, words", [((1.0, "7"), "ε 1.0"), ((2.0, "8"), "prediction '8'")])
def test_cells_that_were_not_measured_are_refused(matrix, where, words):
    with pytest.raises(InputError, match=f"{words} was not measured: give one of"):
        horizons.worst_case(matrix, *where)


def test_attacks_are_told_apart_in_words():
    told = [horizons.words(*a) for a in (*SIZES["attacked"], (12, "ep"))]
    assert len({short for short, _ in told}) == len({long for _, long in told}) == 6
    assert told[0] == ("3 steps", "exact gradient through 3 steps") and "last 20 of 12" in told[2][1]


def test_predictions_of_the_attacked_model_are_those_of_its_own_phase(case):
    net, images, _ = case
    classes, _ = horizons.predictions(net, images, [5])
    assert torch.equal(classes[1], predicted(AttackedModel(net), images))

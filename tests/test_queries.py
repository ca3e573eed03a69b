import numpy as np
import pytest
import torch
import torchattacks
from conftest import Planted
from torch import nn

from eplib import data, suite
from eplib.attacks import AttackedModel, predicted
from eplib.checks import InputError
from eplib.queries import square_queries
from eplib.statistics import wilson
from eplib.union import union

SIZES = {"epsilons": [0.0, 0.06, 0.1, 0.25], "norm": "linf", "queries": 40, "batch": 6}


class Recording(nn.Module):
    """A network that keeps every image it was shown and the class it gave it."""

    def __init__(self, net):
        super().__init__()
        self.net, self.classes, self.check, self.seen = net, net.classes, net.check, []

    def forward(self, images):
        logits = self.net(images)
        self.seen += list(zip(images.clone(), logits.argmax(1).tolist(), strict=True))
        return logits


@pytest.fixture(scope="module")
def case(tiny):
    """(network, 14 images, labels): the first two labels are wrong."""
    model, x, y = tiny[0], tiny[1][:14], tiny[2][:14].clone()
    y[:2] = (y[:2] + 1) % 10
    return model.net, x, y


@pytest.mark.parametrize("norm, epsilon", [("linf", 0.3), ("l2", 2.4)])
def test_queries_are_what_a_recorder_saw(case, norm, epsilon):
    net, x, y = Recording(case[0]), case[1], case[2]
    sizes = {"epsilons": [epsilon], "norm": norm, "queries": 60, "batch": 14}
    counts = square_queries(net, x, y, sizes, progress=False).arrays["queries"][0]
    expected, candidates = np.full(14, -1), np.zeros(14, int)
    for image, given in net.seen:
        change = (x - image).flatten(1)
        distance = change.abs().amax(1) if norm == "linf" else change.norm(dim=1)
        j = distance.argmin().item()
        assert distance[j] <= epsilon * 1.001 and (distance.sort().values[1] > 1.5 * epsilon)
        if distance[j] > 0 and expected[j] == -1:
            candidates[j] += 1
            if given != y[j]:
                expected[j] = candidates[j]
    expected[:2] = 0
    assert counts.tolist() == expected.tolist()
    assert (counts > 1).sum() >= 2 and (counts == -1).any()
    assert (candidates[counts == -1] >= 61).all()  # the stripes and 60 more, and what is our check


@pytest.mark.parametrize("norm, scale", [("linf", 1), ("l2", 16)])
def test_queries_are_those_that_square_itself_counts(case, norm, scale, monkeypatch):
    net, x, y = case
    single, kept = torchattacks.Square.attack_single_run, []

    def keeping(self, images, labels):
        queries, adversarial = single(self, images, labels)
        kept.append(queries.int())
        return queries, adversarial

    monkeypatch.setattr(torchattacks.Square, "attack_single_run", keeping)
    sizes = SIZES | {"epsilons": [scale * e for e in SIZES["epsilons"]], "norm": norm, "batch": 14}
    queries = square_queries(net, x, y, sizes, progress=False).arrays["queries"]
    assert len(kept) == 3  # none without a budget
    for row, own in zip(queries[1:], kept, strict=True):
        survived = row[row != 0] == -1
        assert (own[survived] == 41).all()
        assert (row[row > 0] == own[~torch.from_numpy(survived)].numpy()).all()


def test_rows_and_arrays_agree_with_a_union_of_square(case):
    net, x, y = case
    found = square_queries(net, x, y, SIZES, progress=False)
    outcomes = union(AttackedModel(net), x, y, "linf", SIZES["epsilons"], [("square", 40)], 6, progress=False)
    queries = found.arrays["queries"]
    assert (found.correct == outcomes.correct).all() and (found.clean == outcomes.clean).all()
    assert queries.dtype == np.int32 and queries.shape == (4, 14) and set(found.arrays) == {"queries"}
    assert (queries[:, :2] == 0).all() and (queries[0, 2:] == -1).all()
    assert (found.correct == (queries == -1)).all() and queries.max() > 1
    for before, after in zip(queries, queries[1:], strict=False):
        assert ((after == 0) == (before != -1)).all()
    rows = iter(found.rows)
    for epsilon, counts in zip(SIZES["epsilons"], queries, strict=True):
        row, broken = next(rows), counts[counts > 0]
        assert row["metric"] == "accuracy" and row["value"] == (counts == -1).mean() and row["n"] == 14
        assert (row["low"], row["high"]) == wilson((counts == -1).sum(), 14)
        assert row["epsilon"] == epsilon and row["attack"] == "square" and row["norm"] == "linf"
        assert row["labels"] == "true" and row["attack_steps"] == 40 and row["order"] is None
        if len(broken):
            row = next(rows)
            quartiles = np.quantile(broken, [0.25, 0.5, 0.75])
            assert row["metric"] == "queries" and row["epsilon"] == epsilon and row["n"] == len(broken)
            assert [row[k] for k in ("low", "value", "high")] == pytest.approx(quartiles)
    assert next(rows, None) is None and len(found.rows) > 4


@pytest.mark.parametrize("norm, epsilon, share", [("linf", 0.1, 0.6), ("l2", 0.8, 0.3)])
def test_a_planted_example_takes_many_queries_and_one_out_of_reach_survives(norm, epsilon, share):
    net = Planted(norm, share * epsilon)
    sizes = {"epsilons": [0.5 * share * epsilon, epsilon], "norm": norm, "queries": 600, "batch": 3}
    found = square_queries(net, net.images(), torch.zeros(3).long(), sizes, progress=False)
    assert found.correct.tolist() == [[True] * 3, [False] * 3]
    assert (found.arrays["queries"][0] == -1).all() and (found.arrays["queries"][1] > 1).all()


def test_a_tie_is_no_success_though_square_stops_there():
    class Flat(Planted):
        def forward(self, images):
            away = (images - 0.5).abs().flatten(1).amax(1, keepdim=True) > 0.2
            return torch.where(away, 0.0, torch.tensor([2.0, 0, 0, 0])) + 0 * super().forward(images)

    net = Flat("linf", 0.1)
    sizes = {"epsilons": [0.3], "norm": "linf", "queries": 5, "batch": 3}
    found = square_queries(net, net.images(), torch.zeros(3).long(), sizes, progress=False)
    assert found.clean.all() and (found.arrays["queries"] == -1).all() and len(found.rows) == 1


@pytest.mark.parametrize("kind", ["ep-cnn", "cnn"])
def test_networks_are_measured(smoke, kind):
    net, x = smoke[kind].net, data.as_float(data.load("sample", "test").images[:4])
    y = predicted(AttackedModel(net), x)
    y[0] = (y[0] + 1) % 10
    sizes = {"epsilons": [0.02, 0.3], "norm": "linf", "queries": 10, "batch": 3}
    found = square_queries(net, x, y, sizes, progress=False)
    known = (net.steps, net.order) if kind == "ep-cnn" else (None, None)
    assert {(row["predict_steps"], row["order"]) for row in found.rows} == {known}
    assert found.clean.tolist() == [False, True, True, True]
    queries = found.arrays["queries"]
    assert (queries[:, 0] == 0).all() and (queries <= 11).all() and (queries >= -1).all()


def test_counting_that_was_stopped_goes_on_and_shows_where_it_is(case, monkeypatch, tmp_path, capsys):
    whole = square_queries(*case, SIZES)
    assert f"ε = 0.25: {whole.correct[-1].mean():.3f} right" in capsys.readouterr().err
    checked, calls = suite.checked, []

    def stopping(*given):
        calls.append(given)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return checked(*given)

    monkeypatch.setattr(suite, "checked", stopping)
    with pytest.raises(KeyboardInterrupt):
        square_queries(*case, SIZES, tmp_path, progress=False)
    assert len(list(tmp_path.iterdir())) == 1
    torch.rand(3)
    again = square_queries(*case, SIZES, tmp_path, progress=False)
    assert (
        again.seconds > 0
        and again.rows == whole.rows
        and (again.arrays["queries"] == whole.arrays["queries"]).all()
    )
    assert (again.clean == whole.clean).all()


def test_bad_input_is_refused(case):
    net, x, y = case
    for change, message in (
        ({"sizes": SIZES | {"epsilons": [0.2, 0.1]}}, "ascending"),
        ({"sizes": SIZES | {"epsilons": [-0.1]}}, "epsilon = -0.1"),
        ({"sizes": SIZES | {"norm": "l1"}}, "norm"),
        ({"sizes": SIZES | {"queries": 0}}, "steps = 0 of square"),
        ({"sizes": SIZES | {"batch": 0}}, "parts of 0"),
        ({"images": 2 * x}, "images"),
        ({"labels": y + 9}, "labels"),
    ):
        with pytest.raises(InputError, match=message):
            square_queries(**dict(net=net, images=x, labels=y, sizes=SIZES, progress=False) | change)

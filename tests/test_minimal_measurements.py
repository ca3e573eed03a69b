import numpy as np
import pytest
import torch
from conftest import Planted

from eplib import data, minimal_norm
from eplib import minimal_measurements as measured
from eplib.attacks import AttackedModel, predicted
from eplib.checks import InputError
from eplib.statistics import wilson

SIZES = {
    "searches": 5,
    "constant": 1e-3,
    "steps": 12,
    "batch": 4,
    "norm": "l2",
    "epsilons": [0.0, 0.5, 0.8, 2.0],
}
STUDIES = {
    "carlini-wagner": measured.carlini_wagner,
    "hop-skip-jump": measured.hop_skip_jump,
    "ddn": measured.fast_minimum_norm,
}


def direct(name, model, x, y, start, sizes=SIZES):
    """What a part is, by the attack itself."""
    if name == "carlini-wagner":
        return minimal_norm.carlini_wagner(model, x, y, sizes["searches"], sizes["steps"], sizes["constant"])
    if name == "hop-skip-jump":
        return minimal_norm.hop_skip_jump(model, x, y, sizes["norm"], sizes["steps"], start)
    return minimal_norm.fast_minimum_norm(model, x, y, sizes["norm"], sizes["steps"])


@pytest.fixture(scope="module")
def case(tiny):
    """(network, 10 images, labels): the first two labels are wrong."""
    model, x, y = tiny[0], tiny[1][:10], tiny[2][:10].clone()
    y[:2] = (y[:2] + 1) % 10
    return model.net, x, y


@pytest.mark.parametrize("name", STUDIES)
def test_measurements_are_the_attacks_part_by_part(case, name):
    net, x, y = case
    sizes = SIZES | ({"steps": 1} if name == "hop-skip-jump" else {})
    found = STUDIES[name](net, x, y, sizes, progress=False)
    model = AttackedModel(net)
    parts = [direct(name, model, x[i : i + 4], y[i : i + 4], i, sizes) for i in (0, 4, 8)]
    norms = np.float32(np.concatenate([p.norm for p in parts]))
    assert found.arrays["minimal_norm"].dtype == np.float32 and set(found.arrays) == {"minimal_norm"}
    assert (found.arrays["minimal_norm"] == norms).all()
    assert found.clean.tolist() == [False] * 2 + [True] * 8
    assert found.correct.shape == (4, 10) and found.correct.dtype == bool
    assert (found.correct[0] == found.clean).all()
    accuracy, rest, survived = found.rows[:4], found.rows[4:], norms > np.c_[sizes["epsilons"]]
    for row, epsilon, right in zip(accuracy, sizes["epsilons"], survived, strict=True):
        assert row["metric"] == "accuracy" and row["epsilon"] == epsilon and row["n"] == 10
        assert row["value"] == right.mean() and (row["low"], row["high"]) == wilson(right.sum(), 10)
    assert (found.correct == survived).all()
    expected = ["minimal_norm", "found"] + ["model_calls"] * (name != "carlini-wagner")
    assert [row["metric"] for row in rest] == expected
    assert rest[0]["n"] == rest[1]["n"] == 8 and "epsilon" not in rest[0]
    assert rest[1]["value"] == np.isfinite(norms[2:]).mean()
    if np.isfinite(norms).all():
        quartiles = np.quantile(norms[2:].astype(float), [0.25, 0.5, 0.75])
        assert [rest[0][k] for k in ("low", "value", "high")] == pytest.approx(quartiles)
    if name != "carlini-wagner":
        assert rest[2]["value"] == pytest.approx(np.median([p.calls for p in parts for _ in p.norm][2:]))
    for row in found.rows:
        assert row["attack"] == name and row["norm"] == "l2" and row["labels"] == "true"
        assert row["gradient"] == ("" if name == "hop-skip-jump" else "autograd")
        assert row["attack_steps"] == sizes["steps"] and row["predict_steps"] is None is row["order"]
        assert not np.isnan([row["value"], row["low"], row["high"]]).any()


def test_a_planted_example_is_at_its_distance():
    for norm, distance, name in (("linf", 0.1, "fmn"), ("l2", 0.8, "ddn")):
        net = Planted(norm, distance)
        sizes = {"steps": 40, "batch": 2, "norm": norm, "epsilons": [0.9 * distance, 1.1 * distance]}
        found = measured.fast_minimum_norm(net, net.images(), torch.zeros(3).long(), sizes, progress=False)
        assert found.correct.tolist() == [[True] * 3, [False] * 3]
        rows = {row["metric"]: row for row in found.rows[2:]}
        assert rows["minimal_norm"]["value"] == pytest.approx(distance, rel=0.02)
        assert rows["found"]["value"] == 1 and rows["model_calls"]["value"] == 40
        assert {row["attack"] for row in found.rows} == {name}


@pytest.mark.parametrize("kind", ["ep-cnn", "cnn"])
def test_networks_are_measured(smoke, kind):
    net, x = smoke[kind].net, data.as_float(data.load("sample", "test").images[:3])
    y = predicted(AttackedModel(net), x)
    sizes = SIZES | {"searches": 1, "steps": 3, "batch": 2}
    for study in (measured.carlini_wagner, measured.fast_minimum_norm):
        found = study(net, x, y, sizes, progress=False)
        assert found.clean.all() and found.correct.shape == (4, 3)
        for row in found.rows:
            assert row["gradient"] == ("unrolled" if kind == "ep-cnn" else "autograd")
            known = (net.steps, net.order) if kind == "ep-cnn" else (None, None)
            assert (row["predict_steps"], row["order"]) == known
            assert not np.isnan([row["value"], row["low"], row["high"]]).any()


def test_decisions_are_enough(smoke):
    net, x = smoke["ep-cnn"].net, torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    y = (predicted(AttackedModel(net), x) + 1) % 10  # wrong from the start, but for one
    y[0] = (y[0] + 9) % 10
    sizes = {"steps": 1, "batch": 2, "norm": "linf", "epsilons": [0.1]}
    found = measured.hop_skip_jump(net, x, y, sizes, progress=False)
    assert found.clean.tolist() == [True, False] and found.rows[0]["gradient"] == ""


@pytest.mark.parametrize("name", STUDIES)
def test_a_measurement_that_was_stopped_goes_on(case, name, monkeypatch, tmp_path):
    net, x, y = case
    sizes = SIZES | {"steps": 1}
    whole = STUDIES[name](net, x, y, sizes, progress=False)
    attack = {"ddn": "fast_minimum_norm"}.get(name, name.replace("-", "_"))
    kept, calls = getattr(minimal_norm, attack), []

    def stopping(*given, **more):
        calls.append(given)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return kept(*given, **more)

    monkeypatch.setattr(minimal_norm, attack, stopping)
    with pytest.raises(KeyboardInterrupt):
        STUDIES[name](net, x, y, sizes, tmp_path, progress=False)
    again = STUDIES[name](net, x, y, sizes, tmp_path, progress=False)
    assert len(calls) == 4 and again.seconds > 0 and again.rows == whole.rows
    assert (again.arrays["minimal_norm"] == whole.arrays["minimal_norm"]).all()


def test_words_beside_the_bar_are_the_median_so_far(case, capsys):
    found = measured.fast_minimum_norm(*case, SIZES | {"batch": 10})
    median = np.median(found.arrays["minimal_norm"][2:])
    assert f"median l2 {median:.3g}" in capsys.readouterr().err


def test_where_all_are_wrong_only_accuracy_is_left(case):
    net, x, y = case
    wrong = (predicted(AttackedModel(net), x) + 1) % 10
    for name, study in STUDIES.items():
        found = study(net, x, wrong, SIZES, progress=False)
        assert [row["metric"] for row in found.rows] == ["accuracy"] * 4, name
        assert not found.clean.any() and not found.correct.any()


def test_bad_input_is_refused(case):
    net, x, y = case
    for study in STUDIES.values():
        for change, message in (
            ({"sizes": SIZES | {"steps": 0}}, "steps = 0"),
            ({"sizes": SIZES | {"batch": 0}}, "parts of 0"),
            ({"sizes": SIZES | {"epsilons": [-1]}}, "epsilon = -1"),
            ({"images": torch.cat([x[:9], 2 + x[9:]])}, "images"),  # in the last part
            ({"labels": y + 9}, "labels"),
        ):
            with pytest.raises(InputError, match=message):
                study(**dict(net=net, images=x, labels=y, sizes=SIZES, progress=False) | change)
    with pytest.raises(InputError, match="searches|binary"):
        measured.carlini_wagner(net, x, y, SIZES | {"searches": 0}, progress=False)
    for study in (measured.hop_skip_jump, measured.fast_minimum_norm):
        with pytest.raises(InputError, match="norm"):
            study(net, x, y, SIZES | {"norm": "l1"}, progress=False)

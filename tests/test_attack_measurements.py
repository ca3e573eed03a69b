import json

import numpy as np
import pytest

from eplib import checkpoints, data, measurements, results, scales, suite, union
from eplib.attack_measurements import MEASURED
from eplib.attacks import AttackedModel
from eplib.checks import InputError, Interrupted
from eplib.corruption_measurements import CORRUPTED

ALONE = [name for name in MEASURED if name not in ("transfer", "semantics")]
# what is measured of energy-based networks only
FREE_PHASES = ("horizons", "phase-lengths", "gradients", "state-space", "filtering")
SMOKE = scales.scale("smoke")


@pytest.fixture
def stored(out, smoke):
    """The two networks at their place, where `transfer` looks for them."""
    folder = out / "checkpoints" / "smoke"
    return {
        model: checkpoints.load(
            checkpoints.save(folder, c.net, model, "sample", "smoke", 0, c.record["training"])
        )
        for model, c in smoke.items()
    }


@pytest.mark.parametrize(
    "measurement, kind",
    [(m, kind) for m in ALONE for kind in ("ep-cnn", "cnn") if kind == "ep-cnn" or m not in FREE_PHASES],
)
def test_every_measurement_gives_a_result_that_is_stored_and_found(smoke, out, kind, measurement):
    result, path = measurements.measure_and_keep(smoke[kind], measurement, images=4, progress=False)
    again = results.load(path)
    assert again.settings == json.loads(json.dumps(result.settings))
    assert np.array_equal(again.correct, result.correct)
    own = result.table[result.table.metric == "accuracy"]
    assert len(own) == len(result.correct) >= 1 and result.correct.shape[1] == len(result.image_ids) == 4
    assert np.allclose(own.value, result.correct.mean(1)) and (own.n == 4).all()
    assert result.record["seconds"] >= 0 and not list(out.rglob("unfinished/**/*.npz"))
    if "epsilons" in result.settings["sizes"]:
        assert list(result.epsilons) == list(SMOKE.attacks[measurement]["epsilons"])
        assert result.norm == SMOKE.attacks[measurement]["norm"]


@pytest.mark.parametrize("measurement", FREE_PHASES)
def test_what_needs_a_free_phase_is_refused_without_one(smoke, measurement):
    with pytest.raises(InputError, match="measure an energy-based network"):
        measurements.measure(smoke["cnn"], measurement, images=4, progress=False)


def test_transfer_looks_at_the_stored_networks_of_its_seed(stored, smoke):
    result = measurements.measure(stored["cnn"], "transfer", images=6, progress=False)
    assert result.settings["sizes"]["sources"] == {m: c.sha256 for m, c in stored.items()}
    assert set(result.table.other_model) == {"ep-cnn", "cnn", "any of them"}


def test_transfer_without_its_networks_is_refused(smoke, out):
    with pytest.raises(InputError, match="transfer attacks ep-cnn of seed 0, which is not stored"):
        measurements.settings_of(smoke["cnn"], "transfer")


def test_a_suite_is_the_union_of_its_plan_and_says_who_broke_what(smoke):
    result = measurements.measure(smoke["cnn"], "suite-linf", progress=False)
    sizes, test = result.settings["sizes"], data.load("sample", "test")
    x, y = data.as_float(test.images[:10]), test.labels[:10]
    plan = [tuple(part) for part in sizes["plan"]]
    model = AttackedModel(smoke["cnn"].net)
    found = union.union(model, x, y, "linf", sizes["epsilons"], plan, sizes["batch"], progress=False)
    assert np.array_equal(result.correct, found.correct)
    assert np.array_equal(result.arrays["found_by"], found.found_by)
    broken = result.table[result.table.metric == "broken"]
    assert set(broken.by) == {name for name, _ in plan} and set(result.table.attack) == {"suite"}
    for epsilon, left in zip(sizes["epsilons"], result.correct.mean(1), strict=True):
        shares = broken[broken.epsilon == epsilon].value.sum()
        assert shares + left + (~result.correct_clean).mean() == pytest.approx(1)


def test_only_the_whole_plan_is_called_autoattack_and_its_strengths_stand_alone(smoke, monkeypatch):
    plan = SMOKE.attacks["suite-linf"]["plan"]
    monkeypatch.setattr(suite, "AUTOATTACK", tuple(map(tuple, plan)))
    seen = []
    right = union.union

    def noted(*arguments, carried, **more):
        seen.append(carried)
        return right(*arguments, carried=carried, **more)

    monkeypatch.setattr(union, "union", noted)
    named = measurements.measure(smoke["cnn"], "suite-linf", images=4, progress=False)
    assert set(named.table.attack) == {"autoattack"} and seen == [False]
    for scale in ("cpu", "paper"):
        monkeypatch.undo()
        assert suite.is_autoattack(scales.scale(scale).attacks["suite-linf"]["plan"])
    assert not suite.is_autoattack(scales.scale("quick").attacks["suite-linf"]["plan"])


def test_conventions_look_at_the_first_images_of_the_original_files(smoke):
    result = measurements.measure(smoke["cnn"], "conventions", images=5, progress=False)
    test = data.load("sample", "test")
    places = test.official[result.image_ids]
    assert places.tolist() == sorted(test.official.tolist())[:5]


def test_an_attack_that_was_stopped_keeps_its_parts_and_goes_on(smoke, out, monkeypatch):
    checked, calls = suite.checked, []

    def stopping(*given):
        calls.append(given)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return checked(*given)

    # one part is one image here, so that the first ends before the second attack begins
    monkeypatch.setitem(SMOKE.attacks, "noise-linf", SMOKE.attacks["noise-linf"] | {"batch": 3})
    whole = measurements.measure(smoke["ep-cnn"], "noise-linf", progress=False)
    monkeypatch.setattr(suite, "checked", stopping)
    with pytest.raises(Interrupted, match="parts kept: the same command goes on"):
        measurements.measure_and_keep(smoke["ep-cnn"], "noise-linf", progress=False)
    monkeypatch.setattr(suite, "checked", checked)
    result, _ = measurements.measure_and_keep(smoke["ep-cnn"], "noise-linf", progress=False)
    assert np.array_equal(result.correct, whole.correct)
    assert not list(out.rglob("unfinished/**/*.npz"))


def test_other_strengths_are_taken_where_there_is_one_list_of_them(smoke):
    settings = measurements.settings_of(smoke["cnn"], "square-linf", epsilons=[0.2, 0.05])
    assert settings["sizes"]["epsilons"] == [0.05, 0.2]
    with pytest.raises(InputError, match="conventions, which has no one list"):
        measurements.settings_of(smoke["cnn"], "conventions", epsilons=[0.1])
    with pytest.raises(InputError, match="epsilon"):
        measurements.settings_of(smoke["cnn"], "square-linf", epsilons=[-0.1])


def test_sizes_of_every_scale_are_complete():
    for size in scales.SCALES.values():
        assert set(size.attacks) == {*MEASURED, *CORRUPTED}
        for sizes in size.attacks.values():
            assert sizes["images"] >= 1 and sizes["batch"] >= 1
            assert list(sizes.get("epsilons", ())) == sorted(sizes.get("epsilons", ()))
        assert set(size.attacks["transfer"]["sources"]) <= set(size.rows)

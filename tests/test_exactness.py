import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from conftest import random_batch, random_net

from eplib import arithmetic, data, exactness, gradients, lockstep, measurements, precision, suite
from eplib.arithmetic import FORMATS, computing
from eplib.attacks import AttackedModel, ThreatModel, pgd, predicted
from eplib.checks import InputError
from eplib.dynamics import settle
from eplib.exactness import AGAIN, ALONE
from eplib.lockstep import CASES, COMPARED, CONTROL, HELD, LIVE, side_by_side
from eplib.network import EPCNN
from eplib.statistics import wilson

SIZES = {"norm": "l2", "epsilon": 1.5, "steps": 2, "long": 8, "batch": 3}


def float32_net(**settings):
    return random_net(**settings).float()


def batch(net, count=4):
    x, y = random_batch(net, count)
    return x.float(), y


def nearest_tf32(x):
    """By definition: the nearest multiple of 2^(exponent − 10), ties to even."""
    mantissa, exponent = np.frexp(x.numpy().astype(np.float64))
    return torch.from_numpy(np.ldexp(np.rint(mantissa * 2.0**11), exponent - 11)).float()


def test_tf32_is_the_nearest_number_with_ten_bits():
    generator = torch.Generator().manual_seed(0)
    spread = torch.randn(3000, generator=generator) * 10.0 ** torch.randint(
        -30, 30, (3000,), generator=generator
    )
    ties = torch.tensor([1 + 2**-11, 1 + 3 * 2**-11, -(1 + 2**-11), 2 - 2**-12, 0.0, -0.0, 1.0])
    for x in (spread, ties):
        assert torch.equal(arithmetic.to_tf32(x), nearest_tf32(x))
    assert arithmetic.to_tf32(ties)[:4].tolist() == [1, 1 + 2**-9, -1, 2]
    kept = spread.bfloat16().float()
    assert torch.equal(arithmetic.to_tf32(kept), kept)
    assert arithmetic.to_tf32(torch.tensor([float("inf"), -float("inf")])).tolist() == [
        float("inf"),
        -float("inf"),
    ]


def test_tf32_rounds_what_is_multiplied_forward_and_backward_and_nothing_else():
    generator = torch.Generator().manual_seed(1)
    x, w, b, pull = (
        torch.randn(s, generator=generator) for s in [(2, 3, 6, 6), (4, 3, 3, 3), (4,), (2, 4, 6, 6)]
    )
    r = arithmetic.to_tf32
    x.requires_grad_()
    with computing("tf32", "cpu"):
        y = F.conv2d(x, w, b, padding=1)
        (gradient,) = torch.autograd.grad(y, x, pull)
        product, sums = x.detach().flatten(1) @ w.flatten(1).repeat(1, 4).T, x + b.view(1, 4, 1, 1)[:, :1]
    assert torch.equal(y, F.conv2d(r(x.detach()), r(w), b, padding=1))
    # the transpose of the convolution, as another kernel sums it
    assert torch.allclose(gradient, F.conv_transpose2d(r(pull), r(w), padding=1), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(gradient, F.conv_transpose2d(pull, w, padding=1), rtol=1e-5, atol=1e-5)
    assert torch.equal(product, r(x.detach()).flatten(1) @ r(w).flatten(1).repeat(1, 4).T)
    assert torch.equal(sums, x + b[0]) and torch.equal(
        F.conv2d(x, w, b), F.conv2d(x.detach(), w, b)
    )  # left again


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_sixteen_bits_sum_in_float32_where_the_machine_lacks_them(name, monkeypatch):
    monkeypatch.setattr(precision, "native_bfloat16", lambda _: False)
    dtype, generator = arithmetic.DTYPES[name], torch.Generator().manual_seed(2)
    x, w = torch.rand(2, 8, 6, 6, generator=generator), torch.randn(4, 8, 3, 3, generator=generator)
    x, w = x.to(dtype).requires_grad_(), w.to(dtype)
    assert arithmetic.emulated(name, "cpu")
    with computing(name, "cpu"):
        y = F.conv2d(x, w)
        (gradient,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(y, F.conv2d(x.float(), w.float()).to(dtype)) and gradient.dtype == dtype
    wide = F.conv_transpose2d(torch.ones(y.shape), w.float())
    assert torch.allclose(gradient.float(), wide, rtol=2e-2, atol=2e-2)


def test_formats_are_native_or_said_not_to_be(monkeypatch):
    for native in (True, False):
        monkeypatch.setattr(precision, "native_bfloat16", lambda _, native=native: native)
        on = {name: [arithmetic.emulated(name, d) for d in ("cpu", "cuda")] for name in FORMATS}
        assert on == {
            "float64": [False, False],
            "float32": [False, False],
            "tf32": [True, not native],
            "bfloat16": [not native, not native],
            "float16": [True, False],
        }
    with pytest.raises(InputError, match="float64, float32, tf32, bfloat16, float16"):
        arithmetic.emulated("float8", "cpu")


def test_hardware_tf32_is_allowed_only_while_it_is_computed_in(monkeypatch):
    monkeypatch.setattr(arithmetic, "emulated", lambda *_: False)
    seen = {}
    for name in FORMATS:
        with computing(name, "cuda"):
            seen[name] = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    assert seen == {name: (name == "tf32",) * 2 for name in FORMATS}


def test_models_compute_in_their_format_and_leave_the_network_alone(smoke):
    for kind in ("ep-cnn", "cnn"):
        net = smoke[kind].net
        x = data.as_float(data.load("sample", "test").images[:4])
        before = {name: value.clone() for name, value in net.state_dict().items()}
        with torch.no_grad():
            logits = {}
            for name in FORMATS:
                with computing(name, "cpu"):
                    logits[name] = arithmetic.model(net, name)(arithmetic.pixels(x, name))
        apart = {name: (z - logits["float64"]).abs().max().item() for name, z in logits.items()}
        assert logits["float64"].dtype == torch.float64
        assert {z.dtype for name, z in logits.items() if name != "float64"} == {torch.float32}
        assert 0 < apart["float32"] < apart["tf32"] < apart["bfloat16"] < 0.3
        assert apart["float32"] < apart["float16"] < apart["bfloat16"]
        assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize("order", ["synchronous", "forward"])
@pytest.mark.parametrize("settings", [{}, dict(pooling="average", gain=4.0)], ids=["max", "average"])
def test_phases_side_by_side_are_those_of_the_network(order, settings):
    net = float32_net(**settings)
    x, _ = batch(net)
    found = side_by_side(net, x, 7, order)
    exact = settle(random_net(**settings), x.double(), 7, order)  # the same weights in float64
    assert torch.allclose(found["residual"][0], exact.residual, atol=1e-6)
    assert found["classes"][0].tolist() == exact.logits.argmax(1).tolist()
    assert found["difference"].shape == (len(CASES), 7, 4)
    exact = gradients.follow(arithmetic.model(net, "float64").net, x.double(), 7, order)
    for j, (name, arg_max) in enumerate(CASES[: len(COMPARED)]):
        if name == CONTROL:
            continue
        with computing(name, "cpu"):
            other = gradients.follow(net, x, 7, order, dtype=arithmetic.DTYPES[name])
            logits = other.logits.double()
        pairs = zip(other.phase.states, exact.phase.states, strict=True)
        apart = torch.cat([(a.double() - b).abs().flatten(1) for a, b in pairs], 1)
        assert arg_max == LIVE and torch.equal(found["difference"][j, -1], apart.amax(1))
        assert torch.equal(found["units"][j], (apart > 0.01).double().mean(1))
        assert torch.equal(found["logits"][j], (logits - exact.logits).abs().amax(1))
        assert found["classes"][j + 1].tolist() == logits.argmax(1).tolist()
        above = found["difference"][j] > 0.01
        first = torch.where(above.any(0), 1 + above.double().argmax(0), float("inf"))
        assert torch.equal(found["apart"][j], first.double())


def test_an_image_that_is_not_changed_ends_where_it_did(monkeypatch):
    monkeypatch.setattr(lockstep, "MOVED", 0.0)
    net = float32_net()
    found = side_by_side(net, batch(net)[0], 6, "forward")
    j = CASES.index((CONTROL, LIVE))
    assert (found["difference"][j] == 0).all() and (found["logits"][j] == 0).all()
    assert not found["pattern"][j].any() and found["apart"][j].isinf().all()


def tie(apart=1e-9):
    """(network, image): two pixels of a pooling window differ by so much that float64 alone sees it."""
    net = EPCNN((1, 1), (1, 1), classes=2, in_channels=1, image_size=4, steps=6, order="synchronous")
    with torch.no_grad():
        for conv, size in zip(net.convs, (1.0, 1.6), strict=True):
            conv.weight.zero_()[:, :, 1, 1] = size
            conv.bias.zero_()
        net.readout.weight.copy_(torch.tensor([[1.0], [-1.0]]))
    image = torch.zeros(1, 1, 4, 4, dtype=torch.float64)
    image[0, 0, 0, 0], image[0, 0, 2, 2] = 0.6, 0.6 + apart  # two of the four first-layer units
    return net, image


@pytest.mark.parametrize("order", ["synchronous", "forward"])
def test_a_tie_that_rounding_makes_parts_the_states_and_a_held_arg_max_does_not(order):
    net, image = tie()
    found = side_by_side(net, image, 6, order)
    live, held = CASES.index(("float32", LIVE)), CASES.index(("float32", HELD))
    assert found["difference"][live, -1] > 0.1 and found["units"][live] == 2 / 5
    assert found["pattern"][live].all() and found["switched"][live] < found["apart"][live]
    assert found["difference"][held].max() < 1e-6 and found["apart"][held].isinf().all()
    plain = side_by_side(*tie(1e-3), 6, order)
    assert plain["difference"][live].max() < 1e-6 and not plain["pattern"][live].any()


@pytest.fixture(scope="module")
def measured(smoke):
    """{model: (images, labels, Found)} of four images in two parts."""
    test = data.load("sample", "test")
    x, y = data.as_float(test.images[:4]), test.labels[:4].clone()
    found = {}
    for kind in ("ep-cnn", "cnn"):
        labels = y.clone()
        labels[:3] = predicted(AttackedModel(smoke[kind].net), x[:3])  # so that there is something to break
        found[kind] = x, labels, exactness.exactness(smoke[kind].net, x, labels, SIZES, progress=False)
    return found


@pytest.mark.parametrize("kind", ["ep-cnn", "cnn"])
def test_accuracy_rows_and_their_outcomes_agree_with_the_attacks_themselves(kind, measured, smoke):
    x, y, found = measured[kind]
    table = pd.DataFrame(found.rows)
    rows = table[table.metric == "accuracy"].reset_index(drop=True)
    assert len(rows) == len(found.correct) and np.allclose(rows.value, found.correct.mean(1))
    assert all((low, high) == wilson(v * 4, 4) for low, high, v in rows[["low", "high", "value"]].values)
    threat, net = ThreatModel("l2", 1.5), smoke[kind].net
    exact = arithmetic.model(net, "float64")
    parts = [slice(0, 3), slice(3, 4)]
    for name in FORMATS:
        model = arithmetic.model(net, name)
        with computing(name, "cpu"):
            z = arithmetic.pixels(x, name)
            attacked = torch.cat([pgd(model, z[p], y[p], threat, 2) for p in parts])
            before, own = predicted(model, z) == y, predicted(model, attacked) == y
        here = (rows.precision == name) & (rows.attack == "pgd")
        assert found.correct[rows.index[here & (rows.judge == "own")][0]].tolist() == (before & own).tolist()
        clean = rows.index[(rows.precision == name) & rows.attack.isna()][0]
        assert found.correct[clean].tolist() == before.tolist()
        if name != "float64":
            judged = (predicted(exact, attacked.double()) == y) & (predicted(exact, x.double()) == y)
            at = rows.index[here & (rows.judge == "float64")][0]
            assert found.correct[at].tolist() == judged.tolist()
    assert found.clean.tolist() == (predicted(AttackedModel(net), x) == y).tolist()
    attack = rows[rows.attack == "pgd"]
    assert set(attack.norm) == {"l2"} and set(attack.epsilon) == {1.5} and set(attack.attack_steps) == {2}


@pytest.mark.parametrize("kind", ["ep-cnn", "cnn"])
def test_differences_are_counted_against_the_outcomes_stored(kind, measured, smoke):
    table = pd.DataFrame(measured[kind][2].rows)
    rows = table[table.metric == "accuracy"].reset_index(drop=True)
    correct = measured[kind][2].correct
    own = {name: correct[i] for i, name in enumerate(rows.precision) if rows.judge[i] == "own"}
    differ = table[(table.metric == "outcome_differs") & (table.judge == "own")].set_index("precision")
    for name in (*FORMATS[1:], ALONE):
        reference = own[differ.against[name]]
        assert differ.value[name] == pytest.approx((own[name] != reference).mean())
    assert differ.against[ALONE] == "float32" and set(differ.against[:4]) == {"float64"}
    net = smoke[kind].net
    x, y, found = measured[kind]
    fine = torch.cat([exactness._dithered(part) for part in (x[:3], x[3:])])
    assert (
        all(len(image.unique()) > 0.99 * image.numel() for image in fine) and (fine - x).abs().max() < 0.004
    )
    kept = []
    for name in ("float64", "float32"):
        model, z = arithmetic.model(net, name), arithmetic.pixels(fine, name)
        after = torch.cat(
            [pgd(model, z[p], y[p], ThreatModel("l2", 1.5), 2) for p in (slice(3), slice(3, 4))]
        )
        kept.append((predicted(model, z) == y) & (predicted(model, after) == y))
    row = table[table.metric == "dithered_outcome_differs"].iloc[0]
    assert row.value == (kept[0] != kept[1]).double().mean() and row.precision == "float32"
    same = table[table.metric == "identical"].iloc[0]
    assert (same.precision, same.value) == (AGAIN, 1)  # one thread, one machine
    assert set(table[table.precision == "tf32"].emulated) == {True}
    assert set(table[table.precision.isin(["float64", "float32", CONTROL, ALONE])].emulated) == {False}


def test_what_only_an_energy_based_network_has(measured):
    table, plain = (pd.DataFrame(measured[kind][2].rows) for kind in ("ep-cnn", "cnn"))
    states = {"residual", "units_differ", "pattern_differs", "apart_after", "difference", "switched_before"}
    assert states <= set(table.metric) and not states & set(plain.metric)
    phases = set(zip(table.predict_steps, table.order, strict=True))
    assert {(6, "forward"), (8, "synchronous"), (1, "forward"), (1, "synchronous")} <= phases
    units = table[(table.metric == "units_differ") & (table.order == "synchronous")]
    stored = measured["ep-cnn"][2].arrays["units_1"]
    assert np.allclose(units.value, stored.mean(1)) and (units.low <= units.value).all()
    assert (units.value <= units.high).all() and (units.high <= stored.max(1) + 1e-12).all()
    shown = table[(table.metric == "difference") & (table.order == "synchronous")]
    assert set(shown.predict_steps) == set(range(1, 9)) and set(shown.arg_max) == {LIVE, HELD}


def test_the_own_phase_is_measured_once_where_it_is_the_long_one(smoke):
    net = float32_net(steps=8, order="synchronous")
    rows = pd.DataFrame(exactness.exactness(net, *batch(net), SIZES, progress=False).rows)
    assert len(rows[(rows.metric == "accuracy") & rows.attack.isna()]) == len(FORMATS)


def test_gradients_are_those_of_the_loss(smoke):
    net = float32_net()
    x, y = batch(net)
    models = {name: arithmetic.model(net, name) for name in FORMATS}
    found = exactness.slopes(models, x, y)
    exact = gradients.input_gradient(models["float64"].net, x.double(), y).flatten(1)
    other = gradients.input_gradient(net, x, y).double().flatten(1)
    assert torch.allclose(found["cosine"][0], F.cosine_similarity(other, exact), atol=1e-9)
    assert torch.allclose(found["ratio"][0], other.norm(dim=1) / exact.norm(dim=1), rtol=1e-5)
    assert torch.allclose(found["signs"][0], (other.sign() == exact.sign()).double().mean(1))
    assert found["cosine"].shape == (len(COMPARED), 4) and not found["zero"].any()
    with torch.no_grad():  # so sure that float32's loss has no slope
        net.readout.weight *= 1e4
    y = predicted(AttackedModel(net), x)
    found = exactness.slopes({name: arithmetic.model(net, name) for name in FORMATS}, x, y)
    silent = found["zero"][1]
    assert silent.any() and (found["cosine"][0][silent] == 0).all()


def test_ties_in_an_image_are_told_from_errors():
    net = float32_net(gain=1.0)
    x, y = batch(net)
    x[:, :, 4:] = 0.5  # windows of equal pixels, whose gradient goes to any one of them
    models = {name: arithmetic.model(net, name) for name in FORMATS}
    found = exactness.slopes(models, x, y)
    assert found["dithered"][0].min() > 1 - 1e-4 and (found["dithered"][0] >= found["cosine"][0] - 1e-6).all()


def test_what_was_stopped_goes_on(smoke, monkeypatch, tmp_path, measured):
    x, y, whole = measured["cnn"]
    checked, calls = suite.checked, []

    def stopping(*given, **more):
        calls.append(given)
        if len(calls) == 13:
            raise KeyboardInterrupt
        return checked(*given, **more)

    monkeypatch.setattr(suite, "checked", stopping)
    with pytest.raises(KeyboardInterrupt):
        exactness.exactness(smoke["cnn"].net, x, y, SIZES, tmp_path, progress=False)
    assert len(list(tmp_path.iterdir())) == 1
    again = exactness.exactness(smoke["cnn"].net, x, y, SIZES, tmp_path, progress=False)
    assert np.array_equal(again.correct, whole.correct) and again.seconds > 0
    assert pd.DataFrame(again.rows).equals(pd.DataFrame(whole.rows))


def test_bad_input_is_refused(smoke):
    net = smoke["cnn"].net
    x, y = torch.rand(3, 3, 32, 32), torch.zeros(3).long()
    for change, message in (
        ({"sizes": SIZES | {"epsilon": -1}}, "epsilon = -1"),
        ({"sizes": SIZES | {"norm": "l1"}}, "norm"),
        ({"sizes": SIZES | {"steps": 0}}, "steps = 0 of pgd"),
        ({"sizes": SIZES | {"batch": 0}}, "parts of 0"),
        ({"images": 2 * x}, "images"),
        ({"labels": y + 10}, "labels"),
    ):
        given = dict(net=net, images=x, labels=y, sizes=SIZES, progress=False)
        with pytest.raises(InputError, match=message):
            exactness.exactness(**given | change)


def test_a_result_of_it_is_stored_and_found(smoke, out):
    result, _ = measurements.measure_and_keep(smoke["cnn"], "exactness", images=3, progress=False)
    again = measurements.results.find(result.settings)
    assert np.array_equal(again.correct, result.correct) and again.norm == "l2"
    assert set(again.table.precision) == {*COMPARED, "float64", ALONE, AGAIN}
    assert set(again.table.columns[20:]) == {"precision", "against", "arg_max", "emulated", "judge"}

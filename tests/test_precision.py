import pytest
import torch
from conftest import random_batch, random_net

from eplib import precision
from eplib.checks import InputError
from eplib.learning import weight_gradients
from eplib.phases import Phase, drive, groups


def cosine(a, b):
    return torch.nn.functional.cosine_similarity(a.flatten().double(), b.flatten().double(), dim=0).item()


@pytest.mark.parametrize("order", ["synchronous", "forward"])
def test_states_in_bfloat16_stay_near_those_in_float64(order):
    net = random_net(gain=1.0)
    images, _ = random_batch(net, 8)
    exact, rough = Phase(net, drive(net, images)), Phase(net, drive(net, images), dtype=torch.bfloat16)
    for _ in range(12):
        exact.step(groups(order, 3))
        rough.step(groups(order, 3))
    assert all(s.dtype == torch.bfloat16 for s in rough.states)
    assert (
        max((a - b).abs().max() for a, b in zip(exact.states, rough.states, strict=True)) < 0.06
    )  # spacing 0.004 at 1
    assert rough.logits().dtype == torch.float64 and (exact.logits() - rough.logits()).abs().max() < 0.02


def test_gradient_of_bfloat16_phases_points_along_that_of_float64():
    net = random_net()
    images, labels = random_batch(net, 16)
    settings = dict(beta=0.5, free_steps=8, nudged_steps=6, order="forward", arg_max="frozen")
    exact = weight_gradients(net, images, labels, **settings)
    rough = weight_gradients(net, images, labels, dtype=torch.bfloat16, **settings)
    assert all(rough[name].dtype == torch.float64 for name in exact)
    weights = [n for n in exact if n.endswith("weight")]
    assert all(cosine(exact[n], rough[n]) > 0.7 for n in weights)
    whole, other = (torch.cat([g[n].flatten() for n in weights]) for g in (exact, rough))
    assert cosine(whole, other) > 0.95


@pytest.mark.parametrize("estimator", ["adjoint", "bptt"])
def test_exact_gradients_are_refused_in_16_bits(estimator):
    net = random_net()
    images, labels = random_batch(net)
    with pytest.raises(InputError, match="16 bits"):
        weight_gradients(net, images, labels, estimator, dtype=torch.bfloat16)


@pytest.mark.parametrize(
    "flags, native", [("fpu avx2 avx512f", False), ("fpu avx512_bf16", True), ("amx_bf16", True)]
)
def test_native_bfloat16_is_read_from_the_processors_flags(monkeypatch, flags, native):
    monkeypatch.setattr(precision.Path, "read_text", lambda _: f"processor : 0\nflags\t: {flags}\n")
    precision.native_bfloat16.cache_clear()
    assert precision.native_bfloat16("cpu") == native
    expected = torch.bfloat16 if native else None
    assert precision.working("bfloat16 where native", "cpu") == expected
    assert precision.working("float32", "cpu") is None
    precision.native_bfloat16.cache_clear()


def test_a_machine_that_does_not_say_gets_float32(monkeypatch):
    def missing(_):
        raise FileNotFoundError

    monkeypatch.setattr(precision.Path, "read_text", missing)
    precision.native_bfloat16.cache_clear()
    assert precision.working("bfloat16 where native", "cpu") is None
    precision.native_bfloat16.cache_clear()


def test_unknown_precision_is_refused():
    with pytest.raises(InputError, match="float32, bfloat16 where native"):
        precision.working("float8", "cpu")


def test_tf32_is_put_back():
    places = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [p.allow_tf32 for p in places]
    with precision.tf32(True), precision.tf32(False):
        assert [p.allow_tf32 for p in places] == [False, False]
    assert [p.allow_tf32 for p in places] == before


def test_repeatable_convolutions_are_put_back(monkeypatch):
    cudnn = torch.backends.cudnn
    monkeypatch.setattr(cudnn, "benchmark", True)
    before = cudnn.deterministic
    with precision.repeatable():
        assert cudnn.deterministic and not cudnn.benchmark
    assert cudnn.deterministic == before and cudnn.benchmark


def test_the_label_of_training_names_what_is_rounded(monkeypatch):
    monkeypatch.setattr(precision, "native_bfloat16", lambda device: device == "cuda")
    assert precision.label("bfloat16 where native", "cpu") == precision.label("float32", "cpu") == "float32"
    assert precision.label("bfloat16 where native", "cuda") == "bfloat16"
    with precision.tf32(True):
        assert precision.label("float32", "cuda") == "tf32"
    with precision.tf32(False):
        assert precision.label("float32", "cuda") == "float32"


def test_training_in_bfloat16_says_so_and_learns(tmp_path, monkeypatch):
    from dataclasses import replace

    from eplib import checkpoints, scales, training

    monkeypatch.setattr(precision, "native_bfloat16", lambda _: True)
    row = scales.row("smoke", "ep-cnn")
    changed = replace(row, recipe=replace(row.recipe, precision="bfloat16 where native"))
    monkeypatch.setitem(scales.SCALES["smoke"].rows, "ep-cnn", changed)
    record = checkpoints.load(training.train("ep-cnn", "sample", "smoke", 0, tmp_path, progress=False)).record
    assert record["training"]["history"][-1]["precision"] == "bfloat16"

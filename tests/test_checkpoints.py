import json
import os
import pickle
import shutil

import pytest
import safetensors.torch
import torch

from eplib import checkpoints, files
from eplib.baselines import CNN, KINDS
from eplib.checks import InputError
from eplib.network import EPCNN

SIZE = dict(
    channels=(4, 5), paddings=(1, 0), classes=7, image_size=16, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3)
)
TRAINING = {"recipe": {"images_seen": 100}, "seconds": 1.5}


def network(kind="EPCNN", seed=0):
    torch.manual_seed(seed)
    if kind == "EPCNN":
        return EPCNN(**SIZE, steps=9, order="even-odd")
    net = CNN(**SIZE).train()
    net(torch.rand(8, 3, 16, 16))  # BatchNorm statistics that are not the initial ones
    return net


def saved(folder, kind="EPCNN", seed=0):
    return checkpoints.save(folder, network(kind, seed), kind.lower(), "sample", "smoke", seed, TRAINING)


def refused(path, match=None):
    with pytest.raises(InputError, match=match) as error:
        checkpoints.load(path)
    assert "\n" not in str(error.value)


def change_record(path, **changes):
    record = files.read_json(path.with_suffix(".json"), "record")
    files.write_json(path.with_suffix(".json"), record | changes)


def replace_weights(path, content):
    """Other weights under a record that says they are right: the hash does not save us."""
    path.write_bytes(content)
    change_record(path, sha256=files.sha256(content))


@pytest.mark.parametrize("kind", KINDS)
def test_round_trip_keeps_the_network_to_float16(tmp_path, kind):
    net, path = network(kind), saved(tmp_path, kind)
    loaded = checkpoints.load(path)
    assert type(loaded.net) is KINDS[kind] and not loaded.net.training
    before, after = net.state_dict(), loaded.net.state_dict()
    assert before.keys() == after.keys()
    for key, value in before.items():
        assert after[key].dtype == value.dtype
        assert torch.equal(after[key], value.to(torch.float16).to(value.dtype))
    for key in ("channels", "paddings", "classes", "in_channels", "image_size"):
        assert getattr(loaded.net, key) == getattr(net, key)
    torch.testing.assert_close(loaded.net.mean.flatten(), torch.tensor(SIZE["mean"]), rtol=1e-3, atol=0)
    torch.testing.assert_close(loaded.net.std.flatten(), torch.tensor(SIZE["std"]), rtol=1e-3, atol=0)
    assert not any(p.requires_grad for p in loaded.net.parameters())
    images = torch.rand(4, 3, 16, 16)
    torch.testing.assert_close(loaded.net(images), net.eval()(images), rtol=0.01, atol=0.01)


def test_the_free_phase_is_part_of_the_network(tmp_path):
    loaded = checkpoints.load(saved(tmp_path))
    assert (loaded.net.steps, loaded.net.order) == (9, "even-odd")


def test_record_says_what_was_trained_and_proves_the_weights(tmp_path):
    path = saved(tmp_path, seed=3)
    loaded = checkpoints.load(path)
    assert loaded.name == path.stem == "epcnn-sample-s3"
    expected = {"model": "epcnn", "dataset": "sample", "scale": "smoke", "seed": 3, "training": TRAINING}
    assert {key: loaded.record[key] for key in expected} == expected
    assert loaded.sha256 == files.sha256(path)
    assert {"versions", "device", "git"} <= loaded.record.keys()


def test_the_same_network_gives_the_same_file(tmp_path):
    first, second, other = (saved(tmp_path / str(i), seed=s) for i, s in enumerate((0, 0, 1)))
    assert first.read_bytes() == second.read_bytes() != other.read_bytes()


def test_a_path_without_ending_is_enough(tmp_path):
    path = saved(tmp_path)
    assert checkpoints.load(str(path.with_suffix(""))).sha256 == checkpoints.load(path).sha256


def test_saving_leaves_two_files(tmp_path):
    saved(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"epcnn-sample-s0.json", "epcnn-sample-s0.safetensors"}


def test_a_crash_between_the_two_files_is_noticed(tmp_path, monkeypatch):
    path, replace = saved(tmp_path), os.replace

    def crash_at_json(source, target):
        if str(target).endswith(".json"):
            raise OSError("power cut")
        replace(source, target)

    monkeypatch.setattr(os, "replace", crash_at_json)
    with pytest.raises(InputError, match="power cut"):
        checkpoints.save(tmp_path, network(seed=1), "epcnn", "sample", "smoke", 0, TRAINING)
    refused(path, "hash")


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: b"",
        lambda content: content[:200] + bytes([content[200] ^ 1]) + content[201:],
        lambda content: content + b"\0",
    ],
    ids=["half", "empty", "one bit", "longer"],
)
def test_damaged_weights_are_refused(tmp_path, damage):
    path = saved(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    refused(path, "hash")


@pytest.mark.parametrize(
    "content",
    [b"", b"half a checkp", pickle.dumps({"weights": [1.0]}), bytes(100)],
    ids=["empty", "text", "pickle", "zeros"],
)
def test_what_is_no_safetensors_file_is_refused_even_under_its_own_hash(tmp_path, content):
    path = saved(tmp_path)
    replace_weights(path, content)
    refused(path, path.name)


def test_a_pickle_is_never_executed(tmp_path):
    class Malicious:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    path = saved(tmp_path)
    torch.save(Malicious(), tmp_path / "weights")
    for content in (pickle.dumps(Malicious()), (tmp_path / "weights").read_bytes()):
        replace_weights(path, content)
        refused(path)
    assert not (tmp_path / "executed").exists()


def test_weights_of_another_run_are_refused(tmp_path):
    path, other = saved(tmp_path), saved(tmp_path, seed=1)
    shutil.copy(other, path)
    refused(path, "hash")


def test_weights_of_another_kind_are_refused_even_under_their_own_hash(tmp_path):
    path = saved(tmp_path)
    replace_weights(path, saved(tmp_path, "CNN").read_bytes())
    refused(path, "does not fit")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(tmp_path, value):
    path = saved(tmp_path)
    tensors = safetensors.torch.load(path.read_bytes())
    tensors["readout.bias"][3] = value
    replace_weights(path, safetensors.torch.save(tensors))
    refused(path, "not finite")


def test_missing_files_are_refused(tmp_path):
    path = saved(tmp_path)
    refused(tmp_path / "nothing", "does not exist")
    path.unlink()
    refused(path, path.name)
    path.with_suffix(".json").unlink()
    refused(path, "does not exist")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"learning_rate": 0.1}', b"\xff\xfe", b"null"])
def test_records_of_something_else_are_refused(tmp_path, content):
    path = saved(tmp_path)
    path.with_suffix(".json").write_bytes(content)
    refused(path, path.with_suffix(".json").name)


@pytest.mark.parametrize("key", ["format", "model", "dataset", "scale", "seed", "network", "sha256"])
def test_records_that_lack_something_are_refused(tmp_path, key):
    path = saved(tmp_path)
    record = json.loads(path.with_suffix(".json").read_text())
    del record[key]
    files.write_json(path.with_suffix(".json"), record)
    refused(path, key)


def test_records_of_another_format_are_refused(tmp_path):
    path = saved(tmp_path)
    for number in (2, "1", None):
        change_record(path, format=number)
        refused(path, "format")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "Transformer"},
        {"kind": None},
        {"kind": ["CNN"]},
        {"colour": 3},
        {"channels": 4},
        {"channels": [4, "5"]},
        {"channels": [4, -5]},
        {"channels": [4, 6]},
        {"paddings": [1]},
        {"image_size": 4},
        {"image_size": "16"},
        {"classes": 8},
    ],
    ids=str,
)
def test_records_of_impossible_or_other_networks_are_refused(tmp_path, kind, changes):
    path = saved(tmp_path, kind)
    description = files.read_json(path.with_suffix(".json"), "record")["network"]
    change_record(path, network=description | changes)
    refused(path)


@pytest.mark.parametrize("network", ["EPCNN", 5, None, ["EPCNN"]])
def test_records_whose_network_is_no_description_are_refused(tmp_path, network):
    path = saved(tmp_path)
    change_record(path, network=network)
    refused(path)

"""Networks of others: files in the formats of the public codes, written here by a class like theirs."""

import json
import os
import sys
import types
import warnings
import zipfile

import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import nn

from eplib import (
    __main__,
    chapters,
    checkpoints,
    foreign,
    imports,
    measurements,
    others,
    pictures,
    published,
    reference,
)
from eplib.checks import InputError

CHANNELS, CLASSES = [3, 4, 5, 6, 7], 10


def my_hard_sig(x):
    return (1 + F.hardtanh(x - 1)) * 0.5


def hard_sigmoid(x):
    return (1 + F.hardtanh(2 * x - 1)) * 0.5


class P_CNN(nn.Module):
    """The attributes that the public codes' network has."""

    def __init__(self, **changes):
        super().__init__()
        self.in_size, self.channels, self.kernels = 32, list(CHANNELS), [3] * 4
        self.strides, self.paddings, self.fc = [1] * 4, [1, 1, 1, 0], [CLASSES]
        self.pools = [nn.MaxPool2d(2, stride=2) for _ in range(4)]
        self.activation, self.softmax = my_hard_sig, True
        convolution = dict(stride=1)
        for key, value in changes.items():
            (convolution if key in ("stride", "dilation", "groups", "padding_mode") else self.__dict__)[
                key
            ] = value
        sizes = zip(self.channels, self.channels[1:], self.kernels, self.paddings, strict=False)
        layers = [nn.Conv2d(a, b, k, padding=p, **convolution) for a, b, k, p in sizes]
        self.synapses = nn.ModuleList([*layers, nn.Linear(self.channels[-1], self.fc[0])])


class VF_CNN(P_CNN):
    pass


class Unknown(P_CNN):
    pass


@pytest.fixture(autouse=True)
def model_utils(monkeypatch):
    """Their module, where pickles are written; nothing may import it where they are read."""
    module = types.ModuleType("model_utils")
    for thing in (P_CNN, VF_CNN, Unknown, my_hard_sig, hard_sigmoid):
        monkeypatch.setattr(thing, "__module__", "model_utils")
        setattr(module, thing.__name__, thing)
    monkeypatch.setitem(sys.modules, "model_utils", module)
    yield module
    others.show([])


@pytest.fixture
def net():
    torch.manual_seed(0)
    net = P_CNN()
    with torch.no_grad():  # so that states are neither all 0 nor all 1
        for layer in net.synapses:
            layer.weight.mul_(3)
    return net


def state(net):
    """What the public codes' checkpoint.tar holds."""
    optimiser = torch.optim.SGD([{"params": s.parameters(), "lr": 0.1} for s in net.synapses], momentum=0.9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 100, eta_min=1e-5)
    kept = {"train_acc": [0.1, torch.rand(3).double().numpy()[0]], "test_acc": [0.2], "best": 0.3, "epoch": 7}
    return {"model_state_dict": net.state_dict(), "opt": optimiser.state_dict(), "angles": [1.0]} | {
        "scheduler": schedule.state_dict(),
        **kept,
    }


def written(folder, net, name="model.pt"):
    path = folder / name
    torch.save(net if name.endswith(".pt") else state(net), path)
    return path


def read(folder, path, **options):
    return checkpoints.load(imports.write(path, folder / "out", **options))


def refused(folder, path, *words, **options):
    with pytest.raises(InputError) as error:
        imports.write(path, folder / "out", **options)
    said = str(error.value)
    assert "\n" not in said and "Traceback" not in said and str(folder) not in said, said
    assert all(w in said for w in words), said
    assert not (folder / "out").exists()


FILES = ("model.pt", "checkpoint.tar", "final_model.pt", "final_checkpoint.tar", "model_Train_Eps_500.pt")


@pytest.mark.parametrize("name", FILES)
def test_every_weight_is_theirs(tmp_path, net, name):
    found = read(tmp_path, written(tmp_path, net, name)).net
    for mine, theirs in zip([*found.convs, found.readout], net.synapses, strict=True):
        assert torch.equal(mine.weight, theirs.weight) and torch.equal(mine.bias, theirs.bias)


@pytest.mark.parametrize("name", ["model.pt", "checkpoint.tar"])
def test_logits_are_those_of_their_dynamics_in_float64(tmp_path, net, name):
    found = read(tmp_path, written(tmp_path, net, name), steps=12).net.double()
    images = torch.rand(3, 3, 32, 32, dtype=torch.float64)
    theirs = published.settings("cifar10", "ep-cnn")
    spread = theirs["normalisation_spread"]
    mean, std = (torch.tensor(theirs[f"normalisation_{k}"], dtype=torch.float64) for k in ("mean", "std"))
    x = (images - mean.view(3, 1, 1)) / (spread * std.view(3, 1, 1))
    net = net.double()
    states = [
        torch.zeros(3, c, s, s, dtype=torch.float64) for c, s in zip(CHANNELS[1:], (16, 8, 4, 1), strict=True)
    ]
    for _ in range(12):  # their update, by autograd of Φ, all layers at once
        states = [s.detach().requires_grad_() for s in states]
        layers = zip(net.pools, net.synapses, [x, *states], states, strict=False)
        phi = sum((pool(conv(below)) * above).sum() for pool, conv, below, above in layers)
        states = [net.activation(g) for g in torch.autograd.grad(phi, states)]
    theirs = net.synapses[-1](states[-1].flatten(1))
    assert 0 < states[0].mean() < 1 and theirs.std() > 1e-3
    # the normalisation is stored in float32
    torch.testing.assert_close(found(images), theirs, rtol=1e-5, atol=1e-6)
    relaxed = reference.relax(found, images, 12, "synchronous")
    torch.testing.assert_close(found(images), reference.logits(found, relaxed), rtol=1e-12, atol=1e-12)


def test_the_record_says_what_was_read_and_what_assumed(tmp_path, net):
    record = read(tmp_path, written(tmp_path, net, "final_checkpoint.tar"), name="lab-net").record
    theirs = published.settings("cifar10", "ep-cnn")
    said, assumed = record["training"]["imported"], record["training"]["assumed"]
    assert said["file"] == "final_checkpoint.tar" and len(said["sha256"]) == 64
    assert said["written"] == {"epoch": 7, "best": 0.3, "weights_of": "last epoch"}
    assert assumed["steps"] == theirs["pgd_predict_steps"] and assumed["order"] == "synchronous"
    assert assumed["std"] == pytest.approx([3 * s for s in theirs["normalisation_std"]])
    assert (record["model"], record["seed"], record["dataset"]) == ("lab-net", theirs["seeds"][0], "cifar10")
    assert str(tmp_path) not in json.dumps(record)
    twin = read(tmp_path, written(tmp_path, net, "model_Train_Eps_500.pt")).record["training"]["imported"]
    assert twin["written"] == {"trained_on_attacked_images_of": 500} and twin["form"] == "whole network"


@pytest.mark.filterwarnings("ignore:Couldn't retrieve source")
def test_of_an_old_torch_the_state_dict_is_read(tmp_path, net):
    torch.save(state(net), tmp_path / "checkpoint.tar", _use_new_zipfile_serialization=False)
    found = read(tmp_path, tmp_path / "checkpoint.tar").net
    assert torch.equal(found.convs[2].weight, net.synapses[2].weight)
    torch.save(net, tmp_path / "model.pt", _use_new_zipfile_serialization=False)
    refused(tmp_path / "x", tmp_path / "model.pt", "before 1.6", "checkpoint.tar")


def test_average_pooling_and_other_paddings_are_read(tmp_path):
    pools = [nn.AvgPool2d(2, stride=2) for _ in range(4)]
    found = read(tmp_path, written(tmp_path, P_CNN(pools=pools))).net
    assert found.pooling == "average" and found.paddings == (1, 1, 1, 0)
    path = written(tmp_path, P_CNN(paddings=[1, 1, 1, 1]), "checkpoint.tar")  # 7 × 2 × 2 features
    refused(tmp_path / "x", path, "--paddings", paddings=[1, 1, 1, 1])  # the read-out is of one pixel
    refused(tmp_path / "x", written(tmp_path, P_CNN()), "leave them out", paddings=[0, 1, 1, 0])


class Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("name", ["model.pt", "checkpoint.tar"])
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.filterwarnings("ignore:Couldn't retrieve source")
def test_a_pickle_that_would_run_code_runs_nothing(tmp_path, net, name, zipped):
    proof = tmp_path / "executed"
    if name == "model.pt":
        net.activation = Payload(proof)
        content = net
    else:
        content = state(net) | {"angles": Payload(proof)}
    torch.save(content, tmp_path / name, _use_new_zipfile_serialization=zipped)
    refused(tmp_path, tmp_path / name, "nothing of it was run", "system" if zipped else "")
    assert not proof.exists()
    torch.load(tmp_path / name, weights_only=False)  # the payload is real
    assert proof.exists()


@pytest.mark.parametrize(
    "changes, words",
    [
        (dict(activation=hard_sigmoid), ("hard_sigmoid", "my_hard_sig")),
        (dict(activation=torch.relu), ("nothing of it was run",)),
        (dict(activation="my_hard_sig"), ("activation none",)),
        (dict(softmax=False), ("softmax",)),
        (dict(kernels=[5, 3, 3, 3]), ("kernel_size",)),
        (dict(stride=2), ("stride",)),
        (dict(dilation=2), ("dilation",)),
        (dict(padding_mode="circular"), ("circular",)),
        (dict(pools=[nn.MaxPool2d(3, stride=2)] * 4), ("pools",)),
        (dict(pools=[nn.MaxPool2d(2, stride=2, ceil_mode=True)] * 4), ("pools",)),
        (dict(pools=[nn.MaxPool2d(2), nn.AvgPool2d(2)] * 2), ("pools",)),
        (dict(pools=[nn.MaxPool2d(2)] * 3), ("pools",)),
        (dict(pools=[nn.Identity()] * 4), ("pools",)),
        (dict(pools=None), ("pools",)),
        (dict(fc=[100]), ("100 classes", "--dataset")),
        (dict(channels=[1, 4, 5, 6, 7]), ("1 channels",)),
    ],
    ids=lambda v: str(v)[:30] if isinstance(v, dict) else "",
)
def test_a_network_that_works_otherwise_is_refused(tmp_path, changes, words):
    refused(tmp_path, written(tmp_path, P_CNN(**changes)), *words)


@pytest.mark.parametrize("kind, word", [(VF_CNN, "VF_CNN"), (Unknown, "model_utils.Unknown")])
def test_other_classes_are_refused(tmp_path, kind, word):
    refused(tmp_path, written(tmp_path, kind()), word)


def test_asymmetric_weights_are_refused_in_a_state_dict_too(tmp_path, net):
    tensors = net.state_dict() | {"B_syn.0.weight": torch.rand(4, 3, 3, 3)}
    torch.save({"model_state_dict": tensors}, tmp_path / "checkpoint.tar")
    refused(tmp_path, tmp_path / "checkpoint.tar", "VF_CNN")


def changed(key, value):
    def change(tensors):
        if value is None:
            del tensors[key]
        else:
            tensors[key] = value

    return change


@pytest.mark.parametrize(
    "change, words",
    [
        (changed("synapses.1.bias", None), ("missing: synapses.1.bias",)),
        (changed("synapses.4.weight", None), ("missing",)),
        (changed("more", torch.rand(2)), ("not known: more",)),
        (changed("synapses.1.weight", torch.rand(5, 4, 5, 5)), ("3×3",)),
        (changed("synapses.1.weight", torch.rand(5, 9, 3, 3)), ("synapses.1.weight",)),
        (changed("synapses.2.bias", torch.rand(5)), ("synapses.2.bias",)),
        (changed("synapses.0.bias", torch.full((4,), float("nan"))), ("not finite",)),
        (changed("synapses.0.bias", torch.full((4,), 1e300, dtype=torch.float64)), ("not finite",)),
        (changed("synapses.0.bias", torch.ones(4, dtype=torch.long)), ("synapses.0.bias",)),
        (changed("synapses.0.bias", [1.0] * 4), ("synapses.0.bias",)),
        (changed("synapses.0.bias", torch.rand(4).to_sparse()), ("synapses.0.bias",)),
        (changed("synapses.0.weight", torch.rand(1).expand(10**5, 10**5, 3, 3)), ("claims more",)),
        (changed(("synapses", 0), torch.rand(1)), ("not known",)),
    ],
)
@pytest.mark.filterwarnings("ignore:Sparse")
def test_other_tensors_are_refused(tmp_path, net, change, words):
    tensors = dict(net.state_dict())
    change(tensors)
    torch.save({"model_state_dict": tensors}, tmp_path / "checkpoint.tar")
    refused(tmp_path, tmp_path / "checkpoint.tar", *words)


def claims_more(content):
    """The same file, with a storage that claims to be a million times as long."""
    return content.replace(b"K\x04tq", b"J\x00\x09\x3d\x00tq", 1)


def test_files_that_are_no_such_thing_are_refused(tmp_path, net):
    whole = written(tmp_path, net).read_bytes()
    for content in (
        b"",
        b"Epoch 1: 50 %\n" * 50,
        whole[: len(whole) // 2],
        whole[:-40],
        bytes(5000),
        b"\x80\x02.",
    ):
        (tmp_path / "model.pt").write_bytes(content)
        refused(tmp_path, tmp_path / "model.pt", "nothing of it was run")
    for content in ([1, 2], {"weights": 1}, {"model_state_dict": [1]}, torch.rand(3)):
        torch.save(content, tmp_path / "model.pt")
        refused(tmp_path, tmp_path / "model.pt", "neither")
    with pytest.raises(InputError, match="cannot be read"):
        foreign.read(tmp_path / "absent.pt")


def test_claimed_sizes_are_not_believed(tmp_path, net, monkeypatch):
    path = written(tmp_path, net)
    with zipfile.ZipFile(path) as archive:
        parts = {i.filename: archive.read(i) for i in archive.infolist()}
    assert any(claims_more(c) != c for c in parts.values())
    for kind, change in ((zipfile.ZIP_STORED, claims_more), (zipfile.ZIP_DEFLATED, bytes)):
        with zipfile.ZipFile(path, "w", kind) as archive:
            for name, content in parts.items():
                archive.writestr(name, change(content))
        refused(tmp_path, path, "compressed" if kind == zipfile.ZIP_DEFLATED else "nothing of it was run")
    monkeypatch.setattr(foreign, "LARGEST", 1000)
    refused(tmp_path, path, "GiB")


@pytest.mark.parametrize(
    "options, word",
    [
        (dict(name="ep-cnn"), "another"),
        (dict(name="cnn-fast"), "another"),
        (dict(name="ep-cnn-of-mine"), "another"),
        (dict(name="vit-8"), "another"),
        (dict(name="My net"), "lowercase"),
        (dict(name="../up"), "lowercase"),
        (dict(name="a" * 41), "lowercase"),
        (dict(dataset="mnist"), "data set"),
        (dict(seed=-1), "seed"),
        (dict(steps=0), "steps"),
        (dict(order="random"), "order"),
        (dict(mean=[0.5] * 3), "both"),
        (dict(mean=[0.5] * 3, std=[0.0] * 3), "above 0"),
        (dict(mean=[float("nan")] * 3, std=[1.0] * 3), "three numbers"),
        (dict(paddings=[1, 1]), "--paddings"),
        (dict(dataset="cifar100"), "10 classes and cifar100 has 3 and 100"),
    ],
)
def test_options_that_cannot_be_used_are_refused(tmp_path, net, options, word):
    refused(tmp_path, written(tmp_path, net, "checkpoint.tar"), word, **options)


def test_the_sample_and_cifar100_take_the_training_images_normalisation(tmp_path, net, monkeypatch):
    own = read(tmp_path, written(tmp_path, net), dataset="sample", name="lab-net").net
    images = imports.data.load("sample", "train").images
    mean, std = imports.training.statistics(images, 1.0)
    assert own.mean.flatten().tolist() == pytest.approx(mean) and own.std.flatten().tolist() == pytest.approx(
        std
    )
    monkeypatch.setattr(imports.data, "load", lambda *names: types.SimpleNamespace(images=images[:99]))
    monkeypatch.setattr(imports.data, "available", lambda name: name == "cifar100")
    path = written(tmp_path, P_CNN(fc=[100]), "checkpoint.tar")
    hundred = read(tmp_path, path, dataset="cifar100").net
    expected = imports.training.statistics(images[:99], 1.0)[1]
    assert hundred.std.flatten().tolist() == pytest.approx(expected) and hundred.classes == 100
    monkeypatch.setattr(imports.data, "available", lambda name: False)
    refused(tmp_path / "x", path, "--mean", dataset="cifar100")


def test_the_command_says_what_it_read(tmp_path, net, capsys):
    path = written(tmp_path, net)
    arguments = [
        "import",
        str(path),
        "--out",
        str(tmp_path / "out"),
        "--name",
        "lab-net",
        "--steps",
        "9",
        "--json",
    ]
    assert __main__.main(arguments) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["imported"]["file"] == "model.pt" and said["assumed"]["steps"] == 9
    assert checkpoints.load(said["checkpoint"]).net.steps == 9
    path.write_text("no network")
    assert __main__.main(["import", str(path), "--out", str(tmp_path / "other")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("eplib: model.pt") and said.count("\n") == 1 and not (tmp_path / "other").exists()


# Feed-forward classifiers -------------------------------------------------------------------------------


def small():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(3600, 10))


@pytest.fixture
def classifier(tmp_path, monkeypatch, model_utils):
    model_utils.small, model_utils.number = small, lambda: 3
    model_utils.other = lambda: nn.Flatten()
    model_utils.needs = lambda x: x
    model_utils.three = lambda: nn.Sequential(nn.Flatten(), nn.Linear(3072, 3))
    net = small()
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(net.state_dict(), path)
    return net.eval(), path


def test_a_feed_forward_classifier_answers_as_before(tmp_path, classifier):
    net, path = classifier
    options = dict(model="model_utils:small", mean=[0.5, 0.4, 0.3], std=[0.2, 0.3, 0.4], dataset="sample")
    found = read(tmp_path, path, **options)
    images = torch.rand(4, 3, 32, 32)
    mean, std = (torch.tensor(options[k]).view(3, 1, 1) for k in ("mean", "std"))
    torch.testing.assert_close(found.net(images), net((images - mean) / std))
    assert found.record["network"]["source"] == "model_utils:small"
    assert measurements.measure(found, "clean", images=20, progress=False).correct.shape == (1, 20)
    with pytest.raises(InputError, match="within|finite pixels"):
        found.net.check(images + 1)


@pytest.mark.parametrize(
    "model, word",
    [
        ("model_utils", "module:function"),
        ("model_utils:absent", "cannot be made"),
        ("no_such_module:small", "cannot be made"),
        ("model_utils:needs", "cannot be made"),
        ("model_utils:number", "gives a int"),
        ("model_utils:other", "weights"),
        ("model_utils:three", "weights"),
        ("os:abort", "Python's own"),
        ("os.path:join", "Python's own"),
        ("a b:c", "module:function"),
    ],
)
def test_models_that_cannot_be_used_are_refused(tmp_path, classifier, model, word):
    refused(tmp_path, classifier[1], word, model=model, dataset="sample")


def test_weights_that_do_not_fit_are_refused(tmp_path, classifier, model_utils):
    _, path = classifier
    refused(tmp_path, path, "feed-forward", model="model_utils:small", steps=3)
    path.write_bytes(path.read_bytes()[:500])
    refused(tmp_path, path, "weights", model="model_utils:small")
    safetensors.torch.save_file(model_utils.three().state_dict(), path)
    refused(tmp_path, path, "10 finite logits", model="model_utils:three")


def test_a_classifier_whose_module_is_gone_is_refused_in_one_sentence(tmp_path, classifier, monkeypatch):
    path = imports.write(classifier[1], tmp_path / "out", model="model_utils:small")
    monkeypatch.delitem(sys.modules, "model_utils")
    with pytest.raises(InputError, match="importable"):
        checkpoints.load(path)


# In chapters --------------------------------------------------------------------------------------------


@pytest.fixture
def lab(tmp_path, net):
    """The path of an imported network of the sample's images."""
    options = dict(dataset="sample", steps=4, mean=[0.2] * 3, std=[0.3] * 3)
    return str(imports.write(written(tmp_path, net), tmp_path / "out", "lab-net", **options))


def test_networks_of_others_stand_beside_the_stored(out, lab, monkeypatch):
    shown = chapters.Shown("smoke", "sample", (0,))
    assert "lab-net" not in chapters.stored(shown, "clean")
    others.show(lab)
    found = chapters.stored(shown, "clean")["lab-net"]
    assert found[0].settings["scale"] == "smoke" and found[0].settings["seed"] == 11
    assert len(found[0].image_ids) == len(found[0].correct_clean)
    monkeypatch.setattr(measurements, "measure", lambda *a, **k: pytest.fail("it is stored"))
    again = chapters.outcomes(shown, ("lab-net",), "clean")["lab-net"]
    assert again[0].record["seconds"] == found[0].record["seconds"]
    assert "lab-net" not in chapters.stored(shown, "clean", ("cnn",))
    assert "lab-net" not in chapters.stored(shown, "transfer")  # its sources are not there
    assert pictures.name("lab-net") == "lab-net" and others.names() == ("lab-net",)
    others.show([])
    assert "lab-net" not in chapters.stored(shown, "clean")


def test_what_cannot_be_measured_of_a_network_is_left_out(out, tmp_path, classifier):
    options = dict(model="model_utils:small", dataset="sample", name="my-cnn")
    others.show(str(imports.write(classifier[1], tmp_path / "out", **options)))
    shown = chapters.Shown("smoke", "sample", (0,))
    assert "my-cnn" in chapters.stored(shown, "pgd-linf")
    for measurement in ("settling", "horizons"):  # refused by its settings, refused when measured
        assert "my-cnn" not in chapters.stored(shown, measurement)


def test_a_page_shows_the_data_set_of_the_networks_given(tmp_path, net, lab):
    others.show([lab])
    assert chapters.choose("smoke").dataset == "sample"
    with pytest.raises(InputError, match="lab-net was trained on sample"):
        chapters.choose("smoke", "fashion-mnist")
    with pytest.raises(InputError, match="lab-net was trained on sample"):
        chapters.where_stored("cifar100")
    assert chapters.choose().dataset == "sample"  # of the scales stored, one that shows it
    others.show(str(imports.write(written(tmp_path, net), tmp_path / "c", "lab-net")))
    assert chapters.choose("smoke", needs={}).dataset == "cifar10"


@pytest.mark.parametrize("networks", [3, None, [3], {"a": 1}, [""], "nowhere.safetensors"])
def test_what_is_no_path_of_a_checkpoint_is_refused(networks):
    with pytest.raises(InputError) as error:
        others.show(networks)
    assert "\n" not in str(error.value)


def test_networks_that_were_not_imported_or_are_given_twice_are_refused(tmp_path, net, lab):
    own = next((checkpoints.files.ROOT / "data" / "checkpoints" / "quick").glob("cnn-sample-*.safetensors"))
    with pytest.raises(InputError, match="trained here"):
        others.show([str(own)])
    with pytest.raises(InputError, match="of its own"):
        others.show([lab, lab])
    cifar = str(imports.write(written(tmp_path, net), tmp_path / "c", "other"))
    with pytest.raises(InputError, match="one data set"):
        others.show([lab, cifar])

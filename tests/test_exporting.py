"""Networks taken away: what model.py computes without this library, and what the card says."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
import safetensors.torch
import torch
from conftest import random_batch, random_net

from eplib import __main__, baselines, cards, checkpoints, exporting, files, gradients, measurements, results
from eplib.checks import InputError

SHIPPED = files.ROOT / "data/checkpoints/quick/ep-cnn-sample-s11.safetensors"
SHIPPED_CNN = SHIPPED.with_name("cnn-sample-s11.safetensors")
ALONE = """
import importlib.util, sys

class Never:
    def find_spec(self, name, *_):
        if name.split(".")[0] in ("eplib", "torchvision", "timm", "torchattacks"):
            raise ImportError(name)

sys.meta_path.insert(0, Never())
import safetensors.torch, torch

torch.set_num_threads(1)
for folder in sys.argv[1:]:
    spec = importlib.util.spec_from_file_location("model", f"{folder}/model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    given, found = safetensors.torch.load_file(f"{folder}.given"), {}
    for name, model in (("float32", module.load_model()), ("float64", module.load_model(folder).double())):
        images = given["images"].to(model.mean.dtype).requires_grad_()
        logits = model(images)
        (gradient,) = torch.autograd.grad((logits * given["pull"].to(logits.dtype)).sum(), images)
        found |= {f"{name} logits": logits.detach(), f"{name} gradient": gradient.contiguous()}
        with torch.no_grad():
            assert torch.equal(model(images), logits) and not model.training
    safetensors.torch.save_file(found, f"{folder}.found")
assert not any(name.split(".")[0] == "eplib" for name in sys.modules)
"""
NETWORKS = {  # arguments of `random_net`, or of a CNN
    "synchronous": dict(order="synchronous"),
    "forward": dict(order="forward"),
    "synchronous-average": dict(order="synchronous", pooling="average", gain=4.0),
    "forward-average-odd": dict(order="forward", pooling="average", gain=4.0, size=18),
    "even-odd-odd": dict(order="even-odd", size=18),
    "backward-average": dict(order="backward", pooling="average", gain=4.0),
    "cnn": dict(),
    "cnn-ep": dict(norm=False, unit="ep"),
    "cnn-hard-sigmoid": dict(norm=False, unit="hard-sigmoid"),
}


def made(name):
    settings = NETWORKS[name]
    if not name.startswith("cnn"):
        return random_net(steps=7, **settings)
    torch.manual_seed(0)
    net = baselines.CNN((5, 6), (1, 0), image_size=15, mean=0.4, std=0.2, **settings)
    for norm in net.norms if net.norm else ():
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    return net


def asked(net, count=3):
    """(images, weights of logits) that a network is compared on."""
    generator = torch.Generator().manual_seed(3)
    return random_batch(net, count)[0].float(), torch.randn(count, net.classes, generator=generator)


def run_alone(folders):
    """Run the model.py of every folder in one process, without this library."""
    for folder in folders:
        images, pull = asked(checkpoints.load(folder.with_suffix(".from").read_text()).net)
        safetensors.torch.save_file({"images": images, "pull": pull}, f"{folder}.given")
    command = [sys.executable, "-I", "-B", "-c", ALONE, *map(str, folders)]
    subprocess.run(command, check=True, timeout=120, cwd=folders[0].parent)


@pytest.fixture(scope="module")
def away(tmp_path_factory):
    """{name: (path of a network, its exported folder)}, run without this library."""
    folder, found = tmp_path_factory.mktemp("away"), {}
    for name in NETWORKS:
        found[name] = saved(made(name), folder / f"{name}-net"), folder / name
    found |= {path.stem: (path, folder / path.stem) for path in (SHIPPED, SHIPPED_CNN)}
    found["other-steps"] = found["forward"][0], folder / "other-steps"
    for path, out in found.values():
        exporting.export(path, out)
        out.with_suffix(".from").write_text(str(path))
    text = folder / "other-steps" / "model.py"
    text.write_text(text.read_text().replace('"steps": 7', '"steps": 5'))
    run_alone([out for _, out in found.values()])
    return found


def here(net, images, pull):
    """Logits, and the gradient of ⟨logits, pull⟩ in the images, by this library."""
    images = images.to(net.mean.dtype)
    if isinstance(net, baselines.CNN):
        images.requires_grad_()
        logits = net(images)
        return logits.detach(), torch.autograd.grad((logits * pull).sum(), images)[0]
    trace = gradients.follow(net, images)
    return trace.logits, trace.pull_back(pull.to(net.mean.dtype))


def compare(path, folder):
    """Check that an exported network is the stored one."""
    net, found = checkpoints.load(path).net, safetensors.torch.load_file(f"{folder}.found")
    for name, tolerance in (("float32", 1e-5), ("float64", 1e-13)):
        logits, gradient = here(net.double() if name == "float64" else net, *asked(net))
        assert logits.abs().max() > 1e-3 and gradient.abs().max() > 1e-6
        for ours, theirs in ((logits, found[f"{name} logits"]), (gradient, found[f"{name} gradient"])):
            assert (ours - theirs).abs().max() <= tolerance * ours.abs().max()


def saved(net, folder, model="ep-cnn", dataset="sample"):
    return checkpoints.save(folder, net, model, dataset, "smoke", 3, {}, torch.float32)


@pytest.mark.parametrize("name", [*NETWORKS, SHIPPED.stem, SHIPPED_CNN.stem])
def test_a_network_is_the_same_without_this_library(name, away):
    path, folder = away[name]
    compare(path, folder)
    weights = (folder / "weights.safetensors").read_bytes()
    assert files.sha256(weights) == checkpoints.load(path).sha256


def test_the_comparison_sees_other_steps(away):
    with pytest.raises(AssertionError):
        compare(*away["other-steps"])


@pytest.fixture(scope="module")
def shipped(away):
    """The exported folder of the shipped EP-CNN."""
    return away[SHIPPED.stem][1]


def test_the_card_has_the_stored_numbers(shipped):
    card = json.loads((shipped / "card.json").read_text())
    assert [m["measurement"] for m in card["measurements"]] == list(measurements.MEASUREMENTS)
    seen = 0
    for measurement in card["measurements"]:
        assert measurement["run"] == bool(measurement["results"])
        for said in measurement["results"]:
            paths = [files.ROOT / "data/results" / name for name in said["files"]]
            assert [files.sha256(p) for p in paths] == list(said["files"].values())
            result = results.load(paths[2])
            table = result.table[result.table.metric == "accuracy"]
            assert result.settings["checkpoint_sha256"] == card["network"]["sha256"]
            assert said["images"] == len(result.image_ids)
            for key in ("value", "low", "high", "n"):
                assert [row[key] for row in said["accuracy"]] == list(table[key])
            assert [row.get("epsilon") for row in said["accuracy"]] == [
                None if e != e else "inf" if e == float("inf") else e for e in table.epsilon
            ]
            seen += len(table)
    assert seen > 200
    assert (
        card["network"]["training_data_sha256"] == checkpoints.load(SHIPPED).record["training"]["data_sha256"]
    )
    assert {0.00464, 0.1} <= set(card["threat_models"]["linf"]) and "l2" in card["threat_models"]
    lines = {line["letter"]: line for line in card["checklist"]}
    assert len(lines) == 19 and lines["B"]["outcome"] == "does not apply to one network"
    assert lines["D"]["outcome"] == "failed" and lines["S"]["outcome"] == "passed"


def test_the_card_can_be_read(shipped):
    card, text = json.loads((shipped / "card.json").read_text()), (shipped / "card.md").read_text()
    assert all(sentence in text for sentence in card["said"])
    assert "| ℓ∞, ε = 2.55/255, attack pgd, gradient unrolled, labels true, attack steps 20" in text
    row = next(
        row
        for m in card["measurements"]
        if m["measurement"] == "pgd-linf"
        for row in m["results"][0]["accuracy"]
        if row["epsilon"] == 0.01
    )
    assert f"| {row['value']:.1%} | {row['low']:.1%} to {row['high']:.1%} | {row['n']} |" in text
    for measurement in measurements.MEASUREMENTS:
        assert f"### {measurement}\n" in text or f"{measurement}" in text.split("## Not run")[1]
    for name in ("card.json", "card.md", "model.py"):
        assert (
            str(files.ROOT) not in (shipped / name).read_text()
            and "/root" not in (shipped / name).read_text()
        )


def test_what_a_feed_forward_network_cannot_have_is_not_missing(away):
    folder = away[SHIPPED_CNN.stem][1]
    measured = json.loads((folder / "card.json").read_text())["measurements"]
    without = {m["measurement"] for m in measured if not m["applies"]}
    assert without == set(cards.studies.STUDIES) and not any(m["run"] for m in measured if not m["applies"])
    missing, others = (folder / "card.md").read_text().split("## Not run")[1].split("Of networks that settle")
    assert "settling" in others and "settling" not in missing and "suite-l2" not in others


def test_the_same_gives_the_same_bytes(shipped, tmp_path):
    exporting.export(SHIPPED.with_suffix(""), tmp_path / "again")
    names = {"model.py", "weights.safetensors", "card.json", "card.md"}
    assert {p.name for p in shipped.iterdir()} == {p.name for p in (tmp_path / "again").iterdir()} == names
    for name in names:
        assert (shipped / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_a_network_without_results_says_so(tmp_path):
    path = saved(random_net(steps=3), tmp_path)
    exporting.export(path, tmp_path / "away")
    card = json.loads((tmp_path / "away/card.json").read_text())
    assert not any(m["run"] or m["results"] for m in card["measurements"])
    assert card["said"] == [
        "No measurement of this network is stored: the card says nothing about its accuracy."
    ]
    outcomes = {line["outcome"] for line in card["checklist"]}
    assert outcomes == {"not run", "does not apply to one network"} and card["threat_models"] == {}
    assert "## Measured" in (tmp_path / "away/card.md").read_text()


def test_results_of_other_weights_do_not_count(tmp_path):
    """A network of the same name and seed as the shipped one."""
    net = checkpoints.load(SHIPPED).net
    with torch.no_grad():
        net.readout.bias += 1
    path = checkpoints.save(tmp_path, net, "ep-cnn", "sample", "quick", 11, {})
    assert cards.stored(checkpoints.load(path), files.ROOT / "data/results") == {}


def test_results_elsewhere_and_what_is_said_of_them(smoke, out, tmp_path):
    checkpoint = smoke["ep-cnn"]
    few = {"images": 4, "progress": False}
    measurements.measure_and_keep(checkpoint, "clean", out=tmp_path / "mine", **few)
    assert cards.stored(checkpoint) == {}
    (only_clean,) = cards.stored(checkpoint, tmp_path / "mine").values()
    assert "No attack within a budget was run" in cards.said({"clean": only_clean})[0]
    for measurement in ("pgd-linf", "noise-linf"):  # of sizes that no scale has
        measurements.measure_and_keep(checkpoint, measurement, epsilons=[0.03], out=tmp_path / "mine", **few)
    found = cards.stored(checkpoint, tmp_path / "mine")
    assert list(found) == ["clean", "pgd-linf", "noise-linf"]
    sentences = cards.said(found)
    assert "AutoAttack was not run in ℓ∞ and ℓ2: accuracies" in sentences[0]
    assert sentences[1].startswith("No adaptive attack") and "saw 4 images" in sentences[2]
    lines = {line["letter"]: line["outcome"] for line in cards.card(checkpoint, found)["checklist"]}
    assert (
        lines["D"] == lines["E"] == "not run"
        and lines["K"] == "passed"
        and lines["O"] in ("passed", "failed")
    )


def test_the_whole_suite_is_said_otherwise(shipped):
    found = cards.stored(checkpoints.load(SHIPPED))
    ((name, result),) = found["suite-linf"].items()
    plan = [list(step) for step in cards.suite.AUTOATTACK]
    for norm in ("linf", "l2"):
        sizes = result.settings["sizes"] | {"plan": plan, "norm": norm}
        whole = replace(result, settings=result.settings | {"sizes": sizes})
        found[f"suite-{norm}"] = {name: whole}
        sentences = " ".join(cards.said(found))
        assert ("AutoAttack was not run in ℓ2, a shorter" in sentences) == (norm == "linf")
    assert "AutoAttack" not in sentences


def refused(words, *arguments):
    with pytest.raises(InputError) as caught:
        exporting.export(*arguments)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_what_cannot_be_exported(tmp_path):
    taken = tmp_path / "taken"
    taken.mkdir()
    exporting.export(SHIPPED_CNN, taken)  # an empty folder is taken
    before = {p.name: p.read_bytes() for p in taken.iterdir()}
    refused("not an empty folder", SHIPPED, taken)
    assert {p.name: p.read_bytes() for p in taken.iterdir()} == before
    (tmp_path / "file").write_text("mine")
    refused("not an empty folder", SHIPPED, tmp_path / "file")
    refused("cannot be written", SHIPPED, tmp_path / "file" / "below")
    refused("does not exist", tmp_path / "nothing.safetensors", tmp_path / "away")
    refused("is no folder", SHIPPED, tmp_path / "away", tmp_path / "nothing")
    refused("is a CCT", SHIPPED.with_name("cct-sample-s11.safetensors"), tmp_path / "away")
    assert {p.name for p in tmp_path.iterdir()} == {"taken", "file"}
    assert (tmp_path / "file").read_text() == "mine"


def test_a_damaged_result_stops_the_card(out, tmp_path):
    name = "quick/sample/pgd-linf/ep-cnn-s11-4262ea6a0c"
    mine = tmp_path / "mine" / name
    mine.parent.mkdir(parents=True)
    for ending in ("csv", "npz", "json"):
        shutil.copy(files.ROOT / f"data/results/{name}.{ending}", f"{mine}.{ending}")
    mine.with_suffix(".csv").write_text("measurement\n")
    written = out / "results"
    written.parent.mkdir()
    (tmp_path / "mine").rename(written)
    refused("recorded hash", SHIPPED, tmp_path / "away")
    assert not (tmp_path / "away").exists()


def test_the_command(tmp_path, capsys):
    asked = ["export", "--checkpoint", str(SHIPPED_CNN), "--out", str(tmp_path / "away")]
    assert __main__.main([*asked, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["network"] == "cnn-sample-s11"
    assert __main__.main(asked) == 2
    assert capsys.readouterr().err.count("\n") == 1

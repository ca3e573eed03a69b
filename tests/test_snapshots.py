import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch

from eplib import checkpoints, data, files, scales, snapshots, training
from eplib.checks import InputError

ROW = scales.row("smoke", "ep-cnn")
LONGER = """
import sys
from dataclasses import replace
from eplib import scales, snapshots, training
snapshots.SECONDS = 0.0
rows = scales.SCALES["smoke"].rows
rows[sys.argv[1]] = replace(rows[sys.argv[1]], recipe=replace(rows[sys.argv[1]].recipe, images_seen=2000))
try:
    training.train(sys.argv[1], "sample", "smoke", 5, sys.argv[2], progress=False)
except training.Interrupted as stopped:
    print(stopped)
    sys.exit(130)
"""


def start(model, out):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    arguments = [sys.executable, "-c", LONGER, model, str(out)]
    return subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, text=True, cwd=files.ROOT)


@pytest.mark.parametrize("model", ["ep-cnn", "cnn-at-l2-0.5"])
def test_a_run_killed_again_and_again_ends_with_the_weights_of_an_undisturbed_one(model, tmp_path):
    assert start(model, tmp_path / "whole").wait() == 0
    expected = checkpoints.load(tmp_path / "whole" / f"{model}-sample-s5")
    dice, kills = random.Random(model), 0
    unfinished = tmp_path / "killed" / f"{model}-sample-s5.unfinished.safetensors"
    for _ in range(8):
        run = start(model, tmp_path / "killed")
        before = unfinished.stat().st_mtime_ns if unfinished.exists() else 0
        while run.poll() is None and (not unfinished.exists() or unfinished.stat().st_mtime_ns == before):
            time.sleep(0.01)
        if kills < 3:
            time.sleep(dice.uniform(0, 0.2))
            run.send_signal(signal.SIGKILL)
            kills += run.wait() == -signal.SIGKILL
        elif run.wait() == 0:
            break
    assert kills == 3
    found = checkpoints.load(tmp_path / "killed" / f"{model}-sample-s5")
    assert found.sha256 == expected.sha256
    assert len(found.record["training"]["history"]) == len(expected.record["training"]["history"])
    assert not unfinished.exists()


def test_ctrl_c_keeps_the_run_and_leaves_a_usable_checkpoint(tmp_path):
    unfinished = tmp_path / "ep-cnn-sample-s5.unfinished.safetensors"
    run = start("ep-cnn", tmp_path)
    while run.poll() is None and not unfinished.exists():
        time.sleep(0.01)
    run.send_signal(signal.SIGINT)
    said, _ = run.communicate()
    assert run.returncode == 130 and "the same command goes on" in said
    net = checkpoints.load(tmp_path / "unfinished" / "ep-cnn-sample-s5").net
    assert net(torch.rand(2, 3, 32, 32)).isfinite().all()
    assert not (tmp_path / "ep-cnn-sample-s5.safetensors").exists()
    assert start("ep-cnn", tmp_path).wait() == 0
    assert start("ep-cnn", tmp_path / "whole").wait() == 0
    name = "ep-cnn-sample-s5.safetensors"
    assert files.sha256(tmp_path / name) == files.sha256(tmp_path / "whole" / name)


def state(tmp_path, settings):
    """A network one step into its training, and the snapshot of it."""
    images = data.load("sample", "train").images[:200]
    net = training.initial(ROW, images, 10, 0)
    optimiser = torch.optim.SGD(training._groups(net, ROW.recipe), lr=0.1, momentum=0.9)
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimiser.step()
    generator = torch.Generator().manual_seed(7)
    torch.rand(3, generator=generator)
    return net, optimiser, generator, snapshots.Snapshot(tmp_path / "run.safetensors", settings)


def test_a_snapshot_restores_everything(tmp_path):
    net, optimiser, generator, snapshot = state(tmp_path, {"seed": 1})
    best = snapshots.Best()
    best.offer(net, 0.4)
    snapshot.save(net, optimiser, generator, torch.arange(9).flip(0), {"iteration": 4}, best)
    other, optimiser2, generator2, snapshot2 = state(tmp_path, {"seed": 1})
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    generator2.manual_seed(1)
    best2 = snapshots.Best()
    order, kept = snapshot2.restore(other, optimiser2, generator2, best2)
    assert best2.score == 0.4 and all(torch.equal(best2.weights[n], t) for n, t in net.state_dict().items())
    assert torch.equal(order, torch.arange(9).flip(0)) and kept == {"iteration": 4}
    assert torch.equal(torch.rand(5, generator=generator), torch.rand(5, generator=generator2))
    for a, b in zip(net.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
        assert torch.equal(optimiser.state[a]["momentum_buffer"], optimiser2.state[b]["momentum_buffer"])


def test_a_run_carried_from_elsewhere_is_taken_up_and_forgotten_in_the_end(tmp_path):
    net, optimiser, generator, snapshot = state(tmp_path, {"seed": 1})
    snapshot.save(net, optimiser, generator, torch.arange(9), {"iteration": 4}, snapshots.Best())
    carried = snapshot.path.rename(tmp_path / "carried")
    here = snapshots.Snapshot(tmp_path / "here", {"seed": 1}, carried)
    assert here.restore(net, optimiser, generator, snapshots.Best())[1] == {"iteration": 4}
    here.save(net, optimiser, generator, torch.arange(9), {"iteration": 5}, snapshots.Best())
    assert here.restore(net, optimiser, generator, snapshots.Best())[1] == {"iteration": 5}
    here.remove()
    assert not list(tmp_path.iterdir())


def test_the_state_of_adamw_is_restored_too(tmp_path):
    net, _, generator, snapshot = state(tmp_path, {"seed": 1})
    parameters = list(net.parameters())
    first, second = (torch.optim.AdamW(parameters, lr=0.1) for _ in range(2))
    first.step()
    snapshot.save(net, first, generator, torch.arange(9), {}, snapshots.Best())
    assert snapshot.restore(net, second, generator, snapshots.Best()) is not None
    for parameter in parameters:
        parameter.grad = torch.full_like(parameter, 0.5)
    before = [p.detach().clone() for p in parameters]
    first.step()
    expected = [p.detach().clone() for p in parameters]
    with torch.no_grad():
        for parameter, value in zip(parameters, before, strict=True):
            parameter.copy_(value)
    second.step()
    assert all(torch.equal(p, e) for p, e in zip(parameters, expected, strict=True))
    assert not torch.equal(expected[0], before[0])


def test_the_best_weights_are_those_with_the_highest_score(tmp_path):
    net, best = state(tmp_path, {})[0], snapshots.Best()
    best.put_back(net)  # nothing offered, nothing changed
    best.offer(net, None)
    assert best.weights == {}
    for score, value in ((0.2, 1.0), (0.5, 2.0), (0.5, 3.0), (0.4, 4.0)):
        with torch.no_grad():
            net.readout.weight.fill_(value)
        best.offer(net, score)
    best.put_back(net)
    assert best.score == 0.5 and (net.readout.weight == 2.0).all()


def test_the_snapshot_of_another_run_is_not_taken_up(tmp_path):
    net, optimiser, generator, snapshot = state(tmp_path, {"seed": 1})
    snapshot.save(net, optimiser, generator, torch.arange(9), {}, snapshots.Best())
    other = snapshots.Snapshot(snapshot.path, {"seed": 2})
    assert other.restore(net, optimiser, generator, snapshots.Best()) is None


def test_a_damaged_snapshot_is_refused_in_one_sentence(tmp_path):
    net, optimiser, generator, snapshot = state(tmp_path, {"seed": 1})
    snapshot.save(net, optimiser, generator, torch.arange(9), {}, snapshots.Best())
    snapshot.path.write_bytes(snapshot.path.read_bytes()[:100])
    with pytest.raises(InputError, match="remove it") as error:
        snapshot.restore(net, optimiser, generator, snapshots.Best())
    assert "\n" not in str(error.value)


def test_a_full_disk_loses_nothing_already_written(tmp_path, monkeypatch):
    net, optimiser, generator, snapshot = state(tmp_path, {"seed": 1})
    snapshot.save(net, optimiser, generator, torch.arange(9), {"iteration": 4}, snapshots.Best())
    before = snapshot.path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="No space left"):
        snapshot.save(net, optimiser, generator, torch.arange(9), {"iteration": 5}, snapshots.Best())
    assert snapshot.path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_a_run_of_other_length_is_another_run(tmp_path):
    recipe = replace(ROW.recipe, images_seen=800)
    first, second = (
        snapshots.Snapshot(tmp_path / "x", {"recipe": r.images_seen}) for r in (ROW.recipe, recipe)
    )
    assert first.key != second.key

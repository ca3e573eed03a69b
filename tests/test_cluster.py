"""The campaign on a cluster: what pieces ask for, and a run on a SLURM of this one machine."""

import os
import shutil
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml

from eplib import campaign, checkpoints, cluster, files, training

WORKFLOW = files.ROOT / "eplib" / "workflow"
ONE_NODE = files.ROOT / "tests" / "slurm_one_node.sh"
PLUGIN = find_spec("snakemake_executor_plugin_slurm")
NO_PLUGIN = "snakemake-executor-plugin-slurm is not installed: no cluster is tried"
LIST = """
[[piece]]
scale = "smoke"
models = ["cnn"]
seeds = [0]
measurements = ["clean"]
minutes = 0.1

[[piece]]
scale = "smoke"
dataset = "cifar10"
models = ["cnn"]
seeds = [0]
measurements = ["clean"]
minutes = 0.1
"""
# Trainings keep every state, and the first one waits after it, so that it can be killed midway. Snakemake
# looks at its jobs every second: it would wait longer each time that none has finished.
SITE = """
import os, sys, time
if "--profile" in sys.orig_argv:
    from snakemake_executor_plugin_slurm import Executor
    Executor.next_seconds_between_status_checks = property(lambda self: 1, lambda self, seconds: None)
if {{"eplib", "train", "sample"}} <= set(sys.orig_argv):
    from eplib import snapshots
    save, first = snapshots.Snapshot.save, not os.path.exists({log!r})
    def logged(self, net, optimiser, generator, order, progress, best):
        save(self, net, optimiser, generator, order, progress, best)
        with open({log!r}, "a") as file:
            print(os.getpid(), progress["iteration"], file=file, flush=True)
        time.sleep(2 * first)
    snapshots.SECONDS, snapshots.Snapshot.save = 0.0, logged
"""


def piece(scale="quick", measurement=None, minutes=8.0, model="ep-cnn"):
    return campaign.Piece(scale, "sample", model, 12345, measurement, minutes)


def made(found, attempt=1):
    """Resources with the minutes that Snakemake would find."""
    return found | {"runtime": found["runtime"](None, attempt=attempt)}


def test_every_piece_of_the_campaign_has_its_resources():
    for one in campaign.pieces():
        asked = made(cluster.resources(one))
        job = cluster.job(one)
        assert asked["mem_mb"] == job.memory and asked["runtime"] >= job.minutes
        assert (asked.get("gpu"), asked.get("gpu_manufacturer")) == (
            (1, "nvidia") if one.scale == "paper" else (None, None)
        )


def test_minutes_are_the_estimate_with_a_margin_and_grow_with_every_try(out, monkeypatch):
    least = cluster.job(piece()).minutes
    assert cluster.minutes(piece(minutes=0.1)) == least
    assert cluster.minutes(piece(minutes=0.1), attempt=3) == 3 * least
    monkeypatch.setattr(campaign, "recorded", lambda one: 100.2)
    assert cluster.minutes(piece()) == 201 and cluster.minutes(piece(), 2) == 402
    assert made(cluster.resources(piece()), attempt=2)["runtime"] == 402


def test_what_was_not_made_is_named_with_the_last_line_it_wrote(out):
    training, waiting, silent = piece(), piece(measurement="clean"), piece(model="cnn")
    log = campaign.log_of(training)
    log.parent.mkdir(parents=True)
    log.write_text("epoch 1\neplib: the gradient's norm is nan\n")
    assert cluster.not_made([training, waiting, silent]) == {
        training.name: "the gradient's norm is nan",
        silent.name: "it never began",
    }


@pytest.mark.skipif(PLUGIN is None, reason=NO_PLUGIN)
def test_slurm_is_asked_for_a_gpu_at_paper_scale_alone():
    from snakemake_executor_plugin_slurm.submit_string import get_submit_command
    from snakemake_executor_plugin_slurm.utils import set_gres_string

    class Resources(dict):
        __getattr__ = dict.__getitem__

    shared = dict(run_uuid="run", slurm_logfile="log", comment_str="rule", account="", partition="")
    calls = {}
    for scale in ("cpu", "paper"):
        asked, threads = made(cluster.resources(piece(scale))), cluster.job(piece(scale)).threads
        job = SimpleNamespace(resources=Resources(asked), threads=threads)
        calls[scale] = get_submit_command(job, shared | {"workdir": "/"}) + set_gres_string(job)
        assert f" --mem {asked['mem_mb']} " in calls[scale] and f" -t {asked['runtime']} " in calls[scale]
        assert f" --cpus-per-task={threads} " in calls[scale]
    assert calls["paper"].endswith(" --gpus=1") and "gpu" not in calls["cpu"]


@pytest.mark.parametrize("name", ["slurm", "kubernetes"])
def test_profiles_retry_and_go_on_after_failures(name):
    text = (WORKFLOW / name / "config.yaml").read_text()
    profile = yaml.safe_load(text)
    assert profile["executor"] == name and profile["keep-going"] and profile["retries"] >= 1
    assert f"--profile eplib/workflow/{name} " in text
    assert ("never run" in text) == (name == "kubernetes")


# On a cluster


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """The environment in which this machine is a cluster."""
    if PLUGIN is None:
        pytest.skip(NO_PLUGIN)
    folder = tmp_path_factory.mktemp("slurm")
    try:
        started = subprocess.run(
            [ONE_NODE, "start", folder], capture_output=True, text=True, timeout=200, start_new_session=True
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"no SLURM on this machine: {error}")
    try:
        if started.returncode:
            pytest.skip(f"no SLURM on this machine: {started.stderr.strip()}")
        path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
        yield os.environ | {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": path}
    finally:
        subprocess.run([ONE_NODE, "stop", folder], capture_output=True, timeout=60)


def jobs(slurm):
    """{rule: [(id, state)]} of the cluster's jobs."""
    command = ["squeue", "--noheader", "--states=all", "--sort=i", "--format=%i|%T|%k"]
    shown = subprocess.run(command, env=slurm, capture_output=True, text=True, check=True).stdout
    found = {}
    for line in shown.splitlines():
        number, state, comment = line.split("|")
        found.setdefault(comment.removeprefix("rule_smoke_"), []).append((number, state))
    return found


def until(condition, seconds, process):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end and process.poll() is None, "it did not come to that"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def ran(slurm, tmp_path_factory):
    """One run of the workflow on the cluster, in which the training of the CNN is killed midway: (its status,
    what it wrote, [(process, iteration)] of the states that were kept, the cluster's jobs, the data).
    """
    folder = tmp_path_factory.mktemp("campaign")
    (folder / "list.toml").write_text(LIST)
    (folder / "site").mkdir()
    kept = folder / "kept"
    (folder / "site" / "sitecustomize.py").write_text(SITE.format(log=str(kept)))
    environment = slurm | {
        "EPLIB_OUT": str(folder / "data"),
        "EPLIB_DATA": str(folder / "no data"),
        "PYTHONPATH": f"{folder / 'site'}{os.pathsep}{files.ROOT}",
    }
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(WORKFLOW / "Snakefile")]
    command += ["--profile", str(WORKFLOW / "slurm"), "--directory", str(folder)]
    command += ["--retries", "1", "--latency-wait", "5", "--slurm-init-seconds-before-status-checks", "1"]
    command += ["--config", "scale=smoke", f"list={folder / 'list.toml'}"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log)
        try:
            until(lambda: kept.exists() and len(kept.read_text().splitlines()) >= 2, 200, process)
            [(number, _)] = jobs(slurm)["sample_cnn_s0"]
            subprocess.run(["scancel", "--signal=KILL", "--full", number], env=slurm, check=True)
            status = process.wait(300)
        finally:
            process.kill()
            process.wait()
    states = [tuple(map(int, line.split())) for line in kept.read_text().splitlines()]
    return status, (folder / "log").read_text(), states, jobs(slurm), folder / "data"


@pytest.mark.timeout(600)
def test_on_a_cluster_a_killed_training_goes_on_and_ends_with_the_same_weights(ran, tmp_path):
    _, written, states, on_cluster, data = ran
    killed, resumed = (state for _, state in on_cluster["sample_cnn_s0"])
    assert killed in ("CANCELLED", "FAILED") and resumed == "COMPLETED", written
    first, second = (
        [i for p, i in states if p == process] for process in dict.fromkeys(p for p, _ in states)
    )
    assert first[-1] < 8 and first[-1] < second[0] <= first[-1] + 2  # killed between saving and saying so
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as on the cluster: sums in another order are other weights
    try:
        undisturbed = training.train("cnn", "sample", "smoke", 0, tmp_path, progress=False)
    finally:
        torch.set_num_threads(threads)
    resumed = data / "checkpoints" / "smoke" / "cnn-sample-s0"
    assert checkpoints.load(resumed).sha256 == checkpoints.load(undisturbed).sha256


@pytest.mark.timeout(600)
def test_on_a_cluster_a_failure_stops_only_what_needs_it_and_is_named(ran, monkeypatch):
    status, written, _, on_cluster, data = ran
    assert status != 0
    assert [state for _, state in on_cluster["sample_cnn_s0_clean"]] == ["COMPLETED"], written
    assert [state for _, state in on_cluster["cifar10_cnn_s0"]] == ["FAILED", "FAILED"]
    assert "cifar10_cnn_s0_clean" not in on_cluster
    monkeypatch.setenv("EPLIB_OUT", str(data))
    path = Path(data).parent / "list.toml"
    rows = {row["name"]: row for row in campaign.table("smoke", path)["rows"]}
    assert rows["smoke/sample/cnn-s0"]["state"] == rows["smoke/sample/cnn-s0/clean"]["state"] == "done"
    failed = rows["smoke/cifar10/cnn-s0"]
    assert failed["state"] == "failed" and "cifar" in failed["reason"].lower()
    assert f"smoke/cifar10/cnn-s0: {failed['reason']}" in written
    assert rows["smoke/cifar10/cnn-s0/clean"]["state"] == "waiting"


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash on this machine")
def test_the_one_node_cluster_says_how_it_is_called():
    refused = subprocess.run([ONE_NODE, "begin", "/tmp"], capture_output=True, text=True)
    assert refused.returncode == 2 and "start|stop FOLDER" in refused.stderr

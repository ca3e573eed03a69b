import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from importlib.util import find_spec
from types import SimpleNamespace

import pytest
from safetensors import numpy as safetensors
from test_cli import refused
from test_cli import run as eplib

from eplib import campaign, campaign_run, checkpoints, files, measurements, results, scales, snapshots
from eplib.checks import InputError, Interrupted

ENTRY = """
[[piece]]
scale = "smoke"
models = ["ep-cnn", "cnn"]
seeds = [0, 1]
measurements = ["clean"]
minutes = 3
"""
ORDER = ["ep-cnn-s0", "ep-cnn-s0/clean", "cnn-s0", "cnn-s0/clean"]
ORDER += [name.replace("-s0", "-s1") for name in ORDER]
HOUR = 3600


@pytest.fixture
def listed(tmp_path):
    """A function that writes a campaign file and returns its path."""

    def write(text=ENTRY):
        path = tmp_path / "list.toml"
        path.write_text(text)
        return path

    return write


@pytest.fixture
def store(smoke, out):
    """A function that stores a trained network as that of a piece, and returns its `Checkpoint`."""

    def put(piece, seconds=60, history=None):
        path = campaign.record_of(piece)
        training = {"history": history or [{"epoch": 1}], "seconds": seconds}
        net = smoke["cnn" if piece.model == "cnn" else "ep-cnn"].net
        return checkpoints.load(
            checkpoints.save(path.parent, net, piece.model, piece.dataset, piece.scale, piece.seed, training)
        )

    return put


@pytest.fixture
def made(monkeypatch, store):
    """Names of the pieces that a run made, by a stand-in for their processes; `failing` maps names to what
    the process ends with.
    """
    log = SimpleNamespace(names=[], failing={})

    def execute(piece, end, stop, held):
        log.names.append(short(piece))
        if short(piece) in log.failing:
            return log.failing[short(piece)]
        if piece.measurement is None:
            store(piece)
        else:
            measured(checkpoints.load(campaign.record_of(piece)), piece.measurement)
        return 0, False, ""

    monkeypatch.setattr(campaign_run, "_execute", execute)
    return log


def piece(model="ep-cnn", seed=0, measurement=None, scale="smoke", minutes=3):
    return campaign.Piece(scale, "sample", model, seed, measurement, minutes)


def short(piece):
    return piece.name.removeprefix("smoke/sample/")


def measured(checkpoint, measurement="clean", seconds=None):
    """Store a result as `measure` does by default; with `seconds`, as if it had taken so long."""
    result = measurements.measure(checkpoint, measurement, progress=False)
    if seconds is not None:
        result.record["seconds"] = seconds
    results.save(result, results.folders("smoke")[0] / "results")


def unfinished(piece, **progress):
    path = campaign.record_of(piece).with_suffix(".unfinished.safetensors")
    path.parent.mkdir(parents=True, exist_ok=True)
    safetensors.save_file({}, path, {"progress": json.dumps(progress)})
    return path


def with_source(monkeypatch, model, source):
    """Let `model` learn from the network `source`."""
    original = scales.row

    def row(scale, name, dataset=None):
        found = original(scale, name, dataset)
        if name != model:
            return found
        return SimpleNamespace(recipe=SimpleNamespace(**asdict(found.recipe) | {"source": source}))

    monkeypatch.setattr(scales, "row", row)


# The list


def test_seed_by_seed_every_network_is_followed_by_its_measurements(listed):
    found = campaign.pieces(listed())
    assert [short(p) for p in found] == ORDER
    assert found[1] == piece(measurement="clean") and found[1].network == found[0]


def test_entries_follow_each_other_and_may_name_another_data_set(listed):
    second = '[[piece]]\nscale = "paper"\ndataset = "cifar100"\nmodels = ["cnn"]\nseeds = [7]\n'
    found = campaign.pieces(listed(ENTRY + second + "measurements = []\nminutes = 1.5"))
    assert found[-1] == campaign.Piece("paper", "cifar100", "cnn", 7, None, 1.5) and len(found) == 9
    assert found[-1].name == "paper/cifar100/cnn-s7"


def test_the_projects_own_list_has_pieces_for_the_tests():
    assert {p.measurement for p in campaign.pieces_of("smoke")} >= {None, "clean", "pgd-linf"}


@pytest.mark.parametrize(
    "old, new, match",
    [
        ('"smoke"', '"huge"', "smoke, quick, cpu, paper"),
        ('"smoke"', "3", "scale = 3: give a word"),
        ('"cnn"', '"resnet"', "unknown model 'resnet'"),
        ('["ep-cnn", "cnn"]', "[]", "models = "),
        ('["ep-cnn", "cnn"]', '"cnn"', "models = 'cnn': give a list"),
        ('["clean"]', '["fgsm"]', "unknown measurement 'fgsm'"),
        ('["clean"]', "[1]", "measurements = "),
        ('["clean"]', '["clean", "clean"]', "smoke/sample/ep-cnn-s0/clean is named twice"),
        ("[0, 1]", "[0, 0]", "smoke/sample/ep-cnn-s0 is named twice"),
        ("[0, 1]", "[-1]", "seeds = "),
        ("[0, 1]", "[true]", "seeds = "),
        ("minutes = 3", "minutes = 0", "minutes = 0"),
        ("minutes = 3", "minutes = nan", "minutes = nan"),
        ("minutes = 3", "", "its keys are scale, models, seeds, measurements: give"),
        ("minutes = 3", "minutes = 3\ncolour = 1", "colour"),
        ("minutes = 3", 'minutes = 3\ndataset = "mnist"', "unknown data set 'mnist'"),
        ("minutes = 3", f"minutes = 3\n{ENTRY}", "entry 2: smoke/sample/ep-cnn-s0/clean is named twice"),
        ("[[piece]]", "[piece]", "give only [[piece]]"),
        ("[[piece]]", "other = 1\n[[piece]]", "holds other, piece"),
        ("[[piece]]", "[[piece", "cannot be read"),
    ],
    ids=lambda v: v.strip()[:24],
)
def test_a_wrong_list_is_refused_with_its_file_and_entry(listed, old, new, match):
    assert old in ENTRY
    path = listed(ENTRY.replace(old, new, 1))
    with pytest.raises(InputError) as refusal:
        campaign.pieces(path)
    assert str(refusal.value).startswith(f"campaign {path}") and match in str(refusal.value)
    if not old.startswith("[[piece"):
        assert ", entry " in str(refusal.value)


def test_a_missing_list_and_a_scale_without_pieces_are_refused(listed, tmp_path):
    with pytest.raises(InputError, match="none.toml cannot be read"):
        campaign.pieces(tmp_path / "none.toml")
    with pytest.raises(InputError, match="no pieces of scale quick"):
        campaign.pieces_of("quick", listed())


# States


def test_a_network_is_missing_then_in_progress_then_done(store):
    assert campaign.state(piece()) == ("missing", None)
    kept = unfinished(piece())
    assert kept.name == "ep-cnn-sample-s0.unfinished.safetensors"
    assert campaign.state(piece()) == ("in progress", None)
    store(piece())
    assert campaign.state(piece()) == ("done", None)


def test_a_network_carried_from_another_machine_is_in_progress(out, tmp_path, monkeypatch):
    monkeypatch.setattr(snapshots, "CARRIED", tmp_path / "resume")
    kept = unfinished(piece())
    carried = tmp_path / "resume" / "smoke" / kept.name
    carried.parent.mkdir(parents=True)
    kept.rename(carried)
    assert campaign.state(piece()) == ("in progress", None)


def test_a_network_in_the_projects_own_data_is_done(out):
    stored = campaign.Piece("quick", "sample", "ep-cnn", 11, None, 1)
    assert campaign.state(stored) == ("done", None)
    assert campaign.record_of(stored).is_relative_to(files.ROOT / "data")
    other = replace(stored, seed=12345)
    assert campaign.record_of(other).is_relative_to(out) and campaign.state(other) == ("missing", None)


def test_a_retrained_network_is_measured_again(store):
    clean = piece("cnn", measurement="clean")
    assert campaign.state(clean) == ("waiting", "needs smoke/sample/cnn-s0")
    checkpoint = store(piece("cnn"))
    assert campaign.state(clean) == ("missing", None)
    measured(checkpoint)
    assert campaign.state(clean) == ("done", None)
    checkpoint.net.readout.weight *= 0.5
    path = campaign.record_of(clean)
    checkpoints.save(
        path.parent, checkpoint.net, "cnn", "sample", "smoke", 0, {"history": [{}], "seconds": 1}
    )
    assert campaign.state(clean) == ("missing", None)


def test_a_measurement_that_does_not_apply_has_failed_without_being_run(store, made, listed):
    path = listed(ENTRY.replace('"clean"', '"settling"').replace('"ep-cnn", ', "").replace("0, 1", "0"))
    assert campaign_run.run("smoke", HOUR, path=path) == {"done": 1, "failed": 0, "stopped": 0}
    word, reason = campaign.state(piece("cnn", measurement="settling"))
    assert word == "failed" and "has no equilibria" in reason and made.names == ["cnn-s0"]
    assert not campaign.applies(piece("cnn", measurement="settling"))
    assert campaign.applies(piece("cnn", measurement="clean"))
    assert campaign.applies(piece("ep-cnn", measurement="settling"))


def test_damaged_weights_are_a_failure_of_the_measurement_and_not_of_the_table(store, listed):
    path = campaign.record_of(piece("cnn"))
    store(piece("cnn"))
    path.with_suffix(".safetensors").write_bytes(b"no weights")
    row = {r["name"]: r for r in campaign.table("smoke", listed())["rows"]}["smoke/sample/cnn-s0/clean"]
    assert row["state"] == "failed" and "does not have the hash" in row["reason"]
    words = campaign.lines(campaign.table("smoke", listed())["rows"])
    assert "; clean failed, " in " ".join(words) and words[-1] == f"{row['name']}: {row['reason']}"


# Costs


def test_the_cost_of_a_network_is_that_of_other_seeds_or_the_guess(store):
    assert campaign.cost(piece(seed=5)) == 3
    store(piece(seed=1), seconds=1000, history=[{"core_seconds": 600}])
    store(piece(seed=2), seconds=1200)
    store(piece("ep-cnn-live", seed=1), seconds=9)  # another model whose name begins alike
    assert campaign.cost(piece(seed=5)) == 15
    assert campaign.cost(piece("cnn")) == 3


def test_the_cost_of_a_measurement_is_that_of_its_model_or_of_any_or_the_guess(store):
    clean = piece(seed=5, measurement="clean")
    assert campaign.cost(clean) == campaign.GUESS
    measured(store(piece("cnn")), seconds=120)
    assert campaign.cost(clean) == 2
    measured(store(piece(seed=1)), seconds=600)
    assert campaign.cost(clean) == 10
    assert campaign.cost(replace(clean, measurement="pgd-l2")) == campaign.GUESS


def test_of_a_network_in_progress_only_what_is_left_counts(store):
    recipe = scales.row("smoke", "ep-cnn").recipe
    half = recipe.images_seen // recipe.batch // 2
    path = unfinished(piece(), iteration=half, core_seconds=60)
    assert campaign.cost(piece()) == 2  # of 3 minutes, 1 is spent
    unfinished(piece(), iteration=half, core_seconds=600)
    assert campaign.cost(piece()) == 10  # longer than guessed: at least as long again
    path.write_bytes(b"damaged")
    assert campaign.cost(piece()) == 3
    unfinished(piece(), iteration=half, core_seconds=60)
    store(piece(), seconds=60 * 7)
    assert campaign.cost(piece()) == 7


def test_the_table_counts_what_is_done_and_left(store, listed):
    measured(store(piece(), seconds=120), seconds=30)
    table = campaign.table(path=listed())
    assert [row["name"].removeprefix("smoke/sample/") for row in table["rows"]] == ORDER
    states = [row["state"] for row in table["rows"]]
    assert states == ["done", "done", "missing", "waiting", "missing", "waiting", "missing", "waiting"]
    assert (table["done"], table["pieces"]) == (2, 8)
    left = [3, 0.5, 2, 0.5, 3, 0.5]
    assert [row["minutes"] for row in table["rows"]] == [2, 0.5, *left]
    assert table["core_hours_left"] == pytest.approx(sum(left) / 60, abs=0.005)


# Running


def test_a_run_makes_everything_in_order_and_a_second_one_nothing(made, listed):
    assert campaign_run.run("smoke", HOUR, path=listed()) == {"done": 8, "failed": 0, "stopped": 0}
    assert made.names == ORDER
    assert campaign_run.run("smoke", HOUR, path=listed()) == {"done": 0, "failed": 0, "stopped": 0}


def test_a_network_waits_for_the_one_it_learns_from(made, listed, monkeypatch):
    with_source(monkeypatch, "ep-cnn", "cnn")
    path = listed(ENTRY.replace("[0, 1]", "[0]"))
    assert campaign.state(piece()) == ("waiting", "needs smoke/sample/cnn-s0")
    campaign_run.run("smoke", HOUR, path=path)
    assert made.names == ["cnn-s0", "ep-cnn-s0", "ep-cnn-s0/clean", "cnn-s0/clean"]


def test_a_network_is_not_made_without_its_source(made, listed, monkeypatch):
    with_source(monkeypatch, "ep-cnn", "cnn")
    made.failing = {"cnn-s0": (1, False, "boom")}
    campaign_run.run("smoke", HOUR, path=listed(ENTRY.replace("[0, 1]", "[0]")))
    assert made.names == ["cnn-s0"] and campaign.state(piece())[0] == "waiting"


def test_a_failure_is_kept_and_the_next_piece_goes_on_until_it_is_tried_again(made, listed):
    made.failing = {
        "ep-cnn-s0": (2, False, "the gradient's norm is nan"),
        "cnn-s0/clean": (-9, False, "50 %"),
    }
    assert campaign_run.run("smoke", HOUR, path=listed()) == {"done": 5, "failed": 2, "stopped": 0}
    assert made.names == [name for name in ORDER if name != "ep-cnn-s0/clean"]
    assert campaign.state(piece()) == ("failed", "the gradient's norm is nan")
    assert campaign.state(piece("cnn", measurement="clean")) == ("failed", "ended by signal 9")
    kept = json.loads((campaign.folder() / "failures.json").read_text())
    assert kept.keys() == {"smoke/sample/ep-cnn-s0", "smoke/sample/cnn-s0/clean"}
    made.names, made.failing = [], {}
    assert campaign_run.run("smoke", HOUR, path=listed())["done"] == 0 and made.names == []
    campaign.keep("failures", {"quick/sample/cnn-s1": "of another scale"})
    assert campaign_run.run("smoke", HOUR, retry=True, path=listed())["done"] == 3
    assert made.names == ["ep-cnn-s0", "ep-cnn-s0/clean", "cnn-s0/clean"]
    assert json.loads((campaign.folder() / "failures.json").read_text()).keys() == {"quick/sample/cnn-s1"}


def test_only_what_fits_into_the_budget_is_started(made, store, listed):
    checkpoint = store(piece())
    assert campaign_run.run("smoke", 59, path=listed())["done"] == 0  # no network, no unknown measurement
    campaign_run.run("smoke", 119, path=listed())
    assert made.names == ["cnn-s0", "ep-cnn-s1", "cnn-s1"]
    measured(checkpoint, seconds=50)
    made.names = []
    campaign_run.run("smoke", 75, path=listed())  # 50 s by 1.2, and 20 s to start
    assert made.names == []
    campaign_run.run("smoke", 85, path=listed())
    assert sorted(made.names) == ["cnn-s0/clean", "cnn-s1/clean", "ep-cnn-s1/clean"]


def test_a_measurement_that_the_budget_ended_is_tried_again_with_more(made, listed, monkeypatch):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(campaign_run.time, "monotonic", lambda: clock.now)
    made.failing = {"cnn-s0/clean": (-signal.SIGINT, True, "")}
    plain = campaign_run._execute

    def slow(piece, end, stop, held):
        clock.now += 400 * (piece.measurement is not None)
        return plain(piece, end, stop, held)

    monkeypatch.setattr(campaign_run, "_execute", slow)
    path = listed(ENTRY.replace("[0, 1]", "[0]").replace('"ep-cnn", ', ""))
    assert campaign_run.run("smoke", 300, path=path) == {"done": 1, "failed": 0, "stopped": 1}
    assert campaign.state(piece("cnn", measurement="clean")) == ("missing", None)
    assert campaign.cost(piece("cnn", measurement="clean")) == 10
    made.failing = {}
    assert campaign_run.run("smoke", 600, path=path)["done"] == 0
    assert campaign_run.run("smoke", 800, path=path)["done"] == 1


@pytest.mark.parametrize("budget, expected", [("45s", 45), ("9m", 540), ("2h", 7200), ("1.5m", 90)])
def test_budgets(budget, expected):
    assert campaign_run.seconds(budget) == expected


@pytest.mark.parametrize("budget", [None, "", "9", "m", "0m", "-9m", "9 m", "9d", "1e3s", "nanm"])
def test_other_budgets_are_refused(budget):
    with pytest.raises(InputError, match="45s, 9m or 2h"):
        campaign_run.seconds(budget)


# Processes

STUBBORN = """
import os, signal, sys, time
signal.signal(signal.SIGINT, lambda *_: (print("asked", flush=True), sys.exit(130)))
{then}
time.sleep(60)
"""


def instead(monkeypatch, script):
    """Let every piece's process be this script."""
    monkeypatch.setattr(campaign, "command", lambda piece: [sys.executable, "-c", script])


def log_of(piece):
    return (campaign.folder() / f"{piece.name.replace('/', '-')}.log").read_text()


@pytest.mark.parametrize(
    "script, reason",
    [
        ("import sys; print('eplib: give another', file=sys.stderr); sys.exit(2)", "give another"),
        ("print('so far'); raise RuntimeError('boom')", "RuntimeError: boom"),
        ("import os; os.kill(os.getpid(), 9)", "ended by signal 9"),
        ("import sys; sys.exit(3)", "ended with status 3"),
    ],
    ids=["refused", "crashed", "killed", "silent"],
)
def test_the_last_line_of_a_process_is_the_reason_of_its_failure(out, monkeypatch, listed, script, reason):
    instead(monkeypatch, script)
    path = listed(ENTRY.replace("[0, 1]", "[0]").replace('"ep-cnn", ', ""))
    assert campaign_run.run("smoke", HOUR, path=path) == {"done": 0, "failed": 1, "stopped": 0}
    assert campaign.state(piece("cnn")) == ("failed", reason)


def test_the_end_of_the_budget_asks_a_process_to_stop(out, monkeypatch, listed, capsys):
    monkeypatch.setattr(campaign_run, "NEEDS", 0)
    instead(monkeypatch, STUBBORN.format(then=""))
    started = time.monotonic()
    path = listed(ENTRY.replace("[0, 1]", "[0]"))
    assert campaign_run.run("smoke", 1.5, path=path) == {"done": 0, "failed": 0, "stopped": 1}
    assert 1.5 <= time.monotonic() - started < 20 and log_of(piece()).strip() == "asked"
    assert campaign.state(piece()) == ("missing", None)
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "smoke/sample/ep-cnn-s0: starts, about 3.0 core-minutes"
    assert said[1].startswith("smoke/sample/ep-cnn-s0: stopped after 0.")


def test_a_process_that_does_not_stop_is_killed(out, monkeypatch, listed):
    monkeypatch.setattr(campaign_run, "NEEDS", 0)
    monkeypatch.setattr(campaign_run, "GRACE", 0.5)
    instead(monkeypatch, "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(60)")
    path = listed(ENTRY.replace("[0, 1]", "[0]"))
    assert campaign_run.run("smoke", 1.5, path=path) == {"done": 0, "failed": 0, "stopped": 1}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_reaches_the_process_once_and_ends_the_run(out, monkeypatch, listed, number):
    before = signal.getsignal(signal.SIGINT)
    instead(monkeypatch, STUBBORN.format(then=f"os.kill(os.getppid(), {int(number)})"))
    with pytest.raises(Interrupted, match="smoke/sample/ep-cnn-s0: the same command goes on"):
        campaign_run.run("smoke", HOUR, path=listed())
    assert log_of(piece()).strip() == "asked"
    assert campaign.state(piece("cnn")) == campaign.state(piece()) == ("missing", None)
    assert signal.getsignal(signal.SIGINT) is before


SLOW_AT_FIRST = """
import os, sys, time
from eplib import snapshots
from eplib.__main__ import main
if not os.path.exists({kept!r}):
    save = snapshots.Snapshot.save
    snapshots.SECONDS = 0.0
    snapshots.Snapshot.save = lambda *args: (save(*args), time.sleep(0.7))
sys.exit(main(["train", "--model", "cnn", "--scale", "smoke"]))
"""


def test_a_training_that_the_budget_ended_goes_on_in_the_next_run(out, monkeypatch, listed, smoke):
    path = listed(ENTRY.replace("[0, 1]", "[0]").replace('"ep-cnn", ', "").replace('"clean"', ""))
    kept = campaign.record_of(piece("cnn")).with_suffix(".unfinished.safetensors")
    instead(monkeypatch, SLOW_AT_FIRST.format(kept=str(kept)))
    with monkeypatch.context() as patch:  # the budget ends when the training is seen to be under way
        patch.setattr(campaign_run.time, "monotonic", lambda: HOUR * kept.exists())
        assert campaign_run.run("smoke", 61, path=path) == {"done": 0, "failed": 0, "stopped": 1}
    assert campaign.state(piece("cnn")) == ("in progress", None) and kept.exists()
    assert "of 8 batches: the same command goes on" in log_of(piece("cnn"))
    assert campaign_run.run("smoke", HOUR, path=path) == {"done": 1, "failed": 0, "stopped": 0}
    assert campaign.state(piece("cnn")) == ("done", None) and not kept.exists()
    assert checkpoints.load(campaign.record_of(piece("cnn"))).sha256 == smoke["cnn"].sha256


# The lock


def hold(ready):
    with campaign_run.lock():
        ready.set()
        time.sleep(60)


def test_two_processes_never_run_one_campaign(made, listed):
    forked = multiprocessing.get_context("fork")
    ready = forked.Event()
    holder = forked.Process(target=hold, args=(ready,))
    holder.start()
    try:
        assert ready.wait(30)
        with pytest.raises(InputError, match=rf"run by process {holder.pid} on .* since 2.*: wait"):
            campaign_run.run("smoke", HOUR, path=listed())
        assert made.names == []
    finally:
        holder.kill()
        holder.join()
    assert campaign_run.run("smoke", HOUR, path=listed())["done"] == 8
    assert str(os.getpid()) in (campaign.folder() / "lock").read_text()


# The command


def test_the_command_shows_the_campaign(out):
    status, shown, _ = eplib("campaign", "--scale", "smoke")
    rows = len(campaign.pieces_of("smoke"))
    networks = [p for p in campaign.pieces_of("smoke") if p.measurement is None]
    assert status == 0 and len(shown.splitlines()) == len(networks) + 2
    first = shown.splitlines()[0]
    assert first.split() == "missing 0.1 min smoke/sample/ep-cnn-s0; clean, 5.0; pgd-linf, 5.0".split()
    assert shown.splitlines()[-2] == f"done: 0 of {rows}"
    table = json.loads(eplib("campaign", "--scale", "smoke", "--json")[1])
    assert table == campaign.table("smoke") and len(table["rows"]) == rows
    networks = [p for p in campaign.pieces() if p.measurement is None]
    assert len(eplib("campaign")[1].splitlines()) == len(networks) + 2


def test_the_command_runs_the_campaign(made):
    status, shown, _ = eplib("campaign", "run", "--scale", "smoke", "--budget", "1h", "--json")
    assert status == 0
    assert json.loads(shown.splitlines()[-1]) == {"done": len(made.names), "failed": 0, "stopped": 0}
    assert made.names == [short(p) for p in campaign.pieces_of("smoke")]
    made.names = []
    campaign.keep("failures", {"smoke/sample/cnn-s0": "boom"})
    campaign.record_of(piece("cnn")).unlink()
    eplib("campaign", "run", "--scale", "smoke", "--budget", "1h")
    assert made.names == []
    eplib("campaign", "run", "--scale", "smoke", "--budget", "1h", "--retry")
    assert made.names[0] == "cnn-s0"


@pytest.mark.parametrize(
    "arguments, match",
    [
        (["--scale", "huge"], "smoke, quick, cpu, paper"),
        (["--budget", "9m"], "campaign run"),
        (["run", "--scale", "smoke"], "45s, 9m or 2h"),
        (["run", "--scale", "smoke", "--budget", "soon"], "budget soon"),
        (["run", "--budget", "9m"], "smoke, quick, cpu, paper"),
        (["walk"], "walk"),
    ],
    ids=" ".join,
)
def test_the_command_refuses_in_one_sentence_and_writes_nothing(out, arguments, match):
    refused("campaign", *arguments, match=match)
    assert not out.exists()


@pytest.mark.skipif(find_spec("snakemake") is None, reason="snakemake is not installed: no workflow is run")
def test_snakemake_makes_what_the_campaign_lacks(made, store, tmp_path):
    for done in campaign.pieces_of("smoke"):
        if done.model == "cnn":
            campaign_run._execute(done, None, None, None)
    record = campaign.record_of(piece("cnn"))
    before = record.stat().st_mtime_ns
    arguments = ["--snakefile", str(files.ROOT / "eplib" / "workflow" / "Snakefile"), "--cores", "2"]
    arguments += ["--directory", str(tmp_path), "--config", "scale=smoke"]
    workflow = [sys.executable, "-m", "snakemake", *arguments]
    ended = subprocess.run(workflow, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    table = campaign.table("smoke")
    assert [row["state"] for row in table["rows"]] == ["done"] * table["pieces"]
    assert record.stat().st_mtime_ns == before  # what is done is not made again
    marked = campaign.folder() / "measured"
    markers = {path.relative_to(marked).as_posix() for path in marked.rglob("*") if path.is_file()}
    assert markers == {p.name for p in campaign.pieces_of("smoke") if p.measurement and p.model != "cnn"}

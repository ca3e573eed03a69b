"""Many runs by one command."""

import json
import os
import signal
import subprocess
import sys
import time

import papermill
import pytest

from eplib import batches, book, files
from eplib.__main__ import main
from eplib.checks import InputError


def test_every_combination_is_run_once_and_named():
    each = {"dataset": ["sample", "cifar10"], "seeds": [11, [13, 17]]}
    found = batches.combinations(each)
    assert found == [
        {"dataset": "sample", "seeds": 11},
        {"dataset": "sample", "seeds": [13, 17]},
        {"dataset": "cifar10", "seeds": 11},
        {"dataset": "cifar10", "seeds": [13, 17]},
    ]
    assert batches.combinations({}) == [{}]
    names = [batches.target("out", "cost", varied).name for varied in found]
    assert len(set(names)) == 4 and names[1] == "cost-dataset-sample-seeds-13-17.ipynb"
    assert batches.target("out", "cost", {}).name == "cost.ipynb"


@pytest.fixture
def executed(monkeypatch):
    """[(slug, parameters)] of what would be executed; a seed of 13 fails."""
    asked = []

    def execute(slug, out, parameters):
        asked.append((slug, parameters))
        if parameters.get("seeds") == 13:
            raise InputError("seed 13 is not there: take another")
        files.write(out, "{}")
        return out

    monkeypatch.setattr(book, "execute", execute)
    return asked


def test_one_command_runs_a_batch_and_a_failure_stops_no_other(executed, tmp_path, capsys):
    call = ["run", "cost", "masking", "--scale", "smoke", "--each", "seeds", "11", "13", "[17]"]
    assert main([*call, "--out", str(tmp_path)]) == 2
    seeds = [p["seeds"] for _, p in executed]
    assert [s for s, _ in executed] == ["cost"] * 3 + ["masking"] * 3 and seeds == [11, 13, [17]] * 2
    assert all(p["scale"] == "smoke" for _, p in executed)
    said = capsys.readouterr()
    assert "2 of 6 notebooks failed: cost-seeds-13.ipynb (seed 13 is not there: take another)" in said.err
    assert len(said.err.strip().splitlines()) == 1
    assert sorted(p.name for p in tmp_path.glob("*.ipynb")) == [
        "cost-seeds-11.ipynb",
        "cost-seeds-17.ipynb",
        "masking-seeds-11.ipynb",
        "masking-seeds-17.ipynb",
    ]


@pytest.mark.parametrize(
    "more, said",
    [
        (["--each", "seeds"], "--each seeds without a value"),
        (["-p", "seeds", "1", "--each", "seeds", "2", "3"], "seeds given with -p and with --each"),
        (["nowhere"], "unknown chapter 'nowhere'"),
        (["--each", "seeds", "[1"], "is no YAML"),
    ],
)
def test_a_batch_that_cannot_run_is_refused_before_anything_does(executed, more, said, tmp_path, capsys):
    assert main(["run", "cost", *more, "--out", str(tmp_path)]) == 2
    assert said in capsys.readouterr().err and executed == []


def outputs(notebook):
    cells = json.loads(notebook.read_text())["cells"]
    return "".join(json.dumps(o) for c in cells for o in c.get("outputs", ()))


def stopped(command, when):
    """Start a command, and kill it with all that it started as soon as when() is true."""
    running = subprocess.Popen(command, cwd=files.ROOT, start_new_session=True)
    try:
        while not when() and running.poll() is None:
            time.sleep(0.05)
        assert running.poll() is None  # killed, and not at its end
    finally:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()


def test_a_stopped_run_goes_on_and_other_parameters_leave_earlier_results_alone(tmp_path, monkeypatch):
    """Three real runs of a chapter into one folder: the first is killed once its first network is there."""
    out = tmp_path / "data"
    first = out / "checkpoints" / "smoke" / "ep-cnn-sample-s0.json"
    run = ["run", "networks", "--scale", "smoke", "--out", str(tmp_path)]
    stopped([sys.executable, "-m", "eplib", *run], first.exists)
    kept = first.stat().st_mtime_ns
    monkeypatch.setenv("EPLIB_OUT", str(out))
    book.execute("networks", tmp_path / "a.ipynb", {"scale": "smoke"}, progress=False)
    assert first.stat().st_mtime_ns == kept  # not trained again
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    assert {"results", "checkpoints"} <= {p.relative_to(out).parts[0] for p in before}
    second = book.execute("networks", tmp_path / "b.ipynb", {"scale": "smoke", "seeds": [7]}, progress=False)
    assert {p: p.read_bytes() for p in before} == before
    made = {p for p in out.rglob("*") if p.is_file()} - before.keys()
    assert made and all("s7" in p.name for p in made)
    assert "seeds = [7]" in outputs(second) and "revision" in outputs(second)


def test_papermill_itself_ends_with_one_sentence_in_the_first_cell(tmp_path):
    out = tmp_path / "out.ipynb"
    with pytest.raises(papermill.PapermillExecutionError) as error:
        papermill.execute_notebook(
            str(book.CHAPTERS / "networks.ipynb"),
            str(out),
            parameters={"seeds": [0.5]},
            kernel_name="python3",
            cwd=str(files.ROOT),
            progress_bar=False,
        )
    lines = [l for l in str(error.value).splitlines() if l.strip()]
    assert lines[-1].startswith("InputError: seeds = [0.5]: give") and len(lines) == 3
    cells = [c for c in json.loads(out.read_text())["cells"] if c["cell_type"] == "code"]
    (failed,) = [i for i, c in enumerate(cells) if any(o["output_type"] == "error" for o in c["outputs"])]
    tags = [c["metadata"].get("tags", []) for c in cells[:failed]]
    assert "injected-parameters" in tags[-1]  # nothing runs between them

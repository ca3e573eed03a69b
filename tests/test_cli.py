import contextlib
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from eplib import checkpoints, results
from eplib.__main__ import main

TRAIN = ["train", "--model", "cnn", "--scale", "smoke", "--json"]
SEED = "99999999999999999999"  # more than 64 bits


def run(*arguments):
    """(status, standard output, standard error) of a command in this process."""
    with (
        contextlib.redirect_stdout(io.StringIO()) as out,
        contextlib.redirect_stderr(io.StringIO()) as errors,
    ):
        status = main([str(a) for a in arguments])
    return status, out.getvalue(), errors.getvalue()


def refused(*arguments, match=""):
    status, out, errors = run(*arguments)
    assert status == 2 and out == ""
    assert errors.startswith("eplib: ") and errors.count("\n") == 1 and errors.endswith("\n")
    assert match in errors


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """What `train` printed as its last line."""
    status, out, _ = run(*TRAIN, "--out", tmp_path_factory.mktemp("trained"))
    assert status == 0
    return json.loads(out.splitlines()[-1])


def measure(trained, *arguments):
    return ["measure", "--checkpoint", trained["checkpoint"], *arguments]


def test_train_writes_the_checkpoint_it_names(trained):
    path = Path(trained["checkpoint"])
    assert path.exists() and path.name == "cnn-sample-s0.safetensors"
    record = checkpoints.load(path).record
    assert record["sha256"] == trained["sha256"]
    assert (record["model"], record["dataset"], record["scale"], record["seed"]) == (
        "cnn",
        "sample",
        "smoke",
        0,
    )
    assert 0 <= trained["validation_accuracy"] <= 1 and trained["seconds"] > 0


def test_the_same_training_gives_the_same_weights_and_another_seed_others(trained, tmp_path):
    again, other = (
        json.loads(run(*TRAIN, "--seed", seed, "--out", tmp_path)[1].splitlines()[-1]) for seed in (0, 1)
    )
    assert again["sha256"] == trained["sha256"] != other["sha256"]


def test_measure_stores_the_rows_it_prints(trained, tmp_path):
    status, out, _ = run(*measure(trained, "--measurement", "pgd-linf", "--json", "--out", tmp_path))
    printed = json.loads(out.splitlines()[-1])
    stored = results.load(printed["result"])
    assert status == 0 and Path(printed["result"]).is_relative_to(tmp_path)
    assert [row["epsilon"] for row in printed["rows"]] == [0.01, 0.1]  # of the smoke scale
    assert [row["value"] for row in printed["rows"]] == pytest.approx(stored.correct.mean(1).tolist())
    assert all(row["low"] <= row["value"] <= row["high"] and row["n"] == 20 for row in printed["rows"])
    assert printed["clean_accuracy"] == stored.correct_clean.mean()
    assert stored.settings["checkpoint_sha256"] == trained["sha256"]


def test_images_and_epsilons_can_be_chosen(trained, tmp_path):
    arguments = measure(
        trained, "--measurement", "pgd-l2", "--images", 7, "--epsilon", 0.5, "--epsilon", 0.25
    )
    _, out, _ = run(*arguments, "--json", "--out", tmp_path)
    rows = json.loads(out.splitlines()[-1])["rows"]
    assert [(row["epsilon"], row["n"]) for row in rows] == [(0.25, 7), (0.5, 7)]


def test_without_json_the_outcome_is_one_line_each(trained, tmp_path):
    _, out, _ = run(*measure(trained, "--measurement", "clean", "--images", 5, "--out", tmp_path))
    assert [line.split(": ")[0] for line in out.splitlines()] == ["result", "clean_accuracy", "rows"]


def test_results_go_below_eplib_out_by_default(trained, out):
    run(*measure(trained, "--measurement", "clean", "--images", 5))
    assert list((out / "results" / "smoke" / "sample" / "clean").glob("cnn-s0-*.json"))


@pytest.mark.parametrize(
    "change, match",
    [
        (["--model", "resnet"], "ep-cnn, twin-one-sided"),
        (["--dataset", "mnist"], "sample, fashion-mnist, cifar10, cifar100"),
        (["--scale", "huge"], "smoke, quick, cpu, paper"),
        (["--seed", "x"], "--seed"),
        (["--seed", SEED], SEED),
        (["--colour", "red"], "--colour"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_train_refuses_in_one_sentence_and_writes_nothing(tmp_path, change, match):
    refused(*TRAIN, *change, "--out", tmp_path / "out", match=match)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments, match",
    [
        (["--measurement", "fgsm"], "clean, pgd-linf, pgd-l2"),
        ([], "--measurement"),
        (["--measurement", "pgd-linf", "--epsilon", "-0.1"], "-0.1"),
        (["--measurement", "pgd-l2", "--epsilon", "nan"], "nan"),
        (["--measurement", "pgd-l2", "--epsilon", "inf"], "inf"),
        (["--measurement", "pgd-l2", "--epsilon", "big"], "big"),
        (["--measurement", "pgd-linf", "--images", "0"], "images = 0"),
        (["--measurement", "clean", "--images", "-5"], "images = -5"),
        (["--measurement", "clean", "--images", "1.5"], "1.5"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_measure_refuses_in_one_sentence_and_writes_nothing(trained, tmp_path, arguments, match):
    refused(*measure(trained, *arguments), "--out", tmp_path / "out", match=match)
    assert not (tmp_path / "out").exists()


def half_of_the_weights(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def no_weights(path):
    path.unlink()


def no_record(path):
    path.with_suffix(".json").unlink()


def damaged_record(path):
    path.with_suffix(".json").write_text('{"format": 1, ')


def unknown_scale(path):
    record = path.with_suffix(".json")
    record.write_text(record.read_text().replace('"smoke"', '"huge"'))


def unknown_data_set(path):
    record = path.with_suffix(".json")
    record.write_text(record.read_text().replace('"sample"', '"mnist"'))


@pytest.mark.parametrize(
    "damage", [half_of_the_weights, no_weights, no_record, damaged_record, unknown_scale, unknown_data_set]
)
def test_damaged_checkpoints_are_refused(trained, tmp_path, damage):
    for ending in (".safetensors", ".json"):
        shutil.copy(Path(trained["checkpoint"]).with_suffix(ending), tmp_path)
    path = tmp_path / Path(trained["checkpoint"]).name
    damage(path)
    refused("measure", "--checkpoint", path, "--measurement", "clean", "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_file_where_a_folder_should_be_is_refused(trained, tmp_path, place):
    (tmp_path / "file").write_text("mine")
    refused(
        *measure(trained, "--measurement", "clean", "--images", 5), "--out", tmp_path / place, match="file"
    )
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    "arguments, match",
    [
        (["no-such-chapter"], "first-attack"),
        (["../README"], "first-attack"),
        (["first-attack", "-p", "colour", "red"], "seeds"),
        (["first-attack", "-p", "seeds", "[0"], "YAML"),
        ([], "slug"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_run_refuses_in_one_sentence_and_writes_nothing(tmp_path, out, arguments, match):
    refused("run", *arguments, "--out", tmp_path / "run", match=match)  # the fixture `out` restores EPLIB_OUT
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "arguments", [[], ["attack"], ["benchmark", "speed"], ["book", "again"]], ids=" ".join
)
def test_unknown_commands_are_refused(arguments):
    refused(*arguments)


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    shown = capsys.readouterr().out
    assert all(f"\n    {command} " in shown for command in ("train", "measure", "run", "book", "benchmark"))


def test_the_module_ends_with_the_status_of_the_command(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-m", "eplib", "train", "--model", "resnet", "--out", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert ended.returncode == 2 and ended.stdout == "" and "Traceback" not in ended.stderr
    assert ended.stderr.startswith("eplib: unknown model 'resnet'")
    assert not list(tmp_path.iterdir())

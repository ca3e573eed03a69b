import json
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from eplib import files, results
from eplib.checks import InputError
from eplib.results import Result

CONTRACT = """measurement model checkpoint scale dataset seed norm epsilon attack gradient labels attack_steps
    predict_steps order metric value low high n seconds""".split()
ENDINGS = ("csv", "npz", "json")


def result(n=13, seed=0, epsilons=(0.01, 8 / 255, 0.1)):
    generator = np.random.default_rng(seed)
    settings = {
        "measurement": "pgd-linf",
        "model": "ep-cnn",
        "checkpoint": f"ep-cnn-sample-s{seed}",
        "scale": "smoke",
        "dataset": "sample",
        "seed": seed,
        "images": n,
        "epsilons": list(epsilons),
        "predict_steps": None,
    }
    correct = generator.random((len(epsilons), n)) < 0.5
    identity = {key: settings[key] for key in results.IDENTITY}
    rows = [
        identity | {"epsilon": e, "metric": "accuracy", "value": c.mean(), "n": n, "seconds": 0.1}
        for e, c in zip(epsilons, correct, strict=True)
    ]
    clean = generator.random(n) < 0.5
    return Result(settings, pd.DataFrame(rows), np.arange(n) + 5, clean, correct, {"device": "x"})


def refused(path):
    with pytest.raises(InputError) as error:
        results.load(path)
    assert "\n" not in str(error.value) and Path(path).stem in str(error.value)


@pytest.mark.parametrize("n", [1, 7, 8, 13, 16])
def test_round_trip(tmp_path, n):
    before = result(n)
    after = results.load(results.save(before, tmp_path))
    assert after.settings == before.settings
    for name in ("image_ids", "correct_clean", "correct"):
        assert np.array_equal(getattr(after, name), getattr(before, name))
        assert getattr(after, name).dtype == getattr(before, name).dtype
    pd.testing.assert_frame_equal(after.table[before.table.columns], before.table, check_exact=True)
    assert after.record["device"] == "x" and after.record["n"] == n


def test_the_table_has_exactly_the_promised_columns(tmp_path):
    path = results.save(result(), tmp_path)
    assert list(results.COLUMNS) == CONTRACT
    header, *rows = path.with_suffix(".csv").read_text().splitlines()
    assert header.split(",") == CONTRACT and len(rows) == 3
    assert list(results.load(path).table.columns) == CONTRACT


def test_the_path_names_the_settings(tmp_path):
    path = results.save(result(), tmp_path)
    assert path.parent == tmp_path / "smoke" / "sample" / "pgd-linf"
    assert re.fullmatch(r"ep-cnn-s0-[0-9a-f]{10}\.json", path.name)


def test_models_with_dots_in_their_names_keep_results_of_their_own(out):
    saved = []
    for model in ("cnn-at-l2-0.5", "cnn-at-l2-0.05", "cnn-at-l2-0.3"):
        settings = result().settings | {"model": model}
        path = results.save(replace(result(), settings=settings), out / "results")
        assert path.name.startswith(f"{model}-s0-") and results.find(settings).settings == settings
        saved.append(path)
    assert len(set(saved)) == 3 == len(list(out.rglob("*.npz")))


def test_same_settings_same_name_other_settings_other_name():
    settings = result().settings
    name = results.stem(settings)
    assert results.stem(dict(reversed(settings.items()))) == name
    for change in (
        {"images": 14},
        {"epsilons": [0.01]},
        {"model": "cnn"},
        {"seed": 1},
        {"scale": "quick"},
        {"checkpoint_sha256": "0"},
        {"predict_steps": 20},
    ):
        assert results.stem(settings | change) != name


def test_saving_leaves_three_files_and_saving_again_the_same(tmp_path):
    path = results.save(result(), tmp_path)
    contents = {ending: path.with_suffix(f".{ending}").read_bytes() for ending in ENDINGS}
    assert results.save(result(), tmp_path) == path
    assert {p for p in tmp_path.rglob("*") if p.is_file()} == {path.with_suffix(f".{e}") for e in ENDINGS}
    assert {ending: path.with_suffix(f".{ending}").read_bytes() for ending in ENDINGS} == contents


def crash_at(monkeypatch, ending):
    replace = os.replace

    def crash(source, target):
        if str(target).endswith(ending):
            raise OSError("power cut")
        replace(source, target)

    monkeypatch.setattr(os, "replace", crash)


def test_a_crash_while_writing_leaves_the_old_file_whole(tmp_path, monkeypatch):
    path = results.save(result(), tmp_path)
    before = {p: p.read_bytes() for p in path.parent.iterdir()}
    other = result()
    other.table["value"] = 1.0
    crash_at(monkeypatch, ".csv")
    with pytest.raises(InputError, match="power cut"):
        results.save(other, tmp_path)
    assert {p: p.read_bytes() for p in path.parent.iterdir()} == before


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_crash_at_any_file_leaves_no_result_and_no_temporary_file(tmp_path, monkeypatch, ending):
    crash_at(monkeypatch, ending)
    with pytest.raises(InputError, match="power cut"):
        results.save(result(), tmp_path)
    written = {p.suffix[1:] for p in tmp_path.rglob("*") if p.is_file()}
    assert written == set(ENDINGS[: ENDINGS.index(ending)])
    assert "json" not in written  # nothing is found without it


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: b"",
        lambda content: content.replace(b"0", b"1", 1) if b"0" in content else content[:-1],
    ],
    ids=["half", "empty", "one byte"],
)
def test_damaged_files_are_refused(tmp_path, ending, damage):
    path = results.save(result(), tmp_path)
    damaged = path.with_suffix(f".{ending}")
    content = damaged.read_bytes()
    damaged.write_bytes(damage(content))
    assert damaged.read_bytes() != content
    refused(path)


@pytest.mark.parametrize("ending", ENDINGS)
def test_missing_files_are_refused(tmp_path, ending):
    path = results.save(result(), tmp_path)
    path.with_suffix(f".{ending}").unlink()
    refused(path)


@pytest.mark.parametrize("content", [b"[]", b'{"settings": {}}', b"\xff", b"null"])
def test_foreign_json_is_refused(tmp_path, content):
    path = results.save(result(), tmp_path)
    path.write_bytes(content)
    refused(path)


@pytest.mark.parametrize(
    "change",
    [
        {"n": 12},
        {"n": 14},
        {"n": "13"},
        {"n": None},
        {"n": -1},
        {"settings": []},
        {"settings": {"seed": 0}},
        {"csv_sha256": None},
    ],
    ids=str,
)
def test_an_edited_record_is_refused(tmp_path, change):
    path = results.save(result(), tmp_path)
    files.write_json(path, json.loads(path.read_text()) | change)
    refused(path)


def test_a_result_under_the_name_of_other_settings_is_refused(tmp_path):
    path, other = (results.save(result(seed=s), tmp_path) for s in (0, 1))
    for ending in ENDINGS:
        path.with_suffix(f".{ending}").write_bytes(other.with_suffix(f".{ending}").read_bytes())
    refused(path)


class Malicious:
    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def test_a_pickle_in_the_npz_is_never_executed(tmp_path):
    path = results.save(result(), tmp_path)
    np.savez(
        path.with_suffix(".npz"),
        image_ids=np.array([Malicious(tmp_path / "executed")] * 13),
        correct_clean=np.zeros(2, np.uint8),
        correct=np.zeros((3, 2), np.uint8),
    )
    record = json.loads(path.read_text()) | {"npz_sha256": files.sha256(path.with_suffix(".npz"))}
    files.write_json(path, record)
    refused(path)
    assert not (tmp_path / "executed").exists()


def test_find_returns_what_was_saved_for_exactly_these_settings(out):
    before = result()
    assert results.find(before.settings) is None
    results.save(before, results.folders("smoke")[0] / "results")
    assert (out / "results" / "smoke" / "sample").is_dir()
    assert np.array_equal(results.find(before.settings).correct, before.correct)
    assert results.find(before.settings | {"images": 14}) is None


def test_eplib_out_redirects_writing_and_still_reads_what_is_committed(tmp_path, monkeypatch):
    monkeypatch.setenv("EPLIB_OUT", str(tmp_path))
    for scale in ("smoke", "quick", "paper"):
        assert results.folders(scale) == (tmp_path, [tmp_path, files.ROOT / "data"])
    monkeypatch.delenv("EPLIB_OUT")
    assert results.folders("quick") == (files.ROOT / "data", [files.ROOT / "data"])
    assert results.folders("smoke")[0] == files.ROOT / "_build" / "smoke"  # never committed

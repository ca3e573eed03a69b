"""Every chapter end to end at smoke scale, as papermill runs it."""

import json
import re
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from eplib import book, files
from eplib.checks import InputError


def outputs(notebook):
    cells = json.loads(notebook.read_text())["cells"]
    return "".join(
        json.dumps(o, ensure_ascii=False) for c in cells if c["cell_type"] == "code" for o in c["outputs"]
    )


@pytest.fixture(scope="module")
def smoke_runs(tmp_path_factory):
    """{slug: (the executed notebook or what it raised, results written meanwhile)} of every chapter at smoke
    scale, two at a time; what one has computed the next one finds, as in a project that has results.
    """
    folder, found = tmp_path_factory.mktemp("book"), {}

    def run(slug):
        try:
            return book.execute(slug, folder / f"{slug}.ipynb", {"scale": "smoke"}, progress=False)
        except Exception as error:
            return error

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EPLIB_OUT", str(folder / "data"))
        with ThreadPoolExecutor(2) as pool:
            found = dict(zip(book.slugs(), pool.map(run, book.slugs()), strict=True))
    return found, list((folder / "data" / "results").rglob("*.json"))


@pytest.mark.timeout(1500)  # the first one waits for all of them
@pytest.mark.parametrize("slug", book.slugs())
def test_chapter_runs_at_smoke_scale(slug, smoke_runs):
    notebook = smoke_runs[0][slug]
    if isinstance(notebook, Exception):
        raise notebook
    text = outputs(notebook)
    assert "image/svg+xml" in text and "Traceback" not in text
    if "says nothing about ours" in text:  # a page that computes nothing, and no network is stored
        assert "For these networks" not in text
        return
    assert "smoke scale" in text
    assert re.search("For (these networks|these records|this machine)", text)  # a verdict


def test_chapters_at_smoke_scale_leave_results(smoke_runs):
    measured = {path.parent.name for path in smoke_runs[1]}
    assert {"pgd-linf", "pgd-l2", "clean", "corruptions", "horizons"} <= measured
    assert {path.parts[-4] for path in smoke_runs[1]} == {"smoke"}


RESULT = "results/quick/sample/clean/cnn-s11-0123456789"


def test_what_pages_link_to_is_put_beside_them_once(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "ROOT", tmp_path)
    source, html = tmp_path / "data", tmp_path / "html"
    whole = [
        f"checkpoints/{scale}.{end}" for scale in ("quick/a", "cpu/b") for end in ("json", "safetensors")
    ]
    whole += [f"{RESULT}.{end}" for end in ("json", "csv", "npz")]
    whole += ["published/results.csv", "benchmarks/book.json"]
    parts = ["checkpoints/cpu/d.unfinished.safetensors", "checkpoints/cpu/e.json", f"{RESULT}0.csv"]
    parts += [f"{RESULT}1.json", f"{RESULT}1.csv", "sample/images.npz", "published/README.md"]
    for name in whole + parts:
        files.write(source / name, name)
    target = html / "data"
    files.write(target / "checkpoints" / "quick" / "gone.json", "of a network that is no more")

    def found():
        return {p.relative_to(target).as_posix(): p.read_text() for p in target.rglob("*") if p.is_file()}

    book._copy_data(html)
    assert found() == {name: name for name in whole}
    before = {name: (target / name).stat().st_mtime_ns for name in whole}
    files.write(source / f"{RESULT}.csv", "changed")
    book._copy_data(html)
    assert found() == {name: name for name in whole} | {f"{RESULT}.csv": "changed"}
    changed = [name for name in whole if (target / name).stat().st_mtime_ns != before[name]]
    assert changed == [f"{RESULT}.csv"]


def test_building_ends_with_the_networks_beside_the_pages(tmp_path, monkeypatch):
    page = tmp_path / "_build" / "html" / "index.html"
    files.write(tmp_path / "data" / "checkpoints" / "quick" / "a.json", "{}")
    files.write(tmp_path / "data" / "checkpoints" / "quick" / "a.safetensors", "weights")
    monkeypatch.setattr(files, "ROOT", tmp_path)
    monkeypatch.setattr(book, "slugs", list)
    monkeypatch.setattr(book, "_stage", lambda stage: None)
    monkeypatch.setattr(book.readme, "update", lambda: None)
    files.write(tmp_path / "_config.yml", "title: a book")
    monkeypatch.setattr(book.changes, "update", lambda: None)

    def built(call, **_):
        files.write(page, "<html>")
        return subprocess.CompletedProcess(call, 0)

    monkeypatch.setattr(book.subprocess, "run", built)
    assert book.build() == page
    assert (page.parent / "data" / "checkpoints" / "quick" / "a.safetensors").read_text() == "weights"


def test_a_chapter_refuses_a_bad_parameter_in_one_sentence(out, tmp_path):
    with pytest.raises(InputError, match="unknown scale 'tiny'") as error:
        book.execute("intro", tmp_path / "intro.ipynb", {"scale": "tiny"}, progress=False)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.rglob("*.ipynb"))


def test_chapters_are_executed_side_by_side_and_only_where_something_changed(tmp_path, monkeypatch):
    made, ran, both = {"a": "1", "b": "1", "c": "1"}, [], threading.Barrier(2, timeout=20)
    monkeypatch.setattr(book, "slugs", lambda: list(made))
    monkeypatch.setattr(book, "_made_of", made.get)
    monkeypatch.setattr(book.os, "cpu_count", lambda: 8)

    def execute(slug, out, progress):
        both.wait()  # two at a time, or this fails
        ran.append(slug)
        files.write(out, "notebook")

    monkeypatch.setattr(book, "execute", execute)
    files.write(tmp_path / "c.ipynb", "notebook")
    files.write_json(tmp_path / "state.json", {"c": "1", "b": "0"})
    book._execute_changed(tmp_path, tmp_path / "state.json", True)
    assert sorted(ran) == ["a", "b"]
    assert files.read_json(tmp_path / "state.json", "state") == made
    ran.clear()
    book._execute_changed(tmp_path, tmp_path / "state.json", True)
    assert ran == []


def test_a_chapter_that_fails_ends_the_build_and_loses_no_other(tmp_path, monkeypatch):
    monkeypatch.setattr(book, "slugs", lambda: ["bad", "good"])
    monkeypatch.setattr(book, "_made_of", lambda slug: "1")
    monkeypatch.setattr(book, "AT_ONCE", 1)

    def execute(slug, out, progress):
        files.write(out, "notebook")
        if slug == "bad":
            raise InputError("it cannot")

    monkeypatch.setattr(book, "execute", execute)
    with pytest.raises(InputError, match="it cannot"):
        book._execute_changed(tmp_path, tmp_path / "state.json", False)
    assert not (tmp_path / "state.json").exists()

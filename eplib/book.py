"""Chapters executed with papermill and built with Jupyter Book into _build/html.

A chapter is executed again only when its notebook, its parameters, `eplib` or the stored results changed.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import yaml

from eplib import changes, files, online, pages, readme
from eplib.checks import InputError, one_of

CHAPTERS = files.ROOT / "book"
AT_ONCE = 2  # chapters executed side by side, each on one thread and in about a gigabyte
TIMEOUT = 3600  # seconds for one cell: a chapter that computes at quick scale takes minutes


def slugs():
    """The chapters in the order of _toc.yml; pages of words alone are none."""
    toc = yaml.safe_load((files.ROOT / "_toc.yml").read_text())
    parts = toc.get("parts", [{"chapters": toc.get("chapters", [])}])
    named = [toc["root"], *(c["file"] for part in parts for c in part["chapters"])]
    return [Path(name).name for name in named if (files.ROOT / f"{name}.ipynb").exists()]


def execute(slug, out, parameters=None, progress=True):
    """Run one chapter with papermill and write the executed notebook to the path `out`.

    Raises InputError for an unknown chapter or parameter, and with the chapter's own sentence when it refuses
    one.
    """
    import papermill
    from papermill.exceptions import PapermillExecutionError

    one_of("chapter", slug, slugs())
    source, parameters = CHAPTERS / f"{slug}.ipynb", parameters or {}
    for name in parameters:
        one_of(f"parameter of chapter {slug}", name, list(papermill.inspect_notebook(str(source))))
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}")
    os.environ["MPLBACKEND"] = "agg"
    os.environ["EPLIB_STATIC"] = "1"  # explorers that need no kernel
    try:
        papermill.execute_notebook(
            str(source),
            str(partial),
            parameters=parameters,
            kernel_name="python3",
            cwd=str(files.ROOT),
            progress_bar=progress,
            execution_timeout=TIMEOUT,
            start_timeout=120,
            log_output=False,
            extra_arguments=["--IPKernelApp.log_level=ERROR"],  # not that each kernel speaks over TCP
        )
    except PapermillExecutionError as error:
        partial.unlink(missing_ok=True)
        if error.ename == "InputError":
            raise InputError(error.evalue) from error
        raise
    os.replace(partial, out)
    return out


def build(progress=True):
    """Execute what changed and build the book; returns the path of its first page."""
    stage, state_file = files.ROOT / "_build" / "src", files.ROOT / "_build" / "executed.json"
    readme.update()
    changes.update()
    _stage(stage)
    _execute_changed(stage / "book", state_file, progress)
    print("building pages", flush=True)
    # jupyter-book has no `python -m`: its entry point, called with this interpreter
    call = [
        sys.executable,
        "-c",
        "import sys; from jupyter_book.cli.main import main; sys.exit(main())",
        "build",
    ]
    options = [str(stage), "--path-output", str(files.ROOT), "-W", "-n", "--keep-going", "-q"]
    built = subprocess.run([*call, *options], cwd=files.ROOT)
    page = files.ROOT / "_build" / "html" / "index.html"
    if built.returncode or not page.exists():
        raise RuntimeError(f"jupyter-book ended with status {built.returncode}: its messages are above")
    _copy_data(page.parent)
    online.write_for_colab([CHAPTERS / f"{slug}.ipynb" for slug in slugs()], page.parent / "colab")
    return checked(page, stage / "book")


def checked(page, notebooks):
    """The first page, where nothing is wrong with it and the others (`eplib.pages`); RuntimeError where there
    is.
    """
    found = pages.problems(page.parent, notebooks)
    if found:
        raise RuntimeError(f"the built pages have {len(found)} problems:\n" + "\n".join(found[:30]))
    return page


def _execute_changed(folder, state_file, progress):
    """Execute the chapters that changed into a folder, as many at a time as there are cores, at most
    `AT_ONCE`. What each was made of is kept in the state file as soon as it is done.
    """
    state = json.loads(state_file.read_text()) if state_file.exists() else {}
    changed = [s for s in slugs() if state.get(s) != _made_of(s) or not (folder / f"{s}.ipynb").exists()]
    print(f"{len(slugs()) - len(changed)} chapters unchanged, {len(changed)} to execute", flush=True)
    started = time.perf_counter()
    at_once = max(1, min(AT_ONCE, os.cpu_count() or 1))
    with ThreadPoolExecutor(at_once) as pool:
        # bars of several chapters would write over each other
        shown = progress and at_once == 1
        running = {pool.submit(execute, s, folder / f"{s}.ipynb", progress=shown): s for s in changed}
        try:
            for i, done in enumerate(as_completed(running), 1):
                done.result()
                slug = running[done]
                # only now: results computed meanwhile are inputs of the next build
                state[slug] = _made_of(slug)
                files.write_json(state_file, state)
                print(f"[{i}/{len(changed)}] {slug}: after {time.perf_counter() - started:.0f} s", flush=True)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _stage(stage):
    """Copy the configuration and everything in book/ but notebooks, which papermill writes there."""
    for name in ("_config.yml", "_toc.yml"):
        _copy(files.ROOT / name, stage / name)
    for path in CHAPTERS.rglob("*"):
        if path.is_file() and path.suffix != ".ipynb":
            _copy(path, stage / "book" / path.relative_to(CHAPTERS))
    for notebook in (stage / "book").glob("*.ipynb"):
        if notebook.stem not in slugs():
            notebook.unlink()


def _copy_data(html):
    """Put what pages link to beside them: every stored network and result, the published numbers and the
    benchmarks. Copies what changed, and removes what is no more.
    """
    source, target = files.ROOT / "data", html / "data"
    wanted = set(_complete(source))
    for old in [p for p in target.rglob("*") if p.is_file()]:
        if old.relative_to(target) not in wanted:
            old.unlink()
    for path in sorted(wanted):
        _copy(source / path, target / path)


def _complete(source):
    """The paths, below the data folder, of all that pages may link to: records with what belongs to them."""
    for record in source.glob("checkpoints/*/*.json"):
        if record.with_suffix(".safetensors").exists():
            yield from (p.relative_to(source) for p in (record, record.with_suffix(".safetensors")))
    for record in source.glob("results/*/*/*/*.json"):
        parts = [record, *(record.with_name(f"{record.stem}.{ending}") for ending in ("csv", "npz"))]
        if all(p.exists() for p in parts):
            yield from (p.relative_to(source) for p in parts)
    for pattern in ("published/*.csv", "benchmarks/*.json"):
        yield from (p.relative_to(source) for p in source.glob(pattern))


def _copy(source, target):
    if not target.exists() or source.read_bytes() != target.read_bytes():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def _made_of(slug):
    """Hash of all that a chapter's page depends on: its notebook, eplib, the published numbers and every
    stored network and result (through their records).
    """
    paths = [
        CHAPTERS / f"{slug}.ipynb",
        *(files.ROOT / "eplib").glob("*.js"),
        *(files.ROOT / "eplib").glob("*.py"),
        *(files.ROOT / "data" / "published").glob("*.csv"),
        *(files.ROOT / "data" / "checkpoints").rglob("*.json"),
        *(files.ROOT / "data" / "results").rglob("*.json"),
    ]
    return files.sha256(
        "".join(f"{p.relative_to(files.ROOT)} {files.sha256(p)}\n" for p in sorted(paths)).encode()
    )

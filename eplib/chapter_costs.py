"""How long each chapter takes: from stored results, at smoke scale, and everything behind it anew."""

import json
import os
import re
import tempfile
import time
from pathlib import Path

from eplib import benchmark, book, files

LINK = re.compile(r'href=\\"\.\./(data/(?:results|checkpoints)/[^"\\]+\.json)\\"')
BUILT = files.ROOT / "_build" / "src" / "book"


def report(slugs=None, built=BUILT):
    """{"chapters": {slug: {title, stored: seconds to execute from stored results, smoke: seconds at smoke
    scale, training and measuring: core-seconds of what it showed}}, and what it ran on}. *Rerun it*, which
    shows them, is left out.

    All but smoke come from the notebooks that `make book` executed, in the folder `built`; smoke is
    run now, chapter after chapter into one empty folder, so that each finds what those before it computed.
    """
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        before, os.environ["EPLIB_OUT"] = os.environ.get("EPLIB_OUT"), str(Path(folder) / "data")
        try:
            for slug in slugs or [s for s in book.slugs() if s != "rerun"]:
                started = time.perf_counter()
                book.execute(slug, Path(folder) / f"{slug}.ipynb", {"scale": "smoke"}, progress=False)
                smoke = round(time.perf_counter() - started, 1)
                found[slug] = {"smoke": smoke, **executed(built / f"{slug}.ipynb")}
                print(f"{slug}: {smoke} s at smoke scale", flush=True)
        finally:
            os.environ.pop("EPLIB_OUT")
            if before:
                os.environ["EPLIB_OUT"] = before
    return {"chapters": found, **benchmark.machine("cpu")}


def executed(path):
    """{title, stored, training, measuring} of a notebook that `make book` executed, {} where it has not."""
    if not path.exists():
        return {}
    text = path.read_text()
    notebook = json.loads(text)
    title = next(
        line[2:].strip()
        for cell in notebook["cells"]
        if cell["cell_type"] == "markdown"
        for line in "".join(cell["source"]).splitlines()
        if line.startswith("# ")
    )
    return {"title": title, "stored": round(notebook["metadata"]["papermill"]["duration"], 1), **behind(text)}


def behind(text):
    """{training, measuring}: seconds that the results named in an executed notebook took, and the networks
    that they are of, from their records; those of networks that are not kept are left out.
    """
    records = {name: json.loads((files.ROOT / name).read_text()) for name in set(LINK.findall(text))}
    networks = {name for name in records if name.startswith("data/checkpoints/")}
    for record in records.values():
        s = record.get("settings")
        if s and s["checkpoint"]:
            networks.add(f"data/checkpoints/{s['scale']}/{s['checkpoint']}.json")
    kept = (files.ROOT / name for name in networks if (files.ROOT / name).exists())
    trained = (json.loads(path.read_text())["training"] for path in kept)
    return {
        "training": round(sum(t.get("seconds", 0) for t in trained)),
        "measuring": round(sum(r["seconds"] for r in records.values() if "settings" in r)),
    }

"""Every chapter end to end at smoke scale, as papermill runs it."""

import json

import pytest

from eplib import book
from eplib.checks import InputError


def outputs(notebook):
    cells = json.loads(notebook.read_text())["cells"]
    return "".join(
        json.dumps(o, ensure_ascii=False) for c in cells if c["cell_type"] == "code" for o in c["outputs"]
    )


@pytest.mark.parametrize("slug", book.slugs())
def test_chapter_runs_at_smoke_scale(slug, out, tmp_path):
    notebook = book.execute(slug, tmp_path / f"{slug}.ipynb", {"scale": "smoke"}, progress=False)
    text = outputs(notebook)
    assert "image/svg+xml" in text and "smoke scale" in text
    assert "For these networks" in text or "For this machine" in text  # a verdict
    assert "Traceback" not in text
    assert list((out / "results").rglob("*.json"))


def test_a_chapter_refuses_a_bad_parameter_in_one_sentence(out, tmp_path):
    with pytest.raises(InputError, match="unknown scale 'tiny'") as error:
        book.execute("intro", tmp_path / "intro.ipynb", {"scale": "tiny"}, progress=False)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.rglob("*.ipynb"))

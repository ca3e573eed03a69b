"""Where the book can be opened online, and the environment that Binder gets."""

import json
import os
import subprocess
import sys

import pytest
import yaml

from eplib import book, files, online
from eplib.checks import InputError


@pytest.fixture
def setting(tmp_path, monkeypatch):
    """Sets `repository` in a _config.yml of its own."""
    monkeypatch.setattr(files, "ROOT", tmp_path)

    def write(**repository):
        files.write(tmp_path / "_config.yml", yaml.safe_dump({"repository": repository}))

    return write


def test_without_an_address_there_is_no_button():
    assert online.repository() is None and online.buttons("intro") == {}  # as committed
    config = yaml.safe_load((files.ROOT / "_config.yml").read_text())
    assert config["repository"]["url"] == "" and "launch_buttons" not in config


@pytest.mark.parametrize(
    "url", ["https://github.com/some-one/a.book", "https://github.com/some-one/a.book.git"]
)
def test_one_setting_gives_both_addresses(setting, url):
    setting(url=url, branch="dev")
    found = online.buttons("white-box")
    start = "https://mybinder.org/v2/gh/some-one/a.book/dev"
    assert found["Binder"] == f"{start}?urlpath=lab%2Ftree%2Fbook%2Fwhite-box.ipynb"
    start = "https://colab.research.google.com/github/some-one/a.book/blob/gh-pages"
    assert found["Colab"] == f"{start}/colab/white-box.ipynb"


@pytest.mark.parametrize("url", ["github.com/a/b", "https://example.org/a/b", "https://github.com/a", 3])
def test_an_address_that_neither_can_open_is_refused_in_one_sentence(setting, url):
    setting(url=str(url))
    with pytest.raises(InputError, match="OWNER/NAME") as error:
        online.buttons("intro")
    assert "\n" not in str(error.value)


def test_colab_gets_the_clean_chapter_and_one_cell_before_it(setting, tmp_path):
    chapter = book.CHAPTERS / "intro.ipynb"
    setting(url="")
    online.write_for_colab([chapter], tmp_path / "colab")
    assert not (tmp_path / "colab").exists()
    setting(url="https://github.com/a/b")
    online.write_for_colab([chapter], tmp_path / "colab")
    made = json.loads((tmp_path / "colab" / "intro.ipynb").read_text())
    first, *rest = made["cells"]
    assert rest == json.loads(chapter.read_text())["cells"]
    source = "".join(first["source"])
    assert "--branch main https://github.com/a/b b\n%cd b\n" in source and "--editable ." in source


def test_buttons_are_added_to_pages_of_chapters_alone(setting, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(book.CHAPTERS / "_ext"))
    import launch_buttons

    class App:
        srcdir = tmp_path

    files.write(tmp_path / "book" / "intro.ipynb", "{}")
    files.write(tmp_path / "book" / "glossary.md", "words")
    for url, expected in (("", []), ("https://github.com/a/b", ["Binder", "Colab"])):
        setting(url=url)
        for page, wanted in (("book/intro", expected), ("book/glossary", [])):
            context = {"header_buttons": []}
            launch_buttons.add(App, page, "page.html", context, None)
            assert [b["text"] for b in context["header_buttons"]] == wanted
            assert all(b["url"].startswith("https://") for b in context["header_buttons"])


@pytest.mark.timeout(900)
def test_binders_environment_installs_into_a_fresh_one_and_runs_a_chapter(tmp_path):
    """Its own commands in a new environment, with PyTorch from where this machine has everything from."""
    venv, root = tmp_path / "venv", files.ROOT
    python = venv / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    requirements = (root / ".binder" / "requirements.txt").read_text().split()
    subprocess.run([str(python), "-m", "pip", "install", "-q", *requirements], check=True)
    environment = os.environ | {
        "PATH": f"{venv / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "VIRTUAL_ENV": str(venv),
        "TORCH_BACKEND": "",
    }
    subprocess.run([str(root / ".binder" / "postBuild")], cwd=root, env=environment, check=True)
    assert (venv / "bin" / "jupyter-lab").exists()
    call = [str(python), "-m", "eplib", "run", "networks", "--scale", "quick", "--out", str(tmp_path / "out")]
    subprocess.run(call, cwd=root, env=environment, check=True)
    assert (tmp_path / "out" / "networks.ipynb").exists()

"""Promises about the repository itself."""

import json
import re
import subprocess
import tomllib

import pytest
import yaml

from eplib import book, files

ROOT = files.ROOT
NOTEBOOKS = sorted((ROOT / "book").glob("*.ipynb"))


def tracked():
    listing = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True)
    if listing.returncode:
        pytest.skip("no git repository: tracked files are unknown")
    return [ROOT / name for name in listing.stdout.split("\0") if name and (ROOT / name).exists()]


def test_environment_yml_repeats_pyproject():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    dependencies = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    pip = next(d["pip"] for d in dependencies if isinstance(d, dict))
    assert sorted(pip) == sorted([*project["dependencies"], "--editable ."])
    python = next(d for d in dependencies if str(d).startswith("python="))
    low = re.match(r">=([\d.]+)", project["requires-python"]).group(1)
    assert python == f"python={low}"


def test_constraints_pin_every_dependency_and_name_no_registry():
    text = (ROOT / "constraints.txt").read_text()
    pinned = {line.split("==")[0].lower() for line in text.splitlines() if "==" in line}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(d for extra in project["optional-dependencies"].values() for d in extra),
    ]
    assert {re.match(r"[\w-]+", d).group().lower() for d in wanted} <= pinned
    assert "://" not in text and "--index" not in text


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_chapters_are_clean_and_parameterised(path):
    notebook = json.loads(path.read_text())
    code = [c for c in notebook["cells"] if c["cell_type"] == "code"]
    assert all(not c["outputs"] and c["execution_count"] is None for c in code)
    tagged = [c for c in code if "parameters" in c["metadata"].get("tags", [])]
    assert len(tagged) == 1
    source = "".join(tagged[0]["source"])
    for name in ("scale", "dataset", "seeds"):
        assert re.search(rf"^{name} = .*#", source, re.M), f"{name} needs a value and a comment"
    assert not re.search(r"^\s*(def|class|for|while) ", "\n".join("".join(c["source"]) for c in code), re.M)


def test_every_chapter_is_in_the_table_of_contents():
    assert sorted(book.slugs()) == [p.stem for p in NOTEBOOKS]


def test_every_page_of_words_is_in_the_table_of_contents():
    listed = (files.ROOT / "_toc.yml").read_text()
    pages = [path.stem for path in book.CHAPTERS.glob("*.md")]
    assert "references" in pages and all(f"- file: book/{page}\n" in listed for page in pages)


def test_works_that_are_cited_have_an_entry_with_a_doi():
    """Names and years, as in “Rony et al. 2019”, in notebooks and code."""
    cited = re.compile(r"([A-Z][^\W\d_]+)(?: et al\.| (?:&|and) [A-Z][^\W\d_]+),? \(?((?:19|20)\d\d)\b")
    texts = [p.read_text() for p in (*NOTEBOOKS, *(files.ROOT / "eplib").glob("*.py"))]
    entries = re.findall(
        r"@misc\{.*?author = \{([^\W\d_]+).*?year = \{(\d+)\}.*?doi = \{(10\.\S+)\}",
        (book.CHAPTERS / "references.bib").read_text(),
        re.S,
    )
    known = {(name, year) for name, year, _ in entries}
    found = {work for text in texts for work in cited.findall(text)}
    assert len(found) > 20 and len({doi for *_, doi in entries}) == len(entries)
    joint = {("Ott", "1983")}  # the last two of four authors
    assert found - joint - known == set()


def test_no_pickle_is_ever_loaded():
    pattern = re.compile(r"\bimport pickle\b|\bpickle\.loads?\b|allow_pickle=True")
    # torch's loader runs nothing where this very call says so: no parenthesis of another call in between
    unsafe = re.compile(r"(?<!safetensors\.)torch\.load\((?!(?:[^()]|\([^()]*\))*\bweights_only=True\b)")
    for text in ("torch.load(path)", "torch.load(f(path), weights_only=False), g(weights_only=True)"):
        assert unsafe.search(text)
    for path in tracked():
        if path.suffix in (".py", ".ipynb") and path.parent.name != "tests":  # tests write hostile pickles
            text = path.read_text()
            assert not pattern.search(text) and not unsafe.search(text), path


def test_tracked_files_are_small_and_name_no_folder_of_one_machine():
    paths = tracked()
    assert all(p.stat().st_size <= 13e6 for p in paths)
    sizes = {p: p.stat().st_size for p in paths}
    assert sum(sizes.values()) <= 100 * 2**20
    assert sum(size for p, size in sizes.items() if "checkpoints" not in p.parts) <= 30 * 2**20
    home = str(ROOT) + "/"
    for path in paths:
        if path.suffix in (".py", ".ipynb", ".json", ".md", ".yml", ".toml", ".txt", ".csv"):
            assert home not in path.read_text(), path


def test_readme_begins_with_what_it_is_and_the_two_commands():
    top = (ROOT / "README.md").read_text()[:2000]
    assert (
        "2401.11543" in top
        and "make book" in top
        and "make test" in top
        and "book/_static/headline.svg" in top
    )


def test_the_api_page_names_modules_that_exist_once():
    named = re.findall(r"automodule:: eplib\.(\w+)", (book.CHAPTERS / "api.md").read_text())
    assert len(named) == len(set(named)) > 30
    assert all((files.ROOT / "eplib" / f"{module}.py").exists() for module in named)

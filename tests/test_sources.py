"""Which stored files a notebook's cells are said to come from."""

import json
import re

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from eplib import checkpoints, files, measurements, published, source_tables, sources


@pytest.fixture
def kept(out, smoke):
    """{name: path of a stored result} of the smoke CNN and EP-CNN, the networks beside them."""
    folder = out / "checkpoints" / "smoke"
    for model, c in smoke.items():
        checkpoints.save(folder, c.net, model, "sample", "smoke", 0, c.record["training"])
    return {
        model: measurements.measure_and_keep(smoke[model], "clean", 5, progress=False)[1] for model in smoke
    }


@pytest.fixture
def shell(monkeypatch):
    """A notebook that runs cells and gives what each has displayed, as HTML."""
    shell = InteractiveShell.instance()
    monkeypatch.setattr(sources, "_page", None)
    monkeypatch.setattr(files, "noted", None)

    def run(code):
        with capture_output() as captured:
            outcome = shell.run_cell(code, store_history=True)
        run.error = outcome.error_in_exec
        return "".join(o.data.get("text/html", "") for o in captured.outputs)

    run("from eplib import chapters, published, results, sources")
    yield run
    InteractiveShell.clear_instance()


def named(shown):
    """The files that a cell's list names, by their anchors."""
    assert shown.count("<details") <= 1
    return re.findall(r'href="#([^"]+)"', shown)


def anchor(path, kind="results"):
    below = path.relative_to(next(p for p in path.parents if p.name == kind))
    return f"{kind}-{'-'.join(below.parts)}"


def test_a_cell_is_given_what_it_read_and_what_its_names_were_made_from(shell, kept):
    both = {model: anchor(path) for model, path in kept.items()}
    shell("sources.follow()")
    assert shell(f"found = {{m: results.load(p) for m, p in {_paths(kept)}.items()}}") == ""
    assert named(shell("len(found)")) == list(both.values())
    assert named(shell('found["cnn"].table.value[0]')) == [both["cnn"]]
    assert named(shell('n = 3\nbest = found["ep-cnn"].correct.mean()\nn')) == []
    assert named(shell("best + n")) == [both["ep-cnn"]]
    assert named(shell("[len(m) for m in found]")) == []  # the keys alone
    assert named(shell("[r.record for r in found.values()]")) == list(both.values())
    assert named(shell('m = "cnn"\nfor m in (1, 2):\n    pass\ndisplay(best)\nm')) == [both["ep-cnn"]]
    assert named(shell("kept = [found['cnn']]\nkept[0].n if False else 1")) == [both["cnn"]]
    assert named(shell("best = 0\nbest")) == []  # given another value


def _paths(kept):
    return repr({model: str(path) for model, path in kept.items()})


def test_cells_that_show_nothing_or_fail_say_nothing(shell, kept):
    shell("sources.follow()")
    path = str(kept["cnn"])
    assert shell(f"r = results.load({path!r})") == ""
    assert shell(f"1 / 0\nresults.load({path!r})") == "" and isinstance(shell.error, ZeroDivisionError)
    assert shell("def broken(:") == ""
    assert shell("%who_ls int\n") == ""
    assert named(shell("r.table.value[0]")) == [anchor(kept["cnn"])]


def test_the_paper_and_networks_are_sources_and_a_choice_is_none(shell, kept, out):
    shell("sources.follow()")
    assert named(shell('published.table("pgd").shape')) == ["published-results.csv"]
    weights = out / "checkpoints" / "smoke" / "cnn-sample-s0.safetensors"
    shell(f"from eplib import checkpoints\nc = checkpoints.load({str(weights)!r})")
    record = anchor(weights.with_suffix(".json"), "checkpoints")
    assert named(shell("c.name")) == [record]
    shell(f"pair = c, results.load({str(kept['cnn'])!r})")
    assert named(shell("pair")) == [anchor(kept["cnn"])]  # its network stands in its line
    shell(f"results.load({str(kept['cnn'])!r})\nshown = chapters.Shown('smoke', 'sample', (0,))")
    assert named(shell("shown.seeds")) == []


def test_every_file_is_listed_with_hash_and_command(shell, kept, smoke):
    shell("sources.follow()")
    shell(f"found = [results.load(p) for p in {_paths(kept)}.values()]")
    shown = shell("found[0].n if False else published.table('pgd').shape, found")
    listed = shell("display(sources.everything())")
    ids = re.findall(r'<tr id="([^"]+)"', listed)
    assert sorted(named(shown)) == sorted(ids) and len(ids) == len(set(ids)) == 3
    for model, path in kept.items():
        line = next(l for l in listed.split("<tr")[1:] if f'id="{anchor(path)}"' in l)
        settings = json.loads(path.read_text())["settings"]
        assert smoke[model].sha256[: source_tables.HASH] in line
        command = f"measure --checkpoint data/checkpoints/smoke/{settings['checkpoint']}.safetensors"
        assert f"python -m eplib {command} --measurement clean" in line
        assert "<a" not in line  # not in the project's own data folder: no link that leads nowhere


def test_links_lead_to_the_files_from_a_page_and_from_a_notebook():
    folder = files.ROOT / "data" / "results"
    path = next(p for p in sorted(folder.rglob("*.json")))
    listed = source_tables.table({("results", path.relative_to(folder).as_posix()): path})
    links = re.findall(r'href="([^"]+)"', listed)
    assert len(links) == 3  # record, table, weights of the network
    for link in links:
        assert (files.ROOT / "book" / link).resolve().is_file()


def test_a_name_with_dots_and_dashes_is_read_back():
    named = sources.of_result("quick/sample/pgd-l2/cnn-at-l2-0.5-s11-0123456789.json")
    assert named == ("quick", "sample", "pgd-l2", "cnn-at-l2-0.5", 11)


def test_the_top_of_a_notebook_shows_its_parameters_and_what_runs_it(shell):
    shell('scale = "best"  # a comment\nseeds = "all"\ncomputed = len("ab")')
    shell("# Parameters\nseeds = [0, 1]")
    top = shell("display(sources.follow())")
    assert "scale = &quot;best&quot;, seeds = [0, 1]" in top and "computed" not in top
    made = files.provenance("cpu")
    assert made["git"][: source_tables.HASH] in top and f"torch {made['versions']['torch']}" in top


def test_outside_a_notebook_nothing_is_followed(monkeypatch):
    monkeypatch.setattr(sources, "_shell", lambda: None)
    monkeypatch.setattr(sources, "_page", None)
    assert "This run" in sources.follow() and files.noted is None
    assert "(0)" in sources.everything()
    published.table("pgd")
    assert files.noted is None


def test_following_twice_begins_anew(shell, kept):
    shell("sources.follow()")
    shell(f"r = results.load({str(kept['cnn'])!r})")
    shell("sources.follow()")
    assert "(0)" in shell("display(sources.everything())")
    assert named(shell(f"len(results.load({str(kept['cnn'])!r}).settings)")) == [anchor(kept["cnn"])]

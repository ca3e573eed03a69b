"""How long chapters take, and the page that says so."""

import json
import os

import pytest
from drawings import axes_only, is_valid_svg_of_the_same_bytes_that_loads_nothing

from eplib import book, chapter_costs, files, rerun_page

MACHINE = {"device": "AMD EPYC", "threads": 1, "torch": "2.15.0"}
TIMES = {
    "white-box": dict(title="White box", stored=20.0, smoke=30.0, training=3000, measuring=600),
    "masking": dict(title="Is it <masking>?", stored=50.0, smoke=45.0, training=9000, measuring=900),
    "cost": dict(smoke=12.0),  # not executed by make book yet
}


def report(**changed):
    return {"chapters": {k: v | changed.get(k, {}) for k, v in TIMES.items()}, **MACHINE}


def test_the_answer_names_the_middle_and_the_slowest():
    said = rerun_page.answer(report())
    assert "Each of 3 chapters" in said
    assert "shows stored results in 35 s (the slowest, “Is it <masking>?”, 50 s)" in said
    assert "at smoke scale in 30 s (the slowest, “Is it <masking>?”, 45 s) (AMD EPYC, 1 thread" in said


@pytest.mark.parametrize(
    "changed, word, said",
    [
        ({}, "supported", "all 5 do; the longest is “Is it <masking>?” from stored results, 50 s"),
        ({"masking": {"stored": 60.0}}, "supported", "all 5 do"),
        (
            {"cost": {"smoke": 61.0}},
            "contradicted",
            "1 of 5 take longer; the longest is “cost” at smoke scale",
        ),
        ({"white-box": {"stored": 600.0}}, "contradicted", "“White box” from stored results, 10 min"),
    ],
)
def test_the_verdict_follows_the_times(changed, word, said):
    found = rerun_page.quick_enough(report(**changed))
    assert (found.networks, found.method) == (word, "undecided")
    assert found.sentence.startswith(f"For this machine: {word}.") and said in found.sentence


@pytest.mark.parametrize(
    "seconds, words",
    [
        (None, "–"),
        (0.4, "0 s"),
        (89, "89 s"),
        (90, "2 min"),
        (5399, "90 min"),
        (5400, "1.5 h"),
        (36_000, "10.0 h"),
    ],
)
def test_seconds_are_said_in_a_unit_that_fits(seconds, words):
    assert rerun_page.seconds_in_words(seconds) == words


def test_the_figure_marks_every_known_time():
    picture = rerun_page.figure("fig-rerun", report())
    is_valid_svg_of_the_same_bytes_that_loads_nothing(([picture] * 2, "fig-rerun"))
    assert "White box 20 s from stored results, 30 s at smoke scale, 60 min everything" in picture.alt
    assert "cost 12 s at smoke scale" in picture.alt and "How to read it" in picture.caption


def test_points_stand_in_the_line_of_their_chapter(monkeypatch):
    monkeypatch.setattr(rerun_page, "draw", axes_only)
    (ax,) = rerun_page.figure("fig-rerun", report())
    names = [t.get_text() for t in ax.get_yticklabels()]
    marks = {l.get_label(): dict(zip(l.get_ydata(), l.get_xdata(), strict=True)) for l in ax.get_lines()}
    assert names == ["cost", "Is it <masking>?", "White box"]
    assert marks["at smoke scale"] == {0: 12.0, 1: 45.0, 2: 30.0}
    assert marks["from stored results"] == {1: 50.0, 2: 20.0}
    assert marks["everything behind it anew"] == {1: 9900, 2: 3600}


def test_the_table_has_a_command_for_every_chapter():
    table = rerun_page.table(report())
    for slug in TIMES:
        assert f"papermill book/{slug}.ipynb" in table and f'href="{slug}.html"' in table
    assert "Is it &lt;masking&gt;?" in table and "2.8 h" in table and "<td>–</td>" in table


def test_the_campaign_is_counted_at_every_scale(monkeypatch):
    counts = {
        s: dict(done=i, pieces=10_000, core_hours_left=2.4 + i)
        for i, s in enumerate(("quick", "cpu", "paper"))
    }
    monkeypatch.setattr(rerun_page.campaign, "table", counts.get)
    table = rerun_page.campaign_table()
    assert "<th>cpu</th><td>1 of 10,000</td><td>3</td>" in table


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with one network of two results, and the path of a chapter that names all three."""
    monkeypatch.setattr(files, "ROOT", tmp_path)
    network, folder = "data/checkpoints/quick/cnn-sample-s11.json", "data/results/quick/sample/clean"
    files.write_json(tmp_path / network, {"training": {"seconds": 100.0}})
    for name, seconds in (("a", 3.0), ("b", 4.5)):
        settings = {"scale": "quick", "checkpoint": "cnn-sample-s11"}
        files.write_json(tmp_path / folder / f"{name}.json", {"settings": settings, "seconds": seconds})
    links = "".join(
        f'<a href="../{p}">x</a>' for p in (f"{folder}/a.json", f"{folder}/b.json", f"{folder}/b.json")
    )
    cells = [
        {"cell_type": "markdown", "source": ["# A title\n", "\n", "Words."]},
        {"cell_type": "code", "source": ["1"], "outputs": [{"data": {"text/html": [links]}}]},
    ]
    path = tmp_path / "book" / "a.ipynb"
    files.write(path, json.dumps({"cells": cells, "metadata": {"papermill": {"duration": 12.34}}}))
    return path


def test_what_is_behind_a_chapter_is_counted_once_with_its_networks(project):
    found = chapter_costs.executed(project)
    assert found == {"title": "A title", "stored": 12.3, "training": 100, "measuring": 8}
    assert chapter_costs.executed(project.with_name("b.ipynb")) == {}


def test_results_of_a_network_that_is_not_kept_count_without_it(project):
    (files.ROOT / "data" / "checkpoints" / "quick" / "cnn-sample-s11.json").unlink()
    assert chapter_costs.executed(project) == {
        "title": "A title",
        "stored": 12.3,
        "training": 0,
        "measuring": 8,
    }


def test_the_report_runs_every_chapter_at_smoke_into_one_folder_and_cleans_up(project, monkeypatch):
    asked = []

    def execute(slug, out, parameters, progress):
        asked.append((slug, parameters, os.environ["EPLIB_OUT"]))

    monkeypatch.setattr(book, "execute", execute)
    monkeypatch.setenv("EPLIB_OUT", "before")
    found = chapter_costs.report(["a", "b"], project.parent)
    assert [a[:2] for a in asked] == [("a", {"scale": "smoke"}), ("b", {"scale": "smoke"})]
    assert len({a[2] for a in asked}) == 1 and asked[0][2] != "before"
    assert os.environ["EPLIB_OUT"] == "before"
    assert found["chapters"]["a"]["title"] == "A title" and set(found["chapters"]["b"]) == {"smoke"}

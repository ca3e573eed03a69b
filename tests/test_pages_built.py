"""What a build refuses: broken links, silent images, chapters that were not run, pages that are too large."""

import json

import pytest

from eplib import book, files, pages

GOOD = '<h1 id="top">A</h1><a href="#top">up</a><a href="b.html#there">b</a><img src="x.png" alt="a cat">'


@pytest.fixture
def site(tmp_path):
    """(folder of pages, folder of chapters), with nothing wrong."""
    html, chapters = tmp_path / "html", tmp_path / "src"
    files.write(html / "book" / "a.html", GOOD)
    files.write(
        html / "book" / "b.html", '<p id="there"><a href="../data/n%C3%A9.json">n</a><a href="../">home</a>'
    )
    files.write(
        html / "index.html", '<a href="https://example.org/x">x</a><a href="book/a.html#curves?norm=l2">a</a>'
    )
    files.write(html / "book" / "x.png", b"png")
    files.write(html / "data" / "né.json", "{}")
    files.write(html / "_static" / "template.html", '<link href="{{ path }}">')  # the theme's, no page
    write(chapters / "a.ipynb", ("1 + 1", 1, []))
    return html, chapters


def write(path, *cells):
    made = [dict(cell_type="code", source=[s], execution_count=n, outputs=o) for s, n, o in cells]
    files.write(path, json.dumps({"cells": [*made, dict(cell_type="markdown", source=["words"])]}))


def test_a_good_book_has_no_problem(site):
    assert pages.problems(*site) == []


@pytest.mark.parametrize(
    "more, said",
    [
        ('<a href="c.html">c</a>', "links to c.html"),
        ('<a href="b.html#nowhere">b</a>', "links to b.html#nowhere"),
        ('<a href="#nowhere">here</a>', "links to #nowhere"),
        ('<a href="/book/b.html">absolute, which no sub-path has</a>', "links to /book/b.html"),
        ('<script src="gone.js"></script>', "links to gone.js"),
        ('<link rel="stylesheet" href="gone.css">', "links to gone.css"),
        ('<img src="x.png">', "image without alternative text: x.png"),
        ('<img src="gone.png" alt="">', "links to gone.png"),
        (" " * 6_000_001, "6.0 MB, more than 6"),
    ],
)
def test_what_is_wrong_with_a_page_is_named(site, more, said):
    files.write(site[0] / "book" / "a.html", GOOD + more)
    (problem,) = pages.problems(*site)
    assert problem.startswith("book/a.html") and said in problem


def test_chapters_that_were_not_run_or_failed_are_named(site):
    write(site[1] / "a.ipynb", ("1", 1, []), ("2", None, []), (" ", None, []))
    write(site[1] / "b.ipynb", ("1", 1, [{"output_type": "error", "ename": "ValueError"}]))
    assert pages.problems(*site) == [
        "a.ipynb: code cell 1 was not executed",
        "b.ipynb: code cell 0 failed",
    ]


def test_a_build_with_a_problem_fails_and_says_which(site, tmp_path, monkeypatch):
    html = tmp_path / "_build" / "html"
    files.write(html / "index.html", '<a href="gone.html">x</a>')
    monkeypatch.setattr(files, "ROOT", tmp_path)
    with pytest.raises(RuntimeError, match="index.html links to gone.html, which is not there"):
        book.checked(html / "index.html", site[1])
    files.write(html / "index.html", "<p>")
    assert book.checked(html / "index.html", site[1]) == html / "index.html"

"""The built pages in a real browser, with every request that leaves the machine blocked and counted."""

import functools
import http.server
import io
import re
import threading
from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image

from eplib import book, files, published

WORDS = sorted(path.stem for path in book.CHAPTERS.glob("*.md"))  # pages without code
PAGES = ["index.html", *(f"book/{slug}.html" for slug in (*book.slugs(), *WORDS))]
HTML = files.ROOT / "_build" / "html"
CITATIONS = ("book/references.html", "aria-required-children")  # links between the entries of Sphinx's list


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Address of the built book, served from this machine below a folder, as hosts of projects do."""
    if not (HTML / "index.html").exists():
        pytest.skip("the book is not built: run make book first")
    root = tmp_path_factory.mktemp("host")
    (root / "of-someone").mkdir()
    (root / "of-someone" / "book").symlink_to(HTML)
    handler = functools.partial(QuietHandler, directory=str(root))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/of-someone/book/"
    server.shutdown()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def visit(browser, site, page, width=1200):
    tab = browser.new_page(viewport={"width": width, "height": 900})
    left, problems = [], []

    def route(request):
        local = request.request.url.startswith((site, "data:", "blob:"))
        if not local:
            left.append(request.request.url)
        return request.continue_() if local else request.abort()

    tab.route("**/*", route)
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
    tab.on("response", lambda response: problems.append(response.url) if response.status >= 400 else None)
    tab.goto(site + page, wait_until="load")
    tab.wait_for_timeout(800)
    return tab, left, problems


@pytest.fixture(scope="module", params=PAGES)
def page(request, browser, site):
    """A page, opened once for all tests of it: (its address in the book, its tab, requests that left the
    machine, problems).
    """
    tab, left, problems = visit(browser, site, request.param)
    yield request.param, tab, left, problems
    tab.close()


def in_theme(tab, theme, lists=False):
    """Show a page light or dark, with everything open that is folded; the long lists of files, which are all
    alike, only with `lists`.
    """
    tab.evaluate(
        """([theme, folded]) => {
          document.documentElement.dataset.theme = document.documentElement.dataset.mode = theme;
          document.querySelectorAll(folded).forEach((d) => (d.open = true));
        }""",
        [theme, "details" if lists else "details:not(.eplib-everything, .eplib-sources)"],
    )
    tab.wait_for_timeout(200)


def test_page_loads_nothing_from_outside_and_breaks_nowhere(page):
    _, tab, left, problems = page
    assert left == [] and problems == []
    assert tab.title()


def test_every_figure_is_drawn_with_number_caption_and_alternative_text(page):
    name, tab, _, _ = page
    if Path(name).stem not in book.slugs():
        pytest.skip("a page of words")
    in_theme(tab, "light")
    figures = tab.locator("figure.eplib")
    assert figures.count() >= 1
    numbers = []
    for i in range(figures.count()):
        images = figures.nth(i).locator("img").all()  # several where the reader chooses one
        assert images
        for image in images:
            assert image.evaluate("e => e.naturalWidth") > 100
            assert len(image.get_attribute("alt")) > 40
        caption = figures.nth(i).locator("figcaption").inner_text()
        assert "How to read it" in caption
        numbers.append(re.match(r"Figure (\d+)\.(\d+)\. How", caption).groups())
    assert {chapter for chapter, _ in numbers} == {str(book.slugs().index(Path(name).stem) + 1)}
    assert [int(place) for _, place in numbers] == list(range(1, len(numbers) + 1))
    if "says nothing about ours" in tab.locator("article").inner_text():  # no network to judge yet
        assert tab.locator(".eplib-badge, .eplib-verdict").count() == 0
    else:
        assert tab.locator(".eplib-badge").count() >= 1
        assert tab.locator(".eplib-verdict, .eplib-claims").count() >= 1  # boxes, or the table of all


def test_every_chapter_says_where_its_numbers_come_from(page):
    name, tab, _, _ = page
    if Path(name).stem not in book.slugs():
        pytest.skip("a page of words")
    assert tab.locator(".eplib-run").count() == 1 and "revision" in tab.locator(".eplib-run").inner_text()
    listed = set(tab.locator(".eplib-everything tr[id]").evaluate_all("rows => rows.map((r) => r.id)"))
    jumps = tab.locator(".eplib-sources a").evaluate_all("links => links.map((a) => a.hash.slice(1))")
    assert listed == set(jumps) and listed
    files_of = tab.locator(".eplib-everything tr[id] th a").evaluate_all("links => links.map((a) => a.href)")
    assert len(files_of) >= len(listed)
    opened = tab.request.get(files_of[0])
    assert opened.ok and len(opened.body()) > 100


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_page_shuts_anybody_out(page, theme):
    """No serious finding of axe-core, but one of the bibliography's own mark-up."""
    name, tab, _, _ = page
    in_theme(tab, theme, lists=name == "book/learning.html")
    what = {} if theme == "light" else {"runOnly": ["color-contrast"]}  # all else is the same
    found = Axe().run(tab, options={"resultTypes": ["violations"], **what}).response["violations"]
    serious = [
        (v["id"], [node["html"][:200] for node in v["nodes"][:3]])
        for v in found
        if v["impact"] in ("serious", "critical") and (name, v["id"]) != CITATIONS
    ]
    assert serious == []


def test_figures_are_dark_where_the_page_is(page):
    name, tab, _, _ = page
    if name != "book/white-box.html":
        pytest.skip("one page stands for all")
    shades = []
    for theme in ("light", "dark"):
        in_theme(tab, theme)
        picture = tab.locator("figure.eplib img:visible").first.screenshot()
        shades.append(np.asarray(Image.open(io.BytesIO(picture)).convert("L")))
    paper = [np.median(shade) for shade in shades]
    assert paper[0] == 255 and paper[1] < 30
    assert (shades[1] > 150).mean() > 0.005  # words and lines


def test_page_fits_a_phone(page):
    _, tab, _, _ = page
    tab.set_viewport_size({"width": 390, "height": 900})
    tab.wait_for_timeout(200)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 400
    tab.set_viewport_size({"width": 1200, "height": 900})


def test_formulas_are_typeset_without_a_network(browser, site):
    tab, _, _ = visit(browser, site, "book/intro.html")
    assert tab.locator("mjx-container").count() >= 4
    tab.close()


def test_a_reference_to_a_figure_leads_to_it(browser, site):
    tab, _, _ = visit(browser, site, "book/intro.html")
    link = tab.locator("article a[href*='white-box.html#fig-white-linf']").first
    number = link.inner_text()
    link.click()
    tab.wait_for_load_state()
    assert tab.locator("#fig-white-linf figcaption").inner_text().startswith(f"{number}. How to read it")
    tab.close()


def test_every_published_figure_is_where_the_table_says(browser, site):
    tab, _, _ = visit(browser, site, "book/claims.html")
    table = tab.locator(".eplib-table", has_text="redrawn in")
    links = table.locator("a").evaluate_all("links => links.map((a) => a.getAttribute('href'))")
    assert links == [f"{f.chapter}.html#{f.label}" for f in published.figures().itertuples()]
    tab.close()  # that each leads to a figure, the build has checked


EXPLORERS = {  # kind: (page, what has the focus, keys that each show something else)
    "attack": ("first-attack", "input[type=range]", ("Home", "ArrowRight", "End")),
    "settling": ("equilibrium", "input[type=range]", ("Home", "ArrowRight", "End")),
    "horizons": ("masking", "td[tabindex='0']", ("Home", "End", "ArrowUp")),
    "corruption": ("corruptions", "input[type=range]", ("Home", "ArrowRight", "End")),
    "gallery": ("semantics", "input[type=range]", ("Home", "ArrowRight", "End")),
    "game": ("semantics", ".pair", ("ArrowLeft",)),
    "curves": ("robustness-curves", ".plot", ("End", "Home", "ArrowDown")),
    "boundary": ("boundary", "canvas", ("ArrowUp", "Shift+ArrowRight", "ArrowLeft")),
}


@pytest.mark.parametrize("kind", EXPLORERS)
def test_an_explorer_of_the_book_follows_keys_and_keeps_its_state_in_the_address(browser, site, kind):
    page, focused, keys = EXPLORERS[kind]
    tab, _, problems = visit(browser, site, f"book/{page}.html")
    explorer = tab.locator(f"[data-explorer={kind}]")
    said, reset = explorer.locator("[aria-live]").first, explorer.get_by_role("button", name="reset")
    first = said.inner_text()
    explorer.locator(focused).first.focus()
    told = []
    for key in keys:
        tab.keyboard.press(key)
        told.append(said.inner_text())
    assert len(set(told)) == len(keys)
    if kind != "curves":  # whose address keeps what is drawn, not the point that is told
        if told[-1] == first:
            tab.keyboard.press(keys[0])  # away from the start, which the address does not name
            told.append(said.inner_text())
        tab.wait_for_timeout(450)  # the address follows after a pause
        address = tab.url
        assert f"#{kind}?" in address
        tab.goto("about:blank")
        tab.goto(address)
        assert said.inner_text() == told[-1]
    reset.click()
    tab.wait_for_function("!location.hash")
    assert said.inner_text() == first or kind == "curves"
    assert problems == []
    tab.close()

"""The built pages in a real browser, with every request that leaves the machine blocked and counted."""

import functools
import http.server
import threading

import pytest

from eplib import book, files

WORDS = sorted(path.stem for path in book.CHAPTERS.glob("*.md"))  # pages without code
PAGES = ["index.html", *(f"book/{slug}.html" for slug in (*book.slugs(), *WORDS))]
HTML = files.ROOT / "_build" / "html"


@pytest.fixture(scope="module")
def site():
    """Address of the built book, served from this machine."""
    if not (HTML / "index.html").exists():
        pytest.skip("the book is not built: run make book first")
    handler = functools.partial(QuietHandler, directory=str(HTML))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
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


@pytest.mark.parametrize("page", PAGES)
def test_page_loads_nothing_from_outside_and_breaks_nowhere(browser, site, page):
    tab, left, problems = visit(browser, site, page)
    assert left == [] and problems == []
    assert tab.title()
    tab.close()


@pytest.mark.parametrize("slug", book.slugs())
def test_every_figure_is_drawn_with_caption_and_alternative_text(browser, site, slug):
    tab, _, _ = visit(browser, site, f"book/{slug}.html")
    tab.evaluate("document.querySelectorAll('details').forEach((d) => (d.open = true))")  # folded questions
    figures = tab.locator("figure.eplib")
    assert figures.count() >= 1
    for i in range(figures.count()):
        images = figures.nth(i).locator("img").all()  # several where the reader chooses one
        assert images
        for image in images:
            assert image.evaluate("e => e.naturalWidth") > 100
            assert len(image.get_attribute("alt")) > 40
        assert "How to read it" in figures.nth(i).locator("figcaption").inner_text()
    if "says nothing about ours" in tab.locator("article").inner_text():  # no network to judge yet
        assert tab.locator(".eplib-badge, .eplib-verdict").count() == 0
    else:
        assert tab.locator(".eplib-badge").count() >= 1
        assert tab.locator(".eplib-verdict, .eplib-claims").count() >= 1  # boxes, or the table of all
    tab.close()


def test_formulas_are_typeset_without_a_network(browser, site):
    tab, _, _ = visit(browser, site, "book/intro.html")
    assert tab.locator("mjx-container").count() >= 4
    tab.close()


@pytest.mark.parametrize("slug", book.slugs())
def test_page_fits_a_phone(browser, site, slug):
    tab, _, _ = visit(browser, site, f"book/{slug}.html", width=390)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 400
    tab.close()


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
        tab.wait_for_function("k => location.hash.startsWith(`#${k}?`)", arg=kind)
        address = tab.url
        tab.goto("about:blank")
        tab.goto(address)
        assert said.inner_text() == told[-1]
    reset.click()
    tab.wait_for_function("!location.hash")
    assert said.inner_text() == first or kind == "curves"
    assert problems == []
    tab.close()

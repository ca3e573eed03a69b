"""The built pages in a real browser, with every request that leaves the machine blocked and counted."""

import functools
import http.server
import shutil
import threading

import pytest

from eplib import book, files

PAGES = ["index.html", *(f"book/{slug}.html" for slug in book.slugs())]
HTML = files.ROOT / "_build" / "html"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


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


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: install the package chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"],
        )
        yield browser
        browser.close()


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
    figures = tab.locator("figure.eplib")
    assert figures.count() >= 1
    for i in range(figures.count()):
        image = figures.nth(i).locator("img")
        assert image.evaluate("e => e.naturalWidth") > 100
        assert len(image.get_attribute("alt")) > 40
        assert "How to read it" in figures.nth(i).locator("figcaption").inner_text()
    assert tab.locator(".eplib-badge").count() >= 1 and tab.locator(".eplib-verdict").count() >= 1
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


def test_the_explorer_follows_its_slider_from_the_keyboard(browser, site):
    tab, _, problems = visit(browser, site, "book/first-attack.html")
    explorer = tab.locator(".eplib-explorer")

    def seen():
        pixels = "c => c.toDataURL()"
        return [explorer.locator("canvas").nth(i).evaluate(pixels) for i in range(2)], explorer.locator(
            "output"
        ).all_inner_texts()

    before = seen()
    explorer.locator("input[type=range]").first.focus()
    for _ in range(6):
        tab.keyboard.press("ArrowRight")
    after = seen()
    assert before[0][0] != after[0][0] and before[0][1] != after[0][1] and before[1][0] != after[1][0]
    assert problems == []
    tab.close()

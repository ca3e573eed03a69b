"""The built pages in a real browser, with every request that leaves the machine blocked and counted."""

import base64
import functools
import http.server
import io
import re
import threading

import numpy as np
import pytest
from PIL import Image

from eplib import book, data, explorers, files

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


def test_the_explorer_follows_its_slider_from_the_keyboard(browser, site):
    tab, _, problems = visit(browser, site, "book/first-attack.html")
    explorer = tab.locator("[data-explorer=attack]")

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


@pytest.fixture(scope="module")
def settling(smoke, tmp_path_factory):
    """(folder of a page with the same explorer twice, what it shows): a small network and three images."""
    net, test = smoke["ep-cnn"].net, data.load("sample", "test")
    given = (net, data.as_float(test.images[:3]), test.labels[:3], test.classes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EPLIB_STATIC", "1")
        figure = explorers.settling(*given)
    folder = tmp_path_factory.mktemp("page")
    head = '<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    (folder / "settling.html").write_text(f"{head}<title>settling</title>{figure}{figure}")
    return f"{folder.as_uri()}/", explorers.settling_data(*given, 0.5, 250, range(3))


def open_settling(browser, settling, width=1200):
    """The page's tab, its first explorer, its slider, and the two lists of what went wrong."""
    tab, left, problems = visit(browser, settling[0], "settling.html", width)
    explorer = tab.locator("[data-explorer=settling]").first
    return tab, explorer, explorer.locator("input[type=range]"), left + problems


def said(explorer):
    """What the explorer's line says: (step, of, order, class, per cent, truth, residual, energy)."""
    line = explorer.locator("[aria-live]").inner_text()
    told = r"step (\d+) of (\d+), (\S+) order, .*: says (\S+) \((\d+) %\), truth (\S+),"
    found = re.fullmatch(told + " residual (.*), energy (.*)", line)
    step, of, order, answer, chance, truth, residual, energy = found.groups()
    digits = residual.translate(str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")).replace(" × 10", "e")
    residual = float(re.sub("^10(?=-)", "1e", digits))
    return int(step), int(of), order, answer, int(chance), truth, residual, float(energy.replace("−", "-"))


def expected(shown, image, order, phase, frame):
    """The same, from the data."""
    entry = shown["images"][image]
    run, steps = entry["runs"][order][phase], shown["phases"][phase]["steps"]
    step, chances = steps[frame], run["probabilities"][frame]
    return (
        step,
        steps[-1],
        shown["orders"][order][min(phase, 1)],
        shown["classes"][int(np.argmax(chances))],
        pytest.approx(100 * max(chances), abs=0.5),
        shown["classes"][entry["truth"]],
        pytest.approx(run["residual"][step], rel=0.051),
        pytest.approx(run["energy"][step], abs=0.051),
    )


def maps(explorer, layer, shape):
    """The states that a layer's canvas shows, uint8 [C, H, W]: the middle of every unit's square."""
    canvas = explorer.locator(".layers canvas").nth(layer)
    png = canvas.evaluate("c => c.toDataURL()").split(",")[1]
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB"))[..., 0]
    channels, height, width = shape
    columns = int(np.ceil(np.sqrt(channels)))
    scale = 320 // (columns * width)
    tops = [2 + c // columns * (height * scale + 4) for c in range(channels)]
    lefts = [2 + c % columns * (width * scale + 4) for c in range(channels)]
    return np.stack(
        [
            pixels[t : t + height * scale, l : l + width * scale][scale // 2 :: scale, scale // 2 :: scale]
            for t, l in zip(tops, lefts, strict=True)
        ]
    )


def test_settling_tells_and_draws_what_the_data_hold(browser, settling):
    tab, explorer, slider, problems = open_settling(browser, settling)
    shown = settling[1]
    assert said(explorer) == expected(shown, 0, 1, 0, -1)
    slider.focus()
    tab.keyboard.press("Home")
    for frame in range(3):
        assert said(explorer) == expected(shown, 0, 1, 0, frame)
        tab.keyboard.press("ArrowRight")
    slider.fill("24")
    assert said(explorer) == expected(shown, 0, 1, 0, 24) and said(explorer)[0] == 60
    assert (
        slider.get_attribute("aria-valuetext") == explorer.locator("output").inner_text() == "step 60 of 250"
    )
    row = shown["images"][0]["runs"][1][0]["first"] + 24
    for layer, (channels, height, width) in enumerate(shown["shapes"]):
        png = base64.b64decode(shown["images"][0]["layers"][layer].split(",")[1])
        sheet = np.asarray(Image.open(io.BytesIO(png)))[row * height : (row + 1) * height]
        states = sheet.reshape(height, channels, width).transpose(1, 0, 2)
        assert np.array_equal(maps(explorer, layer, shown["shapes"][layer]), states)
    assert problems == []
    tab.close()


def test_settling_changes_with_order_phase_image_and_curve(browser, settling):
    tab, explorer, slider, problems = open_settling(browser, settling)
    shown = settling[1]
    explorer.get_by_label("synchronous").check()
    assert said(explorer) == expected(shown, 0, 0, 0, -1)
    explorer.get_by_label("+β").check()
    assert said(explorer) == expected(shown, 0, 0, 1, 0)
    slider.fill("7")
    explorer.get_by_label("−β").check()
    assert said(explorer) == expected(shown, 0, 0, 2, 7)
    explorer.get_by_label("forward").check()
    assert said(explorer) == expected(shown, 0, 1, 2, 7)
    explorer.get_by_label("free").check()
    assert said(explorer) == expected(shown, 0, 1, 0, -1)
    explorer.locator("select").select_option("2")
    assert said(explorer) == expected(shown, 2, 1, 0, -1)
    explorer.locator("svg").nth(1).click(position={"x": 2, "y": 40})
    assert said(explorer) == expected(shown, 2, 1, 0, 0)
    second = tab.locator("[data-explorer=settling]").nth(1)  # the same figure, moved by nothing of this
    assert said(second) == expected(shown, 0, 1, 0, -1)
    assert problems == []
    tab.close()


def test_settling_plays_only_when_asked_and_until_the_end(browser, settling):
    tab, explorer, slider, problems = open_settling(browser, settling)
    button = explorer.get_by_role("button")
    before = said(explorer)
    tab.wait_for_timeout(800)
    assert said(explorer) == before and button.inner_text() == "▶ play"
    button.click()
    tab.wait_for_timeout(900)
    assert button.inner_text() == "❚❚ pause" and 1 <= said(explorer)[0] <= 6
    button.click()
    paused = said(explorer)
    tab.wait_for_timeout(500)
    assert said(explorer) == paused and explorer.locator("p").get_attribute("aria-live") == "polite"
    slider.fill("27")
    button.click()
    tab.wait_for_timeout(900)
    assert said(explorer)[0] == 250 and button.inner_text() == "▶ play"
    assert problems == []
    tab.close()


def test_settling_fits_a_phone(browser, settling):
    tab, explorer, _, problems = open_settling(browser, settling, width=390)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    assert explorer.evaluate("e => e.getBoundingClientRect().right") <= 390
    assert problems == []
    tab.close()


LIVE = """async ([source, values]) => {
  const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  const hearers = {};
  window.saved = [];
  window.model = {
    get: (name) => values[name],
    set(name, value) { values[name] = value; (hearers[`change:${name}`] ?? []).forEach((f) => f()); },
    save_changes: () => window.saved.push({ ...values, data: null }),
    on: (event, f) => (hearers[event] ??= []).push(f),
    off: (event, f) => { hearers[event] = hearers[event].filter((g) => g !== f); },
  };
  const el = document.createElement("div");
  el.id = "live";
  document.body.prepend(el);
  window.end = (await import(url)).default.render({ model: window.model, el });
  window.left = () => Object.values(hearers).flat().length;
}"""


def test_the_live_host_asks_its_kernel_and_shows_what_comes(browser, settling, smoke):
    tab, _, _, problems = open_settling(browser, settling)
    net, test = smoke["ep-cnn"].net, data.load("sample", "test")
    given = (net, data.as_float(test.images[:3]), test.labels[:3], test.classes)
    first = explorers.settling_data(*given, 0.5, 250, [0])
    values = dict(data=first, image=0, beta=0.5, steps=250, caption="How", message="", busy=False)
    tab.evaluate(LIVE, [explorers.script("settling"), values])
    live = tab.locator("#live [data-explorer=settling]")
    assert said(live) == expected(first, 0, 1, 0, -1)
    live.locator("select").select_option("1")
    assert "computing…" in live.inner_text() and said(live) == expected(first, 0, 1, 0, -1)
    then = explorers.settling_data(*given, 0.5, 25, [1])
    tab.evaluate("d => { model.set('data', d); model.set('steps', 25); model.set('busy', false); }", then)
    assert "computing…" not in live.inner_text() and said(live) == expected(then, 1, 1, 0, -1)
    steps = live.get_by_label("free steps")
    steps.select_text()
    steps.press_sequentially("0")
    steps.press("Enter")
    tab.evaluate("model.set('steps', 25); model.set('message', 'give more.'); model.set('busy', false)")
    assert "give more." in live.inner_text() and steps.input_value() == "25"
    live.locator("input[type=range]").nth(0).fill("0.8")
    asked = [[s["image"], s["beta"], s["steps"], s["busy"]] for s in tab.evaluate("saved")]
    assert asked == [[1, 0.5, 250, True], [1, 0.5, 0, True], [1, 0.8, 25, True]]
    tab.evaluate("end()")
    assert tab.evaluate("left()") == 0 and problems == []
    tab.close()


def test_the_settling_explorer_of_the_book_follows_its_slider(browser, site):
    tab, _, problems = visit(browser, site, "book/equilibrium.html")
    explorer = tab.locator("[data-explorer=settling]")
    explorer.locator("input[type=range]").focus()
    seen = []
    for key in ("Home", "ArrowRight", "End"):
        tab.keyboard.press(key)
        canvases = explorer.locator(".layers canvas").all()
        seen.append((said(explorer)[:2], *[c.evaluate("c => c.toDataURL()") for c in canvases]))
    assert [line[0] for line in seen] == [(0, 250), (1, 250), (250, 250)]
    assert all(len(set(layer)) == 3 for layer in zip(*seen, strict=True))
    assert problems == []
    tab.close()


def test_the_horizons_explorer_of_the_book_follows_its_keys(browser, site):
    tab, _, problems = visit(browser, site, "book/masking.html")
    explorer = tab.locator("[data-explorer=horizons]")
    seen = []
    explorer.get_by_role("gridcell").first.click()
    for key in ("Home", "ArrowDown", "End"):
        tab.keyboard.press(key)
        attacked = explorer.locator(".images canvas").nth(1).evaluate("c => c.toDataURL()")
        seen.append((explorer.locator("[aria-live]").inner_text(), attacked))
    assert len({line for line, _ in seen}) == 3  # no attack, an attack, the same predicted later
    assert seen[0][1] != seen[1][1] == seen[2][1]
    assert problems == []
    tab.close()


def test_the_corruption_explorer_of_the_book_follows_its_controls(browser, site):
    tab, _, problems = visit(browser, site, "book/corruptions.html")
    explorer = tab.locator("[data-explorer=corruption]")
    canvases, seen = explorer.locator(".pictures canvas"), []
    explorer.locator(".images button").first.click()
    explorer.get_by_label("corruption").select_option("0")
    explorer.get_by_role("slider").focus()
    for key in ("Home", "ArrowRight", "End"):
        tab.keyboard.press(key)
        pixels = [canvas.evaluate("c => c.toDataURL()") for canvas in canvases.all()]
        seen.append((*pixels, explorer.locator("[aria-live]").inner_text()))
    assert seen[0][0] == seen[0][1]  # severity 0: the image as it is
    assert [len(set(of)) for of in zip(*seen, strict=True)] == [1, 3, 3]
    assert problems == []
    tab.close()


def test_the_curves_of_the_book_follow_keys_and_the_address(browser, site):
    tab, _, problems = visit(browser, site, "book/robustness-curves.html#curves?attacks=square&axis=linear")
    explorer = tab.locator("[data-explorer=curves]")
    said, plot = explorer.locator("[aria-live]"), explorer.get_by_role("application")
    assert explorer.get_by_role("checkbox", name="Square").is_checked()
    explorer.get_by_role("button", name="reset").click()
    assert tab.url.endswith("book/robustness-curves.html")
    plot.focus()
    told = []
    for key in ("Home", "End", "ArrowDown"):
        tab.keyboard.press(key)
        told.append(said.inner_text())
    assert len(set(told)) == 3 and all(" ε = " in line and "data/results/" in line for line in told)
    explorer.get_by_role("combobox", name="published").select_option("cifar10")
    assert "#curves?norm=l2" in tab.url and "published=cifar10" in tab.url
    assert problems == []
    tab.close()

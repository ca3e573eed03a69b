import base64
import io
import re

import numpy as np
import pytest
from explorer_tools import live as live_host
from explorer_tools import page
from PIL import Image
from test_pages import visit

from eplib import data, explorers


@pytest.fixture(scope="module")
def settling(smoke, tmp_path_factory):
    """(folder of a page with the same explorer twice, what it shows): a small network and three images."""
    net, test = smoke["ep-cnn"].net, data.load("sample", "test")
    given = (net, data.as_float(test.images[:3]), test.labels[:3], test.classes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EPLIB_STATIC", "1")
        figure = explorers.settling(*given)
    folder = page(tmp_path_factory.mktemp("page"), "settling", figure, figure)
    return folder, explorers.settling_data(*given, 0.5, 250, range(3))


def open_settling(browser, settling):
    """The page's tab, its first explorer, its slider, and the two lists of what went wrong."""
    tab, left, problems = visit(browser, settling[0], "settling.html")
    explorer = tab.locator("[data-explorer=settling]").first
    return tab, explorer, explorer.locator("input[type=range]"), left + problems


def said(explorer):
    """What the explorer's line says: (step, of, order, class, per cent, truth, residual, energy)."""
    line = explorer.locator("p.said").inner_text()
    told = r"step (\d+) of (\d+), (\S+) order, .*: says (\S+) \((\d+)\s%\), truth (\S+),"
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
    button = explorer.locator(".time button")
    before = said(explorer)
    tab.wait_for_timeout(800)
    assert said(explorer) == before and button.inner_text() == "▶ play"
    button.click()
    tab.wait_for_timeout(900)
    assert button.inner_text() == "❚❚ pause" and 1 <= said(explorer)[0] <= 6
    button.click()
    paused = said(explorer)
    tab.wait_for_timeout(500)
    assert said(explorer) == paused and explorer.locator("p.said").get_attribute("aria-live") == "polite"
    slider.fill("27")
    button.click()
    tab.wait_for_timeout(900)
    assert said(explorer)[0] == 250 and button.inner_text() == "▶ play"
    assert problems == []
    tab.close()


def test_the_live_host_asks_its_kernel_and_shows_what_comes(browser, settling, smoke):
    tab, _, _, problems = open_settling(browser, settling)
    net, test = smoke["ep-cnn"].net, data.load("sample", "test")
    given = (net, data.as_float(test.images[:3]), test.labels[:3], test.classes)
    first = explorers.settling_data(*given, 0.5, 250, [0])
    live = live_host(tab, "settling", first)
    assert said(live) == expected(first, 0, 1, 0, -1)
    live.locator("select").select_option("1")
    assert "computing…" in live.inner_text() and said(live) == expected(first, 0, 1, 0, -1)
    then = explorers.settling_data(*given, 0.5, 25, [1])
    tab.evaluate("c => { model.set('cell', c); model.set('busy', false); }", then)
    assert "computing…" not in live.inner_text() and said(live) == expected(then, 1, 1, 0, -1)
    steps = live.get_by_label("free steps")
    assert steps.input_value() == "25"
    steps.select_text()
    steps.press_sequentially("0")
    steps.press("Enter")
    tab.evaluate("model.set('message', 'give more.'); model.set('busy', false)")
    assert "give more." in live.inner_text() and steps.input_value() == "25"
    live.get_by_label("β", exact=True).fill("0.8")
    live.get_by_role("button", name="reset").click()
    asked = [s["wanted"] for s in tab.evaluate("saved")]
    wanted = ((1, 0.5, 250), (1, 0.5, 0), (1, 0.8, 25), (0, 0.5, 250))
    assert asked == [dict(zip(("image", "beta", "steps"), w, strict=True)) for w in wanted]
    assert said(live) == expected(then, 1, 1, 0, -1)  # until that is computed
    tab.evaluate("end()")
    assert tab.evaluate("left()") == 0 and problems == []
    tab.close()

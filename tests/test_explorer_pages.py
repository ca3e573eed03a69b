"""What all explorers have in common, in a real browser: every one reacts to keys and the mouse, keeps its
state in the address, goes back to its start, fits a phone and can be read; from small data of the same form.
"""

import base64
import io

import numpy as np
import pytest
import torch
from corrupted import falling, result
from explorer_tools import CONTRAST, follow, page
from matrices import result as matrix
from PIL import Image
from test_boundary_pages import planes
from test_curve_explorer import SHOWN, synthetic
from test_pages import visit

from eplib import (
    attack_explorer,
    boundary_explorer,
    corruption_explorer,
    curve_explorer,
    data,
    explorers,
    horizon_explorer,
    semantics_gallery,
    semantics_game,
)
from eplib.attacks import AttackedModel
from eplib.semantics_changes import Setting

RANDOM = np.random.default_rng(0)
FILLED = '<div style="height:60em"></div>'


def random_answers(count, classes=10):
    chances = RANDOM.uniform(0.2, 0.9, count).round(3)
    return [[int(c), float(p)] for c, p in zip(RANDOM.integers(0, classes, count), chances, strict=True)]


def random_sheet(count):
    return corruption_explorer.sheet(RANDOM.integers(0, 256, (count, 3, 32, 32)).astype(np.uint8))


def attack(nets, test):
    entries = attack_explorer.attacked(nets, test, [2, 5, 9], "linf", (8 / 255, 0.1), 2)
    return attack_explorer.page_data(nets, test, entries)


def settling(nets, test):
    x, y = data.as_float(test.images[:3]), test.labels[:3]
    return explorers.settling_data(nets["ep-cnn"].net, x, y, test.classes, 0.5, 30, range(3))


def horizons(nets, test):
    shape = (3, 4, 3, 3, 32, 32)
    arrays = {"changes": RANDOM.integers(-127, 128, shape).astype(np.int8), "peaks": np.ones((3, 4, 3)) / 9}
    arrays |= {"predicted": RANDOM.integers(0, 10, (3, 4, 4, 3))}
    arrays |= {"predicted_clean": RANDOM.integers(0, 10, (4, 3))}
    found = matrix({(1, 2, 1): 4, (2, 0, 3): 9}, arrays=arrays)
    x, y = data.as_float(test.images[:3]), test.labels[:3]
    return horizon_explorer.page_data(found, x, y, test.classes)


def corruption(nets, test):
    found = {m: [result(m, falling(a, 0.05), a)] for m, a in (("ep-cnn", 0.9), ("cnn", 0.7))}
    entries = [
        {"id": i, "seed": 0, "label": 3, "sheet": random_sheet(96), "answers": [random_answers(96)] * 2}
        for i in (4, 9)
    ]
    return corruption_explorer.page_data(found, test, entries)


def gallery(nets, test):
    count = 1 + 2 * 10 * len(semantics_gallery.LENGTHS)
    entries = [
        {
            "id": 7 + k,
            "label": k,
            "sheet": random_sheet(count),
            "answers": random_answers(count),
            "judged": random_answers(count),
        }
        for k in range(3)
    ]
    return semantics_gallery.page_data(nets, "a judge", test, entries)


def game(nets, test):
    ids, setting = torch.tensor([3, 5, 6, 8]), Setting("budget", 2.0, "targeted", "attack")
    return semantics_game.page_data(nets, test, ids, (test.labels[ids] + 1) % 10, setting, 1)


def boundary(nets, test):
    found = {"ep-cnn": planes(), "cnn": planes(0.8)}
    return boundary_explorer.page_data(found, data.as_float(test.images[:3]), test.labels[:3], test.classes)


MADE = {f.__name__: f for f in (attack, settling, horizons, corruption, gallery, game, boundary)}
KINDS = (*MADE, "curves")


@pytest.fixture(scope="module")
def made(smoke, tmp_path_factory):
    """(folder of a page of each kind with the explorer twice below something long, {kind: its data})."""
    folder, test = tmp_path_factory.mktemp("pages"), data.load("sample", "test")
    nets, given = {m: AttackedModel(c.net) for m, c in smoke.items()}, {}
    for kind, function in MADE.items():
        given[kind] = function(nets, test)
        figure = explorers.embed(kind, given[kind], "How to use it: look.")
        page(folder, kind, figure, figure, FILLED)
    figure = curve_explorer.explorer(SHOWN, synthetic())
    return page(folder, "curves", figure, figure, FILLED), given


def keys(tab, explorer, kind):
    """Change the state from the keyboard alone, from the tab key on."""
    wanted = {
        "attack": ("input[type=range]", ("ArrowLeft",)),
        "settling": ("input[type=range]", ("Home", "ArrowRight", "ArrowRight")),
        "horizons": ("td[tabindex='0']", ("ArrowDown", "End")),
        "corruption": ("input[type=range]", ("ArrowLeft",)),
        "gallery": ("input[type=range]", ("Home", "ArrowRight")),
        "game": (".pair button", ("ArrowRight",)),
        "boundary": ("canvas", ("ArrowUp", "Shift+ArrowLeft")),
        "curves": ("select", ("ArrowUp",)),
    }
    selector, pressed = wanted[kind]
    explorer.locator("button, select, input").first.focus()
    for _ in range(40):
        if explorer.evaluate("(e, s) => document.activeElement === e.querySelector(s)", selector):
            break
        tab.keyboard.press("Tab")
    focused = explorer.locator(selector).first
    assert focused.evaluate("e => e === document.activeElement"), "not reached by the tab key"
    assert focused.evaluate("e => getComputedStyle(e).outlineStyle") == "dashed"
    for key in pressed:
        tab.keyboard.press(key)


def mouse(explorer, kind):
    """Change it by a click."""
    places = {
        "attack": (".lines", {"x": 60, "y": 40}),
        "settling": (".curves svg", {"x": 60, "y": 40}),
        "horizons": ("tbody tr:nth-child(3) td:nth-child(2)", None),
        "corruption": (".lines", {"x": 150, "y": 40}),
        "game": (".pair button:nth-child(2)", None),
        "boundary": ("canvas", {"x": 20, "y": 30}),
        "curves": ("fieldset label:has-text('PGD')", None),
    }
    if kind == "gallery":
        explorer.get_by_role("combobox", name="aimed at").select_option(label="bag")
    else:
        selector, position = places[kind]
        explorer.locator(selector).first.click(position=position)


SEEN = """(e) => JSON.stringify([e.querySelector("form").innerText,
  [...e.querySelectorAll("canvas")].map((c) => c.toDataURL()),
  [...e.querySelectorAll("svg")].map((s) => s.outerHTML),
  [...e.querySelectorAll("input, select")].map((i) => (i.labels[0]?.textContent.includes("ε first") ? ""
    : /checkbox|radio/.test(i.type) ? i.checked : i.value))])"""


def opened(browser, made, kind, address="", width=1200):
    """(tab, its first explorer, what goes wrong)."""
    tab, problems = browser.new_page(viewport={"width": width, "height": 900}), []
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
    local = ("file:", "data:")
    tab.on("request", lambda r: None if r.url.startswith(local) else problems.append(r.url))
    tab.goto(f"{made[0]}{kind}.html{address}")
    tab.wait_for_timeout(150)  # pictures are drawn when they have been decoded
    return tab, tab.locator(f"[data-explorer={kind}]").first, problems


def settled_hash(tab):
    tab.wait_for_timeout(400)  # the address follows after a pause
    return tab.evaluate("location.hash")


@pytest.mark.parametrize("kind", KINDS)
def test_keys_and_the_mouse_change_it_the_address_brings_that_back_and_reset_undoes_it(browser, made, kind):
    tab, explorer, problems = opened(browser, made, kind)
    tab.evaluate("document.querySelector('[data-explorer]').scrollIntoView()")
    start = explorer.evaluate(SEEN)
    assert tab.evaluate("location.hash") == ""
    states = [start]
    for act in (lambda: keys(tab, explorer, kind), lambda: mouse(explorer, kind)):
        act()
        if kind == "game" and len(states) == 1:
            tab.keyboard.press("Enter")
        states.append(explorer.evaluate(SEEN))
        assert states[-1] not in states[:-1]
    high, address = tab.evaluate("scrollY"), settled_hash(tab)
    assert address.startswith(f"#{kind}?") and ";" not in address and tab.evaluate("scrollY") == high
    second = tab.locator(f"[data-explorer={kind}]").nth(1)
    assert second.evaluate(SEEN).partition("data:")[0] == start.partition("data:")[0]  # moved by nothing here
    again, there, more = opened(browser, made, kind, address)
    assert there.evaluate(SEEN) == states[-1]
    assert there.locator("form").inner_text() == explorer.locator("form").inner_text()
    assert (
        again.locator(f"[data-explorer={kind}]").nth(1).locator("form").inner_text()
        == second.locator("form").inner_text()
    )
    there.get_by_role("button", name="reset").click()
    assert there.evaluate(SEEN) == start and settled_hash(again) == ""
    follow(again, address)
    assert there.locator("form").inner_text() == explorer.locator("form").inner_text()
    assert problems == more == []
    tab.close()
    again.close()


@pytest.mark.parametrize("kind", KINDS)
def test_an_address_that_makes_no_sense_or_is_meant_for_others_changes_nothing(browser, made, kind):
    tab, explorer, problems = opened(browser, made, kind)
    start = explorer.evaluate(SEEN)
    for wrong in ("nothing=1", "image=__proto__", "image=-1", "%E0%A4%A=%", "at=2000,5", "choices=lxr"):
        follow(tab, f"{kind}?{wrong}")
        assert "this is the start" in " ".join(explorer.get_by_role("status").all_inner_texts())
        explorer.get_by_role("button", name="reset").click()
        assert explorer.evaluate(SEEN) == start
    for harmless in (
        "a-heading",
        f"{kind}",
        f"{kind}?",
        "?;;?&=",
        "others?image=2;more",
        f"{kind}-3?image=2",
    ):
        follow(tab, harmless)
        assert explorer.evaluate(SEEN) == start
    keys(tab, explorer, kind)
    assert f"{kind}-3?image=2" in settled_hash(tab)  # what others keep there stays
    assert problems == []
    tab.close()


@pytest.mark.parametrize("kind", KINDS)
def test_it_fits_a_phone_is_large_enough_to_touch_named_and_readable_in_both_themes(browser, made, kind):
    tab, explorer, problems = opened(browser, made, kind, width=390)
    for guess in explorer.get_by_label("guess first").all():
        guess.check()
    for fold in explorer.locator("details").all():
        fold.evaluate("d => { d.open = true; }")
    tab.wait_for_timeout(100)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    inside = "e => { const b = e.getBoundingClientRect(); return [b.left, b.right, b.height]; }"
    for part in explorer.locator("button, select, input, summary, td[role=gridcell], canvas[tabindex]").all():
        if not part.is_visible():
            continue
        assert part.evaluate("e => Boolean(e.ariaLabel || e.labels?.length || e.textContent.trim())")
        touched = part if part.get_attribute("type") not in ("checkbox", "radio") else part.locator("..")
        left, right, high = touched.evaluate(inside)
        assert left >= 0 and right <= 390 and high >= 24, part.evaluate("e => e.outerHTML.slice(0, 200)")
    for slider in explorer.get_by_role("slider").all():
        assert slider.get_attribute("aria-valuetext") and slider.get_attribute("aria-label")
    assert explorer.locator("[aria-live=polite]").count() >= 1
    for colour, background in (("#222832", "#ffffff"), ("#ced6dd", "#121212")):  # of the book's two themes
        tab.evaluate(
            "([c, b]) => Object.assign(document.body.style, { color: c, background: b })",
            [colour, background],
        )
        tab.wait_for_timeout(50)
        found = explorer.evaluate(CONTRAST)
        assert len(found) > 5 and min(found)[0] >= 4.5, min(found)
    assert problems == []
    tab.close()


def test_in_jupyterlab_the_address_is_neither_read_nor_written(browser, made, tmp_path):
    lab = '<script id="jupyter-config-data" type="application/json">{}</script>'
    figure = explorers.embed("gallery", made[1]["gallery"], "How")
    tab, left, problems = visit(browser, page(tmp_path, "lab", lab, figure), "lab.html#gallery?length=0")
    explorer = tab.locator("[data-explorer=gallery]")
    assert explorer.get_by_role("slider").input_value() == str(len(semantics_gallery.LENGTHS))
    explorer.get_by_role("slider").fill("1")
    assert settled_hash(tab) == "#gallery?length=0" and left == problems == []
    tab.close()


def test_the_gallery_says_and_shows_what_its_data_hold_wherever_it_is_moved(browser, made):
    given = made[1]["gallery"]
    tab, explorer, problems = opened(
        browser, made, "gallery", "#gallery?image=8&network=cnn&target=bag&length=2"
    )
    k, target = 1, given["classes"].index("bag")
    frame = (10 + target) * len(given["lengths"]) + given["lengths"].index(2) + 1
    (c, p), (d, q) = given["images"][k]["answers"][frame], given["images"][k]["judged"][frame]
    names = given["classes"]
    assert explorer.locator("p.said").inner_text() == (
        f"{names[k]}, aimed at bag, ℓ2 length 2: CNN says {names[c]} ({round(100 * p)}\u00a0%);"
        f" the judge says {names[d]} ({round(100 * q)}\u00a0%)."
    )
    png = explorer.locator("canvas").nth(2).evaluate("c => c.toDataURL()").split(",")[1]
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB"))
    sheet = given["images"][k]["sheet"].split(",")[1]
    whole = np.asarray(Image.open(io.BytesIO(base64.b64decode(sheet))))
    y, x = (32 * v for v in divmod(frame, given["columns"]))
    assert np.array_equal(shown, whole[y : y + 32, x : x + 32]) and problems == []
    tab.close()


def test_a_guess_of_the_most_accurate_network_hides_and_then_tells(browser, made):
    given = made[1]["corruption"]
    tab, explorer, problems = opened(browser, made, "corruption")
    frame = given["open"][1]
    rates = [m["rates"][frame] for m in given["models"]]
    best = given["models"][int(np.argmax(rates))]["name"]
    explorer.get_by_label("guess first").check()
    table = explorer.locator("tbody").inner_text()
    assert "✓" not in table and "✗" not in table and not explorer.locator(".lines").is_visible()
    assert "hidden until you have guessed" in explorer.locator("p.said").inner_text()
    explorer.get_by_role("combobox", name="most of all images right here has").select_option(label=best)
    explorer.get_by_role("button", name="show").click()
    told = " ".join(explorer.get_by_role("status").all_inner_texts())
    assert f"most of all images right here has {best}: you guessed it." in told
    assert f"{round(100 * max(rates))}\u00a0%" in explorer.locator("tbody").inner_text()
    explorer.get_by_role("slider").fill("0")
    assert not explorer.locator(".lines").is_visible() and problems == []  # asked anew
    tab.close()

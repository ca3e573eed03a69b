import json

import numpy as np
import pytest
import torch
from explorer_tools import frames, outside, page, pixels
from explorer_tools import live as live_host
from test_pages import visit

from eplib import attack_explorer, chapters, data, explorers
from eplib.attacks import AttackedModel, ThreatModel, pgd

IDS, EPSILONS, STEPS = [2, 5, 9], (8 / 255, 0.1, 0.5), 3


@pytest.fixture(scope="module")
def nets(smoke):
    return {m: AttackedModel(checkpoint.net) for m, checkpoint in smoke.items()}


@pytest.fixture(scope="module")
def test():
    return data.load("sample", "test")


@pytest.fixture(scope="module")
def given(nets, test):
    entries = attack_explorer.attacked(nets, test, IDS, "linf", EPSILONS, STEPS)
    return attack_explorer.page_data(nets, test, entries)


def test_a_page_holds_what_each_networks_own_attack_makes_and_what_it_says(given, nets, test):
    assert json.loads(json.dumps(given)) == given
    x, y = data.as_float(test.images[IDS]), test.labels[IDS]
    for e, epsilon in enumerate((0.0, *EPSILONS)):
        for m, net in enumerate(nets.values()):
            z = pgd(net, x, y, ThreatModel("linf", epsilon), STEPS)
            with torch.no_grad():
                chances = net(z).softmax(1)
            for i, entry in enumerate(given["images"]):
                seen = frames(entry["sheet"], given["columns"])[e * len(nets) + m]
                assert np.array_equal(seen, (z[i] * 255).round().byte().permute(1, 2, 0).numpy())
                c, p = entry["answers"][m][e]
                assert c == chances[i].argmax() and p == pytest.approx(chances[i, c].item(), abs=6e-4)
                assert entry["truth"][m][e] == pytest.approx(chances[i, y[i]].item(), abs=6e-4)
    assert [e["id"] for e in given["images"]] == IDS
    assert given["images"][0]["words"] == ["0", "8/255", "25.5/255", "128/255"]
    assert given["images"][0]["epsilons"] == pytest.approx([0, *EPSILONS], rel=1e-3)


def test_it_opens_where_half_of_the_networks_are_fooled():
    right = np.ones((3, 2, 4), bool)
    truth = np.full((3, 2, 4), 0.9)
    assert attack_explorer.opening(right, truth) == (0, 1)  # nothing is fooled
    right[0, :, 3] = False  # both at once
    assert attack_explorer.opening(right, truth) == (0, 1)
    right[1, 0, 2:] = False  # one of two
    assert attack_explorer.opening(right, truth) == (1, 2)
    truth[1, 0, 3] = 0.1  # there they lie further apart
    assert attack_explorer.opening(right, truth) == (1, 3)
    right[1, 1, 0] = False  # an image that fewer networks get right as it is
    assert attack_explorer.opening(right, truth) == (0, 1)
    truth[0, 1, 2] = 0.2
    assert attack_explorer.opening(right, truth) == (0, 2)


def test_a_chapters_explorer_shows_the_specimens_and_loads_nothing(monkeypatch, out):
    monkeypatch.setenv("EPLIB_STATIC", "1")
    monkeypatch.setattr(attack_explorer, "COUNT", 2)
    found = attack_explorer.attack(chapters.Shown("smoke", "sample", (0, 1)), ("ep-cnn", "cnn"), "linf")
    assert isinstance(found, explorers.Explorer) and 'data-explorer="attack"' in found
    assert "How to use it" in found and "smoke scale, seed 0." in found and found.count('"sheet"') == 2
    assert outside(found) == set() and "export default" not in found and "anywidget" not in found


@pytest.fixture
def opened(browser, given, tmp_path):
    """(tab, its explorer); at the end nothing has gone wrong."""
    figure = explorers.embed("attack", given, "How to use it")
    tab, left, problems = visit(browser, page(tmp_path, "attack", figure), "attack.html")
    yield tab, tab.locator("[data-explorer=attack]").first
    assert left == problems == []
    tab.close()


def agrees(explorer, given, entry, place):
    """Whether pictures, words, sentence and plot are those of an entry at its place of ε."""
    truth, words = given["classes"][entry["label"]], entry["words"][place]
    seen, told = frames(entry["sheet"], given["columns"]), []
    for m, model in enumerate(given["models"]):
        c, p = entry["answers"][m][place]
        answer = f"{'✓' if c == entry['label'] else '✗'} {given['classes'][c]}, {round(100 * p)}\u00a0%"
        shown = explorer.locator(".panels > div").nth(m)
        assert shown.inner_text().split("\n")[-1] == answer
        frame = place * len(given["models"]) + m
        assert np.array_equal(pixels(shown.locator("canvas")), seen[frame])
        told.append(f"{model['name']} {answer}")
        marks = explorer.locator("g").nth(m).locator("circle")
        heights = [float(v) for v in marks.evaluate_all("c => c.map((e) => e.getAttribute('cy'))")]
        assert heights == pytest.approx([112 - 90 * v for v in entry["truth"][m]])
    norm = given["norms"][entry["norm"]]
    said = explorer.locator("p.said").inner_text()
    assert said == f"{truth}, image {entry['id']}, {norm} ε = {words}: {'; '.join(told)}."
    slider = explorer.get_by_role("slider")
    assert slider.get_attribute("aria-valuetext") == words == explorer.locator("output").inner_text()
    assert slider.get_attribute("aria-label") == f"{norm} ε"
    return True


def test_keys_the_mouse_and_the_plot_move_everything_together(opened, given):
    tab, explorer = opened
    start = given["open"]
    assert agrees(explorer, given, given["images"][start["image"]], start["epsilon"])
    explorer.get_by_role("combobox").select_option("2")
    slider = explorer.get_by_role("slider")
    slider.focus()
    for key, place in (("Home", 0), ("ArrowRight", 1), ("End", 3), ("ArrowLeft", 2)):
        tab.keyboard.press(key)
        assert agrees(explorer, given, given["images"][2], place)
    box = explorer.locator(".lines").bounding_box()
    wide = box["width"] / 360
    for x, place in ((38, 0), (38 + 224 / 3, 1), (262, 3), (350, 3), (110, 1)):
        tab.mouse.click(box["x"] + wide * x, box["y"] + 30)
        assert agrees(explorer, given, given["images"][2], place)
        line = explorer.locator(".lines path[stroke-dasharray]").get_attribute("d")
        assert float(line[1:].split()[0]) == pytest.approx(38 + place * 224 / 3)


def test_a_guess_comes_before_the_answer(opened, given):
    _, explorer = opened
    entry = given["images"][given["open"]["image"]]
    explorer.get_by_label("guess first").check()
    assert not explorer.locator(".lines").is_visible()
    blind = explorer.locator("form").inner_text()
    assert "✓" not in blind and "✗" not in blind and "hidden until you have guessed" in blind
    names = [m["name"] for m in given["models"]]
    guesses = [explorer.get_by_role("combobox", name=f"{n} first goes wrong at ε", exact=True) for n in names]
    options = [*entry["words"], "none of these"]
    rights = [next((k for k, (c, _) in enumerate(of) if c != entry["label"]), 4) for of in entry["answers"]]
    guesses[0].select_option(str(rights[0]))
    wrong = (rights[1] + 1) % 5
    guesses[1].select_option(str(wrong))
    explorer.get_by_role("button", name="show").click()
    told = explorer.get_by_role("status").all_inner_texts()
    first = f"{names[0]} first goes wrong at ε {options[rights[0]]}: you guessed it"
    second = f"{names[1]} first goes wrong at ε {options[rights[1]]}, you guessed {options[wrong]}."
    assert f"{first}; {second}" in told
    assert agrees(explorer, given, entry, given["open"]["epsilon"])
    explorer.get_by_role("combobox").first.select_option("2" if given["open"]["image"] != 2 else "0")
    assert not explorer.locator(".lines").is_visible()  # another image is asked about anew
    explorer.get_by_role("button", name="reset").click()
    assert not explorer.get_by_label("guess first").is_checked() and explorer.locator(".lines").is_visible()


def test_the_live_host_asks_for_any_image_norm_and_epsilon(opened, given, nets, test):
    tab, _ = opened
    live = live_host(tab, "attack", given)
    start = given["images"][given["open"]["image"]]
    assert agrees(live, given, start, given["open"]["epsilon"])
    image, norm = live.get_by_label("any image"), live.get_by_role("combobox", name="norm")
    own = live.get_by_label("any ε")
    come = "c => { model.set('cell', c); model.set('busy', false); }"

    def answer():
        wanted = tab.evaluate("model.get('wanted')")
        cell = attack_explorer.live_cell(nets, test, wanted, STEPS)
        tab.evaluate(come, cell)
        tab.wait_for_timeout(100)
        return wanted, cell

    own.fill("0.2")
    own.press("Enter")
    assert "computing…" in live.inner_text() and agrees(live, given, start, given["open"]["epsilon"])
    wanted, cell = answer()
    assert wanted == {"image": start["id"], "norm": "linf", "epsilon": 0.2}
    assert "computing…" not in live.inner_text() and live.get_by_role("slider").get_attribute("max") == "4"
    told = live.locator("p.said").inner_text()
    assert "ε = 51/255" in told and live.get_by_role("slider").input_value() == "3"  # between 0.1 and 0.5
    heights = (
        live.locator("g").first.locator("circle").evaluate_all("c => c.map((e) => e.getAttribute('cy'))")
    )
    assert float(heights[3]) == pytest.approx(112 - 90 * cell["truth"][0][1])
    norm.select_option(label="ℓ2")
    wanted, cell = answer()
    assert wanted == {"image": start["id"], "norm": "l2", "epsilon": 0.2}
    assert agrees(live, given, cell, 1)
    image.fill("57")
    image.press("Enter")
    wanted, cell = answer()
    assert wanted == {"image": 57, "norm": "l2", "epsilon": 0.2} and agrees(live, given, cell, 1)
    own.fill("-1")
    own.press("Enter")
    tab.evaluate("model.set('message', 'give more.'); model.set('busy', false)")
    assert "give more." in live.inner_text() and agrees(live, given, cell, 1) and own.input_value() == "0.2"
    count = len(tab.evaluate("saved"))
    image.fill(str(start["id"]))  # what is known is shown without asking
    image.press("Enter")
    assert "0.2:" in live.locator("p.said").inner_text() and len(tab.evaluate("saved")) == count
    assert tab.evaluate("location.hash") == ""
    tab.evaluate("end()")
    assert tab.evaluate("left()") == 0

import base64
import io
import json

import numpy as np
import pytest
import torch
from corrupted import falling, result
from explorer_tools import live as live_host
from explorer_tools import outside
from explorer_tools import page as write
from PIL import Image
from test_pages import visit

from eplib import chapters, checkpoints, data, explorers
from eplib import corruption_explorer as explorer
from eplib.attacks import AttackedModel
from eplib.corruption_curves import COLOUR_NOTE, words
from eplib.corruptions import CIFAR_C, FAMILIES, corrupt

MODELS = {"ep-cnn": 0.9, "cnn": 0.7, "cnn-plain": 0.8}  # accuracy at severity 0
SHOWN = chapters.Shown("quick", "sample", (11, 13))
IDS = [4, 9, 30]


def frame(corruption, severity):
    return 1 + 5 * CIFAR_C.index(corruption) + severity - 1


@pytest.fixture(scope="module")
def found():
    """{model: [Result]} of the EP-CNN two seeds, and of another network that is not shown."""
    every = {m: [result(m, falling(MODELS[m], 0.05), MODELS[m])] for m in MODELS}
    every["ep-cnn"].append(result("ep-cnn", falling(0.8, 0.05), 0.8, seed=13))
    return every | {"mixer": [result("mixer", 0.5)]}


@pytest.fixture(scope="module")
def nets():
    return [checkpoints.load(checkpoints.find("quick", m, "sample", 11)).net for m in MODELS]


@pytest.fixture(scope="module")
def test():
    return data.load("sample", "test")


@pytest.fixture(scope="module")
def given(found, nets, test):
    entries = [explorer.image_data(nets, test, i) for i in IDS]
    return explorer.page_data({m: found[m] for m in MODELS}, test, entries)


def sheet_frames(entry, columns):
    """uint8 [96, 32, 32, 3], what a page's picture holds."""
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(entry["sheet"].split(",")[1]))))
    rows = picture.reshape(-1, 32, columns, 32, 3).transpose(0, 2, 1, 3, 4)
    return rows.reshape(-1, 32, 32, 3)[:96]


def test_a_page_holds_the_corrupted_images_and_what_networks_say_of_them(given, nets, test):
    assert json.loads(json.dumps(given)) == given
    for name, severity in (("gaussian_noise", 1), ("frost", 3), ("saturate", 5)):
        x = corrupt(data.as_float(test.images[IDS]), name, severity, IDS)
        pixels = (x * 255).round().byte().permute(0, 2, 3, 1).numpy()
        for m, net in enumerate(nets):
            with torch.no_grad():
                chances = AttackedModel(net)(x).softmax(1).numpy()
            for i, entry in enumerate(given["images"]):
                seen = sheet_frames(entry, given["columns"])
                assert np.array_equal(seen[frame(name, severity)], pixels[i])
                assert np.array_equal(seen[0], test.images[IDS[i]].permute(1, 2, 0).numpy())
                c, confidence = entry["answers"][m][frame(name, severity)]
                assert c == chances[i].argmax() and confidence == pytest.approx(chances[i, c], abs=6e-4)
    assert [e["id"] for e in given["images"]] == IDS
    assert [e["label"] for e in given["images"]] == test.labels[IDS].tolist()
    assert [t["name"] for t in given["types"]] == [words(c, "sample") for c in CIFAR_C]
    assert [t["family"] for t in given["types"]] == [FAMILIES[c] for c in CIFAR_C]
    assert given["note"] == COLOUR_NOTE and given["last"] == len(test) - 1


def test_beside_an_image_stand_the_measured_accuracies(given, found):
    named = [(m["name"], m["count"], m["seeds"]) for m in given["models"]]
    assert [m[1:] for m in named] == [(100, 2), (100, 1), (100, 1)]
    assert [m[0].partition(",")[0] for m in named] == ["EP-CNN", "CNN", "CNN without BatchNorm"]
    assert len({m["colour"] for m in given["models"]}) == 3
    for of, start in zip(given["models"], ([0.9, 0.8], [0.7], [0.8]), strict=True):
        assert of["rates"][0] == pytest.approx(np.mean(start))
        for name, severity in (("shot_noise", 1), ("saturate", 5)):
            of_seeds = [falling(s, 0.05)(name, severity, None) for s in start]
            assert of["rates"][frame(name, severity)] == pytest.approx(np.mean(of_seeds))


def test_images_are_the_first_of_each_class_that_all_networks_get_right():
    labels = torch.tensor([3, 3, 5, 3, 5, 1, 2, 0])
    results = {m: [result(m, 0.5, n=8)] for m in ("ep-cnn", "cnn")}
    results["ep-cnn"][0].correct_clean[:] = [0, 1, 1, 1, 1, 1, 0, 0]
    results["cnn"][0].correct_clean[:] = [1, 1, 0, 1, 1, 1, 1, 1]
    assert explorer.chosen(results, labels) == [1, 4, 5, 0]  # 0 is the first of the others
    results["cnn"][0].correct_clean[:] = [1, 1, 1, 1, 1, 1, 1, 1]
    results["ep-cnn"][0].correct_clean[:] = 1
    assert explorer.chosen(results, labels) == [0, 2, 5, 6]
    results["cnn"][0].image_ids[:] += 2  # of the images that all have seen
    assert explorer.chosen(results, labels) == [2, 3, 5, 6]


def test_a_page_shows_fewer_images_where_they_are_large(monkeypatch):
    entries = [{"sheet": "x" * 10} for _ in range(4)]
    for room, count in ((5, 1), (20, 2), (39, 3), (40, 4)):
        monkeypatch.setattr(explorer, "LARGEST", room)
        assert explorer.fitting(iter(entries)) == entries[:count]


def test_it_opens_at_the_widest_gap_that_an_image_shows():
    accuracies = np.array([[0.9, 0.5, 0.6, 0.2, 0.5], [0.1, 0.4, 0.3, 0.6, 0.5]])  # gaps .8, .1, .3, −.4, 0
    right = np.zeros((3, 2, 5), bool)
    assert explorer.opening(accuracies, right) == [0, 3]  # no image tells the two apart
    right[1, 0] = True  # the first network has the second image right everywhere: frames 1 and 2 are possible
    assert explorer.opening(accuracies, right) == [1, 2]
    right[2, 1, 3] = True  # the second network is the better one there
    assert explorer.opening(accuracies, right) == [2, 3]
    right[0, 1, 3] = True
    assert explorer.opening(accuracies, right) == [0, 3]
    right[0, 0, 3] = right[2, 0, 3] = True  # no longer told apart
    assert explorer.opening(accuracies, right) == [1, 2]
    assert explorer.opening(accuracies[::-1], right[:, ::-1]) == [1, 2]


def test_a_chapters_explorer_shows_its_first_networks_and_loads_nothing(monkeypatch, found):
    monkeypatch.setenv("EPLIB_STATIC", "1")
    page = explorer.corruptions(SHOWN, found)
    assert isinstance(page, explorers.Explorer) and 'data-explorer="corruption"' in page
    for told in ("How to use it", "networks of seed 11.", "are of images by the CIFAR-10-C protocol"):
        assert told in page
    assert '"name": "MLP-Mixer"' not in page and page.count('"sheet"') == 4
    assert outside(page) == set() and "export default" not in page
    assert len(page) < 700_000


def test_networks_of_other_seeds_are_named(monkeypatch, found):
    monkeypatch.setenv("EPLIB_STATIC", "1")
    monkeypatch.setattr(explorer, "COUNT", 1)
    others = {"ep-cnn": found["ep-cnn"][1:], "cnn": found["cnn"]}
    assert "networks of seeds 13 (EP-CNN), 11 (CNN)." in explorer.corruptions(SHOWN, others)


@pytest.fixture
def widget(monkeypatch, found, nets):
    monkeypatch.delenv("EPLIB_STATIC", raising=False)
    monkeypatch.setattr(explorer, "COUNT", 1)
    return explorer.corruptions(SHOWN, found)


def test_the_live_host_takes_any_image_and_other_random_numbers(widget, nets, test):
    assert widget.cell == {} and len(widget.data["images"]) == 1
    widget.wanted = {"image": 57, "seed": 3}
    assert widget.cell == explorer.image_data(nets, test, 57, 3)
    assert not widget.busy and widget.message == ""
    seen = sheet_frames(widget.cell, widget.data["columns"])
    for seed, same in ((3, True), (0, False)):
        x = corrupt(data.as_float(test.images[57:58]), "shot_noise", 4, [57], seed)
        pixels = (x[0] * 255).round().byte().permute(1, 2, 0).numpy()
        assert np.array_equal(seen[frame("shot_noise", 4)], pixels) == same


@pytest.fixture(scope="module")
def page(given, tmp_path_factory):
    """Folder of a page with the same explorer twice."""
    figure = explorers.embed("corruption", given, "How to use it")
    return write(tmp_path_factory.mktemp("page"), "corruption", figure, figure)


@pytest.fixture
def opened(browser, page, request):
    """(tab, its first explorer); at the end nothing has gone wrong. request.param: the width."""
    tab, left, problems = visit(browser, page, "corruption.html", getattr(request, "param", 1200))
    yield tab, tab.locator("[data-explorer=corruption]").first
    assert left == problems == []
    tab.close()


def pixels(canvas):
    """What a canvas shows, uint8 [H, W, 3]."""
    png = base64.b64decode(canvas.evaluate("c => c.toDataURL()").split(",")[1])
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def state(figure, given):
    """(image, frame) that the controls say."""
    pressed = figure.locator(".images button").evaluate_all("b => b.map((e) => e.ariaPressed)")
    assert pressed.count("true") == 1
    severity = int(figure.get_by_role("slider").input_value())
    assert figure.locator("output").first.inner_text() == str(severity)
    place = 5 * int(figure.locator("select").input_value()) + severity
    return pressed.index("true"), place if severity else 0


def agrees(figure, given, entries):
    """Whether pictures, table and sentence are those of the state that the controls say; the state."""
    image, place = state(figure, given)
    entry, shown = entries[image], figure.locator(".pictures canvas")
    frames = sheet_frames(entry, given["columns"])
    assert np.array_equal(pixels(shown.nth(0)), frames[0])
    assert np.array_equal(pixels(shown.nth(1)), frames[place])
    lines = figure.locator("tbody tr").all()
    right = []
    for model, answers, line in zip(given["models"], entry["answers"], lines, strict=True):
        c, confidence = answers[place]
        mark = "✓" if c == entry["label"] else "✗"
        right += [model["name"]] * (mark == "✓")
        name, answer, share = line.locator("th, td").all()
        assert name.inner_text() == model["name"]
        class_told, chance = answer.inner_text().split(", ")
        assert class_told == f"{mark}\u00a0{given['classes'][c]}"
        assert int(chance.removesuffix("\u00a0%")) == pytest.approx(100 * confidence, abs=0.5)
        rate, of = share.locator("span, small").all_inner_texts()
        assert int(rate.removesuffix("\u00a0%")) == pytest.approx(100 * model["rates"][place], abs=0.5)
        seeds = "mean of 2 seeds" if model["seeds"] == 2 else "1 seed"
        assert of == f"of 100 images, {seeds}"
        bars = line.locator("i").evaluate_all("b => b.map((e) => parseFloat(e.style.width))")
        assert bars == pytest.approx([100 * confidence, 100 * model["rates"][place]])
    said = figure.locator("p.said").inner_text()
    named = f" ({'; '.join(right)})" if right else ""
    told = f"{len(right)} of {len(lines)} networks right{named}."
    assert f"image {entry['id']}, " in said and told in said
    return image, place


def test_it_opens_at_its_rule_and_follows_mouse_and_keys(opened, given):
    tab, figure = opened
    entries = given["images"]
    assert list(agrees(figure, given, entries)) == given["open"]
    groups = figure.locator("optgroup").evaluate_all("g => g.map((e) => [e.label, e.children.length])")
    assert groups == [["noise", 4], ["blur", 5], ["weather", 5], ["digital", 5]]
    assert COLOUR_NOTE in figure.inner_text()
    slider, select = figure.get_by_role("slider"), figure.get_by_label("corruption")
    figure.locator(".images button").nth(2).click()
    select.select_option(label="shot noise *")
    slider.focus()
    for key, severity in (("Home", 0), ("ArrowRight", 1), ("ArrowRight", 2), ("End", 5)):
        tab.keyboard.press(key)
        expected = frame("shot_noise", severity) if severity else 0
        assert agrees(figure, given, entries) == (2, expected)
        told = f"shot noise *, severity {severity}" if severity else "0, no corruption"
        assert slider.get_attribute("aria-valuetext") == told
    select.focus()
    tab.keyboard.press("ArrowDown")
    assert agrees(figure, given, entries) == (2, frame("impulse_noise", 5))
    figure.locator(".images button").nth(1).focus()
    tab.keyboard.press("Enter")
    assert agrees(figure, given, entries) == (1, frame("impulse_noise", 5))
    second = tab.locator("[data-explorer=corruption]").nth(1)  # the same figure, moved by nothing of this
    assert list(agrees(second, given, entries)) == given["open"]
    figure.get_by_role("button", name="reset").click()
    assert list(agrees(figure, given, entries)) == given["open"]


@pytest.mark.parametrize("opened", [390], indirect=True)
def test_it_fits_a_phone(opened, given):
    tab, figure = opened
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    for part in figure.locator("button, select, input, canvas, td, th").all():
        box = part.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 390
        assert part.evaluate("e => e.scrollWidth <= e.clientWidth + 1")
    assert figure.locator(".pictures canvas").first.bounding_box()["width"] > 150
    buttons = figure.locator(".images button")
    assert min(min(b.bounding_box()["width"], b.bounding_box()["height"]) for b in buttons.all()) >= 44
    buttons.nth(1).click()
    assert agrees(figure, given, given["images"])[0] == 1


def test_the_live_host_asks_for_another_image_and_shows_what_comes(opened, given, nets, test):
    tab, _ = opened
    live = live_host(tab, "corruption", given)
    entries = list(given["images"])
    assert list(agrees(live, given, entries)) == given["open"]
    image, seed = live.get_by_label("any image"), live.get_by_label("random seed")
    assert image.input_value() == str(IDS[given["open"][0]]) and seed.input_value() == "0"
    image.fill("57")
    image.press("Enter")
    assert "computing…" in live.inner_text() and list(agrees(live, given, entries)) == given["open"]
    entries.append(explorer.image_data(nets, test, 57))
    come = "e => { model.set('cell', e); model.set('busy', false); }"
    tab.evaluate(come, entries[3])
    tab.wait_for_timeout(300)
    assert "computing…" not in live.inner_text()
    assert agrees(live, given, entries) == (3, given["open"][1])
    seed.fill("4")
    seed.press("Enter")
    entries[3] = explorer.image_data(nets, test, 57, 4)
    tab.evaluate(come, entries[3])
    live.get_by_label("corruption").select_option(label="gaussian noise *")
    tab.wait_for_timeout(300)
    agrees(live, given, entries)
    assert ", random seed 4:" in live.locator("p.said").inner_text()
    assert live.locator(".images button").count() == 4
    image.fill("-2")
    image.press("Enter")
    tab.evaluate("model.set('message', 'give more.'); model.set('busy', false)")
    assert "give more." in live.inner_text() and agrees(live, given, entries)[0] == 3
    live.locator(".images button").nth(1).click()
    assert agrees(live, given, entries)[0] == 1 and image.input_value() == str(IDS[1])
    image.fill(str(IDS[2]))  # that is there already
    image.press("Enter")
    assert agrees(live, given, entries)[0] == 2 and "give more." not in live.inner_text()
    asked = [s["wanted"] for s in tab.evaluate("saved")]
    assert asked == [{"image": 57, "seed": 0}, {"image": 57, "seed": 4}, {"image": -2, "seed": 4}]
    tab.evaluate("end()")
    assert tab.evaluate("left()") == 0

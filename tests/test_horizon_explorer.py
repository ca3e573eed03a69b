import base64
import io
import json

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import random_batch, random_net
from explorer_tools import live as live_host
from explorer_tools import outside
from explorer_tools import page as write
from matrices import result as synthetic
from PIL import Image
from test_pages import visit

from eplib import chapters, checkpoints, data, explorers, horizon_explorer, horizons
from eplib.attacks import ThreatModel, pgd
from eplib.dynamics import settle
from eplib.results import Result

CLASSES = "zero one two three four five six seven eight </nine>".split()
SIZES = {"norm": "l2", "epsilons": [1.0, 4.0], "attacked": [[3, "unrolled"], [12, "ep"], [60, "adjoint"]]}
SIZES |= {"predicted": [5, 20], "steps": 3, "batch": 4}
OWN = 2  # the place of the prediction "own"


@pytest.fixture(scope="module")
def case():
    """(network, 5 images, labels of which one is wrong, result of "horizons")."""
    net = random_net(steps=8, order="forward")
    with torch.no_grad():
        net.readout.weight *= 20
    images, _ = random_batch(net, 5)
    images = (images * 255).round() / 255  # as they come from files
    labels = settle(net, images, 20, "synchronous").logits.argmax(1)
    labels[0] = (labels[0] + 1) % 10
    found = horizons.horizons(net, images, labels, SIZES, progress=False)
    settings = {"model": "ep-cnn", "seed": 3, "predict_steps": 8, "order": "forward", "sizes": SIZES}
    table = pd.DataFrame(found.rows)
    result = Result(settings, table, np.arange(5), found.clean, found.correct, {}, found.arrays)
    return net, images, labels, result


@pytest.fixture(scope="module")
def given(case):
    _, images, labels, result = case
    return horizon_explorer.page_data(result, images, labels, CLASSES)


def decoded(text, kind, *shape):
    return np.frombuffer(base64.b64decode(text), kind).reshape(shape)


def attacked_images(shown, e, a):
    """float [n, C, H, W] in 0…255, from what a page holds."""
    side, n = shown["side"], len(shown["labels"])
    size = (len(shown["epsilons"]), len(shown["attacks"]), n, shown["channels"], side, side)
    change = decoded(shown["changes"], np.int8, *size)[e, a].astype(float)
    change *= np.array(shown["peaks"])[e, a][:, None, None, None] / 127
    return np.clip(decoded(shown["originals"], np.uint8, *size[2:]) + 255 * change, 0, 255)


def test_a_page_holds_the_matrix_and_images_that_settle_as_it_says(case, given):
    net, images, labels, result = case
    assert json.loads(json.dumps(given)) == given | {"open": list(given["open"])}
    clean, right = horizons.outcomes(result)
    assert given["clean"] == clean.sum(1).tolist() and given["right"] == right.sum(3).tolist()
    assert given["worst"] == right.all(1).sum(2).tolist() and given["count"] == 5
    assert given["open"] == horizons.widest_gap(result)[0]
    for e, epsilon in enumerate(SIZES["epsilons"]):
        for a, attack in enumerate(SIZES["attacked"]):
            model = horizons.attacker(net, *attack)
            adversarial = pgd(model, images, labels, ThreatModel("l2", epsilon), 3)
            for p, steps in enumerate(SIZES["predicted"]):
                classes = settle(net, adversarial, steps, "synchronous").logits.argmax(1)
                assert given["predicted"][e][a][p] == classes.tolist()
            peak = np.max(given["peaks"][e][a])
            shown = attacked_images(given, e, a) / 255
            assert np.abs(shown - adversarial.numpy()).max() <= peak / 250 + 1e-3


def test_a_page_shows_fewer_images_where_they_are_large(case, monkeypatch):
    _, images, labels, result = case
    one = result.arrays["changes"][:, :, 0].size
    for room, count in ((one - 1, 1), (3 * one, 3), (100 * one, 5)):
        monkeypatch.setattr(horizon_explorer, "LARGEST", room)
        assert horizon_explorer._count(result) == count
    few = horizon_explorer.page_data(result, images[:3], labels[:3], CLASSES)
    assert np.shape(few["predicted"]) == (2, 3, 4, 3) and np.shape(few["peaks"]) == (2, 3, 3)
    whole = horizon_explorer.page_data(result, images, labels, CLASSES)
    assert np.array_equal(attacked_images(few, 1, 2), attacked_images(whole, 1, 2)[:3])
    assert few["right"] == whole["right"]  # of all images, shown or not


def test_a_chapters_explorer_reads_its_images_by_their_ids_and_loads_nothing(monkeypatch):
    monkeypatch.setenv("EPLIB_STATIC", "1")
    test = data.load("sample", "test")
    arrays = {"changes": np.zeros((3, 4, 8, 3, 32, 32), np.int8), "peaks": np.ones((3, 4, 8))}
    arrays |= {"predicted": np.zeros((3, 4, 4, 8), int), "predicted_clean": np.zeros((4, 8), int)}
    result = synthetic({}, arrays=arrays)
    result.image_ids[:] += 7
    page = horizon_explorer.horizons(chapters.Shown("quick", "sample", (0, 1)), result)
    assert isinstance(page, explorers.Explorer) and 'data-explorer="horizons"' in page
    originals = base64.b64encode(test.images[7:15].numpy().tobytes()).decode()
    assert originals in page and f'"labels": {test.labels[7:15].tolist()}' in page
    assert "How to use it" in page and "EP-CNN, seed 0." in page
    assert outside(page) == set() and "export default" not in page
    assert len(page) < 1_000_000


def test_a_chapters_live_host_takes_the_network_that_was_measured(monkeypatch):
    monkeypatch.delenv("EPLIB_STATIC", raising=False)
    arrays = {"changes": np.zeros((3, 4, 2, 3, 32, 32), np.int8), "peaks": np.ones((3, 4, 2))}
    arrays |= {"predicted": np.zeros((3, 4, 4, 2), int), "predicted_clean": np.zeros((4, 2), int)}
    checkpoint = checkpoints.load(checkpoints.find("quick", "ep-cnn", "sample", 11))
    asked = []
    monkeypatch.setattr(chapters, "networks", lambda *given: asked.append(given) or [checkpoint])
    shown = chapters.Shown("quick", "sample", (3, 11, 13))
    widget = horizon_explorer.horizons(shown, synthetic({}, seed=11, arrays=arrays))
    assert asked == [(chapters.Shown("quick", "sample", (11,)), "ep-cnn")]
    widget.wanted = {"epsilon": 0.0, "attack": 0}
    test = data.load("sample", "test")
    own = settle(checkpoint.net, data.as_float(test.images[:2])).logits.argmax(1)
    assert widget.cell["predicted"][OWN] == own.tolist() and "seed 11" in widget.caption


def test_a_live_cell_is_the_measured_one_and_any_other(case):
    net, images, labels, result = case
    for e, a in ((0, 0), (1, 2)):
        cell = horizon_explorer.live_cell(net, images, labels, SIZES, SIZES["epsilons"][e], a)
        assert cell["predicted"] == result.arrays["predicted"][e, a].tolist()
        assert np.array_equal(
            decoded(cell["changes"], np.int8, *images.shape), result.arrays["changes"][e, a]
        )
        assert np.allclose(cell["peaks"], result.arrays["peaks"][e, a], rtol=1e-3)
    cell = horizon_explorer.live_cell(net, images, labels, SIZES, 2.5, 1)
    adversarial = pgd(horizons.attacker(net, 12, "ep"), images, labels, ThreatModel("l2", 2.5), 3)
    assert cell["predicted"][OWN] == settle(net, adversarial).logits.argmax(1).tolist()
    assert (cell["epsilon"], cell["attack"]) == (2.5, 1)
    assert horizon_explorer.live_cell(net, images, labels, SIZES, 0, 0)["peaks"] == [0] * 5


@pytest.fixture(scope="module")
def page(given, tmp_path_factory):
    """Folder of a page with the same explorer twice."""
    figure = explorers.embed("horizons", given, "How to use it")
    return write(tmp_path_factory.mktemp("page"), "horizons", figure, figure)


@pytest.fixture
def opened(browser, page):
    """(tab, its first explorer); at the end nothing has gone wrong."""
    tab, left, problems = visit(browser, page, "horizons.html")
    yield tab, tab.locator("[data-explorer=horizons]").first
    assert left == problems == []
    tab.close()


def lines(shown, e):
    """Counts [A + 2, P] at one ε."""
    return [shown["clean"], *shown["right"][e], shown["worst"][e]]


def chosen(explorer):
    """(line, column) of the one chosen cell, the only one that the tab key reaches."""
    return explorer.evaluate(
        """e => [...e.querySelectorAll("tbody tr")].flatMap((line, y) => [...line.querySelectorAll("td")]
        .flatMap((cell, x) => cell.tabIndex === 0 && cell.ariaSelected === "true" ? [[y, x]] : []))"""
    )


def pixels(explorer, image, which):
    """What a canvas of an image shows, int [H, W, 3]."""
    canvas = explorer.locator(".images > div").nth(image).locator("canvas").nth(which)
    png = base64.b64decode(canvas.evaluate("c => c.toDataURL()").split(",")[1])
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def answers(explorer):
    """[(class, answer without attack, answer under it, change)] as they are written."""
    return [
        tuple(card.locator("small").all_inner_texts()) for card in explorer.locator(".images > div").all()
    ]


def test_it_opens_at_the_widest_gap_and_tells_every_cell(opened, given):
    tab, explorer = opened
    e, a, p = given["open"]
    assert chosen(explorer) == [[a + 1, p]]
    grid = explorer.get_by_role("grid")
    assert grid.get_by_role("gridcell").count() == 5 * 4
    for line, counts in zip(grid.locator("tbody tr").all(), lines(given, e), strict=True):
        for cell, count, prediction in zip(
            line.locator("td").all(), counts, given["predictions"], strict=True
        ):
            assert cell.inner_text() == str(round(20 * count))
            label = cell.get_attribute("aria-label")
            assert label.endswith(f"after {prediction['long']}: {count} of 5 ({20 * count}\u00a0%)")
    said = explorer.locator("[aria-live]").inner_text()
    assert f"ε = {given['epsilons'][e]}, {given['attacks'][a]['long']}, predicted after" in said
    assert f"Under the worst of all attacks {given['worst'][e][p]} of 5" in said
    second = tab.locator("[data-explorer=horizons]").nth(1)
    second.get_by_role("gridcell").first.click()
    assert chosen(second) == [[0, 0]] and chosen(explorer) == [[a + 1, p]]


def test_cells_are_chosen_by_keys_clicks_and_the_slider(opened, given):
    tab, explorer = opened
    cells = explorer.get_by_role("gridcell")
    cells.nth(0).click()
    focused = "() => document.activeElement.ariaLabel"
    for key, place in [
        ("ArrowUp", [0, 0]),
        ("ArrowLeft", [0, 0]),
        ("ArrowDown", [1, 0]),
        ("ArrowRight", [1, 1]),
        ("End", [1, 3]),
        ("ArrowRight", [1, 3]),
        ("ArrowDown", [2, 3]),
        ("Home", [2, 0]),
    ]:
        tab.keyboard.press(key)
        assert chosen(explorer) == [place]
        assert tab.evaluate(focused) == cells.nth(4 * place[0] + place[1]).get_attribute("aria-label")
    assert cells.nth(8).evaluate("c => getComputedStyle(c).outlineStyle") == "dashed"  # it has the focus
    slider = explorer.get_by_role("slider")
    for key, e in (("Home", 0), ("End", 1)):
        slider.focus()
        tab.keyboard.press(key)
        assert slider.get_attribute("aria-valuetext") == given["epsilons"][e]
        assert explorer.locator("output").inner_text() == given["epsilons"][e]
        texts = cells.all_inner_texts()
        assert texts == [str(round(20 * count)) for line in lines(given, e) for count in line]
        assert chosen(explorer) == [[2, 0]]
    explorer.get_by_role("button", name="reset").click()
    assert chosen(explorer) == [[given["open"][1] + 1, given["open"][2]]]
    assert slider.input_value() == str(given["open"][0])


def test_behind_a_cell_are_its_images_its_answers_and_its_changes(opened, given):
    tab, explorer = opened
    explorer.get_by_role("slider").fill("1")
    for a, p in ((0, 1), (2, OWN)):
        explorer.get_by_role("gridcell").nth(4 * (a + 1) + p).click()
        attacked, scale = attacked_images(given, 1, a), np.max(given["peaks"][1])
        original = decoded(given["originals"], np.uint8, *attacked.shape)
        for i, told in enumerate(answers(explorer)):
            assert np.array_equal(pixels(explorer, i, 0), original[i].transpose(1, 2, 0))
            assert np.abs(pixels(explorer, i, 1) - attacked[i].transpose(1, 2, 0)).max() <= 0.51
            codes = decoded(given["changes"], np.int8, 2, 3, *attacked.shape)[1, a, i]
            change = codes * given["peaks"][1][a][i] / 127 / scale
            expected = 127.5 * (1 + change.transpose(1, 2, 0))
            assert np.abs(pixels(explorer, i, 2) - expected).max() <= 0.51
            label = given["labels"][i]
            without, under = given["predicted_clean"][p][i], given["predicted"][1][a][p][i]
            assert told[:3] == (
                CLASSES[label],
                *(f"{'✓' if c == label else '✗'} {CLASSES[c]}" for c in (without, under)),
            )
        right = sum(told[1][0] == told[2][0] == "✓" for told in answers(explorer))
        assert right == given["right"][1][a][p]  # all images are shown here
        assert f"right, {right} of the 5 below." in explorer.locator("[aria-live]").inner_text()


def test_the_first_line_is_without_attack_and_the_last_names_who_broke_the_image(opened, given):
    tab, explorer = opened
    explorer.get_by_role("slider").fill("1")
    cells = explorer.get_by_role("gridcell")
    cells.nth(1).click()
    for i, (_, without, under, change) in enumerate(answers(explorer)):
        assert without == under and change == "±0.0"
        assert np.array_equal(pixels(explorer, i, 0), pixels(explorer, i, 1))
        assert (np.abs(pixels(explorer, i, 2) - 127.5) <= 0.5).all()
    cells.nth(4 * 4 + 1).click()
    named = [change.partition(" by ")[2] for *_, change in answers(explorer)]
    for i, by in enumerate(named):
        wrong = [classes[1][i] != given["labels"][i] for classes in given["predicted"][1]]
        first = wrong.index(True) if any(wrong) else 0
        assert by == given["attacks"][first]["short"]
    right = sum(told[1][0] == told[2][0] == "✓" for told in answers(explorer))
    assert right == given["worst"][1][1]


def test_the_live_host_asks_for_another_epsilon_and_shows_what_comes(opened, case, given):
    tab, _ = opened
    net, images, labels, _ = case
    live = live_host(tab, "horizons", given)
    live.get_by_role("gridcell").nth(4 + OWN).click()
    before = answers(live)
    another = live.get_by_label("another")
    another.fill("2.5")
    another.press("Enter")
    assert "computing…" in live.inner_text() and answers(live) == before
    cell = horizon_explorer.live_cell(net, images, labels, SIZES, 2.5, 0)
    tab.evaluate("c => { model.set('cell', c); model.set('busy', false); }", cell)
    assert "computing…" not in live.inner_text()
    said = live.locator("p.said").inner_text()
    assert said.startswith("Computed now, ε = 2.5, exact gradient through 3 steps, predicted after its own")
    for i, (*_, under, change) in enumerate(answers(live)):
        assert under[2:] == CLASSES[cell["predicted"][OWN][i]]
        assert float(change[1:]) == pytest.approx(cell["peaks"][i], rel=0.06)
    live.get_by_role("gridcell").nth(8).click()  # another attack: it is asked for at the same ε
    live.get_by_role("gridcell").nth(9).click()  # its other prediction: once is enough
    asked = [s["wanted"] for s in tab.evaluate("saved")]
    assert asked == [{"epsilon": 2.5, "attack": 0}, {"epsilon": 2.5, "attack": 1}]
    tab.evaluate("model.set('message', 'give less.'); model.set('busy', false)")
    assert "give less." in live.inner_text()
    live.get_by_role("slider").fill("0")
    assert another.input_value() == "" and "ε = 1, gradient by" in live.locator("p.said").inner_text()
    tab.evaluate("end()")
    assert tab.evaluate("left()") == 0

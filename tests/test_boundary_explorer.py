import base64
import io
import json

import numpy as np
import pytest
import torch
from conftest import random_batch, random_net
from explorer_tools import live as live_host
from explorer_tools import outside
from explorer_tools import page as write
from PIL import Image
from test_boundary_pages import planes
from test_pages import visit

from eplib import boundary_explorer, explorers, slices
from eplib.attacks import AttackedModel, predicted
from eplib.slice_figures import palette

CLASSES = "zero one two three four five six seven eight </nine>".split()
RESULTS = {"ep-cnn": planes(), "cnn": planes(0.8)}


@pytest.fixture(scope="module")
def given():
    images = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    return boundary_explorer.page_data(RESULTS, images, torch.tensor([1, 4, 9]), CLASSES)


@pytest.fixture(scope="module")
def case():
    net = random_net()
    with torch.no_grad():
        net.readout.weight *= 20
    return net, *random_batch(net, 4)


def test_a_page_holds_the_planes(given):
    assert json.loads(json.dumps(given)) == given
    assert given["models"] == ["EP-CNN", "CNN"] and given["side"] == 49
    for m, result in enumerate(RESULTS.values()):
        for i in range(3):
            for k in range(2):
                stored = np.frombuffer(base64.b64decode(given["grids"][m][i][k]), np.uint8).reshape(49, 49)
                assert np.array_equal(stored, result.arrays["classes"][k, ..., i])
    assert [x["labels"] for x in given["images"]] == [[1, 4, 9], [4, 9, 1], [9, 1, 4]]
    low, high = given["dots"][0][0][0], given["dots"][0][1][0]
    assert low == pytest.approx(1 / 6, abs=1e-4) and low + high == 1 and given["dots"][1] == [[0.5, 0.5]]


def test_it_opens_where_the_networks_disagree_most():
    classes = np.zeros((3, 2, 5, 5, 2), np.uint8)
    classes[1, 0, 4, 1, 0] = 1
    assert boundary_explorer.opening(classes) == [0, 0, [1.0, 0.25]]
    classes[1, 1, :2, :, 1] = 1  # more places, all with two classes: of them that next to the middle
    assert boundary_explorer.opening(classes) == [1, 1, [0.25, 0.5]]
    classes[2, 1, 0, 4, 1] = 2  # three classes at one place
    assert boundary_explorer.opening(classes) == [1, 1, [0.0, 1.0]]
    assert boundary_explorer.opening(np.zeros((2, 2, 5, 5, 1), np.uint8)) == [0, 0, [0.5, 0.5]]


def test_a_page_shows_fewer_images_where_planes_are_large(monkeypatch):
    images = torch.rand(3, 3, 16, 16)
    for room, count in ((1, 1), (2 * 2 * 2 * 49**2, 2)):
        monkeypatch.setattr(boundary_explorer, "LARGEST", room)
        found = boundary_explorer.page_data(RESULTS, images, torch.tensor([1, 4, 9]), CLASSES)
        assert len(found["images"]) == count == len(found["grids"][0])


def test_live_planes_are_those_of_slices(case, monkeypatch):
    net, images, labels = case
    monkeypatch.setattr(boundary_explorer, "LIVE_SIDE", 12)
    found = boundary_explorer.live_planes({"ep-cnn": net}, images, labels, 3)
    model, x = AttackedModel(net), images[[3, 0, 1]]
    grid = np.frombuffer(base64.b64decode(found["grids"][0][0]), np.uint8).reshape(13, 13)
    assert grid[2, 2] == predicted(model, x)[0] and grid[10, 2] == predicted(model, x)[1]
    expected = slices.slices(net, x, labels[[3, 0, 1]], {"side": 12, "batch": 99}, progress=False)
    assert np.array_equal(grid, expected.arrays["classes"][0, ..., 0])
    assert (found["place"], found["side"], found["image"]["label"]) == (3, 13, int(labels[3]))


@pytest.fixture(scope="module")
def page(given, tmp_path_factory):
    figure = explorers.embed("boundary", given, "How to use it")
    assert outside(figure) == set() and "export default" not in figure
    return write(tmp_path_factory.mktemp("page"), "boundary", figure, figure)


@pytest.fixture
def opened(browser, page):
    """(tab, its first explorer); at the end nothing has gone wrong."""
    tab, left, problems = visit(browser, page, "boundary.html")
    yield tab, tab.locator("[data-explorer=boundary]").first
    assert left == problems == []
    tab.close()


def pixels(explorer, model):
    """What the plane of a model shows, int [S, S, 3], the second coordinate downwards."""
    canvas = explorer.locator(".planes canvas").nth(model)
    png = base64.b64decode(canvas.evaluate("c => c.toDataURL()").split(",")[1])
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def coloured(classes):
    """The colours of classes [S, S] as they are painted, int [S, S, 3]."""
    table = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in palette(10)])
    return table[classes.T[::-1]]


def test_every_plane_is_painted_and_told(opened, given):
    _, explorer = opened
    image, plane = (explorer.locator("select").nth(k) for k in (0, 1))
    for i in (0, 2):
        image.select_option(str(i))
        for k in (0, 1):
            plane.select_option(str(k))
            assert explorer.locator(".images img").count() == (3 if k == 0 else 1)
            for m, result in enumerate(RESULTS.values()):
                classes = result.arrays["classes"][k, ..., i]
                same = (pixels(explorer, m) == coloured(classes)).all(2)
                assert (~same).sum() <= 4 * 9  # test images and the chosen place
                said = explorer.locator(".planes small").nth(m).inner_text()
                here = CLASSES[classes[tuple(round(48 * v) for v in given["open"][2])]]
                assert said.startswith(f"{here} here; {len(np.unique(classes))} class")


def test_a_place_is_chosen_by_pointer_and_keys_for_all_models(opened, given):
    tab, explorer = opened
    canvas = explorer.locator(".planes canvas").first
    box = canvas.bounding_box()
    tab.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 0.9 * box["height"])
    told = explorer.locator("[aria-live]").inner_text()
    assert told == "At 70 % to the right, 10 % up: EP-CNN one; CNN zero."
    canvas.focus()
    for _ in range(2):
        tab.keyboard.press("Shift+ArrowLeft")
    tab.keyboard.press("ArrowUp")
    assert explorer.locator("[aria-live]").inner_text() == (
        "At 28 % to the right, 12 % up: EP-CNN zero; CNN zero."
    )
    second = tab.locator("[data-explorer=boundary]").nth(1)
    start = f"At {100 * given['open'][2][0]:.0f} % to the right"
    assert start in second.locator("[aria-live]").inner_text()


def test_the_live_host_shows_what_was_computed(browser, page, given, case, monkeypatch):
    tab, left, problems = visit(browser, page, "boundary.html")
    explorer = live_host(tab, "boundary", given)
    number = explorer.locator("input[type=number]")
    number.fill("3")
    number.press("Enter")
    assert tab.evaluate("model.get('wanted')") == {"place": 3} and "computing…" in explorer.inner_text()
    grid = np.full((49, 49), 5, np.uint8)
    text = base64.b64encode(grid.tobytes()).decode()
    cell = {"place": 3, "side": 49, "image": given["images"][1], "grids": [[text, text]] * 2}
    tab.evaluate("c => { model.set('cell', c); model.set('busy', false); }", cell)
    assert "computing…" not in explorer.inner_text()
    assert explorer.locator(".planes small").first.inner_text() == "five here; 1 class in all"
    explorer.locator("select").first.select_option("0")
    assert "five here" not in explorer.locator(".planes small").first.inner_text()
    assert left == problems == []
    tab.close()

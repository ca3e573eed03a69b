import base64
import io
import json
import subprocess
import sys

import numpy as np
import pytest
from conftest import random_batch, random_net
from PIL import Image

from eplib import chapters, explorers, settling, specimens
from eplib.checks import InputError

CLASSES = "zero one two three four five six seven eight </nine>".split()


def test_sprite_holds_every_frame_exactly():
    frames = np.random.default_rng(0).integers(0, 256, (7, 3, 5, 5)).astype(np.float32) / 255
    uri, columns = explorers.sprite(frames)
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))))
    for i, frame in enumerate(frames):
        y, x = divmod(i, columns)
        tile = sheet[5 * y : 5 * y + 5, 5 * x : 5 * x + 5]
        assert np.array_equal(tile, (frame * 255).round().transpose(1, 2, 0).astype(np.uint8))


def test_attack_explorer_has_an_answer_for_every_image_and_strength(out):
    shown = chapters.Shown("smoke", "sample", (0,))
    steps = specimens.attack_steps(shown, ("ep-cnn", "cnn"), "linf", count=2)
    assert steps["epsilons"][0] == 0 and list(steps["epsilons"]) == sorted(steps["epsilons"])
    for model, (classes, probabilities) in steps["answers"].items():
        assert np.shape(classes) == np.shape(probabilities) == (2, len(steps["epsilons"]))
        assert steps["images"][model].shape == (2, len(steps["epsilons"]), 3, 32, 32)
    page = explorers.attack(steps)
    assert "http" not in page and page.count("<script>") == 1 and "EP-CNN" in page
    assert '<figure class="eplib-explorer" data-explorer="attack"' in page
    assert page == explorers.attack(steps)


def pixels(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))))


def test_settling_in_a_page_holds_everything_and_names_nothing_outside(monkeypatch):
    monkeypatch.setenv("EPLIB_STATIC", "1")
    net = random_net()
    images, labels = random_batch(net, 2)
    page = explorers.settling(net, images, labels, CLASSES, beta=0.3)
    assert isinstance(page, explorers.Explorer) and page == page._repr_html_()
    assert page == explorers.settling(net, images, labels, CLASSES, beta=0.3)
    assert page != explorers.settling(net, images, labels, CLASSES, beta=0.4)
    assert '<figure class="eplib-explorer" data-explorer="settling"' in page and "How to use it" in page
    assert "http:" not in page and "https:" not in page and "export default" not in page
    assert page.count("<script>") == page.count("</script>") == 1 and "</nine>" not in page


def test_settling_data_are_the_sheets_and_numbers_of_every_image():
    net = random_net()
    images, labels = random_batch(net, 3)
    data = explorers.settling_data(net, images, labels, CLASSES, 0.5, 30, [2, 0])
    assert json.loads(json.dumps(data)) == data
    found = settling.runs(net, images[[2, 0]], labels[[2, 0]], 0.5, 30)
    for k, place in enumerate((2, 0)):
        entry = data["images"][place]
        assert entry["runs"] == settling.numbers(found, k) and entry["truth"] == labels[place]
        for l, uri in enumerate(entry["layers"]):
            assert np.array_equal(pixels(uri), settling.sheet(found, l, k))
        shown = (images[place].numpy().transpose(1, 2, 0) * 255).round()
        assert np.array_equal(pixels(entry["picture"]), shown)
    assert "runs" not in data["images"][1] and data["image"] == 2
    assert [p["steps"][-1] for p in data["phases"]] == [30, 10, 10]
    assert data["orders"] == [["synchronous", "synchronous"], ["forward", "backward"]]


@pytest.fixture
def live(monkeypatch):
    """(widget, net, images, labels) of the live host."""
    monkeypatch.delenv("EPLIB_STATIC", raising=False)
    net = random_net()
    images, labels = random_batch(net, 3)
    return explorers.settling(net, images, labels, CLASSES), net, images, labels


def test_the_live_host_recomputes_what_it_is_asked_for(live):
    widget, *given = live
    asked = {"image": 0, "beta": 0.5, "steps": 250}
    for name, value in (("image", 2), ("beta", 0.2), ("steps", 25), ("steps", 400)):
        asked[name] = value
        setattr(widget, name, value)
        there = explorers.settling_data(*given, CLASSES, asked["beta"], asked["steps"], [asked["image"]])
        assert widget.data == there
        assert not widget.busy and widget.message == ""


@pytest.mark.parametrize(
    "name, value, words",
    [
        ("image", 3, "from 0 to 2"),
        ("image", -1, "from 0 to 2"),
        ("image", "first", "from 0 to 2"),
        ("beta", -0.5, "above 0"),
        ("beta", float("inf"), "above 0"),
        ("beta", None, "above 0"),
        ("steps", 0, "from 1 to 1000"),
        ("steps", 1001, "from 1 to 1000"),
    ],
)
def test_the_live_host_refuses_in_a_sentence_and_loses_nothing(live, name, value, words):
    widget, *_ = live
    before, kept = widget.data, getattr(widget, name)
    setattr(widget, name, value)
    assert widget.data is before and getattr(widget, name) == kept and not widget.busy
    assert words in widget.message
    widget.steps = 20  # and goes on
    assert widget.data["steps"] == 20 and widget.message == ""


def test_several_wrong_values_at_once_are_all_put_back(live):
    widget, *_ = live
    before = widget.data
    with widget.hold_trait_notifications():
        widget.steps, widget.beta = 0, -1
    assert widget.data is before and (widget.steps, widget.beta) == (250, 0.5) and widget.message


def test_only_the_live_host_needs_widgets():
    code = "import sys; from eplib import explorers; sys.exit('anywidget' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_live_host_begins_with_nothing_wrong(monkeypatch):
    monkeypatch.delenv("EPLIB_STATIC", raising=False)
    net = random_net()
    images, labels = random_batch(net, 2)
    with pytest.raises(InputError, match="above 0"):
        explorers.settling(net, images, labels, CLASSES, beta=0)

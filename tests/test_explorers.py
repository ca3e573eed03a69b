import base64
import io
import json
import subprocess
import sys

import numpy as np
import pytest
from conftest import random_batch, random_net
from explorer_tools import outside
from PIL import Image

from eplib import explorers, settling
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
    assert outside(page) == set() and "export default" not in page
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


def test_only_the_live_host_needs_widgets():
    code = "import sys; from eplib import explorers; sys.exit('anywidget' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_live_host_begins_with_nothing_wrong(monkeypatch):
    monkeypatch.delenv("EPLIB_STATIC", raising=False)
    net = random_net()
    images, labels = random_batch(net, 2)
    with pytest.raises(InputError, match="above 0"):
        explorers.settling(net, images, labels, CLASSES, beta=0)

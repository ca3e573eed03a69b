import re
import xml.etree.ElementTree as ElementTree
from itertools import combinations

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patches import FancyBboxPatch

from eplib import diagrams
from eplib.network import EPCNN

SVG = "{http://www.w3.org/2000/svg}"
NETS = {
    "paper": lambda: None,
    "two layers, one channel": lambda: EPCNN((4, 6), (1, 0), classes=3, in_channels=1, image_size=8, steps=5),
    "odd sides": lambda: EPCNN((5, 7, 9), (0, 1, 0), image_size=28),
    "six layers": lambda: EPCNN((8, 16, 16, 32, 32, 64), (1,) * 6, image_size=64),
}
SHAPES = {
    "paper": ("3×32×32", "128×16×16", "256×8×8", "512×4×4", "512×1×1"),
    "two layers, one channel": ("1×8×8", "4×4×4", "6×1×1"),
    "odd sides": ("3×28×28", "5×13×13", "7×6×6", "9×2×2"),
    "six layers": ("3×64×64", "8×32×32", "16×16×16", "16×8×8", "32×4×4", "32×2×2", "64×1×1"),
}


DRAW = diagrams.draw


class Drawn:
    """The picture of a network, and the matplotlib texts on it with the boxes that they fill, in inches."""

    def __init__(self, name):
        self.name, self.axes = name, None
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(diagrams, "draw", self.draw)
            self.picture = diagrams.machine(NETS[name]())
        figure = self.axes.figure
        figure.set_dpi(300)  # fine enough that letters are as wide as on the SVG
        renderer = FigureCanvasAgg(figure).get_renderer()
        self.width, self.height = figure.get_size_inches()
        self.texts = [t for t in self.axes.texts if t.get_text()]  # arrows are texts without a word
        self.boxes = [self.inches(t.get_window_extent(renderer)) for t in self.texts]
        patches = [p for p in self.axes.patches if isinstance(p, FancyBboxPatch)]
        self.panels = [self.inches(p.get_window_extent(renderer)) for p in patches]

    def draw(self, label, grid, plot, *args, **kwargs):
        def watched(axes):
            self.axes = axes
            plot(axes)

        return DRAW(label, grid, watched, *args, **kwargs)

    def inches(self, box):
        return box.transformed(self.axes.figure.dpi_scale_trans.inverted())

    @property
    def words(self):
        return [t.get_text() for t in self.texts]


@pytest.fixture(scope="module", params=NETS)
def drawn(request):
    return Drawn(request.param)


def test_the_machine_is_valid_svg_that_loads_nothing(drawn):
    root = ElementTree.fromstring(drawn.picture.svg)
    assert root.tag == SVG + "svg" and len(list(root.iter(SVG + "path"))) > 50
    assert not list(root.iter(SVG + "text")) and not list(root.iter(SVG + "script"))
    links = re.findall(r'href="([^"]{,22})', drawn.picture.svg)
    assert links and all(link.startswith(("#", "data:image/png;base64,")) for link in links)


def test_the_same_network_gives_the_same_bytes(drawn):
    assert diagrams.machine(NETS[drawn.name]()) == drawn.picture


def test_the_machine_tells_what_it_shows_in_words(drawn):
    picture = drawn.picture
    assert picture.label == "fig-machine" and picture.caption.startswith("How to read it:")
    assert len(picture.alt) >= 300
    for words in ("read-out", "label y", "nudge ±β", "max-pooling", "unpooling", "transposed convolution"):
        assert words in picture.alt
    for step in ("1, clamp", "2, free phase", "3, nudged phases", "4, update"):
        assert step in picture.alt


def test_shapes_are_those_of_the_network(drawn):
    for shape in SHAPES[drawn.name]:
        assert shape in drawn.words and shape in drawn.picture.alt
    assert sum(bool(re.fullmatch(r"\d+×\d+×\d+", word)) for word in drawn.words) == len(SHAPES[drawn.name])


def test_classes_and_updates_are_those_of_the_network():
    two, paper = diagrams.machine(NETS["two layers, one channel"]()), diagrams.machine()
    assert "over 3 classes" in two.alt and "5 updates of every layer" in two.caption
    assert "over 10 classes" in paper.alt and "250 updates of every layer" in paper.caption


def test_every_path_is_drawn_and_none_leads_back_to_the_image(drawn):
    depth = len(SHAPES[drawn.name]) - 1
    up = [f"conv $W_{l}$\nmax-pool" in drawn.words for l in range(depth + 2)]
    assert up == [False, *[True] * depth, False]
    back = [f"unpool\nconv $W_{l}^\\top$" in drawn.words for l in range(depth + 2)]
    assert back == [False, False, *[True] * (depth - 1), False]


def test_the_four_steps_are_numbered_on_the_drawing_and_explained_below_it(drawn):
    for number, title in enumerate(("Clamp", "Free phase", "Nudged phases", "Update"), 1):
        above, below = (b for w, b in zip(drawn.words, drawn.boxes, strict=True) if w == str(number))
        assert above.y0 > diagrams.FLOOR and below.y1 < diagrams.CARD + diagrams.MARGIN
        beside = drawn.boxes[drawn.words.index(title)]
        assert 0 < beside.x0 - below.x1 < 0.3 and beside.y0 < (below.y0 + below.y1) / 2 < beside.y1


def test_paths_differ_in_colour_and_in_line(drawn):
    assert len(set(diagrams.DASHES.values())) == 3
    for colour in ("#0072b2", "#d55e00", *diagrams.DASHES):
        assert f"stroke: {colour}" in drawn.picture.svg


def test_texts_are_large_enough_and_inside_the_drawing(drawn):
    for text, box in zip(drawn.texts, drawn.boxes, strict=True):
        assert text.get_fontsize() >= 9
        assert min(box.x0, box.y0) > 0 and box.x1 < drawn.width and box.y1 < drawn.height, text


def test_no_text_lies_on_another(drawn):
    for (one, a), (other, b) in combinations(zip(drawn.words, drawn.boxes, strict=True), 2):
        assert min(a.x1, b.x1) < max(a.x0, b.x0) or min(a.y1, b.y1) < max(a.y0, b.y0), (one, other)


def test_no_text_leaves_its_card(drawn):
    cards = [p for p in drawn.panels if p.y1 < diagrams.FLOOR]
    assert len(cards) == 4
    for word, box in zip(drawn.words, drawn.boxes, strict=True):
        if box.y1 < max(card.y1 for card in cards):
            assert any(c.x0 < box.x0 and box.x1 < c.x1 and c.y0 < box.y0 for c in cards), word

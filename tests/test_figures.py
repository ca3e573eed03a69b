import base64
import io
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from eplib import figures, pictures, published
from eplib.chapters import Badge
from eplib.results import Result

EPSILONS = {"linf": [0.001, 0.01, 0.1], "l2": [0.05, 0.309, 3.0]}
SHARES = {"ep-cnn": (0.84, 0.55, 0.07), "cnn": (0.8, 0.3, 0.02)}


def result(model, norm="linf", seed=0, n=100):
    correct = np.array([np.arange(n) < round(n * share) for share in SHARES[model]])
    settings = {"epsilons": EPSILONS[norm], "norm": norm, "seed": seed, "dataset": "sample", "model": model}
    return Result(settings, None, np.arange(n), correct[0], correct, {})


def curves(norm="linf", dataset="sample", seeds=(0, 1), models=("ep-cnn", "cnn")):
    ours = {m: [result(m, norm, s) for s in seeds] for m in models}
    return figures.robustness_curves(norm, ours, Badge(dataset, "quick", 100, seeds))


def accuracies():
    rows = []
    means = {("ep-cnn", "EP-CNN, 20 forward steps"): (0.81, 0.85), ("cnn", "CNN"): (0.9, 0.92)}
    for (model, label), values in means.items():
        points = [pd.Series({"value": v, "low": v - 0.02, "high": v + 0.01}) for v in values]
        rows.append((model, label, points))
    return figures.clean_accuracy(rows, Badge("sample", "quick", 2000, (0, 1)))


def attacked(changed=True):
    x = 0.9 * torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    labels, classes = torch.tensor([0, 1, 2]), ("t-shirt", "trouser", "pullover")
    copies = x + 0.03 if changed else x
    attacks = {"ep-cnn": (copies, torch.tensor([0, 1, 0])), "cnn": (x + 0.01, torch.tensor([1, 0, 2]))}
    return figures.attacked_images(
        {
            "norm": "linf",
            "epsilon": 8 / 255,
            "classes": classes,
            "images": x,
            "labels": labels,
            "attacked": attacks,
        }
    )


PICTURES = {
    "curves": curves,
    "l2 curves": lambda: curves("l2", "cifar10", (0,)),
    "accuracy": accuracies,
    "attacked images": attacked,
}


@pytest.fixture(scope="module", params=PICTURES)
def pair(request):
    """The same picture, drawn twice."""
    return [PICTURES[request.param]() for _ in range(2)]


def test_pictures_are_valid_svg(pair):
    root = ElementTree.fromstring(pair[0].svg)
    assert root.tag == "{http://www.w3.org/2000/svg}svg" and root.get("viewBox")
    assert len(list(root.iter("{http://www.w3.org/2000/svg}path"))) > 10


def test_the_same_call_gives_the_same_bytes(pair):
    assert pair[0] == pair[1]


def test_pictures_load_nothing(pair):
    references = []
    for element in ElementTree.fromstring(pair[0].svg).iter():
        assert element.tag.split("}")[-1] not in ("script", "foreignObject", "iframe")
        references += [v for key, v in element.attrib.items() if key.split("}")[-1] in ("href", "src")]
        references += re.findall(r"url\(([^)]*)\)", " ".join(element.attrib.values()))
        references += re.findall(r"@import|url\(([^)]*)\)", element.text or "")
    assert references  # glyphs, markers and clip paths at least
    assert all(r.startswith(("#", "data:image/png;base64,")) for r in references)


def test_pictures_show_themselves_with_a_text_for_those_who_cannot_see_them(pair):
    picture = pair[0]
    html = ElementTree.fromstring(picture._repr_html_().replace('100%">', '100%"/>'))  # close <img>
    image = html.find("img")
    kind, content = image.get("src").split(",")
    assert kind == "data:image/svg+xml;base64" and base64.b64decode(content).decode() == picture.svg
    assert image.get("alt") == picture.alt and len(picture.alt) > 40
    assert html.find("figcaption").text == picture.caption and picture.caption.startswith("How to read it")


def test_both_networks_are_drawn_in_their_colours(pair):
    for model in ("ep-cnn", "cnn"):
        assert pictures.COLOURS[model] in pair[0].svg


def test_markup_in_a_text_is_escaped():
    html = pictures.Picture("fig-x", "<svg/>", "a < b & c", 'say "ε" <now>')._repr_html_()
    assert "a &lt; b &amp; c" in html and 'alt="say &quot;ε&quot; &lt;now&gt;"' in html


def test_a_model_left_out_is_drawn_by_the_published_side_only():
    both, one = curves().svg, curves(models=("cnn",)).svg
    assert both.count(pictures.COLOURS["ep-cnn"]) > one.count(pictures.COLOURS["ep-cnn"]) > 0
    assert both.count(pictures.COLOURS["cnn"]) == one.count(pictures.COLOURS["cnn"])


def test_curves_tell_their_numbers():
    picture = curves()
    assert "EP-CNN 7% at the largest ε and 84% at the smallest" in picture.alt
    assert "CNN 2% at the largest ε and 80% at the smallest" in picture.alt
    assert "Published on the left" in picture.alt
    for words in ("Fashion-MNIST sample", "quick scale", "n = 100 test images", "seeds 0, 1", "Wilson"):
        assert words in picture.caption


def test_curves_of_other_images_are_dashed_and_say_so():
    assert "stroke-dasharray" in curves().svg and "dashed" in curves().caption
    assert "dashed" not in curves(dataset="cifar10").caption


def test_published_curves_move_with_the_published_numbers(monkeypatch):
    before, theirs = curves().svg, published.pgd_curves
    monkeypatch.setattr(published, "pgd_curves", lambda norm: {m: c * 0.9 for m, c in theirs(norm).items()})
    assert curves().svg != before


def test_accuracies_tell_their_numbers():
    picture = accuracies()
    assert "EP-CNN, 20 forward steps 83.0%" in picture.alt and "CNN 91.0%" in picture.alt
    assert "Fashion-MNIST sample, quick scale" in picture.caption


def test_attacked_images_tell_how_many_are_wrong():
    picture = attacked()
    for text in (picture.alt, picture.caption):
        assert "EP-CNN 1 of 3" in text and "CNN 2 of 3" in text
    assert "ℓ∞ ε = 8/255" in picture.caption
    assert picture.svg.count("<image ") == 15  # three images; attacked copies and changes of two networks


def test_no_change_at_all_is_drawn_grey():
    drawn = re.findall(r'data:image/png;base64,\s*([^"]*)"', attacked(changed=False).svg)
    pixels = [np.asarray(Image.open(io.BytesIO(base64.b64decode(png))).convert("RGBA")) for png in drawn]
    for change in pixels[6:9]:  # of the first network, below its attacked images
        assert (change[..., 3] == 255).all() and (abs(change[..., :3].astype(int) - 127) <= 1).all()


def dark_rules(picture):
    """{(part, colour): colour in a dark page} of a picture's style."""
    rules = re.findall(r'\[style\*="(fill|stroke): (#\w+)"\]\{\1:(#\w+)!important\}', picture.svg)
    return {(part, colour): there for part, colour, there in rules}


def test_a_drawing_can_be_read_on_a_dark_page():
    rules = dark_rules(curves())
    used = set(re.findall(r"(fill|stroke): (#[0-9a-f]{6})", curves().svg.partition("</defs>")[2]))
    assert set(rules) == used and ("fill", "#ffffff") in used and ("stroke", "#0072b2") in used
    dark = pictures.PAPER["dark"]
    for (_, colour), there in rules.items():
        rgb = [int(there[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        if colour == "#ffffff":
            assert rgb == pytest.approx(dark, abs=0.003)
        elif colour != "#b0b0b0":  # the grid, meant to be faint
            assert pictures.contrast(rgb, dark) >= 4.5
    assert "svg{fill:#f2f2f2}" in curves().svg  # words without a colour of their own


def test_images_and_maps_of_many_colours_keep_their_paper():
    many = "<svg><defs></defs>" + "".join(f'<path style="fill: #0000{i:02x}"/>' for i in range(21)) + "</svg>"
    assert pictures.for_both_themes(many) == many
    assert "prefers-color-scheme" in pictures.for_both_themes(many.replace("#000014", "#000013"))
    assert "<image" in attacked().svg and "prefers-color-scheme" not in attacked().svg


def test_contrast_is_that_of_wcag():
    assert pictures.contrast((1, 1, 1), (0, 0, 0)) == pytest.approx(21)
    assert pictures.contrast((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)) == 1
    grey = [0x77 / 255] * 3  # the known grey just below 4.5 on white
    assert pictures.contrast(grey, (1, 1, 1)) == pytest.approx(4.478, abs=0.001)

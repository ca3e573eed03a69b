"""What the tests of every module of figures share: pictures without their drawing, drawings without their
pictures, and what holds for each picture.
"""

import base64
import xml.etree.ElementTree as ElementTree

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from eplib.pictures import STYLE, Picture


def words_only(label, grid, plot, caption, alt, **size):
    """In the place of `eplib.pictures.draw`: the picture without its drawing."""
    return Picture(label, "", caption, alt)


def axes_only(label, grid, plot, caption, alt, width=9.0, height=3.9, sharey=True):
    """In the place of `eplib.pictures.draw`: the axes that the picture is drawn on, always a list."""
    with rc_context(STYLE):
        found = Figure(figsize=(width, height)).subplots(*grid, sharey=sharey)
        plot(found)
    return np.atleast_1d(found)


def is_valid_svg_of_the_same_bytes_that_loads_nothing(pair):
    """pair: ([a picture, the same drawn again], its label)."""
    (first, second), label = pair
    root = ElementTree.fromstring(first.svg)
    assert root.tag == "{http://www.w3.org/2000/svg}svg" and root.get("viewBox")
    assert first == second and first.label == label
    links = [v for e in root.iter() for k, v in e.attrib.items() if k.endswith("href")]
    assert links and all(v.startswith("#") for v in links)


def shows_itself_with_a_text_for_those_who_cannot_see_it(pair):
    """pair: ([a picture, the same drawn again], its label)."""
    picture = pair[0][0]
    html = ElementTree.fromstring(picture._repr_html_().replace('100%">', '100%"/>'))  # close <img>
    image = html.find("img")
    assert base64.b64decode(image.get("src").split(",")[1]).decode() == picture.svg
    assert html.get("id") == picture.label and image.get("alt") == picture.alt
    assert html.find("figcaption").text == picture.caption
    assert picture.caption.startswith("How to read it: ") and "quick scale" in picture.caption
    assert len(picture.alt) > 60 and picture.alt.endswith(".") and "nan" not in picture.alt + picture.caption

"""Figures of planes through the space of images, coloured by class."""

import numpy as np
from matplotlib.colors import ListedColormap

from eplib import slices
from eplib.pictures import draw, name

CLASS_COLOURS = (
    *("#4e79a7", "#f28e2b", "#e15759", "#76b7b2", "#59a14f"),
    *("#edc948", "#b07aa1", "#ff9da7", "#9c755f", "#bab0ac"),
)
TITLES = {"images": "through three images", "attack": "along an attack"}


def palette(classes):
    """A colour for every class."""
    return [CLASS_COLOURS[c % len(CLASS_COLOURS)] for c in range(classes)]


def planes(results, image, page):
    """The planes of one image for several networks. results: {model: Result of "slices"}."""
    cells = ListedColormap(palette(10))

    def plot(axes):
        for column, (model, result) in zip(axes.T, results.items(), strict=True):
            for ax, k in zip(column, range(len(slices.KINDS)), strict=True):
                classes = result.arrays["classes"][k, ..., image]
                ax.imshow(classes.T, origin="lower", cmap=cells, vmin=-0.5, vmax=9.5, interpolation="nearest")
                ax.set(xticks=[], yticks=[])
                ax.grid(False)
                _marks(ax, slices.KINDS[k], len(classes) - 1)
            column[0].set_title(name(model), fontsize=9.5)
        for row, kind in zip(axes, slices.KINDS, strict=True):
            row[0].set_ylabel(TITLES[kind], fontsize=9)

    side = next(iter(results.values())).settings["sizes"]["side"]
    caption = (
        "How to read it: every pixel is an image, its colour the class that the network above gives it. Top:"
        " the plane through three test images (black dots: the first at the bottom left, the second to the"
        " right, the third above); bottom: one test image (black dot in the middle), to the right the change"
        " that ℓ2 PGD makes, upwards a random change, both up to a length of"
        f" {slices.REACH:g}. Ragged borders would be a fractal boundary. {side} × {side} cells. {page.text}."
    )
    told = "; ".join(
        f"{name(m)}: "
        + ", ".join(
            f"{len(np.unique(r.arrays['classes'][k, ..., image]))} classes {TITLES[kind]}"
            for k, kind in enumerate(slices.KINDS)
        )
        for m, r in results.items()
    )
    size = dict(width=2.1 * len(results) + 0.4, height=4.7, sharey=False)
    return draw("fig-boundary-planes", (2, len(results)), plot, caption, f"Planes. {told}.", **size)


def _marks(ax, kind, side):
    low = slices.MARGIN / (1 + 2 * slices.MARGIN) * side
    high = side - low
    points = [(low, low), (high, low), (low, high)] if kind == "images" else [(side / 2, side / 2)]
    ax.plot(
        *np.transpose(points), "o", color="black", markersize=4, markeredgecolor="white", markeredgewidth=0.7
    )

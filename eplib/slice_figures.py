"""Figures of planes through the space of images, coloured by class."""

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.ticker import FixedLocator, NullLocator

from eplib import panels, slices, zooms
from eplib.pictures import draw, name
from eplib.uncertainty_figures import colours

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


def enlarged(results, page):
    """The boundary of two or more networks at every enlargement, of the image whose planes have one in most
    of them. results: {model: Result of "zooms"}.
    """
    image = widest(results)
    cells, shape = ListedColormap(palette(10)), (len(results), zooms.LEVELS)

    def plot(axes):
        axes = np.atleast_2d(axes)
        for k, ax in enumerate(axes[0]):
            ax.set_title(f"{zooms.FACTOR**k} ×", fontsize=9.5)
        for row, (model, result) in zip(axes, results.items(), strict=True):
            for k, ax in enumerate(row):
                classes = result.arrays["classes"][k, ..., image]
                ax.imshow(classes.T, origin="lower", cmap=cells, vmin=-0.5, vmax=9.5, interpolation="nearest")
                ax.set(xticks=[], yticks=[])
                ax.grid(False)
            row[0].set_ylabel(name(model), fontsize=9)

    side = next(iter(results.values())).settings["sizes"]["side"]
    caption = (
        f"How to read it: each picture shows the middle of the one to its left {zooms.FACTOR} times enlarged,"
        " around a place where two classes meet; colours are classes. A smooth boundary is a straight line"
        f" soon; a fractal one stays as ragged as it was. {side} × {side} cells. {page.text}."
    )
    counts = {
        m: [len(np.unique(r.arrays["classes"][k, ..., image])) for k in range(zooms.LEVELS)]
        for m, r in results.items()
    }
    told = "; ".join(f"{name(m)} {', '.join(map(str, c))}" for m, c in counts.items())
    alt = f"A boundary enlarged. Classes in view at every enlargement: {told}."
    size = dict(width=8.4, height=2.05 * len(results) + 0.4, sharey=False)
    return draw("fig-boundary-enlarged", shape, plot, caption, alt, **size)


def widest(results):
    """The image whose planes have more than one class in most of the results, the first of equals."""
    several = [
        [len(np.unique(grid)) > 1 for grid in np.moveaxis(r.arrays["classes"][0], -1, 0)]
        for r in results.values()
    ]
    return int(np.sum(several, 0).argmax())


def by_enlargement(results, page):
    """The exponent inside the plane at every enlargement. results: {model: [Result of "zooms"]}."""
    ink = colours(results)
    levels = range(zooms.LEVELS)
    steps = [zooms.FACTOR**k for k in levels]
    found = {
        m: [np.array([zooms.measured(r.arrays["classes"], k, "exponent") for k in levels]) for r in every]
        for m, every in results.items()
    }

    def plot(ax):
        for i, (model, curves) in enumerate(found.items()):
            for curve in curves:
                at = np.array(steps) * 1.05 ** (i - len(found) / 2)  # beside each other
                ax.plot(at, curve[:, 0], "-o", color=ink[model], markersize=4, linewidth=1.4)
                ax.vlines(at, curve[:, 1], curve[:, 2], color=ink[model], linewidth=1, alpha=0.6)
            words = f"— {name(model)}"
            shade = panels.readable(ink[model])
            ax.text(1.02, 0.97 - 0.1 * i, words, transform=ax.transAxes, color=shade, fontsize=9, va="top")
        ax.axhline(1, color="#333333", linewidth=0.8, linestyle=":")
        ax.set(xscale="log", ylim=(0, 1.3), xlabel="enlargement", ylabel="exponent α inside the plane")
        ax.xaxis.set_major_locator(FixedLocator(steps))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter("{x:g}")

    told = "; ".join(
        f"{name(m)} {', '.join(f'{v:.2f}' for v in np.nanmean([c[:, 0] for c in curves], 0))}"
        for m, curves in found.items()
    )
    caption = (
        "How to read it: the dotted line is a smooth boundary. A curve that rises to it is ragged at some"
        " lengths only; one that stays below is ragged at all that were looked at. Means over the planes with"
        f" a boundary, strokes their 95 % t intervals, one curve a seed. {page.text}."
    )
    alt = f"Exponent inside the plane by enlargement ({', '.join(map(str, steps))}): {told}."
    return draw("fig-boundary-enlargement", (1, 1), plot, caption, alt, width=8.6, height=3.4)

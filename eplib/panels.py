"""A panel of curves with their names beside them, and the colours, ticks and sizes that all panels share."""

import textwrap
from dataclasses import dataclass, replace

import numpy as np
from matplotlib import colors
from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter

from eplib.checks import InputError, amount
from eplib.network_figures import SHADES, spread
from eplib.pictures import COLOURS, PAPER, contrast

PREFERRED = COLOURS | {  # where no other curve of the figure has the colour
    "vit": "#8a6d00",
    "cnn-at-l2-0.05": "#cc79a7",
    "cnn-at-l2-0.5": "#009e73",
    "cnn-at-l2-0.75": "#56b4e9",
    "cnn-at-l2-1": "#444444",
}
MORE = ("#8c564b", "#9467bd", "#a5182b", "#5a7d1e", "#e377c2", "#17a2b8")
POOL = tuple(dict.fromkeys((*SHADES, *COLOURS.values(), *MORE)))
UNITS = {"linf": 255, "l2": 1}  # of the axis, in one of the pixels' [0, 1]
XLABELS = {"linf": "ℓ∞ perturbation ε (/255)", "l2": "ℓ2 perturbation ε (pixels in [0, 1])"}
TICKS = {  # of a logarithmic axis, the more important first: each is drawn where there is room
    "linf": (8, 1, 0.1, 64, 0.25, 2, 4, 0.5, 16, 32, 255, 128, 0.05, 0.025),
    "l2": (1, 0.1, 0.01, 0.5, 0.05, 2, 0.2, 0.02, 5, 0.005, 3),
}
LETTER, GAP = 0.0233, 0.015  # what one of a tick's label and the space between two take of the panel's width
WIDTH, LEFT, BOTTOM, TOP, BETWEEN = 10.4, 0.65, 0.52, 0.33, 0.25  # inches
COLUMN, LETTERS, SIZE, LINE = 1.75, 22, 8.5, 0.155  # of labels: inches, letters a line, points, inches a line
PANEL = 3.3  # inches that a panel is high, unless its labels need more
NO_BREAK = "\u00a0"  # a space
NOTHING = "no network stored yet"


@dataclass(frozen=True)
class Curve:
    """The accuracy of one model at several ε.

    model: key of its colour. label: its words. x: ε in pixels of [0, 1], ascending. y, low, high: accuracy
    and the bounds of its band, fractions. dashed: whether its images are others than the paper's. radius:
    median first-order radius in the units of x. colour: other than the one that `figure` chooses. line: its
    style, other than `dashed` says.

    Raises InputError where there is no ε, their order is another, or lengths differ.
    """

    model: str
    label: str
    x: tuple
    y: tuple
    low: tuple
    high: tuple
    dashed: bool = False
    radius: float | None = None
    colour: str | None = None
    line: str | None = None

    def __post_init__(self):
        lengths = [len(v) for v in (self.x, self.y, self.low, self.high)]
        if len(set(lengths)) > 1 or not lengths[0] or any(np.diff(self.x) <= 0):
            raise InputError(
                f"a curve of {self.model} with lengths {lengths} and ε {self.x}: give as many values as ε,"
                " one or more, ascending"
            )


def coloured(*groups):
    """The curves of every group with a colour; a model has the same in all of them."""
    models = dict.fromkeys(c.model for curves in groups for c in curves)
    found = {c.model: c.colour for curves in groups for c in curves if c.colour}
    for wanted in (COLOURS, PREFERRED):
        for model in models:
            if model not in found and wanted.get(model) not in (None, *found.values()):
                found[model] = wanted[model]
    found |= unlike([m for m in models if m not in found], found.values())
    return [[replace(c, colour=found[c.model]) for c in curves] for curves in groups]


def tints(models):
    """{model: colour}, its own of `COLOURS` or, of a network of others, one that is none of these and not the
    dark grey of what is not attacked.
    """
    own = {m: COLOURS[m] for m in models if m in COLOURS}
    return own | unlike([m for m in models if m not in own], (*COLOURS.values(), "#444444"))


def unlike(models, taken):
    """{model: colour} of networks without a colour of their own, none of those that are taken."""
    free = [c for c in POOL if c not in taken]
    return {model: free[i % len(free)] for i, model in enumerate(models)}


def arrange(axs, inside):
    """Panels of the same size, each with a column for its labels, so that nothing moves between views."""
    width = (WIDTH - LEFT - len(axs) * COLUMN - (len(axs) - 1) * BETWEEN) / len(axs)
    height = inside + BOTTOM + TOP
    axs[0].figure.set_layout_engine("none")
    for i, ax in enumerate(axs):
        left = LEFT + i * (width + COLUMN + BETWEEN)
        ax.set_position([left / WIDTH, BOTTOM / height, width / WIDTH, inside / height])
    axs[0].set_ylabel("accuracy under attack")


def panel(ax, title, curves, axes, inside):
    unit = UNITS[axes.norm]
    x, (bottom, top) = [unit * e for e in axes.x], axes.y
    ax.set_title(title, fontsize=10, loc="left")
    ax.set(xscale=axes.scale, xlim=x, ylim=(bottom - 0.015, top + 0.015), xlabel=XLABELS[axes.norm])
    ax.tick_params(labelsize=9)
    ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    if axes.scale == "log":
        ax.xaxis.set_major_locator(FixedLocator(_ticks(axes.norm, x)))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter("{x:g}")
    for c in curves:
        along = unit * np.array(c.x)
        style = c.line or ("--" if c.dashed else "-")
        ax.plot(along, c.y, style, color=c.colour, linewidth=1.6, marker="o", markersize=3)
        ax.fill_between(along, c.low, c.high, color=c.colour, alpha=0.15, linewidth=0)
        if c.radius is not None:
            at, mark = _radius(c, axes)
            style = dict(markersize=7, markerfacecolor="white", markeredgewidth=1.5, zorder=3, clip_on=False)
            ax.plot(unit * at, _at(c, at, axes), mark, color=c.colour, **style)
    if curves:
        _label(ax, curves, axes, inside)
    else:
        ax.text(0.5, 0.5, NOTHING, transform=ax.transAxes, ha="center", va="center", color="#444444")


def _ticks(norm, limits):
    """The ticks of a logarithmic axis between two limits, in their units."""
    low, high = np.log(limits)
    found = {}
    for tick in TICKS[norm]:
        place, letters = (np.log(tick) - low) / (high - low), len(f"{tick:g}")
        room = [abs(place - p) - LETTER * (letters + len(f"{t:g}")) / 2 for t, p in found.items()]
        if 0 <= place <= 1 and min(room, default=1) > GAP:
            found[tick] = place
    return sorted(found)


def _at(curve, epsilon, axes):
    """The accuracy that a curve, as it is drawn, has at some ε."""
    scale = np.log if axes.scale == "log" else np.asarray
    return float(np.interp(scale(epsilon), scale(curve.x), curve.y))


def _radius(curve, axes):
    """(ε, marker) of a curve's first-order radius: a diamond on the curve, or where nothing was measured
    there, an arrow at that ε or, beyond the panel, at its edge.
    """
    if curve.x[0] <= curve.radius <= curve.x[-1]:
        return curve.radius, "D"
    return float(np.clip(curve.radius, *axes.x)), "<" if curve.radius < curve.x[0] else ">"


def _words(curve, axes):
    """The label of a curve, with its first-order radius where no diamond shows it."""
    mark = "D" if curve.radius is None else _radius(curve, axes)[1]
    if mark == "D":
        return curve.label
    words = f"(◇ {'←' if mark == '<' else '→'} {amount(axes.norm, curve.radius)})"
    return f"{curve.label} {words.replace(' ', NO_BREAK)}"


def lines(curves, axes):
    """The most lines that a label of these curves takes."""
    return max((len(textwrap.wrap(_words(c, axes), LETTERS)) for c in curves), default=1)


def _label(ax, curves, axes, inside):
    """The names of the curves in the column on the right, each joined to where its curve ends."""
    bottom, top = ax.get_ylim()
    ends = [min(c.x[-1], axes.x[1]) for c in curves]
    y = [_at(c, end, axes) for c, end in zip(curves, ends, strict=True)]
    heights = spread([(v - bottom) / (top - bottom) for v in y], LINE * lines(curves, axes) / inside)
    beside = 1 + 0.17 / (ax.get_position().width * WIDTH)
    for c, end, v, height in zip(curves, ends, y, heights, strict=True):
        words, place = textwrap.fill(_words(c, axes), LETTERS), (UNITS[axes.norm] * end, v)
        named(ax, words, place, (beside, height), c.colour, shrinkA=1, shrinkB=2)


def named(ax, words, end, place, colour, size=SIZE, **line):
    """Words at `place` (fractions of the axes), in a shade of `colour` that can be read, joined to the point
    `end` of the data. size: of the letters, in points. line: how the joining line is drawn.
    """
    ax.annotate(
        words,
        end,
        place,
        textcoords="axes fraction",
        va="center",
        fontsize=size,
        color=readable(colour),
        annotation_clip=False,
        arrowprops=dict(arrowstyle="-", color=colour, linewidth=0.8, relpos=(0, 0.5)) | line,
    )


def readable(colour):
    """A colour as dark as text on white must be: a contrast of 4.5."""
    rgb = np.array(colors.to_rgb(colour))
    while contrast(rgb, PAPER["light"]) < 4.5:
        rgb = 0.95 * rgb
    return colors.to_hex(rgb)

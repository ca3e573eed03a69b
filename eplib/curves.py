"""Accuracy against ε: the published curves and ours on the same axes, beside each other or one at a time."""

import base64
import html
import textwrap
from dataclasses import dataclass, replace

import numpy as np
from matplotlib import colors
from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter

from eplib import chapters, published_curves, statistics
from eplib.checks import NORMS, InputError
from eplib.network_figures import SHADES, spread
from eplib.pictures import COLOURS, draw
from eplib.published_curves import name
from eplib.sentences import table as table_of_words
from eplib.verdicts import PAPER_DATASETS

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
LIGHT = (0.2126, 0.7152, 0.0722)  # what red, green and blue have of the luminance
NOTHING = "no network stored yet"
READING = "How to read it: the further right a curve falls, the more a network withstands."
OURS = (
    "an image counts where it is right before and under attack with its true label; lines are means over"
    " seeds, bands reach from the lowest to the highest bound of the seeds' 95 % Wilson intervals."
)
ADVERSARIAL = "“adv.”: trained on images that PGD attacks in that norm with that ε."
DIAMONDS = (
    "Open diamonds: the median first-order radius, the margin of an image divided by the norm of its input"
    " gradient."
)


@dataclass(frozen=True)
class Curve:
    """The accuracy of one model at several ε.

    model: key of its colour. label: its words. x: ε in pixels of [0, 1], ascending. y, low, high: accuracy
    and the bounds of its band, fractions. dashed: whether its images are others than the paper's. radius:
    median first-order radius in the units of x. colour: other than the one that `figure` chooses.

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

    def __post_init__(self):
        lengths = [len(v) for v in (self.x, self.y, self.low, self.high)]
        if len(set(lengths)) > 1 or not lengths[0] or any(np.diff(self.x) <= 0):
            raise InputError(
                f"a curve of {self.model} with lengths {lengths} and ε {self.x}: give as many values as ε,"
                " one or more, ascending"
            )


def of_results(results_by_model, dashed, radii=None):
    """Our curves: [Curve] of {model: [Result, one a seed]}, models without results left out.

    y is the mean over the seeds; the band reaches from the lowest to the highest bound of their 95 % Wilson
    intervals. radii: {model: median first-order radius, in pixels of [0, 1]}. Raises InputError where the
    seeds of a model were measured at different ε.
    """
    found = []
    for model, results in results_by_model.items():
        if results:
            x = _epsilons(model, results)
            order = np.argsort(x)
            bounds = [[statistics.wilson(c.sum(), c.size) for c in r.correct[order]] for r in results]
            y = np.mean([r.correct[order].mean(1) for r in results], 0)
            low, high = np.min(bounds, 0)[:, 0], np.max(bounds, 0)[:, 1]
            values = [tuple(np.asarray(v).tolist()) for v in (np.array(x)[order], y, low, high)]
            found.append(Curve(model, name(model), *values, dashed, (radii or {}).get(model)))
    return found


def _epsilons(model, results):
    """The ε at which all results of a model were measured, one outcome each."""
    given = {tuple(r.settings["epsilons"]) for r in results}
    if len(given) > 1 or any(len(r.correct) != len(e) for r in results for e in given):
        raise InputError(
            f"results of {model} at different ε or with other outcomes than one an ε: give results of one"
            " measurement with the same settings"
        )
    return given.pop()


def of_published(figure):
    """The curves of a figure of the paper, [Curve]: means over seeds, bands of one standard deviation. Raises
    InputError for a figure that `eplib.published_curves` does not know.
    """
    return [
        Curve(model, name(model), *(tuple(v.tolist()) for v in (t.index, t["mean"], t.low, t.high)))
        for model, t in published_curves.curves(figure).items()
    ]


def other_images(badge):
    """Whether a page's images are others than the paper's, so that our curves are dashed."""
    return badge.dataset not in PAPER_DATASETS


@dataclass(frozen=True)
class Toggle:
    """A figure with three views, of which a page shows one: {its name: Picture}, the first at the beginning,
    in print and without a style sheet. label, caption: as of a `Picture`. Displays itself in a notebook.
    """

    label: str
    views: dict
    caption: str

    @property
    def svg(self):
        """The drawing of the first view."""
        return next(iter(self.views.values())).svg

    @property
    def alt(self):
        """What the first view shows, in words."""
        return next(iter(self.views.values())).alt

    def _repr_html_(self):
        controls, images, rules = "", "", ""
        for place, (view, picture) in enumerate(self.views.items(), 1):
            one, first = f"{self.label}-view-{place}", place == 1
            controls += (
                f'<input type="radio" name="{self.label}-view" id="{one}"{" checked" * first}>'
                f'<label for="{one}">{html.escape(view)}</label>'
            )
            data = base64.b64encode(picture.svg.encode()).decode()
            images += (
                f'<img src="data:image/svg+xml;base64,{data}" alt="{html.escape(picture.alt)}"'
                f"{' hidden' * (not first)}>"
            )
            rules += RULE.format(id=self.label, place=place)
        return (
            f'<figure class="eplib eplib-toggle" id="{self.label}">'
            f"<style>{STYLE.replace('#id', f'#{self.label}')}@media screen {{ {rules}}}</style>"
            f"<fieldset><legend>show</legend>{controls}{images}</fieldset>"
            f"<figcaption>{html.escape(self.caption)}</figcaption></figure>"
        )


# Style sheets of books hide what is `hidden` with !important, so showing it takes the same.
RULE = (
    "#{id} input:nth-of-type({place}):checked ~ img {{ display: none !important; }} "
    "#{id} input:nth-of-type({place}):checked ~ img:nth-of-type({place}) {{ display: block !important; }} "
)
STYLE = (
    "#id fieldset { border: 0; margin: 0; padding: 0; min-width: 0; } "
    "#id legend { float: left; width: auto; margin: 0 .8em 0 0; padding: 0; font-size: 1rem; } "
    "#id input { margin: 0 .35em 0 0; accent-color: #0072b2; } "
    "#id label { display: inline-block; margin: 0 1em .3em 0; cursor: pointer; } "
    "#id input:focus-visible + label { outline: 2px solid #0072b2; outline-offset: 2px; } "
    "#id img { clear: both; max-width: 100%; height: auto; background: white; } "
    "@media print { #id legend, #id input, #id label { display: none; } } "
)


def figure(label, published, ours, badge=None, start="", more="", axes=None):
    """Accuracy against ε: a figure of the paper beside our curves, a `Toggle` whose views share their axes;
    without a published figure, a `Picture` of ours.

    published: its name in data/published/figures.csv, or None. ours: [Curve] (`of_results`), empty while no
    network is stored. badge: `chapters.Badge` of ours. start, more: sentences at the beginning and the end of
    the caption. axes: `published_curves.Axes` other than those of the published figure; widened where ours
    need more. Raises InputError for an unknown figure, and where badge or axes are missing.
    """
    if (ours and badge is None) or (axes is None and published is None):
        raise InputError(
            f"figure {label} without its badge or axes: give the badge of our curves, and axes where the"
            " paper has no such figure"
        )
    axes = _widened(axes or published_curves.of(published).axes, ours)
    theirs, ours = _coloured(of_published(published) if published else [], ours)
    panels = {"ours": (_ours(badge), ours)}
    if published:
        panels = {"published": (f"published: {_title(published)}", theirs)} | panels
    caption = _caption(published, theirs, ours, badge, start, more)
    inside = max(PANEL, *(len(c) * LINE * _lines(c) for _, c in panels.values()))

    def view(*chosen):
        def plot(axs):
            _arrange(np.atleast_1d(axs), inside)
            for ax, panel in zip(np.atleast_1d(axs), chosen, strict=True):
                _panel(ax, *panels[panel], axes, inside)

        alt = " ".join(f"{panels[p][0]}: {_told(panels[p][1], axes)}." for p in chosen)
        alt = f"Accuracy under attack against {XLABELS[axes.norm]}. {alt}"
        height = inside + BOTTOM + TOP
        return draw(label, (1, len(chosen)), plot, caption, alt, width=WIDTH, height=height)

    if not published:
        return view("ours")
    views = {"side by side": ("published", "ours"), "published": ("published",), "ours": ("ours",)}
    return Toggle(label, {words: view(*chosen) for words, chosen in views.items()}, caption)


def _title(figure):
    found = published_curves.of(figure)
    return f"{chapters.DATASET_NAMES[found.dataset]}, {found.title}"


def _ours(badge):
    return f"ours: {badge.dataset_name}, {badge.scale} scale" if badge else "ours"


def _widened(axes, curves):
    """The axes with room for every point of these curves."""
    x = [e for c in curves for e in c.x]
    y = [v for c in curves for v in (*c.low, *c.high)]
    low, high = (0.9, 1.1) if axes.scale == "log" else (1, 1)
    return replace(
        axes,
        x=(min(axes.x[0], *(low * e for e in x)), max(axes.x[1], *(high * e for e in x))) if x else axes.x,
        y=(min([axes.y[0], *y]), max([axes.y[1], *y])),
    )


def _coloured(*groups):
    """The curves of every group with a colour; a model has the same in all of them."""
    models = dict.fromkeys(c.model for curves in groups for c in curves)
    found = {c.model: c.colour for curves in groups for c in curves if c.colour}
    for wanted in (COLOURS, PREFERRED):
        for model in models:
            if model not in found and wanted.get(model) not in (None, *found.values()):
                found[model] = wanted[model]
    free = [c for c in POOL if c not in found.values()]
    for i, model in enumerate(m for m in models if m not in found):
        found[model] = free[i % len(free)]
    return [[replace(c, colour=found[c.model]) for c in curves] for curves in groups]


def _arrange(axs, inside):
    """Panels of the same size, each with a column for its labels, so that nothing moves between views."""
    width = (WIDTH - LEFT - len(axs) * COLUMN - (len(axs) - 1) * BETWEEN) / len(axs)
    height = inside + BOTTOM + TOP
    axs[0].figure.set_layout_engine("none")
    for i, ax in enumerate(axs):
        left = LEFT + i * (width + COLUMN + BETWEEN)
        ax.set_position([left / WIDTH, BOTTOM / height, width / WIDTH, inside / height])
    axs[0].set_ylabel("accuracy under attack")


def _panel(ax, title, curves, axes, inside):
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
        ax.plot(
            along, c.y, "--" if c.dashed else "-", color=c.colour, linewidth=1.6, marker="o", markersize=3
        )
        ax.fill_between(along, c.low, c.high, color=c.colour, alpha=0.15, linewidth=0)
        if _marked(c):
            style = dict(markersize=7, markerfacecolor="white", markeredgewidth=1.5, zorder=3)
            ax.plot(unit * c.radius, _at(c, c.radius, axes), "D", color=c.colour, **style)
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


def _marked(curve):
    return curve.radius is not None and curve.x[0] <= curve.radius <= curve.x[-1]


def _lines(curves):
    """The most lines that a label of these curves takes."""
    return max((len(textwrap.wrap(c.label, LETTERS)) for c in curves), default=1)


def _label(ax, curves, axes, inside):
    """The names of the curves in the column on the right, each joined to where its curve ends."""
    bottom, top = ax.get_ylim()
    ends = [min(c.x[-1], axes.x[1]) for c in curves]
    y = [_at(c, end, axes) for c, end in zip(curves, ends, strict=True)]
    heights = spread([(v - bottom) / (top - bottom) for v in y], LINE * _lines(curves) / inside)
    beside = 1 + 0.17 / (ax.get_position().width * WIDTH)
    for c, end, v, height in zip(curves, ends, y, heights, strict=True):
        ax.annotate(
            textwrap.fill(c.label, LETTERS),
            (UNITS[axes.norm] * end, v),
            (beside, height),
            textcoords="axes fraction",
            va="center",
            fontsize=SIZE,
            color=_readable(c.colour),
            annotation_clip=False,
            arrowprops=dict(
                arrowstyle="-", color=c.colour, linewidth=0.8, shrinkA=1, shrinkB=2, relpos=(0, 0.5)
            ),
        )


def _readable(colour):
    """A colour as dark as text on white must be: a contrast of 4.5."""
    rgb = np.array(colors.to_rgb(colour))
    while 1.05 / (0.05 + np.where(rgb > 0.04, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92) @ LIGHT) < 4.5:
        rgb = 0.95 * rgb
    return colors.to_hex(rgb)


def _told(curves, axes):
    """The ends of every curve within the axes, in words."""
    told = []
    for c in curves:
        shown = [
            (UNITS[axes.norm] * e, y) for e, y in zip(c.x, c.y, strict=True) if axes.x[0] <= e <= axes.x[1]
        ]
        ends = [f"{y:.1%} at {e:.3g}" for e, y in (shown[0], shown[-1])] if shown else ["nothing here"]
        told.append(f"{c.label} {' and '.join(dict.fromkeys(ends))}")
    return "; ".join(told) or NOTHING


def _caption(published, theirs, ours, badge, start, more):
    """How to read the figure: where its curves come from, how images count, what is drawn beside curves."""
    said = [f"How to read it: {start}" if start else READING]
    if published:
        said += [f"Published: {_title(published)}; {published_curves.basis(published)}"]
        said += [published_curves.note(published)]
    if ours:
        said += [f"Ours: {badge.text}; {OURS}"]
        said += (
            ["Dashed, because the images are others than the paper's."] if any(c.dashed for c in ours) else []
        )
        said += [_radii(ours)]
    else:
        said += [f"Ours: {NOTHING}."]
    trained = ADVERSARIAL if any("adv." in c.label for c in (*theirs, *ours)) else ""
    return " ".join(sentence for sentence in (*said, trained, more) if sentence)


def _radii(ours):
    """What the diamonds are, and whose are not drawn because nothing was measured there."""
    known = [c for c in ours if c.radius is not None]
    absent = ", ".join(c.label for c in known if not _marked(c))
    drawn = DIAMONDS if any(map(_marked, known)) else ""
    return drawn + (f" Outside of the measured ε lies that radius of {absent}." if absent else "")


def table(results_by_model, radii=None):
    """Our numbers as a table, a line a model: seeds, clean accuracy and accuracy at every ε (percent, means
    over seeds), and the median first-order radius. Arguments and errors as of `of_results`; all models in one
    norm.
    """
    curves = of_results(results_by_model, False, radii)
    norms = {r.settings["norm"] for results in results_by_model.values() for r in results}
    norm = norms.pop() if norms else "l2"
    unit, ending = UNITS[norm], "/255" if norm == "linf" else ""
    epsilons = sorted({e for c in curves for e in c.x})
    lines = []
    for c in curves:
        results, at = results_by_model[c.model], dict(zip(c.x, c.y, strict=True))
        seeds = ", ".join(str(s) for s in sorted(r.settings["seed"] for r in results))
        clean = np.mean([r.correct_clean.mean() for r in results])
        cells = [f"{100 * v:.1f}" if v is not None else "–" for v in (clean, *map(at.get, epsilons))]
        radius = "–" if c.radius is None else f"{unit * c.radius:.3g}{ending}"
        lines.append((c.label, seeds, *cells, radius))
    head = ("network", "seeds", "clean", *(f"{unit * e:.3g}{ending}" for e in epsilons))
    note = f"Accuracy in per cent, clean and under attack with {NORMS[norm]} ε; – where it was not measured."
    return table_of_words((*head, "median first-order radius"), lines, note)

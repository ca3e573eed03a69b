"""Accuracy against ε: the published curves and ours on the same axes, beside each other or one at a time."""

from dataclasses import replace

import numpy as np

from eplib import chapters, panels, published_curves, statistics
from eplib.checks import NORMS, InputError, amount
from eplib.panels import Curve
from eplib.pictures import draw
from eplib.published_curves import name
from eplib.sentences import table as table_of_words
from eplib.toggles import Toggle
from eplib.verdicts import PAPER_DATASETS

READING = "How to read it: the further right a curve falls, the more a network withstands."
OURS = (
    "an image counts where it is right before and under attack with its true label; lines are means over"
    " seeds, bands reach from the lowest to the highest bound of the seeds' 95 % Wilson intervals."
)
DASHED = "Dashed, because the images are others than the paper's."
ADVERSARIAL = "“adv.”: trained on images that PGD attacks in that norm with that ε."
DIAMONDS = (
    "Open diamonds: the median first-order radius, the margin of an image divided by the norm of its input"
    " gradient. Where it lies outside of the measured ε, an arrow stands for it at the height of the curve's"
    " end, at the edge of the panel where it lies beyond that, and the label has its number."
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
    given = {tuple(r.epsilons) for r in results}
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
    theirs, ours = panels.coloured(of_published(published) if published else [], ours)
    shown = {"ours": (_ours(badge), ours)}
    if published:
        shown = {"published": (f"published: {_title(published)}", theirs)} | shown
    caption = _caption(published, theirs, ours, badge, start, more)
    inside = max(panels.PANEL, *(len(c) * panels.LINE * panels.lines(c, axes) for _, c in shown.values()))

    def view(*chosen):
        def plot(axs):
            panels.arrange(np.atleast_1d(axs), inside)
            for ax, panel in zip(np.atleast_1d(axs), chosen, strict=True):
                panels.panel(ax, *shown[panel], axes, inside)

        alt = " ".join(f"{shown[p][0]}: {_told(shown[p][1], axes)}." for p in chosen)
        alt = f"Accuracy under attack against {panels.XLABELS[axes.norm]}. {alt}"
        height = inside + panels.BOTTOM + panels.TOP
        return draw(label, (1, len(chosen)), plot, caption, alt, width=panels.WIDTH, height=height)

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


def _told(curves, axes):
    """The ends of every curve within the axes and its first-order radius, in words."""
    told = []
    for c in curves:
        shown = [
            (panels.UNITS[axes.norm] * e, y)
            for e, y in zip(c.x, c.y, strict=True)
            if axes.x[0] <= e <= axes.x[1]
        ]
        ends = [f"{y:.1%} at {e:.3g}" for e, y in (shown[0], shown[-1])] if shown else ["nothing here"]
        slope = "" if c.radius is None else f", first-order radius {amount(axes.norm, c.radius)}"
        told.append(f"{c.label} {' and '.join(dict.fromkeys(ends))}{slope}")
    return "; ".join(told) or panels.NOTHING


def _caption(published, theirs, ours, badge, start, more):
    """How to read the figure: where its curves come from, how images count, what is drawn beside curves."""
    said = [f"How to read it: {start}" if start else READING]
    if published:
        said += [f"Published: {_title(published)}; {published_curves.basis(published)}"]
        said += [published_curves.note(published)]
    if ours:
        said += [f"Ours: {badge.text}; {OURS}"]
        said += [DASHED] * any(c.dashed for c in ours)
        said += [DIAMONDS] * any(c.radius is not None for c in ours)
    else:
        said += [f"Ours: {panels.NOTHING}."]
    said += [ADVERSARIAL] * any("adv." in c.label for c in (*theirs, *ours))
    return " ".join(sentence for sentence in (*said, more) if sentence)


def table(results_by_model, radii=None):
    """Our numbers as a table, a line a model: seeds, clean accuracy and accuracy at every ε (percent, means
    over seeds), and the median first-order radius. Arguments as of `of_results`. Raises InputError as it, and
    where norms differ.
    """
    curves = of_results(results_by_model, False, radii)
    norms = {r.norm for results in results_by_model.values() for r in results}
    if len(norms) > 1:
        raise InputError(f"a table of results in {', '.join(sorted(norms))}: give results of one norm")
    norm = norms.pop() if norms else "l2"
    epsilons = sorted({e for c in curves for e in c.x})
    lines = []
    for c in curves:
        results, at = results_by_model[c.model], dict(zip(c.x, c.y, strict=True))
        seeds = ", ".join(str(s) for s in sorted(r.settings["seed"] for r in results))
        clean = np.mean([r.correct_clean.mean() for r in results])
        cells = [f"{100 * v:.1f}" if v is not None else "–" for v in (clean, *map(at.get, epsilons))]
        radius = "–" if c.radius is None else amount(norm, c.radius)
        lines.append((c.label, seeds, *cells, radius))
    head = ("network", "seeds", "clean", *(amount(norm, e) for e in epsilons))
    note = f"Accuracy in per cent, clean and under attack with {NORMS[norm]} ε; – where it was not measured."
    return table_of_words((*head, "median first-order radius"), lines, note)

"""Plots that set corruption accuracy against something: clean accuracy, the length of the free phase, the
ranking under other corruptions, and flips from frame to frame.
"""

import numpy as np
from matplotlib.ticker import PercentFormatter
from scipy.special import logit

from eplib import attack_figures, curves, panels, pictures, published
from eplib import corruption_scores as scores
from eplib.corruption_curves import (
    COLOUR_NOTE,
    DRAWN,
    GREY_DATASETS,
    of_results,
    phase_words,
    source,
    words,
)
from eplib.corruption_figures import SMALL, legend, limits, small
from eplib.network_figures import spread
from eplib.panels import Curve
from eplib.pictures import draw

PHASE_COLOURS = ("#56b4e9", "#e69f00", "#0072b2")


def points(found, types, ids=None):
    """{model: (clean accuracy, corruption accuracy)}: means over seeds, types and severities, of {model:
    [Result]}. ids: of the images that count, by default all.
    """
    found_points = {}
    for model, results in found.items():
        pairs = []
        for r in results:
            chosen = slice(None) if ids is None else np.isin(r.image_ids, ids)
            pairs.append((r.correct_clean[chosen].mean(), scores.per_image(r, types=types)[chosen].mean()))
        found_points[model] = tuple(float(v) for v in np.mean(pairs, 0))
    return found_points


def effective(found, badge):
    """Corruption accuracy against clean accuracy, every model a point, with the line through all but the
    EP-CNN: a `Picture`. found: {model: [Result of "corruptions"]}.
    """
    every, n = points(found, scores.SETS["15"]), badge.n
    others = [p for model, p in every.items() if model != "ep-cnn"]
    fitted = scores.line(others, n) if len(others) >= scores.NETWORKS else None

    def plot(ax):
        x = np.array([scores.inside(p[0], n) for p in every.values()])
        if fitted:
            along = np.linspace(logit(x.min()) - 0.1, logit(x.max()) + 0.1, 50)
            share = 1 / (1 + np.exp(-along))
            middle = fitted.intercept + fitted.slope * along
            half = np.array([fitted.band(s) for s in share])
            ax.plot(along, middle, color="#595959", linewidth=1.2)
            ax.fill_between(along, middle - half, middle + half, color="#595959", alpha=0.12, linewidth=0)
        _named(ax, {m: tuple(logit(scores.inside(v, n)) for v in p) for m, p in every.items()})
        for axis, column in ((ax.xaxis, 0), (ax.yaxis, 1)):
            axis.set_ticks(*_logit_ticks([p[column] for p in every.values()], n))
        ax.set(xlabel="clean accuracy (logit scale)", ylabel="corruption accuracy (logit scale)")

    told = "; ".join(f"{pictures.name(m)} {a:.1%} clean, {b:.1%} corrupted" for m, (a, b) in every.items())
    line = (
        f"Grey: the line through the {len(others)} others with its 95 % prediction interval; a network above"
        " it keeps more than its clean accuracy predicts."
        if fitted
        else f"No line: {len(others)} networks but the EP-CNN, fewer than {scores.NETWORKS}."
    )
    caption = (
        f"How to read it: one point a model, mean over its seeds, the standard 15 corruptions at all"
        f" severities; both axes are stretched like logits. {line} {badge.text};"
        f" {phase_words(found)}. {attack_figures.fewer(found, badge)}"
    ).strip()
    alt = f"Corruption accuracy against clean accuracy. {told}."
    return draw("fig-effective-robustness", (1, 1), plot, caption, alt, width=9.6, height=5.6)


def _logit_ticks(values, n):
    shown = [v for v in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.98)]
    low, high = scores.inside(min(values), n) - 0.05, scores.inside(max(values), n) + 0.02
    kept = [v for v in shown if low <= v <= high]
    return [logit(v) for v in kept], [f"{v:.0%}" for v in kept]


def _named(ax, places):
    """Points with their names in a column on the right, joined to them."""
    (coloured,) = panels.coloured([Curve(m, pictures.name(m), (1,), (0,), (0,), (0,)) for m in places])
    colours = {c.model: c.colour for c in coloured}
    for model, (x, y) in places.items():
        mark = dict(marker="*", markersize=14) if model == "ep-cnn" else dict(marker="o", markersize=6)
        ax.plot([x], [y], color=colours[model], **mark)
    low, high = ax.get_ylim()
    ax.set_ylim(low, high)
    heights = spread([(y - low) / (high - low) for _, y in places.values()], 0.055)
    for (model, place), height in zip(places.items(), heights, strict=True):
        style = dict(size=8, linewidth=0.6, alpha=0.6)
        panels.named(ax, pictures.name(model), place, (1.05, height), colours[model], **style)


def phase_lengths(results, badge):
    """Accuracy of the EP-CNN under every corruption after free phases of several lengths: a `Picture`.
    results: of "corruptions-settled", one a seed.
    """
    known = scores.phases(results[0])
    tables = {p: scores.average([scores.surface(r, p) for r in results]) for p in known}
    without = {p: float(np.mean([scores.clean(r, p) for r in results])) for p in known}
    types = list(next(iter(tables.values())).index)

    def plot(ax):
        for i, phase in enumerate(known):
            values = [without[phase], *(tables[phase].loc[c].mean() for c in types)]
            style = dict(color=PHASE_COLOURS[i], markersize=8 - 1.5 * i, zorder=3 + i)
            ax.plot(values, range(len(values)), "o", label=f"{phase[0]} {phase[1]} steps", **style)
        for y, c in enumerate([None, *types]):
            ends = [without[p] if c is None else tables[p].loc[c].mean() for p in known]
            ax.plot([min(ends), max(ends)], [y, y], color="#999999", linewidth=1, zorder=1)
        ax.set_yticks(range(len(types) + 1), ["no corruption", *(words(c, badge.dataset) for c in types)])
        ax.set(ylim=(len(types) + 0.5, -0.5), xlabel="accuracy, mean over severities")
        ax.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, 1.1), ncols=len(known), frameon=False)

    severities = ", ".join(str(s) for s in next(iter(tables.values())).columns)
    (short, order), (long, _) = published.corruption_phases()
    n = len(results[0].image_ids)
    told = "; ".join(
        f"{s} {o} steps {without[s, o]:.1%} clean and {scores.mean(tables[s, o]):.1%} under corruption"
        for s, o in known
    )
    caption = (
        f"How to read it: one line a corruption, the mean over severities {severities}; a dot for each length"
        f" of the free phase, on the same corrupted images. The published accuracies are after {short}"
        f" {order} steps, the published clean accuracy is after {long}. EP-CNN, {n} images, means over"
        f" {len(results)} seed{'s' * (len(results) > 1)}, {badge.dataset_name}, {badge.scale} scale;"
        f" {source({'ep-cnn': results})}."
        f" {COLOUR_NOTE if badge.dataset in GREY_DATASETS else ''}"
    ).strip()
    alt = f"Accuracy of the EP-CNN after free phases of several lengths: {told}."
    return draw("fig-corruption-phases", (1, 1), plot, caption, alt, width=8.6, height=6.4)


def beyond(found, badge):
    """Accuracy against severity under the corruptions beyond CIFAR-10-C: a `Picture` of small panels. found:
    {model: [Result of "corruptions-beyond"]}.
    """
    types, dashed = list(scores.surface(found["ep-cnn"][0]).index), curves.other_images(badge)
    drawn = panels.coloured(*(of_results(found, c, dashed) for c in types))
    columns, rows = 5, -(-(len(types) + 1) // 5)

    def plot(axs):
        axs = np.ravel(axs)
        for ax, c, lines in zip(axs, types, drawn, strict=False):
            small(ax, words(c, badge.dataset), lines, limits(lines))
        for ax in axs[len(types) :]:
            ax.set_axis_off()
        legend(axs[len(types)], drawn[0])

    means = ", ".join(
        f"{pictures.name(m)} {scores.mean(scores.average([scores.surface(r) for r in found[m]])):.1%}"
        for m in DRAWN
        if m in found
    )
    caption = (
        "How to read it: the flatter a curve stays, the less a network minds the corruption; panels have"
        " different ranges. First the ten of CIFAR-10-C-bar, then five of ImageNet-C-bar, then five of the 3D"
        " Common Corruptions that need no depth."
        f" {badge.text}; {phase_words(found)}; means over seeds, bands from the lowest to the highest bound"
        f" of the seeds' 95 % Wilson intervals. {curves.DASHED if dashed else ''}"
        f" {attack_figures.fewer({m: found[m] for m in DRAWN if m in found}, badge)}"
        f" {COLOUR_NOTE if badge.dataset in GREY_DATASETS else ''}"
    )
    alt = f"Small panels of accuracy against severity, {len(types)} corruptions. Means: {means}."
    size = dict(width=panels.WIDTH, height=1.62 * rows, sharey=False)
    return draw("fig-beyond", (rows, columns), plot, " ".join(caption.split()), alt, **size)


def ranking(first, second, found, badge):
    """Mean accuracy beyond CIFAR-10-C against that under it, every model a point: a `Picture`.

    first, second: {model: mean accuracy} of the same models. found: {model: [Result of
    "corruptions-beyond"]}.
    """
    models = [m for m in first if m in second]
    _, low, high = scores.interval(scores.per_image(found["ep-cnn"][0]))

    def plot(ax):
        _named(ax, {m: (first[m], second[m]) for m in models})
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        ax.set(xlabel="mean accuracy under CIFAR-10-C", ylabel="mean accuracy beyond it")

    told = "; ".join(f"{pictures.name(m)} {first[m]:.1%} and {second[m]:.1%}" for m in models)
    caption = (
        "How to read it: one point a model, mean over its seeds, types and severities, the same images for"
        " both. Where networks rank alike, points rise from left to right without crossing."
        f" With so many images a mean is known to within about {50 * (high - low):.0f} points, differences on"
        f" the same images better. {badge.text}."
    )
    alt = f"Accuracy under CIFAR-10-C and beyond it: {told}."
    return draw("fig-corruption-ranking", (1, 1), plot, caption, alt, width=9.0, height=5.2)


def flips(found, badge):
    """How often predictions flip from frame to frame of every sequence: a `Picture`.

    found: {model: [Result of "flips"]}.
    """
    models = [m for m in (*DRAWN, *found) if m in found]
    models = list(dict.fromkeys(models))[:7]
    sequences = list(_flip_rows(found[models[0]][0]).corruption)
    values = {m: np.mean([_flip_rows(r).value.to_numpy() for r in found[m]], 0) for m in models}
    low = {m: np.min([_flip_rows(r).low.to_numpy() for r in found[m]], 0) for m in models}
    high = {m: np.max([_flip_rows(r).high.to_numpy() for r in found[m]], 0) for m in models}
    (coloured,) = panels.coloured([Curve(m, pictures.name(m), (1,), (0,), (0,), (0,)) for m in models])

    def plot(ax):
        for i, c in enumerate(coloured):
            y = np.arange(len(sequences)) + 0.1 * (i - (len(models) - 1) / 2)
            ax.hlines(y, low[c.model], high[c.model], color=c.colour, linewidth=0.8)
            ax.plot(values[c.model], y, "o", color=c.colour, markersize=5, label=c.label)
        ax.set_yticks(range(len(sequences)), [words(s, badge.dataset) for s in sequences])
        ax.set(ylim=(len(sequences) - 0.5, -0.5), xlabel="flip probability", xlim=(0, None))
        ax.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        ax.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False, fontsize=SMALL + 1)

    means = ", ".join(f"{pictures.name(m)} {v.mean():.2%}" for m, v in values.items())
    caption = (
        "How to read it: one line a sequence of slowly changing frames, one dot a model; the share of frames"
        " whose predicted class differs from that of the frame before, or under noise from that of the first"
        " frame; bars reach from the lowest to the highest bound of the seeds' 95 % intervals over images."
        " Further left is steadier. No label is needed, and a network that is always wrong in the same"
        f" way is steady too. {badge.text}. {attack_figures.fewer({m: found[m] for m in models}, badge)}"
    ).strip()
    alt = f"Flip probabilities by sequence. Means: {means}."
    return draw("fig-flips", (1, 1), plot, caption, alt, width=9.4, height=4.6)


def _flip_rows(result):
    return result.table[result.table.metric == "flip"]

"""Plots of the page about several transformers: accuracy against ε, and robust against clean accuracy."""

import textwrap
from dataclasses import replace

import numpy as np
from matplotlib.ticker import PercentFormatter

from eplib import attack_figures, chapters, curves, others, panels, pictures, statistics, verdicts
from eplib import corruption_scores as scores
from eplib.black_box_figures import our_plan
from eplib.network_figures import spread
from eplib.transformer_verdicts import FINAL, HALFWAY, TYPES, target, under

DRAWN = ("ep-cnn", "cnn", *FINAL)
PUBLISHED = {  # the paper's figures beside ours
    "pgd-linf": "Adversarial_Accuracy_Inf",
    "pgd-l2": "Adversarial_Accuracy_CNN_M",
    "suite-linf": "Adversarial_Plotter_MichaelMeeting.py:CIFAR10_AA",
}
COLOURS = pictures.COLOURS | {  # none is that of a published curve
    "vit-4": "#cc79a7",
    "vit-8": "#56b4e9",
    "vit-lite": "#9467bd",
    "cct": "#a5182b",
    "swin": "#17a2b8",
    "vit-4-augmented": "#8c564b",
    "mixer": "#5a7d1e",
}
INSIDE = 4.2  # inches that a panel is high
BOUNDS = dict(linewidth=1.0, alpha=0.35)


def against_epsilon(found, measurement, page):
    """Accuracy against ε of EP-CNN, CNN, trained transformers and networks of others, beside the paper's.

    found: {measurement: {model: [Result, one a seed]}}. page: the `chapters.Badge` of the page.
    """
    models = (*DRAWN, *others.names())
    shown, colours = {m: found[measurement][m] for m in models if m in found[measurement]}, _colours()
    badge = badge_of(shown, page)
    drawn = curves.of_results(shown, curves.other_images(badge))
    drawn = [replace(c, colour=colours[c.model]) for c in drawn]
    plan = our_plan(shown) if measurement == "suite-linf" else ""
    more = f"{attack_figures.fewer(shown, badge)} {plan}".strip()
    label = f"fig-transformers-{measurement}"
    return curves.figure(label, PUBLISHED[measurement], drawn, badge, more=more)


def _colours():
    """{model: colour} of all networks that may be drawn; those of others have what the rest leaves."""
    published = [panels.PREFERRED[m] for m in panels.PREFERRED if m not in pictures.COLOURS]
    return COLOURS | panels.unlike(others.names(), (*published, *(COLOURS[m] for m in DRAWN)))


def badge_of(found, page):
    """The badge of one measurement: of its EP-CNN and CNN where there is one, else that of the page."""
    main = {m: found[m] for m in ("ep-cnn", "cnn") if found.get(m)}
    return chapters.badge(main) if main else page


def points(found, measurement):
    """{model: (clean accuracy, accuracy, low, high)} of one measurement at the ε that is compared, means over
    seeds; low and high are the outermost bounds of the seeds' 95 % intervals.
    """
    return {m: tuple(np.mean(c, 0)) + _bounds(b) for m, (c, b) in _measured(found, measurement).items()}


def _bounds(intervals):
    low, high = np.array(intervals).T
    return float(low.min()), float(high.max())


def _measured(found, measurement):
    """{model: ([(clean, accuracy)], [(low, high)])}, one a seed."""
    said = {}
    for model, results in found.get(measurement, {}).items():
        pairs, intervals = [], []
        for r in results:
            if measurement == "corruptions":
                value, *bounds = scores.interval(scores.per_image(r, types=TYPES))
            else:
                right = r.correct[list(r.epsilons).index(verdicts.nearest(r, target(r.norm)))]
                value, bounds = right.mean(), statistics.wilson(right.sum(), right.size)
            pairs.append((r.correct_clean.mean(), value))
            intervals.append(tuple(bounds))
        said[model] = pairs, intervals
    return said


def against_clean(found, page):
    """[`Picture`] of accuracy under attack, and under corruptions, against clean accuracy on the same images:
    those of which an EP-CNN was measured. found, page: as above.
    """
    figures = {"attacks": ("pgd-linf", "suite-linf"), "corruptions": ("corruptions",)}
    kept = {k: [m for m in ms if found.get(m, {}).get("ep-cnn")] for k, ms in figures.items()}
    return [_against_clean(f"fig-transformers-{k}", found, ms, page) for k, ms in kept.items() if ms]


def _against_clean(label, found, measurements, page):
    """A panel a measurement; half-trained networks are hollow and joined to the trained one."""
    every = {m: points(found, m) for m in measurements}
    every = {m: {k: p[k] for k in (*DRAWN, *HALFWAY, *others.names()) if k in p} for m, p in every.items()}

    def plot(axs):
        panels.arrange(np.atleast_1d(axs), INSIDE)
        np.atleast_1d(axs)[0].set_ylabel("accuracy")
        for ax, (measurement, drawn) in zip(np.atleast_1d(axs), every.items(), strict=True):
            _panel(ax, drawn)
            ax.set_title(f"under {under(found, measurement)}", fontsize=10, loc="left")

    told = "; ".join(
        f"{under(found, m)}: "
        + ", ".join(f"{pictures.name(k)} {p[0]:.1%} clean and {p[1]:.1%}" for k, p in drawn.items())
        for m, drawn in every.items()
    )
    images = ", ".join(f"{len(found[m]['ep-cnn'][0].image_ids)} under {under(found, m)}" for m in every)
    caption = (
        "How to read it: a mark is a network, mean over its seeds; the further up, the more it withstands,"
        " the further right, the more it gets right undisturbed, on the same images. Filled: trained;"
        " hollow: half-trained, joined to the same network at the end. Star: the EP-CNN. Thin lines reach"
        " from the lowest to the highest bound of the seeds' 95 % intervals. Left of the dotted line a"
        f" network is more than {100 * verdicts.UNDER_TRAINED:.0f} points of clean accuracy below the EP-CNN"
        f" and decides nothing. Test images: {images}. {page.dataset_name}, {page.scale} scale."
    )
    alt = f"Accuracy against clean accuracy. {told}."
    size = dict(width=panels.WIDTH, height=INSIDE + panels.BOTTOM + panels.TOP, sharey=False)
    return pictures.draw(label, (1, len(every)), plot, caption, alt, **size)


def _whole(model):
    """The network at the end of training that a half-trained one would have become."""
    return model.removesuffix("-halfway") if model in HALFWAY else model


def _panel(ax, drawn):
    ends, colours = {}, _colours()
    for model, (clean, value, low, high) in drawn.items():
        whole, colour = _whole(model), colours[_whole(model)]
        hollow = model != whole
        mark = dict(marker="*", markersize=13) if model == "ep-cnn" else dict(marker="o", markersize=6)
        ax.plot([clean] * 2, [low, high], color=colour, **BOUNDS)
        ax.plot(
            [clean], [value], color=colour, markerfacecolor="white" if hollow else colour, zorder=3, **mark
        )
        if hollow and whole in drawn:
            ax.plot([clean, drawn[whole][0]], [value, drawn[whole][1]], color=colour, linewidth=1.2)
        if whole not in ends or not hollow:
            ends[whole] = (clean, value)
    ax.margins(x=0.08, y=0.06)
    limits = ax.get_xlim()
    if "ep-cnn" in drawn:
        threshold = drawn["ep-cnn"][0] - verdicts.UNDER_TRAINED
        ax.axvline(threshold, color="#444444", linestyle=":", linewidth=1, zorder=0)
        ax.set_xlim(min(limits[0], threshold - 0.01), limits[1])
    bottom, top = ax.get_ylim()
    ax.set_ylim(bottom, top)
    gap = 2 * panels.LINE / INSIDE
    heights = spread([(y - bottom) / (top - bottom) for _, y in ends.values()], gap)
    beside = 1 + 0.17 / (ax.get_position().width * panels.WIDTH)
    for (model, end), height in zip(ends.items(), heights, strict=True):
        words = textwrap.fill(pictures.name(model), panels.LETTERS)
        panels.named(ax, words, end, (beside, height), colours[model], linewidth=0.6, alpha=0.6)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    ax.set_xlabel("clean accuracy")
    ax.tick_params(labelsize=9)

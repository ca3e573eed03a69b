"""The paper's figures of natural corruptions beside ours: accuracy against severity in small panels, the nine
panels whose titles name other corruptions, means by severity and family, and images under corruption.
"""

import textwrap

import numpy as np
from matplotlib.ticker import MaxNLocator, PercentFormatter

from eplib import attack_figures, curves, panels, published, published_curves
from eplib import corruption_scores as scores
from eplib.corruption_curves import (
    COLOUR_NOTE,
    DRAWN,
    GREY_DATASETS,
    of_published,
    of_results,
    phase_words,
    published_surfaces,
    words,
)
from eplib.corruptions import CIFAR_C
from eplib.network_figures import spread
from eplib.panels import Curve
from eplib.pictures import draw
from eplib.toggles import Toggle

TITLED = {  # the nine panels of two published figures: what is drawn (by its numbers), the title it carries
    "gaussian_noise": "GaussianNoise",
    "shot_noise": "MotionBlur",
    "motion_blur": "ZoomBlur",
    "zoom_blur": "SpeckleNoise",
    "spatter": "Contrast",
    "brightness": "DefocusBlur",
    "speckle_noise": "Fog",
    "gaussian_blur": "JPEGCompression",
    "snow": "Pixelate",
}
NOT_PUBLISHED = "not in the paper's figure"
SMALL = 7.5  # points, of text in small panels
STEP = 0.05  # panels end at multiples of this accuracy


def beside(found, badge):
    """Accuracy against severity under all 19 corruptions, the published curves and ours: a `Toggle`.

    found: {model: [Result of "corruptions", one a seed]}. A corruption's panels end at the same accuracies in
    every view. badge: `chapters.Badge` of ours.
    """
    dashed = curves.other_images(badge)
    shown = {"published": of_published()}
    shown["ours"] = {c: of_results(found, c, dashed) for c in CIFAR_C}
    every = [shown[kind][c] for kind in shown for c in CIFAR_C]
    every = iter(panels.coloured(*every))
    shown = {kind: {c: next(every) for c in CIFAR_C} for kind in shown}
    ends = {c: limits([*shown["published"][c], *shown["ours"][c]]) for c in CIFAR_C}
    key = {kind: next(iter(of.values())) for kind, of in shown.items()}

    def view(*kinds):
        cells = [(c, kind) for c in CIFAR_C for kind in kinds]
        columns = 6 if len(kinds) > 1 else 5
        rows = -(-(len(cells) + 1) // columns)

        def plot(axs):
            axs = np.ravel(axs)
            for ax, (c, kind) in zip(axs, cells, strict=False):
                title = words(c, badge.dataset if kind == "ours" else None)
                title += f", {kind}" if len(kinds) > 1 else ""
                small(ax, title, shown[kind][c], ends[c])
            for ax in axs[len(cells) :]:
                ax.set_axis_off()
            legend(axs[len(cells)], [curve for kind in kinds for curve in key[kind]])

        alt = " ".join(
            f"{kind}: {_told(shown[kind], 'mean of severities 1 to 5 of the corruptions shown')}"
            for kind in kinds
        )
        alt = f"Small panels of accuracy against severity, one for each corruption. {alt}"
        size = dict(width=panels.WIDTH, height=1.62 * rows, sharey=False)
        return draw("fig-corruptions", (rows, columns), plot, caption, alt, **size)

    caption = _caption(found, badge, dashed)
    views = {"side by side": ("published", "ours"), "published": ("published",), "ours": ("ours",)}
    return Toggle("fig-corruptions", {name: view(*kinds) for name, kinds in views.items()}, caption)


def _caption(found, badge, dashed):
    seeds = published.table("corruption", model="ep-cnn").n.max()
    (steps, _), _ = published.corruption_phases()
    said = [
        "How to read it: the flatter a curve stays from severity 1 to 5, the less a network minds the"
        " corruption; panels have different ranges, but the two of one corruption share theirs. Published"
        f" (CIFAR-10): mean ± one standard deviation of {seeds} seeds, 10,000 images; the EP-CNN after"
        f" {steps} free-phase steps; frost is not in the figure. Ours:",
        f"{badge.text}; {phase_words(found)}; means over seeds, bands from the lowest to the"
        " highest bound of the seeds' 95 % Wilson intervals.",
        attack_figures.fewer({m: found[m] for m in DRAWN if m in found}, badge),
        curves.DASHED if dashed else "",
        COLOUR_NOTE if badge.dataset in GREY_DATASETS else "",
        "“adv.”: trained on ℓ2 PGD images of that ε.",
    ]
    return " ".join(s for s in said if s)


def small(ax, title, drawn, ends):
    """One small panel: curves against severity. ends: of its accuracies."""
    for c in drawn:
        style = "--" if c.dashed else "-"
        ax.plot(c.x, c.y, style, color=c.colour, linewidth=1.3)
        ax.fill_between(c.x, c.low, c.high, color=c.colour, alpha=0.09, linewidth=0)
    if not drawn:
        ax.text(
            0.5, 0.5, textwrap.fill(NOT_PUBLISHED, 14), transform=ax.transAxes, ha="center", fontsize=SMALL
        )
    ax.set_title(title, fontsize=SMALL, loc="left", pad=2)
    ax.set(xlim=(0.7, 5.3), ylim=ends, xticks=range(1, 6))
    ax.tick_params(labelsize=SMALL, pad=1, length=2)
    ax.grid(False, axis="x")
    ax.yaxis.set_major_locator(MaxNLocator(4))
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))


def legend(ax, drawn):
    """The names of curves, each with its line, in a panel without axes."""
    ax.set(xlim=(0, 1), ylim=(0, 1))
    named = {(c.model, c.dashed): c for c in drawn}
    for i, c in enumerate(named.values()):
        y = 0.95 - 0.9 * i / max(8, len(named))
        ax.plot([0, 0.12], [y, y], "--" if c.dashed else "-", color=c.colour, linewidth=1.6)
        which = " (ours)" if c.dashed and len({k[1] for k in named}) > 1 else ""
        text = textwrap.shorten(c.label, 40) + which
        ax.text(0.16, y, text, va="center", fontsize=SMALL, color=panels.readable(c.colour), in_layout=False)


def limits(drawn):
    """The accuracies at which a panel of curves ends."""
    low, high = min(min(c.low) for c in drawn), max(max(c.high) for c in drawn)
    return STEP * np.floor(low / STEP) - 0.01, STEP * np.ceil(high / STEP) + 0.01


def _told(by_corruption, of):
    means = {}
    for drawn in by_corruption.values():
        for c in drawn:
            means.setdefault(c.label, []).extend(c.y)
    return f"{of}: " + ", ".join(f"{label} {np.mean(y):.1%}" for label, y in means.items()) + "."


def titles(badge):
    """The nine panels of two published figures under the titles they carry, and what their curves are: a
    `Picture`. badge: `chapters.Badge` of the page.
    """
    theirs = of_published()
    drawn = dict(zip(TITLED, panels.coloured(*(theirs[c] for c in TITLED)), strict=True))
    other = [c for c in TITLED if words(c).replace(" ", "") != TITLED[c].lower()]

    def plot(axs):
        for ax, (c, title) in zip(np.ravel(axs), TITLED.items(), strict=True):
            small(ax, f"“{title}”" + (f": {words(c)}" if c in other else ""), drawn[c], limits(drawn[c]))
        for ax, c in zip(axs[:, -1], list(TITLED)[2::3], strict=True):
            _beside(ax, drawn[c])

    told = "; ".join(f"“{TITLED[c]}” shows {words(c)}" for c in other)
    caption = (
        "How to read it: each panel has the title that it carries in two published figures of nine panels, in"
        f" quotation marks, and behind it the corruption whose numbers its curves are. In {len(other)} of"
        f" {len(TITLED)} the two differ; the figure of 18 panels has the right titles. Drawn here are the"
        f" published numbers, mean ± one standard deviation. Our numbers ({badge.scale} scale) are in the"
        " figure above."
    )
    size = dict(width=panels.WIDTH, height=5.2, sharey=False)
    return draw("fig-corruption-titles", (3, 3), plot, caption, f"Nine panels: {told}.", **size)


def means(found, badge):
    """Means over the 18 corruptions of the paper by severity and by family, the published above ours."""
    dashed = curves.other_images(badge)
    theirs = {m: [t[0]] for m, t in published_surfaces().items()}
    ours = {m: [scores.surface(r) for r in found[m]] for m in DRAWN if found.get(m)}
    kinds = [_mean_curves(theirs, published_curves.name, False), _mean_curves(ours, curves.name, dashed)]
    flat = iter(panels.coloured(*(drawn for pair in kinds for drawn in pair)))
    kinds = [[next(flat) for _ in pair] for pair in kinds]
    names = ("published: CIFAR-10", f"ours: {badge.dataset_name}, {badge.scale} scale")

    def plot(axs):
        for line, pair, kind in zip(axs, kinds, names, strict=True):
            ends = limits([c for drawn in pair for c in drawn])
            for ax, drawn, x in zip(line, pair, ("severity", "family"), strict=True):
                small(ax, f"{kind}, by {x}", drawn, ends)
                ax.set(xlabel="severity" if x == "severity" else "")
                ax.title.set_fontsize(9)
            line[1].set(xlim=(0.7, 4.3))
            line[1].set_xticks(range(1, 5), scores.FAMILY_NAMES, fontsize=8.5)
            _beside(line[1], pair[1])
        axs[0][0].set_ylabel("accuracy")
        axs[1][0].set_ylabel("accuracy")

    told = "; ".join(
        f"{kind}: " + ", ".join(f"{c.label} {np.mean(c.y):.1%}" for c in pair[0])
        for kind, pair in zip(names, kinds, strict=True)
    )
    caption = (
        "How to read it: left the mean over the 18 corruptions of the paper's figure at each severity, right"
        " the mean over severities of each family. Published above, ours below"
        f" ({badge.text}; {phase_words(found)})."
        f" {attack_figures.fewer({m: found[m] for m in ours}, badge)} {curves.DASHED if dashed else ''}"
    ).strip()
    alt = f"Mean accuracy under corruption, over all severities: {told}."
    size = dict(width=panels.WIDTH, height=6.4, sharey=False)
    return draw("fig-corruption-means", (2, 2), plot, caption, alt, **size)


def _mean_curves(tables, name, dashed):
    """([Curve] by severity, [Curve] by family) of {model: surfaces, one a seed}, over the paper's types."""
    found = [], []
    for model, every in tables.items():
        every = [t.loc[[c for c in scores.SETS["18"] if c in t.index]] for t in every]
        by_severity = scores.by_severity(scores.average(every))
        families = scores.by_family(scores.average(every))
        families = [families[f] for f in scores.FAMILY_NAMES]
        for drawn, values in zip(found, (tuple(by_severity.values()), tuple(families)), strict=True):
            x = tuple(range(1, len(values) + 1))
            drawn.append(Curve(model, name(model), x, values, values, values, dashed))
    return found


def _beside(ax, drawn):
    """The names of curves to the right of a panel, apart from each other."""
    low, high = ax.get_ylim()
    heights = spread([(c.y[-1] - low) / (high - low) for c in drawn], 0.14)
    for c, height in zip(drawn, heights, strict=True):
        words, end = textwrap.fill(c.label, 24), (c.x[-1], c.y[-1])
        panels.named(ax, words, end, (1.05, height), c.colour, size=8, linewidth=0.7)

"""The matrix of attack horizons and prediction horizons, and the paper's curves of attack horizons beside
ours.
"""

import json
from dataclasses import replace

import matplotlib
import numpy as np
from matplotlib.patches import Rectangle

from eplib import curves, horizons, panels, pictures, published_curves
from eplib.checks import NORMS, InputError
from eplib.statistics import wilson

PUBLISHED = "Adversarial_Accuracy_Timesteps"
COLUMN, LINE = 0.62, 0.36  # inches that a prediction and an attack take
WORST = "worst case"
OUTLINE = "#d55e00"


def matrix(results, page, epsilons=None):
    """Accuracy for every attack and prediction horizon, a panel an ε: a heat map with the worst case over all
    attacks, taken image by image, as its last line.

    results: [Result of "horizons"] of one model, one a seed; cells are means over seeds. page: the
    `chapters.Badge` of the page. epsilons: some of the measured, by default the middle one. Raises InputError
    where there is no result, results differ in their sizes, or an ε was not measured.
    """
    sizes = sizes_of(results)
    measured = sizes["epsilons"]
    epsilons = [measured[len(measured) // 2]] if epsilons is None else list(epsilons)
    shares = [np.mean([horizons.by_cell(r, e) for r in results], 0) for e in epsilons]
    lines = ["no attack", *(horizons.words(*a)[0] for a in sizes["attacked"]), WORST]
    columns = horizons.named(sizes["predicted"])
    theirs = [
        (x, y) for y, a in enumerate(sizes["attacked"], 1) for x, p in enumerate(columns) if published(*a, p)
    ]

    def plot(axes):
        for ax, epsilon, cells in zip(np.atleast_1d(axes), epsilons, shares, strict=True):
            _heat(ax, cells, lines, columns)
            ax.set_title(f"{NORMS[sizes['norm']]} ε = {epsilon:.3g}; predicted after … steps", fontsize=10)
            for box in theirs:
                ax.add_patch(Rectangle(box, 1, 1, fill=False, edgecolor=OUTLINE, linewidth=2, zorder=3))
            ax.set_ylabel("gradient of the attack")

    size = dict(width=1.7 + COLUMN * len(columns), height=(0.9 + LINE * len(lines)) * len(epsilons))
    alt = " ".join(_told(e, cells, lines, columns) for e, cells in zip(epsilons, shares, strict=True))
    caption = _caption(results, sizes, _badge(results, page), bool(theirs))
    return pictures.draw("fig-horizons", (len(epsilons), 1), plot, caption, alt, **size)


def sizes_of(results):
    """The sizes that results of "horizons" share; InputError where there is none or they differ."""
    found = [json.loads(json.dumps(r.settings["sizes"])) for r in results]  # stored ones hold no tuples
    if not found or any(s != found[0] for s in found):
        raise InputError(
            f"{len(found)} results of horizons with different sizes or none: give those of one measurement"
        )
    return found[0]


def _badge(results, page):
    """The page's badge with the images and seeds of these results."""
    seeds = tuple(sorted(r.settings["seed"] for r in results))
    return replace(page, n=len(results[0].image_ids), seeds=seeds)


def published(steps, gradient, prediction):
    """Whether the paper attacked through so many steps and predicted after so many."""
    drawn = published_curves.of(PUBLISHED).curves.values()
    pairs = {(c["attack_steps"], str(c["predict_steps"])) for c in drawn}
    return gradient == "unrolled" and (steps, prediction) in pairs


def _heat(ax, cells, lines, columns):
    """cells: accuracy [line, column], the last line the worst case. Bold: the least of the attacks."""
    colours = matplotlib.colormaps["Blues"]
    ax.pcolormesh(cells, cmap=colours, vmin=0, vmax=1, edgecolor="white", linewidth=1)
    least = cells[1:-1].min(0)
    for (y, x), share in np.ndenumerate(cells):
        colour = matplotlib.colors.to_hex(colours(share))
        ax.text(
            x + 0.5,
            y + 0.5,
            _percent(share),
            ha="center",
            va="center",
            fontsize=9,
            color="white" if panels.readable(colour) == colour else "black",
            weight="bold" if 0 < y < len(lines) - 1 and np.isclose(share, least[x]) else "normal",
        )
    for y in (1, len(lines) - 1):
        ax.axhline(y, color="#444444", linewidth=1.2)
    ax.set_yticks(np.arange(len(lines)) + 0.5, lines)
    ax.set_xticks(np.arange(len(columns)) + 0.5, columns, fontsize=9)
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    ax.set_ylim(len(lines), 0)
    ax.grid(False)


def _percent(share):
    """A share in whole per cent, halves up as in the explorer."""
    return str(int(100 * share + 0.5))


def _caption(results, sizes, badge, outlined):
    """How to read the matrix, with the sampling error of its cells and what did not converge."""
    own = results[0].settings
    low, high = wilson(badge.n // 2, badge.n)
    tables = [r.table[r.table.metric == "unsettled"] for r in results]
    loose = max(t.value.max() for t in tables)
    said = [
        "How to read it: a line is PGD whose gradient comes from the named part of the free phase, a column"
        " the free phase after which its images are classified. A cell is the share of images, in per cent,"
        " that are right without the attack and under it. Within a column a strong attack leaves little; bold"
        " leaves least. The last line counts an image only where it is right under every attack above, so"
        " how far it lies below a cell is what this one attack overlooks.",
        "Outlined: horizons of the paper's figure." if outlined else "",
        f"All phases are synchronous, but “own” is the network's {own['predict_steps']} {own['order']} steps;"
        f" “converged” ends at rest, or after {horizons.CAP:,} steps ({loose:.1%} of the images at most).",
        f"{badge.text}; of so many images a half has a 95 % interval of {low:.0%} to {high:.0%}.",
    ]
    return " ".join(s for s in said if s)


def _told(epsilon, cells, lines, columns):
    """The matrix in words: every line after as many steps as in the paper, the worst case in every column."""
    place = len(columns) - 3  # the longest phase that is counted
    after = ", ".join(f"{line} {_percent(share)}" for line, share in zip(lines, cells[:, place], strict=True))
    last = ", ".join(f"{c} {_percent(share)}" for c, share in zip(columns, cells[-1], strict=True))
    return (
        f"Heat map of accuracy in per cent at ε = {epsilon:.3g}. Predicted after {columns[place]} steps:"
        f" {after}. {WORST.capitalize()} over all attacks by prediction: {last}."
    )


def timesteps(results, page):
    """The paper's curves of attack horizons beside ours, all predicted after the longest phase counted; ours
    with the worst case for each image. results: [Result of "horizons"] of the EP-CNN, one a seed, or none.
    page: the `chapters.Badge` of the page. Raises InputError where results differ in their sizes.
    """
    if not results:
        return curves.figure("fig-timesteps", PUBLISHED, [])
    sizes, dashed = sizes_of(results), curves.other_images(page)
    place, drawn = len(sizes["predicted"]) - 1, []
    for i, (steps, gradient) in enumerate(sizes["attacked"]):
        exact = gradient == "unrolled"
        key = f"ep-cnn, attack steps {steps}" if exact else f"ep-cnn, {gradient}"
        alone = [replace(r, correct=horizons.outcomes(r)[1][:, i, place]) for r in results]
        (curve,) = curves.of_results({key: alone}, dashed)
        drawn.append(curve if exact else replace(curve, label=horizons.words(steps, gradient)[0]))
    worst = [replace(r, correct=horizons.outcomes(r)[1][:, :, place].all(1)) for r in results]
    (curve,) = curves.of_results({WORST: worst}, dashed)
    drawn.append(replace(curve, label=f"{WORST} of all", colour="#000000"))
    start = (
        "every curve is the same attack with another gradient, through so many free-phase steps from zero;"
        " the lower it lies, the more it finds. Where a network hides its gradient from one attack, another"
        " curve or the worst case lies clearly below."
    )
    more = (
        f"All are classified after {sizes['predicted'][-1]} steps. The worst case counts an image only where"
        " it is right under all of them."
    )
    return curves.figure("fig-timesteps", PUBLISHED, drawn, _badge(results, page), start, more)

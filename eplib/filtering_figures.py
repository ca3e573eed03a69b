"""Figures of an EP-CNN's states: what is left of a kick, and where perturbations of the image shrink."""

import numpy as np
from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter

from eplib import filtering, panels, state_space
from eplib.pictures import COLOURS, draw, name
from eplib.uncertainty_figures import colours

TITLES = {
    "random": "random",
    "adversarial": "adversarial",
    "gaussian_blur": "Gaussian blur",
    "fog": "fog",
}
LARGEST = 4.0  # times that the colours tell apart


def medians(results, part):
    """[kinds, sizes, lengths]: median `filtering.shrinkage` over images, mean of its logarithm over seeds."""
    places = range(len(results[0].settings["sizes"]["lengths"]))
    found = []
    for result in results:
        moved = result.arrays["moved"]
        found.append(
            [
                [[_median(filtering.shrinkage(each, part, k)) for k in places] for each in kind]
                for kind in moved
            ]
        )
    return np.exp(np.log(found).mean(0))


def _median(values):
    return float(np.median(values)) if len(values) else np.nan


def where_it_ends(results, part, page):
    """How much a perturbation has grown or shrunk after T steps, by its kind and size. results: of
    "filtering", one a seed. part: of `filtering.PARTS`.
    """
    found = np.log2(medians(results, part))
    lengths, levels = results[0].settings["sizes"]["lengths"], filtering.LEVELS

    def plot(axes):
        edge = np.log2(LARGEST)
        for ax, kind, cells in zip(axes, filtering.KINDS, found, strict=True):
            drawn = ax.pcolormesh(
                range(len(levels)), range(len(lengths)), cells.T, cmap="RdBu_r", vmin=-edge, vmax=edge
            )
            for i, j in np.ndindex(*cells.shape):
                shade = "white" if abs(cells[i, j]) > 0.6 * edge else "black"
                ax.text(i, j, f"{2 ** cells[i, j]:.2g}", ha="center", va="center", fontsize=7, color=shade)
            ax.set_xticks(range(len(levels)), [str(v) for v in levels])
            ax.set_yticks(range(len(lengths)), [str(t) for t in lengths])
            ax.set_title(TITLES[kind], fontsize=10, loc="left")
            ax.set_xlabel("size, /255")
            ax.grid(False)
        axes[0].set_ylabel("steps")
        bar = axes[0].figure.colorbar(drawn, ax=list(axes), shrink=0.8, ticks=[-edge, 0, edge])
        bar.solids.set_rasterized(False)
        bar.ax.set_yticklabels([f"1/{LARGEST:g}", "1", f"{LARGEST:g}"])

    caption = (
        "How to read it: each number says how far apart the"
        f" {'states' if part == 'state' else part} with and without the perturbation are after so many steps,"
        " over the distance when the perturbation first arrived (1: unchanged). Blue cells are filtered, red"
        " ones amplified; filtering ends where blue does. Size: root mean square change of a pixel before"
        f" clipping. Medians over images, geometric means over {len(results)} seed{'s' * (len(results) > 1)}."
        f" {page.text}."
    )
    told = "; ".join(
        f"{TITLES[kind]}: {2 ** cells[:, -1].min():.2g} to {2 ** cells[:, -1].max():.2g} after {lengths[-1]}"
        f" steps"
        for kind, cells in zip(filtering.KINDS, found, strict=True)
    )
    label = "fig-boundary-filtering" + ("" if part == "state" else "-" + part.replace(" ", "-"))
    alt = f"Growth of perturbations of the {part} by kind, size and steps: {told}."
    return draw(label, (1, 4), plot, caption, alt, width=11.0, height=3.5)


def kicks(results, page):
    """What a kick does to an EP-CNN's states. results: {model: [Result of "state-space"]}.

    Left: the share of kicked random starts that end elsewhere, and in another class. Right: what is left of a
    kick at the equilibrium.
    """
    ink = colours(results)

    def plot(axes):
        left, right = axes
        for model, every in results.items():
            for result in every:
                for metric, mark in (("end_changed", "-"), ("class_changed", ":")):
                    shares = result.arrays[metric].mean((1, 2))
                    left.plot(state_space.KICKS, shares, mark, color=ink[model], linewidth=1.5)
                for k, style in enumerate(("-", "--")[: len(result.arrays["kick_left"])]):
                    values = np.median(result.arrays["kick_left"][k], 1)
                    right.plot(state_space.RETURN_STEPS, values, style, color=ink[model], linewidth=1.5)
        left.set(xscale="log", ylim=(-0.02, 1.02), xlabel="kick of a random start, over its length")
        left.set_ylabel("share that ends elsewhere")
        left.yaxis.set_major_formatter(PercentFormatter(1.0))
        right.set(xscale="log", yscale="log", xlabel="steps after a kick of 1 % at the equilibrium")
        right.set_ylabel("distance over the kick")
        right.xaxis.set_major_locator(FixedLocator(state_space.RETURN_STEPS))
        right.xaxis.set_minor_locator(NullLocator())
        right.xaxis.set_major_formatter("{x:g}")
        for i, model in enumerate(results):
            words = f"— {name(model)}"
            shade = panels.readable(ink.get(model, COLOURS["ep-cnn"]))
            right.text(1.04, 0.95 - 0.12 * i, words, transform=right.transAxes, color=shade, fontsize=9)

    caption = (
        "How to read it: left, random starts are kicked in a random direction before they settle; solid, the"
        " share that ends in another attractor (some unit further than 0.01), dotted, in another class. A"
        " curve that stays high at small kicks would be a fractal or riddled boundary between basins. Right,"
        " the median distance of a kicked equilibrium from where it was, solid in the network's own order of"
        f" updates, dashed all layers at once. {page.text}."
    )
    told = []
    for model, every in results.items():
        changed = np.mean([r.arrays["end_changed"].mean((1, 2)) for r in every], 0)
        back = np.mean([np.median(r.arrays["kick_left"][0], 1) for r in every], 0)
        told.append(
            f"{name(model)} {changed[0]:.0%} to {changed[-1]:.0%} end elsewhere at kicks of"
            f" {state_space.KICKS[0]:g} to {state_space.KICKS[-1]:g}, {back[-1]:.2g} of a kick is left after"
            f" {state_space.RETURN_STEPS[-1]} steps"
        )
    alt = f"Kicks of states: {'; '.join(told)}."
    return draw("fig-boundary-kicks", (1, 2), plot, caption, alt, width=10.4, height=3.6, sharey=False)

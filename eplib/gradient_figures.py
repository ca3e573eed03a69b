"""Figures about gradients: how far the ways to differentiate an equilibrium agree, and how an attack that
follows them goes on.
"""

import numpy as np
from matplotlib.ticker import MaxNLocator, PercentFormatter

from eplib import agreement, attack_figures, iterations, panels, pictures
from eplib.checks import InputError
from eplib.pictures import draw

ROW = 0.4  # inches that a line takes
PLACES = {"clean": ("o", "#0072b2", "at the image"), "attacked": ("D", "#a63c00", "at the attacked image")}


def cosines(results, page):
    """How far every gradient points where the exact one through 250 steps does: a line a gradient, a mark at
    clean and one at attacked images.

    results: of "gradients", one a seed; marks are means of their medians, bars reach from the lowest lower to
    the highest upper quartile. page: `chapters.Badge`. Raises InputError without a result.
    """
    if not results:
        raise InputError("no result of gradients: measure gradients of an EP-CNN first")
    found = {at: _joined(results, at) for at in PLACES}
    names = list(found["clean"])

    def plot(ax):
        for shift, (at, (marker, colour, words)) in zip((-0.14, 0.14), PLACES.items(), strict=True):
            for y, name in enumerate(names):
                if name in found[at]:
                    value, low, high = found[at][name]
                    ax.plot((low, high), (y + shift, y + shift), color=colour, linewidth=1.2, alpha=0.6)
                    label = words if y == 0 else None
                    ax.plot(value, y + shift, marker, color=colour, markersize=6, label=label)
        ax.axvline(1, color="#595959", linewidth=0.8)
        ax.set_yticks(range(len(names)), names)
        ax.set(ylim=(len(names) - 0.5, -0.5), xlim=(min(-0.05, *_lows(found)), 1.03))
        ax.set_xlabel(f"cosine with the exact gradient through {agreement.PREDICTED} synchronous steps")
        ax.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=2)

    there = {name: [at for at in PLACES if name in found[at]] for name in names}
    told = "; ".join(
        f"{name} " + ", ".join(f"{found[at][name][0]:.3f} {PLACES[at][2]}" for at in there[name])
        for name in names
    )
    caption = (
        "How to read it: 1 is the same direction, 0 is none in common. Marks are medians over images, bars"
        " their quartiles. A gradient far from 1 leads an attack elsewhere than to where the network, settled"
        f" for {agreement.PREDICTED} steps, is weak. {page.dataset_name}, {page.scale} scale, EP-CNN,"
        f" n = {min(len(r.image_ids) for r in results)} images, {len(results)} seed"
        f"{'s' if len(results) > 1 else ''}."
    )
    alt = f"Median cosines with the exact gradient. {told}."
    return draw("fig-gradients", (1, 1), plot, caption, alt, height=1.5 + ROW * len(names))


def _joined(results, at):
    """{name of a gradient: (mean of the medians, lowest and highest quartile)} over results."""
    found = {}
    for result in results:
        for name, *values, _ in agreement.compared(result, "gradient_cosine", at):
            found.setdefault(name, []).append(values)
    return {
        name: (float(np.mean([v[0] for v in every])), min(v[1] for v in every), max(v[2] for v in every))
        for name, every in found.items()
    }


def _lows(found):
    return [low for every in found.values() for _, low, _ in every.values()]


def progress(found, page):
    """How one long PGD run goes on: loss, images right, zero and exploding gradients against the iteration.

    found: {model: [Result of "iterations", one a seed]}; the first seed of each is drawn. page:
    `chapters.Badge`. A network that is right about no image is left out. Raises InputError without a result.
    """
    models = [m for m in attack_figures.ordered(found) if found[m][0].correct_clean.any()]
    if not models:
        raise InputError("no result of iterations: measure iterations of one network first")
    metrics = {
        "loss": "median loss",
        "running_accuracy": "share of images right",
        "zero_gradient": "share with a zero gradient",
        "exploding": "share with an exploding gradient",
    }
    curves = {m: {k: iterations.course(found[m][0], k) for k in metrics} for m in models}

    def plot(axes):
        for ax, (metric, words) in zip(axes.flat, metrics.items(), strict=True):
            for model in models:
                x, y = curves[model][metric]
                colour = panels.PREFERRED.get(model, "#444444")
                ax.plot(x, y, color=colour, linewidth=1.5, label=pictures.name(model))
            ax.set_title(words, fontsize=10, loc="left")
            if metric != "loss":
                ax.set_ylim(-0.03, 1.03)
                ax.yaxis.set_major_formatter(PercentFormatter(1.0))
        for ax in axes[-1]:
            ax.set_xlabel("attack step")
        handles, labels = axes.flat[0].get_legend_handles_labels()
        ax.figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)

    told = "; ".join(
        f"{pictures.name(m)}: loss {curves[m]['loss'][1][0]:.3g} at first, {curves[m]['loss'][1][-1]:.3g} at"
        f" last, right {curves[m]['running_accuracy'][1][-1]:.1%}, zero gradients at most"
        f" {max(curves[m]['zero_gradient'][1]):.1%}, exploding at most {max(curves[m]['exploding'][1]):.1%}"
        for m in models
    )
    one = found[models[0]][0]
    sizes = one.settings["sizes"]
    caption = (
        "How to read it: a loss that stays low while gradients are zero is an attack that is stuck, not a"
        f" network that withstands. PGD of {sizes['steps']} steps, ℓ2 ε = {sizes['epsilon']:.3g}, from the"
        f" image itself. {page.dataset_name}, {page.scale} scale, n = {len(one.image_ids)} images, one seed."
    )
    alt = f"Four panels against the attack step. {told}."
    return draw("fig-progress", (2, 2), plot, caption, alt, height=5.4, sharey=False)


def ladder(found, page):
    """Accuracy under PGD against its number of steps, and against random restarts, curve by curve.

    found: {model: [Result of "iterations", one a seed]}; means over seeds. page: `chapters.Badge`. Raises
    InputError without a result.
    """
    models = attack_figures.ordered(found)
    if not models:
        raise InputError("no result of iterations: measure iterations of one network first")
    drawn = {
        m: {side: _mean([ladder_of(r) for r in found[m]]) for side, ladder_of in SIDES.items()}
        for m in models
    }

    def plot(axes):
        for ax, side in zip(axes, SIDES, strict=True):
            for model in models:
                x, y = drawn[model][side]
                colour = panels.PREFERRED.get(model, "#444444")
                ax.plot(x, y, "o-", color=colour, markersize=4, label=pictures.name(model))
            ax.set(xlabel=side, ylim=(-0.03, 1.03))
            ax.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes[0].set(xscale="log", ylabel="accuracy under attack")
        ticks = sorted({t for m in models for t in drawn[m]["attack steps"][0]})
        axes[0].set_xticks(ticks, [f"{t:g}" for t in ticks])
        axes[0].minorticks_off()
        axes[1].xaxis.set_major_locator(MaxNLocator(integer=True))
        axes[1].legend(frameon=False)

    told = "; ".join(
        f"{pictures.name(m)} "
        + ", ".join(
            f"{y:.1%} at {x:g} {side}" for side in SIDES for x, y in zip(*drawn[m][side], strict=True)
        )
        for m in models
    )
    one = found[models[0]][0]
    caption = (
        "How to read it: where a curve is still falling at its right end, a longer attack would break more,"
        " and no number taken further left is the worst case."
        f" ℓ2 ε = {one.settings['sizes']['epsilon']:.3g}. {page.dataset_name}, {page.scale} scale,"
        f" n = {len(one.image_ids)} images."
    )
    return draw("fig-effort", (1, 2), plot, caption, f"Accuracy under PGD. {told}.")


SIDES = {"attack steps": iterations.by_steps, "random starts": iterations.by_restarts}


def _mean(curves):
    """(x, mean y) of several (x, y) with the same x."""
    return curves[0][0], np.mean([y for _, y in curves], 0).tolist()

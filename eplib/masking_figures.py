"""Figures about masked gradients: how far gradients agree, how an attack goes on, and what stronger attacks
break beyond the one that the numbers rest on.
"""

import numpy as np
from matplotlib.ticker import PercentFormatter

from eplib import attack_figures, panels, pictures
from eplib.checks import InputError
from eplib.masking_verdicts import outcomes
from eplib.pictures import COLOURS, draw
from eplib.statistics import wilson
from eplib.verdicts import nearest

ROW = 0.42  # inches that a line takes
HOLLOW = dict(markerfacecolor="white", markeredgewidth=1.5)


def effort(found, target, page):
    """What adaptive attacks break beyond plain PGD: a line a network, from the hollow to the full mark.

    found: {model: [Result of "adaptive", one a seed]}. target: the measured ε nearest to it is shown. page:
    `chapters.Badge`. Raises InputError where there is no result.
    """
    pairs = {m: [outcomes(r, nearest(r, target)) for r in found[m]] for m in attack_figures.ordered(found)}
    if not pairs:
        raise InputError("no result of adaptive attacks: measure adaptive of one network first")
    epsilon = nearest(next(iter(found.values()))[0], target)
    return _before_and_after(
        "fig-adaptive",
        pairs,
        f"plain PGD (hollow) and the worst of all attacks (full), ℓ2 ε = {epsilon:.3g}",
        "How to read it: a network whose marks lie apart looked more robust than it is. Every image counts"
        " under the attack that breaks it; lines are 95 % Wilson intervals over the images of all seeds."
        f" {page.dataset_name}, {page.scale} scale,",
    )


def argument(pairs, epsilon, page):
    """The paper's own argument: PGD beside the union of attacks on the same images, a line a network. pairs,
    epsilon: of `black_box.outcomes`.
    """
    return _before_and_after(
        "fig-pgd-and-suite",
        pairs,
        f"PGD (hollow) and the union of attacks (full), ε = {255 * epsilon:.3g}/255",
        "How to read it: the paper argues that a network with masked gradients would lose much more to a"
        " stronger attack than other networks do, and shows that its EP-CNN does not. Marks that lie equally"
        " far apart in every network speak for that argument. Lines are 95 % Wilson intervals over the images"
        f" of all seeds. {page.dataset_name}, {page.scale} scale,",
    )


def _before_and_after(label, pairs, what, reading):
    """A `Picture` of two shares a network. pairs: {model: [(bool [n], bool [n]), one a seed]}."""
    models, n = list(pairs), min(len(p[0]) for every in pairs.values() for p in every)

    def plot(ax):
        for y, model in enumerate(models):
            colour = COLOURS.get(model, panels.PREFERRED.get(model, "#444444"))
            values = []
            for side, style in enumerate((HOLLOW, {})):
                right = np.concatenate([p[side] for p in pairs[model]])
                low, high = wilson(right.sum(), right.size)
                values.append(right.mean())
                ax.plot((low, high), (y, y), color=colour, linewidth=1, alpha=0.6)
                ax.plot(right.mean(), y, "o", color=colour, markersize=8, **style)
            ax.annotate("", (values[1], y), (values[0], y), arrowprops=dict(arrowstyle="->", color=colour))
            lost = 100 * (values[0] - values[1])
            ax.text(1.01, y, f"{-lost:+.1f}", transform=ax.get_yaxis_transform(), va="center", fontsize=9)
        ax.set_yticks(range(len(models)), [pictures.name(m) for m in models])
        ax.set(ylim=(len(models) - 0.5, -0.5), xlim=(0, 1), xlabel=f"share of images right: {what}")
        ax.text(1.01, -0.75, "points", transform=ax.get_yaxis_transform(), fontsize=9)
        ax.xaxis.set_major_formatter(PercentFormatter(1.0))

    told = "; ".join(
        f"{pictures.name(m)} {np.mean([a.mean() for a, _ in every]):.1%} to"
        f" {np.mean([b.mean() for _, b in every]):.1%}"
        for m, every in pairs.items()
    )
    seeds = max(len(every) for every in pairs.values())
    caption = f"{reading} n = {n} images a network, up to {seeds} seed{'s' if seeds > 1 else ''}."
    alt = f"{what[0].upper()}{what[1:]}: {told}."
    return draw(label, (1, 1), plot, caption, alt, height=1.4 + ROW * len(models))

"""Figures of uncertainty exponents: controls, networks, and exponents against robustness."""

import numpy as np
from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter

from eplib import curves, panels, uncertainty
from eplib.chapters import Badge
from eplib.pictures import draw, name
from eplib.uncertainty_measurements import random_outcomes
from eplib.uncertainty_networks import RATIO_SHARE, association, random_exponent, window

EXAMINED = ("ep-cnn", "cnn", "cnn-at-l2-0.5", "vit-8", "twin-untrained")
CONTROL_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
GREY = "#555555"
TICKS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1)
LENGTHS = (0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20)


def colours(models):
    """{model: colour}, each its own."""
    found = {m: panels.PREFERRED[m] for m in models if m in panels.PREFERRED}
    free = (c for c in panels.POOL if c not in found.values())
    return {m: found.get(m) or next(free) for m in models}


def line(ax, exponent, epsilons, colour):
    """The fitted line over its window."""
    ends = np.asarray(epsilons)[exponent.inside[[0, -1]]]
    y = exponent.prefactor[0] * ends ** exponent.alpha[0]
    ax.plot(ends, y, "-", color=colour, linewidth=1.4, alpha=0.9)


def controls(every):
    """f against ε of boundaries whose exponent is known. every: [uncertainty_controls.Control]."""

    def plot(ax):
        for control, colour in zip(every, CONTROL_COLOURS, strict=True):
            ax.plot(control.epsilons, control.shares, "o", color=colour, markersize=4)
            if control.found:
                line(ax, control.found, control.epsilons, colour)
        ax.set(xscale="log", yscale="log", xlabel="ε (units of each example)", ylabel="share that changes, f")
        for c, colour in zip(every, CONTROL_COLOURS, strict=True):
            alpha = f"{c.found.alpha[0]:.2f}" if c.found else "no fit"
            lines = [*c.name.split(", ", 1), f"{alpha} (true {c.expected:g})"]
            words, shade = "\n".join(lines), panels.readable(colour)
            ax.annotate(words, (c.epsilons[0], c.shares[0]), (9, 0), textcoords="offset points", color=shade,
                        fontsize=9, va="center")  # fmt: skip
        ax.set(xlim=(3e-6, 600), ylim=(8e-4, 0.15))

    told = "; ".join(
        f"{c.name}, true {c.expected:g}, found {c.found.alpha[0]:.3f}" if c.found else f"{c.name}, no fit"
        for c in every
    )
    caption = (
        "How to read it: both axes are logarithmic, so a power law is a straight line and its slope is the"
        " exponent. A dot is the share of points that change when they are moved by ε; lines are fitted."
    )
    return draw(
        "fig-boundary-controls",
        (1, 1),
        plot,
        caption,
        f"Share that changes against ε for known boundaries: {told}.",
        width=9.4,
        height=3.7,
    )


def growth(random, distances, page):
    """f against ε of the examined networks: left by the smallest change, right in random directions.

    random, distances: {model: [Result, one a seed]} of "uncertainty" and "adversarial-distances".
    """
    shown = [m for m in EXAMINED if m in random or m in distances]
    ink, style = colours(shown), "--" if curves.other_images(page) else "-"

    def plot(axes):
        for model in shown:
            for result in distances.get(model, ()):
                _near(axes[0], result, ink[model], style)
            for result in random.get(model, ()):
                _moved(axes[1], result, ink[model], style)
        for ax, title in zip(axes, ("by the smallest change", "in random directions"), strict=True):
            ax.set(xscale="log", yscale="log", ylim=(0.002, 0.6), xlabel="ℓ2 length ε (pixels in [0, 1])")
            ax.set_title(title, fontsize=10, loc="left")
            ax.xaxis.set_major_locator(FixedLocator(LENGTHS))
            ax.yaxis.set_major_locator(FixedLocator(TICKS))
            ax.xaxis.set_major_formatter("{x:g}")
            ax.xaxis.set_minor_locator(NullLocator())
            ax.yaxis.set_minor_locator(NullLocator())
            ax.yaxis.set_major_formatter(lambda y, _: f"{100 * y:g}%")
        axes[0].set_ylabel("share of images that change, f")
        _names(axes[1], shown, ink)

    told = []
    for model in shown:
        fits = [uncertainty.of_distances(r.arrays["minimal_norm"]) for r in distances.get(model, ())]
        moved = [random_exponent(r) for r in random.get(model, ())]
        words = [", ".join(f"{e.alpha[0]:.2f}" if e else "none" for e in f) or "none" for f in (fits, moved)]
        told.append(f"{name(model)} {words[0]} by the smallest change, {words[1]} in random directions")
    caption = (
        "How to read it: both axes are logarithmic; a steeper line is a larger exponent, a line further to"
        " the right a smaller prefactor: the same share changes only at larger ε. Left: the share of images"
        " whose prediction some change of length ε alters, by the search that was run, one curve a seed;"
        " right: the share for which a random change of length ε or its opposite does, dots with fitted"
        f" lines. {page.text}." + (f" {curves.DASHED}" if style == "--" else "")
    )
    alt = f"Share of images that change against ε. Exponents: {'; '.join(told)}."
    return draw("fig-boundary-growth", (1, 2), plot, caption, alt, width=10.4, height=4.0)


def _near(ax, result, colour, style):
    lengths = np.sort(result.arrays["minimal_norm"])
    lengths = lengths[np.isfinite(lengths)]
    shares = np.arange(1, len(lengths) + 1) / len(result.image_ids)
    ax.plot(lengths, shares, style, color=colour, linewidth=1.1, alpha=0.8)


def _moved(ax, result, colour, style):
    epsilons, outcomes = random_outcomes(result)
    changed, trials = uncertainty.counts(outcomes)
    ax.plot(epsilons, changed.mean(1) / trials, "o", color=colour, markersize=3, alpha=0.8)
    found = uncertainty.exponent(epsilons, changed, trials, window(result))
    if found:
        ends = epsilons[found.inside[[0, -1]]]
        ax.plot(ends, found.prefactor[0] * ends ** found.alpha[0], style, color=colour, linewidth=1.2)


def _names(ax, shown, ink):
    """The models beside the right panel, from top to bottom."""
    for i, model in enumerate(shown):
        place = (1.04, 0.95 - 0.11 * i)
        ax.text(
            *place, f"— {name(model)}", transform=ax.transAxes, color=panels.readable(ink[model]), fontsize=9
        )


def against_robustness(found, badge: Badge):
    """Exponent, length and ρ of every network against its accuracy under attack and under corruptions.

    found: [uncertainty_networks.Network].
    """
    quantities = {
        "exponent": "exponent α of smallest changes",
        "distance": f"ε at which {RATIO_SHARE:.0%} change",
        "ratio": f"ρ at {RATIO_SHARE:.0%}",
    }
    targets = {"robust": "accuracy under ℓ2 PGD", "corrupted": "accuracy under corruptions"}
    ink = colours(dict.fromkeys(n.model for n in found))
    related = {(q, t): association(found, q, t) for q in quantities for t in targets}

    def plot(axes):
        for row, (target, ylabel) in zip(axes, targets.items(), strict=True):
            for ax, (quantity, xlabel) in zip(row, quantities.items(), strict=True):
                for n in found:
                    x, y = n.values[quantity], getattr(n, target)
                    if np.isfinite([x, y]).all():
                        ax.plot(x, y, "o", color=ink[n.model], markersize=6, alpha=0.85)
                a = related[quantity, target]
                ax.set_title(_rank(a), fontsize=9.5, loc="left")
                ax.set_xlabel(xlabel)
                ax.yaxis.set_major_formatter(PercentFormatter(1.0))
            row[0].set_ylabel(ylabel)
        for i, (model, colour) in enumerate(ink.items()):
            axes[0, 2].text(
                1.05, 1.0 - 0.105 * i, f"● {name(model)}", transform=axes[0, 2].transAxes, fontsize=8,
                color=panels.readable(colour), va="top",
            )  # fmt: skip

    caption = (
        "How to read it: a dot is a network, its colour the kind. If a quantity went with robustness the dots"
        " of its panel would lie along a rising (or falling) line; above each panel stands Spearman's rank"
        f" correlation with its 95 % interval by the bootstrap over kinds of networks. {badge.text}."
    )
    told = "; ".join(f"{quantities[q]} and {targets[t]}: {_rank(a)}" for (q, t), a in related.items())
    alt = f"Quantities of the boundary against robustness. {told}."
    return draw("fig-boundary-robustness", (2, 3), plot, caption, alt, width=11.4, height=5.6, sharey="row")


def _rank(a):
    if not np.isfinite(a.low):
        return f"{a.networks} networks: too few"
    return f"r = {a.value:+.2f} ({a.low:+.2f} to {a.high:+.2f}), {a.networks} networks"

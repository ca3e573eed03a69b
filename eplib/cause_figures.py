"""Plots of what causes it: pairs that differ in one thing, robust beside clean accuracy, what margin and
gradient predict, and the ladder of adversarially trained CNNs.
"""

import numpy as np
from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter

from eplib import panels
from eplib.checks import NORMS, strength
from eplib.network_figures import family, spread
from eplib.pictures import COLOURS, draw, name
from eplib.sentences import Text
from eplib.statistics import LEVEL

FAMILY_COLOURS = {
    "Equilibrium Propagation": COLOURS["ep-cnn"],
    "the same network, trained otherwise": COLOURS["twin-bptt"],
    "feed-forward CNNs": COLOURS["cnn"],
    "adversarially trained": COLOURS["twin-adjoint"],
    "transformers and patch networks": "#8a6d00",
    "students": "#444444",
}
NEUTRAL = "#767676"
NAMED = (  # models whose name stands beside their dots
    "ep-cnn",
    "ep-cnn-average",
    "ep-cnn-at-l2-0.5",
    "twin-bptt",
    "twin-adjoint",
    "twin-cut",
    "cnn",
    "cnn-plain",
    "cnn-like-ep",
    "cnn-penalised",
    "cnn-at-l2-0.5",
    "student-of-ep-cnn",
    "vit-8",
)
ROW = 0.29  # inches that a pair takes


def pairs(label, rows, badge, norm, epsilon):
    """The lead of the network with a thing over the one without it, in points, a line a pair and seed.

    rows: [causes.Compared].
    """

    def plot(ax):
        ax.axvline(0, color="#333333", linewidth=0.8)
        for y, r in enumerate(reversed(rows)):
            clear = r.p < LEVEL
            colour = NEUTRAL if not clear else COLOURS["ep-cnn"] if r.difference > 0 else COLOURS["cnn"]
            ax.plot([100 * r.low, 100 * r.high], [y, y], color=colour, linewidth=2)
            face = colour if clear else "white"
            ax.plot([100 * r.difference], [y], "o", color=colour, markerfacecolor=face, markersize=6)
            told = f"{r.first:.0%} and {r.second:.0%}"
            ax.annotate(
                told,
                (1.01, y),
                xycoords=("axes fraction", "data"),
                va="center",
                fontsize=8.5,
                color="#444444",
            )
        ax.set_yticks(range(len(rows)), [_pair(r) for r in reversed(rows)], fontsize=8.5)
        ax.set(xlabel="lead in accuracy under attack, points", ylim=(-0.7, len(rows) - 0.3))

    caption = (
        "How to read it: each line compares two networks that differ in one thing, on the same images; right"
        " of zero the first keeps more images right. Dot and bar: the difference and its 95 % interval;"
        " filled and in colour where an exact McNemar test, adjusted by Holm over all lines, tells them apart"
        f" (p < {LEVEL}). Numbers: accuracy of the first and the second under all attacks measured,"
        f" {strength(norm, epsilon)}. {rows[0].n} images of the {badge.dataset_name}, {badge.scale} scale."
    )
    alt = "Leads in points: " + "; ".join(
        f"{_pair(r)} {100 * r.difference:+.0f} ({100 * r.low:.0f} to {100 * r.high:.0f})" for r in rows
    )
    return draw(label, (1, 1), plot, caption, alt + ".", width=10.4, height=ROW * len(rows) + 0.9)


def _pair(r):
    return f"{r.pair.thing}: {name(r.pair.model)} − {name(r.pair.without)}, s{r.seed}"


def matched(label, found, epsilon, badge):
    """Accuracy under all attacks at an ε against clean accuracy, a dot a network, both on the same images.

    found: {model: [Result, one a seed]} (`smallest.beside`, "all").
    """
    first = next(iter(found.values()))[0]
    place = list(first.epsilons).index(epsilon)
    dots = {
        m: [(float(r.correct_clean.mean()), float(r.correct[place].mean())) for r in results]
        for m, results in found.items()
    }

    def plot(ax):
        for m, places in dots.items():
            x, y = zip(*places, strict=True)
            ax.plot(x, y, "o", color=FAMILY_COLOURS[family(m)], markersize=6, alpha=0.8)
        low, high = ax.get_ylim()
        told = {m: np.mean(dots[m], 0) for m in NAMED if m in dots}
        at = spread([(y - low) / (high - low) for _, y in told.values()], 0.052)
        for (m, (x, y)), height in zip(told.items(), at, strict=True):
            panels.named(ax, name(m), (x, y), (1.03, height), FAMILY_COLOURS[family(m)])
        ax.set(xlabel="clean accuracy", ylabel="accuracy under attack", ylim=(low, high))
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        handles = [
            ax.plot([], [], "o", color=c, label=f)[0]
            for f, c in FAMILY_COLOURS.items()
            if any(family(m) == f for m in dots)
        ]
        ax.legend(handles=handles, fontsize=8, loc="upper left", frameon=False)

    caption = (
        f"How to read it: one dot a network, {sum(map(len, dots.values()))} in all; networks above each other"
        " are equally accurate without an attack, and the higher one withstands more. Under all attacks"
        f" measured, {strength(first.norm, epsilon)}, {len(first.image_ids)} images of the"
        f" {badge.dataset_name}, {badge.scale} scale."
    )
    alt = "Clean accuracy and accuracy under attack: " + "; ".join(
        f"{name(m)} {', '.join(f'{x:.0%} and {y:.0%}' for x, y in places)}" for m, places in dots.items()
    )
    return draw(label, (1, 1), plot, caption, alt + ".", width=9.6, height=5.4)


def predictions(label, points, line, badge):
    """Found against predicted median distances of `explained.points`, and the line's interval; a sentence
    without a line.
    """
    if line is None:
        return Text("Too few networks are stored to put a line through them.")
    plain = [p for p in points if not p.settles]
    ends = [v for p in points for v in (p.distance, line.predicted(p)[0])]
    low, high = 0.8 * min(ends), 1.25 * max(ends)

    def plot(ax):
        x = np.geomspace(low, high, 30)
        ax.plot(x, x, color="#333333", linewidth=0.9)
        ordered = sorted(plain, key=lambda p: line.predicted(p)[0])
        band = np.array([line.predicted(p) for p in ordered])
        ax.fill_between(band[:, 0], band[:, 1], band[:, 2], color=NEUTRAL, alpha=0.18, linewidth=0)
        for p in points:
            colour = FAMILY_COLOURS[family(p.model)]
            face = colour if p.settles else "white"
            ax.plot(
                [line.predicted(p)[0]], [p.distance], "o", color=colour, markerfacecolor=face, markersize=6
            )
        ax.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high))
        ax.set(xlabel="ℓ2 distance predicted by the line", ylabel="ℓ2 distance found")
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_locator(FixedLocator([t for t in sorted(panels.TICKS["l2"]) if low <= t <= high]))
            axis.set_minor_locator(NullLocator())
            axis.set_major_formatter("{x:g}")
        told = {}
        for p in points:
            if p.settles:
                told.setdefault(p.model, []).append((line.predicted(p)[0], p.distance))
        middle = {m: np.exp(np.mean(np.log(v), 0)) for m, v in told.items()}
        span = np.log(high / low)
        at = spread([np.log(y / low) / span for _, y in middle.values()], 0.052)
        for (m, place), height in zip(middle.items(), at, strict=True):
            panels.named(ax, name(m), place, (1.03, height), FAMILY_COLOURS[family(m)])

    caption = (
        "How to read it: one dot a network, medians over the images it gets right. Across, the distance that"
        f" margin and input gradient predict by the line through the {line.networks} networks without a free"
        " phase (open); up, the smallest change found. On the diagonal both are equal; the band is the 95 %"
        " interval for one more network. Filled: networks that settle. Below the diagonal a network is fooled"
        " by smaller changes than its margin and gradient promise."
        f" {badge.dataset_name}, {badge.scale} scale."
    )
    alt = "Predicted and found distances: " + "; ".join(
        f"{name(p.model)} (seed {p.seed}) {line.predicted(p)[0]:.2f} and {p.distance:.2f}" for p in points
    )
    return draw(label, (1, 1), plot, caption, alt + ".", width=9.6, height=5.4)


def ladder(label, shown, badge):
    """Half radius of CNNs against the ε they were adversarially trained with, and the EP-CNN's as a line, a
    panel each.

    shown: [(title, norm, {ε of training: (value, low, high)}, [(name, colour, value, low, high)])].
    """

    def plot(axes):
        for ax, (title, norm, steps, lines) in zip(np.atleast_1d(axes), shown, strict=True):
            unit = panels.UNITS[norm]
            x = unit * np.array(sorted(steps))
            y, low, high = (unit * np.array([steps[e][i] for e in sorted(steps)]) for i in range(3))
            ax.plot(x, y, "o-", color=COLOURS["cnn"], markersize=4)
            ax.fill_between(x, low, high, color=COLOURS["cnn"], alpha=0.15, linewidth=0)
            for words, colour, value, bottom, top in lines:
                ax.axhline(unit * value, color=colour, linewidth=1.4)
                ax.axhspan(unit * bottom, unit * top, color=colour, alpha=0.12, linewidth=0)
                ax.annotate(
                    words,
                    (0.98, unit * value),
                    xycoords=("axes fraction", "data"),
                    xytext=(0, 3),
                    textcoords="offset points",
                    ha="right",
                    fontsize=8.5,
                    color=panels.readable(colour),
                )
            ending = " (/255)" if norm == "linf" else ""
            ax.set(xlabel=f"{NORMS[norm]} ε of training{ending}", ylabel=f"{NORMS[norm]} half radius{ending}")
            ax.set_title(title, fontsize=10, loc="left")
            ax.set_ylim(bottom=0)

    caption = (
        "How to read it: the half radius is the ε at which half of all images are still right. Dots: CNNs, by"
        " the ε of their adversarial training, 0 for none. Where the horizontal line meets them is the"
        " training ε that the EP-CNN is worth. Bands of ours: 95 % bootstrap intervals over the same images;"
        f" {badge.dataset_name}, {badge.scale} scale. Published: from the mean curves under PGD, without"
        " bands."
    )
    told = "; ".join(
        f"{title}: CNN "
        + ", ".join(
            f"ε {panels.UNITS[norm] * e:g}: {panels.UNITS[norm] * v[0]:.2g}" for e, v in sorted(steps.items())
        )
        + "".join(f", {words} {panels.UNITS[norm] * value:.2g}" for words, _, value, _, _ in lines)
        for title, norm, steps, lines in shown
    )
    size = dict(width=10.4, height=3.6, sharey=False)
    return draw(label, (1, len(shown)), plot, caption, f"Half radii. {told}.", **size)

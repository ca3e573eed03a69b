"""The smallest changes that break networks: how they are spread, and what they leave beside PGD."""

from dataclasses import replace

import numpy as np
import torch

from eplib import attack_figures, chapters, curves, others, panels
from eplib.attack_verdicts import FIGURES
from eplib.pictures import draw
from eplib.sentences import Text
from eplib.studies import quartiles

LINES = {"C&W": "-.", "DDN": ":", "FMN": ":"}  # PGD's is that of the page's other figures
SAID = {"C&W": "dash-dotted", "DDN": "dotted", "FMN": "dotted"}
KEYS = ("low", "value", "high")
APART = 0.22  # of the rows of one model from its middle, in rows


def spread(results):
    """(norms, quartiles) over the images that are right without an attack: minimal norms of all seeds, float
    [n], inf where no change was found; means over seeds of the lower quartile, median and upper quartile,
    None where no image is right. results: [Result with the array minimal_norm, one a seed].
    """
    each = [r.arrays["minimal_norm"][r.correct_clean] for r in results]
    rows = [quartiles("", torch.from_numpy(norms)) for norms in each if len(norms)]
    if not rows:
        return np.concatenate(each), None
    return np.concatenate(each), tuple(float(np.mean([row[k] for row in rows])) for k in KEYS)


def number(norm):
    """A length in words."""
    return f"{norm:.3g}" if np.isfinite(norm) else "not found"


def _told(norms, quartiles):
    """The median and how many images were broken, in words."""
    if quartiles is None:
        return "no image right"
    return f"median {number(quartiles[1])}; {np.isfinite(norms).sum()} of {len(norms)} broken"


def distribution(label, lengths, attack, badge):
    """Minimal norms as a `Picture`, two rows a model: above, filled, the smallest of all attacks, below,
    open, those of `attack` alone. A dot an image, a bar from the lower to the upper quartile and a stroke at
    the median; images that were not broken stand behind the right edge.

    lengths: of `smallest.lengths`. badge: `chapters.Badge`.
    """
    (lines,) = panels.coloured(curves.of_results(lengths["all"], False))
    spreads = {c.model: [spread(lengths[key][c.model]) for key in ("all", attack)] for c in lines}
    finite = np.concatenate([n[np.isfinite(n)] for pair in spreads.values() for n, _ in pair])
    left, right = (0.8 * finite.min(), 1.25 * finite.max()) if len(finite) else (0.1, 1.0)
    edge = right * (right / left) ** 0.04

    def plot(ax):
        ax.set(xscale="log", xlim=(left, right * (right / left) ** 0.08))
        ax.set_xticks([t for t in sorted(panels.TICKS["l2"]) if left <= t <= right])
        ax.xaxis.set_major_formatter("{x:g}")
        ax.minorticks_off()
        xlabel = "ℓ2 length of the smallest change found (pixels in [0, 1])"
        ax.set(ylim=(-0.6, len(lines) - 0.4), xlabel=xlabel)
        ax.axvline(right, color="#333333", linewidth=0.8, linestyle=":")
        ax.annotate("not broken", (edge, 1), xycoords=("data", "axes fraction"), ha="center", va="bottom")
        ax.set_yticks(range(len(lines)), [c.label for c in reversed(lines)])
        for y, c in enumerate(reversed(lines)):
            for up, given in zip((APART, -APART), spreads[c.model], strict=True):
                _row(ax, y + up, c.colour, *given, right, edge, attack if up < 0 else "")

    *attacks, _ = lengths
    caption = (
        "How to read it: further right, a larger change is needed. A dot is an image that its network gets"
        f" right, of the first {badge.n} test images and of all seeds of the model: filled, the smallest"
        f" change that {' or '.join(attacks)} found; open, below it, that of {attack} alone. Behind the"
        " dotted line stand images that were not broken. The bar reaches from the lower to the upper quartile"
        " or to the line, the stroke is the median (means over seeds)."
        f" {badge.dataset_name}, {badge.scale} scale."
    )
    told = "; ".join(
        f"{c.label}: {_told(*spreads[c.model][0])}, {attack} alone {_told(*spreads[c.model][1])}"
        for c in lines
    )
    alt = f"Two rows of dots for every network, the smallest ℓ2 changes found. {told}."
    return draw(label, (1, 1), plot, caption, alt, width=10.4, height=0.66 * len(lines) + 1.0)


def _row(ax, y, colour, norms, quartiles, right, edge, alone):
    """Dots, bar and median of one model at height y, and its numbers on the right; open where they are of
    one attack alone.
    """
    ink, found = panels.readable(colour), np.isfinite(norms)
    heights = y + 0.5 * APART * (0.618 * np.arange(len(norms)) % 1 - 0.5)  # apart without random numbers
    style = dict(color=colour, markerfacecolor="none" if alone else colour, alpha=0.5 if alone else 0.35)
    ax.plot(norms[found], heights[found], "o", markersize=3.2, **style)
    ax.plot(np.full((~found).sum(), edge), heights[~found], ">", markersize=4, **style)
    if quartiles:
        low, median, high = (min(q, right) for q in quartiles)
        ax.plot([low, high], [y, y], color=ink, linewidth=1.2 if alone else 2.5, solid_capstyle="butt")
        reach = [y - 0.8 * APART, y + 0.8 * APART]
        ax.plot([median] * 2, reach, color=ink, linewidth=1.2 if alone else 2.5)
    told, across = _told(norms, quartiles), ("axes fraction", "data")
    told = f"{alone}: {told}" if alone else told
    ax.annotate(told, (1.01, y), xycoords=across, va="center", fontsize=8.5, color=ink, annotation_clip=False)


def beside_pgd(label, compared, models, page):
    """Accuracy against ε under PGD and minimal-norm attacks on the same images, a line an attack and model:
    `curves.figure`, on the axes of the paper's figure of PGD; a sentence where there is nothing to compare.

    compared: of `smallest.beside`. models: those drawn, where they are there, beside networks of others.
    page: the `chapters.Badge` of the page.
    """
    found = {m: compared["PGD"][m] for m in (*models, *others.names()) if m in compared["PGD"]}
    if not found:
        return Text("None of these networks is stored with PGD and a minimal-norm attack on the same images.")
    shown = chapters.badge({m: found[m] for m in ("ep-cnn", "cnn") if m in found} or found)
    first, lines = next(iter(found.values()))[0], []
    attacks = [attack for attack in compared if attack != "all"]
    for model in found:
        for attack in attacks:
            (c,) = curves.of_results({model: compared[attack][model]}, curves.other_images(page))
            lines.append(replace(c, label=f"{c.label}, {attack}", line=LINES.get(attack)))
    said = " and ".join(f"{attack} {SAID[attack]}" for attack in attacks if attack in SAID)
    start = (
        f"a colour is a network; {said}, on the same {shown.n} images as PGD. Where a curve of another attack"
        " is lower, PGD was not the worst case; where PGD is lower, the other attack missed a smaller change."
    )
    more = [attack_figures.fewer(found, shown), f"PGD takes {first.settings['attack_steps']} steps."]
    axes = curves.published_curves.of(FIGURES[first.norm]).axes
    return curves.figure(label, None, lines, shown, start, " ".join(filter(None, more)), axes)

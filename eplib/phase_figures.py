"""Plots of the page about the free-phase steps: one network asked after more and more steps, and how hard it
is to break at each length.
"""

import matplotlib
import numpy as np
from matplotlib import colors
from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter

from eplib import curves, panels, phase_verdicts, published, statistics
from eplib.checks import NORMS
from eplib.equilibrium_figures import mean_curve
from eplib.equilibrium_figures import rows as rows_of
from eplib.masking_verdicts import target
from eplib.network_figures import spread
from eplib.pictures import COLOURS, draw
from eplib.verdicts import nearest

STRENGTHS = 3  # ε that a panel shows at most
PLAIN = "#444444"  # of what is not attacked
TICKS = (1, 2, 4, 10, 30, 60, 100, 250)
BANDS = (
    "Lines are means over seeds, bands reach from the lowest to the highest bound of the seeds' 95 % Wilson"
    " intervals."
)


def strengths(result):
    """At most `STRENGTHS` of the measured ε of a result, from the one nearest to `target` to the largest."""
    above = [e for e in result.epsilons if e >= nearest(result, target())]
    places = np.linspace(0, len(above) - 1, min(STRENGTHS, len(above))).round().astype(int)
    return [above[i] for i in places]


def band(outcomes):
    """(mean over seeds, lowest, highest bound of their Wilson intervals) of [bool [N], one a seed]."""
    bounds = [statistics.wilson(o.sum(), o.size) for o in outcomes]
    return float(np.mean([o.mean() for o in outcomes])), min(b[0] for b in bounds), max(b[1] for b in bounds)


def shades(count, name, start):
    """So many colours of a colour map, from the lightest to the darkest."""
    return [colors.to_hex(c) for c in matplotlib.colormaps[name](np.linspace(start, 1.0, count))]


def by_length(results, settling, page):
    """Accuracy of one network against the steps of its free phase, without an attack and under PGD: the
    published accuracy, ours under the attack through those very steps, and ours under the worst attack of all
    horizons for each image.

    results: of "horizons", one a seed. settling: of "settling", or []. page: the `chapters.Badge` of the
    page.
    """
    theirs, lengths = published.free_step_curve(), sorted(phase_verdicts.own_attacks(results[0]))
    dashed, epsilons = curves.other_images(page), strengths(results[0])
    colour = {"no attack": PLAIN}
    colour |= zip(map(_strength, epsilons), shades(len(epsilons), "Blues", 0.55), strict=True)
    views = {}
    for view, place in (("through the prediction's own steps", 1), ("worst of all attack horizons", 2)):
        views[view] = {"no attack": _points(results, epsilons[0], lengths, 0)}
        views[view] |= {_strength(e): _points(results, e, lengths, place) for e in epsilons}

    def plot(axes):
        line(
            axes[0],
            theirs.index,
            list(zip(*(theirs[c] for c in ("mean", "low", "high")), strict=True)),
            PLAIN,
        )
        names(axes[0], [("no attack", PLAIN, (theirs.index[-1], theirs["mean"].iloc[-1]))])
        axes[0].set_title("published, CIFAR-10", fontsize=10, loc="left")
        axes[0].set_ylabel("accuracy")
        for ax, (view, found) in zip(axes[1:], views.items(), strict=True):
            if settling:
                curve = mean_curve(rows_of(settling, "accuracy", order="synchronous"))
                ax.plot(curve.index, curve, "-", color=PLAIN, linewidth=0.9, alpha=0.6)
            for name, points in found.items():
                line(ax, lengths, points, colour[name], dashed, "o")
            names(ax, [(n, colour[n], (lengths[-1], points[-1][0])) for n, points in found.items()])
            ax.set_title(f"ours, {view}", fontsize=10, loc="left")
        for ax in axes:
            steps_axis(ax, (3.5 if ax is axes[0] else 0.85 * lengths[0], 290))
            ax.set(ylim=(0, 1), xlabel="free-phase steps before the prediction")
            ax.yaxis.set_major_formatter(PercentFormatter(1.0))

    first = results[0].settings["sizes"]
    caption = (
        "How to read it: going right, the same network is given longer to settle before it predicts, all"
        " layers at once in every step. A curve that rises in the middle and not on the right rises because"
        " attacks through more steps lead less well, and not because the network withstands more. Left: the"
        f" paper's EP-CNN without an attack, mean ± one standard deviation of {int(theirs.seeds.max())}"
        f" seeds; its attacks were all judged after {theirs.index[-1]} steps. Ours: {page.text}; PGD of"
        f" {first['steps']} steps with the gradient through the prediction's own"
        f" steps{stand_ins(results[0])}, and for every image the worst of all attacks of the next section,"
        f" whatever they differentiate through. {BANDS}"
        + (" The thin line has the accuracy after every step on more images." if settling else "")
        + (f" {curves.DASHED}" if dashed else "")
    )
    told = " ".join(
        f"Ours, {view}: "
        + "; ".join(
            f"{name} {', '.join(f'{p[0]:.1%} after {t}' for t, p in zip(lengths, points, strict=True))}"
            for name, points in found.items()
        )
        + "."
        for view, found in views.items()
    )
    alt = f"Accuracy against free-phase steps. {told} Published, no attack: {_published(theirs)}."
    return draw("fig-phase-length", (1, 3), plot, caption, alt, width=11.6, height=3.9)


def _strength(epsilon):
    return f"{NORMS['l2']} ε = {epsilon:.3g}"


def _points(results, epsilon, lengths, place):
    """[(mean, low, high)] of one of the outcomes of `phase_verdicts.at_length`, for every length."""
    return [band([phase_verdicts.at_length(r, epsilon, t)[place] for r in results]) for t in lengths]


def _published(curve):
    return ", ".join(f"{curve['mean'][t]:.1%} after {t}" for t in (10, 30, 60, 250))


def stand_ins(result):
    """Where an attack through other steps stands for that through a length's own, as the end of a clause."""
    told = []
    for steps, place in phase_verdicts.own_attacks(result).items():
        through, gradient = result.settings["sizes"]["attacked"][place]
        if gradient != "unrolled":
            told.append(f"by the adjoint at {steps}")
        elif through != steps:
            told.append(f"through {through} at {steps}")
    return f" ({', '.join(told)})" if told else ""


def line(ax, x, points, colour, dashed=False, marker=None):
    """A curve with its band. points: [(mean, low, high)]."""
    y, low, high = zip(*points, strict=True)
    ax.plot(x, y, "--" if dashed else "-", marker=marker, color=colour, linewidth=1.6, markersize=4)
    ax.fill_between(x, low, high, color=colour, alpha=0.12, linewidth=0)


def names(ax, ends, gap=0.075):
    """Names beside the ends of curves, [(name, colour, (x, y))], y on an axis from 0 to 1."""
    heights = spread([y for *_, (_, y) in ends], gap)
    for (name, colour, end), height in zip(ends, heights, strict=True):
        panels.named(ax, name, end, (1.03, height), colour)


def steps_axis(ax, limits):
    """A logarithmic axis of steps."""
    ax.set(xscale="log", xlim=limits)
    ax.xaxis.set_major_locator(FixedLocator(TICKS))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter("{x:g}")


def minimal(results, page):
    """Square and C&W against the length of the free phase: accuracy under Square, and for every image the
    smallest change that C&W found.

    results: of "phase-lengths", one a seed. page: the `chapters.Badge` of the measurement.
    """
    sizes, lengths = results[0].settings["sizes"], results[0].settings["sizes"]["lengths"]
    dashed, colour = curves.other_images(page), COLOURS["ep-cnn"]
    clean, square = (
        [band([r.correct[2 * i + kind] for r in results]) for i in range(len(lengths))] for kind in (0, 1)
    )
    norms = [
        np.concatenate([r.arrays["minimal_norm"][i][r.correct[2 * i]] for r in results])
        for i in range(len(lengths))
    ]
    finite = np.concatenate([n[np.isfinite(n)] for n in norms])
    low, high = (0.8 * finite.min(), 1.25 * finite.max()) if len(finite) else (0.1, 1.0)
    beyond = high * (high / low) ** 0.06

    def plot(axes):
        left, right = axes
        line(left, lengths, clean, PLAIN, dashed, "o")
        line(left, lengths, square, colour, dashed, "o")
        ends = [("no attack", PLAIN, clean[-1][0]), ("Square", colour, square[-1][0])]
        names(left, [(name, ink, (lengths[-1], y)) for name, ink, y in ends])
        steps_axis(left, (0.85 * lengths[0], 1.15 * lengths[-1]))
        left.set(ylim=(0, 1), xlabel="free-phase steps before the prediction", ylabel="accuracy")
        left.yaxis.set_major_formatter(PercentFormatter(1.0))
        left.set_title(f"Square, ℓ∞ ε = {255 * sizes['epsilon']:.3g}/255", fontsize=10, loc="left")
        right.set(yscale="log", ylim=(low, high * (high / low) ** 0.12), xlim=(-0.6, len(lengths) - 0.4))
        right.set_yticks([t for t in sorted(panels.TICKS["l2"]) if low <= t <= high])
        right.yaxis.set_major_formatter("{x:g}")
        right.yaxis.set_minor_locator(NullLocator())
        right.axhline(high, color="#333333", linewidth=0.8, linestyle=":")
        for x, found in enumerate(norms):
            _dots(right, x, found, high, beyond)
        words = [f"{t}\n{_count(found)}\nbroken" for t, found in zip(lengths, norms, strict=True)]
        right.set_xticks(range(len(lengths)), words)
        right.set_xlabel("free-phase steps before the prediction")
        right.set_title("C&W: length of the smallest ℓ2 change found", fontsize=10, loc="left")

    caption = (
        "How to read it: left, the share of images right without an attack and under Square with"
        f" {sizes['queries']:,} queries, by the steps that the network takes before every prediction. Right,"
        " a dot is an image that is right at that length, at the length of the smallest change that C&W found"
        f" through all those steps ({sizes['searches']} values of its constant, {sizes['cw_steps']} steps"
        " each); above the dotted line stand images that it did not break; the stroke is the median where it"
        f" was found. {page.text}. {BANDS}" + (f" {curves.DASHED}" if dashed else "")
    )
    told = "; ".join(
        f"after {t} steps {c[0]:.1%} without an attack, {s[0]:.1%} under Square, {_count(n)} broken by C&W"
        + (f", median {np.median(n):.3g}" if len(n) and np.isfinite(np.median(n)) else "")
        for t, c, s, n in zip(lengths, clean, square, norms, strict=True)
    )
    alt = f"Square and C&W against the length of the free phase: {told}."
    size = dict(width=10.4, height=4.0, sharey=False)
    return draw("fig-phase-minimal", (1, 2), plot, caption, alt, **size)


def _count(norms):
    return f"{np.isfinite(norms).sum()} of {len(norms)}"


def _dots(ax, x, norms, edge, beyond):
    """The images of one length, and their median."""
    colour, found = COLOURS["ep-cnn"], np.isfinite(norms)
    across = x + 0.5 * (0.618 * np.arange(len(norms)) % 1 - 0.5)  # apart without random numbers
    ax.plot(across[found], norms[found], "o", color=colour, alpha=0.4, markersize=4)
    ax.plot(across[~found], np.full((~found).sum(), beyond), "^", color=colour, alpha=0.5, markersize=4)
    median = np.median(norms) if len(norms) else np.inf
    if median < edge:
        ax.plot([x - 0.35, x + 0.35], [median] * 2, color="#222222", linewidth=2)

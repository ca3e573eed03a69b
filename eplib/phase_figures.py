"""Plots of the page about the free-phase steps: one network asked after more and more steps, and how hard it
is to break at each length.
"""

import matplotlib
import numpy as np
from matplotlib import colors
from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter

from eplib import curves, panels, phase_verdicts, pictures, published, statistics
from eplib.checks import NORMS
from eplib.equilibrium_figures import mean_curve, other_seeds
from eplib.equilibrium_figures import rows as rows_of
from eplib.masking_verdicts import target
from eplib.network_figures import spread
from eplib.pictures import draw
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


def by_length(found, settling, page):
    """Accuracy of one network against the steps of its free phase, without an attack and under PGD: the
    published accuracy, ours under the attack through those very steps, and ours under the worst attack of all
    horizons for each image. Networks of others have a row each below.

    found: {model: [Result of "horizons", one a seed]}, the EP-CNN first. settling: the same of "settling", or
    {}. page: the `chapters.Badge` of the page.
    """
    results, theirs = next(iter(found.values())), published.free_step_curve()
    lengths = sorted(phase_verdicts.own_attacks(results[0]))
    dashed, epsilons = curves.other_images(page), strengths(results[0])
    colour = {"no attack": PLAIN}
    colour |= zip(map(_strength, epsilons), shades(len(epsilons), "Blues", 0.55), strict=True)
    views = {_whose(m, found): _views(rs, epsilons, lengths) for m, rs in found.items()}

    def plot(axes):
        axes = np.reshape(axes, (-1, 3))
        for row, model, (whose, of_model) in zip(axes, found, views.items(), strict=True):
            line(
                row[0],
                theirs.index,
                list(zip(*(theirs[c] for c in ("mean", "low", "high")), strict=True)),
                PLAIN,
            )
            names(row[0], [("no attack", PLAIN, (theirs.index[-1], theirs["mean"].iloc[-1]))])
            row[0].set_title("published, CIFAR-10", fontsize=10, loc="left")
            row[0].set_ylabel("accuracy")
            for ax, (view, drawn) in zip(row[1:], of_model.items(), strict=True):
                if settling.get(model):
                    curve = mean_curve(rows_of(settling[model], "accuracy", order="synchronous"))
                    ax.plot(curve.index, curve, "-", color=PLAIN, linewidth=0.9, alpha=0.6)
                for what, points in drawn.items():
                    line(ax, lengths, points, colour[what], dashed, "o")
                names(ax, [(n, colour[n], (lengths[-1], points[-1][0])) for n, points in drawn.items()])
                ax.set_title(f"{whose}, {view}", fontsize=10, loc="left")
        for ax in axes.flat:
            steps_axis(ax, (3.5 if ax in axes[:, 0] else 0.85 * lengths[0], 290))
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
        + other_seeds(found, page)
    )
    told = " ".join(
        f"{'Ours' if whose == 'ours' else whose}, {view}: "
        + "; ".join(
            f"{what} {', '.join(f'{p[0]:.1%} after {t}' for t, p in zip(lengths, points, strict=True))}"
            for what, points in drawn.items()
        )
        + "."
        for whose, of_model in views.items()
        for view, drawn in of_model.items()
    )
    alt = f"Accuracy against free-phase steps. {told} Published, no attack: {_published(theirs)}."
    size = dict(width=11.6, height=3.9 * len(found))
    return draw("fig-phase-length", (len(found), 3), plot, caption, alt, **size)


def _whose(model, found):
    """How titles begin: the first network of a figure is ours, networks of others have their names."""
    return "ours" if model == next(iter(found)) else pictures.name(model)


def _views(results, epsilons, lengths):
    """{view: {"no attack" or a strength: points}} of one network, for the two panels of `by_length`."""
    views = {}
    for view, place in (("through the prediction's own steps", 1), ("worst of all attack horizons", 2)):
        views[view] = {"no attack": _points(results, epsilons[0], lengths, 0)}
        views[view] |= {_strength(e): _points(results, e, lengths, place) for e in epsilons}
    return views


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


def minimal(found, page):
    """Square and C&W against the length of the free phase: accuracy under Square, and for every image the
    smallest change that C&W found. Networks of others have a row each below.

    found: {model: [Result of "phase-lengths", one a seed]}, the EP-CNN first. page: the `chapters.Badge` of
    the measurement.
    """
    sizes = next(iter(found.values()))[0].settings["sizes"]
    lengths, dashed, tints = sizes["lengths"], curves.other_images(page), panels.tints(found)
    shares = {m: [_shares(rs, kind) for kind in (0, 1)] for m, rs in found.items()}
    norms = {m: [_norms(rs, i) for i in range(len(lengths))] for m, rs in found.items()}
    finite = np.concatenate([n[np.isfinite(n)] for of_model in norms.values() for n in of_model])
    low, high = (0.8 * finite.min(), 1.25 * finite.max()) if len(finite) else (0.1, 1.0)

    def plot(axes):
        for (left, right), model in zip(np.reshape(axes, (-1, 2)), found, strict=True):
            start, colour = "" if model == next(iter(found)) else f"{pictures.name(model)}, ", tints[model]
            clean, square = shares[model]
            line(left, lengths, clean, PLAIN, dashed, "o")
            line(left, lengths, square, colour, dashed, "o")
            ends = [("no attack", PLAIN, clean[-1][0]), ("Square", colour, square[-1][0])]
            names(left, [(what, ink, (lengths[-1], y)) for what, ink, y in ends])
            steps_axis(left, (0.85 * lengths[0], 1.15 * lengths[-1]))
            left.set(ylim=(0, 1), xlabel="free-phase steps before the prediction", ylabel="accuracy")
            left.yaxis.set_major_formatter(PercentFormatter(1.0))
            title = f"{start}Square, ℓ∞ ε = {255 * sizes['epsilon']:.3g}/255"
            left.set_title(title, fontsize=10, loc="left")
            _smallest(right, lengths, norms[model], (low, high), colour)
            title = f"{start}C&W: length of the smallest ℓ2 change found"
            right.set_title(title, fontsize=10, loc="left")

    caption = (
        "How to read it: left, the share of images right without an attack and under Square with"
        f" {sizes['queries']:,} queries, by the steps that the network takes before every prediction. Right,"
        " a dot is an image that is right at that length, at the length of the smallest change that C&W found"
        f" through all those steps ({sizes['searches']} values of its constant, {sizes['cw_steps']} steps"
        " each); above the dotted line stand images that it did not break; the stroke is the median where it"
        f" was found. {page.text}. {BANDS}"
        + (f" {curves.DASHED}" if dashed else "")
        + other_seeds(found, page)
    )
    told = "; ".join(
        ("" if m == next(iter(found)) else f"{pictures.name(m)} ")
        + f"after {t} steps {c[0]:.1%} without an attack, {s[0]:.1%} under Square, {_count(n)} broken by C&W"
        + (f", median {np.median(n):.3g}" if len(n) and np.isfinite(np.median(n)) else "")
        for m in found
        for t, c, s, n in zip(lengths, *shares[m], norms[m], strict=True)
    )
    alt = f"Square and C&W against the length of the free phase: {told}."
    size = dict(width=10.4, height=4.0 * len(found), sharey=False)
    return draw("fig-phase-minimal", (len(found), 2), plot, caption, alt, **size)


def _shares(results, kind):
    """[(mean, low, high)] for every length: right without an attack (kind 0), and under Square (1)."""
    lengths = results[0].settings["sizes"]["lengths"]
    return [band([r.correct[2 * i + kind] for r in results]) for i in range(len(lengths))]


def _norms(results, place):
    """Lengths of the smallest changes at one length of the phase, of the images right there; ∞ unbroken."""
    return np.concatenate([r.arrays["minimal_norm"][place][r.correct[2 * place]] for r in results])


def _smallest(ax, lengths, norms, limits, colour):
    """The smallest changes of one network, a column a length of the phase."""
    low, high = limits
    ax.set(yscale="log", ylim=(low, high * (high / low) ** 0.12), xlim=(-0.6, len(lengths) - 0.4))
    ax.set_yticks([t for t in sorted(panels.TICKS["l2"]) if low <= t <= high])
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_locator(NullLocator())
    ax.axhline(high, color="#333333", linewidth=0.8, linestyle=":")
    for x, found in enumerate(norms):
        _dots(ax, x, found, high, high * (high / low) ** 0.06, colour)
    words = [f"{t}\n{_count(found)}\nbroken" for t, found in zip(lengths, norms, strict=True)]
    ax.set_xticks(range(len(lengths)), words)
    ax.set_xlabel("free-phase steps before the prediction")


def _count(norms):
    return f"{np.isfinite(norms).sum()} of {len(norms)}"


def _dots(ax, x, norms, edge, beyond, colour):
    """The images of one length, and their median."""
    found = np.isfinite(norms)
    across = x + 0.5 * (0.618 * np.arange(len(norms)) % 1 - 0.5)  # apart without random numbers
    ax.plot(across[found], norms[found], "o", color=colour, alpha=0.4, markersize=4)
    ax.plot(across[~found], np.full((~found).sum(), beyond), "^", color=colour, alpha=0.5, markersize=4)
    median = np.median(norms) if len(norms) else np.inf
    if median < edge:
        ax.plot([x - 0.35, x + 0.35], [median] * 2, color="#222222", linewidth=2)

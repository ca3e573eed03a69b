"""Both horizons varied, in a figure and in words: what attacks lose whose gradient sees fewer or more steps
of the free phase than the prediction takes.
"""

import numpy as np
from matplotlib.ticker import PercentFormatter

from eplib import curves, horizons, panels, published
from eplib.phase_figures import PLAIN, band, line, names, shades, stand_ins, steps_axis, strengths
from eplib.phase_lengths import SETTLED
from eplib.phase_verdicts import at_length, compared, own_attacks
from eplib.pictures import draw
from eplib.sentences import Text, table

APART = 0.035  # of the logarithm of steps, between the intervals of neighbouring curves


def under(result, epsilon, steps):
    """bool [A, N]: right under every attack of a result of "horizons" when predicted after `steps`."""
    place = list(result.settings["sizes"]["predicted"]).index(steps)
    return horizons.outcomes(result)[1][list(result.epsilons).index(epsilon), :, place]


def published_curve(epsilon):
    """The published accuracy under ℓ2 PGD against attack steps, predicted after 250, at the published ε
    nearest to this one: a table indexed by attack_steps with mean, low and high (mean ∓ standard deviation
    over seeds) and seeds; attrs["epsilon"] is that ε. Of each horizon the row with the most images.
    """
    rows = published.table("pgd", model="ep-cnn", norm="l2", series="seeds", predict_steps=float(SETTLED))
    at = min(rows.epsilon, key=lambda e: abs(np.log(e / epsilon)))
    rows = rows[rows.epsilon == at].sort_values(["attack_steps", "images"])
    rows = rows.drop_duplicates("attack_steps", keep="last").set_index("attack_steps")
    sd = rows["sd"].fillna(0)
    found = rows[["mean"]].assign(low=rows["mean"] - sd, high=rows["mean"] + sd, seeds=rows["n"])
    found.attrs["epsilon"] = float(at)
    return found


def _curves(results, epsilon):
    """{T: {(steps, gradient): (mean, low, high)}}: accuracy under the attacks with an exact gradient or the
    adjoint, by ascending steps, for every prediction that was attacked through its own steps.
    """
    attacked = [tuple(a) for a in results[0].settings["sizes"]["attacked"]]
    drawn = sorted(
        (a for a in attacked if a[1] in ("unrolled", "adjoint")), key=lambda a: (a[1] == "adjoint", a)
    )
    found = {}
    for steps in own_attacks(results[0]):
        right = [under(r, epsilon, steps) for r in results]
        found[steps] = {a: band([each[attacked.index(a)] for each in right]) for a in drawn}
    return found


def figure(results, page):
    """Accuracy against the steps that the attack's gradient goes through, a curve for every length of the
    free phase before the prediction, published beside ours; at the ε where lengths are compared, and at the
    largest one shown.

    results: of "horizons", one a seed. page: the `chapters.Badge` of the page.
    """
    epsilons, dashed = compared_strengths(results[0]), curves.other_images(page)
    found = {e: (published_curve(e), _curves(results, e)) for e in epsilons}
    lengths = list(own_attacks(results[0]))
    colour = dict(zip(lengths, shades(len(lengths), "viridis_r", 0.15), strict=True))

    def plot(axes):
        axes = np.reshape(axes, (-1, 2))
        for (left, right), (epsilon, (theirs, ours)) in zip(axes, found.items(), strict=True):
            _published(left, theirs, colour.get(SETTLED, PLAIN))
            _ours(right, results[0], ours, colour, dashed)
            title = f"ours: {page.dataset_name}, {page.scale} scale, ℓ2 ε = {epsilon:.3g}"
            right.set_title(title, fontsize=10, loc="left")
            left.set_ylabel("accuracy under attack")
        for ax in axes.flat:
            steps_axis(ax, (3.5, 300))
            ax.set_ylim(0, 1)
            ax.yaxis.set_major_formatter(PercentFormatter(1.0))
        for ax in axes[-1]:
            ax.set_xlabel("free-phase steps that the attack's gradient goes through")

    seeds = max(int(theirs.seeds.max()) for theirs, _ in found.values())
    caption = (
        "How to read it: the lower a point, the more its attack breaks. A curve is one network that predicts"
        " after the steps its name says; along it the attacker differentiates through more and more steps. A"
        f" ring marks the attack through the prediction's own steps{stand_ins(results[0])}: left of it the"
        " attacker sees less of the free phase than the prediction takes, right of it more. Diamonds: the"
        f" adjoint at the state after that many steps. PGD of {results[0].settings['sizes']['steps']} steps."
        f" Published: mean ± one standard deviation of up to {seeds} seeds; images that the attack repairs"
        f" count as right. Ours: {page.text}; means over seeds, strokes from the lowest to the highest bound"
        " of the seeds' 95 % Wilson intervals." + (f" {curves.DASHED}" if dashed else "")
    )
    told = " ".join(_told(e, *curves_of) for e, curves_of in found.items())
    alt = f"Accuracy under PGD against the steps of the attack's gradient. {told}"
    size = dict(width=10.4, height=0.4 + 3.7 * len(found))
    return draw("fig-phase-horizons", (len(found), 2), plot, caption, alt, **size)


def compared_strengths(result):
    """The ε where lengths are compared, and the largest of `strengths` where that is another."""
    shown = strengths(result)
    return list(dict.fromkeys((shown[0], shown[-1])))


def _told(epsilon, theirs, ours):
    """The curves of one ε in words."""
    mine = "; ".join(
        f"predicted after {steps}, " + ", ".join(f"{y:.1%} by {_said(*a)}" for a, (y, _, _) in points.items())
        for steps, points in ours.items()
    )
    published_too = ", ".join(f"{mean:.1%} through {t:.0f}" for t, mean in theirs["mean"].items())
    return (
        f"Ours at ℓ2 ε = {epsilon:.3g}: {mine}. Published at {theirs.attrs['epsilon']:.3g}: {published_too}."
    )


def _published(ax, theirs, colour):
    points = list(zip(theirs["mean"], theirs["low"], theirs["high"], strict=True))
    line(ax, theirs.index, points, colour, marker="o")
    ax.annotate(
        f"predicts after {SETTLED}",
        (theirs.index[-1], points[-1][0]),
        (6, 0),
        textcoords="offset points",
        va="center",
        fontsize=panels.SIZE,
        color=panels.readable(colour),
    )
    ax.set_title(f"published, CIFAR-10, ℓ2 ε = {theirs.attrs['epsilon']:.3g}", fontsize=10, loc="left")


def _ours(ax, result, found, colour, dashed):
    """The curves of `_curves`, named at their ends."""
    ends = []
    for i, (steps, points) in enumerate(found.items()):
        own = tuple(result.settings["sizes"]["attacked"][own_attacks(result)[steps]])
        _curve(ax, points, own, colour[steps], dashed, np.exp(APART * (i - (len(found) - 1) / 2)))
        (last, _), (y, _, _) = list(points.items())[-1]
        ends.append((f"predicts after {steps}", colour[steps], (last, y)))
    names(ax, ends)


def _curve(ax, points, own, colour, dashed, apart):
    """One curve of `_curves` with its intervals, its diamonds and the ring around the attack `own`."""
    exact = [(steps, y) for (steps, gradient), (y, _, _) in points.items() if gradient == "unrolled"]
    ax.plot(*zip(*exact, strict=True), "--" if dashed else "-", marker="o", color=colour, markersize=4)
    for (steps, gradient), (y, low, high) in points.items():
        ax.plot([apart * steps] * 2, [low, high], color=colour, linewidth=1, alpha=0.5)
        if gradient == "adjoint":
            ax.plot(steps, y, "D", color=colour, markersize=6)
        if (steps, gradient) == own:
            ring = dict(markersize=13, markerfacecolor="none", markeredgewidth=1.6)
            ax.plot(steps, y, "o", color=colour, **ring)


def _said(steps, gradient):
    return horizons.words(steps, gradient)[0]


def differences(results, epsilon):
    """A table of words: what an attack loses by seeing fewer or more steps than the prediction takes, a line
    for every length that was attacked through its own steps, a column for every attack.
    """
    lines = []
    for steps, place in own_attacks(results[0]).items():
        right = [under(r, epsilon, steps) for r in results]
        left = np.mean([r.mean(1) for r in right], 0)
        worst = np.mean([r.all(0).mean() for r in right])
        cells = [f"{100 * (y - left[place]):+.1f}" for y in left]
        cells[place] = f"[{100 * left[place]:.1f} %]"
        lines.append((f"{steps} steps", *cells, f"{100 * (worst - left[place]):+.1f}"))
    note = (
        f"Predictions after so many steps, attacks above; ℓ2 ε = {epsilon:.3g}. In brackets the accuracy"
        " under the attack through the prediction's own steps; beside it how many points more (+) or less (−)"
        " the other attacks leave on the same images, means over seeds. Numbers of steps are of the exact"
        " gradient. Worst: every image under the attack that breaks it."
    )
    columns = [_said(*a) for a in results[0].settings["sizes"]["attacked"]]
    return table(("predicted after", *columns, "worst"), lines, note)


def tables(results):
    """`differences` at every one of `compared_strengths`."""
    return [differences(results, epsilon) for epsilon in compared_strengths(results[0])]


def words(results):
    """How much an attack loses whose exact gradient sees fewer, or more, steps than the prediction takes."""
    told = [f"at ε = {e:.3g}, {_mismatched(results, e)}" for e in compared_strengths(results[0])]
    return Text(
        "**Both horizons varied** (ℓ2, exact gradients, beside an attack through the prediction's own"
        f" steps): {'; '.join(told)}. Points above zero are images that the mismatched attack fails to break;"
        " below zero it breaks more."
    )


def _mismatched(results, epsilon):
    sizes, found = results[0].settings["sizes"], {"fewer": [], "more": []}
    for steps, place in own_attacks(results[0]).items():
        left = np.mean([under(r, epsilon, steps).mean(1) for r in results], 0)
        for (through, gradient), y in zip(sizes["attacked"], left, strict=True):
            if gradient == "unrolled" and through != sizes["attacked"][place][0]:
                found["fewer" if through < steps else "more"].append(
                    (100 * (y - left[place]), through, steps)
                )
    told = []
    for side, points in found.items():
        if points:
            (low, least, after), (high, through, steps) = min(points), max(points)
            span = f"{high:+.1f} points"
            if low != high:
                span = f"from {low:+.1f} points ({least} steps, predicted after {after}) to {high:+.1f}"
            told.append(f"one through {side} steps leaves {span} ({through} steps, predicted after {steps})")
    return ", ".join(told)


def along(results):
    """What the longest phase of the verdict keeps more than the shortest, at every measured ε: under the
    attacks through their own steps, and under the worst of all attacks for each image. Words, no verdict.
    """
    short, long = compared(results)
    told = []
    for epsilon in results[0].epsilons:
        sides = {t: [at_length(r, epsilon, t) for r in results] for t in (short, long)}
        own, worst = (
            100 * np.mean([a[i].mean() - b[i].mean() for a, b in zip(sides[long], sides[short], strict=True)])
            for i in (1, 2)
        )
        told.append(f"{own:+.1f} and {worst:+.1f} at {epsilon:.3g}")
    return Text(
        f"**At every strength** (looked at afterwards, so a description and no verdict): points that the"
        f" network keeps more after {long} steps than after {short}, first under the attacks through their"
        " own steps and then under the worst attack of all horizons for each image, by ℓ2 ε:"
        f" {'; '.join(told)}. Where the first number is above the second, part of the lead of the longer"
        " phase is changes that its own gradient misses and another horizon finds."
    )

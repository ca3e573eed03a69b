"""Both horizons varied, in a figure and in words: what attacks lose whose gradient sees fewer or more steps
of the free phase than the prediction takes.
"""

import numpy as np
from matplotlib.ticker import PercentFormatter

from eplib import curves, horizons, panels, published
from eplib.masking_verdicts import target
from eplib.phase_figures import PLAIN, band, line, names, shades, stand_ins, steps_axis
from eplib.phase_lengths import SETTLED
from eplib.phase_verdicts import own_attacks
from eplib.pictures import draw
from eplib.sentences import Text, table
from eplib.verdicts import nearest

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
    free phase before the prediction; the published curve beside it.

    results: of "horizons", one a seed. page: the `chapters.Badge` of the page.
    """
    first, epsilon = results[0].settings["sizes"], nearest(results[0], target())
    found, theirs, dashed = _curves(results, epsilon), published_curve(epsilon), curves.other_images(page)
    colour = dict(zip(found, shades(len(found), "viridis_r", 0.15), strict=True))

    def plot(axes):
        left, right = axes
        points = list(zip(theirs["mean"], theirs["low"], theirs["high"], strict=True))
        line(left, theirs.index, points, colour.get(SETTLED, PLAIN), False)
        left.set_title(f"published, CIFAR-10, ℓ2 ε = {theirs.attrs['epsilon']:.3g}", fontsize=10, loc="left")
        left.annotate(
            f"predicts after {SETTLED}",
            (theirs.index[-1], theirs["mean"].iloc[-1]),
            (6, 0),
            textcoords="offset points",
            va="center",
            fontsize=panels.SIZE,
            color=panels.readable(colour.get(SETTLED, PLAIN)),
        )
        for i, (steps, points) in enumerate(found.items()):
            own = tuple(first["attacked"][own_attacks(results[0])[steps]])
            _curve(right, points, own, colour[steps], dashed, np.exp(APART * (i - (len(found) - 1) / 2)))
        ends = {steps: (list(points)[-1][0], list(points.values())[-1][0]) for steps, points in found.items()}
        names(right, [(f"predicts after {t}", colour[t], end) for t, end in ends.items()])
        title = f"ours: {page.dataset_name}, {page.scale} scale, ℓ2 ε = {epsilon:.3g}"
        right.set_title(title, fontsize=10, loc="left")
        for ax in axes:
            steps_axis(ax, (3.5, 300))
            ax.set(ylim=(0, 1), xlabel="free-phase steps that the attack's gradient goes through")
            ax.yaxis.set_major_formatter(PercentFormatter(1.0))
        left.set_ylabel("accuracy under attack")

    caption = (
        "How to read it: the lower a point, the more its attack breaks. A curve is one network that predicts"
        " after the steps its name says; along it the attacker differentiates through more and more steps. A"
        f" ring marks the attack through the prediction's own steps{stand_ins(results[0])}: left of it the"
        " attacker sees less of the free phase than the prediction takes, right of it more. Diamonds: the"
        f" adjoint at the state after that many steps. PGD of {first['steps']} steps. Published: mean ± one"
        f" standard deviation of up to {int(theirs.seeds.max())} seeds; images that the attack repairs count"
        f" as right. Ours: {page.text}; means over seeds, strokes from the lowest to the highest bound of the"
        " seeds' 95 % Wilson intervals." + (f" {curves.DASHED}" if dashed else "")
    )
    told = "; ".join(
        f"predicted after {steps}, " + ", ".join(f"{y:.1%} by {_said(*a)}" for a, (y, _, _) in points.items())
        for steps, points in found.items()
    )
    alt = (
        f"Accuracy under PGD, ℓ2 ε = {epsilon:.3g}, against the steps of the attack's gradient. Ours: {told}."
        f" Published: {', '.join(f'{m:.1%} through {t:.0f}' for t, m in theirs['mean'].items())}."
    )
    return draw("fig-phase-horizons", (1, 2), plot, caption, alt, width=10.4, height=4.2)


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


def differences(results):
    """A table of words: what an attack loses by seeing fewer or more steps than the prediction takes, a line
    for every length that was attacked through its own steps, a column for every attack.
    """
    sizes, epsilon = results[0].settings["sizes"], nearest(results[0], target())
    columns = [
        f"{t} steps" if gradient == "unrolled" else f"{gradient}, {t}" for t, gradient in sizes["attacked"]
    ]
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
    return table(("predicted after", *columns, "worst"), lines, note)


def words(results):
    """How much an attack loses whose exact gradient sees fewer, or more, steps than the prediction takes."""
    sizes, epsilon = results[0].settings["sizes"], nearest(results[0], target())
    found = {"fewer": [], "more": []}
    for steps, place in own_attacks(results[0]).items():
        left = np.mean([under(r, epsilon, steps).mean(1) for r in results], 0)
        for (through, gradient), y in zip(sizes["attacked"], left, strict=True):
            if gradient == "unrolled" and through != sizes["attacked"][place][0]:
                side = "fewer" if through < steps else "more"
                found[side].append((100 * (y - left[place]), through, steps))
    told = []
    for side, points in found.items():
        if points:
            (low, _, _), (high, through, steps) = min(points), max(points)
            span = f"{high:+.1f}" if low == high else f"between {low:+.1f} and {high:+.1f}"
            told.append(
                f"one through {side} steps than the prediction takes leaves {span} points (the most through"
                f" {through} against a prediction after {steps})"
            )
    return Text(
        f"**Both horizons varied** (ℓ2 ε = {epsilon:.3g}, exact gradients). Beside an attack through the"
        f" prediction's own steps, {'; '.join(told)}. Points above zero are images that the mismatched attack"
        " fails to break; below zero it breaks more."
    )

"""EP-CNN and CNN under attackers who pay alike: accuracy against the gradients and the time of an attack."""

import numpy as np
from matplotlib.ticker import NullFormatter, PercentFormatter

from eplib import curves, iterations, panels, pictures, statistics
from eplib.checks import InputError
from eplib.equilibrium_figures import other_seeds
from eplib.panels import readable
from eplib.phase_figures import names
from eplib.pictures import draw
from eplib.sentences import Text

UNITS = {  # of a budget, an image
    "gradient_evaluations": "gradients",
    "image_seconds": "seconds",
}
OWN = ("ep-cnn", "cnn")  # whose attackers are matched
MARKS = {"fgsm": ("v", "FGSM"), "pgd": ("o", "PGD"), "apgd-ce": ("s", "APGD")}


def attacks(result):
    """The accuracy rows of a result of "iterations". Raises InputError where no image was right, so that
    nothing was attacked and nothing has a cost.
    """
    if not result.correct_clean.any():
        raise InputError("iterations of a network that gets no image right: measure a trained one")
    return result.table[result.table.metric == "accuracy"]


def frontier(result, cost):
    """(budgets, accuracies): the lowest accuracy that an attack of a result of "iterations" reached within
    each budget at which one ends, ascending. cost: of `iterations.COSTS`. Raises InputError as `attacks`.
    """
    budgets = sorted(set(attacks(result)[cost]))
    return budgets, [iterations.left_within(result, cost, budget) for budget in budgets]


def matched(found, cost):
    """(budget, {model: lowest accuracy within it}): the largest budget that the attackers of EP-CNN and CNN
    both spent. found: {model: [Result of "iterations"]}, of which the first counts.
    """
    budget = min(attacks(found[m][0])[cost].max() for m in OWN)
    return budget, {m: iterations.left_within(found[m][0], cost, budget) for m in OWN}


def shown(found, page):
    """[`figure`, `words`, a sentence about networks that get no image right, so that nothing was attacked],
    or the sentence alone where EP-CNN or CNN is one of them.
    """
    idle = [m for m, results in found.items() if not results[0].correct_clean.any()]
    named = " and the ".join(map(pictures.name, idle))
    said = [Text(f"No image was right in the {named}, so there was nothing to attack.")] if idle else []
    if any(m in OWN for m in idle):
        return said
    return [figure({m: found[m] for m in found if m not in idle}, page), words(found), *said]


def figure(found, page):
    """Accuracy against the budget of the attacker, in gradients and in seconds, a curve a network.

    found: {model: [Result of "iterations"]}, of which the first counts. page: the `chapters.Badge` of the
    measurement. Raises InputError as `attacks`.
    """
    results, dashed = {m: r[0] for m, r in found.items()}, curves.other_images(page)
    first, tints = next(iter(results.values())).settings["sizes"], panels.tints(found)

    def plot(axes):
        for ax, (cost, unit) in zip(axes, UNITS.items(), strict=True):
            ends = [_one(ax, m, result, cost, dashed, tints[m]) for m, result in results.items()]
            names(ax, ends)
            ax.axvline(matched(found, cost)[0], color="#595959", linestyle=":", linewidth=1.2)
            ax.set(xscale="log", ylim=(-0.02, 1), xlabel=f"{unit} an image")
            ax.xaxis.set_major_formatter("{x:g}")
            ax.xaxis.set_minor_formatter(NullFormatter())
            ax.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes[0].set_ylabel("accuracy under attack")

    spenders = "both attackers" if len(found) == len(OWN) else "the attackers of EP-CNN and CNN both"
    marks = ", ".join(f"{word} {sign}" for word, sign in (("FGSM", "▼"), ("PGD", "●"), ("APGD", "■")))
    caption = (
        "How to read it: a mark is one attack with so many steps and starts, at what it cost; the stair is"
        " the lowest accuracy that was reached for that price. Where one stair lies above the other, the"
        f" attacker of that network got less for the same. Marks: {marks}. Dotted: the largest budget that"
        f" {spenders} spent. ℓ2 ε = {first['epsilon']:.3g}, up to {first['steps']} steps and"
        f" {first['restarts']} starts; every gradient goes through the network's own free phase"
        f" ({_phases(results)}). Bands: 95 % Wilson intervals. Seconds are of the machine that measured,"
        f" which may have been busy. {page.text}."
        + (f" {curves.DASHED}" if dashed else "")
        + other_seeds(found, page)
    )
    told = "; ".join(
        f"{pictures.name(m)} "
        + ", ".join(f"{y:.1%} for {b:.3g}" for b, y in zip(*frontier(r, cost), strict=True))
        + f" {unit}"
        for cost, unit in UNITS.items()
        for m, r in results.items()
    )
    alt = f"Lowest accuracy under attack against the budget an image: {told}."
    return draw("fig-phase-budgets", (1, 2), plot, caption, alt, width=10.4, height=4.0)


def _phases(results):
    told = [
        f"{pictures.name(m)}: {r.settings['predict_steps']} {r.settings['order']} steps"
        for m, r in results.items()
        if r.settings["predict_steps"]
    ]
    return ", ".join(told)


def _one(ax, model, result, cost, dashed, colour):
    """The marks, the stair and its band of one network; returns its name, colour and end."""
    n, table = len(result.image_ids), attacks(result)
    for attack, (mark, _) in MARKS.items():
        rows = table[table.attack == attack]
        ax.plot(rows[cost], rows.value, mark, color=colour, markersize=4, alpha=0.45)
    x, y = frontier(result, cost)
    bounds = np.array([statistics.wilson(round(v * n), n) for v in y])
    ax.plot(x, y, "--" if dashed else "-", drawstyle="steps-post", color=colour, linewidth=1.6)
    ax.fill_between(x, *bounds.T, step="post", color=colour, alpha=0.12, linewidth=0)
    return pictures.name(model), readable(colour), (x[-1], y[-1])


def words(found):
    """What both networks have left at the largest budget that both attackers spent, in gradients and in time,
    and what one gradient costs. found: as of `figure`, of which EP-CNN and CNN count.
    """
    told, found = [], {m: found[m] for m in OWN}
    for cost, unit in UNITS.items():
        budget, left = matched(found, cost)
        shares = " and ".join(
            f"the {pictures.name(m)} " + ("all, as no attack is so cheap" if np.isnan(y) else f"{y:.1%}")
            for m, y in left.items()
        )
        told.append(f"for {budget:.3g} {unit} an image {shares}")
    each = {}
    for model, results in found.items():
        rows = attacks(results[0])
        rows = rows[rows.attack == "pgd"]
        each[model] = float((rows.image_seconds / rows.gradient_evaluations).median())
    clean = " and ".join(f"the {pictures.name(m)} {r[0].correct_clean.mean():.1%}" for m, r in found.items())
    return Text(
        "**Matched budgets.** What is left at the largest budget that both attackers spent:"
        f" {'; '.join(told)}. Without an attack {clean} of the images are right. One gradient of the EP-CNN"
        f" took {each['ep-cnn'] / each['cnn']:.3g} times as long as one of the CNN"
        f" ({1e3 * each['ep-cnn']:.3g} and {1e3 * each['cnn']:.3g} ms an image). The slower network buys its"
        " user no robustness with that: an attacker who pays the difference has the comparison in gradients."
    )

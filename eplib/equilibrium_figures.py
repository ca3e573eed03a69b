"""Plots of what happens in the free phase: accuracy, residual and energy by step, attractors, and the energy
along paths of images.
"""

from dataclasses import replace

import numpy as np
from matplotlib.ticker import PercentFormatter

from eplib import attack_figures, others, panels, published
from eplib.pictures import COLOURS, draw, name

ORDER_COLOURS = {
    "synchronous": "#0072b2",
    "even-odd": "#56b4e9",
    "forward": "#d55e00",
    "backward": "#cc79a7",
}
QUESTIONS = {
    "settled": "starts that settle",
    "agreement": "random starts that end in the\nclass reached from zero",
    "several_classes": "images whose attractors\ndisagree on the class",
    "nearest_class": "images whose nearest attractor of\nanother image has their class",
    "nearest_class_pixels": "the same, nearest by pixels",
}


def rows(results, metric, **where):
    """The rows of one metric in every result of a list, as one table each, cut to the columns that `where`
    fixes.
    """
    found = []
    for result in results:
        table = result.table[result.table.metric == metric]
        for column, value in where.items():
            table = table[table[column] == value]
        found.append(table)
    return found


def free_steps(outcomes, badge):
    """Accuracy against free step: published beside ours, synchronous and in the network's own order, and
    beside networks of others in theirs. outcomes: {model: [Result]}, the EP-CNN first.
    """
    results, *beside = outcomes.values()
    theirs, own = published.free_step_curve(), results[0].settings["order"]
    other, orders = badge.dataset != "cifar10", tuple(dict.fromkeys(("synchronous", own)))
    lines = {(order, f"{order} order"): (results, ORDER_COLOURS[order]) for order in orders}
    tints = panels.unlike(list(outcomes)[1:], (*ORDER_COLOURS.values(), COLOURS["ep-cnn"]))
    for (model, colour), found in zip(tints.items(), beside, strict=True):
        order = found[0].settings["order"]
        lines[order, f"{name(model)}, {order} order"] = found, colour

    def plot(axes):
        axes[0].plot(theirs.index, theirs["mean"], color=COLOURS["ep-cnn"], linewidth=1.8)
        axes[0].fill_between(theirs.index, theirs["low"], theirs["high"], color=COLOURS["ep-cnn"], alpha=0.2)
        axes[0].set_title("published, CIFAR-10, synchronous")
        for (order, label), (found, colour) in lines.items():
            for table in rows(found, "accuracy", order=order):
                x, line = table.predict_steps, "--" if other else "-"
                axes[1].plot(x, table.value, line, color=colour, linewidth=1.5, label=label)
                axes[1].fill_between(x, table.low, table.high, color=colour, alpha=0.1, linewidth=0)
                label = None
        axes[1].legend(frameon=False, loc="best")
        axes[1].set_title(f"ours, {badge.dataset_name}")
        for ax in axes:
            ax.set(xscale="log", xlim=(0.9, 280), ylim=(0, 1), xlabel="free-phase step")
            ax.xaxis.set_major_formatter("{x:g}")
            ax.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes[0].set_ylabel("test accuracy")

    caption = (
        "How to read it: a network that is asked too early guesses. Left: the paper's EP-CNN, mean and"
        " standard"
        f" deviation of {int(theirs.seeds.max())} seeds. Right: ours, one line a network with 95 % Wilson"
        f" intervals ({badge.text}), updated all layers at once as in the paper"
        + (", and in the order it was trained with" if len(orders) > 1 else " and in its training")
        + ("; dashed, because the images are others than the paper's." if other else ".")
        + other_seeds(outcomes, badge)
    )
    ours = {
        label.removesuffix(" order"): mean_curve(rows(found, "accuracy", order=order))
        for (order, label), (found, _) in lines.items()
    }
    alt = (
        f"Accuracy against free-phase step. Published: {_at(theirs['mean'], (3, 10, 60, 250))}. Ours: "
        + "; ".join(f"{words} {_at(curve, (3, 10, 60, 250))}" for words, curve in ours.items())
        + "."
    )
    return draw("fig-characteristic-time", (1, 2), plot, caption, alt)


def other_seeds(outcomes, badge):
    """The end of a caption: which networks of others have other seeds than the badge's."""
    said = attack_figures.fewer({m: rs for m, rs in outcomes.items() if m in others.names()}, badge)
    return f" {said}" if said else ""


def mean_curve(tables):
    """The mean over networks of a metric by step: a Series indexed by predict_steps."""
    return sum(t.set_index("predict_steps").value for t in tables) / len(tables)


def _at(curve, steps):
    return ", ".join(f"{curve[t]:.0%} at step {t}" for t in steps if t in curve.index)


def residuals(outcomes, badge):
    """Residual and energy against free step, in every order of updates, a row of panels a network. outcomes:
    {model: [Result]}, the EP-CNN first.
    """

    def plot(axes):
        for row, (model, results) in zip(np.reshape(axes, (-1, 2)), outcomes.items(), strict=True):
            _settling(row, results, f"{name(model)}: " if len(outcomes) > 1 else "")
        np.reshape(axes, (-1, 2))[0, 1].legend(frameon=False, title="order of updates")

    words = "; ".join(_last(model, results, len(outcomes) > 1) for model, results in outcomes.items())
    steps = int(next(iter(outcomes.values()))[0].table.predict_steps.max())
    caption = (
        "How to read it: the residual is how far the state still is from standing still, the largest change"
        " of"
        " any unit in one more step of all layers; the energy is what the updates lower. Layer after layer"
        f" (forward, backward, even-odd) it can only fall. Median residual after {steps} steps: {words}."
        f" {badge.text}.{other_seeds(outcomes, badge)}"
    )
    alt = f"Residual and energy against step for four orders; median residual at the end: {words}."
    size = dict(height=3.9 * len(outcomes), sharey=False)
    return draw("fig-residuals", (len(outcomes), 2), plot, caption, alt, **size)


def _settling(axes, results, start):
    """Residual and energy of one network. start: how titles begin."""
    for order, colour in ORDER_COLOURS.items():
        for metric, ax in zip(("residual", "energy"), axes, strict=True):
            tables = rows(results, metric, order=order)
            curve = mean_curve(tables)
            ax.plot(curve.index, curve, color=colour, linewidth=1.6, label=order)
            if metric == "residual":
                low, high = (sum(t[c].to_numpy() for t in tables) / len(tables) for c in ("low", "high"))
                ax.fill_between(
                    curve.index, np.maximum(low, 1e-9), high, color=colour, alpha=0.1, linewidth=0
                )
    axes[0].set(xscale="log", yscale="log", ylim=(3e-8, 2), title=f"{start}residual (median and quartiles)")
    axes[1].set(xscale="log", title=f"{start}energy ‖s‖² − Φ (median)")
    for ax in axes:
        ax.set_xlabel("free-phase step")
        ax.xaxis.set_major_formatter("{x:g}")


def _last(model, results, named):
    """The median residual at the end in every order, in words."""
    last = {o: mean_curve(rows(results, "residual", order=o)).iloc[-1] for o in ORDER_COLOURS}
    words = ", ".join(f"{order} {value:.1g}" for order, value in last.items())
    return f"{name(model)} {words}" if named else words


def multistability(outcomes, badge):
    """What attractors from random starts have to do with classes. outcomes: {model: [Result]}, the EP-CNN
    first and the control last.
    """
    tints = panels.tints(outcomes)

    def plot(ax):
        apart = 2 / max(2, len(outcomes))
        for k, (model, results) in enumerate(outcomes.items()):
            for line, metric in enumerate(reversed(QUESTIONS)):
                for i, table in enumerate(rows(results, metric)):
                    row = table.iloc[0]
                    y = 0.34 * ((len(outcomes) - 1) / 2 - k) + 0.1 * (i - (len(results) - 1) / 2)
                    error = [[row.value - row.low], [row.high - row.value]]
                    style = dict(fmt="o", color=tints[model], markersize=4)
                    style["label"] = name(model) if line == 0 and i == 0 else None
                    ax.errorbar(row.value, line + apart * y, xerr=error, **style)
        ax.set_yticks(range(len(QUESTIONS)), list(reversed(QUESTIONS.values())))
        ax.set(xlim=(-0.02, 1.02), xlabel="share")
        ax.xaxis.set_major_formatter(PercentFormatter(1.0))
        ax.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(outcomes))

    first = next(iter(outcomes.values()))[0]
    starts = first.settings["sizes"]["starts"]
    counts = {m: [t.iloc[0].value for t in rows(rs, "attractors")] for m, rs in outcomes.items()}
    words = ", ".join(f"{name(m)} {sum(c) / len(c):.1f}" for m, c in counts.items())
    caption = (
        f"How to read it: every image is settled from zero and from {starts} random states; attractors are"
        f" different when some unit differs by more than 0.01. Found in {starts + 1} starts, on average:"
        f" {words}. Shown are shares with 95 % intervals, one dot a network;"
        f" {replace(badge, n=len(first.image_ids)).text}.{other_seeds(outcomes, badge)}"
    )
    shares = ". ".join(
        f"{name(m)}: "
        + "; ".join(
            f"{' '.join(question.split())} {sum(t.iloc[0].value for t in rows(rs, metric)) / len(rs):.0%}"
            for metric, question in QUESTIONS.items()
        )
        for m, rs in outcomes.items()
    )
    alt = f"Dot plot of shares, means over networks. {shares}."
    return draw("fig-attractors", (1, 1), plot, caption, alt, width=8.5, height=3.8)


def landscape(outcomes, badge):
    """Energy of the equilibrium along the path of an attack and along a random path. outcomes: {model:
    [Result]}, the EP-CNN first and the control last, drawn from the first network of each.
    """

    def plot(axes):
        for ax, (model, results) in zip(axes, outcomes.items(), strict=True):
            for kind, colour in (("attack", COLOURS["cnn"]), ("random", "#595959")):
                energy = results[0].arrays[f"energy_{kind}"]
                risen = energy - energy[0]
                share = np.linspace(0, 1, len(energy))
                low, middle, high = np.quantile(risen, (0.25, 0.5, 0.75), axis=1)
                label = "towards the attacked image" if kind == "attack" else "in a random direction"
                ax.plot(share, middle, color=colour, linewidth=1.8, marker="o", markersize=3, label=label)
                ax.fill_between(share, low, high, color=colour, alpha=0.15, linewidth=0)
            ax.set(xlabel="way along the path", title=name(model))
            ax.xaxis.set_major_formatter(PercentFormatter(1.0))
        axes[0].set_ylabel("energy above that of the clean image")
        handles, labels = axes[0].get_legend_handles_labels()
        axes[0].figure.legend(handles, labels, frameon=False, loc="outside upper center", ncols=2)

    numbers = "; ".join(
        f"{name(m)} {kind} {rows(rs, 'barrier', attack=kind)[0].iloc[0].value:.1f}"
        for m, rs in outcomes.items()
        for kind in ("attack", "random")
    )
    first = next(iter(outcomes.values()))[0]
    epsilon = first.settings["sizes"]["epsilon"]
    shown = replace(badge, n=len(first.image_ids), seeds=(first.settings["seed"],))
    caption = (
        f"How to read it: an image walks straight to its attacked copy (ℓ2 PGD, ε = {epsilon:g}) and settles"
        " from"
        " zero at every point; the control walks as far in a random direction, and the right panel does both"
        " in"
        " a network whose landscape was never trained. A hill between the ends is a barrier between"
        " attractors"
        f" (medians and quartiles over images). Median barrier: {numbers}. {shown.text}."
        f"{other_seeds(outcomes, shown)}"
    )
    alt = f"Energy along paths. Median barrier: {numbers}."
    size = dict(width=4.5 * len(outcomes), height=3.9)
    return draw("fig-landscape", (1, len(outcomes)), plot, caption, alt, **size)

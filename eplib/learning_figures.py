"""Plots of the learning rule: agreement of gradients, training curves, what the monitors saw, provoked
failures.
"""

import numpy as np
from matplotlib.ticker import MaxNLocator, NullFormatter, PercentFormatter

from eplib.pictures import COLOURS, NAMES, draw

LINES = {("frozen", "-"): COLOURS["ep-cnn"], ("live", "--"): COLOURS["cnn"]}


def agreement(result, badge):
    """Cosine of centred EP's weight gradient with the adjoint's by layer, β, nudged steps and arg-max."""
    table = result.table[(result.table.metric == "cosine") & (result.table.estimator == "centred")]
    layers, betas = table.layer.unique(), table.groupby("nudged_steps").beta.nunique()
    steps, lowest = sorted(betas.index[betas > 1]), table.value.min()  # more β than training's alone

    def plot(axes):
        for ax, layer in zip(axes, layers, strict=True):
            for (arg_max, style), colour in LINES.items():
                for k, alpha in ((steps[0], 0.45), (steps[-1], 1.0)):
                    rows = table[
                        (table.layer == layer) & (table.arg_max == arg_max) & (table.nudged_steps == k)
                    ]
                    rows = rows.sort_values("beta")
                    label = f"{arg_max} arg-max, {k:.0f} steps"
                    ax.plot(
                        rows.beta,
                        rows.value,
                        style,
                        color=colour,
                        alpha=alpha,
                        marker="o",
                        markersize=3,
                        label=label,
                    )
            ax.set(xscale="log", ylim=(min(0.0, lowest) - 0.05, 1.05), xlabel="β", title=_layer(layer))
            ax.xaxis.set_major_formatter("{x:g}")
        axes[0].set_ylabel("cosine with the adjoint")
        handles, labels = axes[0].get_legend_handles_labels()
        axes[0].figure.legend(handles, labels, frameon=False, loc="outside upper center", ncols=4)

    n = int(table.n.max())
    caption = (
        "How to read it: 1 means that Equilibrium Propagation points exactly along the gradient that implicit"
        " differentiation gives at the same free state; each panel is a layer's weights, each line a number"
        " of nudged steps. Medians over"
        f" {n} batch{'es' if n > 1 else ''}, float64, centred estimator, {badge.text}."
    )
    best, worst = table.loc[table.value.idxmax()], table.loc[table.value.idxmin()]
    alt = (
        f"Cosine against β for {len(layers)} weight tensors. Highest {best.value:.3f} ({_layer(best.layer)},"
        " β"
        f" {best.beta:g}, {best.arg_max}), lowest {worst.value:.3f} ({_layer(worst.layer)}, β {worst.beta:g},"
        f" {worst.arg_max})."
    )
    return draw("fig-agreement", (1, len(layers)), plot, caption, alt, width=9.5, height=3.6)


def _layer(layer):
    return "read-out" if layer == "read-out" else f"convolution {layer}"


def training_curves(networks, badge):
    """Validation accuracy against images seen, for every way of training. networks: {model: [Checkpoint]}."""

    def plot(ax):
        for model, checkpoints in networks.items():
            for i, checkpoint in enumerate(checkpoints):
                history = checkpoint.record["training"]["history"]
                x = [h["images_seen"] for h in history]
                y = [h["validation_accuracy"] for h in history]
                label = NAMES[model] if i == 0 else None
                ax.plot(x, y, color=COLOURS[model], marker="o", markersize=3, linewidth=1.6, label=label)
        ax.set(xlabel="training images seen", ylabel="validation accuracy")
        ax.xaxis.set_major_formatter("{x:,.0f}")
        ax.yaxis.set_major_formatter(lambda y, place: f"{100 * y:.4g}%")
        ax.legend(frameon=False)

    last = {
        m: [c.record["training"]["history"][-1]["validation_accuracy"] for c in cs]
        for m, cs in networks.items()
    }
    words = ", ".join(f"{NAMES[m]} {sum(v) / len(v):.1%}" for m, v in last.items())
    caption = (
        "How to read it: the same network, data, rates and schedule; only the gradient differs. One line a"
        " network,"
        " accuracy on held-out training images after the free phase of that moment (the phases grow during"
        f" training). At the end: {words}. {badge.dataset_name}, {badge.scale} scale."
    )
    return draw(
        "fig-training-curves", (1, 1), plot, caption, f"Training curves. At the end: {words}.", width=8.0
    )


def monitors(checkpoint, badge):
    """What the monitors kept of one training run, epoch by epoch."""
    history = checkpoint.record["training"]["history"]
    epochs = [h["epoch"] for h in history]
    shades = ["#08306b", "#2171b5", "#6baed6", "#9ecae1"]
    residuals = np.array([max(h["residual"], 1e-8) for h in history])
    decades = np.log10(residuals)

    def plot(axes):
        axes[0].plot(epochs, residuals, color=COLOURS["ep-cnn"], marker="o", markersize=3)
        axes[0].set(title="residual (median)", yscale="log")
        axes[0].set_ylim(10 ** np.floor(decades.min() - 0.01), 10 ** np.ceil(decades.max() + 0.01))
        axes[0].yaxis.set_minor_formatter(NullFormatter())
        for ax, name in zip(axes[1:3], ("dead", "saturated"), strict=True):
            for l in range(len(history[0][name])):
                y = [h[name][l] for h in history]
                ax.plot(epochs, y, color=shades[l % 4], marker="o", markersize=3)
            ax.set(title=f"{name} units", ylim=(-0.02, 1))
            ax.yaxis.set_major_formatter(PercentFormatter(1.0))
        for l, name in enumerate(history[0]["update"]):
            y = [h["update"][name] for h in history]
            conv = name.startswith("convs")
            colour, label = (shades[l % 4], f"layer {l + 1}") if conv else (COLOURS["cnn"], "read-out")
            axes[3].plot(epochs, y, color=colour, marker="o", markersize=3, label=label)
        axes[3].set(title="relative update", yscale="log", ylim=(1e-6, 0.1))
        for ax in axes:
            ax.set(xlabel="epoch", xlim=(0.5, len(epochs) + 0.5))
            ax.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
        handles, labels = axes[3].get_legend_handles_labels()
        axes[0].figure.legend(handles, labels, frameon=False, loc="outside upper center", ncols=len(labels))

    end = history[-1]
    alt = (
        f"Monitors over {len(epochs)} epochs. At the end: residual {end['residual']:.2g}, dead"
        f" {', '.join(f'{x:.0%}' for x in end['dead'])}, saturated"
        f" {', '.join(f'{x:.0%}' for x in end['saturated'])}."
    )
    caption = (
        f"How to read it: one training run ({checkpoint.name}, {badge.scale} scale), looked at after every"
        " epoch on"
        " held-out images. Dead units stand at 0, saturated at 1; either way they pass no gradient. The"
        " relative"
        " update is the change of a weight tensor in one iteration over its size and"
        " falls"
        " with the learning rate."
    )
    return draw("fig-monitors", (1, 4), plot, caption, alt, width=9.5, height=3.3, sharey=False)


def failures(result, badge):
    """Accuracy after every provoked run, and whether the monitors said something."""
    table = result.table[result.table.metric == "accuracy"].reset_index(drop=True)
    said = result.record["said"]
    labels = ["as it should be" if r.turned == "nothing" else _turned(r) for r in table.itertuples()]

    def plot(ax):
        for y, row in enumerate(table.itertuples()):
            place, words = len(table) - 1 - y, said[y]
            colour = COLOURS["cnn"] if words else COLOURS["ep-cnn"]
            error = [[row.value - row.low], [row.high - row.value]]
            ax.errorbar(row.value, place, xerr=error, fmt="X" if words else "o", color=colour, markersize=7)
            ax.annotate(
                _short(words[0]) if words else "nothing to report",
                (1.02, place),
                xycoords=("axes fraction", "data"),
                va="center",
                fontsize=9.5,
                color=colour,
            )
        ax.set_yticks(range(len(table)), labels[::-1])
        ax.set(xlabel="test accuracy after the short run", xlim=(-0.02, 1), ylim=(-0.6, len(table) - 0.4))
        ax.xaxis.set_major_formatter(PercentFormatter(1.0))

    warned = sum(bool(words) for words in said)
    caption = (
        "How to read it: one line a short run with one setting turned; a cross when the monitors warned or"
        " stopped"
        f" it, with the first thing they said on the right. {warned} of {len(said)} runs were reported."
        f" {badge.text}."
    )
    alt = "Provoked failures: " + "; ".join(
        f"{label} {value:.0%}{' (reported)' if words else ''}"
        for label, value, words in zip(labels, table.value, said, strict=True)
    )
    return draw("fig-failures", (1, 1), plot, caption, alt + ".", width=9.5, height=0.28 * len(table) + 0.9)


def _turned(row):
    if row.turned in ("learning rates", "gains"):
        return f"{row.turned} × {row.to:g}" if row.to >= 1 else f"{row.turned} × 1/{1 / row.to:g}"
    return f"{row.turned} = {row.to:g}"


def _short(words):
    """What is wrong, without the advice and with short names of the weights."""
    words = words.split(", take ")[0].split(": take ")[0].replace(".weight", "")
    if words.endswith(": training stopped"):
        words = f"stopped, {words.split(' with weights ')[0]}"
    names, colon, wrong = words.partition(": ")
    if len(words) > 60 and ", " in names:
        first, *others = names.split(", ")
        words = f"{first} and {len(others)} more{colon}{wrong}"
    return words if len(words) <= 60 else words[:59].rsplit(" ", 1)[0] + " …"

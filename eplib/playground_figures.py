"""The figure of one run of the playground: images, probabilities, and what happened on the way."""

import numpy as np
from matplotlib.ticker import NullLocator, PercentFormatter

from eplib.checks import strength
from eplib.network_figures import spread
from eplib.panels import named
from eplib.pictures import draw
from eplib.playground import LONGER, after
from eplib.playground_sentences import percent

BEFORE, AFTER = "#595959", "#a63c00"  # without and under attack
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")  # of the classes that matter
REST = "#c4c4c4"
BARS = 10  # classes that have a bar
GAP = 0.1  # between names beside a panel, of its height
FLOOR = 1e-8  # residuals below are drawn there


def figure(played, words):
    """The `Picture` of a run, and `words` about its image (`eplib.playground_pictures.Given`)."""
    panels = ["image", "attacked", "change", "bars"] if played.attacked else ["image", "bars"]
    widths = [1] * (len(panels) - 1) + [1.45]

    def plot(ax):
        whole = ax.figure
        ax.remove()
        upper, lower = whole.subfigures(2, 1, height_ratios=(1, 1.05)) if played.recurrent else (whole, None)
        axes = upper.subplot_mosaic([panels], width_ratios=widths)
        _images(axes, played)
        _bars(axes["bars"], played)
        if lower:
            _curves(lower.subplots(1, 2 + (played.attacked is not None)), played)

    alt, height = f"{words[0].upper()}{words[1:]}. {_told(played)}", 5.6 if played.recurrent else 2.9
    return draw("fig-playground", (1, 1), plot, caption(played, words), alt, 10.4, height)


def _images(axes, played):
    """The image, its attacked copy and the change, stretched."""
    shown = {"image": (played.clean.image, f"says {played.classes[played.clean.answer]}", BEFORE)}
    if played.attacked:
        change = played.attacked.image - played.clean.image
        largest = change.abs().max().clamp(min=1e-12)
        said = played.classes[played.attacked.answer]
        shown["attacked"] = (played.attacked.image, f"says {said}", AFTER)
        shown["change"] = (0.5 + change / (2 * largest), "the change, stretched", "#333333")
    for name, (image, title, colour) in shown.items():
        ax = axes[name]
        ax.imshow(_pixels(image), vmin=0, vmax=1, interpolation="nearest", cmap="gray")
        ax.set(xticks=[], yticks=[])
        ax.grid(False)
        ax.spines[:].set_visible(False)
        ax.set_title(title, fontsize=10, color=colour, weight="normal" if name == "change" else "bold")
    truth = "class unknown" if played.label is None else f"is {played.classes[played.label]}"
    axes["image"].set_xlabel(truth, fontsize=9)
    if played.attacked:
        axes["attacked"].set_xlabel(
            f"PGD, {strength(played.settings.norm, played.settings.epsilon)}", fontsize=9
        )


def _pixels(image):
    pixels = image[0].permute(1, 2, 0).numpy()
    return pixels[..., 0] if pixels.shape[2] == 1 else pixels


def ranked(played):
    """The classes that matter, at most as many as `COLOURS`: answers, the true class, then the likeliest."""
    both = [s for s in (played.clean, played.attacked) if s]
    first = [s.answer for s in both] + ([] if played.label is None else [played.label])
    likely = np.argsort(-np.max([s.chances.numpy() for s in both], axis=0), kind="stable").tolist()
    return list(dict.fromkeys([*first, *(s.later for s in both), *likely]))[: len(COLOURS)]


def _bars(ax, played):
    """Probabilities of classes before and after: two bars a class, in the order of the data set."""
    both = [(s, colour) for s, colour in ((played.clean, BEFORE), (played.attacked, AFTER)) if s]
    likely = np.argsort(-np.max([s.chances.numpy() for s, _ in both], axis=0), kind="stable")
    kept = sorted(list(dict.fromkeys([*ranked(played), *likely.tolist()]))[:BARS])
    height = 0.8 / len(both)
    for i, (seen, colour) in enumerate(both):
        y = np.arange(len(kept)) + (i - (len(both) - 1) / 2) * height
        ax.barh(y, seen.chances[kept].numpy(), height, color=colour)
    ax.set_yticks(range(len(kept)), [played.classes[c].replace("_", " ") for c in kept], fontsize=8.5)
    for label, c in zip(ax.get_yticklabels(), kept, strict=True):
        label.set_weight("bold" if c == played.label else "normal")
    ax.set(xlim=(0, 1), ylim=(len(kept) - 0.5, -0.5), xticks=(0, 0.5, 1))
    ax.tick_params(axis="y", length=0)
    ax.grid(False, axis="y")
    ax.xaxis.set_major_formatter(PercentFormatter(1.0))
    ax.set_title("probability", fontsize=10)
    if played.attacked:  # the names of the two colours, where a bar is shortest
        place = 0.06 if np.argmax(played.attacked.chances[kept].numpy()) > len(kept) / 2 else 0.94
        for shift, (name, colour) in zip((0, 0.09), (("image", BEFORE), ("attacked", AFTER)), strict=True):
            y = place + shift - 0.09 * (place > 0.5)
            ax.text(0.98, 1 - y, name, transform=ax.transAxes, color=colour, ha="right", weight="bold")


def _curves(axes, played):
    """Probabilities by free step, without and under attack, and the residual of both."""
    last, steps = LONGER * played.settings.steps, played.settings.steps
    both = [(played.clean, BEFORE, "image"), (played.attacked, AFTER, "attacked image")]
    both = [entry for entry in both if entry[0]]
    matter = ranked(played)
    for ax, (seen, colour, name) in zip(axes, both, strict=False):
        _probabilities(ax, seen, played.classes, matter)
        ax.set_title(f"{name}: probability", fontsize=10, color=colour)
    residual = axes[len(both)]
    for seen, colour, name in both:
        y = np.maximum(seen.residual[1:].numpy(), FLOOR)
        residual.plot(np.arange(1, last + 1), y, color=colour, linewidth=1.6, label=name)
    residual.set_yscale("log")
    residual.set_title("residual", fontsize=10)
    residual.legend(frameon=False, fontsize=9)
    for ax in axes:
        ax.axvline(steps, color="#333333", linestyle=":", linewidth=1.2)
        ax.set(xscale="log", xlim=(0.95, last * 1.02), xlabel=f"free step ({played.settings.order} order)")
        ax.set_xticks(sorted({1, steps, last}), sorted({1, steps, last}))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.tick_params(labelsize=9)


def _probabilities(ax, seen, classes, matter):
    x, y = np.arange(1, len(seen.curves)), seen.curves[1:].numpy()
    for c in np.setdiff1d(np.arange(y.shape[1]), matter):
        ax.plot(x, y[:, c], color=REST, linewidth=0.8, zorder=1)
    ends = y[-1, matter]
    heights = spread(ends.tolist(), GAP)
    for c, colour, end, height in zip(matter, COLOURS, ends, heights, strict=False):
        ax.plot(x, y[:, c], color=colour, linewidth=1.7)
        named(ax, classes[c].replace("_", " "), (x[-1], end), (1.04, height), colour, shrinkA=1, shrinkB=1)
    ax.set_ylim(-0.02, 1.02)
    ax.yaxis.set_major_formatter(PercentFormatter(1.0))


def caption(played, words):
    """How to read the figure."""
    s = played.settings
    said = f"How to read it: on the left {words}, under what the {played.name} says"
    if played.attacked:
        said += (
            ", its attacked copy under what it says then, and the change alone, stretched to the full range"
        )
    said += ". The bars are the probabilities of classes"
    said += ", grey for the image and brown for its attacked copy" if played.attacked else ""
    said += "; bold is the true class." if played.label is not None else "."
    if played.recurrent:
        said += (
            f" Below, the way there: the same probabilities after every free step, and the residual, the"
            " largest change of any unit in one more step of all layers. The dotted line is step"
            f" {s.steps}, where the answer is read{' and the attack aims' if played.attacked else ''}; to the"
            f" right the same phase goes on to {LONGER * s.steps}."
        )
    return said


def _told(played):
    told = f"The {played.name} says {_likeliest(played, played.clean)}"
    if played.attacked:
        told += f"; under attack {_likeliest(played, played.attacked)}"
    if played.recurrent:
        told += f". Residual after {after(played.settings.steps)}: " + " and ".join(
            f"{s.residual[played.settings.steps]:.1g}" for s in (played.clean, played.attacked) if s
        )
    return told + "."


def _likeliest(played, seen):
    best = seen.chances.argsort(descending=True, stable=True)[:3].tolist()
    return ", ".join(f"{played.classes[c]} {percent(seen.chances[c])}" for c in best)

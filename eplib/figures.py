"""Plots of accuracy and of attacks: the curves beside the published ones, clean accuracy, attacked images."""

import textwrap

from matplotlib.ticker import PercentFormatter

from eplib import panels, published, statistics
from eplib.checks import strength
from eplib.pictures import COLOURS, draw, name

AXES = {
    "linf": ("ℓ∞ perturbation ε (pixels in [0, 1])", (7e-4, 0.16)),
    "l2": ("ℓ2 perturbation ε", (0.04, 5.0)),
}


def robustness_curves(norm, ours, badge):
    """Accuracy against ε under PGD: the published curves beside ours on the same axes.

    ours: {model: [Result, …]} one per seed, of EP-CNN and CNN, and of networks of others, whose names stand
    lower on their curves. badge: `chapters.Badge` of what is shown.
    """
    theirs = published.pgd_curves(norm)
    other_images = badge.dataset != "cifar10"
    tints, heights = panels.tints(ours), _heights(ours)

    def plot(axes):
        for model, curve in theirs.items():
            label = dict(colour=COLOURS[model], height=0.5)
            _line(axes[0], model, curve.index, curve["mean"], curve["low"], curve["high"], "-", **label)
        axes[0].set_title("published, CIFAR-10")
        for model, results in ours.items():
            label = dict(colour=tints[model], height=heights[model])
            style = "--" if other_images else "-"
            for i, e, mean, low, high in _points(results):
                _line(axes[1], model if i == 0 else None, e, mean, low, high, style, **label)
        axes[1].set_title(f"ours, {badge.dataset_name}")
        for ax in axes:
            ax.set(xscale="log", xlim=AXES[norm][1], ylim=(0, 1), xlabel=AXES[norm][0])
            ax.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes[0].set_ylabel("accuracy under attack")

    seeds, images = int(theirs["ep-cnn"]["seeds"].max()), int(published.pgd(norm).images.max())
    caption = (
        "How to read it: the further right a curve falls, the more a network withstands. Left: the paper's"
        f" numbers, mean ± one standard deviation of {seeds} seeds, {images:,} CIFAR-10 images; an image"
        f" that the attack repairs counts as right there. Right: this project, {badge.text}; right before and"
        " under attack with true labels; bands are 95 % Wilson intervals, one curve a seed"
        + ("; dashed, because the images are others than the paper's." if other_images else ".")
    )
    shown = ", ".join(
        f"{name(m)} {_share_at(r, -1):.0%} at the largest ε and {_share_at(r, 0):.0%} at the smallest"
        for m, r in ours.items()
    )
    alt = (
        f"Two panels of accuracy against ε for EP-CNN and CNN. Published on the left, ours on the"
        f" right: {shown}."
    )
    return draw(f"fig-pgd-{norm}", (1, 2), plot, caption, alt)


def clean_accuracy(rows, badge):
    """Clean accuracy of every network and free phase as dots with intervals. rows: [(model, label, [accuracy
    row, …])].
    """

    def plot(ax):
        for y, (model, _, points) in enumerate(reversed(rows)):
            for shift, point in zip(_spread(len(points)), points, strict=True):
                ax.errorbar(
                    point.value,
                    y + shift,
                    xerr=[[point.value - point.low], [point.high - point.value]],
                    fmt="o",
                    color=COLOURS[model],
                    markersize=5,
                    linewidth=1.2,
                )
            mean = sum(p.value for p in points) / len(points)
            ax.annotate(
                f"{mean:.1%}",
                (1.0, y),
                xycoords=("axes fraction", "data"),
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
                color=COLOURS[model],
            )
        ax.set_yticks(range(len(rows)), [label for _, label, _ in reversed(rows)])
        ax.set_ylim(-0.6, len(rows) - 0.4)
        ax.xaxis.set_major_formatter(PercentFormatter(1.0))
        ax.set_xlabel("clean test accuracy")

    caption = (
        "How to read it: each dot is a network (one a seed) with its 95 % Wilson interval, the number on the"
        f" right is their mean; {badge.dataset_name}, {badge.scale} scale."
    )
    alt = (
        "Clean accuracy, means over seeds: "
        + "; ".join(f"{label} {sum(p.value for p in points) / len(points):.1%}" for _, label, points in rows)
        + "."
    )
    return draw("fig-clean-accuracy", (1, 1), plot, caption, alt, width=8.0, height=0.55 * len(rows) + 0.9)


def _spread(count):
    return [0.12 * (i - (count - 1) / 2) for i in range(count)]


def _points(results):
    for i, result in enumerate(results):
        n = len(result.image_ids)
        bounds = [statistics.wilson(c.sum(), n) for c in result.correct]
        yield (
            i,
            result.settings["epsilons"],
            result.correct.mean(1),
            [b[0] for b in bounds],
            [b[1] for b in bounds],
        )


def _share_at(results, place):
    return sum(r.correct[place].mean() for r in results) / len(results)


def _heights(models):
    """{model: where its name stands, as a share of its curve's height}: in the middle, below that one after
    the other those of networks of others.
    """
    unknown = [m for m in models if m not in COLOURS]
    lower = {m: 0.5 * (1 - (i + 1) / (len(unknown) + 1)) for i, m in enumerate(unknown)}
    return dict.fromkeys(models, 0.5) | lower


def _line(ax, label, x, y, low, high, style, colour, height):
    ax.plot(x, y, style, color=colour, linewidth=1.6, marker="o", markersize=3)
    ax.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
    if label:  # a direct label where the curves are apart: in the middle of its fall, or lower
        x, y = list(x), list(y)
        middle = min(range(len(y)), key=lambda i: abs(y[i] - height * y[0]))
        right = label != "cnn"
        ax.annotate(
            textwrap.fill(name(label), panels.LETTERS),
            (x[middle], y[middle]),
            xytext=(8 if right else -8, 6 if right else -6),
            textcoords="offset points",
            ha="left" if right else "right",
            color=colour,
            weight="bold",
        )


def attacked_images(examples):
    """Images, what PGD makes of them for every model, and the change itself. examples:
    `specimens.examples`.
    """
    classes, x, epsilon = examples["classes"], examples["images"], examples["epsilon"]
    rows, tints = [(None, "image", x, examples["labels"])], panels.tints(examples["attacked"])
    for model, (images, predictions) in examples["attacked"].items():
        rows.append((model, name(model), images, predictions))
        change = images - x
        largest = change.abs().amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-12)
        rows.append((model, "change", 0.5 + change / (2 * largest), None))

    def plot(axes):
        for line, (model, words, images, labels) in zip(axes, rows, strict=True):
            for i, (ax, image) in enumerate(zip(line, images, strict=True)):
                ax.imshow(image.permute(1, 2, 0).numpy(), vmin=0, vmax=1, interpolation="nearest")
                ax.set(xticks=[], yticks=[])
                ax.grid(False)
                if labels is not None:
                    wrong = labels[i] != examples["labels"][i]
                    ax.set_title(
                        classes[labels[i]],
                        fontsize=9,
                        color="#a63c00" if wrong else "#333333",
                        weight="bold" if wrong else "normal",
                    )
            line[0].set_ylabel(words, color=tints.get(model, "#333333"))

    fooled = {m: int((p != examples["labels"]).sum()) for m, (_, p) in examples["attacked"].items()}
    numbers = ", ".join(f"{name(m)} {k} of {len(x)}" for m, k in fooled.items())
    caption = (
        f"How to read it: top row, test images with their class. Below, each network's attacked copies at"
        f" {strength(examples['norm'], epsilon)} under its prediction"
        f" (bold: wrong), and the change alone, stretched to the full range. Wrong: {numbers}."
    )
    alt = f"A grid of images, attacked images and changes. Wrong predictions under attack: {numbers}."
    return draw(
        "fig-attacked-images",
        (len(rows), len(x)),
        plot,
        caption,
        alt,
        width=1.35 * len(x) + 0.4,
        height=1.55 * len(rows),
    )

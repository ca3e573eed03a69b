"""Figures of the page about what a scale can and cannot show, from `eplib.scale_limits`."""

import textwrap

import numpy as np
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator, PercentFormatter

from eplib import attack_figures, chapters, curves, pictures, scale_orders, scales
from eplib import scale_limits as limits
from eplib.network_figures import spread
from eplib.panels import POOL, PREFERRED, named, readable
from eplib.pictures import COLOURS, draw

IMAGES = np.unique(np.round(np.geomspace(64, 10_000, 200)).astype(int))
MARKED = ("quick", "cpu", "paper")
MARKS = {"PGD": "o", "suite": "s"}
POINTS = (0.5, 1, 2, 5, 10, 20, 50)  # ticks
LINE = 0.034  # of the height that one line of labels takes
GREY = "#595959"
OTHERS = (COLOURS["cnn"], COLOURS["twin-bptt"], COLOURS["twin-adjoint"])
FROM_TO, LOW_HIGH = (26, 11_000), (0.4, 60)


def detectable(shares, gaps, badge):
    """The smallest difference that can be seen against the number of images: a `Picture`.

    shares: of `scale_limits.discordances`, the scale shown first. gaps: of `scale_limits.gaps`.
    """
    middle = {scale: float(np.median(of)) for scale, of in shares.items()}
    shown, *others = middle
    colours = dict(zip(middle, (COLOURS["ep-cnn"], *OTHERS), strict=False))
    used = {s: (s if s in middle else max(middle, key=list(scales.SCALES).index)) for s in MARKED}
    used = {s: (of, middle[of]) for s, of in used.items()}

    def plot(ax):
        ends = [_curve(s) for s in (min(shares[shown]), max(shares[shown]))]
        ax.fill_between(IMAGES, *ends, color=COLOURS["ep-cnn"], alpha=0.15, linewidth=0)
        ax.plot(IMAGES, _curve(middle[shown]), color=COLOURS["ep-cnn"], linewidth=2)
        ax.plot(IMAGES, _curve(middle[shown], limits.SEEDS), ":", color=COLOURS["ep-cnn"], linewidth=1.5)
        for other in others:
            ax.plot(IMAGES, _curve(middle[other]), color=colours[other], linewidth=1.5)
        for scale in MARKED:
            _mark(ax, scale, *used[scale], colours, scale == shown)
        _named(ax, middle, colours)
        _lines(ax, gaps)
        ax.set(xscale="log", yscale="log", xlim=FROM_TO, ylim=LOW_HIGH)
        ax.set(xlabel="test images", ylabel="smallest difference seen, points")
        for axis, ticks in ((ax.xaxis, (64, 128, 256, 500, 1000, 2000, 5000, 10_000)), (ax.yaxis, POINTS)):
            axis.set_major_locator(FixedLocator(ticks))
            axis.set_minor_locator(NullLocator())
            axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,g}"))

    told = "; ".join(
        f"at {s} scale {_points(limits.smallest(limits.measured_images(s)['PGD'], used[s][1]))} on"
        f" {limits.measured_images(s)['PGD']:,} images"
        for s in MARKED
    )
    caption = (
        "How to read it: a published difference (grey, named on the right) can be seen where it lies above"
        " the curve. Curves: the smallest difference in accuracy that an exact test of the same images finds"
        " in four of five cases, at the level of 0.05, when two networks disagree on a share of them: the"
        f" median of EP-CNN and CNN under PGD at a scale; the band, at {shown} scale,"
        f" {min(shares[shown]):.0%} to {max(shares[shown]):.0%}. Dotted: that each of {limits.SEEDS} seeds"
        " has to show, as verdicts ask. ● what PGD, ■ what the suite of attacks looks at, on the curve of its"
        " own scale or of the largest that has one. Of corruptions an image is seen many times: somewhat less"
        f" shows. {badge.text}."
    )
    alt = (
        f"Smallest difference that PGD can show: {told}. Published differences: "
        + "; ".join(f"{g.words}, {g.under}, {100 * g.size:.1f} points" for g in gaps)
        + "."
    )
    return draw("fig-detectable", (1, 1), plot, caption, alt, width=10.4, height=5.4)


def _curve(share, seeds=1):
    found = [limits.smallest(n, share, seeds) for n in IMAGES]
    return 100 * np.array([d if d < 1 else np.nan for d in found])  # 1: none that the share allows


def _points(difference):
    return f"{100 * difference:.1f} points" if difference < 1 else "no difference"


def _mark(ax, scale, of, share, colours, below):
    """What a scale looks at, on the curve of a scale; its words below it or above."""
    for what, n in limits.measured_images(scale).items():
        y = 100 * limits.smallest(n, share)
        place = dict(xytext=(-6, -11), ha="right") if below else dict(xytext=(6, 5), ha="left")
        place = dict(xytext=(0, 9), ha="center") if n == IMAGES[-1] else place
        if y < 100:
            ax.plot([n], [y], MARKS[what], color=colours[of], markersize=7, zorder=4)
            words = f"{scale} {y:.1f}" if what == "PGD" else f"{scale}, {what} {y:.1f}"
            style = dict(textcoords="offset points", fontsize=8.5, color=readable(colours[of]))
            style |= dict(bbox=dict(facecolor="white", alpha=0.8, edgecolor="none", pad=0.6), zorder=5)
            ax.annotate(words, (n, y), **place, **style)


def _named(ax, middle, colours):
    """The curves' words, on the right of their ends."""
    ends = {s: _curve(share)[-1] for s, share in middle.items()}
    kept = [s for s, end in ends.items() if not np.isnan(end)]
    heights = [_height(ends[s]) for s in kept]
    for scale, place in zip(kept, spread(heights, LINE), strict=True):
        words = f"{middle[scale]:.0%} disagree ({scale})"
        named(ax, words, (IMAGES[-1], ends[scale]), (1.03, place), colours[scale], size=8.5, shrinkB=5)


def _height(points):
    """Where a difference lies in the panel, from 0 to 1."""
    low, high = np.log(LOW_HIGH)
    return (np.log(points) - low) / (high - low)


def _lines(ax, gaps):
    """The published gaps as lines, each with its words on the right."""
    heights = [_height(100 * g.size) for g in gaps]
    for g, height, place in zip(gaps, heights, spread(heights, LINE), strict=True):
        ax.axhline(100 * g.size, color="#999999", linewidth=0.9, zorder=1)
        ax.annotate(
            f"{100 * g.size:.1f}  {g.words}, {g.under}",
            (1, height),
            (1.03, place),
            xycoords="axes fraction",
            textcoords="axes fraction",
            va="center",
            fontsize=8.5,
            color=GREY,
            annotation_clip=False,
            arrowprops=dict(arrowstyle="-", color="#999999", linewidth=0.8, relpos=(0, 0.5)),
        )


def seeds(found, badge):
    """Seeds beside each other, ours and as published: a `Picture` of [limits.Spread]."""
    dashed = "--" if curves.other_images(badge) else "-"
    what = list(dict.fromkeys(s.what for s in found))
    reach = 100 * max(max(abs(np.subtract(s.ours, np.mean(s.ours)))) for s in found)
    reach = 1.15 * max(reach, *(200 * s.sd for s in found), 1)

    def plot(axes):
        for ax, title in zip(axes, what, strict=True):
            rows = [s for s in found if s.what == title]
            for i, s in enumerate(rows):
                _seeds_of(ax, s, 3 * (len(rows) - i), dashed)
            ax.axvline(0, color="#999999", linewidth=0.8, zorder=0)
            ax.set_title(title, loc="left", fontsize=10)
            ax.set(xlim=(-reach, 2.1 * reach), xlabel="points from the mean", ylim=(1.3, 3 * len(rows) + 0.7))
            places = [y for i in range(len(rows)) for y in (3 * (len(rows) - i), 3 * (len(rows) - i) - 1)]
            names = [n for s in rows for n in (f"{pictures.name(s.model)}, published", "here")]
            ax.set_yticks(places, names)
            ticks = MaxNLocator(5, symmetric=True).tick_values(-reach, reach)
            ax.set_xticks(ticks, [f"{t:g}" if abs(t) <= reach else "" for t in ticks])
            ax.grid(axis="y", visible=False)

    caption = (
        "How to read it: for each model, how far seeds lie from their mean. Published: ± one standard"
        f" deviation over seeds, means of {_range([s.seeds for s in found])} seeds. Here: a"
        " dot a seed and ± one standard deviation; the grey bar is what so few images give alone, were all"
        f" seeds equally good. Under PGD at the ε where the published EP-CNN leads most. {badge.text}."
    )
    told = "; ".join(
        f"{pictures.name(s.model)}, {s.what}: published {100 * s.sd:.1f}, here {_deviation(s)} points"
        for s in found
    )
    alt = f"Standard deviations over seeds. {told}."
    return draw("fig-seeds", (1, len(what)), plot, caption, alt, width=10.4, height=2.7)


def _seeds_of(ax, s, y, dashed):
    colour, mean = COLOURS[s.model], float(np.mean(s.ours))
    ax.plot([-100 * s.sd, 100 * s.sd], [y, y], color=colour, linewidth=3, solid_capstyle="butt")
    _beside(ax, 100 * s.sd, y, f"{s.mean:.1%} ± {100 * s.sd:.1f}")
    away = [100 * (v - mean) for v in s.ours]
    alone, width = (100 * float(np.nan_to_num(v)) for v in (s.alone, s.deviation))
    ax.plot([-alone, alone], [y - 1, y - 1], color="#d9d9d9", linewidth=9, solid_capstyle="butt", zorder=1)
    ax.plot([-width, width], [y - 1, y - 1], dashed, color=colour, linewidth=1.6)
    ax.plot(away, [y - 1] * len(away), "o", color=colour, markersize=5)
    _beside(ax, max(*away, alone, width), y - 1, f"{mean:.1%} ± {_deviation(s)}")


def _beside(ax, x, y, words):
    ax.annotate(words, (x, y), (6, 0), textcoords="offset points", va="center", fontsize=8)


def _deviation(s):
    return f"{100 * s.deviation:.1f}" if len(s.ours) > 1 else "– (one seed)"


def _range(numbers):
    low, high = min(numbers), max(numbers)
    return f"{low}" if low == high else f"{low} to {high}"


def order(found, small, large):
    """Accuracy of the same models at two scales, a line a model: a `Picture` of [scale_orders.Order]."""
    columns = min(len(found), 3)
    lines = -(-len(found) // columns)
    models = attack_figures.ordered(dict.fromkeys(m for o in found for m in o.first))
    colours = {m: PREFERRED[m] for m in models if m in PREFERRED}
    free = [c for c in POOL if c not in colours.values()]
    others = [m for m in models if m not in colours]
    colours |= {m: free[i % len(free)] for i, m in enumerate(others)}

    def plot(axes):
        every = np.ravel(axes)
        for ax, o in zip(every, found, strict=False):
            _panel(ax, o, colours)
            ax.set_xticks([0, 1], [_words(small), _words(large)], fontsize=8.5)
        for ax in every[len(found) :]:
            ax.set_visible(False)

    caption = (
        "How to read it: a line a model, from its accuracy at one scale to that at the other, with 95 %"
        " intervals over images; where lines cross, models change places. τ: Kendall's rank correlation, with"
        f" its range over resampled images. PGD at the ε where the published EP-CNN leads most;"
        f" {small} scale and {large} scale look at different images and train different networks."
    )
    told = "; ".join(
        f"{o.what}: {scale_orders.in_words(o)}, "
        + ", ".join(f"{pictures.name(m)} {o.first[m][0]:.1%} and {o.second[m][0]:.1%}" for m in o.first)
        for o in found
    )
    alt = f"Accuracy of the same models at {small} and at {large} scale. {told}."
    size = dict(width=3.6 * columns, height=3.4 * lines, sharey=False)
    return draw(f"fig-scales-{small}-{large}", (lines, columns), plot, caption, alt, **size)


def _words(scale):
    return f"{scale}\n{textwrap.fill(chapters.DATASET_NAMES[scales.scale(scale).dataset], 14)}"


def _panel(ax, o, colours):
    ends = [[of[m] for of in (o.first, o.second)] for m in o.first]
    for m, both in zip(o.first, ends, strict=True):
        y = [b[0] for b in both]
        errors = [[b[0] - b[1] for b in both], [b[2] - b[0] for b in both]]
        ax.errorbar(
            [0, 1], y, yerr=errors, color=colours[m], marker="o", markersize=4, linewidth=1.6, capsize=2
        )
    low, high = min(b[1] for both in ends for b in both), max(b[2] for both in ends for b in both)
    low, high = low - 0.05 * (high - low), high + 0.05 * (high - low)
    heights = [(both[1][0] - low) / (high - low) for both in ends]
    names = [textwrap.fill(pictures.name(m), 24) for m in o.first]
    gap = 0.056 * max(n.count("\n") + 1 for n in names)
    for m, name, both, place in zip(o.first, names, ends, spread(heights, gap), strict=True):
        named(ax, name, (1, both[1][0]), (1.06, place), colours[m], size=8, shrinkB=3)
    ax.set(xlim=(-0.15, 1.15), ylim=(low, high))
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    ax.set_title(f"{o.what}\n{scale_orders.in_words(o)}", loc="left", fontsize=9)


def orders(compared):
    """[`order`] of every pair of scales that share something. compared: of `scale_orders.compared`."""
    return [order(found, *pair) for pair, (found, _) in compared.items() if found]

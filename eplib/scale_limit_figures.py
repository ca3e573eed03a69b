"""Figures and words of the page about what a scale can and cannot show, from `eplib.scale_limits`."""

import textwrap

import numpy as np
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator, PercentFormatter

from eplib import attack_figures, chapters, curves, pictures, published, scales
from eplib import scale_limits as limits
from eplib.network_figures import spread
from eplib.panels import POOL, PREFERRED, readable
from eplib.pictures import COLOURS, draw
from eplib.sentences import table

IMAGES = np.unique(np.round(np.geomspace(64, 10_000, 200)).astype(int))
MARKED = ("quick", "cpu", "paper")
MARKS = {"PGD": "o", "suite": "s"}
POINTS = (0.5, 1, 2, 5, 10, 20, 50)  # ticks
LINE = 0.034  # of the height that one line of labels takes
GREY = "#595959"


def sizes():
    """What differs between the scales, and the paper's own, as a table."""
    every = list(scales.SCALES.values())
    ep, cnn = (published.settings("cifar10", m) for m in limits.BOTH)
    paper = every[-1].rows["ep-cnn"].recipe
    whole = scales.TRAINED_ON + paper.validation  # nothing was held out
    corrupted, clean = (
        published.table(e, model="ep-cnn").images.iloc[0] for e in ("corruption", "free-step")
    )

    def of(value):
        return [value(s) for s in every]

    def images(s, name):
        return f"{s.attacks[name]['images']:,}"

    def phases(row):
        _, free, nudged = row.recipe.phases[-1]
        return f"{free} + 2 × {nudged} {row.order}"

    lines = [
        ("images", *of(lambda s: chapters.DATASET_NAMES[s.dataset]), chapters.DATASET_NAMES["cifar10"]),
        (
            "channels of the EP-CNN",
            *of(lambda s: _joined(s.rows["ep-cnn"].channels)),
            _joined(ep["channels"]),
        ),
        ("training images seen, EP-CNN", *of(lambda s: _seen(s, "ep-cnn")), f"{ep['epochs'] * whole:,}"),
        ("training images seen, CNN", *of(lambda s: _seen(s, "cnn")), f"{cnn['epochs'] * whole:,}"),
        (
            "steps in training, free + nudged",
            *of(lambda s: phases(s.rows["ep-cnn"])),
            f"{ep['free_steps']} + 2 × {ep['nudged_steps']} {ep['order']}",
        ),
        ("seeds planned", *of(lambda s: len(s.seeds)), len(ep["seeds"])),
        ("seeds stored, of EP-CNN and CNN", *of(_stored), "–"),
        ("test images, clean accuracy", *of(lambda s: f"{s.attack.images_for('clean'):,}"), f"{clean:,}"),
        ("test images, PGD", *of(lambda s: f"{s.attack.images:,}"), f"{ep['pgd_images']:,}"),
        ("steps of PGD", *of(lambda s: s.attack.steps), ep["pgd_steps"]),
        ("test images, suite", *of(lambda s: images(s, "suite-linf")), f"{ep['autoattack_images']:,}"),
        ("test images, corruptions", *of(lambda s: images(s, "corruptions")), f"{corrupted:,}"),
    ]
    return table(("", *(s.name for s in every), "the paper"), lines)


def _joined(channels):
    return "-".join(map(str, channels))


def _seen(scale, model):
    return f"{scale.rows[model].recipe.images_seen:,}"


def _stored(scale):
    """How many seeds of EP-CNN and CNN are stored with what most pages show."""
    if scale.name not in chapters.LARGEST_FIRST:
        return "–"
    return len(chapters.complete(scale.name, scale.dataset, chapters.MAIN, {})) or "none"


def detectable(shares, gaps, badge):
    """The smallest difference that can be seen against the number of images: a `Picture`.

    shares: of `scale_limits.discordance`. gaps: of `scale_limits.gaps`.
    """
    middle = float(np.median(shares))

    def curve(share, seeds=1):
        found = [limits.smallest(n, share, seeds) for n in IMAGES]
        return 100 * np.array([d if d < 1 else np.nan for d in found])  # 1: none that the share allows

    def plot(ax):
        ends = [curve(s) for s in (min(shares), max(shares))]
        ax.fill_between(IMAGES, *ends, color=COLOURS["ep-cnn"], alpha=0.15, linewidth=0)
        ax.plot(IMAGES, curve(middle), color=COLOURS["ep-cnn"], linewidth=2)
        ax.plot(IMAGES, curve(middle, limits.SEEDS), "--", color=COLOURS["ep-cnn"], linewidth=1.5)
        _mark(ax, middle)
        _lines(ax, gaps)
        ax.set(xscale="log", yscale="log", xlim=(60, 10_500), ylim=(0.4, 60))
        ax.set(xlabel="test images", ylabel="smallest difference seen, points")
        for axis, ticks in ((ax.xaxis, (64, 128, 256, 500, 1000, 2000, 5000, 10_000)), (ax.yaxis, POINTS)):
            axis.set_major_locator(FixedLocator(ticks))
            axis.set_minor_locator(NullLocator())
            axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,g}"))

    caption = (
        "How to read it: a published difference (grey, named on the right) can be seen where it lies above"
        " the curve. Blue: the smallest difference in accuracy that an exact test of the same images finds in"
        " four of five cases, at the level of 0.05, when two networks disagree on"
        f" {middle:.0%} of the images, the median of our EP-CNN and CNN under PGD; the band, on"
        f" {min(shares):.0%} to {max(shares):.0%}. Dashed: that each of {limits.SEEDS} seeds has to show, as"
        " the verdicts ask. ● what PGD, ■ what the suite of attacks looks at. Of corruptions each image is"
        f" seen many times, so somewhat smaller differences show. {badge.text}."
    )
    told = ", ".join(
        f"{_points(limits.smallest(limits.measured_images(s)['PGD'], middle))} at {s} scale" for s in MARKED
    )
    alt = (
        f"Smallest difference that PGD can show: {told}. Published differences: "
        + "; ".join(f"{g.words}, {g.under}, {100 * g.size:.1f} points" for g in gaps)
        + "."
    )
    return draw("fig-detectable", (1, 1), plot, caption, alt, width=10.4, height=5.4)


def _points(difference):
    return f"{100 * difference:.1f} points" if difference < 1 else "no difference"


def _mark(ax, share):
    for scale in MARKED:
        for what, n in limits.measured_images(scale).items():
            y = 100 * limits.smallest(n, share)
            if y < 100:
                ax.plot([n], [y], MARKS[what], color=COLOURS["ep-cnn"], markersize=7, zorder=4)
                words = f"{scale} {y:.1f}" if what == "PGD" else f"{scale} {what} {y:.1f}"
                place = dict(xytext=(6, 5), textcoords="offset points", fontsize=8.5)
                ax.annotate(words, (n, y), color=COLOURS["ep-cnn-60"], **place)


def _lines(ax, gaps):
    """The published gaps as lines, each with its words on the right."""
    low, high = np.log((0.4, 60))
    heights = [(np.log(100 * g.size) - low) / (high - low) for g in gaps]
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
            ax.set(xlim=(-reach, reach), xlabel="points from the mean", ylim=(1, 3 * len(rows) + 1))
            places = [y for i in range(len(rows)) for y in (3 * (len(rows) - i), 3 * (len(rows) - i) - 1)]
            names = [n for s in rows for n in (f"{pictures.name(s.model)}, published", "here")]
            ax.set_yticks(places, names)
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
    return draw("fig-seeds", (1, len(what)), plot, caption, alt, width=10.4, height=3.3)


def _seeds_of(ax, s, y, dashed):
    colour = COLOURS[s.model]
    ax.plot([-100 * s.sd, 100 * s.sd], [y, y], color=colour, linewidth=3, solid_capstyle="butt")
    ax.annotate(
        f"±{100 * s.sd:.1f}", (100 * s.sd, y), (5, 0), textcoords="offset points", va="center", fontsize=8
    )
    if len(s.ours) > 1:
        alone = 100 * s.alone
        ax.plot(
            [-alone, alone], [y - 1, y - 1], color="#d9d9d9", linewidth=9, solid_capstyle="butt", zorder=1
        )
        width = 100 * s.deviation
        ax.plot([-width, width], [y - 1, y - 1], dashed, color=colour, linewidth=1.6)
    away = [100 * (v - np.mean(s.ours)) for v in s.ours]
    ax.plot(away, [y - 1] * len(away), "o", color=colour, markersize=5)
    place = (max(*away, 100 * np.nan_to_num(s.deviation), 0), y - 1)
    ax.annotate(f"±{_deviation(s)}", place, (7, 0), textcoords="offset points", va="center", fontsize=8)


def _deviation(s):
    return f"{100 * s.deviation:.1f}" if len(s.ours) > 1 else "– (one seed)"


def _range(numbers):
    low, high = min(numbers), max(numbers)
    return f"{low}" if low == high else f"{low} to {high}"


def order(found, small, large):
    """Accuracy of the same models at two scales, a line a model: a `Picture` of [scale_orders.Order]."""
    columns = min(len(found), 4)
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
            ax.set_xticks([0, 1], [_words(small), _words(large)])
        for ax in every[len(found) :]:
            ax.set_visible(False)

    caption = (
        "How to read it: a line a model, from its accuracy at one scale to that at the other, with 95 %"
        " intervals over images; where lines cross, models change places. τ: Kendall's rank correlation, with"
        f" its range over resampled images. PGD at the ε where the published EP-CNN leads most;"
        f" {small} scale and {large} scale look at different images and train different networks."
    )
    told = "; ".join(
        f"{o.what}: τ {o.tau:.2f}, "
        + ", ".join(f"{pictures.name(m)} {o.first[m][0]:.1%} and {o.second[m][0]:.1%}" for m in o.first)
        for o in found
    )
    alt = f"Accuracy of the same models at {small} and at {large} scale. {told}."
    size = dict(width=2.9 * columns, height=3.5 * lines, sharey=False)
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
    names = [textwrap.fill(pictures.name(m), 17) for m in o.first]
    gap = 0.062 * max(n.count("\n") + 1 for n in names)
    for m, name, place in zip(o.first, names, spread(heights, gap), strict=True):
        style = dict(xycoords="axes fraction", va="center", fontsize=7.5, color=readable(colours[m]))
        ax.annotate(name, (1.03, place), linespacing=0.95, **style)
    ax.set(xlim=(-0.15, 1.15), ylim=(low, high))
    ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    ax.set_title(f"{o.what}\nτ {o.tau:.2f} ({o.low:.2f} to {o.high:.2f})", loc="left", fontsize=9)

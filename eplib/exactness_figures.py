"""Plots of the page about numerical exactness: what differs from float64, how the difference grows with the
free steps, and accuracy under attack by number format.
"""

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator, PercentFormatter

from eplib import panels, pictures
from eplib.checks import NORMS
from eplib.exactness import ALONE
from eplib.exactness_sentences import NAMES, about, flat, phase_name, phases, summary
from eplib.exactness_verdicts import CLASSES, OUTCOMES
from eplib.lockstep import APART, CONTROL, EXACT, HELD, LIVE
from eplib.network_figures import spread
from eplib.results import rows

COLOURS = {
    CONTROL: "#595959",
    "float32": "#0072b2",
    "tf32": "#009e73",
    "float16": "#b07a00",
    "bfloat16": "#d55e00",
}
MARKS = ("o", "D", "s", "^", "v", "P")
ROW, DODGE = 0.62, 0.24  # inches that a format with three marks takes; of it, the distance of two marks
STEPS = (1, 2, 5, 10, 20, 50, 100, 250)
LEAST = 1e-12  # a difference of 0 is drawn here


def differences(found, badge):
    """Shares of units, classes and outcomes that differ from float64, a panel each, a line a format.

    found: {model: [Result of "exactness", one a seed]}. badge: the `chapters.Badge` of the page.
    """
    shown = [n for n in NAMES if n != EXACT]
    kinds = [(m, results, phase) for m, results in found.items() for phase in phases(results)]
    titles = {
        "units_differ": "units further apart than 0.01",
        "class_differs": "images with another class",
        "outcome_differs": "images with another outcome",
    }
    limits = {"class_differs": CLASSES, "outcome_differs": OUTCOMES}
    tints, more = panels.tints(found), max(1, len(kinds) / 3)
    drawn = {metric: _points(metric, kinds, shown) for metric in titles}

    def plot(axes):
        for ax, (metric, title) in zip(axes, titles.items(), strict=True):
            ax.set_title(title, fontsize=10)
            floor = _floor([p[2] for p in drawn[metric]])
            for kind, y, value, low, high in drawn[metric]:
                colour, mark = tints[kinds[kind][0]], MARKS[kind % len(MARKS)]
                style = dict(color=colour, markersize=5.5, markerfacecolor=colour if value else "white")
                ax.plot([max(low, floor), max(high, floor)], [y, y], color=colour, linewidth=1.4, alpha=0.55)
                ax.plot(max(value, floor), y, mark, **style)
            if metric in limits:
                ax.axvline(limits[metric], color="#595959", linestyle=":", linewidth=1.2)
            _log_of_shares(ax, floor)
        axes[0].set_yticks(range(len(shown)), [NAMES[n] for n in shown], fontsize=9)
        axes[0].set_ylim(len(shown) - 0.5, -0.5)
        handles = [
            Line2D([], [], color=tints[m], marker=MARKS[i % len(MARKS)], label=word)
            for i, (m, word) in enumerate((m, _kind(m, phase)) for m, _, phase in kinds)
        ]
        axes[0].figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=9)

    caption = (
        "How to read it: a line is a number format, a mark how much under it differs from float64; the"
        " further left, the better, and open marks at the left end are zeros. Bars are 95 % intervals (of"
        " images: Wilson; of units: bootstrap over images), of several seeds from the lowest to the highest"
        " bound. Dotted: the limit of the verdict. The control computes in float64 and changes the image"
        f" instead; one image at a time is compared with float32. {about(found, badge)}"
    )
    told = "; ".join(
        f"{_kind(kinds[k][0], kinds[k][2])}, {flat(shown[round(y)])}: {value:.2%} of the {word}"
        for metric, word in zip(titles, ("units", "classes", "outcomes"), strict=True)
        for k, y, value, _, _ in drawn[metric]
        if shown[round(y)] in ("float32", "bfloat16")
    )
    alt = f"Dot plot of what differs from float64 by number format. {told}."
    size = dict(width=10.4, height=ROW * more * len(shown) + 1.3)
    return pictures.draw("fig-differences", (1, 3), plot, caption, alt, **size)


def _kind(model, phase):
    words = pictures.name(model)
    return f"{words}, {phase_name(phase)}" if phase else words


def _points(metric, kinds, shown):
    """[(kind, height, value, low, high)] of one panel."""
    found, dodge = [], DODGE * min(1, 3 / len(kinds))
    for i, name in enumerate(shown):
        for k, (_, results, phase) in enumerate(kinds):
            columns = {"precision": name, **phase}
            if metric == "outcome_differs":
                columns |= {"judge": "own"}
            elif phase and name != ALONE:
                columns |= {"arg_max": LIVE}
            point = summary(results, metric, **columns)
            if point:
                found.append((k, i + dodge * (k - (len(kinds) - 1) / 2), *point))
    return found


def _floor(values):
    """Where a logarithmic axis of shares begins: a decade below the smallest one drawn."""
    positive = [v for v in values if v > 0]
    return 10.0 ** (np.floor(np.log10(min(positive))) - 1) if positive else 1e-3


def _log_of_shares(ax, floor):
    decades = [10.0**k for k in range(round(np.log10(floor)) + 1, 1)]
    ax.set(xscale="log", xlim=(floor / 1.6, 1.4))
    ax.xaxis.set_major_locator(FixedLocator([floor, *decades]))
    ax.xaxis.set_major_formatter(FixedFormatter(["0", *(f"{100 * d:g} %" for d in decades)]))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.tick_params(axis="x", labelsize=8.5)


def growth(results, badge):
    """The largest difference of an EP-CNN's units from float64 against the free step, a panel a free phase.

    results: of "exactness" of the EP-CNN, one a seed. badge: the `chapters.Badge` of the page.
    """
    shown = phases(results)
    curves = [{c: _curve(results, phase["order"], *c) for c in _cases()} for phase in shown]
    curves = [
        {c: [p for p in points if p[0] <= phase["predict_steps"]] for c, points in found.items()}
        for phase, found in zip(shown, curves, strict=True)
    ]

    def plot(axes):
        for ax, phase, found in zip(np.atleast_1d(axes), shown, curves, strict=True):
            ax.set_title(phase_name(phase), fontsize=10)
            for (name, arg_max), points in found.items():
                t, y, low, high = np.maximum(np.array(points).T, LEAST)
                ax.plot(t, y, "-" if arg_max == LIVE else ":", color=COLOURS[name], linewidth=1.6)
                if arg_max == LIVE:
                    ax.fill_between(t, low, high, color=COLOURS[name], alpha=0.12, linewidth=0)
            ax.axhline(APART, color="#888888", linewidth=0.8, linestyle="--")
            ax.set(xscale="log", yscale="log", xlabel="free step")
            ax.xaxis.set_major_locator(FixedLocator([s for s in STEPS if s <= phase["predict_steps"]]))
            ax.xaxis.set_major_formatter("{x:g}")
            ax.xaxis.set_minor_locator(NullLocator())
            _at_the_ends(ax, found)
        np.atleast_1d(axes)[0].set_ylabel("largest difference of a unit")

    ends = "; ".join(
        f"after {phase_name(phase)} {flat(name)} {found[name, LIVE][-1][1]:.2g}"
        + (f", with float64's arg-max {found[name, HELD][-1][1]:.2g}" if (name, HELD) in found else "")
        for phase, found in zip(shown, curves, strict=True)
        for name in COLOURS
    )
    caption = (
        "How to read it: how far that unit of an image which differs most is from float64 after so many free"
        " steps, median over images, with quartiles as bands; states lie between 0 and 1. Solid: every format"
        " with its own arg-max. Dotted: the same with the arg-max of float64 put in its place before every"
        " update, so that rounding cannot change where feedback goes. Dashed: 0.01, above which a unit counts"
        f" as different. {about({'ep-cnn': results}, badge)}"
    )
    alt = f"Curves of the largest difference from float64. Medians {ends}."
    size = dict(width=5.2 * len(shown), height=4.4)
    return pictures.draw("fig-growth", (1, len(shown)), plot, caption, alt, **size)


def _cases():
    return [(n, LIVE) for n in COLOURS] + [(n, HELD) for n in COLOURS if n != CONTROL]


def _curve(results, order, name, arg_max):
    """[(step, median, low, high)]: of several seeds the median of medians, and the outermost quartiles."""
    tables = [rows(r, "difference", precision=name, arg_max=arg_max, order=order) for r in results]
    # two phases in the same order begin alike, so a step that both went through counts once
    tables = [t.drop_duplicates("predict_steps").sort_values("predict_steps") for t in tables]
    columns = [t[["predict_steps", "value", "low", "high"]] for t in tables]
    steps, value, low, high = np.stack([c.to_numpy(float) for c in columns]).transpose(2, 0, 1)
    curve = zip(steps[0], np.median(value, 0), low.min(0), high.max(0), strict=True)
    return [tuple(map(float, point)) for point in curve]


def _at_the_ends(ax, found):
    """The names of the formats beside the ends of their solid curves."""
    low, high = np.log(ax.get_ylim())
    ends = {name: np.maximum(points[-1][:2], LEAST) for (name, a), points in found.items() if a == LIVE}
    heights = spread([(np.log(y) - low) / (high - low) for _, y in ends.values()], 0.1)
    for (name, end), height in zip(ends.items(), heights, strict=True):
        panels.named(ax, NAMES[name], end, (1.04, height), COLOURS[name])


def accuracies(found, badge):
    """Accuracy under the attack, a panel a model, a line a format: as the format itself sees it, and as
    float64 does. found, badge: as of `differences`.
    """
    shown = [n for n in NAMES if n != CONTROL]
    places = {
        m: {(n, j): summary(results, "accuracy", precision=n, judge=j) for n in shown for j in ("own", EXACT)}
        for m, results in found.items()
    }
    tints = panels.tints(found)

    def plot(axes):
        for ax, (model, values) in zip(np.atleast_1d(axes), places.items(), strict=True):
            colour = tints[model]
            exact, low, high = values[EXACT, "own"]
            ax.axvspan(low, high, color="#888888", alpha=0.15, linewidth=0)
            ax.axvline(exact, color="#595959", linewidth=1)
            for (name, judge), point in values.items():
                if point:
                    own = judge == "own"
                    y = shown.index(name) + (-0.13 if own else 0.13)
                    fill = colour if own else "white"
                    ax.plot(point[1:], [y, y], color=colour, linewidth=1.4, alpha=0.55)
                    ax.plot(point[0], y, "o", color=colour, markerfacecolor=fill, markersize=6)
            ax.set_title(pictures.name(model), fontsize=10)
            ax.set(xlim=(-0.02, 1.02), xlabel="accuracy under attack")
            ax.xaxis.set_major_formatter(PercentFormatter(1.0))
        first = np.atleast_1d(axes)[0]
        first.set_yticks(range(len(shown)), [NAMES[n] for n in shown], fontsize=9)
        first.set_ylim(len(shown) - 0.5, -0.5)

    s = next(iter(found.values()))[0].settings["sizes"]
    told = "; ".join(
        f"{pictures.name(m)}: "
        + ", ".join(f"{flat(n)} {values[n, 'own'][0]:.1%}" for n in shown if values[n, "own"])
        for m, values in places.items()
    )
    caption = (
        f"How to read it: the share of images right before and under PGD of {s['steps']} steps,"
        f" {NORMS[s['norm']]} ε = {s['epsilon']:.3g}, with gradients and steps computed in the format of the"
        " line. Filled: as that format itself sees it. Open: the same attacked images as float64 sees them;"
        " an open mark to the right of a filled one means that breaks of the coarse network do not count in"
        " the exact one. Bars are 95 % Wilson intervals, of several seeds from the lowest to the highest"
        " bound; grey: float64's. The images are the same on every line, so differences far smaller than"
        f" the bars can be told. {about(found, badge)}"
    )
    alt = f"Accuracy under attack by number format. {told}."
    size = dict(width=1.6 + 4.0 * len(found), height=0.5 * len(shown) + 1.2)
    return pictures.draw("fig-formats", (1, len(found)), plot, caption, alt, **size)

"""Plots of the page about attackers who see less: which attack broke what, accuracy against the number of
queries and against their cost, and what transfers from network to network.
"""

import textwrap

import numpy as np
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import NullFormatter, PercentFormatter

from eplib import (
    attack_figures,
    benchmark,
    black_box,
    chapters,
    cost_figures,
    curves,
    others,
    panels,
    pictures,
    statistics,
    suite,
    union,
)
from eplib.checks import InputError, strength
from eplib.network_figures import spread
from eplib.verdicts import nearest

PARTS = {  # of plans, ours and published: how each attack is written, and what its number counts
    "apgd-ce": ("APGD-CE", "steps"),
    "apgd-t": ("APGD-T", "steps"),
    "fab-t": ("FAB-T", "steps"),
    "square": ("Square", "queries"),
    "apgd-dlr": ("APGD-DLR", "steps"),
    "deepfool": ("DeepFool", "steps"),
}
PART_COLOURS = ("#d55e00", "#e69f00", "#56b4e9", "#cc79a7")
SURVIVED, WRONG = "#00734f", "#dddddd"
READABLE = 0.09  # share of a bar from which its number fits in
DARK = 0.55  # accuracy from which a cell takes white letters
ROW = 0.36  # inches that a network takes


def badge(found, page):
    """The `chapters.Badge` of one measurement, {model: [Result, one a seed]}: of its EP-CNN and CNN, else of
    all its networks, else that of the page.
    """
    main = {model: found[model] for model in ("ep-cnn", "cnn") if model in found}
    return chapters.badge(main or found) if found else page


def suite_name(found):
    """What the attacks of "suite-linf" may be called, from {model: [Result]}."""
    plan = next(iter(found.values()))[0].settings["sizes"]["plan"]
    return "AutoAttack" if suite.is_autoattack(plan) else "the short suite"


def our_plan(found):
    """Which attacks ours are, as a sentence, from {model: [Result of "suite-linf"]}; "" without a result."""
    if not found:
        return ""
    parts = next(iter(found.values()))[0].settings["sizes"]["plan"]
    words = ", ".join(f"{PARTS[name][0]} {count:,} {PARTS[name][1]}" for name, count in parts)
    return (
        f"Ours is the standard AutoAttack: {words}; every ε stands for itself."
        if suite_name(found) == "AutoAttack"
        else f"Ours is a short suite and not AutoAttack: {words}; what breaks at one ε counts as broken at"
        " every larger one."
    )


def about(found, shown):
    """What a figure of ours is made from, the end of its caption."""
    return f"{shown.text}. {attack_figures.fewer(found, shown)}".strip()


def broken_by(found, page):
    """Which attack of a plan broke how many images: for every ε a panel of stacked bars, a line a network.

    found: {model: [Result of one plan, one a seed]}, with the array found_by; shares are means over seeds.
    page: the `chapters.Badge` of the page. Raises InputError where there is no result.
    """
    if not found:
        raise InputError("no result of several attacks: measure suite-linf of one network first")
    models = attack_figures.ordered(found)
    first = found[models[0]][0]
    plan = [PARTS[name][0] for name, _ in first.settings["sizes"]["plan"]]
    kinds = {"survived": SURVIVED} | dict(zip(plan, PART_COLOURS, strict=False)) | {"wrong before": WRONG}
    codes = (union.SURVIVES, *range(len(plan)), union.WRONG_BEFORE)
    shares = {
        m: np.mean([[(r.arrays["found_by"] == c).mean(1) for c in codes] for r in found[m]], 0)
        for m in models
    }

    def plot(axes):
        for e, ax in enumerate(np.atleast_1d(axes)):
            for y, model in enumerate(models):
                _bar(ax, y, shares[model][:, e], kinds.values())
            ax.set_title(strength("linf", first.epsilons[e]), fontsize=10)
            ax.set_yticks(range(len(models)), [pictures.name(m) for m in models])
            ax.set(xlim=(0, 1), ylim=(len(models) - 0.5, -0.5), xlabel="share of the images")
            ax.xaxis.set_major_formatter(PercentFormatter(1.0))
            ax.grid(False)
        handles = [Patch(color=colour, label=word) for word, colour in kinds.items()]
        ax.figure.legend(handles=handles, loc="outside lower center", ncols=len(kinds), frameon=False)

    shown = badge(found, page)
    told = "; ".join(
        f"{pictures.name(m)}: "
        + ", ".join(f"{s:.1%} {word}" for s, word in zip(shares[m][:, -1], kinds, strict=True) if s)
        for m in models
    )
    caption = (
        "How to read it: one bar a network, all of its images. From the left those that survive every attack,"
        " then those that each attack broke, in the order in which they were run, and on the right those that"
        " are wrong without an attack. An attack gets only what the ones before it left, so a short piece is"
        " no sign of a weak attack; a piece of Square, the only one without gradients, is what the others"
        f" missed. {our_plan(found)} {about(found, shown)}"
    )
    alt = f"Stacked bars, shares of images at {strength('linf', first.epsilons[-1])}. {told}."
    height = ROW * len(models) + 1.5
    size = dict(width=2.2 + 3.3 * len(first.epsilons), height=height)
    return pictures.draw("fig-broken-by", (1, len(first.epsilons)), plot, caption, alt, **size)


def _bar(ax, y, shares, colours):
    left = 0.0
    for share, colour in zip(shares, colours, strict=True):
        ax.barh(y, share, left=left, color=colour, height=0.72)
        if share >= READABLE:
            ink = "white" if panels.readable(colour) == colour else "#222222"
            ax.text(left + share / 2, y, f"{share:.0%}", ha="center", va="center", fontsize=8, color=ink)
        left += share


def budgets(found, costs, target, page):
    """Accuracy under Square against the queries of an image, and against the attacked network's own time.

    found: {model: [Result of "square-linf"]}. costs: of `black_box.milliseconds`; where it lacks EP-CNN or
    CNN the second panel is left out. target: the measured ε nearest to it is shown. page: the
    `chapters.Badge` of the page.
    """
    found = {m: found[m] for m in (*attack_figures.LIKE_THE_PAPERS, *others.names()) if m in found}
    epsilon, both = nearest(found["ep-cnn"][0], target), black_box.matched(found, costs)
    shown, dashed = badge(found, page), curves.other_images(page)
    (coloured,) = panels.coloured(curves.of_results(found, dashed))
    colours = {c.model: c.colour for c in coloured}

    def plot(axes):
        axes = np.atleast_1d(axes)
        _against(axes[0], found, dict.fromkeys(found, 1), epsilon, colours, dashed)
        axes[0].set(xlabel="queries of an image", ylabel="accuracy under Square")
        if both:
            _against(axes[1], {m: found[m] for m in found if m in costs}, costs, epsilon, colours, dashed)
            axes[1].axvline(both[2], color="#595959", linestyle=":", linewidth=1.2)
            axes[1].set_xlabel("milliseconds of the network's own time, an image")

    caption = (
        "How to read it: the share of images still right after so many queries of Square with"
        f" {strength('linf', epsilon)}; lower is better for the attacker, bands as in the figures above. An"
        " image that was broken at a smaller ε counts with the queries it took there, so a curve begins with"
        f" an upper bound. {about(found, shown)}"
    )
    if both:
        report = benchmark.stored("cost")
        row = cost_figures.rows(report, "inference")[0]
        caption += (
            " On the right a query costs one inference of the attacked network. Costs match where the"
            " attackers have spent the same time; by then the attacker of the faster network has asked more"
            f" often. Dotted: the whole attack on the {pictures.name(both[0])} is over. Times are of networks"
            f" of {'-'.join(map(str, row['channels']))} channels and batches of {row['batch']} images"
            f" ({benchmark.in_words(report)})."
        )
    told = "; ".join(
        f"{pictures.name(m)} {black_box.left_after(r, epsilon, 1):.1%} after one and"
        f" {black_box.left_after(r, epsilon, black_box.asked(r[0])):.1%} after"
        f" {black_box.asked(r[0]):,} queries"
        for m, r in found.items()
    )
    alt = f"Accuracy under Square against queries, and against time where it is known: {told}."
    panel = 2 if both else 1
    return pictures.draw("fig-budgets", (1, panel), plot, caption, alt, width=5.4 * panel, height=3.7)


def _against(ax, found, factors, epsilon, colours, dashed):
    """Curves of the share still right against queries times a factor, with names at their ends."""
    ends = {}
    for model, results in found.items():
        after = [black_box.broken_after(r, epsilon) for r in results]
        last = black_box.asked(results[0])
        broken = np.unique(np.concatenate(after))
        queries = np.unique([1, last, *broken[(broken > 0) & np.isfinite(broken)]])
        right = np.array([[(a > q).sum() for q in queries] for a in after])
        bounds = np.array(
            [[statistics.wilson(k, len(a)) for k in line] for a, line in zip(after, right, strict=True)]
        )
        y = np.mean([line / len(a) for a, line in zip(after, right, strict=True)], 0)
        x = factors[model] * queries
        ax.step(x, y, "--" if dashed else "-", where="post", color=colours[model], linewidth=1.6)
        low, high = bounds[..., 0].min(0), bounds[..., 1].max(0)
        ax.fill_between(x, low, high, step="post", color=colours[model], alpha=0.12, linewidth=0)
        ends[model] = (x[-1], y[-1])
    ax.set(xscale="log", ylim=(-0.015, 1.015))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    heights = spread([(y + 0.015) / 1.03 for _, y in ends.values()], 0.11)
    for (model, end), height in zip(ends.items(), heights, strict=True):
        words = textwrap.fill(curves.name(model), panels.LETTERS)
        panels.named(ax, words, end, (1.04, height), colours[model])


def transfer(found, page):
    """[a heat map of the accuracy of every target on images of every source, at the largest ε]; [] where
    nothing was measured.

    found: {model: [Result of "transfer"]}; shares are means over seeds. page: the `chapters.Badge` of the
    page.
    """
    if not found:
        return []
    targets, shown = attack_figures.ordered(found), badge(found, page)
    epsilon, made_on = max(found[targets[0]][0].epsilons), black_box.sources(found[targets[0]][0])
    columns = ["no attack", *(pictures.name(s) for s in made_on), "any other"]

    def line(result):
        attacked = [black_box.right_from(result, epsilon, [s]) for s in made_on]
        every = [
            result.correct_clean,
            *attacked,
            black_box.right_from(result, epsilon, black_box.others(result)),
        ]
        return [right.mean() for right in every]

    shares = np.array([np.mean([line(r) for r in found[t]], 0) for t in targets])

    def plot(ax):
        ax.pcolormesh(shares, cmap="Blues", vmin=0, vmax=1, edgecolor="white", linewidth=1)
        for (y, x), share in np.ndenumerate(shares):
            ink = "white" if share > DARK else "#222222"
            ax.text(x + 0.5, y + 0.5, f"{share:.0%}", ha="center", va="center", fontsize=8.5, color=ink)
        for y, target in enumerate(targets):
            if target in made_on:
                own = (1 + made_on.index(target), y)
                ax.add_patch(Rectangle(own, 1, 1, fill=False, edgecolor="#d55e00", linewidth=2, zorder=3))
        ax.set_yticks(np.arange(len(targets)) + 0.5, [pictures.name(t) for t in targets])
        words = [textwrap.fill(c, 14) for c in columns]
        ax.set_xticks(np.arange(len(columns)) + 0.5, words, fontsize=8.5)
        ax.xaxis.tick_top()
        ax.tick_params(length=0)
        ax.set(ylim=(len(targets), 0), ylabel="attacked network")
        ax.set_title("PGD images made on", fontsize=10)
        ax.grid(False)

    told = "; ".join(
        f"{pictures.name(t)} {', '.join(f'{c} {v:.0%}' for c, v in zip(columns, line, strict=True))}"
        for t, line in zip(targets, shares, strict=True)
    )
    caption = (
        "How to read it: a line is the accuracy of one network on images that PGD made on the network above"
        f" the column, with {strength('linf', epsilon)}; the darker, the less transfers. Outlined: its own"
        " images, a white box. “Any other”: right whichever other network they were made on."
        f" {about(found, shown)}"
    )
    alt = f"Accuracy of networks on images made on others. {told}."
    size = dict(width=2.6 + len(columns), height=ROW * len(targets) + 1.2)
    return [pictures.draw("fig-transfer", (1, 1), plot, caption, alt, **size)]

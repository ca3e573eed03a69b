"""Published and corrected conventions on the same networks: the figure of every convention, the published
AutoAttack with its sampling error, and the tables beside them.
"""

import numpy as np
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator, PercentFormatter
from matplotlib.transforms import ScaledTranslation

from eplib import attack_verdicts, chapters, curves, panels, published_curves, verdicts
from eplib.checks import NORMS, InputError, amount, strength
from eplib.convention_sentences import changes, leaders, norms, points, repaired, under
from eplib.conventions import VARIANTS
from eplib.pictures import COLOURS, draw, name
from eplib.sentences import Text, table
from eplib.statistics import wilson

AUTOATTACK = "Adversarial_Plotter_MichaelMeeting.py:CIFAR10_AA"  # of published_curves.FIGURES
SAMPLES = (200, 1000, 10_000)  # images: of the published AutoAttack, of its ViTs, of the whole test split
QUOTED = (0.01, 8 / 255)  # ℓ∞ ε at which sample sizes are compared
PAIR, MARKS = ("ep-cnn", "cnn"), ("o", "s")
PUBLISHED_KEYS = {
    "cnn": "cnn",
    "vit-8": "vit",
    "cnn-at-l2-0.5": "cnn-at-l2-0.5",
    "cnn-at-l2-1": "cnn-at-l2-1",
}
KEPT = {  # what becomes of (who leads as published, who leads as corrected)
    (False, False): "no clear order in either",
    (False, True): "appears",
    (True, False): "does not survive",
}


def accuracy(label, found, norm, badge):
    """Accuracy of EP-CNN and CNN under every convention of `VARIANTS`, a panel an ε, and beside it the change
    against the corrected one. found: {model: [Result of "conventions"]}. Raises InputError where neither was
    measured in this norm.
    """
    pair = {model: found[model] for model in PAIR if model in found}
    drawn = {v: {c.model: c for c in curves.of_results(under(pair, norm, v), False)} for v in VARIANTS}
    drawn = {variant: of for variant, of in drawn.items() if of}
    if not drawn:
        raise InputError(f"no convention measured in {norm}: give results of conventions in it")
    epsilons = next(iter(drawn["corrected"].values())).x
    columns = min(len(epsilons), 2)
    rows = -(-len(epsilons) // columns)

    def plot(axs):
        axs = np.atleast_1d(axs).ravel()
        for ax in axs[len(epsilons) :]:
            ax.set_axis_off()
        for i, epsilon in enumerate(epsilons):
            _panel(axs[i], drawn, i, f"{strength(norm, epsilon)}")

    caption = (
        f"How to read it: every line is one way to attack and to count ({badge.text}); the first is the"
        " corrected one, the others change one choice of it, “published” all of them, and random starts are"
        " further effort. Marks are means over seeds, bars reach from the lowest to the highest bound of the"
        " seeds' 95 % Wilson intervals. The numbers are the corrected accuracy and, below it, changes against"
        " it in points. A line without a mark does not apply to that network. Every panel ends where its"
        " numbers end."
    )
    height = 0.9 + rows * (0.75 + 0.34 * len(drawn))
    width = panels.WIDTH if columns > 1 else 0.65 * panels.WIDTH
    return draw(label, (rows, columns), plot, caption, _told(drawn, epsilons, norm), width, height)


def _panel(ax, drawn, i, title):
    """One ε: its place is `i` in every curve."""
    ax.set_title(title, loc="left", fontsize=10)
    for j, (model, mark) in enumerate(zip(PAIR, MARKS, strict=True)):
        colour, inches = COLOURS[model], ScaledTranslation(0.4 + 0.6 * j, 0, ax.figure.dpi_scale_trans)
        text = dict(ha="center", va="center", fontsize=8.5, color=panels.readable(colour))
        text["transform"] = ax.get_yaxis_transform() + inches  # from the panel's right end; y in lines
        if model in drawn["corrected"]:
            ax.text(1, -0.85, name(model), weight="bold", **text)
        for line, of in enumerate(drawn.values()):
            if model in of:
                c, start = of[model], drawn["corrected"][model]
                at = line + 0.28 * (j - 0.5)
                bar = [[c.y[i] - c.low[i]], [c.high[i] - c.y[i]]]
                ax.errorbar([c.y[i]], [at], xerr=bar, fmt=mark, color=colour, markersize=5, elinewidth=1.2)
                change = points(c.y[i] - start.y[i]) if line else f"{c.y[i]:.1%}"
                ax.text(1, line, change, **text)
    ax.set_yticks(range(len(drawn)), list(drawn))
    ax.set(ylim=(len(drawn) - 0.5, -0.5), xlabel="counted as right")
    ax.set_xlim(0, 1.04 * max(c.high[i] for of in drawn.values() for c in of.values()))
    ax.xaxis.set_major_formatter(PercentFormatter(1.0))
    ax.xaxis.set_major_locator(MaxNLocator(5))


def _told(drawn, epsilons, norm):
    """Every mark in words."""
    told = []
    for i, epsilon in enumerate(epsilons):
        lines = [
            f"{variant} {' and '.join(f'{c.label} {c.y[i]:.1%}' for c in of.values())}"
            for variant, of in drawn.items()
        ]
        told.append(f"{strength(norm, epsilon)}: {', '.join(lines)}.")
    return f"Images counted as right under each convention. {' '.join(told)}"


def repaired_table(found):
    """Who is repaired: a line for every network and ε under predicted labels, over all its seeds."""
    lines = []
    for model, results in found.items():
        for at in repaired(results):
            shares = (at.error, at.share, at.floor, at.kept / at.images, at.floor + at.kept / at.images)
            count = f"{at.repaired} of {at.wrong}"
            where = strength(at.norm, at.epsilon)
            lines.append((name(model), where, count, *(f"{100 * s:.1f}" for s in shares)))
    head = ("network", "strength", "repaired", "clean error", "share repaired", "error × share")
    head += ("right before and under attack", "sum: counted as right")
    return table(head, lines, "Per cent of all images, but the share repaired of those wrong before.")


def square_table(found):
    """Square seeing logits and seeing probabilities: a line for every network and ε, over all its seeds."""
    lines = []
    for model, results in found.items():
        logits, seen = (under({model: results}, "linf", f"Square, {s}") for s in ("logits", "probabilities"))
        for i, c in enumerate(changes(results, "Square, probabilities", "Square, logits")):
            pairs = [(a.correct[i], b.correct[i]) for a, b in zip(logits[model], seen[model], strict=True)]
            only = [sum(int((pair[j] & ~pair[1 - j]).sum()) for pair in pairs) for j in (1, 0)]
            images = sum(len(a) for a, _ in pairs)
            lines.append((name(model), strength(*c[:2]), f"{c[3]:.1%}", f"{c[2]:.1%}", *only, f"{images:,}"))
    head = ("network", "strength", "logits", "probabilities", "right only with probabilities")
    return table((*head, "right only with logits", "images"), lines)


def what_holds(found):
    """Claim by claim: who keeps more images right, in the paper at the same ε, and here under the published
    and the corrected convention (`leaders`). A line for every norm, ε and rival with a published curve.
    """
    lines, behind = [], []
    for rival, key in PUBLISHED_KEYS.items():
        if rival in found:
            behind.append(verdicts.lagging(*chapters.paired(found, "ep-cnn", rival), name(rival)))
        for norm in norms(found) if rival in found else ():
            theirs, ours = (leaders(found, rival, norm, c) for c in ("published", "corrected"))
            for epsilon in theirs:
                before, after = theirs[epsilon], ours[epsilon]
                word = KEPT.get((before != "neither", after != "neither"))
                word = word or ("survives" if before == after else "is reversed")
                who = [name(w) if w != "neither" else "neither clearly" for w in (before, after)]
                claim = f"EP-CNN or {name(rival)}, {strength(norm, epsilon)}"
                lines.append((claim, _paper(norm, key, epsilon), *who, word))
    head = ("who keeps more images right?", "published: EP-CNN, rival", "here, as published")
    note = (
        "Clearly: in every pair of networks, with every exact McNemar p below 0.05 after Holm's adjustment"
        " over the ε of a norm. A description, no verdict. – where the paper has no such ε."
    )
    return table((*head, "here, corrected", "the order"), lines, " ".join(filter(None, (note, *behind))))


def _paper(norm, key, epsilon):
    """Published accuracies of the EP-CNN and another curve at an ε, interpolated over log ε."""
    every, values = published_curves.curves(attack_verdicts.FIGURES[norm]), []
    for curve in (every["ep-cnn"], every[key]):
        x = np.asarray(curve.index, float)
        if not 0.99 * x[0] <= epsilon <= 1.01 * x[-1]:
            return "–"
        values.append(np.interp(np.log(epsilon), np.log(x), curve["mean"]))
    return ", ".join(f"{v:.1%}" for v in values)


def sampled(epsilon):
    """{model: (published ε nearest to `epsilon`, AutoAttack accuracy, {images: 95 % Wilson interval})}."""
    found = {}
    for model in PAIR:
        mean = published_curves.curves(AUTOATTACK)[model]["mean"]
        at = min(mean.index, key=lambda e: abs(np.log(e / epsilon)))
        intervals = {n: wilson(round(mean[at] * n), n) for n in SAMPLES}
        found[model] = float(at), float(mean[at]), intervals
    return found


def lead(epsilon, images):
    """(difference, low, high): published AutoAttack accuracy of EP-CNN minus CNN with the 95 % interval of
    two samples of so many images (Newcombe 1998, method 10, from Wilson intervals).
    """
    (_, p, first), (_, q, second) = sampled(epsilon).values()
    (p_low, p_high), (q_low, q_high) = first[images], second[images]
    low, high = np.hypot(p - p_low, q_high - q), np.hypot(p_high - p, q - q_low)
    return p - q, float(p - q - low), float(p - q + high)


def sample_table():
    """What the published AutoAttack accuracies mean on samples of `SAMPLES` images."""
    lines = []
    for epsilon in QUOTED:
        for model, (at, value, intervals) in sampled(epsilon).items():
            cells = [f"{low:.1%} to {high:.1%}" for low, high in intervals.values()]
            lines.append((f"{name(model)}, {strength('linf', at)}", f"{value:.1%}", *cells))
        cells = [f"{points(low)} to {points(high)}" for _, low, high in (lead(epsilon, n) for n in SAMPLES)]
        lines.append(("difference, points", points(lead(epsilon, SAMPLES[0])[0]), *cells))
    head = ("published AutoAttack", "accuracy", *(f"on {n:,} images" for n in SAMPLES))
    note = (
        "95 % Wilson intervals; of a difference, that of Newcombe for two samples. All seeds share the same"
        f" {SAMPLES[0]} images, so a mean over seeds is no larger sample; a test on the same images would"
        " mostly be narrower, but the outcomes of single images were not published."
    )
    return table(head, lines, note)


def separated(images=SAMPLES[0]):
    """Whether two samples of so many images tell the published EP-CNN and CNN apart, in words."""
    told = []
    for epsilon in QUOTED:
        (at, ep, _), (_, cnn, _) = sampled(epsilon).values()
        difference, low, high = lead(epsilon, images)
        word = "apart" if low > 0 or high < 0 else "not apart"
        told.append(
            f"{word} at {strength('linf', at)} (EP-CNN {ep:.1%}, CNN {cnn:.1%}: {points(difference)} points,"
            f" 95 % interval {points(low)} to {points(high)})"
        )
    return Text(
        f"Under the published AutoAttack, two samples of {images:,} images tell the networks"
        f" {' and '.join(told)}."
    )


def sample_size(label):
    """The published AutoAttack curves of EP-CNN and CNN with the intervals of 200 and of 10,000 images."""
    every = {m: published_curves.curves(AUTOATTACK)[m]["mean"] for m in PAIR}
    last = max(every["ep-cnn"].index)
    every = {m: mean[(mean.index >= 1e-3) & (mean.index <= last)] for m, mean in every.items()}

    def plot(ax):
        for (model, mean), mark in zip(every.items(), MARKS, strict=True):
            x, colour = 255 * np.asarray(mean.index, float), COLOURS[model]
            for n, alpha in ((SAMPLES[0], 0.2), (SAMPLES[-1], 0.6)):
                low, high = np.array([wilson(round(v * n), n) for v in mean]).T
                ax.fill_between(x, low, high, color=colour, alpha=alpha, linewidth=0)
            ax.plot(x, mean, mark, color=colour, markersize=4)
            half = np.abs(mean - 0.5).argmin()
            ax.annotate(
                name(model),
                (x[half], mean.iloc[half]),
                (14, 6),
                textcoords="offset points",
                color=panels.readable(colour),
                weight="bold",
            )
        ax.set(xscale="log", ylim=(0, 1), xlabel=panels.XLABELS["linf"], ylabel="accuracy under attack")
        ax.xaxis.set_major_locator(FixedLocator([0.25, 0.5, 1, 2, 4, 8, 16]))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_major_formatter(PercentFormatter(1.0))

    caption = (
        "How to read it: marks are the published accuracies under the authors' AutoAttack (means over seeds);"
        f" the light band is the 95 % Wilson interval of the {SAMPLES[0]} images behind each seed, the dark"
        f" one what {SAMPLES[-1]:,} images would give. Where two light bands overlap, two samples of"
        f" {SAMPLES[0]} images may not tell the networks apart."
    )
    ends = "; ".join(
        f"{name(m)} {mean.iloc[0]:.1%} at {amount('linf', mean.index[0])} and {mean.iloc[-1]:.1%} at"
        f" {amount('linf', mean.index[-1])}"
        for m, mean in every.items()
    )
    alt = f"Published accuracy under {NORMS['linf']} AutoAttack with intervals of two sample sizes. {ends}."
    return draw(label, (1, 1), plot, caption, alt, width=7.5, height=4.2)

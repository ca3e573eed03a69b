"""Every stored network at a glance: a plot of clean accuracies, training curves by family, and the table."""

import html
from urllib.parse import quote

import numpy as np
from matplotlib.ticker import MaxNLocator

from eplib import files, networks, pictures, verdicts
from eplib.pictures import COLOURS, draw
from eplib.sentences import Html

FAMILIES = {  # the first that fits
    "adversarially trained": lambda m: m.startswith("judge-") or "-at-" in m,
    "Equilibrium Propagation": lambda m: m.startswith("ep-cnn"),
    "the same network, trained otherwise": lambda m: m.startswith("twin-"),
    "feed-forward CNNs": lambda m: m == "cnn" or m.startswith("cnn-"),
    "students": lambda m: m.startswith("student-"),
    "transformers and patch networks": lambda m: True,
}
ORDER = [  # from top to bottom
    "Equilibrium Propagation",
    "the same network, trained otherwise",
    "feed-forward CNNs",
    "adversarially trained",
    "transformers and patch networks",
    "students",
]
SHADES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a6d00", "#56b4e9", "#444444")
STYLES = ("-", "--", ":", "-.")
MARKERS = {"test": "o", "validation": "D"}
LABEL = 0.165  # inches that a line of small text takes


def family(model):
    """The family of `FAMILIES` that a model belongs to."""
    return next(name for name, belongs in FAMILIES.items() if belongs(model))


def _by_model(entries):
    """{model: [Entry]} in the order in which the models come first."""
    found = {}
    for entry in entries:
        found.setdefault(entry.model, []).append(entry)
    return found


def accuracies(shown, badge):
    """Clean accuracy of every network: a line a model, a mark a seed, hollow where it is under-trained.

    shown: `networks.Entry`s, those without any accuracy are left out.
    """
    marked = [e for e in shown if e.kind]
    models = _by_model(marked)
    low = {id(e) for e in marked if networks.under_trained(e, shown)}
    values = [e.accuracies[e.kind] for e in marked]
    span = max(max(values) - min(values), 0.05)
    left, right = min(values) - 0.06 * span, max(values) + 0.06 * span

    def plot(ax):
        for place, entries in enumerate(models.values()):
            for e in entries:
                colour = COLOURS["cnn" if e.kind == "validation" else "ep-cnn"]
                face = "white" if id(e) in low else colour
                style = dict(color=colour, markerfacecolor=face, markersize=6, linestyle="none")
                ax.plot([e.accuracies[e.kind]], [place], MARKERS[e.kind], **style)
            _remark(ax, place, entries, low, (left, right))
        _threshold(ax, shown, left)
        ax.set_yticks(range(len(models)), [pictures.name(m) for m in models], fontsize=9)
        ax.set(xlabel="clean accuracy", xlim=(left, right), ylim=(len(models) - 0.4, -0.6))
        ax.xaxis.set_major_formatter(lambda x, place: f"{100 * x:.4g}%")

    told = "; ".join(_told(m, entries, low) for m, entries in models.items())
    caption = (
        "How to read it: one line a model, one mark a network (seed), at its clean accuracy after its own"
        " free phase: circles on test images, diamonds on held-out training images where the test accuracy"
        " has not been measured. Hollow: under-trained, more than"
        f" {100 * verdicts.UNDER_TRAINED:.0f} points below the mean of the EP-CNNs; the dotted line is"
        f" where that begins. {len(low)} of {len(marked)} networks are under-trained. {badge.text}."
    )
    alt = f"Clean accuracy of {len(marked)} networks of {len(models)} kinds: {told}."
    return draw("fig-networks", (1, 1), plot, caption, alt, height=0.26 * len(models) + 1.0)


def _remark(ax, place, entries, low, limits):
    """What the marks of a line do not say by their place alone, on the side where there is room."""
    count, kinds = sum(id(e) in low for e in entries), {e.kind for e in entries}
    words = [{len(entries): "under-trained"}.get(count, f"{count} under-trained")] if count else []
    words += ["validation"] if "validation" in kinds else []
    x = [e.accuracies[e.kind] for e in entries]
    after = limits[1] - max(x) > min(x) - limits[0]
    ax.annotate(
        ", ".join(words),
        (max(x) if after else min(x), place),
        (7 if after else -7, 0),
        textcoords="offset points",
        ha="left" if after else "right",
        va="center",
        fontsize=8.5,
        color="#444444",
        bbox=dict(boxstyle="square,pad=0.1", facecolor="white", edgecolor="none"),
    )


def _threshold(ax, shown, left):
    """A line where under-training begins for those whose accuracy is like the EP-CNN's."""
    ep = next((e for e in shown if e.model == "ep-cnn"), None)
    found = ep and networks.reference(ep, shown)
    if found and found[1] - verdicts.UNDER_TRAINED > left:
        ax.axvline(found[1] - verdicts.UNDER_TRAINED, color="#444444", linestyle=":", linewidth=1, zorder=0)


def _told(model, entries, low):
    x = ", ".join(_accuracy(e) for e in entries)
    hollow = sum(id(e) in low for e in entries)
    return f"{pictures.name(model)} {x}" + (f" ({hollow} under-trained)" if hollow else "")


def curves(shown, badge):
    """Validation accuracy against training images seen, a panel a family. A network without curve (a fitted
    read-out) is left out.
    """
    drawn = [e for e in shown if _points(e)]
    families = {name: _by_model(e for e in drawn if family(e.model) == name) for name in ORDER}
    families = {name: models for name, models in families.items() if models}
    end = 1.02 * max(x for e in drawn for x, _ in _points(e))
    heights = [max(1.3, LABEL * (len(models) + 2)) for models in families.values()]

    def plot(axes):
        axes = np.atleast_1d(axes)
        axes[0].get_gridspec().set_height_ratios(heights)
        for ax, (name, models), height in zip(axes, families.items(), heights, strict=True):
            ax.set_title(name, loc="left", fontsize=10, weight="bold")
            y = [y for entries in models.values() for e in entries for _, y in _points(e)]
            margin = 0.08 * max(np.ptp(y), 0.05)
            ax.set(ylabel="accuracy", xlim=(0, end), ylim=(min(y) - margin, max(y) + margin))
            ax.xaxis.set_major_formatter("{x:,.0f}")
            ax.yaxis.set_major_formatter(lambda y, place: f"{100 * y:.4g}%")
            ax.yaxis.set_major_locator(MaxNLocator(5))
            _lines(ax, models, LABEL / height)
        axes[-1].set_xlabel("training images seen")

    told = "; ".join(
        f"{name}: {', '.join(f'{pictures.name(m)} {_end(es):.1%}' for m, es in models.items())}"
        for name, models in families.items()
    )
    without = len(shown) - len(drawn)
    caption = (
        "How to read it: one line a network, its accuracy on held-out training images while it trains, with"
        " as many free steps as training took at that moment; a panel a family, each with an"
        " accuracy scale of its own. Every label is joined to the end of its line, of several seeds to their"
        " mean."
        + (f" Without a curve, because only a read-out was fitted: {without}." if without else "")
        + f" {badge.text}."
    )
    alt = f"Training curves of {len(drawn)} networks. Validation accuracy at the end, by family: {told}."
    height = sum(heights) + 0.5 * len(families) + 0.3
    return draw("fig-all-curves", (len(families), 1), plot, caption, alt, height=height, sharey=False)


def _points(entry):
    """[(images seen, validation accuracy)] of a training run."""
    return [(h["images_seen"], h["validation_accuracy"]) for h in entry.history if "images_seen" in h]


def _end(entries):
    """Mean validation accuracy at the end of training."""
    return float(np.mean([_points(e)[-1][1] for e in entries]))


def _lines(ax, models, gap):
    """The curves of a family, and beside them the titles, at least `gap` of the panel's height apart."""
    low, high = ax.get_ylim()
    ends = {m: _end(entries) for m, entries in models.items()}
    heights = spread([(y - low) / (high - low) for y in ends.values()], gap)
    right = ax.get_xlim()[1]
    for i, ((model, entries), height) in enumerate(zip(models.items(), heights, strict=True)):
        style = dict(color=SHADES[i % len(SHADES)], linestyle=STYLES[i // len(SHADES) % len(STYLES)])
        for entry in entries:
            ax.plot(*zip(*_points(entry), strict=True), marker="o", markersize=2.5, linewidth=1.3, **style)
        last = max(_points(e)[-1][0] for e in entries)
        seeds = f" ({len(entries)} seeds)" if len(entries) > 1 else ""
        ax.annotate(
            pictures.name(model) + seeds,
            (last, ends[model]),
            (right * 1.07, low + height * (high - low)),
            va="center",
            fontsize=8,
            annotation_clip=False,
            arrowprops=dict(arrowstyle="-", linewidth=0.9, shrinkA=2, shrinkB=2, relpos=(0, 0.5), **style),
        )


def spread(places, gap):
    """Numbers moved apart until they are at least `gap` apart, in their order, those in each other's way
    around their common mean, and within 0 and 1 as far as they fit.
    """
    order = np.argsort(places, kind="stable")
    steps = gap * np.arange(len(order))
    blocks = []  # (mean, how many) of what is pushed together, without the gaps
    for place in np.asarray(places, float)[order] - steps:
        blocks.append((place, 1))
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (a, m), (b, n) = blocks.pop(), blocks.pop()
            blocks.append(((a * m + b * n) / (m + n), m + n))
    moved = np.repeat(*zip(*blocks, strict=True))
    moved = np.clip(moved, 0, max(0.0, 1 - gap * (len(order) - 1))) + steps
    return moved[np.argsort(order, kind="stable")].tolist()


def overview(shown):
    """The table of all entries: what each is, what it cost, what it reached, and its files to download."""
    steps, order = networks.longest(shown[0].scale) if shown else ("", "")
    head = ("network", "what it is", "seed", "images seen", "parameters", "training", "clean accuracy")
    head += (f"after {steps} {order} steps", "trained enough?", "files")
    body = "".join(_line(entry, i, shown) for i, entry in enumerate(shown))
    own = [e for e in shown if not e.imported]
    devices = ", ".join(sorted({e.record.get("device", "an unknown device") for e in own}))
    note = (
        f"Trained on {devices}: minutes of one core's work where the record has them, else minutes that"
        " passed. Clean accuracy is that of the network's own free phase on test images; (validation): on"
        " held-out training images, its test accuracy has not been measured. A read-out that is fitted sees"
        " its images at once."
    )
    sticky = 'style="position:sticky;top:0;background:var(--pst-color-background,#fff)"'
    cells = "".join(f'<th scope="col" {sticky}>{html.escape(h)}</th>' for h in head)
    return Html(
        '<div class="eplib-table" tabindex="0" role="region" aria-label="Every stored network"'
        ' style="overflow:auto;max-height:36em;font-size:.8em;line-height:1.3"><table>'
        f"<thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>"
        f'<p style="font-size:.9em">{html.escape(note)}</p>'
    )


def _line(entry, place, shown):
    """One line of the table; what neighbours share stands once."""
    same = [(e.model, networks.in_words(e.record)) for e in shown]
    first = place == 0 or same[place] != same[place - 1]
    more = next((i for i, s in enumerate(same[place:]) if s != same[place]), len(shown) - place)
    words = [html.escape(w) for w in (pictures.name(entry.model), same[place][1])]
    span = f'rowspan="{more}"'
    named = f'<th scope="rowgroup" {span}>{words[0]}</th><td {span}>{words[1]}</td>' if first else ""
    cells = [str(entry.seed), _images(entry), f"{entry.parameters:,}", _minutes(entry), _accuracy(entry)]
    cells += ["–" if entry.settled is None else f"{entry.settled:.1%}"]
    cells += ["under-trained" if networks.under_trained(entry, shown) else "yes"]
    return (
        "<tr>"
        + named
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)
        + f'<td style="white-space:nowrap">{_links(entry)}</td></tr>'
    )


def _images(entry):
    last = entry.history[-1] if entry.history else {}
    return f"{last['images_seen']:,}" if "images_seen" in last else "–"


def _minutes(entry):
    training = entry.record["training"]
    core = entry.history[-1].get("core_seconds") if entry.history else None
    if core is not None and not files.on_gpu(entry.record):
        return f"{core / 60:.1f}\u00a0core-min"
    if training.get("seconds") is None:
        return "–"
    where = " on a GPU" if files.on_gpu(entry.record) else ""
    return f"{training['seconds'] / 60:.1f}\u00a0min{where}"


def _accuracy(entry):
    if entry.kind is None:
        return "–"
    return f"{entry.accuracies[entry.kind]:.1%}" + ("" if entry.kind == "test" else " (validation)")


def _links(entry):
    """Links to the weights and the record, relative to the page; `eplib.book` puts the files there."""
    if entry.path.parent.parent != files.ROOT / "data" / "checkpoints":
        return html.escape(entry.path.name)
    pairs = (("weights", entry.path), ("record", entry.path.with_suffix(".json")))
    whose = html.escape(f"{pictures.name(entry.model)}, seed {entry.seed}")
    return " · ".join(
        f'<a href="../data/checkpoints/{quote(entry.scale)}/{quote(path.name)}" download'
        f' aria-label="{word} of {whose}">{word}</a>'
        for word, path in pairs
    )

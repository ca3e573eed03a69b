"""The page *What the campaign costs*: its figures, tables and sentences, from `eplib.campaign_costs`."""

import math
import statistics

from eplib import benchmark, campaign_costs, pictures, projections, sentences, speeds
from eplib.campaign_costs import FACTOR, GPUS, KINDS, of_kind, ratio
from eplib.sentences import BEGINNING, Text

COLOURS = {"quick": "#0072b2", "cpu": "#d55e00", "training": "#0072b2", "measuring": "#d55e00"}
DEAREST = 24  # networks that the figure shows
LABELLED = 8  # pieces that are named in the figure of the formulas


def costs(recorded, kind):
    """{network, or measurement: mean core-hours of one} of records of processors, the dearest first."""
    found = {}
    for r in campaign_costs.by_processor(recorded)[0]:
        if r.kind == kind:
            found.setdefault(r.piece.model if kind == "training" else r.piece.measurement, []).append(r)
    means = {name: statistics.fmean(r.seconds for r in every) / 3600 for name, every in found.items()}
    return dict(sorted(means.items(), key=lambda item: -item[1]))


def figure(label, recorded):
    """Core-hours of a network and of a measurement at every scale, as a `Picture`. recorded: {scale:
    records}.
    """
    panels = {kind: {s: costs(every, kind) for s, every in recorded.items()} for kind in KINDS}
    names = {kind: _ordered(found) for kind, found in panels.items()}
    left_out = max(0, len(names["training"]) - DEAREST)
    names["training"] = names["training"][:DEAREST]
    shown = {"training": pictures.name, "measuring": str}

    def plot(axes):
        for ax, kind in zip(axes, KINDS, strict=True):
            rows = names[kind][::-1]
            for scale, found in panels[kind].items():
                at = [y for y, name in enumerate(rows) if name in found]
                x = [found[rows[y]] for y in at]
                ax.plot(x, at, "o", color=COLOURS[scale], markersize=5)
                if at:
                    place = (x[-1], at[-1])
                    colour = COLOURS[scale]
                    ax.annotate(scale, place, (7, -4), textcoords="offset points", color=colour)
            ax.set_yticks(range(len(rows)), [shown[kind](name) for name in rows], fontsize=8)
            title = "training one network" if kind == "training" else "measuring one network"
            ax.set(xscale="log", xlabel="core-hours", title=title, ylim=(-0.7, len(rows) + 0.2))

    said = "; ".join(
        f"{shown[kind](name)} "
        + ", ".join(f"{found[name]:.2g} at {s}" for s, found in panels[kind].items() if name in found)
        for kind in KINDS
        for name in names[kind]
    )
    rest = f" {left_out} networks that take less are left out." if left_out else ""
    caption = (
        "How to read it: a line is a network, or a measurement of one; further right is dearer (logarithmic)."
        " A dot is the mean of everything that processors made at a scale: seconds by threads, of networks"
        f" core-seconds where they were recorded.{rest}"
    )
    height = 1.2 + 0.17 * max(map(len, names.values()))
    size = dict(width=10.4, height=height, sharey=False)
    return pictures.draw(label, (1, 2), plot, caption, f"Core-hours of one: {said}.", **size)


def _ordered(panel):
    """Names of all scales, the dearest at any of them first."""
    most = {}
    for found in panel.values():
        for name, hours in found.items():
            most[name] = max(hours, most.get(name, 0))
    return sorted(most, key=lambda name: -most[name])


def figure_of_formulas(label, pairs):
    """Recorded against projected core-minutes of every piece, as a `Picture`."""
    far = sorted(pairs, key=lambda p: -max(p[1] / p[0].seconds, p[0].seconds / p[1]))
    named, seen = [], set()
    for pair in far:
        what = _title(pair[0].piece)
        if what not in seen and len(named) < LABELLED and all(_apart(pair, other) for other in named):
            named.append(pair)
            seen.add(what)

    def plot(ax):
        for kind in KINDS:
            colour, part = COLOURS[kind], of_kind(pairs, kind)
            ax.plot(
                [r.seconds / 60 for r, _ in part], [s / 60 for _, s in part], "o", color=colour, markersize=4
            )
            if part:
                r, s = max(part, key=lambda p: p[0].seconds)
                ax.annotate(kind, (r.seconds / 60, s / 60), (8, 0), textcoords="offset points", color=colour)
        for r, s in named:
            ax.annotate(
                _title(r.piece), (r.seconds / 60, s / 60), (5, -9), textcoords="offset points", fontsize=7.5
            )
        ends = [min(ax.get_xlim()[0], 0.01), max(r.seconds for r, _ in pairs) / 30]
        for factor, style in ((1, "-"), (FACTOR, ":"), (1 / FACTOR, ":")):
            ax.plot(ends, [factor * e for e in ends], style, color="#595959", linewidth=1)
        ax.set(xscale="log", yscale="log", xlabel="recorded core-minutes", ylabel="projected core-minutes")

    caption = (
        "How to read it: a dot is a stored network or measurement; on the line the formula is right, between"
        f" the dotted lines within a factor of {FACTOR:g}. Above, too much is projected. Named are those that"
        " are furthest off, where there is room. Dots in a row share a formula; what they"
        " took differs with the network and with what else the machine did."
    )
    said = ", ".join(f"{kind} {ratio(part):.2f}" for kind in KINDS if (part := of_kind(pairs, kind)))
    worst = "; ".join(f"{_title(r.piece)} {s / r.seconds:.2g}" for r, s in named)
    alt = f"Projected over recorded core-time in all: {said}. Furthest off: {worst}."
    return pictures.draw(label, (1, 1), plot, caption, alt, width=8.0, height=5.0)


def _apart(pair, other):
    """Whether two dots are far enough from each other for a name each."""
    (r, s), (q, t) = pair, other
    return abs(math.log10(r.seconds / q.seconds)) > 0.7 or abs(math.log10(s / t)) > 0.15


def _title(piece):
    return piece.measurement or pictures.name(piece.model)


def hours(value):
    """Hours in words: "0.02", "7.5", "340", "12,000"."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def answer(scale, recorded, found, pairs):
    """The page's one sentence, from {scale: records}, `campaign_costs.needs` of `scale` and what is compared
    at `quick`.
    """
    on_cpus = {scale: campaign_costs.by_processor(every)[0] for scale, every in recorded.items()}
    stored = ", ".join(
        f"{hours(sum(r.seconds for r in every) / 3600)} core-hours at {scale} ({len(every):,} networks and"
        " measurements)"
        for scale, every in on_cpus.items()
        if every
    )
    whole = campaign_costs.total(found)
    return Text(
        f"{BEGINNING}What is stored took {stored or 'nothing yet'}; the whole of {scale} scale"
        f" ({whole.pieces:,} pieces) is projected to need {hours(whole.gpu_hours)} hours on one"
        f" {_gpu()}, {hours(campaign_costs.on_several(found))} on {GPUS}, or {hours(whole.core_hours)}"
        " core-hours on CPUs, at rates measured on one of each, by formulas that give"
        f" {_ratios(pairs)} the time that stored networks of quick scale took."
    )


def _gpu():
    return benchmark.stored("gpu")["device"]["device"]


def _ratios(pairs):
    parts = ((kind, of_kind(pairs, kind)) for kind in KINDS)
    return " and ".join(f"{ratio(part):.2f} times ({kind})" for kind, part in parts if part)


def recorded_table(recorded):
    """What is stored of every scale, by what it was made on, as a table."""
    lines = [
        (scale, kind, where, f"{len(part):,}", hours(sum(r.seconds for r in part) / 3600))
        for scale, every in recorded.items()
        for where in sorted({r.gpu for r in every})
        for kind in KINDS
        if (part := [r for r in every if r.kind == kind and r.gpu == where])
    ]
    note = (
        "Hours are core-hours of processors; where a GPU is named, they are hours of processes of which"
        " several shared it, so that they add up to more than it was used."
    )
    lines = [(scale, kind, where or "processors", *rest) for scale, kind, where, *rest in lines]
    return sentences.table(("scale", "", "made on", "stored", "hours"), lines, note)


def needs_table(found, without, pairs):
    """What a whole scale is projected to need, as a table, the longest on a GPU first, with how far the
    formula of each line was from the records that are compared.
    """
    known = campaign_costs.ratios(pairs)
    ordered = sorted(found.items(), key=lambda item: -item[1].gpu_hours)
    lines = [
        (name, f"{n.pieces:,}", *_times(n), f"{known[name]:.2f}" if name in known else "–")
        for name, n in ordered
    ]
    whole = campaign_costs.total(found)
    lines.append(("everything", f"{whole.pieces:,}", *_times(whole), ""))
    left_out = f" Without a formula, and left out: {', '.join(without)}." if without else ""
    note = (
        "Projected, not measured. CPU: at the rates of one core in the stored benchmarks, corrupted images"
        f" included ({hours(whole.making)} core-hours). GPU: at the rates of one {_gpu()}, without"
        " making corrupted images. The last column is the formula over the records of quick scale; divided by"
        f" it, the lines that have one come to {hours(campaign_costs.as_recorded(found, known))} core-hours."
        f"{left_out}"
    )
    return sentences.table(
        ("", "pieces", "core-hours on CPUs", "hours on one GPU", "formula / record"), lines, note
    )


def _times(need):
    return hours(need.core_hours), hours(need.gpu_hours)


def narrower():
    """What the benchmark says of the rates of narrower networks, in words."""
    report = benchmark.stored("cost")
    found = {r["channels"][0]: r for r in report["rows"] if r["task"] == "growth with width"}
    rates = {width: r["floor"] / r["milliseconds"] for width, r in found.items()}
    narrow, wide = min(rates), report["rows"][0]["channels"][0]
    return Text(
        f"In the same benchmark an EP-CNN whose first layer has {narrow} channels, as at quick scale, reaches"
        f" {rates[narrow] / rates[wide]:.2f} times the operations a second of one with {wide}, whose rates"
        " the projections use at every width (looked at afterwards, and left as it was)."
    )


def assumptions():
    """What the projections rest on, in words."""
    report = benchmark.stored("cost")
    rates = speeds.cpu_rates(report)
    cpu = "; ".join(
        f"{'EP-CNN' if recurrent else 'CNN'}, {projections.TASKS[task]} {rate / 1e9:.0f}"
        for (recurrent, task), rate in rates.items()
    )
    measured, launch = speeds.gpu_rates(benchmark.stored("gpu"))
    gpu = "; ".join(
        f"{'EP-CNN' if recurrent else 'CNN'}, {projections.TASKS[task]} in {precision} {rate / 1e12:.0f}"
        for (recurrent, task, precision), rate in measured.items()
    )
    return Text(
        f"**Rates of a CPU, measured**, in GFLOP/s of one core: {cpu} ({benchmark.in_words(report)}).\n\n"
        f"**Rates of one {_gpu()}, measured**, in TFLOP/s, of networks as wide as the paper's in batches of"
        f" 128: {gpu}. Outside of training no step of a batch is faster than {1e6 * launch:.0f} µs, the time"
        " that launching its kernels one by one took. Attacks are counted in float32, though at paper scale"
        " some search in bfloat16 first. Whole networks and measurements were not timed on a GPU that they"
        " had for themselves, so these projections are checked on processors alone.\n\n"
        f"**What an attack sees, assumed**: at each of several strengths {projections.LEFT:.0%} of the"
        " images, because what a smaller one broke is not attacked again."
    )

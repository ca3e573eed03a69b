"""The page *Rerun it*: every chapter's command and how long it takes, from the stored benchmark."""

import html
import statistics

from eplib import benchmark, campaign, sentences
from eplib.pictures import draw
from eplib.sentences import BEGINNING, Text, scrolling
from eplib.verdicts import Verdict

PATIENCE = 60  # seconds in which a chapter must show what is stored, and run at smoke scale
KINDS = {  # of a row's seconds: (words, marker, colour)
    "stored": ("from stored results", "o", "#0072b2"),
    "smoke": ("at smoke scale", "s", "#009e73"),
    "anew": ("everything behind it anew", "D", "#c05500"),
}
ROW = 0.28  # inches that a chapter takes


def rows(report):
    """[{slug, title, stored, smoke, anew}] of the chapters, in seconds; None where a time is not known."""
    return [
        {
            "slug": slug,
            "title": row.get("title", slug),
            "stored": row.get("stored"),
            "smoke": row["smoke"],
            "anew": row["training"] + row["measuring"] if "training" in row else None,
        }
        for slug, row in report["chapters"].items()
    ]


def seconds_in_words(seconds):
    """ "12 s", "3 min", "2.5 h", or "–" for None."""
    if seconds is None:
        return "–"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def answer(report):
    """The page's one sentence."""
    every = rows(report)
    parts = []
    for kind, words in (("stored", "shows stored results in"), ("smoke", "is checked at smoke scale in")):
        known = {r["title"]: r[kind] for r in every if r[kind] is not None}
        if known:
            slowest = max(known, key=known.get)
            middle = seconds_in_words(statistics.median(known.values()))
            parts.append(f"{words} {middle} (the slowest, “{slowest}”, {seconds_in_words(known[slowest])})")
    return Text(
        f"{BEGINNING}Each of {len(every)} chapters is run again by one command, which"
        f" {' and '.join(parts)} ({benchmark.in_words(report)})."
    )


def quick_enough(report):
    """Does every chapter show what is stored, and run at smoke scale, within a minute? A `Verdict` about this
    machine.
    """
    known = [(r[k], r["title"], k) for r in rows(report) for k in ("stored", "smoke") if r[k] is not None]
    slow = [(t, s, k) for t, s, k in known if t > PATIENCE]
    word = "contradicted" if slow else "supported"
    seconds, title, kind = max(known)
    names = f"{len(slow)} of {len(known)} take longer" if slow else f"all {len(known)} do"
    return Verdict(
        word,
        "undecided",
        f"For this machine: {word}. Every chapter should show what is stored, and run at smoke scale, within"
        f" {PATIENCE} seconds each: {names}; the longest is “{title}” {KINDS[kind][0]},"
        f" {seconds_in_words(seconds)} ({benchmark.in_words(report)}).",
        f"A chapter above {PATIENCE} seconds, or none any more, when the benchmark is run again.",
    )


def figure(label, report):
    """Seconds of every chapter, in each of the three ways, as a `Picture`."""
    every = rows(report)[::-1]

    def plot(ax):
        for kind, (words, marker, colour) in KINDS.items():
            at = [y for y, r in enumerate(every) if r[kind]]
            ax.plot([every[y][kind] for y in at], at, marker, color=colour, label=words, markersize=5)
        ax.set_yticks(range(len(every)), [r["title"] for r in every], fontsize=8.5)
        ticks = (1, 10, 60, 600, 3600, 36_000)
        ax.set(xscale="log", ylim=(-0.7, len(every) - 0.3))
        ax.set_xticks(ticks, ("1 s", "10 s", "1 min", "10 min", "1 h", "10 h"))
        ax.minorticks_off()
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False, fontsize=9)

    caption = (
        "How to read it: a line is a chapter, further right is longer (logarithmic). Circles: executed with"
        " everything stored; squares: at smoke scale, chapter after chapter, so that each finds what those"
        " before it computed; diamonds: the core-seconds of training and measuring everything that the stored"
        f" page shows, from its records. {benchmark.in_words(report)}."
    )
    told = "; ".join(
        f"{r['title']} " + ", ".join(f"{seconds_in_words(r[k])} {KINDS[k][0]}" for k in KINDS if r[k])
        for r in reversed(every)
    )
    size = dict(width=9.0, height=ROW * len(every) + 1.0)
    return draw(label, (1, 1), plot, caption, f"How long every chapter takes: {told}.", **size)


def table(report):
    """Every chapter's command and times. At cpu and paper scale chapters train nothing, and take as long as
    from stored results.
    """
    head = ("chapter", "command", *(words for words, *_ in KINDS.values()))
    cells = "".join(f'<th scope="col">{h}</th>' for h in head)
    return scrolling(
        f"<table><thead><tr>{cells}</tr></thead><tbody>{''.join(map(_line, rows(report)))}</tbody></table>"
    )


def _line(row):
    command = f"papermill book/{row['slug']}.ipynb {row['slug']}-out.ipynb -p scale quick"
    times = "".join(f"<td>{seconds_in_words(row[kind])}</td>" for kind in KINDS)
    link = f'<a href="{row["slug"]}.html">{html.escape(row["title"])}</a>'
    return f'<tr><th scope="row">{link}</th><td><code>{command}</code></td>{times}</tr>'


def campaign_table():
    """How much of the campaign is done at each scale, and how many core-hours are left, as a table."""
    lines = []
    for scale in ("quick", "cpu", "paper"):
        found = campaign.table(scale)
        lines.append((scale, f"{found['done']:,} of {found['pieces']:,}", f"{found['core_hours_left']:,.0f}"))
    return sentences.table(("scale", "networks and measurements done", "core-hours left (estimated)"), lines)

"""What the page about changed words shows: its answer, its table and its figure, from the log of
`eplib.changes`.
"""

import html
from datetime import datetime, timedelta

import numpy as np
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

from eplib import chapters, claims, sentences
from eplib.changes import ABSENT, MINUTE, SCALES, counts, flips, latest, steps, titled
from eplib.network_figures import spread
from eplib.pictures import draw
from eplib.scales import scale as size_of
from eplib.sentences import BEGINNING, COLOURS, Text

SHOWN = 25  # lines of the table that are not folded
LINES = {word: "-" for word in COLOURS} | {ABSENT: ":"}


def answer(entries):
    """How often words have changed, in one sentence."""
    again = [(a, b) for a, b in steps(entries) if a]
    words = [(a, b) for a, b in again if (a.networks, a.method) != (b.networks, b.method)]
    turned = flips(entries, "networks")[0]
    total = len(latest(entries))
    last = f" (the last time on {words[-1][1].time[:10]})" if words else ""
    return Text(
        f"{BEGINNING}From {entries[0].time[:10]} to {entries[-1].time[:10]}, {_times(total, 'verdict')}"
        f" {'was' if total == 1 else 'were'} given for the first time; since then words changed"
        f" {_times(len(words), 'time')}{last}, {len(turned) or 'none'} of the verdicts turned into"
        f" {'its' if len(turned) == 1 else 'their'} opposite, and {_times(len(again) - len(words), 'time')}"
        " the images or seeds changed and the words did not."
    )


def _times(count, word):
    return f"{count} {word}{'s' * (count != 1)}"


def why(before, after):
    """What changed with an entry besides its words, in words."""
    if after.networks == ABSENT:
        return "what it rested on is not stored any more as today's settings ask for it"
    now = f"{after.n} images, seed{'s' * (len(after.seeds) > 1)} {_listed(after.seeds)}"
    if before is None or before.networks == ABSENT:
        return f"measured: {now}"
    changed = [f"{before.n} → {after.n} images"] * (before.n != after.n)
    changed += [f"seeds {_listed(before.seeds)} → {_listed(after.seeds)}"] * (before.seeds != after.seeds)
    return ", ".join(changed) or f"the same {now}: results of other networks, or the rule"


def _listed(seeds):
    return ", ".join(map(str, seeds))


def table(entries):
    """The log as a table, the newest first; all but the newest lines are folded."""
    lines = [_line(*step) for step in reversed(steps(entries))]
    head = ("when (UTC)", "claim", "scale", "for these networks", "for the method", "why")
    head = "".join(f'<th scope="col">{h}</th>' for h in head)

    def part(lines):
        return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"

    older = f"<details><summary>{len(lines) - SHOWN} older entries</summary>{part(lines[SHOWN:])}</details>"
    return sentences.scrolling(f"{part(lines[:SHOWN])}{older if len(lines) > SHOWN else ''}")


def _line(before, after):
    chapter = {c.words: c.chapter for c in claims.CLAIMS}.get(after.claim)
    name = html.escape(titled(after.claim, after.label))
    name = f'<a href="{chapter}.html">{name}</a>' if chapter else name
    where = f"{after.scale}, {chapters.DATASET_NAMES[after.dataset]}"
    networks = _change(before.networks if before else ABSENT, after.networks)
    words = (networks, _change(before.method if before else after.method, after.method))
    cells = "".join(f"<td>{c}</td>" for c in (name, where, *words, html.escape(why(before, after))))
    return f'<tr><th scope="row" style="white-space:nowrap">{after.time}</th>{cells}</tr>'


def _change(old, new):
    return new if new == old else f"{old} → {sentences.word(new)}"


def figure(label, entries):
    """How many claims had which word, over time, a panel for each scale with results: a `Picture`."""
    found = {s: counts(entries, s) for s in SCALES if any(e.scale == s for e in entries)}
    first, last = (datetime.strptime(e.time, MINUTE) for e in (entries[0], entries[-1]))
    ends = first, last + (last - first) / 20 + timedelta(minutes=1)  # the last change is seen too

    top = 1 + max(max(words.values()) for along in found.values() for _, words in along)

    def plot(axes):
        for ax, (scale, along) in zip(np.atleast_1d(axes), found.items(), strict=True):
            _panel(ax, scale, along, ends, top)
        np.atleast_1d(axes)[0].set_ylabel("claims")

    caption = (
        "How to read it: each line counts the claims of the book that had one word about these networks after"
        " every change of the stored results, a claim tested in several ways once. Today's rules, applied to"
        f" the results stored at each moment (UTC), from {entries[0].time} to {entries[-1].time}."
    )
    told = "; ".join(
        f"{s} scale, at first {_counted(along[0][1])}, at last {_counted(along[-1][1])}"
        for s, along in found.items()
    )
    size = dict(width=5.2 * len(found), height=3.6)
    alt = f"Claims by their word over time: {told}."
    return draw(label, (1, len(found)), plot, caption, alt, **size)


def _panel(ax, scale, along, ends, top):
    x = [*(datetime.strptime(t, MINUTE) for t, _ in along), ends[1]]
    last = along[-1][1]
    words = [w for w in last if any(c[w] for _, c in along)]
    places = spread([last[w] / top for w in words], 0.07)
    for i, (word, place) in enumerate(zip(words, places, strict=True)):
        y = [*(c[word] for _, c in along), last[word]]
        colour = COLOURS.get(word, "#6f6f6f")
        ax.step(x, y, LINES[word], where="post", color=colour, linewidth=4 - 0.8 * i)
        ax.annotate(
            f"{word} {last[word]}",
            (1.02, place),
            xycoords="axes fraction",
            va="center",
            color=colour,
            fontsize=9,
        )
    ticks = AutoDateLocator()
    ax.xaxis.set_major_locator(ticks)
    ax.xaxis.set_major_formatter(ConciseDateFormatter(ticks))
    dataset = chapters.DATASET_NAMES[size_of(scale).dataset]
    ax.set_title(f"{scale} scale, {dataset}", loc="left", fontsize=10)
    ax.set(xlim=ends, ylim=(0, top))


def _counted(words):
    return ", ".join(f"{n} {w}" for w, n in words.items())

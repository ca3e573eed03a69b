"""The claims at a glance: a mark for every verdict, about these networks and about the method."""

import html

from eplib import chapters, published
from eplib.chapters import DATASET_NAMES
from eplib.pictures import draw
from eplib.sentences import COLOURS, Html, scrolling

MARKS = {"supported": "^", "contradicted": "v", "undecided": "o"}
COLUMNS = ("for these networks", "for the method")
ROW = 0.3  # inches that a verdict takes


def figure(label, every):
    """[claims.Judged] as a `Picture`, a line a verdict; claims without one are left out."""
    rows = [(_words(j, who), v) for j in every for who, v in j.verdicts.items()]
    scales = sorted({f"{j.badge.dataset_name}, {j.badge.scale} scale" for j in every if j.badge})

    def plot(ax):
        for y, (_, verdict) in enumerate(reversed(rows)):
            for x, word in enumerate((verdict.networks, verdict.method)):
                ax.plot([x], [y], MARKS[word], color=COLOURS[word], markersize=8)
                ax.annotate(word, (x + 0.07, y), va="center", fontsize=9, color=COLOURS[word])
        ax.set_yticks(range(len(rows)), [words for words, _ in reversed(rows)], fontsize=9)
        ax.set_xticks(range(len(COLUMNS)), COLUMNS)
        ax.xaxis.tick_top()
        ax.tick_params(length=0)
        ax.set(xlim=(-0.15, 1.6), ylim=(-0.7, len(rows) - 0.3))
        ax.spines[:].set_visible(False)

    caption = (
        "How to read it: a line is one test of a claim. ▲ supported, ▼ contradicted, ● undecided; left, what"
        " the networks trained here say about themselves, right, what they allow to say about the method,"
        f" which asks for five seeds on the paper's kind of images. {'; '.join(scales)}."
    )
    told = "; ".join(f"{words} {v.networks}, for the method {v.method}" for words, v in rows)
    size = dict(width=10.4, height=ROW * len(rows) + 0.8)
    return draw(label, (1, 1), plot, caption, f"Verdicts for these networks: {told}.", **size)


def _words(j, who):
    """A claim, with what it was tested against where that is said."""
    words = j.claim.words.rstrip(".").split(":")[0]
    return f"{words} ({who})" if who else words


def badge(every):
    """A badge for each data set and scale that the verdicts rest on, with all numbers of images and seeds."""
    kept = [j.badge for j in every if j.badge]
    boxes = []
    for name, scale in dict.fromkeys((b.dataset_name, b.scale) for b in kept):
        alike = [b for b in kept if (b.dataset_name, b.scale) == (name, scale)]
        low, high = min(b.n for b in alike), max(b.n for b in alike)
        n = f"{low:,}" if low == high else f"{low:,} to {high:,}"
        seeds = ", ".join(map(str, sorted({s for b in alike for s in b.seeds})))
        boxes.append(chapters.badge_box(f"{name}, {scale} scale, n = {n} test images, seeds {seeds}"))
    return Html("".join(boxes))


def of_the_paper():
    """Every figure of the paper's repository, what it shows, and the figure of this book in its place."""
    lines = "".join(
        f'<tr><th scope="row"><code>{html.escape(f.figure)}</code></th><td>{DATASET_NAMES[f.dataset]}</td>'
        f'<td>{html.escape(f.shows)}</td><td><a href="{f.chapter}.html#{f.label}">{f.chapter}</a></td></tr>'
        for f in published.figures().itertuples()
    )
    head = "".join(f'<th scope="col">{h}</th>' for h in ("figure", "images", "what it shows", "redrawn in"))
    return scrolling(f"<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>")

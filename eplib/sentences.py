"""What a page says about its results, composed from them: claims, answers, verdicts, limits, how to run it
again.
"""

import html

from eplib import pictures, published, scales
from eplib.chapters import DATASET_NAMES, networks
from eplib.checks import NORMS, amount, strength
from eplib.verdicts import PAPER_DATASETS

BEGINNING = "**In one sentence.** "  # of every page's answer
COLOURS = {"supported": "#00734f", "contradicted": "#a63c00", "undecided": "#595959"}
IN_THE_DARK = {"supported": "#3fb68b", "contradicted": "#f08a4b", "undecided": "#a6a6a6"}


class Text(str):
    """A sentence that displays itself in a notebook as Markdown."""

    def _repr_markdown_(self):
        return str(self)


class Html(str):
    """A piece of a page that displays itself in a notebook."""

    def _repr_html_(self):
        return str(self)


def table(head, lines, note=""):
    """A table of words: its head, its lines (their first cell names the line), and a note below."""
    head = "".join(f"<th>{html.escape(str(cell))}</th>" if cell else "<td></td>" for cell in head)
    body = "".join(
        f"<tr><th>{html.escape(str(first))}</th>"
        + "".join(f"<td>{html.escape(str(c))}</td>" for c in rest)
        + "</tr>"
        for first, *rest in lines
    )
    note = f"<p>{html.escape(note)}</p>" if note else ""
    return scrolling(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{note}")


def scrolling(content, more=""):
    """A wide table in a box of its own, which scrolls, also from the keyboard. more: another class."""
    classes = f"eplib-table {more}".strip()
    return Html(f'<div class="{classes}" tabindex="0" style="overflow-x:auto;font-size:.9em">{content}</div>')


def published_claim(norm):
    """The paper's numbers where its EP-CNN leads its CNN most, as a sentence."""
    epsilon, ep, cnn = published.largest_gap(norm)
    seeds = {model: curve["seeds"][epsilon] for model, curve in published.pgd_curves(norm).items()}
    return Text(
        f"**Published** (arXiv 2401.11543, CIFAR-10, PGD, {strength(norm, epsilon)}): EP-CNN {ep:.1%},"
        f" CNN {cnn:.1%} accuracy under attack, means of {seeds['ep-cnn']} and {seeds['cnn']} seeds."
    )


def verdict_box(verdict):
    """A verdict as a page shows it: its sentence, the word first, and what would overturn it."""
    word, dot, rest = html.escape(verdict.sentence).partition(".")
    return Html(
        '<div class="eplib-verdict"'
        f' style="border-left:.4em solid {COLOURS[verdict.networks]};padding:.2em 1em">'
        f"<p><strong>{word}{dot}</strong>{rest}</p>"
        f"<p><em>What would overturn it.</em> {html.escape(verdict.overturn)}</p></div>"
    )


def word(name):
    """A verdict's word in its colour, on a light page and on a dark one; any other word is grey."""
    light, dark = (colours.get(name, colours["undecided"]) for colours in (COLOURS, IN_THE_DARK))
    return f'<strong style="color:light-dark({light},{dark})">{name}</strong>'


def along_the_curve(leaders, norm):
    """What `verdicts.along_the_curve` found, in words."""

    def at(model):
        return ", ".join(amount(norm, e) for e in leaders[model]) or "no strength measured"

    return Text(
        "**Along the whole curve** (looked at afterwards, so a description and no verdict;"
        f" {NORMS[norm]} ε, every pair of networks, Holm over all of them): the EP-CNN keeps clearly"
        f" more images right at {at('ep-cnn')}; the CNN at {at('cnn')}; neither at {at('neither')}."
    )


def answer(verdicts, shown_badge):
    """A chapter's one-sentence answer from one verdict per norm, {norm: Verdict}."""
    words = {v.networks for v in verdicts.values()}
    leads = {
        "supported": "keeps more images right than",
        "contradicted": "keeps fewer images right than",
        "undecided": "is not shown to differ from",
    }
    if len(words) == 1:
        middle = f"{leads[words.pop()]} the CNN under {' and '.join(NORMS[n] for n in verdicts)} PGD"
    else:
        middle = " and ".join(
            f"{leads[v.networks]} the CNN under {NORMS[n]} PGD" for n, v in verdicts.items()
        )
    method = {v.method for v in verdicts.values()}
    tail = "; what this says about the method is undecided" if method == {"undecided"} else ""
    return Text(
        f"**In one sentence.** At the strengths where the paper's EP-CNN leads most, ours {middle}"
        f" ({shown_badge.dataset_name}, {shown_badge.scale} scale){tail}."
    )


def differences(attacked):
    """What differs between the published attack and the one of `attacked` ({model: [Result]}), in words."""
    s = next(r.settings for rs in attacked.values() for r in rs if r.settings["predict_steps"])
    theirs = published.pgd(s["norm"]).dropna(subset=["attack_steps"]).iloc[0]
    return Text(
        "The published attack was given no labels: it attacked the network's own prediction, so an"
        " image that was wrong at first and is pushed to its true class counts as right, and the"
        " published curves level off above zero. Here an image counts only when it is right before"
        " **and** under attack with its true label, and an image broken at one ε counts as broken at"
        f" every larger one. The published EP-CNN is attacked through {theirs.attack_steps:.0f} free"
        f" steps and predicts after {theirs.predict_steps:.0f}; ours is attacked through exactly the"
        f" {s['predict_steps']} {s['order']} steps it predicts with. Published are {published.PGD_STEPS}"
        f" steps of {2.5 / published.PGD_STEPS:g} ε, here are {s['attack_steps']} of"
        f" {2.5 / s['attack_steps']:g} ε, both from the image itself without random start; ours stay in"
        " [0, 1]."
    )


def limits(shown):
    """What the networks shown can and cannot say about the paper's claim, in words."""
    net = networks(shown, "ep-cnn")[0]
    paper = scales.row("paper", "ep-cnn").channels
    mine = net.net.channels
    seen = net.record["training"]["recipe"]["images_seen"]
    other = (
        ""
        if shown.dataset in PAPER_DATASETS
        else f" and looks at the {DATASET_NAMES[shown.dataset]} instead of CIFAR images"
    )
    smaller = (
        "has the paper's widths"
        if mine == paper
        else f"has {'-'.join(map(str, mine))} channels where the paper's has {'-'.join(map(str, paper))}"
    )
    return Text(
        f"The EP-CNN shown here {smaller}{other}; it was trained on {seen:,} images, repetitions"
        " included. A verdict about these networks says what these networks do. The paper's claim is"
        " about a method on CIFAR images, and only networks trained on those, with enough seeds, can"
        " speak about it."
    )


def rerun(slug, shown, outcomes):
    """How to run this chapter elsewhere, and how long it takes when nothing is stored: from the records
    shown.
    """
    every = [r for rs in outcomes.values() for r in rs]
    measuring = sum(r.record["seconds"] for r in every)
    trained = {(m, r.settings["seed"]) for m, rs in outcomes.items() for r in rs}
    learning = sum(
        c.record["training"].get("seconds", 0)  # networks of others do not say it
        for m in outcomes
        for c in networks(shown, m)
        if (m, c.record["seed"]) in trained
    )
    devices = " and ".join(sorted({r.record["device"] for r in every}))
    return Text(
        again(slug) + "\n\nWhat is stored is loaded. With nothing stored, what this"
        f" page shows ({shown.scale} scale) took {learning / 60:.0f} minutes of training and"
        f" {measuring / 60:.0f} minutes of measuring on {devices}; at `smoke` everything takes seconds."
        " At `cpu` and `paper` chapters train nothing: they show what is stored."
    )


def again(slug):
    """The commands that run a chapter elsewhere."""
    commands = (
        f"papermill book/{slug}.ipynb {slug}-out.ipynb -p scale quick",
        f"papermill book/{slug}.ipynb {slug}-out.ipynb -p scale smoke  # a check that it runs",
        f'python -m eplib run {slug} --scale quick -p seeds "[0]" --out my-run  # the same, here',
    )
    return Text("```bash\n" + "\n".join(commands) + "\n```")


def front(answers):
    """Answers of several pages as one list, {title: answer}: each with its title instead of how it begins."""
    lines = (f"- **{title}.** {answer.removeprefix(BEGINNING)}" for title, answer in answers.items())
    return Text("\n".join(lines))


def not_there(absent, where):
    """Which models a page lacks, as a sentence; "" where none is. where: at what scale, and so where not."""
    if not absent:
        return Text("")
    return Text(
        f"**Not there yet** {where}: {', '.join(map(pictures.name, absent))}. They are entries of the"
        " campaign (`python -m eplib campaign`); this page trains nothing else than EP-CNN and CNN."
    )

"""Pictures of the page on what attacks draw: perturbations, filters, and images synthesised from grey."""

import textwrap

import numpy as np
import torch
from torch import nn

from eplib import perturbations, published
from eplib.chapters import DATASET_NAMES
from eplib.panels import WIDTH, readable
from eplib.pictures import draw, name
from eplib.semantics_figures import colours
from eplib.sentences import Text, not_there
from eplib.toggles import Toggle

FILTERS = 16  # of a first layer, those of the largest norm
NAMED, TITLE, GAP = 1.75, 0.2, 0.03  # inches of the column of names, of a title, around a picture
LETTERS = 24  # of a line in the column of names
SCALED = (
    "Grey is no change; colours of one row share one scale. Its end (± the number under the name), beyond"
    f" which {perturbations.BEYOND:.1%} of the changes lie,"
)


def grid(label, head, rows, caption, alt):
    """A `Picture` of small images. head: [(image [C, H, W], title)], or None. rows: [(model, note, cells)]
    with cells [(image, title)].
    """
    lines = [*([(None, "", head)] if head else []), *rows]
    across = max(len(cells) for *_, cells in lines)
    side = (WIDTH - NAMED) / across
    height = len(lines) * (side + TITLE) + 0.02

    def plot(axs):
        axs = np.reshape(axs, (len(lines), across))
        axs[0][0].figure.set_layout_engine("none")
        for i, (line, (model, note, cells)) in enumerate(zip(axs, lines, strict=True)):
            bottom = 1 - (i + 1) * (side + TITLE) / height
            for j, ax in enumerate(line):
                left, inside = NAMED + j * side + GAP, side - 2 * GAP
                ax.set_position([left / WIDTH, bottom, inside / WIDTH, inside / height])
                ax.set_axis_off()
            for ax, (image, title) in zip(line, cells, strict=False):
                ax.imshow(_pixels(image), vmin=0, vmax=1, interpolation="nearest")
                ax.set_title(title, fontsize=7.5, pad=2)
            if model:
                words = f"{textwrap.fill(name(model), LETTERS)}\n{note}".strip()
                style = dict(ha="right", va="center", color=readable(colours([model])[model]))
                place = (NAMED - 0.08) / WIDTH, bottom + side / 2 / height
                axs[0][0].figure.text(*place, words, fontsize=8.5, **style)

    size = dict(width=WIDTH, height=height, sharey=False)
    return draw(label, (len(lines), across), plot, caption, alt, **size)


def _pixels(image):
    return image.clamp(0, 1).permute(1, 2, 0).cpu().numpy()


def signed(change, scale):
    """A change as colours around grey, ± scale at the ends."""
    return 0.5 + change / (2 * max(scale, 1e-12))


def attacks(label, rows, images, labels, classes, badge, start):
    """`perturbations.Row`s as a `Toggle`: the perturbations, and the attacked images."""
    head = [(image, f"{classes[y]}") for image, y in zip(images, labels.tolist(), strict=True)]
    views = {}
    for view in ("perturbations", "attacked images"):
        lines = []
        for row in rows:
            shown = row.adversarial if view != "perturbations" else signed(row.change, row.scale)
            titles = [
                f"{classes[a]}, {length:.2f}" if length else f"{classes[a]}, none found"
                for a, length in zip(row.answers.tolist(), row.lengths.tolist(), strict=True)
            ]
            note = f"± {row.scale:.2g}" if view == "perturbations" else ""
            lines.append((row.model, note, list(zip(shown, titles, strict=True))))
        told = "; ".join(f"{name(r.model)} " + _told(r, classes) for r in rows)
        views[view] = grid(label, head, lines, "", f"A grid of {view}, a row a network: {told}.")
    caption = (
        f"How to read it: {start} Above each picture, what the network says of the attacked image and the ℓ2"
        f" length of the change. {SCALED} is a change of that size in every colour channel. The images: of"
        " every class in turn the first test image in canonical order that all these networks get right, of"
        f" the first {len(images)} classes that have one ({badge.dataset_name}, {badge.scale} scale)."
    )
    return Toggle(label, views, caption)


def _told(row, classes):
    return ", ".join(
        f"{classes[a]} at {length:.2f}"
        for a, length in zip(row.answers.tolist(), row.lengths.tolist(), strict=True)
    )


def papers(label, rows, image, label_of, classes, badge, which):
    """The paper's picture of one image as a `Toggle`: drawn as published, and with one scale."""
    stack = image[None].repeat(len(perturbations.COLUMNS), 1, 1, 1)
    titles = [f"ε = {e:g}" for e in perturbations.COLUMNS]
    views = {}
    for view in ("as the paper draws it", "one scale a row", "attacked images"):
        lines = []
        for row in rows:
            shown = {
                "as the paper draws it": perturbations.as_published(stack, row.adversarial),
                "one scale a row": signed(row.change, row.scale),
                "attacked images": perturbations.rescaled(row.adversarial),
            }[view]
            cells = [
                (s, f"{t}: {classes[a]}") for s, t, a in zip(shown, titles, row.answers.tolist(), strict=True)
            ]
            cells.insert(0, (image, f"{classes[label_of]}"))
            lines.append((row.model, f"± {row.scale:.2g}" if view == "one scale a row" else "", cells))
        told = "; ".join(
            f"{name(r.model)}: " + ", ".join(classes[a] for a in r.answers.tolist()) for r in rows
        )
        alt = (
            f"One image, a {classes[label_of]}, attacked with six ε on {len(rows)} networks, {view}."
            f" What they say, by ascending ε: {told}."
        )
        views[view] = grid(label, None, lines, "", alt)
    caption = (
        f"How to read it: {which} A row is a network; first the image, then a column for every ℓ2 ε, as in"
        " the paper's two figures of one image (PGD that may leave [0, 1]). As the paper draws it: attacked"
        " image and image are each stretched to fill [0, 1], subtracted, and the absolute difference is"
        " stretched again, so that every picture has a scale of its own. One scale a row:"
        f" {SCALED[0].lower()}{SCALED[1:]} is a change of that size, and nothing else is stretched."
        f" {badge.dataset_name}, {badge.scale} scale."
    )
    return Toggle(label, views, caption)


def which(test, dataset):
    """(place of the image in the paper's pictures in canonical order, a sentence about it)."""
    place = int(test.published_order()[7])
    if dataset == "cifar10" and test.official is not None:
        return place, "Test image 7 of the original files, a frog, the one in the paper's figures."
    return place, (
        f"A {test.classes[test.labels[place]]}, test image 7 in the order of this project's source of"
        f" {DATASET_NAMES[dataset]}, a substitute for the frog in the paper's figures."
    )


def filters(label, nets, badge):
    """The first convolution of every network that has one of three colour channels: a `Picture`."""
    lines, told = [], []
    for model, net in nets.items():
        first = next((m for m in net.net.modules() if isinstance(m, nn.Conv2d)), None)
        if first is None or first.weight.shape[1] != 3:
            continue  # a network of others that begins otherwise
        weight = first.weight.detach()
        told.append(f"{name(model)} {'×'.join(map(str, weight.shape[2:]))} pixels")
        largest = weight.flatten(1).norm(dim=1).argsort(descending=True)[:FILTERS]
        scale = weight[largest].abs().max().item()
        lines.append((model, f"± {scale:.2g}", [(signed(w, scale), "") for w in weight[largest]]))
    caption = (
        f"How to read it: the {FILTERS} filters of largest norm in the first layer of each network, for its"
        " three colour channels. Grey is 0; a row has one scale, whose end is the number under the name. A"
        f" transformer's are those that turn a patch into numbers. {badge.dataset_name}, {badge.scale} scale."
    )
    alt = f"Small pictures of first-layer filters, by network and size: {', '.join(told)}."
    return grid(label, None, lines, caption, alt)


def synthesised(label, made, nets, judge, classes, badge, steps):
    """Images that networks make of grey, class after class: a `Picture`. judge: or None."""
    lines, told = [], []
    for model, images in made.items():
        with torch.no_grad():
            own = nets[model](images).softmax(1).diagonal()
            seen = judge(images).argmax(1) if judge else None
        said = [f"“{classes[a]}”" for a in seen] if judge else [f"{p:.0%}" for p in own]
        hits = int((seen == torch.arange(len(seen))).sum()) if judge else None
        note = f"judge: {hits} of {len(seen)}" if judge else ""
        lines.append((model, note, list(zip(images, said, strict=True))))
        told.append(f"{name(model)}: {', '.join(said)}")
    head = [(torch.full_like(next(iter(made.values()))[0], 0.5), c) for c in classes]
    above = (
        "Above each image what a robust judge of another seed, which no attack has seen, takes it for; under"
        " each name how often that is the class wanted."
        if judge
        else "Above each image the network's own probability of the class wanted; no judge is stored."
    )
    caption = (
        "How to read it: the first row is where every ascent starts, under the name of the class that is"
        f" wanted. Below it, what {steps} steps of ℓ2 length 0.5 along the gradient of the log-probability of"
        f" that class make of it on each network, without a budget, within [0, 1]. {above}"
        f" {badge.dataset_name}, {badge.scale} scale."
    )
    alt = f"A grid of synthesised images, a row a network, a column a class. What is read: {'; '.join(told)}."
    return grid(label, head, lines, caption, alt)


def missing(nets, models):
    """Which networks are not stored, as a sentence; "" where none is."""
    return not_there([m for m in models if m not in nets], "at this scale")


def published_claim():
    """What the paper shows, as a sentence."""
    shown = published.figures()
    figure = shown[shown.figure == "PGD_Attack_Invert_0"].shows.item()
    return Text(
        f"**Published** (arXiv 2401.11543, CIFAR-10): {figure[0].lower()}{figure[1:-1]}, and the differences"
        " from the clean image, rescaled. No number goes with them."
    )


def answer(verdict, badge):
    """The chapter's one-sentence answer from the verdict about the paper's way of drawing."""
    does = {"supported": "puts", "contradicted": "does not put", "undecided": "is not shown to put"}
    return Text(
        "**In one sentence.** Perturbations of several images are drawn with one scale, at the same budget"
        f" and at the same effect; the paper's way of drawing {does[verdict.networks]} the image itself into"
        f" the picture of its perturbation ({badge.dataset_name}, {badge.scale} scale)."
    )

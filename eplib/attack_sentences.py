"""What the pages about attacks say, composed from published curves, results and verdicts."""

import re

import numpy as np

from eplib import attack_verdicts, chapters, pictures, published_curves, verdicts
from eplib.checks import NORMS, amount
from eplib.sentences import Text

WORDS = {
    "supported": "keeps more images right than",
    "contradicted": "keeps fewer images right than",
    "undecided": "is not shown to differ from",
}
FAR = 2.0  # so many times a radius is no longer near where images break
COMPARABLE_WORDS = {
    "supported": "keeps as many images right as",
    "contradicted": "keeps clearly fewer images right than",
    "undecided": "is not shown to keep as many images right as",
}


def white_box_verdicts(found, norm, trained):
    """{(rival, claim): Verdict} under PGD, where the published curves are furthest apart: does the EP-CNN
    lead the CNN and the ViT ("leads"), is it comparable to the adversarially trained network `trained`
    ("comparable")? Rivals without results are left out.

    found: {model: [Result, one a seed]} of `chapters.stored`.
    """
    rivals = {"cnn": "cnn", "vit-8": "vit", trained: trained}
    said = {}
    for model, key in rivals.items():
        if model not in found:
            continue
        ep, other = chapters.paired(found, "ep-cnn", model)
        if model == trained:
            target = attack_verdicts.published_lead(norm, key, "ep-cnn")[0]
            said[model, "comparable"] = attack_verdicts.comparable(ep, other, norm, target, rival_name(model))
        else:
            target = attack_verdicts.published_lead(norm, "ep-cnn", key)[0]
            said[model, "leads"] = verdicts.leads(ep, other, norm, target, rival_name(model))
    return said


def rival_name(model):
    """A model as a sentence names it after "the"."""
    trained = re.fullmatch(r"cnn-at-(l2|linf)-(.+)", model)
    if trained:
        norm, epsilon = trained.groups()
        return f"CNN trained against {NORMS[norm]} {epsilon}{'/255' if norm == 'linf' else ''}"
    return pictures.name(model)


def white_box_answer(said, badge):
    """The answer of the page in one sentence. said: {norm: `white_box_verdicts`}."""
    parts = []
    for norm, found in said.items():
        clauses = [
            f"{(WORDS if claim == 'leads' else COMPARABLE_WORDS)[v.networks]} the {rival_name(model)}"
            for (model, claim), v in found.items()
        ]
        parts.append(f"in {NORMS[norm]} it {', '.join(clauses)}")
    return Text(
        "**In one sentence.** Where the published curves are furthest apart, ours under PGD:"
        f" {'; '.join(parts)} ({badge.dataset_name}, {badge.scale} scale)."
    )


def slopes(found, radii, norm):
    """Where half of the images that are right without an attack are broken, beside the median first-order
    radius, in words; "" where no radius is known. found: {model: [Result, one a seed]}. radii: {model: of
    `chapters.radii`}.
    """
    sides = {"far to the left of": [], "near": [], "far to the right of": []}
    for model in (m for m in found if m in radii):
        half, at = half_broken(found[model]), amount(norm, radii[model])
        if half is None:
            continue
        ratio = radii[model] / half
        side = "near" if 1 / FAR < ratio < FAR else f"far to the {'left' if ratio > 1 else 'right'} of"
        sides[side].append(f"{rival_name(model)} {amount(norm, half)} (◇ {at})")
    told = "; ".join(f"{side} the diamond: {', '.join(models)}" for side, models in sides.items() if models)
    left = (
        " Far to the left, the linear estimate is much too large: the gradient at the image itself is"
        " unrepresentatively small, as it is where units are saturated."
    )
    far = left if sides["far to the left of"] else ""
    return Text(
        f"**Against the slope.** The {NORMS[norm]} ε at which half of the right images are broken, beside the"
        f" first-order radius ◇ (a factor of {FAR:g} or more is far): {told}.{far}"
        if told
        else ""
    )


def half_broken(results):
    """The ε at which half of the images that are right without an attack are broken, interpolated over log ε,
    the mean accuracy over seeds; None outside of the measured ε.
    """
    half = 0.5 * np.mean([r.correct_clean.mean() for r in results])
    x, y = np.log(results[0].epsilons), np.mean([r.correct.mean(1) for r in results], 0)
    if not y[-1] <= half <= y[0]:
        return None
    return float(np.exp(np.interp(-half, -y, x)))


def published_claims(norm):
    """What the paper's own numbers say where its EP-CNN leads, and where it falls behind, in words."""
    trained = [m for m in published_curves.curves(attack_verdicts.FIGURES[norm]) if m.startswith("cnn-at")]
    pairs = [("ep-cnn", "cnn"), ("ep-cnn", "vit"), *((rival, "ep-cnn") for rival in trained)]
    lines = []
    for ahead, behind in pairs:
        epsilon, *both = attack_verdicts.published_lead(norm, ahead, behind)
        found = dict(zip((ahead, behind), both, strict=True))
        rival = behind if ahead == "ep-cnn" else ahead
        title, at = published_curves.name(rival), amount(norm, epsilon)
        lines.append(f"EP-CNN {found['ep-cnn']:.1%} and {title} {found[rival]:.1%} at ε = {at}")
    return Text(
        f"**Published** (arXiv 2401.11543, CIFAR-10, PGD {NORMS[norm]}), where each pair of curves is"
        f" furthest apart: {'; '.join(lines)}."
    )


def cifar100_claims(figures):
    """What the published CIFAR-100 curves say where an adversarially trained CNN leads the EP-CNN most, and
    where the EP-CNN leads it most, in words. figures: names of `published_curves` that show both.
    """
    lines = []
    for figure in figures:
        found, rival = published_curves.of(figure), "cnn-at-l2-0.5"
        norm = found.axes.norm
        behind = attack_verdicts.published_lead(norm, rival, "ep-cnn", figure)
        ahead = attack_verdicts.published_lead(norm, "ep-cnn", rival, figure)
        lines.append(
            f"{found.title}: EP-CNN {behind[2]:.1%} and {published_curves.name(rival)} {behind[1]:.1%} at ε ="
            f" {amount(norm, behind[0])}, {ahead[1]:.1%} and {ahead[2]:.1%} at ε = {amount(norm, ahead[0])}"
        )
    return Text(
        "**Published** (arXiv 2401.11543, CIFAR-100), where the two curves are furthest apart either way: "
        + "; ".join(lines)
        + "."
    )


def cifar100_answer(shown, found):
    """The answer of the page on CIFAR-100 in one sentence: which networks of ours there are. found: {model:
    [Result]} of what is shown, or {}.
    """
    if not found:
        return Text(
            "**In one sentence.** This project has no CIFAR-100 network yet, so this page shows the published"
            " curves and says nothing about ours; the campaign lists what is missing."
        )
    networks = ", ".join(pictures.name(m) for m in found)
    return Text(
        f"**In one sentence.** The published CIFAR-100 curves beside ours ({networks}; {shown.scale} scale);"
        " verdicts are on the pages of the single attacks."
    )

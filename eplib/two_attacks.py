"""One image under PGD and under Carlini and Wagner's attack: the most loss within a budget, and the smallest
change.
"""

import html
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from eplib import attacks, chapters, data, minimal_norm
from eplib.checks import strength
from eplib.pictures import COLOURS, draw, name
from eplib.sentences import Html
from eplib.verdicts import PAPER_DATASETS

BUDGET = 1.0  # the ℓ2 ε that most papers quote
PAPERS = 7  # place in the original test files of the image in the paper's pictures, of CIFAR-10


@dataclass(frozen=True)
class Specimen:
    """One image under both attacks.

    made: {model: of `copies`}. classes: names. which: which image it is, a sentence. epsilon: of PGD.
    """

    made: dict
    classes: tuple
    which: str
    epsilon: float


def specimen(shown, found, pgd):
    """The `Specimen` that the page shows of the first network of every model: test image 7 of the original
    files, as in the paper's pictures, where the source of the images knows it, all these networks get it
    right and C&W breaks it; else the first such image in canonical order. None where there is none.

    found, pgd: {model: [Result, one a seed]} of "carlini-wagner" and "pgd-l2".
    """
    first = [results[0] for results in found.values()]
    norms = np.stack([r.arrays["minimal_norm"] for r in first])
    settings = next(iter(pgd.values()))[0].settings
    epsilon = min(settings["epsilons"], key=lambda e: abs(e - BUDGET))
    test = data.load(shown.dataset, "test")
    nets = {model: chapters.networks(shown, model)[0].net for model in found}
    known = [] if test.official is None else (test.official == PAPERS).nonzero()[:, 0].tolist()
    broken = first[0].image_ids[((norms > 0) & np.isfinite(norms)).all(0)].tolist()
    for i in [*known, *(i for i in broken if i not in known)]:
        image, y = data.as_float(test.images[[i]])[0], int(test.labels[i])
        size = settings["attack_steps"], first[0].settings["sizes"]
        made = {model: copies(net, image, y, epsilon, *size) for model, net in nets.items()}
        if all(m["image"][1] == y and "C&W" in m for m in made.values()):
            return Specimen(made, test.classes, _which(test, known, i, list(nets)), epsilon)
    return None


def _which(test, known, i, models):
    """Which image it is, and whether it is the paper's, as a sentence."""
    title = chapters.DATASET_NAMES[test.name]
    if i in known:
        own = "the one" if test.name in PAPER_DATASETS[:1] else "at the place of the one"
        return f"Test image {PAPERS} of the original files of {title}, {own} in the paper's pictures."
    reason = (
        "of these networks one gets that wrong or C&W does not break it"
        if known
        else "the source of these images does not say which that is"
    )
    return (
        f"Test image {i} of {title} in this project's canonical order, the first that"
        f" {' and '.join(map(name, models))} get right and C&W breaks, a substitute for test image {PAPERS}"
        f" of the original files in the paper's pictures: {reason}."
    )


def copies(net, image, label, epsilon, steps, sizes):
    """{"image", "PGD", "C&W"}: (copy [C, H, W], class, cross-entropy with the true label, ℓ2 length of the
    change) of an image [C, H, W]: PGD of `steps` steps within the ℓ2 `epsilon`, C&W with `sizes`, which has
    no entry where it finds nothing. Raises InputError for bad input.
    """
    model, x, y = attacks.AttackedModel(net), image[None], torch.as_tensor([int(label)])
    plan = (sizes["searches"], sizes["steps"], sizes["constant"])
    found = minimal_norm.carlini_wagner(model, x, y, *plan)
    made = {"image": x, "PGD": attacks.pgd(model, x, y, attacks.ThreatModel("l2", epsilon), steps)}
    made |= {"C&W": found.adversarial} if np.isfinite(found.norm[0]) else {}
    described = {}
    for attack, z in made.items():
        with torch.no_grad():
            logits = model(z)
        loss, length = float(F.cross_entropy(logits, y)), float((z - x).norm())
        described[attack] = z[0], int(logits.argmax()), loss, length
    return described


def figure(label, shown, badge):
    """A `Specimen`, its copies and their changes as a `Picture`, a row a network."""
    made, classes = shown.made, shown.classes

    def plot(axes):
        for line, (model, copy) in zip(axes, made.items(), strict=True):
            original, cells = copy["image"][0], []
            for attack, (image, guess, loss, length) in copy.items():
                cells.append((image, f"{attack}: {classes[guess]}\nloss {loss:.3g}, ℓ2 {length:.3g}"))
                if attack != "image":
                    factor = 0.5 / (image - original).abs().max().clamp(min=1e-12)
                    cells.append((0.5 + factor * (image - original), f"change by {attack}\n× {factor:.3g}"))
            for ax, (image, title) in zip(line, cells, strict=True):
                ax.imshow(image.permute(1, 2, 0).numpy(), cmap="gray", vmin=0, vmax=1)
                ax.set(xticks=[], yticks=[])
                ax.grid(False)
                ax.set_title(title, fontsize=9)
            line[0].set_ylabel(name(model), color=COLOURS[model])

    caption = (
        f"How to read it: a row is a network. PGD spends its budget, {strength('l2', shown.epsilon)}, to make"
        " the loss large; C&W makes the change small as long as the class has changed. Grey is no change;"
        f" each change is multiplied until it fills the range. {shown.which} Networks of {badge.scale} scale."
    )
    told = "; ".join(
        f"{name(model)}, {attack}: {classes[guess]}, loss {loss:.3g}, ℓ2 {length:.3g}"
        for model, copy in made.items()
        for attack, (_, guess, loss, length) in copy.items()
    )
    alt = f"One image, its attacked copies and their changes. {told}."
    return draw(label, (len(made), 5), plot, caption, alt, width=10.4, height=2.6 * len(made))


def question(label, shown, found, badge):
    """The folded question that ends the page, answered on one image: a `Specimen`, or None. found: {model:
    [Result of "carlini-wagner", one a seed]}, whose networks are named where there is none.
    """
    if shown is None:
        n = len(next(iter(found.values()))[0].image_ids)
        names = " and ".join(map(name, found))
        on_one = f"None of the first {n} test images is right in {names} and broken by C&W."
        drawn = ""
    else:
        on_one = " ".join(_compared(model, copy) for model, copy in shown.made.items())
        on_one = f"On the image below, {on_one}"
        drawn = figure(label, shown, badge)._repr_html_()
    return Html(
        '<details class="eplib-question"><summary>PGD and C&amp;W both break images. Do they test the same'
        " thing?</summary>"
        "<p>No. PGD asks how much loss fits within a budget: it goes on climbing after the class has changed"
        " and ends in an image that is confidently wrong, as long a change as is allowed. C&amp;W asks how"
        " small a change suffices: it weighs its length against the lead of the true class and ends close to"
        " the boundary, where two classes are almost as likely. A network whose loss grows quickly beyond its"
        " boundary looks no worse to C&amp;W; one whose loss is flat although its boundary is near can look"
        " better to PGD than it is.</p>"
        f"<p>{html.escape(on_one)}</p>{drawn}</details>"
    )


def _compared(model, copy):
    """What the two copies of one network say, as a sentence."""
    (_, _, high, long), (_, _, low, short) = copy["PGD"], copy["C&W"]
    changed = copy["PGD"][1] != copy["image"][1]
    return (
        f"PGD takes the loss of the {name(model)} to {high:.3g} with a change of ℓ2 length"
        f" {long:.3g}, which {'changes' if changed else 'does not change'} the class; C&W changes the class"
        f" with {short:.3g}, at a loss of {low:.3g}."
    )

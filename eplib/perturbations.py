"""What attacks draw: the perturbations that a page shows, of images chosen by rule, and how much of the
paper's way of showing them is the image itself.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch

from eplib import (
    chapters,
    checkpoints,
    conventions,
    data,
    minimal_norm,
    others,
    scales,
    semantics_changes,
    statistics,
)
from eplib.attacks import AttackedModel, ThreatModel, pgd, predicted
from eplib.models import JUDGE_SEED
from eplib.verdicts import LEVEL, judged

DRAWN = ("ep-cnn", "cnn", "cnn-at-l2-0.5", "vit-8", "twin-bptt", "cnn-plain-wd-3e-4")
SYNTHESISED = ("ep-cnn", "cnn", "vit-8", "cnn-at-l2-0.5")
BUDGET = 1.0  # ℓ2, in pixels of [0, 1]
COLUMNS = (0.49, 0.77, 1.0, 1.21, 1.9, 3.0)  # ℓ2 ε of the paper's picture
STEPS = 20  # of PGD, as published
COUNT = 8  # images at most
BEYOND = 0.003  # the share of the changes that a row's colours do not tell apart, lest one decide the scale
AMONG = 64  # test images that the verdict looks at
UNCLIPPED = replace(conventions.CORRECTED, clip=False)


@dataclass(frozen=True)
class Row:
    """One network's attack on all images shown. adversarial, change: [n, C, H, W]. answers: classes, int64
    [n]. lengths: ℓ2, [n].
    """

    model: str
    adversarial: torch.Tensor
    change: torch.Tensor
    answers: torch.Tensor
    lengths: torch.Tensor

    @property
    def scale(self):
        """What the row's colours end at: all but `BEYOND` of the changes of a pixel are smaller."""
        return torch.quantile(self.change.abs().flatten(), 1 - BEYOND).item()


def networks(shown, models=DRAWN):
    """{model: AttackedModel} of the first seed shown: EP-CNN, CNN, networks of others (of each name the first
    given), and what else is stored.
    """
    found = {}
    for model in models:
        stored = checkpoints.find(shown.scale, model, shown.dataset, shown.seeds[0])
        if stored or model in ("ep-cnn", "cnn", *others.names()):
            found[model] = AttackedModel(chapters.networks(chapters.first_seed(shown), model)[0].net)
    return found


def judge(shown):
    """The judge trained in ℓ2, which no attack has seen, or None where it is not stored."""
    path = checkpoints.find(shown.scale, "judge-l2", shown.dataset, JUDGE_SEED)
    return AttackedModel(checkpoints.load(path).net) if path else None


def chosen(nets, test, among=500):
    """(images [n, C, H, W], labels, ids): of every class in turn the first test image in canonical order that
    all networks get right, of the first `COUNT` classes that have one among the first `among` images; where
    no class has one, the first `COUNT` images.
    """
    x, y = data.as_float(test.images[:among]), test.labels[:among]
    right = torch.ones(len(y), dtype=torch.bool)
    for net in nets.values():
        right[right.clone()] = predicted(net, x[right]) == y[right] if right.any() else True
    firsts = [(right & (y == c)).nonzero()[:1, 0] for c in range(len(test.classes))]
    ids = torch.cat([f for f in firsts if len(f)][:COUNT] or [torch.arange(COUNT)])
    return x[ids], y[ids], ids


def at_budget(nets, images, labels):
    """[Row]: untargeted PGD with the ℓ2 `BUDGET`."""
    threat = ThreatModel("l2", BUDGET)
    return [_row(m, net, images, pgd(net, images, labels, threat, STEPS)) for m, net in nets.items()]


def at_effect(nets, images, labels, steps):
    """[Row]: the smallest ℓ2 change that DDN finds for each network and image."""
    found = {m: minimal_norm.fast_minimum_norm(net, images, labels, "l2", steps) for m, net in nets.items()}
    return [_row(m, nets[m], images, minimal.adversarial) for m, minimal in found.items()]


def _row(model, net, images, adversarial):
    change = adversarial - images
    return Row(model, adversarial, change, predicted(net, adversarial), change.flatten(1).norm(dim=1))


def papers(nets, image, label):
    """[Row]: one image [C, H, W] at the paper's `COLUMNS`, by PGD that may leave [0, 1], as published."""
    x, rows = image[None].repeat(len(COLUMNS), 1, 1, 1), []
    for model, net in nets.items():
        made = [
            conventions.pgd(net, image[None], label.reshape(1), ThreatModel("l2", e), STEPS, UNCLIPPED)
            for e in COLUMNS
        ]
        rows.append(_row(model, net, x, torch.cat(made)))
    return rows


def rescaled(images):
    """Each image moved and stretched to fill [0, 1], as the paper's drawing does before it subtracts."""
    flat = images.flatten(1)
    low, high = (v[:, None, None, None] for v in (flat.min(1).values, flat.max(1).values))
    return (images - low) / (high - low).clamp(min=1e-12)


def as_published(images, adversarial):
    """The paper's picture of a change: |rescaled attacked image − rescaled image|, rescaled again."""
    return rescaled((rescaled(adversarial) - rescaled(images)).abs())


def likeness(pictures, images):
    """float [N]: absolute correlation over pixels of a picture with the image, both as the mean of their
    channels; 0 where one is constant.
    """
    a, b = (v.mean(1).double().flatten(1) for v in (pictures, images))
    a, b = (v - v.mean(1, keepdim=True) for v in (a, b))
    lengths = a.norm(dim=1) * b.norm(dim=1)
    return ((a * b).sum(1).abs() / lengths.clamp(min=1e-300)).numpy()


def synthesised(nets, steps):
    """{model: images [classes, C, H, W]}: what each network makes of grey for every class."""
    return {m: semantics_changes.synthesised(net, 1, steps)[0] for m, net in nets.items()}


def echoes(net, images, labels):
    """(drawn, plain), float [N] each: likeness to the image of the paper's picture of its change, and of the
    change itself, |x' − x|, over images that `net` gets right; PGD with the `BUDGET` that may leave [0, 1].
    """
    right = predicted(net, images) == labels
    x, y = images[right], labels[right]
    if not len(x):
        return np.zeros(0), np.zeros(0)
    z = conventions.pgd(net, x, y, ThreatModel("l2", BUDGET), STEPS, UNCLIPPED)
    return likeness(as_published(x, z), x), likeness((z - x).abs(), x)


def copied(drawn, plain, results):
    """Does the paper's way of drawing put the image into the picture of its perturbation? A `Verdict`.

    drawn, plain: of `echoes`. results: [Result] of the EP-CNN attacked, one a seed. Supported when the
    paper's picture is more like the image than the change itself (mean difference above 0, signed-rank p <
    0.05), contradicted when less, else undecided.
    """
    p = statistics.signed_rank(drawn, plain) if len(drawn) else 1.0
    ahead = float((drawn - plain).mean()) if len(drawn) else 0.0
    networks = "undecided" if p >= LEVEL or not ahead else "supported" if ahead > 0 else "contradicted"
    means = [f"{v.mean():.2f}" if len(v) else "–" for v in (drawn, plain)]
    sentence = (
        f"For these networks: {networks}, that the paper's way of drawing puts the image into the picture of"
        f" its perturbation. Over {len(drawn)} images the picture of the EP-CNN's perturbation correlates"
        f" with the image by {means[0]} when both are first stretched to [0, 1], and by {means[1]} when the"
        f" change is drawn as it is (absolute correlation over pixels, ℓ2 ε = {BUDGET:g}, signed-rank p"
        f" {p:.2g})."
    )
    return judged(
        networks,
        results,
        sentence,
        f"The word is supported when the stretched picture is more like the image with p < {LEVEL},"
        " contradicted"
        " when it is less.",
    )


def verdict(shown, results):
    """`copied` of the first seed's EP-CNN and the first `AMONG` test images, fewer at smoke."""
    net, test = networks(shown, ("ep-cnn",))["ep-cnn"], data.load(shown.dataset, "test")
    count = min(AMONG, scales.scale(shown.scale).attack.images)
    x, y = data.as_float(test.images[:count]), test.labels[:count]
    return copied(*echoes(net, x, y), results[:1])

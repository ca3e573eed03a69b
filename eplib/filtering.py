"""Does settling filter a small perturbation of the image? How far the states of an EP-CNN with and without
the perturbation are apart after T steps, over how far they were apart when it first arrived.
"""

import numpy as np
import torch

from eplib import attacks, uncertainty
from eplib.attacks import AttackedModel, predicted
from eplib.checks import InputError, check_labels
from eplib.corruptions import corrupt
from eplib.dynamics import settle
from eplib.network import EPCNN
from eplib.parts import in_parts
from eplib.state_space import length
from eplib.studies import Found, quartiles, share

ORDER = "synchronous"  # the paper's: news from the image climbs one layer a step
KINDS = ("random", "adversarial", "gaussian_blur", "fog")
SEVERITY = 3  # of the corruptions, whose change is then stretched to the wanted size
LEVELS = (1, 2, 4, 8, 16, 32, 64)  # sizes: the root mean square change of a pixel, in 255ths
PARTS = ("first layer", "state", "logits")
TINY = 1e-6  # a distance below this is rounding


def filtering(net, images, labels, sizes, folder=None, progress=True):
    """`Found` of how perturbations of an image change in an EP-CNN while it settles from zero, all layers at
    once in every step.

    Kinds: "random" (a Gaussian direction), "adversarial" (ℓ2 PGD on the network's own prediction at its own
    free phase), and the changes of two corruptions, stretched; each of root mean square size `LEVELS` / 255,
    then clipped to [0, 1]. sizes: lengths (steps, ascending), attack_steps, batch.

    Rows: accuracy (after the longest phase); for every kind (column attack), size (epsilon, root mean square)
    and length (predict_steps): moved, the median over images and quartiles of `shrinkage` of the whole state.
    Array moved float32 [kinds, sizes, 1 + lengths, parts, N]: ℓ2 distances of the first layer, of all states
    and of the logits, after one step and after every length. Array size float32 [kinds, sizes, N], ℓ2 after
    clipping. Raises InputError for bad input and for a network without a free phase.
    """
    if not isinstance(net, EPCNN):
        raise InputError("filtering of a network without a free phase: measure an energy-based network")
    net.check(images)
    check_labels(labels, images, net.classes)
    lengths = _checked(sizes["lengths"])

    def part(where):
        x = images[where]
        plain = after(net, x, (1, *lengths))
        moved, size = [], []
        for kind in KINDS:
            disturbed = [perturbed(net, x, where.start, kind, l, sizes) for l in LEVELS]
            size.append([(z - x).flatten(1).norm(dim=1).cpu().numpy() for z in disturbed])
            moved.append([apart(plain, after(net, z, (1, *lengths))) for z in disturbed])
        right = (plain[-1][1].argmax(1) == labels[where]).cpu().numpy()
        return {"moved": np.float32(moved), "size": np.float32(size), "right": right}

    done, seconds = in_parts(len(images), sizes["batch"], part, "filtering", folder, progress)
    right = done.pop("right")
    rows = [{"predict_steps": lengths[-1], "order": ORDER} | share("accuracy", torch.from_numpy(right))]
    for i, kind in enumerate(KINDS):
        for j, level in enumerate(LEVELS):
            for k, steps in enumerate(lengths):
                where = {"attack": kind, "norm": "l2", "epsilon": level / 255, "predict_steps": steps}
                values = shrinkage(done["moved"][i, j], "state", k)
                if len(values):
                    rows.append(where | {"order": ORDER} | quartiles("moved", torch.from_numpy(values)))
    return Found(rows, right, right[None], done, seconds)


def _checked(lengths):
    lengths = list(lengths)
    if not lengths or lengths != sorted(set(lengths)) or lengths[0] < 2:
        raise InputError(f"lengths {lengths} of the free phase: give steps from 2 up in ascending order")
    return lengths


def after(net, images, lengths):
    """[(states, logits)] after every one of ascending numbers of steps, in one run from zero."""
    found, states, before = [], None, 0
    for steps in lengths:
        end = settle(net, images, steps - before, ORDER, start=states)
        found.append((end.states, end.logits))
        states, before = end.states, steps
    return found


def apart(plain, disturbed):
    """float [T, parts, N]: distances of two runs of `after`, in the order of `PARTS`."""
    return torch.stack(
        [
            torch.stack([length(a[:1], b[:1]), length(a, b), (y - z).norm(dim=1)])
            for (a, y), (b, z) in zip(plain, disturbed, strict=True)
        ]
    ).cpu().numpy()  # fmt: skip


def perturbed(net, images, first, kind, level, sizes):
    """Images in [0, 1] with a perturbation of root mean square size level / 255 before clipping; what is
    random depends on the images' places, of which `first` is the first.
    """
    radius = level / 255 * images[0].numel() ** 0.5
    if kind == "adversarial":
        model = AttackedModel(net)
        threat = attacks.ThreatModel("l2", radius)
        return attacks.pgd(model, images, predicted(model, images), threat, sizes["attack_steps"])
    places = range(first, first + len(images))
    if kind == "random":
        change = uncertainty.directions(images.shape[1:], places, 1, seed=3)[0].to(images)
    else:
        change = corrupt(images, kind, SEVERITY, list(places)) - images
    norms = change.flatten(1).norm(dim=1).clamp_min(1e-12)
    return (images + (radius / norms).view(-1, 1, 1, 1) * change).clamp(0, 1)


def shrinkage(moved, part, place):
    """[M]: the distance after the length of a place over that when the perturbation first arrived, of the
    images where it arrived. moved: [1 + lengths, parts, N] of one kind and size.

    The state and the first layer hear from the image in the first step; logits after the first of the
    lengths.
    """
    moved = moved[:, PARTS.index(part)]
    first = moved[1] if part == "logits" else moved[0]
    arrived = first > TINY
    return moved[1 + place][arrived] / first[arrived]

"""The explorer *Game*: one question about two pictures, again and again. Both are the same test image,
attacked towards the same other class, once on the EP-CNN and once on a rival; a player who is not told which
is which says which looks more like that class.

A *pair* is three frames: what is shown on the left and on the right, and the image as it is.
"""

import numpy as np
import torch

from eplib import data, explorers, semantics_figures
from eplib.corruption_explorer import COLUMNS, sheet
from eplib.pictures import name
from eplib.semantics_changes import Setting, attacked, targets
from eplib.semantics_comparisons import common

RIVALS = ("cnn", "cnn-at-l2-0.5")
COUNT = 50  # pairs at most
SEED = 0  # of the order of images, their rivals and the sides


def game(shown, found, nets):
    """The explorer of found, {model: [Result of "semantics"]}, and nets, {model: AttackedModel}, of the first
    seed: the EP-CNN and those of `RIVALS` that are in both, attacked towards the measurement's targets with
    its largest ℓ2 budget. shown: `chapters.Shown` of their scale and data set.
    """
    nets = {m: nets[m] for m in ("ep-cnn", *RIVALS) if m in nets and m in found}
    results = [found[m][0] for m in nets]
    right, sizes = common(results), results[0].settings["sizes"]
    ids = torch.as_tensor(results[0].image_ids)
    test = data.load(shown.dataset, "test")
    wanted = targets(test.labels[ids], len(test.classes))
    places = np.flatnonzero(right)[:COUNT] if right.any() else np.arange(len(ids))[:COUNT]
    setting = Setting("budget", max(sizes["epsilons"]), "targeted", "attack")
    given = page_data(nets, test, ids[places], wanted[places], setting, sizes["steps"])
    which = "the first that all of these networks get right" if right.any() else "the first, right or not"
    rivals = " or ".join(name(m) for m in list(nets)[1:])
    caption = (
        "How to use it: choose the picture that looks more like the class asked for, by click or touch, or"
        " with ← and → once the figure has the focus; Enter goes on. Both pictures are one test image,"
        f" attacked towards that class, once on the EP-CNN and once on a rival ({rivals}); which is which is"
        " said after the choice. Guessing gives 50\u00a0%. The intervals are Wilson's; they hold for a number"
        " of pairs fixed beforehand, not for stopping when the score is liked. PGD of"
        f" {sizes['steps']} steps within [0, 1], ℓ2 ε = {setting.amount:g}: the largest budget measured on"
        " this page, as shorter changes are harder to see. The images: of those measured,"
        f" {which}. Order, rivals and sides were drawn once (seed {SEED}); every rival has the same number of"
        " pairs and either side the EP-CNN's picture equally often, up to one. Whoever has seen some answers"
        " may know a network by its style, so later pairs are less blind. The choices are kept in"
        " the address of the page and nowhere else: nobody's answers are collected, and nothing in this book"
        " rests on them."
    )
    return explorers.embed("game", given, caption)


def page_data(nets, test, ids, wanted, setting, steps):
    """All that game.js shows of test images and the classes [N] that they are attacked towards, ready for
    JSON. nets: {model: AttackedModel}, the EP-CNN first, then rivals. setting: of the attacks. steps: of PGD.
    """
    images, labels = data.as_float(test.images[ids]), test.labels[ids]
    order, rivals, sides = (torch.from_numpy(v) for v in drawn(len(ids), len(nets) - 1))
    x, y, t = images[order], labels[order], wanted[order]
    ep, *others = nets.values()
    first = attacked(ep, x, y, t, setting, steps, None)
    second = torch.empty_like(first)
    for rival, net in enumerate(others):
        rows = rivals == rival
        second[rows] = attacked(net, x[rows], y[rows], t[rows], setting, steps, None)
    left = (sides == 0)[:, None, None, None]
    frames = torch.stack([torch.where(left, first, second), torch.where(left, second, first), x], 1)
    columns = zip(ids[order], y, t, rivals, sides, strict=True)
    keys = ("id", "label", "target", "rival", "side")
    return {
        "models": [{"name": name(m), "colour": c} for m, c in semantics_figures.colours(list(nets)).items()],
        "classes": list(test.classes),
        "side": test.images.shape[-1],
        "columns": COLUMNS,
        "sheet": sheet((frames.flatten(0, 1) * 255).round().byte().numpy()),
        "pairs": [dict(zip(keys, map(int, pair), strict=True)) for pair in columns],
    }


def drawn(count, rivals):
    """(order, rivals, sides), int64 [count] each, always the same: a permutation of images, and for every
    pair in turn a rival and the side of the EP-CNN, 0 for left. Rivals are equally frequent, and so are the
    sides, with every rival and in all, up to one.
    """
    random = np.random.default_rng(SEED)
    order, slots = random.permutation(count), random.permutation(count)
    rival = slots % rivals
    return order, rival, (slots // rivals + rival) % 2

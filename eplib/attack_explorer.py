"""The explorer *Attack*: a few test images attacked at every measured ε with each network's own gradient, and
what each network says of them.

A *frame* is an image as one network gets it at one ε: ε outside, networks inside. The first ε is 0.
"""

import os
from dataclasses import replace
from numbers import Real

import numpy as np
import torch

from eplib import chapters, data, explorers, panels, scales, specimens
from eplib.attacks import AttackedModel, ThreatModel, pgd
from eplib.checks import NORMS, InputError, amount
from eplib.corruption_explorer import COLUMNS, sheet
from eplib.pictures import name

COUNT = 6  # images in a page


def attack(shown, models, norm):
    """The explorer of the first network of each of `models` under PGD in `norm`: in a page a figure that
    holds everything, in JupyterLab a widget that attacks any test image with any ε in either norm. shown:
    `chapters.Shown`.
    """
    size, test = scales.scale(shown.scale).attack, data.load(shown.dataset, "test")
    ids = specimens.examples(shown, models, norm, COUNT)["ids"].tolist()
    nets = {
        m: AttackedModel(chapters.networks(replace(shown, seeds=shown.seeds[:1]), m)[0].net) for m in models
    }
    entries = attacked(nets, test, ids, norm, size.epsilons[norm], size.steps)
    given = page_data(nets, test, entries)
    caption = (
        "How to use it: move ε, or point at the plot, and watch where each network's answer (✓ right, ✗"
        " wrong, with its confidence) turns; every network is attacked with its own gradient, by PGD of"
        f" {size.steps} steps, so the pictures differ too. The plot is the probability of the true class. At"
        " first that image and ε are shown at which nearest to half of the networks are fooled, of the images"
        " that most networks get right as they are. With “guess first” you say where each network breaks"
        f" before it is shown. Networks of {shown.scale} scale, seed {shown.seeds[0]}."
    )
    if os.environ.get("EPLIB_STATIC") == "1":
        return explorers.embed("attack", given, caption)
    return live(nets, test, given, caption, size.steps)


def attacked(nets, test, ids, norm, epsilons, steps):
    """What attack.js shows of test images under PGD of `steps` steps in `norm`, ready for JSON, an entry an
    image: its id and label, every ε (0 first) as a number and in words, all frames in one picture, and for
    every network and ε the answer [class, probability] and the probability of the true class.

    nets: {model: AttackedModel}.
    """
    x, y = data.as_float(test.images[ids]), test.labels[ids]
    epsilons = [0.0, *(e for e in epsilons if e > 0)]
    frames = [[pgd(net, x, y, ThreatModel(norm, e), steps) for net in nets.values()] for e in epsilons]
    with torch.no_grad():
        chances = [[net(z).softmax(1) for net, z in zip(nets.values(), of, strict=True)] for of in frames]
    chances = torch.stack([torch.stack(of) for of in chances]).permute(2, 1, 0, 3)  # image, network, ε, class
    frames = torch.stack([torch.stack(of) for of in frames]).permute(2, 0, 1, 3, 4, 5)
    pixels = (frames * 255).round().byte().numpy()
    return [
        {
            "id": int(i),
            "label": int(y[k]),
            "norm": norm,
            "epsilons": [float(f"{e:.4g}") for e in epsilons],
            "words": [amount(norm, e) if e else "0" for e in epsilons],
            "sheet": sheet(pixels[k].reshape(-1, *pixels.shape[3:])),
            "answers": [_answers(of) for of in chances[k]],
            "truth": [[round(float(p), 3) for p in of[:, y[k]]] for of in chances[k]],
        }
        for k, i in enumerate(ids)
    ]


def _answers(chances):
    best = chances.max(1)
    return [[c, round(p, 3)] for c, p in zip(best.indices.tolist(), best.values.tolist(), strict=True)]


def page_data(nets, test, entries):
    """All that attack.js shows, ready for JSON."""
    right = np.array([[[c == e["label"] for c, _ in of] for of in e["answers"]] for e in entries])
    place, epsilon = opening(right, np.array([e["truth"] for e in entries]))
    tints = panels.tints(nets)
    return {
        "models": [{"name": name(m), "colour": tints[m]} for m in nets],
        "norms": NORMS,
        "classes": list(test.classes),
        "last": len(test) - 1,
        "side": test.images.shape[-1],
        "columns": COLUMNS,
        "images": entries,
        "open": {"image": place, "epsilon": epsilon},
    }


def opening(right, truth):
    """(image, ε), places where a page opens, ε = 0 aside: of the images that most networks get right as they
    are, and of all ε, where nearest to half of these networks are fooled; of several, where the networks'
    probabilities of the true class lie furthest apart, then the first.

    right: bool [images, networks, ε], 0 first. truth: the probabilities.
    """
    able = right[:, :, :1]
    fooled = (able & ~right[:, :, 1:]).sum(1) / np.maximum(1, able.sum(1))
    apart = np.ptp(truth[:, :, 1:], axis=1).round(9)
    keys = (np.broadcast_to(-able.sum(1), fooled.shape), abs(fooled - 0.5).round(9), -apart)
    best = np.lexsort([k.ravel() for k in reversed(keys)])[0]
    image, epsilon = np.unravel_index(best, fooled.shape)
    return int(image), int(epsilon) + 1


def live_cell(nets, test, wanted, steps):
    """The entry (see `attacked`) of what attack.js asks for, {"image", "norm", "epsilon"}. Raises InputError
    for what is no image of `test`, no norm or cannot be an ε.
    """
    image, norm, epsilon = (wanted.get(key) for key in ("image", "norm", "epsilon"))
    image = explorers.within("image", image, len(test))
    if not isinstance(epsilon, Real) or isinstance(epsilon, bool):
        raise InputError(f"ε = {epsilon!r}: give a number, in pixel units of [0, 1]")
    ThreatModel(norm, epsilon)
    return attacked(nets, test, [image], norm, [epsilon], steps)[0]


def live(nets, test, given, caption, steps):
    """The widget of `page_data`. Its trait `wanted`, {"image", "norm", "epsilon"}, is answered in `cell`
    (`live_cell`), or where it is refused with a sentence in `message`.
    """
    return explorers.answering("attack", given, caption, lambda wanted: live_cell(nets, test, wanted, steps))

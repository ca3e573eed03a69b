"""The explorer *Gallery*: what attacks make of a few images, image × network × length × target, and what the
network and a judge that never saw the attack say of the result.

A *frame* is an image as it is (the first) or attacked: networks outside, then targets (the image's own class
stands for no target), lengths inside.
"""

import torch

from eplib import conventions, data, explorers, perturbations
from eplib.attacks import ThreatModel, pgd
from eplib.corruption_explorer import COLUMNS, sheet
from eplib.pictures import name
from eplib.semantics_changes import towards

MODELS = ("ep-cnn", "cnn", "vit-8", "cnn-at-l2-0.5")
LENGTHS = (0.5, 1.0, 2.0, 3.0)  # ℓ2, in pixels of [0, 1]
COUNT = 3  # images


def gallery(shown, nets, judge):
    """The explorer of `perturbations.networks`, of which those of `MODELS` are shown, and a judge or None, on
    the first `COUNT` of the page's images.
    """
    nets, test = {m: nets[m] for m in MODELS if m in nets}, data.load(shown.dataset, "test")
    images, labels, ids = (found[:COUNT] for found in perturbations.chosen(nets, test))
    entries = [
        image_data(nets, judge, x, int(y), int(i)) for x, y, i in zip(images, labels, ids, strict=True)
    ]
    caption = (
        "How to use it: choose an image, a network, the class that the attack aims at, and how long the"
        " change may be. First the image, then the change (grey is none; its colours end at the number"
        " below), then what the attack made of the image, and what the attacked network and"
        f" {'a robust judge' if judge else 'no judge'} say of it, with their probabilities. PGD of"
        f" {perturbations.STEPS} steps within [0, 1]; all of it was computed when the page was built. The"
        " images: of every class in turn the first test image that these networks get right, the first"
        f" {len(entries)} of them. At first an image and a target are shown that the judge (without one, the"
        " attacked network) sees in the pictures of about half of the networks."
    )
    return explorers.embed("gallery", page_data(nets, judge, test, entries), caption)


def attacked(net, image, label, classes):
    """[classes, lengths, C, H, W]: an image attacked towards every class, and for its own away from it."""
    x, y = image[None].repeat(classes, 1, 1, 1), torch.arange(classes)
    made = []
    for length in LENGTHS:
        threat = ThreatModel("l2", length)
        z = conventions.pgd(net, x, y, threat, perturbations.STEPS, conventions.CORRECTED, loss=towards)
        z[label] = pgd(net, image[None], y[[label]], threat, perturbations.STEPS)[0]
        made.append(z)
    return torch.stack(made, 1)


@torch.no_grad()
def image_data(nets, judge, image, label, id):
    """What gallery.js shows of one image, ready for JSON: its id, its label, all frames in one picture, and
    by frame [class, probability] of the attacked network and of the judge. As it is, the first network's.
    """
    frames, answers, judged = [image[None]], [], []
    for net in nets.values():
        made = attacked(net, image, label, net.net.classes).flatten(0, 1)
        frames.append(made)
        answers += said(net, made)
    frames = torch.cat(frames)
    answers.insert(0, said(next(iter(nets.values())), image[None])[0])
    judged = said(judge, frames) if judge else []
    pixels = (frames * 255).round().byte().numpy()
    return {"id": id, "label": label, "sheet": sheet(pixels), "answers": answers, "judged": judged}


def said(net, images):
    """[[class, probability]] of images."""
    best = net(images).softmax(1).max(1)
    return [[c, round(p, 3)] for c, p in zip(best.indices.tolist(), best.values.tolist(), strict=True)]


def page_data(nets, judge, test, entries):
    """All that gallery.js shows, ready for JSON."""
    return {
        "models": [{"key": m, "name": name(m)} for m in nets],
        "judge": "the judge" if judge else "",
        "classes": list(test.classes),
        "lengths": list(LENGTHS),
        "side": test.images.shape[-1],
        "columns": COLUMNS,
        "images": entries,
        "open": opening(entries, len(nets), len(test.classes)),
    }


def opening(entries, networks, classes):
    """{"image", "network", "target", "length"}, places where a page opens: the largest length, and of all
    images and targets those in which nearest to half of the networks' pictures are seen as the target by the
    judge, so that networks differ; of several the one with the most certain such picture, which is shown.
    Without a judge, or where it sees no target, what the attacked networks say is taken.
    """
    for told in ("judged", "answers"):
        found = [
            (abs(sum(p > 0 for p in sure) / networks - 0.5), -max(sure), i, target, sure.index(max(sure)))
            for i, entry in enumerate(entries)
            for target in range(classes)
            if target != entry["label"]
            for sure in [_seen(entry[told], networks, classes, target)]
            if max(sure) > 0
        ]
        if found:
            _, _, image, target, network = min(found)
            return {"image": image, "network": network, "target": target, "length": len(LENGTHS)}
    target = (entries[0]["label"] + 1) % classes
    return {"image": 0, "network": 0, "target": target, "length": len(LENGTHS)}


def _seen(told, networks, classes, target):
    """By network, the probability of a target as [class, probability] of all frames tell it at the largest
    length, 0 where another class is the answer.
    """
    places = [(n * classes + target + 1) * len(LENGTHS) for n in range(networks)]
    return [told[p][1] if told and told[p][0] == target else 0 for p in places]

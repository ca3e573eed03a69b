"""Adversarial images that are made on one network and shown to another."""

import numpy as np
import torch

from eplib import suite
from eplib.attacks import AttackedModel, ThreatModel, predicted
from eplib.checks import InputError, check_labels
from eplib.parts import in_parts
from eplib.studies import Found, share

ANY = "any of them"  # the name of all sources together


def transfer(net, images, labels, sizes, sources, folder=None, progress=True):
    """`Found` of PGD (`attacks.pgd`, true labels) on every source, as seen by the target `net`.

    An image survives a source at ε when `net` classifies it and the source's adversarial images of this and
    every smaller ε correctly; once broken it isn't made again. sizes: epsilons (ascending, pixel units of [0,
    1]), norm, steps, batch (images at a time). sources: {model name: network}; `net` itself may be one of
    them. folder: where finished parts are kept, see `parts.in_parts`. Rows: accuracy of `net` (Wilson
    interval) for every source (column other_model) and ε, and last against all sources together (`ANY`).
    Raises InputError for bad input and for sources that take other images or classes than `net`.
    """
    threats = [ThreatModel(sizes["norm"], e) for e in sizes["epsilons"]]
    if list(sizes["epsilons"]) != sorted(sizes["epsilons"]):
        raise InputError(f"epsilons {sizes['epsilons']}: give them in ascending order")
    if not sources:
        raise InputError("a transfer without sources: give at least one {model name: network}")
    net.check(images)
    check_labels(labels, images, net.classes)
    for name, source in sources.items():
        _check_alike(name, source, net, images)
    target, attacked = AttackedModel(net), [AttackedModel(source) for source in sources.values()]

    def part(rows):
        x, y = images[rows], labels[rows]
        for model in (target, *attacked):
            suite.check_model(model, x)
        clean = predicted(target, x) == y
        right = [_survivors(target, source, x, y, clean, threats, sizes["steps"]) for source in attacked]
        right.append(torch.stack(right).all(0))
        return {"clean": clean.cpu().numpy(), "correct": torch.cat(right).cpu().numpy()}

    def running(done):
        return f"ε = {threats[-1].epsilon:.3g}: {done['correct'][-1].mean():.3f} right"

    words = f"transfer {sizes['norm']}"
    done, seconds = in_parts(len(images), sizes["batch"], part, words, folder, progress, running)
    where = {"attack": "transfer", "norm": sizes["norm"], "labels": "true", "attack_steps": sizes["steps"]}
    where |= {"predict_steps": target.steps, "order": target.order}
    places = [{"other_model": s, "epsilon": t.epsilon} for s in (*sources, ANY) for t in threats]
    rows = [
        where | place | share("accuracy", torch.from_numpy(np.ascontiguousarray(right)))
        for place, right in zip(places, done["correct"], strict=True)
    ]
    return Found(rows, done["clean"], done["correct"], seconds=seconds)


def _check_alike(name, source, net, images):
    """Raise InputError unless a source takes the target's images and has its classes."""
    try:
        source.check(images)
    except InputError as error:
        raise InputError(f"source {name!r} cannot attack this network's images: {error}") from error
    if source.classes != net.classes:
        raise InputError(
            f"source {name!r} has {source.classes} classes: give sources with the network's {net.classes}"
        )


def _survivors(target, source, images, labels, clean, threats, steps):
    """bool [E, N]: which images the target still gets right, of those that it gets right without attack."""
    alive, survivors = clean.clone(), []
    for threat in threats:
        if alive.any():
            x, y = images[alive], labels[alive]
            adversarial = suite.checked(source, x, y, threat, "pgd", steps, seed=0)  # which uses no seed
            alive[alive.clone()] = predicted(target, adversarial) == y
        survivors.append(alive.clone())
    return torch.stack(survivors)

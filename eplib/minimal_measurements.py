"""The smallest changes that break a network, as measurements: the rows of a result, by each attack of
`eplib.minimal_norm`.
"""

from dataclasses import replace

import numpy as np
import torch

from eplib import minimal_norm
from eplib.attacks import AttackedModel, ThreatModel
from eplib.checks import check_labels, one_of
from eplib.parts import in_parts
from eplib.studies import Found, quartiles, share


def carlini_wagner(net, images, labels, sizes, folder=None, progress=True):
    """`Found` of minimal ℓ2 changes by Carlini and Wagner (2017), see `minimal_norm.carlini_wagner`.

    sizes: searches (values of c), constant (the first of them), steps (of Adam for each), batch (images at a
    time), epsilons (ℓ2, pixel units of [0, 1]). folder: where finished parts are kept, see `parts.in_parts`.
    Rows: for every ε accuracy (share of images whose minimal norm is above ε, Wilson interval); then, over
    the images that are right without an attack and left out where there are none, minimal_norm (median, low
    and high the quartiles; inf where that many were not found) and found (share for which a change was
    found). Arrays: minimal_norm float32 [N], 0 for images that are wrong already, inf where nothing was
    found. Raises InputError for bad input.
    """

    def attack(model, x, y, start):
        return minimal_norm.carlini_wagner(model, x, y, sizes["searches"], sizes["steps"], sizes["constant"])

    return _measured("carlini-wagner", "l2", attack, net, images, labels, sizes, folder, progress)


def hop_skip_jump(net, images, labels, sizes, folder=None, progress=True):
    """`Found` of minimal changes by HopSkipJump (Chen et al. 2020), which sees decisions only.

    sizes: steps, batch, norm, epsilons (of that norm). The random numbers of a part depend on the place of
    its first image. Rows and arrays: of `carlini_wagner`, and model_calls (images passed through the network
    for every attacked image, the mean of its batch: median and quartiles).
    """

    def attack(model, x, y, start):
        return minimal_norm.hop_skip_jump(model, x, y, sizes["norm"], sizes["steps"], seed=start)

    return _measured("hop-skip-jump", sizes["norm"], attack, net, images, labels, sizes, folder, progress)


def fast_minimum_norm(net, images, labels, sizes, folder=None, progress=True):
    """`Found` of minimal changes by `minimal_norm.fast_minimum_norm`: "fmn" for ℓ∞, "ddn" for ℓ2.

    sizes: steps, batch, norm, epsilons (of that norm). Rows and arrays: of `hop_skip_jump`.
    """

    def attack(model, x, y, start):
        return minimal_norm.fast_minimum_norm(model, x, y, sizes["norm"], sizes["steps"])

    name = minimal_norm.FAST[one_of("norm", sizes["norm"], minimal_norm.FAST)]
    return _measured(name, sizes["norm"], attack, net, images, labels, sizes, folder, progress)


def _measured(name, norm, attack, net, images, labels, sizes, folder, progress):
    """`Found` of `attack(model, images, labels, place of the first)` -> Minimal, part by part."""
    epsilons = [ThreatModel(norm, e).epsilon for e in sizes["epsilons"]]
    net.check(images)  # all of them now, not in the last part after hours
    check_labels(labels, images, net.classes)
    model = AttackedModel(net)

    def part(rows):
        found = attack(model, images[rows], labels[rows], rows.start)
        calls = np.full(len(found.norm), found.calls, np.float32)
        return {"minimal_norm": np.float32(found.norm), "model_calls": calls}

    def running(done):
        right = done["minimal_norm"][done["minimal_norm"] > 0]
        if not len(right):
            return "none right"
        return f"median {norm} {quartiles('', torch.from_numpy(right))['value']:.3g}"

    done, seconds = in_parts(len(images), sizes["batch"], part, f"{name} {norm}", folder, progress, running)
    where = {
        "attack": name,
        "norm": norm,
        "gradient": "" if name == "hop-skip-jump" else model.gradient,
        "labels": "true",
        "attack_steps": sizes["steps"],
        "predict_steps": model.steps,
        "order": model.order,
    }
    return replace(_found(where, done["minimal_norm"], done["model_calls"], epsilons), seconds=seconds)


def _found(where, norms, calls, epsilons):
    """`Found` of minimal norms and model calls, both [N]."""
    clean, correct = norms > 0, norms > np.asarray(epsilons, float)[:, None]
    rows = [
        where | {"epsilon": epsilon} | share("accuracy", torch.from_numpy(right))
        for epsilon, right in zip(epsilons, correct, strict=True)
    ]
    if clean.any():
        rows.append(where | quartiles("minimal_norm", torch.from_numpy(norms[clean])))
        rows.append(where | share("found", torch.from_numpy(np.isfinite(norms[clean]))))
        if where["attack"] != "carlini-wagner":
            rows.append(where | quartiles("model_calls", torch.from_numpy(calls[clean])))
    return Found(rows, clean, correct, {"minimal_norm": norms})

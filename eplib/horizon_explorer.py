"""The explorer *Horizons*: the matrix of attack and prediction horizons with the images behind each cell."""

import base64
import os
from dataclasses import replace
from numbers import Real

from eplib import chapters, data, explorers, pictures, suite
from eplib import horizons as matrix
from eplib.attacks import ThreatModel
from eplib.checks import NORMS, InputError

LARGEST = 700_000  # bytes of perturbations in a page: as many images are shown as they allow


def horizons(shown, result):
    """The explorer of one network's `Result` of "horizons": in a page a figure that holds everything, in
    JupyterLab a widget that attacks the images with any ε. shown: `chapters.Shown` of its scale and data set.
    """
    s, test = result.settings, data.load(shown.dataset, "test")
    ids = result.image_ids[: _count(result)]
    images, labels = data.as_float(test.images[ids]), test.labels[ids]
    given = page_data(result, images, labels, test.classes)
    caption = (
        "How to use it: choose a cell by mouse, touch or arrow keys, and move ε; below are some of the images"
        " behind the cell, ✓ where the answer is right. An image counts where it is right without the attack"
        " and under it, in the worst case under all attacks. At first the cell is chosen that lies highest"
        f" above the worst case of its column. {pictures.name(s['model'])}, seed {s['seed']}."
    )
    if os.environ.get("EPLIB_STATIC") == "1":
        return explorers.embed("horizons", given, caption)
    (network,) = chapters.networks(replace(shown, seeds=(s["seed"],)), s["model"])
    return live(network.net, given, images, labels, result.settings["sizes"], caption)


def _count(result):
    """How many images are shown: fewer where the perturbations of all take more than `LARGEST` bytes."""
    changes = result.arrays["changes"]
    return max(1, min(changes.shape[2], LARGEST // changes[:, :, 0].size))


def page_data(result, images, labels, classes):
    """All that horizons.js shows, ready for JSON, of a `Result` of "horizons" and its first images [n, C, H,
    W] with their labels. classes: names.
    """
    sizes, s, count = result.settings["sizes"], result.settings, len(images)
    clean, right = matrix.outcomes(result)
    place, _ = matrix.widest_gap(result)
    return {
        "norm": NORMS[sizes["norm"]],
        "count": len(result.image_ids),
        "epsilons": [f"{e:.3g}" for e in sizes["epsilons"]],
        "attacks": [dict(zip(("short", "long"), matrix.words(*a), strict=True)) for a in sizes["attacked"]],
        "predictions": _predictions(sizes["predicted"], s["predict_steps"], s["order"]),
        "clean": clean.sum(1).tolist(),
        "right": right.sum(3).tolist(),
        "worst": right.all(1).sum(2).tolist(),
        "open": place,
        "classes": list(classes),
        "labels": labels.tolist(),
        "predicted_clean": result.arrays["predicted_clean"][:, :count].tolist(),
        "predicted": result.arrays["predicted"][..., :count].tolist(),
        "channels": images.shape[1],
        "side": images.shape[2],
        "originals": _encoded((images * 255).round().byte().numpy()),
        "changes": _encoded(result.arrays["changes"][:, :, :count]),
        "peaks": _rounded(result.arrays["peaks"][:, :, :count]),
    }


def _predictions(steps, own, order):
    found = [(str(t), f"{t} synchronous steps") for t in steps]
    found += [("own", f"its own {own} {order} steps"), ("rest", "the state has converged")]
    return [{"short": short, "long": long} for short, long in found]


def _encoded(array):
    """The bytes of an array, as text."""
    return base64.b64encode(array.tobytes()).decode()


def _rounded(values):
    """Nested lists of numbers with four digits."""
    return [_rounded(v) for v in values] if getattr(values, "ndim", 0) else float(f"{values:.4g}")


def live_cell(net, images, labels, sizes, epsilon, attack):
    """What horizons.js shows of images [n, C, H, W] attacked anew: with any `epsilon`, by the attack at this
    place of sizes["attacked"]. sizes: of `horizons.horizons`. Raises InputError for what cannot be an ε or is
    no such place.
    """
    if not isinstance(epsilon, Real):
        raise InputError(f"ε = {epsilon!r}: give a number, in pixel units of [0, 1]")
    threat = ThreatModel(sizes["norm"], epsilon)
    attack = explorers.within("attack", attack, len(sizes["attacked"]))
    model = matrix.attacker(net, *sizes["attacked"][attack])
    adversarial = suite.checked(model, images, labels, threat, "pgd", sizes["steps"], seed=0)
    classes, _ = matrix.predictions(net, adversarial, sizes["predicted"])
    codes, peaks = matrix.encoded(adversarial - images)
    return {
        "epsilon": epsilon,
        "attack": attack,
        "changes": _encoded(codes.numpy()),
        "peaks": _rounded(peaks.numpy()),
        "predicted": classes.tolist(),
    }


def live(net, given, images, labels, sizes, caption):
    """The widget of `page_data` and its images. Its trait `wanted`, {"epsilon", "attack"}, is answered in
    `cell` (`live_cell`), or where it is refused with a sentence in `message`.
    """
    return explorers.answering(
        "horizons",
        given,
        caption,
        lambda wanted: live_cell(net, images, labels, sizes, wanted.get("epsilon"), wanted.get("attack")),
    )

"""The explorer *Boundary*: planes through the space of images, coloured by class, models side by side."""

import base64
import os
from dataclasses import replace

import numpy as np

from eplib import chapters, data, explorers, slices
from eplib.attacks import AttackedModel
from eplib.pictures import name
from eplib.slice_figures import palette

PLANES = {
    "images": ("three images", "The second image is to the right, the third above.", 3),
    "attack": ("an attack", "To the right the change of ℓ2 PGD, upwards a random change.", 1),
}
LIVE_SIDE = 24  # cells of a plane that is computed while somebody waits: some seconds on a processor
LARGEST = 900_000  # bytes of planes in a page: as many images are shown as they allow


def boundary(shown, results):
    """The explorer of `Result`s of "slices", {model: Result}: in a page a figure that holds everything, in
    JupyterLab a widget that computes the planes of any test image. shown: `chapters.Shown` of their scale and
    data set.
    """
    first, test = next(iter(results.values())), data.load(shown.dataset, "test")
    ids = first.image_ids
    given = page_data(results, data.as_float(test.images[ids]), test.labels[ids], test.classes)
    caption = (
        "How to use it: choose an image and a plane; every pixel is an image, its colour the class that the"
        " network gives it. Point at a place, or move there with the arrow keys, and read the class of every"
        " network there. Black dots are test images, the white one is the place. At first that image and"
        " plane are shown in which the networks give a place most different classes on average. Networks of"
        f" {shown.scale} scale, seed"
        f" {first.settings['seed']}."
    )
    if os.environ.get("EPLIB_STATIC") == "1":
        return explorers.embed("boundary", given, caption)
    seed = replace(shown, seeds=(first.settings["seed"],))
    nets = {model: chapters.networks(seed, model)[0].net for model in results}
    return live(nets, given, data.as_float(test.images), test.labels, caption)


def page_data(results, images, labels, classes):
    """All that boundary.js shows, ready for JSON, of {model: Result of "slices"}, their images [N, C, H, W]
    and labels. classes: names.
    """
    side = next(iter(results.values())).settings["sizes"]["side"]
    room = LARGEST // (len(results) * len(slices.KINDS) * (side + 1) ** 2)
    count = max(1, min(len(images), room))
    grids = [_grids(r.arrays["classes"], range(count)) for r in results.values()]
    given = _shared(list(results), classes) | {"side": side + 1}
    every = np.stack([r.arrays["classes"][..., :count] for r in results.values()])
    return given | {
        "images": [_image(images, labels, i) for i in range(count)],
        "grids": grids,
        "open": opening(every),
    }


def opening(classes):
    """[image, plane, place] where a page opens, of grids [models, planes, S, S, N]: the plane in which the
    models give an image most classes on average, the first of several, and in it of the places with most
    classes the one nearest to the middle.
    """
    ordered = np.sort(classes, 0)
    many = 1 + (ordered[1:] != ordered[:-1]).sum(0)  # [planes, S, S, N]
    mean = many.mean((1, 2)).T.round(9)
    image, plane = (int(v) for v in np.unravel_index(mean.argmax(), mean.shape))
    there = many[plane, ..., image]
    x, y = np.nonzero(there == there.max())
    last = len(there) - 1
    nearest = np.hypot(x - last / 2, y - last / 2).argmin()
    return [image, plane, [round(int(v[nearest]) / last, 3) for v in (x, y)]]


def _shared(models, classes):
    return {
        "models": [name(m) for m in models],
        "planes": [
            {"key": k} | dict(zip(("short", "long", "images"), PLANES[k], strict=True)) for k in slices.KINDS
        ],
        "dots": [_dots(kind) for kind in slices.KINDS],
        "classes": list(classes),
        "colours": palette(len(classes)),
    }


def _dots(kind):
    """Where test images lie in a plane, from 0 to 1 in both coordinates."""
    low = round(slices.MARGIN / (1 + 2 * slices.MARGIN), 4)
    return [[low, low], [1 - low, low], [low, 1 - low]] if kind == "images" else [[0.5, 0.5]]


def _image(images, labels, place):
    """The three images of a plane as they look, and the class of the first."""
    shown = [(images[(place + k) % len(images)] * 255).round().byte() for k in range(3)]
    return {
        "pictures": [explorers.png(x.permute(1, 2, 0).numpy().squeeze()) for x in shown],
        "label": int(labels[place]),
        "labels": [int(labels[(place + k) % len(images)]) for k in range(3)],
    }


def _grids(classes, places):
    """[images][planes]: the classes of the grids [planes, S, S, N] as text, row by row of the first
    coordinate.
    """
    return [[base64.b64encode(np.ascontiguousarray(c[..., i])).decode() for c in classes] for i in places]


def live_planes(nets, images, labels, place):
    """What boundary.js shows of the test image at a place and the two after it: the planes of every network,
    computed now with `LIVE_SIDE` cells. Raises InputError for a place that is none.
    """
    place = explorers.within("image", place, len(images))
    chosen = [(place + k) % len(images) for k in range(3)]
    x, y, sizes, grids = images[chosen], labels[chosen], {"side": LIVE_SIDE, "batch": 250}, []
    for net in nets.values():
        model = AttackedModel(net)
        found = [slices.classified(model, *slices.plane(model, x, 0, k), sizes) for k in slices.KINDS]
        grids.append(_grids(np.stack(found)[..., None], [0])[0])
    return {"place": place, "side": LIVE_SIDE + 1, "image": _image(x, y, 0), "grids": grids}


def live(nets, given, images, labels, caption):
    """The widget of `page_data`. Its trait `wanted`, {"place"}, is answered in `cell` (`live_planes`), or
    where it is refused with a sentence in `message`.
    """
    return explorers.answering(
        "boundary", given, caption, lambda wanted: live_planes(nets, images, labels, wanted.get("place"))
    )

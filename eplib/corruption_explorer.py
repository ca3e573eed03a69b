"""The explorer *Corruption*: a few test images under every corruption of CIFAR-10-C at every severity, what
each network makes of them, and how many of all images it gets right there.

A *frame* is an image as it is (the first) or under a corruption at a severity, corruptions outside,
severities inside: 1 + 19 · 5 frames an image.
"""

import base64
import io
import os
from dataclasses import replace
from numbers import Integral

import numpy as np
import torch
from PIL import Image

from eplib import chapters, data, explorers, panels
from eplib import corruption_curves as curves
from eplib import corruption_scores as scores
from eplib.attacks import AttackedModel
from eplib.checks import InputError
from eplib.corruptions import CIFAR_C, FAMILIES, SEVERITIES, corrupt

COUNT = 4  # images in a page at most
LARGEST = 730_000  # bytes of images in a page: as many are shown as they allow
COLUMNS = 10  # of frames in a sheet
RIVALS = ("ep-cnn", "cnn")


def corruptions(shown, found):
    """The explorer of {model: [Result of "corruptions", one a seed]}: in a page a figure that holds
    everything, in JupyterLab a widget that also takes any other test image and other random numbers. The
    networks are those of `corruption_curves.DRAWN` that are found, the first seed of each. shown:
    `chapters.Shown` of their scale and data set.
    """
    found = {m: found[m] for m in curves.DRAWN if m in found}
    seeds = {m: results[0].settings["seed"] for m, results in found.items()}
    nets = [chapters.networks(replace(shown, seeds=(seed,)), m)[0].net for m, seed in seeds.items()]
    test = data.load(shown.dataset, "test")
    ids = chosen(found, test.labels)
    entries = fitting(image_data(nets, test, i) for i in ids)
    given = page_data(found, test, entries)
    caption = (
        "How to use it: choose an image and a corruption and move the severity. First come the image as it is"
        " and as the networks get it, then what each of them says of it (✓ right, ✗ wrong, with its"
        " confidence) and how many of all images it gets right under the same corruption. The images: of each"
        " class the first test image that all of these networks get right as it is, in canonical order, and"
        " where these are too few, the first others. At first that corruption, severity and image are shown"
        " where the EP-CNN and the CNN differ most in accuracy, of those where the more accurate of the two"
        " gets the image right and the other does not. With “guess first” you say which network is most"
        " accurate before it is shown. The corrupted images are made by the CIFAR-10-C"
        f" protocol; the accuracies are of {curves.source(found)}; the answers are of networks of"
        f" {_seeds(given, seeds)}."
    )
    if os.environ.get("EPLIB_STATIC") == "1":
        return explorers.embed("corruption", given, caption)
    return live(nets, test, given, caption)


def _seeds(given, seeds):
    if len(set(seeds.values())) == 1:
        return f"seed {next(iter(seeds.values()))}"
    names = [m["name"] for m in given["models"]]
    return f"seeds {', '.join(f'{seed} ({n})' for n, seed in zip(names, seeds.values(), strict=True))}"


def chosen(found, labels):
    """Ids of `COUNT` test images: of each class the first that the first result of every model has right as
    it is, in canonical order, then the others. labels: of the whole test set.
    """
    right = [dict(zip(r.image_ids.tolist(), r.correct_clean, strict=True)) for r, *_ in found.values()]
    ids = [i for i in right[0] if all(i in of_model for of_model in right)]
    firsts = {}
    for i in ids:
        if all(of_model[i] for of_model in right):
            firsts.setdefault(int(labels[i]), i)
    return list(dict.fromkeys([*firsts.values(), *ids]))[:COUNT]


def fitting(entries):
    """As many of the `image_data` in turn as take at most `LARGEST` bytes, one at least; no further one is
    made.
    """
    kept, room = [], LARGEST
    for entry in entries:
        room -= len(entry["sheet"])
        if kept and room < 0:
            break
        kept.append(entry)
    return kept


def frames(image, id, seed=0):
    """All frames of an image [3, 32, 32]: [96, 3, 32, 32]."""
    x = image[None]
    return torch.cat([x, *(corrupt(x, name, s, [id], seed) for name in CIFAR_C for s in SEVERITIES)])


@torch.no_grad()
def image_data(nets, test, image, seed=0):
    """What corruption.js shows of one test image, ready for JSON: its id, the seed of the corruptions' random
    numbers, its label, the frames in one picture, and for every network the answers [class, confidence] to
    the frames. Raises InputError for what is no image of `test` and no seed.
    """
    image = explorers.within("image", image, len(test))
    if not isinstance(seed, Integral) or seed < 0:
        raise InputError(f"seed = {seed!r}: give a whole number, 0 or more")
    x = frames(data.as_float(test.images[image]), image, seed)
    best = [AttackedModel(net)(x).softmax(1).max(1) for net in nets]
    return {
        "id": image,
        "seed": int(seed),
        "label": int(test.labels[image]),
        "sheet": sheet((x * 255).round().byte().numpy()),
        "answers": [
            [[c, round(p, 3)] for c, p in zip(b.indices.tolist(), b.values.tolist(), strict=True)]
            for b in best
        ],
    }


def sheet(pixels):
    """uint8 frames [N, 3, H, W] -> one WebP of `COLUMNS` a line as a data URI: without loss, and smaller than
    a PNG of them, by a third where the images are grey.
    """
    count, _, high, wide = pixels.shape
    lines = -(-count // COLUMNS)
    full = np.zeros((lines * COLUMNS, *pixels.shape[1:]), np.uint8)
    full[:count] = pixels
    rows = full.reshape(lines, COLUMNS, 3, high, wide).transpose(0, 3, 1, 4, 2)
    buffer = io.BytesIO()
    Image.fromarray(rows.reshape(lines * high, COLUMNS * wide, 3)).save(buffer, "WEBP", lossless=True)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def page_data(found, test, entries):
    """All that corruption.js shows, ready for JSON. found: {model: [Result]}, the models in the order of the
    answers of `entries`, which are `image_data` of `test`.
    """
    # the colours of the page's figure, which also has the published networks
    _, drawn = panels.coloured(curves.of_published()[CIFAR_C[0]], curves.of_results(found, CIFAR_C[0], False))
    accuracies = {m: rates(results) for m, results in found.items()}
    names = [curves.words(name, test.name) for name in CIFAR_C]
    return {
        "models": [
            {
                "name": c.label,
                "colour": c.colour,
                "rates": [round(v, 4) for v in accuracies[c.model]],
                "count": len(found[c.model][0].image_ids),
                "seeds": len(found[c.model]),
            }
            for c in drawn
        ],
        "types": [{"key": t, "name": n, "family": FAMILIES[t]} for n, t in zip(names, CIFAR_C, strict=True)],
        "severities": len(SEVERITIES),
        "note": curves.COLOUR_NOTE if any("*" in n for n in names) else "",
        "classes": list(test.classes),
        "last": len(test) - 1,
        "side": test.images.shape[-1],
        "columns": COLUMNS,
        "images": entries,
        "open": opening([accuracies[m] for m in RIVALS], told(found, entries)),
    }


def rates(results):
    """The accuracy on all images in every frame, the mean over results, one a seed."""
    tables = scores.average([scores.surface(r) for r in results])
    clean = sum(scores.clean(r) for r in results) / len(results)
    return [clean, *tables.loc[list(CIFAR_C), list(SEVERITIES)].to_numpy().ravel().tolist()]


def told(found, entries):
    """bool [image, rival, frame]: whether the first network of each of `RIVALS` is right."""
    places = [list(found).index(m) for m in RIVALS]
    return np.array([[[c == e["label"] for c, _ in e["answers"][p]] for p in places] for e in entries])


def opening(accuracies, right):
    """[image, frame] where a page opens: the frame in which the two rivals differ most in accuracy, of those
    in which the more accurate one gets an image right and the other does not; the first image where there are
    several. Where there is no such frame, the largest difference of all and the first image.

    accuracies: [2, frames] of the rivals. right: bool [images, 2, frames].
    """
    gaps = np.subtract(*np.asarray(accuracies))
    better = np.sign(gaps) == right[:, 0].astype(int) - right[:, 1]
    fits = better & (gaps != 0)
    fits[:, 0] = False  # an image as it is, is not what the page is about
    sizes = np.abs(gaps) * fits if fits.any() else np.abs(gaps) * (np.arange(len(gaps)) > 0)
    sizes = np.broadcast_to(sizes.round(9), (len(right), len(gaps)))
    frame = int(sizes.max(0).argmax())
    return [int(sizes[:, frame].argmax()), frame]


def live(nets, test, given, caption):
    """The widget of `page_data`. Its trait `wanted`, {"image", "seed"}, is answered in `cell`
    (`image_data`), or where it is refused with a sentence in `message`.
    """
    return explorers.answering(
        "corruption",
        given,
        caption,
        lambda wanted: image_data(nets, test, wanted.get("image"), wanted.get("seed")),
    )

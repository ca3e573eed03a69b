"""Test images under every corruption, beside what the paper shows of them."""

import numpy as np
import torch

from eplib import data
from eplib.chapters import DATASET_NAMES
from eplib.corruption_curves import COLOUR_NOTE, GREY_DATASETS, words
from eplib.corruptions import CIFAR_C, corrupt
from eplib.panels import WIDTH
from eplib.pictures import draw

PUBLISHED_PLACE = 7  # of the test image that the paper shows, a frog, in the original file
CELLS = 5  # in a line
WHITE = 2  # columns of pixels between two images


def specimens(dataset, others=2):
    """(ids, images [k, 3, 32, 32], names): the image at the place of the paper's in the order of the original
    file, and the first `others` of the canonical order.
    """
    test = data.load(dataset, "test")
    first = int(test.published_order()[PUBLISHED_PLACE])
    ids = [first, *(i for i in range(others + 1) if i != first)][: others + 1]
    return ids, data.as_float(test.images[ids]), [test.classes[test.labels[i]] for i in ids]


def grid(label, severity, dataset, types=CIFAR_C, published=True):
    """A few images under every one of `types` at a severity: a `Picture`. published: whether the paper has
    this figure, of one image.
    """
    ids, images, names = specimens(dataset)
    cells = {"no corruption": images} | {
        words(name, dataset): corrupt(images, name, severity, ids) for name in types
    }
    rows = -(-len(cells) // CELLS)

    def plot(axs):
        axs = np.ravel(axs)
        for ax, (title, shown) in zip(axs, cells.items(), strict=False):
            ax.imshow(_side_by_side(shown), vmin=0, vmax=1, interpolation="nearest")
            ax.set_title(title, fontsize=8, loc="left", pad=2)
        for ax in axs:
            ax.set_axis_off()

    coloured = COLOUR_NOTE if dataset in GREY_DATASETS and any("*" in c for c in cells) else ""
    paper = _paper(severity, dataset, names[0]) if published else ""
    caption = (
        f"How to read it: in each cell the same {len(ids)} test images ({DATASET_NAMES[dataset]}:"
        f" {', '.join(names)}) under one corruption at severity {severity}, as every network sees them."
        f" {paper} {coloured}"
    )
    alt = (
        f"A grid of {len(types)} corruptions at severity {severity}, each on a {', a '.join(names)}:"
        f" {', '.join(words(t) for t in types)}."
    )
    size = dict(width=WIDTH, height=0.93 * rows)
    return draw(label, (rows, CELLS), plot, " ".join(caption.split()), alt, **size)


def _paper(severity, dataset, shown):
    same = dataset == "cifar10"
    whose = "the first image here" if same else f"a substitute stands first here, a {shown}"
    return (
        f"The paper's figure of severity {severity} shows test image {PUBLISHED_PLACE} of CIFAR-10, a frog,"
        f" under 18 corruptions, each stretched from its darkest to its brightest value; {whose}, and nothing"
        " is stretched."
    )


def _side_by_side(images):
    """Images [k, 3, H, W] in one line, white between them: [H, W', 3]."""
    gap = torch.ones(3, images.shape[2], WHITE)
    parts = [piece for image in images for piece in (image, gap)][:-1]
    return torch.cat(parts, 2).permute(1, 2, 0).numpy()

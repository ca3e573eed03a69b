"""The official CIFAR-10-C and CIFAR-100-C arrays (zenodo.org, records 2535967 and 3555552), where they are.

A folder `CIFAR-10-C` or `CIFAR-100-C` in the data folder (see `data.data_folder`) holds an array NAME.npy,
uint8 [50000, 32, 32, 3], for each of the 19 corruptions, severities 1 to 5 one after the other, each with the
test images in their official order, and labels.npy.
"""

from functools import cache

import numpy as np
import torch

from eplib import data
from eplib.checks import InputError, one_of
from eplib.corruption_tools import SIDE
from eplib.corruptions import CIFAR_C, SEVERITIES

FOLDERS = {"cifar10": "CIFAR-10-C", "cifar100": "CIFAR-100-C"}
IMAGES = 10_000
SHAPE = (len(SEVERITIES) * IMAGES, SIDE, SIDE, 3)


def available(dataset, root=None):
    """Whether the official folder of a data set stands in the data folder."""
    return dataset in FOLDERS and _folder(dataset, root).is_dir()


def official(images, name, severity, ids, root=None):
    """The official corrupted images of image ids, float32 [N, 3, 32, 32] in [0, 1].

    images: the test split as `data.Images`, which knows the places of its images in the official order. name,
    severity: of the 19 of CIFAR-10-C and 1 to 5. The whole folder is checked once in a process. Raises
    InputError for another data set or split, for a split whose official order is not known, and for folders
    that are missing, incomplete or hold something else.
    """
    one_of("corruption", name, CIFAR_C)
    one_of("severity", severity, SEVERITIES)
    order = _places(images)
    ids = torch.as_tensor(ids)
    if len(ids) and not (ids.min() >= 0 and ids.max() < len(images)):
        raise InputError(f"image ids from {ids.min()} to {ids.max()}: give ids from 0 to {len(images) - 1}")
    folder = _folder(images.name, root)
    labels = np.empty(IMAGES, np.int64)
    labels[order] = images.labels.numpy()
    _check(folder, labels.tobytes())
    rows = (severity - 1) * IMAGES + order[ids.numpy()]
    found = np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)[rows]
    return data.as_float(torch.from_numpy(found.transpose(0, 3, 1, 2).copy()))


def _folder(dataset, root):
    return data.data_folder(root) / FOLDERS[dataset]


def _places(images):
    """The places of image ids in the official order, int64 [10000]."""
    one_of("data set with official corrupted images", images.name, FOLDERS)
    if images.split != "test":
        raise InputError(
            f"official corrupted images of the split {images.split!r}: they exist of 'test' alone"
        )
    if images.official is None:
        raise InputError(
            f"the official order of {images.name} is not known from {images.name}.npz: add the array"
            " test_official to it, or remove it so that the original files are read"
        )
    if len(images) != IMAGES:
        raise InputError(f"{len(images)} test images of {images.name}: the official arrays are of {IMAGES}")
    return images.official.numpy()


@cache
def _check(folder, labels):
    """Raise InputError unless the folder is complete and its labels are those of the test images, five
    times.
    """
    arrays = {name: (SHAPE, "uint8") for name in CIFAR_C} | {"labels": (SHAPE[:1], "integer")}
    missing = [f"{name}.npy" for name in arrays if not (folder / f"{name}.npy").is_file()]
    if missing:
        raise InputError(f"{folder} lacks {', '.join(missing)}: unpack the whole archive there or remove it")
    for name, (shape, kind) in arrays.items():
        path = folder / f"{name}.npy"
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except data.DAMAGE as error:
            raise InputError(f"{path} cannot be read ({error}): it is damaged, unpack it again") from error
        right = array.dtype == np.uint8 if kind == "uint8" else array.dtype.kind in "iu"
        if array.shape != shape or not right:
            raise InputError(
                f"{path} holds {array.dtype} of shape {list(array.shape)}: the official array is {kind}"
                f" {list(shape)}"
            )
    if not np.array_equal(array, np.tile(np.frombuffer(labels, np.int64), len(SEVERITIES))):
        raise InputError(
            f"{folder / 'labels.npy'} are not the test labels in the official order, five times over: the"
            " folder belongs to another data set or is damaged"
        )

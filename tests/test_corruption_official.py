from dataclasses import replace

import numpy as np
import pytest
import torch

from eplib import corruption_official, data
from eplib.checks import InputError
from eplib.corruption_official import available, official
from eplib.corruptions import CIFAR_C

SHAPE = (50_000, 32, 32, 3)


def split(order):
    """A test split of 10,000 images whose image id i stands at place order[i] of the original file."""
    labels = torch.from_numpy(order % 10)
    images = torch.zeros(1, 3, 32, 32, dtype=torch.uint8).expand(len(order), -1, -1, -1)
    return data.Images(
        "cifar10", "test", images, labels, data.CIFAR10, torch.arange(len(order)), torch.from_numpy(order), ""
    )


@pytest.fixture(scope="module")
def whole_split():
    return split(np.random.default_rng(0).permutation(10_000))


@pytest.fixture
def root(tmp_path):
    """A data folder with CIFAR-10-C of black images (files with holes), but for one in fog of severity 3."""
    folder = tmp_path / "CIFAR-10-C"
    folder.mkdir()
    for name in CIFAR_C:
        array = np.lib.format.open_memmap(folder / f"{name}.npy", mode="w+", dtype=np.uint8, shape=SHAPE)
        if name == "fog":
            array[20_123] = np.arange(3 * 1024).reshape(32, 32, 3) % 256
        del array
    np.save(folder / "labels.npy", np.tile(np.arange(10_000) % 10, 5).astype(np.uint8))
    corruption_official._check.cache_clear()
    return tmp_path


def test_images_are_found_by_their_id(root, whole_split):
    assert available("cifar10", root) and not available("cifar100", root) and not available("sample", root)
    (place,) = (whole_split.official == 123).nonzero()
    found = official(whole_split, "fog", 3, [int(place), int(place) - 1], root)
    assert found.shape == (2, 3, 32, 32) and found.dtype == torch.float32
    expected = (torch.arange(3 * 1024) % 256).view(32, 32, 3).permute(2, 0, 1) / 255
    assert torch.equal(found[0], expected) and not found[1].any()
    assert not official(whole_split, "fog", 2, place, root).any()
    assert not official(whole_split, "snow", 3, place, root).any()


def test_bad_requests_are_one_sentence(root, whole_split):
    for changes, words in (
        (dict(name="lines"), "unknown corruption 'lines'"),
        (dict(severity=0), "unknown severity 0"),
        (dict(ids=[10_000]), "image ids from 10000 to 10000: give ids from 0 to 9999"),
        (dict(images=replace(whole_split, official=None)), "official order of cifar10 is not known"),
        (dict(images=replace(whole_split, split="train")), "exist of 'test' alone"),
        (dict(images=replace(whole_split, name="sample")), "unknown data set with official"),
        (dict(images=split(np.arange(50))), "50 test images of cifar10"),
    ):
        with pytest.raises(InputError, match=words):
            official(**dict(images=whole_split, name="fog", severity=1, ids=[0], root=root) | changes)


def _without_two(folder):
    (folder / "frost.npy").unlink()
    (folder / "labels.npy").unlink()


def _of_fewer_images(folder):
    np.save(folder / "snow.npy", np.zeros((10, 32, 32, 3), np.uint8))


def _of_floats(folder):
    np.save(folder / "labels.npy", np.zeros(50_000))


def _cut_short(folder):
    (folder / "snow.npy").write_bytes((folder / "snow.npy").read_bytes()[:5000])


def _of_other_labels(folder):
    np.save(folder / "labels.npy", np.zeros(50_000, np.uint8))


@pytest.mark.parametrize(
    "damage, words",
    [
        (_without_two, "lacks frost.npy, labels.npy: unpack the whole archive"),
        (
            _of_fewer_images,
            r"uint8 of shape \[10, 32, 32, 3\]: the official array is uint8 \[50000, 32, 32, 3\]",
        ),
        (_of_floats, "holds float64"),
        (_cut_short, "it is damaged, unpack it again"),
        (_of_other_labels, "are not the test labels in the official order"),
    ],
)
def test_incomplete_folders_are_refused_in_one_sentence(root, whole_split, damage, words):
    damage(root / "CIFAR-10-C")
    with pytest.raises(InputError, match=words):
        official(whole_split, "fog", 3, [0], root)


def test_a_missing_folder_is_refused(tmp_path, whole_split):
    with pytest.raises(InputError, match="lacks"):
        official(whole_split, "fog", 3, [0], tmp_path)

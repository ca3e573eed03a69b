"""Images and labels: the shipped sample, Fashion-MNIST, CIFAR-10 and CIFAR-100, always in one canonical
order.

Every split is sorted by the SHA-256 of an image's uint8 [C, H, W] bytes, then by label, so an image id (its
place in that order) names the same image whatever the source, and every prefix is a random sample of the
split.
"""

import hashlib
import os
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from eplib.checks import InputError, one_of
from eplib.files import ROOT

SAMPLE = ROOT / "data" / "sample" / "sample.npz"
SPLITS = ("train", "test")
# what NumPy and zipfile raise for a file that is no npz, cut short, or changed in a single byte
DAMAGE = (OSError, EOFError, TypeError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error)
CROPS = (None, "edge", "reflect")
AUGMENTATIONS = ("", "randaugment")  # beyond flip and crop
SIDE = 32  # pixels; 28×28 images are zero-padded to it

GARMENTS = tuple("t-shirt trouser pullover dress coat sandal shirt sneaker bag ankle-boot".split())
CIFAR10 = tuple("airplane automobile bird cat deer dog frog horse ship truck".split())
CIFAR100 = tuple(
    """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard
lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear
pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark
shrew skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone
television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
""".split()
)
CLASSES = {"sample": GARMENTS, "fashion-mnist": GARMENTS, "cifar10": CIFAR10, "cifar100": CIFAR100}

# The binary archives of the data sets' page: no pickle inside. name: (archive, MD5, folder, train files, test
# files,
# label bytes before the fine label)
CIFAR_ARCHIVES = {
    "cifar10": (
        "cifar-10-binary.tar.gz",
        "c32a1d4ab5d03f1284b67883e8d87530",
        "cifar-10-batches-bin",
        [f"data_batch_{i}.bin" for i in range(1, 6)],
        ["test_batch.bin"],
        0,
    ),
    "cifar100": (
        "cifar-100-binary.tar.gz",
        "03b5dce01913d631647c71ecec9e9cb8",
        "cifar-100-binary",
        ["train.bin"],
        ["test.bin"],
        1,
    ),
}
CIFAR_PAGE = "https://www.cs.toronto.edu/~kriz/"


@dataclass(frozen=True)
class Images:
    """One split of a data set in canonical order.

    images: uint8 [N, C, H, W]. labels: int64 [N]. classes: names. ids: int64 [N], the image ids 0…N−1.
    official: int64 [N], places in the original files, or None where the source does not have them. sha256: of
    images and labels.
    """

    name: str
    split: str
    images: torch.Tensor
    labels: torch.Tensor
    classes: tuple
    ids: torch.Tensor
    official: torch.Tensor | None
    sha256: str

    def __len__(self):
        return len(self.labels)

    def published_order(self):
        """int64 [N]: the image ids in the order of the original files, or where the source does not have it
        in canonical order, as a substitute.
        """
        return self.ids if self.official is None else torch.argsort(self.official)


def load(name, split, root=None):
    """The split "train" or "test" of "sample", "fashion-mnist", "cifar10" or "cifar100", as `Images`.

    `sample` ships with the project. The others are read from NAME.npz in the data folder if it is there
    (train_images uint8 [N, H, W, C], train_labels, test_images, test_labels), else through torchvision, which
    downloads them. The data folder is `root`, else the environment variable EPLIB_DATA, else eplib in the
    user's cache folder. Raises InputError for unknown names and for files that are missing, damaged or hold
    something else.
    """
    one_of("data set", name, CLASSES)
    one_of("split", split, SPLITS)
    folder = data_folder(root)
    path = SAMPLE if name == "sample" else folder / f"{name}.npz"
    if path.exists():
        images, labels, official = _read_npz(path, split)
    elif name == "fashion-mnist":
        images, labels = _fashion_mnist(folder, split)
        official = np.arange(len(labels))
    elif name in CIFAR_ARCHIVES:
        images, labels = _cifar(name, folder, split)
        official = np.arange(len(labels))
    else:
        raise InputError(f"the sample is missing at {path}: restore it from the repository")
    return _canonical(name, split, images, labels, official, path)


def available(name):
    """Whether a data set can be read without the network: it ships with the project, or lies in the data
    folder as NAME.npz or, of CIFAR, as the files that were downloaded before.
    """
    folder = data_folder()
    if name == "sample" or (folder / f"{one_of('data set', name, CLASSES)}.npz").exists():
        return True
    _, _, inside, train, test, _ = CIFAR_ARCHIVES.get(name, (None, None, "", (), (), None))
    return bool(inside) and all((folder / inside / file).exists() for file in (*train, *test))


def data_folder(root=None):
    """Where data sets are looked for and downloaded to."""
    cache_home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root or os.environ.get("EPLIB_DATA") or Path(cache_home) / "eplib")


def as_float(images):
    """uint8 images -> float32 in [0, 1]."""
    return images.float() / 255


def augment(images, generator, flip=True, crop=None, padding=4):
    """Randomly flipped and shifted copies of images [N, C, H, W], on their device.

    flip: mirror left-right with probability ½. crop: None, or how the `padding` pixels around the image are
    filled before a window of the original size is cut out: "edge" or "reflect". generator: a CPU generator,
    so that the same seed gives the same images on every device.
    """
    one_of("crop", crop, CROPS)
    n, _, height, width = images.shape
    mirrored = torch.rand(n, generator=generator) < 0.5 if flip else torch.zeros(n, dtype=torch.bool)
    shift = (
        torch.randint(-padding, padding + 1, (2, n), generator=generator)
        if crop
        else torch.zeros(2, n).long()
    )
    rows = _inside(torch.arange(height) + shift[0][:, None], height, crop)
    columns = _inside(torch.arange(width) + shift[1][:, None], width, crop)
    columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    which, rows, columns = (
        i.to(images.device) for i in (torch.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :])
    )
    return images.permute(0, 2, 3, 1)[which, rows, columns].permute(0, 3, 1, 2)


def augment_strongly(images, generator, augmentation):
    """uint8 images [N, C, H, W] after `augmentation`: "" leaves them, "randaugment" changes each by two of
    fourteen operations (brightness to shear) of magnitude 9, torchvision's defaults for RandAugment (Cubuk et
    al., arXiv 1909.13719). generator: a CPU generator; all randomness comes from it.
    """
    if not one_of("augmentation", augmentation, AUGMENTATIONS):
        return images
    from torchvision.transforms.v2 import RandAugment  # only here: everything else works without torchvision

    change = RandAugment()
    seed = torch.randint(2**62, (1,), generator=generator).item()
    with torch.random.fork_rng(devices=[]):  # torchvision draws from the global generator
        torch.manual_seed(seed)
        return torch.stack([change(image) for image in images])


def _inside(places, size, crop):
    if crop == "reflect":
        return (size - 1) - ((size - 1) - places.abs()).abs()
    return places.clamp(0, size - 1)


def _read_npz(path, split):
    names = [f"{split}_images", f"{split}_labels"]
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = [n for n in names if n not in file.files]
            if missing:
                raise InputError(
                    f"{path} has no {' and no '.join(missing)}: give the arrays train_images, train_labels,"
                    " test_images, test_labels"
                )
            places = f"{split}_official"
            return file[names[0]], file[names[1]], file[places] if places in file.files else None
    except InputError:
        raise
    except DAMAGE as error:
        raise InputError(
            f"{path} cannot be read ({error}): it is damaged or no npz file, replace it"
        ) from error


def _canonical(name, split, images, labels, official, path):
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.ndim != 4 or not len(images):
        raise InputError(
            f"{path} holds images of type {images.dtype} and shape {list(images.shape)}: give uint8 [N, H,"
            " W, C]"
        )
    n, height, width, channels = images.shape
    if (height, width) not in ((28, 28), (SIDE, SIDE)) or channels not in (1, 3):
        raise InputError(
            f"{path} holds images of shape {[height, width, channels]}: give 28×28 or 32×32 pixels and 1"
            " or 3 channels"
        )
    labels = np.asarray(labels)
    if labels.shape != (n,) or labels.dtype.kind not in "iu":
        raise InputError(
            f"{path} holds labels of type {labels.dtype} and shape {list(labels.shape)}: give {n} integers"
        )
    if labels.min() < 0 or labels.max() >= len(CLASSES[name]):
        raise InputError(
            f"{path} holds labels from {labels.min()} to {labels.max()}: give integers from 0 to"
            f" {len(CLASSES[name]) - 1}"
        )
    if official is not None and np.shape(official) != (n,):
        raise InputError(f"{path} holds {len(official)} original places for {n} images: give one for each")
    border = (SIDE - height) // 2
    images = np.pad(images, ((0, 0), (border, border), (border, border), (0, 0)))
    images = np.ascontiguousarray(np.broadcast_to(images, (n, SIDE, SIDE, 3)).transpose(0, 3, 1, 2))
    keys = [
        (hashlib.sha256(image.tobytes()).digest(), label) for image, label in zip(images, labels, strict=True)
    ]
    order = sorted(range(n), key=keys.__getitem__)
    images, labels = images[order], labels[order].astype(np.int64)
    digest = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
    return Images(
        name,
        split,
        torch.from_numpy(images),
        torch.from_numpy(labels),
        CLASSES[name],
        torch.arange(n),
        None if official is None else torch.from_numpy(np.asarray(official)[order].astype(np.int64)),
        digest,
    )


def _fashion_mnist(folder, split):
    from torchvision.datasets import FashionMNIST  # only here: everything else works without torchvision

    with _download("fashion-mnist", folder):
        data = FashionMNIST(str(folder), train=split == "train", download=True)
    return data.data.numpy()[..., None], data.targets.numpy()


def _cifar(name, folder, split):
    from torchvision.datasets.utils import download_and_extract_archive

    archive, md5, inside, train, test, skip = CIFAR_ARCHIVES[name]
    files = [folder / inside / file for file in (train if split == "train" else test)]
    if not all(file.exists() for file in files):
        with _download(name, folder):
            download_and_extract_archive(CIFAR_PAGE + archive, str(folder), filename=archive, md5=md5)
    record = skip + 1 + 3 * SIDE * SIDE
    raw = b"".join(file.read_bytes() for file in files)
    expected = 50_000 if split == "train" else 10_000
    if len(raw) != expected * record:
        raise InputError(
            f"{folder / inside} holds {len(raw)} bytes of {split} images instead of {expected * record}:"
            " remove the folder so that it is unpacked again"
        )
    table = np.frombuffer(raw, np.uint8).reshape(expected, record)
    return table[:, skip + 1 :].reshape(expected, 3, SIDE, SIDE).transpose(0, 2, 3, 1), table[:, skip]


class _download:
    """Turns what a download can raise into one sentence."""

    def __init__(self, name, folder):
        self.name, self.folder = name, folder

    def __enter__(self):
        return self

    def __exit__(self, kind, error, _):
        # no network, no space, an archive with another MD5, unpacked files that are damaged
        if isinstance(error, (OSError, RuntimeError, ValueError)):
            reason = " ".join(str(error).split())
            raise InputError(
                f"{self.name} could not be downloaded to {self.folder} or read there ({reason}): remove what"
                f" is damaged and connect to the network, or put {self.name}.npz there"
            ) from error

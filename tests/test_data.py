import hashlib
import importlib.util
import os
import pickle
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch

from eplib import data, files
from eplib.checks import InputError

ORIGINALS = Path("/usr/share/datasets/fashion-mnist")
SPLIT = {"train": 12_000, "test": 2_000}


def random_arrays(train=30, test=12, size=28, channels=1, seed=0):
    generator = np.random.default_rng(seed)
    arrays = {}
    for split, n in (("train", train), ("test", test)):
        arrays[f"{split}_images"] = generator.integers(0, 256, (n, size, size, channels), dtype=np.uint8)
        arrays[f"{split}_labels"] = generator.integers(0, 10, n)
    return arrays


def shuffled(arrays, seed):
    order = {s: np.random.default_rng(seed).permutation(len(arrays[f"{s}_labels"])) for s in data.SPLITS}
    return {key: value[order[key.split("_")[0]]] for key, value in arrays.items()}


def write_and_load(folder, arrays, name="fashion-mnist", split="train"):
    folder.mkdir(exist_ok=True)
    np.savez_compressed(folder / f"{name}.npz", **arrays)
    return data.load(name, split, folder)


def assert_same(a, b):
    assert torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels) and torch.equal(a.ids, b.ids)
    assert a.sha256 == b.sha256


def sort_keys(images, labels):
    return [
        (hashlib.sha256(image.numpy().tobytes()).hexdigest(), label)
        for image, label in zip(images, labels.tolist(), strict=True)
    ]


def refused(*arguments, match=None):
    with pytest.raises(InputError, match=match) as error:
        data.load(*arguments)
    assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def sample():
    return {split: data.load("sample", split) for split in data.SPLITS}


@pytest.mark.parametrize("split", data.SPLITS)
def test_sample_is_balanced_and_of_the_promised_type(sample, split):
    loaded, n = sample[split], SPLIT[split]
    assert (loaded.name, loaded.split, len(loaded)) == ("sample", split, n)
    assert loaded.images.shape == (n, 3, 32, 32) and loaded.images.dtype == torch.uint8
    assert loaded.labels.shape == (n,) and loaded.labels.dtype == torch.int64
    assert loaded.labels.bincount().tolist() == [n // 10] * 10
    assert loaded.ids.tolist() == list(range(n)) and loaded.ids.dtype == torch.int64
    assert len(loaded.classes) == 10 and loaded.classes[0] == "t-shirt" and loaded.classes[9] == "ankle-boot"


@pytest.mark.parametrize("split", data.SPLITS)
def test_sample_is_grey_with_a_black_border(sample, split):
    images = sample[split].images
    assert torch.equal(images[:, 0], images[:, 1]) and torch.equal(images[:, 0], images[:, 2])
    inside = images[:, :, 2:30, 2:30].sum(dtype=torch.int64)
    assert inside == images.sum(dtype=torch.int64) and inside > 0


@pytest.mark.parametrize("split", data.SPLITS)
def test_canonical_order_is_by_hash_of_the_image_then_label(sample, split):
    keys = sort_keys(sample[split].images, sample[split].labels)
    assert keys == sorted(keys)


def test_sha256_is_of_images_and_labels(sample):
    test = sample["test"]
    content = test.images.numpy().tobytes() + test.labels.numpy().tobytes()
    assert test.sha256 == hashlib.sha256(content).hexdigest()
    assert test.sha256 != sample["train"].sha256


def test_sample_file_is_small_and_has_the_documented_hash():
    assert data.SAMPLE.stat().st_size <= 8 * 2**20
    assert files.sha256(data.SAMPLE) in (data.SAMPLE.parent / "README.md").read_text()


@pytest.mark.skipif(not ORIGINALS.exists(), reason=f"no original Fashion-MNIST files in {ORIGINALS}")
def test_official_places_of_the_sample_are_those_of_the_original_files(sample):
    spec = importlib.util.spec_from_file_location("make_sample", data.SAMPLE.with_name("make.py"))
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    made = make.arrays(ORIGINALS)
    for split, loaded in sample.items():
        assert len(set(loaded.official.tolist())) == len(loaded)
        rows = np.searchsorted(made[f"{split}_official"], loaded.official.numpy())
        assert np.array_equal(made[f"{split}_official"][rows], loaded.official.numpy())
        assert np.array_equal(made[f"{split}_labels"][rows], loaded.labels.numpy())
        assert np.array_equal(made[f"{split}_images"][rows][..., 0], loaded.images[:, 0, 2:30, 2:30].numpy())


@pytest.mark.parametrize("name, size, channels", [("fashion-mnist", 28, 1), ("cifar10", 32, 3)])
@pytest.mark.parametrize("split", data.SPLITS)
def test_the_order_of_a_file_does_not_matter(tmp_path, name, size, channels, split):
    arrays = random_arrays(size=size, channels=channels)
    first, second = (write_and_load(tmp_path / str(s), shuffled(arrays, s), name, split) for s in (1, 2))
    assert_same(first, second)
    keys = sort_keys(first.images, first.labels)
    assert keys == sorted(keys)
    sums = arrays[f"{split}_images"].sum((1, 2, 3), dtype=int) * 3 // channels
    assert sorted(first.images.sum((1, 2, 3), dtype=torch.int64).tolist()) == sorted(sums)  # the same images


def test_grey_28_pixels_equal_the_same_images_padded_and_in_colour(tmp_path):
    grey = random_arrays()
    colour = dict(grey)
    for key in ("train_images", "test_images"):
        colour[key] = np.pad(grey[key], ((0, 0), (2, 2), (2, 2), (0, 0))).repeat(3, axis=3)
    assert_same(write_and_load(tmp_path / "a", grey), write_and_load(tmp_path / "b", shuffled(colour, 3)))


def test_equal_images_are_ordered_by_label(tmp_path):
    arrays = random_arrays()
    arrays["train_images"][:] = arrays["train_images"][:1]
    assert write_and_load(tmp_path, arrays).labels.tolist() == sorted(arrays["train_labels"].tolist())


@pytest.mark.parametrize("change", ["image", "label"])
def test_sha256_changes_with_the_content(tmp_path, change):
    arrays = random_arrays()
    before = write_and_load(tmp_path, arrays).sha256
    arrays[f"train_{change}s"][0] = (arrays[f"train_{change}s"][0] + 1) % 10
    assert write_and_load(tmp_path, arrays).sha256 != before


def test_official_places_follow_their_images(tmp_path):
    arrays = random_arrays() | {"train_official": np.arange(30) + 100}
    loaded = write_and_load(tmp_path, arrays)
    for image, label, place in zip(loaded.images, loaded.labels, loaded.official, strict=True):
        assert np.array_equal(arrays["train_images"][place - 100][..., 0], image[0, 2:30, 2:30].numpy())
        assert arrays["train_labels"][place - 100] == label
    assert data.load("fashion-mnist", "test", tmp_path).official is None


def test_root_beats_eplib_data_beats_the_cache_folder(tmp_path, monkeypatch):
    expected = []
    for seed, folder in enumerate(("root", "variable", "cache/eplib")):
        (tmp_path / folder).mkdir(parents=True)
        expected.append(write_and_load(tmp_path / folder, random_arrays(seed=seed), split="test").sha256)
    assert len(set(expected)) == 3
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("EPLIB_DATA", str(tmp_path / "variable"))
    assert data.load("fashion-mnist", "test", tmp_path / "root").sha256 == expected[0]
    assert data.load("fashion-mnist", "test").sha256 == expected[1]
    monkeypatch.delenv("EPLIB_DATA")
    assert data.load("fashion-mnist", "test").sha256 == expected[2]
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert data.data_folder() == Path.home() / ".cache" / "eplib"


@pytest.mark.parametrize("name", data.CIFAR_ARCHIVES)
def test_cifar_records_are_read_as_the_binary_format_says(tmp_path, name):
    # a record: the coarse label (CIFAR-100 only), the label, 3072 bytes of C, H, W
    _, _, folder, _, (file,), skip = data.CIFAR_ARCHIVES[name]
    records = np.random.default_rng(0).integers(0, 256, (10_000, skip + 1 + 3072), dtype=np.uint8)
    records[:, skip] %= len(data.CLASSES[name])
    path = tmp_path / folder / file
    path.parent.mkdir()
    path.write_bytes(records.tobytes())
    loaded = data.load(name, "test", tmp_path)
    path.unlink()  # pytest keeps its folders, and this is 30 MB
    order = sorted(
        range(10_000),
        key=lambda i: (hashlib.sha256(records[i, skip + 1 :].tobytes()).digest(), records[i, skip]),
    )
    assert loaded.official.tolist() == order
    assert np.array_equal(loaded.images.numpy().reshape(10_000, -1), records[order, skip + 1 :])
    assert np.array_equal(loaded.labels.numpy(), records[order, skip])
    assert len(set(loaded.classes)) == len(data.CLASSES[name])


@pytest.mark.parametrize("name", data.CIFAR_ARCHIVES)
def test_a_data_set_is_available_as_npz_or_once_all_of_it_was_downloaded(tmp_path, monkeypatch, name):
    monkeypatch.setenv("EPLIB_DATA", str(tmp_path))
    _, _, folder, train, test, _ = data.CIFAR_ARCHIVES[name]
    (tmp_path / folder).mkdir()
    for file in (*train, *test):
        assert not data.available(name)
        (tmp_path / folder / file).touch()
    assert data.available(name) and data.available("sample") and not data.available("fashion-mnist")
    (tmp_path / "fashion-mnist.npz").touch()
    assert data.available("fashion-mnist")


@pytest.mark.parametrize("split", data.SPLITS)
def test_truncated_cifar_folder_is_refused(tmp_path, split):
    _, _, folder, train, test, _ = data.CIFAR_ARCHIVES["cifar10"]
    (tmp_path / folder).mkdir()
    for file in (*train, *test):
        (tmp_path / folder / file).write_bytes(bytes(3073 * 5))
    refused("cifar10", split, tmp_path, match="remove the folder")


@pytest.mark.parametrize(
    "name, split",
    [("mnist", "train"), ("", "test"), (["sample"], "test"), ("sample", "validation"), ("sample", None)],
)
def test_unknown_names_are_refused(name, split):
    refused(name, split, match="choose one of")


def broken(key, change):
    arrays = random_arrays()
    arrays[key] = change(arrays[key])
    return arrays


@pytest.mark.parametrize(
    "arrays",
    [
        {k: v for k, v in random_arrays().items() if k != "train_labels"},
        {"images": random_arrays()["train_images"]},
        broken("train_images", lambda x: x / np.float32(255)),
        broken("train_images", lambda x: x.astype(np.int64)),
        broken("train_images", lambda x: x[:, :20, :20]),
        broken("train_images", lambda x: x[:, :, :20]),
        broken("train_images", lambda x: x[..., 0]),
        broken("train_images", lambda x: x.repeat(2, axis=3)),
        broken("train_images", lambda x: x[:0]),
        broken("train_labels", lambda y: y + 10),
        broken("train_labels", lambda y: y - 10),
        broken("train_labels", lambda y: y[:-1]),
        broken("train_labels", lambda y: y[:, None]),
        broken("train_labels", lambda y: y.astype(np.float64)),
        broken("train_labels", lambda y: y.astype(object)),
        broken("train_images", lambda x: np.array([{"pickled": True}] * 30)),
        random_arrays() | {"train_official": np.arange(7)},
    ],
    ids=[
        "no labels",
        "other names",
        "float images",
        "integer images",
        "20x20 pixels",
        "28x20 pixels",
        "no channel axis",
        "2 channels",
        "no images",
        "labels too large",
        "labels negative",
        "too few labels",
        "labels in 2 dimensions",
        "float labels",
        "pickled labels",
        "pickled images",
        "few official places",
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, arrays):
    np.savez_compressed(tmp_path / "fashion-mnist.npz", **arrays)
    refused("fashion-mnist", "train", tmp_path, match="fashion-mnist.npz")


def cut(content, share):
    return content[: int(len(content) * share)]


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(cut(path.read_bytes(), 0.5)),
        lambda path: path.write_bytes(cut(path.read_bytes(), 0.99)),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"\x80\x04K\x01."),  # a pickle
        lambda path: path.write_bytes(path.read_bytes()[:900] + bytes(100) + path.read_bytes()[1000:]),
        lambda path: np.save(path.open("wb"), np.zeros((3, 28, 28, 1), np.uint8)),
        lambda path: (path.unlink(), path.mkdir()),
    ],
    ids=["half", "end missing", "empty", "pickle", "bytes overwritten", "npy", "folder"],
)
def test_damaged_files_are_refused(tmp_path, damage):
    path = tmp_path / "fashion-mnist.npz"
    np.savez_compressed(path, **random_arrays())
    damage(path)
    refused("fashion-mnist", "train", tmp_path, match="fashion-mnist.npz")


class Malicious:
    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def test_a_pickle_is_never_executed(tmp_path):
    arrays = random_arrays() | {"train_labels": np.array([Malicious(tmp_path / "executed")] * 30)}
    np.savez(tmp_path / "fashion-mnist.npz", **arrays)
    refused("fashion-mnist", "train", tmp_path)
    (tmp_path / "fashion-mnist.npz").write_bytes(pickle.dumps(Malicious(tmp_path / "executed")))
    refused("fashion-mnist", "train", tmp_path)
    assert not (tmp_path / "executed").exists()


def test_missing_sample_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "SAMPLE", tmp_path / "sample.npz")
    refused("sample", "test", match="sample is missing")


@pytest.mark.parametrize("content", [b"", b"\x00\x00\x08\x03" + bytes(50)], ids=["empty", "truncated"])
def test_damaged_files_of_torchvision_are_refused(tmp_path, content):
    folder = tmp_path / "FashionMNIST" / "raw"
    folder.mkdir(parents=True)
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (folder / f"{name}-ubyte").write_bytes(content)
    refused("fashion-mnist", "train", tmp_path)


@pytest.mark.parametrize(
    "error", [OSError("disk full"), URLError("no network"), RuntimeError("another MD5")], ids=repr
)
def test_failed_download_is_one_sentence(tmp_path, monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("torchvision.datasets.mnist.download_and_extract_archive", fail)
    monkeypatch.setattr("torchvision.datasets.utils.download_and_extract_archive", fail)
    for name in ("fashion-mnist", "cifar10", "cifar100"):
        refused(name, "train", tmp_path, match=f"could not be downloaded.*{name}.npz")


def batch(n=40, size=12):
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(1))


def augmented(images, seed=0, **settings):
    return data.augment(images, torch.Generator().manual_seed(seed), **settings)


@pytest.mark.parametrize("crop", [None, "edge", "reflect"])
def test_augmenting_is_repeatable_and_keeps_shape_and_type(crop):
    images = batch()
    for x in (images, (images * 255).to(torch.uint8)):
        out = augmented(x, crop=crop)
        assert out.shape == x.shape and out.dtype == x.dtype
        assert torch.equal(out, augmented(x, crop=crop))
        assert not torch.equal(out, augmented(x, seed=1, crop=crop))


def test_strong_augmentation_is_repeatable_and_leaves_the_global_generator_alone():
    images = torch.randint(
        0, 256, (40, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )

    def strong(seed):
        generator = torch.Generator().manual_seed(seed)
        return data.augment_strongly(images, generator, "randaugment"), generator.get_state()

    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, state = strong(0)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(6)
    again, _ = strong(0)
    assert first.dtype == torch.uint8 and first.shape == images.shape and torch.equal(first, again)
    assert not torch.equal(first, strong(1)[0])
    assert not torch.equal(state, torch.Generator().manual_seed(0).get_state())  # the next batch differs
    changed = (first != images).flatten(1).any(1)
    assert 0.5 < changed.float().mean() <= 1  # some draws are the identity


def test_no_strong_augmentation_draws_nothing():
    images, generator = torch.zeros(2, 3, 32, 32, dtype=torch.uint8), torch.Generator().manual_seed(0)
    assert data.augment_strongly(images, generator, "") is images
    assert torch.equal(generator.get_state(), torch.Generator().manual_seed(0).get_state())
    with pytest.raises(InputError, match="randaugment"):
        data.augment_strongly(images, generator, "cutmix")


def test_augmenting_leaves_its_input_alone():
    images = batch()
    before = images.clone()
    augmented(images, crop="edge")
    assert torch.equal(images, before)
    assert torch.equal(augmented(images, flip=False), images)


def test_flipping_alone_gives_images_or_their_mirrors():
    images = batch(400)
    out = augmented(images)
    kept, mirrored = ((out == x).flatten(1).all(1) for x in (images, images.flip(3)))
    assert (kept ^ mirrored).all()
    assert 150 < mirrored.sum() < 250


@pytest.mark.parametrize(
    "crop, flip, padding",
    [("edge", False, 4), ("edge", True, 4), ("reflect", False, 4), ("reflect", True, 2)],
)
def test_crops_are_windows_of_the_padded_image(crop, flip, padding):
    images, places = batch(100), range(2 * padding + 1)
    outs = augmented(images, crop=crop, flip=flip, padding=padding).numpy()
    wide = np.pad(images.numpy(), ((0, 0), (0, 0), (padding, padding), (padding, padding)), mode=crop)
    tops, lefts, mirrors = set(), set(), set()
    for out, padded in zip(outs, wide, strict=True):
        windows = {
            (top, left): padded[:, top : top + 12, left : left + 12] for top in places for left in places
        }
        found = [
            (*place, mirror)
            for place, window in windows.items()
            for mirror in (False, True)
            if np.array_equal(window[..., ::-1] if mirror else window, out)
        ]
        assert len(found) == 1
        for seen, value in zip((tops, lefts, mirrors), found[0], strict=True):
            seen.add(value)
    assert tops == lefts == set(places) and mirrors == ({False, True} if flip else {False})

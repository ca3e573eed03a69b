from itertools import pairwise

import corruption_reference
import corruption_reference_bar
import numpy as np
import pytest
import torch
from scipy import ndimage

from eplib import corruptions, data
from eplib.checks import InputError
from eplib.corruption_random import streams
from eplib.corruption_weather import frost_textures
from eplib.corruptions import CIFAR_C, SEVERITIES, TABLE, corrupt

BEYOND = tuple(corruption_reference_bar.LEVELS)
COUNT, FEWER = 64, 8  # images compared with the reference, of CIFAR-10-C and beyond


@pytest.fixture(scope="module")
def pictures():
    """64 coloured, grainy images uint8 [N, 3, 32, 32]: two garments and a gradient in three channels."""
    garments = data.load("sample", "test").images[:COUNT, 0].numpy().astype(float)
    ramp = np.linspace(0, 60, 32)
    channels = [garments * 0.9, np.roll(garments, 3, 0) * 0.6 + ramp, garments * 0.3 + ramp[:, None] + 80]
    return np.uint8(np.stack(channels, 1) + np.random.default_rng(0).integers(0, 20, (COUNT, 3, 32, 32)))


def as_tensor(pictures):
    return data.as_float(torch.from_numpy(pictures))


def levels(images):
    return (images * 255).round().byte().numpy()


def similarity(first, second):
    """Structural similarity (Wang et al. 2004), its mean over images and channels, windows of 7×7 pixels."""

    def mean(x):
        return ndimage.uniform_filter(x, (1, 1, 7, 7))

    a, b = first.astype(float), second.astype(float)
    spread = [mean(x * y) - mean(x) * mean(y) for x, y in ((a, a), (b, b), (a, b))]
    light = (2 * mean(a) * mean(b) + 2.55**2) / (mean(a) ** 2 + mean(b) ** 2 + 2.55**2)
    return (light * (2 * spread[2] + 7.65**2) / (spread[0] + spread[1] + 7.65**2)).mean()


@pytest.mark.parametrize("name", [*CIFAR_C, *BEYOND])
def test_a_corruption_is_that_of_the_independent_reference(pictures, name):
    reference = corruption_reference if name in CIFAR_C else corruption_reference_bar
    pictures = pictures[: COUNT if name in CIFAR_C else FEWER]
    x, ids = torch.from_numpy(pictures / 255), range(len(pictures))
    for severity in SEVERITIES:
        draws = [d.numpy() for d in corruptions.draws_of(TABLE[name], severity, x, ids)]
        pairs = zip(np.moveaxis(pictures, 1, -1), *draws, strict=True)
        expected = [reference.corrupted(name, severity, image, each) for image, *each in pairs]
        expected = np.moveaxis(np.stack(expected), -1, 1)
        found = levels(corrupt(as_tensor(pictures), name, severity, ids))
        changes = [abs(z - pictures.astype(float)).mean() for z in (found, expected)]
        assert changes[1] > 0
        assert changes[0] == pytest.approx(changes[1], rel=0.02)
        assert similarity(pictures, found) == pytest.approx(similarity(pictures, expected), rel=0.02)
        if name != "jpeg_compression":  # libjpeg rounds in between as it likes
            assert abs(found - expected.astype(float)).mean() < 0.4


def test_every_published_type_is_there_once():
    assert len(CIFAR_C) == 19 and len(corruptions.STANDARD) == 15 and len(corruptions.CIFAR_BAR) == 10
    assert set(corruption_reference.PARAMETERS) == set(CIFAR_C)
    beyond = (*corruptions.CIFAR_BAR, *corruptions.IMAGENET_BAR, *corruptions.WITHOUT_DEPTH)
    assert sorted(beyond) == sorted(BEYOND) and sorted(TABLE) == sorted((*CIFAR_C, *beyond))
    assert all(len(corruption.parameters) == 5 for corruption in TABLE.values())


@pytest.mark.parametrize("name", TABLE)
def test_batch_and_order_change_nothing_but_id_and_seed_do(pictures, name):
    images, ids = as_tensor(pictures[:6]), [4, 8, 15, 16, 23, 42]
    whole = corrupt(images, name, 3, ids)
    assert torch.equal(corrupt(images, name, 3, torch.tensor(ids)), whole)
    order = [3, 0, 5, 1, 4, 2]
    assert torch.equal(corrupt(images[order], name, 3, [ids[i] for i in order]), whole[order])
    assert torch.equal(
        torch.cat([corrupt(images[i : i + 1], name, 3, ids[i : i + 1]) for i in range(6)]), whole
    )
    assert torch.equal(corrupt(images.double(), name, 3, ids).float(), whole)
    others = corrupt(images, name, 3, [i + 1 for i in ids]), corrupt(images, name, 3, ids, seed=1)
    assert all(torch.equal(other, whole) == (TABLE[name].draw is None) for other in others)


@pytest.mark.parametrize("name", TABLE)
def test_images_are_8_bit_and_stay_in_range(pictures, name):
    black, white = torch.zeros(1, 3, 32, 32), torch.ones(1, 3, 32, 32)
    images = torch.cat([as_tensor(pictures[:4]), black, white])
    for severity in (1, 5):
        found = corrupt(images, name, severity, range(6))
        assert found.shape == images.shape and found.dtype == images.dtype
        assert torch.equal(found, data.as_float(torch.from_numpy(levels(found))))


def test_chunks_of_a_large_batch_are_put_together_again(pictures):
    images = as_tensor(pictures).repeat(3, 1, 1, 1)
    found = corrupt(images, "gaussian_noise", 2, range(192))
    assert torch.equal(found[-5:], corrupt(images[-5:], "gaussian_noise", 2, range(187, 192)))


def test_severity_strengthens_all_but_those_listed(pictures):
    images = as_tensor(pictures[:24])
    weaker = set()
    for name in TABLE:
        changes = [(corrupt(images, name, s, range(24)) - images).abs().mean() for s in SEVERITIES]
        if any(after < 0.98 * before for before, after in pairwise(changes)):
            weaker.add(name)
    assert weaker == set(corruptions.NOT_MONOTONE)


def test_coloured_are_those_that_colour_grey_images():
    grey = data.as_float(data.load("sample", "test").images[:16])
    coloured = {
        name
        for name in TABLE
        if any(
            (z - z[:, :1]).abs().max() > 1.5 / 255
            for z in (corrupt(grey, name, s, range(16)) for s in (1, 5))
        )
    }
    assert coloured == set(corruptions.COLOURED)


def test_contrast_brightness_and_saturation_in_closed_form():
    images = torch.zeros(1, 3, 32, 32)
    images[..., 16:] = 200 / 255
    halved = corrupt(images, "contrast", 2, [0]) * 255
    assert halved[..., :16].unique().tolist() == [50] and halved[..., 16:].unique().tolist() == [150]
    orange = (torch.tensor([200.0, 100, 50]) / 255).view(1, 3, 1, 1).expand(1, 3, 32, 32)
    brighter = corrupt(orange, "brightness", 4, [0])[0, :, 0, 0] * 255  # V from 200 to 251
    assert brighter.tolist() == pytest.approx([251, 125, 62])
    paler = corrupt(orange, "saturate", 1, [0])[0, :, 0, 0] * 255  # S from 0.75 to 0.225
    assert paler.tolist() == pytest.approx([200, 170, 155])


def test_blurs_keep_a_constant_image_and_the_mean_of_a_dot():
    flat = torch.full((1, 3, 32, 32), 100 / 255)
    dot = torch.zeros(1, 3, 32, 32)
    dot[..., 16, 16] = 1
    for name in ("defocus_blur", "motion_blur", "zoom_blur", "gaussian_blur", "glass_blur", "pixelate"):
        assert (corrupt(flat, name, 5, [0]) - flat).abs().max() < 1.5 / 255
    # the disk of radius 1 is a cross of five equal pixels
    cross = corrupt(dot, "defocus_blur", 4, [0])[0, 0]
    assert (cross > 40 / 255).nonzero().tolist() == [[15, 16], [16, 15], [16, 16], [16, 17], [17, 16]]
    assert cross.max() * 255 == pytest.approx(51)


def test_glass_blur_copies_pixels_and_moves_none_from_below_or_the_right():
    images = torch.arange(1024).remainder(251).view(1, 1, 32, 32).expand(1, 3, -1, -1) / 255
    found = corrupt(images, "glass_blur", 1, [0])
    assert torch.equal(found[..., :2, :], images[..., :2, :])
    assert torch.equal(found[..., :2], images[..., :2])
    allowed = torch.stack([images.roll((i, j), (2, 3)) for i in (0, 1) for j in (0, 1)])
    assert (found == allowed).any(0).all()
    assert len(found.unique()) < len(images.unique())  # copied over, so lost, not swapped


def test_elastic_severity_1_is_an_affine_warp():
    rows, columns = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    plane = (60 + 2 * rows + 3 * columns).expand(4, 3, -1, -1) / 255
    for severity, affine in ((1, True), (4, False)):
        inner = corrupt(plane, "elastic_transform", severity, range(4))[:, 0, 11:21, 11:21] * 255
        places = torch.cat([rows[None], columns[None], torch.ones(1, 32, 32)])[:, 11:21, 11:21].flatten(1).T
        values = inner.flatten(1).T
        left = values - places @ torch.linalg.lstsq(places, values).solution
        assert bool(left.abs().max() < 1.01) == affine  # only cut to 8 bits


def test_frost_uses_five_textures_and_never_the_sixth():
    assert [texture.shape[:2] for texture in frost_textures()] == [
        (120, 180), (63, 112), (63, 112), (70, 105), (99, 132)
    ]  # fmt: skip
    places = corruptions.draws_of(TABLE["frost"], 1, torch.zeros(200, 3, 32, 32).double(), range(200))[0]
    assert places[:, 0].unique().tolist() == [0, 1, 2, 3, 4]


def test_an_image_without_liquid_is_not_spattered():
    from eplib.corruption_spatter import wet

    image = torch.full((1, 3, 32, 32), 0.5, dtype=torch.float64)
    assert torch.equal(wet(image, torch.zeros(1, 32, 32, dtype=torch.float64), 0.5), image)


def test_random_numbers_are_the_same_in_every_process_and_for_ever():
    first, second = (g.random(2).tolist() for g in streams("fog", 3, [7, 2**40], 0))
    assert first == pytest.approx([0.6525480639083371, 0.12701869175050273], abs=1e-15)
    assert second == pytest.approx([0.003562026045637934, 0.5850311688057638], abs=1e-15)


@pytest.mark.parametrize(
    "changes, words",
    [
        (dict(name="rain"), "unknown corruption 'rain'"),
        (dict(severity=6), "unknown severity 6"),
        (dict(images=torch.zeros(2, 3, 28, 28)), r"shape \[2, 3, 28, 28\]: give \[N, 3, 32, 32\]"),
        (dict(images=torch.zeros(2, 1, 32, 32)), "give"),
        (dict(images=torch.zeros(0, 3, 32, 32), ids=[]), "N >= 1"),
        (dict(images=torch.tensor(0.5)), r"shape \[\]"),
        (dict(images=np.zeros((2, 3, 32, 32))), "shape ndarray"),
        (dict(images=torch.zeros(2, 3, 32, 32, dtype=torch.uint8)), "floating point"),
        (dict(images=torch.full((2, 3, 32, 32), 1.5)), "normalise afterwards inside the model"),
        (dict(images=torch.full((2, 3, 32, 32), torch.nan)), "nan"),
        (dict(ids=[1]), "1 image ids for 2 images"),
        (dict(ids=[0.5, 1.5]), "give one integer for each"),
    ],
)
def test_bad_input_is_one_sentence(changes, words):
    arguments = dict(images=torch.zeros(2, 3, 32, 32), name="fog", severity=1, ids=[0, 1]) | changes
    with pytest.raises(InputError, match=words):
        corrupt(**arguments)

import numpy as np
import pytest
import torch
from corruption_reference_spatter import _relief
from PIL import Image
from skimage import transform
from skimage.filters import gaussian
from torchvision.transforms import functional

from eplib import corruption_random, data
from eplib.checks import InputError
from eplib.corruption_sequences import SEQUENCES, flip_rates, sequence

FRAMES = dict.fromkeys(SEQUENCES, 31) | {"motion_blur": 21, "translate": 16}


@pytest.fixture(scope="module")
def images():
    garments = data.load("sample", "test").images[:3].numpy() * 0.8
    grain = np.random.default_rng(0).integers(0, 30, garments.shape)
    return torch.from_numpy(np.uint8(garments + grain)).float() / 255


def levels(images):
    return (images * 255).round().byte().numpy()


def pillow(image):
    return Image.fromarray(np.ascontiguousarray(levels(image).transpose(1, 2, 0)))


def by_pillow(image, angle, scale):
    return functional.affine(
        pillow(image), angle, (0, 0), scale, 0, interpolation=functional.InterpolationMode.BILINEAR
    )


def channels_first(frames):
    return np.stack([np.asarray(f) for f in frames]).transpose(0, 3, 1, 2)


@pytest.mark.parametrize("name", SEQUENCES)
def test_frames_are_8_bit_seeded_and_independent_of_the_batch(images, name):
    found = sequence(images, name, [5, 6, 7])
    assert found.shape == (3, FRAMES[name], 3, 32, 32)
    assert torch.equal(found, data.as_float(torch.from_numpy(levels(found))))
    assert torch.equal(sequence(images[[2, 0]], name, [7, 5]), found[[2, 0]])
    random = SEQUENCES[name].draw is not None
    assert torch.equal(sequence(images, name, [5, 6, 7], seed=1), found) != random


def test_ten_sequences_as_published():
    assert set(SEQUENCES) == set(
        "gaussian_noise shot_noise motion_blur zoom_blur spatter brightness translate rotate tilt"
        " scale".split()
    )
    assert {name: chosen.frames for name, chosen in SEQUENCES.items()} == FRAMES


def test_noise_begins_with_the_image_and_has_the_published_strength(images):
    flat = torch.full((8, 3, 32, 32), 128 / 255)
    for name, deviation in (("gaussian_noise", 0.02), ("shot_noise", (128 / 255 / 700) ** 0.5)):
        found = sequence(flat, name, range(8))
        assert torch.equal(found[:, 0], flat)
        noise = found[:, 1:] - flat[:, None]
        assert noise.std().item() == pytest.approx(deviation, rel=0.02)
        assert noise[:, 0].sub(noise[:, 1]).std().item() == pytest.approx(2**0.5 * deviation, rel=0.05)


def test_rotation_scale_and_zoom_are_pillows(images):
    image = images[0]
    frames = {
        "rotate": [by_pillow(image, i - 15, 1) for i in range(31)],
        "scale": [by_pillow(image, 0, (70 + 2 * i) / 100) for i in range(31)],
    }
    zooms = channels_first([by_pillow(image, 0, 1 + 0.004 * i) for i in range(31)]) / 255
    expected = {name: channels_first(f) for name, f in frames.items()}
    expected["zoom_blur"] = np.floor(255 * np.cumsum(zooms, 0) / np.arange(1, 32)[:, None, None, None] + 1e-6)
    for name, frames in expected.items():
        away = abs(levels(sequence(image[None], name, [0])[0]).astype(int) - frames)
        assert away.max() <= 1 and away.mean() < 0.02


def test_translation_moves_by_a_pixel_a_frame(images):
    found = sequence(images, "translate", range(3))
    assert torch.equal(found[:, 7], images)
    assert torch.equal(found[:, 0, ..., :25], images[..., 7:]) and not found[:, 0, ..., 25:].any()
    assert torch.equal(found[:, 15, ..., 8:], images[..., :24]) and not found[:, 15, ..., :8].any()


def test_brightness_passes_through_the_image(images):
    found = sequence(images, "brightness", range(3))
    assert torch.equal(found[:, 15], images)
    brightest = found.amax(2)
    assert (brightest.diff(dim=1) >= 0).all()


def test_tilt_is_a_projection_of_the_turned_plane(images):
    corners = np.array([[0.0, 0], [31, 0], [31, 31], [0, 31]])
    found = levels(sequence(images[:1], "tilt", [0])[0])
    for frame in (0, 15, 22):
        angle, focus = np.radians(0.75 * (frame - 15)), np.hypot(32, 32)
        x, y, z = corners[:, 0] - 16, corners[:, 1] - 16, np.ones(4)
        x, z = x * np.cos(angle) - z * np.sin(angle), x * np.sin(angle) + z * np.cos(angle)
        y, z = y * np.cos(angle) - z * np.sin(angle), y * np.sin(angle) + z * np.cos(angle)
        projected = np.stack([focus * x, focus * y], 1) / (z + focus)[:, None] + 16
        plane = transform.ProjectiveTransform.from_estimate(corners, projected)
        expected = [transform.warp(channel, plane.inverse, order=1) for channel in levels(images[0]) / 255.0]
        away = abs(found[frame][:, 1:-1, 1:-1] - 255 * np.stack(expected)[:, 1:-1, 1:-1])
        assert away.max() < 0.51


def test_motion_turns_from_one_side_to_the_other():
    dot = torch.zeros(1, 3, 32, 32)
    dot[..., 16, 16] = 1
    found = sequence(dot, "motion_blur", [0])[0, :, 0]
    assert (found[0, 16] > 0).nonzero().min() == 16 and (found[20, 16] > 0).nonzero().max() == 16
    assert (found[10].nonzero()[:, 1] == 16).all()
    assert (found.sum((1, 2)) - 1).abs().max() < 0.03


def test_water_runs_down_as_in_the_reference(images):
    stream = next(corruption_random.streams("sequence spatter", 0, [0], 0))
    liquid = gaussian(0.6 + 0.265 * stream.standard_normal((32, 32)), sigma=1.75)
    liquid[liquid < 0.7] = 0
    found = levels(sequence(images[:1], "spatter", [0])[0])
    for frame in range(12):
        layer = np.floor(liquid * 255)
        water = layer * _relief(layer)
        expected = (
            images[0].numpy() + 0.6 * water / water.max() * np.array([175, 238, 238])[:, None, None] / 255
        )
        assert abs(found[frame] - np.floor(255 * np.clip(expected, 0, 1) + 1e-4)).max() <= 1
        liquid = np.stack([np.convolve(column, [0.2, 0.8], "same") for column in liquid.T], 1)


def test_flip_rates_against_the_frame_before_or_of_noise_the_first():
    still, back, other = [0] * 16, [0, 1] * 8, [0] + [1] * 15
    assert flip_rates(torch.tensor([still, back, other]), "translate").tolist() == [0, 1, 1 / 15]
    first = torch.tensor([[0] * 31, [0] + [1] * 30, [0, 1] * 15 + [0]])
    assert flip_rates(first, "shot_noise").tolist() == [0, 1, 0.5]


def test_bad_input_is_one_sentence(images):
    with pytest.raises(InputError, match="unknown sequence 'snow'"):
        sequence(images, "snow", range(3))
    with pytest.raises(InputError, match="2 image ids for 3 images"):
        sequence(images, "tilt", [0, 1])
    with pytest.raises(InputError, match=r"shape \[2, 5\]: give \[N, 31\], the frames of tilt"):
        flip_rates(torch.zeros(2, 5), "tilt")

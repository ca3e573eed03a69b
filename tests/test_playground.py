import io
import json
import re
from datetime import datetime

import numpy as np
import pytest
import torch
from foolbox.utils import _samples as foolbox_samples
from PIL import Image

from eplib import (
    attacks,
    book,
    chapters,
    checkpoints,
    data,
    files,
    pictures,
    playground,
    playground_figures,
    playground_pictures,
    playground_sentences,
    playground_verdicts,
    playground_widget,
    sentences,
)
from eplib.checks import InputError
from eplib.dynamics import settle
from eplib.network import EPCNN
from eplib.results import Result

CLASSES = data.CLASSES["sample"]
CLEAN = Result(
    {"seed": 11, "dataset": "sample", "scale": "quick", "measurement": "clean"},
    None,
    np.arange(20),
    np.ones(20, bool),
    np.ones((1, 20), bool),
    {},
)


class Named:
    """A checkpoint of a network that is never run."""

    net, record = EPCNN((2,), (1,)), {"dataset": "sample", "model": "ep-cnn", "scale": "quick", "seed": 11}


def seen(now, later):
    curves = torch.eye(10)[[now] * 4 + [later]]
    return playground.Seen(torch.zeros(1, 3, 32, 32), curves[0], curves, torch.full((5,), 1e-3))


def played(clean, attacked=None, label=3, epsilon=0.03):
    """A run with answers (after T, after 4 T) of the clean and of the attacked image."""
    settings = playground.Settings(1, 0.5, "forward", "pgd-linf" if attacked else "none", epsilon)
    return playground.Played(Named, label, settings, seen(*clean), attacked and seen(*attacked), None)


@pytest.mark.parametrize(
    "clean, attacked, label, epsilon, word",
    [
        ((3, 3), (3, 3), 3, 0.03, "supported"),
        ((3, 3), (3, 3), None, 0.03, "supported"),
        ((3, 3), (5, 5), 3, 0.03, "contradicted"),
        ((3, 3), (5, 3), 3, 0.03, "contradicted"),
        ((3, 4), (5, 5), 3, 0.03, "contradicted"),
        ((3, 3), (5, 5), None, 0.03, "contradicted"),
        ((3, 4), (3, 3), 3, 0.03, "undecided"),  # its own answer changes with time
        ((3, 3), (3, 5), 3, 0.03, "undecided"),  # the attack shows only later
        ((3, 3), None, 3, 0.03, "undecided"),
        ((3, 3), (3, 3), 3, 0.0, "undecided"),
        ((4, 4), (4, 4), 3, 0.03, "undecided"),  # wrong before
        ((4, 4), (5, 5), 3, 0.03, "undecided"),
        ((4, 3), (4, 4), 3, 0.03, "undecided"),
    ],
)
def test_the_verdict_follows_the_answers(clean, attacked, label, epsilon, word):
    verdict = playground_verdicts.answer_stands(played(clean, attacked, label, epsilon), [CLEAN])
    assert verdict.networks == word and verdict.method == "undecided"
    assert verdict.sentence.startswith(f"For these networks: {word}. ") and verdict.overturn
    assert ("wrong before any attack" in verdict.sentence) == (label is not None and clean[0] != label)
    assert ("No attack was made" in verdict.sentence) == (attacked is None or not epsilon)
    assert CLASSES[clean[0]] in verdict.sentence and "For the method: undecided (" in verdict.sentence


@pytest.mark.parametrize(
    "wrong, words",
    [
        ({"steps": 0}, "from 1 to 1000"),
        ({"steps": 1001}, "from 1 to 1000"),
        ({"steps": 20.0}, "from 1 to 1000"),
        ({"steps": True}, "from 1 to 1000"),
        ({"steps": "20"}, "from 1 to 1000"),
        ({"steps": None}, "from 1 to 1000"),
        ({"beta": 0}, "above 0"),
        ({"beta": -0.5}, "above 0"),
        ({"beta": float("nan")}, "above 0"),
        ({"beta": float("inf")}, "above 0"),
        ({"beta": "half"}, "above 0"),
        ({"beta": True}, "above 0"),
        ({"order": "sideways"}, "forward"),
        ({"order": None}, "forward"),
        ({"order": ["forward"]}, "forward"),
        ({"attack": "pgd"}, "pgd-linf"),
        ({"attack": None}, "pgd-linf"),
        ({"epsilon": -0.1}, "from 0 to 1,"),
        ({"epsilon": 1.1}, "from 0 to 1,"),
        ({"attack": "pgd-l2", "epsilon": 10.5}, "from 0 to 10,"),
        ({"attack": "none", "epsilon": 11}, "from 0 to 10,"),
        ({"epsilon": float("nan")}, "from 0 to 1,"),
        ({"epsilon": "8/255"}, "from 0 to 1,"),
    ],
)
def test_settings_that_cannot_be_are_refused_in_a_sentence(wrong, words):
    with pytest.raises(InputError) as error:
        playground.Settings(**wrong)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_settings_at_their_bounds_are_taken():
    for good in (
        {"steps": 1},
        {"steps": np.int64(1000)},
        {"beta": 1e-9},
        {"attack": "pgd-l2", "epsilon": 10},
        {"epsilon": 0},
    ):
        playground.Settings(**good)


@pytest.fixture(scope="module")
def garment(smoke):
    """(test image 0, its label) of the networks of `smoke`."""
    test = data.load("sample", "test")
    return data.as_float(test.images[:1]), int(test.labels[0])


def coloured(dataset="cifar10", **settings):
    """An untrained network of CIFAR-10."""
    torch.manual_seed(0)
    net = EPCNN((4, 5, 6, 6), (1, 1, 1, 0), image_size=32, mean=0.5, std=0.3, **settings)
    record = {"dataset": dataset, "model": "ep-cnn", "scale": "quick", "seed": 3}
    return checkpoints.Checkpoint("coloured", net.eval().requires_grad_(False), record)


@pytest.mark.parametrize("order", ["synchronous", "forward"])
@pytest.mark.parametrize("attack, threat", [("pgd-linf", ("linf", 0.1)), ("pgd-l2", ("l2", 3.0))])
def test_a_run_is_what_settling_and_attacking_apart_give(smoke, garment, order, attack, threat):
    net, (image, label) = smoke["ep-cnn"].net, garment
    settings = playground.Settings(9, 0.4, order, attack, threat[1])
    run = playground.play(smoke["ep-cnn"], image, label, settings)
    model, y = attacks.AttackedModel(net, 9, order), torch.tensor([label])
    adversarial = attacks.pgd(model, image, y, attacks.ThreatModel(*threat), 20)
    assert torch.equal(run.clean.image, image) and torch.equal(run.attacked.image, adversarial)
    for seen in (run.clean, run.attacked):
        end, later = (settle(net, seen.image, steps, order) for steps in (9, 36))
        assert torch.allclose(seen.chances, end.logits.softmax(1)[0], atol=1e-6)
        assert torch.allclose(seen.chances, seen.curves[9]) and seen.curves.shape == (37, 10)
        assert torch.allclose(seen.curves[-1], later.logits.softmax(1)[0], atol=1e-5)
        assert torch.allclose(seen.residual[[9, 36]], torch.cat([end.residual, later.residual]), atol=1e-5)
        assert (seen.answer, seen.later) == (end.logits.argmax(), later.logits.argmax())
        assert all(torch.allclose(a, b[0], atol=1e-6) for a, b in zip(seen.states, end.states, strict=True))
    end, back = settle(net, image, 9, order), {"synchronous": "synchronous", "forward": "backward"}[order]
    for chances, beta in zip(run.nudged, (0.4, -0.4), strict=True):
        pulled = settle(net, image, 10, back, y, beta, start=end).logits.softmax(1)[0]
        assert torch.allclose(chances, pulled, atol=1e-6)
    assert run.nudged[0][label] > run.clean.chances[label] > run.nudged[1][label]


def test_without_a_label_the_attack_leaves_the_networks_own_answer(smoke, garment):
    image, _ = garment
    settings = playground.Settings(6, 0.5, "forward", "pgd-linf", 0.1)
    run = playground.play(smoke["ep-cnn"], image, None, settings)
    same = playground.play(smoke["ep-cnn"], image, run.clean.answer, settings)
    assert torch.equal(run.attacked.image, same.attacked.image)
    assert run.nudged is None and same.nudged is not None and run.label is None


def test_a_feed_forward_network_has_no_phases(smoke, garment):
    net, (image, label) = smoke["cnn"].net, garment
    run = playground.play(smoke["cnn"], image, label, playground.Settings(epsilon=0.1))
    assert torch.allclose(run.clean.chances, net(image).softmax(1)[0])
    expected = attacks.pgd(
        attacks.AttackedModel(net), image, torch.tensor([label]), attacks.ThreatModel("linf", 0.1), 20
    )
    assert torch.equal(run.attacked.image, expected)
    assert run.nudged is run.clean.curves is run.clean.residual is None and run.clean.states == ()
    assert run.clean.later == run.clean.answer and not run.recurrent


def test_own_means_what_the_network_was_trained_with(smoke, garment):
    net = smoke["ep-cnn"].net
    run = playground.play(smoke["ep-cnn"], *garment, playground.Settings(attack="none"))
    assert (run.settings.steps, run.settings.order) == (net.steps, net.order)
    assert run.attacked is None and len(run.clean.curves) == 4 * net.steps + 1


@pytest.mark.parametrize(
    "image, label, words",
    [
        (torch.zeros(1, 3, 16, 16), None, "images of shape"),
        (torch.zeros(2, 3, 32, 32), None, "give one"),
        (torch.full((1, 3, 32, 32), 2.0), None, "finite pixels"),
        (torch.zeros(1, 3, 32, 32), 10, "from 0 to 9"),
        (torch.zeros(1, 3, 32, 32), -1, "from 0 to 9"),
    ],
)
def test_images_and_labels_that_do_not_fit_are_refused(smoke, image, label, words):
    with pytest.raises(InputError, match=words):
        playground.play(smoke["ep-cnn"], image, label, playground.Settings())


def encoded(picture, kind="PNG", **options):
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def pixels(content, **options):
    """What a network of CIFAR-10 is shown of a picture, uint8 [H, W, C]."""
    given = playground_pictures.picture(content, coloured(), **options)
    assert given.label is None and given.image.shape == (1, 3, 32, 32)
    assert given.image.min() >= 0 and given.image.max() <= 1
    return (given.image[0] * 255).round().byte().permute(1, 2, 0).numpy()


def test_a_picture_of_the_networks_size_is_shown_as_it_is():
    drawn = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    for kind in ("PNG", "BMP", "TIFF"):
        assert np.array_equal(pixels(encoded(Image.fromarray(drawn), kind)), drawn)
    given = playground_pictures.picture(encoded(Image.fromarray(drawn)), coloured())
    assert given.words == "your own picture of 32 × 32 pixels"


def test_test_images_and_those_of_foolbox_are_the_ones_of_that_number(smoke):
    test = data.load("sample", "test")
    given = playground_pictures.picture("sample:7", smoke["cnn"])
    assert torch.equal(given.image[0], data.as_float(test.images[7])) and given.label == test.labels[7]
    assert given.words == "test image 7 of the Fashion-MNIST sample"
    shape = {"shape": (32, 32), "data_format": "channels_first", "bounds": (0, 1)}
    images, labels = foolbox_samples("cifar10", index=0, batchsize=20, **shape)
    for i in (0, 4, 19):
        given = playground_pictures.picture(f"foolbox:{i}", coloured())
        assert np.allclose(given.image[0].numpy(), images[i], atol=1e-6) and given.label == labels[i]
    given = playground_pictures.picture("foolbox:4", smoke["cnn"])
    assert given.label is None and "(frog)" in given.words and "in grey" in given.words
    assert "10 other classes" in given.words


def test_pictures_for_a_network_of_garments_are_grey_framed_and_exchanged_when_asked(smoke):
    drawn = np.random.default_rng(1).integers(0, 256, (28, 28, 3)).astype(np.uint8)
    content = encoded(Image.fromarray(drawn))
    plain, exchanged = (
        playground_pictures.picture(content, smoke["cnn"], invert).image[0] for invert in (False, True)
    )
    luma = drawn @ np.array([0.299, 0.587, 0.114])
    assert np.allclose(plain[:, 2:-2, 2:-2] * 255, luma, atol=1) and torch.equal(plain[0], plain[2])
    assert torch.allclose(exchanged[:, 2:-2, 2:-2], 1 - plain[:, 2:-2, 2:-2])
    for image in (plain, exchanged):
        assert image[:, :2].max() == image[:, -2:].max() == image[..., :2].max() == image[..., -2:].max() == 0
    clear = encoded(Image.new("RGBA", (28, 28), (255, 0, 0, 0)))
    for invert in (False, True):  # what shows through is the ground of a garment
        assert playground_pictures.picture(clear, smoke["cnn"], invert).image.max() == 0
    said = playground_pictures.picture(content, smoke["cnn"], True).words
    assert said.endswith("28 × 28 pixels, in grey, light and dark exchanged, in a black frame")


def test_odd_pictures_are_shown():
    half = Image.new("RGBA", (64, 64), (255, 0, 0, 255))
    half.paste((0, 0, 255, 0), (0, 0, 32, 64))
    shown = pixels(encoded(half))
    assert (shown[:, :12] == 255).all() and (shown[:, 20:] == (255, 0, 0)).all()
    palette = Image.new("P", (40, 40), 1)
    palette.putpalette([0, 0, 0, 10, 200, 30])
    assert (pixels(encoded(palette, "GIF")) == (10, 200, 30)).all()
    assert (pixels(encoded(palette, "GIF", transparency=1)) == 255).all()
    assert (pixels(encoded(Image.new("RGB", (1, 1), (1, 2, 3)))) == (1, 2, 3)).all()
    assert pixels(encoded(Image.new("1", (33, 1), 1))).min() == 255
    wide = Image.new("RGB", (5000, 20), (9, 9, 9))
    wide.paste((200, 100, 50), (2490, 0, 2510, 20))
    assert (pixels(encoded(wide)) == (200, 100, 50)).all()
    said = playground_pictures.picture(encoded(wide), coloured()).words
    assert said.endswith("5000 × 20 pixels, cut to its middle square, scaled to 32 × 32 pixels")
    deep = np.linspace(0, 65535, 32 * 32).reshape(32, 32).astype(np.uint16)
    for kind in ("PNG", "TIFF"):
        assert np.abs(pixels(encoded(Image.fromarray(deep), kind))[..., 0] - deep / 257.0).max() <= 0.51
    assert abs(int(pixels(encoded(Image.new("CMYK", (50, 50), (0, 0, 0, 255)), "JPEG")).max())) < 10


@pytest.mark.parametrize("orientation, turn", [(6, -90), (8, 90), (3, 180)])
def test_a_picture_is_turned_as_its_camera_says(orientation, turn):
    drawn = Image.new("RGB", (64, 64), (20, 20, 20))
    drawn.paste((220, 40, 40), (0, 0, 64, 32))  # red above
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = pixels(encoded(drawn, "JPEG", exif=exif, quality=95))
    upright = pixels(encoded(drawn.rotate(turn), "JPEG", quality=95))
    assert np.abs(turned.astype(int) - upright).mean() < 3
    assert np.abs(turned.astype(int) - pixels(encoded(drawn, "JPEG", quality=95))).mean() > 30


def test_a_camera_picture_with_its_preview_is_one_picture():
    big, small = Image.new("RGB", (64, 64), (200, 10, 10)), Image.new("RGB", (16, 16), (0, 255, 0))
    shown = pixels(encoded(big, "MPO", save_all=True, append_images=[small]))
    assert np.abs(shown.astype(int) - (200, 10, 10)).max() < 6


def test_what_is_no_single_whole_picture_is_refused_in_a_sentence(monkeypatch, tmp_path):
    noise = Image.fromarray(np.random.default_rng(2).integers(0, 256, (90, 90, 3)).astype(np.uint8))
    png, jpeg = encoded(noise), encoded(noise, "JPEG")
    frames = {"save_all": True, "append_images": [Image.new("RGB", (90, 90))]}
    wrong = {
        "damaged": [png[: len(png) // 2], jpeg[: len(jpeg) // 2], png[:200] + b"\0" * 99 + png[299:]],
        "no picture": [b"not a picture", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"\x80\x04K\x01.", b"<svg></svg>"],
        "animated": [encoded(noise, k, **frames) for k in ("GIF", "PNG", "WEBP", "TIFF")],
        "60 million": [encoded(Image.new("1", (s, 8000))) for s in (8000, 30000)],
        "empty": [b""],
        "8 or 16 bits": [encoded(Image.fromarray(np.full((8, 8), 0.5, np.float32)), "TIFF")],
    }
    for words, contents in wrong.items():
        for content in contents:
            with pytest.raises(InputError, match=words) as error:
                playground_pictures.picture(content, coloured())
            assert "\n" not in str(error.value)
    monkeypatch.setattr(playground_pictures, "BYTES", 1000)
    (tmp_path / "large.png").write_bytes(png)
    for large in (png, tmp_path / "large.png"):
        with pytest.raises(InputError, match="at most 0 MB"):
            playground_pictures.picture(large, coloured())


@pytest.mark.parametrize(
    "source, words",
    [
        ("sample:2000", "numbers 0 to 1999"),
        ("sample:-1", "whole number"),
        ("sample:", "whole number"),
        ("sample:1.5", "whole number"),
        ("sample:٣", "whole number"),
        ("foolbox:20", "images 0 to 19"),
        ("foolbox:first", "whole number"),
        ("nowhere.png", "no such file"),
        ("other:3", "no such file"),
        ("/dev/zero", "no such file"),
        (".", "no such file"),
        ("a\0b", "no such file|name of a file"),
        ("x" * 5000, "name of a file"),
        ("", "give 'sample:0'"),
        (None, "give 'sample:0'"),
        (3, "give 'sample:0'"),
    ],
)
def test_sources_that_are_none_are_refused_in_a_sentence(smoke, source, words):
    with pytest.raises(InputError, match=words) as error:
        playground_pictures.picture(source, smoke["cnn"])
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="True or False"):
        playground_pictures.check("sample:0", "yes")


def test_a_path_is_read(smoke, tmp_path):
    content = encoded(Image.new("RGB", (40, 30), (80, 90, 100)))
    (tmp_path / "mine.png").write_bytes(content)
    for source in (str(tmp_path / "mine.png"), tmp_path / "mine.png"):
        given = playground_pictures.picture(source, smoke["cnn"])
        assert torch.equal(given.image, playground_pictures.picture(content, smoke["cnn"]).image)
    (tmp_path / "empty.png").touch()
    with pytest.raises(InputError, match="empty"):
        playground_pictures.check(tmp_path / "empty.png")


def test_stored_networks_are_listed_by_name_and_damaged_records_left_out(out):
    before = playground.networks()
    assert "EP-CNN, Fashion-MNIST sample, quick scale, seed 11" in before
    assert all(path.exists() and path.suffix == ".safetensors" for path in before.values())
    first = [name for name in before if "quick" in name][0]
    assert first.startswith("EP-CNN, ") and not any("unfinished" in str(p) for p in before.values())
    folder = out / "checkpoints" / "quick"
    files.write(folder / "broken-sample-s1.json", "{")
    files.write(folder / "empty-sample-s1.json", "{}")
    files.write(folder / "list-sample-s1.json", "[1]")
    files.write_json(folder / "gone-sample-s1.json", coloured("sample").record)  # without weights
    assert playground.networks() == before
    coloured_net = coloured("sample")
    checkpoints.save(folder, coloured_net.net, "ep-cnn", "sample", "quick", 5, {})
    assert set(playground.networks()) - set(before) == {"EP-CNN, Fashion-MNIST sample, quick scale, seed 5"}


def test_the_network_that_plays_is_chosen_or_refused(out):
    assert playground.choose("quick", "default", "all", "cnn") == chapters.Shown("quick", "sample", (11,))
    assert playground.choose("quick", "default", [17, 13], "ep-cnn").seeds == (17,)
    assert playground.choose("smoke", "default", "all", "ep-cnn") == chapters.Shown("smoke", "sample", (0,))
    for network, seeds, words in (
        ("lenet", "all", "unknown network 'lenet'"),
        (None, "all", "unknown network None"),
        (["cnn"], "all", "unknown network"),
        ("cnn", [999], "no stored network cnn with seed 999"),
        ("judge-l2", "all", "no stored network judge-l2 with seed 11"),
        ("ep-cnn-16", "all", "unknown model"),
        ("cnn", "one", "give 'all'"),
    ):
        with pytest.raises(InputError, match=words):
            playground.choose("quick", "default", seeds, network)
    with pytest.raises(InputError, match="no stored network vit-8"):
        playground.choose("smoke", "default", "all", "vit-8")


@pytest.fixture(scope="module")
def run(smoke, garment):
    return playground.play(smoke["ep-cnn"], *garment, playground.Settings(epsilon=0.1))


def test_the_figure_says_how_to_read_it_and_what_it_shows(run):
    drawn = playground_figures.figure(run, "test image 0")
    assert drawn.label == "fig-playground" and drawn.caption.startswith(
        "How to read it: on the left test image 0"
    )
    assert "brown for its attacked copy; bold is the true class" in drawn.caption
    assert "The dotted line is step 6, " in drawn.caption and "goes on to 24" in drawn.caption
    for seen in (run.clean, run.attacked):
        assert f"{run.classes[seen.answer]} {playground_sentences.percent(seen.chances.max())}" in drawn.alt
    assert (
        drawn.alt.startswith("Test image 0. The EP-CNN says ") and "Residual after 6 free steps" in drawn.alt
    )
    assert drawn.svg == playground_figures.figure(run, "test image 0").svg
    assert drawn.svg.count("<image") == 3


def test_figures_without_attack_label_or_phases_say_less(run, smoke, garment):
    calm = playground.play(smoke["ep-cnn"], garment[0], None, playground.Settings(1, attack="none"))
    drawn = playground_figures.figure(calm, "a picture")
    assert drawn.svg.count("<image") == 1 and "attack" not in drawn.caption + drawn.alt
    assert "bold" not in drawn.caption and "Residual after 1 free step:" in drawn.alt
    flat = playground_figures.figure(
        playground.play(smoke["cnn"], *garment, playground.Settings()), "a picture"
    )
    assert "free step" not in flat.caption + flat.alt and flat.svg.count("<image") == 3
    assert "The CNN says" in flat.alt


def test_classes_that_matter_are_the_answers_the_truth_and_the_likeliest():
    run = played((3, 4), (5, 5), label=7)
    assert playground_figures.ranked(run) == [3, 5, 7, 4]
    assert playground_figures.ranked(played((3, 3), (3, 3), label=None)) == [3, 0, 1, 2]


def test_the_answer_is_one_sentence_about_the_run(run, smoke, garment):
    said = playground_sentences.answer(run, "test image 0")
    assert said.startswith(sentences.BEGINNING + "Shown test image 0, the EP-CNN says ")
    right = "and is right" if run.clean.answer == garment[1] else f"and is wrong: it is {CLASSES[garment[1]]}"
    assert right in said and "after 6 forward steps its state had not settled (residual" in said
    assert "under PGD of ℓ∞ ε = 25.5/255 it" in said and said.endswith(".")
    calm = playground.play(smoke["cnn"], garment[0], None, playground.Settings(attack="none"))
    said = playground_sentences.answer(calm, "it")
    assert said.endswith("; it was not attacked.") and "right" not in said and "settled" not in said
    resting = played((3, 3), (3, 3))
    assert "had not settled" in playground_sentences.answer(resting, "it")  # 1e-3 is not below 1e-3
    resting.clean.residual.fill_(9e-4)
    assert "its state had settled (residual 0.0009)" in playground_sentences.answer(resting, "it")
    assert "it still says" in playground_sentences.answer(resting, "it")


def test_tables_hold_the_numbers_of_the_run(run, smoke, garment):
    told = playground_sentences.numbers(run)
    for seen in (run.clean, run.attacked):
        assert f"{seen.residual[6]:.2g}" in told and f"{seen.residual[24]:.2g}" in told
    assert "nudged by β = +0.5" in told and "nudged by β = −0.5" in told
    assert "<td>0.1</td>" in told and "distance from the image, ℓ∞" in told
    states = playground_sentences.layers(run)
    assert states.count("<tr>") == 1 + len(run.clean.states) and "mean change by the attack" in states
    assert f"{run.clean.states[0].mean():.3f}" in states
    flat = playground.play(smoke["cnn"], garment[0], None, playground.Settings(attack="none"))
    assert playground_sentences.layers(flat) == "" and "attacked" not in playground_sentences.numbers(flat)
    assert "feed-forward" in playground_sentences.numbers(flat)


@pytest.mark.parametrize(
    "chance, said", [(1.0, "100.0%"), (0.99996, ">99.9%"), (0.994, "99.4%"), (0.5, "50%"), (0.0, "0%")]
)
def test_only_a_certainty_is_a_hundred_per_cent(chance, said):
    assert playground_sentences.percent(chance) == said


def test_limits_speak_of_this_network(run, out):
    right = np.arange(20) < 15
    found = [Result(CLEAN.settings, None, CLEAN.image_ids, right, right[None], {})]
    said = playground_sentences.limits(run, found, chapters.Shown("quick", "sample", (11,)))
    assert "75.0% of 20 Fashion-MNIST sample test images" in said and "ankle-boot" in said
    assert "The EP-CNN shown here" in said


def undrawn(run, words):
    """What a figure says, without the drawing, which takes most of the time."""
    return pictures.Picture("fig", "", playground_figures.caption(run, words), str(run.clean.chances))


@pytest.fixture
def live(run, monkeypatch):
    """({description: control}, its message line, what it shows) of the playground in JupyterLab."""
    monkeypatch.delenv("EPLIB_STATIC", raising=False)
    monkeypatch.setattr(playground_figures, "figure", undrawn)
    *controls, message, shown = playground_widget.widget(run, "sample:0", "test image 0").children
    assert all(len(c.description) > 2 for c in controls)
    return {c.description: c for c in controls}, message, shown


def test_the_widget_begins_with_the_run_of_the_page(live, run):
    controls, message, shown = live
    assert controls["network"].value == playground.title(run.checkpoint.record)
    told = [controls[n].value for n in ("image", "free steps T", "order of updates", "attack")]
    assert told == ["sample:0", 6, "forward", "pgd-linf"]
    assert controls["nudging β"].value == 0.5 and controls["ε (pixels in 0 to 1)"].value == 0.1
    assert message.value == "" and shown.value == playground_widget.shown(run, "test image 0")


def test_what_is_shown_has_sentence_figure_and_tables(run):
    page = playground_widget.shown(run, "test image 0")
    assert page.startswith("<p>Shown test image 0, the EP-CNN says") and page.count("<table") == 2
    assert page.count('<figure class="eplib" id="fig-playground">') == 1


def test_the_widget_runs_what_its_controls_say(live, smoke):
    controls, message, shown = live
    controls["image"].value, controls["free steps T"].value = "sample:2", 3
    controls["order of updates"].value, controls["nudging β"].value = "synchronous", 0.1
    controls["attack"].value = "pgd-l2"
    controls["ε (pixels in 0 to 1)"].value = 2.0
    before = shown.value
    assert "PGD of ℓ2" not in before
    controls["run"].click()
    given = playground_pictures.picture("sample:2", smoke["ep-cnn"])
    settings = playground.Settings(3, controls["nudging β"].value, "synchronous", "pgd-l2", 2.0)
    there = playground.play(smoke["ep-cnn"], given.image, given.label, settings)
    assert shown.value == playground_widget.shown(there, given.words) and "ℓ2 ε = 2" in shown.value
    assert message.value == "" and not controls["run"].disabled
    controls["attack"].value = "none"
    assert controls["ε (pixels in 0 to 1)"].disabled
    controls["run"].click()
    assert "it was not attacked" in shown.value


def test_a_run_that_breaks_off_is_said_and_the_next_one_goes_on(live, monkeypatch):
    controls, message, shown = live
    before = shown.value
    with monkeypatch.context() as broken:
        broken.setattr(playground, "play", lambda *_: 1 / 0)
        controls["run"].click()  # ipywidgets logs what a handler raises
    assert "broke off" in message.value and shown.value == before
    controls["run"].click()
    assert message.value == "" and not controls["run"].disabled


def test_the_widget_takes_the_readers_picture_and_keeps_what_it_shows_when_it_cannot(live):
    controls, message, shown = live
    before = shown.value
    controls["image"].value = "own"
    controls["run"].click()
    assert "no picture of your own is there yet" in message.value and shown.value == before
    controls["image"].value = "sample:1"

    def upload(content):
        told = {"name": "mine", "type": "image/png", "size": len(content), "last_modified": datetime.now()}
        controls["your own picture"].value = ({**told, "content": memoryview(content)},)

    upload(b"<script>")
    assert controls["image"].value == "own"
    controls["run"].click()
    assert "no picture that can be read" in message.value and shown.value == before
    assert 'role="status"' in message.value and not controls["run"].disabled
    upload(encoded(Image.new("RGB", (50, 70), (200, 100, 0))))
    controls["run"].click()
    assert message.value == "" and "your own picture of 50 × 70 pixels" in shown.value


def test_the_widget_sets_the_free_phase_to_a_networks_own(live):
    controls, message, shown = live
    sixty = next(n for n in controls["network"].options if n.startswith("EP-CNN, 60 + "))
    controls["network"].value = sixty
    assert (controls["free steps T"].value, controls["order of updates"].value) == (60, "synchronous")
    controls["network"].value = "CNN, Fashion-MNIST sample, quick scale, seed 11"
    assert all(controls[n].disabled for n in ("free steps T", "nudging β", "order of updates"))
    controls["run"].click()
    assert "the CNN says" in shown.value and message.value == ""
    controls["network"].index = 0
    assert controls["free steps T"].value == 6 and not controls["free steps T"].disabled


def test_the_widget_begins_with_settings_outside_its_sliders(smoke, garment, monkeypatch):
    monkeypatch.delenv("EPLIB_STATIC", raising=False)
    monkeypatch.setattr(playground_figures, "figure", undrawn)
    settings = playground.Settings(2, 1e-5, "backward", "pgd-linf", 0.9)
    odd = playground.play(smoke["ep-cnn"], *garment, settings)
    box = playground_widget.widget(odd, "/home/me/cat.png", "your own picture")
    controls = {c.description: c for c in box.children[:-2]}
    assert controls["nudging β"].value == 1e-5 and controls["ε (pixels in 0 to 1)"].value == 0.9
    assert controls["image"].value == "/home/me/cat.png"


def test_the_built_page_says_that_it_has_no_kernel(run, monkeypatch):
    monkeypatch.setenv("EPLIB_STATIC", "1")
    page = playground_widget.widget(run, "sample:0", "test image 0")
    assert page._repr_html_() == page and "no kernel" in page and "jupyter lab book/playground.ipynb" in page
    linked = re.findall(r'href="([\w-]+)\.html"', page)
    assert len(linked) == 5 and set(linked) < set(book.slugs())
    assert "http" not in page and "<script" not in page


def run_first_cells(**parameters):
    """The page's cells up to the one that checks its parameters, with some of them changed."""
    cells = json.loads((book.CHAPTERS / "playground.ipynb").read_text())["cells"]
    code = ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]
    names = {}
    exec(code[0], names)
    assert set(parameters) <= set(names)
    names |= parameters
    exec(next(c for c in code if "playground.Settings(" in c), names)
    return names


@pytest.mark.parametrize(
    "wrong, words",
    [
        ({"steps": 0}, "steps = 0"),
        ({"beta": "strong"}, "beta = 'strong'"),
        ({"order": "up"}, "unknown order of updates 'up'"),
        ({"attack": "fgsm"}, "unknown attack 'fgsm'"),
        ({"epsilon": 2}, "epsilon = 2"),
        ({"image": "cat.jpg"}, "no such file"),
        ({"image": 3}, "image = 3"),
        ({"invert": 1}, "invert = 1"),
        ({"network": "alexnet"}, "unknown network 'alexnet'"),
        ({"scale": "tiny"}, "unknown scale 'tiny'"),
        ({"dataset": "mnist"}, "unknown data set 'mnist'"),
        ({"seeds": "eleven"}, "seeds = 'eleven'"),
    ],
)
def test_the_page_refuses_each_parameter_before_it_computes(wrong, words, out):
    with pytest.raises(InputError) as error:
        run_first_cells(**{"scale": "smoke"} | wrong)
    assert words in str(error.value) and "\n" not in str(error.value)
    assert not list(out.rglob("*.safetensors"))
    assert run_first_cells(scale="smoke")["shown"].scale == "smoke"

import base64
import io
import json

import numpy as np
import pytest
import torch
from corrupted import falling, result
from PIL import Image

from eplib import checkpoints, data
from eplib import corruption_explorer as explorer
from eplib.attacks import AttackedModel
from eplib.corruption_curves import COLOUR_NOTE, words
from eplib.corruptions import CIFAR_C, FAMILIES, corrupt

MODELS = {"ep-cnn": 0.9, "cnn": 0.7, "vit-8": 0.8}  # accuracy at severity 0
IDS = [4, 9, 30]


def frame(corruption, severity):
    return 1 + 5 * CIFAR_C.index(corruption) + severity - 1


@pytest.fixture(scope="module")
def found():
    """{model: [Result]} of the EP-CNN two seeds, and of another network that is not shown."""
    every = {m: [result(m, falling(MODELS[m], 0.05), MODELS[m])] for m in MODELS}
    every["ep-cnn"].append(result("ep-cnn", falling(0.8, 0.05), 0.8, seed=13))
    return every | {"mixer": [result("mixer", 0.5)]}


@pytest.fixture(scope="module")
def nets():
    return [checkpoints.load(checkpoints.find("quick", m, "sample", 11)).net for m in MODELS]


@pytest.fixture(scope="module")
def test():
    return data.load("sample", "test")


@pytest.fixture(scope="module")
def given(found, nets, test):
    entries = [explorer.image_data(nets, test, i) for i in IDS]
    return explorer.page_data({m: found[m] for m in MODELS}, test, entries)


def sheet_frames(entry, columns):
    """uint8 [96, 32, 32, 3], what a page's picture holds."""
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(entry["sheet"].split(",")[1]))))
    rows = picture.reshape(-1, 32, columns, 32, 3).transpose(0, 2, 1, 3, 4)
    return rows.reshape(-1, 32, 32, 3)[:96]


def test_a_page_holds_the_corrupted_images_and_what_networks_say_of_them(given, nets, test):
    assert json.loads(json.dumps(given)) == given
    for name, severity in (("gaussian_noise", 1), ("frost", 3), ("saturate", 5)):
        x = corrupt(data.as_float(test.images[IDS]), name, severity, IDS)
        pixels = (x * 255).round().byte().permute(0, 2, 3, 1).numpy()
        for m, net in enumerate(nets):
            with torch.no_grad():
                chances = AttackedModel(net)(x).softmax(1).numpy()
            for i, entry in enumerate(given["images"]):
                seen = sheet_frames(entry, given["columns"])
                assert np.array_equal(seen[frame(name, severity)], pixels[i])
                assert np.array_equal(seen[0], test.images[IDS[i]].permute(1, 2, 0).numpy())
                c, confidence = entry["answers"][m][frame(name, severity)]
                assert c == chances[i].argmax() and confidence == pytest.approx(chances[i, c], abs=6e-4)
    assert [e["id"] for e in given["images"]] == IDS
    assert [e["label"] for e in given["images"]] == test.labels[IDS].tolist()
    assert [t["name"] for t in given["types"]] == [words(c, "sample") for c in CIFAR_C]
    assert [t["family"] for t in given["types"]] == [FAMILIES[c] for c in CIFAR_C]
    assert given["note"] == COLOUR_NOTE and given["last"] == len(test) - 1


def test_beside_an_image_stand_the_measured_accuracies(given, found):
    named = [(m["name"], m["count"], m["seeds"]) for m in given["models"]]
    assert [m[1:] for m in named] == [(100, 2), (100, 1), (100, 1)]
    assert [m[0].partition(",")[0] for m in named] == ["EP-CNN", "CNN", "ViT"]
    assert len({m["colour"] for m in given["models"]}) == 3
    for of, start in zip(given["models"], ([0.9, 0.8], [0.7], [0.8]), strict=True):
        assert of["rates"][0] == pytest.approx(np.mean(start))
        for name, severity in (("shot_noise", 1), ("saturate", 5)):
            of_seeds = [falling(s, 0.05)(name, severity, None) for s in start]
            assert of["rates"][frame(name, severity)] == pytest.approx(np.mean(of_seeds))


def test_images_are_the_first_of_each_class_that_all_networks_get_right():
    labels = torch.tensor([3, 3, 5, 3, 5, 1, 2, 0])
    results = {m: [result(m, 0.5, n=8)] for m in ("ep-cnn", "cnn")}
    results["ep-cnn"][0].correct_clean[:] = [0, 1, 1, 1, 1, 1, 0, 0]
    results["cnn"][0].correct_clean[:] = [1, 1, 0, 1, 1, 1, 1, 1]
    assert explorer.chosen(results, labels) == [1, 4, 5, 0]  # 0 is the first of the others
    results["cnn"][0].correct_clean[:] = [1, 1, 1, 1, 1, 1, 1, 1]
    results["ep-cnn"][0].correct_clean[:] = 1
    assert explorer.chosen(results, labels) == [0, 2, 5, 6]
    results["cnn"][0].image_ids[:] += 2  # of the images that all have seen
    assert explorer.chosen(results, labels) == [2, 3, 5, 6]


def test_a_page_shows_fewer_images_where_they_are_large(monkeypatch):
    entries = [{"sheet": "x" * 10} for _ in range(4)]
    for room, count in ((5, 1), (20, 2), (39, 3), (40, 4)):
        monkeypatch.setattr(explorer, "LARGEST", room)
        assert explorer.fitting(iter(entries)) == entries[:count]


def test_it_opens_at_the_widest_gap_that_an_image_shows():
    accuracies = np.array([[0.9, 0.5, 0.6, 0.2, 0.5], [0.1, 0.4, 0.3, 0.6, 0.5]])  # gaps .8, .1, .3, −.4, 0
    right = np.zeros((3, 2, 5), bool)
    assert explorer.opening(accuracies, right) == [0, 3]  # no image tells the two apart
    right[1, 0] = True  # the first network has the second image right everywhere: frames 1 and 2 are possible
    assert explorer.opening(accuracies, right) == [1, 2]
    right[2, 1, 3] = True  # the second network is the better one there
    assert explorer.opening(accuracies, right) == [2, 3]
    right[0, 1, 3] = True
    assert explorer.opening(accuracies, right) == [0, 3]
    right[0, 0, 3] = right[2, 0, 3] = True  # no longer told apart
    assert explorer.opening(accuracies, right) == [1, 2]
    assert explorer.opening(accuracies[::-1], right[:, ::-1]) == [1, 2]

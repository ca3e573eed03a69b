import base64
import io
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from eplib import data, explorers, scales, training
from eplib import semantics_gallery as gallery
from eplib.attacks import AttackedModel, predicted

LENGTHS = gallery.LENGTHS


@pytest.fixture(scope="module")
def made():
    """(page data, networks, judge, test): two untrained networks, an untrained judge, two images."""
    test = data.load("sample", "test")

    def net(seed, model="cnn"):
        return AttackedModel(training.initial(scales.row("smoke", model), test.images[:50], 10, seed).eval())

    nets, judge = {"cnn": net(0), "vit-8": net(1, "vit-8")}, net(2)
    x = data.as_float(test.images[:2])
    entries = [gallery.image_data(nets, judge, x[i], int(test.labels[i]), i) for i in range(2)]
    return gallery.page_data(nets, judge, test, entries), nets, judge, test


def frames(entry, columns):
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(entry["sheet"].split(",")[1]))))
    rows = picture.reshape(-1, 32, columns, 32, 3).transpose(0, 2, 1, 3, 4)
    return rows.reshape(-1, 32, 32, 3)


def test_frames_are_the_attacks_and_answers_those_of_the_network_and_the_judge(made):
    given, nets, judge, test = made
    assert json.loads(json.dumps(given)) == given and [m["name"] for m in given["models"]][0] == "CNN"
    for i, entry in enumerate(given["images"]):
        x, seen = data.as_float(test.images[i]), frames(entry, given["columns"])
        assert np.array_equal(seen[0], test.images[i].permute(1, 2, 0).numpy())
        count = 1 + len(nets) * 10 * len(LENGTHS)
        assert len(entry["answers"]) == len(entry["judged"]) == count
        for m, net in enumerate(nets.values()):
            z = gallery.attacked(net, x, entry["label"], 10)
            lengths = (z - x).flatten(2).norm(dim=2)
            assert (lengths <= torch.tensor(LENGTHS) + 1e-4).all() and (
                lengths[:, 0] > 0.9 * LENGTHS[0]
            ).all()
            place = 1 + (m * 10 + 3) * len(LENGTHS) + 2
            assert np.abs(seen[place] / 255 - z[3, 2].permute(1, 2, 0).numpy()).max() < 0.003
            assert entry["answers"][place][0] == predicted(net, z[3, 2][None]).item()
            assert entry["judged"][place][0] == predicted(judge, z[3, 2][None]).item()
    other = gallery.image_data(nets, None, data.as_float(test.images[0]), 0, 0)
    assert other["judged"] == []


def test_an_image_is_taken_to_the_class_or_away_from_its_own(tiny):
    model, x, y = tiny
    z = gallery.attacked(model, x[0], int(y[0]), 10)
    reached = predicted(model, z[:, -1])
    assert (reached == torch.arange(10)).sum() >= 8 and reached[y[0]] != y[0]


def test_the_gallery_follows_its_controls_and_loads_nothing(browser, made):
    given = made[0]
    page = explorers.embed("gallery", given, "How to use it: choose.")
    tab = browser.new_page()
    problems, left = [], []
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.on("request", lambda request: left.append(request.url))
    tab.set_content(f"<!doctype html><body>{page._repr_html_()}")
    tab.wait_for_function("document.querySelector('.eplib-gallery p.said').textContent")
    told, classes = tab.locator(".eplib-gallery p.said"), given["classes"]
    start = given["open"]
    entry = given["images"][start["image"]]
    label = entry["label"]

    def says(network, target, step):
        frame = (network * 10 + target) * len(LENGTHS) + step if step else 0
        return f"the judge says {classes[entry['judged'][frame][0]]}"

    assert says(start["network"], start["target"], 4) in told.inner_text()
    assert f"aimed at {classes[start['target']]}" in told.inner_text()
    tab.get_by_role("combobox", name="network").select_option("1")
    tab.get_by_role("combobox", name="aimed at").select_option(str(label))
    assert "no target" in told.inner_text() and says(1, label, 4) in told.inner_text()
    assert f"away from {classes[label]}" in tab.get_by_role("combobox", name="aimed at").inner_text()
    context = "document.querySelectorAll('.eplib-gallery canvas')[c].getContext('2d')"
    pixels = f"c => [...{context}.getImageData(0, 0, 32, 32).data]"
    assert tab.evaluate(pixels, 0) != tab.evaluate(pixels, 2)
    seen = frames(entry, given["columns"])[(10 + label) * len(LENGTHS) + 4]
    assert np.array_equal(np.array(tab.evaluate(pixels, 2)).reshape(32, 32, 4)[..., :3], seen)
    tab.get_by_label("ℓ2 length").fill("0")
    assert "as it is" in told.inner_text() and tab.evaluate(pixels, 0) == tab.evaluate(pixels, 2)
    assert set(np.array(tab.evaluate(pixels, 1)).reshape(-1, 4)[:, :3].ravel()) == {128}
    other = 1 - start["image"]
    tab.get_by_role("combobox", name="image").select_option(str(other))
    assert classes[given["images"][other]["label"]] in told.inner_text()
    tab.set_viewport_size({"width": 320, "height": 700})
    assert tab.evaluate("document.documentElement.scrollWidth <= 320")
    assert problems == [] and all(url.startswith(("data:", "about:")) for url in left)
    tab.close()


def test_the_page_chooses_its_images_and_networks(monkeypatch, made):
    _, nets, judge, test = made
    monkeypatch.setattr(gallery.explorers, "embed", lambda kind, given, caption: (kind, given, caption))
    told = [[0, 0.5]] * (1 + 3 * 10 * len(LENGTHS))
    entry = {"answers": told, "judged": []}
    monkeypatch.setattr(gallery, "image_data", lambda nets, judge, x, y, i: entry | {"id": i, "label": y})
    chosen = data.as_float(test.images[:2]), test.labels[:2], torch.arange(2)
    monkeypatch.setattr(gallery.perturbations, "chosen", lambda nets, test: chosen)
    every = nets | {"mixer": nets["cnn"]}
    kind, given, caption = gallery.gallery(SimpleNamespace(dataset="sample"), every, None)
    assert kind == "gallery" and len(given["models"]) == 2 and len(given["images"]) == 2
    assert given["judge"] == "" and "no judge" in caption and "How to use it" in caption


def test_it_opens_where_the_judge_is_convinced_by_about_half_of_the_networks():
    count = 1 + 2 * 3 * len(LENGTHS)  # two networks, three classes

    def entry(label, judged=(), answers=()):
        """Who says what of the longest change: (network, target, class, probability)."""
        told = {
            "judged": [[label, 0.5] for _ in range(count)],
            "answers": [[label, 0.5] for _ in range(count)],
        }
        for key, said in (("judged", judged), ("answers", answers)):
            for network, target, c, p in said:
                told[key][(network * 3 + target + 1) * len(LENGTHS)] = [c, p]
        return {"id": 7, "label": label} | told

    def opening(*entries):
        found = gallery.opening(list(entries), 2, 3)
        assert found["length"] == len(LENGTHS)
        return found["image"], found["network"], found["target"]

    both = entry(0, [(0, 1, 1, 0.9), (1, 1, 1, 0.8)])
    assert opening(entry(0), both) == (1, 0, 1)
    one = entry(2, [(1, 0, 0, 0.4)])
    assert opening(both, one) == (1, 1, 0)  # half of the networks, though less certain
    surer = entry(2, [(0, 1, 1, 0.6)])
    assert opening(one, surer) == (1, 0, 1)
    assert opening(entry(0, answers=[(1, 2, 2, 0.7)]), entry(1)) == (0, 1, 2)  # the judge sees no target
    assert opening(entry(1), entry(0)) == (0, 0, 2)  # nothing does
    assert opening(entry(0, [(0, 0, 0, 0.9)]), one) == (1, 1, 0)  # its own class is no target

"""Untrained, imported networks at smoke scale on the pages First attack, What the attack draws, The networks
and More than one transformer.
"""

import json
import re
from types import SimpleNamespace

import drawings
import numpy as np
import pytest
import torch
from torch import nn

from eplib import (
    attack_explorer,
    book,
    chapters,
    data,
    figures,
    imports,
    network_figures,
    networks,
    others,
    perturbation_figures,
    perturbations,
    pictures,
    specimens,
    transformer_figures,
    transformer_sentences,
    transformer_verdicts,
    your_network,
)
from eplib.attacks import AttackedModel
from eplib.network import EPCNN

SHOWN = chapters.Shown("smoke", "sample", (0,))
SLUGS = ("first-attack", "perturbations", "networks", "transformers")
MAIN = ("ep-cnn", "cnn")


@pytest.fixture(scope="module", autouse=True)
def own(tmp_path_factory):
    """The folder that all of this module's networks and results are written to."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("own")
        patch.setenv("EPLIB_OUT", str(folder))
        yield folder


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """{name: path} of two imported networks."""
    folder, found = tmp_path_factory.mktemp("lab"), {}
    for seed, name in enumerate(("lab-net", "lab-halfway")):
        torch.manual_seed(seed)
        net = EPCNN(channels=(4, 6), paddings=(1, 0), steps=4, order="forward", mean=0.25, std=0.5)
        torch.save(your_network.public_checkpoint(net), folder / "checkpoint.tar")
        options = dict(
            dataset="sample", steps=4, order="forward", mean=[0.25] * 3, std=[0.5] * 3, paddings=[1, 0]
        )
        found[name] = str(imports.write(folder / "checkpoint.tar", folder, name, **options))
    return found


@pytest.fixture(autouse=True)
def nobody():
    yield
    others.show([])


def of_first_attack():
    attacked = chapters.outcomes(SHOWN, MAIN, "pgd-linf")
    badge, drawn = chapters.badge(attacked), attacked | others.measured("smoke", "pgd-linf")
    curves = figures.robustness_curves("linf", drawn, badge)
    for name in others.names():
        last, first = (drawn[name][0].correct[place].mean() for place in (-1, 0))
        assert f"{name} {last:.0%} at the largest ε and {first:.0%} at the smallest" in curves.alt
    models = (*MAIN, *others.names())
    examples = specimens.examples(SHOWN, models, "linf", count=2)
    nets = {m: AttackedModel(chapters.networks(SHOWN, m)[0].net) for m in models}
    test = data.load("sample", "test")
    entries = attack_explorer.attacked(nets, test, [0], "linf", [0.1], 1)
    explored = attack_explorer.page_data(nets, test, entries)
    assert len({m["colour"] for m in explored["models"]}) == len(models)
    return curves.alt, figures.attacked_images(examples).alt, json.dumps(explored["models"])


def of_perturbations():
    nets = perturbations.networks(SHOWN, (*perturbations.DRAWN, *others.names()))
    badge, test = chapters.badge(chapters.outcomes(SHOWN, MAIN, "pgd-linf")), data.load("sample", "test")
    images, labels = data.as_float(test.images[:2]), test.labels[:2]
    rows = perturbations.at_budget(nets, images, labels)
    drawn = perturbation_figures.attacks("fig-x", rows, images, labels, test.classes, badge, "PGD.")
    made = perturbations.synthesised(nets, 1)
    return (
        drawn.alt,
        perturbation_figures.filters("fig-y", nets, badge).alt,
        perturbation_figures.synthesised("fig-z", made, nets, None, test.classes, badge, 1).alt,
    )


def of_networks():
    clean = chapters.outcomes(SHOWN, MAIN, "clean")
    stored = networks.entries("smoke", "sample")
    every, badge = stored + networks.of_others("smoke"), chapters.badge(clean)
    assert "2 networks of 2 kinds" in networks.answer(stored, badge)
    for entry in every[2:]:
        right = others.measured("smoke", "clean")[entry.model][0].correct_clean.mean()
        assert entry.accuracies == {"test": pytest.approx(right)} and entry.settled is not None
    return network_figures.overview(every), network_figures.accuracies(every, badge).alt


def of_transformers():
    main = {m: chapters.outcomes(SHOWN, MAIN, m) for m in ("pgd-linf", "pgd-l2")}
    found, badge = transformer_sentences.gathered(SHOWN, main), chapters.badge(main["pgd-linf"])
    assert found["suite-linf"] == found["corruptions"] == {}  # the book has none of them to stand beside
    assert transformer_verdicts.each(found) == {}
    curves = [transformer_figures.against_epsilon(found, m, badge) for m in main]
    (clean,) = transformer_figures.against_clean(found, badge)
    table = transformer_sentences.overview(found)
    for name in others.names():
        assert f"<th>{name}</th><td>imported</td><td>11</td>" in table
    return *(toggle.views["ours"].alt for toggle in curves), clean.alt, table


PAGES = dict(zip(SLUGS, (of_first_attack, of_perturbations, of_networks, of_transformers), strict=True))


@pytest.mark.parametrize("slug", SLUGS)
def test_a_network_of_others_stands_beside_the_own_in_every_figure_and_only_where_it_is_given(slug, lab):
    assert not any("lab-" in text for text in PAGES[slug]())
    others.show(list(lab.values()))
    texts = PAGES[slug]()
    assert texts and all(name in text and "EP-CNN" in text for text in texts for name in lab)


@pytest.mark.parametrize("slug", SLUGS)
def test_the_page_takes_networks_as_its_neighbours_do(slug):
    def first_cells(of):
        cells = json.loads((book.CHAPTERS / f"{of}.ipynb").read_text())["cells"]
        return ["".join(c["source"]) for c in cells if c["cell_type"] == "code"][:2]

    assert first_cells(slug)[1] == first_cells("white-box")[1]
    assert first_cells(slug)[0].splitlines()[-1] == first_cells("white-box")[0].splitlines()[-1]


def test_names_of_networks_of_others_stand_apart_in_colours_of_their_own(monkeypatch):
    monkeypatch.setattr(figures, "draw", drawings.axes_only)
    right = np.arange(40) < np.array([[36], [27], [18], [9], [4], [2]])
    result = SimpleNamespace(
        image_ids=np.arange(40), correct=right, settings={"epsilons": np.geomspace(1e-3, 0.1, 6)}
    )
    models = (*MAIN, "lab-net", "lab-halfway")
    ours = figures.robustness_curves(
        "linf", dict.fromkeys(models, [result]), chapters.Badge("sample", "smoke", 40, (0,))
    )[1]
    names = {t.get_text(): t for t in ours.texts}
    assert set(names) == {pictures.name(m) for m in models}
    assert len({t.get_color() for t in names.values()}) == len(models)
    places = [names[m].xy for m in ("EP-CNN", "lab-net", "lab-halfway")]
    assert places[0][1] > places[1][1] > places[2][1]


def test_what_is_not_known_of_its_training_is_left_open(lab):
    others.show(lab["lab-net"])
    (entry,) = networks.of_others("smoke")
    assert networks.in_words(entry.record) == "4-6, 4 forward steps; imported from checkpoint.tar"
    entry.record["device"] = "a machine that only read it"
    row = re.findall(
        r"<t[hd][^>]*>(.*?)</t[hd]>", str(network_figures.overview([entry])).partition("<tbody>")[2]
    )
    own = sum(p.numel() for p in others.at("smoke")["lab-net"][0].net.parameters())
    assert row[2:6] == ["11", "–", f"{own:,}", "–"] and row[-1] == "lab-net-sample-s11.safetensors"
    assert "only read it" not in network_figures.overview([entry])
    described = {
        "network": {"kind": "Imported", "source": "my_models:small"},
        "training": entry.record["training"],
    }
    assert networks.in_words(described) == "my_models:small; imported from checkpoint.tar"


def test_first_filters_are_shown_of_networks_that_have_some_for_colours():
    convolution, grey = nn.Conv2d(3, 2, 3), nn.Conv2d(12, 2, 1)
    nets = {
        "ep-cnn": convolution,
        "cnn": nn.Linear(4, 2),
        "vit-8": nn.Sequential(nn.Unfold(2, stride=2), grey),
    }
    nets = {model: SimpleNamespace(net=net) for model, net in nets.items()}
    alt = perturbation_figures.filters("fig-x", nets, chapters.Badge("sample", "smoke", 4, (0,))).alt
    assert alt.endswith("EP-CNN 3×3 pixels.")


def test_the_page_of_networks_runs_with_one_of_others(own, lab, tmp_path):
    out = book.execute(
        "networks",
        tmp_path / "networks.ipynb",
        {"scale": "smoke", "networks": lab["lab-net"]},
        progress=False,
    )
    text = out.read_text()
    assert "imported from checkpoint.tar" in text and "lab-net" in text and "Traceback" not in text
    assert "2 networks of 2 kinds are stored" in text and "n = 20 test images, seed 0" in text

"""Networks of others on the pages about the equilibrium, number formats, free-phase steps and semantics."""

import ast
import json
import re
import sys
import types

import drawings
import pytest
import safetensors.torch
import torch
from torch import nn

from eplib import (
    book,
    chapters,
    equilibrium_figures,
    exactness_sentences,
    exactness_verdicts,
    imports,
    others,
    phase_figures,
    phase_sentences,
    phase_verdicts,
    pictures,
    your_network,
)

SHOWN = chapters.Shown("smoke", "sample", (0,))
STATISTICS = ("mean", "std")


def classifier():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(900, 10))


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """Paths of an imported EP-CNN, the smoke scale's own with other steps, and of an imported classifier."""
    folder = tmp_path_factory.mktemp("others")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EPLIB_OUT", str(folder / "data"))
        module = types.ModuleType("of_a_lab")
        module.classifier = classifier
        patch.setitem(sys.modules, "of_a_lab", module)
        net = chapters.networks(SHOWN, "ep-cnn")[0].net
        torch.save(your_network.public_checkpoint(net), folder / "checkpoint.tar")
        safetensors.torch.save_file(classifier().state_dict(), folder / "weights.safetensors")
        seen = dict(
            dataset="sample", **{k: [float(v) for v in getattr(net, k).flatten()] for k in STATISTICS}
        )
        steps = dict(steps=4, order="synchronous", paddings=list(net.paddings))
        lab = imports.write(folder / "checkpoint.tar", folder / "in", "lab-net", **seen, **steps)
        model = dict(model="of_a_lab:classifier", seed=3)
        mine = imports.write(folder / "weights.safetensors", folder / "in", "my-cnn", **seen, **model)
        yield [str(lab), str(mine)]
        others.show([])


@pytest.fixture
def beside(given):
    """From a measurement to {model: [Result]} as a page has it without networks of others, and with them."""
    others.show(given)

    def found(measurement):
        controlled = measurement in ("multistability", "landscape")
        every = (
            chapters.with_control(SHOWN, measurement)
            if controlled
            else chapters.outcomes(SHOWN, ("ep-cnn",), measurement) | others.measured("smoke", measurement)
        )
        return {m: rs for m, rs in every.items() if m not in others.names()}, every

    return found


def first(results, metric, **where):
    return equilibrium_figures.rows(results, metric, **where)[0].iloc[0].value


def last(results, metric):
    return equilibrium_figures.rows(results, metric, order="synchronous")[0].iloc[-1].value


def clean_after(steps, results):
    return phase_verdicts.at_length(results[0], results[0].epsilons[-1], steps)[0].mean()


def alike(found, badge):
    return phase_figures.by_length(found, {}, badge)


@pytest.mark.parametrize(
    "measurement, draw, told",
    [
        (
            "settling",
            equilibrium_figures.free_steps,
            lambda rs: f"lab-net, synchronous {first(rs, 'accuracy', predict_steps=3):.0%} at step 3,",
        ),
        (
            "settling",
            equilibrium_figures.residuals,
            lambda rs: f"lab-net synchronous {last(rs, 'residual'):.1g}, even-odd",
        ),
        (
            "multistability",
            equilibrium_figures.multistability,
            lambda rs: f"lab-net: starts that settle {first(rs, 'settled'):.0%}; random",
        ),
        (
            "landscape",
            equilibrium_figures.landscape,
            lambda rs: f"lab-net attack {first(rs, 'barrier', attack='attack'):.1f}; lab-net random",
        ),
        (
            "horizons",
            alike,
            lambda rs: (
                f"lab-net, through the prediction's own steps: no attack {clean_after(30, rs):.1%} after"
            ),
        ),
        (
            "phase-lengths",
            phase_figures.minimal,
            lambda rs: f"lab-net after 4 steps {rs[0].correct[0].mean():.1%} without an attack",
        ),
    ],
)
def test_networks_of_others_stand_beside_the_books_own(beside, monkeypatch, measurement, draw, told):
    own, found = beside(measurement)
    assert "lab-net" in found and "my-cnn" not in found  # what is feed-forward has no equilibria
    badge = chapters.badge({"ep-cnn": own["ep-cnn"]})
    both = draw(found, badge)
    for module in (equilibrium_figures, phase_figures, pictures):
        monkeypatch.setattr(module, "draw", drawings.words_only)
    alone = draw(own, badge)
    assert "lab-net" not in alone.alt + alone.caption and told(found["lab-net"]) in both.alt
    assert "seed 11 only: lab-net" in both.caption
    assert not [words for words in re.split("[;.:] ", alone.alt.rstrip(".")) if words not in both.alt]


def test_the_control_of_the_equilibrium_stays_last(beside):
    assert list(beside("landscape")[1]) == ["ep-cnn", "lab-net", "twin-untrained"]


def test_lengths_of_the_free_phase_are_told_with_the_name_of_another_network(beside):
    own, found = beside("phase-lengths")
    alone, both = map(phase_sentences.lengths_table, (own, found))
    names = [re.findall("<tr><th>(.*?)</th>", table)[1:] for table in (alone, both)]
    assert names == [["4", "10"], ["4", "10", "lab-net, 4", "lab-net, 10"]]
    assert both.count("1 seed;") == alone.count("1 seed;") == 1


def run(slug, **given):
    """What the cells of a page show, in their order, with some of its parameters changed."""
    shown, names = [], {"display": lambda *parts: shown.extend(parts)}
    for cell in json.loads((book.CHAPTERS / f"{slug}.ipynb").read_text())["cells"]:
        if cell["cell_type"] == "code":
            body = ast.parse("".join(cell["source"])).body
            ends = body.pop().value if isinstance(body[-1], ast.Expr) else None
            exec(compile(ast.Module(body, []), slug, "exec"), names)
            if "parameters" in cell["metadata"]["tags"]:
                assert set(given) <= set(names)
                names |= given
            if ends:
                shown.append(eval(compile(ast.Expression(ends), slug, "eval"), names))
    return [part for part in shown if part is not None]


def test_a_page_with_networks_of_others_says_the_same_of_its_own(given):
    alone, both = (run("exactness", scale="smoke", networks=paths) for paths in ([], given))
    changed = [b for a, b in zip(alone, both, strict=True) if a != b]
    differences, slopes, ties, accuracies, batches = changed  # no badge, no answer, no verdict
    every = others.measured("smoke", "exactness")
    for name, kind in (("lab-net", "lab-net, 4 synchronous steps"), ("my-cnn", "my-cnn")):
        where = dict(precision="bfloat16", against="float64", judge="own")
        differ = exactness_sentences.summary(every[name], "outcome_differs", **where)[0]
        left = exactness_verdicts.outcomes(every[name][0], "float64", "own").mean()
        assert f"{kind}, bfloat16: {differ:.2%} of the outcomes" in differences.alt
        assert f"{name}: float64 {left:.1%}, float32" in accuracies.alt
        assert all(name in text for text in (slopes, ties, batches))
    assert "With seed 11 only: lab-net; seed 3 only: my-cnn." in accuracies.caption

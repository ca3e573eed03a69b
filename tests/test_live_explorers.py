"""What every live explorer answers in JupyterLab, through the traits of its widget, with small networks; and
what pages say of stored results, against the files.
"""

import base64

import numpy as np
import pandas as pd
import pytest
import torch
from explorer_tools import frames
from test_boundary_pages import planes

from eplib import (
    attack_explorer,
    boundary_explorer,
    chapters,
    corruption_explorer,
    data,
    explorers,
    files,
    horizon_explorer,
    horizons,
)
from eplib.attacks import AttackedModel, ThreatModel, pgd
from eplib.corruptions import CIFAR_C, SEVERITIES, corrupt
from eplib.dynamics import settle

HORIZONS = {"norm": "l2", "epsilons": [1.0], "attacked": [[3, "unrolled"], [12, "ep"]], "predicted": [5]}
HORIZONS |= {"steps": 2, "batch": 4}
QUICK = chapters.Shown("quick", "sample", (11, 13, 17))


@pytest.fixture(scope="module")
def case(smoke):
    """(nets, test): the networks at smoke scale as they are attacked, and the test set."""
    return {m: AttackedModel(c.net) for m, c in smoke.items()}, data.load("sample", "test")


@pytest.fixture
def widgets(case, monkeypatch):
    """{kind: its widget}, made when it is asked for."""
    monkeypatch.setattr(boundary_explorer, "LIVE_SIDE", 8)
    nets, test = case
    ep, x, y = nets["ep-cnn"].net, data.as_float(test.images[:3]), test.labels[:3]
    raw = {m: net.net for m, net in nets.items()}

    def attack():
        entries = attack_explorer.attacked(nets, test, [0, 1], "linf", [0.1], 2)
        return attack_explorer.live(nets, test, attack_explorer.page_data(nets, test, entries), "How", 2)

    def settling():
        monkeypatch.delenv("EPLIB_STATIC", raising=False)
        return explorers.settling(ep, x, y, test.classes)

    def boundary():
        given = boundary_explorer.page_data(dict.fromkeys(raw, planes()), x, y, test.classes)
        return boundary_explorer.live(raw, given, x, y, "How")

    return {
        "attack": attack,
        "settling": settling,
        "boundary": boundary,
        "horizons": lambda: horizon_explorer.live(ep, {}, x, y, HORIZONS, "How"),
        "corruption": lambda: corruption_explorer.live(list(raw.values()), test, {}, "How"),
    }


def attacked(wanted, cell, nets, test):
    x, y = data.as_float(test.images[wanted["image"]])[None], test.labels[wanted["image"]][None]
    threat = ThreatModel(wanted["norm"], wanted["epsilon"])
    assert cell["epsilons"] == pytest.approx([0, wanted["epsilon"]], rel=1e-3) and cell["label"] == y
    for m, net in enumerate(nets.values()):
        z = pgd(net, x, y, threat, 2)
        with torch.no_grad():
            chances = net(z).softmax(1)[0]
        assert cell["answers"][m][1] == [
            chances.argmax().item(),
            pytest.approx(chances.max().item(), abs=6e-4),
        ]
        assert cell["truth"][m][1] == pytest.approx(chances[y].item(), abs=6e-4)
        seen = frames(cell["sheet"], attack_explorer.COLUMNS)[len(nets) + m]
        assert np.array_equal(seen, (z[0] * 255).round().byte().permute(1, 2, 0).numpy())


def settled(wanted, cell, nets, test):
    net, x = nets["ep-cnn"].net, data.as_float(test.images[wanted["image"]])[None]
    y, t = test.labels[wanted["image"]][None], wanted["steps"]
    for o, (order, back) in enumerate(cell["orders"]):
        free = settle(net, x, t, order, record=True)
        nudged = settle(net, x, 10, back, labels=y, beta=wanted["beta"], start=free)
        for phase, end in ((0, free), (1, nudged)):
            run = cell["images"][wanted["image"]]["runs"][o][phase]
            assert run["probabilities"][-1] == pytest.approx(end.logits.softmax(1)[0].tolist(), abs=1e-3)
            assert run["energy"][-1] == pytest.approx(end.energy.item(), rel=1e-4)
        assert len(run["residual"]) == 11 and cell["phases"][0]["steps"][-1] == t


def sliced(wanted, cell, nets, test):
    place, n = wanted["place"], cell["side"]
    x = data.as_float(test.images[[(place + k) % 3 for k in range(3)]])
    for m, net in enumerate(nets.values()):
        grid = np.frombuffer(base64.b64decode(cell["grids"][m][0]), np.uint8).reshape(n, n)
        a, b = (round(v * (n - 1)) for v in (1 / 6, 5 / 6))
        steps = torch.tensor([i / (n - 1) * 1.5 - 0.25 for i in range(n)])
        for i, j in ((a, a), (b, a), (2, 5)):  # the plane x₀ + u (x₁ − x₀) + v (x₂ − x₀)
            z = x[0] + steps[i] * (x[1] - x[0]) + steps[j] * (x[2] - x[0])
            with torch.no_grad():
                assert grid[i, j] == net(z[None]).argmax()


def attacked_from(wanted, cell, nets, test):
    net, x, y = nets["ep-cnn"].net, data.as_float(test.images[:3]), test.labels[:3]
    model = horizons.attacker(net, *HORIZONS["attacked"][wanted["attack"]])
    z = pgd(model, x, y, ThreatModel("l2", wanted["epsilon"]), 2)
    assert cell["predicted"][0] == settle(net, z, 5, "synchronous").logits.argmax(1).tolist()
    assert cell["peaks"] == pytest.approx((z - x).abs().amax((1, 2, 3)).tolist(), rel=1e-3)


def corrupted(wanted, cell, nets, test):
    i = wanted["image"]
    x = corrupt(data.as_float(test.images[i])[None], "shot_noise", 4, [i], wanted["seed"])
    frame = 1 + 5 * CIFAR_C.index("shot_noise") + 3
    seen = frames(cell["sheet"], corruption_explorer.COLUMNS)[frame]
    assert np.array_equal(seen, (x[0] * 255).round().byte().permute(1, 2, 0).numpy())
    for m, net in enumerate(nets.values()):
        with torch.no_grad():
            chances = net(x).softmax(1)[0]
        told = [chances.argmax().item(), pytest.approx(chances.max().item(), abs=1e-3)]
        assert cell["answers"][m][frame] == told


ANSWERS = {  # kind: (what is asked for in turn, how an answer is checked)
    "attack": ([dict(image=57, norm="l2", epsilon=0.7), dict(image=1, norm="linf", epsilon=0.04)], attacked),
    "settling": ([dict(image=2, beta=0.2, steps=25), dict(image=1, beta=0.5, steps=40)], settled),
    "boundary": ([{"place": 2}, {"place": 0}], sliced),
    "horizons": ([dict(epsilon=2.5, attack=0), dict(epsilon=1.0, attack=1)], attacked_from),
    "corruption": ([dict(image=57, seed=3)], corrupted),
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_a_live_explorer_answers_what_independent_calls_give(widgets, case, kind):
    widget, (asked, right) = widgets[kind](), ANSWERS[kind]
    assert widget.cell == {}
    for wanted in asked:
        widget.wanted = wanted
        assert not widget.busy and widget.message == ""
        right(wanted, widget.cell, *case)


REFUSED = {  # kind: [(what is asked for, what is said)]
    "attack": [
        (dict(image=-1, norm="l2", epsilon=1), "image = -1: give a whole number from 0 to"),
        (dict(image=True, norm="l2", epsilon=1), "image = True: give"),
        (dict(image=1, norm="l1", epsilon=1), "unknown norm 'l1': choose one of linf, l2"),
        (dict(image=1, norm="l2", epsilon=-1), "epsilon = -1: give 0 or more"),
        (dict(image=1, norm="l2", epsilon=None), "ε = None: give a number"),
        (dict(image=1, norm="l2", epsilon=float("nan")), "epsilon = nan: give"),
        ({}, "image = None: give"),
    ],
    "settling": [
        (dict(image=3, beta=0.5, steps=20), "image = 3: give a whole number from 0 to 2"),
        (dict(image="first", beta=0.5, steps=20), "from 0 to 2"),
        (dict(image=0, beta=-0.5, steps=20), "β = -0.5: give a finite number above 0"),
        (dict(image=0, beta=float("inf"), steps=20), "above 0"),
        (dict(image=0, beta=None, steps=20), "above 0"),
        (dict(image=0, beta=0.5, steps=0), "from 1 to 1000"),
        (dict(image=0, beta=0.5, steps=1001), "from 1 to 1000"),
        (dict(image=0, beta=-1, steps=0), "above 0"),
        ({}, "image = None"),
    ],
    "boundary": [({"place": p}, "image = ") for p in (3, -1, None, "1", 1.5, True)],
    "horizons": [
        (dict(epsilon=-1, attack=0), "epsilon = -1"),
        (dict(epsilon=None, attack=0), "ε = None: give a number"),
        (dict(epsilon=1, attack=2), "attack = 2: give a whole number from 0 to 1"),
        (dict(epsilon=1, attack="ep"), "from 0 to 1"),
        (dict(epsilon=float("inf"), attack=0), "epsilon = inf"),
        ({}, "ε = None"),
    ],
    "corruption": [
        (dict(image=10**6, seed=0), "image = 1000000: give"),
        (dict(image=1.5, seed=0), "image = 1.5: give a whole number from 0 to"),
        (dict(image=1, seed=-1), "seed = -1: give a whole number, 0 or more"),
        (dict(image=1, seed=None), "seed = None: give"),
        ({}, "image = None: give"),
    ],
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_live_explorer_refuses_in_a_sentence_and_loses_nothing(widgets, kind):
    widget, first = widgets[kind](), ANSWERS[kind][0][-1]
    widget.wanted = first
    before = widget.cell
    for wanted, words in REFUSED[kind]:
        widget.wanted = wanted
        assert words in widget.message and widget.cell is before and not widget.busy
        assert widget.message.endswith(". The figure still shows what it showed before.")
        assert "\n" not in widget.message
    widget.wanted = first  # and goes on
    assert widget.message == "" and widget.cell == before


def stored(shown, measurement, model):
    """[(table, archive)] of the stored results of a model, read as they lie there."""
    folder = files.ROOT / "data" / "results" / shown.scale / shown.dataset / measurement
    results = chapters.stored(shown, measurement, (model,))[model]
    stems = [folder / f"{model}-s{r.settings['seed']}-{files.settings_hash(r.settings)}" for r in results]
    read = [(pd.read_csv(s.with_suffix(".csv")), np.load(s.with_suffix(".npz"))) for s in stems]
    return results, read


def test_accuracies_beside_corrupted_images_are_those_of_the_files():
    found = {m: stored(QUICK, "corruptions", m) for m in ("ep-cnn", "cnn")}
    test = data.load("sample", "test")
    told = [[[0, 0.5]] * 96] * 2
    entries = [{"id": 0, "label": 0, "seed": 0, "sheet": "", "answers": told}]
    given = corruption_explorer.page_data({m: f[0] for m, f in found.items()}, test, entries)
    for of, (_, tables) in zip(given["models"], found.values(), strict=True):
        assert of["seeds"] == len(tables) == 3
        accuracy = pd.concat([t[t.metric == "accuracy"] for t, _ in tables])
        mean = accuracy.groupby(["corruption", "severity"]).value.mean()
        for k, name in enumerate(CIFAR_C):
            for s in SEVERITIES:
                rate = of["rates"][1 + 5 * k + s - 1]
                assert rate == pytest.approx(mean[given["types"][k]["key"], s], abs=5.1e-5)
                assert given["types"][k]["key"] == name
        assert of["rates"][0] == pytest.approx(mean["none", 0], abs=5.1e-5)
        assert of["count"] == int(accuracy.n.iloc[0])


def test_the_matrix_of_horizons_and_its_images_are_those_of_the_files():
    (first, *_), [(table, archive), *_] = stored(QUICK, "horizons", "ep-cnn")
    test, count = data.load("sample", "test"), 4
    ids = archive["image_ids"]
    x, y = data.as_float(test.images[ids[:count]]), test.labels[ids[:count]]
    given = horizon_explorer.page_data(first, x, y, test.classes)
    sizes, rows = first.settings["sizes"], table[(table.metric == "accuracy") & (table.attack == "pgd")]
    names = [*map(str, sizes["predicted"]), "own", "converged"]
    for e, epsilon in enumerate(sizes["epsilons"]):
        at = rows[np.isclose(rows.epsilon, epsilon)]
        for a, (steps, gradient) in enumerate(sizes["attacked"]):
            of = at[(at.attack_horizon == steps) & (at.gradient == gradient)].set_index("prediction").value
            assert given["right"][e][a] == pytest.approx([len(ids) * of[name] for name in names])
    predicted = archive["array_predicted"][..., :count]
    assert given["predicted"] == predicted.tolist() and given["labels"] == y.tolist()
    assert given["count"] == len(ids)


def test_planes_of_a_page_are_those_of_the_files():
    found = {m: stored(QUICK, "slices", m) for m in ("ep-cnn", "cnn")}
    results = {m: f[0][0] for m, f in found.items()}
    test = data.load("sample", "test")
    ids = results["ep-cnn"].image_ids
    given = boundary_explorer.page_data(
        results, data.as_float(test.images[ids]), test.labels[ids], test.classes
    )
    for m, (_, [(_, archive), *_]) in enumerate(found.values()):
        for i in range(len(given["images"])):
            for k in range(2):
                grid = np.frombuffer(base64.b64decode(given["grids"][m][i][k]), np.uint8)
                assert np.array_equal(grid, archive["array_classes"][k, ..., i].ravel())

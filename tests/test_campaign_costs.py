"""Formulas of what pieces compute, their rule, and the page that projects the campaign from them."""

import json
import re

import pytest
import torch
from drawings import axes_only, is_valid_svg_of_the_same_bytes_that_loads_nothing
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from eplib import (
    benchmark,
    campaign,
    costs,
    files,
    learning,
    measurements,
    minimal_measurements,
    recipes,
    scales,
    speeds,
)
from eplib import campaign_cost_figures as figures
from eplib import campaign_costs as page
from eplib import projections as formulas
from eplib.attacks import AttackedModel, predicted
from eplib.baselines import CNN
from eplib.campaign import Piece
from eplib.network import EPCNN

RATES = {(r, t): 1e9 * (1 + r) for r in (True, False) for t in formulas.TASKS}
GPU = (
    {key: 1e12 * (1 + key[0]) for key in ((r, t, "float32") for r in (True, False) for t in formulas.TASKS)},
    1e-3,
)
SPEED = {"fog": 10.0, **dict.fromkeys(("gaussian_noise", "snow"), 20.0)}


def piece(measurement=None, model="ep-cnn", scale="quick", seed=11):
    return Piece(scale, "sample" if scale in ("smoke", "quick") else "cifar10", model, seed, measurement, 1.0)


def pairs(training, measuring, count=12):
    """Records of 100 core-seconds, projected so many times longer: a factor, or one for every record."""
    found = []
    for kind, factors in (("training", training), ("measuring", measuring)):
        factors = factors if isinstance(factors, list) else [factors] * count
        what = None if kind == "training" else "clean"
        found += [(page.Record(piece(what, seed=i), 100.0), 100.0 * f) for i, f in enumerate(factors)]
    return found


# Formulas


def counted(function):
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


def test_a_feed_forward_pass_counts_its_products():
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Flatten(), nn.Linear(4 * 32 * 32, 10))
    assert formulas.pass_flops(net) == 2 * 32 * 32 * 4 * 27 + 2 * 4096 * 10


@pytest.mark.parametrize("estimator", ["centred", "one-sided", "adjoint", "bptt"])
def test_an_iteration_of_equilibrium_propagation_is_about_what_torch_counts(estimator):
    net = EPCNN((8, 16, 32, 32), (1, 1, 1, 0), mean=0.5, std=0.25)
    x, y = torch.rand(2, 3, 32, 32), torch.tensor([1, 2])
    real = counted(lambda: learning.compute(net, x, y, estimator, 0.5, 12, 6, "forward", "frozen"))
    recipe = recipes.Recipe("ep", 100, 2, (0.1,), estimator=estimator)
    projected = costs.step_flops(net, 2) * formulas._iteration(recipe, 12, 6)
    assert 0.7 < projected / real < 1.5


@pytest.mark.parametrize("model", ["ep-cnn", "cnn"])
@pytest.mark.parametrize("measurement", ["clean", "minimal-linf"])
def test_measurements_compute_about_what_torch_counts(smoke, measurement, model):
    net, sizes = smoke[model].net, formulas.sizes(piece(measurement, model, "smoke"))
    if measurement == "clean":
        real = counted(lambda: measurements.measure(smoke[model], "clean", progress=False))
    else:
        images = torch.rand(sizes["images"], 3, 32, 32, generator=torch.Generator().manual_seed(0))
        own = predicted(AttackedModel(net), images)  # all are right, so all are attacked
        real = counted(
            lambda: minimal_measurements.fast_minimum_norm(net, images, own, sizes, progress=False)
        )
    projected = flops(measurement, model, "smoke")
    # checks of the model and first layers are not in the formulas, and weigh much in attacks this short
    assert 0.5 < projected / real < 1.1


def test_every_piece_of_paper_has_a_formula_and_a_time():
    works = [formulas.work(p) for p in campaign.pieces_of("paper") if campaign.applies(p)]
    for work in works:
        assert speeds.gpu_seconds(work, *GPU) > 0 and set(work.flops) <= set(formulas.TASKS)
    assert formulas.work(piece("iterations")) is None


def flops(*arguments, **named):
    return sum(formulas.work(piece(*arguments, **named)).flops.values())


def test_what_costs_more_is_projected_to_cost_more():
    assert flops(None, "cnn") < flops(None, "cnn-penalised") and flops(None, "cnn") < flops(None)
    assert flops(None, "cnn") < flops(None, "cnn-at-l2-0.5")
    assert flops("clean", "cnn") < flops("pgd-linf", "cnn") < flops("suite-linf", "cnn")
    halfway, whole = flops(None, "vit-8-halfway"), flops(None, "vit-8")
    assert halfway == pytest.approx(whole / 2, rel=0.01)
    assert flops(None, "student-of-ep-cnn") > flops(None, "student-of-cnn")
    assert flops("clean") > flops("clean", "cnn") and flops("transfer") == flops("transfer", "cnn")
    settled, own = formulas.work(piece("corruptions-settled")), formulas.work(piece("corruptions"))
    assert sum(settled.flops.values()) > sum(own.flops.values())
    assert sum(own.making.values()) == 100 * 5 * len(own.making)


def test_phases_are_weighed_by_their_share_of_the_run():
    recipe = scales.row("quick", "ep-cnn").recipe
    step, _, _ = formulas.network("quick", "sample", "ep-cnn")
    shares = ((0.3, 6, 4), (0.25, 12, 6), (0.45, 20, 8))
    steps = sum(share * (free + 2 * nudged + 1) for share, free, nudged in shares)
    assert flops(None) == pytest.approx(recipe.images_seen * steps * step, rel=1e-3)


def test_core_seconds_are_operations_over_rates_and_images_over_speed():
    work = formulas.Work(True)
    work.add("training", 4e9, 7)
    work.add("training", 2e9, 1)
    work.making = {"fog": 30, "snow": 20}
    assert speeds.core_seconds(work, RATES, SPEED) == 3 + 3 + 1
    assert work.steps == {"training": 8}


def test_a_gpu_is_bound_by_its_products_or_by_its_launches():
    rates = GPU[0] | {(True, "training", "bfloat16"): 100e12}
    work = formulas.Work(True, "bfloat16")
    work.add("training", 800e12, 1e9)  # replayed: its launches cost nothing
    work.add("gradient", 4e12, 10)  # in float32
    assert speeds.gpu_seconds(work, rates, 1e-3) == pytest.approx(8 + 2)
    work = formulas.Work(False, "tf32")
    work.add("training", 3e12, 10)  # no rate of that precision: float32's
    work.add("gradient", 1e9, 5000)
    assert speeds.gpu_seconds(work, rates, 1e-3) == pytest.approx(3 + 5)


def test_rates_of_a_gpu_follow_from_its_report():
    report = benchmark.stored("gpu")
    rates, launch = speeds.gpu_rates(report)
    assert {(r, t, "float32") for r in (True, False) for t in formulas.TASKS} <= set(rates)
    size = report["paper network"]["size"]
    step = costs.step_flops(EPCNN(size["channels"], (1, 1, 1, 0)), size["batch"])
    milliseconds = report["paper network"]["paths"]["closed form, TF32"]["milliseconds"]
    assert rates[True, "training", "tf32"] == pytest.approx(step * 310 / milliseconds * 1e3)
    exact = next(
        r
        for r in report["cost"]["rows"]
        if (r["task"], r["steps"], r["precision"]) == ("inference", 250, "float32")
    )
    assert rates[True, "inference", "float32"] == pytest.approx(step * 250 / exact["milliseconds"] * 1e3)
    assert all(1e12 < rate < 1e15 for rate in rates.values()) and 1e-5 < launch < 1e-2


def test_rates_of_a_core_follow_from_the_stored_benchmark():
    report = costs.report("small", "cpu")
    rates = speeds.cpu_rates(report)
    assert set(rates) == {(r, t) for r in (True, False) for t in formulas.TASKS}
    row = next(r for r in report["rows"] if r["task"] == "inference" and r["method"] == "CNN")
    expected = formulas.pass_flops(CNN((4, 6, 8, 8), (1, 1, 1, 0))) * row["batch"]
    assert rates[False, "inference"] == pytest.approx(
        expected / row["milliseconds"] * 1e3 / report["threads"]
    )
    speed = speeds.making_rates(benchmark.stored("corruptions"))
    assert min(speed.values()) > 0 and len(speed) > 30


# Records


def test_records_are_core_seconds_of_networks_and_measurements(out):
    network = {"model": "cnn", "dataset": "sample", "scale": "smoke", "seed": 3, "threads": 2}
    for seed, training in (
        (3, {"history": [{"epoch": 1}, {"core_seconds": 70.0}], "seconds": 90}),
        (4, {"history": [{}], "seconds": 90}),
    ):
        path = out / "checkpoints" / "smoke" / f"cnn-sample-s{seed}.json"
        files.write_json(path, network | {"seed": seed, "training": training})
    other = {"model": "example", "training": {"history": []}}
    files.write_json(out / "checkpoints" / "smoke" / "example-sample-s3.json", network | other)
    settings = network | {"measurement": "clean"}
    files.write_json(
        out / "results" / "smoke" / "sample" / "clean" / "cnn-s3-0.json",
        {"settings": settings, "seconds": 8, "threads": 2},
    )
    card = {"device": "NVIDIA H100", "threads": 16}
    training = {"history": [{"core_seconds": 50.0}], "seconds": 40}
    path = out / "checkpoints" / "smoke" / "cnn-sample-s5.json"
    files.write_json(path, network | {"seed": 5, "training": training} | card)
    found = {(r.piece.seed, r.piece.measurement): r for r in page.records("smoke")}
    on_gpu = found.pop((5, None))
    assert (on_gpu.seconds, on_gpu.gpu) == (40, "NVIDIA H100")
    assert page.by_processor([*found.values(), on_gpu]) == (list(found.values()), [on_gpu])
    assert {key: r.seconds for key, r in found.items()} == {(3, None): 70.0, (4, None): 180, (3, "clean"): 16}
    assert {r.kind for r in found.values()} == {"training", "measuring"}
    assert found[3, None].piece == Piece("smoke", "sample", "cnn", 3, None, 1.0)


def test_only_records_with_a_formula_are_compared():
    recorded = [page.Record(piece(m, "cnn"), 5.0) for m in (None, "clean", "iterations", "failures")]
    recorded.append(page.Record(piece(None, "cnn"), 5.0, "NVIDIA H100"))
    found = page.compared(recorded, (RATES, SPEED, GPU))
    assert [r.piece.measurement for r, _ in found] == [None, "clean"]
    assert found[0][1] == pytest.approx(flops(None, "cnn") / RATES[False, "training"])


# The rule


@pytest.mark.parametrize(
    "training, measuring, word",
    [
        (1.0, 1.0, "supported"),
        (1.9, 0.6, "supported"),
        (2.1, 1.0, "contradicted"),
        (1.0, 0.4, "contradicted"),
        ([0.1] * 7 + [2.5] * 5, [0.1] * 7 + [2.5] * 5, "undecided"),  # sums agree, pieces do not
        ([1.0] * 9, 1.0, "undecided"),
    ],
)
def test_the_verdict_follows_the_records(training, measuring, word):
    found = page.projection_holds(pairs(training, measuring))
    assert (found.networks, found.method) == (word, "undecided")
    assert found.sentence.startswith(f"For these records: {word}.")


def test_the_verdict_names_both_ratios_and_the_share():
    said = page.projection_holds(pairs(1.5, [0.8] * 10 + [5.0] * 2)).sentence
    assert "1.50 times those of training (12) and 1.50 times those of measuring (12)" in said
    assert "92% of all pieces" in said


# Projections of the whole


def need(pieces, gpu, dearest, core=10.0, making=0.0):
    return page.Need(pieces, core, making, gpu, dearest)


FOUND = {
    "training": need(4, 100.0, 50.0, making=0.0),
    "clean": need(4, 4.0, 1.0),
    "corruptions": need(2, 40.0, 20.0, 30.0, 25.0),
}


def test_everything_is_the_sum_and_the_dearest():
    whole = page.total(FOUND)
    assert (whole.pieces, whole.core_hours, whole.making) == (10, 50.0, 25.0)
    assert whole.gpu_hours == 144 and whole.dearest == 50


def test_several_gpus_are_bound_by_the_longest_chain():
    assert page.on_several(FOUND, 2) == 72 and page.on_several(FOUND, 8) == 70


def test_needs_cover_the_campaign_and_name_what_has_no_formula():
    found, without = page.needs("smoke", (RATES, SPEED, GPU))
    assert {name: n.pieces for name, n in found.items()} == {"training": 2, "clean": 2, "pgd-linf": 2}
    assert without == []
    assert found["training"].core_hours == pytest.approx(
        sum(
            speeds.core_seconds(formulas.work(piece(None, m, "smoke")), RATES, SPEED)
            for m in ("ep-cnn", "cnn")
        )
        / 3600
    )


# The page

RECORDED = {
    "quick": [r for r, _ in pairs(1.0, 1.0)] + [page.Record(piece("pgd-l2", "cnn"), 7200.0)],
    "cpu": [
        page.Record(piece(None, "cnn", "cpu"), 36_000.0),
        page.Record(piece(None, "vit-8", "cpu"), 36.0, "NVIDIA H100"),  # in the table alone
    ],
}


def test_the_answer_says_what_is_stored_and_what_is_projected():
    said = figures.answer("paper", RECORDED, FOUND, pairs(0.5, 1.25))
    assert "2.7 core-hours at quick (25 networks and measurements)" in said
    assert "10 core-hours at cpu (1 networks" in said
    card = benchmark.stored("gpu")["device"]["device"]
    assert f"144 hours on one {card}, 70 on 8, or 50 core-hours on CPUs" in said
    assert "formulas that give 0.50 times (training) and 1.25 times (measuring) the time" in said
    assert "the whole of paper scale (10 pieces)" in said


def test_tables_hold_every_number():
    said = str(figures.recorded_table(RECORDED))
    cell = r"<td>([^<]*)</td>"
    rows = re.findall(rf"<tr><th>([^<]*)</th>{cell * 4}</tr>", said)
    assert rows == [
        ("quick", "training", "processors", "12", "0.33"),
        ("quick", "measuring", "processors", "13", "2.3"),
        ("cpu", "training", "processors", "1", "10"),
        ("cpu", "training", "NVIDIA H100", "1", "0.01"),
    ]
    said = str(figures.needs_table(FOUND, ["iterations"], pairs(0.5, 1.25)))
    names = re.findall(r"<tr><th>([^<]*)</th>", said)
    assert names == ["training", "corruptions", "clean", "everything"]
    assert "Without a formula, and left out: iterations." in said and "<td>144</td>" in said
    assert "10</td><td>100</td><td>0.50" in said and "40</td><td>–" in said
    assert f"come to {10 / 0.5 + 10 / 1.25:.0f} core-hours" in said


def test_the_figure_shows_the_dearest_at_every_scale(monkeypatch):
    monkeypatch.setattr(figures.pictures, "draw", axes_only)
    training, measuring = figures.figure("fig-campaign-cost", RECORDED)
    assert [t.get_text() for t in training.get_yticklabels()] == ["EP-CNN", "CNN"]
    assert [t.get_text() for t in measuring.get_yticklabels()] == ["clean", "pgd-l2"]
    assert training.get_xscale() == "log"
    assert {t.get_text() for t in training.texts} == {"quick", "cpu"}
    points = {tuple(p) for line in measuring.lines for p in line.get_xydata()}
    assert points == {(100 / 3600, 0.0), (2.0, 1.0)}


def test_the_figure_of_the_formulas_names_what_is_furthest_off(monkeypatch):
    found = pairs(1.0, 1.0) + [(page.Record(piece("zooms"), 60.0), 600.0)]
    assert "zooms 10" in figures.figure_of_formulas("fig-formulas", found).alt
    monkeypatch.setattr(figures.pictures, "draw", axes_only)
    [ax] = figures.figure_of_formulas("fig-formulas", found)
    assert {"zooms", "training", "measuring"} <= {t.get_text() for t in ax.texts}
    assert (1.0, 10.0) in {tuple(p) for line in ax.lines for p in line.get_xydata()}


def test_figures_are_valid():
    for label, draw in (
        ("fig-campaign-cost", lambda l: figures.figure(l, RECORDED)),
        ("fig-formulas", lambda l: figures.figure_of_formulas(l, pairs(1.5, 0.7))),
    ):
        is_valid_svg_of_the_same_bytes_that_loads_nothing(([draw(label), draw(label)], label))


def test_assumptions_are_named_as_such_with_their_numbers():
    said = figures.assumptions()
    rates, launch = speeds.gpu_rates(benchmark.stored("gpu"))
    assert f"EP-CNN, training in tf32 {rates[True, 'training', 'tf32'] / 1e12:.0f}" in said
    assert f"{1e6 * launch:.0f} µs" in said and said.count("measured**") == 2 and "assumed**" in said
    report = json.loads((benchmark.STORED / "cost.json").read_text())
    assert benchmark.in_words(report) in said


def test_narrower_networks_are_compared_by_operations_a_second(monkeypatch):
    def row(width, milliseconds, floor):
        shape = {"channels": [width, 2 * width], "milliseconds": milliseconds, "floor": floor}
        return shape | {"task": "growth with width"}

    report = {"rows": [row(32, 10.0, 8.0), row(16, 5.0, 2.0), row(64, 40.0, 36.0)]}
    monkeypatch.setattr(benchmark, "stored", lambda name: report)
    assert "has 16 channels" in figures.narrower() and "reaches 0.50 times" in figures.narrower()

import json
from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import random_batch, random_net

from eplib import (
    benchmark,
    corruption_curves,
    corruptions,
    cost_figures,
    cost_verdicts,
    costs,
    gpu_report,
    gradients,
    scales,
    variants,
)
from eplib.chapters import Badge
from eplib.checks import InputError


@pytest.fixture(scope="module")
def report():
    return costs.report("small", "cpu")


def test_every_task_is_timed_for_the_ep_cnn_and_a_cnn(report):
    for task in cost_figures.TASKS:
        methods = {r["method"] for r in cost_figures.rows(report, task)}
        assert "CNN" in methods and len(methods) >= 2
    for row in report["rows"]:
        assert 0 < row["low"] <= row["milliseconds"] <= row["high"]
        assert row["floor"] is None or row["floor"] > 0
    for what in cost_figures.GROWTH:
        assert len(cost_figures.rows(report, f"growth with {what}")) >= 3
    json.dumps(report)


def test_step_flops_count_every_multiplication_of_both_convolutions():
    net = random_net((4, 6, 8), (1, 1, 0), 16)
    states = [torch.zeros(1, *shape) for shape in net.shapes]
    total = 0
    for l in (1, 2):
        z = torch.nn.functional.conv2d(states[l - 1], net.convs[l].weight.float(), padding=net.paddings[l])
        total += 2 * 2 * z.numel() * 9 * net.channels[l - 1]
    assert costs.step_flops(net, 5) == 5 * total


def test_bytes_kept_by_codes_are_far_fewer_than_autograds_and_grow_with_the_steps():
    net = random_net((8, 8, 8), (1, 1, 0), 16)
    images, labels = random_batch(net, 4)
    few, many = (gradients.follow(net, images, steps, "synchronous").bytes for steps in (10, 20))
    by_autograd = benchmark.autograd_input(net.double(), images, labels, 20, "synchronous", count=True)
    assert 1.9 < many / few < 2.1 and by_autograd > 24 * many


def test_both_ways_to_the_input_gradient_agree():
    net = random_net()
    images, labels = random_batch(net)
    ours = gradients.input_gradient(net, images, labels, "unrolled", 15, "forward")
    assert (ours - benchmark.autograd_input(net, images, labels, 15, "forward")).abs().max() < 1e-12


def test_figures_and_words_come_from_the_report(report):
    picture = cost_figures.costs(report)
    assert picture == cost_figures.costs(report) and "How to read it" in picture.caption
    first = cost_figures.rows(report, "inference")[0]
    assert f"{first['milliseconds']:.0f} ms" in picture.alt
    assert "How to read it" in cost_figures.growth(report).caption
    assert "times for training" in cost_figures.answer(report)


def test_the_speed_of_corruptions_is_drawn_from_the_report():
    times = {c: 10.0 + i for i, c in enumerate(corruptions.TABLE)}
    spread = {c: [v - 1, v + 1] for c, v in times.items()}
    report = {"milliseconds": times, "spread": spread, "images": 4, "severities": 5}
    report |= {"minutes_of_the_whole_set": 3.21, "device": "cpu", "threads": 1, "torch": "2"}
    picture = cost_figures.corruption_speed(report)
    assert "in 3.2 minutes" in picture.caption and "cpu, 1 thread, torch 2" in picture.caption
    for i, c in enumerate(corruptions.TABLE):
        assert f"{corruption_curves.words(c)} {20_000 / (10 + i):.0f}" in picture.alt


@pytest.mark.parametrize("ratio, word", [(12.0, "supported"), (11.9, "contradicted")])
def test_the_fast_schedule_is_judged_by_its_ratio(ratio, word):
    iteration = {
        "ratio": {"autograd of Φ": 1.0, "closed form": 2.3, "fast": ratio, "fast, bfloat16": 20.0},
        "steps": [24, 8],
        "device": "a machine",
        "threads": 2,
        "torch": "2",
    }
    verdict = cost_verdicts.fast_enough(iteration)
    assert verdict.networks == word and f"{ratio:.1f} times" in verdict.sentence and "2.3" in verdict.sentence


def test_a_stored_report_is_taken_unless_asked_to_measure(tmp_path, monkeypatch, report):
    monkeypatch.setattr(benchmark, "STORED", tmp_path)
    (tmp_path / "cost.json").write_text(json.dumps({"rows": [], "stored": True}))
    assert costs.stored_or_measured()["stored"]
    monkeypatch.setattr(costs, "report", lambda sizes, device: {"measured": sizes})
    assert costs.stored_or_measured(measure=True) == {"measured": "full"}
    assert costs.stored_or_measured(sizes="small") == {"measured": "small"}


def test_the_gpu_report_keeps_going_when_one_step_fails(tmp_path, monkeypatch):
    def broken():
        raise RuntimeError("out of memory")

    monkeypatch.setattr(gpu_report, "run_tests", broken)
    monkeypatch.setattr(benchmark, "training_iteration", lambda rounds: {"ratio": 2.0})
    monkeypatch.setattr(benchmark, "input_gradient", lambda steps, rounds: {"steps": steps})
    gpu_report.write(tmp_path)
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert "out of memory" in found["tests"]["failed"] and found["cost"]["rows"]
    paths = found["paper network"]["paths"]
    assert paths["autograd of Φ"]["times autograd"] == 1 and len(paths) >= 2


def test_variants_are_kept_one_by_one_and_not_run_again(tmp_path, monkeypatch):
    ran = []
    monkeypatch.setattr(variants, "_run", lambda name, *_: ran.append(name) or {"variant": name})
    variants.compare(tmp_path, names=("a", "b"))
    variants.compare(tmp_path, names=("a", "b", "c"))
    assert ran == ["a", "b", "c"]


def test_a_variant_is_trained_and_judged_on_validation_images(monkeypatch):
    monkeypatch.setitem(variants.VARIANTS, "tiny", {"phases": ((1.0, 3, 2),), "rates": 2, "validation": 60})
    monkeypatch.setattr(variants, "SETTLED", ((4, "forward"),))
    row = variants._run("tiny", "smoke", 0.5, 0)
    assert row["images_seen"] > 0 and 0 <= row["accuracy"]["4 forward"] <= 1
    assert row["recipe"]["learning_rates"][0] == 0.25 and row["recipe"]["images_seen"] == row["images_seen"]


def test_accuracy_against_cost_names_both_models(report):
    from test_figures import result

    attacked = {m: [result(m)] for m in ("ep-cnn", "cnn")}
    badge = Badge("sample", "quick", 100, (0,))
    picture = cost_figures.accuracy_against_cost(attacked, report, badge, "linf")
    assert "ℓ∞" in picture.caption and picture.svg.count("<path") > 10


def test_the_schedules_in_words_are_those_of_the_scales():
    words = cost_figures.schedules("quick")
    assert "250 synchronous free steps, then two nudged phases of 30 steps, pooling winners free" in words
    assert "20 forward free steps, then two nudged phases of 8 steps, pooling winners frozen" in words
    assert "6 forward free steps, then two nudged phases of 3 steps" in cost_figures.schedules("smoke")


def clean(seed, right, steps=20, images=2000):
    correct = np.zeros((1, images), bool)
    correct[0, :right] = True
    settings = {"seed": seed, "predict_steps": steps, "order": "forward"}
    return SimpleNamespace(settings=settings, correct=correct, image_ids=np.arange(images))


@pytest.mark.parametrize(
    "fast, long, word",
    [
        (1700, 1700, "supported"),
        (1700, 1705, "supported"),
        (1700, 1720, "undecided"),
        (1700, 1800, "contradicted"),
    ],
)
def test_the_fast_schedule_may_lose_a_point(fast, long, word):
    verdict = cost_verdicts.learns_as_well(
        [clean(s, fast) for s in (1, 2)], [clean(s, long, 60) for s in (1, 2)]
    )
    assert verdict.networks == word and verdict.method == "undecided"
    assert f"{fast / 2000:.1%}" in verdict.sentence and f"{long / 2000:.1%}" in verdict.sentence
    assert (
        f"lost are {(long - fast) / 20:.1f} points" in verdict.sentence and "60 forward" in verdict.sentence
    )


def test_fast_and_long_are_compared_in_pairs():
    with pytest.raises(InputError, match="seeds"):
        cost_verdicts.learns_as_well([clean(1, 5)], [clean(2, 5)])
    with pytest.raises(InputError, match="same images"):
        cost_verdicts.learns_as_well([clean(1, 5)], [clean(1, 5, images=100)])


def test_the_table_of_variants_is_ordered_and_marks_the_recipe_of_the_scale():
    recipe = json.loads(json.dumps(asdict(scales.row("cpu", "ep-cnn").recipe))) | {"images_seen": 7}
    others = [{**recipe, "beta": 3.0}, {**recipe, "gradient_penalty": 1.0}]
    rows = [
        {
            "variant": name,
            "images_seen": 1234,
            "core_seconds": 900,
            "accuracy": {"20 forward": share, "250 synchronous": share - 0.01},
            "recipe": r,
        }
        for name, share, r in (("a", 0.5, others[0]), ("b", 0.625, recipe), ("c", 0.25, others[1]))
    ]
    report = {"rows": rows, "seed": 11, "threads": 1, "device": "a machine", "torch": "2"}
    page = cost_figures.variants(report)
    assert page.index("chosen: b") < page.index(">a<") < page.index(">c<")
    assert (
        page.count("chosen") == 1 and "62.5%" in page and "1,234" in page and "after 250 synchronous" in page
    )

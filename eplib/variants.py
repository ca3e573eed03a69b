"""Recipes compared at equal core-time: short runs of a scale's EP-CNN, judged on validation images only.

`python -m eplib benchmark variants --out data/benchmarks` goes on where it stopped.
"""

import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path

import torch

from eplib import data, dynamics, files, objectives, scales, training
from eplib.benchmark import machine
from eplib.snapshots import Snapshot

CORE_SECONDS = 900
PROBE = 8  # iterations that say how fast a phase length runs
JUDGED = 1000  # validation images
SETTLED = ((20, "forward"), (60, "forward"), (250, "synchronous"))
GROWING = ((0.7, 6, 4), (0.9, 12, 6), (1.0, 20, 8))
VARIANTS = {
    "6/4 to 70 %, 12/6 to 90 %, 20/8": {"phases": GROWING},
    "6/4 to 40 %, 12/6 to 70 %, 20/8": {"phases": ((0.4, 6, 4), (0.7, 12, 6), (1.0, 20, 8))},
    "float32": {"phases": GROWING, "precision": "float32"},
    "rates × 2": {"phases": GROWING, "rates": 2},
    "batch 25": {"phases": GROWING, "batch": 25},
    "10/5 to 80 %, 20/8": {"phases": ((0.8, 10, 5), (1.0, 20, 8))},
    "β 1": {"phases": GROWING, "beta": 1.0},
    "rates × ½": {"phases": GROWING, "rates": 0.5},
    "normalised by 3 standard deviations": {"phases": GROWING, "spread": 3.0},
}


def compare(out=None, scale="cpu", core_seconds=CORE_SECONDS, names=tuple(VARIANTS), seed=11):
    """Train every variant for about `core_seconds` of processor time and return the report; with `out`, each
    finished one is kept there at once and not run again.

    The number of images is chosen beforehand from a short probe, so that every run's schedule ends. Reported:
    images seen, core-seconds, accuracy on held-out training images at the network's own T and settled longer.
    """
    path = None if out is None else Path(out) / "variants.json"
    report = (
        files.read_json(path, "benchmark")
        if path and path.exists()
        else {"rows": [], "seed": seed, **machine("cpu")}
    )
    done = {row["variant"] for row in report["rows"]}
    for name in names:
        if name not in done:
            report["rows"].append(_run(name, scale, core_seconds, seed))
            print(report["rows"][-1], flush=True)
            if path:
                files.write_json(path, report)
    return report


def _run(name, scale, core_seconds, seed):
    changes = dict(VARIANTS[name])
    row = scales.row(scale, "ep-cnn")
    rates = tuple(changes.pop("rates", 1) * r for r in row.recipe.learning_rates)
    recipe = replace(row.recipe, learning_rates=rates, **changes)
    train = data.load(scales.scale(scale).dataset, "train")
    end = len(train) - recipe.validation
    images, labels = train.images[:end], train.labels[:end]
    validation = train.images[end:][:JUDGED], train.labels[end:][:JUDGED]
    seen = (
        int(core_seconds / _seconds_an_image(row, recipe, images, labels, seed))
        // recipe.batch
        * recipe.batch
    )
    recipe = replace(recipe, images_seen=seen)
    net, history = training.initial(row, images, len(train.classes), seed), []
    with tempfile.TemporaryDirectory() as folder:
        begun = time.process_time()
        training.run(
            net,
            recipe,
            images,
            labels,
            validation,
            seed,
            history,
            Snapshot(Path(folder) / "run", [name]),
            False,
        )
        spent = time.process_time() - begun
    accuracy = {}
    for steps, order in SETTLED:
        logits = [
            dynamics.settle(net, data.as_float(x), steps, order).logits for x in validation[0].split(250)
        ]
        accuracy[f"{steps} {order}"] = (torch.cat(logits).argmax(1) == validation[1]).double().mean().item()
    return {
        "variant": name,
        "images_seen": seen,
        "core_seconds": round(spent),
        "accuracy": accuracy,
        "curve": [(h["images_seen"], h["validation_accuracy"]) for h in history],
        "recipe": asdict(recipe),
    }


def _seconds_an_image(row, recipe, images, labels, seed):
    """Core-seconds an image over the whole run, from a few iterations of every phase length."""
    net, total, before = training.initial(row, images, 10, seed), 0.0, 0.0
    gradient = objectives.gradient_of(net, recipe)
    x = data.augment(
        data.as_float(images[: recipe.batch]), torch.Generator().manual_seed(0), crop=recipe.crop
    )
    for until, free, nudged in recipe.phases:
        gradient(x, labels[: recipe.batch], (free, nudged))
        begun = time.process_time()
        for _ in range(PROBE):
            gradient(x, labels[: recipe.batch], (free, nudged))
        total += (until - before) * (time.process_time() - begun) / PROBE / recipe.batch
        before = until
    return total

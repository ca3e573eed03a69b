"""Results of corruption measurements that tests of scores, verdicts and pages are made of."""

import numpy as np
import pandas as pd
import torch

from eplib.corruption_measurements import NONE, TYPES
from eplib.corruption_scores import interval
from eplib.results import Result
from eplib.studies import share

N = 100
OWN, PUBLISHED, SETTLED = (20, "forward"), (29, "synchronous"), (250, "synchronous")


def result(model, accuracy, clean=0.9, seed=11, n=N, types="cifar-c", severities=(1, 2, 3, 4, 5), **more):
    """A result in which the first images are right. accuracy: a number, or (corruption, severity, phase) ->
    a number. more: phases, dataset, source, names, first (of the image ids), last (whether the last images
    are right instead).
    """
    energy_based = model.startswith(("ep-cnn", "twin"))
    phases = more.get("phases", [OWN]) if energy_based else [(None, None)]
    names = more.get("names", TYPES[types])
    rows, correct = [], []
    for phase in phases:
        for name, severity in [(NONE, 0), *((c, s) for c in names for s in severities)]:
            value = accuracy(name, severity, phase) if callable(accuracy) else accuracy
            right = np.arange(n) < round((clean if name == NONE else value) * n)
            right = right[::-1].copy() if more.get("last") else right
            where = {"corruption": name, "severity": severity, "predict_steps": phase[0], "order": phase[1]}
            rows.append(where | {"metric": "accuracy", "value": right.mean(), "n": n})
            correct.append(right)
    kind = {"cifar-c": "corruptions", "beyond": "corruptions-beyond"}[types]
    settings = {
        "measurement": kind if len(phases) == 1 else "corruptions-settled",
        "model": model,
        "seed": seed,
        "dataset": more.get("dataset", "sample"),
        "scale": "quick",
        "predict_steps": phases[0][0],
        "order": phases[0][1],
        "sizes": {"source": more.get("source", "regenerated"), "severities": list(severities)},
    }
    ids = more.get("first", 0) + np.arange(n)
    record = {"seconds": 60.0, "device": "a CPU"}
    return Result(settings, pd.DataFrame(rows), ids, correct[0], np.array(correct), record)


def falling(start, slope):
    """Accuracy that falls from severity to severity, a little differently for every corruption."""

    def accuracy(name, severity, phase):
        return round(start - slope * severity - 0.01 * (len(name) % 5), 2)

    return accuracy


def flipping(model, probability, seed=11, n=40, clean=0.9):
    """A result of "flips" with so many flips at every sequence, images differing."""
    names = ("gaussian_noise", "motion_blur", "rotate", "brightness")
    flips = np.clip(probability * (1 + 0.5 * np.sin(np.arange(n)))[None] + 0.01 * np.arange(4)[:, None], 0, 1)
    rows = [{"corruption": NONE, "severity": 0} | share("accuracy", torch.arange(n) < round(clean * n))]
    for name, line in zip(names, flips, strict=True):
        value, low, high = interval(line)
        score = {"metric": "flip", "value": value, "low": low, "high": high, "n": n}
        rows.append({"corruption": name} | score)
    settings = {
        "measurement": "flips",
        "model": model,
        "seed": seed,
        "dataset": "sample",
        "scale": "quick",
        "predict_steps": 20 if model.startswith(("ep-cnn", "twin")) else None,
        "order": None,
        "sizes": {"source": "regenerated"},
    }
    right = np.arange(n) < round(clean * n)
    arrays = {"flips": flips.astype("float32")}
    return Result(settings, pd.DataFrame(rows), np.arange(n), right, right[None], {"seconds": 9.0}, arrays)

import base64
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pandas as pd
import pytest

from eplib import learning_figures as figures
from eplib import pictures
from eplib.chapters import Badge
from eplib.checkpoints import Checkpoint
from eplib.failures import TURNED
from eplib.results import Result
from eplib.statistics import wilson
from eplib.studies import BETAS, NUDGED_STEPS

SVG = "{http://www.w3.org/2000/svg}"
LAYERS = ("1", "2", "3", "4", "read-out")
MODELS = ("ep-cnn", "ep-cnn-live", "twin-one-sided", "twin-adjoint", "twin-bptt")
N = 500


def badge(dataset="sample", seeds=(0,)):
    return Badge(dataset, "quick", N, tuple(seeds))


def cosine(layer, beta, steps, arg_max):
    """Falls with β when the arg-max is frozen, and has a dip when it is live."""
    depth = 1 if layer == "read-out" else 1 + 0.2 * int(layer)
    frozen = 1 - 0.1 * beta * depth - 0.05 / steps
    return frozen if arg_max == "frozen" else frozen - 0.6 * np.exp(-(np.log(beta / 0.05) ** 2))


def estimators(trained=(0.5, 8, "frozen"), cosine=cosine, layers=LAYERS):
    cases = [("bptt", None, None, None)]
    cases += [("centred", b, k, a) for b in BETAS for k in NUDGED_STEPS for a in ("live", "frozen")]
    cases += [] if ("centred", *trained) in cases else [("centred", *trained)]
    cases += [("one-sided", b, 30, "frozen") for b in BETAS]
    rows = []
    for estimator, beta, steps, arg_max in cases:
        where = dict(estimator=estimator, beta=beta, nudged_steps=steps, arg_max=arg_max)
        for layer in layers:
            value = cosine(layer, beta, steps, arg_max) if estimator == "centred" else 0.123
            rows.append(where | dict(layer=layer, metric="cosine", value=value, n=5))
            rows.append(where | dict(layer=layer, metric="norm_ratio", value=7.0, n=5))
    rows.append({"metric": "accuracy", "value": 0.5, "n": 100})
    settings = {"seed": 0, "dataset": "sample", "sizes": {"trained_with": list(trained), "batch": 20}}
    return Result(settings, pd.DataFrame(rows), np.arange(100), np.ones(100, bool), np.ones((1, 100), bool), {})


def checkpoint(model="ep-cnn", seed=0, best=0.86, epochs=8):
    history = []
    for epoch in range(1, epochs + 1):
        rate = 0.5 + 0.5 * np.cos(np.pi * epoch / epochs)
        names = [*(f"convs.{l}.weight" for l in range(4)), "readout.weight"]
        history.append(
            {
                "epoch": epoch,
                "images_seen": epoch * 11_000,
                "validation_accuracy": round(best - 0.2 / epoch - 0.01 * seed, 4),
                "residual": 0.05 / epoch,
                "dead": [0.3 + 0.02 * epoch, 0.45, 0.5, 0.25],
                "saturated": [0.03, 0.01, 0.01 * epoch, 0.0],
                "update": {name: 2e-3 / (l + 1) * max(rate, 1e-5) for l, name in enumerate(names)},
                "warnings": [],
            }
        )
    record = {"model": model, "seed": seed, "training": {"history": history}}
    return Checkpoint(f"{model}-sample-s{seed}", None, record)


SAID = {  # of the provoked runs, by their place
    1: ["convs.1.weight, convs.2.weight, convs.3.weight, readout.weight: hardly learns, take larger gains, rates"],
    5: ["the gradient's norm is 1.2e+09 at iteration 7 with weights of norm 35: training stopped, take smaller rates"],
    8: ["the network guesses (12%, 10 classes): take other rates, gains, steps or nudging strength", "more"],
    9: ["layer 2: 58% of its units are saturated, take smaller gains or rates"],
}
RIGHT = (425, 300, 390, 430, 350, 0, 250, 380, 60, 45, 380, 400, 420, 428, 422, 410, 300, 425, 420)


def provoked(right=RIGHT, said=SAID):
    turned = [("nothing", 1.0), *((name, to) for name, values in TURNED.items() for to in values)]
    rows = []
    for (name, to), k in zip(turned, right, strict=False):
        low, high = wilson(k, N)
        where = {"turned": name, "to": to}
        rows.append(where | {"metric": "accuracy", "value": k / N, "low": low, "high": high, "n": N})
        rows.append(where | {"metric": "residual", "value": 0.5})
    correct = np.array([np.arange(N) < k for k in right])
    settings = {"seed": 0, "dataset": "sample", "model": "ep-cnn"}
    record = {"said": [said.get(i, []) for i in range(len(right))]}
    return Result(settings, pd.DataFrame(rows), np.arange(N), correct[0], correct, record)


def agreement(**settings):
    return figures.agreement(estimators(**settings), badge())


def training_curves(seeds=3):
    networks = {"ep-cnn": [checkpoint(seed=s) for s in range(seeds)]}
    networks |= {m: [checkpoint(m, best=0.86 - 0.03 * i)] for i, m in enumerate(MODELS[1:], start=1)}
    return figures.training_curves(networks, badge(seeds=range(seeds)))


def monitors(**settings):
    return figures.monitors(checkpoint(**settings), badge())


def failures(*args):
    return figures.failures(provoked(*args), badge())


PICTURES = {
    "fig-agreement": agreement,
    "fig-training-curves": training_curves,
    "fig-monitors": monitors,
    "fig-failures": failures,
}

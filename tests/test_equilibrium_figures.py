import base64
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pandas as pd
import pytest

from eplib import equilibrium_figures as figures
from eplib import pictures, published
from eplib.chapters import Badge
from eplib.phases import ORDERS
from eplib.results import Result
from eplib.statistics import wilson
from eplib.studies import SHOWN_STEPS

SVG = "{http://www.w3.org/2000/svg}"
N = 100
DELAY = {"synchronous": 3, "even-odd": 2, "forward": 0, "backward": 3}  # steps before the image is heard
REST = {"synchronous": 20, "even-odd": 12, "forward": 10, "backward": 11}  # steps for a residual to fall to 1/e


def result(rows, seed=0, dataset="sample", order="forward", sizes=None, **arrays):
    settings = {"seed": seed, "dataset": dataset, "order": order, "sizes": sizes or {}}
    return Result(settings, pd.DataFrame(rows), np.arange(N), np.ones(N, bool), np.ones((1, N), bool), {}, arrays)


def share(metric, count, n=N):
    low, high = wilson(count, n)
    return {"metric": metric, "value": count / n, "low": low, "high": high, "n": n}


def spread(metric, value, by):
    return {"metric": metric, "value": value, "low": value - by, "high": value + by, "n": N}


def settling(seed=0, best=90, steps=SHOWN_STEPS, **settings):
    """Accuracies that rise from 10 % to `best` %, residuals and energies that fall, each in every order."""
    rows = []
    for order in ORDERS:
        for t in steps:
            heard = max(0, t - DELAY[order])
            right = round(10 + (best - 10 - seed) * (1 - np.exp(-heard / 3)))
            residual = max(np.exp(-t / REST[order]), 1e-7 * (1 + seed))
            where = {"predict_steps": t, "order": order}
            rows.append(where | share("accuracy", right))
            rows.append(where | spread("residual", residual, residual / 2))
            rows.append(where | spread("energy", -1037.0 - seed + 600 * np.exp(-(t + 3 - DELAY[order]) / 4), 20))
        where = {"predict_steps": steps[-1], "order": order}
        rows += [where | share("period_two", 4), where | share("at_rest", 90)]
    return result(rows, seed, **settings)


SHARES = {  # of 100 images: what the table says about each question
    "settled": (99, 100, 100),
    "several_classes": (15, 12, 22),
    "agreement": (92, 95, 89),
    "nearest_class": (63, 66, 58),
    "nearest_class_pixels": (40, 41, 39),
}
CONTROL = {metric: tuple(max(0, c - 33) for c in counts) for metric, counts in SHARES.items()}


def starts(seed=0, shares=SHARES, attractors=4.9, k=8, **settings):
    rows = [share("accuracy", 85), spread("attractors", attractors - seed, 1)]
    rows += [share(metric, counts[seed]) for metric, counts in shares.items()]
    return result(rows, seed, sizes={"starts": k}, **settings)


def paths(seed=0, attack=46.0, random=41.0, hill=16.0, points=15, **settings):
    """Energies that rise to `attack` and to `random` at the end, with a hill on the way to an attacked image."""
    way, each = np.linspace(0, 1, points)[:, None], np.linspace(0.8, 1.2, 40)
    energy = {
        "attack": -1000 + each * (attack * way + 4 * hill * way * (1 - way)),
        "random": -1000 + each * (random * way + hill * way * (1 - way)),
    }
    rows = [{**spread("barrier", (hill + seed) / k, 1), "attack": kind} for kind, k in (("attack", 1), ("random", 4))]
    arrays = {f"energy_{kind}": e for kind, e in energy.items()}
    return result(rows, seed, sizes={"epsilon": 3.0}, **arrays, **settings)


def badge(dataset="sample", seeds=3):
    return Badge(dataset, "quick", N, tuple(range(seeds)))


def free_steps(seeds=3, dataset="sample", **settings):
    return figures.free_steps([settling(s, **settings) for s in range(seeds)], badge(dataset, seeds))


def residuals(seeds=3, **settings):
    return figures.residuals([settling(s, **settings) for s in range(seeds)], badge(seeds=seeds))


def multistability(seeds=3, shares=SHARES, **settings):
    outcomes = {
        "ep-cnn": [starts(s, shares, **settings) for s in range(seeds)],
        "twin-untrained": [starts(0, CONTROL, 2.3)],
    }
    return figures.multistability(outcomes, badge(seeds=seeds))


def landscape(seeds=3, **settings):
    outcomes = {
        "ep-cnn": [paths(s, **settings) for s in range(seeds)],
        "twin-untrained": [paths(0, 9.0, 22.0, 2.0)],
    }
    return figures.landscape(outcomes, badge(seeds=seeds))


PICTURES = {
    "fig-characteristic-time": free_steps,
    "fig-residuals": residuals,
    "fig-attractors": multistability,
    "fig-landscape": landscape,
}

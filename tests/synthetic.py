"""Results of minimal-norm attacks and of PGD that tests of pages are made of."""

import numpy as np
import pandas as pd

from eplib.minimal_measurements import _found
from eplib.results import Result

N, INF = 100, float("inf")
EPSILONS = (0.05, 0.5, 3.0)
EASY, HARD = np.linspace(0.1, 1.0, N), np.linspace(0.3, 3.0, N)
SOME = np.where(np.arange(N) % 10 == 0, INF, np.where(np.arange(N) % 10 == 1, 0, HARD))  # 10 not, 10 wrong


def minimal(norms, seed=0, attack="carlini-wagner", first=0):
    """A result of minimal norms, as it is measured, of the images from `first` on: 0 is wrong already, inf is
    not broken.
    """
    norms = np.asarray(norms, np.float32)
    made = _found({"attack": attack, "norm": "l2"}, norms, np.zeros(len(norms)), EPSILONS)
    sizes = {"norm": "l2", "epsilons": list(EPSILONS), "searches": 3, "steps": 60, "constant": 1e-3}
    settings = {"sizes": sizes, "seed": seed, "dataset": "sample", "measurement": attack, "scale": "quick"}
    ids, table = first + np.arange(len(norms)), pd.DataFrame(made.rows)
    return Result(settings, table, ids, made.clean, made.correct, {}, made.arrays)


def pgd(counts, n=N, seed=0, epsilons=EPSILONS, norm="l2"):
    """So many of n images right at each ε: the last ones."""
    correct = np.array([np.arange(n) >= n - count for count in counts])
    settings = {"epsilons": list(epsilons), "norm": norm, "seed": seed, "attack_steps": 20}
    settings |= {"dataset": "sample", "scale": "quick"}
    return Result(settings, None, np.arange(n), np.ones(n, bool), correct, {})


def found(**norms):
    """{model ("_" in the place of "-"): [Result]}."""
    return {model.replace("_", "-"): [minimal(n)] for model, n in norms.items()}

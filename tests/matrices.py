"""Results of "horizons" for the tests of its figures and its explorer."""

import numpy as np
import pandas as pd

from eplib.results import Result

ATTACKED = ((4, "unrolled"), (29, "unrolled"), (60, "leaky"), (250, "adjoint"))
PREDICTED = (10, 250)
N = 20


def result(right, clean=None, seed=0, epsilons=(0.5, 1.0, 2.0), attacked=ATTACKED, arrays=None):
    """right: {(place of ε, attack, prediction): images kept right, a number or bool [N]}, places of the four
    predictions 10, 250, own and converged; everywhere else all of `clean` (default 18 of N) stay right.
    """
    clean = np.arange(N) < 18 if clean is None else clean
    kept = np.broadcast_to(clean, (len(epsilons), len(attacked), 4, N)).copy()
    for place, images in right.items():
        kept[place] = np.arange(N) < images if isinstance(images, int) else images
    sizes = {"norm": "l2", "epsilons": epsilons, "attacked": attacked, "predicted": PREDICTED, "steps": 20}
    settings = {"measurement": "horizons", "model": "ep-cnn", "seed": seed, "scale": "quick"}
    settings |= {"dataset": "sample", "predict_steps": 20, "order": "forward", "sizes": sizes}
    correct = np.concatenate([np.broadcast_to(clean, (4, N)), kept.reshape(-1, N)])
    table = pd.DataFrame([{"metric": "unsettled", "value": v} for v in (0.0, 0.05)])
    return Result(settings, table, np.arange(N), clean, correct, {"seconds": 1.0}, arrays or {})

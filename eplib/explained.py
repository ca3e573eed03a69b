"""Does a margin and an input gradient explain how far a network is from being fooled? A straight line through
all networks without a free phase, and where the others fall beside it.
"""

from dataclasses import dataclass

import numpy as np

from eplib.black_box import common

FEWEST = 8  # networks that a line with two slopes is put through


@dataclass(frozen=True)
class Point:
    """One network, medians over the images that it gets right. margin: of logits. gradient: ℓ2 norm of the
    margin's gradient in the image. distance: the smallest ℓ2 change found that breaks it, in pixels of
    [0, 1]. settles: whether it has a free phase.
    """

    model: str
    seed: int
    margin: float
    gradient: float
    distance: float
    settles: bool


@dataclass(frozen=True)
class Line:
    """log distance = constant + on_margin · log margin + on_gradient · log gradient by least squares over
    `networks` networks, and the share of the variance that it explains (r2).
    """

    constant: float
    on_margin: float
    on_gradient: float
    r2: float
    networks: int
    fit: object

    def predicted(self, point):
        """(distance, low, high) that the line predicts of a network, with the 95 % interval for one more."""
        row = [[1.0, np.log(point.margin), np.log(point.gradient)]]
        found = self.fit.get_prediction(row)
        low, high = found.conf_int(obs=True)[0]
        return tuple(float(np.exp(v)) for v in (found.predicted_mean[0], low, high))


def points(margins, lengths):
    """[Point] of every network that both were measured of, on the images that both looked at.

    margins, lengths: {model: [Result of "margins", of "minimal-l2", one a seed]}. A network that is right
    nowhere or is broken on too few images for a median is left out, as is one without a gradient.
    """
    found = []
    for model in margins:
        smallest = {r.settings["seed"]: r for r in lengths.get(model, ())}
        for first in margins[model]:
            second = smallest.get(first.settings["seed"])
            if second is None:
                continue
            a, b = common([first, second])[1]
            norms = second.arrays["minimal_norm"][b]
            right = (norms > 0) & first.correct_clean[a]
            if not right.any():
                continue
            middle = [float(np.median(first.arrays[k][a][right])) for k in ("margin", "gradient_l2")]
            distance = float(np.median(norms[right]))
            if np.isfinite(distance) and min(*middle, distance) > 0:
                settles = (first.settings["predict_steps"] or 0) > 1
                found.append(Point(model, first.settings["seed"], *middle, distance, settles))
    return found


def line(found):
    """The `Line` through the networks of `points` without a free phase, one a network; None where there are
    fewer than `FEWEST`.
    """
    import statsmodels.api as sm  # only here: it takes seconds to import

    plain = [p for p in found if not p.settles]
    if len(plain) < FEWEST:
        return None
    x = np.log([(p.margin, p.gradient) for p in plain])
    fit = sm.OLS(np.log([p.distance for p in plain]), sm.add_constant(x, has_constant="add")).fit()
    return Line(*map(float, fit.params), float(fit.rsquared), len(plain), fit)

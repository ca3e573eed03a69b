"""The uncertainty exponent of a classifier: how often a point changes its class when it is moved by ε.

    f(ε) = share of points p for which p + εu or p − εu has another class than p,     f(ε) ≈ C ε^α

(Grebogi, McDonald, Ott and Yorke 1983; McDonald et al. 1985). For points drawn uniformly in N dimensions the
boundary has the box dimension N − α. Here points may be images and u a random unit vector (ℓ2), or ε the
smallest change that alters the class, whose distribution function is f. Everything is recomputed from the
outcomes of single points; those of one point stay together in every bootstrap.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.stats import norm

from eplib.checks import InputError
from eplib.statistics import LEVEL, RESAMPLES

FEWEST_POINTS, DECADE = 6, 10.0  # a fit needs so many ε, or ε over so large a range
SHARES = (0.01, 0.03, 0.1)  # at which random and adversarial ε are compared
TAIL = (0.01, 0.1)  # the share of the images that distances are fitted over
BENT = 0.25  # a slope that clearly changes by more than this within the window is none


@dataclass(frozen=True)
class Window:
    """Which ε a line is put through: those with at least `fewest` changed outcomes and a share up to
    `highest`.
    """

    fewest: int
    highest: float


STANDARD = Window(50, 0.03)  # of the paper's sizes
SMALL = Window(20, 0.1)  # where fewer images are measured


@dataclass(frozen=True)
class Exponent:
    """A straight line through log f against log ε. alpha, prefactor, bend: (value, low, high), 95 % intervals
    by the bootstrap over points; prefactor is C with ε in the units given; bend is how much the slope changes
    from the first to the last ε of a parabola. inside: places of the ε that were fitted. samples: resampled
    alpha.
    """

    alpha: tuple
    prefactor: tuple
    bend: tuple
    inside: np.ndarray
    samples: np.ndarray = field(repr=False)

    @property
    def scales(self):
        """Whether the line describes f: the interval of its bend holds 0, or the bend is small (`BENT`)."""
        return self.bend[1] <= 0 <= self.bend[2] or abs(self.bend[0]) <= BENT


def flips(classify, points, directions, epsilons):
    """bool [E, m, 2, N]: whether each of N points changes its class at p + εu (first) and p − εu (second).

    classify: points -> N classes. points: tensor or array [N, …]. directions: m of the same shape.
    """
    own = np.asarray(classify(points))
    return np.stack(
        [
            [[np.asarray(classify(points + s * float(e) * u)) != own for s in (1, -1)] for u in directions]
            for e in epsilons
        ]
    )


def directions(shape, places, count, seed=0):
    """Unit vectors (ℓ2) float32 [count, N, *shape] for N points by their places: the same for every network
    and every ε, drawn on the CPU.
    """
    drawn = []
    for k in range(count):
        for place in places:
            generator = torch.Generator().manual_seed(1_000_003 * (1000 * seed + k) + place)
            vector = torch.randn(shape, generator=generator)
            drawn.append(vector / vector.norm())
    return torch.stack(drawn).unflatten(0, (count, len(places)))


def counts(outcomes, two_sided=True):
    """(int [E, N], trials): how many of a point's trials changed its class, from the outcomes of `flips`."""
    if two_sided:
        return outcomes.any(2).sum(1), outcomes.shape[1]
    return outcomes.sum((1, 2)), 2 * outcomes.shape[1]


def thresholds(distances, number=12):
    """`number` log-spaced ε over which a `TAIL` of distances [N] lies; InputError where most are not finite
    or none is above 0 there.
    """
    low, high = (float(np.quantile(distances, q, method="inverted_cdf")) for q in TAIL)
    if not 0 < low < high < np.inf:
        raise InputError(
            f"distances of which {TAIL[0]:.0%} are up to {low:g} and {TAIL[1]:.0%} up to {high:g}: give"
            " positive ones that differ"
        )
    return np.geomspace(low, high * (1 + 1e-9), number)


def of_distances(distances, resamples=RESAMPLES):
    """`Exponent` of f(ε) = P(distance ≤ ε) over its `TAIL`, or None where it cannot be had."""
    try:
        epsilons = thresholds(distances)
    except InputError:
        return None
    below = np.asarray(distances) <= epsilons[:, None]
    return exponent(epsilons, below, 1, Window(1, 1.0), resamples)


def hill(distances, highest=TAIL[1]):
    """The maximum-likelihood exponent of the distances up to their quantile `highest` (Hill 1975)."""
    end = np.quantile(distances, highest, method="inverted_cdf")
    return float(1 / np.mean(np.log(end / distances[distances < end])))


def exponent(epsilons, changed, trials, window, resamples=RESAMPLES):
    """`Exponent` by least squares of log f on log ε with weights n f / (1 − f), or None where the ε within
    the window are fewer than 6 and span less than a decade ("not identifiable").

    epsilons: [E], ascending. changed: [E, N], outcomes of N points in `trials` trials each. The window is
    that of all points, also in the bootstrap.
    """
    epsilons, changed = np.asarray(epsilons, float), np.asarray(changed)
    total, count = changed.sum(1), changed.shape[1] * trials
    inside = np.flatnonzero((total >= max(window.fewest, 1)) & (total <= window.highest * count))
    inside = inside[total[inside] < count]
    used = epsilons[inside]
    if len(used) < 3 or (len(used) < FEWEST_POINTS and used[-1] / used[0] < DECADE):
        return None
    drawn = np.concatenate([total[inside][None], resampled(changed[inside], resamples)]) / count
    drawn = drawn[(drawn > 0).all(1) & (drawn < 1).all(1)]  # a resample without a change has no logarithm
    found = fitted(used, drawn)
    bounds = [(v[0], *np.quantile(v[1:], (LEVEL / 2, 1 - LEVEL / 2)).tolist()) for v in found]
    return Exponent(*(tuple(map(float, b)) for b in bounds), inside, found[0][1:])


def fitted(epsilons, shares):
    """(α, C, bend), each [R], of shares [R, E] at the same ε."""
    x = np.log(epsilons)
    y, weights = np.log(shares), shares / (1 - shares)
    line = _polynomial(x, y, weights, 1)
    curve = _polynomial(x - x.mean(), y, weights, 2)
    return line[:, 1], np.exp(line[:, 0]), 2 * curve[:, 2] * np.ptp(x)


def _polynomial(x, y, weights, degree):
    """Coefficients [R, degree + 1], the constant first, of weighted least squares of y [R, E] on x [E]."""
    powers = x[:, None] ** np.arange(degree + 1)
    left = np.einsum("re,ei,ej->rij", weights, powers, powers)
    right = np.einsum("re,ei,re->ri", weights, powers, y)
    return np.linalg.solve(left, right[..., None])[..., 0]


def resampled(changed, resamples=RESAMPLES, seed=0):
    """[R, E]: totals of `changed` [E, N] over N points drawn with replacement. The draws depend on N and the
    seed alone, so those of two networks on the same points are paired.
    """
    generator, count, drawn = np.random.default_rng(seed), changed.shape[1], []
    for start in range(0, resamples, 100):
        block = min(100, resamples - start)
        times = generator.multinomial(count, np.full(count, 1 / count), block)
        drawn.append(times.astype(np.float32) @ changed.T.astype(np.float32))
    return np.concatenate(drawn).astype(float)


def difference(first, second):
    """(α₁ − α₂, low, high) of two networks on the same points, resampled together; None where their
    bootstraps do not match.
    """
    if len(first.samples) != len(second.samples):
        return None
    apart = np.quantile(first.samples - second.samples, (LEVEL / 2, 1 - LEVEL / 2))
    return first.alpha[0] - second.alpha[0], *apart.tolist()


def at_share(epsilons, shares, share):
    """The ε at which f reaches a share, on straight lines between (log ε, log f); NaN outside of what was
    measured.
    """
    known = np.asarray(shares) > 0
    x, y = np.log(np.asarray(epsilons)[known]), np.log(np.maximum.accumulate(np.asarray(shares)[known]))
    if not len(y) or not y[0] <= np.log(share) <= y[-1]:
        return np.nan
    return float(np.exp(np.interp(np.log(share), y, x)))


def ratio(epsilons, changed, trials, distances, dimension, share, resamples=200):
    """(ρ, low, high), ρ = ε_random(q) / (√D ε_adversarial(q)) at share q, for the same N points; NaN where
    either is not reached. A flat boundary with points as dense at it as away from it has √(2π) / 2 = 1.25 by
    two-sided outcomes and √(2π) = 2.51 by one-sided ones.

    changed: [E, N] of random directions. distances: [N], smallest changes. dimension: D.
    """
    generator, count = np.random.default_rng(0), len(distances)

    def of(places):
        shares = changed[:, places].sum(1) / (trials * len(places))
        near = np.quantile(distances[places], share, method="inverted_cdf")
        return at_share(epsilons, shares, share) / (np.sqrt(dimension) * near)

    drawn = np.array([of(generator.integers(0, count, count)) for _ in range(resamples)])
    drawn = drawn[np.isfinite(drawn)]
    ends = np.quantile(drawn, (0.025, 0.975)) if 2 * len(drawn) > resamples else (np.nan, np.nan)
    return float(of(np.arange(count))), *map(float, ends)


def slopes(epsilons, shares):
    """(f, d log f / d log ε) between neighbouring ε, at the geometric means of f."""
    known = np.asarray(shares) > 0
    x, y = np.log(np.asarray(epsilons)[known]), np.log(np.asarray(shares)[known])
    return np.exp((y[1:] + y[:-1]) / 2), np.diff(y) / np.diff(x)


def flat_share(ratios, power):
    """f for a flat boundary when the points' distances from it have the density (1 + k) d^k on [0, 1]:
    E[2 Φ(−d / r)], r = ε / √D (`ratios`), k = `power`. Two-sided, in many dimensions.
    """
    distances = (np.arange(4000) + 0.5) / 4000
    density = (1 + power) * distances**power
    return np.array([(density * 2 * norm.cdf(-distances / r)).mean() for r in np.atleast_1d(ratios)])


def bias(window, trials, points=8, power=1):
    """How far the exponent that a window gives for a flat boundary lies from the true 1 + k, without any
    sampling: `points` ε between the smallest share that `trials` outcomes allow and the highest.
    """
    ratios = np.geomspace(1e-3, 1, 300)
    shares = flat_share(ratios, power)
    ends = window.fewest / trials, window.highest
    low, high = (at_share(ratios, shares, end) for end in ends)
    used = np.geomspace(low, high, points)
    return float(fitted(used, flat_share(used, power)[None])[0][0] - (1 + power))

"""Boundaries whose exponent is known, run through the same fits as the networks: a circle, the basins of
Newton's method, and a plane in as many dimensions as a CIFAR image has pixels.
"""

from dataclasses import dataclass

import numpy as np

from eplib import uncertainty
from eplib.uncertainty import Exponent, Window

DIMENSION = 3072
NEWTON = 0.57  # 2 − 1.43, the dimension of these basins' boundary
ROOTS = np.exp(2j * np.pi * np.arange(3) / 3)
WINDOW = Window(50, 0.1)
RESAMPLES = 100  # of these many points, for intervals that are only drawn


@dataclass(frozen=True)
class Control:
    """name, the exponent it should give, how far it may be off, what was found, and the curve behind it."""

    name: str
    expected: float
    tolerance: float
    found: Exponent
    epsilons: np.ndarray
    shares: np.ndarray

    @property
    def passes(self):
        return self.found is not None and abs(self.found.alpha[0] - self.expected) <= self.tolerance


def circle(points=40_000):
    """A circle in the square [−1, 1]²: α = 1."""
    p = _spread(points) * 2 - 1
    angle = 2 * np.pi * np.random.default_rng(1).random(len(p))
    moved = np.stack([np.cos(angle), np.sin(angle)], 1)

    def classify(at):
        return (at**2).sum(1) < 0.25

    return _control("circle", 1.0, 0.03, classify, p, moved, np.geomspace(3e-3, 0.08, 10))


def newton(points=160_000):
    """The basins of z³ − 1 under Newton's method on [−1, 1]²: α = 0.57."""
    p = _spread(points) * 2 - 1
    angle = 2 * np.pi * np.random.default_rng(1).random(len(p))
    z, moved = p[:, 0] + 1j * p[:, 1], np.exp(1j * angle)
    return _control("Newton's basins", NEWTON, 0.02, newton_class, z, moved, np.geomspace(1e-5, 1e-2, 8))


def newton_class(z, steps=40):
    """Which root of z³ − 1 Newton's method reaches from each complex number, int [N]."""
    z, moving = z.copy(), np.arange(len(z))
    with np.errstate(all="ignore"):
        for _ in range(steps):
            square = z[moving] * z[moving]
            step = (z[moving] - 1 / square) / 3
            z[moving] -= step
            moving = moving[np.abs(step) > 1e-3]
    return np.abs(z[:, None] - ROOTS).argmin(1)


def flat(power, points=10_000, trials=4, seed=0):
    """(distances [N], t [trials, N]) of points near a plane in 3,072 dimensions: distances with a density
    ~ d^power on [0, 1], evenly placed, and the component t of random unit vectors towards the plane.
    """
    distances = ((np.arange(points) + 0.5) / points) ** (1 / (1 + power))
    generator = np.random.default_rng(seed)
    towards = generator.standard_normal((trials, points))
    rest = generator.chisquare(DIMENSION - 1, (trials, points))
    return distances, towards / np.sqrt(towards**2 + rest)


def flat_flips(distances, towards, epsilons):
    """The outcomes of `uncertainty.flips` for such points: crossed where ε t or −ε t exceeds the distance."""
    reached = np.asarray(epsilons)[:, None, None] * towards
    return np.stack([reached > distances, -reached > distances], 2)


def flat_epsilons(distances, shares=(0.001, 0.018), number=12):
    """ε at which about these shares of such points change in a random direction."""
    low, high = (np.quantile(distances, q) for q in shares)
    return np.geomspace(low, high, number) * np.sqrt(DIMENSION) * 1.25


def flat_adversarial(power=1):
    """A plane, the distance of each point from it: α = 1 + power."""
    distances, _ = flat(power)
    epsilons = uncertainty.thresholds(distances)
    shares = (distances <= epsilons[:, None]).mean(1)
    found = uncertainty.of_distances(distances)
    return Control(f"plane, k = {power}, distances", 1.0 + power, 0.1, found, epsilons, shares)


def flat_random(power=1, window=uncertainty.STANDARD):
    """The same points in random directions; the window decides how far below 1 + power α falls."""
    distances, towards = flat(power)
    epsilons = flat_epsilons(distances)
    changed, trials = uncertainty.counts(flat_flips(distances, towards, epsilons))
    found = uncertainty.exponent(epsilons, changed, trials, window, RESAMPLES)
    shares = changed.mean(1) / trials
    return Control(f"plane, k = {power}, random directions", 1.0 + power, 0.1, found, epsilons, shares)


def flat_ratio(two_sided, share=0.1):
    """(ρ, low, high) of a plane with k = 0: 1.25 by two-sided outcomes, 2.51 by one-sided ones."""
    distances, towards = flat(0, points=20_000, trials=8)
    epsilons = flat_epsilons(distances, (0.02, 0.4), 16)
    changed, trials = uncertainty.counts(flat_flips(distances, towards, epsilons), two_sided)
    return uncertainty.ratio(epsilons, changed, trials, distances, DIMENSION, share, resamples=20)


def every():
    """[Control] of all of them, and {"two-sided" and "one-sided": ρ of a plane}."""
    controls = [circle(), newton(), flat_adversarial(1), flat_random(1)]
    return controls, {"two-sided": flat_ratio(True), "one-sided": flat_ratio(False)}


def _spread(points):
    """About so many points of the unit square, one anywhere in each of equal cells."""
    side = int(np.sqrt(points))
    corner = np.stack(np.meshgrid(np.arange(side), np.arange(side)), -1).reshape(-1, 2)
    return (corner + np.random.default_rng(0).random(corner.shape)) / side


def _control(name, expected, tolerance, classify, points, direction, epsilons):
    outcomes = uncertainty.flips(classify, points, [direction], epsilons)
    changed, trials = uncertainty.counts(outcomes)
    found = uncertainty.exponent(epsilons, changed, trials, WINDOW, RESAMPLES)
    return Control(name, expected, tolerance, found, epsilons, changed.mean(1) / trials)

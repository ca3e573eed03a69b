"""One number for a curve of accuracy against ε: its half radius and its area, and the ε of adversarial
training that gives a CNN the same.
"""

import numpy as np

from eplib import sizes
from eplib.statistics import cluster_bootstrap

MEASURES = ("half radius", "area")


def half_radius(norms):
    """The ε at which half of the images are right: the median of minimal norms, float [N], 0 for images that
    are wrong without an attack and inf where no change was found.
    """
    return float(np.median(norms))


def area(norms, norm):
    """Mean accuracy over the published ε of a norm on a logarithmic axis, from the smallest to the largest:
    the area under the curve, 1 for a network that keeps every image right up to the largest.

    norms: minimal norms, as of `half_radius`.
    """
    low, high = np.log((sizes.EPSILONS[norm][0], sizes.EPSILONS[norm][-1]))
    with np.errstate(divide="ignore"):
        reach = np.clip((np.log(norms) - low) / (high - low), 0, 1)
    return float(reach.mean())


def measure(name, norms, norm):
    """The measure of `MEASURES` called `name` of minimal norms in a norm."""
    return half_radius(norms) if name == "half radius" else area(norms, norm)


def equivalent(value, ladder):
    """The ε of adversarial training at which a measure would have this value: where the line through `ladder`
    ({ε of training: value}, 0 for a network trained without attacks) first reaches it. −inf where it lies
    below all of the ladder, inf above all of it.
    """
    epsilons = sorted(ladder)
    values = [ladder[e] for e in epsilons]
    if value < min(values):
        return -np.inf
    for (a, b), (u, v) in zip(
        zip(epsilons, epsilons[1:], strict=False), zip(values, values[1:], strict=False), strict=True
    ):
        if min(u, v) <= value <= max(u, v):
            return float(a + (b - a) * (value - u) / (v - u)) if v != u else float(a)
    return np.inf


def training_equivalent(own, ladder, norm, name):
    """(ε, low, high, value): the ε of adversarial training whose CNN has the same measure as a network, with
    the 95 % interval of a bootstrap over images, all networks on the same resampled ones.

    own: minimal norms float [N] of the network. ladder: {ε of training: minimal norms of the same images}.
    name: of `MEASURES`. An end of the interval is −inf or inf where it lies outside of the ladder.
    """

    def at(places):
        steps = {e: measure(name, norms[places], norm) for e, norms in ladder.items()}
        return equivalent(measure(name, own[places], norm), steps)

    far = 1e6  # stands for infinity, which scipy's standard error cannot take
    ends = cluster_bootstrap(len(own), lambda places: float(np.clip(at(places), -far, far)))
    ends = (float(np.sign(v) * np.inf) if abs(v) == far else v for v in ends)
    return at(np.arange(len(own))), *ends, measure(name, own, norm)


def crossings(epsilons, first, second):
    """The ε at which two curves of accuracy cross, by straight lines between the measured ε on a logarithmic
    axis: [(ε, whether the first lies above afterwards)].

    epsilons: ascending. first, second: accuracies. Where the curves touch and part again on the same side
    they do not cross.
    """
    x, gap = np.log(epsilons), np.subtract(first, second)
    kept = [i for i in range(len(x)) if gap[i]]
    found = []
    for i, j in zip(kept, kept[1:], strict=False):
        if gap[i] * gap[j] < 0:
            # between two points that differ, or in the middle of those between where they are equal
            at = x[i] - gap[i] * (x[j] - x[i]) / (gap[j] - gap[i]) if j == i + 1 else x[i + 1 : j].mean()
            found.append((float(np.exp(at)), bool(gap[j] > 0)))
    return found

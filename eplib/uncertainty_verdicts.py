"""Verdicts about the boundary: does a larger uncertainty exponent go with more robustness, is the boundary
fractal, and does settling filter small perturbations? Rules as in `eplib.verdicts`, written down before the
numbers.
"""

import numpy as np

from eplib import filtering, uncertainty_networks, zooms
from eplib.checks import strength
from eplib.statistics import LEVEL, cluster_bootstrap
from eplib.verdicts import judged

FEWEST_KINDS = 6  # kinds of networks that a rank correlation is judged over
SMALL_LEVELS = (1, 2, 4, 8)  # perturbations that count as small, root mean square in 255ths
SMOOTH = 0.9  # an exponent certainly below this is no smooth boundary's
FEWEST_PLANES = 3
SETTLED = 100  # steps after which a perturbation is judged


def larger_exponent_more_robust(found, results):
    """The paper's hypothesis: do networks with a larger uncertainty exponent keep more images right under
    attack? A `Verdict`.

    found: [uncertainty_networks.Network]. results: [Result], one a seed, of the EP-CNN under ℓ2 PGD. The
    exponent is that of smallest changes (the primary one), robustness the accuracy under ℓ2 PGD, joined by
    Spearman's rank correlation over all networks stored, with the bootstrap over kinds of networks. These
    networks: supported when there are at least six kinds and the 95 % interval lies above 0; contradicted
    when it lies below 0; otherwise undecided.
    """
    a = uncertainty_networks.association(found, "exponent", "robust")
    networks = "undecided"
    if a.kinds >= FEWEST_KINDS and (a.low > 0 or a.high < 0):
        networks = "supported" if a.low > 0 else "contradicted"
    told = (
        f"Over {a.networks} networks of {a.kinds} kinds the rank correlation of the exponent of smallest"
        f" changes with the accuracy under PGD ({strength('l2', uncertainty_networks.strength(results[0]))})"
        f" is {a.value:+.2f} (95 % interval {a.low:+.2f} to {a.high:+.2f})."
        if np.isfinite(a.low)
        else f"A rank correlation needs more than the {a.kinds} kinds of networks with an exponent."
    )
    return judged(
        networks,
        results,
        f"For these networks: {networks}. {told}",
        f"The word needs {FEWEST_KINDS} kinds of networks with an exponent; it is supported while the"
        " interval lies above 0 and contradicted while it lies below 0. More kinds of networks, more images"
        " or a stronger search for the smallest change can move it.",
    )


def boundary_is_fractal(results):
    """Does the boundary stay ragged when it is enlarged? Results of "zooms", one a seed, of the EP-CNN.

    By the uncertainty exponent inside the plane, mean over the planes that have a boundary, t interval. These
    networks: supported when in every network it lies below 0.9 at every enlargement; contradicted when in
    every network it lies above 0.9 at the largest; otherwise undecided, also with fewer than three such
    planes.
    """
    levels = range(zooms.LEVELS)
    found = np.array([[zooms.measured(r.arrays["classes"], k, "exponent") for k in levels] for r in results])
    value, low, high, count = np.moveaxis(found, -1, 0)
    networks = "undecided"
    if (count >= FEWEST_PLANES).all():
        if (high < SMOOTH).all():
            networks = "supported"
        elif (low[:, -1] > SMOOTH).all():
            networks = "contradicted"
    told = "; ".join(
        f"{zooms.FACTOR**k} times {value[:, k].mean():.2f} ({low[:, k].min():.2f} to {high[:, k].max():.2f})"
        for k in levels
    )
    return judged(
        networks,
        results,
        f"For these networks: {networks}. The exponent inside planes through three images, enlarged {told};"
        f" smooth is 1 (means over up to {int(count.max())} planes and {len(results)}"
        f" network{'s' * (len(results) > 1)}, the widest 95 % interval of a network).",
        f"The word is supported while the interval lies below {SMOOTH} at every enlargement in every network,"
        f" and contradicted while it lies above {SMOOTH} at the largest one. Larger enlargements can overturn"
        " it: every function that a computer evaluates in finitely many steps is smooth in the end.",
    )


def ragged(results):
    """[enlargements at which the exponent of `boundary_is_fractal` lies below `SMOOTH` in every network], for
    a description: no verdict rests on a single one.
    """
    found = []
    for level in range(zooms.LEVELS):
        inside = [zooms.measured(r.arrays["classes"], level, "exponent") for r in results]
        if all(count >= FEWEST_PLANES and high < SMOOTH for _, _, high, count in inside):
            found.append(zooms.FACTOR**level)
    return found


def shrunk(result, kind, level, part, steps=SETTLED):
    """(median, low, high) over images of how far apart states are after the measured length nearest to
    `steps`, over how far they were at first, `filtering.shrinkage`; bootstrap over images.
    """
    lengths = np.array(result.settings["sizes"]["lengths"])
    place = int(np.abs(lengths - steps).argmin())
    moved = result.arrays["moved"][filtering.KINDS.index(kind), filtering.LEVELS.index(level)]
    values = filtering.shrinkage(moved, part, place)
    if not len(values):
        return np.nan, np.nan, np.nan
    bounds = cluster_bootstrap(len(values), lambda places: float(np.median(values[places])))
    return float(np.median(values)), *bounds


def dynamics_filter(results):
    """Do the dynamics filter small random perturbations? Results of "filtering", one a seed.

    Judged for random perturbations of root mean square size 1, 2, 4 and 8 / 255 after the measured length
    nearest to 100 steps, by the first layer (which hears all of the image in the first step, so that what
    changes later is the feedback) and by the whole state. These networks: supported when in every network, at
    every size and by both, the 95 % interval of the median shrinkage lies below 1; contradicted when all of
    them lie above 1; otherwise undecided.
    """
    cells = {
        part: np.array([[shrunk(r, "random", level, part) for level in SMALL_LEVELS] for r in results])
        for part in ("first layer", "state")
    }
    every = np.concatenate([c.reshape(-1, 3) for c in cells.values()])
    networks = "undecided"
    if (every[:, 2] < 1).all():
        networks = "supported"
    elif (every[:, 1] > 1).all():
        networks = "contradicted"
    lengths = np.array(results[0].settings["sizes"]["lengths"])
    steps = lengths[np.abs(lengths - SETTLED).argmin()]
    told = "; ".join(
        f"in {'the first layer' if part == 'first layer' else 'the whole state'} it is"
        f" {found[..., 0].min():.2f} to {found[..., 0].max():.2f} times as large"
        for part, found in cells.items()
    )
    return judged(
        networks,
        results,
        f"For these networks: {networks}. A random perturbation of root mean square size"
        f" {SMALL_LEVELS[0]} to {SMALL_LEVELS[-1]}/255, after {steps} steps and compared with the first step:"
        f" {told} (medians over images, the range over sizes and {len(results)}"
        f" network{'s' * (len(results) > 1)}).",
        f"The word is supported while at every size the interval of both lies below 1 in every network, and"
        f" contradicted while all lie above 1 (bootstrap over images, level {LEVEL}).",
    )

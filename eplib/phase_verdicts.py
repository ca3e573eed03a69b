"""Verdict about the free-phase steps: does a network that is left to settle withstand more than the same
network asked early? The rule, as those of `eplib.verdicts`, was written down before the numbers.
"""

import numpy as np

from eplib import horizons
from eplib.checks import NORMS
from eplib.masking_verdicts import target
from eplib.statistics import holm, mcnemar
from eplib.verdicts import LEVEL, UNDER_TRAINED, judged, lags, leader, nearest, over_seeds

BESIDE = 1  # an attack through so many steps more or fewer than a prediction counts as through its own


def own_attacks(result):
    """{T: place in the sizes' attacked} of a result of "horizons", for every prediction after T steps that
    was attacked through its own steps: by the exact gradient through T, else through one step more or fewer,
    else by the adjoint at the state after T, which is that gradient where the state has settled.
    """
    attacked, found = [tuple(a) for a in result.settings["sizes"]["attacked"]], {}
    for steps in result.settings["sizes"]["predicted"]:
        near = (0, -BESIDE, BESIDE)
        wanted = [*((steps + apart, "unrolled") for apart in near), (steps, "adjoint")]
        place = next((attacked.index(a) for a in wanted if a in attacked), None)
        if place is not None:
            found[steps] = place
    return found


def at_length(result, epsilon, steps):
    """(right without attack bool [N], right under the attack through its own steps bool [N], right under
    every attack of the matrix bool [N]) of the network that predicts after `steps`, of `own_attacks`.
    """
    clean, right = horizons.outcomes(result)
    place = list(result.settings["sizes"]["predicted"]).index(steps)
    under = right[list(result.epsilons).index(epsilon), :, place]
    return clean[place], under[own_attacks(result)[steps]], under.all(0)


def compared(results):
    """(short, long): the two lengths of the free phase that the verdict compares, in results of "horizons",
    one a seed. Of the lengths attacked through their own steps, long is the longest, and short the shortest
    whose mean clean accuracy is not more than ten points below that of the longest; the same as long where no
    shorter one is.
    """
    lengths = sorted(own_attacks(results[0]))
    places = [list(results[0].settings["sizes"]["predicted"]).index(t) for t in lengths]
    clean = [np.mean([horizons.outcomes(r)[0][p].mean() for r in results]) for p in places]
    return next(t for t, c in zip(lengths, clean, strict=True) if not lags(c, clean[-1])), lengths[-1]


def settling_adds_robustness(results):
    """Does settling add robustness at test time? Results of "horizons", one a seed.

    One network, two lengths of its free phase (`compared`), each under ℓ2 PGD through its own steps, on the
    same images at the measured ε nearest to `masking_verdicts.target`. These networks: supported when in
    every network the longer phase keeps more images right and every Holm-adjusted exact McNemar p is below
    0.05; contradicted when the shorter does; otherwise undecided. The method: the same word when there are at
    least five seeds on CIFAR images, otherwise undecided.
    """
    short, long = compared(results)
    epsilon = nearest(results[0], target())
    sides = {t: [at_length(r, epsilon, t) for r in results] for t in (short, long)}
    pairs = [(after[1], before[1]) for after, before in zip(sides[long], sides[short], strict=True)]
    p_values = holm([mcnemar(*pair) for pair in pairs])
    gained = [after.mean() - before.mean() for after, before in pairs]
    networks = leader(gained, p_values)
    (clean, attacked), (clean_short, attacked_short) = (
        [np.mean([side[i].mean() for side in sides[t]]) for i in (0, 1)] for t in (long, short)
    )
    strength = f"{NORMS['l2']} ε = {epsilon:.3g}"
    told = (
        f"After {long} synchronous steps {clean:.1%} of {len(pairs[0][0])} test images are right and"
        f" {attacked:.1%} are left under PGD through those steps ({strength})"
    )
    told += (
        f"; no shorter phase has a clean accuracy within {100 * UNDER_TRAINED:.0f} points, so there is none"
        " to compare with."
        if short == long
        else f"; after {short}, the shortest phase whose clean accuracy is within"
        f" {100 * UNDER_TRAINED:.0f} points, {clean_short:.1%} and {attacked_short:.1%}"
        f" ({over_seeds(p_values)})."
    )
    return judged(
        networks,
        results,
        f"For these networks: {networks}. {told}",
        f"The word for these networks changes when, at {strength}, the longer and the shorter phase differ in"
        f" the same direction with p < {LEVEL} in every network, or no longer do; it also falls where a"
        " stronger attack on one of them breaks what PGD left.",
    )

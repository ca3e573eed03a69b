"""Verdicts about masked gradients: does a stronger attack break much more than the one that the numbers rest
on? Rules as in `eplib.verdicts`, written down before the numbers.

The primary comparison of the page is `by_horizon`; `by_effort` is the second. Each has its own word.
"""

import numpy as np

from eplib import horizons, published
from eplib.checks import InputError
from eplib.statistics import holm, mcnemar, paired_difference
from eplib.verdicts import bounded, judged, nearest

HIDDEN = (
    0.05  # so much of the images must another attack break beyond the first for its gradients to be masked
)


def not_masked(pairs, results, plain, more):
    """Does an attack break about as much as all attacks together?

    pairs: [(bool [N], bool [N]), …], one a result: right under the attack, right under it and all others.
    These networks: supported when in every pair the 95 % interval of the difference
    (`statistics.paired_difference`) ends at five points or less; contradicted when in every pair it begins
    above five points and every Holm-adjusted exact McNemar p is below 0.05; otherwise undecided. plain, more:
    the attack and the others in the sentence. Raises InputError without pairs, and where an image is right
    under all attacks but not under the first.
    """
    if not pairs or any((worst & ~alone).any() for alone, worst in pairs):
        raise InputError("outcomes that do not contain each other: give those of the first attack and of all")
    found = [paired_difference(alone, worst) for alone, worst in pairs]
    p_values = holm([mcnemar(*pair) for pair in pairs])
    networks = bounded(found, HIDDEN, p_values)
    alone, worst = (np.mean([pair[i].mean() for pair in pairs]) for i in (0, 1))
    low, high = min(f[1] for f in found), max(f[2] for f in found)
    seeds = f"means of {len(pairs)} seeds" if len(pairs) > 1 else "one seed"
    sentence = (
        f"For these networks: {networks}. {plain} leaves {alone:.1%} of {len(pairs[0][0])} test images right,"
        f" the worst of {more} for each image {worst:.1%}: {100 * (alone - worst):.1f} points less ({seeds};"
        f" 95 % interval {100 * low:.1f} to {100 * high:.1f}; masked would be more than {100 * HIDDEN:.0f})."
    )
    return judged(
        networks,
        results,
        sentence,
        f"An interval that ends at or below {100 * HIDDEN:.0f} points in every network supports the paper's"
        " argument that gradients are not masked; one that begins above it in every network contradicts it."
        " An attack that nobody has tried yet can only make the difference larger.",
    )


def target():
    """The ℓ2 ε where the published EP-CNN leads its CNN most: where horizons are compared."""
    return published.largest_gap("l2")[0]


def paper_horizon(result):
    """[steps, gradient] of the measured attack nearest to the one of the paper's figures."""
    theirs = published.settings("cifar10", "ep-cnn")["pgd_attack_steps_plotted"]
    exact = [a for a in result.settings["sizes"]["attacked"] if a[1] == "unrolled"]
    return min(exact, key=lambda a: abs(np.log(a[0] / theirs)))


def horizon_pairs(results):
    """(ε, [(bool [N], bool [N]), …]): for each result of "horizons" right under the attack nearest to the
    paper's, and under every attack of the matrix, both predicted as the paper does, at the measured ε nearest
    to `target`.
    """
    epsilon, after = nearest(results[0], target()), predicted()
    pairs = [
        (horizons.right(r, epsilon, paper_horizon(r), after), horizons.worst_case(r, epsilon, after))
        for r in results
    ]
    return epsilon, pairs


def by_horizon(results):
    """Verdict over the results of "horizons", one a seed: the paper's attack horizon against the worst case
    over all horizons and gradients (`horizon_pairs`).
    """
    (epsilon, pairs), (steps, _) = horizon_pairs(results), paper_horizon(results[0])
    count = len(results[0].settings["sizes"]["attacked"])
    plain = f"PGD with ℓ2 ε = {epsilon:.3g} through {steps} steps, predicted after {predicted()},"
    return not_masked(pairs, results, plain, f"{count} horizons and gradients")


def predicted():
    """The prediction horizon of the paper's figures, as results name it."""
    return str(published.settings("cifar10", "ep-cnn")["pgd_predict_steps"])


def by_effort(results):
    """Verdict over the results of "adaptive", one a seed: plain PGD against the union of gradients, losses
    and attacks on the states, at the measured ε nearest to `target`.
    """
    epsilon = nearest(results[0], target())
    pairs = [outcomes(r, epsilon) for r in results]
    plain = f"Plain PGD with ℓ2 ε = {epsilon:.3g}"
    return not_masked(pairs, results, plain, "it and the adaptive attacks")


def outcomes(result, epsilon):
    """(bool [N], bool [N]): right under plain PGD, and under all attacks, of a result of "adaptive"."""
    rows = result.table[result.table.metric == "accuracy"].reset_index(drop=True)
    return tuple(
        result.correct[rows.index[(rows.attack == attack) & np.isclose(rows.epsilon, epsilon)][0]]
        for attack in ("pgd", "adaptive")
    )

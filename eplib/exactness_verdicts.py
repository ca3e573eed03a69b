"""Verdicts about number formats: is float32 exact enough for this book, and does bfloat16 attack as well?
Rules as in `eplib.verdicts`.
"""

import numpy as np

from eplib.checks import NORMS, InputError
from eplib.convention_sentences import points
from eplib.lockstep import EXACT, LIVE
from eplib.results import rows
from eplib.statistics import paired_difference, wilson
from eplib.verdicts import judged

CLASSES, OUTCOMES = 0.01, 0.02  # shares of images that may differ from float64
POINTS = 0.02  # by so much accuracy under attack may differ


def differing(result, precision):
    """[(differ, n)] of classes, once for every free phase, and (differ, n) of outcomes of the attack, judged
    by the format itself, beside float64. Raises InputError where one was not measured.
    """
    classes = rows(result, "class_differs", precision=precision, against=EXACT)
    classes = classes[classes.arg_max.isna() | (classes.arg_max == LIVE)]
    outcomes = rows(result, "outcome_differs", precision=precision, against=EXACT, judge="own")
    if classes.empty or len(outcomes) != 1:
        raise InputError(f"a result without {precision} beside {EXACT}: measure exactness again")
    counted = [(round(v * n), int(n)) for v, n in zip(classes.value, classes.n, strict=True)]
    outcome = outcomes.iloc[0]
    return counted, (round(outcome.value * outcome.n), int(outcome.n))


def exact_enough(results, precision="float32"):
    """Is a format exact enough for this book? Results of `exactness`, one a seed.

    These networks: supported when in every network at most 1 % of the classes, after every free phase
    measured, and at most 2 % of the outcomes under attack differ from float64; contradicted when in every
    network the 95 % Wilson interval of a share lies above its limit; otherwise undecided.
    """
    found = [differing(r, precision) for r in results]
    within = [
        max(k / n for k, n in classes) <= CLASSES and outcome[0] / outcome[1] <= OUTCOMES
        for classes, outcome in found
    ]
    above = [
        any(wilson(*c)[0] > CLASSES for c in classes) or wilson(*outcome)[0] > OUTCOMES
        for classes, outcome in found
    ]
    networks = "supported" if all(within) else "contradicted" if all(above) else "undecided"
    sentence = (
        f"For these networks: {networks}. In {precision} {_counted([c for f in found for c in f[0]])}"
        f" classes, counted after every free phase, differ from float64 ({100 * CLASSES:.0f} % are allowed)"
        f" and {_counted([f[1] for f in found])} outcomes under {_attack(results[0])} ({100 * OUTCOMES:.0f}"
        " % are allowed)."
    )
    return judged(
        networks,
        results,
        sentence,
        f"One network in which more than {100 * CLASSES:.0f} % of the classes or more than"
        f" {100 * OUTCOMES:.0f} % of the outcomes differ."
        if networks == "supported"
        else f"Networks in all of which at most {100 * CLASSES:.0f} % of the classes and at most"
        f" {100 * OUTCOMES:.0f} % of the outcomes differ; more images, where the intervals are wide.",
    )


def _counted(pairs):
    """Shares summed over networks and phases, in words, with their 95 % Wilson interval."""
    k, n = (sum(pair[i] for pair in pairs) for i in (0, 1))
    low, high = wilson(k, n)
    return f"{k} of {n} ({k / n:.1%}, 95 % interval {low:.1%} to {high:.1%})"


def attacks_as_well(results, precision="bfloat16"):
    """Does an attack that is computed in fewer bits break as many images? Results of `exactness`, one a seed.

    Judged by float64, as a search in 16 bits counts only what breaks the exact network. These networks:
    supported when in every network the accuracy is within two points of that under the attack in float64;
    contradicted when in every network the 95 % interval of the difference (`statistics.paired_difference`)
    lies beyond two points; otherwise undecided.
    """
    pairs = [(outcomes(r, precision, EXACT), outcomes(r, EXACT, "own")) for r in results]
    found = [paired_difference(*pair) for pair in pairs]
    networks = "undecided"
    if all(round(abs(difference), 9) <= POINTS for difference, _, _ in found):
        networks = "supported"
    elif all(low > POINTS or high < -POINTS for _, low, high in found):
        networks = "contradicted"
    own, exact = (np.mean([pair[i].mean() for pair in pairs]) for i in (0, 1))
    low, high = min(f[1] for f in found), max(f[2] for f in found)
    count = sum(len(pair[0]) for pair in pairs)
    sentence = (
        f"For these networks: {networks}. {_attack(results[0])} computed in {precision} leaves {own:.1%} of"
        f" {count} images right by float64's answers, computed in float64 {exact:.1%}:"
        f" {points(own - exact)} points (95 % interval {points(low)} to {points(high)},"
        f" {100 * POINTS:.0f} either way are allowed)."
    )
    return judged(
        networks,
        results,
        sentence,
        f"One network in which the two accuracies differ by more than {100 * POINTS:.0f} points."
        if networks == "supported"
        else f"Networks in all of which the two accuracies are within {100 * POINTS:.0f} points; more images,"
        " where the interval is wide.",
    )


def outcomes(result, precision, judge):
    """bool [N]: which images are right before and under the attack in a format, as `judge` sees them.
    Raises InputError where that was not measured.
    """
    table = result.table[result.table.metric == "accuracy"].reset_index(drop=True)
    here = table.index[
        (table.precision == precision) & (table.judge == judge) & table.attack.notna()
    ].tolist()
    if len(here) != 1:
        raise InputError(f"a result without attacks in {precision}: measure exactness again")
    return result.correct[here[0]]


def _attack(result):
    s = result.settings["sizes"]
    return f"PGD with {s['steps']} steps and {NORMS[s['norm']]} ε = {s['epsilon']:.3g}"

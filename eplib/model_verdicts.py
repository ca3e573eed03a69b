"""Verdicts about the model itself: whether it settles as published, whether attractors mean classes, whether
its learning rule computes the gradient, and whether failures are caught. Rules as in `eplib.verdicts`.
"""

import numpy as np

from eplib import published
from eplib.statistics import holm, mcnemar, signed_rank
from eplib.verdicts import LEVEL, Verdict, about_the_method, judged

SETTLED_STEP, ONE_POINT = 60, 0.01
SAME_CLASS = 0.95  # share of random starts that has to end in one class
PARALLEL, ASTRAY = 0.95, 0.5  # cosines from which, and below which, a gradient counts as found or missed
RULE = {
    "beta": 0.1,
    "nudged_steps": 30,
    "arg_max": "frozen",
}  # the settings the verdict on the gradient looks at
TEN_POINTS = 0.1  # a run that ends so far below the unturned one has failed


def settles(results):
    """Does settling stop changing the accuracy where the published curve stops, at free step 60?

    results: of `eplib.studies.settling`, one a seed, synchronous order. These networks: supported when the
    accuracies at steps 60 and 250 differ by at most one point in every network; contradicted when they differ
    by more in every network and every Holm-adjusted exact McNemar p is below 0.05; otherwise undecided, also
    when a study stops before step 250.
    """
    curve = published.free_step_curve()["mean"]
    early, late = ([_at_step(r, goal) for r in results] for goal in (SETTLED_STEP, curve.index[-1]))
    pairs = list(zip(early, late, strict=True))
    differences = [abs(int(a.sum()) - int(b.sum())) / len(a) for a, b in pairs]  # one point is 0.01 exactly
    p_values = holm([mcnemar(a, b) for a, b in pairs])
    last = min(r.table.predict_steps.max() for r in results)
    whole, networks = last >= curve.index[-1], "undecided"
    if whole and max(differences) <= ONE_POINT:
        networks = "supported"
    elif whole and min(differences) > ONE_POINT and max(p_values) < LEVEL:
        networks = "contradicted"
    sentence = (
        f"For these networks: {networks}. The published accuracy no longer changes after free step"
        f" {SETTLED_STEP} ({curve[SETTLED_STEP]:.1%}, and {curve.iloc[-1]:.1%} at step {curve.index[-1]});"
        " ours, in"
        f" the same synchronous order, is {_mean(early):.1%} there and {_mean(late):.1%} at the end (largest"
        f" difference in a network {max(differences):.1%}, {_counted(results)})."
        + ("" if whole else f" The end is step {last:.0f} here, too early to tell.")
    )
    return judged(
        networks,
        results,
        sentence,
        f"One network whose accuracy at steps {SETTLED_STEP} and {curve.index[-1]} differs by more than one"
        " point."
        if networks == "supported"
        else "Networks that agree within one point at both steps.",
    )


def attractors_mean_classes(multistability, landscape):
    """Do attractors mean classes? Results of `eplib.studies.multistability` and `.landscape`, one of each a
    seed.

    Three tests in every network: (1) at least 95 % of random starts end in the class reached from zero; (2)
    the nearest attractor of another image shares the image's class more often than its nearest image in
    pixels does (exact McNemar p < 0.05); (3) the energy barrier on the way to an attacked image is higher
    than that of a random path of the same length (Wilcoxon signed rank over images, p < 0.05). Supported when
    all three hold in every network, contradicted when none holds in any, otherwise undecided.
    """
    agree = [_value(r, "agreement") for r in multistability]
    one_class = [a >= SAME_CLASS for a in agree]
    near, pixels = ([_value(r, m) for r in multistability] for m in ("nearest_class", "nearest_class_pixels"))
    together = [
        n > p and mcnemar(r.arrays["near"], r.arrays["near_pixels"]) < LEVEL
        for r, n, p in zip(multistability, near, pixels, strict=True)
    ]
    rise = {k: [np.median(r.arrays[f"barrier_{k}"]) for r in landscape] for k in ("attack", "random")}
    hill = [
        np.median(r.arrays["barrier_attack"] - r.arrays["barrier_random"]) > 0
        and signed_rank(r.arrays["barrier_attack"], r.arrays["barrier_random"]) < LEVEL
        for r in landscape
    ]
    tests = [one_class, together, hill]
    networks = "undecided"
    if all(map(all, tests)):
        networks = "supported"
    elif not any(map(any, tests)):
        networks = "contradicted"
    total = len(multistability)
    sentence = (
        f"For these networks: {networks}. Random starts end in the class reached from zero in"
        f" {np.mean(agree):.0%} of cases (95 % asked for: {sum(one_class)} of {total} networks). The nearest"
        f" attractor of another image has the image's class in {np.mean(near):.0%} of cases, the nearest"
        " image in"
        f" pixels in {np.mean(pixels):.0%} (better with p < {LEVEL}: {sum(together)} of {total}). On the way"
        " to an"
        f" attacked image the energy rises {np.mean(rise['attack']):.1f} above the straight line, on a random"
        " path"
        f" of the same length {np.mean(rise['random']):.1f} (higher with p < {LEVEL}: {sum(hill)} of"
        f" {total})."
    )
    return judged(
        networks,
        multistability,
        sentence,
        "The word is supported only when all three tests hold in every network, and contradicted only when"
        " none"
        " holds in any.",
    )


def computes_the_gradient(results):
    """Does Equilibrium Propagation compute the gradient? Results of `eplib.studies.estimators`.

    The centred estimator with β = 0.1, 30 nudged steps and a frozen arg-max, against the adjoint of the same
    free state. Supported when the median cosine is at least 0.95 in every layer of every network,
    contradicted when one layer falls below 0.5 in every network, otherwise undecided.
    """
    tables = [_centred(r, **RULE) for r in results]
    lowest = [t.value.min() for t in tables]
    networks = "undecided"
    if min(lowest) >= PARALLEL:
        networks = "supported"
    elif max(lowest) < ASTRAY:
        networks = "contradicted"
    used = dict(zip(RULE, results[0].settings["sizes"]["trained_with"], strict=True))
    trained = [_centred(r, **used).value.min() for r in results]
    many = len(results) > 1
    sentence = (
        f"For these networks: {networks}. With β = {RULE['beta']}, {RULE['nudged_steps']} nudged steps and a"
        " frozen"
        f" arg-max, the cosine of Equilibrium Propagation's gradient with the adjoint's is at least"
        f" {min(lowest):.3f} in every layer{' of every network' if many else ''}; with the settings of"
        " training"
        f" (β = {used['beta']}, {used['nudged_steps']} steps, {used['arg_max']}) at least {min(trained):.3f}."
    )
    return judged(
        networks,
        results,
        sentence,
        f"One layer of one network whose median cosine at these settings is below {PARALLEL}.",
    )


def failures_are_caught(result):
    """Do the monitors report the runs that fail? A result of `eplib.failures`.

    A run has failed when its accuracy ends at least ten points below that of the unturned run; one that was
    stopped has no image right. Supported when every failed run was reported and the unturned one was not;
    contradicted when half or more of the failed runs were not; otherwise undecided, also when no run failed.
    """
    table = result.table[result.table.metric == "accuracy"].reset_index(drop=True)
    said = [bool(words) for words in result.record["said"]]
    right = result.correct.sum(axis=1)
    failed = ((right[0] - right) / len(result.image_ids) >= TEN_POINTS).tolist()
    missed = [i for i, f in enumerate(failed) if f and not said[i]]
    false = [i for i, f in enumerate(failed) if not f and said[i]]
    networks = "undecided"
    if any(failed) and not missed and not said[0]:
        networks = "supported"
    elif any(failed) and 2 * len(missed) >= sum(failed):
        networks = "contradicted"

    def names(places):
        runs = [f"{turned} {to:g}" for turned, to in zip(table.turned, table.to, strict=True)]
        return ", ".join(runs[i] if i else "the unturned run" for i in places)

    sentence = (
        f"For these networks: {networks}. Of {len(table) - 1} runs with one setting turned too far,"
        f" {sum(failed)} ended ten points or more below the unturned run ({table.value[0]:.0%});"
        f" {sum(failed) - len(missed)} of them were reported"
        + (f", not: {names(missed)}" if missed else "")
        + (f". Reported although they did well enough: {names(false)}." if false else ".")
    )
    return Verdict(
        networks,
        "undecided",
        sentence + about_the_method(networks, [result]),
        "A run that fails without a word from the monitors, or a warning about the unturned run.",
    )


def _centred(result, beta, nudged_steps, arg_max):
    """Cosines of the centred estimator, one row a layer."""
    t = result.table[(result.table.metric == "cosine") & (result.table.estimator == "centred")]
    return t[(t.beta == beta) & (t.nudged_steps == nudged_steps) & (t.arg_max == arg_max)]


def _at_step(result, goal):
    """Outcomes [N] of a settling study in synchronous order at the measured step nearest to `goal`."""
    rows = result.table[result.table.metric == "accuracy"].reset_index(drop=True)
    rows = rows[rows.order == "synchronous"]
    return result.correct[(rows.predict_steps - goal).abs().idxmin()]


def _value(result, metric):
    return result.table[result.table.metric == metric].value.iloc[0]


def _mean(outcomes):
    return np.mean([o.mean() for o in outcomes])


def _counted(results):
    networks = f"{len(results)} network{'s' if len(results) > 1 else ''}"
    return f"{networks}, {len(results[0].image_ids)} test images each"

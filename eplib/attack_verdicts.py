"""Verdicts about attacks: is the EP-CNN comparable to adversarially trained networks, does it take larger
changes to break it, and is the published accuracy what it seems? Rules as in `eplib.verdicts`, written down
before the numbers.
"""

import numpy as np

from eplib import published_curves
from eplib.checks import NORMS, InputError, one_of, strength
from eplib.statistics import holm, mcnemar, paired_difference, signed_rank
from eplib.verdicts import LEVEL, bounded, judged, lagging, leader, nearest, over_seeds, paired_outcomes

FIGURES = {"linf": "Adversarial_Accuracy_Inf", "l2": "Adversarial_Accuracy_CNN_Adv_M"}
COMPARABLE = 0.05  # so much less may an adversarially trained network's equal keep right
INFLATED = 0.02  # so much more accuracy is more than a handful of images
FOUND = 0.9  # of the images compared so many must be broken, or lengths say more about the search


def published_lead(norm, first, second, figure=None):
    """(ε, accuracy of `first`, accuracy of `second`) where the published curve of `first` leads that of
    `second` most, at the ε of the EP-CNN; between its own ε a curve is interpolated over log ε. figure: of
    `published_curves`, by default the paper's PGD figure of the norm.
    """
    curves = published_curves.curves(figure or FIGURES[one_of("norm", norm, NORMS)])
    epsilons = np.asarray(curves["ep-cnn"].index, float)
    values = []
    for key in (first, second):
        curve = curves[one_of("published curve", key, curves)]
        x = np.asarray(curve.index, float)
        at = np.interp(np.log(epsilons), np.log(x), curve["mean"])
        values.append(np.where((epsilons >= 0.99 * x[0]) & (epsilons <= 1.01 * x[-1]), at, np.nan))
    place = int(np.nanargmax(values[0] - values[1]))
    return float(epsilons[place]), float(values[0][place]), float(values[1][place])


def comparable(ep_results, rival_results, norm, target, rival):
    """Does the EP-CNN keep as many images right under PGD as an adversarially trained network, give or take
    five points? One pair of `Result`s a seed, at the measured ε nearest to `target`.

    These networks: supported when in every pair the 95 % interval of the difference ends at five points or
    less in the rival's favour (`statistics.paired_difference`); contradicted when in every pair it begins
    above five points and every Holm-adjusted exact McNemar p is below 0.05; otherwise undecided, as it is
    when one is under-trained (`verdicts.lagging`). rival: its name in the sentence.
    """
    pairs = paired_outcomes(ep_results, rival_results, target)
    p_values = holm([mcnemar(*pair) for pair in pairs])
    behind = lagging(ep_results, rival_results, rival)
    found = [paired_difference(other, ep) for ep, other in pairs]
    networks = "undecided" if behind else bounded(found, COMPARABLE, p_values)
    ep, other = (np.mean([pair[i].mean() for pair in pairs]) for i in (0, 1))
    epsilon = nearest(ep_results[0], target)
    low, high = min(f[1] for f in found), max(f[2] for f in found)
    sentence = (
        f"For these networks: {networks}. {behind}{' ' if behind else ''}Under PGD with"
        f" {strength(norm, epsilon)} the EP-CNN keeps {ep:.1%} of {len(pairs[0][0])} test images right and"
        f" the {rival} {other:.1%}, which is {100 * (other - ep):+.1f} points (95 % interval {100 * low:+.1f}"
        f" to {100 * high:+.1f}); comparable would be at most {100 * COMPARABLE:.0f}."
    )
    return judged(
        networks,
        ep_results,
        sentence,
        f"An interval that ends at or below {100 * COMPARABLE:.0f} points in every pair supports the claim;"
        " one that begins above it in every pair contradicts it.",
    )


def larger_changes(ep_results, rival_results, rival):
    """Does it take larger changes to break the EP-CNN than a rival? Results with the array minimal_norm, one
    pair a seed, of the same attacks.

    Over the images that both networks get right without an attack. These networks: supported when the median
    minimal norm of the EP-CNN is larger in every pair and every Holm-adjusted p of a signed-rank test is
    below 0.05, contradicted when the rival's is, otherwise undecided, as it is when of one network of a pair
    fewer than 90 % of these images were broken (`FOUND`): then the attacks ended before the networks were
    measured. An image that was not broken counts as harder than every broken one. Raises InputError where
    pairs share no image that both get right.
    """
    found = [_norms(a, b) for a, b in zip(ep_results, rival_results, strict=True)]
    pairs = [_ranked(*pair) for pair in found]
    p_values = holm([signed_rank(*pair) for pair in pairs])
    medians = [tuple(float(np.median(side)) for side in pair) for pair in pairs]
    broken = [min(np.isfinite(pair[i]).mean() for pair in found) for i in (0, 1)]
    behind = lagging(ep_results, rival_results, rival)
    ahead, enough = [ep - other for ep, other in medians], round(min(broken), 9) >= FOUND
    networks = leader(ahead, p_values) if enough and not behind else "undecided"
    lengths = (np.mean([np.median(pair[i]) for pair in found]) for i in (0, 1))
    ep, other = (f"{length:.3g}" if np.isfinite(length) else "not found" for length in lengths)
    few = f"Too few images were broken to compare lengths: fewer than {FOUND:.0%} of one network. "
    sentence = (
        f"For these networks: {networks}. {behind}{' ' if behind else ''}{'' if enough else few}The median of"
        f" the smallest changes found has the {NORMS[ep_results[0].norm]} length {ep} for the EP-CNN and"
        f" {other} for the {rival}, over the {min(len(p[0]) for p in pairs)} or more images that both get"
        f" right, of which at least {broken[0]:.1%} and {broken[1]:.1%} were broken"
        f" ({over_seeds(p_values)})."
    )
    return judged(
        networks,
        ep_results,
        sentence,
        f"One pair whose medians differ in the other direction or with p ≥ {LEVEL}, one in which fewer than"
        f" {FOUND:.0%} of the images of one network were broken, or a stronger attack that finds smaller"
        " changes of one network only.",
    )


def _norms(ep_result, rival_result):
    """Two float arrays: minimal norms on the images that both networks get right, inf where not broken."""
    if not np.array_equal(ep_result.image_ids, rival_result.image_ids):
        raise InputError("minimal norms of other images than each other: measure both networks alike")
    both = ep_result.correct_clean & rival_result.correct_clean
    if not both.any():
        raise InputError("no image that both networks get right: measure more images")
    return [np.asarray(r.arrays["minimal_norm"], float)[both] for r in (ep_result, rival_result)]


def _ranked(*norms):
    """The same arrays for ranking: what was not broken beyond everything that was."""
    finite = np.concatenate([n[np.isfinite(n)] for n in norms])
    beyond = 2 * finite.max() if len(finite) else 1.0
    return [np.where(np.isfinite(n), n, beyond) for n in norms]


def inflated(results, norm):
    """Does the published convention report more accuracy than is left under the corrected one? Results of
    `conventions`, one a network, of the same norm; compared at the largest measured ε.

    These networks: supported when in every network the published convention counts at least two points more
    images as right and every Holm-adjusted exact McNemar p is below 0.05; contradicted when in every network
    it counts fewer than two points more; otherwise undecided.
    """
    pairs = []
    for result in results:
        rows = result.table[result.table.metric == "accuracy"].reset_index(drop=True)
        rows = rows[(rows.attack == "pgd") & (rows.norm == norm)]
        rows = rows[rows.epsilon == rows.epsilon.max()]
        places = {name: rows.index[rows.convention == name] for name in ("published", "corrected")}
        if any(len(p) != 1 for p in places.values()):
            raise InputError(f"a result without both conventions in {norm}: measure conventions again")
        pairs.append(tuple(result.correct[p[0]] for p in places.values()))
    p_values = holm([mcnemar(*pair) for pair in pairs])
    more = [round(published.mean() - corrected.mean(), 9) for published, corrected in pairs]
    networks = "undecided"
    if min(more) >= INFLATED and max(p_values) < LEVEL:
        networks = "supported"
    elif max(more) < INFLATED:
        networks = "contradicted"
    published, corrected = (np.mean([pair[i].mean() for pair in pairs]) for i in (0, 1))
    sentence = (
        f"For these networks: {networks}. At {strength(norm, rows.epsilon.iloc[0])} the published"
        f" convention counts {published:.1%} of {len(pairs[0][0])} images as right, the corrected one"
        f" {corrected:.1%} (means of {len(pairs)} network{'s' if len(pairs) > 1 else ''}; largest adjusted p"
        f" {max(p_values):.2g})."
    )
    return judged(
        networks,
        results,
        sentence,
        f"A network in which the two conventions differ by less than {100 * INFLATED:.0f} points there.",
    )

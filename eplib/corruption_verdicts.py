"""Verdicts about natural corruptions: does the EP-CNN keep more corrupted images right than the CNN, as many
as an adversarially trained one, more than its clean accuracy predicts; does settling longer help; does what
holds under CIFAR-10-C hold beyond it? Rules as in `eplib.verdicts`, written down before the numbers.

Images vary and corruptions of one image go together, so everything is judged by image: the share of an
image's corrupted copies that a network gets right, one number an image.
"""

import numpy as np
from scipy.special import expit, logit
from scipy.stats import kendalltau

from eplib import corruption_scores as scores
from eplib import published
from eplib.checks import InputError
from eplib.statistics import holm, signed_rank
from eplib.verdicts import LEVEL, bounded, judged, lagging, leader, over_seeds

COMPARABLE = 0.02  # about what separates the published CNNs trained with ε 0.5 and 0.75
HANDICAP = 0.01  # so little gained by settling is no handicap of the short phase
AGREEING = 0.5  # Kendall's τ from which two rankings are called alike
PUBLISHED_STEPS, SETTLED_STEPS = published.corruption_phases()


def leads(ep_results, rival_results, rival, types=None, under="CIFAR-10-C"):
    """Does the EP-CNN keep more corrupted images right than a rival? One pair of `Result`s a seed.

    Means over `types` (by default all measured) and severities. These networks: supported when the EP-CNN's
    mean is higher in every pair and every Holm-adjusted p of a signed-rank test over images is below 0.05;
    contradicted when the rival's is; otherwise undecided, as it is when one is under-trained
    (`verdicts.lagging`). rival, under: names in the sentence. Raises InputError when pairs do not share seeds
    and images.
    """
    pairs = _pairs(ep_results, rival_results, types)
    p_values, ahead = _tested(pairs)
    behind = lagging(ep_results, rival_results, rival)
    networks = "undecided" if behind else leader(ahead, p_values)
    return judged(
        networks,
        ep_results,
        f"{_compared(networks, behind, pairs, p_values, rival, under)}.",
        f"One pair whose means differ in the other direction or with p ≥ {LEVEL}. The word for the method"
        " needs five seeds on CIFAR images.",
    )


def comparable(ep_results, rival_results, rival, types=None, under="CIFAR-10-C"):
    """Does the EP-CNN keep as many corrupted images right as a rival, give or take two points? As `leads`.

    These networks: supported when in every pair the 95 % interval (Student's t over images) of the rival's
    lead ends at two points or less; contradicted when in every pair it begins above two points and every
    Holm-adjusted p is below 0.05; otherwise undecided, as it is when one is under-trained.
    """
    pairs = _pairs(ep_results, rival_results, types)
    p_values, _ = _tested(pairs)
    found = [scores.interval(other - ep) for ep, other in pairs]
    behind = lagging(ep_results, rival_results, rival)
    networks = "undecided" if behind else bounded(found, COMPARABLE, p_values)
    middle = np.mean([f[0] for f in found])
    sentence = (
        f"{_compared(networks, behind, pairs, p_values, rival, under)}, which is {100 * middle:+.1f} points"
        f" for the {rival} (95 % interval {100 * min(f[1] for f in found):+.1f} to"
        f" {100 * max(f[2] for f in found):+.1f}); comparable would be at most {100 * COMPARABLE:.0f}."
    )
    return judged(
        networks,
        ep_results,
        sentence,
        f"An interval that ends at or below {100 * COMPARABLE:.0f} points in every pair supports the claim;"
        " one that begins above it in every pair contradicts it.",
    )


def settling_helps(results, types=None):
    """Is the EP-CNN handicapped by the published 29 free-phase steps: does it keep more corrupted images
    right after 250? Results of "corruptions-settled", one a network.

    These networks: supported when 250 steps keep more right in every network and every Holm-adjusted p of a
    signed-rank test over images is below 0.05; contradicted when in every network the 95 % interval of the
    gain ends below one point; otherwise undecided.
    """
    pairs = [
        tuple(scores.per_image(r, phase, types) for phase in (SETTLED_STEPS, PUBLISHED_STEPS))
        for r in results
    ]
    p_values, ahead = _tested(pairs)
    found = [scores.interval(settled - short) for settled, short in pairs]
    networks = "undecided"
    if max(p_values) < LEVEL and min(ahead) > 0:
        networks = "supported"
    elif all(high < HANDICAP for _, _, high in found):
        networks = "contradicted"
    settled, short = (np.mean([pair[i].mean() for pair in pairs]) for i in (0, 1))
    sentence = (
        f"For these networks: {networks}. After {SETTLED_STEPS[0]} synchronous steps the EP-CNN keeps"
        f" {settled:.1%} of the corrupted copies of {len(pairs[0][0])} images right and after"
        f" {PUBLISHED_STEPS[0]} {short:.1%}, a gain of"
        f" {100 * (settled - short):+.1f} points (95 % interval {100 * min(f[1] for f in found):+.1f} to"
        f" {100 * max(f[2] for f in found):+.1f}; {over_seeds(p_values)}); no handicap would"
        f" be less than {100 * HANDICAP:.0f}."
    )
    return judged(
        networks,
        results,
        sentence,
        "A network that gains clearly by settling, or an interval that no longer ends below"
        f" {100 * HANDICAP:.0f} point.",
    )


def effective(ep_results, ep_point, others):
    """Does the EP-CNN keep more corrupted images right than networks of its clean accuracy?

    ep_results: of "corruptions", one a seed. ep_point, others: (clean accuracy, corruption accuracy) of the
    EP-CNN and [the same, one for each other model], fractions of images, means over seeds. These networks:
    supported when the 95 % prediction interval of the EP-CNN's distance from the line through the others
    (`scores.above`) lies above 0, contradicted when it lies below, otherwise undecided, as it is with fewer
    than five others.
    """
    if len(others) < scores.NETWORKS:
        sentence = (
            f"For these networks: undecided. A line through other networks needs {scores.NETWORKS} of them,"
            f" and there are {len(others)}."
        )
        overturn = f"Measurements of {scores.NETWORKS} or more other networks."
        return judged("undecided", ep_results, sentence, overturn)
    n = len(ep_results[0].image_ids)
    fitted = scores.line(others, n)
    rest, low, high = scores.above(fitted, [ep_point], n)
    networks = "supported" if low > 0 else "contradicted" if high < 0 else "undecided"
    without, corrupted = (float(scores.inside(v, n)) for v in ep_point)
    ends = [float(expit(logit(fitted.at(without)) + d)) - fitted.at(without) for d in (low, high)]
    few = "" if len(others) >= scores.WANTED else f", of the {scores.WANTED} wanted,"
    sentence = (
        f"For these networks: {networks}. With a clean accuracy of {without:.1%}, {len(others)} other"
        f" networks{few} predict {fitted.at(without):.1%} of the corrupted images right; the EP-CNN keeps"
        f" {corrupted:.1%}, {rest:+.2f} in logits (95 % prediction interval {low:+.2f} to {high:+.2f}), which"
        f" is {100 * (corrupted - fitted.at(without)):+.1f} points ({100 * ends[0]:+.1f} to"
        f" {100 * ends[1]:+.1f})."
    )
    return judged(
        networks,
        ep_results,
        sentence,
        "Other networks that move the line, or a prediction interval that includes 0 or no longer does.",
    )


def steadier(ep_results, rival_results, rival):
    """Do the EP-CNN's predictions flip less often from frame to frame than a rival's? Results of "flips", one
    pair a seed; an image's number is its flip probability, the mean over sequences.

    These networks: supported when the EP-CNN's mean is lower in every pair and every Holm-adjusted p of a
    signed-rank test over images is below 0.05; contradicted when the rival's is; otherwise undecided, as it
    is when one is under-trained.
    """
    _alike(ep_results, rival_results)
    pairs = [
        tuple(np.asarray(r.arrays["flips"], float).mean(0) for r in pair)
        for pair in zip(ep_results, rival_results, strict=True)
    ]
    p_values, ahead = _tested(pairs)
    behind = lagging(ep_results, rival_results, rival)
    networks = "undecided" if behind else leader([-a for a in ahead], p_values)  # fewer changes are better
    ep, other = (np.mean([pair[i].mean() for pair in pairs]) for i in (0, 1))
    sentence = (
        f"For these networks: {networks}. {behind}{' ' if behind else ''}From frame to frame the prediction"
        f" changes in {ep:.2%} of the cases for the EP-CNN and in {other:.2%} for the {rival}, over"
        f" {len(pairs[0][0])} images ({over_seeds(p_values)})."
    )
    return judged(
        networks,
        ep_results,
        sentence,
        f"One pair whose flip probabilities differ in the other direction or with p ≥ {LEVEL}.",
    )


def same_ranking(first, second, ep_results):
    """Do networks rank alike under two sets of corruptions? first, second: {model: mean accuracy} of the same
    models. ep_results: those of the EP-CNN under the second set.

    These networks: supported when Kendall's τ is 0.5 or more with an exact p below 0.05; contradicted when τ
    is 0 or less; otherwise undecided, as it is with fewer than five models.
    """
    models = [m for m in first if m in second]
    if len(models) < scores.NETWORKS:
        sentence = (
            f"For these networks: undecided. {len(models)} networks were measured under both sets of"
            f" corruptions; a ranking needs {scores.NETWORKS}."
        )
        overturn = f"Measurements of {scores.NETWORKS} or more networks under both."
        return judged("undecided", ep_results, sentence, overturn)
    values = [np.array([table[m] for m in models]) for table in (first, second)]
    tau, p = (float(v) for v in kendalltau(*values))
    networks = "undecided"
    if tau >= AGREEING and p < LEVEL:
        networks = "supported"
    elif tau <= 0:
        networks = "contradicted"
    places = [1 + int((v > v[models.index("ep-cnn")]).sum()) for v in values]
    sentence = (
        f"For these networks: {networks}. The rankings of {len(models)} networks under CIFAR-10-C and beyond"
        f" it have a Kendall τ of {tau:.2f} (p {p:.2g}); the EP-CNN is number {places[0]} and number"
        f" {places[1]}."
    )
    return judged(
        networks,
        ep_results,
        sentence,
        f"More networks, or images, with which τ is below {AGREEING} or no longer is.",
    )


def _pairs(ep_results, rival_results, types):
    """[(float [N], float [N])]: shares of corrupted copies that are right, one pair a seed."""
    _alike(ep_results, rival_results)
    return [
        tuple(scores.per_image(r, types=types) for r in pair)
        for pair in zip(ep_results, rival_results, strict=True)
    ]


def _alike(ep_results, rival_results):
    """Only results of the same seeds on the same corrupted images can be compared."""
    seeds = [[r.settings["seed"] for r in results] for results in (ep_results, rival_results)]
    if not ep_results or seeds[0] != seeds[1] or len(set(seeds[0])) != len(seeds[0]):
        raise InputError(
            f"EP-CNN results of seeds {seeds[0]}, results to compare of seeds {seeds[1]}: give one of each"
            " for every seed"
        )
    first, every = ep_results[0], (*ep_results, *rival_results)
    if any(_images(r) != _images(first) or not np.array_equal(r.image_ids, first.image_ids) for r in every):
        raise InputError("results of other corrupted images than each other: measure all networks alike")


def _images(result):
    return result.settings["dataset"], result.settings["sizes"]["source"]


def _tested(pairs):
    """(Holm-adjusted p of a signed-rank test, how far the first is ahead) of every pair."""
    return holm([signed_rank(*pair) for pair in pairs]), [a.mean() - b.mean() for a, b in pairs]


def _compared(networks, behind, pairs, p_values, rival, under):
    ep, other = (np.mean([pair[i].mean() for pair in pairs]) for i in (0, 1))
    return (
        f"For these networks: {networks}. {behind}{' ' if behind else ''}Under {under} the EP-CNN keeps"
        f" {ep:.1%} of the corrupted copies of {len(pairs[0][0])} images right and the {rival} {other:.1%}"
        f" ({over_seeds(p_values)})"
    )

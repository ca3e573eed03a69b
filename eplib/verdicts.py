"""Rules that turn results into a word (supported, contradicted, undecided) and a sentence. Each was fixed
before its numbers existed; the words change when the numbers do.

Two kinds, never merged: about *these networks* (exact McNemar tests on the same images, from one pair on) and
about *the method* (at least five seeds, and the paper's own kind of images).
"""

from dataclasses import dataclass

import numpy as np

from eplib import published
from eplib.checks import NORMS, InputError, one_of, strength
from eplib.statistics import holm, mcnemar

LEVEL = 0.05
SEEDS_FOR_METHOD = 5
PAPER_DATASETS = ("cifar10", "cifar100")
UNDER_TRAINED = 0.10  # so far below another's clean accuracy, a network says nothing about robustness


@dataclass(frozen=True)
class Verdict:
    """networks, method: "supported", "contradicted" or "undecided". sentence: both, with their numbers.
    overturn: what would change it.
    """

    networks: str
    method: str
    sentence: str
    overturn: str


def judged(networks, results, sentence, overturn):
    """The `Verdict` of a word about these networks: what their results, one a seed, say about the method is
    added to the sentence.
    """
    said = sentence + about_the_method(networks, results)
    return Verdict(networks, method_word(networks, results), said, overturn)


def leader(ahead, p_values):
    """The word for a lead, one number and one adjusted p a pair: "supported" when it is above 0 in all,
    "contradicted" when it is below 0 in all, with every p below 0.05; otherwise "undecided".
    """
    if max(p_values) < LEVEL and (min(ahead) > 0 or max(ahead) < 0):
        return "supported" if min(ahead) > 0 else "contradicted"
    return "undecided"


def bounded(found, limit, p_values):
    """The word for a difference that should be at most `limit`: "supported" when every interval ends there or
    below, "contradicted" when every one begins above it, with every adjusted p below 0.05; otherwise
    "undecided". found: [(difference, low, high)], one a pair.
    """
    if all(high <= limit for _, _, high in found):
        return "supported"
    beyond = max(p_values) < LEVEL and all(low > limit for _, low, _ in found)
    return "contradicted" if beyond else "undecided"


def over_seeds(p_values):
    """How many seeds stand behind means, and the largest of their adjusted p, in words."""
    many = len(p_values) > 1
    words = f"means of {len(p_values)} seeds; largest adjusted p" if many else "one seed; p"
    return f"{words} {max(p_values):.2g}"


def more_robust(ep_results, cnn_results, norm):
    """Is the EP-CNN more robust than the CNN under PGD? `leads` at the ε where the published EP-CNN leads its
    CNN most (`published.largest_gap`).
    """
    return leads(ep_results, cnn_results, norm, published.largest_gap(norm)[0])


def leads(ep_results, rival_results, norm, target, rival="CNN", attack="PGD"):
    """Does the EP-CNN keep more images right than a rival under an attack? One pair of `Result`s a seed.

    Compared at the measured ε nearest to `target`, which is fixed beforehand. These networks: supported when
    the EP-CNN keeps more images right in every pair and every Holm-adjusted exact McNemar p is below 0.05;
    contradicted when the rival does; otherwise undecided, as it is whenever the mean clean accuracy of one is
    more than ten points below the other's (`lagging`). The method: the same word when there are at least five
    seeds on CIFAR images, otherwise undecided. rival, attack: their names in the sentence. Raises InputError
    when pairs do not share images.
    """
    _refuse_unlike(ep_results, rival_results, norm)
    pairs = paired_outcomes(ep_results, rival_results, target)
    p_values = holm([mcnemar(ep, other) for ep, other in pairs])
    ahead = [ep.mean() - other.mean() for ep, other in pairs]
    behind = lagging(ep_results, rival_results, rival)
    networks = "undecided" if behind else leader(ahead, p_values)
    epsilon = nearest(ep_results[0], target)
    said = _sentence(pairs, p_values, f"{attack} with {strength(norm, epsilon)}", networks, behind, rival)
    return judged(
        networks,
        ep_results,
        said,
        f"The word for these networks changes when, at {strength(norm, epsilon)}, one pair"
        f" no longer differs in the same direction with p < {LEVEL}, or when the mean clean accuracy of one"
        f" is more than {100 * UNDER_TRAINED:.0f} points below the other's or no longer is. The word for the"
        f" method needs {SEEDS_FOR_METHOD} seeds on CIFAR images.",
    )


def lags(own, reference):
    """Whether a network of clean accuracy `own` is too little trained to be compared with one of `reference`:
    more than ten points below it.
    """
    return round(reference - own, 9) > UNDER_TRAINED  # 0.8 - 0.7 is a little more than 0.1


def lagging(ep_results, rival_results, rival="CNN"):
    """Which of the two is under-trained beside the other, as a sentence; "" where neither is. Means of the
    clean accuracy in the results, one a seed.
    """
    clean = {
        name: float(np.mean([r.correct_clean.mean() for r in found]))
        for name, found in (("EP-CNN", ep_results), (rival, rival_results))
    }
    low, high = sorted(clean, key=clean.get)
    if not lags(clean[low], clean[high]):
        return ""
    return (
        f"The {low} is under-trained: its clean accuracy of {clean[low]:.1%} is more than"
        f" {100 * UNDER_TRAINED:.0f} points below the {high}'s {clean[high]:.1%}."
    )


def along_the_curve(ep_results, cnn_results, norm):
    """Who keeps more images right at every measured ε: {"ep-cnn": [ε, …], "cnn": [ε, …], "neither": [ε, …]}.

    A description, not a verdict: nothing was fixed beforehand but the test. A network leads at an ε when it
    leads in every pair and every exact McNemar p, Holm-adjusted over all pairs and all ε together, is below
    0.05.
    """
    _refuse_unlike(ep_results, cnn_results, norm)
    epsilons = ep_results[0].epsilons
    pairs = list(zip(ep_results, cnn_results, strict=True))
    p_values = holm(
        [mcnemar(ep.correct[i], cnn.correct[i]) for i in range(len(epsilons)) for ep, cnn in pairs]
    )
    leaders = {"ep-cnn": [], "cnn": [], "neither": []}
    for i, epsilon in enumerate(epsilons):
        clear = max(p_values[i * len(pairs) : (i + 1) * len(pairs)]) < LEVEL
        leads = [ep.correct[i].mean() - cnn.correct[i].mean() for ep, cnn in pairs]
        ahead = "ep-cnn" if min(leads) > 0 else "cnn" if max(leads) < 0 else "neither"
        leaders[ahead if clear else "neither"].append(epsilon)
    return leaders


def _refuse_unlike(ep_results, rival_results, norm):
    """Only results that differ in network and seed, one pair a seed, can be compared."""
    one_of("norm", norm, NORMS)
    seeds = [[r.settings["seed"] for r in results] for results in (ep_results, rival_results)]
    if not ep_results or seeds[0] != seeds[1] or len(set(seeds[0])) != len(seeds[0]):
        raise InputError(
            f"EP-CNN results of seeds {seeds[0]}, results to compare of seeds {seeds[1]}:"
            " give one of each for every seed"
        )
    first = ep_results[0]
    for result in (*ep_results, *rival_results):
        if result.norm != norm:
            raise InputError(f"a result in {result.norm} for a verdict in {norm}: give results of one norm")
        alike = result.settings["dataset"] == first.settings["dataset"]
        alike = alike and list(result.epsilons) == list(first.epsilons)
        if not alike or not np.array_equal(result.image_ids, first.image_ids):
            raise InputError(
                "the results are of other images, data sets or ε than each other: measure all networks alike"
            )


def nearest(result, target):
    """The measured ε nearest to `target`, by ratio."""
    return min(result.epsilons, key=lambda e: abs(np.log(e / target)))


def paired_outcomes(first_results, second_results, target):
    """[(bool [N], bool [N]), …]: outcomes of each pair of results at the measured ε nearest to `target`."""
    place = list(first_results[0].epsilons).index(nearest(first_results[0], target))
    return [(a.correct[place], b.correct[place]) for a, b in zip(first_results, second_results, strict=True)]


def _sentence(pairs, p_values, under, networks, behind, rival):
    ep, other = (np.mean([pair[i].mean() for pair in pairs]) for i in (0, 1))
    return (
        f"For these networks: {networks}. {behind}{' ' if behind else ''}Under {under} the EP-CNN keeps"
        f" {ep:.1%} of {len(pairs[0][0])} test images right and the {rival} {other:.1%}"
        f" ({over_seeds(p_values)})."
    )


def method_word(networks, results):
    """The word for the method: that for these networks where seeds and images suffice, else undecided."""
    return "undecided" if _reasons(results) else networks


def about_the_method(networks, results):
    """What results say about the method, as the end of a sentence."""
    reasons = _reasons(results)
    if reasons:
        return f" For the method: undecided ({' and '.join(reasons)})."
    return f" For the method: {networks} ({len(results)} seeds on the paper's kind of images)."


def _reasons(results):
    """Why results, one a seed, cannot speak about the method; [] when they can."""
    reasons, seeds = [], len({r.settings["seed"] for r in results})
    if results[0].settings["dataset"] not in PAPER_DATASETS:
        reasons.append("these images are not the paper's")
    if seeds < SEEDS_FOR_METHOD:
        reasons.append(f"{seeds} of the {SEEDS_FOR_METHOD} seeds it asks for are there")
    return reasons

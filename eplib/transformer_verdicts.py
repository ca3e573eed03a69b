"""Verdicts about transformers: does the EP-CNN keep more images right than each of several, under attack and
under natural corruptions? Rules as in `eplib.verdicts`, written down before the numbers.

Three comparisons are fixed beforehand (`COMPARISONS`), attacks at the ε where the published EP-CNN leads its
CNN most. Results are {measurement: {model: [Result, one a seed]}}; what is missing leaves words undecided.
"""

import functools
from dataclasses import dataclass

import numpy as np

from eplib import corruption_scores, models, pictures, published, statistics, verdicts
from eplib.black_box_figures import suite_name
from eplib.checks import InputError, strength
from eplib.verdicts import LEVEL, UNDER_TRAINED, Verdict

COMPARISONS = ("pgd-linf", "suite-linf", "corruptions")
TYPES = corruption_scores.SETS["18"]
CONTROL = "mixer"  # patches without attention
ATTENTION = tuple(m for m in models.TRANSFORMERS if m != CONTROL)
AUGMENTED = f"{models.AUGMENTED}-augmented"
TRANSFORMERS = (*ATTENTION, AUGMENTED)  # at the end of training: of these the claim is judged as a whole
FINAL = (*TRANSFORMERS, CONTROL)
HALFWAY = tuple(f"{m}-halfway" for m in models.TRANSFORMERS)


@dataclass(frozen=True)
class Compared:
    """One comparison of the EP-CNN with one rival, a pair of networks a seed, on the same images.

    ep, rival: accuracies, means over seeds. ahead: the lead of the EP-CNN, one number a seed. p_values: one a
    seed, adjusted for the whole family. n: images. discordant: share of the images that only one of a pair
    gets right, mean over seeds; of corruptions None. tests: how many p-values the family has.
    """

    measurement: str
    ep: float
    rival: float
    ahead: tuple
    p_values: tuple
    n: int
    discordant: float | None
    tests: int

    @property
    def word(self):
        """`verdicts.leader` of this comparison alone."""
        return verdicts.leader(self.ahead, self.p_values)

    @property
    def resolved(self):
        """The smallest difference, as a fraction, that such a comparison finds in four of five cases at the
        strictest step of Holm's method (`statistics.detectable`); of corruptions None.
        """
        if self.discordant is None:
            return None
        return statistics.detectable(self.n, self.discordant, level=LEVEL / self.tests)


@functools.cache
def target(norm):
    """The ε at which networks are compared: where the published EP-CNN leads its CNN most."""
    return published.largest_gap(norm)[0]


def compared(found, rivals):
    """{rival: {measurement: Compared}} of what is stored of the EP-CNN and the rival for some seed.

    Exact McNemar tests under attack, signed-rank tests over images under corruptions (of every image the
    share of its corrupted copies that are right, `TYPES` at all severities). Holm over all rivals,
    measurements and seeds together. Raises InputError where networks were measured on other images or at
    other ε.
    """
    pairs = {(r, m): _pairs(found.get(m, {}), r, m) for r in rivals for m in COMPARISONS}
    pairs = {key: found_pairs for key, found_pairs in pairs.items() if found_pairs}
    raw = [_test(*pair) for of_one in pairs.values() for pair in of_one]
    adjusted, said = iter(statistics.holm(raw)), {}
    for (rival, measurement), of_one in pairs.items():
        ep, other = (np.mean([pair[i].mean() for pair in of_one]) for i in (0, 1))
        binary = of_one[0][0].dtype == bool
        said.setdefault(rival, {})[measurement] = Compared(
            measurement,
            float(ep),
            float(other),
            tuple(float(a.mean() - b.mean()) for a, b in of_one),
            tuple(next(adjusted) for _ in of_one),
            len(of_one[0][0]),
            float(np.mean([(a != b).mean() for a, b in of_one])) if binary else None,
            len(raw),
        )
    return said


def _test(ep, rival):
    return (statistics.mcnemar if ep.dtype == bool else statistics.signed_rank)(ep, rival)


def _both(found, rival):
    """([Result], [Result]) of the EP-CNN and a rival, of the seeds that both have, in one order."""
    mine, theirs = ({r.settings["seed"]: r for r in found.get(m, [])} for m in ("ep-cnn", rival))
    seeds = sorted(mine.keys() & theirs.keys())
    return [mine[s] for s in seeds], [theirs[s] for s in seeds]


def _pairs(found, rival, measurement):
    """[(EP-CNN, rival), one a seed]: bool [N] under attack, float [N] under corruptions."""
    ep, other = _both(found, rival)
    for result in (*ep, *other):
        alike = measurement == "corruptions" or list(result.epsilons) == list(ep[0].epsilons)
        if not alike or not np.array_equal(result.image_ids, ep[0].image_ids):
            raise InputError(
                f"{measurement} of {rival} and of the EP-CNN on other images or at other ε: measure both"
            )
    if measurement == "corruptions":
        shares = ([corruption_scores.per_image(r, types=TYPES) for r in results] for results in (ep, other))
        return list(zip(*shares, strict=True))
    return verdicts.paired_outcomes(ep, other, target("linf")) if ep else []


def each(found, rivals=FINAL):
    """{rival: Verdict}: is the EP-CNN more robust than each rival? Without any comparison, it is left out.

    These networks: supported when in all three `COMPARISONS` the EP-CNN keeps more right in every pair of
    networks and every p, Holm-adjusted over all rivals, comparisons and seeds, is below 0.05. Contradicted
    when in the same sense the rival keeps more right under the suite or under corruptions; under PGD alone it
    may do so because its gradients are of no use. Otherwise undecided, as it is when one comparison is
    missing or one of the two is under-trained (`verdicts.lagging`, on the comparison with the most images).
    """
    said = {}
    for rival, by_measurement in compared(found, rivals).items():
        mine, theirs = _both(found[max(by_measurement, key=lambda m: by_measurement[m].n)], rival)
        behind = verdicts.lagging(mine, theirs, pictures.name(rival))
        word = "undecided" if behind else _word(by_measurement)
        fewest = min((_both(found[m], rival)[0] for m in by_measurement), key=len)
        said[rival] = verdicts.judged(
            word,
            fewest,
            _sentence(found, rival, by_measurement, word, behind),
            "One pair of networks that no longer differs in the same direction with p"
            f" < {LEVEL} in one of the three comparisons, or a network whose mean clean accuracy is, or no"
            f" longer is, more than {100 * UNDER_TRAINED:.0f} points below the other's. The word for the"
            f" method needs {verdicts.SEEDS_FOR_METHOD} seeds on CIFAR images.",
        )
    return said


def _word(by_measurement):
    words = {m: c.word for m, c in by_measurement.items()}
    if "contradicted" in (words.get("suite-linf"), words.get("corruptions")):
        return "contradicted"
    complete = len(words) == len(COMPARISONS)
    return "supported" if complete and set(words.values()) == {"supported"} else "undecided"


def _sentence(found, rival, by_measurement, word, behind):
    name, parts = pictures.name(rival), []
    for measurement, c in by_measurement.items():
        images = "corrupted copies of " if measurement == "corruptions" else ""
        parts.append(
            f"under {under(found, measurement)} the EP-CNN keeps {c.ep:.1%} of the {images}{c.n} test images"
            f" right and the {name} {c.rival:.1%} ({verdicts.over_seeds(c.p_values)})"
        )
    missing = [m for m in COMPARISONS if m not in by_measurement]
    told = "; ".join(parts)
    return f"For these networks: {word}. {behind}{' ' if behind else ''}{told[0].upper()}{told[1:]}." + (
        f" Not measured: {', '.join(missing)}." if missing else ""
    )


def under(found, measurement):
    """What a comparison is made under, in words."""
    if measurement == "corruptions":
        return f"the {len(TYPES)} corruptions"
    first = found[measurement]["ep-cnn"][0]
    attack = "PGD" if measurement == "pgd-linf" else suite_name(found[measurement])
    return f"{attack} with {strength('linf', verdicts.nearest(first, target('linf')))}"


def every(said):
    """Does the claim hold for every transformer? A `Verdict` from those of `each`.

    Supported when it is supported for all of `TRANSFORMERS`, contradicted when it is contradicted for at
    least one of them, otherwise undecided, as it is while one is missing; the method by their words about the
    method. `CONTROL` does not count, a sentence says whether its word is another.
    """
    networks, method = (
        _of_all([getattr(said[m], about) if m in said else None for m in TRANSFORMERS])
        for about in ("networks", "method")
    )
    groups = {w: [] for w in _WORDS}
    for m in TRANSFORMERS:
        groups[said[m].networks if m in said else None].append(pictures.name(m))
    told = ". ".join(f"{_WORDS[w]}: {'; '.join(g)}" for w, g in groups.items() if g)
    return Verdict(
        networks,
        method,
        f"For these networks: {networks}. {told}.{_control(said)} For the method: {method}.",
        "One transformer that keeps clearly more images right contradicts it; it is supported when the EP-CNN"
        " keeps clearly more right than every one of them, in all three comparisons.",
    )


def _of_all(words):
    if "contradicted" in words:
        return "contradicted"
    return "supported" if set(words) == {"supported"} else "undecided"


_WORDS = {
    "supported": "The EP-CNN is more robust than",
    "contradicted": "The EP-CNN is less robust in at least one comparison than",
    "undecided": "The EP-CNN is not shown to be more robust than",
    None: "Not compared yet",
}


def _control(said):
    """Whether the word for the network without attention is another than those for the transformers."""
    if CONTROL not in said:
        return f" The {pictures.name(CONTROL)}, the control without attention, is not compared yet."
    own, theirs = said[CONTROL].networks, {said[m].networks for m in TRANSFORMERS if m in said}
    differs = (
        "which is that of every transformer compared"
        if theirs == {own}
        else "which some transformers share"
        if own in theirs
        else "which no transformer has"
    )
    return f" The word for the {pictures.name(CONTROL)}, the control without attention, is {own}, {differs}."

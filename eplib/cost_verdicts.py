"""Rules about the fast schedule, fixed before their numbers existed: is it fast, and does it learn as
well?
"""

import numpy as np

from eplib import benchmark
from eplib.checks import InputError
from eplib.verdicts import Verdict

FASTER = 12.0  # what the fast schedule has to gain over the paper's by autograd, in images a second
MARGIN = 0.01  # of accuracy, that it may lose


def fast_enough(iteration):
    """Is the fast schedule at least 12 times as fast as the paper's 310 steps by autograd? A `Verdict` about
    this machine, from a report of `eplib.benchmark.training_iteration`.
    """
    ratios = {name: r for name, r in iteration["ratio"].items() if name.startswith("fast")}
    best = max(ratios, key=ratios.get)
    word = "supported" if ratios["fast"] >= FASTER else "contradicted"
    closed = {name: r for name, r in iteration["ratio"].items() if name.startswith("closed form")}
    sentence = (
        f"For this machine: {word}. The fast schedule trains {ratios['fast']:.1f} times as many images a"
        " second as the"
        f" paper's 310 steps by automatic differentiation ({best}: {ratios[best]:.1f} times; 12 asked for,"
        " the 310"
        f" steps projected from {sum(iteration['steps']) + iteration['steps'][1]} measured). Step for step, "
        + " and ".join(f"the {name} is {r:.1f} times as fast" for name, r in closed.items())
        + f" ({benchmark.in_words(iteration)})."
    )
    return Verdict(
        word, "undecided", sentence, "Another machine, or another run of the benchmark, with a smaller ratio."
    )


def seeds_in_words(count):
    return f"means of {count} seeds" if count > 1 else "one seed"


def learns_as_well(fast, long):
    """Do networks trained with the fast schedule lose no more than one point of clean accuracy against those
    trained with long phases on as many images? A `Verdict` from "clean" `Result`s, one pair for every seed.

    The difference (long − fast, each after its own free phase) is averaged over seeds for every image; its 95
    % interval is normal over images. Supported when it ends at or below 1 point, contradicted when it begins
    above, otherwise undecided. Raises InputError when pairs do not share seeds and images.
    """
    seeds = [[r.settings["seed"] for r in results] for results in (fast, long)]
    alike = all(np.array_equal(r.image_ids, fast[0].image_ids) for r in (*fast, *long))
    if seeds[0] != seeds[1] or not alike:
        raise InputError(
            f"fast networks of seeds {seeds[0]} and long ones of {seeds[1]}: give one of each for every seed,"
            " measured on the same images"
        )
    right = [np.stack([r.correct[0] for r in results]).astype(float).mean(0) for results in (fast, long)]
    lost = right[1] - right[0]
    centre, half = lost.mean(), 1.96 * lost.std(ddof=1) / np.sqrt(len(lost))
    word = "undecided"
    if centre + half <= MARGIN:
        word = "supported"
    elif centre - half > MARGIN:
        word = "contradicted"
    first, other = fast[0].settings, long[0].settings
    return Verdict(
        word,
        "undecided",
        f"For these networks: {word}. Trained with the fast schedule they reach {right[0].mean():.1%} after"
        f" {first['predict_steps']} {first['order']} steps, trained with the long one on as many images"
        f" {right[1].mean():.1%} after {other['predict_steps']} {other['order']} steps"
        f" ({seeds_in_words(len(fast))},"
        f" {len(lost)} test images); lost are {100 * centre:.1f} points, 95 % interval"
        f" {100 * (centre - half):.1f} to {100 * (centre + half):.1f}, where {100 * MARGIN:.0f} was allowed.",
        "Seeds or images that move the whole interval to the other side of the allowed loss.",
    )

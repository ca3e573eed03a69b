"""Rules about what causes the EP-CNN's robustness: one word for every cause, from pairs of networks that
differ in it. Rules as in `eplib.verdicts`.
"""

import numpy as np

from eplib.checks import strength
from eplib.pictures import name
from eplib.statistics import LEVEL
from eplib.verdicts import Verdict, judged, lags

NO_GAIN = 0.05  # a lead that is certainly no larger than five points is none
EITHER = ("settings",)  # causes that ask whether anything changes, in either direction


def cause(rows, both_ways=False):
    """The word for a cause, from the `causes.Compared` of its pairs.

    "supported" when in all of them the network with it keeps more images right and the adjusted exact McNemar
    p is below 0.05; "contradicted" when in all of them either the other does, with such a p, or the 95 %
    interval of the lead ends at five points or below; otherwise "undecided", as it is without any pair and
    where the clean accuracy of one network of a pair is more than ten points below the other's. both_ways:
    "supported" when at least one pair differs with such a p, "contradicted" when every interval lies within
    five points to both sides.
    """
    if not rows or any(lags(min(r.clean), max(r.clean)) for r in rows):
        return "undecided"
    sure = [r.p < LEVEL for r in rows]
    if both_ways:
        if any(sure):
            return "supported"
        return "contradicted" if all(max(-r.low, r.high) <= NO_GAIN for r in rows) else "undecided"
    if all(s and r.difference > 0 for s, r in zip(sure, rows, strict=True)):
        return "supported"
    none = all(r.high <= NO_GAIN or (s and r.difference < 0) for s, r in zip(sure, rows, strict=True))
    return "contradicted" if none else "undecided"


def words(rows):
    """{cause: word} of every cause that at least one pair of `rows` speaks about."""
    return {
        key: cause([r for r in rows if r.pair.cause == key], key in EITHER)
        for key in dict.fromkeys(r.pair.cause for r in rows)
    }


def about_the_rule(rows, results, epsilon):
    """Is it Equilibrium Propagation, as a learning rule, that makes the EP-CNN robust? A `Verdict`.

    rows: [causes.Compared] at an ε, of which those of the cause "rule" count, by `cause`. results: [Result],
    one a seed, of the EP-CNN.
    """
    rows = [r for r in rows if r.pair.cause == "rule"]
    networks = cause(rows)
    told = "; ".join(
        f"{name(r.pair.model)} {r.first:.1%}, {name(r.pair.without)} {r.second:.1%} (seed {r.seed},"
        f" lead {100 * r.low:.0f} to {100 * r.high:.0f} points, p {r.p:.2g})"
        for r in rows
    )
    sentence = (
        f"For these networks: {networks}. Under all attacks measured with"
        f" {strength(results[0].norm, epsilon)}, on {rows[0].n if rows else 0} images:"
        f" {told or 'no twin is stored'}."
    )
    seen = [r for r in results if r.settings["seed"] in {row.seed for row in rows}] or results[:1]
    return judged(
        networks,
        seen,
        sentence,
        "The word is supported when the EP-CNN is ahead of all its twins with p"
        f" < {LEVEL} each, contradicted when in every pair the twin is ahead with such a p or the interval of"
        f" the EP-CNN's lead ends at {100 * NO_GAIN:.0f} points or below.",
    )


def explains(points, line, results):
    """Do margin and input gradient explain how far the EP-CNN is from being fooled, as they do for networks
    without a free phase? A `Verdict`.

    points: `explained.points`. line: `explained.line`, or None. results: [Result], one a seed, of the EP-CNN.
    Supported when in every EP-CNN the median distance lies within the line's 95 % prediction interval,
    contradicted when in every one it lies below, or in every one above it; otherwise undecided, also without
    a line.
    """
    own = [p for p in points if p.model == "ep-cnn"]
    if line is None or not own:
        return Verdict(
            "undecided",
            "undecided",
            "For these networks: undecided. Too few networks are stored to put a line through.",
            "A stored EP-CNN, and enough networks without a free phase.",
        )
    predicted = [line.predicted(p) for p in own]
    sides = [
        int(p.distance > high) - int(p.distance < low)
        for p, (_, low, high) in zip(own, predicted, strict=True)
    ]
    networks = "undecided"
    if not any(sides):
        networks = "supported"
    elif len(set(sides)) == 1:
        networks = "contradicted"
    distances = np.mean([p.distance for p in own])
    middle, low, high = np.mean(predicted, 0)
    sentence = (
        f"For these networks: {networks}. From its margin and its input gradient, the line through"
        f" {line.networks} networks without a free phase (it explains {line.r2:.0%} of how they differ)"
        f" predicts that the EP-CNN is fooled by changes of ℓ2 length {middle:.2f} ({low:.2f} to {high:.2f});"
        f" found are {distances:.2f} (medians; means of {len(own)} seed{'s' * (len(own) > 1)})."
    )
    return judged(
        networks,
        results,
        sentence,
        "The word is supported while every EP-CNN lies within the line's 95 % prediction interval, and"
        " contradicted while all lie beyond the same end of it.",
    )

"""The explorer *Robustness curves*: every stored and every published curve of accuracy against ε. One element
that holds everything, the same in a page and in JupyterLab, as nothing in it is computed again.
"""

import numpy as np

from eplib import curve_data, explorers, published, published_curves, verdicts
from eplib.chapters import DATASET_NAMES, paired
from eplib.checks import NORMS
from eplib.curve_data import ATTACKS, LARGEST_FIRST
from eplib.network_figures import family
from eplib.sentences import Text

MAIN = ("ep-cnn", "cnn")
ALSO = ("adversarially trained", "transformers and patch networks")  # families of which one opens the plot
NORM = "l2"  # in which it opens: in ℓ∞ fewer attacks are stored


def measured(shown):
    """[curve_data.Measured] of every scale whose results are kept, and of the one shown."""
    return [
        m
        for scale in LARGEST_FIRST
        if scale in ("paper", "cpu", "quick", shown.scale)
        for m in curve_data.measured(scale)
    ]


def explorer(shown, found):
    """The explorer of [curve_data.Measured] and of every published curve. shown: `chapters.Shown`, with which
    it opens.
    """
    start, there = opening(shown, found), _at(found, shown)
    caption = (
        "How to use it: choose what is drawn; the address of the page keeps it, so that it can be sent to"
        " somebody. Move over a point, touch it, or go from point to point with the arrow keys, to read its"
        " numbers and the files they come from. A curve is a mean over seeds. The band of ours reaches from"
        " the lowest to the highest bound of the seeds’ 95 % Wilson intervals, a published one is one"
        " standard deviation over seeds wide on either side. Ours counts an image that is right before and"
        f" under attack with its true label; published, {curve_data.REPAIRED}. {_begins(start, there)}"
    )
    return explorers.embed("curves", curve_data.everything(found) | {"open": start}, caption)


def _begins(start, there):
    """Where the explorer opens and why, in words. there: of `_at`."""
    second = second_attack(there)
    if start["ours"] == "none":
        return "At first: every published curve under PGD, as none of ours is stored."
    words = (
        f"At first: the EP-CNN, the CNN, and the first adversarially trained network and the first"
        f" transformer or patch network of the list that {NORMS[NORM]} PGD was run on"
    )
    if second is None:
        return f"{words}."
    attack, broken, left = second
    return (
        f"{words}; under PGD and under that other {NORMS[NORM]} attack which breaks most of what PGD leaves"
        " right in the EP-CNN and the CNN, counted on the images and at the ε that both attacks have in"
        f" common: {called(there, attack)} breaks {broken:,} of {left:,} such pairs of an image and an ε."
    )


def _at(found, shown):
    """{attack: {model: [Result]}} in the norm that the plot opens with, at one scale and data set."""
    there = {}
    for m in found:
        if (m.scale, m.dataset, m.norm) == (shown.scale, shown.dataset, NORM):
            there.setdefault(m.attack, {}).setdefault(m.model, m.results)
    return there


def opening(shown, found):
    """The state that the explorer opens with, see `_begins`."""
    there = _at(found, shown)
    attacked, second = there.get("pgd", {}), second_attack(there)
    first = {family(m): m for m in sorted(attacked, key=curve_data.place, reverse=True)}
    models = [m for m in (*MAIN, *(first.get(f) for f in ALSO)) if m in attacked]
    state = {"norm": NORM, "published": "none", "axis": "log", "models": models}
    if not models:
        every = dict.fromkeys(m for f in published_curves.FIGURES.values() for m in f.curves)
        return state | {
            "ours": "none",
            "published": "cifar10",
            "attacks": ["pgd"],
            "models": [curve_data.key(m) for m in every],
        }
    attacks = ["pgd"] + ([second[0]] if second else [])
    return state | {"ours": f"{shown.scale}/{shown.dataset}", "attacks": attacks}


def second_attack(there):
    """(attack, broken, left): the one of {attack: {model: [Result]}} that breaks the largest share of what
    PGD leaves right in `MAIN`; None where there is none. Counted are pairs of an image and an ε.
    """
    counts = {}
    for attack in ATTACKS:
        if attack != "pgd" and all(m in there.get(a, {}) for a in ("pgd", attack) for m in MAIN):
            pairs = [missed(there["pgd"][m], there[attack][m]) for m in MAIN]
            broken, left = (sum(counted) for counted in zip(*pairs, strict=True))
            if left:
                counts[attack] = broken, left
    if not counts:
        return None
    attack = max(counts, key=lambda a: counts[a][0] / counts[a][1])
    return attack, *counts[attack]


def called(there, attack):
    """What an attack of {attack: {model: [Result]}} is called, without its steps."""
    results = next(iter(there[attack].values()))
    return curve_data.how(results[0]).partition(",")[0]


def missed(pgd, other):
    """(broken, left): of the pairs of an image and an ε that PGD leaves right, how many another attack breaks
    and how many there are, over all seeds, images and ε that both [Result, one a seed] of a network share.
    """
    others, broken, left = {r.settings["seed"]: r for r in other}, 0, 0
    for first in pgd:
        second = others.get(first.settings["seed"])
        if second is None:
            continue
        _, mine, theirs = np.intersect1d(first.image_ids, second.image_ids, return_indices=True)
        for place, epsilon in enumerate(first.epsilons):
            same = np.flatnonzero(np.isclose(second.epsilons, epsilon, rtol=1e-6, atol=0))
            if len(same):
                kept = first.correct[place, mine]
                left += int(kept.sum())
                broken += int((kept & ~second.correct[same[0], theirs]).sum())
    return broken, left


def answer(shown, found):
    """The page's answer in one sentence: what there is, and how much PGD alone misses."""
    networks = {(m.scale, m.dataset, m.model, r.settings["seed"]) for m in found for r in m.results}
    sets = dict.fromkeys((m.scale, m.dataset) for m in found)
    where = " and ".join(f"{DATASET_NAMES[d]} at {s} scale" for s, d in sets)
    attacks = [name for key, (name, _) in ATTACKS.items() if any(m.attack == key for m in found)]
    words = (
        f"**In one sentence.** {len(found)} curve{'s' * (len(found) != 1)} of {len(networks)}"
        f" network{'s' * (len(networks) != 1)} under {len(attacks)} kind{'s' * (len(attacks) != 1)} of attack"
        f" are stored ({where or 'none yet'}), beside {len(curve_data.published())} published ones"
    )
    there = _at(found, shown)
    second = second_attack(there)
    if second is None:
        return Text(f"{words}.")
    attack, broken, left = second
    return Text(
        f"{words}; of what {NORMS[NORM]} PGD leaves right in the EP-CNN and the CNN"
        f" ({DATASET_NAMES[shown.dataset]}, {shown.scale} scale), {called(there, attack)} breaks"
        f" {broken / left:.1%}: a curve of one attack is an upper bound."
    )


def same_order(found, shown):
    """[Verdict]: does the EP-CNN keep more images right than the CNN under ℓ2 PGD, and under the attack that
    the plot shows beside it? `verdicts.leads` at the ε where the published EP-CNN leads most.
    """
    there = _at(found, shown)
    second, target = second_attack(there), published.largest_gap(NORM)[0]
    shown_attacks = ["pgd"] + ([second[0]] if second else [])
    said = []
    for attack in shown_attacks:
        pairs = paired(there[attack], *MAIN)
        said.append(verdicts.leads(*pairs, NORM, target, attack=called(there, attack)))
    return said

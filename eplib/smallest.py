"""What several attacks find together: the smallest change of every image over minimal-norm attacks, and how
much each attack alone misses of what all of them break.
"""

from dataclasses import replace

import numpy as np

from eplib import chapters, minimal_norm, verdicts
from eplib.attack_sentences import rival_name
from eplib.black_box import common
from eplib.checks import NORMS, amount
from eplib.pictures import name
from eplib.sentences import Text

FAST = {norm: attack.upper() for norm, attack in minimal_norm.FAST.items()}  # as pages write them


def lengths(attacks):
    """{attack: {model: [Result, one a seed]}} of minimal-norm attacks, and of "all" of them together: for
    every image the smallest change that one of them found. Of the networks and the images that all of them
    attacked: where one network had fewer attacks than another, their lengths could not be compared.

    attacks: {name: {model: [Result with the array minimal_norm, one a seed]}}, of the same ε.
    """
    compared = {attack: {} for attack in (*attacks, "all")}
    for (model, _), results in _shared(*attacks.values()).items():
        alone = [r.arrays["minimal_norm"] for r in results]
        for attack, norms in zip(compared, [*alone, minimal_norm.smallest(*alone)], strict=True):
            right = norms > np.asarray(results[0].epsilons, float)[:, None]
            one = dict(correct_clean=norms > 0, correct=right, arrays={"minimal_norm": norms})
            compared[attack].setdefault(model, []).append(replace(results[0], **one))
    return compared


def beside(pgd, attacks):
    """{attack: {model: [Result, one a seed]}} of PGD, of minimal-norm attacks, and of "all" of them together,
    at the ε of PGD and on the images that all of them attacked; networks that one of them did not attack are
    left out.

    pgd: {model: [Result of "pgd-linf" or "pgd-l2"]}. attacks: {name: {model: [Result]}} in the same norm.
    """
    compared = {attack: {} for attack in ("PGD", *attacks, "all")}
    for (model, _), (first, *others) in _shared(pgd, *attacks.values()).items():
        norms = [r.arrays["minimal_norm"].astype(float) for r in others]  # as ε are
        outcomes = [first.correct, *(n > np.asarray(first.epsilons)[:, None] for n in norms)]
        for attack, right in zip(compared, [*outcomes, np.all(outcomes, 0)], strict=True):
            compared[attack].setdefault(model, []).append(replace(first, correct=right))
    return compared


def stored(shown, norm):
    """{model: [Result]} of `minimal_norm.FAST` in a norm, of every network where it is stored; at the scales
    that chapters compute, EP-CNN and CNN are measured where nothing is.
    """
    found = chapters.stored(shown, f"minimal-{norm}")
    if shown.scale in chapters.TRAINED_BY_CHAPTERS:
        found |= chapters.outcomes(shown, ("ep-cnn", "cnn"), f"minimal-{norm}")
    return found


def beside_stored(shown, norm, pgd):
    """`beside` PGD what is `stored` of the other attack in a norm. pgd: {model: [Result]} of PGD in it."""
    return beside(pgd, {FAST[norm]: stored(shown, norm)})


def _shared(*found):
    """{(model, seed): [Result of each attack]} on the images that all attacks of all these networks share."""
    stored = [{(m, r.settings["seed"]): r for m in each for r in each[m]} for each in found]
    keys = [key for key in stored[0] if all(key in each for each in stored)]
    every = [each[key] for key in keys for each in stored]
    places = iter(common(every)[1] if every else ())
    return {key: [cut(each[key], next(places)) for each in stored] for key in keys}


def cut(result, places):
    """A result of some of its images alone."""
    arrays = {"minimal_norm": result.arrays["minimal_norm"][places]} if result.arrays else {}
    part = dict(image_ids=result.image_ids[places], correct_clean=result.correct_clean[places])
    # the rows of its table are about all of its images
    return replace(result, **part, correct=result.correct[:, places], arrays=arrays, table=None)


def misses(compared, attack, model):
    """(points, ε, accuracy under the attack, accuracy under all) where an attack of `beside` misses most of
    what all attacks together break of a model, means over seeds.
    """
    alone, every = (np.mean([r.correct.mean(1) for r in compared[key][model]], 0) for key in (attack, "all"))
    place = int(np.argmax(alone - every))
    most = 100 * (alone - every)[place]
    return float(most), compared[attack][model][0].epsilons[place], float(alone[place]), float(every[place])


def missed(compared):
    """How many points each attack misses of what all of them together break, model by model, in words; that
    there is nothing to compare where there is none. compared: of `beside`.
    """
    if not compared["PGD"]:
        return Text("No network is stored with PGD and a minimal-norm attack on the same images.")
    first = next(iter(compared["PGD"].values()))[0]
    *attacks, _ = compared
    lines, each = [], f"{', '.join(attacks[:-1])} or {attacks[-1]}"
    for model in compared["PGD"]:
        told = []
        for attack in attacks:
            most, epsilon, alone, every = misses(compared, attack, model)
            where = f" at {amount(first.norm, epsilon)} ({alone:.1%} instead of {every:.1%})" if most else ""
            told.append(f"{attack} {most:.1f}{where}")
        lines.append(f"{name(model)}: {', '.join(told)}")
    return Text(
        f"**What one attack misses.** Points of accuracy that {each} alone leaves too much,"
        f" at the {NORMS[first.norm]} ε where that is most, of {len(first.image_ids)} images:"
        f" {'; '.join(lines)}. No attack is the worst case: what all of them together miss is not known."
    )


def caution(compared, models):
    """How much PGD flatters each of some models at most, in one sentence; "" where nothing can be compared.
    compared: {norm: of `beside`}.
    """
    told, worse = [], False
    for norm, each in compared.items():
        points = {m: misses(each, "PGD", m)[0] for m in models if m in each["PGD"]}
        if points:
            worse |= any(points.values())
            said = ", ".join(f"{p:.1f} of the {name(m)}" for m, p in points.items())
            others = " and ".join(a for a in each if a not in ("PGD", "all"))
            told.append(f"in {NORMS[norm]} {others}, on the same images, up to {said}")
    first = "PGD is not the worst case" if worse else "PGD is the worst case measured"
    return Text(
        f"**{first}.** Points of accuracy that it leaves too much: {'; '.join(told)}." if told else ""
    )


def order(compared, rivals):
    """At which ε the EP-CNN or a rival clearly keeps more images right, by PGD alone and by all attacks
    together, as a description. compared: of `beside`. rivals: models; those without results are left out.
    """
    told, there = [], compared["PGD"]
    for rival in (r for r in rivals if r in there and r != "ep-cnn" and "ep-cnn" in there):
        sides = []
        for attack in ("PGD", "all"):
            pairs = chapters.paired(compared[attack], "ep-cnn", rival)
            norm, leaders = pairs[0][0].norm, verdicts.along_the_curve(*pairs, pairs[0][0].norm)
            at = {who: ", ".join(amount(norm, e) for e in leaders[who]) for who in ("ep-cnn", "cnn")}
            both = ("ep-cnn", "ep-cnn"), (rival, "cnn")
            ahead = [f"the {rival_name(m)} at {at[k]}" for m, k in both if at[k]]
            sides.append(" and ".join(ahead) or "neither at any ε")
        change = "as by PGD alone" if sides[0] == sides[1] else f"by PGD alone {sides[0]}"
        told.append(f"EP-CNN or {rival_name(rival)}: {sides[1]}, {change}")
    return Text(
        "**Who keeps clearly more images right when all of these attacks count?**"
        f" {'; '.join(told)}. ε in {NORMS[norm]}; a description and no verdict: in every pair of networks,"
        " with every exact McNemar p below 0.05 after Holm's adjustment over all of them."
        if told
        else ""
    )

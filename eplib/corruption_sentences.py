"""What the pages about natural corruptions say, composed from published numbers, results and verdicts."""

import numpy as np

from eplib import attack_figures, chapters, pictures, published, published_curves
from eplib import corruption_scores as scores
from eplib import corruption_verdicts as rules
from eplib.attack_sentences import COMPARABLE_WORDS, WORDS, rival_name
from eplib.black_box_sentences import missing
from eplib.checks import InputError
from eplib.corruption_comparisons import phase_lengths, points
from eplib.corruption_curves import GREY_DATASETS, published_surfaces, source, words
from eplib.corruptions import COLOURED
from eplib.sentences import Text, table, verdict_box
from eplib.statistics import wilson

TRAINED = "cnn-at-l2-0.5"  # the adversarially trained CNN of the paper's comparison
RIVALS = ("cnn", "cnn-plain", "vit-8", TRAINED)
EVERY_PUBLISHED = ("0.05", "0.5", "0.75", "1")  # ε that published CNNs were trained with
REFERENCE = "cnn"


def verdicts(found, types=None, under="CIFAR-10-C"):
    """{rival: Verdict}: does the EP-CNN lead the CNNs and the ViT, is it comparable to the adversarially
    trained CNN? Rivals without results are left out. found: {model: [Result, one a seed]}.
    """
    said = {}
    for rival in (r for r in RIVALS if found.get(r)):
        rule = rules.comparable if rival == TRAINED else rules.leads
        said[rival] = rule(*chapters.paired(found, "ep-cnn", rival), rival_name(rival), types, under)
    return said


def clauses(said):
    """Verdicts of `verdicts` as the end of a sentence that begins with the EP-CNN."""
    alike = {}
    for rival, v in said.items():
        words_for = COMPARABLE_WORDS if rival == TRAINED else WORDS
        alike.setdefault(words_for[v.networks], []).append(f"the {rival_name(rival)}")
    return "; it ".join(f"{phrase} {_listed(rivals)}" for phrase, rivals in alike.items())


def _listed(names):
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def place(found, types):
    """Where the EP-CNN stands among all models by its mean accuracy under `types`, a description."""
    means = {m: v[1] for m, v in points(found, types).items()}
    ordered = sorted(means, key=means.get, reverse=True)
    before = ordered[: ordered.index("ep-cnn")]
    ahead = ", ".join(f"{pictures.name(m)} {means[m]:.1%}" for m in before)
    return Text(
        f"**Among all {len(means)} networks** the EP-CNN is number {len(before) + 1} with"
        f" {means['ep-cnn']:.1%}"
        + (f"; ahead of it: {ahead}" if before else "")
        + " (looked at afterwards, so a description and no verdict)."
    )


def answer(said, found, badge):
    """The answer of the page on CIFAR-10-C in one sentence. said: of `verdicts`."""
    return Text(
        "**In one sentence.** Averaged over the 18 corruptions of the paper's figure and five severities, our"
        f" EP-CNN {clauses(said)} ({badge.dataset_name}, {badge.scale} scale; {source(found)})."
    )


def published_claims():
    """What the paper's own numbers say, in words."""
    surfaces = published_surfaces(EVERY_PUBLISHED)
    tables = {m: means.drop(index="frost", errors="ignore") for m, (means, _) in surfaces.items()}
    ep, rival = tables.pop("ep-cnn"), tables[TRAINED]
    means = ", ".join(f"{published_curves.name(m)} {scores.mean(t):.1%}" for m, t in tables.items())
    ahead = ep - rival.loc[ep.index]
    families = {m: scores.by_family(t) for m, t in (("ep", ep), ("near", tables["cnn-at-l2-0.05"]))}
    ends = [
        f"{100 * ahead[s].mean():+.1f} points at severity {s}" for s in (ahead.columns[0], ahead.columns[-1])
    ]
    return Text(
        "**Published** (arXiv 2401.11543, CIFAR-10-C, mean over the 18 corruptions that all have, and five"
        f" severities; five seeds): EP-CNN {scores.mean(ep):.1%}, {means}. Against the CNN trained with ε 0.5"
        f" the EP-CNN is ahead in {int((ahead > 0).sum().sum())} of {ahead.size} cells, and by"
        f" {' and '.join(ends)}. The CNN trained with ε 0.05, which was evaluated but is not in the"
        f" figure, has {families['near']['noise']:.1%} under noise where the EP-CNN has"
        f" {families['ep']['noise']:.1%}, and"
        f" {_without_noise(tables['cnn-at-l2-0.05']):.1%} against {_without_noise(ep):.1%} under everything"
        " else. Neither a CNN without adversarial training nor a ViT was evaluated."
    )


def _without_noise(surface):
    return scores.mean(surface, [c for c in surface.index if scores.FAMILIES[c] != "noise"])


def images_used(found, dataset):
    """Where the corrupted images come from, and which of them to take with care."""
    types = scores.surface(next(iter(found.values()))[0]).index
    coloured = ", ".join(words(c) for c in types if c in COLOURED)
    care = (
        f" These images are grey: {coloured} make colours of them, which no training image had; they are"
        " marked with *."
        if dataset in GREY_DATASETS and coloured
        else ""
    )
    regenerated = (
        " The published images were made without a fixed seed, so nobody can make them again bit by bit; the"
        " same formulas and parameters with other random numbers give these."
        if any(r.settings["sizes"]["source"] == "regenerated" for rs in found.values() for r in rs)
        else ""
    )
    return Text(f"**Corrupted images**: {source(found)}.{regenerated}{care}")


def gaps(found):
    """How far the EP-CNN is ahead of the adversarially trained CNN at the least and the greatest severity and
    in every family, published and ours, a description; nothing where ours was not measured.
    """
    if not found.get(TRAINED):
        return []
    theirs = {m: means.drop(index="frost", errors="ignore") for m, (means, _) in published_surfaces().items()}
    ep, rival = chapters.paired(found, "ep-cnn", TRAINED)
    ours = {"ep-cnn": ep, TRAINED: rival}
    ours = {m: scores.average([scores.surface(r) for r in rs]).drop(index="frost") for m, rs in ours.items()}
    said = []
    for name, tables in (("published", theirs), ("ours", ours)):
        ahead = tables["ep-cnn"] - tables[TRAINED]
        parts = [f"severity {s} {100 * v:+.1f}" for s, v in scores.by_severity(ahead).items() if s in (1, 5)]
        parts += [f"{family} {100 * v:+.1f}" for family, v in scores.by_family(ahead).items()]
        said.append(f"{name}: {', '.join(parts)}")
    return [
        Text(
            f"**Ahead of the {rival_name(TRAINED)}**, in points, means over the 18 corruptions, the same"
            f" seeds: {'; '.join(said)} (a description and no verdict)."
        )
    ]


def mean_table(found):
    """Mean accuracies in per cent: a line a network, and below it the published ones."""
    lines = [
        _mean_line(
            pictures.name(m),
            seeds_of(found[m]),
            np.mean([scores.clean(r) for r in found[m]]),
            [scores.surface(r) for r in found[m]],
        )
        for m in attack_figures.ordered(found)
    ]
    for model, (means, _) in published_surfaces(EVERY_PUBLISHED).items():
        lines.append(_mean_line(f"published: {published_curves.name(model)}", "5", None, [means]))
    head = ("network", "seeds", "clean", "15 types", "18 types", "19 types", *scores.FAMILY_NAMES)
    note = (
        "Accuracy in per cent, means over seeds. 15: the standard set; 18: those of the paper's figure; 19:"
        " with frost and the four extra ones. Families and severities are over the 18. –: not measured, or"
        " without frost."
    )
    return table((*head, *(f"severity {s}" for s in range(1, 6))), lines, note)


def _mean_line(name, seeds, clean, tables):
    surface = scores.average(tables)
    shown = surface.loc[[c for c in scores.SETS["18"] if c in surface.index]]
    sets = [
        scores.mean(surface, t) if set(t) <= set(surface.index) else None
        for t in (scores.SETS["15"], scores.SETS["18"], scores.SETS["19"])
    ]
    families = [scores.by_family(shown)[f] for f in scores.FAMILY_NAMES]
    return (name, seeds, *map(_percent, (clean, *sets, *families, *scores.by_severity(shown).values())))


def _percent(value):
    return "–" if value is None else f"{100 * value:.1f}"


def seeds_of(results):
    """The seeds of results, in words."""
    return ", ".join(str(s) for s in sorted(r.settings["seed"] for r in results))


def relative_table(found, types):
    """Corruption accuracy under `types` beside clean accuracy, and against the reference network: a line a
    network. Raises InputError where the reference was not measured.
    """
    types = list(types)
    if REFERENCE not in found:
        raise InputError(f"no result of the {pictures.name(REFERENCE)} to compare with: measure it first")
    surfaces = {m: scores.average([scores.surface(r).loc[types] for r in rs]) for m, rs in found.items()}
    clean = {m: float(np.mean([scores.clean(r) for r in rs])) for m, rs in found.items()}
    lines, kept = [], len(types)
    for model in attack_figures.ordered(found):
        drop, share = scores.relative(scores.mean(surfaces[model]), clean[model])
        errors = scores.corruption_errors(surfaces[model], surfaces[REFERENCE])
        relative = scores.relative_errors(
            surfaces[model], clean[model], surfaces[REFERENCE], clean[REFERENCE]
        )
        (mce, _), (rmce, kept) = scores.mean_error(errors), scores.mean_error(relative)
        numbers = (clean[model], scores.mean(surfaces[model]), drop, share, mce, rmce)
        lines.append((pictures.name(model), *(f"{100 * v:.1f}" for v in numbers)))
    left_out = len(types) - kept
    note = (
        f"Per cent, means over seeds, {len(types)} types and all severities. Lost: clean minus corrupted."
        f" Kept: the share of the clean accuracy that is left. mCE: errors relative to those of the"
        f" {pictures.name(REFERENCE)}, type by type; relative mCE: the same of the errors that corruptions"
        " add"
        + (
            f", without {left_out} type{'s' * (left_out > 1)} on which the {pictures.name(REFERENCE)} loses"
            " less than a point a severity"
            if left_out
            else ""
        )
        + f". The literature's mCE is relative to AlexNet; ours to the {pictures.name(REFERENCE)} of this"
        " project, so it is 100 by definition. The published numbers have no such network, so they have no"
        " mCE."
    )
    return table(("network", "clean", "corrupted", "lost", "kept", "mCE", "relative mCE"), lines, note)


def effective_verdict(found):
    """`corruption_verdicts.effective` of the EP-CNN against all other models of `found`."""
    every = points(found, scores.SETS["15"])
    others = [p for model, p in every.items() if model != "ep-cnn"]
    return rules.effective(found["ep-cnn"], every["ep-cnn"], others)


def limits(found):
    """What the published comparison leaves open, and what ours does, in words."""
    n = len(found["ep-cnn"][0].image_ids)
    (steps, _), (settled, _) = published.corruption_phases()
    low, high = wilson(n // 2, n)
    return Text(
        "The published comparison lacks frost for the EP-CNN, a CNN without adversarial training and a"
        f" transformer; the EP-CNN predicts after {steps} steps"
        f" there and after {settled} everywhere else; accuracies are not set against clean accuracy, which"
        " differs by up to ten points; and its adversarially trained CNNs are of an older generation than"
        f" those under AutoAttack. Ours rests on {n} images, so that one cell of the figure is known to"
        f" within {100 * (high - low) / 2:.0f} points and only means over many cells say anything; the"
        " corruptions were chosen by others for colour photographs."
    )


def settling(shown, settled, badge):
    """[the figure of free phases of several lengths, its verdict], or a sentence with the command that makes
    it. settled: [Result of "corruptions-settled" of the EP-CNN].
    """
    if not settled:
        return missing(shown, {"corruptions-settled": {}}, "corruptions-settled")
    return [phase_lengths(settled, badge), verdict_box(rules.settling_helps(settled))]

"""What the page about corruptions beyond CIFAR-10-C says, composed from results and verdicts."""

import numpy as np

from eplib import attack_figures, chapters, corruption_sentences, pictures
from eplib import corruption_scores as scores
from eplib import corruption_verdicts as rules
from eplib.attack_sentences import rival_name
from eplib.corruption_comparisons import points
from eplib.corruption_sentences import REFERENCE, RIVALS, clauses, seeds_of
from eplib.sentences import Text, table


def verdicts(found, c_found):
    """({rival: Verdict} beyond CIFAR-10-C, {rival: Verdict} under it on the same images and phase)."""
    return (
        corruption_sentences.verdicts(found, under="corruptions beyond CIFAR-10-C"),
        corruption_sentences.verdicts(c_found, scores.SETS["18"]),
    )


def answer(said, under_c, badge):
    """The answer of the page beyond CIFAR-10-C in one sentence, with what holds and what does not."""
    same = [r for r in said if r in under_c and said[r].networks == under_c[r].networks]
    changed = [r for r in said if r in under_c and r not in same]
    tail = (
        f"the word differs from that under CIFAR-10-C for the {' and the '.join(map(rival_name, changed))}"
        if changed
        else "every word is the same as under CIFAR-10-C"
    )
    return Text(
        "**In one sentence.** Under twenty corruptions unlike those of CIFAR-10-C our EP-CNN"
        f" {clauses(said)}; {tail} ({badge.dataset_name}, {badge.scale} scale)."
    )


def claims():
    """What the paper says about other corruptions, in words."""
    return Text(
        "**Published** (arXiv 2401.11543): nothing; the paper evaluates CIFAR-10-C alone, and no sequence of"
        " frames."
    )


def ranking_means(first, second):
    """({model: mean under CIFAR-10-C}, {model: mean beyond}) of the models and images that both have."""
    models = [m for m in attack_figures.ordered(second) if m in first]
    ids = set.intersection(
        *(set(r.image_ids.tolist()) for of in (first, second) for m in models for r in of[m])
    )
    return tuple(
        {m: v[1] for m, v in points({m: of[m] for m in models}, None, sorted(ids)).items()}
        for of in (first, second)
    )


def flip_verdicts(found):
    """{rival: Verdict}: do the EP-CNN's predictions flip less often?"""
    return {
        rival: rules.steadier(*chapters.paired(found, "ep-cnn", rival), rival_name(rival))
        for rival in RIVALS
        if found.get(rival)
    }


def flip_table(found):
    """Flip probabilities: a line a network, their mean over sequences and relative to the reference."""
    means = {
        m: float(np.mean([np.asarray(r.arrays["flips"], float).mean() for r in rs]))
        for m, rs in found.items()
    }
    lines = [
        (
            pictures.name(m),
            seeds_of(found[m]),
            f"{100 * np.mean([r.correct_clean.mean() for r in found[m]]):.1f}",
            f"{100 * means[m]:.2f}",
            f"{100 * means[m] / means[REFERENCE]:.0f}" if means.get(REFERENCE) else "–",
        )
        for m in attack_figures.ordered(found)
    ]
    note = (
        "Per cent. Flip probability: mean over images, frames and sequences. Flip rate: relative to the"
        f" {pictures.name(REFERENCE)}."
    )
    return table(("network", "seeds", "first frame right", "flip probability", "flip rate"), lines, note)


def limits(found):
    """What the page beyond CIFAR-10-C leaves open. found: {measurement: {model: [Result]}}."""
    corrupted, flipped = (found[m]["ep-cnn"][0] for m in ("corruptions-beyond", "flips"))
    return Text(
        f"Twenty types on {len(corrupted.image_ids)} images and ten sequences of {len(flipped.image_ids)}"
        " images: means say something, single panels little. The types were defined for colour photographs of"
        " this size or larger; bit error and flash are defined anew, since the originals need a video stream"
        " or reconstructed surfaces. Which corruptions count as unlike others was decided by Mintun et al. on"
        " networks of another kind."
    )

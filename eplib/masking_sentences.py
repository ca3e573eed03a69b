"""What the page about masked gradients says, composed from results and verdicts."""

import numpy as np

from eplib import (
    agreement,
    black_box,
    chapters,
    checklist,
    masking_figures,
    masking_verdicts,
    pictures,
    published,
)
from eplib.black_box_sentences import suite_name
from eplib.sentences import Text, table
from eplib.statistics import mcnemar
from eplib.verdicts import nearest

WORDS = {
    "supported": "break about as much as all horizons and gradients together: nothing is masked there",
    "contradicted": "break clearly less than all horizons and gradients together: its gradients are masked",
    "undecided": "are not shown to be masked, nor shown not to be",
}
EFFORT = {
    "supported": "plain PGD is strong enough",
    "contradicted": "plain PGD is too weak to rest a number on",
    "undecided": "whether plain PGD is strong enough is undecided",
}


def answer(by_horizon, by_effort, lines, badge):
    """The answer of the page in one sentence, from both verdicts and the checklist."""
    passed = sum(line.passed for line in lines)
    return Text(
        f"**In one sentence.** The gradients of the paper's horizon {WORDS[by_horizon.networks]};"
        f" {EFFORT[by_effort.networks]}; {passed} of the {len(lines)} lines of the checklist are passed"
        f" ({badge.dataset_name}, {badge.scale} scale)."
    )


def published_claim():
    """The paper's argument and its numbers, in words: attack horizons at the ε of the largest gap."""
    epsilon = published.largest_gap("l2")[0]
    settled = masking_verdicts.predicted()
    rows = published.table("pgd", model="ep-cnn", norm="l2", series="seeds", predict_steps=float(settled))
    rows = rows[np.isclose(rows.epsilon, epsilon)].sort_values("attack_steps")
    told = ", ".join(
        f"{row['mean']:.1%} with {int(row.attack_steps)} ({int(row.n)} seed{'s' if row.n > 1 else ''})"
        for _, row in rows.iterrows()
    )
    return Text(
        "**Published** (arXiv 2401.11543, CIFAR-10): its EP-CNN is no case of obfuscated gradients, because"
        " attacks through more free-phase steps break more, and because AutoAttack takes no more from it than"
        f" from other networks. Accuracy under PGD at ℓ2 ε = {epsilon:.3g} by attack steps, predicted after"
        f" {settled}: {told}."
    )


def lines(found):
    """The checklist as a table of words: every `checklist.Line`."""
    rows = [
        (
            line.letter,
            line.asked,
            "pass" if line.passed else "fail",
            f"{line.n:,}" if line.n else "–",
            f"{line.wanted:,}" if line.wanted else "–",
            line.evidence,
        )
        for line in found
    ]
    note = (
        "A line that was not run is a fail. n: images looked at, the fewest of its measurements and seeds;"
        " asked: how many a full evaluation wants. A line that passes with few images has passed on these"
        " images and no others."
    )
    return table(("", "what must hold", "result", "n", "asked", "evidence"), rows, note)


def gate(results):
    """Whether the adjoint and finite differences agree, from results of "gradients", in words."""
    said = []
    for r in results:
        found = agreement.gate(r)
        unsettled = len(r.image_ids) - found.n - found.excluded
        said.append(
            f"seed {r.settings['seed']}: median cosine {found.cosine:.6f} over {found.n} images,"
            f" {'passed' if found.passes else 'failed'} ({found.excluded} left out because a clip or arg-max"
            f" pattern changes within the step, {unsettled} because they do not settle)"
        )
    return Text(
        "**Are the gradients right at all?** In float64, at the settled state, the adjoint is compared with"
        f" finite differences of the settled network in random directions. {'; '.join(said)}. Asked for is a"
        f" median of {agreement.GATE} or more."
    )


def argument(found, badge):
    """The paper's own argument: the figure and its reading, or what is missing for it."""
    pairs, epsilon = black_box.outcomes(found, "pgd-linf", "suite-linf")
    if len(pairs) < 2 or "ep-cnn" not in pairs:
        return [
            Text(
                "The argument compares PGD and AutoAttack on the EP-CNN and on other networks. At this scale"
                " pgd-linf and suite-linf of the EP-CNN and of another network are not both stored."
            )
        ]
    lost = {
        m: 100 * np.mean([plain.mean() - union.mean() for plain, union in every])
        for m, every in pairs.items()
    }
    told = ", ".join(f"{pictures.name(m)} {points:.1f}" for m, points in lost.items())
    most = max(lost, key=lost.get)
    reading = (
        "The EP-CNN loses most, which speaks against the argument"
        if most == "ep-cnn"
        else f"{pictures.name(most)} loses most and not the EP-CNN, as the argument has it"
    )
    text = Text(
        f"Points that {suite_name(found['suite-linf'])} takes beyond PGD, on the same images at"
        f" ε = {255 * epsilon:.3g}/255: {told}. {reading}. A small loss shows that two attacks agree; both"
        " can be misled by the same gradients, so the argument cannot carry the conclusion alone."
    )
    return [masking_figures.argument(pairs, epsilon, badge), text]


def broken_first(results, target):
    """Which of the adaptive attacks broke images that plain PGD left, from results of "adaptive"."""
    epsilon, told = nearest(results[0], target), {}
    for r in results:
        rows = r.table[(r.table.metric == "broken") & np.isclose(r.table.epsilon, epsilon)]
        for _, row in rows.iterrows():
            told.setdefault(row.by, []).append(row.value)
    ranked = sorted(((np.mean(v), k) for k, v in told.items() if np.mean(v) > 0), reverse=True)
    words = ", ".join(f"{name} {share:.1%}" for share, name in ranked)
    return Text(
        f"**Who broke what plain PGD left** (ℓ2 ε = {epsilon:.3g}; share of all images; each attack sees only"
        f" what the ones before it left, so the order counts): {words or 'nobody'}."
    )


def standing(found, target):
    """Who keeps more images right, under plain PGD and when all attacks count: the EP-CNN beside every other
    network of one of its seeds, from {model: [Result of "adaptive"]}. A description and no verdict.
    """
    told, seeds = [], {m: {r.settings["seed"] for r in results} for m, results in found.items()}
    for rival in (m for m in found if m != "ep-cnn" and seeds[m] & seeds["ep-cnn"]):
        pairs = list(zip(*chapters.paired(found, "ep-cnn", rival), strict=True))
        epsilon = nearest(pairs[0][0], target)
        both = [[masking_verdicts.outcomes(r, epsilon) for r in pair] for pair in pairs]
        sides = []
        for side, words in enumerate(("under plain PGD", "under all attacks")):
            own, other = (np.concatenate([pair[i][side] for pair in both]) for i in (0, 1))
            sides.append(f"{words} {own.mean():.1%} and {other.mean():.1%} (p {mcnemar(own, other):.2g})")
        told.append(f"EP-CNN and {pictures.name(rival)} {', '.join(sides)}")
    return Text(
        f"**What is left of the lead?** Share of images right, ℓ2 ε = {epsilon:.3g}, exact McNemar on the"
        f" same images: {'; '.join(told)}."
        if told
        else "No other network is stored with adaptive attacks."
    )


def limits(found):
    """What this page's measurements leave open, in words."""
    missing = sorted(name for name, every in found.items() if not every.get("ep-cnn"))
    some = [r for every in found.values() for r in every.get("ep-cnn", [])]
    fewest = min((len(r.image_ids) for r in some), default=0)
    not_run = f" Not run at this scale: {', '.join(missing)}." if missing else ""
    return Text(
        f"The smallest measurement of this page looks at {fewest} images, so a share can be wrong by"
        f" {100 * 0.98 / max(fewest, 1) ** 0.5:.0f} points.{not_run} No list of attacks is complete: what"
        " passes here has withstood these attacks. The rules were written before the numbers of the adaptive"
        " attacks, of the horizons and of the planted examples existed."
    )


def letters(found_lines):
    """The letters that fail, as a sentence."""
    failed = [line for line in found_lines if not line.passed]
    never = [line.letter for line in failed if line.evidence == checklist.NOT_RUN]
    return Text(
        f"Failed: {', '.join(line.letter for line in failed) or 'none'}"
        + (f"; of these never run: {', '.join(never)}." if never else ".")
    )


BESIDE = (  # measurements that the checklist and the paper's argument look at where they are stored
    *("pgd-linf", "pgd-l2", "suite-linf", "square-linf", "noise-linf", "transfer", "hop-skip-jump"),
    *("minimal-linf", "minimal-l2", "carlini-wagner", "margins"),
)


def needs():
    """{model: measurements} without which the page cannot be shown."""
    return {"ep-cnn": ("horizons", "gradients", "iterations", "adaptive", "sanity")}


def stored(shown):
    """{measurement: {model: [Result]}} of all that the page looks at: its own computed where they are
    missing, the others where they are stored.
    """
    own = needs()["ep-cnn"]
    first = chapters.first_seed(shown)
    found = {m: chapters.outcomes(first, ("ep-cnn",), m) for m in own}
    return {m: found.get(m, {}) | chapters.stored(shown, m) for m in (*own, *BESIDE)}

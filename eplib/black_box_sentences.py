"""What the page about attackers who see less says, composed from published curves, results and verdicts."""

import numpy as np

from eplib import (
    attack_figures,
    attack_verdicts,
    black_box,
    chapters,
    checkpoints,
    files,
    pictures,
    published,
    published_curves,
    statistics,
    suite,
    verdicts,
)
from eplib.attack_sentences import WORDS
from eplib.black_box import BLACK, WHITE, asked, left_after, matched
from eplib.black_box_figures import PARTS, our_plan, suite_name
from eplib.checks import amount, strength
from eplib.sentences import Text, table

PUBLISHED = {  # the figures of the paper beside our measurements
    "square-linf": "Square_Attack_Accuracy_100",
    "suite-linf": "Adversarial_Plotter_MichaelMeeting.py:CIFAR10_AA",
}
EIGHT = 8 / 255  # the budget most papers quote


def plan(found):
    """Which attacks ours are, beside the published AutoAttack, from {model: [Result of "suite-linf"]}."""
    theirs = published.settings("cifar10", "ep-cnn")["autoattack_components"].split()
    theirs = ", ".join(PARTS[name][0] for name in theirs)
    return Text(
        f"{our_plan(found)} Each attack gets the images that the ones before it left, with true labels. The"
        f" published figure comes from {theirs}, all without a target and without labels."
    )


def answers():
    """What the published networks answered Square with, and ours, as a sentence."""
    given = {m: published.settings("cifar10", m)["square_answers"] for m in ("ep-cnn", "cnn")}
    return (
        f"The published EP-CNN answered with {given['ep-cnn']} and the CNNs with {given['cnn']}; every"
        " network of ours answers with logits."
    )


def targets():
    """{measurement: ε where the published EP-CNN leads its CNN most}, where our networks are compared."""
    return {m: attack_verdicts.published_lead("linf", "ep-cnn", "cnn", f)[0] for m, f in PUBLISHED.items()}


def black_box_verdicts(found):
    """{measurement: Verdict}: does the EP-CNN lead the CNN under Square, and under the union of attacks?

    found: {measurement: {model: [Result, one a seed]}}, "square-linf" and "suite-linf" with both models.
    """
    names = {"square-linf": "Square", "suite-linf": suite_name(found["suite-linf"])}
    return {
        m: verdicts.leads(*chapters.paired(found[m], "ep-cnn", "cnn"), "linf", target, attack=names[m])
        for m, target in targets().items()
    }


def answer(said, found, badge):
    """The answer of the page in one sentence. said: `black_box_verdicts` of `found`."""
    square, union = said["square-linf"], said["suite-linf"]
    return Text(
        "**In one sentence.** Where the published EP-CNN leads its CNN most, ours"
        f" {WORDS[square.networks]} the CNN under Square and {WORDS[union.networks]} it under"
        f" {suite_name(found['suite-linf'])} ({badge.dataset_name}, {badge.scale} scale)."
    )


def published_claims():
    """What the paper's own numbers say: where its EP-CNN leads most, and AutoAttack near 8/255, in words."""
    lines = []
    for figure in PUBLISHED.values():
        epsilon, ep, cnn = attack_verdicts.published_lead("linf", "ep-cnn", "cnn", figure)
        title = published_curves.of(figure).title
        lines.append(f"{title}: EP-CNN {ep:.1%} and CNN {cnn:.1%} at ε = {amount('linf', epsilon)}")
    curves = published_curves.curves(PUBLISHED["suite-linf"])
    ends = []
    for model in ("ep-cnn", "cnn"):
        place = np.abs(curves[model].index - EIGHT).argmin()
        ends.append(f"{published_curves.name(model)} {curves[model]['mean'].iloc[place]:.1%}")
    return Text(
        "**Published** (arXiv 2401.11543, CIFAR-10), where its EP-CNN leads its CNN most:"
        f" {'; '.join(lines)}. At ε = {amount('linf', EIGHT)} the authors' AutoAttack leaves"
        f" {' and '.join(ends)}."
    )


def missing(shown, found, *names):
    """[what is not stored of a measurement and the command that makes it] of those that nothing is stored of.

    found: {measurement: {model: [Result]}}. The command is for the first EP-CNN shown.
    """
    path = checkpoints.find(shown.scale, "ep-cnn", shown.dataset, shown.seeds[0])
    path = path.relative_to(files.ROOT) if path and path.is_relative_to(files.ROOT) else path
    return [
        Text(
            f"No result of {name} is stored at {shown.scale} scale. This makes one, and the same for other"
            f" networks: `python -m eplib measure --checkpoint {path} --measurement {name}`"
        )
        for name in names
        if not found[name]
    ]


def decisions(found):
    """Whether HopSkipJump breaks images that PGD leaves right at the same ℓ2 ε, network by network.

    found: {measurement: {model: [Result]}} with "hop-skip-jump" and "pgd-l2".
    """
    told, images, count = [], 0, 0
    for (model, seed), pair in _both(found["hop-skip-jump"], found["pgd-l2"]).items():
        ids, places = black_box.common(pair)
        alone = [0, 0]
        for e in set(pair[0].epsilons) & set(pair[1].epsilons):
            hop, pgd = (
                r.correct[list(r.epsilons).index(e)][place] for r, place in zip(pair, places, strict=True)
            )
            alone = [max(alone[0], int((pgd & ~hop).sum())), max(alone[1], int((hop & ~pgd).sum()))]
        images, count = len(ids), count + (alone[0] > 0)
        told.append(f"{pictures.name(model)}, seed {seed}: {alone[0]} and {alone[1]}")
    if not told:
        return Text("No network is stored with both HopSkipJump and ℓ2 PGD, so they are not compared.")
    return Text(
        f"**Decisions against gradients.** In {count} of {len(told)} networks HopSkipJump, which is told the"
        " class and nothing else, breaks an image that PGD leaves right at the same ℓ2 ε. The most images at"
        f" one ε that HopSkipJump alone and that PGD alone broke, of {images}: {'; '.join(told)}."
    )


def _both(first, second):
    """{(model, seed): (Result, Result)} of the networks that two measurements share."""
    others = {(m, r.settings["seed"]): r for m, results in second.items() for r in results}
    mine = {(m, r.settings["seed"]): r for m in attack_figures.ordered(first) for r in first[m]}
    return {key: (r, others[key]) for key, r in mine.items() if key in others}


def seeing_less(found):
    """[the table of `black_box.compare`, a line a network, attackers see more from left to right; whether who
    sees more breaks more]; a sentence alone where there is nothing to compare.
    """
    epsilon, networks = black_box.compare(found)
    if not networks:
        return [Text("No ε at which a network was measured with and without gradients on the same images.")]
    last = suite_name(found["suite-linf"]) if found["suite-linf"] else "several attacks"
    columns = dict(zip(BLACK + WHITE, ("noise", "transfer", "Square", "PGD", last), strict=True))
    lines = []
    for s in networks:
        shares = [s.clean, *map(s.left.get, columns), s.everything]
        cells = ["–" if right is None else f"{100 * right.mean():.1f}" for right in shares]
        lines.append((pictures.name(s.model), s.seed, *cells, s.alone))
    head = ("network", "seed", "no attack", *columns.values(), "all of them", "broken by a black box alone")
    note = (
        f"Accuracy in per cent on the {len(networks[0].clean)} test images that all of these attacks looked"
        f" at, {strength('linf', epsilon)}; – where it was not measured. Transfer: from every other network"
        " that attacked this one. Last column: images that noise, transfer or Square broke while PGD and the"
        " gradient attacks of the union did not."
    )
    return [table(head, lines, note), _white_against_black(epsilon, networks)]


def _white_against_black(epsilon, networks):
    """Whether who sees more breaks more, as a description."""
    named = [(s, f"{pictures.name(s.model)} (seed {s.seed})") for s in networks]
    behind = [name for s, name in named if s.gradients.mean() > s.black]
    alone = [f"{s.alone} of {name}" for s, name in named if s.alone]
    first = (
        f"In {', '.join(behind)} a black box leaves fewer, a sign that the gradient attacks fail there."
        if behind
        else "So it must be where gradient attacks work, for they see more."
    )
    return Text(
        f"**White box ≤ black box** in {len(networks) - len(behind)} of {len(networks)} networks: at"
        f" {strength('linf', epsilon)} the gradient attacks leave no more images right there than the"
        f" strongest single black box. {first} Black boxes alone broke {', '.join(alone) or 'no image'}, of"
        f" {len(networks[0].clean)} each. This describes these networks; nothing was fixed beforehand."
    )


def matched_cost(found, costs):
    """What Square reaches on EP-CNN and CNN for the same cost, or why that cannot be said.

    found: {model: [Result of "square-linf"]} with both. costs: of `black_box.milliseconds`.
    """
    both, epsilon = matched(found, costs), verdicts.nearest(found["ep-cnn"][0], targets()["square-linf"])
    if both is None:
        s = found["ep-cnn"][0].settings
        return Text(
            f"The stored benchmark has no inference time of {s['predict_steps']} {s['order']} steps, so costs"
            " are not matched here."
        )
    cheap, dear, spent = both
    queries = {cheap: asked(found[cheap][0]), dear: min(asked(found[dear][0]), int(spent / costs[dear]))}
    left = {m: left_after(found[m], epsilon, q) for m, q in queries.items()}
    whole = {m: left_after(found[m], epsilon, asked(found[m][0])) for m in queries}
    names = {m: pictures.name(m) for m in queries}
    return Text(
        f"**For the same cost.** The whole attack on the {names[cheap]}, {queries[cheap]:,} queries, takes"
        f" {spent:.3g} ms of its time an image and leaves {left[cheap]:.1%} right. In that time the attacker"
        f" of the {names[dear]} asks {queries[dear]:,} times and leaves {left[dear]:.1%}; with all"
        f" {asked(found[dear][0]):,} queries, {whole[dear]:.1%}. The difference of"
        f" {100 * (left[dear] - left[cheap]):+.1f} points at matched cost is"
        f" {100 * (whole[dear] - whole[cheap]):+.1f} at matched queries."
    )


def limits(found):
    """What so few images and queries cannot show. found: {measurement: {model: [Result]}}."""
    result = found["square-linf"]["ep-cnn"][0]
    n, queries = len(result.image_ids), result.settings["sizes"]["queries"]
    usual = dict(suite.AUTOATTACK)["square"]
    low, high = statistics.wilson(n // 2, n)
    few = "fewer than" if queries < usual else "as many as"
    theirs = published.settings("cifar10", "ep-cnn")["square_iterations"]
    return Text(
        f"Square asked {queries:,} times here, {few} the {usual:,} of the literature; the published figure"
        f" has {theirs:,} iterations. With {n} images an accuracy near one half is known to within"
        f" {100 * (high - low) / 2:.0f} points. What a black box does not find in so few queries, it may"
        " find in more, and what no attack found is not shown to be absent."
    )

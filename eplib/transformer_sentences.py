"""What the page about several transformers says, composed from published curves, results and verdicts."""

import numpy as np

from eplib import (
    attack_verdicts,
    black_box,
    campaign,
    chapters,
    corruption_scores,
    others,
    pictures,
    published_curves,
    scales,
    verdicts,
)
from eplib.black_box_figures import suite_name
from eplib.checks import amount, strength
from eplib.corruption_sentences import seeds_of
from eplib.sentences import Text, table
from eplib.statistics import POWER
from eplib.transformer_figures import DRAWN, PUBLISHED, points
from eplib.transformer_verdicts import (
    AUGMENTED,
    COMPARISONS,
    CONTROL,
    FINAL,
    HALFWAY,
    TRANSFORMERS,
    compared,
    each,
    target,
    under,
)

MEASURED = ("pgd-linf", "pgd-l2", "suite-linf", "corruptions")
EIGHT = 8 / 255


def gathered(shown, main):
    """{measurement: {model: [Result, one a seed]}} that the page shows: `main` and what is stored, beside it
    networks of others. Corrupted images are those of the EP-CNN; without it there is nothing to compare them
    with.
    """
    models = (*DRAWN, *HALFWAY)
    found = {m: main.get(m, {}) | chapters.stored(shown, m, models) for m in MEASURED}
    if not found["corruptions"].get("ep-cnn"):
        found["corruptions"] = {}
    found = {m: of and of | others.measured(shown.scale, m) for m, of in found.items()}
    if found["corruptions"]:
        found["corruptions"] = corruption_scores.of_one_source(found["corruptions"])
    return found


def answer(overall, said, badge):
    """The answer of the page in one sentence. overall, said: of `transformer_verdicts.every` and `each`."""
    words = [said[m].networks for m in TRANSFORMERS if m in said]
    if not words:
        middle = "no transformer is stored yet, so nothing is compared"
    else:
        ahead, behind, open_ = (words.count(w) or "none" for w in ("supported", "contradicted", "undecided"))
        middle = (
            f"our EP-CNN is clearly more robust than {ahead} of {len(words)}"
            f" transformer{'s' * (len(words) != 1)} in all three comparisons, clearly less robust than"
            f" {behind} in at least one, and undecided beside {open_}; the claim about every transformer is"
            f" {overall.networks}"
        )
    return Text(
        f"**In one sentence.** {middle[0].upper()}{middle[1:]} ({badge.dataset_name}, {badge.scale} scale)."
    )


def published_claims():
    """The paper's numbers of EP-CNN and ViT: where the EP-CNN leads most, and near 8/255, in words."""
    parts = []
    for measurement in ("pgd-linf", "suite-linf"):
        figure = PUBLISHED[measurement]
        found, title = published_curves.curves(figure), published_curves.of(figure).title
        epsilon, ep, vit = attack_verdicts.published_lead("linf", "ep-cnn", "vit", figure)
        near = []
        for model in ("ep-cnn", "vit"):
            place = np.abs(found[model].index - EIGHT).argmin()
            near.append(f"{found[model]['mean'].iloc[place]:.1%}")
        parts.append(
            f"{title}, where it leads most ({strength('linf', epsilon)}): EP-CNN {ep:.1%}, ViT {vit:.1%}; at"
            f" ε ≈ {amount('linf', EIGHT)}: EP-CNN {near[0]}, ViT {near[1]}"
        )
    return Text(
        "**Published** (arXiv 2401.11543, CIFAR-10; one architecture, a ViT on 4×4 patches)."
        f" {'. '.join(parts)}. No ViT was evaluated under natural corruptions."
    )


def overview(found):
    """The table of networks: architecture, checkpoint, seeds, clean accuracy and accuracy under everything
    that is compared, in per cent, means over seeds, networks of others last. found: {measurement: {model:
    [Result]}}.
    """
    at = {m: points(found, m) for m in MEASURED}
    order = ["ep-cnn", "cnn"]
    for model in FINAL:
        order += [f"{model}-halfway", model]
    order += others.names()
    lines = []
    for model in (m for m in order if any(m in p for p in at.values())):
        results = [found[m][model] for m in MEASURED if model in found.get(m, {})]
        seeds = max(results, key=len)
        clean = next((at[m][model][0] for m in MEASURED if model in at[m]), None)
        cells = [at[m][model][1] if model in at[m] else None for m in MEASURED]
        lines.append((*_place(model), seeds_of(seeds), *map(_percent, (clean, *cells))))
    heads = [_head(found, m) for m in MEASURED]
    counts = ", ".join(
        f"{len(found[m]['ep-cnn'][0].image_ids)} {words}"
        for m, words in zip(MEASURED, heads, strict=True)
        if found.get(m, {}).get("ep-cnn")
    )
    note = (
        "Accuracy in per cent, means over the seeds of each column; – where it was not measured. Clean: on"
        f" the images of ℓ∞ PGD. Corruptions: mean over 18 types and all severities. Test images: {counts}."
    )
    return table(("network", "checkpoint", "seeds", "clean", *heads), lines, note)


def _place(model):
    """(architecture, checkpoint) in words."""
    if model in others.names():
        return pictures.name(model), "imported"
    if model == AUGMENTED:
        return pictures.name(AUGMENTED.removesuffix("-augmented")), "final, strong augmentation"
    halfway = model in HALFWAY
    return pictures.name(model.removesuffix("-halfway")), "half-trained" if halfway else "final"


def _head(found, measurement):
    if measurement == "corruptions":
        return "corruptions"
    norm = "l2" if measurement == "pgd-l2" else "linf"
    of = found.get(measurement, {}).get("ep-cnn")
    epsilon = verdicts.nearest(of[0], target(norm)) if of else target(norm)
    attack = "PGD" if measurement != "suite-linf" else suite_name(found[measurement]) if of else "suite"
    return f"{attack} {strength(norm, epsilon)}"


def _percent(value):
    return "–" if value is None else f"{100 * value:.1f}"


def comparisons(found, rivals):
    """The table behind the words: the EP-CNN's lead over every network in every comparison with the largest
    adjusted p, the word of each network, and what could be resolved. rivals: one family of Holm's method.
    """
    family, said = compared(found, rivals), each(found, rivals)
    lines = []
    for rival, by_measurement in family.items():
        cells = [
            "–" if m not in by_measurement else _lead(by_measurement[m], by_measurement[m].word)
            for m in COMPARISONS
        ]
        behind = " (under-trained)" if "is under-trained" in said[rival].sentence else ""
        lines.append((*_place(rival), *cells, f"{said[rival].networks}{behind}"))
    if not lines:
        return Text("None of these networks is stored with one of the comparisons yet.")
    tests = next(iter(next(iter(family.values())).values())).tests
    heads = [_head(found, m) for m in COMPARISONS]
    note = (
        "Lead of the EP-CNN in points, mean over seeds, and the largest of its p-values, exact McNemar under"
        f" attack and signed-rank over images under corruptions, Holm-adjusted over the {tests} tests of this"
        " table. Last column: the word of the rule."
    )
    return table(("network", "checkpoint", *heads, "more robust?"), lines, note)


def _lead(c, word):
    seeds = f", {len(c.ahead)} seeds" if len(c.ahead) > 1 else ", 1 seed"
    return f"{100 * np.mean(c.ahead):+.1f} (p {max(c.p_values):.2g}{seeds}; {word})"


def power(found, rivals=FINAL):
    """The smallest differences that the comparisons under attack could resolve, in words."""
    family = compared(found, rivals)
    parts = []
    for measurement in COMPARISONS:
        of = [by[measurement] for by in family.values() if measurement in by]
        limits = [c.resolved for c in of if c.resolved is not None]
        if limits:
            shares = [c.discordant for c in of]
            parts.append(
                f"under {under(found, measurement)}, on {of[0].n} images of which only one of a pair gets"
                f" {min(shares):.0%} to {max(shares):.0%} right, {_range(limits)}"
            )
    if not parts:
        return Text("Without a comparison under attack there is nothing to resolve.")
    return Text(
        "**What could be seen.** The smallest difference in accuracy between the EP-CNN and a transformer"
        f" that one pair of networks shows in {POWER:.0%} of cases at the strictest step of Holm's method:"
        f" {'; '.join(parts)}. A smaller difference may be there and is not seen: undecided does not mean"
        " equal."
    )


def _range(limits):
    """Resolved differences in points; 1.0 stands for none."""
    found = sorted(v for v in limits if v < 1)
    if not found:
        return "none"
    words = f"{100 * found[0]:.0f} to {100 * found[-1]:.0f} points"
    return words if len(found) == len(limits) else f"{words}, or none"


def two_checkpoints(found):
    """Whether the words of half-trained and trained networks of one architecture agree, a description."""
    final, half = each(found, FINAL), each(found, HALFWAY)
    both = [m for m in FINAL if m in final and f"{m}-halfway" in half]
    if not both:
        return Text("No architecture is stored at two checkpoints yet.")
    told = [
        f"{pictures.name(m)} {half[f'{m}-halfway'].networks}, then {final[m].networks}"
        for m in both
        if half[f"{m}-halfway"].networks != final[m].networks
    ]
    return Text(
        f"**Two checkpoints.** The word is the same half-way and at the end for {len(both) - len(told)} of"
        f" {len(both)} architectures"
        + (f"; another for {'; '.join(told)}" if told else "")
        + ". Half-trained networks are adjusted among themselves, and decide nothing about the claim."
    )


def smoothing(found):
    """What PGD and the suite leave of the strongly augmented network, of the same one without, and of the
    EP-CNN, on the same images: a description.
    """
    models = (AUGMENTED, AUGMENTED.removesuffix("-augmented"), "ep-cnn")
    chosen = {m: {k: found[m][k] for k in models if k in found.get(m, {})} for m in COMPARISONS[:2]}
    pairs, epsilon = black_box.outcomes(chosen, *COMPARISONS[:2])
    if AUGMENTED not in pairs:
        return Text(
            "The strongly augmented network is not stored with PGD and the suite on the same images yet."
        )
    told = []
    for model in (m for m in models if m in pairs):
        pgd, suite = (np.mean([pair[i].mean() for pair in pairs[model]]) for i in (0, 1))
        told.append(f"{pictures.name(model)} {pgd:.1%} and {suite:.1%}")
    return Text(
        f"**PGD beside {suite_name(found['suite-linf'])}**, accuracy on the same images at"
        f" {strength('linf', epsilon)}, means over seeds: {'; '.join(told)}. Where the second number is far"
        " smaller, PGD's was too good. A description and no verdict."
    )


def missing(shown, found):
    """What this page would show and is not stored, as entries of the campaign with the command that makes
    them. found: {measurement: {model: [Result]}}.
    """
    there = {(m, k, r.settings["seed"]) for m, of in found.items() for k, rs in of.items() for r in rs}
    wanted = {}
    for piece in campaign.pieces():
        ours = (piece.scale, piece.dataset) == (shown.scale, shown.dataset)
        listed = piece.measurement in MEASURED and piece.model in (*DRAWN, *HALFWAY)
        stored = (piece.measurement, piece.model, piece.seed) in there
        if ours and listed and piece.seed in shown.seeds and not stored:
            wanted.setdefault(piece.network.name, []).append(piece.measurement)
    if wanted:
        alike = {}
        for network, lacking in wanted.items():
            alike.setdefault(", ".join(sorted(lacking, key=MEASURED.index)), []).append(f"`{network}`")
        told = "; ".join(f"{lacking} of {', '.join(of)}" for lacking, of in alike.items())
        return Text(
            f"**Not stored yet**, entries of the campaign: {told}."
            f" `python -m eplib campaign run --scale {shown.scale} --budget 9m` goes on with them."
        )
    if not {*FINAL, *HALFWAY} & {model for _, model, _ in there}:
        return Text(
            f"No transformer is stored at {shown.scale} scale, and the campaign has none there: this page"
            " trains none."
        )
    return Text("Everything that the campaign lists for this page is stored.")


def limits(shown):
    """What these transformers can and cannot say, in words."""
    rows = scales.scale(shown.scale).others.get(shown.dataset, scales.scale(shown.scale).rows)
    final, ep = rows[TRANSFORMERS[0]].recipe, rows["ep-cnn"].recipe
    return Text(
        f"All {len(FINAL)} networks were trained from scratch on {final.images_seen:,} images, repetitions"
        f" included (the EP-CNN on {ep.images_seen:,}), with one recipe but for the strongly augmented one,"
        " and nothing was tuned for any of them. Transformers gain more than CNNs from many images and"
        " long training, so these say little about large ones. Pretrained transformers are not looked at:"
        " they saw other images, and a comparison would be about those too. One network with strong"
        " augmentation says nothing about others with it, and among the operations that it was trained with"
        " are brightness and contrast, which are corruptions too. The"
        f" {pictures.name(CONTROL)} has patches and no attention, so it is a control for attention alone."
    )

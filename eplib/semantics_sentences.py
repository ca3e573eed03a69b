"""What the page on semantic perturbations says: its answer, its definitions, tables, and what is missing."""

from dataclasses import replace

import numpy as np

from eplib import chapters, others, semantics_verdicts
from eplib import semantics_comparisons as comparisons
from eplib import semantics_figures as figures
from eplib.models import JUDGE_SEED, JUDGES
from eplib.pictures import name
from eplib.results import rows
from eplib.sentences import Text, table
from eplib.statistics import LEVEL

DEFINITIONS = (
    (
        "P1 shift of the robust judges",
        "change of z_target − z_true of networks that no attack has seen, mean of one trained adversarially"
        " in"
        " ℓ2 and one in ℓ∞",
        "yes",
    ),
    (
        "P2 gradient towards the class mean",
        "cosine of ∂z_target/∂x at the image and the mean training image of the target minus the image;"
        " one of several things that are called perceptual alignment of gradients",
        "yes",
    ),
    (
        "P3 low frequencies",
        "share of the power of the perturbation's Fourier transform at up to 8 cycles an image",
        "no better end",
    ),
    (
        "P4 class consistency",
        "probability that a perturbation has a larger cosine with one of the same target than with one of"
        " another; ½ by chance",
        "yes",
    ),
    (
        "P5 transfer asymmetry",
        "how much more often the EP-CNN's images fool the other network than the other's fool the EP-CNN, PGD"
        " in ℓ∞ at 8/255 or the measured ε nearest to it",
        "yes",
    ),
    ("S1 structural similarity", "SSIM of image and changed image, Gaussian window", "no better end"),
    (
        "S2 share on edges",
        "share of ‖δ‖² on the fifth of the pixels with the steepest brightness (Sobel)",
        "no better end",
    ),
    (
        "S3 sparsity and total variation",
        "Hoyer's (√n − ‖δ‖₁/‖δ‖₂)/(√n − 1); Σ|δ(p) − δ(q)| over neighbours, divided by ‖δ‖₁",
        "no better end",
    ),
    (
        "S3 inversion",
        "share of the images that a network makes of grey for a class which a judge takes for that class",
        "yes",
    ),
)


def judges(shown):
    """Train the judges at smoke scale, in seconds; at others they are entries of the campaign."""
    if shown.scale == "smoke":
        for judge in JUDGES:
            chapters.networks(replace(shown, seeds=(JUDGE_SEED,)), judge)


def gathered(shown):
    """(main, found, effect, budget): {model: [Result of "semantics", one a seed]} of EP-CNN and CNN, stored
    or measured now, and of all of `figures.NETWORKS` that are stored and networks of others; [Compared] of
    the EP-CNN with all of `figures.NETWORKS` but the untrained control, at matched effect and at matched
    budget.
    """
    judges(shown)
    main = chapters.outcomes(shown, ("ep-cnn", "cnn"), "semantics")
    found = main | chapters.stored(shown, "semantics", figures.NETWORKS)
    found |= others.measured(shown.scale, "semantics")
    transfers = chapters.stored(shown, "transfer", figures.NETWORKS)
    rivals = [m for m in figures.NETWORKS if m not in ("ep-cnn", figures.CONTROL)]
    both = (comparisons.all_compared(found, transfers, rivals, s) for s in figures.VIEWS.values())
    return main, found, *both


def claim(pick):
    """({rival: Verdict}, results it rests on) of the claim that perturbations are semantic, see
    `eplib.claims.Claim`.
    """
    main, found, effect, _ = gathered(pick({m: ("semantics",) for m in ("ep-cnn", "cnn")}))
    return {"CNN and ViT": semantics_verdicts.semantic(effect, found)}, main["ep-cnn"]


def definitions():
    """The measures as a table."""
    head = ("measure", "definition", "is a higher value more semantic?")
    note = (
        "P: primary, tested; S: supporting, shown. Real LPIPS and DISTS need networks trained on photographs,"
        " and CLIP its own weights; none is at hand without the network, so none is used."
    )
    return table(head, DEFINITIONS, note)


def answer(semantic, specific, badge):
    """The chapter's one-sentence answer from its two verdicts."""
    first = {
        "supported": "are more semantic than those of the CNN and the ViT",
        "contradicted": "are not more semantic than those of both the CNN and the ViT",
        "undecided": "are not shown to be more semantic than those of the CNN and the ViT",
    }[semantic.networks]
    second = {
        "supported": "and more than those of networks that are like it but for the learning rule",
        "contradicted": "and nothing about them is specific to Equilibrium Propagation",
        "undecided": "and whether anything about them is specific to Equilibrium Propagation is undecided",
    }[specific.networks]
    return Text(
        f"**In one sentence.** By the rule fixed beforehand, the perturbations of our EP-CNN {first},"
        f" {second} ({badge.dataset_name}, {badge.scale} scale)."
    )


def comparison_table(effect, budget):
    """The EP-CNN beside every rival in the five primary measures, at matched effect and at matched budget.
    effect, budget: [Compared] of `comparisons.all_compared`.
    """
    if not effect:
        return Text("Too few images are right in all networks for a comparison.")
    by = {(r.measure, r.rival, r.seed): (r, None) for r in effect}
    by |= {k: (by[k][0], r) for r in budget if (k := (r.measure, r.rival, r.seed)) in by}
    lines = []
    for rival, seed in dict.fromkeys((r.rival, r.seed) for r in effect):
        cells = [_cell(*by.get((m, rival, seed), (None, None))) for m in comparisons.PRIMARY]
        n = min(r.n for r in effect if (r.rival, r.seed) == (rival, seed))
        lines.append((name(rival), seed, n, *cells))
    head = ("EP-CNN beside", "seed", "images", *(f"{m} {words}" for m, words in comparisons.PRIMARY.items()))
    note = (
        "The EP-CNN's mean minus the other's at matched effect (twice the smallest change that reaches the"
        " target on each network), with its 95 % bootstrap interval; r: matched rank-biserial correlation,"
        " −1 to 1; p: permutation test on the same images, adjusted by Holm over the measures of a line;"
        f" whether that says the EP-CNN is ahead or behind (p < {LEVEL}); last, the same difference at"
        " matched budget, ℓ2 1, and its p. P2 does not depend on the length of a change, P5 has its own"
        " budget; – where it was not measured."
    )
    return table(head, lines, note)


def _cell(row, beside):
    if row is None:
        return "–"
    told = "not told apart" if row.p >= LEVEL else "ahead" if row.difference > 0 else "behind"
    said = (
        f"{row.difference:+.2g} ({row.low:.2g} to {row.high:.2g}), r {row.effect:+.2f}, p {row.p:.2g}: {told}"
    )
    if beside is None or row.measure in ("P2", "P5"):
        return said
    return f"{said}. At matched budget {beside.difference:+.2g}, p {beside.p:.2g}"


def network_table(found):
    """What stands beside the measures, a column a network."""
    images, models = figures.counted(found), figures.there(found)

    def line(words, measure):
        points = [
            figures.point(comparisons.values(found[m][0], measure, comparisons.EFFECT)[images[m]])
            for m in models
        ]
        return (words, *(figures.number(p[0]) for p in points))

    def inverted(judge):
        shares = [rows(found[m][0], "inversion", judge=judge).value.mean() for m in models]
        return (f"inversion: {name(judge)}", *(f"{v:.0%}" for v in shares))

    lines = [
        ("clean accuracy", *(f"{found[m][0].correct_clean.mean():.1%}" for m in models)),
        line("ℓ2 length", "length"),
        *(line(f"shift: {name(j)}", f"shift {j}") for j in JUDGES),
        *(line(f"agrees: {name(j)}", f"judged {j}") for j in JUDGES),
        *(inverted(j) for j in JUDGES),
        line("gradient towards the nearest image", "neighbour"),
        *(line(f"gradient beside: {name(j)}", f"judge_gradient {j}") for j in JUDGES),
        line("alignment after Etmann", "etmann"),
        line("slope of the spectrum", "slope"),
        line("class guessed", "guessed"),
    ]
    note = (
        "Means over the same images, targeted, at matched effect (twice the smallest change). Agrees: the"
        " share that a judge takes for the target. Inversion: the share of images synthesised from grey that"
        " a judge recognises; a tenth by chance among ten classes. Gradient towards the nearest image: the"
        " cosine as in P2, to the nearest training image of the target. Gradient beside: cosine of the"
        " gradients of z_target − z_true with the judge's. Alignment after Etmann: |⟨x, g⟩|/‖g‖ for the"
        " gradient of the lead of the top class (Etmann et al. 2019). Slope: of log power against log"
        " frequency. Class guessed: the share whose target is that of the nearest mean of all other"
        " perturbations; a tenth by chance."
    )
    return table(("", *map(name, models)), lines, note)


def lengths(found):
    """What matched effect leaves open, as a sentence with its numbers."""
    images, told = figures.counted(found), []
    for model in figures.there(found, ("ep-cnn", "cnn", "vit-8", "cnn-at-l2-0.5")):
        result = found[model][0]
        length = figures.point(comparisons.values(result, "length", comparisons.EFFECT)[images[model]])[0]
        shift = figures.point(comparisons.values(result, "shift robust", comparisons.EFFECT)[images[model]])[
            0
        ]
        if np.isfinite(length):
            told.append(f"{name(model)} {shift / length:.2f} (length {length:.2f})")
    return Text(
        "At matched effect a network that needs longer changes is given longer ones, and a longer change"
        " moves a judge further, whatever it draws; at matched budget it is the other way round, and a"
        " network that is easily fooled spends the same length far beyond its boundary. Hence both. Shift of"
        " the robust judges for each unit of length, at matched effect:"
        f" {', '.join(told) or 'nothing measured'}."
    )


def missing(found):
    """Which networks of the page are not measured, as a sentence; "" where none is."""
    absent = [name(m) for m in figures.NETWORKS if m not in found]
    if not absent:
        return Text("")
    return Text(
        f"**Not there yet** at this scale, and so in no comparison: {', '.join(absent)}. They are entries of"
        " the campaign (`python -m eplib campaign`), as the judges are; this page trains nothing else than"
        " EP-CNN and CNN, and judges at `smoke`."
    )

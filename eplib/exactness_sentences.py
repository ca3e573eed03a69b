"""What the page about numerical exactness says, composed from results of "exactness"."""

import numpy as np

from eplib import attack_figures, pictures, published
from eplib.checks import NORMS
from eplib.exactness import AGAIN, ALONE, BOOK
from eplib.exactness_verdicts import differing
from eplib.lockstep import APART, CONTROL, EXACT, HELD, LIVE
from eplib.results import rows
from eplib.sentences import Text, table
from eplib.statistics import wilson

NAMES = {  # of what is compared with float64, the finer format first
    EXACT: "float64",
    CONTROL: "float64, image\nchanged by 10⁻⁶",
    "float32": "float32",
    ALONE: "float32, one\nimage at a time",
    "tf32": "TF32",
    "float16": "float16",
    "bfloat16": "bfloat16",
}
COMPARED = [name for name in NAMES if name not in (EXACT, ALONE)]
ENOUGH = {
    "supported": "float32 is exact enough for these networks",
    "contradicted": "float32 is not exact enough for these networks",
    "undecided": "it is not shown that float32 is exact enough for these networks",
}
AS_WELL = {
    "supported": "an attack computed in bfloat16 leaves as many images right as one in float64",
    "contradicted": "an attack computed in bfloat16 leaves another share right than one in float64",
    "undecided": "it is not shown that an attack computed in bfloat16 leaves as many right as one in float64",
}


def flat(name):
    """One of `NAMES` on one line."""
    return NAMES[name].replace("\n", " ")


def summary(results, metric, **columns):
    """(mean over seeds of one number, the lowest low and the highest high), or None where one lacks it."""
    found = [rows(r, metric, **columns) for r in results]
    if any(t.empty for t in found):
        return None
    first = [t.iloc[0] for t in found]
    return float(np.mean([f.value for f in first])), min(f.low for f in first), max(f.high for f in first)


def phases(results):
    """[{"predict_steps", "order"}] of the free phases measured of an EP-CNN, its own first; [{}] of a
    feed-forward network.
    """
    s = results[0].settings
    if s["predict_steps"] is None:
        return [{}]
    every = dict.fromkeys([(s["predict_steps"], s["order"]), (s["sizes"]["long"], "synchronous")])
    return [{"predict_steps": steps, "order": order} for steps, order in every]


def phase_name(phase):
    """A free phase in words."""
    return f"{phase['predict_steps']} {phase['order']} steps"


def imitated(found):
    """Which formats the machine imitated, as a sentence; "" where it has all of them."""
    tables = [r.table for results in found.values() for r in results]
    names = [n for n in COMPARED if any(t[t.precision == n].emulated.any() for t in tables)]
    return f"Imitated by rounding around float32: {' and '.join(map(flat, names))}." if names else ""


def about(found, badge):
    """The end of a caption: what a figure is made from."""
    parts = (f"{badge.text}.", attack_figures.fewer(found, badge), imitated(found))
    return " ".join(part for part in parts if part)


def answer(said, results, badge):
    """The answer of the page in one sentence. said: {"float32": Verdict, "bfloat16": Verdict} of `results`
    of the EP-CNN, one a seed.
    """
    found = [differing(r, BOOK) for r in results]
    (k, n), (l, m) = (
        map(sum, zip(*counts, strict=True))
        for counts in ([c for classes, _ in found for c in classes], [outcome for _, outcome in found])
    )
    return Text(
        f"**In one sentence.** By the rules below, {ENOUGH[said['float32'].networks]}, of which {k} of {n}"
        f" classes and {l} of {m} outcomes under attack differ from float64's, and"
        f" {AS_WELL[said['bfloat16'].networks]} ({badge.dataset_name}, {badge.scale} scale)."
    )


def paper():
    """What the paper says of numerical exactness, and what its files record, in words."""
    s = published.settings("cifar10", "ep-cnn")
    recorded = [key for key in s if "precision" in key or "format" in key]
    known = (
        f"Its published settings record {', '.join(recorded)}."
        if recorded
        else "Its published settings record no number format."
    )
    return Text(
        "**The paper** (arXiv 2401.11543) names numerical exactness among the limitations of networks that"
        f" have to settle, and published no measurement of it. Its networks settle for {s['free_steps']}"
        f" {s['order']} steps. {known} Its main script leaves PyTorch's default, float32; whether"
        " convolutions then rounded to TF32 depends on the library's default and on the graphics card,"
        " which is not among the settings either."
    )


def why(results):
    """Whether another arg-max is why states part from float64's, in words. results: of the EP-CNN, one a
    seed.
    """
    told, apart, switched = [], 0, 0
    for phase in phases(results):
        words = []
        for name in COMPARED:
            live = {"precision": name, "arg_max": LIVE, **phase}
            came, before, _ = _apart(results, live)
            apart, switched = apart + came, switched + before
            held = summary(results, "units_differ", **(live | {"arg_max": HELD}))
            if held:
                units = summary(results, "units_differ", **live)
                words.append(f"{flat(name)} {units[0]:.2%} and {held[0]:.2%}")
        told.append(f"after {phase_name(phase)} {', '.join(words)}")
    first = (
        f"In {switched} of the {apart} times that an image came apart by more than {APART:g} in some unit, an"
        " active arg-max had switched at an earlier step."
        if apart
        else f"No image came apart by more than {APART:g} in any unit."
    )
    return Text(
        f"**Is it the arg-max?** {first} Units that differ at the end, with each format's own arg-max and"
        f" with float64's held in place: {'; '.join(told)}."
    )


def _apart(results, live):
    """(images that came apart, of them after a switch, all images) over the seeds."""
    found = [rows(r, "switched_before", **live) for r in results]
    counts = [(int(t.n.iloc[0]), round(t.value.iloc[0] * t.n.iloc[0])) for t in found if not t.empty]
    apart, switched = (sum(c[i] for c in counts) for i in (0, 1))
    return apart, switched, sum(len(r.image_ids) for r in results)


def states(results):
    """The table of free phases by format: logits, arg-max, which images come apart and when, residual.

    results: of the EP-CNN, one a seed.
    """
    head = [
        "",
        "phase",
        "largest logit difference",
        "another arg-max",
        "come apart",
        "after step",
        "residual",
    ]
    lines = []
    for phase in phases(results):
        for name in (EXACT, *COMPARED):
            live = {"precision": name, "arg_max": LIVE, **phase}
            residual = f"{summary(results, 'residual', **live)[0]:.2g}"
            cells = ["–"] * 4
            if name != EXACT:
                logit, pattern, step = (
                    summary(results, m, **live)[0]
                    for m in ("logit_difference", "pattern_differs", "apart_after")
                )
                apart, _, n = _apart(results, live)
                when = "never" if np.isinf(step) else f"{step:.0f}"
                cells = [f"{logit:.1e}", f"{pattern:.1%}", f"{apart} of {n}", when]
            lines.append((flat(name), phase_name(phase), *cells, residual))
    note = (
        "Medians over images, means over seeds. “Another arg-max”: the share of images in which, at the"
        " end, a unit that is active won another place of its pooling window. “Come apart”: images in which"
        f" some unit differed by more than {APART:g} at some step; “never”: not in half of them."
    )
    return table(head, lines, note)


def slopes(found):
    """The table of input gradients by network and format. found: {model: [Result, one a seed]}."""
    head = ["", "format", "cosine", "cosine, dithered image", "same sign", "length ratio", "gradient zero"]
    metrics = ("gradient_cosine", "dithered_cosine", "sign_agreement", "norm_ratio", "zero_gradient")
    lines = []
    for model, results in found.items():
        for name in COMPARED:
            values = [summary(results, m, precision=name)[0] for m in metrics]
            cells = [f"{v:.4f}" for v in values[:2]] + [f"{values[2]:.1%}", f"{values[3]:.3f}"]
            lines.append((pictures.name(model), flat(name), *cells, f"{values[4]:.0%}"))
    note = (
        "Of the cross-entropy's gradient in the image, beside float64's: medians over images, means over"
        " seeds. Dithered: the image mixed with 1/255 of noise, so that no two pixels are equal."
    )
    return table(head, lines, note)


def ties(found):
    """Whether float32's gradient and outcomes differ because windows are tied, in words. found: as of
    `slopes`.
    """
    told = []
    for model, results in found.items():
        cosines = [summary(results, m, precision=BOOK)[0] for m in ("gradient_cosine", "dithered_cosine")]
        words = f"{pictures.name(model)} {cosines[0]:.4f}, on dithered images {cosines[1]:.6f}"
        both = [r for r in results if not rows(r, "dithered_outcome_differs").empty]
        if both:
            plain, dithered = (
                counted(both, m, precision=BOOK, judge="own", against=EXACT)
                for m in ("outcome_differs", "dithered_outcome_differs")
            )
            seeds = ", ".join(str(r.settings["seed"]) for r in both)
            words += (
                f"; outcomes that differ (seed {seeds}) {plain[0]} of {plain[1]}, on dithered images"
                f" {dithered[0]} of {dithered[1]}"
            )
        told.append(words)
    return Text(
        f"**Ties.** Median cosine of float32's gradient with float64's: {'. '.join(told)}. Where pixels are"
        " equal, as in a black border, the four places of a max-pooling window are tied. Any of them may"
        " carry the gradient, none is more exact than another, and rounding chooses, so the attack sets out"
        " in another direction. The dithered images have no ties and show what is left then. (Their outcomes"
        " were added after the first numbers, as an explanation; no rule looks at them.)"
    )


def counted(results, metric, **columns):
    """(images for which a share counts, all images) over the seeds."""
    found = [rows(r, metric, **columns).iloc[0] for r in results]
    return sum(round(f.value * f.n) for f in found), int(sum(f.n for f in found))


def one_by_one(found):
    """What changes when images are computed one at a time, or once more, in words. found: as of `slopes`."""
    told = []
    for model, results in found.items():
        counts = [counted(results, m, precision=ALONE) for m in ("class_differs", "outcome_differs")]
        again = counted(results, "identical", precision=AGAIN)[0]
        high = wilson(*counts[1])[1]
        told.append(
            f"{pictures.name(model)}: one at a time {counts[0][0]} of {counts[0][1]} classes and"
            f" {counts[1][0]} of {counts[1][1]} outcomes differ from those of the batch (outcomes: at most"
            f" {high:.1%} by the 95 % interval); once more, {again} of {counts[0][1]} images have bitwise"
            " the same logits and attacked pixels"
        )
    return Text("**Batches and repetition,** in float32. " + "; ".join(told) + ".")


def limits(found):
    """What these numbers cannot show, in words. found: as of `slopes`."""
    result = next(iter(found.values()))[0]
    n, s = len(result.image_ids), result.settings["sizes"]
    high = wilson(0, n)[1]
    return Text(
        f"With {n} images a network, “none differs” still allows {high:.0%} by the 95 % interval. One"
        f" attack, PGD with {NORMS[s['norm']]} ε = {s['epsilon']:.3g}, stands for all; near another ε other"
        " images decide. Wider networks sum more products in each unit, deeper ones pass errors on more"
        f" often. Training is not repeated in other formats here. {imitated(found)} Another machine sums in"
        " another order, so expect differences of this size there, not these."
    )

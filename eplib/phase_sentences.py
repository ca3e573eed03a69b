"""What the page about the free-phase steps says, composed from published numbers, results and the verdict."""

import numpy as np

from eplib import phase_verdicts, published, statistics
from eplib.masking_verdicts import target
from eplib.phase_horizons import published_curve
from eplib.phase_lengths import NOT_JUDGED, SETTLED
from eplib.pictures import name
from eplib.sentences import Text, table
from eplib.verdicts import LEVEL, nearest

WORDS = {
    "supported": "keeps more images right than the same network asked early",
    "contradicted": "keeps fewer images right than the same network asked early",
    "undecided": "is not shown to keep more or fewer images right than the same network asked early",
}
FAR = 1.0  # ℓ2 ε of the second published number, where most images are broken


def answer(verdict, results, badge):
    """The answer of the page in one sentence. results: of "horizons", one a seed, that the verdict is on."""
    short, long = phase_verdicts.compared(results)
    epsilon = nearest(results[0], target())
    own, worst = (
        {
            t: np.mean([phase_verdicts.at_length(r, epsilon, t)[i].mean() for r in results])
            for t in (short, long)
        }
        for i in (1, 2)
    )
    beside = f", and {own[short]:.1%} after {short}" if short != long else ""
    worse = " and ".join(f"{worst[t]:.1%}" for t in dict.fromkeys((long, short)))
    beside += f" (under the worst attack of all horizons {worse})"
    return Text(
        f"**In one sentence.** Under an attack through its own free phase, a network that is left to settle"
        f" {WORDS[verdict.networks]}: {own[long]:.1%} of the images after {long} steps{beside}, at ℓ2 ε ="
        f" {epsilon:.3g} ({badge.dataset_name}, {badge.scale} scale)."
    )


def question():
    """The paper's question and its numbers, in words."""
    curve, steps = published.free_step_curve(), (4, 10, 30, 60)
    last = curve.index[-1]
    clean = ", ".join(f"{curve['mean'][t]:.1%} after {t}" for t in steps)
    told = []
    for epsilon in (target(), FAR):
        rows = published_curve(epsilon)
        first, longest, least = rows.index[0], rows.index[-1], rows["mean"].idxmin()
        lowest = "" if least in (first, longest) else f", {rows['mean'][least]:.1%} through {least:.0f}"
        told.append(
            f"at ε = {rows.attrs['epsilon']:.3g} {rows['mean'][first]:.1%} through {first:.0f} steps{lowest}"
            f" and {rows['mean'][longest]:.1%} through {longest:.0f}"
        )
    return Text(
        "**The question**, an open one in arXiv 2401.11543: what do the steps of the free phase do for"
        f" robustness? **Published** (CIFAR-10): its EP-CNN predicts after {last} synchronous steps; without"
        f" an attack its accuracy is {clean} and {curve['mean'][last]:.1%} after {last}. Its ℓ2 PGD"
        f" differentiates through fewer steps than the prediction takes; accuracy left {'; '.join(told)}. No"
        f" published attack was judged after another number of steps than {last}."
    )


def lengths_table(found):
    """Every length of "phase-lengths" as a table of words, means over seeds: {model: [Result, one a seed]},
    the EP-CNN first and networks of others by their names.
    """
    lines = []
    for model, results in found.items():
        start = f"{name(model)}, " if lines else ""
        lines += [(f"{start}{steps}", *cells) for steps, cells in _by_length(results)]
    counts = {m: f"{len(rs)} seed{'s' * (len(rs) > 1)}" for m, rs in found.items()}
    first, *more = counts.items()
    sizes = found[first[0]][0].settings["sizes"]
    head = ("steps", "clean", "not settled", "Square", "broken by C&W", "median ℓ2 of C&W")
    note = (
        f"Per cent, means over {first[1]}{''.join(f', of {name(m)} {n}' for m, n in more if n != first[1])};"
        " not settled: some unit still"
        f" moves by 0.001 or more. Square: ℓ∞ ε = {255 * sizes['epsilon']:.3g}/255, {sizes['queries']:,}"
        f" queries. Also break after {SETTLED}: of the images broken by C&W that are right after {SETTLED}"
        " steps, those whose change breaks the network then too."
    )
    return table((*head, f"also break after {SETTLED}", "ms a gradient and image"), lines, note)


def _by_length(results):
    """(steps, cells) for every length of one network."""
    for i, steps in enumerate(results[0].settings["sizes"]["lengths"]):
        norms = np.concatenate([r.arrays["minimal_norm"][i][r.correct[2 * i]] for r in results])
        median = np.median(norms) if len(norms) else np.nan
        judged, broken = transferred(results, i)
        cells = [f"{100 * np.mean([r.correct[2 * i + k].mean() for r in results]):.1f}" for k in (0, 1)]
        cells.insert(1, f"{100 * _mean(results, 'unsettled', steps):.1f}")
        cells += [f"{np.isfinite(norms).sum()} of {len(norms)}"]
        cells += [f"{median:.3g}" if np.isfinite(median) else "not found" if len(norms) else "–"]
        cells += [f"{broken} of {judged}" if judged else "–"]
        cells += [f"{1e3 * _mean(results, 'gradient_seconds', steps):.3g}"]
        yield steps, cells


def transferred(results, place):
    """(judged, broken): of the images that C&W broke at the length of this place and that are right after
    `SETTLED` steps, how many there are and how many are broken then too, over all seeds.
    """
    every = np.concatenate([r.arrays["transferred"][place] for r in results])
    return int((every != NOT_JUDGED).sum()), int((every == 1).sum())


def _mean(results, metric, steps):
    tables = [r.table[(r.table.metric == metric) & (r.table.predict_steps == steps)] for r in results]
    return float(np.mean([t.value.iloc[0] for t in tables]))


def transfer_words(results):
    """Whether changes found on a shorter free phase break the settled network, in words."""
    told = [
        f"{broken} of {judged} from {steps} steps"
        for place, steps in enumerate(results[0].settings["sizes"]["lengths"])
        for judged, broken in [transferred(results, place)]
        if judged
    ]
    if not told:
        return Text(
            "C&W broke no image that the settled network gets right, so no change can be judged there."
        )
    return Text(
        "**Does a change found early break the settled network?** Of the changes that C&W found, these also"
        f" break it after {SETTLED} steps: {', '.join(told)}. C&W stops as soon as"
        " the network it attacks gives way, so its images lie just beyond that network's boundary, and a"
        " boundary that moves a little in the steps that follow is enough to undo a change. A high share"
        " means that the early boundary is already the settled one where it was crossed."
    )


def search_words(results):
    """Whether C&W finds fewer changes the longer the free phase, on the same images, and what Square leaves,
    in words.
    """
    lengths, found, left = results[0].settings["sizes"]["lengths"], [], []
    for i in range(len(lengths)):
        norms = np.concatenate([r.arrays["minimal_norm"][i][r.correct[2 * i]] for r in results])
        found.append((int(np.isfinite(norms).sum()), len(norms)))
        left.append(np.mean([r.correct[2 * i + 1].mean() for r in results]))
    told = ", ".join(f"{a} of {b} after {t} steps" for t, (a, b) in zip(lengths, found, strict=True))
    right, broken = (
        [np.concatenate([of(r.arrays["minimal_norm"][place]) for r in results]) for place in (0, -1)]
        for of in (lambda norms: norms > 0, np.isfinite)
    )
    early, late = (b[right[0] & right[1]] for b in broken)
    compared = (
        f"Of the {len(early)} that are right after {lengths[0]} and after {lengths[-1]} steps it broke"
        f" {early.sum()} and {late.sum()} (exact McNemar p {statistics.mcnemar(early, late):.2g}, all seeds"
        " together)."
    )
    if late.sum() < early.sum() and statistics.mcnemar(early, late) < LEVEL:
        compared += (
            " At the longer phase its gradient leads less well, or changes are longer than its search"
            " reaches; either way what it leaves there is the more an upper bound."
        )
    return Text(
        f"**How well do gradients lead?** Enough change breaks every image, as it can turn it into one of"
        f" another class; what C&W does not find is a failure of its search. It broke {told}. {compared}"
        f" Square, which needs no gradient, leaves {left[0]:.1%} after {lengths[0]} steps and"
        f" {left[-1]:.1%} after {lengths[-1]}."
    )


def cost_words(results):
    """What a gradient costs at the shortest and the longest phase, and how many images have not settled."""
    lengths = results[0].settings["sizes"]["lengths"]
    short, long = lengths[0], lengths[-1]
    quick, slow = (_mean(results, "gradient_seconds", t) for t in (short, long))
    moving = ", ".join(f"{_mean(results, 'unsettled', t):.0%} after {t}" for t in lengths)
    return Text(
        f"A gradient through {long} steps took {slow / quick:.1f} times as long as one through {short}"
        f" ({1e3 * slow:.3g} and {1e3 * quick:.3g} ms an image on {results[0].record['device']}). The share"
        f" of images whose state still moves: {moving}. What moves has no equilibrium yet, so the exact"
        " gradient through the steps is used here at every length and no adjoint."
    )


def missing(horizons, lengths):
    """[what the page would show and is not measured at this scale, in sentences]."""
    said = []
    measured, sizes = lengths[0].settings["sizes"]["lengths"], horizons[0].settings["sizes"]
    scale = lengths[0].settings["scale"]
    if SETTLED not in measured:
        said.append(
            f"Square and C&W were run on free phases of up to {measured[-1]} steps; the paper's {SETTLED}"
            f" steps are in the sizes of scale cpu, not of {scale}."
        )
    attacked = [tuple(a) for a in sizes["attacked"]]
    if (SETTLED, "unrolled") not in attacked and (SETTLED, "adjoint") in attacked:
        said.append(
            f"At {scale} scale the prediction after {SETTLED} steps is attacked by the adjoint, the gradient"
            " of the settled state; where a state has not settled the gradient through all steps takes its"
            f" place. The exact gradient through {SETTLED} steps is in the sizes of scale cpu."
        )
    elif (SETTLED, "unrolled") not in attacked:
        said.append(
            f"At {scale} scale the prediction after {SETTLED} steps is not attacked through its own steps;"
            " the sizes of scale cpu do that."
        )
    return [Text(sentence) for sentence in said]


def limits(horizons, lengths):
    """What the sizes of both measurements leave open, in words."""
    n, few = len(horizons[0].image_ids), len(lengths[0].image_ids)
    low, high = statistics.wilson(n // 2, n)
    steps, order = (horizons[0].settings[k] for k in ("predict_steps", "order"))
    trained = (
        "the order it was trained in"
        if order == "synchronous"
        else f"while the network was trained to predict after {steps} {order} steps: lengths are compared as"
        " the paper counts them, and not at the settings where this network is best"
    )
    return Text(
        f"PGD at both horizons looks at {n} images a network, Square and C&W at {few}; an accuracy near one"
        f" half of {n} images is known to within {100 * (high - low) / 2:.0f} points. All steps are"
        f" synchronous, {trained}. Each length is attacked by one PGD without restarts; a stronger attack"
        " could change one length more than another, and the page on gradient masking asks whether it does."
    )

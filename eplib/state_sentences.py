"""What the page about the boundary says of planes, states and filtering, composed from results."""

import numpy as np

from eplib import filtering, slices, state_space, uncertainty
from eplib.filtering_figures import TITLES, medians
from eplib.pictures import name
from eplib.results import rows
from eplib.sentences import Text, table
from eplib.uncertainty_sentences import exponent_cell

KICK_WINDOW = uncertainty.Window(5, 0.2)  # above, the slope flattens because nearly every start changes
METRICS = ("classes", "dimension", "exponent", "basin_entropy", "boundary_entropy")


def slices_table(results):
    """Means over images of what the planes of every network show. results: {model: Result of "slices"}."""
    lines = []
    for model, result in results.items():
        for kind in slices.KINDS:
            found = [rows(result, metric, plane=kind).value.mean() for metric in METRICS]
            cells = [f"{v:.2f}" if np.isfinite(v) else "–" for v in found]
            where = "three images" if kind == "images" else "attack"
            lines.append((f"{name(model)}, {where}", f"{found[0]:.1f}", *cells[1:]))
    head = ("plane", "classes", "box dimension", "α inside", "basin entropy", "boundary entropy")
    note = (
        f"Means over {len(next(iter(results.values())).image_ids)} planes. A smooth boundary has dimension 1"
        " and α = 1. A boundary basin entropy above log 2 = 0.69 cannot come from a smooth boundary between"
        " two classes."
    )
    return table(head, lines, note)


def ragged_planes(results):
    """How ragged the planes of every network are, in words. results: {model: Result of "slices"}."""
    every = [v for r in results.values() for v in rows(r, "boundary_entropy").value.dropna()]
    above = sum(v > slices.FRACTAL for v in every)
    told = []
    for model, result in results.items():
        found = rows(result, "dimension").value.dropna()
        if len(found):
            told.append(f"{name(model)} {found.min():.2f} to {found.max():.2f}")
    if not told:
        return Text("No plane has a boundary that boxes of several sizes can be counted on.")
    return Text(
        f"**Planes**, looked at afterwards and no verdict: box-counting dimensions are {'; '.join(told)}."
        f" {above} of {len(every)} planes have a boundary basin entropy above log 2, which is sufficient for"
        " a fractal and not necessary. Where three classes meet, boxes of a few cells see more than a line,"
        " so a dimension a little above 1 is no fractal."
    )


def kick_exponent(result, metric="end_changed"):
    """`Exponent`, or None, of kicked random starts that end elsewhere, images as clusters."""
    changed = result.arrays[metric]
    trials = changed.shape[1]
    return uncertainty.exponent(state_space.KICKS, changed.sum(1), trials, KICK_WINDOW)


def state_table(results):
    """What starts end in, by network and order, as a table. results: {model: [Result of "state-space"]}."""
    lines = []
    for model, every in results.items():
        for r in every:
            for order in dict.fromkeys(r.table.order.dropna()):
                value = {m: rows(r, m, order=order).value.iloc[0] for m in _SHARES}
                cells = [f"{value[m]:.1%}" for m in _SHARES]
                cells.append(f"{rows(r, 'attractors', order=order).value.iloc[0]:.1f}")
                own = order == r.settings["order"]
                cells.append(exponent_cell(kick_exponent(r)) if own else "–")
                lines.append((f"{name(model)}, seed {r.settings['seed']}, {order}", *cells))
    head = ("network, order", "at rest", "period two", "moving", "several attractors", "several classes")
    head = (*head, "same class as from zero", "attractors", "α of states")
    first = next(iter(results.values()))[0]
    sizes, n = first.settings["sizes"], len(first.image_ids)
    note = (
        f"{n} images, {sizes['starts']} random starts each and from zero, from all ones and from another"
        f" image's equilibrium, up to {sizes['steps']} steps. At rest, period two, moving and same class:"
        " shares of starts; several: shares of images. α of states: the exponent of kicked random starts that"
        f" end elsewhere, fitted where at most {KICK_WINDOW.highest:.0%} do;"
        " below 1 the basins' boundary is fractal or worse at these sizes."
    )
    return table(head, lines, note)


_SHARES = ("at_rest", "period_two", "moving", "several_attractors", "several_classes", "agreement")


def state_words(results):
    """Whether the state space has several attractors and what that means for the exponent, in words.

    results: [Result of "state-space"], one a seed, of one network.
    """
    own = [r.settings["order"] for r in results]

    def mean(metric):
        return np.mean([rows(r, metric, order=o).value.iloc[0] for r, o in zip(results, own, strict=True)])

    several, classes, moving = (mean(m) for m in ("several_attractors", "several_classes", "moving"))
    fits = [kick_exponent(r) for r in results]
    found = [e for e in fits if e]
    said = (
        "no exponent of the states is identifiable"
        if not found
        else "the exponent of the states is "
        + ", ".join(f"{e.alpha[0]:.2f}" for e in found)
        + (
            ", clearly below 1 in every network"
            if all(e.alpha[2] < 1 for e in found) and len(found) == len(fits)
            else ""
        )
    )
    kind = "multistable" if several > 0.5 else "mostly monostable"
    return Text(
        f"**The state space** is {kind}: {several:.0%} of the images have more than one attractor, for"
        f" {classes:.0%} the starts disagree about the class, and {moving:.0%} of the starts still move at"
        f" the end; {said}. A prediction always starts from zero, so it meets the boundary between basins"
        " only where the way from zero comes close to it; there a small change of the image sends it into"
        " another attractor, of the same class or of another."
    )


def filtering_words(results):
    """Which kinds and sizes of perturbations shrink, and where that ends, in words."""
    lengths = results[0].settings["sizes"]["lengths"]
    told = []
    for kind, cells in zip(filtering.KINDS, medians(results, "first layer"), strict=True):
        shrinks = [level for level, v in zip(filtering.LEVELS, cells[:, -1], strict=True) if v < 1]
        said = f"at {_levels(shrinks)}" if shrinks else "at no size"
        told.append(f"{TITLES[kind]} {said} (×{cells[:, -1].min():.2f} to ×{cells[:, -1].max():.2f})")
    whole = medians(results, "state")[:, :, -1]
    logits = medians(results, "logits")[:, :, -1]
    further = np.mean([_further(r) for r in results])
    return Text(
        f"**Where filtering ends.** In the first layer, which hears the image at once, the feedback of"
        f" {lengths[-1]} steps shrinks perturbations of these kinds: {'; '.join(told)}. The whole state also"
        f" holds what travels upwards; there the factors are {whole.min():.2f} to {whole.max():.2f}. From"
        f" {lengths[0]} steps on, when the read-out has first heard of the image, the distance of the logits"
        f" is multiplied by {logits.min():.2f} to {logits.max():.2f}. Logits themselves grow while the"
        " network settles, so a factor above 1 there is not yet a wrong answer."
        f" Of two random perturbations, one {filtering.LEVELS[-1] // filtering.LEVELS[0]} times as large as"
        f" the other, the states end {further:.1f} times as far apart; a response in proportion would be"
        f" {filtering.LEVELS[-1] // filtering.LEVELS[0]} times."
    )


def _further(result):
    """How much further apart states end by the largest random perturbation than by the smallest, medians."""
    moved = result.arrays["moved"][filtering.KINDS.index("random"), :, -1, filtering.PARTS.index("state")]
    return float(np.median(moved[-1].astype(float)) / np.median(moved[0].astype(float)))


def _levels(levels):
    runs = list(levels)
    if runs == list(filtering.LEVELS):
        return "every size"
    return ", ".join(str(v) for v in runs) + "/255"

"""What the page about the boundary says, composed from results and verdicts."""

import numpy as np

from eplib import uncertainty, uncertainty_networks
from eplib.pictures import name
from eplib.sentences import Text, table
from eplib.uncertainty_networks import RATIO_SHARE, association, random_exponent, window

HYPOTHESIS = {
    "supported": "networks with a larger uncertainty exponent keep more images right under attack",
    "contradicted": "networks with a larger uncertainty exponent keep fewer images right under attack",
    "undecided": "no relation between a network's uncertainty exponent and its robustness is shown",
}
FILTERS = {
    "supported": "settling shrinks small random perturbations",
    "contradicted": "settling amplifies small random perturbations",
    "undecided": "settling is not shown to shrink or amplify small random perturbations throughout",
}
FRACTAL = {
    "supported": "the EP-CNN's boundary stays ragged at every enlargement that was tried",
    "contradicted": "what is ragged in the EP-CNN's boundary becomes smooth when it is enlarged",
    "undecided": "whether the EP-CNN's boundary stays ragged when it is enlarged is not shown",
}
STAYS = "whether it stays so at every enlargement is undecided"
EXPECTED = ("ep-cnn", "cnn", "cnn-at-l2-0.5", "vit-8", "twin-untrained")


def answer(hypothesis, fractal, filters, ragged, badge):
    """The answer of the page in one sentence, from its three verdicts. ragged: of
    `uncertainty_verdicts.ragged`.
    """
    boundary = FRACTAL[fractal.networks]
    if ragged and fractal.networks == "undecided":
        boundary = f"the EP-CNN's boundary is ragged, enlarged {_times(ragged)}, and {STAYS}"
    return Text(
        f"**In one sentence.** Among the networks stored, {HYPOTHESIS[hypothesis.networks]};"
        f" {boundary}; and in the EP-CNN {FILTERS[filters.networks]}"
        f" ({badge.dataset_name}, {badge.scale} scale)."
    )


def question():
    """The paper's question, in words."""
    return Text(
        "**The question**, an open one in arXiv 2401.11543: is the robustness of networks trained with"
        " Equilibrium Propagation a matter of the boundary between their classes, as the *uncertainty"
        " exponent* α of dynamical systems would measure it, f(ε) ≈ C ε<sup>α</sup>, f the share of points"
        " whose class changes when they are moved by ε? The paper publishes no number for it, so there is"
        " none to set beside ours."
    )


def enlargements(by_model):
    """At which enlargements the boundaries of every kind of network are ragged, in words.

    by_model: {model: `uncertainty_verdicts.ragged`}.
    """
    told = [
        f"{name(model)} {f'enlarged {_times(found)}' if found else 'at none'}"
        for model, found in by_model.items()
    ]
    return Text(
        "**Enlargements** at which the exponent inside the planes certainly lies below that of a smooth"
        f" boundary (looked at one by one, so a description and no verdict): {'; '.join(told)}."
    )


def _times(found):
    *most, last = [str(v) for v in found]
    return f"{', '.join(most)} and {last} times" if most else f"{last} times"


def interval(found, digits=2):
    """A value with its interval, as a cell; "–" without one."""
    value, low, high = found
    if not np.isfinite(value):
        return "–"
    if not np.isfinite(low):
        return f"{value:.{digits}f}"
    return f"{value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def exponent_cell(found):
    """An exponent with its interval, and whether it is one; "not identifiable" without a fit."""
    if found is None:
        return "not identifiable"
    return interval(found.alpha) + ("" if found.scales else ", no scaling regime")


def controls_table(controls, ratios):
    """Every control as a table: what it should give, and what it gave."""
    lines = [
        (c.name, f"{c.expected:g} ± {c.tolerance:g}", exponent_cell(c.found), "yes" if c.passes else "no")
        for c in controls
    ]
    for rule, expected, tolerance in (("two-sided", 1.25, 0.03), ("one-sided", 2.51, 0.05)):
        value = ratios[rule][0]
        passes = "yes" if abs(value - expected) <= tolerance else "no"
        words = f"ρ of a plane, k = 0, {rule}"
        lines.append((words, f"{expected} ± {tolerance}", interval(ratios[rule]), passes))
    note = (
        "k: the points' distances from the plane have a density proportional to their k-th power, in 3,072"
        " dimensions. In brackets 95 % intervals by the bootstrap over points."
    )
    return table(("boundary", "should be", "found", "passes"), lines, note)


def bias_words(result):
    """Which window the networks' exponents in random directions are fitted in, and how far off it is."""
    used, sizes = window(result), result.settings["sizes"]
    trials = len(result.image_ids) * sizes["directions"]
    wide = used.fewest < used.highest * trials
    off = [uncertainty.bias(used, trials, power=k) for k in (0, 1, 2)] if wide else []
    told = (
        "For a plane in as many dimensions this window gives an exponent that is off by"
        f" {off[0]:+.3f}, {off[1]:+.3f} and {off[2]:+.3f} for k = 0, 1 and 2."
        if wide
        else "With so few outcomes no ε can meet both, so there is no such fit at this size."
    )
    how = (
        f"placed by a pilot of {min(sizes['pilot'], len(result.image_ids))} images"
        if sizes["pilot"]
        else "spread over the whole range"
    )
    return Text(
        f"**The window.** Exponents in random directions are fitted where at least {used.fewest} of the"
        f" {trials:,} outcomes change and at most {used.highest:.0%} do, at {sizes['points']} ε {how}."
        f" {told} The exponent of smallest"
        f" changes is fitted where {uncertainty.TAIL[0]:.0%} to {uncertainty.TAIL[1]:.0%} of the images"
        " change; it needs no directions and is the primary one. A fit with fewer than"
        f" {uncertainty.FEWEST_POINTS} ε over less than a decade is *not identifiable*; where the slope"
        f" clearly changes within the window, by more than {uncertainty.BENT}, there is *no scaling regime*."
    )


def exponents_table(found):
    """Every `Network` as a line of a table."""
    lines = []
    for n in found:
        rho = [interval(n.ratio[q]) if n.ratio else "–" for q in uncertainty.SHARES]
        hill = f"{n.hill:.2f}" if np.isfinite(n.hill) else "–"
        spoilt = f"{n.corrupted:.1%}" if np.isfinite(n.corrupted) else "–"
        left = f"{n.robust:.1%}" if np.isfinite(n.robust) else "–"
        cells = (exponent_cell(n.adversarial), hill, f"{n.near:.3g}", exponent_cell(n.random), *rho)
        lines.append((f"{name(n.model)}, seed {n.seed}", *cells, f"{n.clean:.1%}", left, spoilt))
    head = ("network", "α, smallest change", "Hill", f"ε at {RATIO_SHARE:.0%}", "α, random directions")
    head = (*head, *(f"ρ at {q:.0%}" for q in uncertainty.SHARES), "clean", "ℓ2 PGD", "corruptions")
    note = (
        "Hill: maximum-likelihood exponent of the same distances, a cross-check. ε: ℓ2, pixels in [0, 1]. ρ:"
        " the ε at which a random direction changes so many images, over √3072 and the ε at which the"
        " smallest change does; a flat boundary has 1.25, less is a boundary that curves towards the images,"
        " more one that curves away from them or is reached by few directions. Smallest changes stay in [0,"
        " 1], random ones do not. In brackets 95 % intervals by the bootstrap over images."
    )
    return table(head, lines, note)


def compared(distances, random, first="ep-cnn", second="cnn"):
    """The differences of exponents of two kinds of networks on the same images, in words.

    distances, random: {model: [Result, one a seed]} of "adversarial-distances" and "uncertainty".
    """
    told = [
        _apart(found, fit, words, first, second)
        for found, fit, words in (
            (distances, lambda r: uncertainty.of_distances(r.arrays["minimal_norm"]), "smallest changes"),
            (random, random_exponent, "random directions"),
        )
    ]
    return Text(f"**{name(first)} against {name(second)}**, on the same images: {'; '.join(told)}.")


def _apart(found, fit, words, first, second):
    """The difference of one kind of exponent, in every pair of one seed, as a clause."""
    pairs = []
    for a in found.get(first, ()):
        for b in found.get(second, ()):
            if a.settings["seed"] == b.settings["seed"]:
                fits = fit(a), fit(b)
                apart = uncertainty.difference(*fits) if all(fits) else None
                if apart:
                    pairs.append((a.settings["seed"], apart))
    if not pairs:
        return f"no exponents of {words} of one seed can be compared"
    signs = {np.sign(low) if low > 0 or high < 0 else 0 for _, (_, low, high) in pairs}
    side = {1: "larger in every pair", -1: "smaller in every pair"}.get(
        int(signs.pop()) if len(signs) == 1 else 0
    )
    numbers = ", ".join(f"{interval(apart)} with seed {seed}" for seed, apart in pairs)
    return f"the exponent of {words} differs by {numbers}, {side or 'not shown to differ in every pair'}"


def elsewhere_table(random, models=EXPECTED):
    """Exponents in random directions around points that are no test images, as a table."""
    lines = []
    for model in models:
        for r in random.get(model, ()):
            right = random_exponent(r, keep=r.correct_clean)
            cells = [exponent_cell(random_exponent(r, kind)) for kind in ("uniform", "permuted")]
            one = exponent_cell(random_exponent(r, two_sided=False))
            cells = (exponent_cell(random_exponent(r)), exponent_cell(right), one, *cells)
            lines.append((f"{name(model)}, seed {r.settings['seed']}", *cells))
    head = ("network", "test images", "right ones only", "one-sided", "uniform in [0, 1]", "shuffled pixels")
    note = (
        "Exponents in random directions. For points drawn uniformly the boundary's dimension is that of the"
        " space less α, and a smooth boundary gives α = 1."
    )
    return table(head, lines, note)


def associations(found):
    """How exponent, length and ρ go with robustness over networks, in words."""
    quantities = {"exponent": "the exponent", "distance": "the ε of the prefactor", "ratio": "ρ"}
    targets = {"robust": "accuracy under attack", "corrupted": "accuracy under corruptions"}
    told = []
    for quantity, words in quantities.items():
        cells = []
        for target, which in targets.items():
            a = association(found, quantity, target)
            cells.append(
                f"{a.value:+.2f} ({a.low:+.2f} to {a.high:+.2f}) with {which}"
                if np.isfinite(a.low)
                else f"too few networks for {which}"
            )
        told.append(f"{words}: {', '.join(cells)}")
    return Text(
        f"**Rank correlations** over the networks: {'; '.join(told)}. The second is close to a tautology"
        " where attacks are concerned: the ε at which few images change and the accuracy at one ε are two"
        " points of one curve. It stands here to show what an exponent would have to add to." + _spread(found)
    )


def _spread(found):
    """How far exponents of networks lie apart, beside how well each is known, as a sentence."""
    fits = [n.adversarial for n in found if n.adversarial]
    if not fits:
        return ""
    values = [e.alpha[0] for e in fits]
    half = np.median([e.alpha[2] - e.alpha[1] for e in fits]) / 2
    return (
        f" The exponents of smallest changes lie between {min(values):.2f} and {max(values):.2f}, and each is"
        f" known to ± {half:.2f} only (median); the intervals of the correlations are about which networks"
        " are there and do not hold that uncertainty."
    )


def missing(found, scale):
    """[what the page would show and is not stored, in sentences]. found: {measurement: {model: results}}."""
    said = []
    for measurement, models in found.items():
        absent = [m for m in EXPECTED if m not in models]
        if absent:
            names = ", ".join(name(m) for m in absent)
            said.append(Text(f"Not stored at {scale} scale: *{measurement}* of {names}."))
    return said


def limits(found, distances):
    """What these sizes leave open, in words. distances: {model: [Result of "adversarial-distances"]}."""
    every = [r for results in distances.values() for r in results]
    floor = 1.05 * 0.95 ** (every[0].settings["sizes"]["steps"] - 2)  # of `minimal_norm.fast_minimum_norm`
    ends = [np.quantile(r.arrays["minimal_norm"], uncertainty.TAIL[0], method="inverted_cdf") for r in every]
    reached = sum(end < 1.1 * floor for end in ends)
    fits = [n.adversarial for n in found if n.adversarial]
    width = np.median([e.alpha[2] - e.alpha[1] for e in fits]) if fits else np.nan
    wide = (
        f"Intervals of the primary exponent are {width:.2f} wide (median over networks), so smaller"
        " differences between networks cannot be seen here."
        if fits
        else "No primary exponent is identifiable at this size."
    )
    return Text(
        f"{wide} Smallest changes are those of one search, which is an upper bound; where it fails on the"
        " images nearest to the boundary the exponent is too large. It finds nothing shorter than"
        f" {floor:.2g}, where the window of {reached} of {len(every)} networks begins. Robustness is accuracy"
        f" under PGD with ℓ2, near the ε at which the published EP-CNN leads its CNN most"
        f" ({uncertainty_networks.published.largest_gap('l2')[0]:.3g})."
    )

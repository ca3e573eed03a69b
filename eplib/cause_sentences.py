"""What the page about causes says: its answer, the table of pairs, what adversarial training the EP-CNN is
worth, where curves cross, and what is missing.
"""

import numpy as np

from eplib import cause_verdicts, causes, equivalents, published, smallest
from eplib.black_box import common
from eplib.checks import NORMS, amount, strength
from eplib.models import TRAINED_AT
from eplib.pictures import COLOURS, name
from eplib.sentences import Text, not_there, table
from eplib.statistics import LEVEL, cluster_bootstrap

WEIGHED = (
    "ep-cnn",
    "twin-bptt",
    "cnn-like-ep",
    "cnn-plain",
    "cnn-penalised",
    "cnn-penalised-2",
    "student-of-ep-cnn",
)
RIVALS = ("cnn", *(f"cnn-at-{key}" for key in TRAINED_AT))
SAYS = {"supported": "yes", "contradicted": "no", "undecided": "undecided"}


def answer(rows, results, badge, epsilon):
    """The chapter's one-sentence answer from the pairs compared at an ε. results: [Result] of the EP-CNN."""
    words = cause_verdicts.words(rows)
    by = {w: [causes.CAUSES[c] for c in words if words[c] == w] for w in SAYS}
    told = [
        f"of {len(words)} possible causes the networks support {len(by['supported'])}"
        + (f" ({'; '.join(by['supported'])})" if by["supported"] else ""),
        f"contradict {len(by['contradicted'])}"
        + (f" ({'; '.join(by['contradicted'])})" if by["contradicted"] else ""),
        f"and leave {len(by['undecided'])} undecided",
    ]
    under = strength(results[0].norm, epsilon)
    return Text(
        f"**In one sentence.** Under all attacks measured with {under}, {', '.join(told)}"
        f" ({badge.dataset_name}, {badge.scale} scale)."
    )


def pair_table(rows):
    """Every pair: how often each network is right, with and without an attack, and what the test says."""
    words = cause_verdicts.words(rows)
    lines = []
    for r in rows:
        told = "more robust" if r.difference > 0 else "less robust"
        lines.append(
            (
                f"{causes.CAUSES[r.pair.cause]}: {SAYS[words[r.pair.cause]]}",
                f"{name(r.pair.model)} − {name(r.pair.without)}",
                r.seed,
                f"{r.clean[0]:.0%}, {r.clean[1]:.0%}",
                f"{r.first:.1%}, {r.second:.1%}",
                f"{100 * r.difference:+.1f} ({100 * r.low:.1f} to {100 * r.high:.1f})",
                f"{r.kept[0]:.1%}, {r.kept[1]:.1%} ({r.both})",
                f"{r.p:.2g}",
                told if r.p < LEVEL else "not told apart",
                "none" if r.detectable == 1.0 else f"{100 * r.detectable:.0f}",
            )
        )
    head = ("would it be a cause?", "with − without", "seed", "clean", "under attack", "lead, points")
    head += ("of what both get right", "p", "the first is", "could show, points")
    note = (
        "Two numbers are of the first and the second network. Lead: with its 95 % interval. Of what both get"
        " right: the share of the images that both classify correctly without an attack (how many) that each"
        " keeps under it, which is the comparison at the same clean accuracy. p: exact McNemar on the same"
        " images, adjusted by Holm over all lines. Could show: the smallest lead that a test of as many"
        " images, with as many that differ, finds four times in five, before that adjustment; “none”: no lead"
        " that so few differing images allow."
    )
    return table(head, lines, note)


def missing(found, scale):
    """Which networks of the pairs are not stored with both attacks, as a sentence; "" where none is."""
    models = dict.fromkeys(m for p in causes.pairs(scale) for m in (p.model, p.without))
    return not_there([m for m in models if m not in found], f"at {scale} scale, and so in no pair")


def ladders(lengths, norm):
    """{ε of training: minimal norms [N]} of one seed: the CNN at 0 and those adversarially trained in a norm.

    lengths: {model: [Result of "minimal-…", one a seed]}.
    """
    models = {0.0: "cnn"} | {e: f"cnn-at-{k}" for k, (n, e) in TRAINED_AT.items() if n == norm}
    return {e: lengths[m][0].arrays["minimal_norm"] for e, m in models.items() if m in lengths}


def worth(lengths, norm, models):
    """[(model, seed, measure, value, ε, low, high)]: the adversarial training in a norm that networks are
    worth, by every measure of `equivalents`, where a ladder of at least two CNNs is stored.

    lengths: {model: [Result of "minimal-…", one a seed]}, all of the same images.
    """
    steps = ladders(lengths, norm)
    if len(steps) < 2:
        return []
    found = []
    for model in (m for m in models if m in lengths):
        for result in lengths[model]:
            for measure in equivalents.MEASURES:
                own = result.arrays["minimal_norm"]
                epsilon, low, high, value = equivalents.training_equivalent(own, steps, norm, measure)
                found.append((model, result.settings["seed"], measure, value, epsilon, low, high))
    return found


def worth_table(worths):
    """The table of `worth`s, {norm: [...]}; a sentence where there is none."""
    lines = []
    for norm, rows in worths.items():
        for model, seed, measure, value, epsilon, low, high in rows:
            size = amount(norm, value) if measure == "half radius" else f"{value:.3f}"
            interval = f"{_rung(norm, low)} to {_rung(norm, high)}"
            lines.append((name(model), seed, NORMS[norm], measure, size, _rung(norm, epsilon), interval))
    if not lines:
        return Text("No ladder of adversarially trained CNNs is stored, so nothing is compared with it.")
    head = ("network", "seed", "norm", "measure", "its value", "worth training with ε", "95 % interval")
    note = (
        "Half radius: the ε at which half of all images are still right. Area: mean accuracy over the"
        " published ε on a logarithmic axis. Both from the smallest change found for every image. Intervals:"
        " bootstrap over the images, which all networks share. “Below 0”: less than a CNN trained without"
        " attacks, “above all”: more than every CNN of the ladder."
    )
    return table(head, lines, note)


def _rung(norm, epsilon):
    if np.isnan(epsilon):
        return "–"
    return amount(norm, epsilon) if np.isfinite(epsilon) else "below 0" if epsilon < 0 else "above all"


def panels_of(lengths):
    """What `cause_figures.ladder` shows: the published ladder in ℓ2, and ours of every norm that has one."""
    shown = [published_panel()]
    for norm, steps in ((n, ladders(lengths[n], n)) for n in lengths):
        if len(steps) > 1:
            bars = {e: (equivalents.half_radius(v), *_interval(v)) for e, v in steps.items()}
            own = [r.arrays["minimal_norm"] for r in lengths[norm].get("ep-cnn", ())]
            value = float(np.mean([equivalents.half_radius(v) for v in own]))
            ends = np.mean([_interval(v) for v in own], 0)
            lines = [(f"EP-CNN, {len(own)} seed{'s' * (len(own) > 1)}", COLOURS["ep-cnn"], value, *ends)]
            shown.append((f"ours, {NORMS[norm]}", norm, bars, lines))
    return shown


def _interval(norms):
    return cluster_bootstrap(len(norms), lambda places: equivalents.half_radius(norms[places]))


def published_panel():
    """The same from the paper's curves of ℓ2 PGD: half radii by straight lines on a logarithmic axis."""
    rows = published.table("pgd", norm="l2", model="adversarial-cnn", series="seeds", generation="A")
    curves = {
        float(v.removeprefix("l2_eps")): t.set_index("epsilon")["mean"] for v, t in rows.groupby("variant")
    }
    both = published.pgd_curves("l2")
    steps = {0.0: both["cnn"]["mean"]} | curves
    radii = {e: (_half(c),) * 3 for e, c in steps.items()}
    value = _half(both["ep-cnn"]["mean"])
    return "published, ℓ2 (CIFAR-10)", "l2", radii, [("EP-CNN", COLOURS["ep-cnn"], value, value, value)]


def _half(curve):
    """The ε at which a curve of accuracies, indexed by ε, falls to one half."""
    curve = curve.dropna().sort_index()
    below = int(np.argmax(curve.to_numpy() <= 0.5))
    x, y = np.log(curve.index.to_numpy()[below - 1 : below + 1]), curve.to_numpy()[below - 1 : below + 1]
    return float(np.exp(x[0] + (x[1] - x[0]) * (y[0] - 0.5) / (y[0] - y[1])))


def published_worth():
    """The adversarial training that the published EP-CNN is worth, as a sentence."""
    _, _, radii, ((_, _, value, _, _),) = published_panel()
    epsilon = equivalents.equivalent(value, {e: v[0] for e, v in radii.items()})
    return Text(
        f"**Published** (arXiv 2401.11543, CIFAR-10, ℓ2 PGD): the EP-CNN's curve falls to one half at"
        f" {amount('l2', value)}, the CNN's at {amount('l2', radii[0.0][0])}. By a straight line between the"
        f" published CNNs that is worth adversarial training with {_rung('l2', epsilon)}."
    )


def crossing(compared, rivals):
    """Where the EP-CNN's curve crosses those of rivals, under PGD and under all attacks, as a sentence.

    compared: of `smallest.beside`.
    """
    told = []
    for rival in (m for m in rivals if m in compared["PGD"] and "ep-cnn" in compared["PGD"]):
        first = compared["PGD"]["ep-cnn"][0]
        at = []
        for attack in ("PGD", "all"):
            curves = [np.mean([r.correct.mean(1) for r in compared[attack][m]], 0) for m in ("ep-cnn", rival)]
            found = equivalents.crossings(first.epsilons, *curves)
            at.append(
                ", ".join(
                    f"{amount(first.norm, e)} (then the {'EP-CNN' if up else 'CNN'} is ahead)"
                    for e, up in found
                )
                or "nowhere"
            )
        told.append(f"{name(rival)}: PGD {at[0]}; all attacks {at[1]}")
    if not told:
        return Text("")
    return Text(f"**Where the EP-CNN's curve crosses another** ({NORMS[first.norm]}). {'. '.join(told)}.")


def shared(found):
    """{model: [Result of "minimal-…"]} cut to the images that all of them share."""
    every = [(m, r) for m, results in found.items() for r in results]
    kept = {}
    for (model, result), places in zip(every, common([r for _, r in every])[1] if every else (), strict=True):
        kept.setdefault(model, []).append(smallest.cut(result, places))
    return kept


def slopes(line):
    """What the line says in words; "" without one."""
    if line is None:
        return Text("")
    return Text(
        f"By the line, twice the margin goes with {2**line.on_margin:.2f} times the distance, and twice the"
        f" input gradient with {2**line.on_gradient:.2f} times; if first order were all, these would be 2 and"
        f" 0.5. It explains {line.r2:.0%} of the differences between the logarithms of {line.networks}"
        " distances."
    )


def gradients(points, models):
    """How large the input gradients of some models are, as a sentence."""
    told = []
    for model in models:
        found = [p.gradient for p in points if p.model == model]
        if found:
            told.append(f"{name(model)} {np.mean(found):.3g}")
    return Text(f"**Input gradients** (median ℓ2 norm of the margin's gradient): {', '.join(told)}.")

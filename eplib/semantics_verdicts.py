"""Rules for what the page on semantic perturbations says, fixed before anything was measured. Rules as in
`eplib.verdicts`.
"""

from eplib.pictures import name
from eplib.semantics_comparisons import DECIDING, PRIMARY, of_seed
from eplib.statistics import LEVEL
from eplib.verdicts import Verdict, judged, lagging

ORDINARY = ("cnn", "vit-8")  # what a semantic change must exceed
ALIKE = ("cnn-plain-wd-3e-4", "twin-bptt")  # and what one that comes from Equilibrium Propagation must


def word(rows, rivals):
    """The word for "more semantic than all of these", from [Compared] of the deciding measures.

    "supported" when with every rival, in every seed, the EP-CNN is ahead in both P1 and P2 with p < 0.05,
    adjusted by Holm over the five primary measures; "contradicted" when in every seed some rival is ahead in
    one of the two with such a p; otherwise, and where a rival or a measure is missing, "undecided".
    """
    rows = [r for r in rows if r.measure in DECIDING and r.rival in rivals]
    seeds = {r.seed for r in rows}
    needed = {(m, r) for m in DECIDING for r in rivals}
    if not seeds or any({(r.measure, r.rival) for r in rows if r.seed == s} != needed for s in seeds):
        return "undecided"
    sure = [r for r in rows if r.p < LEVEL]
    if len(sure) == len(rows) and all(r.difference > 0 for r in rows):
        return "supported"
    behind = {r.seed for r in sure if r.difference < 0}
    return "contradicted" if behind == seeds else "undecided"


def semantic(rows, found):
    """Are the EP-CNN's perturbations more semantic than those of the CNN and the ViT? A `Verdict`.

    rows: [Compared] at matched effect. found: {model: [Result of "semantics", one a seed]}.
    """
    return _verdict(
        rows,
        found,
        ORDINARY,
        "the perturbations of the EP-CNN are more semantic than those of the CNN and the ViT",
    )


def specific(rows, found):
    """Does Equilibrium Propagation make them so? A `Verdict`: `semantic` with two more rivals, the CNN
    without BatchNorm with the EP-CNN's weight decay and the EP-CNN's twin trained by backpropagation through
    time.
    """
    return _verdict(
        rows,
        found,
        (*ORDINARY, *ALIKE),
        "more semantic perturbations are specific to Equilibrium Propagation",
    )


def _verdict(rows, found, rivals, claim):
    rows = [r for r in rows if r.rival in rivals and r.measure in DECIDING]
    seeds = {r.seed for r in rows}
    own = [r for r in found.get("ep-cnn", []) if r.settings["seed"] in seeds]
    absent = [name(m) for m in rivals if m not in {r.rival for r in rows}]
    behind = [
        said
        for m in rivals
        for others in [[of_seed(found, m, s) for s in sorted(seeds)]]
        if own and all(others) and (said := lagging(own, others, name(m)))
    ]
    networks = "undecided" if behind or absent else word(rows, rivals)
    told = "; ".join(
        f"{PRIMARY[r.measure]} {r.first:.3g} against {r.second:.3g} of the {name(r.rival)}"
        f" (seed {r.seed}, p {r.p:.2g}, n = {r.n})"
        for r in rows
    )
    missing = f" Not measured: {', '.join(absent)}." if absent else ""
    sentence = (
        f"For these networks: {networks}, that {claim}. {' '.join(behind)}{' ' if behind else ''}"
        f"At matched effect: {told or 'nothing is measured'}.{missing}"
    )
    overturn = (
        "Supported is said when in every seed the EP-CNN is ahead of every network named in both the shift"
        f" of the robust judges and the gradient towards the class mean, with p < {LEVEL} each; contradicted"
        " when in every seed one of them is ahead of it in one of the two with such a p. Nothing is decided"
        " while a network is missing or under-trained."
    )
    if not own:
        return Verdict("undecided", "undecided", sentence, overturn)
    return judged(networks, own, sentence, overturn)

"""The checklist of an evaluation that can be believed (after Carlini et al. 2019, Tramèr et al. 2020 and
Zimmermann et al. 2022), filled by code from stored results: 19 lines, each passed or failed. What was not
run is a fail.
"""

from dataclasses import dataclass

from eplib import evidence

NOT_RUN = "not run"


@dataclass(frozen=True)
class Line:
    """One line of the list. asked: what must hold. wanted: images that the standard asks for, None where it
    names none. n: images looked at, 0 where it was not run. evidence: the numbers.
    """

    letter: str
    asked: str
    wanted: int | None
    passed: bool
    n: int
    evidence: str


ASKED = {  # letter: (what must hold, images that the standard asks for, how it is checked)
    "A": (
        "attacks keep to images in [0, 1], to ε in pixel units, and get true labels",
        1000,
        evidence.kept_to,
    ),
    "B": ("every model is attacked on the same images", 10_000, evidence.same_images),
    "C": ("attacks see logits, and more than one loss of them is tried", 1000, evidence.several_losses),
    "D": ("the standard AutoAttack was run in both norms", 1000, evidence.autoattack),
    "E": (
        "gradients, losses and states together break at most five points more than plain PGD",
        1000,
        evidence.adaptive,
    ),
    "F": (
        "no attack horizon breaks five points more than the paper's, and predictions converge",
        1000,
        evidence.horizons,
    ),
    "G": (
        "attacks on the states break at most five points more than those on the logits",
        1000,
        evidence.states,
    ),
    "H": ("accuracy is flat in steps and restarts", 1000, evidence.flat),
    "I": (
        "the loss rises, and APGD breaks no less than PGD, PGD no less than one step",
        1000,
        evidence.ordering,
    ),
    "J": ("accuracy falls to zero when everything is allowed", 1000, evidence.to_zero),
    "K": ("no image that breaks at one ε counts as right at a larger one", 1000, evidence.monotone),
    "L": ("seeing less never breaks more", 1000, evidence.less),
    "M": (
        "images made on other networks break less, also those of the twin trained by back-propagation",
        1000,
        evidence.transfer,
    ),
    "N": ("an attack that sees decisions only finds no smaller changes", 100, evidence.decisions),
    "O": ("random noise breaks less", 1000, evidence.noise),
    "P": ("the attack finds a planted adversarial example", 200, evidence.planted),
    "Q": ("two runs give the same", 100, evidence.twice),
    "R": ("float64, and one image at a time, give the same outcomes", 100, evidence.repeated),
    "S": ("the smallest change that breaks each image was searched", 1000, evidence.minimal),
}


def checklist(found, model="ep-cnn"):
    """[Line] of one kind of network, every letter of `ASKED`; each must hold for every seed that is stored.

    found: {measurement: {model: [Result, one a seed]}}, whatever is stored.
    """
    lines = []
    for letter, (asked, wanted, check) in ASKED.items():
        passed, n, words = check(found, model) or (False, 0, NOT_RUN)
        lines.append(Line(letter, asked, wanted, bool(passed), int(n), words))
    return lines

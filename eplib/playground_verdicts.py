"""The playground's verdict, about one image of one network: whether its answer stands. Rule as in
`eplib.verdicts`.
"""

from eplib.checks import strength
from eplib.playground import ATTACK_STEPS, LONGER, after
from eplib.verdicts import judged


def answer_stands(played, results):
    """Does the network's answer to this image stand: the same after four times as many free steps, and the
    same under the attack after either number of steps?

    played: `eplib.playground.Played`. results: stored ones of the network, which say what it is. An answer
    after T steps that is wrong has nothing to withstand, and an attack of ε = 0 is none. For these networks:
    contradicted when the answer after T steps is not wrong and the attacked image gets another after T steps;
    supported when it is not wrong, an attack was made, and both images get that answer after T and after 4 T
    steps; otherwise undecided.
    """
    clean, attacked = played.clean, played.attacked
    wrong = played.label is not None and clean.answer != played.label
    tried = attacked is not None and played.settings.epsilon > 0
    answers = {clean.answer, clean.later, *((attacked.answer, attacked.later) if tried else ())}
    networks = "undecided"
    if tried and not wrong and attacked.answer != clean.answer:
        networks = "contradicted"
    elif tried and not wrong and len(answers) == 1:
        networks = "supported"
    sentence = (
        f"For these networks: {networks}. Judged is one image of one network: that its answer stands."
        f" Without an attack it is {_answers(played, clean)}."
        + (" This is wrong before any attack, so there is nothing to withstand." if wrong else "")
        + (
            f" Under PGD of {strength(played.settings.norm, played.settings.epsilon)} ({ATTACK_STEPS} steps)"
            f" it is {_answers(played, attacked)}."
            if tried
            else " No attack was made."
        )
    )
    return judged(networks, results, sentence, _overturn(networks))


def _answers(played, seen):
    said = played.classes[seen.answer]
    if not played.recurrent:
        return said
    steps, later = played.settings.steps, played.classes[seen.later]
    return f"{said} after {after(steps)} and {later} after {LONGER * steps}"


def _overturn(networks):
    return {
        "supported": "Any change of at most this size that gets another answer: one attack that finds none"
        " does not show that there is none.",
        "contradicted": "Nothing but an error of the computation: an image that gets another answer has been"
        " found. It says nothing about other images.",
        "undecided": "An image that is answered rightly, an attack of more than nothing, and answers that do"
        " not depend on the number of steps.",
    }[networks]

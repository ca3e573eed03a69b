import numpy as np
import pytest
import torch

from eplib import data, playground, playground_verdicts
from eplib.checks import InputError
from eplib.results import Result

CLASSES = data.CLASSES["sample"]
CLEAN = Result(
    {"seed": 11, "dataset": "sample", "scale": "quick", "measurement": "clean"},
    None,
    np.arange(20),
    np.ones(20, bool),
    np.ones((1, 20), bool),
    {},
)


class Named:
    """A checkpoint without a network."""

    net, record = None, {"dataset": "sample", "model": "ep-cnn", "scale": "quick", "seed": 11}


def seen(now, later):
    curves = torch.eye(10)[[now] * 4 + [later]]
    return playground.Seen(torch.zeros(1, 3, 32, 32), curves[0], curves, torch.full((5,), 1e-3))


def played(clean, attacked=None, label=3, epsilon=0.03):
    """A run with answers (after T, after 4 T) of the clean and of the attacked image."""
    settings = playground.Settings(1, 0.5, "forward", "pgd-linf" if attacked else "none", epsilon)
    return playground.Played(Named, label, settings, seen(*clean), attacked and seen(*attacked), None)


@pytest.mark.parametrize(
    "clean, attacked, label, epsilon, word",
    [
        ((3, 3), (3, 3), 3, 0.03, "supported"),
        ((3, 3), (3, 3), None, 0.03, "supported"),
        ((3, 3), (5, 5), 3, 0.03, "contradicted"),
        ((3, 3), (5, 3), 3, 0.03, "contradicted"),
        ((3, 4), (5, 5), 3, 0.03, "contradicted"),
        ((3, 3), (5, 5), None, 0.03, "contradicted"),
        ((3, 4), (3, 3), 3, 0.03, "undecided"),  # its own answer changes with time
        ((3, 3), (3, 5), 3, 0.03, "undecided"),  # the attack shows only later
        ((3, 3), None, 3, 0.03, "undecided"),
        ((3, 3), (3, 3), 3, 0.0, "undecided"),
        ((4, 4), (4, 4), 3, 0.03, "undecided"),  # wrong before
        ((4, 4), (5, 5), 3, 0.03, "undecided"),
        ((4, 3), (4, 4), 3, 0.03, "undecided"),
    ],
)
def test_the_verdict_follows_the_answers(clean, attacked, label, epsilon, word):
    verdict = playground_verdicts.answer_stands(played(clean, attacked, label, epsilon), [CLEAN])
    assert verdict.networks == word and verdict.method == "undecided"
    assert verdict.sentence.startswith(f"For these networks: {word}. ") and verdict.overturn
    assert ("wrong before any attack" in verdict.sentence) == (label is not None and clean[0] != label)
    assert ("No attack was made" in verdict.sentence) == (attacked is None or not epsilon)
    assert CLASSES[clean[0]] in verdict.sentence and "For the method: undecided (" in verdict.sentence


@pytest.mark.parametrize(
    "wrong, words",
    [
        ({"steps": 0}, "from 1 to 1000"),
        ({"steps": 1001}, "from 1 to 1000"),
        ({"steps": 20.0}, "from 1 to 1000"),
        ({"steps": True}, "from 1 to 1000"),
        ({"steps": "20"}, "from 1 to 1000"),
        ({"steps": None}, "from 1 to 1000"),
        ({"beta": 0}, "above 0"),
        ({"beta": -0.5}, "above 0"),
        ({"beta": float("nan")}, "above 0"),
        ({"beta": float("inf")}, "above 0"),
        ({"beta": "half"}, "above 0"),
        ({"beta": True}, "above 0"),
        ({"order": "sideways"}, "forward"),
        ({"order": None}, "forward"),
        ({"order": ["forward"]}, "forward"),
        ({"attack": "pgd"}, "pgd-linf"),
        ({"attack": None}, "pgd-linf"),
        ({"epsilon": -0.1}, "from 0 to 1,"),
        ({"epsilon": 1.1}, "from 0 to 1,"),
        ({"attack": "pgd-l2", "epsilon": 10.5}, "from 0 to 10,"),
        ({"attack": "none", "epsilon": 11}, "from 0 to 10,"),
        ({"epsilon": float("nan")}, "from 0 to 1,"),
        ({"epsilon": "8/255"}, "from 0 to 1,"),
    ],
)
def test_settings_that_cannot_be_are_refused_in_a_sentence(wrong, words):
    with pytest.raises(InputError) as error:
        playground.Settings(**wrong)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_settings_at_their_bounds_are_taken():
    for good in (
        {"steps": 1},
        {"steps": np.int64(1000)},
        {"beta": 1e-9},
        {"attack": "pgd-l2", "epsilon": 10},
        {"epsilon": 0},
    ):
        playground.Settings(**good)

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from eplib import horizons, phase_verdicts, statistics
from eplib.chapters import Badge
from eplib.results import Result

N = 100
EPSILONS = [0.309, 0.766]
ATTACKED = [[4, "unrolled"], [10, "unrolled"], [29, "unrolled"], [60, "unrolled"], [250, "adjoint"]]
PREDICTED = [10, 20, 30, 60, 100, 250]
BADGE = Badge("sample", "quick", N, (11,))
OWN = SimpleNamespace(steps=20, order="forward")


def first(count):
    """int64 [N]: class 0, the label, for so many images, the first, and 1 for the others."""
    return (np.arange(N) >= count).astype(np.int64)


def matrix(left, clean=lambda steps: 90, seed=11, dataset="sample", attacked=ATTACKED, epsilons=EPSILONS):
    """A result of "horizons" as it is measured: left(ε, (steps, gradient), T) images are right under each
    attack, clean(T) without.
    """
    sizes = {"norm": "l2", "epsilons": epsilons, "attacked": attacked, "predicted": PREDICTED, "steps": 20}
    phases = [*PREDICTED, OWN.steps, 250]  # of "own" and "converged" too
    E, A = len(epsilons), len(attacked)
    done = {
        "clean": np.stack([first(clean(t)) for t in phases]),
        "predicted": np.stack(
            [[[first(left(e, tuple(a), t)) for t in phases] for a in attacked] for e in epsilons]
        ),
        "unsettled": np.zeros((E, A, N), bool),
        "unsettled_clean": np.zeros(N, bool),
        "zero": np.zeros((A, N), bool),
        "fallbacks": np.zeros((E, A, N), np.int64),
    }
    rows, right, correct = horizons._rows(OWN, done, np.zeros(N, np.int64), sizes)
    settings = {
        "measurement": "horizons",
        "model": "ep-cnn",
        "seed": seed,
        "dataset": dataset,
        "sizes": sizes,
    }
    settings |= {"scale": "quick", "predict_steps": OWN.steps, "order": OWN.order}
    return Result(settings, pd.DataFrame(rows), np.arange(N), right, correct, {"seconds": 60.0})


def by_length(counts, seed=11, **more):
    """The same where every attack leaves counts[T] at the first ε, and a fourth at the second."""
    return matrix(lambda e, a, t: counts.get(t, 40) // (4 if e > 0.5 else 1), seed=seed, **more)


def test_an_attack_through_its_own_steps_is_found_for_every_length_that_has_one():
    result = by_length({})
    assert phase_verdicts.own_attacks(result) == {10: 1, 30: 2, 60: 3, 250: 4}
    exact = by_length({}, attacked=[*ATTACKED, [250, "unrolled"], [30, "unrolled"], [100, "leaky"]])
    assert phase_verdicts.own_attacks(exact) == {10: 1, 30: 6, 60: 3, 250: 5}


def test_the_network_is_seen_at_its_length():
    def left(e, attack, t):
        return {(29, "unrolled"): 35, (60, "unrolled"): 30}.get(attack, 50) + (5 if t == 60 else 0)

    clean, right, worst = phase_verdicts.at_length(matrix(left, lambda t: 80 + t // 10), 0.309, 30)
    assert (clean.sum(), right.sum(), worst.sum()) == (83, 35, 30)
    clean, right, worst = phase_verdicts.at_length(matrix(left, lambda t: 80 + t // 10), 0.309, 60)
    assert (clean.sum(), right.sum(), worst.sum()) == (86, 35, 35)


@pytest.mark.parametrize(
    "clean, lengths",
    [
        (lambda t: 90, (10, 250)),
        (lambda t: {10: 79, 30: 80}.get(t, 90), (30, 250)),
        (lambda t: {250: 90}.get(t, 60), (250, 250)),
    ],
)
def test_the_shorter_phase_is_the_shortest_within_ten_points(clean, lengths):
    assert phase_verdicts.compared([by_length({}, clean=clean)]) == lengths


def test_the_mean_over_seeds_decides_which_lengths_are_compared():
    one, other = by_length({}, clean=lambda t: 70 if t == 10 else 90), by_length({}, seed=13)
    assert phase_verdicts.compared([one]) == (30, 250)
    assert phase_verdicts.compared([one, other]) == (10, 250)


FLIPS = [  # (images left after 10 and 250 steps in every seed, word)
    ([(20, 40)] * 3, "supported"),
    ([(40, 20)] * 3, "contradicted"),
    ([(20, 40), (20, 40), (40, 20)], "undecided"),
    ([(20, 40), (20, 40), (30, 30)], "undecided"),
    ([(20, 25)] * 3, "undecided"),
    ([(20, 26)], "supported"),
    ([(20, 26), (20, 26)], "undecided"),  # p = 0.031 alone, 0.063 as one of two
    ([(20, 27), (20, 27)], "supported"),
]


@pytest.mark.parametrize("counts, word", FLIPS)
def test_the_verdict_flips_with_the_outcomes(counts, word):
    results = [by_length({10: a, 250: b}, seed=s) for s, (a, b) in enumerate(counts)]
    verdict = phase_verdicts.settling_adds_robustness(results)
    p = max(statistics.holm([statistics.mcnemar(first(b) == 0, first(a) == 0) for a, b in counts]))
    assert (verdict.networks, verdict.method) == (word, "undecided")
    assert verdict.sentence.startswith(
        f"For these networks: {word}. After 250 synchronous steps 90.0% of 100"
    )
    early, late = (np.mean([c[i] for c in counts]) for i in (0, 1))
    assert f"{late:.1f}% are left under PGD through those steps (ℓ2 ε = 0.309)" in verdict.sentence
    assert f"is within 10 points, 90.0% and {early:.1f}% (" in verdict.sentence
    assert f"p {p:.2g})" in verdict.sentence


def test_the_verdict_is_given_at_the_strength_where_the_published_curves_are_furthest_apart():
    def left(e, attack, t):  # the words would be opposite at the other ε
        return (20 if t == 10 else 60) if e == 0.309 else (60 if t == 10 else 20)

    verdict = phase_verdicts.settling_adds_robustness([matrix(left)])
    assert verdict.networks == "supported" and "(ℓ2 ε = 0.309)" in verdict.sentence
    assert "90.0% of 100 test images are right and 60.0% are left under PGD" in verdict.sentence
    assert "after 10, the shortest phase whose clean accuracy is within 10 points, 90.0% and 20.0%" in (
        verdict.sentence
    )
    assert "(one seed; p " in verdict.sentence and "ℓ2 ε = 0.309" in verdict.overturn


def test_an_image_that_is_wrong_without_an_attack_is_not_robust():
    result = matrix(lambda e, a, t: 90, clean=lambda t: 50 if t == 250 else 55)
    assert phase_verdicts.at_length(result, 0.309, 250)[1].sum() == 50


def test_without_a_shorter_phase_there_is_nothing_to_compare():
    verdict = phase_verdicts.settling_adds_robustness([by_length({}, clean=lambda t: 90 if t == 250 else 50)])
    assert verdict.networks == "undecided"
    assert "no shorter phase has a clean accuracy within 10 points" in verdict.sentence


def test_only_five_seeds_on_cifar_images_speak_about_the_method():
    def verdict(seeds, dataset):
        results = [by_length({10: 20, 250: 45}, seed=s, dataset=dataset) for s in range(seeds)]
        return phase_verdicts.settling_adds_robustness(results)

    assert verdict(5, "cifar10").method == "supported" and "5 seeds" in verdict(5, "cifar10").sentence
    assert verdict(4, "cifar10").method == verdict(5, "sample").method == "undecided"

import numpy as np
import pandas as pd
import pytest

from eplib import attack_verdicts, published_curves
from eplib.attack_verdicts import comparable, inflated, larger_changes, published_lead
from eplib.checks import InputError
from eplib.results import Result

N = 400


def pgd(right, seed=0, first=0, clean=N, dataset="sample"):
    """`right` of N images right at the only ε, from image `first` on."""
    correct = np.zeros((1, N), bool)
    correct[0, first : first + right] = True
    settings = {"epsilons": [0.02], "norm": "linf", "seed": seed, "dataset": dataset}
    return Result(settings, None, np.arange(N), np.arange(N) < clean, correct, {})


def minimal(norms, seed=0, dataset="sample", clean=None):
    norms = np.asarray(norms, np.float32)
    clean = np.ones(len(norms), bool) if clean is None else np.asarray(clean)
    settings = {"sizes": {"norm": "l2"}, "seed": seed, "dataset": dataset, "measurement": "carlini-wagner"}
    return Result(settings, None, np.arange(len(norms)), clean, clean[None], {}, {"minimal_norm": norms})


def conventions(published, corrected, seed=0):
    """So many of 200 images right under each convention at the larger of two ε."""
    rows, correct = [], []
    for epsilon, counts in ((0.01, (200, 200)), (0.1, (published, corrected))):
        for name, count in zip(("published", "corrected"), counts, strict=True):
            where = dict(attack="pgd", norm="linf", epsilon=epsilon, convention=name, metric="accuracy")
            rows.append(where | {"value": count / 200})
            correct.append(np.arange(200) < count)
    rows.insert(1, rows[0] | {"attack": "square", "convention": "Square, logits"})
    correct.insert(1, correct[0])
    settings = {"seed": seed, "dataset": "sample", "measurement": "conventions"}
    return Result(settings, pd.DataFrame(rows), np.arange(200), correct[0], np.array(correct), {})


def test_the_published_lead_is_where_the_curves_are_furthest_apart():
    curves = published_curves.curves("Adversarial_Accuracy_Inf")
    epsilon, ep, cnn = published_lead("linf", "ep-cnn", "cnn")
    gaps = curves["ep-cnn"]["mean"] - curves["cnn"]["mean"]
    assert epsilon == pytest.approx(0.01, rel=0.01) and ep - cnn == pytest.approx(gaps.max())
    for norm in attack_verdicts.FIGURES:
        for rival in ("cnn", "vit", "cnn-at-l2-0.5", "cnn-at-l2-1"):
            there, one, other = published_lead(norm, rival, "ep-cnn")
            back = published_lead(norm, "ep-cnn", rival)
            assert one > other and back[1] > back[2] and there != back[0]
    with pytest.raises(InputError, match="published curve"):
        published_lead("linf", "ep-cnn", "cct")
    with pytest.raises(InputError, match="norm"):
        published_lead("l7", "ep-cnn", "cnn")


@pytest.mark.parametrize(
    "ep, rival, clean, word",
    [
        ([(240, 0)], [(240, 0)], (N, N), "supported"),
        ([(280, 0)], [(240, 0)], (N, N), "supported"),  # better is comparable too
        ([(120, 0)], [(240, 0)], (N, N), "contradicted"),
        ([(228, 0)], [(240, 0)], (N, N), "supported"),
        ([(224, 0)], [(240, 0)], (N, N), "undecided"),  # the interval crosses five points
        ([(120, 0), (240, 0)], [(240, 0), (240, 0)], (N, N), "undecided"),
        ([(120, 0)], [(240, 0)], (300, N), "undecided"),  # under-trained
    ],
)
def test_comparable_to_adversarial_training(ep, rival, clean, word):
    networks = [
        [pgd(right, seed, first, clean[i]) for seed, (right, first) in enumerate(side)]
        for i, side in enumerate((ep, rival))
    ]
    verdict = comparable(*networks, "linf", 0.02, "trained CNN")
    assert verdict.networks == word and verdict.method == "undecided"
    assert verdict.sentence.startswith(f"For these networks: {word}.") and "trained CNN" in verdict.sentence
    assert ("under-trained" in verdict.sentence) == (clean[0] != clean[1])


def test_comparable_speaks_about_the_method_with_five_seeds_on_cifar():
    five = [[pgd(right, s, dataset="cifar10") for s in range(5)] for right in (120, 240)]
    assert comparable(*five, "linf", 0.02, "trained CNN").method == "contradicted"


def test_larger_changes_follow_the_medians_and_the_ranks():
    small, large = np.linspace(0.1, 1, 40), np.linspace(0.4, 1.6, 40)
    assert larger_changes([minimal(large)], [minimal(small)], "CNN").networks == "supported"
    assert larger_changes([minimal(small)], [minimal(large)], "CNN").networks == "contradicted"
    assert larger_changes([minimal(small)], [minimal(small)], "CNN").networks == "undecided"
    mixed = [minimal(large, 0), minimal(small, 1)], [minimal(small, 0), minimal(large, 1)]
    assert larger_changes(*mixed, "CNN").networks == "undecided"


def test_what_was_not_broken_is_harder_and_what_was_wrong_is_left_out():
    small = np.linspace(0.1, 1, 40)
    few = np.where(np.arange(40) % 10, small, np.inf)  # without these four the networks are alike
    verdict = larger_changes([minimal(few)], [minimal(small)], "CNN")
    assert verdict.networks == "undecided" and "40 or more images" in verdict.sentence
    shifted = np.where(np.arange(40) % 10, small + 0.01, np.inf)
    assert larger_changes([minimal(shifted)], [minimal(small)], "CNN").networks == "supported"
    assert larger_changes([minimal(small)], [minimal(shifted)], "CNN").networks == "contradicted"
    clean = np.arange(40) < 20  # behind that point the first network would lead
    reversed_order = np.where(clean, small / 2, 100)
    verdict = larger_changes([minimal(reversed_order, clean=clean)], [minimal(small, clean=clean)], "CNN")
    assert verdict.networks == "contradicted" and "20 or more images" in verdict.sentence
    with pytest.raises(InputError, match="no image"):
        larger_changes([minimal(small, clean=clean)], [minimal(small, clean=~clean)], "CNN")
    with pytest.raises(InputError, match="other images"):
        larger_changes([minimal(small)], [minimal(small[:20])], "CNN")


@pytest.mark.parametrize("seeds", [1, 2])
def test_lengths_decide_nothing_where_too_few_images_were_broken(seeds):
    small, large = np.linspace(0.1, 1, 40), np.linspace(0.4, 1.6, 40)
    for unbroken, enough in ((4, True), (5, False), (40, False)):
        hard = np.where(np.arange(40) < unbroken, np.inf, large)
        results = [minimal(large, s) for s in range(seeds - 1)] + [minimal(hard, seeds - 1)]
        others = [minimal(small, s) for s in range(seeds)]
        for pair, word in (((results, others), "supported"), ((others, results), "contradicted")):
            verdict = larger_changes(*pair, "CNN")
            assert verdict.networks == (word if enough else "undecided")
            assert ("Too few images were broken" in verdict.sentence) != enough
        assert f"of which at least 100.0% and {1 - unbroken / 40:.1%} were broken" in verdict.sentence
        assert "fewer than 90%" in verdict.overturn


@pytest.mark.parametrize(
    "counts, word",
    [
        ([(60, 40)], "supported"),
        ([(60, 40), (50, 30)], "supported"),
        ([(43, 40)], "contradicted"),
        ([(44, 40)], "undecided"),  # two points, but p is above 0.05
        ([(60, 40), (40, 40)], "undecided"),
    ],
)
def test_the_published_convention_reports_more(counts, word):
    verdict = inflated([conventions(*pair, seed) for seed, pair in enumerate(counts)], "linf")
    assert verdict.networks == word and "ε = 25.5/255" in verdict.sentence
    with pytest.raises(InputError, match="both conventions"):
        inflated([conventions(60, 40)], "l2")

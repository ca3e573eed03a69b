import csv
from statistics import median

import numpy as np
import pandas as pd
import pytest
from scipy.stats import wilcoxon

from eplib import files, model_verdicts
from eplib.results import Result
from eplib.statistics import signed_rank
from eplib.verdicts import Verdict

N = 200
LAYERS = ("1", "2", "read-out")
METHOD = [  # data set, seeds, whether that is enough for a word about the method, and what is missing if not
    ("cifar10", 5, True, ()),
    ("cifar100", 6, True, ()),
    ("cifar10", 4, False, ("4 of the 5 seeds",)),
    ("fashion-mnist", 5, False, ("these images are not the paper's",)),
    ("sample", 3, False, ("these images are not the paper's", "3 of the 5 seeds")),
]


def result(rows, seed=0, dataset="sample", n=N, correct=None, sizes=None, said=None, **arrays):
    settings = {"seed": seed, "dataset": dataset, "sizes": sizes or {}, "order": "forward"}
    correct = np.ones((1, n), bool) if correct is None else np.array(correct)
    record = {} if said is None else {"said": said}
    return Result(settings, pd.DataFrame(rows), np.arange(n), correct[0], correct, record, arrays)


def settling(at_60, at_250, seed=0, n=N, first=0, steps=(1, 60, 250), **settings):
    """Of n images the first `at_60` right at step 60, `at_250` from image `first` on at step 250, none at 1;
    in orders that no verdict asks for, all."""
    right = {1: (0, 0), 60: (0, at_60), 250: (first, first + at_250)}
    rows, correct = [], []
    for order in ("forward", "synchronous", "backward"):
        for t in steps:
            start, end = right[t] if order == "synchronous" else (0, n)
            correct.append((np.arange(n) >= start) & (np.arange(n) < end))
            where = {"predict_steps": t, "order": order}
            rows += [where | {"metric": m, "value": v} for m, v in (("residual", 0.1), ("energy", -5.0))]
            rows.append(where | {"metric": "accuracy", "value": correct[-1].mean()})
    return result(rows, seed, n=n, correct=correct, **settings)


def settles(at_60, at_250, **settings):
    pairs = enumerate(zip(at_60, at_250, strict=True))
    return model_verdicts.settles([settling(a, b, seed, **settings) for seed, (a, b) in pairs])


@pytest.mark.parametrize(
    "at_60, at_250, word",
    [
        ([160], [160], "supported"),
        ([160], [162], "supported"),  # one point exactly
        ([162], [160], "supported"),
        ([160], [163], "undecided"),  # p = 0.25
        ([160], [165], "undecided"),  # p = 2 / 2^5 = 0.0625
        ([160], [166], "contradicted"),  # p = 2 / 2^6 = 0.031
        ([166], [160], "contradicted"),
        ([160, 170, 180], [160, 171, 178], "supported"),
        ([160, 160], [160, 180], "undecided"),
        ([160, 180], [180, 160], "contradicted"),
        ([160] * 3, [167] * 3, "contradicted"),  # 3 · 2 / 2^7 = 0.047
        ([160] * 4, [167] * 4, "undecided"),  # 4 · 2 / 2^7 = 0.0625
    ],
)
def test_settling_is_judged_at_steps_60_and_250(at_60, at_250, word):
    verdict = settles(at_60, at_250)
    assert verdict.networks == word
    assert verdict.sentence.startswith(f"For these networks: {word}.")


@pytest.mark.parametrize("right", [0, 5, 16, 48, 99, 240, 252, 253, 297])
def test_one_point_of_three_hundred_images_is_one_point_wherever_it_lies(right):
    assert settles([right], [right + 3], n=300).networks == "supported"
    assert settles([right + 3], [right], n=300).networks == "supported"
    assert settles([right], [right - 4 if right > 4 else right + 4], n=300).networks == "undecided"


def test_a_small_difference_in_one_network_contradicts_nothing_however_certain_it_is():
    # 10 of 1,000 images, all one way: p = 2 / 2^10, but one point only
    assert settles([800], [810], n=1000).networks == "supported"
    assert settles([800, 700], [810, 800], n=1000).networks == "undecided"
    assert settles([800, 700], [811, 800], n=1000).networks == "contradicted"


def test_a_change_of_images_without_a_change_of_accuracy_supports_settling():
    assert settles([100], [100], first=50).networks == "supported"


def test_a_study_that_stops_early_cannot_say_that_nothing_changes():
    verdict = settles([160], [160], steps=(1, 60))
    assert verdict.networks == verdict.method == "undecided"
    assert "60" in verdict.sentence


def test_the_sentence_on_settling_has_the_published_and_our_numbers():
    theirs = {}
    with open(files.ROOT / "data" / "published" / "results.csv") as file:
        for row in csv.DictReader(file):
            if row["evaluation"] == "free-step" and row["model"] == "ep-cnn":
                theirs[int(row["free_step"])] = f"{float(row['mean']):.1%}"
    sentence = settles([160, 150], [164, 151]).sentence
    # means over both networks of 160 / 200 and 150 / 200, of 164 and 151, and 4 images of 200
    for part in (theirs[60], theirs[250], "77.5%", "78.8%", "2.0%", "2 networks", "200 test images"):
        assert part in sentence
    other = settles([180], [180]).sentence
    assert "90.0%" in other and "77.5%" not in other and "1 network," in other


@pytest.mark.parametrize("dataset, seeds, enough, missing", METHOD)
def test_settling_speaks_about_the_method_with_seeds_on_the_papers_images(dataset, seeds, enough, missing):
    for later, word in ((160, "supported"), (180, "contradicted")):
        verdict = settles([160] * seeds, [later] * seeds, dataset=dataset)
        check_the_method(verdict, word, enough, missing)


def check_the_method(verdict, word, enough, missing):
    assert (verdict.networks, verdict.method) == (word, word if enough else "undecided")
    assert f"For the method: {verdict.method} (" in verdict.sentence
    assert all(part in verdict.sentence for part in missing)
    assert ("not the paper's" in verdict.sentence) == ("these images are not the paper's" in missing)


def starts(agreement=0.97, near=160, pixels=100, seed=0, first=0, n=N, **settings):
    """Of n images `near` have a nearest attractor of their class, and `pixels`, from image `first` on, a
    nearest image."""
    arrays = {
        "near": np.arange(n) < near,
        "near_pixels": np.abs(np.arange(n) - first - pixels / 2 + 0.5) < pixels / 2,
    }
    values = {
        "attractors": 4.5,
        "agreement": agreement,
        "nearest_class": arrays["near"].mean(),
        "nearest_class_pixels": arrays["near_pixels"].mean(),
    }
    rows = [{"metric": "accuracy", "value": 0.8}, *({"metric": m, "value": v} for m, v in values.items())]
    return result(rows, seed, n=n, **arrays, **settings)


def paths(attack=2.0, random=1.0, seed=0, n=40, **settings):
    """Barriers of n images around a median of `attack` and of `random`, apart alike in all of them."""
    spread = np.linspace(-0.5, 0.5, n + 1)[:n] + 0.5 / n
    barriers = {"barrier_attack": attack + spread, "barrier_random": random + spread[::-1] * 0.9}
    return result([{"metric": "barrier", "value": 0.0}], seed, n=n, **barriers, **settings)


def mean_classes(multistability, landscape):
    return model_verdicts.attractors_mean_classes(multistability, landscape)


HOLDS, FAILS = [starts(), paths()], [starts(agreement=0.5, near=100, pixels=160), paths(1.0, 2.0)]


@pytest.mark.parametrize(
    "agreement, near, pixels, attack, random, word",
    [
        (0.97, 160, 100, 2.0, 1.0, "supported"),
        (0.95, 160, 100, 2.0, 1.0, "supported"),  # 95 % are asked for
        (0.949, 160, 100, 2.0, 1.0, "undecided"),
        (0.97, 106, 100, 2.0, 1.0, "supported"),  # 6 images differ: p = 0.031
        (0.97, 105, 100, 2.0, 1.0, "undecided"),  # 5 images differ: p = 0.0625
        (0.97, 100, 160, 2.0, 1.0, "undecided"),
        (0.97, 160, 100, 1.0, 2.0, "undecided"),
        (0.97, 160, 100, 1.0, 1.0, "undecided"),
        (0.5, 100, 160, 2.0, 1.0, "undecided"),
        (0.5, 160, 100, 1.0, 2.0, "undecided"),
        (0.5, 100, 160, 1.0, 2.0, "contradicted"),
        (0.5, 100, 100, 1.0, 1.0, "contradicted"),  # no difference is no test that holds
        (0.5, 105, 100, 1.0, 1.0, "contradicted"),
    ],
)
def test_attractors_mean_classes_when_three_tests_hold(agreement, near, pixels, attack, random, word):
    verdict = mean_classes([starts(agreement, near, pixels)], [paths(attack, random)])
    assert verdict.networks == word
    assert verdict.sentence.startswith(f"For these networks: {word}.")


def test_every_network_counts_for_the_meaning_of_attractors():
    good, bad = (list(zip(*rows, strict=True)) for rows in ([HOLDS] * 3, [FAILS] * 3))
    assert mean_classes(*good).networks == "supported"
    assert mean_classes(*bad).networks == "contradicted"
    for k in range(2):  # one network in which one kind of study says the other thing
        for rest, odd in ((good, bad), (bad, good)):
            mixed = list(rest)
            mixed[k] = (*rest[k][:2], odd[k][0])
            assert mean_classes(*mixed).networks == "undecided"


def test_the_sentence_on_attractors_has_their_numbers():
    tables = [starts(0.97, 160, 100), starts(0.91, 150, 110, seed=1)]
    barriers = [paths(2.0, 1.0), paths(3.2, 0.5, seed=1)]
    sentence = mean_classes(tables, barriers).sentence
    shares = [sum(pair) / 2 / N for pair in ((160, 150), (100, 110))]
    rises = [sum(median(p.arrays[f"barrier_{k}"]) for p in barriers) / 2 for k in ("attack", "random")]
    numbers = ("94% of cases", *(f"{s:.0%} of cases" if s > 0.6 else f"{s:.0%} (" for s in shares))
    for part in (*numbers, *(f" {r:.1f} " for r in rises), "1 of 2 networks", "2 of 2"):
        assert part in sentence
    assert sentence != mean_classes(tables[:1], barriers[:1]).sentence
    fewer = mean_classes([starts(0.6)], [paths(1.0, 2.0)]).sentence
    assert "0 of 1 networks" in fewer and "60% of cases" in fewer and "1 of 1" in fewer


def test_a_higher_median_alone_is_no_barrier():
    barriers = {
        "barrier_attack": np.array([2.0, 2.0, 2.0, 0.0]),
        "barrier_random": np.array([1.0, 1.0, 1.0, 9.0]),
    }
    few = result([{"metric": "barrier", "value": 0.0}], n=4, **barriers)
    assert mean_classes([starts()], [few]).networks == "undecided"


@pytest.mark.parametrize("dataset, seeds, enough, missing", METHOD)
def test_attractors_speak_about_the_method_with_seeds_on_the_papers_images(dataset, seeds, enough, missing):
    for values, barrier, word in (
        ((0.97, 160, 100), (2.0, 1.0), "supported"),
        ((0.5, 100, 160), (1.0, 2.0), "contradicted"),
    ):
        tables = [starts(*values, seed=s, dataset=dataset) for s in range(seeds)]
        barriers = [paths(*barrier, seed=s, dataset=dataset) for s in range(seeds)]
        check_the_method(mean_classes(tables, barriers), word, enough, missing)


def estimators(judged, trained=(0.9, 0.9, 0.9), seed=0, **settings):
    """Cosines by layer at the settings that are judged and at those of training; anything else is 0.2."""
    rows = []
    for estimator, beta, steps, arg_max in [
        ("bptt", None, None, None),
        *(("centred", b, k, a) for b in (0.5, 0.1, 0.02) for k in (8, 30) for a in ("live", "frozen")),
        ("one-sided", 0.1, 30, "frozen"),
    ]:
        cosines = {("centred", 0.1, 30, "frozen"): judged, ("centred", 0.5, 8, "live"): trained}.get(
            (estimator, beta, steps, arg_max), [0.2] * len(LAYERS)
        )
        where = dict(estimator=estimator, beta=beta, nudged_steps=steps, arg_max=arg_max)
        for layer, cosine in zip(LAYERS, cosines, strict=True):
            rows.append(where | dict(layer=layer, metric="cosine", value=cosine, n=5))
            rows.append(where | dict(layer=layer, metric="norm_ratio", value=0.01, n=5))
    rows.append({"metric": "accuracy", "value": 0.1})
    return result(rows, seed, sizes={"trained_with": [0.5, 8, "live"]}, **settings)


def gradient(*judged, trained=(0.9, 0.9, 0.9), **settings):
    return model_verdicts.computes_the_gradient(
        [estimators(j, trained, seed, **settings) for seed, j in enumerate(judged)]
    )


@pytest.mark.parametrize(
    "judged, word",
    [
        ([(0.99, 0.98, 0.97)], "supported"),
        ([(0.95, 1.0, 1.0)], "supported"),
        ([(1.0, 1.0, 0.9499)], "undecided"),
        ([(1.0, 0.5, 1.0)], "undecided"),
        ([(1.0, 0.4999, 1.0)], "contradicted"),
        ([(1.0, -0.9, 1.0)], "contradicted"),
        ([(0.99, 0.98, 0.97), (0.96, 0.99, 0.95)], "supported"),
        ([(0.99, 0.98, 0.97), (0.94, 0.99, 0.95)], "undecided"),
        ([(0.4, 1.0, 1.0), (1.0, 0.3, 1.0)], "contradicted"),
        ([(0.4, 1.0, 1.0), (1.0, 0.6, 1.0)], "undecided"),
    ],
)
def test_the_gradient_is_judged_by_the_worst_layer(judged, word):
    verdict = gradient(*judged)
    assert verdict.networks == word
    assert verdict.sentence.startswith(f"For these networks: {word}.")


def test_the_sentence_on_the_gradient_has_its_numbers():
    sentence = gradient((0.991, 0.9876, 0.97), (0.9999, 0.9654, 0.98), trained=(0.9, 0.8123, 0.85)).sentence
    for part in (
        "β = 0.1",
        "30 nudged steps",
        "at least 0.965",
        "of every network",
        "β = 0.5, 8 steps, live",
    ):
        assert part in sentence
    assert "at least 0.812." in sentence
    one = gradient((0.991, 0.9876, 0.97), trained=(0.7, 0.8123, 0.85)).sentence
    assert "at least 0.970 in every layer;" in one and "at least 0.700." in one
    assert "0.95" in gradient((1.0, 1.0, 1.0)).overturn


@pytest.mark.parametrize("dataset, seeds, enough, missing", METHOD)
def test_the_gradient_speaks_about_the_method_with_seeds_on_the_papers_images(
    dataset, seeds, enough, missing
):
    for cosines, word in (((0.99, 0.98, 0.97), "supported"), ((0.99, 0.1, 0.97), "contradicted")):
        check_the_method(gradient(*[cosines] * seeds, dataset=dataset), word, enough, missing)


def provoked(right, said, n=N, **settings):
    """Runs with `right` of n images right, the first of them unturned; said: in which ones the monitors
    spoke."""
    turned = [("nothing", 1.0), ("gains", 0.25), ("β", 50.0), ("free steps", 1.0), ("learning rates", 0.0625)]
    rows = []
    for (name, to), k in zip(turned, right, strict=False):
        where = {"turned": name, "to": to}
        rows += [where | {"metric": m, "value": v} for m, v in (("accuracy", k / n), ("residual", 0.3))]
    correct = [np.arange(n) < k for k in right]
    words = [["layer 1: 90% of its units are silent"] if i in said else [] for i in range(len(right))]
    return result(rows, n=n, correct=correct, said=words, **settings)


def caught(right, said=(), **settings):
    return model_verdicts.failures_are_caught(provoked(right, said, **settings))


@pytest.mark.parametrize(
    "right, said, word",
    [
        ([170, 160, 20, 20, 165], (2, 3), "supported"),
        ([170, 160, 20, 20, 165], (2,), "contradicted"),  # half of the failed runs
        ([170, 160, 20, 20, 20], (2, 3), "undecided"),
        ([170, 20, 20, 20, 20], (2,), "contradicted"),
        ([170, 20, 20, 20, 20], (), "contradicted"),
        ([170, 160, 20, 20, 165], (0, 2, 3), "undecided"),  # a warning about the unturned run
        ([170, 160, 20, 20, 165], (0, 2), "contradicted"),
        ([170, 160, 20, 20, 165], (1, 2, 3, 4), "supported"),  # early warnings are no misses
        ([170, 150, 160, 165, 180], (), "contradicted"),  # 20 of 200 images are ten points
        ([170, 151, 160, 165, 180], (), "undecided"),  # no failed run
        ([170, 151, 160, 165, 180], (0, 1, 2), "undecided"),
        ([170, 150, 160, 165, 180], (1,), "supported"),
        ([170, 151, 160, 165, 180], (1,), "undecided"),
        ([170, 0, 160, 165, 180], (1,), "supported"),  # stopped: no image is right
    ],
)
def test_failures_are_caught_when_every_one_is_reported(right, said, word):
    verdict = caught(right, said)
    assert verdict.networks == word
    assert verdict.sentence.startswith(f"For these networks: {word}.")


@pytest.mark.parametrize("right", [50, 60, 83, 251, 300, 425, 426, 427, 500])
def test_ten_points_of_five_hundred_images_are_ten_points_wherever_they_lie(right):
    assert caught([right, right - 50], (1,), n=500).networks == "supported"
    assert caught([right, right - 49], (1,), n=500).networks == "undecided"


def test_without_a_failed_run_nothing_is_said_about_failures():
    verdict = caught([170, 165, 160, 180, 151])
    assert verdict.networks == "undecided" and "0 ended ten points" in verdict.sentence


def test_the_sentence_on_failures_counts_and_names_them():
    sentence = caught([170, 165, 20, 20, 100], (1, 3)).sentence
    for part in (
        "Of 4 runs",
        "3 ended ten points",
        "(85%)",
        "1 of them were",
        "not: β 50, learning rates 0.0625",
    ):
        assert part in sentence
    assert sentence.count("Reported although they did well enough: gains 0.25.") == 1
    quiet = caught([170, 165, 20, 20, 100], (2, 3, 4)).sentence
    assert "although" not in quiet and "not:" not in quiet and "3 of them were reported." in quiet


def test_a_warning_about_the_unturned_run_is_named_as_such():
    sentence = caught([170, 165, 20, 20, 100], (0, 2, 3, 4)).sentence
    assert "the unturned run." in sentence and "nothing 1" not in sentence


@pytest.mark.parametrize("dataset", ["sample", "cifar10"])
def test_one_series_of_failures_says_nothing_about_the_method(dataset):
    verdict = caught([170, 165, 20, 20, 165], (2, 3), dataset=dataset)
    assert (verdict.networks, verdict.method) == ("supported", "undecided")
    assert "For the method: undecided (" in verdict.sentence and "1 of the 5 seeds" in verdict.sentence


@pytest.mark.parametrize(
    "verdict",
    [
        lambda: settles([160], [160]),
        lambda: mean_classes(*[[r] for r in HOLDS]),
        lambda: gradient((1.0, 1.0, 1.0)),
        lambda: caught([170, 165]),
    ],
)
def test_every_verdict_is_whole(verdict):
    found = verdict()
    assert isinstance(found, Verdict) and found.overturn.endswith(".") and found.sentence.endswith(".")
    for text in (found.sentence, found.overturn):
        assert "nan" not in text and "  " not in text and "\n" not in text


def exact_signed_rank(differences):
    """By counting all signs: the p of a rank sum at least as far from its mean."""
    ranks = np.argsort(np.argsort(np.abs(differences))) + 1
    signs = (np.arange(2 ** len(ranks))[:, None] >> np.arange(len(ranks))) & 1
    mean = ranks.sum() / 2
    return np.mean(abs(signs @ ranks - mean) >= abs(ranks[np.array(differences) > 0].sum() - mean))


@pytest.mark.parametrize(
    "differences",
    [[1, 2, 3, 4, 5, 6], [1, -2, 3, 4, 5, 6], [-1, 2, -3, 4, -5], [0.5, 7, -0.25, 3, 9, 11, -2]],
)
def test_signed_rank_counts_signs(differences):
    second = np.linspace(10, 20, len(differences))
    first = second + differences
    p = signed_rank(first, second)
    assert p == pytest.approx(exact_signed_rank(differences))
    assert p == pytest.approx(wilcoxon(differences).pvalue) and p == signed_rank(second, first)


def test_signed_rank_of_equal_pairs_is_one():
    same = np.arange(5.0)
    assert signed_rank(same, same.copy()) == 1.0
    assert signed_rank(np.append(same, 9.0), np.append(same, 1.0)) == 1.0  # one pair that differs, of six

from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest

from eplib.checks import InputError
from eplib.results import Result
from eplib.verdicts import along_the_curve, lagging, lags, more_robust

N = 200
EPSILONS = {"linf": [0.001, 0.0101, 0.1], "l2": [0.05, 0.309, 3.0]}  # the middle one is at the largest gap


def result(right, seed=0, dataset="sample", norm="linf", elsewhere=0, first=0, n=N, clean=N):
    """`right` of n images right at the ε that counts, from image `first` on, `elsewhere` at the others,
    `clean` without an attack.
    """
    correct = np.zeros((3, n), bool)
    correct[[0, 2], :elsewhere] = True
    correct[1, first : first + right] = True
    settings = {
        "epsilons": EPSILONS[norm],
        "norm": norm,
        "seed": seed,
        "dataset": dataset,
        "images": n,
        "measurement": f"pgd-{norm}",
        "scale": "quick",
    }
    return Result(settings, None, np.arange(n), np.arange(n) < clean, correct, {})


def judge(ep, cnn, norm="linf", **settings):
    """ep, cnn: how many images are right, one number a seed."""
    return more_robust(
        *(
            [result(right, seed, norm=norm, **settings) for seed, right in enumerate(network)]
            for network in (ep, cnn)
        ),
        norm,
    )


@pytest.mark.parametrize("norm", EPSILONS)
@pytest.mark.parametrize(
    "ep, cnn, word",
    [
        ([150], [100], "supported"),
        ([100], [150], "contradicted"),
        ([150], [150], "undecided"),
        ([150, 140, 145], [100, 110, 90], "supported"),
        ([100, 110, 90], [150, 140, 145], "contradicted"),
        ([150, 140, 90], [100, 110, 145], "undecided"),
        ([150, 140, 110], [100, 110, 110], "undecided"),
        ([150, 104], [100, 100], "undecided"),
        ([104], [100], "undecided"),
        ([106], [100], "supported"),
    ],
)
def test_the_word_for_these_networks_follows_the_outcomes(norm, ep, cnn, word):
    verdict = judge(ep, cnn, norm)
    assert verdict.networks == word
    assert verdict.sentence.startswith(f"For these networks: {word}.")
    assert verdict.method == "undecided"


def test_a_lead_that_chance_explains_decides_nothing():
    # 60 against 50 images: 60 only the EP-CNN has right, 50 only the CNN, so that p is about 0.39
    assert more_robust([result(60)], [result(50, first=100)], "linf").networks == "undecided"
    assert more_robust([result(60)], [result(50)], "linf").networks == "supported"


def test_p_values_are_adjusted_for_the_number_of_pairs():
    # 7 images differ, all one way: p = 2 / 2^7 = 0.0156 alone, 0.047 as one of three, 0.0625 as one of four
    alone, three, four = (judge([107] * k, [100] * k) for k in (1, 3, 4))
    assert [v.networks for v in (alone, three, four)] == ["supported", "supported", "undecided"]
    assert f"{2 / 2**7:.2g}" in alone.sentence and f"{6 / 2**7:.2g}" in three.sentence


def test_only_the_epsilon_of_the_largest_published_gap_counts():
    verdict = more_robust([result(150, elsewhere=0)], [result(100, elsewhere=N)], "linf")
    assert verdict.networks == "supported"
    assert "2.58/255" in verdict.sentence and "2.58/255" in verdict.overturn


@pytest.mark.parametrize(
    "dataset, seeds, word",
    [
        ("cifar10", 5, "supported"),
        ("cifar100", 5, "supported"),
        ("cifar10", 4, "undecided"),
        ("sample", 5, "undecided"),
        ("fashion-mnist", 6, "undecided"),
    ],
)
def test_the_method_needs_five_seeds_on_the_papers_images(dataset, seeds, word):
    verdict = judge([150] * seeds, [100] * seeds, dataset=dataset)
    assert (verdict.networks, verdict.method) == ("supported", word)
    assert f"For the method: {word}" in verdict.sentence
    swapped = judge([100] * seeds, [150] * seeds, dataset=dataset)
    assert swapped.method == {"supported": "contradicted", "undecided": "undecided"}[word]


def test_a_repeated_seed_is_no_new_evidence():
    ep, cnn = ([result(right, dataset="cifar10")] * 5 for right in (150, 100))
    with suppress(InputError):  # refusing them is as good
        assert more_robust(ep, cnn, "linf").method == "undecided"


def test_the_sentence_says_why_the_method_is_undecided():
    assert "not the paper's" in judge([150] * 5, [100] * 5).sentence
    few = judge([150], [100], dataset="cifar10").sentence
    assert "1 of the 5 seeds" in few and "not the paper's" not in few


def test_the_sentence_contains_the_numbers_and_changes_with_them():
    sentence = judge([150, 140], [100, 110]).sentence
    p = 2 / 2**30  # the larger of both: 30 images differ, all one way
    for part in ("72.5%", "52.5%", "200 test images", "2 seeds", f"{p:.2g}"):
        assert part in sentence
    other = judge([150, 160], [100, 110]).sentence
    assert "77.5%" in other and "72.5%" not in other
    assert judge([150], [100], norm="l2").sentence.count("ℓ2 ε = 0.309") == 1


def test_what_would_overturn_it_names_the_level_and_the_seeds():
    overturn = judge([150], [100]).overturn
    assert "p < 0.05" in overturn and "5 seeds" in overturn and "ℓ∞" in overturn


@pytest.mark.parametrize("ep, cnn", [([], []), ([150], []), ([150, 150], [100])])
def test_unpaired_results_are_refused(ep, cnn):
    with pytest.raises(InputError, match="one of each for every seed"):
        judge(ep, cnn)


@pytest.mark.parametrize(
    "cnn",
    [
        replace(result(100), image_ids=np.arange(N) + 1),
        result(100, n=100),
        result(100, seed=1),
        result(100, dataset="cifar10"),
        replace(result(100), settings=result(100).settings | {"epsilons": [0.001, 0.02, 0.1]}),
    ],
    ids=["image ids", "number of images", "seed", "data set", "epsilons"],
)
def test_pairs_that_do_not_belong_together_are_refused(cnn):
    with pytest.raises(InputError) as error:
        more_robust([result(150)], [cnn], "linf")
    assert "\n" not in str(error.value)


def test_pairs_of_different_data_sets_are_refused():
    ep, cnn = ([result(right, 0, "cifar10"), result(right, 1, "sample")] for right in (150, 100))
    with pytest.raises(InputError):
        more_robust(ep, cnn, "linf")


def test_results_under_another_norm_are_refused():
    with pytest.raises(InputError):
        more_robust([result(150)], [result(100)], "l2")
    with pytest.raises(InputError, match="linf, l2"):
        more_robust([result(150)], [result(100)], "l1")


@pytest.mark.parametrize(
    "own, reference, behind",
    [
        (0.7, 0.8, False),
        (0.8, 0.7, False),
        (0.77, 0.87, False),
        (0.699, 0.8, True),
        (0.8, 0.9, False),
        (0.1, 0.9, True),
        (0.9, 0.9, False),
    ],
)
def test_a_network_lags_from_more_than_ten_points_on(own, reference, behind):
    assert lags(own, reference) == behind


def trained(*clean):
    """Results of one network a seed, 100 images right under attack, `clean` right without."""
    return [result(100, seed, clean=c) for seed, c in enumerate(clean)]


@pytest.mark.parametrize(
    "ep, cnn, who",
    [
        ((180,), (160,), None),
        ((180,), (159,), "CNN"),
        ((159,), (180,), "EP-CNN"),
        ((180, 180), (140, 180), None),
        ((180, 180), (139, 180), "CNN"),
    ],
)
def test_who_lags_is_decided_by_the_mean_over_seeds(ep, cnn, who):
    said = lagging(trained(*ep), trained(*cnn))
    assert said.startswith(f"The {who} is under-trained") if who else said == ""


@pytest.mark.parametrize("ep, cnn, word", [(150, 50, "supported"), (50, 150, "contradicted")])
def test_robustness_of_an_under_trained_network_decides_nothing(ep, cnn, word):
    for clean_ep, clean_cnn in ((180, 159), (159, 180)):
        pairs = [
            [result(k, s, "cifar10", clean=c) for s in range(5)]
            for k, c in ((ep, clean_ep), (cnn, clean_cnn))
        ]
        verdict = more_robust(*pairs, "linf")
        assert (verdict.networks, verdict.method) == ("undecided", "undecided")
        assert verdict.sentence.startswith("For these networks: undecided. The ")
        low, high = ("CNN", "EP-CNN") if clean_ep > clean_cnn else ("EP-CNN", "CNN")
        assert (
            f"The {low} is under-trained: its clean accuracy of 79.5% is more than 10 points below the"
            f" {high}'s 90.0%. Under PGD" in verdict.sentence
        )
    alike = more_robust([result(ep, clean=180)], [result(cnn, clean=160)], "linf")
    assert alike.networks == word and "under-trained" not in alike.sentence
    assert "10 points" in alike.overturn


@pytest.mark.parametrize("ep, cnn, leader", [(150, 100, "ep-cnn"), (100, 150, "cnn"), (120, 120, "neither")])
def test_the_curve_is_described_at_every_epsilon(ep, cnn, leader):
    leaders = along_the_curve(
        [result(ep, seed, elsewhere=60) for seed in range(3)],
        [result(cnn, seed, elsewhere=100) for seed in range(3)],
        "linf",
    )
    assert sorted(e for found in leaders.values() for e in found) == EPSILONS["linf"]
    assert EPSILONS["linf"][1] in leaders[leader]
    assert set(leaders["cnn"]) >= {0.001, 0.1}


def test_the_description_is_adjusted_for_every_comparison_in_it():
    # 8 images differ, all one way: p = 0.0078 alone, above 0.05 as one of nine
    ep, cnn = ([result(right, seed) for seed in range(3)] for right in (108, 100))
    assert more_robust(ep, cnn, "linf").networks == "supported"
    assert along_the_curve(ep, cnn, "linf")["ep-cnn"] == []


def test_one_pair_that_disagrees_leaves_no_leader():
    ep, cnn = [result(150, 0), result(100, 1)], [result(100, 0), result(150, 1)]
    assert along_the_curve(ep, cnn, "linf")["neither"] == EPSILONS["linf"]

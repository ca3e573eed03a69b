import re
from types import SimpleNamespace

import drawings
import numpy as np
import pandas as pd
import pytest

from eplib import (
    horizons,
    iterations,
    phase_budgets,
    phase_figures,
    phase_horizons,
    phase_lengths,
    phase_sentences,
    phase_verdicts,
    published,
    statistics,
)
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
    seeds = [by_length({10: 20, 250: 45}, seed=s, dataset="cifar10") for s in range(5)]
    verdict = phase_verdicts.settling_adds_robustness(seeds)
    assert verdict.method == "supported" and "5 seeds" in verdict.sentence
    assert phase_verdicts.settling_adds_robustness(seeds[:4]).method == "undecided"


def measured_lengths(clean, square, norms, transferred, lengths=(4, 10, 29, 60), seed=11, seconds=None):
    """A result of "phase-lengths" as it is measured: so many of 20 images right without an attack and under
    Square at every length, the norms [20] of C&W and whether its changes break the settled network [20].
    """
    sizes = dict(images=20, lengths=list(lengths), queries=200, searches=3, cw_steps=60, constant=1.0)
    sizes |= {"epsilon": 0.0464, "batch": 16}
    rows, correct, arrays = [], [], {"minimal_norm": [], "transferred": []}
    for i, steps in enumerate(lengths):
        right = np.arange(20) < clean[i]
        norm = np.where(right, norms[i], 0).astype(np.float32)
        found = {
            "clean": right,
            "unsettled": np.arange(20) >= 5 * i,
            "square": np.arange(20) < square[i],
            "minimal_norm": norm,
            "transferred": np.where(np.isfinite(norm) & right, transferred[i], -1).astype(np.int8),
            "gradient_seconds": np.full(20, (seconds or {}).get(steps, steps / 1000)),
        }
        rows += phase_lengths._rows(steps, found, sizes)
        correct += [found["clean"], found["square"]]
        arrays["minimal_norm"].append(found["minimal_norm"])
        arrays["transferred"].append(found["transferred"])
    settings = {"measurement": "phase-lengths", "model": "ep-cnn", "seed": seed, "dataset": "sample"}
    settings |= {"scale": "quick", "sizes": sizes, "predict_steps": 20, "order": "forward"}
    arrays = {name: np.stack(values) for name, values in arrays.items()}
    record = {"seconds": 60.0, "device": "a test, 1 thread"}
    return Result(settings, pd.DataFrame(rows), np.arange(20), correct[-2], np.stack(correct), record, arrays)


def told(html):
    """The cells of a table of words, line by line, without its head."""
    return [re.findall("<t[hd]>(.*?)</t[hd]>", line) for line in re.findall("<tr>(.*?)</tr>", html)][1:]


@pytest.fixture
def axes(monkeypatch):
    """Figures give their axes instead of their pictures."""
    monkeypatch.setattr(phase_figures, "draw", drawings.axes_only)
    monkeypatch.setattr(phase_horizons, "draw", drawings.axes_only)
    monkeypatch.setattr(phase_budgets, "draw", drawings.axes_only)


def uneven(e, attack, t):
    """Images left: fewer the closer the attack's horizon is to the prediction's, and after ten steps."""
    steps, gradient = attack
    apart = 0 if (gradient, t) == ("adjoint", 250) else abs(round(8 * np.log10(steps / t)))
    return (60 if e == 0.309 else 30) + apart - (12 if t == 10 else 0)


MATRIX = [matrix(uneven, seed=s, clean=lambda t: 84 if t == 10 else 90) for s in (11, 13)]


def curve(ax, colour):
    """(x, y) of the curve of a colour, the one with the most points."""
    lines = [line for line in ax.lines if line.get_color() == colour and len(line.get_xdata()) > 2]
    return np.array(max(lines, key=lambda line: len(line.get_xdata())).get_data()).T.tolist()


def test_accuracy_is_drawn_at_every_length_that_was_attacked_through_its_own_steps(axes):
    left, middle, _ = phase_figures.by_length({"ep-cnn": MATRIX}, {}, BADGE)
    theirs = published.free_step_curve()["mean"]
    assert curve(left, phase_figures.PLAIN) == [[t, y] for t, y in theirs.items()]
    assert curve(middle, phase_figures.PLAIN) == [[10, 0.84], [30, 0.9], [60, 0.9], [250, 0.9]]
    names = {text.get_text(): text.arrowprops["color"] for text in middle.texts}
    assert list(names) == ["no attack", "ℓ2 ε = 0.309", "ℓ2 ε = 0.766"]
    assert curve(middle, names["ℓ2 ε = 0.309"]) == [[10, 0.48], [30, 0.6], [60, 0.6], [250, 0.6]]
    assert curve(middle, names["ℓ2 ε = 0.766"]) == [[10, 0.18], [30, 0.3], [60, 0.3], [250, 0.3]]
    assert {line.get_linestyle() for line in middle.lines} == {"--"}


def test_bands_reach_over_the_intervals_of_all_seeds(axes):
    results = [by_length({10: 20, 30: 20, 60: 20, 250: 20}), by_length({10: 30, 30: 30, 60: 30, 250: 30})]
    mean, low, high = phase_figures.band([r.correct[len(PREDICTED) + 2] for r in results])
    assert (mean, low, high) == (0.25, statistics.wilson(20, N)[0], statistics.wilson(30, N)[1])


def test_the_worst_over_all_attacks_stands_beside_the_own_attack(axes):
    def left(e, attack, t):
        return 25 if attack == (4, "unrolled") else 40

    _, middle, right = phase_figures.by_length({"ep-cnn": [matrix(left, epsilons=[0.309])]}, {}, BADGE)
    colour = middle.texts[1].arrowprops["color"]
    assert [y for _, y in curve(middle, colour)] == [0.4] * 4
    assert [y for _, y in curve(right, colour)] == [0.25] * 4


def test_the_accuracy_after_every_step_is_drawn_where_it_was_measured(axes):
    table = pd.DataFrame({"metric": "accuracy", "order": "synchronous", "predict_steps": [1, 10, 250]})
    settling = SimpleNamespace(table=table.assign(value=[0.1, 0.7, 0.8]))
    _, middle, right = phase_figures.by_length({"ep-cnn": MATRIX}, {"ep-cnn": [settling]}, BADGE)
    for ax in (middle, right):
        assert [list(v) for v in ax.lines[0].get_data()] == [[1, 10, 250], [0.1, 0.7, 0.8]]


def test_at_most_three_strengths_are_drawn_from_the_compared_one_on():
    every = [0.05, 0.124, 0.309, 0.486, 0.766, 1.0, 1.903, 3.0]
    assert phase_figures.strengths(matrix(uneven, epsilons=every)) == [0.309, 0.766, 3.0]
    assert phase_figures.strengths(matrix(uneven, epsilons=[0.766, 1.903])) == [0.766, 1.903]


def test_a_stand_in_for_the_own_attack_is_named():
    assert phase_figures.stand_ins(MATRIX[0]) == " (through 29 at 30, by the adjoint at 250)"
    exact = matrix(uneven, attacked=[[t, "unrolled"] for t in PREDICTED])
    assert phase_figures.stand_ins(exact) == ""


def test_both_horizons_are_drawn_at_two_strengths_and_the_own_attack_is_ringed(axes):
    for (left, right), epsilon in zip(phase_horizons.figure(MATRIX, BADGE), EPSILONS, strict=True):
        theirs = phase_horizons.published_curve(epsilon)
        assert curve(left, left.lines[0].get_color()) == [[t, y] for t, y in theirs["mean"].items()]
        names = {text.get_text(): text.arrowprops["color"] for text in right.texts}
        assert set(names) == {f"predicts after {t}" for t in (10, 30, 60, 250)}
        for steps, at in ((10, 10), (30, 29), (60, 60)):
            expected = [uneven(epsilon, (t, "unrolled"), steps) / 100 for t in (4, 10, 29, 60)]
            found = curve(right, names[f"predicts after {steps}"])
            assert found == [[t, y] for t, y in zip((4, 10, 29, 60), expected, strict=True)]
            rings = [line for line in right.lines if line.get_markerfacecolor() == "none"]
            (ring,) = [line for line in rings if line.get_color() == names[f"predicts after {steps}"]]
            assert list(ring.get_xdata()) == [at] and ring.get_ydata()[0] == min(expected)
        diamonds = [line for line in right.lines if line.get_marker() == "D"]
        assert len(diamonds) == 4 and all(list(d.get_xdata()) == [250] for d in diamonds)


def test_one_strength_is_drawn_once(axes):
    assert len(phase_horizons.figure([matrix(uneven, epsilons=[0.309])], BADGE)) == 2


def test_the_published_curve_has_the_most_images_of_every_horizon():
    curve = phase_horizons.published_curve(0.05)
    rows = published.table("pgd", model="ep-cnn", norm="l2", series="seeds", predict_steps=250.0)
    rows = rows[rows.epsilon == 0.05]
    assert list(curve.index) == sorted(rows.attack_steps.unique()) and curve.attrs["epsilon"] == 0.05
    assert curve["mean"][15] == rows[(rows.attack_steps == 15) & (rows.images == 10_000)]["mean"].iloc[0]


def test_the_table_says_what_each_attack_leaves_beside_the_own_one():
    lines = told(phase_horizons.differences(MATRIX, 0.309))
    assert [line[0] for line in lines] == ["10 steps", "30 steps", "60 steps", "250 steps"]
    assert lines[0][1:] == ["+3.0", "[48.0 %]", "+4.0", "+6.0", "+11.0", "+0.0"]
    assert lines[3][5] == "[60.0 %]" and lines[3][1] == "+14.0"
    worse = matrix(lambda e, attack, t: 20 if attack == (4, "unrolled") else 50)
    cells = told(phase_horizons.differences([worse], 0.766))[1][1:]
    assert cells == ["-30.0", "+0.0", "[50.0 %]", "+0.0", "+0.0", "-30.0"]
    assert [told(t)[0][2] for t in phase_horizons.tables(MATRIX)] == ["[48.0 %]", "[18.0 %]"]


def test_what_a_mismatched_attack_loses_is_told_in_both_directions():
    words = phase_horizons.words(MATRIX)
    assert "at ε = 0.309, one through fewer steps leaves from +3.0 points (" in words
    assert "to +14.0 (4 steps, predicted after 250)" in words
    assert "to +6.0 (60 steps, predicted after 10); at ε = 0.766" in words
    better = matrix(lambda e, attack, t: 50 - (5 if attack[0] == 60 else 0), epsilons=[0.309])
    words = phase_horizons.words([better])
    assert "fewer steps leaves from -5.0 points (60 steps, predicted after 250) to +" in words


def test_what_the_longer_phase_keeps_is_told_at_every_strength_for_both_countings():
    def left(e, attack, t):
        own = {10: 20, 250: 50 if e == 0.766 else 30}.get(t, 40)
        return own if attack[0] in (10, 250) else 25 if t == 250 and attack[0] == 4 else 60

    assert "+10.0 and +5.0 at 0.309; +30.0 and +5.0 at 0.766" in phase_horizons.along([matrix(left)])


INF = np.inf
NORMS = [np.linspace(0.2, 2.0, 20), np.linspace(0.3, 3.0, 20), np.full(20, INF), np.linspace(0.4, 4.0, 20)]
NORMS[3][::2] = INF
LENGTHS = [
    measured_lengths((10, 16, 18, 20), (5, 8, 9, 10), NORMS, [1 - np.arange(20) % 2] * 4, seed=s)
    for s in (11, 13)
]


def test_square_and_the_smallest_changes_are_drawn_at_every_length(axes):
    left, right = phase_figures.minimal({"ep-cnn": LENGTHS}, BADGE)
    assert curve(left, phase_figures.PLAIN) == [[4, 0.5], [10, 0.8], [29, 0.9], [60, 1.0]]
    assert curve(left, "#0072b2") == [[4, 0.25], [10, 0.4], [29, 0.45], [60, 0.5]]
    dots = [len(line.get_xdata()) for line in right.lines if line.get_marker() == "o"]
    beyond = [len(line.get_xdata()) for line in right.lines if line.get_marker() == "^"]
    assert dots == [20, 32, 0, 20] and beyond == [0, 0, 36, 20]
    assert [t.get_text() for t in right.get_xticklabels()][:2] == [
        "4\n20 of 20\nbroken",
        "10\n32 of 32\nbroken",
    ]
    medians = [line.get_ydata()[0] for line in right.lines if line.get_linewidth() == 2]
    assert medians == pytest.approx([np.median(NORMS[0][:10]), np.median(NORMS[1][:16])], rel=1e-6)


def test_without_a_broken_image_the_page_goes_on(axes):
    none = [measured_lengths((10,) * 4, (0,) * 4, [np.full(20, INF)] * 4, [np.zeros(20)] * 4)]
    assert len(phase_figures.minimal({"ep-cnn": none}, BADGE)) == 2
    assert "no change can be judged" in phase_sentences.transfer_words(none)
    wrong = [measured_lengths((0,) * 4, (0,) * 4, NORMS, [np.zeros(20)] * 4)]
    assert told(phase_sentences.lengths_table({"ep-cnn": wrong}))[0][4:7] == ["0 of 0", "–", "–"]
    assert len(phase_figures.minimal({"ep-cnn": wrong}, BADGE)) == 2


def test_the_table_of_lengths_has_what_was_measured():
    lines = told(phase_sentences.lengths_table({"ep-cnn": LENGTHS}))
    middle = f"{np.median(NORMS[0][:10].astype(np.float32)):.3g}"
    assert lines[0] == ["4", "50.0", "100.0", "25.0", "20 of 20", middle, "10 of 20", "4"]
    assert lines[2] == ["29", "90.0", "50.0", "45.0", "0 of 36", "not found", "–", "29"]
    assert lines[3][4:6] == ["20 of 40", "not found"] and lines[3][6] == "0 of 20"


def test_transfers_are_counted_over_all_seeds():
    words = phase_sentences.transfer_words(LENGTHS)
    assert "break it after 250 steps: 10 of 20 from 4 steps, 16 of 32 from 10 steps, 0 of 20 from 60" in words
    assert "29 steps" not in words


def test_whether_the_search_fails_more_at_long_phases_follows_the_numbers():
    words = phase_sentences.search_words(LENGTHS)
    assert (
        "It broke 20 of 20 after 4 steps, 32 of 32 after 10 steps, 0 of 36 after 29 steps, 20 of 40" in words
    )
    p = statistics.mcnemar(np.arange(20) < 20, np.arange(20) >= 10)  # five broken of the ten right, twice
    assert f"right after 4 and after 60 steps it broke 20 and 10 (exact McNemar p {p:.2g}, all" in words
    assert "At the longer phase its gradient leads less well, or" in words
    assert "leaves 25.0% after 4 steps and 50.0% after 60" in words
    few = measured_lengths((10,) * 2, (5,) * 2, [NORMS[0], NORMS[3]], [np.zeros(20)] * 2, lengths=(4, 10))
    said = phase_sentences.search_words([few])  # five of ten are lost, p = 0.0625
    assert "it broke 10 and 5 (exact McNemar p 0.062" in said and "less well" not in said
    turned = measured_lengths((20,) * 2, (5,) * 2, [NORMS[3], NORMS[0]], [np.zeros(20)] * 2, lengths=(4, 10))
    assert "it broke 10 and 20" in phase_sentences.search_words([turned])
    assert "less well" not in phase_sentences.search_words([turned])


def test_what_a_gradient_costs_is_a_ratio_of_the_longest_to_the_shortest():
    words = phase_sentences.cost_words(LENGTHS)
    assert "through 60 steps took 15.0 times as long as one through 4 (60 and 4 ms" in words
    assert "100% after 4, 75% after 10, 50% after 29, 25% after 60" in words


@pytest.mark.parametrize(
    "counts, said", [((20, 40), "keeps more"), ((40, 20), "keeps fewer"), ((30, 30), "is not shown")]
)
def test_the_answer_follows_the_verdict(counts, said):
    results = [by_length({10: counts[0], 250: counts[1]})]
    answer = phase_sentences.answer(phase_verdicts.settling_adds_robustness(results), results, BADGE)
    assert f"left to settle {said}" in answer and answer.startswith("**In one sentence.**")
    assert f"{counts[1]}.0% of the images after 250 steps, and {counts[0]}.0% after 10 (under" in answer
    assert f"worst attack of all horizons {counts[1]}.0% and {counts[0]}.0%), at ℓ2 ε = 0.309 (" in answer
    alone = [by_length({250: 40}, clean=lambda t: 90 if t == 250 else 50)]
    answer = phase_sentences.answer(phase_verdicts.settling_adds_robustness(alone), alone, BADGE)
    assert "is not shown" in answer and "40.0% of the images after 250 steps (under the worst" in answer


def test_the_question_has_the_published_numbers():
    words, curve = phase_sentences.question(), published.free_step_curve()["mean"]
    assert f"{curve[10]:.1%} after 10" in words and f"{curve[250]:.1%} after 250" in words
    for epsilon in (0.309, 1.0):
        rows = phase_horizons.published_curve(epsilon)["mean"]
        assert f"{rows.iloc[0]:.1%} through 10 steps" in words and f"{rows.iloc[-1]:.1%} through 70" in words
        assert f"{rows.min():.1%} through {rows.idxmin():.0f}" in words


def test_what_is_missing_is_named_and_what_is_not_is_not():
    short, exact = [str(m) for m in phase_sentences.missing(MATRIX, LENGTHS)]
    assert "up to 60 steps" in short and "adjoint" in exact and "quick scale" in exact
    _, never = phase_sentences.missing([matrix(uneven, attacked=ATTACKED[:-1])], LENGTHS)
    assert "is not attacked through its own steps" in never
    whole = matrix(uneven, attacked=[*ATTACKED, [250, "unrolled"]])
    long = measured_lengths((10,) * 2, (5,) * 2, NORMS[:2], [np.zeros(20)] * 2, lengths=(4, 250))
    assert phase_sentences.missing([whole], [long]) == []


def test_the_limits_name_the_sizes_and_the_order():
    words = phase_sentences.limits(MATRIX, LENGTHS)
    assert "looks at 100 images a network, Square and C&W at 20" in words
    assert "trained to predict after 20 forward steps" in words
    MATRIX[0].settings["order"], before = "synchronous", MATRIX[0].settings["order"]
    assert "the order it was trained in" in phase_sentences.limits(MATRIX, LENGTHS)
    MATRIX[0].settings["order"] = before


PLAN = iterations.runs(100, 5)
RUNS = [(run, starts) for run in PLAN for starts in run.starts]


def effort(model, left, price, clean=90, seed=11):
    """A result of "iterations" as it is measured: left(run, starts) of N images are right, a gradient costs
    `price` seconds an image.
    """
    spent = np.array([run.steps * starts for run, starts in RUNS], float)[:, None]
    done = {
        "clean": np.arange(N) < clean,
        "right": np.array([np.arange(N) < left(run, starts) for run, starts in RUNS]),
        "gradient_evaluations": np.where(np.arange(N) < clean, spent, np.nan),
        "image_seconds": np.where(np.arange(N) < clean, price * spent, np.nan),
    }
    settings = {"measurement": "iterations", "model": model, "seed": seed, "dataset": "sample"}
    settings |= {"scale": "quick", "sizes": {"epsilon": 1.208, "steps": 100, "restarts": 5, "norm": "l2"}}
    steps, order = (20, "forward") if model == "ep-cnn" else (None, None)
    settings |= {"predict_steps": steps, "order": order}
    table = pd.DataFrame(list(iterations._effort_rows(PLAN, done)))
    return Result(settings, table, np.arange(N), done["clean"], done["right"], {"seconds": 60.0})


def falling(run, starts):
    """Images left: fewer after more steps and starts, fewest under APGD."""
    return 70 - 10 * int(np.log10(run.steps)) - starts - 2 * (run.attack == "apgd-ce")


SPENT = {
    "ep-cnn": [effort("ep-cnn", falling, 0.05)],
    "cnn": [effort("cnn", lambda run, starts: falling(run, starts) - 20, 0.001, clean=95)],
}


def test_the_stair_is_the_lowest_accuracy_for_every_budget():
    budgets, left = phase_budgets.frontier(SPENT["ep-cnn"][0], "gradient_evaluations")
    assert budgets == [1, 10, 20, 50, 100, 250, 500]
    assert left == [0.69, 0.59, 0.59, 0.59, 0.47, 0.47, 0.45]
    seconds, same = phase_budgets.frontier(SPENT["ep-cnn"][0], "image_seconds")
    assert seconds == pytest.approx([0.05 * b for b in budgets]) and same == left
    with pytest.raises(ValueError, match="no image right"):
        phase_budgets.frontier(effort("cnn", lambda run, starts: 0, 0.1, clean=0), "image_seconds")


def test_budgets_match_where_both_attackers_have_spent_the_same():
    budget, left = phase_budgets.matched(SPENT, "gradient_evaluations")
    assert budget == 500 and left == {"ep-cnn": 0.45, "cnn": 0.25}
    budget, left = phase_budgets.matched(SPENT, "image_seconds")  # of the CNN: ten gradients of the EP-CNN
    assert budget == pytest.approx(0.5) and left == {"ep-cnn": 0.59, "cnn": 0.25}


def test_where_nothing_was_attacked_the_page_says_so():
    idle = SPENT | {"cnn": [effort("cnn", lambda run, starts: 0, 0.1, clean=0)]}
    assert phase_budgets.shown(idle, BADGE) == [
        "No image was right in the CNN, so there was nothing to attack."
    ]
    assert [type(part).__name__ for part in phase_budgets.shown(SPENT, BADGE)] == ["Picture", "Text"]


def test_networks_of_others_are_drawn_beside_the_two_whose_budgets_match(monkeypatch):
    found = SPENT | {"lab-net": [effort("ep-cnn", lambda run, starts: 33, 1e-4, seed=3)]}
    idle = found | {"idle-net": [effort("ep-cnn", lambda run, starts: 0, 0.1, clean=0)]}
    picture, words, said = phase_budgets.shown(idle, BADGE)
    assert said == "No image was right in the idle-net, so there was nothing to attack."
    assert words == phase_budgets.words(SPENT)
    assert (
        "lab-net 33.0% for 1, 33.0% for 10," in picture.alt
        and "idle-net" not in picture.alt + picture.caption
    )
    assert "that the attackers of EP-CNN and CNN both spent" in picture.caption
    monkeypatch.setattr(phase_budgets, "draw", drawings.axes_only)
    for ax, cost in zip(phase_budgets.figure(found, BADGE), phase_budgets.UNITS, strict=True):
        dotted = [line.get_xdata()[0] for line in ax.lines if line.get_linestyle() == ":"]
        assert dotted == [phase_budgets.matched(SPENT, cost)[0]]
        assert {t.get_text() for t in ax.texts} == {"EP-CNN", "CNN", "lab-net"}


def test_both_networks_are_drawn_against_gradients_and_seconds(axes):
    for ax, cost in zip(phase_budgets.figure(SPENT, BADGE), phase_budgets.UNITS, strict=True):
        stairs = [line for line in ax.lines if line.get_drawstyle() == "steps-post"]
        for line, results in zip(stairs, SPENT.values(), strict=True):
            assert [list(v) for v in line.get_data()] == [
                list(v) for v in phase_budgets.frontier(results[0], cost)
            ]
        marks = [line for line in ax.lines if line.get_linestyle() == "None"]
        assert sum(len(line.get_xdata()) for line in marks) == 2 * len(RUNS)
        dotted = [line.get_xdata()[0] for line in ax.lines if line.get_linestyle() == ":"]
        assert dotted == [phase_budgets.matched(SPENT, cost)[0]] and ax.get_xscale() == "log"
        assert {t.get_text() for t in ax.texts} == {"EP-CNN", "CNN"}


def test_matched_budgets_are_told_with_the_price_of_a_gradient():
    words = phase_budgets.words(SPENT)
    assert "for 500 gradients an image the EP-CNN 45.0% and the CNN 25.0%" in words
    assert "for 0.5 seconds an image the EP-CNN 59.0% and the CNN 25.0%" in words
    assert "EP-CNN 90.0% and the CNN 95.0% of the images are right" in words
    assert "One gradient of the EP-CNN took 50 times as long as one of the CNN (50 and 1 ms" in words
    dear = SPENT | {"ep-cnn": [effort("ep-cnn", falling, 5.0)]}
    assert "0.5 seconds an image the EP-CNN all, as no attack is so cheap and" in phase_budgets.words(dear)


@pytest.mark.parametrize(
    "label, make",
    [
        ("fig-phase-length", lambda: phase_figures.by_length({"ep-cnn": MATRIX}, {}, BADGE)),
        ("fig-phase-horizons", lambda: phase_horizons.figure(MATRIX, BADGE)),
        ("fig-phase-minimal", lambda: phase_figures.minimal({"ep-cnn": LENGTHS}, BADGE)),
        ("fig-phase-budgets", lambda: phase_budgets.figure(SPENT, BADGE)),
    ],
)
def test_pictures_are_valid_and_tell_their_numbers(label, make):
    pair = [make(), make()], label
    drawings.is_valid_svg_of_the_same_bytes_that_loads_nothing(pair)
    drawings.shows_itself_with_a_text_for_those_who_cannot_see_it(pair)

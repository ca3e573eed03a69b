import json

import numpy as np
import pandas as pd
import pytest

from eplib import checklist, losses, masking_figures, masking_sentences, masking_verdicts
from eplib.chapters import Badge
from eplib.checks import InputError
from eplib.results import Result
from eplib.suite import AUTOATTACK

N = 100
PAGE = Badge("sample", "quick", N, (11,))
ATTACKED = [[4, "unrolled"], [60, "unrolled"], [250, "adjoint"]]


def first(count, n=N):
    return np.arange(n) < count


def result(measurement, rows, correct=None, model="ep-cnn", seed=11, sizes=None, clean=95, arrays=None):
    correct = np.zeros((0, N), bool) if correct is None else np.array(correct)
    settings = {
        "measurement": measurement,
        "model": model,
        "seed": seed,
        "dataset": "sample",
        "scale": "quick",
        "predict_steps": 20,
        "order": "forward",
        "sizes": sizes or {},
    }
    return Result(
        settings, pd.DataFrame(rows), np.arange(N), first(clean), correct, {"seconds": 1}, arrays or {}
    )


def adaptive(plain, worst, seed=11, model="ep-cnn", broken=()):
    rows = [{"metric": "accuracy", "attack": a, "epsilon": 0.309, "n": N} for a in ("pgd", "adaptive")]
    rows += [
        {"metric": "broken", "attack": "adaptive", "epsilon": 0.309, "by": by, "value": share, "n": N}
        for by, share in broken
    ]
    sizes = {"norm": "l2", "epsilons": [0.309], "steps": 20}
    return result("adaptive", rows, [first(plain), first(worst)], model, seed, sizes)


def horizons(paper, worst, seed=11, unsettled=0.0):
    """The matrix at one ε, judged after 250 steps: the paper's attack leaves `paper`, the adjoint `worst`."""
    correct = [first(95)] * 3  # without attack: after 250 steps, the network's own and all that it takes
    for left in (90, paper, worst):
        correct += [first(left), first(5), first(5)]
    rows = [{"metric": "unsettled", "value": unsettled, "n": N}]
    sizes = {"norm": "l2", "epsilons": [0.309], "attacked": ATTACKED, "predicted": [250], "steps": 20}
    return result("horizons", rows, correct, seed=seed, sizes=sizes)


def sanity(**changed):
    values = {
        "pixel_low": 0.0,
        "pixel_high": 1.0,
        "distance": 1.0,
        "repaired": 0.02,
        "identical": 1.0,
        "same_in_float64": 1.0,
        "same_alone": 1.0,
    }
    rows = [{"metric": m, "value": v, "n": 30} for m, v in (values | changed).items()]
    for epsilon in (64 / 255, 1.0):
        rows.append({"metric": "accuracy", "epsilon": epsilon, "value": changed.get("left", 0.0), "n": N})
    rows.append({"metric": "planted", "attack": "pgd", "value": changed.get("planted_share", 1.0), "n": 24})
    return result("sanity", rows, sizes={"planted": 24, "steps": 20})


def line(letter, **found):
    every = {name.replace("_", "-"): {"ep-cnn": results} for name, results in found.items()}
    return next(each for each in checklist.checklist(every) if each.letter == letter)


@pytest.mark.parametrize(
    "plain, worst, word", [(60, 59, "supported"), (60, 20, "contradicted"), (60, 52, "undecided")]
)
def test_the_word_follows_how_much_more_all_attacks_break(plain, worst, word):
    assert masking_verdicts.by_effort([adaptive(plain, worst)]).networks == word
    assert masking_verdicts.by_horizon([horizons(plain, worst)]).networks == word


def test_one_network_that_differs_makes_it_undecided_and_few_seeds_say_nothing_about_the_method():
    verdict = masking_verdicts.by_effort([adaptive(60, 20), adaptive(60, 59, seed=13)])
    assert verdict.networks == "undecided"
    verdict = masking_verdicts.by_effort([adaptive(60, 20), adaptive(60, 20, seed=13)])
    assert verdict.networks == "contradicted" and verdict.method == "undecided"
    assert "60.0%" in verdict.sentence and "20.0%" in verdict.sentence


def test_the_paper_s_attack_is_the_exact_gradient_nearest_to_its_horizon():
    assert masking_verdicts.paper_horizon(horizons(50, 40)) == [60, "unrolled"]


def test_outcomes_that_do_not_contain_each_other_are_refused():
    right = np.array([True, False])
    with pytest.raises(InputError, match="contain"):
        masking_verdicts.not_masked([(right, ~right)], [], "", "")
    with pytest.raises(InputError, match="contain"):
        masking_verdicts.not_masked([], [], "", "")


def test_what_was_not_run_fails_with_its_wanted_number_beside():
    lines = checklist.checklist({})
    assert [each.letter for each in lines] == list("ABCDEFGHIJKLMNOPQRS")
    assert not any(each.passed for each in lines) and {each.evidence for each in lines} == {checklist.NOT_RUN}
    page = masking_sentences.lines(lines)
    assert (
        page.count(f"<td>{checklist.NOT_RUN}</td>") == 19
        and page.count("<td>fail</td>") == 19
        and "10,000" in page
    )


@pytest.mark.parametrize(
    "letter, good, bad",
    [
        ("A", sanity(), sanity(distance=1.01)),
        ("A", sanity(), sanity(pixel_low=-0.1)),
        ("J", sanity(), sanity(left=0.02)),
        ("P", sanity(), sanity(planted_share=0.9)),
        ("Q", sanity(), sanity(identical=0.99)),
        ("R", sanity(), sanity(same_in_float64=0.9)),
        ("R", sanity(), sanity(same_alone=0.9)),
    ],
)
def test_lines_of_sanity_flip_with_their_numbers(letter, good, bad):
    assert line(letter, sanity=[good]).passed and not line(letter, sanity=[bad]).passed
    assert not line(letter, sanity=[good, bad]).passed  # it must hold for every seed


def test_an_attack_without_true_labels_fails():
    attacked = attack("pgd-linf", 70, 30)
    good = line("A", sanity=[sanity()], pgd_linf=[attacked])
    attacked.table["labels"] = "predicted"
    bad = line("A", sanity=[sanity()], pgd_linf=[attacked])
    assert good.passed and "true" in good.evidence and not bad.passed and "predicted" in bad.evidence


def test_lines_of_effort_flip_with_their_numbers():
    assert line("E", adaptive=[adaptive(60, 56)]).passed and not line("E", adaptive=[adaptive(60, 50)]).passed
    assert line("F", horizons=[horizons(60, 58)]).passed and not line("F", horizons=[horizons(60, 50)]).passed
    assert not line("F", horizons=[horizons(60, 58, unsettled=0.2)]).passed
    matching = losses.STATE_ATTACKS[0]
    assert line("G", adaptive=[adaptive(60, 56, broken=[(matching, 0.04)])]).passed
    assert not line("G", adaptive=[adaptive(60, 40, broken=[(matching, 0.2)])]).passed
    assert not line("G", adaptive=[adaptive(60, 40, broken=[("unrolled, margin", 0.2)])]).passed
    several = adaptive(60, 40, broken=[(f"unrolled, {name}", 0.1) for name in losses.LOSSES])
    assert line("C", adaptive=[several]).passed


def test_autoattack_counts_only_whole_and_in_both_norms():
    def suite(norm, plan):
        return result("suite", [], [first(40)], sizes={"norm": norm, "epsilons": [0.01], "plan": plan})

    whole = [list(part) for part in AUTOATTACK]
    assert not line("D", suite_linf=[suite("linf", whole)]).passed
    assert line("D", suite_linf=[suite("linf", whole)], suite_l2=[suite("l2", whole)]).passed
    short = line("D", suite_linf=[suite("linf", whole[:1])])
    assert not short.passed and "shorter" in short.evidence


def test_iterations_must_flatten_and_be_in_order():
    def ladder(last, apgd=0.2, end=3.0):
        where = {"metric": "accuracy", "n": N}
        rows = [where | {"attack": "fgsm", "attack_steps": 1, "restarts": 1, "value": 0.5}]
        for steps, starts, value in (
            (10, 1, 0.3),
            (50, 1, 0.25),
            (50, 5, last),
            (100, 1, 0.25),
            (100, 5, 0.25),
        ):
            rows.append(where | {"attack": "pgd", "attack_steps": steps, "restarts": starts, "value": value})
        rows.append(where | {"attack": "apgd-ce", "attack_steps": 100, "restarts": 1, "value": apgd})
        for i, loss in ((0, 0.5), (100, end)):
            rows.append({"metric": "loss", "attack": "pgd", "iteration": i, "value": loss, "n": N})
        return result("iterations", rows, sizes={"steps": 100, "epsilon": 0.309, "restarts": 5})

    assert line("H", iterations=[ladder(0.25)]).passed and not line("H", iterations=[ladder(0.3)]).passed
    assert (
        line("I", iterations=[ladder(0.25)]).passed and not line("I", iterations=[ladder(0.25, 0.3)]).passed
    )
    assert not line("I", iterations=[ladder(0.25, end=0.4)]).passed


def attack(measurement, *left, model="ep-cnn", norm="linf", epsilons=(0.01, 0.0464), **sizes):
    sizes = {"norm": norm, "epsilons": list(epsilons)} | sizes
    correct = [first(count) for count in left]
    return result(measurement, [{"metric": "accuracy", "labels": True}], correct, model, sizes=sizes)


def test_lines_about_other_attackers():
    pgd, noise = attack("pgd-linf", 70, 30), attack("noise-linf", 90, 60, plan=[["noise", 10]])
    assert line("O", pgd_linf=[pgd], noise_linf=[noise]).passed
    assert not line("O", pgd_linf=[noise], noise_linf=[attack("noise-linf", 40, 20)]).passed
    assert line("K", pgd_linf=[pgd]).passed and not line("K", pgd_linf=[attack("pgd-linf", 30, 70)]).passed
    assert line("L", pgd_linf=[pgd], noise_linf=[noise]).passed
    assert not line("L", pgd_linf=[noise], noise_linf=[attack("noise-linf", 40, 20)]).passed


def test_smaller_changes_by_decisions_alone_fail():
    def minimal(measurement, norm):
        rows = [{"metric": "minimal_norm", "value": norm, "n": N}, {"metric": "found", "value": 1.0, "n": N}]
        return result(measurement, rows, arrays={"minimal_norm": np.full(N, norm)})

    seeing = minimal("minimal-l2", 0.5)
    assert line("N", hop_skip_jump=[minimal("hop-skip-jump", 0.9)], minimal_l2=[seeing]).passed
    assert not line("N", hop_skip_jump=[minimal("hop-skip-jump", 0.3)], minimal_l2=[seeing]).passed
    assert line("S", minimal_l2=[seeing], minimal_linf=[minimal("minimal-linf", 0.02)]).passed
    assert not line("S", minimal_l2=[seeing]).passed


def test_every_model_must_see_the_same_images():
    found = {
        "pgd-linf": {"ep-cnn": [attack("pgd-linf", 70, 30)], "cnn": [attack("pgd-linf", 70, 30, model="cnn")]}
    }
    same = next(each for each in checklist.checklist(found) if each.letter == "B")
    found["pgd-linf"]["cnn"][0].image_ids[0] = 999
    other = next(each for each in checklist.checklist(found) if each.letter == "B")
    assert same.passed and not other.passed and same.n == N


def test_figures_show_what_was_lost_and_to_whom():
    found = {"ep-cnn": [adaptive(60, 20)], "cnn": [adaptive(50, 45, model="cnn")]}
    picture = masking_figures.effort(found, 0.309, PAGE)
    assert "EP-CNN 60.0% to 20.0%" in picture.alt and "CNN 50.0% to 45.0%" in picture.alt
    assert "How to read it" in picture.caption and picture.svg.startswith("<?xml")
    with pytest.raises(InputError, match="adaptive"):
        masking_figures.effort({}, 0.309, PAGE)


def test_the_lead_is_compared_before_and_after_all_attacks():
    found = {"ep-cnn": [adaptive(60, 20)], "cnn": [adaptive(50, 45, model="cnn")]}
    said = masking_sentences.standing(found, 0.309)
    assert "under plain PGD 60.0% and 50.0%" in said and "under all attacks 20.0% and 45.0%" in said
    assert "No other network" in masking_sentences.standing({"ep-cnn": [adaptive(60, 20)]}, 0.309)


@pytest.mark.parametrize("ep, said", [(10, "speaks against"), (55, "as the argument has it")])
def test_the_argument_of_the_paper_is_read_from_the_numbers(ep, said):
    plan = {"plan": [["apgd-ce", 20]]}
    found = {
        "pgd-linf": {m: [attack("pgd-linf", 80, 60, model=m)] for m in ("ep-cnn", "cnn")},
        "suite-linf": {
            "ep-cnn": [attack("suite-linf", 70, ep, **plan)],
            "cnn": [attack("suite-linf", 70, 40, model="cnn", **plan)],
        },
    }
    picture, text = masking_sentences.argument(found, PAGE)
    assert said in text and "the short suite" in text and picture.label == "fig-pgd-and-suite"
    (missing,) = masking_sentences.argument({"pgd-linf": {}, "suite-linf": {}}, PAGE)
    assert "not both stored" in missing


def test_the_answer_and_the_claim_are_composed():
    lines = checklist.checklist({"sanity": {"ep-cnn": [sanity()]}})
    verdict = masking_verdicts.by_effort([adaptive(60, 20)])
    said = masking_sentences.answer(masking_verdicts.by_horizon([horizons(60, 59)]), verdict, lines, PAGE)
    assert "nothing is masked there" in said and "too weak" in said
    assert f"{sum(each.passed for each in lines)} of the 19 lines" in said
    claim = masking_sentences.published_claim()
    assert "62.8% with 70 (5 seeds)" in claim and "76.5% with 10" in claim
    assert "Failed: " in masking_sentences.letters(lines) and json.dumps(str(claim))

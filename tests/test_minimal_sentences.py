import re

import numpy as np
import pytest
from synthetic import EASY, HARD, INF, SOME, N, found, minimal

from eplib import attack_verdicts, minimal_sentences, smallest
from eplib.chapters import Badge

BADGE = Badge("sample", "quick", N, (0,))
SIZES = {"searches": 3, "steps": 60}


def lengths(ddn, **norms):
    """C&W with these norms, DDN with a function of them."""
    return smallest.lengths({"C&W": found(**norms), "DDN": found(**{m: ddn(n) for m, n in norms.items()})})


def test_the_answer_follows_the_norms():
    for ep, cnn, said in ((HARD, EASY, "larger"), (EASY, HARD, "smaller"), (EASY, EASY, "not shown")):
        networks = lengths(lambda n: 2 * n, ep_cnn=ep, cnn=cnn, vit_8=EASY / 2, twin_adjoint=HARD)
        verdicts = minimal_sentences.verdicts(networks["all"])
        assert list(verdicts) == ["cnn", "vit-8"]  # of the rivals alone
        answer = minimal_sentences.answer(verdicts, networks, BADGE)
        assert re.search(rf"breaking the EP-CNN .*{said}.* than breaking the CNN; it takes larger", answer)
        assert "(Fashion-MNIST sample, quick scale). Of the images that are right the attacks broke" in answer
        assert "100 of 100 for the EP-CNN (C&W alone 100, DDN alone 100); 100 of 100 for the CNN" in answer
    assert verdicts["vit-8"] == attack_verdicts.larger_changes(
        [minimal(EASY)], [minimal(EASY / 2)], "ViT, 8-pixel patches"
    )


def test_a_smaller_change_of_the_second_attack_turns_the_verdict():
    cw = found(ep_cnn=HARD, cnn=EASY)
    for ep, word in ((2 * HARD, "supported"), (EASY / 2, "contradicted")):
        both = smallest.lengths({"C&W": cw, "DDN": found(ep_cnn=ep, cnn=EASY)})
        assert minimal_sentences.verdicts(both["all"])["cnn"].networks == word


def test_images_left_unbroken_decide_nothing_until_another_attack_breaks_them():
    short = np.where(np.arange(N) < 20, INF, HARD)
    for ddn, word in ((np.full(N, INF), "undecided"), (HARD, "supported")):
        both = smallest.lengths({"C&W": found(ep_cnn=short, cnn=EASY), "DDN": found(ep_cnn=ddn, cnn=EASY)})
        verdict = minimal_sentences.verdicts(both["all"])["cnn"]
        assert verdict.networks == word
        assert ("Too few images were broken" in verdict.sentence) == (word == "undecided")
        answer = minimal_sentences.answer({"cnn": verdict}, both, BADGE)
        assert ("not shown to take other changes" in answer) == (word == "undecided")
        assert f"C&W alone 80, DDN alone {0 if word == 'undecided' else 100}" in answer


def test_without_a_common_image_the_verdict_is_undecided():
    right = np.arange(N) < 50
    networks = lengths(lambda n: n, ep_cnn=np.where(right, INF, 0), cnn=np.where(right, 0, EASY))
    ((_, verdict),) = minimal_sentences.verdicts(networks["all"]).items()
    answer = minimal_sentences.answer({"cnn": verdict}, networks, BADGE)
    assert "broke 0 of 50 for the EP-CNN (C&W alone 0, DDN alone 0); 50 of 50 for the CNN (" in answer
    assert (verdict.networks, verdict.method) == ("undecided", "undecided")
    assert verdict.sentence.startswith("For these networks: undecided. Of the 100 test images there is none")


def test_pairs_are_of_the_seeds_that_both_have():
    networks = {"ep-cnn": [minimal(HARD, s) for s in (0, 1)], "cnn": [minimal(EASY, 1)]}
    assert "one seed" in minimal_sentences.verdicts(networks)["cnn"].sentence


def test_the_table_has_a_line_a_model():
    networks = lengths(lambda n: n / 2, ep_cnn=SOME, cnn=EASY, vit_8=np.zeros(N), cnn_plain=np.full(N, INF))
    html = minimal_sentences.table(networks, {"cnn": 0.345})
    lines = [re.findall("<t[hd]>(.*?)</t[hd]>", line) for line in re.findall("<tr>(.*?)</tr>", html)]
    alone = ["0.55", "100.0", "0.275", "100.0"]
    assert lines[2] == ["CNN", "0", "100.0", "0.275", "0.162 to 0.387", "100.0", *alone, "0.345"]
    assert lines[1][:3] == ["EP-CNN", "0", "90.0"] and lines[1][5] == lines[1][7] == lines[1][9] == "88.9"
    assert lines[3] == ["ViT, 8-pixel patches", "0", "0.0", "–", "– to –", *["–"] * 6]
    assert lines[4][3:] == ["not found", "not found to not found", "0.0", *["not found", "0.0"] * 2, "–"]
    assert lines[0][6:10] == ["C&amp;W: median", "C&amp;W: broken", "DDN: median", "DDN: broken"]


@pytest.mark.parametrize("factor, count, broken", [(0.5, 180, 180), (2, 0, 180)])
def test_the_limits_follow_the_search_and_say_that_the_rule_was_tightened(factor, count, broken):
    said = minimal_sentences.upper_bounds(lengths(lambda n: factor * n, ep_cnn=SOME, cnn=EASY), SIZES)
    assert "3 values of its constant and 60 steps for each C&W broke 180 of 190 images" in said
    assert f"DDN {broken}, both together 180" in said
    assert f"found a smaller change than C&W in {count} of 190 cases" in said
    assert "tightened after the first numbers at quick scale" in said and "fewer than 90% of the" in said

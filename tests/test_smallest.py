import numpy as np
import pytest
from synthetic import EASY, EPSILONS, HARD, INF, SOME, N, found, minimal, pgd

from eplib import chapters, smallest
from eplib.chapters import Shown


def test_the_smallest_change_is_over_attacks_on_the_images_that_all_of_them_saw():
    cw = {"ep-cnn": [minimal(HARD[:60], s) for s in (3, 4)], "cnn": [minimal(SOME[:60], 3)], "vit-8": []}
    ddn = {"ep-cnn": [minimal(EASY, 4)], "cnn": [minimal(np.where(SOME > 0, 0.4, 0), 3)], "vit-8": []}
    lengths = smallest.lengths({"C&W": cw, "DDN": ddn})
    assert list(lengths) == ["C&W", "DDN", "all"]
    for attack, norms in (("C&W", HARD[:60]), ("DDN", EASY[:60]), ("all", np.minimum(HARD, EASY)[:60])):
        assert list(lengths[attack]) == ["ep-cnn", "cnn"]  # of the others an attack is missing
        (one,) = lengths[attack]["ep-cnn"]  # of the seed that both have
        assert one.settings["seed"] == 4 and one.image_ids.tolist() == list(range(60))
        assert (one.arrays["minimal_norm"] == np.float32(norms)).all()
        right = np.float32(norms).astype(float) > np.array(EPSILONS)[:, None]
        assert (one.correct == right).all() and one.correct_clean.all()
        assert list(one.epsilons) == list(EPSILONS) and one.norm == "l2"
    (cnn,) = lengths["all"]["cnn"]
    assert np.isinf(lengths["C&W"]["cnn"][0].arrays["minimal_norm"]).sum() == 6
    assert np.isfinite(cnn.arrays["minimal_norm"]).all() and (~cnn.correct_clean).sum() == 6


def test_images_are_paired_by_their_ids():
    shifted = minimal(EASY[::-1], first=40)
    (one,) = smallest.lengths({"a": {"cnn": [minimal(HARD)]}, "b": {"cnn": [shifted]}})["all"]["cnn"]
    assert one.image_ids.tolist() == list(range(40, 100))
    expected = np.minimum(np.float32(HARD)[40:], np.float32(EASY)[::-1][:60])
    assert (one.arrays["minimal_norm"] == expected).all()


def test_pgd_is_compared_on_the_same_images_seed_and_strengths():
    attack = {"ep-cnn": [minimal(EASY[:40], 3), minimal(EASY[:40], 4)], "cnn": [minimal(EASY)]}
    compared = smallest.beside(
        {"ep-cnn": [pgd((90, 70, 5), seed=4)], "vit-8": [pgd((1, 1, 1))]}, {"X": attack}
    )
    assert {key: list(models) for key, models in compared.items()} == dict.fromkeys(
        ("PGD", "X", "all"), ["ep-cnn"]
    )
    (first,), (other,), (every,) = (compared[key]["ep-cnn"] for key in compared)
    assert first.correct.sum(1).tolist() == [30, 10, 0]  # the last of the 100 images count least
    assert (other.correct == (np.float32(EASY[:40]).astype(float) > np.array(EPSILONS)[:, None])).all()
    assert (every.correct == (first.correct & other.correct)).all()
    assert first.norm == other.norm == "l2" and list(other.epsilons) == list(EPSILONS)


def compare(counts, norms, **more):
    return smallest.beside({"cnn": [pgd(counts)]} | more, {"DDN": {"cnn": [minimal(norms)]}})


@pytest.mark.parametrize(
    "counts, said",
    [
        ((100, 80, 0), "CNN: PGD 25.0 at 0.5 (80.0% instead of 55.0%), DDN 0.0."),
        ((90, 20, 0), "CNN: PGD 0.0, DDN 35.0 at 0.5 (55.0% instead of 20.0%)."),
        ((100, 55, 30), "CNN: PGD 30.0 at 3 (30.0% instead of 0.0%), DDN 0.0."),
    ],
)
def test_what_an_attack_misses_is_told_where_it_misses_most(counts, said):
    compared = compare(counts, EASY)
    text = smallest.missed(compared)
    assert said in text and "PGD or DDN alone" in text and "of 100 images" in text
    first, points = smallest.caution({"l2": compared}, ("cnn", "vit-8")), "PGD 0.0" not in said
    assert first.startswith(
        "**PGD is not the worst case.**" if points else "**PGD is the worst case measured.**"
    )
    assert f"in ℓ2 DDN, on the same images, up to {said.split('PGD ')[1][:4].strip(' ,')} of the CNN" in first


def test_misses_are_means_over_seeds():
    first = {"cnn": [pgd((100, 80, 0), seed=0), pgd((100, 60, 0), seed=1)]}
    compared = smallest.beside(first, {"DDN": {"cnn": [minimal(EASY, s) for s in (0, 1)]}})
    assert smallest.misses(compared, "PGD", "cnn") == (
        pytest.approx(15),
        0.5,
        pytest.approx(0.7),
        pytest.approx(0.55),
    )


def test_where_nothing_can_be_compared_the_page_says_so():
    nothing = smallest.beside({"cnn": [pgd((1, 1, 1))]}, {"DDN": {}})
    assert smallest.missed(nothing).startswith("No network is stored with PGD")
    assert smallest.caution({"l2": nothing}, ("cnn",)) == smallest.order(nothing, ("cnn",)) == ""


def test_a_lead_that_another_attack_takes_away_is_told():
    def order(norms):
        attack = {"ep-cnn": [minimal(norms)], "cnn": [minimal(EASY)]}
        counts = {"ep-cnn": [pgd((100, 95, 0))], "cnn": [pgd((100, 55, 0))]}
        return smallest.order(smallest.beside(counts, {"DDN": attack}), ("ep-cnn", "cnn", "vit-8"))

    taken = order(EASY)
    assert (
        "EP-CNN or CNN: neither at any ε, by PGD alone the EP-CNN at 0.5." in taken
        and taken.count(" or ") == 1
    )
    assert "EP-CNN or CNN: the EP-CNN at 0.5, as by PGD alone." in order(HARD)
    turned = order(EASY / 3)
    assert "EP-CNN or CNN: the CNN at 0.5, by PGD alone the EP-CNN at 0.5." in turned


def test_strengths_in_linf_are_in_255ths():
    first = {"cnn": [pgd((100, 100, 0), epsilons=(0.01, 0.5, 1.0), norm="linf")]}
    compared = smallest.beside(first, {"FMN": {"cnn": [minimal(EASY / 2)]}})
    assert "PGD 100.0 at 128/255 (100.0% instead of 0.0%)" in smallest.missed(compared)


@pytest.mark.parametrize("scale, measured", [("smoke", True), ("quick", True), ("cpu", False)])
def test_chapters_measure_only_where_they_compute(monkeypatch, scale, measured):
    asked, stored = [], {"cnn": [minimal(EASY)], "vit-8": [minimal(EASY)]}
    monkeypatch.setattr(chapters, "stored", lambda shown, name: dict(stored))

    def outcomes(shown, models, name):
        asked.append((models, name))
        return {m: [minimal(EASY)] for m in models}

    monkeypatch.setattr(chapters, "outcomes", outcomes)
    first = {m: [pgd((100, 80, 0))] for m in ("ep-cnn", "cnn", "vit-8")}
    compared = smallest.beside_stored(Shown(scale, "sample", (0,)), "l2", first)
    assert asked == [(("ep-cnn", "cnn"), "minimal-l2")] * measured and list(compared) == ["PGD", "DDN", "all"]
    assert set(compared["DDN"]) == ({"ep-cnn"} if measured else set()) | {"cnn", "vit-8"}


def test_norms_found_by_no_attack_stay_unbroken():
    both = {a: found(cnn=np.full(N, INF)) for a in ("C&W", "DDN")}
    (one,) = smallest.lengths(both)["all"]["cnn"]
    assert np.isinf(one.arrays["minimal_norm"]).all() and one.correct.all()

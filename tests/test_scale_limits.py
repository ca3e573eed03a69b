import re
from dataclasses import replace

import numpy as np
import pytest
from corrupted import result as corrupted
from drawings import (
    axes_only,
    is_valid_svg_of_the_same_bytes_that_loads_nothing,
    shows_itself_with_a_text_for_those_who_cannot_see_it,
    words_only,
)
from scipy.stats import binom, kendalltau

from eplib import (
    chapters,
    published,
    published_curves,
    scale_limit_figures,
    scale_limit_sentences,
    scale_orders,
    scales,
)
from eplib import scale_limits as limits
from eplib.chapters import Badge, Shown
from eplib.checks import InputError
from eplib.results import Result
from eplib.scale_limits import Spread
from eplib.scale_orders import Order
from eplib.statistics import detectable
from eplib.verdicts import Verdict

BADGE = Badge("sample", "quick", 128, (11, 13, 17))
MODELS = ("ep-cnn", "cnn", "cnn-plain", "cnn-like-ep", "cnn-at-l2-0.5")
GAPS = limits.gaps()
RNG = np.random.default_rng(3)


def attacked(right, norm="linf", seed=11, clean=None, dataset="sample", scale="quick"):
    """A result whose outcomes at the first of two ε are `right`, bool [n]."""
    epsilons = [limits.targets()[norm], 10.0]
    settings = {"norm": norm, "epsilons": epsilons, "seed": seed, "dataset": dataset, "scale": scale}
    correct = np.stack([right, np.zeros_like(right)])
    clean = np.ones_like(right) if clean is None else clean
    return Result(settings | {"predict_steps": None}, None, np.arange(len(right)), clean, correct, {})


def some(share, n=100, seed=0):
    return np.random.default_rng(seed).random(n) < share


def pgd(seeds=(11, 13, 17)):
    """{norm: {model: [Result]}} of random outcomes."""
    return {
        norm: {
            m: [attacked(some(0.5, seed=3 * s + i), norm, s, some(0.9, seed=s + i)) for s in seeds]
            for i, m in enumerate(limits.BOTH)
        }
        for norm in ("linf", "l2")
    }


def test_more_images_show_smaller_differences_and_more_seeds_ask_for_larger_ones():
    found = [limits.smallest(n, 0.3) for n in (64, 128, 1000, 10_000)]
    assert found == sorted(found, reverse=True) and found[1] == detectable(128, 0.3)
    assert all(limits.smallest(n, 0.3, 3) > limits.smallest(n, 0.3) for n in (128, 1000))


def test_a_difference_that_each_of_three_seeds_has_to_show_is_shown_four_times_of_five():
    n, share = 500, 0.3
    d = limits.smallest(n, share, 3)
    only = RNG.multinomial(n, [(share + d) / 2, (share - d) / 2, 1 - share], (4000, 3))[..., :2]
    p = np.sort(np.minimum(1, 2 * binom.cdf(only.min(-1), only.sum(-1), 0.5)))  # exact McNemar
    found = (p * [3, 2, 1] < 0.05).all(-1) & (only[..., 0] > only[..., 1]).all(-1)  # Holm
    assert 0.78 < found.mean() < 0.95


def test_discordance_is_the_share_of_images_that_one_alone_gets_right():
    first, second = np.arange(10) < 6, np.arange(10) >= 3
    found = {"linf": {"ep-cnn": [attacked(first)], "cnn": [attacked(second)]}}
    assert limits.discordance(found) == [0.7]
    assert len(limits.discordance(pgd())) == 6  # three seeds in two norms
    with pytest.raises(InputError, match="measure both"):
        limits.discordance({"linf": {"ep-cnn": [attacked(first)], "cnn": [attacked(second, seed=5)]}})


def test_shares_of_other_scales_are_those_of_what_is_stored_there(monkeypatch):
    given = pgd((11,))

    def stored(shown, measurement, models):
        return given[measurement[4:]] if shown.scale == "cpu" else {"cnn": [1]}

    monkeypatch.setattr(chapters, "stored", stored)
    found = limits.discordances(Shown("quick", "sample", (11, 13, 17)), pgd())
    assert found == {"quick": limits.discordance(pgd()), "cpu": limits.discordance(given)}


def test_published_gaps_are_those_of_the_published_curves():
    found = GAPS
    assert [g.size for g in found] == sorted((g.size for g in found), reverse=True)
    assert all(0 < g.size < 1 for g in found) and len(found) == len(set(found)) == 10
    epsilon, ep, cnn = published.largest_gap("linf")
    assert next(g for g in found if (g.words, g.under) == ("EP-CNN − CNN", "ℓ∞ PGD")).size == ep - cnn
    curves = published_curves.curves("Adversarial_Accuracy_Inf")
    ahead = (curves["cnn-at-l2-0.5"]["mean"] - curves["ep-cnn"]["mean"]).dropna().max()
    trained = published_curves.name(limits.TRAINED)
    assert next(g for g in found if (g.words, g.under) == (f"{trained} − EP-CNN", "ℓ∞ PGD")).size == ahead
    means = published.table("corruption", model="ep-cnn").set_index(["corruption", "severity"])["mean"]
    other = published.table("corruption", model="adversarial-cnn", variant="l2_eps0.5")
    gap = (means - other.set_index(["corruption", "severity"])["mean"]).drop("frost", errors="ignore").mean()
    assert next(g for g in found if g.under == "all corruptions").size == pytest.approx(abs(gap))


def test_the_spread_that_images_give_alone_is_that_of_equally_good_seeds():
    n, seeds, found = 400, 3, []
    for i in range(300):
        right = [np.random.default_rng((i, s)).random(n) < 0.3 for s in range(seeds)]
        found.append((np.var([r.mean() for r in right], ddof=1), limits._alone(right) ** 2))
    measured, alone = np.mean(found, 0)
    assert measured == pytest.approx(alone, rel=0.15)
    assert np.isnan(limits._alone([some(0.3)]))


def test_spreads_have_ours_and_the_published_beside_each_other():
    given = pgd()
    found = limits.spreads(given)
    assert [(s.what, s.model) for s in found] == [
        (what, m) for what in ("no attack", "ℓ∞ PGD", "ℓ2 PGD") for m in limits.BOTH
    ]
    for s in found:
        norm = "l2" if s.what.startswith("ℓ2") else "linf"
        results = given[norm][s.model]
        expected = [r.correct_clean if s.what == "no attack" else r.correct[0] for r in results]
        assert s.ours == tuple(e.mean() for e in expected)
        assert s.deviation == pytest.approx(np.std(s.ours, ddof=1)) and s.alone > 0
        curve = published.pgd_curves(norm)[s.model]
        at = curve.index[0] if s.what == "no attack" else limits.targets()[norm]
        assert (s.mean, s.seeds) == (curve["mean"][at], curve["seeds"][at])
        assert s.sd == pytest.approx(curve["mean"][at] - curve["low"][at])
    alone = limits.spreads(pgd((11,)))[0]
    assert np.isnan(alone.deviation) and np.isnan(alone.alone)


def test_tau_is_kendalls_and_equal_pairs_count_as_neither():
    first, second = RNG.random((6, 50)), RNG.random((6, 50))
    expected = [kendalltau(a, b).statistic for a, b in zip(first.T, second.T, strict=True)]
    assert scale_orders.tau(first, second) == pytest.approx(expected)
    assert scale_orders.tau(np.array([1, 1, 2.0]), np.array([1, 2, 3.0])) == pytest.approx(2 / 3)
    assert scale_orders.tau(np.array([1, 2.0]), np.array([2, 1.0])) == -1


def ladder(step, n=400, models=MODELS, seed=0):
    """{model: float [n]} of accuracies `step` apart, the first model the best."""
    rng = np.random.default_rng(seed)
    return {m: (rng.random(n) < 0.9 - step * i).astype(float) for i, m in enumerate(models)}


def turned(table):
    return dict(zip(table, reversed(table.values()), strict=True))


def test_an_order_that_is_clear_at_both_scales_has_a_narrow_range():
    clear = scale_orders.order("no attack", ladder(0.15), ladder(0.15, 900, seed=1))
    assert (clear.tau, clear.low, clear.high) == (1, 1, 1) and clear.counts
    reverse = scale_orders.order("no attack", ladder(0.15), turned(ladder(0.15, seed=1)))
    assert (reverse.tau, reverse.low, reverse.high) == (-1, -1, -1)
    assert len(reverse.turned) == 10 and ("ep-cnn", "cnn") in reverse.turned and clear.turned == ()
    near = scale_orders.order("no attack", ladder(0.02), ladder(0.02, seed=1))
    assert near.high - near.low > 0.5
    wider = scale_orders.order("no attack", ladder(0.03), ladder(0.03, seed=1), 20)
    assert wider.low <= scale_orders.order("no attack", ladder(0.03), ladder(0.03, seed=1)).low
    mean, low, high = clear.first["ep-cnn"]
    assert mean == pytest.approx(0.9, abs=0.05) and low < mean < high
    assert not scale_orders.order("x", *(ladder(0.1, models=MODELS[:4]) for _ in range(2))).counts


@pytest.mark.parametrize("seed", range(8))
def test_models_that_hardly_differ_never_contradict(seed):
    """Their order is random at both scales, and so is τ."""
    found = scale_orders.order("no attack", ladder(0.0, seed=seed), ladder(0.0, seed=100 + seed))
    assert scale_orders.predicts([found], "quick", "cpu", []).networks == "undecided"


def fake(low, high, models=5, what="no attack", turned=(("cnn", "ep-cnn"),)):
    table = {str(i): (0.5, 0.4, 0.6) for i in range(models)}
    return Order(what, table, table, (low + high) / 2, low, high, turned)


@pytest.mark.parametrize(
    "found, word",
    [
        ([fake(0.6, 1.0)], "supported"),
        ([fake(0.5, 1.0), fake(0.6, 1.0)], "supported"),
        ([fake(0.4, 1.0), fake(0.6, 1.0)], "undecided"),
        ([fake(-0.2, 0.4)], "contradicted"),
        ([fake(-0.2, 0.5)], "undecided"),
        ([fake(-0.9, 0.2, turned=())], "undecided"),
        ([fake(0.6, 1.0), fake(-1.0, 0.2)], "contradicted"),
        ([fake(0.6, 1.0), fake(-1.0, 0.2, models=4)], "supported"),
        ([fake(0.6, 1.0, models=4)], "undecided"),
        ([], "undecided"),
    ],
)
def test_the_order_is_judged_by_the_range_of_tau_where_there_are_enough_models(found, word):
    verdict = scale_orders.predicts(found, "quick", "cpu", [])
    assert verdict.networks == word and verdict.method == "undecided"
    assert verdict.sentence.startswith(f"For these networks: {word}.")
    for o in found:
        if o.counts:
            assert scale_orders.in_words(o) in verdict.sentence
            assert ("CNN with EP-CNN change places" in verdict.sentence) == any(x.turned for x in found)


def test_what_there_is_too_little_of_is_said():
    assert "No models have the same measurement" in scale_orders.predicts([], "quick", "cpu", []).sentence
    four = scale_orders.predicts([fake(0.6, 1.0, models=4)], "quick", "cpu", []).sentence
    assert "4 models have the same measurement" in four and "5 are needed" in four


def test_five_seeds_at_the_larger_scale_speak_about_the_method():
    results = [attacked(some(0.5), seed=s, dataset="cifar10") for s in range(5)]
    assert scale_orders.predicts([fake(0.6, 1.0)], "quick", "cpu", results).method == "supported"
    assert scale_orders.predicts([fake(0.6, 1.0)], "quick", "cpu", results[:1]).method == "undecided"


def test_orders_are_of_the_models_that_both_scales_have(monkeypatch):
    def stored(shown, measurement, models=None):
        n = 100 if shown.scale == "quick" else 200
        if measurement == "corruptions":
            two = {m: [corrupted(m, 0.6 - 0.2 * i)] for i, m in enumerate(("ep-cnn", "cnn"))}
            return two | {"vit-8": [corrupted("vit-8", 0.9, source="official")]}
        if measurement != "pgd-linf":
            return {}
        table = ladder(0.15, n, MODELS if shown.scale == "cpu" else (*MODELS, "swin"))
        kept = [m for m in table if models is None or m in models]
        return {m: [attacked(table[m].astype(bool)) for _ in range(2)] for m in kept}

    monkeypatch.setattr(chapters, "stored", stored)
    found = {o.what: o for o in scale_orders.orders("quick", "cpu")}
    assert list(found) == ["no attack", "ℓ∞ PGD", "corruptions"]
    assert list(found["ℓ∞ PGD"].first) == list(found["ℓ∞ PGD"].second) == list(MODELS)
    assert found["ℓ∞ PGD"].tau == 1 and found["no attack"].tau == 0  # all are right: equal
    corruption = found["corruptions"]
    assert list(corruption.first) == ["ep-cnn", "cnn"] and corruption.first["cnn"][0] == pytest.approx(0.4)
    monkeypatch.setattr(chapters, "stored", lambda *a: {})
    assert scale_orders.orders("quick", "paper") == []


def test_the_table_of_sizes_has_those_of_the_scales_and_the_papers():
    page = scale_limit_sentences.sizes()
    rows = {
        re.search("<th>(.*?)</th>", line)[1]: re.findall("<td>(.*?)</td>", line)
        for line in re.findall("<tr>.*?</tr>", page)
    }
    assert rows["channels of the EP-CNN"][-2:] == ["128-256-512-512"] * 2
    assert rows["images"] == [
        "Fashion-MNIST sample",
        "Fashion-MNIST sample",
        "CIFAR-10",
        "CIFAR-10",
        "CIFAR-10",
    ]
    epochs = published.settings("cifar10", "ep-cnn")["epochs"]
    assert rows["training images seen, EP-CNN"][-1] == f"{50_000 * epochs:,}"
    assert rows["test images, PGD"] == [
        *(f"{scales.scale(s).attack.images:,}" for s in ("smoke", "quick", "cpu", "paper")),
        "10,000",
    ]
    assert rows["seeds planned"] == ["1", "5", "5", "5", "5"]
    assert rows["seeds stored, of EP-CNN and CNN"][1] == "3" and rows["steps of PGD"][-1] == "20"


SHARES = [0.3, 0.4, 0.5]
EVERY = {"quick": SHARES, "cpu": [0.6]}
SPREADS = limits.spreads(pgd())
ORDERS = [scale_orders.order(w, ladder(0.1), turned(ladder(0.1, seed=1))) for w in ("no attack", "ℓ∞ PGD")]
PICTURES = {
    "fig-detectable": lambda: scale_limit_figures.detectable(EVERY, GAPS, BADGE),
    "fig-seeds": lambda: scale_limit_figures.seeds(SPREADS, BADGE),
    "fig-scales-quick-cpu": lambda: scale_limit_figures.order(ORDERS, "quick", "cpu"),
}


@pytest.fixture(scope="module", params=PICTURES)
def drawn(request):
    return [PICTURES[request.param]() for _ in range(2)], request.param


def test_picture_is_valid_svg_of_the_same_bytes_that_loads_nothing(drawn):
    is_valid_svg_of_the_same_bytes_that_loads_nothing(drawn)


def test_picture_shows_itself_with_a_text_for_those_who_cannot_see_it(drawn):
    shows_itself_with_a_text_for_those_who_cannot_see_it(drawn)


def test_the_figure_of_differences_marks_every_scale_and_names_every_gap(monkeypatch):
    monkeypatch.setattr(scale_limit_figures, "draw", axes_only)
    (ax,) = scale_limit_figures.detectable(EVERY, GAPS, BADGE)
    texts = [t.get_text() for t in ax.texts]
    for scale, share in (("quick", 0.4), ("cpu", 0.6), ("paper", 0.6)):  # of the largest scale that has one
        n = limits.measured_images(scale)["PGD"]
        assert f"{scale} {100 * detectable(n, share):.1f}" in texts
    for gap in GAPS:
        assert f"{100 * gap.size:.1f}  {gap.words}, {gap.under}" in texts
    assert {"40% disagree (quick)", "60% disagree (cpu)"} <= set(texts)
    curve = ax.lines[0].get_ydata()
    assert curve[-1] == pytest.approx(100 * detectable(10_000, 0.4))
    heights = [t.xyann[1] for t in ax.texts if "−" in t.get_text()]
    assert min(np.diff(sorted(heights))) > 0.03


def test_differences_that_so_few_images_never_show_are_left_out(monkeypatch):
    monkeypatch.setattr(scale_limit_figures, "draw", axes_only)
    (ax,) = scale_limit_figures.detectable({"quick": [0.0, 0.01, 0.02]}, GAPS, BADGE)
    assert np.isnan(ax.lines[0].get_ydata()[0]) and not np.isnan(ax.lines[0].get_ydata()[-1])
    assert not any(t.get_text().startswith("quick") for t in ax.texts)
    monkeypatch.setattr(scale_limit_figures, "draw", words_only)
    picture = scale_limit_figures.detectable({"quick": [0.0, 0.0]}, GAPS, BADGE)
    assert "at quick scale no difference" in picture.alt and "nan" not in picture.alt


def test_seeds_are_dots_around_their_mean(monkeypatch):
    monkeypatch.setattr(scale_limit_figures, "draw", axes_only)
    axes = scale_limit_figures.seeds(SPREADS, BADGE)
    assert [ax.get_title("left") for ax in axes] == ["no attack", "ℓ∞ PGD", "ℓ2 PGD"]
    dots = [line.get_xdata() for line in axes[1].lines if line.get_marker() == "o"]
    expected = [100 * (np.array(s.ours) - np.mean(s.ours)) for s in SPREADS if s.what == "ℓ∞ PGD"]
    assert np.allclose(dots, expected)
    assert sum(line.get_linestyle() == "--" for line in axes[1].lines) == 2  # other images than the paper's
    axes = scale_limit_figures.seeds(SPREADS, replace(BADGE, dataset="cifar10", scale="cpu"))
    assert not any(line.get_linestyle() == "--" for line in axes[1].lines)
    one = scale_limit_figures.seeds(limits.spreads(pgd((11,))), BADGE)
    assert any("one seed" in t.get_text() for t in one[0].texts)


def test_a_line_a_model_from_scale_to_scale(monkeypatch):
    monkeypatch.setattr(scale_limit_figures, "draw", axes_only)
    ax = scale_limit_figures.order(ORDERS, "quick", "cpu").ravel()[0]
    assert len(ax.texts) == 5 and "τ −1.00" in ax.get_title("left")
    assert [t.get_text().split("\n")[0] for t in ax.get_xticklabels()] == ["quick", "cpu"]
    many = [replace(ORDERS[0], what=f"{i}") for i in range(5)]
    shown = [a.get_visible() for a in scale_limit_figures.order(many, "quick", "cpu").ravel()]
    assert shown == [True] * 5 + [False]


def verdict(word):
    return Verdict(word, "undecided", f"For these networks: {word}.", "")


def orders(word):
    """As of `scale_orders.compared`: the first pair has an order and this word."""
    return {("quick", "cpu"): (ORDERS, verdict(word)), ("quick", "paper"): ([], verdict("undecided"))}


@pytest.mark.parametrize("word, said", [("supported", "holds"), ("contradicted", "does not hold")])
def test_the_answer_says_what_is_seen_and_what_not(word, said):
    answer = scale_limit_sentences.answer(SHARES, GAPS, BADGE, orders(word))
    least = limits.smallest(128, 0.4)
    count = sum(g.size >= least for g in GAPS)
    assert answer.startswith(
        "**In one sentence.** With 128 images under PGD, quick scale shows differences of"
    )
    assert (
        f"{100 * least:.0f} points and more" in answer and f"enough for {count} of the 10 published" in answer
    )
    assert (
        f"the order of models at quick scale {said} at cpu scale" in answer
        and "nothing about CIFAR images" in answer
    )
    cifar = replace(BADGE, dataset="cifar10", scale="cpu")
    assert "nothing about CIFAR" not in scale_limit_sentences.answer(SHARES, GAPS, cifar, orders(word))
    assert "shows no difference" in scale_limit_sentences.answer([0.0], GAPS, BADGE, orders(word))


def lists(monkeypatch, badge=BADGE, word="supported", order="undecided", shares=SHARES, found=True):
    checks = [
        (m, lambda results: verdict(word), what, page) for m, _, what, page in scale_limit_sentences.CHECKS
    ]
    monkeypatch.setattr(scale_limit_sentences, "CHECKS", checks)
    monkeypatch.setattr(chapters, "stored", lambda *a: {"ep-cnn": ["a result"]} if found else {})
    shown = Shown(badge.scale, badge.dataset, badge.seeds)
    page = scale_limit_sentences.lists(shown, shares, GAPS, badge, orders(order))
    return page.split("It cannot show")


def test_every_line_of_the_lists_follows_its_rule(monkeypatch):
    can, cannot = lists(monkeypatch)
    least = limits.smallest(128, 0.4)
    for gap in GAPS:
        assert f"{gap.words}, {gap.under} (" in (can if gap.size >= least else cannot)
    assert can.count(".html") == 3 and "models at cpu scale, from that at quick scale (undecided)" in cannot
    assert "CIFAR images" in cannot and "3 of the 5 seeds" in cannot
    can, cannot = lists(monkeypatch, word="contradicted", order="supported")
    assert cannot.count(".html") == 3 and "models at cpu scale, from that at quick scale (supported)" in can
    can, cannot = lists(monkeypatch, found=False)
    assert cannot.count("(not measured)") == 3
    large = Badge("cifar10", "paper", 10_000, (11, 13, 17, 19, 31))
    can, cannot = lists(monkeypatch, large)
    assert "holds for the method (5 seeds" in can and "CIFAR" not in cannot and "Paper scale can show" in can
    can, cannot = lists(monkeypatch, shares=[0.0], word="undecided")
    assert "<li>nothing</li>" in can and "any difference under PGD" in cannot


def test_the_spread_over_seeds_in_words():
    said = scale_limit_sentences.seeds(SPREADS)
    assert said.count("published") == 6 and "of 6 cases" in said
    wide = Spread("cnn", "no attack", (0.1, 0.5), 0.01, 0.8, 0.01, 5)
    assert "In 0 of 1 cases" in scale_limit_sentences.seeds([wide])
    narrow = replace(wide, ours=(0.5, 0.51))
    assert "In 1 of 1 cases" in scale_limit_sentences.seeds([narrow])
    assert "no spread" in scale_limit_sentences.seeds(limits.spreads(pgd((11,))))


def test_what_two_scales_share_is_named_and_judged():
    given = orders("supported") | {
        ("cpu", "paper"): ([fake(0, 1), fake(0, 1, 4, "ℓ2 PGD")], verdict("contradicted"))
    }
    said = scale_limit_sentences.compared(given)
    assert "- quick and cpu: no attack, 5 models; ℓ∞ PGD, 5 models\n" in said
    assert "- quick and paper: no two models" in said and "to judge by: ℓ2 PGD" in said
    first, second = scale_limit_sentences.boxes(given)
    assert "supported" in first and "contradicted" in second
    (alone,) = scale_limit_sentences.boxes({("quick", "cpu"): ([], verdict("undecided"))})
    assert "undecided" in alone
    assert [p.label for p in scale_limit_figures.orders(orders("supported"))] == ["fig-scales-quick-cpu"]


def test_scales_are_compared_with_what_is_stored_beginning_with_the_one_shown(monkeypatch):
    asked = []

    def stored(shown, measurement, models=None):
        asked.append((shown.scale, measurement))
        return {}

    monkeypatch.setattr(chapters, "stored", stored)
    assert list(scale_orders.compared("cpu"))[0] == ("cpu", "paper")
    found = scale_orders.compared("smoke")
    assert list(found) == [("quick", "cpu"), ("quick", "paper"), ("cpu", "paper")]
    assert all(v.networks == "undecided" and own == [] for own, v in found.values())
    assert "smoke" not in dict(asked)

import re
from types import SimpleNamespace

import drawings
import numpy as np
import pandas as pd
import pytest

from eplib import campaign, measurements, semantics_verdicts, statistics
from eplib import semantics_comparisons as comparisons
from eplib import semantics_figures as figures
from eplib import semantics_sentences as sentences
from eplib.chapters import Badge, Shown
from eplib.checks import InputError
from eplib.models import JUDGE_SEED, JUDGES
from eplib.results import Result
from eplib.semantics_changes import settings

N = 60
SIZES = {"epsilons": [0.5, 1.0], "factors": [1.0, 2.0, 4.0], "norm": "l2", "steps": 20}
SHOWN = settings(SIZES)
ORDINARY, ALIKE = semantics_verdicts.ORDINARY, semantics_verdicts.ALIKE
NAMES = (
    "length",
    "low",
    "slope",
    "consistency",
    "similarity",
    "edges",
    "hoyer",
    "variation",
    "reached",
    "guessed",
)
NOISE = np.random.default_rng(0).normal(size=(8, N))


@pytest.fixture(autouse=True)
def few_permutations(monkeypatch):
    monkeypatch.setattr(statistics, "PERMUTATIONS", 1000)


def measured(model, shift=1.0, prototype=0.3, seed=1, dataset="sample", clean=None, ids=None):
    """A result whose judges moved by `shift` and whose gradients have the cosine `prototype` in the mean."""
    random = np.random.default_rng([seed, *map(ord, model)])
    clean = np.arange(N) < 57 if clean is None else clean
    arrays = {n: 0.5 + 0.1 * random.normal(size=(len(SHOWN), N)) for n in NAMES}
    for i, judge in enumerate((*comparisons.ROBUST, comparisons.STANDARD)):
        arrays[f"shift {judge}"] = shift + 0.2 * (NOISE[i] + random.normal(size=(len(SHOWN), N)))
        arrays[f"judged {judge}"] = (random.random((len(SHOWN), N)) < 0.1 * shift).astype(float)
        arrays[f"judge_gradient {judge}"] = 0.1 * random.normal(size=N)
    arrays["prototype"] = prototype + 0.05 * random.normal(size=N)
    for name in ("neighbour", "etmann", "etmann_centred"):
        arrays[name] = random.random(N)
    settings = {"model": model, "seed": seed, "dataset": dataset, "scale": "quick", "sizes": SIZES}
    settings |= {"measurement": "semantics"}
    table = pd.DataFrame(
        [{"metric": "inversion", "judge": j, "value": 0.5, "low": 0.3, "high": 0.7, "n": 30} for j in JUDGES]
    )
    ids = np.arange(N) if ids is None else ids
    correct = np.tile(clean, (len(SHOWN), 1))
    return Result(settings, table, ids, clean, correct, {"seconds": 1.0}, arrays)


def found(ahead=1.0, seeds=(1,), models=(*ORDINARY, *ALIKE), dataset="sample", **own):
    """The EP-CNN's judges move by `ahead` more than those of every rival."""
    every = {"ep-cnn": [measured("ep-cnn", 1 + ahead, 0.3 + 0.1 * ahead, s, dataset, **own) for s in seeds]}
    return every | {m: [measured(m, seed=s, dataset=dataset) for s in seeds] for m in models}


def verdicts(every, transfers=None):
    rows = comparisons.all_compared(every, transfers or {}, (*ORDINARY, *ALIKE))
    return semantics_verdicts.semantic(rows, every), semantics_verdicts.specific(rows, every)


@pytest.mark.parametrize("ahead, expected", [(1, "supported"), (0, "undecided"), (-1, "contradicted")])
def test_the_word_follows_both_deciding_measures(ahead, expected):
    semantic, specific = verdicts(found(ahead))
    assert semantic.networks == specific.networks == expected
    assert semantic.method == "undecided" and "not the paper's" in semantic.sentence
    assert semantic.sentence.startswith(f"For these networks: {expected}")


def test_one_measure_alone_supports_nothing_and_one_that_is_behind_contradicts():
    every = found(1)
    every["ep-cnn"][0].arrays["prototype"] = every["cnn"][0].arrays["prototype"].copy()  # as aligned as it
    assert verdicts(every)[0].networks == "undecided"
    every["ep-cnn"] = [measured("ep-cnn", 2.0, 0.1)]
    assert verdicts(every)[0].networks == "contradicted"


def test_a_rival_alike_decides_only_what_is_specific():
    every = found(1)
    every["twin-bptt"] = [measured("twin-bptt", 2.0, 0.4)]
    semantic, specific = verdicts(every)
    assert (semantic.networks, specific.networks) == ("supported", "undecided")
    every["twin-bptt"] = [measured("twin-bptt", 3.0, 0.5)]
    assert verdicts(every)[1].networks == "contradicted"


def test_nothing_is_decided_without_a_network_or_with_one_under_trained():
    semantic, specific = verdicts(found(1, models=("cnn", "vit-8", "twin-bptt")))
    assert (semantic.networks, specific.networks) == ("supported", "undecided")
    assert "Not measured: CNN without BatchNorm, weight decay 3e-4" in specific.sentence
    for models in ((), ("cnn",)):
        assert {v.networks for v in verdicts(found(1, models=models))} == {"undecided"}
    poor = found(1, clean=np.arange(N) < 40)
    assert verdicts(poor)[0].networks == "undecided" and "under-trained" in verdicts(poor)[0].sentence


def test_five_seeds_on_the_papers_images_speak_about_the_method():
    every = found(1, seeds=(1, 2, 3, 4, 5), models=ORDINARY, dataset="cifar10")
    assert verdicts(every)[0].method == "supported"
    every["ep-cnn"][3] = measured("ep-cnn", 0.0, 0.2, 4, "cifar10")
    semantic = verdicts(every)[0]
    assert (semantic.networks, semantic.method) == ("undecided", "undecided")


def test_only_images_that_all_compared_networks_have_right_count():
    every = found(1)
    every["vit-8"][0].correct_clean[:10] = False
    rows = comparisons.all_compared(every, {}, ORDINARY)
    assert {r.n for r in rows} == {47}
    own, other = every["ep-cnn"][0], every["cnn"][0]
    right = np.arange(N) % 60 >= 10
    right[57:] = False
    p1 = next(r for r in rows if r.rival == "cnn" and r.measure == "P1")
    place = SHOWN.index(comparisons.EFFECT)
    both = [
        np.mean([r.arrays[f"shift {j}"][place] for j in comparisons.ROBUST], 0)[right] for r in (own, other)
    ]
    assert p1.first == pytest.approx(both[0].mean()) and p1.second == pytest.approx(both[1].mean())
    assert p1.low < p1.difference < p1.high and p1.effect > 0.9
    with pytest.raises(InputError, match="other images"):
        comparisons.common([own, measured("cnn", ids=np.arange(N) + 1)])


def test_p_values_are_adjusted_over_the_primary_measures_of_a_rival():
    every = found(0.05)
    rows = comparisons.compared(every, {}, "cnn", 1)
    assert [r.measure for r in rows] == ["P1", "P2", "P3", "P4"]
    raw = []
    right = every["cnn"][0].correct_clean
    for m in ("P1", "P2", "P3", "P4"):
        pair = [comparisons.primary(every[k][0], m, comparisons.EFFECT)[right] for k in ("ep-cnn", "cnn")]
        raw.append(statistics.permutation(*pair))
    assert [r.p for r in rows] == statistics.holm(raw)
    assert comparisons.compared(every, {}, "mixer", 1) == []


def test_images_without_a_smallest_change_are_left_out():
    every = found(1)
    every["cnn"][0].arrays["shift judge-l2"][SHOWN.index(comparisons.EFFECT), :7] = np.nan
    by = {r.measure: r.n for r in comparisons.compared(every, {}, "cnn", 1)}
    assert by["P1"] == 50 and by["P2"] == 57


def transferred(model, made_on, left, seed=1):
    """A result of "transfer" at 8/255: outcomes of a model under images made on another."""
    settings = {"model": model, "seed": seed, "sizes": {"epsilons": [0.01, 8 / 255], "norm": "linf"}}
    settings |= {"measurement": "transfer"}
    clean = np.ones(N, bool)
    table = pd.DataFrame(
        [{"metric": "accuracy", "other_model": made_on, "epsilon": e} for e in (0.01, 8 / 255)]
    )
    return Result(settings, table, np.arange(N), clean, np.stack([clean, left]), {}, {})


def test_transfer_is_asymmetric_where_one_fools_the_other_more():
    left = (
        np.arange(N) >= 20,
        np.arange(N) >= 45,
    )  # the rival keeps fewer images than the EP-CNN keeps of its own
    transfers = {
        "cnn": [transferred("cnn", "ep-cnn", left[1])],
        "ep-cnn": [transferred("ep-cnn", "cnn", left[0])],
    }
    ids, told = comparisons.asymmetry(transfers["ep-cnn"][0], transfers["cnn"][0])
    assert ids.tolist() == list(range(N)) and told.tolist() == [0] * 20 + [1] * 25 + [0] * 15
    row = next(r for r in comparisons.compared(found(1), transfers, "cnn", 1) if r.measure == "P5")
    assert row.difference == pytest.approx(25 / 57) and row.second is None and row.p < 0.05
    other = transferred("cnn", "mixer", left[1])
    assert comparisons.asymmetry(transfers["ep-cnn"][0], other) is None


def test_permutation_and_rank_biserial_are_those_of_the_textbook():
    a, b = np.array([3.0, 1.0, 4.0, 2.0]), np.array([1.0, 2.0, 1.0, 0.0])
    d = a - b
    signs = np.array(np.meshgrid(*[[1, -1]] * 4)).reshape(4, -1)
    exact = (np.abs(d @ signs) >= abs(d.sum()) - 1e-12).mean()
    assert statistics.permutation(a, b) == pytest.approx(exact)
    assert statistics.permutation(a, a) == 1.0
    assert statistics.permutation(np.arange(50.0) + 1, np.arange(50.0)) == pytest.approx(2e-3, abs=1e-3)
    assert statistics.rank_biserial(a, b) == pytest.approx((4 + 2.5 + 2.5 - 1) / 10)
    assert statistics.rank_biserial(a, a) == 0.0 and statistics.rank_biserial(b - 5, b) == -1.0


@pytest.fixture
def page():
    """(found, rows at matched effect, at matched budget) of a page with all networks."""
    every = found(1, models=figures.NETWORKS[1:])
    rivals = [m for m in figures.NETWORKS[1:] if m != figures.CONTROL]
    both = [comparisons.all_compared(every, {}, rivals, s) for s in figures.VIEWS.values()]
    return every, *both


BADGE = Badge("sample", "quick", N, (1,))


def test_curves_are_means_over_common_images_with_controls_of_the_same_lengths(page, monkeypatch):
    every = page[0]
    every["twin-untrained"][0].correct_clean[:] = False  # a control need not be right
    assert figures.right(every).sum() == 57
    drawn = figures.lines(every, "shift robust", "effect")
    assert [d[:2] for d in drawn[-3:]] == [("ep-cnn", c) for c in figures.CHANGES]
    assert [d[0] for d in drawn[:-3]] == list(figures.CURVES)
    place = SHOWN.index(comparisons.EFFECT)
    own = np.mean([every["ep-cnn"][0].arrays[f"shift {j}"][place] for j in comparisons.ROBUST], 0)[:57]
    mean, low, high = drawn[0][3][1]
    assert mean == pytest.approx(own.mean()) and low < mean < high
    monkeypatch.setattr(figures, "draw", drawings.axes_only)
    panels = {c: figures.lines(every, "shift robust", c) for c in ("budget", "effect")}
    axes = figures._shift("fig", panels, "robust judges", every)
    assert len(axes) == 2 and axes[1].lines[0].get_ydata()[1] == pytest.approx(own.mean())
    assert {t.get_text() for t in axes[0].texts} >= {"EP-CNN", "Gaussian noise", "a real difference"}


def test_figures_are_drawn_the_same_twice_and_say_their_numbers(page):
    every = page[0]
    for draw, label in ((figures.shifts, "fig-a"), (figures.measures, "fig-b")):
        first, second = draw(label, every, BADGE), draw(label, every, BADGE)
        assert (
            first == second and first.caption.startswith("How to read it: ") and "57 of 60" in first.caption
        )
        for view in first.views.values():
            pictures = [view, view], view.label
            drawings.is_valid_svg_of_the_same_bytes_that_loads_nothing(pictures)
            assert "EP-CNN" in view.alt and "nan" not in view.alt and len(view.alt) > 60
    told = figures.measures("fig-b", every, BADGE).alt
    own = every["ep-cnn"][0].arrays["prototype"][:57].mean()
    assert f"P2 gradient to the class mean: EP-CNN {own:.2f}" in told


def test_without_a_common_image_figures_and_tables_say_so():
    every = found(1, models=("cnn",), clean=np.arange(N) < 0)
    rows = comparisons.all_compared(every, {}, ["cnn"])
    assert rows == [] and {v.networks for v in verdicts(every)} == {"undecided"}
    for figure in (figures.shifts("fig", every, BADGE), figures.measures("fig", every, BADGE)):
        assert "–" in figure.alt and "nan" not in figure.alt
    assert "Too few images" in sentences.comparison_table(rows, rows)
    assert "–" in sentences.network_table(every) and "nan" not in sentences.network_table(every)
    assert "nothing measured" in sentences.lengths(every)


def test_tables_hold_the_tests_and_name_what_is_missing(page):
    every, effect, budget = page
    told = sentences.comparison_table(effect, budget)
    first = effect[0]
    assert f"{first.difference:+.2g} ({first.low:.2g} to {first.high:.2g})" in told and ": ahead" in told
    assert f"At matched budget {budget[0].difference:+.2g}, p {budget[0].p:.2g}" in told
    assert told.count("<tr>") == 1 + len({r.rival for r in effect}) and told.count("<td>–</td>") == 7
    tints = figures.colours(figures.NETWORKS)
    assert len(set(tints.values())) == len(tints) and figures.colours(["cnn"]) == {"cnn": tints["cnn"]}
    assert "twin by BPTT" in sentences.network_table(every)
    assert sentences.missing(every) == ""
    assert "student of the EP-CNN" in sentences.missing({"ep-cnn": 0, "cnn": 0})
    assert "LPIPS" in sentences.definitions() and "P5" in sentences.definitions()
    assert "each unit of length" in sentences.lengths(every)


def test_networks_of_others_are_shown_where_they_are_right_too_and_change_nothing_else(page, monkeypatch):
    every = page[0]
    monkeypatch.setattr(figures, "draw", drawings.words_only)
    alone = figures.measures("fig", every, BADGE).alt, sentences.network_table(every)
    theirs = measured("lab-net", 3.0, seed=11, clean=np.arange(N) < 30)
    monkeypatch.setattr(figures.others, "names", lambda: ("lab-net", "absent"))
    monkeypatch.setattr(figures.others, "measured", lambda scale, m: {"lab-net": [theirs]})
    monkeypatch.setattr(sentences.chapters, "outcomes", lambda *of: {m: every[m] for m in ("ep-cnn", "cnn")})
    monkeypatch.setattr(sentences.chapters, "stored", lambda s, m, models: every if m == "semantics" else {})
    main, both, effect, _ = sentences.gathered(Shown("quick", "sample", (1,)))
    assert list(main) == ["ep-cnn", "cnn"] and list(both) == [*every, "lab-net"]
    assert len(effect) == len(page[1]) and {r.n for r in effect} == {57}
    assert figures.right(both).sum() == 57 and figures.counted(both)["lab-net"].sum() == 30
    (drawn,) = (d for d in figures.lines(both, "shift robust", "effect") if d[0] == "lab-net")
    own = comparisons.values(theirs, "shift robust", comparisons.EFFECT)[:30].mean()
    assert drawn[3][1][0] == pytest.approx(own)
    for picture in (figures.shifts("fig", both, BADGE), figures.measures("fig", both, BADGE)):
        assert (
            "Of these images lab-net (seed 11) gets 30 right" in picture.caption
            and "57 of" in picture.caption
        )
    told = picture.alt.replace("10 networks", "9 networks")
    assert re.sub("(, )?lab-net [^;.]*[.][0-9]+", "", told) == alone[0]
    rows = [re.findall("<t[dh]>(.*?)</t[dh]>", table) for table in (alone[1], sentences.network_table(both))]
    assert [cell for cell in rows[0] if cell != "lab-net"] == _without_the_last_column(rows[1], len(every))
    assert "lab-net" in sentences.lengths(both) and sentences.missing(both) == ""


def _without_the_last_column(cells, columns):
    """The cells of a table, line by line, without those of its last column. columns: of networks, but it."""
    return [cell for i, cell in enumerate(cells) if i % (columns + 2) != columns + 1]


def test_the_answer_follows_both_words():
    said = sentences.answer(*verdicts(found(1)), BADGE)
    assert "are more semantic than" in said and "but for the learning rule" in said
    said = sentences.answer(*verdicts(found(-1)), BADGE)
    assert "are not more semantic" in said and "nothing about them is specific" in said


def test_judges_are_trained_at_smoke_scale_alone(monkeypatch):
    asked = []
    monkeypatch.setattr(sentences.chapters, "networks", lambda shown, m: asked.append((shown.seeds, m)))
    sentences.judges(Shown("quick", "sample", (11,)))
    assert asked == []
    sentences.judges(Shown("smoke", "sample", (0,)))
    assert asked == [((JUDGE_SEED,), m) for m in JUDGES]


def test_semantics_is_refused_without_judges_and_waits_for_them_in_the_campaign(out):
    record = {"model": "cnn", "scale": "smoke", "dataset": "sample", "seed": 0}
    checkpoint = SimpleNamespace(record=record, net=None, name="cnn", sha256="0")
    with pytest.raises(InputError, match="judge-l2 of seed 101, which is not stored"):
        measurements.settings_of(checkpoint, "semantics")
    piece = campaign.Piece("smoke", "sample", "cnn", 0, "semantics", 1)
    needed = campaign.needed(piece)
    assert {(p.model, p.seed) for p in needed} == {("cnn", 0), *((j, JUDGE_SEED) for j in JUDGES)}

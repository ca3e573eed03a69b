import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from corrupted import OWN, PUBLISHED, SETTLED, falling, flipping, result
from drawings import (
    axes_only,
    is_valid_svg_of_the_same_bytes_that_loads_nothing,
    shows_itself_with_a_text_for_those_who_cannot_see_it,
    words_only,
)

from eplib import beyond_sentences, corruption_images, data, published
from eplib import corruption_comparisons as comparisons
from eplib import corruption_figures as figures
from eplib import corruption_scores as scores
from eplib import corruption_sentences as sentences
from eplib.chapters import Shown
from eplib.checks import InputError
from eplib.corruption_curves import CorruptionBadge, badge, of_published, of_results, words
from eplib.corruptions import CIFAR_C, corrupt
from eplib.toggles import Toggle

STARTS = {
    "ep-cnn": 0.85,
    "cnn": 0.75,
    "cnn-plain": 0.78,
    "cnn-at-l2-0.5": 0.86,
    "vit-8": 0.7,
    "twin-bptt": 0.83,
    "mixer": 0.65,
}
HOW = "images by the CIFAR-10-C protocol, regenerated"
PAGE = CorruptionBadge("sample", "quick", 100, (11,), HOW)
LENGTHS = {OWN: 0.6, PUBLISHED: 0.5, SETTLED: 0.55}


def stored(types="cifar-c", models=STARTS, **more):
    return {m: [result(m, falling(STARTS[m], 0.05), STARTS[m] + 0.05, types=types, **more)] for m in models}


@pytest.fixture(scope="module")
def found():
    return stored()


@pytest.fixture(scope="module")
def beyond():
    return stored("beyond")


@pytest.fixture(scope="module")
def settled():
    def accuracy(name, severity, phase):
        return LENGTHS[phase] - 0.02 * severity

    return [result("ep-cnn", accuracy, phases=list(LENGTHS), severities=(1, 3, 5))]


@pytest.fixture(scope="module")
def flipped():
    return {m: [flipping(m, round(1 - start, 2))] for m, start in STARTS.items()}


@pytest.fixture
def on_axes(monkeypatch):
    for module in (figures, comparisons, corruption_images):
        monkeypatch.setattr(module, "draw", axes_only)


@pytest.fixture
def few(monkeypatch):
    """Three panels instead of nineteen."""
    monkeypatch.setattr(figures, "CIFAR_C", ("gaussian_noise", "frost", "contrast"))


@pytest.fixture
def in_words(monkeypatch):
    for module in (figures, comparisons, corruption_images):
        monkeypatch.setattr(module, "draw", words_only)


def lines(ax):
    return [line.get_ydata().tolist() for line in ax.lines]


def near(expected):
    return pytest.approx(list(expected))


# figures


def test_every_corruption_has_its_published_panel_and_ours_on_the_same_axis(found, on_axes, few):
    assert of_published().keys() == set(CIFAR_C)
    toggle = figures.beside(found, PAGE)
    assert list(toggle.views) == ["side by side", "published", "ours"]
    axs = [np.ravel(axes) for axes in toggle.views.values()]
    panels = [{ax.get_title(loc="left"): ax for ax in view if ax.axison} for view in axs]
    assert [len(p) for p in panels] == [6, 3, 3]
    theirs = of_published()
    for c in figures.CIFAR_C:
        both = panels[0][f"{words(c)}, published"], panels[0][f"{words(c, 'sample')}, ours"]
        alone = panels[1][words(c)], panels[2][words(c, "sample")]
        limits = {tuple(np.round(ax.get_ylim(), 6)) for ax in (*both, *alone)}
        assert len(limits) == 1  # one corruption, one range
        for ax in (both[0], alone[0]):
            assert lines(ax) == [list(curve.y) for curve in theirs[c]]
            absent = ["not in the paper's figure"] if c == "frost" else []
            assert [t.get_text().replace("\n", " ") for t in ax.texts] == absent
        for ax in (both[1], alone[1]):
            expected = [scores.surface(found[m][0]).loc[c].tolist() for m in figures.DRAWN]
            assert len(ax.lines) == 5
            assert all(y == near(e) for e, y in zip(expected, lines(ax), strict=True))
            assert {line.get_linestyle() for line in ax.lines} == {"--"}
    names = [t.get_text() for t in axs[0][6].texts]
    assert names[:2] == ["EP-CNN", "CNN adv. ℓ2 0.5"] and "CNN without BatchNorm (ours)" in names


def test_published_curves_are_the_rows_of_the_paper():
    rows = published.table("corruption", model="adversarial-cnn", variant="l2_eps0.75")
    fog = rows[rows.corruption == "fog"].sort_values("severity")
    curve = next(c for c in of_published()["fog"] if c.model == "cnn-at-l2-0.75")
    assert curve.y == tuple(fog["mean"]) and curve.x == (1, 2, 3, 4, 5)
    assert curve.low == near(fog["mean"] - fog.sd) and of_published()["frost"] == []
    assert [c.model for c in of_published()["snow"]] == [
        "ep-cnn",
        "cnn-at-l2-0.5",
        "cnn-at-l2-0.75",
        "cnn-at-l2-1",
    ]


def test_our_bands_reach_over_all_seeds():
    two = {"cnn": [result("cnn", 0.5, seed=11), result("cnn", 0.7, seed=13)]}
    (curve,) = of_results(two, "fog", True)
    assert curve.y == near([0.6] * 5) and curve.dashed
    assert curve.low == near(
        [0.4038] * 5,
    ) or curve.low[0] == pytest.approx(0.4038, abs=1e-3)
    assert curve.high[0] == pytest.approx(0.7811, abs=1e-3)


def test_our_curves_are_solid_where_the_images_are_the_paper_s(on_axes, few):
    cifar = stored(models=["ep-cnn", "cnn"], dataset="cifar10")
    toggle = figures.beside(
        cifar, CorruptionBadge("cifar10", "cpu", 100, (11,), "the official CIFAR-10-C arrays")
    )
    ours = np.ravel(toggle.views["ours"])
    assert {line.get_linestyle() for ax in ours for line in ax.lines} == {"-"}
    assert not any("*" in ax.get_title(loc="left") for ax in ours)
    assert "Dashed" not in toggle.caption and "makes colours" not in toggle.caption


def test_the_toggle_is_an_svg_of_the_house(found, few):
    toggle = figures.beside(found, PAGE)
    assert isinstance(toggle, Toggle) and toggle.label == "fig-corruptions"
    for view in toggle.views.values():
        assert ElementTree.fromstring(view.svg).tag.endswith("svg")
    for word in ("quick scale", "regenerated", "20 forward steps", "29 free-phase steps", "Dashed"):
        assert word in toggle.caption
    assert toggle.caption.startswith("How to read it: ")


def test_colours_are_marked_where_images_are_grey():
    assert words("impulse_noise", "sample") == "impulse noise *" and words("impulse_noise") == "impulse noise"
    assert words("gaussian_blur", "sample") == "gaussian blur"
    assert words("impulse_noise", "cifar10") == "impulse noise"
    assert words("cocentric_sine_waves") == "concentric sine waves"


def test_nine_panels_say_what_their_curves_are(on_axes):
    panels = np.ravel(figures.titles(PAGE))
    theirs = of_published()
    said = [ax.get_title(loc="left") for ax in panels]
    assert said[0] == "“GaussianNoise”" and said[1] == "“MotionBlur”: shot noise"
    assert said[-1] == "“Pixelate”: snow" and sum(":" in title for title in said) == 8
    for ax, c in zip(panels, figures.TITLED, strict=True):
        assert lines(ax)[:4] == [list(curve.y) for curve in theirs[c]]
    assert len({*figures.TITLED}) == 9 and len(panels) == 9


def test_means_by_severity_and_family(found, on_axes):
    (theirs, families), (ours, our_families) = figures.means(found, PAGE)
    rows = published.table("corruption", model="ep-cnn")
    assert lines(theirs)[0] == near(rows.groupby("severity")["mean"].mean())
    surface = scores.surface(found["ep-cnn"][0]).drop(index="frost")
    assert lines(ours)[0] == near(surface.mean())
    assert lines(our_families)[0] == near(scores.by_family(surface).values())
    assert [t.get_text() for t in families.get_xticklabels()] == ["noise", "blur", "weather", "digital"]
    assert lines(families)[0][0] == pytest.approx(0.784, abs=5e-4)  # noise, published


def test_the_line_goes_through_all_but_the_ep_cnn(found, on_axes):
    (ax,) = comparisons.effective(found, PAGE)
    points = comparisons.points(found, scores.SETS["15"])
    others = [p for m, p in points.items() if m != "ep-cnn"]
    line = scores.line(others, 100)
    drawn = ax.lines[0]
    slope = np.diff(drawn.get_ydata()) / np.diff(drawn.get_xdata())
    assert slope == pytest.approx([line.slope] * 49)
    stars = [artist for artist in ax.lines if artist.get_marker() == "*"]
    assert len(stars) == 1 and len(ax.texts) == len(points) == len(ax.lines) - 1
    assert points["cnn"] == near((0.8, scores.mean(scores.surface(found["cnn"][0]), scores.SETS["15"])))


def test_without_enough_networks_there_is_no_line(found, in_words):
    few = {m: found[m] for m in ("ep-cnn", "cnn", "vit-8")}
    assert "No line: 2 networks but the EP-CNN, fewer than 5" in comparisons.effective(few, PAGE).caption
    assert "the line through the 6 others" in comparisons.effective(found, PAGE).caption


def test_free_phases_of_several_lengths_stand_on_one_line_a_corruption(settled, on_axes):
    (ax,) = comparisons.phase_lengths(settled, PAGE)
    dots = [line for line in ax.lines if line.get_marker() == "o"]
    assert [d.get_label() for d in dots] == [f"{s} {o} steps" for s, o in LENGTHS]
    for dot, value in zip(dots, LENGTHS.values(), strict=True):
        assert dot.get_xdata() == near([0.9, *[value - 0.06] * 19])
    assert [t.get_text() for t in ax.get_yticklabels()] == [
        "no corruption",
        *(words(c, "sample") for c in CIFAR_C),
    ]


def test_every_corruption_beyond_has_a_panel(beyond, on_axes):
    panels = [ax for ax in np.ravel(comparisons.beyond(beyond, PAGE)) if ax.axison]
    types = list(scores.surface(beyond["cnn"][0]).index)
    assert [ax.get_title(loc="left") for ax in panels] == [words(c, "sample") for c in types]
    for ax, c in zip(panels, types, strict=True):
        assert lines(ax)[0] == near(scores.surface(beyond["ep-cnn"][0]).loc[c])


def test_rankings_are_points_of_the_same_images(found, beyond, on_axes):
    longer = found | {"ep-cnn": [result("ep-cnn", falling(0.85, 0.05), n=200)]}
    first, second = beyond_sentences.ranking_means(longer, beyond)
    assert list(first) == list(second) and set(first) == set(STARTS)
    shares = scores.per_image(longer["ep-cnn"][0])[:100]  # the images that all have
    assert first["ep-cnn"] == pytest.approx(shares.mean())
    (ax,) = comparisons.ranking(first, second, beyond, PAGE)
    places = [(line.get_xdata()[0], line.get_ydata()[0]) for line in ax.lines]
    assert places == [(first[m], second[m]) for m in first]


def test_flips_are_dots_by_sequence(flipped, on_axes):
    (ax,) = comparisons.flips(flipped, PAGE)
    dots = {line.get_label(): line for line in ax.lines if line.get_marker() == "o"}
    assert dots["CNN"].get_xdata() == near(flipped["cnn"][0].arrays["flips"].mean(1))
    assert [t.get_text() for t in ax.get_yticklabels()][:2] == ["gaussian noise *", "motion blur"]
    assert len(dots) == 7


def test_grids_show_the_corrupted_images_themselves(on_axes):
    axs = np.ravel(corruption_images.grid("fig-corrupted-4", 4, "sample"))
    test = data.load("sample", "test")
    first = int(test.published_order()[7])
    ids = [first, *(i for i in range(3) if i != first)][:3]
    images = data.as_float(test.images[ids])
    for ax, c in zip(axs, (None, *CIFAR_C), strict=True):
        shown = ax.images[0].get_array()
        expected = images if c is None else corrupt(images, c, 4, ids)
        assert shown.shape == (32, 3 * 32 + 2 * 2, 3)
        for k in range(3):
            part = shown[:, 34 * k : 34 * k + 32]
            assert np.array_equal(part, expected[k].permute(1, 2, 0).numpy())
        assert ax.images[0].get_clim() == (0, 1)  # nothing is stretched


def test_a_grid_says_whose_image_it_is(in_words):
    sample = corruption_images.grid("fig-corrupted-5", 5, "sample").caption
    assert "a substitute stands first here" in sample and "makes colours" in sample
    assert "severity 5 shows test image 7 of CIFAR-10, a frog, under 18 corruptions" in sample
    other = corruption_images.grid("fig-x", 3, "sample", ("lines", "ripple"), published=False)
    assert "frog" not in other.caption + other.alt and "makes colours" not in other.caption
    assert "lines, ripple" in other.alt


@pytest.fixture(
    params=["titles", "means", "effective", "phases", "beyond", "ranking", "flips", "grid"], scope="module"
)
def drawn(request, found, beyond, settled, flipped):
    """([a picture, the same drawn again], its label)."""
    first, second = beyond_sentences.ranking_means(found, beyond)
    three = stored("beyond", ["ep-cnn", "cnn"], names=("lines", "ripple", "flash"))
    made = {
        "titles": (lambda: figures.titles(PAGE), "fig-corruption-titles"),
        "means": (lambda: figures.means(found, PAGE), "fig-corruption-means"),
        "effective": (lambda: comparisons.effective(found, PAGE), "fig-effective-robustness"),
        "phases": (lambda: comparisons.phase_lengths(settled, PAGE), "fig-corruption-phases"),
        "beyond": (lambda: comparisons.beyond(three, PAGE), "fig-beyond"),
        "ranking": (lambda: comparisons.ranking(first, second, beyond, PAGE), "fig-corruption-ranking"),
        "flips": (lambda: comparisons.flips(flipped, PAGE), "fig-flips"),
    }
    if request.param == "grid":
        picture = corruption_images.grid("fig-corrupted-4", 4, "sample", CIFAR_C[:3])
        return [picture, corruption_images.grid("fig-corrupted-4", 4, "sample", CIFAR_C[:3])], picture.label
    make, label = made[request.param]
    return [make(), make()], label


def test_figures_are_valid_and_the_same_every_time(drawn):
    if drawn[1] != "fig-corrupted-4":  # its images are PNGs inside
        is_valid_svg_of_the_same_bytes_that_loads_nothing(drawn)
    assert drawn[0][0] == drawn[0][1]


def test_figures_have_captions_and_texts(drawn):
    if drawn[1] != "fig-corrupted-4":  # it shows no result of a scale
        shows_itself_with_a_text_for_those_who_cannot_see_it(drawn)
    assert drawn[0][0].caption.startswith("How to read it: ") and drawn[0][0].alt.endswith(".")


# sentences


def test_the_published_claim_is_computed_from_the_published_rows():
    said = sentences.published_claims()
    rows = published.table("corruption")
    ep = rows[rows.model == "ep-cnn"].set_index(["corruption", "severity"])["mean"]
    trained = rows[rows.variant == "l2_eps0.5"].set_index(["corruption", "severity"])["mean"].loc[ep.index]
    assert f"EP-CNN {ep.mean():.1%}, CNN adv. ℓ2 0.05 74.4%, CNN adv. ℓ2 0.5 {trained.mean():.1%}" in said
    assert f"ahead in {(ep > trained).sum()} of 90 cells" in said and "47 of 90" in said
    gap = (ep - trained).groupby("severity").mean() * 100
    assert f"{gap[1]:+.1f} points at severity 1 and {gap[5]:+.1f} points at severity 5" in said
    assert "has 63.8% under noise where the EP-CNN has 78.4%, and 77.5% against 75.5%" in said


def test_the_badge_says_where_the_corrupted_images_come_from(found, beyond, flipped):
    assert badge(found) == CorruptionBadge("sample", "quick", 100, (11,), HOW)
    assert f"n = 100 test images, seed 11; {HOW}" in badge(found)._repr_html_()
    assert badge(beyond).source == "images by the C-bar and 3D-corruption protocol, regenerated"
    assert badge(flipped).text.endswith(
        "n = 40 test images, seed 11; images by the CIFAR-10-P protocol, regenerated"
    )
    official = stored(models=["ep-cnn", "cnn"], source="official", dataset="cifar10")
    assert badge(official).text.startswith("CIFAR-10, quick scale") and "official" in badge(official).text


def test_the_answer_has_the_word_of_every_rival(found):
    said = sentences.verdicts(found, scores.SETS["18"])
    assert list(said) == ["cnn", "cnn-plain", "vit-8", "cnn-at-l2-0.5"]
    words = ["supported", "supported", "undecided", "supported"]  # the ViT is fifteen points less accurate
    assert [v.networks for v in said.values()] == words
    answer = sentences.answer(said, found, PAGE)
    assert "keeps as many images right as the CNN trained against ℓ2 0.5" in answer
    assert "(Fashion-MNIST sample, quick scale; images by the CIFAR-10-C protocol, regenerated)" in answer
    alone = sentences.verdicts({m: found[m] for m in ("ep-cnn", "cnn")})
    assert list(alone) == ["cnn"]


def test_the_answer_names_alike_rivals_together(found):
    said = sentences.verdicts(found, scores.SETS["18"])
    told = sentences.clauses(said)
    assert told.count("keeps more images right than") == 1
    assert "the CNN and the CNN without BatchNorm; it is not shown to differ from the ViT" in told
    three = dict.fromkeys(("cnn", "cnn-plain", "vit-8"), said["cnn"])
    assert sentences.clauses(three).endswith(
        "the CNN, the CNN without BatchNorm and the ViT, 8-pixel patches"
    )


def test_gaps_are_told_by_severity_and_family(found):
    (said,) = sentences.gaps(found)
    assert "published: severity 1 +0.9, severity 5 -2.5, noise +0.4, blur -3.4" in said
    ours = scores.surface(found["ep-cnn"][0]) - scores.surface(found["cnn-at-l2-0.5"][0])
    assert f"ours: severity 1 {100 * ours.drop(index='frost')[1].mean():+.1f}" in said
    assert sentences.gaps({"ep-cnn": found["ep-cnn"]}) == []


def test_the_place_among_all_networks_is_told_with_those_ahead(found):
    said = sentences.place(found, scores.SETS["18"])
    means = {m: scores.mean(scores.surface(rs[0]), scores.SETS["18"]) for m, rs in found.items()}
    assert "**Among all 7 networks** the EP-CNN is number 2 with" in said
    assert f"ahead of it: CNN, adversarial training ℓ2 0.5 {means['cnn-at-l2-0.5']:.1%} (looked" in said
    first = sentences.place({m: found[m] for m in ("ep-cnn", "cnn")}, scores.SETS["18"])
    assert "number 1 with" in first and "ahead of it" not in first


def test_the_page_says_which_images_were_used(found):
    assert "makes colours" not in sentences.images_used(found, "cifar10")
    said = sentences.images_used(found, "sample")
    assert "regenerated" in said and "impulse noise" in said and "gaussian blur" not in said
    official = stored(models=["ep-cnn", "cnn"], source="official", dataset="cifar10")
    said = sentences.images_used(official, "cifar10")
    assert "the official CIFAR-10-C arrays" in said and "regenerated" not in said and "seed" not in said
    assert "chromatic aberration" in sentences.images_used(stored("beyond", ["ep-cnn"]), "sample")


def cells(html):
    return [re.findall(r"<t[hd]>(.*?)</t[hd]>", line) for line in re.findall(r"<tr>(.*?)</tr>", html)]


def test_the_table_of_means_holds_ours_and_the_published_ones(found):
    head, *body = cells(sentences.mean_table(found))
    assert len(head) == 15 and len(body) == len(STARTS) + 5
    table = {line[0]: dict(zip(head, line, strict=True)) for line in body}
    surface = scores.surface(found["ep-cnn"][0])
    ours = table["EP-CNN"]
    assert ours["clean"] == "90.0" and ours["seeds"] == "11"
    assert ours["19 types"] == f"{100 * surface.to_numpy().mean():.1f}"
    assert ours["severity 5"] == f"{100 * surface.drop(index='frost')[5].mean():.1f}"
    theirs = table["published: EP-CNN"]
    assert (theirs["clean"], theirs["15 types"], theirs["18 types"]) == ("–", "–", "76.1")
    assert (theirs["noise"], theirs["severity 1"], theirs["severity 5"]) == ("78.4", "84.2", "66.1")
    assert table["published: CNN adv. ℓ2 0.5"]["18 types"] == "76.7"


def test_the_table_of_relative_scores(found):
    head, *body = cells(sentences.relative_table(found, scores.SETS["15"]))
    table = {line[0]: dict(zip(head, line, strict=True)) for line in body}
    assert (table["CNN"]["mCE"], table["CNN"]["relative mCE"]) == ("100.0", "100.0")
    surfaces = [scores.surface(found[m][0]).loc[list(scores.SETS["15"])] for m in ("ep-cnn", "cnn")]
    errors = [(1 - s).sum(axis=1) for s in surfaces]
    assert table["EP-CNN"]["mCE"] == f"{100 * (errors[0] / errors[1]).mean():.1f}"
    added = [e - 5 * (1 - clean) for e, clean in zip(errors, (0.9, 0.8), strict=True)]
    assert table["EP-CNN"]["relative mCE"] == f"{100 * (added[0] / added[1]).mean():.1f}"
    mean = surfaces[0].to_numpy().mean()
    assert table["EP-CNN"]["lost"] == f"{100 * (0.9 - mean):.1f}"
    assert table["EP-CNN"]["kept"] == f"{100 * mean / 0.9:.1f}"
    with pytest.raises(InputError, match="no result of the CNN to compare with"):
        sentences.relative_table({"ep-cnn": found["ep-cnn"]}, scores.SETS["15"])


def test_types_on_which_the_reference_loses_nothing_are_counted():
    def accuracy(name, severity, phase):
        return 0.9 if name == "fog" else 0.6

    found = {m: [result(m, accuracy)] for m in ("ep-cnn", "cnn")}
    said = sentences.relative_table(found, scores.SETS["15"])
    assert "without 1 type on which the CNN loses less than a point a severity" in said
    assert "without" not in sentences.relative_table(found, ["snow"])


def test_settling_shows_its_verdict_or_the_command(settled, in_words):
    shown = Shown("quick", "sample", (11,))
    picture, box = sentences.settling(shown, settled, PAGE)
    assert picture.label == "fig-corruption-phases" and "For these networks: supported" in box
    (said,) = sentences.settling(shown, [], PAGE)
    assert "--measurement corruptions-settled" in said


def test_what_changes_beyond_is_named(found, beyond):
    said, under = beyond_sentences.verdicts(beyond, found)
    same = beyond_sentences.answer(said, under, PAGE)
    assert "every word is the same as under CIFAR-10-C" in same
    worse = beyond | {"ep-cnn": [result("ep-cnn", falling(0.6, 0.05), 0.9, types="beyond")]}
    said, under = beyond_sentences.verdicts(worse, found)
    other = beyond_sentences.answer(said, under, PAGE)
    assert "the word differs from that under CIFAR-10-C for the" in other and "CNN without BatchNorm" in other
    assert "corruptions beyond CIFAR-10-C" in said["cnn"].sentence


def test_flip_table_and_verdicts(flipped):
    head, *body = cells(beyond_sentences.flip_table(flipped))
    table = {line[0]: dict(zip(head, line, strict=True)) for line in body}
    means = {m: float(flipped[m][0].arrays["flips"].mean(dtype=float)) for m in ("ep-cnn", "cnn")}
    assert table["EP-CNN"]["flip probability"] == f"{100 * means['ep-cnn']:.2f}"
    assert table["EP-CNN"]["flip rate"] == f"{100 * means['ep-cnn'] / means['cnn']:.0f}"
    assert table["CNN"]["flip rate"] == "100" and table["CNN"]["first frame right"] == "90.0"
    said = beyond_sentences.flip_verdicts(flipped)
    assert said["cnn"].networks == "supported" and said["cnn-at-l2-0.5"].networks == "contradicted"


def test_limits_name_the_published_gaps_and_our_own(found, beyond, flipped):
    said = sentences.limits(found)
    for word in ("frost", "29 steps", "older generation", "100 images", "within 10 points"):
        assert word in said
    said = beyond_sentences.limits({"corruptions-beyond": beyond, "flips": flipped})
    assert "on 100 images and ten sequences of 40 images" in said


def test_effective_robustness_is_judged_against_all_other_models(found):
    said = sentences.effective_verdict(found)
    assert "6 other networks, of the 15 wanted," in said.sentence

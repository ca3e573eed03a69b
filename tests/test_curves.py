import functools
import itertools
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import numpy as np
import pytest
from drawings import axes_only, words_only
from matplotlib.colors import to_hex
from matplotlib.text import Text

from eplib import curves, panels, pictures, published, published_curves
from eplib.chapters import Badge
from eplib.checks import InputError
from eplib.results import Result

EPSILONS = {"linf": (0.001, 0.01, 0.1), "l2": (0.05, 0.309, 3.0)}
SHARES = {"ep-cnn": (0.84, 0.55, 0.07), "cnn": (0.8, 0.3, 0.02)}
INF, ADV = "Adversarial_Accuracy_Inf", "Adversarial_Accuracy_CNN_Adv_M"
SAMPLE, CIFAR = (Badge(d, "quick", 100, (0, 1)) for d in ("sample", "cifar10"))
NINE = (
    "ep-cnn cnn twin-bptt cnn-penalised cnn-like-ep vit-8 ep-cnn-16-60 cnn-like-ep-at-linf-8"
    " student-of-ep-cnn"
).split()
VIEWS = ["side by side", "published", "ours"]


def result(model, norm="linf", seed=0, n=100, shares=None, epsilons=None):
    shares = shares or SHARES[model]
    correct = np.array([np.arange(n) < round(n * share) for share in shares])
    settings = {"epsilons": list(epsilons or EPSILONS[norm]), "norm": norm, "seed": seed, "model": model}
    return Result(settings, None, np.arange(n), np.arange(n) < 90, correct, {})


def ours(norm="linf", dashed=True, radii=None, models=SHARES):
    return curves.of_results({m: [result(m, norm, s) for s in (0, 1)] for m in models}, dashed, radii)


@functools.cache
def toggle():
    """The figure that most tests look at: other images than the paper's, a radius of one network."""
    return curves.figure("fig-linf", INF, ours(radii={"ep-cnn": 0.005}), SAMPLE)


def words(*arguments, **options):
    """The same figure without its drawings."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(curves, "draw", words_only)
        return curves.figure(*arguments, **options)


def drawn(*arguments, **options):
    """The axes of every view of the same figure, [[axes]], and the figure."""
    found = []

    def keep(*given, **size):
        found.append(axes_only(*given, **size))
        return words_only(*given, **size)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(curves, "draw", keep)
        return found, curves.figure(*arguments, **options)


def nine():
    """As many curves as a panel takes, with the longest names, close to each other at the end."""
    epsilons = (0.0005, 0.005, 0.02)
    return curves.of_results(
        {m: [result(m, shares=(0.9, 0.5, 0.05 + 0.01 * i), epsilons=epsilons)] for i, m in enumerate(NINE)},
        False,
    )


def lines(ax):
    """{colour: the curve of that colour}, without diamonds."""
    return {to_hex(line.get_color()): line for line in ax.lines if line.get_marker() not in "D<>"}


def test_our_curves_are_means_between_the_outermost_wilson_bounds():
    high, low = (0.9, 0.5, 0.1), (0.8, 0.4, 0.0)
    pair = [result("cnn", seed=s, shares=shares) for s, shares in enumerate((high, low))]
    (curve,) = curves.of_results({"cnn": pair, "ep-cnn": []}, True, {"cnn": 0.02})
    assert (curve.model, curve.label, curve.dashed, curve.radius) == ("cnn", "CNN", True, 0.02)
    assert curve.x == EPSILONS["linf"] and curve.y == pytest.approx((0.85, 0.45, 0.05))
    assert curve.low == pytest.approx((0.7112, 0.3094, 0.0), abs=1e-4)  # Wilson of 80, 40 and 0 of 100
    assert curve.high == pytest.approx((0.9448, 0.5962, 0.1744), abs=1e-4)  # of 90, 50 and 10


def test_our_epsilons_are_put_in_order():
    (curve,) = curves.of_results({"cnn": [result("cnn", epsilons=(0.1, 0.001, 0.01))]}, False)
    assert curve.x == (0.001, 0.01, 0.1) and curve.y == (0.3, 0.02, 0.8)


def test_results_of_different_epsilons_are_refused():
    with pytest.raises(InputError, match="results of cnn at different ε"):
        curves.of_results({"cnn": [result("cnn"), result("cnn", "l2")]}, False)
    with pytest.raises(InputError, match="other outcomes than one an ε"):
        curves.of_results({"cnn": [result("cnn", shares=(0.5, 0.4))]}, False)


@pytest.mark.parametrize("x, y", [((), ()), ((1, 2), (0.5,)), ((2, 1), (0.5, 0.4)), ((1, 1), (0.5, 0.4))])
def test_a_curve_without_order_is_refused(x, y):
    with pytest.raises(InputError, match="a curve of cnn with lengths"):
        panels.Curve("cnn", "CNN", x, y, y, y)


def test_published_curves_are_those_of_the_tables():
    for curve in curves.of_published(INF):
        table = published_curves.curves(INF)[curve.model]
        assert curve.x == tuple(table.index) and curve.y == tuple(table["mean"])
        assert curve.low == tuple(table.low) and curve.high == tuple(table.high) and not curve.dashed
    labels = [c.label for c in curves.of_published(INF)]
    assert labels == ["EP-CNN", "ViT", "CNN", "CNN adv. ℓ2 0.5", "CNN adv. ℓ2 1"]
    assert curves.of_published("Adversarial_Accuracy_Timesteps")[0].label == "10 attack steps"


def test_the_same_call_gives_the_same_bytes():
    again = curves.figure("fig-linf", INF, ours(radii={"ep-cnn": 0.005}), SAMPLE)
    assert again == toggle() and again._repr_html_() == toggle()._repr_html_()
    assert list(again.views) == VIEWS and len({p.svg for p in again.views.values()}) == 3
    for picture in again.views.values():
        assert ElementTree.fromstring(picture.svg).get("viewBox")
        elements = list(ElementTree.fromstring(picture.svg).iter())
        links = [v for e in elements for k, v in e.attrib.items() if k.endswith(("href", "src"))]
        assert links and all(v.startswith("#") for v in links)


def test_it_can_be_treated_as_a_picture():
    first = toggle().views["side by side"]
    assert (toggle().label, toggle().svg, toggle().alt) == ("fig-linf", first.svg, first.alt)
    assert toggle().caption == first.caption


@pytest.mark.parametrize("figure", published_curves.FIGURES)
def test_everything_written_is_inside_and_no_label_covers_another(figure):
    norm = published_curves.of(figure).axes.norm
    mine = nine() if norm == "linf" else ours("l2")
    views, _ = drawn("fig-x", figure, mine, CIFAR)
    for axes in views:
        canvas = axes[0].figure
        canvas.draw_without_rendering()
        labels = [t for ax in axes for t in ax.texts]
        assert len(labels) in (len(mine), len(views[1][0].texts), len(views[0][0].texts) + len(mine))
        ticks = [t for ax in axes for t in ax.get_xticklabels() if t.get_text()]
        titles = [t for ax in axes for t in (ax._left_title, ax.xaxis.label)]
        boxes = {t: Text.get_window_extent(t) for t in (*labels, *ticks, *titles)}
        for text, box in boxes.items():
            corners = (box.x0, box.y0, canvas.bbox.x1 - box.x1, canvas.bbox.y1 - box.y1)
            assert min(corners) >= 0, text
        for group in (labels, ticks):
            for one, other in itertools.combinations(group, 2):
                if group is labels or one.axes is other.axes:
                    assert not boxes[one].overlaps(boxes[other]), (one, other)
        for text, ax in itertools.product(labels, axes):
            assert not boxes[text].overlaps(ax.bbox), text


def test_panels_grow_with_their_labels():
    many = [replace(c, model=f"{c.model} {i}") for c in nine() for i in range(2)]
    (side, *_), _ = drawn("fig-x", INF, many, CIFAR)
    canvas = side[0].figure
    canvas.draw_without_rendering()
    boxes = [Text.get_window_extent(t) for t in side[1].texts]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    assert min(b.y0 for b in boxes) >= 0 and max(b.y1 for b in boxes) <= canvas.bbox.y1


def test_labels_have_the_colour_of_their_curve_darkened_until_it_can_be_read():
    (side, *_), _ = drawn("fig-x", "Square_Attack_Accuracy_100", nine(), CIFAR)
    for ax in side:
        joined = {to_hex(t.arrow_patch.get_edgecolor()): t for t in ax.texts}
        assert set(joined) == set(lines(ax))
        for colour, text in joined.items():
            assert to_hex(text.get_color()) == panels.readable(colour)
    assert panels.readable("#0072b2") == "#0072b2" != panels.readable("#e69f00") != "#e69f00"


def test_every_curve_of_a_figure_has_a_colour_of_its_own_the_same_in_both_panels():
    (side, *_), _ = drawn("fig-x", "Square_Attack_Accuracy_100", nine(), CIFAR)
    left, right = (set(lines(ax)) for ax in side)
    assert len(left) == 7 and len(right) == 9
    assert left & right == {pictures.COLOURS["ep-cnn"], pictures.COLOURS["cnn"]}


def test_a_colour_that_was_chosen_stays():
    mine = [replace(ours()[0], colour="#123456")]
    (side, *_), _ = drawn("fig-x", INF, mine, SAMPLE)
    assert set(lines(side[1])) == {"#123456"} < set(lines(side[0]))


def test_the_axis_of_linf_counts_in_255ths():
    (side, *_), _ = drawn("fig-x", INF, ours(), SAMPLE)
    for ax in side:
        assert ax.get_xlabel() == "ℓ∞ perturbation ε (/255)"
        assert ax.get_xticks().tolist() == [0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 16]
        assert len(ax.get_xticks(minor=True)) == 0
    ax.figure.draw_without_rendering()
    shown = [t.get_text() for t in side[0].get_xticklabels()]
    assert shown == ["0.05", "0.1", "0.25", "0.5", "1", "2", "4", "8", "16"]
    ep = lines(side[1])[pictures.COLOURS["ep-cnn"]]
    assert ep.get_xdata() == pytest.approx([0.255, 2.55, 25.5])


def test_the_axis_of_l2_counts_in_pixels():
    (side, *_), _ = drawn("fig-x", ADV, ours("l2"), SAMPLE)
    assert side[0].get_xlabel() == "ℓ2 perturbation ε (pixels in [0, 1])"
    assert side[0].get_xticks().tolist() == [0.01, 0.05, 0.1, 0.2, 0.5, 1, 2, 3]
    (side, *_), _ = drawn("fig-x", "Square_Attack_Accuracy", [], CIFAR)
    assert side[0].get_xscale() == "linear"


def test_all_views_share_their_axes_and_their_place():
    (side, theirs, mine), _ = drawn("fig-x", INF, ours(), SAMPLE)
    limits = {(ax.get_xlim(), ax.get_ylim()) for ax in (*side, *theirs, *mine)}
    assert len(limits) == 1
    assert theirs[0].get_position().bounds == mine[0].get_position().bounds
    (low, _), _ = limits.pop()[::-1]
    assert low < 0.02  # the paper's axis begins at 5 %, ours falls lower


def test_the_axes_of_the_paper_are_widened_only_where_ours_need_it():
    (side, *_), _ = drawn("fig-x", INF, [], None)
    assert side[0].get_xlim() == pytest.approx((255 * 9e-5, 255 * 0.11))
    assert side[0].get_ylim() == pytest.approx((0.05 - 0.015, 0.95 + 0.015))
    wide = curves.of_results({"cnn": [result("cnn", epsilons=(1e-5, 0.01, 0.5))]}, False)
    (side, *_), _ = drawn("fig-x", INF, wide, CIFAR)
    low, high = side[0].get_xlim()
    assert low < 255e-5 and high > 127.5


def test_curves_are_dashed_only_where_the_images_are_others():
    assert curves.other_images(SAMPLE) and not curves.other_images(CIFAR)
    for dashed, style in ((True, "--"), (False, "-")):
        (side, *_), picture = drawn("fig-x", INF, ours(dashed=dashed), SAMPLE if dashed else CIFAR)
        assert {line.get_linestyle() for line in lines(side[0]).values()} == {"-"}
        assert {line.get_linestyle() for line in lines(side[1]).values()} == {style}
        assert ("Dashed, because the images are others" in picture.caption) == dashed


@pytest.mark.parametrize("figure, norm", [(INF, "linf"), (ADV, "l2"), ("Square_Attack_Accuracy", "l2")])
def test_the_radius_is_an_open_diamond_on_its_curve(figure, norm):
    radius = float(np.sqrt(np.prod(EPSILONS[norm][:2])))
    (side, *_), picture = drawn("fig-x", figure, ours(norm, radii={"ep-cnn": radius}), SAMPLE)
    (diamond,) = [line for line in side[1].lines if line.get_marker() == "D"]
    unit = 255 if norm == "linf" else 1
    assert diamond.get_xdata() == pytest.approx([unit * radius])
    if side[0].get_xscale() == "log":  # in the middle of its line
        assert diamond.get_ydata() == pytest.approx([(0.84 + 0.55) / 2])
    assert diamond.get_color() == pictures.COLOURS["ep-cnn"] and diamond.get_markerfacecolor() == "white"
    assert "median first-order radius" in picture.caption and "◇" not in "".join(
        t.get_text() for t in side[1].texts
    )
    amount = f"{255 * radius:.3g}/255" if norm == "linf" else f"{radius:.3g}"
    assert f", first-order radius {amount}" in picture.views["ours"].alt


@pytest.mark.parametrize(
    "radius, mark, at, said",
    [
        (0.5, ">", 0.11, "(◇ → 128/255)"),  # beyond the panel
        (0.105, ">", 0.105, "(◇ → 26.8/255)"),  # inside of it, but nothing was measured there
        (5e-4, "<", 5e-4, "(◇ ← 0.128/255)"),
        (2e-5, "<", 9e-5, "(◇ ← 0.0051/255)"),
        (float("inf"), ">", 0.11, "(◇ → ∞)"),
    ],
)
def test_a_radius_where_nothing_was_measured_is_an_arrow_with_its_number(radius, mark, at, said):
    (side, *_), picture = drawn("fig-x", INF, ours(radii={"ep-cnn": radius, "cnn": 0.01}), SAMPLE)
    marks = [line for line in side[1].lines if line.get_marker() in "D<>"]
    assert [m.get_marker() for m in marks] == [mark, "D"] and not marks[0].get_clip_on()
    assert marks[0].get_xdata() == pytest.approx([255 * at])
    assert marks[0].get_ydata() == pytest.approx([0.84 if mark == "<" else 0.07])  # where the curve ends
    labels = [t.get_text().replace("\n", " ").replace(panels.NO_BREAK, " ") for t in side[1].texts]
    assert labels == [f"EP-CNN {said}", "CNN"]
    assert (
        "arrow" in picture.caption and f"first-order radius {said[4:-1].strip()}" in picture.views["ours"].alt
    )
    assert "radius" not in words("fig-x", INF, ours(), SAMPLE).caption


def test_labels_with_a_radius_get_their_room():
    (side, *_), _ = drawn("fig-x", INF, [replace(c, radius=0.5) for c in nine()], CIFAR)
    canvas = side[0].figure
    canvas.draw_without_rendering()
    boxes = [Text.get_window_extent(t) for t in side[1].texts]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    assert min(b.y0 for b in boxes) >= 0 and max(b.x1 for b in boxes) <= canvas.bbox.x1


def test_without_a_network_the_panel_says_so():
    views, picture = drawn("fig-x", INF, [])
    for ax in (views[0][1], views[2][0]):
        assert [t.get_text() for t in ax.texts] == ["no network stored yet"] and not ax.lines
    assert "Ours: no network stored yet." in picture.caption and "Wilson" not in picture.caption
    assert "ours: no network stored yet." in picture.alt


def test_without_a_published_figure_it_is_a_picture():
    axes = published_curves.Axes("linf", "log", (1e-3, 0.1), (0, 1))
    (axs,), _ = drawn("fig-x", None, ours(), SAMPLE, axes=axes)
    picture = curves.figure("fig-x", None, ours(), SAMPLE, axes=axes)
    assert isinstance(picture, pictures.Picture) and len(axs) == 1
    assert "ublished" not in picture.caption + picture.alt and "input" not in picture._repr_html_()


def test_what_is_missing_is_asked_for():
    with pytest.raises(InputError, match="figure fig-x without its badge or axes"):
        curves.figure("fig-x", INF, ours())
    with pytest.raises(InputError, match="figure fig-x without its badge or axes"):
        curves.figure("fig-x", None, ours(), SAMPLE)
    with pytest.raises(InputError, match="unknown figure of the paper 'fig-pgd'"):
        curves.figure("fig-x", "fig-pgd", ours(), SAMPLE)


def test_captions_say_where_the_numbers_come_from():
    picture = words("fig-x", INF, ours(), SAMPLE, start="A curve falls.", more="And no more.")
    assert picture.caption.startswith(
        "How to read it: A curve falls. Published: CIFAR-10, ℓ∞ PGD; mean ± one"
    )
    assert picture.caption.endswith("And no more.")
    for said in (
        "EP-CNN, CNN: 5 seeds, 10,000 images; ViT: 1 seed, 10,000 images; CNN adv. ℓ2 0.5,",
        "an image that the attack repairs counts as right",
        published_curves.note(INF),
        "n = 100 test images, seeds 0, 1; an image counts where it is right before and under attack",
        "95 % Wilson intervals",
        "“adv.”: trained on images",
    ):
        assert said in picture.caption
    assert "adv." not in words("fig-x", "Adversarial_Accuracy_CNN_M", ours("l2"), SAMPLE).caption
    assert words("fig-x", INF, []).caption.startswith("How to read it: the further right")


def test_alternative_texts_tell_the_ends_of_the_curves_that_are_seen():
    alts = {view: p.alt for view, p in words("fig-x", INF, ours(), SAMPLE).views.items()}
    theirs, mine = "EP-CNN 88.1% at 0.0255 and 7.2% at 25.5", "EP-CNN 84.0% at 0.255 and 7.0% at 25.5"
    assert [(theirs in a, mine in a) for a in alts.values()] == [(True, True), (True, False), (False, True)]
    assert "CNN 88.6% at 0.0255 and 7.2% at 25.5" in alts["published"]  # measured to ε = 1, drawn to 0.11
    assert all(alt.startswith("Accuracy under attack against ℓ∞ perturbation ε") for alt in alts.values())


def test_published_curves_move_with_the_published_numbers(monkeypatch):
    before, table = curves.of_published(INF), published.table

    def moved(*arguments, **columns):
        return table(*arguments, **columns).assign(mean=lambda rows: 0.9 * rows["mean"])

    monkeypatch.setattr(published, "table", moved)
    assert curves.of_published(INF)[0].y == pytest.approx([0.9 * y for y in before[0].y])


def test_the_html_has_three_labelled_radio_buttons_and_three_texts():
    html = toggle()._repr_html_()
    ids = re.findall(r'<input type="radio" name="fig-linf-view" id="([^"]+)"', html)
    assert len(set(ids)) == 3 and re.findall(r'<label for="([^"]+)">', html) == ids
    assert html.startswith('<figure class="eplib eplib-toggle" id="fig-linf">')
    assert html.count(" checked") == html.count("<figcaption>") == html.count("<legend>") == 1
    assert len(set(re.findall(r'<img src="data:image/svg\+xml;base64,[^"]+" alt="([^"]{40,})"', html))) == 3
    assert "<script" not in html and "http" not in re.sub('base64,[^"]+', "", html)


def test_the_table_has_a_line_a_model():
    results = {m: [result(m, seed=s) for s in (13, 11)] for m in SHARES}
    results["ep-cnn-16"] = [result("ep-cnn-16", shares=(0.5, 0.25), epsilons=(0.01, 8 / 255))]
    html = curves.table(results | {"twin-bptt": []}, {"ep-cnn": 0.0101})
    found = [re.findall("<t[hd]>(.*?)</t[hd]>", line) for line in re.findall("<tr>(.*?)</tr>", html)]
    head = ["0.255/255", "2.55/255", "8/255", "25.5/255", "median first-order radius"]
    assert found == [
        ["network", "seeds", "clean", *head],
        ["EP-CNN", "11, 13", "90.0", "84.0", "55.0", "–", "7.0", "2.58/255"],
        ["CNN", "11, 13", "90.0", "80.0", "30.0", "–", "2.0", "–"],
        ["EP-CNN 16", "0", "90.0", "–", "50.0", "25.0", "–", "–"],
    ]
    assert "ℓ∞" in html
    l2 = curves.table({"cnn": [result("cnn", "l2")]}, {"cnn": 0.25})
    assert "<th>0.309</th>" in l2 and "<td>0.25</td>" in l2 and "/255" not in l2
    assert "network" in curves.table({})
    with pytest.raises(InputError, match="results in l2, linf: give results of one norm"):
        curves.table({"cnn": [result("cnn", "l2")], "ep-cnn": [result("ep-cnn")]})


@pytest.fixture
def visit(browser, tmp_path):
    """Opens a page with the figure under a book's style sheet; nothing leaves the machine, nothing breaks."""
    (tmp_path / "page.html").write_text(
        '<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>x</title><style>[hidden] {{ display: none !important }}</style>{toggle()._repr_html_()}"
    )
    tabs, problems = [], []

    def open_page(width=1000):
        tab = browser.new_page(viewport={"width": width, "height": 900})
        tab.on("request", lambda r: None if r.url.startswith(("file:", "data:")) else problems.append(r.url))
        tab.on("pageerror", lambda error: problems.append(str(error)))
        tab.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
        tab.goto((tmp_path / "page.html").as_uri())
        tabs.append(tab)
        return tab

    yield open_page
    for tab in tabs:
        tab.close()
    assert problems == []


def seen(tab):
    """Which of the three images are visible."""
    images = tab.locator("#fig-linf img").all()
    return [image.is_visible() for image in images]


def test_a_click_shows_another_view_at_the_same_place(visit):
    tab = visit()
    assert seen(tab) == [True, False, False]
    boxes = []
    for place, view in enumerate(VIEWS):
        tab.get_by_label(view, exact=True).check()
        assert seen(tab) == [i == place for i in range(3)]
        image = tab.locator("#fig-linf img").nth(place)
        assert image.evaluate("e => e.complete && e.naturalWidth") > 600
        boxes.append(image.bounding_box())
    assert boxes[0] == boxes[1] == boxes[2]
    assert tab.get_by_role("group", name="show").get_by_role("radio").count() == 3


def test_arrow_keys_move_between_the_views(visit):
    tab = visit()
    tab.keyboard.press("Tab")
    for place, key in ((1, "ArrowRight"), (2, "ArrowDown"), (0, "ArrowRight"), (2, "ArrowLeft")):
        tab.keyboard.press(key)
        assert seen(tab) == [i == place for i in range(3)]
        assert tab.evaluate("document.activeElement.id") == f"fig-linf-view-{place + 1}"


def test_print_and_pages_without_a_style_sheet_show_the_panels_side_by_side(visit):
    tab = visit()
    tab.get_by_label("ours", exact=True).check()
    tab.emulate_media(media="print")
    assert seen(tab) == [True, False, False] and not tab.locator("#fig-linf input").first.is_visible()
    tab.emulate_media(media="screen")
    tab.evaluate("document.querySelectorAll('style').forEach((s) => s.remove())")
    assert seen(tab) == [True, False, False]


def test_it_fits_a_phone(visit):
    tab = visit(width=400)
    for view in VIEWS:
        tab.get_by_label(view, exact=True).check()
        assert tab.evaluate("document.documentElement.scrollWidth") <= 400
        assert (
            tab.evaluate(
                "Math.max(...[...document.querySelectorAll('figure *')]"
                ".map((e) => e.getBoundingClientRect().right))"
            )
            <= 400
        )

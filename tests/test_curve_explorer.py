import csv
import io
import json
import re
from urllib.parse import parse_qs

import numpy as np
import pandas as pd
import pytest
from explorer_tools import follow
from test_pages import visit

from eplib import chapters, curve_data, curve_explorer, curves, files, published_curves, results
from eplib.curve_data import Measured
from eplib.results import Result

EPSILONS = {"l2": [0.1, 0.5, 2.0], "linf": [0.001, 0.01, 0.1]}
STEPS = {"pgd": ("pgd", 20), "minimal": ("ddn", 100), "carlini-wagner": ("carlini-wagner", 60)}
STEPS |= {"square": ("square", 500)}
N = 50
SHOWN = chapters.Shown("quick", "sample", (11, 13))
HEAD = "model,attack,norm,scale,dataset,seeds,n,epsilon,accuracy,low,high,source"


def result(attack, model, counts, seed=11, norm="l2", scale="quick", dataset="sample", n=N, first=0):
    """The last so many of n images are right at each ε, the first image is `first`."""
    called, steps = STEPS[attack]
    measurement = attack if attack == "carlini-wagner" else f"{attack}-{norm}"
    settings = {"measurement": measurement, "model": model, "checkpoint": f"{model}-s{seed}", "seed": seed}
    settings |= {"checkpoint_sha256": f"{seed}" * 32, "scale": scale, "dataset": dataset, "images": n}
    settings |= {"predict_steps": 20 if model == "ep-cnn" else None, "order": "forward", "norm": norm}
    settings |= {"epsilons": EPSILONS[norm]}
    rows = [{"attack": called, "attack_steps": steps, "epsilon": e} for e in EPSILONS[norm]]
    table = pd.DataFrame(rows).assign(metric="accuracy", norm=norm)
    correct = np.array([np.arange(n) >= n - c for c in counts])
    return Result(settings, table, first + np.arange(n), np.ones(n, bool), correct, {})


def measured(attack, model, counts, seeds=(11, 13), norm="l2", scale="quick", dataset="sample"):
    """Of the second seed one image less is right."""
    every = [
        result(attack, model, [max(0, c - i) for c in counts], seed, norm, scale, dataset)
        for i, seed in enumerate(seeds)
    ]
    return Measured(attack, norm, scale, dataset, model, every)


def synthetic():
    some = [
        measured("pgd", "vit-8", (30, 9, 2)),
        measured("pgd", "cnn-at-l2-0.5", (36, 33, 20)),
        measured("pgd", "cnn", (35, 20, 4)),
        measured("pgd", "ep-cnn", (35, 25, 10)),
        measured("pgd", "mixer", (20, 9, 2), seeds=(11,)),
        measured("pgd", "ep-cnn", (38, 15, 2), norm="linf"),
        measured("pgd", "ep-cnn", (30, 14, 1), scale="cpu", dataset="cifar10", seeds=(11,)),
    ]
    some += [measured("minimal", m, (30, 10, 1)) for m in ("ep-cnn", "cnn")]
    some += [measured("minimal", "vit-8", (26, 8, 6))]
    return some + [measured("square", m, (38, 30, 12)) for m in ("ep-cnn", "cnn")]


@pytest.fixture(scope="module")
def stored():
    return [m for scale in ("cpu", "quick") for m in curve_data.measured(scale)]


@pytest.fixture(scope="module")
def held(stored):
    """What a page holds of all that is stored and published."""
    return json.loads(json.dumps(curve_data.everything(stored)))


def values(line, key):
    return pytest.approx([v / 10_000 for v in line[key]], abs=5.1e-5)


def test_a_page_holds_every_stored_curve_as_it_is_drawn_elsewhere(stored, held):
    ours = [c for c in held["curves"] if "each" in c]
    assert len(ours) == len(stored) > 50
    for m in stored:
        (curve,) = curves.of_results({m.model: m.results}, False)
        hashes = [files.settings_hash(r.settings) for r in m.results]
        (line,) = [c for c in ours if [seed[1] for seed in c["seeds"]] == hashes]
        assert held["models"][line["model"]]["key"] == m.model and line["norm"] == m.norm
        assert held["attacks"][line["attack"]]["key"] == m.attack and line["set"] == f"{m.scale}/{m.dataset}"
        assert held["grids"][line["x"]] == pytest.approx(curve.x, rel=1e-5)
        assert all(values(line, key) == list(getattr(curve, key)) for key in ("y", "low", "high"))
        assert line["n"] == len(m.results[0].image_ids)
        assert [s[0] for s in line["seeds"]] == [r.settings["seed"] for r in m.results]
        order = np.argsort(m.results[0].epsilons)
        for each, r in zip(line["each"], m.results, strict=True):
            assert each == [round(10_000 * v) for v in r.correct[order].mean(1)]
            path = f"{m.scale}/{m.dataset}/{line['measurement']}/{m.model}-s{r.settings['seed']}"
            assert str(results.stem(r.settings)) == f"{path}-{files.settings_hash(r.settings)}"


def test_a_page_holds_every_published_curve_once(held):
    theirs = [c for c in held["curves"] if "figures" in c]
    for figure, shown in published_curves.FIGURES.items():
        lines = [c for c in theirs if figure in c["figures"]]
        assert len(lines) == len(shown.curves)
        tables = published_curves.curves(figure)
        for model, table in tables.items():
            (line,) = [c for c in lines if held["models"][c["model"]]["key"] == curve_data.key(model)]
            assert held["grids"][line["x"]] == pytest.approx(list(table.index), rel=1e-5)
            for mine, column in (("y", "mean"), ("low", "low"), ("high", "high")):
                assert values(line, mine) == table[column].tolist()
            assert line["n"] == table.images.tolist() and line["seeds"] == table.seeds.tolist()
            assert (line["norm"], line["set"]) == (shown.axes.norm, shown.dataset)
    alike = [json.dumps({k: v for k, v in c.items() if k != "figures"}) for c in theirs]
    assert len(set(alike)) == len(alike) and max(len(c["figures"]) for c in theirs) > 1


def test_no_stored_measurement_with_one_outcome_an_epsilon_is_forgotten(stored):
    known = {r.settings["measurement"] for m in stored for r in m.results}
    for folder in (files.ROOT / "data" / "results" / "quick" / "sample").iterdir():
        found = results.load(next(folder.glob("*.json")))
        sizes = found.settings | found.settings.get("sizes", {})
        if "norm" in sizes and len(sizes.get("epsilons", ())) == len(found.correct):
            assert folder.name in known or "predicted" in sizes


def test_seeds_are_joined_other_settings_are_not_and_other_networks_left_out(out, monkeypatch):
    monkeypatch.setattr(curve_data, "_hash", lambda scale, model, dataset, seed: f"{seed}" * 32)
    for r in (
        result("pgd", "cnn", (30, 20, 10), seed=13, scale="smoke"),
        result("pgd", "cnn", (31, 21, 11), seed=11, scale="smoke"),
        result("pgd", "cnn", (3, 2, 1), scale="smoke", n=20),
        result("minimal", "cnn", (3, 2, 1), scale="smoke"),
    ):
        results.save(r, out / "results")
    found = curve_data.measured("smoke")
    assert sorted((m.attack, [r.settings["seed"] for r in m.results]) for m in found) == [
        ("minimal", [11]),
        ("pgd", [11]),
        ("pgd", [11, 13]),
    ]
    monkeypatch.setattr(curve_data, "_hash", lambda *network: None)
    assert curve_data.measured("smoke") == []


def test_what_pgd_misses_is_counted_on_what_both_attacks_share():
    pgd = [result("pgd", "cnn", (30, 20, 10)), result("pgd", "cnn", (40, 40, 40), seed=13)]
    # images 20 to 69, of which 20 to 49 are shared; right are the last, so none of the shared ones
    other = [result("minimal", "cnn", (20, 15, 10), first=20)]
    assert curve_explorer.missed(pgd, other) == (60, 60)
    same = [result("minimal", "cnn", (25, 20, 5))]
    assert curve_explorer.missed(pgd, same) == (5 + 0 + 5, 60)
    assert curve_explorer.missed(pgd, [result("minimal", "cnn", (1, 1, 1), seed=17)]) == (0, 0)


def test_the_plot_opens_with_the_attack_that_breaks_most_of_what_pgd_leaves():
    found = synthetic()
    state = curve_explorer.opening(SHOWN, found)
    assert state == {
        "norm": "l2",
        "ours": "quick/sample",
        "published": "none",
        "attacks": ["pgd", "minimal"],
        "axis": "log",
        "models": ["ep-cnn", "cnn", "cnn-at-l2-0.5", "vit-8"],
    }
    text = str(curve_explorer.explorer(SHOWN, found))
    # EP-CNN 70 and 67, CNN 59 and 56 right under PGD; 29, 29, 18 and 18 of them broken by the other
    assert "DDN breaks 94 of 252 such pairs" in text
    assert "DDN breaks 37.3%: a curve" in curve_explorer.answer(SHOWN, found)
    stronger = [measured("square", m, (2, 1, 0)) for m in ("ep-cnn", "cnn")]
    found = [m for m in found if m.attack != "square"] + stronger
    assert curve_explorer.opening(SHOWN, found)["attacks"] == ["pgd", "square"]
    alone = [m for m in found if m.attack == "pgd" and m.model != "vit-8"]
    state = curve_explorer.opening(SHOWN, alone)
    assert state["attacks"] == ["pgd"] and state["models"] == ["ep-cnn", "cnn", "cnn-at-l2-0.5", "mixer"]
    assert "breaks" not in curve_explorer.answer(SHOWN, alone)


def test_without_a_result_it_opens_with_the_published_curves():
    state = curve_explorer.opening(SHOWN, [])
    assert (state["ours"], state["published"]) == ("none", "cifar10") and "vit" in state["models"]
    known = [m["key"] for m in curve_data.everything([])["models"]]
    assert set(state["models"]) <= set(known)
    said = curve_explorer.answer(SHOWN, [])
    assert "0 curves of 0 networks under 0 kinds of attack are stored (none yet), beside " in said
    assert "none of ours is stored" in curve_explorer.explorer(SHOWN, [])


def test_the_order_of_two_networks_is_judged_under_both_attacks():
    first, second = curve_explorer.same_order(synthetic(), SHOWN)
    assert "Under PGD with" in first.sentence and "Under DDN with" in second.sentence
    (alone,) = curve_explorer.same_order([m for m in synthetic() if m.attack == "pgd"], SHOWN)
    assert alone == first


def test_an_answer_counts_what_is_there():
    said = curve_explorer.answer(SHOWN, synthetic())
    assert "12 curves of 10 networks under 3 kinds of attack" in said
    assert "(Fashion-MNIST sample at quick scale and CIFAR-10 at cpu scale)" in said


@pytest.fixture(scope="module")
def element(stored):
    return str(curve_explorer.explorer(SHOWN, stored))


def test_the_element_is_small_and_loads_nothing(element):
    assert len(element.encode()) < 400_000 + 40_000  # data and script
    assert set(re.findall(r"https?://[^\"' )]+", element)) == {"http://www.w3.org/2000/svg"}
    assert "export default" not in element


@pytest.fixture(scope="module")
def page(element, tmp_path_factory):
    """Folder of a page with the same explorer twice, one where JupyterLab is, one of all that is stored."""
    folder = tmp_path_factory.mktemp("page")
    twice = curve_explorer.explorer(SHOWN, synthetic())
    head = '<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    head += "<title>curves</title>"
    (folder / "curves.html").write_text(f"{head}{twice}{twice}")
    lab = '<script id="jupyter-config-data" type="application/json">{}</script>'
    (folder / "lab.html").write_text(f"{head}{lab}{twice}")
    (folder / "stored.html").write_text(head + element)
    return f"{folder.as_uri()}/"


@pytest.fixture(scope="module")
def tabs(browser, page):
    """Two tabs that are used again and again; at the end nothing has gone wrong in the first."""
    tab, left, problems = visit(browser, page, "curves.html")
    second = browser.new_page()
    yield tab, second
    tab.close()
    second.close()
    assert left == problems == []


@pytest.fixture
def open_page(tabs, page):
    """(name with a hash, width, which tab) -> (tab, its first explorer)."""

    def opened(name="curves.html", width=1200, which=0):
        tabs[which].goto("about:blank")
        tabs[which].set_viewport_size({"width": width, "height": 900})
        tabs[which].goto(page + name)
        return tabs[which], tabs[which].locator("[data-explorer=curves]").first

    return opened


def box(explorer, name):
    return explorer.get_by_role("checkbox", name=name)


def menu(explorer, name):
    return explorer.get_by_role("combobox", name=name)


WORDS = {"l2": "ℓ2", "linf": "ℓ∞", "log": "logarithmic", "linear": "linear", "cifar10": "CIFAR-10"}
WORDS |= {"cifar100": "CIFAR-100", "cpu/cifar10": "CIFAR-10, cpu scale"}


def choose(explorer, name, key):
    menu(explorer, name).select_option(label=WORDS[key])


def chosen(explorer, name):
    """The key of what is chosen."""
    words = menu(explorer, name).evaluate("m => m.selectedOptions[0].textContent")
    return next(key for key, value in WORDS.items() if value == words)


def hash_of(tab):
    """The address's, once it has been written."""
    tab.wait_for_timeout(400)
    return tab.evaluate("location.hash")


def downloaded(tab, explorer):
    """The rows of the file behind the button, as dicts."""
    with tab.expect_download() as waiting:
        explorer.get_by_role("button", name="Download CSV").click()
    text = waiting.value.path().read_text()
    assert text.partition("\n")[0] == HEAD and waiting.value.suggested_filename == "robustness-curves.csv"
    return list(csv.DictReader(io.StringIO(text)))


def drawn(tab, explorer):
    """{(model, attack)} of what is drawn."""
    return {(row["model"], row["attack"]) for row in downloaded(tab, explorer)}


def asked(tab):
    """The first explorer's state in the address."""
    (part,) = [p for p in hash_of(tab)[1:].split(";") if p.startswith("curves?")]
    return {key: value[0] for key, value in parse_qs(part.partition("?")[2]).items()}


def test_it_opens_as_told_and_controls_change_what_is_drawn(open_page):
    tab, explorer = open_page()
    opening = {(m, "pgd") for m in ("ep-cnn", "cnn", "cnn-at-l2-0.5", "vit-8")}
    opening |= {(m, "ddn") for m in ("ep-cnn", "cnn", "vit-8")}
    assert drawn(tab, explorer) == opening and hash_of(tab) == ""
    assert explorer.locator("polyline").count() == 7
    assert {p.get_attribute("stroke-dasharray") for p in explorer.locator("polyline").all()} == {"6 3"}
    box(explorer, "Square").check()
    box(explorer, "smallest change").uncheck()
    box(explorer, "ViT, 8-pixel patches").focus()
    tab.keyboard.press("Space")
    now = {(m, "pgd") for m in ("ep-cnn", "cnn", "cnn-at-l2-0.5")} | {("ep-cnn", "square"), ("cnn", "square")}
    assert drawn(tab, explorer) == now
    state = asked(tab)
    assert (state["attacks"], state["models"]) == ("pgd,square", "ep-cnn,cnn,cnn-at-l2-0.5")
    everyone = box(explorer, "all networks")
    assert everyone.evaluate("e => e.indeterminate")
    everyone.check()
    assert {m for m, _ in drawn(tab, explorer)} == {"ep-cnn", "cnn", "cnn-at-l2-0.5", "vit-8", "mixer"}
    everyone.uncheck()
    assert drawn(tab, explorer) == set()
    assert explorer.get_by_text("nothing of what is chosen is there").is_visible()
    box(explorer, "transformers and patch networks").check()
    assert drawn(tab, explorer) == {("vit-8", "pgd"), ("mixer", "pgd")}
    choose(explorer, "norm", "linf")
    assert not box(explorer, "MLP-Mixer").is_visible()  # not measured there
    choose(explorer, "published", "cifar10")
    box(explorer, "Equilibrium Propagation").check()
    rows = downloaded(tab, explorer)
    assert {(r["scale"], r["dataset"]) for r in rows} == {("quick", "sample"), ("published", "cifar10")}
    dashes = {p.get_attribute("stroke-dasharray") for p in explorer.locator("polyline").all()}
    assert dashes == {"6 3", "none"} and "Hollow marks: published" in explorer.inner_text()
    assert "drawn here is the mean of its five seeds" in explorer.locator("details p").all_text_contents()[0]
    explorer.get_by_role("button", name="reset").click()
    assert drawn(tab, explorer) == opening and hash_of(tab) == ""


def test_a_focused_point_tells_its_numbers_and_files(open_page):
    tab, explorer = open_page()
    plot, said = explorer.get_by_role("application"), explorer.locator("[aria-live]")
    explorer.get_by_role("button", name="reset").focus()
    for _ in range(30):
        tab.keyboard.press("Tab")
        if plot.evaluate("e => e === document.activeElement"):
            break
    pgd = next(m for m in synthetic() if (m.model, m.attack, m.norm) == ("ep-cnn", "pgd", "l2"))
    (curve,) = curves.of_results({"ep-cnn": pgd.results}, True)
    for key, place in (("", 0), ("ArrowRight", 1), ("End", 2), ("ArrowRight", 2), ("Home", 0)):
        if key:
            tab.keyboard.press(key)
        low, y, high = (f"{100 * v[place]:.1f} %" for v in (curve.low, curve.y, curve.high))
        epsilon = f"{curve.x[place]:g}"
        text = said.inner_text()
        assert text.startswith(f"EP-CNN, PGD, ℓ2 ε = {epsilon}: {y} ({low} to {high}). Fashion-MNIST sample")
        each = [
            f"seed {s} {100 * r.correct[place].mean():.1f} %"
            for s, r in zip((11, 13), pgd.results, strict=True)
        ]
        assert f"n = 50; {', '.join(each)}. How: PGD, 20 steps; free phase of 20 forward steps." in text
    for r in pgd.results:
        assert f"data/results/{results.stem(r.settings)}.csv" in text
        assert r.settings["checkpoint_sha256"][:10] in text
    tab.keyboard.press("ArrowDown")
    assert said.inner_text().startswith("EP-CNN, smallest change (DDN, FMN), ℓ2 ε = 0.1: ")
    tab.keyboard.press("ArrowUp")
    ring = explorer.locator("svg circle").bounding_box()
    marks = explorer.locator("g path").all()
    at = marks[-1].bounding_box()  # the last point of the last curve, by mouse
    tab.mouse.move(at["x"] + at["width"] / 2, at["y"] + at["height"] / 2)
    assert said.inner_text().startswith("ViT, 8-pixel patches") and "ε = 2: " in said.inner_text()
    assert explorer.locator("svg circle").bounding_box() != ring
    choose(explorer, "ε axis", "linear")
    again = explorer.locator("g path").nth(1).bounding_box()
    plain = explorer.get_by_role("application").bounding_box()
    assert (
        again["x"] < plain["x"] + 0.3 * plain["width"]
    )  # 0.5 of 2, which is in the middle of the other axis


def test_the_address_brings_back_what_was_drawn_for_each_of_two_explorers(open_page):
    tab, explorer = open_page()
    second = tab.locator("[data-explorer=curves]").nth(1)
    choose(explorer, "ours", "cpu/cifar10")
    choose(second, "published", "cifar100")
    choose(explorer, "ε axis", "linear")
    seen = drawn(tab, explorer), drawn(tab, second)
    assert seen[0] == {("ep-cnn", "pgd")} != seen[1]
    address = hash_of(tab)
    assert address.startswith("#") and "curves?norm=l2&ours=cpu/cifar10" in address and ";" in address
    other, first = open_page(f"curves.html{address}", which=1)
    again = other.locator("[data-explorer=curves]").nth(1)
    assert (drawn(other, first), drawn(other, again)) == seen
    assert chosen(first, "ε axis") == "linear"
    assert chosen(again, "ε axis") == "log"
    other.evaluate("location.hash = '#a-heading'")  # a link within the page takes nothing away
    assert drawn(other, first) == seen[0]
    other.evaluate(f"location.hash = {address!r}.replace('linear', 'log')")
    other.wait_for_timeout(50)
    assert chosen(first, "ε axis") == "log"


def test_a_hash_that_makes_no_sense_shows_the_start_and_says_so(open_page):
    tab, explorer = open_page("curves.html")
    start = drawn(tab, explorer)
    for wrong in ("models=ep-cnn,who", "norm=l1", "nothing=1", "attacks=%E0%A4%A", "ours=__proto__"):
        follow(tab, f"#curves?axis=linear&{wrong}")
        assert drawn(tab, explorer) == start and chosen(explorer, "ε axis") == "log"
        assert "this is the start" in explorer.get_by_role("status").inner_text()
    for harmless in ("#", "#curves", "#?;;?&=", "#curves?"):
        follow(tab, harmless)
        assert drawn(tab, explorer) == start
    box(explorer, "Square").check()
    assert explorer.get_by_role("status").inner_text() == "" and asked(tab)["attacks"] == "pgd,square,minimal"


def test_the_address_of_jupyterlab_stays_its_own(open_page):
    tab, explorer = open_page("lab.html#curves?norm=linf")
    assert chosen(explorer, "norm") == "l2"
    box(explorer, "Square").check()
    assert tab.evaluate("location.hash") == "#curves?norm=linf"
    assert ("ep-cnn", "square") in drawn(tab, explorer)


def test_the_file_has_the_numbers_of_the_stored_results(open_page, stored, held):
    models = ",".join(m["key"] for m in held["models"])
    attacks, first = ",".join(curve_data.ATTACKS), held["sets"][-1]["key"]
    address = f"#curves?norm=linf&ours={first}&published=cifar10&attacks={attacks}&models={models}"
    tab, explorer = open_page(f"stored.html{address}")
    rows = downloaded(tab, explorer)
    ours = [r for r in rows if r["scale"] != "published"]
    wanted = [m for m in stored if m.norm == "linf" and f"{m.scale}/{m.dataset}" == first]
    assert len(ours) == sum(len(m.results[0].epsilons) for m in wanted)
    for row in ours:
        tables = [pd.read_csv(files.ROOT / path) for path in row["source"].split(" ")]
        at = [
            t[(t.metric == "accuracy") & np.isclose(t.epsilon, float(row["epsilon"]), rtol=1e-5, atol=0)]
            for t in tables
        ]
        assert float(row["accuracy"]) == pytest.approx(np.mean([t.value.item() for t in at]), abs=5.1e-5)
        assert float(row["low"]) == pytest.approx(min(t.low.item() for t in at), abs=5.1e-5)
        assert float(row["high"]) == pytest.approx(max(t.high.item() for t in at), abs=5.1e-5)
        for t in at:
            one = t.iloc[0]
            assert (one.model, one.attack, one.norm) == (row["model"], row["attack"], row["norm"])
            assert (one.scale, one.dataset, one.n) == (row["scale"], row["dataset"], int(row["n"]))
        assert row["seeds"] == " ".join(str(t.seed.item()) for t in at)
    theirs = [r for r in rows if r["scale"] == "published"]
    figure = "Adversarial_Accuracy_Inf"
    table = published_curves.curves(figure)["cnn"]
    mine = [r for r in theirs if r["model"] == "cnn" and figure in r["source"]]
    assert [float(r["accuracy"]) for r in mine] == pytest.approx(table["mean"].tolist(), abs=5.1e-5)
    assert {(r["attack"], r["seeds"], r["n"]) for r in mine} == {("pgd", "5 seeds", "10000")}
    explorer.locator("summary", has_text="table of what is drawn").click()
    table = explorer.get_by_role("table", name="Every point that is drawn")
    table.wait_for()  # browsers say later that something was opened
    assert table.locator("tbody tr").count() == len(rows)
    cells = table.locator("tbody tr").first.locator("th, td").all_inner_texts()
    assert cells[6] == f"{100 * float(rows[0]['accuracy']):.1f} %" and len(cells) == 9


def test_it_fits_a_phone_and_every_control_has_a_name(open_page):
    tab, explorer = open_page(width=390)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    networks = explorer.locator("summary", has_text="networks: 4 of 5 drawn")
    assert not box(explorer, "MLP-Mixer").is_visible()
    networks.click()
    box(explorer, "MLP-Mixer").check()
    assert explorer.locator("summary", has_text="networks: 5 of 5 drawn").is_visible()
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    assert explorer.evaluate(
        "e => [...e.querySelectorAll('input, select')].every((c) => c.labels.length === 1"
        " && c.labels[0].textContent.trim())"
    )
    first = explorer.locator("g path").first
    first.scroll_into_view_if_needed()
    at = first.bounding_box()
    tab.mouse.click(at["x"] + at["width"] / 2, at["y"] + at["height"] / 2)
    assert "EP-CNN, PGD, ℓ2 ε = 0.1: " in explorer.locator("[aria-live]").inner_text()


def test_networks_that_are_drawn_together_have_other_colours(open_page, stored, held):
    tab, explorer = open_page("stored.html#curves?published=cifar10")
    colours = len({m["colour"] for m in held["models"]})
    assert colours < len(held["models"])  # some have to be alike, but not while few are drawn
    for name in ("adversarially trained", "transformers and patch networks", "students"):
        box(explorer, name).check()
        strokes = "[...e.querySelectorAll('polyline')].map((p) => p.getAttribute('stroke'))"
        count = int(explorer.locator("summary", has_text="networks:").inner_text().split()[1])
        assert len(set(explorer.evaluate(f"e => {strokes}"))) == min(count, colours)


def test_lines_are_seen_on_light_and_dark_pages(open_page):
    tab, explorer = open_page()

    def contrast(page):
        found = []
        for line in explorer.locator("polyline").all():
            rgb = np.array([int(v) for v in re.findall(r"\d+", line.get_attribute("stroke"))]) / 255
            linear = np.where(rgb > 0.04, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
            light = linear @ [0.2126, 0.7152, 0.0722]
            found.append((max(light, page) + 0.05) / (min(light, page) + 0.05))
        return min(found)

    box(explorer, "all networks").check()
    assert contrast(1.0) >= 2.95
    tab.evaluate("document.body.style.cssText = 'background: #121212; color: #ddd'")
    tab.wait_for_timeout(50)
    assert contrast(0.006) >= 2.95

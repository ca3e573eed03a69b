import re
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
import torch

from eplib import chapters, checkpoints, measurements, results, scales, sentences, specimens, verdicts
from eplib.checks import InputError

MODELS = ("ep-cnn", "cnn")


@pytest.fixture
def shown():
    return chapters.Shown("smoke", "sample", (0,))


def test_best_is_a_scale_with_stored_networks():
    shown = chapters.choose()
    assert shown.scale in ("quick", "cpu", "paper") and shown.dataset == scales.scale(shown.scale).dataset
    assert set(shown.seeds) <= set(scales.scale(shown.scale).seeds)


@pytest.mark.parametrize(
    "parameters",
    [
        dict(scale="huge"),
        dict(scale="smoke", dataset="mnist"),
        dict(scale="smoke", seeds="some"),
        dict(scale="smoke", seeds=[]),
        dict(scale="smoke", seeds=[0.5]),
        dict(scale="smoke", seeds=[True]),
        dict(scale="smoke", seeds=-1),
        dict(scale="smoke", seeds={0: 1}),
        dict(scale="smoke", seeds=None),
        dict(scale=3),
        dict(scale=["smoke"]),
        dict(scale=None),
        dict(dataset=7),
        dict(dataset=["sample"]),
        dict(scale="paper"),
    ],
)
def test_parameters_that_cannot_be_used_are_refused_in_one_sentence(parameters):
    with pytest.raises(InputError) as error:
        chapters.choose(**parameters)
    assert "\n" not in str(error.value) and "Traceback" not in str(error.value)
    if parameters != dict(scale="paper"):  # a page that computes nothing shows nothing, and says so
        with pytest.raises(InputError, match=re.escape(str(error.value))):
            chapters.where_stored(**{"dataset": "sample"} | parameters)


def test_all_seeds_are_those_with_everything_stored(out, smoke):
    needs, once = {"cnn": ("clean",)}, {"ep-cnn": ()}
    folder = out / "checkpoints" / "smoke"
    size = scales.scale("smoke")
    assert chapters.complete("smoke", "sample", needs, {}) == ()
    stored = smoke["cnn"]
    checkpoints.save(folder, stored.net, "cnn", "sample", "smoke", 0, stored.record["training"])
    assert chapters.complete("smoke", "sample", {"cnn": ()}, {}) == size.seeds == (0,)
    assert chapters.complete("smoke", "sample", needs, {}) == ()  # the network alone is not enough
    measurements.stored_or_measured(stored, "clean", progress=False)
    assert chapters.complete("smoke", "sample", needs, {}) == (0,)
    assert chapters.complete("smoke", "sample", needs, once) == ()


def test_best_is_the_largest_scale_with_everything_stored(monkeypatch):
    there = {"cpu": (13,), "quick": (11, 17)}
    asked = []

    def complete(scale, dataset, needs, once):
        asked.append((dataset, needs, once))
        return there.get(scale, ())

    monkeypatch.setattr(chapters, "complete", complete)
    monkeypatch.setattr(chapters.data, "available", lambda name: True)
    monkeypatch.setattr(chapters.checkpoints, "find", lambda *a: "somewhere")
    assert chapters.choose() == chapters.Shown("cpu", "cifar10", (13,))
    assert chapters.choose(needs={"cnn": ()}, once={"vit-4": ()}).scale == "cpu"
    assert asked[-1] == ("cifar10", {"cnn": ()}, {"vit-4": ()})
    monkeypatch.setattr(chapters.data, "available", lambda name: name == "sample")
    assert chapters.choose().scale == "quick" and chapters.choose(images=False).scale == "cpu"
    monkeypatch.setattr(chapters.others, "names", lambda: ("mine",))
    assert chapters.choose(images=False).scale == "quick"  # they have not been shown the images yet
    monkeypatch.undo()
    monkeypatch.setattr(chapters, "complete", complete)
    del there["cpu"]
    assert chapters.choose() == chapters.Shown("quick", "sample", (11, 17))
    there.clear()
    assert chapters.choose() == chapters.Shown("quick", "sample", scales.scale("quick").seeds)


def test_one_seed_may_be_given_as_a_number():
    assert chapters.choose("smoke", seeds=3).seeds == (3,)


def test_a_chapter_computes_what_is_missing_once_and_then_finds_it(shown, out):
    first = chapters.outcomes(shown, MODELS, "pgd-linf")
    written = {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.is_file()}
    assert {p.suffix for p in written} == {".safetensors", ".json", ".csv", ".npz"}
    again = chapters.outcomes(shown, MODELS, "pgd-linf")
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.is_file()} == written
    assert all((first[m][0].correct == again[m][0].correct).all() for m in MODELS)
    badge = chapters.badge(first)
    assert (badge.scale, badge.dataset, badge.seeds) == ("smoke", "sample", (0,))
    assert str(len(first["cnn"][0].image_ids)) in badge._repr_html_()


def test_examples_are_real_test_images_and_stay_within_epsilon(shown, out):
    examples = specimens.examples(shown, MODELS, "linf", count=2)
    assert examples["images"].shape == (2, 3, 32, 32) and set(examples["attacked"]) == set(MODELS)
    for images, predictions in examples["attacked"].values():
        assert (images - examples["images"]).abs().max() <= examples["epsilon"] + 1e-6 and len(
            predictions
        ) == 2


def test_sentences_come_from_the_verdicts():
    badge = chapters.Badge("sample", "quick", 500, (0, 1, 2))

    def verdict(word):
        return verdicts.Verdict(word, "undecided", f"{word} sentence", "overturn")

    texts = {
        word: sentences.answer({"linf": verdict(word), "l2": verdict(word)}, badge)
        for word in sentences.COLOURS
    }
    assert len(set(texts.values())) == 3
    mixed = sentences.answer({"linf": verdict("supported"), "l2": verdict("contradicted")}, badge)
    assert "ℓ∞" in mixed and "ℓ2" in mixed and "more" in mixed and "fewer" in mixed
    boxes = {word: str(sentences.verdict_box(verdict(word))) for word in sentences.COLOURS}
    assert all(f"{word} sentence" in box and "overturn" in box for word, box in boxes.items())
    assert len({box.split(";")[0] for box in boxes.values()}) == 3  # a colour each


def test_description_of_the_curve_names_every_strength():
    text = sentences.along_the_curve({"ep-cnn": [0.1], "cnn": [], "neither": [0.001, 0.01]}, "linf")
    assert "25.5/255;" in text and "0.255/255, 2.55/255." in text and "no strength measured" in text


def test_published_claim_quotes_the_published_numbers():
    assert "57.4%" in sentences.published_claim("linf") and "21.8%" in sentences.published_claim("linf")


def test_smoke_results_never_land_in_the_repository(monkeypatch):
    monkeypatch.delenv("EPLIB_OUT", raising=False)
    assert results.folders("smoke")[0].parts[-2:] == ("_build", "smoke")


def test_stored_results_are_found_and_nothing_is_computed(shown, out, smoke, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(measurements, "measure", lambda *a, **k: pytest.fail("measured"))
        assert chapters.stored(shown, "pgd-linf") == {} == chapters.stored(None, "pgd-linf")
        assert chapters.where_stored("sample", "smoke") is None
    folder = out / "checkpoints" / "smoke"
    for model, stored in smoke.items():
        checkpoints.save(folder, stored.net, model, "sample", "smoke", 0, stored.record["training"])
        measurements.stored_or_measured(stored, "margins", progress=False)
    measurements.stored_or_measured(smoke["cnn"], "pgd-linf", progress=False)
    assert list(chapters.stored(shown, "pgd-linf")) == ["cnn"]
    assert set(chapters.stored(shown, "margins")) == {"ep-cnn", "cnn"}
    assert list(chapters.stored(shown, "margins", ("ep-cnn", "mixer"))) == ["ep-cnn"]
    assert chapters.where_stored("sample", "smoke") == shown
    assert chapters.where_stored("sample", "smoke", [7]) is None
    assert chapters.where_stored("cifar100", "smoke") is None
    radii = chapters.radii(shown, "l2")
    assert set(radii) == {"ep-cnn", "cnn"} and all(r > 0 for r in radii.values())
    assert chapters.radii(shown, "l2")["cnn"] != chapters.radii(shown, "linf")["cnn"]


def test_half_trained_networks_are_shown_only_where_they_are_asked_for(shown, out, smoke):
    folder, cnn = out / "checkpoints" / "smoke", smoke["cnn"]
    for model in ("mixer", "mixer-halfway"):
        path = checkpoints.save(folder, cnn.net, model, "sample", "smoke", 0, cnn.record["training"])
        measurements.stored_or_measured(checkpoints.load(path), "pgd-linf", progress=False)
    assert list(chapters.stored(shown, "pgd-linf")) == ["mixer"]
    assert list(chapters.stored(shown, "pgd-linf", ("mixer-halfway",))) == ["mixer-halfway"]


def test_a_scale_whose_images_are_not_at_hand_is_not_the_best(monkeypatch, tmp_path):
    monkeypatch.setattr(chapters, "complete", lambda scale, dataset, needs, once: (11,))
    monkeypatch.setenv("EPLIB_DATA", str(tmp_path))
    assert chapters.choose().scale == "quick"
    (tmp_path / "cifar10.npz").touch()
    monkeypatch.setattr(chapters.checkpoints, "find", lambda *a: "somewhere")
    assert chapters.choose().scale == "paper"


def test_pairs_have_the_same_seeds():
    def result(seed):
        return results.Result({"seed": seed}, None, None, None, None, {})

    found = {"ep-cnn": [result(s) for s in (11, 13, 17)], "cnn": [result(s) for s in (13, 19, 17)]}
    first, second = chapters.paired(found, "ep-cnn", "cnn")
    assert [[r.settings["seed"] for r in side] for side in (first, second)] == [[13, 17], [13, 17]]
    with pytest.raises(InputError, match="measure both"):
        chapters.paired(found, "ep-cnn", "vit-8")


def test_what_two_chapters_need_is_computed_once(monkeypatch, out):
    """Two threads ask for the same network's same result."""
    net, kept, calls = SimpleNamespace(record={}), {}, []

    def measure(checkpoint, name, progress=True):
        calls.append(name)
        time.sleep(0.3)
        kept[name] = "result"
        return "result", "path"

    monkeypatch.setattr(measurements, "stored", lambda checkpoint, name: kept.get(name))
    monkeypatch.setattr(measurements, "measure_and_keep", measure)
    monkeypatch.setattr(
        measurements,
        "settings_of",
        lambda *_: dict.fromkeys("model seed scale dataset".split(), "x") | {"measurement": "pgd-l2"},
    )
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: measurements.stored_or_measured(net, "pgd-l2"), range(2)))
    assert found == ["result"] * 2 and calls == ["pgd-l2"]


def test_a_checkpoint_is_read_once_until_it_changes_and_given_as_a_copy(out, smoke, monkeypatch):
    stored, read = smoke["cnn"], []
    folder, load = out / "checkpoints" / "smoke", checkpoints.load
    monkeypatch.setattr(chapters.checkpoints, "load", lambda path: read.append(path) or load(path))

    def save():
        checkpoints.save(folder, stored.net, "cnn", "sample", "smoke", 0, stored.record["training"])

    save()
    shown = chapters.Shown("smoke", "sample", (0,))
    first, second = (chapters.networks(shown, "cnn")[0] for _ in range(2))
    assert len(read) == 1 and first.sha256 == second.sha256 == stored.sha256
    with torch.no_grad():
        next(first.net.parameters()).zero_()
    assert (
        next(second.net.parameters()).any()
        and next(chapters.networks(shown, "cnn")[0].net.parameters()).any()
    )
    time.sleep(0.02)
    save()
    chapters.networks(shown, "cnn")
    assert len(read) == 2

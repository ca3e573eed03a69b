import builtins
import time

import pytest
from test_explorer_pages import SHOWN, made, synthetic  # noqa: F401 (a fixture)

from eplib import curve_explorer, explorer_speed, explorers, files
from eplib.checks import InputError

REPORT = {
    "pages": {"attack": [16.6, 8.0, 90.1], "curves": [61.2, 50.0, 70.0]},
    "handlers": {},
    "built": [],
    "answers": {"attack": [1234.5, 900.0, 2000.0]},
    "goal": 50,
    "rounds": 15,
    "scale": "quick",
    "browser": "Chromium 1",
    "torch": "2",
    "device": "a CPU",
    "threads": 1,
    "python": "3",
}


def test_every_explorer_is_moved_and_timed_in_its_page(browser, made, tmp_path, monkeypatch):  # noqa: F811
    figures = {k: explorers.embed(k, d, "How") for k, d in made[1].items()}
    figures["curves"] = curve_explorer.explorer(SHOWN, synthetic())
    monkeypatch.setattr(files, "ROOT", tmp_path)
    folder = tmp_path / "_build" / "html" / "book"
    folder.mkdir(parents=True)
    (folder / "semantics.html").write_text(f"<!doctype html>{figures['game']}")  # and no gallery
    (folder / "first-attack.html").write_text("<!doctype html><p>an attack explorer of before</p>")
    pages, handlers, built = explorer_speed.in_pages(browser, figures, 3)
    assert set(pages) == set(handlers) == set(explorer_speed.CHAPTERS) == set(explorers.SCRIPTS)
    assert built == ["game"]
    for kind, (median, least, most) in pages.items():
        assert 0 < least <= median <= most and handlers[kind][0] <= median


class Widget:
    """Answers after some milliseconds; refuses a negative number."""

    message, cell = "", None

    def __setattr__(self, name, value):
        if name == "wanted":
            time.sleep(value["wait"] / 1000 if value["wait"] > 0 else 0)
            self.__dict__["cell"] = {"waited": value["wait"]}
            self.__dict__["message"] = "give more." if value["wait"] < 0 else ""


def test_answers_are_timed_one_after_another_and_a_refusal_is_no_answer():
    times = explorer_speed.answer_times(Widget(), [{"wait": 1}, {"wait": 30}], 3)
    assert len(times) == 3 and times[0] >= 30 and times[2] >= 30 and times[1] < 25
    with pytest.raises(RuntimeError, match="give more"):
        explorer_speed.answer_times(Widget(), [{"wait": -1}], 3)


def test_what_is_asked_for_is_never_what_was_shown_before():
    for asked in explorer_speed.ASKED.values():
        assert len(asked) > 1 and all(a != b for a, b in zip(asked, asked[1:] + asked[:1], strict=True))


def test_the_table_says_what_takes_longer_than_the_aim():
    told = str(explorer_speed.table(REPORT)._repr_html_())
    assert "<th>attack</th><td>17 (8 to 90)</td><td>1,234 (900 to 2,000) *</td>" in told
    assert "<th>curves</th><td>61 (50 to 70) *</td><td>needs no kernel</td>" in told
    assert "The aim is 50 ms; * is slower. 15 inputs each; networks of quick scale; Chromium 1" in told
    fast = REPORT | {"pages": {"attack": [16.6, 8.0, 90.1]}, "answers": {}}
    assert "*" not in str(explorer_speed.table(fast)._repr_html_())


def test_without_a_browser_it_says_in_a_sentence_what_to_install(monkeypatch):
    monkeypatch.setattr(explorer_speed.shutil, "which", lambda name: None)
    with pytest.raises(InputError, match="found none of chromium, .*: install the package chromium"):
        explorer_speed.report()
    real = builtins.__import__

    def without(name, *rest):
        if name.startswith("playwright"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match="run pip install playwright"):
        explorer_speed.report()

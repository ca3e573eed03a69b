import functools
import json
import os
import re
import subprocess
import xml.etree.ElementTree as ElementTree
from dataclasses import asdict

import numpy as np
import pytest
from drawings import axes_only, words_only

from eplib import change_figures, changes, chapters, claims, files, sentences
from eplib.changes import ABSENT, Entry
from eplib.checks import InputError
from eplib.claims import Claim
from eplib.verdicts import Verdict

FIRST, SECOND = claims.CLAIMS[0].words, claims.CLAIMS[1].words


def entry(networks="supported", time="2026-01-01 10:00", n=64, seeds=(11,), scale="quick", **more):
    given = dict(claim=FIRST, label="ℓ2 PGD", dataset="sample", method="undecided") | more
    if scale == "cpu":
        given["dataset"] = "cifar10"
    return Entry(time=time, n=n, seeds=seeds, scale=scale, networks=networks, **given)


def at(hour, **more):
    return entry(time=f"2026-01-02 {hour:02d}:00", **more)


@pytest.fixture
def log(tmp_path, monkeypatch):
    """A log of one entry in a project of its own."""
    monkeypatch.delenv("EPLIB_OUT", raising=False)
    monkeypatch.setattr(files, "ROOT", tmp_path)
    path = tmp_path / "data" / "changes.json"
    files.write_json(path, {"entries": [asdict(entry())]})
    return path


def test_nothing_is_added_where_words_images_and_seeds_are_the_same():
    old = [entry()]
    assert changes.new(old, [at(1)]) == []  # a newer date is no change
    for changed in (
        at(1, networks="undecided"),
        at(1, n=128),
        at(1, seeds=(11, 13)),
        at(1, method="supported"),
    ):
        assert changes.new(old, [changed]) == [changed]
        assert changes.new([*old, changed], [changed]) == []
    assert len(changes.new(old, [at(1), at(1, label="CNN"), at(1, scale="cpu")])) == 2  # others of their own


def test_what_is_not_there_any_more_is_said_once_and_can_come_back():
    now = [at(3, label="CNN")]
    first, second = changes.new([entry()], now)
    assert second.label == "CNN" or first.label == "CNN"
    gone = next(e for e in (first, second) if e.label == "ℓ2 PGD")
    assert (gone.networks, gone.method, gone.n, gone.seeds) == (ABSENT, ABSENT, 0, ())
    assert gone.time == "2026-01-02 03:00"
    log = [entry(), first, second]
    assert changes.new(log, now) == []
    back = at(4)
    assert changes.new(log, [*now, back]) == [back]


def test_an_entry_is_never_older_than_the_one_it_follows():
    (added,) = changes.new([at(5)], [entry("contradicted")])
    assert added.time == at(5).time and added.networks == "contradicted"
    (gone,) = changes.new([at(5)], [])
    assert gone.time == at(5).time


def test_update_adds_keeps_what_was_there_and_does_nothing_twice(log, monkeypatch):
    judged = []

    def present():
        judged.append(1)
        return [at(2, n=128), at(1, label="CNN")]

    monkeypatch.setattr(changes, "present", present)
    added = changes.update()
    assert [e.label for e in added] == ["CNN", "ℓ2 PGD"]
    assert changes.read(log) == [entry(), *added]
    before = log.read_bytes()
    assert changes.update() == [] and len(judged) == 1  # nothing changed: not judged again
    result = files.ROOT / "data" / "results" / "quick" / "sample" / "pgd-l2" / "cnn-s11-0.json"
    files.write_json(result, {})
    assert changes.update() == [] and len(judged) == 2  # judged, and the same
    assert log.read_bytes() == before
    assert [p.name for p in log.parent.iterdir() if p.is_file()] == ["changes.json"]  # no half file left


def test_update_sorts_what_it_adds_among_other_scales_by_time(log, monkeypatch):
    files.write_json(log, {"entries": [asdict(at(5))]})
    monkeypatch.setattr(changes, "present", lambda: [at(5), at(3, scale="cpu")])
    changes.update()
    assert [e.scale for e in changes.read(log)] == ["cpu", "quick"]


def test_results_kept_elsewhere_are_none_of_the_history(log, monkeypatch):
    monkeypatch.setattr(changes, "present", lambda: 1 / 0)
    monkeypatch.setenv("EPLIB_OUT", "elsewhere")
    assert changes.update() == []


def test_what_fails_while_judging_leaves_the_log_as_it_was(log, monkeypatch):
    before = log.read_bytes()
    monkeypatch.setattr(changes, "present", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        changes.update()
    assert log.read_bytes() == before


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        "{}",
        '{"entries": [{}]}',
        '{"entries": 3}',
        json.dumps({"entries": [asdict(entry()) | {"networks": "maybe"}]}),
        json.dumps({"entries": [asdict(entry()) | {"time": "yesterday"}]}),
        json.dumps({"entries": [asdict(entry()) | {"scale": "huge"}]}),
        json.dumps({"entries": [asdict(entry()) | {"seeds": 3}]}),
        None,
    ],
)
def test_a_damaged_or_lost_log_is_refused_in_one_sentence_and_not_begun_anew(log, content, monkeypatch):
    monkeypatch.setattr(changes, "present", lambda: [])
    log.write_text(content) if content else log.unlink()
    with pytest.raises(InputError, match="change log") as refused:
        changes.update()
    assert "\n" not in str(refused.value)
    assert log.read_text() == content if content else not log.exists()


def test_claims_are_judged_at_every_scale_from_what_is_stored_there_alone(monkeypatch):
    class Found:
        settings = {"dataset": "sample", "scale": "quick", "seed": 3}
        image_ids = range(7)

    def judge(label, pick):
        shown = pick({"ep-cnn": ("pgd-l2", "clean"), "cnn": ("clean",)})
        assert shown == chapters.Shown("quick", "sample", (3,))
        return {label: Verdict("supported", "undecided", "", "")}, [Found]

    def absent(pick):
        return pick({"ep-cnn": ("missing",)})

    asked = []

    def complete(scale, dataset, needs, once):
        asked.append((scale, dataset))
        return (3,) if scale == "quick" and "missing" not in needs["ep-cnn"] else ()

    monkeypatch.setattr(chapters, "complete", complete)
    monkeypatch.setattr(changes, "newest", lambda scale, measurements: f"{scale} {sorted(measurements)}")
    every = [Claim("a", None, "causes", functools.partial(judge, "x")), Claim("b", None, "causes", absent)]
    (found,) = changes.present(every)
    assert found == Entry(
        "quick ['clean', 'pgd-l2']", "a", "x", "quick", "sample", 7, (3,), "supported", "undecided"
    )
    assert {scale for scale, _ in asked} == {"quick", "cpu", "paper"}
    assert ("cpu", "cifar10") in asked  # whether or not its images are at hand


def test_a_time_is_that_of_the_newest_commit_or_of_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "ROOT", tmp_path)
    folder = tmp_path / "data" / "results" / "quick" / "sample"

    def write(measurement, name, seconds):
        path = folder / measurement / name
        files.write_json(path, {})
        os.utime(path, (seconds, seconds))

    def git(*arguments, when="2026-03-04T05:06:00 +0000"):
        call = ["git", "-C", tmp_path, "-c", "user.name=a", "-c", "user.email=a@b.c", *arguments]
        subprocess.run(
            call, check=True, capture_output=True, env={"GIT_COMMITTER_DATE": when, "PATH": "/usr/bin:/bin"}
        )

    write("pgd-l2", "a.json", 0)
    write("clean", "b.json", 120)
    assert changes.newest("quick", {"pgd-l2", "clean"}) == "1970-01-01 00:02"  # no repository
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "a")
    assert changes.newest("quick", {"pgd-l2"}) == "2026-03-04 05:06"
    write("clean", "c.json", 2_000_000_000)
    assert changes.newest("quick", {"pgd-l2"}) == "2026-03-04 05:06"
    assert changes.newest("quick", {"pgd-l2", "clean"}) == "2033-05-18 03:33"  # not committed yet


def test_claims_count_once_by_what_all_their_tests_say():
    log = [
        at(1),
        at(2, label="ℓ∞ PGD", networks="undecided"),
        at(3, claim=SECOND, networks="contradicted"),
        at(4, label="ℓ∞ PGD"),
        at(4, scale="cpu"),
        at(5, claim=SECOND, networks=ABSENT),
    ]
    rest = len(claims.CLAIMS)
    found = changes.counts(log, "quick")
    assert [t[-5:] for t, _ in found] == ["01:00", "02:00", "03:00", "04:00", "05:00"]
    words = [tuple(c[w] for w in ("supported", "contradicted", "undecided", ABSENT)) for _, c in found]
    assert words == [
        (1, 0, 0, rest - 1),
        (0, 0, 1, rest - 1),
        (0, 1, 1, rest - 2),
        (1, 1, 0, rest - 2),
        (1, 0, 0, rest - 1),
    ]
    ((_, cpu),) = changes.counts(log, "cpu")
    assert cpu["supported"] == 1


def again(*words, field="networks"):
    return [at(i, n=64 + i, **{field: w}) for i, w in enumerate(words)]


@pytest.mark.parametrize(
    "words, word",
    [
        (("supported",), "undecided"),
        (("supported",) * 10, "undecided"),  # given again nine times
        (("supported",) * 11, "supported"),
        (("supported", "undecided") * 6, "undecided"),
        (("undecided",) * 20, "undecided"),
        (("supported", "contradicted"), "contradicted"),
        (("contradicted", "undecided", ABSENT, "supported"), "contradicted"),
        ((*("supported",) * 11, "contradicted"), "contradicted"),
    ],
)
def test_words_are_stable_when_given_again_often_and_never_turned(words, word):
    verdict = changes.stable(again(*words))
    assert verdict.networks == word and verdict.sentence.startswith(f"For these networks: {word}.")
    assert (FIRST.rstrip(".") in verdict.sentence) == (word == "contradicted")


def test_the_same_images_and_seeds_again_do_not_count_and_verdicts_are_not_mixed():
    assert changes.stable([at(i) for i in range(20)]).networks == "undecided"
    mixed = [at(1), at(2, label="CNN", networks="contradicted"), at(3, scale="cpu", networks="contradicted")]
    assert changes.flips(mixed, "networks") == ([], 0)


def test_words_for_the_method_are_judged_on_their_own():
    assert "no word was ever decided" in changes.stable(again("undecided", field="method")).sentence
    turned = changes.stable(again("supported", "contradicted", field="method"))
    assert (turned.networks, turned.method) == ("undecided", "contradicted")
    assert "For the method: contradicted." in turned.sentence


def test_decided_words_that_became_undecided_are_counted():
    said = changes.stable(again("supported", "undecided", "contradicted", "undecided")).sentence
    assert "2 went from decided to undecided" in said


LOG = [
    at(1),
    at(2, networks="undecided", seeds=(11, 13)),
    at(3, networks="undecided", seeds=(11, 13), n=128),
    at(4, networks="contradicted", seeds=(11, 13), n=128),
    at(5, claim="A < claim that is not tested any more", label="", scale="cpu"),
    at(6, networks=ABSENT, method=ABSENT, n=0, seeds=()),
]


def test_the_answer_counts_what_changed():
    said = change_figures.answer(LOG)
    assert said.startswith(sentences.BEGINNING + "From 2026-01-02 to 2026-01-02, 2 verdicts were given")
    assert "words changed 3 times (the last time on 2026-01-02), 1 of the verdicts turned into its" in said
    assert "and 1 time the images or seeds changed and the words did not" in said
    alone = change_figures.answer(LOG[:1])
    assert "1 verdict was given" in alone and "changed 0 times, none of the verdicts turned" in alone


def test_the_table_says_what_changed_and_why_the_newest_first():
    page = change_figures.table(LOG)
    lines = re.findall(r"<tr><th scope=\"row\".*?</tr>", page)
    assert [re.search(r"\d\d:00", line).group() for line in lines] == [f"0{h}:00" for h in (6, 5, 4, 3, 2, 1)]
    assert "not stored any more" in lines[0] and "contradicted → <strong" in lines[0]
    assert "A &lt; claim" in lines[1] and "<a " not in lines[1] and "cpu, CIFAR-10" in lines[1]
    assert "results of other networks, or the rule" in lines[2] and "128 images, seeds 11, 13" in lines[2]
    assert "64 → 128 images" in lines[3] and "seeds" not in lines[3] and "→ <strong" not in lines[3]
    assert "seeds 11 → 11, 13" in lines[4] and "supported → <strong" in lines[4]
    assert "measured: 64 images, seed 11" in lines[5] and 'href="white-box.html"' in lines[5]
    assert f"{ABSENT} → <strong" in lines[5] and "<td>undecided</td>" in lines[5]  # the method: no news
    assert "(ℓ2 PGD)" in lines[5] and "details" not in page
    ElementTree.fromstring(page)


def test_old_lines_of_a_long_table_are_folded():
    page = change_figures.table([at(i % 24, n=i + 1) for i in range(change_figures.SHOWN + 3)])
    shown, folded = page.split("<details>")
    assert "<summary>3 older entries</summary>" in folded
    assert shown.count('scope="row"') == change_figures.SHOWN and folded.count('scope="row"') == 3
    ElementTree.fromstring(page)


def test_the_figure_has_a_line_for_every_word_and_a_panel_for_every_scale(monkeypatch):
    monkeypatch.setattr(change_figures, "draw", axes_only)
    quick, cpu = change_figures.figure("fig-changes", LOG)
    assert "quick" in quick.get_title("left") and "cpu" in cpu.get_title("left")
    labels = [t.get_text() for t in quick.texts]
    assert labels == ["supported 0", "contradicted 0", "undecided 0", f"{ABSENT} {len(claims.CLAIMS) + 1}"]
    supported = quick.lines[0].get_ydata()
    assert list(supported) == [1, 0, 0, 0, 0, 0]  # once for every change, and until the end
    assert quick.get_ylim() == cpu.get_ylim() and quick.get_ylim()[1] > len(claims.CLAIMS)
    heights = [t.get_position()[1] for t in quick.texts]
    assert min(np.diff(sorted(heights))) > 0.06 and max(heights) <= 1
    (alone,) = change_figures.figure("fig-changes", LOG[:4])
    assert alone.get_ylabel() == "claims"
    monkeypatch.setattr(change_figures, "draw", words_only)
    picture = change_figures.figure("fig-changes", LOG)
    assert "quick scale, at first 1 supported" in picture.alt and picture.alt.endswith(".")
    assert picture.caption.startswith("How to read it: ") and "Today's rules" in picture.caption


def test_the_stored_log_can_be_read_and_names_claims_of_the_book():
    entries = changes.read(changes.stored())
    assert [e.time for e in entries] == sorted(e.time for e in entries) and entries
    for before, after in changes.steps(entries):
        assert before is None or before.says != after.says
    assert {e.claim for e in entries} <= {c.words for c in claims.CLAIMS}


def test_what_is_recorded_is_what_the_page_of_claims_says_at_that_scale():
    claim = next(c for c in claims.CLAIMS if c.chapter == "equilibrium")
    (judged,) = claims.judged("quick", claims=[claim])
    found = changes.present([claim], ("quick",))
    assert {(e.label, e.networks, e.method) for e in found} == {
        (who, v.networks, v.method) for who, v in judged.verdicts.items()
    }
    badge = judged.badge
    assert {(e.dataset, e.n, e.seeds) for e in found} == {(badge.dataset, badge.n, badge.seeds)}
    assert all(e.time > "2026-11-23" for e in found)

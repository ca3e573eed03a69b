"""How the words for the claims have changed as results accumulated: the log in data/changes.json, what
`make book` adds to it, and a verdict about it. Words are those of `eplib.claims`, judged at every scale from
what is stored there; nothing is trained or measured for them.
"""

import functools
import os
import subprocess
from collections import Counter
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime

from eplib import chapters, claims, files, scales
from eplib.checks import InputError, one_of
from eplib.claims import WORDS
from eplib.verdicts import Verdict

SCALES = ("quick", "cpu", "paper")  # whose results are kept
ABSENT = "not measured"
DECIDED = ("supported", "contradicted")
AGAIN = 10  # verdicts given again on other images or seeds, before words count as stable
MINUTE = "%Y-%m-%d %H:%M"  # of times, in UTC


@dataclass(frozen=True)
class Entry:
    """A verdict as it was from a time on. time: when the newest result that it may rest on was kept, UTC.
    claim, label: words of the claim, and what it was tested against. scale, dataset, n, seeds: what it rests
    on. networks, method: its words; "not measured" where what it rested on is there no longer.
    """

    time: str
    claim: str
    label: str
    scale: str
    dataset: str
    n: int
    seeds: tuple
    networks: str
    method: str

    @property
    def key(self):
        return self.claim, self.label, self.scale

    @property
    def says(self):
        """All that makes it another entry than the one before."""
        return self.dataset, self.n, self.seeds, self.networks, self.method


def stored():
    """The path of the project's log."""
    return files.ROOT / "data" / "changes.json"


def read(path):
    """[Entry] of the log, the oldest first. Raises InputError where it is missing or
    damaged: a log that is lost is not begun anew.
    """
    kept = files.read_json(path, "change log")
    try:
        entries = [Entry(**e | {"seeds": tuple(e["seeds"])}) for e in kept["entries"]]
        for e in entries:
            datetime.strptime(e.time, MINUTE)
            one_of("scale", e.scale, SCALES)
            one_of("data set", e.dataset, chapters.DATASET_NAMES)
            for word in (e.networks, e.method):
                one_of("word", word, (*WORDS, ABSENT))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"change log {path} cannot be read ({error}): it is damaged, restore it from the repository"
        ) from error
    return entries


def update():
    """Add to the log what stored results say by now and did not before; returns the entries added. Nothing is
    judged where neither they nor the rules have changed since, and results kept outside of the project
    (EPLIB_OUT) are none of its history.
    """
    path, state = stored(), files.ROOT / "_build" / "judged.json"
    if os.environ.get("EPLIB_OUT"):
        return []
    with files.alone(path):
        entries = read(path)
        if state.exists() and files.read_json(state, "state") == {"of": _made_of(path)}:
            return []
        added = new(entries, present())
        if added:
            every = sorted([*entries, *added], key=lambda e: e.time)
            files.write_json(path, {"entries": [asdict(e) for e in every]})
        files.write_json(state, {"of": _made_of(path)})
    return added


def _made_of(path):
    """Hash of all that words depend on, and of the log."""
    data = files.ROOT / "data"
    paths = [path, *(files.ROOT / "eplib").glob("*.py"), *(data / "published").glob("*.csv")]
    paths += [p for folder in ("checkpoints", "results") for p in (data / folder).rglob("*.json")]
    return files.sha256("".join(f"{p} {files.sha256(p)}\n" for p in sorted(paths)).encode())


def new(entries, now):
    """The entries to add to a log: those of `now` ([Entry], what holds at present) that say something else
    than the last of their key, and for keys that `now` lacks, that nothing is measured any more. None is
    older than the last of its key.
    """
    last, there = latest(entries), {e.key for e in now}
    gone = [e for e in last.values() if e.key not in there and e.networks != ABSENT]
    newest = max((e.time for e in now), default="")
    now = [*now, *(replace(e, time=newest, n=0, seeds=(), networks=ABSENT, method=ABSENT) for e in gone)]
    now = [replace(e, time=max(e.time, last[e.key].time)) if e.key in last else e for e in now]
    return sorted((e for e in now if e.key not in last or last[e.key].says != e.says), key=lambda e: e.time)


def latest(entries):
    """{key: its last Entry}."""
    return {e.key: e for e in entries}


def present(every=claims.CLAIMS, scales_judged=SCALES):
    """[Entry] of what stored results say now, at every scale; claims of which something is not stored at a
    scale have none there.
    """
    found = []
    for scale in scales_judged:
        for claim in every:
            asked = []
            try:
                said, results = claim.judge(functools.partial(_stored, scale, asked))
            except InputError:  # not stored, or nothing to compare
                continue
            on, time = chapters.badge({"ep-cnn": results}), newest(scale, set(asked))
            on = (on.scale, on.dataset, on.n, tuple(on.seeds))
            found += [Entry(time, claim.words, who, *on, v.networks, v.method) for who, v in said.items()]
    return found


def _stored(scale, asked, needs):
    """The `Shown` of a scale where all of `needs` is stored for some seed, whether or not its images are at
    hand; InputError where it is not. Adds to `asked` which measurements these are.
    """
    dataset = scales.scale(scale).dataset
    seeds = chapters.complete(scale, dataset, needs, {})
    if not seeds:
        raise InputError(f"{', '.join(needs)} at scale {scale}: not everything is stored, measure it first")
    asked += [m for wanted in needs.values() for m in wanted]
    return chapters.Shown(scale, dataset, seeds)


def newest(scale, measurements):
    """When the newest stored result of measurements at a scale was committed, or where git does not know it,
    written, as `MINUTE`, UTC.
    """
    base = files.ROOT / "data" / "results" / scale / scales.scale(scale).dataset
    folders = [base / m for m in sorted(measurements)]
    committed = _git("log", "-1", "--format=%ct", "--", *folders)
    known = {files.ROOT / p for p in _git("ls-files", "-z", "--", *folders).split("\0")}
    loose = [p.stat().st_mtime for f in folders for p in f.glob("*.json") if p not in known]
    seconds = max([float(committed or 0), *loose])
    return datetime.fromtimestamp(seconds, UTC).strftime(MINUTE)


def _git(*arguments):
    """What git says about the project; nothing where it is no repository."""
    try:
        call = ["git", "-C", str(files.ROOT), *map(str, arguments)]
        return subprocess.run(call, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""


def steps(entries):
    """[(Entry before or None, Entry)] of a log, in its order."""
    last, found = {}, []
    for e in entries:
        found.append((last.get(e.key), e))
        last[e.key] = e
    return found


def counts(entries, scale):
    """[(time, {word: claims})] at a scale after every change there: each claim that the book tests or the log
    holds counts once, by `claims.together` over what it was tested against.
    """
    names = dict.fromkeys([*(c.words for c in claims.CLAIMS), *(e.claim for e in entries)])
    kept, found = [e for e in entries if e.scale == scale], {}
    for i, e in enumerate(kept):
        said = {name: {} for name in names}
        for one in latest(kept[: i + 1]).values():
            if one.networks != ABSENT:
                said[one.claim][one.label] = one
        words = Counter(claims.together(s) if s else ABSENT for s in said.values())
        found[e.time] = {w: words[w] for w in (*WORDS, ABSENT)}  # the last of several at one time stays
    return list(found.items())


def flips(entries, field):
    """([key of every verdict whose word went from supported to contradicted or back, be it by way of
    undecided], how often a decided word was given again on other images or seeds). field: "networks" or
    "method".
    """
    turned, again, decided = [], 0, {}
    for e in entries:
        word = getattr(e, field)
        if word not in DECIDED:
            continue
        before = decided.get(e.key)
        if before is not None:
            again += (before.dataset, before.n, before.seeds) != (e.dataset, e.n, e.seeds)
            turned += [e.key] * (getattr(before, field) != word)
        decided[e.key] = e
    return list(dict.fromkeys(turned)), again


def stable(entries):
    """Are decided words kept as results accumulate? A `Verdict` about the log. Contradicted where a word went
    from supported to contradicted or back; supported where none did and decided words were given again on
    other images or seeds at least `AGAIN` times; otherwise undecided. The word for the method: the same, of
    words for the method.
    """
    said = []
    for field in ("networks", "method"):
        turned, again = flips(entries, field)
        said.append("contradicted" if turned else "supported" if again >= AGAIN else "undecided")
    turned, again = flips(entries, "networks")
    which = "; ".join(f"{titled(claim, label)}, {scale} scale" for claim, label, scale in turned)
    found = f"{len(turned)} went over to the opposite word ({which})" if turned else "none of them went over"
    pairs = [(a.networks, b.networks) for a, b in steps(entries) if a]
    open_again = sum(a in DECIDED and b == "undecided" for a, b in pairs)
    methods = {e.method for e in entries} & set(DECIDED)
    about = f"For the method: {said[1]}." if methods else "For the method no word was ever decided."
    return Verdict(
        *said,
        f"For these networks: {said[0]}. Decided words were given again on other images or seeds {again}"
        f" times, and {found} from supported to contradicted or back; {open_again} went from decided"
        f" to undecided. {about}",
        "One verdict that turns into its opposite contradicts it; fewer than"
        f" {AGAIN} decided words given again leave it undecided.",
    )


def titled(claim, label):
    """A claim, with what it was tested against where that is said."""
    words = claim.rstrip(".").split(":")[0]
    return f"{words} ({label})" if label else words

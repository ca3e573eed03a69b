"""Every network of the project and all that is measured of it, piece by piece, from data/campaign.toml.

`python -m eplib campaign` says where it stands, `python -m eplib campaign run --scale cpu --budget 9m` goes
on with it.
"""

import json
import math
import os
import sys
import tomllib
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from eplib import (
    checkpoints,
    data,
    files,
    measurements,
    models,
    recipes,
    results,
    scales,
    snapshots,
    studies,
)
from eplib.checks import InputError, one_of

LIST = files.ROOT / "data" / "campaign.toml"
GUESS = 5  # core-minutes of a measurement that was never recorded


def _words(value):
    return type(value) is list and all(type(v) is str for v in value)


KEYS = {
    "scale": ("a word", lambda v: type(v) is str),
    "dataset": ("a word", lambda v: type(v) is str),
    "models": ("a list of words", lambda v: _words(v) and v),
    "seeds": (
        "a list of whole numbers from 0 up",
        lambda v: type(v) is list and v and all(type(s) is int and s >= 0 for s in v),
    ),
    "measurements": ("a list of words", _words),
    "minutes": ("a number above 0", lambda v: type(v) in (int, float) and 0 < v < math.inf),
}


@dataclass(frozen=True)
class Piece:
    """A network (measurement None) or one measurement of it. minutes: a guess for training the network."""

    scale: str
    dataset: str
    model: str
    seed: int
    measurement: str | None
    minutes: float

    @property
    def name(self):
        network = f"{self.scale}/{self.dataset}/{self.model}-s{self.seed}"
        return network if self.measurement is None else f"{network}/{self.measurement}"

    @property
    def network(self):
        """The piece that is the network itself."""
        return replace(self, measurement=None)


def pieces(path=LIST):
    """Every `Piece` of a campaign file, in its order; InputError naming the file and the entry when something
    is unknown, of another type, or named twice. A later entry may name a network again for more measurements.
    """
    try:
        listed = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"campaign {path} cannot be read ({error}): restore it") from error
    entries = listed.get("piece")
    if listed.keys() != {"piece"} or type(entries) is not list or not all(type(e) is dict for e in entries):
        raise InputError(f"campaign {path} holds {', '.join(listed) or 'nothing'}: give only [[piece]]")
    found = {}
    for number, entry in enumerate(entries, 1):
        try:
            before, more = set(found), bool(entry.get("measurements"))
            for piece in _expand(entry):
                again = piece.measurement is None and more and piece.name in before
                if piece.name in found and not again:
                    raise InputError(f"{piece.name} is named twice: remove one of them")
                found.setdefault(piece.name, piece)
        except InputError as error:
            raise InputError(f"campaign {path}, entry {number}: {error}") from error
    return list(found.values())


def pieces_of(scale, path=LIST):
    """The pieces of one scale; InputError where there are none."""
    scales.scale(scale)
    found = [p for p in pieces(path) if p.scale == scale]
    if not found:
        raise InputError(f"campaign {path} has no pieces of scale {scale}: give another scale or add some")
    return found


def _expand(entry):
    if not KEYS.keys() - {"dataset"} <= entry.keys() <= KEYS.keys():
        raise InputError(f"its keys are {', '.join(entry)}: give {', '.join(KEYS)}, at most without dataset")
    for key, value in entry.items():
        what, fits = KEYS[key]
        if not fits(value):
            raise InputError(f"{key} = {value!r}: give {what}")
    size = scales.scale(entry["scale"])
    dataset = one_of("data set", entry.get("dataset", size.dataset), data.CLASSES)
    for model in entry["models"]:
        scales.row(size.name, model, dataset)
    for measurement in entry["measurements"]:
        one_of("measurement", measurement, measurements.MEASUREMENTS)
    return [
        Piece(size.name, dataset, model, seed, measurement, entry["minutes"])
        for seed in entry["seeds"]
        for model in entry["models"]
        for measurement in (None, *entry["measurements"])
    ]


def folder():
    """Where the campaign keeps its logs, its failures and its lock."""
    out = os.environ.get("EPLIB_OUT")
    return (Path(out) if out else files.ROOT / "_build") / "campaign"


def log_of(piece):
    """The path of what a piece's process writes."""
    return folder() / f"{piece.name.replace('/', '-')}.log"


def record_of(piece):
    """The path of the record of a piece's network: of the stored one, or else where `train` will write it."""
    stored = checkpoints.find(piece.scale, piece.model, piece.dataset, piece.seed)
    if stored is not None:
        return stored.with_suffix(".json")
    name = f"{checkpoints.name(piece.model, piece.dataset, piece.seed)}.json"
    return results.folders(piece.scale)[0] / "checkpoints" / piece.scale / name


def needed(piece):
    """The networks that must be there before a piece can be made: what a network is taught by or takes its
    weights from, what a measurement looks at.
    """
    if piece.measurement is None:
        source = _recipe(piece).source
        return [replace(piece, model=source)] if source else []
    others = []
    if piece.measurement == "transfer":
        sources = scales.scale(piece.scale).attacks["transfer"]["sources"]
        others = [replace(piece.network, model=m) for m in sources if m != piece.model]
    if piece.measurement == "semantics":
        others = [replace(piece.network, model=m, seed=models.JUDGE_SEED) for m in models.JUDGES]
    return [piece.network, *others]


def resumes(piece):
    """Whether a piece that was stopped goes on where it was: all but the studies and the clean accuracy."""
    return piece.measurement not in (*studies.STUDIES, "clean")


def applies(piece):
    """Whether the piece makes sense: studies of equilibria need an energy-based network."""
    return piece.measurement not in studies.STUDIES or _recipe(piece).kind != "backprop"


def command(piece):
    """The command line that makes a piece."""
    start = [sys.executable, "-m", "eplib"]
    if piece.measurement is None:
        names = ["--model", piece.model, "--dataset", piece.dataset, "--scale", piece.scale]
        return [*start, "train", *names, "--seed", str(piece.seed)]
    weights = str(record_of(piece).with_suffix(".safetensors"))
    return [*start, "measure", "--checkpoint", weights, "--measurement", piece.measurement]


def state(piece):
    """(state, reason): "done", "failed" (why), "waiting" (for what), "in progress" or "missing".

    A measurement is done only for the weights that are stored now: a retrained network is measured again.
    """
    missing = [network.name for network in needed(piece) if not record_of(network).exists()]
    trained = record_of(piece).exists()
    try:
        if trained and (piece.measurement is None or not missing and _measured(piece)):
            return "done", None
    except InputError as error:
        return "failed", str(error)
    failure = kept("failures").get(piece.name)
    if failure is not None:
        return "failed", failure
    if missing:
        return "waiting", f"needs {missing[0]}"
    return ("in progress" if piece.measurement is None and _snapshot(piece).exists() else "missing"), None


def cost(piece):
    """Estimated core-minutes: of a network in progress what is left, otherwise all that the piece takes, as
    stored records of other seeds say or, without any, as the campaign's file or `GUESS` does.
    """
    known = recorded(piece)
    if piece.measurement is not None:
        return GUESS if known is None else known
    whole, path = piece.minutes if known is None else known, _snapshot(piece)
    if record_of(piece).exists() or not path.exists():
        return whole
    try:
        with safe_open(path, framework="pt") as file:
            progress = json.loads(file.metadata()["progress"])
        done, spent = progress["iteration"], progress["core_seconds"] / 60
    except (SafetensorError, OSError, ValueError, KeyError, TypeError):
        return whole
    # later phases are longer, so the pace so far is a lower bound only
    return max(whole - spent, spent * (recipes.iterations(_recipe(piece))[1] / done - 1))


def _recipe(piece):
    return scales.row(piece.scale, piece.model, piece.dataset).recipe


def _snapshot(piece):
    """Where the state of an unfinished training lies or will lie: here, or carried from another machine."""
    name = f"{checkpoints.name(piece.model, piece.dataset, piece.seed)}.unfinished.safetensors"
    here = results.folders(piece.scale)[0] / "checkpoints" / piece.scale / name
    carried = snapshots.CARRIED / piece.scale / name
    return carried if carried.exists() and not here.exists() else here


def _measured(piece):
    checkpoint = checkpoints.load_once(record_of(piece).with_suffix(".safetensors"))
    return results.find(measurements.settings_of(checkpoint, piece.measurement)) is not None


def kept(what):
    """{name of a piece: what is kept of it} in the campaign's folder."""
    path = folder() / f"{what}.json"
    return files.read_json(path, "record of the campaign") if path.exists() else {}


def keep(what, changes):
    """Add to what is kept; None forgets."""
    left = {name: value for name, value in (kept(what) | changes).items() if value is not None}
    files.write_json(folder() / f"{what}.json", left)


def recorded(piece):
    """Minutes that stored records give for a piece, on a processor or a GPU as there is here, or None without
    any. A measurement that the end of a budget stopped takes at least half as long again.
    """
    within, known = results.folders(piece.scale)[1], []
    if piece.measurement is None:
        name = f"checkpoints/{piece.scale}/{checkpoints.name(piece.model, '*', '*')}.json"
        found = [_training_seconds(r) for r in _records(within, name) if r["model"] == piece.model]
    else:
        stored = _records(within, f"results/{piece.scale}/*/{piece.measurement}/*.json")
        own = [r["seconds"] for r in stored if r["settings"]["model"] == piece.model]
        found = own or [r["seconds"] for r in stored]
        known = [1.5 * minutes for name, minutes in kept("overran").items() if name == piece.name]
    return max([*known, *([sum(found) / len(found) / 60] if found else [])], default=None)


def _training_seconds(record):
    training = record["training"]
    return training["history"][-1].get("core_seconds", training["seconds"])


def _records(within, pattern):
    found = [path for place in within for path in sorted(place.glob(pattern))]
    for path in found:
        files.note(path)  # also where it is not read again
    read = [_read(path, path.stat().st_mtime_ns) for path in found]
    return [record for record in read if files.on_gpu(record) == torch.cuda.is_available()]


@cache
def _read(path, written):
    return files.read_json(path, "record")


def table(scale=None, path=LIST):
    """{"rows": [{name, state, minutes, reason}, one a piece], "done", "pieces", "core_hours_left"}."""
    rows = []
    for piece in pieces(path) if scale is None else pieces_of(scale, path):
        word, reason = state(piece)
        rows.append({"name": piece.name, "state": word, "minutes": round(cost(piece), 1), "reason": reason})
    left = sum(row["minutes"] for row in rows if row["state"] not in ("done", "failed"))
    done = sum(row["state"] == "done" for row in rows)
    return {"rows": rows, "done": done, "pieces": len(rows), "core_hours_left": round(left / 60, 2)}


def lines(rows):
    """Rows of the table in words: one line a network, with the states of its measurements behind it, and one
    for every failure.
    """
    networks = {}
    for row in rows:
        scale, dataset, network, *measurement = row["name"].split("/")
        said = networks.setdefault(f"{scale}/{dataset}/{network}", [])
        if not measurement:
            said.insert(0, f"{row['state']:11} {row['minutes']:7.1f} min  {scale}/{dataset}/{network}")
        else:
            word = "" if row["state"] == "waiting" else f" {row['state']}"
            said.append(f"; {measurement[0]}{word}, {row['minutes']:.1f}")
    failed = [f"{row['name']}: {row['reason']}" for row in rows if row["state"] == "failed"]
    return [*map("".join, networks.values()), *failed]

"""What a set of networks holds: the file networks.json beside its folders checkpoints/ and results/.

    {"format": 1, "files": [{"path": "checkpoints/paper/NAME.json", "sha256": …, "bytes": …}, …]}

A set may come from anybody, so a manifest is read strictly: every path is one that this project writes, every
network and result is named with all of its files, and sizes have limits.
"""

import json
import re
import zipfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import torch

from eplib import baselines, checkpoints, data, files, results
from eplib.checks import InputError

NAME = "networks.json"
FORMAT = 1
SCALES = ("paper", "cpu", "quick")  # whose networks are kept
MIB = 2**20
LARGEST = {"safetensors": 64 * MIB, "npz": 64 * MIB, "csv": 16 * MIB, "json": 4 * MIB}  # bytes of one file
LARGEST_ARRAYS = 1024 * MIB  # of a result, unpacked
MOST_BYTES = 8 * 1024 * MIB  # of a set
MOST_FILES = 20_000
LARGEST_MANIFEST = 8 * MIB
_WORD = "[a-z0-9]+(?:[.-][a-z0-9]+)*"
PATHS = {  # what each kind of piece is made of: (how its paths are written, its endings)
    "checkpoints": (
        re.compile(rf"checkpoints/([a-z]+)/{_WORD}-s[0-9]+\.([a-z]+)"),
        ("safetensors", "json"),
    ),
    "results": (
        re.compile(rf"results/([a-z]+)/{_WORD}/{_WORD}/{_WORD}-s[0-9]+-[0-9a-f]{{10}}\.([a-z]+)"),
        ("csv", "npz", "json"),
    ),
}
HASH = re.compile("[0-9a-f]{64}")


class Entry(NamedTuple):
    """One file of a set: path below its folder, hash, and size in bytes."""

    path: str
    sha256: str
    bytes: int

    @property
    def kind(self):
        """ "checkpoints" or "results"."""
        return self.path.split("/")[0]

    @property
    def scale(self):
        return self.path.split("/")[1]

    @property
    def piece(self):
        """The path without its ending: what files of one network or one result share."""
        return self.path.rpartition(".")[0]


def pieces(content):
    """[[Entry]] of a manifest's bytes: networks first, then results, each with its JSON last. Raises
    InputError for anything that no manifest of this project says.
    """
    if len(content) > LARGEST_MANIFEST:
        raise InputError(
            f"{NAME} has more than {LARGEST_MANIFEST // MIB} MiB: give a smaller set of networks"
        )
    try:
        manifest = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{NAME} is no JSON: write it with `python -m eplib fetch --manifest`") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise InputError(
            f"{NAME} has not the format {FORMAT}: write it with `python -m eplib fetch --manifest`"
        )
    listed = manifest.get("files")
    if not isinstance(listed, list) or not 1 <= len(listed) <= MOST_FILES:
        raise InputError(f"{NAME} does not list 1 to {MOST_FILES:,} files: give another set of networks")
    entries = [_entry(item) for item in listed]
    total = sum(e.bytes for e in entries)
    if total > MOST_BYTES:
        raise InputError(
            f"{NAME} lists {total / MIB:,.0f} MiB, more than {MOST_BYTES // MIB:,}: give a smaller set"
        )
    twice = [path for path, count in Counter(e.path for e in entries).items() if count > 1]
    if twice:
        raise InputError(f"{NAME} lists {twice[0]} more than once: list every file once")
    return _together(entries)


def _entry(item):
    if not isinstance(item, dict) or set(item) != set(Entry._fields):
        raise InputError(f"{NAME} has an entry {_short(item)}: each has a path, sha256 and bytes, no more")
    path, sha, size = item["path"], item["sha256"], item["bytes"]
    ending = _ending(path)
    if ending is None:
        raise InputError(
            f"{NAME} names {_short(path)}: only checkpoints/SCALE/NAME-sSEED.safetensors and .json, and"
            " results/SCALE/DATASET/MEASUREMENT/NAME-sSEED-HASH.csv, .npz and .json are fetched"
        )
    if not isinstance(sha, str) or not HASH.fullmatch(sha):
        raise InputError(f"{NAME} gives {path} the sha256 {_short(sha)}: it has 64 hex digits")
    if type(size) is not int or not 1 <= size <= LARGEST[ending]:
        raise InputError(
            f"{NAME} gives {path} {_short(size)} bytes: 1 to {LARGEST[ending]:,} are fetched of such a file"
        )
    return Entry(path, sha, size)


def _ending(path):
    """The ending of a path that this project writes, of a scale and data set that it knows, else None."""
    for pattern, endings in PATHS.values():
        found = isinstance(path, str) and len(path) < 256 and pattern.fullmatch(path)
        if found and found[1] in SCALES and found[2] in endings:
            parts = path.split("/")
            return found[2] if parts[0] == "checkpoints" or parts[2] in data.CLASSES else None
    return None


def _short(value):
    """A value of somebody else's as it may be printed: escaped, and not long."""
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:80]}…"


def _together(entries):
    """The entries of each network and result in a list, its JSON last; InputError where one is not whole."""
    found = {}
    for e in sorted(entries, key=lambda e: (e.path.endswith(".json"), e.path)):
        found.setdefault(e.piece, []).append(e)
    for piece, of_piece in found.items():
        missing = set(PATHS[of_piece[0].kind][1]) - {e.path.rpartition(".")[2] for e in of_piece}
        if missing:
            raise InputError(f"{NAME} lists {piece} without its {', '.join(sorted(missing))}: list all of it")
    return [found[piece] for piece in sorted(found)]


def check(folder, piece):
    """Load a network or result, [Entry] with its JSON last, from the folder that its files lie in. Raises
    InputError unless it is whole and what its path says.
    """
    entry = piece[-1]
    path = Path(folder) / entry.path
    if entry.kind == "results":
        _check_arrays(path.with_suffix(".npz"), entry)
        said = f"results/{results.stem(results.load(path).settings)}"
    else:
        _check_description(files.read_json(path, "checkpoint record"), piece)
        record = checkpoints.load(path).record
        name = checkpoints.name(record["model"], record["dataset"], record["seed"])
        said = f"checkpoints/{record['scale']}/{name}"
    if said != entry.piece:
        raise InputError(f"{entry.path} is the record of {_short(said)}: its set of networks is mixed up")


def _check_description(record, piece):
    """Raise InputError for a record that would import code, or build a network larger than its weights."""
    described = record.get("network")
    if isinstance(described, dict) and described.get("kind") == baselines.OTHERS:
        raise InputError(
            f"{piece[-1].path} is a network that code of somebody else builds: only those that eplib builds"
            " are fetched, import it yourself"
        )
    with torch.device("meta"):  # sizes alone
        numbers = sum(t.numel() for t in baselines.build(described).state_dict().values())
    if numbers > piece[0].bytes:  # a number has two bytes or more
        raise InputError(
            f"{piece[-1].path} describes {numbers:,} numbers and its weights have {piece[0].bytes:,} bytes:"
            " they do not belong together"
        )


def _check_arrays(path, entry):
    """Raise InputError for arrays that take more room than any measurement's."""
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(part.file_size for part in archive.infolist())
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"the arrays of {entry.path} cannot be read: measure again") from error
    if size > LARGEST_ARRAYS:
        raise InputError(
            f"the arrays of {entry.path} take {size / MIB:,.0f} MiB, more than {LARGEST_ARRAYS // MIB:,}: no"
            " measurement of this project writes so much"
        )


def write(folder):
    """Write the manifest of a data folder that is to be published: every whole network and result of
    checkpoints/ and results/, each loaded once. Returns {manifest, networks, results, bytes}; InputError
    where there are none, or one is damaged.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"--manifest {folder}: give the folder that holds checkpoints and results")
    found = {}
    for path in (p for kind in PATHS for p in sorted((folder / kind).rglob("*.*"))):
        name = path.relative_to(folder).as_posix()
        if _ending(name):
            found.setdefault(name.rpartition(".")[0], []).append(path)
    whole = [paths for paths in found.values() if any(p.suffix == ".json" for p in paths)]
    listed = [
        {"path": p.relative_to(folder).as_posix(), "sha256": files.sha256(p), "bytes": p.stat().st_size}
        for paths in whole
        for p in paths
    ]
    if not listed:
        raise InputError(f"{folder} has no networks or results of scales {', '.join(SCALES)}: give another")
    text = json.dumps({"format": FORMAT, "files": listed}, indent=1) + "\n"
    every = pieces(text.encode())
    for piece in every:
        check(folder, piece)
    files.write(folder / NAME, text)
    count = Counter(piece[0].kind for piece in every)
    return {
        "manifest": str(folder / NAME),
        "networks": count["checkpoints"],
        "results": count["results"],
        "bytes": sum(e["bytes"] for e in listed),
    }

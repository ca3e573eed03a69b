"""The one store of results: a tidy table, per-image outcomes and everything that made them.

<folder>/<scale>/<dataset>/<measurement>/<model>-s<seed>-<settings hash>.{csv,npz,json}. The same settings
always give the same name. The JSON is written last and holds the hashes of the other two, so a result is
there whole or not at all.
"""

import io
import os
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from eplib import files
from eplib.checks import InputError

COLUMNS = (
    "measurement model checkpoint scale dataset seed norm epsilon attack gradient labels attack_steps"
    " predict_steps order metric value low high n seconds"
).split()
ARRAY = "array_"  # what `Result.arrays` are called in the file
IDENTITY = ("measurement", "model", "checkpoint", "scale", "dataset", "seed")


@dataclass(frozen=True)
class Result:
    """settings: everything that decides the outcome. table: one row a setting and metric, `COLUMNS` and what
    else the measurement varies.
    image_ids: int64 [n]. correct_clean: bool [n]. correct: bool [settings, n], in the order of the table's
    accuracy rows. record: the JSON. arrays: what else was kept per image, {name: array}.
    """

    settings: dict
    table: pd.DataFrame
    image_ids: np.ndarray
    correct_clean: np.ndarray
    correct: np.ndarray
    record: dict
    arrays: dict = field(default_factory=dict)

    @property
    def epsilons(self):
        """The ε of its accuracy rows; InputError where the measurement has no one list of them."""
        return self._of_attack("epsilons")

    @property
    def norm(self):
        """The norm of its threat model; InputError where the measurement has none."""
        return self._of_attack("norm")

    def _of_attack(self, key):
        sizes = self.settings | self.settings.get("sizes", {})
        if key not in sizes:
            raise InputError(f"a result of {sizes['measurement']} has no {key}: give one of an attack")
        return sizes[key]


def rows(result, metric, **columns):
    """The rows of a result's table with a metric, and with the values given in other columns: none where a
    column is missing; floats are compared by `numpy.isclose`.
    """
    found = result.table[result.table.metric == metric]
    for column, value in columns.items():
        if column not in found:
            return found[:0]
        found = found[
            np.isclose(found[column], value) if isinstance(value, float) else found[column] == value
        ]
    return found


def folders(scale):
    """(folder that is written to, every folder that is read) of data; EPLIB_OUT redirects writing, smoke is
    never kept.
    """
    committed = files.ROOT / "data"
    out = os.environ.get("EPLIB_OUT")
    first = Path(out) if out else files.ROOT / "_build" / "smoke" if scale == "smoke" else committed
    return first, list(dict.fromkeys([first, committed]))


def stem(settings):
    """The relative path of a result, without an ending."""
    s = settings
    name = f"{s['model']}-s{s['seed']}-{files.settings_hash(settings)}"
    return Path(s["scale"]) / s["dataset"] / s["measurement"] / name


def _with_ending(base, ending):
    """A path with an ending added: models' names hold dots, which `with_suffix` would cut."""
    return base.with_name(f"{base.name}.{ending}")


def tidy(table):
    """The table with all of `COLUMNS`, in their order, before those that only this measurement has."""
    return table.reindex(columns=[*COLUMNS, *(c for c in table.columns if c not in COLUMNS)])


def save(result, folder):
    """Write a result below `folder`, atomically; returns the path of its JSON."""
    base = Path(folder) / stem(result.settings)
    table = tidy(result.table).to_csv(index=False, lineterminator="\n").encode()
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        image_ids=result.image_ids,
        correct_clean=np.packbits(result.correct_clean),
        correct=np.packbits(result.correct, axis=1),
        **{f"{ARRAY}{name}": array for name, array in result.arrays.items()},
    )
    record = {
        "settings": result.settings,
        "n": len(result.image_ids),
        "csv_sha256": files.sha256(table),
        "npz_sha256": files.sha256(buffer.getvalue()),
        **result.record,
    }
    path = _with_ending(base, "json")
    files.write(_with_ending(base, "csv"), table)
    files.write(_with_ending(base, "npz"), buffer.getvalue())
    files.write_json(path, record)
    files.note(path)  # what is measured now is behind a page as much as what is read
    return path


def load(path):
    """The `Result` whose JSON is at `path`; InputError when one of its files is missing, damaged or from
    elsewhere.
    """
    path = Path(path)
    record = files.read_json(path, "result")
    if not {"settings", "n", "csv_sha256", "npz_sha256"} <= record.keys():
        raise InputError(
            f"result {path} is not one that `python -m eplib measure` wrote: remove it or measure again"
        )
    contents = {}
    for ending in ("csv", "npz"):
        try:
            contents[ending] = path.with_suffix(f".{ending}").read_bytes()
        except OSError as error:
            raise InputError(
                f"result {path} lacks its {ending} file ({error.strerror}): measure again"
            ) from error
        if files.sha256(contents[ending]) != record[f"{ending}_sha256"]:
            raise InputError(
                f"the {ending} file of result {path} does not have its recorded hash: it was damaged or"
                " edited, restore it or measure again"
            )
    n, settings = record["n"], record["settings"]
    try:
        if stem(settings).name != path.stem:
            raise ValueError("its settings are not those its name stands for")
        table = pd.read_csv(io.BytesIO(contents["csv"]))
        with np.load(io.BytesIO(contents["npz"]), allow_pickle=False) as arrays:
            if arrays["image_ids"].shape != (n,):
                raise ValueError(f"it holds {len(arrays['image_ids'])} images and not {n}")
            clean = np.unpackbits(arrays["correct_clean"], count=n).astype(bool)
            correct = np.unpackbits(arrays["correct"], axis=1, count=n).astype(bool)
            more = {k.removeprefix(ARRAY): arrays[k] for k in arrays.files if k.startswith(ARRAY)}
            return Result(settings, table, arrays["image_ids"], clean, correct, record, more)
    except (ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise InputError(f"result {path} cannot be read ({error}): measure again") from error


def find(settings):
    """The stored result of exactly these settings, or None."""
    for folder in folders(settings["scale"])[1]:
        path = _with_ending(folder / "results" / stem(settings), "json")
        if path.exists():
            return load(path)
    return None

"""Networks of others that a page shows beside its own, for as long as a notebook runs.

Checkpoints of `python -m eplib import` belong to no scale: a page measures them with the sizes of the scale
that it shows.
"""

from dataclasses import replace

from eplib import checkpoints, measurements
from eplib.checks import InputError

_given = ()  # the checkpoints of this session


def show(networks):
    """From now on show the networks whose checkpoints are at these paths, one path or a list; [] for none.

    Raises InputError for what `python -m eplib import` did not write, and for two of the same name and seed.
    """
    global _given
    paths = [networks] if isinstance(networks, str) else networks
    if not isinstance(paths, list | tuple) or not all(isinstance(p, str) and p for p in paths):
        raise InputError(f"networks = {networks!r}: give the path of a .safetensors, or a list of them")
    found = [checkpoints.load(path) for path in paths]
    for checkpoint in found:
        training = checkpoint.record.get("training")
        if not isinstance(training, dict) or "imported" not in training:
            raise InputError(
                f"network {checkpoint.name} was trained here and is shown without being named: give one that"
                " `python -m eplib import` wrote"
            )
    sets = sorted({c.record["dataset"] for c in found})
    if len(sets) > 1:
        raise InputError(f"networks of {' and '.join(sets)}: give those of one data set")
    if len({c.name for c in found}) < len(found):
        raise InputError(
            f"networks {', '.join(c.name for c in found)}: import each with a --name or --seed of its own"
        )
    _given = tuple(found)


def names():
    """What the networks of this session are called, each once."""
    return tuple(dict.fromkeys(c.record["model"] for c in _given))


def dataset():
    """The data set of this session's networks, or None where there are none."""
    return _given[0].record["dataset"] if _given else None


def check(shown):
    """Raise InputError where a page shows another data set than that of this session's networks."""
    if dataset() not in (None, shown):
        raise InputError(
            f"{', '.join(names())} was trained on {dataset()} and this page shows {shown}: give dataset"
            f" {dataset()}, or a scale that shows it"
        )


def at(scale):
    """{model: [Checkpoint, one a seed]} of this session's networks, to be measured with a scale's sizes."""
    found = {}
    for c in _given:
        found.setdefault(c.record["model"], []).append(replace(c, record=c.record | {"scale": scale}))
    return found


def measured(scale, measurement):
    """{model: [Result, one a seed]} of this session's networks with a scale's sizes, stored or measured now;
    without those of which it cannot be made.
    """
    found = {model: [_measured(c, measurement) for c in every] for model, every in at(scale).items()}
    return {model: [r for r in results if r] for model, results in found.items() if any(results)}


def _measured(checkpoint, measurement):
    try:
        return measurements.stored_or_measured(checkpoint, measurement)
    except InputError:  # it has no equilibria, or networks that the measurement needs are not stored
        return None

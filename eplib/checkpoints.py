"""A trained network in two files: NAME.safetensors (weights, float16 but for those of others) and NAME.json
(architecture, dynamics, training).

The JSON is written last and holds the hash of the weights; neither file is ever read as a pickle.
"""

import copy
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError

from eplib import baselines, files, results
from eplib.checks import InputError, one_of

FORMAT = 1


@dataclass(frozen=True)
class Checkpoint:
    """A network as stored. name: file name without ending. record: the whole JSON, with "sha256" of the
    weights.
    """

    name: str
    net: torch.nn.Module
    record: dict

    @property
    def sha256(self):
        return self.record["sha256"]


def name(model, dataset, seed):
    return f"{model}-{dataset}-s{seed}"


def save(folder, net, model, dataset, scale, seed, training, precision=torch.float16):
    """Write a network's weights and record; returns the path of the weights. Both files appear whole or not.
    precision: of the weights.
    """
    path = Path(folder) / f"{name(model, dataset, seed)}.safetensors"
    tensors = {
        key: value.detach().cpu().to(precision).contiguous() if value.is_floating_point() else value.cpu()
        for key, value in net.state_dict().items()
    }
    if not all(torch.isfinite(t).all() for t in tensors.values()):
        raise InputError(
            f"the weights of {model} are not finite in {str(precision).removeprefix('torch.')}: it is not"
            " saved, take smaller rates"
        )
    content = safetensors.torch.save(tensors)
    files.write(path, content)
    record = {
        "format": FORMAT,
        "model": model,
        "dataset": dataset,
        "scale": scale,
        "seed": seed,
        "network": baselines.describe(net),
        "training": training,
        "sha256": files.sha256(content),
        **files.provenance(net.mean.device),
    }
    files.write_json(path.with_suffix(".json"), record)
    return path


def find(scale, model, dataset, seed):
    """The path of a stored network's weights, or None."""
    for folder in results.folders(scale)[1]:
        path = folder / "checkpoints" / scale / f"{name(model, dataset, seed)}.safetensors"
        if path.with_suffix(".json").exists():
            return path
    return None


def source(model, scale, dataset, seed, folder, device=None):
    """The `Checkpoint` that a network of the same seed starts from or imitates: in `folder` or stored. None
    for no model; InputError when it is not there.
    """
    if model is None:
        return None
    beside = Path(folder) / f"{name(model, dataset, seed)}.safetensors"
    path = beside if beside.with_suffix(".json").exists() else find(scale, model, dataset, seed)
    if path is None:
        raise InputError(
            f"there is no network {model} of seed {seed} at scale {scale} to learn from: train it first"
            f" (python -m eplib train --model {model} --dataset {dataset} --scale {scale} --seed {seed})"
        )
    return load(path, device)


def load(path, device=None):
    """The `Checkpoint` at `path` (of the weights, or without an ending), in float32 and evaluation mode.

    Raises InputError when a file is missing, damaged, or of another project.
    """
    path = Path(path)
    ending = {".safetensors": "", ".json": ""}.get(path.suffix, path.suffix)
    path = path.with_name(path.stem + ending + ".safetensors")
    record = files.read_json(path.with_suffix(".json"), "checkpoint record")
    missing = {"format", "model", "dataset", "scale", "seed", "network", "sha256"} - record.keys()
    if missing:
        raise InputError(
            f"checkpoint record {path.with_suffix('.json')} has no {', '.join(sorted(missing))}: give a"
            " checkpoint that `python -m eplib train` wrote"
        )
    one_of("checkpoint format", record["format"], (FORMAT,))
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"checkpoint {path} cannot be read ({error.strerror}): check the path") from error
    if files.sha256(content) != record["sha256"]:
        raise InputError(
            f"checkpoint {path} does not have the hash of its record: one of the two files is damaged or"
            " of another run, restore both"
        )
    net = baselines.build(record["network"])
    try:
        tensors = safetensors.torch.load(content)
        net.load_state_dict(tensors)
    except (SafetensorError, RuntimeError) as error:
        raise InputError(
            f"checkpoint {path} does not fit the network of its record ({' '.join(str(error).split())}):"
            " give a checkpoint that `python -m eplib train` wrote"
        ) from error
    if not all(torch.isfinite(t).all() for t in tensors.values()):
        raise InputError(f"checkpoint {path} holds weights that are not finite: train it again")
    return Checkpoint(path.stem, net.eval().requires_grad_(False).to(device or "cpu"), record)


def load_once(path):
    """As `load`, but read again only when one of the two files has changed: pages and the campaign ask for
    the same few networks many times. A copy, which may be moved to a device.
    """
    weights = Path(path)
    record = weights.with_name(f"{weights.stem}.json")
    files.note(record)
    return copy.deepcopy(_loaded(weights, *(p.stat().st_mtime_ns for p in (record, weights) if p.exists())))


@lru_cache(maxsize=128)
def _loaded(weights, *written):
    return load(weights)

"""The state of an unfinished training run in one safetensors file, so that a killed run goes on where it was.

One file, renamed into place: whatever moment the process dies, the last whole snapshot is there.
"""

import json
import time
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open

from eplib import files
from eplib.checks import InputError

SECONDS = 30  # between two snapshots
CARRIED = files.ROOT / "data" / "resume"  # of the one network that goes on on another machine


class Snapshot:
    """Where an unfinished run is kept.

    path: of the file. settings: what the run is (arguments and recipe); the snapshot of another run is never
    taken up. carried: where a snapshot from another machine may lie, which is taken up when there is none at
    `path`. At least `SECONDS` pass between two snapshots.
    """

    def __init__(self, path, settings, carried=None):
        self.path = Path(path)
        self.carried = Path(carried or path)
        self.key = files.settings_hash(settings)
        self.last = time.monotonic()

    def due(self):
        """Whether enough time has passed since the last snapshot."""
        return time.monotonic() - self.last >= SECONDS

    def save(self, net, optimiser, generator, order, progress, best):
        """Write everything that the rest of the run depends on, atomically.

        order: the present epoch's order of images. progress: counters and records, as JSON takes them. best:
        a `Best`.
        """
        tensors = {f"net.{name}": value for name, value in net.state_dict().items()}
        tensors |= {f"best.{name}": value for name, value in best.weights.items()}
        for i, parameter in enumerate(_parameters(optimiser)):
            for name, value in optimiser.state.get(parameter, {}).items():
                if value is not None:
                    tensors[f"optimiser.{i}.{name}"] = value
        tensors |= {"generator": generator.get_state(), "order": order}
        tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        header = {"progress": json.dumps(progress | {"best": best.score}), "settings": self.key}
        files.write(self.path, safetensors.torch.save(tensors, metadata=header))
        self.last = time.monotonic()

    def restore(self, net, optimiser, generator, best):
        """Put a run's state back: (order, progress), or None where there is no snapshot of exactly this run.

        Raises InputError when the file is damaged.
        """
        path = self.path if self.path.exists() else self.carried
        if not path.exists():
            return None
        try:
            with safe_open(path, framework="pt") as file:
                header = file.metadata() or {}
                if header.get("settings") != self.key:
                    return None
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no dict)
            progress = json.loads(header["progress"])
        except (SafetensorError, OSError, ValueError, KeyError) as error:
            raise InputError(
                f"the unfinished run {path} cannot be read ({error}): remove it to start again"
            ) from error
        net.load_state_dict(_named(tensors, "net."))
        best.score, best.weights = progress.pop("best"), _named(tensors, "best.")
        for i, parameter in enumerate(_parameters(optimiser)):
            for name, value in _named(tensors, f"optimiser.{i}.").items():
                if value.shape == parameter.shape:
                    value = torch.empty_like(parameter, requires_grad=False).copy_(value)
                optimiser.state[parameter][name] = value
        generator.set_state(tensors["generator"])
        return tensors["order"].to(net.mean.device), progress

    def remove(self):
        """Forget the run: it has finished."""
        self.path.unlink(missing_ok=True)
        self.carried.unlink(missing_ok=True)


class Best:
    """The weights with the highest score offered so far; with no score at all, nothing."""

    def __init__(self):
        self.score, self.weights = None, {}

    def offer(self, net, score):
        """Keep a copy of the network's weights if `score` is the highest; None is no score."""
        if score is not None and (self.score is None or score > self.score):
            self.score = score
            self.weights = {name: value.clone() for name, value in net.state_dict().items()}

    def put_back(self, net):
        """Give the network the weights kept, if there are any."""
        if self.weights:
            net.load_state_dict(self.weights)


def _named(tensors, prefix):
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def _parameters(optimiser):
    return [p for group in optimiser.param_groups for p in group["params"]]

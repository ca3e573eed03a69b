"""Timings as ratios in one run: the closed form against automatic differentiation of Φ."""

import platform
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import torch

from eplib import files, learning, reference
from eplib.network import EPCNN

CHANNELS, PADDINGS, BATCH = (32, 64, 128, 128), (1, 1, 1, 0), 32
FREE_STEPS, NUDGED_STEPS, BETA = 24, 8, 0.5


def training_iteration(rounds=5, device=None):
    """One centred EP training iteration (24 free, 2 × 8 nudged synchronous steps, live arg-max, float32,
    32-64-128-128, batch 32) by the closed form and by autograd of Φ: median milliseconds of interleaved
    rounds, and their ratio.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    net = EPCNN(CHANNELS, PADDINGS, mean=0.5, std=0.25).to(device)
    images, labels = torch.rand(BATCH, 3, 32, 32, device=device), torch.arange(BATCH, device=device) % 10
    plain = EPCNN(CHANNELS, PADDINGS, mean=0.5, std=0.25).to(device, memory_format=torch.contiguous_format)
    plain.load_state_dict(net.state_dict())

    def closed():
        learning.weight_gradients(
            net,
            images,
            labels,
            beta=BETA,
            free_steps=FREE_STEPS,
            nudged_steps=NUDGED_STEPS,
            order="synchronous",
        )

    def autograd():
        reference.nudged_gradients(plain, images, labels, BETA, FREE_STEPS, NUDGED_STEPS, "synchronous")

    times = {"closed form": [], "autograd of Φ": []}
    for i in range(rounds + 1):  # the first round warms up
        for name, function in (("closed form", closed), ("autograd of Φ", autograd)):
            seconds = _timed(function, device)
            if i:
                times[name].append(1e3 * seconds)
    median = {name: statistics.median(values) for name, values in times.items()}
    return {
        "milliseconds": {name: round(value, 1) for name, value in median.items()},
        "spread": {name: [round(min(v), 1), round(max(v), 1)] for name, v in times.items()},
        "ratio": round(median["autograd of Φ"] / median["closed form"], 2),
        "network": CHANNELS,
        "batch": BATCH,
        "steps": [FREE_STEPS, NUDGED_STEPS],
        "torch": torch.__version__,
        "device": files.provenance(device)["device"],
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
    }


def _timed(function, device):
    start = time.perf_counter()
    function()
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def book():
    """Seconds of `make book` in a fresh clone of the committed project (environment included), and again
    unchanged.
    """
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "--quiet", str(files.ROOT), str(clone)], check=True)
        seconds = []
        for _ in range(2):
            start = time.perf_counter()
            subprocess.run(["make", "book"], cwd=clone, check=True)
            seconds.append(round(time.perf_counter() - start, 1))
    return {"fresh_seconds": seconds[0], "again_seconds": seconds[1], **files.provenance("cpu")}


BENCHMARKS = {"training-iteration": training_iteration, "book": book}

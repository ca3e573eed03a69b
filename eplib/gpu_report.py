"""Everything that a GPU has to prove, in one call: the tests of its fast paths, then all timings, as one
report.

`python -m eplib benchmark --gpu-report data/benchmarks`; without a GPU it runs the same steps on a small
network.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import torch

from eplib import benchmark, captured, costs, files, learning, precision, reference
from eplib.captured import Captured
from eplib.network import EPCNN

SIZES = {  # the paper's network, batch and steps; and what a CPU can do in seconds
    "cuda": dict(channels=(128, 256, 512, 512), batch=128, free=250, nudged=30, rounds=3, matrix=8192),
    "cpu": dict(channels=(8, 12, 16, 16), batch=8, free=10, nudged=2, rounds=1, matrix=256),
}
AUTOGRAD_SHARE = 10  # autograd of Φ is timed over a tenth of the steps and its time multiplied
TESTS = ("tests/test_gpu.py", "tests/test_captured.py")


def write(folder):
    """Run all steps, write gpu.json into `folder` after each, and return where it is."""
    folder, started = Path(folder), time.perf_counter()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    report = {"device": files.provenance(device), "captured": os.environ.get(captured.SWITCH, "1") != "0"}
    steps = {
        "tests": run_tests,
        "paper network": lambda: paper_network(device),
        "input gradient": lambda: benchmark.input_gradient(250 if device == "cuda" else 8, rounds=1),
        "training iteration": lambda: benchmark.training_iteration(rounds=3 if device == "cuda" else 1),
        "cost": lambda: costs.report("paper" if device == "cuda" else "small"),
    }
    for name, step in steps.items():
        print(f"{name} …", flush=True)
        begun = time.perf_counter()
        try:
            report[name] = step()
        except Exception as error:  # one step that fails must not cost the others
            report[name] = {"failed": f"{type(error).__name__}: {error}"}
        report.setdefault("seconds", {})[name] = round(time.perf_counter() - begun, 1)
        files.write_json(folder / "gpu.json", report)
    report["seconds"]["all"] = round(time.perf_counter() - started, 1)
    files.write_json(folder / "gpu.json", report)
    return {"report": str(folder / "gpu.json"), "seconds": report["seconds"]}


def run_tests():
    """The tests of fast paths against the float64 reference: pytest's last lines, and whether all passed."""
    present = [t for t in TESTS if (files.ROOT / t).exists()]
    call = [sys.executable, "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider", *present]
    ended = subprocess.run(call, cwd=files.ROOT, capture_output=True, text=True)
    return {"passed": ended.returncode == 0, "output": ended.stdout.splitlines()[-12:]}


def paper_network(device):
    """One training iteration of the paper's network and schedule, by every path: milliseconds, ratio to
    autograd of Φ in strict float32, images a second, and share of the measured matrix-product rate.
    """
    size = SIZES[device]
    torch.manual_seed(0)
    net = EPCNN(size["channels"], benchmark.PADDINGS, mean=0.5, std=0.25).to(device)
    x = torch.rand(size["batch"], 3, 32, 32, device=device)
    y = torch.arange(size["batch"], device=device) % 10
    steps = size["free"] + 2 * size["nudged"]
    paths = {"autograd of Φ": (None, False)}
    paths |= {f"closed form, {name}": (dtype, tf32) for name, dtype, tf32 in _kinds(device)}
    times = {}
    for name, (dtype, tf32) in paths.items():
        with precision.tf32(tf32):
            times[name] = _time_path(name, net, x, y, size, dtype, device)
    rates = costs.matrix_rates(size["matrix"], device)
    arithmetic = costs.step_flops(net, size["batch"]) * steps / 1e9  # GFLOP
    found = {}
    for name, milliseconds in times.items():
        rate = arithmetic / milliseconds * 1e3
        known = rates.get("bfloat16" if "bfloat16" in name else "float32")
        found[name] = {
            "milliseconds": round(milliseconds, 1),
            "times autograd": round(times["autograd of Φ"] / milliseconds, 2),
            "images a second": round(size["batch"] / milliseconds * 1e3, 1),
            "share of the matrix rate": round(rate / known, 3),
        }
    return {"size": size, "steps": steps, "matrix GFLOP/s": rates, "paths": found}


def _kinds(device):
    yield "float32", None, False
    if device == "cuda":
        yield "TF32", None, True
    if precision.native_bfloat16(device):
        yield "bfloat16", torch.bfloat16, False


def _time_path(name, net, x, y, size, dtype, device):
    """Median milliseconds of one training iteration."""
    if name.startswith("autograd"):
        free, nudged = (max(1, n // AUTOGRAD_SHARE) for n in (size["free"], size["nudged"]))
        factor = (size["free"] + 2 * size["nudged"]) / (free + 2 * nudged)

        def run():
            reference.nudged_gradients(net, x, y, 0.5, free, nudged, "synchronous")
    else:
        settings = ("centred", 0.5, size["free"], size["nudged"], "synchronous", "live")
        factor = 1
        replay = Captured(lambda a, b: learning.compute(net, a, b, *settings, dtype=dtype))

        def run():
            replay(x, y)

    found = benchmark.interleaved({name: run}, size["rounds"], device)[name]
    return factor * sorted(found)[len(found) // 2]

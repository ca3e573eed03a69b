"""Timings in one run: the closed form against automatic differentiation of Φ, and corruptions."""

import contextlib
import platform
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import torch

from eplib import files, gradients, learning, precision, reference
from eplib.corruptions import CIFAR_C, SEVERITIES, TABLE, corrupt
from eplib.network import EPCNN

CHANNELS, PADDINGS, BATCH = (32, 64, 128, 128), (1, 1, 1, 0), 32
FREE_STEPS, NUDGED_STEPS, BETA = 24, 8, 0.5
STORED = files.ROOT / "data" / "benchmarks"


def training_iteration(rounds=5, device=None):
    """One centred EP training iteration (24 free, 2 × 8 nudged synchronous steps, live arg-max,
    32-64-128-128, batch 32) by autograd of Φ and by the closed form, in float32 and, where native, with
    bfloat16 states; and the fast schedule's iteration (20 free forward steps, 2 × 8 nudged, frozen arg-max)
    against the paper's 310 synchronous steps by autograd, whose time is projected from that of the 40 steps
    measured.
    """
    device = device_or_best(device)
    net, plain, images, labels = _networks(device)
    short = dict(beta=BETA, free_steps=FREE_STEPS, nudged_steps=NUDGED_STEPS, order="synchronous")
    fast = dict(beta=BETA, free_steps=20, nudged_steps=8, order="forward", arg_max="frozen")

    def closed(settings, dtype=None):
        return lambda: learning.weight_gradients(net, images, labels, dtype=dtype, **settings)

    cases = {
        "autograd of Φ": lambda: reference.nudged_gradients(
            plain, images, labels, BETA, FREE_STEPS, NUDGED_STEPS, "synchronous"
        ),
        "closed form": closed(short),
        "fast": closed(fast),
    }
    if precision.native_bfloat16(device):
        cases |= {
            name + ", bfloat16": closed(s, torch.bfloat16)
            for name, s in (("closed form", short), ("fast", fast))
        }
    times = interleaved(cases, rounds, device)
    median = {name: statistics.median(values) for name, values in times.items()}
    faithful = median["autograd of Φ"] * 310 / (FREE_STEPS + 2 * NUDGED_STEPS)
    ratio = {
        name: round((faithful if name.startswith("fast") else median["autograd of Φ"]) / value, 2)
        for name, value in median.items()
    }
    return {
        "milliseconds": {name: round(value, 1) for name, value in median.items()},
        "spread": {name: [round(min(v), 1), round(max(v), 1)] for name, v in times.items()},
        "ratio": ratio,
        "milliseconds_of_310_steps": round(faithful, 1),
        "network": CHANNELS,
        "batch": BATCH,
        "steps": [FREE_STEPS, NUDGED_STEPS],
        **machine(device),
    }


def input_gradient(steps=250, batch=8, rounds=3, device=None):
    """The exact gradient of the loss in the image through `steps` free steps (32-64-128-128): by autograd of
    Φ and from stored codes and clip patterns; milliseconds, bytes kept for the backward pass, and their
    ratios.
    """
    device = device_or_best(device)
    net, plain, images, labels = _networks(device, batch)
    report = {"steps": steps, "batch": batch, "network": CHANNELS, "orders": {}, **machine(device)}
    for order in ("synchronous", "forward"):
        cases = {
            "autograd of Φ": lambda order=order: autograd_input(plain, images, labels, steps, order),
            "codes": lambda order=order: gradients.input_gradient(
                net, images, labels, "unrolled", steps, order
            ),
        }
        found = interleaved(cases, rounds, device)
        median = {name: statistics.median(values) for name, values in found.items()}
        kept = {"autograd of Φ": autograd_input(plain, images, labels, steps, order, count=True)}
        kept["codes"] = gradients.follow(net, images, steps, order).bytes
        report["orders"][order] = {
            "milliseconds": {name: round(value, 1) for name, value in median.items()},
            "bytes": kept,
            "faster": round(median["autograd of Φ"] / median["codes"], 2),
            "smaller": round(kept["autograd of Φ"] / kept["codes"], 1),
        }
    return report


def corruption_speed(count=100, rounds=3):
    """Milliseconds in which `count` images get every corruption at every severity, by type, and in how many
    minutes the 10,000 test images of CIFAR get all of CIFAR-10-C.
    """
    images = torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    cases = {
        name: lambda name=name: [corrupt(images, name, s, range(count)) for s in SEVERITIES] for name in TABLE
    }
    times = interleaved(cases, rounds, "cpu")
    median = {name: statistics.median(values) for name, values in times.items()}
    whole = sum(median[name] for name in CIFAR_C) * 10_000 / count / 60_000
    return {
        "milliseconds": {name: round(value, 1) for name, value in median.items()},
        "spread": {name: [round(min(v), 1), round(max(v), 1)] for name, v in times.items()},
        "images": count,
        "severities": len(SEVERITIES),
        "minutes_of_the_whole_set": round(whole, 2),
        **machine("cpu"),
    }


def autograd_input(net, images, labels, steps, order, count=False):
    """∂loss/∂image by back-propagation through autograd of Φ; with `count`, the bytes that it keeps
    instead.
    """
    storages = {}

    def keep(tensor):
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    x = images.clone().requires_grad_()
    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with hooks if count else contextlib.nullcontext():
        states = reference.relax(net, x, steps, order, create_graph=True)
        loss = reference.loss_of(reference.logits(net, states), labels).sum()
    return sum(storages.values()) if count else torch.autograd.grad(loss, x)[0]


def device_or_best(device):
    """The device itself, or the GPU where there is one and none is named."""
    return device or ("cuda" if torch.cuda.is_available() else "cpu")


def _networks(device, batch=BATCH):
    """(network, the same in the layout that autograd prefers, images, labels), with default weights."""
    torch.manual_seed(0)
    net = EPCNN(CHANNELS, PADDINGS, mean=0.5, std=0.25).to(device)
    images, labels = torch.rand(batch, 3, 32, 32, device=device), torch.arange(batch, device=device) % 10
    plain = EPCNN(CHANNELS, PADDINGS, mean=0.5, std=0.25).to(device, memory_format=torch.contiguous_format)
    plain.load_state_dict(net.state_dict())
    return net, plain, images, labels


def interleaved(cases, rounds, device):
    """{name: [milliseconds, …]} of every case in turn, `rounds` times after one to warm up."""
    times = {name: [] for name in cases}
    for i in range(rounds + 1):
        for name, function in cases.items():
            seconds = timed(function, device)
            if i:
                times[name].append(1e3 * seconds)
    return times


def in_words(report):
    """What a report was measured on, as part of a sentence."""
    threads = report["threads"]
    return f"{report['device']}, {threads} thread{'s' if threads > 1 else ''}, torch {report['torch']}"


def machine(device):
    """What a report was measured on."""
    return {
        "torch": torch.__version__,
        "device": files.provenance(device)["device"],
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
    }


def timed(function, device):
    """Seconds of one call, the device's work included."""
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


def stored(name):
    """The stored report of a benchmark; InputError when there is none."""
    return files.read_json(STORED / f"{name}.json", "benchmark")


def stored_or_measured(name, measure=False):
    """The stored report of a benchmark, or with `measure` (and where none is stored) one made now."""
    there = (STORED / f"{name}.json").exists()
    return stored(name) if there and not measure else BENCHMARKS[name]()


BENCHMARKS = {
    "training-iteration": training_iteration,
    "input-gradient": input_gradient,
    "corruptions": corruption_speed,
    "book": book,
}

"""What an EP-CNN costs: training, inference and input gradients, beside a CNN of the same shape, autograd of
Φ and the floor that the machine's matrix products set. Everything is measured in one run on one machine.
"""

import statistics

import torch
import torch.nn.functional as F

from eplib import benchmark, files, gradients, learning, precision, reference
from eplib.baselines import CNN
from eplib.dynamics import settle
from eplib.network import EPCNN

CHANNELS, PADDINGS = (32, 64, 128, 128), (1, 1, 1, 0)
SIZES = {  # batch, long free phase, rounds, side of the square matrices
    "paper": dict(channels=(128, 256, 512, 512), batch=128, long=250, rounds=2, matrix=8192),  # for a GPU
    "full": dict(channels=CHANNELS, batch=32, long=250, rounds=3, matrix=2048),
    "small": dict(channels=(4, 6, 8, 8), batch=4, long=8, rounds=1, matrix=64),
}


def stored_or_measured(measure=False, sizes="full", device=None):
    """The stored report, or with `measure` (and where none is stored) one made on this machine now."""
    path = benchmark.STORED / "cost.json"
    if path.exists() and not measure and sizes == "full":
        return files.read_json(path, "benchmark")
    return report(sizes, device)


def report(sizes="full", device=None):
    """{"rows": [{task, method, steps, …, milliseconds per batch, bytes kept, floor in milliseconds}],
    "rates": {precision: GFLOP/s of a matrix product}, and what it ran on}.
    """
    size, device = SIZES[sizes], benchmark.device_or_best(device)
    with precision.tf32(False):
        rates = matrix_rates(size["matrix"], device)
        cases = [*training_cases(size, device), *inference_cases(size, device)]
        cases += [*gradient_cases(size, device), *growth_cases(size, device)]
        times = benchmark.interleaved(dict(enumerate(f for _, f in cases)), size["rounds"], device)
    rows = []
    for (row, _), found in zip(cases, times.values(), strict=True):
        flops = row.pop("flops", None)
        floor = None if flops is None else round(flops / rates[row["precision"]] / 1e6, 3)
        timed = {"milliseconds": statistics.median(found), "low": min(found), "high": max(found)}
        rows.append(row | {k: round(v, 3) for k, v in timed.items()} | {"floor": floor})
    return {"rows": rows, "rates": {k: round(v, 1) for k, v in rates.items()}, **benchmark.machine(device)}


def matrix_rates(side, device):
    """{precision: GFLOP/s of a square matrix product}, the best of several."""
    dtypes = {"float32": torch.float32}
    if precision.native_bfloat16(device):
        dtypes["bfloat16"] = torch.bfloat16
    rates = {}
    for name, dtype in dtypes.items():
        a = torch.rand(side, side, device=device, dtype=dtype)
        best = min(benchmark.timed(lambda a=a: a @ a, device) for _ in range(6))
        rates[name] = 2 * side**3 / best / 1e9
    return rates


def step_flops(net, batch):
    """Floating-point operations of one step of all layers: a convolution and a transposed one for every layer
    above the first.
    """
    sides = [shape[-1] for shape in net.shapes]
    total = 0
    for l in range(1, len(net.channels)):
        side = sides[l - 1] + 2 * net.paddings[l] - 2
        total += 2 * 2 * 9 * net.channels[l - 1] * net.channels[l] * side * side
    return batch * total


def training_cases(size, device):
    """One training iteration: closed form (faithful with the long phase, and fast), autograd, and a CNN."""
    net, cnn, x, y = _setting(size["channels"], size["batch"], device)
    faithful = (size["long"], 30 if size["long"] > 30 else 2)
    kinds = {"faithful": ("synchronous", "live", faithful), "fast": ("forward", "frozen", (20, 8))}
    for kind, (order, arg_max, (free, nudged)) in kinds.items():
        for name in ("float32", "bfloat16"):
            dtype = None if name == "float32" else torch.bfloat16
            if dtype and (kind == "faithful" or not precision.native_bfloat16(device)):
                continue

            def run(order=order, arg_max=arg_max, free=free, nudged=nudged, dtype=dtype):
                learning.compute(net, x, y, "centred", 0.5, free, nudged, order, arg_max, dtype=dtype)

            flops = step_flops(net, size["batch"]) * (free + 2 * nudged)
            yield _row("training", f"EP-CNN, {kind}", free, order, net, size["batch"], name, flops=flops), run

    def by_backprop():
        cnn.zero_grad()
        F.cross_entropy(cnn(x), y).backward()

    yield _row("training", "CNN", None, None, net, size["batch"]), by_backprop

    def by_autograd():
        reference.nudged_gradients(net, x, y, 0.5, 8, 2, "synchronous")

    yield _row("training", "autograd of Φ, 12 steps", 8, "synchronous", net, size["batch"]), by_autograd


def inference_cases(size, device):
    """Logits of one batch."""
    net, cnn, x, _ = _setting(size["channels"], size["batch"], device)
    for steps, order in ((20, "forward"), (size["long"], "synchronous")):
        flops = step_flops(net, size["batch"]) * steps
        row = _row("inference", "EP-CNN", steps, order, net, size["batch"], flops=flops)
        yield row, lambda steps=steps, order=order: settle(net, x, steps, order)
    yield _row("inference", "CNN", None, None, net, size["batch"]), torch.no_grad()(lambda: cnn(x))


def gradient_cases(size, device):
    """The gradient of the loss in one batch of images, by each method, with the bytes kept for it."""
    net, cnn, x, y = _setting(size["channels"], size["batch"], device)
    for steps, order in ((20, "forward"), (size["long"], "synchronous")):
        for name in ("float32", "bfloat16"):
            dtype = None if name == "float32" else torch.bfloat16
            if dtype and not precision.native_bfloat16(device):
                continue
            kept = gradients.follow(net, x, steps, order, dtype=dtype).bytes
            row = _row("input gradient", "unrolled", steps, order, net, size["batch"], name, bytes=kept)

            def unrolled(steps=steps, order=order, dtype=dtype):
                trace = gradients.follow(net, x, steps, order, dtype=dtype)
                trace.pull_back(trace.logits.softmax(1) - F.one_hot(y, net.classes))

            yield row, unrolled

    def adjoint():
        trace = gradients.follow(net, x, size["long"], "forward", "adjoint")
        trace.pull_back(trace.logits.softmax(1) - F.one_hot(y, net.classes))

    yield _row("input gradient", "adjoint", size["long"], "forward", net, size["batch"], bytes=0), adjoint
    kept = benchmark.autograd_input(net, x, y, 20, "forward", count=True)
    row = _row("input gradient", "autograd of Φ", 20, "forward", net, size["batch"], bytes=kept)
    yield row, lambda: benchmark.autograd_input(net, x, y, 20, "forward")

    def of_the_cnn():
        z = x.clone().requires_grad_()
        torch.autograd.grad(F.cross_entropy(cnn(z), y), z)

    yield _row("input gradient", "CNN", None, None, net, size["batch"]), of_the_cnn


def growth_cases(size, device):
    """Inference while one thing grows: steps, batch, width, depth."""
    base = size["channels"]
    for steps in (5, 10, 20, 40, 80):
        yield _settling("growth with steps", base, size["batch"], steps, device)
    for batch in (1, 4, 16, 64):
        yield _settling("growth with batch", base, batch, 20, device)
    for factor in (0.5, 1, 2):
        channels = tuple(max(1, int(factor * c)) for c in base)
        yield _settling("growth with width", channels, size["batch"], 20, device)
    for depth in (2, 3, 4):
        yield _settling("growth with depth", base[:depth], size["batch"], 20, device)


def _settling(task, channels, batch, steps, device):
    net, _, x, _ = _setting(channels, batch, device)
    row = _row(task, "EP-CNN", steps, "forward", net, batch, flops=step_flops(net, batch) * steps)
    return row, lambda: settle(net, x, steps, "forward")


def _setting(channels, batch, device):
    torch.manual_seed(0)
    arguments = dict(channels=channels, paddings=PADDINGS[: len(channels)], mean=0.5, std=0.25)
    net, cnn = EPCNN(**arguments).to(device), CNN(**arguments).to(device)
    return net, cnn, torch.rand(batch, 3, 32, 32, device=device), torch.arange(batch, device=device) % 10


def _row(task, method, steps, order, net, batch, precision="float32", **more):
    return {
        "task": task,
        "method": method,
        "steps": steps,
        "order": order,
        "batch": batch,
        "channels": list(net.channels),
        "precision": precision,
        **more,
    }

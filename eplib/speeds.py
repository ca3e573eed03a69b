"""How fast a processor and a GPU are at what `eplib.projections` counts, from the stored benchmarks, and the
time that a piece of the campaign takes at these rates.
"""

from eplib import benchmark, costs, projections
from eplib.baselines import CNN
from eplib.network import EPCNN

FAST = 20 + 2 * 8  # steps of an iteration of the benchmark's fast schedule
PASSES = {"training": projections.WEIGHTS, "inference": 1, "gradient": projections.IMAGE}


def cpu_rates(report):
    """{(recurrent, task): operations a second of one core} from a report of `eplib.costs`."""
    found = {}
    for task, title in projections.TASKS.items():
        mine = [r for r in report["rows"] if r["task"] == title and r["precision"] == "float32"]
        ep = next(r for r in mine if r["method"] in ("EP-CNN, fast", "EP-CNN", "unrolled"))
        cnn = next(r for r in mine if r["method"] == "CNN")
        passes = FAST if task == "training" else PASSES[task] * ep["steps"]
        shape = dict(channels=ep["channels"], paddings=costs.PADDINGS[: len(ep["channels"])])
        flops = costs.step_flops(EPCNN(**shape), ep["batch"]) * passes
        found[True, task] = _a_core(report, flops, ep)
        flops = PASSES[task] * cnn["batch"] * projections.pass_flops(CNN(**shape))
        found[False, task] = _a_core(report, flops, cnn)
    return found


def _a_core(report, flops, row):
    return 1e3 * flops / row["milliseconds"] / report["threads"]


def core_seconds(done, rates, speed):
    """Core-seconds of a `Work` on a CPU, from `cpu_rates` and `making_rates`."""
    computing = sum(flops / rates[done.recurrent, task] for task, flops in done.flops.items())
    return computing + sum(count / speed[c] for c, count in done.making.items())


def making_rates(report):
    """{corruption: images a second of one core} from the stored benchmark of corruptions."""
    made = report["images"] * report["severities"] * 1e3 / report["threads"]
    return {c: made / milliseconds for c, milliseconds in report["milliseconds"].items()}


def gpu_rates(report):
    """({(recurrent, task, precision): operations a second}, seconds that launching one step's kernels takes)
    from a report of `eplib.gpu_report`: of networks of the paper's widths.
    """
    rows, paper = report["cost"]["rows"], report["paper network"]
    shape = dict(channels=paper["size"]["channels"], paddings=costs.PADDINGS)
    step, passes = costs.step_flops(EPCNN(**shape), 1), projections.pass_flops(CNN(**shape))
    found = {}
    for name, precision in (("closed form, float32", "float32"), ("closed form, TF32", "tf32")):
        milliseconds = paper["paths"][name]["milliseconds"]
        found[True, "training", precision] = (
            1e3 * step * paper["size"]["batch"] * paper["steps"] / milliseconds
        )
    for task, title in projections.TASKS.items():
        for row in rows:
            if row["task"] != title or row["method"].startswith(("autograd", "adjoint")):
                continue
            if row["method"] == "EP-CNN, faithful":
                continue  # it is among the paths
            if row["method"] == "CNN":
                recurrent, times = False, passes * PASSES[task]
            else:
                recurrent = True
                times = step * (FAST if task == "training" else PASSES[task] * row["steps"])
            rate = 1e3 * row["batch"] * times / row["milliseconds"]
            found[recurrent, task, row["precision"]] = rate
    one = next(r for r in rows if r["task"] == "growth with batch" and r["batch"] == 1)
    return found, one["milliseconds"] / 1e3 / one["steps"]


def gpu_seconds(done, rates, launch):
    """Seconds of a `Work` on one GPU, from `gpu_rates`: of its operations or of launching its kernels,
    whichever is longer; phases of training are replayed as one graph. What makes corrupted images is left
    out.
    """
    total = 0.0
    for task, flops in done.flops.items():
        precision = done.precision if task == "training" else "float32"
        known = rates.get((done.recurrent, task, precision)) or rates[done.recurrent, task, "float32"]
        replayed = done.recurrent and task == "training"
        total += max(flops / known, 0 if replayed else done.steps[task] * launch)
    return total


def stored():
    """(`cpu_rates`, `making_rates`, `gpu_rates`) of the stored benchmarks."""
    return (
        cpu_rates(benchmark.stored("cost")),
        making_rates(benchmark.stored("corruptions")),
        gpu_rates(benchmark.stored("gpu")),
    )

"""The command line: python -m eplib train | measure | import | campaign | run | book | benchmark (with
--help).
"""

import argparse
import json
import os
import sys
from pathlib import Path

from eplib.checks import InputError, Interrupted


def main(arguments=None):
    """Run one command; returns the exit status: 0, 2 with one sentence when the user's input cannot be
    used, or 130 after Ctrl-C with everything kept.
    """
    try:
        options = _parser().parse_args(arguments)
        _check_out(getattr(options, "out", None))
        outcome = options.command(options)
    except InputError as error:
        print(f"eplib: {error}", file=sys.stderr)
        return 2
    except Interrupted as stopped:
        print(f"eplib: {stopped}", file=sys.stderr)
        return 130
    if options.json:
        print(json.dumps(outcome))
    else:
        print("\n".join(f"{key}: {value}" for key, value in outcome.items()))
    return 0


def _check_out(out):
    """Refuse a folder that cannot be written to before anything is computed for it."""
    place = Path(out or ".").absolute()
    while not place.exists():
        place = place.parent
    if not place.is_dir() or not os.access(place, os.W_OK):
        raise InputError(
            f"--out {out} cannot be written: {place} is no folder that you may write to, give another"
        )


def _train(options):
    from eplib import checkpoints, results, scales, training

    scales.row(options.scale, options.model)
    out = (
        Path(options.out)
        if options.out
        else results.folders(options.scale)[0] / "checkpoints" / options.scale
    )
    dataset = options.dataset or scales.scale(options.scale).dataset
    path = training.train(options.model, dataset, options.scale, options.seed, out)
    record = checkpoints.load(path).record
    return {
        "checkpoint": str(path),
        "sha256": record["sha256"],
        "seconds": record["training"]["seconds"],
        "validation_accuracy": record["training"]["history"][-1]["validation_accuracy"],
    }


def _measure(options):
    from eplib import checkpoints, measurements

    result, path = measurements.measure_and_keep(
        checkpoints.load(options.checkpoint),
        options.measurement,
        options.images,
        options.epsilon,
        options.out,
    )
    columns = ["epsilon", "predict_steps", "order", "value", "low", "high", "n"]
    rows = json.loads(result.table[columns].to_json(orient="records", double_precision=15))
    return {"result": str(path), "clean_accuracy": result.correct_clean.mean().item(), "rows": rows}


def _import(options):
    from eplib import checkpoints, imports

    given = ("name", "dataset", "seed", "steps", "order", "mean", "std", "paddings", "model")
    path = imports.write(options.file, options.out, **{key: getattr(options, key) for key in given})
    record = checkpoints.load(path).record
    said = {key: record["training"][key] for key in ("imported", "assumed")}
    return {"checkpoint": str(path), "sha256": record["sha256"], **said}


def _fetch(options):
    from eplib import fetching, manifests

    if not options.manifest:
        return fetching.fetch(options.where, options.out, options.scale)
    if options.where or options.out or options.scale:
        raise InputError("--manifest writes the manifest of a folder and fetches nothing: give it alone")
    return manifests.write(options.manifest)


def _export(options):
    from eplib import exporting

    return exporting.export(options.checkpoint, options.out, options.results)


def _campaign(options):
    from eplib import campaign, campaign_run

    if options.action == "run":
        return campaign_run.run(options.scale, campaign_run.seconds(options.budget), options.retry)
    if options.budget or options.retry:
        raise InputError("--budget and --retry are for `campaign run`: add run, or leave them out")
    report = campaign.table(options.scale)
    if options.json:
        return report
    print(*campaign.lines(report["rows"]), sep="\n")
    return {
        "done": f"{report['done']} of {report['pieces']}",
        "core-hours left": report["core_hours_left"],
    }


def _run(options):
    from eplib import batches

    if options.out:
        os.environ["EPLIB_OUT"] = str(Path(options.out).resolve() / "data")
    parameters = {name: _from_here(name, _value(value)) for name, value in options.parameters}
    if options.scale:
        parameters["scale"] = options.scale
    each = {name: [_value(v) for v in values] for name, *values in options.each}
    empty = [name for name, values in each.items() if not values]
    if empty:
        raise InputError(f"--each {empty[0]} without a value: give one or more, such as --each seeds 11 13")
    made = batches.run(options.slugs, parameters, each, options.out or "_build/runs")
    return {"notebook": str(made[0])} if len(made) == 1 else {"notebooks": [str(path) for path in made]}


def _book(_):
    from eplib import book

    return {"page": str(book.build())}


def _benchmark(options):
    from eplib import benchmark, costs, files, gpu_report, variants
    from eplib.checks import one_of

    # these two with all that pages need, which a machine that only measures lacks
    def explorer_speed():
        from eplib import explorer_speed

        return explorer_speed.report()

    def chapter_costs():
        from eplib import chapter_costs

        return chapter_costs.report()

    if options.gpu_report:
        return gpu_report.write(options.gpu_report)
    runs = {
        **benchmark.BENCHMARKS,
        "cost": costs.report,
        "explorers": explorer_speed,
        "chapters": chapter_costs,
        "variants": lambda: variants.compare(options.out),
    }
    report = runs[one_of("benchmark", options.name, runs)]()
    if options.out:
        files.write_json(Path(options.out) / f"{options.name}.json", report)
    return report


def _value(text):
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(
            f"parameter value {text!r} is no YAML: give a number, a word or a list such as '[0, 1]'"
        ) from error


def _from_here(name, value):
    """Paths of networks as absolute ones: a chapter runs in another folder than the command."""
    if name not in ("network", "networks"):
        return value
    if isinstance(value, list):
        return [_from_here(name, part) for part in value]
    return str(Path(value).resolve()) if isinstance(value, str) and Path(value).is_file() else value


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise InputError(f"{message}: see {self.prog} --help")


def _parser():
    parser = _Parser(prog="python -m eplib", description=__doc__)
    commands = parser.add_subparsers(
        required=True, metavar="train | measure | import | campaign | run | book | benchmark"
    )

    def command(name, function, text):
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(command=function)
        sub.add_argument(
            "--json", action="store_true", help="print the outcome as one JSON object on the last line"
        )
        return sub

    train = command("train", _train, "train a model and write its checkpoint")
    train.add_argument("--model", required=True, help="a row of eplib.scales, e.g. ep-cnn or cnn")
    train.add_argument("--dataset", help="sample, fashion-mnist, cifar10 or cifar100 (default: the scale's)")
    train.add_argument("--scale", default="quick", help="smoke, quick, cpu or paper (default: quick)")
    train.add_argument("--seed", type=int, default=0)
    train.add_argument("--out", help="folder of the checkpoint (default: data/checkpoints/SCALE)")
    measure = command("measure", _measure, "measure a checkpoint on test images and store the result")
    measure.add_argument("--checkpoint", required=True, help="path of a .safetensors that train wrote")
    measure.add_argument(
        "--measurement",
        required=True,
        help="clean, pgd-linf, pgd-l2, or another that data/campaign.toml names",
    )
    measure.add_argument("--images", type=int, help="how many test images (default: the scale's)")
    measure.add_argument(
        "--epsilon", type=float, action="append", help="a perturbation size; repeat it for more"
    )
    measure.add_argument("--out", help="folder of results (default: data/results)")
    brought = command(
        "import", _import, "read a network that another code trained and write it as a checkpoint"
    )
    brought.add_argument(
        "file", help="model.pt or checkpoint.tar of the public codes, or the .safetensors of --model"
    )
    brought.add_argument("--out", required=True, help="folder of the checkpoint")
    brought.add_argument("--name", default="imported", help="of the network on pages: a-z, 0-9 and dashes")
    brought.add_argument("--dataset", default="cifar10", help="cifar10, cifar100, sample, …")
    brought.add_argument("--seed", type=int, help="of its training (default: the paper's first)")
    brought.add_argument("--steps", type=int, help="free steps behind a prediction (default: the paper's)")
    brought.add_argument("--order", help="of updates (default: synchronous, as the paper's)")
    for name in ("mean", "std"):
        brought.add_argument(
            f"--{name}", type=float, nargs=3, help=f"{name} of its normalisation (default: the paper's)"
        )
    brought.add_argument(
        "--paddings", type=int, nargs="+", help="of its convolutions, where the file has none"
    )
    brought.add_argument(
        "--model", metavar="MODULE:FUNCTION", help="what builds a feed-forward classifier, importable"
    )
    fetch = command(
        "fetch", _fetch, "fetch a larger set of networks and results, from a folder or an address"
    )
    fetch.add_argument(
        "where", nargs="?", help="folder or http(s) address with a networks.json (default: EPLIB_NETWORKS)"
    )
    fetch.add_argument("--scale", help="quick, cpu or paper (default: all of them)")
    fetch.add_argument("--out", help="data folder that they come into (default: data)")
    fetch.add_argument(
        "--manifest", metavar="FOLDER", help="instead: write the networks.json of a data folder to publish"
    )
    taken = command(
        "export", _export, "write a network as one file of PyTorch code, with its evaluation card"
    )
    taken.add_argument("--checkpoint", required=True, help="path of a .safetensors of train or import")
    taken.add_argument("--out", required=True, help="a new folder")
    taken.add_argument("--results", help="folder that measure wrote, besides data/results")
    campaign = command("campaign", _campaign, "train and measure every network, or say where that stands")
    campaign.add_argument("action", nargs="?", choices=["run"], help="go on (without it: show every piece)")
    campaign.add_argument("--scale", help="smoke, quick, cpu or paper (show: all of them; run: needed)")
    campaign.add_argument("--budget", help="for run: how long, such as 45s, 9m or 2h")
    campaign.add_argument("--retry", action="store_true", help="for run: try again what failed")
    run = command("run", _run, "run chapters with papermill")
    run.add_argument("slugs", nargs="+", metavar="slug", help="a chapter of _toc.yml, e.g. first-attack")
    run.add_argument("--scale", help="best, smoke, quick, cpu or paper (default: the chapter's)")
    run.add_argument(
        "-p",
        dest="parameters",
        nargs=2,
        metavar=("NAME", "VALUE"),
        action="append",
        default=[],
        help="a parameter of the chapter; repeat it for more",
    )
    run.add_argument(
        "--each",
        nargs="+",
        metavar=("NAME", "VALUE"),
        action="append",
        default=[],
        help="a parameter and its values, one notebook each; repeat it for every combination",
    )
    run.add_argument("--out", help="folder of the executed notebooks and of all that it computes")
    command("book", _book, "execute the chapters that changed and build _build/html")
    benchmark = command(
        "benchmark", _benchmark, "time a training iteration against the autograd reference, in one run"
    )
    benchmark.add_argument(
        "name",
        nargs="?",
        default="training-iteration",
        help="training-iteration (the default), input-gradient, cost, corruptions, explorers, variants (of"
        " recipes), or book: make book in a fresh clone",
    )
    benchmark.add_argument("--gpu-report", metavar="DIR", help="run the GPU's tests and all timings into DIR")
    benchmark.add_argument("--out", help="folder of the report, e.g. data/benchmarks")
    return parser


if __name__ == "__main__":
    sys.exit(main())

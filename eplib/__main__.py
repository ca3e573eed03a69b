"""The command line: python -m eplib train | measure | import | export | fetch | campaign | run | book |
benchmark (with --help).
"""

import json
import os
import sys
from pathlib import Path

from eplib.checks import InputError, Interrupted
from eplib.options import parser


def main(arguments=None):
    """Run one command; returns the exit status: 0, 2 with one sentence when the user's input cannot be
    used, or 130 after Ctrl-C with everything kept.
    """
    try:
        options = parser(COMMANDS, __doc__).parse_args(arguments)
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


COMMANDS = {
    "train": _train,
    "measure": _measure,
    "import": _import,
    "export": _export,
    "fetch": _fetch,
    "campaign": _campaign,
    "run": _run,
    "book": _book,
    "benchmark": _benchmark,
}


if __name__ == "__main__":
    sys.exit(main())

"""What the command line takes: every command with its options."""

import argparse

from eplib.checks import InputError


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise InputError(f"{message}: see {self.prog} --help")


def parser(commands, description):
    """The parser of {command: function}; what it parsed has the function as `command`."""
    parser = _Parser(prog="python -m eplib", description=description)
    every = parser.add_subparsers(required=True, metavar=" | ".join(commands))

    def command(name, text):
        sub = every.add_parser(name, help=text, description=text)
        sub.set_defaults(command=commands[name])
        sub.add_argument(
            "--json", action="store_true", help="print the outcome as one JSON object on the last line"
        )
        return sub

    train = command("train", "train a model and write its checkpoint")
    train.add_argument("--model", required=True, help="a row of eplib.scales, e.g. ep-cnn or cnn")
    train.add_argument("--dataset", help="sample, fashion-mnist, cifar10 or cifar100 (default: the scale's)")
    train.add_argument("--scale", default="quick", help="smoke, quick, cpu or paper (default: quick)")
    train.add_argument("--seed", type=int, default=0)
    train.add_argument("--out", help="folder of the checkpoint (default: data/checkpoints/SCALE)")
    measure = command("measure", "measure a checkpoint on test images and store the result")
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
    brought = command("import", "read a network that another code trained and write it as a checkpoint")
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
    fetch = command("fetch", "fetch a larger set of networks and results, from a folder or an address")
    fetch.add_argument(
        "where", nargs="?", help="folder or http(s) address with a networks.json (default: EPLIB_NETWORKS)"
    )
    fetch.add_argument("--scale", help="quick, cpu or paper (default: all of them)")
    fetch.add_argument("--out", help="data folder that they come into (default: data)")
    fetch.add_argument(
        "--manifest", metavar="FOLDER", help="instead: write the networks.json of a data folder to publish"
    )
    taken = command("export", "write a network as one file of PyTorch code, with its evaluation card")
    taken.add_argument("--checkpoint", required=True, help="path of a .safetensors of train or import")
    taken.add_argument("--out", required=True, help="a new folder")
    taken.add_argument("--results", help="folder that measure wrote, besides data/results")
    campaign = command("campaign", "train and measure every network, or say where that stands")
    campaign.add_argument("action", nargs="?", choices=["run"], help="go on (without it: show every piece)")
    campaign.add_argument("--scale", help="smoke, quick, cpu or paper (show: all of them; run: needed)")
    campaign.add_argument("--budget", help="for run: how long, such as 45s, 9m or 2h")
    campaign.add_argument("--retry", action="store_true", help="for run: try again what failed")
    run = command("run", "run chapters with papermill")
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
    command("book", "execute the chapters that changed and build _build/html")
    benchmark = command("benchmark", "time a training iteration against the autograd reference, in one run")
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

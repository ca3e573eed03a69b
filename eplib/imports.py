"""Networks of others as checkpoints of this project: `python -m eplib import FILE --out FOLDER`.

Read are the files of the two public training codes (`eplib.foreign`), and any feed-forward classifier as a
state dict in safetensors beside a function that builds it (`eplib.imported`). What such files do not say,
steps and normalisation above all, is assumed to be the paper's and written into the record as assumed.
"""

import re
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError

from eplib import (
    checkpoints,
    data,
    files,
    foreign,
    imported,
    phases,
    pictures,
    published,
    scales,
    training,
)
from eplib.checks import InputError, one_of
from eplib.network import EPCNN
from eplib.verdicts import PAPER_DATASETS

SCALES = {"cifar10": "cpu", "cifar100": "cpu"}  # whose sizes `measure` takes; of others quick
FAMILY = "P_CNN of the public codes of Laborieux et al. (2021) and of arXiv 2401.11543"
OURS = ("ep-cnn", "twin", "cnn", "student", "judge")  # how names begin that pages know by their beginning
LETTERS = 40  # of a name
MOST_STEPS = 10_000


def write(
    path,
    out,
    name="imported",
    dataset="cifar10",
    seed=None,
    steps=None,
    order=None,
    mean=None,
    std=None,
    paddings=None,
    model=None,
):
    """Read the network at `path` and write it as a checkpoint into the folder `out`; returns its path.

    name: what the network is called on pages. dataset: whose images it was trained on. seed: of its training,
    by default the paper's first. steps, order: of its free phase; mean, std: one number a channel; paddings:
    of its convolutions, where the file has none: all by default the paper's. model: "module:function", for a
    feed-forward classifier. Raises InputError for anything that cannot be used; then nothing is written.
    """
    check_name(name)
    theirs = _published(one_of("data set", dataset, data.CLASSES))
    seed = theirs["seeds"][0] if seed is None else seed
    if not 0 <= seed < 2**32:
        raise InputError(f"seed = {seed}: give a whole number from 0 to {2**32 - 1}")
    if model:
        if steps or order or paddings:
            raise InputError(f"steps, order or paddings for {model}: a feed-forward model has none of them")
        net, record = _feed_forward(path, model, dataset, mean, std)
    else:
        net, record = _energy_based(path, dataset, theirs, steps, order, mean, std, paddings)
    scale = SCALES.get(dataset, "quick")
    return checkpoints.save(out, net, name, dataset, scale, seed, record, torch.float32)


def check_name(name):
    """Raise InputError for a name that no imported network may have: it is its title on pages too."""
    if (
        not isinstance(name, str)
        or not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name)
        or len(name) > LETTERS
    ):
        raise InputError(
            f"name {name!r}: give lowercase letters, digits and dashes, at most {LETTERS}, a letter first"
        )
    rows = {m for s in scales.SCALES.values() for of in (s.rows, *s.others.values()) for m in of}
    known = name in rows or pictures.name(name) != name
    if known or any(name == o or name.startswith(f"{o}-") for o in OURS):
        raise InputError(f"name {name!r} is that of a network of this book, or like one: give another")


def _published(dataset):
    """The paper's settings of its EP-CNN; for images that the paper has not, those for CIFAR-10."""
    return published.settings(dataset if dataset in PAPER_DATASETS else "cifar10", "ep-cnn")


def _energy_based(path, dataset, theirs, steps, order, mean, std, paddings):
    """(EPCNN, what the record's training says) of a file of the public codes."""
    found = foreign.read(path)
    if paddings and found.paddings and tuple(paddings) != found.paddings:
        raise InputError(f"paddings {paddings}: {found.name} has {list(found.paddings)}, leave them out")
    steps = theirs["pgd_predict_steps"] if steps is None else steps
    if not 1 <= steps <= MOST_STEPS:
        raise InputError(f"steps = {steps}: give 1 to {MOST_STEPS:,}")
    order = one_of("order", order or theirs["order"], phases.ORDERS)
    shape = architecture(found, dataset, paddings or found.paddings or theirs["paddings"])
    mean, std = normalisation(dataset, theirs, mean, std)
    net = EPCNN(**shape, mean=mean, std=std, steps=steps, order=order, pooling=found.pooling or "max")
    with torch.no_grad():
        for i, layer in enumerate([*net.convs, net.readout]):
            layer.weight.copy_(found.tensors[f"synapses.{i}.weight"])
            layer.bias.copy_(found.tensors[f"synapses.{i}.bias"])
    assumed = {
        "mean": list(mean),
        "std": list(std),
        "steps": steps,
        "order": order,
        "beta": theirs["beta"],
        "nudged_steps": theirs["nudged_steps"],
        "activation": theirs["activation"],
    }
    if found.form == "state dict":
        assumed |= {"paddings": shape["paddings"], "pooling": net.pooling}
    return net, {
        "imported": {
            "file": found.name,
            "sha256": found.sha256,
            "family": FAMILY,
            "form": found.form,
            "written": found.written,
        },
        "assumed": assumed,
        # what measurements of the learning rule ask a record for
        "recipe": {
            "kind": "ep",
            "beta": theirs["beta"],
            "phases": [[1.0, steps, theirs["nudged_steps"]]],
            "arg_max": theirs["arg_max"],
        },
    }


def architecture(found, dataset, paddings):
    """The arguments of `EPCNN` that fit the tensors of a `foreign.Foreign`; InputError where none do."""
    name, tensors, depth = found.name, found.tensors, (len(found.tensors) - 2) // 2
    wanted = [f"synapses.{i}.{key}" for i in range(max(depth, 1) + 1) for key in ("weight", "bias")]
    missing, extra = (sorted(a - b) for a, b in ((set(wanted), set(tensors)), (set(tensors), set(wanted))))
    if missing or extra:
        raise InputError(
            f"{name} does not have the tensors of a P_CNN (missing: {_few(missing)}; not known:"
            f" {_few(extra)}): give synapses.0 to the read-out, each with weight and bias"
        )
    if len(paddings) != depth or not all(type(p) is int and 0 <= p <= 3 for p in paddings):
        raise InputError(f"{name} has {depth} convolutions: give --paddings with one of 0 to 3 for each")
    weights = [tensors[f"synapses.{i}.weight"] for i in range(depth + 1)]
    sizes = [tuple(w.shape) for w in weights]
    if any(len(s) != 4 or s[2:] != (3, 3) for s in sizes[:-1]) or len(sizes[-1]) != 2:
        raise InputError(
            f"{name} has weights of shapes {sizes}: only 3×3 convolutions and a linear read-out fit"
        )
    shape = {
        "channels": [s[0] for s in sizes[:-1]],
        "paddings": list(paddings),
        "classes": sizes[-1][0],
        "in_channels": sizes[0][1],
        "image_size": data.SIDE,
    }
    classes = len(data.CLASSES[dataset])
    if shape["in_channels"] != 3 or shape["classes"] != classes:
        raise InputError(
            f"{name} takes {shape['in_channels']} channels to {shape['classes']} classes and {dataset} has 3"
            f" and {classes}: give its own --dataset"
        )
    with torch.device("meta"):  # shapes alone
        like = EPCNN(**shape)
    for i, layer in enumerate([*like.convs, like.readout]):
        for key in ("weight", "bias"):
            has, needs = tensors[f"synapses.{i}.{key}"].shape, getattr(layer, key).shape
            if has != needs:
                raise InputError(
                    f"{name}: synapses.{i}.{key} has the shape {list(has)} where paddings"
                    f" {shape['paddings']} need {list(needs)}: give the --paddings that it was trained with"
                )
    return shape


def _few(names):
    return ", ".join(map(str, names[:3])) + (" …" if len(names) > 3 else "") or "none"


def normalisation(dataset, theirs, mean, std):
    """([mean], [std]), one a channel: those given, else the paper's; where it took those of the training
    images, of ours.
    """
    if (mean is None) != (std is None):
        raise InputError("--mean without --std, or the reverse: give both or none")
    if mean is not None:
        numbers = [*mean, *std]
        if len(mean) != 3 or len(std) != 3 or not all(abs(x) < 1e3 for x in numbers) or min(std) <= 0:
            raise InputError(f"mean {mean} and std {std}: give three numbers each, those of std above 0")
        return list(mean), list(std)
    if dataset in PAPER_DATASETS and isinstance(theirs["normalisation_mean"], tuple):
        spread = theirs["normalisation_spread"]
        return list(theirs["normalisation_mean"]), [spread * s for s in theirs["normalisation_std"]]
    if not data.available(dataset):
        raise InputError(
            f"the normalisation of {dataset} is that of its training images, which are not here: give --mean"
            " and --std"
        )
    spread = theirs["normalisation_spread"] if dataset in PAPER_DATASETS else 1.0
    return training.statistics(data.load(dataset, "train").images, spread)


def _feed_forward(path, model, dataset, mean, std):
    """(Imported, what the record's training says) of a state dict in safetensors."""
    name, content = Path(path).name, foreign.content(path)
    if mean is not None or std is not None:
        mean, std = normalisation(dataset, {}, mean, std)
    net = imported.Imported(
        model, len(data.CLASSES[dataset]), mean=0.0 if mean is None else mean, std=1.0 if std is None else std
    )
    try:
        tensors = safetensors.torch.load(content)
        net.net.load_state_dict(tensors)
    except (SafetensorError, RuntimeError) as error:
        raise InputError(
            f"{name} does not hold the weights of {model} ({' '.join(str(error).split())[:200]}): give the"
            " .safetensors of its state dict"
        ) from error
    if not all(torch.isfinite(t).all() for t in tensors.values()):
        raise InputError(f"{name} holds weights that are not finite: take another epoch of the run")
    imported.check_logits(net.eval())
    source = {"file": name, "sha256": files.sha256(content), "family": model, "form": "state dict"}
    return net, {
        "imported": source | {"written": {}},
        "assumed": {"mean": net.mean.flatten().tolist(), "std": net.std.flatten().tolist()},
        "recipe": {"kind": "backprop"},
    }

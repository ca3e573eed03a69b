"""How training fails: short runs of one network with one setting turned too far, and what the monitors say.

Each run is the recipe of a scale's EP-CNN, cut to a few thousand images, with one change.
"""

import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from eplib import data, files, recipes, results, scales, studies, training
from eplib.checks import InputError, Interrupted, one_of
from eplib.snapshots import Snapshot

# what is turned, and to what: factors on the recipe's learning rates and gains, or the value itself
TURNED = {
    "learning rates": (1 / 16, 1 / 4, 4, 16, 256),
    "gains": (1 / 4, 1 / 2, 2, 4),
    "free steps": (1, 2, 3, 12),
    "β": (0.02, 5, 50),
    "adjoint sweeps": (4, 60, 200),
}


def seed_of(scale):
    """The seed whose failures a chapter shows: not the first, on which the monitors' limits were chosen."""
    return scales.scale(scale).seeds[:3][-1]


def settings_of(scale, dataset, seed):
    """Everything that decides the outcome, as JSON takes it; its hash names the result."""
    size, row = scales.scale(scale), scales.row(scale, "ep-cnn", dataset)
    recipe = replace(row.recipe, **size.studies["failures"]["recipe"])
    return {
        "measurement": "failures",
        "model": "ep-cnn",
        "checkpoint": None,
        "scale": scale,
        "dataset": dataset,
        "seed": seed,
        "images": size.studies["failures"]["images"],
        "network": {
            "channels": row.channels,
            "paddings": row.paddings,
            "steps": row.steps,
            "order": row.order,
        },
        "recipe": recipes.changes(recipe),
        "turned": [["nothing", 1.0], *([name, v] for name, values in TURNED.items() for v in values)],
    }


def stored_or_provoked(scale, dataset, seed, progress=True):
    """The stored result of all runs, or the one made now, then stored.

    Rows, for every run (columns `turned` and `to`): accuracy on the first test images, and residual, dead,
    saturated (the largest share of a layer) and update (the smallest relative change of a weight tensor in
    one iteration) at the last epoch. The record's "said" has, for every run, the monitors' warnings or the
    reason why it was stopped.
    """
    settings = settings_of(scale, dataset, seed)
    found = results.find(settings)
    if found is not None:
        return found
    started, rows, correct, said = time.perf_counter(), [], [], []
    train, test = data.load(dataset, "train"), data.load(dataset, "test")
    n = settings["images"]
    for turned, to in tqdm(settings["turned"], desc="provoking failures", unit="run", disable=not progress):
        net, history, reason = provoke(scale, dataset, seed, turned, to, train)
        right = np.zeros(n, bool)
        if reason is None:
            with torch.no_grad():
                right = (net(data.as_float(test.images[:n])).argmax(1) == test.labels[:n]).numpy()
        said.append([reason] if reason else history[-1]["warnings"])
        where = {"turned": turned, "to": to}
        rows.append(where | studies.share("accuracy", torch.from_numpy(right)))
        rows += [where | row for row in _last(history)]
        correct.append(right)
    seconds = round(time.perf_counter() - started, 1)
    identity = {key: settings[key] for key in results.IDENTITY}
    table = results.tidy(pd.DataFrame([identity | row | {"seconds": seconds} for row in rows]))
    record = {"said": said, "data_sha256": test.sha256, "seconds": seconds, **files.provenance("cpu")}
    result = results.Result(settings, table, test.ids[:n].numpy(), correct[0], np.stack(correct), record)
    results.save(result, results.folders(scale)[0] / "results")
    return results.find(settings)


def provoke(scale, dataset, seed, turned, to, train):
    """One short run with `turned` set `to`: (network, history, why it was stopped or None)."""
    row = scales.row(scale, "ep-cnn", dataset)
    recipe = replace(row.recipe, **scales.scale(scale).studies["failures"]["recipe"])
    recipe = changed(recipe, turned, to)
    held_out = len(train) - recipe.validation
    images, labels = train.images[:held_out], train.labels[:held_out]
    net = training.initial(replace(row, recipe=recipe), images, len(train.classes), seed)
    history, reason = [], None
    with tempfile.TemporaryDirectory() as folder:
        snapshot = Snapshot(Path(folder) / "run", [turned, to])
        validation = (train.images[held_out:], train.labels[held_out:])
        try:
            training.run(net, recipe, images, labels, validation, seed, history, snapshot, False)
        except InputError as error:
            reason = str(error)
        except Interrupted:
            raise Interrupted(
                "stopped: provoked runs are kept all together, the same command begins again"
            ) from None
    return net.eval(), history, reason


def changed(recipe, turned, to):
    """The recipe with one setting turned; "nothing" leaves it as it is. InputError for other names."""
    one_of("setting", turned, ("nothing", *TURNED))
    (until, free, nudged), *_ = recipe.phases
    if turned == "learning rates":
        return replace(recipe, learning_rates=tuple(to * rate for rate in recipe.learning_rates))
    if turned == "gains":
        gains = recipe.gains or (1.0,) * (len(recipe.learning_rates) - 1)  # one a convolution
        return replace(recipe, gains=tuple(to * gain for gain in gains))
    if turned == "free steps":
        return replace(recipe, phases=((until, to, nudged),))
    if turned == "β":
        return replace(recipe, beta=to)
    if turned == "adjoint sweeps":
        return replace(recipe, estimator="adjoint", precision="float32", phases=((until, free, to),))
    return recipe


def _last(history):
    if not history:
        return []
    last = history[-1]
    numbers = {
        "residual": last["residual"],
        "dead": max(last["dead"]),
        "saturated": max(last["saturated"]),
        "update": min(last["update"].values()),
    }
    return [{"metric": name, "value": value} for name, value in numbers.items()]

"""From a checkpoint to a stored result: clean accuracy, robust accuracy, and the studies of equilibria."""

import time

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from eplib import attacks, data, files, models, precision, results, scales, studies
from eplib.checks import InputError, one_of
from eplib.network import EPCNN
from eplib.union import union

MEASUREMENTS = ("clean", "pgd-linf", "pgd-l2", *studies.STUDIES)


def settings_of(checkpoint, measurement, images=None, epsilons=None):
    """Everything that decides a measurement's outcome, as JSON takes it; its hash names the result.

    measurement: "clean" (accuracy at the network's own free phase and at those of its scale's `settled`),
    "pgd-linf", "pgd-l2", or a study of an energy-based network's equilibria (`eplib.studies`). images,
    epsilons: other than the scale's.
    """
    one_of("measurement", measurement, MEASUREMENTS)
    record, size = checkpoint.record, scales.scale(checkpoint.record["scale"])
    recurrent = isinstance(checkpoint.net, EPCNN)
    if record["model"] in models.JUDGES and measurement != "clean":
        raise InputError(
            f"{checkpoint.name} is a judge, which no attack may see: measure its clean accuracy alone"
        )
    if measurement in studies.STUDIES:
        if not recurrent:
            raise InputError(
                f"{checkpoint.name} has no equilibria: measure {measurement} of an energy-based network"
            )
        sizes = dict(size.studies[measurement])
        planned = sizes.pop("images")
        if measurement in ("estimators", "schedules"):
            sizes["trained_with"] = _nudges(record)
    else:
        planned = size.attack.images_for(measurement)
    settings = {
        "measurement": measurement,
        "model": record["model"],
        "checkpoint": checkpoint.name,
        "checkpoint_sha256": checkpoint.sha256,
        "scale": record["scale"],
        "dataset": record["dataset"],
        "seed": record["seed"],
        "images": planned if images is None else images,
        "predict_steps": checkpoint.net.steps if recurrent else None,
        "order": checkpoint.net.order if recurrent else None,
    }
    if settings["images"] < 1:
        raise InputError(f"images = {images}: give 1 or more")
    if measurement in studies.STUDIES:
        return settings | {"sizes": sizes}
    if measurement == "clean":
        return settings | {"settled": [list(s) for s in size.attack.settled] if recurrent else []}
    norm = measurement.removeprefix("pgd-")
    epsilons = sorted(attacks.ThreatModel(norm, e).epsilon for e in epsilons or size.attack.epsilons[norm])
    settings |= {
        "norm": norm,
        "epsilons": epsilons,
        "attack_steps": size.attack.steps,
        "labels": "true",
        "gradient": "unrolled" if recurrent else "autograd",
        "random_start": False,
    }
    searched = recurrent and size.attack.search != "float32"
    return settings | ({"search": size.attack.search} if searched else {})


def _nudges(record):
    """[β, nudged steps, arg-max] that a network was trained with at the end."""
    try:
        recipe = record["training"]["recipe"]
        return [recipe["beta"], recipe["phases"][-1][2], recipe["arg_max"]]
    except (KeyError, IndexError, TypeError) as error:
        raise InputError(
            f"the record of {record['model']} does not say how it was nudged in training: train it again"
        ) from error


def measure(checkpoint, measurement, images=None, epsilons=None, progress=True, device=None):
    """Compute a `Result` on the first `images` test images (canonical order); nothing is written."""
    settings = settings_of(checkpoint, measurement, images, epsilons)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    test = data.load(settings["dataset"], "test")
    if images is not None and images > len(test):
        raise InputError(
            f"images = {images}: {settings['dataset']} has {len(test)} test images, give at most that"
        )
    n = min(settings["images"], len(test))
    x, y = data.as_float(test.images[:n]).to(device), test.labels[:n].to(device)
    net, started = checkpoint.net.to(device), time.perf_counter()
    with precision.tf32(False):
        if measurement in studies.STUDIES:
            found = studies.STUDIES[measurement](net, x, y, settings["sizes"], progress)
        else:
            batch = scales.scale(settings["scale"]).attack.batch
            found = (_clean if measurement == "clean" else _pgd)(net, x, y, settings, batch, progress)
    seconds = round(time.perf_counter() - started, 1)
    identity = {key: settings[key] for key in results.IDENTITY}
    table = results.tidy(pd.DataFrame([identity | row | {"seconds": seconds} for row in found.rows]))
    record = {"data_sha256": test.sha256, "seconds": seconds, **files.provenance(device)}
    ids = test.ids[:n].numpy()
    return results.Result(settings, table, ids, found.clean, found.correct, record, found.arrays)


def _clean(net, x, y, settings, batch, progress):
    phases = [(None, None)]
    if isinstance(net, EPCNN):
        phases = [(net.steps, net.order), *map(tuple, settings["settled"])]
    correct = np.stack(
        [_right(attacks.AttackedModel(net, *phase), x, y, batch, progress) for phase in phases]
    )
    rows = [{"predict_steps": steps, "order": order} for steps, order in phases]
    return _with_accuracy(rows, correct[0], correct)


def _pgd(net, x, y, settings, batch, progress):
    fewer_bits = precision.working(settings.get("search", "float32"), x.device)
    found = union(
        attacks.AttackedModel(net),
        x,
        y,
        settings["norm"],
        settings["epsilons"],
        [("pgd", settings["attack_steps"])],
        batch,
        search=fewer_bits and attacks.AttackedModel(net, dtype=fewer_bits),
        progress=progress,
    )
    named = ("norm", "gradient", "labels", "predict_steps", "order", "attack_steps")
    shared = {key: settings[key] for key in named} | {"attack": "pgd"}
    return _with_accuracy([shared | {"epsilon": e} for e in settings["epsilons"]], found.clean, found.correct)


def _with_accuracy(rows, clean, correct):
    """`studies.Found` with every row's accuracy."""
    outcomes = [studies.share("accuracy", torch.from_numpy(c)) for c in correct]
    return studies.Found([r | o for r, o in zip(rows, outcomes, strict=True)], clean, correct)


def _right(model, x, y, batch, progress):
    parts = tqdm(
        list(zip(x.split(batch), y.split(batch), strict=True)),
        unit="batch",
        disable=not progress,
        desc=f"accuracy, {model.steps} {model.order} steps" if model.recurrent else "accuracy",
    )
    return torch.cat([attacks.predicted(model, a) == b for a, b in parts]).cpu().numpy()


def stored_or_measured(checkpoint, measurement, progress=True):
    """The stored result of the scale's own settings, or the measured one, then stored."""
    found = results.find(settings_of(checkpoint, measurement))
    if found is not None:
        return found
    result = measure(checkpoint, measurement, progress=progress)
    results.save(result, results.folders(result.settings["scale"])[0] / "results")
    return result

"""From a checkpoint to a stored result: clean accuracy and robust accuracy."""

import time

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from eplib import attacks, data, files, results, scales
from eplib.checks import InputError, one_of
from eplib.network import EPCNN
from eplib.statistics import wilson

ATTACKS = ("clean", "pgd-linf", "pgd-l2")


def settings_of(checkpoint, attack, images=None, epsilons=None):
    """Everything that decides a measurement's outcome, as JSON takes it; its hash names the result.

    attack: "clean" (accuracy at the network's own free phase and at those of its scale's `settled`),
    "pgd-linf" or "pgd-l2". images, epsilons: other than the scale's.
    """
    one_of("attack", attack, ATTACKS)
    record, size = checkpoint.record, scales.scale(checkpoint.record["scale"]).attack
    recurrent = isinstance(checkpoint.net, EPCNN)
    settings = {
        "measurement": attack,
        "model": record["model"],
        "checkpoint": checkpoint.name,
        "checkpoint_sha256": checkpoint.sha256,
        "scale": record["scale"],
        "dataset": record["dataset"],
        "seed": record["seed"],
        "images": size.images_for(attack) if images is None else images,
        "predict_steps": checkpoint.net.steps if recurrent else None,
        "order": checkpoint.net.order if recurrent else None,
    }
    if settings["images"] < 1:
        raise InputError(f"images = {images}: give 1 or more")
    if attack == "clean":
        return settings | {"settled": [list(s) for s in size.settled] if recurrent else []}
    norm = attack.removeprefix("pgd-")
    epsilons = sorted(attacks.ThreatModel(norm, e).epsilon for e in epsilons or size.epsilons[norm])
    return settings | {
        "norm": norm,
        "epsilons": epsilons,
        "attack_steps": size.steps,
        "labels": "true",
        "gradient": "unrolled" if recurrent else "autograd",
        "random_start": False,
    }


def measure(checkpoint, attack, images=None, epsilons=None, progress=True, device=None):
    """Compute a `Result` on the first `images` test images (canonical order); nothing is written."""
    settings = settings_of(checkpoint, attack, images, epsilons)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    test = data.load(settings["dataset"], "test")
    if images is not None and images > len(test):
        raise InputError(
            f"images = {images}: {settings['dataset']} has {len(test)} test images, give at most that"
        )
    n = min(settings["images"], len(test))
    x, y = data.as_float(test.images[:n]).to(device), test.labels[:n].to(device)
    net, batch = checkpoint.net.to(device), scales.scale(settings["scale"]).attack.batch
    started = time.perf_counter()
    if attack == "clean":
        phases = (
            [(net.steps, net.order), *map(tuple, settings["settled"])]
            if isinstance(net, EPCNN)
            else [(None, None)]
        )
        correct = np.stack(
            [_right(attacks.AttackedModel(net, *phase), x, y, batch, progress) for phase in phases]
        )
        clean = correct[0]
        rows = [{"predict_steps": steps, "order": order} for steps, order in phases]
    else:
        model = attacks.AttackedModel(net)
        clean, correct = attacks.robust_outcomes(
            model, x, y, settings["norm"], settings["epsilons"], settings["attack_steps"], batch, progress
        )
        shared = {
            key: settings[key]
            for key in ("norm", "gradient", "labels", "predict_steps", "order", "attack_steps")
        }
        rows = [dict(shared, attack="pgd", epsilon=e) for e in settings["epsilons"]]
    seconds = round(time.perf_counter() - started, 1)
    table = _table(settings, rows, correct, seconds)
    record = {"data_sha256": test.sha256, "seconds": seconds, **files.provenance(device)}
    return results.Result(settings, table, test.ids[:n].numpy(), clean, correct, record)


def _right(model, x, y, batch, progress):
    parts = tqdm(
        list(zip(x.split(batch), y.split(batch), strict=True)),
        unit="batch",
        disable=not progress,
        desc=f"accuracy, {model.steps} {model.order} steps" if model.recurrent else "accuracy",
    )
    return torch.cat([attacks.predicted(model, a) == b for a, b in parts]).cpu().numpy()


def _table(settings, rows, correct, seconds):
    identity = {key: settings[key] for key in results.IDENTITY}
    for row, outcome in zip(rows, correct, strict=True):
        low, high = wilson(outcome.sum(), len(outcome))
        row.update(
            identity,
            metric="accuracy",
            value=outcome.mean(),
            low=low,
            high=high,
            n=len(outcome),
            seconds=seconds,
        )
    return pd.DataFrame(rows, columns=results.COLUMNS)


def stored_or_measured(checkpoint, attack, progress=True):
    """The stored result of the scale's own settings, or the measured one, then stored."""
    found = results.find(settings_of(checkpoint, attack))
    if found is not None:
        return found
    result = measure(checkpoint, attack, progress=progress)
    results.save(result, results.folders(result.settings["scale"])[0] / "results")
    return result

"""From a checkpoint to a stored result: clean accuracy, outcomes under attack, and the studies of
equilibria.
"""

import time
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from eplib import (
    attacks,
    checkpoints,
    corruption_official,
    data,
    files,
    models,
    parts,
    precision,
    results,
    scales,
    semantics,
    studies,
)
from eplib.attack_measurements import MEASURED
from eplib.checks import InputError, Interrupted, one_of
from eplib.corruption_measurements import CORRUPTED, HAVE_OFFICIAL
from eplib.network import EPCNN
from eplib.union import union

MEASUREMENTS = ("clean", "pgd-linf", "pgd-l2", *MEASURED, *CORRUPTED, *studies.STUDIES)


def settings_of(checkpoint, measurement, images=None, epsilons=None):
    """Everything that decides a measurement's outcome, as JSON takes it; its hash names the result.

    measurement: "clean" (accuracy at the network's own free phase and at those of its scale's `settled`),
    "pgd-linf", "pgd-l2", another of `eplib.attack_measurements`, one of natural corruptions
    (`eplib.corruption_measurements`), or a study of an energy-based network's equilibria (`eplib.studies`).
    images, epsilons: other than the scale's. Raises InputError for what cannot be measured, and for
    "transfer" and "semantics" where a network they need is not stored.
    """
    one_of("measurement", measurement, MEASUREMENTS)
    record, size = checkpoint.record, scales.scale(checkpoint.record["scale"])
    recurrent = isinstance(checkpoint.net, EPCNN)
    if record["model"] in models.JUDGES and measurement != "clean":
        raise InputError(
            f"{checkpoint.name} is a judge, which no attack may see: measure its clean accuracy alone"
        )
    if measurement in studies.STUDIES and not recurrent:
        raise InputError(
            f"{checkpoint.name} has no equilibria: measure {measurement} of an energy-based network"
        )
    sizes = dict((size.studies | size.attacks).get(measurement, {}))
    planned = sizes.pop("images", None) or size.attack.images_for(measurement)
    if measurement in ("estimators", "schedules"):
        sizes["trained_with"] = _nudges(record)
    if measurement == "transfer":
        sizes["sources"] = {name: c.sha256 for name, c in sources(record).items()}
    if measurement == "semantics":
        sizes["judges"] = {name: c.sha256 for name, c in judges(record).items()}
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
    if measurement in HAVE_OFFICIAL and corruption_official.available(record["dataset"]):
        sizes |= {"source": "official", "dataset": record["dataset"]}
    if sizes:
        return settings | {"sizes": _with_epsilons(sizes, epsilons, measurement)}
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


def _with_epsilons(sizes, epsilons, measurement):
    if not epsilons:
        return sizes
    if "epsilons" not in sizes:
        raise InputError(
            f"epsilon = {epsilons} for {measurement}, which has no one list of them: leave it out"
        )
    return sizes | {"epsilons": sorted(attacks.ThreatModel(sizes["norm"], e).epsilon for e in epsilons)}


def sources(record):
    """{model: Checkpoint} of the networks of the same scale, data set and seed on which "transfer" makes its
    images; InputError naming the first that is not stored.
    """
    return _others(
        record,
        scales.scale(record["scale"]).attacks["transfer"]["sources"],
        record["seed"],
        "transfer attacks",
    )


def judges(record):
    """{model: Checkpoint} of the networks of the same scale and data set that "semantics" shows changed
    images to; InputError naming the first that is not stored.
    """
    return _others(record, models.JUDGES, models.JUDGE_SEED, "semantics asks")


def _others(record, wanted, seed, what):
    found = {}
    for model in wanted:
        path = checkpoints.find(record["scale"], model, record["dataset"], seed)
        if path is None:
            raise InputError(
                f"{what} {model} of seed {seed}, which is not stored at scale {record['scale']}: train it"
                " first"
            )
        found[model] = checkpoints.load(path)
    return found


def _nudges(record):
    """[β, nudged steps, arg-max] that a network was trained with at the end."""
    try:
        recipe = record["training"]["recipe"]
        return [recipe["beta"], recipe["phases"][-1][2], recipe["arg_max"]]
    except (KeyError, IndexError, TypeError) as error:
        raise InputError(
            f"the record of {record['model']} does not say how it was nudged in training: train it again"
        ) from error


def measure(checkpoint, measurement, images=None, epsilons=None, progress=True, device=None, folder=None):
    """Compute a `Result` on the first `images` test images: of the canonical order, or for "conventions" of
    the order that the paper used, where the source of the images has it. folder: where an attack keeps its
    finished parts, so that the same call goes on; nothing else is written.
    """
    settings = settings_of(checkpoint, measurement, images, epsilons)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    test = data.load(settings["dataset"], "test")
    if images is not None and images > len(test):
        raise InputError(
            f"images = {images}: {settings['dataset']} has {len(test)} test images, give at most that"
        )
    order = test.published_order() if measurement == "conventions" else test.ids
    ids = order[: settings["images"]]
    x, y = data.as_float(test.images[ids]).to(device), test.labels[ids].to(device)
    net, started = checkpoint.net.to(device), time.perf_counter()
    with precision.tf32(False):
        found = _found(net, x, y, ids, settings, checkpoint.record, folder, progress)
    seconds = round(found.seconds or time.perf_counter() - started, 1)
    identity = {key: settings[key] for key in results.IDENTITY}
    table = results.tidy(pd.DataFrame([identity | row | {"seconds": seconds} for row in found.rows]))
    record = {"data_sha256": test.sha256, "seconds": seconds, **files.provenance(device)}
    return results.Result(settings, table, ids.numpy(), found.clean, found.correct, record, found.arrays)


def _found(net, x, y, ids, settings, record, folder, progress):
    """The `studies.Found` of a measurement."""
    measurement = settings["measurement"]
    if measurement in studies.STUDIES:
        return studies.STUDIES[measurement](net, x, y, settings["sizes"], progress)
    if measurement == "transfer":
        nets = {model: c.net.to(x.device) for model, c in sources(record).items()}
        return MEASURED[measurement](net, x, y, settings["sizes"], nets, folder, progress)
    if measurement == "semantics":
        nets = {model: c.net.to(x.device) for model, c in judges(record).items()}
        train, count = data.load(settings["dataset"], "train"), semantics.TRAINING
        training = data.as_float(train.images[:count]).to(x.device), train.labels[:count].to(x.device)
        return MEASURED[measurement](net, x, y, settings["sizes"], nets, training, folder, progress)
    if measurement in MEASURED:
        return MEASURED[measurement](net, x, y, settings["sizes"], folder, progress)
    if measurement in CORRUPTED:
        return CORRUPTED[measurement](net, x, y, ids, settings["sizes"], folder, progress)
    batch = scales.scale(settings["scale"]).attack.batch
    if measurement == "clean":
        return _clean(net, x, y, settings, batch, progress)
    return _pgd(net, x, y, settings, batch, folder, progress)


def _clean(net, x, y, settings, batch, progress):
    phases = [(None, None)]
    if isinstance(net, EPCNN):
        phases = [(net.steps, net.order), *map(tuple, settings["settled"])]
    correct = np.stack(
        [_right(attacks.AttackedModel(net, *phase), x, y, batch, progress) for phase in phases]
    )
    rows = [{"predict_steps": steps, "order": order} for steps, order in phases]
    return _with_accuracy(rows, correct[0], correct)


def _pgd(net, x, y, settings, batch, folder, progress):
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
        folder=folder,
        progress=progress,
    )
    named = ("norm", "gradient", "labels", "predict_steps", "order", "attack_steps")
    shared = {key: settings[key] for key in named} | {"attack": "pgd"}
    rows = [shared | {"epsilon": e} for e in settings["epsilons"]]
    return replace(_with_accuracy(rows, found.clean, found.correct), seconds=found.seconds)


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


def stored(checkpoint, measurement):
    """The stored result of the scale's own settings, or None. Where official corrupted images are at hand but
    nothing is stored of them: that of regenerated ones.
    """
    settings = settings_of(checkpoint, measurement)
    found, sizes = results.find(settings), settings.get("sizes", {})
    if found is None and sizes.get("source") == "official":
        own = {key: value for key, value in sizes.items() if key != "dataset"} | {"source": "regenerated"}
        found = results.find(settings | {"sizes": own})
    return found


def stored_or_measured(checkpoint, measurement, progress=True):
    """The result of `stored`, or the measured one, then stored."""
    found = stored(checkpoint, measurement)
    if found is not None:
        return found
    with files.alone(results.stem(settings_of(checkpoint, measurement))):
        found = stored(checkpoint, measurement)  # now, perhaps: another chapter may have needed it too
        return measure_and_keep(checkpoint, measurement, progress=progress)[0] if found is None else found


def measure_and_keep(checkpoint, measurement, images=None, epsilons=None, out=None, progress=True):
    """(Result, path): measured and stored in the folder `out`, by default where results of its scale are
    written. What is finished of it is kept meanwhile, so that after Ctrl-C the same call goes on.
    """
    settings = settings_of(checkpoint, measurement, images, epsilons)
    written = results.folders(settings["scale"])[0]
    unfinished = written / "unfinished" / results.stem(settings)
    try:
        result = measure(checkpoint, measurement, images, epsilons, progress, folder=unfinished)
    except KeyboardInterrupt as stopped:
        kept = len(list(unfinished.rglob("*.npz")))
        raise Interrupted(
            f"{measurement} of {checkpoint.name} stopped with {kept} finished parts kept: the same command"
            " goes on"
        ) from stopped
    path = results.save(result, out or written / "results")
    parts.forget(unfinished)
    return result, path

"""One training loop for every kind of model: data, gradient, optimiser, record, checkpoint.

`python -m eplib train --model ep-cnn --dataset sample --scale quick --seed 0`
"""

import signal
import threading
import time
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import torch
from tqdm import tqdm

from eplib import (
    baselines,
    checkpoints,
    data,
    dynamics,
    models,
    monitors,
    objectives,
    precision,
    recipes,
    scales,
    snapshots,
)
from eplib.checks import InputError, Interrupted
from eplib.snapshots import Best, Snapshot

BLOW_UP = 1e3  # a gradient this many times larger than the weights it belongs to has exploded
WATCHED = 200  # validation images on which the states are watched


def train(model, dataset, scale, seed, out, progress=True, device=None):
    """Train `model` as the row of `scale` says and write its checkpoint into the folder `out`; returns the
    path.

    The last `validation` training images in canonical order are held out and never trained on; test images
    are never looked at. The same arguments give the same weights on the same kind of processor, also when the
    run was killed in between: its state is kept beside the checkpoint and taken up again. Raises InputError
    for unknown names and when a gradient is not finite or explodes, and Interrupted after Ctrl-C, which
    leaves a checkpoint of the network so far in the folder `unfinished`.
    """
    row = scales.row(scale, model, dataset)
    if not 0 <= seed < 2**63:
        raise InputError(f"seed = {seed}: give an integer from 0 to 2**63 - 1")
    if model in models.JUDGES and seed in scales.scale(scale).seeds:
        raise InputError(
            f"seed = {seed} for {model}: judges have other seeds than the networks they judge, give one that"
            " is"
            f" not of {scales.scale(scale).seeds}"
        )
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    train_data = data.load(dataset, "train")
    recipe = row.recipe
    held_out = slice(len(train_data) - recipe.validation, len(train_data))
    images, labels = (x[: held_out.start].to(device) for x in (train_data.images, train_data.labels))
    validation = tuple(x[held_out].to(device) for x in (train_data.images, train_data.labels))
    net = initial(row, images, len(train_data.classes), seed).to(device)
    source = checkpoints.source(recipe.source, scale, dataset, seed, out, device)

    def save(folder, history, seconds):
        training = {"recipe": asdict(recipe), "data_sha256": train_data.sha256, "history": history}
        training["source_sha256"] = source and source.sha256
        training["seconds"] = None if seconds is None else round(seconds, 1)
        return checkpoints.save(folder, net, model, dataset, scale, seed, training)

    name = f"{checkpoints.name(model, dataset, seed)}.unfinished.safetensors"
    made_of = [model, dataset, scale, seed, recipes.changes(recipe), train_data.sha256]
    kind = {"run": made_of, "source": source and source.sha256}
    snapshot = Snapshot(Path(out) / name, kind, snapshots.CARRIED / scale / name)
    history, teacher = [], source and source.net
    try:
        if recipe.kind == "readout":
            seconds = fit(net, recipe, images, labels, validation, history, teacher)
        else:
            seconds = run(net, recipe, images, labels, validation, seed, history, snapshot, progress, teacher)
    except Interrupted as stopped:
        path = save(Path(out) / "unfinished", history, None)
        raise Interrupted(f"{stopped}; the network so far is {path}") from None
    path = save(out, history, seconds)
    snapshot.remove()
    return path


def fit(net, recipe, images, labels, validation, history, source=None):
    """Fit the read-out of `net` in place, with the convolutions of `source` if there is one; appends the
    record to `history` and returns the seconds it took.
    """
    started = time.perf_counter()
    if source is not None:
        net.convs.load_state_dict(source.convs.state_dict())
    count = min(len(images), recipe.images_seen)
    scores = baselines.fit_readout(
        net, data.as_float(images[:count]), labels[:count], data.as_float(validation[0]), validation[1]
    )
    history.append({"validation_accuracy": max(scores.values()), "by_weight_decay": scores})
    return time.perf_counter() - started


def initial(row, images, classes, seed):
    """The untrained network of a row: framework-default initialisation from `seed`, times the recipe's
    gains.
    """
    recipe = row.recipe
    mean, std = recipe.normalisation or statistics(images, recipe.spread)
    settings = dict(
        **row.settings(),
        classes=classes,
        in_channels=images.shape[1],
        image_size=images.shape[-1],
        mean=mean,
        std=std,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = baselines.kind(row.kind)(**settings)
    if recipe.gains is None:
        return net
    with torch.no_grad():
        for conv, gain in zip(net.convs, recipe.gains, strict=True):
            conv.weight *= gain
            conv.bias *= gain
    return net


def statistics(images, spread):
    """(mean, spread × standard deviation) of each channel over uint8 images, as lists."""
    pixels = data.as_float(images).transpose(0, 1).flatten(1).double()
    return pixels.mean(1).tolist(), (spread * pixels.std(1)).tolist()


def run(net, recipe, images, labels, validation, seed, history, snapshot, progress, teacher=None):
    """Train `net` in place and append one record per epoch to `history`; returns the seconds it took in all.

    Goes on from `snapshot` where it holds this run, and keeps the run's state there. With an adversary, the
    weights of the epoch that is most robust on validation images are the ones in the end. teacher: see
    `eplib.objectives.gradient_of`. Raises Interrupted after Ctrl-C, between two iterations, with the state
    kept.
    """
    (iterations, end), per_epoch = recipes.iterations(recipe), len(images) // recipe.batch
    generator = torch.Generator().manual_seed(seed)
    optimiser, best = _optimiser(net, recipe), Best()
    order, kept = snapshot.restore(net, optimiser, generator, best) or (
        None,
        {"iteration": 0, "history": [], "seconds": 0, "core_seconds": 0},
    )
    history += kept["history"]
    gradient = objectives.gradient_of(net, recipe, teacher)
    begun = time.perf_counter() - kept["seconds"]
    begun_core = time.process_time() - kept["core_seconds"]
    bar = tqdm(total=end, initial=kept["iteration"], unit="batch", disable=not progress, desc="training")
    with precision.repeatable(), bar, _ctrl_c_as_flag() as stop:
        for iteration in range(kept["iteration"], end):
            if iteration % per_epoch == 0:
                order = torch.randperm(len(images), generator=generator).to(images.device)
            place = iteration % per_epoch * recipe.batch
            batch = order[place : place + recipe.batch]
            x = data.augment(images[batch], generator, crop=recipe.crop)
            x = data.as_float(data.augment_strongly(x, generator, recipe.augmentation))
            last = (iteration + 1) % per_epoch == 0 or iteration + 1 == end
            phase = recipes.phase_at(recipe, iteration / iterations) if recipe.kind == "ep" else None
            before = {n: p.detach().clone() for n, p in net.named_parameters()} if last else None
            _step(net, recipe, gradient, optimiser, x, labels[batch], phase, iteration, iterations)
            bar.update()
            seconds, core_seconds = time.perf_counter() - begun, time.process_time() - begun_core
            if last:
                record = _epoch(net, recipe, validation, phase, iteration, before, history)
                best.offer(net, record.get("robust_validation_accuracy"))
                record |= {"seconds": round(seconds, 1), "core_seconds": round(core_seconds, 1)}
                history.append({"epoch": len(history) + 1, **record})
                bar.set_postfix(validation=f"{history[-1]['validation_accuracy']:.3f}")
                for sentence in history[-1].get("warnings", ()) if progress else ():
                    bar.write(f"epoch {len(history)}: {sentence}")
            if stop or snapshot.due():
                kept = {"iteration": iteration + 1, "history": history}
                kept |= {"seconds": seconds, "core_seconds": core_seconds}
                snapshot.save(net, optimiser, generator, order, kept, best)
            if stop:
                raise Interrupted(f"stopped after {iteration + 1} of {end} batches: the same command goes on")
    best.put_back(net)
    return time.perf_counter() - begun


def _step(net, recipe, gradient, optimiser, images, labels, phase, iteration, iterations):
    net.train()
    gradient(images, labels, phase)
    _refuse_explosion(net, iteration)
    for group in optimiser.param_groups:
        group["lr"] = recipes.learning_rate(recipe, group["base"], iteration, iterations)
    optimiser.step()


def _epoch(net, recipe, validation, phase, iteration, before, history):
    """The record of an epoch: accuracy on validation images, clean and where the recipe has an adversary also
    attacked, and, of an EP-CNN, what `eplib.monitors` sees.
    """
    record = {
        "images_seen": (iteration + 1) * recipe.batch,
        "phase": phase,
        "precision": precision.label(recipe.precision, net.mean.device),
        "validation_accuracy": validation_accuracy(net, *validation, phase),
        "update": monitors.update_sizes(net, before),
    }
    if phase is not None:
        report = monitors.states(net, data.as_float(validation[0][:WATCHED]), phase[0])
        share = recipes.learning_rate(recipe, 1.0, iteration, recipes.iterations(recipe)[0])
        record |= report | {
            "warnings": monitors.warnings(
                report, record["update"], share, record["validation_accuracy"], net.classes
            )
        }
    else:
        record["warnings"] = monitors.guessing(record["validation_accuracy"], net.classes)
    if recipe.adversary is not None:
        images, labels = (x[: objectives.JUDGED] for x in validation)
        robust = objectives.robust_accuracy(net, data.as_float(images), labels, recipe.adversary, phase)
        record["robust_validation_accuracy"] = robust
        before = [h["robust_validation_accuracy"] for h in history]
        record["warnings"] = record.get("warnings", []) + monitors.overfitting(before, robust)
    return record


@contextmanager
def _ctrl_c_as_flag():
    """Yields a list that Ctrl-C makes true, so that a loop can stop between two iterations; a second one
    stops at once.
    """
    pressed = []

    def handler(number, frame):
        if pressed:
            raise KeyboardInterrupt
        pressed.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield pressed
        return
    previous = signal.signal(signal.SIGINT, handler)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, previous)


@torch.no_grad()
def validation_accuracy(net, images, labels, phase=None, batch=500):
    """Share of uint8 images classified correctly; with a `phase`, after its number of free steps."""
    net.eval()
    right = 0
    for x, y in zip(images.split(batch), labels.split(batch), strict=True):
        x = data.as_float(x)
        logits = net(x) if phase is None else dynamics.settle(net, x, steps=phase[0]).logits
        right += (logits.argmax(1) == y).sum().item()
    return right / len(labels)


def _optimiser(net, recipe):
    groups = _groups(net, recipe)
    if recipe.optimiser == "adamw":
        return torch.optim.AdamW(groups, lr=0.0, weight_decay=recipe.weight_decay)
    return torch.optim.SGD(groups, lr=0.0, momentum=recipe.momentum, weight_decay=recipe.weight_decay)


def _groups(net, recipe):
    rates = recipe.learning_rates
    if len(rates) == 1:
        return [{"params": list(net.parameters()), "base": rates[0]}]
    modules = [*net.convs, net.readout]
    return [{"params": list(m.parameters()), "base": rate} for m, rate in zip(modules, rates, strict=True)]


def _refuse_explosion(net, iteration):
    norms = torch.stack([torch.stack([p.grad.norm(), p.detach().norm()]) for p in net.parameters()])
    gradient, weight = norms.norm(dim=0).tolist()
    if not gradient < BLOW_UP * weight:  # also true for NaN
        raise InputError(
            f"the gradient's norm is {gradient:.3g} at iteration {iteration + 1} with weights of norm"
            f" {weight:.3g}: training stopped, take smaller learning rates or nudging strength"
        )

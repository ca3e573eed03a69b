"""How a model is trained: every number of a training run, and the schedules they stand for."""

import math
from dataclasses import dataclass, fields

from eplib.checks import InputError


@dataclass(frozen=True)
class Recipe:
    """How a model is trained.

    kind: "ep" (an energy-based network, by `estimator`), "backprop", or "readout" (only the read-out is
    fitted). source: the model whose network of the same seed is the teacher of a "backprop" student, or gives
    a "readout" network its convolutions. images_seen: training images, with repetitions. learning_rates: one
    for all, or one per convolution and one for the read-out. schedule: "cosine" from the learning rate to
    `floor` at the share `decay_until` of the run, or "step" (× 0.3 at every 8/45 of the run, as published for
    the CNN). epochs: when given, the schedule moves only at the end of each of so many equal parts of the
    run. warmup: iterations of linear growth. gains: factors on the default initialisation of each
    convolution. normalisation: None (mean and `spread` × standard deviation of the training images), or
    (mean, std). crop: see `eplib.data.augment`. estimator, beta, arg_max: see
    `eplib.learning.weight_gradients`. phases: (until this share of the run, free steps, nudged steps), so
    that free phases can grow. precision: of states and convolutions in the phases, see `eplib.precision`.
    loss: of "ep", see `eplib.learning`. optimiser: "sgd" or "adamw". adversary: None or (norm, ε, steps of
    PGD) that changes every training image. gradient_penalty: factor of the squared norm of the loss's
    gradient in the image. stop: the share of the run after which training ends; the schedule stays that of
    the whole run, so the network is the whole run's at that moment. label_smoothing: of "backprop", the share
    of the target that is spread evenly over the classes. augmentation: of images beyond flip and crop, see
    `eplib.data.augment_strongly`.
    """

    kind: str
    images_seen: int
    batch: int
    learning_rates: tuple
    momentum: float = 0.9
    weight_decay: float = 0.0
    schedule: str = "cosine"
    decay_until: float = 1.0
    floor: float = 0.0
    epochs: int | None = None
    warmup: int = 0
    validation: int = 1000
    gains: tuple | None = None
    normalisation: tuple | None = None
    spread: float = 1.0
    crop: str | None = None
    estimator: str = "centred"
    beta: float = 0.5
    arg_max: str = "frozen"
    phases: tuple = ()
    precision: str = "float32"
    loss: str = "cross-entropy"
    optimiser: str = "sgd"
    source: str | None = None
    adversary: tuple | None = None
    gradient_penalty: float = 0.0
    stop: float = 1.0
    label_smoothing: float = 0.0
    augmentation: str = ""


def iterations(recipe):
    """(iterations of the whole run, which schedules refer to, iterations after which training ends)."""
    whole = recipe.images_seen // recipe.batch
    return whole, round(recipe.stop * whole)


def phase_at(recipe, progress):
    """(free steps, nudged steps) at a share of the run in [0, 1)."""
    for until, free, nudged in recipe.phases:
        if progress < until:
            return free, nudged
    raise InputError(f"phases {recipe.phases} end before {progress}: let the last one end at 1.0")


def learning_rate(recipe, base, iteration, iterations):
    """The learning rate at an iteration of a parameter group whose own is `base`, by warm-up and schedule."""
    progress = iteration / iterations
    if recipe.epochs:
        progress = iteration * recipe.epochs // iterations / recipe.epochs
    if recipe.schedule == "cosine":
        share = min(1.0, progress / recipe.decay_until)
        rate = recipe.floor + (base - recipe.floor) * 0.5 * (1 + math.cos(math.pi * share))
    else:
        rate = base * 0.3 ** int(progress * 45 / 8)
    return rate * min(1.0, (iteration + 1) / recipe.warmup if recipe.warmup else 1.0)


def changes(recipe):
    """What a recipe sets other than the defaults, {name: value}: a new field changes no name or hash made of
    this.
    """
    return {f.name: getattr(recipe, f.name) for f in fields(recipe) if getattr(recipe, f.name) != f.default}


def is_ep(recipe):
    """Whether a network trained like this may be called an EP-CNN: by two nudged phases. Others are twins."""
    return recipe.kind == "ep" and recipe.estimator == "centred"

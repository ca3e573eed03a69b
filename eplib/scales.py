"""Every size there is, in one table: `smoke` (seconds), `quick` (the sample, two cores), `cpu` (CIFAR-10, two
cores, in the background), `paper` (CIFAR, a GPU). A departure from a scale's network is a row of its own.
"""

import math
from dataclasses import dataclass, replace

from eplib.checks import InputError, one_of

# Of arXiv 2401.11543 for CIFAR-10: pixel means and three times the (per-image averaged) standard deviations.
PUBLISHED_NORMALISATION = ((0.4914, 0.4822, 0.4465), (3 * 0.2023, 3 * 0.1994, 3 * 0.2010))


@dataclass(frozen=True)
class Recipe:
    """How a model is trained.

    kind: "ep" (Equilibrium Propagation), "backprop", or "readout" (only the read-out is fitted). images_seen:
    training images, with repetitions. learning_rates: one for all, or one per convolution and one for the
    read-out. schedule: "cosine" to 0, or "step" (× 0.3 at every 8/45 of the run, as published for the CNN).
    warmup: iterations of linear growth. gains: factors on the default initialisation of each convolution.
    normalisation: None (mean and `spread` × standard deviation of the training images), or (mean, std). crop:
    see `eplib.data.augment`. phases (EP): (until this share of the run, free steps, nudged steps), so that
    free phases can grow.
    """

    kind: str
    images_seen: int
    batch: int
    learning_rates: tuple
    momentum: float = 0.9
    weight_decay: float = 0.0
    schedule: str = "cosine"
    warmup: int = 0
    validation: int = 1000
    gains: tuple | None = None
    normalisation: tuple | None = None
    spread: float = 1.0
    crop: str | None = None
    beta: float = 0.5
    arg_max: str = "frozen"
    phases: tuple = ()


@dataclass(frozen=True)
class Row:
    """A network and how it is trained. steps, order: the free phase of an energy-based network."""

    channels: tuple
    paddings: tuple
    recipe: Recipe
    steps: int = 0
    order: str = ""


@dataclass(frozen=True)
class Attack:
    """Sizes of a measurement: test images (a prefix of the canonical order), steps of PGD, images at a time,
    and the settings at which the clean accuracy of an energy-based network is measured beside its own:
    (steps, order).
    """

    images: int
    steps: int
    batch: int
    epsilons: dict
    settled: tuple = ()
    settled_images: int = 0

    def images_for(self, attack):
        """How many test images a measurement looks at."""
        return self.settled_images if attack == "clean" else self.images


@dataclass(frozen=True)
class Scale:
    name: str
    dataset: str
    seeds: tuple
    rows: dict
    attack: Attack


# The ten values per norm of the published curves (protocol of the paper: log-spaced, plus 8/255 and 1.0).
EPSILONS = {
    "linf": (1e-4, 2.15e-4, 4.64e-4, 1e-3, 2.15e-3, 4.64e-3, 1e-2, 2.15e-2, 8 / 255, 4.64e-2, 1e-1),
    "l2": (0.05, 0.0788, 0.124, 0.196, 0.309, 0.486, 0.766, 1.0, 1.208, 1.903, 3.0),
}
SHORT_EPSILONS = {
    "linf": (2.15e-3, 4.64e-3, 1e-2, 2.15e-2, 4.64e-2, 1e-1),
    "l2": (0.124, 0.309, 0.766, 1.208, 1.903, 3.0),
}


_SMALL = dict(channels=(16, 32, 64, 64), paddings=(1, 1, 1, 0))
_HALF_RATES = (0.125, 0.075, 0.05, 0.04, 0.025)  # half of the published 0.25, 0.15, 0.1, 0.08, 0.05
_QUICK_EP = Recipe(
    "ep",
    84_000,
    25,
    _HALF_RATES,
    momentum=0.8,
    weight_decay=3e-4,
    warmup=40,
    gains=(1.4, 2, 2, 2),
    phases=((0.3, 6, 4), (0.55, 12, 6), (1.0, 20, 8)),
)
_QUICK_CNN = Recipe("backprop", 84_000, 50, (0.05,), schedule="step")
_PAPER_EP = Recipe(
    "ep",
    120 * 45_000,
    128,
    (0.25, 0.15, 0.1, 0.08, 0.05),
    weight_decay=3e-4,
    validation=5000,
    normalisation=PUBLISHED_NORMALISATION,
    crop="edge",
    arg_max="live",
    phases=((1.0, 250, 30),),
)
_WIDE = dict(channels=(128, 256, 512, 512), paddings=(1, 1, 1, 0))
_CPU = dict(channels=(32, 64, 128, 128), paddings=(1, 1, 1, 0))
_CPU_EP = Recipe(
    "ep",
    420_000,
    50,
    _HALF_RATES,
    weight_decay=3e-4,
    warmup=40,
    gains=(1.4, 2, 2, 2),
    spread=1.5,
    crop="edge",
    validation=5000,
    phases=((0.7, 6, 4), (0.9, 12, 6), (1.0, 20, 8)),
)


def _rows(network, ep, cnn, steps, order):
    dynamics = dict(network, steps=steps, order=order)
    return {
        "ep-cnn": Row(recipe=ep, **dynamics),
        "cnn": Row(recipe=cnn, **network),
        "ep-cnn-random": Row(recipe=replace(ep, kind="readout"), **dynamics),
    }


def _smoke(recipe):
    phases = ((0.5, 4, 2), (1.0, 6, 3)) if recipe.phases else ()
    return replace(recipe, images_seen=400, validation=100, warmup=2, phases=phases)


SCALES = {
    s.name: s
    for s in (
        Scale(
            "smoke",
            "sample",
            (0,),
            _rows(
                dict(channels=(4, 6, 8, 8), paddings=(1, 1, 1, 0)),
                _smoke(_QUICK_EP),
                _smoke(_QUICK_CNN),
                6,
                "forward",
            ),
            Attack(20, 3, 20, {"linf": (1e-2, 1e-1), "l2": (0.309, 3.0)}, ((30, "synchronous"),), 20),
        ),
        Scale(
            "quick",
            "sample",
            (0, 1, 2),
            _rows(_SMALL, _QUICK_EP, _QUICK_CNN, 20, "forward"),
            Attack(300, 20, 100, SHORT_EPSILONS, ((60, "forward"), (250, "synchronous")), 2000),
        ),
        Scale(
            "cpu",
            "cifar10",
            (0, 1, 2),
            _rows(
                _CPU,
                _CPU_EP,
                Recipe(
                    "backprop",
                    420_000,
                    100,
                    (0.1,),
                    schedule="step",
                    spread=1.5,
                    crop="edge",
                    validation=5000,
                ),
                20,
                "forward",
            ),
            Attack(1000, 20, 100, EPSILONS, ((60, "forward"), (250, "synchronous")), 1000),
        ),
        Scale(
            "paper",
            "cifar10",
            (11, 13, 17, 19, 31),
            _rows(
                _WIDE,
                _PAPER_EP,
                Recipe(
                    "backprop",
                    45 * 45_000,
                    200,
                    (0.1,),
                    schedule="step",
                    validation=5000,
                    normalisation=PUBLISHED_NORMALISATION,
                    crop="edge",
                ),
                250,
                "synchronous",
            ),
            Attack(10_000, 20, 250, EPSILONS, ((250, "synchronous"),), 10_000),
        ),
    )
}


def scale(name):
    """The `Scale` called `name`; InputError if there is none."""
    return SCALES[one_of("scale", name, SCALES)]


def row(name, model):
    """The `Row` of a model at a scale; InputError if there is none."""
    return scale(name).rows[one_of("model", model, scale(name).rows)]


def phase_at(recipe, progress):
    """(free steps, nudged steps) at a share of the run in [0, 1)."""
    for until, free, nudged in recipe.phases:
        if progress < until:
            return free, nudged
    raise InputError(f"phases {recipe.phases} end before {progress}: let the last one end at 1.0")


def learning_rate_factor(recipe, iteration, iterations):
    """What the learning rates are multiplied with at an iteration, by warm-up and schedule."""
    progress = iteration / iterations
    decay = (
        0.5 * (1 + math.cos(math.pi * progress))
        if recipe.schedule == "cosine"
        else 0.3 ** int(progress * 45 / 8)
    )
    return decay * min(1.0, (iteration + 1) / recipe.warmup if recipe.warmup else 1.0)

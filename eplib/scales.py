"""Every size there is, in one table: `smoke` (seconds), `quick` (the sample, two cores), `cpu` (CIFAR-10, two
cores, in the background), `paper` (CIFAR, a GPU). A departure from a scale's network is a row of its own.
"""

from dataclasses import dataclass, field, replace

from eplib import models, published, sizes
from eplib.checks import one_of
from eplib.recipes import Recipe

TRAINED_ON = 45_000  # of 50,000 CIFAR training images: the others are for validation, which the paper has not


@dataclass(frozen=True)
class Scale:
    """rows: {model: Row}. studies: {study: sizes}, see `eplib.studies`. attacks: {measurement: sizes}, see
    `eplib.attack_measurements`. others: {data set: {model: Row}} where a data set has rows of its own.
    """

    name: str
    dataset: str
    seeds: tuple
    rows: dict
    attack: sizes.Attack
    studies: dict
    attacks: dict
    others: dict = field(default_factory=dict)


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
_ADAMW = dict(momentum=0.0, weight_decay=0.05, warmup=100, optimiser="adamw")
_QUICK_ADAMW = Recipe("backprop", 84_000, 50, (1e-3,), **_ADAMW)
_CPU = dict(channels=(32, 64, 128, 128), paddings=(1, 1, 1, 0))
_HALF = dict(channels=(64, 128, 256, 256), paddings=(1, 1, 1, 0))  # of the paper's widths
_CPU_EP = Recipe(
    "ep",
    30 * TRAINED_ON,
    50,
    _HALF_RATES,
    weight_decay=3e-4,
    warmup=40,
    gains=(1.4, 2, 2, 2),
    spread=1.5,
    crop="edge",
    validation=5000,
    phases=((0.7, 6, 4), (0.9, 12, 6), (1.0, 20, 8)),
    precision="bfloat16 where native",
)
_CPU_IMAGES = dict(spread=1.5, crop="edge", validation=5000)
_CPU_CNN = Recipe("backprop", 420_000, 100, (0.1,), schedule="step", **_CPU_IMAGES)
_CPU_ADAMW = Recipe("backprop", 420_000, 100, (1e-3,), **_ADAMW, **_CPU_IMAGES)


def _paper_rows(dataset):
    """The paper's own networks, read from data/published/settings.csv. Two departures: the last 5,000
    training images are held out (so that nothing is chosen by test images), and the last epoch is kept, not
    the best.
    """
    ep, cnn = (published.settings(dataset, model) for model in ("ep-cnn", "cnn"))

    def shared(s):
        spread = s["normalisation_spread"]
        known = isinstance(s["normalisation_mean"], tuple)
        numbers = (
            (s["normalisation_mean"], tuple(spread * x for x in s["normalisation_std"])) if known else None
        )
        return dict(
            images_seen=s["epochs"] * TRAINED_ON,
            batch=s["batch"],
            learning_rates=s["learning_rates"]
            if isinstance(s["learning_rates"], tuple)
            else (s["learning_rates"],),
            momentum=s["momentum"],
            weight_decay=s["weight_decay"],
            epochs=s["epochs"],
            normalisation=numbers,
            spread=1.0 if known else spread,
            crop=s["crop"],
            validation=50_000 - TRAINED_ON,
        )

    by_ep = Recipe(
        "ep",
        **shared(ep),
        decay_until=ep["schedule_period_epochs"] / ep["epochs"],
        floor=ep["schedule_floor"],
        beta=ep["beta"],
        arg_max=ep["arg_max"],
        phases=((1.0, ep["free_steps"], ep["nudged_steps"]),),
    )
    network = dict(channels=ep["channels"], paddings=ep["paddings"])
    by_backprop = Recipe("backprop", **shared(cnn), schedule="step")
    by_adamw = Recipe(
        "backprop", **shared(cnn) | dict(batch=128, learning_rates=(1e-3,), epochs=None) | _ADAMW
    )
    fast = replace(
        _CPU_EP,
        images_seen=30 * TRAINED_ON,
        batch=128,
        normalisation=by_ep.normalisation,
        spread=by_ep.spread,
        crop=by_ep.crop,
    )
    return models.rows(
        network, by_ep, by_backprop, by_adamw, ep["free_steps"], ep["order"], models.TRANSFORMERS, 20
    ) | models.wider("fast", network, fast, 20, "forward")


def _cpu_rows(network):
    """CIFAR on two cores. Variants of Equilibrium Propagation are trained on a smaller network."""
    small = ("ep-cnn-16", _SMALL, _CPU_EP)
    transformers = models.SMALL_TRANSFORMERS
    return models.rows(network, _CPU_EP, _CPU_CNN, _CPU_ADAMW, 20, "forward", transformers, 3, small)


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
            models.rows(
                dict(channels=(4, 6, 8, 8), paddings=(1, 1, 1, 0)),
                _smoke(_QUICK_EP),
                _smoke(_QUICK_CNN),
                _smoke(_QUICK_ADAMW),
                6,
                "forward",
                models.SMALL_TRANSFORMERS,
                2,
            ),
            sizes.Attack(20, 3, 20, {"linf": (1e-2, 1e-1), "l2": (0.309, 3.0)}, ((30, "synchronous"),), 20),
            sizes.studies((20, 60), (20, 2, 60), (10, 3, 60), (10, 30), (20, 250)),
            sizes.attacks(
                (1e-2, 1e-1),
                (10, 20),
                (10, [["apgd-ce", 2], ["square", 10]], (1e-2, 1e-1)),
                (10, 3),
                (6, 2, 5),
                (4, 1),
                (6, 5),
                (10, 2, ("ep-cnn", "cnn")),
                (10, {"linf": (1e-1,), "l2": (3.0,)}, 10),
            )
            | sizes.masking(
                (6, (3.0,), ((4, "unrolled"), (30, "adjoint"))),
                (6, 2),
                (6, 3.0, 6, 2),
                (6, (3.0,), 2),
                (6, 4),
                (6, 3.0, 3, 30),
                (4, (4, 10), 5, 2, 3),
            )
            | sizes.semantics(10, 3, 20, 4, 1)
            | sizes.corruptions((4, "own"), (4, (3,)), 4, 2)
            | sizes.boundary((20, 1, 6, 20, 20), (20, 60), (3, 16), (3, 24), (3, 2, 40), (3, (4, 10, 20))),
        ),
        Scale(
            "quick",
            "sample",
            (11, 13, 17, 19, 31),
            models.rows(
                _SMALL, _QUICK_EP, _QUICK_CNN, _QUICK_ADAMW, 20, "forward", models.SMALL_TRANSFORMERS, 3
            ),
            sizes.Attack(128, 20, 64, sizes.SHORT_EPSILONS, ((60, "forward"), (250, "synchronous")), 2000),
            sizes.studies((300, 250), (100, 8, 600), (40, 15, 300), (100, 250), (500, 4000)),
            sizes.attacks(
                (1e-2, 4.64e-2),
                (64, 500),
                (64, sizes.SHORTENED, (1e-2, 4.64e-2)),
                (64, 50),
                (32, 3, 60),
                (16, 10),
                (64, 100),
                (128, 20, sizes.SOURCES),
                (64, {"linf": (1e-2, 4.64e-2), "l2": (0.309, 1.208)}, 200),
            )
            | sizes.masking(
                (
                    32,
                    (0.766, 1.208, 1.903),
                    ((4, "unrolled"), (10, "unrolled"), (29, "unrolled"), (60, "unrolled"), (250, "adjoint")),
                ),
                (50, 20),
                (16, 1.208, 100, 5),
                (32, (1.208,), 20),
                (32, 24),
                (64, 1.208, 20, 250),
                (16, (4, 10, 29, 60), 200, 3, 60),
            )
            | sizes.semantics(128, 20, 100, 60, 3)
            | sizes.corruptions((100, "own"), (100, (1, 3, 5)), 100, 100)
            | sizes.boundary(
                (1000, 2, 8, 200, 300), (500, 100), (3, 96), (8, 32), (32, 16, 500), (32, sizes.SETTLING)
            ),
        ),
        Scale(
            "cpu",
            "cifar10",
            (11, 13, 17, 19, 31),
            _cpu_rows(_CPU) | models.wider("half", _HALF, _CPU_EP, 20, "forward"),
            sizes.Attack(500, 20, 100, sizes.EIGHT_EPSILONS, ((60, "forward"), (250, "synchronous")), 1000),
            sizes.studies((300, 250), (100, 8, 600), (40, 15, 300), (100, 250), (500, 4000)),
            sizes.attacks(
                (1e-2, 8 / 255),
                (64, 5000),
                (64, sizes.WHOLE, (2 / 255, 8 / 255)),
                (64, 100),
                (128, 5, 100),
                (32, 20),
                (128, 100),
                (200, 20, sizes.SOURCES),
                (200, {"linf": (1e-2, 8 / 255), "l2": (0.309, 1.0)}, 1000),
            )
            | sizes.masking(
                (64, (0.309, 0.766), sizes.ATTACKED),
                (50, 20),
                (100, 0.486, 500, 10),
                (128, (0.309, 0.766), 50),
                (100, 100),
                (100, 0.486, 20, 250),
                (64, (4, 10, 29, 60, 250), 1000, 5, 100),
            )
            | sizes.semantics(500, 20, 100, 60, 5)
            | sizes.corruptions((1000, (29, "synchronous")), (200, (1, 3, 5)), 500, 100)
            | sizes.boundary(
                (2000, 4, 8, 200, 500),
                (1000, 100),
                (4, 256),
                (20, 64),
                (100, 32, 1000),
                (100, sizes.SETTLING),
            ),
            {"cifar100": _cpu_rows(dict(channels=(32, 64, 128, 256), paddings=(1, 1, 1, 0)))},
        ),
        Scale(
            "paper",
            "cifar10",
            (11, 13, 17, 19, 31),
            _paper_rows("cifar10"),
            sizes.Attack(
                10_000, 20, 250, sizes.EPSILONS, ((250, "synchronous"),), 10_000, "bfloat16 where native"
            ),
            sizes.studies(
                (10_000, 250), (1000, 20, 1000), (500, 21, 500), (500, 250), (2000, 45_000), ((1.0, 60, 20),)
            ),
            sizes.attacks(
                (4.64e-3, 1e-2, 2.15e-2, 8 / 255),
                (1000, 5000),
                (256, sizes.WHOLE, (1 / 255, 2 / 255, 4 / 255, 8 / 255)),
                (1000, 100),
                (512, 9, 1000),
                (100, 64),
                (1000, 1000),
                (1000, 20, ("ep-cnn-fast", "twin-adjoint-fast", *sizes.SOURCES[2:])),
                (1000, sizes.EIGHT_EPSILONS, 1000),
            )
            | sizes.masking(
                (1000, sizes.EPSILONS["l2"], sizes.ATTACKED),
                (50, 20),
                (1000, 0.486, 1000, 20),
                (1000, (0.309, 0.486, 1.0), 100),
                (1000, 200),
                (1000, 0.486, 20, 250),
                (256, (4, 10, 29, 60, 250), 5000, 9, 1000),
            )
            | sizes.semantics(1000, 20, 100, 60, 10)
            | sizes.corruptions((10_000, (29, "synchronous")), (10_000, (1, 2, 3, 4, 5)), 10_000, 1000)
            | sizes.boundary(
                (10_000, 8, 25, 0, 2000),
                (10_000, 100),
                (10, 1024),
                (100, 128),
                (500, 64, 5000),
                (1000, sizes.SETTLING),
            ),
            {"cifar100": _paper_rows("cifar100")},
        ),
    )
}


def scale(name):
    """The `Scale` called `name`; InputError if there is none."""
    return SCALES[one_of("scale", name, SCALES)]


def row(name, model, dataset=None):
    """The `Row` of a model at a scale, of `dataset` where that has its own; InputError if there is none."""
    size = scale(name)
    rows = size.others.get(dataset, size.rows)
    return rows[one_of("model", model, rows)]

"""Accuracy against ε in every such figure of the paper: which published rows each curve is drawn from."""

from dataclasses import dataclass

import pandas as pd

from eplib import pictures, published
from eplib.checks import one_of


@dataclass(frozen=True)
class Axes:
    """norm: "linf" or "l2". scale: of ε, "log" or "linear". x: smallest and largest ε, in pixels of [0, 1].
    y: lowest and highest accuracy, fractions.
    """

    norm: str
    scale: str
    x: tuple
    y: tuple


@dataclass(frozen=True)
class Figure:
    """dataset, evaluation: as in `published.table`. axes: the ranges of the paper's figure where a PDF has
    them, else those of its numbers. title: the attack, in words. curves: {model: columns of the rows it is
    drawn from}. departure: how the figure drawn from them differs from the paper's, a sentence or "".
    """

    dataset: str
    evaluation: str
    axes: Axes
    title: str
    curves: dict
    departure: str = ""


def _adversarial(*epsilons, **columns):
    """Curves of CNNs trained on ℓ2 PGD images of these ε."""
    return {
        f"cnn-at-l2-{e:g}": dict(model="adversarial-cnn", variant=f"l2_eps{e:g}", **columns) for e in epsilons
    }


def _vit(grid):
    """The one ViT without a recorded seed, on grid × grid patches, trained with AutoAugment."""
    return {"vit": dict(model="vit", variant=f"patchgrid{grid}_augment1", series="unseeded")}


def _ep(steps):
    """An EP-CNN attacked through so many free steps."""
    return dict(model="ep-cnn", series="seeds", attack_steps=steps, predict_steps=250)


EVERY = (0.05, 0.5, 0.75, 1)  # ε that the adversarially trained CNNs were trained with
HORIZONS = (10, 15, 20, 25, 29, 60, 70)  # free steps that the gradient goes through
SEEDS, AUTO, SQUARE = dict(series="seeds"), dict(series="AA_Square"), dict(series="seeds", queries=1000)
CNN = dict(model="cnn", variant="relu")
NEW, OLD = dict(generation="B"), dict(generation="A")
EP_70 = {"ep-cnn": _ep(70)}
L2 = Axes("l2", "log", (0.0045, 3.3), (0.05, 0.95))
LINF = Axes("linf", "log", (9e-5, 0.11), (0.05, 0.95))
SEED_11 = "The paper's PDF shows the EP-CNN of seed 11 alone"
BY_HAND = "one point set by hand at ε = 0.005"
NOT_SHIPPED = "The authors prepared this figure without shipping its PDF"
FOUR_ATTACKS = "its AutoAttack is four untargeted attacks and not the standard ones"
SEED_19 = "of the CNN adversarially trained with ε = 0.5, seed 19 is left out, being of the older generation"

PGD_100 = Figure(
    "cifar100",
    "pgd",
    Axes("l2", "log", L2.x, (0.05, 0.71)),
    "ℓ2 PGD",
    _adversarial(*EVERY, **SEEDS),
)
FIGURES = {
    "Adversarial_Accuracy_CNN_M": Figure(
        "cifar10",
        "pgd",
        L2,
        "ℓ2 PGD",
        EP_70 | _vit(4) | {"cnn": CNN | NEW | dict(series="one-model")},
        f"{SEED_11} and adds {BY_HAND}; drawn here is the measured mean of its five seeds.",
    ),
    "Adversarial_Accuracy_CNN_Adv_M": Figure(
        "cifar10",
        "pgd",
        L2,
        "ℓ2 PGD",
        EP_70 | _vit(4) | {"cnn": CNN | NEW | SEEDS} | _adversarial(0.5, 1, **SEEDS, **OLD),
        f"{SEED_11}, adds {BY_HAND}, and has four seeds of the adversarially trained CNNs; drawn here are the"
        " measured means of five seeds.",
    ),
    "Adversarial_Accuracy_Inf": Figure(
        "cifar10",
        "pgd",
        LINF,
        "ℓ∞ PGD",
        EP_70 | _vit(4) | {"cnn": CNN | NEW | SEEDS} | _adversarial(0.5, 1, **SEEDS, **OLD),
        f"{SEED_11}; drawn here is the mean of its five seeds.",
    ),
    "Adversarial_Plotter_MichaelMeeting.py:CIFAR10_AA": Figure(
        "cifar10",
        "autoattack",
        Axes("linf", "log", LINF.x, (0, 0.95)),
        "ℓ∞ AutoAttack",
        {"ep-cnn": dict(model="ep-cnn", **AUTO), "cnn": CNN | NEW | AUTO}
        | _adversarial(*EVERY, **AUTO, **NEW)
        | {"vit": dict(model="vit", variant="patchgrid4_augment1", **AUTO)},
        f"{NOT_SHIPPED}; {FOUR_ATTACKS}; {SEED_19}.",
    ),
    "Adversarial_Accuracy_Timesteps": Figure(
        "cifar10",
        "pgd",
        Axes("l2", "log", L2.x, (0, 0.95)),
        f"ℓ2 PGD through {HORIZONS[0]} to {HORIZONS[-1]} free steps",
        {f"ep-cnn, attack steps {t}": _ep(t) for t in HORIZONS},
        f"{SEED_11} and adds to every curve {BY_HAND}; drawn here are the measured means of all seeds, of"
        " which 20 steps has one, with 200 images at its four smallest ε.",
    ),
    "Square_Attack_Accuracy": Figure(
        "cifar10",
        "square",
        Axes("l2", "linear", (0.4, 3.05), (0.05, 0.95)),
        "ℓ2 Square, 1,000 iterations",
        {"ep-cnn": dict(model="ep-cnn", series="Square", queries=1000)}
        | _vit(4)
        | {"cnn": CNN | NEW | dict(series="one-model", queries=1000)}
        | _adversarial(0.5, 1, **SQUARE, **NEW),
        "The attack is faulty in ℓ2, so no curve allows a conclusion, in the paper's PDF or here;"
        f" {SEED_19}.",
    ),
    "Square_Attack_Accuracy_100": Figure(
        "cifar10",
        "square",
        Axes("linf", "log", (7e-4, 0.05), (0.05, 0.95)),
        "ℓ∞ Square, 1,000 iterations",
        {"ep-cnn": dict(model="ep-cnn", **SQUARE)}
        | _vit(8)
        | {"cnn": CNN | NEW | SQUARE}
        | _adversarial(*EVERY, **SQUARE, **NEW),
        "As in the paper's PDF, the ViT is another than in the figures of PGD (a grid of 8×8 patches and not"
        f" of 4×4); unlike there, {SEED_19}.",
    ),
    "CIFAR100_Square_Attack_Accuracy_100": Figure(
        "cifar100",
        "square",
        Axes("linf", "log", (7e-4, 0.11), (0, 0.71)),
        "ℓ∞ Square, 1,000 iterations",
        {"ep-cnn": dict(model="ep-cnn", **SQUARE), "cnn": CNN | SQUARE} | _adversarial(*EVERY, **SQUARE),
        "The paper's PDF shows the one EP-CNN without a seed and four seeds of the adversarially trained"
        " CNNs; drawn here are the means of all five runs, but for the EP-CNN at ε = 25.5/255, where only the"
        " one without a seed was run.",
    ),
    "Adversarial_Accuracy_CNN_CIFAR100": PGD_100,
    "Adversarial_Accuracy_Norm_2_CNN_CIFAR100": PGD_100,
    "Adversarial_Accuracy_Norm_100_CNN_CIFAR100": Figure(
        "cifar100",
        "pgd",
        Axes("linf", "log", (9e-5, 1.1), (0, 0.71)),
        "ℓ∞ PGD",
        _adversarial(*EVERY, **SEEDS),
    ),
    "Adversarial_Plotter_MichaelMeeting.py:adversarial_example_CNN_CIFAR100": Figure(
        "cifar100",
        "pgd",
        PGD_100.axes,
        "ℓ2 PGD",
        EP_70 | PGD_100.curves,
        f"{NOT_SHIPPED}; {BY_HAND} is left out.",
    ),
    "Adversarial_Plotter_MichaelMeeting.py:CIFAR100_AA": Figure(
        "cifar100",
        "autoattack",
        Axes("linf", "log", LINF.x, (0, 0.75)),
        "ℓ∞ AutoAttack",
        {"ep-cnn": dict(model="ep-cnn", **AUTO)} | _adversarial(*EVERY, **AUTO),
        f"{NOT_SHIPPED}; {FOUR_ATTACKS}.",
    ),
}


def of(figure):
    """The `Figure` of a name in data/published/figures.csv. Raises InputError for one that does not show
    accuracy against ε.
    """
    return FIGURES[one_of("figure of the paper", figure, FIGURES)]


def name(model):
    """What a curve of a model is called beside it: its title, shortened."""
    steps = model.partition(", attack steps ")[2]
    if steps:
        return f"{steps} attack steps"
    return "ViT" if model == "vit" else pictures.name(model).replace(", adversarial training", " adv.")


def curves(figure):
    """{model: table indexed by ε (pixels in [0, 1], ascending) with mean, low and high (mean ∓ standard
    deviation over seeds, the mean itself where there is one seed), seeds and images}. Where an ε was measured
    on several numbers of images, the most. Raises InputError for an unknown figure.
    """
    chosen = of(figure)
    return {model: _table(chosen, columns) for model, columns in chosen.curves.items()}


def basis(figure):
    """What the curves of a figure are means of and how images count, beginning small. Raises InputError for
    an unknown figure.
    """
    alike = {}
    for model, table in curves(figure).items():
        alike.setdefault((_range(table.seeds, "seed"), _range(table.images, "image")), []).append(name(model))
    numbers = "; ".join(f"{', '.join(models)}: {', '.join(on)}" for on, models in alike.items())
    norm = (
        " The norm of adversarial training is inferred from its ε."
        if of(figure).dataset == "cifar100"
        else ""
    )
    return (
        f"mean ± one standard deviation over seeds ({numbers}); an image that the attack repairs counts as"
        f" right.{norm}"
    )


def _range(numbers, word):
    low, high = int(numbers.min()), int(numbers.max())
    return f"{low:,} to {high:,} {word}s" if low < high else f"{low:,} {word}{'s' * (low > 1)}"


def note(figure):
    """How the redrawn figure departs from the paper's, one sentence; "" where it does not. Raises InputError
    for an unknown figure.
    """
    return of(figure).departure


def _table(figure, columns):
    rows = published.table(figure.evaluation, figure.dataset, norm=figure.axes.norm, **columns)
    rows = rows.sort_values(["epsilon", "images"]).drop_duplicates("epsilon", keep="last")
    rows = rows.set_index("epsilon")
    sd = rows["sd"].fillna(0)
    bounds = {"mean": rows["mean"], "low": rows["mean"] - sd, "high": rows["mean"] + sd}
    return pd.DataFrame(bounds | {"seeds": rows["n"], "images": rows["images"]})

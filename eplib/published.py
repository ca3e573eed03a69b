"""The paper's numbers (arXiv 2401.11543), read from data/published and from nowhere else."""

import pandas as pd

from eplib import files
from eplib.checks import NORMS, one_of

FOLDER = files.ROOT / "data" / "published"
PGD_STEPS = 20  # of 2.5 ε / 20 each


def table(evaluation, dataset="cifar10", **columns):
    """The published rows of an evaluation ("pgd", "autoattack", "square", "corruption", "free-step") whose
    other columns have the values given, such as model="cnn", norm="linf". data/published/README.md says what
    the columns mean; accuracies are fractions.

    Raises InputError for an unknown evaluation, data set or column, and for a value that no such row has.
    """
    files.note(FOLDER / "results.csv")
    rows = pd.read_csv(FOLDER / "results.csv")
    for column, value in {"evaluation": evaluation, "dataset": dataset, **columns}.items():
        one_of("column", column, rows.dropna(axis=1, how="all").columns)
        one_of(column, value, rows[column].dropna().unique())
        rows = rows[rows[column] == value]
    return rows.reset_index(drop=True)


def pgd(norm):
    """The rows of PGD on CIFAR-10 that this book compares with: EP-CNN (gradient through 70 free steps,
    prediction after 250) and CNN (ReLU, generation B), five seeds and 10,000 test images each.
    """
    rows = table("pgd", norm=one_of("norm", norm, NORMS), series="seeds", images=10_000)
    ep = (rows.model == "ep-cnn") & (rows.attack_steps == 70) & (rows.predict_steps == 250)
    cnn = (rows.model == "cnn") & (rows.variant == "relu") & (rows.generation == "B")
    return rows[ep | cnn].reset_index(drop=True)


def pgd_curves(norm):
    """{model: table indexed by epsilon with mean, low and high (mean ∓ standard deviation over seeds) and
    seeds}.
    """
    return {model: _curve(rows, "epsilon") for model, rows in pgd(norm).groupby("model")}


def largest_gap(norm):
    """(ε, accuracy of the EP-CNN, accuracy of the CNN), means over seeds, where the published EP-CNN leads
    most.

    Fixed before any number of ours existed: the first verdict compares networks at this ε.
    """
    curves = pgd_curves(norm)
    gap = (curves["ep-cnn"]["mean"] - curves["cnn"]["mean"]).dropna()
    epsilon = gap.idxmax()
    return epsilon, curves["ep-cnn"]["mean"][epsilon], curves["cnn"]["mean"][epsilon]


def free_step_curve():
    """Clean accuracy of the five CIFAR-10 EP-CNNs after each of 250 free steps: a table indexed by the step
    with mean, low and high (mean ∓ standard deviation over seeds) and seeds.
    """
    return _curve(table("free-step", model="ep-cnn").astype({"free_step": int}), "free_step")


def corruption_phases():
    """((steps, order), (steps, order)) of the free phase behind the published accuracies under natural
    corruptions, and behind all others.
    """
    how = settings("cifar10", "ep-cnn")
    return tuple((how[key], how["order"]) for key in ("corruption_predict_steps", "pgd_predict_steps"))


def figures():
    """The paper's figures and what this book does with each: figure, dataset, shows, chapter, label (empty
    while the book does not draw it).
    """
    return pd.read_csv(FOLDER / "figures.csv", keep_default_na=False)


def settings(dataset, model):
    """{setting: value} of how the paper trained and evaluated a model, values by `parse`. Raises InputError
    for an unknown data set or model.
    """
    rows = _settings_rows(dataset, model)
    return {setting: parse(value) for setting, value in zip(rows.setting, rows.value, strict=True)}


def settings_sources(dataset, model):
    """{setting: where in the authors' repository its value stands}, as `settings`."""
    rows = _settings_rows(dataset, model)
    return dict(zip(rows.setting, rows.source, strict=True))


def _settings_rows(dataset, model):
    files.note(FOLDER / "settings.csv")
    rows = pd.read_csv(FOLDER / "settings.csv", dtype=str, keep_default_na=False)
    for column, value in (("dataset", dataset), ("model", model)):
        rows = rows[rows[column] == one_of(column, value, rows[column].unique())]
    return rows


def parse(text):
    """A setting's value: a number as int ("250") or float ("1e-5"), numbers with spaces between them as a
    tuple, anything else as it is written.
    """
    try:
        numbers = tuple(_number(word) for word in text.split())
    except ValueError:
        return text
    return numbers[0] if len(numbers) == 1 else numbers


def _number(word):
    try:
        return int(word)
    except ValueError:
        return float(word)


def _curve(rows, by):
    rows = rows.set_index(by).sort_index()
    low, high = rows["mean"] - rows["sd"], rows["mean"] + rows["sd"]
    return pd.DataFrame({"mean": rows["mean"], "low": low, "high": high, "seeds": rows["n"]})

import re

import pytest

from eplib import published, published_curves
from eplib.checks import NORMS, InputError

FIGURES = tuple(published_curves.FIGURES)
AA, AA_100 = (f"Adversarial_Plotter_MichaelMeeting.py:CIFAR{n}_AA" for n in (10, 100))
EP_100 = "Adversarial_Plotter_MichaelMeeting.py:adversarial_example_CNN_CIFAR100"
TRAINED = {f"cnn-at-l2-{e}" for e in ("0.05", "0.5", "0.75", "1")}

# (figure, model, ε, mean and standard deviation in percent, seeds, images): the paper's headline numbers
SPOTS = [
    ("Adversarial_Accuracy_CNN_M", "ep-cnn", 0.486219, 44.0, 0.6, 5, 10_000),
    ("Adversarial_Accuracy_CNN_M", "vit", 1.0, 15.8, 0, 1, 10_000),
    ("Adversarial_Accuracy_CNN_Adv_M", "cnn", 0.195743, 55.2, 0.3, 5, 10_000),
    ("Adversarial_Accuracy_CNN_Adv_M", "cnn-at-l2-0.5", 0.347738, 75.5, 0.3, 5, 10_000),
    ("Adversarial_Accuracy_CNN_Adv_M", "cnn-at-l2-1", 3.0, 10.7, 0.1, 5, 10_000),
    ("Adversarial_Accuracy_Inf", "ep-cnn", 0.01, 57.4, 0.5, 5, 10_000),
    ("Adversarial_Accuracy_Inf", "cnn", 0.01, 21.8, 0.5, 5, 10_000),
    ("Adversarial_Accuracy_Inf", "cnn-at-l2-0.5", 0.01, 73.4, 0.2, 4, 10_000),
    ("Adversarial_Accuracy_Inf", "vit", 0.031, 14.1, 0, 1, 10_000),
    (AA, "ep-cnn", 0.01, 53.6, 1.7, 5, 200),
    (AA, "cnn", 0.01, 19.8, 1.2, 5, 200),
    (AA, "vit", 0.01, 24.8, 0.5, 5, 1000),
    (AA, "cnn-at-l2-1", 0.031373, 35.5, 1.5, 5, 200),
    ("Adversarial_Accuracy_Timesteps", "ep-cnn, attack steps 10", 0.766309, 38.8, 1.1, 5, 10_000),
    ("Adversarial_Accuracy_Timesteps", "ep-cnn, attack steps 15", 0.05, 87.7, 0.6, 4, 10_000),
    ("Adversarial_Accuracy_Timesteps", "ep-cnn, attack steps 20", 0.308503, 67.7, 0, 1, 10_000),
    ("Adversarial_Accuracy_Timesteps", "ep-cnn, attack steps 70", 0.308503, 62.8, 0.6, 5, 10_000),
    ("Square_Attack_Accuracy", "ep-cnn", 1.0, 45.0, 4.3, 5, 200),
    ("Square_Attack_Accuracy", "cnn", 1.0, 37.5, 0, 1, 200),
    ("Square_Attack_Accuracy", "vit", 1.903483, 36.8, 0, 1, 1000),
    ("Square_Attack_Accuracy_100", "ep-cnn", 0.021544, 64.3, 2.7, 5, 200),
    ("Square_Attack_Accuracy_100", "cnn", 0.021544, 26.2, 1.4, 5, 200),
    ("Square_Attack_Accuracy_100", "vit", 0.01, 43.9, 0, 1, 1000),
    ("Square_Attack_Accuracy_100", "cnn-at-l2-0.75", 0.046416, 37.1, 1.7, 5, 200),
    ("CIFAR100_Square_Attack_Accuracy_100", "ep-cnn", 0.01, 54.9, 2.0, 5, 200),
    ("CIFAR100_Square_Attack_Accuracy_100", "ep-cnn", 0.1, 4.0, 0, 1, 200),
    ("CIFAR100_Square_Attack_Accuracy_100", "cnn", 0.01, 40.0, 2.5, 5, 200),
    ("Adversarial_Accuracy_CNN_CIFAR100", "cnn-at-l2-0.05", 0.486219, 16.9, 0.3, 5, 10_000),
    ("Adversarial_Accuracy_Norm_100_CNN_CIFAR100", "cnn-at-l2-0.5", 0.01, 47.7, 0.4, 5, 10_000),
    (EP_100, "ep-cnn", 1.0, 11.1, 0.2, 5, 10_000),
    (EP_100, "cnn-at-l2-1", 1.0, 31.2, 0.3, 5, 10_000),
    (AA_100, "ep-cnn", 0.01, 27.0, 0.9, 5, 200),
    (AA_100, "cnn-at-l2-0.5", 0.01, 50.8, 2.8, 5, 200),
]


@pytest.mark.parametrize("figure, model, epsilon, mean, sd, seeds, images", SPOTS)
def test_curves_go_through_the_published_numbers(figure, model, epsilon, mean, sd, seeds, images):
    point = published_curves.curves(figure)[model].loc[epsilon]
    assert abs(100 * point["mean"] - mean) < 0.0501
    assert abs(100 * (point["high"] - point["mean"]) - sd) < 0.0501
    assert abs(100 * (point["mean"] - point["low"]) - sd) < 0.0501
    assert (point["seeds"], point["images"]) == (seeds, images)


@pytest.mark.parametrize("figure", FIGURES)
def test_every_curve_is_whole_and_shows_in_its_figure(figure):
    axes = published_curves.of(figure).axes
    for model, table in published_curves.curves(figure).items():
        assert len(table) >= 6, model
        assert table.index.is_monotonic_increasing and table.index.is_unique
        assert not table.isna().any(axis=None)
        assert (table.low <= table["mean"]).all() and (table["mean"] <= table.high).all()
        assert table["mean"].between(0, 1).all()
        shown = table[(axes.x[0] <= table.index) & (table.index <= axes.x[1])]
        assert len(shown) >= 6 and shown["mean"].between(*axes.y).all()


@pytest.mark.parametrize("figure", FIGURES)
def test_a_curve_rests_on_one_row_an_epsilon_and_number_of_images(figure):
    """What differs otherwise (a generation, a series) is never mixed by accident."""
    chosen = published_curves.of(figure)
    for columns in chosen.curves.values():
        rows = published.table(chosen.evaluation, chosen.dataset, norm=chosen.axes.norm, **columns)
        assert not rows.duplicated(["epsilon", "images"]).any()


def test_the_largest_number_of_images_is_taken_and_only_it_where_there_are_two():
    table = published_curves.curves("Adversarial_Accuracy_Timesteps")["ep-cnn, attack steps 15"]
    assert (table.images == 10_000).all()
    lone = published_curves.curves("Adversarial_Accuracy_Timesteps")["ep-cnn, attack steps 20"]
    assert lone.images.tolist() == [200] * 4 + [10_000] * 7


def test_every_figure_of_accuracy_against_epsilon_is_there():
    rows = published.figures()
    rows = rows[rows.shows.str.contains("Accuracy") & rows.shows.str.contains("ε|The same curves|PGD")]
    rows = rows[~rows.shows.str.contains("severity")]
    assert set(rows.figure) == set(FIGURES)
    for row in rows.itertuples():
        chosen = published_curves.of(row.figure)
        assert chosen.dataset == row.dataset and NORMS[chosen.axes.norm] in chosen.title
        if "against" in row.shows:
            assert NORMS[chosen.axes.norm] in row.shows


def test_figures_have_the_models_of_the_paper():
    models = {figure: set(published_curves.curves(figure)) for figure in FIGURES}
    assert models["Adversarial_Accuracy_CNN_M"] == {"ep-cnn", "cnn", "vit"}
    assert models["Adversarial_Accuracy_Inf"] == {"ep-cnn", "cnn", "vit", "cnn-at-l2-0.5", "cnn-at-l2-1"}
    assert models[AA] == models["Square_Attack_Accuracy_100"] == {"ep-cnn", "cnn", "vit"} | TRAINED
    assert models["CIFAR100_Square_Attack_Accuracy_100"] == {"ep-cnn", "cnn"} | TRAINED
    assert models["Adversarial_Accuracy_CNN_CIFAR100"] == TRAINED
    assert models[AA_100] == models[EP_100] == {"ep-cnn"} | TRAINED


@pytest.mark.parametrize("figure", FIGURES)
def test_notes_are_one_sentence_or_none(figure):
    note = published_curves.note(figure)
    assert note == "" or re.fullmatch(r"[A-Z].*[^.]\.", note)
    assert ". " not in note


def test_what_curves_rest_on_is_told():
    told = published_curves.basis("Adversarial_Accuracy_Timesteps")
    assert (
        "10 attack steps, 25 attack steps, 29 attack steps, 70 attack steps: 5 seeds, 10,000 images" in told
    )
    assert "20 attack steps: 1 seed, 200 to 10,000 images" in told and "4 to 5 seeds" in told
    assert "inferred" not in told and "inferred" in published_curves.basis(AA_100)


@pytest.mark.parametrize("ask", [published_curves.of, published_curves.curves, published_curves.note])
def test_an_unknown_figure_is_refused(ask):
    with pytest.raises(InputError, match="unknown figure of the paper 'Corruption_Accuracy'"):
        ask("Corruption_Accuracy")

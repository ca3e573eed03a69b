from dataclasses import fields

import pytest

from eplib import models, recipes, scales
from eplib.recipes import Recipe


def differing(a, b):
    return {f.name for f in fields(a) if getattr(a, f.name) != getattr(b, f.name)}


@pytest.fixture(params=["smoke", "quick", "cpu", "paper"])
def rows(request):
    return scales.scale(request.param).rows


def prefix(rows):
    return next(name.removesuffix("-half-k") for name in rows if name.endswith("-half-k"))


def test_a_variant_of_the_ep_cnn_changes_one_thing_and_is_still_ep(rows):
    first = prefix(rows)
    changed = {
        "-live": "arg_max",
        "-beta-0.1": "beta",
        "-beta-1": "beta",
        "-half-k": "phases",
        "-double-k": "phases",
        "-squared-error": "loss",
        "-wd-0": "weight_decay",
        "-wd-1e-3": "weight_decay",
    }
    for ending, name in changed.items():
        row = rows[first + ending]
        assert differing(row.recipe, rows[first].recipe) <= {name} and recipes.is_ep(row.recipe)
        assert row.options == {} and row.kind == "EPCNN"
    assert rows[f"{first}-average"].recipe == rows[first].recipe
    assert rows[f"{first}-average"].options == {"pooling": "average"}


def test_nudged_phases_are_halved_and_doubled(rows):
    first = prefix(rows)
    for (_, free, k), (_, same, half), (_, _, double) in zip(
        *(rows[first + e].recipe.phases for e in ("", "-half-k", "-double-k")), strict=True
    ):
        assert same == free and half == max(1, k // 2) and double == 2 * k


def test_only_networks_trained_by_two_nudged_phases_are_called_ep(rows):
    for name, row in rows.items():
        assert name.startswith("ep-cnn") == recipes.is_ep(row.recipe)
        assert (row.kind == "EPCNN") == name.startswith(("ep-cnn", "twin-"))


def test_cnns_differ_in_norm_unit_and_weight_decay_alone(rows):
    for name, options in {
        "cnn": {},
        "cnn-sigmoid": {"unit": "hard-sigmoid"},
        "cnn-plain": {"norm": False},
    }.items():
        for ending, decay in {"": 0.0, "-wd-1e-4": 1e-4, "-wd-3e-4": 3e-4, "-wd-1e-3": 1e-3}.items():
            row = rows[name + ending]
            assert row.options == options and row.recipe.weight_decay == decay
            assert differing(row.recipe, rows["cnn"].recipe) <= {"weight_decay", "learning_rates"}
    like_ep = rows["cnn-like-ep"]
    assert like_ep.options == {"norm": False, "unit": "ep"}
    assert like_ep.recipe.weight_decay == rows["ep-cnn"].recipe.weight_decay > 0


def test_every_budget_of_adversarial_training_is_there_and_the_judges_are_trained_alike(rows):
    budgets = {
        name.removeprefix("cnn-at-"): row.recipe.adversary for name, row in rows.items() if "cnn-at-" in name
    }
    assert {e for norm, e, _ in budgets.values() if norm == "l2"} == {0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0}
    linf = sorted({e for norm, e, _ in budgets.values() if norm == "linf"})
    assert linf == pytest.approx([1 / 255, 2 / 255, 4 / 255, 8 / 255])
    for judge, like in models.JUDGES.items():
        assert rows[judge] == rows[like]


def test_a_recipe_is_named_by_what_it_changes():
    recipe = Recipe("ep", 100, 10, (0.1,), beta=0.2)
    named = recipes.changes(recipe)
    assert named == {"kind": "ep", "images_seen": 100, "batch": 10, "learning_rates": (0.1,), "beta": 0.2}

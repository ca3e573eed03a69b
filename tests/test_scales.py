import math
from dataclasses import replace

import pytest
import torch

from eplib import data, published, recipes, scales, training
from eplib.checks import InputError
from eplib.recipes import Recipe, learning_rate
from eplib.scales import SCALES

ROWS = [(name, model) for name, size in SCALES.items() for model in size.rows]
DIFFERENT = list(
    {(n, str(scales.row(n, m).settings()), scales.row(n, m).kind): (n, m) for n, m in ROWS}.values()
)
PUBLISHED_PARAMETERS = {"ep-cnn": 3_843_850, "cnn": 3_845_258}


def test_paper_rows_differ_between_the_data_sets_as_published():
    ten, hundred = (scales.row("paper", "ep-cnn", d) for d in ("cifar10", "cifar100"))
    assert ten.channels == (128, 256, 512, 512) and hundred.channels == (128, 256, 512, 1024)
    assert (ten.recipe.beta, hundred.recipe.beta) == (0.5, 1.0)
    assert ten.recipe.crop == "edge" and hundred.recipe.crop == "reflect"
    assert ten.recipe.normalisation[1] == pytest.approx((0.6069, 0.5982, 0.603))
    assert hundred.recipe.normalisation is None and hundred.recipe.spread == 1.0
    assert scales.row("paper", "cnn", "cifar100").recipe.spread == 3.0
    for row in (ten, hundred):
        assert row.recipe.phases == ((1.0, 250, 30),) and (row.steps, row.order) == (250, "synchronous")
        assert row.recipe.learning_rates == (0.25, 0.15, 0.1, 0.08, 0.05) and row.recipe.arg_max == "live"
    net = training.initial(hundred, torch.zeros(2, 3, 32, 32, dtype=torch.uint8), 100, 0)
    assert sum(p.numel() for p in net.parameters()) == 6_301_028


def initial(name, model, seed=0):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (20, 3, 32, 32), generator=generator, dtype=torch.uint8)
    return training.initial(scales.row(name, model), images, 10, seed)


@pytest.mark.parametrize("name, model", DIFFERENT)
def test_every_row_builds_a_network_that_predicts(name, model):
    net = initial(name, model).eval()
    row = scales.row(name, model)
    assert type(net).__name__ == row.kind
    for name, value in row.settings().items():
        assert getattr(net, name, net.settings[name]) == value
    if row.kind == "EPCNN":
        assert (net.steps, net.order) == (row.steps, row.order)
        net.steps = 2  # enough to see the sizes fit
    with torch.no_grad():
        logits = net(torch.rand(2, 3, 32, 32))
    assert logits.shape == (2, 10) and logits.isfinite().all()


@pytest.mark.parametrize("model", PUBLISHED_PARAMETERS)
def test_paper_scale_has_the_published_number_of_parameters(model):
    assert sum(p.numel() for p in initial("paper", model).parameters()) == PUBLISHED_PARAMETERS[model]


def test_initial_weights_depend_on_the_seed_only():
    first, again, other = (initial("smoke", "ep-cnn", seed).convs[1].weight for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize("name", SCALES)
def test_recipes_can_be_run(name):
    size = scales.scale(name)
    training_images = 12_000 if size.dataset == "sample" else 50_000
    for model, row in size.rows.items():
        recipe, energy_based = row.recipe, model.startswith(("ep-cnn", "twin-"))
        fitted = model in ("twin-untrained", "twin-cut")
        assert recipe.kind == ("readout" if fitted else "ep" if energy_based else "backprop")
        assert recipe.source is None or recipe.source in size.rows
        assert recipes.is_ep(recipe) == model.startswith("ep-cnn")  # two nudged phases, or another name
        assert recipe.images_seen >= recipe.batch and 0 < recipe.validation < training_images
        assert len(recipe.learning_rates) in (1, len(row.channels) + 1) and min(recipe.learning_rates) > 0
        assert len(recipe.gains or row.channels) == len(row.channels) == len(row.paddings)


@pytest.mark.parametrize("name", [n for n, m in ROWS if m == "ep-cnn"])
def test_phases_grow_and_end_with_the_run(name):
    row = scales.row(name, "ep-cnn")
    until, free, nudged = zip(*row.recipe.phases, strict=True)
    assert until[-1] == 1.0 and list(until) == sorted(set(until)) and until[0] > 0
    assert list(free) == sorted(free) and list(nudged) == sorted(nudged) and min(nudged) >= 1
    assert free[-1] == row.steps  # training ends at the free phase that defines the network


def test_phase_at_changes_at_the_given_shares_of_the_run():
    recipe = Recipe("ep", 1, 1, (1.0,), phases=((0.5, 6, 4), (1.0, 20, 8)))
    assert [recipes.phase_at(recipe, p) for p in (0, 0.499, 0.5, 0.999)] == [(6, 4), (6, 4), (20, 8), (20, 8)]
    with pytest.raises(InputError, match="1.0"):
        recipes.phase_at(replace(recipe, phases=((0.5, 6, 4),)), 0.7)


@pytest.mark.parametrize("name", SCALES)
def test_measurements_fit_their_data(name):
    size = scales.scale(name)
    test_images = 2000 if size.dataset == "sample" else 10_000
    assert size.dataset in data.CLASSES and len(set(size.seeds)) == len(size.seeds) >= 1
    assert 0 < size.attack.images <= test_images and 0 < size.attack.settled_images <= test_images
    assert all(
        order in ("synchronous", "forward", "backward", "even-odd") and steps > 0
        for steps, order in size.attack.settled
    )
    for norm in published.NORMS:
        epsilons = size.attack.epsilons[norm]
        assert list(epsilons) == sorted(set(epsilons)) and epsilons[0] > 0
        # the first verdict is about this ε, so every scale must measure it
        assert min(abs(math.log(e / published.largest_gap(norm)[0])) for e in epsilons) < 0.01


def test_cosine_schedule_warms_up_and_falls_to_nothing():
    recipe = Recipe("ep", 1, 1, (1.0,), warmup=10)
    factors = [learning_rate(recipe, 1.0, i, 1000) for i in range(1000)]
    assert factors[:10] == pytest.approx([(i + 1) / 10 for i in range(10)], rel=1e-3)
    assert factors[9:] == sorted(factors[9:], reverse=True)
    assert factors[500] == pytest.approx(0.5) and 0 < factors[-1] < 1e-5
    assert learning_rate(replace(recipe, warmup=0), 1.0, 0, 1000) == 1.0


def test_published_cosine_moves_by_epoch_and_rests_at_its_floor():
    recipe = Recipe("ep", 1, 1, (0.25,), epochs=120, decay_until=100 / 120, floor=1e-5)
    rates = [learning_rate(recipe, 0.25, i, 1200) for i in range(1200)]
    for epoch in range(120):
        expected = 1e-5 + (0.25 - 1e-5) * 0.5 * (1 + math.cos(math.pi * min(epoch, 100) / 100))
        assert rates[10 * epoch : 10 * epoch + 10] == pytest.approx([expected] * 10)
    assert rates[1000:] == pytest.approx([1e-5] * 200)


def test_step_schedule_falls_to_three_tenths_at_every_8_45ths():
    recipe = Recipe("backprop", 1, 1, (1.0,), schedule="step")
    for epoch in range(45):
        for iterations in (45, 45 * 225):
            first = epoch * iterations // 45
            assert learning_rate(recipe, 1.0, first, iterations) == pytest.approx(0.3 ** (epoch // 8))
    last = [learning_rate(recipe, 1.0, i, 4500) for i in (799, 1599, 2399, 3199, 3999)]
    assert last == pytest.approx([1, 0.3, 0.09, 0.027, 0.0081])


@pytest.mark.parametrize("name", ["huge", "", None, ["quick"]])
def test_unknown_scales_are_refused(name):
    with pytest.raises(InputError, match="smoke, quick, cpu, paper"):
        scales.scale(name)


@pytest.mark.parametrize("model", ["resnet", "EPCNN", "", None])
def test_unknown_models_are_refused(model):
    with pytest.raises(InputError, match="ep-cnn, .*, cnn"):
        scales.row("quick", model)

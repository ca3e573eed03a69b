import tempfile
from dataclasses import replace

import pytest
import torch
from conftest import random_batch, random_net

from eplib import baselines, checkpoints, data, dynamics, objectives, recipes, scales, snapshots, training
from eplib.checks import InputError
from eplib.snapshots import Snapshot

ROW = scales.row("smoke", "ep-cnn")


@pytest.fixture(scope="module")
def images():
    sample = data.load("sample", "train")
    return sample.images[:700], sample.labels[:700]


def trained(row, images, seed=0):
    x, y = images
    net = training.initial(row, x, 10, seed)
    history = []
    with tempfile.TemporaryDirectory() as folder:
        snapshot = Snapshot(f"{folder}/run.safetensors", {})
        training.run(
            net, row.recipe, x[:600], y[:600], (x[600:], y[600:]), seed, history, snapshot, progress=False
        )
    return net, history


@pytest.mark.parametrize("model", ["ep-cnn", "cnn"])
def test_same_seed_same_weights_other_seed_other_weights(images, model):
    row = scales.row("smoke", model)
    first, again, other = (trained(row, images, seed)[0] for seed in (3, 3, 4))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first.convs[0].weight, other.convs[0].weight)


@pytest.mark.parametrize("model", ["ep-cnn", "cnn"])
def test_training_on_real_images_beats_the_untrained_network(images, model):
    row = scales.row("smoke", model)
    row = replace(row, recipe=replace(row.recipe, images_seen=2400 if model == "cnn" else 4000))
    net, history = trained(row, images)
    start = training.validation_accuracy(
        training.initial(row, images[0], 10, 0), images[0][600:], images[1][600:]
    )
    assert history[-1]["validation_accuracy"] > start + 0.2
    assert [e["epoch"] for e in history] == list(range(1, len(history) + 1))
    assert history[-1]["images_seen"] == row.recipe.images_seen


def test_a_cnn_that_does_not_learn_is_told_so(images):
    row = scales.row("smoke", "cnn")
    still = replace(row, recipe=replace(row.recipe, learning_rates=(1e-9,)))
    accuracy = trained(still, images)[1][-1]["validation_accuracy"]
    assert accuracy < 0.2
    learning = replace(row, recipe=replace(row.recipe, images_seen=2400))
    for chosen, said in ((still, 1), (learning, 0)):
        assert len(trained(chosen, images)[1][-1]["warnings"]) == said


def test_monitors_are_kept_for_every_epoch(images):
    _, history = trained(ROW, images)
    for record in history:
        assert len(record["dead"]) == len(record["saturated"]) == 4 and 0 <= record["residual"] <= 1
        assert set(record["update"]) == {*(f"convs.{l}.weight" for l in range(4)), "readout.weight"}
        assert all(size > 0 for name, size in record["update"].items() if name == "readout.weight")
    assert "dead" not in trained(scales.row("smoke", "cnn"), images)[1][-1]


def test_phases_grow_as_the_recipe_says(images):
    _, history = trained(ROW, images)
    assert history[-1]["phase"] == ROW.recipe.phases[-1][1:]


def test_normalisation_comes_from_the_training_images(images):
    net = training.initial(ROW, images[0], 10, 0)
    x = net.normalise(data.as_float(images[0])).double()
    assert x.mean().abs() < 1e-3 and abs(x.std() - 1) < 1e-3


def test_gains_scale_the_initial_weights(images):
    plain = replace(ROW, recipe=replace(ROW.recipe, gains=None))
    a, b = (training.initial(row, images[0], 10, 0) for row in (plain, ROW))
    for x, y, gain in zip(a.convs, b.convs, ROW.recipe.gains, strict=True):
        torch.testing.assert_close(x.weight * gain, y.weight)


def test_layers_have_their_own_learning_rates(images):
    groups = training._groups(training.initial(ROW, images[0], 10, 0), ROW.recipe)
    assert [g["base"] for g in groups] == list(ROW.recipe.learning_rates)
    assert sum(p.numel() for g in groups for p in g["params"]) == sum(
        p.numel() for p in training.initial(ROW, images[0], 10, 0).parameters()
    )


def test_an_exploding_gradient_stops_training_with_its_reason(images):
    row = replace(ROW, recipe=replace(ROW.recipe, learning_rates=(1e30,), warmup=0))
    with pytest.raises(InputError, match="gradient"):
        trained(row, images)


def test_validation_images_are_never_trained_on(images, monkeypatch):
    seen = []
    real = data.augment
    monkeypatch.setattr(data, "augment", lambda x, *a, **k: (seen.append(x), real(x, *a, **k))[1])
    trained(ROW, images)
    seen = {x.numpy().tobytes() for batch in seen for x in batch}
    held_out = {x.numpy().tobytes() for x in images[0][600:]}
    assert seen and not seen & held_out


@pytest.mark.parametrize("model", ["vit-8", "mixer"])
def test_a_run_that_stops_is_the_whole_run_at_that_iteration(images, model, monkeypatch):
    row = scales.row("smoke", model)
    assert replace(row, recipe=replace(row.recipe, stop=0.5)) == scales.row("smoke", f"{model}-halfway")
    whole, end = recipes.iterations(row.recipe)
    assert (whole, end) == (8, 8) and recipes.iterations(scales.row("smoke", f"{model}-halfway").recipe) == (
        8,
        4,
    )
    states, real = [], training._step
    monkeypatch.setattr(
        training,
        "_step",
        lambda net, *a: (states.append({n: t.clone() for n, t in net.state_dict().items()}), real(net, *a)),
    )
    trained(row, images)
    at_half = states[4]  # before the fifth iteration
    net, history = trained(scales.row("smoke", f"{model}-halfway"), images)
    assert all(torch.equal(t, at_half[n]) for n, t in net.state_dict().items())
    assert not all(torch.equal(t, states[7][n]) for n, t in net.state_dict().items())
    assert history[-1]["images_seen"] == 200


def test_a_strongly_augmented_run_goes_on_with_the_images_of_an_undisturbed_one(
    images, tmp_path, monkeypatch
):
    row, (x, y) = scales.row("smoke", "vit-4-augmented"), images
    monkeypatch.setattr(snapshots, "SECONDS", 0.0)
    steps, real = [], training._step

    def dying(*arguments):
        if len(steps) == 3:
            raise KeyboardInterrupt
        steps.append(real(*arguments))

    def run():
        net = training.initial(row, x, 10, 3)
        snapshot = Snapshot(tmp_path / "run.safetensors", {})
        training.run(net, row.recipe, x[:600], y[:600], (x[600:], y[600:]), 3, [], snapshot, progress=False)
        return net

    monkeypatch.setattr(training, "_step", dying)
    with pytest.raises(KeyboardInterrupt):
        run()
    monkeypatch.setattr(training, "_step", real)
    torch.manual_seed(1)  # the global generator plays no part
    found, expected = run(), trained(row, images, seed=3)[0]
    assert all(torch.equal(a, b) for a, b in zip(found.parameters(), expected.parameters(), strict=True))
    other = trained(scales.row("smoke", "vit-4"), images, seed=3)[0]
    assert not torch.equal(next(other.parameters()), next(expected.parameters()))


def test_smoothed_labels_are_what_back_propagation_fits(images):
    row = scales.row("smoke", "vit-8")
    net = training.initial(row, images[0], 10, 0).double()
    x, y = data.as_float(images[0][:20]).double(), images[1][:20]
    recipe = replace(row.recipe, label_smoothing=0.1)
    objectives.gradient_of(net, recipe)(x, y, None)
    found = [p.grad.clone() for p in net.parameters()]
    targets = 0.9 * torch.nn.functional.one_hot(y, 10) + 0.01
    loss = -(targets * net(x).log_softmax(1)).sum(1).mean()
    for gradient, expected in zip(found, torch.autograd.grad(loss, list(net.parameters())), strict=True):
        torch.testing.assert_close(gradient, expected)


def test_recipes_that_set_nothing_new_keep_their_names():
    assert not {"stop", "label_smoothing", "augmentation"} & set(recipes.changes(ROW.recipe))
    strong = recipes.changes(scales.row("smoke", "vit-4-augmented").recipe)
    assert strong["augmentation"] == "randaugment" and strong["label_smoothing"] == 0.1


def test_checkpoint_records_how_it_was_made(smoke):
    record = smoke["ep-cnn"].record
    assert record["network"]["steps"] == ROW.steps and record["network"]["order"] == ROW.order
    assert record["training"]["recipe"]["images_seen"] == ROW.recipe.images_seen
    assert record["training"]["data_sha256"] == data.load("sample", "train").sha256
    assert record["versions"]["torch"] == torch.__version__.split("+")[0] or record["versions"]["torch"]


def test_random_convolutions_stay_and_their_readout_is_fitted(tmp_path):
    path = training.train("twin-untrained", "sample", "smoke", 0, tmp_path, progress=False)
    net = checkpoints.load(path).net
    images = data.load("sample", "train")
    untrained = training.initial(ROW, images.images[: -ROW.recipe.validation], 10, 0)
    assert torch.equal(net.convs[1].weight, untrained.convs[1].weight.half().float())
    x, y = data.as_float(images.images[:200]), images.labels[:200]
    assert (net(x).argmax(1) == y).float().mean() > (untrained(x).argmax(1) == y).float().mean() + 0.1


def test_fitted_readout_is_the_optimum_of_its_loss():
    net = random_net(steps=30)
    x, y = random_batch(net, 60)
    scores = baselines.fit_readout(net, x, y, x, y)
    assert set(scores) == set(baselines.WEIGHT_DECAYS)
    states = dynamics.settle(net, x).states[-1].flatten(1)
    kept = torch.nn.functional.cross_entropy(net.readout(states), y)
    assert kept < torch.nn.functional.cross_entropy(torch.zeros(60, 10, dtype=torch.float64), y)
    assert (net(x).argmax(1) == y).float().mean().item() == pytest.approx(max(scores.values()))

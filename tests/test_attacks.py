import copy

import numpy as np
import pytest
import torch
from conftest import random_batch, random_net

from eplib import attacks, data, gradients
from eplib.attacks import AttackedModel, ThreatModel, pgd
from eplib.checks import InputError


@pytest.fixture(scope="module")
def batch():
    test = data.load("sample", "test")
    return data.as_float(test.images[:12]), test.labels[:12]


@pytest.mark.parametrize("model", ["ep-cnn", "cnn"])
@pytest.mark.parametrize("norm, epsilon", [("linf", 8 / 255), ("linf", 0.3), ("l2", 0.5), ("l2", 5.0)])
def test_pgd_stays_in_the_threat_model_and_raises_the_loss(smoke, batch, model, norm, epsilon):
    net, (x, y) = AttackedModel(smoke[model].net), batch
    adversarial = pgd(net, x, y, ThreatModel(norm, epsilon), steps=5)
    assert ThreatModel(norm, epsilon).distance(adversarial, x).max() <= epsilon * (1 + 1e-5)
    assert adversarial.min() >= 0 and adversarial.max() <= 1 and not adversarial.requires_grad

    def loss(z):
        return torch.nn.functional.cross_entropy(net(z).detach(), y)

    assert loss(adversarial) > loss(x) + 1e-3


def test_the_attack_is_given_the_gradient_of_the_network_it_attacks(smoke, batch):
    net, (x, y) = smoke["ep-cnn"].net, batch
    for gradient, steps, order in (
        ("unrolled", None, None),
        ("unrolled", 9, "synchronous"),
        ("adjoint", 400, "forward"),
    ):
        images = x.clone().requires_grad_()
        logits = AttackedModel(net, steps, order, gradient)(images)
        torch.nn.functional.cross_entropy(logits, y, reduction="sum").backward()
        expected = gradients.input_gradient(net, x, y, free_steps=steps, order=order)
        assert (
            torch.nn.functional.cosine_similarity(images.grad.flatten(1), expected.flatten(1)).min() > 0.999
        )


def test_unsettled_images_get_the_unrolled_gradient_instead_of_the_adjoint():
    net = random_net(gain=3.0)
    images, labels = random_batch(net)
    model = AttackedModel(net, 3, gradient="adjoint")
    images.requires_grad_()
    torch.nn.functional.cross_entropy(model(images), labels, reduction="sum").backward()
    assert model.fallbacks == 4
    torch.testing.assert_close(
        images.grad, gradients.input_gradient(net, images.detach(), labels, free_steps=3)
    )


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_attacked_model_answers_without_gradients(smoke, batch, mode):
    with mode():
        for checkpoint in smoke.values():
            torch.testing.assert_close(AttackedModel(checkpoint.net)(batch[0]), checkpoint.net(batch[0]))


def test_torchattacks_takes_the_model_unchanged_also_where_it_calls_it_without_gradients(smoke, batch):
    import torchattacks

    x, y = batch
    for checkpoint in smoke.values():
        model = AttackedModel(checkpoint.net)
        assert torchattacks.Square(model, eps=0.1, n_queries=20, seed=0)(x, y).shape == x.shape
        assert torchattacks.APGD(model, eps=0.1, steps=3, seed=0)(x, y).shape == x.shape


@pytest.mark.parametrize("norm, epsilons", [("linf", (0.01, 0.05, 0.3)), ("l2", (0.3, 2.0, 8.0))])
def test_outcomes_fall_with_epsilon_and_count_only_images_right_before(smoke, batch, norm, epsilons):
    # in float64 and away from ties of pooling, so that rounding cannot depend on the batch
    model, x = AttackedModel(copy.deepcopy(smoke["cnn"].net).double()), batch[0].double()
    x = 0.9 * x + 0.1 * torch.rand(x.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = attacks.predicted(model, x)  # as if the small network were right: every image starts as a survivor
    y[:3] = (y[:3] + 1) % 10  # but three
    clean, correct = attacks.robust_outcomes(model, x, y, norm, epsilons, 5, batch=5, progress=False)
    assert clean.tolist() == [False] * 3 + [True] * 9
    assert not (correct & ~clean).any()
    assert (np.diff(correct.astype(int), axis=0) <= 0).all()
    for i, epsilon in enumerate(epsilons):  # each survivor by itself: batches change nothing
        for j in np.flatnonzero(clean if i == 0 else correct[i - 1]):
            alone = pgd(model, x[j : j + 1], y[j : j + 1], ThreatModel(norm, epsilon), 5)
            assert (attacks.predicted(model, alone) == y[j]).item() == correct[i, j]


def test_what_breaks_the_search_in_16_bits_counts_only_when_it_breaks_the_network_itself(smoke, batch):
    net, (x, y) = smoke["ep-cnn"].net, batch
    model, epsilons = AttackedModel(net), (0.02, 0.1, 0.3)
    clean, alone = attacks.robust_outcomes(model, x, y, "linf", epsilons, 4, 12, progress=False)
    search = AttackedModel(net, dtype=torch.bfloat16)
    both = attacks.robust_outcomes(model, x, y, "linf", epsilons, 4, 12, progress=False, search=search)
    assert clean.any() and (both[0] == clean).all()
    assert not (both[1] & ~alone).any()  # attacked by itself too, so never more right than alone
    blind = AttackedModel(_always_wrong(net))  # every image breaks this one, without any change
    fooled = attacks.robust_outcomes(model, x, y, "linf", epsilons, 4, 12, progress=False, search=blind)
    assert (fooled[1] == alone).all()


def _always_wrong(net):
    wrong = copy.deepcopy(net)
    with torch.no_grad():
        wrong.readout.weight.zero_()
    return wrong


def test_batches_are_as_large_as_memory_allows(smoke):
    model = AttackedModel(smoke["ep-cnn"].net)
    longer = AttackedModel(smoke["ep-cnn"].net, steps=4 * model.steps, order="forward")
    assert 0 < 3 * model.bytes_an_image() < longer.bytes_an_image()
    assert AttackedModel(smoke["cnn"].net).bytes_an_image() == 0
    assert attacks.free_memory("cpu") > 2**20
    for batch, kept, free, allowed in (
        (100, 10, 10**6, 100),
        (100, 10, 2000, 100),
        (100, 10, 1999, 50),
        (7, 10, 90, 4),
        (8, 10, 3, 1),
        (64, 0, 0, 64),
    ):
        assert attacks.fitting(batch, kept, free) == allowed


def test_short_memory_changes_the_batches_and_not_the_outcomes(smoke, batch, monkeypatch):
    net = copy.deepcopy(smoke["ep-cnn"].net).double()
    model, x, y = AttackedModel(net), batch[0].double(), batch[1]
    arguments = model, x, y, "l2", (0.5, 3.0), 3, 12
    plenty = attacks.robust_outcomes(*arguments, progress=False)
    monkeypatch.setattr(attacks, "free_memory", lambda device: 10 * model.bytes_an_image())
    sizes = []
    monkeypatch.setattr(
        attacks, "predicted", lambda m, z, right=attacks.predicted: sizes.append(len(z)) or right(m, z)
    )
    short = attacks.robust_outcomes(*arguments, progress=False)
    assert max(sizes) == 3
    assert all((a == b).all() for a, b in zip(plenty, short, strict=True))


def test_an_attack_leaves_the_network_in_evaluation_mode(smoke, batch):
    x, y = batch
    model = AttackedModel(smoke["cnn"].net)
    before = model(x)
    pgd(model, x[:3], y[:3], ThreatModel("linf", 0.1), 2)
    assert not any(module.training for module in model.modules())
    assert torch.equal(model(x), before)


def test_no_perturbation_no_change(smoke, batch):
    x, y = batch
    assert torch.equal(pgd(AttackedModel(smoke["cnn"].net), x, y, ThreatModel("linf", 0.0)), x)


@pytest.mark.parametrize(
    "arguments", [("linf", -0.1), ("l3", 0.1), ("l2", float("nan")), ("l2", float("inf"))]
)
def test_bad_threat_models_are_refused(arguments):
    with pytest.raises(InputError):
        ThreatModel(*arguments)


@pytest.mark.parametrize(
    "change", [lambda x: x * 2, lambda x: x * float("nan"), lambda x: x[..., :20], lambda x: x.byte()]
)
def test_images_outside_the_allowed_are_refused(smoke, batch, change):
    x, y = batch
    for checkpoint in smoke.values():
        with pytest.raises(InputError):
            attacks.robust_outcomes(
                AttackedModel(checkpoint.net), change(x), y, "linf", (0.1,), 2, 5, progress=False
            )


def test_bad_settings_are_refused(smoke, batch):
    x, y = batch
    model = AttackedModel(smoke["cnn"].net)
    with pytest.raises(InputError, match="steps"):
        AttackedModel(smoke["cnn"].net, steps=5)
    with pytest.raises(InputError, match="gradient"):
        AttackedModel(smoke["ep-cnn"].net, gradient="guess")
    with pytest.raises(InputError, match="ascending"):
        attacks.robust_outcomes(model, x, y, "linf", (0.2, 0.1), 2, 5, progress=False)
    with pytest.raises(InputError, match="labels"):
        attacks.robust_outcomes(model, x, y + 5, "linf", (0.1,), 2, 5, progress=False)
    with pytest.raises(InputError, match="steps"):
        pgd(model, x, y, ThreatModel("linf", 0.1), steps=0)

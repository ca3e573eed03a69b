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


def test_bad_settings_are_refused(smoke, batch):
    x, y = batch
    model = AttackedModel(smoke["cnn"].net)
    with pytest.raises(InputError, match="steps"):
        AttackedModel(smoke["cnn"].net, steps=5)
    with pytest.raises(InputError, match="gradient"):
        AttackedModel(smoke["ep-cnn"].net, gradient="guess")
    with pytest.raises(InputError, match="steps"):
        pgd(model, x, y, ThreatModel("linf", 0.1), steps=0)

import pytest
import torch
import torchattacks
from torch import nn

from eplib import losses
from eplib.checks import InputError
from eplib.losses import LOSSES

EVERY = pytest.mark.parametrize("name", LOSSES)


@pytest.fixture
def case():
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(40, 6, generator=generator, dtype=torch.float64)
    return logits, torch.randint(0, 6, (40,), generator=generator)


def by_hand(name, z, y):
    """The loss of one image, from its definition."""
    others = [float(v) for j, v in enumerate(z) if j != y]
    if name == "margin":
        return max(others) - float(z[y])
    if name == "difference-of-logits ratio":
        ordered = sorted(z.tolist(), reverse=True)
        return (max(others) - float(z[y])) / (ordered[0] - ordered[2])
    if name == "normalised cross-entropy":
        z = z / ((z - z.mean()) ** 2).mean().sqrt()
    return float(z.exp().sum().log() - z[y])


@EVERY
def test_losses_are_their_definitions(case, name):
    logits, labels = case
    expected = [by_hand(name, z, y) for z, y in zip(logits, labels.tolist(), strict=True)]
    assert LOSSES[name](logits, labels).tolist() == pytest.approx(expected, rel=1e-9)


def test_the_ratio_is_that_of_auto_pgd(case):
    logits, labels = case
    attack = torchattacks.APGD(nn.Linear(2, 2))
    assert torch.allclose(losses.logit_ratio(logits, labels), attack.dlr_loss(logits, labels), atol=1e-10)


@pytest.mark.parametrize("name", ["normalised cross-entropy", "difference-of-logits ratio"])
def test_scale_and_shift_change_nothing(case, name):
    logits, labels = case
    assert torch.allclose(LOSSES[name](500 * logits + 7, labels), LOSSES[name](logits, labels), atol=1e-9)


def test_only_cross_entropy_loses_the_gradient_of_a_confident_network(case):
    logits, _ = case
    for name, loss in LOSSES.items():
        confident = (1e4 * logits).float().requires_grad_()
        loss(confident, confident.argmax(1)).sum().backward()
        vanished = (confident.grad == 0).all(1)
        assert vanished.all() if name == "cross-entropy" else not vanished.any()


@EVERY
def test_a_step_up_raises_the_loss_and_equal_logits_have_a_finite_gradient(case, name):
    logits, labels = case
    x = logits.clone().requires_grad_()
    (slope,) = torch.autograd.grad(LOSSES[name](x, labels).sum(), x)
    rise = LOSSES[name](logits + 1e-5 * slope, labels) - LOSSES[name](logits, labels)
    assert rise.tolist() == pytest.approx((1e-5 * slope.square().sum(1)).tolist(), rel=1e-2, abs=1e-11)
    flat = torch.zeros(2, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.grad(LOSSES[name](flat, labels[:2]).sum(), flat)[0].isfinite().all()


def test_a_loss_over_steps_is_its_mean(case):
    logits, labels = case
    steps = torch.stack([logits, logits.flip(0), 2 * logits], 1)
    mean = sum(losses.margin(z, labels) for z in steps.unbind(1)) / 3
    assert torch.allclose(losses.over_steps(losses.margin)(steps, labels), mean)


def test_the_ratio_of_two_classes_is_refused():
    with pytest.raises(InputError, match="2 classes"):
        losses.logit_ratio(torch.zeros(3, 2), torch.zeros(3, dtype=torch.int64))

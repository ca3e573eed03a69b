"""Attacks within a budget, by torchattacks: true labels, ε in pixel units of [0, 1], clipped images."""

import contextlib
import functools

import torch

from eplib import attacks
from eplib.checks import InputError, one_of

RESTARTS = 5  # of "pgd-random"
AUTOATTACK = (("apgd-ce", 100), ("apgd-t", 100), ("fab-t", 100), ("square", 5000))  # the official "standard"
ATTACKS = {}  # name: function(model, images, labels, threat, steps, seed) -> adversarial images [N, C, H, W]
_NORM = {"linf": "Linf", "l2": "L2"}


def is_autoattack(plan):
    """Whether a plan is the standard AutoAttack (Croce and Hein 2020): only then it may carry that name."""
    return tuple(map(tuple, plan)) == AUTOATTACK


@contextlib.contextmanager
def isolated(model, seed):
    """Run something random that differentiates `model` and leave no trace: the generators of torch are seeded
    and restored, and no gradient lands in the parameters (FAB and foolbox call `backward`).
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with torch.random.fork_rng(range(torch.cuda.device_count())), torch.enable_grad():
        torch.manual_seed(seed)
        for parameter in parameters:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in parameters:
                parameter.requires_grad_(True)


def _attack(name):
    """Enter an attack under `name` in ATTACKS, isolated, with checked steps, and idle at ε = 0."""

    def enter(run):
        @functools.wraps(run)
        def attack(model, images, labels, threat, steps, seed):
            if steps < 1:
                raise InputError(f"steps = {steps} of {name}: give 1 or more")
            images = images.detach().contiguous()
            if threat.epsilon == 0:
                return images.clone()
            with isolated(model, seed):
                return run(model, images, labels, threat, steps, seed).detach()

        ATTACKS[name] = attack
        return attack

    return enter


@_attack("pgd")
def _pgd(model, images, labels, threat, steps, seed):
    return attacks.pgd(model, images, labels, threat, steps)


@_attack("pgd-random")
def _pgd_random(model, images, labels, threat, steps, seed):
    """PGD of the same step size from RESTARTS random points, the worst for each image (Madry et al. 2018)."""
    import torchattacks

    kind = {"linf": torchattacks.PGD, "l2": torchattacks.PGDL2}[threat.norm]
    attack = kind(
        model, eps=threat.epsilon, alpha=2.5 * threat.epsilon / steps, steps=steps, random_start=True
    )
    return _worst(model, images, labels, (attack(images, labels) for _ in range(RESTARTS)))


@_attack("apgd-ce")
def _apgd_ce(model, images, labels, threat, steps, seed):
    """Auto-PGD on cross-entropy (Croce and Hein 2020)."""
    import torchattacks

    norm, epsilon = _NORM[threat.norm], threat.epsilon
    return torchattacks.APGD(model, norm=norm, eps=epsilon, steps=steps, seed=seed)(images, labels)


@_attack("apgd-t")
def _apgd_t(model, images, labels, threat, steps, seed):
    """Auto-PGD on the targeted difference-of-logits ratio, towards up to 9 classes (Croce and Hein 2020)."""
    import torchattacks

    classes = model.net.classes
    if classes < 4:
        raise InputError(f"{classes} classes: the loss of apgd-t needs 4 or more, leave it out of the plan")
    attack = torchattacks.APGDT(
        model, norm=_NORM[threat.norm], eps=threat.epsilon, steps=steps, seed=seed, n_classes=min(10, classes)
    )
    return attack(images, labels)


@_attack("fab-t")
def _fab_t(model, images, labels, threat, steps, seed):
    """Fast adaptive boundary attack towards up to 9 classes (Croce and Hein 2020)."""
    import torchattacks

    if images.dtype != torch.float32:
        raise InputError(f"images of type {images.dtype}: fab-t computes in float32 only, convert them")
    attack = torchattacks.FAB(
        model,
        norm=_NORM[threat.norm],
        eps=threat.epsilon,
        steps=steps,
        seed=seed,
        multi_targeted=True,
        n_classes=min(10, model.net.classes),
    )
    return attack(images, labels)


@_attack("square")
def _square(model, images, labels, threat, steps, seed):
    """Random search without gradients, at most `steps` queries (Andriushchenko et al. 2020)."""
    import torchattacks

    attack = torchattacks.Square(
        model, norm=_NORM[threat.norm], eps=threat.epsilon, n_queries=steps, seed=seed, resc_schedule=False
    )
    return attack(images, labels)


@_attack("noise")
def _noise(model, images, labels, threat, steps, seed):
    """The worst of `steps` random changes of length ε: random signs for ℓ∞, a Gaussian direction for ℓ2."""

    def draw():
        change = torch.randn_like(images)
        if threat.norm == "linf":
            return threat.epsilon * change.sign()
        return threat.epsilon * change / change.flatten(1).norm(dim=1)[:, None, None, None]

    return _worst(model, images, labels, ((images + draw()).clamp(0, 1) for _ in range(steps)))


def _worst(model, images, labels, candidates):
    """For each image the candidate (of an iterable of batches) that puts another class furthest ahead."""
    worst, lead = images.clone(), images.new_full((len(images),), -float("inf"))
    for candidate in candidates:
        logits = model(candidate).detach()
        true = logits.gather(1, labels[:, None])[:, 0]
        now = (logits.scatter(1, labels[:, None], -float("inf")).amax(1) - true).to(lead.dtype)
        worst[now > lead] = candidate[now > lead]
        lead = torch.maximum(lead, now)
    return worst


def checked(model, images, labels, threat, name, steps, seed):
    """Adversarial images [N, C, H, W] of one attack, refused unless they keep to the threat model.

    model: images -> logits with attribute `net`. name: of ATTACKS. steps: iterations, queries of "square",
    draws of "noise". Raises InputError for an unknown name, steps below 1, and when the result is not finite,
    not in [0, 1] or further than ε (1 + 1e-4) + 1e-6 from the images.
    """
    attack = ATTACKS[one_of("attack", name, ATTACKS)]
    return within(attack(model, images, labels, threat, steps, seed), images, threat, name)


def within(adversarial, images, threat, name):
    """`adversarial` if it keeps to the threat model; otherwise InputError as in `checked`."""
    check_pixels(adversarial, name)
    distance = threat.distance(adversarial, images).max().item()
    if distance > threat.epsilon * (1 + 1e-4) + 1e-6:
        raise InputError(
            f"{name} changed an image by {distance:g}, {distance - threat.epsilon:g} more than"
            f" ε = {threat.epsilon:g} ({threat.norm}): do not use its result"
        )
    return adversarial


def check_pixels(adversarial, name):
    """Raise InputError unless what an attack made of images is finite and in [0, 1]."""
    if not adversarial.isfinite().all():
        raise InputError(f"{name} gave pixels that are not finite: do not use its result")
    low, high = adversarial.min().item(), adversarial.max().item()
    if low < 0 or high > 1:
        raise InputError(f"{name} gave pixels from {low:g} to {high:g} outside [0, 1]: do not use its result")


@torch.no_grad()
def check_model(model, images):
    """Raise InputError unless `model` gives the same finite logits, not probabilities, whenever it is called:
    what gradient attacks take for granted (Croce and Hein 2020).
    """
    logits, again = model(images), model(images)
    if not (logits.isfinite().all() and again.isfinite().all()):
        raise InputError("logits that are not finite: attacks need finite ones, check the network's weights")
    if not torch.allclose(logits, again, rtol=1e-4, atol=1e-4 * logits.abs().max().item()):
        raise InputError("logits that differ between two calls: attacks need a deterministic network")
    if (logits >= 0).all() and ((logits.sum(1) - 1).abs() <= 1e-4).all():
        raise InputError("probabilities instead of logits: leave out the softmax, it flattens the gradient")

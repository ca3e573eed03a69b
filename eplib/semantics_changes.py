"""The changes of an image whose meaning is measured: attacks towards a class and away from one, controls of
the same length, and images that a network dreams up from grey.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from eplib import attacks, conventions, losses, minimal_norm
from eplib.attacks import ThreatModel
from eplib.checks import InputError

SEED = 0  # of targets, noise and real differences: the same for every network
CONTROLS = ("gaussian", "difference", "shuffled")
GOALS = ("targeted", "untargeted")
STRIDE = 0.5  # ℓ2 length of a step of `synthesised`
NOISE = 0.1  # standard deviation around grey of the starts of `synthesised` but the first


@dataclass(frozen=True)
class Setting:
    """One kind of change. condition: "budget", every change has the ℓ2 length `amount` in pixels of [0, 1],
    or "effect", it is `amount` times as long as the smallest change that reaches the goal on that network and
    image. goal: "targeted", a random other class, or "untargeted". change: "attack" or one of `CONTROLS`.
    """

    condition: str
    amount: float
    goal: str
    change: str


def settings(sizes):
    """Every `Setting`, in the order of a result's rows. Controls accompany the targeted attacks alone.

    sizes: epsilons (lengths) and factors (multiples of the smallest change).
    """
    return [
        Setting(condition, amount, goal, change)
        for condition, amounts in (("budget", sizes["epsilons"]), ("effect", sizes["factors"]))
        for amount in amounts
        for goal in GOALS
        for change in ("attack", *(CONTROLS if goal == "targeted" else ()))
    ]


def targets(labels, classes):
    """int64 [N]: a random other class for every image, the same whatever network is attacked and however many
    images follow.
    """
    shift = np.random.default_rng(SEED).integers(1, classes, len(labels))
    return (labels + torch.from_numpy(shift).to(labels)) % classes


def towards(logits, wanted):
    """What a targeted attack climbs, [N]: minus the cross-entropy with the wanted classes."""
    return -losses.cross_entropy(logits, wanted)


def attacked(model, images, labels, wanted, setting, steps, minimal):
    """Images [N, C, H, W] that an attack of a `Setting` makes. steps: of PGD. minimal: `Minimal` of its goal,
    whose images are stretched; those that were not found stay as they are.
    """
    if setting.condition == "budget":
        threat = ThreatModel("l2", setting.amount)
        if setting.goal == "untargeted":
            return attacks.pgd(model, images, labels, threat, steps)
        return conventions.pgd(model, images, wanted, threat, steps, conventions.CORRECTED, loss=towards)
    found = torch.from_numpy(np.isfinite(minimal.norm)).to(images.device)
    lengths = torch.from_numpy(minimal.norm).to(images).masked_fill(~found, 0)
    return moved(images, minimal.adversarial - images, setting.amount * lengths)


def smallest(model, images, labels, wanted, steps):
    """{goal: Minimal} by DDN: the smallest ℓ2 changes that take images to `wanted`, and to any class."""
    return {
        goal: minimal_norm.fast_minimum_norm(
            model, images, labels, "l2", steps, wanted if goal == "targeted" else None
        )
        for goal in GOALS
    }


def controls(images, change, noise, references, wanted):
    """{control: directions [N, C, H, W]} that accompany changes [N, C, H, W] of images.

    "gaussian": noise [N, C, H, W] as given. "difference": from the image to a real one of the wanted class,
    references [N, C, H, W]. "shuffled": the change of the next image that has another target; 0 where there
    is none.
    """
    n = len(images)
    distance = (torch.arange(n)[None] - torch.arange(n)[:, None]) % n  # how far on the other image is
    others = (wanted[None] != wanted[:, None]).to(distance.device)
    ranked = torch.where(others, distance, n)
    partner, alone = ranked.argmin(1), ~others.any(1)
    shuffled = change[partner].clone()
    shuffled[alone] = 0
    return {"gaussian": noise, "difference": references - images, "shuffled": shuffled}


def moved(images, directions, lengths, rounds=40):
    """clip(x + s d, 0, 1) with s ≥ 0 such that the change has the ℓ2 length wanted: [N, C, H, W].

    lengths: [N]. Clipping shortens a change, so s is found by bisection. Where no s is large enough the
    longest change is taken; where d is 0 the image stays.
    """
    unit = F.normalize(directions.flatten(1), dim=1).view_as(images)
    low, high = torch.zeros_like(lengths), torch.full_like(lengths, 1e3)

    def at(s):
        return (images + s[:, None, None, None] * unit).clamp(0, 1)

    for _ in range(rounds):
        middle = (low + high) / 2
        short = (at(middle) - images).flatten(1).norm(dim=1) < lengths
        low, high = torch.where(short, middle, low), torch.where(short, high, middle)
    return at(low)


def synthesised(model, starts, steps):
    """(images [classes · starts, C, H, W], wanted classes [classes · starts]): what a network makes of grey
    when the log-probability of one class is climbed without a budget, within [0, 1] (Santurkar et al. 2019).

    Class after class: the first start is grey, the others have noise around it, the same for every network.
    steps: each of ℓ2 length `STRIDE`. Raises InputError for no starts or steps.
    """
    if starts < 1 or steps < 1:
        raise InputError(f"{starts} starts and {steps} steps: give 1 or more of each")
    net = model.net
    shape = (starts, net.in_channels, net.image_size, net.image_size)
    generator = torch.Generator().manual_seed(SEED)
    grey = 0.5 + NOISE * torch.randn(shape, generator=generator)
    grey[0] = 0.5
    images = grey.repeat(net.classes, 1, 1, 1).clamp(0, 1).to(net.mean)
    wanted = torch.arange(net.classes, device=images.device).repeat_interleave(starts)
    for _ in range(steps):
        gradient = differentiated(model, images, towards, wanted)
        images = moved_by(images, gradient, STRIDE)
    return images, wanted


def moved_by(images, directions, length):
    """clip(x + length · d / ‖d‖, 0, 1); the image itself where d is 0."""
    unit = F.normalize(directions.flatten(1).double(), dim=1, eps=1e-300).to(images.dtype)
    return (images + length * unit.view_as(images)).clamp(0, 1)


def differentiated(model, images, score, wanted):
    """∂ score(logits, wanted) / ∂ images, [N, C, H, W]."""
    with torch.enable_grad():
        x = images.detach().requires_grad_()
        return torch.autograd.grad(score(model(x), wanted).sum(), x)[0]

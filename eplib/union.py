"""Several attacks on the same images: which stay right under all of them, and which attack broke each."""

import functools
from dataclasses import dataclass

import numpy as np
import torch

from eplib import suite
from eplib.attacks import ThreatModel, fitting, free_memory, predicted
from eplib.checks import InputError, check_labels, one_of
from eplib.parts import in_parts

SURVIVES, WRONG_BEFORE = -1, -2  # in Outcomes.found_by, next to indices into the plan


@dataclass(frozen=True)
class Outcomes:
    """Which of N images stay right at E budgets.

    clean: bool [N], right without an attack. found_by: int8 [E, N], the index in the plan of the attack that
    broke the image at this or a smaller ε, SURVIVES (-1) or WRONG_BEFORE (-2). seconds: that it took.
    """

    clean: np.ndarray
    found_by: np.ndarray
    seconds: float

    @property
    def correct(self):
        """bool [E, N]: right under every attack of the plan."""
        return self.found_by == SURVIVES


def union(
    model,
    images,
    labels,
    norm,
    epsilons,
    plan,
    batch,
    seed=0,
    carried=True,
    search=None,
    folder=None,
    progress=True,
):
    """`Outcomes` of several attacks: an image counts as right at ε where no attack broke it up to that ε.

    model: an `AttackedModel`, tried by `suite.check_model` first. epsilons: ascending. plan: (name,
    steps) of each attack, in order; each gets only the images that are still right. batch: at most so many
    images at a time, fewer where memory is short; with `seed` it fixes all random numbers, which depend on
    (seed, start of the batch, ε, attack). carried: without it every ε stands for itself, as the official
    AutoAttack reports it. search: the same network in fewer bits, which each attack sees first; what breaks
    it counts only where it breaks `model` too, and `model` itself is attacked on all that is left. folder:
    where finished batches are kept, so that the same call goes on (`parts.in_parts`). Raises InputError for
    bad input and for an attack that leaves its threat model.
    """
    threats = [ThreatModel(norm, e) for e in epsilons]
    if list(epsilons) != sorted(epsilons):
        raise InputError(f"epsilons {epsilons}: give them in ascending order")
    if not plan:
        raise InputError("a plan without attacks: give at least one (name, steps)")
    for name, _ in plan:
        one_of("attack", name, suite.ATTACKS)
    model.net.check(images)
    check_labels(labels, images, model.net.classes)
    suite.check_model(model, images[:batch])
    batch = fitting(batch, model.bytes_an_image(), free_memory(images.device))
    models = (model,) if search is None else (search, model)

    def attack(rows):
        x, y = images[rows], labels[rows]
        clean = predicted(model, x) == y
        found = np.full((len(threats), len(x)), SURVIVES, np.int8)
        found[:, ~clean.cpu().numpy()] = WRONG_BEFORE
        seeds = functools.partial(_seed, seed, rows.start)
        _break(models, x, y, clean, threats, plan, seeds, found, carried)
        return {"clean": clean.cpu().numpy(), "found_by": found}

    def running(done):
        return f"ε = {threats[-1].epsilon:.3g}: {(done['found_by'][-1] == SURVIVES).mean():.3f} right"

    words = f"{plan[0][0] if len(plan) == 1 else f'{len(plan)} attacks'} {norm}"
    done, seconds = in_parts(len(images), batch, attack, words, folder, progress, running)
    return Outcomes(done["clean"], done["found_by"], seconds)


def _break(models, images, labels, clean, threats, plan, seeds, found, carried):
    """Attack what is right of a batch, and enter who broke it in `found` [E, N]."""
    alive = clean
    for i, threat in enumerate(threats):
        alive = alive if carried else clean
        for j, (name, steps) in enumerate(plan):
            for attacked in models:
                if not alive.any():
                    break
                x, y = images[alive], labels[alive]
                adversarial = suite.checked(attacked, x, y, threat, name, steps, seeds(i, j))
                fell = torch.zeros_like(alive)
                fell[alive] = predicted(models[-1], adversarial) != y
                found[i : None if carried else i + 1, fell.cpu().numpy()] = j
                alive = alive & ~fell


def _seed(*parts):
    """One seed from several numbers."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])

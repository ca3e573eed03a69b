"""Attacks fitted to the network: the worst case for each image over gradients, losses and attacks on the
states, all judged by the network's own free phase (Tramèr et al. 2020).
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from scipy.stats import binomtest

from eplib import state_attacks, suite
from eplib.attacks import AttackedModel, ThreatModel, fitting, free_memory, predicted
from eplib.checks import InputError, check_labels
from eplib.conventions import CORRECTED, pgd
from eplib.losses import LOSSES, cross_entropy
from eplib.network import EPCNN
from eplib.parts import in_parts
from eplib.studies import Found, share
from eplib.union import SURVIVES, WRONG_BEFORE

GRADIENTS = ("unrolled", "leaky", "ep", "adjoint")  # of the network's own free phase, with every loss
HORIZONS = (  # with cross-entropy: name, steps, order (None: the network's own), gradient, last of the steps
    ("10 synchronous steps", 10, "synchronous", "unrolled", None),
    ("60 synchronous steps", 60, "synchronous", "unrolled", None),
    ("last 20 of 250 steps", 250, None, "unrolled", 20),
    ("adjoint after 250 steps", 250, None, "adjoint", None),
)


@dataclass(frozen=True)
class Attack:
    """name: in the column `by`. run(images, labels, threat, steps) -> adversarial images. model: whose
    gradient it takes, None for an attack on the states.
    """

    name: str
    run: object
    model: AttackedModel | None = None


def adaptive(net, images, labels, sizes, folder=None, progress=True):
    """`Found` of plain PGD (`attacks.pgd`: exact gradient, cross-entropy), and of it together with every one
    of `attacks_on`, in their order, each on the images that are still right.

    sizes: norm, epsilons (ascending, pixel units of [0, 1]), steps (of every attack), batch (images at a
    time, fewer where memory is short). folder: where finished parts are kept, see `parts.in_parts`. What is
    broken at one ε stays broken at a larger one. Rows: accuracy (Wilson interval) at every ε, first of attack
    "pgd", then of "adaptive", which is plain PGD and all others; for every ε and other attack (column by)
    "broken", the share of images that it was the first to break; and "fallback" of attacks by the adjoint,
    the share of all n gradients that were unrolled because a state or the adjoint had not settled. Array
    found_by: int8 [E, N], 0 for plain PGD, j for the j-th other attack, or as in `union.Outcomes`. Raises
    InputError for bad input and for an attack that leaves its threat model.
    """
    threats = [ThreatModel(sizes["norm"], e) for e in sizes["epsilons"]]
    if not threats or list(sizes["epsilons"]) != sorted(sizes["epsilons"]):
        raise InputError(f"epsilons {sizes['epsilons']}: give one or more, in ascending order")
    net.check(images)
    check_labels(labels, images, net.classes)
    model = AttackedModel(net)
    suite.check_model(model, images[: sizes["batch"]])
    others = attacks_on(net, images, sizes["batch"])
    needed = max(attack.model.bytes_an_image() for attack in others if attack.model)
    batch = fitting(sizes["batch"], needed, free_memory(images.device))

    def part(rows):
        return _part(model, others, images[rows], labels[rows], threats, sizes["steps"])

    def running(done):
        survive = (done["found_by"][-1] == SURVIVES).mean()
        return f"ε = {threats[-1].epsilon:.3g}: {done['plain'][-1].mean():.3f} → {survive:.3f} right"

    words = f"adaptive {sizes['norm']}"
    done, seconds = in_parts(len(images), batch, part, words, folder, progress, running)
    right = np.concatenate([done["plain"], done["found_by"] == SURVIVES])
    rows = _rows(model, others, sizes, done, right)
    return Found(rows, done["clean"], right, {"found_by": done["found_by"]}, seconds)


def attacks_on(net, images, batch):
    """[Attack]: all but plain PGD, in the order of the union. `GRADIENTS` × `losses.LOSSES`, then `HORIZONS`,
    then the attacks on the states, see `state_attacks.all_of`; only the losses for a feed-forward network.
    """
    recurrent, found = isinstance(net, EPCNN), []
    plain = AttackedModel(net).gradient
    for gradient in GRADIENTS if recurrent else (plain,):
        model = AttackedModel(net, gradient=gradient) if recurrent else AttackedModel(net)
        for name, loss in LOSSES.items():
            if (gradient, loss) != (plain, cross_entropy):
                found.append(_descent(f"{gradient}, {name}", model, loss))
    if recurrent:
        for name, steps, order, gradient, last in HORIZONS:
            model = AttackedModel(net, steps, order, gradient, last=last)
            found.append(_descent(name, model, cross_entropy))
        found += [Attack(name, run) for name, run in state_attacks.all_of(net, images, batch).items()]
    return found


def _descent(name, model, loss):
    return Attack(name, partial(pgd, model, convention=CORRECTED, loss=loss), model)


def _part(model, others, x, y, threats, steps):
    """What `parts.in_parts` keeps of a part: clean bool [N], plain bool [E, N], found_by int8 [E, N], and how
    many gradients each other attack took and had to unroll, int64 [A, N], both at the first image.
    """
    clean = predicted(model, x) == y
    found = np.full((len(threats), len(x)), SURVIVES, np.int8)
    found[:, ~clean.cpu().numpy()] = WRONG_BEFORE
    taken, unrolled = np.zeros((2, len(others), len(x)), np.int64)
    plainly, alive, plain = clean, clean, []

    def falls(images, adversarial):
        """Which images that are shown changed to the model are wrong."""
        fell = torch.zeros_like(clean)
        fell[images] = predicted(model, adversarial) != y[images]
        return fell

    for i, threat in enumerate(threats):
        if plainly.any():  # on all that it has not broken itself: its accuracy is a row of its own
            adversarial = suite.checked(model, x[plainly], y[plainly], threat, "pgd", steps, seed=0)
            fell = falls(plainly, adversarial)
            found[i:, (fell & alive).cpu().numpy()] = 0
            plainly, alive = plainly & ~fell, alive & ~fell
        plain.append(plainly)
        for j, attack in enumerate(others):
            if not alive.any():
                break
            before = attack.model.fallbacks if attack.model else 0
            adversarial = attack.run(x[alive], y[alive], threat, steps)
            fell = falls(alive, suite.within(adversarial, x[alive], threat, attack.name))
            found[i:, fell.cpu().numpy()] = j + 1
            if attack.model:
                taken[j, 0] += int(alive.sum()) * steps
                unrolled[j, 0] += attack.model.fallbacks - before
            alive = alive & ~fell
    kept = {"clean": clean.cpu().numpy(), "plain": torch.stack(plain).cpu().numpy()}
    return kept | {"found_by": found, "taken": taken, "unrolled": unrolled}


def _rows(model, others, sizes, done, right):
    """The rows of `adaptive` from joined parts and what is right, bool [2E, N]."""
    where = {"norm": sizes["norm"], "labels": "true", "attack_steps": sizes["steps"]}
    where |= {"predict_steps": model.steps, "order": model.order}
    both, epsilons = where | {"attack": "adaptive"}, sizes["epsilons"]
    pairs = [(where | {"attack": "pgd", "gradient": model.gradient}, e) for e in epsilons]
    pairs += [(both, e) for e in epsilons]
    rows = [
        attack | {"epsilon": e} | share("accuracy", torch.from_numpy(outcome))
        for (attack, e), outcome in zip(pairs, right, strict=True)
    ]
    for epsilon, by in zip(epsilons, done["found_by"], strict=True):
        for j, attack in enumerate(others, 1):
            row = both | {"epsilon": epsilon, "by": attack.name}
            rows.append(row | share("broken", torch.from_numpy(by == j)))
    for attack, taken, unrolled in zip(others, done["taken"].sum(1), done["unrolled"].sum(1), strict=True):
        if attack.model and attack.model.gradient == "adjoint" and taken:
            fallback = {"metric": "fallback", "value": float(unrolled / taken), "n": int(taken)}
            rows.append(both | {"by": attack.name} | fallback)
    return rows


def gap(result, epsilon):
    """(difference, low, high): the share of images that plain PGD leaves right at ε and all attacks together
    do not, with its exact 95 % interval (Clopper and Pearson 1934), of a result of "adaptive".

    Raises InputError for an ε that was not measured.
    """
    here = [i for i, e in enumerate(result.epsilons) if np.isclose(e, epsilon)]
    if not here:
        raise InputError(f"ε = {epsilon} was not measured: give one of {list(result.epsilons)}")
    plain, together = result.correct[here[0]], result.correct[here[0] + len(result.epsilons)]
    beyond = int((plain & ~together).sum())
    interval = binomtest(beyond, len(plain)).proportion_ci(method="exact")
    return beyond / len(plain), float(interval.low), float(interval.high)

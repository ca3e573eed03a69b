"""Do the gradients of an EP-CNN agree? Its input gradients by every method beside the exact one through 250
steps, at clean and at attacked images, and finite differences beside the adjoint.
"""

import copy
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from eplib import attacks, finite_differences, gradients
from eplib.attacks import AttackedModel, ThreatModel, fitting, free_memory
from eplib.checks import InputError, check_labels, one_of
from eplib.network import EPCNN
from eplib.parts import in_parts
from eplib.pooling import gather, send_down
from eplib.studies import Found, quartiles, share

GATE = 0.999  # smallest median cosine of finite differences and adjoint with which gradients count as right
PREDICTED, HORIZONS, LAST = 250, (10, 29, 70), 20  # synchronous steps; the paper attacked through up to 70
ATTACK_STEPS, POWER_STEPS = 20, 200
EXPLODING = 1e3  # times the length of the exact gradient
PLACES = ("clean", "attacked")
_PER_CASE = ("cosine", "ratio", "signs", "zero", "exploding")  # arrays [cases, N], nan where undefined
_PER_STATE = ("saturated", "residual", "radius")


class Case(NamedTuple):
    """A way to a gradient: method (of `gradients.METHODS`), steps of the free phase, their order, and through
    how many of the last ones it goes, None for all.
    """

    method: str
    steps: int
    order: str
    last: int | None = None


EXACT = Case("unrolled", PREDICTED, "synchronous")
COMPARED = (
    *(Case("unrolled", steps, "synchronous") for steps in HORIZONS),
    Case("unrolled", PREDICTED, "synchronous", LAST),
    Case("leaky", PREDICTED, "synchronous", LAST),
    Case("adjoint", PREDICTED, "synchronous"),
    Case("ep", PREDICTED, "synchronous"),
)


def cases(net):
    """The `Case`s that are measured of a network: the exact one first, its own free phase last."""
    return tuple(dict.fromkeys((EXACT, *COMPARED, Case("unrolled", net.steps, net.order))))


def agreement(net, images, labels, sizes, folder=None, progress=True):
    """`Found` of the gradients of cross-entropy by every one of `cases`, against the exact one through 250
    synchronous steps, at the images (column at = "clean") and after PGD on the network's own exact gradient
    ("attacked"). sizes: norm, epsilon (of PGD), directions (of finite differences), batch (images at a time,
    fewer where memory is short). folder: where finished parts are kept, see `parts.in_parts`.

    Rows with columns gradient, last, attack_horizon, order: "gradient_cosine" (0 for a gradient that is zero
    or not finite), "norm_ratio" and "sign_agreement" (share of pixels), medians and quartiles over images
    whose exact gradient is not zero; "zero_gradient" and "exploding" (not finite, or over 1e3 times as long
    as the exact one), shares. n: of the adjoint, the images that have settled and whose adjoint is solved. Of
    the state after 250 synchronous steps: "saturated" (share of a layer's units where the hard sigmoid is
    flat), "residual" and "spectral_radius" (over settled images), medians and quartiles, and "unsettled"
    (share with a residual of 1e-3 or more). Of `finite_differences.compare`: "fd_cosine" (median and
    quartiles over included images), "fd_excluded", "fd_unsettled" and "fd_tied", shares. And "accuracy" by
    the own free phase and by 250 steps, at both places. Arrays: all of these per image. Raises InputError for
    a network that is no EPCNN, and for bad input.
    """
    if not isinstance(net, EPCNN):
        raise InputError(
            "a feed-forward network has one gradient and no equilibrium: measure an energy-based network"
        )
    net.check(images)
    check_labels(labels, images, net.classes)
    threat, own = ThreatModel(sizes["norm"], sizes["epsilon"]), AttackedModel(net)
    longest = AttackedModel(net, EXACT.steps, EXACT.order).bytes_an_image()
    batch = fitting(sizes["batch"], max(longest, own.bytes_an_image()), free_memory(images.device))

    def part(rows):
        x, y = images[rows], labels[rows]
        at = {"clean": x, "attacked": attacks.pgd(own, x, y, threat, ATTACK_STEPS)}
        found = {f"{k}_{place}": v for place, z in at.items() for k, v in _compared(own, z, y).items()}
        found = {name: value.cpu().numpy() for name, value in found.items()}
        return found | finite_differences.compare(net, x, y, sizes["directions"], rows.start)

    done, seconds = in_parts(len(images), batch, part, "gradients", folder, progress)
    rows, correct = [], []
    for place in PLACES:
        here = {"at": place, "norm": threat.norm, "epsilon": threat.epsilon if place == "attacked" else 0.0}
        here |= {"attack": "pgd", "attack_steps": ATTACK_STEPS} if place == "attacked" else {}
        arrays = {k: torch.from_numpy(done[f"{k}_{place}"]) for k in ("right", *_PER_CASE, *_PER_STATE)}
        for phase, right in zip(_phases(net), arrays["right"], strict=True):
            rows.append(here | phase | {"labels": "true"} | share("accuracy", right))
            correct.append(right.numpy())
        rows += [here | row for row in (*_gradient_rows(net, arrays), *_state_rows(arrays))]
    rows += _difference_rows(net, done)
    return Found(rows, correct[0], np.stack(correct), done, seconds)


def _phases(net):
    return [
        {"predict_steps": net.steps, "order": net.order},
        {"predict_steps": PREDICTED, "order": EXACT.order},
    ]


@torch.no_grad()
def _compared(own, images, labels):
    """{name: tensor [..., N]}: what the rows of one place are made of."""
    net = own.net
    trace = gradients.follow(net, images, EXACT.steps, EXACT.order, EXACT.method)
    trace.residual = trace.phase.residual()
    right = [attacks.predicted(own, images) == labels, trace.logits.argmax(1) == labels]
    saturated, radius = _linearised(trace.phase)
    radius = radius.masked_fill(trace.residual >= gradients.SETTLED, torch.nan)
    found = {
        "right": torch.stack(right),
        "saturated": saturated,
        "residual": trace.residual,
        "radius": radius,
    }
    exact, _ = _gradient(trace, labels)
    against = [_against(*_gradient(_followed(trace, images, case), labels), exact) for case in cases(net)]
    return found | {name: torch.stack([a[name] for a in against]) for name in _PER_CASE}


def _followed(trace, images, case):
    """The `gradients.Trace` of a case; those of the exact one's free phase share its `trace`."""
    if (case.steps, case.order) != (EXACT.steps, EXACT.order):
        return gradients.follow(trace.net, images, case.steps, case.order, case.method)
    phase = copy.copy(trace.phase)
    phase.tape = phase.tape[-(case.last or len(phase.tape)) :]  # a synchronous step is one group
    return replace(trace, method=case.method, phase=phase)


def _gradient(trace, labels):
    """(∂ cross-entropy / ∂ image [N, C, H, W], bool [N]: whether it can be used, which only an adjoint
    sometimes cannot).
    """
    net, usable = trace.net, torch.ones_like(labels, dtype=torch.bool)
    pull = trace.logits.softmax(1) - F.one_hot(labels, net.classes)
    # all images pull alike: a solver that stops for a whole batch would leave the weak ones unsolved
    length = pull.norm(dim=1, keepdim=True)
    pull = pull / length.clamp_min(torch.finfo(pull.dtype).tiny)
    if trace.method != "adjoint":
        gradient = trace.pull_back(pull)
    else:
        gradient = pull.new_zeros(len(pull), net.in_channels, net.image_size, net.image_size)
        usable = trace.residual < gradients.SETTLED
        if usable.any():
            settled = trace.rows(usable)
            gradient[usable] = settled.pull_back(pull[usable])
            usable = usable.masked_scatter(usable, settled.solved)
    return gradient * length.view(-1, 1, 1, 1), usable


def _against(gradient, usable, exact):
    """{name of _PER_CASE: float64 [N]} of a gradient beside the exact one."""
    flat, exact = gradient.double().flatten(1), exact.double().flatten(1)
    finite, reference = flat.isfinite().all(1), exact.norm(dim=1)
    flat = torch.where(finite[:, None], flat, 0)
    length = flat.norm(dim=1)
    found = {
        "cosine": finite_differences.cosine(flat, exact),
        "ratio": torch.where(finite, length / reference, torch.inf),
        "signs": (flat.sign() == exact.sign()).double().mean(1),
        "zero": (finite & (length == 0)).double(),
        "exploding": (~finite | (length > EXPLODING * reference) & (reference > 0)).double(),
    }
    defined = usable & exact.isfinite().all(1) & (reference > 0)
    for name in ("cosine", "ratio", "signs"):
        found[name] = found[name].masked_fill(~defined, torch.nan)
    return {name: value.masked_fill(~usable, torch.nan) for name, value in found.items()}


def _linearised(phase):
    """(share of units where the hard sigmoid is flat [L, N]; spectral radius [N] of J = D H, by which a small
    change of the states shrinks or grows in a synchronous step, H the second derivatives of Φ and D the
    slopes).

    J keeps to units with a slope, where it is symmetric, and its eigenvalues come in pairs ±λ, because only
    neighbouring layers touch: ‖J v‖ / ‖v‖ rises towards |λ| in a power iteration.
    """
    depth, codes = len(phase.layers), [phase.pooled(l)[1] for l in range(len(phase.layers))]
    slopes = [((u > 0) & (u < 2)).to(u) * 0.5 for u in (phase.field(l) for l in range(depth))]
    random = torch.Generator().manual_seed(0)
    v = [torch.randn(1, *d.shape[1:], generator=random).to(d) * d for d in slopes]
    for _ in range(POWER_STEPS):
        moved = [torch.zeros_like(d) for d in slopes]
        for l, (weight, _, padding) in enumerate(phase.layers[1:], start=1):
            moved[l - 1] += send_down(v[l], codes[l], weight, padding, v[l - 1].shape)
            moved[l] += gather(F.conv2d(v[l - 1], weight, padding=padding), codes[l])
        v = [d * m for d, m in zip(slopes, moved, strict=True)]
        length = torch.stack([a.flatten(1).norm(dim=1) for a in v]).norm(dim=0)
        v = [a / length.clamp_min(torch.finfo(a.dtype).tiny).view(-1, 1, 1, 1) for a in v]
    return torch.stack([(d == 0).double().flatten(1).mean(1) for d in slopes]), length


def _gradient_rows(net, arrays):
    """Rows of every case at one place; arrays: {name of _PER_CASE: [cases, N]}."""
    metrics = {"gradient_cosine": "cosine", "norm_ratio": "ratio", "sign_agreement": "signs"}
    for i, case in enumerate(cases(net)):
        where = {
            "gradient": case.method,
            "last": case.last,
            "attack_horizon": case.steps,
            "order": case.order,
        }
        for metric, name in metrics.items() if case != EXACT else ():
            values = arrays[name][i]
            if not values.isnan().all():
                yield where | quartiles(metric, values[~values.isnan()])
        for metric, name in {"zero_gradient": "zero", "exploding": "exploding"}.items():
            values = arrays[name][i]
            if not values.isnan().all():
                yield where | share(metric, values[~values.isnan()] == 1)


def _state_rows(arrays):
    """Rows of the states at one place after the exact gradient's free phase."""
    where = {"predict_steps": EXACT.steps, "order": EXACT.order}
    for l, flat in enumerate(arrays["saturated"]):
        yield where | {"layer": l + 1} | quartiles("saturated", flat)
    yield where | quartiles("residual", arrays["residual"])
    yield where | share("unsettled", arrays["residual"] >= gradients.SETTLED)
    settled = ~arrays["radius"].isnan()
    if settled.any():
        yield where | quartiles("spectral_radius", arrays["radius"][settled])


def _difference_rows(net, done):
    where = {"at": "clean", "gradient": "adjoint", "order": net.order}
    outcome, cosine = (torch.from_numpy(done[name]) for name in ("fd_outcome", "fd_cosine"))
    included = outcome == finite_differences.INCLUDED
    if included.any():
        yield where | quartiles("fd_cosine", cosine[included])
    yield where | share("fd_excluded", outcome == finite_differences.CHANGED)
    yield where | share("fd_unsettled", outcome == finite_differences.UNSETTLED)
    yield where | share("fd_tied", torch.from_numpy(done["fd_tied"]))


class Gate(NamedTuple):
    """Whether the gradients count as right; the median cosine of finite differences and adjoint, nan for
    none; over how many images; how many were left out because a decision changes within the step.
    """

    passes: bool
    cosine: float
    n: int
    excluded: int


def gate(result):
    """`Gate` of a result of "gradients": passes with a median cosine of at least 0.999."""
    outcome, cosines = result.arrays["fd_outcome"], result.arrays["fd_cosine"]
    included = outcome == finite_differences.INCLUDED
    median = float(np.median(cosines[included])) if included.any() else float("nan")
    excluded = int((outcome == finite_differences.CHANGED).sum())
    return Gate(median >= GATE, median, int(included.sum()), excluded)


def compared(result, metric, at):
    """[(words, value, low, high, n)] of every gradient at one of `PLACES`, in the order of `cases`.

    result: of "gradients". metric: of its rows, as "gradient_cosine". Raises InputError for an unknown place
    or metric.
    """
    table = result.table[result.table.gradient.notna() & ~result.table.metric.str.startswith("fd_")]
    table = table[table["at"] == one_of("place", at, PLACES)]
    chosen = table[table.metric == one_of("metric of gradients", metric, dict.fromkeys(table.metric))]
    return [(words(row), row.value, row.low, row.high, int(row.n)) for row in chosen.itertuples()]


def words(row):
    """What a row's gradient is called, from its columns gradient, last, attack_horizon and order."""
    phase = f"{int(row.attack_horizon)} {row.order} steps"
    if row.gradient == "unrolled":
        return f"last {int(row.last)} of {phase}" if row.last > 0 else f"through {phase}"
    if row.gradient == "leaky":
        return f"leaky, last {int(row.last)} of {phase}"
    return {"adjoint": "adjoint", "ep": "learning rule"}[row.gradient] + f" after {phase}"

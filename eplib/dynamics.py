"""Free and nudged phases from beginning to end: `settle`, its stopping rule, and what it keeps of the way.

The updates themselves, in closed form and without autograd, are `eplib.phases`.
"""

from dataclasses import dataclass

import torch

from eplib.checks import InputError, check_labels, one_of
from eplib.phases import Nudge, Phase, drive, groups, largest_change


@dataclass(frozen=True)
class Equilibrium:
    """Where a phase ended.

    states: L tensors [N, C, H, W]. residual: [N], the largest |one more synchronous step − state| over an
    image's units. energy: [N], ‖s‖² − Φ_β. steps: steps taken. image_steps: [N], the same per image (they
    differ only with a tolerance). logits: [N, classes]. trajectory: with `record`, what held after every
    step, {"logits": [steps, N, classes], "residual": [steps, N], "energy": [steps, N]}; otherwise None.
    """

    states: tuple
    residual: torch.Tensor
    energy: torch.Tensor
    steps: int
    image_steps: torch.Tensor
    logits: torch.Tensor
    trajectory: dict | None = None


@torch.no_grad()
def settle(
    net,
    images,
    steps=None,
    order=None,
    labels=None,
    beta=0.0,
    start=None,
    arg_max="live",
    tolerance=None,
    record=False,
    loss="cross-entropy",
):
    """Run one phase and return its `Equilibrium`.

    images: [N, C, H, W] in [0, 1]. steps, order: default to the network's own. labels, beta: the nudge; beta
    is a number or one number per image. start: states to begin from (default zeros), or an Equilibrium.
    arg_max: "live", or "frozen" at `start`. tolerance: an image freezes after the first step that changes
    none of its units by more than this; every image is judged alone, so the rest of the batch never matters.
    record: keep the trajectory. loss: of the nudge, see `Nudge`. Raises InputError for images, labels, order
    or steps that do not fit.
    """
    net.check(images)
    steps, order = net.steps if steps is None else steps, order or net.order
    one_of("arg_max", arg_max, ("live", "frozen"))
    if steps < 0:
        raise InputError(f"steps = {steps}: give 0 or more")
    nudge = None
    if labels is not None:
        check_labels(labels, images, net.classes)
        nudge = Nudge(net, labels, beta, loss)
    elif torch.as_tensor(beta).ne(0).any():
        raise InputError(f"beta = {beta} without labels: a nudged phase needs labels")
    states = start.states if isinstance(start, Equilibrium) else start
    phase = Phase(net, drive(net, images), _checked(net, images, states), nudge=nudge)
    if arg_max == "frozen":
        phase.freeze()
    return _run(phase, steps, groups(order, len(net.convs)), tolerance, record)


def _run(phase, steps, schedule, tolerance, record):
    count = phase.states[0].shape[0]
    taken = torch.zeros(count, dtype=torch.long, device=phase.states[0].device)
    active = torch.ones_like(taken, dtype=torch.bool)
    kept = []
    for _ in range(steps):
        before = tuple(phase.states)
        phase.step(schedule)
        taken += active
        if tolerance is not None:
            phase.restore(before, ~active)
        if record:
            kept.append((phase.logits(), phase.residual(), phase.energy()))
        if tolerance is not None:
            active = active & (largest_change(before, phase.states) > tolerance)
            if not active.any():
                break
    names = ("logits", "residual", "energy")
    trajectory = dict(zip(names, map(torch.stack, zip(*kept, strict=True)), strict=True)) if kept else None
    return Equilibrium(
        tuple(phase.states),
        phase.residual(),
        phase.energy(),
        int(taken.max()),
        taken,
        phase.logits(),
        trajectory,
    )


def _checked(net, images, states):
    if states is None:
        return None
    expected = [(len(images), *shape) for shape in net.shapes]
    if [tuple(s.shape) for s in states] != expected:
        raise InputError(
            f"start with states of shapes {[list(s.shape) for s in states]}: this network and batch need"
            f" {[list(e) for e in expected]}"
        )
    return [s.to(net.mean.dtype).contiguous(memory_format=torch.channels_last) for s in states]

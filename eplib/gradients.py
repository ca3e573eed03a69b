"""Gradients of an EP-CNN's logits with respect to its input image.

`unrolled`: exact back-propagation through the network's own steps in its own order. Every update is linear
where its clip and arg-max patterns stand still, so the patterns (about two bytes a unit and step) are all
that is stored. `adjoint`: implicit differentiation at the settled state (β → 0 of Equilibrium Propagation).
With D = σ'(u) and the Hessian H of Φ in the states, solve a = D (H a + ∂loss/∂s) and send a down to the
pixels. At a state that has not settled it is wrong and may diverge, so it is refused there.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from eplib.checks import InputError, check_labels, one_of
from eplib.phases import Drive, Phase, drive, groups
from eplib.pooling import gather, send_down

METHODS = ("unrolled", "adjoint")
SETTLED = 1e-3  # largest residual at which the adjoint is used
ADJOINT_SWEEPS = 1000  # at most; it stops when no unit moves by more than ADJOINT_TOLERANCE of the largest
ADJOINT_TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-13}


def input_gradient(net, images, labels, method="unrolled", free_steps=None, order=None, last=None):
    """∂ Σ_n cross-entropy(logits_n, labels_n) / ∂ images, [N, C, H, W].

    method: "unrolled" or "adjoint". free_steps, order: of the free phase, by default the network's own. last:
    with "unrolled", back-propagate through the last `last` steps only. Raises InputError when an image has
    not settled to a residual below 1e-3 and the adjoint is asked for, or for arguments that do not fit.
    """
    net.check(images)
    check_labels(labels, images, net.classes)
    one_of("gradient method", method, METHODS)
    if last is not None and (method != "unrolled" or last < 1):
        raise InputError(f"last = {last} with method {method!r}: give 1 or more, and method 'unrolled'")
    trace = follow(net, images, free_steps, order, method)
    if method == "adjoint" and (trace.residual >= SETTLED).any():
        raise InputError(
            f"{int((trace.residual >= SETTLED).sum())} of {len(images)} images have not settled (residual"
            f" up to {trace.residual.max():.2g}, allowed {SETTLED:g}): take more free_steps, or"
            " method='unrolled'"
        )
    onehot = F.one_hot(labels, net.classes).to(trace.logits.dtype)
    return trace.pull_back(trace.logits.softmax(1) - onehot, last).to(images.dtype)


@dataclass
class Trace:
    """A free phase with what its backward pass needs: logits [N, classes], residual [N] (adjoint only), the
    phase.
    """

    net: torch.nn.Module
    phase: Phase
    groups_per_step: int
    method: str
    residual: torch.Tensor | None

    @property
    def logits(self):
        return self.phase.logits()

    @property
    def bytes(self):
        """How many bytes are kept for the backward pass (unrolled)."""
        kept = [
            t
            for group in self.phase.tape
            for u in group
            for t in (u.slope, u.below, u.above)
            if t is not None
        ]
        storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in kept}
        return sum(storages.values())

    def rows(self, which):
        """The trace of some images only (adjoint; `which` is bool [N])."""
        phase = Phase(
            self.net, Drive(*(x[which] for x in self.phase.drive)), [s[which] for s in self.phase.states]
        )
        return Trace(self.net, phase, self.groups_per_step, self.method, self.residual[which])

    @torch.no_grad()
    def pull_back(self, logit_gradient, last=None):
        """[N, classes] gradient of a loss in the logits -> its gradient in the image."""
        pull = (
            (logit_gradient.to(self.net.mean.dtype) @ self.net.readout.weight)
            .view_as(self.phase.states[-1])
            .to(self.phase.dtype)
        )
        if self.method == "adjoint":
            into_first = adjoint(self.phase, pull)[0]
        else:
            tape = self.phase.tape if last is None else self.phase.tape[-last * self.groups_per_step :]
            into_first = _unrolled(self.phase, tape, pull, self.net.mean.dtype)
        conv = self.net.convs[0]
        size = (self.net.in_channels, self.net.image_size, self.net.image_size)
        return send_down(into_first, self.phase.drive.codes, conv.weight, conv.padding, size) / self.net.std


@torch.no_grad()
def follow(net, images, free_steps=None, order=None, method="unrolled", dtype=None):
    """Run a free phase from zero and return its `Trace`. dtype: of states and convolutions, also of the
    backward pass, by default the network's.
    """
    schedule = groups(order or net.order, len(net.convs))
    phase = Phase(net, drive(net, images), dtype=dtype)
    phase.tape = [] if method == "unrolled" else None
    for _ in range(net.steps if free_steps is None else free_steps):
        phase.step(schedule)
    return Trace(net, phase, len(schedule), method, phase.residual() if method == "adjoint" else None)


def backward(phase, tape, pull):
    """Reverse of every recorded group of updates: yields (update, ∂loss/∂u of that update), last first.

    pull: ∂loss/∂(last state), shaped like it.
    """
    gradient = [torch.zeros_like(s) for s in phase.states]  # with respect to the present value of each state
    gradient[-1] = pull
    for group in reversed(tape):
        fields = [(update, gradient[update.layer] * update.slope * 0.5) for update in group]
        for update in group:
            gradient[update.layer] = torch.zeros_like(gradient[update.layer])
        for update, b in fields:
            l = update.layer
            if update.below is not None:
                gradient[l - 1] += _down(phase, l, b, update.below.long())
            if update.above is not None:
                gradient[l + 1] += _up(phase, l + 1, b, update.above.long())
            yield update, b


def _unrolled(phase, tape, pull, precise):
    """Σ_t ∂loss/∂u_1^t, all that the image feeds, summed in the dtype `precise`."""
    into_first = torch.zeros_like(phase.states[0], dtype=precise)
    for update, b in backward(phase, tape, pull):
        if update.layer == 0:
            into_first += b
    return into_first


def adjoint(phase, pull, sweeps=ADJOINT_SWEEPS):
    """Solve a = D (H a + pull) by at most `sweeps` sweeps from the last layer to the first; returns a of
    every layer.
    """
    slopes, codes = [], [phase.pooled(l)[1] for l in range(len(phase.layers))]
    for l in range(len(phase.layers)):
        u = phase.field(l)
        slopes.append(((u > 0) & (u < 2)) * 0.5)
    a = [torch.zeros_like(s) for s in phase.states]
    for _ in range(sweeps):
        moved = []
        for (l,) in groups("backward", len(a)):
            field = pull if l == len(a) - 1 else _down(phase, l + 1, a[l + 1], codes[l + 1])
            if l > 0:
                field = field + _up(phase, l, a[l - 1], codes[l])
            new = slopes[l] * field
            moved.append((new - a[l]).abs().max())
            a[l] = new
        if (
            torch.stack(moved).max()
            <= ADJOINT_TOLERANCE[pull.dtype] * torch.stack([x.abs().max() for x in a]).max()
        ):
            break
    return a


def _down(phase, l, gradient, codes):
    """From the field of layer l to the state of layer l − 1."""
    weight, _, padding = phase.layers[l]
    return send_down(gradient, codes, weight, padding, phase.states[l - 1].shape)


def _up(phase, l, gradient, codes):
    """From the field of layer l − 1 to the state of layer l, through the feedback."""
    weight, _, padding = phase.layers[l]
    return gather(F.conv2d(gradient, weight, padding=padding), codes)

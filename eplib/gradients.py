"""Gradients of an EP-CNN's logits with respect to its input image.

`unrolled`: exact back-propagation through the network's own steps in its own order, or through its last ones
only, from the state before them ("phantom gradient"). Every update is linear where its clip and arg-max
patterns stand still, so the patterns (about two bytes a unit and step) are all that is stored. `leaky`: the
same with a slope of `LEAK` where the hard sigmoid has none, so that saturated units hide nothing. `adjoint`:
implicit differentiation at the settled state (β → 0 of Equilibrium Propagation). With D = σ'(u) and the
Hessian H of Φ in the states, solve a = D (H a + ∂loss/∂s) and send a down to the pixels. At a state that has
not settled it is wrong and may diverge, so it is refused there. `ep`: the network's own learning rule with
the image in the place of the weights,

    ∂loss/∂x ≈ −(∂Φ/∂x(x, s^{+β}) − ∂Φ/∂x(x, s^{−β})) / 2β,

s^{±β} the states after nudged phases of Φ ∓ β loss.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from eplib.checks import InputError, check_labels, one_of
from eplib.phases import Drive, Phase, drive, groups
from eplib.pooling import gather, send_down

METHODS = ("unrolled", "leaky", "adjoint", "ep")
TAPED = ("unrolled", "leaky")  # those that record the free phase
SETTLED = 1e-3  # largest residual of the states at which the adjoint is used
SOLVED = 1e-4  # largest relative residual of the adjoint itself
LEAK = 0.1  # instead of the hard sigmoid's slope 0; its slope elsewhere is 0.5
NUDGE, NUDGED_SWEEPS = 0.1, 30  # of "ep": β for a loss gradient of length 1, and steps of its nudged phases
ADJOINT_SWEEPS = 1000  # at most; it stops when no unit moves by more than ADJOINT_TOLERANCE of the largest
ADJOINT_TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-13}


def input_gradient(net, images, labels, method="unrolled", free_steps=None, order=None, last=None):
    """∂ Σ_n cross-entropy(logits_n, labels_n) / ∂ images, [N, C, H, W].

    method: of METHODS. free_steps, order: of the free phase, by default the network's own. last: with
    "unrolled" and "leaky", back-propagate through the last `last` steps only. Raises InputError when an image
    has not settled to a residual below 1e-3, or the adjoint's own equation not to a relative one below 1e-4,
    and the adjoint is asked for, or for arguments that do not fit.
    """
    net.check(images)
    check_labels(labels, images, net.classes)
    trace = follow(net, images, free_steps, order, check_method(method, last), last=last)
    if method == "adjoint" and (trace.residual >= SETTLED).any():
        raise InputError(
            f"{int((trace.residual >= SETTLED).sum())} of {len(images)} images have not settled (residual"
            f" up to {trace.residual.max():.2g}, allowed {SETTLED:g}): take more free_steps, or"
            " method='unrolled'"
        )
    onehot = F.one_hot(labels, net.classes).to(trace.logits.dtype)
    gradient = trace.pull_back(trace.logits.softmax(1) - onehot).to(images.dtype)
    if method == "adjoint" and not trace.solved.all():
        raise InputError(
            f"the adjoint of {int((~trace.solved).sum())} of {len(images)} images is not solved after"
            f" {ADJOINT_SWEEPS} sweeps: take method='unrolled'"
        )
    return gradient


def check_method(method, last=None):
    """Return `method` if it is one of METHODS and goes with `last`; InputError otherwise."""
    one_of("gradient method", method, METHODS)
    if last is not None and (method not in TAPED or last < 1):
        raise InputError(
            f"last = {last} with gradient method {method!r}: give 1 or more, and method 'unrolled' or 'leaky'"
        )
    return method


@dataclass
class Trace:
    """A free phase with what its backward pass needs: logits [N, classes], residual [N] of the states
    (adjoint only), the phase. adjoint_residual: [N], relative, once the adjoint has been solved.
    """

    net: torch.nn.Module
    phase: Phase
    method: str
    residual: torch.Tensor | None
    adjoint_residual: torch.Tensor | None = None

    @property
    def logits(self):
        return self.phase.logits()

    @property
    def bytes(self):
        """How many bytes are kept for the backward pass of `TAPED` methods."""
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
        return Trace(self.net, phase, self.method, self.residual[which])

    @property
    def solved(self):
        """bool [N]: whether the states have settled and the adjoint, pulled back before, has too."""
        return (self.residual < SETTLED) & (self.adjoint_residual < SOLVED)

    @torch.no_grad()
    def pull_back(self, logit_gradient):
        """[N, classes] gradient of a loss in the logits -> its gradient in the image."""
        pull = (
            (logit_gradient.to(self.net.mean.dtype) @ self.net.readout.weight)
            .view_as(self.phase.states[-1])
            .to(self.phase.dtype)
        )
        if self.method == "adjoint":
            a, self.adjoint_residual = adjoint(self.phase, pull)
            into_first = a[0]
        elif self.method == "ep":
            into_first = _nudged_difference(self.net, self.phase, pull)
        else:
            leak = LEAK if self.method == "leaky" else 0.0
            into_first = _unrolled(self.phase, pull, self.net.mean.dtype, leak)
        conv = self.net.convs[0]
        size = (self.net.in_channels, self.net.image_size, self.net.image_size)
        return send_down(into_first, self.phase.drive.codes, conv.weight, conv.padding, size) / self.net.std


@torch.no_grad()
def follow(net, images, free_steps=None, order=None, method="unrolled", dtype=None, last=None):
    """Run a free phase from zero and return its `Trace`. dtype: of states and convolutions, also of the
    backward pass, by default the network's. last: how many of the steps are recorded, by default all.
    """
    schedule = groups(order or net.order, len(net.convs))
    phase = Phase(net, drive(net, images), dtype=dtype)
    steps = net.steps if free_steps is None else free_steps
    for step in range(steps):
        if method in TAPED and step == max(0, steps - (last or steps)):
            phase.tape = []
        phase.step(schedule)
    return Trace(net, phase, method, phase.residual() if method == "adjoint" else None)


def backward(phase, pull, leak=0.0):
    """Reverse of every recorded group of updates: yields (update, ∂loss/∂u of that update), last first.

    pull: ∂loss/∂(last state), shaped like it. leak: the slope of σ where it has none.
    """
    gradient = [torch.zeros_like(s) for s in phase.states]  # with respect to the present value of each state
    gradient[-1] = pull
    for group in reversed(phase.tape or ()):
        fields = [(update, _past(update.slope, gradient[update.layer], leak)) for update in group]
        for update in group:
            gradient[update.layer] = torch.zeros_like(gradient[update.layer])
        for update, b in fields:
            l = update.layer
            if update.below is not None:
                gradient[l - 1] += _down(phase, l, b, update.below.long())
            if update.above is not None:
                gradient[l + 1] += _up(phase, l + 1, b, update.above.long())
            yield update, b


def _past(slope, gradient, leak):
    """∂loss/∂u of an activation from ∂loss/∂σ(u)."""
    steep = gradient * slope * (0.5 - leak)
    return steep.add_(gradient, alpha=leak) if leak else steep


def _unrolled(phase, pull, precise, leak):
    """Σ_t ∂loss/∂u_1^t, all that the image feeds, summed in the dtype `precise`."""
    into_first = torch.zeros_like(phase.states[0], dtype=precise)
    for update, b in backward(phase, pull, leak):
        if update.layer == 0:
            into_first += b
    return into_first


def _nudged_difference(net, phase, pull):
    """−(s_1^{+β} − s_1^{−β}) / 2β for a loss with the gradient `pull` in the last state, by nudged phases
    from the phase's states with their arg-max codes frozen. β is `NUDGE` for a pull of length 1, so that an
    image of which the network is sure is nudged as far as any other.
    """
    length = pull.flatten(1).norm(dim=1).view(-1, 1, 1, 1).clamp_min(torch.finfo(pull.dtype).tiny)
    push = (NUDGE * pull / length).flatten(1)
    push = torch.cat([-push, push])  # of the phases with +β and with −β
    image, states = ([torch.cat([t, t]) for t in tensors] for tensors in (phase.drive, phase.states))
    both = Phase(net, Drive(*image), states, nudge=lambda _: push, dtype=phase.dtype)
    both.freeze()
    for _ in range(NUDGED_SWEEPS):
        both.step(groups("backward", len(phase.states)))
    plus, minus = both.states[0].chunk(2)
    return (minus - plus) * (length / (2 * NUDGE))


def adjoint(phase, pull, sweeps=ADJOINT_SWEEPS):
    """Solve a = D (H a + pull) by at most `sweeps` sweeps from the last layer to the first; returns (a of
    every layer, the relative change [N] of all of it in the last sweep, 0 where a is).
    """
    slopes, codes = [], [phase.pooled(l)[1] for l in range(len(phase.layers))]
    for l in range(len(phase.layers)):
        u = phase.field(l)
        slopes.append(((u > 0) & (u < 2)) * 0.5)
    a = [torch.zeros_like(s) for s in phase.states]
    for _ in range(sweeps):
        moved, before = [], list(a)
        for (l,) in groups("backward", len(a)):
            field = pull if l == len(a) - 1 else _down(phase, l + 1, a[l + 1], codes[l + 1])
            if l > 0:
                field = field + _up(phase, l, a[l - 1], codes[l])
            new = slopes[l] * field
            moved.append((new - a[l]).abs().max())
            a[l] = new
        if not _captured(pull) and _still(moved, a, ADJOINT_TOLERANCE[pull.dtype]):
            break
    length, change = (
        torch.stack([x.flatten(1).norm(dim=1) for x in parts]).norm(dim=0)
        for parts in (a, [x - y for x, y in zip(a, before, strict=True)])
    )
    return a, torch.where(length > 0, change / length, length)


def _still(moved, a, tolerance):
    """Whether no unit moved by more than `tolerance` of the largest."""
    return torch.stack(moved).max() <= tolerance * torch.stack([x.abs().max() for x in a]).max()


def _captured(tensor):
    """Whether a CUDA graph is being captured, which can read nothing from the device."""
    return tensor.is_cuda and torch.cuda.is_current_stream_capturing()


def _down(phase, l, gradient, codes):
    """From the field of layer l to the state of layer l − 1."""
    weight, _, padding = phase.layers[l]
    return send_down(gradient, codes, weight, padding, phase.states[l - 1].shape)


def _up(phase, l, gradient, codes):
    """From the field of layer l − 1 to the state of layer l, through the feedback."""
    weight, _, padding = phase.layers[l]
    return gather(F.conv2d(gradient, weight, padding=padding), codes)

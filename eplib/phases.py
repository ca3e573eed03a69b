"""Free and nudged phases of an EP-CNN in closed form: convolution, pooling, transposed convolution.

One update of layer l (states s, activation σ(u) = clip(u / 2, 0, 1)) is

    u_l = pool(W_l ∗ s_{l-1} + b_l) + W_{l+1}ᵀ ∗ unpool(s_{l+1}, k_{l+1})
          [+ β W_oᵀ (onehot(y) − softmax(z)) at the top]
    s_l ← σ(u_l)

where k_{l+1} is the arg-max inside W_{l+1} ∗ s_l + b_{l+1}, or empty for average pooling, whose unpool
spreads evenly: exactly σ(∂Φ_β/∂s_l) of `EPCNN.primitive`, without autograd. An order says which layers update
together: all (synchronous, the paper), one after the other (forward, backward) or every second one
(even-odd).
"""

from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F

from eplib.checks import one_of
from eplib.pooling import compact, gather, pool, send_down

ORDERS = ("synchronous", "even-odd", "forward", "backward")
LOSSES = ("cross-entropy", "squared-error")


def groups(order, depth):
    """The layers (0-based) that update together, group after group, in one step of `order`."""
    layers = tuple(range(depth))
    if one_of("order", order, ORDERS) == "synchronous":
        return (layers,)
    if order == "even-odd":
        return tuple(g for g in (layers[1::2], layers[0::2]) if g)
    return tuple((l,) for l in (layers if order == "forward" else reversed(layers)))


def nudged_order(order):
    """The order of the nudged phases that belongs to a free phase in `order`: synchronous stays, others go
    backward.
    """
    return "synchronous" if order == "synchronous" else "backward"


class Phase:
    """A batch of states on its way to an equilibrium: the hot path, without checks.

    drive: a `Drive`. states: L tensors, or None for zeros. nudge: None or a `Nudge`. dtype: of states and of
    the convolutions' weights, by default the network's; with 16 bits convolutions still accumulate in 32, and
    the read-out stays in the network's precision. With `tape` set to a list, every group of updates is
    appended to it for a backward pass; with `keep_states` its inputs too.
    """

    def __init__(self, net, drive, states=None, nudge=None, dtype=None):
        self.dtype = dtype = dtype or net.mean.dtype
        self.layers = [(c.weight.to(dtype), c.bias.to(dtype), c.padding) for c in net.convs]
        self.readout, self.pooling = net.mean.dtype, net.pooling
        self.head = partial(F.linear, weight=net.readout.weight, bias=net.readout.bias)
        self.drive, self.nudge, self.frozen = drive, nudge, None
        self.tape, self.keep_states = None, False
        self.packed = [None] * len(self.layers)  # codes in one byte, shared by all records of the same ones
        self.silent = [states is None] * len(self.layers)  # an untouched zero state sends nothing down
        pooled = drive.pooled.to(dtype)
        self.states = list(zero_states(net, pooled)) if states is None else [s.to(dtype) for s in states]
        self.below = [(pooled, drive.codes)] + [None] * (len(self.layers) - 1)

    def freeze(self):
        """From now on use the arg-max codes of the present states in every layer."""
        self.frozen = [self.pooled(l)[1] for l in range(len(self.layers))]

    def pooled(self, l):
        """(pooled pre-activation, arg-max codes) of layer l given the layer below; computed once per state
        below.
        """
        if self.below[l] is None:
            weight, bias, padding = self.layers[l]
            z = F.conv2d(self.states[l - 1], weight, bias, padding=padding)
            if self.frozen is None:
                self.below[l] = pool(z, self.pooling)
            else:
                self.below[l] = gather(z, self.frozen[l]), self.frozen[l]
        return self.below[l]

    def codes(self, l):
        return self.pooled(l)[1] if self.frozen is None else self.frozen[l]

    def feedback(self, l):
        """What layer l + 1 sends down to layer l."""
        weight, _, padding = self.layers[l + 1]
        return send_down(self.states[l + 1], self.codes(l + 1), weight, padding, self.states[l].shape)

    def field(self, l):
        """u_l = ∂Φ_β/∂s_l, a new tensor."""
        if l < len(self.layers) - 1:
            return self.pooled(l)[0] if self.silent[l + 1] else self.feedback(l).add_(self.pooled(l)[0])
        u = self.pooled(l)[0]
        return u if self.nudge is None else u + self.nudge(self.logits()).view_as(u).to(self.dtype)

    def step(self, schedule):
        """One step: every group of layers of `schedule` updates from the states left by the group before."""
        for group in schedule:
            fields = [self.field(l) for l in group]
            if self.tape is not None:
                self.tape.append([self.record(l, u) for l, u in zip(group, fields, strict=True)])
            for l, u in zip(group, fields, strict=True):
                self.put(l, activation(u))

    def record(self, l, u):
        """What the backward pass of one update needs."""
        silent = l == len(self.layers) - 1 or self.silent[l + 1]
        above = None if silent else self.pack(l + 1)
        below = None if l == 0 else self.pack(l)
        inputs = (self.states[l - 1] if l else None, None if silent else self.states[l + 1])
        return Update(l, (u > 0) & (u < 2), below, above, inputs if self.keep_states else None)

    def pack(self, l):
        """The present codes of layer l, compact."""
        if self.packed[l] is None:
            self.packed[l] = compact(self.codes(l), self.states[l - 1])
        return self.packed[l]

    def put(self, l, state):
        self.states[l], self.silent[l] = state, False
        if l + 1 < len(self.layers):
            self.below[l + 1] = self.packed[l + 1] = None

    def restore(self, states, rows):
        """Put the rows (bool [N]) of earlier states back."""
        for l, old in enumerate(states):
            self.put(l, torch.where(rows.view(-1, 1, 1, 1), old, self.states[l]))

    def logits(self):
        return self.head(self.states[-1].flatten(1).to(self.readout))

    def energy(self):
        """[N]: ‖s‖² − Φ_β(x, s). Its slope is 2 s − ∂Φ_β/∂s, so equilibria are where it stands still, and
        updates of one layer after another never raise it in a free phase.
        """
        parts = [(s * (s - self.pooled(l)[0])).flatten(1).sum(1) for l, s in enumerate(self.states)]
        nudge = 0 if self.nudge is None else self.nudge.energy(self.logits())
        return torch.stack(parts).sum(0) + nudge

    def residual(self):
        """[N]: the largest |one more synchronous step − state| over an image's units."""
        updated = [activation(self.field(l)) for l in range(len(self.layers))]
        return largest_change(self.states, updated)


class Update(NamedTuple):
    """One update of a layer: all that is linear in it. slope: where σ has slope ½. below, above: codes of the
    layer and of the one above it, None where nothing comes from there. inputs: the states below and above, if
    kept.
    """

    layer: int
    slope: torch.Tensor
    below: torch.Tensor | None
    above: torch.Tensor | None
    inputs: tuple | None


class Nudge:
    """−β ∂loss/∂s_L for a batch, [N, features]: β W_oᵀ (onehot(y) − softmax(z)) for the cross-entropy of the
    logits z, β W_oᵀ (onehot(y) − z) for the squared error ½‖z − onehot(y)‖².
    """

    def __init__(self, net, labels, beta, loss="cross-entropy"):
        self.softmax = one_of("loss", loss, LOSSES) == "cross-entropy"
        self.weight = net.readout.weight
        self.target = F.one_hot(labels, net.classes).to(self.weight.dtype)
        number = not torch.is_tensor(beta)  # which a CUDA graph can fill in but not copy from the host
        self.beta = (self.weight.new_full((1,), beta) if number else beta.to(self.weight)).reshape(-1, 1)

    def energy(self, logits):
        """β · loss of every image, [N]: what the nudge adds to the energy."""
        if self.softmax:
            losses = -(self.target * logits.log_softmax(1)).sum(1)
        else:
            losses = 0.5 * (logits - self.target).square().sum(1)
        return self.beta.squeeze(1) * losses

    def __call__(self, logits):
        return (-self.beta * self.error(logits)) @ self.weight

    def error(self, logits):
        """∂loss/∂logits of every image, [N, classes]."""
        return (logits.softmax(1) if self.softmax else logits) - self.target


def activation(u):
    """The hard sigmoid σ(u) = clip(u / 2, 0, 1)."""
    return (u * 0.5).clamp_(0, 1)


class Drive(NamedTuple):
    """What an image sends into the network, constant through every phase: of the first layer, and the image
    itself.
    """

    pooled: torch.Tensor
    codes: torch.Tensor
    image: torch.Tensor  # normalised


def drive(net, images):
    """The `Drive` of images [N, C, H, W] in [0, 1]."""
    conv, image = net.convs[0], net.normalise(images)
    z = F.conv2d(image, conv.weight, conv.bias, padding=conv.padding)
    return Drive(*pool(z, net.pooling), image)


def zero_states(net, like):
    """All-zero states for a batch as large as that of the tensor `like`."""
    return tuple(
        like.new_zeros((len(like), *shape)).contiguous(memory_format=torch.channels_last)
        for shape in net.shapes
    )


def largest_change(old, new):
    """[N]: the largest |new − old| over all units of an image."""
    return torch.stack([(a - b).abs().amax(dim=(1, 2, 3)) for a, b in zip(old, new, strict=True)]).amax(dim=0)

"""The definition, by automatic differentiation of the primitive function Φ: slow, and what the closed form
must equal.

Nothing here uses `eplib.dynamics`, `.learning` or `.gradients`; only the network's parameters and autograd.
"""

import torch
import torch.nn.functional as F


def primitive(net, images, states, labels=None, beta=0.0, loss="cross-entropy"):
    """Φ_β(x, s) of every image, [N], written out from its definition."""
    below, phi = (images - net.mean) / net.std, 0.0
    for conv, padding, state in zip(net.convs, net.paddings, states, strict=True):
        z = F.conv2d(below, conv.weight, conv.bias, padding=padding)
        pooled = F.avg_pool2d(z, 2) if net.pooling == "average" else F.max_pool2d(z, 2)
        phi, below = phi + (pooled * state).flatten(1).sum(1), state
    if labels is not None:
        logits = states[-1].flatten(1) @ net.readout.weight.T + net.readout.bias
        phi = phi - beta * loss_of(logits, labels, loss)
    return phi


def loss_of(logits, labels, loss="cross-entropy"):
    """The loss of every image, [N]."""
    if loss == "cross-entropy":
        return F.cross_entropy(logits, labels, reduction="none")
    return 0.5 * (logits - F.one_hot(labels, logits.shape[1])).square().sum(1)


def relax(
    net, images, steps, order, labels=None, beta=0.0, start=None, create_graph=False, loss="cross-entropy"
):
    """States after `steps` steps of s_l ← clip(∂Φ_β/∂s_l / 2, 0, 1) in an order of `eplib.dynamics`, from
    zeros or `start`.

    With `create_graph` the states can be differentiated (back-propagation through time).
    """
    layers = range(len(net.convs))
    schedule = {
        "synchronous": [layers],
        "forward": [[l] for l in layers],
        "backward": [[l] for l in reversed(layers)],
        "even-odd": [g for g in (layers[1::2], layers[0::2]) if g],
    }[order]
    if start is None:
        start = [images.new_zeros((len(images), *shape)) for shape in net.shapes]
    states = [s if s.requires_grad else s.detach().requires_grad_() for s in start]
    for _ in range(steps):
        for group in schedule:
            states = [s.view_as(s) for s in states]  # partial derivatives: not through how a state came about
            phi = primitive(net, images, states, labels, beta, loss).sum()
            fields = torch.autograd.grad(phi, [states[l] for l in group], create_graph=create_graph)
            for l, u in zip(group, fields, strict=True):
                s = 0.5 * (1 + F.hardtanh(u - 1))
                states[l] = s if create_graph else s.detach().requires_grad_()
    return states


def logits(net, states):
    """Read-out of the last state, [N, classes]."""
    return F.linear(states[-1].flatten(1), net.readout.weight, net.readout.bias)


def nudged_gradients(
    net, images, labels, beta, free_steps, nudged_steps, order, loss="cross-entropy", one_sided=False
):
    """−[∂_θ Φ_β(s⁺) − ∂_θ Φ_{−β}(s⁻)] / (2βN) for every parameter, live arg-max, {name: tensor}; one-sided:
    −[∂_θ Φ_β(s⁺) − ∂_θ Φ(s*)] / (βN).
    """
    free = relax(net, images, free_steps, order)
    nudged = order if order == "synchronous" else "backward"
    names, parameters = zip(*net.named_parameters(), strict=True)
    total = 0.0
    for sign in (1, 0) if one_sided else (1, -1):
        states = free
        if sign:
            states = relax(net, images, nudged_steps, nudged, labels, sign * beta, start=free, loss=loss)
        phi = primitive(net, images, [s.detach() for s in states], labels, sign * beta, loss).sum()
        total = total - phi if sign == 1 else total + phi
    total = total / ((1 if one_sided else 2) * beta * len(images))
    return dict(zip(names, torch.autograd.grad(total, parameters), strict=True))


def bptt_gradients(net, images, labels, steps, order, loss="cross-entropy"):
    """Gradient of the batch-mean loss by back-propagation through every step, {name: tensor}."""
    states = relax(net, images, steps, order, create_graph=True)
    names, parameters = zip(*net.named_parameters(), strict=True)
    mean = loss_of(logits(net, states), labels, loss).mean()
    return dict(zip(names, torch.autograd.grad(mean, parameters), strict=True))

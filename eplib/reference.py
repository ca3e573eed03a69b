"""The definition, by automatic differentiation of the primitive function Φ: slow, and what the closed form
must equal.

Nothing here uses `eplib.dynamics`, `.learning` or `.gradients`; only the network's parameters and autograd.
"""

import torch
import torch.nn.functional as F


def primitive(net, images, states, labels=None, beta=0.0):
    """Φ_β(x, s) of every image, [N], written out from its definition."""
    below, phi = (images - net.mean) / net.std, 0.0
    for conv, padding, state in zip(net.convs, net.paddings, states, strict=True):
        pooled = F.max_pool2d(F.conv2d(below, conv.weight, conv.bias, padding=padding), 2)
        phi, below = phi + (pooled * state).flatten(1).sum(1), state
    if labels is not None:
        logits = states[-1].flatten(1) @ net.readout.weight.T + net.readout.bias
        phi = phi - beta * F.cross_entropy(logits, labels, reduction="none")
    return phi


def relax(net, images, steps, order, labels=None, beta=0.0, start=None, create_graph=False):
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
            phi = primitive(net, images, states, labels, beta).sum()
            fields = torch.autograd.grad(phi, [states[l] for l in group], create_graph=create_graph)
            for l, u in zip(group, fields, strict=True):
                s = 0.5 * (1 + F.hardtanh(u - 1))
                states[l] = s if create_graph else s.detach().requires_grad_()
    return states


def logits(net, states):
    """Read-out of the last state, [N, classes]."""
    return F.linear(states[-1].flatten(1), net.readout.weight, net.readout.bias)


def centred_gradients(net, images, labels, beta, free_steps, nudged_steps, order, free_start=None):
    """−[∂_θ Φ_β(s⁺) − ∂_θ Φ_{−β}(s⁻)] / (2βN) for every parameter, live arg-max, {name: tensor}."""
    free = relax(net, images, free_steps, order, start=free_start)
    nudged = order if order == "synchronous" else "backward"
    names, parameters = zip(*net.named_parameters(), strict=True)
    total = 0.0
    for sign in (1, -1):
        states = relax(net, images, nudged_steps, nudged, labels, sign * beta, start=free)
        total = total - sign * primitive(net, images, [s.detach() for s in states], labels, sign * beta).sum()
    gradients = torch.autograd.grad(total / (2 * beta * len(images)), parameters)
    return dict(zip(names, gradients, strict=True))

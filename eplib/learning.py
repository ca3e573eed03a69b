"""Weight gradients of an EP-CNN by Equilibrium Propagation (Laborieux et al. 2021, eq. 14; arXiv 2401.11543).

Centred (symmetric) estimator: from the free state, one nudged phase with +β and one with −β, then

    dL/dθ ≈ −[∂_θ Φ_β(s⁺) − ∂_θ Φ_{−β}(s⁻)] / (2β),   averaged over the batch.
"""

import torch
from torch.nn.grad import conv2d_weight

from eplib.checks import InputError, check_labels, one_of
from eplib.dynamics import Drive, Nudge, Phase, drive, groups, nudged_order, unpool

ESTIMATORS = ("centred",)


@torch.no_grad()
def weight_gradients(
    net,
    images,
    labels,
    estimator="centred",
    beta=0.5,
    free_steps=None,
    nudged_steps=10,
    order=None,
    arg_max="live",
):
    """Gradient of the batch-mean loss for every parameter, {name: tensor}, as handed to the optimiser.

    beta: nudging strength β > 0. free_steps, order: of the free phase, by default the network's own; the
    nudged phases are synchronous when it is, otherwise backward. nudged_steps: of each nudged phase. arg_max:
    "live" (the paper: pooling winners move during the nudged phases) or "frozen" at the free state. Raises
    InputError for arguments that do not fit.
    """
    one_of("estimator", estimator, ESTIMATORS)
    one_of("arg_max", arg_max, ("live", "frozen"))
    net.check(images)
    check_labels(labels, images, net.classes)
    if not beta > 0 or nudged_steps < 1:
        raise InputError(
            f"beta = {beta}, nudged_steps = {nudged_steps}: give beta above 0 and 1 step or more"
        )
    order = order or net.order
    image = drive(net, images)
    free = Phase(net, image)
    for _ in range(net.steps if free_steps is None else free_steps):
        free.step(groups(order, len(net.convs)))
    nudged = nudge_both(net, image, free, labels, beta, nudged_steps, order, arg_max)
    return centred_gradients(net, image, nudged, beta)


def nudge_both(net, image, free, labels, beta, steps, order, arg_max):
    """Both nudged phases in one batch of 2N: the first half with +β, the second with −β."""
    count = len(labels)
    twice = Drive(*(torch.cat([x, x]) for x in image))
    states = [torch.cat([s, s]) for s in free.states]
    betas = net.mean.new_full((2 * count,), beta)
    betas[count:] = -beta
    phase = Phase(net, twice, states, Nudge(net, torch.cat([labels, labels]), betas))
    if arg_max == "frozen":
        phase.frozen = [torch.cat([k, k]) for k in (free.codes(l) for l in range(len(net.convs)))]
    for _ in range(steps):
        phase.step(groups(nudged_order(order), len(net.convs)))
    return phase


def centred_gradients(net, image, phase, beta):
    """The centred estimate from a phase whose first half was nudged with +β and second half with −β."""
    count = len(image.image)
    sign = net.mean.new_full((2 * count, 1, 1, 1), -1.0 / (2 * beta * count))
    sign[count:] *= -1
    gradients = {}
    for l, conv in enumerate(net.convs):
        signed = phase.states[l] * sign
        gradients[f"convs.{l}.bias"] = signed.sum(dim=(0, 2, 3))
        if l == 0:  # both halves see the same image and share its codes
            below, codes, signed = image.image, image.codes, signed[:count] + signed[count:]
        else:
            below, codes = phase.states[l - 1], phase.codes(l)
        output = unpool(signed, codes, conv.padding, below.shape)
        gradients[f"convs.{l}.weight"] = conv2d_weight(below, conv.weight.shape, output, padding=conv.padding)
    error = (phase.logits().softmax(1) - phase.nudge.target) / (2 * count)
    gradients["readout.weight"] = error.T @ phase.states[-1].flatten(1)
    gradients["readout.bias"] = error.sum(0)
    return {name: gradients[name] for name, _ in net.named_parameters()}

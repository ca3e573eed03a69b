"""Weight gradients of an EP-CNN: Equilibrium Propagation in its variants, and what it is measured against.

Centred (symmetric, three-phase) Equilibrium Propagation (Laborieux et al. 2021, eq. 14; arXiv 2401.11543):
from the free state s*, one nudged phase with +β and one with −β, then

    dL/dθ ≈ −[∂_θ Φ_β(s⁺) − ∂_θ Φ_{−β}(s⁻)] / (2β),   averaged over the batch.

One-sided (Scellier and Bengio 2017): −[∂_θ Φ_β(s⁺) − ∂_θ Φ(s*)] / β. Random-sign: the same with the sign of β
drawn for the batch. Adjoint: the limit β → 0, by implicit differentiation. BPTT: exact back-propagation
through the steps of the free phase. Networks trained by the last two are twins of an EP-CNN, not EP-CNNs.
"""

import torch
from torch.nn.grad import conv2d_weight

from eplib import gradients
from eplib.checks import InputError, check_labels, one_of
from eplib.phases import LOSSES, Drive, Nudge, Phase, drive, groups, nudged_order
from eplib.pooling import unpool

ESTIMATORS = ("centred", "one-sided", "random-sign", "adjoint", "bptt")


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
    loss="cross-entropy",
    generator=None,
    dtype=None,
):
    """Gradient of the batch-mean loss for every parameter, {name: tensor}, as handed to the optimiser.

    estimator: see the module. beta: nudging strength β > 0 (adjoint and bptt take none). free_steps, order:
    of the free phase, by default the network's own; the nudged phases are synchronous when it is, otherwise
    backward. nudged_steps: of each nudged phase, or sweeps of the adjoint. arg_max: "live" (the paper:
    pooling winners move during the nudged phases) or "frozen" at the free state (the same for average
    pooling). loss: "cross-entropy" or "squared-error" (½‖logits − onehot‖²). generator: draws the sign of
    "random-sign". dtype: of the states and of the convolutions that move them (16 bits for speed: not for
    adjoint and bptt); the gradient is accumulated in the network's precision. Raises InputError for arguments
    that do not fit.
    """
    one_of("estimator", estimator, ESTIMATORS)
    one_of("arg_max", arg_max, ("live", "frozen"))
    one_of("loss", loss, LOSSES)
    net.check(images)
    check_labels(labels, images, net.classes)
    if not beta > 0 or nudged_steps < 1:
        raise InputError(
            f"beta = {beta}, nudged_steps = {nudged_steps}: give beta above 0 and 1 step or more"
        )
    if dtype is not None and estimator in ("adjoint", "bptt"):
        raise InputError(
            f"dtype = {dtype} with estimator {estimator!r}: only nudged phases may run in 16 bits"
        )
    if estimator == "random-sign":
        beta = beta if torch.rand((), generator=generator) < 0.5 else -beta
    steps, order = net.steps if free_steps is None else free_steps, order or net.order
    return compute(net, images, labels, estimator, beta, steps, nudged_steps, order, arg_max, loss, dtype)


@torch.no_grad()
def compute(
    net,
    images,
    labels,
    estimator,
    beta,
    free_steps,
    nudged_steps,
    order,
    arg_max,
    loss="cross-entropy",
    dtype=None,
):
    """`weight_gradients` without its checks, and without a read from the device: it can be captured."""
    image = drive(net, images)
    free = free_phase(net, image, free_steps, order, estimator == "bptt", dtype)
    return estimate(net, image, free, labels, estimator, beta, nudged_steps, order, arg_max, loss)


def free_phase(net, image, steps, order, taped=False, dtype=None):
    """The `Phase` after `steps` free steps from zero; taped, with all that BPTT needs."""
    free = Phase(net, image, dtype=dtype)
    free.tape, free.keep_states = ([], True) if taped else (None, False)
    for _ in range(steps):
        free.step(groups(order, len(net.convs)))
    return free


def estimate(net, image, free, labels, estimator, beta, nudged_steps, order, arg_max, loss="cross-entropy"):
    """The estimate from a free phase that has been run (and taped, for "bptt"); see `weight_gradients`."""
    if estimator in ("adjoint", "bptt"):
        return _differentiated(net, image, free, labels, loss, estimator, nudged_steps)
    betas = (beta, -beta) if estimator == "centred" else (beta,)
    nudged = nudge(net, image, free, labels, betas, nudged_steps, order, arg_max, loss)
    return contrast(net, image, nudged, free, betas)


def nudge(net, image, free, labels, betas, steps, order, arg_max, loss):
    """One nudged phase for every β, all in one batch: the first N images with the first β, and so on."""

    def repeat(x):
        return torch.cat([x] * len(betas))

    strengths = torch.cat([net.mean.new_full((len(labels),), beta) for beta in betas])
    pull = Nudge(net, repeat(labels), strengths, loss)
    phase = Phase(net, Drive(*(repeat(x) for x in image)), [repeat(s) for s in free.states], pull, free.dtype)
    if arg_max == "frozen":
        phase.frozen = [repeat(free.codes(l)) for l in range(len(net.convs))]
    for _ in range(steps):
        phase.step(groups(nudged_order(order), len(net.convs)))
    return phase


def contrast(net, image, nudged, free, betas):
    """The estimate from nudged phases: of two, their difference; of one, its difference to the free state."""
    count = len(image.image)
    precise = net.mean.dtype
    if len(betas) == 2:
        states = [s.to(precise) for s in nudged.states]
        codes = [nudged.codes(l) for l in range(len(states))]
    else:
        states = [torch.cat([a, b]).to(precise) for a, b in zip(nudged.states, free.states, strict=True)]
        kept = nudged.frozen or [free.codes(l) for l in range(len(states))]
        codes = [torch.cat([nudged.codes(l), kept[l]]) for l in range(len(states))]
    weight = net.mean.new_full((2 * count, 1, 1, 1), -1.0 / (len(betas) * betas[0] * count))
    weight[count:] *= -1
    found = {}
    for l, conv in enumerate(net.convs):
        signed = states[l] * weight
        found[f"convs.{l}.bias"] = signed.sum(dim=(0, 2, 3))
        if l == 0:  # both halves see the same image and share its codes
            found["convs.0.weight"] = _weight(conv, image.image, signed[:count] + signed[count:], image.codes)
        else:
            found[f"convs.{l}.weight"] = _weight(conv, states[l - 1], signed, codes[l])
    error = nudged.nudge.error(nudged.logits()) / len(nudged.states[-1])
    return _complete(net, found, error, nudged.states[-1].to(precise))


def _differentiated(net, image, free, labels, loss, estimator, sweeps):
    """The exact gradient: of the settled state (adjoint, by `sweeps` sweeps), or through every step
    (bptt).
    """
    error = Nudge(net, labels, 1.0, loss).error(free.logits()) / len(labels)
    pull = (error @ net.readout.weight).view_as(free.states[-1])
    found = {f"convs.{l}.weight": torch.zeros_like(conv.weight) for l, conv in enumerate(net.convs)}
    found |= {f"convs.{l}.bias": torch.zeros_like(conv.bias) for l, conv in enumerate(net.convs)}

    def add(l, b, below, codes, above, codes_above):
        found[f"convs.{l}.bias"] += b.sum(dim=(0, 2, 3))
        if below is not None:
            found[f"convs.{l}.weight"] += _weight(net.convs[l], below, b, codes)
        if above is not None:
            found[f"convs.{l + 1}.weight"] += _weight(net.convs[l + 1], b, above, codes_above)

    first = torch.zeros_like(free.states[0])
    if estimator == "adjoint":
        last = len(net.convs) - 1
        for l, b in enumerate(gradients.adjoint(free, pull, sweeps)[0]):
            above = (None, None) if l == last else (free.states[l + 1], free.codes(l + 1))
            add(l, b, free.states[l - 1] if l else None, free.codes(l), *above)
            first += b if l == 0 else 0
    else:
        for update, b in gradients.backward(free, pull):
            below, above = update.inputs
            codes = [None if k is None else k.long() for k in (update.below, update.above)]
            add(update.layer, b, below, codes[0], above, codes[1])
            first += b if update.layer == 0 else 0
    found["convs.0.weight"] += _weight(net.convs[0], image.image, first, image.codes)
    return _complete(net, found, error, free.states[-1])


def _weight(conv, below, pooled, codes):
    """∂⟨pooled, pool(W ∗ below)⟩ / ∂W with the winners `codes`."""
    output = unpool(pooled, codes, conv.padding, below.shape)
    return conv2d_weight(below, conv.weight.shape, output, padding=conv.padding)


def _complete(net, found, error, last):
    """Add the read-out's gradient, and put everything in the order of the parameters."""
    found |= {"readout.weight": error.T @ last.flatten(1), "readout.bias": error.sum(0)}
    return {name: found[name] for name, _ in net.named_parameters()}

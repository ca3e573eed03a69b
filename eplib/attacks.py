"""Attacks on any classifier of this project, by torchattacks: true labels, ε in pixel units of [0, 1],
clipped images.
"""

from dataclasses import dataclass

import psutil
import torch
from torch import nn

from eplib import gradients
from eplib.checks import NORMS, InputError, one_of
from eplib.network import EPCNN


@dataclass(frozen=True)
class ThreatModel:
    """What an attacker may do: change an image by at most `epsilon` (pixel units of [0, 1]) in `norm`,
    staying in [0, 1].
    """

    norm: str
    epsilon: float

    def __post_init__(self):
        one_of("norm", self.norm, NORMS)
        if not 0 <= self.epsilon < float("inf"):
            raise InputError(f"epsilon = {self.epsilon}: give 0 or more, in pixel units of [0, 1]")

    def distance(self, images, others):
        """[N]: the distance of two batches in this norm."""
        difference = (images - others).flatten(1)
        return difference.abs().amax(1) if self.norm == "linf" else difference.norm(dim=1)


class AttackedModel(nn.Module):
    """Network, prediction steps and gradient method as the plain `nn.Module` that attack libraries take.

    net: an EPCNN or any classifier with images [N, C, H, W] in [0, 1] -> logits. steps, order: of the free
    phase, by default the network's own. gradient: of `gradients.METHODS`: "unrolled" (exact, through those
    steps, or through the `last` of them), "leaky", "ep", or "adjoint" (for images that have settled; the
    others get the unrolled gradient and are counted in `fallbacks`). dtype: of states and convolutions, by
    default the network's; 16 bits are for searching only. Works with and without autograd. Feed-forward
    networks take no steps and use autograd.
    """

    def __init__(self, net, steps=None, order=None, gradient="unrolled", dtype=None, last=None):
        super().__init__()
        self.net = net
        self.recurrent = isinstance(net, EPCNN)
        if not self.recurrent and (steps is not None or order is not None):
            raise InputError(
                f"steps = {steps}, order = {order}: a feed-forward network has no free phase, leave them out"
            )
        self.gradient = gradients.check_method(gradient, last) if self.recurrent else "autograd"
        self.steps = (net.steps if steps is None else steps) if self.recurrent else None
        self.order = (order or net.order) if self.recurrent else None
        self.dtype, self.last, self.fallbacks = dtype, last, 0
        self.eval()

    def train(self, mode=True):
        """Always in evaluation mode: torchattacks would otherwise leave BatchNorm in training mode after an
        attack.
        """
        return super().train(False)

    def bytes_an_image(self):
        """What the exact gradient of one image keeps for its backward pass: 0 for a feed-forward network."""
        if not self.recurrent or self.gradient not in gradients.TAPED:
            return 0
        size = (1, self.net.in_channels, self.net.image_size, self.net.image_size)
        return self.follow(self.net.mean.new_zeros(size), self.gradient).bytes

    def follow(self, images, method):
        """`gradients.follow` with this model's steps, order and dtype."""
        return gradients.follow(self.net, images, self.steps, self.order, method, self.dtype, self.last)

    def forward(self, images):
        images = _PlainLayout.apply(images)
        if not self.recurrent:
            return self.net(images)
        return _Logits.apply(images, self, torch.is_grad_enabled() and images.requires_grad)


class _PlainLayout(torch.autograd.Function):
    """The images themselves; their gradient comes back contiguous, as torchattacks' ℓ2 attacks take it for
    granted.
    """

    @staticmethod
    def forward(_, images):
        return images.view_as(images)

    @staticmethod
    def backward(_, pull):
        return pull.contiguous()


class _Logits(torch.autograd.Function):
    """Logits after a free phase; backward by the closed forms of `eplib.gradients`."""

    @staticmethod
    def forward(context, images, attacked, differentiable):
        method = attacked.gradient if differentiable else None
        trace = attacked.follow(images, method)
        context.attacked, context.trace = attacked, trace
        context.save_for_backward(images if method == "adjoint" else None)
        return trace.logits.to(images.dtype)

    @staticmethod
    def backward(context, pull):
        trace, attacked = context.trace, context.attacked
        if trace.method != "adjoint":
            return trace.pull_back(pull).to(pull.dtype), None, None
        images, usable = context.saved_tensors[0], trace.residual < gradients.SETTLED
        result = torch.empty_like(images)
        if usable.any():
            settled = trace.rows(usable)  # an image that has not would keep the others' adjoint from settling
            result[usable] = settled.pull_back(pull[usable]).to(pull.dtype)
            usable = usable.masked_scatter(usable, settled.solved)
        if not usable.all():
            unrolled = attacked.follow(images[~usable], "unrolled")
            result[~usable] = unrolled.pull_back(pull[~usable]).to(pull.dtype)
        attacked.fallbacks += int((~usable).sum())
        return result, None, None


def pgd(model, images, labels, threat, steps=20):
    """Projected gradient descent on cross-entropy with true labels: adversarial images [N, C, H, W].

    `steps` steps of 2.5 ε / steps from the image itself (as published: no random start), projected to the
    threat model and clipped to [0, 1]. model: images -> logits, differentiable in the images. Raises
    InputError for bad input.
    """
    import torchattacks

    if steps < 1:
        raise InputError(f"steps = {steps}: give 1 or more")
    if threat.epsilon == 0:
        return images.clone()
    step = 2.5 * threat.epsilon / steps
    kind = {"linf": torchattacks.PGD, "l2": torchattacks.PGDL2}[threat.norm]
    # its default, 1e-10, stops the steps of an image that the network is sure about
    offset = {"eps_for_division": 1e-30} if threat.norm == "l2" else {}
    attack = kind(model, eps=threat.epsilon, alpha=step, steps=steps, random_start=False, **offset)
    with torch.enable_grad():
        return attack(images.detach().contiguous(), labels).detach()


def fitting(batch, bytes_an_image, free):
    """`batch`, halved until that many images keep no more than half of `free` bytes; 1 at least."""
    while batch > 1 and batch * bytes_an_image > free / 2:
        batch = (batch + 1) // 2
    return batch


def free_memory(device):
    """Bytes that are free on a device."""
    if torch.device(device).type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available


@torch.no_grad()
def predicted(model, images):
    """Predicted classes, int64 [N]."""
    return model(images).argmax(1)

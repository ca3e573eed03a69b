"""The energy-based convolutional network (EP-CNN): parameters, normalisation, primitive function, logits.

Convolution + 2×2 pooling blocks and a linear read-out, as in Laborieux et al. (2021) and arXiv
2401.11543. The state is s = (s_1, …, s_L), clamped at s_0 = the normalised image, and the primitive function
is

    Φ(x, s) = Σ_l ⟨ s_l, pool(W_l ∗ s_{l-1} + b_l) ⟩        Φ_β = Φ − β · cross-entropy(W_o s_L + b_o, y).

Both papers pool by maximum; `pooling` may be the average instead.
"""

import torch
import torch.nn.functional as F
from torch import nn

from eplib import dynamics, phases
from eplib.checks import InputError, check_images, one_of
from eplib.pooling import POOLINGS, pool


class EPCNN(nn.Module):
    """A network whose prediction is read out of an equilibrium.

    channels: output channels of each 3×3 convolution (stride 1), each followed by 2×2 pooling.
    paddings: zero padding of each convolution, 0 or more.
    mean, std: per-channel normalisation constants, applied inside the model to images in [0, 1].
    steps, order: the free phase that defines the network (see `eplib.dynamics.settle`). The network is
        multistable: other steps or another order may end in another equilibrium, so both are part of it.
    pooling: "max" or "average".

    Attributes: `convs` (ModuleList of Conv2d), `readout` (Linear on the flattened last state), buffers `mean`
    and `std`, `shapes` (the [C, H, W] of every state), `settings`. Raises InputError for an unknown order or
    pooling, and for settings that leave no pixel to pool.
    """

    def __init__(
        self,
        channels,
        paddings,
        classes=10,
        in_channels=3,
        image_size=32,
        mean=0.0,
        std=1.0,
        steps=20,
        order="forward",
        pooling="max",
    ):
        super().__init__()
        channels, paddings = tuple(channels), tuple(paddings)
        if not channels or len(channels) != len(paddings):
            raise InputError(f"channels {channels} and paddings {paddings}: give one padding for every layer")
        if steps < 1:
            raise InputError(f"steps = {steps}: a free phase takes at least 1 step")
        self.channels, self.paddings, self.classes = channels, paddings, classes
        self.in_channels, self.image_size = in_channels, image_size
        self.steps, self.order = steps, one_of("order", order, phases.ORDERS)
        self.pooling = one_of("pooling", pooling, POOLINGS)
        self.shapes = state_shapes(channels, paddings, image_size)
        pairs = zip((in_channels, *channels[:-1]), channels, paddings, strict=True)
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, padding=p) for a, b, p in pairs)
        self.readout = nn.Linear(self.shapes[-1].numel(), classes)
        self.register_buffer("mean", per_channel(mean, in_channels))
        self.register_buffer("std", per_channel(std, in_channels))
        self.to(memory_format=torch.channels_last)

    @property
    def settings(self):
        """The arguments that build a network of this architecture and dynamics again, all but mean and std,
        as JSON takes them.
        """
        names = ("classes", "in_channels", "image_size", "steps", "order", "pooling")
        shape = {"channels": list(self.channels), "paddings": list(self.paddings)}
        return shape | {name: getattr(self, name) for name in names}

    def forward(self, images):
        """Logits [N, classes] read out after the network's own free phase; no autograd graph is built."""
        return dynamics.settle(self, images).logits

    def normalise(self, images):
        """Images [N, C, H, W] in [0, 1] -> (images − mean) / std in the network's precision, channels
        last.
        """
        x = images.to(self.mean.dtype)
        return ((x - self.mean) / self.std).contiguous(memory_format=torch.channels_last)

    def primitive(self, images, states, labels=None, beta=0.0, loss="cross-entropy"):
        """Φ_β(x, s) of every image, [N]: Φ when `labels` is None, otherwise Φ − β · loss.

        Differentiable by autograd in images, states and parameters: this is the definition that the closed
        form of `eplib.dynamics` is tested against.
        """
        below, phi = self.normalise(images), 0.0
        for conv, state in zip(self.convs, states, strict=True):
            phi = phi + (state * pool(conv(below), self.pooling)[0]).sum(dim=(1, 2, 3))
            below = state
        if labels is None:
            return phi
        logits = self.readout(states[-1].flatten(1))
        if loss == "cross-entropy":
            return phi - beta * F.cross_entropy(logits, labels, reduction="none")
        return phi - beta * 0.5 * (logits - F.one_hot(labels, self.classes)).square().sum(1)

    def check(self, images):
        """Raise InputError unless `images` is [N, C, H, W], floating, finite and within [0, 1]."""
        check_images(images, (self.in_channels, self.image_size, self.image_size))


def state_shapes(channels, paddings, image_size):
    """The [C, H, W] of every state: a 3×3 convolution at stride 1, then 2×2 pooling (an odd last row is
    dropped).
    """
    shapes, size = [], image_size
    for c, p in zip(channels, paddings, strict=True):
        size = (size + 2 * p - 2) // 2
        if size < 1:
            raise InputError(
                f"image_size {image_size} is too small for {len(channels)} layers with paddings {paddings}:"
                " use fewer layers, more padding or larger images"
            )
        shapes.append(torch.Size((c, size, size)))
    return tuple(shapes)


def per_channel(value, channels):
    """A number or one per channel, as [1, C, 1, 1]."""
    value = torch.as_tensor(value, dtype=torch.get_default_dtype()).flatten()
    return value.expand(channels).clone().view(1, channels, 1, 1)

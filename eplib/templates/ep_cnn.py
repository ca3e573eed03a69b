"""An energy-based convolutional network (EP-CNN): images [N, C, H, W] in [0, 1] to logits [N, classes].

    from model import load_model

    model = load_model()

It needs PyTorch and safetensors alone. A prediction is read out after a fixed number of steps towards an
equilibrium, from zero, and autograd goes back through all of them: an attack that differentiates the logits
sees the whole network. Steps and their order are part of the network. card.md says what was measured.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

SETTINGS = {}


class EPCNN(nn.Module):
    """States s_1 … s_L; a step of layer l is s_l ← σ(pool(W_l ∗ s_{l−1} + b_l) + W_{l+1}ᵀ ∗ unpool(s_{l+1})),
    σ(u) = clip(u / 2, 0, 1), where unpool puts values at the arg-max of the layer above, or spreads averages.
    """

    def __init__(self, channels, paddings, classes, in_channels, image_size, steps, order, pooling):
        super().__init__()
        self.steps, self.average = steps, pooling == "average"
        layers = tuple(range(len(channels)))
        self.groups = {  # layers that are updated together, one group after the other
            "synchronous": (layers,),
            "even-odd": (layers[1::2], layers[0::2]),
            "forward": tuple((l,) for l in layers),
            "backward": tuple((l,) for l in reversed(layers)),
        }[order]
        self.convs, size, below = nn.ModuleList(), image_size, in_channels
        for width, padding in zip(channels, paddings, strict=True):
            self.convs.append(nn.Conv2d(below, width, 3, padding=padding))
            size, below = (size + 2 * padding - 2) // 2, width
        self.readout = nn.Linear(channels[-1] * size * size, classes)
        self.register_buffer("mean", torch.zeros(1, in_channels, 1, 1))
        self.register_buffer("std", torch.ones(1, in_channels, 1, 1))
        self.to(memory_format=torch.channels_last)

    def pool(self, z):
        """(2×2 pooled z, where its maxima lie, the size of its planes)."""
        if self.average:
            return F.avg_pool2d(z, 2), None, z.shape[-2:]
        return *F.max_pool2d(z, 2, return_indices=True), z.shape[-2:]

    def unpool(self, state, places, size):
        """The transpose of pooling."""
        if not self.average:
            return F.max_unpool2d(state, places, 2, output_size=size)
        spread = F.interpolate(state * 0.25, scale_factor=2)
        return F.pad(spread, (0, size[1] - spread.shape[-1], 0, size[0] - spread.shape[-2]))

    def forward(self, images):
        x = (images.to(self.mean.dtype) - self.mean) / self.std
        x = x.contiguous(memory_format=torch.channels_last)
        pooled = [self.pool(self.convs[0](x))]  # what each layer gets from below
        for conv in self.convs[1:]:
            pooled.append(self.pool(conv(torch.zeros_like(pooled[-1][0]))))
        states = [torch.zeros_like(p[0]) for p in pooled]
        for _ in range(self.steps):
            for group in self.groups:
                fields = [self.field(l, states, pooled) for l in group]
                for l, u in zip(group, fields, strict=True):
                    states[l] = F.hardtanh(u * 0.5, 0.0, 1.0)
                for l in group:
                    if l + 1 < len(states):
                        pooled[l + 1] = self.pool(self.convs[l + 1](states[l]))
        return self.readout(states[-1].flatten(1))

    def field(self, l, states, pooled):
        """u_l: from below, and from above."""
        if l + 1 == len(states):
            return pooled[l][0]
        above = self.convs[l + 1]
        sent = self.unpool(states[l + 1], *pooled[l + 1][1:])
        return F.conv_transpose2d(sent, above.weight, padding=above.padding) + pooled[l][0]


def load_model(folder=None):
    """The network whose weights are in a folder, by default that of this file, for evaluation."""
    model = EPCNN(**SETTINGS)
    folder = Path(__file__).parent if folder is None else Path(folder)
    model.load_state_dict(load_file(folder / "weights.safetensors"))
    return model.eval().requires_grad_(False)

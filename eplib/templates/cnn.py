"""A feed-forward convolutional network: images [N, C, H, W] in [0, 1] to logits [N, classes].

    from model import load_model

    model = load_model()

It needs PyTorch and safetensors alone. card.md says what was measured.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

SETTINGS = {}
UNITS = {"relu": F.relu, "hard-sigmoid": F.hardsigmoid, "ep": lambda u: F.hardtanh(u * 0.5, 0.0, 1.0)}


class CNN(nn.Module):
    """[3×3 convolution, BatchNorm or nothing, unit, 2×2 max-pooling] per layer, then a linear read-out."""

    def __init__(self, channels, paddings, classes, in_channels, image_size, norm, unit):
        super().__init__()
        self.unit = UNITS[unit]
        self.convs, self.norms, size, below = nn.ModuleList(), nn.ModuleList(), image_size, in_channels
        for width, padding in zip(channels, paddings, strict=True):
            self.convs.append(nn.Conv2d(below, width, 3, padding=padding, bias=not norm))
            self.norms.append(nn.BatchNorm2d(width) if norm else nn.Identity())
            size, below = (size + 2 * padding - 2) // 2, width
        self.readout = nn.Linear(channels[-1] * size * size, classes)
        self.register_buffer("mean", torch.zeros(1, in_channels, 1, 1))
        self.register_buffer("std", torch.ones(1, in_channels, 1, 1))
        self.to(memory_format=torch.channels_last)

    def forward(self, images):
        x = (images.to(self.mean.dtype) - self.mean) / self.std
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.max_pool2d(self.unit(norm(conv(x))), 2)
        return self.readout(x.flatten(1))


def load_model(folder=None):
    """The network whose weights are in a folder, by default that of this file, for evaluation."""
    model = CNN(**SETTINGS)
    folder = Path(__file__).parent if folder is None else Path(folder)
    model.load_state_dict(load_file(folder / "weights.safetensors"))
    return model.eval().requires_grad_(False)

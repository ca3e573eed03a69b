"""Feed-forward networks to compare with, a read-out fitted to fixed features, and the one place that builds a
model.
"""

import torch
import torch.nn.functional as F
from torch import nn

from eplib.checks import InputError, check_images, one_of
from eplib.dynamics import settle
from eplib.network import EPCNN, per_channel, state_shapes

WEIGHT_DECAYS = (0.0, 1e-5, 1e-4, 1e-3, 1e-2)  # tried for a fitted read-out, chosen on validation images


class CNN(nn.Module):
    """The feed-forward CNN of arXiv 2401.11543: [convolution without bias, BatchNorm, ReLU, 2×2 max-pooling]
    per layer, then a linear read-out. Same arguments as `eplib.network.EPCNN`; normalisation is inside.
    Logits [N, classes].
    """

    def __init__(self, channels, paddings, classes=10, in_channels=3, image_size=32, mean=0.0, std=1.0):
        super().__init__()
        self.channels, self.paddings, self.classes = tuple(channels), tuple(paddings), classes
        self.in_channels, self.image_size = in_channels, image_size
        pairs = zip((in_channels, *channels[:-1]), channels, paddings, strict=True)
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, padding=p, bias=False) for a, b, p in pairs)
        self.norms = nn.ModuleList(nn.BatchNorm2d(c) for c in channels)
        self.readout = nn.Linear(state_shapes(channels, paddings, image_size)[-1].numel(), classes)
        self.register_buffer("mean", per_channel(mean, in_channels))
        self.register_buffer("std", per_channel(std, in_channels))
        self.to(memory_format=torch.channels_last)

    def forward(self, images):
        x = (images.to(self.mean.dtype) - self.mean) / self.std
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.max_pool2d(F.relu(norm(conv(x))), 2)
        return self.readout(x.flatten(1))

    def check(self, images):
        """Raise InputError unless `images` is [N, C, H, W], floating, finite and within [0, 1]."""
        check_images(images, (self.in_channels, self.image_size, self.image_size))


KINDS = {"EPCNN": EPCNN, "CNN": CNN}


def describe(net):
    """The arguments that build a network of the same kind and size again, as JSON takes them."""
    settings = {
        "kind": type(net).__name__,
        "channels": list(net.channels),
        "paddings": list(net.paddings),
        "classes": net.classes,
        "in_channels": net.in_channels,
        "image_size": net.image_size,
    }
    return settings | ({"steps": net.steps, "order": net.order} if isinstance(net, EPCNN) else {})


def build(description):
    """A new network from what `describe` gave; InputError if it names no network of this project."""
    if not isinstance(description, dict):
        raise InputError(f"the description of a network is {description!r}: use a checkpoint of this version")
    settings = dict(description)
    kind = one_of("kind of network", settings.pop("kind", None), KINDS)
    try:
        return KINDS[kind](**settings)
    except InputError:
        raise
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"the description of a {kind} does not fit ({error}): use a checkpoint of this version"
        ) from error


def fit_readout(net, images, labels, validation_images, validation_labels, batch=500):
    """Fit the read-out of an EP-CNN to its free states by multinomial logistic regression, everything else as
    it is.

    The weight decay is the best of `WEIGHT_DECAYS` on the validation images. Returns {weight decay:
    accuracy}.
    """

    def features(x):
        return torch.cat([settle(net, part).states[-1].flatten(1) for part in x.split(batch)])

    states, held_out = features(images), features(validation_images)
    centre, spread = states.mean(0), states.std(0).clamp(min=1e-3)
    scores, best = {}, None
    for decay in WEIGHT_DECAYS:
        weight, bias = _logistic_regression((states - centre) / spread, labels, net.classes, decay)
        weight = weight / spread
        bias = bias - weight @ centre
        scores[decay] = (
            (F.linear(held_out, weight, bias).argmax(1) == validation_labels).double().mean().item()
        )
        if scores[decay] == max(scores.values()):
            best = weight, bias
    with torch.no_grad():
        net.readout.weight.copy_(best[0])
        net.readout.bias.copy_(best[1])
    return scores


def _logistic_regression(features, labels, classes, decay):
    weight = torch.zeros(
        classes, features.shape[1], dtype=features.dtype, device=features.device, requires_grad=True
    )
    bias = torch.zeros(classes, dtype=features.dtype, device=features.device, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [weight, bias], max_iter=500, tolerance_change=1e-9, line_search_fn="strong_wolfe"
    )

    def closure():
        optimiser.zero_grad()
        loss = F.cross_entropy(F.linear(features, weight, bias), labels) + decay * weight.square().sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    return weight.detach(), bias.detach()

"""Feed-forward networks to compare with, a read-out fitted to fixed features, and the one place that builds a
model.
"""

import torch
import torch.nn.functional as F
from torch import nn

from eplib.checks import InputError, check_images, one_of
from eplib.dynamics import settle
from eplib.network import EPCNN, per_channel, state_shapes
from eplib.phases import activation

WEIGHT_DECAYS = (0.0, 1e-5, 1e-4, 1e-3, 1e-2)  # tried for a fitted read-out, chosen on validation images


UNITS = {"relu": F.relu, "hard-sigmoid": F.hardsigmoid, "ep": activation}


class CNN(nn.Module):
    """A feed-forward CNN: [convolution, BatchNorm, unit, 2×2 max-pooling] per layer, then a linear read-out.

    By default that of arXiv 2401.11543: with BatchNorm, without biases, ReLU. norm: without it, convolutions
    have biases. unit: "relu", "hard-sigmoid" (clip((u + 3) / 6, 0, 1), as in the paper's repository) or "ep"
    (clip(u / 2, 0, 1), that of an EP-CNN, which pools before it; for a unit that never falls that is the same
    function). Otherwise the arguments of `eplib.network.EPCNN`; normalisation is inside. Logits [N, classes].
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
        norm=True,
        unit="relu",
    ):
        super().__init__()
        self.channels, self.paddings, self.classes = tuple(channels), tuple(paddings), classes
        self.in_channels, self.image_size = in_channels, image_size
        self.norm, self.unit = norm, one_of("unit", unit, UNITS)
        pairs = zip((in_channels, *channels[:-1]), channels, paddings, strict=True)
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, padding=p, bias=not norm) for a, b, p in pairs)
        self.norms = nn.ModuleList(nn.BatchNorm2d(c) if norm else nn.Identity() for c in channels)
        self.shapes = state_shapes(channels, paddings, image_size)
        self.readout = nn.Linear(self.shapes[-1].numel(), classes)
        self.register_buffer("mean", per_channel(mean, in_channels))
        self.register_buffer("std", per_channel(std, in_channels))
        self.to(memory_format=torch.channels_last)

    @property
    def settings(self):
        """The arguments that build the same architecture again, as JSON takes them."""
        return {
            "channels": list(self.channels),
            "paddings": list(self.paddings),
            "classes": self.classes,
            "in_channels": self.in_channels,
            "image_size": self.image_size,
            "norm": self.norm,
            "unit": self.unit,
        }

    def layers(self, images):
        """The output of every layer after pooling, L tensors shaped like an EP-CNN's states."""
        x, found = (images.to(self.mean.dtype) - self.mean) / self.std, []
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.max_pool2d(UNITS[self.unit](norm(conv(x))), 2)
            found.append(x)
        return found

    def forward(self, images):
        return self.readout(self.layers(images)[-1].flatten(1))

    def check(self, images):
        """Raise InputError unless `images` is [N, C, H, W], floating, finite and within [0, 1]."""
        check_images(images, (self.in_channels, self.image_size, self.image_size))


KINDS = {"EPCNN": EPCNN, "CNN": CNN}
TRANSFORMERS = (
    "ViT",
    "CCT",
    "Swin",
    "Mixer",
)  # in a module of their own: its library takes seconds to import
OTHERS = "Imported"  # somebody else's, see `eplib.imported`


def kind(name):
    """The class of networks called `name`; InputError if there is none."""
    if one_of("kind of network", name, (*KINDS, *TRANSFORMERS, OTHERS)) in KINDS:
        return KINDS[name]
    if name == OTHERS:
        from eplib import imported

        return imported.Imported
    from eplib import transformers

    return getattr(transformers, name)


def describe(net):
    """The arguments that build a network of the same kind and size again, as JSON takes them."""
    return {"kind": type(net).__name__, **net.settings}


def build(description):
    """A new network from what `describe` gave; InputError if it names no network of this project."""
    if not isinstance(description, dict):
        raise InputError(f"the description of a network is {description!r}: use a checkpoint of this version")
    settings = dict(description)
    name = settings.pop("kind", None)
    try:
        return kind(name)(**settings)
    except InputError:
        raise
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"the description of a {name} does not fit ({error}): use a checkpoint of this version"
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

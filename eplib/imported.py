"""A feed-forward classifier that somebody else wrote, built by a function of theirs."""

import importlib
import re
import sys

import torch
from torch import nn

from eplib.checks import InputError, check_images
from eplib.network import per_channel

SOURCE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


class Imported(nn.Module):
    """Any network that takes images [N, C, H, W] and gives logits [N, classes].

    source: "module:function", importable; the function is called without arguments and returns an nn.Module.
    mean, std: per-channel normalisation before it. Raises InputError where the function cannot be had or
    gives something else.
    """

    def __init__(self, source, classes, in_channels=3, image_size=32, mean=0.0, std=1.0):
        super().__init__()
        self.source, self.classes = source, classes
        self.in_channels, self.image_size = in_channels, image_size
        self.net = made(source)
        self.register_buffer("mean", per_channel(mean, in_channels))
        self.register_buffer("std", per_channel(std, in_channels))

    @property
    def settings(self):
        """The arguments that build the same network again, as JSON takes them."""
        return {name: getattr(self, name) for name in ("source", "classes", "in_channels", "image_size")}

    def forward(self, images):
        return self.net((images.to(self.mean.dtype) - self.mean) / self.std)

    def check(self, images):
        """Raise InputError unless `images` is [N, C, H, W], floating, finite and within [0, 1]."""
        check_images(images, (self.in_channels, self.image_size, self.image_size))


def made(source):
    """The network that "module:function" returns. Nothing of Python's own library is called, so that a record
    that somebody else wrote cannot name os.abort. InputError for all that does not work.
    """
    if not isinstance(source, str) or not SOURCE.fullmatch(source):
        raise InputError(f"model {source!r}: give module:function, such as my_models:small_cnn")
    module, function = source.split(":")
    if module.split(".")[0] in sys.stdlib_module_names:
        raise InputError(f"model {source}: {module} is of Python's own library, give a module of yours")
    try:
        net = getattr(importlib.import_module(module), function)()
    except Exception as error:  # code of somebody else: it may raise anything
        raise InputError(
            f"model {source} cannot be made ({_said(error)}): make the module importable (PYTHONPATH) and let"
            " the function take no arguments"
        ) from error
    if not isinstance(net, nn.Module):
        raise InputError(f"model {source} gives a {type(net).__name__}: let it return a torch.nn.Module")
    return net


def _said(error):
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def check_logits(net):
    """Raise InputError unless a network gives finite logits [N, classes] of two images."""
    shape = (2, net.in_channels, net.image_size, net.image_size)
    try:
        with torch.no_grad():
            logits = net(torch.full(shape, 0.5))
    except Exception as error:  # as above
        raise InputError(
            f"model {net.source} cannot take images {list(shape)} ({_said(error)}): give one of this data"
            " set's images"
        ) from error
    if not torch.is_tensor(logits) or logits.shape != (2, net.classes) or not torch.isfinite(logits).all():
        found = list(logits.shape) if torch.is_tensor(logits) else type(logits).__name__
        raise InputError(
            f"model {net.source} gives {found} for two images: give one of {net.classes} finite logits each"
        )

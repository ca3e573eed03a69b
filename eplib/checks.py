"""What a user may give, and the one exception that says the request was wrong, not the program."""

import torch

NORMS = {"linf": "ℓ∞", "l2": "ℓ2"}  # of threat models, and how they are written


def amount(norm, epsilon):
    """An ε in pixels of [0, 1] as pages write it: in steps of an 8-bit image for ℓ∞, "2.55/255"."""
    if epsilon == float("inf"):
        return "∞"
    return f"{255 * epsilon:.3g}/255" if norm == "linf" else f"{epsilon:.3g}"


def strength(norm, epsilon):
    """A norm and its ε as pages write them, "ℓ∞ ε = 2.55/255"."""
    return f"{NORMS[norm]} ε = {amount(norm, epsilon)}"


class InputError(ValueError):
    """Something a user gave cannot be used. The message is one sentence: what was given, what is allowed,
    what to do.
    """

    def _render_traceback_(self):
        """What a notebook shows of it: the sentence, and not where in the library it was said."""
        return [f"InputError: {self}"]


class Interrupted(Exception):
    """Work was stopped by Ctrl-C with everything kept; the message says where it stands and how to go on."""


def one_of(kind, value, allowed):
    """Return `value` if it is among `allowed`; raise `InputError` naming what is allowed otherwise."""
    if value not in tuple(allowed):
        raise InputError(f"unknown {kind} {value!r}: choose one of {', '.join(map(str, allowed))}")
    return value


def yes_or_no(name, value):
    """Raise InputError unless `value` is True or False."""
    if not isinstance(value, bool):
        raise InputError(f"{name} = {value!r}: give True or False")


def check_images(images, shape):
    """Raise InputError unless `images` is a floating [N, *shape] tensor of finite values in [0, 1], N ≥ 1."""
    expected = "[N, " + ", ".join(map(str, shape)) + "]"
    if (
        not torch.is_tensor(images)
        or images.ndim != 4
        or tuple(images.shape[1:]) != tuple(shape)
        or not len(images)
    ):
        found = list(images.shape) if hasattr(images, "shape") else type(images).__name__
        raise InputError(f"images of shape {found}: this network takes {expected}")
    if not images.is_floating_point():
        raise InputError(
            f"images of type {images.dtype}: give floating point in [0, 1] (8-bit images divided by 255)"
        )
    low, high = (bound.item() for bound in torch.aminmax(images.detach()))
    if not (low >= 0.0 and high <= 1.0):  # also true for NaN
        raise InputError(f"images with values from {low:g} to {high:g}: give finite pixels in [0, 1]")


def check_labels(labels, images, classes):
    """Raise InputError unless `labels` is one integer in [0, classes) for every image."""
    if labels.shape != (len(images),) or labels.is_floating_point():
        raise InputError(
            f"labels of shape {list(labels.shape)} and type {labels.dtype}: give {len(images)} integers"
        )
    if len(labels) and (labels.min() < 0 or labels.max() >= classes):
        raise InputError(
            f"labels from {labels.min()} to {labels.max()}: give integers from 0 to {classes - 1}"
        )

"""Attacks that search the smallest change that breaks an image, by foolbox: one run gives the whole curve of
robust accuracy. True labels, pixel units of [0, 1].
"""

import contextlib
import warnings
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from eplib.attacks import ThreatModel, predicted
from eplib.checks import InputError, check_labels, one_of
from eplib.suite import check_model, check_pixels, isolated

_INIT_STEPS = 50  # of the blending with noise that HopSkipJump starts from, as foolbox does by default
FAST = {"linf": "fmn", "l2": "ddn"}  # norm: which attack `fast_minimum_norm` is


@dataclass(frozen=True)
class Minimal:
    """The smallest changes that an attack found.

    adversarial: [N, C, H, W], the image itself where none was found or needed. norm: float [N], of the
    change; inf where none was found, 0 where the image is wrong already. calls: images that the search passed
    through the model for every image that it attacked, the mean over the batch.
    """

    adversarial: torch.Tensor
    norm: np.ndarray
    calls: float


def carlini_wagner(model, images, labels, binary_search_steps=9, steps=1000, constant=1e-3):
    """Minimal ℓ2 changes by Carlini and Wagner (2017): Adam on distance + c · margin of the logits.

    model: images [N, C, H, W] -> logits with attribute `net`. binary_search_steps: values of c. steps: of
    Adam for each. constant: the first c, which grows tenfold until the image is broken, so that few searches
    need a large one. Nothing is random. All images are attacked in one batch, and the search for a c stops
    early when the batch as a whole makes no progress. Raises InputError for bad input.
    """

    def search(wrapped, x, y):
        from foolbox.attacks import L2CarliniWagnerAttack

        result = L2CarliniWagnerAttack(binary_search_steps, steps, initial_const=constant).run(wrapped, x, y)
        none = (result == 0).flatten(1).all(1)  # foolbox's answer where it found nothing: a black image
        return torch.where(none[:, None, None, None], x, result)

    if binary_search_steps < 1:
        raise InputError(f"binary_search_steps = {binary_search_steps}: give 1 or more")
    return _minimal(model, images, labels, "l2", steps, 0, search)


def hop_skip_jump(model, images, labels, norm, steps, seed=0):
    """Minimal changes by HopSkipJump (Chen et al. 2020), which sees decisions only, no gradients or logits.

    model: images [N, C, H, W] -> logits with attribute `net`. norm: "linf" or "l2". steps: each with
    100 √step queries of every image, whose noise is kept in memory. It starts from a blend with uniform
    noise; where no noise is classified as another class, no change is found. Raises InputError for bad input.
    """

    def search(wrapped, x, y):
        from foolbox.attacks import HopSkipJumpAttack, LinearSearchBlendedUniformNoiseAttack

        with warnings.catch_warnings():  # of images without a start, which the result shows
            warnings.simplefilter("ignore", UserWarning)
            starts = LinearSearchBlendedUniformNoiseAttack(steps=_INIT_STEPS).run(wrapped, x, y)
        started = _in_one_batch(model, starts, y, (predicted(wrapped, starts) != y).nonzero().flatten())
        if len(started):  # foolbox would give up all images for one that is not broken
            attack = HopSkipJumpAttack(steps=steps, constraint=norm)
            starts[started] = attack.run(wrapped, x[started], y[started], starting_points=starts[started])
        return starts

    return _minimal(model, images, labels, norm, steps, seed, search)


def _in_one_batch(model, images, labels, rows):
    """Those of `rows` whose images are still classified as another class in a batch of their own: rounding
    depends on the batch, and at a boundary an answer depends on rounding.
    """
    before = len(images)  # the batch in which `rows` were broken
    while 0 < len(rows) < before:
        before = len(rows)
        rows = rows[predicted(model, images[rows]) != labels[rows]]
    return rows


def fast_minimum_norm(model, images, labels, norm, steps, targets=None):
    """Minimal changes by normalised gradient steps, each put back onto a ball whose radius shrinks where the
    image is broken and grows where it isn't, as named in `FAST`: for ℓ∞ by FMN, which climbs the difference
    of two logits (Pintor et al. 2021), for ℓ2 by DDN, which FMN generalises and which climbs cross-entropy
    (Rony et al. 2019).

    model: images [N, C, H, W] -> logits with attribute `net`, differentiable in the images. norm: "linf" or
    "l2". steps: each one gradient of every image; the radius of DDN starts at 1.05 and changes by 5 % a step,
    so it finds nothing below 1.05 · 0.95^(steps − 2): 0.05 takes 60 steps, 0.007 takes 100. Nothing is random
    but the direction in which DDN leaves a point without gradient, by a fixed seed; FMN stays there and finds
    nothing. targets: int64 [N], the class that each image must be taken to, by default any other than its
    label. Raises InputError for bad input.
    """

    def search(wrapped, x, aims):
        # foolbox's FMN is of no use for ℓ2: its projection leaves every point where it is (3.3.4), and with
        # the paper's it stops on the boundary of piecewise linear networks, by rounding on the right side
        from foolbox.attacks import DDNAttack, LInfFMNAttack
        from foolbox.criteria import TargetedMisclassification

        attack = {"linf": LInfFMNAttack, "l2": DDNAttack}[norm](steps=steps)
        wanted = aims if targets is None else TargetedMisclassification(aims)
        return attack.run(wrapped, x, wanted).clamp(0, 1)  # x + (point − x) can leave [0, 1] by rounding

    return _minimal(model, images, labels, one_of("norm", norm, FAST), steps, 0, search, targets)


class _Counted(nn.Module):
    """A model that counts the images that pass through it."""

    def __init__(self, model):
        super().__init__()
        self.model, self.images = model, 0
        self.eval()

    def forward(self, images):
        self.images += len(images)
        return self.model(images)


def _minimal(model, images, labels, norm, steps, seed, search, targets=None):
    """Minimal of what `search(foolbox model, images, labels to be left or targets to be reached)` finds for
    the images that are right; refused where it leaves [0, 1].
    """
    from foolbox import PyTorchModel

    if steps < 1:
        raise InputError(f"steps = {steps}: give 1 or more")
    threat = ThreatModel(norm, 1.0)  # for its distance
    model.net.check(images)
    check_labels(labels, images, model.net.classes)
    aims = labels if targets is None else targets
    check_labels(aims, images, model.net.classes)
    if targets is not None and (targets == labels).any():
        raise InputError("a target that is the image's own class: give another class for every image")
    check_model(model, images)
    images = images.detach()
    right = predicted(model, images) == labels
    adversarial, norms, calls = images.clone(), torch.zeros(len(images), dtype=torch.float64), 0.0
    if right.any():
        x, aim = images[right], aims[right]
        # left to itself foolbox would move the network to a GPU where there is one
        counted = _Counted(model)
        wrapped = PyTorchModel(counted, bounds=(0, 1), device=images.device)
        with isolated(model, seed), _numpy_seeded(seed):
            candidates = search(wrapped, x, aim).detach()
        check_pixels(candidates, f"the search in {norm}")
        calls = counted.images / len(x)
        found = (predicted(model, candidates) == aim) == (targets is not None)
        adversarial[right] = torch.where(found[:, None, None, None], candidates, x)
        lengths = threat.distance(candidates, x).masked_fill(~found, float("inf"))
        norms[right.cpu()] = lengths.double().cpu()
    return Minimal(adversarial, norms.numpy(), calls)


@contextlib.contextmanager
def _numpy_seeded(seed):
    """Seed numpy's global generator, which foolbox may draw from, and restore it afterwards."""
    state = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(state)


def smallest(*norms):
    """The smallest norm [N] of each image over several attacks; raises InputError for unlike shapes."""
    shapes = {np.shape(each) for each in norms}
    if len(shapes) != 1:
        raise InputError(f"norms of shapes {sorted(shapes)}: give one or more of the same images")
    return np.minimum.reduce(norms)


def curve(minimal_norms, epsilons):
    """Robust accuracy, float [E], at every ε: the share of the images whose minimal norm [N] is above ε."""
    return (np.asarray(minimal_norms) > np.asarray(epsilons, float)[:, None]).mean(1)

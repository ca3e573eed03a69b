"""The equilibria of an EP-CNN beyond the one it is read out of: cycles of period two, attractors reached from
random starts, and how an equilibrium follows an image that moves.
"""

from dataclasses import dataclass

import torch

from eplib.checks import InputError
from eplib.dynamics import settle
from eplib.phases import largest_change

RETURNED = 1e-3  # a state has come back when no unit is further than this from where it was
SAME = 1e-2  # two settled states are one attractor when no unit differs by more
SETTLED = 1e-4  # a search stops when no unit moves by more than this in a step


@dataclass(frozen=True)
class Attractors:
    """What several starts settle to, K starts for each of N images.

    settled: bool [K, N], whether a start came to rest. label: int64 [K, N], the attractor's number within its
    image in order of discovery, −1 where the start did not settle. classes: int64 [K, N], predicted. count:
    [N], how many different attractors were found. states: L tensors [K, N, C, H, W].
    """

    settled: torch.Tensor
    label: torch.Tensor
    classes: torch.Tensor
    states: tuple

    @property
    def count(self):
        return self.label.amax(dim=0) + 1


def period(net, images, states, order=None):
    """1, 2 or 0 for every image, int64 [N]: whether one more step of `order` leaves the states [N, …] where
    they are (largest change below 1e-3), two steps bring them back, or neither.
    """
    once = settle(net, images, 1, order, start=states).states
    twice = settle(net, images, 1, order, start=once).states
    fixed = largest_change(states, once) < RETURNED
    back = largest_change(states, twice) < RETURNED
    return torch.where(fixed, 1, torch.where(back, 2, 0))


def find(net, images, starts, steps, order=None, seed=0):
    """Settle `images` from zero and from `starts` random states (every unit uniform in [0, 1]): `Attractors`.

    At most `steps` steps a start. The random states depend on `seed` and the image's place alone. Raises
    InputError for fewer than 1 start.
    """
    if starts < 1:
        raise InputError(f"starts = {starts}: give 1 or more random starts")
    begins = [None, *(random_states(net, len(images), seed + k) for k in range(starts))]
    return from_starts(net, images, begins, steps, order)


def from_starts(net, images, begins, steps, order=None):
    """`Attractors` of chosen starts: states of all images each, or None for zeros."""
    runs = [settle(net, images, steps, order, start=begin, tolerance=SETTLED) for begin in begins]
    states = tuple(torch.stack([run.states[l] for run in runs]) for l in range(len(net.shapes)))
    settled = torch.stack([run.residual < RETURNED for run in runs])
    classes = torch.stack([run.logits.argmax(1) for run in runs])
    return Attractors(settled, _numbered(states, settled), classes, states)


def random_states(net, count, seed):
    """States of `count` images with every unit uniform in [0, 1], drawn on the CPU image by image."""
    images = []
    for n in range(count):
        generator = torch.Generator().manual_seed(1_000_003 * seed + n)
        images.append([torch.rand(shape, generator=generator) for shape in net.shapes])
    return [torch.stack(layer).to(net.mean) for layer in zip(*images, strict=True)]


def _numbered(states, settled):
    """Number each image's different settled states in order of discovery; −1 where not settled."""
    starts, images = settled.shape
    label = torch.full((starts, images), -1, device=settled.device)
    for k in range(starts):
        found = torch.full((images,), -1, device=settled.device)
        for j in range(k):
            same = largest_change([s[k] for s in states], [s[j] for s in states]) < SAME
            found = torch.where((found < 0) & same & (label[j] >= 0), label[j], found)
        new = label.amax(dim=0) + 1
        label[k] = torch.where(settled[k], torch.where(found < 0, new, found), -1)
    return label


def nearest_label(vectors, owners, labels):
    """The label of the nearest other vector that belongs to another image, int64 [M] (Euclidean).

    vectors: [M, D]. owners: int64 [M], the image each belongs to. labels: int64 [M]. Raises InputError when
    all belong to one image.
    """
    if (owners == owners[0]).all():
        raise InputError("the vectors of 1 image have no neighbour of another: give 2 or more images")
    distance = torch.cdist(vectors.double(), vectors.double())
    distance[owners[:, None] == owners[None, :]] = float("inf")
    return labels[distance.argmin(dim=1)]


@dataclass(frozen=True)
class Path:
    """An equilibrium along a straight path of images, P points for each of N images.

    energy: [3, P, N] of the settled states. classes: int64 [3, P, N]. The first index says where each point
    starts: from zero, from the state of the point before (forth), or of the point after (back).
    """

    energy: torch.Tensor
    classes: torch.Tensor

    def barrier(self):
        """[N]: how far the energy from zero rises above the straight line between its two ends, at most."""
        energy = self.energy[0]
        share = torch.linspace(0, 1, len(energy), dtype=energy.dtype, device=energy.device)[:, None]
        return (energy - (energy[0] + share * (energy[-1] - energy[0]))).amax(dim=0)

    def hysteresis(self):
        """[N]: at how large a share of the points the class differs between going forth and coming back."""
        return (self.classes[1] != self.classes[2]).double().mean(dim=0)


def along(net, images, ends, points, steps, order=None):
    """Settle at `points` images on the straight line from `images` to `ends`: from zero, forth and back."""
    shares = torch.linspace(0, 1, points).tolist()
    line = [images + share * (ends - images) for share in shares]
    zero = [settle(net, x, steps, order, tolerance=SETTLED) for x in line]
    forth, back = [zero[0]], [zero[-1]]
    for x in line[1:]:
        forth.append(settle(net, x, steps, order, start=forth[-1], tolerance=SETTLED))
    back[0] = forth[-1]
    for x in reversed(line[:-1]):
        back.append(settle(net, x, steps, order, start=back[-1], tolerance=SETTLED))
    runs = (zero, forth, back[::-1])
    energy = torch.stack([torch.stack([r.energy for r in run]) for run in runs])
    return Path(energy, torch.stack([torch.stack([r.logits.argmax(1) for r in run]) for run in runs]))

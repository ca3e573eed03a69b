"""Do attacks find an adversarial example that is certainly there? The binarisation test of Zimmermann et al.
(2022): an attack that misses it says nothing about robustness.

Around every image lie random points of its ε-box: `UNIFORM` anywhere in it and `CORNERS` of its corners, all
clipped to [0, 1]. One corner is planted: the one whose features, what feeds the network's last layer, are the
farthest from the others'. A linear read-out fitted to tell it from all other points replaces that layer, so
that within ε there is now a point of the other class.
"""

import numpy as np
import torch
from torch import nn

from eplib import suite
from eplib.attacks import AttackedModel, ThreatModel, predicted
from eplib.checks import InputError
from eplib.network import EPCNN
from eplib.state_attacks import featured

THREAT = ThreatModel("linf", 8 / 255)
UNIFORM, CORNERS = 100, 300
CLOSE = 0.9  # the read-out changes class after so much of the way from the nearest other point to the planted
_SMALL = 1e-30  # where nothing of the features varies
QUERIES = 10  # of Square and of random search, for every step of the attacks with gradients
RANDOM = "random"  # search among corners of the box: what makes the test trivial where it finds much
ATTACKS = {  # name: (gradient of an EP-CNN, attack of `eplib.suite`, factor of its steps)
    "pgd": ("unrolled", "pgd", 1),
    "pgd-adjoint": ("adjoint", "pgd", 1),
    "apgd-ce": ("unrolled", "apgd-ce", 1),
    "square": ("unrolled", "square", QUERIES),
    RANDOM: ("unrolled", "noise", QUERIES),
}


def attacks_of(net):
    """The names of `ATTACKS` that mean something for a network; none where its features cannot be read."""
    if featured(net) is None:
        return ()
    return tuple(name for name in ATTACKS if isinstance(net, EPCNN) or name != "pgd-adjoint")


def found(net, images, steps, seed):
    """(separated bool [N], {name: bool [N]}, {name: fallbacks}): where the read-out tells the planted corner
    from all other points; which attacks find a point of its class within `THREAT`, true only where it is
    separated; and how many of their gradients were unrolled because the adjoint had not settled.

    net: an EPCNN (last state of its own free phase) or a classifier that `state_attacks.featured` takes.
    images: no two closer than 2 ε. steps: of the attacks with gradients. seed: with the place of the image it
    fixes all random numbers. Raises InputError for images that are too close.
    """
    features = featured(net)
    weights, thresholds, corners = planted(AttackedModel(features), images, seed)
    model = Binary(AttackedModel(features), images, weights, thresholds)
    separated = (predicted(model, images) == 0) & (predicted(model, corners) == 1)
    outcomes, fallbacks = {}, {}
    for name in attacks_of(net):
        gradient, attack, factor = ATTACKS[name]
        model = Binary(AttackedModel(features, gradient=gradient), images, weights, thresholds)
        hit = torch.zeros_like(separated)
        if separated.any():
            x = images[separated]
            y = torch.zeros(len(x), dtype=torch.int64, device=x.device)
            adversarial = suite.checked(model, x, y, THREAT, attack, factor * steps, seed)
            hit[separated] = predicted(model, adversarial) == 1
        outcomes[name], fallbacks[name] = hit, model.features.fallbacks
    return separated, outcomes, fallbacks


@torch.no_grad()
def planted(features, images, seed):
    """(weights [N, F], thresholds [N], corners [N, C, H, W]) of one read-out for each image: it puts x into
    the class of the planted corner where ⟨weight, features(x)⟩ > threshold. features: images -> [N, F].
    """
    found = []
    for i, image in enumerate(images):
        around = points(image, int(np.random.SeedSequence((seed, i)).generate_state(1)[0]))
        place, weight, threshold = separate(features(around).double())
        found.append((weight.to(image), threshold.to(image), around[place]))
    return tuple(map(torch.stack, zip(*found, strict=True)))


def points(image, seed):
    """The image itself, `UNIFORM` points of its ε-box and `CORNERS` of its corners, within [0, 1]."""
    random = torch.Generator().manual_seed(seed)
    changes = 2 * torch.rand((UNIFORM, *image.shape), generator=random) - 1
    signs = 2 * torch.randint(0, 2, (CORNERS, *image.shape), generator=random) - 1
    changes = torch.cat([torch.zeros(1, *image.shape), changes, signs]).to(image)
    return (image + THREAT.epsilon * changes).clamp(0, 1)


def separate(features):
    """(place of the planted corner among features [M, F] of `points`, weight [F] and threshold of the
    read-out that tells it from the others).

    With the mean m and covariance Σ of all features and λ the mean variance of one, the corner c is that of
    the largest d = (c − m)ᵀ (Σ + λ)⁻¹ (c − m), and the weight, of ridge regression, is (Σ + λ)⁻¹ (c − m) / d.
    """
    moved = features - features.mean(0)
    covariance = torch.cov(features.T, correction=0)
    ridge = covariance.trace().clamp_min(_SMALL) / len(covariance)
    precision = torch.linalg.inv(covariance + ridge * torch.eye(len(covariance)).to(covariance))
    distance = ((moved @ precision) * moved).sum(1)
    place = len(features) - CORNERS + int(distance[-CORNERS:].argmax())
    weight = precision @ moved[place] / distance[place].clamp_min(_SMALL)
    score = features @ weight
    highest = torch.cat([score[:place], score[place + 1 :]]).max()
    return place, weight, highest + CLOSE * (score[place] - highest)


class Binary(nn.Module):
    """Logits [N, 2] by the read-out of the image in whose ε-box a point lies: 1 is the planted class.

    features: images -> [N, F]. images [M, C, H, W], weights [M, F], thresholds [M]: of every read-out. Raises
    InputError where two boxes overlap.
    """

    def __init__(self, features, images, weights, thresholds):
        super().__init__()
        self.features, self.net = features, features.net
        self.images, self.weights, self.thresholds = images.flatten(1), weights, thresholds
        apart = torch.cdist(self.images, self.images, p=float("inf"))
        apart.fill_diagonal_(float("inf"))
        if apart.min() <= 2 * THREAT.epsilon:
            raise InputError(
                f"two images {apart.min():.3g} apart (ℓ∞): leave one out, boxes within ε ="
                f" {THREAT.epsilon:.3g} must not overlap"
            )
        self.eval()

    def forward(self, images):
        distances = torch.cdist(images.detach().flatten(1), self.images, p=float("inf"))
        owner = distances.argmin(1)
        score = (self.features(images) * self.weights[owner]).sum(1) - self.thresholds[owner]
        return torch.stack([-score, score], 1)

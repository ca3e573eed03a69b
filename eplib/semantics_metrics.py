"""How meaningful a change of an image is: one number an image. Images and changes are [N, C, H, W], pixels in
[0, 1]; where a change is zero, what depends on its direction is NaN.
"""

import numpy as np
import torch
from skimage.metrics import structural_similarity
from torch.nn import functional as F

LOW = 8  # cycles an image: what lies below is called low
EDGES = 0.2  # the share of an image's pixels with the steepest brightness that are called edges


def radial(change):
    """(frequencies [K], power [N, K]): power of the 2-D Fourier transform over all channels, summed over
    rings of one cycle an image; ring k holds the frequencies from k − ½ to k + ½.
    """
    power = torch.fft.fft2(change.double()).abs().square().sum(1)
    along = [torch.fft.fftfreq(size, 1 / size, dtype=torch.float64) for size in change.shape[-2:]]
    rings = (along[0][:, None].square() + along[1].square()).sqrt().round().long().flatten()
    found = power.new_zeros(len(change), int(rings.max()) + 1)
    found.index_add_(1, rings.to(power.device), power.flatten(1))
    return np.arange(found.shape[1]), found


def low_share(change):
    """[N]: the share of a change's power at frequencies up to `LOW` cycles an image."""
    power = radial(change)[1]
    return power[:, : LOW + 1].sum(1) / power.sum(1)


def slope(change):
    """[N]: slope of log power against log frequency over whole rings, per frequency: −2 or so for
    photographs, 0 for white noise.
    """
    frequencies, power = radial(change)
    places = np.arange(1, change.shape[-1] // 2)
    counted = radial(_impulse(change))[1][0, places]  # frequencies in a ring: an impulse has power 1 at each
    x = torch.from_numpy(np.log(frequencies[places])).to(power)
    y = (power[:, places] / counted).log()
    x = x - x.mean()
    found = (y - y.mean(1, keepdim=True)) @ x / x.square().sum()
    return torch.where(found.isfinite(), found, torch.nan)


def _impulse(change):
    found = torch.zeros_like(change[:1, :1])
    found[..., 0, 0] = 1
    return found


def similarity(images, others):
    """[N]: structural similarity (Wang et al. 2004) with its Gaussian window of standard deviation 1.5, mean
    over pixels and channels; 1 for the same image.
    """
    pairs = zip(images.double().cpu().numpy(), others.double().cpu().numpy(), strict=True)
    settings = dict(channel_axis=0, data_range=1.0, gaussian_weights=True, use_sample_covariance=False)
    return torch.tensor([structural_similarity(a, b, **settings) for a, b in pairs], dtype=torch.float64)


def on_edges(images, change):
    """[N]: the share of a change's squared length that lies on the `EDGES` of the image with the largest
    Sobel gradient of brightness, the mean of the channels. Spread evenly over an image it is `EDGES`.
    """
    across = images.new_tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
    grey = F.pad(images.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    steep = F.conv2d(grey, torch.stack([across, across.T])[:, None]).norm(dim=1).flatten(1)
    count = round(EDGES * steep.shape[1])
    places = steep.argsort(dim=1, descending=True, stable=True)[:, :count]
    power = change.double().square().sum(1).flatten(1)
    return power.gather(1, places).sum(1) / power.sum(1)


def hoyer(change):
    """[N]: Hoyer's sparsity, (√n − ‖δ‖₁ / ‖δ‖₂) / (√n − 1): 0 for a change of equal size everywhere, 1 for
    one of a single value.
    """
    flat = change.double().flatten(1)
    root = flat.shape[1] ** 0.5
    return (root - flat.abs().sum(1) / flat.norm(dim=1)) / (root - 1)


def variation(change):
    """[N]: total variation Σ |δ(p) − δ(q)| over neighbouring pixels p, q, divided by Σ |δ|: the rougher a
    change, the larger.
    """
    delta = change.double()
    steps = [delta.diff(dim=axis).abs().flatten(1).sum(1) for axis in (2, 3)]
    return sum(steps) / delta.abs().flatten(1).sum(1)


def alignment(images, gradient, centred=False):
    """[N]: |⟨x, g⟩| / ‖g‖ (Etmann et al. 2019), in pixels of [0, 1]. centred: of x without its mean."""
    x = images.double().flatten(1)
    if centred:
        x = x - x.mean(1, keepdim=True)
    g = gradient.double().flatten(1)
    return (x * g).sum(1).abs() / g.norm(dim=1)


def cosine(first, second):
    """[N]: cosine of two changes; NaN where one is zero."""
    a, b = first.double().flatten(1), second.double().flatten(1)
    return (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))


def consistency(changes, targets):
    """(agreement [N], guessed bool [N]): how much changes [N, P] towards the same class resemble each other.

    agreement: the probability that a change to the same class has a larger cosine with this one than a change
    to another class has (the area under the ROC curve, ties half; ½ by chance); NaN for a zero change and for
    the only one of its class. guessed: whether the class is that of the nearest mean of all other changes by
    cosine, 1 / classes by chance.
    """
    unit = F.normalize(changes.double(), dim=1)
    cosines, alike = unit @ unit.T, targets[None] == targets[:, None]
    there = unit.norm(dim=1) > 0
    agreement = unit.new_full((len(unit),), torch.nan)
    for i in range(len(unit)):
        others = there.clone()
        others[i] = False
        same, different = cosines[i, others & alike[i]], cosines[i, others & ~alike[i]]
        if there[i] and len(same) and len(different):
            ahead = (same[:, None] > different).double() + 0.5 * (same[:, None] == different).double()
            agreement[i] = ahead.mean()
    return agreement, _nearest(unit, targets) & there


def _nearest(unit, targets):
    """Whether each is nearest to its own class's mean, made without it."""
    hot = F.one_hot(targets, int(targets.max()) + 1).double()
    sums = hot.T @ unit
    products = unit @ sums.T
    lengths = sums.norm(dim=1).expand_as(products).clone()
    rows = torch.arange(len(unit), device=unit.device)
    without = sums[targets] - unit
    products[rows, targets] = (unit * without).sum(1)
    lengths[rows, targets] = without.norm(dim=1)
    scores = torch.where(lengths > 1e-9, products / lengths, -torch.inf)
    return scores.argmax(1) == targets


def prototypes(images, labels, classes):
    """[classes, C, H, W]: the mean of the images of every class."""
    return torch.stack([images[labels == c].mean(0) for c in range(classes)])


def nearest(images, wanted, others, labels):
    """[N, C, H, W]: for every image the nearest (ℓ2) of `others` that has the class wanted, int64 [N]."""
    found = torch.empty_like(images)
    for c in wanted.unique().tolist():
        here, among = wanted == c, others[labels == c]
        distances = torch.cdist(images[here].flatten(1), among.flatten(1))
        found[here] = among[distances.argmin(1)]
    return found

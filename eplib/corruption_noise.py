"""Noise of CIFAR-10-C (Hendrycks & Dietterich 2019, with their parameters for 32×32 pixels)."""

import torch

from eplib.corruption_tools import Corruption


def normal(generator, image, *_):
    """A standard normal number for every value of an image."""
    return (generator.standard_normal(image.shape),)


def photons(generator, image, rate):
    """Poisson counts of mean rate × value."""
    return (generator.poisson(image * rate),)


def gaussian_noise(x, noise, sigma):
    return x + sigma * noise


def shot_noise(x, counts, rate):
    return counts / rate


def impulse_noise(x, hit, salt, amount):
    """A share `amount` of the values becomes 0 or 1."""
    return torch.where(hit <= amount, (salt <= 0.5).to(x), x)


def speckle_noise(x, noise, sigma):
    return x + sigma * x * noise


def _two_uniform(generator, image, _):
    return tuple(generator.random((2, *image.shape)))


NOISE = (
    Corruption(
        "gaussian_noise", "noise", gaussian_noise, ((0.04,), (0.06,), (0.08,), (0.09,), (0.10,)), normal, True
    ),
    Corruption("shot_noise", "noise", shot_noise, ((500,), (250,), (100,), (75,), (50,)), photons, True),
    Corruption(
        "impulse_noise",
        "noise",
        impulse_noise,
        ((0.01,), (0.02,), (0.03,), (0.05,), (0.07,)),
        _two_uniform,
        True,
    ),
    Corruption(
        "speckle_noise", "noise", speckle_noise, ((0.06,), (0.1,), (0.12,), (0.16,), (0.2,)), normal, True
    ),
)

"""Corruptions written a second time, image by image in float64 NumPy with SciPy, scikit-image and Pillow.

Every function takes an 8-bit image [32, 32, 3], the random numbers of `eplib.corruptions` and the parameters
below, typed from the publications, and gives an 8-bit image. No mathematics is shared with eplib.
"""

from functools import cache
from importlib import metadata

import numpy as np
from corruption_reference_jpeg import jpeg_compression
from corruption_reference_spatter import SIDE, cut, spatter
from PIL import Image
from scipy import ndimage
from skimage import color, filters

PARAMETERS = {
    "gaussian_noise": (0.04, 0.06, 0.08, 0.09, 0.10),
    "shot_noise": (500, 250, 100, 75, 50),
    "impulse_noise": (0.01, 0.02, 0.03, 0.05, 0.07),
    "speckle_noise": (0.06, 0.1, 0.12, 0.16, 0.2),
    "defocus_blur": ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    "glass_blur": ((0.05, 1), (0.25, 1), (0.4, 1), (0.25, 2), (0.4, 2)),
    "motion_blur": ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
    "zoom_blur": (1.06, 1.11, 1.16, 1.21, 1.26),
    "gaussian_blur": (0.4, 0.6, 0.7, 0.8, 1),
    "snow": (
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ),
    "frost": ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
    "fog": ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
    "brightness": (0.05, 0.1, 0.15, 0.2, 0.3),
    "spatter": (
        (0.62, 0.1, 0.7, 0.7, 0.5, 0),
        (0.65, 0.1, 0.8, 0.7, 0.5, 0),
        (0.65, 0.3, 1, 0.69, 0.5, 0),
        (0.65, 0.1, 0.7, 0.69, 0.6, 1),
        (0.65, 0.1, 0.5, 0.68, 0.6, 1),
    ),
    "contrast": (0.75, 0.5, 0.4, 0.3, 0.15),
    "elastic_transform": (
        (0, 0, 2.56),
        (1.6, 6.4, 2.24),
        (2.56, 1.92, 1.92),
        (3.2, 1.28, 1.6),
        (3.2, 0.96, 0.96),
    ),
    "pixelate": (0.95, 0.9, 0.85, 0.75, 0.65),
    "jpeg_compression": (80, 65, 58, 50, 40),
    "saturate": ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
}


def corrupted(name, severity, image, draws):
    parameters = PARAMETERS[name][severity - 1]
    function = {"jpeg_compression": jpeg_compression, "spatter": spatter}.get(name) or globals()[name]
    return function(image, *draws, *np.atleast_1d(np.array(parameters)).tolist())


def channels_last(noise):
    return np.moveaxis(noise, 0, -1)


def gaussian_noise(image, noise, sigma):
    return cut(image / 255 + channels_last(noise) * sigma)


def shot_noise(image, counts, rate):
    return cut(channels_last(counts) / rate)


def impulse_noise(image, hit, salt, amount):
    x = image / 255
    hit, salt = channels_last(hit) <= amount, channels_last(salt) <= 0.5
    x[hit & salt], x[hit & ~salt] = 1, 0
    return cut(x)


def speckle_noise(image, noise, sigma):
    return cut(image / 255 * (1 + channels_last(noise) * sigma))


def gaussian_blur(image, sigma):
    return cut(filters.gaussian(image / 255, sigma=sigma, channel_axis=-1))


def defocus_blur(image, radius, alias):
    rows, columns = np.mgrid[-8:9, -8:9]
    disk = (rows**2 + columns**2 <= radius**2).astype(float)
    disk = ndimage.gaussian_filter(disk / disk.sum(), alias, radius=1, mode="mirror")
    x = image / 255
    return cut(np.stack([ndimage.convolve(x[..., c], disk, mode="mirror") for c in range(3)], -1))


def glass_blur(image, shifts, sigma, iterations):
    x = np.uint8(filters.gaussian(image / 255, sigma=sigma, channel_axis=-1) * 255)
    for i in range(int(iterations)):
        for h in range(SIDE - 1, 1, -1):
            for w in range(SIDE - 1, 1, -1):
                down, right = shifts[i, :, h - 2, w - 2].astype(int)
                # the original's "swap", with its views
                x[h, w], x[h + down, w + right] = x[h + down, w + right], x[h, w]
    return cut(filters.gaussian(x / 255, sigma=sigma, channel_axis=-1))


def smeared(image, radius, sigma, angle):
    """Edge pixels continued, one-sided Gaussian, rounded: image [32, 32, C] in [0, 1]."""
    steps = np.arange(2 * int(np.ceil(radius)) + 1)
    kernel = np.exp(-0.5 * (steps / sigma) ** 2)
    sine, cosine = np.sin(np.deg2rad(angle)), np.cos(np.deg2rad(angle))
    padded = np.pad(image, ((SIDE, SIDE), (SIDE, SIDE), (0, 0)), mode="edge")
    total = np.zeros_like(image)
    for i, weight in zip(steps, kernel / kernel.sum(), strict=True):
        y, x = SIDE + int(np.ceil(i * sine - 0.5)), SIDE + int(np.ceil(i * cosine - 0.5))
        total += weight * padded[y : y + SIDE, x : x + SIDE]
    return np.round(255 * total) / 255


def motion_blur(image, angle, radius, sigma):
    return np.uint8(np.round(255 * smeared(image / 255, radius, sigma, angle)))


def clipped_zoom(x, factor):
    side = int(np.ceil(SIDE / factor))
    top = (SIDE - side) // 2
    x = ndimage.zoom(x[top : top + side, top : top + side], (factor, factor, 1), order=1)
    trim = (len(x) - SIDE) // 2
    return x[trim : trim + SIDE, trim : trim + SIDE]


def zoom_blur(image, end):
    x = image / 255
    zooms = [clipped_zoom(x, factor) for factor in np.arange(1, end, 0.01)]
    return cut((x + sum(zooms)) / (len(zooms) + 1))


def snow(image, noise, angle, mean, deviation, zoom, threshold, radius, sigma, keep):
    layer = clipped_zoom(mean + deviation * noise[..., None], zoom)
    layer[layer < threshold] = 0
    layer = smeared(cut(layer) / 255, radius, sigma, angle)
    x = image / 255
    grey = (x @ np.array([0.299, 0.587, 0.114]))[..., None]
    x = keep * x + (1 - keep) * np.maximum(x, grey * 1.5 + 0.5)
    return cut(x + layer + np.rot90(layer, k=2))


def frost(image, place, image_weight, frost_weight):
    texture, row, column = place.astype(int)
    crop = _texture(texture)[row : row + SIDE, column : column + SIDE]
    return np.uint8(np.clip(image_weight * image + frost_weight * crop, 0, 255))


@cache
def _texture(index):
    """A frost texture at a fifth of its size, linear between pixels."""
    name = ("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg", "frost6.jpg")[index]
    files = {path.name: path.locate() for path in metadata.files("imagecorruptions")}
    pixels = np.asarray(Image.open(files[name]).convert("RGB"), float)
    size = np.round(np.array(pixels.shape[:2]) * 0.2).astype(int)
    places = np.meshgrid(*((np.arange(n) + 0.5) / 0.2 - 0.5 for n in size), indexing="ij")
    return np.stack([ndimage.map_coordinates(c, places, order=1) for c in np.moveaxis(pixels, -1, 0)], -1)


def fog(image, uniform, strength, decay):
    x, draws = image / 255, iter(uniform)
    cloud, step, width = np.zeros((SIDE, SIDE)), SIDE, 100.0

    def at(i, j):
        return cloud[i % SIDE, j % SIDE]

    while step >= 2:
        half, places = step // 2, range(0, SIDE, step)
        for i, j in [(i, j) for i in places for j in places]:
            total = at(i, j) + at(i + step, j) + at(i, j + step) + at(i + step, j + step)
            cloud[i + half, j + half] = total / 4 + width * width * next(draws)
        for up, left in ((0, half), (half, 0)):
            for i, j in [(i + up, j + left) for i in places for j in places]:
                total = at(i - half, j) + at(i + half, j) + at(i, j - half) + at(i, j + half)
                cloud[i, j] = total / 4 + width * width * next(draws)
        step, width = half, width / decay
    cloud = (cloud - cloud.min()) / np.ptp(cloud)
    return cut((x + strength * cloud[..., None]) * x.max() / (x.max() + strength))


def brightness(image, amount):
    x = color.rgb2hsv(image / 255)
    x[..., 2] = np.clip(x[..., 2] + amount, 0, 1)
    return cut(color.hsv2rgb(x))


def saturate(image, factor, add):
    x = color.rgb2hsv(image / 255)
    x[..., 1] = np.clip(x[..., 1] * factor + add, 0, 1)
    return cut(color.hsv2rgb(x))


def contrast(image, factor):
    x = image / 255
    mean = x.mean((0, 1))
    return cut((x - mean) * factor + mean)


def pixelate(image, scale):
    small = int(SIDE * scale)
    x = np.moveaxis(image, -1, 0).astype(float)
    for rows in (_boxes(small, SIDE), _boxes(SIDE, small)):
        x = np.round(rows @ x @ rows.T)
    return np.uint8(channels_last(x))


def _boxes(new, old):
    """Pillow's box filter [new, old]: the mean of the pixels whose centres lie under a new pixel, enlarged
    at least to one old pixel.
    """
    scale = old / new
    reach = max(scale, 1) / 2
    centres = (np.arange(new)[:, None] + 0.5) * scale
    away = (np.arange(old) + 0.5 - centres) / (2 * reach)
    matrix = ((away > -0.5) & (away <= 0.5)).astype(float)
    return matrix / matrix.sum(1, keepdims=True)


def elastic_transform(image, jitter, horizontal, vertical, amplitude, sigma, affine):
    old = np.array([[26.0, 26], [26, 6], [6, 6]])
    new = old + affine * jitter
    forward = np.linalg.solve(np.column_stack([old, np.ones(3)]), new).T  # [2, 3], x and y of the new place
    linear, offset = np.linalg.inv(forward[:, :2]), forward[:, 2]
    rows, columns = np.mgrid[:SIDE, :SIDE].astype(float)
    source = np.tensordot(linear, np.stack([columns - offset[0], rows - offset[1]]), 1)
    x = _warped(image / 255, source[1], source[0], "mirror")
    right, down = (
        amplitude * ndimage.gaussian_filter(field, sigma, mode="reflect", truncate=3)
        for field in (horizontal, vertical)
    )
    return cut(_warped(x, rows + down, columns + right, "reflect"))


def _warped(x, rows, columns, mode):
    return np.stack(
        [ndimage.map_coordinates(x[..., c], [rows, columns], order=1, mode=mode) for c in range(3)], -1
    )

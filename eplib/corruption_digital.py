"""Digital corruptions of CIFAR-10-C (Hendrycks & Dietterich 2019, with their parameters for 32×32
pixels).
"""

import io

import numpy as np
import torch
from PIL import Image

from eplib import corruption_tools as tools
from eplib.corruption_tools import SIDE, Corruption


def contrast(x, factor):
    """Differences from the mean of each channel, times `factor`."""
    mean = x.mean((2, 3), keepdim=True)
    return (x - mean) * factor + mean


def saturate(x, factor, add):
    """S of hue, saturation and value times `factor`, plus `add`."""
    value, saturation, hue = tools.hue_saturation_value(x)
    return value * (1 - (saturation * factor + add).clamp(0, 1) * hue)


def elastic_transform(x, jitter, horizontal, vertical, amplitude, sigma, affine):
    """An affine warp, then displacements: uniform noise, blurred, times an amplitude; all in 32nds of pixels.

    jitter: [N, 3, 2] in [−1, 1), of three anchor points; horizontal, vertical: [N, 32, 32] in [−1, 1). At
    severity 1 the amplitude is 0 and only the affine warp is left, stronger than at any other severity.
    """
    anchors = tools.constant(np.array([[26.0, 26], [26, 6], [6, 6]]), x)
    moved = anchors + SIDE * affine * jitter
    ones = torch.ones_like(moved[..., :1])
    back = torch.linalg.solve(torch.cat([moved, ones], 2), anchors.expand_as(moved))  # [N, 3, 2]
    rows, columns = tools.grid(x)
    places = torch.stack([columns, rows, torch.ones_like(rows)], -1).view(1, -1, 3) @ back
    source = places.view(-1, SIDE, SIDE, 2)
    x = tools.sampled(x, source[..., 1], source[..., 0], "mirror")
    if amplitude == 0:
        return x
    blur = tools.gaussian(SIDE * sigma, "reflect", 3.0)
    down, right = (SIDE * amplitude * tools.along_both(field, blur) for field in (vertical, horizontal))
    return tools.sampled(x, rows + down, columns + right, "reflect")


def _elastic_draws(generator, *_):
    fields = generator.uniform(-1, 1, (2, SIDE, SIDE))
    return generator.uniform(-1, 1, (3, 2)), *fields


def pixelate(x, scale):
    """Shrunk and enlarged by Pillow with boxes."""
    small = int(SIDE * scale)
    return by_pillow(
        x, lambda i: i.resize((small, small), Image.Resampling.BOX).resize((SIDE, SIDE), Image.Resampling.BOX)
    )


def jpeg_compression(x, quality):
    """Written as JPEG of this quality and read again, by Pillow."""

    def through_jpeg(image):
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        return Image.open(file)

    return by_pillow(x, through_jpeg)


def by_pillow(x, change):
    """What `change` makes of each image as a Pillow image."""
    images = (x * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    changed = np.stack([np.asarray(change(Image.fromarray(image))) for image in images])
    return tools.constant(changed.transpose(0, 3, 1, 2), x) / 255


DIGITAL = (
    Corruption("contrast", "digital", contrast, ((0.75,), (0.5,), (0.4,), (0.3,), (0.15,))),
    Corruption(
        "elastic_transform",
        "digital",
        elastic_transform,
        ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)),
        _elastic_draws,
    ),
    Corruption("pixelate", "digital", pixelate, ((0.95,), (0.9,), (0.85,), (0.75,), (0.65,))),
    Corruption("jpeg_compression", "digital", jpeg_compression, ((80,), (65,), (58,), (50,), (40,))),
    Corruption(
        "saturate",
        "digital",
        saturate,
        ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
        coloured=True,  # at severities 4 and 5, where it adds to S
    ),
)

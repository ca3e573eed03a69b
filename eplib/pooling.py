"""2×2 max-pooling with its winners kept as codes (flat places within a plane), and the transpose of it."""

import torch
import torch.nn.functional as F


def gather(z, codes):
    """The entries of z [N, C, H, W] at the places `codes` [N, C, h, w] (flat within each H×W plane)."""
    n, c, h, w = codes.shape
    rows = z.permute(0, 2, 3, 1).reshape(n, -1, c)
    picked = rows.gather(1, codes.permute(0, 2, 3, 1).reshape(n, -1, c))
    return picked.view(n, h, w, c).permute(0, 3, 1, 2)


def unpool(pooled, codes, padding, shape):
    """Every entry of `pooled` at its code's place in the plane of the convolution that fed a layer of
    `shape`, else 0.
    """
    size = [side + 2 * p - 2 for side, p in zip(shape[-2:], padding, strict=True)]
    return F.max_unpool2d(pooled, codes, 2, output_size=size)


def send_down(state, codes, weight, padding, shape):
    """Wᵀ ∗ unpool(state, codes): the transpose of convolution and pooling, into a layer of `shape`."""
    return F.conv_transpose2d(unpool(state, codes, padding, shape), weight, padding=padding)


def compact(codes, fed_by):
    """Codes in one byte each instead of eight (two for large planes); `fed_by` is the state below the
    pooling.
    """
    height, width = fed_by.shape[-2:]
    return codes.to(torch.uint8 if height * width <= 256 else torch.int16)

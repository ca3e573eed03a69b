"""2×2 pooling, maximum or average, and the transpose of it.

Max-pooling keeps its winners as codes: flat places within a plane, [N, C, h, w]. Codes [N, 0] stand for
average pooling: there is nothing to remember, and they are joined, split and stored like any others.
"""

import torch
import torch.nn.functional as F

POOLINGS = ("max", "average")


def pool(z, pooling):
    """(2×2 pooled z, codes) of z [N, C, H, W]; an odd last row or column is dropped."""
    if pooling == "average":
        return F.avg_pool2d(z, 2), torch.empty((len(z), 0), dtype=torch.long, device=z.device)
    return F.max_pool2d(z, 2, return_indices=True)


def gather(z, codes):
    """z [N, C, H, W] pooled by given codes: its entries at the places `codes`, or the averages for codes
    [N, 0].
    """
    if codes.ndim == 2:
        return F.avg_pool2d(z, 2)
    n, c, h, w = codes.shape
    rows = z.permute(0, 2, 3, 1).reshape(n, -1, c)
    picked = rows.gather(1, codes.permute(0, 2, 3, 1).reshape(n, -1, c))
    return picked.view(n, h, w, c).permute(0, 3, 1, 2)


def unpool(pooled, codes, padding, shape):
    """Every entry of `pooled` at its code's place in the plane of the convolution that fed a layer of
    `shape`, else 0; for codes [N, 0] a quarter of it at each of its four places.
    """
    size = [side + 2 * p - 2 for side, p in zip(shape[-2:], padding, strict=True)]
    return spread(pooled, size) if codes.ndim == 2 else F.max_unpool2d(pooled, codes, 2, output_size=size)


def spread(pooled, size):
    """The transpose of average pooling from planes of `size`: a quarter of every entry at each of its four
    places, 0 in an odd last row or column.
    """
    even = F.interpolate(pooled * 0.25, scale_factor=2)
    bottom, right = size[0] - even.shape[-2], size[1] - even.shape[-1]
    return F.pad(even, (0, right, 0, bottom)) if bottom or right else even


def send_down(state, codes, weight, padding, shape):
    """Wᵀ ∗ unpool(state, codes): the transpose of convolution and pooling, into a layer of `shape`."""
    return F.conv_transpose2d(unpool(state, codes, padding, shape), weight, padding=padding)


def compact(codes, fed_by):
    """Codes in one byte each instead of eight (two for large planes); `fed_by` is the state below the
    pooling.
    """
    height, width = fed_by.shape[-2:]
    return codes.to(torch.uint8 if height * width <= 256 else torch.int16)

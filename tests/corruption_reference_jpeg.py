"""JPEG compression written a second time, see `corruption_reference`."""

import numpy as np
from scipy import fft

LUMA = np.array(
    """16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 14 17 22 29 51 87 80 62
    18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101 72 92 95 98 112 100 103 99
    """.split(),
    int,
).reshape(8, 8)
CHROMA = np.full((8, 8), 99)
CHROMA[:4, :4] = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]
YCC = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])


def jpeg_compression(image, quality):
    """Baseline JPEG from its standard: colours at half resolution, 8×8 cosines, scaled standard tables."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    luma, chroma = (np.clip((table * scale + 50) // 100, 1, 255) for table in (LUMA, CHROMA))
    y, *colours = np.moveaxis(image @ YCC.T, -1, 0)
    halves = [c.reshape(16, 2, 16, 2).mean((1, 3)) for c in colours]
    y = _through_cosines(y - 128, luma) + 128
    colours = [_doubled(np.clip(np.round(_through_cosines(c, chroma)), -128, 127)) for c in halves]
    rgb = np.stack([np.clip(np.round(y), 0, 255), *colours], -1) @ np.linalg.inv(YCC).T
    return np.uint8(np.clip(np.round(rgb), 0, 255))


def _through_cosines(plane, table):
    blocks = plane.reshape(len(plane) // 8, 8, -1, 8).swapaxes(1, 2)
    coefficients = fft.dctn(blocks, axes=(2, 3), norm="ortho")
    blocks = fft.idctn(np.round(coefficients / table) * table, axes=(2, 3), norm="ortho")
    return blocks.swapaxes(1, 2).reshape(plane.shape)


def _doubled(plane):
    """Twice the size, three quarters of the nearer and one of the farther pixel."""
    for axis in (0, 1):
        plane = np.moveaxis(plane, axis, 0)
        padded = np.pad(plane, ((1, 1), (0, 0)), mode="edge")
        both = [0.75 * plane + 0.25 * padded[:-2], 0.75 * plane + 0.25 * padded[2:]]
        plane = np.moveaxis(np.stack(both, 1).reshape(2 * len(plane), -1), 0, axis)
    return plane

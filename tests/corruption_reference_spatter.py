"""Spatter written a second time, see `corruption_reference`: edges pixel by pixel, distances by Dijkstra."""

import numpy as np
from scipy import ndimage, sparse
from skimage import filters

SIDE = 32


def cut(x):
    return np.uint8(np.clip(x, 0, 1) * 255)


def spatter(image, noise, mean, deviation, blur, threshold, strength, mud):
    x = image / 255
    layer = filters.gaussian(mean + deviation * noise, sigma=blur)
    layer[layer < threshold] = 0
    if mud:
        cover = filters.gaussian((layer > threshold).astype(float), sigma=strength)
        cover[cover < 0.8] = 0
        return cut(x * (1 - cover[..., None]) + cover[..., None] * np.array([63, 42, 20]) / 255)
    layer = np.floor(layer * 255) % 256  # 8-bit numbers begin again
    relief = _relief(layer)
    water = layer * relief
    return cut(x + strength * (water / water.max())[..., None] * np.array([175, 238, 238]) / 255)


def _relief(layer):
    distance = np.minimum(_chamfer(_canny(layer)), 20)
    flat = np.floor(ndimage.uniform_filter(distance, 3, mode="mirror") + 1e-6)
    counts = np.bincount(flat.astype(int).ravel(), minlength=256)
    lowest = np.flatnonzero(counts)[0]
    if counts[lowest] < SIDE * SIDE:
        ranks = np.cumsum(counts) - counts[lowest]
        flat = np.round(ranks * (255 / (SIDE * SIDE - counts[lowest])))[flat.astype(int)]
    lit = ndimage.correlate(flat, np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]]), mode="mirror")
    return np.round(ndimage.uniform_filter(np.clip(lit, 0, 255), 3, mode="mirror"))


def _canny(layer):
    right, down = (ndimage.sobel(layer, axis, mode="nearest") for axis in (1, 0))
    size = abs(right) + abs(down)
    padded = np.pad(size, 1)
    thin = np.zeros_like(size, bool)
    for i, j in zip(*np.nonzero(size > 50), strict=True):
        x, y = right[i, j], down[i, j]
        angle = np.degrees(np.arctan2(abs(y), abs(x)))
        if angle < 22.5:
            before, after, equal = (0, -1), (0, 1), True
        elif angle > 67.5:
            before, after, equal = (-1, 0), (1, 0), True
        else:
            side = 1 if x * y >= 0 else -1
            before, after, equal = (-1, -side), (1, side), False
        here, first, second = size[i, j], *(padded[i + 1 + a, j + 1 + b] for a, b in (before, after))
        thin[i, j] = here > first and (here >= second if equal else here > second)
    groups, count = ndimage.label(thin, np.ones((3, 3)))
    strong = np.unique(groups[thin & (size > 150)])
    return np.isin(groups, strong[strong > 0])


def _chamfer(edges):
    """Shortest ways from the edges, by Dijkstra on the graph of the moves; infinite without edges."""
    steps = {1: 1.0, 2: 1.4, 5: 2.1969}
    places = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)
    starts, ends, costs = [], [], []
    for i, j in [(i, j) for i in range(-2, 3) for j in range(-2, 3) if i * i + j * j in steps]:
        a = places[max(0, -i) : SIDE - max(0, i), max(0, -j) : SIDE - max(0, j)].ravel()
        starts, ends, costs = (
            [*starts, a],
            [*ends, a + SIDE * i + j],
            [*costs, np.full(a.size, steps[i * i + j * j])],
        )
    graph = sparse.csr_matrix((np.concatenate(costs), (np.concatenate(starts), np.concatenate(ends))))
    sources = np.flatnonzero(edges)
    if not len(sources):
        return np.full((SIDE, SIDE), np.inf)
    return sparse.csgraph.dijkstra(graph, indices=sources, min_only=True).reshape(SIDE, SIDE)

"""Random numbers of corruptions: every image has a stream of its own, whatever batch it is in."""

import hashlib

import numpy as np


def streams(name, severity, ids, seed):
    """For every image id, a NumPy generator at the beginning of that image's stream.

    The stream is Philox (Salmon et al. 2011), counter-based, its 128-bit key the BLAKE2 hash of the name, the
    severity, the image id and the seed. It is the same generator object every time, moved to the next key:
    draw what an image needs before asking for the next one.
    """
    bits = np.random.Philox(key=0)
    generator, state = np.random.Generator(bits), bits.state  # counter 0, nothing buffered
    for image in ids:
        words = f"{name} {severity} {int(image)} {int(seed)}".encode()
        digest = hashlib.blake2b(words, digest_size=16).digest()
        state["state"]["key"] = np.frombuffer(digest, "<u8").astype(np.uint64)
        bits.state = state
        yield generator


def drawn(draw, parameters, name, severity, images, ids, seed):
    """What a corruption draws for each image, stacked: a list of float64 arrays [N, ...].

    draw: (generator, image float64 [C, H, W], *parameters) -> tuple of arrays. images: float64 NumPy [N, C,
    H, W], which only counts of photons look at.
    """
    each = [
        draw(generator, image, *parameters)
        for generator, image in zip(streams(name, severity, ids, seed), images, strict=True)
    ]
    return [np.stack(arrays).astype(np.float64) for arrays in zip(*each, strict=True)]

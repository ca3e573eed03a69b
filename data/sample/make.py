"""Write sample.npz from the original Fashion-MNIST files: python data/sample/make.py FOLDER

FOLDER holds train-images-idx3-ubyte.gz and its three siblings (Debian's package dataset-fashion-mnist puts
them into /usr/share/datasets/fashion-mnist). The sample is the first 1,200 training and the first 200 test
images of every class.
"""

import gzip
import sys
from pathlib import Path

import numpy as np

PER_CLASS = {"train": 1200, "test": 200}


def arrays(folder):
    """The arrays of sample.npz: images uint8 [N, 28, 28, 1], labels, and places in the original files."""
    out = {}
    for split, prefix in (("train", "train"), ("test", "t10k")):
        with gzip.open(Path(folder) / f"{prefix}-images-idx3-ubyte.gz") as file:
            images = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28, 1)
        with gzip.open(Path(folder) / f"{prefix}-labels-idx1-ubyte.gz") as file:
            labels = np.frombuffer(file.read(), np.uint8, offset=8)
        places = np.sort(np.concatenate([np.flatnonzero(labels == c)[: PER_CLASS[split]] for c in range(10)]))
        out |= {
            f"{split}_images": images[places],
            f"{split}_labels": labels[places],
            f"{split}_official": places,
        }
    return out


if __name__ == "__main__":
    np.savez_compressed(Path(__file__).with_name("sample.npz"), **arrays(sys.argv[1]))

import os

import pytest
import torch

from eplib import checkpoints, training
from eplib.network import EPCNN

AVERAGE = dict(pooling="average", gain=4.0)  # this gain leaves units at either end and in between
POOLINGS = pytest.mark.parametrize("settings", [{}, AVERAGE], ids=["max", "average"])
NETS = pytest.mark.parametrize(
    "shape, settings",
    [
        (((5, 6, 7, 8), (1, 1, 1, 0), 32), {}),
        (((4, 5), (1, 0), 13), {}),
        (((4, 6, 5), (1, 1, 1), 14), {}),  # every plane above the first is odd
        (((6,), (2,), 10), {}),
        (((5, 6, 7, 8), (1, 1, 1, 0), 32), AVERAGE),
        (((4, 5), (1, 0), 13), AVERAGE),
        (((4, 6, 5), (1, 1, 1), 14), AVERAGE),
    ],
)


def random_net(channels=(5, 6, 7), paddings=(1, 1, 0), size=16, gain=2.0, seed=0, **settings):
    """A float64 EP-CNN with random weights, scaled so that units are neither all silent nor all saturated."""
    torch.manual_seed(seed)
    net = EPCNN(channels, paddings, image_size=size, mean=0.5, std=0.3, **settings).double()
    with torch.no_grad():
        for conv in net.convs:
            conv.weight *= gain
    return net


def random_batch(net, count=4, seed=1):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(count, net.in_channels, net.image_size, net.image_size, generator=generator)
    return images.to(net.mean.dtype), torch.randint(0, net.classes, (count,), generator=generator)


@pytest.fixture(scope="session")
def smoke(tmp_path_factory):
    """{model: Checkpoint} trained on real images at smoke scale, once for all tests."""
    folder = tmp_path_factory.mktemp("smoke")
    return {
        model: checkpoints.load(training.train(model, "sample", "smoke", 0, folder, progress=False))
        for model in ("ep-cnn", "cnn")
    }


@pytest.fixture
def out(tmp_path, monkeypatch):
    """A folder that receives everything this test would write into the project's data."""
    monkeypatch.setitem(os.environ, "EPLIB_OUT", str(tmp_path / "data"))
    return tmp_path / "data"

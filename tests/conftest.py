import os
import shutil

import pytest
import torch
from torch import nn

from eplib import checkpoints, training
from eplib.attacks import AttackedModel, predicted
from eplib.checks import check_images
from eplib.network import EPCNN

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
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


class Planted(nn.Module):
    """Class 0 everywhere but beyond a hyperplane at `distance` (in `norm`) of every image of `images()`."""

    classes = 4

    def __init__(self, norm, distance, size=16):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        hidden = 1 + torch.rand(1, 1, size, size, generator=generator)
        hidden[..., size // 2 :] *= -1
        others = 0.01 * torch.randn(2, 1, size, size, generator=generator)
        hidden *= 5 / distance / (hidden.abs().sum() if norm == "linf" else hidden.norm())
        self.weight = nn.Parameter(torch.cat([hidden, others]).flatten(1))
        self.generator, self.size = generator, size

    def images(self, count=3):
        """Grey images with some noise, none of it towards the hyperplane."""
        noise = 0.1 * torch.rand(count, self.size**2, generator=self.generator)
        direction = nn.functional.normalize(self.weight[:1].detach())
        noise -= (noise @ direction.T) * direction
        return (0.5 + noise).unflatten(1, (1, self.size, self.size))

    def check(self, images):
        check_images(images, (1, self.size, self.size))

    def forward(self, images):
        moved = (images - 0.5).flatten(1) @ self.weight.T
        return torch.cat([torch.zeros_like(moved[:, :1]), moved - moved.new_tensor([5, 20, 20])], 1)


class Tiny(nn.Module):
    """A small network that learns to tell ten noisy patterns of 16 × 16 pixels apart."""

    classes = 10

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Conv2d(1, 8, 5, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10))
        self.patterns = torch.rand(10, 1, 16, 16)
        optimizer = torch.optim.Adam(self.parameters(), 0.01)
        for _ in range(60):
            loss = nn.functional.cross_entropy(self(self.images(64)), torch.arange(64) % 10)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def images(self, count):
        labels = torch.arange(count) % 10
        return (0.25 + 0.5 * self.patterns[labels] + 0.2 * torch.randn(count, 1, 16, 16)).clamp(0, 1)

    def check(self, images):
        check_images(images, (1, 16, 16))

    def forward(self, images):
        return self.layers(images)


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


@pytest.fixture(scope="session")
def tiny():
    """(model, 64 images, labels that it gives them)."""
    with torch.random.fork_rng():
        model = AttackedModel(Tiny())
        x = model.net.images(64)
    y = predicted(model, x)
    assert (y == torch.arange(64) % 10).float().mean() > 0.8
    return model, x, y


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: install the package chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"],
        )
        yield browser
        browser.close()

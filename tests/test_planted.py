import copy

import numpy as np
import pytest
import torch
from torch import nn

from eplib import attacks, data, planted, suite
from eplib.attacks import AttackedModel, predicted
from eplib.baselines import CNN
from eplib.checks import InputError
from eplib.planted import CLOSE, CORNERS, THREAT, UNIFORM, Binary, points, separate
from eplib.state_attacks import featured


class Opaque(nn.Module):
    """A CNN whose features have no gradient in the image, and otherwise the same answers."""

    def __init__(self, net):
        super().__init__()
        self.body, self.readout, self.classes = net, net.readout, net.classes

    def forward(self, images):
        features = self.body.layers(images)[-1].flatten(1)
        return self.readout(features.detach() + 0 * images.flatten(1)[:, :1])


@pytest.fixture(scope="module")
def images():
    return data.as_float(data.load("sample", "test").images[:5])


@pytest.fixture(scope="module")
def found(smoke, images):
    """{kind: `planted.found`}; the CNN has 32 features, most of them alive, the EP-CNN 8."""
    torch.manual_seed(0)
    nets = {"ep-cnn": smoke["ep-cnn"].net, "cnn": CNN((8, 32), (1, 1), image_size=32).eval()}
    return {kind: planted.found(net, images, 12, 0) for kind, net in nets.items()}


def test_attacks_that_mean_something(smoke, tiny):
    assert planted.attacks_of(smoke["ep-cnn"].net) == tuple(planted.ATTACKS)
    assert planted.attacks_of(smoke["cnn"].net) == ("pgd", "apgd-ce", "square", "random")
    assert planted.attacks_of(tiny[0].net) == ()
    assert {attack for _, attack, _ in planted.ATTACKS.values()} <= set(suite.ATTACKS)


@pytest.mark.parametrize("kind", ["ep-cnn", "cnn"])
def test_attacks_with_gradients_find_what_is_planted_and_random_search_does_not(smoke, found, kind):
    separated, outcomes, fallbacks = found[kind]
    assert fallbacks == dict.fromkeys(outcomes, 0) | (
        {"pgd-adjoint": 12 * int(separated.sum())} if kind == "ep-cnn" else {}
    )  # six steps settle nothing
    assert tuple(outcomes) == planted.attacks_of(smoke[kind].net) and separated.any()
    assert separated.all() or kind == "ep-cnn"
    for name, hit in outcomes.items():
        assert torch.equal(hit & separated, hit)
        if name not in ("square", "random"):
            assert torch.equal(hit, separated), name
    assert not outcomes["random"].any() or kind == "ep-cnn"


def test_the_original_network_is_left_alone(smoke, images):
    net = copy.deepcopy(smoke["cnn"].net)
    asked = [p.requires_grad for p in net.parameters()]
    planted.found(net, images[:2], 2, 0)
    for name, value in net.state_dict().items():
        assert torch.equal(value, smoke["cnn"].net.state_dict()[name])
    assert [p.requires_grad for p in net.parameters()] == asked


def test_a_network_without_gradients_fails_the_test(smoke, images):
    separated, outcomes, _ = planted.found(Opaque(smoke["cnn"].net), images, 12, 0)
    assert separated.all() and not outcomes["pgd"].any() and not outcomes["apgd-ce"].any()


def test_an_attack_that_does_nothing_fails_the_test(smoke, images, monkeypatch):
    monkeypatch.setattr(attacks, "pgd", lambda model, x, *_: x.clone())
    outcomes = planted.found(smoke["cnn"].net, images, 12, 0)[1]
    assert not outcomes["pgd"].any() and outcomes["apgd-ce"].all()


def test_nothing_is_found_where_the_features_do_not_move(smoke, images):
    net = copy.deepcopy(smoke["cnn"].net)
    with torch.no_grad():
        net.norms[-1].weight.zero_()
    separated, outcomes, _ = planted.found(net, images[:2], 2, 0)
    assert not separated.any() and not any(hit.any() for hit in outcomes.values())


def test_random_numbers_depend_on_the_seed_and_the_place_alone(smoke, found, images):
    model = AttackedModel(featured(smoke["cnn"].net))
    torch.rand(3)
    weights, thresholds, corners = planted.planted(model, images, 7)
    again = planted.planted(model, images[:2], 7)
    assert torch.equal(corners[:2], again[2]) and torch.allclose(weights[:2], again[0], rtol=1e-3)
    assert torch.allclose(thresholds[:2], again[1], rtol=1e-3)
    assert not torch.equal(planted.planted(model, images[:2], 8)[2], again[2])


def test_points_lie_where_they_should():
    image = torch.rand(3, 12, 12, generator=torch.Generator().manual_seed(0))
    image[0] = 0  # at the edge of [0, 1]
    around = points(image, 5)
    assert around.shape == (1 + UNIFORM + CORNERS, 3, 12, 12) and torch.equal(around[0], image)
    assert around.min() >= 0 and around.max() <= 1
    middle = (image > 0.05) & (image < 0.95)
    moved = (around - image)[:, middle] / THREAT.epsilon
    uniform, corners = moved[1 : 1 + UNIFORM], moved[-CORNERS:]
    assert uniform.abs().max() <= 1.0001 and uniform.std().item() == pytest.approx(3**-0.5, rel=0.02)
    assert torch.allclose(corners.abs(), torch.ones(1), rtol=1e-4) and abs(corners.mean()) < 0.02
    assert torch.equal(points(image, 5), around) and not torch.equal(points(image, 6)[1:], around[1:])


def test_the_read_out_is_ridge_regression_on_the_farthest_corner():
    random = np.random.default_rng(0)
    features = random.normal(size=(1 + UNIFORM + CORNERS, 7)) * np.array([1, 1, 1, 2, 2, 0.1, 0])
    features[10] *= 20  # far away, but no corner
    features[200] *= 6
    place, weight, threshold = separate(torch.tensor(features))
    mean, ridge = features.mean(0), features.var(0).mean()
    inverse = np.linalg.inv(np.cov(features.T, bias=True) + ridge * np.eye(7))
    corners = features[-CORNERS:]
    assert place == 1 + UNIFORM + max(range(CORNERS), key=lambda i: (d := corners[i] - mean) @ inverse @ d)
    expected = inverse @ (features[place] - mean)
    assert weight.numpy() == pytest.approx(expected / ((features[place] - mean) @ expected))
    score = features @ weight.numpy()
    highest = np.delete(score, place).max()
    assert threshold.item() == pytest.approx(highest + CLOSE * (score[place] - highest))


def test_nothing_is_separated_where_a_point_that_is_no_corner_lies_farther():
    features = torch.zeros(1 + UNIFORM + CORNERS, 3, dtype=torch.float64)
    features[200, 0], features[10, 0] = 1.0, 2.0
    place, weight, threshold = separate(features)
    assert place == 200 and features[place] @ weight <= threshold


def test_a_point_is_judged_by_the_read_out_of_its_box(images):
    class Flat(nn.Module):
        net = None

        def forward(self, x):
            return x.flatten(1)[:, :2]

    generator = torch.Generator().manual_seed(0)
    weights, thresholds = torch.randn(5, 2, generator=generator), torch.randn(5, generator=generator)
    model = Binary(Flat(), images, weights, thresholds)
    shown = torch.tensor([3, 0, 0, 4])
    moved = (images[shown] + THREAT.epsilon * (2 * torch.rand(4, 3, 32, 32) - 1)).clamp(0, 1)
    score = (moved.flatten(1)[:, :2] * weights[shown]).sum(1) - thresholds[shown]
    assert torch.allclose(model(moved), torch.stack([-score, score], 1))
    assert torch.equal(predicted(model, moved), (score > 0).long())


def test_boxes_that_overlap_are_refused(smoke, images):
    twins = torch.cat([images[:2], (images[:1] + 0.9 * 2 * THREAT.epsilon).clamp(0, 1)])
    with pytest.raises(InputError, match="must not overlap"):
        planted.found(smoke["cnn"].net, twins, 2, 0)

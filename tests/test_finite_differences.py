import numpy as np
import pytest
import torch
from conftest import AVERAGE, POOLINGS, random_batch, random_net

from eplib import dynamics, finite_differences, gradients
from eplib.finite_differences import CHANGED, INCLUDED, UNSETTLED, compare

DIRECTIONS, STEPS = 4, 250


def prepared(images, first=0):
    """(the images without their rounding, the directions) of `compare`."""
    dither, moves = finite_differences._drawn(images, DIRECTIONS, first)
    return (255 * images + dither) / 256, moves


@POOLINGS
@pytest.mark.parametrize("order", ["synchronous", "forward"])
def test_slopes_are_those_of_the_network_settled_anew_from_zero(order, settings):
    net = random_net(order=order, **settings)
    images, labels = random_batch(net, 2)
    found = compare(net, images, labels, DIRECTIONS)
    assert (found["fd_outcome"] == INCLUDED).all()
    x, moves = prepared(images)

    def loss(x):
        logits = dynamics.settle(net, x, STEPS, order).logits
        return torch.nn.functional.cross_entropy(logits, labels, reduction="none")

    assert dynamics.settle(net, x, STEPS, order).residual.max() < 1e-12
    gradient = gradients.input_gradient(net, x, labels, "unrolled", STEPS, order)
    for u, slopes, predicted in zip(moves, found["fd_slopes"], found["adjoint_slopes"], strict=True):
        anew = (loss(x + 1e-6 * u) - loss(x - 1e-6 * u)) / 2e-6
        assert np.allclose(slopes, anew, rtol=1e-4, atol=1e-9)
        assert np.allclose(predicted, (gradient * u).flatten(1).sum(1), rtol=1e-6, atol=1e-12)
    assert (found["fd_cosine"] > 1 - 1e-8).all()


def test_directions_have_length_one_and_belong_to_the_place_of_their_image():
    net = random_net()
    images, labels = random_batch(net, 4)
    moves = prepared(images)[1]
    assert torch.allclose(moves.flatten(2).norm(dim=2), torch.ones(DIRECTIONS, 4, dtype=torch.float64))
    whole, part = (
        compare(net, images, labels, DIRECTIONS),
        compare(net, images[2:], labels[2:], DIRECTIONS, 2),
    )
    for name, values in part.items():
        assert np.allclose(values, whole[name][..., 2:], rtol=1e-6, atol=1e-12)
    assert not np.allclose(compare(net, images[2:], labels[2:], 1)["fd_slopes"], part["fd_slopes"][:1])


def test_a_sure_network_is_measured_as_precisely():
    net = random_net()
    with torch.no_grad():
        net.readout.weight *= 1000
    images, _ = random_batch(net, 4)
    logits = dynamics.settle(net, images, STEPS).logits
    labels = logits.argmax(1)
    assert torch.nn.functional.cross_entropy(logits, labels, reduction="none").min() < 1e-8
    found = compare(net, images, labels, DIRECTIONS)
    assert (found["fd_outcome"] == INCLUDED).all() and (found["fd_cosine"] > 1 - 1e-6).all()


def test_an_adjoint_that_stops_early_is_noticed(monkeypatch):
    net = random_net()
    images, labels = random_batch(net, 3)
    exact = gradients.adjoint

    def early(phase, pull):
        a, residual = exact(phase, pull, sweeps=1)
        return a, torch.zeros_like(residual)

    monkeypatch.setattr(gradients, "adjoint", early)
    assert (compare(net, images, labels, 8)["fd_cosine"] < 0.999).all()


def test_an_image_of_which_a_decision_changes_is_left_out(monkeypatch):
    net = random_net()
    images, labels = random_batch(net, 4)
    monkeypatch.setattr(finite_differences, "STEP", 0.05)
    found = compare(net, images, labels, DIRECTIONS)
    assert (found["fd_outcome"] == CHANGED).all() and np.isnan(found["fd_cosine"]).all()
    assert not np.isnan(found["adjoint_slopes"]).any()


def test_an_image_that_does_not_settle_is_left_out(monkeypatch):
    net = random_net()
    images, labels = random_batch(net, 3)
    monkeypatch.setattr(finite_differences, "STEPS", 9)
    found = compare(net, images, labels, DIRECTIONS)
    assert (found["fd_outcome"] == UNSETTLED).all() and np.isnan(found["fd_slopes"]).all()


def test_an_adjoint_that_is_not_solved_counts_as_unsettled(monkeypatch):
    net = random_net()
    images, labels = random_batch(net, 3)
    monkeypatch.setattr(gradients, "SOLVED", 0.0)
    assert (compare(net, images, labels, DIRECTIONS)["fd_outcome"] == UNSETTLED).all()


def test_flat_images_have_ties_that_undoing_their_rounding_removes():
    net = random_net()
    images, labels = random_batch(net, 4)
    images[:2] = 0.2
    found = compare(net, images, labels, DIRECTIONS)
    assert found["fd_tied"].tolist() == [True, True, False, False]
    assert (found["fd_outcome"] == INCLUDED).all()
    assert not compare(random_net(**AVERAGE), images, labels, 1)["fd_tied"].any()


def test_the_extrapolation_of_a_linear_iteration_is_its_limit():
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(2, 6, 6, generator=generator, dtype=torch.float64)
    matrix = root @ root.mT
    matrix = 0.9 * matrix / torch.linalg.eigvalsh(matrix).amax(1)[:, None, None]
    shift = torch.randn(2, 6, 1, generator=generator, dtype=torch.float64)
    limit = torch.linalg.solve(torch.eye(6, dtype=torch.float64) - matrix, shift)[..., 0]
    state, trail = torch.zeros(2, 6, 1, dtype=torch.float64), []
    for _ in range(8):
        flat = state[..., 0]
        trail.append([flat[:, :4].view(2, 1, 2, 2), flat[:, 4:].view(2, 2, 1, 1)])
        state = matrix @ state + shift
    found = torch.cat([s.flatten(1) for s in finite_differences._extrapolated(trail)], 1)
    assert (found - limit).abs().max() < 1e-5 < (state[..., 0] - limit).abs().max()


def test_cross_entropy_is_exact_where_it_is_tiny():
    logits = torch.tensor([[90.0, 1, 0], [0, 40, -3], [1, 2, 3], [800, 0, 0]], dtype=torch.float64)
    labels = torch.tensor([0, 2, 1, 1])
    found = finite_differences.cross_entropy(logits, labels).tolist()
    tiny = np.exp(-89) + np.exp(-90)
    expected = torch.nn.functional.cross_entropy(logits[1:], labels[1:], reduction="none")
    assert found == pytest.approx([tiny, *expected.tolist()], rel=1e-12)


def test_cosines_of_short_vectors_are_not_zero():
    rows = torch.tensor([[3e-30, 4e-30], [0.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    others = torch.tensor([[4e-30, 3e-30], [1.0, 0.0], [-2.0, 0.0]], dtype=torch.float64)
    assert finite_differences.cosine(rows, others).tolist() == pytest.approx([0.96, 0, -1])

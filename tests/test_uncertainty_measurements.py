import numpy as np
import pytest
import torch
from conftest import Planted

from eplib import attacks, filtering, minimal_norm, scales, slices, state_space, uncertainty, zooms
from eplib import uncertainty_measurements as measured
from eplib.attacks import AttackedModel, predicted
from eplib.checks import InputError
from eplib.dynamics import settle

SIZES = {"directions": 2, "points": 4, "pilot": 30, "others": 12, "batch": 8}
NAMES = ("uncertainty", "adversarial-distances", "slices", "zooms", "state-space", "filtering")


@pytest.fixture(scope="module")
def case(smoke):
    """(EP-CNN, 3 images, labels) of the sample."""
    from eplib import data

    test = data.load("sample", "test")
    ids = test.ids[:3]
    return smoke["ep-cnn"].net, data.as_float(test.images[ids]), test.labels[ids]


def test_outcomes_are_those_of_moved_images_part_by_part(tiny):
    model, x, y = tiny
    x, y = x[:30], y[:30].clone()
    y[0] = (y[0] + 1) % 10
    found = measured.uncertainty_of(model.net, x, y, SIZES, progress=False)
    epsilons = found.arrays["epsilons_test"]
    assert len(epsilons) == 4 and (np.diff(epsilons) > 0).all()
    moved = uncertainty.directions(x.shape[1:], range(30), 2)
    flips = np.unpackbits(found.arrays["flips_test"], -1, 30).astype(bool)
    assert flips.shape == (4, 2, 2, 30)
    for e, k, s in ((0, 0, 1), (3, 1, -1)):
        expected = predicted(model, x + s * epsilons[e] * moved[k]) != predicted(model, x)
        assert (flips[e, k, 0 if s > 0 else 1] == expected.numpy()).all()
    assert found.clean.tolist() == [False] + [True] * 29 and (found.correct[0] == found.clean).all()
    rows = [r for r in found.rows if r["metric"] == "uncertain" and r["points"] == "test"]
    assert [r["value"] for r in rows] == pytest.approx(flips.any(2).mean((1, 2)))
    assert [r["epsilon"] for r in rows] == epsilons.tolist() and rows[0]["n"] == 60
    assert {r["points"] for r in found.rows} == {"test", "uniform", "permuted"}
    assert np.unpackbits(found.arrays["flips_uniform"], -1, 12).shape == (4, 2, 2, 12)


def test_points_of_other_kinds_depend_on_the_place_alone(tiny):
    x = tiny[1][:6]
    for kind in ("uniform", "permuted"):
        made = measured.points_of(kind, x)
        assert torch.equal(made[:4], measured.points_of(kind, x[:4])) and made.shape == x.shape
        assert made.min() >= 0 and made.max() <= 1
    assert torch.equal(made.flatten(1).sort(1)[0], x.flatten(1).sort(1)[0]) and not torch.equal(made, x)


def test_pilot_places_the_measured_range(tiny):
    model, x, _ = tiny
    placed = measured.placed(model, x, SIZES | {"pilot": 64})
    moved = uncertainty.directions(x.shape[1:], range(64), 4)
    flips = uncertainty.flips(lambda z: predicted(model, z), x, moved, placed)
    shares = flips.any(2).mean((1, 2))
    assert shares[0] < 0.06 < shares[-1] < 0.25
    grid = measured.placed(model, x, SIZES | {"pilot": 0, "points": 25})
    assert grid[[0, -1]] == pytest.approx(measured.GRID) and len(grid) == 25


def test_a_network_that_never_changes_is_measured_over_the_grid():
    net = Planted("l2", 1e4)
    placed = measured.placed(AttackedModel(net), net.images(10), SIZES)
    assert placed[[0, -1]] == pytest.approx(measured.GRID) and len(placed) == 4


def test_distances_are_of_the_networks_own_prediction():
    net = Planted("l2", 0.8)
    x = net.images(5)
    labels = torch.tensor([0, 0, 1, 0, 0])
    found = measured.adversarial_distances(net, x, labels, {"steps": 60, "batch": 2}, progress=False)
    assert found.arrays["minimal_norm"] == pytest.approx(np.full(5, 0.8), rel=0.06)  # the wrong one too
    assert found.clean.tolist() == [True, True, False, True, True]
    direct = minimal_norm.fast_minimum_norm(AttackedModel(net), x[:2], torch.zeros(2, dtype=int), "l2", 60)
    assert (found.arrays["minimal_norm"][:2] == np.float32(direct.norm)).all()
    assert [r["metric"] for r in found.rows] == ["accuracy", "minimal_norm", "found"]


def test_slices_pass_through_their_images(case):
    net, x, y = case
    found = slices.slices(net, x, y, {"side": 24, "batch": 100}, progress=False)
    classes, own = found.arrays["classes"], predicted(AttackedModel(net), x).numpy()
    assert classes.shape == (2, 25, 25, 3) and classes.dtype == np.uint8
    near, far = 4, 20  # MARGIN of 24 cells over 1.5 sides
    for i in range(3):
        assert classes[0, near, near, i] == own[i] and classes[1, 12, 12, i] == own[i]
        assert classes[0, far, near, i] == own[(i + 1) % 3] and classes[0, near, far, i] == own[(i + 2) % 3]
    assert (found.clean == (own == y.numpy())).all()
    names = {"accuracy", "classes", "dimension", "exponent", "basin_entropy", "boundary_entropy"}
    assert {r["metric"] for r in found.rows} == names and len(found.rows) == 1 + 6 * 5
    corner, first, second = slices.plane(AttackedModel(net), x, 1, "attack")
    assert torch.allclose(corner + (first + second) / 2, x[1], atol=1e-5)
    assert first.norm() == pytest.approx(2 * slices.REACH) == second.norm()
    assert abs((first * second).sum()) < 1e-3


def grid(function, side=192):
    at = np.linspace(-1, 1, side + 1)
    return function(*np.meshgrid(at, at, indexing="ij")).astype(np.uint8)


def test_known_boundaries_have_their_dimension():
    smooth = grid(lambda a, b: (a - 0.03) ** 2 + (b - 0.02) ** 2 < 0.5)
    sizes, counts = slices.box_counts(smooth)
    assert sizes.tolist()[:4] == [1, 2, 3, 4] and (np.diff(counts) < 0).all()
    assert slices.dimension(smooth) == pytest.approx(1, abs=0.06)
    assert slices.exponent(smooth) == pytest.approx(1, abs=0.03)
    for small in (24, 32, 96):  # no bias by the size of the grid
        assert slices.exponent(grid(lambda a, b: a > -0.21, small)) == pytest.approx(1, abs=1e-6)
    assert slices.entropies(smooth)[1] < slices.FRACTAL
    noise = grid(lambda a, b: np.random.default_rng(0).random(a.shape) < 0.5)
    assert slices.dimension(noise) == pytest.approx(2, abs=0.1)
    assert slices.exponent(noise) == pytest.approx(0, abs=0.02)
    assert slices.entropies(noise)[0] == pytest.approx(np.log(2), abs=0.05)
    from eplib.uncertainty_controls import newton_class

    fractal = grid(lambda a, b: newton_class((a + 1j * b).ravel()).reshape(a.shape), 384)
    assert slices.dimension(fractal) == pytest.approx(1.43, abs=0.08)
    one = slices.described(grid(lambda a, b: a < 2))
    assert one["classes"] == 1 and one["basin_entropy"] == 0
    assert np.isnan([one["dimension"], one["exponent"], one["boundary_entropy"]]).all()


def test_zooms_follow_a_boundary(case):
    net, x, y = case
    found = zooms.zooms(net, x, y, {"side": 24, "batch": 200}, progress=False)
    classes = found.arrays["classes"]
    assert classes.shape == (zooms.LEVELS, 25, 25, 3)
    whole = slices.slices(net, x, y, {"side": 24, "batch": 200}, progress=False).arrays["classes"][0]
    assert np.array_equal(classes[0], whole)
    for i in range(3):
        mixed = [len(np.unique(classes[k, ..., i])) > 1 for k in range(zooms.LEVELS)]
        assert not mixed[0] or all(mixed)  # the boundary stays in view
    assert [r.get("zoom") for r in found.rows[1::2]] == [1, 8, 64, 512]
    with pytest.raises(InputError, match="16 cells"):
        zooms.zooms(net, x, y, {"side": 16, "batch": 200}, progress=False)


def test_an_enlarged_circle_becomes_a_line_and_newtons_basins_do_not():
    from eplib.uncertainty_controls import newton_class

    class Plane:
        """Classes of points whose first two pixels are coordinates."""

        def __init__(self, classify):
            self.classify = classify

        def __call__(self, points):
            a, b = points[:, 0, 0, 0].double().numpy(), points[:, 0, 0, 1].double().numpy()
            return torch.nn.functional.one_hot(torch.from_numpy(self.classify(a, b)).long(), 3)

    corner, first, second = torch.zeros(3, 1, 1, 2, dtype=torch.float64)
    corner[:], first[..., 0], second[..., 1] = -1.07, 2.0, 2.0
    found = {}
    for name, classify in (
        ("circle", lambda a, b: a**2 + b**2 < 0.3),
        ("newton", lambda a, b: newton_class(a + 1j * b)),
    ):
        levels = zooms._levels(Plane(classify), (corner, first, second), {"side": 96, "batch": 5000})
        found[name] = [slices.exponent(grid) for grid in levels]
    assert min(found["circle"]) > 0.93 and max(found["newton"]) < 0.8


def test_nearest_boundary_by_hand():
    grid = np.zeros((5, 5), int)
    assert zooms.nearest_boundary(grid) is None
    grid[3:] = 1
    assert zooms.nearest_boundary(grid) == (2.5, 2)


def test_entropy_of_a_box_by_hand():
    classes = np.zeros((5, 5), np.uint8)
    classes[0, 0] = 3
    p = 1 / 16
    expected = -(p * np.log(p) + (1 - p) * np.log(1 - p))
    assert slices.entropies(classes) == pytest.approx((expected, expected))


def test_state_space_is_what_attractors_find(case):
    net, x, y = case
    sizes = {"starts": 2, "steps": 30, "batch": 2}
    found = state_space.state_space(net, x, y, sizes, progress=False)
    orders = [net.order, "synchronous"]
    assert found.arrays["kind"].shape == (2, 5, 3) == found.arrays["classes"].shape
    for o, order in enumerate(orders):
        end = settle(net, x, 30, order, tolerance=1e-4)
        assert (found.arrays["classes"][o, 0] == end.logits.argmax(1).numpy()).all()
        assert (found.correct[o] == (end.logits.argmax(1) == y).numpy()).all()
    changed = found.arrays["class_changed"]
    assert changed.shape == (len(state_space.KICKS), 2, 3) == found.arrays["end_changed"].shape
    assert not (changed & ~found.arrays["end_changed"]).any()  # another class is another end
    assert found.arrays["kick_left"].shape == (2, len(state_space.RETURN_STEPS), 3)
    said = {(r["metric"], r["order"]) for r in found.rows}
    assert {("period_two", o) for o in orders} | {("agreement", o) for o in orders} <= said
    shares = [sum(r["value"] for r in found.rows if r["order"] == o and r["metric"] in
                  ("at_rest", "period_two", "moving")) for o in orders]  # fmt: skip
    assert shares == pytest.approx([1, 1])


def test_a_kick_has_its_length():
    states = [torch.rand(4, 2, 3, 3), torch.rand(4, 5, 1, 1)]
    kicked = state_space._kick(states, 0.1, 0)
    ratio = state_space.length(kicked, states) / state_space.length(states)
    assert torch.allclose(ratio, torch.full((4,), 0.1), atol=1e-5)


def test_filtering_follows_both_runs(case):
    net, x, y = case
    sizes = {"lengths": [4, 9], "attack_steps": 3, "batch": 2}
    found = filtering.filtering(net, x, y, sizes, progress=False)
    moved, size = found.arrays["moved"], found.arrays["size"]
    assert moved.shape == (4, 7, 3, 3, 3) and size.shape == (4, 7, 3)
    kind, level = filtering.KINDS.index("adversarial"), filtering.LEVELS.index(8)
    radius = 8 / 255 * 3072**0.5
    model = AttackedModel(net)
    z = attacks.pgd(model, x[2:], predicted(model, x[2:]), attacks.ThreatModel("l2", radius), 3)
    ends = [settle(net, v, 9, "synchronous") for v in (x[2:], z)]
    assert moved[kind, level, 2, 1, 2] == pytest.approx(
        state_space.length(*(e.states for e in ends)).item(), rel=1e-4
    )
    assert moved[kind, level, 2, 2, 2] == pytest.approx(
        (ends[0].logits - ends[1].logits).norm().item(), rel=1e-4
    )
    assert (moved[..., 1, :] >= moved[..., 0, :] - 1e-5).all()  # the state holds the first layer
    assert (size <= np.array(filtering.LEVELS)[:, None] / 255 * 3072**0.5 * 1.001).all()
    assert moved[:, :, 0, 0] == pytest.approx(
        moved[:, :, 0, 1], rel=1e-4
    )  # after one step nothing above has heard


def test_shrinkage_is_over_where_the_change_first_arrived():
    moved = np.zeros((3, 3, 2))  # after 1 step and two lengths; parts; images
    moved[:, 0, 0], moved[:, 2, 0] = (2, 1, 4), (0, 5, 10)
    assert filtering.shrinkage(moved, "first layer", 1).tolist() == [2]
    assert filtering.shrinkage(moved, "logits", 1).tolist() == [2]
    assert filtering.shrinkage(moved, "first layer", 0).tolist() == [0.5]


@pytest.mark.parametrize("name", NAMES)
def test_every_scale_has_sizes(name):
    for size in scales.SCALES.values():
        assert size.attacks[name]["images"] >= 3


def test_bad_input_is_refused(smoke, case):
    net, x, y = case
    cnn = smoke["cnn"].net
    sizes = {"starts": 2, "steps": 30, "batch": 2, "lengths": [4], "attack_steps": 1}
    for study in (state_space.state_space, filtering.filtering):
        with pytest.raises(InputError, match="energy-based"):
            study(cnn, x, y, sizes, progress=False)
    with pytest.raises(InputError, match="2 images"):
        slices.slices(cnn, x[:2], y[:2], {"side": 8, "batch": 9}, progress=False)
    with pytest.raises(InputError, match="10 cells"):
        slices.slices(cnn, x, y, {"side": 10, "batch": 9}, progress=False)
    with pytest.raises(InputError, match=r"lengths \[9, 4\]"):
        filtering.filtering(net, x, y, sizes | {"lengths": [9, 4]}, progress=False)
    with pytest.raises(InputError, match="labels"):
        measured.uncertainty_of(cnn, x, y[:2], SIZES, progress=False)
    with pytest.raises(InputError, match="pixels"):
        measured.adversarial_distances(cnn, x + 1, y, {"steps": 3, "batch": 2}, progress=False)

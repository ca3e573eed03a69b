import itertools

import numpy as np
import pytest
import torch
from conftest import random_batch, random_net

from eplib import attractors
from eplib.attractors import Path
from eplib.checks import InputError
from eplib.dynamics import settle
from eplib.network import EPCNN
from eplib.phases import ORDERS


def switch(own=-3.0, coupling=4.0, other=-1.0, **settings):
    """Two layers of one unit each, worked out by hand: with an image of brightness v everywhere,

        u_1 = 6 v + own + coupling s_2        u_2 = coupling s_1 + other        logits = (½, s_2).

    As it is, at v = ⅓ both all-zero and all-one stay where they are, and what lies between runs away.
    """
    net = EPCNN((1, 1), (0, 2), classes=2, in_channels=1, image_size=4, **settings).double()
    with torch.no_grad():
        net.convs[0].weight.fill_(6 / 9)
        net.convs[0].bias.fill_(own)
        net.convs[1].weight.fill_(coupling)
        net.convs[1].bias.fill_(other)
        net.readout.weight.copy_(torch.tensor([[0.0], [1.0]]))
        net.readout.bias.copy_(torch.tensor([0.5, 0.0]))
    return net


def bright(*values):
    return torch.tensor(values, dtype=torch.float64).view(-1, 1, 1, 1).expand(-1, 1, 4, 4).contiguous()


def units(*pairs):
    """States of a `switch`, one pair (s_1, s_2) an image."""
    return [torch.tensor(layer, dtype=torch.float64).view(-1, 1, 1, 1) for layer in zip(*pairs, strict=True)]


def largest(a, b):
    return max((x - y).abs().max().item() for x, y in zip(a, b, strict=True))


# one step each


def test_the_switch_is_what_its_description_says():
    found = settle(
        switch(), bright(1 / 3, 0.5, 1.0), 1, "synchronous", start=units((0.6, 0.5), *[(0.3, 0.4)] * 2)
    )
    # u_1 = 1, 1.6, 4.6 and u_2 = 1.4, 0.2, 0.2
    assert largest(found.states, units((0.5, 0.7), (0.8, 0.1), (1.0, 0.1))) < 1e-12
    torch.testing.assert_close(found.logits, torch.tensor([[0.5, 0.7], [0.5, 0.1], [0.5, 0.1]]).double())


@pytest.mark.parametrize(
    "order, expected",
    # (1, 0) → (0, 1) → (1, 0) when both units look at once; one after the other they agree on (0, 0)
    [("synchronous", [1, 1, 2, 2, 0]), ("forward", [1, 1, 0, 0, 0]), ("backward", [1, 1, 0, 0, 0])],
)
def test_a_cycle_of_two_is_told_from_rest_and_from_motion(order, expected):
    states = units((0, 0), (1, 1), (1, 0), (0, 1), (0.9, 0.3))
    images = bright(*[1 / 3] * 5)
    assert attractors.period(switch(), images, states, order).tolist() == expected
    assert attractors.period(switch(order=order), images, states).tolist() == expected


def test_rest_and_return_are_judged_to_a_thousandth():
    net, images = switch(-2.0, 2.0, 0.0), bright(1 / 3, 1 / 3)
    # s_1 ← s_2, s_2 ← s_1: everything returns after two steps, and rests where both are (nearly) the same
    states = units((0.5, 0.5009), (0.5, 0.5011))
    assert attractors.period(net, images, states, "synchronous").tolist() == [1, 2]


# several starts


def test_random_starts_fall_to_the_side_that_their_unit_decides():
    net, images = switch(), bright(*[1 / 3] * 8)
    found = attractors.find(net, images, 6, 100, "forward", seed=5)
    for k in range(6):  # going forward s_1 is overwritten first, so s_2 alone decides
        high = attractors.random_states(net, 8, 5 + k)[1].flatten() > 0.5
        assert torch.equal(found.classes[k + 1], high.long())
        ones = [torch.ones(8, 1, 1, 1).double() * high.view(-1, 1, 1, 1)] * 2
        assert largest([s[k + 1] for s in found.states], ones) < 1e-3
    assert found.settled.all() and (found.classes[0] == 0).all()
    assert torch.equal(found.label, found.classes)  # the first attractor is all-zero, from the zero start
    assert torch.equal(found.count, 1 + found.classes.amax(dim=0))
    assert found.label.dtype == torch.int64 and 2 in found.count


def test_starts_in_a_cycle_are_not_settled_and_get_no_number():
    net, images = switch(), bright(*[1 / 3] * 8)
    found = attractors.find(net, images, 6, 100, "synchronous")
    for k in range(6):
        first, second = (s.flatten() > 0.5 for s in attractors.random_states(net, 8, k))
        expected = torch.where(first == second, first.long(), -1)
        assert torch.equal(found.label[k + 1], expected)
    assert torch.equal(found.settled, found.label >= 0)
    assert set(found.label.flatten().tolist()) == {-1, 0, 1}
    assert not attractors.find(net, images, 1, 0, "synchronous").settled[1:].any()  # no step, no rest


def test_numbering_begins_with_the_first_start_that_settles():
    # u_1 = 3 − 4 s_2 and u_2 = 3 − 4 s_1: from zero both swing for ever, and from elsewhere one of them wins
    net = switch(1.0, -4.0, 3.0)
    found = attractors.find(net, bright(*[1 / 3] * 8), 6, 100, "synchronous")
    assert (found.label[0] == -1).all()
    for n in range(8):
        numbers, expected = {}, []
        for k in range(6):
            first, second = ((s[n] > 0.5).item() for s in attractors.random_states(net, 8, k))
            expected.append(-1 if first == second else numbers.setdefault(second, len(numbers)))
        assert found.label[1:, n].tolist() == expected and found.count[n] == len(numbers)
    assert set(found.count.tolist()) >= {1, 2}
    assert set(attractors.find(net, bright(0.3), 6, 0).count.tolist()) == {0}  # nothing settles in no step


def test_an_image_that_decides_leaves_one_attractor():
    found = attractors.find(switch(), bright(0.0, 1 / 3, 1.0), 8, 100, "forward")
    assert found.count.tolist() == [1, 2, 1]
    assert (found.classes[:, 0] == 0).all() and (found.classes[:, 2] == 1).all()


@pytest.mark.parametrize("order", ORDERS)
def test_weak_coupling_leaves_the_one_attractor_that_algebra_finds(order):
    net = switch(1.0, 0.5, 0.5)
    # 2 s_1 = 1 + ½ s_2 and 2 s_2 = ½ + ½ s_1
    found = attractors.find(net, bright(0.0, 0.0), 5, 100, order)
    assert found.settled.all() and (found.label == 0).all() and found.count.tolist() == [1, 1]
    assert max((s - v).abs().max().item() for s, v in zip(found.states, (0.6, 0.4), strict=True)) < 1e-4
    assert (found.classes == 0).all()


@pytest.mark.parametrize("order", ORDERS)
def test_a_small_gain_leaves_one_attractor(order):
    net = random_net(gain=0.3)  # larger gains already have one for every choice of pooling winners
    images, _ = random_batch(net)
    starts = [attractors.random_states(net, 4, k) for k in (0, 1)]
    assert largest(*starts) > 0.5  # far apart
    found = attractors.find(net, images, 3, 200, order)
    assert found.settled.all() and (found.label == 0).all() and found.count.tolist() == [1] * 4
    own = settle(net, images, 200, order)
    assert (found.classes == own.logits.argmax(1)).all()
    for k in range(4):
        assert largest([s[k] for s in found.states], own.states) < 1e-2


@pytest.fixture(scope="module")
def many():
    """A network with so large a gain that its images have several attractors, and what `find` finds."""
    net = random_net((4, 5), (1, 1), 10, gain=6.0)
    images, _ = random_batch(net, 12)
    return net, images, attractors.find(net, images, 7, 60, "forward")


def test_numbers_follow_discovery_and_stand_for_different_states(many):
    *_, found = many
    assert len(set(found.count.tolist())) > 1 and not found.settled.all()  # or this shows little
    for n in range(12):
        representatives = []
        for k in range(8):
            state = torch.cat([s[k, n].flatten() for s in found.states])
            close = [i for i, other in enumerate(representatives) if (state - other).abs().max() < 1e-2]
            expected = -1
            if found.settled[k, n]:
                expected = close[0] if close else len(representatives)
                representatives += [] if close else [state]
            assert found.label[k, n] == expected
        assert found.count[n] == len(representatives)


def test_the_number_of_a_state_between_two_attractors_is_that_of_the_first():
    ends = torch.tensor([[0.0, 0.0, 0.0], [0.009, 0.018, 0.009], [0.018, 0.009, 0.018]])[
        ..., None, None, None
    ]
    settled = torch.tensor([[True, True, True], [True, True, False], [True, True, True]])
    # a chain within reach of one another; one that both of two reach; one whose link did not settle
    assert attractors._numbered((ends,), settled).tolist() == [[0, 0, 0], [0, 1, -1], [0, 0, 1]]


def test_what_is_called_settled_rests_and_the_zero_start_is_the_networks_own(many):
    net, images, found = many
    for k in range(8):
        after = settle(net, images, 1, "synchronous", start=[s[k] for s in found.states])
        moved = [
            (a - s[k]).abs().amax(dim=(1, 2, 3)) for a, s in zip(after.states, found.states, strict=True)
        ]
        assert torch.equal(found.settled[k], torch.stack(moved).amax(0) < 1e-3)
    own = settle(net, images, 60, "forward", tolerance=1e-4)
    assert largest([s[0] for s in found.states], own.states) == 0
    assert torch.equal(found.classes[0], own.logits.argmax(1))


def test_an_image_is_judged_apart_from_those_after_it(many):
    net, images, found = many
    fewer = attractors.find(net, images[:5], 7, 60, "forward")
    assert torch.equal(fewer.label, found.label[:, :5]) and torch.equal(fewer.classes, found.classes[:, :5])
    other = attractors.find(net, images[:5], 7, 60, "forward", seed=100)
    assert largest([s[1] for s in other.states], [s[1] for s in fewer.states]) > 0.1
    assert largest([s[0] for s in other.states], [s[0] for s in fewer.states]) == 0


def test_random_states_depend_on_the_seed_and_the_place_alone():
    net = random_net()
    torch.manual_seed(1)
    five = attractors.random_states(net, 5, 3)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    three = attractors.random_states(net, 3, 3)
    assert torch.equal(torch.get_rng_state(), before)  # nobody else's random numbers are used up
    assert largest(three, [s[:3] for s in five]) == 0
    assert [tuple(s.shape) for s in five] == [(5, *shape) for shape in net.shapes]
    drawn = [*five[0], *attractors.random_states(net, 5, 4)[0]]
    assert all((a - b).abs().max() > 0.5 for a, b in itertools.combinations(drawn, 2))
    values = torch.cat([s.flatten() for s in five])
    assert values.dtype == torch.float64 and values.min() >= 0 and values.max() <= 1
    quarters = torch.histc(values, 4, 0, 1) / len(values)
    assert (quarters - 0.25).abs().max() < 0.03  # uniform: 5 × 530 draws, three standard deviations


@pytest.mark.parametrize("starts", [0, -1])
def test_fewer_than_one_start_is_refused(starts):
    with pytest.raises(InputError, match=f"starts = {starts}"):
        attractors.find(switch(), bright(0.5), starts, 5)


# neighbours


def test_the_nearest_vector_of_another_image():
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(60, 5))
    vectors[1] = vectors[0]  # the own image's other vectors do not count, however near
    owners, labels = np.arange(60) // 4, generator.integers(0, 1000, 60)
    expected, own = [], []
    for i in range(60):
        distance = [np.linalg.norm(vectors[i] - v) for v in vectors]
        others = [j for j in range(60) if owners[j] != owners[i]]
        expected.append(labels[min(others, key=distance.__getitem__)])
        own.append(labels[min((j for j in range(60) if j != i), key=distance.__getitem__)])
    assert own != expected  # or the owners would make no difference
    found = attractors.nearest_label(*map(torch.from_numpy, (vectors, owners, labels)))
    assert found.tolist() == expected


def test_neighbours_need_a_second_image():
    with pytest.raises(InputError, match="2 or more"):
        attractors.nearest_label(torch.rand(3, 2), torch.zeros(3).long(), torch.arange(3))


# paths


def path(*energies):
    """A path of these energies from zero, [P] or [P, N], with others elsewhere."""
    energy = torch.tensor(energies, dtype=torch.float64)
    energy = energy if energy.ndim == 2 else energy[:, None]
    return Path(
        torch.stack([energy, -energy, energy.square()]), torch.zeros(3, *energy.shape, dtype=torch.long)
    )


@pytest.mark.parametrize(
    "energies, barrier",
    [
        ((1.0, 1.0, 1.0), 0.0),
        ((-2.0, -1.0, 0.0, 1.0), 0.0),  # a straight slope is no barrier
        ((5.0, 2.0, -1.0), 0.0),
        ((0.0, 3.0, 0.0), 3.0),
        ((0.0, 1.0, 5.0, 3.0, 4.0), 3.0),  # above the line 0, 1, 2, 3, 4
        ((0.0, -4.0, 0.0), 0.0),  # a valley is none either
        ((2.0, -4.0, 4.0, 2.0), 2.0),
        ((1.0,), 0.0),
    ],
)
def test_a_barrier_is_what_rises_above_the_line_between_the_ends(energies, barrier):
    assert path(*energies).barrier().tolist() == pytest.approx([barrier], abs=1e-12)


def test_barriers_are_of_every_image_alone_and_do_not_know_the_zero_of_energy():
    both = path((0.0, 9.0), (3.0, 4.0), (0.0, -1.0))
    assert both.barrier().tolist() == [3.0, 0.0]
    generator = torch.Generator().manual_seed(0)
    energy = torch.rand(3, 9, 5, generator=generator, dtype=torch.float64)
    slope = torch.linspace(-4, 8, 9).double()[:, None]
    classes = torch.zeros(3, 9, 5).long()
    tilted = Path(energy + slope, classes).barrier()
    torch.testing.assert_close(tilted, Path(energy, classes).barrier())
    assert (tilted > 0.1).any()


def test_hysteresis_counts_where_the_ways_differ():
    classes = torch.tensor(
        [
            [[4, 4], [5, 5], [6, 6], [7, 7]],  # from zero: says nothing here
            [[0, 0], [0, 1], [0, 2], [1, 3]],  # forth
            [[0, 0], [1, 1], [2, 2], [1, 3]],  # back
        ]
    )
    assert Path(torch.zeros(3, 4, 2), classes).hysteresis().tolist() == [0.5, 0.0]


def test_the_switch_turns_later_than_it_turns_back():
    # d = 6 v − 3. From (0, 0) the unit s_1 = d / 2 wakes s_2 at d > ½; from (1, 1) s_2 falls when 4 s_1 − 1
    # is below 2, s_1 = (d + 4) / 2, that is at d < −2½. Four paths: all the way up; all the way down;
    # nowhere; and down, but not to the end.
    begin, end = bright(0.0, 1.0, 0.0, 1.0), bright(1.0, 0.0, 0.0, 0.25)
    found = attractors.along(switch(), begin, end, 11, 500, "forward")
    assert found.classes.shape == found.energy.shape == (3, 11, 4)
    for n, hysteresis in enumerate((5 / 11, 5 / 11, 0, 0)):
        v = torch.linspace(begin[n, 0, 0, 0].item(), end[n, 0, 0, 0].item(), 11).double()
        drive = (6 * v - 3).tolist()
        late, early = ([d > turn for d in drive] for turn in (0.5, -2.5))
        # on the way up the point before leaves (0, 0), on the way down (1, 1); the last path comes back from
        # where it went to, (1, 1), and not from what zero settles to there, (0, 0)
        forth, back = ((late, early), (early, late), (late, late), (early, early))[n]
        assert found.classes[:, :, n].tolist() == [late, forth, back]
        # ‖s‖² − Φ at (1, 1) is 2 − d − 3; at (d / 2, 0), and below d = 0 at (0, 0), it is −d² / 4 and 0
        energy = [-1 - d if d > 0.5 else -(max(d, 0) ** 2) / 4 for d in drive]
        assert found.energy[0, :, n].tolist() == pytest.approx(energy, abs=1e-6)
        line = [energy[0] + i / 10 * (energy[-1] - energy[0]) for i in range(11)]
        barrier = max(e - on_line for e, on_line in zip(energy, line, strict=True))
        assert found.barrier()[n].item() == pytest.approx(barrier, abs=1e-6)
        assert found.hysteresis()[n].item() == pytest.approx(hysteresis)
    assert found.barrier()[0].item() == pytest.approx(2.0)  # still (0, 0) in the middle of 0 … −4
    assert found.energy[2, 1, 0].item() == pytest.approx(0.64 + 1 + 2.4 * 0.8 - 2.2)  # at (0.8, 1), d = −2.4


def test_a_contraction_follows_the_image_there_and_back():
    net = random_net(gain=0.3)
    images, _ = random_batch(net)
    found = attractors.along(net, images, images.flip(0), 4, 300)
    assert (found.hysteresis() == 0).all()
    assert (found.energy - found.energy[0]).abs().max() < 1e-3 * found.energy.abs().max()
    assert (found.energy[0, 0] - found.energy[0, -1].flip(0)).abs().max() < 1e-9  # the other's beginning
    middle = settle(net, images + (images.flip(0) - images) / 3, 300, tolerance=1e-4)
    torch.testing.assert_close(found.energy[0, 1], middle.energy)
    assert torch.equal(found.classes[0, 1], middle.logits.argmax(1))

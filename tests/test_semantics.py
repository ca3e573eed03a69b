from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import random_batch
from torch import nn

from eplib import semantics, semantics_changes, semantics_metrics
from eplib.attacks import AttackedModel, predicted
from eplib.checks import InputError, check_images
from eplib.results import rows
from eplib.semantics_changes import Setting
from eplib.studies import Found

SIZES = {"epsilons": (0.5, 2.0), "factors": (1.0, 2.0), "steps": 10, "minimal_steps": 40, "starts": 2}
SIZES |= {"ascent_steps": 20, "batch": 16}
CLASSES, SIDE = 4, 16


class Templates(nn.Module):
    """Logits are products with one smooth pattern a class, or with one of noise."""

    classes, in_channels, image_size = CLASSES, 1, SIDE

    def __init__(self, smooth=True, seed=0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        patterns = torch.randn(CLASSES, 1, SIDE, SIDE, generator=generator)
        if smooth:
            places = torch.linspace(0, 2 * torch.pi, SIDE)
            waves = [torch.sin(places + c)[:, None] * torch.cos(places * (1 + c % 2)) for c in range(CLASSES)]
            patterns = torch.stack(waves)[:, None]
        self.weight = nn.Parameter((patterns / patterns.flatten(1).norm(dim=1)[:, None, None, None]).detach())
        self.register_buffer("mean", torch.zeros(1))

    def check(self, images):
        check_images(images, (1, SIDE, SIDE))

    def forward(self, images):
        return 8 * (images - 0.5).flatten(1) @ self.weight.flatten(1).T


def examples(net, count, seed=1):
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(count) % CLASSES
    x = 0.5 + 1.5 * net.weight.detach()[y] + 0.03 * torch.randn(count, 1, SIDE, SIDE, generator=generator)
    return x.clamp(0, 1), y


@pytest.fixture(scope="module")
def measured():
    """(Found of a network of smooth templates, seen by one of its kind and one of noise, images, labels)."""
    net = Templates()
    x, y = examples(net, 40)
    judges = {"alike": Templates(), "noise": Templates(smooth=False, seed=3)}
    return semantics.measure(net, x, y, SIZES, judges, examples(net, 80, 2), progress=False), x, y


def at(found, name, change="attack", condition="budget", amount=2.0):
    """Mean of an array at a targeted setting."""
    values = found.arrays[name]
    if values.ndim == 2:
        values = values[
            semantics_changes.settings(SIZES).index(Setting(condition, amount, "targeted", change))
        ]
    return np.nanmean(values.astype(float))


@pytest.mark.parametrize("condition, amount", [("budget", 2.0), ("effect", 2.0)])
def test_changes_made_of_class_patterns_score_high_and_noise_is_at_chance(measured, condition, amount):
    found = measured[0]
    where = dict(condition=condition, amount=amount)
    assert at(found, "shift alike", **where) > 5 * abs(at(found, "shift alike", "gaussian", **where))
    assert at(found, "judged alike", **where) > 0.9 > 0.3 > at(found, "judged alike", "gaussian", **where)
    assert abs(at(found, "shift noise", **where)) < 0.2 * at(found, "shift alike", **where)
    assert at(found, "prototype") > 0.5 and at(found, "neighbour") > 0.4
    assert at(found, "judge_gradient alike") == pytest.approx(1, abs=1e-3)
    assert abs(at(found, "judge_gradient noise")) < 0.2
    assert at(found, "low", **where) > 0.95 and at(found, "low", "gaussian", **where) < 0.85
    assert at(found, "consistency", **where) > 0.9 > 0.6 > at(found, "consistency", "gaussian", **where) > 0.4
    assert at(found, "guessed", **where) > 0.9 > 0.5 > at(found, "guessed", "gaussian", **where)
    assert (
        at(found, "consistency", "difference", **where) > 0.85 > at(found, "consistency", "shuffled", **where)
    )
    assert at(found, "similarity", **where) > 0
    assert at(found, "variation", **where) < 0.7 * at(found, "variation", "gaussian", **where)


def test_a_network_of_noise_makes_changes_that_no_judge_of_patterns_sees(measured):
    _, x, _ = measured
    net = Templates(smooth=False, seed=3)
    y = predicted(AttackedModel(net), x)
    found = semantics.measure(
        net, x, y, SIZES, {"alike": Templates()}, examples(Templates(), 80, 2), None, False
    )
    assert abs(at(found, "shift alike")) < 0.1 * at(measured[0], "shift alike")
    assert at(found, "low") < 0.9 < 0.95 < at(measured[0], "low") and abs(at(found, "prototype")) < 0.2


def test_controls_are_as_long_as_the_attack_and_effects_scale(measured):
    found = measured[0]
    for amount in SIZES["epsilons"]:
        lengths = [at(found, "length", c, amount=amount) for c in ("attack", *semantics_changes.CONTROLS)]
        assert np.allclose(lengths, amount, rtol=0.01)
    one, two = (at(found, "length", condition="effect", amount=a) for a in SIZES["factors"])
    assert two == pytest.approx(2 * one, rel=0.01)
    assert at(found, "reached", condition="effect", amount=1.0) == 1


def test_rows_say_what_the_arrays_hold(measured):
    found, x, y = measured
    assert isinstance(found, Found) and found.clean.all()
    shown = semantics_changes.settings(SIZES)
    table = pd.DataFrame(found.rows)
    result = SimpleNamespace(table=table)
    own = rows(result, "accuracy")
    assert len(own) == len(shown) == len(found.correct) and np.allclose(own.value, found.correct.mean(1))
    row = rows(
        result, "shift", judge="alike", condition="budget", amount=2.0, goal="targeted", change="attack"
    )
    assert len(row) == 1 and row.value.item() == pytest.approx(at(found, "shift alike"), rel=1e-2)
    assert set(rows(result, "inversion").judge) == {"alike", "noise"}
    assert rows(result, "inversion", judge="alike").value.item() == 1.0
    assert rows(result, "consistency", goal="untargeted").empty
    assert np.isnan(
        found.arrays["consistency"][shown.index(Setting("budget", 2.0, "untargeted", "attack"))]
    ).all()


def test_it_goes_on_where_it_was_and_refuses_bad_input(tmp_path, measured):
    net = Templates()
    x, y = examples(net, 20)
    judges, training = {"alike": Templates()}, examples(net, 80, 2)
    first = semantics.measure(net, x, y, SIZES, judges, training, tmp_path, progress=False)
    assert len(list(tmp_path.glob("*.npz"))) == 2
    (tmp_path / "16-20.npz").unlink()
    again = semantics.measure(net, x, y, SIZES, judges, training, tmp_path, progress=False)
    for name, value in first.arrays.items():
        assert np.array_equal(value, again.arrays[name], equal_nan=True)
    with pytest.raises(InputError, match="no judges"):
        semantics.measure(net, x, y, SIZES, {}, training)
    few = training[0][training[1] != 2], training[1][training[1] != 2]
    with pytest.raises(InputError, match="class 2"):
        semantics.measure(net, x, y, SIZES, judges, few, progress=False)


def test_targets_are_other_classes_and_those_of_a_prefix_stay():
    y = torch.arange(500) % 10
    wanted = semantics_changes.targets(y, 10)
    assert (wanted != y).all() and torch.equal(wanted[:37], semantics_changes.targets(y[:37], 10))
    assert torch.bincount((wanted - y) % 10, minlength=10)[1:].min() > 30


def test_a_moved_image_has_the_length_wanted_within_the_box():
    torch.manual_seed(0)
    x, d = torch.rand(6, 3, 8, 8).double().round(), torch.randn(6, 3, 8, 8).double()
    d[5] = 0
    wanted = torch.tensor([0.1, 1.0, 3.0, 5.0, 1e6, 1.0]).double()
    z = semantics_changes.moved(x, d, wanted)
    lengths = (z - x).flatten(1).norm(dim=1)
    assert z.min() >= 0 and z.max() <= 1 and torch.allclose(lengths[:4], wanted[:4]) and lengths[5] == 0
    most = ((x + 1e9 * d).clamp(0, 1) - x).flatten(1).norm(dim=1)[4]
    assert lengths[4] == pytest.approx(most.item(), rel=1e-2)
    inside = (z > 0) & (z < 1)
    scale = ((z - x) / d)[2][inside[2]]
    assert scale.std() < 1e-6 * scale.mean()


def test_a_shuffled_change_is_one_towards_another_class():
    change, wanted = torch.arange(5.0)[:, None, None, None] + 1, torch.tensor([1, 1, 2, 1, 1])
    made = semantics_changes.controls(change, change, change, change, wanted)["shuffled"]
    assert made.flatten().tolist() == [3, 3, 4, 3, 3]
    alone = semantics_changes.controls(change, change, change, change, wanted * 0)["shuffled"]
    assert not alone.any()


def wave(frequency, size=32):
    places = torch.arange(size) * 2 * torch.pi * frequency / size
    return (torch.sin(places)[:, None] + torch.zeros(size))[None, None].double()


def test_spectra_of_waves_noise_and_natural_slopes():
    assert semantics_metrics.low_share(wave(3)) == pytest.approx(1)
    assert semantics_metrics.low_share(wave(12)) == pytest.approx(0, abs=1e-9)
    torch.manual_seed(0)
    noise = torch.randn(40, 3, 32, 32).double()
    f = torch.fft.fftfreq(32, 1 / 32).double()
    radius = (f[:, None] ** 2 + f**2).sqrt()
    assert semantics_metrics.low_share(noise).mean() == pytest.approx(
        (radius.round() <= 8).double().mean().item(), abs=0.01
    )
    assert semantics_metrics.slope(noise).mean() == pytest.approx(0, abs=0.05)
    falling = torch.fft.ifft2(torch.fft.fft2(noise) / radius.clamp(min=1)).real
    assert semantics_metrics.slope(falling).mean() == pytest.approx(-2, abs=0.15)
    assert semantics_metrics.low_share(torch.zeros(1, 3, 8, 8)).isnan().all()


def test_sparsity_variation_edges_and_similarity_at_their_ends():
    single, even = torch.zeros(1, 1, 16, 16), torch.ones(1, 1, 16, 16)
    single[0, 0, 5, 5] = 0.3
    assert semantics_metrics.hoyer(single) == pytest.approx(1) and semantics_metrics.hoyer(even) == 0
    assert semantics_metrics.variation(single) == pytest.approx(4) and semantics_metrics.variation(even) == 0
    image = torch.zeros(1, 1, 20, 20)
    image[..., 10:] = 1
    assert semantics_metrics.on_edges(image, torch.ones_like(image)) == pytest.approx(0.2)
    along = torch.zeros_like(image)
    along[..., 9:11] = 1
    assert semantics_metrics.on_edges(image, along) == pytest.approx(1)
    assert semantics_metrics.on_edges(image, 1 - along) < 0.2
    x = torch.rand(2, 3, 32, 32)
    assert torch.allclose(semantics_metrics.similarity(x, x), torch.ones(2).double())
    assert (semantics_metrics.similarity(x, 1 - x) < 0.2).all()


def test_gradients_are_aligned_as_defined():
    x, g = torch.rand(3, 1, 4, 4).double(), torch.randn(3, 1, 4, 4).double()
    assert torch.allclose(semantics_metrics.alignment(x, x), x.flatten(1).norm(dim=1))
    flat = x.flatten(1) - x.flatten(1).mean(1, keepdim=True)
    expected = (flat * g.flatten(1)).sum(1).abs() / g.flatten(1).norm(dim=1)
    assert torch.allclose(semantics_metrics.alignment(x, g, centred=True), expected)
    assert torch.allclose(semantics_metrics.cosine(g, -2 * g), -torch.ones(3).double())
    others, labels = torch.rand(9, 1, 4, 4).double(), torch.arange(9) % 3
    near = semantics_metrics.nearest(x, torch.tensor([2, 0, 2]), others, labels)
    for i, c in enumerate((2, 0, 2)):
        best = min(
            (o for o, l in zip(others, labels, strict=True) if l == c), key=lambda o, i=i: (o - x[i]).norm()
        )
        assert torch.equal(near[i], best)


def test_consistency_is_the_area_under_the_curve_and_leaves_the_image_out():
    torch.manual_seed(0)
    wanted = torch.arange(30) % 3
    changes = torch.eye(3)[wanted].repeat(1, 20) + 0.8 * torch.randn(30, 60)
    changes[4] = 0
    agreement, guessed = semantics_metrics.consistency(changes, wanted)
    unit = changes / changes.norm(dim=1, keepdim=True)
    for i in (0, 7, 29):
        others = [j for j in range(30) if j not in (i, 4)]
        pairs = [
            float(unit[i] @ unit[a] > unit[i] @ unit[b])
            for a in others
            for b in others
            if wanted[a] == wanted[i] != wanted[b]
        ]
        assert agreement[i] == pytest.approx(np.mean(pairs), abs=1e-3)
        rest = [changes[[j for j in others if wanted[j] == c]] for c in range(3)]
        means = [(r / r.norm(dim=1, keepdim=True)).mean(0) for r in rest]
        best = int(np.argmax([unit[i] @ m / m.norm() for m in means]))
        assert guessed[i] == (best == wanted[i])
    assert agreement[4].isnan() and not guessed[4]
    noise, chance = semantics_metrics.consistency(torch.randn(300, 2000), torch.arange(300) % 10)
    assert noise.mean() == pytest.approx(0.5, abs=0.02) and chance.double().mean() < 0.2


def test_synthesised_images_become_what_was_asked_for():
    model = AttackedModel(Templates())
    images, wanted = semantics_changes.synthesised(model, 2, 20)
    assert wanted.tolist() == [c for c in range(CLASSES) for _ in range(2)] and images.shape == (
        8,
        1,
        SIDE,
        SIDE,
    )
    assert torch.equal(predicted(model, images), wanted) and images.min() >= 0 and images.max() <= 1
    for change, c in zip(images - 0.5, wanted, strict=True):
        likeness = (change * model.net.weight.detach()).flatten(1).sum(1)
        assert likeness.argmax() == c and likeness[c] > 1
    with pytest.raises(InputError, match="0 starts"):
        semantics_changes.synthesised(model, 0, 3)


def test_an_energy_based_network_is_measured(tmp_path):
    from conftest import random_net

    net = random_net(size=16).float()
    x, _ = random_batch(net, 6)
    y = predicted(AttackedModel(net), x)
    training = torch.rand(40, *x.shape[1:]), torch.arange(40) % net.classes
    sizes = SIZES | {"steps": 2, "minimal_steps": 15, "ascent_steps": 2}
    found = semantics.measure(net, x, y, sizes, {"itself": net}, training, progress=False)
    shown = semantics_changes.settings(sizes)
    assert found.clean.all() and found.correct.shape == (len(shown), 6)
    assert np.isfinite(
        found.arrays["length"][shown.index(Setting("budget", 0.5, "targeted", "attack"))]
    ).all()
    assert {row["gradient"] for row in found.rows} == {"unrolled"}

import copy

import numpy as np
import pytest
import torch
from conftest import Planted
from torch import nn

from eplib import data
from eplib import minimal_norm as minimal
from eplib.attacks import AttackedModel, predicted
from eplib.checks import InputError, check_images


class Linear(nn.Module):
    """Three classes of 1 × 6 × 6 images, linear: the distance to a wrong class has a closed form."""

    classes = 3

    def __init__(self, shift=0.0):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        weight = torch.randn(3, 36, generator=generator)
        self.weight = nn.Parameter(weight - weight.mean(1, keepdim=True))  # grey is undecided
        self.shift = shift

    def check(self, images):
        check_images(images, (1, 6, 6))

    def forward(self, images):
        return images.flatten(1) @ self.weight.T + self.shift

    def distance(self, images, labels, norm):
        """[N]: to the nearest other class, for images so grey that clipping does not matter."""
        apart = self.weight[labels][:, None] - self.weight
        length = apart.abs().sum(2) if norm == "linf" else apart.norm(dim=2)
        gaps = (apart * images.flatten(1)[:, None]).sum(2) / length
        return gaps.nan_to_num(float("inf")).amin(1).detach().numpy()


class OneClass(Linear):
    """Says class 0, whatever the image."""

    def forward(self, images):
        return 0 * super().forward(images) + torch.tensor([2.0, 0.0, 0.0])


@pytest.fixture(scope="module")
def linear():
    """(model, images, labels): the last label is wrong."""
    model = AttackedModel(Linear())
    generator = torch.Generator().manual_seed(1)
    x = 0.5 + 0.01 * torch.randn(6, 1, 6, 6, generator=generator)
    x += 0.05 * model.net.weight.detach().repeat(2, 1).unflatten(1, (1, 6, 6))
    y = predicted(model, x)
    y[-1] = (y[-1] + 1) % 3
    return model, x, y


def check_result(model, x, y, found, norm):
    """What holds for every result."""
    wrong = predicted(model, x) != y
    assert found.adversarial.shape == x.shape and not found.adversarial.requires_grad
    assert found.adversarial.min() >= 0 and found.adversarial.max() <= 1
    change = (found.adversarial - x).flatten(1)
    length = change.abs().amax(1) if norm == "linf" else change.norm(dim=1)
    finite = np.isfinite(found.norm)
    np.testing.assert_allclose(found.norm[finite], length.numpy()[finite], rtol=1e-6)
    assert (length.numpy()[~finite] == 0).all()
    assert ((found.norm == 0) == wrong.numpy()).all()
    assert ((predicted(model, found.adversarial) != y).numpy() == finite).all()


def test_carlini_wagner_finds_the_true_distance_of_a_linear_classifier(linear):
    model, x, y = linear
    torch.manual_seed(5)
    before = torch.get_rng_state()
    found = minimal.carlini_wagner(model, x, y, 6, 100)
    assert torch.equal(torch.get_rng_state(), before)
    check_result(model, x, y, found, "l2")
    true = model.net.distance(x, y, "l2")[:-1]
    assert (found.norm[:-1] > true * 0.999).all()
    np.testing.assert_allclose(found.norm[:-1], true, rtol=0.1)
    again = minimal.carlini_wagner(model, x, y, 6, 100)
    assert (again.norm == found.norm).all() and torch.equal(again.adversarial, found.adversarial)


def test_carlini_wagner_does_not_mind_negative_logits(linear):
    model, x, y = linear
    shifted = AttackedModel(Linear(shift=-100.0))
    assert shifted(x).max() < -90
    norms = [minimal.carlini_wagner(m, x, y, 5, 60).norm for m in (model, shifted)]
    np.testing.assert_allclose(*norms, rtol=1e-2)


def test_more_values_of_c_find_more(linear):
    model, x, y = linear
    few, many = (minimal.carlini_wagner(model, x, y, count, 30) for count in (1, 5))
    check_result(model, x, y, few, "l2")
    assert np.isinf(few.norm[:-1]).all() and np.isfinite(many.norm).all()
    assert torch.equal(few.adversarial, x)


def test_few_searches_need_a_large_first_constant(tiny):
    model, x, y = tiny[0], tiny[1][:8], tiny[2][:8]
    small, large = (minimal.carlini_wagner(model, x, y, 2, 60, constant).norm for constant in (1e-3, 1.0))
    assert np.isinf(small).all() and np.isfinite(large).all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_hop_skip_jump_comes_near_the_true_distance_reproducibly(linear, norm):
    model, x, y = linear
    torch.manual_seed(5)
    np.random.seed(5)
    states = torch.get_rng_state(), np.random.get_state()[1].copy()
    found = minimal.hop_skip_jump(model, x, y, norm, 6)
    assert torch.equal(torch.get_rng_state(), states[0]) and (np.random.get_state()[1] == states[1]).all()
    check_result(model, x, y, found, norm)
    true = model.net.distance(x, y, norm)[:-1]
    assert (found.norm[:-1] > true * 0.999).all() and (found.norm[:-1] < 3 * true).all()
    torch.rand(3)
    again = minimal.hop_skip_jump(model, x, y, norm, 6)
    assert (again.norm == found.norm).all()
    other = minimal.hop_skip_jump(model, x, y, norm, 6, seed=1)
    assert (other.norm[:-1] != found.norm[:-1]).all()
    if norm == "l2":
        assert (found.norm >= 0.95 * minimal.carlini_wagner(model, x, y, 6, 100).norm).all()


def test_hop_skip_jump_leaves_out_a_start_that_is_broken_only_in_a_larger_batch(linear):
    model, x, y = linear

    class Rounding(type(model)):
        def forward(self, images):
            logits = super().forward(images).clone()
            stays = {5: 1, 4: 0}.get(
                len(images)
            )  # one of the five is never broken, another not in a batch of four
            if stays is not None:
                logits[stays, y[stays]] = logits[stays].max() + 1
            return logits

    found = minimal.hop_skip_jump(Rounding(model.net), x, y, "l2", 3).norm
    plain = minimal.hop_skip_jump(model, x, y, "l2", 3).norm
    assert np.isinf(found).tolist() == [False, True, False, False, False, False]
    assert found[0] > plain[0]  # its start, which nothing made nearer


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_fast_attack_comes_near_the_true_distance_reproducibly(linear, norm):
    model, x, y = linear
    torch.manual_seed(5)
    before = torch.get_rng_state()
    found = minimal.fast_minimum_norm(model, x, y, norm, 80)
    assert torch.equal(torch.get_rng_state(), before)
    check_result(model, x, y, found, norm)
    true = model.net.distance(x, y, norm)[:-1]
    assert (found.norm[:-1] > true * 0.999).all() and (found.norm[:-1] < 1.3 * true).all()
    assert np.median(found.norm[:-1] / true) < 1.1  # one may go for the class that is not the nearest
    assert found.calls == 80  # of each of the five images that are right
    again = minimal.fast_minimum_norm(model, x, y, norm, 80)
    assert (again.norm == found.norm).all() and torch.equal(again.adversarial, found.adversarial)


def test_the_fast_attack_needs_steps_to_come_near_in_l2(linear):
    model, x, y = linear
    few, more = (minimal.fast_minimum_norm(model, x, y, "l2", steps).norm[:-1] for steps in (10, 20))
    assert few == pytest.approx(1.05 * 0.95**8, rel=1e-4) and more == pytest.approx(1.05 * 0.95**18, rel=1e-4)


@pytest.mark.parametrize("norm, distance", [("linf", 0.1), ("l2", 0.8)])
def test_the_fast_attack_finds_a_planted_example(norm, distance):
    model = AttackedModel(Planted(norm, distance))
    x, y = model.net.images(), torch.zeros(3, dtype=torch.int64)
    found = minimal.fast_minimum_norm(model, x, y, norm, 60)
    check_result(model, x, y, found, norm)
    assert (found.norm > distance * 0.999).all() and (found.norm < distance * 1.02).all()


def test_a_short_carlini_wagner_finds_a_planted_example():
    model = AttackedModel(Planted("l2", 0.8))
    x, y = model.net.images(), torch.zeros(3, dtype=torch.int64)
    found = minimal.carlini_wagner(model, x, y, 3, 60, 1.0)
    check_result(model, x, y, found, "l2")
    assert (found.norm > 0.8 * 0.999).all() and (found.norm < 0.8 * 1.05).all()


def test_decisions_find_a_planted_example():
    model = AttackedModel(Planted("l2", 0.8))
    x, y = model.net.images(), torch.zeros(3, dtype=torch.int64)
    found = minimal.hop_skip_jump(model, x, y, "l2", 10)
    check_result(model, x, y, found, "l2")
    assert (found.norm > 0.8 * 0.999).all() and (found.norm < 0.8 * 1.25).all()


def test_the_fast_attack_agrees_with_carlini_and_wagner(tiny):
    model, x, y = tiny[0], tiny[1][:16], tiny[2][:16]
    fast = minimal.fast_minimum_norm(model, x, y, "l2", 60)
    slow = minimal.carlini_wagner(model, x, y, 9, 150)
    check_result(model, x, y, fast, "l2")
    assert np.isfinite(fast.norm).all()
    assert np.median(fast.norm) == pytest.approx(np.median(slow.norm), rel=0.1)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_fast_attack_keeps_to_black_and_white_images_and_takes_flat_logits(tiny, norm):
    model, x = tiny[0], tiny[1][:8].round()
    y = predicted(model, x)
    found = minimal.fast_minimum_norm(model, x, y, norm, 15)
    check_result(model, x, y, found, norm)
    assert np.isfinite(found.norm).any()
    flat = AttackedModel(copy.deepcopy(model.net))
    with torch.no_grad():
        flat.net.layers[-1].weight.zero_()
        flat.net.layers[-1].bias.zero_()  # ties and no gradient: the distance to the boundary is 0 / 0
    y = torch.tensor([0] * 7 + [1])
    assert minimal.fast_minimum_norm(flat, x, y, norm, 5).norm.tolist() == [np.inf] * 7 + [0]


def test_calls_count_every_image_that_passes_through_the_model(linear):
    model, x, y = linear
    seen = []
    hook = model.net.register_forward_hook(lambda net, inputs, logits: seen.append(len(inputs[0])))
    for run in (
        lambda: minimal.hop_skip_jump(model, x, y, "l2", 2),
        lambda: minimal.carlini_wagner(model, x, y, 2, 5),
        lambda: minimal.fast_minimum_norm(model, x, y, "linf", 4),
    ):
        seen.clear()
        calls = run().calls
        ours = 3 * 6 + 5  # the check of the model, what is right, and what the result is
        assert calls * 5 == sum(seen) - ours > 0
    hook.remove()
    assert minimal.fast_minimum_norm(model, x, (predicted(model, x) + 1) % 3, "l2", 1).calls == 0


def test_one_image_that_no_attack_can_break_does_not_stop_the_others(linear, recwarn):
    _, x, _ = linear
    model, y = AttackedModel(OneClass()), torch.tensor([0, 1, 0, 2, 0, 0])
    for found in (
        minimal.carlini_wagner(model, x, y, 2, 3),
        minimal.hop_skip_jump(model, x, y, "l2", 1),
        minimal.fast_minimum_norm(model, x, y, "l2", 3),
        minimal.fast_minimum_norm(model, x, y, "linf", 3),
    ):
        assert found.norm.tolist() == [np.inf, 0, np.inf, 0, np.inf, np.inf]
        assert torch.equal(found.adversarial, x)
    assert not recwarn.list


@pytest.mark.parametrize("kind", ["ep-cnn", "cnn"])
def test_networks_are_attacked_unchanged(smoke, kind):
    net = copy.deepcopy(smoke[kind].net).requires_grad_()
    model, x = AttackedModel(net), data.as_float(data.load("sample", "test").images[:4])
    x = 0.2 + 0.6 * x  # black and white pixels take Adam in the space of arctanh many steps
    y = predicted(model, x)
    y[0] = (y[0] + 1) % 10
    with torch.no_grad():
        found = minimal.carlini_wagner(model, x, y, 6, 40)
    check_result(model, x, y, found, "l2")
    assert np.isfinite(found.norm[1:]).any()
    for norm in ("linf", "l2"):
        fast = minimal.fast_minimum_norm(model, x, y, norm, 15)
        check_result(model, x, y, fast, norm)
        assert np.isfinite(fast.norm[1:]).any()
    noise = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    y = (predicted(model, noise) + 1) % 10  # only the images of these classes can start from noise
    y[1:] = predicted(model, x)[1:]
    check_result(model, x, y, minimal.hop_skip_jump(model, x, y, "linf", 1), "linf")
    assert not any(module.training for module in model.modules())
    assert all(p.requires_grad and p.grad is None for p in net.parameters())


@pytest.mark.parametrize(
    "spoil, message",
    [(lambda x: x + 0.6, "outside"), (lambda x: x - 0.6, "outside"), (lambda x: x * float("nan"), "finite")],
)
def test_a_search_that_leaves_the_box_is_refused(linear, monkeypatch, spoil, message):
    from foolbox.attacks import L2CarliniWagnerAttack

    model, x, y = linear
    monkeypatch.setattr(L2CarliniWagnerAttack, "run", lambda self, model, x, y: spoil(x))
    with pytest.raises(InputError, match=f"the search in l2 gave pixels.*{message}"):
        minimal.carlini_wagner(model, x, y, 1, 3)


def test_nothing_is_searched_where_all_are_wrong(linear):
    model, x, y = linear
    wrong = (predicted(model, x) + 1) % 3
    assert minimal.carlini_wagner(model, x, wrong, 1, 1).norm.tolist() == [0] * 6


def test_curves_count_images_and_the_smallest_norm_is_over_attacks():
    one, two = np.array([0.0, 0.1, 0.5, np.inf]), np.array([0.0, 0.3, 0.2, np.inf])
    both = minimal.smallest(one, two)
    assert both.tolist() == [0.0, 0.1, 0.2, np.inf]
    assert minimal.curve(one, (0, 0.05, 0.1, 0.49, 0.5, 10)).tolist() == [0.75, 0.75, 0.5, 0.5, 0.25, 0.25]
    assert minimal.curve(both, [0.2]).tolist() == [0.25]
    assert (minimal.smallest(one) == one).all()
    for bad in ((), (one, two[:2])):
        with pytest.raises(InputError, match="shapes"):
            minimal.smallest(*bad)


def test_bad_settings_are_refused(linear):
    model, x, y = linear
    for call, message in (
        (lambda: minimal.carlini_wagner(model, x, y, 0, 5), "binary_search_steps = 0"),
        (lambda: minimal.carlini_wagner(model, x, y, 1, 0), "steps = 0"),
        (lambda: minimal.hop_skip_jump(model, x, y, "l2", 0), "steps = 0"),
        (lambda: minimal.hop_skip_jump(model, x, y, "l1", 1), "norm"),
        (lambda: minimal.fast_minimum_norm(model, x, y, "l2", 0), "steps = 0"),
        (lambda: minimal.fast_minimum_norm(model, x, y, "l1", 1), "norm"),
        (lambda: minimal.carlini_wagner(model, 2 * x, y, 1, 1), "images"),
        (lambda: minimal.carlini_wagner(model, x, y[:2], 1, 1), "labels"),
    ):
        with pytest.raises(InputError, match=message):
            call()
    broken = AttackedModel(Linear(shift=float("nan")))
    with pytest.raises(InputError, match="finite"):
        minimal.hop_skip_jump(broken, x, y, "l2", 1)


def test_a_targeted_search_ends_in_the_class_that_was_wanted(tiny):
    model, x, y = tiny
    x, y = x[:12], y[:12]
    wanted = (y + 1 + torch.arange(12) % 9) % 10
    found = minimal.fast_minimum_norm(model, x, y, "l2", 100, wanted)
    reached = np.isfinite(found.norm) & (found.norm > 0)
    assert reached.mean() > 0.8 and (predicted(model, found.adversarial)[reached] == wanted[reached]).all()
    free = minimal.fast_minimum_norm(model, x, y, "l2", 100)
    assert (found.norm[reached] >= 0.98 * free.norm[reached]).all() and found.norm[
        reached
    ].sum() > free.norm.sum()
    with pytest.raises(InputError, match="own class"):
        minimal.fast_minimum_norm(model, x, y, "l2", 100, y)

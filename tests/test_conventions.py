import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import Planted, random_batch, random_net
from torch import nn

from eplib import attacks, conventions, data
from eplib.attacks import AttackedModel, ThreatModel, predicted
from eplib.checks import InputError
from eplib.conventions import CORRECTED, PUBLISHED, VARIANTS, applicable, outcomes

PREDICTED = VARIANTS["predicted labels"]
UNCLIPPED = VARIANTS["images may leave [0, 1]"]
AVERAGED = VARIANTS["loss averaged over a batch"]
HORIZONS = "70 steps attacked, 250 predicted"
NORMS = pytest.mark.parametrize("norm, epsilon", [("linf", 0.1), ("l2", 0.8)])


class Changed(nn.Module):
    """A planted network whose logits are changed on their way out."""

    classes = 4

    def __init__(self, net, change):
        super().__init__()
        self.body, self.change, self.check = net, change, net.check

    def forward(self, images):
        return self.change(self.body(images))


def planted(norm, distance, change=lambda logits: logits):
    net = Planted(norm, distance)
    images = net.images().double()
    return Changed(net, change).double(), images


@pytest.fixture(scope="module")
def batch():
    test = data.load("sample", "test")
    noise = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    return (0.9 * data.as_float(test.images[:6]) + 0.1 * noise).double(), test.labels[
        :6
    ]  # no ties of pooling


def test_the_variants_are_the_published_choices_one_by_one():
    assert list(VARIANTS) == [
        "corrected",
        "predicted labels",
        "images may leave [0, 1]",
        "loss averaged over a batch",
        HORIZONS,
        "published",
        "five random starts",
    ]
    published = list(VARIANTS.values())[1:5]
    fields = ("predicted_labels", "clip", "batch_loss", "horizons")
    for field, variant in zip(fields, published, strict=True):
        assert variant == replace(CORRECTED, **{field: getattr(PUBLISHED, field)}) != CORRECTED


def test_only_variants_that_differ_apply(smoke):
    ep, cnn = smoke["ep-cnn"].net, smoke["cnn"].net
    assert applicable(ep, "l2") == VARIANTS
    assert list(applicable(ep, "linf")) == [n for n in VARIANTS if n != "loss averaged over a batch"]
    assert list(applicable(cnn, "l2")) == [n for n in VARIANTS if n != HORIZONS]
    assert applicable(cnn, "l2")["published"] == replace(PUBLISHED, horizons=None)
    with pytest.raises(InputError, match="norm"):
        applicable(cnn, "l3")


@pytest.mark.parametrize("kind", ["ep-cnn", "cnn"])
@pytest.mark.parametrize("norm, epsilon", [("linf", 0.05), ("l2", 1.0), ("l2", 0.0), ("linf", 0.0)])
def test_the_corrected_attack_is_that_of_the_library(smoke, batch, kind, norm, epsilon):
    model, (x, y) = AttackedModel(copy.deepcopy(smoke[kind].net).double()), batch
    threat = ThreatModel(norm, epsilon)
    ours = conventions.pgd(model, x, y, threat, 5, CORRECTED)
    torch.testing.assert_close(ours, attacks.pgd(model, x, y, threat, 5), rtol=0, atol=1e-6)
    assert not ours.requires_grad and all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("kind", ["ep-cnn", "cnn"])
@pytest.mark.parametrize("norm, epsilons", [("linf", (0.0, 0.02, 0.2)), ("l2", (0.0, 0.5, 4.0))])
def test_corrected_outcomes_are_those_of_single_attacks(smoke, batch, kind, norm, epsilons):
    net, (x, y) = copy.deepcopy(smoke[kind].net).double(), batch
    model = AttackedModel(net)
    y = predicted(model, x)
    y[0] = (y[0] + 1) % 10
    clean, correct = outcomes(net, x, y, norm, epsilons, 4, CORRECTED)
    assert clean.tolist() == [False] + [True] * 5
    expected = clean
    for epsilon, row in zip(epsilons, correct, strict=True):
        adversarial = attacks.pgd(model, x, y, ThreatModel(norm, epsilon), 4)
        expected = expected & (predicted(model, adversarial) == y).numpy()
        assert (row == expected).all()


@NORMS
@pytest.mark.parametrize("starts", [0, 2])
@pytest.mark.parametrize("clip", [True, False])
def test_images_stay_in_the_ball_and_leave_the_box_only_if_they_may(norm, epsilon, starts, clip):
    net, x = planted(norm, epsilon)
    x = (20 * (x - x.median()) + 0.5).clamp(0, 1)  # many pixels at the edge
    threat, convention = ThreatModel(norm, epsilon), replace(CORRECTED, clip=clip)
    random = np.random.default_rng(0) if starts else None
    y = torch.zeros(3, dtype=torch.int64)
    moved = conventions.pgd(AttackedModel(net), x, y, threat, 5, convention, random)
    distance = threat.distance(moved, x)
    assert distance.max() <= epsilon * (1 + 1e-9) and distance.min() > 0.2 * epsilon
    inside = moved.min() >= 0 and moved.max() <= 1
    assert inside == clip


@NORMS
def test_predicted_labels_count_a_wrong_image_that_the_attack_repairs(norm, epsilon):
    net, x = planted(norm, 0.9 * epsilon)  # of class 0, and class 1 within reach of ε but not of ε / 2
    epsilons = (epsilon / 2, epsilon)
    repaired, broken = torch.ones(3, dtype=torch.int64), torch.zeros(3, dtype=torch.int64)
    clean, correct = outcomes(net, x, repaired, norm, epsilons, 20, PREDICTED)
    assert not clean.any() and correct.tolist() == [[False] * 3, [True] * 3]
    clean, correct = outcomes(net, x, repaired, norm, epsilons, 20, CORRECTED)
    assert not clean.any() and not correct.any()
    for convention in (PREDICTED, CORRECTED):
        clean, correct = outcomes(net, x, broken, norm, epsilons, 20, convention)
        assert clean.all() and correct.tolist() == [[True] * 3, [False] * 3]


def test_an_image_broken_at_one_budget_is_not_attacked_at_larger_ones(monkeypatch):
    net, x = planted("linf", 0.05)
    y, calls, right = torch.zeros(3, dtype=torch.int64), [], conventions.pgd

    def counted(model, images, labels, threat, *rest):
        calls.append((threat.epsilon, len(images)))
        return images if threat.epsilon == 0.3 else right(model, images, labels, threat, *rest)

    monkeypatch.setattr(conventions, "pgd", counted)
    _, correct = outcomes(net, x, y, "linf", (0.01, 0.1, 0.3), 9, CORRECTED)
    assert calls == [(0.01, 3), (0.1, 3)] and correct.tolist() == [[True] * 3, [False] * 3, [False] * 3]
    _, correct = outcomes(net, x, y, "linf", (0.01, 0.1, 0.3), 9, PREDICTED)
    assert len(calls) == 5 and correct.tolist() == [[True] * 3, [False] * 3, [True] * 3]


@pytest.mark.parametrize("scale, blind", [(1, False), (10, True), (60, True)])
def test_an_averaged_loss_leaves_a_confident_network_unattacked(scale, blind):
    net, x = planted("l2", 0.7, lambda logits: scale * logits)
    y = torch.zeros(3, dtype=torch.int64)
    corrected, averaged = (outcomes(net, x, y, "l2", (0.8,), 20, c)[1] for c in (CORRECTED, AVERAGED))
    assert not corrected.any() and averaged.all() == blind
    _, signs = outcomes(*planted("linf", 0.07, net.change), y, "linf", (0.08,), 20, AVERAGED)
    assert not signs.any()


def test_a_gradient_whose_squares_round_to_zero_still_has_a_direction():
    net, x = planted("l2", 0.7, lambda logits: 12 * logits)  # e^-60, in float32
    _, correct = outcomes(net.float(), x.float(), torch.zeros(3).long(), "l2", (0.8,), 20, CORRECTED)
    assert not correct.any()


def test_the_averaged_step_is_the_one_of_the_published_library():
    net, x = planted("l2", 0.7, lambda logits: 4 * logits)
    y, threat = torch.zeros(3, dtype=torch.int64), ThreatModel("l2", 0.5)
    z = x.clone().requires_grad_()
    copies = torch.cat([z, x[:1].expand(197, -1, -1, -1)])  # a batch of 200
    nn.functional.cross_entropy(net(copies), torch.zeros(200, dtype=torch.int64)).backward()
    norm = z.grad.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    step = 2.5 * 0.5 / 10 * z.grad / (norm + 1e-7)
    for part in (x, x[:1]):  # whatever the batch
        moved = conventions.pgd(AttackedModel(net), part, y[: len(part)], threat, 10, AVERAGED)
        one = conventions.pgd(AttackedModel(net), part, y[: len(part)], ThreatModel("l2", 0.05), 1, AVERAGED)
        torch.testing.assert_close((one - part) / 0.125, (step / 0.125)[: len(part)])
        assert threat.distance(moved, part).max() <= 0.5 + 1e-9


def test_a_flat_network_moves_nothing():
    net, x = planted("l2", 0.5, lambda logits: 0 * logits)
    for norm, convention in (("linf", CORRECTED), ("l2", CORRECTED), ("l2", AVERAGED)):
        moved = conventions.pgd(
            AttackedModel(net), x, torch.zeros(3).long(), ThreatModel(norm, 1), 3, convention
        )
        assert torch.equal(moved, x)


@NORMS
def test_random_starts_leave_a_plateau_that_hides_the_gradient(norm, epsilon):
    def plateau(logits):  # the network is flat within a small slab around the images
        lead = logits[:, 1:2] + 5
        slab = 0.02 if norm == "linf" else 0.01
        return torch.cat([0 * lead, 20 * ((lead.abs() - slab).clamp_min(0) - 1), -20 - 0 * lead], 1)

    net, x = planted(norm, epsilon, plateau)
    y = torch.zeros(3, dtype=torch.int64)
    assert outcomes(net, x, y, norm, (epsilon,), 20, CORRECTED)[1].all()
    five = VARIANTS["five random starts"]
    first, again = (outcomes(net, x, y, norm, (epsilon,), 20, five)[1] for _ in range(2))
    assert not first.any() and (first == again).all()


@pytest.mark.parametrize("good", [0, 1, 2])
def test_one_start_that_breaks_an_image_is_enough(monkeypatch, good):
    net, x = planted("linf", 0.05)
    y, calls, right = torch.zeros(3, dtype=torch.int64), [], conventions.pgd

    def only_one(model, images, *rest):
        calls.append(len(images))
        return right(model, images, *rest) if len(calls) == good + 1 else images

    monkeypatch.setattr(conventions, "pgd", only_one)
    _, correct = outcomes(net, x, y, "linf", (0.1,), 9, replace(CORRECTED, starts=3))
    assert not correct.any() and calls == [3] * (good + 1)


def test_random_starts_depend_on_the_seed_and_leave_torch_alone():
    net, x = planted("linf", 0.1)
    y, threat, state = torch.zeros(3).long(), ThreatModel("l2", 0.5), torch.get_rng_state()
    ends = [
        conventions.pgd(AttackedModel(net), x, y, threat, 1, CORRECTED, np.random.default_rng(seed))
        for seed in (0, 0, 1)
    ]
    assert torch.equal(ends[0], ends[1]) and not torch.equal(ends[0], ends[2])
    assert torch.equal(torch.get_rng_state(), state)


@NORMS
def test_horizons_are_attacked_and_judged_at_their_own_steps(norm, epsilon):
    net = random_net(steps=8, gain=3.0)
    x, _ = random_batch(net, 16)
    horizons = ((4, "forward"), (3, "synchronous"))
    attacked, judge = (AttackedModel(net, *phase) for phase in horizons)
    with torch.no_grad():  # so that images differ in their class
        net.readout.bias -= judge(x).mean(0)
    y = predicted(judge, x)
    y[:2] = (y[:2] + 1) % 10
    clean, correct = outcomes(net, x, y, norm, (epsilon / 20,), 4, replace(CORRECTED, horizons=horizons))
    assert clean.tolist() == [False] * 2 + [True] * 14
    adversarial = attacks.pgd(attacked, x, y, ThreatModel(norm, epsilon / 20), 4)
    assert (correct[0] == (clean & (predicted(judge, adversarial) == y).numpy())).all()
    other = attacks.pgd(judge, x, y, ThreatModel(norm, epsilon / 20), 4)  # through the wrong steps
    assert (correct[0] != (clean & (predicted(judge, other) == y).numpy())).any()
    assert (predicted(AttackedModel(net), x) != predicted(judge, x)).any()
    # with predicted labels, they come from the steps that predict
    repaired = replace(PREDICTED, horizons=horizons)
    clean, correct = outcomes(net, x, y, norm, (epsilon / 20,), 4, repaired)
    adversarial = attacks.pgd(attacked, x, predicted(judge, x), ThreatModel(norm, epsilon / 20), 4)
    assert (correct[0] == (predicted(judge, adversarial) == y).numpy()).all()


def test_probabilities_blind_square_to_a_confident_network():
    y = torch.zeros(3, dtype=torch.int64)
    for scale, blind in ((0.2, False), (60, True)):
        net, x = planted("linf", 0.05, lambda logits, scale=scale: scale * logits)
        net, x = net.float(), x.float()
        found = [conventions.square_outcomes(net, x, y, (0.1,), 400, seen)[1] for seen in conventions.SQUARE]
        assert not found[0].any() and found[1].all() == blind
    model = conventions.Probabilities(AttackedModel(net.double()))
    assert model.net is net and model(x.double()).dtype == torch.float32
    torch.testing.assert_close(model(x.double()).sum(1), torch.ones(3))


SIZES = {"norms": {"linf": [0.02, 0.1], "l2": [0.5]}, "steps": 2, "batch": 4, "queries": 5}


@pytest.fixture
def short(monkeypatch):
    """The published horizons, but seconds long."""
    horizons = ((3, "synchronous"), (6, "synchronous"))
    for name, convention in VARIANTS.items():
        if convention.horizons:
            monkeypatch.setitem(VARIANTS, name, replace(convention, horizons=horizons))


@pytest.mark.parametrize("kind", ["ep-cnn", "cnn"])
def test_a_study_has_a_row_for_every_budget_of_every_convention(smoke, batch, short, kind):
    net, x, y = smoke[kind].net, batch[0].float(), batch[1]
    found = conventions.conventions(net, x, y, SIZES, progress=False)
    names = [
        (n, norm, e) for norm in SIZES["norms"] for n in applicable(net, norm) for e in SIZES["norms"][norm]
    ]
    names += [(f"Square, {seen}", "linf", e) for seen in ("logits", "probabilities") for e in (0.02, 0.1)]
    assert [(r["convention"], r["norm"], r["epsilon"]) for r in found.rows] == names
    assert found.correct.shape == (len(names), 6) and found.correct.dtype == bool
    judge = AttackedModel(net)
    assert (found.clean == (predicted(judge, x) == y).numpy()).all()
    for row, right in zip(found.rows, found.correct, strict=True):
        assert row["metric"] == "accuracy" and row["n"] == 6 and row["value"] == pytest.approx(right.mean())
        name = row["convention"]
        square = name.startswith("Square")
        assert row["attack"] == ("square" if square else "pgd") and row["attack_steps"] == (
            5 if square else 2
        )
        assert row["labels"] == ("predicted" if name in ("predicted labels", "published") else "true")
        assert row["random_start"] == (name == "five random starts")
        phase = (judge.steps, judge.order)
        if kind == "ep-cnn" and name in (HORIZONS, "published"):
            phase = (6, "synchronous")
        assert (row["predict_steps"], row["order"]) == phase
    part = slice(4, 6)
    _, alone = outcomes(net, x[part], y[part], "linf", [0.02, 0.1], 2, VARIANTS["five random starts"], seed=4)
    own = [i for i, n in enumerate(names) if n[:2] == ("five random starts", "linf")]
    assert (found.correct[own, part] == alone).all()


def test_a_study_that_was_stopped_goes_on(smoke, batch, monkeypatch, tmp_path):
    net, x, y = smoke["cnn"].net, batch[0].float(), batch[1]
    fresh, right, calls = conventions.conventions(net, x, y, SIZES, progress=False), conventions._counted, []

    def stopping(*given):
        calls.append(given)
        if len(calls) == 6:  # the second part of the third convention
            raise KeyboardInterrupt
        return right(*given)

    monkeypatch.setattr(conventions, "_counted", stopping)
    with pytest.raises(KeyboardInterrupt):
        conventions.conventions(net, x, y, SIZES, tmp_path, progress=False)
    again = conventions.conventions(net, x, y, SIZES, tmp_path, progress=False)
    assert len(calls) == 1 + 2 * (len(list(tmp_path.iterdir())))
    assert again.rows == fresh.rows
    assert (again.correct == fresh.correct).all() and (again.clean == fresh.clean).all()


def test_logits_that_attacks_cannot_use_are_refused():
    for change, message in (
        (lambda logits: logits.softmax(1), "probabilities"),
        (lambda logits: logits + torch.rand_like(logits), "deterministic"),
    ):
        net, x = planted("linf", 0.05, change)
        with pytest.raises(InputError, match=message):
            conventions.conventions(net, x, torch.zeros(3, dtype=torch.int64), SIZES, progress=False)


def test_a_study_shows_how_far_it_is(capsys):
    net, x = planted("linf", 0.05)
    sizes = SIZES | {"norms": {"linf": [0.02, 0.1]}, "steps": 20, "queries": 1}
    found = conventions.conventions(net.float(), x.float(), torch.zeros(3, dtype=torch.int64), sizes)
    said = capsys.readouterr().err
    assert found.correct[1].mean() == 0 and "ε = 0.1: 0.000 right" in said  # the corrected convention
    assert f"ε = 0.1: {found.correct[-1].mean():.3f} right" in said


def test_bad_input_is_refused(smoke):
    net, x = planted("linf", 0.05)
    y = torch.zeros(3, dtype=torch.int64)
    good = dict(images=x, labels=y, norm="linf", epsilons=(0.1,), steps=2, convention=CORRECTED)
    for change, message in (
        ({"norm": "l3"}, "norm"),
        ({"epsilons": (0.2, 0.1)}, "ascending"),
        ({"epsilons": ()}, "one or more"),
        ({"epsilons": (-0.1,)}, "epsilon"),
        ({"steps": 0}, "steps = 0"),
        ({"images": x + 1}, "images"),
        ({"labels": y + 4}, "labels"),
        ({"labels": y[:2]}, "labels"),
        ({"convention": PUBLISHED}, "feed-forward"),
    ):
        with pytest.raises(InputError, match=message):
            outcomes(net, **good | change)
    with pytest.raises(InputError, match="answer"):
        conventions.square_outcomes(net, x, y, (0.1,), 5, "scores")
    for change in ({"labels": y - 1}, {"images": x - 1}):
        with pytest.raises(InputError):
            conventions.conventions(net, **{"images": x, "labels": y} | change, sizes=SIZES, progress=False)

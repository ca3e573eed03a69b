import copy

import numpy as np
import pytest
import torch
from conftest import Planted

from eplib import data, suite
from eplib import union as unions
from eplib.attacks import AttackedModel, ThreatModel, pgd, predicted
from eplib.checks import InputError
from eplib.union import union


@pytest.fixture(scope="module")
def batch():
    test = data.load("sample", "test")
    return data.as_float(test.images[:12]), test.labels[:12]


PLAN = (("noise", 2), ("pgd", 2), ("apgd-ce", 3), ("square", 20))


@pytest.fixture(scope="module")
def run(tiny):
    """(model, images, labels, norm, epsilons, plan, batch) and its Outcomes, three images being wrong."""
    model, x, y = tiny[0], tiny[1][:20], tiny[2][:20].clone()
    y[:3] = (y[:3] + 1) % 10
    arguments = model, x, y, "linf", (0.0, 0.03, 0.06, 0.2), PLAN, 8
    return arguments, union(*arguments, progress=False)


def test_outcomes_of_a_union_are_consistent(run):
    _, outcomes = run
    assert outcomes.clean.tolist() == [False] * 3 + [True] * 17
    assert outcomes.correct.dtype == bool and outcomes.found_by.dtype == np.int8
    assert outcomes.correct.shape == outcomes.found_by.shape == (4, 20)
    assert (outcomes.correct == (outcomes.found_by == -1)).all()
    assert (outcomes.found_by[:, :3] == -2).all() and (outcomes.found_by[:, 3:] >= -1).all()
    assert (outcomes.correct[0] == outcomes.clean).all()
    assert (np.diff(outcomes.correct.astype(int), axis=0) <= 0).all()
    assert 0 < outcomes.correct[2].sum() < 17 and len(np.unique(outcomes.found_by)) > 3
    for before, after in zip(outcomes.found_by, outcomes.found_by[1:], strict=False):
        assert (after[before >= 0] == before[before >= 0]).all()


def test_a_union_is_reproducible(run):
    arguments, outcomes = run
    torch.rand(5)
    assert (union(*arguments, progress=False).found_by == outcomes.found_by).all()


def test_only_survivors_are_attacked_each_call_by_its_own_seed(run, monkeypatch):
    arguments, outcomes = run
    calls = []

    def counted(model, x, y, threat, name, steps, seed, right=suite.checked):
        assert (predicted(model, x) == y).all()
        calls.append((threat.epsilon, name, steps, len(x), seed))
        return right(model, x, y, threat, name, steps, seed)

    monkeypatch.setattr(suite, "checked", counted)
    union(*arguments, progress=False)
    expected, survivors = [], outcomes.found_by
    for start in (0, 8, 16):
        part = survivors[:, start : start + 8]
        for i, epsilon in enumerate(arguments[4]):
            for j, (name, steps) in enumerate(PLAN):
                left = (part[i] == -1) | (part[i] >= j)
                if i:
                    left &= part[i - 1] == -1
                if left.any():
                    expected.append((epsilon, name, steps, left.sum()))
    assert [call[:4] for call in calls] == expected
    seeds = [call[4] for call in calls]
    assert len(set(seeds)) == len(seeds)
    calls.clear()
    union(*arguments, seed=1, progress=False)
    assert not set(seeds) & {call[4] for call in calls}


def test_an_attack_more_never_saves_an_image(run):
    arguments, _ = run
    model, x, y, norm, epsilons, _, batch = arguments
    one = union(model, x, y, norm, epsilons, PLAN[1:2], batch, progress=False)
    two = union(model, x, y, norm, epsilons, (*PLAN[1:2], ("noise", 1)), batch, progress=False)
    assert not (two.correct & ~one.correct).any()
    assert (two.found_by[one.found_by == 0] == 0).all()


def test_a_union_shows_how_far_it_is(run, capsys):
    model, x, y, norm, epsilons, _, _ = run[0]
    outcomes = union(model, x, y, norm, epsilons, [("pgd", 2)], 20)
    share = outcomes.correct[-1].mean()
    assert f"ε = 0.2: {share:.3f} right" in capsys.readouterr().err


@pytest.mark.parametrize("norm, scale", [("linf", 1), ("l2", 8)])
@pytest.mark.parametrize("name, steps", [("apgd-ce", 10), ("apgd-t", 5), ("fab-t", 5), ("square", 100)])
def test_parts_agree_with_the_reference(tiny, norm, scale, name, steps):
    from pyautoattack import AutoAttack

    model, x, y = tiny
    low, high, ours = 0.02 * scale, 0.6 * scale, 0
    while not 24 <= ours <= 40:  # a budget at which the count is worth comparing
        epsilon = (low * high) ** 0.5
        ours = union(model, x, y, norm, [epsilon], [(name, steps)], 64, progress=False).correct.sum()
        low, high = (epsilon, high) if ours > 40 else (low, epsilon)
        assert high > 1.01 * low
    seed = unions._seed(0, 0, 0, 0)  # the same random numbers, which matter for few queries
    reference = AutoAttack(
        model, norm=suite._NORM[norm], eps=epsilon, version="custom", attacks=[name], seed=seed
    )
    reference.apgd.n_iter = reference.apgd_targeted.n_iter = reference.fab.n_iter = steps
    reference.apgd.n_restarts, reference.square.n_queries = 1, steps
    with suite.isolated(model, 0):
        adversarial, _ = reference.run_standard_evaluation(x, y, batch_size=64)
    theirs = (predicted(model, adversarial) == y).sum().item()
    assert abs(theirs - ours) <= 2


@pytest.mark.parametrize("norm, epsilon", [("linf", 0.1), ("l2", 0.8)])
def test_the_whole_plan_finds_a_planted_example_and_none_beyond_the_budget(norm, epsilon):
    plan = (*suite.AUTOATTACK[:3], ("square", 200))  # only its queries are fewer than AutoAttack's
    for share, found_by in ((0.9, 0), (1.1, unions.SURVIVES)):
        model = AttackedModel(Planted(norm, share * epsilon))
        x, y = model.net.images(), torch.zeros(3, dtype=torch.int64)
        found = union(model, x, y, norm, [epsilon], plan, 3, carried=False, progress=False)
        assert found.clean.all() and found.found_by.tolist() == [[found_by] * 3]


def test_the_reference_takes_an_energy_based_network_unchanged(smoke, batch):
    from pyautoattack import AutoAttack

    model, x = AttackedModel(smoke["ep-cnn"].net), batch[0][:6]
    y, epsilon = predicted(model, x), 0.05
    steps = {"apgd-ce": 4, "apgd-t": 2, "fab-t": 2, "square": 20}
    reference = AutoAttack(model, norm="Linf", eps=epsilon, version="custom", attacks=list(steps), seed=0)
    reference.apgd.n_iter, reference.apgd_targeted.n_iter, reference.fab.n_iter = 4, 2, 2
    reference.apgd.n_restarts, reference.square.n_queries = 1, 20
    with suite.isolated(model, 0):
        adversarial, _ = reference.run_standard_evaluation(x, y, batch_size=6)
    assert ThreatModel("linf", epsilon).distance(adversarial, x).max() <= epsilon * (1 + 1e-4)
    assert adversarial.min() >= 0 and adversarial.max() <= 1
    theirs = (predicted(model, adversarial) == y).sum().item()
    ours = union(model, x, y, "linf", [epsilon], list(steps.items()), 6, carried=False, progress=False)
    assert theirs < len(x) and abs(theirs - ours.correct.sum()) <= 2


def test_bad_settings_are_refused(run):
    model, x, y, *_ = run[0]
    for change, message in (
        ({"epsilons": (0.2, 0.1)}, "ascending"),
        ({"plan": ()}, "plan"),
        ({"plan": [("guess", 1)]}, "attack 'guess'"),
        ({"plan": [("apgd-ce", 0)]}, "steps = 0 of apgd-ce"),
        ({"norm": "l3"}, "norm"),
        ({"labels": y + 10}, "labels"),
        ({"images": 2 * x}, "images"),
    ):
        good = dict(images=x, labels=y, norm="linf", epsilons=(0.1,), plan=[("pgd", 1)], batch=20)
        with pytest.raises(InputError, match=message):
            union(model, **good | change, progress=False)


@pytest.mark.parametrize("norm, epsilons", [("linf", (0.01, 0.05, 0.3)), ("l2", (0.3, 2.0, 8.0))])
def test_outcomes_fall_with_epsilon_and_count_only_images_right_before(smoke, batch, norm, epsilons):
    # in float64 and away from ties of pooling, so that rounding cannot depend on the batch
    model, x = AttackedModel(copy.deepcopy(smoke["cnn"].net).double()), batch[0].double()
    x = 0.9 * x + 0.1 * torch.rand(x.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = predicted(model, x)  # as if the small network were right: every image starts as a survivor
    y[:3] = (y[:3] + 1) % 10  # but three
    found = union(model, x, y, norm, epsilons, [("pgd", 5)], batch=5, progress=False)
    clean, correct = found.clean, found.correct
    assert clean.tolist() == [False] * 3 + [True] * 9
    assert not (correct & ~clean).any()
    assert (np.diff(correct.astype(int), axis=0) <= 0).all()
    for i, epsilon in enumerate(epsilons):  # each survivor by itself: batches change nothing
        for j in np.flatnonzero(clean if i == 0 else correct[i - 1]):
            alone = pgd(model, x[j : j + 1], y[j : j + 1], ThreatModel(norm, epsilon), 5)
            assert (predicted(model, alone) == y[j]).item() == correct[i, j]


def test_what_breaks_the_search_in_16_bits_counts_only_when_it_breaks_the_network_itself(smoke, batch):
    net, (x, y) = smoke["ep-cnn"].net, batch
    model, epsilons = AttackedModel(net), (0.02, 0.1, 0.3)
    arguments = model, x, y, "linf", epsilons, [("pgd", 4)], 12
    alone = union(*arguments, progress=False)
    search = AttackedModel(net, dtype=torch.bfloat16)
    both = union(*arguments, progress=False, search=search)
    assert alone.clean.any() and (both.clean == alone.clean).all()
    assert not (both.correct & ~alone.correct).any()  # attacked by itself too, so never more right than alone
    blind = AttackedModel(_always_wrong(net))  # every image breaks this one, without any change
    fooled = union(*arguments, progress=False, search=blind)
    assert (fooled.correct == alone.correct).all()


def _always_wrong(net):
    wrong = copy.deepcopy(net)
    with torch.no_grad():
        wrong.readout.weight.zero_()
    return wrong


def test_short_memory_changes_the_batches_and_not_the_outcomes(smoke, batch, monkeypatch):
    net = copy.deepcopy(smoke["ep-cnn"].net).double()
    model, x, y = AttackedModel(net), batch[0].double(), batch[1]
    arguments = model, x, y, "l2", (0.5, 3.0), [("pgd", 3)], 12
    plenty = union(*arguments, progress=False)
    monkeypatch.setattr(unions, "free_memory", lambda device: 10 * model.bytes_an_image())
    sizes = []
    monkeypatch.setattr(unions, "predicted", lambda m, z: sizes.append(len(z)) or predicted(m, z))
    short = union(*arguments, progress=False)
    assert max(sizes) == 3
    assert (plenty.clean == short.clean).all() and (plenty.correct == short.correct).all()


@pytest.mark.parametrize(
    "change", [lambda x: x * 2, lambda x: x * float("nan"), lambda x: x[..., :20], lambda x: x.byte()]
)
@pytest.mark.parametrize("kind", ["ep-cnn", "cnn"])
def test_images_outside_the_allowed_are_refused(smoke, batch, kind, change):
    x, y = batch
    with pytest.raises(InputError):
        union(AttackedModel(smoke[kind].net), change(x), y, "linf", (0.1,), [("pgd", 2)], 5, progress=False)


def test_without_carrying_every_epsilon_stands_for_itself(run):
    arguments, carried = run
    model, x, y, norm, epsilons, plan, batch = arguments
    apart = union(*arguments, carried=False, progress=False)
    assert (apart.clean == carried.clean).all() and (apart.correct | ~carried.correct).all()
    for i, epsilon in enumerate(epsilons):
        # alone, but with the random numbers of its place
        before = [(0.0,) * i + (epsilon,), [("pgd", 2)]]
        alone = union(model, x, y, norm, *before, batch, carried=False, progress=False)
        both = union(model, x, y, norm, epsilons, [("pgd", 2)], batch, carried=False, progress=False)
        assert (alone.found_by[i] == both.found_by[i]).all()


def test_a_union_that_was_stopped_goes_on(run, monkeypatch, tmp_path):
    arguments, outcomes = run
    checked, calls = suite.checked, []

    def stopping(*given):
        calls.append(given)
        if len(calls) == 20:
            raise KeyboardInterrupt
        return checked(*given)

    monkeypatch.setattr(suite, "checked", stopping)
    with pytest.raises(KeyboardInterrupt):
        union(*arguments, folder=tmp_path, progress=False)
    assert list(tmp_path.iterdir())
    monkeypatch.setattr(suite, "checked", checked)
    again = union(*arguments, folder=tmp_path, progress=False)
    assert (again.found_by == outcomes.found_by).all() and (again.clean == outcomes.clean).all()

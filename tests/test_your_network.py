from types import SimpleNamespace

import pytest
import torch

from eplib import chapters, checkpoints, foreign, imports, others, verdicts, your_network
from eplib import your_network_sentences as words
from eplib.checks import InputError
from eplib.network import EPCNN

SHOWN = chapters.Shown("smoke", "sample", (0,))


@pytest.fixture(autouse=True)
def nobody():
    yield
    others.show([])


@pytest.fixture
def net():
    torch.manual_seed(0)
    settings = dict(channels=(4, 6, 8), paddings=(1, 1, 0), steps=5, order="forward", mean=0.25, std=0.5)
    return EPCNN(**settings).requires_grad_(False).eval()


@pytest.fixture
def stored(net, monkeypatch):
    """A stored EP-CNN, with mean and std that float16 holds exactly."""
    record = {"dataset": "sample", "seed": 0, "model": "ep-cnn", "training": {}}
    found = checkpoints.Checkpoint("ep-cnn-sample-s0", net, record)
    monkeypatch.setattr(chapters, "networks", lambda shown, model: [found])
    return found


@pytest.fixture
def brought(stored):
    return your_network.bring("", SHOWN)


def result(seed=0, n=4):
    settings = {"seed": seed, "dataset": "sample", "scale": "smoke"}
    return SimpleNamespace(settings=settings, image_ids=range(n), correct_clean=torch.ones(n).bool().numpy())


def test_the_example_goes_there_and_back_unchanged(tmp_path, brought, net):
    torch.save(your_network.public_checkpoint(net), tmp_path / "checkpoint.tar")
    assert foreign.read(tmp_path / "checkpoint.tar").form == "state dict"
    assert brought.model == "example" and others.names() == ("example",) and brought.recurrent
    images = torch.rand(5, 3, 32, 32)
    mine, theirs = your_network.compared(brought, images)
    assert torch.equal(mine, theirs) and mine.std() > 0
    assert brought.network.net.settings == net.settings


def test_a_network_without_original_is_compared_with_its_definition(tmp_path, net, stored):
    torch.save(your_network.public_checkpoint(net), tmp_path / "checkpoint.tar")
    options = dict(
        name="lab-net", dataset="sample", steps=7, mean=[0.2] * 3, std=[0.3] * 3, paddings=[1, 1, 0]
    )
    path = imports.write(tmp_path / "checkpoint.tar", tmp_path, **options)
    brought = your_network.bring(str(path), SHOWN)
    assert brought.original is None
    mine, theirs = your_network.compared(brought, torch.rand(6, 3, 32, 32))
    assert theirs.dtype == torch.float64 and len(mine) == your_network.EXACT
    torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)
    brought.network.net.steps = 1  # another network than that of the definition above
    assert not torch.allclose(brought.network.net(torch.rand(6, 3, 32, 32))[:4].double(), theirs)


LOGITS = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 1.0]])


@pytest.mark.parametrize(
    "mine, word",
    [
        (LOGITS, "supported"),
        (LOGITS + 1e-5, "supported"),
        (LOGITS * 1.1, "undecided"),
        (LOGITS.flip(1), "contradicted"),
        (torch.cat([LOGITS[:2], LOGITS[2:].flip(1)]), "contradicted"),
        (None, "undecided"),
    ],
)
def test_the_verdict_flips_with_the_answers(brought, mine, word):
    both = None if mine is None else (mine, LOGITS)
    verdict = your_network.answers_alike(both, brought, [result()])
    assert verdict.networks == word and verdict.method == "undecided"
    assert verdict.sentence.startswith(f"For these networks: {word}.")
    if mine is not None:
        same = int((mine.argmax(1) == LOGITS.argmax(1)).sum())
        assert f"its original on {same} of 3 test images" in verdict.sentence
    assert isinstance(verdict, verdicts.Verdict) and verdict.overturn


def test_states_come_to_rest_where_the_network_is_small(brought):
    found = your_network.settled(brought, torch.rand(6, 3, 32, 32))
    assert found.steps == (5, 20) and found.mean[1] <= found.mean[0] <= found.largest[0]
    assert found.largest[1] < 1e-3 and 0 <= found.moved <= 1
    said = words.states(found, 6)
    assert "after 5 steps" in said and "after 20 steps" in said and f"{found.moved:.1%}" in said


def test_what_was_read_is_said_in_full(brought, net):
    table, source = words.read(brought), words.source(brought)
    assert f"{sum(p.numel() for p in net.parameters()):,} parameters" in table
    assert all(
        f"<td>{cells}</td>" in table for cells in ("4 × 3 × 3 × 3", "8 × 6 × 3 × 3", "8 × 3 × 3", "10 × 72")
    )
    record = brought.network.record
    assert record["sha256"][:16] in source and record["training"]["imported"]["sha256"][:16] in source
    assert "steps 5" in source and "order forward" in source and "mean 0.25" in source


@pytest.mark.parametrize("network", ["nowhere.safetensors", 3, ["a", "b"]])
def test_what_is_no_network_is_refused(network):
    with pytest.raises(InputError) as error:
        your_network.bring(network, SHOWN)
    assert "\n" not in str(error.value)


def test_the_checklist_counts_only_what_was_run(monkeypatch, brought):
    asked = []
    monkeypatch.setattr(your_network.checklist, "checklist", lambda own, model: asked.append((own, model)))
    monkeypatch.setattr(chapters, "stored", lambda shown, m: {"example": m})
    your_network.checked(SHOWN, brought, {"example": 1}, False)
    your_network.checked(SHOWN, brought, {"example": 1}, True)
    assert asked[0] == ({"pgd-linf": {"example": 1}}, "example")
    assert {"adaptive", "sanity", "suite-linf", "pgd-linf"} <= asked[1][0].keys()
    assert asked[1][0]["pgd-linf"] == {"example": 1}

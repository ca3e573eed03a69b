"""The page that tests somebody else's network: read in, checked, attacked beside the EP-CNN and the CNN.

Without a network of the reader's, the stored EP-CNN goes the whole way as an example: written as the public
training codes write theirs, and read in again.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch

from eplib import chapters, checklist, data, imports, masking_sentences, others, pictures, reference
from eplib.checkpoints import Checkpoint
from eplib.checks import InputError
from eplib.dynamics import settle
from eplib.network import EPCNN
from eplib.verdicts import judged

EXAMPLE = "example"  # what the stored EP-CNN is called after its way
ATTACK = "pgd-linf"
LONGER = 4  # times as many free steps
IMAGES = 200  # that answers are compared on
EXACT = 4  # images on which Φ is differentiated automatically, in float64
CLOSE = 1e-3  # logits that differ by at most so much of their spread are the same


@dataclass(frozen=True)
class Brought:
    """network: as its page measures it. original: the network that it was written from, or None."""

    network: Checkpoint
    original: Checkpoint | None

    @property
    def model(self):
        return self.network.record["model"]

    @property
    def recurrent(self):
        return isinstance(self.network.net, EPCNN)


@dataclass(frozen=True)
class Settled:
    """How far states still move after T and after `LONGER` T free steps: largest change of a unit in a step,
    mean over images and largest. moved: share of images whose answer changes between the two.
    """

    steps: tuple
    mean: tuple
    largest: tuple
    moved: float


def public_checkpoint(net):
    """An EP-CNN as the dictionary that the public codes save."""
    tensors = {}
    for i, layer in enumerate([*net.convs, net.readout]):
        tensors[f"synapses.{i}.weight"] = layer.weight.detach().cpu().contiguous()
        tensors[f"synapses.{i}.bias"] = layer.bias.detach().cpu()
    return {"model_state_dict": tensors}


def bring(network, shown):
    """`Brought`: the network at a path that `python -m eplib import` wrote, or for "" the example. From now
    on it is shown on this page.
    """
    original = None
    if network:
        others.show(network)
    else:
        original = chapters.networks(chapters.first_seed(shown), "ep-cnn")[0]
        with tempfile.TemporaryDirectory() as folder:
            others.show(str(_there_and_back(original, Path(folder))))
    if len(others.names()) != 1:
        raise InputError(f"network = {network!r}: give the path of one checkpoint, or '' for the example")
    return Brought(others.at(shown.scale)[others.names()[0]][0], original)


def _there_and_back(checkpoint, folder):
    """The path of a network that was written as the public codes do, and read in with its own dynamics."""
    net, record = checkpoint.net, checkpoint.record
    if net.pooling != "max":
        raise InputError(
            f"{checkpoint.name} pools by {net.pooling}: the example is one that pools by maximum"
        )
    torch.save(public_checkpoint(net), folder / "checkpoint.tar")
    return imports.write(
        folder / "checkpoint.tar",
        folder,
        name=EXAMPLE,
        dataset=record["dataset"],
        seed=record["seed"],
        steps=net.steps,
        order=net.order,
        mean=net.mean.flatten().tolist(),
        std=net.std.flatten().tolist(),
        paddings=list(net.paddings),
    )


def images(shown, count=IMAGES):
    """The first test images of a page's data set, float [n, C, H, W]."""
    test = data.load(shown.dataset, "test")
    return data.as_float(test.images[: min(count, len(test))])


def compared(brought, pictures_):
    """(logits, logits) of the network and of what it must equal: its original, else its definition, Φ
    differentiated automatically in float64, on fewer images. None for a feed-forward network of others.
    """
    net = brought.network.net
    if brought.original is not None:
        with torch.no_grad():
            return net(pictures_), brought.original.net(pictures_)
    if not brought.recurrent:
        return None
    exact, few = _double(net), pictures_[:EXACT].double()
    defined = reference.logits(exact, reference.relax(exact, few, net.steps, net.order))
    return net(pictures_[:EXACT]).double(), defined.detach()


def _double(net):
    copy = EPCNN(**net.settings)
    copy.load_state_dict(net.state_dict())
    return copy.double().eval().requires_grad_(False)


def settled(brought, pictures_):
    """`Settled` of an energy-based network, else None."""
    if not brought.recurrent:
        return None
    net = brought.network.net
    steps = (net.steps, LONGER * net.steps)
    ends = [settle(net, pictures_, steps=t) for t in steps]
    answers = [end.logits.argmax(1) for end in ends]
    return Settled(
        steps,
        tuple(end.residual.mean().item() for end in ends),
        tuple(end.residual.max().item() for end in ends),
        (answers[0] != answers[1]).double().mean().item(),
    )


def answers_alike(both, brought, results):
    """Does the network answer as what it must equal? A `Verdict`; results: stored ones of the network.

    both: of `compared`. For these networks: supported when every image gets the same class and no logit
    differs by more than `CLOSE` of the spread (standard deviation) of the logits; contradicted when an image
    gets another class; otherwise, also where there is nothing to compare with, undecided.
    """
    name = pictures.name(brought.model)
    if both is None:
        word, n = "undecided", 0
        said = f"{name} is a feed-forward network of somebody else, and there is nothing to compare it with."
    else:
        mine, theirs = (logits.double() for logits in both)
        n, same = len(mine), int((mine.argmax(1) == theirs.argmax(1)).sum())
        gap = ((mine - theirs).abs().max() / theirs.std()).item()
        close = gap <= CLOSE
        word = "contradicted" if same < n else "supported" if close else "undecided"
        like = "its original" if brought.original else "its definition (Φ differentiated in float64)"
        said = f"{name} answers as {like} on {same} of {n} test images; their logits " + (
            f"differ by at most {gap:.1g} of the logits' spread." if gap else "are equal."
        )
    return judged(word, results, f"For these networks: {word}. {said}", _overturn(word, n))


def _overturn(word, n):
    return {
        "supported": f"One image of these {n} with another class, or logits further apart than {CLOSE:g} of"
        " their spread: then something was read or computed otherwise.",
        "contradicted": "Other steps, another order or normalisation than were assumed, if these are the"
        " reason; the record says which were.",
        "undecided": f"Answers of the original to compare with, and logits within {CLOSE:g} of their spread.",
    }[word]


def attacked(shown):
    """{model: [Result]} of the attack: EP-CNN, CNN and the network."""
    main = chapters.outcomes(shown, ("ep-cnn", "cnn"), ATTACK)
    return main | chapters.outcomes(shown, others.names(), ATTACK)


def checked(shown, brought, found, thorough):
    """The lines of `eplib.checklist` for the network. found: of `attacked`. thorough: measure now all that
    they ask for; otherwise what is not among `found` was not run.
    """
    own = {ATTACK: found}
    if thorough:
        asked = dict.fromkeys((*masking_sentences.needs()["ep-cnn"], *masking_sentences.BESIDE))
        own |= {m: chapters.stored(shown, m) for m in asked if m != ATTACK}
    return checklist.checklist(own, brought.model)

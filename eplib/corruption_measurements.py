"""How many corrupted images a network gets right: CIFAR-10-C, the corruptions beyond it, and how often a
prediction flips from frame to frame of a slowly changing image.

Each measurement takes (network, images, labels, image ids, sizes, folder, progress) and returns
`studies.Found`; finished parts are kept in `folder` (`parts.in_parts`). The ids decide what a corruption does
to an image, so every network sees the same corrupted images.
"""

import torch

from eplib import data
from eplib.attacks import AttackedModel, predicted
from eplib.checks import InputError, check_labels, one_of
from eplib.corruption_official import official
from eplib.corruption_scores import NONE, interval
from eplib.corruption_sequences import SEQUENCES, flip_rates, sequence
from eplib.corruptions import CIFAR_BAR, CIFAR_C, IMAGENET_BAR, WITHOUT_DEPTH, corrupt
from eplib.dynamics import settle
from eplib.network import EPCNN
from eplib.parts import in_parts
from eplib.studies import Found, share

TYPES = {"cifar-c": CIFAR_C, "beyond": (*CIFAR_BAR, *IMAGENET_BAR, *WITHOUT_DEPTH)}
HAVE_OFFICIAL = ("corruptions", "corruptions-settled")  # measurements that official arrays exist for


def corruptions(net, images, labels, ids, sizes, folder=None, progress=True):
    """`Found` of a network on corrupted images, after one or several free phases.

    images: [N, 3, 32, 32] in [0, 1]; normalisation is inside the network. ids: N image ids. sizes: types (of
    `TYPES`), severities, phases (of an energy-based network: "own" or [steps, order], several in turn; equal
    ones count once), source ("regenerated" images, or "official" ones: then also dataset, see
    `corruption_official`), batch (images at a time).

    Rows, for every phase: accuracy (Wilson interval) of the images as they are (corruption "none", severity
    0), then of every corruption at every severity. `clean` is by the first phase. Raises InputError for bad
    input, such as images outside of [0, 1].
    """
    names = TYPES[one_of("types of corruptions", sizes["types"], TYPES)]
    net.check(images)
    check_labels(labels, images, net.classes)
    cells = [(NONE, 0), *((name, severity) for name in names for severity in sizes["severities"])]
    phases = phases_of(net, sizes["phases"])
    test = data.load(sizes["dataset"], "test") if sizes["source"] == "official" else None

    def corrupted(x, name, severity, rows):
        if test is None or not severity:
            return corrupt(x, name, severity, ids[rows]) if severity else x
        return official(test, name, severity, ids[rows]).to(x)

    def part(rows):
        x, y, found = images[rows], labels[rows], []
        for name, severity in cells:
            z = corrupted(x, name, severity, rows)
            found.append(classes(net, z, phases) == y)
        return {"correct": torch.stack(found, 1).cpu().numpy()}  # [phase, cell, image]

    def running(done):
        return f"{done['correct'][0, 1:].mean():.3f} right"

    words = f"corruptions, {sizes['types']}"
    done, seconds = in_parts(len(images), sizes["batch"], part, words, folder, progress, running)
    rows = [
        {"corruption": name, "severity": severity, "predict_steps": steps, "order": order}
        | share("accuracy", torch.from_numpy(right))
        for (steps, order), found in zip(phases, done["correct"], strict=True)
        for (name, severity), right in zip(cells, found, strict=True)
    ]
    correct = done["correct"].reshape(-1, len(images))
    return Found(rows, correct[0], correct, seconds=seconds)


def settled(net, images, labels, ids, sizes, folder=None, progress=True):
    """`corruptions` of an energy-based network alone: free phases of several lengths on the same images.
    Raises InputError for a network without a free phase.
    """
    if not isinstance(net, EPCNN):
        raise InputError(
            "corruptions-settled of a network without a free phase: measure an energy-based network"
        )
    return corruptions(net, images, labels, ids, sizes, folder, progress)


def phases_of(net, wanted):
    """[(steps, order)] of the free phases wanted of a network, "own" or [steps, order], each once; of a
    feed-forward network [(None, None)].
    """
    if not isinstance(net, EPCNN):
        return [(None, None)]
    return list(dict.fromkeys((net.steps, net.order) if p == "own" else tuple(p) for p in wanted))


@torch.no_grad()
def classes(net, images, phases):
    """Predictions int64 [P, N] after every phase of `phases_of`. A phase of the same order and more steps
    than the one before goes on from its end, which changes nothing but the time it takes.
    """
    if phases == [(None, None)]:
        return predicted(AttackedModel(net), images)[None]
    found, end, before = [], None, (0, None)
    for steps, order in phases:
        goes_on = order == before[1] and steps >= before[0]
        done = before[0] if goes_on else 0
        end = settle(net, images, steps - done, order, start=end if goes_on else None)
        found.append(end.logits.argmax(1))
        before = steps, order
    return torch.stack(found)


def flips(net, images, labels, ids, sizes, folder=None, progress=True):
    """`Found` of how often predictions flip along the sequences of CIFAR-10-P.

    images, labels, ids: as of `corruptions`. sizes: phases (the first counts), batch (images at a time).
    Rows: accuracy of the images as they are (corruption "none", severity 0), then for every sequence (column
    corruption) flip: the mean over images of their flip probability, `corruption_sequences.flip_rates`, with
    its 95 % interval by Student's t. Array flips: float32 [sequences, N]. Raises InputError for bad input.
    """
    net.check(images)
    check_labels(labels, images, net.classes)
    phases = phases_of(net, sizes["phases"])[:1]

    def part(rows):
        x, found = images[rows], []
        for name in SEQUENCES:
            frames = sequence(x, name, ids[rows])
            said = [classes(net, frame, phases)[0] for frame in frames.unbind(1)]
            found.append(flip_rates(torch.stack(said, 1), name))
        right = classes(net, x, phases)[0] == labels[rows]
        return {"right": right.cpu().numpy(), "flips": torch.stack(found).float().cpu().numpy()}

    def running(done):
        return f"flips {done['flips'].mean():.4f}"

    done, seconds = in_parts(len(images), sizes["batch"], part, "flips", folder, progress, running)
    where = {"predict_steps": phases[0][0], "order": phases[0][1]}
    right = done["right"]
    clean = where | {"corruption": NONE, "severity": 0}
    rows = [clean | share("accuracy", torch.from_numpy(right))]
    for name, rates in zip(SEQUENCES, done["flips"], strict=True):
        value, low, high = interval(rates)
        score = {"metric": "flip", "value": value, "low": low, "high": high, "n": len(rates)}
        rows.append(where | {"corruption": name} | score)
    return Found(rows, right, right[None], {"flips": done["flips"]}, seconds)


CORRUPTED = {
    "corruptions": corruptions,
    "corruptions-settled": settled,
    "corruptions-beyond": corruptions,
    "flips": flips,
}

"""How an attack is made and counted: as published in arXiv 2401.11543 and corrected, one choice at a time."""

import functools
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from eplib import losses, suite
from eplib.attacks import AttackedModel, ThreatModel, fitting, free_memory, predicted
from eplib.checks import NORMS, InputError, check_labels, one_of
from eplib.network import EPCNN
from eplib.parts import in_parts
from eplib.studies import Found, share

_BATCH, _OFFSET = 200, 1e-7  # of the published attack's loss, and of its normalised ℓ2 steps


@dataclass(frozen=True)
class Convention:
    """How projected gradient descent is run and its outcome counted.

    predicted_labels: the attack is given the network's own prediction, and an image counts as right whenever
    its prediction after the attack is the true class, even if it was wrong before; every ε stands for itself.
    Otherwise the attack is given the true label, and an image counts only if it is right before and under
    every attack up to this ε. clip: images stay in [0, 1]. batch_loss: ℓ2 steps divide the gradient of a loss
    averaged over 200 images by its norm + 1e-7, as the Adversarial Robustness Toolbox 1.14 does, so that the
    step of a confident network vanishes; otherwise the gradient of each image's own loss by its norm. starts:
    0, from the image itself, or this many random starts, of which one that breaks the image is enough.
    horizons: None, the network's own free phase, or for an EP-CNN ((steps, order) that are attacked,
    (steps, order) that predict).
    """

    predicted_labels: bool
    clip: bool
    batch_loss: bool
    starts: int
    horizons: tuple | None


CORRECTED = Convention(False, True, False, 0, None)
PUBLISHED = Convention(True, False, True, 0, ((70, "synchronous"), (250, "synchronous")))
(_ATTACKED, _), (_PREDICTED, _) = PUBLISHED.horizons
VARIANTS = {  # the corrected convention, with one published choice, with all of them, and with more effort
    "corrected": CORRECTED,
    "predicted labels": replace(CORRECTED, predicted_labels=True),
    "images may leave [0, 1]": replace(CORRECTED, clip=False),
    "loss averaged over a batch": replace(CORRECTED, batch_loss=True),
    f"{_ATTACKED} steps attacked, {_PREDICTED} predicted": replace(CORRECTED, horizons=PUBLISHED.horizons),
    "published": PUBLISHED,
    "five random starts": replace(CORRECTED, starts=5),
}
SQUARE = ("logits", "probabilities")  # what it sees of a network


def applicable(net, norm):
    """{name: Convention}: "corrected", and those VARIANTS that differ from it for this network and norm.

    Choices without a meaning are switched off: horizons of a feed-forward network, and the averaged loss in
    ℓ∞, whose steps keep only signs.
    """
    none = {} if one_of("norm", norm, NORMS) == "l2" else {"batch_loss": False}
    none |= {} if isinstance(net, EPCNN) else {"horizons": None}
    fitted = {name: replace(convention, **none) for name, convention in VARIANTS.items()}
    return {name: c for name, c in fitted.items() if name == "corrected" or c != CORRECTED}


def pgd(model, images, labels, threat, steps, convention, random=None, loss=losses.cross_entropy):
    """Projected gradient descent: images [N, C, H, W] after `steps` steps of 2.5 ε / steps.

    model: images -> logits, differentiable. labels: int64 [N], to be left. loss: what is climbed, of (logits,
    labels), [N]. convention: its `clip` and `batch_loss` count. random: a NumPy generator to start from a
    random point of the ball (uniform in ℓ∞, a uniform length in a random direction in ℓ2), None to start from
    the images. Written by hand because torchattacks always clips, and has no other loss. Raises InputError
    for steps below 1.
    """
    if steps < 1:
        raise InputError(f"steps = {steps}: give 1 or more")
    images = images.detach()
    box = (0.0, 1.0) if convention.clip else (-float("inf"), float("inf"))
    now = images if random is None else (images + _random_change(images, threat, random)).clamp(*box)
    for _ in range(steps):
        direction = _direction(_gradient(model, now, labels, loss), threat.norm, convention)
        change = now + 2.5 * threat.epsilon / steps * direction - images
        now = (images + _projected(change, threat)).clamp(*box)
    return now


def _gradient(model, images, labels, loss):
    """∂ Σ loss / ∂ images: for every image the gradient of its own loss."""
    with torch.enable_grad():
        x = images.detach().requires_grad_()
        return torch.autograd.grad(loss(model(x), labels).sum(), x)[0]


def _direction(gradient, norm, convention):
    """Where a step goes; nowhere where the gradient is zero."""
    if norm == "linf":
        return gradient.sign()
    if convention.batch_loss:
        averaged = gradient / _BATCH
        return averaged / (_length(averaged) + _OFFSET)
    largest = gradient.abs().amax((1, 2, 3), keepdim=True)
    scaled = gradient / torch.where(largest == 0, 1, largest)  # or the squares of a tiny gradient were zero
    return scaled / _length(scaled).clamp_min(1)


def _projected(change, threat):
    if threat.norm == "linf":
        return change.clamp(-threat.epsilon, threat.epsilon)
    length = _length(change)
    return torch.where(length > threat.epsilon, change * (threat.epsilon / length), change)


def _random_change(images, threat, random):
    if threat.norm == "linf":
        return torch.from_numpy(random.uniform(-threat.epsilon, threat.epsilon, images.shape)).to(images)
    direction = torch.from_numpy(random.normal(size=images.shape))
    length = torch.from_numpy(random.uniform(0, threat.epsilon, (len(images), 1, 1, 1)))
    return (length * direction / _length(direction)).to(images)


def _length(change):
    """ℓ2 norms, [N, 1, 1, 1]."""
    return change.flatten(1).norm(dim=1)[:, None, None, None]


def outcomes(net, images, labels, norm, epsilons, steps, convention, seed=0):
    """(clean bool [N], correct bool [E, N]), NumPy arrays: which images are right before PGD, and which count
    as right after it at every ε.

    net: an EPCNN or any classifier of this project. labels: the true classes, int64 [N]. epsilons: ascending,
    pixel units of [0, 1]. steps: of `pgd`. clean: by the steps that predict. Random starts depend on (seed,
    place of ε, place of the start). Raises InputError for bad input, and for horizons of a network without a
    free phase.
    """
    attacked, judge = _models(net, convention)

    def attempt(threat, place, x, y):
        random = np.random.default_rng((seed, *place)) if convention.starts else None
        return pgd(attacked, x, y, threat, steps, convention, random)

    return _counted(judge, images, labels, norm, epsilons, convention, attempt)


def square_outcomes(net, images, labels, epsilons, queries, seen, seed=0):
    """The same for ℓ∞ Square with so many queries, counted as corrected. seen: "logits", or "probabilities",
    which the published EP-CNNs answered with and which hide small changes where they round to 1 and 0. Logits
    judge the outcome of both.
    """
    judge = AttackedModel(net)
    asked = Probabilities(judge) if one_of("answer", seen, SQUARE) == "probabilities" else judge

    def attempt(threat, _, x, y):
        return suite.checked(asked, x, y, threat, "square", queries, seed)

    return _counted(judge, images, labels, "linf", epsilons, CORRECTED, attempt)


class Probabilities(nn.Module):
    """Answers with softmax probabilities in float32 where `model` answers with logits."""

    def __init__(self, model):
        super().__init__()
        self.model = model
        self.eval()

    @property
    def net(self):
        """The network behind it."""
        return self.model.net

    def forward(self, images):
        return self.model(images).float().softmax(1)


def _models(net, convention):
    """The network as it is attacked, and as it predicts."""
    return [AttackedModel(net, *phase) for phase in convention.horizons or ((), ())]


def _check(net, images, labels):
    net.check(images)
    check_labels(labels, images, net.classes)


def _counted(judge, images, labels, norm, epsilons, convention, attempt):
    """`outcomes`. attempt(threat, (place of ε, place of the start), images, labels to be left) -> images."""
    threats, starts = [ThreatModel(norm, e) for e in epsilons], max(1, convention.starts)
    if not threats or list(epsilons) != sorted(epsilons):
        raise InputError(f"epsilons {epsilons}: give one or more, in ascending order")
    _check(judge.net, images, labels)
    before = predicted(judge, images)
    clean, given = before == labels, before if convention.predicted_labels else labels
    exposed, correct = torch.ones_like(clean) if convention.predicted_labels else clean, []
    for i, threat in enumerate(threats):
        after = given.clone()
        for start in range(starts):
            left = exposed & (after == given)
            if left.any():
                after[left] = predicted(judge, attempt(threat, (i, start), images[left], given[left]))
        correct.append(exposed & (after == labels))
        exposed = exposed if convention.predicted_labels else correct[-1]
    return clean.cpu().numpy(), torch.stack(correct).cpu().numpy()


def conventions(net, images, labels, sizes, folder=None, progress=True):
    """Accuracy under attack by every convention: PGD by the `applicable` ones in each norm, then, if ℓ∞ is
    among the norms, Square seeing logits and seeing probabilities. Returns `studies.Found`.

    sizes: norms ({norm: ascending ε}), steps (of PGD), queries (of Square), batch (images at a time, fewer
    where memory is short). folder: where finished parts are kept (`parts.in_parts`). Rows: metric "accuracy"
    at every ε of every convention; columns convention, attack, norm, epsilon, attack_steps (queries of
    Square), labels ("true" or "predicted"), random_start (of PGD), predict_steps, order. `correct` has them
    in the same order; `clean` is by the network's own free phase. Raises InputError for bad input
    and for logits that attacks cannot use (`suite.check_model`).
    """
    _check(net, images, labels)
    suite.check_model(AttackedModel(net), images[: max(sizes["batch"], 1)])
    rows, done, seconds = [], [], 0.0  # the corrected convention comes first
    for i, (name, convention, columns, run) in enumerate(_cases(net, sizes)):
        attacked, judge = _models(net, convention)
        batch = fitting(sizes["batch"], attacked.bytes_an_image(), free_memory(images.device))

        def compute(part, run=run):
            before, after = run(images[part], labels[part], seed=part.start)
            return {"clean": before, "correct": after}

        def running(so_far, largest=sizes["norms"][columns["norm"]][-1]):
            return f"ε = {largest:.3g}: {so_far['correct'][-1].mean():.3f} right"

        place, words = Path(folder) / str(i) if folder else None, f"{name}, {columns['norm']}"
        outcome, took = in_parts(len(images), batch, compute, words, place, progress, running)
        done.append(outcome)
        seconds += took
        columns |= {"convention": name, "predict_steps": judge.steps, "order": judge.order}
        columns["labels"] = ("true", "predicted")[convention.predicted_labels]
        columns["random_start"] = convention.starts > 0
        for epsilon, right in zip(sizes["norms"][columns["norm"]], done[-1]["correct"], strict=True):
            rows.append(columns | {"epsilon": epsilon} | share("accuracy", torch.from_numpy(right)))
    return Found(rows, done[0]["clean"], np.concatenate([each["correct"] for each in done]), seconds=seconds)


def _cases(net, sizes):
    """(name, convention, its own columns, function(images, labels, seed) -> `outcomes`) of every attack."""
    for norm, epsilons in sizes["norms"].items():
        for name, convention in applicable(net, norm).items():
            plan = dict(norm=norm, epsilons=epsilons, steps=sizes["steps"], convention=convention)
            columns = {"attack": "pgd", "norm": norm, "attack_steps": sizes["steps"]}
            yield name, convention, columns, functools.partial(outcomes, net, **plan)
    for seen in SQUARE if "linf" in sizes["norms"] else ():
        plan = dict(epsilons=sizes["norms"]["linf"], queries=sizes["queries"], seen=seen)
        columns = {"attack": "square", "norm": "linf", "attack_steps": sizes["queries"]}
        yield f"Square, {seen}", CORRECTED, columns, functools.partial(square_outcomes, net, **plan)

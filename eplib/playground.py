"""The playground: one stored network, one image, one set of settings; run, attacked, and watched.

The reader's image comes from `eplib.playground_pictures`; figures, words and controls are in the modules
named alike.
"""

import json
import math
from dataclasses import dataclass, replace
from itertools import chain
from numbers import Integral, Real

import torch

from eplib import attacks, chapters, checkpoints, data, others, pictures, results, scales, settling, suite
from eplib.checks import InputError, check_labels, one_of
from eplib.dynamics import settle
from eplib.network import EPCNN
from eplib.phases import ORDERS, nudged_order

OWN = "own"  # the steps or the order that a network was trained with
ATTACKS = {"none": None, "pgd-linf": "linf", "pgd-l2": "l2"}
LARGEST = {"linf": 1.0, "l2": 10.0}  # ε in pixels of [0, 1]: beyond them nothing of an image is left
STEPS = settling.FRAMES[-1]
LONGER = 4  # times as many free steps show whether an answer is the last one
ATTACK_STEPS = 20
TRAINED_NOW = {"smoke": ("ep-cnn", "cnn")}  # what the page trains where it is not stored


@dataclass(frozen=True)
class Settings:
    """steps: T of the free phase, 1 to 1000, or "own". beta: nudging strength, above 0. order: of `ORDERS`,
    or "own". attack: of `ATTACKS`. epsilon: its size in pixel units of [0, 1].

    Raises InputError where one of them is something else.
    """

    steps: int | str = OWN
    beta: float = 0.5
    order: str = OWN
    attack: str = "pgd-linf"
    epsilon: float = 0.03

    def __post_init__(self):
        if self.steps != OWN and not (_whole(self.steps) and 1 <= self.steps <= STEPS):
            raise InputError(f"steps = {self.steps!r}: give a whole number from 1 to {STEPS}, or {OWN!r}")
        if not (_number(self.beta) and 0 < self.beta < math.inf):
            raise InputError(f"beta = {self.beta!r}: give a finite number above 0")
        one_of("order of updates", self.order, (*ORDERS, OWN))
        one_of("attack", self.attack, ATTACKS)
        largest = LARGEST.get(self.norm, max(LARGEST.values()))
        if not (_number(self.epsilon) and 0 <= self.epsilon <= largest):
            raise InputError(
                f"epsilon = {self.epsilon!r} for the attack {self.attack}: give a number from 0 to"
                f" {largest:g}, in pixel units of [0, 1]"
            )

    @property
    def norm(self):
        """Of the attack; None where there is none."""
        return ATTACKS[self.attack]

    def of(self, net):
        """The same with a network's own steps and order in place of "own"."""
        if not isinstance(net, EPCNN):
            return self
        steps = net.steps if self.steps == OWN else self.steps
        return replace(self, steps=int(steps), order=net.order if self.order == OWN else self.order)


@dataclass(frozen=True)
class Seen:
    """What a network makes of one image [1, C, H, W]. chances: [classes], its probabilities after T steps.
    curves: [4 T + 1, classes], the same after every step from 0 on. residual: [4 T + 1], see
    `eplib.dynamics.Equilibrium`. states: L tensors [C, H, W] after T steps. A feed-forward network has no
    curves, no residual and no states.
    """

    image: torch.Tensor
    chances: torch.Tensor
    curves: torch.Tensor | None = None
    residual: torch.Tensor | None = None
    states: tuple = ()

    @property
    def answer(self):
        """The class it names after T steps."""
        return int(self.chances.argmax())

    @property
    def later(self):
        """The class it names after 4 T steps; a feed-forward network has said it already."""
        return self.answer if self.curves is None else int(self.curves[-1].argmax())


@dataclass(frozen=True)
class Played:
    """One run of the playground. label: the image's class, or None. settings: with no "own" left. clean,
    attacked: what was seen, None without an attack. nudged: (probabilities [classes] at +β, at −β) from the
    end of the clean free phase; None without label or phases.
    """

    checkpoint: checkpoints.Checkpoint
    label: int | None
    settings: Settings
    clean: Seen
    attacked: Seen | None
    nudged: tuple | None

    @property
    def classes(self):
        return data.CLASSES[self.checkpoint.record["dataset"]]

    @property
    def recurrent(self):
        return isinstance(self.checkpoint.net, EPCNN)

    @property
    def name(self):
        return pictures.name(self.checkpoint.record["model"])


def play(checkpoint, image, label, settings):
    """Run a checkpoint's network on one image [1, C, H, W] in [0, 1], and attack it: what was `Played`.

    PGD follows the exact gradient through all T steps, without a random start, against `label`, or where
    there is none against the network's own answer. Raises InputError for an image or label that does not fit.
    """
    net = checkpoint.net
    net.check(image)
    if len(image) != 1:
        raise InputError(f"{len(image)} images: give one")
    if label is not None:
        check_labels(torch.tensor([label]), image, net.classes)
    settings = settings.of(net)
    clean, end = _watched(net, image, settings)
    attacked = None
    if settings.norm:
        target = torch.tensor([clean.answer if label is None else label])
        attacked, _ = _watched(net, _attacked(net, image, target, settings), settings)
    nudged = None if end is None or label is None else _nudged(net, image, label, settings, end)
    return Played(checkpoint, label, settings, clean, attacked, nudged)


def _watched(net, image, settings):
    """(`Seen`, where its free phase ended: None for a feed-forward network)."""
    if not isinstance(net, EPCNN):
        with torch.no_grad():
            return Seen(image, net(image).softmax(1)[0]), None
    steps, order = settings.steps, settings.order
    start = settle(net, image, 0, order)
    end = settle(net, image, steps, order, start=start, record=True)
    later = settle(net, image, (LONGER - 1) * steps, order, start=end, record=True)
    logits, residual = (
        torch.cat([getattr(start, name)[None], *(e.trajectory[name] for e in (end, later))])[:, 0]
        for name in ("logits", "residual")
    )
    states = tuple(s[0] for s in end.states)
    return Seen(image, end.logits.softmax(1)[0], logits.softmax(1), residual, states), end


def _attacked(net, image, target, settings):
    phase = (settings.steps, settings.order) if isinstance(net, EPCNN) else ()
    model = attacks.AttackedModel(net, *phase)
    threat = attacks.ThreatModel(settings.norm, settings.epsilon)
    return suite.within(
        attacks.pgd(model, image, target, threat, ATTACK_STEPS), image, threat, settings.attack
    )


def _nudged(net, image, label, settings, end):
    """Probabilities after the nudged phases of +β and −β, as long and in the order of the explorer's."""
    steps, order = settling.NUDGED_FRAMES[-1], nudged_order(settings.order)
    ends = (
        settle(net, image, steps, order, torch.tensor([label]), signed, start=end)
        for signed in (settings.beta, -settings.beta)
    )
    return tuple(e.logits.softmax(1)[0] for e in ends)


def after(steps, order="free"):
    """So many steps, in words."""
    return f"{steps} {order} step{'s' if steps > 1 else ''}"


def title(record):
    """The name of a network in a list, from its checkpoint's record."""
    return (
        f"{pictures.name(record['model'])}, {chapters.DATASET_NAMES[record['dataset']]}, {record['scale']}"
        f" scale, seed {record['seed']}"
    )


def networks():
    """{title: path} of every stored network that can be played with: the largest scale first, in it as in
    its table of networks. A record that cannot be read is left out.
    """
    found = []
    for place, scale in enumerate(("paper", "cpu", "quick")):
        order = list(scales.scale(scale).rows)
        folders = [folder / "checkpoints" / scale for folder in results.folders(scale)[1]]
        for path in chain.from_iterable(folder.glob("*.json") for folder in folders):
            try:
                record = json.loads(path.read_text())
                rank = order.index(record["model"]) if record["model"] in order else len(order)
                key = (place, rank, int(record["seed"]), title(record))
            except (OSError, ValueError, KeyError, TypeError):
                continue
            found.append((*key, path.with_suffix(".safetensors")))
    return {name: path for *_, name, path in sorted(found) if path.exists()}


def choose(scale, dataset, seeds, network):
    """The `chapters.Shown` of the one network that the page plays with, its first seed: stored, or trained
    now at smoke scale. Raises InputError for a network that is not there.
    """
    if network in others.names():
        return chapters.first_seed(chapters.choose(scale, dataset, seeds, {}))
    if not any(network == model for size in scales.SCALES.values() for model in size.rows):
        raise InputError(
            f"unknown network {network!r}: give one of the page Networks, such as 'ep-cnn' or 'cnn'"
        )
    shown = chapters.choose(scale, dataset, seeds, {network: ()})
    scales.row(shown.scale, network, shown.dataset)
    shown = chapters.first_seed(shown)
    stored = checkpoints.find(shown.scale, network, shown.dataset, shown.seeds[0])
    if not stored and network not in TRAINED_NOW.get(shown.scale, ()):
        raise InputError(
            f"no stored network {network} with seed {shown.seeds[0]} at scale {shown.scale} for"
            f" {shown.dataset}: choose another, or train it first (python -m eplib train --model {network}"
            f" --dataset {shown.dataset} --scale {shown.scale} --seed {shown.seeds[0]})"
        )
    return shown


def _whole(value):
    return isinstance(value, Integral) and not isinstance(value, bool)


def _number(value):
    return isinstance(value, Real) and not isinstance(value, bool)

"""Free phases in every number format, in step with one in float64.

Where two phases part there may be two reasons: errors that grow smoothly, or a max-pooling window that picks
another winner, whose feedback then goes elsewhere. To tell them apart, each format runs twice: once with its
own arg-max (`LIVE`), and once with that of the float64 phase put in its place before every update (`HELD`).
Clipping cannot part two states: it never lengthens their distance.
"""

from dataclasses import dataclass

import torch

from eplib import arithmetic
from eplib.arithmetic import FORMATS, computing
from eplib.phases import Phase, drive, groups
from eplib.studies import SHOWN_STEPS

APART = 0.01  # units that differ by more are counted
MOVED = 1e-6  # the relative change of the image of the control
EXACT = "float64"
CONTROL = "float64, image changed"
LIVE, HELD = "live", "float64's"
COMPARED = (*FORMATS[1:], CONTROL)
CASES = tuple((name, LIVE) for name in COMPARED) + tuple((name, HELD) for name in FORMATS[1:])


def format_of(name):
    """The number format of one of `COMPARED`, or of another name that begins with it."""
    return name.partition(",")[0]


def given(images, name):
    """The images that a network gets under one of `FORMATS` or `COMPARED`."""
    x = arithmetic.pixels(images, format_of(name))
    return x * (1 - MOVED) if name == CONTROL else x


def shown(steps):
    """The steps of a phase after which differences are kept."""
    return sorted({*(t for t in SHOWN_STEPS if t < steps), steps})


@dataclass
class _View:
    """A phase after a step, flat: units [N, U] in float64, and those of every layer above the first as they
    send something down: active [N, A], winners [N, A] (None for average pooling, which has none).
    """

    units: torch.Tensor
    active: torch.Tensor | None
    winners: torch.Tensor | None

    @classmethod
    def of(cls, phase, patterns=True):
        units = torch.cat([s.flatten(1) for s in phase.states], 1).double()
        if not patterns or len(phase.states) < 2 or phase.pooling == "average":
            return cls(units, None, None)
        winners = torch.cat([phase.codes(l).flatten(1) for l in range(1, len(phase.states))], 1)
        return cls(units, units[:, -winners.shape[1] :] > 0, winners)

    def apart(self, other):
        """[N, U]: how far every unit is from another view's."""
        return (self.units - other.units).abs()

    def switched(self, other):
        """bool [N]: whether an active unit has another winner."""
        if self.winners is None:
            return torch.zeros(len(self.units), dtype=torch.bool, device=self.units.device)
        return ((self.winners != other.winners) & (self.active | other.active)).any(1)


@dataclass
class _Run:
    """One free phase beside that in float64. difference: of the units, [N] after every shown step. apart,
    switched: [N], the first step after which units, or the arg-max of active ones, differed; inf for none.
    """

    name: str
    held: bool
    phase: Phase
    difference: list
    apart: torch.Tensor
    switched: torch.Tensor

    @property
    def computing(self):
        return computing(format_of(self.name), self.apart.device)

    def step(self, group, winners):
        self.phase.frozen = winners if self.held else None
        self.phase.step((group,))

    def look(self, step, exact, keep):
        """Compare with the view of the exact phase after a step."""
        view = _View.of(self.phase, not self.held)
        difference = view.apart(exact).amax(1)
        self.apart[(difference > APART) & self.apart.isinf()] = step
        self.switched[view.switched(exact) & self.switched.isinf()] = step
        if keep:
            self.difference.append(difference)


@torch.no_grad()
def side_by_side(net, images, steps, order):
    """Free phases of `CASES` in an EP-CNN, step by step beside float64, {name: array [cases, …, N]}.

    difference ([cases, shown steps, N], the largest of an image's units), apart, switched (see `_Run`),
    pattern (bool, at the end), units (share that differ), logits (largest difference): against float64.
    classes, residual (of live cases): float64 first.
    """
    exact = _phase(net, images, EXACT)
    never = torch.full((len(images),), float("inf"), dtype=torch.float64, device=images.device)
    runs = [
        _Run(name, arg_max == HELD, _phase(net, images, name), [], never.clone(), never.clone())
        for name, arg_max in CASES
    ]
    keep, order = set(shown(steps)), groups(order, len(net.convs))
    for step in range(1, steps + 1):
        for group in order:
            winners = [exact.codes(l) for l in range(len(net.convs))]
            for run in runs:
                with run.computing:
                    run.step(group, winners)
            exact.step((group,))
        view = _View.of(exact)
        for run in runs:
            with run.computing:
                run.look(step, view, step in keep)
    return _ends(exact, runs)


def _phase(net, images, name):
    """A free phase at its start."""
    model = arithmetic.model(net, format_of(name))
    with computing(format_of(name), images.device):
        return Phase(model.net, drive(model.net, given(images, name)), dtype=model.dtype)


def _ends(exact, runs):
    last, logits, classes, residual = _View.of(exact), [], [exact.logits().argmax(1)], [exact.residual()]
    views = []
    for run in runs:
        with run.computing:
            z = run.phase.logits().double()
            views.append(_View.of(run.phase, not run.held))
            if not run.held:
                residual.append(run.phase.residual().double())
        logits.append((z - exact.logits()).abs().amax(1))
        classes.append(z.argmax(1))
    found = {
        "difference": [torch.stack(run.difference) for run in runs],
        "apart": [run.apart for run in runs],
        "switched": [run.switched for run in runs],
        "pattern": [view.switched(last) for view in views],
        "units": [(view.apart(last) > APART).double().mean(1) for view in views],
        "logits": logits,
        "classes": classes,
        "residual": residual,
    }
    return {name: torch.stack(values) for name, values in found.items()}


@torch.no_grad()
def answers(models, images):
    """The same of a feed-forward network, of which there is less: classes and logits of the live cases.

    models: {format: `arithmetic.model`}.
    """
    found = []
    for name in (EXACT, *COMPARED):
        with computing(format_of(name), images.device):
            found.append(models[format_of(name)](given(images, name)).double())
    return {
        "classes": torch.stack(found).argmax(2),
        "logits": torch.stack([(z - found[0]).abs().amax(1) for z in found[1:]]),
    }

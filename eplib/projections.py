"""What a piece of the campaign computes, by formulas: floating-point operations of training and of most
measurements. `eplib.speeds` makes times of them.

The unit is a pass of one image through a network. Its gradient in the image counts as two passes, an
iteration of back-propagation in the weights as three; a pass of an energy-based network is its free phase.
"""

import math
from dataclasses import dataclass, field
from functools import cache

import torch
from torch.utils.flop_counter import FlopCounterMode

from eplib import conventions, costs, data, recipes, scales, semantics_changes, zooms
from eplib.baselines import kind
from eplib.corruption_measurements import TYPES, phases_of
from eplib.corruption_sequences import SEQUENCES
from eplib.filtering import KINDS as DISTURBED
from eplib.filtering import LEVELS
from eplib.network import EPCNN
from eplib.state_space import KICKS

LEFT = 0.5  # assumed: of the images that are right, those an attack still sees at one of several strengths
TARGETS = 9  # classes that a targeted attack of AutoAttack tries
WEIGHTS, IMAGE = 3, 2  # passes that an iteration of back-propagation, and a gradient in the image, stand for
PENALTY = 3  # times the iteration that a gradient penalty takes, which differentiates twice

TASKS = {"training": "training", "inference": "inference", "gradient": "input gradient"}


@dataclass
class Work:
    """flops, steps: {task: operations, and how many steps of a batch they are done in}, tasks as in `TASKS`.
    recurrent: whether an energy-based network does it. precision: of training on a GPU. making: corrupted
    images, {corruption: how many}.
    """

    recurrent: bool
    precision: str = "float32"
    flops: dict = field(default_factory=dict)
    steps: dict = field(default_factory=dict)
    making: dict = field(default_factory=dict)

    def add(self, task, flops, steps):
        self.flops[task] = self.flops.get(task, 0) + flops
        self.steps[task] = self.steps.get(task, 0) + steps


@cache
def network(scale, dataset, model):
    """(operations of one image in one step, steps of a pass, recurrent) of a network; of a feed-forward one
    the step is the pass.
    """
    row = scales.row(scale, model, dataset)
    settings = dict(classes=len(data.CLASSES[dataset]), mean=0.5, std=0.25)
    net = kind(row.kind)(**row.settings(), **settings)
    if isinstance(net, EPCNN):
        return costs.step_flops(net, 1), net.steps, True
    return pass_flops(net), 1, False


@torch.no_grad()
def pass_flops(net):
    """Operations of one image's pass through a feed-forward network, counted by torch."""
    with FlopCounterMode(display=False) as counter:
        net.eval()(torch.zeros(1, 3, 32, 32))
    return counter.get_total_flops()


def work(piece):
    """The `Work` of a piece, or None for measurements without a formula."""
    return _training(piece) if piece.measurement is None else _measuring(piece)


def _training(piece):
    recipe = scales.row(piece.scale, piece.model, piece.dataset).recipe
    step, steps, recurrent = network(piece.scale, piece.dataset, piece.model)
    found = Work(recurrent, "tf32" if recipe.precision == "float32" else "bfloat16")
    seen = recipes.iterations(recipe)[1] * recipe.batch
    if recipe.kind == "readout":
        seen = min(seen, scales.TRAINED_ON)
        found.add("inference", step * steps * seen, steps * seen / 500)
        return found
    batches, begun = seen / recipe.batch, 0.0
    phases = recipe.phases if recipe.kind == "ep" else ((1.0, 0, 0),)
    for until, free, nudged in phases:
        share, begun = max(0.0, min(until, recipe.stop) - begun) / recipe.stop, until
        passes = _iteration(recipe, free, nudged)
        found.add("training", share * seen * step * passes, share * batches * passes)
        if recipe.adversary is not None:
            passes = IMAGE * recipe.adversary[2] * (free or 1)
            found.add("gradient", share * seen * step * passes, share * batches * passes)
    if recipe.source is not None:
        step, steps, _ = network(piece.scale, piece.dataset, recipe.source)
        found.add("inference", seen * step * steps, batches * steps)
    return found


def _iteration(recipe, free, nudged):
    """Steps that one iteration of training amounts to; the weight gradients count as one."""
    if recipe.kind == "backprop":
        return WEIGHTS * (PENALTY if recipe.gradient_penalty else 1)
    if recipe.estimator == "bptt":
        return WEIGHTS * free
    return free + nudged * (2 if recipe.estimator == "centred" else 1) + 1


def sizes(piece):
    """The sizes of a measurement: images, and what else it takes."""
    size = scales.scale(piece.scale)
    own = {"images": size.attack.images_for(piece.measurement), "batch": size.attack.batch}
    if piece.measurement == "clean":
        return own | {"settled": size.attack.settled}
    if piece.measurement in ("pgd-linf", "pgd-l2"):
        epsilons = size.attack.epsilons[piece.measurement.removeprefix("pgd-")]
        return own | {"steps": size.attack.steps, "epsilons": epsilons}
    return own | (size.studies | size.attacks)[piece.measurement]


def _measuring(piece):
    step, steps, recurrent = network(piece.scale, piece.dataset, piece.model)
    s, found = sizes(piece), Work(recurrent)
    if piece.measurement == "transfer":
        return _transfer(piece, s, found)
    passes = _passes(piece, s, steps, recurrent)
    if passes is None:
        return None
    for task, count in zip(("inference", "gradient"), passes, strict=True):
        if count:
            count *= IMAGE if task == "gradient" else 1
            found.add(task, s["images"] * step * steps * count, s["images"] / s["batch"] * steps * count)
    if piece.measurement.startswith("corruptions"):
        found.making = {c: s["images"] * len(s["severities"]) for c in TYPES[s["types"]]}
    return found


def _transfer(piece, s, found):
    """Images are made on every source and shown to the network."""
    count = LEFT * s["images"] * len(s["epsilons"])
    for source in s["sources"]:
        step, steps, recurrent = network(piece.scale, piece.dataset, source)
        passes = IMAGE * s["steps"] * steps
        found.recurrent |= recurrent  # which is nearly all of it
        found.add("gradient", count * passes * step, count / s["batch"] * passes)
    return found


def _passes(piece, s, own, recurrent):
    """(passes, gradients) of one image, or None. own: steps of the network's own free phase."""
    strengths, steps = LEFT * len(s.get("epsilons", ())), s.get("steps")
    match piece.measurement:
        case "clean":
            return 1 + (sum(longer for longer, _ in s["settled"]) / own if recurrent else 0), 0
        case "pgd-linf" | "pgd-l2":
            return strengths, strengths * steps
        case "margins":
            return 0, 1
        case "square-linf" | "square-l2":
            return strengths * s["queries"], 0
        case "noise-linf":
            return strengths * s["plan"][0][1], 0
        case "suite-linf":
            plan = dict(map(tuple, s["plan"]))
            targeted = TARGETS * (plan.get("apgd-t", 0) + plan.get("fab-t", 0))
            return strengths * plan.get("square", 0), strengths * (plan["apgd-ce"] + targeted)
        case "minimal-linf" | "minimal-l2" | "adversarial-distances":
            return 0, steps
        case "carlini-wagner":
            return 0, s["searches"] * steps
        case "hop-skip-jump":
            return sum(100 * math.sqrt(t) + 25 for t in range(1, steps + 1)), 0
        case "conventions":
            return _conventions(piece, s, own)
        case "corruptions" | "corruptions-beyond" | "corruptions-settled":
            cells = len(TYPES[s["types"]]) * len(s["severities"]) + 1
            return cells * _phases(piece, s["phases"], own), 0
        case "flips":
            return sum(q.frames for q in SEQUENCES.values()) * _phases(piece, s["phases"], own), 0
        case "semantics":
            changed = len(semantics_changes.settings(s))
            return changed, len(semantics_changes.GOALS) * (len(s["epsilons"]) * steps + s["minimal_steps"])
        case "uncertainty":
            points = 1 + 2 * s["others"] / s["images"]
            return 2 * s["directions"] * s["points"] * points, 0
        case "slices":
            return 2 * (s["side"] + 1) ** 2, 0
        case "zooms":
            return zooms.LEVELS * (s["side"] + 1) ** 2, 0
        case "state-space":
            return (2 * (s["starts"] + 3) + len(KICKS) * s["starts"]) * steps / own, 0
        case "filtering":
            disturbed = 1 + len(DISTURBED) * len(LEVELS)
            return disturbed * max(s["lengths"]) / own, len(LEVELS) * s["attack_steps"]
    return None


def _net_of_kind(piece):
    """An object that says which free phases a network has, without its weights."""
    row = scales.row(piece.scale, piece.model, piece.dataset)
    net = kind(row.kind)
    return EPCNN((1,), (1,), steps=row.steps, order=row.order) if net is EPCNN else None


def _phases(piece, phases, own):
    """Passes of one image after all of `phases`."""
    return sum((steps or own) / own for steps, _ in phases_of(_net_of_kind(piece), phases))


def _conventions(piece, s, own):
    forward = gradients = 0
    for norm, epsilons in s["norms"].items():
        for convention in conventions.applicable(_net_of_kind(piece), norm).values():
            attacked, judged = (phase[0] / own for phase in convention.horizons or ((own,), (own,)))
            left = 1 if convention.predicted_labels else LEFT
            attempts = left * len(epsilons) * max(1, convention.starts)
            forward, gradients = forward + attempts * judged, gradients + attempts * s["steps"] * attacked
    if "linf" in s["norms"]:
        forward += len(conventions.SQUARE) * LEFT * len(s["norms"]["linf"]) * s["queries"]
    return forward, gradients

"""How an attack by gradients goes on: loss and gradients from iteration to iteration, and what more steps,
more random starts and another algorithm still break.
"""

import time
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from eplib import suite
from eplib.attacks import AttackedModel, ThreatModel, fitting, free_memory, predicted
from eplib.checks import InputError, check_labels, one_of
from eplib.conventions import CORRECTED, pgd
from eplib.parts import in_parts
from eplib.studies import Found, quartiles, share

LENGTHS, FEW_LENGTHS = (10, 20, 50, 100, 200, 500), (1, 2, 5)  # steps of PGD below the most, and below ten
RESTARTS = (1, 5, 10)  # starts of PGD below the most
SHOWN = 100  # so many iterations get rows and losses, spread evenly
EXPLODING = 1e6  # times the first gradient of an image that is not zero
FLAT = 0.005  # an accuracy is flat where it changes by less
COSTS = ("gradient_evaluations", "image_seconds")
TRACED = ("loss", "right_at", "zero_gradient", "exploding")


class Run(NamedTuple):
    """An attack with so many steps, and after how many starts its outcome counts, each time the worst so
    far.
    """

    attack: str
    steps: int
    starts: tuple


def runs(steps, restarts):
    """The `Run`s of a measurement: FGSM, ever longer PGD, its two longest from several starts, APGD.

    Raises InputError for fewer than 2 steps or restarts.
    """
    if steps < 2 or restarts < 2:
        raise InputError(
            f"{steps} steps and {restarts} restarts: give 2 or more of each, nothing flattens with fewer"
        )
    fewer = [n for n in (LENGTHS if steps > LENGTHS[0] else FEW_LENGTHS) if n < steps]
    starts = (*(n for n in RESTARTS if n < restarts), restarts)
    ladder = [Run("pgd", n, starts if n == fewer[-1] else (1,)) for n in fewer]
    return (Run("fgsm", 1, (1,)), *ladder, Run("pgd", steps, starts), Run("apgd-ce", steps, (1,)))


def iterations(net, images, labels, sizes, folder=None, progress=True):
    """`Found` of attacks on cross-entropy with true labels and growing effort, by the exact gradient of the
    network's own free phase or by autograd, on images that are right without an attack.

    sizes: norm, epsilon, steps and restarts (the most), batch (images at a time, fewer where memory is short;
    the place of its first one seeds all random numbers). folder: where finished parts are kept, see
    `parts.in_parts`. PGD (`conventions.pgd`, steps of 2.5 ε / steps) starts from the image, then from random
    points of the ball, images that are broken being left out; what counts is its last iterate. One such step,
    projected, is FGSM.

    Rows with columns attack, attack_steps, restarts: "accuracy" after every `Run`, with gradient_evaluations
    and image_seconds of an image attacked to the end (of the first start, times the starts). Of the longest
    PGD from the image, with column iteration (evenly spread, the last one after all steps): "loss" (median
    and quartiles), "running_accuracy" (of all images), "zero_gradient" and "exploding" (shares; a gradient
    that is not finite, or over 1e6 times as long as the first one that is not zero; lengths are for a
    gradient of length 1 in the logits, because that of a confident network grows as much by itself). The last
    two also without iteration: of images that ever meet one. Arrays: loss float32 [shown, N], nan for images
    that are wrong without an attack; right_at bool [steps + 1, N]; zero_gradient and exploding bool [steps,
    N]. Raises InputError for bad input.
    """
    threat, plan = ThreatModel(sizes["norm"], sizes["epsilon"]), runs(sizes["steps"], sizes["restarts"])
    net.check(images)
    check_labels(labels, images, net.classes)
    model = AttackedModel(net)
    batch = fitting(sizes["batch"], model.bytes_an_image(), free_memory(images.device))

    def part(rows):
        x, y = images[rows], labels[rows]
        suite.check_model(model, x)
        clean = predicted(model, x) == y
        counted, watched = zip(
            *(_attacked(model, x, y, clean, threat, run, rows.start) for run in plan), strict=True
        )
        found = {name: torch.cat([c[name] for c in counted]) for name in ("right", *COSTS)}
        found |= {"clean": clean} | _spread(watched[-2], clean, sizes["steps"])
        return {name: value.cpu().numpy() for name, value in found.items()}

    done, seconds = in_parts(len(images), batch, part, f"iterations {threat.norm}", folder, progress)
    where = {"norm": threat.norm, "epsilon": threat.epsilon, "labels": "true", "gradient": model.gradient}
    where |= {"predict_steps": model.steps, "order": model.order}
    rows = [where | row for row in (*_effort_rows(plan, done), *_trace_rows(plan[-2], done))]
    kept = {name: done[name] for name in TRACED}
    kept["loss"] = kept["loss"][list(shown(sizes["steps"]))].astype(np.float32)
    return Found(rows, done["clean"], done["right"], kept, seconds)


def shown(steps):
    """The iterations from 0 to `steps` that get rows: all, or evenly spread ones and the last."""
    return (*range(0, steps, -(-steps // SHOWN)), steps)


def _attacked(model, images, labels, clean, threat, run, place):
    """({"right" bool, and COSTS, each [starts that count, N]}, the `_Watched` first start, None where no
    image is right).
    """
    alive, first, costs = clean.clone(), None, dict.fromkeys(COSTS, torch.nan)
    found = {name: [] for name in ("right", *COSTS)}
    for start in range(run.starts[-1]):
        if alive.any():
            x, y, watched = images[alive], labels[alive], _Watched(model, labels[alive])
            began = time.perf_counter()
            adversarial = _attack(watched, x, y, threat, run, (place, run.steps, start))
            logits = watched.judged(adversarial)
            # an attack that leaves the numbers has broken nothing
            alive[alive.clone()] = (logits.argmax(1) == y) | ~adversarial.flatten(1).isfinite().all(1)
            if first is None:
                first, took = watched, time.perf_counter() - began
                costs = dict(zip(COSTS, (watched.gradients, took / len(x)), strict=True))
        if start + 1 in run.starts:
            found["right"].append(alive.clone())
            for name, cost in costs.items():
                each = torch.full(clean.shape, (start + 1) * cost, dtype=torch.float64, device=clean.device)
                found[name].append(each.masked_fill(~clean, torch.nan))
    return {name: torch.stack(values) for name, values in found.items()}, first


def _attack(model, images, labels, threat, run, seeds):
    """Adversarial images [N, C, H, W] of one start; seeds: (place of the first image, steps, start)."""
    if run.attack == "apgd-ce":
        seed = int(np.random.SeedSequence(seeds).generate_state(1)[0])
        return suite.ATTACKS[run.attack](model, images, labels, threat, run.steps, seed)
    random = np.random.default_rng(seeds) if seeds[-1] else None
    return pgd(model, images, labels, threat, run.steps, CORRECTED, random)


class _Watched(nn.Module):
    """A model that keeps, of every call that is differentiated, each image's loss, whether it is right, and
    the length of its gradient.
    """

    def __init__(self, model, labels):
        super().__init__()
        self.model, self.net, self.labels = model, model.net, labels
        self.losses, self.right, self.lengths, self.pulls = [], [], [], []
        self.eval()

    @property
    def gradients(self):
        """How many gradients were taken."""
        return len(self.lengths)

    def forward(self, images):
        if not (torch.is_grad_enabled() and images.requires_grad):
            return self.model(images)
        logits = self.model(_Noted.apply(images, self.lengths))
        self.note(logits.detach())
        pull = logits.detach().double().softmax(1) - F.one_hot(self.labels, self.net.classes)
        self.pulls.append(pull.norm(dim=1))
        return logits

    def note(self, logits):
        self.losses.append(F.cross_entropy(logits.double(), self.labels, reduction="none"))
        self.right.append(logits.argmax(1) == self.labels)

    @torch.no_grad()
    def judged(self, images):
        """The logits of the attack's result, which is kept as one more iterate."""
        logits = self.model(images)
        self.note(logits)
        return logits

    def trace(self):
        """TRACED, by name: loss and right_at [T + 1, N] of T differentiated calls and the result,
        zero_gradient and exploding [T, N].
        """
        lengths, tiny = torch.stack(self.lengths), torch.finfo(torch.float64).tiny
        gains = lengths / torch.stack(self.pulls).clamp_min(tiny)
        usable = gains.isfinite() & (gains > 0)
        first = gains.gather(0, usable.int().argmax(0, keepdim=True))
        exploding = ~gains.isfinite() | usable.any(0) & (gains > EXPLODING * first)
        return dict(
            zip(
                TRACED,
                (torch.stack(self.losses), torch.stack(self.right), lengths == 0, exploding),
                strict=True,
            )
        )


class _Noted(torch.autograd.Function):
    """The images themselves; the length of each one's gradient is appended to a list on its way back."""

    @staticmethod
    def forward(context, images, lengths):
        context.lengths = lengths
        return images.view_as(images)

    @staticmethod
    def backward(context, pull):
        context.lengths.append(pull.double().flatten(1).norm(dim=1))
        return pull, None


def _spread(watched, clean, steps):
    """TRACED of all images of a batch, from those of the images that are right without an attack."""
    counts = {"loss": steps + 1, "right_at": steps + 1, "zero_gradient": steps, "exploding": steps}
    whole = {
        name: torch.zeros(n, len(clean), dtype=torch.bool, device=clean.device) for name, n in counts.items()
    }
    whole["loss"] = torch.full_like(whole["loss"], torch.nan, dtype=torch.float64)
    for name, values in watched.trace().items() if watched else ():
        whole[name][:, clean] = values
    return whole


def _effort_rows(plan, done):
    """The accuracy rows, in the order of `done`'s outcomes."""
    places = [(run, starts) for run in plan for starts in run.starts]
    for i, (run, starts) in enumerate(places):
        row = {"attack": run.attack, "attack_steps": run.steps, "restarts": starts}
        for name in COSTS if done["clean"].any() else ():
            row[name] = float(np.nanmean(done[name][i]))
        yield row | share("accuracy", torch.from_numpy(done["right"][i]))


def _trace_rows(run, done):
    """The rows of single iterations, and of whole runs, of the longest PGD from the image."""
    where, clean = {"attack": run.attack, "attack_steps": run.steps, "restarts": 1}, done["clean"]
    traced = {name: torch.from_numpy(done[name]) for name in TRACED}
    for i in shown(run.steps):
        here = where | {"iteration": i}
        yield here | share("running_accuracy", traced["right_at"][i])
        if clean.any():
            yield here | quartiles("loss", traced["loss"][i, clean])
            for name in ("zero_gradient", "exploding") if i < run.steps else ():
                yield here | share(name, traced[name][i, clean])
    for name in ("zero_gradient", "exploding") if clean.any() else ():
        yield where | share(name, traced[name][:, clean].any(0))


def flattened(result):
    """(whether PGD has shown what it can do, the last change of accuracy in points) of a result of
    "iterations": with the most starts, the two longest runs must differ by less than half a point, and so
    must the longest one after the last two counts of starts.
    """
    found = _pgd(result)
    (shorter, longest), (fewer, most) = (sorted(set(n))[-2:] for n in zip(*found, strict=True))
    last = found[longest, most]
    change = max(abs(found[shorter, most] - last), abs(found[longest, fewer] - last))
    return change < FLAT, 100 * change


def left_within(result, cost, budget):
    """The lowest accuracy in a result of "iterations" that an attack reaches within a budget of one of
    `COSTS` an image, nan where none is that cheap.
    """
    table = result.table[result.table.metric == "accuracy"]
    return float(table.value[table[one_of("cost", cost, COSTS)] <= budget].min())


def course(result, metric):
    """(iterations, values) of one metric of the longest PGD from the image: "loss" (medians),
    "running_accuracy", "zero_gradient" or "exploding". result: of "iterations". Raises InputError for another
    metric.
    """
    table = result.table[result.table.iteration.notna()]
    chosen = table[table.metric == one_of("metric of an iteration", metric, dict.fromkeys(table.metric))]
    return chosen.iteration.astype(int).tolist(), chosen.value.tolist()


def by_steps(result):
    """(steps, accuracies) of PGD from the image, the longer the later."""
    found = _pgd(result)
    steps = sorted(n for n, starts in found if starts == 1)
    return steps, [found[n, 1] for n in steps]


def by_restarts(result):
    """(starts, accuracies) of the longest PGD, after more and more starts the worst of them."""
    found = _pgd(result)
    longest = max(found)[0]
    starts = sorted(starts for n, starts in found if n == longest)
    return starts, [found[longest, n] for n in starts]


def _pgd(result):
    """{(steps, starts): accuracy} of PGD."""
    table = result.table[(result.table.metric == "accuracy") & (result.table.attack == "pgd")]
    return {(int(r.attack_steps), int(r.restarts)): float(r.value) for r in table.itertuples()}

"""How semantic are the changes that an attack makes? Open question 3 of the paper, measured of one network:
what independent judges make of its perturbations, whether its gradients point at classes, and what its
changes look like. Definitions are those of `eplib.semantics_metrics`, changes those of
`eplib.semantics_changes`.
"""

import numpy as np
import torch

from eplib import semantics_changes as changes
from eplib import semantics_metrics as metrics
from eplib import studies, suite
from eplib.attacks import AttackedModel, predicted
from eplib.checks import InputError, check_labels
from eplib.parts import in_parts

SHAPES = ("length", "low", "slope", "similarity", "edges", "hoyer", "variation")  # of every change
AGREEMENT = ("consistency", "guessed")  # of changes towards a class
TRAINING = (
    10_000  # training images that prototypes and neighbours are taken from, the first in canonical order
)
GRADIENTS = ("etmann", "etmann_centred", "prototype", "neighbour")  # at the image itself


def measure(net, images, labels, sizes, judges, training, folder=None, progress=True):
    """`Found` of how semantic the changes of images are that attacks on `net` make.

    sizes: epsilons and factors (`semantics_changes.settings`), steps (of PGD), minimal_steps (of DDN),
    ascent_steps and starts (`semantics_changes.synthesised`), batch. judges: {model: network}, which are
    shown the changed images. training: (images, labels) that prototypes, nearest neighbours and real
    differences are taken from. folder: see `parts.in_parts`.

    Rows, for every `Setting` (columns condition, amount, goal, change): "accuracy" of `net` itself; over the
    images that it has right, means of SHAPES, of "reached" (`net` says the target, or another class than the
    true one) and, by judge (column judge), of "shift" and "judged"; for changes towards a class also of
    AGREEMENT. "shift": how far the judge's z_target − z_true has moved, or without a target its max_{j≠y} z_j
    − z_y, in its logits. "judged": whether the judge says what "reached" asks for. Then means of GRADIENTS
    and "judge_gradient" (the cosine of the gradients of z_target − z_true of `net` and the judge), and
    "inversion": the share of synthesised images that a judge recognises. Arrays: the same per image, float16,
    [settings, N] or [N], with judges in the names. Raises InputError for bad input.
    """
    net.check(images)
    check_labels(labels, images, net.classes)
    if not judges:
        raise InputError("no judges: give at least one {model name: network}")
    model, seers = AttackedModel(net), {name: AttackedModel(j) for name, j in judges.items()}
    suite.check_model(model, images)
    wanted = changes.targets(labels, net.classes)
    generator = torch.Generator().manual_seed(changes.SEED)
    noise = torch.randn(images.shape, generator=generator).to(images)
    references = _references(training, wanted, generator)
    shown = changes.settings(sizes)

    def part(rows):
        x, y, t = images[rows], labels[rows], wanted[rows]
        made = _made(model, x, y, t, sizes, noise[rows], references[rows], shown)
        values = _seen(model, seers, x, y, t, made, shown)
        values |= _aligned(model, seers, x, y, t, training)
        delta = [z - x for z, s in zip(made, shown, strict=True) if s.goal == "targeted"]
        values["delta"] = torch.stack([d.flatten(1).T for d in delta]).half()
        values["clean"] = predicted(model, x) == y
        return {name: v.cpu().numpy() for name, v in values.items()}

    found, seconds = in_parts(len(images), sizes["batch"], part, "semantics", folder, progress)
    clean, correct = found.pop("clean"), found.pop("correct")
    found |= _agreeing(torch.from_numpy(found.pop("delta")), wanted.cpu(), shown)
    rows = _rows(found, clean, correct, shown, seers)
    rows += _inverted(model, seers, sizes)
    where = {"norm": "l2", "labels": "true", "gradient": model.gradient, "predict_steps": model.steps}
    where |= {"order": model.order, "attack_steps": sizes["steps"]}
    arrays = {name: v.astype("float16") for name, v in found.items()}
    return studies.Found([where | row for row in rows], clean, correct, arrays, seconds)


def _references(training, wanted, generator):
    """A real image of the class wanted for every image, drawn at random."""
    images, labels = training
    places = []
    for c in wanted.tolist():
        of_class = (labels == c).nonzero()[:, 0]
        if not len(of_class):
            raise InputError(f"no training image of class {c}: give some of every class")
        places.append(of_class[torch.randint(len(of_class), (1,), generator=generator)])
    return images[torch.cat(places)]


def _made(model, x, y, t, sizes, noise, references, shown):
    """Changed images, one batch a `Setting`; a control is as long as the attack before it."""
    minimal = changes.smallest(model, x, y, t, sizes["minimal_steps"])
    made, directions, lengths = [], {}, None
    for s in shown:
        if s.change == "attack":
            z = changes.attacked(model, x, y, t, s, sizes["steps"], minimal[s.goal])
            directions = changes.controls(x, z - x, noise, references, t)
            lengths = (z - x).flatten(1).norm(dim=1)
        else:
            z = changes.moved(x, directions[s.change], lengths)
        made.append(z)
    return made


@torch.no_grad()
def _seen(model, seers, x, y, t, made, shown):
    """{name: [settings, n]}: what a change looks like, and what it does to the network and to judges."""
    before = {name: seer(x) for name, seer in seers.items()}
    columns = []
    for z, s in zip(made, shown, strict=True):
        change, own = z - x, model(z).argmax(1)
        length = change.flatten(1).norm(dim=1)
        column = {
            "length": length,
            "low": metrics.low_share(change),
            "slope": metrics.slope(change),
            "similarity": metrics.similarity(x, z).to(x.device),
            "edges": metrics.on_edges(x, change),
            "hoyer": metrics.hoyer(change),
            "variation": metrics.variation(change),
            "reached": own == t if s.goal == "targeted" else own != y,
        }
        for name, seer in seers.items():
            logits = seer(z)
            column[f"shift {name}"] = _lead(logits, y, t, s.goal) - _lead(before[name], y, t, s.goal)
            answer = logits.argmax(1)
            column[f"judged {name}"] = answer == t if s.goal == "targeted" else answer != y
        none = length == 0  # nothing was found, so nothing can be said
        kept = {k: v.double().masked_fill(none, torch.nan) for k, v in column.items()}
        columns.append(kept | {"correct": own == y})
    return {name: torch.stack([c[name] for c in columns]) for name in columns[0]}


def _lead(logits, y, t, goal):
    """[N]: z_target − z_true, or of the best other class without a target."""
    true = logits.gather(1, y[:, None])[:, 0]
    if goal == "targeted":
        return logits.gather(1, t[:, None])[:, 0] - true
    return logits.scatter(1, y[:, None], -torch.inf).amax(1) - true


def _aligned(model, seers, x, y, t, training):
    """{name: [n]}: where gradients at the images themselves point."""

    def own(logits, wanted):
        return logits.gather(1, wanted[:, None])[:, 0]

    def top(logits, _):
        best = logits.topk(2).values
        return best[:, 0] - best[:, 1]

    def against(logits, wanted):
        return _lead(logits, y, wanted, "targeted")

    others, labels = training
    first = changes.differentiated(model, x, top, t)
    toward = changes.differentiated(model, x, own, t)
    margin = changes.differentiated(model, x, against, t)
    means = metrics.prototypes(others, labels, model.net.classes)
    found = {
        "etmann": metrics.alignment(x, first),
        "etmann_centred": metrics.alignment(x, first, centred=True),
        "prototype": metrics.cosine(toward, means[t] - x),
        "neighbour": metrics.cosine(toward, metrics.nearest(x, t, others, labels) - x),
    }
    for name, seer in seers.items():
        found[f"judge_gradient {name}"] = metrics.cosine(margin, changes.differentiated(seer, x, against, t))
    return found


def _agreeing(delta, wanted, shown):
    """{name: [settings, N]} of AGREEMENT; NaN for untargeted changes. delta: [targeted settings, P, N]."""
    found = {name: np.full((len(shown), len(wanted)), np.nan) for name in AGREEMENT}
    places = [i for i, s in enumerate(shown) if s.goal == "targeted"]
    for i, change in zip(places, delta, strict=True):
        agreement, guessed = metrics.consistency(change.T, wanted)
        found["consistency"][i] = agreement.numpy()
        found["guessed"][i] = np.where(agreement.isnan().numpy(), np.nan, guessed.numpy())
    return found


def _rows(found, clean, correct, shown, seers):
    """The rows of a result over the images that are right."""
    rows = []
    for i, s in enumerate(shown):
        where = {"condition": s.condition, "amount": s.amount, "goal": s.goal, "change": s.change}
        where |= {"epsilon": s.amount} if s.condition == "budget" else {}
        rows.append(where | studies.share("accuracy", torch.from_numpy(correct[i].copy())))
        for name in (*SHAPES, "reached", *(AGREEMENT if s.goal == "targeted" else ())):
            rows.append(where | _mean(name, found[name][i][clean]))
        for judge in seers:
            for name in ("shift", "judged"):
                rows.append(where | {"judge": judge} | _mean(name, found[f"{name} {judge}"][i][clean]))
    rows += [_mean(name, found[name][clean]) for name in GRADIENTS]
    return rows + [
        {"judge": judge} | _mean("judge_gradient", found[f"judge_gradient {judge}"][clean]) for judge in seers
    ]


def _mean(metric, values):
    """A row: the mean and standard deviations around it, over the images where there is a value."""
    values = values[np.isfinite(values)].astype("float64")
    if not len(values):
        return {"metric": metric, "value": np.nan, "low": np.nan, "high": np.nan, "n": 0}
    middle, spread = values.mean(), values.std()
    found = {"value": middle, "low": middle - spread, "high": middle + spread}
    return {"metric": metric, **{k: float(f"{v:.5g}") for k, v in found.items()}, "n": len(values)}


def _inverted(model, seers, sizes):
    """Rows: the share of the images synthesised on `model` that each judge recognises."""
    images, wanted = changes.synthesised(model, sizes["starts"], sizes["ascent_steps"])
    rows = []
    for judge, seer in seers.items():
        row = studies.share("inversion", predicted(seer, images) == wanted)
        rows.append({"judge": judge, "n": len(images)} | row)
    return rows

"""What equilibria, input gradients and outcomes of attacks owe to the number format they are computed in."""

import numpy as np
import torch
import torch.nn.functional as F

from eplib import arithmetic, suite
from eplib.arithmetic import FORMATS, computing
from eplib.attacks import ThreatModel, fitting, free_memory, predicted
from eplib.checks import check_labels
from eplib.lockstep import (
    CASES,
    COMPARED,
    EXACT,
    LIVE,
    answers,
    format_of,
    given,
    shown,
    side_by_side,
)
from eplib.network import EPCNN
from eplib.parts import in_parts
from eplib.studies import Found, quartiles, share

LONG_ORDER = "synchronous"  # of the long free phase, as the paper's
BOOK = "float32"  # what this book computes in
ALONE, AGAIN = "float32, one image at a time", "float32, once more"
DITHER = 1 / 255  # the share of noise that keeps pixels from being equal
RESAMPLES = 2000


def exactness(net, images, labels, sizes, folder=None, progress=True):
    """`Found` of one network in every number format of `arithmetic`, beside float64.

    sizes: norm, epsilon and steps of the PGD attack, long (steps of a second, synchronous free phase), batch
    (images at a time). folder: where finished parts are kept (`parts.in_parts`). Columns: precision (a
    format; `lockstep.CONTROL`, float64 with an image changed by a relative 1e-6; `ALONE` and `AGAIN`),
    against (what it is compared with), emulated, arg_max (see `lockstep`), judge ("own": the format of the
    attack, or "float64"). Shares have Wilson intervals, all else is a median with its quartiles, where
    nothing else is said. Rows:

    answers, after the own free phase of an EP-CNN and after the long one: accuracy, class_differs,
    logit_difference (the largest of an image); of an EP-CNN also residual, units_differ (share of an image's
    units that differ by more than 0.01: mean and its 95 % bootstrap interval), pattern_differs (share of
    images in which an active unit has another arg-max), apart_after (the first step after which a unit
    differs by more than 0.01, inf for none), switched_before (of the images that came apart, the share in
    which such an arg-max differed at an earlier step), difference (the largest of an image's units, after
    predict_steps steps);

    the gradient that the attack starts with: gradient_cosine, sign_agreement, norm_ratio, zero_gradient, and
    dithered_cosine, the cosine where no two pixels are equal, so that no window of a max-pooling is tied;

    the attack: accuracy, outcome_differs, and of float32 dithered_outcome_differs; of `AGAIN` identical, the
    share of images with bitwise the same logits and attacked pixels. Raises InputError for bad input.
    """
    net.check(images)
    check_labels(labels, images, net.classes)
    threat = ThreatModel(sizes["norm"], sizes["epsilon"])
    models = {name: arithmetic.model(net, name) for name in FORMATS}
    schedules = [None]
    if isinstance(net, EPCNN):  # a network whose own free phase is the long one has it once
        schedules = list(dict.fromkeys([(net.steps, net.order), (sizes["long"], LONG_ORDER)]))
    batch = fitting(sizes["batch"], models[EXACT].bytes_an_image(), free_memory(images.device))

    def part(rows):
        x, y, found = images[rows], labels[rows], {}
        for i, schedule in enumerate(schedules):
            beside = side_by_side(net, x, *schedule) if schedule else answers(models, x)
            found |= {f"{name}_{i}": value for name, value in beside.items()}
        found |= slopes(models, x, y) | attacked(models, x, y, threat, sizes["steps"])
        return {name: value.cpu().numpy() for name, value in found.items()}

    arrays, seconds = in_parts(len(images), batch, part, "number formats", folder, progress)
    found = {name: torch.from_numpy(value) for name, value in arrays.items()}
    rows, correct = [], []
    for i, schedule in enumerate(schedules):
        here = {name.removesuffix(f"_{i}"): v for name, v in found.items() if name.endswith(f"_{i}")}
        where = dict(zip(("predict_steps", "order"), schedule or (None, None), strict=True))
        correct.append(here["classes"][: len(FORMATS)] == labels.cpu())
        rows += [where | _of(f) | share("accuracy", r) for f, r in zip(FORMATS, correct[-1], strict=True)]
        rows += [where | row for row in _answers(here)]
        rows += [where | row for row in (_states(here, schedule[0]) if schedule else ())]
    made = {"predict_steps": models[BOOK].steps, "order": models[BOOK].order}
    rows += [made | row for row in _gradients(found)]
    made |= {"attack": "pgd", "norm": threat.norm, "epsilon": threat.epsilon, "labels": "true"}
    made |= {"attack_steps": sizes["steps"], "gradient": models[BOOK].gradient}
    rows += [made | row for row in _outcomes(found)]
    correct += [found["own"], found["exact"], found["alone"][None]]
    for row in rows:
        row["emulated"] = arithmetic.emulated(format_of(row["precision"]), images.device)
    kept = {name: v for name, v in arrays.items() if not name.startswith("difference")}  # most of the bytes
    return Found(rows, arrays["before"], torch.cat(correct).numpy(), kept, seconds)


def slopes(models, images, labels):
    """The input gradient of the mean cross-entropy, as PGD takes it first, beside float64's: cosine, sign
    agreement, norm ratio and the cosine on dithered images, each [compared, N], and zero [1 + compared, N],
    float64 first.

    models: {format: `arithmetic.model`}.
    """
    exact, *others = _slopes(models, images, labels)
    dithered, *beside = _slopes(models, _dithered(images), labels)
    tiny, norm = torch.finfo(torch.float64).tiny, exact.norm(dim=1)
    return {
        "cosine": torch.stack([_cosine(g, exact) for g in others]),
        "signs": torch.stack([(g.sign() == exact.sign()).double().mean(1) for g in others]),
        "ratio": torch.stack([g.norm(dim=1) / norm.clamp_min(tiny) for g in others]),
        "dithered": torch.stack([_cosine(g, dithered) for g in beside]),
        "zero": torch.stack([(g == 0).all(1) for g in (exact, *others)]),
    }


def _dithered(images):
    """Images in which no two pixels are equal."""
    noise = torch.rand(images.shape, generator=torch.Generator().manual_seed(0)).to(images)
    return images + DITHER * (noise - images)


def _slopes(models, images, labels):
    """The gradients, [N, pixels] in float64, for float64 and each of `COMPARED`."""
    found = []
    for name in (EXACT, *COMPARED):
        x = given(images, name).clone().requires_grad_()
        with torch.enable_grad(), computing(format_of(name), images.device):
            loss = F.cross_entropy(models[format_of(name)](x), labels)
            found.append(torch.autograd.grad(loss, x)[0].double().flatten(1))
    return found


def _cosine(a, b):
    """[N]: the cosine of rows, 0 where one is zero. They are made unit vectors first, as the product of two
    small norms may be zero.
    """
    tiny = torch.finfo(a.dtype).tiny
    a, b = (g / g.norm(dim=1, keepdim=True).clamp_min(tiny) for g in (a, b))
    return (a * b).sum(1)


def attacked(models, images, labels, threat, steps):
    """PGD in every format, bool arrays: own [formats, N], right before and under it by the format's own
    answers; exact [formats − 1, N], by those of float64; before [N], right in float32; alone [N], as `own`
    with one image at a time in float32; alone_class [N], whether it has another class then; again [N],
    whether a second run in float32 is bitwise the same; dithered_outcome [N], whether float32's own outcome
    on a dithered image differs from float64's.
    """

    def search(model, x, y):
        found = suite.checked(model, x, y, threat, "pgd", steps, seed=0)  # which uses no seed
        return found, (predicted(model, x) == y) & (predicted(model, found) == y)

    own, exact, found = {}, [], {}
    clean = predicted(models[EXACT], images.double()) == labels
    for name, model in models.items():
        with computing(name, images.device):
            found[name], own[name] = search(model, given(images, name), labels)
        exact.append(clean & (predicted(models[EXACT], found[name].double()) == labels))
    model, x = models[BOOK], given(images, BOOK)
    with torch.no_grad():
        logits, again, second = model(x), model(x), search(model, x, labels)[0]
        one = torch.cat([model(image) for image in x.split(1)])
    singly = zip(x.split(1), labels.split(1), strict=True)
    fine = _dithered(images)
    dithered = [search(models[name], given(fine, name), labels)[1] for name in (EXACT, BOOK)]
    return {
        "own": torch.stack(list(own.values())),
        "exact": torch.stack(exact[1:]),
        "before": logits.argmax(1) == labels,
        "alone": torch.cat([search(model, image, label)[1] for image, label in singly]),
        "alone_class": one.argmax(1) != logits.argmax(1),
        "again": (logits == again).all(1) & (found[BOOK] == second).flatten(1).all(1),
        "dithered_outcome": dithered[0] != dithered[1],
    }


def _of(precision, against=EXACT, **columns):
    """The columns that say what is compared with what."""
    return {"precision": precision, "against": None if precision == against else against, **columns}


def _answers(here):
    """Rows about classes and logits."""
    exact, classes = here["classes"][0], here["classes"][1:]
    for (name, arg_max), now, logits in zip(CASES, classes, here["logits"], strict=False):
        case = _of(name, arg_max=arg_max if "units" in here else None)
        yield case | share("class_differs", now != exact)
        yield case | quartiles("logit_difference", logits)


def _states(here, steps):
    """Rows about the states of an EP-CNN."""
    for j, (name, arg_max) in enumerate(CASES):
        case = _of(name, arg_max=arg_max)
        yield case | _mean("units_differ", here["units"][j])
        yield case | quartiles("apart_after", here["apart"][j])
        for t, difference in zip(shown(steps), here["difference"][j], strict=True):
            yield case | quartiles("difference", difference) | {"predict_steps": t}
        if arg_max == LIVE:
            yield case | share("pattern_differs", here["pattern"][j])
            came = here["apart"][j].isfinite()
            if came.any():
                yield case | share("switched_before", (here["switched"] < here["apart"])[j][came])
    for name, residual in zip((EXACT, *COMPARED), here["residual"], strict=True):
        yield _of(name, arg_max=LIVE) | quartiles("residual", residual)


def _gradients(found):
    """Rows about the input gradient."""
    metrics = {
        "cosine": "gradient_cosine",
        "signs": "sign_agreement",
        "ratio": "norm_ratio",
        "dithered": "dithered_cosine",
    }
    for j, name in enumerate(COMPARED):
        for key, metric in metrics.items():
            yield _of(name) | quartiles(metric, found[key][j])
    for name, zero in zip((EXACT, *COMPARED), found["zero"], strict=True):
        yield _of(name) | share("zero_gradient", zero)


def _outcomes(found):
    """Rows about attacks; those of accuracy first, in the order of own, exact and alone."""
    own, exact, alone = found["own"], found["exact"], found["alone"]
    yield from (_of(f, judge="own") | share("accuracy", r) for f, r in zip(FORMATS, own, strict=True))
    yield from (_of(f, judge=EXACT) | share("accuracy", r) for f, r in zip(FORMATS[1:], exact, strict=True))
    yield _of(ALONE, judge="own") | share("accuracy", alone)
    for j, name in enumerate(FORMATS[1:]):
        yield _of(name, judge="own") | share("outcome_differs", own[j + 1] != own[0])
        yield _of(name, judge=EXACT) | share("outcome_differs", exact[j] != own[0])
    yield _of(ALONE, BOOK, judge="own") | share("outcome_differs", alone != own[FORMATS.index(BOOK)])
    yield _of(ALONE, BOOK) | share("class_differs", found["alone_class"])
    yield _of(AGAIN, BOOK) | share("identical", found["again"])
    yield _of(BOOK, judge="own") | share("dithered_outcome_differs", found["dithered_outcome"])


def _mean(metric, values):
    """A row: the mean over images with its 95 % bootstrap interval."""
    rng, values = np.random.default_rng(0), values.numpy()
    means = values[rng.integers(0, len(values), (RESAMPLES, len(values)))].mean(1)
    low, high = np.quantile(means, [0.025, 0.975]).tolist()
    return {"metric": metric, "value": float(values.mean()), "low": low, "high": high, "n": len(values)}

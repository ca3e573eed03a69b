"""Attack horizon × prediction horizon: attacks whose gradient sees one part of the free phase, judged by
predictions after other numbers of steps.

All phases are synchronous, as in the paper, but for the prediction "own". The other of the predictions that
have a name is "converged": the free phase goes on from the longest one counted until it stands still, and at
most to `CAP` steps; an image has converged when one more step would move no unit by `SETTLED` or more.
"""

import numpy as np
import torch
import torch.nn.functional as F

from eplib import suite
from eplib.attacks import AttackedModel, ThreatModel, fitting, free_memory
from eplib.checks import InputError, check_labels
from eplib.dynamics import settle
from eplib.network import EPCNN
from eplib.parts import in_parts
from eplib.studies import Found, share

ORDER = "synchronous"
SETTLED, CAP = 1e-4, 1000  # residual below which an image has converged, and steps it is given
STILL = SETTLED / 10  # it stops after a step that moved no unit by more: below it may move more once again
LEAKY_STEPS = 20  # the leaky backward pass goes through so many last steps
SHOWN = 8  # images whose perturbations are kept


def horizons(net, images, labels, sizes, folder=None, progress=True):
    """`Found` of PGD (`attacks.pgd`, true labels) with every gradient, judged at every prediction horizon.

    sizes: norm, epsilons (pixel units of [0, 1]), attacked ([steps, gradient] each, see `attacker`),
    predicted (steps, ascending, at most `CAP`), steps (of PGD), batch (images at a time, fewer where memory
    is short). folder: where finished parts are kept, see `parts.in_parts`. An image counts as right under an
    attack when its prediction at that horizon is its label without the attack and under it.

    Rows: accuracy (Wilson interval), first without attack (ε 0, attack "none") for every prediction, then
    for every ε, attack (columns attack_horizon, gradient) and prediction (column prediction: steps, "own",
    "converged"). "unsettled", the share of images that did not converge. For every attack "zero_gradient",
    the share of images at which its first gradient is zero, and with "adjoint" at every ε "fallback", the
    share of its gradients that were unrolled because a state or the adjoint had not settled. Arrays, of the
    first n ≤ `SHOWN` images: changes int8 [E, A, n, C, H, W] and peaks [E, A, n] (see `encoded`), predicted
    int16 [E, A, P, n] and predicted_clean int16 [P, n]. Raises InputError for bad input and for a network
    without a free phase.
    """
    if not isinstance(net, EPCNN):
        raise InputError("horizons of a network without a free phase: measure an energy-based network")
    net.check(images)
    check_labels(labels, images, net.classes)
    threats = [ThreatModel(sizes["norm"], e) for e in sizes["epsilons"]]
    attacks, steps = [attacker(net, *a) for a in sizes["attacked"]], sizes["predicted"]
    if sorted({0, *steps, CAP}) != [0, *steps, CAP]:
        raise InputError(f"predicted after {steps} steps: give numbers between 0 and {CAP}, ascending")
    batch = fitting(sizes["batch"], max(a.bytes_an_image() for a in attacks), free_memory(images.device))

    def part(x, y, kept):
        suite.check_model(AttackedModel(net), x)
        clean, unsettled = predictions(net, x, steps)
        found = {"clean": clean, "unsettled_clean": unsettled}
        found["zero"] = torch.stack([_flat(a, x, y) for a in attacks])
        cells = [_cells(net, a, x, y, threats, sizes["steps"], steps, kept) for a in attacks]
        found |= {key: torch.stack([c[key] for c in cells], 1) for key in cells[0]}
        return {key: value.cpu().numpy() for key, value in found.items()}

    def parts(start, stop, size, kept):
        """The images from start to stop, in parts of `size`."""
        x, y, name = images[start:stop], labels[start:stop], f"horizons, {stop - start} images"
        within = folder and folder / ("shown" if kept else "others")
        return in_parts(stop - start, size, lambda rows: part(x[rows], y[rows], kept), name, within, progress)

    shown = min(SHOWN, len(images))
    done, seconds = parts(0, shown, shown, True)
    arrays = {key: np.moveaxis(done.pop(key), -1, 2) for key in ("changes", "peaks")}
    arrays |= {
        "predicted": done["predicted"].astype("int16"),
        "predicted_clean": done["clean"].astype("int16"),
    }
    if len(images) > shown:
        others, more = parts(shown, len(images), batch, False)
        done = {key: np.concatenate([value, others[key]], -1) for key, value in done.items()}
        seconds += more
    rows, clean, correct = _rows(net, done, labels.cpu().numpy(), sizes)
    return Found(rows, clean, correct, arrays, seconds)


def attacker(net, steps, gradient):
    """The `AttackedModel` whose gradient comes from so many synchronous steps: "unrolled", exactly through
    all of them; "leaky", through the last `LEAKY_STEPS`; "adjoint" or "ep", at the state they end in.
    """
    last = LEAKY_STEPS if gradient == "leaky" else None
    return AttackedModel(net, steps, ORDER, gradient, last=last)


@torch.no_grad()
def predictions(net, images, steps):
    """(predicted classes int64 [len(steps) + 2, N]: after so many synchronous steps, ascending, then "own"
    and "converged"; bool [N]: which images did not converge).
    """
    run, before, found = None, 0, []
    for step in steps:
        run = settle(net, images, step - before, ORDER, start=run)
        before = step
        found.append(run.logits)
    settled = settle(net, images, CAP - before, ORDER, start=run, tolerance=STILL)
    logits = torch.stack([*found, settle(net, images).logits, settled.logits])
    return logits.argmax(2), settled.residual >= SETTLED


def named(steps):
    """The names of `predictions`."""
    return (*map(str, steps), "own", "converged")


def encoded(changes):
    """Changes of images [N, C, H, W] -> (int8 of the same shape, peaks float32 [N]): the largest change of an
    image is ±127, so that change ≈ int8 · peak / 127.
    """
    peaks = changes.flatten(1).abs().amax(1)
    scale = torch.where(peaks > 0, 127 / peaks, peaks)[:, None, None, None]
    return (changes * scale).round().to(torch.int8), peaks.float()


def _cells(net, attacked, x, y, threats, attack_steps, steps, kept):
    """One attack at every ε: {"predicted" [E, P, N], "unsettled" [E, N], "fallbacks" [E, N]: how often the
    batch fell back, at its first image, and where kept "changes" [E, C, H, W, N] and "peaks" [E, N]}.
    """
    cells = []
    for threat in threats:
        before = attacked.fallbacks
        adversarial = suite.checked(attacked, x, y, threat, "pgd", attack_steps, seed=0)  # which uses no seed
        predicted, unsettled = predictions(net, adversarial, steps)
        fallbacks = torch.zeros_like(y)
        fallbacks[0] = attacked.fallbacks - before
        cell = {"predicted": predicted, "unsettled": unsettled, "fallbacks": fallbacks}
        if kept:
            changes, peaks = encoded(adversarial - x)
            cell |= {"changes": changes.movedim(0, -1), "peaks": peaks}
        cells.append(cell)
    return {key: torch.stack([c[key] for c in cells]) for key in cells[0]}


def _flat(attacked, x, y):
    """bool [N]: the images at which the gradient of this attack's loss is zero."""
    before = attacked.fallbacks
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        gradient = torch.autograd.grad(F.cross_entropy(attacked(x), y, reduction="sum"), x)[0]
    attacked.fallbacks = before  # those are counted over the attack's own steps
    return (gradient == 0).flatten(1).all(1)


def _rows(net, done, labels, sizes):
    """(rows, right by the own free phase bool [N], right bool [accuracy rows, N])."""
    names, rows, correct = named(sizes["predicted"]), [], []
    phases = dict.fromkeys(names, (None, ORDER)) | {"own": (net.steps, net.order)}
    phases |= {str(steps): (steps, ORDER) for steps in sizes["predicted"]}
    threat = {"norm": sizes["norm"], "labels": "true"}

    def judged(where, right, unsettled):
        for name, outcome in zip(names, right, strict=True):
            steps, order = phases[name]
            at = {"prediction": name, "predict_steps": steps, "order": order}
            rows.append(where | at | share("accuracy", torch.from_numpy(outcome)))
            correct.append(outcome)
        at = {"prediction": "converged", "order": ORDER}
        rows.append(where | at | share("unsettled", torch.from_numpy(unsettled)))

    clean = done["clean"] == labels
    judged(threat | {"epsilon": 0.0, "attack": "none"}, clean, done["unsettled_clean"])
    pgd = threat | {"attack": "pgd", "attack_steps": sizes["steps"]}
    by = [pgd | {"attack_horizon": t, "gradient": gradient} for t, gradient in sizes["attacked"]]
    for attack, zero in zip(by, done["zero"], strict=True):
        rows.append(attack | share("zero_gradient", torch.from_numpy(zero)))
    for e, epsilon in enumerate(sizes["epsilons"]):
        for a, attack in enumerate(by):
            where = attack | {"epsilon": epsilon}
            judged(where, clean & (done["predicted"][e, a] == labels), done["unsettled"][e, a])
            if attack["gradient"] == "adjoint":
                count = len(labels) * sizes["steps"]
                fell = int(done["fallbacks"][e, a].sum())
                rows.append(where | {"metric": "fallback", "value": fell / count, "n": count})
    return rows, clean[names.index("own")], np.array(correct)


def outcomes(result):
    """(bool [P, N] without attack, bool [E, A, P, N] under every attack): which images are right, of a result
    of "horizons"; axes in the order of its sizes' epsilons, attacked and of `named(predicted)`.
    """
    sizes = result.settings["sizes"]
    shape = (len(sizes["epsilons"]), len(sizes["attacked"]), len(sizes["predicted"]) + 2)
    clean, attacked = result.correct[: shape[2]], result.correct[shape[2] :]
    return clean, attacked.reshape(*shape, -1)


def _place(kind, value, values):
    """The place of an ε or a prediction in a result; InputError naming what there is otherwise."""
    if value not in values:
        raise InputError(f"{kind} {value!r} was not measured: give one of {', '.join(map(str, values))}")
    return list(values).index(value)


def _under(result, epsilon, prediction):
    """(right without attack bool [N], right under every attack bool [A, N]) at an ε and a prediction."""
    clean, right = outcomes(result)
    e = _place("ε", epsilon, result.epsilons)
    p = _place("prediction", prediction, named(result.settings["sizes"]["predicted"]))
    return clean[p], right[e, :, p]


def right(result, epsilon, attack, prediction):
    """bool [N]: which images one attack, [steps, gradient], leaves right at one ε and prediction. Raises
    InputError for others than were measured.
    """
    attacked = [tuple(a) for a in result.settings["sizes"]["attacked"]]
    return _under(result, epsilon, prediction)[1][_place("attack", tuple(attack), attacked)]


def worst_case(result, epsilon, prediction):
    """bool [N]: which images are right under every attack of the matrix, at one ε and prediction. Raises
    InputError for others than were measured.
    """
    return _under(result, epsilon, prediction)[1].all(0)


def by_cell(result, epsilon):
    """float [A + 2, P]: accuracy without attack, under every attack, and in the worst case over all attacks
    for each image. Raises InputError for an ε that was not measured.
    """
    clean, right = outcomes(result)
    right = right[_place("ε", epsilon, result.epsilons)]
    return np.concatenate([clean[None], right, right.all(0)[None]]).mean(2)


def breaks(result, epsilon, prediction):
    """[(images that an attack breaks, those that no other attack of the matrix breaks)], one an attack.
    Raises InputError as `worst_case`.
    """
    clean, right = _under(result, epsilon, prediction)
    broken = clean & ~right
    alone = broken & (broken.sum(0) == 1)
    return list(zip(broken.sum(1).tolist(), alone.sum(1).tolist(), strict=True))


def widest_gap(result):
    """(places of ε, attack and prediction, gap): where the accuracy under one attack says most more than the
    worst case over all attacks at this prediction; the first of several.
    """
    right = outcomes(result)[1]
    gap = right.mean(3) - right.all(1, keepdims=True).mean(3)
    place = np.unravel_index(int(gap.argmax()), gap.shape)
    return tuple(map(int, place)), float(gap[place])


def words(steps, gradient):
    """(short, long) words for an attack."""
    return {
        "unrolled": (f"{steps} steps", f"exact gradient through {steps} steps"),
        "adjoint": (f"adjoint, {steps}", f"adjoint at the state after {steps} steps"),
        "ep": (f"EP, {steps}", f"gradient by the learning rule at the state after {steps} steps"),
        "leaky": (f"leaky, {steps}", f"leaky gradient through the last {LEAKY_STEPS} of {steps} steps"),
    }[gradient]

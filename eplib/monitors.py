"""What a training run watches in an EP-CNN, once an epoch, and the words it finds for what goes wrong."""

import torch

from eplib import dynamics

DEAD, SATURATED, UNSETTLED = 0.85, 0.5, 0.5  # shares of units, and a median residual, above which to warn
# Relative sizes of one update, at the full learning rate, outside which to warn. Chosen on the runs of
# `eplib.failures` with seed 11: those that learnt had 1e-3 to 1.6e-2.
STILL, RUNAWAY = 5e-4, 2e-2
GUESSING = 1.5  # times the share of one class: an accuracy below that is a guess
COLLAPSED = 0.5  # share of its best robust accuracy below which adversarial training has collapsed
SCHEDULED = 0.01  # below this share of the full learning rate an update's size says nothing


@torch.no_grad()
def states(net, images, steps):
    """The state after `steps` free steps on images in [0, 1].

    Returns {"residual": median over images, "dead": [share of unit activations at 0, one a layer],
    "saturated": [share at 1, one a layer]}.
    """
    settled = dynamics.settle(net, images, steps)
    return {
        "residual": settled.residual.median().item(),
        "dead": [(s == 0).double().mean().item() for s in settled.states],
        "saturated": [(s == 1).double().mean().item() for s in settled.states],
    }


@torch.no_grad()
def update_sizes(net, before):
    """‖change‖ / ‖weight‖ of every weight tensor since `before` ({name: tensor}), {name: number}."""
    return {
        name: ((p - before[name]).norm() / before[name].norm()).item()
        for name, p in net.named_parameters()
        if name.endswith("weight")
    }


def warnings(report, update, rate_share, accuracy, classes):
    """Sentences for what is wrong; [] when nothing is.

    report: of `states`. update: of `update_sizes`, over one iteration. rate_share: the learning rate of that
    iteration as a share of the full one. accuracy: on validation images. classes: how many there are.
    """
    found = []
    for l, (dead, saturated) in enumerate(zip(report["dead"], report["saturated"], strict=True), start=1):
        if dead > DEAD:
            found.append(f"layer {l}: {dead:.0%} of its units are silent, take larger gains or smaller rates")
        if saturated > SATURATED:
            found.append(
                f"layer {l}: {saturated:.0%} of its units are saturated, take smaller gains or rates"
            )
    if report["residual"] > UNSETTLED:
        found.append(
            f"the free phase does not converge (median residual {report['residual']:.2f}): take more steps or"
            " smaller gains"
        )
    sizes = {name: size / rate_share for name, size in update.items()} if rate_share > SCHEDULED else {}
    still = [name for name, size in sizes.items() if size < STILL]
    if still:
        found.append(f"{', '.join(still)}: hardly learns, take larger gains, rates or nudging strength")
    runaway = [name for name, size in sizes.items() if not size < RUNAWAY]
    if runaway:
        found.append(f"{', '.join(runaway)}: moves by {RUNAWAY:.0%} or more in one step, take smaller rates")
    return found + guessing(accuracy, classes)


def guessing(accuracy, classes):
    """Sentences about a network of any kind that is right no more often than by chance; [] otherwise."""
    if accuracy >= GUESSING / classes:
        return []
    return [
        f"the network guesses ({accuracy:.0%}, {classes} classes): take other rates, gains, steps or"
        " nudging strength"
    ]


def overfitting(before, now):
    """Sentences about the accuracy under attack on validation images, of the epochs `before` and `now`: of
    catastrophic overfitting when it falls below half of its best; [] otherwise.
    """
    if not before or now >= COLLAPSED * max(before):
        return []
    best = before.index(max(before)) + 1
    return [
        f"catastrophic overfitting: under attack {now:.1%} of validation images are right, {max(before):.1%}"
        f" were after epoch {best}, whose weights are kept"
    ]

"""What a training run watches in an EP-CNN, once an epoch, and the words it finds for what goes wrong."""

import torch

from eplib import dynamics

DEAD, SATURATED, UNSETTLED = 0.85, 0.5, 0.5  # shares of units, and a median residual, above which to warn


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


def warnings(report):
    """Sentences for what `states` shows to be wrong; [] when nothing is."""
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
    return found

"""What an attack climbs: functions of logits [N, classes] and true labels int64 [N] to losses [N]."""

import torch
import torch.nn.functional as F

from eplib.checks import InputError

_SMALL = 1e-12  # keeps ratios of equal logits finite
STATE_ATTACKS = (  # names of the attacks on an energy-based network's states, see `eplib.state_attacks`
    "hidden-state matching",
    "intermediate cross-entropy",
    "intermediate margin",
    "joint",
)


def cross_entropy(logits, labels):
    """−log softmax(z)_y."""
    return F.cross_entropy(logits, labels, reduction="none")


def normalised_cross_entropy(logits, labels):
    """Cross-entropy of z / std z, the standard deviation over the classes of each image: it does not change
    with the scale of the logits, so that a confident network cannot round its gradient to zero.
    """
    spread = (logits.var(1, unbiased=False, keepdim=True) + _SMALL).sqrt()
    return cross_entropy(logits / spread, labels)


def logit_ratio(logits, labels):
    """Difference-of-logits ratio (Croce and Hein 2020): −(z_y − max_{j≠y} z_j) / (z_(1) − z_(3)), the largest
    and the third largest logit below; scale and shift leave it as it is. InputError below three classes.
    """
    if logits.shape[1] < 3:
        raise InputError(f"{logits.shape[1]} classes: the difference-of-logits ratio needs 3 or more")
    ordered = logits.sort(1, descending=True).values
    return margin(logits, labels) / (ordered[:, 0] - ordered[:, 2] + _SMALL)


def margin(logits, labels):
    """max_{j≠y} z_j − z_y (Carlini and Wagner 2017), above 0 where another class is ahead."""
    others = logits.scatter(1, labels[:, None], -float("inf")).amax(1)
    return others - logits.gather(1, labels[:, None])[:, 0]


LOSSES = {
    "cross-entropy": cross_entropy,
    "normalised cross-entropy": normalised_cross_entropy,
    "difference-of-logits ratio": logit_ratio,
    "margin": margin,
}


def over_steps(loss):
    """The mean of a loss of logits [N, classes] over logits [N, K, classes] of K steps."""

    def averaged(logits, labels):
        return torch.stack([loss(z, labels) for z in logits.unbind(1)]).mean(0)

    return averaged

"""Finite differences of the loss of a settled EP-CNN in float64: the ground truth of its gradients.

The network settles at an image x and, from the states found there, at x ± h u for random directions u of
length 1. Then (loss(x + h u) − loss(x − h u)) / 2h is compared with g · u, g the gradient by the adjoint at
x. As long as the arg-max codes and the clip pattern stand still, states are linear in the image, so h may be
tiny: 1e-7 changes few of some ten thousand decisions (1e-5 changes one in every third image) and still moves
states by 1e-8, far more than the residual allowed, 1e-14. Images of which any direction changes a decision
are left out and counted. Where 8-bit images are exactly flat, pools of the first layer have no single largest
entry, and no gradient exists; so the rounding is undone first, x = (255 x₈ + v) / 256 with v uniform in
[0, 1).
"""

import copy

import numpy as np
import torch
import torch.nn.functional as F

from eplib.gradients import Trace
from eplib.phases import Drive, Phase, activation, drive, groups, largest_change, zero_states

STEP = 1e-7  # h
AT_REST = 1e-14  # largest residual of settled states
STEPS = 5000  # of a free phase, at most
CYCLE = 9  # steps between two looks at the residual
INCLUDED, CHANGED, UNSETTLED = 0, 1, 2  # what becomes of an image


@torch.no_grad()
def compare(net, images, labels, directions, first=0):
    """{name: NumPy array [..., N]}: "fd_outcome" int8 [N], INCLUDED, CHANGED (a decision changes within the
    step) or UNSETTLED (residual above 1e-14 after 5000 steps, or adjoint not solved); "fd_slopes" and
    "adjoint_slopes" [directions, N], finite differences and g · u, nan where they were not needed;
    "fd_cosine" [N], between the two over the directions, nan where the image is left out; "fd_tied" bool [N],
    whether the image as it was given has a first-layer decision that the smallest step changes.

    net: an EPCNN, settled in its own order from zero. images, labels: [N, C, H, W] in [0, 1] and int64 [N].
    first: the place of the first image; the random numbers of an image depend on its place alone.
    """
    net = copy.deepcopy(net).double()
    dither, moves = _drawn(images, directions, first)
    x, given, schedule = (
        (255 * images.double() + dither) / 256,
        images.double(),
        groups(net.order, len(net.convs)),
    )
    tied = drive(net, given + STEP * moves[0]).codes != drive(net, given - STEP * moves[0]).codes
    image = drive(net, x)
    states, outcome = _settled(net, image, zero_states(net, image.pooled), schedule)
    _, pattern = _looked(Phase(net, image, states))
    predicted, unsolved = _adjoint_slopes(net, image, states, labels, moves, outcome == INCLUDED)
    outcome[unsolved] = UNSETTLED
    slopes = torch.full_like(predicted, torch.nan)
    for d, u in enumerate(moves):
        left = (outcome == INCLUDED).nonzero()[:, 0]
        if not len(left):
            break
        at = [x[left] + STEP * u[left], x[left] - STEP * u[left]]
        begin = [s[left] for s in states]
        slopes[d, left], outcome[left] = _slope(net, at, labels[left], begin, schedule, pattern[left])
    cosines = cosine(slopes.T, predicted.T).masked_fill(outcome != INCLUDED, torch.nan)
    found = {"fd_slopes": slopes, "adjoint_slopes": predicted, "fd_cosine": cosines}
    found |= {"fd_outcome": outcome.to(torch.int8), "fd_tied": tied.flatten(1).any(1)}
    return {name: value.cpu().numpy() for name, value in found.items()}


def cross_entropy(logits, labels):
    """[N]: −log softmax(logits)_label, exact to rounding also where it is tiny."""
    others = logits.scatter(1, labels[:, None], -torch.inf).logsumexp(1)
    return F.softplus(others - logits.gather(1, labels[:, None])[:, 0])


def _cross_entropy_slope(logits, labels):
    """∂ cross_entropy / ∂ logits, softmax(logits) − onehot(labels): exact also where the softmax rounds to
    1.
    """
    others = logits.softmax(1).scatter(1, labels[:, None], 0)
    return others.scatter(1, labels[:, None], -others.sum(1, keepdim=True))


def cosine(first, second):
    """[N]: between the rows of two float64 matrices [N, D]; 0 where one of them is zero."""
    tiny = torch.finfo(first.dtype).tiny
    units = [rows / rows.norm(dim=1, keepdim=True).clamp_min(tiny) for rows in (first, second)]
    return (units[0] * units[1]).sum(1)


def _drawn(images, directions, first):
    """(what undoes the rounding, in [0, 1), like the images; directions of length 1 [D, N, C, H, W])."""
    dither, moves = [], []
    for place in range(first, first + len(images)):
        random = np.random.default_rng(place)
        dither.append(random.random(images.shape[1:]))
        moves.append(random.normal(size=(directions, *images.shape[1:])))
    dither, moves = (torch.from_numpy(np.stack(t)).to(images.device) for t in (dither, moves))
    lengths = moves.flatten(2).norm(dim=2)[:, :, None, None, None]
    return dither, (moves / lengths).transpose(0, 1)


def _slope(net, ends, labels, states, schedule, pattern):
    """(central difference [N], what becomes of each image) from `states` settled between the two `ends`."""
    image = drive(net, ends[0])
    ahead, outcome = _settled(net, image, states, schedule, pattern)
    losses = [cross_entropy(Phase(net, image, ahead).logits(), labels)]
    # where nothing changes, the other end's states are the mirror image of these
    image, mirrored = drive(net, ends[1]), [2 * s - a for s, a in zip(states, ahead, strict=True)]
    behind, other = _settled(net, image, mirrored, schedule, pattern)
    losses.append(cross_entropy(Phase(net, image, behind).logits(), labels))
    return (losses[0] - losses[1]) / (2 * STEP), torch.maximum(outcome, other)


def _adjoint_slopes(net, image, states, labels, moves, settled):
    """(g · u [D, N], nan where not settled; bool [N], where the adjoint is not solved)."""
    slopes = moves.new_full(moves.shape[:2], torch.nan)
    unsolved = torch.zeros_like(settled)
    if settled.any():
        phase = Phase(net, Drive(*(t[settled] for t in image)), [s[settled] for s in states])
        trace = Trace(net, phase, "adjoint", phase.residual())
        pull = _cross_entropy_slope(trace.logits, labels[settled])
        length = pull.norm(dim=1, keepdim=True)  # all adjoints as long as each other, all as precise
        gradient = trace.pull_back(pull / length) * length[:, :, None, None]
        slopes[:, settled] = (moves[:, settled] * gradient).flatten(2).sum(2)
        unsolved[settled] = ~trace.solved
    return slopes, unsolved


def _settled(net, image, states, schedule, pattern=None):
    """(settled states, what becomes of each image) from `states`, each image until it is at rest.

    pattern: of the settled states nearby (`_looked`). Images that have another are given up, and the others,
    whose steps are linear, are extrapolated after every cycle.
    """
    states = [s.clone() for s in states]
    left = torch.arange(len(states[0]), device=states[0].device)
    outcome = torch.full_like(left, UNSETTLED)
    for cycle in range(STEPS // CYCLE + 1):
        phase = Phase(net, Drive(*(t[left] for t in image)), [s[left] for s in states])
        residual, seen = _looked(phase)
        same = torch.ones_like(left, dtype=torch.bool) if pattern is None else (seen == pattern[left]).all(1)
        active = same & (residual > AT_REST)
        outcome[left] = torch.where(active, UNSETTLED, torch.where(same, INCLUDED, CHANGED))
        if cycle == STEPS // CYCLE or not active.any():
            break
        phase, left = _rows(net, phase, active), left[active]
        trail = [phase.states.copy()]
        for _ in range(CYCLE):
            phase.step(schedule)
            trail.append(phase.states.copy())
        for s, new in zip(states, phase.states if pattern is None else _extrapolated(trail), strict=True):
            s[left] = new
    return states, outcome


def _rows(net, phase, which):
    return Phase(net, Drive(*(t[which] for t in phase.drive)), [s[which] for s in phase.states])


def _looked(phase):
    """(residual [N], pattern [N, …]): the arg-max codes of every layer and whether 0 < u < 2 of every
    unit.
    """
    fields = [phase.field(l) for l in range(len(phase.layers))]
    residual = largest_change(phase.states, [activation(u) for u in fields])
    decisions = [phase.pooled(l)[1] for l in range(len(phase.layers))] + [(u > 0) & (u < 2) for u in fields]
    return residual, torch.cat([d.flatten(1).to(torch.int16) for d in decisions], 1)


def _extrapolated(trail):
    """Where a linear iteration leads, from some of its states in a row: reduced rank extrapolation (Eddy
    1979), the combination Σ γ_i s_i, Σ γ_i = 1, with the shortest step Σ γ_i (s_{i+1} − s_i).
    """
    flat = torch.stack([torch.cat([s.flatten(1) for s in states], 1) for states in trail])
    steps = flat.diff(dim=0)
    gram = torch.einsum("ind,jnd->nij", steps, steps)
    gram = gram / gram.diagonal(dim1=1, dim2=2).amax(1)[:, None, None]
    gram = gram + 1e-15 * torch.eye(len(steps), dtype=gram.dtype, device=gram.device)  # or it were singular
    weights = torch.linalg.solve(gram, gram.new_ones(gram.shape[:2]))
    ahead = torch.einsum("ni,ind->nd", weights / weights.sum(1, keepdim=True), flat[1:])
    parts = ahead.split([s[0].numel() for s in trail[0]], 1)
    return [part.view_as(s) for part, s in zip(parts, trail[0], strict=True)]

"""Attacks on the states of an energy-based network, not only on its logits. Each is projected gradient
descent (`conventions.pgd`), judged by the network's own free phase from zero.

Hidden-state matching moves the last state s_L towards that of an image of another class; s_L alone feeds the
read-out. A loss on intermediate states is Σ_t loss(logits(s_t)) over several steps t of one free phase. The
joint attack (after JIIO, Gurumurthy et al. 2021) moves image and states together: every step of the image
sees a few more free steps, which go on from the states before them.
"""

import copy
from functools import partial

import torch
from torch import nn

from eplib import gradients, losses
from eplib.attacks import AttackedModel, predicted
from eplib.conventions import CORRECTED, pgd
from eplib.dynamics import settle
from eplib.phases import Phase, drive, groups

JOINT_STEPS = 4  # free steps behind every step of the image in the joint attack


def all_of(net, images, batch):
    """{name of `losses.STATE_ATTACKS`: attack(images, labels, threat, steps) -> adversarial images}.

    images: those whose states are the targets of hidden-state matching, read `batch` at a time; an attacked
    image takes the nearest that the network puts into another class than its label.
    """
    last_states, shown = AttackedModel(featured(net)), images.split(batch)
    with torch.no_grad():
        states = torch.cat([last_states(x) for x in shown])
    classes = torch.cat([predicted(AttackedModel(net), x) for x in shown])
    intermediate = Intermediate(net)

    def match(x, y, threat, steps):
        targets = nearest(last_states, x, y, states, classes)
        return pgd(last_states, x, targets, threat, steps, CORRECTED, loss=closeness)

    def joint(x, y, threat, steps):
        more = max(1, steps * net.steps // JOINT_STEPS)  # as many free steps in all as plain PGD takes
        return pgd(Joint(net, x), x, y, threat, more, CORRECTED)

    each_step = losses.over_steps(losses.cross_entropy)
    attacks = (
        match,
        partial(pgd, intermediate, convention=CORRECTED, loss=each_step),
        partial(pgd, intermediate, convention=CORRECTED, loss=margin_of_mean),
        joint,
    )
    return dict(zip(losses.STATE_ATTACKS, attacks, strict=True))


def featured(net):
    """A copy of a network that answers with what feeds its last linear layer, [N, F]: for an EP-CNN the last
    state, whose gradient is then the closed form that logits have. None for a network without such a layer.
    """
    net = copy.deepcopy(net)
    if hasattr(net, "readout"):
        features, like = net.readout.in_features, net.readout.weight
        net.readout = nn.Linear(features, features, device=like.device, dtype=like.dtype)
        with torch.no_grad():
            net.readout.weight.copy_(torch.eye(features))
            net.readout.bias.zero_()
    elif hasattr(getattr(net, "body", None), "reset_classifier"):  # of timm's networks
        net.body.reset_classifier(0)
    elif hasattr(getattr(net, "body", None), "head"):
        net.body.head = nn.Identity()
    else:
        return None
    return net


@torch.no_grad()
def nearest(model, images, labels, states, classes):
    """[N, F]: for every image the state of `states` [M, F] nearest to its own, among those of other `classes`
    [M] than its label; its own where there is none.
    """
    own = model(images)
    distances = torch.cdist(own, states).masked_fill(classes == labels[:, None], float("inf"))
    found = distances.min(1)
    return torch.where(found.values.isinf()[:, None], own, states[found.indices])


def closeness(states, targets):
    """−‖s − target‖² of every image."""
    return -(states - targets).square().sum(1)


def margin_of_mean(logits, labels):
    """`losses.margin` of the mean over steps of logits [N, K, classes]."""
    return losses.margin(logits.mean(1), labels)


class Intermediate(nn.Module):
    """Logits [N, K, classes] after a quarter, half and all of a network's own free phase. The gradient of a
    loss of them is that of one unrolled free phase which is read out at these steps.
    """

    def __init__(self, net):
        super().__init__()
        steps = sorted({max(1, net.steps // part) for part in (4, 2, 1)})
        self.models = nn.ModuleList(AttackedModel(net, step) for step in steps)
        self.eval()

    def forward(self, images):
        return torch.stack([model(images) for model in self.models], 1)


class Joint(nn.Module):
    """Logits after `JOINT_STEPS` free steps that go on from the states of the call before, the first from the
    equilibrium of `images`; their gradient goes back through these steps only.
    """

    def __init__(self, net, images):
        super().__init__()
        self.net, self.states = net, settle(net, images).states
        self.eval()

    def forward(self, images):
        return _Continued.apply(images, self)


class _Continued(torch.autograd.Function):
    """Logits of `Joint`; backward by the closed form of `eplib.gradients`."""

    @staticmethod
    def forward(context, images, joint):
        net = joint.net
        phase = Phase(net, drive(net, images), joint.states)
        phase.tape = []
        for _ in range(JOINT_STEPS):
            phase.step(groups(net.order, len(net.convs)))
        joint.states = tuple(phase.states)
        context.trace = gradients.Trace(net, phase, "unrolled", None)
        return phase.logits().to(images.dtype)

    @staticmethod
    def backward(context, pull):
        return context.trace.pull_back(pull).to(pull.dtype), None

"""What a training iteration descends: the gradient of a recipe's loss, put into every parameter's `.grad`."""

import torch
import torch.nn.functional as F

from eplib import attacks, learning, precision
from eplib.captured import Captured
from eplib.dynamics import settle
from eplib.network import EPCNN

JUDGED = 300  # validation images attacked after every epoch of adversarial training
HARDER = 2  # times as many steps of PGD as in training


def gradient_of(net, recipe, teacher=None):
    """A function (images, labels, phase) that puts the gradient of the batch-mean loss into every .grad.

    teacher: the network that a "backprop" recipe with a `source` imitates. phase: (free steps, nudged steps)
    of an "ep" recipe, else None. Images are attacked first where the recipe names an adversary: with true
    labels, and with BatchNorm in evaluation mode.
    """
    gradient = _by_phases(net, recipe) if recipe.kind == "ep" else _by_backprop(net, recipe, teacher)
    if recipe.adversary is None:
        return gradient

    def hardened(images, labels, phase):
        adversarial = attacked(net, images, labels, recipe.adversary, phase)
        net.train()
        gradient(adversarial, labels, phase)

    return hardened


def attacked(net, images, labels, adversary, phase=None, harder=1):
    """Images after PGD by (norm, ε, steps), of an energy-based network through the free steps of `phase`.
    harder: factor on the number of steps. Leaves the network in evaluation mode.
    """
    norm, epsilon, steps = adversary
    model = attacks.AttackedModel(net, None if phase is None else phase[0])
    return attacks.pgd(model, images, labels, attacks.ThreatModel(norm, epsilon), harder * steps)


def robust_accuracy(net, images, labels, adversary, phase=None):
    """Share of images that stay right under PGD with twice the steps of training."""
    adversarial = attacked(net, images, labels, adversary, phase, HARDER)
    model = attacks.AttackedModel(net, None if phase is None else phase[0])
    return (attacks.predicted(model, adversarial) == labels).double().mean().item()


def _by_phases(net, recipe):
    dtype = precision.working(recipe.precision, net.mean.device)
    rules = {}

    def gradient(images, labels, phase):
        if phase not in rules:
            settings = (recipe.estimator, recipe.beta, *phase, net.order, recipe.arg_max, recipe.loss)
            rules[phase] = Captured(lambda x, y: learning.compute(net, x, y, *settings, dtype=dtype))
        gradients = rules[phase](images, labels)
        for name, parameter in net.named_parameters():
            parameter.grad = gradients[name]

    return gradient


def _by_backprop(net, recipe, teacher):
    def gradient(images, labels, phase):
        net.zero_grad()
        if teacher is not None:
            loss = imitation(net, teacher, images)
        elif recipe.gradient_penalty:
            loss = penalised(net, images, labels, recipe.gradient_penalty)
        else:
            loss = F.cross_entropy(net(images), labels, label_smoothing=recipe.label_smoothing)
        loss.backward()

    return gradient


def penalised(net, images, labels, factor):
    """Cross-entropy plus `factor` times the squared ℓ2 norm of its gradient in the image, mean over the
    batch.
    """
    images = images.detach().requires_grad_()
    loss = F.cross_entropy(net(images), labels, reduction="none")
    slope = torch.autograd.grad(loss.sum(), images, create_graph=True)[0]
    return (loss + factor * slope.flatten(1).square().sum(1)).mean()


def imitation(student, teacher, images):
    """How far a student is from its teacher: the Kullback-Leibler divergence of their answers, plus the mean
    squared difference of every layer's output relative to the variance of the teacher's, batch means.
    """
    outputs, answer = _layers(teacher, images)
    found = student.layers(images)
    logits = student.readout(found[-1].flatten(1))
    divergence = F.kl_div(
        logits.log_softmax(1), answer.log_softmax(1), reduction="batchmean", log_target=True
    )
    return divergence + sum(
        F.mse_loss(a, b) / b.var().clamp(min=1e-6) for a, b in zip(found, outputs, strict=True)
    )


@torch.no_grad()
def _layers(teacher, images):
    """(the output of every layer, logits) of a network: an energy-based one's states at its equilibrium."""
    if isinstance(teacher, EPCNN):
        settled = settle(teacher, images)
        return settled.states, settled.logits
    outputs = teacher.layers(images)
    return outputs, teacher.readout(outputs[-1].flatten(1))

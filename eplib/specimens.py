"""Single test images that pages show, chosen by rule, and what attacks make of them."""

import torch

from eplib import attacks, chapters, data, scales, settling


def settling_inputs(shown, among=300, count=4):
    """What `explorers.settling` takes: the first network of `shown`, `count` instructive ones of its first
    `among` test images (`eplib.settling.examples`), their labels and the class names.
    """
    test = data.load(shown.dataset, "test")
    net = chapters.networks(shown, "ep-cnn")[0].net
    images, labels = data.as_float(test.images[:among]), test.labels[:among]
    chosen = settling.examples(net, images, labels, count)
    return net, images[chosen], labels[chosen], test.classes


def examples(shown, models, norm, count=6):
    """`count` test images, first of all those that the first network of every model gets right, and what PGD
    makes of them.

    Returns {"norm", "epsilon", "classes", "images" [k, C, H, W], "labels", "ids", "attacked": {model:
    (images, predictions)}}. The ε is the measured one nearest to 8/255 (ℓ∞) or 1 (ℓ2), the budgets most
    papers quote.
    """
    size = scales.scale(shown.scale).attack
    test = data.load(shown.dataset, "test")
    x, y = data.as_float(test.images[: 10 * count]), test.labels[: 10 * count]
    attacked = {m: attacks.AttackedModel(chapters.networks(shown, m)[0].net) for m in models}
    right = torch.stack([attacks.predicted(a, x) == y for a in attacked.values()]).all(0)
    first = torch.argsort(~right, stable=True)[:count]
    x, y = x[first], y[first]
    goal = {"linf": 8 / 255, "l2": 1.0}[norm]
    threat = attacks.ThreatModel(norm, min(size.epsilons[norm], key=lambda e: abs(e - goal)))
    adversarial = {m: attacks.pgd(a, x, y, threat, size.steps) for m, a in attacked.items()}
    return {
        "norm": norm,
        "epsilon": threat.epsilon,
        "classes": test.classes,
        "images": x,
        "labels": y,
        "ids": first,
        "attacked": {m: (z, attacks.predicted(attacked[m], z)) for m, z in adversarial.items()},
    }

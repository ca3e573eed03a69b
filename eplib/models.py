"""Every network of the story as a departure from two base recipes of its scale: that of the EP-CNN and that
of the published CNN. `rows` is called once a scale, by `eplib.scales`.
"""

from dataclasses import dataclass, field, replace

from eplib.recipes import Recipe

WEIGHT_DECAYS = {"1e-4": 1e-4, "3e-4": 3e-4, "1e-3": 1e-3}
TRAINED_AT = {  # ε in pixel units of [0, 1]
    **{f"l2-{e:g}": ("l2", e) for e in (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0)},
    **{f"linf-{e}": ("linf", e / 255) for e in (1, 2, 4, 8)},
}
PENALISED = {"cnn-penalised": 1.0, "cnn-penalised-2": 2.0}  # one of them near an EP-CNN's input gradients
STUDENT_RATE = 0.05  # at most: at the 0.1 of larger scales a student's units died in its first epoch
JUDGES = {  # trained like these CNNs, with a seed that no attacked network has, and never attacked
    "judge-l2": "cnn-at-l2-0.5",
    "judge-linf": "cnn-at-linf-4",
    "judge-standard": "cnn",
}
JUDGE_SEED = 101

AUGMENTED = "vit-4"  # the transformer that is also trained by `STRONG`
# The ViT-CIFAR project, which the paper's ViT files are named after, trains with AutoAugment and label
# smoothing 0.1, Compact Transformers (arXiv 2104.05704) with RandAugment and label smoothing 0.1.
STRONG = {"augmentation": "randaugment", "label_smoothing": 0.1}

TRANSFORMERS = {  # {model: (kind, options)}; patches by the side of one in pixels
    "vit-4": ("ViT", {"patch": 4, "width": 384, "depth": 7, "heads": 12, "mlp": 384}),
    "vit-8": ("ViT", {"patch": 8, "width": 384, "depth": 7, "heads": 12, "mlp": 384}),
    "vit-lite": ("ViT", {"patch": 4, "width": 256, "depth": 7, "heads": 4, "mlp": 512}),
    "cct": ("CCT", {"channels": [64], "width": 128, "depth": 2, "heads": 2, "mlp": 128}),
    "swin": ("Swin", {"patch": 2, "width": 96, "depths": [2, 2, 2], "heads": [3, 6, 12], "window": 4}),
    "mixer": ("Mixer", {"patch": 4, "width": 256, "depth": 8}),
}
SMALL_TRANSFORMERS = {  # 0.24 to 0.33 million parameters
    "vit-4": ("ViT", {"patch": 4, "width": 96, "depth": 5, "heads": 3, "mlp": 96}),
    "vit-8": ("ViT", {"patch": 8, "width": 96, "depth": 5, "heads": 3, "mlp": 96}),
    "vit-lite": ("ViT", {"patch": 4, "width": 64, "depth": 7, "heads": 4, "mlp": 128}),
    "cct": TRANSFORMERS["cct"],
    "swin": ("Swin", {"patch": 2, "width": 48, "depths": [2, 2], "heads": [3, 6], "window": 4}),
    "mixer": ("Mixer", {"patch": 4, "width": 96, "depth": 4}),
}


@dataclass(frozen=True)
class Row:
    """A network and how it is trained. kind: its class, see `eplib.baselines.kind`. steps, order: the free
    phase of an energy-based network. options: what else its class takes.
    """

    channels: tuple
    paddings: tuple
    recipe: Recipe
    steps: int = 0
    order: str = ""
    kind: str = "EPCNN"
    options: dict = field(default_factory=dict)

    def settings(self):
        """The arguments of its class that do not depend on the data."""
        shape = {"channels": self.channels, "paddings": self.paddings} if self.channels else {}
        phase = {"steps": self.steps, "order": self.order} if self.steps else {}
        return shape | phase | self.options


def rows(network, ep, cnn, by_adamw, steps, order, transformers, attack_steps, small=None):
    """{model: Row} of one scale.

    network: channels and paddings. ep, cnn, by_adamw: the recipes of EP-CNNs, CNNs and transformers. steps,
    order: the free phase. transformers: {model: (kind, options)}. attack_steps: of PGD in adversarial
    training. small: (prefix, network, recipe) of the EP-CNN whose variants are trained, where the scale's own
    would take too long.
    """
    base = Row(**network, recipe=ep, steps=steps, order=order)
    prefix, small_network, small_recipe = small or ("ep-cnn", network, ep)
    variants = ep_variants(prefix, Row(**small_network, recipe=small_recipe, steps=steps, order=order))
    adversary = {name: (*threat, attack_steps) for name, threat in TRAINED_AT.items()}
    hardened = variants[prefix].recipe
    variants[f"{prefix}-at-l2-0.5"] = _with(
        variants[prefix], images_seen=hardened.images_seen // 2, adversary=adversary["l2-0.5"]
    )
    found = {"ep-cnn": base} | twins(base) | variants | feed_forward(base, cnn, adversary)
    for model, (kind, options) in transformers.items():
        found |= transformer(model, Row((), (), by_adamw, kind=kind, options=options))
    return found


def ep_variants(name, base):
    """The EP-CNN `name` and what is varied in how Equilibrium Propagation trains it. Only networks trained by
    two nudged phases are called EP-CNN.
    """

    def nudged(factor):
        return tuple((u, free, max(1, int(factor * k))) for u, free, k in base.recipe.phases)

    sixty = replace(base.recipe, phases=((1.0, 60, 20),), arg_max="live")
    return {
        name: base,
        f"{name}-live": _with(base, arg_max="live"),
        f"{name}-60": replace(base, recipe=sixty, steps=60, order="synchronous"),
        f"{name}-beta-0.1": _with(base, beta=0.1),
        f"{name}-beta-1": _with(base, beta=1.0),
        f"{name}-half-k": _with(base, phases=nudged(0.5)),
        f"{name}-double-k": _with(base, phases=nudged(2)),
        f"{name}-squared-error": _with(base, loss="squared-error"),
        f"{name}-average": replace(base, options={"pooling": "average"}),
        f"{name}-wd-0": _with(base, weight_decay=0.0),
        f"{name}-wd-1e-3": _with(base, weight_decay=1e-3),
    }


def twins(base):
    """The same network, trained otherwise than by two nudged phases."""
    return {
        "twin-one-sided": _with(base, estimator="one-sided"),
        "twin-adjoint": _with(base, estimator="adjoint", precision="float32"),
        "twin-bptt": _with(base, estimator="bptt", precision="float32"),
        "twin-untrained": _with(base, kind="readout"),
        "twin-cut": replace(_with(base, kind="readout", source="ep-cnn"), steps=1, order="forward"),
    }


def feed_forward(base, cnn, adversary):
    """The CNN of the paper and its departures, one thing at a time."""

    def row(options=None, **changes):
        recipe = replace(cnn, **changes)
        return Row(base.channels, base.paddings, recipe, kind="CNN", options=options or {})

    plain, like_ep = {"norm": False}, {"norm": False, "unit": "ep"}
    kinds = {"cnn": {}, "cnn-sigmoid": {"unit": "hard-sigmoid"}, "cnn-plain": plain}
    found = {}
    for name, options in kinds.items():
        found[name] = row(options)
        for decay, value in WEIGHT_DECAYS.items():
            found[f"{name}-wd-{decay}"] = row(options, weight_decay=value)
    gains = base.recipe.gains
    found["cnn-like-ep"] = row(like_ep, weight_decay=base.recipe.weight_decay, gains=gains)
    found["cnn-like-ep-wd-0"] = row(like_ep, gains=gains)
    for name, factor in PENALISED.items():
        found[name] = row(plain, gradient_penalty=factor)
    slower = {"learning_rates": tuple(min(rate, STUDENT_RATE) for rate in cnn.learning_rates)}
    found["student-of-ep-cnn"] = row(like_ep, source="ep-cnn", gains=gains, **slower)
    found["student-of-cnn"] = row(plain, source="cnn", **slower)
    for name, threat in adversary.items():
        found[f"cnn-at-{name}"] = row(adversary=threat)
    return found | {judge: found[like] for judge, like in JUDGES.items()}


def transformer(name, final):
    """A transformer at the end of its training and half-way; of `AUGMENTED` also the strongly augmented."""
    found = {name: final, f"{name}-halfway": _with(final, stop=0.5)}
    if name == AUGMENTED:
        found[f"{name}-augmented"] = _with(final, **STRONG)
    return found


def wider(name, network, ep, steps, order):
    """An EP-CNN of another width or schedule than its scale's, and its twin by the adjoint, called `name`."""
    base = Row(**network, recipe=ep, steps=steps, order=order)
    return {f"ep-cnn-{name}": base, f"twin-adjoint-{name}": twins(base)["twin-adjoint"]}


def _with(row, **changes):
    return replace(row, recipe=replace(row.recipe, **changes))

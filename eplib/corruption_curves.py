"""Accuracy against severity as curves, the paper's and ours, and how pages write corruptions and images."""

from dataclasses import dataclass

import numpy as np

from eplib import chapters, curves, published, published_curves, statistics
from eplib import corruption_scores as scores
from eplib.corruptions import CIFAR_C, COLOURED
from eplib.panels import Curve

DRAWN = ("ep-cnn", "cnn", "cnn-plain", "cnn-at-l2-0.5", "vit-8")
SHOWN = ("0.5", "0.75", "1")  # ε of the adversarially trained CNNs that the paper's figure shows
GREY_DATASETS = ("sample", "fashion-mnist")
SPELLED = {  # names that their authors misspelt, and one that is long
    "transverse_chromatic_abberation": "chromatic aberration",
    "cocentric_sine_waves": "concentric sine waves",
}
PROTOCOLS = {
    "corruptions": "CIFAR-10-C",
    "corruptions-settled": "CIFAR-10-C",
    "corruptions-beyond": "C-bar and 3D-corruption",
    "flips": "CIFAR-10-P",
}
COLOUR_NOTE = "* makes colours of these images, which are grey."


def words(corruption, dataset=None):
    """A corruption as pages write it; with a data set of grey images, those that make colours are marked."""
    mark = " *" if dataset in GREY_DATASETS and corruption in COLOURED else ""
    return SPELLED.get(corruption, corruption.replace("_", " ")) + mark


def of_results(found, corruption, dashed):
    """Our curves against severity: [Curve] of {model: [Result, one a seed]} for those of `DRAWN` in it.

    y is the mean over seeds; the band reaches from the lowest to the highest bound of the seeds' 95 % Wilson
    intervals.
    """
    drawn = []
    for model in (m for m in DRAWN if found.get(m)):
        tables = [scores.surface(r).loc[corruption] for r in found[model]]
        count = [len(r.image_ids) for r in found[model]]
        bounds = np.array(
            [
                [statistics.wilson(round(v * n), n) for v in table]
                for table, n in zip(tables, count, strict=True)
            ]
        )
        y = np.mean([t.to_numpy() for t in tables], 0)
        low, high = bounds[..., 0].min(0), bounds[..., 1].max(0)
        x = tuple(int(s) for s in tables[0].index)
        values = (tuple(v.tolist()) for v in (y, low, high))
        drawn.append(Curve(model, curves.name(model), x, *values, dashed))
    return drawn


def published_surfaces(epsilons=SHOWN):
    """{model: (surface of means, surface of standard deviations)} of the published networks: the EP-CNN and
    CNNs adversarially trained with these ℓ2 ε. The EP-CNN has no frost.
    """
    networks = {"ep-cnn": {"model": "ep-cnn"}}
    networks |= {f"cnn-at-l2-{e}": {"model": "adversarial-cnn", "variant": f"l2_eps{e}"} for e in epsilons}
    found = {}
    for model, columns in networks.items():
        rows = published.table("corruption", **columns)
        rows = rows.assign(severity=rows.severity.astype(int))
        tables = [rows.pivot(index="corruption", columns="severity", values=v) for v in ("mean", "sd")]
        found[model] = tuple(t.loc[[c for c in CIFAR_C if c in t.index]] for t in tables)
    return found


def of_published():
    """{corruption: the curves of the paper's figure}: means ± one standard deviation over five seeds; frost,
    which the figure leaves out, has none.
    """
    drawn = {c: [] for c in CIFAR_C}
    for model, (means, deviations) in published_surfaces().items():
        for c in means.index.drop("frost", errors="ignore"):
            y, sd = means.loc[c].to_numpy(), deviations.loc[c].to_numpy()
            values = (tuple(v.tolist()) for v in (y, y - sd, y + sd))
            drawn[c].append(Curve(model, published_curves.name(model), tuple(means.columns), *values))
    return drawn


@dataclass(frozen=True)
class CorruptionBadge(chapters.Badge):
    """A badge that also says where the corrupted images come from."""

    source: str

    @property
    def text(self):
        return f"{super().text}; {self.source}"


def badge(found):
    """The `CorruptionBadge` of {model: [Result]} of one measurement."""
    plain = chapters.badge(found)
    return CorruptionBadge(plain.dataset, plain.scale, plain.n, plain.seeds, source(found))


def source(found):
    """Which corrupted images were looked at, from {model: [Result]}: made here, or the official arrays."""
    every = [r.settings for results in found.values() for r in results]
    told = {
        "regenerated": f"images by the {PROTOCOLS[every[0]['measurement']]} protocol, regenerated",
        "official": "the official CIFAR-10-C arrays",
    }
    return " and ".join(told[k] for k in sorted({s["sizes"]["source"] for s in every}))


def phase_words(found):
    """Which free phase the EP-CNN of {model: [Result]} was read out after."""
    steps, order = scores.phases(found["ep-cnn"][0])[0]
    return f"the EP-CNN after {steps} {order} steps"

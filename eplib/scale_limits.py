"""What networks and measurements of one scale can and cannot show: how large a difference has to be to be
seen, which published ones are, and how far seeds lie apart.
"""

from dataclasses import dataclass

import numpy as np

from eplib import (
    attack_verdicts,
    black_box_sentences,
    chapters,
    corruption_curves,
    published,
    published_curves,
    scales,
    statistics,
)
from eplib.checks import NORMS
from eplib.statistics import LEVEL, POWER
from eplib.verdicts import nearest, paired_outcomes

BOTH = ("ep-cnn", "cnn")
TRAINED = "cnn-at-l2-0.5"  # the adversarially trained CNN of the paper's comparisons
SEEDS = 3  # that have to show the same, in the second curve


@dataclass(frozen=True)
class Gap:
    """A published difference. words: between whom, the leader first. under: what. size: a fraction."""

    words: str
    under: str
    size: float


@dataclass(frozen=True)
class Spread:
    """How far seeds of one model lie apart. what: of "no attack" and the PGDs. ours: accuracy of every seed.
    alone: the standard deviation that so many images would give alone, were all seeds equally good.
    mean, sd, seeds: as published.
    """

    model: str
    what: str
    ours: tuple
    alone: float
    mean: float
    sd: float
    seeds: int

    @property
    def deviation(self):
        """The standard deviation of ours; nan of one seed."""
        return float(np.std(self.ours, ddof=1)) if len(self.ours) > 1 else float("nan")


def targets():
    """{norm: ε} at which networks are compared: where the published EP-CNN leads its CNN most."""
    return {norm: published.largest_gap(norm)[0] for norm in NORMS}


def discordance(attacked):
    """[share of images that EP-CNN and CNN of one seed disagree on] under PGD at `targets`, in both norms.

    attacked: {norm: {model: [Result, one a seed]}}.
    """
    shares, at = [], targets()
    for norm, found in attacked.items():
        pairs = paired_outcomes(*chapters.paired(found, *BOTH), at[norm])
        shares += [float((a != b).mean()) for a, b in pairs]
    return shares


def discordances(shown, attacked):
    """{scale: `discordance`} of the scale shown, and of the others for which both models are stored."""
    found = {shown.scale: discordance(attacked)}
    for scale in (s for s in reversed(chapters.LARGEST_FIRST) if s != shown.scale):
        size = scales.scale(scale)
        there = chapters.Shown(scale, size.dataset, size.seeds)
        stored = {n: chapters.stored(there, f"pgd-{n}", BOTH) for n in NORMS}
        if all(set(of) == set(BOTH) for of in stored.values()):
            found[scale] = discordance(stored)
    return found


def smallest(n, share, seeds=1):
    """The smallest difference that n images show with a power of 0.8 where two networks disagree on a share
    of them (`statistics.detectable`); with more seeds, that every one of them shows, by the rule of the
    verdicts: Holm over the pairs, here bounded from above by Bonferroni and independent pairs.
    """
    return statistics.detectable(n, share, LEVEL / seeds, POWER ** (1 / seeds))


def gaps():
    """[Gap] of the paper, the largest first: where EP-CNN and rivals are furthest apart, and corruptions."""
    found = []
    for norm in NORMS:
        under = f"{NORMS[norm]} PGD"
        for first, second in (("ep-cnn", "cnn"), ("ep-cnn", "vit"), (TRAINED, "ep-cnn")):
            found.append(_gap(first, second, under, attack_verdicts.published_lead(norm, first, second)))
    figure = black_box_sentences.PUBLISHED["suite-linf"]
    lead = attack_verdicts.published_lead("linf", *BOTH, figure)
    found += [_gap(*BOTH, "four attacks", lead), *_corruption_gaps()]
    return sorted(found, key=lambda g: -g.size)


def _gap(first, second, under, lead):
    return Gap(f"{published_curves.name(first)} − {published_curves.name(second)}", under, lead[1] - lead[2])


def _corruption_gaps():
    """Between the EP-CNN and the adversarially trained CNN: the mean over corruptions, and those where one
    and the other leads most.
    """
    surfaces = {
        m: t[0] for m, t in corruption_curves.published_surfaces().items() if m in ("ep-cnn", TRAINED)
    }
    types = [c for c in surfaces["ep-cnn"].index if c != "frost"]
    ahead = (surfaces["ep-cnn"] - surfaces[TRAINED]).loc[types].mean(axis=1)
    cases = {"all corruptions": ahead.mean()}
    cases |= {corruption_curves.words(c): ahead[c] for c in (ahead.idxmax(), ahead.idxmin())}
    found = []
    for under, lead in cases.items():
        first, second = ("ep-cnn", TRAINED) if lead > 0 else (TRAINED, "ep-cnn")
        found.append(_gap(first, second, under, (None, abs(lead), 0)))
    return found


def measured_images(scale):
    """{what: images that a scale looks at} of PGD and of the suite of attacks."""
    size = scales.scale(scale)
    return {"PGD": size.attack.images_for("pgd-linf"), "suite": size.attacks["suite-linf"]["images"]}


def spreads(attacked):
    """[Spread] of EP-CNN and CNN without an attack and under PGD at `targets`, and as published.

    attacked: as of `discordance`.
    """
    found, at = [], targets()
    cases = {"no attack": ("linf", None)} | {f"{NORMS[n]} PGD": (n, at[n]) for n in NORMS}
    for what, (norm, epsilon) in cases.items():
        curves = published.pgd_curves(norm)
        for model in BOTH:
            row = curves[model].loc[epsilon] if epsilon else curves[model].iloc[0]
            right = [outcome(r, epsilon) for r in attacked[norm][model]]
            found.append(
                Spread(
                    model,
                    what,
                    tuple(float(x.mean()) for x in right),
                    _alone(right),
                    float(row["mean"]),
                    float(row["high"] - row["mean"]),
                    int(row["seeds"]),
                )
            )
    return found


def outcome(result, epsilon):
    """bool [N]: which images are right at the measured ε nearest to one, or without an attack (None)."""
    if epsilon is None:
        return result.correct_clean
    return result.correct[list(result.epsilons).index(nearest(result, epsilon))]


def _alone(right):
    """Two equally good networks that disagree on a share ψ of n images differ by √(ψ/n), which is √2 times
    the standard deviation of each; ψ, the mean over pairs of seeds. nan of one seed.
    """
    pairs = [(a != b).mean() for i, a in enumerate(right) for b in right[:i]]
    return float(np.sqrt(np.mean(pairs) / len(right[0]) / 2)) if pairs else float("nan")

"""What the page about published and corrected conventions says, composed from results of "conventions" and
from the published numbers.
"""

from dataclasses import dataclass, replace

import numpy as np

from eplib import chapters, data, published, published_curves, verdicts
from eplib.attack_verdicts import FIGURES
from eplib.checks import NORMS, amount, strength
from eplib.conventions import CORRECTED, PUBLISHED, VARIANTS
from eplib.pictures import name
from eplib.sentences import Text
from eplib.statistics import holm, mcnemar

HORIZONS = next(n for n, c in VARIANTS.items() if c == replace(CORRECTED, horizons=PUBLISHED.horizons))


@dataclass(frozen=True)
class Repaired:
    """Images of one model at one ε under predicted labels, over all seeds.

    images: outcomes altogether. wrong: wrong before the attack. repaired: of those, right under it. kept:
    right before and under it.
    """

    norm: str
    epsilon: float
    images: int
    wrong: int
    repaired: int
    kept: int

    @property
    def error(self):
        """The clean error, a fraction of all images."""
        return self.wrong / self.images

    @property
    def share(self):
        """How many of the wrong are repaired, a fraction; 0 where none was wrong."""
        return self.repaired / self.wrong if self.wrong else 0.0

    @property
    def floor(self):
        """Clean error × share repaired: accuracy that no ε takes away."""
        return self.error * self.share


def norms(found):
    """The norms in which "conventions" was measured, those of `NORMS` in their order."""
    measured = {n for results in found.values() for r in results for n in r.table.norm.dropna()}
    return [norm for norm in NORMS if norm in measured]


def under(found, norm, convention):
    """{model: [Result]} of one convention alone, with `norm` and its ε as their settings, so that verdicts
    and curves take them; models without it are left out. found: {model: [Result of "conventions"]}.
    """
    chosen = {}
    for model, results in found.items():
        for result in results:
            rows = result.table[result.table.metric == "accuracy"].reset_index(drop=True)
            rows = rows[(rows.convention == convention) & (rows.norm == norm)]
            if len(rows):
                settings = result.settings | {"norm": norm, "epsilons": rows.epsilon.tolist()}
                alone = replace(result, settings=settings, table=rows, correct=result.correct[rows.index])
                chosen.setdefault(model, []).append(alone)
    return chosen


def changes(results, convention, against="corrected"):
    """[(norm, ε, accuracy under `convention`, accuracy under the other, whether they clearly differ)] of one
    model, means over its seeds: clearly when every seed differs in the same direction and every exact McNemar
    p, Holm-adjusted over everything here, is below 0.05.
    """
    pairs = {}
    for norm in NORMS:
        one, other = (under({"": results}, norm, c).get("", []) for c in (convention, against))
        for a, b in zip(one, other, strict=True) if one else ():
            for epsilon, x, y in zip(a.epsilons, a.correct, b.correct, strict=True):
                pairs.setdefault((norm, epsilon), []).append((x, y))
    p_values = iter(holm([mcnemar(*pair) for every in pairs.values() for pair in every]))
    found = []
    for (norm, epsilon), every in pairs.items():
        adjusted, ahead = max(next(p_values) for _ in every), [x.mean() - y.mean() for x, y in every]
        clear = adjusted < verdicts.LEVEL and (min(ahead) > 0 or max(ahead) < 0)
        means = [float(np.mean([pair[i].mean() for pair in every])) for i in (0, 1)]
        found.append((norm, epsilon, *means, clear))
    return found


def repaired(results):
    """[`Repaired`] of one model at every norm and ε of "predicted labels"."""
    counts = {}
    for norm in NORMS:
        for result in under({"": results}, norm, "predicted labels").get("", []):
            clean = result.correct_clean
            for epsilon, right in zip(result.epsilons, result.correct, strict=True):
                now = (len(clean), (~clean).sum(), (right & ~clean).sum(), (right & clean).sum())
                counts[norm, epsilon] = counts.get((norm, epsilon), 0) + np.array(now)
    return [Repaired(*where, *map(int, count)) for where, count in counts.items()]


def leaders(found, rival, norm, convention):
    """{ε: "ep-cnn", the rival's key or "neither"}: who clearly keeps more images right under a convention, as
    `verdicts.along_the_curve` says.
    """
    pair = chapters.paired(under(found, norm, convention), "ep-cnn", rival)
    every = verdicts.along_the_curve(*pair, norm)  # which calls every rival "cnn"
    found = {e: rival if who == "cnn" else who for who, at in every.items() for e in at}
    return dict(sorted(found.items()))


def points(difference):
    """A difference of accuracies in points, with its sign, and never a zero with a minus."""
    return f"{round(100 * difference, 1) + 0.0:+.1f}"


def answer(found, badge):
    """How many points of accuracy at the largest ε are the convention, and whether the order of EP-CNN and
    CNN is the same under both, in one sentence. found: {model: [Result]} with both models.
    """
    parts, moved, compared = [], [], 0
    for norm in norms(found):
        told = []
        for model in ("ep-cnn", "cnn"):
            _, epsilon, theirs, ours, _ = [c for c in changes(found[model], "published") if c[0] == norm][-1]
            told.append(f"{name(model)} {points(theirs - ours)} points ({theirs:.1%} instead of {ours:.1%})")
        parts.append(f"at {strength(norm, epsilon)} {', '.join(told)}")
        before, after = (leaders(found, "cnn", norm, c) for c in ("published", "corrected"))
        compared += len(before)
        moved += [strength(norm, e) for e in before if before[e] != after[e]]
    same = f"the same under both at {compared - len(moved)} of {compared} strengths"
    return Text(
        "**In one sentence.** What the published convention adds to the corrected accuracy:"
        f" {'; '.join(parts)}; which of the two clearly keeps more images right is {same}"
        f"{' and changes at ' + ', '.join(moved) if moved else ''} ({badge.dataset_name}, {badge.scale}"
        " scale)."
    )


def levels():
    """{curve: (accuracy, clean accuracy or None where it was not recorded)} of the published ℓ∞ PGD curves at
    the largest ε of the EP-CNN.
    """
    figure, found = published_curves.of(FIGURES["linf"]), {}
    curves = published_curves.curves(FIGURES["linf"])
    last = curves["ep-cnn"].index.max()
    for key, columns in figure.curves.items():
        rows = published.table(figure.evaluation, figure.dataset, norm="linf", epsilon=last, **columns)
        clean = rows.sort_values("images").clean.iloc[-1]
        found[key] = float(curves[key]["mean"][last]), None if np.isnan(clean) else float(clean)
    return found


def published_levels():
    """Where the published curves level off, beside the clean error where that was recorded, in words."""
    curves = published_curves.curves(FIGURES["linf"])
    last = curves["ep-cnn"].index.max()
    told = []
    for key, (accuracy, clean) in levels().items():
        beside = "" if clean is None else f" (clean error {1 - clean:.1%})"
        told.append(f"{published_curves.name(key)} {accuracy:.1%}{beside}")
    further = [
        f"{published_curves.name(key)} {table['mean'].iloc[-1]:.1%} at ε = {amount('linf', table.index[-1])}"
        for key, table in curves.items()
        if table.index[-1] > last
    ]
    more = f" Of these, taken further: {', '.join(further)}." if further else ""
    return Text(
        f"**Published** (arXiv 2401.11543, CIFAR-10, PGD, {strength('linf', last)}), where the curves level"
        f" off: {', '.join(told)}.{more}"
    )


def who_is_repaired(found):
    """The share of wrong images that ends right under predicted labels at the largest ε, and what it would
    take to make the published levels, in words.
    """
    told = []
    for model, results in found.items():
        for norm in norms({model: results}):
            at = [r for r in repaired(results) if r.norm == norm][-1]
            told.append(
                f"{name(model)} at {strength(norm, at.epsilon)}: {at.repaired} of {at.wrong} wrong images end"
                f" right, {at.error:.1%} × {at.share:.1%} = {at.floor:.1%} of all, beside"
                f" {at.kept / at.images:.1%} that were right before and still are"
            )
    known = [
        f"{published_curves.name(key)} {accuracy:.1%} = {1 - clean:.1%} × {accuracy / (1 - clean):.1%}"
        for key, (accuracy, clean) in levels().items()
        if clean is not None
    ]
    return Text(
        f"**Here:** {'; '.join(told)}. **Published:** if no image that was right before survived at the"
        f" largest ε, the level would be the clean error times the share repaired: {', '.join(known)}. The"
        " outcomes of single images were not published, so how much of the level is repair is not known."
    )


def effect(found, convention):
    """What one choice changes against the corrected convention, model by model, in words: the largest change,
    and at how many strengths it is clear (`changes`). Models to which it does not apply are left out.
    """
    told = []
    for model, results in found.items():
        every = changes(results, convention)
        if every:
            norm, epsilon, now, before, _ = max(every, key=lambda c: abs(c[2] - c[3]))
            told.append(
                f"{name(model)} {points(now - before)} points at {strength(norm, epsilon)} ({now:.1%} instead"
                f" of {before:.1%}), clear at {sum(c[4] for c in every)} of {len(every)} strengths"
            )
    changed = "; ".join(told) if told else "it applies to no network shown"
    return Text(f"**{convention[:1].upper()}{convention[1:]}.** The largest change: {changed}.")


def horizons(found):
    """`effect` of the published horizons, with the free phase that they stand in for."""
    own = {
        f"{r.settings['predict_steps']} {r.settings['order']} steps"
        for results in under(found, norms(found)[0], HORIZONS).values()
        for r in results
    }
    return Text(f"{effect(found, HORIZONS)}" + (f" Own horizon: {', '.join(sorted(own))}." if own else ""))


def square(found):
    """Whether Square finds fewer images when it sees probabilities, model by model, in words."""
    told = []
    for model, results in found.items():
        every = changes(results, "Square, probabilities", "Square, logits")
        clear = [now - before for _, _, now, before, differs in every if differs]
        more, fewer = sum(c > 0 for c in clear), sum(c < 0 for c in clear)
        word = "clearly more" if more > fewer else "clearly fewer" if fewer else "not clearly more or fewer"
        at = f" (at {max(more, fewer)} of {len(every)} strengths)" if clear else ""
        told.append(f"of the {name(model)} {word} images survive{at}")
    return Text(f"**Probabilities instead of logits:** {'; '.join(told)}.")


def which_images(dataset, count):
    """Which test images results of "conventions" are about, in words. Raises InputError for a data set that
    cannot be loaded.
    """
    first = f"the first {count:,} test images of {chapters.DATASET_NAMES[dataset]}"
    if data.load(dataset, "test").official is None:
        return Text(
            f"Results here are about {first} in this project's canonical order, a substitute: its source does"
            " not keep the order of the original files."
        )
    paper = "in the order that the paper used" if dataset in verdicts.PAPER_DATASETS else "not the paper's"
    return Text(f"Results here are about {first} in the order of the original files, {paper}.")

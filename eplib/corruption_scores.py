"""Scores of corruption accuracy: means over types and severities, relative to clean, against a reference
network, against what clean accuracy predicts, and flip rates. Pure functions of results and tables.

A *surface* is the accuracy of one network on corrupted images: a table with a line a corruption and a column
a severity, fractions.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats
from scipy.special import expit, logit

from eplib.checks import InputError
from eplib.corruptions import CIFAR_C, FAMILIES, STANDARD

NONE = "none"  # the corruption of an image as it is, of severity 0
SETS = {  # of types that means are taken over
    "15": STANDARD,
    "19": CIFAR_C,
    "18": tuple(name for name in CIFAR_C if name != "frost"),  # those that the paper shows
}
FAMILY_NAMES = ("noise", "blur", "weather", "digital")
LOSES = 0.05  # of a reference on a type, summed over severities: below, a ratio to it says nothing
NETWORKS, WANTED = 5, 15  # needed for a line through networks, and wanted


def phases(result):
    """[(steps, order)] of the free phases in a result, in its order; (None, None) without one."""
    rows = _rows(result)
    pairs = zip(rows.predict_steps, rows.order, strict=True)
    return list(dict.fromkeys((None, None) if pd.isna(s) else (int(s), o) for s, o in pairs))


def surface(result, phase=None):
    """The surface of a `Result` of corruptions, after one of its free phases, by default the first."""
    rows = _of_phase(result, phase)
    rows = rows[rows.corruption != NONE].assign(severity=lambda r: r.severity.astype(int))
    found = rows.pivot(index="corruption", columns="severity", values="value")
    return found.loc[list(dict.fromkeys(rows.corruption))]


def clean(result, phase=None):
    """The accuracy on the same images as they are, after the same free phase."""
    rows = _of_phase(result, phase)
    return float(rows[rows.corruption == NONE].value.iloc[0])


def right(result, phase=None, types=None, severities=None):
    """bool [cells, N]: which images are right under every corruption of `types` at every one of `severities`,
    by default all that were measured. Raises InputError where one was not measured.
    """
    rows = _of_phase(result, phase)
    rows = rows[rows.corruption != NONE]
    types = list(dict.fromkeys(rows.corruption)) if types is None else list(types)
    severities = sorted(set(rows.severity.astype(int))) if severities is None else list(severities)
    chosen = rows[rows.corruption.isin(types) & rows.severity.isin(severities)]
    if not types or len(chosen) != len(types) * len(severities):
        raise InputError(
            f"a result without {', '.join(types) or 'corruptions'} at severities"
            f" {', '.join(map(str, severities))}: measure them first"
        )
    return result.correct[chosen.index]


def per_image(result, phase=None, types=None, severities=None):
    """float [N]: the share of an image's corrupted copies that the network gets right; see `right`."""
    return right(result, phase, types, severities).mean(0)


def _rows(result):
    """The accuracy rows, indexed by their place in `result.correct`."""
    return result.table[result.table.metric == "accuracy"].reset_index(drop=True)


def _of_phase(result, phase):
    rows, known = _rows(result), phases(result)
    steps, order = known[0] if phase is None else phase
    if (steps, order) not in known:
        there = ", ".join(f"{s} {o}" for s, o in known)
        raise InputError(f"no accuracy after {steps} {order} steps: give one of {there}")
    return rows if steps is None else rows[(rows.predict_steps == steps) & (rows.order == order)]


def of_one_source(found):
    """{model: [Result]} without those that looked at other corrupted images than the EP-CNN's first, where
    regenerated and official ones are stored; models without any left are left out.
    """
    wanted = found["ep-cnn"][0].settings["sizes"]["source"]
    kept = {m: [r for r in rs if r.settings["sizes"]["source"] == wanted] for m, rs in found.items()}
    return {m: results for m, results in kept.items() if results}


def mean(table, types=None):
    """The mean of a surface over types, by default all of its own, and severities. Raises InputError where it
    lacks one of `types`.
    """
    return float(_chosen(table, types).to_numpy().mean())


def by_severity(table, types=None):
    """{severity: mean of a surface over types}."""
    return {int(s): float(v) for s, v in _chosen(table, types).mean().items()}


def by_family(table):
    """{family: mean of a surface over its types and all severities}, of the families it has."""
    families = dict.fromkeys(FAMILIES[name] for name in table.index)
    return {f: mean(table, [n for n in table.index if FAMILIES[n] == f]) for f in families}


def average(tables):
    """The mean of surfaces, such as those of several seeds."""
    return sum(tables[1:], tables[0]) / len(tables)


def _chosen(table, types):
    types = list(table.index) if types is None else list(types)
    absent = [name for name in types if name not in table.index]
    if absent or not types:
        raise InputError(f"no accuracy under {', '.join(absent) or 'any corruption'}: measure it first")
    return table.loc[types]


def relative(accuracy, without):
    """(drop, kept): accuracy that corruptions cost, clean − corrupted, and the share of it that is left."""
    return without - accuracy, accuracy / without if without else float("nan")


def corruption_errors(table, reference):
    """CE of every type, as a Series: Σ_s E_s / Σ_s E_s of the reference, over severities s, with errors E = 1
    − accuracy (Hendrycks & Dietterich 2019, with another reference). nan where the reference makes no error.
    """
    own, other = _errors(table, reference)
    return (own / other.where(other > 0)).rename("CE")


def relative_errors(table, without, reference, reference_without):
    """Relative CE of every type: Σ_s (E_s − E_clean), over the same of the reference. without,
    reference_without: clean accuracies. nan where the reference loses less than `LOSES`, a point of accuracy
    a severity where there are five: a ratio to so little says nothing.
    """
    own, other = _errors(table, reference)
    count = table.shape[1]
    own, other = own - count * (1 - without), other - count * (1 - reference_without)
    return (own / other.where(other.round(9) >= LOSES)).rename("relative CE")


def mean_error(errors):
    """(mean, number of types it is over) of a Series of `corruption_errors` or `relative_errors`."""
    kept = errors.dropna()
    return (float(kept.mean()) if len(kept) else float("nan")), len(kept)


def _errors(table, reference):
    if list(table.columns) != list(reference.columns) or set(table.index) != set(reference.index):
        raise InputError("corruptions or severities other than the reference's: measure both networks alike")
    return (1 - table).sum(axis=1), (1 - reference.loc[table.index]).sum(axis=1)


def interval(values, confidence=0.95):
    """(mean, low, high) of numbers that vary from image to image, by Student's t."""
    values = np.asarray(values, float)
    middle = float(values.mean())
    if len(values) < 2:
        return middle, float("nan"), float("nan")
    half = stats.t.ppf((1 + confidence) / 2, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    return middle, float(middle - half), float(middle + half)


@dataclass(frozen=True)
class Line:
    """logit(corruption accuracy) = intercept + slope · logit(clean accuracy), by least squares over networks.

    networks: how many. spread: standard deviation of what the line does not explain. centre, width: mean and
    sum of squared deviations of their logit(clean accuracy).
    """

    slope: float
    intercept: float
    networks: int
    spread: float
    centre: float
    width: float

    def at(self, accuracy):
        """The corruption accuracy that the line gives to a clean accuracy, fractions."""
        return float(expit(self.intercept + self.slope * logit(accuracy)))

    def band(self, accuracy, judged=1, confidence=0.95):
        """Half the width, in logits, of the prediction interval of the mean of `judged` further networks."""
        share = 1 / judged + 1 / self.networks + (logit(accuracy) - self.centre) ** 2 / self.width
        return float(stats.t.ppf((1 + confidence) / 2, self.networks - 2) * self.spread * share**0.5)


def line(points, n):
    """The `Line` through networks, [(clean accuracy, corruption accuracy)], fractions of n images each and of
    their corrupted copies; accuracies are kept half an image away from 0 and 1, where logits are infinite.
    Raises InputError for fewer than `NETWORKS` of them or none that differ in clean accuracy.
    """
    if len(points) < NETWORKS:
        raise InputError(f"{len(points)} networks for a line: measure {NETWORKS} or more")
    x, y = (logit(inside(column, n)) for column in np.asarray(points, float).T)
    width = float(((x - x.mean()) ** 2).sum())
    if width < 1e-12:
        raise InputError("networks that do not differ in clean accuracy: measure others")
    slope = float(((x - x.mean()) * (y - y.mean())).sum() / width)
    rest = y - y.mean() - slope * (x - x.mean())
    spread = float(np.sqrt((rest**2).sum() / (len(x) - 2)))
    return Line(slope, float(y.mean() - slope * x.mean()), len(x), spread, float(x.mean()), width)


def inside(accuracy, n):
    """Accuracies kept half an image of n away from 0 and 1."""
    return np.clip(accuracy, 0.5 / n, 1 - 0.5 / n)


def above(fitted, points, n):
    """(residual, low, high) of the networks in question, in logits: how far they lie above a `Line` through
    others, the mean over `points` (as of `line`), with the 95 % prediction interval of that mean. A residual
    whose interval is above 0 is called effective robustness (Taori et al. 2020).
    """
    x, y = (logit(inside(column, n)) for column in np.asarray(points, float).T)
    rest = float((y - fitted.intercept - fitted.slope * x).mean())
    half = fitted.band(float(expit(x.mean())), len(x))
    return rest, rest - half, rest + half

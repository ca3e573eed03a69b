"""What stored results say about each line of the checklist: whether it holds, over how many images, and the
numbers in words; None where it was not run.

Each takes {measurement: {model: [Result, one a seed]}} and the model in question; all of its seeds must
agree.
"""

import numpy as np
import pandas as pd

from eplib import black_box, iterations, losses, masking_verdicts, suite
from eplib.checks import NORMS
from eplib.masking_verdicts import HIDDEN
from eplib.results import rows
from eplib.verdicts import nearest

BUDGETS = (4 / 255, 8 / 255)  # at which images are transferred
REPEATED = 0.98  # so many outcomes must be the same in float64 and one image at a time
PLANTED = 0.95  # so many planted examples must a valid attack find
ZERO = 0.005  # accuracy that counts as none
WHITE = ("pgd-linf", "pgd-l2", "suite-linf", "adaptive", "horizons", "iterations")


def of(found, model, measurement):
    """[Result, one a seed] of a model; [] where nothing is stored."""
    return found.get(measurement, {}).get(model, [])


def _pairs(found, model, *measurements):
    """[(Result, Result)] of two measurements of the same seeds."""
    first, second = ({r.settings["seed"]: r for r in of(found, model, m)} for m in measurements)
    return [(first[seed], second[seed]) for seed in first if seed in second]


def _values(results, metric, **columns):
    """[(value, n)] of the first such row of every result; [] unless each has one."""
    found = [rows(r, metric, **columns) for r in results]
    return [(float(t.value.iloc[0]), int(t.n.iloc[0])) for t in found] if all(map(len, found)) else []


def _n(results):
    return min(len(r.image_ids) for r in results)


def _percent(values):
    """Shares, one a seed, as words."""
    return ", ".join(f"{v:.1%}" for v in values)


def kept_to(found, model):
    sane, attacked = of(found, model, "sanity"), [r for name in WHITE for r in of(found, model, name)]
    low, high, far = (_values(sane, m) for m in ("pixel_low", "pixel_high", "distance"))
    if not (low and high and far):
        return None
    # a column of "true" alone is read as a truth value
    labels = {str(label).lower() for r in attacked for label in r.table.get("labels", pd.Series()).dropna()}
    passed = min(v for v, _ in low) >= 0 and max(v for v, _ in high) <= 1
    passed = passed and max(v for v, _ in far) <= 1 + 1e-4 and labels <= {"true"}
    words = f"pixels from {min(low)[0]:.3g} to {max(high)[0]:.3g}, at most {max(far)[0]:.5f} ε away"
    return passed, min(n for _, n in far), f"{words}; labels: {', '.join(sorted(labels)) or 'none recorded'}"


def same_images(found, model):
    for name in ("pgd-linf", "pgd-l2"):
        results = [r for every in found.get(name, {}).values() for r in every]
        if len(results) > 1:
            same = all(np.array_equal(r.image_ids, results[0].image_ids) for r in results)
            return same, _n(results), f"{len(results)} networks under PGD"
    return None


def _found_by(results):
    """{attack: share of the images that it broke, mean over seeds and ε} of results of "adaptive"."""
    broken = {}
    for result in results:
        for _, row in rows(result, "broken").iterrows():
            broken.setdefault(row.by, []).append(row.value)
    return {name: float(np.mean(values)) for name, values in broken.items()}


def _told(broken):
    """What broke how much, the most first."""
    most = sorted(((v, k) for k, v in broken.items() if v > 0), reverse=True)[:4]
    return ", ".join(f"{name} {value:.1%}" for value, name in most) or "nothing broken"


def several_losses(found, model):
    results = of(found, model, "adaptive")
    if not results:
        return None
    names = _found_by(results)
    tried = [loss for loss in losses.LOSSES if any(loss in name for name in names)]
    return (
        len(tried) > 1,
        _n(results),
        f"{', '.join(tried)}; models that answer with probabilities are refused",
    )


def autoattack(found, model):
    results, norms = of(found, model, "suite-linf") + of(found, model, "suite-l2"), []
    for r in results:
        if suite.is_autoattack(r.settings["sizes"]["plan"]):
            norms.append(r.norm)
    if not results:
        return None
    words = " and ".join(NORMS[n] for n in dict.fromkeys(norms))
    return len(set(norms)) == 2, _n(results), f"in {words}" if words else "only a shorter suite in ℓ∞"


def _gaps(results, pairs):
    """(whether the second of each pair leaves at most five points less, in words)."""
    gaps = [plain.mean() - worst.mean() for plain, worst in pairs]
    words = "; ".join(f"{plain.mean():.1%} → {worst.mean():.1%}" for plain, worst in pairs)
    return max(gaps) <= HIDDEN, words


def adaptive(found, model):
    results = of(found, model, "adaptive")
    if not results:
        return None
    epsilon = nearest(results[0], masking_verdicts.target())
    passed, words = _gaps(results, [masking_verdicts.outcomes(r, epsilon) for r in results])
    return (
        passed,
        _n(results),
        f"ℓ2 ε = {epsilon:.3g}: {words}; beyond plain PGD: {_told(_found_by(results))}",
    )


def horizons(found, model):
    results = of(found, model, "horizons")
    if not results:
        return None
    epsilon, pairs = masking_verdicts.horizon_pairs(results)
    passed, words = _gaps(results, pairs)
    loose = [float(rows(r, "unsettled").value.max()) for r in results]
    return (
        passed and max(loose) <= HIDDEN,
        _n(results),
        f"ℓ2 ε = {epsilon:.3g}: {words}; not converged: at most {max(loose):.1%}",
    )


def states(found, model):
    results = of(found, model, "adaptive")
    broken = {k: v for k, v in _found_by(results).items() if k in losses.STATE_ATTACKS}
    if not broken:
        return None
    return sum(broken.values()) <= HIDDEN, _n(results), _told(broken)


def flat(found, model):
    results = of(found, model, "iterations")
    if not results:
        return None
    said = [iterations.flattened(r) for r in results]
    change = ", ".join(f"{change:.1f}" for _, change in said)
    return all(ok for ok, _ in said), _n(results), f"last change: {change} points"


def ordering(found, model):
    results = of(found, model, "iterations")
    if not results:
        return None
    said = []
    for r in results:
        table = rows(r, "accuracy")
        last = {a: table[table.attack == a].value.min() for a in ("fgsm", "pgd", "apgd-ce")}
        curve = rows(r, "loss").sort_values("iteration").value
        said.append((last, curve.iloc[0], curve.iloc[-1]))
    passed = all(b > a and w["apgd-ce"] <= w["pgd"] <= w["fgsm"] for w, a, b in said)
    words = "; ".join(
        f"FGSM {w['fgsm']:.1%}, PGD {w['pgd']:.1%}, APGD {w['apgd-ce']:.1%}, loss {a:.2g} → {b:.2g}"
        for w, a, b in said
    )
    return passed, _n(results), words


def to_zero(found, model):
    values = {e: _values(of(found, model, "sanity"), "accuracy", epsilon=e) for e in (64 / 255, 1.0)}
    if not all(values.values()):
        return None
    words = "; ".join(
        f"ε = {255 * e:.0f}/255: {_percent(v for v, _ in found)}" for e, found in values.items()
    )
    every = [pair for found in values.values() for pair in found]
    return max(v for v, _ in every) < ZERO, min(n for _, n in every), words


def monotone(found, model):
    results = of(found, model, "pgd-linf") + of(found, model, "pgd-l2")
    alone = _values(of(found, model, "sanity"), "repaired")
    if not results:
        return None
    passed = not any((r.correct[1:] & ~r.correct[:-1]).any() for r in results)
    words = f"; attacked anew at every ε, {_percent(v for v, _ in alone)} would" if alone else ""
    return passed, _n(results), f"what breaks stays broken{words}"


def less(found, model):
    epsilon, seen = black_box.compare({k: found.get(k, {}) for k in black_box.BLACK + black_box.WHITE})
    seen = [s for s in seen if s.model == model]
    if not seen:
        return None
    words = "; ".join(f"gradients {s.gradients.mean():.1%}, black box {s.black:.1%}" for s in seen)
    passed = all(s.gradients.mean() <= s.black for s in seen)
    return passed, min(len(s.clean) for s in seen), f"ε = {255 * epsilon:.3g}/255: {words}"


def transfer(found, model):
    results = of(found, model, "transfer")
    if not results:
        return None
    passed, words = True, []
    for r in results:
        epsilon, sources = max(r.epsilons), black_box.sources(r)
        others = [s for s in sources if s != model]
        left = {s: black_box.right_from(r, epsilon, [s]).mean() for s in sources}
        at_both = all(any(np.isclose(e, b, rtol=0.02) for e in r.epsilons) for b in BUDGETS)
        passed &= at_both and "twin-bptt" in others and left.get(model, 1) <= min(left[s] for s in others)
        worst = min(others, key=left.get)
        words.append(
            f"ε = {255 * epsilon:.3g}/255: own images {left.get(model, np.nan):.1%}, worst others"
            f" ({worst}) {left[worst]:.1%}" + ("" if at_both else "; not at 4/255 and 8/255")
        )
    return passed, _n(results), "; ".join(words)


def decisions(found, model):
    """Whether HopSkipJump's changes are longer than those found with gradients, image by image."""
    pairs = _pairs(found, model, "hop-skip-jump", "minimal-l2")
    if not pairs:
        return None
    shares, counts = [], []
    for blind, seeing in pairs:
        _, places = black_box.common([blind, seeing])
        norms = [r.arrays["minimal_norm"][p] for r, p in zip((blind, seeing), places, strict=True)]
        right = (norms[0] > 0) & (norms[1] > 0)
        shares.append((norms[0] < norms[1])[right].mean() if right.any() else 1.0)
        counts.append(right.sum())
    return max(shares) <= HIDDEN, min(counts), f"smaller changes for {_percent(shares)} of the images"


def noise(found, model):
    own = {m: {model: of(found, model, m)} for m in ("noise-linf", "pgd-linf")}
    pairs, epsilon = black_box.outcomes(own, *own)
    if not pairs:
        return None
    words = "; ".join(f"noise {a.mean():.1%}, PGD {b.mean():.1%}" for a, b in pairs[model])
    passed = all(a.mean() >= b.mean() for a, b in pairs[model])
    return passed, min(len(a) for a, _ in pairs[model]), f"ε = {255 * epsilon:.3g}/255: {words}"


def planted(found, model):
    tables = [rows(r, "planted") for r in of(found, model, "sanity")]
    if not tables or not all(map(len, tables)):
        return None
    shares = {a: [float(t[t.attack == a].value.iloc[0]) for t in tables] for a in tables[0].attack}
    words = "; ".join(f"{name} {_percent(values)}" for name, values in shares.items())
    return min(shares.get("pgd", [0])) >= PLANTED, min(int(t.n.min()) for t in tables), words


def twice(found, model):
    values = _values(of(found, model, "sanity"), "identical")
    if not values:
        return None
    return min(v for v, _ in values) == 1, min(n for _, n in values), _percent(v for v, _ in values)


def repeated(found, model):
    values = {m: _values(of(found, model, "sanity"), m) for m in ("same_in_float64", "same_alone")}
    if not all(values.values()):
        return None
    every = [pair for found in values.values() for pair in found]
    words = (
        f"float64: {_percent(v for v, _ in values['same_in_float64'])} the same; one image at a time:"
        f" {_percent(v for v, _ in values['same_alone'])}"
    )
    return min(v for v, _ in every) >= REPEATED, min(n for _, n in every), words


def minimal(found, model):
    results = {norm: of(found, model, f"minimal-{norm}") for norm in NORMS}
    if not all(results.values()):
        return None
    words, shares = [], []
    for norm, every in results.items():
        medians = [v for v, _ in _values(every, "minimal_norm")]
        shares += [v for v, _ in _values(every, "found")]
        unit, ending = (255, "/255") if norm == "linf" else (1, "")
        words.append(f"median {NORMS[norm]} {', '.join(f'{unit * v:.3g}{ending}' for v in medians)}")
    passed = min(shares) >= PLANTED
    return (
        passed,
        min(_n(every) for every in results.values()),
        f"{'; '.join(words)}; found for {_percent(shares)}",
    )

"""The checklist of an evaluation that can be believed (after Carlini et al. 2019, Tramèr et al. 2020 and
Zimmermann et al. 2022), filled by code from stored results: 19 lines, each passed or failed. What was not
run is a fail.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from eplib import black_box, iterations, losses, masking_verdicts, suite
from eplib.checks import NORMS
from eplib.masking_verdicts import HIDDEN
from eplib.verdicts import nearest

NOT_RUN = "not run"
BUDGETS = (4 / 255, 8 / 255)  # at which images are transferred
EIGHT = 8 / 255
REPEATED = 0.98  # so many outcomes must be the same in float64 and one image at a time
PLANTED = 0.95  # so many planted examples must a valid attack find
ZERO = 0.005  # accuracy that counts as none
WHITE = ("pgd-linf", "pgd-l2", "suite-linf", "adaptive", "horizons", "iterations")


@dataclass(frozen=True)
class Line:
    """One line of the list. asked: what must hold. wanted: images that the standard asks for, None where it
    names none. n: images looked at, 0 where it was not run. evidence: the numbers.
    """

    letter: str
    asked: str
    wanted: int | None
    passed: bool
    n: int
    evidence: str


ASKED = {  # letter: (what must hold, images that the standard asks for)
    "A": ("attacks keep to images in [0, 1], to ε in pixel units, and get true labels", 1000),
    "B": ("every model is attacked on the same images", 10_000),
    "C": ("attacks see logits, and more than one loss of them is tried", 1000),
    "D": ("the standard AutoAttack was run in both norms", 1000),
    "E": ("gradients, losses and states together break at most five points more than plain PGD", 1000),
    "F": ("no attack horizon breaks five points more than the paper's, and predictions converge", 1000),
    "G": ("attacks on the states break at most five points more than those on the logits", 1000),
    "H": ("accuracy is flat in steps and restarts", 1000),
    "I": ("the loss rises, and APGD breaks no less than PGD, PGD no less than one step", 1000),
    "J": ("accuracy falls to zero when everything is allowed", 1000),
    "K": ("no image that breaks at one ε counts as right at a larger one", 1000),
    "L": ("seeing less never breaks more", 1000),
    "M": (
        "images made on other networks break less, also those of the twin trained by back-propagation",
        1000,
    ),
    "N": ("an attack that sees decisions only finds no smaller changes", 100),
    "O": ("random noise breaks less", 1000),
    "P": ("the attack finds a planted adversarial example", 200),
    "Q": ("two runs give the same", 100),
    "R": ("float64, and one image at a time, give the same outcomes", 100),
    "S": ("the smallest change that breaks each image was searched", 1000),
}


def checklist(found, model="ep-cnn"):
    """[Line] of one kind of network, every letter of `ASKED`; each must hold for every seed that is stored.

    found: {measurement: {model: [Result, one a seed]}}, whatever is stored.
    """
    own = {name: every.get(model, []) for name, every in found.items()}
    checks = {
        "A": _kept_to, "B": lambda own: _same_images(found), "C": _losses, "D": _autoattack, "E": _adaptive,
        "F": _horizons, "G": _states, "H": _flat, "I": _ordering, "J": _to_zero, "K": _monotone,
        "L": lambda own: _less(found, model), "M": lambda own: _transfer(own, model), "N": _decisions,
        "O": _noise, "P": _planted, "Q": _twice, "R": _repeated, "S": _minimal,
    }  # fmt: skip
    lines = []
    for letter, (asked, wanted) in ASKED.items():
        passed, n, evidence = checks[letter](own) or (False, 0, NOT_RUN)
        lines.append(Line(letter, asked, wanted, bool(passed), int(n), evidence))
    return lines


def _rows(result, metric, **columns):
    """The rows of a metric whose other columns have the values given."""
    rows = result.table[result.table.metric == metric]
    for column, value in columns.items():
        if column not in rows:
            return rows[:0]
        same = np.isclose(rows[column], value) if isinstance(value, float) else rows[column] == value
        rows = rows[same]
    return rows


def _values(results, metric, **columns):
    """[(value, n)] of the first such row of every result; [] unless each has one."""
    rows = [_rows(r, metric, **columns) for r in results]
    return [(float(t.value.iloc[0]), int(t.n.iloc[0])) for t in rows if len(t)] if all(map(len, rows)) else []


def _n(results):
    return min(len(r.image_ids) for r in results)


def _percent(values):
    """Shares, one a seed, as words."""
    return ", ".join(f"{v:.1%}" for v in values)


def _kept_to(own):
    sane, attacked = own.get("sanity", []), [r for name in WHITE for r in own.get(name, [])]
    low, high, far = (_values(sane, m) for m in ("pixel_low", "pixel_high", "distance"))
    if not (low and high and far):
        return None
    # a column of "true" alone is read as a truth value
    labels = {str(label).lower() for r in attacked for label in r.table.get("labels", pd.Series()).dropna()}
    passed = min(v for v, _ in low) >= 0 and max(v for v, _ in high) <= 1
    passed = passed and max(v for v, _ in far) <= 1 + 1e-4 and labels <= {"true"}
    words = f"pixels from {min(low)[0]:.3g} to {max(high)[0]:.3g}, at most {max(far)[0]:.5f} ε away"
    return passed, min(n for _, n in far), f"{words}; labels: {', '.join(sorted(labels)) or 'none recorded'}"


def _same_images(found):
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
        for _, row in _rows(result, "broken").iterrows():
            broken.setdefault(row.by, []).append(row.value)
    return {name: float(np.mean(values)) for name, values in broken.items()}


def _told(broken):
    """What broke how much, the most first."""
    most = sorted(((v, k) for k, v in broken.items() if v > 0), reverse=True)[:4]
    return ", ".join(f"{name} {value:.1%}" for value, name in most) or "nothing broken"


def _losses(own):
    results = own.get("adaptive", [])
    if not results:
        return None
    names = _found_by(results)
    tried = [loss for loss in losses.LOSSES if any(loss in name for name in names)]
    return (
        len(tried) > 1,
        _n(results),
        f"{', '.join(tried)}; models that answer with probabilities are refused",
    )


def _autoattack(own):
    results, norms = own.get("suite-linf", []) + own.get("suite-l2", []), []
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


def _adaptive(own):
    results = own.get("adaptive", [])
    if not results:
        return None
    epsilon = nearest(results[0], masking_verdicts.target())
    passed, words = _gaps(results, [masking_verdicts.outcomes(r, epsilon) for r in results])
    return (
        passed,
        _n(results),
        f"ℓ2 ε = {epsilon:.3g}: {words}; beyond plain PGD: {_told(_found_by(results))}",
    )


def _horizons(own):
    results = own.get("horizons", [])
    if not results:
        return None
    epsilon, pairs = masking_verdicts.horizon_pairs(results)
    passed, words = _gaps(results, pairs)
    loose = [float(_rows(r, "unsettled").value.max()) for r in results]
    return (
        passed and max(loose) <= HIDDEN,
        _n(results),
        f"ℓ2 ε = {epsilon:.3g}: {words}; not converged: at most {max(loose):.1%}",
    )


def _states(own):
    results = own.get("adaptive", [])
    broken = {k: v for k, v in _found_by(results).items() if k in losses.STATE_ATTACKS}
    if not broken:
        return None
    return sum(broken.values()) <= HIDDEN, _n(results), _told(broken)


def _flat(own):
    results = own.get("iterations", [])
    if not results:
        return None
    found = [iterations.flattened(r) for r in results]
    change = ", ".join(f"{change:.1f}" for _, change in found)
    return all(ok for ok, _ in found), _n(results), f"last change: {change} points"


def _ordering(own):
    results = own.get("iterations", [])
    if not results:
        return None
    said = []
    for r in results:
        table = _rows(r, "accuracy")
        last = {a: table[table.attack == a].value.min() for a in ("fgsm", "pgd", "apgd-ce")}
        curve = _rows(r, "loss").sort_values("iteration").value
        said.append((last, curve.iloc[0], curve.iloc[-1]))
    passed = all(b > a and w["apgd-ce"] <= w["pgd"] <= w["fgsm"] for w, a, b in said)
    words = "; ".join(
        f"FGSM {w['fgsm']:.1%}, PGD {w['pgd']:.1%}, APGD {w['apgd-ce']:.1%}, loss {a:.2g} → {b:.2g}"
        for w, a, b in said
    )
    return passed, _n(results), words


def _to_zero(own):
    values = {e: _values(own.get("sanity", []), "accuracy", epsilon=e) for e in (64 / 255, 1.0)}
    if not all(values.values()):
        return None
    words = "; ".join(
        f"ε = {255 * e:.0f}/255: {_percent(v for v, _ in found)}" for e, found in values.items()
    )
    every = [pair for found in values.values() for pair in found]
    return max(v for v, _ in every) < ZERO, min(n for _, n in every), words


def _monotone(own):
    results = own.get("pgd-linf", []) + own.get("pgd-l2", [])
    alone = _values(own.get("sanity", []), "repaired")
    if not results:
        return None
    passed = not any((r.correct[1:] & ~r.correct[:-1]).any() for r in results)
    words = f"; attacked anew at every ε, {_percent(v for v, _ in alone)} would" if alone else ""
    return passed, _n(results), f"what breaks stays broken{words}"


def _less(found, model):
    epsilon, seen = black_box.compare({k: found.get(k, {}) for k in black_box.BLACK + black_box.WHITE})
    seen = [s for s in seen if s.model == model]
    if not seen:
        return None
    words = "; ".join(f"gradients {s.gradients.mean():.1%}, black box {s.black:.1%}" for s in seen)
    passed = all(s.gradients.mean() <= s.black for s in seen)
    return passed, min(len(s.clean) for s in seen), f"ε = {255 * epsilon:.3g}/255: {words}"


def _transfer(own, model):
    results = own.get("transfer", [])
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


def _decisions(own):
    """Whether HopSkipJump's changes are longer than those found with gradients, image by image."""
    pairs = list(zip(own.get("hop-skip-jump", []), own.get("minimal-l2", []), strict=False))
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


def _noise(own):
    pairs = list(zip(own.get("noise-linf", []), own.get("pgd-linf", []), strict=False))
    if not pairs:
        return None
    words, passed, n = [], True, []
    for noise, pgd in pairs:
        epsilon = max(set(noise.epsilons) & set(pgd.epsilons), default=None)
        if epsilon is None:
            return None
        _, places = black_box.common([noise, pgd])
        left = [
            r.correct[list(r.epsilons).index(epsilon)][p].mean()
            for r, p in zip((noise, pgd), places, strict=True)
        ]
        passed &= bool(left[0] >= left[1])
        n.append(len(places[0]))
        words.append(f"noise {left[0]:.1%}, PGD {left[1]:.1%}")
    return passed, min(n), f"ε = {255 * epsilon:.3g}/255: {'; '.join(words)}"


def _planted(own):
    rows = [_rows(r, "planted") for r in own.get("sanity", [])]
    if not rows or not all(len(t) for t in rows):
        return None
    shares = {a: [float(t[t.attack == a].value.iloc[0]) for t in rows] for a in rows[0].attack}
    words = "; ".join(f"{name} {_percent(values)}" for name, values in shares.items())
    return min(shares.get("pgd", [0])) >= PLANTED, min(int(t.n.min()) for t in rows), words


def _twice(own):
    values = _values(own.get("sanity", []), "identical")
    if not values:
        return None
    return min(v for v, _ in values) == 1, min(n for _, n in values), _percent(v for v, _ in values)


def _repeated(own):
    values = {m: _values(own.get("sanity", []), m) for m in ("same_in_float64", "same_alone")}
    if not all(values.values()):
        return None
    every = [pair for found in values.values() for pair in found]
    words = (
        f"float64: {_percent(v for v, _ in values['same_in_float64'])} the same; one image at a time:"
        f" {_percent(v for v, _ in values['same_alone'])}"
    )
    return min(v for v, _ in every) >= REPEATED, min(n for _, n in every), words


def _minimal(own):
    results = {norm: own.get(f"minimal-{norm}", []) for norm in NORMS}
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

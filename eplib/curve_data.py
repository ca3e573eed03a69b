"""Every curve of accuracy against ε that there is, ours from the stored results and the published ones, and
what a page that draws them holds.
"""

import re
from dataclasses import dataclass
from functools import cache

import numpy as np

from eplib import checkpoints, curves, files, panels, pictures, published_curves, results, scales
from eplib.attack_figures import LIKE_THE_PAPERS
from eplib.black_box_figures import PARTS
from eplib.chapters import DATASET_NAMES
from eplib.network_figures import ORDER, family
from eplib.verdicts import PAPER_DATASETS

LARGEST_FIRST = ("paper", "cpu", "quick", "smoke")  # scales
ATTACKS = {  # measurements without their norm: (what they are called, the same beside a curve)
    "pgd": ("PGD", "PGD"),
    "suite": ("several attacks together", "several"),
    "square": ("Square", "Square"),
    "hop-skip-jump": ("HopSkipJump", "HopSkipJump"),
    "carlini-wagner": ("Carlini and Wagner", "C&W"),
    "minimal": ("smallest change (DDN, FMN)", "min. norm"),
    "noise": ("random noise", "noise"),
    "horizons": ("PGD through other numbers of free steps", "PGD"),
}
ONE = {  # the only attack of a result, with its steps
    "pgd": "PGD, {} steps",
    "square": "Square, {} queries",
    "hop-skip-jump": "HopSkipJump, {} steps",
    "carlini-wagner": "Carlini and Wagner, {} steps for every constant",
    "ddn": "DDN, {} steps",
    "fmn": "FMN, {} steps",
    "noise": "the worst of {} random changes of size ε",
}
EVALUATIONS = {"pgd": "pgd", "autoattack": "suite", "square": "square"}  # of the paper
REPAIRED = "an image that the attack repairs counts as right"
THROUGH = ", attack steps "  # in the names of published curves


@dataclass(frozen=True)
class Measured:
    """Stored results that differ in their seed alone.

    attack: of `ATTACKS`. results: [Result], by seed.
    """

    attack: str
    norm: str
    scale: str
    dataset: str
    model: str
    results: list


def attack_of(measurement):
    """The entry of `ATTACKS` that a measurement belongs to, or None where it gives no curve."""
    attack = re.sub("-(linf|l2)$", "", measurement)
    return attack if attack in ATTACKS and attack != "horizons" else None


def measured(scale):
    """[Measured] of a scale: every stored result that is one outcome an ε, and whose network is stored as it
    was when it was measured. Nothing is measured. Raises InputError where what is stored is damaged.
    """
    paths, groups, hashes = {}, {}, {}
    for folder in results.folders(scale)[1]:
        for path in sorted((folder / "results" / scale).glob("*/*/*.json")):
            if attack_of(path.parent.name):
                paths.setdefault(path.relative_to(folder), path)
    for path in paths.values():
        result = results.load(path)
        s = result.settings
        network = (s["scale"], s["model"], s["dataset"], s["seed"])
        if network not in hashes:
            hashes[network] = _hash(*network)
        if hashes[network] == s["checkpoint_sha256"]:
            own = ("seed", "checkpoint", "checkpoint_sha256")
            alike = files.settings_hash({k: value for k, value in s.items() if k not in own})
            where = (attack_of(s["measurement"]), result.norm, scale, s["dataset"], s["model"])
            groups.setdefault((*where, alike), []).append(result)
    by_seed = {key: sorted(found, key=lambda r: r.settings["seed"]) for key, found in groups.items()}
    return [Measured(*where, found) for (*where, _), found in by_seed.items()]


def _hash(*network):
    path = checkpoints.find(*network)
    return path and files.read_json(path.with_suffix(".json"), "checkpoint record")["sha256"]


def everything(found):
    """All that curves.js shows but where it begins, ready for JSON, of [Measured] and of every published
    curve. Accuracies are in ten-thousandths, ε in pixels of [0, 1].
    """
    lines = [_ours(m) for m in found] + [dict(line) for line in published()]
    lines.sort(key=lambda line: (place(line["curve"].model), line["attack"], "figures" in line))
    drawn = [line.pop("curve") for line in lines]
    models = list(dict.fromkeys(c.model for c in drawn))
    grids, hows = {}, {}
    for line, c in zip(lines, drawn, strict=True):
        x = tuple(float(f"{e:.6g}") for e in c.x)
        line["model"] = models.index(c.model)
        line["x"] = grids.setdefault(x, len(grids))
        line["how"] = hows.setdefault(line["how"], len(hows))
        line |= {"y": _rounded(c.y), "low": _rounded(c.low), "high": _rounded(c.high)}
    figures = dict.fromkeys(f for line in lines for f in line.get("figures", ()))
    sets = dict.fromkeys((m.scale, m.dataset) for m in found)
    return {
        "grids": [list(x) for x in grids],
        "hows": list(hows),
        "models": _models(models, drawn),
        "attacks": [{"key": k, "name": name, "short": short} for k, (name, short) in ATTACKS.items()],
        "sets": [_set(*s) for s in sorted(sets, key=lambda s: (LARGEST_FIRST.index(s[0]), s[1]))],
        "published": [
            {"key": d, "name": DATASET_NAMES[d]} for d in PAPER_DATASETS if any(c["set"] == d for c in lines)
        ],
        "notes": {f: published_curves.note(f) for f in figures if published_curves.note(f)},
        "units": panels.UNITS,
        "axes": panels.XLABELS,
        "ticks": {norm: list(ticks) for norm, ticks in panels.TICKS.items()},
        "curves": lines,
    }


def _set(scale, dataset):
    name = f"{DATASET_NAMES[dataset]}, {scale} scale"
    return {"key": f"{scale}/{dataset}", "name": name, "dashed": dataset not in PAPER_DATASETS}


def _models(models, drawn):
    """What is said of every model, with a colour of its own as long as there are enough."""
    first = {c.model: c for c in reversed(drawn)}
    important = sorted(models, key=lambda m: (m not in LIKE_THE_PAPERS, THROUGH in m))
    (coloured,) = panels.coloured([first[m] for m in important])
    colours = {c.model: c.colour for c in coloured}
    return [
        {"key": key(m), "name": _name(m), "short": _short(m), "family": family(m), "colour": colours[m]}
        for m in models
    ]


def place(model):
    """Where a model stands: families as everywhere, then the rows of the scales, then all others."""
    rows = [m for s in scales.SCALES.values() for of in (s.rows, *s.others.values()) for m in of]
    return ORDER.index(family(model)), rows.index(model) if model in rows else len(rows), model


def key(model):
    """A model in the address of a page."""
    return model.replace(THROUGH, "-through-")


def _name(model):
    whose, through, steps = model.partition(THROUGH)
    if through:
        return f"{pictures.name(whose)}, through {steps} steps"
    return published_curves.name(model) if model == "vit" else pictures.name(model)


def _short(model):
    """Its name beside a curve."""
    return _name(model) if THROUGH in model else published_curves.name(model)


def _rounded(values):
    return [round(10_000 * v) for v in values]


def _ours(m):
    """One curve of ours: its seeds with [seed, hash in the result's name, of its network], and the values of
    each.
    """
    (curve,) = curves.of_results({m.model: m.results}, m.dataset not in PAPER_DATASETS)
    order = np.argsort(m.results[0].epsilons)
    first = m.results[0]
    return {
        "curve": curve,
        "attack": list(ATTACKS).index(m.attack),
        "called": str(results.rows(first, "accuracy").attack.iloc[0]),
        "norm": m.norm,
        "set": f"{m.scale}/{m.dataset}",
        "how": how(first),
        "n": len(first.image_ids),
        "measurement": first.settings["measurement"],
        "seeds": [_seed(r.settings) for r in m.results],
        "each": [_rounded(r.correct[order].mean(1)) for r in m.results],
    }


def _seed(settings):
    return [settings["seed"], files.settings_hash(settings), settings["checkpoint_sha256"][:10]]


def how(result):
    """How a result was made, in words: the attack with its steps, and what an energy-based network does."""
    row, s = results.rows(result, "accuracy").iloc[0], result.settings
    plan = s.get("sizes", {}).get("plan", [])
    if row.attack in ONE:
        words = ONE[row.attack].format(f"{int(row.attack_steps):,}")
    else:
        parts = (f"{PARTS[name][0]} {count:,} {PARTS[name][1]}" for name, count in plan)
        words = f"what none of these breaks: {', '.join(parts)}"
    if not s["predict_steps"]:
        return words
    steps = f"step{'s' * (s['predict_steps'] > 1)}"
    return f"{words}; free phase of {s['predict_steps']} {s['order']} {steps}"


@cache
def published():
    """The published curves; those that several figures show once. n and seeds: one number an ε."""
    found = {}
    for figure, shown in published_curves.FIGURES.items():
        tables = published_curves.curves(figure)
        for curve in curves.of_published(figure):
            attack = "horizons" if THROUGH in curve.model else EVALUATIONS[shown.evaluation]
            table = tables[curve.model]
            line = {
                "curve": curve,
                "attack": list(ATTACKS).index(attack),
                "called": shown.evaluation,
                "norm": shown.axes.norm,
                "set": shown.dataset,
                "how": f"{shown.title}; {REPAIRED}",
                "n": table.images.astype(int).tolist(),
                "seeds": table.seeds.astype(int).tolist(),
            }
            same = found.setdefault(str(line), line | {"figures": []})
            same["figures"].append(figure)
    return tuple(found.values())

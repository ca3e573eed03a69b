"""The evaluation card of one network: what was measured of it and what was not, with the numbers as stored.

Only results of exactly these weights count (by hash). What must be said with the numbers is composed by rule.
"""

import glob
from dataclasses import replace
from pathlib import Path

import numpy as np

from eplib import baselines, checklist, files, results, studies, suite
from eplib.checks import NORMS, amount
from eplib.measurements import MEASUREMENTS
from eplib.network import EPCNN

FORMAT = 1
ENOUGH = 1000  # images under attack
MOST_ROWS = 30  # of a measurement in the readable card; the other one has all
ONE_NETWORK = "B"  # the line of the checklist that compares several
OUTCOMES = {True: "passed", False: "failed"}


def stored(checkpoint, folder=None):
    """{measurement: {path below a folder of results: Result}}, in the order of `MEASUREMENTS`, of all results
    that are stored of exactly this network. folder: of results, besides data/results.
    """
    record, found = checkpoint.record, {}
    places = [place / "results" for place in results.folders(record["scale"])[1]]
    name = glob.escape(f"{record['model']}-s{record['seed']}")
    for place in [*places, *([Path(folder)] if folder else [])]:
        for path in sorted(place.glob(f"*/*/*/{name}-*.json")):
            settings = files.read_json(path, "result").get("settings")
            if isinstance(settings, dict) and settings.get("checkpoint_sha256") == checkpoint.sha256:
                found.setdefault(path.relative_to(place).as_posix(), path)
    loaded = {name: _loaded(found[name]) for name in sorted(found)}
    by_measurement = {
        m: {name: r for name, r in loaded.items() if r.settings["measurement"] == m} for m in MEASUREMENTS
    }
    return {m: every for m, every in by_measurement.items() if every}


def _loaded(path):
    """The `Result` at a path, whose record has the hash of the path's own file too."""
    result = results.load(path)
    return replace(result, record=result.record | {"json_sha256": files.sha256(path)})


def card(checkpoint, found):
    """The card as JSON takes it. found: of `stored`."""
    record, net = checkpoint.record, checkpoint.net
    training = record.get("training") or {}
    return {
        "format": FORMAT,
        "network": {
            "checkpoint": checkpoint.name,
            "sha256": checkpoint.sha256,
            **{key: record[key] for key in ("model", "dataset", "scale", "seed")},
            "network": baselines.describe(net),
            "parameters": sum(p.numel() for p in net.parameters()),
            "training_data_sha256": training.get("data_sha256"),
            "imported": training.get("imported"),
            "revision": record.get("git"),
        },
        "said": said(found),
        "threat_models": _threats(found),
        "measurements": [
            {
                "measurement": m,
                "run": m in found,
                "applies": m not in studies.STUDIES or isinstance(net, EPCNN),
                "results": [_result(n, r) for n, r in found.get(m, {}).items()],
            }
            for m in MEASUREMENTS
        ],
        "checklist": _checklist(record["model"], found),
    }


def _threats(found):
    """{norm: [ε, in pixels of [0, 1]]} of all accuracies under attack."""
    threats = {}
    for result in _attacked(found):
        rows = result.table[(result.table.metric == "accuracy") & result.table.epsilon.notna()]
        for norm, epsilon in zip(rows.norm, rows.epsilon, strict=True):
            if norm in NORMS:
                threats.setdefault(norm, set()).add(_plain(epsilon))
    return {norm: sorted(threats[norm], key=float) for norm in NORMS if norm in threats}


def _result(name, result):
    """One result: its files with hashes, and its accuracies."""
    record, base = result.record, name.removesuffix(".json")
    table = result.table[result.table.metric == "accuracy"]
    return {
        "files": {f"{base}.{ending}": record[f"{ending}_sha256"] for ending in ("csv", "npz", "json")},
        "images": record["n"],
        "data_sha256": record.get("data_sha256"),
        "revision": record.get("git"),
        "metrics": sorted(result.table.metric.unique()),
        "gradients": _values(result, "gradient"),
        "attacks": _values(result, "attack"),
        "accuracy": [_row(row) for _, row in table.iterrows()],
    }


def _values(result, column):
    return sorted(map(str, result.table[column].dropna().unique())) if column in result.table else []


def _row(row):
    """What a row of a table says, without what is the same for all of them."""
    same = {*results.IDENTITY, "metric", "seconds"}
    return {key: _plain(value) for key, value in row.items() if key not in same and value == value}


def _plain(value):
    """A value of a table as JSON takes it: steps and counts whole, infinity a word."""
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, bool):  # a column of "true" alone is read as a truth value
        return str(value).lower()
    if value == float("inf"):
        return "inf"
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) > 1 else value


def _checklist(model, found):
    # of several results of one measurement, the one with most images
    most = {m: max(every.values(), key=lambda r: len(r.image_ids)) for m, every in found.items()}
    lines = checklist.checklist({m: {model: [r]} for m, r in most.items()}, model)
    return [
        {
            "letter": line.letter,
            "asked": line.asked,
            "outcome": _outcome(line),
            "images": line.n,
            "images_asked_for": line.wanted,
            "evidence": "" if line.evidence == checklist.NOT_RUN else line.evidence,
        }
        for line in lines
    ]


def _outcome(line):
    if line.letter == ONE_NETWORK:
        return "does not apply to one network"
    return checklist.NOT_RUN if line.evidence == checklist.NOT_RUN else OUTCOMES[line.passed]


def said(found):
    """[sentence] that must stand with the numbers, by rule; [] never, as one network is one seed."""
    if not found:
        return ["No measurement of this network is stored: the card says nothing about its accuracy."]
    sentences = (
        [_about_suite(found)]
        if _attacked(found)
        else ["No attack within a budget was run: the card says nothing about robustness."]
    )
    if "adaptive" not in found:
        sentences.append("No adaptive attack, one made for this kind of network, was run.")
    few = [len(r.image_ids) for r in _attacked(found) if len(r.image_ids) < ENOUGH]
    if few:
        span = f"{min(few):,}" if min(few) == max(few) else f"{min(few):,} to {max(few):,}"
        sentences.append(f"Some attacks saw {span} images, fewer than {ENOUGH:,}: their intervals are wide.")
    sentences.append("One network of one seed: nothing here says how much another training would differ.")
    return [s for s in sentences if s]


def _attacked(found):
    """The results with accuracies within a budget."""
    every = (r for of in found.values() for r in of.values())
    return [
        r
        for r in every
        if (r.table.norm.notna() & r.table.epsilon.notna() & (r.table.metric == "accuracy")).any()
    ]


def _about_suite(found):
    """A sentence where the standard AutoAttack was not run in both norms, else None."""
    run = [r for m in ("suite-linf", "suite-l2") for r in found.get(m, {}).values()]
    norms = {r.norm for r in run if suite.is_autoattack(r.settings["sizes"]["plan"])}
    missing = [words for norm, words in NORMS.items() if norm not in norms]
    if not missing:
        return None
    shorter = ", a shorter suite of the same attacks was" if run else ""
    return (
        f"The standard AutoAttack was not run in {' and '.join(missing)}{shorter}: accuracies under attack"
        " are upper bounds, and a stronger attack may leave less."
    )


def text(card):
    """The card to be read, as Markdown."""
    net = card["network"]
    lines = [f"# Evaluation card: {net['checkpoint']}", ""]
    lines += [f"- {sentence}" for sentence in card["said"]]
    lines += ["", "## The network", ""]
    told = {
        "Model": net["model"],
        "Kind": net["network"]["kind"],
        "Parameters": f"{net['parameters']:,}",
        "Data set": f"{net['dataset']}, sha256 {net['training_data_sha256'] or 'not recorded'}",
        "Scale": net["scale"],
        "Seed": net["seed"],
        "Weights": f"sha256 {net['sha256']}",
        "Revision that wrote it": net["revision"] or "not recorded",
    }
    lines += [f"- {key}: {value}" for key, value in told.items()]
    if net["imported"]:
        lines.append(f"- Trained elsewhere, imported from a file with sha256 {net['imported'].get('sha256')}")
    run = [m for m in card["measurements"] if m["run"]]
    lines += [
        "",
        "## Measured",
        "",
        "Accuracy is the share of right answers, under attack of images that are right",
    ]
    lines += ["before and after; intervals are those of 95 %. `card.json` has every row.", ""]
    lines += [line for m in run for line in _measured(m)] or ["Nothing.", ""]
    missing = [m["measurement"] for m in card["measurements"] if m["applies"] and not m["run"]]
    lines += ["## Not run", "", (", ".join(missing) or "Every measurement was run") + ".", ""]
    without = [m["measurement"] for m in card["measurements"] if not m["applies"]]
    lines += [f"Of networks that settle alone: {', '.join(without)}.", ""] if without else []
    lines += [
        "## Checklist",
        "",
        "| | asked | outcome | images, of those asked for | evidence |",
        "|---|---|---|---|---|",
    ]
    for line in card["checklist"]:
        images = f"{line['images']:,} of {line['images_asked_for']:,}"
        cells = (line["letter"], line["asked"], line["outcome"], images, line["evidence"])
        lines.append(f"| {' | '.join(str(c).replace('|', '¦') for c in cells)} |")
    return "\n".join(lines) + "\n"


def _measured(measurement):
    lines = [f"### {measurement['measurement']}", ""]
    for r in measurement["results"]:
        lines.append(f"{r['images']:,} images of sha256 {r['data_sha256']}, revision {r['revision']}.")
        for what in ("attacks", "gradients"):
            lines += [f"{what.capitalize()}: {', '.join(r[what])}."] if r[what] else []
        lines += [f"Metrics: {', '.join(r['metrics'])}.", ""]
        rows = r["accuracy"]
        if len(rows) > MOST_ROWS:
            values = [row["value"] for row in rows]
            lines += [f"{len(rows)} accuracies from {min(values):.1%} to {max(values):.1%}.", ""]
        elif rows:
            lines += [
                "| setting | accuracy | 95 % interval | n |",
                "|---|---|---|---|",
                *map(_line, rows),
                "",
            ]
        lines += [*(f"- `{name}` sha256 {sha}" for name, sha in r["files"].items()), ""]
    return lines


def _line(row):
    apart = {"norm", "epsilon", "value", "low", "high", "n"}
    setting = []
    if "norm" in row:
        setting.append(NORMS.get(row["norm"], row["norm"]))
    if "epsilon" in row:
        setting.append(f"ε = {amount(row.get('norm'), float(row['epsilon']))}")
    setting += [f"{key.replace('_', ' ')} {value}" for key, value in row.items() if key not in apart]
    interval = f"{row['low']:.1%} to {row['high']:.1%}" if "low" in row else ""
    return f"| {', '.join(setting)} | {row['value']:.1%} | {interval} | {row['n']:,} |"

"""Every network that is stored: what it is, in words, what accuracy it reached, and whether it was trained
enough to be compared. Nothing is trained here, and nothing but networks of others is measured.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from eplib import baselines, checkpoints, files, measurements, others, pictures, results, scales, verdicts
from eplib.checks import NORMS
from eplib.recipes import Recipe
from eplib.sentences import Text

ESTIMATORS = {  # of the recipe's gradient
    "centred": "two nudged phases",
    "one-sided": "one nudged phase",
    "adjoint": "gradient by the adjoint",
    "bptt": "back-propagation through all steps",
}
UNITS = {"relu": "ReLU", "hard-sigmoid": "hard sigmoid", "ep": "the EP-CNN's unit"}


@dataclass(frozen=True)
class Entry:
    """A stored network, or one of others. record: its JSON. path: of its weights. parameters: how many its
    training may change. clean: its "clean" `Result`, or None.
    """

    model: str
    seed: int
    dataset: str
    scale: str
    record: dict
    path: Path
    parameters: int
    clean: results.Result | None

    @property
    def imported(self):
        """Whether it is a network of others, of whose training next to nothing is known."""
        return "imported" in self.record["training"]

    @property
    def history(self):
        """The epochs of its training, [] where they are not known."""
        return self.record["training"].get("history", [])

    @property
    def accuracies(self):
        """{"test": at its own free phase, where that was measured, "validation": when it was trained}."""
        found = {}
        if self.clean is not None:
            settings = self.clean.settings
            found["test"] = self._at(settings["predict_steps"], settings["order"])
        if self.history:
            found["validation"] = _kept(self.history)["validation_accuracy"]
        return found

    @property
    def kind(self):
        """Which of `accuracies` is shown: "test" where there is one, else "validation", None for neither."""
        return next(iter(self.accuracies), None)

    @property
    def settled(self):
        """Test accuracy of an energy-based network after the longest free phase of its scale, or None."""
        recurrent = self.clean is not None and self.clean.settings["predict_steps"]
        return self._at(*longest(self.scale)) if recurrent else None

    def _at(self, steps, order):
        table = self.clean.table[self.clean.table.metric == "accuracy"]
        if steps:
            table = table[(table.predict_steps == steps) & (table.order == order)]
        return float(table.value.iloc[0]) if len(table) else None


def _kept(history):
    """The epoch whose weights were kept: the last, or of adversarial training the most robust, see
    `eplib.training.run`.
    """
    if "robust_validation_accuracy" in history[-1]:
        return max(history, key=lambda h: h["robust_validation_accuracy"])
    return history[-1]


def longest(scale):
    """(steps, order) of the longest free phase that a scale measures clean accuracy at."""
    return max(scales.scale(scale).attack.settled)


def entries(scale, dataset=None, seeds="all"):
    """Every stored network of a scale that is one of its rows, as an `Entry`: by data set (the scale's own
    first), by row, by seed. dataset, seeds: only those of that data set, of these seeds.

    Raises InputError where a stored network or result is damaged.
    """
    size, found = scales.scale(scale), {}
    for folder in results.folders(scale)[1]:
        for path in sorted((folder / "checkpoints" / scale).glob("*.json")):
            found.setdefault(path.name, path)  # what was written last hides what is committed
    known = []
    for path in found.values():
        record = files.read_json(path, "checkpoint record")
        rows = list(size.others.get(record.get("dataset"), size.rows))
        wanted = dataset in (None, record.get("dataset")) and (seeds == "all" or record.get("seed") in seeds)
        if wanted and record.get("model") in rows:
            entry = _entry(path.with_suffix(".safetensors"))
            place = (entry.dataset != size.dataset, entry.dataset, rows.index(entry.model), entry.seed)
            known.append((place, entry))
    return [entry for _, entry in sorted(known, key=lambda pair: pair[0])]


def of_others(scale):
    """The networks of others of this session (`others`), as an `Entry` each: clean accuracy at the sizes of a
    scale, stored or measured now. path: their file's name alone.
    """
    found = [c for every in others.at(scale).values() for c in every]
    measured = [measurements.stored_or_measured(c, "clean") for c in found]
    pairs = zip(found, measured, strict=True)
    return [_of(c, Path(f"{c.name}.safetensors"), clean) for c, clean in pairs]


def _entry(path):
    checkpoint = checkpoints.load(path)
    return _of(checkpoint, path, results.find(measurements.settings_of(checkpoint, "clean")))


def _of(checkpoint, path, clean):
    record = checkpoint.record
    parameters = sum(p.numel() for p in checkpoint.net.parameters())
    identity = (record[key] for key in ("model", "seed", "dataset", "scale"))
    return Entry(*identity, record, path, parameters, clean)


def reference(entry, among):
    """(kind, accuracy) that an entry is held against: the mean of the EP-CNNs `among` on the same data set,
    test accuracies where both have one, else validation accuracies. None where there is no such pair.
    """
    peers = [e for e in among if e.model == "ep-cnn" and e.dataset == entry.dataset]
    for kind in ("test", "validation"):
        theirs = [e.accuracies[kind] for e in peers if kind in e.accuracies]
        if kind in entry.accuracies and theirs:
            return kind, sum(theirs) / len(theirs)
    return None


def under_trained(entry, among):
    """Whether a network is more than ten points of clean accuracy below its `reference`."""
    found = reference(entry, among)
    return found is not None and verdicts.lags(entry.accuracies[found[0]], found[1])


def comparable(ep_results, cnn_results):
    """Are the EP-CNN and the CNN trained alike well, so that their robustness can be compared? A `Verdict`
    from "clean" results, one a seed: supported unless `verdicts.lagging`.
    """
    behind = verdicts.lagging(ep_results, cnn_results)
    word = "contradicted" if behind else "supported"
    ep, cnn = (sum(r.correct_clean.mean() for r in found) / len(found) for found in (ep_results, cnn_results))
    points = f"{100 * verdicts.UNDER_TRAINED:.0f} points"
    neither = (
        f"The EP-CNN gets {ep:.1%} of the clean test images right and the CNN {cnn:.1%}"
        f" (seeds: {len(ep_results)} and {len(cnn_results)}): neither is more than {points} below the other."
    )
    return verdicts.judged(
        word,
        ep_results,
        f"For these networks: {word}. {behind or neither}",
        f"The word changes when the mean clean accuracy of one is more than {points} below the other's, or no"
        f" longer is. The word for the method needs {verdicts.SEEDS_FOR_METHOD} seeds on CIFAR images.",
    )


def answer(shown, badge):
    """The chapter's one-sentence answer from the entries shown."""
    low = Counter(e.model for e in shown if under_trained(e, shown))
    count, models = len(shown), len({e.model for e in shown})
    reached = " and ".join(t for t in (_reached(shown, m) for m in ("ep-cnn", "cnn")) if t)
    named = ", ".join(pictures.name(m) + (f" × {n}" if n > 1 else "") for m, n in low.items())
    return Text(
        f"**In one sentence.** {count} network{'s' * (count != 1)} of {models} kind{'s' * (models != 1)}"
        f" {'is' if count == 1 else 'are'} stored ({badge.dataset_name}, {badge.scale} scale)"
        + (f"; {reached}" if reached else "")
        + f"; {low.total() or 'none'} {'is' if low.total() == 1 else 'are'} under-trained"
        + (f" ({named})." if named else ".")
    )


def _reached(shown, model):
    """What the networks of a model reach, in words; "" where there is none."""
    found = [e for e in shown if e.model == model and e.kind]
    kind = "test" if any(e.kind == "test" for e in found) else "validation"
    values = [e.accuracies[kind] for e in found if kind in e.accuracies]
    if not values:
        return ""
    of = f"mean of {len(values)} seeds" if len(values) > 1 else "one seed"
    return f"the {pictures.name(model)} gets {sum(values) / len(values):.1%} of {kind} images right ({of})"


def rule(shown):
    """The rule of under-training in words, with its reference's numbers."""
    kinds = {}
    for entry in shown:
        found = reference(entry, shown)
        if found:
            kinds[found[0]] = found[1]
    numbers = " and ".join(f"{value:.1%} on {kind} images" for kind, value in sorted(kinds.items()))
    return Text(
        "A network is called **under-trained** when its clean accuracy is more than"
        f" {100 * verdicts.UNDER_TRAINED:.0f} points below the mean of this scale's EP-CNNs"
        + (f" ({numbers})" if numbers else " (none is stored, so that no network is)")
        + ". Test accuracy is compared with test accuracy; where a network's has not been measured,"
        " validation accuracy with validation accuracy. Such a network stays on this page, but a"
        " comparison of EP-CNN and CNN in which one lags so far behind the other is given no verdict in this"
        " book: a network that has learned little also has little to lose under attack."
    )


def in_words(record):
    """What a network is and what its training does, from its stored record."""
    return "; ".join(filter(None, (_architecture(record["network"]), _training(record["training"]))))


def _architecture(network):
    kind = network["kind"]
    if kind == "Imported":
        return network["source"]
    if kind in baselines.TRANSFORMERS:
        sizes = {"patch": "patches of {} pixels", "width": "width {}", "depth": "depth {}"}
        sizes |= {"depths": "depths {}", "channels": "convolution of {} channels", "heads": "{} heads"}
        return ", ".join([kind, *(w.format(_joined(network[k])) for k, w in sizes.items() if k in network)])
    words = [_joined(network["channels"])]
    if kind == "CNN":
        words += ["BatchNorm" if network.get("norm", True) else "no BatchNorm"]
        words += [UNITS[network.get("unit", "relu")]]
    else:
        words += ["average pooling"] if network.get("pooling", "max") == "average" else []
        words += [f"{network['steps']} {network['order']} step{'s' * (network['steps'] != 1)}"]
    return ", ".join(words)


def _training(training):
    """What departs from plain back-propagation, or where a network of others is from. A record that is older
    than a setting has its default.
    """
    if "imported" in training:
        return f"imported from {training['imported']['file']}"
    stored = training["recipe"]
    r = {f: stored.get(f, d.default) for f, d in Recipe.__dataclass_fields__.items()}
    source = r["source"] and f"the {pictures.name(r['source'])}"
    words = []
    if r["kind"] == "readout":
        words = ["only the read-out is fitted", f"convolutions of {source}" if source else ""]
    elif r["kind"] == "ep":
        words = [ESTIMATORS[r["estimator"]]]
        if r["estimator"] in ("centred", "one-sided"):
            words += [f"β {r['beta']:g}, {r['phases'][-1][2]} nudged steps, {r['arg_max']} arg-max"]
        words += ["squared error" if r["loss"] == "squared-error" else ""]
    elif source:
        words = [f"taught by {source}"]
    if r["adversary"]:
        norm, epsilon, steps = r["adversary"]
        size = f"{255 * epsilon:g}/255" if norm == "linf" else f"{epsilon:g}"
        words.append(f"PGD-{steps} {NORMS[norm]} {size}")
    words += [f"gradient penalty {r['gradient_penalty']:g}" if r["gradient_penalty"] else ""]
    words += ["AdamW" if r["optimiser"] == "adamw" else ""]
    if r["weight_decay"] and r["kind"] != "readout":
        words.append(f"weight decay {_short(r['weight_decay'])}")
    words += [f"stopped after {r['stop']:.0%} of the run" if r["stop"] < 1 else ""]
    words += ["RandAugment" if r["augmentation"] else ""]
    words += [f"label smoothing {r['label_smoothing']:g}" if r["label_smoothing"] else ""]
    return ", ".join(filter(None, words))


def _joined(value):
    return "-".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _short(number):
    """0.0003 as 3e-4, 0.05 as 0.05."""
    return f"{number:g}" if number >= 0.01 else f"{number:.0e}".replace("e-0", "e-")

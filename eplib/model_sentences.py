"""What the chapters on the model say about their results, composed from them."""

import html

from eplib import model_verdicts, published, scales, sentences
from eplib.attractors import RETURNED
from eplib.phases import ORDERS
from eplib.pictures import NAMES
from eplib.sentences import Html, Text

WORDS = {"supported": "yes", "contradicted": "no", "undecided": "undecided"}
SETTINGS = {  # what the paper recorded: how it is called here, and where our recipe holds it
    "channels": ("channels", lambda row: row.channels),
    "free_steps": (
        "free steps in training",
        lambda row: [f"{p[1]} to {p[0]:.0%}" for p in row.recipe.phases],
    ),
    "nudged_steps": ("nudged steps", lambda row: [f"{p[2]} to {p[0]:.0%}" for p in row.recipe.phases]),
    "order": ("order of updates", lambda row: row.order),
    "beta": ("nudging strength β", lambda row: f"±{row.recipe.beta}"),
    "arg_max": ("arg-max in the nudged phases", lambda row: row.recipe.arg_max),
    "learning_rates": ("learning rates", lambda row: row.recipe.learning_rates),
    "momentum": ("momentum", lambda row: row.recipe.momentum),
    "weight_decay": ("weight decay", lambda row: row.recipe.weight_decay),
    "batch": ("batch", lambda row: row.recipe.batch),
    "epochs": (
        "length of training, in epochs or images seen",
        lambda row: f"{row.recipe.images_seen:,} images",
    ),
    "normalisation_spread": (
        "standard deviations in the normalisation",
        lambda row: _spread(row.recipe),
    ),
    "crop": ("crops filled by", lambda row: row.recipe.crop or "no crops"),
    "initialisation": ("gains on the default initialisation", lambda row: row.recipe.gains or 1),
    "checkpoint": ("which epoch is kept", lambda row: "the last"),
}


def published_settling():
    """The published accuracy by free step, as a sentence."""
    curve = published.free_step_curve()
    at = ", ".join(f"{curve['mean'][t]:.1%} at step {t}" for t in (3, 10, 60, 250))
    return Text(
        f"**Published** (arXiv 2401.11543, CIFAR-10, synchronous order, {int(curve.seeds.max())} seeds): the"
        f" EP-CNN's test accuracy is {at} of the free phase."
    )


def equilibrium_answer(settled, meaning, multistability, badge):
    """The chapter's answer from its two verdicts and the count of attractors."""
    counts = [r.table[r.table.metric == "attractors"].value.iloc[0] for r in multistability]
    starts = multistability[0].settings["sizes"]["starts"] + 1
    return Text(
        f"**In one sentence.** Does the accuracy stop changing at free step {model_verdicts.SETTLED_STEP}, as"
        f" published? For these networks: {WORDS[settled.networks]}; {starts} starts of an image find"
        f" {sum(counts) / len(counts):.1f} equilibria on average, and whether these attractors mean classes"
        f" is: {WORDS[meaning.networks]} ({badge.dataset_name}, {badge.scale} scale)."
    )


def cycles(results):
    """How many images are at rest, in a cycle of period two, or neither at the end of a settling study."""
    last = {
        order: {
            metric: 100
            * sum(
                r.table[(r.table.metric == metric) & (r.table.order == order)].value.iloc[0] for r in results
            )
            / len(results)
            for metric in ("at_rest", "period_two")
        }
        for order in ORDERS
    }
    steps = int(results[0].table.predict_steps.max())
    words = "; ".join(
        f"{order} {v['at_rest']:.1f} % at rest, {v['period_two']:.1f} % in a cycle of period two"
        for order, v in last.items()
    )
    return Text(
        f"**After {steps} steps** (at rest: no unit moves by more than {RETURNED:g} in a step; a cycle of"
        " period two:"
        f" two steps bring every unit back): {words}; the others still move."
    )


def learning_answer(gradient, caught, badge):
    """The chapter's answer from its two verdicts."""
    return Text(
        "**In one sentence.** Does Equilibrium Propagation find the gradient that differentiation finds? For"
        " these"
        f" networks: {WORDS[gradient.networks]}; do the monitors report every training run that fails?"
        f" {WORDS[caught.networks].capitalize()} ({badge.dataset_name}, {badge.scale} scale)."
    )


def estimator_table(result):
    """Cosine with the adjoint and norm ratio of BPTT, centred and one-sided EP by layer, as a table."""
    table = result.table[result.table.metric.isin(("cosine", "norm_ratio"))]
    beta, steps, arg_max = result.settings["sizes"]["trained_with"]
    judged = model_verdicts.RULE["beta"], model_verdicts.RULE["nudged_steps"]
    at = f"β {judged[0]}, {judged[1]} steps"

    def pick(estimator, b=None, k=None, a=None):
        rows = table[table.estimator == estimator]
        return rows if b is None else rows[(rows.beta == b) & (rows.nudged_steps == k) & (rows.arg_max == a)]

    cases = {
        "back-propagation through time": pick("bptt"),
        f"centred EP as trained (β {beta}, {steps} steps, {arg_max})": pick("centred", beta, steps, arg_max),
        f"centred EP, {at}, frozen": pick("centred", *judged, "frozen"),
        f"centred EP, {at}, live": pick("centred", *judged, "live"),
        f"one-sided EP, {at}, frozen": pick("one-sided", *judged, "frozen"),
    }
    layers = list(table.layer.unique())
    lines = []
    for name, rows in cases.items():
        cells = []
        for layer in layers:
            cosine, ratio = (
                rows[(rows.layer == layer) & (rows.metric == m)].value.iloc[0]
                for m in ("cosine", "norm_ratio")
            )
            cells.append(f"{cosine:.4f} (× {ratio:.2f})")
        lines.append([name, *cells])
    n = int(table.n.max())
    note = (
        "Cosine with the adjoint's gradient at the same free state, and in brackets its length as a multiple"
        " of the"
        f" adjoint's; medians over {n} batch{'es' if n > 1 else ''} of"
        f" {min(result.settings['sizes']['batch'], len(result.image_ids))} images, float64."
    )
    return sentences.table(["weight gradient by", *map(_layer, layers)], lines, note)


def _layer(layer):
    return layer if layer == "read-out" else f"conv {layer}"


def settings_table(shown):
    """The paper's training settings beside those of the scale shown, as a table."""
    dataset = shown.dataset if shown.dataset in ("cifar10", "cifar100") else "cifar10"
    theirs, sources = published.settings(dataset, "ep-cnn"), published.settings_sources(dataset, "ep-cnn")
    row = scales.row(shown.scale, "ep-cnn", shown.dataset)
    head = ["setting", f"published ({dataset})", f"here ({shown.scale})", "source of the published value"]
    lines = [
        [name, _plain(theirs[key]), _plain(ours(row)), sources[key]] for key, (name, ours) in SETTINGS.items()
    ]
    return sentences.table(head, lines)


def _spread(recipe):
    """By how many standard deviations a recipe divides, also where it gives the product as numbers."""
    if recipe.normalisation is None:
        return f"{recipe.spread:g}"
    deviation = published.settings("cifar10", "ep-cnn")["normalisation_std"][0]
    return f"{recipe.normalisation[1][0] / deviation:g}"


def _plain(value):
    return ", ".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)


def said(result):
    """What the monitors said of every provoked run, as a list to fold out."""
    table = result.table[result.table.metric == "accuracy"]
    items = ""
    for turned, to, words in zip(table.turned, table.to, result.record["said"], strict=True):
        run = "as it should be" if turned == "nothing" else f"{turned} {to:g}"
        words = "; ".join(words) or "nothing"
        items += f"<li><strong>{html.escape(run)}</strong>: {html.escape(words)}</li>"
    return Html(f"<details><summary>Everything the monitors said</summary><ul>{items}</ul></details>")


def twins(networks):
    """Which networks the training curves show, in words. networks: {model: [Checkpoint]}."""
    names = ", ".join(f"{NAMES[m]} ({len(cs)})" for m, cs in networks.items())
    return Text(
        f"Shown, with the number of networks: {names}. Only networks trained with two nudged phases are"
        " called"
        " EP-CNN in this book; the same network trained by another gradient is a twin."
    )

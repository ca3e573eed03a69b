"""Plots of what an EP-CNN costs, from a report of `eplib.costs`, and the words about it."""

from dataclasses import fields

from eplib import benchmark, scales
from eplib.checks import NORMS
from eplib.corruption_curves import words
from eplib.corruptions import CIFAR_C
from eplib.pictures import COLOURS, NAMES, draw
from eplib.recipes import changes
from eplib.sentences import Text, table

TASKS = ("training", "inference", "input gradient")
GROWTH = {"steps": "free steps", "batch": "batch", "width": "width (channels of layer 1)", "depth": "layers"}
GREY = "#595959"


def rows(report, task):
    """The rows of one task."""
    return [r for r in report["rows"] if r["task"] == task]


def costs(report, label="fig-costs"):
    """Milliseconds of one batch for training, inference and an input gradient, by every method."""
    batch = report["rows"][0]["batch"]

    def plot(axes):
        for ax, task in zip(axes, TASKS, strict=True):
            found = sorted(rows(report, task), key=lambda r: -r["milliseconds"])
            for y, row in enumerate(found):
                error = [[row["milliseconds"] - row["low"]], [row["high"] - row["milliseconds"]]]
                ax.errorbar(row["milliseconds"], y, xerr=error, fmt="o", color=_colour(row), markersize=6)
                if row["floor"]:
                    ax.plot([row["floor"]], [y], "|", color=GREY, markersize=12)
            ax.set_yticks(range(len(found)), [_name(r) for r in found])
            ax.set(xscale="log", title=task, xlabel="milliseconds a batch", ylim=(-0.6, len(found) - 0.4))

    words = "; ".join(
        f"{r['task']}, {_name(r)}: {r['milliseconds']:.0f} ms" for t in TASKS for r in rows(report, t)
    )
    caption = (
        f"How to read it: further left is cheaper; the scale is logarithmic. One batch of {batch} images,"
        " median and"
        f" range of interleaved rounds; {benchmark.in_words(report)}. A grey stroke is the floor: the same"
        " arithmetic at"
        " the"
        " speed of one large matrix product on this machine."
    )
    picture = draw(label, (3, 1), plot, caption, f"Costs. {words}.", width=9.0, height=7.0, sharey=False)
    return picture


def growth(report):
    """Milliseconds of inference while one thing grows."""

    def plot(axes):
        for ax, (what, label) in zip(axes, GROWTH.items(), strict=True):
            found = rows(report, f"growth with {what}")
            x = [_size(r, what) for r in found]
            ax.plot(x, [r["milliseconds"] for r in found], color=COLOURS["ep-cnn"], marker="o", markersize=4)
            ax.plot(x, [r["floor"] for r in found], "--", color=GREY, linewidth=1.2)
            ax.set(xscale="log", yscale="log", xlabel=label)
            ax.set_xticks(x, [f"{v:g}" for v in x])
            ax.minorticks_off()
        axes[0].set_ylabel("milliseconds a batch")

    first, last = (rows(report, "growth with steps")[i] for i in (0, -1))
    caption = (
        "How to read it: inference of an EP-CNN in forward order, one thing growing and the rest as above;"
        " dashed, the"
        f" floor. From {first['steps']} to {last['steps']} steps the time grows from"
        f" {first['milliseconds']:.0f} to"
        f" {last['milliseconds']:.0f} ms a batch; {benchmark.in_words(report)}."
    )
    alt = []
    for what, label in GROWTH.items():
        found = rows(report, f"growth with {what}")
        alt.append(
            f"with {label} " + ", ".join(f"{_size(r, what):g}: {r['milliseconds']:.0f} ms" for r in found)
        )
    alt = "Inference time " + "; ".join(alt)
    return draw("fig-growth", (1, 4), plot, caption, alt + ".", width=11.0, height=3.0, sharey=True)


def accuracy_against_cost(attacked, report, badge, norm):
    """Accuracy under attack at every ε against the cost of one inference. attacked: {model: [Result]}."""
    cost = {
        "ep-cnn": next(r for r in rows(report, "inference") if r["method"] == "EP-CNN")["milliseconds"],
        "cnn": next(r for r in rows(report, "inference") if r["method"] == "CNN")["milliseconds"],
    }
    batch = report["rows"][0]["batch"]

    def plot(ax):
        for model, results in attacked.items():
            for i, epsilon in enumerate(results[0].settings["epsilons"]):
                share = sum(r.correct[i].mean() for r in results) / len(results)
                x = cost[model] / batch
                ax.plot([x], [share], "o", color=COLOURS[model], markersize=5)
                ax.annotate(
                    f"{epsilon:.3g}", (x, share), xytext=(7, -3), textcoords="offset points", fontsize=8
                )
            ax.annotate(NAMES[model], (x, 1.0), ha="center", color=COLOURS[model], weight="bold")
        ax.set(xscale="log", ylim=(0, 1.06), xlabel="milliseconds an image", ylabel="accuracy under attack")
        ax.set_xlim(min(cost.values()) / batch / 3, max(cost.values()) / batch * 3)

    ratio = cost["ep-cnn"] / cost["cnn"]
    caption = (
        f"How to read it: one dot an attack strength ε ({NORMS[norm]} PGD, numbers beside the dots), higher"
        " is"
        f" better, further right is dearer. An EP-CNN's inference costs {ratio:.0f} times a CNN's here."
        f" Accuracies: {badge.text}; times: networks of"
        f" {'-'.join(map(str, report['rows'][0]['channels']))} channels, {benchmark.in_words(report)}."
    )
    alt = f"Accuracy under attack against the time of an inference: {ratio:.0f} times a CNN's for an EP-CNN."
    return draw("fig-accuracy-against-cost", (1, 1), plot, caption, alt, width=7.0, height=3.6)


def schedules(scale):
    """The two schedules that are compared, in words: the paper's, and that of a scale's EP-CNN at its end."""
    faithful, fast = scales.row("paper", "ep-cnn"), scales.row(scale, "ep-cnn")
    return Text(
        f"*Faithful* is the paper's schedule: {_schedule(faithful)}. *Fast* is this project's:"
        f" {_schedule(fast)}. A forward sweep computes as much as a synchronous step and moves the state"
        " about twice as far. Where the processor multiplies 16-bit numbers itself, states and convolutions"
        " of"
        " the fast schedule run in bfloat16 and everything that accumulates in float32."
    )


def on_a_gpu(report):
    """What a GPU makes of one training iteration of the paper's network and schedule, by every path, as a
    table, from a report of `eplib.gpu_report`.
    """
    paper, where = report["paper network"], report["device"]
    size = paper["size"]
    lines = [
        (name, f"{p['milliseconds']:,.0f}", f"{p['times autograd']:.1f}×", f"{p['images a second']:,.0f}")
        for name, p in paper["paths"].items()
    ]
    share = {name: f"{path['share of the matrix rate']:.0%}" for name, path in paper["paths"].items()}
    note = (
        f"One iteration with {size['free']} free and 2 × {size['nudged']} nudged synchronous steps of"
        f" {'-'.join(map(str, size['channels']))} channels in batches of {size['batch']};"
        f" {where['device']}, torch {where['versions']['torch']}. Phases are replayed as one CUDA graph; TF32"
        " rounds the inputs of products, bfloat16 the states as well. Autograd is timed over a tenth of the"
        f" steps, in strict float32, where it reaches {share['autograd of Φ']} of the speed of one large"
        f" matrix product and the closed form {share['closed form, float32']}: the faster paths compute with"
        " fewer bits. Before the timings, tests compared the GPU with the CPU in float64:"
        f" {report['tests']['output'][-1].partition(' in ')[0]}."
    )
    return table(("", "milliseconds", "as fast as autograd", "images a second"), lines, note)


def _schedule(row):
    _, free, nudged = row.recipe.phases[-1]
    winners = {"live": "free to switch", "frozen": "frozen"}[row.recipe.arg_max]
    return (
        f"{free} {row.order} free steps, then two nudged phases of {nudged} steps, pooling winners {winners}"
    )


def given_up(results):
    """What the fast schedule gives up against the paper's on the same networks, from
    `eplib.studies.schedules`.
    """
    first = results[0].table
    own, faithful = (first[first.metric == "accuracy"].iloc[i] for i in (0, 1))
    accuracy = [sum(r.correct[i].mean() for r in results) / len(results) for i in (0, 1)]
    layers = first[first.metric == "cosine"].layer
    cosines = [
        sum(r.table[r.table.metric == "cosine"].value.iloc[i] for r in results) / len(results)
        for i in range(len(layers))
    ]
    return Text(
        f"**What *fast* gives up**, on the same weights ({len(results)} networks, {len(results[0].image_ids)}"
        " test"
        f" images): accuracy {accuracy[0]:.1%} after its {own.predict_steps:.0f} {own.order} steps and"
        f" {accuracy[1]:.1%} after {faithful.predict_steps:.0f} {faithful.order} ones; the cosine of its"
        " weight"
        " gradient with the faithful one is "
        + ", ".join(f"{c:.2f} ({l})" for l, c in zip(layers, cosines, strict=True))
        + " by layer."
    )


def variants(report):
    """The table of recipes that were compared at about equal core-time, the most accurate first."""
    ordered = sorted(report["rows"], key=lambda r: -max(r["accuracy"].values()))
    chosen = scales.row("cpu", "ep-cnn").recipe
    lines = [
        (
            _variant(row["recipe"], chosen) + row["variant"],
            f"{row['images_seen']:,}",
            f"{row['core_seconds']:,}",
            *(f"{share:.1%}" for share in row["accuracy"].values()),
        )
        for row in ordered
    ]
    settled = (f"after {setting} steps" for setting in ordered[0]["accuracy"])
    note = (
        f"EP-CNNs of {'-'.join(map(str, scales.row('cpu', 'ep-cnn').channels))} channels on CIFAR-10, judged"
        " on"
        f" validation images, seed {report['seed']}; {benchmark.in_words(report)}. A name says what differs"
        " from"
        " the first recipe tried: free and nudged steps until which share of the run, learning rates, batch,"
        " β."
        " The recipe of the cpu scale is marked; it sees"
        f" {chosen.images_seen:,} images."
    )
    return table(["recipe", "images seen", "core-seconds", *settled], lines, note)


def _variant(recipe, chosen):
    """A mark for the recipe that was chosen, but for its length."""
    asked = {name: value for name, value in changes(chosen).items() if name != "images_seen"}
    found = {name: _tuples(recipe.get(name)) for name in asked}
    others = set(recipe) - set(asked) - {"images_seen"}
    defaults = {f.name: f.default for f in fields(chosen)}
    same = found == asked and all(_tuples(recipe[name]) == defaults[name] for name in others)
    return "chosen: " if same else ""


def _tuples(value):
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def corruption_speed(report):
    """Images a second that every corruption makes, CIFAR-10-C and the others side by side, from
    `benchmark.corruption_speed`.
    """
    made = report["images"] * report["severities"] * 1000  # in one round; times are in milliseconds
    sets = {
        "CIFAR-10-C": CIFAR_C,
        "beyond it": [c for c in report["milliseconds"] if c not in CIFAR_C],
    }
    speed = {c: made / v for c, v in report["milliseconds"].items()}
    ends = {c: [made / v for v in report["spread"][c]] for c in speed}

    def plot(axes):
        for ax, (title, names) in zip(axes, sets.items(), strict=True):
            found = sorted(names, key=speed.get)
            for y, c in enumerate(found):
                slowest, fastest = min(ends[c]), max(ends[c])
                error = [[max(0, speed[c] - slowest)], [max(0, fastest - speed[c])]]
                ax.errorbar(speed[c], y, xerr=error, fmt="o", color=GREY, markersize=5)
            ax.set_yticks(range(len(found)), [words(c) for c in found])
            ax.set(xscale="log", title=title, xlabel="images a second", ylim=(-0.6, len(found) - 0.4))

    caption = (
        f"How to read it: further right is faster; the scale is logarithmic. {report['images']} images at all"
        f" {report['severities']} severities, median and range of interleaved rounds;"
        f" {benchmark.in_words(report)}."
        f" At this speed the 10,000 test images of CIFAR get all of CIFAR-10-C in"
        f" {report['minutes_of_the_whole_set']:.1f} minutes; what networks make of them takes longer."
    )
    alt = "Images a second by corruption: " + ", ".join(f"{words(c)} {v:.0f}" for c, v in speed.items())
    size = dict(width=10.0, height=5.2, sharey=False)
    return draw("fig-corruption-speed", (1, 2), plot, caption, alt + ".", **size)


def answer(report):
    """The chapter's answer: what an EP-CNN costs beside a CNN, in words."""
    found = {}
    for task in TASKS:
        ep = [r for r in rows(report, task) if r["method"] != "CNN" and "autograd" not in r["method"]]
        cnn = next(r for r in rows(report, task) if r["method"] == "CNN")
        ratios = sorted(r["milliseconds"] / cnn["milliseconds"] for r in ep)
        found[task] = f"{ratios[0]:.0f} to {ratios[-1]:.0f} times for {task}"
    return Text(
        f"**In one sentence.** An EP-CNN costs {', '.join(found.values())} what a CNN of the same shape costs"
        f" ({benchmark.in_words(report)})."
    )


def _size(row, what):
    return {
        "steps": row["steps"],
        "batch": row["batch"],
        "width": row["channels"][0],
        "depth": len(row["channels"]),
    }[what]


def _colour(row):
    if row["method"] == "CNN":
        return COLOURS["cnn"]
    return GREY if "autograd" in row["method"] else COLOURS["ep-cnn"]


def _name(row):
    words = [row["method"]]
    if row["steps"] and "autograd of Φ, " not in row["method"]:
        words.append(f"{row['steps']} {row['order']} steps")
    if row["precision"] != "float32":
        words.append(row["precision"])
    if row.get("bytes"):
        words.append(f"keeps {row['bytes'] / 2**20:.0f} MiB")
    return ", ".join(words)

"""The smallest changes that break networks: how they are spread, beside PGD, on one image, and in words."""

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F

from eplib import attack_verdicts, attacks, chapters, curves, data, minimal_norm, panels, statistics
from eplib.pictures import COLOURS, draw, name
from eplib.sentences import Text
from eplib.sentences import table as table_of_words
from eplib.verdicts import Verdict

RIVALS = ("cnn", "vit-8", "cnn-at-l2-0.5", "twin-bptt", "cnn-plain")
WORDS = {
    "supported": "takes larger changes than",
    "contradicted": "takes smaller changes than",
    "undecided": "is not shown to take other changes than",
}
SHADES = {"ep-cnn": ("#0072b2", "#56b4e9"), "cnn": ("#d55e00", "#e69f00")}  # under C&W, under PGD
BUDGET = 1.0  # the ℓ2 ε that most papers quote


def verdicts(found):
    """{rival: Verdict} of `attack_verdicts.larger_changes` for those of `RIVALS` that are in `found`, {model:
    [Result of "carlini-wagner", one a seed]}; undecided where a pair has no image that both get right.
    """
    said = {}
    for rival in (r for r in RIVALS if r in found):
        pairs = chapters.paired(found, "ep-cnn", rival)
        if all((a.correct_clean & b.correct_clean).any() for a, b in zip(*pairs, strict=True)):
            said[rival] = attack_verdicts.larger_changes(*pairs, name(rival))
        else:
            sentence = (
                f"For these networks: undecided. Of the {len(pairs[0][0].image_ids)} test images there is"
                f" none that both the EP-CNN and the {name(rival)} get right."
            )
            said[rival] = Verdict("undecided", "undecided", sentence, "Images that both get right.")
    return said


def answer(said, found, badge):
    """The page's answer in one sentence, and for how many images a change was found at all. said: of
    `verdicts`. found: as of it.
    """
    clauses = [f"{WORDS[v.networks]} breaking the {name(rival)}" for rival, v in said.items()]
    norms = {model: spread(found[model])[0] for model in ("ep-cnn", *said)}
    broken = [f"{np.isfinite(n).sum()} of {len(n)} for the {name(m)}" for m, n in norms.items()]
    return Text(
        f"**In one sentence.** Under Carlini and Wagner's attack, breaking the EP-CNN {'; it '.join(clauses)}"
        f" ({badge.dataset_name}, {badge.scale} scale). Of the images that are right the attack broke"
        f" {', '.join(broken)}; what it did not break, another attack may."
    )


def spread(results):
    """(norms, quartiles) over the images that are right without an attack: minimal norms of all seeds, float
    [n], inf where no change was found; means over seeds of the lower quartile, median and upper quartile,
    None where no image is right. results: [Result with the array minimal_norm, one a seed].
    """
    norms = np.concatenate([r.arrays["minimal_norm"][r.correct_clean] for r in results])
    rows = pd.concat([r.table[r.table.metric == "minimal_norm"] for r in results])
    return norms, tuple(rows[["low", "value", "high"]].mean().tolist()) if len(rows) else None


def _number(norm):
    return f"{norm:.3g}" if np.isfinite(norm) else "not found"


def _told(norms, quartiles):
    """The median and how many images were broken, in words."""
    if quartiles is None:
        return "no image right"
    return f"median {_number(quartiles[1])}; {np.isfinite(norms).sum()} of {len(norms)} broken"


def distribution(label, found, badge):
    """Minimal norms as a `Picture`: a line a model, a faint dot an image, a bar from the lower to the upper
    quartile and a stroke at the median; images that were not broken stand behind the right edge.

    found: {model: [Result of "carlini-wagner", one a seed]}. badge: `chapters.Badge`.
    """
    (lines,) = panels.coloured(curves.of_results(found, False))
    spreads = {c.model: spread(found[c.model]) for c in lines}
    finite = np.concatenate([norms[np.isfinite(norms)] for norms, _ in spreads.values()])
    left, right = (0.8 * finite.min(), 1.25 * finite.max()) if len(finite) else (0.1, 1.0)
    edge = right * (right / left) ** 0.04

    def plot(ax):
        ax.set(xscale="log", xlim=(left, right * (right / left) ** 0.08))
        ax.set_xticks([t for t in sorted(panels.TICKS["l2"]) if left <= t <= right])
        ax.xaxis.set_major_formatter("{x:g}")
        ax.minorticks_off()
        xlabel = "ℓ2 length of the smallest change found (pixels in [0, 1])"
        ax.set(ylim=(-0.6, len(lines) - 0.4), xlabel=xlabel)
        ax.axvline(right, color="#333333", linewidth=0.8, linestyle=":")
        ax.annotate("not broken", (edge, 1), xycoords=("data", "axes fraction"), ha="center", va="bottom")
        ax.set_yticks(range(len(lines)), [c.label for c in reversed(lines)])
        for y, c in enumerate(reversed(lines)):
            _line(ax, y, c.colour, *spreads[c.model], right, edge)

    caption = (
        "How to read it: further right, a larger change is needed. A dot is an image that its network gets"
        f" right, of the first {badge.n} test images and of all seeds of the model; behind the dotted line"
        " stand those that C&W did not break. The bar reaches from the lower to the upper quartile"
        " or to the line, the stroke is the median (means over seeds)."
        f" {badge.dataset_name}, {badge.scale} scale."
    )
    told = "; ".join(f"{c.label}: {_told(*spreads[c.model])}" for c in lines)
    alt = f"A line of dots for every network, the smallest ℓ2 changes found. {told}."
    return draw(label, (1, 1), plot, caption, alt, width=10.4, height=0.42 * len(lines) + 1.0)


def _line(ax, y, colour, norms, quartiles, right, edge):
    """One model's dots, bar and median at height y, and its numbers on the right."""
    ink, found = panels.readable(colour), np.isfinite(norms)
    heights = y + 0.5 * (0.618 * np.arange(len(norms)) % 1 - 0.5)  # apart without random numbers
    ax.plot(norms[found], heights[found], "o", color=colour, alpha=0.3, markersize=3.5)
    ax.plot(np.full((~found).sum(), edge), heights[~found], ">", color=colour, alpha=0.5, markersize=4)
    if quartiles:
        low, median, high = (min(q, right) for q in quartiles)
        ax.plot([low, high], [y, y], color=ink, linewidth=2.5, solid_capstyle="butt")
        ax.plot([median] * 2, [y - 0.3, y + 0.3], color=ink, linewidth=2.5)
    told, at, across = _told(norms, quartiles), (1.01, y), ("axes fraction", "data")
    ax.annotate(told, at, xycoords=across, va="center", fontsize=9, color=ink, annotation_clip=False)


def beside_pgd(found, pgd):
    """{model: [(ε, right under C&W, right under PGD)]}, bool [n] at each ε of PGD over the images that both
    looked at, for the first seed that both have. found, pgd: {model: [Result, one a seed]} of
    "carlini-wagner" and "pgd-l2".
    """
    compared = {}
    for model in (m for m in found if m in pgd):
        (cw, *_), (other, *_) = chapters.paired({"C&W": found[model], "PGD": pgd[model]}, "C&W", "PGD")
        _, here, there = np.intersect1d(cw.image_ids, other.image_ids, return_indices=True)
        norms = cw.arrays["minimal_norm"][here].astype(float)  # as ε are
        outcomes = zip(other.epsilons, other.correct[:, there], strict=True)
        compared[model] = [(e, norms > e, right) for e, right in outcomes]
    return compared


def pgd_figure(label, found, pgd, badge):
    """Accuracy against ε under C&W and PGD, on the same images: `curves.figure`. found, pgd: as of
    `beside_pgd`. badge: of the seed compared.
    """
    lines = []
    for model, points in beside_pgd(found, pgd).items():
        for place, attack in enumerate(("C&W", "PGD"), 1):
            right = [point[place] for point in points]
            bounds = zip(*(statistics.wilson(r.sum(), r.size) for r in right), strict=True)
            values = [p[0] for p in points], [r.mean() for r in right], *bounds
            title, colour = f"{name(model)}, {attack}", SHADES[model][place - 1]
            lines.append(panels.Curve(title, title, *values, curves.other_images(badge), colour=colour))
    start = (
        "dark is C&W, light is PGD. Where C&W is lower, PGD was not the worst case; where PGD is lower, C&W"
        " missed a smaller change."
    )
    more = f"PGD takes {pgd['ep-cnn'][0].settings['attack_steps']} steps."
    axes = curves.published_curves.Axes("l2", "log", (BUDGET, BUDGET), (0, 1))  # widened to what is drawn
    return curves.figure(label, None, lines, badge, start, more, axes)


def which_finds_more(compared):
    """At how many ε each attack leaves less accuracy, in words. compared: of `beside_pgd`."""
    said = []
    for model, points in compared.items():
        ahead = [int(pgd.sum()) - int(cw.sum()) for _, cw, pgd in points]
        cw, pgd = sum(a > 0 for a in ahead), sum(a < 0 for a in ahead)
        said.append(
            f"for the {name(model)} C&W leaves less accuracy than PGD at {cw} of {len(points)} ε,"
            f" PGD less than C&W at {pgd}, both the same at {len(points) - cw - pgd}"
        )
    return Text(f"On the same networks and images, {'; '.join(said)}.")


def table(found, fast, radii):
    """A line a model: seeds, clean accuracy, quartiles of the minimal norm, the share of images broken, the
    median found by the fast attack and the median first-order radius. found, fast: {model: [Result, one a
    seed]} of "carlini-wagner" and "minimal-l2". radii: {model: of `chapters.radii`}.
    """
    lines = []
    for model, results in found.items():
        norms, quartiles = spread(results)
        clean = np.mean([r.correct_clean.mean() for r in results])
        seeds = ", ".join(str(s) for s in sorted(r.settings["seed"] for r in results))
        low, median, high = map(_number, quartiles) if quartiles else "–––"
        broken = f"{100 * np.isfinite(norms).mean():.1f}" if quartiles else "–"
        quick = spread(fast[model])[1] if model in fast else None
        quick = _number(quick[1]) if quick else "–"
        radius = f"{radii[model]:.3g}" if model in radii else "–"
        cells = f"{100 * clean:.1f}", median, f"{low} to {high}", broken, quick, radius
        lines.append((name(model), seeds, *cells))
    head = ("network", "seeds", "clean", "median minimal ℓ2", "quartiles", "broken")
    note = (
        "Clean accuracy and the share of the right images that C&W broke in per cent. Medians and quartiles"
        " over the images that the network gets right, means over seeds; – where nothing is stored or right."
    )
    return table_of_words((*head, "median of the fast attack", "median first-order radius"), lines, note)


def upper_bounds(found, fast):
    """That C&W finds upper bounds, how hard it searched, how many images it broke, and how often the fast
    attack found a smaller change of the same image, in words. Arguments as of `table`.
    """
    sizes = next(iter(found.values()))[0].settings["sizes"]
    every = np.concatenate([spread(results)[0] for results in found.values()])
    smaller = []
    for model in (m for m in found if m in fast):
        for cw, quick in zip(*chapters.paired({"a": found[model], "b": fast[model]}, "a", "b"), strict=True):
            _, here, there = np.intersect1d(cw.image_ids, quick.image_ids, return_indices=True)
            ours, theirs = cw.arrays["minimal_norm"][here], quick.arrays["minimal_norm"][there]
            smaller += (theirs < ours)[ours > 0].tolist()
    check = f" The fast attack found a smaller one in {sum(smaller)} of {len(smaller)} cases."
    return Text(
        "C&W's lengths are upper bounds: the smallest change that breaks an image is at most as long, and an"
        f" image that was not broken is not shown to be safe. With {sizes['searches']} values of its constant"
        f" and {sizes['steps']} steps for each it broke {np.isfinite(every).sum()} of {len(every)} images"
        f" that were right, all networks together.{check if smaller else ''}"
    )


def copies(net, image, label, epsilon, steps, sizes):
    """{"image", "PGD", "C&W"}: (copy [C, H, W], class, cross-entropy with the true label, ℓ2 length of the
    change) of an image [C, H, W]: PGD of `steps` steps within the ℓ2 `epsilon`, C&W with `sizes`, which has
    no entry where it finds nothing. Raises InputError for bad input.
    """
    model, x, y = attacks.AttackedModel(net), image[None], torch.as_tensor([int(label)])
    plan = (sizes["searches"], sizes["steps"], sizes["constant"])
    found = minimal_norm.carlini_wagner(model, x, y, *plan)
    made = {"image": x, "PGD": attacks.pgd(model, x, y, attacks.ThreatModel("l2", epsilon), steps)}
    made |= {"C&W": found.adversarial} if np.isfinite(found.norm[0]) else {}
    described = {}
    for attack, z in made.items():
        with torch.no_grad():
            logits = model(z)
        loss, length = float(F.cross_entropy(logits, y)), float((z - x).norm())
        described[attack] = z[0], int(logits.argmax()), loss, length
    return described


def two_attacks(label, shown, found, pgd, badge):
    """What PGD and C&W make of one image of the first network of every model, as a `Picture`: the first test
    image that all of them get right and C&W breaks, also alone; a sentence where there is none.

    found, pgd: {model: [Result, one a seed]} of "carlini-wagner" and "pgd-l2".
    """
    first = [results[0] for results in found.values()]
    norms = np.stack([r.arrays["minimal_norm"] for r in first])
    settings = next(iter(pgd.values()))[0].settings
    epsilon = min(settings["epsilons"], key=lambda e: abs(e - BUDGET))
    test = data.load(shown.dataset, "test")
    nets = {model: chapters.networks(shown, model)[0].net for model in found}
    for i in first[0].image_ids[((norms > 0) & np.isfinite(norms)).all(0)]:
        image, y = data.as_float(test.images[[i]])[0], test.labels[i]
        size = settings["attack_steps"], first[0].settings["sizes"]
        made = {model: copies(net, image, y, epsilon, *size) for model, net in nets.items()}
        if all("C&W" in m for m in made.values()):
            return _two_attacks(label, made, test.classes, int(i), epsilon, badge)
    names = " and ".join(map(name, found))
    return Text(f"None of the first {norms.shape[1]} test images is right in {names} and broken by C&W.")


def _two_attacks(label, made, classes, place, epsilon, badge):
    def plot(axes):
        for line, (model, copy) in zip(axes, made.items(), strict=True):
            original, cells = copy["image"][0], []
            for attack, (image, guess, loss, length) in copy.items():
                cells.append((image, f"{attack}: {classes[guess]}\nloss {loss:.3g}, ℓ2 {length:.3g}"))
                if attack != "image":
                    factor = 0.5 / (image - original).abs().max().clamp(min=1e-12)
                    cells.append((0.5 + factor * (image - original), f"change by {attack}\n× {factor:.3g}"))
            for ax, (image, title) in zip(line, cells, strict=True):
                ax.imshow(image.permute(1, 2, 0).numpy(), cmap="gray", vmin=0, vmax=1)
                ax.set(xticks=[], yticks=[])
                ax.grid(False)
                ax.set_title(title, fontsize=9)
            line[0].set_ylabel(name(model), color=COLOURS[model])

    caption = (
        f"How to read it: a row is a network. PGD spends its budget, ℓ2 ε = {epsilon:.3g}, to make the loss"
        " large; C&W makes the change small as long as the class has changed. Grey is no change; each change"
        f" is multiplied until it fills the range. Test image {place} of {badge.dataset_name}, the first that"
        f" these networks get right and C&W breaks; {badge.scale} scale."
    )
    told = "; ".join(
        f"{name(model)}, {attack}: {classes[guess]}, loss {loss:.3g}, ℓ2 {length:.3g}"
        for model, copy in made.items()
        for attack, (_, guess, loss, length) in copy.items()
    )
    alt = f"One image, its attacked copies and their changes. {told}."
    return draw(label, (len(made), 5), plot, caption, alt, width=10.4, height=2.6 * len(made))

"""Plots of the page on semantic perturbations: what judges make of them, and every measure network by
network.
"""

import textwrap

import numpy as np

from eplib import others, statistics
from eplib import semantics_comparisons as comparisons
from eplib.network_figures import spread
from eplib.panels import LETTERS, POOL, PREFERRED, WIDTH, named, readable, unlike
from eplib.pictures import COLOURS, draw, name
from eplib.semantics_changes import Setting
from eplib.toggles import Toggle

CURVES = ("ep-cnn", "cnn", "cnn-at-l2-0.5", "vit-8", "twin-bptt", "cnn-plain-wd-3e-4")
NETWORKS = (*CURVES, "cnn-plain", "student-of-ep-cnn", "twin-untrained")
CONTROL = "twin-untrained"  # it need not be right for an image to count
CHANGES = {"difference": "a real difference", "gaussian": "Gaussian noise", "shuffled": "another image's"}
MEASURES = {
    "shift robust": "P1 shift of the robust judges",
    "prototype": "P2 gradient to the class mean",
    "low": "P3 low-frequency share",
    "consistency": "P4 class consistency",
    "similarity": "S1 structural similarity",
    "edges": "S2 share on edges",
    "hoyer": "S3 sparsity (Hoyer)",
    "variation": "S3 total variation",
}
VIEWS = {
    "matched effect: twice the smallest change": comparisons.EFFECT,
    "matched budget: ℓ2 1": comparisons.BUDGET,
}
GREY, NOTHING = "#555555", "no image that all networks get right"


def colours(models):
    """{model: colour}, another for every one of `NETWORKS` and the same whatever is drawn with it; what these
    leave is for networks of others.
    """
    found = {m: COLOURS[m] for m in NETWORKS if m in COLOURS}
    for model in NETWORKS:
        wanted = (found.get(model), PREFERRED.get(model), *POOL)
        found[model] = next(c for c in wanted if c and c not in {**found, model: None}.values())
    found |= unlike(others.names(), found.values())
    return {m: found[m] for m in models}


def there(found, models=NETWORKS):
    """Those of `models` and of the networks of others that are in {model: [Result]}."""
    return [m for m in (*models, *others.names()) if m in found]


def right(found):
    """bool [N]: the images that the first networks of {model: [Result]} all get right, `CONTROL` and networks
    of others aside.
    """
    aside = (CONTROL, *others.names())
    return comparisons.common([results[0] for m, results in found.items() if m not in aside])


def counted(found):
    """{model: bool [N]}: the images that a network is shown on, `right` and, of a network of others, those of
    them that it gets right too.
    """
    by_all = right(found)
    return {m: by_all & rs[0].correct_clean if m in others.names() else by_all for m, rs in found.items()}


def of_others(found):
    """The end of a caption: on how many images networks of others are shown."""
    images = counted(found)
    return "".join(
        f" Of these images {name(m)} (seed {found[m][0].settings['seed']}) gets {images[m].sum()} right and"
        " is shown on them alone."
        for m in others.names()
        if m in found
    )


def point(values):
    """(mean, low, high) with the 95 % bootstrap interval over images, NaN left out; NaN without two."""
    values = values[np.isfinite(values)]
    if len(values) < 2:
        return np.nan, np.nan, np.nan
    return (values.mean(), *statistics.mean_interval(values))


def lines(found, measure, condition):
    """[(model, change, amounts, [(mean, low, high)])] of targeted changes: the attack of every network of
    `CURVES` and of others, and the controls of the EP-CNN's attack.
    """
    images = counted(found)
    drawn = [(m, "attack") for m in there(found, CURVES)] + [("ep-cnn", c) for c in CHANGES]
    sizes = found["ep-cnn"][0].settings["sizes"]
    amounts = sizes["epsilons" if condition == "budget" else "factors"]
    return [
        (
            model,
            change,
            amounts,
            [
                point(
                    comparisons.values(
                        found[model][0], measure, Setting(condition, amount, "targeted", change)
                    )[images[model]]
                )
                for amount in amounts
            ],
        )
        for model, change in drawn
    ]


def shifts(label, found, badge):
    """How far judges are moved: a `Toggle` of the robust and the standard judge, at matched budget and
    effect.
    """
    views = {}
    for view, judge in {"robust judges": "robust", "standard judge": comparisons.STANDARD}.items():
        panels = {c: lines(found, f"shift {judge}", c) for c in ("budget", "effect")}
        views[view] = _shift(label, panels, view, found)
    sizes = found["ep-cnn"][0].settings["sizes"]
    caption = (
        "How to read it: the higher a line, the further the perturbations that were made on a network move"
        " judges that never saw it towards the class that was aimed at: the change of the judge's logit of"
        " the target minus that of the true class. The robust judges were trained adversarially in ℓ2 and ℓ∞"
        " (mean of both), the standard judge without attacks, all with a seed of their own. Left, every"
        " perturbation has the same budget of ℓ2 length; right, each is a multiple of the smallest that"
        " reaches the target on its own network. Grey: controls of the same lengths as the EP-CNN's, the"
        " difference to a real image of the target class, Gaussian noise, and the perturbation of another"
        f" image with another target. Bands: 95 % bootstrap over images; {int(right(found).sum())} of"
        f" {badge.n} images, those that all networks get right, the untrained control aside; {sizes['steps']}"
        f" steps of PGD. {badge.dataset_name}, {badge.scale} scale, seed {badge.seeds[0]}.{of_others(found)}"
    )
    return Toggle(label, views, caption)


def _shift(label, panels, view, found):
    tints = colours(there(found, CURVES))
    titles = {"budget": "matched budget", "effect": "matched effect"}
    places = {"budget": "ℓ2 length (pixels in [0, 1])", "effect": "multiple of the smallest change"}

    def plot(axs):
        axs[0].figure.set_layout_engine("none")
        for i, (ax, (condition, drawn)) in enumerate(zip(axs, panels.items(), strict=True)):
            ax.set_position([0.055 + 0.49 * i, 0.13, 0.28, 0.78])
            for model, change, amounts, points in drawn:
                mean, low, high = np.array(points).T
                own = change == "attack"
                colour = tints[model] if own else GREY
                ax.plot(
                    amounts, mean, "-" if own else "--", color=colour, linewidth=1.6, marker="o", markersize=3
                )
                ax.fill_between(amounts, low, high, color=colour, alpha=0.12, linewidth=0)
            ax.axhline(0, color="#999999", linewidth=0.8)
            ax.set_title(titles[condition], fontsize=10, loc="left")
            ax.set_xlabel(places[condition])
            ax.set_xticks(drawn[0][2])
            _label(ax, drawn, tints)
        axs[0].set_ylabel("shift of the logits towards the target")

    told = "; ".join(
        f"{titles[c]}: "
        + ", ".join(f"{_words(m, ch)} {number(p[-1][0])} at {a[-1]:g}" for m, ch, a, p in drawn)
        for c, drawn in panels.items()
    )
    alt = f"Shift of the logits of the {view} towards the target against the size of the change. {told}."
    return draw(label, (1, 2), plot, "", alt, width=WIDTH, height=4.4, sharey=False)


def _words(model, change):
    return name(model) if change == "attack" else CHANGES[change]


def number(value):
    return "–" if np.isnan(value) else f"{value:.2f}"


def _label(ax, drawn, tints):
    bottom, top = ax.get_ylim()
    ends = [points[-1][0] for *_, points in drawn]
    there = [i for i, v in enumerate(ends) if np.isfinite(v)]
    if not there:
        ax.text(0.5, 0.5, NOTHING, transform=ax.transAxes, ha="center", color=GREY)
        return
    heights = spread([(ends[i] - bottom) / (top - bottom) for i in there], 0.075)
    for i, height in zip(there, heights, strict=True):
        model, change, amounts, _ = drawn[i]
        colour = tints[model] if change == "attack" else GREY
        words = textwrap.fill(_words(model, change).replace("adversarial training", "adv."), LETTERS)
        named(ax, words, (amounts[-1], ends[i]), (1.06, height), colour)


def measures(label, found, badge):
    """Every measure of every network, a `Toggle` of matched effect and matched budget."""
    models, images = there(found), counted(found)
    tints, views = colours(models), {}
    for view, setting in VIEWS.items():
        told = {
            measure: {m: point(comparisons.values(found[m][0], measure, setting)[images[m]]) for m in models}
            for measure in MEASURES
        }
        controls = {
            measure: {
                c: point(
                    comparisons.values(found["ep-cnn"][0], measure, _control(setting, c))[images["ep-cnn"]]
                )[0]
                for c in CHANGES
            }
            for measure in MEASURES
            if found["ep-cnn"][0].arrays.get(measure, np.zeros((2, 2))).ndim == 2
        }
        views[view] = _measures(label, told, controls, view, tints)
    caption = (
        "How to read it: a dot is the mean of a network over the images that all of them get right (the"
        " untrained control aside), with its 95 % bootstrap interval; targeted perturbations. Dashed lines:"
        " controls of the same lengths as the EP-CNN's perturbations, d the difference to a real image of the"
        " target class, g Gaussian noise, s another image's perturbation. For P1, P2 and P4 more is more"
        " semantic; for the others there is no better end, and real differences say where meaning would lie."
        f" {int(right(found).sum())} of {badge.n} images, {badge.dataset_name}, {badge.scale} scale, seed"
        f" {badge.seeds[0]}.{of_others(found)}"
    )
    return Toggle(label, views, caption)


def _control(setting, change):
    return Setting(setting.condition, setting.amount, setting.goal, change)


def _measures(label, told, controls, view, tints):
    models = list(tints)

    def plot(axs):
        for ax, (measure, points) in zip(np.ravel(axs), told.items(), strict=True):
            for place, (model, (mean, low, high)) in enumerate(points.items()):
                ax.plot([low, high], [place, place], color=tints[model], linewidth=2)
                ax.plot(mean, place, "o", color=tints[model], markersize=5)
            for change, value in controls.get(measure, {}).items():
                if np.isfinite(value):
                    ax.axvline(value, color=GREY, linestyle="--", linewidth=0.9)
                    ax.text(value, -0.9, change[0], ha="center", fontsize=8, color=GREY)
            ax.set_title(MEASURES[measure], fontsize=9, loc="left")
            ax.set_ylim(len(models) - 0.5, -1.4)
            ax.set_yticks(range(len(models)), [name(m) for m in models], fontsize=8)
            ax.tick_params(axis="x", labelsize=8)
            for tick, model in zip(ax.get_yticklabels(), models, strict=False):
                tick.set_color(readable(tints[model]))

    words = "; ".join(
        f"{MEASURES[measure]}: " + ", ".join(f"{name(m)} {number(p[0])}" for m, p in points.items())
        for measure, points in told.items()
    )
    alt = f"Eight measures of {len(models)} networks, {view}. {words}."
    height = 0.19 * len(models) + 0.8
    return draw(label, (4, 2), plot, "", alt, width=WIDTH, height=4 * height)

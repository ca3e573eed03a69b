"""What the page about the limits of a scale says, from `eplib.scale_limits` and verdicts of other pages."""

import html

import numpy as np

from eplib import chapters, exactness_verdicts, model_verdicts, pictures, published, scales
from eplib import scale_limits as limits
from eplib.chapters import DATASET_NAMES
from eplib.sentences import BEGINNING, Html, Text, table, verdict_box
from eplib.verdicts import PAPER_DATASETS, SEEDS_FOR_METHOD

CHECKS = (  # (measurement of the EP-CNN, its rule, what it shows, the page)
    (
        "estimators",
        model_verdicts.computes_the_gradient,
        "that Equilibrium Propagation, as programmed here, computes the gradient",
        "learning",
    ),
    (
        "settling",
        model_verdicts.settles,
        "that the free phase settles",
        "equilibrium",
    ),
    (
        "exactness",
        exactness_verdicts.exact_enough,
        "that outcomes do not depend on the number format",
        "exactness",
    ),
)


def sizes():
    """What differs between the scales, and the paper's own, as a table."""
    every = list(scales.SCALES.values())
    ep, cnn = (published.settings("cifar10", m) for m in limits.BOTH)
    paper = every[-1].rows["ep-cnn"].recipe
    whole = scales.TRAINED_ON + paper.validation  # nothing was held out
    corrupted, clean = (
        published.table(e, model="ep-cnn").images.iloc[0] for e in ("corruption", "free-step")
    )

    def of(value):
        return [value(s) for s in every]

    def images(s, name):
        return f"{s.attacks[name]['images']:,}"

    def phases(row):
        _, free, nudged = row.recipe.phases[-1]
        return f"{free} + 2 × {nudged} {row.order}"

    lines = [
        ("images", *of(lambda s: chapters.DATASET_NAMES[s.dataset]), chapters.DATASET_NAMES["cifar10"]),
        (
            "channels of the EP-CNN",
            *of(lambda s: _joined(s.rows["ep-cnn"].channels)),
            _joined(ep["channels"]),
        ),
        ("training images seen, EP-CNN", *of(lambda s: _seen(s, "ep-cnn")), f"{ep['epochs'] * whole:,}"),
        ("training images seen, CNN", *of(lambda s: _seen(s, "cnn")), f"{cnn['epochs'] * whole:,}"),
        (
            "steps in training, free + nudged",
            *of(lambda s: phases(s.rows["ep-cnn"])),
            f"{ep['free_steps']} + 2 × {ep['nudged_steps']} {ep['order']}",
        ),
        ("seeds planned", *of(lambda s: len(s.seeds)), len(ep["seeds"])),
        ("seeds stored, of EP-CNN and CNN", *of(_stored), "–"),
        ("test images, clean accuracy", *of(lambda s: f"{s.attack.images_for('clean'):,}"), f"{clean:,}"),
        ("test images, PGD", *of(lambda s: f"{s.attack.images:,}"), f"{ep['pgd_images']:,}"),
        ("steps of PGD", *of(lambda s: s.attack.steps), ep["pgd_steps"]),
        ("test images, suite", *of(lambda s: images(s, "suite-linf")), f"{ep['autoattack_images']:,}"),
        ("test images, corruptions", *of(lambda s: images(s, "corruptions")), f"{corrupted:,}"),
    ]
    return table(("", *(s.name for s in every), "the paper"), lines)


def _joined(channels):
    return "-".join(map(str, channels))


def _seen(scale, model):
    return f"{scale.rows[model].recipe.images_seen:,}"


def _stored(scale):
    """How many seeds of EP-CNN and CNN are stored with what most pages show."""
    if scale.name not in chapters.LARGEST_FIRST:
        return "–"
    return len(chapters.complete(scale.name, scale.dataset, chapters.MAIN, {})) or "none"


def visible(gaps, shares, n):
    """([Gap] that n images show, [Gap] that they do not). gaps: of `scale_limits.gaps`. shares: of
    `scale_limits.discordance`.
    """
    least = limits.smallest(n, float(np.median(shares)))
    return [g for g in gaps if g.size >= least], [g for g in gaps if g.size < least]


def answer(shares, gaps, badge, orders):
    """The page's one-sentence answer. orders: of `scale_orders.compared`, the first pair of scales counts."""
    seen, hidden = visible(gaps, shares, badge.n)
    (small, large), (_, verdict) = next(iter(orders.items()))
    order = {
        "supported": f"the order of models at {small} scale holds at {large} scale too",
        "contradicted": f"the order of models at {small} scale does not hold at {large} scale",
        "undecided": f"whether the order of models at {small} scale holds at {large} scale is undecided",
    }[verdict.networks]
    return Text(
        f"{BEGINNING}With {badge.n:,} images under PGD, {badge.scale} scale shows {_least(shares, badge.n)}"
        f" between two networks, enough for {len(seen) or 'none'} of the {len(seen) + len(hidden)} published"
        f" differences below; {order}{_nothing_about(badge)}."
    )


def _nothing_about(badge):
    if badge.dataset in PAPER_DATASETS:
        return ""
    return f", and as its images are the {DATASET_NAMES[badge.dataset]}'s, it says nothing about CIFAR images"


def _least(shares, n):
    """The smallest difference that n images show, in words."""
    least = limits.smallest(n, float(np.median(shares)))
    return f"differences of {100 * least:.0f} points and more" if least < 1 else "no difference"


def seeds(found):
    """How far seeds lie apart, in words. found: [limits.Spread]."""
    told = "; ".join(
        f"{pictures.name(s.model)}, {s.what}: published {100 * s.sd:.1f}, here"
        f" {100 * s.deviation:.1f} where the images alone would give {100 * s.alone:.1f}"
        for s in found
        if len(s.ours) > 1
    )
    if not told:
        return Text("Of one seed alone there is no spread: more of them have to be trained first.")
    most = sum(s.deviation <= 2 * s.alone for s in found if len(s.ours) > 1)
    total = sum(len(s.ours) > 1 for s in found)
    return Text(
        f"**Standard deviations over seeds**, in points: {told}. In {most} of {total} cases ours is at most"
        " twice what so few images would give alone: there it says little about how far networks differ."
    )


def lists(shown, shares, gaps, badge, orders):
    """What the scale shown can and what it cannot show, as two lists, each line by its own rule.

    orders: as of `answer`.
    """
    (small, large), (_, verdict) = next(iter(orders.items()))
    seen, hidden = visible(gaps, shares, badge.n)
    can = [f"{_least(shares, badge.n)} between two networks of one seed under PGD ({badge.n} images)"]
    can = can if limits.smallest(badge.n, float(np.median(shares))) < 1 else []
    cannot = [f"smaller differences under PGD on {badge.n} images" if can else "any difference under PGD"]
    if seen:
        can.append(f"differences as large as these of the paper: {_listed(seen)}")
    if hidden:
        cannot.append(f"differences as small as these of the paper: {_listed(hidden)}")
    for measurement, rule, what, page in CHECKS:
        results = chapters.stored(shown, measurement, ("ep-cnn",)).get("ep-cnn")
        word = rule(results).networks if results else "not measured"
        (can if word == "supported" else cannot).append((f"{what} ({word})", page))
    order = f"the order of models at {large} scale, from that at {small} scale ({verdict.networks})"
    (can if verdict.networks == "supported" else cannot).append(order)
    if badge.dataset not in PAPER_DATASETS:
        cannot.append("anything about CIFAR images, so no claim of the paper about them")
    few = f"{len(badge.seeds)} of the {SEEDS_FOR_METHOD} seeds that this asks for are there"
    if badge.dataset not in PAPER_DATASETS or len(badge.seeds) < SEEDS_FOR_METHOD:
        cannot.append(f"anything about the method instead of these networks ({few})")
    else:
        can.append(f"what holds for the method ({len(badge.seeds)} seeds on the paper's kind of images)")
    name = f"{badge.scale} scale"
    return Html(
        f"<p><strong>{name[0].upper()}{name[1:]} can show</strong></p>{_items(can)}"
        f"<p><strong>It cannot show</strong></p>{_items(cannot)}"
    )


def _listed(gaps):
    return "; ".join(f"{g.words}, {g.under} ({100 * g.size:.1f} points)" for g in gaps)


def _items(lines):
    """A list. lines: words, or (words, slug of the page that shows it)."""
    pairs = [line if isinstance(line, tuple) else (line, None) for line in lines or ["nothing"]]
    told = [
        html.escape(words) + (f': <a href="{page}.html">{page}</a>' if page else "") for words, page in pairs
    ]
    return f"<ul>{''.join(f'<li>{line}</li>' for line in told)}</ul>"


def compared(orders):
    """What could be compared between scales, in words."""
    told = []
    for (small, large), (found, _) in orders.items():
        what = "; ".join(f"{o.what}, {len(o.first)} models" for o in found)
        few = [o.what for o in found if not o.counts]
        left = f"; too few models to judge by: {', '.join(few)}" if few else ""
        told.append(f"- {small} and {large}: {what or 'no two models have the same measurement yet'}{left}")
    return Text("**Stored at two scales**, of the same models:\n\n" + "\n".join(told))


def boxes(orders):
    """The verdicts of pairs of scales that share something, or the first where none does, as boxes."""
    kept = [verdict for found, verdict in orders.values() if found]
    return [verdict_box(v) for v in kept or [next(iter(orders.values()))[1]]]

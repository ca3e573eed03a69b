"""What the page about the limits of a scale says, from `eplib.scale_limits` and verdicts of other pages."""

import html

import numpy as np

from eplib import chapters, exactness_verdicts, model_verdicts, pictures
from eplib import scale_limits as limits
from eplib.chapters import DATASET_NAMES
from eplib.sentences import BEGINNING, Html, Text
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


def visible(gaps, shares, n):
    """([Gap] that n images show, [Gap] that they do not). gaps: of `scale_limits.gaps`. shares: of
    `scale_limits.discordance`.
    """
    least = limits.smallest(n, float(np.median(shares)))
    return [g for g in gaps if g.size >= least], [g for g in gaps if g.size < least]


def answer(shares, gaps, badge, verdict, larger):
    """The page's one-sentence answer. verdict: of `scale_orders.predicts` from this scale to `larger`."""
    seen, hidden = visible(gaps, shares, badge.n)
    order = {
        "supported": f"its order of models holds at {larger} scale too",
        "contradicted": f"its order of models does not hold at {larger} scale",
        "undecided": f"whether its order of models holds at {larger} scale is undecided",
    }[verdict.networks]
    return Text(
        f"{BEGINNING}With {badge.n} images under PGD, {badge.scale} scale shows {_least(shares, badge.n)}"
        f" between two networks, as large as {len(seen) or 'none'} of the {len(seen) + len(hidden)} published"
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


def lists(shown, shares, gaps, badge, verdict, larger):
    """What the scale shown can and what it cannot show, as two lists, each line by its own rule.

    verdict: as of `answer`.
    """
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
    order = f"the order of models at {larger} scale ({verdict.networks})"
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


def compared(found, small, large):
    """What was compared between two scales, in words. found: [scale_orders.Order]."""
    if not found:
        return Text(
            f"**{small} and {large}**: no two models have the same measurement stored at both scales yet."
        )
    told = "; ".join(f"{o.what}, {len(o.first)} models" for o in found)
    few = [o.what for o in found if not o.counts]
    left = f" Too few models to judge by: {', '.join(few)}." if few else ""
    return Text(f"**{small} and {large}** share {told}.{left}")

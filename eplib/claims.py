"""Every claim that the book tests: what the paper gives for it, and what our networks say, each by the rule
of the chapter that it belongs to. Nothing is decided here.
"""

import functools
import html
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from eplib import (
    attack_sentences,
    attack_verdicts,
    black_box_sentences,
    chapters,
    corruption_scores,
    corruption_sentences,
    masking_verdicts,
    model_verdicts,
    networks,
    phase_verdicts,
    published,
    published_curves,
    semantics_sentences,
    transformer_sentences,
    transformer_verdicts,
)
from eplib.checks import InputError, strength
from eplib.sentences import Text, scrolling, word

BOTH = ("ep-cnn", "cnn")
AT = "cnn-at-l2-0.5"
WORDS = ("supported", "contradicted", "undecided")


@dataclass(frozen=True)
class Claim:
    """words: the claim. published: () -> what the paper gives for it. chapter: slug of the page that tests
    it. judge: (pick) -> ({rival or norm: Verdict}, results that it rests on, one a seed), where
    pick(needs) is `chapters.choose` of the page's parameters. images: whether that page reads images.
    """

    words: str
    published: Callable[[], str]
    chapter: str
    judge: Callable[..., Any]
    images: bool = True


@dataclass(frozen=True)
class Judged:
    """A `Claim` and its verdicts, {label: Verdict}, with the `chapters.Badge` of what they rest on; none and
    None where it has not been measured.
    """

    claim: Claim
    verdicts: dict
    badge: chapters.Badge | None


def _lead(figure, rival):
    """Where the published EP-CNN leads a rival most in a figure, in words."""
    epsilon, ep, other = attack_verdicts.published_lead(_norm(figure), "ep-cnn", rival, figure)
    title = published_curves.name(rival)
    return f"EP-CNN {ep:.1%}, {title} {other:.1%} at {strength(_norm(figure), epsilon)}"


def _behind(figure):
    """Where the published adversarially trained CNN is ahead of the EP-CNN most in a figure, in words."""
    epsilon, other, ep = attack_verdicts.published_lead(_norm(figure), AT, "ep-cnn", figure)
    title = published_curves.name(AT)
    return f"EP-CNN {ep:.1%}, {title} {other:.1%} at {strength(_norm(figure), epsilon)}"


def _norm(figure):
    return published_curves.of(figure).axes.norm


def _white_box(claim, pick):
    needed = ("pgd-linf", "pgd-l2")
    shown = pick({m: needed for m in BOTH})
    said, own = {}, None
    for norm in ("linf", "l2"):
        found = chapters.outcomes(shown, BOTH, f"pgd-{norm}") | chapters.stored(shown, f"pgd-{norm}")
        own = own or found["ep-cnn"]
        for (rival, kind), verdict in attack_sentences.white_box_verdicts(found, norm, AT).items():
            if (rival, kind) == claim:
                said[f"{'ℓ∞' if norm == 'linf' else 'ℓ2'} PGD"] = verdict
    return said, own


def _black_box(measurement, pick):
    needed = ("square-linf", "suite-linf")
    shown = pick({m: needed for m in BOTH})
    found = {m: chapters.outcomes(shown, BOTH, m) for m in needed}
    found = {m: found[m] | chapters.stored(shown, m) for m in needed}
    said = black_box_sentences.black_box_verdicts(found)[measurement]
    return {"CNN": said}, found[measurement]["ep-cnn"]


def _transformers(pick):
    needed = ("pgd-linf", "pgd-l2")
    shown = pick({m: needed for m in BOTH})
    main = {name: chapters.outcomes(shown, BOTH, name) for name in needed}
    said = transformer_verdicts.each(transformer_sentences.gathered(shown, main))
    return {"every transformer": transformer_verdicts.every(said)}, main["pgd-linf"]["ep-cnn"]


def _corruptions(rivals, pick):
    shown = pick({m: ("corruptions",) for m in BOTH})
    found = chapters.outcomes(shown, BOTH, "corruptions") | chapters.stored(shown, "corruptions")
    found = corruption_scores.of_one_source(found)
    said = corruption_sentences.verdicts(found, corruption_scores.SETS["18"])
    kept = {attack_sentences.rival_name(r): said[r] for r in rivals if r in said}
    return kept, found["ep-cnn"]


def _of_the_ep_cnn(measurements, rule, pick):
    """A rule over results of the EP-CNN alone. rule: [Result] of each measurement -> Verdict."""
    shown = pick({"ep-cnn": measurements})
    found = [chapters.outcomes(shown, ("ep-cnn",), m)["ep-cnn"] for m in measurements]
    return {"": rule(*found)}, found[0]


def _clean(pick):
    shown = pick({m: ("clean",) for m in BOTH})
    found = chapters.outcomes(shown, BOTH, "clean")
    return {"": networks.comparable(found["ep-cnn"], found["cnn"])}, found["ep-cnn"]


def _settled():
    curve = published.free_step_curve()["mean"]
    return f"accuracy {curve[60]:.1%} after 60 free steps, {curve.iloc[-1]:.1%} after {curve.index[-1]}"


def _clean_published():
    """Clean accuracies behind the published curves: those at their smallest ε."""
    curves = published.pgd_curves("linf")
    at = {m: curves[m]["mean"].iloc[0] for m in BOTH}
    return f"EP-CNN {at['ep-cnn']:.1%}, CNN {at['cnn']:.1%} (at the smallest ε of the curves)"


def _corrupted(model, words):
    means = {
        m: corruption_scores.mean(t.drop(index="frost", errors="ignore"))
        for m, (t, _) in corruption_sentences.published_surfaces(corruption_sentences.EVERY_PUBLISHED).items()
    }
    other = f", {words} {means[model]:.1%}" if model in means else f"; {words}"
    return f"EP-CNN {means['ep-cnn']:.1%}{other} (mean of 18 types, 5 severities)"


CNN_FIGURES = ("Adversarial_Accuracy_Inf", "Adversarial_Accuracy_CNN_M")
CLAIMS = (
    Claim(
        "Under white-box attacks an EP-CNN is more robust than a CNN.",
        lambda: "; ".join(_lead(f, "cnn") for f in CNN_FIGURES),
        "white-box",
        functools.partial(_white_box, ("cnn", "leads")),
        images=False,
    ),
    Claim(
        "… and than a vision transformer.",
        lambda: "; ".join(_lead(f, "vit") for f in CNN_FIGURES),
        "white-box",
        functools.partial(_white_box, ("vit-8", "leads")),
        images=False,
    ),
    Claim(
        "… whichever the transformer.",
        lambda: "one architecture was compared",
        "transformers",
        _transformers,
        images=False,
    ),
    Claim(
        "… and as robust as an adversarially trained CNN.",
        lambda: "“comparable robustness to adversarially-trained DNNs”; " + _behind(CNN_FIGURES[0]),
        "white-box",
        functools.partial(_white_box, (AT, "comparable")),
        images=False,
    ),
    Claim(
        "The lead holds under a suite of attacks.",
        lambda: _lead(black_box_sentences.PUBLISHED["suite-linf"], "cnn"),
        "black-box",
        functools.partial(_black_box, "suite-linf"),
    ),
    Claim(
        "… and under black-box attacks.",
        lambda: _lead(black_box_sentences.PUBLISHED["square-linf"], "cnn"),
        "black-box",
        functools.partial(_black_box, "square-linf"),
    ),
    Claim(
        "Under natural corruptions it is as robust as an adversarially trained CNN.",
        lambda: _corrupted(AT, "CNN trained with ε 0.5"),
        "corruptions",
        functools.partial(_corruptions, (AT,)),
    ),
    Claim(
        "… and more robust than a CNN and a vision transformer.",
        lambda: _corrupted("", "neither was evaluated"),
        "corruptions",
        functools.partial(_corruptions, ("cnn", "vit-8")),
    ),
    Claim(
        "Clean accuracy is not sacrificed: it stays within ten points of the CNN's.",
        _clean_published,
        "networks",
        _clean,
        images=False,
    ),
    Claim(
        "After 60 free steps nothing changes any more.",
        _settled,
        "equilibrium",
        functools.partial(_of_the_ep_cnn, ("settling",), model_verdicts.settles),
    ),
    Claim(
        "Gradients through the free phase are not masked.",
        lambda: "longer horizons give stronger attacks up to about 60 steps",
        "masking",
        functools.partial(_of_the_ep_cnn, ("horizons",), masking_verdicts.by_horizon),
    ),
    Claim(
        "Settling adds robustness.",
        lambda: "an open question of the paper",
        "free-phase",
        functools.partial(_of_the_ep_cnn, ("horizons",), phase_verdicts.settling_adds_robustness),
    ),
    Claim(
        "Perturbations that attacks find on it are semantic.",
        lambda: "one picture without a number, and an open question of the paper",
        "semantics",
        semantics_sentences.claim,
    ),
)


def judged(scale="best", dataset="default", seeds="all", claims=CLAIMS):
    """[Judged] of every claim, each at the best scale for which its own measurements are stored. Raises
    InputError for parameters that `chapters.choose` refuses; a claim whose networks are not there has none.
    """
    pick = functools.partial(chapters.choose, scale, dataset, seeds)
    pick({})
    return [_judged(c, functools.partial(pick, images=c.images)) for c in claims]


def _judged(claim, pick):
    try:
        said, results = claim.judge(pick)
    except InputError:
        return Judged(claim, {}, None)
    return Judged(claim, said, chapters.badge({"ep-cnn": results}))


def together(found):
    """The word of several verdicts on one claim: that of all of them where they agree, else undecided."""
    words = {v.networks for v in found.values()}
    return words.pop() if len(words) == 1 else "undecided"


def counted(every):
    """{word: [Judged]} about these networks."""
    kept = [j for j in every if j.verdicts]
    return {w: [j for j in kept if together(j.verdicts) == w] for w in WORDS}


def answer(every):
    """How many claims these networks support, contradict and leave undecided, in one sentence."""
    found = {w: len(js) for w, js in counted(every).items()}
    total, methods = sum(found.values()), [v.method for j in every for v in j.verdicts.values()]
    decided = sum(m != "undecided" for m in methods)
    scales = sorted({f"{j.badge.dataset_name}, {j.badge.scale} scale" for j in every if j.badge})
    return Text(
        f"**In one sentence.** Of {total} claims that were tested, these networks support"
        f" {found['supported']}, contradict {found['contradicted']} and leave {found['undecided']} undecided;"
        f" about the method {decided or 'none'} of the {len(methods)} verdicts"
        f" {'is' if decided == 1 else 'are'} decided ({'; '.join(scales)})."
    )


def table(every):
    """The table of claims: claim, published, our verdicts on these networks and on the method, what they rest
    on, and the chapter; the whole sentence of every verdict is folded below its word.
    """
    head = ("claim", "published", "for these networks", "for the method", "rests on", "chapter")
    lines = "".join(_line(j) for j in every)
    cells = "".join(f'<th scope="col">{h}</th>' for h in head)
    return scrolling(f"<table><thead><tr>{cells}</tr></thead><tbody>{lines}</tbody></table>", "eplib-claims")


def _line(j):
    said = "".join(
        f"<details><summary>{word(v.networks)}{html.escape(f' · {label}' if label else '')}</summary>"
        f'<p class="eplib-evidence">{html.escape(v.sentence)}</p></details>'
        for label, v in j.verdicts.items()
    )
    method = ", ".join(dict.fromkeys(v.method for v in j.verdicts.values()))
    slug = j.claim.chapter
    rests = j.badge.text if j.badge else "not measured at this scale"
    return (
        f'<tr><th scope="row">{html.escape(j.claim.words)}</th><td>{html.escape(j.claim.published())}</td>'
        f"<td>{said or 'not tested'}</td><td>{method or '–'}</td><td>{html.escape(rests)}</td>"
        f'<td><a href="{slug}.html">{slug}</a></td></tr>'
    )

"""What the page about the smallest changes says, composed from results of minimal-norm attacks."""

import numpy as np

from eplib import attack_verdicts, chapters
from eplib.attack_sentences import rival_name
from eplib.minimal_figures import number, spread
from eplib.pictures import name
from eplib.sentences import Text
from eplib.sentences import table as table_of_words
from eplib.verdicts import Verdict

RIVALS = ("cnn", "vit-8", "cnn-at-l2-0.5", "twin-bptt", "cnn-plain")
WORDS = {
    "supported": "takes larger changes than",
    "contradicted": "takes smaller changes than",
    "undecided": "is not shown to take other changes than",
}
TIGHTENED = Text(
    "The rule of the verdict was tightened after the first numbers at quick scale had shown that C&W of this"
    " size leaves images unbroken which another attack breaks: until then it looked at C&W alone and took any"
    " share of broken images. Now it takes the smallest change that one of these attacks found, and decides"
    f" nothing where fewer than {attack_verdicts.FOUND:.0%} of the images compared were broken."
)


def verdicts(found):
    """{rival: Verdict} of `attack_verdicts.larger_changes` for those of `RIVALS` that are in `found`, {model:
    [Result with the array minimal_norm, one a seed]}; undecided where a pair has no image that both get
    right.
    """
    said = {}
    for rival in (r for r in RIVALS if r in found):
        pairs = chapters.paired(found, "ep-cnn", rival)
        if all((a.correct_clean & b.correct_clean).any() for a, b in zip(*pairs, strict=True)):
            said[rival] = attack_verdicts.larger_changes(*pairs, rival_name(rival))
        else:
            sentence = (
                f"For these networks: undecided. Of the {len(pairs[0][0].image_ids)} test images there is"
                f" none that both the EP-CNN and the {rival_name(rival)} get right."
            )
            said[rival] = Verdict("undecided", "undecided", sentence, "Images that both get right.")
    return said


def answer(said, lengths, badge):
    """The page's answer in one sentence, and for how many images a change was found at all, by all attacks
    and by each alone. said: of `verdicts`. lengths: of `smallest.lengths`.
    """
    clauses = [f"{WORDS[v.networks]} breaking the {rival_name(rival)}" for rival, v in said.items()]
    *attacks, _ = lengths
    broken = []
    for model in ("ep-cnn", *said):
        every = {attack: spread(lengths[attack][model])[0] for attack in lengths}
        counts = {attack: np.isfinite(norms).sum() for attack, norms in every.items()}
        alone = ", ".join(f"{attack} alone {counts[attack]}" for attack in attacks)
        broken.append(f"{counts['all']} of {len(every['all'])} for the {rival_name(model)} ({alone})")
    return Text(
        f"**In one sentence.** By the smaller of the changes that {' and '.join(attacks)} find, breaking the"
        f" EP-CNN {'; it '.join(clauses)} ({badge.dataset_name}, {badge.scale} scale). Of the images that are"
        f" right the attacks broke {'; '.join(broken)}. What they did not break, another attack may."
    )


def table(lengths, radii):
    """A line a model: seeds, clean accuracy, quartiles of the smallest norm over all attacks and the share of
    images broken; the same medians and shares for each attack alone; the median first-order radius. lengths:
    of `smallest.lengths`. radii: {model: of `chapters.radii`}.
    """
    *attacks, _ = lengths
    lines = []
    for model, results in lengths["all"].items():
        norms, quartiles = spread(results)
        clean = np.mean([r.correct_clean.mean() for r in results])
        seeds = ", ".join(str(s) for s in sorted(r.settings["seed"] for r in results))
        low, median, high = map(number, quartiles) if quartiles else "–––"
        cells = [f"{100 * clean:.1f}", median, f"{low} to {high}", _broken(norms)]
        for attack in attacks:
            norms, quartiles = spread(lengths[attack][model])
            cells += [number(quartiles[1]) if quartiles else "–", _broken(norms)]
        lines.append((name(model), seeds, *cells, f"{radii[model]:.3g}" if model in radii else "–"))
    head = ("network", "seeds", "clean", "median smallest ℓ2", "quartiles", "broken")
    each = [f"{attack}: {what}" for attack in attacks for what in ("median", "broken")]
    note = (
        "Clean accuracy and the share of the right images that were broken in per cent. Medians and quartiles"
        " over the images that the network gets right, means over seeds; – where nothing is stored or right."
    )
    return table_of_words((*head, *each, "median first-order radius"), lines, note)


def _broken(norms):
    return f"{100 * np.isfinite(norms).mean():.1f}" if len(norms) else "–"


def upper_bounds(lengths, sizes):
    """That the attacks find upper bounds, how hard C&W searched, how many images each broke, and how often
    DDN found a smaller change of the same image, in words. lengths: of `smallest.lengths`. sizes: of C&W.
    """
    every = {a: np.concatenate([spread(results)[0] for results in lengths[a].values()]) for a in lengths}
    broken = {attack: np.isfinite(norms).sum() for attack, norms in every.items()}
    smaller = (every["DDN"] < every["C&W"]).sum()
    return Text(
        "These lengths are upper bounds: the smallest change that breaks an image is at most as long, and an"
        f" image that was not broken is not shown to be safe. With {sizes['searches']} values of its constant"
        f" and {sizes['steps']} steps for each C&W broke {broken['C&W']} of {len(every['C&W'])} images that"
        f" were right, all networks together, DDN {broken['DDN']}, both together {broken['all']}. DDN found"
        f" a smaller change than C&W in {smaller} of {len(every['C&W'])} cases. {TIGHTENED}"
    )

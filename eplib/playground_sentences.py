"""What the playground says about a run, composed from it."""

from eplib import sentences
from eplib.attacks import ThreatModel
from eplib.chapters import DATASET_NAMES
from eplib.checks import NORMS, strength
from eplib.gradients import SETTLED
from eplib.playground import ATTACK_STEPS, LONGER, after
from eplib.sentences import Html, Text, table
from eplib.settling import NUDGED_FRAMES

EXPLORERS = {  # pages with figures that answer without a kernel, and what can be done there
    "equilibrium": ("The equilibrium", "watch an image settle"),
    "first-attack": ("First attack", "turn up an attack"),
    "masking": ("Is it gradient masking?", "pick attack and prediction horizons"),
    "corruptions": ("Natural corruptions", "corrupt an image"),
    "robustness-curves": ("Robustness curves", "lay any two curves beside each other"),
}
OPEN = "jupyter lab book/playground.ipynb"
INSTALL = ".venv/bin/uv pip install -c constraints.txt -e '.[lab]'"


def percent(chance):
    """A probability as pages write it; only a certainty is 100 %."""
    chance = float(chance)
    return ">99.9%" if 0.9995 <= chance < 1 else f"{chance:.1%}" if chance > 0.99 else f"{chance:.0%}"


def settled(seen, steps):
    """Whether no unit would move by `SETTLED` or more in one more step of all layers."""
    return bool(seen.residual[steps] < SETTLED)


def answer(played, words):
    """The run in one sentence. words: of its image."""
    clean, attacked, s = played.clean, played.attacked, played.settings
    said = f"{sentences.BEGINNING}Shown {words}, the {played.name} says {_named(played, clean.chances)}"
    if played.label is not None:
        right = clean.answer == played.label
        said += ", and is right" if right else f", and is wrong: it is {played.classes[played.label]}"
    if played.recurrent:
        said += f"; after {after(s.steps, s.order)} its state {_rest(clean, s.steps)}"
    if attacked is None:
        return Text(f"{said}; it was not attacked.")
    under = f"under PGD of {strength(s.norm, s.epsilon)} it"
    if attacked.answer == clean.answer:
        return Text(f"{said}; {under} still says {_named(played, attacked.chances)}.")
    return Text(f"{said}; {under} says {_named(played, attacked.chances)}.")


def _named(played, chances):
    best = int(chances.argmax())
    return f"{played.classes[best]} ({percent(chances[best])})"


def _rest(seen, steps):
    found = "had settled" if settled(seen, steps) else "had not settled"
    return f"{found} (residual {seen.residual[steps]:.1g})"


def numbers(played):
    """The table of a run: a column for the image, one for its attacked copy."""
    s, both = played.settings, [x for x in (played.clean, played.attacked) if x]
    lines = [("answer", *(_named(played, x.chances) for x in both))]
    if played.label is not None:
        name = f"probability of {played.classes[played.label]}, the true class"
        lines.append((name, *(percent(x.chances[played.label]) for x in both)))
    if played.recurrent:
        last = LONGER * s.steps
        lines.append((f"answer after {after(last)}", *(_named(played, x.curves[-1]) for x in both)))
        for step in (s.steps, last):
            lines.append((f"residual after {after(step)}", *(f"{x.residual[step]:.2g}" for x in both)))
    for sign, chances in zip("+−", played.nudged or (), strict=False):
        name = f"answer {NUDGED_FRAMES[-1]} steps later, nudged by β = {sign}{s.beta:g}"
        lines.append((name, _named(played, chances), "–"))
    if played.attacked:
        for norm, name in NORMS.items():
            lines.append((f"distance from the image, {name}", "0", f"{_distance(played, norm):.3g}"))
    head = ("", "image", "attacked image")[: 1 + len(both)]
    return table(head, [line[: len(head)] for line in lines], _note(played))


def _distance(played, norm):
    return ThreatModel(norm, 0).distance(played.attacked.image, played.clean.image).item()


def _note(played):
    if not played.recurrent:
        return "A feed-forward network answers in one pass: it has no free phase that could be watched."
    note = f"Settled is a state whose residual is below {SETTLED:g}."
    if played.nudged:
        note += (
            " The nudged phases start where the free one of the image ended, and pull the read-out towards"
            " its true class (+β) or away from it (−β)."
        )
    return note


def layers(played):
    """The table of states after T steps: how active each layer is, and what the attack changed in it; nothing
    for a feed-forward network.
    """
    if not played.recurrent:
        return Html("")
    head, lines = ("layer", "units", "mean state", "at 0", "at 1"), []
    for l, state in enumerate(played.clean.states):
        line = [f"{l + 1}: {' × '.join(map(str, state.shape))}", f"{state.numel():,}", f"{state.mean():.3f}"]
        line += [f"{(state == end).double().mean():.0%}" for end in (0, 1)]
        if played.attacked:
            line.append(f"{(played.attacked.states[l] - state).abs().mean():.3f}")
        lines.append(line)
    head += ("mean change by the attack",) if played.attacked else ()
    return table(head, lines, f"States lie between 0 and 1; after {after(played.settings.steps)}.")


def limits(played, found, shown):
    """What one image can show, in words, and for an EP-CNN what networks like it can. found: [Result] of
    "clean" of the played network.
    """
    right, n = found[0].correct_clean.mean(), len(found[0].image_ids)
    r, classes = played.checkpoint.record, ", ".join(c.replace("_", " ") for c in played.classes)
    return Text(
        f"One image is an example and no measurement. This network gives {right:.1%} of {n}"
        f" {DATASET_NAMES[r['dataset']]} test images their class; any other picture, your own or one of"
        " another data set, it can only give one of the classes it knows:"
        f" {classes}. A probability here is the softmax of the logits, which says how sure the network is and"
        f" not how often it is right. PGD of {ATTACK_STEPS} steps is one attack: an answer that it leaves may"
        " fall to another." + (f"\n\n{sentences.limits(shown)}" if r["model"] == "ep-cnn" else "")
    )


def own_pictures():
    """What is done to the reader's own picture."""
    return Text(
        "Your own picture is turned upright, cut to its middle square and scaled. A network of garments sees"
        " it in grey and in the black frame of its own images; those are light on black, so for a photograph"
        " on a light ground exchange light and dark (`invert`). It goes to this notebook's kernel and nowhere"
        " else; the figure that shows it is saved with the notebook."
    )


def again():
    """The commands that play something else."""
    commands = (
        "papermill book/playground.ipynb played.ipynb -p network cnn -p image sample:5 -p epsilon 0.1",
        "papermill book/playground.ipynb played.ipynb -p steps 60 -p order synchronous -p attack pgd-l2"
        " -p epsilon 1.5",
        "papermill book/playground.ipynb played.ipynb -p image foolbox:4 -p attack none",
        "papermill book/playground.ipynb played.ipynb -p image /path/to/your/picture.jpg -p invert True",
        "python -m eplib run playground -p image sample:5 -p steps 200 --out my-run  # the same, here",
    )
    return Text("```bash\n" + "\n".join(commands) + "\n```")


def without_kernel():
    """What stands in the built page in the place of the controls."""
    links = "".join(
        f'<li><a href="{slug}.html">{title}</a>: {what}</li>' for slug, (title, what) in EXPLORERS.items()
    )
    return Html(
        '<div class="eplib-playground" style="border:1px solid #8888;border-radius:4px;padding:.2em 1em">'
        "<p><strong>This page has no kernel</strong>, and a network under attack needs one. In a copy of the"
        f" project, <code>{OPEN}</code> opens it with one; run all cells, and here are the controls: network,"
        " image or your own picture, free steps, β, order of updates, attack and ε. JupyterLab is installed"
        f" by <code>{INSTALL}</code>.</p><p>These figures answer in the page:</p><ul>{links}</ul></div>"
    )

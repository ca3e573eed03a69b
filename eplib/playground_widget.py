"""The controls of the playground: plain widgets in JupyterLab, and in the built page, which has no kernel, a
word where to find them.
"""

import html
import math
import os

from eplib import checkpoints, data, files, playground, playground_figures, playground_pictures
from eplib import playground_sentences as say
from eplib.checks import NORMS, InputError
from eplib.phases import ORDERS
from eplib.sentences import BEGINNING

FILE = "own"  # the choice of the reader's own picture
TEST_IMAGES = 20  # that can be chosen
REACH = {"linf": (0.2, 0.005), "l2": (5.0, 0.05)}  # end and step of ε: what is of interest in a norm


def widget(played, source, words, invert=False):
    """The playground, beginning with a run: `played` with an image of this `source` and `words` about it.
    With the environment variable EPLIB_STATIC = 1 the note that this page has no kernel.
    """
    if os.environ.get("EPLIB_STATIC") == "1":
        return say.without_kernel()
    return _live(played, source, words, invert)


def shown(played, words):
    """A run as one piece of HTML: its sentence, figure and tables."""
    sentence = html.escape(say.answer(played, words).removeprefix(BEGINNING))
    picture = playground_figures.figure(played, words)._repr_html_()
    return f"<p>{sentence}</p>{picture}{say.numbers(played)}{say.layers(played)}"


def _live(played, source, words, invert):
    """A VBox of the controls, a line for messages, and what is shown. What cannot be played is said in the
    line, and what was shown stays.
    """
    from ipywidgets import HTML, VBox

    networks = playground.networks()
    first = playground.title(played.checkpoint.record)
    networks = {first: networks.get(first, played.checkpoint)} | networks
    c = _controls(played, source, invert, networks)
    message, output = HTML(), HTML(shown(played, words))

    def press(_):
        message.value, c["run"].disabled = _line("computing…"), True
        words = "The run broke off; the log of this notebook says why."
        try:
            output.value, words = shown(*_asked(c, networks)), ""
        except InputError as error:
            words = f"{error}. The figure still shows what it showed before."
        finally:
            message.value, c["run"].disabled = _line(words), False

    c["run"].on_click(press)
    c["network"].observe(lambda change: _take_own(c, networks[change["new"]]), "value")
    c["attack"].observe(lambda change: _stretch(c["epsilon"], change["new"]), "value")
    c["upload"].observe(lambda change: c["image"].set_trait("value", FILE), "value")
    return VBox([*c.values(), message, output])


def _controls(played, source, invert, networks):
    """{name: widget}, set to what was played."""
    import ipywidgets as w

    s, images = played.settings, _images(source)
    steps, order = (s.steps, s.order) if played.recurrent else (20, ORDERS[0])
    exponent = math.log10(s.beta)
    style = {"style": {"description_width": "11em"}, "layout": {"width": "min(100%, 46em)"}}
    buttons = style | {"style": style["style"] | {"button_width": "7.5em"}}
    attacks = [("none", "none"), *((f"PGD {NORMS[n]}", a) for a, n in playground.ATTACKS.items() if n)]
    low, high = min(-2, math.floor(exponent)), max(1, math.ceil(exponent))
    c = {
        "network": w.Dropdown(options=list(networks), description="network", **style),
        "image": w.Dropdown(options=images, value=images[0][1], description="image", **style),
        "upload": w.FileUpload(description="your own picture", tooltip="choose a file", accept="image/*"),
        "invert": w.Checkbox(invert, description="exchange light and dark of your own picture", **style),
        "steps": w.IntSlider(steps, 1, playground.STEPS, description="free steps T", **style),
        "beta": w.FloatLogSlider(
            s.beta, min=low, max=high, step=0.05, readout_format=".2g", description="nudging β", **style
        ),
        "order": w.ToggleButtons(options=ORDERS, value=order, description="order of updates", **buttons),
        "attack": w.Dropdown(options=attacks, value=s.attack, description="attack", **style),
        "epsilon": w.FloatSlider(0, description="ε (pixels in 0 to 1)", readout_format=".3f", **style),
        "run": w.Button(description="run", button_style="primary", icon="play"),
    }
    c["upload"].layout.width = "16em"
    _stretch(c["epsilon"], s.attack, s.epsilon)
    _enable(c, played.recurrent)
    return c


def _images(source):
    """[(name, source)]: the page's own first."""
    found = [(f"test image {i} of the network's data set", f"sample:{i}") for i in range(TEST_IMAGES)]
    for i, path in enumerate(playground_pictures.library_images()):
        name = data.CIFAR10[playground_pictures.library_class(path)]
        found.append((f"CIFAR-10 image {i} of foolbox: {name}", f"foolbox:{i}"))
    found.append(("your own picture, chosen below", FILE))
    named = [entry for entry in found if entry[1] == source] or [(f"this page's: {source}", source)]
    return named + [entry for entry in found if entry not in named]


def _asked(c, networks):
    """(`playground.Played`, words about its image) of what the controls say."""
    found = networks[c["network"].value]
    checkpoint = found if isinstance(found, checkpoints.Checkpoint) else checkpoints.load(found)
    source, own = c["image"].value, c["image"].value == FILE
    if own and not c["upload"].value:
        raise InputError("no picture of your own is there yet: choose a file, or another image")
    if own:
        source = bytes(c["upload"].value[-1]["content"])
    given = playground_pictures.picture(source, checkpoint, c["invert"].value)
    settings = playground.Settings(**{n: c[n].value for n in ("steps", "beta", "order", "attack", "epsilon")})
    return playground.play(checkpoint, given.image, given.label, settings), given.words


def _take_own(c, network):
    """Set the free phase to that of a network that was chosen: with another it is another network."""
    try:
        stored = isinstance(network, checkpoints.Checkpoint)
        record = (
            network.record if stored else files.read_json(network.with_suffix(".json"), "checkpoint record")
        )
        described = record["network"]
    except (InputError, KeyError):
        return  # said when it is run
    recurrent = described.get("kind") == "EPCNN"
    _enable(c, recurrent)
    if recurrent:
        c["steps"].value, c["order"].value = described["steps"], described["order"]


def _enable(c, recurrent):
    for name in ("steps", "beta", "order"):
        c[name].disabled = not recurrent


def _stretch(slider, attack, epsilon=None):
    """Give ε the reach of an attack's norm; without a value it keeps its place along the slider."""
    norm = playground.ATTACKS[attack]
    if norm:
        end, step = REACH[norm]
        value = slider.value * end / slider.max if epsilon is None else epsilon
        slider.max, slider.step = max(end, value), step
        slider.value = value
    elif epsilon is not None:
        slider.max, slider.value = max(slider.max, epsilon), epsilon
    slider.disabled = norm is None


def _line(words):
    return f'<p role="status">{html.escape(words)}</p>' if words else ""

"""Interactive figures. In the built page one self-contained element with its data inside, which needs no
kernel and no network; in JupyterLab a live widget where a network can answer more, from the same script.
"""

import base64
import hashlib
import html
import io
import json
import os
from numbers import Integral
from pathlib import Path

import numpy as np
from PIL import Image

from eplib import settling as watched
from eplib.checks import InputError
from eplib.phases import nudged_order

SHARED = ("elements.js", "state.js")  # before every script
SCRIPTS = {
    "attack": "lines.js guess.js attack.js",
    "settling": "settling_plots.js settling.js",
    "horizons": "horizons.js",
    "corruption": "lines.js guess.js corruption.js",
    "gallery": "gallery.js",
    "game": "game.js",
    "curves": "curve_plot.js curve_words.js curves.js",
    "boundary": "boundary.js",
}
SETTLING_CAPTION = (
    "How to use it: press play or move the step and watch an image's activity settle; one small square is one"
    " channel of a layer, black for a state of 0, white for 1. Choose another image, order of updates or"
    " phase, or click on a curve to go to its step. ✓ marks the true class. The nudged phases start where the"
    " free phase ended."
)


class Explorer(str):
    """HTML that displays itself, in JupyterLab and in the built page alike."""

    def _repr_html_(self):
        return str(self)


def settling(net, images, labels, classes, beta=0.5):
    """Watch images [N, C, H, W] settle in `net`, step by step, free and nudged by ±`beta`; the nudged phases
    start from the end of the free phase (see `eplib.settling`).

    classes: names. A widget that recomputes with `net` when the image, β or the number of free steps change
    (its trait `wanted`, {"image", "beta", "steps"}); with the environment variable EPLIB_STATIC = 1 an
    `Explorer` that holds every image. Raises InputError for a β that is no number above 0, and for images or
    labels that do not fit.
    """
    if os.environ.get("EPLIB_STATIC") == "1":
        data = settling_data(net, images, labels, classes, beta, watched.STEPS, range(len(images)))
        return embed("settling", data, SETTLING_CAPTION)

    def answer(wanted):
        image = within("image", wanted.get("image"), len(images))
        return settling_data(net, images, labels, classes, wanted.get("beta"), wanted.get("steps"), [image])

    first = settling_data(net, images, labels, classes, beta, watched.STEPS, [0])
    return answering("settling", first, SETTLING_CAPTION, answer)


def settling_data(net, images, labels, classes, beta, steps, places):
    """All that settling.js shows, ready for JSON: every image's name, and of those at `places` the states,
    curves and answers of `eplib.settling.runs`. Begins with the first of `places`.
    """
    watched.check(net, images, labels, classes, beta, steps)
    chosen = list(places)
    found = watched.runs(net, images[chosen], labels[chosen], beta, steps)
    pictures = [
        {"truth": int(y), "picture": sprite(x[None].cpu().numpy())[0]}
        for x, y in zip(images, labels, strict=True)
    ]
    for k, place in enumerate(chosen):
        layers = [png(watched.sheet(found, l, k)) for l in range(len(net.shapes))]
        pictures[place] |= {"layers": layers, "runs": watched.numbers(found, k)}
    signs = {"free phase": "free", **{f"nudged phase, β = {s}{beta:g}": f"{s}β" for s in "+−"}}
    recorded = (run.steps for run in next(iter(found.values())))
    return {
        "image": chosen[0],
        "beta": float(beta),
        "steps": int(steps),
        "classes": list(classes),
        "shapes": [list(shape) for shape in net.shapes],
        "orders": [[order, nudged_order(order)] for order in found],
        "phases": [
            {"name": name, "short": short, "steps": list(at)}
            for (name, short), at in zip(signs.items(), recorded, strict=True)
        ],
        "images": pictures,
    }


def within(what, place, count):
    """`place` as an int; InputError unless it is a whole number from 0 to `count` - 1."""
    if not isinstance(place, Integral) or isinstance(place, bool) or not 0 <= place < count:
        raise InputError(f"{what} = {place!r}: give a whole number from 0 to {count - 1}")
    return int(place)


def answering(kind, data, caption, answer):
    """The widget of SCRIPTS[kind] in JupyterLab. What its page asks for in the trait `wanted` is answered in
    `cell`, by answer(wanted) -> dict, or where that raises InputError by a sentence in `message`, and `cell`
    stays.
    """
    import anywidget
    import traitlets

    class Answering(anywidget.AnyWidget):
        _esm = module(kind)
        data = traitlets.Dict().tag(sync=True)
        caption = traitlets.Unicode().tag(sync=True)
        wanted = traitlets.Dict().tag(sync=True)
        cell = traitlets.Dict().tag(sync=True)
        message = traitlets.Unicode().tag(sync=True)
        busy = traitlets.Bool(False).tag(sync=True)

        @traitlets.observe("wanted")
        def _asked(self, change):
            self.busy, self.message = True, ""
            try:
                self.cell = answer(change["new"])
            except InputError as error:
                self.message = f"{error}. The figure still shows what it showed before."
            finally:
                self.busy = False

    return Answering(data=data, caption=caption)


def embed(kind, data, caption):
    """The `Explorer` of SCRIPTS[kind]: its figure, script and data in one piece of HTML, the same for the
    same data.
    """
    encoded = json.dumps(data, ensure_ascii=False, allow_nan=False).replace("</", "<\\/")
    # a name, because document.currentScript is null in JupyterLab; the same figure twice fills both places
    name = f"explorer-{hashlib.sha256(encoded.encode()).hexdigest()[:10]}"
    figure = (
        f'<figure class="eplib-explorer" data-explorer="{kind}" style="margin:1rem 0"><div id="{name}"></div>'
        f'<figcaption style="color:inherit;margin-top:.5em">{html.escape(caption)}</figcaption></figure>'
    )
    call = f'{kind}Explorer(document.querySelector("#{name}:empty"), {encoded});'
    return Explorer(f"{figure}<script>(() => {{\n{script(kind)}\n{call}\n}})();</script>")


def script(kind):
    """The JavaScript of an explorer, with what all of them share before it."""
    return _joined(*SHARED, *SCRIPTS[kind].split())


def module(kind):
    """The same as the module of an anywidget: the live host is the same for all."""
    return f'{script(kind)}\n{_joined("host.js")}\nexport default hosted("{kind}", {kind}Explorer);\n'


def _joined(*names):
    return "\n".join(Path(__file__).with_name(name).read_text() for name in names)


def sprite(frames):
    """Float frames [N, C, H, W] in [0, 1] -> (data URI of one PNG that holds them all, its number of
    columns).
    """
    pixels = (np.clip(frames, 0, 1) * 255).round().astype(np.uint8).transpose(0, 2, 3, 1)
    count, side = len(pixels), pixels.shape[1]
    columns = int(np.ceil(np.sqrt(count)))
    sheet = np.zeros((-(-count // columns) * side, columns * side, 3), np.uint8)
    for i, frame in enumerate(pixels):
        y, x = divmod(i, columns)
        sheet[y * side : (y + 1) * side, x * side : (x + 1) * side] = frame
    return png(sheet), columns


def png(pixels):
    """uint8 [H, W] or [H, W, 3] -> a PNG as a data URI."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()

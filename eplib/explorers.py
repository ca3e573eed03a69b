"""Interactive figures. In the built page one self-contained element with its data inside, which needs no
kernel and no network; *Settling* is a live widget in JupyterLab, from the same script.
"""

import base64
import hashlib
import html
import io
import json
import os
from pathlib import Path

import numpy as np
from PIL import Image

from eplib import settling as watched
from eplib.checks import NORMS, InputError
from eplib.phases import nudged_order
from eplib.pictures import COLOURS, NAMES

SCRIPTS = {
    "attack": "explorer.js",
    "settling": "settling.js",
    "horizons": "horizons.js",
    "corruption": "corruption.js",
    "gallery": "gallery.js",
    "game": "game.js",
    "curves": "curve_plot.js curves.js",
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


def attack(steps):
    """Slide through ε and images and see what each network makes of it. steps: `specimens.attack_steps`."""
    frames = np.stack([steps["images"][m] for m in steps["images"]], axis=2)  # [image, ε, model, C, H, W]
    uri, columns = sprite(frames.reshape(-1, *frames.shape[3:]))
    classes = steps["classes"]
    models = [
        {
            "name": NAMES[m],
            "colour": COLOURS[m],
            "answers": [
                [[classes[c], round(float(p), 3)] for c, p in zip(*row, strict=True)]
                for row in zip(*steps["answers"][m], strict=True)
            ],
        }
        for m in steps["images"]
    ]
    data = {
        "sprite": uri,
        "columns": columns,
        "side": frames.shape[-1],
        "models": models,
        "norm": NORMS[steps["norm"]],
        "epsilons": [f"{e:.3g}" for e in steps["epsilons"]],
        "labels": [classes[y] for y in steps["labels"]],
    }
    caption = (
        "How to use it: move ε and watch where each network's answer (✓ right, ✗ wrong, with its confidence)"
        " turns; every network is attacked with its own gradient."
    )
    return embed("attack", data, caption)


def settling(net, images, labels, classes, beta=0.5):
    """Watch images [N, C, H, W] settle in `net`, step by step, free and nudged by ±`beta`; the nudged phases
    start from the end of the free phase (see `eplib.settling`).

    classes: names. An anywidget that recomputes with `net` when the image, β or the number of free steps
    change; with the environment variable EPLIB_STATIC = 1 an `Explorer` that holds every image. Raises
    InputError for a β that is no number above 0, and for images or labels that do not fit.
    """
    if os.environ.get("EPLIB_STATIC") == "1":
        data = settling_data(net, images, labels, classes, beta, watched.STEPS, range(len(images)))
        return embed("settling", data, SETTLING_CAPTION)
    return _live_settling(net, images, labels, classes, beta)


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


def _live_settling(net, images, labels, classes, beta):
    """The widget. Its traits `image`, `beta` and `steps` may be set from either side; what cannot be shown is
    put back, with a sentence in `message`, and `data` (see `settling_data`) stays.
    """
    import anywidget
    import traitlets

    class Settling(anywidget.AnyWidget):
        _esm = script("settling")
        image = traitlets.Any(0).tag(sync=True)
        beta = traitlets.Any().tag(sync=True)
        steps = traitlets.Any(watched.STEPS).tag(sync=True)
        data = traitlets.Dict().tag(sync=True)
        caption = traitlets.Unicode(SETTLING_CAPTION).tag(sync=True)
        message = traitlets.Unicode().tag(sync=True)
        busy = traitlets.Bool(False).tag(sync=True)

        @traitlets.observe("image", "beta", "steps")
        def _changed(self, change):
            wanted = {name: getattr(self, name) for name in ("image", "beta", "steps")}
            if wanted.items() <= self.data.items():
                return  # shown already: refused values were put back
            self.busy, self.message = True, ""
            try:
                self.data = self.compute(**wanted)
            except InputError as error:
                self.message = f"{error}. The figure still shows what it showed before."
                with self.hold_trait_notifications():
                    for name in wanted:
                        setattr(self, name, self.data[name])
            finally:
                self.busy = False

        @staticmethod
        def compute(image, beta, steps):
            if not isinstance(image, int) or not 0 <= image < len(images):
                raise InputError(f"image = {image!r}: give a whole number from 0 to {len(images) - 1}")
            return settling_data(net, images, labels, classes, beta, steps, [image])

    first = Settling.compute(0, beta, watched.STEPS)
    return Settling(beta=beta, data=first)


def answering(kind, data, caption, answer):
    """The widget of SCRIPTS[kind] in JupyterLab. What its page asks for in the trait `wanted` is answered in
    `cell`, by answer(wanted) -> dict, or where that raises InputError by a sentence in `message`, and `cell`
    stays.
    """
    import anywidget
    import traitlets

    class Answering(anywidget.AnyWidget):
        _esm = script(kind)
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
    body = script(kind).partition("export default")[0]
    figure = (
        f'<figure class="eplib-explorer" data-explorer="{kind}" style="margin:1rem 0"><div id="{name}"></div>'
        f'<figcaption style="color:inherit;margin-top:.5em">{html.escape(caption)}</figcaption></figure>'
    )
    call = f'{kind}Explorer(document.querySelector("#{name}:empty"), {encoded});'
    return Explorer(f"{figure}<script>(() => {{\n{body}\n{call}\n}})();</script>")


def script(kind):
    """The JavaScript of an explorer, with what all of them share before it."""
    names = f"elements.js {SCRIPTS[kind]}".split()
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

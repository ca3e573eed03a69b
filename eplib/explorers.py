"""Interactive figures that need no kernel and no network: one self-contained element with its data inside."""

import base64
import hashlib
import html
import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from eplib.checks import NORMS
from eplib.pictures import COLOURS, NAMES

SCRIPT = Path(__file__).with_name("explorer.js")


class Explorer(str):
    """HTML that displays itself, in JupyterLab and in the built page alike."""

    def _repr_html_(self):
        return str(self)


def attack(steps):
    """Slide through ε and images and see what each network makes of it. steps: `chapters.attack_steps`."""
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
    encoded = json.dumps(data, ensure_ascii=False).replace("</", "<\\/")
    # a name, because document.currentScript is null in JupyterLab
    name = f"explorer-{hashlib.sha256(encoded.encode()).hexdigest()[:10]}"
    return Explorer(
        f'<figure class="eplib-explorer"><div id="{name}"></div>'
        f"<figcaption>{html.escape(caption)}</figcaption></figure><script>(() => {{\n{SCRIPT.read_text()}\n"
        f'attackExplorer(document.getElementById("{name}"), {encoded});\n}})();</script>'
    )


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
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode(), columns

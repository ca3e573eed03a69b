"""What every figure is drawn with: one palette, one style, and `Picture`, which carries its caption, its text
for those who cannot see it, and the label it is referred to by.
"""

import base64
import html
import io
import re
from dataclasses import dataclass

import matplotlib
from matplotlib.figure import Figure  # no pyplot, no global state: the same call gives the same bytes

COLOURS = {  # of Okabe and Ito, and greys
    "ep-cnn": "#0072b2",
    "ep-cnn-live": "#56b4e9",
    "ep-cnn-60": "#004c73",
    "twin-one-sided": "#e69f00",
    "twin-adjoint": "#cc79a7",
    "twin-bptt": "#009e73",
    "twin-untrained": "#7f7f7f",
    "cnn": "#d55e00",
}
NAMES = {
    "ep-cnn": "EP-CNN",
    "ep-cnn-live": "EP-CNN, live arg-max",
    "ep-cnn-60": "EP-CNN, 60 + 2 × 20 synchronous steps",
    "twin-one-sided": "twin by one-sided EP",
    "twin-adjoint": "twin by the adjoint",
    "twin-bptt": "twin by BPTT",
    "twin-untrained": "untrained convolutions",
    "twin-cut": "EP weights, feedback cut",
    "cnn": "CNN",
    "cnn-sigmoid": "CNN, hard sigmoid",
    "cnn-plain": "CNN without BatchNorm",
    "cnn-like-ep": "CNN with the EP-CNN's unit",
    "cnn-penalised": "CNN without BatchNorm, gradient penalty",
    "cnn-penalised-2": "CNN without BatchNorm, gradient penalty 2",
    "student-of-ep-cnn": "student of the EP-CNN",
    "student-of-cnn": "student of the CNN",
    "judge-l2": "judge trained in ℓ2",
    "judge-linf": "judge trained in ℓ∞",
    "judge-standard": "standard judge",
    "vit-4": "ViT, 4-pixel patches",
    "vit-8": "ViT, 8-pixel patches",
    "vit-lite": "ViT-Lite",
    "cct": "CCT",
    "swin": "Swin",
    "mixer": "MLP-Mixer",
}
ENDINGS = {  # what a model's name says after that of the network it departs from
    r"half": ", half the paper's width",
    r"halfway": ", half-trained",
    r"augmented": ", strong augmentation",
    r"fast": ", fast schedule",
    r"half-k": ", half the nudged steps",
    r"double-k": ", twice the nudged steps",
    r"squared-error": ", squared error",
    r"average": ", average pooling",
    r"beta-(.+)": ", β {}",
    r"wd-(.+)": ", weight decay {}",
    r"at-l2-(.+)": ", adversarial training ℓ2 {}",
    r"at-linf-(.+)": ", adversarial training ℓ∞ {}/255",
}
LIGHT = (0.2126, 0.7152, 0.0722)  # what red, green and blue have of the luminance
PAPER = {"light": (1.0, 1.0, 1.0), "dark": (18 / 255, 18 / 255, 18 / 255)}  # the pages' background
MANY = 20  # colours: more are a map, with words in its cells
STYLE = {
    "svg.hashsalt": "eplib",
    "svg.fonttype": "path",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "figure.constrained_layout.use": True,
}


def name(model):
    """The title of a model: that of `NAMES`, or composed from the network its name begins with and the one
    departure that follows. A smaller EP-CNN carries its first width, "EP-CNN 16". A name that fits no rule
    stays as it is.
    """
    if model in NAMES:
        return NAMES[model]
    smaller = re.fullmatch(r"ep-cnn-(\d+)(?:-(.+))?", model)
    if smaller:
        width, rest = smaller.groups()
        return name(f"ep-cnn-{rest}" if rest else "ep-cnn").replace("EP-CNN", f"EP-CNN {width}", 1)
    for start in sorted(NAMES, key=len, reverse=True):
        for ending, words in ENDINGS.items():
            found = re.fullmatch(f"{start}-{ending}", model)
            if found:
                return NAMES[start] + words.format(*found.groups())
    return model


@dataclass(frozen=True)
class Picture:
    """label: what the page calls it ("fig-…"). svg: the drawing. caption: how to read it. alt: what it shows,
    in words. Displays itself in a notebook.
    """

    label: str
    svg: str
    caption: str
    alt: str

    def _repr_html_(self):
        data = base64.b64encode(self.svg.encode()).decode()
        return (
            f'<figure class="eplib" id="{self.label}">'
            f'<img src="data:image/svg+xml;base64,{data}" alt="{html.escape(self.alt)}"'
            ' style="max-width:100%">'
            f"<figcaption>{html.escape(self.caption)}</figcaption></figure>"
        )


def draw(label, grid, plot, caption, alt, width=9.0, height=3.9, sharey=True):
    """A `Picture` of the axes that `plot` draws on: one, a row or a grid of them.

    width, height: in inches.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height))
        plot(figure.subplots(*grid, sharey=sharey))
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return Picture(label, for_both_themes(buffer.getvalue()), caption, alt)


def for_both_themes(svg):
    """A drawing that is dark where the page is: in the page's image element the media query follows the
    colour scheme of that element. One with images or a map of many colours in it keeps its white paper.
    """
    colours = sorted(set(re.findall(r"#[0-9a-f]{6}\b", svg)))
    if "<image" in svg or len(colours) > MANY:
        return svg
    ink = _in_the_dark("#000000")
    rules = f"svg{{fill:{ink}}}" + "".join(
        f'[style*="{part}: {colour}"]{{{part}:{_in_the_dark(colour)}!important}}'
        for colour in colours
        for part in ("fill", "stroke")
        if f"{part}: {colour}" in svg
    )
    dark = f"<style>@media (prefers-color-scheme: dark){{{rules}}}</style>"
    return svg.replace("</defs>", f"{dark}</defs>", 1)


def _in_the_dark(colour):
    """A grey turned round, white to the page's dark; any other colour as light as it must be to be read."""
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    if (red, green, blue) == PAPER["light"]:
        red, green, blue = PAPER["dark"]
    elif max(red, green, blue) - min(red, green, blue) < 0.03:
        red = green = blue = 0.95 - 0.87 * green
    else:
        while contrast((red, green, blue), PAPER["dark"]) < 4.5:
            red, green, blue = (1 - 0.95 * (1 - part) for part in (red, green, blue))
    return "#" + "".join(f"{round(255 * part):02x}" for part in (red, green, blue))


def contrast(one, other):
    """The contrast of two colours, (red, green, blue) in [0, 1], by WCAG 2: 1 to 21."""
    light = [
        sum(
            w * (((p + 0.055) / 1.055) ** 2.4 if p > 0.04 else p / 12.92)
            for w, p in zip(LIGHT, c, strict=True)
        )
        for c in (one, other)
    ]
    return (max(light) + 0.05) / (min(light) + 0.05)

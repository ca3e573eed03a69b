"""The machine in one drawing: what is clamped, what settles, which paths run up and which run back down, and
the four steps of inference and learning. All places and sizes are in inches.
"""

from collections import namedtuple

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.patches import Circle, FancyBboxPatch, Rectangle

from eplib import scales
from eplib.network import state_shapes
from eplib.pictures import COLOURS, draw

UP, DOWN, NUDGE = COLOURS["ep-cnn"], COLOURS["cnn"], "#00795a"
INK, LINE, PALE, RUST = "#222222", "#555555", "#f2f3f5", "#ad4b00"  # RUST: DOWN, for words
DASHES = {UP: "-", DOWN: (0, (4, 1.6)), NUDGE: (0, (1, 1.2))}
WIDTH, HEIGHT, MARGIN, SPACE = 9.2, 5.49, 0.2, 0.12  # the last is between two cards
GAP, HEAD = 0.76, 0.92  # the least room between two layers; that for the read-out and the label, on the right
MIDDLE, LANE = 3.94, 0.13  # the height at which the layers stand, and how far off it the two paths run
FLOOR, CEILING = 2.67, 5.39  # of the panel around the state
SIDE, SHEET = 0.97, 0.042  # the side of the image; how far a stack's next sheet stands back
LEGEND_AT, PIXEL, CARD = 2.31, 0.14, 1.48  # the legend's height; the height of the cards below it
SMALL, MEDIUM, LARGE = 9, 10, 11

SHIP = """
................ ...........yyy.. .......m...yyy.. ......wm...yyy.. .....wwmo....... ....wwwmoo......
...wwwwmooo..... ..wwwwwmoooo.... .wwwwwwmooooo... .......m........ .hhhhhhhhhhhhhh. ..hhhhhhhhhhhh..
bbbhhhhhhhhhhbbb bbbbbbbbbbbbbbbb bbbbcbbbbbbcbbbb bbbbbbbbcbbbbbbb
"""
PAINTS = dict(zip(".ywmohbc", "cfe6f5 f0c648 fdfdfb 5b4636 e08a4f 7b4b35 3f7fb0 8fbbdb".split(), strict=True))
SOFTMAX = np.array((0.04, 0.01, 0.05, 0.08, 0.02, 0.02, 0.06, 0.02, 0.58, 0.12))  # a sketch: a ship
LEGEND = {
    UP: "forward: the largest of 2×2 is\npassed on, its place is kept",
    DOWN: "feedback: back to the place that\nwas kept, nothing to the others",
    NUDGE: "nudge: only while learning,\nonly into the last state",
}
STEPS = r"""
Clamp
s_0 = x,\quad s_{l \geq 1} = 0
The image is held in place in | every phase. All states start | at zero.
Free phase
s_l \leftarrow \mathrm{clip}\left(\dfrac{1}{2}\,\dfrac{\partial\Phi}{\partial s_l},\,0,\,1\right)
Every layer follows the slope | of $\Phi$ till nothing moves: $s^*$. | Its read-out is the answer.
Nudged phases
s^{*}\;\overset{\pm\beta}{\longrightarrow}\;s^{\pm}
The read-out is pulled to the | label ($+\beta$), or away ($-\beta$). | Feedback spreads the pull.
Update
-\dfrac{1}{2\beta}\left[\dfrac{\partial\Phi}{\partial W_l}(s^+)-\dfrac{\partial\Phi}{\partial W_l}(s^-)\right]
estimates the slope of the loss | from local products of the two | layers that $W_l$ connects.
"""


class Layer(namedtuple("Layer", "shape left right bottom side")):
    """A layer on the drawing: its [C, H, W], the edges of its stack, and the side of a sheet."""

    @property
    def centre(self):
        return (self.left + self.right) / 2

    def ends(self, y):
        """Where an arrow at the height y meets the stack: (left, right)."""
        first = self.left + max(0, y - self.bottom - self.side)
        return first - 0.05, min(self.left + self.side + y - self.bottom, self.right) + 0.05


def machine(net=None):
    """The `Picture` of an `EPCNN` and how it infers and learns: of `net`, or of the paper's for CIFAR-10."""
    if net is None:
        paper, image = scales.row("paper", "ep-cnn"), (3, 32, 32)
        shapes, steps, classes = state_shapes(paper.channels, paper.paddings, image[-1]), paper.steps, 10
    else:
        image, shapes = (net.in_channels, net.image_size, net.image_size), net.shapes
        steps, classes = net.steps, net.classes
    layers, width = _arrange([image, *shapes])

    def plot(ax):
        ax.set_position([0, 0, 1, 1])
        ax.set_axis_off()
        for part in (_panel, _layers, _paths):
            part(ax, layers)
        _head(ax, layers[-1], width - MARGIN - HEAD)
        _legend(ax, width)
        _steps(ax, width)
        ax.set(xlim=(0, width), ylim=(0, HEIGHT), aspect="auto")

    caption, alt = _texts(image, shapes, steps, classes)
    return draw("fig-machine", (1, 1), plot, caption, alt, width=width, height=HEIGHT)


def _arrange(shapes):
    """([Layer, …], width of the drawing): sides grow as √resolution, the depth of stacks as log₂ channels."""
    sides = [SIDE * np.sqrt(shape[-1] / shapes[0][-1]) for shape in shapes]
    depths = [0] + [SHEET * round(np.log2(shape[0])) for shape in shapes[1:]]
    widths = [side + depth for side, depth in zip(sides, depths, strict=True)]
    gap = max(GAP, (WIDTH - 2 * MARGIN - HEAD - sum(widths)) / len(shapes))
    layers, left = [], MARGIN
    for shape, side, width in zip(shapes, sides, widths, strict=True):
        layers.append(Layer(shape, left, left + width, MIDDLE - width / 2, side))
        left += width + gap
    return layers, left + HEAD + MARGIN


def _panel(ax, layers):
    """Around the state; in it a bracket under the two layers that one weight connects."""
    left, right, top = layers[1].left - 0.1, layers[-1].right + 0.2, CEILING - 0.23
    _box(ax, left, FLOOR, right - left, CEILING - FLOOR)
    _number(ax, layers[0].centre, top, 1)
    _number(ax, left + 0.24, top, 2)
    _say(ax, left + 0.42, top, "all layers settle together", ha="left")
    l, y = min(2, len(layers) - 1), FLOOR + 0.3
    left, right = layers[l - 1].centre, layers[l].centre
    ax.plot([left, left, right, right], [y + 0.12, y, y, y + 0.12], color=INK, linewidth=1.1)
    _number(ax, (left + right) / 2, y, 4)
    _say(ax, (left + right) / 2, y - 0.2, f"$\\Delta W_{l}$ needs $s_{l - 1}$ and $s_{l}$ only")


def _layers(ax, layers):
    """Every layer as a stack under its symbol and shape; the image on it, or its edges, pooled."""
    image = np.array([[to_rgb("#" + PAINTS[c]) for c in row] for row in SHIP.split()])
    grey = image.mean(2)
    edges = sum(np.abs(np.diff(grey, axis=axis, append=grey.take([-1], axis))) for axis in (0, 1))
    for l, layer in enumerate(layers):
        _say(ax, layer.centre, CEILING - 0.48, f"$s_{l}$" if l else "image $x = s_0$", size=LARGE)
        _say(ax, layer.centre, CEILING - 0.69, _size(layer.shape), color=LINE)
        if l:
            at = np.arange(layer.shape[-1]) * len(edges) // layer.shape[-1]
            pooled = np.maximum.reduceat(np.maximum.reduceat(edges, at, axis=0), at, axis=1)
            _stack(ax, layer, pooled, cmap="Greys", vmin=0, vmax=1.3 * edges.max())
        else:
            _stack(ax, layer, image if layer.shape[0] > 1 else grey, cmap="gray", vmin=0, vmax=1)


def _stack(ax, layer, picture, **shades):
    """The sheets of a layer, `picture` on the foremost one."""
    for back in reversed(range(1 + round((layer.right - layer.left - layer.side) / SHEET))):
        _square(ax, (layer.left + SHEET * back, layer.bottom + SHEET * back), layer.side, zorder=3)
    box = (layer.left, layer.left + layer.side, layer.bottom, layer.bottom + layer.side)
    ax.imshow(picture, extent=box, interpolation="nearest", zorder=4, **shades)
    _square(ax, box[::2], layer.side, "none", ec=INK, zorder=5)


def _paths(ax, layers):
    """Between neighbours: convolution and pooling up, unpooling and transposed convolution back down."""
    for l, (below, above) in enumerate(zip(layers, layers[1:], strict=False), 1):
        middle = (below.right + above.left - 0.08 * (l == 1)) / 2  # the first label stays off the panel
        y = MIDDLE + LANE
        _arrow(ax, (below.ends(y)[1], y), (above.ends(y)[0], y), UP)
        _say(ax, middle, y + 0.08, f"conv $W_{l}$\nmax-pool", va="bottom", color=UP)
        if l > 1:  # the image is clamped
            y = MIDDLE - LANE
            _arrow(ax, (above.ends(y)[0], y), (below.ends(y)[1], y), DOWN)
            _say(ax, middle, y - 0.1, f"unpool\nconv $W_{l}^\\top$", va="top", color=RUST)


def _head(ax, last, left):
    """The read-out of the last layer, the label under it, and the nudge back from both."""
    y = MIDDLE + LANE
    _arrow(ax, (last.ends(y)[1], y), (left - 0.06, y), UP)
    _say(ax, (last.right + 0.2 + left) / 2, y + 0.08, "linear\n$W_o$", va="bottom", color=UP)
    shown = (("softmax $p$", SOFTMAX, y - 0.25, UP), ("label $y$", SOFTMAX.round(), y - 1.15, NUDGE))
    for name, values, floor, colour in shown:
        ax.add_patch(Rectangle((left, floor), HEAD, 0.5, fc="white", ec=LINE, lw=0.7))
        places = left + HEAD * np.arange(1, len(values) + 1) / (len(values) + 1)
        ax.bar(places, 0.42 * values, 0.062, floor, color=colour)
        _say(ax, left + HEAD / 2, floor + 0.6, name, size=LARGE)
    corner = "angle,angleA=180,angleB=90,rad=8"
    _arrow(ax, (left - 0.06, y - 0.9), (last.centre, last.bottom - 0.04), NUDGE, connectionstyle=corner)
    _number(ax, left - 0.3, y - 0.9, 3)
    _say(ax, left - 0.55, y - 1.15, r"$\pm\beta\,W_o^\top (y - p)$", color=NUDGE)


def _legend(ax, width):
    """What the three kinds of paths do: with four pixels and the one that they are pooled to."""
    for colour, text, place in zip(LEGEND, LEGEND.values(), (0, 0.345, 0.705), strict=True):
        left = MARGIN + place * (width - 2 * MARGIN)
        squares = () if colour == NUDGE else ((0, -1, 0), (1, -1, 0), (0, 0, 0), (1, 0, 1), (4.7, -0.5, 1))
        for x, y, full in squares:
            _square(ax, (left + PIXEL * x, LEGEND_AT + PIXEL * y), PIXEL, colour if full else "white")
        ends = [(left + PIXEL * x, LEGEND_AT) for x in ((2.25, 4.45) if squares else (2, 5.6))]
        _arrow(ax, *(ends if colour == UP else ends[::-1]), colour)
        _say(ax, left + 0.9, LEGEND_AT, text, ha="left", color=RUST if colour == DOWN else colour)


def _steps(ax, width):
    """The four steps in words, side by side."""
    column = (width - 2 * MARGIN + SPACE) / 4
    lines = STEPS.strip().split("\n")
    for i, (title, formula, text) in enumerate(zip(lines[::3], lines[1::3], lines[2::3], strict=True)):
        left = MARGIN + i * column
        _box(ax, left, MARGIN / 2, column - SPACE, CARD)
        _number(ax, left + 0.2, CARD - 0.1, i + 1)
        _say(ax, left + 0.4, CARD - 0.1, title, MEDIUM, ha="left", weight="bold")
        _say(ax, left + (column - SPACE) / 2, CARD - 0.46, f"${formula}$", MEDIUM)
        _say(ax, left + 0.12, CARD - 0.74, text.replace(" | ", "\n"), ha="left", va="top", linespacing=1.3)
    for i, name, colour in ((0, "inference", INK), (2, "learning", NUDGE)):
        left, right = MARGIN + i * column, MARGIN + (i + 2) * column - SPACE
        ax.plot([left, right], [CARD + 0.17] * 2, color=colour, linewidth=1.4)
        _say(ax, (left + right) / 2, CARD + 0.22, name, color=colour, weight="bold", va="bottom")


def _box(ax, left, bottom, width, height, round=0.08):
    inner = (left + round, bottom + round), width - 2 * round, height - 2 * round
    ax.add_patch(FancyBboxPatch(*inner, f"round,pad={round}", fc=PALE, ec="none", zorder=0))


def _square(ax, corner, side, face="white", ec=LINE, **more):
    ax.add_patch(Rectangle(corner, side, side, fc=face, ec=ec, lw=0.8, **more))


def _number(ax, x, y, number):
    ax.add_patch(Circle((x, y), 0.115, fc=INK, ec="white", lw=1.2, zorder=6))
    _say(ax, x, y - 0.005, str(number), va="center_baseline", color="white", weight="bold", zorder=7)


def _arrow(ax, start, end, colour, **shape):
    line = dict(arrowstyle="-|>", mutation_scale=11, color=colour, linewidth=1.8, linestyle=DASHES[colour])
    ax.annotate("", end, start, arrowprops=line | {"shrinkA": 0, "shrinkB": 0} | shape, zorder=5)


def _say(ax, x, y, text, size=SMALL, ha="center", va="center", color=INK, **more):
    ax.text(x, y, text, fontsize=size, ha=ha, va=va, color=color, **more)


def _size(shape):
    return "×".join(map(str, shape))


def _texts(image, shapes, steps, classes):
    """(caption, alt text) of the drawing."""
    caption = (
        "How to read it: the image is clamped on the left; every stack is a layer of the state (larger:"
        " higher resolution; one sheet more: twice the channels; what is on them is a sketch). Solid blue"
        " paths run up, dashed orange ones back down; the dotted green nudge acts only while learning."
        f" Inference is steps 1 and 2 (here {steps} updates of every layer), learning adds 3 and 4."
    )
    states = ", ".join(f"s{l} of {_size(shape)}" for l, shape in enumerate(shapes, 1))
    alt = (
        f"From left: the image x of {_size(image)}, clamped as s0; the state, stacks {states}; outside, a"
        f" linear read-out with a softmax over {classes} classes, and the label y. Solid blue arrows lead up"
        " from layer to layer by convolution and 2×2 max-pooling; dashed orange arrows lead back down between"
        " states by unpooling to the stored arg-max places and transposed convolution; a dotted green arrow,"
        " the nudge ±β, leads from the label into the last state only. Four numbered steps. 1, clamp: the"
        " image is held, states start at zero. 2, free phase: every layer follows clip(½ ∂Φ/∂s, 0, 1) until"
        " nothing moves, the read-out gives the answer: inference ends. 3, nudged phases: from the free state"
        " the read-out is pulled towards the label (+β) and away (−β), feedback spreads it. 4, update:"
        " −[∂Φ/∂W(s⁺) − ∂Φ/∂W(s⁻)]/2β estimates the slope of the loss; a bracket marks the layers it needs."
    )
    return caption, alt

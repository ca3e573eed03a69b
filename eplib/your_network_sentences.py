"""What the page about somebody else's network says, composed from what was read and measured."""

from eplib import data, pictures
from eplib.chapters import DATASET_NAMES
from eplib.checks import amount
from eplib.sentences import BEGINNING, Text, table
from eplib.statistics import wilson
from eplib.verdicts import nearest
from eplib.your_network import LONGER

SHOWN = 20  # tensors of a feed-forward network that are listed


def answer(brought, verdict, found, clean, lines, target, badge):
    """The page's one sentence. found: of `your_network.attacked`. clean: its [Result] of "clean". target: the
    measured ε nearest to it is told.
    """
    own = found[brought.model]
    epsilon = nearest(own[0], target)
    kept = ", ".join(f"{pictures.name(m)} {_right(rs, epsilon):.1%}" for m, rs in found.items())
    like = {
        "supported": "answers as it must",
        "contradicted": "does not answer as it must",
        "undecided": "cannot be compared with an original",
    }[verdict.networks]
    passed = sum(line.passed for line in lines)
    return Text(
        f"{BEGINNING}{pictures.name(brought.model)} {like}, gets {clean[0].correct_clean.mean():.1%} of"
        f" {len(clean[0].image_ids):,} clean test images right, and under PGD at ℓ∞ ε ="
        f" {amount('linf', epsilon)} the shares are {kept} ({badge.dataset_name}, {badge.scale} scale);"
        f" {passed} of {len(lines)} lines of the checklist pass."
    )


def _right(results, epsilon):
    """Accuracy at ε, the mean over seeds."""
    every = [r.correct[list(r.epsilons).index(epsilon)].mean() for r in results]
    return sum(every) / len(every)


def commands():
    """How a network of one's own comes to this page and to others."""
    lines = (
        "python -m eplib import model.pt --out my-networks --name my-net --dataset cifar10",
        "python -m eplib run your-network -p network my-networks/my-net-cifar10-s11.safetensors",
        'python -m eplib run white-box -p networks "[my-networks/my-net-cifar10-s11.safetensors]"',
        "# any feed-forward classifier: my_models.small() returns it, weights.safetensors has its state dict",
        "python -m eplib import weights.safetensors --out my-networks --name my-cnn --model my_models:small",
    )
    return Text("```bash\n" + "\n".join(lines) + "\n```")


def read(brought):
    """What was read: a table of the layers, and where it came from."""
    net = brought.network.net
    if brought.recurrent:
        lines = _layers(net)
        head = ("layer", "weights", "padding", "pooling", "state", "numbers")
    else:
        tensors = list(net.net.state_dict().items())
        lines = [
            (name, " × ".join(map(str, t.shape)) or "1", f"{t.numel():,}") for name, t in tensors[:SHOWN]
        ]
        head = ("tensor", "shape", "numbers")
        if len(tensors) > SHOWN:
            lines.append(
                (f"{len(tensors) - SHOWN} more", "", f"{sum(t.numel() for _, t in tensors[SHOWN:]):,}")
            )
    return table(head, lines, f"{sum(p.numel() for p in net.parameters()):,} parameters in all.")


def _layers(net):
    lines = []
    for i, (conv, shape) in enumerate(zip(net.convs, net.shapes, strict=True), 1):
        count = conv.weight.numel() + conv.bias.numel()
        sizes = (" × ".join(map(str, conv.weight.shape)), net.paddings[i - 1], net.pooling)
        lines.append((f"convolution {i}", *sizes, " × ".join(map(str, shape)), f"{count:,}"))
    count = net.readout.weight.numel() + net.readout.bias.numel()
    return [*lines, ("read-out", " × ".join(map(str, net.readout.weight.shape)), "", "", "", f"{count:,}")]


def source(brought):
    """The file, its hash, and what was assumed because no file says it."""
    record = brought.network.record
    said, assumed = record["training"]["imported"], record["training"]["assumed"]
    kept = "".join(f", {key.replace('_', ' ')} {value}" for key, value in said["written"].items())
    words = "; ".join(f"{key.replace('_', ' ')} {_short(value)}" for key, value in assumed.items())
    return Text(
        f"Read from `{said['file']}` ({said['form']}{kept}), sha256 `{said['sha256'][:16]}…`:"
        f" {said['family']}. Written with sha256 `{record['sha256'][:16]}…`, in float32, so that no weight"
        f" changes. **Assumed**, because the file does not say it: {words}."
    )


def _short(value):
    if isinstance(value, list):
        return ", ".join(_short(v) for v in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def states(settled, n):
    """Whether the states still move, from `your_network.Settled`, in words."""
    if settled is None:
        return Text("A feed-forward network has no state to settle.")
    after = " and ".join(
        f"after {t} steps a step moves a unit by up to {mean:.2g} (mean over {n} images; at most {most:.2g})"
        for t, mean, most in zip(settled.steps, settled.mean, settled.largest, strict=True)
    )
    return Text(
        f"**Does it settle?** From zero, {after}. {settled.moved:.1%} of the images get another answer after"
        f" {LONGER} times as many steps."
    )


def clean(results):
    """Clean accuracy with its interval, in words."""
    right, n = results[0].correct_clean.sum(), len(results[0].image_ids)
    low, high = wilson(right, n)
    title = DATASET_NAMES[results[0].settings["dataset"]]
    return Text(
        f"**Clean accuracy**: {right / n:.1%} of {n:,} test images of {title} (95 % Wilson interval"
        f" {low:.1%} to {high:.1%})."
    )


def limits(brought):
    """What testing a network from a file can and cannot show."""
    trained = len(data.CLASSES[brought.network.record["dataset"]])
    return Text(
        "A file of weights does not say how its network is to be run: how many free steps, in which order, on"
        " images normalised how. Where these are assumed wrongly, the network tested is another one; a clean"
        f" accuracy near {1 / trained:.0%} is the usual sign. Nothing here says how it was trained, and a"
        " network of one seed says nothing about a method. Robustness is only what these attacks left: a"
        " checklist with lines that were not run is not an evaluation."
    )

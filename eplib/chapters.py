"""What a chapter calls: its parameters checked, its results found or computed, its sentences composed from them."""

import html
from dataclasses import dataclass

import torch

from eplib import attacks, checkpoints, data, measurements, published, results, scales, training
from eplib.checks import InputError, one_of
from eplib.verdicts import NORM_NAMES, PAPER_DATASETS

DATASET_NAMES = {"sample": "Fashion-MNIST sample", "fashion-mnist": "Fashion-MNIST", "cifar10": "CIFAR-10",
                 "cifar100": "CIFAR-100"}
TRAINED_BY_CHAPTERS = ("smoke", "quick")
COLOURS = {"supported": "#00734f", "contradicted": "#a63c00", "undecided": "#595959"}


@dataclass(frozen=True)
class Shown:
    """What a chapter shows: one scale, one data set, some seeds."""

    scale: str
    dataset: str
    seeds: tuple


@dataclass(frozen=True)
class Badge:
    """Data set, scale, n and seeds behind a page's numbers."""

    dataset: str
    scale: str
    n: int
    seeds: tuple

    @property
    def dataset_name(self):
        return DATASET_NAMES[self.dataset]

    @property
    def text(self):
        seeds = f"seed{'s' if len(self.seeds) > 1 else ''} {', '.join(map(str, self.seeds))}"
        return f"{self.dataset_name}, {self.scale} scale, n = {self.n} test images, {seeds}"

    def _repr_html_(self):
        return (f'<p class="eplib-badge" style="display:inline-block;border:1px solid #8888;border-radius:1em;'
                f'padding:.1em .8em;font-size:.9em">{html.escape(self.text)}</p>')


class Text(str):
    """A sentence that displays itself in a notebook as Markdown."""

    def _repr_markdown_(self):
        return str(self)


def choose(scale="best", dataset="default", seeds="all", models=("ep-cnn", "cnn")):
    """Check a chapter's parameters and return what it will show.

    scale: "best" is the largest of paper, cpu and quick with a stored network of each of `models`, else quick. dataset:
    "default" is the scale's. seeds: "all" are the scale's, or a list. Raises InputError for anything else.
    """
    if scale == "best":
        stored = [s for s in ("paper", "cpu", "quick") if any(
            all(_find(s, m, scales.scale(s).dataset, seed) for m in models) for seed in scales.scale(s).seeds)]
        scale = stored[0] if stored else "quick"
    size = scales.scale(scale)
    dataset = size.dataset if dataset == "default" else one_of("data set", dataset, data.CLASSES)
    seeds = size.seeds if seeds == "all" else seeds
    seeds = (seeds,) if isinstance(seeds, int) else seeds
    if not isinstance(seeds, (list, tuple)) or not seeds or not all(isinstance(s, int) for s in seeds):
        raise InputError(f"seeds = {seeds!r}: give 'all', an integer or a list of integers")
    if scale not in TRAINED_BY_CHAPTERS:
        seeds = [s for s in seeds if all(_find(scale, m, dataset, s) for m in models)]
        if not seeds:
            raise InputError(f"no stored networks at scale {scale} for {dataset}: chapters train nothing there, train them"
                             f" first (python -m eplib train --scale {scale} --dataset {dataset} …) or take scale quick")
    return Shown(scale, dataset, tuple(seeds))


def networks(shown, model):
    """The checkpoint of `model` for every seed shown: stored, or trained now at smoke and quick scale."""
    found = []
    for seed in shown.seeds:
        path = _find(shown.scale, model, shown.dataset, seed)
        if path is None and shown.scale in TRAINED_BY_CHAPTERS:
            folder = results.folders(shown.scale)[0] / "checkpoints" / shown.scale
            path = training.train(model, shown.dataset, shown.scale, seed, folder)
        if path is None:
            raise InputError(f"no stored network {model} with seed {seed} at scale {shown.scale}: run python -m eplib train"
                             f" --model {model} --dataset {shown.dataset} --scale {shown.scale} --seed {seed}")
        found.append(checkpoints.load(path))
    return found


def outcomes(shown, models, attack):
    """{model: [Result, one a seed]} of a measurement, stored or measured now."""
    return {m: [measurements.stored_or_measured(c, attack) for c in networks(shown, m)] for m in models}


def badge(outcomes):
    """The `Badge` of what `outcomes` returned."""
    every = [r for rs in outcomes.values() for r in rs]
    s = every[0].settings
    seeds = tuple(sorted({r.settings["seed"] for r in every}))
    return Badge(s["dataset"], s["scale"], len(every[0].image_ids), seeds)


def published_claim(norm):
    """The paper's numbers where its EP-CNN leads its CNN most, as a sentence."""
    epsilon, ep, cnn = published.largest_gap(norm)
    seeds = published.pgd(norm).groupby("model").seed.nunique()
    return Text(f"**Published** (arXiv 2401.11543, CIFAR-10, PGD, {NORM_NAMES[norm]} ε = {epsilon:g}): EP-CNN {ep:.1%},"
                f" CNN {cnn:.1%} accuracy under attack, means of {seeds['ep-cnn']} and {seeds['cnn']} seeds.")


def verdict_box(verdict):
    """A verdict as a coloured word, its sentence and what would overturn it."""
    return _Html(f'<div class="eplib-verdict" style="border-left:.4em solid {COLOURS[verdict.networks]};padding:.2em 1em">'
                 f"<p><strong>{verdict.networks.capitalize()} for these networks.</strong>"
                 f" {html.escape(verdict.sentence)}</p>"
                 f"<p><em>What would overturn it.</em> {html.escape(verdict.overturn)}</p></div>")


def answer(verdicts, shown_badge):
    """A chapter's one-sentence answer from one verdict per norm, {norm: Verdict}."""
    words = {v.networks for v in verdicts.values()}
    leads = {"supported": "keeps more images right than", "contradicted": "keeps fewer images right than",
             "undecided": "cannot be told apart from"}
    if len(words) == 1:
        middle = f"{leads[words.pop()]} the CNN under both ℓ∞ and ℓ2 PGD" if len(verdicts) > 1 else \
            f"{leads[words.pop()]} the CNN under {NORM_NAMES[next(iter(verdicts))]} PGD"
    else:
        middle = " and ".join(f"{leads[v.networks]} the CNN under {NORM_NAMES[n]} PGD" for n, v in verdicts.items())
    method = {v.method for v in verdicts.values()}
    tail = "; what this says about the method is undecided" if method == {"undecided"} else ""
    return Text(f"**In one sentence.** At the strengths where the paper's EP-CNN leads most, ours {middle}"
                f" ({shown_badge.dataset_name}, {shown_badge.scale} scale){tail}.")


def clean_rows(outcomes):
    """Rows for `figures.clean_accuracy` from the "clean" measurements of several models."""
    from eplib.figures import NAMES

    rows = []
    for model, every in outcomes.items():
        for i in range(len(every[0].table)):
            points = [r.table.iloc[i] for r in every]
            first = points[0]
            free = "" if first.isna()["predict_steps"] else f", {int(first.predict_steps)} {first.order} steps"
            rows.append((model, NAMES[model] + free, points))
    return rows


def rerun(slug, shown, outcomes):
    """How to run this chapter elsewhere, and how long it takes when nothing is stored: from the records shown."""
    every = [r for rs in outcomes.values() for r in rs]
    measuring = sum(r.record["seconds"] for r in every)
    trained = {(m, r.settings["seed"]) for m, rs in outcomes.items() for r in rs}
    learning = sum(c.record["training"]["seconds"] for m in outcomes for c in networks(shown, m) if (m, c.record["seed"])
                   in trained)
    device = every[0].record["device"]
    return Text(f"""```bash
papermill book/{slug}.ipynb {slug}-out.ipynb -p scale quick
papermill book/{slug}.ipynb {slug}-out.ipynb -p scale smoke          # a check that it runs
python -m eplib run {slug} --scale quick -p seeds "[0]" --out my-run   # the same through this project
```

What is stored is loaded. With nothing stored, what this page shows ({shown.scale} scale) took {learning / 60:.0f} minutes of
training and {measuring / 60:.0f} minutes of measuring on {device}; at `smoke` everything takes seconds. At `cpu` and `paper`
chapters train nothing: they show what is stored.""")


class _Html(str):
    def _repr_html_(self):
        return str(self)


def _find(scale, model, dataset, seed):
    for folder in results.folders(scale)[1]:
        path = folder / "checkpoints" / scale / f"{checkpoints.name(model, dataset, seed)}.json"
        if path.exists():
            return path.with_suffix(".safetensors")
    return None


def examples(shown, models, norm, count=6):
    """`count` test images, first of all those that the first network of every model gets right, and what PGD makes of them.

    Returns {"norm", "epsilon", "classes", "images" [k, C, H, W], "labels", "attacked": {model: (images, predictions)}}. The ε is
    the measured one nearest to 8/255 (ℓ∞) or 1 (ℓ2), the budgets most papers quote.
    """
    size = scales.scale(shown.scale).attack
    test = data.load(shown.dataset, "test")
    x, y = data.as_float(test.images[:10 * count]), test.labels[:10 * count]
    attacked = {m: attacks.AttackedModel(networks(shown, m)[0].net) for m in models}
    right = torch.stack([attacks.predicted(a, x) == y for a in attacked.values()]).all(0)
    first = torch.argsort(~right, stable=True)[:count]
    x, y = x[first], y[first]
    goal = {"linf": 8 / 255, "l2": 1.0}[norm]
    threat = attacks.ThreatModel(norm, min(size.epsilons[norm], key=lambda e: abs(e - goal)))
    adversarial = {m: attacks.pgd(a, x, y, threat, size.steps) for m, a in attacked.items()}
    return {"norm": norm, "epsilon": threat.epsilon, "classes": test.classes, "images": x, "labels": y,
            "attacked": {m: (z, attacks.predicted(attacked[m], z)) for m, z in adversarial.items()}}


def differences(attacked):
    """What differs between the published attack and the one of `attacked` ({model: [Result]}), in words."""
    s = next(r.settings for rs in attacked.values() for r in rs if r.settings["predict_steps"])
    theirs = published.pgd(s["norm"]).dropna(subset=["attack_steps"]).iloc[0]
    return Text(f"""The published attack was given no labels: it attacked the network's own prediction, so an image that was wrong
at first and is pushed to its true class counts as right, and the published curves level off above zero. Here an image counts
only when it is right before **and** under attack with its true label, and an image broken at one ε counts as broken at every
larger one. The published EP-CNN is attacked through {theirs.attack_steps:.0f} free steps and predicts after
{theirs.predict_steps:.0f}; ours is attacked through exactly the {s['predict_steps']} {s['order']} steps it predicts with. Both take
{s['attack_steps']} steps of {2.5 / s['attack_steps']:g} ε from the image itself, without random start; ours stay in [0, 1].""")


def limits(shown):
    """What the networks shown can and cannot say about the paper's claim, in words."""
    net = networks(shown, "ep-cnn")[0]
    paper = scales.row("paper", "ep-cnn").channels
    mine = net.net.channels
    seen = net.record["training"]["recipe"]["images_seen"]
    other = "" if shown.dataset in PAPER_DATASETS else \
        f" and looks at the {DATASET_NAMES[shown.dataset]} instead of CIFAR images"
    smaller = "has the paper's widths" if mine == paper else \
        f"has {'-'.join(map(str, mine))} channels where the paper's has {'-'.join(map(str, paper))}"
    return Text(f"The EP-CNN shown here {smaller}{other}; it was trained on {seen:,} images, repetitions included. A verdict about"
                " these networks says what these networks do. The paper's claim is about a method on CIFAR images, and only"
                " networks trained on those, with enough seeds, can speak about it.")


def attack_steps(shown, models, norm, count=6):
    """The attacked copies of `examples`' images at every measured ε: what `explorers.attack` shows.

    Returns {"norm", "epsilons" (0 first), "classes", "labels", "images": {model: [image, ε, C, H, W]}, "answers": {model:
    (classes [image, ε], probabilities [image, ε])}}.
    """
    start = examples(shown, models, norm, count)
    size, x, y = scales.scale(shown.scale).attack, start["images"], start["labels"]
    epsilons, images, answers = (0.0, *size.epsilons[norm]), {}, {}
    for m in models:
        model = attacks.AttackedModel(networks(shown, m)[0].net)
        steps = [attacks.pgd(model, x, y, attacks.ThreatModel(norm, e), size.steps) for e in epsilons]
        images[m] = torch.stack(steps, 1).numpy()
        with torch.no_grad():
            best = [model(z).softmax(1).max(1) for z in steps]
        answers[m] = (torch.stack([b.indices for b in best], 1).tolist(), torch.stack([b.values for b in best], 1).tolist())
    return {"norm": norm, "epsilons": epsilons, "classes": start["classes"], "labels": y.tolist(), "images": images,
            "answers": answers}

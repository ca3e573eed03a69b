"""What a chapter calls for its numbers: parameters checked, networks and results found or computed."""

import html
from dataclasses import dataclass, replace

from eplib import checkpoints, data, files, measurements, others, pictures, results, scales, training
from eplib.checks import InputError, one_of

DATASET_NAMES = {
    "sample": "Fashion-MNIST sample",
    "fashion-mnist": "Fashion-MNIST",
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
}
LARGEST_FIRST = ("paper", "cpu", "quick")  # scales whose results are kept
TRAINED_BY_CHAPTERS = ("smoke", "quick")
OTHER_ESTIMATORS = ("ep-cnn-live", "twin-one-sided", "twin-adjoint", "twin-bptt")
MAIN = {"ep-cnn": ("clean", "pgd-linf"), "cnn": ("clean", "pgd-linf")}


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
        return badge_box(self.text)


def badge_box(text):
    """A badge with any text, as HTML."""
    return (
        '<p class="eplib-badge" style="display:inline-block;border:1px solid #8888;border-radius:1em;'
        f'padding:.1em .8em;font-size:.9em">{html.escape(text)}</p>'
    )


def choose(scale="best", dataset="default", seeds="all", needs=MAIN, once=None, images=True):
    """Check a chapter's parameters and return what it will show.

    needs: {model: measurements} that the chapter shows of every seed. once: the same, of the first seed
    alone. images: whether the chapter reads images, beside what is stored; networks of others have to be
    shown them in any case. scale: "best" is the largest of paper, cpu and quick at which all of it is stored
    for some seed and, where they are read, whose images are at hand (`data.available`), else quick. dataset:
    "default" is that of the networks of others (`others`), else the scale's. seeds: "all" are those for which
    everything is stored, or the scale's where there are none; or a list. Raises InputError for anything else.
    """
    once, seeds = once or {}, check(scale, dataset, seeds)
    if scale == "best":
        read = images or others.names()
        there = [s for s in LARGEST_FIRST if not read or data.available(scales.scale(s).dataset)]
        there = [s for s in there if others.dataset() in (None, scales.scale(s).dataset)]
        stored = [s for s in there if complete(s, scales.scale(s).dataset, needs, once)]
        scale = stored[0] if stored else "quick"
    size = scales.scale(scale)
    dataset = (others.dataset() or size.dataset) if dataset == "default" else dataset
    others.check(dataset)
    seeds = complete(scale, dataset, needs, once) or size.seeds if seeds == "all" else seeds
    if scale not in TRAINED_BY_CHAPTERS:
        seeds = [s for s in seeds if all(checkpoints.find(scale, m, dataset, s) for m in needs)]
        if not seeds:
            raise InputError(
                f"no stored networks at scale {scale} for {dataset}: chapters train nothing there, train them"
                f" first (python -m eplib train --scale {scale} --dataset {dataset} …) or take scale quick"
            )
    return Shown(scale, dataset, tuple(seeds))


def check(scale, dataset, seeds):
    """Raise InputError for a scale, data set or seeds that no chapter takes; returns the seeds, "all" or a
    tuple of integers.
    """
    one_of("scale", scale, ("best", *scales.SCALES))
    one_of("data set", dataset, ("default", *data.CLASSES))
    if seeds == "all":
        return seeds
    given = seeds if isinstance(seeds, list | tuple) else [seeds]
    if not given or not all(type(s) is int and 0 <= s < 2**32 for s in given):
        raise InputError(
            f"seeds = {seeds!r}: give 'all', a whole number from 0 to {2**32 - 1}, or a list of them"
        )
    return tuple(given)


def complete(scale, dataset, needs, once):
    """The seeds of a scale for which all of `needs` is stored; none where the first of them lacks `once`."""
    seeds = tuple(s for s in scales.scale(scale).seeds if _stored(scale, dataset, s, needs))
    return seeds if seeds and _stored(scale, dataset, seeds[0], once) else ()


def _stored(scale, dataset, seed, needs):
    """Whether networks of one seed and measurements of them, {model: measurements}, are stored."""
    for model, wanted in needs.items():
        path = checkpoints.find(scale, model, dataset, seed)
        if path is None:
            return False
        checkpoint = checkpoints.load_once(path)
        if not all(_result(checkpoint, m) for m in wanted):
            return False
    return True


def networks(shown, model):
    """The checkpoint of `model` for every seed shown: stored, or trained now at smoke and quick scale. Of a
    network of others: all that were given.
    """
    if model in others.names():
        return others.at(shown.scale)[model]
    found = []
    for seed in shown.seeds:
        path = checkpoints.find(shown.scale, model, shown.dataset, seed)
        if path is None and shown.scale in TRAINED_BY_CHAPTERS:
            path = _trained(shown, model, seed)
        if path is None:
            raise InputError(
                f"no stored network {model} with seed {seed} at scale {shown.scale}: run python -m eplib"
                f" train --model {model} --dataset {shown.dataset} --scale {shown.scale} --seed {seed}"
            )
        found.append(checkpoints.load_once(path))
    return found


def _trained(shown, model, seed):
    """The path of a network that is trained now, unless another chapter has done so meanwhile."""
    folder = results.folders(shown.scale)[0] / "checkpoints" / shown.scale
    name = checkpoints.name(model, shown.dataset, seed)
    with files.alone(folder / name):
        path = checkpoints.find(shown.scale, model, shown.dataset, seed)
        return path or training.train(model, shown.dataset, shown.scale, seed, folder)


def outcomes(shown, models, attack):
    """{model: [Result, one a seed]} of a measurement, stored or measured now."""
    return {m: [measurements.stored_or_measured(c, attack) for c in networks(shown, m)] for m in models}


def first_seed(shown):
    """The same with its first seed alone."""
    return replace(shown, seeds=shown.seeds[:1])


def where_stored(dataset, scale="best", seeds="all", measurement="pgd-linf"):
    """The `Shown` of the largest scale at which some network of `dataset` has a stored measurement, or None:
    for a chapter that computes nothing. scale, seeds: as in `choose`.
    """
    seeds = check(scale, dataset, seeds)
    others.check(dataset)
    for name in LARGEST_FIRST if scale == "best" else (scale,):
        every = scales.scale(name).seeds if seeds == "all" else seeds
        found = _of_rows(Shown(name, dataset, every), measurement, None)
        kept = {r.settings["seed"] for rs in found.values() for r in rs}
        if kept:
            return Shown(name, dataset, tuple(s for s in every if s in kept))
    return None


def stored(shown, measurement, models=None):
    """{model: [Result, one a seed]} of a measurement where it is stored, for seeds shown: of `models`, or of
    every network of the scale that was trained to the end. Of these nothing is trained or measured; without
    `models`, networks of others are there too, measured now where they can be. {} where nothing is shown
    (None).
    """
    if shown is None:
        return {}
    found = _of_rows(shown, measurement, models)
    return found if models else found | others.measured(shown.scale, measurement)


def _of_rows(shown, measurement, models):
    """What `stored` finds of the networks of a scale."""
    size, found = scales.scale(shown.scale), {}
    rows = size.others.get(shown.dataset, size.rows)
    for model in models or [m for m, row in rows.items() if row.recipe.stop == 1]:
        for seed in shown.seeds:
            path = checkpoints.find(shown.scale, model, shown.dataset, seed)
            result = path and _result(checkpoints.load_once(path), measurement)
            if result:
                found.setdefault(model, []).append(result)
    return found


def _result(checkpoint, measurement):
    """The stored result of a measurement, or None, also where it cannot be made of this network. Raises
    InputError where what is stored is damaged.
    """
    try:
        measurements.settings_of(checkpoint, measurement)
    except InputError:
        return None
    return measurements.stored(checkpoint, measurement)


def paired(found, first, second):
    """([Result], [Result]) of two models, of the seeds that both have; InputError where there is none."""
    seeds = [{r.settings["seed"] for r in found.get(model, [])} for model in (first, second)]
    both = seeds[0] & seeds[1]
    if not both:
        raise InputError(
            f"{first} of seeds {seeds[0]}, {second} of seeds {seeds[1]}: measure both of one seed"
        )
    return tuple([r for r in found[model] if r.settings["seed"] in both] for model in (first, second))


def radii(shown, norm, models=None):
    """{model: median first-order radius in a norm, in pixels of [0, 1], mean over seeds} from the stored
    results of "margins".
    """
    found = {}
    for model, every in stored(shown, "margins", models).items():
        tables = [r.table[(r.table.metric == "radius") & (r.table.norm == norm)] for r in every]
        found[model] = sum(t.value.iloc[0] for t in tables) / len(tables)
    return found


def with_control(shown, study):
    """Outcomes of a study of equilibria for the EP-CNN of every seed, for networks of others that have them,
    and for one network with untrained convolutions.
    """
    control = outcomes(first_seed(shown), ("twin-untrained",), study)
    return outcomes(shown, ("ep-cnn",), study) | others.measured(shown.scale, study) | control


def trained_by_each_estimator(shown):
    """{model: [Checkpoint]}: the EP-CNN of every seed, and one network for every other estimator."""
    return {"ep-cnn": networks(shown, "ep-cnn")} | {
        m: networks(first_seed(shown), m) for m in OTHER_ESTIMATORS
    }


def fast_and_long(shown):
    """([Result], [Result]): the "clean" measurements of EP-CNNs trained with the fast schedule and with long
    phases, of the same seeds: of the smallest scale that says something, as long phases are dear.
    """
    models = {"ep-cnn": ("clean",), "ep-cnn-60": ("clean",)}
    scale, seeds = (shown.scale, shown.seeds) if shown.scale == "smoke" else ("quick", "all")
    found = outcomes(choose(scale, "default", seeds, models), tuple(models), "clean")
    return found["ep-cnn"], found["ep-cnn-60"]


def badge(outcomes):
    """The `Badge` of what `outcomes` returned."""
    every = [r for rs in outcomes.values() for r in rs]
    s = every[0].settings
    seeds = tuple(sorted({r.settings["seed"] for r in every}))
    return Badge(s["dataset"], s["scale"], len(every[0].image_ids), seeds)


def clean_rows(outcomes):
    """Rows for `figures.clean_accuracy` from the "clean" measurements of several models."""
    rows = []
    for model, every in outcomes.items():
        for i in range(len(every[0].table)):
            points = [r.table.iloc[i] for r in every]
            first = points[0]
            free = (
                "" if first.isna()["predict_steps"] else f", {int(first.predict_steps)} {first.order} steps"
            )
            rows.append((model, pictures.name(model) + free, points))
    return rows

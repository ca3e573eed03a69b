"""Attackers who see less, in numbers: queries until an image breaks and their cost, what transfers, and what
every attacker leaves of a network on the same images.
"""

from dataclasses import dataclass

import numpy as np

from eplib import attack_figures, benchmark, cost_figures, scales, transfers
from eplib.checks import InputError

BLACK = ("noise-linf", "transfer", "square-linf")  # the more they see, the later
WHITE = ("pgd-linf", "suite-linf")


def broken_after(result, epsilon):
    """float [N]: queries of Square until each image was broken at ε; 0 where it was wrong before, inf where
    it survives. What was broken at a smaller ε already counts with its queries there.

    result: of "square-linf" or "square-l2". Raises InputError where ε was not measured.
    """
    if epsilon not in result.epsilons:
        raise InputError(
            f"ε = {epsilon} was not measured: give one of {', '.join(map(str, result.epsilons))}"
        )
    place = list(result.epsilons).index(epsilon)
    counts = result.arrays["queries"][: place + 1].max(0)  # an image is broken once at most
    return np.where(result.correct_clean, np.where(counts > 0, counts, np.inf), 0)


def left_after(results, epsilon, queries):
    """The share of images still right after so many queries at ε, the mean over results."""
    return float(np.mean([(broken_after(r, epsilon) > queries).mean() for r in results]))


def asked(result):
    """The most queries that Square may make of an image: the stripes it starts from, and the candidates."""
    return result.settings["sizes"]["queries"] + 1


def milliseconds(found):
    """{model: milliseconds of one inference an image} by the stored benchmark of costs, for models of `found`
    that are CNNs or whose free phase, steps and order, it timed.
    """
    if not (benchmark.STORED / "cost.json").exists():
        return {}
    timed = cost_figures.rows(benchmark.stored("cost"), "inference")
    known = {(r["steps"], r["order"]): r["milliseconds"] / r["batch"] for r in timed}
    costs = {}
    for model, results in found.items():
        s = results[0].settings
        if s["predict_steps"] or _feed_forward(s, model):
            costs[model] = known.get((s["predict_steps"], s["order"]))
    return {model: cost for model, cost in costs.items() if cost}


def _feed_forward(settings, model):
    """Whether a model of a scale is a CNN; a network of others is no model of a scale."""
    size = scales.scale(settings["scale"])
    rows = size.others.get(settings["dataset"], size.rows)
    return model in rows and rows[model].kind == "CNN"


def matched(found, costs):
    """(cheaper, dearer, milliseconds) of EP-CNN and CNN: the cost of the whole attack on the cheaper one, an
    image; None where the cost of one is not known. found: {model: [Result of "square-linf"]}.
    """
    both = [m for m in ("ep-cnn", "cnn") if m in found and m in costs]
    if len(both) < 2:
        return None
    cheap, dear = sorted(both, key=costs.get)
    return cheap, dear, costs[cheap] * asked(found[cheap][0])


def sources(result):
    """The networks on which the images of a result of "transfer" were made."""
    rows = result.table[result.table.metric == "accuracy"]
    return [s for s in dict.fromkeys(rows.other_model) if s != transfers.ANY]


def right_from(result, epsilon, made_on):
    """bool [N]: which images a target gets right whichever of some networks PGD made them on, at ε. result:
    of "transfer". Raises InputError where one of the networks or ε is not in it.
    """
    rows = result.table[result.table.metric == "accuracy"].reset_index(drop=True)
    chosen = rows.index[rows.other_model.isin(made_on) & np.isclose(rows.epsilon, epsilon)]
    if not made_on or len(chosen) != len(made_on):
        raise InputError(f"no images of {', '.join(made_on) or 'nothing'} at ε = {epsilon}: measure transfer")
    return result.correct[chosen].all(0)


def others(result):
    """The sources of a result of "transfer" but the network itself, for which they are no black box."""
    return [s for s in sources(result) if s != result.settings["model"]]


def common(results):
    """(ids of the images that all results look at, [their places in each])."""
    shared = set.intersection(*(set(r.image_ids.tolist()) for r in results))
    ids = [i for i in results[0].image_ids.tolist() if i in shared]
    places = [{i: place for place, i in enumerate(r.image_ids.tolist())} for r in results]
    return ids, [np.array([place[i] for i in ids], int) for place in places]


def outcomes(found, *measurements):
    """({model: [(bool [n], bool [n]), one a seed]}, ε): which images are right under each of two
    measurements, on the images of both and at the largest ε that all of them have; ({}, None) where there is
    none.

    found: {measurement: {model: [Result]}}.
    """
    first, second = (
        {(m, r.settings["seed"]): r for m, every in found.get(k, {}).items() for r in every}
        for k in measurements
    )
    both = [key for key in first if key in second]
    epsilons = [set(of[key].epsilons) for key in both for of in (first, second)]
    if not both or not set.intersection(*epsilons):
        return {}, None
    epsilon, pairs = max(set.intersection(*epsilons)), {}
    for model in attack_figures.ordered(dict.fromkeys(m for m, _ in both)):
        for key in sorted(k for k in both if k[0] == model):
            results = first[key], second[key]
            _, places = common(results)
            right = [
                r.correct[list(r.epsilons).index(epsilon)][p] for r, p in zip(results, places, strict=True)
            ]
            pairs.setdefault(model, []).append(tuple(right))
    return pairs, epsilon


@dataclass(frozen=True)
class Seen:
    """What attackers who see more and more leave of one network, on images that all of them look at.

    clean: bool [n], right without an attack. left: {measurement: bool [n]}, right under it. gradients: bool
    [n], right under PGD and not broken by a gradient attack of the suite.
    """

    model: str
    seed: int
    clean: np.ndarray
    left: dict
    gradients: np.ndarray

    @property
    def everything(self):
        """bool [n]: right under every attack measured."""
        return self.gradients & np.all(list(self.left.values()), 0)

    @property
    def black(self):
        """Accuracy under the strongest of the black boxes measured."""
        return min(self.left[m].mean() for m in BLACK if m in self.left)

    @property
    def alone(self):
        """How many images black boxes broke that gradients left standing."""
        return int((self.gradients & ~self.everything).sum())


def compare(found):
    """(ε, [Seen]) at the largest ℓ∞ ε that all measurements share, one a network with PGD or the suite and
    with a black box; (None, []) where there is none.

    found: {measurement: {model: [Result]}} of `BLACK` and `WHITE`.
    """
    stored = {k: {(m, r.settings["seed"]): r for m in found[k] for r in found[k][m]} for k in BLACK + WHITE}
    models = {m: None for k in stored for m, _ in stored[k]}
    keys = sorted(
        {key for k in stored.values() for key in k},
        key=lambda k: (attack_figures.ordered(models).index(k[0]), k),
    )
    networks = {key: {k: stored[k][key] for k in stored if key in stored[k]} for key in keys}
    networks = {key: r for key, r in networks.items() if set(r) & set(BLACK) and set(r) & set(WHITE)}
    every = [r for results in networks.values() for r in results.values()]
    epsilons = set.intersection(*(set(r.epsilons) for r in every)) if every else set()
    if not epsilons or not common(every)[0]:
        return None, []
    places = iter(common(every)[1])
    return max(epsilons), [
        _seen(key, {k: (r, next(places)) for k, r in results.items()}, max(epsilons))
        for key, results in networks.items()
    ]


def _seen(key, results, epsilon):
    """`Seen` of one network. results: {measurement: (Result, places of the images in it)}."""
    left, gradients = {}, []
    for measurement, (result, images) in results.items():
        place = list(result.epsilons).index(epsilon)
        right = (
            right_from(result, epsilon, others(result))
            if measurement == "transfer"
            else result.correct[place]
        )
        left[measurement] = right[images]
        if measurement == "suite-linf":
            names = [name for name, _ in result.settings["sizes"]["plan"]]
            right = right | (result.arrays["found_by"][place] == names.index("square"))
        gradients += [right[images]] * (measurement in WHITE)
    clean = next(r.correct_clean[images] for r, images in results.values())
    return Seen(*key, clean, left, np.all(gradients, 0))

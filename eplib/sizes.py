"""Sizes of measurements: images, steps and strengths, put together for each scale in `eplib.scales`."""

from dataclasses import dataclass

from eplib import published, suite

SHORTENED = [["apgd-ce", 20], ["apgd-t", 10], ["fab-t", 10], ["square", 200]]  # not AutoAttack
WHOLE = [list(part) for part in suite.AUTOATTACK]
SETTLING = (4, 6, 10, 20, 50, 100, 250)  # steps after which a perturbation is looked at
HORIZONS = (10, 20, 30, 60, 100, 250)  # synchronous steps behind a prediction
ATTACKED = (  # the published horizons and beyond, and gradients of the settled state
    *((steps, "unrolled") for steps in (4, 10, 15, 20, 25, 29, 60, 70, 250)),
    (250, "adjoint"),
    (250, "ep"),
    (250, "leaky"),
)
SOURCES = ("ep-cnn", "twin-bptt", "cnn", "cnn-plain", "cnn-at-l2-0.5", "vit-8")  # of transferred images
# The ten values per norm of the published curves (protocol of the paper: log-spaced, plus 8/255 and 1.0).
EPSILONS = {
    "linf": (1e-4, 2.15e-4, 4.64e-4, 1e-3, 2.15e-3, 4.64e-3, 1e-2, 2.15e-2, 8 / 255, 4.64e-2, 1e-1),
    "l2": (0.05, 0.0788, 0.124, 0.196, 0.309, 0.486, 0.766, 1.0, 1.208, 1.903, 3.0),
}
EIGHT_EPSILONS = {
    "linf": (1e-3, 2.15e-3, 4.64e-3, 1e-2, 2.15e-2, 8 / 255, 4.64e-2, 1e-1),
    "l2": (0.124, 0.196, 0.309, 0.486, 0.766, 1.0, 1.903, 3.0),
}
SHORT_EPSILONS = {
    "linf": (4.64e-3, 1e-2, 2.15e-2, 4.64e-2, 1e-1),
    "l2": (0.309, 0.766, 1.208, 1.903, 3.0),
}


@dataclass(frozen=True)
class Attack:
    """Sizes of a measurement: test images (a prefix of the canonical order), steps of PGD, images at a time,
    and the settings at which the clean accuracy of an energy-based network is measured beside its own:
    (steps, order). search: the precision in which an energy-based network is attacked first, see
    `eplib.union`.
    """

    images: int
    steps: int
    batch: int
    epsilons: dict
    settled: tuple = ()
    settled_images: int = 0
    search: str = "float32"

    def images_for(self, attack):
        """How many test images a measurement looks at."""
        return self.settled_images if attack == "clean" else self.images


def studies(settling, multistability, landscape, estimators, failures, phases=((1.0, 6, 4),)):
    """Sizes of the studies: (images, steps), (images, starts, steps), (images, points, steps), (images,
    steps) and of the provoked failures (test images, training images seen).
    """
    return {
        "settling": {**_named("images steps", settling), "batch": 100},
        "multistability": {**_named("images starts steps", multistability), "batch": 100},
        "landscape": {
            **_named("images points steps", landscape),
            "epsilon": 3.0,
            "attack_steps": 20,
            "batch": 100,
        },
        "estimators": {**_named("images steps", estimators), "adjoint_sweeps": 400, "batch": 20},
        "schedules": {
            "images": estimators[0],
            "free_steps": estimators[1],
            "nudged_steps": 30,
            "batch": 20,
        },
        "failures": {
            "images": failures[0],
            "recipe": {"images_seen": failures[1], "phases": phases, "decay_until": 2.0},
        },
    }


def attacks(broken_at, square, suite, noise, carlini_wagner, hop_skip_jump, fmn, transfer, conventions):
    """Sizes of the attacks other than PGD: (images, queries), (images, plan, ε), (images, draws), (images,
    values of c, steps), (images, steps), (images, steps), (images, steps, networks that are attacked) and
    (images, {norm: ε}, queries). broken_at: the ℓ∞ ε of those without their own.
    """
    l2 = {"norm": "l2", "epsilons": EPSILONS["l2"]}
    linf = {"norm": "linf", "epsilons": broken_at}
    short_l2 = {"norm": "l2", "epsilons": (0.486, 1.208)}  # where the published curves are far apart
    every = {"norm": "linf", "epsilons": EPSILONS["linf"]}
    suite_of = {**_named("images plan epsilons", suite), "norm": "linf"}
    # the smaller the batch of a long attack, the less is lost when it is stopped
    return {
        "margins": {"images": 1000, "batch": 100},
        "square-linf": {**_named("images queries", square), **linf, "batch": 16},
        "square-l2": {**_named("images queries", square), **short_l2, "batch": 16},
        "noise-linf": {"images": noise[0], "plan": [["noise", noise[1]]], **linf, "batch": 64},
        "suite-linf": {**suite_of, "batch": 16},
        "carlini-wagner": {
            **_named("images searches steps", carlini_wagner),
            "constant": 1.0,  # from the library's 0.001 few searches would never reach a c that breaks
            **l2,
            "batch": 32,
        },
        "hop-skip-jump": {**_named("images steps", hop_skip_jump), **l2, "batch": 8},
        "minimal-linf": {**_named("images steps", fmn), **every, "batch": 64},
        "minimal-l2": {**_named("images steps", fmn), **l2, "batch": 64},
        "transfer": {**_named("images steps sources", transfer), **linf, "batch": 64},
        "conventions": {**_named("images norms queries", conventions), "steps": 20, "batch": 64},
    }


def masking(horizons, gradients, iterations, adaptive, sanity, exactness, phase_lengths):
    """Sizes of what decides whether gradients are masked: (images, ℓ2 ε, [steps, gradient] of the attacks),
    (images, directions), (images, ℓ2 ε, steps, restarts), (images, ℓ2 ε, steps), (images, images of the
    planted test), (images, ℓ2 ε, steps, free-phase steps) and (images, free-phase steps, queries, values of
    c, steps of C&W).
    """
    phase = _named("images lengths queries searches cw_steps", phase_lengths)
    return {
        "horizons": {
            **_named("images epsilons attacked", horizons),
            "norm": "l2",
            "steps": 20,
            "predicted": HORIZONS,
            "batch": 32,
        },
        "gradients": {**_named("images directions", gradients), "norm": "l2", "epsilon": 1.0, "batch": 25},
        "iterations": {**_named("images epsilon steps restarts", iterations), "norm": "l2", "batch": 16},
        "adaptive": {**_named("images epsilons steps", adaptive), "norm": "l2", "batch": 16},
        "sanity": {**_named("images planted", sanity), "steps": 20, "batch": 32},
        "exactness": {**_named("images epsilon steps long", exactness), "norm": "l2", "batch": 32},
        "phase-lengths": {**phase, "constant": 1.0, "epsilon": 0.0464, "batch": 16},
    }


def corruptions(corrupted, settled, beyond, flips):
    """Sizes of natural corruptions: (images, free phase of energy-based networks: "own" or (steps, order)),
    (images, severities), images, and images of the sequences. The last two take the free phase of the first.
    """
    phase = {"phases": [corrupted[1]], "source": "regenerated", "batch": 25}
    every = {**phase, "severities": (1, 2, 3, 4, 5)}
    return {
        "corruptions": {"images": corrupted[0], "types": "cifar-c", **every},
        "corruptions-settled": {
            **_named("images severities", settled),
            "types": "cifar-c",
            **phase,
            "phases": ["own", *published.corruption_phases()],
        },
        "corruptions-beyond": {"images": beyond, "types": "beyond", **every},
        "flips": {"images": flips, **phase},
    }


def boundary(random, distances, slices, zooms, state_space, filtering):
    """Sizes of what the boundary between classes looks like: (images, directions, ε, images of the pilot,
    points that are no images), (images, steps), (images, cells to a side), the same, (images, random starts,
    steps) and (images, free-phase steps).
    """
    return {
        "uncertainty": {**_named("images directions points pilot others", random), "batch": 100},
        "adversarial-distances": {**_named("images steps", distances), "batch": 50},
        "slices": {**_named("images side", slices), "batch": 250},
        "zooms": {**_named("images side", zooms), "batch": 250},
        "state-space": {**_named("images starts steps", state_space), "batch": 16},
        "filtering": {**_named("images lengths", filtering), "attack_steps": 20, "batch": 16},
    }


def semantics(images, steps, minimal_steps, ascent_steps, starts):
    """Sizes of how semantic changes are: images, steps of PGD, of DDN and of the ascent from grey, starts of
    that for each class. Lengths, in pixels of [0, 1], and multiples of the smallest change are the same at
    every scale.
    """
    return {
        "semantics": {
            "images": images,
            "norm": "l2",
            "epsilons": (0.5, 1.0, 2.0, 3.0),
            "factors": (1.0, 2.0, 4.0),
            "steps": steps,
            "minimal_steps": minimal_steps,
            "ascent_steps": ascent_steps,
            "starts": starts,
            "batch": 32,
        }
    }


def _named(names, values):
    return dict(zip(names.split(), values, strict=True))

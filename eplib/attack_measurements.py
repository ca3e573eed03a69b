"""What is measured of a network under attacks other than plain PGD: {measurement: function}. Each takes
(network, images, labels, sizes, folder, progress) and returns `eplib.studies.Found`; finished parts are kept
in `folder`, so that a run that was stopped goes on.
"""

import torch

from eplib import (
    adaptive,
    agreement,
    conventions,
    exactness,
    filtering,
    horizons,
    iterations,
    margins,
    minimal_measurements,
    phase_lengths,
    queries,
    sanity,
    semantics,
    slices,
    state_space,
    suite,
    transfers,
    uncertainty_measurements,
    union,
    zooms,
)
from eplib.attacks import AttackedModel
from eplib.studies import Found, share


def several(net, images, labels, sizes, folder=None, progress=True):
    """Which images stay right under a plan of attacks. sizes: norm, epsilons, plan [[name, steps], …], batch.

    Rows: accuracy at every ε, attack "autoattack" where the plan is the standard one, whose ε are then
    attacked one by one as the official code does; otherwise the name of the only attack, or "suite". Then
    for every ε and attack a row metric "broken" (column by): the share of images that this attack broke.
    Array found_by: int8 [E, N], see `union.Outcomes`.
    """
    plan, model = [tuple(part) for part in sizes["plan"]], AttackedModel(net)
    official = suite.is_autoattack(plan)
    found = union.union(
        model,
        images,
        labels,
        sizes["norm"],
        sizes["epsilons"],
        plan,
        sizes["batch"],
        carried=not official,
        folder=folder,
        progress=progress,
    )
    name = "autoattack" if official else plan[0][0] if len(plan) == 1 else "suite"
    where = {
        "attack": name,
        "norm": sizes["norm"],
        "labels": "true",
        "gradient": model.gradient,
        "attack_steps": plan[0][1] if len(plan) == 1 else None,
        "predict_steps": model.steps,
        "order": model.order,
    }
    rows = [
        where | {"epsilon": e} | share("accuracy", torch.from_numpy(right))
        for e, right in zip(sizes["epsilons"], found.correct, strict=True)
    ]
    for e, by in zip(sizes["epsilons"], found.found_by, strict=True):
        for j, (part, _) in enumerate(plan):
            rows.append(where | {"epsilon": e, "by": part} | share("broken", torch.from_numpy(by == j)))
    return Found(rows, found.clean, found.correct, {"found_by": found.found_by}, found.seconds)


MEASURED = {
    "margins": margins.margins,
    "square-linf": queries.square_queries,
    "square-l2": queries.square_queries,
    "noise-linf": several,
    "suite-linf": several,
    "minimal-linf": minimal_measurements.fast_minimum_norm,
    "minimal-l2": minimal_measurements.fast_minimum_norm,
    "carlini-wagner": minimal_measurements.carlini_wagner,
    "hop-skip-jump": minimal_measurements.hop_skip_jump,
    "transfer": transfers.transfer,
    "conventions": conventions.conventions,
    "horizons": horizons.horizons,
    "phase-lengths": phase_lengths.phase_lengths,
    "adaptive": adaptive.adaptive,
    "sanity": sanity.sanity,
    "gradients": agreement.agreement,
    "iterations": iterations.iterations,
    "exactness": exactness.exactness,
    "semantics": semantics.measure,
    "uncertainty": uncertainty_measurements.uncertainty_of,
    "adversarial-distances": uncertainty_measurements.adversarial_distances,
    "slices": slices.slices,
    "zooms": zooms.zooms,
    "state-space": state_space.state_space,
    "filtering": filtering.filtering,
}

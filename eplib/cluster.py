"""What a piece of the campaign asks of a cluster, from one table, and why pieces are not there after a run of
its workflow (eplib/workflow/Snakefile).
"""

import math
from dataclasses import dataclass

from eplib import campaign

MARGIN = 2  # of the estimated minutes: slower or busier nodes than those of the records


@dataclass(frozen=True)
class Job:
    """threads. memory: MiB. gpus. minutes: asked for at least, since an estimate can be a mere guess."""

    threads: int
    memory: int
    gpus: int
    minutes: int


JOBS = {  # the memory at smoke to cpu scale is twice the largest seen of some jobs, or more; paper is planned
    "smoke": {"training": Job(1, 2_200, 0, 10), "measuring": Job(1, 2_200, 0, 10)},
    "quick": {"training": Job(1, 2_200, 0, 60), "measuring": Job(1, 2_200, 0, 60)},
    "cpu": {"training": Job(1, 5_000, 0, 240), "measuring": Job(1, 4_000, 0, 240)},
    "paper": {"training": Job(4, 16_000, 1, 480), "measuring": Job(4, 16_000, 1, 480)},
}


def job(piece):
    """The `Job` of a piece."""
    return JOBS[piece.scale]["training" if piece.measurement is None else "measuring"]


def resources(piece):
    """What a piece asks for, {name: value} as Snakemake's executors for SLURM and Kubernetes call it; the
    minutes are a function that Snakemake calls, so that only pieces to be made are estimated.
    """
    asked = job(piece)
    gpu = {"gpu": asked.gpus, "gpu_manufacturer": "nvidia"} if asked.gpus else {}

    def runtime(wildcards, attempt):
        return minutes(piece, attempt)

    return {"mem_mb": asked.memory, "runtime": runtime, **gpu}


def minutes(piece, attempt=1):
    """Minutes that the `attempt`th try may take: the estimate with `MARGIN`, for every new try once more.
    With a GPU the estimate is of its minutes, otherwise of core-minutes.
    """
    return attempt * math.ceil(max(job(piece).minutes, MARGIN * campaign.cost(piece)))


def not_made(pieces):
    """{name: the last line that it wrote, or that it never began} of the pieces that could have been made and
    are not there.
    """
    found = {}
    for piece in pieces:
        if campaign.state(piece)[0] not in ("done", "waiting"):
            log = campaign.log_of(piece)
            lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
            found[piece.name] = lines[-1].removeprefix("eplib: ") if lines else "it never began"
    return found

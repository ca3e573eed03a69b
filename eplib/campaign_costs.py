"""What the campaign costs: core-hours from the records of what is stored, formulas checked against them, and
what a whole scale is projected to need.
"""

from dataclasses import dataclass

from eplib import campaign, files, projections, results, scales, speeds
from eplib.campaign import Piece
from eplib.verdicts import Verdict

SCALES = ("quick", "cpu")  # that records are kept of
FACTOR = 2.0  # within which the formulas have to be
ENOUGH = 10  # records of trainings, and of measurements, below which nothing is said
KINDS = ("training", "measuring")
GPUS = 8


@dataclass(frozen=True)
class Record:
    """A stored network or measurement and the core-seconds that it took; gpu: the GPU that made it, whose
    seconds are those of a process that shared it, or "".
    """

    piece: Piece
    seconds: float
    gpu: str = ""

    @property
    def kind(self):
        return "training" if self.piece.measurement is None else "measuring"


def records(scale):
    """Every stored network of a scale, and every measurement of one, as `Record`s; those of other people's
    networks, which no row of the scale trains, are left out.
    """
    found = []
    for place in results.folders(scale)[1]:
        for path in sorted((place / "checkpoints" / scale).glob("*.json")):
            found.append(_trained(files.read_json(path, "record")))
        for path in sorted((place / "results" / scale).glob("*/*/*.json")):
            found.append(_measured(files.read_json(path, "record")))
    return [r for r in found if r is not None]


def _known(said):
    size = scales.scale(said["scale"])
    return said["model"] in size.others.get(said["dataset"], size.rows)


def _trained(record):
    if not _known(record):
        return None
    training = record["training"]
    last = training["history"][-1]
    seconds = training["seconds"]
    if not files.on_gpu(record):
        seconds = last.get("core_seconds", seconds * record.get("threads", 1))
    return _record(_piece(record, None), seconds, record)


def _measured(record):
    if not _known(record["settings"]):
        return None
    piece = _piece(record["settings"], record["settings"]["measurement"])
    threads = 1 if files.on_gpu(record) else record.get("threads", 1)
    return _record(piece, record["seconds"] * threads, record)


def _record(piece, seconds, record):
    return Record(piece, seconds, record["device"] if files.on_gpu(record) else "")


def by_processor(recorded):
    """(records of processors, records of GPUs)."""
    return [r for r in recorded if not r.gpu], [r for r in recorded if r.gpu]


def _piece(said, measurement):
    return Piece(said["scale"], said["dataset"], said["model"], said["seed"], measurement, 1.0)


def compared(recorded, rates):
    """[(Record, projected core-seconds)] of those with a formula that a processor made. rates: as
    `speeds.stored`.
    """
    found = ((record, projections.work(record.piece)) for record in by_processor(recorded)[0])
    return [(r, speeds.core_seconds(work, *rates[:2])) for r, work in found if work is not None]


def of_kind(pairs, kind):
    return [(r, seconds) for r, seconds in pairs if r.kind == kind]


def ratio(pairs):
    """Projected over recorded, in all."""
    return sum(seconds for _, seconds in pairs) / sum(r.seconds for r, _ in pairs)


def ratios(pairs):
    """{"training" or measurement: projected over recorded, in all}."""
    found = {}
    for pair in pairs:
        found.setdefault(pair[0].piece.measurement or "training", []).append(pair)
    return {name: ratio(part) for name, part in found.items()}


def within(pairs):
    """The share of records within `FACTOR` of their projection."""
    near = [1 / FACTOR <= seconds / r.seconds <= FACTOR for r, seconds in pairs]
    return sum(near) / len(near)


def projection_holds(pairs):
    """Do the formulas agree with the records within a factor of 2? A `Verdict` from `compared`.

    Trainings and measurements each need `ENOUGH` records, otherwise undecided. Contradicted when the sum of
    either is off by more than the factor; supported when both sums are within it and so is at least half of
    the pieces; undecided otherwise.
    """
    parts = {kind: of_kind(pairs, kind) for kind in KINDS}
    if min(map(len, parts.values())) < ENOUGH:
        counts = " and ".join(f"{len(part)} records of {kind}" for kind, part in parts.items())
        return Verdict(
            "undecided",
            "undecided",
            f"For these records: undecided. There are {counts} with a formula, {ENOUGH} of each are asked"
            " for.",
            "More records.",
        )
    ratios = {kind: ratio(part) for kind, part in parts.items()}
    share = within(pairs)
    word = "undecided"
    if not all(1 / FACTOR <= r <= FACTOR for r in ratios.values()):
        word = "contradicted"
    elif share >= 0.5:
        word = "supported"
    found = " and ".join(f"{ratios[kind]:.2f} times those of {kind} ({len(parts[kind])})" for kind in KINDS)
    return Verdict(
        word,
        "undecided",
        f"For these records: {word}. The formulas should agree with the recorded core-hours within a factor"
        f" of {FACTOR:g}, in the sums and for half of the pieces: projected are {found}, and {share:.0%} of"
        " all pieces are within the factor.",
        "Records, or rates of another machine, that move a sum across the factor, or the share across half.",
    )


@dataclass(frozen=True)
class Need:
    """Of some pieces: how many, core-hours, of these for making corrupted images, GPU-hours, and GPU-hours of
    the dearest piece.
    """

    pieces: int
    core_hours: float
    making: float
    gpu_hours: float
    dearest: float


def needs(scale, rates):
    """({"training" or measurement: Need} of the whole campaign of a scale, by formulas, [the measurements
    without a formula, which are left out]).
    """
    found, without = {}, set()
    for piece in filter(campaign.applies, campaign.pieces_of(scale)):
        work = projections.work(piece)
        if work is None:
            without.add(piece.measurement)
        else:
            found.setdefault(piece.measurement or "training", []).append(work)
    return {name: _need(works, *rates) for name, works in found.items()}, sorted(without)


def _need(works, rates, speed, gpu_rates):
    gpu = [speeds.gpu_seconds(w, *gpu_rates) for w in works]
    making = sum(count / speed[c] for w in works for c, count in w.making.items())
    return Need(
        len(works),
        sum(speeds.core_seconds(w, rates, speed) for w in works) / 3600,
        making / 3600,
        sum(gpu) / 3600,
        max(gpu) / 3600,
    )


def total(found):
    """The `Need` of everything."""
    every = list(found.values())
    return Need(
        sum(n.pieces for n in every),
        sum(n.core_hours for n in every),
        sum(n.making for n in every),
        sum(n.gpu_hours for n in every),
        max(n.dearest for n in every),
    )


def as_recorded(found, known):
    """Core-hours of everything with a known ratio (`ratios`), divided by it: at the pace of the records."""
    return sum(need.core_hours / known[name] for name, need in found.items() if name in known)


def on_several(found, gpus=GPUS):
    """Hours on several GPUs: never below a training and the dearest measurement after it."""
    chain = found["training"].dearest + max(n.dearest for k, n in found.items() if k != "training")
    return max(total(found).gpu_hours / gpus, chain)

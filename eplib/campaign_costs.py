"""What the campaign costs: core-hours from the records of what is stored, formulas checked against them, and
what a whole scale is projected to need.
"""

from dataclasses import dataclass

from eplib import campaign, files, projections, results, scales
from eplib.campaign import Piece
from eplib.verdicts import Verdict

SCALES = ("quick", "cpu")  # that records are kept of
FACTOR = 2.0  # within which the formulas have to be
ENOUGH = 10  # records of trainings, and of measurements, below which nothing is said
KINDS = ("training", "measuring")
GPUS = 8


@dataclass(frozen=True)
class Record:
    """A stored network or measurement and the core-seconds that it took."""

    piece: Piece
    seconds: float

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
    seconds = last.get("core_seconds", training["seconds"] * record.get("threads", 1))
    return Record(_piece(record, None), seconds)


def _measured(record):
    if not _known(record["settings"]):
        return None
    piece = _piece(record["settings"], record["settings"]["measurement"])
    return Record(piece, record["seconds"] * record.get("threads", 1))


def _piece(said, measurement):
    return Piece(said["scale"], said["dataset"], said["model"], said["seed"], measurement, 1.0)


def compared(recorded, rates):
    """[(Record, projected core-seconds)] of those with a formula. rates: as `projections.stored_rates`."""
    found = ((record, projections.work(record.piece)) for record in recorded)
    return [(r, projections.core_seconds(work, *rates)) for r, work in found if work is not None]


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
    """Of some pieces: how many, core-hours, of these for making corrupted images, GPU-hours (longest,
    shortest), and the same of the dearest piece.
    """

    pieces: int
    core_hours: float
    making: float
    gpu_hours: tuple
    dearest: tuple


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


def _need(works, rates, speed):
    gpu = [projections.gpu_seconds(w) for w in works]
    making = sum(count / speed[c] for w in works for c, count in w.making.items())
    return Need(
        len(works),
        sum(projections.core_seconds(w, rates, speed) for w in works) / 3600,
        making / 3600,
        tuple(sum(g[i] for g in gpu) / 3600 for i in (0, 1)),
        tuple(max(g[i] for g in gpu) / 3600 for i in (0, 1)),
    )


def total(found):
    """The `Need` of everything."""
    every = list(found.values())
    return Need(
        sum(n.pieces for n in every),
        sum(n.core_hours for n in every),
        sum(n.making for n in every),
        tuple(sum(n.gpu_hours[i] for n in every) for i in (0, 1)),
        tuple(max(n.dearest[i] for n in every) for i in (0, 1)),
    )


def as_recorded(found, known):
    """Core-hours of everything with a known ratio (`ratios`), divided by it: at the pace of the records."""
    return sum(need.core_hours / known[name] for name, need in found.items() if name in known)


def on_several(found, gpus=GPUS):
    """(longest, shortest) hours on several GPUs: never below a training and the dearest measurement after
    it.
    """
    chain = tuple(
        found["training"].dearest[i] + max(n.dearest[i] for k, n in found.items() if k != "training")
        for i in (0, 1)
    )
    return tuple(max(hours / gpus, c) for hours, c in zip(total(found).gpu_hours, chain, strict=True))

"""Making the campaign's pieces within a budget, one process for each, one run at a time."""

import fcntl
import os
import re
import signal
import socket
import subprocess
import time
from contextlib import contextmanager

from eplib import campaign
from eplib.checks import InputError, Interrupted

NEEDS = 60  # seconds of budget that make it worth to start what goes on later
UNKNOWN_NEEDS = 120  # the same of a measurement that starts again from nothing, without a record
MARGIN, STARTING = 1.2, 20  # of a recorded time: a busy machine, and seconds that measurements do not count
GRACE = 60  # seconds to save and end after SIGINT


def seconds(budget):
    """The seconds of a budget such as 45s, 9m or 2h; InputError for anything else."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", budget or "")
    if not found or float(found[1]) == 0:
        raise InputError(f"budget {budget}: give a time such as 45s, 9m or 2h")
    return float(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2]]


def run(scale, budget_seconds, retry=False, path=campaign.LIST):
    """Make pieces of `scale` in order, each in a process of its own, until the budget ends; returns how many
    ended how, {"done", "failed", "stopped"}.

    What goes on in the next run (`campaign.resumes`) starts when a minute is left, anything else when it
    should end in time. retry: forget earlier failures of this scale. Raises InputError when another process
    runs the campaign and Interrupted after Ctrl-C, once the piece being made has kept what it can.
    """
    chosen, end = campaign.pieces_of(scale, path), time.monotonic() + budget_seconds
    settled, ended = set(), {"done": 0, "failed": 0, "stopped": 0}
    with lock() as held, _stop_as_flag() as stop:
        if retry:
            campaign.keep("failures", {p.name: None for p in chosen})
        while piece := _next(chosen, settled, end):
            settled.add(piece.name)
            print(f"{piece.name}: starts, about {campaign.cost(piece):.1f} core-minutes", flush=True)
            began = time.monotonic()
            how, reason = _make(piece, end, stop, held)
            ended[how] += 1
            after = f"{piece.name}: {how} after {(time.monotonic() - began) / 60:.1f} minutes"
            print(f"{after}: {reason}" if reason else after, flush=True)
            if stop:
                raise Interrupted(f"stopped while making {piece.name}: the same command goes on")
    return ended


def _next(chosen, settled, end):
    """The first piece that can be made in what is left of the budget, or None."""
    for piece in chosen:
        if piece.name in settled:
            continue
        word, _ = campaign.state(piece)
        if word in ("done", "failed"):
            settled.add(piece.name)
        elif word != "waiting" and end - time.monotonic() >= _needs(piece):
            return piece
    return None


def _needs(piece):
    if campaign.resumes(piece):
        return NEEDS
    known = campaign.recorded(piece)
    return UNKNOWN_NEEDS if known is None else MARGIN * 60 * known + STARTING


def _make(piece, end, stop, held):
    """("done", "failed" or "stopped", reason) of one piece, which is kept where a later run needs it."""
    began = time.monotonic()
    status, asked, last = _execute(piece, end, stop, held)
    if status == 0:
        return "done", None
    if status == 130 or (asked and status != 2):
        if not stop and not campaign.resumes(piece):
            campaign.keep("overran", {piece.name: (time.monotonic() - began) / 60})
        return "stopped", None
    reason = f"ended by signal {-status}" if status < 0 else last or f"ended with status {status}"
    campaign.keep("failures", {piece.name: reason})
    return "failed", reason


def _execute(piece, end, stop, held):
    """(exit status, whether it had to be stopped, the last line of what it wrote) of a piece's command."""
    log = campaign.log_of(piece)
    log.parent.mkdir(parents=True, exist_ok=True)
    # unbuffered, so that the error is the last line; bars once a minute, so that logs stay small
    environment = os.environ | {"PYTHONUNBUFFERED": "1", "TQDM_MININTERVAL": "60"}
    with log.open("ab") as file:
        before = file.tell()
        # in a session of its own: a terminal's Ctrl-C would reach it twice, and a second one loses work
        child = subprocess.Popen(
            campaign.command(piece),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
            pass_fds=(
                held.fileno(),
            ),  # so that the lock stays while the piece is made, whatever becomes of us
        )
        asked = _ended_by_us(child, end, stop)
    written = log.read_bytes()[before:].decode(errors="replace").strip().splitlines()
    return child.returncode, asked, written[-1].removeprefix("eplib: ") if written else ""


def _ended_by_us(child, end, stop):
    """Wait for a process; whether it had to be told to end, by SIGINT and after `GRACE` by SIGKILL."""
    while not stop and time.monotonic() < end:
        try:
            child.wait(0.2)
            return False
        except subprocess.TimeoutExpired:
            pass
    child.send_signal(signal.SIGINT)
    try:
        child.wait(GRACE)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    return True


@contextmanager
def lock():
    """Hold the campaign's folder for this process and the piece that it makes, however they end; yields the
    lock's file. InputError with who holds it already.
    """
    path = campaign.folder() / "lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = path.read_text() or "another process"
            raise InputError(
                f"the campaign in {path.parent} is being run by {holder}: wait until it ends or stop it"
            ) from error
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%F %T %Z')}")
        file.flush()
        yield file


@contextmanager
def _stop_as_flag():
    """Yields a list that Ctrl-C or SIGTERM makes true."""
    pressed = []
    signals = (signal.SIGINT, signal.SIGTERM)
    previous = {s: signal.signal(s, lambda number, frame: pressed.append(number)) for s in signals}
    try:
        yield pressed
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)

"""Larger sets of networks, from a folder or an address, and only when asked: `python -m eplib fetch WHERE`.

The manifest of a set (`eplib.manifests`) is read first. Each file is written as NAME.part and takes its name
when its hash is right and its network or result can be loaded, the JSON record last: nothing half is ever
seen. A part that is left behind is gone on with where the server can send the rest.
"""

import http.client
import os
import re
import shutil
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from eplib import files, manifests, results
from eplib.checks import InputError, Interrupted, one_of

SETTING = "EPLIB_NETWORKS"  # where larger sets are, unless given
TIMEOUT = 30  # seconds without an answer
CHUNK = 2**16
AGAIN = "the same command goes on"


def fetch(where=None, out=None, scale=None, progress=True):
    """Fetch the networks and results of a set that are not in `out` yet, by default data/ (or EPLIB_OUT).

    where: a folder or an http(s) address, by default that of EPLIB_NETWORKS. scale: of these alone. Returns
    {folder, networks, results, fetched, already_there, bytes}. Raises InputError when the set cannot be read,
    is not what its manifest says, or would change a file that is here; then everything finished is kept.
    """
    source = place(where or os.environ.get(SETTING))
    every = manifests.pieces(_manifest(source))
    if scale:
        one_of("scale", scale, manifests.SCALES)
        every = [piece for piece in every if piece[0].scale == scale]
    if not every:
        raise InputError(f"{source} has nothing of scale {scale}: leave out --scale, or give another")
    out = Path(out) if out else results.folders(manifests.SCALES[0])[0]
    with files.alone(f"fetch into {out.resolve()}"):
        missing = [[e for e in piece if not _there(out, e)] for piece in every]
        wanted = [e for of_piece in missing for e in of_piece]
        try:
            with tqdm(
                total=sum(e.bytes for e in wanted),
                unit="B",
                unit_scale=True,
                unit_divisor=1024,
                desc="fetching",
                disable=not progress,
            ) as bar:
                for piece, of_piece in zip(every, missing, strict=True):
                    _fetch_piece(source, out, piece, of_piece, bar)
        except KeyboardInterrupt as stopped:
            raise Interrupted(f"fetching stopped with all that came kept: {AGAIN}") from stopped
    return {
        "folder": str(out),
        "networks": sum(piece[0].kind == "checkpoints" for piece in every),
        "results": sum(piece[0].kind == "results" for piece in every),
        "fetched": len(wanted),
        "already_there": sum(map(len, every)) - len(wanted),
        "bytes": sum(e.bytes for e in wanted),
    }


def place(where):
    """A folder as a Path, or an address without a slash at its end; InputError for anything else."""
    if not where:
        raise InputError(
            f"no set of networks is named: give a folder or an http(s) address, or set {SETTING} to one"
        )
    if not re.match("[A-Za-z][A-Za-z0-9+.-]*:", where):
        if not Path(where).is_dir():
            raise InputError(f"{where} is no folder: give the folder or address that has {manifests.NAME}")
        return Path(where)
    try:
        parts = urllib.parse.urlsplit(where)
        plain = parts.hostname and not (parts.query or parts.fragment or "@" in parts.netloc)
        known = parts.scheme in ("http", "https") and parts.port != 0
    except ValueError:  # no host or port at all
        plain = known = False
    if not (known and plain):
        raise InputError(f"{where}: give a folder, or http(s)://HOST/PATH without user name, ? or #")
    return where.rstrip("/")


def _manifest(source):
    with _opened(source, manifests.NAME, 0) as (stream, _):
        return _read(stream, manifests.LARGEST_MANIFEST + 1, source, manifests.NAME, whole=True)


def _there(out, entry):
    """Whether a file is in `out` already; InputError where another is in its place."""
    path = out / entry.path
    if not path.exists():
        return False
    same = path.is_file() and path.stat().st_size == entry.bytes and files.sha256(path) == entry.sha256
    if not same:
        raise InputError(
            f"{path} is here with other content than the set's: nothing here is ever overwritten, move it or"
            " give another --out"
        )
    return True


def _fetch_piece(source, out, piece, missing, bar):
    """Fetch what is missing of one network or result, try it, and only then give its files their names."""
    if not missing:
        return
    for entry in missing:
        _download(source, entry, _part(out, entry), bar)
    try:
        with tempfile.TemporaryDirectory(dir=out, prefix=".fetched-") as folder:
            for entry in piece:
                tried = Path(folder) / entry.path
                tried.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(_part(out, entry) if entry in missing else out / entry.path, tried)
            manifests.check(folder, piece)
        for entry in missing:  # the JSON is the last of them
            os.replace(_part(out, entry), out / entry.path)
    except InputError as error:
        for entry in missing:
            _part(out, entry).unlink(missing_ok=True)
        raise InputError(
            f"{piece[0].piece} of {source} cannot be used, and none of it was kept:"
            f" {str(error).replace(f'{folder}/', '')}"
        ) from error
    except OSError as error:
        raise _unwritten(out, error) from error


def _part(out, entry):
    path = out / entry.path
    return path.with_name(f"{path.name}.part")


def _download(source, entry, part, bar):
    """Bring a part to its full size and check its hash; what was in it before is gone on with."""
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        have = part.stat().st_size if part.exists() else 0
        if have > entry.bytes:
            part.unlink()
            have = 0
        if have < entry.bytes:
            _receive(source, entry, part, have, bar)
        else:
            bar.update(have)
        right = files.sha256(part) == entry.sha256
        if not right:
            part.unlink()
    except OSError as error:
        raise _unwritten(part.parent, error) from error
    if not right:
        raise InputError(
            f"{entry.path} of {source} does not have the hash of its manifest and was not kept: fetch"
            " again, or ask who publishes it"
        )


def _receive(source, entry, part, have, bar):
    with _opened(source, entry.path, have) as (stream, start), part.open("ab" if start else "wb") as file:
        bar.update(start)
        while start < entry.bytes:
            chunk = _read(stream, min(CHUNK, entry.bytes - start), source, entry.path)
            if not chunk:
                came = f"{start:,} of {entry.bytes:,} bytes"
                raise InputError(f"{entry.path} of {source} broke off after {came}: {AGAIN}")
            file.write(chunk)
            start += len(chunk)
            bar.update(len(chunk))
        file.flush()
        os.fsync(file.fileno())


def _unwritten(folder, error):
    return InputError(
        f"{folder} cannot be written ({error.strerror or error}): make room or give another --out; {AGAIN}"
    )


def _read(stream, most, source, path, whole=False):
    """At most so many bytes; `whole`: all of them that there are."""
    found = b""
    try:
        while chunk := stream.read(min(CHUNK, most - len(found))):
            found += chunk
            if not whole or len(found) == most:
                break
        return found
    except (OSError, http.client.HTTPException) as error:
        raise InputError(f"{path} of {source} broke off ({_said(error)}): {AGAIN}") from error


def _said(error):
    """What went wrong, in words that no server chose."""
    reason = getattr(error, "reason", error)
    if isinstance(reason, TimeoutError):
        return f"no answer for {TIMEOUT} seconds"
    return getattr(reason, "strerror", None) or type(reason).__name__


@contextmanager
def _opened(source, path, start):
    """(stream, the byte that it begins at) of a file of a set: `start`, or 0 where the server sends all of
    it.
    """
    if isinstance(source, Path):
        try:
            stream = (source / path).open("rb")
        except OSError as error:
            raise InputError(
                f"{source / path} cannot be read ({error.strerror}): check the folder"
            ) from error
        with stream:
            stream.seek(start)
            yield stream, start
        return
    request = urllib.request.Request(f"{source}/{path}", headers={"User-Agent": "eplib"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    try:
        answer = _opener().open(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and start:  # what is here is not the beginning of what is there
            with _opened(source, path, 0) as whole:
                yield whole
            return
        raise InputError(
            f"{source}/{path} cannot be had (the server answers {error.code}): check it"
        ) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise InputError(f"{source}/{path} cannot be had ({_said(error)}): check it, and {AGAIN}") from error
    with answer:
        if start and answer.status == 206:
            if not answer.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
                raise InputError(f"{source}/{path}: the server sends another part than was asked for")
            yield answer, start
        else:
            yield answer, 0


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a server to http(s) alone, and never from https to http."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        allowed = ("https",) if req.type == "https" else ("http", "https")
        if urllib.parse.urlsplit(newurl).scheme not in allowed:
            raise InputError(
                f"{req.full_url} leads to an address that is not {' or '.join(allowed)}: check it"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener():
    """What opens http and https addresses and nothing else."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
        _Redirects,
    ):
        opener.add_handler(handler())
    return opener

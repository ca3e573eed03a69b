"""Files that are whole or absent, the hashes that prove it, and where a number came from."""

import hashlib
import json
import os
import platform
import subprocess
import tempfile
from functools import cache
from importlib import metadata
from pathlib import Path

import torch

from eplib.checks import InputError

ROOT = Path(__file__).resolve().parent.parent
noted = None  # while a page is followed (`eplib.sources`): the stored files that were read, in order
LIBRARIES = ("torch", "torchvision", "torchattacks", "foolbox", "numpy", "scipy", "pandas")


def write(path, content):
    """Write bytes or text under a temporary name in the same folder, then rename: a reader never sees half a
    file.
    """
    path = Path(path)
    content = content.encode() if isinstance(content, str) else content
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(
            f"{path} cannot be written ({error.strerror or error}): make room or give another folder;"
            " what was there is untouched"
        ) from error
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)


def note(path):
    """Remember that a number may come from the stored file at a path."""
    if noted is not None:
        noted.append(Path(path))


def write_json(path, value):
    write(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def read_json(path, what):
    """The object in a JSON file; InputError naming `what` when it is missing, damaged or no object."""
    note(path)
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{what} {path} does not exist: check the path") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{what} {path} cannot be read ({error}): it is damaged or no {what}") from error
    if not isinstance(value, dict):
        raise InputError(f"{what} {path} holds no JSON object: it is damaged or no {what}")
    return value


def sha256(content):
    """Hex digest of bytes, or of the file at a Path."""
    return hashlib.sha256(content.read_bytes() if isinstance(content, Path) else content).hexdigest()


def settings_hash(settings):
    """Ten hex digits that name these settings, whatever the order of their keys."""
    return sha256(json.dumps(settings, sort_keys=True).encode())[:10]


@cache
def git_revision():
    """The commit of the working tree, "+changes" if eplib differs from it, or "unknown" outside a
    repository.
    """

    def git(*arguments):
        return subprocess.run(
            ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True
        ).stdout

    try:
        return git("rev-parse", "HEAD").strip() + (
            "+changes" if git("status", "--porcelain", "eplib").strip() else ""
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def provenance(device):
    """Library versions, device and git revision: what a result must carry to be believed later."""
    name = torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else _processor()
    versions = {"python": platform.python_version()}
    for library in LIBRARIES:
        try:
            versions[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            versions[library] = None
    return {"versions": versions, "device": name, "threads": torch.get_num_threads(), "git": git_revision()}


def on_gpu(record):
    """Whether the `provenance` in a record is that of a GPU: its seconds are no core-seconds then."""
    return record.get("device", "").startswith("NVIDIA")


def _processor():
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def alone(name):
    """A lock, for `with`, that one process or thread of this machine holds at a time: chapters executed side
    by side compute what they share once.
    """
    from filelock import FileLock  # only here: pages that compute nothing need none

    folder = ROOT / "_build" / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / f"{sha256(str(name).encode())[:16]}.lock")

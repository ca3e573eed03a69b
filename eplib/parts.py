"""Long computations over many images, part by part: a finished part is kept in a file, so that a run that was
stopped goes on where it was.
"""

import io
import shutil
import time
import zipfile
from pathlib import Path

import numpy as np
from tqdm import tqdm

from eplib import files
from eplib.checks import InputError


def in_parts(count, size, compute, name, folder=None, progress=True, say=None):
    """({key: array}, seconds): what `compute` returns for slices of `size` of `count` images, joined.

    compute(slice) -> {key: array whose last axis is the images of the slice}; its random numbers may depend
    on the slice alone. name: of the progress bar. folder: where finished parts are kept and found again, None
    for nowhere; `forget` removes it. say(arrays so far) -> a few words beside the bar. seconds: that all
    parts took, also those of an earlier run. Raises InputError for a size or count below 1.
    """
    if count < 1 or size < 1:
        raise InputError(f"{count} images in parts of {size}: give 1 or more of each")
    done, seconds = [], 0.0
    with tqdm(total=count, unit="image", desc=name, disable=not progress) as bar:
        for start in range(0, count, size):
            rows = slice(start, min(start + size, count))
            path = Path(folder) / f"{rows.start}-{rows.stop}.npz" if folder else None
            part = _kept(path, rows.stop - rows.start)
            if part is None:
                began = time.perf_counter()
                part = {key: np.asarray(value) for key, value in compute(rows).items()}
                part["seconds"] = np.float64(time.perf_counter() - began)
                _keep(path, part)
            seconds += float(part.pop("seconds"))
            done.append(part)
            if say is not None:
                bar.set_postfix_str(say(_joined(done)), refresh=False)
            bar.update(rows.stop - rows.start)
    return _joined(done), seconds


def forget(folder):
    """Remove what a finished computation kept."""
    shutil.rmtree(folder, ignore_errors=True)


def _joined(done):
    return {key: np.concatenate([part[key] for part in done], axis=-1) for key in done[0]}


def _kept(path, length):
    """The part in a file, or None where there is none that can be used."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            part = {key: stored[key] for key in stored.files}
    except (TypeError, OSError, EOFError, ValueError, zipfile.BadZipFile):
        return None
    whole = "seconds" in part and all(v.shape[-1:] == (length,) for k, v in part.items() if k != "seconds")
    return part if whole else None


def _keep(path, part):
    if path is not None:
        buffer = io.BytesIO()
        np.savez(buffer, **part)
        files.write(path, buffer.getvalue())

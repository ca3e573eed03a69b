"""A network to take away: `python -m eplib export --checkpoint FILE --out FOLDER`.

The folder gets model.py, which needs PyTorch and safetensors alone and makes a network that takes images in
[0, 1] to logits (as benchmarks of robustness ask for it), its weights as they are stored, and its evaluation
card (`eplib.cards`). The same network and results give the same bytes.
"""

import json
import os
import shutil
import tempfile
from pathlib import Path

from eplib import cards, checkpoints, files
from eplib.checks import InputError

TEMPLATES = {"EPCNN": "ep_cnn.py", "CNN": "cnn.py"}  # by kind of network, in eplib/templates
PLACE = "SETTINGS = {}\n"  # of its settings in a template


def export(path, out, folder=None):
    """Write the network at `path` into the folder `out`, which is new or empty; returns {folder, network,
    measured, said}. folder: of results, besides data/results.

    Raises InputError for what is no network of this project or one that is not exported, and for a folder
    that cannot be used; then nothing is written.
    """
    checkpoint, out = checkpoints.load(path), Path(out)
    if folder and not Path(folder).is_dir():
        raise InputError(f"--results {folder} is no folder: give one that `python -m eplib measure` wrote")
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise InputError(f"--out {out} is there already and not an empty folder: give a new one")
    found = cards.stored(checkpoint, folder)
    card = cards.card(checkpoint, found)
    written = {
        "model.py": model(checkpoint).encode(),
        "weights.safetensors": Path(path).with_name(f"{checkpoint.name}.safetensors").read_bytes(),
        "card.json": (json.dumps(card, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode(),
        "card.md": cards.text(card).encode(),
    }
    _write(out, written)
    return {
        "folder": str(out),
        "network": checkpoint.name,
        "measured": f"{len(found)} of {len(card['measurements'])}",
        "said": " ".join(card["said"]),
    }


def model(checkpoint):
    """The text of a network's model.py."""
    kind = type(checkpoint.net).__name__
    if kind not in TEMPLATES:
        raise InputError(
            f"{checkpoint.name} is a {kind}: networks of kinds {' and '.join(TEMPLATES)} are exported, which"
            " fit into one file"
        )
    text = (Path(__file__).parent / "templates" / TEMPLATES[kind]).read_text(encoding="utf-8")
    settings = "".join(f"    {json.dumps(k)}: {_code(v)},\n" for k, v in checkpoint.net.settings.items())
    return text.replace(PLACE, f"SETTINGS = {{\n{settings}}}\n", 1)


def _code(value):
    return json.dumps(value) if isinstance(value, str) else repr(value)


def _write(out, written):
    """Write files into a folder that appears whole or not at all."""
    made = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
        for name, content in written.items():
            files.write(made / name, content)
        made.chmod(0o755)
        os.replace(made, out)
    except OSError as error:
        raise InputError(
            f"--out {out} cannot be written ({error.strerror or error}): give another"
        ) from error
    finally:
        if made:
            shutil.rmtree(made, ignore_errors=True)

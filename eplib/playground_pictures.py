"""The image that the playground plays with: a test image, one that a library carries, or the reader's own."""

import importlib.util
import io
import struct
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from eplib import data
from eplib.chapters import DATASET_NAMES
from eplib.checks import InputError

GREY = ("sample", "fashion-mnist")  # data sets of grey garments on black
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF")  # none that starts another program
BYTES, PIXELS = 30_000_000, 60_000_000  # of a picture that is opened; larger ones fill the memory
LIBRARY = 20  # CIFAR-10 images in the package foolbox
DAMAGE = (  # what Pillow raises for files that are cut short, changed or made to fill the memory
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    IndexError,
    KeyError,
    AttributeError,
    EOFError,
    OverflowError,
    MemoryError,
    NotImplementedError,
    struct.error,
    zlib.error,
)


@dataclass(frozen=True)
class Given:
    """image: [1, C, H, W] in [0, 1], as the network takes it. label: its class, or None. words: what it is
    and what was done to it.
    """

    image: torch.Tensor
    label: int | None
    words: str


def check(source, invert=False):
    """Raise InputError unless `source` can be the source of an image, as far as that can be told without a
    network, and `invert` is True or False.
    """
    if not isinstance(invert, bool):
        raise InputError(f"invert = {invert!r}: give True or False")
    if isinstance(source, bytes):
        return
    if not isinstance(source, (str, Path)) or not str(source):
        raise InputError(
            f"image = {source!r}: give 'sample:0' for a test image, 'foolbox:0', or the path of a picture"
        )
    kind, number = _numbered(source)
    if kind == "foolbox" and number >= LIBRARY:
        raise InputError(f"image {source!r}: foolbox has images 0 to {LIBRARY - 1}")
    if kind is None:
        _check_file(Path(source))


def _numbered(source):
    """("sample" or "foolbox", number) of a source of that form, else (None, None)."""
    kind, colon, number = str(source).partition(":")
    if not colon or kind not in ("sample", "foolbox"):
        return None, None
    if not (number.isascii() and number.isdigit() and len(number) < 10):
        raise InputError(
            f"image {source!r}: give a whole number from 0 on behind the colon, as in '{kind}:3'"
        )
    return kind, int(number)


def _check_file(path):
    try:
        there, size = path.is_file(), path.stat().st_size if path.is_file() else 0
    except (OSError, ValueError) as error:  # a name that no file can have
        raise InputError(f"image {str(path)!r} is no name of a file ({error}): give another") from error
    if not there:
        raise InputError(
            f"image {str(path)!r}: there is no such file in {Path.cwd()}; give a path, 'sample:0' for a test"
            " image or 'foolbox:0'"
        )
    _check_size(size)


def _check_size(size):
    if not size:
        raise InputError("an empty file: give a picture")
    if size > BYTES:
        raise InputError(f"a file of {size / 1e6:.0f} MB: give a picture of at most {BYTES / 1e6:.0f} MB")


def picture(source, checkpoint, invert=False):
    """The image that `source` names, as the network of a checkpoint takes it: `Given`.

    source: "sample:N", test image N of the network's data set; "foolbox:N", one of the 20 CIFAR-10 images
    that the package foolbox carries; the path or the bytes of a picture. The last two are turned upright,
    cut to their middle square and scaled; for a network of grey garments also greyed, and framed in black as
    its own images are. invert: exchange light and dark of the reader's own picture, for such a network: its
    garments are light on black. Raises InputError for anything that cannot be such an image.
    """
    check(source, invert)
    kind, number = (None, None) if isinstance(source, bytes) else _numbered(source)
    if kind == "sample":
        return _test_image(checkpoint, number)
    grey = is_grey(checkpoint)
    if kind == "foolbox":
        return _of_library(checkpoint, number, grey)
    opened = read(source if isinstance(source, bytes) else _bytes(Path(source)))
    width, height = opened.size
    words = f"your own picture of {width} × {height} pixels"
    return Given(fitted(opened, checkpoint, invert), None, words + _done(opened, checkpoint, grey, invert))


def is_grey(checkpoint):
    """Whether a network was trained on grey garments."""
    return checkpoint.record["dataset"] in GREY


def _test_image(checkpoint, number):
    dataset = checkpoint.record["dataset"]
    test = data.load(dataset, "test")
    if number >= len(test):
        raise InputError(f"test image {number}: {DATASET_NAMES[dataset]} has numbers 0 to {len(test) - 1}")
    words = f"test image {number} of the {DATASET_NAMES[dataset]}"
    return Given(data.as_float(test.images[number : number + 1]), int(test.labels[number]), words)


def library_images():
    """The paths of foolbox's CIFAR-10 images, in the order of their numbers."""
    package = Path(importlib.util.find_spec("foolbox").origin).parent
    return sorted((package / "data").glob("cifar10_*.png"))


def library_class(path):
    """The CIFAR-10 class in the name of an image of `library_images`."""
    return int(path.stem.rsplit("_", 1)[1])


def _of_library(checkpoint, number, grey):
    path = library_images()[number]
    opened, label = read(path.read_bytes()), library_class(path)
    words = f"CIFAR-10 image {number} of the package foolbox ({data.CIFAR10[label]})"
    if checkpoint.record["dataset"] != "cifar10":
        words += _done(opened, checkpoint, grey, False)
        words += f", shown to a network of {len(data.CLASSES[checkpoint.record['dataset']])} other classes"
        label = None
    return Given(fitted(opened, checkpoint, False), label, words)


def _bytes(path):
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"image {path} cannot be read ({error.strerror}): check the path") from error


def read(content):
    """The bytes of a picture -> a Pillow image in mode RGBA, upright. Raises InputError where they are none,
    damaged, animated or too large.
    """
    _check_size(len(content))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of sizes that are refused here
            opened = Image.open(io.BytesIO(content), formats=FORMATS)
        width, height = opened.size
        if width * height > PIXELS:
            raise Image.DecompressionBombError(f"{width} × {height} pixels")
        # the second picture in the file of a camera is a preview of the first
        if getattr(opened, "n_frames", 1) > 1 and opened.format != "MPO":
            raise InputError(f"a file with {opened.n_frames} pictures: give one that is not animated")
        return ImageOps.exif_transpose(_eight_bit(opened)).convert("RGBA")
    except InputError:
        raise
    except Image.UnidentifiedImageError as error:
        raise InputError(f"this is no picture that can be read: give one of {', '.join(FORMATS)}") from error
    except Image.DecompressionBombError as error:
        raise InputError(
            f"this picture is too large ({error}): give one of at most {PIXELS / 1e6:.0f} million pixels"
        ) from error
    except DAMAGE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"this picture is damaged ({reason}): give another") from error


def _eight_bit(opened):
    """A picture of 16 grey bits as one of 8, which Pillow would cut off instead of scaling; others as they
    are.
    """
    opened.load()
    if not opened.mode.startswith(("I", "F")):
        return opened
    values = np.asarray(opened).astype(np.float64)
    if opened.mode == "F" or values.min() < 0 or values.max() > 65535:
        raise InputError(f"a picture of mode {opened.mode}: give one of 8 or 16 bits a channel")
    made = Image.fromarray((values / 257).round().astype(np.uint8))
    made.info["exif"] = opened.getexif().tobytes()
    return made


def fitted(opened, checkpoint, invert):
    """A picture (mode RGBA) as a network's image [1, C, H, W] in [0, 1], see `picture`."""
    net, grey = checkpoint.net, is_grey(checkpoint)
    border = _border(checkpoint)
    side = net.image_size - 2 * border
    # what shows through transparent parts: black, once exchanged, for garments on black
    ground = 255 if invert or not grey else 0
    below = Image.new("RGBA", opened.size, (ground, ground, ground, 255))
    flat = Image.alpha_composite(below, opened).convert("RGB")
    edge = min(flat.size)
    left, top = ((length - edge) // 2 for length in flat.size)
    square = flat.crop((left, top, left + edge, top + edge)).resize((side, side), Image.Resampling.BICUBIC)
    pixels = np.asarray(square.convert("L").convert("RGB") if grey else square, np.float32) / 255
    pixels = 1 - pixels if grey and invert else pixels
    image = torch.from_numpy(pixels.transpose(2, 0, 1).copy())[: net.in_channels]
    return torch.nn.functional.pad(image, (border,) * 4)[None]


def _border(checkpoint):
    """The black frame of images of 28 × 28 pixels (see `eplib.data`), where a network was trained on such."""
    framed = is_grey(checkpoint) and checkpoint.net.image_size == data.SIDE
    return (data.SIDE - 28) // 2 if framed else 0


def _done(opened, checkpoint, grey, invert):
    """What `fitted` does to a picture, in words."""
    width, height = opened.size
    side, border = checkpoint.net.image_size, _border(checkpoint)
    done = ["cut to its middle square"] if width != height else []
    done += [f"scaled to {side - 2 * border} × {side - 2 * border} pixels"] if width != side or border else []
    done += ["in grey"] if grey else []
    done += ["light and dark exchanged"] if grey and invert else []
    done += ["in a black frame"] if border else []
    return "".join(f", {words}" for words in done)

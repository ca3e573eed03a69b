"""Natural corruptions of 32×32 images, as batched functions that give the same image the same corruption.

* CIFAR-10-C (Hendrycks & Dietterich 2019): the 15 of `STANDARD` and the 4 of `EXTRA`.
* CIFAR-10-C-bar (Mintun et al. 2021): the 10 of `CIFAR_BAR`.
* ImageNet-C-bar (the same): the 5 of `IMAGENET_BAR`. Its other 5 are among CIFAR-10-C-bar's, at their levels.
* 3D Common Corruptions (Kar et al. 2022): the 5 of `WITHOUT_DEPTH`; bit_error and flash are defined anew.

`LEFT_OUT` names the others and why. CIFAR-10-P, sequences of slightly changing frames, is in
`corruption_sequences`; the official CIFAR-10-C and CIFAR-100-C arrays are read by `corruption_official`.

Everything here is the published protocol, regenerated: the official arrays were made without a seed, so no
program reproduces them bit by bit. Quirks are kept on purpose: glass blur copies pixels instead of swapping
them, frost never uses its sixth texture, elastic severity 1 is a purely affine warp, and a higher severity is
not always a stronger corruption (`NOT_MONOTONE`). Motion blur and snow use ImageMagick's formula instead of
ImageMagick.
"""

from numbers import Integral

import torch

from eplib import corruption_random, corruption_tools
from eplib.checks import InputError, one_of
from eplib.corruption_bar import BAR
from eplib.corruption_blur import BLUR
from eplib.corruption_camera import CAMERA
from eplib.corruption_digital import DIGITAL
from eplib.corruption_noise import NOISE
from eplib.corruption_spatter import SPATTER
from eplib.corruption_tools import SIDE
from eplib.corruption_waves import WAVES
from eplib.corruption_weather import WEATHER

LEFT_OUT = {
    "near and far focus, 3-D fog, xy and z motion blur, shadow, camera roll and field of view": "need the"
    " depth or the surfaces of the scene",
    "H.265 (abr and crf)": "needs a video, in blocks larger than these images",
    "Voronoi noise, bleach bypass, hue shift, … (candidates of Mintun et al.)": "are in no published set",
}
SEVERITIES = (1, 2, 3, 4, 5)
TABLE = {c.name: c for c in (*NOISE, *BLUR, *WEATHER, *SPATTER, *DIGITAL, *BAR, *WAVES, *CAMERA)}
EXTRA = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
CIFAR_C = tuple(c.name for c in (*NOISE, *BLUR, *WEATHER, *SPATTER, *DIGITAL))
STANDARD = tuple(name for name in CIFAR_C if name not in EXTRA)
CIFAR_BAR = tuple(c.name for c in BAR)
IMAGENET_BAR = tuple(c.name for c in WAVES)
WITHOUT_DEPTH = tuple(c.name for c in CAMERA)
FAMILIES = {name: corruption.family for name, corruption in TABLE.items()}
# these make colours of a grey image (saturate from severity 4 on); pages mark them where images are grey
COLOURED = tuple(name for name, corruption in TABLE.items() if corruption.coloured)
# a higher severity does not always change more, in the mean over pixels
NOT_MONOTONE = ("glass_blur", "frost", "spatter", "elastic_transform", "saturate")
CHUNK = 128  # images at a time: their intermediate values fit a processor's cache


def corrupt(images, name, severity, ids, seed=0):
    """Images [N, 3, 32, 32] in [0, 1] -> the same, corrupted and quantised to 8 bits (level / 255).

    Images are first rounded to 8 bits, as the originals start from 8-bit images. name: one of `TABLE`.
    severity: 1 to 5. ids: N image ids; what happens to an image depends on its id, the corruption, the
    severity and `seed` alone, not on its batch. All random numbers are drawn on the CPU and the rest runs in
    float64 on the images' device, JPEG, pixelate, frost's crops and lines on the CPU. Raises InputError for
    unknown names and severities and for images of other sizes, types or ranges.
    """
    corruption = TABLE[one_of("corruption", name, TABLE)]
    one_of("severity", severity, SEVERITIES)
    ids = checked(images, ids)
    parameters = corruption.parameters[severity - 1]
    parts = [
        _corrupted(corruption, severity, parameters, images[i : i + CHUNK], ids[i : i + CHUNK], seed)
        for i in range(0, len(images), CHUNK)
    ]
    return torch.cat(parts)


def _corrupted(corruption, severity, parameters, images, ids, seed):
    x = corruption_tools.levels(images)
    draws = draws_of(corruption, severity, x, ids, seed)
    return as_images(corruption_tools.truncated(corruption.apply(x, *draws, *parameters)), images)


def draws_of(corruption, severity, x, ids, seed=0):
    """The random numbers of a corruption: float64 tensors [N, ...] for images x float64 [N, 3, 32, 32]."""
    if corruption.draw is None:
        return []
    parameters = corruption.parameters[severity - 1]
    arrays = corruption_random.drawn(
        corruption.draw, parameters, corruption.name, severity, x.cpu().numpy(), ids, seed
    )
    return [corruption_tools.constant(array, x) for array in arrays]


def checked(images, ids):
    """The ids as a list; InputError unless images are [N, 3, 32, 32] floats in [0, 1] with an id each."""
    shape = list(images.shape) if torch.is_tensor(images) else type(images).__name__
    if not torch.is_tensor(images) or images.shape[1:] != (3, SIDE, SIDE) or not len(images):
        raise InputError(
            f"images of shape {shape}: give [N, 3, 32, 32], N >= 1, the size that the parameters are for"
        )
    if not images.is_floating_point():
        raise InputError(f"images of type {images.dtype}: give floating point in [0, 1] (8-bit images / 255)")
    low, high = (bound.item() for bound in torch.aminmax(images.detach()))
    if not (low >= 0 and high <= 1):  # also true for NaN
        raise InputError(
            f"images with values from {low:g} to {high:g}: corrupt pixels in [0, 1], normalise afterwards"
            " inside the model"
        )
    ids = ids.tolist() if hasattr(ids, "tolist") else list(ids)
    if len(ids) != len(images) or not all(isinstance(i, Integral) for i in ids):
        raise InputError(f"{len(ids)} image ids for {len(images)} images: give one integer for each")
    return ids


def as_images(x, images):
    """Levels / 255 in float64 as images of the type of `images`, equal to `data.as_float` of the levels."""
    return (x * 255).round().to(images) / 255

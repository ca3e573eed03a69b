"""Which numbers the dynamics of training are computed in: 16 bits where the processor has them, else 32."""

from contextlib import contextmanager
from functools import cache
from pathlib import Path

import torch

from eplib.checks import one_of

PRECISIONS = ("float32", "bfloat16 where native")
CPU_FLAGS = {
    "avx512_bf16",
    "amx_bf16",
}  # elsewhere a 16-bit convolution is about ten times slower than a 32-bit one


@cache
def native_bfloat16(device):
    """Whether a device multiplies bfloat16 itself: CUDA from compute capability 8.0 on, and CPUs that say
    so.
    """
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return False
    flags = next((line for line in lines if line.startswith("flags")), "")
    return bool(CPU_FLAGS & set(flags.split()))


def working(precision, device):
    """The dtype of states and convolutions in training: torch.bfloat16, or None for the network's own."""
    if one_of("precision", precision, PRECISIONS) == "float32":
        return None
    return torch.bfloat16 if native_bfloat16(device) else None


def label(precision, device):
    """What the products of training are computed in, for its record: "bfloat16", "float32", or "tf32" where a
    GPU rounds the inputs of float32 convolutions.
    """
    if working(precision, device) is not None:
        return "bfloat16"
    rounded = torch.device(device).type == "cuda" and torch.backends.cudnn.allow_tf32
    return "tf32" if rounded else "float32"


@contextmanager
def repeatable():
    """Only such convolutions on a GPU as give the same sums every time, for a while."""
    cudnn = torch.backends.cudnn
    before = cudnn.deterministic, cudnn.benchmark
    try:
        cudnn.deterministic, cudnn.benchmark = True, False
        yield
    finally:
        cudnn.deterministic, cudnn.benchmark = before


@contextmanager
def tf32(allowed):
    """Whether matrix products and convolutions on a GPU may round their float32 inputs to TF32, for a
    while.
    """
    places = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [place.allow_tf32 for place in places]
    try:
        for place in places:
            place.allow_tf32 = allowed
        yield
    finally:
        for place, value in zip(places, before, strict=True):
            place.allow_tf32 = value

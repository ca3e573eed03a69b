"""Number formats that a network can be computed in, and their imitation on machines that lack them.

TF32, the format of the tensor cores, keeps 10 explicit mantissa bits of the float32 numbers that enter a
convolution or a matrix product, in the forward and the backward pass, and sums the products in float32. In 16
bits products are summed in float32, too, and the sum is rounded. Where a machine cannot, `computing` rounds
by hand around float32 convolutions and matrix products (but not inside fused attention).
"""

import contextlib
import copy

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from eplib import precision
from eplib.attacks import AttackedModel
from eplib.checks import one_of
from eplib.network import EPCNN

DTYPES = {  # of the states and weights; TF32 is stored as float32
    "float64": torch.float64,
    "float32": torch.float32,
    "tf32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
FORMATS = tuple(DTYPES)
_DROPPED = 13  # of float32's 23 explicit mantissa bits, to keep 10
_aten = torch.ops.aten
_FACTORS = {  # operation: the places of its arguments that are multiplied
    _aten.convolution: (0, 1),
    _aten.convolution_backward: (0, 1, 2),
    _aten.mm: (0, 1),
    _aten.addmm: (1, 2),
    _aten.bmm: (0, 1),
}


def emulated(name, device):
    """Whether a device has the format `name` only by imitation."""
    one_of("number format", name, FORMATS)
    cuda = torch.device(device).type == "cuda"
    native = precision.native_bfloat16(str(device)) if name in ("tf32", "bfloat16") else True
    return {"tf32": not (cuda and native), "bfloat16": not native, "float16": not cuda}.get(name, False)


@contextlib.contextmanager
def computing(name, device):
    """Compute in the format `name` for a while: TF32 where products are of float32, otherwise without it."""
    tf32 = name == "tf32" and not emulated(name, device)
    imitation = _Imitation(name) if emulated(name, device) else contextlib.nullcontext()
    with precision.tf32(tf32), imitation:
        yield


def model(net, name):
    """An `AttackedModel` of a float32 network in the format `name`, to be used within `computing`; `net`
    stays as it is.

    In 16 bits an EP-CNN has its states and the convolutions between them in them; image, read-out and loss
    are float32, as in training. A feed-forward network is in the format altogether, with logits in float32.
    """
    dtype = DTYPES[one_of("number format", name, FORMATS)]
    if dtype == torch.float32:
        return AttackedModel(net)
    if isinstance(net, EPCNN) and dtype != torch.float64:
        return AttackedModel(net, dtype=dtype)
    other = copy.deepcopy(net).to(dtype)
    if dtype != torch.float64:
        other.register_forward_hook(lambda _net, _images, logits: logits.float())
    return AttackedModel(other)


def pixels(images, name):
    """Images as a network in the format `name` is given them: float64, or float32 for all others."""
    return images.double() if name == "float64" else images.float()


def to_tf32(x):
    """A float32 tensor rounded to the nearest number with 10 explicit mantissa bits, ties to even."""
    bits = x.view(torch.int32)
    half, odd = (1 << (_DROPPED - 1)) - 1, (bits >> _DROPPED) & 1
    return ((bits + half + odd) & -(1 << _DROPPED)).view(torch.float32)


class _Imitation(TorchDispatchMode):
    """Convolutions and matrix products as another machine computes them, forward and backward: below
    autograd, so that both are met.
    """

    def __init__(self, name):
        super().__init__()
        self.name, self.dtype = name, DTYPES[name]

    @classmethod
    def _should_skip_dynamo(cls):
        return False  # nothing is compiled here, and to protect it from the compiler would import it: seconds

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        places = _FACTORS.get(func.overloadpacket, ())
        if not places or args[places[0]].dtype != self.dtype:
            return func(*args, **(kwargs or {}))
        if self.name == "tf32":
            rounded = [to_tf32(a) if i in places else a for i, a in enumerate(args)]
            return func(*rounded, **(kwargs or {}))
        wide = tree_map(lambda a: a.float() if _is(a, self.dtype) else a, list(args))
        return tree_map(
            lambda a: a.to(self.dtype) if _is(a, torch.float32) else a, func(*wide, **(kwargs or {}))
        )


def _is(value, dtype):
    return torch.is_tensor(value) and value.dtype == dtype

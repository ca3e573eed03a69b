"""What the two public training codes write, read without running any of it.

Both (Laborieux et al. 2021, and arXiv 2401.11543) pickle a whole network (`model.pt`, class
`model_utils.P_CNN`) or a dictionary with its parameters (`checkpoint.tar`). A pickle can run code, so only
torch's weights-only loader sees these files, and every class it may meet is a stand-in that keeps attributes
and does nothing.
"""

import io
import re
import warnings
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import torch

from eplib import files
from eplib.checks import InputError

LARGEST = 2**30  # bytes of a file: the paper's have 15 to 100 million
NETWORK, ASYMMETRIC = "model_utils.P_CNN", "model_utils.VF_CNN"
ACTIVATIONS = ("my_hard_sig", "hard_sigmoid", "my_sigmoid", "ctrd_hard_sig", "my_relu")
OURS = "my_hard_sig"  # clip(u / 2, 0, 1)
POOLS = {"torch.nn.modules.pooling.MaxPool2d": "max", "torch.nn.modules.pooling.AvgPool2d": "average"}
LIST, CONVOLUTION, LINEAR = (
    f"torch.nn.modules.{name}" for name in ("container.ModuleList", "conv.Conv2d", "linear.Linear")
)
NAMES = (
    *(NETWORK, ASYMMETRIC, LIST, CONVOLUTION, LINEAR, *POOLS, "torch.nn.modules.linear.Identity"),
    *(f"model_utils.{name}" for name in ACTIVATIONS),
    # accuracies that were kept as numbers of NumPy
    *("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar", "numpy.dtype"),
)


class Part:
    """Stands for an object of a file: its attributes, and as the class's `path` what it is one of."""

    path = ""

    def __init__(self, *_):
        self.state = {}

    def __new__(cls, *_):
        part = super().__new__(cls)
        part.state = {}
        return part

    def __setstate__(self, state):
        self.state = state if isinstance(state, dict) else {}

    def get(self, name):
        return self.state.get(name)


STANDINS = {path: type("Part", (Part,), {"path": path}) for path in NAMES}


@dataclass(frozen=True)
class Foreign:
    """A file of the public codes. name, sha256: of the file. form: "whole network" or "state dict". tensors:
    {"synapses.0.weight": …}. paddings, pooling: as the file has them, or None. written: what else it says,
    {name: number}.
    """

    name: str
    sha256: str
    form: str
    tensors: dict
    paddings: tuple | None = None
    pooling: str | None = None
    written: dict = field(default_factory=dict)


def content(path):
    """The bytes of a file; InputError when it cannot be read or is larger than `LARGEST`."""
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > LARGEST:
            raise InputError(f"{path.name} has {size:,} bytes: no file of these codes is larger than a GiB")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): check the path") from error


def read(path):
    """The `Foreign` at a path. Nothing of the file is run. InputError, one sentence, for every file that is
    not of this kind.
    """
    name, data = Path(path).name, content(path)
    try:
        return _found(name, data)
    except InputError:
        raise
    except Exception as error:  # of a file that anybody may have made: the loader raises anything
        unknown = re.search(r"GLOBAL (\S+)", str(error))
        why = f"it names {unknown[1]}, no part of such a network" if unknown else "it is damaged or other"
        if "persistent_load" in str(error):  # its whole networks hold their source
            why = "it is a whole network of a torch before 1.6, of which only a checkpoint.tar can be read"
        raise InputError(
            f"{name} cannot be read as a file of the public codes: {why}; nothing of it was run, give a"
            " checkpoint.tar or model.pt"
        ) from error


def _found(name, data):
    found = _unpacked(name, data)
    if isinstance(found, STANDINS[ASYMMETRIC]):
        raise _asymmetric(name)
    if isinstance(found, STANDINS[NETWORK]):
        form, written = "whole network", {}
        tensors, shape = _whole(name, found)
    elif isinstance(found, dict) and isinstance(found.get("model_state_dict"), dict):
        form, written = "state dict", _numbers(found)
        tensors, shape = found["model_state_dict"], {}
    else:
        raise InputError(
            f"{name} holds neither a P_CNN nor a model_state_dict: give a checkpoint.tar or model.pt of the"
            " public codes"
        )
    tensors = _checked(name, tensors, len(data))
    return Foreign(name, files.sha256(data), form, tensors, **shape, written=written | _named(name))


def _unpacked(name, data):
    """What torch's weights-only loader makes of a file, with stand-ins for classes."""
    if zipfile.is_zipfile(io.BytesIO(data)):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if any(i.compress_type != zipfile.ZIP_STORED for i in archive.infolist()):
                raise InputError(f"{name} is compressed, which torch never does: give it as it was saved")
    pairs = [(standin, path) for path, standin in STANDINS.items()]
    with torch.serialization.safe_globals(pairs), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of another pickle protocol
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


def _asymmetric(name):
    return InputError(
        f"{name} is a VF_CNN, whose forward and backward weights differ: it has no primitive function, give a"
        " P_CNN"
    )


def _whole(name, net):
    """(tensors, what the file says of paddings and pooling) of a pickled P_CNN."""
    modules = net.get("_modules") or {}
    synapses = modules.get("synapses")
    if list(modules) != ["synapses"] or not _is(synapses, LIST):
        raise InputError(
            f"{name} has the modules {', '.join(map(str, modules)) or 'none'}: a P_CNN has synapses"
        )
    layers = list((synapses.get("_modules") or {}).items())
    kinds = [CONVOLUTION] * (len(layers) - 1) + [LINEAR]
    if len(layers) < 2 or not all(_is(part, k) for (_, part), k in zip(layers, kinds, strict=True)):
        raise InputError(
            f"{name} has other synapses than convolutions and one read-out: this is not supported"
        )
    convolutions = [part for _, part in layers[:-1]]
    _same_dynamics(name, net, convolutions)
    tensors = {
        f"synapses.{i}.{key}": value
        for i, part in layers
        for key, value in (part.get("_parameters") or {}).items()
    }
    paddings = tuple(_square(part.get("padding")) for part in convolutions)
    return tensors, {"paddings": paddings, "pooling": _pooling(name, net.get("pools"), len(convolutions))}


def _same_dynamics(name, net, convolutions):
    """Refuse what the dynamics of `eplib.network.EPCNN` does not have."""
    activation = getattr(net.get("activation"), "path", "none").removeprefix("model_utils.")
    if activation != OURS:
        raise InputError(
            f"{name} has the activation {activation}: only {OURS}, clip(u/2, 0, 1), is supported"
        )
    if net.get("softmax") is not True:
        raise InputError(
            f"{name} has its read-out inside the dynamics (softmax {net.get('softmax')}): only a softmax"
            " read-out outside of it is supported"
        )
    wanted = {"kernel_size": 3, "stride": 1, "dilation": 1}
    for part in convolutions:
        for key, value in wanted.items():
            if _square(part.get(key)) != value:
                raise InputError(
                    f"{name} has a convolution with {key} {part.get(key)}: only {value} is supported"
                )
        if (
            part.get("groups") != 1
            or part.get("padding_mode") != "zeros"
            or _square(part.get("padding")) is None
        ):
            raise InputError(
                f"{name} has a convolution with groups {part.get('groups')} and padding"
                f" {part.get('padding')} ({part.get('padding_mode')}): only one group and equal zero padding"
                " is supported"
            )


def _pooling(name, pools, depth):
    """ "max" or "average" of a P_CNN's list of poolings."""
    kinds = {POOLS.get(getattr(p, "path", None)) for p in pools} if isinstance(pools, list) else {None}
    plain = {"kernel_size": 2, "stride": 2, "padding": 0}
    usual = kinds in ({"max"}, {"average"}) and len(pools) == depth
    usual = usual and all(_square(p.get(key)) == value for p in pools for key, value in plain.items())
    others = {"dilation": 1, "ceil_mode": False, "count_include_pad": True, "divisor_override": None}
    usual = usual and all(p.state.get(key, value) == value for p in pools for key, value in others.items())
    if not usual:
        raise InputError(
            f"{name} pools otherwise than 2×2 by maximum or average after every convolution: this is not"
            " supported"
        )
    return kinds.pop()


def _is(part, path):
    return isinstance(part, STANDINS[path])


def _square(value):
    """The one whole number of 3 or (3, 3), else None."""
    both = value if isinstance(value, tuple) else (value, value)
    return both[0] if len(both) == 2 and both[0] == both[1] and type(both[0]) is int else None


def _checked(name, tensors, size):
    """The tensors of a network, by name, in float32. size: of the file in bytes."""
    if any(str(key).startswith(("B_syn", "synapses_")) for key in tensors):
        raise _asymmetric(name)
    for key, tensor in tensors.items():
        usual = torch.is_tensor(tensor) and tensor.layout == torch.strided and tensor.is_floating_point()
        if not usual or tensor.is_meta or tensor.is_quantized:
            raise InputError(
                f"{name}: {str(key)[:60]} is no tensor of numbers, take the file as it was saved"
            )
    # a view may claim more numbers than there are
    if sum(t.numel() * t.element_size() for t in tensors.values()) > size:
        raise InputError(f"{name} claims more numbers than its {size:,} bytes hold: it is damaged")
    tensors = {key: t.detach().to(torch.float32).contiguous() for key, t in tensors.items()}
    if not all(torch.isfinite(t).all() for t in tensors.values()):
        raise InputError(f"{name} holds weights that are not finite: take another epoch of the run")
    return tensors


def _numbers(found):
    """The plain numbers that a checkpoint keeps beside the weights: epoch and best accuracy."""
    kept = {"epoch": found.get("epoch"), "best": found.get("best")}
    return {key: value for key, value in kept.items() if type(value) in (int, float)}


def _named(name):
    """What the name of a file says: the last epoch's weights, or trained on attacked images."""
    said = {"weights_of": "last epoch"} if name.startswith("final_") else {}
    adversarial = re.search(r"model_Train_Eps_(\d+)\.pt$", name)
    return said | ({"trained_on_attacked_images_of": int(adversarial[1])} if adversarial else {})

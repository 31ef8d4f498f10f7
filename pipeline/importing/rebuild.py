"""The complete list of names that a file may use, and what each becomes here.

A pickle names functions and classes with which to rebuild objects. Those listed below have stand-ins that
make plain values; every other name is refused before anything is done with it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from pipeline.importing.values import (
    MOST_NUMBERS,
    Bag,
    Budget,
    ForeignObject,
    Global,
    Refused,
    Storage,
    StoredTensor,
    shown,
)

DTYPES = {
    "Float": torch.float32,
    "Double": torch.float64,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
}
_LONGEST_KEY = 1000
_NUMBERS = {  # numpy's names of the types that torch also has
    "f2": torch.float16,
    "f4": torch.float32,
    "f8": torch.float64,
    "i1": torch.int8,
    "i2": torch.int16,
    "i4": torch.int32,
    "i8": torch.int64,
    "u1": torch.uint8,
    "b1": torch.bool,
}
STORAGES = {
    Global(module, f"{kind}Storage"): dtype
    for module in ("torch", "torch.cuda")
    for kind, dtype in DTYPES.items()
}


class _Dtype:
    """A numpy.dtype that is being rebuilt."""

    def __init__(self, code: object, *_: object) -> None:
        if not isinstance(code, str) or code.lstrip("<|=") not in _NUMBERS:
            raise Refused(f"a numpy array of type {shown(code)}; allowed: {', '.join(_NUMBERS)}")
        self.dtype = _NUMBERS[code.lstrip("<|=")]

    def build(self, state: Any) -> None:
        """Applies the state (version, byte order, sub-array, names, fields, ...)."""
        if (
            not isinstance(state, tuple)
            or len(state) < 5
            or state[1] not in ("<", "|", "=")
            or any(state[2:5])
        ):
            raise Refused("a numpy array of a structured type or in another byte order")


class _Array:
    """A numpy.ndarray that is being rebuilt, and then its tensor."""

    def __init__(self, *_: object) -> None:
        self.tensor: StoredTensor | None = None

    def build(self, state: Any) -> None:
        """Applies the state (version, shape, dtype, whether in Fortran order, bytes)."""
        if not isinstance(state, tuple) or len(state) != 5 or not isinstance(state[2], _Dtype):
            raise Refused("a numpy array that is not plain numbers")
        _, shape, kind, columns, data = state
        if not isinstance(data, bytes) or not isinstance(shape, tuple) or len(shape) > 8:
            raise Refused("a numpy array of objects, or of more than 8 dimensions")
        if not all(type(n) is int and 0 <= n <= MOST_NUMBERS for n in shape):
            raise Refused(f"a numpy array of impossible shape {shown(shape)}")
        size = kind.dtype.itemsize
        if len(data) % size:
            raise Refused(f"a numpy array of {len(data)} bytes in numbers of {size}")
        storage = Storage(kind.dtype, len(data) // size, lambda: data)
        order = range(len(shape)) if columns else reversed(range(len(shape)))
        strides, step = [0] * len(shape), 1
        for axis in order:
            strides[axis] = step
            step *= shape[axis]
        self.tensor = StoredTensor(storage, 0, shape, tuple(strides))


def _scalar(kind: Any, data: Any) -> int | float | bool:
    if not isinstance(kind, _Dtype) or not isinstance(data, bytes):
        raise Refused("an invalid numpy number")
    flat = Storage(kind.dtype, 1, lambda: data).flat()
    number: int | float | bool = flat[0].item()
    return number


def _tensor(storage: Any, offset: Any, shape: Any, stride: Any, *_: object) -> StoredTensor:
    if not isinstance(storage, Storage) or not isinstance(shape, tuple) or not isinstance(stride, tuple):
        raise Refused("a tensor without a storage")
    return StoredTensor(storage, offset, shape, stride)


def _parameter(data: Any, *_: object) -> StoredTensor:
    if not isinstance(data, StoredTensor):
        raise Refused("a parameter that is not a tensor")
    return data


def _persistent(meta: Any) -> ForeignObject:
    """A persistent object. Its `module_src`, source code that the usual loader would run, is discarded
    unread."""
    if not isinstance(meta, dict) or not isinstance(meta.get("class_name"), str):
        raise Refused("a persistent object without a class")
    state = meta.get("state")
    return ForeignObject(meta["class_name"], state if isinstance(state, dict) else {})


def _mapping(pairs: Any = ()) -> dict[Any, Any]:
    made: dict[Any, Any] = {}
    for key, value in pairs.items() if isinstance(pairs, dict) else pairs:
        made[plain_key(key)] = value
    return made


def _members(values: Any = ()) -> set[Any]:
    return {plain_key(value) for value in values}


def _encoded(text: Any, encoding: Any = "latin1") -> bytes:
    """Bytes, which Python 3 stores as Latin-1 text in protocol 2."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise Refused("bytes in an unknown encoding")
    return text.encode("latin-1")


def _path(*parts: Any) -> str:
    return "/".join(part for part in parts if isinstance(part, str))


def _device(*parts: Any) -> str:
    return ":".join(str(part) for part in parts if isinstance(part, str | int))


def plain_key(key: Any) -> Any:
    """The key of a dict or member of a set, if it is cheap to hash. Raises Refused otherwise."""
    if not isinstance(key, str | int | float | bytes | None):
        raise Refused(f"a key that is a {type(key).__name__}; allowed: text and numbers")
    # Integers from 2^61 - 1 on can be chosen to collide in a hash table.
    if isinstance(key, int) and key.bit_length() > 60:
        raise Refused(f"a key that is {shown(key)}")
    if isinstance(key, str | bytes) and len(key) > _LONGEST_KEY:
        raise Refused(f"a key of {len(key)} letters; at most {_LONGEST_KEY} are allowed")
    return key


_MULTIARRAY = ("numpy.core.multiarray", "numpy._core.multiarray")
_BUILTINS = ("builtins", "__builtin__")
MAKERS: dict[Global, Callable[..., Any]] = {
    Global("collections", "OrderedDict"): _mapping,
    Global("argparse", "Namespace"): Bag,
    Global("dnnlib.util", "EasyDict"): Bag,
    Global("dnnlib", "EasyDict"): Bag,
    Global("torch_utils.persistence", "_reconstruct_persistent_obj"): _persistent,
    Global("torch._utils", "_rebuild_tensor"): _tensor,
    Global("torch._utils", "_rebuild_tensor_v2"): _tensor,
    Global("torch._utils", "_rebuild_parameter"): _parameter,
    Global("torch._utils", "_rebuild_parameter_with_state"): _parameter,
    Global("torch", "Size"): lambda sizes=(): tuple(sizes),
    Global("torch", "device"): _device,
    Global("numpy", "dtype"): _Dtype,
    Global("_codecs", "encode"): _encoded,
    Global("pathlib", "PosixPath"): _path,
    Global("pathlib", "WindowsPath"): _path,
    **{Global(module, "_reconstruct"): _Array for module in _MULTIARRAY},
    **{Global(module, "scalar"): _scalar for module in _MULTIARRAY},
    **{Global(module, name): _members for module in _BUILTINS for name in ("set", "frozenset")},
}
NESTED = Global("torch.storage", "_load_from_bytes")
"""A storage inside a plain pickle: the bytes of a whole file written by torch.save."""
TOKENS = {Global("numpy", "ndarray"), Global("torch.nn.parameter", "Parameter"), *STORAGES}
"""Names that may only occur as arguments and are never called."""
ALLOWED = "tensors, numpy arrays, numbers, text and plain containers, StyleGAN2's persistent networks"


def admit(name: Global) -> Global:
    """The name, if it is on the list; otherwise raises Refused with the name."""
    if name in MAKERS or name in TOKENS or name == NESTED:
        return name
    if name.module.startswith(("dnnlib.tflib", "tfutil")) or name == Global("network", "Network"):
        raise Refused(
            f"a TensorFlow network ({shown(name)}), whose file carries code; convert it first with "
            "legacy.py of stylegan2-ada-pytorch, then import the .pkl that it writes"
        )
    raise Refused(
        f"refused: loading it the usual way would import and may run {shown(name)}; nothing of it was "
        f"run here; allowed: {ALLOWED}"
    )


def make(what: Any, arguments: Any, budget: Budget) -> Any:
    """The stand-in for the result of `what(*arguments)`. Raises Refused."""
    if not isinstance(what, Global) or what not in MAKERS:
        raise Refused(f"refused: it calls {shown(what) if isinstance(what, Global) else 'a value'}")
    if not isinstance(arguments, tuple):
        raise Refused("refused: a call without arguments")
    budget.spend(arguments)
    budget.spend(*arguments)
    try:
        return MAKERS[what](*arguments)
    except (TypeError, ValueError) as error:
        raise Refused(f"refused: {what} with arguments that do not fit it") from error


def build(value: Any, state: Any, budget: Budget) -> None:
    """Does to a stand-in what the instruction BUILD would do to an object's attributes. Raises Refused."""
    budget.spend(state)
    if isinstance(value, _Dtype | _Array):
        value.build(state)
    elif isinstance(value, Bag | ForeignObject) and isinstance(state, dict):
        fields = value if isinstance(value, Bag) else value.state
        fields.update({plain_key(key): item for key, item in state.items()})
    elif not (isinstance(value, dict) and isinstance(state, dict)):
        # The attributes of a dict, such as a state dict's `_metadata`, are ignored.
        raise Refused(f"refused: it sets attributes of a {type(value).__name__}")


def finished(value: Any) -> Any:
    """The value itself, or the tensor of a rebuilt array."""
    return value.tensor if isinstance(value, _Array) else value

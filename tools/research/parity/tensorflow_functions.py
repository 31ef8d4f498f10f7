"""The functions of TensorFlow 1 that a peer's networks are made of, over torch: tensors are [N, H, W, C].

No TensorFlow of that version runs under a Python of today. What a peer's code computes stays its own.
"""

from __future__ import annotations

import contextlib
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Variables = Callable[[str, str], Tensor]
"""Returns the variable of a scope and a name in it."""

_PACKAGES = ("contrib", "contrib.framework", "contrib.framework.python", "contrib.framework.python.ops")


@contextlib.contextmanager
def standing_in(variables: Variables) -> Iterator[None]:
    """Makes `import tensorflow` find these functions, and tensors tell their shape as its own do."""
    module = _module(variables)
    package = f"tensorflow.{_PACKAGES[-1]}"
    names: dict[str, Any] = {
        "tensorflow": module,
        **{f"tensorflow.{name}": types.ModuleType(name) for name in _PACKAGES},
    }
    scopes = _Scopes()
    names[package].add_arg_scope = scopes.add
    names[package].arg_scope = scopes.within
    for name in _PACKAGES:
        parent, _, child = f"tensorflow.{name}".rpartition(".")
        setattr(names[parent], child, names[f"tensorflow.{name}"])
    before = {name: sys.modules[name] for name in names if name in sys.modules}
    sys.modules.update(names)
    Tensor.get_shape = lambda self: self.shape  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]
        sys.modules.update(before)
        del Tensor.get_shape  # type: ignore[attr-defined]


class _Scopes:
    """Arguments that functions get unless they are given others, within blocks."""

    def __init__(self) -> None:
        self._told: list[tuple[Sequence[Any], Mapping[str, Any]]] = []

    def add(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def scoped(*inputs: Any, **settings: Any) -> Any:
            told: dict[str, Any] = {}
            for functions, arguments in self._told:
                if scoped in functions:
                    told |= arguments
            return function(*inputs, **{**told, **settings})

        return scoped

    @contextlib.contextmanager
    def within(self, functions: Sequence[Any], **arguments: Any) -> Iterator[None]:
        self._told.append((functions, arguments))
        try:
            yield
        finally:
            self._told.pop()


def _module(variables: Variables) -> Any:
    module: Any = types.ModuleType("tensorflow")
    scopes = [""]

    @contextlib.contextmanager
    def variable_scope(name: str) -> Iterator[None]:
        scopes.append(name)
        try:
            yield
        finally:
            scopes.pop()

    module.variable_scope = variable_scope
    module.get_variable = lambda name, **_: variables(scopes[-1], name)
    module.random_normal_initializer = module.constant_initializer = lambda *_: None
    module.add_to_collection = lambda *_: None
    module.float32 = torch.float32
    module.nn = types.SimpleNamespace(
        elu=F.elu,
        softplus=F.softplus,
        sigmoid=torch.sigmoid,
        tanh=torch.tanh,
        bias_add=torch.add,
        conv2d=_conv2d,
        conv2d_transpose=_conv2d_transpose,
        l2_normalize=lambda x, axes: x * x.square().sum(axes, keepdim=True).clamp(min=1e-12).rsqrt(),
    )
    _add_arithmetic(module)
    return module


def _add_arithmetic(module: Any) -> None:
    for name in ("exp", "log", "matmul", "reshape", "sqrt", "square", "where", "zeros", "ones"):
        setattr(module, name, getattr(torch, name))
    module.concat = torch.cat
    module.maximum = lambda x, least: x.clamp(min=least)
    module.pad = lambda x, sides: F.pad(x, [side for pair in reversed(sides) for side in pair])
    module.reduce_sum = lambda x, axis, keepdims=False: x.sum(axis, keepdim=keepdims)
    module.reduce_max = lambda x, axis, keepdims=False: x.amax(axis, keepdim=keepdims)
    module.split = lambda x, count, axis: torch.chunk(x, count, dim=axis)


def _conv2d(x: Tensor, weight: Tensor, strides: Sequence[int], padding: str) -> Tensor:
    """Weights are [height, width, inputs, outputs]."""
    assert padding == "VALID", "all that the peer asks for"
    result = F.conv2d(x.permute(0, 3, 1, 2), weight.permute(3, 2, 0, 1), stride=tuple(strides[1:3]))
    return result.permute(0, 2, 3, 1)


def _conv2d_transpose(
    x: Tensor, weight: Tensor, shape: Sequence[int], strides: Sequence[int], padding: str
) -> Tensor:
    """The gradient of `_conv2d` with respect to images of `shape`; weights are [height, width, outputs,
    inputs]."""
    assert padding == "VALID", "all that the peer asks for"
    images = torch.zeros([shape[0], shape[3], shape[1], shape[2]], requires_grad=True)
    with torch.enable_grad():
        ahead = F.conv2d(images, weight.permute(3, 2, 0, 1), stride=tuple(strides[1:3]))
        (result,) = torch.autograd.grad(ahead, images, x.permute(0, 3, 1, 2), create_graph=True)
    return result.permute(0, 2, 3, 1)

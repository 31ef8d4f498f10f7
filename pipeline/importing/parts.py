"""The networks in a weight file: tensors by dotted name, and the settings of the modules that hold them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from pipeline.importing.rebuild import finished
from pipeline.importing.values import Budget, ForeignObject, Refused, StoredTensor

_DEEPEST, _MOST = 32, 1_000_000  # levels of nested modules; values in all of them
_MOST_TEXT = 1 << 30  # bytes of text, which reading has bounded already and which is not copied here
_MOST_SHARED = 8  # how many times over tensors may use the numbers of the file
_PARTS = ("_parameters", "_buffers", "_modules")


class Tensors(Mapping[str, Tensor]):
    """Tensors by name, each read when it is accessed."""

    def __init__(self, stored: Mapping[str, StoredTensor]) -> None:
        self.stored = dict(stored)

    def __getitem__(self, name: str) -> Tensor:
        return self.stored[name].read()

    def __iter__(self) -> Iterator[str]:
        return iter(self.stored)

    def __len__(self) -> int:
        return len(self.stored)

    def __contains__(self, name: object) -> bool:
        return name in self.stored


@dataclass(frozen=True)
class Part:
    """One network or state dict. kind: the name of its class, or "" if it has none. settings: numbers and
    texts by dotted name, such as "synthesis.b4.conv1.activation"; what a persistent network was made with
    stands under "init", such as "init.channel_base"."""

    kind: str
    tensors: Mapping[str, Tensor]
    settings: Mapping[str, Any] = field(default_factory=dict)


def parts_of(value: Any) -> dict[str, Part]:
    """The parts of a file by name; "" holds what lies beside them. Raises Refused."""
    if isinstance(value, Part):
        return {"": value}
    if isinstance(value, ForeignObject):
        return _checked({"": _network(value, Budget(_MOST, _MOST_TEXT))})
    if not isinstance(value, dict):
        raise Refused(f"it holds a {type(value).__name__}; allowed: networks or state dicts by name")
    budget = Budget(_MOST, _MOST_TEXT)
    parts: dict[str, Part] = {}
    beside: dict[str, Any] = {}
    for name, item in value.items():
        budget.spend(item)
        if isinstance(item, ForeignObject):
            parts[str(name)] = _network(item, budget)
        elif isinstance(item, dict) and any(isinstance(finished(x), StoredTensor) for x in item.values()):
            parts[str(name)] = _state(item)
        else:
            beside[str(name)] = item
    return _checked({**parts, "": _state(beside)})


def _checked(parts: dict[str, Part]) -> dict[str, Part]:
    """The parts, unless reading all of them would take far more memory than the numbers in the file."""
    read = [part.tensors for part in parts.values() if isinstance(part.tensors, Tensors)]
    tensors = [tensor for one in read for tensor in one.stored.values()]
    storages = {id(tensor.storage): tensor.storage for tensor in tensors}
    held = sum(storage.count * storage.dtype.itemsize for storage in storages.values())
    if sum(tensor.elements * tensor.storage.dtype.itemsize for tensor in tensors) > _MOST_SHARED * held:
        raise Refused(f"tensors that share the same numbers more than {_MOST_SHARED} times")
    return parts


def _state(values: Mapping[Any, Any]) -> Part:
    tensors = {str(k): v for k, x in values.items() if isinstance(v := finished(x), StoredTensor)}
    return Part("", Tensors(tensors), {str(k): x for k, x in values.items() if _is_plain(x)})


def _network(record: ForeignObject, budget: Budget) -> Part:
    tensors: dict[str, StoredTensor] = {}
    settings: dict[str, Any] = {}
    waiting: list[tuple[str, ForeignObject, int]] = [("", record, 0)]
    while waiting:
        prefix, module, depth = waiting.pop()
        if depth > _DEEPEST:
            raise Refused("networks nested deeper than any that is known")
        budget.spend(module.state, *(module.state.get(group) for group in (*_PARTS, "_init_kwargs")), steps=1)
        own, below, plain = _contents(module)
        tensors.update({prefix + name: tensor for name, tensor in own.items()})
        settings.update({prefix + name: item for name, item in plain.items()})
        waiting.extend((f"{prefix}{name}.", child, depth + 1) for name, child in below.items())
    return Part(record.name, Tensors(tensors), settings)


def _contents(
    module: ForeignObject,
) -> tuple[dict[str, StoredTensor], dict[str, ForeignObject], dict[str, Any]]:
    """A module's own tensors, its submodules, and its plain attributes."""
    named: dict[str, Any] = {}
    for group in _PARTS:
        held = module.state.get(group)
        named |= {str(k): finished(x) for k, x in held.items()} if isinstance(held, dict) else {}
    tensors = {name: x for name, x in named.items() if isinstance(x, StoredTensor)}
    below = {name: x for name, x in named.items() if isinstance(x, ForeignObject)}
    plain = {str(k): x for k, x in module.state.items() if _is_plain(x) and not str(k).startswith("_")}
    made_with = module.state.get("_init_kwargs")
    if isinstance(made_with, dict):
        plain |= {f"init.{k}": x for k, x in made_with.items() if _is_plain(x)}
    return tensors, below, plain


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float)

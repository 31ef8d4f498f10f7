"""FLOPs, and bytes alive, of whatever runs within: on real tensors, or on ones without data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import conv_flop_count, flop_registry


class Tally(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """FLOPs (a product and a sum: 2) of what runs within, and the most bytes of tensors made there that were
    alive at once, to a hundredth."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops, self.peak = 0, 0
        self._most = 0  # bytes alive, if nothing had gone since the last look
        self._alive: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        self.flops += flops_of(func, args, kwargs or {}, out)
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self._hold(tensor)
        return out

    def _hold(self, tensor: Tensor) -> None:
        known = StorageWeakRef(tensor.untyped_storage())  # type: ignore[no-untyped-call]
        size = tensor.untyped_storage().nbytes()
        if known.cdata in self._alive or not size:
            return
        self._alive[known.cdata] = (known, size)
        self._most += size
        if self._most > 1.01 * self.peak:
            gone = [name for name, (known, _) in self._alive.items() if known.expired()]  # type: ignore[no-untyped-call]
            for name in gone:
                del self._alive[name]
            self._most = sum(size for _, size in self._alive.values())
            self.peak = max(self.peak, self._most)


def flops_of(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], out: Any) -> int:
    """Returns the FLOPs of one operation, given its result; 0 for all but products and convolutions."""
    packet = func._overloadpacket
    if packet is torch.ops.aten.convolution_backward:
        # torch's own formula counts the weight's gradient of grouped convolutions once too often a group.
        grad, x, weight, transposed, wanted = args[0], args[1], args[2], args[7], args[10]
        return int(wanted[0] + wanted[1]) * int(
            conv_flop_count(x.shape, weight.shape, grad.shape, transposed)
        )
    formula = flop_registry.get(packet)
    return 0 if formula is None else int(formula(*args, **kwargs, out_val=out))

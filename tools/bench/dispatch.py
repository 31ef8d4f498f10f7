"""Counts the operations that the host dispatches, by name, with convolutions counted separately."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

_CONVOLUTIONS = ("aten::convolution", "aten::convolution_backward")
# They make another view of a tensor, or room for one.
_WITHOUT_KERNEL = (
    "view", "_unsafe_view", "expand", "permute", "transpose", "t", "slice", "select", "unsqueeze", "squeeze",
    "detach", "alias", "as_strided", "split", "unbind", "split_with_sizes", "diagonal", "lift_fresh",
    "empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided",
)  # fmt: skip


class Dispatched(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts operations below autograd, in forward and backward passes alike. A compiled operation of ours
    counts as one."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        self.counts[func._schema.name] += 1
        return func(*args, **(kwargs or {}))

    @staticmethod
    def starts_kernel(func: Any) -> bool:
        """It is more than another view of a tensor, or room for one."""
        return func._schema.name.removeprefix("aten::") not in _WITHOUT_KERNEL

    @property
    def operations(self) -> int:
        """The number of all operations."""
        return self.counts.total()

    @property
    def kernels(self) -> int:
        """The number of operations that start one or more kernels."""
        return self.operations - sum(self.counts[f"aten::{name}"] for name in _WITHOUT_KERNEL)

    @property
    def convolutions(self) -> int:
        """The number of convolutions, forward passes and gradients; one that computes both gradients counts
        once."""
        return sum(self.counts[name] for name in _CONVOLUTIONS)

"""What the host dispatches: every operation that runs within, by name; convolutions counted apart."""

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
    """Counts operations below autograd, of forward and backward passes alike. A compiled operation of ours
    is one."""

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
        """All of them."""
        return self.counts.total()

    @property
    def kernels(self) -> int:
        """Those that start one, or several."""
        return self.operations - sum(self.counts[f"aten::{name}"] for name in _WITHOUT_KERNEL)

    @property
    def convolutions(self) -> int:
        """Forward passes and gradients; one that gives both gradients is one."""
        return sum(self.counts[name] for name in _CONVOLUTIONS)

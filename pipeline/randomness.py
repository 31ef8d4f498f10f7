"""Random numbers as a function of what they are for, not of where they are drawn.

Every stream is seeded by a hash of (run seed, purpose, global sample position), so that nothing about
random state needs saving and results do not depend on ranks, micro-batches or call order elsewhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def derive_seed(*parts: int | str) -> int:
    """A 63-bit seed from `parts`; distinct parts give unrelated streams."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


class SampleRandomness:
    """One generator a sample (see `contracts.Randomness`).

    seeds: one a sample. device: where results go. source: where numbers are drawn, `device` unless
    the result must be the same on every kind of device (then "cpu").
    """

    def __init__(
        self,
        seeds: Sequence[int],
        device: torch.device | str = "cpu",
        source: torch.device | str | None = None,
    ) -> None:
        self._device = torch.device(device)
        self._source = torch.device(source if source is not None else device)
        self._generators = [torch.Generator(self._source) for _ in seeds]
        for generator, seed in zip(self._generators, seeds, strict=True):
            generator.manual_seed(seed)

    @property
    def count(self) -> int:
        return len(self._generators)

    def normal(self, *shape: int) -> Tensor:
        return self._stack(shape, lambda g: torch.randn(shape, generator=g, device=self._source))

    def uniform(self, *shape: int) -> Tensor:
        return self._stack(shape, lambda g: torch.rand(shape, generator=g, device=self._source))

    def integers(self, high: int, *shape: int) -> Tensor:
        return self._stack(
            shape,
            lambda g: torch.randint(high, shape, generator=g, device=self._source),
            torch.int64,
        )

    def first(self, count: int) -> SampleRandomness:
        if not 0 <= count <= self.count:
            raise ValueError(f"asked for {count} of {self.count} random streams")
        part = SampleRandomness([], self._device, self._source)
        part._generators = self._generators[:count]
        return part

    def _stack(
        self,
        shape: tuple[int, ...],
        draw: Callable[[torch.Generator], Tensor],
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        if not self._generators:
            return torch.empty((0, *shape), device=self._device, dtype=dtype)
        return torch.stack([draw(generator) for generator in self._generators]).to(self._device)

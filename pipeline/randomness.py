"""Random numbers that depend on what they are for, not on where they are drawn.

Every stream is seeded by a hash of (run seed, purpose, global sample position). So no random state needs
saving, and results do not depend on the number of ranks, on micro-batches or on the order of other draws.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


def derive_seed(*parts: int | str) -> int:
    """Returns a 63-bit seed derived from `parts`; different parts give unrelated streams."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    # Names of files need not be UTF-8, and have surrogates then.
    digest = hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def permutation(count: int, seed: int) -> npt.NDArray[np.int64]:
    """Returns a permutation of range(count), which is the same in every version of numpy.

    It sorts raw 64-bit numbers of PCG64, because numpy fixes that stream across versions but not its
    shuffles, and a run must be able to continue after an upgrade.
    """
    return np.argsort(np.random.PCG64(seed).random_raw(count), kind="stable").astype(np.int64)


def seeded(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Returns a generator on `device` whose stream depends on all 64 bits of `seed`.

    Philox, on a GPU, uses all of them itself. The CPU's mt19937 uses only the low 32 bits, so for seeds of
    2^32 or more its 624 words are set to SHAKE-128 of the seed. Smaller seeds give the same numbers as in
    torch. Raises ValueError unless 0 <= seed < 2^64.
    """
    generator = torch.Generator(device)
    if not 0 <= seed < 2**64:
        raise ValueError(f"seed {seed}: must be at least 0 and less than 2^64")
    if generator.device.type == "cpu" and seed >= 2**32:
        return generator.set_state(_whole_state(seed))
    return generator.manual_seed(seed)


def seed_everything(seed: int) -> None:
    """Seeds torch's default generators on every device, the CPU's as `seeded` does."""
    torch.manual_seed(seed)
    torch.default_generator.set_state(seeded(seed).get_state())


_BLANK = bytes(torch.Generator().manual_seed(0).get_state().numpy())


def _whole_state(seed: int) -> Tensor:
    """Returns the state of an mt19937 before its first number, as torch lays it out: the seed, two counters,
    624 words of 32 bits in 8 bytes each, and the second number of a pair of normal numbers."""
    state = bytearray(_BLANK)
    digest = hashlib.shake_128(seed.to_bytes(8, "little")).digest(624 * 4)
    memoryview(state).cast("Q")[0] = seed
    memoryview(state).cast("I")[6 : 6 + 2 * 624 : 2] = memoryview(digest).cast("I")
    return torch.frombuffer(state, dtype=torch.uint8)


class SampleRandomness:
    """Implements `contracts.Randomness` with one generator per sample.

    seeds: one per sample, as for `seeded`. device: where the numbers are needed. source: where they are
    drawn; `device` by default, "cpu" if they must be the same on every kind of device.
    """

    def __init__(
        self,
        seeds: Sequence[int],
        device: torch.device | str = "cpu",
        source: torch.device | str | None = None,
    ) -> None:
        self._device = torch.device(device)
        self._source = torch.device(source if source is not None else device)
        self._generators = [seeded(seed, self._source) for seed in seeds]

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

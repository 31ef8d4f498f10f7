"""Streams that all bits of a seed decide, and the numbers that small seeds have always given."""

from __future__ import annotations

import ast
import hashlib

import numpy as np
import pytest
import torch

from pipeline.randomness import SampleRandomness, derive_seed, seed_everything, seeded
from tests.product import PRODUCT, sources

# Pairs that agree in their low 32 bits.
WIDE = [0, 2**32, 2**33, 2**62, 2**63, 7, 2**32 + 7, 2**40 + 7, 2**64 - 2**32 + 7]


@pytest.mark.parametrize(
    ("seed", "normal", "whole"),
    [
        (0, [1.5409960746765137, -0.293428897857666, -2.1787893772125244], [44, 39, 33]),
        (7, [-0.1467950940132141, 0.7861412763595581, 0.9468216300010681], [15, 92, 21]),
        (2**32 - 1, [1.2197630405426025, -0.3929794728755951, 1.0230751037597656], [71, 78, 76]),
    ],
)
def test_small_seeds_give_the_numbers_they_always_gave(
    seed: int, normal: list[float], whole: list[int]
) -> None:
    assert SampleRandomness([seed]).normal(3)[0].tolist() == pytest.approx(normal, rel=1e-6)
    assert SampleRandomness([seed]).integers(100, 3)[0].tolist() == whole
    assert torch.equal(seeded(seed).get_state(), torch.Generator().manual_seed(seed).get_state())


def test_seeds_that_differ_in_high_bits_alone_give_unrelated_numbers() -> None:
    streams = SampleRandomness(WIDE).normal(20_000).double()
    correlation = torch.corrcoef(streams) - torch.eye(len(WIDE))
    assert correlation.abs().max() < 5 / 20_000**0.5
    assert (streams.mean(1).abs() < 5 / 20_000**0.5).all()
    assert ((streams.square().mean(1) - 1).abs() < 0.06).all()


def test_every_bit_of_a_seed_counts() -> None:
    seeds = [derive_seed("a"), *[derive_seed("a") ^ (1 << bit) for bit in range(64)]]
    first = SampleRandomness(seeds).integers(2**31 - 1, 2)
    assert len({tuple(row) for row in first.tolist()}) == 65


def test_a_large_seed_is_an_mt19937_whose_words_are_shake_of_it() -> None:
    """By numpy's own mt19937 with these words, of which torch gives the low bits."""
    seed = 2**63 + 12345
    digest = hashlib.shake_128(seed.to_bytes(8, "little")).digest(2496)
    other = np.random.RandomState()
    other.set_state(("MT19937", np.frombuffer(digest, dtype="<u4"), 624))
    raw = other.randint(0, 2**32, 2000, dtype=np.uint32) & 0xFFFF
    ours = torch.randint(2**16, (2000,), generator=seeded(seed))
    assert ours.tolist() == raw.tolist()
    assert seeded(seed).initial_seed() == seed


def test_torchs_own_generator_takes_whole_seeds_too() -> None:
    with torch.random.fork_rng():
        drawn = []
        for seed in (3, 2**32 + 3):
            seed_everything(seed)
            drawn.append(torch.randn(5))
            assert torch.equal(drawn[-1], torch.randn(5, generator=seeded(seed)))
        assert not torch.equal(*drawn)


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_what_is_no_seed(seed: int) -> None:
    with pytest.raises(ValueError, match=r"at least 0 and less than 2\^64"):
        SampleRandomness([seed])


def test_nobody_else_seeds_a_generator_by_more_than_a_constant() -> None:
    """Where a seed is a variable, torch would cut it to 32 bits."""
    for source in (found for found in sources(*PRODUCT) if "manual_seed" in found.text):
        for node in ast.walk(source.tree):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            if node.func.attr == "manual_seed" and source.module != "pipeline.randomness":
                assert isinstance(node.args[0], ast.Constant), f"{source.module}:{node.lineno}"

"""Numbers as people write them."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UserError
from pipeline.exploration.numbers import listed, parse_layers, parse_seeds, parse_values, shown, spread


def test_lists_and_ranges() -> None:
    assert parse_seeds("0-3, 12,7-7") == (0, 1, 2, 3, 12, 7)
    assert parse_seeds("9223372036854775807") == (2**63 - 1,)
    assert parse_layers("2-3,0,3", 4) == (0, 2, 3)
    assert parse_layers(None, 3) == (0, 1, 2)
    assert parse_values("0, .5,-1,1e-1", "--psi", -2, 2) == (0.0, 0.5, -1.0, 0.1)


@given(st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=8))
def test_listed_is_parsed_to_the_same(seeds: list[int]) -> None:
    assert parse_seeds(listed(seeds)) == tuple(seeds)


@pytest.mark.parametrize("steps", [1, 2, 5, 8])
def test_spread_is_symmetric_and_ends_at_the_strength(steps: int) -> None:
    values = spread(3.0, steps)
    assert len(values) == steps
    assert values[-1] == 3.0
    if steps > 1:
        assert [-value for value in reversed(values)] == list(values)
        gaps = [b - a for a, b in itertools.pairwise(values)]
        assert gaps == pytest.approx([6.0 / (steps - 1)] * (steps - 1))


def test_shown() -> None:
    assert [shown(v) for v in (0.5, -0.0, 1.0, 1 / 3, -1e-9)] == ["0.5", "0", "1", "0.333", "0"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "--seeds: '' is not a number; allowed: seeds, such as 0-7,12"),
        ("1,,2", "--seeds: '' is not a number"),
        ("-1", "--seeds: '-1' is not a number"),
        ("1.5", "--seeds: '1.5' is not a number"),
        ("٣", "is not a number"),
        ("7-3", "--seeds 7-3: goes backwards; write 3-7"),
        ("9223372036854775808", "a seed is at most 9223372036854775807"),
        ("0-999999999999", "more than 100000 seeds; give fewer"),
    ],
)
def test_what_is_no_list_of_seeds(text: str, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        parse_seeds(text)


def test_what_is_no_layer_and_no_value() -> None:
    with pytest.raises(UserError, match="--layers 2-9: there is no layer 9; allowed: 0 to 3"):
        parse_layers("2-9", 4)
    for text in ("x", "nan", "inf", "3", "", "0;1"):
        with pytest.raises(UserError, match=r"--psi.*: allowed: numbers from -2 to 2, with commas"):
            parse_values(text, "--psi", -2, 2)

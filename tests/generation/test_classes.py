"""Classes as people write them."""

from __future__ import annotations

import re

import pytest

from pipeline.errors import UserError
from pipeline.generation.classes import parse_classes

NAMES = ("cat", "dog", "red-fox", "owl", "7")


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("0,3-4", (0, 3, 4)),
        ("dog", (1,)),
        (" owl , 0 ,red-fox", (3, 0, 2)),
        ("2-2", (2,)),
        ("1,1", (1, 1)),
    ],
)
def test_numbers_ranges_and_names(text: str, numbers: tuple[int, ...]) -> None:
    assert parse_classes(text, NAMES, 5) == numbers


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("5", "--classes 5: there is no class 5; allowed: 0 to 4"),
        ("7", "--classes 7: there is no class 7; allowed: 0 to 4"),
        ("3-9", "--classes 3-9: there is no class 9; allowed: 0 to 4"),
        ("4-2", "--classes 4-2: goes backwards; write 2-4"),
        ("dgo", "unknown class 'dgo'; allowed: 0 to 4, ranges such as 0-4, or names: cat, dog"),
        ("dgo", "did you mean dog?"),
        ("1,,2", "unknown class ''"),
        ("-1", "unknown class '-1'"),
        ("", "unknown class ''"),
    ],
)
def test_mistakes_are_answered_with_what_is_allowed(text: str, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        parse_classes(text, NAMES, 5)


def test_a_generator_without_classes() -> None:
    with pytest.raises(UserError, match="was trained without classes; leave it out"):
        parse_classes("0", (), 0)


def test_classes_without_names() -> None:
    with pytest.raises(UserError, match=r"unknown class 'cat'; allowed: 0 to 9$"):
        parse_classes("cat", (), 10)

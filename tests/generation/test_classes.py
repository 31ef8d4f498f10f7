"""Classes as people write them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.generation.classes import Classes, classes_like, parse_classes
from tests.evaluation.worlds import write_shards

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
    assert parse_classes(text, NAMES, 5) == Classes(numbers)


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


def test_all_of_them_and_weights() -> None:
    assert parse_classes("all", NAMES, 5) == Classes((0, 1, 2, 3, 4))
    assert parse_classes("all", ("all", "none"), 2) == Classes((0,))
    assert parse_classes("cat:3,2-3:.5", NAMES, 5) == Classes((0, 2, 3), (3.0, 0.5, 0.5))
    assert parse_classes("a:1", ("a:1", "b"), 2) == Classes((0,))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cat:3,dog", "some have a weight and some have none"),
        ("cat:3,0:1", "names a class twice"),
        ("cat:0", "a weight must be a number above 0"),
        ("cat:nan", "a weight must be a number above 0"),
        ("cat:x", "unknown class 'cat:x'"),
    ],
)
def test_weights_that_cannot_be(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_classes(text, NAMES, 5)


def test_as_often_as_other_shards_have_them(tmp_path: Path) -> None:
    index = write_shards(tmp_path / "a", 40, classes=("x", "y", "z"))
    labels = [number * number % 3 for number in range(40)]  # as write_shards gives them: never 2
    assert classes_like(index, index.classes, 3) == Classes((0, 1), (labels.count(0), labels.count(1)))
    with pytest.raises(UserError, match="its classes are not the generator's"):
        classes_like(index, ("x", "y", "w"), 3)
    with pytest.raises(UserError, match="its images have no classes"):
        classes_like(write_shards(tmp_path / "b", 2), index.classes, 3)

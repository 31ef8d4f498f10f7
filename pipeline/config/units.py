"""Numbers as people write them: "25M" images, "2h" of time."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PlainValidator

_COUNT = {"": 1, "k": 1_000, "m": 1_000_000, "g": 1_000_000_000}
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def parse_count(value: object) -> object:
    """`"25M"` -> 25_000_000; whole numbers pass; anything else is a ValueError."""
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kKmMgG]?)\s*", value)
        if not match:
            raise ValueError("not a count; allowed: a whole number or one with k, M or G, such as 25M")
        value = round(float(match[1]) * _COUNT[match[2].lower()], 6)
    if isinstance(value, float):
        if not value.is_integer():
            raise ValueError("not a whole number of images")
        return int(value)
    return value


def parse_seconds(value: object) -> object:
    """`"2h"` -> 7200.0 seconds; numbers are seconds; `"1h30m"` adds up."""
    if isinstance(value, str):
        if not re.fullmatch(r"\s*(\d+(?:\.\d+)?\s*[smhdSMHD]\s*)+", value):
            raise ValueError(
                "not a time; allowed: seconds, or numbers with s, m, h or d, such as 2h or 1h30m"
            )
        parts = re.findall(r"(\d+(?:\.\d+)?)\s*([smhd])", value.lower())
        return sum(float(number) * _SECONDS[unit] for number, unit in parts)
    return value


def parse_count_or_auto(value: object) -> object:
    """`"auto"`, or a count of at least one; anything else is a ValueError."""
    if value == "auto":
        return value
    try:
        count = parse_count(value)
    except ValueError:
        count = None
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ValueError("must be a whole number greater than 0, null or auto")
    return count


Count = Annotated[int, BeforeValidator(parse_count), Field(ge=0)]
PositiveCount = Annotated[int, BeforeValidator(parse_count), Field(gt=0)]
CountOrAuto = Annotated[int | Literal["auto"], PlainValidator(parse_count_or_auto)]
Seconds = Annotated[float, BeforeValidator(parse_seconds), Field(gt=0)]

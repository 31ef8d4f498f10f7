"""Texts beside pictures, as the field `text` of a data set."""

from __future__ import annotations

from pipeline.contracts import Field

MOST_CAPTION_BYTES = 1 << 16
"""Of UTF-8; a picture with a longer text is left out and named."""


def caption_field(longest: int) -> Field:
    """The field that holds texts of at most so many bytes."""
    return Field("text", "text", (min(max(longest, 1), MOST_CAPTION_BYTES),))

"""Which batches take statistics over groups of images."""

from __future__ import annotations

from pipeline.errors import UserError


def check_groups(key: str, group: int, images: int) -> None:
    """UserError, about the config's `key`, unless the images that a rank holds at once are whole groups: only
    then has each group the same members on any number of ranks and in any micro-batches."""
    if images % group:
        raise UserError(
            f"{key}: {group} does not divide the {images} images that a process holds at once (a batch over "
            "processes, or batch.micro); allowed: a divisor of them"
        )

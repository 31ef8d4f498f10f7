"""The check that batches consist of whole groups, for statistics over groups of images."""

from __future__ import annotations

from pipeline.errors import UserError


def check_groups(key: str, group: int, images: int) -> None:
    """Raises UserError about the setting `key` unless the images that a rank holds at once form whole groups.

    Only then does each group have the same members for any number of ranks and any split into micro-batches.
    """
    if images % group:
        raise UserError(
            f"{key}: {group} does not divide the {images} images that a process holds at once (a batch over "
            "processes, or batch.micro); allowed: a divisor of them"
        )

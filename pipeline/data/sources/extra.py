"""Libraries of the extra `sources`, which only some kinds of sources need."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from pipeline.errors import UserError


def needed(library: str, source: str) -> Any:
    """The module of a library; UserError with the command that installs it, if it is missing. source: what is
    to be read with it, for the error."""
    try:
        return import_module(library)
    except ImportError as error:
        raise UserError(
            f"{source}: reading it needs {library}, which is not installed; pip install 'hrgan[sources]'"
        ) from error

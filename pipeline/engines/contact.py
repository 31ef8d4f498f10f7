"""Turns the error that a process group raises when another process is gone into a failure with a reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from textwrap import shorten

import torch.distributed as dist

from pipeline.contracts import Process
from pipeline.errors import RunFailed


def lost_contact(error: RuntimeError) -> bool:
    """Returns whether a process group raises this error when another process is gone."""
    if isinstance(error, RunFailed):
        return False  # says itself what happened
    text = str(error)
    return isinstance(error, dist.DistError) or "gloo" in text.lower() or "connection closed" in text.lower()


@contextmanager
def contact(process: Process, explain: Callable[[str], str]) -> Iterator[None]:
    """Raises RunFailed if an exchange inside fails because another process is gone.

    explain: returns the line for the user, given a short form of the group's own error. It may wait for a
    heartbeat to name the lost process.
    """
    try:
        yield
    except RuntimeError as error:
        if process.world_size == 1 or not lost_contact(error):
            raise
        raise RunFailed(explain(shorten(str(error), 120, placeholder=" ..."))) from error

"""What a process group raises when another process is gone, as a failure with a reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from textwrap import shorten

import torch.distributed as dist

from pipeline.contracts import Process
from pipeline.errors import RunFailed


def lost_contact(error: RuntimeError) -> bool:
    """True for what a process group raises when another process is gone."""
    if isinstance(error, RunFailed):
        return False  # says itself what happened
    text = str(error)
    return isinstance(error, dist.DistError) or "gloo" in text.lower() or "connection closed" in text.lower()


@contextmanager
def contact(process: Process, explain: Callable[[str], str]) -> Iterator[None]:
    """RunFailed where an exchange in the block fails because another process is gone.

    explain: the line for people, from the group's own error in short. It may wait for a heartbeat to name the
    process that is lost.
    """
    try:
        yield
    except RuntimeError as error:
        if process.world_size == 1 or not lost_contact(error):
            raise
        raise RunFailed(explain(shorten(str(error), 120, placeholder=" ..."))) from error

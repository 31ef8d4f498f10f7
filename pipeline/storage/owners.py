"""Which process a file on disk belongs to, and whether that process is gone."""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from functools import cache
from pathlib import Path


@cache
def place() -> str:
    """A name for this machine and its process table, within which the number of a process means something."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.stat('/proc/self/ns/pid').st_ino}"
    return uuid.uuid4().hex  # a system that does not tell: nobody else is of our place


def is_gone(pid: int) -> bool:
    """Whether no process of this place has that number."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except OSError:
        pass  # another user's
    return False

"""Steps of a check that end in every way.

In a file of their own: each runs in a process that imports it anew, within a limit of seconds, which pytest
alone would take on a busy machine.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

from tools.gpu_check.step import LeftOut, figure


def quick(conditions):
    yield figure("seven", conditions.sizes.get("number", 7), "things")


def hanging(conditions):
    """One figure, then a child that outlives everything unless its session is killed."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield figure("child", child.pid, "")
    time.sleep(600)


def failing(conditions):
    yield figure("before", 1, "")
    raise ArithmeticError("not finite\nand more")


def lacking(conditions):
    raise LeftOut("no such program")
    yield


def dying(conditions):
    yield figure("before", 1, "")
    os._exit(9)


def slow(conditions):
    time.sleep(1.5)
    yield figure("slept", 1.5, "s")

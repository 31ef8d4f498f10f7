"""`pytest --quick`: of every file the first tests, as far as their share of processor time reaches.

Which tests that are follows from their order in files and from how long they take here and now: there is no
list to keep. Rooms take turns, so that each has its say before the time of all is up.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable
from itertools import zip_longest
from pathlib import Path

import pytest

REASON = "quick: left for make test"
FIRST = 4
"""Tests of a file that are looked at, one case of each."""
SHARE = 0.4
"""Seconds of a processor after which a file's next test is left out."""
TOTAL = 30.0
"""Seconds of a processor after which a worker begins no other file."""
LONG = ("distributed", "packaging", "restart", "slurm", "stored")
"""Folders whose tests start whole runs, in processes of their own."""


class Quick:
    """The plugin of one worker. tests: the folder of all tests, whose folders are called as rooms."""

    def __init__(self, tests: Path) -> None:
        self._tests = tests
        self._spent: defaultdict[Path, float] = defaultdict(float)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Leaves out what takes long by its mark or folder, and lets the rooms take turns."""
        kept = in_turns(first([item for item in items if not self._is_long(item)]), self._room)
        names = {item.nodeid for item in kept}
        config.hook.pytest_deselected(items=[item for item in items if item.nodeid not in names])
        items[:] = kept

    def _is_long(self, item: pytest.Item) -> bool:
        marked = any(item.get_closest_marker(name) for name in ("slow", "gpu"))
        return marked or self._room(item) in LONG

    def _room(self, item: pytest.Item) -> str:
        return item.path.relative_to(self._tests).parts[0] if item.path.is_relative_to(self._tests) else ""

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Before any fixture is made."""
        if self._spent[item.path] >= SHARE or (
            not self._spent[item.path] and sum(self._spent.values()) >= TOTAL
        ):
            pytest.skip(REASON)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Counts a test's seconds, with those of its fixtures, as its file's."""
        before = processor_seconds()
        try:
            return (yield)
        finally:
            self._spent[item.path] += processor_seconds() - before


def first(items: Iterable[pytest.Item]) -> list[pytest.Item]:
    """One case of each of the first tests of each file."""
    names: dict[Path, list[str]] = defaultdict(list)
    kept = []
    for item in items:
        name, known = item.nodeid.partition("[")[0], names[item.path]
        if name not in known and len(known) < FIRST:
            known.append(name)
            kept.append(item)
    return kept


def in_turns(items: Iterable[pytest.Item], room: Callable[[pytest.Item], str]) -> list[pytest.Item]:
    """The first file of each room, then the second of each; tests of a file stay together, in their order."""
    files: dict[Path, list[pytest.Item]] = defaultdict(list)
    rooms: dict[str, list[Path]] = defaultdict(list)
    for item in items:
        if item.path not in files:
            rooms[room(item)].append(item.path)
        files[item.path].append(item)
    turns = zip_longest(*rooms.values())
    return [item for turn in turns for path in turn if path is not None for item in files[path]]


def processor_seconds() -> float:
    """That this process and its finished children have taken so far."""
    return sum(os.times()[:4])

"""A model of what a power loss leaves of a folder: its changes are replayed as the kernel and as the disk see
them.

The content of a file reaches the disk when the file is fsynced, and a name when its folder is: POSIX promises
no more.
"""

from __future__ import annotations

import random
import shutil
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

_HEAD = struct.Struct("<cQqII")

Model = Literal["promised", "names", "torn"]
"""promised: nothing but what was fsynced. names: all names, as a journal may have them, with the contents
that were fsynced. torn: names, and of each file's later writes those up to a random one, which is cut."""
MODELS: tuple[Model, ...] = ("promised", "names", "torn")


@dataclass(frozen=True)
class Change:
    """what: c(reate), m(kdir), w(rite) at `number`, t(runcate) to it, f(sync), r(ename), l(ink), u(nlink).
    first: the path. second: the new one, or what is written."""

    what: str
    inode: int
    number: int
    first: bytes
    second: bytes


@dataclass(eq=False)
class _File:
    now: bytearray = field(default_factory=bytearray)
    durable: bytes = b""
    since: list[tuple[int, bytes]] = field(default_factory=list)  # writes; a cut to n bytes is (-1 - n, b"")


@dataclass(eq=False)
class _Folder:
    now: dict[str, _Node] = field(default_factory=dict)
    durable: dict[str, _Node] = field(default_factory=dict)


_Node = _File | _Folder


class Disk:
    """The folder `root` as it was when this was made, all of it durable; then what `replay` makes of it."""

    def __init__(self, root: Path) -> None:
        self._root, self._top = root, _Folder()
        self._inodes: dict[int, _Node] = {}
        self._read(root, self._top)

    def _read(self, path: Path, folder: _Folder) -> None:
        self._inodes[path.stat().st_ino] = folder
        for entry in path.iterdir():
            node: _Node = _Folder() if entry.is_dir() else _File()
            folder.now[entry.name] = node
            if isinstance(node, _Folder):
                self._read(entry, node)
            else:
                node.durable = entry.read_bytes()
                node.now[:] = node.durable
                self._inodes[entry.stat().st_ino] = node
        folder.durable = dict(folder.now)

    def replay(self, changes: Iterable[Change]) -> None:
        """Applies the changes."""
        for change in changes:
            path = change.first.decode()
            if change.what == "c":
                self._bind(path, change.inode, _File())
            elif change.what == "m":
                self._bind(path, change.inode, _Folder())
            elif change.what in "wtf":
                self._change(change, self._known(path, change.inode))
            else:
                if change.inode in self._inodes:  # it may have come to its name unseen
                    self._known(path, change.inode)
                self._rename(change.what, path, change.second.decode())

    def _bind(self, path: str, inode: int, node: _Node) -> None:
        self._inodes[inode] = node
        folder, name = self._place(path)
        folder.now[name] = node

    def _known(self, path: str, inode: int) -> _Node:
        node = self._inodes[inode]
        if node is not self._top and not path.endswith(" (deleted)"):
            folder, name = self._place(path)
            if folder.now.get(name) is not node:  # renamed by a call that the shim does not see
                for old in [key for key, other in folder.now.items() if other is node]:
                    del folder.now[old]
                folder.now[name] = node
        return node

    @staticmethod
    def _change(change: Change, node: _Node) -> None:
        if isinstance(node, _Folder):
            node.durable = dict(node.now)
        elif change.what == "f":
            node.durable, node.since = bytes(node.now), []
        else:
            part = (change.number, change.second) if change.what == "w" else (-1 - change.number, b"")
            node.since.append(part)
            _apply(node.now, part)

    def _rename(self, what: str, first: str, second: str) -> None:
        folder, name = self._place(first)
        if what == "u":
            folder.now.pop(name, None)
            return
        node = folder.now[name] if what == "l" else folder.now.pop(name)
        target, new = self._place(second)
        target.now[new] = node

    def _place(self, path: str) -> tuple[_Folder, str]:
        *folders, name = Path(path).relative_to(self._root).parts
        node: _Node = self._top
        for part in folders:
            assert isinstance(node, _Folder)
            node = node.now[part]
        assert isinstance(node, _Folder)
        return node, name

    def left(self, model: Model | None, chance: random.Random) -> dict[Path, bytes | None]:
        """Returns what a power loss now would leave, by path below the root, with None for a folder; without
        a model, what programs see now."""
        return dict(_left(self._top, Path(), model, chance))

    def lose_power(self, model: Model, chance: random.Random) -> None:
        """Makes the real folder what `model` leaves of it."""
        for path in self._root.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        for name, content in self.left(model, chance).items():
            path = self._root / name
            path.mkdir() if content is None else path.write_bytes(content)


def _left(
    folder: _Folder, path: Path, model: Model | None, chance: random.Random
) -> Iterator[tuple[Path, bytes | None]]:
    for name, node in (folder.durable if model == "promised" else folder.now).items():
        if isinstance(node, _Folder):
            yield path / name, None
            yield from _left(node, path / name, model, chance)
        else:
            yield path / name, _content(node, model, chance)


def _apply(data: bytearray, change: tuple[int, bytes]) -> None:
    at, new = change
    if at < 0:
        size = -1 - at
        del data[size:]
        data.extend(bytes(size - len(data)))
        return
    data.extend(bytes(max(at - len(data), 0)))
    data[at : at + len(new)] = new


def _content(file: _File, model: Model | None, chance: random.Random) -> bytes:
    if model is None:
        return bytes(file.now)
    return _cut(file, chance) if model == "torn" else file.durable


def _cut(file: _File, chance: random.Random) -> bytes:
    data = bytearray(file.durable)
    reached = chance.randint(0, len(file.since))
    for change in file.since[:reached]:
        _apply(data, change)
    if reached < len(file.since) and file.since[reached][0] >= 0:
        at, new = file.since[reached]
        _apply(data, (at, new[: chance.randint(0, len(new))]))
    return bytes(data)


def read_log(log: Path) -> list[Change]:
    """Returns the changes that a shim has recorded."""
    data, at, changes = log.read_bytes(), 0, []
    while at < len(data):
        what, inode, number, first, second = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        texts = data[at : at + first], data[at + first : at + first + second]
        changes.append(Change(what.decode(), inode, number, *texts))
        at += first + second
    return changes

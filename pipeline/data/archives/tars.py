"""The headers of tar archives, read forwards: every size is held against the file before it is used.

POSIX ustar and pax, GNU's long names and large numbers. Sparse files and links are told, not followed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

BLOCK = 512
_READ_AHEAD = 4096
_MOST_RECORD_BYTES = 1 << 20  # of what is said of the next member
_GNU_NAME, _GNU_LINK, _SPARSE, _PAX, _PAX_GLOBAL = b"L", b"K", b"S", b"x", b"g"
_REGULAR = frozenset((b"0", b"\0", b"7"))
_WITHOUT_DATA = frozenset((b"1", b"2", b"3", b"4", b"5", b"6"))  # whatever size their headers state
_FOLDER = b"5"
_OCTAL = re.compile(rb"[0-7]+")
_PAX_RECORD = re.compile(rb"([1-9][0-9]{0,6}) ([^=\n]+)=")


class BadTar(Exception):
    """An archive that cannot be read on; the message says why, as in "the archive ..."."""


class Header(NamedTuple):
    """A header of 512 bytes that stands at byte `at`. Its data are the bytes [start, start + size). The next
    header stands at `stop`, which always lies behind `at` and inside the file."""

    name: str
    kind: bytes
    at: int
    start: int
    size: int
    stop: int

    @property
    def regular(self) -> bool:
        """Whether it is a plain file."""
        return self.kind in _REGULAR and not (self.kind == b"\0" and self.name.endswith("/"))

    @property
    def folder(self) -> bool:
        """Whether it is a folder."""
        return self.kind == _FOLDER or (self.kind == b"\0" and self.name.endswith("/"))


def is_tar(path: Path) -> bool:
    """Whether a file begins as a tar archive does: with a header, or with its end mark if it is empty."""
    with path.open("rb") as file:
        block = file.read(BLOCK)
        return len(block) == BLOCK and (not block.strip(b"\0") or _checksum_fits(block))


def members(descriptor: int, size: int) -> Iterator[Header]:
    """The members of an archive of `size` bytes, under the names and sizes that pax and GNU records give
    them; sparse ones have the kind b"S". Errors: BadTar where the archive is damaged, after what comes
    before."""
    blocks, at = _Blocks(descriptor, size), 0
    name: str | None = None
    length: int | None = None
    sparse = False
    while (header := blocks.header(at, length)) is not None:
        at = header.stop
        if header.kind == _GNU_NAME:
            name = blocks.data(header).split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
        elif header.kind == _PAX:
            records = _pax_records(blocks.data(header))
            name = records.get("path", name)
            length = _decimal(records["size"]) if "size" in records else length
            sparse = sparse or any(key.startswith("GNU.sparse.") for key in records)
        elif header.kind not in (_GNU_LINK, _PAX_GLOBAL):
            yield header._replace(name=name or header.name, kind=_SPARSE if sparse else header.kind)
            name, length, sparse = None, None, False


def headers(descriptor: int, size: int) -> Iterator[Header]:
    """Each header of a file of `size` bytes, as it is written, up to the end mark. Errors: as `members`."""
    blocks, at = _Blocks(descriptor, size), 0
    while (header := blocks.header(at)) is not None:
        yield header
        at = header.stop


class _Blocks:
    """The blocks of a file of `size` bytes, read a few at a time."""

    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor, self._size = descriptor, size
        self._buffer, self._at = b"", 0

    def header(self, at: int, length: int | None = None) -> Header | None:
        """The header at a byte; None for the end mark. length: of its data, if a record before it has said
        so."""
        block = self._block(at)
        if not block.strip(b"\0"):
            return None
        if not _checksum_fits(block):
            raise BadTar("has a damaged member header")
        header = parse(block, at, length)
        if header.kind == _SPARSE and block[482]:
            header = self._behind_map(header)
        if header.stop > self._size:
            raise BadTar(f"is cut short at byte {self._size}, inside member {header.name!r:.80}")
        return header

    def data(self, header: Header) -> bytes:
        """The text of a record about the next member."""
        if header.size > _MOST_RECORD_BYTES:
            raise BadTar(f"has a name or record of {header.size} bytes")
        return os.pread(self._descriptor, header.size, header.start)

    def _block(self, at: int) -> bytes:
        if not self._at <= at <= self._at + len(self._buffer) - BLOCK:
            self._buffer, self._at = os.pread(self._descriptor, _READ_AHEAD, at), at
        block = self._buffer[at - self._at : at - self._at + BLOCK]
        if len(block) < BLOCK:
            raise BadTar(f"is cut short at byte {self._size} without the end mark of an archive")
        return block

    def _behind_map(self, header: Header) -> Header:
        """The header of an old sparse file, whose map goes on in blocks before the data."""
        start = header.start
        while self._block(start)[504]:
            start += BLOCK
        moved = start + BLOCK - header.start
        return header._replace(start=header.start + moved, stop=header.stop + moved)


def parse(block: bytes, at: int = 0, length: int | None = None) -> Header:
    """A header of 512 bytes that stands at byte `at`; its checksum is not looked at. BadTar if it is none."""
    name = block[:100].split(b"\0", 1)[0]
    if block[257:263] == b"ustar\0" and block[345]:
        name = block[345:500].split(b"\0", 1)[0] + b"/" + name
    kind = block[156:157]
    size = _number(block[124:136]) if length is None else length
    start = at + BLOCK
    # What is stated for links and folders is no data that follows.
    held = 0 if kind in _WITHOUT_DATA else size
    stop = start + -(-held // BLOCK) * BLOCK
    return Header(name.decode("utf-8", "surrogateescape"), kind, at, start, size, stop)


def _number(field: bytes) -> int:
    """Octal digits or, for large numbers, base 256 after a byte 0x80. Never negative."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.split(b"\0", 1)[0].strip(b" ")
    # int() alone would also take signs, underscores and "0o".
    if not _OCTAL.fullmatch(digits):
        raise BadTar("has a header that is not a tar header")
    return int(digits, 8)


def _checksum_fits(block: bytes) -> bool:
    """Whether the checksum is right (POSIX: the sum of all bytes, with blanks in place of the checksum; some
    old programs add signed bytes)."""
    try:
        stored = _number(block[148:156])
    except BadTar:
        return False
    rest = block[:148] + block[156:]
    total = sum(rest) + 8 * ord(" ")
    return stored == total or stored == total - 256 * sum(byte >> 7 for byte in rest)


def _pax_records(data: bytes) -> dict[str, str]:
    """Records of the form b"LENGTH KEY=VALUE\\n", whose length counts all of it."""
    records, at = {}, 0
    while at < len(data):
        head = _PAX_RECORD.match(data, at)
        end = at + int(head[1]) if head else 0
        if head is None or end < head.end() + 1 or data[end - 1 : end] != b"\n":
            raise BadTar("has a damaged pax record")
        value = data[head.end() : end - 1]
        records[head[2].decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
        at = end
    return records


def _decimal(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise BadTar(f"has a pax record with the size {text!r:.40}")
    return int(text)

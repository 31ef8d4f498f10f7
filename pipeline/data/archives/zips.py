"""Zip archives by their directory, whose every offset and size is held against the file before it is used.

Python's own reader gives up a whole archive for one odd entry; here it is that entry which cannot be read.
Field names and layouts: APPNOTE.TXT 6.3.10, 4.3 to 4.5.
"""

from __future__ import annotations

import bz2
import lzma
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

_END, _ENTRY, _LOCAL = b"PK\5\6", b"PK\1\2", b"PK\3\4"
_END64, _LOCATOR64 = b"PK\6\6", b"PK\6\7"
_MOST_COMMENT, _MOST_DIRECTORY = 0xFFFF, 1 << 30
_ENCRYPTED, _UTF8, _MASKED = 0x1, 0x800, 0x2000
_METHODS = {0: "stored", 8: "deflate", 12: "bzip2", 14: "LZMA"}
_MOST_WINDOW = 1 << 26  # bytes that LZMA may ask for
_PIECE, _MOST_UNPACKED = 1 << 16, 1 << 20  # bytes at a time


class BadZip(Exception):
    """An archive or an entry that cannot be read; the message says why, as in "it ..."."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file in an archive: its name, also as stored; its bytes, packed and not, as the directory states
    them; the place of its header. fault: why it cannot be read, "" if nothing speaks against it yet."""

    name: str
    stored_name: bytes
    method: int
    crc: int
    packed: int
    size: int
    at: int
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Directory:
    """The entries of an archive, up to where it is damaged: then `fault` says how."""

    entries: list[Entry]
    fault: str = ""


def is_zip(path: Path) -> bool:
    """Whether a file begins as a zip archive does or, behind a program that unpacks it, ends as one."""
    with path.open("rb") as file:
        return file.read(2) == b"PK" or _END in _tail(file)


def read_directory(path: Path) -> Directory:
    """The directory at the end of an archive. BadZip if there is none that can be used."""
    with path.open("rb") as file:
        end = _find_end(file)
        if end is None:
            raise BadZip("is cut short or damaged: it has no directory at its end")
        length, offset, behind = end
        begin = behind - length
        if length > _MOST_DIRECTORY or not 0 <= offset <= begin:
            raise BadZip("has a directory that is not where it says")
        data = _read(file, begin, length)
    entries: list[Entry] = []
    fault = ""
    try:
        # What stands before the first file, such as a program that unpacks it, moves all offsets.
        entries.extend(_entries(data, moved=begin - offset, limit=begin))
    except BadZip as error:
        fault = str(error)
    return Directory(_apart(entries), fault)


def read_entry(path: Path, entry: Entry, most: int) -> bytes:
    """The file of an entry, whole: as long as stated, with its checksum. BadZip if not, or if it is longer
    than `most` bytes."""
    if entry.size > most:
        raise BadZip(f"is {entry.size} bytes long; at most {most} are allowed")
    data = _contents(path, entry)
    if len(data) != entry.size or zlib.crc32(data) != entry.crc:
        raise BadZip("is damaged: its checksum or length is not as the archive's directory says")
    return data


def read_start(path: Path, entry: Entry, count: int) -> bytes:
    """At most `count` of the file's first bytes, whatever its checksum says. BadZip if they cannot be had."""
    return _contents(path, replace(entry, size=min(entry.size, count)))[:count]


def _contents(path: Path, entry: Entry) -> bytes:
    """The file of an entry, or one byte more than its size if it is longer; its checksum is not looked at."""
    if entry.fault:
        raise BadZip(entry.fault)
    with path.open("rb") as file:
        header = _read(file, entry.at, 30)
        name, extra = struct.unpack("<HH", header[26:30])
        if header[:4] != _LOCAL or _read(file, entry.at + 30, name) != entry.stored_name:
            raise BadZip("is not where the archive's directory says")
        file.seek(entry.at + 30 + name + extra)
        try:
            return b"".join(_unpacked(file, entry))
        except (zlib.error, lzma.LZMAError, EOFError, OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno:  # bz2's own, of damaged data, has no number
                raise
            raise BadZip(f"is damaged ({error})") from error


def _tail(file: BinaryIO) -> bytes:
    size = os.fstat(file.fileno()).st_size
    length = min(size, 22 + _MOST_COMMENT)
    return _read(file, size - length, length)


def _read(file: BinaryIO, at: int, length: int) -> bytes:
    file.seek(at)
    return _exactly(file, length)


def _find_end(file: BinaryIO) -> tuple[int, int, int] | None:
    """(length of the directory, its offset as stated, the byte behind it), None if the file is no zip."""
    tail = _tail(file)
    at = tail.rfind(_END)
    while at >= 0 and (
        at + 22 > len(tail) or at + 22 + int.from_bytes(tail[at + 20 : at + 22], "little") > len(tail)
    ):
        at = tail.rfind(_END, 0, at)
    if at < 0:
        return None
    disk, first, _, _, length, offset = struct.unpack("<HHHHII", tail[at + 4 : at + 20])
    end = os.fstat(file.fileno()).st_size - len(tail) + at
    wide = _find_end64(file, end)
    if wide is not None:
        return wide
    if disk or first:
        raise BadZip("is one part of several; join them first")
    return length, offset, end


def _find_end64(file: BinaryIO, end: int) -> tuple[int, int, int] | None:
    if end < 76 or (locator := _read(file, end - 20, 20))[:4] != _LOCATOR64:
        return None
    _, stated, disks = struct.unpack("<IQI", locator[4:])
    if disks > 1:
        raise BadZip("is one part of several; join them first")
    # The record may have moved with the offsets; without extensions it stands before its locator.
    for at in (end - 76, stated):
        if 0 <= at <= end - 76 and (record := _read(file, at, 56))[:4] == _END64:
            length, offset = struct.unpack("<QQ", record[40:56])
            return length, offset, at
    raise BadZip("has a directory that is not where it says")


def _entries(data: bytes, *, moved: int, limit: int) -> Iterator[Entry]:
    """The entries of a directory whose files lie before byte `limit`."""
    at = 0
    while at < len(data):
        if data[at : at + 4] != _ENTRY or at + 46 > len(data):
            raise BadZip(f"has a damaged directory, at its byte {at}")
        fields = struct.unpack("<HHHHHHIIIHHHHHII", data[at + 4 : at + 46])
        _, _, flags, method, _, _, crc, packed, size, named, extra, comment, disk, _, _, offset = fields
        name = data[at + 46 : at + 46 + named]
        more = data[at + 46 + named : at + 46 + named + extra]
        at += 46 + named + extra + comment
        if at > len(data):
            raise BadZip("has a directory that ends inside an entry")
        size, packed, offset = _wide(more, size, packed, offset)
        start = offset + moved
        fault = _fault(flags, method, disk)
        if not fault and start + 30 + named + packed > limit:
            fault = "is not where the archive's directory says"
        yield Entry(_text(name, flags), name, method, crc, packed, size, start, fault)


def _fault(flags: int, method: int, disk: int) -> str:
    if flags & (_ENCRYPTED | _MASKED):
        return "is encrypted"
    if disk not in (0, 0xFFFF):
        return "is in another part of the archive"
    if method not in _METHODS:
        return f"is packed by method {method}; allowed: {', '.join(_METHODS.values())}"
    return ""


def _wide(extra: bytes, *fields: int) -> list[int]:
    """Size, packed size and offset, from the zip64 record where 32 bits do not hold them."""
    values, at = list(fields), 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack("<HH", extra[at : at + 4])
        if kind == 1:
            record = extra[at + 4 : at + 4 + length]
            numbers = iter(struct.iter_unpack("<Q", record[: len(record) // 8 * 8]))
            return [next(numbers, (v,))[0] if v == 0xFFFFFFFF else v for v in values]
        at += 4 + length
    return values


def _text(name: bytes, flags: int) -> str:
    """A name with "/" between folders, as Windows does not always write it; odd bytes stay visible."""
    text = name.replace(b"\\", b"/").decode("utf-8" if flags & _UTF8 else "cp437", "backslashreplace")
    return text.split("\0", 1)[0]


def _apart(entries: list[Entry]) -> list[Entry]:
    """The entries; those that share bytes with the one before, as archives that unfold to terabytes do,
    cannot be read."""
    places = sorted(range(len(entries)), key=lambda n: entries[n].at)
    end = 0
    for number in places:
        entry = entries[number]
        if not entry.fault and entry.at < end:
            entries[number] = replace(entry, fault="overlaps another file of the archive")
        elif not entry.fault:
            end = entry.at + 30 + len(entry.stored_name) + entry.packed
    return entries


def _unpacked(file: BinaryIO, entry: Entry) -> Iterator[bytes]:
    """The file in pieces; never more than one byte beyond its stated size."""
    left, room = entry.packed, entry.size + 1
    if entry.method == 0:
        yield file.read(min(left, room))
        return
    unpacker = _unpacker(file, entry)
    rest = b""
    while room > 0 and not unpacker.eof:
        if not rest and getattr(unpacker, "needs_input", True):
            rest = file.read(min(left, _PIECE))
            left -= len(rest)
            if not rest:
                return
        data = unpacker.decompress(rest, min(room, _MOST_UNPACKED))
        rest = getattr(unpacker, "unconsumed_tail", b"")
        room -= len(data)
        yield data


def _unpacker(file: BinaryIO, entry: Entry) -> Any:
    if entry.method == 8:
        return zlib.decompressobj(-zlib.MAX_WBITS)
    if entry.method == 12:
        return bz2.BZ2Decompressor()
    # APPNOTE 5.8.8: version, length of the properties, then LZMA's own five bytes of them.
    _, length, packed, window = struct.unpack("<HHBI", _exactly(file, 9))
    if length != 5 or packed >= 9 * 5 * 5 or window > _MOST_WINDOW:
        raise BadZip(f"is packed by LZMA with a window of {window} bytes; at most {_MOST_WINDOW} are allowed")
    properties = {"dict_size": window, "lc": packed % 9, "lp": packed // 9 % 5, "pb": packed // 45}
    return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA1, **properties}])


def _exactly(file: BinaryIO, length: int) -> bytes:
    data = file.read(length)
    if len(data) < length:
        raise BadZip("is cut short")
    return data

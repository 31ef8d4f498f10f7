"""Tars, shards and zips whose headers lie: seeded, small, and each with the name of its kind."""

from __future__ import annotations

import functools
import io
import json
import random
import struct
import tarfile
import zipfile
import zlib

from tests.data.hostile_images import chunk

BLOCK = 512
Case = tuple[str, bytes]
# What a size may be said to be, in the 12 bytes of a header.
SIZES = {
    "-512": b"-00000001000",
    "-1024": b"-00000002000",
    "-1": b"-00000000001",
    "base 256 of -512": (-512).to_bytes(12, "big", signed=True),
    "base 256 of -1024": (-1024).to_bytes(12, "big", signed=True),
    "base 256 of 2^80": b"\x80" + (1 << 80).to_bytes(11, "big"),
    "base 256 of 2^62": b"\x80" + (1 << 62).to_bytes(11, "big"),
    "2^33": b"77777777777\0",
    "beyond the end": b"00000100000\0",
    "none": b"\0" * 12,
    "blanks": b" " * 12,
    "of Python": b"0o000000777\0",
    "with underscores": b"1_000_000_0\0",
    "with a sign": b"+0000000777\0",
    "no digits": b"size\0\0\0\0\0\0\0\0",
    "all bits": b"\xff" * 12,
}
PAX = {
    "size -512": {"size": "-512"},
    "size that points back": {"size": "-1536"},
    "size of 30 digits": {"size": "9" * 30},
    "size of 5000 digits": {"size": "9" * 5000},
    "size in words": {"size": "much"},
    "empty size": {"size": ""},
    "size 2^62": {"size": str(1 << 62)},
    "sparse": {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "s.png"},
    "sparse map": {"GNU.sparse.map": "0,-1,5,x", "GNU.sparse.size": "10"},
    "sparse blocks": {"GNU.sparse.numblocks": "99999999999", "GNU.sparse.offset": "-1"},
    "sparse size": {"GNU.sparse.size": "x", "GNU.sparse.realsize": "-5", "GNU.sparse.major": "z"},
    "odd charset": {"hdrcharset": "BINARY", "path": "a.png"},
    "time": {"mtime": "x" * 50, "uid": "-1", "gid": "9" * 400},
}


def png(number: int) -> bytes:
    """8 x 8 pixels of one colour."""
    rows = (b"\0" + bytes([number, 100, 200]) * 8) * 8
    header = struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def _tar(files: list[tuple[str, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


@functools.cache
def plain_tar() -> bytes:
    """Four pictures."""
    return _tar([(f"d/{number}.png", png(number)) for number in range(4)])


@functools.cache
def plain_shard() -> bytes:
    """Six samples of classes 0 to 5, each with the checksum that binds it."""
    files = []
    for n in range(6):
        checksum = zlib.crc32(png(n), zlib.crc32(f"{n}\0{n}\0".encode()))
        files += [(f"{n}.png", png(n)), (f"{n}.json", json.dumps({"crc32": checksum}).encode())]
        files.append((f"{n}.cls", str(n).encode()))
    return _tar(files)


@functools.cache
def _places(tar: bytes) -> list[int]:
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        return [member.offset for member in archive]


def with_header(tar: bytes, at: int, **fields: bytes) -> bytes:
    """The header at a byte with other fields and the checksum that belongs to them."""
    offsets = {"name": 0, "size": 124, "kind": 156, "extended": 482}
    header = bytearray(tar[at : at + BLOCK])
    for name, value in fields.items():
        header[offsets[name] : offsets[name] + len(value)] = value
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return tar[:at] + bytes(header) + tar[at + BLOCK :]


def pax(records: dict[str, str], *, length: int | None = None) -> bytes:
    """A pax record as tar blocks. length: what its first entry says of itself."""
    data = b""
    for key, value in records.items():
        body = f" {key}={value}\n".encode()
        size = len(body) + len(str(len(body) + 3))
        size = length if length is not None and not data else len(body) + len(str(size))
        data += str(size).encode() + body
    return _record(b"x", data)


def _record(kind: bytes, data: bytes, size: bytes | None = None) -> bytes:
    header = with_header(bytes(BLOCK), 0, name=b"././@", size=size or b"%011o\0" % len(data), kind=kind)
    return header + data + bytes(-len(data) % BLOCK)


def _size(tar: bytes, rng: random.Random) -> Case:
    name = rng.choice(list(SIZES))
    return f"size {name}", with_header(tar, rng.choice(_places(tar)), size=SIZES[name])


def _pax(tar: bytes, rng: random.Random) -> Case:
    name, at = rng.choice(list(PAX)), rng.choice(_places(tar))
    return f"pax {name}", tar[:at] + pax(PAX[name]) + tar[at:]


def _pax_length(tar: bytes, rng: random.Random) -> Case:
    at, length = rng.choice(_places(tar)), rng.choice((0, 1, 4, 999999, -20, 10**15))
    return "length of a pax record", tar[:at] + pax({"path": "x.png"}, length=length) + tar[at:]


def _gnu(tar: bytes, rng: random.Random) -> Case:
    kind, size = rng.choice((b"L", b"K", b"x", b"g", b"S", b"V")), rng.choice(list(SIZES))
    at = rng.choice(_places(tar))
    return f"{kind.decode()} of size {size}", tar[:at] + _record(kind, b"n" * 99, SIZES[size]) + tar[at:]


def _chain(tar: bytes, rng: random.Random) -> Case:
    at, kind = rng.choice(_places(tar)), rng.choice((b"L", b"x"))
    one = _record(kind, b"n" * 200 if kind == b"L" else b"10 path=a\n")
    return f"chain of {kind.decode()}", tar[:at] + one * 3000 + tar[at:]


def _kind(tar: bytes, rng: random.Random) -> Case:
    kind = rng.choice((b"S", b"D", b"M", b"1", b"2", b"3", b"5", b"6", b"7", b"\xff", b"N", b"X"))
    extended = {"extended": b"\1"} if rng.random() < 0.5 else {}
    return f"kind {kind!r}", with_header(tar, rng.choice(_places(tar)), kind=kind, **extended)


def _name(tar: bytes, rng: random.Random) -> Case:
    name = rng.choice((b"\xff\xfe.png\0", b"\x1b[2J.png\0", b"a\nb.png\0", b"\0", b"x" * 100))
    return "name", with_header(tar, rng.choice(_places(tar)), name=name)


def _bytes(tar: bytes, rng: random.Random) -> Case:
    at, changed = rng.choice(_places(tar)), bytearray(tar)
    for _ in range(rng.randrange(1, 6)):
        changed[at + rng.randrange(BLOCK)] = rng.randrange(256)
    spoilt = bytes(changed)
    return "bytes of a header", with_header(spoilt, at) if rng.random() < 0.7 else spoilt


def _cut(tar: bytes, rng: random.Random) -> Case:
    return "cut", tar[: rng.randrange(len(tar.rstrip(b"\0")))]


_TAR_KINDS = (_size, _size, _pax, _pax_length, _gnu, _chain, _kind, _name, _bytes, _bytes, _cut)


def tars(seed: int, count: int) -> list[Case]:
    """Archives as people have them."""
    return _made(plain_tar(), _TAR_KINDS, seed, count)


def shards(seed: int, count: int) -> list[Case]:
    """Shards of six samples."""
    return _made(plain_shard(), _TAR_KINDS, seed, count)


def _made(whole, kinds, seed: int, count: int) -> list[Case]:
    return [kinds[n % len(kinds)](whole, random.Random(f"{seed}-{n}")) for n in range(count)]


@functools.cache
def plain_zip() -> bytes:
    """Four pictures, stored and deflated in turn."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(4):
            archive.writestr(f"d/{number}.png", png(number), 8 * (number % 2))
    return buffer.getvalue()


# Fields by their place and width in a header: of the directory's entries, of files, of the end.
ENTRY = {"made by": (4, 2), "version": (6, 2), "flags": (8, 2), "method": (10, 2), "checksum": (16, 4),
         "packed": (20, 4), "size": (24, 4), "name length": (28, 2), "extra length": (30, 2),
         "comment length": (32, 2), "disk": (34, 2), "offset": (42, 4)}  # fmt: skip
LOCAL = {"local version": (4, 2), "local flags": (6, 2), "local method": (8, 2), "local name length": (26, 2),
         "local extra length": (28, 2)}  # fmt: skip
END = {"disks": (4, 2), "first disk": (6, 2), "entries": (10, 2), "directory length": (12, 4),
       "directory offset": (16, 4), "comment": (20, 2)}  # fmt: skip
_VALUES = {2: (0, 1, 9, 12, 14, 64, 93, 99, 255, 2048, 8192, 0xFFFF), 4: (0, 1, 100, 2**30, 2**31, 2**32 - 1)}


def _find(data: bytes, mark: bytes, number: int = 0) -> int:
    at = -1
    for _ in range(number + 1):
        at = data.index(mark, at + 1)
    return at


def with_field(data: bytes, name: str, value: int, number: int = 1) -> bytes:
    """The zip with one field of its entry, file or end changed. number: of the entry or file."""
    for mark, fields in ((b"PK\1\2", ENTRY), (b"PK\3\4", LOCAL), (b"PK\5\6", END)):
        if name in fields:
            place, width = fields[name]
            at = _find(data, mark, 0 if fields is END else number) + place
            return data[:at] + value.to_bytes(width, "little") + data[at + width :]
    raise KeyError(name)


def _field(data: bytes, rng: random.Random) -> Case:
    name = rng.choice([*ENTRY, *ENTRY, *LOCAL, *END])
    width = {**ENTRY, **LOCAL, **END}[name][1]
    return name, with_field(data, name, rng.choice(_VALUES[width]), rng.randrange(4))


def _two_fields(data: bytes, rng: random.Random) -> Case:
    (one, data), (two, data) = _field(data, rng), _field(data, rng)
    return f"{one}, {two}", data


def _zip_name(data: bytes, rng: random.Random) -> Case:
    name = rng.choice((b"d\\1.png", b"\xff\xfe\xfd.png", b"a\nb.png", b"\x1b[2J.png"))[:7]
    data = data.replace(b"d/1.png", name.ljust(7, b"g"))
    return "name", with_field(data, "flags", rng.choice((0, 0x800)))


def _overlap(data: bytes, rng: random.Random) -> Case:
    at = _find(data, b"PK\1\2", rng.randrange(4)) + 42
    return "overlap", with_field(
        data, "offset", int.from_bytes(data[at : at + 4], "little"), rng.randrange(4)
    )


def _zip64(data: bytes, rng: random.Random) -> Case:
    numbers = [rng.choice((0, 1, 2**31, 2**62, 2**63, 2**64 - 1)) for _ in range(rng.randrange(4))]
    extra = struct.pack(f"<HH{len(numbers)}Q", 1, rng.choice((8 * len(numbers), 0, 4, 999)), *numbers)
    for name in ("size", "packed", "offset"):
        data = with_field(data, name, 0xFFFFFFFF) if rng.random() < 0.6 else data
    at = _find(data, b"PK\1\2", 1)
    data = with_field(data, "extra length", len(extra))[: at + 46 + 7] + extra + data[at + 46 + 7 :]
    end = _find(data, b"PK\5\6") + 12
    length = int.from_bytes(data[end : end + 4], "little") + len(extra)
    return "zip64", with_field(data, "directory length", length)


def _zip_bytes(data: bytes, rng: random.Random) -> Case:
    changed, start = bytearray(data), data.index(b"PK\1\2")
    for _ in range(rng.randrange(1, 6)):
        changed[rng.randrange(start if rng.random() < 0.7 else 0, len(data))] = rng.randrange(256)
    return "bytes", bytes(changed)


def _zip_cut(data: bytes, rng: random.Random) -> Case:
    return "cut", data[: rng.randrange(1, len(data))]


_ZIP_KINDS = (_field, _field, _field, _two_fields, _zip_name, _overlap, _zip64, _zip_bytes, _zip_cut)


def zips(seed: int, count: int) -> list[Case]:
    """Archives as people have them."""
    return _made(plain_zip(), _ZIP_KINDS, seed, count)


def large_picture(megabytes: int) -> bytes:
    """A zip of a small picture, and of one that unfolds to so many megabytes."""
    packer = zlib.compressobj(1, zlib.DEFLATED, -15)
    piece, crc = bytes(1 << 20), 0
    packed = b""
    for _ in range(megabytes):
        packed += packer.compress(piece)
        crc = zlib.crc32(piece, crc)
    packed += packer.flush()
    small = io.BytesIO()
    with zipfile.ZipFile(small, "w") as archive:
        archive.writestr("a.png", png(1))
        archive.writestr("b.png", b"")
    data = small.getvalue()
    at = data.index(b"PK\1\2")
    data = data[:at] + packed + data[at:]
    for name, value in (("method", 8), ("packed", len(packed)), ("size", megabytes << 20), ("checksum", crc)):
        data = with_field(data, name, value)
    return with_field(data, "directory offset", at + len(packed))

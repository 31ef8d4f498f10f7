"""Reads weight files: plain pickles, both formats of torch.save, and safetensors.

Sizes stated in a file are trusted only up to the length of the file, so that reading takes about as much
memory as the file's own size.
"""

from __future__ import annotations

import functools
import hashlib
import io
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load

from pipeline.errors import UserError
from pipeline.importing.kinds import kind_of, kind_of_folder, kind_of_pickle, kind_of_zip
from pipeline.importing.machine import STEPS, Machine
from pipeline.importing.parts import Part
from pipeline.importing.rebuild import STORAGES
from pipeline.importing.values import MOST_NUMBERS, Budget, Global, Refused, Storage, shown

_LEGACY = 0x1950A86A20F9469CFC6C  # the number at the start of torch.save's older format
_LEGACY_VERSION = 1001
_LONGEST_NAME, _MOST_MEMBERS = 1000, 100_000
FORMATS = (
    "a .pkl of StyleGAN2 by stylegan2-ada-pytorch or stylegan3, a .pkl of StyleGAN3, a .pt of rosinality's "
    "stylegan2-pytorch, a G.pth or G_ema.pth of BigGAN-PyTorch, a .safetensors of a KL autoencoder"
)


@dataclass(frozen=True)
class Weights:
    """A weight file that has been read. value: its content. sha256: of the whole file, in hexadecimal."""

    path: Path
    value: Any
    sha256: str


def read_weights(path: Path) -> Weights:
    """Reads a weight file without running anything in it. The UserError names the file and what is wrong with
    it."""
    if path.is_dir():
        raise UserError(f"{path}: {kind_of_folder(path)}; allowed: {FORMATS}")
    if path.exists() and not path.is_file():
        raise UserError(f"{path}: a device or a pipe, not a file; allowed: {FORMATS}")
    try:
        data = path.read_bytes()
        return Weights(path, _read(data), hashlib.sha256(data).hexdigest())
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}; allowed: {FORMATS}") from error
    except MemoryError as error:
        raise UserError(f"{path}: larger than the memory that is free here") from error
    except Refused as refusal:
        known = kind_of_pickle(data)
        raise UserError(f"{path}: {f'{known}; allowed: {FORMATS}' if known else refusal}") from refusal


def _read(data: bytes) -> Any:
    if data[:2] == b"PK":
        return _zip(data)
    if data[:1] == b"\x80":
        return _pickle(data, _budget(data), nested_allowed=True)
    if data[8:10] == b'{"':
        return _safetensors(data)
    raise Refused(f"{kind_of(data)}; allowed: {FORMATS}")


def _safetensors(data: bytes) -> Part:
    """All tensors of the file, whose format has no parts and runs nothing."""
    try:
        return Part("", load(data))
    except (SafetensorError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise Refused(f"not a whole file of safetensors ({reason:.80}); allowed: {FORMATS}") from error


def _budget(data: bytes) -> Budget:
    # Text is copied once where protocol 2 stores bytes as text, and once more for a nested file.
    return Budget(STEPS, 4 * len(data) + (1 << 20))


def _pickle(data: bytes, budget: Budget, *, nested_allowed: bool) -> Any:
    """A plain pickle, or the older format of torch.save, which its first value identifies."""
    source = io.BytesIO(data)

    def nested(inner: Any) -> Any:
        if not nested_allowed or not isinstance(inner, bytes) or inner[:1] != b"\x80":
            raise Refused("refused: a nested file that does not hold a tensor's numbers")
        return _pickle(inner, budget, nested_allowed=False)

    def none(_: Any) -> Any:
        raise Refused("refused: a persistent id where there are none")

    first = Machine(none, nested, budget).run(source)
    if type(first) is not int or first != _LEGACY:
        return first
    return _legacy(source, nested, budget)


def _legacy(source: io.BytesIO, nested: Callable[[Any], Any], budget: Budget) -> Any:
    """The older format: four pickles (version, system, value, names of storages), followed by the size and
    numbers of each storage."""
    storages: dict[str, Storage] = {}

    def plain() -> Any:
        return Machine(lambda what: _stored(what, storages, views=True), nested, budget).run(source)

    if plain() != _LEGACY_VERSION:
        raise Refused("torch.save's older format in an unknown version")
    system, value, names = plain(), plain(), plain()
    if not isinstance(system, dict) or system.get("little_endian") is False:
        raise Refused("numbers in another byte order")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise Refused("torch.save's older format without its list of storages")
    everything = source.getbuffer()
    for name in names:
        if name not in storages or storages[name].source is not None:
            raise Refused("a storage that is unused or listed twice")
        count = int.from_bytes(source.read(8), "little")
        start, size = source.tell(), storages[name].count * storages[name].dtype.itemsize
        if count != storages[name].count or start + size > len(everything):
            raise Refused(f"cut off: a tensor of {storages[name].count} numbers, but fewer are there")
        storages[name].source = _slice(everything, start, size)
        source.seek(start + size)
    return value


def _slice(data: memoryview, start: int, size: int) -> Callable[[], memoryview]:
    return lambda: data[start : start + size]


def _stored(what: Any, storages: dict[str, Storage], *, views: bool) -> Storage:
    """The storage for a persistent id ("storage", type, name, place, count[, view])."""
    if not isinstance(what, tuple) or not 5 <= len(what) <= 6 or what[0] != "storage":
        raise Refused("refused: a persistent id that is not a storage")
    _, kind, name, _, count, *view = what
    if not isinstance(kind, Global) or kind not in STORAGES:
        raise Refused(f"a storage of the unknown type {shown(kind)}")
    if not isinstance(name, str) or len(name) > _LONGEST_NAME:
        raise Refused("a storage without a name")
    if type(count) is not int or not 0 <= count <= MOST_NUMBERS or (views and any(view)):
        raise Refused(f"a storage of {shown(count)} numbers")
    storage = storages.setdefault(name, Storage(STORAGES[kind], count))
    if (storage.dtype, storage.count) != (STORAGES[kind], count):
        raise Refused("a storage of two sizes")
    return storage


def _zip(data: bytes) -> Any:
    """The format of torch.save since version 1.6: an uncompressed zip archive with data.pkl and data/NAME."""
    members = _members(data)
    pickles = [name for name in members if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(pickles) != 1 or len(pickles[0]) > _LONGEST_NAME:
        raise Refused(f"a zip archive that torch.save did not write; allowed: {FORMATS}")
    root = pickles[0].removesuffix("data.pkl")
    read = functools.cache(lambda name: _contents(data, members, name))
    if f"{root}byteorder" in members and bytes(read(f"{root}byteorder")) != b"little":
        raise Refused("numbers in another byte order")
    storages: dict[str, Storage] = {}

    def stored(what: Any) -> Storage:
        storage = _stored(what, storages, views=False)
        member, size = f"{root}data/{what[2]}", storage.count * storage.dtype.itemsize
        if member not in members or members[member].file_size < size:
            raise Refused(f"cut off: a tensor of {storage.count} numbers, but fewer are there")
        storage.source = lambda: read(member)[:size]
        return storage

    def nested(_: Any) -> Any:
        raise Refused("refused: a nested file")

    return Machine(stored, nested, _budget(data)).run(io.BytesIO(read(pickles[0])))


def _members(data: bytes) -> dict[str, zipfile.ZipInfo]:
    """The members of an archive by name. Raises Refused if one is compressed, or if a name occurs twice."""
    if data.count(b"PK\1\2") > _MOST_MEMBERS:
        raise Refused(f"a zip archive of more than {_MOST_MEMBERS} members")
    try:
        listed = zipfile.ZipFile(io.BytesIO(data)).infolist()
    except Exception as error:  # zipfile raises all kinds of errors for damaged or malicious archives
        raise Refused("a zip archive that is cut off or damaged") from error
    if known := kind_of_zip(listed):
        raise Refused(f"{known}; allowed: {FORMATS}")
    members = {info.filename: info for info in listed}
    if len(members) != len(listed):
        raise Refused("a zip archive with two members of one name")
    packed = any(info.compress_type != zipfile.ZIP_STORED for info in listed)
    if packed or sum(info.file_size for info in listed) > len(data):
        raise Refused("a zip archive with compressed members, which torch.save does not write")
    return members


def _contents(data: bytes, members: dict[str, zipfile.ZipInfo], name: str) -> memoryview:
    """The bytes of a member, in place in the file. Raises Refused unless its position and checksum are
    right."""
    fault = f"a zip archive whose member {shown(name)} is missing or damaged"
    if name not in members:
        raise Refused(fault)
    info = members[name]
    header = data[info.header_offset : info.header_offset + 30] if info.header_offset >= 0 else b""
    if header[:4] != b"PK\3\4" or len(header) < 30 or info.flag_bits & 1:
        raise Refused(fault)
    names = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    start = info.header_offset + 30 + names
    content = memoryview(data)[start : start + info.file_size]
    if len(content) != info.file_size or zlib.crc32(content) != info.CRC:
        raise Refused(fault)
    return content

"""One file of a store brought to this machine: in as many tries as it takes, and just as the index says."""

from __future__ import annotations

from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from pipeline.data.stores.patience import Absent, Patience
from pipeline.data.stores.place import Remote
from pipeline.data.stores.systems import pieces
from pipeline.errors import Damaged, RunFailed
from pipeline.storage.faults import explained
from pipeline.storage.manifest import digest_file

_MOST_WRONG = 4  # times that a whole file came otherwise than the index says, each time in another way
_MOST_BEYOND = 1 << 20  # bytes of a file that is too long: enough to see that


@dataclass(frozen=True)
class StoredFile:
    """A file of a store, and what it must be: its size in bytes and its sha256 in hex."""

    place: Remote
    bytes: int
    sha256: str


class _Changed(OSError):
    """What has come has not the sha256 that it should have: on the way, or in the store."""


def download(wanted: StoredFile, part: Path, patience: Patience) -> None:
    """Makes `part` the file that is wanted; what is in `part` already is gone on with.

    Errors: Damaged if the store holds another file, which then is in `part`, or none; RunFailed and UserError
    as `Patience.endure`, or for this machine's disk.
    """
    wrong: set[str] = set()
    try:
        while not _ended(wanted, part, patience, wrong):
            pass
    except Absent as absent:
        raise Damaged("is missing: the store has no such file") from absent


def _ended(wanted: StoredFile, part: Path, patience: Patience, wrong: set[str]) -> bool:
    """One try. wrong: the digests of whole files that came otherwise than they should."""
    try:
        if not _go_on(wanted, part, patience):
            return False
        fault = _fault(wanted, part, wrong)
        if fault is not None:
            raise fault
        return True
    except Damaged:
        raise
    except Exception as error:
        if isinstance(error, _Changed):
            _empty(part)
        patience.endure(error)
        return False


def _go_on(wanted: StoredFile, part: Path, patience: Patience) -> bool:
    """Takes what one request gives. Returns whether the file has ended, as far as the store is concerned."""
    with explained(part):
        file = part.open("ab", buffering=0)
    with file:
        before = file.tell()
        if before >= wanted.bytes:
            return True
        at, parts = pieces(wanted.place, before, wanted.bytes)
        with explained(part):
            file.truncate(at)
        for data in parts:
            with explained(part):  # errors of the disk alone: the store's are for `patience`
                _write(file, data)
            at += len(data)
            patience.progressed()
            if at > wanted.bytes + _MOST_BEYOND:
                break
    return at >= wanted.bytes or at <= before


def _write(file: FileIO, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


def _fault(wanted: StoredFile, part: Path, wrong: set[str]) -> Exception | None:
    with explained(part, "read"):
        size, digest = part.stat().st_size, digest_file(part)
    if digest == wanted.sha256:
        return None
    if digest in wrong:  # the way there does not change bytes in the same way twice
        told = f"{size} bytes" if size != wanted.bytes else f"sha256 {digest[:12]}..."
        said = f"{wanted.bytes}" if size != wanted.bytes else f"{wanted.sha256[:12]}..."
        return Damaged(f"the store holds another file: {told}, the index says {said}")
    wrong.add(digest)
    if len(wrong) > _MOST_WRONG:
        return RunFailed(
            f"{wanted.place}: its bytes come changed, in {len(wrong)} downloads each time in another way; "
            "the network or a proxy is at fault; the same command goes on when that is mended"
        )
    return _Changed("its bytes came changed")


def _empty(part: Path) -> None:
    with explained(part), part.open("wb"):
        pass

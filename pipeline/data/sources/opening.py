"""The table of sources: what `hrgan prepare` takes as SOURCE, and who opens it."""

from __future__ import annotations

from pathlib import Path

from pipeline.data.sources import (
    arrow,
    cifar,
    demo_digits,
    demo_faces,
    demo_heads,
    demo_photographs,
    folder,
    hub,
    idx,
    lmdb,
    parquet,
    shards,
    tar,
    video,
    zip,
)
from pipeline.data.sources.known import KNOWN
from pipeline.data.sources.source import SourceKind, reading_source
from pipeline.errors import UserError
from pipeline.images import kinds

SOURCES: tuple[SourceKind, ...] = (
    cifar.KIND,
    idx.KIND,
    shards.KIND,
    folder.KIND,
    zip.KIND,
    tar.KIND,
    parquet.KIND,
    arrow.KIND,
    lmdb.KIND,
    video.KIND,
    hub.KIND,
    demo_digits.KIND,
    demo_photographs.KIND,
    demo_faces.KIND,
    demo_heads.KIND,
)
"""The first kind that fits is taken, so that what is more special stands before a folder."""

_COMPRESSED = (".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar")
_COMPRESSED_STARTS = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")


def source_kind(source: str) -> SourceKind:
    """The first kind in the table that `source` is of. Errors: UserError, with advice, if there is none."""
    path = Path(source)
    if path.is_file():
        _refuse_known(path)
    for kind in SOURCES:
        if kind.fits(source):
            return kind
    if source.startswith("demo:"):
        demos = [kind.words for kind in SOURCES if kind.words.startswith("demo:")]
        raise UserError(f"{source}: no such demo; allowed: {', '.join(demos)}")
    if path.is_file():
        _refuse_compressed(path)
    what = "not an archive of a known kind" if path.exists() else "no such source"
    raise UserError(f"{source}: {what}; allowed: {', '.join(KNOWN)}")


def _refuse_known(path: Path) -> None:
    """UserError for a file of a kind that is known and cannot be a source."""
    with reading_source(path), path.open("rb") as file:
        start = file.read(kinds.START_BYTES)
    if kinds.is_picture(path.name, start):
        raise UserError(f"{path}: is one picture; give the folder that it lies in")
    form = kinds.form_of(path.name, start)
    if form is not None and not form.archive:
        raise UserError(f"{path}: looks like {form.name}, which is not read; {form.advice}")


def _refuse_compressed(path: Path) -> None:
    with reading_source(path), path.open("rb") as file:
        start = file.read(kinds.START_BYTES)
    if path.name.lower().endswith(_COMPRESSED) or start.startswith(_COMPRESSED_STARTS):
        raise UserError(
            f"{path}: compressed archives are not read; unpack it first; allowed: folder, .zip, .tar"
        )

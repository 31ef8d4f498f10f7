"""The listing of a source, made once for all processes that prepare it, in the folder of the data set."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pipeline.data.shards.blocks import WORK
from pipeline.data.shards.index import INDEX_NAME, read_unfinished
from pipeline.data.sources.names import NameTable, NumberTable, write_names, write_numbers
from pipeline.data.sources.source import Listing, Source, SourceKind, Wanted
from pipeline.errors import Damaged
from pipeline.images.kinds import Others
from pipeline.reading import read_as, read_bytes
from pipeline.storage.atomic import make_folder, publish_folder
from pipeline.storage.lock import among, in_turn

_LISTING, _ABOUT, _SIZES, _LABEL_FILE, _TABLE = "listing", "about.json", "sizes", "label-file", "table-{}"
_MOST_BYTES = 1 << 30


@dataclass(frozen=True)
class _About:
    """What a stored listing is of, and what is not in its tables. label_file, tables: the names of the label
    file and of other tables, whose contents lie beside it."""

    of: dict[str, Any]
    skipped: list[tuple[str, str]]
    others: dict[str, Any]
    label_file: str | None
    tables: list[str]


@contextmanager
def opened(kind: SourceKind, source: str, wanted: Wanted, out: Path, progress: bool) -> Iterator[Source]:
    """The source, listed by the first of all processes that have it open for `out` at this time. A process
    that is alone lists it again, since it may have changed since."""
    if kind.reopen is None or _complete(out):
        yield _listed(kind, source, wanted, progress)
        return
    with ExitStack() as stack:
        try:
            pictures = _shared(kind, source, wanted, out / WORK, progress, stack)
        except FileNotFoundError:
            if not _complete(out):  # whoever has completed it has removed the listing
                raise
            pictures = _listed(kind, source, wanted, progress)
        yield pictures


def _shared(
    kind: SourceKind, source: str, wanted: Wanted, work: Path, progress: bool, stack: ExitStack
) -> Source:
    assert kind.reopen is not None, "others list for themselves"
    make_folder(work)
    of = {"source": str(Path(source).resolve()), "follow_links": wanted.follow_links}
    with in_turn(work / "listing.lock"):
        alone = stack.enter_context(among(work / "members.lock"))
        stored = None if alone else _read(work / _LISTING, of)
        if stored is not None:
            return kind.reopen(source, wanted, stored)
        pictures = _listed(kind, source, wanted, progress)
        _write(work / _LISTING, of, pictures.listing)
        return pictures


def _listed(kind: SourceKind, source: str, wanted: Wanted, progress: bool) -> Source:
    with tqdm(desc="listing", unit="file", disable=not progress, leave=False) as bar:
        return kind.open(source, replace(wanted, found=lambda count: bar.update(count - bar.n)))


def _complete(out: Path) -> bool:
    return (out / INDEX_NAME).is_file() and read_unfinished(out).complete


def _write(path: Path, of: dict[str, Any], listing: Listing) -> None:
    label_file = listing.label_file
    about = _About(
        of,
        list(listing.skipped),
        listing.others.as_json(),
        label_file[0] if label_file else None,
        [name for name, _ in listing.tables],
    )
    with publish_folder(path) as folder:
        write_names(folder, listing.names)
        write_numbers(folder / _SIZES, listing.sizes)
        if label_file is not None:
            (folder / _LABEL_FILE).write_bytes(label_file[1])
        for number, (_, content) in enumerate(listing.tables):
            (folder / _TABLE.format(number)).write_bytes(content)
        (folder / _ABOUT).write_text(json.dumps(about.__dict__))


def _read(path: Path, of: dict[str, Any]) -> Listing | None:
    """The listing that another process has written; None if there is none of this source."""
    try:
        about = read_as(_About, path / _ABOUT, _MOST_BYTES)
        if about.of != of:
            return None
        label_file = None
        if about.label_file is not None:
            label_file = about.label_file, read_bytes(path / _LABEL_FILE, _MOST_BYTES)
        tables = [
            (name, read_bytes(path / _TABLE.format(number), _MOST_BYTES))
            for number, name in enumerate(about.tables)
        ]
    except (FileNotFoundError, Damaged):
        return None
    others = Others.from_json(about.others)
    listing = Listing(NameTable(path), NumberTable(path / _SIZES), None, about.skipped, others)
    return replace(listing, label_file=label_file, tables=tables)

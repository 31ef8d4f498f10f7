"""The end of a preparation: all blocks are made, and what the data set is gets published before its index."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.data.preparing.card import describe, read_card, write_card
from pipeline.data.preparing.copies import find_copies
from pipeline.data.preparing.left_out import read_left_out, write_left_out
from pipeline.data.preparing.making import Work
from pipeline.data.preparing.page import PAGE, page_of
from pipeline.data.preparing.records import HELD_OUT, Blocks, Record
from pipeline.data.preparing.report import PrepareReport, first_reason
from pipeline.data.preparing.sheets import choose_places, write_pairs, write_sheets
from pipeline.data.shards.index import INDEX_NAME, ShardIndex, read_unfinished
from pipeline.data.shards.reader import read_labels
from pipeline.data.shards.rows import Shard
from pipeline.data.shards.samples import no_damage
from pipeline.errors import UserError
from pipeline.storage.atomic import publish_folder

REPORT = "report"


@dataclass(frozen=True)
class About:
    """What only the caller knows. command: that makes the data set. page: whether it gets a report with
    pictures."""

    command: str = ""
    page: bool = False


def settle(blocks: Blocks, work: Work, report: PrepareReport, about: About) -> list[Shard]:
    """The shards of all blocks, which all have a record; the report gets what was counted and left out, and
    the folder a card and a report."""
    records = blocks.records()
    for record in records:
        report.add(record.counts)
        report.skipped += record.left_out
    shards = [record.shard for record in records if record.shard is not None]
    if not shards and any(record.held_out for record in records):
        blocks.forget()
        raise UserError(f"{report.source}: every picture would be held out; give a smaller share")
    if not shards:
        blocks.forget()
        raise UserError(f"{report.source}: none of its images can be read{first_reason(report.skipped)}")
    if report.skipped or report.others:
        write_left_out(blocks.root, report.skipped, report.others.named)
    if not work.sized:
        report.enlarged = 0  # nothing was asked: it is a demo's own size
    held_out = _hold_out(blocks.index, records)
    _show(replace(blocks.index, shards=tuple(shards), complete=True), held_out, blocks, work, report, about)
    return shards


def recall(report: PrepareReport) -> None:
    """What the data set itself says, whichever process completed it."""
    root = report.out
    index = read_unfinished(root)
    report.count = index.count
    report.skipped = read_left_out(root) or report.skipped
    card = read_card(root)
    if card is not None:
        report.class_counts = dict(card["classes"])
    elif index.classes:  # made by a version without cards
        with no_damage():
            labels = Counter(read_labels(index))
        report.class_counts = {name: labels[number] for number, name in enumerate(index.classes)}
    if (root / HELD_OUT / INDEX_NAME).is_file():
        report.held_out = read_unfinished(root / HELD_OUT).count


def _hold_out(index: ShardIndex, records: Sequence[Record]) -> ShardIndex | None:
    """Publishes the index of the pictures that are held out; None if there are none."""
    shards = tuple(record.held_out for record in records if record.held_out is not None)
    if not shards:
        return None
    origin = {**index.origin, "part": HELD_OUT}
    held_out = replace(index, root=index.folder / HELD_OUT, shards=shards, origin=origin, complete=True)
    held_out.write()
    return held_out


def _show(
    index: ShardIndex,
    held_out: ShardIndex | None,
    blocks: Blocks,
    work: Work,
    report: PrepareReport,
    about: About,
) -> None:
    """Publishes the card and, if it is wanted, the report."""
    copies = find_copies(blocks.contents())
    card = describe(index, held_out, report, work.recipe.target.format, copies, about.command)
    sample = None
    if about.page:
        names = [[_name(work, place) for place in places] for places in copies.examples]
        sample = _write_report(index, blocks, work, card, names, report)
    write_card(index.folder, card, sample)


def _write_report(
    index: ShardIndex,
    blocks: Blocks,
    work: Work,
    card: dict[str, object],
    copies: Sequence[Sequence[str]],
    report: PrepareReport,
) -> str | None:
    """The path of a sheet of samples in it, below the folder of the data set."""
    size = len(blocks.numbers(0))
    with publish_folder(index.folder / REPORT) as folder:
        labels = write_sheets(folder, index, size, choose_places(work, len(index.classes)))
        sheets = {index.classes[n] if index.classes else "all": f"samples-{n}.png" for n in labels}
        pairs = "pairs.png" if write_pairs(folder, index, size, work) else None
        page = page_of(card, sheets, pairs, copies, report.skipped)
        Path(folder, PAGE).write_text(page, encoding="utf-8", errors="backslashreplace")
    return f"{REPORT}/{next(iter(sheets.values()))}" if sheets else None


def _name(work: Work, place: int) -> str:
    return work.source.listing.names[int(work.order[place])]

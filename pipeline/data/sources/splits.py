"""The splits of a data set that lies in several files, as Hugging Face names them: train, test, ..."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import UserError

_BLOCK = re.compile(r"(.+?)-\d{5}-of-\d{5}(-[0-9a-f]{8,})?")
_WORD = re.compile(
    r"(?:^|[-_./])(train(?:ing)?|valid(?:ation)?|val|dev|test(?:ing)?|eval(?:uation)?)(?=[-_./\d]|$)", re.I
)


def parted(source: str) -> tuple[Path, str | None]:
    """(path, split) of what a user gives as PATH or PATH:SPLIT."""
    head, colon, split = source.rpartition(":")
    if not colon or Path(source).exists():
        return Path(source), None
    return Path(head), split


def one_split(files: Sequence[str], split: str | None, title: str) -> list[str]:
    """Those of the files, by their paths in the set, that are of one split: the one asked for, or the only
    one. UserError, with the names of all, if that is not clear.

    title: what the user gave, without the split.
    """
    by_split: dict[str, list[str]] = defaultdict(list)
    for name in files:
        by_split[_split_of(name)].append(name)
    chosen = by_split[chosen_split([*by_split], split, title)]
    folders = sorted({_folder(name) for name in chosen})
    if len(folders) > 1:
        raise UserError(
            f"{title}: its files lie in several folders ({', '.join(folders)}), which may be different "
            f"sets; give one of them as SOURCE: {title.rstrip('/')}/{folders[0]}"
        )
    return chosen


def chosen_split(splits: Sequence[str], split: str | None, title: str) -> str:
    """`split`, or the only one of `splits`; "" is that of files whose names tell none."""
    named = [name for name in splits if name]
    ways = ", ".join(f"{title}:{name}" for name in named)
    if split is None and len(splits) == 1:
        return splits[0]
    if split is None:
        raise UserError(f"{title}: has the splits {', '.join(named)}; give one of them: {ways}")
    if split not in named:
        raise UserError(f"{title}: has no split {split!r}; allowed: {ways or title}")
    return split


def _split_of(name: str) -> str:
    stem = name.rpartition("/")[2].rpartition(".")[0]
    block = _BLOCK.fullmatch(stem)
    if block is None:
        words: list[str] = _WORD.findall(name.rpartition(".")[0])
        return words[-1] if words else ""
    # A cache of Hugging Face's has the name of the set before that of the split.
    return block[1].split("-", 1)[-1] if name.endswith(".arrow") else block[1]


def _folder(name: str) -> str:
    """The folder of a file, without parts that name a split."""
    parts = name.split("/")[:-1]
    return "/".join(part for part in parts if not _WORD.fullmatch(part)) or "."

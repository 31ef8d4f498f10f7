"""Data sets that are known by their folders: what of one to give as SOURCE, and which folders hold no
pictures of it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from pipeline.data.sources.source import reading_source
from pipeline.errors import UserError

_SYNSET = re.compile(r"n\d{8}")
_FFHQ = ("images1024x1024", "thumbnails128x128", "in-the-wild-images")
_MASKS, _MASKED = "CelebAMask-HQ-mask-anno", "CelebA-HQ-img"


def refuse_whole(source: str) -> None:
    """UserError for a folder with all parts of ImageNet or of FFHQ, which says what to give instead. The
    folder is not searched: it may hold a million files."""
    root = Path(source)
    with reading_source(root):
        said = _about_imagenet(root) or _about_ffhq(root)
    if said:
        raise UserError(f"{source}: {said}; or allowed: --labels none, for all pictures in it")


def _about_imagenet(root: Path) -> str:
    for place in (root / "ILSVRC/Data/CLS-LOC", root / "Data/CLS-LOC", root):
        if not (place / "val").is_dir() or not _has_synsets(place / "train"):
            continue
        names, solution = _beside(root, "LOC_synset_mapping.txt"), _beside(root, "LOC_val_solution.csv")
        called = f" --class-names {names}" if names else ""
        labels = "" if _has_synsets(place / "val") else f" --labels {solution or 'FILE'}"
        return (
            f"is ImageNet as a whole; give {place / 'train'}{called} as SOURCE, or "
            f"{place / 'val'}{labels}{called}"
        )
    return ""


def _has_synsets(folder: Path) -> bool:
    """Whether the first folder in it is called as a class of ImageNet."""
    if not folder.is_dir():
        return False
    first = next((path for path in folder.iterdir() if not path.name.startswith(".")), None)
    return first is not None and first.is_dir() and _SYNSET.fullmatch(first.name) is not None


def _beside(root: Path, name: str) -> Path | None:
    return next((path for path in (root / name, root.parent / name) if path.is_file()), None)


def _about_ffhq(root: Path) -> str:
    parts = [root / name for name in _FFHQ if (root / name).is_dir()]
    if len(parts) < 2:
        return ""
    return f"is FFHQ as a whole; give one of its folders as SOURCE: {', '.join(map(str, parts))}"


def mask_folders(names: Iterable[str]) -> frozenset[str]:
    """The folders, each with its "/", that hold masks of the pictures beside them: those of CelebAMask-HQ."""
    tops = {name.partition(f"{_MASKED}/")[0] for name in names if f"/{_MASKED}/" in f"/{name}"}
    return frozenset(f"{top}{_MASKS}/" for top in tops)

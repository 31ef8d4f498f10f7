"""Brings the pictures of a folder into every form that `hrgan prepare` reads, and compares what comes out.

    python -m tools.research.every_source PHOTOS [--resolution 64] [--only NAME ...]

Each form is written by its own library. Forms that keep files must give the same pixels and classes as the
folder itself; those that hold pixels of one size (CIFAR, IDX, video) the same as the folder of these pixels.
Images are compared as sets, one a class, since names, and with them the order, belong to the form.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.data.preparing.prepare import prepare
from pipeline.data.preparing.settings import Asked
from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.reader import read_samples
from pipeline.errors import UserError
from pipeline.images.normalised import read_picture
from pipeline.images.pixels import Unreadable
from pipeline.words import table
from tools.research.forms import FORMS, Form, Photo, in_pixels, write_folder


def main() -> None:
    """Writes, prepares and compares all forms; the exit code is 1 if one differs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path, help="a folder with a folder a class")
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument("--only", nargs="*", help="names of forms")
    options = parser.parse_args()
    photos = photographs(options.photos)
    forms = [form for form in FORMS if not options.only or form.name in options.only]
    rows = [("form", "images", "classes", "digest of images and classes", "as the folder's")]
    same = True
    with tempfile.TemporaryDirectory() as scratch:
        wanted: dict[tuple[int | None, bool], str] = {}
        for number, form in enumerate(forms):
            key = form.pixels, form.grey
            if key not in wanted:
                wanted[key] = _of_folder(photos, Path(scratch) / f"base{number}", options.resolution, form)[2]
            count, classes, digest = _of_form(photos, Path(scratch) / str(number), options.resolution, form)
            same &= digest == wanted[key]
            row = (form.name, str(count), str(classes), digest[:16], "yes" if digest == wanted[key] else "NO")
            rows.append(row)
            print(*row, sep="  ", flush=True)
    print(table(rows))
    raise SystemExit(0 if same else 1)


def photographs(folder: Path) -> list[Photo]:
    """Returns the files of a folder of class folders that can be read."""
    photos = []
    for path in sorted(folder.glob("*/*")):
        data = path.read_bytes()
        try:
            read_picture(data)
        except Unreadable as reason:
            print(f"{path}: left out: {reason}")
            continue
        photos.append(Photo(f"{path.parent.name}/{path.name}", path.parent.name, data))
    return photos


def _of_folder(photos: Sequence[Photo], place: Path, resolution: int, form: Form) -> tuple[int, int, str]:
    if form.pixels is not None:
        photos = in_pixels(photos, form.pixels, form.grey)
    return _digest(write_folder(photos, place / "in"), place / "out", resolution, form, {})


def _of_form(photos: Sequence[Photo], place: Path, resolution: int, form: Form) -> tuple[int, int, str]:
    if form.pixels is not None:
        photos = in_pixels(photos, form.pixels, form.grey)
    (place / "in").mkdir(parents=True)
    return _digest(form.write(photos, place / "in"), place / "out", resolution, form, form.asked)


def _digest(
    source: str, out: Path, resolution: int, form: Form, asked: dict[str, Any]
) -> tuple[int, int, str]:
    """Prepares a source and returns (images, classes, digest of the set of images with their classes)."""
    size = form.pixels or resolution
    try:
        prepare(source, out, Asked(resolution=size, channels=1 if form.grey else 3, **asked), workers=1)
    except UserError as error:
        return 0, 0, str(error)
    index = ShardIndex.read(out)
    classes: dict[int | None, list[str]] = {}
    for sample in read_samples(index):
        classes.setdefault(sample.label, []).append(hashlib.sha256(sample.image).hexdigest())
    # Whatever the classes are called: numbers in one form are names in another.
    content = json.dumps(sorted(sorted(images) for images in classes.values()))
    return index.count, len(classes), hashlib.sha256(content.encode()).hexdigest()


if __name__ == "__main__":
    main()

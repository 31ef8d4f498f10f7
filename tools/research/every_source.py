"""Brings the pictures of a folder into every form that `hrgan prepare` reads, and compares what comes out.

    python -m tools.research.every_source PHOTOS [--resolution 64] [--only NAME ...]

Each form is written by its own library. Forms that keep files must give the same pixels and classes as the
folder itself; those that hold pixels of one size (CIFAR, IDX, video) the same as the folder of these pixels.
Images are compared as sets, one a class, since names, and with them the order, belong to the form.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline.data.preparing.prepare import prepare
from pipeline.data.preparing.settings import Asked
from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.reader import read_samples
from pipeline.errors import UserError
from pipeline.images.normalised import Target, fit, read_picture
from pipeline.images.pixels import Unreadable
from pipeline.words import table


@dataclass(frozen=True)
class Photo:
    """A file of the folder: its name there, its class (the folder it lies in), and its bytes."""

    name: str
    label: str
    data: bytes


@dataclass(frozen=True)
class Form:
    """How photographs are written in one form. write: into a new folder, and returns what is SOURCE. asked:
    what is asked beside the size. pixels: the form holds pixels of one size, not files. grey: and one
    channel."""

    name: str
    write: Callable[[Sequence[Photo], Path], str]
    asked: dict[str, Any]
    pixels: int | None = None
    grey: bool = False


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


def in_pixels(photos: Sequence[Photo], side: int, grey: bool) -> list[Photo]:
    """Returns the photographs as PNGs of one size."""
    target = Target(side, side, 1 if grey else 3)
    return [
        Photo(
            f"{photo.label}/{number:06d}.png", photo.label, _png(fit(read_picture(photo.data).image, target))
        )
        for number, photo in enumerate(photos)
    ]


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def _labels(photos: Sequence[Photo]) -> list[str]:
    return sorted({photo.label for photo in photos})


def write_folder(photos: Sequence[Photo], place: Path) -> str:
    """Writes a folder with a folder a class."""
    for photo in photos:
        (place / photo.name).parent.mkdir(parents=True, exist_ok=True)
        (place / photo.name).write_bytes(photo.data)
    return str(place)


def write_without_suffixes(photos: Sequence[Photo], place: Path) -> str:
    """Writes the folder with files that have no suffix, or that of another kind."""
    renamed = [
        Photo(photo.name.rpartition(".")[0] + (f"-{n}" if n % 2 else f"-{n}.png"), photo.label, photo.data)
        for n, photo in enumerate(photos)
    ]
    return write_folder(renamed, place)


def _flat(photos: Sequence[Photo]) -> list[Photo]:
    return [
        Photo(f"{n:05d}{Path(photo.name).suffix}", photo.label, photo.data) for n, photo in enumerate(photos)
    ]


def write_zip(photos: Sequence[Photo], place: Path) -> str:
    """Writes a zip with a folder a class."""
    with zipfile.ZipFile(place / "photos.zip", "w") as archive:
        for photo in photos:
            archive.writestr(photo.name, photo.data)
    return str(place / "photos.zip")


def write_numbered_zip(photos: Sequence[Photo], place: Path) -> str:
    """Writes a zip with class numbers in dataset.json, as NVIDIA's dataset_tool does."""
    flat, labels = _flat(photos), _labels(photos)
    with zipfile.ZipFile(place / "photos.zip", "w") as archive:
        for photo in flat:
            archive.writestr(photo.name, photo.data)
        rows = [[photo.name, labels.index(photo.label)] for photo in flat]
        archive.writestr("dataset.json", json.dumps({"labels": rows}))
    return str(place / "photos.zip")


def write_one_hot(photos: Sequence[Photo], place: Path) -> str:
    """Writes a folder with vectors of one 1 in dataset.json."""
    flat, labels = _flat(photos), _labels(photos)
    write_folder(flat, place)
    rows = [[photo.name, [float(photo.label == label) for label in labels]] for photo in flat]
    (place / "dataset.json").write_text(json.dumps({"labels": rows}))
    return str(place)


def write_csv(photos: Sequence[Photo], place: Path) -> str:
    """Writes a flat folder with metadata.csv, as Hugging Face's imagefolder has it."""
    flat = _flat(photos)
    write_folder(flat, place)
    with (place / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file_name", "label"), *((p.name, p.label) for p in flat)])
    return str(place)


def write_jsonl(photos: Sequence[Photo], place: Path) -> str:
    """Writes a flat folder with metadata.jsonl."""
    flat = _flat(photos)
    write_folder(flat, place)
    lines = [json.dumps({"file_name": photo.name, "label": photo.label}) for photo in flat]
    (place / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    return str(place)


def write_tar(photos: Sequence[Photo], place: Path) -> str:
    """Writes a tar with a folder a class."""
    with tarfile.open(place / "photos.tar", "w") as archive:
        for photo in photos:
            member = tarfile.TarInfo(photo.name)
            member.size = len(photo.data)
            archive.addfile(member, io.BytesIO(photo.data))
    return str(place / "photos.tar")


def write_webdataset(photos: Sequence[Photo], place: Path) -> str:
    """Writes shards with the webdataset package, sorted by class."""
    from webdataset import ShardWriter

    labels = _labels(photos)
    with ShardWriter(str(place / "set-%03d.tar"), maxcount=100, verbose=0) as writer:
        for number, photo in enumerate(photos):
            suffix = Path(photo.name).suffix[1:].lower()
            writer.write(
                {
                    "__key__": f"{number:06d}",
                    suffix: photo.data,
                    "cls": str(labels.index(photo.label)).encode(),
                }
            )
    return str(place)


def _dataset(photos: Sequence[Photo]) -> Any:
    import datasets

    labels = _labels(photos)
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=labels)})
    rows = {
        "image": [{"bytes": photo.data, "path": None} for photo in photos],
        "label": [labels.index(photo.label) for photo in photos],
    }
    return datasets.Dataset.from_dict(rows, features=features)


def write_arrow(photos: Sequence[Photo], place: Path) -> str:
    """Writes what `Dataset.save_to_disk` of Hugging Face's library does."""
    _dataset(photos).save_to_disk(str(place / "saved"))
    return str(place / "saved")


def write_hub_parquet(photos: Sequence[Photo], place: Path) -> str:
    """Writes parquet files as the hub has them."""
    (place / "data").mkdir()
    data = _dataset(photos)
    for part in range(2):
        data.shard(2, part).to_parquet(str(place / f"data/train-{part:05d}-of-00002.parquet"))
    return str(place)


def write_parquet(photos: Sequence[Photo], place: Path) -> str:
    """Writes a plain parquet file with a column of bytes and one of names of classes."""
    import pyarrow
    from pyarrow import parquet

    columns = {"picture": [photo.data for photo in photos], "kind": [photo.label for photo in photos]}
    parquet.write_table(pyarrow.table(columns), place / "photos.parquet", row_group_size=50)
    return str(place / "photos.parquet")


def write_lmdb(photos: Sequence[Photo], place: Path) -> str:
    """Writes an LMDB of image-NNN and label-NNN."""
    import lmdb

    labels = _labels(photos)
    with lmdb.open(str(place / "photos_lmdb"), map_size=1 << 30) as store, store.begin(write=True) as turn:
        for number, photo in enumerate(photos):
            turn.put(f"image-{number:09d}".encode(), photo.data)
            turn.put(f"label-{number:09d}".encode(), str(labels.index(photo.label)).encode())
    return str(place / "photos_lmdb")


def _planes(photo: Photo) -> bytes:
    pixels = np.asarray(Image.open(io.BytesIO(photo.data)))
    return (pixels.transpose(2, 0, 1) if pixels.ndim == 3 else pixels).tobytes()


def write_cifar(photos: Sequence[Photo], place: Path) -> str:
    """Writes the binary version of CIFAR-10: a byte for the class, then planes of 32x32 pixels."""
    labels, folder = _labels(photos), place / "cifar-10-batches-bin"
    folder.mkdir()
    names = [*labels, *(f"none{n}" for n in range(10 - len(labels)))]
    (folder / "batches.meta.txt").write_text("\n".join(names) + "\n")
    records = [bytes([labels.index(photo.label)]) + _planes(photo) for photo in photos]
    (folder / "data_batch_1.bin").write_bytes(b"".join(records))
    return str(folder)


def write_idx(photos: Sequence[Photo], place: Path) -> str:
    """Writes MNIST's form: the pixels in one file, the classes in another."""
    labels = _labels(photos)
    head = b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in (len(photos), 28, 28))
    (place / "train-images-idx3-ubyte").write_bytes(head + b"".join(map(_planes, photos)))
    numbers = bytes(labels.index(photo.label) for photo in photos)
    (place / "train-labels-idx1-ubyte").write_bytes(
        b"\0\0\x08\x01" + len(photos).to_bytes(4, "big") + numbers
    )
    return str(place)


def write_video(photos: Sequence[Photo], place: Path) -> str:
    """Writes a video without loss for each class, a frame a photograph."""
    import av

    for label in _labels(photos):
        (place / label).mkdir()
        with av.open(str(place / label / "clip.mkv"), "w") as container:
            stream = container.add_stream("ffv1", rate=1, options={"coder": "1"})
            frames = [np.asarray(Image.open(io.BytesIO(p.data))) for p in photos if p.label == label]
            stream.height, stream.width = frames[0].shape[:2]
            stream.pix_fmt = "gbrp"
            for frame in frames:
                shown = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format="gbrp")
                container.mux(stream.encode(shown))
            container.mux(stream.encode())
    return str(place)


FORMS = (
    Form("folder", write_folder, {}),
    Form("no or wrong suffixes", write_without_suffixes, {}),
    Form("zip", write_zip, {}),
    Form("zip with dataset.json", write_numbered_zip, {}),
    Form("dataset.json, one-hot vectors", write_one_hot, {}),
    Form("metadata.csv", write_csv, {}),
    Form("metadata.jsonl", write_jsonl, {}),
    Form("tar", write_tar, {}),
    Form("WebDataset shards", write_webdataset, {}),
    Form("Hugging Face, saved to disk", write_arrow, {}),
    Form("Hugging Face, parquet of the hub", write_hub_parquet, {}),
    Form("parquet", write_parquet, {"label_column": "kind"}),
    Form("LMDB", write_lmdb, {}),
    Form("CIFAR-10, binary", write_cifar, {}, pixels=32),
    Form("IDX, as MNIST", write_idx, {}, pixels=28, grey=True),
    Form("video (FFV1)", write_video, {"labels": "folders"}, pixels=64),
)


if __name__ == "__main__":
    main()

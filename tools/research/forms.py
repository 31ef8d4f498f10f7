"""The forms in which the same photographs are written, each by its own library."""

from __future__ import annotations

import csv
import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline.images.normalised import Target, fit, read_picture


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
            stream = container.add_stream("ffv1", rate=1)
            frames = [np.asarray(Image.open(io.BytesIO(p.data))) for p in photos if p.label == label]
            stream.height, stream.width = frames[0].shape[:2]
            stream.pix_fmt = "bgr0"
            for frame in frames:
                shown = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format="bgr0")
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

"""IDX files, against torchvision's reader of them."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from torchvision.datasets.mnist import read_image_file, read_label_file

from pipeline.errors import UserError
from tests.data.feeds import call, folder, labels_of, stored

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 28, 20), np.uint8)
LABELS = np.arange(12, dtype=np.uint8) % 5
IMAGES_NAME, LABELS_NAME = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


def _idx(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def _head(*shape: int, kind: int = 8) -> bytes:
    return struct.pack(f">BBBB{len(shape)}I", 0, 0, kind, len(shape), *shape)


def _files(packed: bool = False, **changes: bytes) -> dict[str, bytes]:
    files = {IMAGES_NAME: _idx(PIXELS), LABELS_NAME: _idx(LABELS)}
    files |= {"t10k-images-idx3-ubyte": _idx(PIXELS[:2]), "t10k-labels-idx1-ubyte": _idx(LABELS[:2])}
    return {f"{name}.gz": gzip.compress(data) for name, data in files.items()} if packed else files


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("below", ["", "raw/"])
def test_images_and_classes_are_those_that_torchvision_reads(
    tmp_path: Path, packed: bool, below: str
) -> None:
    source = folder(tmp_path / "in", {below + name: data for name, data in _files(packed).items()})
    report = call(tmp_path, source, resolution=20, channels=1, workers=2)
    for name, data in _files().items():
        (tmp_path / name).write_bytes(data)
    images = read_image_file(str(tmp_path / IMAGES_NAME)).numpy()[:, 4:24]  # the central square
    labels = read_label_file(str(tmp_path / LABELS_NAME)).tolist()
    got = stored(tmp_path / "out")
    assert len(got) == 12
    assert all(np.array_equal(got[f"{n:08d}"][..., 0], image) for n, image in enumerate(images))
    assert labels_of(tmp_path / "out") == {f"{n:08d}": str(label) for n, label in enumerate(labels)}
    suffix = ".gz" if packed else ""
    assert report.labels_from == LABELS_NAME + suffix
    assert f"t10k-images-idx3-ubyte{suffix}" in report.others.words()


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_is_a_source(tmp_path: Path, packed: bool) -> None:
    source = folder(tmp_path / "in", _files(packed)) / f"t10k-images-idx3-ubyte{'.gz' if packed else ''}"
    assert call(tmp_path, source).count == 2
    assert set(labels_of(tmp_path / "out").values()) == {"0", "1"}


def test_where_both_lie_the_plain_file_is_read(tmp_path: Path) -> None:
    source = folder(tmp_path / "in", {**_files(), f"{IMAGES_NAME}.gz": b"damaged"})
    assert call(tmp_path, source).count == 12


@pytest.mark.parametrize("packed", [False, True])
def test_of_a_file_that_is_cut_short_whole_images_are_taken(tmp_path: Path, packed: bool) -> None:
    files = _files(packed)
    name = IMAGES_NAME + (".gz" if packed else "")
    data = _idx(PIXELS)[: 16 + 3 * 560 + 7]
    # A gzip that ends without its checksum: what it held before is read.
    files[name] = gzip.compress(data)[:-8] if packed else data
    report = call(tmp_path, folder(tmp_path / "in", files), resolution=20, channels=1)
    assert report.skipped == [(name, "ends inside image 3 of 12; those before it are taken")]
    got = stored(tmp_path / "out")
    assert sorted(got) == [f"{n:08d}" for n in range(3)]
    assert np.array_equal(got["00000002"][..., 0], PIXELS[2, 4:24])


BAD = {  # file, content or None for its absence, what is said
    "no labels": (LABELS_NAME, None, "has no file of labels beside it .*--labels none"),
    "labels of another set": (LABELS_NAME, _idx(LABELS[:5]), "has 5 labels for 12 images; .*--labels none"),
    "labels cut short": (LABELS_NAME, _idx(LABELS)[:-2], "ends after 10 of 12 labels; .*--labels none"),
    "labels of a longer file": (LABELS_NAME, _head(20) + bytes(12), "ends after 12 of 20 labels"),
    "labels are images": (LABELS_NAME, _idx(PIXELS), "is no IDX file of bytes in 1 dimensions"),
    "empty": (IMAGES_NAME, b"", "is no IDX file of bytes in 3 dimensions"),
    "another type": (IMAGES_NAME, _head(2, 2, 2, kind=13), "is no IDX file of bytes .*00000d03"),
    "vectors": (IMAGES_NAME, _idx(PIXELS[0]), "is no IDX file of bytes in 3 dimensions"),
    "huge": (IMAGES_NAME, _head(1 << 31, 1 << 10, 1 << 10), "at most 4294967296 are read"),
    "no pixels": (IMAGES_NAME, _head(2, 0, 5), "images of 5x0 pixels; 1 to 16384 a side"),
    "wide": (IMAGES_NAME, _head(1, 1, 1 << 20), "images of 1048576x1 pixels"),
    "no images": (IMAGES_NAME, _head(0, 8, 8), "holds no images"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_said_in_a_line(tmp_path: Path, case: str) -> None:
    name, content, message = BAD[case]
    files = {name: data for name, data in _files().items() if name.startswith("train")}
    files = {**files, name: content or b""}
    if content is None:
        del files[name]
    with pytest.raises(UserError, match=message) as caught:
        call(tmp_path, folder(tmp_path / "in", files))
    assert "\n" not in str(caught.value)


def test_what_is_no_gzip_is_said(tmp_path: Path) -> None:
    source = folder(tmp_path / "in", {f"{IMAGES_NAME}.gz": b"x"})
    with pytest.raises(UserError, match=r"train-images-idx3-ubyte.gz: cannot be unpacked \(Not a gzipped"):
        call(tmp_path, source)


def test_a_source_with_one_label_has_no_columns(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--label-column kind: .*has no such column of labels"):
        call(tmp_path, folder(tmp_path / "in", _files()), label_column="kind")


def test_several_sets_are_asked_about(tmp_path: Path) -> None:
    names = [f"emnist-{kind}-train-images-idx3-ubyte" for kind in ("digits", "letters")]
    source = folder(tmp_path / "in", dict.fromkeys(names, _idx(PIXELS)))
    with pytest.raises(UserError, match=f"several sets; give one of these .*: {names[0]}, {names[1]}"):
        call(tmp_path, source)

"""CIFAR's binary version: records as its page describes them, whole or damaged."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.data.preparing.prepare import prepare
from pipeline.data.preparing.settings import Asked
from pipeline.data.shards.index import ShardIndex
from pipeline.errors import UserError
from tests.data.feeds import call, folder, labels_of, stored

NAMES = [f"kind {n}" for n in range(10)]
FINE, COARSE = [f"fine {n}" for n in range(100)], [f"coarse {n}" for n in range(20)]


def _pixels(batch: int, count: int) -> np.ndarray:
    """[N, 32, 32, 3]"""
    return np.random.default_rng(batch).integers(0, 256, (count, 32, 32, 3), np.uint8)


def _records(pixels: np.ndarray, *labels: list[int]) -> bytes:
    """For each picture its labels, then all reds row by row, all greens, all blues."""
    parts = []
    for n, picture in enumerate(pixels):
        parts.append(bytes(label[n] for label in labels))
        parts += [picture[..., channel].tobytes() for channel in range(3)]
    return b"".join(parts)


def _ten(root: Path, count: int = 4) -> Path:
    batches = {
        f"data_batch_{b}.bin": _records(_pixels(b, count), [(b + n) % 10 for n in range(count)])
        for b in range(1, 6)
    }
    rest = {
        "test_batch.bin": _records(_pixels(6, 2), [0, 1]),
        "batches.meta.txt": "\n".join([*NAMES, "", ""]).encode(),
        "readme.html": b"<html>",
    }
    return folder(root, {**batches, **rest})


def _hundred(root: Path) -> Path:
    pixels = _pixels(0, 6)
    return folder(
        root,
        {
            "train.bin": _records(pixels, [19, 0, 1, 2, 3, 4], [99, 7, 8, 9, 10, 11]),
            "test.bin": _records(pixels[:1], [0], [0]),
            "fine_label_names.txt": "\n".join(FINE).encode(),
            "coarse_label_names.txt": "\n".join(COARSE).encode(),
        },
    )


def test_the_training_pictures_of_the_ten_classes(tmp_path: Path) -> None:
    source = _ten(tmp_path / "cifar-10-batches-bin")
    report = prepare(source, tmp_path / "out", workers=2)
    got = stored(tmp_path / "out")
    assert len(got) == 20
    for batch in range(1, 6):
        for n, picture in enumerate(_pixels(batch, 4)):
            assert np.array_equal(got[f"data_batch_{batch}/{n:05d}"], picture)
    assert labels_of(tmp_path / "out") == {
        f"data_batch_{b}/{n:05d}": NAMES[(b + n) % 10] for b in range(1, 6) for n in range(4)
    }
    assert report.labels_from == "batches.meta.txt"
    assert report.others.words() == "1 .bin (test_batch.bin), 1 .html (readme.html)"
    assert not report.skipped


def test_one_batch_is_a_source(tmp_path: Path) -> None:
    report = call(tmp_path, _ten(tmp_path / "in") / "test_batch.bin", resolution=32)
    got = stored(tmp_path / "out")
    assert [np.array_equal(got[f"test_batch/{n:05d}"], _pixels(6, 2)[n]) for n in range(2)] == [True, True]
    assert report.classes == ("kind 0", "kind 1")


@pytest.mark.parametrize(
    ("column", "names"),
    [
        (None, ["fine 99", *(f"fine {n}" for n in range(7, 12))]),
        ("fine", ["fine 99", *(f"fine {n}" for n in range(7, 12))]),
        ("coarse", ["coarse 19", *(f"coarse {n}" for n in range(5))]),
    ],
)
def test_fine_or_coarse_classes(tmp_path: Path, column: str | None, names: list[str]) -> None:
    source = _hundred(tmp_path / "in")
    call(tmp_path, source, label_column=column, resolution=32)
    assert labels_of(tmp_path / "out") == {f"train/{n:05d}": name for n, name in enumerate(names)}
    assert np.array_equal(stored(tmp_path / "out")["train/00005"], _pixels(0, 6)[5])


def test_without_the_file_of_names_classes_are_numbers(tmp_path: Path) -> None:
    source = _ten(tmp_path / "in")
    (source / "batches.meta.txt").unlink()
    report = call(tmp_path, source)
    assert report.classes == tuple(str(n) for n in range(1, 9))
    assert any(
        line.startswith("classes (numbers, for want of batches.meta.txt): 1 1") for line in report.lines()
    )


def test_what_is_whole_is_taken(tmp_path: Path) -> None:
    source = _ten(tmp_path / "in")
    data = (source / "data_batch_2.bin").read_bytes()
    (source / "data_batch_2.bin").write_bytes(data[: 2 * 3073 + 1000])
    (source / "data_batch_3.bin").write_bytes(b"\x0a" + (source / "data_batch_3.bin").read_bytes()[1:])
    (source / "data_batch_4.bin").unlink()
    (source / "data_batch_5.bin").write_bytes(b"")
    report = call(tmp_path, source, resolution=32)
    assert sorted(report.skipped) == [
        ("data_batch_2.bin", "ends inside record 2; the 2 before it are taken"),
        ("data_batch_3/00000", "its class is 10 of 0 to 9"),
        ("data_batch_4.bin", "is not there"),
    ]
    got = stored(tmp_path / "out")
    assert len(got) == 4 + 2 + 3
    assert np.array_equal(got["data_batch_3/00001"], _pixels(3, 4)[1])


def _pickles(root: Path) -> Path:
    content = pickle.dumps({b"data": b"", b"labels": []}, protocol=2)
    return folder(root, {"data_batch_1": content, "test_batch": content, "batches.meta": content})


def _unnamed_pickles(root: Path) -> Path:
    return folder(root, dict.fromkeys(("train", "test", "meta"), pickle.dumps({b"data": b""}, protocol=2)))


def _wrong_names(root: Path) -> Path:
    source = _ten(root)
    (source / "batches.meta.txt").write_text("cat\ndog\ndog\n")
    return source


BAD: dict[str, tuple[Any, str, dict[str, Any], str]] = {
    # what is made, what of it is given, options, what is said
    "pickles": (_pickles, "", {}, "pickles can run code .*cifar-10-binary.tar.gz .*kriz/cifar.html"),
    "pickles of CIFAR-100": (_unnamed_pickles, "", {}, "looks like pickles.*cifar-100-binary.tar.gz"),
    "a pickle": (_pickles, "data_batch_1", {}, "data_batch_1: looks like pickles.*CIFAR's binary version"),
    "column": (_hundred, "", {"label_column": "big"}, "has no label 'big'; allowed: coarse, fine"),
    "column of ten": (_ten, "", {"label_column": "fine"}, "has no label 'fine'; allowed: label"),
    "names": (_wrong_names, "", {}, "batches.meta.txt: has 2 names of classes where 10 .*--labels none"),
    "a file": (_ten, "batches.meta.txt", {}, "not an archive of a known kind; allowed: .*CIFAR's binary"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_said_in_a_line(tmp_path: Path, case: str) -> None:
    make, given, options, message = BAD[case]
    source = make(tmp_path / "in")
    with pytest.raises(UserError, match=message) as caught:
        call(tmp_path, source / given, **options)
    assert "\n" not in str(caught.value)


def test_other_files_called_train_are_none_of_cifars(tmp_path: Path) -> None:
    source = folder(tmp_path / "in", {"train.bin": bytes(3075)})
    with pytest.raises(UserError, match=re.escape("holds no images but 1 .bin (train.bin)")):
        call(tmp_path, source)


def test_labels_may_be_left_out(tmp_path: Path) -> None:
    prepare(_wrong_names(tmp_path / "in"), tmp_path / "out", Asked(labels="none"), workers=1)
    index = ShardIndex.read(tmp_path / "out")
    assert (index.count, index.classes, index.height) == (20, (), 32)

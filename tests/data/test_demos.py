"""The demos: real digits, and faces that are a function of (seed, number)."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from pipeline.data.preparing.prepare import prepare
from pipeline.data.preparing.settings import Asked
from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.reader import ShardReader
from pipeline.data.sources.faces.portrait import portrait
from pipeline.data.sources.faces.traits import HAIRS, traits
from pipeline.data.streaming.numbered import read_uint8
from pipeline.errors import UserError


def test_digits_on_photographs_are_what_digits_and_crops_differ_by(tmp_path: Path) -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    prepare("demo:digits-on-photographs", tmp_path, workers=1)
    index = ShardIndex.read(tmp_path)
    assert (index.count, index.classes) == (1797, tuple("0123456789"))
    assert (index.height, index.width, index.channels) == (32, 32, 3)
    photographs = [
        np.asarray(Image.fromarray(datasets.load_sample_image(name)).reduce(2), np.int16)
        for name in ("china.jpg", "flower.jpg")
    ]
    images, labels, _ = next(read_uint8(index, batch_size=20))
    assert labels is not None
    digits = datasets.load_digits()
    with ShardReader(index) as reader:
        for n in range(20):
            number = int(reader.read(0, n).meta["source"].removeprefix("digit-"))
            assert digits.target[number] == labels[n]
            grey = Image.fromarray(np.round(digits.images[number] * 255 / 16).astype(np.uint8))
            digit = np.asarray(grey.convert("RGB").resize((32, 32), Image.Resampling.LANCZOS), np.int16)
            found = images[n].permute(1, 2, 0).numpy()
            assert any(lies_in(digit, found, photograph) for photograph in photographs)


def lies_in(
    digit: npt.NDArray[np.int16], found: npt.NDArray[np.uint8], photograph: npt.NDArray[np.int16]
) -> bool:
    """Whether |digit - crop| is what was found for some crop of the photograph, by its corner pixel first."""
    inner = photograph[: photograph.shape[0] - 31, : photograph.shape[1] - 31]
    for top, left in np.argwhere((np.abs(digit[0, 0] - inner) == found[0, 0]).all(axis=2)):
        crop = photograph[top : top + 32, left : left + 32]
        if np.array_equal(np.abs(digit - crop), found):
            return True
    return False


def test_digits(tmp_path: Path) -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    report = prepare("demo:digits", tmp_path, workers=1)
    index = ShardIndex.read(tmp_path)
    assert (report.count, index.classes) == (1797, tuple("0123456789"))
    assert len(report.lines()) == 2  # nothing was asked, so nothing is smaller than asked
    assert (index.height, index.width, index.channels) == (32, 32, 3)
    digits = datasets.load_digits()
    images, labels, _ = next(read_uint8(index, batch_size=200))
    with ShardReader(index) as reader:
        for n in range(200):
            number = int(reader.read(0, n).meta["source"].removeprefix("digit-"))
            assert labels is not None
            assert digits.target[number] == labels[n]
            grey = Image.fromarray(np.round(digits.images[number] * 255 / 16).astype(np.uint8))
            expected = np.asarray(grey.convert("RGB").resize((32, 32), Image.Resampling.LANCZOS))
            assert np.array_equal(images[n].permute(1, 2, 0).numpy(), expected)


def test_digits_need_scikit_learn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(UserError, match=r"needs scikit-learn.*pip install 'hrgan\[demo\]'"):
        prepare("demo:digits", tmp_path)


def test_faces(tmp_path: Path) -> None:
    prepare("demo:faces", tmp_path, Asked(resolution=64, count=20, seed=5), workers=1)
    index = ShardIndex.read(tmp_path)
    assert index.count == 20
    assert set(index.classes) <= set(HAIRS)
    with ShardReader(index) as reader:
        for n in range(20):
            sample = reader.read(0, n)
            number = int(sample.meta["source"].removeprefix("face-"))
            person = traits(5, number)
            assert sample.label is not None
            assert index.classes[sample.label] == person.hair == sample.meta["hair"]
            assert {"skin", "hair", "glasses", "smile", "age", "yaw"} <= sample.meta.keys()
            assert np.array_equal(
                next(read_uint8(index, n, n + 1))[0][0].permute(1, 2, 0).numpy(), portrait(person, 64)
            )


def test_a_face_depends_on_seed_and_number_alone() -> None:
    assert traits(1, 7) == traits(1, 7)
    assert traits(1, 7) != traits(1, 8)
    assert traits(1, 7) != traits(2, 7)
    assert np.array_equal(portrait(traits(1, 7), 48), portrait(traits(1, 7), 48))


def test_faces_of_all_sorts_paint_without_a_warning() -> None:
    people = [traits(2, number) for number in range(120)]
    assert len({(p.hair, p.style, p.glasses, p.beard) for p in people}) > 25
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pictures = np.stack([portrait(person, 32) for person in people]).astype(float)
    # Faces, not noise: all share a layout, none is another.
    assert pictures.std(0).mean() > 15
    flat = pictures.reshape(len(people), -1)
    distances = np.abs(flat[:, None, ::7] - flat[None, :, ::7]).mean(-1) + 1e9 * np.eye(len(people))
    assert distances.min() > 2


def test_a_face_is_the_same_person_at_any_size() -> None:
    person = traits(0, 5)
    small, large = portrait(person, 64), Image.fromarray(portrait(person, 512))
    shrunk = np.asarray(large.resize((64, 64), Image.Resampling.BOX)).astype(int)
    assert np.abs(shrunk - small).mean() < 4

"""prepare --align: landmarks in the forms that people have them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.data.preparing.choosing import Choice
from pipeline.data.preparing.faces import read_faces
from pipeline.data.preparing.prepare import prepare
from pipeline.data.preparing.settings import Asked
from pipeline.data.shards.decode import decode_field
from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.reader import read_samples
from pipeline.errors import UserError
from tests.data.feeds import call, file, folder, plain, stored
from tests.data.test_prepare_fields import Pairs, made
from tests.images.test_alignment import canonical, drawn, placed, seen

FACES = {
    "a.png": placed((100, 90), 30, 0),
    "b.png": placed((90, 100), 26, 25),
    "c.png": placed((95, 95), 24, 200),
}
PARTS = ("lefteye", "righteye", "nose", "leftmouth", "rightmouth")
TITLES = [f"{part}_{axis}" for part in PARTS for axis in "xy"]


def _source(root: Path, **more: bytes) -> Path:
    files = {name: file(drawn(points, (200, 200), 4)) for name, points in FACES.items()}
    return folder(root / "in", {**files, **{f"{name}.png": data for name, data in more.items()}})


def _five(points: np.ndarray) -> list[float]:
    """Eyes, nose, corners of the mouth, as CelebA has them."""
    return [*points[:2].ravel(), *points.mean(0), *points[2:].ravel()]


def _celeba(first: str) -> str:
    rows = [f"{name}  {' '.join(f'{v:.3f}' for v in _five(points))}" for name, points in FACES.items()]
    return "\n".join([first, " ".join(TITLES), *rows, ""]).lstrip("\n")


def _ffhq() -> str:
    content = {}
    for number, (name, points) in enumerate(FACES.items()):
        marks = np.full((68, 2), 50.0)
        for eye, corner in ((range(36, 42), points[0]), (range(42, 48), points[1])):
            around = np.array([[np.cos(k), np.sin(k)] for k in np.arange(6) * np.pi / 3])
            marks[list(eye)] = corner + 3 * around
        marks[48], marks[54] = points[2], points[3]
        wild = {"file_path": f"in-the-wild-images/00000/{name}", "face_landmarks": marks.tolist()}
        content[str(number)] = {"category": "training", "in_the_wild": wild}
    return json.dumps(content)


def _csv(columns: slice | list[int], titles: str = "") -> str:
    rows = [
        f"{name},{','.join(f'{v:.3f}' for v in np.array(_five(p))[columns])}" for name, p in FACES.items()
    ]
    return "\n".join([*([titles] if titles else []), *rows])


def _objects(points: np.ndarray) -> dict[str, Any]:
    names = ("right_mouth", "left_mouth", "left_eye", "right_eye")
    return {key: points[place].tolist() for key, place in zip(names, (3, 2, 0, 1), strict=True)}


def _three() -> str:
    threes = {name: [*points[:2].ravel(), *points[2:].mean(0)] for name, points in FACES.items()}
    return "\n".join(";".join([name, *(f"{v:.3f}" for v in three)]) for name, three in threes.items())


FORMS = {
    "list_landmarks_celeba.txt": _celeba("3"),
    "list_landmarks.csv": _csv(slice(None), ",".join(["image_id", *TITLES])),
    "bare.csv": _csv(slice(None)),
    "four.tsv": _csv([0, 1, 2, 3, 6, 7, 8, 9]).replace(",", "\t"),
    "three.csv": _three(),
    "objects.jsonl": "\n".join(
        json.dumps({"file_name": name, "score": 0.9, **_objects(points)}) for name, points in FACES.items()
    ),
    "lists.json": json.dumps({name: np.array(_five(p)).reshape(5, 2).tolist() for name, p in FACES.items()}),
    "exchanged.csv": _csv([2, 3, 0, 1, 4, 5, 8, 9, 6, 7]),
    "ffhq-dataset-v2.json": _ffhq(),
}  # fmt: skip


@pytest.mark.parametrize("form", list(FORMS))
def test_faces_come_to_their_places(tmp_path: Path, form: str) -> None:
    (tmp_path / form).write_text(FORMS[form])
    call(tmp_path, _source(tmp_path), resolution=64, align=tmp_path / form)
    for name, image in stored(tmp_path / "out").items():
        assert np.abs(seen(Image.fromarray(image)) - canonical(64)).max() < 0.75, name
    origin = ShardIndex.read(tmp_path / "out").origin
    assert (origin["crop"], origin["align"]) == (None, form)
    assert len(origin["landmarks"]) == 16


def test_eyes_are_the_middle_of_their_points(tmp_path: Path) -> None:
    (tmp_path / "ffhq.json").write_text(FORMS["ffhq-dataset-v2.json"])
    points = read_faces(tmp_path / "ffhq.json", list(FACES)).points
    np.testing.assert_allclose(points, np.stack(list(FACES.values())))


def test_pictures_without_landmarks_are_left_out_and_named(tmp_path: Path) -> None:
    rows = FORMS["bare.csv"].splitlines()
    rows[1] = "b.png" + ",nan" * 10
    rows.append("gone.png" + ",5" * 10)
    rows.append("far.png,5000,5000,5030,5000,5015,5010,5000,5030,5030,5030")
    rows.append("point.png" + ",50" * 10)
    (tmp_path / "five.csv").write_text("\n".join(rows))
    source = _source(tmp_path, far=plain(1, (90, 90)), point=plain(2, (90, 90)), other=plain(3, (90, 90)))
    report = call(tmp_path, source, resolution=32, align=tmp_path / "five.csv", choice=Choice(min_side=100))
    assert set(stored(tmp_path / "out")) == {"a.png"}
    assert dict(report.skipped) == {
        "b.png": "not wanted: five.csv has no landmarks for it",
        "c.png": "not wanted: 96x96 pixels; --min-side is 100",  # the square around the face
        "other.png": "not wanted: five.csv has no landmarks for it",
        "far.png": "its landmarks lie outside of its 90x90 pixels",
        "point.png": "its landmarks lie all in one place",
    }
    assert "landmarks of 1 picture that are not in the source" in report.lines()


WRONG = {
    "none.csv": (None, "--align .*none.csv: no such file; allowed: ffhq-dataset-v2.json, or"),
    "empty.csv": ("", "empty.csv: "),
    "words.csv": ("a.png,1,2,3,4,5,6,7,8,9,x", "words.csv: entry 1: 'x': must be a number of pixels"),
    "seven.csv": ("a.png,1,2,3,4,5,6,7", r"seven.csv: entry 1: 7 numbers; allowed: 136 \(68 points\), 10"),
    "others.csv": (
        "x.png,1,2,3,4,5,6\ny.png,1,2,3,4,5,6",
        "none of its 2 rows is of a picture in the source",
    ),
    "broken.json": ('{"0": {"in_the_wild": ', "broken.json: not valid JSON"),
    "half.json": (
        json.dumps({"0": {"in_the_wild": {"file_path": "a.png"}}}),
        "entry 0: must have in_the_wild",
    ),
    "list.json": ("[1, 2, 3]", "list.json: entry 1"),
    "table.xlsx": ("PK", "table.xlsx"),
}


@pytest.mark.parametrize("name", list(WRONG))
def test_wrong_files_are_one_line(tmp_path: Path, name: str) -> None:
    content, message = WRONG[name]
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message) as caught:
        call(tmp_path, _source(tmp_path), align=tmp_path / name)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("--align")
    assert not (tmp_path / "out/index.json").exists()


def test_what_lies_beside_is_aligned_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "eyes.csv").write_text("\n".join(f"{n}.png,10,6,14,6,12,10" for n in range(3)))
    index = made(monkeypatch, tmp_path / "out", Pairs(3), align=tmp_path / "eyes.csv", filter="box")
    # The square has a side of 16 around (12, 6.4): columns 4 to 20 of 24, rows -1.6 to 14.4 of 16.
    for sample in read_samples(index):
        content = {field.name: (field, sample.fields[field.name][1]) for field in index.fields}
        pair, mask, small = (decode_field(*content[name]).numpy() for name in ("pair", "mask", "small"))
        image = decode_field(index.fields[0], sample.image)[..., 0].numpy().astype(int)
        middle = slice(3, 6)  # rows that the blur of the border leaves alone
        expected = 8 * (5 + 2 * np.arange(8))
        assert np.abs(image[middle] - expected).max() <= 3
        assert np.abs(image + pair[..., 0] - 255)[middle].max() <= 3
        np.testing.assert_array_equal(mask[middle] > 0, np.broadcast_to(expected > 90, (3, 8)))
        assert np.abs(small[2, :, 0] - expected.reshape(4, 2).mean(1)).max() <= 8


def test_the_same_bytes_on_any_number_of_processes(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text(FORMS["bare.csv"])
    source = _source(tmp_path)
    asked = Asked(resolution=32, align=tmp_path / "l.csv")
    digests = []
    for workers in (1, 2):
        prepare(source, tmp_path / str(workers), asked, workers=workers)
        digests.append(ShardIndex.read(tmp_path / str(workers)).digest)
    assert digests[0] == digests[1]


def test_rows_are_found_whatever_they_call_a_picture(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("x\\a,1,2,9,2,5,9\n./x/b.png,1,2,9,2,5,9")
    faces = read_faces(tmp_path / "l.csv", ["x/a.png", "x/b.png", "y/c.png"])
    assert np.isfinite(faces.points).all((1, 2)).tolist() == [True, True, False]

"""Shards as the webdataset package writes them, as a source that is copied."""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset
from PIL import Image

from pipeline.data.archives import patterns
from pipeline.data.preparing.prepare import prepare
from pipeline.data.preparing.settings import Asked
from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.reader import read_samples
from pipeline.data.shards.verify import verify
from pipeline.errors import UserError
from tests.data.feeds import Bytes, call, file, folder, labels_of, plain, stored

FORMATS = {"png": "PNG", "webp": "WEBP", "jpg": "JPEG", "jpeg": "JPEG"}


def _picture(n: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(n).integers(0, 256, (16, 16, 3), np.uint8))


def _sample(n: int, kind: str = "png", **more: Any) -> dict[str, Any]:
    return {"__key__": f"{n:06d}", kind: file(_picture(n), FORMATS[kind]), **more}


def _write(root: Path, samples: Iterable[dict[str, Any]], in_each: int = 4) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    pattern = str(root / "data-%06d.tar")
    with webdataset.ShardWriter(pattern, maxcount=in_each, verbose=0) as writer:
        for sample in samples:
            writer.write(sample)
    return root


def _tar(path: Path, members: list[tuple[str, bytes]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def _texts(out: Path) -> dict[str, str]:
    index = ShardIndex.read(out)
    verify(index)
    return {s.meta["source"]: s.fields["text"][1].decode() for s in read_samples(index)}


def _about(n: int) -> dict[str, Any]:
    return {"kind": ["cat", "dog"][n % 2], "size": n % 3, "caption": f"a picture of {n} ä", "score": 0.5}


def _rich(root: Path) -> Path:
    return _write(root, [_sample(n, cls=n % 5, txt=f" text {n}\n", json=_about(n)) for n in range(10)])


@pytest.mark.parametrize("kind", FORMATS)
def test_pixels_and_classes_are_those_that_were_written(tmp_path: Path, kind: str) -> None:
    # Sorted by class, as those who convert folders write them.
    root = _write(tmp_path / "in", [_sample(n, kind, cls=n // 5) for n in range(20)])
    report = prepare(root, tmp_path / "out", Asked(shard_size=7), workers=2)
    names = {n: f"data-{n // 4:06d}.tar/{n:06d}.{kind}" for n in range(20)}
    got = stored(tmp_path / "out")
    assert set(got) == set(names.values())
    for n, name in names.items():
        truth = np.asarray(Image.open(io.BytesIO(file(_picture(n), FORMATS[kind]))).convert("RGB"))
        assert np.array_equal(got[name], truth)
    assert labels_of(tmp_path / "out") == {name: str(n // 5) for n, name in names.items()}
    assert (report.skipped, len(report.others)) == ([], 0)
    order = [sample.label for sample in read_samples(ShardIndex.read(tmp_path / "out"))]
    assert order != sorted(order)


def test_a_pattern_names_the_same_pictures_as_the_folder(tmp_path: Path) -> None:
    root = _rich(tmp_path / "in")
    pattern = f"{root}/data-{{000000..000002}}.tar"
    assert call(tmp_path, pattern).count == 10
    prepare(root, tmp_path / "folder", Asked(resolution=16), workers=1)
    assert labels_of(tmp_path / "out") == labels_of(tmp_path / "folder")
    some = prepare(f"{root}/data-00000{{0,2}}.tar", tmp_path / "some", workers=1)
    assert some.count == 6


def test_shards_in_several_folders_keep_their_names_apart(tmp_path: Path) -> None:
    for split in ("train", "val"):
        _write(tmp_path / split, [_sample(n, cls=n) for n in range(2)])
    call(tmp_path, f"{tmp_path}/{{train,val}}/data-000000.tar")
    assert set(stored(tmp_path / "out")) == {
        f"{split}/data-000000.tar/{n:06d}.png" for split in ("train", "val") for n in range(2)
    }


@pytest.mark.parametrize(
    ("column", "classes"),
    [
        (None, {n: str(n % 5) for n in range(10)}),
        ("cls", {n: str(n % 5) for n in range(10)}),
        ("kind", {n: ["cat", "dog"][n % 2] for n in range(10)}),
        ("size", {n: str(n % 3) for n in range(10)}),
        ("txt", {n: f"text {n}" for n in range(10)}),
    ],
)
def test_classes_from_any_column(tmp_path: Path, column: str | None, classes: dict[int, str]) -> None:
    call(tmp_path, _rich(tmp_path / "in"), label_column=column)
    got = {int(Path(name).stem): label for name, label in labels_of(tmp_path / "out").items()}
    assert got == classes


@pytest.mark.parametrize(("column", "text"), [("txt", "text {}"), ("caption", "a picture of {} ä")])
def test_captions_become_a_field(tmp_path: Path, column: str, text: str) -> None:
    root = _rich(tmp_path / "in")
    call(tmp_path, root, caption_column=column, workers=2)
    got = {int(Path(name).stem): said for name, said in _texts(tmp_path / "out").items()}
    assert got == {n: text.format(n) for n in range(10)}
    assert {field.name: field.shape for field in ShardIndex.read(tmp_path / "out").fields} == {
        "text": (len(text.format(0).encode()),)
    }
    assert len(labels_of(tmp_path / "out")) == 10
    # Other captions are another data set.
    other = "caption" if column == "txt" else "txt"
    with pytest.raises(UserError):
        call(tmp_path, root, caption_column=other)


def test_a_file_may_give_the_captions_instead(tmp_path: Path) -> None:
    root = _rich(tmp_path / "in")
    rows = [f"{n:06d},c{n % 2},said {n}" for n in range(10)]
    (tmp_path / "l.csv").write_text("\n".join(["key,class,said", *rows]))
    call(tmp_path, root, labels=tmp_path / "l.csv", label_column="class", caption_column="said")
    got = {int(Path(name).stem): said for name, said in _texts(tmp_path / "out").items()}
    assert got == {n: f"said {n}" for n in range(10)}
    assert set(labels_of(tmp_path / "out").values()) == {"c0", "c1"}


def test_one_tar_has_the_same_columns(tmp_path: Path) -> None:
    root = _write(tmp_path / "in", [_sample(n, txt=f"t{n}", json=_about(n)) for n in range(4)])
    call(tmp_path, root / "data-000000.tar", label_column="kind", caption_column="txt")
    assert labels_of(tmp_path / "out") == {f"{n:06d}.png": ["cat", "dog"][n % 2] for n in range(4)}
    assert _texts(tmp_path / "out") == {f"{n:06d}.png": f"t{n}" for n in range(4)}


def test_without_classes_it_is_said_and_nothing_guessed(tmp_path: Path) -> None:
    root = _write(tmp_path / "in", [_sample(n, json=_about(n)) for n in range(8)])
    report = call(tmp_path, root)
    assert "no classes (no .cls beside the pictures; --label-column KEY takes a key of their .json)" in (
        report.lines()
    )
    assert report.others.words() == "8 .json (data-000000.tar/000000.json)"
    by_archive = prepare(root, tmp_path / "2", Asked(resolution=16, labels="folders"), workers=1)
    assert by_archive.classes == ("data-000000.tar", "data-000001.tar")


def test_imagenet_comes_as_an_archive_a_class(tmp_path: Path) -> None:
    for synset in ("n01440764", "n01443537"):
        _tar(
            tmp_path / f"in/{synset}.tar",
            [(f"{synset}_{n}.JPEG", file(_picture(n), "JPEG")) for n in (1, 20)],
        )
    report = call(tmp_path, tmp_path / "in")
    assert report.classes == ("n01440764", "n01443537")
    assert report.labels_from == "the archives' names"
    with pytest.raises(UserError, match=r"--label-column kind: .*has no such column of labels"):
        prepare(tmp_path / "in", tmp_path / "2", Asked(resolution=16, label_column="kind"), workers=1)
    assert all(name.startswith(label) for name, label in labels_of(tmp_path / "out").items())


def test_bad_samples_are_named_and_good_ones_kept(tmp_path: Path) -> None:
    root = _write(tmp_path / "in", [_sample(n, cls=n % 2) for n in range(4)])
    _tar(
        root / "data-1.tar",
        [
            ("a.png", plain(1)), ("a.cls", b"0"), ("a.mask.png", plain(2)),
            ("a.jpg", file(_picture(1), "JPEG")), ("b.cls", b"1"), ("c.png", b"no picture"), ("c.cls", b"1"),
            ("d.png", plain(4)), ("d.png", plain(5)), ("d.cls", b"1"),
        ],
    )  # fmt: skip
    (root / "data-2.tar").write_bytes(b"")
    whole = (root / "data-000000.tar").read_bytes()
    (root / "data-3.tar").write_bytes(whole[: 512 * 4 + 100])
    report = call(tmp_path, root)
    said = dict(report.skipped)
    assert said["data-1.tar/a.png"] == "is a second image of its sample; data-1.tar/a.jpg is taken"
    assert said["data-1.tar/b.cls"] == "is of a sample without an image"
    assert said["data-1.tar/d.png"] == "name occurs twice; the last one is taken"
    assert said["data-2.tar"] == "is no tar archive"
    assert re.match(r"the archive is cut short .*; what comes before is taken", said["data-3.tar"])
    assert "data-1.tar/c.png" in said
    assert report.others.words() == "1 .png (data-1.tar/a.mask.png)"
    got = stored(tmp_path / "out")
    assert {name for name in got if name.startswith("data-1")} == {"data-1.tar/a.jpg", "data-1.tar/d.png"}
    assert (got["data-1.tar/d.png"] == 5).all()
    assert len([name for name in got if name.startswith("data-0")]) == 4


def test_samples_without_a_caption_are_left_out(tmp_path: Path) -> None:
    samples = [_sample(n, cls=n % 2, json={"c": f"t{n}"}) for n in range(6)]
    samples[0]["json"], samples[1]["json"], samples[2]["json"] = {"x": 1}, {"c": 7}, {"c": "x" * 70_000}
    del samples[3]["json"]
    report = call(tmp_path, _write(tmp_path / "in", samples), caption_column="c")
    assert {Path(name).stem: reason for name, reason in report.skipped} == {
        "000000": "data-000000.tar/000000.json: has no 'c'; there is x",
        "000001": "its c in .json is no text",
        "000002": "its text has 70000 bytes; at most 65536 and no zeros are allowed",
        "000003": "has no .json while others have; add it",
    }
    assert sorted(_texts(tmp_path / "out").values()) == ["t4", "t5"]


def _with(n: int, **more: Any) -> list[dict[str, Any]]:
    return [_sample(0, **more), *[_sample(k, cls=k, json=_about(k)) for k in range(1, n)]]


BAD: dict[str, tuple[list[dict[str, Any]], dict[str, Any], str]] = {  # samples, options, what is said
    "no cls": (_with(3), {}, "000000.png: has no .cls while others have; add it; or allowed: --labels none"),
    "empty cls": (_with(3, cls=b""), {}, "000000.cls: must be a class number or name"),
    "no json": (_with(3, cls=0), {"label_column": "kind"}, "000000.png: has no .json while others have"),
    "no key": (_with(3, json={"a": 1}), {"label_column": "kind"}, "000000.json: has no 'kind'; there is a"),
    "broken json": (_with(3, json=b"{"), {"label_column": "kind"}, "000000.json: not valid JSON"),
    "a list": (_with(3, json=[1]), {"label_column": "kind"}, "000000.json: has no 'kind'; there is no keys"),
    "measure": (_with(3, json={"score": 0.5}), {"label_column": "score"}, "score: 0.5 is a measure, not"),
    "null": (_with(3, json={"kind": None}), {"label_column": "kind"}, "kind: null: its class must be a name"),
    "huge": (_with(3, json=b" " * 2_000_000), {"label_column": "kind"}, "has 2000000 bytes; at most 1048576"),
    "no captions": (_with(3), {"labels": "none", "caption_column": "txt"}, "has no such column of texts"),
    "no texts": (_with(3, json=_about(0)), {"labels": "none", "caption_column": "x"},
                 "no picture has a caption 'x' .*has no 'x'; there is kind, size"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_said_in_a_line(tmp_path: Path, case: str) -> None:
    samples, options, message = BAD[case]
    encoded = [
        {key: json.dumps(value).encode() if key == "json" and not isinstance(value, bytes) else value
         for key, value in sample.items()}
        for sample in samples
    ]  # fmt: skip
    with pytest.raises(UserError, match=message) as caught:
        call(tmp_path, _write(tmp_path / "in", encoded), **options)
    assert "\n" not in str(caught.value)


PATTERNS = {  # pattern below the folder, what is said
    "absent": ("data-{000000..000009}.tar", "7 of 10 files are not there, such as .*data-000003.tar"),
    "open": ("data-{000000..000002.tar", "a brace is not closed"),
    "twice": ("data-00000{0,0}.tar", "names .*data-000000.tar twice"),
    "endless": ("data-{0..99999999999}.tar", r"\{0..99999999999\} is more than 1000 names"),
    "product": ("{0..99}{0..99}.tar", "is more than 1000 names"),
}  # fmt: skip


@pytest.mark.parametrize("case", PATTERNS)
def test_patterns_that_name_no_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    monkeypatch.setattr(patterns, "MOST_FILES", 1000)
    pattern, message = PATTERNS[case]
    root = _rich(tmp_path / "in")
    with pytest.raises(UserError, match=message) as caught:
        call(tmp_path, f"{root}/{pattern}")
    assert "\n" not in str(caught.value)


def test_tars_beside_pictures_or_folders_are_no_shards(tmp_path: Path) -> None:
    root = _rich(tmp_path / "in/below").parent
    message = r"holds no images but 3 .tar .*looks like tars.*: give the folder that they lie in as SOURCE"
    with pytest.raises(UserError, match=message):
        call(tmp_path, root)
    (root / "data-000000.tar").write_bytes((root / "below/data-000000.tar").read_bytes())
    with pytest.raises(UserError, match=r"holds no images but 4 .tar"):
        call(tmp_path, root)
    files: Bytes = {"a.png": plain(1), "b.png": plain(2)}
    report = call(tmp_path, folder(root / "below", files))
    assert set(stored(tmp_path / "out")) == set(files)
    assert report.others.words().startswith("3 .tar (data-000000.tar)")


def test_names_that_lead_out_are_refused(tmp_path: Path) -> None:
    _tar(tmp_path / "in/a.tar", [("../x.png", plain(1))])
    with pytest.raises(UserError, match="points outside of the archive"):
        call(tmp_path, tmp_path / "in")

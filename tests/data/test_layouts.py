"""Data sets as they lie after a download, in tiny replicas."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.data.preparing.prepare import prepare
from pipeline.data.preparing.settings import Asked
from pipeline.data.shards.index import ShardIndex
from pipeline.errors import UserError
from tests.data.feeds import Bytes, call, file, folder, labels_of, noise, plain, stored
from tests.data.test_classes import SOURCES

SYNSETS = {"n01440764": "tench, Tinca tinca", "n02012849": "crane", "n03126707": "crane"}
CALLED = ("tench, Tinca tinca", "crane (n02012849)", "crane (n03126707)")
CLASSES = "ILSVRC/Data/CLS-LOC"
JPEG = file(noise(20, 20), "JPEG")
VAL = [f"ILSVRC2012_val_{n:08d}" for n in range(1, 7)]
TRUTH = [list(SYNSETS)[n % 3] for n in range(6)]


def _imagenet(root: Path) -> Path:
    """As Kaggle has it."""
    train = {f"{CLASSES}/train/{synset}/{synset}_{n}.JPEG": JPEG for synset in SYNSETS for n in (7, 10026)}
    val = {f"{CLASSES}/val/{name}.JPEG": JPEG for name in VAL}
    test = {f"{CLASSES}/test/ILSVRC2012_test_{n:08d}.JPEG": JPEG for n in range(1, 3)}
    boxes = [f"{synset} 85 1 499 272 " * (1 + n % 2) for n, synset in enumerate(TRUTH)]
    # Kaggle's rows are in no order.
    rows = [f"{name},{box}" for name, box in zip(VAL, boxes, strict=True)][::-1]
    words = {
        "LOC_synset_mapping.txt": "".join(f"{key} {name}\n" for key, name in SYNSETS.items()).encode(),
        "LOC_val_solution.csv": "\n".join(["ImageId,PredictionString", *rows]).encode(),
        "words.txt": "\n".join(["n00001740\tentity", *(f"{k}\t{v}" for k, v in SYNSETS.items())]).encode(),
        "truth.txt": "".join(f"{n % 3 + 1}\n" for n in range(6)).encode(),
    }  # fmt: skip
    folder(root / "ILSVRC/Annotations", {"CLS-LOC/train/n01440764/n01440764_7.xml": b"<a/>"})
    return folder(root, {**train, **val, **test, **words})


def test_imagenets_training_pictures(tmp_path: Path) -> None:
    root = _imagenet(tmp_path / "in")
    report = call(tmp_path, root / CLASSES / "train")
    assert report.classes == tuple(SYNSETS)
    for file_name in ("LOC_synset_mapping.txt", "words.txt"):
        out = tmp_path / file_name
        prepare(root / CLASSES / "train", out, Asked(resolution=16, class_names=root / file_name), workers=1)
        assert ShardIndex.read(out).classes == CALLED
        places = {name: CALLED.index(label) for name, label in labels_of(out).items()}
        assert places == {f"{s}/{s}_{n}.JPEG": k for k, s in enumerate(SYNSETS) for n in (7, 10026)}


@pytest.mark.parametrize(
    ("labels", "classes"),
    [("LOC_val_solution.csv", TRUTH), ("truth.txt", [str(n % 3 + 1) for n in range(6)])],
)
def test_imagenets_validation_pictures(tmp_path: Path, labels: str, classes: list[str]) -> None:
    root = _imagenet(tmp_path / "in")
    call(tmp_path, root / CLASSES / "val", labels=root / labels)
    assert labels_of(tmp_path / "out") == {
        f"{name}.JPEG": label for name, label in zip(VAL, classes, strict=True)
    }


def test_classes_alone_are_for_pictures_in_number_order(tmp_path: Path) -> None:
    root = _imagenet(tmp_path / "in")
    (root / CLASSES / "val" / f"{VAL[2]}.JPEG").unlink()
    with pytest.raises(
        UserError, match=r"truth.txt: has a class in each row but no names.*6 rows, 5 pictures"
    ):
        call(tmp_path, root / CLASSES / "val", labels=root / "truth.txt")
    (root / "five.txt").write_text("1\n2\n3\n1\n2\n")
    with pytest.raises(UserError, match=r"five.txt: .* numbered one after the other.*5 rows, 5 pictures"):
        call(tmp_path, root / CLASSES / "val", labels=root / "five.txt")


@pytest.mark.parametrize("given", ["", "ILSVRC", CLASSES])
def test_imagenet_as_a_whole_is_asked_about(tmp_path: Path, given: str) -> None:
    root = _imagenet(tmp_path / "in")
    with pytest.raises(
        UserError, match=r"is ImageNet as a whole; give .*; or allowed: --labels none"
    ) as caught:
        call(tmp_path, root / given)
    said = str(caught.value)
    assert f"give {root / CLASSES / 'train'}" in said
    if given != CLASSES:  # the files lie above it or beside it
        assert f" --class-names {root / 'LOC_synset_mapping.txt'} as SOURCE" in said
        assert f"{root / CLASSES / 'val'} --labels {root / 'LOC_val_solution.csv'}" in said
    assert call(tmp_path, root / given, labels="none").count == 14


def _celeba(root: Path, attributes: str = "list_attr_celeba.txt") -> Path:
    names = [f"{n:06d}.jpg" for n in range(1, 7)]
    rows = [(name, 1 if n % 2 else -1, 1 if n % 3 else -1) for n, name in enumerate(names)]
    if attributes.endswith(".csv"):
        table = "image_id,Male,Young\n" + "".join(f"{a},{b},{c}\n" for a, b, c in rows)
    else:
        table = "6\nMale Young \n" + "".join(f"{a} {b:2d} {c:2d}\n" for a, b, c in rows)
    identities = "".join(f"{name} {n // 2 + 40}\n" for n, name in enumerate(names))
    return folder(
        root,
        {
            **{f"Img/img_align_celeba/{name}": JPEG for name in names},
            f"Anno/{attributes}": table.encode(),
            "Anno/identity_CelebA.txt": identities.encode(),
            "Eval/list_eval_partition.txt": b"000001.jpg 0\n",
        },
    )  # fmt: skip


@pytest.mark.parametrize("attributes", ["list_attr_celeba.txt", "list_attr_celeba.csv"])
def test_celeba_by_an_attribute(tmp_path: Path, attributes: str) -> None:
    source = _celeba(tmp_path / "in", attributes)
    report = call(tmp_path, source, label_column="Male")
    assert labels_of(tmp_path / "out") == {
        f"Img/img_align_celeba/{n + 1:06d}.jpg": "1" if n % 2 else "-1" for n in range(6)
    }
    assert report.labels_from == f"the source's own Anno/{attributes}"
    assert {name for name, _ in report.others.named} == {
        "Anno/identity_CelebA.txt",
        "Eval/list_eval_partition.txt",
    }
    with pytest.raises(UserError, match=r"Old: .* \(Anno/list_attr_celeba.... has .*Male, Young\)"):
        call(tmp_path, source, label_column="Old")
    assert prepare(source, tmp_path / "plain", Asked(resolution=16), workers=1).classes == ()


def test_celeba_by_identity(tmp_path: Path) -> None:
    source = _celeba(tmp_path / "in")
    call(tmp_path, source, labels=source / "Anno/identity_CelebA.txt")
    assert sorted(labels_of(tmp_path / "out").values()) == ["40", "40", "41", "41", "42", "42"]


def test_celeba_in_two_forms_is_asked_about(tmp_path: Path) -> None:
    source = folder(_celeba(tmp_path / "in"), {"Img/img_celeba/000001.jpg": JPEG})
    with pytest.raises(UserError, match=r"hardly classes.*as SOURCE \(\S*/in/Img/img_align_celeba\)"):
        call(tmp_path, source)


def _masked(above: str) -> Bytes:
    attributes = "4\nMale Smiling\n" + "".join(f"{n}.jpg  {1 - n % 2 * 2}  1\n" for n in range(4))
    return {
        **{f"{above}CelebA-HQ-img/{n}.jpg": JPEG for n in range(4)},
        **{f"{above}CelebAMask-HQ-mask-anno/0/{n:05d}_hair.png": plain(n) for n in range(4)},
        f"{above}CelebAMask-HQ-attribute-anno.txt": attributes.encode(),
    }


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("above", ["", "CelebAMask-HQ/"])
def test_masks_of_celeba_hq_are_left_alone(tmp_path: Path, kind: str, above: str) -> None:
    source = SOURCES[kind](tmp_path, _masked(above))
    report = call(tmp_path, source, label_column="Male")
    assert labels_of(tmp_path / "out") == {
        f"{above}CelebA-HQ-img/{n}.jpg": str(1 - n % 2 * 2) for n in range(4)
    }
    assert report.others.words() == f"4 .png ({above}CelebAMask-HQ-mask-anno/0/00000_hair.png)"
    report = prepare(source, tmp_path / "plain", Asked(resolution=16), workers=1)
    assert (report.count, report.classes) == (4, ())


def test_masks_without_their_pictures_are_pictures(tmp_path: Path) -> None:
    source = folder(tmp_path / "in", {f"CelebAMask-HQ-mask-anno/{n}.png": plain(n) for n in range(3)})
    assert call(tmp_path, source).count == 3


def _ffhq(root: Path, *parts: str) -> Path:
    pictures = {f"{part}/{n // 2 * 1000:05d}/{n:05d}.png": plain(n) for part in parts for n in range(4)}
    content: dict[str, Any] = {str(n): {"category": "training", "image": {}} for n in range(4)}
    return folder(
        root, {**pictures, "ffhq-dataset-v2.json": json.dumps(content).encode(), "LICENSE.txt": b""}
    )


def test_ffhq_as_a_whole_is_asked_about(tmp_path: Path) -> None:
    source = _ffhq(tmp_path / "in", "images1024x1024", "thumbnails128x128")
    parts = f"{source}/images1024x1024, {source}/thumbnails128x128"
    with pytest.raises(
        UserError, match=f"is FFHQ as a whole; give one of its folders as SOURCE: {parts}; or"
    ):
        call(tmp_path, source)
    assert call(tmp_path, source, labels="none").count == 8


@pytest.mark.parametrize("given", ["", "images1024x1024"])
def test_ffhqs_folders_are_blocks(tmp_path: Path, given: str) -> None:
    source = _ffhq(tmp_path / "in", "images1024x1024") / given
    with pytest.raises(UserError, match=r"folders 00000, 01000 look like blocks of files.*--labels none"):
        call(tmp_path, source)
    report = call(tmp_path, source, labels="none")
    assert (report.count, report.classes) == (4, ())
    assert len(stored(tmp_path / "out")) == 4


def test_thumbnails_in_an_archive_are_asked_about(tmp_path: Path) -> None:
    names = [f"{part}/0000{n}.png" for part in ("images1024x1024", "thumbnails128x128") for n in range(2)]
    source = SOURCES["zip"](tmp_path, {name: plain(1) for name in names})
    with pytest.raises(UserError, match="folders images1024x1024, thumbnails128x128 are hardly classes"):
        call(tmp_path, source)


def test_each_file_that_is_left_alone_is_named(tmp_path: Path) -> None:
    files = {f"notes{n:02d}.txt": b"x" for n in range(25)}
    source = folder(tmp_path / "in", {"a.png": plain(1), "noname": plain(2), "x.doc": plain(3), **files})
    report = call(tmp_path, source)
    assert set(stored(tmp_path / "out")) == {"a.png", "noname", "x.doc"}
    lines = report.lines()
    at = lines.index("25 files of other kinds were left alone: 25 .txt (notes00.txt)")
    assert lines[at + 1 : at + 22] == [*(f"  notes{n:02d}.txt" for n in range(20)), "  and 5 more"]
    assert report.others.named == [(name, "is no picture") for name in files]
    rows = (tmp_path / "out/left-out.csv").read_text().splitlines()
    assert rows == ["name,reason", *(f"{name},left alone: is no picture" for name in files)]
    assert call(tmp_path, source).skipped == []

"""Others' shards used where they lie: the pixels, the order, and what is left out."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.config.run import DataConfig
from pipeline.contracts import Process
from pipeline.data.preparing.prepare import prepare
from pipeline.data.preparing.settings import Asked
from pipeline.data.shards.card import data_card
from pipeline.data.shards.export import export
from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.reader import read_keys, read_labels, read_samples
from pipeline.data.shards.verify import verify
from pipeline.data.streaming.lanes import Order
from pipeline.data.streaming.numbered import read_uint8
from pipeline.data.streaming.stream import ImageStream
from pipeline.errors import UserError
from tests.data.foreign import counting, encoded, in_place, in_place_of, photo, write_shards
from tests.data.sets import CLASSES, draw_global, make_set, png

FORMS: dict[str, tuple[str, Callable[[Image.Image], bytes]]] = {
    "subsampled": ("jpg", lambda picture: encoded(picture, "JPEG", quality=75)),
    "progressive": ("jpeg", lambda picture: encoded(picture, "JPEG", progressive=True, subsampling=1)),
    "grey": ("jpg", lambda picture: encoded(picture.convert("L"), "JPEG")),
    "png": ("png", lambda picture: encoded(picture, "PNG")),
    "grey png": ("png", lambda picture: encoded(picture.convert("L"), "PNG")),
    "webp": ("webp", lambda picture: encoded(picture, "WEBP", quality=80)),
    "named otherwise": ("png", lambda picture: encoded(picture, "JPEG")),
    "in capitals": ("JPG", lambda picture: encoded(picture, "JPEG")),
}


def test_batches_are_the_pixels_that_pil_decodes(tmp_path: Path) -> None:
    forms = list(FORMS.values())
    samples: list[dict[str, Any]] = []
    for n in range(48):
        extension, make = forms[n % len(forms)]
        name = "x" * 120 if n == 5 else f"{n:03d}"  # longer than a plain tar header holds
        sample = {
            "__key__": f"folder.of/{name}",
            extension: make(photo(n)),
            "cls": (n // 3) % 4 * 7,
            "txt": "a",
        }
        samples.append(sample)
    index = in_place_of(tmp_path, samples)
    assert index.classes == ("0", "7", "14", "21")
    assert [shard.count for shard in index.shards] == [16, 16, 16]
    order = Order([16, 16, 16], seed=5, lanes=4)
    config = DataConfig(workers=0, lanes=4, mirror=True)
    with ImageStream(index, config, seed=5, process=Process(), images_seen=0, labels=True) as stream:
        (batch,) = stream.draw(96)
    for position in range(96):
        _, shard, member = order.locate(position)
        sample = samples[shard * 16 + member]
        data = next(value for key, value in sample.items() if key not in ("__key__", "cls", "txt"))
        pixels = np.array(Image.open(io.BytesIO(data)).convert("RGB"))
        if order.mirrored(position):
            pixels = pixels[:, ::-1].copy()
        wanted = torch.from_numpy(pixels).permute(2, 0, 1).float().mul_(2 / 255).sub_(1)
        assert torch.equal(batch.images[position], wanted)
        assert batch.labels is not None
        assert index.classes[int(batch.labels[position])] == str(sample["cls"])


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[ShardIndex, ShardIndex]:
    """The same images in others' shards and in our own."""
    folder = tmp_path_factory.mktemp("pair")
    return in_place_of(folder, counting(43)), make_set(folder / "ours", 43)


@pytest.mark.parametrize("world", [1, 2, 4])
@pytest.mark.parametrize("workers", [0, 2])
def test_the_order_is_that_of_our_own_shards_from_anywhere(
    pair: tuple[ShardIndex, ShardIndex], world: int, workers: int
) -> None:
    theirs, ours = pair
    draws = [(8, 3), (12, 5), (4, 6)]
    images, labels = draw_global(theirs, draws, world=world, workers=workers)
    expected, classes = draw_global(ours, draws)
    assert torch.equal(images, expected)
    assert torch.equal(labels, classes)
    later, _ = draw_global(theirs, [(12, 5), (4, 6)], world=world, workers=workers, seen=24)
    assert torch.equal(later, expected[24:])


def test_all_that_reads_a_data_set_reads_it(pair: tuple[ShardIndex, ShardIndex], tmp_path: Path) -> None:
    theirs, ours = pair
    verify(theirs)
    for mine, own in zip(read_uint8(theirs), read_uint8(ours), strict=True):
        assert torch.equal(mine[0], own[0])
        assert mine[1] == own[1]
    assert read_labels(theirs) == [n % 10 for n in range(43)]
    keys = read_keys(theirs)
    assert keys == [sample.key for sample in read_samples(theirs)]
    assert len(set(keys)) == 43
    assert [s.meta["source"] for s in read_samples(theirs)] == [f"a/{n:06d}.png" for n in range(43)]
    assert export(theirs, tmp_path / "files") == 43
    assert (tmp_path / "files/3-3/00001-000007.png").read_bytes() == png(23)
    assert f"| shards of others, in | {theirs.shards_root} |" in data_card(theirs)


def test_lower_resolutions_are_those_of_our_own(tmp_path: Path) -> None:
    index = in_place_of(tmp_path, counting(20), pyramid=True)
    assert [(level.height, level.width) for level in index.levels] == [(4, 4)]
    verify(index)
    make_set(tmp_path / "ours", 20)
    prepare(tmp_path / "ours", tmp_path / "ours", Asked(pyramid=True), workers=1)
    lower = [ShardIndex.read(folder / "levels/0004") for folder in (tmp_path / "out", tmp_path / "ours")]
    mine, own = ([batch[0] for batch in read_uint8(level)] for level in lower)
    assert all(map(torch.equal, mine, own))


def test_beside_the_shards_or_in_their_folder_it_is_the_same_set(tmp_path: Path) -> None:
    source = write_shards(tmp_path / "theirs", counting(32))
    shutil.copytree(source, tmp_path / "b/moved")
    reports = [
        in_place(source, tmp_path / "deep/down/out"),
        in_place(tmp_path / "b/moved", tmp_path / "b/moved"),
        in_place(f"{tmp_path}/theirs/{{00000..00001}}.tar", tmp_path / "pattern", workers=2),
        in_place(source, tmp_path / "sized", resolution=8),
    ]
    sets = [ShardIndex.read(report.out) for report in reports]
    assert [index.data_root for index in sets] == ["../../../theirs", ".", "../theirs", "../theirs"]
    assert len({index.digest for index in sets}) == 1
    assert [len({*index.root.glob("*.places")}) for index in sets] == [2] * 4
    one = in_place(source / "00001.tar", tmp_path / "one")
    assert (one.count, one.class_counts["9"]) == (16, 2)


def test_an_index_of_our_own_shards_keeps_its_bytes(tmp_path: Path) -> None:
    content = json.loads((make_set(tmp_path, 20).root / "index.json").read_text())
    assert content["version"] == 1
    assert set(content["shards"][0]) == {"name", "count", "bytes", "sha256"}
    assert "data_root" not in content


def test_after_the_shards_were_moved_the_same_command_finds_them(tmp_path: Path) -> None:
    before = in_place_of(tmp_path, counting(32))
    os.rename(tmp_path / "theirs", tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"theirs/00000\.tar: shard missing"):
        ShardIndex.read(tmp_path / "out")
    in_place(tmp_path / "elsewhere", tmp_path / "out")
    after = ShardIndex.read(tmp_path / "out")
    assert after.digest == before.digest
    assert [image.tolist() for image, _, _ in read_uint8(after)]


def _labels(samples: list[Any], tmp_path: Path, **options: Any) -> tuple[tuple[str, ...], list[int] | None]:
    index = in_place_of(tmp_path, samples, **options)
    return index.classes, read_labels(index) if index.classes else None


def test_classes_from_numbers_names_and_json(tmp_path: Path) -> None:
    kinds = ["ox", "bee", "ox", "cat"] * 5
    samples = [
        {"__key__": f"{n}", "png": png(n), "cls": f" {n % 3 * 50} \n", "json": {"kind": kind, "wide": n % 2}}
        for n, kind in enumerate(kinds)
    ]
    numbers = [n % 3 for n in range(20)]
    assert _labels(samples, tmp_path / "a") == (("0", "50", "100"), numbers)
    assert _labels(samples, tmp_path / "b", label_column="kind") == (
        ("bee", "cat", "ox"),
        [["bee", "cat", "ox"].index(kind) for kind in kinds],
    )
    assert _labels(samples, tmp_path / "c", label_column="wide") == (("0", "1"), [n % 2 for n in range(20)])
    assert _labels(samples, tmp_path / "d", labels="none") == ((), None)
    report = in_place(tmp_path / "a/theirs", tmp_path / "e")
    assert (report.labels_from, report.class_counts) == (".cls", {"0": 7, "50": 7, "100": 6})


def test_a_sample_that_lost_its_class_with_the_end_of_a_tar_is_left_out(tmp_path: Path) -> None:
    samples = [{"__key__": f"{n:03d}", "jpg": png(n), "json": {"kind": n % 3}} for n in range(16)]
    path = write_shards(tmp_path / "theirs", samples) / "00000.tar"
    with tarfile.open(path) as tar:
        end = tar.getmember("009.json").offset_data + 3
    path.write_bytes(path.read_bytes()[:end])
    assert in_place(path, tmp_path / "out", label_column="kind").count == 9


def test_one_class_is_none(tmp_path: Path) -> None:
    source = write_shards(tmp_path / "theirs", [{**sample, "cls": 3} for sample in counting(9)])
    report = in_place(source, tmp_path / "out")
    assert (report.classes, report.one_class) == ((), "3")
    assert [label for _, label, _ in read_uint8(ShardIndex.read(tmp_path / "out"))] == [None]


def test_a_good_sample_beside_a_bad_one_is_kept(tmp_path: Path) -> None:
    samples = [dict(sample) for sample in counting(16)]
    whole = encoded(photo(1, 8), "JPEG")
    del samples[2]["png"]
    samples[2]["jpg"] = whole[:-20]
    samples[5]["png"] = b""
    samples[6]["png"] = b"<html>404</html>"
    samples[9]["jpg"] = whole
    samples[12]["png"] = png(12)[:-30] + bytes(30)
    del samples[14]["png"]  # a sample without an image is none
    source = write_shards(tmp_path / "theirs", samples)
    with tarfile.open(source / "00000.tar", "a") as tar:
        tar.addfile(tarfile.TarInfo(".hidden.png"))
        link = tarfile.TarInfo("b/link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "../../etc/passwd"
        tar.addfile(link)
        tar.addfile(tarfile.TarInfo("b/\x1b[31m.png"))
    report = in_place(source, tmp_path / "out")
    reasons = {name.rpartition("/")[2]: reason for name, reason in report.skipped}
    assert reasons.pop("000002.jpg").startswith("image file is truncated")
    assert reasons.pop("000012.png")
    assert reasons == {
        "000005.png": "is empty",
        "000006.png": "not an image of a known kind",
        "000009.jpg": "its sample has 2 images, must have one",
        "\\x1b[31m.png": "its name is not printable text",
    }
    index = ShardIndex.read(tmp_path / "out")
    left = [n for n in range(16) if n not in (2, 5, 6, 9, 12, 14)]
    assert [sample.meta["source"] for sample in read_samples(index)] == [f"a/{n:06d}.png" for n in left]
    assert index.shards[0].left_out == 6
    again = in_place(source, tmp_path / "out")
    assert (again.resumed, sorted(again.skipped)) == (10, sorted(report.skipped))
    with pytest.raises(UserError, match=r"\S+: .*; mend or remove it, or skip unreadable"):
        in_place(source, tmp_path / "strict", on_unreadable="error")


def test_of_a_tar_that_is_cut_the_beginning_is_taken(tmp_path: Path) -> None:
    source = write_shards(tmp_path / "theirs", counting(16))
    path = source / "00000.tar"
    with tarfile.open(path) as tar:
        end = tar.getmember("a/000009.png").offset_data + 10
    path.write_bytes(path.read_bytes()[:end])
    report = in_place(source, tmp_path / "out")
    assert report.count == 9
    ((name, reason),) = report.skipped
    assert name == "00000.tar/00000.tar"
    assert "cut short" in reason
    assert "what comes before is taken" in reason
    verify(ShardIndex.read(tmp_path / "out"))


def test_many_processes_make_the_same_bytes(tmp_path: Path) -> None:
    samples = [dict(sample) for sample in counting(100)]
    samples[40]["png"] = b"x"
    source = write_shards(tmp_path / "theirs", samples, per_shard=9)
    reports = [in_place(source, tmp_path / str(workers), workers=workers) for workers in (1, 3)]
    assert (
        reports[0].skipped
        == reports[1].skipped
        == [("00004.tar/a/000040.png", "not an image of a known kind")]
    )
    for path in (tmp_path / "1").iterdir():
        assert (tmp_path / "3" / path.name).read_bytes() == path.read_bytes()


def test_class_numbers_are_those_of_the_names(pair: tuple[ShardIndex, ShardIndex]) -> None:
    assert pair[0].classes == tuple(map(str, range(10)))
    assert pair[1].classes == CLASSES

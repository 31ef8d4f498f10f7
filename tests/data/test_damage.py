"""Damaged shards: found and named, or skipped and counted; never a label at another's image."""

from __future__ import annotations

import errno
import io
import os
import re
import shutil
import tarfile
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.verify import verify
from pipeline.data.streaming.numbered import read_uint8
from pipeline.errors import RunFailed, UserError
from tests.data.sets import draw_global, make_set, numbers

SHARD = "data-00001.tar"  # samples 16 to 31
Damage = Callable[[Path], None]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_set(tmp_path, 48)
    return tmp_path


def _cut_in_the_middle(path: Path) -> None:
    with tarfile.open(path) as tar:
        end = tar.getmember("00000024.png").offset_data + 10
    path.write_bytes(path.read_bytes()[:end])


def _cut_at_a_member(path: Path) -> None:
    with tarfile.open(path) as tar:
        end = tar.getmember("00000024.cls").offset
    path.write_bytes(path.read_bytes()[:end])


def _cut_before_the_image(path: Path) -> None:
    with tarfile.open(path) as tar:
        end = tar.getmember("00000024.png").offset
    path.write_bytes(path.read_bytes()[:end] + bytes(10240))


def _lose_the_trailer(path: Path) -> None:
    path.write_bytes(path.read_bytes().rstrip(b"\0") + bytes(512))


def _flip(member: str, at: int) -> Damage:
    def flip(path: Path) -> None:
        with tarfile.open(path) as tar:
            place = tar.getmember(member).offset_data + at
        data = bytearray(path.read_bytes())
        data[place] ^= 1
        path.write_bytes(data)

    return flip


def _rewrite(change: Callable[[dict[str, bytes]], None]) -> Damage:
    """Rebuilds the tar from changed members: a well-formed archive with wrong content."""

    def rewrite(path: Path) -> None:
        with tarfile.open(path) as tar:
            members = {m.name: (tar.extractfile(m) or io.BytesIO()).read() for m in tar}
        change(members)
        with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
            for name, data in sorted(members.items()):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))

    return rewrite


def _swap_labels(members: dict[str, bytes]) -> None:
    members["00000020.cls"], members["00000021.cls"] = members["00000021.cls"], members["00000020.cls"]


def _swap_images(members: dict[str, bytes]) -> None:
    members["00000020.png"], members["00000021.png"] = members["00000021.png"], members["00000020.png"]


def _drop_label(members: dict[str, bytes]) -> None:
    del members["00000020.cls"]


def _drop_image(members: dict[str, bytes]) -> None:
    del members["00000020.png"]


def _bad_label(members: dict[str, bytes]) -> None:
    members["00000020.cls"] = b"__import__('os')"


def _other_size(members: dict[str, bytes]) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (4000, 4000)).save(buffer, "PNG")
    members["00000020.png"] = buffer.getvalue()


def _pickle(members: dict[str, bytes]) -> None:
    members["00000020.pyd"] = b"cos\nsystem\n(S'false'\ntR."


def _header(path: Path) -> None:
    with tarfile.open(path) as tar:
        place = tar.getmember("00000020.png").offset
    data = bytearray(path.read_bytes())
    data[place + 2] ^= 1
    path.write_bytes(data)


# (what is done to the shard, samples that are lost by it, what the error says)
TABLE: dict[str, tuple[Damage, set[int], str]] = {
    "cut in the middle": (_cut_in_the_middle, set(range(24, 32)), "cut short at byte"),
    "cut at a member": (_cut_at_a_member, set(range(24, 32)), "without the end mark"),
    "cut inside a sample": (_cut_before_the_image, set(range(24, 32)), "has 0 images|the index says 16"),
    "trailer lost": (_lose_the_trailer, set(), ""),
    "bit flip in an image": (_flip("00000020.png", 60), {20}, "key 00000020: image, label and key"),
    "bit flip in a label": (_flip("00000020.cls", 0), {20}, "key 00000020: image, label and key"),
    "bit flip in json": (_flip("00000020.json", 3), {20}, "key 00000020"),
    "header damaged": (_header, set(range(20, 32)), "damaged member header, after key 000000(19|20)"),
    "missing": (Path.unlink, set(range(16, 32)), "cannot be read|No such file"),
    "labels swapped": (_rewrite(_swap_labels), {20, 21}, "do not belong together"),
    "images swapped": (_rewrite(_swap_images), {20, 21}, "do not belong together"),
    "label missing": (_rewrite(_drop_label), {20}, r"key 00000020: its label \(.cls\) is missing"),
    "image missing": (_rewrite(_drop_image), {20}, "key 00000020: has 0 images"),
    "label not a number": (_rewrite(_bad_label), {20}, "key 00000020: its label .* not a class number"),
    "another size": (_rewrite(_other_size), {20}, "key 00000020: image, label and key"),
    "a pickle inside": (_rewrite(_pickle), set(range(21, 32)), "of a kind that is not allowed"),
}
CASES = [name for name in TABLE if name != "trailer lost"]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("case", CASES)
def test_an_error_names_shard_and_sample(root: Path, case: str, workers: int) -> None:
    damage, _, message = TABLE[case]
    damage(root / SHARD)
    index = ShardIndex.read(root, damaged="skip")
    with pytest.raises(UserError, match=message) as caught:
        draw_global(index, [(48, 1)], workers=workers)
    assert str(root / SHARD) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("case", CASES)
def test_skip_keeps_all_good_samples_and_pairs_them_rightly(root: Path, case: str) -> None:
    damage, lost, _ = TABLE[case]
    damage(root / SHARD)
    index = ShardIndex.read(root, damaged="skip")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        # draw_global itself checks every label against its image.
        images, _ = draw_global(index, [(48, 2)], workers=2, on_damage="skip")
    notes = [str(w.message) for w in caught if "on_damage=skip" in str(w.message)]
    assert len(notes) == 1  # once a shard
    assert SHARD in notes[0]
    assert set(numbers(images[:48]).tolist()) == set(range(48)) - lost


def test_skip_is_the_same_on_any_ranks_and_workers_and_counted(root: Path) -> None:
    _cut_at_a_member(root / SHARD)
    index = ShardIndex.read(root, damaged="skip")
    with pytest.warns(UserWarning, match="on_damage=skip"):
        expected, _ = draw_global(index, [(16, 6)], on_damage="skip")
    for world, workers in ((2, 0), (1, 2), (4, 1)):
        with pytest.warns(UserWarning, match="on_damage=skip"):
            images, _ = draw_global(index, [(16, 6)], world=world, workers=workers, on_damage="skip")
        assert torch.equal(images, expected)


def test_damaged_images_are_counted(root: Path) -> None:
    from pipeline.config.run import DataConfig
    from pipeline.contracts import Process
    from pipeline.data.streaming.stream import ImageStream

    _cut_at_a_member(root / SHARD)
    index = ShardIndex.read(root, damaged="skip")
    config = DataConfig(workers=0, lanes=8, on_damage="skip")
    stream = ImageStream(index, config, seed=1, process=Process(), images_seen=0, labels=True)
    with stream:
        with pytest.warns(UserWarning, match="on_damage=skip"):
            stream.draw(192)  # four epochs, three chunks
        assert stream.damaged == 8 * 4


def test_nothing_good_left_is_an_error_even_when_skipping(root: Path) -> None:
    index = ShardIndex.read(root)
    for shard in index.shards:
        (root / shard.name).unlink()
    with pytest.raises(UserError, match="no readable image is left"):
        draw_global(index, [(8, 1)], on_damage="skip")


@pytest.mark.parametrize("case", list(TABLE))
def test_verify_finds_all_of_it(root: Path, case: str) -> None:
    damage, _, message = TABLE[case]
    index = ShardIndex.read(root)
    damage(root / SHARD)
    with pytest.raises(UserError, match=message or "shard damaged") as caught:
        verify(index)
    assert str(root / SHARD) in str(caught.value)


def test_verify_finds_a_whole_shard_put_in_place_of_another(root: Path) -> None:
    index = ShardIndex.read(root)
    shutil.copy(root / "data-00002.tar", root / SHARD)
    with pytest.raises(UserError, match=r"data-00001.tar: shard damaged: its sha256 is"):
        verify(index)


@pytest.mark.parametrize("case", ["bit flip in an image", "cut at a member", "missing", "labels swapped"])
def test_evaluation_reads_no_damage(root: Path, case: str) -> None:
    index = ShardIndex.read(root)
    TABLE[case][0](root / SHARD)
    with pytest.raises(UserError, match=SHARD):
        list(read_uint8(index))


def test_damaged_labels_beyond_the_classes(tmp_path: Path) -> None:
    import json

    make_set(tmp_path, 20)
    content = json.loads((tmp_path / "index.json").read_text())
    content["classes"] = content["classes"][:5]
    (tmp_path / "index.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"key 0000000[5-9]: class [5-9] is not in the index"):
        list(read_uint8(ShardIndex.read(tmp_path)))


def _failing(monkeypatch: pytest.MonkeyPatch, number: int, times: int) -> None:
    """Lets the first `times` reads of a shard's samples fail."""
    real, left = os.pread, [times]

    def pread(file: int, size: int, at: int) -> bytes:
        if left[0]:
            left[0] -= 1
            raise OSError(number, os.strerror(number))
        return real(file, size, at)

    monkeypatch.setattr(os, "pread", pread)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_disk_that_fails_is_a_failed_run_and_no_damage(
    root: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    index = ShardIndex.read(root)
    _failing(monkeypatch, errno.EIO, 1_000_000)
    with pytest.raises(RunFailed) as caught:
        draw_global(index, [(48, 1)], workers=workers)
    line = str(caught.value)
    assert re.match(
        rf"{root}/data-0000\d\.tar: sample \d+: cannot be read: the disk, or the way to it, fails", line
    )
    assert line.endswith("; the same command goes on when it can be read")


def test_a_file_that_its_server_has_forgotten_is_opened_anew(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = ShardIndex.read(root)
    expected, _ = draw_global(index, [(48, 1)])
    for number in (errno.ESTALE, errno.EIO):
        _failing(monkeypatch, number, 1)
        assert torch.equal(draw_global(index, [(48, 1)])[0], expected)
        monkeypatch.undo()

"""Archives and images whose headers lie: what is refused, and what beside it is still read."""

from __future__ import annotations

import io
import os
import random
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.contracts import ImageSpec
from pipeline.data.archives.zips import read_directory, read_entry
from pipeline.data.shards.decode import decode
from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.samples import keys, take_apart
from pipeline.data.sources.opening import source_kind
from pipeline.data.sources.source import Source, Wanted
from pipeline.errors import Damaged, UserError
from pipeline.images.normalised import Unreadable, load
from pipeline.images.pngs import has_all_rows
from tests.data import hostile_archives as archives
from tests.data import hostile_images as images


def opened(path: Path) -> Source:
    return source_kind(str(path)).open(str(path), Wanted())


def _read(path: Path, data: bytes) -> tuple[list[str], list[tuple[str, str]]]:
    """(names that are read, what is said of the others)"""
    path.write_bytes(data)
    source = opened(path)
    good, said = [], list(source.listing.skipped)
    for number, name in enumerate(source.listing.names):
        try:
            source.picture(number)
            good.append(name)
        except Unreadable as reason:
            said.append((name, str(reason)))
    return good, said


WRONG = [name for name in archives.SIZES if name not in ("none", "blanks")]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", WRONG)
def test_a_tar_is_read_up_to_a_size_that_lies(tmp_path: Path, name: str) -> None:
    tar = archives.plain_tar()
    with tarfile.open(fileobj=io.BytesIO(tar)) as whole:
        at = whole.getmember("d/2.png").offset
    good, said = _read(tmp_path / "x.tar", archives.with_header(tar, at, size=archives.SIZES[name]))
    assert good == ["d/0.png", "d/1.png"]
    assert len(said) == 1
    assert said[0][0] == "x.tar"


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", WRONG)
def test_a_shard_with_such_a_size_is_damaged(tmp_path: Path, name: str) -> None:
    shard = archives.plain_shard()
    with tarfile.open(fileobj=io.BytesIO(shard)) as whole:
        at = whole.getmember("3.json").offset
    changed = archives.with_header(shard, at, size=archives.SIZES[name])
    (tmp_path / "s.tar").write_bytes(changed)
    with pytest.raises(Damaged, match=r"not a tar header|cut short"):
        keys(tmp_path / "s.tar")
    with pytest.raises(Damaged):  # as if it had changed after its headers were read
        take_apart(changed[at - 1024 : at + 2048], labelled=True)


def test_pax_sizes_names_and_links_are_as_python_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    for format in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT):
        names = [f"{'d' * 90}/{'e' * 60}/{n} é.png" for n in range(3)]
        with tarfile.open(path, "w", format=format) as tar:
            for n, name in enumerate(names):
                info = tarfile.TarInfo(name)
                info.size = len(archives.png(n))
                info.pax_headers = {"comment": "x" * 2000}
                tar.addfile(info, io.BytesIO(archives.png(n)))
            folder = tarfile.TarInfo("folder.png")
            folder.type, folder.size = tarfile.DIRTYPE, 4096  # whose size means nothing
            tar.addfile(folder)
        assert _read(path, path.read_bytes()) == (names, [])


def test_a_pax_size_takes_the_place_of_the_headers_own(tmp_path: Path) -> None:
    tar, size = archives.plain_tar(), len(archives.png(1))
    with tarfile.open(fileobj=io.BytesIO(tar)) as whole:
        at = whole.getmember("d/1.png").offset
    without = archives.with_header(tar, at, size=b"%011o\0" % 0)
    record = archives.pax({"size": str(size), "path": "long.png"})
    good, said = _read(tmp_path / "x.tar", without[:at] + record + without[at:])
    assert (good, said) == (["d/0.png", "d/2.png", "d/3.png", "long.png"], [])


def test_sparse_files_are_named_and_stepped_over(tmp_path: Path) -> None:
    tar = archives.plain_tar()
    with tarfile.open(fileobj=io.BytesIO(tar)) as whole:
        at = whole.getmember("d/1.png").offset
    old = archives.with_header(tar, at, kind=b"S", extended=b"\1")
    data = old[: at + 512] + bytes(512) + old[at + 512 :]  # one more block of its map
    new = tar[:at] + archives.pax(archives.PAX["sparse"]) + tar[at:]
    for changed in (data, new):
        good, said = _read(tmp_path / "x.tar", changed)
        assert good == ["d/0.png", "d/2.png", "d/3.png"]
        assert said == [("d/1.png", "is a link or a special file")]


LIES = {
    "method": (99, "is packed by method 99; allowed: stored, deflate, bzip2, LZMA"),
    "flags": (1, "is encrypted"),
    "disk": (3, "is in another part of the archive"),
    "offset": (2**31, "is not where the archive's directory says"),
    "packed": (2**31, "is not where the archive's directory says"),
    "size": (2**31, "is 2147483648 bytes long; at most"),
    "checksum": (5, "is damaged: its checksum or length"),
    "local name length": (9, "is not where the archive's directory says"),
}


@pytest.mark.parametrize("field", LIES)
def test_a_picture_beside_one_that_lies_is_kept(tmp_path: Path, field: str) -> None:
    value, message = LIES[field]
    good, said = _read(tmp_path / "x.zip", archives.with_field(archives.plain_zip(), field, value))
    assert good == ["d/0.png", "d/2.png", "d/3.png"]
    assert [name for name, _ in said] == ["d/1.png"]
    assert said[0][1].startswith(message)


def test_a_zip_of_a_newer_version_is_read(tmp_path: Path) -> None:
    data = archives.with_field(archives.plain_zip(), "version", 99)
    assert _read(tmp_path / "x.zip", data) == ([f"d/{n}.png" for n in range(4)], [])


def test_names_that_are_no_utf8_stay_apart_and_visible(tmp_path: Path) -> None:
    data = archives.plain_zip().replace(b"d/1.png", b"d/\xff.png").replace(b"d/2.png", b"d/\xfe.png")
    for number in (1, 2):
        data = archives.with_field(data, "flags", 0x800, number)
    assert _read(tmp_path / "x.zip", data) == (["d/0.png", "d/3.png", r"d/\xfe.png", r"d/\xff.png"], [])


def test_windows_folders_are_folders(tmp_path: Path) -> None:
    data = archives.plain_zip().replace(b"d/1.png", b"d\\1.png")
    assert _read(tmp_path / "x.zip", data) == ([f"d/{n}.png" for n in range(4)], [])


def test_files_that_overlap_are_told(tmp_path: Path) -> None:
    data = archives.with_field(archives.plain_zip(), "offset", 0)
    good, said = _read(tmp_path / "x.zip", data)
    assert good == ["d/0.png", "d/2.png", "d/3.png"]
    assert said == [("d/1.png", "overlaps another file of the archive")]


def test_a_directory_is_read_up_to_its_damage(tmp_path: Path) -> None:
    data = archives.plain_zip()
    at = archives._find(data, b"PK\1\2", 2)
    good, said = _read(tmp_path / "x.zip", data[:at] + b"xxxx" + data[at + 4 :])
    assert good == ["d/0.png", "d/1.png"]
    assert said[0][0] == "x.zip"
    assert "has a damaged directory" in said[0][1]


@pytest.mark.parametrize("field", ["disks", "first disk"])
def test_a_part_of_several_is_refused(tmp_path: Path, field: str) -> None:
    (tmp_path / "x.zip").write_bytes(archives.with_field(archives.plain_zip(), field, 2))
    with pytest.raises(UserError, match=r"x.zip: the zip archive is one part of several; join them first"):
        opened(tmp_path / "x.zip")


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
@pytest.mark.parametrize("before", [b"", b"#!unpack\n" * 9])
def test_zips_are_read_as_python_reads_them(tmp_path: Path, method: int, before: bytes) -> None:
    path, chance = tmp_path / "x.zip", random.Random(0)
    with zipfile.ZipFile(path, "w", method) as archive:
        for n, size in enumerate((0, 1, 1000, 300_000)):
            archive.writestr(f"d/é{n}.png", (chance.randbytes(50) * (size // 50 + 1))[:size])
        with archive.open("streamed", "w", force_zip64=True) as file:
            file.write(b"abc" * 1000)
    with zipfile.ZipFile(path) as archive:
        expected = {info.filename: archive.read(info) for info in archive.infolist()}
    path.write_bytes(before + path.read_bytes())
    directory = read_directory(path)
    assert {e.name: read_entry(path, e, 1 << 20) for e in directory.entries} == expected


def test_directories_of_64_bits_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Python writes them where a limit is passed: 65,535 files, 2 GB.
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 3)
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 100)
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for n in range(9):
            archive.writestr(str(n), b"x" * 90 * n)
    data = (tmp_path / "x.zip").read_bytes()
    assert b"PK\6\6" in data
    for before in (b"", b"#!unpack"):
        (tmp_path / "x.zip").write_bytes(before + data)
        directory = read_directory(tmp_path / "x.zip")
        read = [read_entry(tmp_path / "x.zip", entry, 1000) for entry in directory.entries]
        assert read == [b"x" * 90 * n for n in range(9)]


def test_what_comes_out_is_counted(tmp_path: Path) -> None:
    """A file that unfolds further than the directory says is not unfolded to its end."""
    data = archives.with_field(archives.large_picture(64), "size", 100)
    (tmp_path / "x.zip").write_bytes(data)
    pid = os.fork()
    if not pid:
        source = opened(tmp_path / "x.zip")
        import resource

        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (16 << 20),) * 2)
        try:
            source.picture(1)
        except Unreadable:
            os._exit(7)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


PIXELS = random.Random(3)
SPEC = ImageSpec(images.SIDE, images.SIDE, 3)


def test_png_pixels_are_as_stored() -> None:
    values = np.random.default_rng(0).integers(0, 256, (images.SIDE, images.SIDE, 3), np.uint8)
    plain = b"".join(b"\0" + row.tobytes() for row in values)
    assert np.array_equal(decode(images.png(zlib.compress(plain)), "png", SPEC).numpy(), values)
    black = images.png(zlib.compress(bytes(len(plain))))
    assert not decode(black, "png", SPEC).any()


@pytest.mark.parametrize("kept", [0, 1, images.SIDE // 2, images.SIDE - 1])
def test_rows_that_are_missing_are_damage_not_black(kept: int) -> None:
    cut = images.png(zlib.compress(images.rows(PIXELS, kept)))
    with pytest.raises(Damaged, match="cannot be decoded"):
        decode(cut, "png", SPEC)
    with pytest.raises(Unreadable):
        load(cut)


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "RGBA", "P", "LA", "I;16"])
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (24, 7), (9, 30)])
def test_the_length_of_rows_is_as_pil_writes_them(mode: str, size: tuple[int, int]) -> None:
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, "PNG")
    data = buffer.getvalue()
    assert has_all_rows(data)
    at = data.index(b"IDAT") - 4
    pixels = zlib.decompress(data[at + 8 : at + 8 + int.from_bytes(data[at : at + 4], "big")])
    shorter = data[:at] + images.chunk(b"IDAT", zlib.compress(pixels[:-1])) + images.chunk(b"IEND", b"")
    assert not has_all_rows(shorter)


def test_interlaced_rows_are_counted_in_all_passes() -> None:
    # Adam7 in 8 x 8 pixels: passes of 1, 1, 2, 4, 8, 16 and 32 pixels in 1, 1, 1, 2, 2, 4 and 4 rows.
    samples, rows = 1 + 1 + 2 + 4 + 8 + 16 + 32, 1 + 1 + 1 + 2 + 2 + 4 + 4
    wanted = (images.SIDE // 8) ** 2 * samples * 3 + images.SIDE // 8 * rows
    assert has_all_rows(images.png(zlib.compress(bytes(wanted)), interlaced=True))
    assert not has_all_rows(images.png(zlib.compress(bytes(wanted - 1)), interlaced=True))


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "photo.png"])
def test_a_file_as_data_set_names_the_command(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(archives.plain_zip())
    with pytest.raises(UserError, match=rf"{name}: a file, not a data set .* `hrgan prepare .*{name} OUT`"):
        ShardIndex.read(tmp_path / name)


def test_a_shard_as_data_set_names_its_folder(tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text("{}")
    (tmp_path / "data-00000.tar").write_bytes(archives.plain_shard())
    with pytest.raises(UserError, match=rf"not a data set of shards; give its folder, {tmp_path}$"):
        ShardIndex.read(tmp_path / "data-00000.tar")

"""`hrgan prepare` as it is typed: what its options become, and what it prints."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from launch.main import main
from pipeline.errors import UserError
from pipeline.images.kinds import KINDS
from tests.data.feeds import file, folder, plain, stored
from tests.tiny_families import DIGITS, TINY, tiny_family

SCAN = (np.arange(256, dtype=np.int32) * 16 - 1000).reshape(16, 16)


def _run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main(["prepare", *map(str, arguments), "--workers", "1"])
    return code, *capsys.readouterr()


def _needs_squares(family: str) -> bool:
    try:
        tiny_family(family, replace(DIGITS, height=16, width=32))
    except UserError as error:
        return "needs square images" in str(error)
    return False


def test_options_reach_the_pixels(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    clear = file(Image.new("RGBA", (16, 16), (0, 0, 0, 0)))
    source = folder(tmp_path / "in", {"a.tif": file(Image.fromarray(SCAN), "TIFF")})
    (tmp_path / "b.png").write_bytes(clear)
    (source / "b.png").symlink_to(tmp_path / "b.png")
    options = ("--range", "-1000:3095", "--background", "red", "--follow-links")
    code, said, _ = _run(capsys, source, tmp_path / "out", *options)
    assert code == 0
    assert f"{tmp_path / 'out'}: 2 images, " in said
    got = stored(tmp_path / "out")
    assert got["a.tif"][15, 15].tolist() == [254, 254, 254]  # 255 * 4080 / 4095
    assert got["b.png"][0, 0].tolist() == [255, 0, 0]


def test_options_reach_the_labels(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    source = folder(tmp_path / "in", {"a.png": plain(1), "b.png": plain(2)})
    (tmp_path / "l.csv").write_text("id,x,y\na,1,p\nb,2,q\nc,3,r\n")
    labels = ("--labels", tmp_path / "l.csv", "--label-column", "y")
    code, _, error = _run(capsys, source, tmp_path / "out", *labels)
    assert (code, error.count("\n")) == (2, 1)
    assert "c: no such image in the source" in error
    code, said, _ = _run(capsys, source, tmp_path / "out", *labels, "--on-absent", "skip")
    assert code == 0
    assert re.fullmatch(
        r".*out: 2 images, 2 classes, \d.\d s\nclasses \(l.csv\): p 1, q 1\n1 label without a picture left "
        r"out\n",
        said,
    )


def test_one_is_not_many(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    source = folder(tmp_path / "in", {"a.png": plain(1), "x.doc": b"x"})
    _, said, _ = _run(capsys, source, tmp_path / "out", "--resolution", 32)
    assert f"{tmp_path / 'out'}: 1 image, " in said
    assert "1 was smaller than asked and was enlarged" in said
    assert "1 file of another kind was left alone: 1 .doc (x.doc)" in said


def test_what_is_worth_knowing_comes_before_the_end(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    twelve = file(Image.fromarray((np.arange(256, dtype=np.uint16) * 16).reshape(16, 16)))
    source = folder(tmp_path / "in", {f"{n}.png": twelve for n in range(33)})
    _, _, error = _run(capsys, source, tmp_path / "out")
    assert error.startswith(
        "the first 32 pictures have more than 8 bits: their values lie between 0 and 4080"
    )


@pytest.mark.parametrize("words", ["0", "0:x", "9"])
def test_a_range_is_two_numbers(capsys: pytest.CaptureFixture[str], tmp_path: Path, words: str) -> None:
    code, _, error = _run(capsys, tmp_path, tmp_path / "out", "--range", words)
    assert (code, error) == (
        2,
        f"hrgan: error: --range {words}: must be LOW:HIGH, such as 0:4095 or -1000:3000\n",
    )


def test_help_names_kinds_of_pictures_and_who_takes_other_shapes(capsys: pytest.CaptureFixture[str]) -> None:
    main(["prepare", "--help"])
    words = " ".join(re.sub(r"[│|]", " ", capsys.readouterr().out).split())
    assert all(kind.name in words for kind in KINDS)
    said = re.search(r"families ([a-z0-9, ]+) and (\w+) need squares, by --resolution", words)
    assert said is not None
    assert {*said[1].split(", "), said[2]} == {name for name in TINY if _needs_squares(name)}
    examples = words.split("Examples:")[1].split("Arguments")[0]
    assert "--size" not in examples

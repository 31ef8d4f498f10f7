"""The command, whole: pictures and vectors of every tool, and what it says to mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from launch.main import main
from pipeline.exploration.sheet import enlarged

TOOLS = {
    "truncation": "--seeds 3-5 --psi 0,0.5,1",
    "interpolate": "--seeds 3-5 --steps 3",
    "mix": "--seeds 3-4 --columns 8,9 --layers 2-3",
    "direction": "--plus 3-5 --minus 8,9 --steps 3 --seeds 3",
    "sefa": "--count 2 --steps 3 --seeds 3-4",
    "project": "--steps 3 --classes c2",
}


def explore(snapshot: Path, tool: str, out: Path, *words: object) -> int:
    return main(["explore", str(snapshot), tool, str(out), *map(str, words)])


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(path)
    return path


@pytest.mark.parametrize("tool", TOOLS)
def test_every_tool_makes_a_picture_and_keeps_its_vectors(
    snapshots: dict[str, Path], tmp_path: Path, photo: Path, tool: str
) -> None:
    words = [*TOOLS[tool].split(), *(["--photo", photo] if tool == "project" else [])]
    made = []
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        assert explore(snapshots["stylegan2"], tool, folder / "x.png", *words) == 0
        assert sorted(path.name for path in folder.iterdir()) == ["x.png", "x.safetensors"]
        made.append([path.read_bytes() for path in sorted(folder.iterdir())])
    assert made[0] == made[1]  # byte for byte
    with safe_open(tmp_path / "a" / "x.safetensors", "pt") as file:
        about = json.loads(file.metadata()["hrgan"])
    assert about["tool"] == tool
    assert len(about["snapshot"]) == 64


def found_in(sheet: np.ndarray, image: np.ndarray) -> bool:
    side = image.shape[0]
    starts = np.argwhere(sheet[: 1 - side, : 1 - side] == image[0, 0])
    return any(np.array_equal(sheet[y : y + side, x : x + side], image) for y, x in starts)


@pytest.mark.parametrize("family", ["stylegan2", "biggan", "progan", "plain"])
def test_a_seed_is_the_image_that_generate_makes_of_it(
    snapshots: dict[str, Path], tmp_path: Path, family: str
) -> None:
    snapshot = snapshots[family]
    words = ["--classes", "c4"] if family != "plain" else []
    generate = ["generate", str(snapshot), str(tmp_path / "g.png"), "--count", "3", "--seed", "5", "--grid"]
    assert main([*generate, "--columns", "3", *words]) == 0
    grid = torch.from_numpy(pixels(tmp_path / "g.png").copy())
    images = torch.stack(grid.split(8, dim=1))[:, None]
    assert explore(snapshot, "interpolate", tmp_path / "i.png", "--seeds", "5-7", "--steps", 3, *words) == 0
    sheet = pixels(tmp_path / "i.png")
    assert all(found_in(sheet, image[0].numpy()) for image in enlarged(images))
    assert not found_in(sheet, 255 - enlarged(images)[0, 0].numpy())


def test_animations_pass_each_point_once(snapshots: dict[str, Path], tmp_path: Path) -> None:
    for loop, count in (((), 7), (("--loop",), 9)):
        out = tmp_path / "a.gif"
        assert explore(snapshots["plain"], "interpolate", out, "--seeds", "1-3", "--steps", 4, *loop) == 0
        assert len(load_file(out.with_suffix(".safetensors"))["codes"]) == count
        with Image.open(out) as picture:
            assert picture.n_frames == count


def test_classes_are_points_too(snapshots: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "c.png"
    assert (
        explore(snapshots["biggan"], "interpolate", out, "--seeds", 1, "--classes", "0,7", "--steps", 3) == 0
    )
    codes = load_file(out.with_suffix(".safetensors"))["codes"][:, 0]
    assert torch.equal(codes[0, -8:], codes[2, -8:])  # z
    torch.testing.assert_close(codes[1], (codes[0] + codes[2]) / 2)
    assert not torch.equal(codes[0], codes[2])


def test_mixing_takes_the_layers_that_it_is_told(snapshots: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "m.png"
    words = ("--seeds", "1-2", "--columns", "8-10", "--layers", "2-3")
    assert explore(snapshots["stylegan2"], "mix", out, *words) == 0
    codes = load_file(out.with_suffix(".safetensors"))["codes"].unflatten(0, (2, 3))
    assert (codes[:, :1, :2] == codes[:, :, :2]).all()  # rows
    assert (codes[:1, :, 2:] == codes[:, :, 2:]).all()  # columns
    assert not (codes[0, 0, 1] == codes[0, 0, 2]).any()


def test_a_walk_goes_along_a_kept_direction(snapshots: dict[str, Path], tmp_path: Path) -> None:
    """From the one group's mean, its whole length ends at the other's: the same pictures as a mean of w."""
    snapshot, kept = snapshots["stylegan2"], tmp_path / "d.png"
    assert explore(snapshot, "direction", kept, "--plus", 8, "--minus", 3, "--classes", "c1") == 0
    words = ("--along", kept.with_suffix(".safetensors"), "--seeds", 3, "--classes", "c1", "--steps", 3)
    assert explore(snapshot, "walk", tmp_path / "w.png", *words) == 0
    assert (
        explore(snapshot, "truncation", tmp_path / "t.png", "--seeds", 8, "--psi", 1, "--classes", "c1") == 0
    )
    end, wanted = (pixels(tmp_path / name).astype(int) for name in ("w.png", "t.png"))
    cell = end[-66:-2, -66:-2]
    near = min(
        np.abs(cell - wanted[y : y + 64, x : x + 64]).max()
        for y in range(wanted.shape[0] - 63)
        for x in range(wanted.shape[1] - 63)
    )
    assert near <= 1  # rounding of w


def test_a_walk_may_start_at_kept_codes(snapshots: dict[str, Path], tmp_path: Path) -> None:
    snapshot, out = snapshots["stylegan2"], tmp_path / "s.png"
    assert explore(snapshot, "sefa", out, "--count", 2) == 0
    assert explore(snapshot, "truncation", tmp_path / "t.png", "--seeds", "1-2", "--psi", "1") == 0
    words = ("--along", tmp_path / "s.safetensors", "--number", 1, "--steps", 2)
    start = ("--from", tmp_path / "t.safetensors")
    assert explore(snapshot, "walk", tmp_path / "a.gif", *words, *start) == 0
    with Image.open(tmp_path / "a.gif") as picture:
        assert picture.size == (128, 64)


MISTAKES = [
    ("stylegan2", "tango x.png", "unknown tool 'tango'; allowed: truncation, interpolate, mix"),
    ("stylegan2", "truncation x.png --psi 0,nan", "--psi nan: allowed: numbers from -2 to 2"),
    ("stylegan2", "truncation x.png --psi 7", "--psi 7: allowed: numbers from -2 to 2"),
    (
        "biggan",
        "truncation x.png --psi 1.5",
        "truncation 1.5: this family truncates latents; allowed: 0 to 1",
    ),
    ("progan", "truncation x.png", "truncation: a progan generator has no truncation; allowed: interpolate"),
    ("progan", "mix x.png", "mix: a progan generator has no styles of each layer, to mix; allowed: interp"),
    ("biggan", "project x.png --photo p.png", "project: a biggan generator has no styles"),
    ("stylegan2", "truncation x.png --seeds 5-2", "--seeds 5-2: goes backwards; write 2-5"),
    ("stylegan2", "truncation x.png --seeds cat", "--seeds: 'cat' is not a number"),
    ("stylegan2", "truncation x.png --classes c17", "unknown class 'c17'"),
    ("stylegan2", "truncation x.png --classes c1:2,c2:1", "takes no weights here; allowed: names, numbers"),
    ("plain", "truncation x.png --classes 1", "trained without classes; leave it out"),
    ("stylegan2", "truncation x.bmp", "x.bmp: not a picture's file name; allowed endings: .png"),
    ("stylegan2", "truncation x.png --seeds 0-99999", "ask for fewer rows or columns"),
    (
        "stylegan2",
        "truncation sefa.png",
        "sefa.safetensors: keeps the vectors of sefa; give OUT another name",
    ),
    ("stylegan2", "truncation junk.png", "junk.safetensors: keeps the vectors of something else"),
    ("stylegan2", "interpolate x.png --seeds 1", "needs two points or more"),
    ("stylegan2", "interpolate x.png --seeds 1-3 --grid", "needs 4 points, one for each corner, not 3"),
    ("stylegan2", "interpolate x.gif --grid", "--grid makes one picture, without --loop"),
    ("stylegan2", "interpolate x.png --way u", "invalid value"),
    ("stylegan2", "mix x.png --layers 3-9", "--layers 3-9: there is no layer 9; allowed: 0 to 3"),
    ("stylegan2", "sefa x.png --count 11", "--count 11: latents have 10 components; allowed: 1 to 10"),
    ("stylegan2", "direction x.png", "two groups are needed"),
    ("stylegan2", "direction x.png --plus 1-3", "two groups are needed"),
    ("stylegan2", "direction x.png --plus 1,, --minus 2", "--plus: '' is not a number"),
    ("stylegan2", "direction x.png --plus 1-3 --minus 3-5", "seed 3 is in both groups"),
    ("stylegan2", "direction x.png --plus c1 --minus c99 --pairs 9", "--minus: unknown class 'c99'"),
    ("stylegan2", "direction x.png --plus c1 --minus c1 --pairs 9", "the same mean"),
    ("plain", "direction x.png --plus 1 --minus 2 --pairs 9", "trained without classes"),
    ("stylegan2", "direction x.png --scores s.csv --pairs 9", "in three ways; give one"),
    ("stylegan2", "direction x.png --labels none.csv --plus x", "none.csv: cannot be read: No such file"),
    ("stylegan2", "walk x.png --along none.safetensors", "none.safetensors: no such file"),
    ("stylegan2", "walk x.png --along junk.safetensors", "not vectors of hrgan explore"),
    ("stylegan2", "walk x.png --along other.safetensors", "safetensors, but not vectors of hrgan explore"),
    ("stylegan2", "walk x.png --along codes.safetensors", "holds codes; must hold directions"),
    ("biggan", "walk x.png --along sefa.safetensors", "its directions are [2, 4, 10]; this generator takes"),
    ("stylegan2", "walk x.png --along sefa.safetensors --number 2", "has 2; allowed: 0 to 1"),
    ("stylegan2", "project x.png --photo bomb.png", "bomb.png: more than 178000000 pixels"),
    ("stylegan2", "project x.png --photo junk.safetensors", "not an image of a known kind"),
    ("stylegan2", "project x.png --photo none.jpg", "none.jpg: cannot be read: No such file"),
]


@pytest.fixture(scope="module")
def odds(snapshots: dict[str, Path], bomb: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of files to be wrong with."""
    folder = tmp_path_factory.mktemp("odds")
    (folder / "junk.safetensors").write_bytes(b"\x80\x04junk")
    save_file({"directions": torch.zeros(1)}, folder / "other.safetensors")
    (folder / "bomb.png").write_bytes(bomb.read_bytes())
    assert explore(snapshots["stylegan2"], "truncation", folder / "codes.png", "--seeds", "1") == 0
    assert explore(snapshots["stylegan2"], "sefa", folder / "sefa.png", "--count", 2) == 0
    return folder


@pytest.mark.parametrize(("family", "words", "message"), MISTAKES)
def test_mistakes_are_one_line(
    snapshots: dict[str, Path],
    odds: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    family: str,
    words: str,
    message: str,
) -> None:
    monkeypatch.chdir(odds)
    before = sorted(path.name for path in odds.iterdir())
    tool, out, *rest = words.split()
    assert explore(snapshots[family], tool, Path(out), *rest) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert message in said[0]
    assert sorted(path.name for path in odds.iterdir()) == before


def test_help_of_a_tool_needs_no_snapshot(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explore", "sefa", "--help"]) == 0
    said = capsys.readouterr().out
    assert "SNAPSHOT_OR_RUN" in said.splitlines()[0]
    assert "--count" in said

"""Images that are moved and rows of pixels over time, in a space that moves exactly; steady interpolation."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from launch.assembly.sampling import sampler_of
from launch.main import main
from pipeline.exploration.motions import orbit, rotation, translation
from pipeline.exploration.routes import Route
from pipeline.exploration.sheet import Sheet
from pipeline.exploration.subject import Subject
from pipeline.exploration.views import LatentPoints, mix, move, slit
from pipeline.latents import OrbitedSpace
from pipeline.storage.snapshots import open_snapshot
from tests.evaluation.movable import WaveSpace

SIDE = 8  # of the snapshots' images


@pytest.fixture
def waves(snapshots: dict[str, Path]) -> Subject:
    return Subject(open_snapshot(snapshots["plain"]), WaveSpace(SIDE, 0.2))


@pytest.fixture
def sheets(monkeypatch: pytest.MonkeyPatch) -> list[Sheet]:
    """The sheets that were written."""
    written: list[Sheet] = []
    monkeypatch.setattr(Sheet, "write", lambda sheet, _out: written.append(sheet))
    return written


def shown_in(sheet: Sheet) -> np.ndarray:
    """The images of a grey sheet, [rows, columns, H, W]."""
    return sheet.images[:, 0].numpy().astype(int).reshape(len(sheet.rows), len(sheet.columns), -1, SIDE)


def still(subject: Subject, seed: int) -> np.ndarray:
    return subject.images(subject.codes((seed,)))[0, 0].numpy().astype(int)


def test_a_whole_turn_is_made_of_quarters(waves: Subject, sheets: list[Sheet]) -> None:
    move(waves, Path("t.png"), LatentPoints((3, 4)), rotation(360, 4))
    assert sheets[0].columns == ["0", "90", "180", "270"]
    for row, seed in zip(shown_in(sheets[0]), (3, 4), strict=True):
        for quarters, image in enumerate(row):
            assert np.abs(image - np.rot90(still(waves, seed), quarters)).max() <= 1


def test_a_translation_is_steady(waves: Subject, sheets: list[Sheet]) -> None:
    move(waves, Path("t.png"), LatentPoints((3,)), translation(0.25, -0.5, 3))
    (row,) = shown_in(sheets[0])
    image = still(waves, 3)
    assert np.abs(row[0] - image).max() <= 1
    assert np.abs(row[1][:-2, 1:] - image[2:, :-1]).max() <= 1
    assert np.abs(row[2][:-4, 2:] - image[4:, :-2]).max() <= 1


@pytest.mark.parametrize(("motion", "frames"), [(rotation(360, 5), 5), (rotation(90, 5), 8)])
def test_films_turn_whole_or_go_there_and_back(
    waves: Subject, tmp_path: Path, motion: object, frames: int
) -> None:
    move(waves, tmp_path / "t.apng", LatentPoints((3, 4)), motion)  # type: ignore[arg-type]
    with Image.open(tmp_path / "t.apng") as film:
        assert (film.n_frames, film.size) == (frames, (128, 64))


@pytest.fixture
def scenes(snapshots: dict[str, Path]) -> Subject:
    snapshot = open_snapshot(snapshots["graf"])
    return Subject(snapshot, sampler_of(snapshot, torch.device("cpu")))


def test_an_orbit_shows_scenes_from_all_around(scenes: Subject, sheets: list[Sheet]) -> None:
    move(scenes, Path("o.png"), LatentPoints((3, 4), (1,)), orbit(0, 360, 4))
    assert sheets[0].columns == ["0", "90", "180", "270"]
    space = scenes.space
    assert isinstance(space, OrbitedSpace)
    for row, seed in zip(shown_in(sheets[0]), (3, 4), strict=True):
        codes = scenes.codes((seed,), (1,))
        for image, azimuth in zip(row, (0.0, 90.0, 180.0, 270.0), strict=True):
            there = scenes.images(space.seen_from(codes, torch.tensor([azimuth])))
            assert np.array_equal(image, there[0, 0].numpy())
    assert len({image.tobytes() for image in shown_in(sheets[0])[0]}) == 4


@pytest.mark.parametrize(("degrees", "frames"), [(360, 3), (-90, 4)])
def test_films_go_around_or_there_and_back(
    scenes: Subject, tmp_path: Path, degrees: float, frames: int
) -> None:
    motion = orbit(10, degrees, 3)
    assert motion.azimuths.tolist() == [10 + degrees * k / (3 if degrees == 360 else 2) for k in range(3)]
    move(scenes, tmp_path / "o.apng", LatentPoints((3,)), motion)
    with Image.open(tmp_path / "o.apng") as film:
        assert film.n_frames == frames


def test_shape_appearance_and_pose_can_be_mixed(scenes: Subject, sheets: list[Sheet], tmp_path: Path) -> None:
    mix(scenes, tmp_path / "m.png", LatentPoints((3,), (1,)), (4,), "1")
    codes = scenes.codes((3, 4), (1,))
    codes[0, 1] = codes[1, 1]
    assert torch.equal(sheets[0].images[3], scenes.images(codes[:1])[0])


def test_a_slit_sees_what_moves_as_slanted_lines(waves: Subject, sheets: list[Sheet]) -> None:
    slit(waves, Path("s.png"), LatentPoints((3, 4)), translation(1, 0, 9), steps=9, height=0.5)
    for picture, seed in zip(shown_in(sheets[0])[0], (3, 4), strict=True):
        row = still(waves, seed)[4]
        for time, pixels in enumerate(picture[:-1]):
            assert np.abs(pixels[time:] - row[: SIDE - time]).max() <= 1


def test_a_slit_between_seeds_ends_at_both(waves: Subject, sheets: list[Sheet]) -> None:
    slit(waves, Path("s.png"), LatentPoints((3, 4)), "w", steps=9, height=0.0)
    (seen,) = shown_in(sheets[0])[0]
    assert np.array_equal(seen[0], still(waves, 3)[0])
    assert np.array_equal(seen[-1], still(waves, 4)[0])


@pytest.mark.parametrize("way", ["w", "z"])
def test_a_steady_way_has_equal_steps(subject: Subject, way: str) -> None:
    start = subject.start((3, 8, 5), (2,))
    route = Route(subject, start, 1.0, way)  # type: ignore[arg-type]
    places = route.steady([(0, 1), (1, 2)], 41, loop=False)
    assert places[0] == (0, 1, 0.0)
    assert places[-1] == (1, 2, 1.0)
    codes = route.between(*(list(part) for part in zip(*places, strict=True)))
    steps = codes.flatten(1).diff(dim=0).norm(dim=1)
    within = [a[:2] == b[:2] for a, b in pairwise(places)]  # where the way has a corner, it is cut short
    assert float(steps[within].std() / steps[within].mean()) < 0.02
    assert 0.7 < route.steady([(0, 1), (1, 2), (2, 0)], 30, loop=True)[-1][2] < 1


def test_the_command(snapshots: dict[str, Path], tmp_path: Path) -> None:
    words = {
        "interpolate": ("a.gif", "--seeds", "1-3", "--steps", "4", "--steady"),
        "translate": ("t.png", "--seeds", "1", "--by", "-0.25,0"),
        "rotate": ("r.gif", "--seeds", "1", "--steps", "3"),
        "slit": ("s.png", "--seeds", "1-2", "--over", "translate", "--steps", "70"),
    }
    for tool, (out, *rest) in words.items():
        assert main(["explore", str(snapshots["plain"]), tool, str(tmp_path / out), *rest]) == 0
    with Image.open(tmp_path / "a.gif") as film:
        assert film.n_frames == 7
    words = ["orbit", str(tmp_path / "o.gif"), "--seeds", "1", "--steps", "3"]
    assert main(["explore", str(snapshots["graf"]), *words]) == 0
    with Image.open(tmp_path / "o.gif") as film:
        assert film.n_frames == 3  # a whole turn, as in training


@pytest.mark.parametrize(
    ("family", "words", "message"),
    [
        (
            "progan",
            "translate x.png",
            "translate: a progan generator has no input that can be moved; allowed",
        ),
        (
            "biggan",
            "rotate x.gif",
            "rotate: a biggan generator has no input that can be moved; allowed: trunc",
        ),
        (
            "progan",
            "orbit x.png",
            "orbit: a progan generator has no camera that can stand elsewhere; allowed",
        ),
        ("progan", "slit x.png --over rotate", "rotate: a progan generator has no input that can be moved"),
        ("plain", "slit x.png --seeds 1", "slit: needs two points or more to go between"),
        (
            "plain",
            "translate x.png --by 1",
            "--by 1: allowed: two numbers, to the right and downwards, such as",
        ),
        ("plain", "translate x.png --by 9,0", "--by 9: allowed: numbers from -4 to 4"),
        ("plain", "interpolate x.png --seeds 1-4 --grid --steady", "--grid: has no way to keep one speed on"),
    ],
)
def test_mistakes_are_one_line(
    snapshots: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    family: str,
    words: str,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["explore", str(snapshots[family]), *words.split()]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert message in said[0]
    assert not list(tmp_path.iterdir())

"""Pairs: pictures of the same names, halves of one picture, label maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from launch.main import main
from pipeline.data.shards.index import ShardIndex
from pipeline.data.streaming.numbered import NumberedSamples

SIDE = 16


def picture(path: Path, value: int, size: tuple[int, int] = (SIDE, SIDE), mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value if mode in ("L", "P") else (value, 0, 255 - value)).save(path)


def samples(out: Path, *fields: str):
    return NumberedSamples(ShardIndex.read(out), fields)


def prepared(*arguments: object) -> int:
    return main(["prepare", *map(str, arguments), "--no-report"])


def test_pictures_of_the_same_path_are_pairs(tmp_path):
    """Whatever their formats; one without another is left out and named, the others are kept."""
    for number in range(4):
        picture(tmp_path / f"photos/a/{number}.png", number)
        picture(tmp_path / f"edges/a/{number}.bmp", 100 + number)
    picture(tmp_path / "photos/b/0.png", 9)
    out = tmp_path / "out"
    assert prepared(tmp_path / "photos", out, "--pairs", tmp_path / "edges", "--labels", "none") == 0
    data = samples(out, "input")
    assert len(data) == 4
    batch = data.batch(range(4))
    reds = ((batch.images[:, 0, 0, 0] + 1) * 127.5).round()
    assert sorted(reds.tolist()) == [0, 1, 2, 3]
    assert ((batch.extra["input"][:, 0, 0, 0] + 1) * 127.5).round().tolist() == (reds + 100).tolist()
    assert "has no input of the same name" in (out / "left-out.csv").read_text()


@pytest.mark.parametrize(("given", "red"), [("left", 200), ("right", 10)])
def test_halves_are_pairs(tmp_path, given, red):
    both = np.zeros((SIDE, 2 * SIDE, 3), np.uint8)
    both[:, :SIDE, 0], both[:, SIDE:, 0] = 10, 200
    (tmp_path / "both").mkdir()
    Image.fromarray(both).save(tmp_path / "both/0.png")
    out = tmp_path / "out"
    assert prepared(tmp_path / "both", out, "--pairs", given) == 0
    batch = samples(out, "input").batch([0])
    assert batch.images.shape == (1, 3, SIDE, SIDE)
    assert ((batch.images[0, 0] + 1) * 127.5).round().unique().tolist() == [red]
    assert ((batch.extra["input"][0, 0] + 1) * 127.5).round().unique().tolist() == [210 - red]


@pytest.mark.parametrize("mode", ["L", "P"])
def test_label_maps_keep_their_values(tmp_path, mode):
    """Those of a palette's entries too, and when they are resized."""
    picture(tmp_path / "photos/0.png", 1, (32, 32))
    codes = np.repeat(np.arange(4, dtype=np.uint8), 8)[None].repeat(32, 0)
    (tmp_path / "maps").mkdir()
    made = Image.fromarray(codes)
    if mode == "P":
        made = made.convert("P")
        made.putpalette([20 * value for value in range(12)])
    made.save(tmp_path / "maps/0.png")
    out = tmp_path / "out"
    arguments = ("--maps", tmp_path / "maps", "--resolution", SIDE)
    assert prepared(tmp_path / "photos", out, *arguments) == 0
    found = samples(out, "map").batch([0]).extra["map"]
    assert found[0, 0, 0].tolist() == np.repeat(np.arange(4), 4).tolist()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--pairs", "others"), "no picture has the name of one in"),
        (("--pairs", "absent"), "no such source"),
        (("--pairs", "others", "--unpaired", "others"), "--pairs: not with --unpaired"),
        (("--maps", "colours"), "has mode RGB; a label map has one channel of 8 bits"),
    ],
)
def test_what_cannot_be_paired_is_a_line(tmp_path, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(tmp_path)
    picture(Path("photos/0.png"), 1)
    picture(Path("others/1.png"), 1)
    picture(Path("colours/0.png"), 1)
    assert prepared("photos", "out", *arguments, "--on-unreadable", "error") == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--pairs", "--maps"])
@pytest.mark.parametrize("twice", ["photos", "others"])
def test_two_files_of_one_name_are_a_line(tmp_path, monkeypatch, capsys, option, twice):
    monkeypatch.chdir(tmp_path)
    for where in ("photos", "others"):
        picture(Path(f"{where}/a/0.png"), 1, mode="L")
    picture(Path(f"{twice}/a/0.bmp"), 2, mode="L")
    assert prepared("photos", "out", option, "others") == 2
    said = capsys.readouterr().err
    assert f"{twice}: a/0.bmp and a/0.png have one name" in said
    assert said.count("\n") == 1


def test_other_inputs_are_another_data_set(tmp_path, capsys):
    picture(tmp_path / "photos/0.png", 1)
    picture(tmp_path / "edges/0.png", 2)
    out = tmp_path / "out"
    assert prepared(tmp_path / "photos", out, "--pairs", tmp_path / "edges") == 0
    picture(tmp_path / "edges/1.png", 2)
    assert prepared(tmp_path / "photos", out, "--pairs", tmp_path / "edges") == 2
    assert "error" in capsys.readouterr().err


def test_unpaired_sets_are_two_data_sets_of_the_same_options(tmp_path, monkeypatch):
    """Each the same to the byte as by a command of its own; the same command again makes nothing anew."""
    monkeypatch.chdir(tmp_path)
    for number in range(12):
        picture(Path(f"horses/{number}.png"), number, (24, 24))
        picture(Path(f"zebras/{number}.png"), 100 + number, (20, 30))
    options = ("--resolution", SIDE, "--hold-out", "20%", "--labels", "none")
    for _ in range(2):
        assert prepared("horses", "both", "--unpaired", "zebras", *options) == 0
    assert prepared("horses", "a", *options) == 0
    assert prepared("zebras", "b", *options) == 0
    for alone, together in (("a", "both/first"), ("b", "both/second")):
        shards = sorted(path.relative_to(alone) for path in Path(alone).rglob("*.tar"))
        assert shards
        assert sorted(path.relative_to(together) for path in Path(together).rglob("*.tar")) == shards
        assert all(
            (Path(alone) / path).read_bytes() == (Path(together) / path).read_bytes() for path in shards
        )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--unpaired", "absent", "--resolution", SIDE), "absent: no such source"),
        (("--unpaired", "absent"), "absent: no such source"),
        (("--unpaired", "empty"), "empty: holds no images"),
        (
            ("--unpaired", "zebras"),
            "--unpaired zebras: its images are 20x30 (height x width), those of horses",
        ),
        (("--unpaired", "demo:digits"), "its images are 32x32 (height x width), those of horses 24x24; give"),
        (("--unpaired", "zebras", "--resolution", 2), "resolution: 2x2"),
        (("--unpaired", "made", "--resolution", SIDE), "made: is a data set of shards already"),
    ],
)
def test_unpaired_sets_are_refused_before_either_is_made(tmp_path, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(tmp_path)
    picture(Path("horses/0.png"), 1, (24, 24))
    picture(Path("zebras/0.png"), 1, (30, 20))
    Path("empty").mkdir()
    assert prepared("horses", "made") == 0
    assert prepared("horses", "out", *arguments) == 2
    assert said in capsys.readouterr().err
    assert not Path("out").exists()


def test_unpaired_sets_of_one_size_need_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in range(2):
        picture(Path(f"horses/{number}.png"), number, (30, 20))
        picture(Path(f"zebras/{number}.png"), number, (30, 20))
    assert prepared("horses", "out", "--unpaired", "zebras") == 0
    assert {(index.height, index.width) for index in map(ShardIndex.read, ("out/first", "out/second"))} == {
        (20, 30)
    }

"""`hrgan init`: what it writes trains as it is, and its choices follow from pictures and machine."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from launch.beginning.equipment import Equipment, equipment
from launch.beginning.estimating import estimated, settings_of
from launch.beginning.photographs import Photographs, look_at
from launch.beginning.plan import planned
from launch.beginning.writing import commands, configuration
from launch.main import main
from launch.options.init import InitOptions
from pipeline.config.load import load_config
from pipeline.errors import UserError
from pipeline.models.first import resolutions
from pipeline.models.registry import FAMILIES

CPU = Equipment((), 0.0, 4, 16.0, 100.0, False)


def gpus(count: int) -> Equipment:
    return replace(CPU, gpus=("A100",) * count, gpu_gib=80.0)


def photos(count: int = 5000, side: int = 600, **more: Any) -> Photographs:
    plain = {
        "grey": False,
        "unreadable": 0,
        "classes": {},
        "hindrance": None,
        "skipped": 0,
        "kinds": {".jpg": count},
    }
    return Photographs("photos", count, [side] * 50, **{**plain, **more})


def asked(**options: Any) -> InitOptions:
    return InitOptions(photos="photos", **options)


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Grey and coloured noise in three class folders, of which some are small."""
    monkeypatch.chdir(tmp_path)
    chance = np.random.default_rng(0)
    for number in range(180):
        folder = tmp_path / "photos" / "abc"[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        side = 20 if number < 60 else 40
        Image.fromarray(chance.integers(0, 255, (side, side + 3, 3), np.uint8)).save(folder / f"{number}.png")
    (tmp_path / "photos/a/broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    return tmp_path / "photos"


def test_what_it_writes_trains_untouched(
    pictures: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["init", "photos", "first.yaml", "--resolution", "16", "--hours", "0.001"]) == 0
    said = capsys.readouterr()
    assert "181 pictures (181 png), in colour" in said.err
    assert "3 classes; the smallest, b, has 60 pictures" in said.err
    printed = [shlex.split(line) for line in said.out.splitlines() if line.startswith("hrgan ")]
    header = (tmp_path / "first.yaml").read_text()
    assert all(line in header for line in said.out.splitlines() if line.startswith("hrgan "))
    prepare, train, *_ = printed
    assert main(prepare[1:]) == 0
    assert main(train[1:]) == 0
    log = (tmp_path / "runs/first/log.jsonl").read_text().splitlines()
    assert json.loads(log[-1])["images_seen"] >= 500
    generate = next(words for words in printed if words[1] == "generate")
    assert main([*generate[1:-1], "4"]) == 0
    doctored = next(words for words in printed if words[1] == "doctor")
    assert main(doctored[1:]) in (0, 1)
    assert "finished" in capsys.readouterr().out
    assert main(["init", "photos", "first.yaml"]) == 2
    assert "first.yaml: is there already" in capsys.readouterr().err
    assert (tmp_path / "first.yaml").read_text() == header


def test_it_goes_on_from_a_snapshot_whose_networks_then_fit(
    pictures: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = "stylegan2-32 data.path=s data.resolution=null batch.size=8 family.channel_base=512"
    more = (
        "family.channel_max=32 family.z_dim=24 family.minibatch_stddev_group=4 length.images=8 data.workers=0"
    )
    assert main(["prepare", "photos", "s", "--resolution", "32"]) == 0
    assert main(["train", *words.split(), *more.split(), "--run", "runs/source"]) == 0
    (snapshot,) = (tmp_path / "runs/source/snapshots").glob("*8")
    assert main(["init", "photos", "next.yaml", "--from", str(snapshot), "--no-measure"]) == 0
    config = load_config("next.yaml", [])
    assert config.family.model_dump()["z_dim"] == 24
    capsys.readouterr()
    assert main(["train", "next.yaml", "data.path=s", "length.images=16", "--run", "runs/next"]) == 0
    said = capsys.readouterr().err
    taken = re.search(r"generator (\d+) of (\d+) tensors", said)
    assert taken is not None
    assert taken[1] == taken[2]


CHOICES: dict[str, tuple[dict[str, Any], Photographs, Equipment, Mapping[str, Any]]] = {
    "a CPU": ({}, photos(), CPU, {"data.resolution": 64, "engine.precision": "float32", "batch.size": 16}),
    "small pictures": ({}, photos(side=40), CPU, {"data.resolution": 32}),
    # The table of the public code's rule: batch min(32, 4096 / 256 x 1), gamma .0002 x 256^2 / 16.
    "a GPU": (
        {},
        photos(),
        gpus(1),
        {"data.resolution": 256, "batch.size": 16, "family.r1_gamma": 0.8192, "family.channel_base": 16384},
    ),
    "eight GPUs": (
        {},
        photos(side=2000),
        gpus(8),
        {"data.resolution": 1024, "batch.size": 32, "family.r1_gamma": 0.0002 * 1024**2 / 32},
    ),
    "three GPUs": ({}, photos(), gpus(3), {"batch.size": 32}),
    "planned for GPUs": ({"gpus": 2}, photos(), CPU, {"batch.size": 32, "engine.precision": "bfloat16"}),
    "classes": ({}, photos(classes={"a": 2000, "b": 3000}), CPU, {"data.labels": True}),
    "too few of each": ({}, photos(classes={str(n): 9 for n in range(500)}), CPU, {"data.labels": False}),
    "folders of splits": ({}, photos(hindrance="train, val are hardly classes"), CPU, {"data.labels": False}),
    "another family": ({"family": "r3gan"}, photos(), gpus(1), {"data.resolution": 256, "batch.size": 256}),
    "a resolution": ({"resolution": 128}, photos(side=90), CPU, {"data.resolution": 128}),
}


@pytest.mark.parametrize("case", CHOICES)
def test_choices(case: str, tmp_path: Path) -> None:
    options, pictures, machine, expected = CHOICES[case]
    plan = planned(asked(**options), pictures, machine, tmp_path / "c.yaml")
    estimate = estimated(plan, wants=False)
    settings = settings_of(plan, estimate).model_dump()
    found = {key: settings[key.split(".")[0]][key.split(".")[1]] for key in expected}
    numbers = all(isinstance(value, float) for value in found.values())
    assert found == (pytest.approx(expected) if numbers else expected)
    assert settings["family"].get("ada", {}).get("mode") in (None, "adaptive", "off")


@pytest.mark.parametrize(
    ("count", "machine", "mode"),
    [(5000, gpus(1), "adaptive"), (300, gpus(8), "adaptive"), (5001, gpus(1), "off"), (300, CPU, "off")],
)
def test_pseudo_reals_are_for_few_pictures_and_a_gpu(
    count: int, machine: Equipment, mode: str, tmp_path: Path
) -> None:
    plan = planned(asked(), photos(count), machine, tmp_path / "c.yaml")
    family = settings_of(plan, estimated(plan, wants=False)).family
    assert (family.ada.mode, family.apa.mode) == ("adaptive", mode)


def test_every_value_of_its_own_has_a_comment_or_goes_with_one_before(tmp_path: Path) -> None:
    """The first key of every section is explained, and the file means what settings_of checks."""
    plan = planned(asked(), photos(classes={"a": 2000, "b": 3000}), gpus(2), tmp_path / "c.yaml")
    text = configuration(plan, estimated(plan, wants=False))
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if line.endswith(":") and not line.startswith(("#", " ", "family")):
            assert lines[number + 1].startswith("  # "), line
    assert max(len(line) for line in lines if "hrgan " not in line) <= 110
    assert yaml.safe_load(text)["data"]["labels"] is True
    assert "# mirror: true" in text
    assert "published for A100" in text
    assert "counted, not measured" in text


MORE = {
    "textgan": "texts",
    "sg2im": "scene graphs",
    "pix2pix": "pairs",
    "cyclegan": "two sets",
    "dann": "labelled set",
}
"""Families that learn from more than photographs."""


@pytest.mark.parametrize(("family", "what"), MORE.items())
def test_a_family_that_learns_from_more_says_from_what(family: str, what: str) -> None:
    with pytest.raises(UserError, match=rf"^--family {family}: learns from .*{what}.*; begin with `hrgan"):
        resolutions(family, 0)


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - set(MORE)))
@pytest.mark.parametrize("count", [0, 1])
def test_every_family_has_a_first_run_on_either_machine(family: str, count: int, tmp_path: Path) -> None:
    for side in resolutions(family, count):
        machine = gpus(count) if count else CPU
        plan = planned(asked(family=family, resolution=side), photos(side=1200), machine, tmp_path / "c.yaml")
        assert settings_of(plan).data.resolution == side
        assert ("--pyramid" in commands(plan)[0]) == (family == "progan")


def test_hours_make_the_length() -> None:
    """A100, 256px: 8 x 2.19 GPU-seconds for 1,000 images; 1024px on one: 90.4."""
    for machine, side, seconds in ((gpus(1), 256, 17.52), (gpus(8), 256, 2.19), (gpus(1), 1024, 90.4)):
        plan = planned(asked(hours=10, resolution=side), photos(side=1200), machine, Path("c.yaml"))
        images = estimated(plan, wants=False).images
        assert images == pytest.approx(3_600_000 * 10 / seconds, rel=0.06)
        assert images <= 3_600_000 * 10 / seconds
    between = planned(asked(hours=10, resolution=512), photos(side=1200), gpus(1), Path("c.yaml"))
    assert estimated(between, wants=False).images == pytest.approx(36e6 / (17.52 * 90.4) ** 0.5, rel=0.06)


def test_few_pictures_get_advice() -> None:
    def advice(count: int) -> str:
        return " ".join(planned(asked(), photos(count), gpus(1), Path("c.yaml")).advice)

    assert "very few" in advice(60)
    assert "--from SNAPSHOT" in advice(60)
    assert "are few" in advice(600)
    assert advice(6000) == ""


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"family": "stylegan4"}, "--family stylegan4: unknown; allowed: stylegan2"),
        ({"resolution": 100}, "--resolution 100: stylegan2 on a CPU has settings for a first run at 8, 16"),
        (
            {"family": "biggan", "resolution": 64},
            "--resolution 64: biggan on a CPU has settings for a first run at 32",
        ),
        ({"gpus": 5, "resolution": 256}, "--gpus 5: do not divide a batch of"),
        ({"source": Path("nowhere")}, "nowhere"),
    ],
)
def test_what_does_not_go_together_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as refused:
        settings_of(planned(asked(**options), photos(side=1200), CPU, Path("c.yaml")))
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_look_at_pictures(pictures: Path) -> None:
    found = look_at(str(pictures), "auto", follow_links=False)
    assert (found.count, found.unreadable, found.grey) == (181, 1, False)
    assert found.smaller_than(32) == pytest.approx(60 / 180)
    assert (found.largest, dict(found.classes)) == (16, {"a": 61, "b": 60, "c": 60})
    (pictures / "b").rename(pictures / "b-")
    for old, new in (("a", "train"), ("b-", "val"), ("c", "test")):
        (pictures / old).rename(pictures / new)
    split = look_at(str(pictures), "auto", follow_links=False)
    assert split.classes == {}
    assert "hardly classes" in str(split.hindrance)
    with pytest.raises(UserError, match="no such labels"):
        look_at(str(pictures), "nowhere.csv", follow_links=False)


def test_grey_pictures_are_prepared_grey(tmp_path: Path) -> None:
    for number in range(3):
        Image.new("L", (16, 16), number).save(tmp_path / f"{number}.png")
    grey = look_at(str(tmp_path), "auto", follow_links=False)
    assert grey.grey
    assert "--grey" in commands(planned(asked(), grey, CPU, Path("c.yaml")))[0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "nowhere: no such source"),
        (["empty"], "empty: holds no images"),
        (["empty", "c.txt"], "c.txt: must end in .yaml"),
        (["empty", "--hours", "0"], "--hours"),
    ],
)
def test_a_mistake_is_one_line(
    words: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    assert main(["init", *words]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert not list(tmp_path.glob("*.yaml"))


def test_this_machine(tmp_path: Path) -> None:
    here = equipment(tmp_path / "not/there")
    assert here.cores >= 1
    assert here.memory_gib > 0.1
    assert any("cores" in line for line in here.lines())

"""What hrgan 0.1.0 left on disks: it trains on, generates, is evaluated, and begins other runs.

By the command line alone, which is a contract; see `v1/README.md`.
"""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from tests.small_run import environment
from tests.stored.processor import arithmetic
from tests.warm import run_warm

STORED = Path(__file__).parent / "v1"
NEWEST = f"{48:012d}"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A copy that may be written to."""
    return Path(shutil.copytree(STORED, tmp_path / "v1"))


@pytest.fixture(scope="module")
def exact() -> bool:
    """Whether this machine computes as the one did that made what is expected."""
    return bool(arithmetic() == json.loads((STORED / "expected/arithmetic.json").read_text()))


def hrgan(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    (done,) = run_warm([("-m", "launch.main", *words)], [environment()], place, 240)
    assert done.returncode == 0, done.stderr
    return done


def weights(checkpoint: Path) -> dict[str, np.ndarray]:
    (file,) = checkpoint.glob("weights-*.safetensors")
    return load_file(file)


def pixels(shard: Path) -> dict[str, np.ndarray]:
    """Pictures of a shard by name."""
    with tarfile.open(shard) as archive:
        names = [name for name in archive.getnames() if name.endswith(".png")]
        return {name: read(archive.extractfile(name).read()) for name in names}


def read(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("run", ["run", "forked"])
def test_it_trains_on_as_that_version_did(place: Path, exact: bool, run: str) -> None:
    before = weights(place / "run/checkpoints" / NEWEST)
    longer = ("length.images=72", "checkpoints.every_images=24")
    source = () if run == "run" else ("start.source=run", "start.keep=all")
    done = hrgan(place, "train", "config.yaml", "--run", run, *longer, *source)
    assert f"going on from {run}/checkpoints/{NEWEST} (48 images)" in done.stderr
    expected = load_file(place / "expected/continued.safetensors")
    found = weights(place / run / "checkpoints" / f"{72:012d}")
    assert expected.keys() <= found.keys()
    moved = 0
    for name, tensor in expected.items():
        moved += not np.array_equal(tensor, before[name])
        if exact:
            assert np.array_equal(found[name], tensor), name
            continue
        way, size = np.abs(tensor - before[name]).max(initial=0), np.abs(tensor).max(initial=0)
        assert np.abs(found[name] - tensor).max(initial=0) <= 1e-4 * way + 1e-6 * size, name
    assert moved > 0.9 * len(expected)
    log = [json.loads(line) for line in (place / run / "log.jsonl").read_text().splitlines()]
    assert [entry["images_seen"] for entry in log] == list(range(8 if run == "run" else 56, 73, 8))


def test_a_finished_run_is_left_as_it_is(place: Path) -> None:
    before = contents(place / "run/checkpoints")
    assert "finished: 48 images" in hrgan(place, "train", "config.yaml", "--run", "run").stderr
    assert contents(place / "run/checkpoints") == before


@pytest.mark.parametrize("source", ["run", f"run/snapshots/{NEWEST}"])
def test_it_generates_the_same_images(place: Path, exact: bool, source: str) -> None:
    hrgan(place, "generate", source, "again", "--count", "10", "--seed", "7", "--truncation", "0.7")
    ours, theirs = (pixels(place / folder / "images-00000.tar") for folder in ("again", "generated"))
    assert ours.keys() == theirs.keys()
    for name, image in theirs.items():
        assert np.abs(ours[name] - image).max() <= (0 if exact else 1), name


def test_a_data_set_that_is_whole_is_not_made_again(place: Path) -> None:
    before = contents(place / "generated")
    hrgan(place, "generate", "run", "generated", "--count", "10", "--seed", "7", "--truncation", "0.7")
    after = contents(place / "generated")
    assert {name: after[name] for name in before if name.endswith(".tar")} == {
        name: data for name, data in before.items() if name.endswith(".tar")
    }


def figures(file: Path) -> dict[str, float]:
    return {name: found["value"] for name, found in json.loads(file.read_text())["metrics"].items()}


def test_it_is_evaluated_to_the_same_figures(place: Path) -> None:
    theirs = figures(place / f"run/metrics/{NEWEST}.json")
    shutil.rmtree(place / "run/metrics")
    words = ("evaluate", "run", "--data", "shards", "--metrics", "swd,msssim", "--count", "10")
    hrgan(place, *words)  # with its statistics of the reals
    assert figures(place / f"run/metrics/{NEWEST}.json") == pytest.approx(theirs, rel=1e-4)
    shutil.rmtree(place / "run/metrics")
    shutil.rmtree(place / "shards/statistics")
    hrgan(place, *words)
    assert figures(place / f"run/metrics/{NEWEST}.json") == pytest.approx(theirs, rel=1e-4)


def test_what_was_measured_is_not_measured_again(place: Path) -> None:
    before = {name: figures(place / f"run/metrics/{name}.json") for name in (f"{0:012d}", NEWEST)}
    stamp = f"run/metrics/{NEWEST}.json"
    # A figure that no measurement would give: it stays if it is taken from the file.
    text = (place / stamp).read_text().replace(str(before[NEWEST]["swd"]), "12.5")
    (place / stamp).write_text(text)
    words = ("evaluate", "run", "--data", "shards", "--metrics", "swd", "--count", "10")
    assert "12.5" in hrgan(place, *words).stdout
    assert figures(place / stamp)["swd"] == 12.5
    assert "325.2" in hrgan(place, "evaluate", "generated", "--data", "shards", "--metrics", "swd").stdout


def test_another_run_begins_with_its_weights(place: Path) -> None:
    hrgan(place, "train", "config.yaml", "start.source=run", "length.images=8", "--run", "other")
    ours = load_file(place / f"other/snapshots/{0:012d}/generator.safetensors")
    theirs = load_file(place / f"run/snapshots/{NEWEST}/generator.safetensors")
    assert theirs.keys() <= ours.keys()
    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)


def test_shards_and_their_pyramid_are_read(place: Path) -> None:
    hrgan(place, "export", "shards", "plain.zip")
    stored = [image for shard in sorted(STORED.glob("shards/data-*.tar")) for image in pixels(shard).values()]
    with zipfile.ZipFile(place / "plain.zip") as archive:
        pictures = {name: read(archive.read(name)) for name in archive.namelist() if name.endswith(".png")}
    assert len(pictures) == len(stored) == 10
    assert {image.tobytes() for image in pictures.values()} == {image.tobytes() for image in stored}
    assert {name.split("/")[0] for name in pictures} == {"0-black", "1-blond", "2-brown", "3-red"}
    before = contents(place / "shards/levels")
    hrgan(place, "prepare", "shards", "shards", "--pyramid")
    assert contents(place / "shards/levels") == before


def test_it_is_listed_and_explored(place: Path) -> None:
    (state,) = json.loads(hrgan(place, "runs", "run", "--json").stdout)["runs"]
    assert (state["state"], state["images_seen"], state["images_total"]) == ("finished", 48, 48)
    assert state["metrics"].keys() >= {"swd"}
    assert state["damaged"] == []
    hrgan(place, "explore", "run", "walk", "walk.png", "--along", "sefa.safetensors", "--seeds", "0-1")
    assert Image.open(place / "walk.png").size[0] >= 7 * 16

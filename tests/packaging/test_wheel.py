"""The wheel: what is in it, and that it works where nothing of the checkout is, in another folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from launch.commands.doctor import PACKAGES
from ops.building.cache import default_root

ROOT = Path(__file__).parents[2]
DATA = {".yaml", ".json", ".sbatch", ".cpp", ".cu", ".cuh", ".h", ".typed"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built without a network from a copy, so that nothing of an earlier build is in it."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in (*PACKAGES, "configs", "tools", "tests"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=ignore)
    pip("wheel", str(source), "--no-build-isolation", "--no-index", "--wheel-dir", str(out))
    (path,) = out.iterdir()
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Path:
    """A fresh environment with the wheel, and with this one's libraries but for its hrgan."""
    folder = tmp_path_factory.mktemp("elsewhere") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, timeout=120)
    pip("--python", str(folder / "bin/python"), "install", "--no-index", str(wheel))
    paths = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "libraries.pth").write_text("\n".join(sorted(paths)))  # what .pth files there say is not read
    return folder


def pip(*words: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *words, "--no-deps", "-q"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=outside(), check=False)
    assert done.returncode == 0, done.stderr


def outside() -> dict[str, str]:
    """What a shell has that knows nothing of the checkout."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def run(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A program of the environment, started in a folder that has nothing to do with hrgan."""
    folder = place.parent / "work"
    folder.mkdir(exist_ok=True)
    return subprocess.run(
        [place / "bin" / words[0], *words[1:]],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**outside(), "HRGAN_OPS_CACHE": str(default_root())},
        timeout=240,
        check=False,
    )


def said(place: Path, *words: str) -> str:
    done = run(place, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_holds_the_packages_with_their_data_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        top = archive.read("hrgan-0.1.0.dist-info/top_level.txt").decode().split()
    wanted = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and (path.suffix == ".py" or path.suffix in DATA)
    }
    configs = {f"pipeline/{path.relative_to(ROOT)}" for path in (ROOT / "configs").rglob("*.yaml")}
    assert configs
    assert names == wanted | configs
    assert sorted(top) == sorted(PACKAGES)


def test_the_configurations_are_there_by_name(place: Path) -> None:
    listed = said(place, "hrgan", "configs")
    for path in (ROOT / "configs").glob("*.yaml"):
        assert f"\n{path.stem} " in listed
    assert said(place, "hrgan", "configs", "quickstart") == (ROOT / "configs/quickstart.yaml").read_text()
    assert "cluster/example" in listed
    script = "one-node.sbatch"
    assert script in listed
    assert said(place, "hrgan", "configs", script) == (ROOT / "launch/cluster/slurm" / script).read_text()


def test_the_doctor_finds_its_packages_in_the_environment(place: Path) -> None:
    findings = json.loads(said(place, "hrgan", "doctor", "--json"))["findings"]
    assert [one for one in findings if one["fine"] is False] == []
    places = {one["name"]: Path(one["found"]) for one in findings if one["section"] == "packages"}
    assert places.keys() == set(PACKAGES)
    assert all(path.is_relative_to(place) for path in places.values())


def test_operations_are_compiled_from_its_own_sources(place: Path) -> None:
    """They have the digest of the checkout's, so what tests of those say holds, and their libraries serve."""
    program = (
        "from pathlib import Path; import ops; from ops.building.recipe import SOURCES, cpu_recipe;"
        "ops.use('auto', devices=('cpu',), tell=lambda line: None);"
        "kinds = {one.implementation for one in ops.state() if one.device == 'cpu'};"
        "print(SOURCES, cpu_recipe().digest, kinds)"
    )
    here = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    there, digest, *kinds = said(place, "python", "-c", program).split()
    assert Path(there).is_relative_to(place)
    assert [digest, *kinds] == here.stdout.split()[1:]
    assert not list(place.rglob("*.so"))


@pytest.fixture(scope="module")
def shards(place: Path) -> str:
    """A word of the command line: sixteen pictures of 32px."""
    pictures = place.parent / "work/pictures"
    pictures.mkdir(parents=True)
    for number in range(16):
        Image.new("RGB", (32, 32), (number * 15, 100, 200 - number * 10)).save(pictures / f"{number}.png")
    said(place, "hrgan", "prepare", "pictures", "shards", "--resolution", "32", "--labels", "none")
    return "data.path=shards"


def test_a_run_begins_and_goes_on_by_the_name_of_its_configuration(place: Path, shards: str) -> None:
    words = ["mlp-32", shards, "data.workers=0", "batch.size=8", "snapshots.grid=4"]
    for images in (8, 16):
        said(place, "hrgan", "train", *words, f"length.images={images}")
    assert (place.parent / f"work/runs/mlp-32/snapshots/{16:012d}/manifest.json").is_file()


def test_jobs_are_written_by_names_and_by_copies_that_still_inherit(place: Path, shards: str) -> None:
    copy = place.parent / "work/mine.yaml"
    copy.write_text(said(place, "hrgan", "configs", "dcgan-32"))
    assert "inherit: base.yaml" in copy.read_text()
    for config in ("dcgan-32", "mine.yaml"):
        words = (config, shards, "--cluster", "example", "--dry-run")
        script = said(place, "hrgan", "submit", "train", *words)
        assert f"# hrgan train {config} {shards}" in script
        assert f"{place}/bin/python -m launch.main train" in script


def test_an_unknown_name_is_one_line(place: Path) -> None:
    done = run(place, "hrgan", "train", "mlp-33")
    assert done.returncode == 2
    assert done.stderr.startswith(
        "hrgan: error: mlp-33: no such file, and no configuration of that name comes"
    )
    assert "did you mean mlp-32" in done.stderr
    assert done.stderr.count("\n") == 1

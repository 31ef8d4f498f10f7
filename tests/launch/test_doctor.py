"""The doctor: finds what is there, says how to get what is not, and never breaks down itself."""

from __future__ import annotations

import importlib.util
import shutil
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

import pytest

from launch.commands import doctor
from launch.commands.doctor import Finding, examine
from pipeline.evaluation.features.weights import INCEPTION, VGG16


def _by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


def test_examines_without_a_fault() -> None:
    found = _by_name(examine())
    assert "error" not in found
    for name in ("python", "torch", "torchvision", "accelerate", "tensorboard", "torchvision works"):
        assert found[name].fine is True, found[name]
    for name in ("g++", "nvcc", "ninja", "SLURM", "CPU cores", "memory", "/dev/shm", "upfirdn2d, cpu"):
        assert found[name].found


def test_what_is_not_installed_is_said_with_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_installed", lambda package: None)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    found = _by_name(examine())
    assert found["deepspeed"].fine is None
    assert found["deepspeed"].found.endswith("pip install 'hrgan[deepspeed]'")
    assert found["torch"].fine is False
    assert found["g++"] == Finding(
        "compilers", "g++", None, "no C++ compiler on PATH: apt install g++, or set CXX"
    )
    assert found["SLURM"] == Finding("cluster", "SLURM", None, "sbatch not found")


def test_a_broken_part_is_a_finding_and_the_rest_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError("driver too old\nsecond line")

    monkeypatch.setattr("torch.cuda.is_available", broken)
    found = _by_name(examine())
    assert found["error"] == Finding("GPUs", "error", False, "RuntimeError: driver too old")
    assert "memory" in found


def test_tools_and_weights_that_are_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tool = tmp_path / "sbatch"
    tool.write_text("#!/bin/sh\necho slurm-wlm 22.05.8\n")
    tool.chmod(0o755)
    sinfo = tmp_path / "sinfo"
    sinfo.write_text("#!/bin/sh\necho 'gpu*|4|idle|64|512000|gpu:8|1-00:00:00'\n")
    sinfo.chmod(0o755)
    weights = {name: tmp_path / "hub/checkpoints" / file for name, file in doctor.WEIGHTS.items()}
    for path in weights.values():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("SLURM_JOB_ID", "42")
    found = _by_name(examine())
    assert found["SLURM"].found == f"slurm-wlm 22.05.8 ({tool})"
    expected = "4 nodes idle (default): 64 cores, 512000 MB, gpu:8; up to 1-00:00:00"
    assert found["partition gpu"].found == expected
    assert found["job"].found == "42"
    sinfo.write_text("#!/bin/sh\necho 'Unable to contact slurm controller' >&2\nexit 1\n")
    assert _by_name(examine())["partitions"].found == "no answer: Unable to contact slurm controller"
    sinfo.write_text("#!/bin/sh\nexit 1\n")
    assert _by_name(examine())["partitions"].found == "no answer: no reason given"
    assert {name: found[name].found for name in weights} == {n: str(path) for n, path in weights.items()}
    published = {name for one in (INCEPTION, VGG16) for name in one.names}
    assert {path.name for path in weights.values()} <= published


def test_the_table_has_a_line_a_finding(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.doctor() == 0
    table, _, _ = capsys.readouterr().out.partition("\n\nwhat to mend\n")
    lines = table.splitlines()
    assert lines[0] == "versions"
    assert sum(line.startswith("  ") for line in lines) == len(examine())


# What else is called as ours is: Juju's operator framework, ROS 2's launch, a library of pipelines.
NAMESAKES = {"ops": ("ops", "2.17.0"), "launch": ("launch", "3.4.2"), "pipeline": ("some-pipeline", "0.1")}


@pytest.mark.parametrize("name", NAMESAKES)
def test_another_distribution_with_a_package_of_the_same_name_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    distribution, version = NAMESAKES[name]
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").touch()
    info = tmp_path / f"{distribution.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
    (info / "RECORD").write_text(f"{name}/__init__.py,,\n{info.name}/METADATA,,\n{info.name}/RECORD,,\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    wrong = [finding for finding in examine() if finding.section == "packages" and not finding.fine]
    fault = f"{distribution} {version} installs a package {name} too"
    assert wrong == [
        Finding("packages", name, False, f"{fault}; install hrgan into an environment of its own")
    ]


def test_a_package_that_is_imported_from_elsewhere_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a folder `pipeline` lies where Python was started."""
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "pipeline/__init__.py").touch()
    found = importlib.util.find_spec

    def elsewhere(name: str) -> ModuleSpec | None:
        return PathFinder.find_spec(name, [str(tmp_path)]) if name == "pipeline" else found(name)

    monkeypatch.setattr(importlib.util, "find_spec", elsewhere)
    ours = Path(doctor.__file__).parents[2]
    assert _by_name(examine())["pipeline"].found == f"imported from {tmp_path}, not from {ours}"

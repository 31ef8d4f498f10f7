"""What the README says is there, is there."""

from __future__ import annotations

import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest
from typer.main import get_command

from launch.main import app
from pipeline.config.load import MAY_CHANGE
from pipeline.evaluation.metrics.registry import METRICS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def commands(text: str) -> list[str]:
    """Every `hrgan ...` line of a text, without what surrounds it."""
    lines = [line.strip().removeprefix("$(BIN)/") for line in text.splitlines()]
    return [line for line in lines if line.startswith("hrgan ") and "error:" not in line]


@pytest.mark.parametrize("line", sorted({*commands(README), *commands(MAKEFILE)}))
def test_every_command_line_is_understood(line: str) -> None:
    words = shlex.split(line.replace("$(QUICK)", "out/quickstart"), comments=True)[1:]
    group = get_command(app)
    # Parsed by the program itself, up to the point where the command would run.
    with group.make_context("hrgan", list(words), resilient_parsing=False) as context:
        name, command, rest = group.resolve_command(context, words)  # type: ignore[attr-defined]
        assert command is not None
        command.make_context(name, rest, parent=context)


def test_every_config_is_listed_and_every_listed_one_exists() -> None:
    listed = set(re.findall(r"configs/[\w.-]+\.yaml", README))
    assert listed == {f"configs/{path.name}" for path in (ROOT / "configs").glob("*.yaml")}


def test_every_file_that_is_named_exists() -> None:
    for name in ("tools/constraints.txt", ".ci/run", "tests/test_layers.py", "pipeline/config/run.py"):
        assert name in README
        assert (ROOT / name).is_file()


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^(\w+):", MAKEFILE, re.MULTILINE))
    for target in re.findall(r"\bmake (\w+)", README):
        assert target in targets
    assert targets >= {"quickstart", "setup", "test", "check", "bench", "clean"}


def test_make_understands_every_target() -> None:
    done = subprocess.run(
        ["make", "-n", "help", "quickstart", "test", "check", "bench", "clean"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_what_may_change_between_two_starts() -> None:
    paragraph = README.split("Free to change between two starts are ")[1].split(".\n")[0]
    named = {name.removesuffix(".*") for name in re.findall(r"`([\w.*]+)`", paragraph)}
    assert named == set(MAY_CHANGE)


def test_the_table_of_metrics_is_the_registry() -> None:
    rows = [f"| `{name}` | {metric.title} | {metric.wants} |" for name, metric in METRICS.items()]
    assert "\n".join(["| metric | what | needs |", "|---|---|---|", *rows, ""]) in README


def test_extras_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = set(project["optional-dependencies"])
    assert {"eval", "demo", "dev", "deepspeed", "docs", "slurm", "heic", "nvcc"} == extras
    assert project["requires-python"] == ">=3.11"


def test_every_requirement_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + [
        r for extra in project["optional-dependencies"].values() for r in extra
    ]
    names = {_plain(re.split(r"[<>=\[ ]", requirement)[0]) for requirement in wanted}
    lines = (ROOT / "tools/constraints.txt").read_text().splitlines()
    pinned = {_plain(line.split("==")[0]) for line in lines if line and not line.startswith("#")}
    assert names <= pinned
    assert all("==" in line for line in lines if line and not line.startswith("#"))


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()

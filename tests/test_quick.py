"""What runs before a commit: the choice of `--quick`, and that hooks, make and the forge run the same."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from tests import quick
from tests.quick import FIRST, SHARE, TOTAL, Quick, first, in_turns

ROOT = Path(__file__).parents[1]
MAKEFILE = (ROOT / "Makefile").read_text()
TESTS = Path("/tests")


def item(name: str, *marks: str) -> SimpleNamespace:
    """A test as pytest has it: `room/file::test[case]`."""
    path = TESTS / name.partition("::")[0]
    return SimpleNamespace(nodeid=name, path=path, get_closest_marker=lambda mark: mark in marks)


def names(items: list) -> list[str]:
    return [one.nodeid for one in items]


def test_one_case_of_each_of_the_first_tests_of_a_file() -> None:
    many = [item(f"a/f::t{number}[{case}]") for number in range(FIRST + 2) for case in "xy"]
    assert names(first([*many, item("a/g::t0")])) == [f"a/f::t{n}[x]" for n in range(FIRST)] + ["a/g::t0"]


def test_rooms_take_turns_and_files_stay_together() -> None:
    items = [item(name) for name in ("a/f::1", "a/f::2", "a/g::1", "b/h::1", "c/i::1", "c/i::2", "c/j::1")]
    assert names(in_turns(items, lambda one: one.nodeid[0])) == [
        *("a/f::1", "a/f::2", "b/h::1", "c/i::1", "c/i::2", "a/g::1", "c/j::1")
    ]


def test_what_takes_long_is_deselected() -> None:
    left: list = []
    hook = SimpleNamespace(pytest_deselected=lambda items: left.extend(items))
    items = [item("a/f::1"), item("a/f::2", "slow"), item("a/f::3", "gpu"), item("restart/f::1")]
    Quick(TESTS).pytest_collection_modifyitems(SimpleNamespace(hook=hook), items)
    assert names(items) == ["a/f::1"]
    assert sorted(names(left)) == ["a/f::2", "a/f::3", "restart/f::1"]


def runs(plugin: Quick, monkeypatch: pytest.MonkeyPatch, name: str, seconds: float) -> bool:
    """Whether the test ran, which takes so long."""
    one, clock = item(name), iter((0.0, seconds, 0.0, 0.0))
    monkeypatch.setattr(quick, "processor_seconds", lambda: next(clock))
    protocol = plugin.pytest_runtest_protocol(one)
    next(protocol)
    try:
        plugin.pytest_runtest_setup(one)
    except pytest.skip.Exception:
        monkeypatch.setattr(quick, "processor_seconds", lambda: 0.0)
        return False
    finally:
        with pytest.raises(StopIteration):
            protocol.send(True)
    return True


def test_a_file_runs_until_its_share_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = Quick(TESTS)
    assert runs(plugin, monkeypatch, "a/f::1", SHARE - 0.1)
    assert runs(plugin, monkeypatch, "a/f::2", 0.2)
    assert not runs(plugin, monkeypatch, "a/f::3", 0.0)
    assert runs(plugin, monkeypatch, "a/g::1", 0.0)


def test_after_the_time_of_all_no_further_file_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = Quick(TESTS)
    assert runs(plugin, monkeypatch, "a/f::1", 0.1)
    assert runs(plugin, monkeypatch, "a/g::1", TOTAL)
    assert not runs(plugin, monkeypatch, "a/h::1", 0.0)
    assert runs(plugin, monkeypatch, "a/f::2", 0.0)  # it has begun


def test_every_room_of_tests_has_a_short_one_or_is_named_as_long() -> None:
    """A folder whose every test is marked slow would never be seen."""
    for folder in {path.parent for path in (ROOT / "tests").glob("*/test_*.py")} - {ROOT / "tests/gpu"}:
        if folder.name not in quick.LONG:
            texts = [path.read_text() for path in folder.glob("test_*.py")]
            assert any(not re.search(r"^pytestmark = .*slow", text, re.MULTILINE) for text in texts), folder
    assert all((ROOT / "tests" / name).is_dir() for name in quick.LONG)


def recipe(target: str) -> list[str]:
    """The commands of a make target."""
    block = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    assert block
    return [line.strip() for line in block[1].splitlines()]


def test_the_hooks_are_make_lint() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    lint = [line.replace("$(BIN)", ".venv/bin").replace(" --check .", "") for line in recipe("lint")]
    assert [hook["entry"].replace(" --force-exclude", "") for hook in hooks] == [
        line.removesuffix(" .") for line in lint
    ]


def test_quick_is_lint_and_the_quick_tests() -> None:
    assert re.search(r"^quick: lint$", MAKEFILE, re.MULTILINE)
    (command,) = recipe("quick")
    assert "-m pytest" in command
    assert "--quick" in command


def test_the_forge_runs_what_everybody_runs() -> None:
    (job,) = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"].values()
    commands = [step["run"] for step in job["steps"] if "run" in step]
    assert [line for line in commands if not line.startswith("apt-get ")] == [".ci/run"]
    assert (ROOT / ".ci/run").stat().st_mode & 0o100

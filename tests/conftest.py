"""Settings of all tests."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import Any

# Before anything imports torch: a test's numbers must not depend on the machine's cores, and workers of
# pytest-xdist must not fight for them.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import settings

from tests import quick
from tests.quick import Quick

# Started in the background or under nohup, a process ignores these, and so would every run that is tested.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Examples are drawn the same way each time, and a slow machine is no failure.
settings.register_profile("hrgan", deadline=None, derandomize=True)
settings.load_profile("hrgan")


@pytest.fixture(scope="session", autouse=True)
def _compiled_operations() -> None:
    """Tests run what people run: compiled operations where this machine can compile them."""
    import ops

    ops.use("auto", devices=("cpu",))


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Fresh weights do not depend on which tests came before."""
    import torch

    torch.manual_seed(0)


def pytest_configure(config: pytest.Config) -> None:
    """A GPU is for tests that are marked so and asked for (`-m gpu`): others see none, nor do processes that
    they start. Before anything imports torch."""
    if not wants_gpu(config.option.markexpr):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    if config.getoption("--quick"):
        config.pluginmanager.register(Quick(_TESTS))


def wants_gpu(marks: str) -> bool:
    """Whether the expression after `-m` asks for tests with the mark `gpu`."""
    return re.search(r"(?<!not )\bgpu\b", marks) is not None


_TESTS = Path(__file__).parent
# Folders that begin first, so that none of their files is left over for one worker of pytest-xdist;
# what tests of some share, they share as a folder.
_FIRST = ("distributed", "restart", "launch", "packaging", "stored", "tools", "slurm")
_BY_FOLDER = ("slurm",)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long ones first. Skips, by name, what needs a missing CUDA device."""
    long = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (_folder(item.path) not in _FIRST, item.path not in long))
    _skip_without_gpu(items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `--dist loadgroup`, a worker takes a whole file or folder, so that fixtures, compiled kernels and
    imported libraries serve all of its tests. Not by marks: pytest-xdist 3.8 loses them under pytest 9.2."""
    if config.getvalue("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class ByGroup(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _group(config.rootpath / nodeid.partition("::")[0])

    return ByGroup(config, log)


def _folder(path: Path) -> str:
    return path.relative_to(_TESTS).parts[0] if path.is_relative_to(_TESTS) else ""


def _group(path: Path) -> str:
    folder = _folder(path)
    return folder if folder in _BY_FOLDER else f"{folder}/{path.stem}"


def _skip_without_gpu(items: list[pytest.Item]) -> None:
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="gpu: no CUDA device here, or not asked for (-m gpu)"))


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of `make check` and `make quick`."""
    parser.addoption("--quick", action="store_true", help=str(quick.__doc__).split("\n\n")[0])
    parser.addoption(
        "--strict-skips",
        action="store_true",
        help="fail if a test is skipped for any reason but a missing GPU",
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Counts the skips by reason; see `pytest_sessionfinish`."""
    for reason, names in _skips(terminalreporter).items():
        which = "" if reason == quick.REASON else f": {', '.join(names)}"
        terminalreporter.write_line(f"skipped {len(names)} ({reason}){which}")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """With --strict-skips, a skip for any reason but a missing GPU fails the run."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or exitstatus != 0 or not session.config.getoption("--strict-skips"):
        return
    others = [reason for reason in _skips(reporter) if not reason.startswith("gpu:")]
    if others:
        reporter.write_line(f"\nskipped without need: {'; '.join(others)}", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _skips(reporter: pytest.TerminalReporter) -> dict[str, list[str]]:
    """Names of skipped tests by reason."""
    found: dict[str, list[str]] = {}
    for report in reporter.stats.get("skipped", []):
        place = report.longrepr
        reason = place[2].removeprefix("Skipped: ") if isinstance(place, tuple) else str(place)
        found.setdefault(reason, []).append(report.nodeid)
    return found

"""How pytest-xdist deals the tests to its workers."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.conftest import pytest_xdist_make_scheduler

ROOT = Path(__file__).parents[1]
FILES = [f"tests/{name}.py" for name in ("a/test_x", "a/test_y", "slurm/test_x", "test_z", "slurm/test_y")]
TESTS = [f"{file}::test[{case}]" for file in FILES for case in ("1", "2 @ 3", "4::5")]


def config(dist: str) -> SimpleNamespace:
    options = SimpleNamespace(debug=False, loadscopereorder=False)
    return SimpleNamespace(
        getvalue={"dist": dist, "tx": ["2*popen"]}.__getitem__, rootpath=ROOT, option=options
    )


class Worker:
    """What the scheduler sees of one."""

    shutting_down = False

    def __init__(self, number: int) -> None:
        self.gateway = SimpleNamespace(id=f"gw{number}")
        self.tests: list[str] = []

    def send_runtest_some(self, indices: list[int]) -> None:
        self.tests += [TESTS[index] for index in indices]

    def shutdown(self) -> None:
        self.shutting_down = True


def test_one_takes_a_whole_file_or_folder() -> None:
    pytest.importorskip("xdist")
    scheduler = pytest_xdist_make_scheduler(config("loadgroup"), None)
    workers = Worker(0), Worker(1)
    for worker in workers:
        scheduler.add_node(worker)
        scheduler.add_node_collection(worker, TESTS)
    scheduler.schedule()
    assert [worker.tests for worker in workers] == [TESTS[:3], TESTS[3:6]]
    slurm = [test for test in TESTS if "slurm" in test]
    scheduler.mark_test_complete(workers[0], 0)
    assert workers[0].tests == [*TESTS[:3], *slurm]
    scheduler.mark_test_complete(workers[1], 3)
    assert sorted(workers[0].tests + workers[1].tests) == sorted(TESTS)


def test_other_ways_of_dealing_are_pytest_xdists() -> None:
    assert pytest_xdist_make_scheduler(config("load"), None) is None

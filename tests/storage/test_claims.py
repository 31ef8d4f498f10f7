"""Claims: one winner among many, taken over from the dead by exactly one, never from the living."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pipeline.storage import claims as claims_module
from pipeline.storage.claims import Claims
from tests.small_run import ROOT

HOLD = """
import sys, time
from pathlib import Path
from pipeline.storage.claims import Claims
claim = Claims(Path(sys.argv[1]), float(sys.argv[3])).take(sys.argv[2])
print("won" if claim else "lost", flush=True)
sys.stdin.readline()
"""


def contender(folder: Path, name: str, stale: float = 60.0) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder), name, str(stale)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def word(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def end(*processes: subprocess.Popen[str]) -> None:
    for process in processes:
        process.kill()
        process.communicate()


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_one_holds_it_until_it_is_released(tmp_path: Path) -> None:
    claims = Claims(tmp_path)
    claim = claims.take("a")
    assert claim is not None
    assert claims.take("a") is None
    assert claims.take("b") is not None
    assert json.loads((tmp_path / ".a.claim-0").read_text())["pid"] == os.getpid()
    claim.release()
    assert files(tmp_path) == [".b.claim-0"]
    assert claims.take("a") is not None


def test_eight_that_want_it_at_once_have_one_winner(tmp_path: Path) -> None:
    claims = Claims(tmp_path)
    for turn in range(20):
        with ThreadPoolExecutor(8) as pool:
            won = [claim for claim in pool.map(lambda _: claims.take(f"t{turn}"), range(8)) if claim]  # noqa: B023
        assert len(won) == 1
        won[0].release()
    assert files(tmp_path) == []


def test_a_killed_owner_is_replaced_by_exactly_one_of_eight(tmp_path: Path) -> None:
    owner = contender(tmp_path, "a")
    assert word(owner) == "won"
    others = [contender(tmp_path, "a") for _ in range(2)]
    assert [word(one) for one in others] == ["lost", "lost"]
    end(owner, *others)  # kill -9: nothing is cleaned up
    assert files(tmp_path) == [".a.claim-0"]
    claims = Claims(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        won = [claim for claim in pool.map(lambda _: claims.take("a"), range(8)) if claim]
    assert len(won) == 1
    won[0].release()
    assert files(tmp_path) == []


def elsewhere(folder: Path, name: str) -> None:
    """Makes the claim look like that of another machine."""
    path = folder / f".{name}.claim-0"
    said = json.loads(path.read_text())
    path.write_text(json.dumps({**said, "place": "another machine", "token": "theirs"}))


def test_an_owner_on_another_machine_is_dead_after_silence(tmp_path: Path) -> None:
    owner = contender(tmp_path, "a", stale=3)
    assert word(owner) == "won"
    elsewhere(tmp_path, "a")
    time.sleep(1.5)
    assert Claims(tmp_path, 3).take("a") is None  # it gives signs of life every half second
    end(owner)
    assert Claims(tmp_path, 3).take("a") is None  # nobody knows yet that it is dead
    past = time.time() - 10
    os.utime(tmp_path / ".a.claim-0", (past, past))
    with ThreadPoolExecutor(8) as pool:
        won = [claim for claim in pool.map(lambda _: Claims(tmp_path, 3).take("a"), range(8)) if claim]
    assert len(won) == 1
    time.sleep(1)
    assert Claims(tmp_path, 3).take("a") is None  # the new owner lives
    won[0].release()
    assert files(tmp_path) == []


def test_silence_of_a_minute_is_death_and_less_is_not(tmp_path: Path, file_clock: list[float]) -> None:
    """As the README says. Told by the file system's clock, which stands here."""
    held = Claims(tmp_path).take("a")
    assert held is not None
    elsewhere(tmp_path, "a")
    file_clock[0] += 60.0
    assert Claims(tmp_path).take("a") is None
    os.utime(tmp_path / ".a.claim-0", (file_clock[0], file_clock[0]))  # a sign of life
    file_clock[0] += 60.0
    assert Claims(tmp_path).take("a") is None
    file_clock[0] += 0.5
    assert Claims(tmp_path).take("a") is not None


def test_a_process_is_dead_at_once_only_where_its_number_means_something(
    tmp_path: Path, file_clock: list[float]
) -> None:
    owner = contender(tmp_path, "a")
    assert word(owner) == "won"
    end(owner)
    os.utime(tmp_path / ".a.claim-0", (file_clock[0], file_clock[0]))
    here = (tmp_path / ".a.claim-0").read_text()
    elsewhere(tmp_path, "a")
    assert Claims(tmp_path).take("a") is None  # there another process may have its number
    (tmp_path / ".a.claim-0").write_text(here)
    assert Claims(tmp_path).take("a") is not None


@pytest.mark.parametrize("content", ["", "{", '{"token": 1}', "[" * 100_000])
def test_a_claim_that_cannot_be_read_is_judged_by_its_age(
    tmp_path: Path, file_clock: list[float], content: str
) -> None:
    (tmp_path / ".a.claim-3").write_text(content)
    file_clock[0] += 59.0
    assert Claims(tmp_path).take("a") is None
    file_clock[0] += 2.0
    claim = Claims(tmp_path).take("a")
    assert claim is not None
    assert files(tmp_path) == [".a.claim-3", ".a.claim-4"]
    claim.release()
    assert files(tmp_path) == []


@pytest.mark.parametrize("early", [True, False])
def test_a_claim_that_goes_while_it_is_looked_at_is_not_won_by_that_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, early: bool
) -> None:
    """Who looks next sees no claim and makes the first: two would hold it."""
    held = Claims(tmp_path).take("a")
    assert held is not None
    read = claims_module.read_as

    def slow(*arguments: Any) -> Any:
        owner = None if early else read(*arguments)
        held.release()
        return owner or read(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(claims_module, "read_as", slow)
        assert Claims(tmp_path).take("a") is None
    assert Claims(tmp_path).take("a") is not None


def test_an_owner_may_miss_several_signs_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    wait = threading.Event.wait

    def noted(event: threading.Event, timeout: float | None = None) -> bool:
        if threading.current_thread().name == "claim" and timeout is not None:
            waits.append(timeout)
        return wait(event, timeout)

    monkeypatch.setattr(threading.Event, "wait", noted)
    claim = Claims(tmp_path, stale_seconds=0.6).take("a")
    assert claim is not None
    path = tmp_path / ".a.claim-0"
    os.utime(path, (1, 1))
    end = time.monotonic() + 30
    while path.stat().st_mtime == 1 and time.monotonic() < end:
        time.sleep(0.01)
    assert path.stat().st_mtime > 1
    claim.release()
    assert waits
    assert waits == pytest.approx([0.1] * len(waits))


def test_claims_of_the_dead_are_swept_and_those_of_the_living_are_not(tmp_path: Path) -> None:
    owner = contender(tmp_path, "dead.json")
    assert word(owner) == "won"
    end(owner)
    ours = Claims(tmp_path).take("ours")
    theirs = Claims(tmp_path).take("theirs")
    elsewhere(tmp_path, "theirs")
    Claims(tmp_path).sweep()
    assert files(tmp_path) == [".ours.claim-0", ".theirs.claim-0"]
    assert ours is not None
    assert theirs is not None
    Claims(tmp_path / "nowhere").sweep()


def test_an_owner_that_comes_back_late_takes_nothing_away(tmp_path: Path) -> None:
    late = Claims(tmp_path).take("a")
    assert late is not None
    elsewhere(tmp_path, "a")
    past = time.time() - 1000
    os.utime(tmp_path / ".a.claim-0", (past, past))
    new = Claims(tmp_path).take("a")
    assert new is not None
    late.release()
    assert files(tmp_path) == [".a.claim-1"]
    assert Claims(tmp_path).take("a") is None
    new.release()
    assert files(tmp_path) == []


def test_one_that_was_released_while_it_looked_stale_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever saw a stale claim and then slept must not win over those who came meanwhile."""
    old = Claims(tmp_path).take("a")
    assert old is not None
    elsewhere(tmp_path, "a")
    past = time.time() - 1000
    os.utime(tmp_path / ".a.claim-0", (past, past))
    link = os.link

    def slow(source: Path, target: Path) -> None:
        if target.name == ".a.claim-1":
            old.release()
        link(source, target)

    monkeypatch.setattr(os, "link", slow)
    assert Claims(tmp_path).take("a") is None
    assert files(tmp_path) == []

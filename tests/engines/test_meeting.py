"""Processes that meet: who waits where for whom is said, and nobody waits for ever."""

from __future__ import annotations

import socket
import threading

import pytest

from pipeline.engines import meeting
from pipeline.engines.meeting import Meeting
from pipeline.errors import RunFailed, UserError


@pytest.fixture
def port(monkeypatch) -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        found = probe.getsockname()[1]
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(found))
    return found


def test_a_port_that_another_program_has_is_named_at_once(port):
    with socket.socket(socket.AF_INET6) as taken:
        taken.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        taken.bind(("::", port))
        taken.listen()
        with pytest.raises(
            RunFailed, match=rf"^MASTER_PORT={port}: rank 0 cannot listen there on \S+ \(.*in use"
        ):
            Meeting(0, 2, 60).store()


def test_all_that_come_meet(port):
    found = {}

    def come(rank: int) -> None:
        found[rank] = Meeting(rank, 3, 60).store()

    threads = [threading.Thread(target=come, args=(rank,)) for rank in (2, 1, 0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found[2].set("word", "heard")
    assert [found[rank].get("word") for rank in (0, 1)] == [b"heard", b"heard"]


def test_who_does_not_come_is_named_by_all_who_did(port, monkeypatch):
    monkeypatch.setattr(meeting, "_FIRST_WORD_SECONDS", 0.1)
    said, wrong = [], {}

    def come(rank: int) -> None:
        try:
            Meeting(rank, 4, 2.0, said.append).store()
        except RunFailed as error:
            wrong[rank] = str(error)

    other = threading.Thread(target=come, args=(2,))
    other.start()
    come(0)
    other.join()
    where = f"127.0.0.1:{port} (MASTER_ADDR, MASTER_PORT)"
    assert wrong[0].startswith(f"{where}: ranks 1, 3 of 4 did not arrive within 2 s; ")
    assert wrong[2].startswith(f"{where}: rank 2 of 4 arrived, but rank 0 ")
    assert any(line.startswith(f"rank 0 waits at {where} for ranks 1, 3 of 4: ") for line in said)


def test_without_a_first_process_the_address_is_named(port, monkeypatch):
    monkeypatch.setattr(meeting, "_FIRST_WORD_SECONDS", 0.1)
    said: list[str] = []
    with pytest.raises(
        RunFailed,
        match=rf"127.0.0.1:{port} .*: rank 1 of 2 could not reach rank 0 within \d s .*; start rank 0",
    ):
        Meeting(1, 2, 1.5, said.append).store()
    assert said[0].startswith(
        f"rank 1 waits at 127.0.0.1:{port} (MASTER_ADDR, MASTER_PORT) for rank 0 of 2: "
    )


@pytest.mark.parametrize(
    ("text", "wrong"), [("", "MASTER_PORT: not set"), ("ssh", "MASTER_PORT=ssh: must be a")]
)
def test_an_address_that_is_none_is_one_line(port, monkeypatch, text, wrong):
    monkeypatch.setenv("MASTER_PORT", text)
    with pytest.raises(UserError, match=wrong):
        Meeting(0, 2, 1).store()

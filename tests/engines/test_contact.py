"""Handlers of signals that last as long as a block, and what becomes of a process group's own errors."""

from __future__ import annotations

import os
import signal

import pytest
import torch.distributed as dist

from pipeline.contracts import Process
from pipeline.engines.contact import contact
from pipeline.engines.signals import STOPS, handling
from pipeline.errors import RunFailed

TWO = Process(0, 2)
LOST = RuntimeError("[../gloo/transport/tcp/pair.cc:525] Connection closed by peer [127.0.0.1]:4\nframes")


def test_signals_are_handled_within_the_block_alone():
    outer, inner = [], []
    before = signal.signal(signal.SIGUSR1, lambda number, _: outer.append(number))
    try:
        with handling(STOPS, lambda number, _: inner.append(number)):
            os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert (outer, inner) == ([signal.SIGUSR1], [signal.SIGUSR1])


def test_handlers_come_back_after_an_error_too():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ZeroDivisionError), handling((signal.SIGTERM,), lambda *_: None):
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGTERM) is before


def test_what_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with handling(STOPS, lambda *_: pytest.fail("heard")):
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("error", [LOST, dist.DistBackendError("NCCL error"), dist.DistNetworkError("reset")])
def test_a_lost_process_is_a_failure_with_a_line(error):
    with pytest.raises(RunFailed, match=r"^lost \(") as caught, contact(TWO, "lost ({})".format):
        raise error
    assert caught.value.__cause__ is error
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 150


@pytest.mark.parametrize(
    ("process", "error"),
    [
        (TWO, RuntimeError("mat1 and mat2 shapes cannot be multiplied")),
        (TWO, RunFailed("gloo: says itself what happened")),
        (TWO, ValueError("Connection closed by peer")),
        (Process(), LOST),
    ],
)
def test_every_other_error_stays_what_it_is(process, error):
    with (
        pytest.raises(type(error)) as caught,
        contact(process, lambda said: pytest.fail("explained")),
    ):
        raise error
    assert caught.value is error

"""One job at a time, whose errors come up at the next call."""

from __future__ import annotations

import threading

import pytest

from pipeline.storage.background import BackgroundWriter


def test_submit_does_not_wait_for_its_own_job_but_for_the_one_before():
    writer, release, done = BackgroundWriter(), threading.Event(), []
    writer.submit(lambda: (release.wait(10), done.append("first")))
    assert writer.busy
    assert writer.error is None
    assert done == []
    second = threading.Thread(target=lambda: writer.submit(lambda: done.append("second")))
    second.start()
    second.join(0.2)
    assert second.is_alive()
    assert done == []
    release.set()
    second.join(10)
    writer.finish()
    assert done == ["first", "second"]


@pytest.mark.parametrize("call", ["finish", "submit"])
def test_an_error_comes_up_once_at_the_next_call(call):
    writer, failed = BackgroundWriter(), threading.Event()

    def job() -> None:
        failed.set()
        raise OSError("full")

    writer.submit(job)
    failed.wait(10)
    while writer.busy:
        pass
    assert isinstance(writer.error, OSError)
    with pytest.raises(OSError, match="full"):
        writer.submit(lambda: None) if call == "submit" else getattr(writer, call)()
    assert writer.error is None
    writer.finish()

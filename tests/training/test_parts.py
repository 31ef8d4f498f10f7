"""Progress, averaging, meters, stop and log, each against its definition."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from pipeline.training.ema import Averager
from pipeline.training.meters import Meters, peak_gib
from pipeline.training.progress import Progress, crossed
from pipeline.training.report import drop_after, tick_line
from pipeline.training.stop import StopRequest
from pipeline.training.trainer import micro_batches


@given(st.integers(0, 10_000), st.integers(1, 500), st.integers(1, 700))
def test_crossed_is_a_multiple_in_between(before, gain, every):
    after = before + gain
    assert crossed(before, after, every) == any(n % every == 0 for n in range(before + 1, after + 1))


def test_progress_round_trips():
    progress = Progress()
    progress.advance(32)
    progress.advance(16)
    other = Progress()
    other.load(progress.state())
    assert (other.images_seen, other.step, other.growth) == (48, 2, 0)


@given(st.integers(1, 200), st.one_of(st.none(), st.integers(1, 64)))
def test_micro_batches_divide_and_fit(images, most):
    parts = micro_batches(images, most)
    assert images % parts == 0
    assert most is None or images // parts <= most
    smaller = [n for n in range(1, parts) if images % n == 0]
    assert all(most is not None and images // n > most for n in smaller)


def test_average_is_the_closed_form_and_buffers_are_copied():
    class Tiny(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.tensor([1.0, -2.0]))
            self.register_buffer("seen", torch.zeros(()))

    source = Tiny()
    averager = Averager(source)
    expected = source.weight.detach().double().clone()
    for turn in range(1, 20):
        with torch.no_grad():
            source.weight.add_(0.1 * turn)
            source.seen.fill_(turn)
        averager.update(0.9)
        expected = 0.9 * expected + 0.1 * source.weight.detach().double()
    torch.testing.assert_close(averager.average.weight.double(), expected, rtol=1e-6, atol=1e-6)
    assert averager.average.seen == 19
    averager.update(0.0)
    assert torch.equal(averager.average.weight, source.weight)
    assert not averager.average.weight.requires_grad


def test_meters_average_scalars_and_leave_vectors_out():
    meters = Meters()
    meters.add({"a": torch.tensor(1.0), "v": torch.ones(3)})
    meters.add({"a": torch.tensor(4.0), "b": torch.tensor(7.0)})
    assert meters.flush() == {"a": 2.5, "b": 7.0}
    assert meters.flush() == {}


def test_the_most_memory_is_this_processes_and_not_that_of_whoever_started_it():
    ballast = torch.ones(1 << 27)  # 0.5 GiB, which the child's process has in common until it begins
    code = "import torch; from pipeline.training.meters import peak_gib as p; a = p(torch.device('cpu'));"
    code += "b = torch.ones(1 << 26); print(a, p(torch.device('cpu')))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    before, after = map(float, said.split())
    assert before < peak_gib(torch.device("cpu")) - 0.25
    assert 0.24 < after - before < 0.35
    del ballast


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP])
def test_a_signal_asks_for_a_stop_and_the_old_handler_comes_back(number):
    outer = signal.signal(number, signal.default_int_handler)  # also where nohup ignores it
    try:
        with StopRequest().listening() as stop:
            assert stop.reason is None
            os.kill(os.getpid(), number)
            assert stop.reason == number.name
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, outer)


def test_an_ignored_signal_stays_ignored():
    """nohup's promise."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequest().listening() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.reason is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_second_interrupt_is_immediate():
    with StopRequest().listening():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_the_time_limit_asks_for_a_stop():
    now = [100.0]
    stop = StopRequest(5.0, clock=lambda: now[0])
    assert stop.reason is None
    now[0] = 105.0
    assert "length.time" in str(stop.reason)


def test_the_log_loses_what_lies_beyond_the_checkpoint_and_a_torn_line(tmp_path):
    log = tmp_path / "log.jsonl"
    lines = [json.dumps({"images_seen": n}) for n in (8, 16, 24)]
    log.write_text("\n".join(lines) + '\n{"images_se')
    drop_after(log, 16)
    assert [json.loads(line)["images_seen"] for line in log.read_text().splitlines()] == [8, 16]


def test_the_tick_line_says_where_how_fast_and_how_long():
    line = tick_line(
        64_000,
        2_000_000,
        {
            "loss/generator": 0.71234,
            "gradient_norm/x": 3.0,
            "speed/seconds_per_kimg": 8.1,
            "memory/peak_gib": 1.25,
            "skipped_updates": 0.5,
        },
        603,
    )
    assert line == (
        "64.0k/2.000M images  8.1 s/kimg  loss/generator 0.7123  skipped_updates 0.5  1.25 GiB  left 0:10:03"
    )


@pytest.mark.parametrize(
    ("figures", "said"),
    [
        ({"speed/data_wait_share": 0.049}, ""),
        ({"speed/data_wait_share": 0.05}, "data wait 5%  "),
        ({"speed/data_wait_share": 0.734}, "data wait 73%  "),
        ({"store/retries": 1.0}, "asked stores again 1 time  "),
        (
            {"speed/data_wait_share": 1.0, "store/retries": 12.0},
            "data wait 100%  asked stores again 12 times  ",
        ),
    ],
)
def test_the_tick_line_says_what_a_slow_or_failing_store_costs(figures, said):
    line = tick_line(0, 100, {"speed/seconds_per_kimg": 1.0, "memory/peak_gib": 1.0, **figures}, 0)
    assert line == f"0/100 images  1 s/kimg  {said}1.00 GiB  left 0:00:00"

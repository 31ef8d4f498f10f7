"""Timing by turns: all contestants run in one process, one after the other in every round.

The load of other programs on the processor is measured, and the rounds that it disturbed least are kept.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from ops.bfloat16 import computes_bfloat16

BURST = 0.1  # seconds of one contestant's turn: the system counts the processor's time in hundredths
FLOOR_SECONDS = 30
DISTURBED = 0.15  # cores that others may use before a round counts as disturbed


@dataclass(frozen=True)
class Contestant:
    """`call` is timed; `prepare` runs before each of its turns and is not."""

    call: Callable[[], object]
    prepare: Callable[[], object] = lambda: None


@dataclass(frozen=True)
class Race:
    """The result of a race. It holds the seconds of each call by contestant, the cores that other programs
    used during the rounds kept, and the mean seconds of all cores together for a call in each turn, which are
    more reliable on a machine that others use."""

    seconds: Mapping[str, list[float]]
    others: float
    cores: Mapping[str, list[float]]

    def ms(self, name: str) -> float:
        """The median, in milliseconds."""
        return 1e3 * statistics.median(self.seconds[name])

    def core_ms(self, name: str) -> float:
        """The median time of all cores together, in milliseconds."""
        return 1e3 * statistics.median(self.cores[name])

    def spread_ms(self, name: str) -> tuple[float, float]:
        """Quartiles, in milliseconds; the extremes where there are fewer than four calls."""
        values = sorted(self.seconds[name])
        if len(values) < 4:
            return 1e3 * values[0], 1e3 * values[-1]
        low, _, high = statistics.quantiles(values, n=4)
        return 1e3 * low, 1e3 * high


def race(
    contestants: Mapping[str, Contestant],
    rounds: int,
    clock: Callable[..., float],
    seconds: float = float("inf"),
) -> Race:
    """Times `rounds` rounds after one to warm up, and up to as many again if other programs disturb them.
    Once `seconds` are over, no further round begins."""
    ends = time.monotonic() + seconds
    for contestant in contestants.values():
        turn(contestant, clock, burst=0)
    timed: list[tuple[float, dict[str, TurnTimes]]] = []
    while sum(others <= DISTURBED for others, _ in timed) < rounds and len(timed) < 2 * rounds:
        if timed and time.monotonic() > ends:
            break
        watch = OthersWatch()
        turns = {name: turn(contestant, clock, burst=BURST) for name, contestant in contestants.items()}
        timed.append((watch.cores(), turns))
    kept = sorted(timed, key=lambda one: one[0])[:rounds]
    merged = {name: [s for _, turns in kept for s in turns[name].seconds] for name in contestants}
    cores = {name: [turns[name].cores for _, turns in kept] for name in contestants}
    return Race(merged, statistics.fmean(others for others, _ in kept), cores)


@dataclass(frozen=True)
class TurnTimes:
    """The seconds of each call, and the mean seconds of all cores together per call."""

    seconds: list[float]
    cores: float


def turn(contestant: Contestant, clock: Callable[..., float], burst: float) -> TurnTimes:
    """Calls repeatedly until `burst` seconds are over, at least once."""
    contestant.prepare()
    began = time.process_time()
    times = [clock(contestant.call)]
    while sum(times) < burst:
        times.append(clock(contestant.call))
    return TurnTimes(times, (time.process_time() - began) / len(times))


def clock_of(device: str) -> Callable[..., float]:
    """Returns a function that times one call on a device."""
    return _cuda_seconds if device == "cuda" else _wall_seconds


def wait(device: torch.device) -> None:
    """Waits until the device has finished all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _wall_seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()  # its result is dropped within the time: giving memory back is part of the work
    return time.perf_counter() - began


def _cuda_seconds(call: Callable[[], object]) -> float:
    began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    torch.cuda.synchronize()
    began.record()
    call()
    ended.record()
    torch.cuda.synchronize()
    return float(began.elapsed_time(ended)) / 1e3


class OthersWatch:
    """Measures, since it was made, how many cores other programs used; 0 where the system does not tell."""

    def __init__(self) -> None:
        self._busy, self._own, self._wall = _busy_seconds(), _own_seconds(), time.perf_counter()

    def cores(self) -> float:
        """Mean number of cores."""
        wall = time.perf_counter() - self._wall
        busy, own = _busy_seconds() - self._busy, _own_seconds() - self._own
        return max(0.0, (busy - own) / wall) if wall > 0 else 0.0


def _busy_seconds() -> float:
    stat = Path("/proc/stat")
    if not stat.exists():
        return 0.0
    ticks = [int(word) for word in stat.read_text().split("\n", 1)[0].split()[1:9]]
    idle = ticks[3] + ticks[4]  # waiting for a disk included; what a host steals counts as busy
    return (sum(ticks) - idle) / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


@dataclass(frozen=True)
class Floor:
    """The most that this machine can do: bytes per second, read and written, and FLOPs per second by type.

    others: the cores that other programs used during the measurement, because of which it may be too low.
    """

    bandwidth: float
    rates: Mapping[torch.dtype, float]
    others: float = 0.0

    def ms(self, moved: float, flops: float, dtype: torch.dtype) -> float:
        """The longer of moving the bytes and computing the products."""
        return 1e3 * max(moved / self.bandwidth, flops / self.rates[dtype])


def measure_floor(device: str, rounds: int, *, small: bool = False) -> Floor:
    """Copies within memory that is already allocated, and multiplies square matrices, in bfloat16 too if the
    device has instructions for it. It takes at most `FLOOR_SECONDS`."""
    clock = clock_of(device)
    count, side = (1 << 22, 512) if small else (1 << 27, 3072)
    source, target = (torch.ones(count, device=device) for _ in range(2))
    contestants = {"copy": Contestant(lambda: target.copy_(source))}
    able = computes_bfloat16(torch.device(device))
    dtypes = (torch.float32, torch.bfloat16) if able else (torch.float32,)
    for dtype in dtypes:
        contestants[str(dtype)] = Contestant(_product(side, dtype, device))
    result = race(contestants, rounds, clock, FLOOR_SECONDS)
    seconds = {name: min(result.seconds[name]) for name in contestants}
    rates = {dtype: 2 * side**3 / seconds[str(dtype)] for dtype in dtypes}
    return Floor(2 * 4 * count / seconds["copy"], rates, result.others)


def _product(side: int, dtype: torch.dtype, device: str) -> Callable[[], object]:
    matrix = torch.randn(side, side, device=device).to(dtype)
    result = torch.empty_like(matrix)
    return lambda: torch.mm(matrix, matrix, out=result)

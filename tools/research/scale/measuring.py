"""The model against this machine: two ranks of a small configuration, on one host and over a network."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.config.shipped import shipped
from pipeline.errors import RunFailed
from tools.ranks import run_module, run_on_two_hosts
from tools.research.scale.constants import Constants, constants
from tools.research.scale.counting import Count, count_run
from tools.research.scale.model import Cluster
from tools.research.scale.worker import LARGE, SMALL
from tools.torture.namespaces import lacking

SMALL_RUNS: Mapping[str, int] = {"stylegan2-32.yaml": 0, "biggan-32.yaml": 10}
"""Configuration -> classes."""
_SIDE = 32


@dataclass(frozen=True)
class Trial:
    """Seconds of a step of two ranks as predicted and as measured. network: megabits a second, None for
    processes of one host."""

    config: str
    network: int | None
    alone: float
    latency: float
    bandwidth: float
    predicted: float
    measured: float

    @property
    def error(self) -> float:
        """The error of the prediction, relative."""
        return self.predicted / self.measured - 1


def trials(networks: Sequence[int | None], steps: int) -> list[Trial]:
    """Every small configuration over every network. RunFailed where hosts cannot be made."""
    measured = []
    for name, classes in SMALL_RUNS.items():
        count = count_run(shipped(name), _SIDE, classes, last_only=True)[1][-1].count
        for network in networks:
            seconds = _measured(name, classes, network, steps)
            measured.append(predict(name, network, count, seconds))
    return measured


def predict(name: str, network: int | None, count: Count, seconds: Mapping[str, float]) -> Trial:
    """The model with latency and bandwidth from two all-reduces and the time of a step without exchanges."""
    slope = (seconds["large"] - seconds["small"]) / (LARGE - SMALL)
    latency, bandwidth = max(seconds["small"] - slope * SMALL, 1e-7) / 2, 1 / max(slope, 1e-13)
    known = {"gpus_per_node": 1.0, "between_latency": latency, "between_bandwidth": bandwidth}
    cluster = Cluster(2, Constants({**constants().values, **known}))
    exchanges = [
        one
        for phase in count.phases
        if phase.every == 1
        for one in (*phase.norm, *phase.gradients) * phase.repeats
    ]
    sent = sum(cluster.all_reduce(one.bytes) for one in (*exchanges, *count.stats))
    alone = seconds["alone"]
    return Trial(name, network, alone, latency, bandwidth, alone + sent, seconds["together"])


def _measured(name: str, classes: int, network: int | None, steps: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "seconds.json"
        arguments = [str(shipped(name)), str(_SIDE), str(classes), str(steps), str(out)]
        if network is None:
            run_module("tools.research.scale.worker", 2, arguments)
        else:
            reason = lacking()
            if reason is not None:
                raise RunFailed(
                    f"--measure over a network: {reason}; --networks without a number leaves it out"
                )
            run_on_two_hosts("tools.research.scale.worker", arguments, network)
        seconds: dict[str, float] = json.loads(out.read_text())
    return seconds


def as_rows(trials: Sequence[Trial]) -> list[dict[str, object]]:
    """Returns the trials as rows for the JSON file."""
    return [{**asdict(trial), "error": trial.error} for trial in trials]


def table(trials: Sequence[Trial]) -> list[str]:
    """Lines of markdown."""
    lines = [
        "| configuration | network | step alone | latency | bandwidth | step predicted | measured | error |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in trials:
        network = "one host" if one.network is None else f"{one.network} Mbit/s"
        lines.append(
            f"| {one.config} | {network} | {1e3 * one.alone:.0f} ms | {1e6 * one.latency:.0f} us "
            f"| {one.bandwidth / 1e6:.0f} MB/s | {1e3 * one.predicted:.0f} ms | {1e3 * one.measured:.0f} ms "
            f"| {one.error:+.1%} |"
        )
    return lines

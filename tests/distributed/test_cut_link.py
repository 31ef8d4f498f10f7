"""Two hosts and a network: what a cut ends, in what time, with what line, and how the run goes on."""

from __future__ import annotations

import re
import subprocess
import time

import pytest

from pipeline.data.preparing.prepare import prepare
from pipeline.data.preparing.settings import Asked
from tests.small_run import environment, start_hrgan, wait_for, write_config
from tools.compare_runs import differences
from tools.torture.namespaces import TwoHosts, lacking

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(lacking() is not None, reason=f"network: {lacking()}"),
]
SILENCE, TIMEOUT = 4.0, 6.0  # seconds
STARVED = 20  # seconds more, on a machine that does much else
LENGTH = "length.images=160"


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cut")
    prepare("demo:digits", folder / "shards", Asked(resolution=8, channels=1, count=200))
    return write_config(
        folder / "c.yaml",
        folder / "shards",
        checkpoints={"every_images": 24},
        snapshots={"every_images": 100000, "grid": 8},
        engine={"silence_seconds": SILENCE, "timeout_minutes": TIMEOUT / 60},
    )


def start(hosts: TwoHosts, config, run, length: str = "length.images=100k") -> list[subprocess.Popen]:
    command = ["-m", "launch.main", "train", str(config), length, "--run", str(run)]
    return hosts.start(command, environment=environment(), stderr=subprocess.PIPE)


def last_words(process: subprocess.Popen) -> str:
    rest = process.stderr.read()
    assert process.wait(30) == 1, rest
    assert "Traceback" not in rest
    (line,) = (line for line in rest.splitlines() if line.startswith("hrgan: error: "))
    return line


def test_a_host_without_power_and_a_cut_network_end_the_run_and_it_goes_on(config, tmp_path):
    straight, run = tmp_path / "straight", tmp_path / "run"
    uncut = start_hrgan("train", config, LENGTH, "--processes", 2, "--run", straight)
    with TwoHosts() as hosts:
        first, second = start(hosts, config, run)
        with first, second:
            wait_for(first, "32/100")
            hosts.cut()  # first: a process that is killed would still say goodbye over the network
            second.kill()
            begun = time.monotonic()
            line = last_words(first)
            second.communicate()
        assert time.monotonic() - begun < 2 * SILENCE + STARVED
        assert line.startswith("hrgan: error: rank 1 on host1 has given no sign of life for ")

        hosts.mend()
        first, second = start(hosts, config, run)
        with first, second:
            wait_for(first, "56/100")
            hosts.cut()
            begun = time.monotonic()
            lines = [last_words(process) for process in (first, second)]
        # Both live: the exchange times out, then they wait for a name that never comes.
        assert time.monotonic() - begun < 2 * TIMEOUT + 2 * SILENCE + STARVED
        for rank, line in enumerate(lines):
            expected = (
                f"hrgan: error: rank {rank} on host{rank} has lost contact, though rank {1 - rank} on "
                f"host{1 - rank} gives signs of life: the network between processes is cut or too slow; "
            )
            assert line.startswith(expected)
            step, images = map(int, re.search(r"last step was (\d+), at (\d+) images", line).groups())
            assert images == 8 * step >= 56

        hosts.mend()
        for process in start(hosts, config, run, LENGTH):
            assert process.communicate(timeout=120)
            assert process.returncode == 0
    _, words = uncut.communicate(timeout=120)
    assert uncut.returncode == 0, words
    assert differences(straight, run) == []

"""Does a job survive what happens to jobs? Trains once undisturbed and once as a job of two nodes on the
sandbox (tools/slurm_sandbox.py, started here) through time limits, a kill -9 and a lost node, and compares.

python -m tools.torture.kill_job --out out/jobs configs/quickstart.yaml checkpoints.every_images=64

Takes two minutes for each of --limits and some more, and then as long as the run takes undisturbed. The first
disturbances wait for a checkpoint: let there be many.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from launch.cluster.record import read_recorded
from pipeline.storage.job import Job
from tools.compare_runs import differences
from tools.slurm_sandbox import Sandbox

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "launch/cluster/slurm"
# A small machine as a cluster: what the scripts ask for is for real ones.
SMALL = ("--gpus-per-node=0", "--ntasks-per-node=1", "--cpus-per-task=1", "--mem=0", "--time=10")
# SLURM looks at limits twice a minute, and may send its signal a minute early.
LIMIT = ("--time=2", "--signal=USR2@30")


def wait_until(ready: Callable[[], object], seconds: float = 90) -> None:
    """Until it is so; AssertionError after `seconds`."""
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


class ClusterRun:
    """`hrgan train` in the folder `run` as a job of the sandbox, one rank a node.

    script: which of those in launch/cluster/slurm.
    """

    def __init__(self, slurm: Sandbox, run: Path, script: str = "many-nodes.sbatch") -> None:
        self.slurm, self.run, self.script = slurm, run, SCRIPTS / script
        self.out = run.parent / f"{run.name}.out"
        self.id = ""

    def submit(self, config: Path, *overrides: str, options: tuple[str, ...] = ()) -> ClusterRun:
        """Gives the job to SLURM; its `hrgan` and `python` are this interpreter's. options: of sbatch."""
        tools = self.run.parent / "bin"
        tools.mkdir(exist_ok=True)
        for name, module in {"hrgan": "-m launch.main", "python": ""}.items():
            (tools / name).write_text(f'#!/bin/bash\nexec {sys.executable} {module} "$@"\n')
            (tools / name).chmod(0o755)
        paths = {"PATH": (tools, os.environ["PATH"]), "PYTHONPATH": (ROOT, os.environ.get("PYTHONPATH", ""))}
        exported = ",".join(f"{name}={os.pathsep.join(map(str, value))}" for name, value in paths.items())
        command = [
            "sbatch",
            "--parsable",
            f"--output={self.out}",
            f"--export=ALL,OMP_NUM_THREADS=1,{exported}",
        ]
        command += ["--chdir", str(ROOT), *SMALL, *options, str(self.script), str(config), str(self.run)]
        self.id = self.slurm.call(*command, *overrides).strip()
        return self

    @property
    def job(self) -> Job | None:
        """What RUN/job.json says."""
        return read_recorded(self.run)

    @property
    def state(self) -> str:
        """Its state."""
        return self.job.state if self.job else "unknown"

    @property
    def requeues(self) -> int:
        """How often SLURM has started it again, or is about to."""
        return int(self.slurm.call("scontrol", "show", "job", self.id).split("Restarts=")[1].split()[0])

    @property
    def queued(self) -> str:
        """What SLURM says of the job."""
        return self.slurm.call("squeue", "-h", "-t", "all", "-j", self.id, "-o", "%T").strip()

    @property
    def text(self) -> str:
        """All that the job has printed."""
        return self.out.read_text(errors="replace") if self.out.exists() else ""

    def ranks(self) -> dict[str, psutil.Process]:
        """The training processes by their rank, without what they have started themselves."""
        processes = {}
        for process in psutil.process_iter():
            try:
                variables, arguments = process.environ(), process.cmdline()
                parent = process.parent()
                child = parent is not None and "launch.main" in parent.cmdline()
            except psutil.Error:
                continue
            mine = variables.get("SLURM_JOB_ID") == self.id and variables.get("SLURM_CONF") == str(
                self.slurm.conf
            )
            if mine and "launch.main" in arguments and not child:
                processes[variables["SLURM_PROCID"]] = process
        return processes

    @property
    def saved(self) -> int:
        """Images of the newest checkpoint."""
        return max((int(path.name) for path in (self.run / "checkpoints").glob("0*")), default=0)

    def wait_for_progress(self) -> None:
        """Until this start has saved something."""
        wait_until(lambda: self.state == "running")
        before = self.saved
        wait_until(lambda: self.saved > before)

    def cancel(self) -> None:
        """Ends the job at once."""
        self.slurm.call("scancel", "--signal=KILL", "--full", self.id, check=False)
        self.slurm.call("scancel", self.id, check=False)


def disturb(job: ClusterRun, limits: int) -> None:
    """Kills rank 1 of one start, loses a node in the next, then leaves the job to its time limits."""
    slurm = job.slurm
    job.wait_for_progress()
    job.ranks()["1"].kill()
    wait_until(lambda: job.requeues == 1)
    job.wait_for_progress()
    slurm.lose_node("n2")
    start = time.monotonic()
    wait_until(lambda: job.requeues == 2, 300)
    print(f"a lost node: the job was put back after {time.monotonic() - start:.0f} s", flush=True)
    slurm.start_node("n2")
    slurm.call("scontrol", "update", "nodename=n2", "state=resume", check=False)
    wait_until(lambda: job.queued in ("COMPLETED", "FAILED", "CANCELLED"), 180 * (limits + 2))


def main() -> int:
    """Exit code 1 if the two runs differ in any bit, or if the job met fewer limits than asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--limits", type=int, default=2, help="time limits that the job must meet, at least")
    parser.add_argument("--out", type=Path, required=True, help="a folder for both runs; emptied first")
    parser.add_argument("config", type=Path)
    parser.add_argument("overrides", nargs="*", help="what else `hrgan train` gets")
    options = parser.parse_args()
    out = options.out.absolute()
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    slurm = Sandbox(out / "slurm")
    slurm.start()
    try:
        job = ClusterRun(slurm, out / "job").submit(options.config, *options.overrides, options=LIMIT)
        disturb(job, options.limits)
    finally:
        slurm.stop()
    told = [line for line in job.text.splitlines() if line.startswith(("hrgan: ", "stopped", "finished"))]
    print("\n".join(told), flush=True)
    command = [sys.executable, "-m", "launch.main", "train", str(options.config), *options.overrides]
    subprocess.run(
        [*command, "--processes", "2", "--run", str(out / "undisturbed")], check=True, capture_output=True
    )
    lines = differences(out / "undisturbed", out / "job")
    limits = sum("requeued" in line and line.endswith("SIGUSR2") for line in told)
    if limits < options.limits:
        lines.append(f"the job met {limits} time limits of {options.limits}: make it longer")
    print("\n".join(lines) if lines else "identical to the bit")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())

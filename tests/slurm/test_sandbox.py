"""The sandbox is a SLURM: two nodes, steps, requeues; and it leaves nothing running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from tools.slurm_sandbox import Sandbox, main
from tools.torture.kill_job import wait_until


def processes_of(sandbox: Sandbox) -> list[str]:
    """Whatever has the sandbox's configuration in its environment, or its folder in its command line."""
    found = []
    for process in psutil.process_iter(["name", "cmdline", "environ"]):
        known = process.info
        if process.status() != psutil.STATUS_ZOMBIE and (
            (known["environ"] or {}).get("SLURM_CONF") == str(sandbox.conf)
            or str(sandbox.folder) in " ".join(known["cmdline"] or [])
        ):
            found.append(known["name"])
    return found


def test_a_step_runs_on_both_nodes(slurm):
    lines = slurm.call("srun", "-N2", "bash", "-c", "echo $SLURMD_NODENAME $SLURM_PROCID/$SLURM_NTASKS")
    assert sorted(lines.splitlines()) == ["n1 0/2", "n2 1/2"]


def test_a_requeued_job_runs_again(slurm, tmp_path):
    job = tmp_path / "job.sh"
    again = '[ "${SLURM_RESTART_COUNT:-0}" = 1 ] || { scontrol requeue $SLURM_JOB_ID; sleep 30; }'
    job.write_text(f'#!/bin/bash\necho "start ${{SLURM_RESTART_COUNT:-0}}"\n{again}\n')
    out = tmp_path / "out"
    slurm.call("sbatch", "--wait", "--open-mode=append", "-o", str(out), str(job))
    assert [line for line in out.read_text().splitlines() if "start" in line] == ["start 0", "start 1"]


def test_stopped_half_dead_with_a_job_it_leaves_nothing_and_starts_again(slurm, tmp_path, capsys):
    """The fixture shows that SLURM is there; this is a second one beside it."""
    other = Sandbox(tmp_path / "s")
    arguments = ["--folder", str(other.folder)]
    try:
        assert main([*arguments, "start"]) == 0
        other.call("sbatch", "-N2", "-o", str(tmp_path / "out"), "--wrap", "trap '' TERM; srun sleep 300")
        wait_until(lambda: "sleep" in processes_of(other))
        other.call("scancel", "--state=RUNNING", "--full", "--name=wrap")
        wait_until(lambda: "completing" in other.call("sinfo", "-h", "-N", "-o", "%T"))
        controller = (other.folder / "slurmctld.pid").read_text()
        assert main([*arguments, "start"]) == 0  # it runs: nothing is started
        assert (other.folder / "slurmctld.pid").read_text() == controller
        assert main([*arguments, "run", "--", "true"]) == 0
        os.kill(int((other.folder / "slurmctld.pid").read_text()), signal.SIGKILL)
        assert main([*arguments, "status"]) == 1
        assert main([*arguments, "stop"]) == 0
        assert processes_of(other) == []
        assert main([*arguments, "start"]) == 0
        assert other.call("squeue", "-h") == ""
        assert main([*arguments, "run", "--", "bash", "-c", "exit 7"]) == 7
        assert "export SLURM_CONF=" in capsys.readouterr().out
    finally:
        other.stop()
    assert slurm.call("sinfo", "-h", "-o", "%T").split()[0] in ("idle", "mixed", "allocated")


def test_without_slurm_one_line_says_what_to_install(tmp_path):
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "tools.slurm_sandbox", "--folder", str(tmp_path), "start"]
    environment = {**os.environ, "PATH": str(tmp_path), "PYTHONPATH": str(root)}
    script = "import sys, tools.slurm_sandbox as s; s._path = lambda: '/nowhere'; sys.exit(s.main(['start']))"
    done = subprocess.run(
        [*command[:1], "-c", script], cwd=root, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert done.stderr.startswith(
        "slurm_sandbox: munged, slurmctld, slurmd, sbatch: not installed; on Debian"
    )
    assert len(done.stderr.splitlines()) == 1

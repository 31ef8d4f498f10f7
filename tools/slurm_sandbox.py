"""A real SLURM with two nodes on one machine, to try things and for tests. All of it lies in one folder.

python -m tools.slurm_sandbox start                          # up in seconds; needs slurm-wlm and munge
python -m tools.slurm_sandbox run -- sbatch --nodes 2 job.sh   # any command, with this cluster as its SLURM
python -m tools.slurm_sandbox status
python -m tools.slurm_sandbox stop                           # ends its jobs too

Nodes n1 and n2 share this machine's processor and memory, and each claims 8 GPUs that are not there, so that
jobs that ask for GPUs can be scheduled. Partition main is the default; a job in partition urgent preempts
those in main, which then have 10 seconds and are requeued. There is no accounting. Several sandboxes, each
with its own --folder, do not disturb each other.
"""

from __future__ import annotations

import argparse
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from pipeline.errors import UserError

NODES = ("n1", "n2")
DAEMONS = ("munged", "slurmctld", "slurmd")
_NODE = "HRGAN_SANDBOX_NODE"  # in the environment of all that runs on a node
_LONGEST = 80  # bytes of the folder's path: sockets below it must stay under the system's 107
_GPUS = 8  # that a node claims
_USABLE = ("idle", "mixed", "allocated", "completing")  # of a node
_GRACE = 2.0  # seconds
_PATIENCE = 30.0  # seconds
# Seconds until a requeued job may start, less one; also how long a start of a step may take.
_REQUEUE_DELAY = 5

_CONF = """\
ClusterName=sandbox
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire={delay}
CredType=cred/munge
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
JobRequeue=1
KillWait=10
MinJobAge=3600
SlurmctldTimeout=10
SlurmdTimeout=10
GresTypes=gpu
SlurmdParameters=config_overrides
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=10
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=2 PreemptMode=OFF
"""


@dataclass(frozen=True)
class Sandbox:
    """The cluster in `folder`, running or not."""

    folder: Path

    @property
    def conf(self) -> Path:
        """The path of its slurm.conf."""
        return self.folder / "slurm.conf"

    def environment(self) -> dict[str, str]:
        """Returns this process's environment with this cluster as its SLURM, outside any job."""
        outside = {name: value for name, value in os.environ.items() if not name.startswith("SLURM")}
        return {**outside, "SLURM_CONF": str(self.conf)}

    def start(self) -> None:
        """Starts it, from nothing, and returns when both nodes are idle; one that runs is left alone.

        Errors: UserError if a program is missing or the folder's path is too long, RuntimeError with the
        last lines of the logs if it does not come up.
        """
        if self._up():
            return
        _check(self.folder)
        self.stop()
        self._write()
        self._start_munge()
        self._daemon("slurmctld", "-c")
        for node in NODES:
            self.start_node(node)
        self._wait_until_up()

    def stop(self) -> None:
        """Ends its jobs and its daemons, even if only some of them are left."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            _end(list(self._processes()), number)

    def start_node(self, name: str) -> None:
        """Starts the daemon of a node, once nothing of its earlier life is left."""
        _end(list(self._on(name)), signal.SIGKILL)
        self._daemon("slurmd", "-N", name, node=name)

    def lose_node(self, name: str) -> None:
        """Freezes all that runs on a node: nobody hears of it again, as after a power cut. The cluster
        notices in some 20 s; `start_node` brings the node back."""
        for process in self._on(name):
            process.suspend()

    def _on(self, name: str) -> Iterator[psutil.Process]:
        for process in self._processes():
            if name in (_variable(process, _NODE), _variable(process, "SLURMD_NODENAME")):
                yield process

    def call(self, *command: str, check: bool = True) -> str:
        """Returns the output of a command, such as squeue, for this cluster."""
        done = subprocess.run(
            command, env=self.environment(), capture_output=True, text=True, timeout=60, check=False
        )
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def answers(self) -> bool:
        """Whether there is a controller to speak to, whatever has become of the nodes. Without one, commands
        wait for ten seconds."""
        return self.conf.exists() and any(_is_controller(process) for process in self._processes())

    def _up(self) -> bool:
        if not self.answers():
            return False
        states = self.call("sinfo", "-h", "-N", "-p", "main", "-o", "%T", check=False).split()
        return len(states) == len(NODES) and all(state.rstrip("+") in _USABLE for state in states)

    def _write(self) -> None:
        for name in ("munge", "state", "gpu", *(f"spool/{node}" for node in NODES)):
            folder = self.folder / name
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        (self.folder / "munge").chmod(0o711)  # all may reach the socket, nobody else the key
        self.folder.chmod(0o755)
        key = self.folder / "munge/key"
        key.touch(0o600)
        key.write_bytes(os.urandom(128))
        ports = _free_ports(1 + len(NODES))
        nodes = [self._node(name, port) for name, port in zip(NODES, ports[1:], strict=True)]
        host = socket.gethostname().split(".")[0]
        self.conf.write_text(
            _CONF.format(
                folder=self.folder.resolve(),
                host=host,
                user=pwd.getpwuid(os.geteuid()).pw_name,
                ports=ports,
                delay=_REQUEUE_DELAY,
                nodes="\n".join(nodes),
            )
        )
        for number in range(_GPUS):  # any file passes for a device
            (self.folder / f"gpu/{number}").touch()
        gpus = f"Name=gpu File={self.folder.resolve()}/gpu/[0-{_GPUS - 1}]"
        (self.folder / "gres.conf").write_text("".join(f"NodeName={name} {gpus}\n" for name in NODES))

    @staticmethod
    def _node(name: str, port: int) -> str:
        host = socket.gethostname().split(".")[0]
        cpus, memory = max(os.cpu_count() or 1, 8), psutil.virtual_memory().total >> 20
        return (
            f"NodeName={name} NodeAddr=127.0.0.1 NodeHostname={host} Port={port} CPUs={cpus} "
            f"RealMemory={memory} Gres=gpu:{_GPUS}"
        )

    def _start_munge(self) -> None:
        folder = self.folder.resolve() / "munge"
        files = {"socket": "socket", "key-file": "key", "log-file": "log", "pid-file": "pid"}
        options = [f"--{option}={folder / name}" for option, name in files.items()]
        self._daemon("munged", "--force", *options, f"--seed-file={folder / 'seed'}")

    def _daemon(self, name: str, *arguments: str, node: str = "") -> None:
        """Starts a daemon, which goes into the background by itself."""
        done = subprocess.run(
            [_program(name), *arguments],
            env={**self.environment(), _NODE: node},
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{name} does not start: {done.stderr.strip()}")

    def _wait_until_up(self) -> None:
        end = time.monotonic() + _PATIENCE
        while not self._up():
            if time.monotonic() > end:
                logs = [f"{path}:\n{_tail(path)}" for path in sorted(self.folder.glob("*.log"))]
                raise RuntimeError("\n".join([f"does not come up in {_PATIENCE:.0f} s", *logs]))
            time.sleep(0.1)

    def _processes(self) -> Iterator[psutil.Process]:
        """Its daemons, and whatever runs in its jobs; they carry its configuration in their environment.

        This process and those above it are not among them, nor is a shell that only speaks to the cluster.
        """
        own = {os.getpid(), *(p.pid for p in psutil.Process().parents())}
        conf = str(self.conf.resolve())
        for process in psutil.process_iter():
            if process.pid not in own and _variable(process, "SLURM_CONF") in (conf, str(self.conf)):
                inside = _variable(process, _NODE) is not None or _variable(process, "SLURM_JOB_ID")
                if inside:
                    yield process


def _check(folder: Path) -> None:
    missing = [name for name in (*DAEMONS, "sbatch") if shutil.which(name, path=_path()) is None]
    if missing:
        raise UserError(f"{', '.join(missing)}: not installed; on Debian: apt-get install slurm-wlm munge")
    if len(os.fsencode(folder.resolve())) > _LONGEST:
        raise UserError(f"--folder {folder}: the path is too long for sockets; allowed: {_LONGEST} bytes")


def _path() -> str:
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


def _program(name: str) -> str:
    return shutil.which(name, path=_path()) or name


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def _variable(process: psutil.Process, name: str) -> str | None:
    try:
        value: str | None = process.environ().get(name)
    except (psutil.Error, OSError):
        return None
    return value


def _end(processes: list[psutil.Process], number: int) -> None:
    for process in processes:
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            continue
    end = time.monotonic() + _GRACE
    while any(_runs(process) for process in processes) and time.monotonic() < end:
        time.sleep(0.05)


def _is_controller(process: psutil.Process) -> bool:
    return _runs(process) and bool(process.name() == "slurmctld")


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _tail(path: Path, lines: int = 5) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command of the sandbox. Exit code: that of the command that is run; 0 on success, 1 if it is not
    running, 2 for wrong usage or without SLURM."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=Path("out/slurm"), help="of all its files")
    parser.add_argument("what", choices=("start", "stop", "status", "run"))
    parser.add_argument("command", nargs=argparse.REMAINDER, help="for run: -- COMMAND ...")
    options = parser.parse_args(arguments)
    sandbox = Sandbox(options.folder.absolute())
    try:
        return _act(sandbox, options.what, options.command)
    except (UserError, RuntimeError) as error:
        print(f"slurm_sandbox: {error}", file=sys.stderr)
        return 2 if isinstance(error, UserError) else 1


def _act(sandbox: Sandbox, what: str, command: list[str]) -> int:
    if what == "start":
        sandbox.start()
        print(f"running; export SLURM_CONF={sandbox.conf}")
        return 0
    if what == "stop":
        sandbox.stop()
        return 0
    if not sandbox.answers():
        print("not running; start it: python -m tools.slurm_sandbox start", file=sys.stderr)
        return 1
    if what == "status":
        print(sandbox.call("sinfo") + sandbox.call("squeue"), end="")
        return 0
    return subprocess.run(command[command[:1] == ["--"] :], env=sandbox.environment(), check=False).returncode


if __name__ == "__main__":
    sys.exit(main())

"""The schema of a cluster file: what jobs ask SLURM for, and what stands around the command."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import AfterValidator, Field, field_validator, model_validator

from pipeline.config.families import Strict
from pipeline.config.units import PositiveCount, Seconds


def _one_line(text: str) -> str:
    if not text or not text.isprintable():
        raise ValueError("must be one line of text")
    return text


Word = Annotated[str, AfterValidator(_one_line)]
"""Text of one line: it becomes a part of a line of the script."""

OURS = (
    *("array", "comment", "dependency", "error", "job_name", "kill_on_invalid_dep", "open_mode"),
    *("output", "requeue", "no_requeue", "signal"),
)
"""Options of sbatch that the commands set themselves."""

ALLOWED = (
    *("acctg_freq", "bb", "bbf", "begin", "cluster_constraint", "contiguous", "core_spec"),
    *("cores_per_socket", "cpu_freq", "deadline", "delay_boot", "distribution", "exclude", "extra"),
    *("extra_node_info", "gpu_bind", "gpu_freq", "gres", "gres_flags", "hint", "hold", "licenses"),
    *("mail_type", "mail_user", "mcs_label", "mem_bind", "mem_per_cpu", "mem_per_gpu", "mincpus", "network"),
    *("nice", "no_kill", "nodelist", "ntasks_per_core", "ntasks_per_socket", "overcommit", "oversubscribe"),
    *("power", "prefer", "priority", "profile", "propagate", "reboot", "reservation", "resv_ports"),
    *("segment", "sockets_per_node", "spread_job", "stepmgr", "switches", "thread_spec"),
    *("threads_per_core", "time_min", "tmp", "tres_bind", "tres_per_task", "use_min_nodes"),
    *("wait_all_nodes", "wckey"),
)
"""Options of sbatch (its manual page, up to SLURM 24.11) that say where, when and on what a job runs, and who
hears of it. Others say what is run, in which folder, as whom or how often, or what sbatch answers: the job
would be another than the one that was checked."""

_KEYS = {  # option of sbatch -> the key that sets it
    "cpus_per_task": "cpus_per_task",
    "gpus_per_node": "gpus_per_node",
    "mem": "memory_gb",
    "gpus": "gpus_per_node",
    "gpus_per_task": "gpus_per_node",
    "ntasks": "tasks_per_node",
    "ntasks_per_gpu": "tasks_per_node",
    "ntasks_per_node": "tasks_per_node",
    "nodes": "nodes",
    "partition": "partition",
    "account": "account",
    "qos": "qos",
    "constraint": "constraint",
    "exclusive": "exclusive",
    "time": "time",
    "timeout_min": "time",
}


class ClusterConfig(Strict):
    """One cluster, or one partition of it."""

    partition: Word | None = None
    """Partition of the cluster; null: its default."""
    account: Word | None = None
    """Account that the hours are charged to."""
    qos: Word | None = None
    """Quality of service."""
    constraint: Word | None = None
    """Features that nodes must have, such as a100&nvlink."""
    nodes: PositiveCount = 1
    """How many nodes a training job takes; --nodes overrides it."""
    gpus_per_node: Annotated[int, Field(ge=0)] = 0
    """How many GPUs are asked for on each node; 0: none."""
    tasks_per_node: PositiveCount | None = None
    """Training processes on each node; null: one for each GPU, or 1 without GPUs."""
    cpus_per_task: PositiveCount = 1
    """Cores of each process; its loader workers (data.workers) share them."""
    memory_gb: Annotated[float, Field(gt=0)] | None = None
    """Memory of each node, in GB; null: the partition's default."""
    exclusive: bool = False
    """Whether the job shares its nodes with no other."""
    time: Seconds
    """Time limit of one start, such as 2h. SLURM counts whole minutes, so it is rounded up."""
    signal_seconds: Annotated[int, Field(gt=0, le=65535)] = 120
    """How many seconds before the limit a job is told to save and stop. Allow for a step plus a save: what a
    job has not saved at the limit is lost. SLURM may send the signal up to 60 s early."""
    max_requeues: Annotated[int, Field(ge=0)] = 20
    """How often a job that the limit has stopped goes back into the queue, to go on from there."""
    container: tuple[Word, ...] = ()
    """A command that runs ours, word by word, such as [apptainer, exec, --nv, hrgan.sif]."""
    program: tuple[Word, ...] = ()
    """The command that stands for `hrgan`, word by word. []: the container's `hrgan` if there is a container,
    otherwise this installation's."""
    setup: tuple[str, ...] = ()
    """Lines of shell that run before the command on the first node, such as `module load cuda/13`."""
    environment: dict[str, Word] = Field(default={})
    """Environment variables of all processes, such as NCCL's, and HRGAN_OPS_CACHE: a folder that all nodes
    see, where operations are compiled once for all of them."""
    options: dict[str, bool | Word] = Field(default={})
    """Further options of sbatch, by their long names with _ for -, such as mail_user; true stands for an
    option without a value. Only options that ask for resources, or say when the job runs and who hears of it,
    are allowed: none may change what is run."""

    @property
    def tasks(self) -> int:
        """Processes on each node."""
        return self.tasks_per_node or self.gpus_per_node or 1

    @property
    def minutes(self) -> int:
        """The limit of one start in SLURM's unit."""
        return math.ceil(self.time / 60)

    @field_validator("environment", "options", mode="before")
    @classmethod
    def _numbers_are_words(cls, values: object) -> object:
        # NCCL_IB_TIMEOUT: 22 is meant as it stands.
        if not isinstance(values, dict):
            raise ValueError("must be names with values, such as {name: value}")
        return {
            name: str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value
            for name, value in values.items()
        }

    @field_validator("options")
    @classmethod
    def _options_without_a_key(cls, options: dict[str, bool | str]) -> dict[str, bool | str]:
        for name in options:
            if name in OURS:
                raise ValueError(f"{name} is set by hrgan submit; allowed: other options of sbatch")
            if name in _KEYS:
                raise ValueError(f"{name} has a key of its own: {_KEYS[name]}")
            if name not in ALLOWED:
                raise ValueError(f"{name:.80} is not passed on to sbatch; allowed: {', '.join(ALLOWED)}")
        return options

    @model_validator(mode="after")
    def _told_within_the_limit(self) -> ClusterConfig:
        if self.signal_seconds >= self.time:
            raise ValueError(
                f"signal_seconds={self.signal_seconds}: must be less than time={self.time:g} seconds, "
                "and more than a save plus a step takes"
            )
        return self

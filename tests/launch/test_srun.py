"""Rank and peers from what SLURM says."""

from __future__ import annotations

import pytest

from launch.cluster.srun import srun_group, tasks_per_node
from pipeline.errors import UserError

# As srun sets them (22.05): task 3 of 4, the second on the second node, in a job's first step.
TASK = {
    "SLURM_JOB_ID": "17",
    "SLURM_STEP_ID": "0",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
    "SLURM_NTASKS": "4",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
    "SLURM_STEP_NODELIST": "n[1-2]",
    "SLURM_CPUS_ON_NODE": "8",
}


def group(**changes: str | None) -> dict[str, str]:
    variables = {name: value for name, value in {**TASK, **changes}.items() if value is not None}
    return srun_group(variables, resolves=lambda name: True)


def test_a_task_is_a_rank():
    found = group()
    assert found.pop("MASTER_PORT").isdigit()
    assert found == {
        "RANK": "3",
        "WORLD_SIZE": "4",
        "LOCAL_RANK": "1",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "n1",
        "OMP_NUM_THREADS": "4",
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"RANK": "0"},  # torchrun inside srun
        {"SLURM_STEP_ID": None, "SLURM_PROCID": "0"},  # the batch script itself
        {"SLURM_STEP_ID": str(0xFFFFFFFA), "SLURM_PROCID": "0"},  # a shell of salloc in a step of its own
        {"SLURM_PROCID": None, "SLURM_STEP_ID": None},  # a shell of salloc on the login node
        {"SLURM_STEP_NUM_TASKS": "1", "SLURM_STEP_NUM_NODES": "1"},  # one task that starts ranks itself
        dict.fromkeys(TASK),
    ],
)
def test_no_task_of_several(changes):
    assert group(**changes) == {}


def test_the_address_is_one_that_resolves():
    named = {"10.0.0.7": True}

    def find(address_of):
        return srun_group(TASK, lambda name: name in named, address_of)["MASTER_ADDR"]

    assert find({"n1": "10.0.0.7"}.get) == "10.0.0.7"
    for nothing in ({}.get, {"n1": "nowhere"}.get):
        with pytest.raises(UserError, match=r"^MASTER_ADDR: n1, the first node of the step, does not"):
            find(nothing)
    assert srun_group({**TASK, "MASTER_ADDR": "given"}, lambda name: False)["MASTER_ADDR"] == "given"
    alone = {**TASK, "SLURM_STEP_NUM_NODES": "1", "SLURM_NODEID": "0", "SLURM_STEP_TASKS_PER_NODE": "4"}
    assert srun_group(alone, lambda name: False)["MASTER_ADDR"] == "127.0.0.1"


def test_ports_of_a_start_are_one_and_of_others_another():
    def port(**changes):
        return int(group(**changes)["MASTER_PORT"])

    assert port(SLURM_PROCID="0", SLURM_LOCALID="0", SLURM_NODEID="0") == port()
    jobs = {port(SLURM_JOB_ID=str(job)) for job in range(1, 1001)}
    assert len(jobs) == 1000
    others = {port(), port(SLURM_STEP_ID="1"), port(SLURM_RESTART_COUNT="1"), port(SLURM_JOB_ID="18")}
    assert len(others) == 4
    assert all(10000 < found < 32768 for found in jobs | others)


@pytest.mark.parametrize(
    ("text", "counts"), [("1", [1]), ("2(x3),1", [2, 2, 2, 1]), ("1,2(x2)", [1, 2, 2]), ("16(x2)", [16, 16])]
)
def test_tasks_per_node(text, counts):
    assert tasks_per_node(text) == counts

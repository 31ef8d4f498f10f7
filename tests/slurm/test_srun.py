"""What SLURM itself says of names and variables."""

from __future__ import annotations

import pytest

from launch.cluster.srun import first_node
from tests.launch.test_srun import TASK

NODE_LISTS = ["n1", "n[1-2]", "n[1,3]", "gpu-[008-010,012],login1", "a,b[1-2]", "rack[2-4,9]n[01-16]"]


@pytest.mark.parametrize("nodes", NODE_LISTS)
def test_the_first_node_is_slurms_own_first(slurm, nodes):
    done = slurm.call("scontrol", "show", "hostnames", nodes)
    assert first_node(nodes) == done.splitlines()[0]


def test_srun_sets_the_variables_that_ranks_come_from(slurm):
    said = slurm.call("srun", "-N2", "--ntasks=4", "--ntasks-per-node=2", "env")
    names = {line.split("=")[0] for line in said.splitlines()}
    assert names.issuperset(TASK)

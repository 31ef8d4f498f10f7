"""Players of several networks and of none, every optimizer, clipping, fields and a second set: the same on
one process and on two, under every engine."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch

from tests.data.fields import make_fields_set
from tests.data.sets import make_set
from tests.distributed.gang import run_gang
from tests.distributed.toy_family_ranks import ENGINES
from tests.launch.test_toy_families import CONFIG
from tests.toy_families import TOYS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("deepspeed") is None, reason="deepspeed: not installed"),
]
WORLDS = (1, 2)
each_toy = pytest.mark.parametrize("name", list(TOYS))


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toys")
    make_fields_set(folder / "fields", 40)
    make_set(folder / "second", 27)
    (folder / "c.yaml").write_text(CONFIG)
    for ranks in WORLDS:
        run_gang("toy_family_ranks.py", ranks, str(folder), timeout=400)
    return folder


def load(folder, name: str) -> dict[str, torch.Tensor]:
    return torch.load(folder / f"{name}.pt", weights_only=True)


def assert_close(ours, theirs) -> None:
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=5e-4, atol=2e-5, msg=lambda m, n=name: f"{n}: {m}")


@each_toy
@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("kind", list(ENGINES))
def test_every_engine_equals_one_process_to_rounding(out, name, kind, world):
    alone = load(out, f"{name}-replicated-x1")
    slots = {key.rpartition(".")[2] for key in alone if key.startswith("optimizers/")}
    assert slots == {slot for rule in TOYS[name].rules.values() for slot in rule.slots}
    assert_close(load(out, f"{name}-{kind}-x{world}"), alone)


@each_toy
@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("way", ["replicated-into-zero2", "zero1-into-replicated", "zero2-into-zero2"])
def test_a_checkpoint_goes_on_under_another_engine(out, name, way, world):
    assert_close(load(out, f"{name}-{way}-x{world}"), load(out, f"{name}-replicated-x1"))


@each_toy
def test_buckets_of_two_ranks_change_nothing_to_the_bit(out, name):
    flat, bucketed = load(out, f"{name}-replicated-x2"), load(out, f"{name}-bucketed-x2")
    assert flat.keys() == bucketed.keys()
    assert all(torch.equal(bucketed[key], value) for key, value in flat.items())

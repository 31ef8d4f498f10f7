"""Every engine equals every other to rounding, on any number of ranks, and goes on from its checkpoints."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import pytest
import torch

from tests.distributed.engine_ranks import KINDS, SAVERS, successors
from tests.distributed.gang import run_gang

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("deepspeed") is None, reason="deepspeed: not installed"),
]
WORLDS = (1, 2, 4)
OTHERS = [(kind, world) for world in WORLDS for kind in KINDS if (kind, world) != ("replicated", 1)]


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("engines")
    with ThreadPoolExecutor() as pool:  # together: each goes on from what the other has saved
        gangs = [pool.submit(run_gang, "engine_ranks.py", n, str(folder), timeout=400) for n in WORLDS]
        for gang in gangs:
            gang.result()
    return folder


def load(folder, name: str) -> dict:
    return torch.load(folder / f"{name}.pt", weights_only=True)


def assert_close(ours: dict, theirs: dict) -> None:
    assert ours.keys() == theirs.keys()
    figures, expected = ours.pop("figures"), theirs.pop("figures")
    assert figures == pytest.approx(expected, rel=1e-4, abs=1e-6)
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-4, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize(("kind", "world"), OTHERS)
def test_penalties_repeats_micro_batches_clipping_and_growth(out, kind, world):
    ours, alone = load(out, f"toy-{kind}-x{world}"), load(out, "toy-replicated-x1")
    # D: two turns in each of the two steps since the growth reset it, and none of R1.
    assert alone["optimizers/discriminator.body.1.weight.step"] == 4
    assert alone["optimizers/generator.body.0.weight.step"] == 2
    assert alone["networks/discriminator.body.1.weight"].abs().max() == torch.tensor(0.2)
    assert_close(ours, alone)


@pytest.mark.parametrize(("kind", "world"), [place for place in OTHERS if place[1] <= 2])
def test_stylegan2(out, kind, world):
    """The first step's moments, its gradients: Adam turns rounding of tiny ones into whole steps. R1, lazy,
    and R2 are found by finite differences."""
    ours, alone = load(out, f"stylegan2-{kind}-x{world}"), load(out, "stylegan2-replicated-x1")
    moments = [name for name in alone if "exp_avg" in name]
    assert len(moments) > 50
    for name in moments:
        scale = alone[name].abs().max()
        assert (ours[name] - alone[name]).abs().max() <= 1e-3 * scale + 1e-6, name


@pytest.mark.parametrize(("kind", "world"), OTHERS)
def test_a_bad_gradient_on_one_rank_skips_the_update_on_all(out, kind, world):
    ours = load(out, f"bad-{kind}-x{world}")
    assert ours["figures"]["skipped_updates"] > 0
    assert ours["optimizers/generator.body.0.weight.step"] == 4
    assert ours["optimizers/discriminator.body.1.weight.step"] == 7  # R1 and two a step, less the third's
    for name, value in ours.items():
        assert name == "figures" or "memory" in name or torch.isfinite(value).all(), name


CONTINUED = [
    (saver, saved, kind, world)
    for number, (saver, saved) in enumerate(SAVERS)
    for world in WORLDS
    for kind in successors(number, world)
]


def test_every_saver_meets_every_engine_and_every_number_of_ranks():
    met = [{(*one[:2], one[place]) for one in CONTINUED} for place in (2, 3)]
    assert [len(pairs) for pairs in met] == [len(SAVERS) * len(KINDS), len(SAVERS) * len(WORLDS)]
    assert {one[2:] for one in CONTINUED} == {("replicated", 1), *OTHERS}


@pytest.mark.parametrize(("saver", "saved", "kind", "world"), CONTINUED)
def test_a_checkpoint_of_any_engine_goes_on_under_any_other(out, saver, saved, kind, world):
    straight = load(out, "toy-replicated-x1")
    ours = load(out, f"from-{saver}-x{saved}-into-{kind}-x{world}")
    ours["figures"] = straight["figures"]  # of the second half alone
    assert_close(ours, straight)

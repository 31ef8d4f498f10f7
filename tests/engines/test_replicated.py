"""The flat all-reduce engine against plain torch, in one process."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from pipeline.contracts import AdamRule, Engine, Networks, Process
from pipeline.engines.replicated import Replicated

RULES = {"generator": AdamRule(0.5, 0.9, 1e-6), "discriminator": AdamRule(0.0, 0.99)}


def attached() -> tuple[Networks, Replicated]:
    torch.manual_seed(1)
    networks = Networks(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)), nn.Linear(2, 1))
    engine = Replicated(Process())
    engine.attach(networks, RULES)
    return networks, engine


def loss_of(network: nn.Module, seed: int) -> torch.Tensor:
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(seed))
    return network(x).square().mean()


def test_is_an_engine():
    assert isinstance(Replicated(Process()), Engine)


def test_equals_plain_adam_over_accumulated_micro_batches():
    networks, engine = attached()
    twin = copy.deepcopy(networks.generator)
    for parameter in twin.parameters():
        parameter.grad = None
    adam = torch.optim.Adam(twin.parameters(), lr=0.01, betas=(0.5, 0.9), eps=1e-6)
    for turn in range(5):
        engine.backward("generator", loss_of(networks.generator, 2 * turn) / 2)
        engine.backward("generator", loss_of(networks.generator, 2 * turn + 1) / 2)
        report = engine.step("generator", 0.01)
        adam.zero_grad()
        ((loss_of(twin, 2 * turn) + loss_of(twin, 2 * turn + 1)) / 2).backward()
        norm = torch.cat([p.grad.flatten() for p in twin.parameters()]).norm()
        adam.step()
        torch.testing.assert_close(report.gradient_norm, norm)
        for ours, theirs in zip(networks.generator.parameters(), twin.parameters(), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)


def test_a_missing_gradient_is_zero_and_the_moments_decay():
    networks, engine = attached()
    first, second = networks.generator
    engine.backward("generator", loss_of(networks.generator, 0))
    engine.step("generator", 0.0)
    before = engine.optimizer_state()["generator.0.weight.exp_avg"].clone()
    engine.backward("generator", second(torch.ones(1, 4)).sum())  # leaves the first layer out
    engine.step("generator", 0.0)
    after = engine.optimizer_state()["generator.0.weight.exp_avg"]
    torch.testing.assert_close(after, before * 0.5)
    assert first.weight.grad is not None


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_an_update_with_a_gradient_that_is_not_finite_is_skipped_whole(bad):
    networks, engine = attached()
    engine.backward("generator", loss_of(networks.generator, 0))
    engine.step("generator", 0.01)
    weights = copy.deepcopy(networks.generator.state_dict())
    state = {name: value.clone() for name, value in engine.optimizer_state().items()}
    engine.backward("generator", loss_of(networks.generator, 1) * bad)
    report = engine.step("generator", 0.01)
    assert not report.finite
    for name, value in networks.generator.state_dict().items():
        assert torch.equal(value, weights[name])
    for name, value in engine.optimizer_state().items():
        assert torch.equal(value, state[name]), name
    engine.backward("generator", loss_of(networks.generator, 1))
    assert engine.step("generator", 0.01).finite  # the bad gradient was cleared


def test_optimizer_state_by_name_round_trips_bitwise():
    networks, engine = attached()
    for turn in range(3):
        engine.backward("generator", loss_of(networks.generator, turn))
        engine.step("generator", 0.01)
    state = {name: value.clone() for name, value in engine.optimizer_state().items()}
    assert set(state) == {
        f"generator.{layer}.{kind}.{moment}"
        for layer in (0, 1)
        for kind in ("weight", "bias")
        for moment in ("exp_avg", "exp_avg_sq", "step")
    }
    other = Networks(copy.deepcopy(networks.generator), copy.deepcopy(networks.discriminator))
    for module in (other.generator, other.discriminator):
        for parameter in module.parameters():
            parameter.grad = None
    second = Replicated(Process())
    second.attach(other, RULES)
    second.load_optimizer_state(state)
    for players, one in ((networks, engine), (other, second)):
        one.backward("generator", loss_of(players.generator, 9))
        one.step("generator", 0.01)
    for ours, theirs in zip(networks.generator.parameters(), other.generator.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_reset_forgets_the_moments_of_one_network():
    networks, engine = attached()
    engine.backward("generator", loss_of(networks.generator, 0))
    engine.step("generator", 0.01)
    engine.reset("generator")
    assert engine.optimizer_state() == {}


def test_alone_any_and_mean_are_the_identity():
    _, engine = attached()
    assert engine.any(True)
    assert not engine.any(False)
    stats = {"a": torch.tensor(1.0), "b": torch.ones(3)}
    assert engine.mean(stats) == stats

"""Every optimizer's rule against torch's own, step by step; clipping against its closed form."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from pipeline.contracts import AdamRule, AdamWRule, Networks, Process, RMSPropRule, Rule, SGDRule
from pipeline.engines.optimizers import clip, new_optimizer, skip_unless
from pipeline.engines.replicated import Replicated
from tests.training.test_nothing_waits import unasked

RULES: dict[str, tuple[Rule, type[torch.optim.Optimizer], dict]] = {
    "adam": (AdamRule(0.5, 0.9, 1e-6), torch.optim.Adam, {"betas": (0.5, 0.9), "eps": 1e-6}),
    "adamw": (
        AdamWRule(0.5, 0.9, 0.3, 1e-6),
        torch.optim.AdamW,
        {"betas": (0.5, 0.9), "eps": 1e-6, "weight_decay": 0.3},
    ),
    "rmsprop": (RMSPropRule(0.9, 1e-6), torch.optim.RMSprop, {"alpha": 0.9, "eps": 1e-6}),
    "rmsprop with momentum": (
        RMSPropRule(0.9, 1e-6, 0.7),
        torch.optim.RMSprop,
        {"alpha": 0.9, "eps": 1e-6, "momentum": 0.7},
    ),
    "sgd": (SGDRule(), torch.optim.SGD, {}),
    "sgd with momentum": (SGDRule(0.9), torch.optim.SGD, {"momentum": 0.9}),
}
each_rule = pytest.mark.parametrize("name", list(RULES))


def attached(rule: Rule) -> tuple[nn.Module, Replicated]:
    torch.manual_seed(1)
    networks = Networks(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)), nn.Linear(2, 1))
    engine = Replicated(Process())
    engine.attach(networks, {"generator": rule, "discriminator": rule})
    return networks.generator, engine


def twin_of(network: nn.Module) -> nn.Module:
    twin = copy.deepcopy(network)
    for parameter in twin.parameters():
        parameter.grad = None
    return twin


def loss_of(network: nn.Module, seed: int) -> torch.Tensor:
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(seed))
    return network(x).square().mean()


def assert_equal(ours: nn.Module, theirs: nn.Module) -> None:
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-6, atol=1e-7)


@each_rule
@pytest.mark.parametrize("clip_norm", [None, 0.05])
def test_every_step_is_torchs(name, clip_norm):
    rule, kind, constants = RULES[name]
    network, engine = attached(replace(rule, clip_norm=clip_norm))
    twin = twin_of(network)
    theirs = kind(twin.parameters(), lr=0.0, **constants)
    for turn in range(6):
        rate = 0.01 * (turn + 1)
        engine.backward("generator", loss_of(network, turn))
        report = engine.step("generator", rate)
        theirs.param_groups[0]["lr"] = rate
        theirs.zero_grad()
        loss_of(twin, turn).backward()
        norm = torch.cat([p.grad.flatten() for p in twin.parameters()]).norm()
        torch.testing.assert_close(report.gradient_norm, norm)  # before clipping
        if clip_norm is not None:
            assert turn or norm > clip_norm
            for parameter in twin.parameters():
                parameter.grad *= (clip_norm / norm).clamp(max=1)
        theirs.step()
        assert_equal(network, twin)


@each_rule
@pytest.mark.parametrize("clip_norm", [None, 0.05])
@pytest.mark.parametrize("first", [True, False])
def test_a_skipped_update_leaves_no_trace(name, clip_norm, first):
    rule = replace(RULES[name][0], clip_norm=clip_norm)
    network, engine = attached(rule)
    other, straight = attached(rule)
    turns = [float("nan"), 1.0, 1.0] if first else [1.0, float("inf"), 1.0]
    for factor in turns:
        engine.backward("generator", loss_of(network, 0) * factor)
        assert engine.step("generator", 0.1).finite == math.isfinite(factor)
        if math.isfinite(factor):
            straight.backward("generator", loss_of(other, 0))
            straight.step("generator", 0.1)
    for mine, theirs in zip(network.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    ours, expected = engine.optimizer_state(), straight.optimizer_state()
    assert ours.keys() == expected.keys()
    for key, value in expected.items():
        assert torch.equal(ours[key], value), key


@each_rule
def test_state_has_the_rules_slots_and_goes_on_bitwise(name):
    rule = RULES[name][0]
    network, engine = attached(rule)
    assert engine.optimizer_state() == {}
    for turn in range(3):
        engine.backward("generator", loss_of(network, turn))
        engine.step("generator", 0.01)
    state = {key: value.clone() for key, value in engine.optimizer_state().items()}
    names = {f"generator.{key}" for key, _ in network.named_parameters()}
    assert state.keys() == {f"{key}.{slot}" for key in names for slot in rule.slots}
    for key, value in state.items():
        parameter = network.get_parameter(key.removeprefix("generator.").rpartition(".")[0])
        assert value.shape == (() if key.endswith(".step") else parameter.shape), key
    other, second = attached(rule)
    other.load_state_dict(network.state_dict())
    second.load_optimizer_state(state)
    for one, player in ((network, engine), (other, second)):
        player.backward("generator", loss_of(one, 9))
        player.step("generator", 0.01)
    for mine, theirs in zip(network.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_state_of_another_optimizer_or_network_is_refused():
    adam = trained_state(AdamRule(0.5, 0.9))
    for rule, state, why in (
        (SGDRule(0.9), adam, "nothing here has it"),
        (AdamRule(0.5, 0.9), {**adam, "generator.2.weight.step": torch.ones(())}, "nothing here has it"),
        (AdamRule(0.5, 0.9), {**adam, "critic.0.weight.step": torch.ones(())}, "nothing here has it"),
        (AdamRule(0.5, 0.9), {"generator.0.weight.exp_avg": torch.ones(4, 3)}, "exp_avg without"),
    ):
        with pytest.raises(KeyError, match=why):
            attached(rule)[1].load_optimizer_state(state)
    attached(AdamWRule(0.5, 0.9, 0.1))[1].load_optimizer_state(adam)  # remembers the same


def trained_state(rule: Rule) -> dict[str, torch.Tensor]:
    network, engine = attached(rule)
    engine.backward("generator", loss_of(network, 0))
    engine.step("generator", 0.01)
    return engine.optimizer_state()


@pytest.mark.parametrize("name", ["rmsprop", "sgd with momentum"])
def test_adams_second_decay_is_of_no_account_to_others(name):
    states = []
    for beta2 in (None, 0.123):
        network, engine = attached(RULES[name][0])
        engine.backward("generator", loss_of(network, 0))
        engine.step("generator", 0.01, beta2)
        states.append(torch.cat([p.detach().flatten() for p in network.parameters()]))
    assert torch.equal(*states)


@each_rule
def test_an_update_asks_the_device_for_nothing(name):
    rule = replace(RULES[name][0], clip_norm=0.05)
    network, engine = attached(rule)
    loss_of(network, 0).backward()
    engine.step("generator", 0.01)
    loss_of(network, 1).backward()
    with unasked():
        engine.step("generator", 0.01)


@given(
    st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=8), st.floats(1e-3, 1e3), st.integers(1, 3)
)
def test_clipping_keeps_the_direction_and_bounds_the_norm(values, most, parts):
    gradients = [torch.tensor(values) * part for part in range(1, parts + 1)]
    before = torch.cat(gradients)
    norm = before.norm()
    clip(gradients, norm, SGDRule(clip_norm=most))
    after = torch.cat(gradients)
    if norm <= most:
        assert torch.equal(after, before)
    else:
        torch.testing.assert_close(after.norm().item(), most, rtol=1e-5, atol=0)
        torch.testing.assert_close(after, before * (most / norm), rtol=1e-5, atol=1e-9)


def test_rmsprop_leaves_out_a_parameter_without_gradient():
    first, second = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = new_optimizer([first, second], RMSPropRule())
    optimizer.param_groups[0]["lr"] = 0.1
    first.grad = torch.ones(2)
    skip_unless(torch.tensor(True), optimizer)
    optimizer.step()
    assert not torch.equal(first, torch.ones(2))
    assert torch.equal(second, torch.ones(2))
    assert second not in optimizer.state

"""Batch normalisation over groups: torch's own on each group, whatever the batch is split into."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import ops
from pipeline.contracts import Networks
from pipeline.errors import UserError
from pipeline.models.layers import BatchNorm, GroupBatchNorm, follow_moments, measuring
from tests.game_toys import toy_family
from tests.tiny_families import BATCH, PLAIN, DigitStream, seeded_networks, tiny_game, tiny_trainer

C = 5
SHAPES = pytest.mark.parametrize("shape", [(), (7,), (4, 3)], ids=["vectors", "sequences", "images"])


def batch(count: int, shape: tuple[int, ...] = (4, 3), seed: int = 1) -> torch.Tensor:
    return torch.randn(count, C, *shape, generator=torch.Generator().manual_seed(seed)) * 3 + 2


def norm_of(group: int) -> GroupBatchNorm:
    norm = GroupBatchNorm(C, group)
    with torch.no_grad():
        norm.gain.copy_(torch.linspace(0.5, 2, C))
        norm.bias.copy_(torch.linspace(-1, 1, C))
    return norm


def by_groups(x: torch.Tensor, norm: GroupBatchNorm) -> torch.Tensor:
    """torch's batch normalisation of each strided group by itself."""
    groups, out = len(x) // norm.group, torch.empty_like(x)
    for first in range(groups):
        part = x[first::groups]
        out[first::groups] = nn.functional.batch_norm(
            part, None, None, norm.gain, norm.bias, training=True, eps=norm.eps
        )
    return out


@SHAPES
@pytest.mark.parametrize("group", [2, 4, 8])
def test_each_group_is_normalised_as_torch_does_a_batch(shape, group):
    norm, x = norm_of(group), batch(8, shape).requires_grad_()
    y, expected = norm(x), by_groups(x, norm)
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-5)
    along = torch.randn(y.shape, generator=torch.Generator().manual_seed(2))
    inputs = [x, norm.gain, norm.bias]
    for ours, theirs in zip(
        torch.autograd.grad((y * along).sum(), inputs),
        torch.autograd.grad((expected * along).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_all_in_one_group_is_batch_normalisation():
    x, plain = batch(6), BatchNorm(C)
    torch.testing.assert_close(GroupBatchNorm(C, 6)(x), plain(x), rtol=1e-4, atol=1e-5)


def test_a_penalty_may_differentiate_it_twice():
    norm = norm_of(2).double()
    x = batch(4, (2,)).double().requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: norm(x, act="lrelu"), x)


@given(st.sampled_from([1, 2, 3, 4, 6]), st.sampled_from([2, 4]), st.booleans())
def test_any_split_that_keeps_groups_whole_gives_the_same_bits(parts, group, channels_last):
    """Part p of P holds samples p::P, as ranks and micro-batches do."""
    norm, whole = norm_of(group), batch(12 * group)
    if channels_last:
        whole = whole.contiguous(memory_format=torch.channels_last)
    with measuring("generator", norm) as stats:
        expected = norm(whole)
    moments = []
    for first in range(parts):
        with measuring("generator", norm) as own:
            assert torch.equal(norm(whole[first::parts]), expected[first::parts])
        moments.append(own["moments/generator/"])
    torch.testing.assert_close(torch.stack(moments).mean(0), stats["moments/generator/"])


def test_other_groups_do_not_matter_and_neighbours_in_a_group_do():
    norm, x = norm_of(2), batch(8)
    other = x.clone()
    other[1] += 5  # of group 1, with sample 5
    changed = (norm(x) != norm(other)).flatten(1).any(dim=1)
    assert changed.tolist() == [False, True, False, False, False, True, False, False]


def test_a_group_that_is_not_whole_is_refused():
    with pytest.raises(ValueError, match="6 images are no multiple of the group of 4"):
        norm_of(4)(batch(6))
    family = toy_family("groups")
    family.check_batch(4)
    with pytest.raises(UserError, match="2 does not divide the 3 images that a process holds at once"):
        family.check_batch(3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_is_summed_in_float32(dtype):
    x = batch(8, (16, 16)).to(dtype)
    mean, var = norm_of(4).statistics(x)
    wide, spread = norm_of(4).statistics(x.float())
    assert mean.dtype == torch.float32
    assert torch.equal(mean, wide)
    assert torch.equal(var, spread)
    assert norm_of(4)(x).dtype == dtype


# ---- running statistics


def test_a_pass_moves_nothing_and_tells_only_who_asks():
    norm, before = norm_of(2), copy.deepcopy(norm_of(2).state_dict())
    norm(batch(4))
    with measuring("discriminator", nn.Sequential(norm)) as stats:
        norm(batch(4))
        norm(batch(4, seed=3))
    assert stats.keys() == {"moments/discriminator/0"}
    x = torch.cat([batch(4), batch(4, seed=3)]).transpose(0, 1).flatten(1)
    torch.testing.assert_close(stats["moments/discriminator/0"], torch.stack([x.mean(1), x.square().mean(1)]))
    assert not stats["moments/discriminator/0"].requires_grad
    assert norm.seen is None
    assert all(torch.equal(value, before[key]) for key, value in norm.state_dict().items())
    norm.eval()
    with measuring("discriminator", norm) as stats:
        norm(batch(4))
    assert stats == {}


def test_running_statistics_follow_the_moments_of_all_samples():
    """The variance is that of everything, not the mean of the groups' own."""
    norm = norm_of(2)
    networks = Networks(nn.Sequential(norm), nn.Identity())
    x = batch(8).transpose(0, 1).flatten(1)
    for step in range(3):
        with measuring("generator", networks.generator) as stats:
            norm(batch(8))
        follow_moments(networks, stats)
        kept = 0.9 ** (step + 1)
        torch.testing.assert_close(norm.running_mean, (1 - kept) * x.mean(1))
        expected = kept + (1 - kept) * x.var(1, unbiased=False)
        torch.testing.assert_close(norm.running_var, expected, rtol=1e-4, atol=1e-4)
    norm.eval()
    expected = nn.functional.batch_norm(
        batch(3), norm.running_mean, norm.running_var, norm.gain, norm.bias, eps=norm.eps
    )
    torch.testing.assert_close(norm(batch(3)), expected, rtol=1e-4, atol=1e-5)  # of any number


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_moves_nothing(bad):
    norm = norm_of(2)
    before = copy.deepcopy(norm.state_dict())
    moments = torch.ones(2, C)
    moments[1, 2] = bad
    norm.follow(moments)
    assert all(torch.equal(value, before[key]) for key, value in norm.state_dict().items())


def test_a_step_moves_both_networks_running_statistics_once():
    trainer = tiny_trainer(toy_family("groups"))
    norms = [trainer.networks.generator.norm, trainer.networks.discriminator.norm]
    seen = []
    for norm in norms:
        norm.register_forward_hook(lambda module, inputs, output: seen.append((module, inputs[0].detach())))
    trainer.step()
    for norm in norms:
        assert (norm.running_mean != 0).all()
        assert (norm.running_var != 1).all()
        assert norm.seen is None
    # The discriminator's turn: its pass over fakes, then the one over reals, or over both; the generator's.
    x = torch.cat([images for module, images in seen if module is norms[0]][1:2])
    torch.testing.assert_close(norms[0].running_mean, 0.1 * x.mean(0))


def test_groups_are_not_mixed_where_both_sides_are_judged_in_one_pass():
    family = toy_family("groups", r1_gamma=0.0, r2_gamma=0.0, diffusion={"mode": "off"})
    networks = seeded_networks(family)
    (reals,) = DigitStream(PLAIN).draw(BATCH)
    both, apart = tiny_game(family, networks), tiny_game(family, networks)
    fakes = both.generate(BATCH)
    passes = []
    networks.discriminator.register_forward_pre_hook(lambda module, inputs: passes.append(len(inputs[0])))
    got = both.judge_both(fakes, reals)
    assert passes == [2 * BATCH]
    expected = apart.judge(fakes.images, None), apart.judge(reals.images, None)
    for ours, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(ours.logits, theirs.logits, rtol=1e-5, atol=1e-6)
    name = "moments/discriminator/norm"
    whole = (expected[0].stats[name] + expected[1].stats[name]) / 2
    torch.testing.assert_close(got[0].stats[name], whole)


def test_the_strides_are_those_of_the_minibatch_deviation():
    """One stride for all statistics of a batch, so that they may stand in one network."""
    x = batch(8, (2, 2))
    deviations = ops.minibatch_stddev(x, 4)[:, -1, 0, 0]
    mean, _ = norm_of(4).statistics(x)
    for i in range(8):
        for j in range(8):
            assert torch.equal(mean[i], mean[j]) == bool(deviations[i] == deviations[j])

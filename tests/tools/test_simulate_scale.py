"""The simulation counts what really happens, has its closed forms, and meets what is published."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import yaml
from torch.nn import functional

from pipeline.errors import UserError
from tests.distributed.gang import run_gang
from tests.small_run import CONFIG
from tools.research.scale.constants import CONSTANTS, constants
from tools.research.scale.counting import Count, Exchange, Linear, PhaseCount, Span, count_run
from tools.research.scale.model import (
    Cluster,
    ModelSetting,
    checkpoint_bytes,
    memory,
    row,
    setting,
    step_time,
)
from tools.research.scale.tally import Tally
from tools.research.simulate_scale import main

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize("groups", [1, 4])
def test_flops_of_convolutions_and_their_derivatives(groups):
    x = torch.randn(2, 8, 6, 6, requires_grad=True)
    weight = torch.randn(16, 8 // groups, 3, 3, requires_grad=True)
    once = 2 * 2 * 16 * 6 * 6 * (8 // groups) * 9
    with Tally() as tally:
        y = functional.conv2d(x, weight, padding=1, groups=groups)
    assert tally.flops == once
    with Tally() as tally:
        y.square().sum().backward()
    assert tally.flops == 2 * once


def test_flops_of_a_penalty_that_differentiates_twice():
    x, weight = torch.randn(5, 7, requires_grad=True), torch.randn(11, 7, requires_grad=True)
    product = 2 * 5 * 7 * 11
    with Tally() as tally:
        y = (x @ weight.T).square().sum()  # one product
        (gradient,) = torch.autograd.grad(y, x, create_graph=True)  # one more, to x alone
        gradient.square().sum().backward()  # to weight and y', then from y' to x and weight: two each
    assert tally.flops == 6 * product


def test_peak_of_bytes_alive_at_once():
    with Tally() as tally:
        kept = torch.ones(1000)
        for _ in range(5):
            torch.ones(500)  # gone before the next
        last = kept * 2
    assert 4 * 2000 <= tally.peak <= 4 * 2000 * 1.01 + 4 * 500
    assert len(last) == 1000


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """StyleGAN2 with lazy phases, and BigGAN with synchronised normalisation, as files."""
    folder = tmp_path_factory.mktemp("small")
    biggan = yaml.safe_load((CONFIGS / "biggan-32.yaml").read_text())
    family = biggan["family"] | {
        "generator_channels": 4,
        "discriminator_channels": 4,
        "discriminator_repeats": 1,
    }
    family |= {"generator_attention": [], "discriminator_attention": [], "z_dim": 63}
    shared = {"data": {}, "inherit": str(CONFIGS / "base.yaml")}
    (folder / "stylegan2.yaml").write_text(yaml.safe_dump({**CONFIG, **shared, "batch": {"size": 16}}))
    (folder / "biggan.yaml").write_text(yaml.safe_dump({**shared, "batch": {"size": 16}, "family": family}))
    return folder


@pytest.mark.slow
@pytest.mark.skipif(find_spec("deepspeed") is None, reason="deepspeed: not installed")
def test_counted_exchanges_and_memory_are_those_of_two_real_ranks(small, tmp_path):
    files = [small / "stylegan2.yaml", small / "biggan.yaml"]
    run_gang("exchange_ranks.py", 2, str(tmp_path / "found.json"), "4", *map(str, files))
    found = json.loads((tmp_path / "found.json").read_text())
    for file in files:
        count = count_run(file, 16, 10, last_only=True)[1][-1].count
        phases = [one for phase in count.phases for one in (*phase.norm, *phase.gradients)]
        expected = [one.bytes for one in (*phases, *count.stats)]
        real = found[file.name]
        assert sorted(real["replicated"]["sent"]) == sorted(expected), file
        how = ModelSetting(constants(), 1e12)
        for kind, zero in (("replicated", None), ("zero1", 1), ("zero2", 2)):
            if kind not in real:
                continue
            ours = memory(count, 2, 4, ModelSetting(how.constants, how.rate, None, zero))
            assert ours.weights == real[kind]["weights"]
            assert ours.average == real[kind]["average"]
            # DeepSpeed pads the parts to whole multiples.
            assert ours.moments == pytest.approx(real[kind]["moments"], abs=2 * 2 * 64), kind
        assert memory(count, 2, 4, how).gradients == real["replicated"]["gradients"]


def cluster(gpus: int, *overrides: str) -> Cluster:
    return Cluster(gpus, constants(overrides))


def test_an_exchange_has_its_closed_forms():
    assert cluster(1).all_reduce(1e9) == 0
    inside, between = CONSTANTS["inside_bandwidth"].value, CONSTANTS["between_bandwidth"].value
    large = 1e12
    assert cluster(8).all_reduce(large) == pytest.approx(2 * 7 / 8 * large / inside, rel=1e-3)
    assert cluster(16).all_reduce(large) == pytest.approx(2 * 15 / 16 * large / between, rel=1e-3)
    two = cluster(2, "gpus_per_node=1", "between_latency=0.001", "between_bandwidth=1e6")
    assert two.all_reduce(1e6) == pytest.approx(2 * 0.001 + 1)
    # A tree's latency grows with the logarithm: 512 nodes, 9 hops up and down, 7 inside.
    assert cluster(4096).all_reduce(0) == pytest.approx(2 * (9 * 10e-6 + 7 * 5e-6))
    assert cluster(8).scatter(large) + cluster(8).scatter(large) == cluster(8).all_reduce(large)


def phase(name="generator", every=1, repeats=1):
    return PhaseCount(
        name, name, every, repeats, Linear(0, 1e12), Linear(1e9, 2e9),
        (Exchange("norm", 1000),), (Exchange("gradients", 400),),
    )  # fmt: skip


COUNT = Count(
    64, 32, 1, (phase(), phase("discriminator", every=4)),
    {"generator": 400, "discriminator": 400}, {"generator": 500, "discriminator": 400}, (), 4,
)  # fmt: skip


def test_a_step_adds_up():
    how = ModelSetting(constants(["launch_seconds=0"]), 1e12, micro=4)
    step = step_time(COUNT, 2, 16, how)
    assert step.compute == pytest.approx((1 + 1 / 4) * 16)
    assert step.sent["generator"] == 400
    assert step.sent["discriminator"] == 100
    assert step.sent["norm"] == 4 * 1000 * 1.25  # once a micro-batch
    assert checkpoint_bytes(COUNT) == 900 + 500 + 2 * 800
    spent = memory(COUNT, 8, 16, ModelSetting(how.constants, 1e12, 4, zero=1))
    assert (spent.weights, spent.gradients, spent.moments, spent.average) == (900, 800, 200, 500)
    assert spent.activations == 1e9 + 4 * 2e9
    hidden = step_time(COUNT, 2, 16, ModelSetting(constants(["overlap=1"]), 1e12))
    assert hidden.gradients == 0 < step.gradients


def test_strong_scaling_ends_where_a_gpu_has_one_group(small):
    config = count_run(small / "stylegan2.yaml", 16, 10, last_only=True)[0]
    spans = [Span(1000, COUNT)]
    how = setting(config, constants())
    assert row("x", spans, 8, "strong", how).batch == 32
    assert row("x", spans, 16, "strong", how) is None
    weak = row("x", spans, 4096, "weak", how)
    assert weak.batch == 4096 * 4
    assert 0 < weak.efficiency < 1


@pytest.mark.slow
def test_published_scaling_of_stylegan2_at_1024px():
    """Seconds for 1,000 images on A100s: one figure sets the rate, the others are predictions."""
    config, (span,) = count_run(CONFIGS / "stylegan2-1024.yaml", 1024, 0, last_only=True, proportional=True)
    how = setting(config, constants())

    def per_kimg(gpus: int, images: int) -> float:
        return 1000 * step_time(span.count, gpus, images, how).total / (gpus * images)

    assert per_kimg(1, 4) == pytest.approx(90.4, rel=0.01)
    for gpus, published in ((2, 46.0), (4, 23.2), (8, 11.7)):
        assert per_kimg(gpus, 4) == pytest.approx(published, rel=0.05)
    assert per_kimg(1, 32) / per_kimg(8, 4) == pytest.approx(7.84, rel=0.02)


@pytest.mark.parametrize("text", ["overlapp=1", "overlap=much", "rate_float32=0"])
def test_a_wrong_constant_is_a_users_error(text):
    with pytest.raises(UserError, match="--set"):
        main(["stylegan2-1024", "--set", text])


def test_an_unknown_configuration_is_a_users_error():
    with pytest.raises(UserError, match="stylegan2-1024"):
        main(["stylegan9"])

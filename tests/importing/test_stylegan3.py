"""What becomes of stylegan3's .pkl of StyleGAN3-T and -R, and of those whose plan or filters are others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn

from launch.main import main
from pipeline.config.families import StyleGAN3Config
from pipeline.contracts import ImageSpec, Networks
from pipeline.models.registry import build_family
from pipeline.models.stylegan3.foreign import noted_of
from pipeline.models.stylegan3.plan import steps_of
from pipeline.storage.snapshots import open_snapshot
from pipeline.storage.start import load_start
from tests.importing.test_networks import equal
from tests.importing.writing import stylegan3_plan, write_stylegan3

SMALL: dict[str, Any] = {
    "z_dim": 12,
    "w_dim": 10,
    "layers": 4,
    "channel_base": 128,
    "channel_max": 12,
    "margin": 6,
}
SMALL |= {"discriminator_channel_base": 128, "discriminator_channel_max": 16, "clamp_everywhere": True}
CONFIGS = {
    "T": (StyleGAN3Config(**SMALL, label_mapping_layers=3), ImageSpec(32, 32, 3, 4)),
    "R": (StyleGAN3Config(**SMALL, kernel=1, radial=True, minibatch_stddev_group=8), ImageSpec(32, 32, 1)),
}


@dataclass(frozen=True)
class Pair:
    config: StyleGAN3Config
    spec: ImageSpec
    networks: Networks


@pytest.fixture(scope="module")
def pairs():
    """T and R, every parameter and buffer moved from where it starts."""
    torch.manual_seed(7)
    made = {}
    for name, (config, spec) in CONFIGS.items():
        networks = build_family(config, spec, batch_size=8).networks()
        for network in (networks.generator, networks.discriminator):
            for key, tensor in network.state_dict().items():
                tensor.add_(0.2 * torch.randn(tensor.shape))
                if key.endswith("magnitude"):
                    tensor.abs_()
        made[name] = Pair(config, spec, networks)
    return made


@pytest.mark.parametrize("name", CONFIGS)
def test_a_file_becomes_the_same_networks(pairs, tmp_path, capsys, name):
    pair = pairs[name]
    write_stylegan3(tmp_path / "a.pkl", pair.networks, pair.config, pair.spec)
    assert main(["import", str(tmp_path / "a.pkl"), str(tmp_path / "out"), "--discriminator"]) == 0
    assert "from a stylegan3 .pkl of StyleGAN3-T or -R" in capsys.readouterr().out
    snapshot, start = open_snapshot(tmp_path / "out"), load_start(tmp_path / "out")
    assert snapshot.spec == pair.spec
    told = pair.config.model_dump(exclude={"label_mapping_layers"} if not pair.spec.classes else None)
    found = snapshot.family.model_dump()
    assert {key: found[key] for key in told} == told
    equal(start.generator, pair.networks.generator)
    equal(start.discriminator, pair.networks.discriminator)
    assert not (tmp_path / "ran-the-source").exists()


@pytest.mark.parametrize("side", [256, 512, 1024])
@pytest.mark.parametrize(
    "wide", [{}, {"kernel": 1, "radial": True, "channel_base": 65536, "channel_max": 1024}]
)
def test_published_plans_are_ours(side, wide):
    config = StyleGAN3Config(**wide)
    for step, row in zip(steps_of(config, side, 3), stylegan3_plan(config, side, 3), strict=True):
        assert (step.target.size, step.target.channels) == (row["size"], row["channels"])
        assert noted_of(step) == pytest.approx({key: row[key] for key in noted_of(step)})


def named(generator: nn.Module, start: str) -> Any:
    """A layer of theirs, by the start of its name."""
    layers = generator.synthesis._modules
    return next(layer for name, layer in layers.items() if name.startswith(start))


def rename(generator: nn.Module, old: str, new: str) -> None:
    layers = generator.synthesis._modules
    found = next(name for name in layers if name.startswith(old))
    layers[new] = layers.pop(found)


SPOILT = {
    "another size": (
        lambda g: rename(g, "L3_", "L3_40_4"),
        "its layer L3_40_4 is not of our plan, which has L3_32_4",
    ),
    "a missing layer": (
        lambda g: rename(g, "L2_", "X2"),
        "its generator does not fit ours: layers are missing",
    ),
    "another cutoff": (
        lambda g: setattr(named(g, "L2_"), "out_cutoff", 15.0),
        "its layer L2_44_4 is not of our plan: out_cutoff is 15.0, not 16",
    ),
    "other settings": (
        lambda g: g._init_kwargs.update(first_stopband=12.0),
        "its layer L0_28_12 is not of our plan, which has L0_44_12",
    ),
    "a number that is none": (
        lambda g: g._init_kwargs.update(channel_base="many"),
        "its channel_base cannot be 'many'",
    ),
    "another filter": (
        lambda g: named(g, "L1_").down_filter.mul_(1.01),
        "its filter L1_44_11.down_filter is not the one that the plan asks for: taps differ by 1.0e-02",
    ),
    "a longer filter": (
        lambda g: named(g, "L1_").register_buffer("up_filter", torch.ones(14) / 14),
        "L1_44_11.up_filter is not the one that the plan asks for: its shape is not [",
    ),
    "a moved input": (
        lambda g: g.synthesis.input.transform.mul_(2),
        "its input is moved (synthesis.input.transform); allowed: the identity",
    ),
    "an unexpected tensor": (
        lambda g: named(g, "L1_").register_buffer("extra", torch.zeros(1)),
        "its generator does not fit ours: synthesis.L1_44_11.extra is unexpected",
    ),
    "a missing tensor": (
        lambda g: g.synthesis.input._buffers.pop("phases"),
        "its generator does not fit ours: synthesis.input.phases is missing",
    ),
    "an activation": (
        lambda g: setattr(g.mapping.fc0, "activation", "relu"),
        "a generator with the activation 'relu'; allowed: 'lrelu'",
    ),
    "no settings": (
        lambda g: g.synthesis.__dict__.pop("margin_size"),
        "its generator does not say what it is: synthesis.margin_size is missing or odd",
    ),
}


@pytest.mark.parametrize("name", SPOILT)
def test_what_does_not_fit_is_said_in_a_line(pairs, tmp_path, capsys, name):
    spoil, message = SPOILT[name]
    pair = pairs["T"]
    write_stylegan3(tmp_path / "a.pkl", pair.networks, pair.config, pair.spec, spoil=spoil)
    assert main(["import", str(tmp_path / "a.pkl"), str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"hrgan: error: {tmp_path / 'a.pkl'}: ")
    assert message in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_what_grew_from_it_is_told_apart(pairs, tmp_path, capsys):
    pair = pairs["T"]
    write_stylegan3(tmp_path / "a.pkl", pair.networks, pair.config, pair.spec, judge="ProjectedDiscriminator")
    assert main(["import", str(tmp_path / "a.pkl"), str(tmp_path / "out")]) == 2
    assert "a StyleGAN-XL .pkl, which is not taken here" in capsys.readouterr().err

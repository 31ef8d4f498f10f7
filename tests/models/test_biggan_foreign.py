"""The public code's names become ours: from state dicts built by its naming, without its code."""

from __future__ import annotations

import re

import pytest
import torch

from pipeline.config.families import BigGANConfig
from pipeline.contracts import ImageSpec
from pipeline.errors import UserError
from pipeline.models.biggan import BigGAN
from pipeline.models.biggan.foreign import from_ajbrock, infer


def theirs(state, *, deep_discriminator: bool = False, kind: str = "own") -> dict[str, torch.Tensor]:
    """Our state dict under the public code's names. kind: of its batch normalisation."""
    found = {}
    for name, value in state.items():
        if deep_discriminator:
            name = re.sub(r"^blocks\.(\d+)\.", lambda m: f"blocks.{int(m[1]) // 2}.{int(m[1]) % 2}.", name)
            name = re.sub(r"^attention\.(\d+)\.", lambda m: f"blocks.{int(m[1]) // 2}.2.", name)
        else:
            name = re.sub(r"^blocks\.(\d+)\.", r"blocks.\1.0.", name)
            name = re.sub(r"^attention\.(\d+)\.", r"blocks.\1.1.", name)
        name = re.sub(r"\.norm(\d)\.", r".bn\1.", name).replace(".skip.", ".conv_sc.")
        name = re.sub(r"^norm\.", "output_layer.0.", name)
        name = re.sub(r"^conv\.", "output_layer.2.", name)
        name = re.sub(r"^stem\.", "input_conv.", name)
        nested = {"own": ".bn.stored_", "plain": ".stored_", "synchronised": ".bn.running_"}[kind]
        name = re.sub(r"(\.norm)?\.running_", nested, name)
        if name.endswith(".u"):
            found[name + "0"] = value[None].clone()
            found[name[:-1] + "sv0"] = torch.ones(1)
        else:
            found[name] = value.clone()
    return found


CASES = [
    ("biggan", ImageSpec(32, 32, 3, 7), {"generator_channels": 4, "z_dim": 20}),
    ("biggan", ImageSpec(64, 64, 1, 5), {"generator_channels": 4, "generator_attention": (16, 32)}),
    ("biggan", ImageSpec(64, 64, 3, 5), {"generator_channels": 4, "hierarchical": False, "z_dim": 11}),
    ("deep", ImageSpec(64, 64, 3, 5), {"generator_channels": 8, "z_dim": 13, "generator_attention": (8,)}),
    ("deep", ImageSpec(32, 32, 3, 5), {"generator_channels": 8, "depth": 3, "z_dim": 9}),
]


@pytest.mark.parametrize("kind", ["own", "plain", "synchronised"])
@pytest.mark.parametrize(("variant", "spec", "changes"), CASES)
def test_a_generator_comes_through(variant, spec, changes, kind):
    changes = {"generator_attention": (), "shared_dim": 6, **changes}
    config = BigGANConfig(variant=variant, discriminator_channels=changes["generator_channels"], **changes)
    ours = BigGAN(config, spec, batch_size=8).networks().generator.state_dict()
    foreign = theirs(ours, kind=kind)
    back = from_ajbrock(foreign)
    assert back.keys() == ours.keys()
    for name, value in ours.items():
        assert torch.equal(back[name], value), name
    fields, found = infer(foreign)
    assert found == spec
    again = BigGANConfig(**fields)
    for field in changes:
        assert getattr(again, field) == changes[field], field
    assert again.variant == variant
    BigGAN(again, found, batch_size=8).networks().generator.load_state_dict(back)


@pytest.mark.parametrize("variant", ["biggan", "deep"])
def test_a_discriminator_comes_through(variant):
    config = BigGANConfig(
        variant=variant, generator_channels=8, discriminator_channels=8, discriminator_attention=(16, 4)
    )
    ours = BigGAN(config, ImageSpec(64, 64, 3, 5), batch_size=8).networks().discriminator.state_dict()
    back = from_ajbrock(theirs(ours, deep_discriminator=variant == "deep"))
    assert back.keys() == ours.keys()
    for name, value in ours.items():
        assert torch.equal(back[name], value), name


def test_what_has_no_form_here_is_refused():
    config = BigGANConfig(generator_channels=4, discriminator_channels=4, z_dim=4)
    networks = BigGAN(config, ImageSpec(32, 32, 3, 5), batch_size=8).networks()
    generator = theirs(networks.generator.state_dict())
    without = {name: value for name, value in generator.items() if not name.endswith("u0")}
    with pytest.raises(UserError, match="no spectral normalisation"):
        from_ajbrock(without)
    with pytest.raises(UserError, match="several singular values"):
        from_ajbrock({**generator, "linear.u1": torch.zeros(1, 4)})
    with pytest.raises(UserError, match="no shared class embedding"):
        from_ajbrock({name: value for name, value in generator.items() if name != "shared.weight"})
    with pytest.raises(UserError, match="not the weights of a generator"):
        infer(theirs(networks.discriminator.state_dict()))
    with pytest.raises(UserError, match="2 blocks of these widths"):
        infer({name: value for name, value in generator.items() if not name.startswith("blocks.2")})

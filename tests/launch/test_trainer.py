"""The one assembly of a run: whose networks, which engine, what is switched on, what stays as it is."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch

from launch.assembly.trainer import assemble, family_of
from pipeline.config.run import EngineConfig, RunConfig
from pipeline.contracts import ImageSpec, Process
from pipeline.engines.replicated import Replicated
from pipeline.errors import UserError
from pipeline.models.layers.recomputed import Recomputable
from pipeline.randomness import derive_seed
from tests.tiny_families import DigitStream, seeded_networks, tiny_config, tiny_family


def weights(networks):
    return {
        f"{net}.{name}": value
        for net, module in networks.items()
        for name, value in module.state_dict().items()
    }


def same(ours, theirs):
    assert ours.keys() == theirs.keys()
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_fresh_networks_are_those_of_the_runs_seed():
    family = tiny_family("dcgan")
    torch.manual_seed(5)
    first = weights(assemble(family, seed=3).networks)
    torch.manual_seed(6)
    again = weights(assemble(family, seed=3).networks)
    others = weights(assemble(family, seed=4).networks)
    assert same(first, again)
    assert not same(first, others)
    assert same(first, weights(seeded_networks(family, derive_seed(3, "networks"))))


def test_given_networks_are_trained_themselves():
    family = tiny_family("dcgan")
    networks = seeded_networks(family)
    trainer = assemble(family, networks=networks, stream=DigitStream(family.spec))
    before = {name: value.clone() for name, value in weights(networks).items()}
    trainer.step()
    assert trainer.networks is networks
    assert not same(before, weights(networks))


def test_an_engine_that_is_given_brings_its_process_and_another_is_what_the_settings_say():
    family = tiny_family("mlp")
    engine = Replicated(Process())
    assert assemble(family, engine=engine).engine is engine
    process = Process()
    trainer = assemble(family, process, settings=EngineConfig(bucket_mb=3))
    assert isinstance(trainer.engine, Replicated)
    assert trainer.engine.process is process


def test_blocks_are_recomputed_in_training_and_not_in_the_average():
    trainer = assemble(tiny_family("stylegan2"), settings=EngineConfig(recompute="blocks"))

    def switched(module):
        return {part._recomputes for part in module.modules() if isinstance(part, Recomputable)}

    assert switched(trainer.networks.generator) == {True}
    assert switched(trainer.networks.discriminator) == {True}
    assert switched(trainer.averager.average) == {False}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"compile": True}, r"^engine\.compile=true: no part of .* can be compiled; allowed: false$"),
        ({"recompute": "blocks"}, r"^engine\.recompute=blocks: .* no blocks .*; allowed: off$"),
    ],
)
def test_what_networks_do_not_offer_is_refused(settings, message):
    with pytest.raises(UserError, match=message):
        assemble(tiny_family("mlp"), settings=EngineConfig(**settings))


def test_a_family_computes_in_the_precision_that_the_run_has_come_to():
    config = RunConfig(family=tiny_config("stylegan2"), batch={"size": 8}, engine={"precision": "bfloat16"})
    spec = ImageSpec(8, 8, 1)

    def types(config):
        network = family_of(config, spec).networks().generator.eval()
        seen = set()
        for layer in network.modules():
            layer.register_forward_hook(lambda _, __, out: seen.add(getattr(out, "dtype", None)))
        network(torch.randn(2, network.z_dim))
        return seen

    assert torch.bfloat16 in types(config)
    assert torch.bfloat16 not in types(config.computing("float32"))


def test_turns_are_watched_from_outside():
    family = tiny_family("stylegan2")
    trainer = assemble(family, stream=DigitStream(family.spec))
    seen = []

    @contextmanager
    def around(phase):
        before = {name: value.clone() for name, value in weights(trainer.networks).items()}
        yield
        moved = {name.split(".")[0] for name, value in before.items()} - {
            name.split(".")[0]
            for name, value in weights(trainer.networks).items()
            if not torch.equal(before[name], value)
        }
        seen.append((phase.name, moved))

    trainer.around = around
    trainer.step()
    assert [name for name, _ in seen] == [p.name for p in family.phases for _ in range(p.repeats)]
    trains = {phase.name: phase.trains for phase in family.phases}
    assert all(trains[name] not in unmoved for name, unmoved in seen)  # the update is in it

"""Transfer learning: weights of other runs, resolutions and class counts, as far as they fit."""

from __future__ import annotations

import pytest
import torch

from pipeline.contracts import ImageSpec, Stage
from pipeline.errors import UserError
from pipeline.models.registry import build_family
from pipeline.storage.checkpoints import CheckpointStore
from pipeline.storage.snapshots import write_snapshot
from pipeline.storage.start import StartWeights, load_start
from pipeline.training.start import begin_with
from pipeline.training.state import take
from tests.tiny_families import BATCH, DIGITS, TINY, tiny_config, tiny_family, tiny_trainer


@pytest.fixture
def trained(tmp_path):
    """(trainer after two steps, its run folder with a checkpoint and a snapshot)"""
    trainer = tiny_trainer(tiny_family("stylegan2"))
    for _ in range(2):
        trainer.step()
    run = tmp_path / "run"
    CheckpointStore(run, 2).save(take(trainer), images_seen=16, step=2, world_size=1, config_digest="x")
    write_snapshot(
        run,
        trainer.averager.average.state_dict(),
        family=trainer.family.config,
        spec=DIGITS,
        classes=[str(c) for c in range(10)],
        stage=Stage(8, 1.0, 8, {}),
        images_seen=16,
        step=2,
        world_size=1,
        config_digest="x",
        data={},
    )
    return trainer, run


def fresh(spec: ImageSpec = DIGITS):
    torch.manual_seed(9)
    return tiny_trainer(tiny_family("stylegan2", spec), seed=4)


def same(module, other) -> bool:
    pairs = zip(module.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("part", ["", "checkpoints/000000000016"])
def test_a_run_gives_both_networks_and_the_average(trained, part):
    source, run = trained
    trainer = fresh()
    line = begin_with(trainer, load_start(run / part))
    assert same(trainer.networks.generator, source.networks.generator)
    assert same(trainer.networks.discriminator, source.networks.discriminator)
    assert same(trainer.averager.average, source.averager.average)
    assert not same(trainer.averager.average, trainer.networks.generator)
    assert trainer.progress.images_seen == 0
    assert "fresh" not in line
    trainer.step()


def test_a_snapshot_gives_the_averaged_generator(trained):
    source, run = trained
    trainer = fresh()
    line = begin_with(trainer, load_start(run / "snapshots" / "000000000016"))
    assert same(trainer.networks.generator, source.averager.average)
    assert same(trainer.averager.average, source.averager.average)
    assert line.endswith("discriminator all fresh (the source has none)")


@pytest.mark.parametrize(
    "spec", [ImageSpec(16, 16, 1, 10), ImageSpec(4, 4, 1, 10), ImageSpec(8, 8, 1, 3), ImageSpec(8, 8, 1)]
)
def test_other_resolutions_and_classes_take_what_fits(trained, spec):
    source, run = trained
    trainer = fresh(spec)
    before = {name: t.clone() for name, t in trainer.networks.discriminator.state_dict().items()}
    line = begin_with(trainer, load_start(run))
    old = source.networks.discriminator.state_dict()
    new = trainer.networks.discriminator.state_dict()
    taken = [name for name in new if name in old and old[name].shape == new[name].shape]
    assert {"head.dense.weight", "head.out.weight"} & set(taken)
    for name, value in new.items():
        assert torch.equal(value, old[name] if name in taken else before[name])
    # The same resolution's layers, not the same place's counted from the image.
    if spec.height >= 8:
        assert torch.equal(new["blocks.0.conv0.weight"], old["blocks.0.conv0.weight"])
    assert ("fresh: " in line) == (set(taken) != set(new))


def test_an_alias_free_generator_at_another_resolution_keeps_its_own_filters(tmp_path):
    source = tiny_trainer(tiny_family("stylegan3", ImageSpec(8, 8, 1, 10)))
    for _ in range(2):
        source.step()
    run = tmp_path / "run"
    CheckpointStore(run, 2).save(take(source), images_seen=16, step=2, world_size=1, config_digest="x")
    trainer = tiny_trainer(tiny_family("stylegan3", ImageSpec(16, 16, 1, 10)), seed=4)
    filters = {n: t.clone() for n, t in trainer.networks.generator.named_buffers() if "filter" in n}
    line = begin_with(trainer, load_start(run))
    assert same(trainer.networks.generator.mapping, source.networks.generator.mapping)
    after = dict(trainer.networks.generator.named_buffers())
    assert all(torch.equal(after[name], value) for name, value in filters.items())
    theirs = dict(source.networks.generator.named_buffers())
    assert any(
        theirs[name].shape == value.shape and not torch.equal(theirs[name], value)
        for name, value in filters.items()
    )
    assert "fresh: " in line
    images = trainer.networks.generator(torch.randn(2, TINY["stylegan3"]["z_dim"]), torch.tensor([0, 1]))
    assert images.shape == (2, 1, 16, 16)
    assert images.isfinite().all()


def test_what_is_no_source_is_refused(tmp_path, trained):
    _, run = trained
    with pytest.raises(UserError, match=r"start\.source: .*nowhere: no such folder; allowed: a snapshot"):
        load_start(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no snapshot, no checkpoint and no run with either"):
        load_start(tmp_path / "empty")
    weights = run / "snapshots" / "000000000016" / "generator.safetensors"
    weights.write_bytes(weights.read_bytes()[:-5])
    with pytest.raises(UserError, match=r"start\.source: damaged: .*generator\.safetensors"):
        load_start(weights.parent)


def test_weights_of_which_nothing_fits_are_refused(trained):
    _, run = trained
    weights = load_start(run)
    other = {f"other.{name}": value for name, value in weights.generator.items()}
    with pytest.raises(UserError, match="none of its generator's weights fit this family"):
        begin_with(fresh(), type(weights)(other, other, None))


@pytest.mark.parametrize(("layers", "kept"), [(0, 0), (2, 2), (4, 4)])
def test_frozen_layers_keep_their_weights(layers, kept):
    trainer = tiny_trainer(tiny_family("stylegan2", freeze_discriminator=layers))
    block = trainer.networks.discriminator.blocks[-1]
    names = ["from_image", "conv0", "conv1", "skip"]
    before = {name: block.get_submodule(name).weight.clone() for name in names}
    trainer.step()
    still = [name for name in names if torch.equal(block.get_submodule(name).weight, before[name])]
    assert still == names[:kept]
    assert trainer.networks.discriminator.head.out.weight.grad is not None


def test_more_frozen_layers_than_there_are_are_refused():
    with pytest.raises(UserError, match=r"family\.freeze_discriminator=9: at 8 pixels .* allowed: 0 to 4"):
        tiny_family("stylegan2", freeze_discriminator=9).networks()


RAMPING = {
    "stylegan2": {"ema_ramp": 0.05},
    "biggan": {"ema_from_images": 800},
    "r3gan": {},
    "mlp": {"ema_ramp": 0.05},
}
"""What each would overwrite the loaded average with at its first step."""


@pytest.mark.parametrize("name", RAMPING)
def test_a_transfer_goes_on_with_the_sources_average(name):
    changes = {"ema_half_life_images": 200} if name != "r3gan" else {"ema_half_life_images_end": 200}
    source = tiny_trainer(tiny_family(name, **changes), seed=1)
    for parameter in source.averager.average.parameters():
        parameter.add_(1.0)  # an average that is not the generator's own
    weights = StartWeights(source.networks.generator.state_dict(), source.averager.average.state_dict(), None)
    config = tiny_config(name, **changes, **RAMPING[name])
    for kept, settings in ((False, config), (True, config.transferred())):
        trainer = tiny_trainer(build_family(settings, DIGITS, batch_size=BATCH))
        begin_with(trainer, weights)
        before = [p.clone() for p in trainer.averager.average.parameters()]
        trainer.step()
        beta = 0.5 ** (trainer.progress.images_seen / 200) if kept else 0.0
        for average, old, now in zip(
            trainer.averager.average.parameters(),
            before,
            trainer.networks.generator.parameters(),
            strict=True,
        ):
            torch.testing.assert_close(average, beta * old + (1 - beta) * now)


@pytest.mark.parametrize("name", TINY)
def test_nothing_of_a_transferred_average_ramps(name):
    """From the first image on, it decays as at the end."""
    config = tiny_config(name, ema_ramp=0.01, ema_from_images=10_000).transferred()
    schedule = build_family(config, tiny_family(name).spec, batch_size=BATCH).schedule
    late = schedule.at(100_000)
    early = schedule.at(0)
    assert early.ema_beta ** (1 / early.batch_size) == pytest.approx(
        late.ema_beta ** (1 / late.batch_size)
    ) or (name == "progan" and early.ema_beta == late.ema_beta)

"""ProGAN's growth: the plan over images seen, what a stage shows, and restarts across every boundary."""

from __future__ import annotations

import copy
import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from pipeline.config.families import ProGANConfig
from pipeline.contracts import Batch, ImageSpec, Process
from pipeline.engines.replicated import Replicated
from pipeline.errors import UserError
from pipeline.models.registry import build_family
from pipeline.randomness import SampleRandomness
from pipeline.training.state import put_back, take
from pipeline.training.trainer import Trainer
from tests.tiny_families import DigitStream

SPEC = ImageSpec(16, 16, 1, 10)
SMALL = {
    "z_dim": 6,
    "fmap_base": 32,
    "fmap_max": 8,
    "minibatch_stddev_group": 2,
    "gpus": None,
    "stable_images": 24,
    "fade_images": 20,
}


def family(spec: ImageSpec = SPEC, batch_size: int = 8, **changes):
    return build_family(ProGANConfig(**{**SMALL, **changes}), spec, batch_size=batch_size)


def published(gpus: int, resolution: int = 1024, batch: int | None = None):
    spec = ImageSpec(resolution, resolution, 3)
    return build_family(ProGANConfig(gpus=gpus), spec, batch_size=batch or 4 * gpus).schedule


@pytest.mark.parametrize(
    "kimg", [0, 1, 599, 600, 600.001, 601, 900, 1199, 1200, 1201, 1800, 1900, 5550, 9900]
)
def test_levels_fade_in_over_600_kimg_and_train_alone_for_600(kimg):
    knots = [(600 * i, i // 2) for i in range(17)]  # levels grown after so many thousand images
    grown = float(np.interp(kimg, [k for k, _ in knots], [level for _, level in knots]))
    stage = published(8).at(round(kimg * 1000))
    assert stage.resolution == 4 * 2 ** math.ceil(grown - 1e-9)
    assert stage.fade == pytest.approx(grown % 1 or 1.0)
    assert stage.growth == 2 * math.floor(grown) + (grown % 1 > 0)


def test_the_optimizers_begin_anew_at_both_ends_of_every_fade():
    schedule = published(8)
    positions = [p * 1000 + extra for p in range(0, 12_001, 100) for extra in (0, 1)]
    changes = [b for a, b in pairwise(positions) if schedule.at(a).growth != schedule.at(b).growth]
    starts, ends = range(600_001, 9_000_002, 1_200_000), range(1_200_000, 9_600_001, 1_200_000)
    assert changes == sorted([*starts, *ends])
    assert schedule.at(10**9) == schedule.at(9_600_000)


@pytest.mark.parametrize(
    ("gpus", "batches", "rates"),
    [  # thousandths; from the authors' config.py, 4 to 1024 pixels
        (1, [128, 128, 128, 64, 32, 16, 8, 4, 4], [1, 1, 1, 1, 1, 1, 1, 1, 1.5]),
        (2, [256, 256, 128, 64, 32, 16, 8, 8, 8], [1, 1, 1, 1, 1, 1, 1, 1.5, 2]),
        (4, [512, 256, 128, 64, 32, 16, 16, 16, 16], [1, 1, 1, 1, 1, 1, 1.5, 2, 3]),
        (8, [512, 256, 128, 64, 32, 32, 32, 32, 32], [1, 1, 1, 1, 1, 1.5, 2, 3, 3]),
    ],
)
def test_the_published_batches_and_rates(gpus, batches, rates):
    schedule = published(gpus)
    stages = [schedule.at(1_200_000 * level) for level in range(9)]
    assert [stage.batch_size for stage in stages] == batches
    for net in ("generator", "discriminator"):
        assert [stage.rates[net] * 1000 for stage in stages] == pytest.approx(rates)
    assert {stage.ema_beta for stage in stages} == {0.999}
    assert list(schedule.batch_sizes()) == sorted(set(batches))


def test_what_the_config_names_comes_before_the_table_and_batch_size_last():
    changes = {"gpus": 8, "level_batches": (None, 48), "level_rates": (0.5, None, 0.25), "fmap_base": 64}
    schedule = family(ImageSpec(128, 128, 3), batch_size=24, discriminator_rate=0.002, **changes).schedule
    stages = [schedule.at(44 * level) for level in range(6)]
    assert [stage.batch_size for stage in stages] == [512, 48, 128, 64, 32, 24]
    assert [stage.rates["generator"] for stage in stages] == [0.5, 0.001, 0.25, 0.001, 0.001, 0.0015]
    assert [stage.rates["discriminator"] for stage in stages] == [0.5, 0.002, 0.25, 0.002, 0.002, 0.0015]
    plain = family(batch_size=24).schedule
    assert list(plain.batch_sizes()) == [24]


def test_it_may_begin_at_a_higher_level_or_switch_levels_on_at_once():
    grown = family(first_resolution=16).schedule.at(0)
    assert (grown.resolution, grown.fade, grown.growth) == (16, 1.0, 0)
    schedule = family(fade_images=0).schedule
    stages = [schedule.at(position) for position in (0, 23, 24, 47, 48, 1000)]
    assert [stage.resolution for stage in stages] == [4, 4, 8, 8, 16, 16]
    assert {stage.fade for stage in stages} == {1.0}
    assert [stage.growth for stage in stages] == [0, 0, 2, 2, 4, 4]


def test_the_average_may_follow_a_half_life_instead():
    schedule = family(ema_decay=None, ema_half_life_images=80, ema_from_images=24).schedule
    assert schedule.at(8).ema_beta == 0
    assert schedule.at(24).ema_beta == pytest.approx(0.5**0.1)


def test_batches_that_are_not_whole_groups_are_refused():
    some = family(minibatch_stddev_group=4)
    some.check_batch(8)
    with pytest.raises(UserError, match="minibatch_stddev_group: 4 does not divide the 6 images"):
        some.check_batch(6)


def test_reals_fade_with_the_stage():
    some = family()
    images = torch.randn(8, 1, 8, 8)
    stage = some.schedule.at(29)
    assert (stage.resolution, stage.fade) == (8, 0.25)
    shown = some.game(some.networks(), stage, SampleRandomness(range(8))).present(Batch(images)).images
    blurred = images.unfold(2, 2, 2).unfold(3, 2, 2).mean(dim=(4, 5)).repeat_interleave(2, 2)
    torch.testing.assert_close(shown, 0.25 * images + 0.75 * blurred.repeat_interleave(2, 3))
    alone = some.game(some.networks(), some.schedule.at(44), SampleRandomness(range(8)))
    assert alone.present(Batch(images)).images is images


@pytest.mark.parametrize("images_seen", [0, 30, 44, 70, 1000])
def test_samples_have_the_datas_resolution_at_every_stage(images_seen):
    some = family()
    generator = some.networks().generator.eval()
    stage = some.schedule.at(images_seen)
    images = some.sampler(generator, stage).draw([3, 4], classes=[1, 2]).images
    assert images.shape == (2, 1, 16, 16)
    factor = 16 // stage.resolution
    small = images[..., ::factor, ::factor]
    assert torch.equal(images, small.repeat_interleave(factor, 2).repeat_interleave(factor, 3))
    z = SampleRandomness([3, 4]).normal(6)
    wanted = generator(z, torch.tensor([1, 2]), resolution=stage.resolution, fade=stage.fade)
    torch.testing.assert_close(small, wanted)
    with pytest.raises(UserError, match=r"truncation=0\.7: progan normalises its latents; allowed: 1"):
        some.sampler(generator, stage).draw([3], truncation=0.7)


class LargeDigits(DigitStream):
    """Digits of 16 pixels and below."""

    def _next(self, count: int, resolution: int) -> Batch:
        batch = super()._next(count, min(resolution, 8))
        factor = resolution // min(resolution, 8)
        images = batch.images.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
        return Batch(images, batch.labels)


def trainer(some, stream: LargeDigits | None = None) -> Trainer:
    torch.manual_seed(1)
    nets = some.networks()
    engine = Replicated(Process())
    engine.attach(nets, some.optimizers)
    return Trainer(some, nets, engine, stream or LargeDigits(some.spec), seed=3)


def test_a_restart_across_every_boundary_is_bitwise():
    some = family(level_batches=(16, 8, 4))
    straight, stages = trainer(some), []
    while straight.progress.images_seen < 110:
        stages.append(some.schedule.at(straight.progress.images_seen))
        straight.step()
    assert {stage.growth for stage in stages} == {0, 1, 2, 3, 4}
    assert {stage.resolution for stage in stages if stage.fade < 1} == {8, 16}
    state, stream = take(trainer(some)), LargeDigits(some.spec)
    for _ in stages:  # a new process for each step
        one = trainer(some, stream)
        put_back(one, copy.deepcopy(state))
        stream.position = one.progress.images_seen
        one.step()
        state = take(one)
    for group, tensors in take(straight).items():
        assert state[group].keys() == tensors.keys()
        for key, value in tensors.items():
            assert torch.equal(state[group][key], value), f"{group}: {key}"


def test_moments_are_forgotten_and_unseen_levels_stay_as_they_were():
    some = family()
    run = trainer(some)
    fresh = copy.deepcopy(dict(run.networks.generator.named_parameters()))
    forgotten: list[int] = []
    reset = run.engine.reset
    run.engine.reset = lambda net: (forgotten.append(run.progress.images_seen), reset(net))
    for _ in range(15):
        run.step()
        now = dict(run.networks.generator.named_parameters())
        if run.progress.images_seen <= 24:  # the 4px level alone
            assert torch.equal(now["to_image.1.weight"], fresh["to_image.1.weight"])
            assert torch.equal(now["blocks.0.conv0.weight"], fresh["blocks.0.conv0.weight"])
            assert not torch.equal(now["to_image.0.weight"], fresh["to_image.0.weight"])
    assert forgotten == [32, 32, 48, 48, 72, 72, 88, 88]
    assert not torch.equal(now["blocks.1.conv0.weight"], fresh["blocks.1.conv0.weight"])

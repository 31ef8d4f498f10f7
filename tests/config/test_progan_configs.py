"""ProGAN's configurations: the authors' settings (config.py of progressive_growing_of_gans) stand in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config.load import load_config
from pipeline.contracts import ImageSpec
from pipeline.models.registry import build_family

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize(("name", "gpus"), [("progan-1024", 8), ("progan-1024-1gpu", 1)])
def test_published_settings(name, gpus):
    config = load_config(CONFIGS / f"{name}.yaml")
    family = config.family
    assert (family.gpus, config.batch.size, config.data.resolution) == (gpus, 4 * gpus, 1024)
    assert (config.length.images, config.data.mirror, config.engine.precision) == (
        12_000_000,
        True,
        "float32",
    )
    assert (family.z_dim, family.fmap_base, family.fmap_max, family.fused_scale) == (512, 8192, 512, True)
    assert (family.fade_images, family.stable_images, family.first_resolution) == (600_000, 600_000, 4)
    assert (family.loss, family.gp_weight, family.gp_target, family.gp_every) == ("wasserstein", 10, 1, 1)
    assert (family.drift_weight, family.classifier_weight, family.discriminator_repeats) == (0.001, 1, 1)
    assert (family.adam_beta1, family.adam_beta2, family.adam_eps) == (0, 0.99, 1e-8)
    assert (family.ema_decay, family.minibatch_stddev_group) == (0.999, 4)
    built = build_family(family, ImageSpec(1024, 1024, 3), batch_size=config.batch.size)
    last = built.schedule.at(config.length.images)
    assert (last.resolution, last.fade, last.batch_size) == (1024, 1, 4 * gpus)
    assert last.rates["generator"] == {1: 0.0015, 8: 0.003}[gpus]
    for size in built.schedule.batch_sizes():
        built.check_batch(size // gpus)


def test_the_small_one_grows_to_its_data_before_its_end():
    config = load_config(CONFIGS / "progan-32.yaml")
    family = build_family(config.family, ImageSpec(32, 32, 3, 10), batch_size=config.batch.size)
    stages = [family.schedule.at(position) for position in range(0, config.length.images, 500)]
    assert {(stage.resolution, stage.fade == 1) for stage in stages} == {
        (4, True), *((side, grown) for side in (8, 16, 32) for grown in (False, True))
    }  # fmt: skip
    assert [stage.fade for stage in stages[-10:]] == [1.0] * 10

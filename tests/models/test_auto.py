"""Settings from resolution and GPUs: the published table, and what was given stays."""

from __future__ import annotations

import pytest

from pipeline.config.load import digest, load_config
from pipeline.contracts import ImageSpec
from pipeline.models.auto import with_auto_settings
from pipeline.models.registry import build_family


def settings(tmp_path, resolution: int, *overrides: str, classes: int = 0):
    path = tmp_path / "auto.yaml"
    path.write_text("family: {name: stylegan2, auto_gpus: 8}\n")
    config = load_config(path, overrides)
    return with_auto_settings(config, ImageSpec(resolution, resolution, 3, classes))


@pytest.mark.parametrize(
    ("resolution", "gpus", "batch", "base", "rate", "gamma", "ema", "group"),
    [
        # By hand from max(min(gpus * min(4096 / res, 32), 64), gpus) and .0002 * res^2 / batch.
        (256, 1, 16, 16384, 0.0025, 0.8192, 5_000, 4),
        (256, 8, 64, 16384, 0.0025, 0.2048, 20_000, 4),
        (512, 8, 64, 32768, 0.0025, 0.8192, 20_000, 4),
        (1024, 1, 4, 32768, 0.002, 52.4288, 1_250, 4),
        (1024, 8, 32, 32768, 0.002, 6.5536, 10_000, 4),
        (32, 2, 64, 16384, 0.0025, 0.0032, 20_000, 4),
        (128, 128, 128, 16384, 0.0025, 0.0256, 40_000, 1),
    ],
)
def test_the_rule(tmp_path, resolution, gpus, batch, base, rate, gamma, ema, group):
    config = settings(tmp_path, resolution, f"family.auto_gpus={gpus}")
    family = config.family
    assert config.batch.size == batch
    assert (family.channel_base, family.mapping_layers, family.minibatch_stddev_group) == (base, 2, group)
    assert family.generator_rate == family.discriminator_rate == rate
    assert family.r1_gamma == pytest.approx(gamma)
    assert (family.ema_half_life_images, family.ema_ramp) == (ema, 0.05)


def test_what_is_given_stays(tmp_path):
    config = settings(tmp_path, 256, "batch.size=16", "family.r1_gamma=7", "batch.micro=8")
    assert (config.batch.size, config.batch.micro, config.family.r1_gamma) == (16, 8, 7)
    assert config.family.mapping_layers == 2


def test_a_label_keeps_its_eight_layers_where_z_has_two(tmp_path):
    """The public code's rule names the generator's mapping; the discriminator's has its default."""
    config = settings(tmp_path, 32, "family.channel_max=8", "family.w_dim=8", classes=3)
    networks = build_family(config.family, ImageSpec(32, 32, 3, 3), batch_size=64).networks()
    assert len(networks.generator.mapping.layers) == 2
    assert len(networks.discriminator.mapping.layers) == 8
    assert settings(tmp_path, 32).family.label_mapping_layers is None
    given = settings(tmp_path, 32, "family.label_mapping_layers=null", classes=3)
    assert given.family.label_mapping_layers is None


def test_without_it_nothing_changes_and_with_it_every_start_agrees(tmp_path):
    plain = settings(tmp_path, 256, "family.auto_gpus=null")
    assert plain.family.mapping_layers == 8
    first, second = settings(tmp_path, 256), settings(tmp_path, 256)
    assert digest(first) == digest(second)
    assert digest(with_auto_settings(first, ImageSpec(256, 256, 3))) == digest(first)

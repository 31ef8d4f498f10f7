"""The configurations in configs/: each loads, and the published settings stand in it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from pipeline.config.load import load_config
from pipeline.config.run import DataConfig
from pipeline.contracts import ImageSpec
from pipeline.images.normalised import FILTERS
from pipeline.models.auto import with_auto_settings
from pipeline.models.registry import build_family
from tools.documents.headers import header

CONFIGS = Path(__file__).parents[2] / "configs"
RUNS = sorted(path for path in CONFIGS.glob("*.yaml") if path.name != "base.yaml")

# Karras et al. 2020b, table of settings: batch, minibatch stddev group, feature maps, learning rate,
# R1 gamma, half-life of the average in images.
PUBLISHED = {
    256: (64, 8, 16384, 0.0025, 1, 20_000),
    512: (64, 8, 32768, 0.0025, 0.5, 20_000),
    1024: (32, 4, 32768, 0.002, 2, 10_000),
}


every_run = pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem)


@every_run
def test_loads_and_its_header_says_what_it_costs(path: Path) -> None:
    load_config(path)
    found = header(path)
    for word in ("Command", "Hardware", "Hours", "Memory", "Result", "Data", "Protocol"):
        assert found.get(word), word
    assert path.read_text().startswith("# ")


@every_run
def test_the_data_that_a_header_makes_are_those_that_it_expects(path: Path) -> None:
    expected = load_config(path).data.resolution
    for side in re.findall(r"prepare .*--resolution (\d+)", header(path)["Command"]):
        assert expected in (None, int(side))
    for height, width in re.findall(r"prepare .*--size (\d+)x(\d+)", header(path)["Command"]):
        assert expected is None or (expected, expected) == (int(height), int(width))


@every_run
def test_a_header_says_by_which_protocol_its_figures_are(path: Path) -> None:
    found = header(path)
    if re.search(r"[\d.]+ bits", found["Result"]):
        assert re.search(r"[\d,]+ (test|held-out) images.* bits_per_dim.* float32", found["Protocol"])
        return
    figure = re.search(r"FID [\d.]+|SWD", found["Result"])
    if figure is None:
        assert found["Protocol"].startswith(("none", "of the authors' runs"))
        return
    for said in ("Inception|swd", r"[\d,]+ samples", "float32|float16|bfloat16"):
        assert re.search(said, found["Protocol"]), said
    if "FID" in figure[0]:
        assert "50,000 samples" in found["Protocol"]
        assert re.search("against", found["Protocol"])


@every_run
def test_mirroring_is_said_in_the_file_itself_and_as_its_header_says(path: Path) -> None:
    said = yaml.safe_load(path.read_text())["data"]["mirror"]
    data = header(path)["Data"]
    assert ("not mirror" in data) == (not said)
    assert said == load_config(path).data.mirror
    assert "mirror" in data


@every_run
def test_the_command_prepares_with_the_filter_that_the_figure_is_of(path: Path) -> None:
    found = header(path)
    data = found["Data"].partition(".")[0].lower()
    named = [name for name in FILTERS if re.search(rf"\b{name}\b", data)]
    given = re.findall(r"--filter (\w+)", found["Command"])
    assert given == named
    if "FID" in found["Result"]:
        assert bool(named) != ("no filter" in data)


def test_nothing_is_mirrored_unless_it_is_asked_for() -> None:
    assert not DataConfig().mirror
    assert "mirror" not in (CONFIGS / "base.yaml").read_text()


# (mirrored, filter) of the authors' runs, from their public code.
AUTHORS = {
    "stylegan2-256": (False, "box"),
    "stylegan2-512": (True, None),
    "stylegan2-1024": (True, None),
    "stylegan2-auto": (False, None),
    **{f"stylegan3-{variant}-{side}": (True, None) for variant in "tr" for side in (512, 1024)},
    "stylegan3-t-256": (True, "lanczos"),
    "stylegan3-r-256": (True, "lanczos"),
    "progan-1024": (True, None),
    "progan-1024-1gpu": (True, None),
    "biggan-128": (False, "bilinear"),
    "biggan-deep-512": (False, "bilinear"),
    "r3gan-cifar10": (True, None),
    "r3gan-ffhq-64": (True, "lanczos"),
    "r3gan-ffhq-256": (True, "lanczos"),
    "r3gan-imagenet-64": (True, "lanczos"),
    "dcgan-64": (False, None),
}


@pytest.mark.parametrize("name", AUTHORS)
def test_data_are_shown_as_in_the_authors_runs(name: str) -> None:
    path = CONFIGS / f"{name}.yaml"
    given = re.findall(r"--filter (\w+)", header(path)["Command"])
    assert (load_config(path).data.mirror, *given) == tuple(v for v in AUTHORS[name] if v is not None)


@pytest.mark.parametrize("resolution", PUBLISHED)
def test_published_settings(resolution: int) -> None:
    config = load_config(CONFIGS / f"stylegan2-{resolution}.yaml")
    family = config.family
    assert config.data.resolution == resolution
    assert PUBLISHED[resolution] == (
        config.batch.size,
        family.minibatch_stddev_group,
        family.channel_base,
        family.generator_rate,
        family.r1_gamma,
        family.ema_half_life_images,
    )
    assert family.discriminator_rate == family.generator_rate
    assert family.ema_ramp is None


@pytest.mark.parametrize("resolution", PUBLISHED)
def test_settings_common_to_all_published_runs(resolution: int) -> None:
    config = load_config(CONFIGS / f"stylegan2-{resolution}.yaml")
    family = config.family
    assert config.length.images == 25_000_000
    assert (family.z_dim, family.w_dim, family.channel_max, family.mapping_layers) == (512, 512, 512, 8)
    assert (family.adam_beta1, family.adam_beta2, family.adam_eps) == (0.0, 0.99, 1e-8)
    assert (family.r1_every, family.path_length_every) == (16, 4)
    path_length = (family.path_length_weight, family.path_length_decay, family.path_length_shrink)
    assert path_length == (2, 0.01, 2)
    assert (family.style_mixing, family.w_avg_decay, family.mapping_rate) == (0.9, 0.995, 0.01)
    assert (family.low_precision_levels, family.clamp) == (4, 256)
    assert (family.ada.target, family.ada.adjust_images) == (0.6, 500_000)


@pytest.mark.parametrize("name", ["256", "512", "1024", "auto"])
def test_a_transfer_by_these_settings_is_the_public_codes(name: str) -> None:
    """ADA over 100,000 images and no ramp, whatever `auto` says of it."""
    config = load_config(CONFIGS / f"stylegan2-{name}.yaml", ["start.source=x"]).begun(transfer=True)
    family = with_auto_settings(config, ImageSpec(256, 256, 3)).family
    assert (family.ada.mode, family.ada.adjust_images, family.ema_ramp) == ("adaptive", 100_000, None)


# Karras et al. 2021, tables of settings: batch, width of G and of D, R1 gamma, rate of D, whether ADA is on.
STYLEGAN3 = {
    "t-256": (64, 16384, 16384, 1, 0.0025, False),
    "r-256": (64, 32768, 16384, 1, 0.0025, False),
    "t-512": (32, 32768, 32768, 8.2, 0.002, True),
    "r-512": (32, 65536, 32768, 16.4, 0.002, True),
    "t-1024": (32, 32768, 32768, 32.8, 0.002, False),
    "r-1024": (32, 65536, 32768, 32.8, 0.002, False),
}


@pytest.mark.parametrize("name", STYLEGAN3)
def test_published_settings_of_stylegan3(name: str) -> None:
    config = load_config(CONFIGS / f"stylegan3-{name}.yaml")
    family, batch = config.family, config.batch.size
    assert STYLEGAN3[name] == (
        batch,
        family.channel_base,
        family.discriminator_channel_base,
        family.r1_gamma,
        family.discriminator_rate,
        family.ada.mode == "adaptive",
    )
    turns = name.startswith("r")
    blur = (10, batch * 200_000 // 32) if turns else (0, 200_000)
    assert (family.blur_sigma, family.blur_images) == blur
    assert (family.kernel, family.radial, family.channel_max) == (
        (1, True, 1024) if turns else (3, False, 512)
    )
    assert (config.length.images, family.ema_half_life_images) == (25_000_000, batch * 10_000 // 32)
    assert (family.generator_rate, family.ema_ramp, family.ada.target) == (0.0025, 0.05, 0.6)
    side = config.data.resolution
    rules = build_family(family, ImageSpec(side, side, 3), batch_size=batch).optimizers
    assert (rules["generator"].beta2, rules["discriminator"].beta2) == (0.99, 0.99 ** (16 / 17))


def test_the_small_settings() -> None:
    family = load_config(CONFIGS / "stylegan2-32.yaml").family
    assert (family.mapping_layers, family.path_length_weight, family.style_mixing) == (2, 0, 0)
    assert (family.generator_rate, family.ema_ramp) == (0.0025, 0.05)


@every_run
def test_the_minibatch_group_divides_the_batch(path: Path) -> None:
    config = load_config(path)
    assert config.batch.size % getattr(config.family, "minibatch_stddev_group", 1) == 0


def test_quickstart_is_the_small_one_on_its_own_data() -> None:
    config = load_config(CONFIGS / "quickstart.yaml")
    assert config.data.path == "out/quickstart/data"
    assert config.data.resolution == 32
    assert not config.data.mirror


# Brock et al. 2019, tables 4 to 9 and appendix C: ch, size of z, where G attends, rates of G and D.
BIGGAN = {
    "biggan-128": (96, 120, (64,), 5e-5, 2e-4),
    "biggan-256": (96, 140, (128,), 5e-5, 2e-4),
    "biggan-512": (96, 160, (64,), 5e-5, 2e-4),
    "biggan-deep-128": (128, 128, (64,), 5e-5, 2e-4),
    "biggan-deep-256": (128, 128, (64,), 2.5e-5, 2.5e-5),
    "biggan-deep-512": (128, 128, (64,), 2.5e-5, 2.5e-5),
}


@pytest.mark.parametrize("name", BIGGAN)
def test_published_settings_of_biggan(name: str) -> None:
    config = load_config(CONFIGS / f"{name}.yaml")
    family = config.family
    assert config.data.resolution == int(name.rpartition("-")[2])
    assert family.variant == ("deep" if "deep" in name else "biggan")
    assert BIGGAN[name] == (
        family.generator_channels,
        family.z_dim,
        family.generator_attention,
        family.generator_rate,
        family.discriminator_rate,
    )
    assert family.discriminator_channels == family.generator_channels
    assert family.discriminator_attention == (64,)
    assert (config.batch.size, family.discriminator_repeats, family.shared_dim) == (2048, 2, 128)
    assert (family.loss, family.orthogonal_weight, family.hierarchical) == ("hinge", 1e-4, True)
    assert (family.adam_beta1, family.adam_beta2, family.adam_eps) == (0.0, 0.999, 1e-6)
    step = 2 * config.batch.size
    assert 0.5 ** (step / family.ema_half_life_images) == pytest.approx(0.9999, abs=1e-8)
    assert family.ema_from_images == 20_000 * step
    build_family(family, ImageSpec(config.data.resolution, config.data.resolution, 3, 1000), batch_size=2048)

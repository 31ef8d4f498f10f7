"""StyleGAN2's networks against the paper's figures, closed forms and properties."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pipeline.config.families import AdaConfig, StyleGAN2Config
from pipeline.contracts import ImageSpec
from pipeline.errors import UserError
from pipeline.models.registry import build_family
from pipeline.models.stylegan2.family import StyleGAN2
from pipeline.randomness import SampleRandomness
from tests.small_stylegan2 import TINY, game_of, reals, tiny


def size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


# ---- the paper's sizes


def test_config_f_at_1024px_has_the_published_sizes():
    """30.37M and 29.01M: Karras et al. 2020a, table 1's configuration F as its authors' code builds it."""
    with torch.device("meta"):
        networks = StyleGAN2(StyleGAN2Config(), ImageSpec(1024, 1024, 3), batch_size=4).networks()
    assert size(networks.generator) == 30_370_060
    assert size(networks.discriminator) == 29_012_513


def sizes_by_hand(config: StyleGAN2Config, spec: ImageSpec) -> tuple[int, int]:
    """Skip generator and residual discriminator, counted from the paper's figure 7 and appendix B."""
    w, classes, mapping = config.w_dim, spec.classes, config.mapping_layers
    levels = [1 << i for i in range(2, spec.height.bit_length())]
    width = {r: min(config.channel_base // r, config.channel_max) for r in levels}
    generator = (config.z_dim + (w if classes else 0)) * w + w + (mapping - 1) * (w * w + w)
    generator += classes * w + w if classes else 0
    generator += width[4] * 16
    for r in levels:
        inputs = [width[r]] if r == 4 else [width[r // 2], width[r]]
        for cin in inputs:  # weight, bias, noise strength, style
            generator += cin * width[r] * 9 + width[r] + 1 + cin * w + cin
        generator += width[r] * spec.channels + spec.channels + width[r] * w + width[r]  # image output
    outputs = width[4] if classes else 1
    discriminator = spec.channels * width[spec.height] + width[spec.height]
    for r in levels[1:]:
        below = width[r // 2]
        discriminator += width[r] ** 2 * 9 + width[r] + width[r] * below * 9 + below
        discriminator += width[r] * below  # skip, without bias
    discriminator += (width[4] + 1) * width[4] * 9 + width[4]
    discriminator += width[4] * 16 * width[4] + width[4] + width[4] * outputs + outputs
    if classes:
        discriminator += classes * outputs + outputs + mapping * (outputs * outputs + outputs)
    return generator, discriminator


@pytest.mark.parametrize(
    ("config", "spec"),
    [
        ({}, ImageSpec(1024, 1024, 3)),
        ({"channel_base": 16384}, ImageSpec(256, 256, 3)),
        ({"channel_base": 16384, "mapping_layers": 2}, ImageSpec(256, 256, 1, 7)),
        ({"z_dim": 12, "w_dim": 10, "channel_base": 128, "channel_max": 16}, ImageSpec(16, 16, 3)),
        ({"z_dim": 12, "w_dim": 10, "channel_base": 128, "channel_max": 16}, ImageSpec(32, 32, 3, 7)),
    ],
)
def test_sizes_follow_from_the_description(config, spec):
    whole = StyleGAN2Config(**config)
    with torch.device("meta"):
        networks = StyleGAN2(whole, spec, batch_size=4).networks()
    assert (size(networks.generator), size(networks.discriminator)) == sizes_by_hand(whole, spec)


# ---- gradients


@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("generator_architecture", ["skip", "residual"])
@pytest.mark.parametrize("discriminator_architecture", ["skip", "residual"])
def test_gradients_reach_every_parameter(classes, generator_architecture, discriminator_architecture):
    spec = ImageSpec(16, 16, 3, classes)
    family, networks = tiny(
        spec,
        generator_architecture=generator_architecture,
        discriminator_architecture=discriminator_architecture,
        ada=AdaConfig(mode="fixed", p=0.5),
    )
    main = {phase.trains: phase for phase in family.phases if phase.every == 1}
    for net, phase in main.items():
        terms = phase.objective(game_of(family, networks), reals(spec))
        assert terms.loss.shape == (8,)
        terms.loss.mean().backward()
        for name, parameter in networks[net].named_parameters():
            assert parameter.grad is not None, (net, name)
            assert parameter.grad.abs().sum() > 0, (net, name)
            assert torch.isfinite(parameter.grad).all(), (net, name)


def test_penalties_give_finite_gradients():
    family, networks = tiny(ada=AdaConfig(mode="fixed", p=0.8))
    lazy = [phase for phase in family.phases if phase.every > 1]
    assert [phase.name for phase in lazy] == ["path_length", "r1"]
    for phase in lazy:
        phase.objective(game_of(family, networks), reals(family.spec)).loss.mean().backward()
        grads = [p.grad for p in networks[phase.trains].parameters() if p.grad is not None]
        assert sum(float(g.abs().sum()) for g in grads) > 0
        assert all(torch.isfinite(g).all() for g in grads)


# ---- mapping, truncation, mixing, noise


def test_mapping_normalises_z():
    _, networks = tiny()
    z = torch.randn(4, 12)
    mapping = networks.generator.mapping
    torch.testing.assert_close(mapping(z, None), mapping(17.0 * z, None), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("psi", [0.0, 0.5, 1.0, 1.3])
def test_truncation_moves_along_the_line_to_the_mean(psi):
    _, networks = tiny()
    mapping = networks.generator.mapping
    mapping.w_avg.copy_(torch.randn(10))
    w = mapping(torch.randn(4, 12), None)
    expected = mapping.w_avg * (1 - psi) + w * psi
    torch.testing.assert_close(mapping.truncate(w, psi), expected)


def test_w_avg_moves_in_observe_alone_and_by_its_decay():
    family, networks = tiny(w_avg_decay=0.75)
    game = game_of(family, networks)
    family.phases[0].objective(game, reals(family.spec))
    assert networks.generator.mapping.w_avg.abs().sum() == 0
    expected = torch.zeros(10)
    for turn in range(3):
        mean = torch.full((10,), float(turn + 1))
        family.observe(networks, {"w_mean": mean}, 8)
        expected = 0.75 * expected + 0.25 * mean
    family.observe(networks, {"w_mean": torch.full((10,), float("nan"))}, 8)
    torch.testing.assert_close(networks.generator.mapping.w_avg, expected)


def test_the_stat_for_w_avg_is_the_mean_of_unmixed_w():
    family, networks = tiny(style_mixing=1.0)
    phase = next(p for p in family.phases if p.name == "discriminator")
    terms = phase.objective(game_of(family, networks), reals(family.spec))
    z = SampleRandomness(range(8)).normal(12)
    expected = networks.generator.mapping(z, None).mean(0)
    torch.testing.assert_close(terms.stats["w_mean"], expected, rtol=1e-4, atol=1e-6)


def test_style_mixing_switches_once_at_a_uniform_place():
    family, networks = tiny(style_mixing=1.0)
    latents = game_of(family, networks, 400).generate(400).latents
    layers = latents.shape[1]
    same = (latents == latents[:, :1]).all(dim=2)  # [N, layers]
    assert (same.int().diff(dim=1) <= 0).all()  # first latent, then the second, never back
    cutoffs = same.sum(1)
    assert cutoffs.min() >= 1
    counts = torch.bincount(cutoffs, minlength=layers + 1)[1:layers]
    assert counts.sum() == 400
    expected = 400 / (layers - 1)
    assert (((counts - expected) ** 2) / expected).sum() < 18.5  # chi-square, 4 degrees: p < .001


@pytest.mark.parametrize("probability", [0.0, 0.3])
def test_style_mixing_happens_as_often_as_asked(probability):
    family, networks = tiny(style_mixing=probability)
    latents = game_of(family, networks, 500).generate(500).latents
    mixed = (latents != latents[:, :1]).any(dim=(1, 2)).float().mean()
    assert abs(float(mixed) - probability) < 4 * (probability * (1 - probability) / 500) ** 0.5 + 1e-9


def test_noise_starts_without_effect_and_matters_once_its_strength_does():
    _, networks = tiny()
    generator = networks.generator
    z = torch.randn(2, 12)
    torch.testing.assert_close(generator(z, noise="const"), generator(z, noise="none"))
    for name, parameter in generator.named_parameters():
        if name.endswith("noise_strength"):
            assert parameter == 0
            parameter.data.fill_(0.5)
    assert (generator(z, noise="const") - generator(z, noise="none")).abs().mean() > 0.01


def test_an_image_depends_on_its_own_stream_alone():
    family, networks = tiny()
    for name, parameter in networks.generator.named_parameters():
        if name.endswith("noise_strength"):
            parameter.data.fill_(0.5)
    together = game_of(family, networks, 6).generate(6).images
    alone = game_of(family, networks, 1, first_seed=4).generate(1).images
    torch.testing.assert_close(together[4:5], alone, rtol=1e-4, atol=1e-5)


# ---- scales


def test_layers_keep_the_scale_of_activations():
    """Equalised learning rate and demodulation: unit variance in, about unit variance out at the start."""
    _, networks = tiny(channel_base=1024, channel_max=64)
    torch.manual_seed(0)
    x = torch.randn(16, 64, 16, 16)
    for block in networks.discriminator.blocks:
        x = torch.randn(8, block.conv0.weight.shape[1], 16, 16)
        assert 0.7 < block.conv0(x).square().mean() < 1.4
    top = networks.generator.synthesis.blocks[-1]
    conv = top.convs[-1]
    x = torch.randn(8, conv.weight.shape[1], 16, 16)
    assert 0.7 < conv(x, torch.randn(8, 10), None).square().mean() < 1.4


def test_image_output_is_a_plain_weighted_sum():
    _, networks = tiny()
    layer = networks.generator.synthesis.blocks[-1].to_image
    x, w = torch.randn(3, layer.weight.shape[1], 5, 5), torch.randn(3, 10)
    styles = layer.affine(w) / layer.weight.shape[1] ** 0.5
    expected = torch.einsum("ok,nk,nkhw->nohw", layer.weight[:, :, 0, 0], styles, x)
    torch.testing.assert_close(layer(x, w), expected + layer.bias[:, None, None], rtol=1e-4, atol=1e-5)


# ---- discriminator


def test_logits_of_interleaved_ranks_are_those_of_the_whole_batch():
    family, networks = tiny()
    images = reals(family.spec).images
    whole = networks.discriminator(images)
    for rank in range(2):
        part = networks.discriminator(images[rank::2])
        torch.testing.assert_close(part, whole[rank::2], rtol=1e-4, atol=1e-5)
    shuffled = networks.discriminator(images[[0, 1, 4, 5, 2, 3, 6, 7]])
    assert not torch.allclose(shuffled, whole[[0, 1, 4, 5, 2, 3, 6, 7]], rtol=1e-4, atol=1e-6)


def test_a_batch_that_the_group_does_not_divide_is_refused():
    family, networks = tiny()
    with pytest.raises(UserError, match=r"family\.minibatch_stddev_group: 2 does not divide the 3 images"):
        networks.discriminator(torch.zeros(3, 3, 16, 16))
    with pytest.raises(UserError, match="does not divide the 5 images"):
        family.check_batch(5)


def test_labels_matter_to_both_networks():
    _, networks = tiny(ImageSpec(16, 16, 3, 4))
    z = torch.randn(1, 12).expand(4, -1)
    images = networks.generator(z, torch.arange(4))
    assert (images[0] - images[1]).abs().mean() > 1e-4
    same = images[:1].expand(4, -1, -1, -1)
    logits = networks.discriminator(same, torch.arange(4))
    assert logits.unique().numel() == 4


# ---- precision, shapes, limits


def test_bfloat16_is_close_and_exact_is_float32():
    _, exact_networks = tiny(clamp=None)
    _, networks = tiny(low_precision=torch.bfloat16, clamp=None, low_precision_levels=2)
    z = torch.randn(8, 12)
    exact = exact_networks.generator(z)
    low = networks.generator(z)
    assert low.dtype == torch.float32
    error = (low - exact).square().mean().sqrt() / exact.square().mean().sqrt()
    assert 0 < error < 0.03
    assert torch.equal(networks.generator(z, exact=True), exact)
    images = torch.rand(8, 3, 16, 16) * 2 - 1
    assert torch.equal(networks.discriminator(images, exact=True), exact_networks.discriminator(images))
    low_logits = networks.discriminator(images)
    assert not torch.equal(low_logits, exact_networks.discriminator(images))
    torch.testing.assert_close(low_logits, exact_networks.discriminator(images), rtol=0.1, atol=0.1)


@pytest.mark.parametrize("architecture", ["skip", "residual"])
@pytest.mark.parametrize("resolution", [8, 16, 32, 64])
@pytest.mark.parametrize("channels", [1, 3])
def test_shapes(architecture, resolution, channels):
    spec = ImageSpec(resolution, resolution, channels)
    _, networks = tiny(spec, generator_architecture=architecture, discriminator_architecture=architecture)
    images = networks.generator(torch.randn(2, 12))
    assert images.shape == (2, channels, resolution, resolution)
    assert networks.discriminator(images).shape == (2,)


@pytest.mark.parametrize(
    ("spec", "changes", "message"),
    [
        (
            ImageSpec(18, 36, 3),
            {},
            r"images of 18x36 \(height x width\); allowed: up to eight times doubled sides",
        ),
        (ImageSpec(22, 22, 3), {}, "22x22 .*such as 256x256, 192x256 or 768x1280"),
        (ImageSpec(2048, 2048, 3), {}, "up to eight times"),
        (ImageSpec(256, 256, 3), {"channel_base": 128}, "family.channel_base: 128 leaves no channels"),
    ],
)
def test_images_it_cannot_make_are_refused(spec, changes, message):
    with pytest.raises(UserError, match=message):
        build_family(StyleGAN2Config(**{**TINY, **changes}), spec, batch_size=8)

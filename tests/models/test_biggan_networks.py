"""BigGAN's networks against the paper's tables and figures, closed forms and properties."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pipeline.config.families import BigGANConfig
from pipeline.contracts import ImageSpec
from pipeline.errors import UserError
from pipeline.models.biggan import BigGAN
from pipeline.models.biggan.discriminator import Discriminator
from pipeline.models.biggan.generator import Generator
from pipeline.models.biggan.shape import Shape

SMALL = {"generator_channels": 4, "discriminator_channels": 4, "z_dim": 12, "shared_dim": 6}
DIGITS = ImageSpec(8, 8, 1, 10)


def family(spec: ImageSpec = DIGITS, low_precision=None, **changes) -> BigGAN:
    return BigGAN(BigGANConfig(**{**SMALL, **changes}), spec, batch_size=4, low_precision=low_precision)


def made(spec: ImageSpec = DIGITS, low_precision=None, **changes):
    torch.manual_seed(1)
    return family(spec, low_precision, **changes).networks()


def size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


# ---- the paper's sizes

PAPER = BigGANConfig()
DEEP = BigGANConfig(variant="deep", generator_channels=128, discriminator_channels=128, z_dim=128)


def sizes(config: BigGANConfig, resolution: int) -> tuple[int, int]:
    with torch.device("meta"):
        shape = Shape(config, resolution, 3, 1000)
        return size(Generator(shape)), size(Discriminator(shape))


def test_biggan_at_128px_has_the_published_sizes():
    """70.4M and 88.0M: Brock et al. 2019, appendix B."""
    generator, discriminator = sizes(PAPER, 128)
    assert round(generator / 1e6, 1) == 70.4
    assert round(discriminator / 1e6, 1) == 88.0


def test_biggan_deep_at_128px_has_the_published_sizes():
    """50.4M and 34.6M. The released generators' last convolution has ch outputs, of which three are used:
    these and their biases are counted there."""
    generator, discriminator = sizes(DEEP, 128)
    unused = (128 - 3) * (128 * 9 + 1)
    assert round((generator + unused) / 1e6, 1) == 50.4
    assert round(discriminator / 1e6, 1) == 34.6


# Tables 4 to 9: outputs of the generator's blocks in units of ch and where its attention follows; the same of
# the discriminator.
TABLES = {
    ("biggan", 128): ("16 8 4 2a 1", "1a 2 4 8 16 16"),
    ("biggan", 256): ("16 8 8 4a 2 1", "1 2a 4 8 8 16 16"),
    ("biggan", 512): ("16 8 8 4a 2 1 1", "1 1 2a 4 8 8 16 16"),
    ("deep", 128): ("16 16 16 8 8 4 4 2a 2 1", "2 2a 4 4 8 8 16 16 16 16"),
    ("deep", 256): ("16 16 16 8 8 8 8 4a 4 2 2 1", "2 2 4 4a 8 8 8 8 16 16 16 16"),
    ("deep", 512): ("16 16 16 8 8 8 8 4a 4 2 2 1 1 1", "1 1 2 2 4 4a 8 8 8 8 16 16 16 16"),
}


@pytest.mark.parametrize(("variant", "resolution"), TABLES)
def test_blocks_are_those_of_the_tables(variant, resolution):
    config = BigGANConfig(variant=variant, generator_channels=8, discriminator_channels=8)
    shape = Shape(config, resolution, 3, 1000)
    found = (
        " ".join(f"{b.outputs // 8}{'a' * b.attends}" for b in blocks)
        for blocks in (shape.generator, shape.discriminator)
    )
    assert tuple(found) == TABLES[variant, resolution]
    assert shape.generator[-1].resolution == resolution
    assert shape.discriminator[-1].resolution == 4
    assert shape.generator[0].inputs == 16 * 8
    assert [b.inputs for b in shape.generator[1:]] == [b.outputs for b in shape.generator[:-1]]
    assert [b.inputs for b in shape.discriminator[1:]] == [b.outputs for b in shape.discriminator[:-1]]


@pytest.mark.parametrize("resolution", [8, 16, 32, 64])
@pytest.mark.parametrize("variant", ["biggan", "deep"])
def test_every_small_resolution_makes_and_judges_images(variant, resolution):
    networks = made(ImageSpec(resolution, resolution, 3, 10), variant=variant, z_dim=60)
    z, labels = torch.randn(2, 60), torch.zeros(2, dtype=torch.int64)
    images = networks.generator(z, labels)
    assert images.shape == (2, 3, resolution, resolution)
    assert networks.discriminator(images, labels).logits.shape == (2,)


# ---- the whole networks


def test_each_block_sees_its_own_chunk_of_z():
    generator = made(ImageSpec(32, 32, 1, 4)).generator.eval()
    z, labels = torch.randn(2, 12), torch.tensor([1, 3])
    first, conditions = generator.inputs(generator.code(z, labels))
    assert torch.equal(first, z[:, :3])
    embedded = generator.shared.weight[labels]
    for i, condition in enumerate(conditions):
        chunk = z[:, 3 * (i + 1) : 3 * (i + 2)]
        assert torch.equal(condition, torch.cat([embedded, chunk], dim=1))


def test_deep_sees_all_of_z_everywhere():
    generator = made(variant="deep").generator
    z, labels = torch.randn(2, 12), torch.tensor([1, 3])
    whole = torch.cat([generator.shared.weight[labels], z], dim=1)
    first, conditions = generator.inputs(generator.code(z, labels))
    assert torch.equal(first, whole)
    assert len(conditions) == 2
    assert all(torch.equal(condition, whole) for condition in conditions)


def test_without_hierarchy_and_classes_normalisation_is_plain():
    generator = made(ImageSpec(8, 8, 1), hierarchical=False).generator
    assert generator.shared is None
    assert generator.blocks[0].norm1.gain is None
    assert generator.blocks[0].norm1.norm.gain is not None
    assert generator(torch.randn(3, 12)).shape == (3, 1, 8, 8)


def test_logits_are_linear_and_projection_of_summed_features():
    discriminator = made().discriminator.eval()
    x, labels = torch.randn(3, 1, 8, 8), torch.tensor([0, 4, 9])
    h = x
    for block in discriminator.blocks:
        h = block(h)
    h = h.relu().sum(dim=(2, 3))
    expected = h @ discriminator.linear.normalised()[0] + discriminator.linear.bias
    expected = expected + (discriminator.embed.normalised()[labels] * h).sum(dim=1)
    torch.testing.assert_close(discriminator(x, labels).logits, expected)


def test_a_pass_of_a_frozen_discriminator_moves_its_vectors():
    """As in the public code, where the generator's turn iterates the discriminator's too."""
    networks = made()
    networks.discriminator.requires_grad_(False)
    moved = networks.discriminator.blocks[0].conv2.u
    before = moved.clone()
    networks.discriminator(torch.randn(2, 1, 8, 8), torch.tensor([1, 2]))
    assert not torch.equal(before, moved)


def test_the_discriminators_second_derivatives_match_differences():
    """R1 differentiates twice: through attention, too."""
    networks = made(ImageSpec(8, 8, 1), discriminator_attention=(4,), hierarchical=False)
    discriminator = networks.discriminator.double().eval()
    nn.init.constant_(discriminator.attention["0"].gamma, 0.5)
    x = torch.randn(1, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    weight = discriminator.blocks[0].conv2.weight

    def penalty():
        h = discriminator.attention["0"](discriminator.blocks[0](x), exact=True)
        for block in discriminator.blocks[1:]:
            h = block(h)
        logits = discriminator.linear(h.relu().sum(dim=(2, 3)))
        (gradient,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
        return gradient.square().sum()

    (slope,) = torch.autograd.grad(penalty(), weight)
    direction = torch.randn_like(weight)
    step = 1e-6
    with torch.no_grad():
        weight.add_(direction, alpha=step)
    up = penalty().detach()
    with torch.no_grad():
        weight.add_(direction, alpha=-2 * step)
    down = penalty().detach()
    assert ((up - down) / (2 * step)).item() == pytest.approx((slope * direction).sum().item(), rel=1e-4)


# ---- low precision, initial weights, what is refused


def test_low_precision_is_near_and_exact_is_float32():
    low, full = made(low_precision=torch.bfloat16), made()
    z, labels = torch.randn(4, 12), torch.tensor([0, 1, 2, 3])
    x = torch.rand(4, 1, 8, 8) * 2 - 1
    for networks in (low, full):
        networks.generator.eval()
        networks.discriminator.eval()
    images, exact = low.generator(z, labels), full.generator(z, labels)
    assert images.dtype == torch.float32
    assert not torch.equal(images, exact)
    torch.testing.assert_close(images, exact, rtol=0.05, atol=0.05)
    assert torch.equal(low.generator(z, labels, exact=True), exact)
    logits, wanted = low.discriminator(x, labels).logits, full.discriminator(x, labels).logits
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, wanted, rtol=0.05, atol=0.05 * wanted.abs().max().item())
    assert torch.equal(low.discriminator(x, labels, exact=True).logits, wanted)


def test_initial_weights():
    weight = made().generator.blocks[0].conv1.weight.flatten(1)
    torch.testing.assert_close(weight @ weight.T, torch.eye(16), rtol=0, atol=1e-5)
    wide = made(generator_channels=16, initialisation="normal").generator
    assert wide.blocks[0].conv1.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert wide.shared.weight.std().item() == pytest.approx(0.02, rel=0.2)
    xavier = made(generator_channels=16, initialisation="xavier").generator.blocks[0].conv1.weight
    limit = (6 / (64 * 9 * 2)) ** 0.5
    assert limit * 0.99 < xavier.abs().max().item() <= limit
    assert not made().generator.blocks[0].conv1.bias.any()


@pytest.mark.parametrize(
    ("spec", "changes", "message"),
    [
        (ImageSpec(24, 24, 3), {}, "square images of 8, 16, 32, 64, 128, 256, 512 pixels, not 24x24"),
        (ImageSpec(32, 16, 3), {}, "not 16x32; prepare the data with --resolution"),
        (ImageSpec(32, 32, 4), {}, "images of 1 or 3 channels, not 4"),
        (ImageSpec(32, 32, 3), {"z_dim": 13}, "family.z_dim: 13 cannot be split into 4 equal chunks"),
        (ImageSpec(64, 64, 3), {"variant": "deep", "generator_channels": 1}, "family.generator_channels"),
        (
            ImageSpec(32, 32, 3),
            {"discriminator_channels": 1, "discriminator_attention": (16,)},
            "family.discriminator_channels: leaves too few",
        ),
    ],
)
def test_what_does_not_fit_is_refused(spec, changes, message):
    with pytest.raises(UserError, match=message):
        family(spec, **changes)

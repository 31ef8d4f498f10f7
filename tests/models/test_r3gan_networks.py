"""R3GAN's networks against plain PyTorch, closed forms and properties."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import ops
from pipeline.config.families import R3GANConfig
from pipeline.contracts import ImageSpec
from pipeline.errors import UserError
from pipeline.losses import squared_gradients
from pipeline.models.r3gan import R3GAN
from pipeline.models.r3gan.discriminator import Discriminator
from pipeline.models.r3gan.generator import Generator
from pipeline.models.r3gan.layers import Block, Resample
from pipeline.models.r3gan.shape import Shape

SMALL = {"z_dim": 8, "widths": [12, 8, 6], "cardinalities": [3, 2, 2], "blocks": [1, 2, 1], "label_dim": 5}
SPEC = ImageSpec(16, 16, 3, 10)


def made(spec: ImageSpec = SPEC, low_precision=None, **changes):
    config = R3GANConfig(**{**SMALL, **changes})
    torch.manual_seed(1)
    networks = R3GAN(config, spec, batch_size=4, low_precision=low_precision).networks()
    with torch.no_grad():
        for network in (networks.generator, networks.discriminator):
            for parameter in network.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return networks


def size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


# ---- layers


def test_a_block_is_the_papers_inverted_bottleneck():
    torch.manual_seed(0)
    block = Block(6, 12, 3, depth=4)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.normal_()
    x = torch.randn(2, 6, 5, 5)
    wide = F.leaky_relu(torch.einsum("oi,nihw->nohw", block.widen.weight[:, :, 0, 0], x)
                        + block.bias_widen[:, None, None], 0.2)  # fmt: skip
    groups = [
        F.conv2d(part, weight, padding=1)
        for part, weight in zip(wide.chunk(3, dim=1), block.mix.weight.chunk(3), strict=True)
    ]
    mixed = F.leaky_relu(torch.cat(groups, dim=1) + block.bias_mix[:, None, None], 0.2)
    wanted = x + torch.einsum("oi,nihw->nohw", block.narrow.weight[:, :, 0, 0], mixed)
    torch.testing.assert_close(block(x), wanted, rtol=1e-5, atol=1e-5)


def test_initial_weights_have_the_papers_spread_and_a_block_starts_as_the_identity():
    torch.manual_seed(0)
    block = Block(128, 256, 4, depth=14)
    gain = math.sqrt(2 / 1.04) * 14**-0.25
    for conv, fan_in in ((block.widen, 128), (block.mix, 256 // 4 * 9)):
        assert conv.weight.std().item() == pytest.approx(gain / math.sqrt(fan_in), rel=0.03)
    x = torch.randn(2, 128, 4, 4)
    assert torch.equal(block(x), x)


def test_upsampling_is_bilinear():
    """[1, 2, 1] with [1, 1] is [1, 3, 3, 1]: bilinear with half-pixel centres; away from the border, where
    zeros come in."""
    x = torch.randn(2, 3, 6, 6)
    wanted = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    found = Resample(3, 3, [1, 3, 3, 1], up=True)(x)
    torch.testing.assert_close(found[..., 1:-1, 1:-1], wanted[..., 1:-1, 1:-1], rtol=1e-5, atol=1e-5)


def test_downsampling_is_its_adjoint():
    """<down(y), x> = <y, up(x)> / 4, as for any filter and its mirror image."""
    x, y = torch.randn(2, 3, 6, 6), torch.randn(2, 3, 12, 12)
    up, down = (Resample(3, 3, [1, 3, 3, 1], up=up) for up in (True, False))
    assert (down(y) * x).sum().item() == pytest.approx((y * up(x)).sum().item() / 4, rel=1e-4, abs=1e-4)


def test_another_width_comes_at_the_lower_resolution():
    up, down = Resample(3, 5, [1, 3, 3, 1], up=True), Resample(3, 5, [1, 3, 3, 1], up=False)
    x = torch.randn(1, 3, 8, 8)
    shapes: list[torch.Size] = []
    for layer in (up, down):
        layer.conv.register_forward_hook(lambda _, inputs, output: shapes.append(output.shape[2:]))
    assert up(x).shape == (1, 5, 16, 16)
    assert down(x).shape == (1, 5, 4, 4)
    assert shapes == [(8, 8), (4, 4)]


def test_the_filter_is_the_configs_taps_with_those_of_two():
    assert Shape(R3GANConfig(), 3, 0).taps == [1, 3, 3, 1]
    assert Shape(R3GANConfig(resampling_filter=(1, 4, 6, 4, 1)), 3, 0).taps == [1, 5, 10, 10, 5, 1]


# ---- networks


def block_size(width: int, groups: int) -> int:
    wide = 2 * width
    return width * wide + wide + wide * (wide // groups) * 9 + wide + wide * width


@pytest.mark.parametrize("classes", [0, 10])
@pytest.mark.parametrize(
    ("widths", "groups"),
    [
        ([768, 768, 768, 768, 384, 192, 96], [96, 96, 96, 96, 48, 24, 12]),  # FFHQ-256
        ([768, 768, 768, 768], [96, 96, 96, 96]),  # CIFAR-10
        ([1536] * 5, [96] * 5),  # ImageNet-64
    ],
)
def test_the_presets_have_the_sizes_that_their_layers_add_up_to(widths, groups, classes):
    body = sum(2 * block_size(w, g) for w, g in zip(widths, groups, strict=True))
    body += sum(a * b for a, b in pairwise(widths) if a != b) + 3 * widths[-1]
    latent, features = 64 + (64 if classes else 0), widths[0] if classes else 1
    with torch.device("meta"):
        shape = Shape(R3GANConfig(widths=widths, cardinalities=groups, blocks=[2] * len(widths)), 3, classes)
        assert size(Generator(shape)) == body + widths[0] * (16 + latent) + classes * 64
        assert size(Discriminator(shape)) == body + widths[0] * (16 + features) + classes * features


def test_the_generator_starts_as_its_upsampled_basis():
    torch.manual_seed(0)
    spec = ImageSpec(8, 8, 3)
    config = R3GANConfig(z_dim=8, widths=[6, 6], cardinalities=[2, 2], blocks=[1, 1])
    generator = R3GAN(config, spec, batch_size=4).networks().generator
    z = torch.randn(3, 8)
    scales = z @ generator.basis.weight.t()
    basis = generator.basis.images[None] * scales[:, :, None, None]
    shown = torch.einsum("oi,nihw->nohw", generator.to_image.weight[:, :, 0, 0], basis)
    wanted = F.interpolate(shown, scale_factor=2, mode="bilinear", align_corners=False)
    torch.testing.assert_close(generator(z)[..., 1:-1, 1:-1], wanted[..., 1:-1, 1:-1], rtol=1e-5, atol=1e-5)


def test_a_verdict_is_the_product_of_features_and_the_labels_embedding():
    discriminator = made().discriminator
    images, labels = torch.randn(3, 3, 16, 16), torch.tensor([0, 4, 4])
    before = discriminator(images, labels).logits
    with torch.no_grad():
        discriminator.embed.weight[4] *= -2
    torch.testing.assert_close(discriminator(images, labels).logits, before * torch.tensor([1.0, -2.0, -2.0]))


def test_embeddings_start_with_the_spread_of_a_linear_layer_of_one_hot_labels():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        shape = Shape(R3GANConfig(**SMALL, discriminator_label_dim=64), 3, 1000)
        assert Generator(shape).embed.weight.std().item() == pytest.approx(1000**-0.5, rel=0.05)
        assert Discriminator(shape).embed.weight.std().item() == pytest.approx(64000**-0.5, rel=0.05)


def test_low_precision_is_that_of_the_highest_stages_never_of_4_pixels():
    shape = Shape(R3GANConfig(), 3, 0, torch.bfloat16)
    low = [shape.dtype(i, exact=False) == torch.bfloat16 for i in range(7)]
    assert low == [False] * 3 + [True] * 4
    assert all(shape.dtype(i, exact=True) == torch.float32 for i in range(7))
    everywhere = Shape(R3GANConfig(low_precision_levels=9), 3, 0, torch.bfloat16)
    assert [everywhere.dtype(i, exact=False) == torch.float32 for i in range(7)] == [True] + [False] * 6


def test_low_precision_is_near_and_exact_is_float32():
    plain, low = made(), made(low_precision=torch.bfloat16)
    z, labels = torch.randn(4, 8), torch.arange(4)
    images = plain.generator(z, labels)
    rounded = low.generator(z, labels)
    assert rounded.dtype == torch.float32
    assert 0 < (rounded - images).abs().max() < 0.05 * images.abs().max()
    assert torch.equal(low.generator(z, labels, exact=True), images)
    logits = plain.discriminator(images, labels).logits
    judged = low.discriminator(images, labels).logits
    assert judged.dtype == torch.float32
    assert 0 < (judged - logits).abs().max() < 0.05 * logits.abs().max()
    assert torch.equal(low.discriminator(images, labels, exact=True).logits, logits)


# ---- what is refused


def test_stages_must_end_at_the_images_resolution():
    with pytest.raises(
        UserError, match=r"family\.widths: 3 stages do not make images of 32x32 .*; allowed: 4 stages"
    ):
        made(ImageSpec(32, 32, 3))


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"blocks": [1, 1]}, "widths, cardinalities and blocks have 3, 3 and 2 entries"),
        ({"cardinalities": [3, 5, 2]}, "cardinalities: 5 does not divide the 16 channels"),
        ({"r2_gamma": 0}, "r2_gamma is 0 and r2_gamma_end is not"),
    ],
)
def test_settings_that_do_not_fit_are_refused(changes, what):
    with pytest.raises(ValueError, match=what):
        R3GANConfig(**{**SMALL, **changes})


class Convolutions(TorchDispatchMode):
    """Counts them, forward and backward."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += "convolution" in func.__name__
        return func(*args, **(kwargs or {}))


def test_a_penalty_convolves_equally_often_in_any_number_of_groups():
    """PyTorch's own second derivative makes a convolution of every group."""
    ops.use("native", devices=("cpu",))
    counts = []
    for groups in (1, 4):
        discriminator = made(cardinalities=[groups] * 3).discriminator
        images, labels = torch.randn(2, 3, 16, 16, requires_grad=True), torch.zeros(2, dtype=torch.long)
        with Convolutions() as counted:
            (squares,) = squared_gradients([discriminator(images, labels)], [[images]])
            squares.sum().backward()
        counts.append(counted.count)
    assert counts[0] == counts[1] > 0

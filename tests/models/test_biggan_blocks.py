"""BigGAN's blocks against the paper's figures, in plain operations."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pipeline.contracts import ImageSpec
from pipeline.models.biggan.blocks import (
    Attention,
    DeepDiscriminatorBlock,
    DeepGeneratorBlock,
    DiscriminatorBlock,
    GeneratorBlock,
)
from pipeline.models.biggan.shape import Block, Shape
from tests.models.test_biggan_networks import family, made


def shape(**changes) -> Shape:
    return family(**changes).shape


def norm(layer, x, condition):
    """Figure 15b's class-conditional batch normalisation, then ReLU."""
    plain = F.batch_norm(x, None, None, training=True)
    gain = 1 + condition @ layer.gain.normalised().T
    bias = condition @ layer.bias.normalised().T
    return (plain * gain[:, :, None, None] + bias[:, :, None, None]).relu()


def conv(layer, x):
    return F.conv2d(x, layer.normalised(), layer.bias, padding=layer.padding)


def fixed(block: nn.Module) -> nn.Module:
    """Batch statistics of training, with singular vectors that stay, and biases that are not 0."""
    torch.manual_seed(2)
    for name, parameter in block.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter)
    block.eval()
    for module in block.modules():
        if hasattr(module, "running_mean"):
            module.train()
    return block


def doubled(x):
    return x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


def halved(x):
    return (x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]) / 4


def test_a_generator_block_is_figure_15b():
    block = fixed(GeneratorBlock(shape(), Block(6, 4, 8, True, False)))
    x, condition = torch.randn(3, 6, 4, 4), torch.randn(3, shape().condition)
    h = conv(block.conv1, doubled(norm(block.norm1, x, condition)))
    h = conv(block.conv2, norm(block.norm2, h, condition))
    torch.testing.assert_close(block(x, condition), h + conv(block.skip, doubled(x)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("doubles", [True, False])
def test_a_deep_generator_block_is_figure_16b(doubles):
    deep = shape(variant="deep")
    block = fixed(DeepGeneratorBlock(deep, Block(8, 4 if doubles else 8, 8, doubles, False)))
    x, condition = torch.randn(3, 8, 4, 4), torch.randn(3, deep.condition)
    up = doubled if doubles else (lambda x: x)
    h = up(norm(block.norm2, conv(block.conv1, norm(block.norm1, x, condition)), condition))
    assert h.shape[1] == 2
    h = conv(block.conv3, norm(block.norm3, conv(block.conv2, h), condition))
    h = conv(block.conv4, norm(block.norm4, h, condition))
    expected = h + up(x[:, :4] if doubles else x)
    torch.testing.assert_close(block(x, condition), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("first", [True, False])
def test_a_discriminator_block_is_figure_15c(first):
    block = fixed(DiscriminatorBlock(shape(), Block(3, 5, 4, True, False), first))
    x = torch.randn(2, 3, 8, 8)
    h = conv(block.conv2, conv(block.conv1, x if first else x.relu()).relu())
    torch.testing.assert_close(block(x), halved(h) + halved(conv(block.skip, x)), rtol=1e-4, atol=1e-5)
    assert DiscriminatorBlock(shape(), Block(4, 4, 4, False, False), False).skip is None


def test_a_deep_discriminator_block_is_figure_16c():
    block = fixed(DeepDiscriminatorBlock(shape(variant="deep"), Block(4, 8, 4, True, False)))
    x = torch.randn(2, 4, 8, 8)
    h = conv(block.conv2, conv(block.conv1, x.relu()).relu())
    h = halved(conv(block.conv3, h.relu()).relu())
    expected = conv(block.conv4, h) + torch.cat([halved(x), conv(block.skip, halved(x))], dim=1)
    torch.testing.assert_close(block(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("exact", [True, False])
def test_attention_by_loops(exact):
    torch.manual_seed(3)
    layer = Attention(16, eps=1e-6).eval()
    x = torch.randn(2, 16, 4, 6)
    assert torch.equal(layer(x, exact=exact), x)  # gamma starts at 0
    nn.init.constant_(layer.gamma, 0.7)
    theta, phi, g = (conv(part, x) for part in (layer.theta, layer.phi, layer.g))
    pooled = [
        [t[..., i : i + 2, j : j + 2].amax(dim=(2, 3)) for i in (0, 2) for j in (0, 2, 4)] for t in (phi, g)
    ]
    expected = torch.empty(2, 8, 4, 6)
    for n in range(2):
        for i in range(4):
            for j in range(6):
                weight = torch.stack([theta[n, :, i, j] @ key[n] for key in pooled[0]]).softmax(dim=0)
                expected[n, :, i, j] = sum(w * v[n] for w, v in zip(weight, pooled[1], strict=True))
    torch.testing.assert_close(layer(x, exact=exact), x + 0.7 * conv(layer.o, expected), rtol=1e-4, atol=1e-5)


def test_attention_reaches_every_parameter():
    networks = made(
        ImageSpec(16, 16, 1, 3), z_dim=9, generator_attention=(8, 16), discriminator_attention=(4,)
    )
    assert sorted(networks.generator.attention) == ["0", "1"]
    assert sorted(networks.discriminator.attention) == ["1", "2", "3"]
    for network in (networks.generator, networks.discriminator):
        for layer in network.attention.values():
            nn.init.constant_(layer.gamma, 0.5)
    labels = torch.tensor([0, 1, 2])
    images = networks.generator(torch.randn(3, 9), labels)
    networks.discriminator(images, labels).logits.square().sum().backward()
    for network in (networks.generator, networks.discriminator):
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.abs().max() > 0, name

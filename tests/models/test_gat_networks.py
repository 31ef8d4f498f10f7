"""GAT's networks against independent references: positions, norms, noise, levels, sizes."""

from __future__ import annotations

import cmath
import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F

from pipeline.config.families import GATConfig
from pipeline.contracts import ImageSpec
from pipeline.errors import UserError
from pipeline.models.gat.discriminator import Discriminator
from pipeline.models.gat.generator import Generator
from pipeline.models.gat.layers import Attention, GatedMLP, Linear, RMSNorm, scaled
from pipeline.models.gat.noise import amounts_of, noised, reduced
from pipeline.models.gat.positions import position_table, rotated, rotations
from pipeline.models.gat.shape import Shape, shape_of
from pipeline.models.layers import recompute_blocks

TINY = {"width": 16, "depth": 4, "heads": 2, "label_dim": 8, "z_dim": 6}
SIZES = {
    "S": (384, 12, 6, 29.3, 39.1),
    "B": (768, 12, 12, 116.6, 104.5),
    "L": (1024, 24, 16, 408.5, 322.8),
    "XL": (1152, 28, 16, 602.0, 467.4),
}
SCALES = pytest.mark.parametrize("scales", [None, (4, 2, 2, 1)], ids=["together", "scales"])


def tiny_shape(spec=None, low_precision=None, **changes) -> Shape:
    return shape_of(GATConfig(**{**TINY, **changes}), spec or ImageSpec(8, 16, 3, 10), low_precision)


def made(network, *inputs, **settings):
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    return network(*inputs, **settings)


def seen_at(scales, levels):
    return [reduced(level, scale) for level, scale in zip(levels, scales or (1, 1, 1, 1), strict=True)]


def noted(graphs, graph, _):
    graphs.append(graph)
    return graph.forward


def latents(count=3):
    draws = torch.Generator().manual_seed(2)
    return torch.randn(count, TINY["z_dim"], generator=draws), torch.arange(count) + 1


@pytest.mark.parametrize("name", SIZES)
def test_sizes_have_the_published_numbers_of_parameters(name):
    """Millions, at 1,000 classes and patches of 2; the authors' generator counts a patch embedding whose
    output they multiply by zero."""
    width, depth, heads, ours, theirs = SIZES[name]
    config = GATConfig(width=width, depth=depth, heads=heads, alignment_weight=1)
    with torch.device("meta"):
        shape = shape_of(config, ImageSpec(32, 32, 4, 1000), None)
        networks = Generator(shape), Discriminator(shape)
    generator, discriminator = (sum(p.numel() for p in network.parameters()) for network in networks)
    dead = 4 * 2 * 2 * width + width
    assert round((generator + dead) / 1e6, 1) == ours
    assert round(discriminator / 1e6, 1) == theirs


def test_the_table_has_columns_first_and_sines_first():
    rows, columns, width = 3, 5, 8
    table = position_table(rows, columns, width)
    for row in range(rows):
        for column in range(columns):
            for axis, place in enumerate((column, row)):
                for i in range(width // 4):
                    angle = place / 10000 ** (i / (width // 4))
                    token, first = table[row * columns + column], axis * width // 2
                    assert token[first + i] == pytest.approx(math.sin(angle), abs=1e-6)
                    assert token[first + width // 4 + i] == pytest.approx(math.cos(angle), abs=1e-6)


def test_rotations_multiply_complex_numbers_rows_first():
    rows, columns, width = 3, 5, 8
    x = torch.randn(2, rows * columns, width, dtype=torch.float64)
    turned = rotated(x, rotations(rows, columns, width).double())
    for token in range(rows * columns):
        for pair in range(width // 2):
            place = token // columns if pair < width // 4 else token % columns
            frequency = 10000 ** (-2 * (pair % (width // 4)) / (width // 2))
            number = complex(*x[1, token, 2 * pair : 2 * pair + 2]) * cmath.exp(1j * place * frequency)
            assert complex(*turned[1, token, 2 * pair : 2 * pair + 2]) == pytest.approx(number, abs=1e-6)


def test_norms_divide_by_the_root_of_the_mean_square_and_eps():
    """With the eps of float32 in a head, 1e-6 elsewhere: it shows on features that are nearly zero."""
    x = torch.randn(2, 4, 16) * 1e-3
    root = (x.double().square().mean(-1, keepdim=True) + 1e-6).sqrt()
    torch.testing.assert_close(RMSNorm(16)(x), (x / root).float())
    scale = torch.randn(2, 16)
    torch.testing.assert_close(scaled(x, scale), (x / root * (1 + scale[:, None])).float())
    attention = Attention(16, 2, (4,))
    assert attention.query_norm.eps == attention.key_norm.eps == 2**-23
    low = torch.randn(2, 4, 8, dtype=torch.bfloat16)
    assert attention.query_norm(low).dtype == torch.float32


def test_slow_layers_start_alike_and_move_a_hundredth_as_far():
    torch.manual_seed(3)
    plain = Linear(12, 20)
    torch.manual_seed(3)
    slow = Linear(12, 20, rate=0.01)
    x = torch.randn(5, 12)
    torch.testing.assert_close(slow(x), plain(x))
    for layer in (plain, slow):
        with torch.no_grad():
            layer.weight.add_(1.0)
            layer.bias.add_(1.0)
    torch.testing.assert_close(slow(x) - plain(x), -0.99 * (x.sum(1, keepdim=True) + 1).expand(-1, 20))
    assert plain.weight.sub(1).abs().max() <= math.sqrt(6 / 32)


def test_attention_is_the_equation():
    attention, turns = Attention(16, 2, (6,)), rotations(2, 3, 8)
    x = torch.randn(2, 6, 16)
    q, k, v = F.linear(x, attention.qkv.weight, attention.qkv.bias).split(16, dim=-1)
    heads = []
    for head in range(2):
        part = slice(head * 8, head * 8 + 8)
        query, key = (
            rotated(y[..., part] * (y[..., part].square().mean(-1, True) + 2**-23).rsqrt(), turns)
            for y in (q, k)
        )
        weights = (query @ key.mT / math.sqrt(8)).softmax(-1)
        heads.append(weights @ v[..., part])
    torch.testing.assert_close(attention(x, turns), attention.out(torch.cat(heads, -1)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(attention(x, turns, exact=True), attention(x, turns))


def test_the_gate_is_the_first_half():
    mlp = GatedMLP(12)
    x = torch.randn(3, 12)
    a, b = mlp.gates(x)[:, :32], mlp.gates(x)[:, 32:]
    torch.testing.assert_close(mlp(x), mlp.out(a * torch.sigmoid(a) * b))


def test_levels_add_up_what_heads_put_out_after_their_blocks():
    generator = Generator(tiny_shape())
    added, depths = [], []
    for block in generator.synthesis.blocks:
        block.register_forward_hook(lambda *_: depths.append(len(added)))
    for head in generator.synthesis.heads:
        head.register_forward_hook(lambda _, __, output: added.append(output.detach()))
    levels = made(generator, *latents())
    assert depths == [0, 1, 2, 3]  # of four blocks, each is followed by a head
    for i, level in enumerate(levels):
        torch.testing.assert_close(level, sum(added[: i + 1]))


def test_a_patch_is_written_row_by_row_with_channels_fastest():
    generator = Generator(tiny_shape())
    head = generator.synthesis.heads[0]
    outputs = torch.arange(2 * 2 * 3, dtype=torch.float32)
    with torch.no_grad():
        head.out.weight.zero_()
        head.out.bias.copy_(outputs)
    image = head(torch.randn(1, 4 * 8, 16), torch.randn(1, 16))
    assert image.shape == (1, 3, 8, 16)
    for row in range(2):
        for column in range(2):
            for channel in range(3):
                assert image[0, channel, row::2, column::2].eq(outputs[row * 6 + column * 3 + channel]).all()


def test_the_discriminator_reads_a_patch_as_a_convolution_does():
    shape = tiny_shape()
    discriminator = Discriminator(shape)
    levels = torch.randn(4, 2, 3, 8, 16).unbind()
    weight = discriminator.embeds[0].weight.view(16, 12, 2, 2)
    seen = F.conv2d(torch.cat(levels, 1), weight, discriminator.embeds[0].bias, stride=2).flatten(2).mT
    tokens = discriminator._tokens(levels)
    torch.testing.assert_close(tokens[:, 1:], seen + position_table(4, 8, 16))
    torch.testing.assert_close(tokens[:, 0], discriminator.class_tokens.expand(2, -1))


def test_z_and_the_label_are_normalised_each_by_itself():
    mapping = Generator(tiny_shape()).mapping
    z, labels = latents()
    with torch.no_grad():
        w = mapping(z, labels)
        mapping.embed.weight.mul_(7)
        torch.testing.assert_close(mapping(z * 3, labels), w, rtol=1e-3, atol=1e-5)
    assert not torch.allclose(mapping(z, labels + 1), w)


def test_a_logit_is_the_product_of_features_and_the_label_s_vector():
    """Without division by the root of their number, and without an unconditional part."""
    discriminator = Discriminator(tiny_shape())
    levels, labels = torch.randn(4, 2, 3, 8, 16).unbind(), torch.tensor([3, 7])
    features = []
    discriminator.out.register_forward_hook(lambda _, __, output: features.append(output))
    ((logits,), _) = made(discriminator, levels, labels)
    embedded = discriminator.label.embed.weight[labels]
    first, second = discriminator.label.first, discriminator.label.second
    hidden = F.silu(embedded @ (0.01 * first.weight).T + 0.01 * first.bias)
    vector = hidden @ (0.01 * second.weight).T + 0.01 * second.bias
    torch.testing.assert_close(logits, (features[0] * vector).sum(1))


@SCALES
def test_computing_in_bfloat16_is_close_and_returns_float32(scales):
    results = []
    for low in (None, torch.bfloat16):
        torch.manual_seed(1)
        shape = tiny_shape(low_precision=low, scales=scales)
        generator, discriminator = Generator(shape), Discriminator(shape)
        levels = made(generator, *latents())
        logits, _ = made(discriminator, seen_at(scales, levels), latents()[1])
        results.append((*levels, *logits))
        levels = generator(*latents(), exact=True)
        exact, _ = discriminator(seen_at(scales, levels), latents()[1], exact=True)
    for one, two in zip(*results, strict=True):
        assert one.dtype == two.dtype == torch.float32
        assert 0 < (one - two).abs().max() < 0.05 * one.abs().max()
    for one, two in zip(results[0][4:], exact, strict=True):
        torch.testing.assert_close(one, two)


def test_scales_exchange_nothing():
    """The gradient of a scale's logit with respect to any other level is zero, exactly."""
    discriminator = Discriminator(tiny_shape(scales=(4, 2, 2, 1)))
    sides = [(2, 4), (4, 8), (4, 8), (8, 16)]
    levels = [torch.randn(2, 3, *side, requires_grad=True) for side in sides]
    logits, _ = made(discriminator, levels, torch.tensor([3, 7]))
    assert len(logits) == 4
    for i, logit in enumerate(logits):
        gradients = torch.autograd.grad(logit.sum(), levels, retain_graph=True, materialize_grads=True)
        for j, gradient in enumerate(gradients):
            assert bool(gradient.abs().amax() > 0) == (i == j)


def test_levels_of_one_size_are_judged_together():
    discriminator = Discriminator(tiny_shape())
    levels = [torch.randn(2, 3, 8, 16, requires_grad=True) for _ in range(4)]
    ((logits,), _) = made(discriminator, levels, torch.tensor([3, 7]))
    assert all(gradient.abs().amax() > 0 for gradient in torch.autograd.grad(logits.sum(), levels))


def test_amounts_of_noise_are_the_published_ones():
    assert amounts_of(4, 0.125, 0.01) == pytest.approx([0.885, 0.76, 0.51, 0.01])
    assert amounts_of(1, 0.125, 0.01) == pytest.approx([0.01])
    assert amounts_of(4, 1.0, 0.0) == (0, 0, 0, 0)


@pytest.mark.parametrize("scales", [(1, 1, 1, 1), (4, 2, 2, 1)], ids=["together", "scales"])
def test_a_coarser_level_is_the_finer_one_noised_further(scales):
    """Its noise has standard deviation t, and what it keeps of the finer one's has the ratio of the signals.
    The published chain: fresh noise of 0.01, 0.51, 0.7178 and 0.8066, ratios of 0.99, 0.4949, 0.4898 and
    0.4792."""
    amounts = amounts_of(4, 0.125, 0.01)
    count, side = 4000, 8
    torch.manual_seed(4)
    sides = [side // scale for scale in scales]
    fresh = [torch.randn(count, 1, s, s, dtype=torch.float64) for s in sides]
    flat = [torch.full_like(each, 0.3) for each in fresh]
    shown = noised(flat, fresh, amounts, scales)
    noise = [level - (1 - t) * 0.3 for level, t in zip(shown, amounts, strict=True)]
    for i in range(4):
        assert noise[i].std().item() == pytest.approx(amounts[i], rel=0.01)
    for i, (ratio, kept) in enumerate(zip((0.4792, 0.4898, 0.4949), (0.8066, 0.7178, 0.51), strict=True)):
        factor = scales[i] // scales[i + 1]
        finer = reduced(noise[i + 1], factor)
        assert (1 - amounts[i]) / (1 - amounts[i + 1]) == pytest.approx(ratio, abs=1e-4)
        rest = noise[i] - ratio * finer
        correlation = (rest * finer).mean() / (rest.std() * finer.std())
        assert correlation.item() == pytest.approx(0, abs=0.03)
        if factor == 1:
            assert rest.std().item() == pytest.approx(kept, rel=0.01)


def test_without_noise_levels_are_shown_as_they_are():
    levels = torch.randn(4, 2, 3, 4, 4).unbind()
    shown = noised(levels, torch.randn(4, 2, 3, 4, 4).unbind(), amounts_of(4, 1.0, 0.0), (1, 1, 1, 1))
    assert all(torch.equal(a, b) for a, b in zip(shown, levels, strict=True))


@SCALES
def test_computing_blocks_again_and_compiling_change_nothing(scales):
    """One graph for each network; what is compiled is what `exact` computes."""
    results = []
    for switch in ("", "recompute", "compile"):
        torch.manual_seed(1)
        shape = tiny_shape(scales=scales)
        generator, discriminator = Generator(shape), Discriminator(shape)
        graphs: list[object] = []
        if switch == "recompute":
            assert recompute_blocks(generator) == recompute_blocks(discriminator) == 4
        if switch == "compile":
            for network in (generator.synthesis, discriminator):
                network.compile_main(partial(noted, graphs))
        logits, _ = made(discriminator, seen_at(scales, made(generator, *latents())), latents()[1])
        sum(logits).square().sum().backward()
        gradients = [p.grad for net in (generator, discriminator) for p in net.parameters()]
        assert all(g is not None for g in gradients)
        assert len(graphs) == (2 if switch == "compile" else 0)
        results.append(gradients)
    for plain, again, compiled in zip(*results, strict=True):
        assert torch.equal(plain, again)
        torch.testing.assert_close(plain, compiled, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"depth": 6}, "levels: 4 does not divide depth 6"),
        ({"heads": 3}, "width: 16 is no multiple of 4 times the 3 heads"),
        ({"discriminator_width": 20}, "discriminator_width: 20 is no multiple of 4 times the 2 heads"),
        ({"noise_floor": 0.2}, "noise_floor: 0.2 leaves nothing"),
        ({"scales": (4, 2, 1)}, r"scales: \[4, 2, 1\]; allowed: one for each of the 4 levels"),
        ({"scales": (6, 4, 2, 1)}, "each a multiple of the next"),
        ({"alignment_weight": 1.0, "apa": {"mode": "fixed", "p": 0.1}}, "not with apa.mode=fixed"),
        ({"diffusion": {"mode": "fixed", "told": False}}, "not beside the noise of every level"),
        ({"alignment_weight": 1.0, "r2_gamma": 0.0}, "not with one of R1 and R2 alone in each step"),
        ({"consistency_weight": 1.0}, "consistency_weight: needs scales"),
    ],
)
def test_settings_that_do_not_fit_are_told_in_a_line(changes, told):
    with pytest.raises(ValueError, match=told):
        GATConfig(**{**TINY, **changes})


def test_patches_must_divide_the_image_at_every_level():
    with pytest.raises(UserError, match=r"family\.patch: the 9x16 .* is not cut into patches of 2"):
        tiny_shape(ImageSpec(9, 16, 3))
    with pytest.raises(UserError, match="patches of the coarsest level of 8"):
        tiny_shape(ImageSpec(8, 12, 3), scales=(4, 2, 2, 1))

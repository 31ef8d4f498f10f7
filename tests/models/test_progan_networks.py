"""ProGAN's networks against the paper's table, written out in plain operations."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.config.families import ProGANConfig
from pipeline.contracts import ImageSpec
from pipeline.errors import UserError
from pipeline.models.layers import compile_main_phases, recompute_blocks
from pipeline.models.progan.layers import widened
from pipeline.models.registry import build_family

SMALL = {"z_dim": 6, "fmap_base": 64, "fmap_max": 16, "minibatch_stddev_group": 2, "gpus": None}
STAGES = [(4, 1.0), (8, 0.3), (8, 1.0), (16, 0.7), (16, 1.0)]


def networks(classes: int = 0, *, resolution: int = 16, channels: int = 3, **changes):
    torch.manual_seed(4)
    config = ProGANConfig(**{**SMALL, **changes})
    found = build_family(
        config, ImageSpec(resolution, resolution, channels, classes), batch_size=4
    ).networks()
    for net in (found.generator, found.discriminator):  # biases start at 0, where a wrong one would not show
        for name, parameter in net.named_parameters():
            if name.endswith("bias"):
                torch.nn.init.normal_(parameter)
    return found


def scaled(w: Tensor, gain: float) -> Tensor:
    return w * gain / math.sqrt(w[0].numel())


def lrelu(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.2 * x)


def pixel_norm(x: Tensor) -> Tensor:
    return x / (x.pow(2).mean(1, keepdim=True) + 1e-8).sqrt()


def nearest(x: Tensor) -> Tensor:
    return x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


def pooled(x: Tensor) -> Tensor:
    return (x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]) / 4


def conv(p: dict[str, Tensor], name: str, x: Tensor, gain: float = math.sqrt(2)) -> Tensor:
    w = p[f"{name}.weight"]
    return F.conv2d(x, scaled(w, gain), padding=w.shape[2] // 2)


def bias(p: dict[str, Tensor], name: str) -> Tensor:
    return p[f"{name}.bias"].view(1, -1, 1, 1)


def paper_generator(p: dict[str, Tensor], z: Tensor, level: int, fade: float) -> Tensor:
    x = pixel_norm(z) @ scaled(p["first.dense.weight"], math.sqrt(2) / 4).t()
    x = pixel_norm(lrelu(x.view(len(z), -1, 4, 4) + bias(p, "first.dense")))
    x = pixel_norm(lrelu(conv(p, "first.conv", x) + bias(p, "first.conv")))
    shown = [conv(p, "to_image.0", x, 1.0) + bias(p, "to_image.0")]
    for i in range(level):
        x = nearest(x)
        for name in (f"blocks.{i}.conv0", f"blocks.{i}.conv1"):
            x = pixel_norm(lrelu(conv(p, name, x) + bias(p, name)))
        shown.append(conv(p, f"to_image.{i + 1}", x, 1.0) + bias(p, f"to_image.{i + 1}"))
    if level == 0:
        return shown[0]
    return (1 - fade) * nearest(shown[level - 1]) + fade * shown[level]


def paper_discriminator(
    p: dict[str, Tensor], images: Tensor, level: int, fade: float, *, fused: bool, group: int
) -> Tensor:
    def seen(i: int, x: Tensor) -> Tensor:
        return lrelu(conv(p, f"from_image.{i}.conv", x) + bias(p, f"from_image.{i}.conv"))

    def halve(i: int, x: Tensor) -> Tensor:
        x = lrelu(conv(p, f"blocks.{i}.conv0", x) + bias(p, f"blocks.{i}.conv0"))
        x, b = conv(p, f"blocks.{i}.conv1", x), bias(p, f"blocks.{i}.conv1")
        return lrelu(pooled(x) + b) if fused else pooled(lrelu(x + b))

    x = seen(level, images)
    for i in reversed(range(level)):
        x = halve(i, x)
        if i == level - 1:
            x = fade * x + (1 - fade) * seen(i, pooled(images))
    n = len(x)
    deviation = x.view(group, n // group, -1).var(0, correction=0).add(1e-8).sqrt().mean(1)
    x = torch.cat([x, deviation.repeat(group).view(n, 1, 1, 1).expand(n, 1, 4, 4)], dim=1)
    x = lrelu(conv(p, "head.conv", x) + bias(p, "head.conv")).flatten(1)
    x = lrelu(x @ scaled(p["head.dense.weight"], math.sqrt(2)).t() + p["head.dense.bias"])
    return x @ scaled(p["head.out.weight"], 1.0).t() + p["head.out.bias"]


@pytest.mark.parametrize("classes", [0, 5])
@pytest.mark.parametrize(("resolution", "fade"), STAGES)
def test_the_generator_is_the_papers(resolution, fade, classes):
    generator = networks(classes).generator
    z, labels = torch.randn(3, 6), torch.tensor([0, 4, 2]) if classes else None
    images = generator(z, labels, resolution=resolution, fade=fade)
    whole = z if labels is None else torch.cat([z, torch.eye(5)[labels]], dim=1)
    level = int(math.log2(resolution)) - 2
    expected = paper_generator(dict(generator.named_parameters()), whole, level, fade)
    assert images.shape == (3, 3, resolution, resolution)
    torch.testing.assert_close(images, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize(("resolution", "fade"), STAGES)
def test_the_discriminator_is_the_papers_with_its_derivatives(resolution, fade, fused):
    discriminator = networks(5, fused_scale=fused).discriminator
    parameters = dict(discriminator.named_parameters())
    images = torch.randn(4, 3, resolution, resolution, requires_grad=True)
    verdict = discriminator(images, fade=fade, exact=True)
    level = int(math.log2(resolution)) - 2
    expected = paper_discriminator(parameters, images, level, fade, fused=fused, group=2)
    torch.testing.assert_close(verdict.logits, expected[:, 0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(verdict.classes, expected[:, 1:], rtol=1e-5, atol=1e-5)

    def penalty_gradients(logits: Tensor) -> list[Tensor | None]:
        (slope,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
        norms = slope.square().sum(dim=(1, 2, 3)).sqrt()
        loss = (norms - 1).square().mean()
        return list(torch.autograd.grad(loss, list(parameters.values()), allow_unused=True))

    ours, theirs = penalty_gradients(verdict.logits), penalty_gradients(expected[:, 0])
    for name, a, b in zip(parameters, ours, theirs, strict=True):
        a, b = (torch.zeros_like(parameters[name]) if g is None else g for g in (a, b))
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5, msg=name)


def test_a_new_level_begins_as_the_one_below_it():
    nets = networks()
    z, images = torch.randn(4, 6), torch.randn(4, 3, 16, 16)
    below = nets.generator(z, resolution=8)
    assert torch.equal(nets.generator(z, resolution=16, fade=0.0), nearest(below))
    logits = nets.discriminator(images, fade=0.0).logits
    torch.testing.assert_close(logits, nets.discriminator(pooled(images)).logits)


def test_a_widened_kernel_sums_what_meets_copies_of_a_pixel():
    w = torch.randn(2, 3, 3, 3)
    box = torch.ones(1, 1, 2, 2)
    expected = F.conv2d(w.view(6, 1, 3, 3), box, padding=1).view(2, 3, 4, 4)
    torch.testing.assert_close(widened(w), expected)


def layer_table(resolution: int, colors: int) -> dict[str, int]:
    """Parameters of both networks from table 2 of the paper: channels by resolution, 512 at most."""
    sides = [2**i for i in range(2, int(math.log2(resolution)) + 1)]
    channels = {side: min(512, 16384 // side) for side in sides}

    def taps(inputs: int, outputs: int, kernel: int) -> int:
        return inputs * outputs * kernel * kernel + outputs

    generator = 512 * 512 * 16 + 512 + taps(512, 512, 3)
    discriminator = taps(513, 512, 3) + taps(512, 512, 4) + 512 + 1
    for side in sides[1:]:
        generator += taps(channels[side // 2], channels[side], 3) + taps(channels[side], channels[side], 3)
        discriminator += taps(channels[side], channels[side], 3)
        discriminator += taps(channels[side], channels[side // 2], 3)
    generator += sum(taps(channels[side], colors, 1) for side in sides)
    discriminator += sum(taps(colors, channels[side], 1) for side in sides)
    return {"generator": generator, "discriminator": discriminator}


def test_the_published_networks_have_23_million_parameters_each():
    family = build_family(ProGANConfig(), ImageSpec(1024, 1024, 3), batch_size=32)
    with torch.device("meta"):
        found = family.networks()
    sizes = {net: sum(p.numel() for p in module.parameters()) for net, module in found.items()}
    assert sizes == layer_table(1024, 3) == {"generator": 23_079_115, "discriminator": 23_087_249}


def test_low_precision_stays_near_and_exact_is_exact():
    config, spec = ProGANConfig(**SMALL), ImageSpec(16, 16, 3)
    family = build_family(config, spec, batch_size=4, low_precision=torch.bfloat16)
    torch.manual_seed(4)
    nets = family.networks()
    torch.manual_seed(4)
    plain = build_family(config, spec, batch_size=4).networks()
    z, images = torch.randn(4, 6), torch.randn(4, 3, 16, 16)
    for resolution, fade in STAGES:
        exact = nets.generator(z, resolution=resolution, fade=fade, exact=True)
        assert torch.equal(exact, plain.generator(z, resolution=resolution, fade=fade))
        low = nets.generator(z, resolution=resolution, fade=fade)
        assert low.dtype == torch.float32
        assert 0 < (low - exact).abs().max() < 0.1
        reals = F.avg_pool2d(images, 16 // resolution)
        found = nets.discriminator(reals, fade=fade).logits
        assert found.dtype == torch.float32
        wanted = nets.discriminator(reals, fade=fade, exact=True).logits
        assert torch.equal(wanted, plain.discriminator(reals, fade=fade).logits)
        assert 0 < (found - wanted).abs().max() < 0.1


@pytest.mark.parametrize(
    ("spec", "changes", "message"),
    [
        (ImageSpec(16, 32, 3), {}, "square images, not 32x16"),
        (ImageSpec(24, 24, 3), {}, "power of two from 4 to 1024, not 24"),
        (ImageSpec(16, 16, 3), {"fmap_base": 7}, "fmap_base: 7 leaves no channels at 16 pixels; at least 8"),
        (ImageSpec(16, 16, 3), {"first_resolution": 32}, "first_resolution=32: .* 4, 8, 16$"),
        (ImageSpec(16, 16, 3), {"first_resolution": 6}, "first_resolution=6: .* 4, 8, 16$"),
        (ImageSpec(16, 16, 3), {"level_rates": (0.1,) * 4}, "level_rates: 4 values; .* at most 3"),
    ],
)
def test_what_it_cannot_build_is_refused(spec, changes, message):
    with pytest.raises(UserError, match=message):
        build_family(ProGANConfig(**changes), spec, batch_size=4)


def test_compiled_blocks_compute_the_same_at_every_stage_and_penalties_stay_eager():
    eager, compiled = networks(), networks()
    graphs = []

    def count(graph, inputs):
        graphs.append(graph)
        return graph.forward

    parts = compile_main_phases(compiled.generator, count), compile_main_phases(compiled.discriminator, count)
    assert parts == (3, 3)  # a block a level
    z, images = torch.randn(4, 6), torch.randn(4, 3, 16, 16)
    for fade in (0.3, 1.0, 0.6):
        ours, theirs = (nets.generator(z, fade=fade) for nets in (compiled, eager))
        torch.testing.assert_close(ours, theirs)
        ours, theirs = (nets.discriminator(images, fade=fade).logits for nets in (compiled, eager))
        torch.testing.assert_close(ours, theirs)
    assert len(graphs) == 6, "a fade compiles nothing anew"
    images.requires_grad_()
    (slope,) = torch.autograd.grad(
        compiled.discriminator(images, exact=True).logits.sum(), images, create_graph=True
    )
    slope.square().sum().backward()
    assert len(graphs) == 6


@pytest.mark.parametrize(("resolution", "fade"), STAGES[1:4])
def test_recomputed_blocks_give_the_same_bits(resolution, fade):
    plain, recomputed = networks(), networks()
    parts = recompute_blocks(recomputed.generator), recompute_blocks(recomputed.discriminator)
    assert parts == (3, 3)
    torch.manual_seed(2)
    z, images = torch.randn(4, 6), torch.randn(4, 3, resolution, resolution)

    def gradients(nets) -> list[Tensor | None]:
        fakes = nets.generator(z, resolution=resolution, fade=fade)
        points = images.clone().requires_grad_()
        logits = nets.discriminator(points, fade=fade, exact=True).logits
        (slope,) = torch.autograd.grad(logits.sum(), points, create_graph=True)
        loss = nets.discriminator(fakes, fade=fade).logits.sum() + slope.square().sum()
        everything = [*nets.generator.parameters(), *nets.discriminator.parameters()]
        return list(torch.autograd.grad(loss, everything, allow_unused=True))

    for one, two in zip(gradients(recomputed), gradients(plain), strict=True):
        assert one is two is None or torch.equal(one, two)

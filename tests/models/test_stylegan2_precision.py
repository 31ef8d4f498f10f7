"""bfloat16 in the highest resolutions: close to float32, clamped, and never in what must be exact."""

from __future__ import annotations

import pytest
import torch

from pipeline.contracts import ImageSpec
from pipeline.models.layers import Conv2d, ModulatedConv2d
from tests.small_stylegan2 import game_of, reals, tiny

LOW = torch.bfloat16
BOTH = pytest.mark.parametrize("architecture", ["skip", "residual"])


def relative(got: torch.Tensor, expected: torch.Tensor) -> float:
    """Root mean square of the error over that of the value."""
    return float((got - expected).detach().norm() / expected.detach().norm())


def pair(architecture: str, **changes):
    """The same weights, in float32 and with the two highest of three resolutions in bfloat16."""
    both = {"generator_architecture": architecture, "discriminator_architecture": architecture}
    exact = tiny(**both, **changes)
    low = tiny(**both, **changes, low_precision=LOW, low_precision_levels=2)
    return exact, low


@BOTH
def test_outputs_are_within_two_percent(architecture):
    (_, exact), (_, low) = pair(architecture)
    z = torch.randn(64, 12)
    images = exact.generator(z)
    error = relative(low.generator(z), images)
    assert 1e-4 < error < 0.02
    error = relative(low.discriminator(images), exact.discriminator(images))
    assert 1e-4 < error < 0.02
    assert low.generator(z).dtype == low.discriminator(images).dtype == torch.float32


@BOTH
def test_gradients_point_the_same_way(architecture):
    (family, exact), (low_family, low) = pair(architecture)
    for phase, low_phase in zip(family.phases, low_family.phases, strict=True):
        if phase.every > 1:
            continue
        phase.objective(game_of(family, exact), reals(family.spec)).loss.mean().backward()
        low_phase.objective(game_of(low_family, low), reals(family.spec)).loss.mean().backward()
        ours, theirs = (
            torch.cat([p.grad.flatten() for p in networks[phase.trains].parameters()])
            for networks in (low, exact)
        )
        assert ours.dtype == torch.float32
        assert torch.cosine_similarity(ours, theirs, dim=0) > 0.99


@BOTH
def test_penalties_are_float32_to_the_last_bit(architecture):
    """R1 and path length of the low-precision family are those of the float32 family, gradients too."""
    (family, exact), (low_family, low) = pair(architecture)
    for phase, low_phase in zip(family.phases, low_family.phases, strict=True):
        if phase.every == 1:
            continue
        expected = phase.objective(game_of(family, exact), reals(family.spec)).loss
        got = low_phase.objective(game_of(low_family, low), reals(family.spec)).loss
        assert torch.equal(got, expected), phase.name
        expected.mean().backward()
        got.mean().backward()
        for ours, theirs in zip(
            low[phase.trains].parameters(), exact[phase.trains].parameters(), strict=True
        ):
            assert (ours.grad is None) == (theirs.grad is None)
            assert ours.grad is None or torch.equal(ours.grad, theirs.grad)


def types_of(module: torch.nn.Module) -> dict[str, torch.dtype]:
    """Fills with the type of what each block and the head puts out, as they run."""
    seen: dict[str, torch.dtype] = {}

    def note(name):
        def hook(_module, _args, output):
            seen[name] = (output[0] if isinstance(output, tuple) else output).dtype

        return hook

    for name, part in module.named_modules():
        if name.count("blocks.") and name.split(".")[-1].isdigit() and "convs" not in name:
            part.register_forward_hook(note(name))
    return seen


def test_the_highest_levels_alone_are_low():
    _, networks = tiny(ImageSpec(64, 64, 3), low_precision=LOW, low_precision_levels=3)
    in_g, in_d = types_of(networks.generator), types_of(networks.discriminator)
    images = networks.generator(torch.randn(2, 12))
    networks.discriminator(images)
    full = torch.float32
    assert list(in_g.values()) == [full, full, LOW, LOW, LOW]  # 4, 8, 16, 32, 64
    assert list(in_d.values()) == [LOW, LOW, LOW, full]  # 64, 32, 16, 8; the head has no block
    networks.generator(torch.randn(2, 12), exact=True)
    networks.discriminator(images, exact=True)
    assert {*in_g.values(), *in_d.values()} == {full}


def peaks(module: torch.nn.Module) -> dict[str, float]:
    """Fills with the largest magnitude that each convolution puts out."""
    seen: dict[str, float] = {}
    for name, part in module.named_modules():
        if isinstance(part, Conv2d | ModulatedConv2d):
            part.register_forward_hook(
                lambda _m, _a, y, name=name: seen.update({name: y.detach().abs().max().item()})
            )
    return seen


@BOTH
@pytest.mark.parametrize("exact", [False, True])
def test_the_clamp_holds_in_low_blocks_alone(architecture, exact):
    """In exact passes too: a penalty is of the function that plays."""
    _, (_, networks) = pair(architecture, clamp=0.25)
    for block in networks.discriminator.blocks:
        block.conv0.weight.data *= 20
        block.conv1.weight.data *= 20
    in_g, in_d = peaks(networks.generator.synthesis), peaks(networks.discriminator)
    networks.generator(torch.randn(8, 12), exact=exact)
    networks.discriminator(4 * torch.randn(8, 3, 16, 16), exact=exact)
    branch = 0.5**0.5 if architecture == "residual" else 1.0  # a clamp shrinks with its branch's gain
    for name, peak in (*in_g.items(), *in_d.items()):
        clamped = "skip" not in name and "head" not in name and name != "blocks.0.convs.0"
        limit = 0.25 * (branch if name.endswith(("convs.1", "conv1")) else 1)
        if clamped:
            assert peak == pytest.approx(limit, rel=0.01), name
    assert in_g["blocks.0.convs.0"] > 0.5  # at 4px, where activations are float32
    assert in_d["head.conv"] > 0.3


def test_a_generous_clamp_changes_nothing():
    (_, free), (_, low) = pair("skip", clamp=256.0)
    z = torch.randn(8, 12)
    assert torch.equal(low.generator(z, exact=True), free.generator(z))


def test_large_styles_do_not_overflow_half_precision():
    """Demodulation cancels the size of a style, if both are brought to a small scale before they meet."""
    _, networks = tiny(low_precision=torch.float16, clamp=None)
    ws = torch.randn(4, 6, 10)
    before = networks.generator.synthesis(ws).detach()
    for block in networks.generator.synthesis.blocks:
        for conv in block.convs:
            conv.affine.weight.data *= 3e4
            conv.affine.bias.data *= 3e4
            conv.weight.data *= 3e4
    assert relative(networks.generator.synthesis(ws), before) < 0.01


def test_the_sampler_is_float32():
    (family, exact), (low_family, low) = pair("skip")
    expected = family.sampler(exact.generator).draw([3, 4], truncation=0.7).images
    assert torch.equal(low_family.sampler(low.generator).draw([3, 4], truncation=0.7).images, expected)


def test_fakes_differ_where_play_is_low_and_not_where_exact_is_asked():
    (family, exact), (low_family, low) = pair("skip")
    want = game_of(family, exact).generate(4).images
    assert torch.equal(game_of(low_family, low).generate(4, exact=True).images, want)
    assert not torch.equal(game_of(low_family, low).generate(4).images, want)
    logits = game_of(family, exact).judge(want, None).logits
    assert torch.equal(game_of(low_family, low).judge(want, None, exact=True).logits, logits)
    assert not torch.equal(game_of(low_family, low).judge(want, None).logits, logits)

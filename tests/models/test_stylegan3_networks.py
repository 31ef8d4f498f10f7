"""StyleGAN3's networks: sizes, what moves with the input and what does not, magnitudes, precision."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import ops
from pipeline.config.families import StyleGAN3Config
from pipeline.contracts import ImageSpec
from pipeline.errors import UserError
from pipeline.models.layers import recompute_blocks
from pipeline.models.stylegan3 import StyleGAN3
from pipeline.models.stylegan3.fourier import FourierInput
from pipeline.models.stylegan3.generator import Generator
from pipeline.models.stylegan3.layers import SynthesisLayer
from pipeline.models.stylegan3.plan import Row
from pipeline.models.stylegan3.shape import shape_of

SMALL = {"z_dim": 12, "w_dim": 10, "channel_base": 128, "channel_max": 8, "layers": 5}
ROUND = {"kernel": 1, "radial": True}
SPEC = ImageSpec(16, 16, 3)
variants = pytest.mark.parametrize("changes", [{}, ROUND], ids=["t", "r"])


def small(spec=SPEC, low_precision=None, seed=1, **changes) -> Generator:
    torch.manual_seed(seed)
    return Generator(shape_of(StyleGAN3Config(**{**SMALL, **changes}), spec, low_precision))


def size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def decibels(ours, theirs) -> float:
    """Peak signal-to-noise ratio of images whose values span 2 times the root mean square of `theirs`."""
    return float(10 * torch.log10(4 * theirs.square().mean() / (ours - theirs).square().mean()))


def move(*rows) -> torch.Tensor:
    return torch.tensor([*rows, [0, 0, 1]], dtype=torch.float64)


# ---- sizes


@pytest.mark.parametrize(("kernel", "base", "most"), [(3, 32768, 512), (1, 65536, 1024)], ids=["t", "r"])
def test_at_1024px_parameters_are_those_of_the_published_layers(kernel, base, most):
    cutoffs = [2 * 256 ** (min(i, 12) / 12) for i in range(14)]
    widths = [min(round(base / 2 / cutoff), most) for cutoff in cutoffs]
    counted = 2 * (512 * 512 + 512)  # mapping
    counted += widths[0] ** 2 + 4 * 512 + 4
    for inputs, outputs in zip([widths[0], *widths[:-1]], widths, strict=True):
        counted += kernel**2 * inputs * outputs + outputs + 512 * inputs + inputs
    counted += 3 * widths[-1] + 3 + 512 * widths[-1] + widths[-1]
    config = StyleGAN3Config(kernel=kernel, channel_base=base, channel_max=most)
    with torch.device("meta"):
        networks = StyleGAN3(config, ImageSpec(1024, 1024, 3), batch_size=4).networks()
    assert size(networks.generator) == counted
    assert size(networks.discriminator) == 29_012_513  # StyleGAN2's
    assert networks.generator.layers == 16


# ---- the input


def test_frequencies_fill_a_disc_evenly():
    torch.manual_seed(0)
    layer = FourierInput(Row(3.0, 6.0, 16, 20, 4096), 2)
    radius = layer.frequencies.norm(dim=1) / 3
    assert radius.max() < 1
    # Evenly: the share within radius r is r^2.
    for r in (0.3, 0.5, 0.8):
        assert (radius < r).float().mean() == pytest.approx(r * r, abs=0.03)
    assert layer.frequencies.mean(0).abs().max() < 0.1
    assert (layer.phases.min() > -0.5, layer.phases.max() < 0.5) == (True, True)
    assert set(dict(layer.named_buffers())) == {"frequencies", "phases"}


def test_waves_are_where_the_transform_says():
    """Pixel by pixel, by the definition: sin(2 pi (f (A x) + phase)), the learnt part before the user's."""
    torch.manual_seed(2)
    layer = FourierInput(Row(2.0, 4.0, 8, 6, 3), 5).double()
    assert not layer.affine.weight.any()
    layer.affine.weight.data.normal_()
    w, user = torch.randn(2, 5, dtype=torch.float64), move([0.8, -0.6, 0.1], [0.6, 0.8, -0.2])
    found = layer(w, user)
    for n, (cos, sin, x, y) in enumerate(layer.affine(w).tolist()):
        norm = math.hypot(cos, sin)
        cos, sin, x, y = cos / norm, sin / norm, x / norm, y / norm
        turn, shift = move([cos, -sin, 0], [sin, cos, 0]), move([1, 0, -x], [0, 1, -y])
        for i, j in ((0, 0), (2, 5)):
            place = torch.tensor([(j + 0.5 - 3) / 8, (i + 0.5 - 3) / 8, 1], dtype=torch.float64)
            at = (turn @ shift @ user @ place)[:2]
            waves = torch.sin(2 * math.pi * (layer.frequencies @ at + layer.phases))
            torch.testing.assert_close(found[n, :, i, j], layer.weight @ waves / 3**0.5)


def test_waves_that_the_rate_cannot_hold_fade_out():
    """From all of them at the cutoff to none at half the sampling rate, as the image is made smaller."""
    torch.manual_seed(3)
    layer = FourierInput(Row(2.0, 4.0, 8, 8, 1), 2).double()
    layer.frequencies.copy_(torch.tensor([[2.0, 0.0]]))
    w = torch.zeros(1, 2, dtype=torch.float64)
    sums = {
        scale: float(layer(w, move([scale, 0, 0], [0, 1, 0])).detach().square().mean())
        for scale in (1, 1.5, 2)
    }
    assert sums[2] == 0
    assert sums[1.5] == pytest.approx(sums[1] / 4, rel=0.2)


# ---- equivariance


@variants
def test_a_shift_of_the_input_by_whole_samples_shifts_the_image(changes):
    generator = small(**changes).double()
    z = torch.randn(2, 12, dtype=torch.float64)
    images = generator(z)
    shifted = generator(z, moves=move([1, 0, -3 / 16], [0, 1, 2 / 16]))
    # At -3 pixels to the right the input is what it was 3 pixels further left.
    assert decibels(shifted[:, :, :-2, 3:], images[:, :, 2:, :-3]) > 60


def test_a_quarter_turn_of_the_input_turns_the_image_of_config_r_alone():
    quarter = move([0, -1, 0], [1, 0, 0])
    found = []
    for changes in ({}, ROUND):
        generator = small(**changes).double()
        z = torch.randn(2, 12, dtype=torch.float64)
        # Place (x, y) shows what (-y, x) showed.
        found.append(decibels(generator(z, moves=quarter), generator(z).rot90(1, (2, 3))))
    assert found[0] < 30
    assert found[1] > 60


@variants
def test_a_move_of_nothing_is_none_and_moves_are_each_images_own(changes):
    generator = small(**changes)
    z = torch.randn(2, 12)
    both = torch.stack([torch.eye(3), move([1, 0, 0.2], [0, 1, 0]).float()])
    images = generator(z, moves=both)
    torch.testing.assert_close(images[:1], generator(z[:1]))
    torch.testing.assert_close(images[1:], generator(z[1:], moves=both[1]))
    assert not torch.allclose(images[1:], generator(z[1:]), atol=1e-3)


# ---- one layer


@variants
def test_a_layer_is_its_definition(changes):
    """Weights and styles of unit mean square, modulation, demodulation and only then the magnitude's gain, in
    a grouped convolution (Karras et al. 2021, appendix C)."""
    generator = small(**changes).double()
    layer = generator.synthesis.layers[1]
    assert isinstance(layer, SynthesisLayer)
    layer.magnitude.fill_(4.0)
    layer.bias.data.normal_()
    channels, side = layer.step.source.channels, layer.step.source.size
    x, w = torch.randn(2, channels, side, side).double(), torch.randn(2, 10).double()
    weight = layer.weight / layer.weight.square().mean((1, 2, 3), keepdim=True).sqrt()
    styles = layer.affine(w)
    styles = styles / styles.square().mean().sqrt()
    scaled = weight * styles[:, None, :, None, None]
    scaled = scaled / scaled.square().sum((2, 3, 4), keepdim=True).sqrt() / 2
    step = layer.step
    made = [F.conv2d(x[n : n + 1], scaled[n], padding=step.kernel - 1) for n in range(2)]
    y = torch.cat(made) + layer.bias[:, None, None]
    y = ops.upfirdn2d(y, layer.up_filter, up=step.up, padding=step.padding * 2, gain=step.up**2)
    y = ops.upfirdn2d(F.leaky_relu(y, 0.2) * 2**0.5, layer.down_filter, down=step.down)
    torch.testing.assert_close(layer(x, w, exact=True)[0], y)


def test_the_image_output_is_linear_and_not_demodulated():
    layer = small().double().synthesis.layers[-1]
    layer.magnitude.fill_(4.0)
    side = layer.step.source.size
    x, w = torch.randn(2, layer.step.source.channels, side, side).double(), torch.randn(2, 10).double()
    styles = layer.affine(w) / layer.step.source.channels**0.5
    expected = torch.einsum("nchw,nc,oc->nohw", x, styles, layer.weight[:, :, 0, 0]) / 2
    torch.testing.assert_close(layer(x, w, exact=True)[0], expected)


@variants
def test_measured_squares_are_those_of_each_layers_input(changes):
    generator = small(**changes)
    seen: list[float] = []
    for layer in generator.synthesis.layers:
        layer.register_forward_pre_hook(lambda _, inputs: seen.append(float(inputs[0].square().mean())))
    ws = torch.randn(2, generator.layers, 10)
    images, squares = generator.synthesis(ws, measure=True)
    assert squares.tolist() == pytest.approx(seen, rel=1e-5)
    again, none = generator.synthesis(ws)
    assert none is None
    assert torch.equal(again, images)
    assert [float(layer.magnitude) for layer in generator.synthesis.layers] == [1.0] * 6  # nothing moved


def test_an_image_does_not_depend_on_its_neighbours():
    generator = small()
    z = torch.randn(3, 12)
    torch.testing.assert_close(generator(z)[:1], generator(z[:1]), rtol=1e-5, atol=1e-5)


# ---- precision and memory


def test_low_precision_is_at_the_highest_rates():
    spec = ImageSpec(64, 64, 3)
    shape = shape_of(StyleGAN3Config(low_precision_levels=2), spec, torch.bfloat16)
    low = [shape.dtype(step) == torch.bfloat16 for step in shape.steps]
    assert low == [step.target.rate > 16 for step in shape.steps]
    assert [shape.clamp(step) for step in shape.steps] == [256.0 if each else None for each in low]
    whole = shape_of(StyleGAN3Config(low_precision_levels=2), spec, None)
    assert {whole.dtype(step) for step in whole.steps} == {torch.float32}
    assert {whole.clamp(step) for step in whole.steps} == {None}


@variants
def test_low_precision_is_near_and_leaves_in_float32(changes):
    generator = small(low_precision=torch.bfloat16, low_precision_levels=1, **changes)
    z = torch.randn(2, 12)
    images, exact = generator(z), generator(z, exact=True)
    assert images.dtype == torch.float32
    assert 20 < decibels(images, exact) < 80
    assert torch.equal(exact, small(**changes)(z, exact=True))


def test_recomputed_layers_give_the_same_gradients():
    gradients = []
    for again in (False, True):
        generator = small()
        assert not again or recompute_blocks(generator) == 6
        z = torch.randn(2, 12, generator=torch.Generator().manual_seed(5))
        generator(z).square().mean().backward()
        gradients.append([parameter.grad for parameter in generator.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


# ---- what is refused


@pytest.mark.parametrize(
    ("spec", "changes", "says"),
    [
        (ImageSpec(16, 32, 3), {}, "stylegan3 needs square images, not 32x16"),
        (ImageSpec(72, 72, 3), {}, "cannot make images of 72 pixels .* 4 to 7 times a power of two"),
        (SPEC, {"discriminator_channel_base": 8}, "discriminator_channel_base: 8 leaves .* at least 16"),
    ],
)
def test_images_it_cannot_make_are_refused(spec, changes, says):
    with pytest.raises(UserError, match=says):
        small(spec, **changes)


@pytest.mark.parametrize(("side", "channels"), [(20, 1), (24, 4), (28, 3)])
def test_other_sides_and_channels(side, channels):
    images = small(ImageSpec(side, side, channels))(torch.randn(1, 12))
    assert images.shape == (1, channels, side, side)

"""What translators are given: smaller images, holes, label maps; against other libraries and closed forms."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.special import j1

from pipeline.contracts import Batch, Field
from pipeline.models.translation.degradations import KERNEL, compressed, degraded, filtered
from pipeline.models.translation.given import FieldGiven
from pipeline.models.translation.holes import holes_for
from pipeline.models.translation.parts import parts_of
from pipeline.models.translation.resizing import FILTERS, resize_matrices, resized
from pipeline.models.translation.superres import Smaller, sharpened
from pipeline.randomness import SampleRandomness


def smooth(count: int, side: int, channels: int = 3) -> torch.Tensor:
    """Images in [0, 1] without the finest detail, as photographs are."""
    draws = torch.rand(count, channels, side // 4, side // 4, generator=torch.Generator().manual_seed(1))
    return F.interpolate(draws, size=(side, side), mode="bicubic").clamp(0, 1)


@pytest.mark.parametrize(("kind", "filter"), [(1, Image.Resampling.BILINEAR), (2, Image.Resampling.BICUBIC)])
@pytest.mark.parametrize("result", [13, 32, 45, 64])
def test_resizing_is_pillow_s(kind, filter, result):
    column = torch.rand(32, generator=torch.Generator().manual_seed(2))
    full = torch.full((1,), 32.0)
    matrix = resize_matrices(full, torch.full((1,), float(result)), 32, 64, torch.tensor([kind]))[0]
    picture = Image.fromarray(column.numpy()[None], mode="F").resize((result, 1), filter)
    torch.testing.assert_close(
        (matrix @ column)[:result], torch.from_numpy(np.array(picture))[0], rtol=1e-4, atol=1e-4
    )


@given(st.integers(4, 24), st.integers(4, 24), st.integers(0, FILTERS - 1))
def test_a_constant_stays_and_what_lies_beyond_repeats_the_last(size, result, kind):
    matrix = resize_matrices(
        torch.tensor([float(size)]), torch.tensor([float(result)]), 24, 30, torch.tensor([kind])
    )[0]
    torch.testing.assert_close(matrix.sum(1), torch.ones(30))
    assert torch.equal(matrix[result:], matrix[result - 1 : result].expand(30 - result, -1))
    assert not matrix[:, size:].any()


def test_each_image_is_resized_by_its_own_factor():
    images = smooth(2, 24)
    sizes, results = torch.tensor([24.0, 24.0]), torch.tensor([12.0, 18.0])
    kinds = torch.tensor([1, 2])
    matrices = resize_matrices(sizes, results, 24, 20, kinds)
    both = resized(images, matrices, matrices)
    for i in range(2):
        alone = resize_matrices(sizes[i : i + 1], results[i : i + 1], 24, 20, kinds[i : i + 1])
        torch.testing.assert_close(both[i : i + 1], resized(images[i : i + 1], alone, alone))


@pytest.mark.parametrize("quality", [30, 60, 95])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_compression_leaves_what_jpeg_leaves(quality, mode):
    """Against libjpeg, which rounds otherwise on its way: far less differs than is lost."""
    pixels = (smooth(1, 48, 3 if mode == "RGB" else 1)[0] * 255).round().byte()
    picture = Image.fromarray(
        pixels.permute(1, 2, 0).squeeze(2).numpy() if mode == "L" else pixels.permute(1, 2, 0).numpy()
    )
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality, subsampling=2)
    theirs = torch.from_numpy(np.array(Image.open(file))).float().reshape(48, 48, -1).permute(2, 0, 1)
    ours = compressed(pixels[None].float() / 255, torch.tensor([float(quality)]))[0] * 255
    lost = (theirs - pixels.float()).abs().mean()
    assert (ours - theirs).abs().mean() < 0.3 * max(float(lost), 1)


def test_filters_are_each_image_s_own():
    images = smooth(2, 16)
    kernels = torch.zeros(2, KERNEL, KERNEL)
    kernels[0, KERNEL // 2, KERNEL // 2] = 1
    kernels[1, KERNEL // 2, KERNEL // 2 + 1] = 1  # to the left by one
    made = filtered(images, kernels)
    torch.testing.assert_close(made[0], images[0])
    torch.testing.assert_close(made[1, :, :, :-1], images[1, :, :, 1:])


def test_ringing_is_a_circular_low_pass():
    """By another Bessel function; the sum of its values is that of the ideal filter, 1."""
    from pipeline.models.translation.degradations import _sinc

    (kernel,) = _sinc(SampleRandomness([3]))
    draw = float(SampleRandomness([3]).uniform())
    cutoff = np.pi / 3 + draw * (np.pi - np.pi / 3)
    y, x = np.mgrid[:KERNEL, :KERNEL] - KERNEL // 2
    r = np.hypot(y, x)
    r[KERNEL // 2, KERNEL // 2] = 1
    expected = cutoff * j1(cutoff * r) / (2 * np.pi * r)
    expected[KERNEL // 2, KERNEL // 2] = cutoff**2 / (4 * np.pi)
    torch.testing.assert_close(
        kernel, torch.from_numpy(expected / expected.sum()).float(), rtol=1e-4, atol=1e-5
    )


def test_a_degraded_image_depends_on_its_own_numbers_alone():
    images = smooth(4, 32) * 2 - 1
    whole = degraded(images, 4, SampleRandomness(range(4)))
    assert whole.shape == (4, 3, 8, 8)
    assert torch.isfinite(whole).all()
    assert torch.equal(((whole + 1) * 127.5).round() / 127.5 - 1, whole)
    for start in (0, 1):
        part = degraded(images[start::2], 4, SampleRandomness(range(start, 4, 2)))
        torch.testing.assert_close(part, whole[start::2], rtol=1e-4, atol=2 / 127)
    again = degraded(images[:1].expand(4, -1, -1, -1), 4, SampleRandomness(range(4)))
    assert len({image.numpy().tobytes() for image in again}) == 4


def test_small_images_are_of_the_images_themselves():
    """A bicubic one follows the means of squares; a degraded one as well, more roughly."""
    images = smooth(16, 32) * 2 - 1
    means = F.avg_pool2d(images, 4)
    plain = Smaller(3, 4, real=False).inputs(Batch(images), SampleRandomness(range(16)))
    rough = Smaller(3, 4, real=True).inputs(Batch(images), SampleRandomness(range(16)))
    assert (plain - means).abs().mean() < 0.06
    assert (plain - means).abs().mean() < (rough - means).abs().mean() < 0.4


def test_sharpening_makes_edges_steeper_and_leaves_even_places():
    step = torch.full((1, 1, 64, 64), -0.4)
    step[..., 32:] = 0.4
    made = sharpened(step)
    assert (made[..., 33] > 0.45).all()
    assert (made[..., 30] < -0.45).all()
    flat = torch.full((1, 3, 64, 64), 0.2)
    torch.testing.assert_close(sharpened(flat), flat)


@pytest.mark.parametrize("kind", ["centre", "boxes", "strokes", "mixed"])
def test_holes_are_each_image_s_own_and_leave_something(kind):
    holes = holes_for(kind, 24, 32, SampleRandomness(range(200)))
    assert holes.shape == (200, 1, 24, 32)
    assert set(holes.unique().tolist()) == {0.0, 1.0}
    share = holes.mean(dim=(1, 2, 3))
    assert (share < 1).all()
    assert 0.05 < share.mean() < 0.6
    if kind == "centre":
        torch.testing.assert_close(share, torch.full((200,), 0.25))
        return
    assert len({hole.numpy().tobytes() for hole in holes}) > 190
    assert torch.equal(holes_for(kind, 24, 32, SampleRandomness(range(7, 9))), holes[7:9])
    # No place is always known, and none always hidden.
    often = holes.mean(0)
    assert often[:, 2:-2, 2:-2].min() > 0
    assert often.max() < 1


def test_label_maps_become_a_channel_a_code_and_borders():
    field = Field("map", "mask", (3, 4))
    codes = torch.tensor([[[[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 2, 2]]]], dtype=torch.uint8)
    made = FieldGiven(field, 3, edges=True).taken(codes)
    assert made.shape == (1, 4, 3, 4)
    assert torch.equal(made[:, :3].argmax(1, keepdim=True), codes.long())
    assert torch.equal(made[:, :3].sum(1), torch.ones(1, 3, 4))
    assert made[0, 3].tolist() == [[0, 1, 1, 0], [1, 1, 1, 1], [1, 1, 1, 1]]


def test_parts_are_squares_of_their_images():
    images = torch.arange(2 * 6 * 7, dtype=torch.float32).view(2, 1, 6, 7)
    parts = parts_of(images, 3, SampleRandomness([1, 2]))
    for image, part in zip(images, parts, strict=True):
        first = int(part[0, 0, 0]) - int(image[0, 0, 0])
        row, column = divmod(first, 7)
        assert torch.equal(part, image[:, row : row + 3, column : column + 3])

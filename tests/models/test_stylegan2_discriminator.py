"""StyleGAN2's discriminator: minibatch statistics, projection of labels, and what penalties reach."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from pipeline.config.families import StyleGAN2Config
from pipeline.contracts import ImageSpec
from pipeline.errors import UserError
from pipeline.models.registry import build_family
from tests.small_stylegan2 import TINY, game_of, reals, tiny

LABELLED = ImageSpec(16, 16, 3, 4)


def features(discriminator: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """What the last layer puts out, before any label has a say, [N, label_dim]."""
    seen = []
    handle = discriminator.head.register_forward_hook(lambda _m, _a, y: seen.append(y))
    discriminator(images, labels)
    handle.remove()
    return seen[0]


def test_labels_are_projected():
    """Miyato and Koyama 2018, eq. 3: a dot product with the label's vector, over its length's root."""
    _, networks = tiny(LABELLED)
    d = networks.discriminator
    images, labels = reals(LABELLED).images, torch.tensor([0, 3, 1, 2, 2, 1, 3, 0])
    out = features(d, images, labels)
    torch.testing.assert_close(out, features(d, images, labels.flip(0)))  # blind to labels
    vectors = d.mapping(None, labels)
    assert vectors.shape == out.shape == (8, 16)
    expected = torch.stack([a.dot(b) for a, b in zip(out, vectors, strict=True)]) / math.sqrt(16)
    torch.testing.assert_close(d(images, labels), expected)


def test_the_label_vectors_have_unit_mean_square_going_in():
    _, networks = tiny(LABELLED)
    seen = []
    networks.discriminator.mapping.layers[0].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    networks.discriminator(reals(LABELLED).images, torch.arange(8) % 4)
    torch.testing.assert_close(seen[0].square().mean(1), torch.ones(8), rtol=1e-4, atol=0)


def test_without_classes_labels_are_ignored():
    _, networks = tiny()
    images = reals(ImageSpec(16, 16, 3)).images
    assert torch.equal(networks.discriminator(images, torch.arange(8)), networks.discriminator(images))


@pytest.mark.parametrize("group", [2, 4])
@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("classes", [0, 4])
def test_logits_do_not_depend_on_how_a_batch_is_dealt(group, ranks, classes):
    """Ranks hold samples r::W; the strided groups are those of the whole batch."""
    spec = ImageSpec(16, 16, 3, classes)
    _, networks = tiny(spec, minibatch_stddev_group=group)
    batch = reals(spec, 8)
    whole = networks.discriminator(batch.images, batch.labels)
    for rank in range(ranks):
        labels = None if batch.labels is None else batch.labels[rank::ranks]
        part = networks.discriminator(batch.images[rank::ranks], labels)
        torch.testing.assert_close(part, whole[rank::ranks], rtol=1e-4, atol=1e-5)


def test_minibatch_statistics_see_the_group_and_nothing_else():
    """Groups of 8 images by 4: 0 2 4 6 and 1 3 5 7."""
    _, networks = tiny(minibatch_stddev_group=4)
    images = reals(ImageSpec(16, 16, 3)).images
    before = networks.discriminator(images)
    images[2] = -images[2]
    moved = (networks.discriminator(images) - before).abs() > 1e-6
    assert moved.tolist() == [True, False, True, False, True, False, True, False]


def test_without_minibatch_statistics_images_are_judged_alone():
    _, networks = tiny(minibatch_stddev_channels=0)
    images = reals(ImageSpec(16, 16, 3)).images
    alone = torch.cat([networks.discriminator(image[None]) for image in images])  # a batch of 1 is allowed
    torch.testing.assert_close(networks.discriminator(images), alone, rtol=1e-4, atol=1e-5)


def test_statistics_maps_that_do_not_fit_the_channels_are_refused_before_work_starts():
    config = StyleGAN2Config(**{**TINY, "minibatch_stddev_channels": 3})
    with pytest.raises(UserError, match=r"family\.minibatch_stddev_channels: 3 does not divide the 16 chan"):
        build_family(config, ImageSpec(16, 16, 3), batch_size=8)


@pytest.mark.parametrize("architecture", ["skip", "residual"])
def test_the_smallest_images_need_no_blocks(architecture):
    spec = ImageSpec(4, 4, 1)
    _, networks = tiny(spec, generator_architecture=architecture, discriminator_architecture=architecture)
    images = networks.generator(torch.randn(4, 12))
    assert images.shape == (4, 1, 4, 4)
    assert networks.discriminator(images).unique().numel() == 4


def test_skip_networks_show_each_level_a_filtered_image():
    """Half the size by taps 1 3 3 1, twice; not by dropping pixels."""
    _, networks = tiny(discriminator_architecture="skip")
    d, image = networks.discriminator, reals(ImageSpec(16, 16, 3)).images
    seen = []
    for part in (*d.blocks, d.head):
        part.from_image.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    d(image)
    taps = torch.tensor([1.0, 3, 3, 1]) / 8
    blur = (taps[:, None] * taps).expand(3, 1, 4, 4)
    assert len(seen) == 3
    for shown in seen:
        torch.testing.assert_close(shown, image)
        image = F.conv2d(image, blur, stride=2, padding=1, groups=3)


def test_residual_blocks_add_two_branches_of_half_the_power():
    """Each over root 2, in both networks, so that the sum has the variance of one."""
    _, networks = tiny(generator_architecture="residual", discriminator_architecture="residual")
    x, ws, root = torch.randn(2, 16, 8, 8), torch.randn(2, 3, 10), math.sqrt(2)
    block = networks.discriminator.blocks[0]
    got, _ = block(x, None, exact=True)
    expected = (block.skip(x) + block.conv1(block.conv0(x))) / root
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
    block = networks.generator.synthesis.blocks[-1]
    got, _ = block(x, None, ws, [None, None], exact=True)
    inner = block.convs[1](block.convs[0](x, ws[:, 0], None), ws[:, 1], None)
    torch.testing.assert_close(got, (block.skip(x) + inner) / root, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("classes", [0, 4])
@pytest.mark.parametrize("architecture", ["skip", "residual"])
def test_penalties_reach_all_but_what_adds_a_constant(classes, architecture):
    """What merely adds to the value has no part in its derivative.

    R1: leaky ReLUs are linear almost everywhere, so biases matter only through the minibatch deviation; those
    behind it do not. Path length: every style multiplies all that came before it; only the biases of image
    outputs are beyond the last.
    """
    spec = ImageSpec(16, 16, 3, classes)
    family, networks = tiny(
        spec,
        generator_architecture=architecture,
        discriminator_architecture=architecture,
        style_mixing=0,
    )
    missed = {}
    for phase in family.phases:
        if phase.every == 1:
            continue
        phase.objective(game_of(family, networks), reals(spec)).loss.mean().backward()
        missed[phase.name] = {
            name
            for name, p in networks[phase.trains].named_parameters()
            if p.grad is None or not p.grad.abs().sum() > 0
        }
    outputs = {name for name, _ in networks.generator.named_parameters() if name.endswith("to_image.bias")}
    assert missed == {
        "path_length": outputs,
        "r1": {f"head.{part}.bias" for part in ("conv", "dense", "out")},
    }

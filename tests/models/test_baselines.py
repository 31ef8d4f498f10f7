"""DCGAN and the fully connected GAN: their networks against plain PyTorch, and how labels reach them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.config.families import DCGANConfig, MLPConfig
from pipeline.contracts import ImageSpec
from pipeline.errors import UserError
from pipeline.models.dcgan import DCGAN
from pipeline.models.mlp import MLP
from tests.tiny_families import BATCH, DIGITS, seeded_networks, tiny_family, tiny_game, tiny_trainer

KINDS = ("projection", "embedding", "classifier")
each_baseline = pytest.mark.parametrize("name", ["dcgan", "mlp"])
each_kind = pytest.mark.parametrize("kind", KINDS)


def norm(x: Tensor, layer: nn.Module) -> Tensor:
    """Batch normalisation of the batch, by torch."""
    return F.batch_norm(x, None, None, layer.gain, layer.bias, training=True, eps=1e-5)


# ---- DCGAN


@pytest.mark.parametrize("side", [8, 16, 32])
def test_dcgans_generator_is_the_papers(side):
    family = DCGAN(DCGANConfig(z_dim=5, generator_channels=4), ImageSpec(side, side, 3), batch_size=4)
    generator = seeded_networks(family).generator
    z = torch.randn(4, 5)
    x = F.linear(z, generator.project.weight).view(4, -1, 4, 4)
    for place, conv in enumerate(generator.convs):
        x = F.relu(norm(x, generator.norms[place]))
        x = F.conv_transpose2d(x, conv.weight, conv.bias, stride=2, padding=1)
    assert x.shape == (4, 3, side, side)
    torch.testing.assert_close(generator(z, None), torch.tanh(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("side", [8, 16, 32])
def test_dcgans_discriminator_is_the_papers(side):
    family = DCGAN(DCGANConfig(discriminator_channels=4), ImageSpec(side, side, 3), batch_size=4)
    judge = seeded_networks(family).discriminator
    images = torch.randn(4, 3, side, side)
    x = images
    for place, conv in enumerate(judge.convs):
        x = F.conv2d(x, conv.weight, conv.bias, stride=2, padding=1)
        x = F.leaky_relu(norm(x, judge.norms[place - 1]) if place else x, 0.2)
    assert x.shape[2:] == (4, 4)
    expected = F.linear(x.flatten(1), judge.head.out.weight, judge.head.out.bias).squeeze(1)
    torch.testing.assert_close(judge(images, None).logits, expected, rtol=1e-4, atol=1e-5)


def test_dcgan_at_64_pixels_has_the_papers_channels():
    """Figure 1: 1024 channels at 4 pixels, halved with each doubling."""
    networks = seeded_networks(DCGAN(DCGANConfig(), ImageSpec(64, 64, 3), batch_size=4))
    generator, judge = networks.generator, networks.discriminator
    assert [conv.weight.shape[0] for conv in generator.convs] == [1024, 512, 256, 128]
    assert [conv.weight.shape[0] for conv in judge.convs] == [64, 128, 256, 512]
    assert generator.project.weight.shape == (1024 * 16, 100)
    assert len(generator.norms) == 4  # not on the output
    assert len(judge.norms) == 3  # not on the input
    for network in (generator, judge):
        for name, parameter in network.named_parameters():
            if parameter.ndim > 1 and parameter.numel() > 5000:
                assert float(parameter.detach().std()) == pytest.approx(0.02, rel=0.05), name
            if "norms" in name and name.endswith("gain"):
                assert float(parameter.detach().mean()) == pytest.approx(1, abs=0.02), name
                assert 0.01 < float(parameter.detach().std()) < 0.03, name
    config = DCGANConfig()
    assert (config.generator_rate, config.discriminator_rate) == (0.0002, 0.0002)
    assert (config.adam_beta1, config.adam_beta2, config.z_dim) == (0.5, 0.999, 100)


@pytest.mark.parametrize("spec", [ImageSpec(9, 16, 3), ImageSpec(22, 22, 3), ImageSpec(4, 4, 1)])
def test_dcgan_refuses_images_it_cannot_make(spec):
    with pytest.raises(
        UserError,
        match=r"dcgan cannot make images of .*; allowed: at least once doubled sides of 4 to 7 pixels",
    ):
        DCGAN(DCGANConfig(), spec, batch_size=4)


def test_dcgans_running_moments_follow_the_batches_and_samples_use_them():
    trainer = tiny_trainer(tiny_family("dcgan"))
    before = {k: v.clone() for k, v in trainer.networks.generator.named_buffers()}
    trainer.step()
    after = dict(trainer.networks.generator.named_buffers())
    assert before
    assert all(not torch.equal(before[key], after[key]) for key in before)
    kept = {k: v.clone() for k, v in trainer.averager.average.named_buffers()}
    trainer.family.sampler(trainer.averager.average).draw([1, 2, 3])
    assert all(torch.equal(kept[k], v) for k, v in trainer.averager.average.named_buffers())
    assert all(torch.equal(kept[key], after[key]) for key in kept)  # copied, not averaged


# ---- fully connected


@pytest.mark.parametrize(
    "spec", [ImageSpec(1, 1, 2), ImageSpec(5, 7, 1), ImageSpec(3, 2, 3), ImageSpec(8, 8, 2)]
)
def test_mlp_is_plain_layers_for_any_shape(spec):
    family = MLP(MLPConfig(z_dim=6, width=9, layers=2), spec, batch_size=4)
    networks = seeded_networks(family)
    z = torch.randn(4, 6)
    images = networks.generator(z, None)
    assert images.shape == (4, spec.channels, spec.height, spec.width)
    torch.testing.assert_close(images, torch.tanh(layers(networks.generator, z, 3)).view_as(images))
    shown = torch.randn_like(images)
    expected = layers(networks.discriminator, shown.flatten(1), 3).squeeze(1)
    torch.testing.assert_close(networks.discriminator(shown, None).logits, expected)


def layers(network: nn.Module, x: Tensor, count: int) -> Tensor:
    """`count` linear layers from a network's weights and biases, leaky ReLU between them."""
    tensors = list(network.parameters())
    assert len(tensors) == 2 * count
    for place, (weight, bias) in enumerate(zip(tensors[::2], tensors[1::2], strict=True)):
        x = F.linear(F.leaky_relu(x, 0.2) if place else x, weight, bias)
    return x


def test_what_ends_the_mlps_generator_says_how_far_it_reaches():
    spec, z = ImageSpec(1, 1, 2), 50 * torch.randn(64, 64)
    bounded = seeded_networks(MLP(MLPConfig(), spec, batch_size=4)).generator(z, None)
    free = seeded_networks(MLP(MLPConfig(output="linear"), spec, batch_size=4)).generator(z, None)
    assert bounded.abs().max() <= 1
    assert free.abs().max() > 1
    torch.testing.assert_close(torch.tanh(free), bounded)  # the same weights


# ---- labels


@each_baseline
@each_kind
def test_gradients_reach_every_parameter_however_labels_enter(name, kind):
    family = tiny_family(name, conditioning=kind)
    networks = seeded_networks(family)
    game = tiny_game(family, networks)
    reals = tiny_trainer(family).stream.draw(BATCH)[0]
    for net, network in networks.items():
        loss = sum(p.objective(game, reals).loss.mean() for p in family.phases if p.trains == net)
        grads = torch.autograd.grad(loss, list(network.parameters()), allow_unused=True)
        for (key, _), grad in zip(network.named_parameters(), grads, strict=True):
            assert grad is not None, key
            assert grad.abs().max() > 0, key


@each_baseline
@each_kind
def test_the_judgement_is_of_image_and_label_together(name, kind):
    """D(x, a) - D(x, b) - D(y, a) + D(y, b) is zero for any sum of a term of the image and one of the label:
    such a judge cannot tell whether they agree. The classifier's logit knows no labels at all."""
    family = tiny_family(name, conditioning=kind)
    judge = seeded_networks(family).discriminator.double()
    images = torch.randn(2, 1, 8, 8, dtype=torch.float64)
    one, other = (torch.full((2,), label) for label in (3, 7))
    a, b = judge(images, one), judge(images, other)
    mixed = (a.logits - b.logits)[0] - (a.logits - b.logits)[1]
    if kind == "classifier":
        assert torch.equal(a.logits, b.logits)
        assert a.classes.shape == (2, DIGITS.classes)
    else:
        assert abs(float(mixed.detach())) > 1e-9
        assert a.classes is None


@each_baseline
def test_projection_is_the_product_of_features_and_embedding(name):
    judge = seeded_networks(tiny_family(name, conditioning="projection")).discriminator
    seen: list[Tensor] = []
    judge.head.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    images, labels = torch.randn(3, 1, 8, 8), torch.tensor([4, 0, 9])
    logits = judge(images, labels).logits
    x, head = seen[0], judge.head
    expected = x @ head.out.weight[0] + head.out.bias
    expected = expected + torch.stack(
        [row @ head.projected.weight[c] for row, c in zip(x, labels, strict=True)]
    )
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-6)


@each_baseline
def test_labels_matter_to_a_fresh_generator_about_as_much_as_z(name):
    """Else classes are learnt late."""
    generator = seeded_networks(tiny_family(name)).generator.eval()
    z, labels = torch.randn(64, 12), torch.arange(64) % 10
    with torch.no_grad():
        base = generator(z, labels)
        by_label = (generator(z, (labels + 1) % 10) - base).square().mean()
        by_z = (generator(torch.randn(64, 12), labels) - base).square().mean()
    assert 0.1 < float(by_label / by_z) < 10


def test_the_discriminators_repeats_are_updates_and_images():
    trainer = tiny_trainer(tiny_family("mlp", discriminator_repeats=3))
    for _ in range(2):
        trainer.step()
    state = trainer.engine.optimizer_state()
    steps = {
        net: {float(v) for k, v in state.items() if k.startswith(net) and k.endswith(".step")}
        for net in ("generator", "discriminator")
    }
    assert steps == {"generator": {2.0}, "discriminator": {6.0}}
    assert trainer.progress.images_seen == 2 * 3 * BATCH

"""From z and label to the w of each layer: mapping, mixing, truncation, the running mean."""

from __future__ import annotations

import math

import pytest
import torch

from pipeline.contracts import ImageSpec, Process
from pipeline.engines.replicated import Replicated
from pipeline.models.layers import ModulatedConv2d, ToImage
from pipeline.models.stylegan2.mapping import MappingNetwork
from pipeline.randomness import SampleRandomness
from pipeline.training.trainer import Trainer
from tests.small_stylegan2 import game_of, reals, tiny


def unit(x: torch.Tensor) -> torch.Tensor:
    """Each row with mean square 1."""
    return x / x.norm(dim=1, keepdim=True) * math.sqrt(x.shape[1])


def written_out(mapping: MappingNetwork, z: torch.Tensor | None, labels: torch.Tensor | None) -> torch.Tensor:
    """MappingNetwork with 8 layers, rate .01, embedding at rate 1 (Karras et al. 2019, section 2)."""
    parts = [] if z is None else [unit(z)]
    if mapping.embed is not None:
        width = mapping.embed.weight.shape[1]
        parts.append(unit(mapping.embed.weight.T[labels] / math.sqrt(width) + mapping.embed.bias))
    x = torch.cat(parts, dim=1)
    for layer in mapping.layers:
        y = 0.01 * (x @ layer.weight.T / math.sqrt(x.shape[1]) + layer.bias)
        x = math.sqrt(2) * torch.where(y > 0, y, 0.2 * y)
    return x


@pytest.mark.parametrize(("z_dim", "classes"), [(12, 0), (12, 3), (0, 3)])
def test_mapping_is_its_formula(z_dim, classes):
    torch.manual_seed(0)
    mapping = MappingNetwork(z_dim=z_dim, classes=classes, w_dim=10, layers=8)
    for parameter in mapping.parameters():
        parameter.data += torch.randn_like(parameter)  # biases away from zero
    z = 5 * torch.randn(6, z_dim) if z_dim else None
    labels = torch.arange(6) % 3 if classes else None
    expected = written_out(mapping, z, labels)
    torch.testing.assert_close(mapping(z, labels), expected, rtol=1e-4, atol=1e-5)


def test_w_has_about_unit_size_at_the_start():
    torch.manual_seed(0)
    w = MappingNetwork(z_dim=512, classes=0, w_dim=512, layers=8)(torch.randn(256, 512), None)
    assert 0.5 < w.square().mean() < 2  # 1.04^8 = 1.37 expected


def test_the_size_of_an_embedding_does_not_matter():
    torch.manual_seed(0)
    mapping = MappingNetwork(z_dim=4, classes=3, w_dim=10, layers=2)
    z, labels = torch.randn(3, 4), torch.arange(3)
    before = mapping(z, labels)
    mapping.embed.weight.data *= 40
    torch.testing.assert_close(mapping(z, labels), before, rtol=1e-4, atol=1e-5)


def test_a_conditional_mapping_without_labels_says_so():
    with pytest.raises(ValueError, match="conditional: it needs labels"):
        MappingNetwork(z_dim=4, classes=3, w_dim=10, layers=2)(torch.randn(3, 4), None)


@pytest.mark.parametrize("classes", [0, 3])
def test_mixing_takes_exactly_two_latents(classes):
    """Layers before the cutoff have w of the first z, the rest w of the second, both of the same label."""
    family, networks = tiny(ImageSpec(16, 16, 3, classes), style_mixing=1.0)
    mapping = networks.generator.mapping
    fakes = game_of(family, networks, 40).generate(40)
    streams = SampleRandomness(range(40))
    z = streams.normal(12)
    labels = streams.integers(classes) if classes else None
    first, second = mapping(z, labels), mapping(streams.normal(12), labels)
    cutoffs = streams.integers(5) + 1
    if classes:
        assert torch.equal(fakes.labels, labels)
    for ws, a, b, cutoff in zip(fakes.latents, first, second, cutoffs.tolist(), strict=True):
        torch.testing.assert_close(ws[:cutoff], a.expand(cutoff, -1), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(ws[cutoff:], b.expand(6 - cutoff, -1), rtol=1e-4, atol=1e-5)


def test_fakes_latents_are_those_the_images_were_made_from():
    family, networks = tiny(style_mixing=1.0)
    fakes = game_of(family, networks, 4).generate(4)
    images = networks.generator.synthesis(fakes.latents, "none")  # noise has no strength yet
    torch.testing.assert_close(fakes.images, images)
    (gradient,) = torch.autograd.grad(fakes.images.square().sum(), fakes.latents)
    assert gradient.shape == (4, 6, 10)
    assert (gradient.abs().sum(2) > 0).all()  # every layer's w is used


def test_each_layer_takes_its_own_w():
    """Figure 7: an image output shares its w with the first layer of the next resolution."""
    _, networks = tiny()
    ws = torch.randn(1, 6, 10)
    seen: list[torch.Tensor] = []
    for module in networks.generator.synthesis.modules():
        if isinstance(module, ModulatedConv2d | ToImage):
            module.affine.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    networks.generator.synthesis(ws)
    places = [0, 1, 1, 2, 3, 3, 4, 5]  # 4px: one layer and image; 8px, 16px: two and image
    assert len(seen) == len(places)
    for got, place in zip(seen, places, strict=True):
        assert torch.equal(got, ws[:, place])


def test_truncation_to_zero_is_one_image_for_every_z():
    _, networks = tiny()
    generator = networks.generator
    generator.mapping.w_avg.normal_()
    images = generator(torch.randn(3, 12), truncation=0.0)
    middle = generator.synthesis(generator.mapping.w_avg.expand(1, 6, -1)).expand(3, -1, -1, -1)
    torch.testing.assert_close(images, middle, rtol=1e-4, atol=1e-5)


def three_steps(micro: int | None) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """w_avg after three steps of a generator that hardly learns, and each w the mapping made meanwhile."""
    family, networks = tiny(w_avg_decay=0.9, generator_rate=1e-12, path_length_weight=0)
    engine = Replicated(Process())
    engine.attach(networks, family.optimizers)
    trainer = Trainer(family, networks, engine, _Same(family.spec), seed=3, micro=micro)
    made: list[torch.Tensor] = []
    mapping = networks.generator.mapping
    mapping.register_forward_hook(lambda _m, _a, w: made.append(w.detach()))
    for _ in range(3):
        trainer.step()
    return mapping.w_avg, made


def test_w_avg_follows_the_discriminators_turns_once_a_step():
    w_avg, made = three_steps(None)
    assert [len(w) for w in made] == [16] * 6  # a step: the generator's turn, the discriminator's; z and mate
    expected = torch.zeros(10)
    for w in made[1::2]:
        expected = 0.9 * expected + 0.1 * w[:8].mean(0)  # mates do not count
    torch.testing.assert_close(w_avg, expected, rtol=1e-4, atol=1e-6)


def test_w_avg_does_not_depend_on_micro_batches():
    torch.testing.assert_close(three_steps(4)[0], three_steps(None)[0], rtol=1e-4, atol=1e-6)


class _Same:
    """The same reals for ever."""

    damaged = retries = 0

    def __init__(self, spec):
        self.batch = reals(spec)

    def draw(self, batch_size, times=1, *, resolution=None):
        return [self.batch] * times

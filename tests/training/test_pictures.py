"""The strip of an interpolation, in every family; grids of samples and of translations."""

from __future__ import annotations

import pytest
import torch

from pipeline.contracts import ImageSpec, Sampler, Translator, TwoWay
from pipeline.latents import LatentSpace
from pipeline.training.pictures import draw_grid, draw_strip, draw_translations
from tests.tiny_families import ALONE, DIGITS, GIVEN, PLAIN, TINY, DigitStream, seeded_networks, tiny_family


def sampler_of(name: str, spec: ImageSpec) -> Sampler:
    family = tiny_family(name, spec)
    return family.sampler(seeded_networks(family).generator.eval())


@pytest.mark.parametrize("name", sorted(set(TINY) - set(GIVEN) - set(ALONE)))
@pytest.mark.parametrize("spec", [DIGITS, PLAIN], ids=["classes", "plain"])
def test_a_strip_goes_from_the_first_sample_to_the_second_in_even_turns(name: str, spec: ImageSpec) -> None:
    sampler = sampler_of(name, spec)
    assert isinstance(sampler, LatentSpace)
    classes = sampler.classes
    strip = draw_strip(sampler, 5)
    ends = sampler.draw((0, 1), classes=(0, 0) if classes else None).images
    torch.testing.assert_close(strip[[0, -1]], ends, rtol=1e-4, atol=1e-4)
    z, labels = sampler.latents((0, 1), classes=(0, 0) if classes else None)
    units = z / z.norm(dim=1, keepdim=True)
    middle = torch.nn.functional.normalize(units.sum(0), dim=0) * z.norm(dim=1).mean()  # halves the angle
    known = None if labels is None else labels[:1]
    with torch.no_grad():
        expected = sampler.synthesise(sampler.map(middle[None], known))
    torch.testing.assert_close(strip[2:3], expected, rtol=1e-3, atol=1e-3)


def test_a_grid_has_the_samples_of_the_first_seeds() -> None:
    sampler = sampler_of("stylegan2", PLAIN)
    grid = draw_grid(sampler, 11, 0)
    assert torch.equal(grid, torch.cat([sampler.draw([seed]).images for seed in range(11)]))


@pytest.mark.parametrize("name", ["cyclegan", "superres"])
def test_beside_a_translation_stands_what_was_to_be_made_or_the_way_back(name: str) -> None:
    family = tiny_family(name, PLAIN)
    sampler = family.sampler(seeded_networks(family).generator.eval())
    assert isinstance(sampler, Translator)
    (given,) = DigitStream(family.spec).draw(3)
    shown = draw_translations(sampler, given).unflatten(0, (3, 3))
    made = sampler.draw_given(given, range(3)).images
    assert torch.equal(shown[:, 1], made)
    if isinstance(sampler, TwoWay):
        assert torch.equal(shown[:, 2], sampler.back().translate(made, range(3)))
    else:
        assert torch.equal(shown[:, 2], given.images)
    assert isinstance(sampler, TwoWay) == (name == "cyclegan")

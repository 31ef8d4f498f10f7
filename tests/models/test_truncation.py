"""Truncation keeps the class: what it pulls towards, and that labels say it."""

from __future__ import annotations

import pytest
import torch

from pipeline.generation.request import Request
from pipeline.models.registry import FAMILIES
from pipeline.storage.snapshots import Snapshot
from tests.models.test_every_family import stir
from tests.tiny_families import (
    ALONE,
    DIGITS,
    GIVEN,
    PLAIN,
    WITHOUT_CLASSES,
    seeded_networks,
    tiny_family,
)


def sampler_of(name: str, spec=DIGITS):
    family = tiny_family(name, spec)
    networks = seeded_networks(family)
    stir(networks)
    return family.sampler(networks.generator.eval().requires_grad_(False))


TRUNCATING = [
    name for name in sorted(set(FAMILIES) - {*WITHOUT_CLASSES, *GIVEN, *ALONE}) if sampler_of(name).truncates
]


@pytest.mark.parametrize("name", TRUNCATING)
def test_the_average_image_is_one_of_its_class(name):
    """At psi 0 all images of a class are one, and those of ten classes ten; labels are those of psi 1."""
    sampler, seeds = sampler_of(name), range(20)
    labels = [seed % 10 for seed in seeds]
    fakes = sampler.draw(seeds, classes=labels, truncation=0.0)
    assert fakes.labels.tolist() == labels
    assert torch.equal(fakes.images[:10], fakes.images[10:])
    apart = torch.cdist(fakes.images[:10].flatten(1), fakes.images[:10].flatten(1)) + torch.eye(10)
    assert apart.min() > 1e-4
    drawn, pulled = (sampler.draw(seeds, truncation=psi) for psi in (1.0, 0.3))
    assert torch.equal(drawn.labels, pulled.labels)
    assert torch.equal(
        sampler.draw(seeds, classes=drawn.labels.tolist(), truncation=0.3).images, pulled.images
    )


def test_the_mean_of_a_class_is_that_of_w():
    """Against other latents, within five of their standard errors; the mean of all classes is far off."""
    sampler = sampler_of("stylegan2")
    z = torch.randn(20_000, sampler.generator.z_dim, generator=torch.Generator().manual_seed(9))
    for label in (0, 7):
        w = sampler.generator.mapping(z, torch.full((len(z),), label)).double()
        error = w.std(0) * (1 / 4096 + 1 / len(z)) ** 0.5
        assert ((sampler.class_mean(label) - w.mean(0)).abs() < 5 * error).all()
    means = torch.stack([sampler.class_mean(label) for label in range(10)])
    assert (means - means.mean(0)).norm(dim=1).min() > 20 * error.norm()


def test_w_is_pulled_along_the_line_to_the_mean_of_its_class():
    sampler = sampler_of("stylegan2")
    labels = [3, 0, 3, 9]
    w = sampler.draw(range(4), classes=labels).latents
    means = torch.stack([sampler.class_mean(label) for label in labels])[:, None]
    for psi in (0.0, 0.5, -1.0, 1.5):
        pulled = sampler.draw(range(4), classes=labels, truncation=psi).latents
        torch.testing.assert_close(pulled, means + psi * (w - means), rtol=1e-4, atol=1e-5)


def test_the_mean_does_not_depend_on_order_batch_or_threads():
    first, second = sampler_of("stylegan2"), sampler_of("stylegan2")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    ours = first.draw([4, 5], classes=[2, 8], truncation=0.4).latents
    torch.set_num_threads(max(before, 2))
    theirs = [second.draw([seed], classes=[c], truncation=0.0).latents for seed, c in ((1, 8), (9, 2))]
    assert torch.equal(first.class_mean(8), theirs[0][0, 0])
    assert torch.equal(first.class_mean(2), theirs[1][0, 0])
    torch.set_num_threads(1)
    assert torch.equal(second.draw([5], classes=[8], truncation=0.4).latents, ours[1:])
    torch.set_num_threads(before)


def test_without_classes_w_avg_is_the_mean_to_the_bit():
    sampler = sampler_of("stylegan2", PLAIN)
    mapping = sampler.generator.mapping
    mapping.w_avg.normal_()
    z = sampler.latents([3]).z
    expected = mapping.w_avg + 0.6 * (mapping(z, None) - mapping.w_avg)
    assert torch.equal(sampler.draw([3], truncation=0.6).latents[:, 0], expected)


def test_a_label_is_the_class_that_its_w_was_pulled_to(tmp_path):
    """Of images as data sets have them: several truncations in turn, classes by turn, by weight, by seed."""
    sampler = sampler_of("stylegan2")
    means = torch.stack([sampler.class_mean(label) for label in range(10)])
    snapshot: Snapshot = None  # type: ignore[assignment]
    for classes, weights in (((4, 1, 7), ()), ((4, 1, 7), (1.0, 2.0, 1.0)), ((), ())):
        request = Request(
            snapshot,
            12,
            truncation=(0.0, 0.1),
            order="mixed",
            classes=classes,
            weights=weights,
            for_shards=False,
        )
        fakes = request.draw(sampler, range(12))
        nearest = torch.cdist(fakes.latents[:, 0], means).argmin(1)
        assert fakes.labels.tolist() == nearest.tolist()
        assert len(set(nearest.tolist())) > 1
        if classes and not weights:
            assert nearest.tolist() == list(classes) * 4

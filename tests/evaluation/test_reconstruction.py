"""Metrics of reconstructions: closed forms for a model that adds a known error, figures that a data set of
the reconstructions has too, and refusals by name."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.contracts import Evidential, ImageSpec, Reconstructor
from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.reader import read_labels
from pipeline.data.shards.sink import ShardSink
from pipeline.errors import UserError
from pipeline.evaluation.features.extractor import as_rgb
from pipeline.evaluation.features.lpips import Perceptual
from pipeline.evaluation.features.weights import ExtractorChoice
from pipeline.evaluation.job import EvaluationJob
from pipeline.evaluation.settings import PathSettings, Settings
from pipeline.images.codec import encode
from pipeline.images.pictures import from_uint8, to_uint8
from pipeline.storage.snapshots import open_snapshot
from tests.evaluation.perceptual import random_perceptual
from tests.evaluation.worlds import SmoothSampler, smooth_images, write_shards, write_toy_snapshot
from tests.tiny_families import seeded_networks, tiny_family

OWN = ExtractorChoice("tests.evaluation.worlds:CoarseExtractor")
COUNT = 12


class Shifting(SmoothSampler):
    """Gives images back brighter by three of 255 steps; each image's evidence is its mean."""

    values = 256

    def reconstruct(self, images: torch.Tensor) -> torch.Tensor:
        return images + 3 * 2 / 255

    def evidence(self, images: torch.Tensor, seeds: range, *, classes=None) -> torch.Tensor:
        assert len(images) == len(seeds)
        return images.flatten(1).mean(dim=1) + torch.tensor([seed % 2**32 for seed in seeds])


def measured(folder: Path, sampler: type, *metrics: str, **more) -> dict:
    index = write_shards(folder / "data", COUNT)
    run = folder / "run"
    write_toy_snapshot(run, 100)
    settings = Settings(metrics, extractor=OWN, **more)
    job = EvaluationJob(index.root, settings, lambda snapshot: sampler(snapshot.spec), print)
    return job.evaluate(open_snapshot(run)).metrics


def reals() -> torch.Tensor:
    return torch.cat([to_uint8(smooth_images([number], 32, 3)) for number in range(COUNT)])


def shifted() -> torch.Tensor:
    return to_uint8(from_uint8(reals()) + 3 * 2 / 255)


def test_errors_of_each_image_in_closed_form(tmp_path):
    weights = random_perceptual(tmp_path)
    found = measured(
        tmp_path, Shifting, "psnr", "rlpips", "elbo", "bits_per_dim", paths=PathSettings(weights=weights)
    )
    x, y = reals().double(), shifted().double()
    errors = (x - y).square().flatten(1).mean(dim=1)
    assert found["psnr"]["value"] == pytest.approx(float((10 * (255**2 / errors).log10()).mean()))
    with torch.no_grad():
        distance = Perceptual(weights)(as_rgb(reals()).float(), as_rgb(shifted()).float()).mean()
    assert found["rlpips"]["value"] == pytest.approx(float(distance), rel=1e-4)
    means = from_uint8(reals()).flatten(1).mean(dim=1) + torch.arange(COUNT)
    assert found["elbo"]["value"] == pytest.approx(float(means.mean()), rel=1e-5)
    bits = -float(means.mean()) / (3 * 32 * 32 * math.log(2))
    assert found["elbo"]["bits"] == found["bits_per_dim"]["value"] == pytest.approx(bits, rel=1e-5)
    assert found["psnr"]["count"] == COUNT


def test_distances_are_those_of_a_data_set_of_the_reconstructions(tmp_path):
    found = measured(tmp_path, Shifting, "rfid", "rswd")
    with ShardSink(tmp_path / "again", name="t", height=32, width=32, channels=3, shard_size=16) as sink:
        for number, image in enumerate(shifted()):
            pixels = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
            sink.write(f"k{number:05d}", encode(pixels, "png"), "png", None)
    settings = Settings(("fid", "swd"), extractor=OWN)
    job = EvaluationJob(tmp_path / "data", settings, lambda _: None, print)
    theirs = job.evaluate(ShardIndex.read(tmp_path / "again")).metrics
    (fid,) = (name for name in theirs if name.startswith("fid"))
    (rfid,) = (name for name in found if name.startswith("rfid"))
    assert found[rfid]["value"] == pytest.approx(theirs[fid]["value"])
    assert found["rswd"]["value"] == pytest.approx(theirs["swd"]["value"])
    assert found["rswd"]["value"] > 0


def test_drawn_images_and_reconstructions_are_measured_side_by_side(tmp_path):
    found = measured(tmp_path, Shifting, "swd", "rswd", "psnr")
    alone = measured(tmp_path / "alone", Shifting, "swd")
    assert found["swd"] == alone["swd"]
    assert found["rswd"]["value"] < found["swd"]["value"]


def test_what_reconstructs_nothing_is_refused_by_name(tmp_path):
    with pytest.raises(UserError, match=r"--metrics psnr,rswd: measures reconstructions, and .* encodes no"):
        measured(tmp_path, SmoothSampler, "swd", "psnr", "rswd")
    index = write_shards(tmp_path / "other", COUNT)
    job = EvaluationJob(tmp_path / "data", Settings(("psnr",)), SmoothSampler, print)
    with pytest.raises(UserError, match=r"--metrics psnr: measures reconstructions, and .* is a data set"):
        job.evaluate(index)


class OfClasses(Shifting):
    """Each image's evidence is the number of its class."""

    def evidence(self, images: torch.Tensor, seeds: range, *, classes=None) -> torch.Tensor:
        return torch.tensor(classes, dtype=torch.float32)


def test_a_conditional_model_is_told_the_classes_of_the_reals(tmp_path):
    index = write_shards(tmp_path / "data", COUNT, classes=("a", "b", "c"))
    snapshot = write_toy_snapshot(tmp_path / "run", 100, classes=("a", "b", "c"))
    settings = Settings(("elbo",), extractor=OWN)
    job = EvaluationJob(index.root, settings, lambda opened: OfClasses(opened.spec), print)
    expected = sum(read_labels(index)) / COUNT
    assert job.evaluate(snapshot).metrics["elbo"]["value"] == pytest.approx(expected)
    assert expected > 0


class TwoValued(Shifting):
    """Of images of two values."""

    values = 2


def test_what_gives_no_likelihood_of_images_of_256_values_is_refused(tmp_path):
    with pytest.raises(
        UserError, match=r"--metrics elbo,bits_per_dim: measures how likely .* tells nothing of"
    ):
        measured(tmp_path, SmoothSampler, "elbo", "bits_per_dim")
    with pytest.raises(
        UserError, match=r"--metrics bits_per_dim: .* images of 2 values, not 256; allowed: elbo"
    ):
        measured(tmp_path / "two", TwoValued, "bits_per_dim")
    index = write_shards(tmp_path / "other", COUNT)
    job = EvaluationJob(tmp_path / "data", Settings(("elbo",)), SmoothSampler, print)
    with pytest.raises(UserError, match=r"--metrics elbo: measures how likely .* is a data set"):
        job.evaluate(index)


def test_an_autoencoder_without_a_distribution_has_no_bound():
    family = tiny_family("autoencoder", ImageSpec(8, 8, 1), distribution=False)
    sampler = family.sampler(seeded_networks(family).generator.eval())
    assert isinstance(sampler, Reconstructor)
    assert not isinstance(sampler, Evidential)


def test_the_bound_is_the_evidence_less_the_divergence():
    """Of a model whose decoder ignores the latents, so that its evidence is known."""
    family = tiny_family("autoencoder", ImageSpec(8, 8, 1), likelihood="gaussian", kl_weight=1)
    autoencoder = seeded_networks(family).generator.eval().requires_grad_(False)
    autoencoder.decoder.last.weight.zero_()
    autoencoder.decoder.last.bias.fill_(0.1)
    autoencoder.log_scale.fill_(-0.3)
    sampler = family.sampler(autoencoder)
    assert isinstance(sampler, Evidential)
    pixels = torch.randint(0, 256, (3, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    images = from_uint8(pixels)
    many = torch.stack([sampler.evidence(images, range(3 * n, 3 * n + 3)) for n in range(200)])
    width = math.exp(-0.3)
    cell = torch.distributions.Normal(0.1, width)
    exact = (cell.cdf(images + 1 / 255) - cell.cdf(images - 1 / 255)).log().flatten(1).sum(dim=1)
    gap = autoencoder.encode(images).kl()
    torch.testing.assert_close(many.mean(dim=0), exact - gap, rtol=2e-3, atol=0.2)
    assert torch.equal(sampler.evidence(images, [5, 6, 7])[:1], sampler.evidence(images[:1], [5]))


def test_the_bound_of_two_valued_images():
    family = tiny_family("autoencoder", ImageSpec(8, 8, 1), likelihood="bernoulli", kl_weight=1)
    autoencoder = seeded_networks(family).generator.eval().requires_grad_(False)
    autoencoder.decoder.last.weight.zero_()
    autoencoder.decoder.last.bias.fill_(0.4)
    images = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    p = (1 + math.tanh(0.4)) / 2
    white = (images > 0).flatten(1).sum(dim=1)
    exact = white * math.log(p) + (64 - white) * math.log(1 - p)
    gap = autoencoder.encode(torch.where(images > 0, 1.0, -1.0)).kl()
    torch.testing.assert_close(family.sampler(autoencoder).evidence(images, [1, 2]), exact - gap)

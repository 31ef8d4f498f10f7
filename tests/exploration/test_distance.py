"""Which distance a projection takes, and LPIPS as one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipeline.contracts import ImageSpec
from pipeline.errors import UserError
from pipeline.evaluation.features.lpips import Perceptual
from pipeline.evaluation.features.weights import LPIPS, VGG16, PerceptualWeights
from pipeline.exploration.distance import PIXELS, chosen_distance, perceptual
from tests.evaluation.perceptual import random_perceptual

CPU = torch.device("cpu")
SPEC = ImageSpec(32, 32, 1)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> PerceptualWeights:
    return random_perceptual(tmp_path_factory.mktemp("lpips"))


@pytest.fixture
def empty_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Torch hub's folder without a file, on a machine without network."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def test_lpips_is_lpips_of_the_bytes(weights: PerceptualWeights) -> None:
    photo, image = (torch.rand(1, 1, 32, 32) * 2 - 1 for _ in range(2))
    measure = perceptual(weights, CPU).to(photo)
    rgb = [((x + 1) * 127.5).repeat(1, 3, 1, 1) for x in (image, photo)]
    torch.testing.assert_close(measure(image), Perceptual(weights)(*rgb))
    assert float(measure(photo)) == 0
    moved = image.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(measure(moved).sum(), moved)
    assert gradient.abs().sum() > 0


def test_large_images_are_seen_at_256_pixels(weights: PerceptualWeights) -> None:
    photo = torch.zeros(1, 3, 512, 512)
    board = 1 - 2 * ((torch.arange(512)[:, None] + torch.arange(512)) % 2).float()
    measure = perceptual(weights, CPU).to(photo)
    # Averaged over 2x2 pixels, the board is as grey as the photograph.
    assert float(measure(board.expand(1, 3, -1, -1))) == 0


def test_lpips_is_taken_where_its_weights_are(weights: PerceptualWeights, empty_hub: Path) -> None:
    chosen, said = chosen_distance("auto", weights, SPEC, CPU)
    assert (chosen.name, said) == ("LPIPS", None)
    # In torch hub's folder they are looked for by their published names.
    assert weights.vgg is not None
    assert weights.lpips is not None
    (empty_hub / VGG16.names[0]).symlink_to(weights.vgg)
    (empty_hub / LPIPS.names[0]).symlink_to(weights.lpips)
    there = replace(weights, vgg=None, lpips=None)
    assert chosen_distance("auto", there, SPEC, CPU)[0].name == "LPIPS"
    assert chosen_distance("pixels", there, SPEC, CPU) == (PIXELS, None)


def test_without_weights_pixels_are_taken_and_it_is_said(empty_hub: Path) -> None:
    chosen, said = chosen_distance("auto", PerceptualWeights(), SPEC, CPU)
    assert chosen is PIXELS
    assert said is not None
    assert "LPIPS weights are not there: measured by pixels and pyramid" in said
    for published in (VGG16, LPIPS):
        assert f"curl -Lo {empty_hub / published.names[0]} {published.url}" in said


def test_lpips_that_is_asked_for_and_cannot_be(weights: PerceptualWeights, empty_hub: Path) -> None:
    with pytest.raises(UserError, match=r"no network.*--distance pixels needs no weights"):
        chosen_distance("lpips", PerceptualWeights(), SPEC, CPU)
    with pytest.raises(UserError, match="images of 16 pixels a side or more; allowed: pixels"):
        chosen_distance("lpips", weights, ImageSpec(8, 8, 1), CPU)
    assert "below 16 pixels" in str(chosen_distance("auto", weights, ImageSpec(8, 8, 1), CPU)[1])
    with pytest.raises(UserError, match="sha256 is"):
        chosen_distance("auto", replace(weights, vgg_sha256="0" * 64), SPEC, CPU)

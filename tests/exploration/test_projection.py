"""Projection: closed forms of its parts, and a photograph whose latents are known to exist."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from launch.assembly.sampling import sampler_of
from pipeline.data.preparing.prepare import prepare
from pipeline.data.preparing.settings import Asked
from pipeline.data.shards.index import ShardIndex
from pipeline.data.streaming.numbered import read_uint8
from pipeline.errors import UserError
from pipeline.exploration.distance import pixel_and_pyramid
from pipeline.exploration.projection import (
    Plan,
    nearest_class,
    noise_regularisation,
    normalise,
    project,
    read_photo,
    statistics,
)
from pipeline.exploration.subject import Subject
from pipeline.storage.snapshots import open_snapshot


@pytest.mark.parametrize("into", ["w", "w+"])
def test_an_image_of_the_generator_itself_is_found_again(subject: Subject, into: str) -> None:
    """Its distance, by the loss and by an independent one, falls far below that of the mean w."""
    space = subject.space
    photo = space.draw([42], classes=[3]).images
    found = project(space, photo, Plan(into=into, steps=150, noise_weight=0.0), progress=False)
    assert found.distance < 0.1 * found.distance_of_mean
    near = space.synthesise(found.codes)
    mean = space.synthesise(found.mean)
    error, error_of_mean = ((image - photo).square().mean() for image in (near, mean))
    assert error < 0.02 * error_of_mean
    assert (found.codes[:, :1] == found.codes).all() == (into == "w")
    # Without noise to learn, the stored noise is what the image is made with.
    assert all(torch.equal(a, b) for a, b in zip(found.noise, space.noise_maps(), strict=True))


def test_it_begins_at_the_nearest_class(subject: Subject) -> None:
    space = subject.space
    for label in (3, 8):
        photo = space.draw([42], classes=[label], truncation=0.1).images
        measure = pixel_and_pyramid(photo)
        assert nearest_class(space, measure, 0, ()) == label
        assert nearest_class(space, measure, 0, (5, label, 1)) == label
        assert nearest_class(space, measure, 0, (5,)) == 5
        found = project(space, photo, Plan(steps=1, noise_weight=0.0), progress=False)
        assert found.label == label
        mean = space.map(*space.latents([0], classes=[label]), truncation=0.0)
        apart = space.map(*space.latents([0], classes=[5]), truncation=0.0)
        assert (found.mean - mean).norm() < 0.1 * (apart - mean).norm()


def test_without_classes_there_is_one_mean(snapshots: dict[str, Path]) -> None:
    space = sampler_of(open_snapshot(snapshots["plain"]), torch.device("cpu"))
    assert nearest_class(space, pytest.fail, 0, ()) is None  # type: ignore[arg-type]


def test_noise_is_learnt_and_stays_noise(subject: Subject) -> None:
    photo = subject.space.draw([42], classes=[3]).images
    found = project(subject.space, photo, Plan(steps=20), progress=False)
    again = project(subject.space, photo, Plan(steps=20), progress=False)
    assert torch.equal(found.codes, again.codes)  # a function of the seed
    assert not torch.equal(found.noise[0], subject.space.noise_maps()[0])
    for noise in found.noise:
        assert float(noise.mean()) == pytest.approx(0, abs=1e-5)
        assert float(noise.square().mean()) == pytest.approx(1, abs=1e-4)


def test_the_published_schedule() -> None:
    plan = Plan(steps=1000)
    assert plan.rate_at(0) == 0
    assert plan.rate_at(25) == pytest.approx(0.05)
    assert [plan.rate_at(step) for step in (50, 400, 750)] == pytest.approx([0.1] * 3)
    assert plan.rate_at(875) == pytest.approx(0.05)
    assert plan.rate_at(1000) == pytest.approx(0)
    assert plan.jitter_at(0) == pytest.approx(0.05)
    assert plan.jitter_at(375) == pytest.approx(0.05 / 4)
    assert plan.jitter_at(750) == plan.jitter_at(900) == 0


def test_the_statistics_are_those_of_w(subject: Subject) -> None:
    mean, spread = statistics(subject.space, 0, 4)
    w = subject.space.map(*subject.space.latents(range(2000), classes=[4] * 2000))[:, 0].double()
    expected = float((w - w.mean(0)).square().sum(1).mean().sqrt())
    assert float(spread) == pytest.approx(expected, rel=0.05)
    assert float((mean[0, 0] - w.mean(0)).norm()) < 0.1 * expected
    other, _ = statistics(subject.space, 0, 5)
    assert not torch.allclose(mean, other, atol=1e-3)


def test_noise_regularisation_in_closed_form() -> None:
    """A map of ones agrees with its neighbours wholly, at each level of a pyramid that doubles it."""
    flat = torch.ones(32, 32)
    assert float(noise_regularisation([flat])) == pytest.approx(2 * (1 + 4**2 + 16**2))
    columns = torch.ones(8, 8)
    columns[:, ::2] = -1
    assert float(noise_regularisation([columns])) == pytest.approx(1 + 1)
    white = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    assert float(noise_regularisation([white])) < 0.1


def test_normalise() -> None:
    noise = torch.rand(8, 8) * 5 + 3
    shape = (noise - noise.mean()) / noise.std(correction=0)
    normalise([noise])
    torch.testing.assert_close(noise, shape)


def test_the_distance_in_closed_form() -> None:
    photo = torch.zeros(1, 1, 16, 16)
    assert float(pixel_and_pyramid(photo)(photo)) == 0
    grey = torch.full((1, 1, 16, 16), 0.5)
    assert float(pixel_and_pyramid(photo)(grey)) == pytest.approx(0.25 + 0.5)
    board = grey * (1 - 2 * ((torch.arange(16)[:, None] + torch.arange(16)) % 2))
    # Seen at the finest of three levels alone: 16, 8 and 4 pixels.
    assert float(pixel_and_pyramid(photo)(board)) == pytest.approx(0.25 + 0.5 / 3)


def photo_file(folder: Path, mode: str = "RGBA", size: tuple[int, int] = (50, 30)) -> Path:
    folder.mkdir(exist_ok=True)
    pixels = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
    Image.fromarray(pixels, "RGBA").convert(mode).save(folder / "p.png")
    return folder / "p.png"


@pytest.mark.parametrize(("mode", "channels"), [("RGBA", 3), ("L", 3), ("RGB", 1), ("P", 3)])
def test_a_photograph_becomes_what_prepare_makes_of_it(tmp_path: Path, mode: str, channels: int) -> None:
    path = photo_file(tmp_path / "photos", mode)
    prepare(path.parent, tmp_path / "out", Asked(resolution=16, channels=channels), workers=1)
    ((expected, _, _),) = read_uint8(ShardIndex.read(tmp_path / "out"))
    found = (read_photo(path, 16, 16, channels) + 1) * 127.5
    torch.testing.assert_close(found, expected.float(), atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: Image.new("1", (17_000, 10)).save(path), "17000x10 pixels; at most 16384 a side"),
        (lambda path: path.write_bytes(b"hello"), "not an image of a known kind"),
        (lambda path: path.write_bytes(b""), "not an image of a known kind"),
        (lambda path: path.mkdir(), "is not a file"),
        (lambda path: None, "No such file"),
    ],
)
def test_photographs_that_are_none(tmp_path: Path, make, message: str) -> None:
    make(tmp_path / "p.png")
    with pytest.raises(UserError, match=message) as caught:
        read_photo(tmp_path / "p.png", 16, 16, 3)
    assert "p.png" in str(caught.value)


def test_a_photograph_that_unfolds_to_gigabytes(bomb: Path) -> None:
    with pytest.raises(UserError, match=r"bomb.png: more than 178000000 pixels"):
        read_photo(bomb, 16, 16, 3)

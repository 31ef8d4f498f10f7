"""The projector's clouds: every point with its own picture, vector and description."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from google.protobuf import text_format
from PIL import Image
from tensorboard.plugins.projector.projector_config_pb2 import EmbeddingInfo, ProjectorConfig

from pipeline.evaluation.clouds import show_clouds, wants_clouds
from pipeline.images.pictures import to_uint8
from tests.evaluation.worlds import (
    CoarseExtractor,
    SmoothSampler,
    smooth_images,
    write_shards,
    write_toy_snapshot,
)
from tests.tiny_families import PLAIN, seeded_networks, tiny_family

EVALUATION = "run/tensorboard/evaluation"


def spaces(root: Path) -> dict[str, EmbeddingInfo]:
    text = (root / EVALUATION / "projector_config.pbtxt").read_text()
    return {space.tensor_name: space for space in text_format.Parse(text, ProjectorConfig()).embeddings}


def vectors(root: Path, space: EmbeddingInfo) -> torch.Tensor:
    return torch.from_numpy(np.loadtxt(root / EVALUATION / space.tensor_path, delimiter="\t")).float()


def about(root: Path, space: EmbeddingInfo) -> list[list[str]]:
    lines = (root / EVALUATION / space.metadata_path).read_text().splitlines()
    return [line.split("\t") for line in lines]


def thumbnails(root: Path, space: EmbeddingInfo, count: int) -> torch.Tensor:
    """[count, C, H, W] as the projector cuts them: row by row, as many in a row as the sheet has places."""
    with Image.open(root / EVALUATION / space.sprite.image_path) as picture:
        sheet = torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)
    width, height = space.sprite.single_image_dim
    columns = sheet.shape[2] // width
    cells = [divmod(number, columns) for number in range(count)]
    return torch.stack(
        [sheet[:, r * height : (r + 1) * height, c * width : (c + 1) * width] for r, c in cells]
    )


@pytest.mark.parametrize(
    "extractor", [None, CoarseExtractor(torch.device("cpu"))], ids=["pixels", "features"]
)
def test_fakes_and_reals_share_a_space(tmp_path: Path, extractor: CoarseExtractor | None) -> None:
    index = write_shards(tmp_path / "data", 20, classes=("a", "b"))
    snapshot = write_toy_snapshot(tmp_path / "run", 8, classes=("a", "b"))
    sampler = SmoothSampler(snapshot.spec)
    show_clouds(tmp_path / "run", snapshot, lambda: sampler, index, extractor, images=24)
    (space,) = spaces(tmp_path).values()
    assert space.tensor_name == ("pixels" if extractor is None else "features-coarse")
    fakes = to_uint8(SmoothSampler(snapshot.spec).draw(range(3)).images)
    reals = to_uint8(smooth_images(range(3)))
    pictures = thumbnails(tmp_path, space, 6)
    assert torch.equal(pictures, torch.cat([fakes, reals]))
    if extractor is None:
        expected = pictures.float().unflatten(2, (16, 2)).unflatten(4, (16, 2)).mean((3, 5)).flatten(1) / 255
    else:
        expected = extractor(pictures)[0]
    torch.testing.assert_close(vectors(tmp_path, space), expected, rtol=1e-4, atol=1e-5)
    assert about(tmp_path, space) == [
        ["image", "kind", "class"],
        ["seed 0", "fake", "a"],
        ["seed 1", "fake", "b"],
        ["seed 2", "fake", "a"],
        ["k00000", "real", "a"],
        ["k00001", "real", "b"],
        ["k00002", "real", "a"],
    ]


def test_w_of_a_styled_family(tmp_path: Path) -> None:
    index = write_shards(tmp_path / "data", 20, size=8, channels=1)
    snapshot = write_toy_snapshot(tmp_path / "run", 8, size=8, channels=1)
    family = tiny_family("stylegan2", PLAIN)
    sampler = family.sampler(seeded_networks(family).generator.eval())
    show_clouds(tmp_path / "run", snapshot, lambda: sampler, index, None, images=40)
    found = spaces(tmp_path)
    assert set(found) == {"pixels", "w"}
    z, _ = sampler.latents(range(5))
    with torch.no_grad():
        expected = sampler.map(z, None)[:, 0]
    torch.testing.assert_close(vectors(tmp_path, found["w"]), expected, rtol=1e-4, atol=1e-5)
    assert [row[0] for row in about(tmp_path, found["w"])[1:]] == list("01234")
    drawn = to_uint8(sampler.draw(range(5)).images).expand(-1, 3, -1, -1)
    assert torch.equal(thumbnails(tmp_path, found["w"], 5), drawn)


def test_large_and_oblong_images_are_made_small_in_proportion(tmp_path: Path) -> None:
    from pipeline.board.projector import Embedding, publish_points

    images = torch.zeros(5, 3, 64, 128, dtype=torch.uint8)
    images[3, :, :, 64:] = 255
    points = Embedding(torch.eye(5), images, {"a": list("12345"), "b": list("12345")})
    publish_points(tmp_path / EVALUATION, {"x": points}, "digest")
    (space,) = spaces(tmp_path).values()
    assert list(space.sprite.single_image_dim) == [64, 32]
    pictures = thumbnails(tmp_path, space, 5)
    assert pictures[3, :, :, 32:].min() == 255
    assert pictures[3, :, :, :32].max() == pictures[[0, 1, 2, 4]].max() == 0


def test_only_the_newest_snapshot_and_once(tmp_path: Path) -> None:
    index, run = write_shards(tmp_path / "data", 20), tmp_path / "run"
    old, new = write_toy_snapshot(run, 8), write_toy_snapshot(run, 16)
    assert not wants_clouds(run, old)
    assert wants_clouds(run, new)
    show_clouds(run, new, lambda: SmoothSampler(new.spec), index, None, images=160)
    assert not wants_clouds(run, new)

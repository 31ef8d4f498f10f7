"""Streams at lower resolutions: by the pyramid or by reduction the same pixels, switching at any position."""

from __future__ import annotations

import warnings

import pytest
import torch

from pipeline.data.preparing.pyramid import build_pyramid
from pipeline.data.shards.index import ShardIndex
from pipeline.data.streaming.lanes import Order
from pipeline.errors import UserError
from tests.data.layers import SIDE, box, draw, everything, make

_QUIET = "ignore:.*has no pyramid"


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> ShardIndex:
    return ShardIndex.read(make(tmp_path_factory.mktemp("bare")))


@pytest.fixture(scope="module")
def layered(tmp_path_factory: pytest.TempPathFactory) -> ShardIndex:
    return build_pyramid(make(tmp_path_factory.mktemp("layered")), workers=1)


def expected(index: ShardIndex, positions: range, resolution: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Straight from the order and numpy, without the stream or the pyramid."""
    order = Order([shard.count for shard in index.shards], seed=5, lanes=4)
    stored, labels, _ = everything(index)
    lower = box(stored.numpy(), SIDE // resolution)
    rows = []
    places = []
    for position in positions:
        _, shard, member = order.locate(position)
        places.append(shard * 16 + member)
        image = torch.from_numpy(lower[places[-1]]).float() * (2 / 255) - 1
        rows.append(image.flip(-1) if order.mirrored(position) else image)
    return torch.stack(rows), torch.tensor([labels[place] for place in places])


# Sizes that end within chunks (64 images) and within epochs (43); the resolution goes up, down and back.
DRAWS: list[tuple[int, int | None]] = [(10, 4), (12, 4), (70, 8), (4, None), (6, 16), (10, 16), (8, 4)]


@pytest.mark.filterwarnings(_QUIET)
@pytest.mark.parametrize("world", [1, 2])
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", ["bare", "layered"])
def test_levels_and_reduction_give_numpys_pixels(
    request: pytest.FixtureRequest, kind: str, workers: int, world: int
) -> None:
    index: ShardIndex = request.getfixturevalue(kind)
    at = 0
    for (size, resolution), (images, labels) in zip(
        DRAWS, draw(index, DRAWS, world=world, workers=workers), strict=True
    ):
        wanted, classes = expected(index, range(at, at + size), resolution or SIDE)
        assert torch.equal(labels, classes)
        assert images.shape == wanted.shape
        assert torch.equal(((images + 1) * 127.5).round(), ((wanted + 1) * 127.5).round())
        at += size


@pytest.mark.filterwarnings(_QUIET)
@pytest.mark.parametrize("kind", ["bare", "layered"])
def test_a_switch_is_a_start_there_bit_for_bit(request: pytest.FixtureRequest, kind: str) -> None:
    index: ShardIndex = request.getfixturevalue(kind)
    switched = draw(index, [(14, 4), (14, 8)], world=2, workers=2)[1]
    started = draw(index, [(14, 8)], world=2, workers=0, seen=14)[0]
    assert torch.equal(switched[0], started[0])
    assert torch.equal(switched[1], started[1])
    assert torch.equal(draw(layered_or(index, request), [(14, 8)], seen=14)[0][0], started[0])


def layered_or(index: ShardIndex, request: pytest.FixtureRequest) -> ShardIndex:
    """The other kind of the two."""
    other: ShardIndex = request.getfixturevalue("bare" if index.levels else "layered")
    return other


def test_a_slow_way_is_told_once_by_one_rank(bare: ShardIndex, layered: ShardIndex) -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        draw(layered, [(4, 4), (4, 8)])
        draw(bare, [(4, None), (4, SIDE)])
        assert not told
        draw(bare, [(4, 4), (4, 8), (4, 4)], world=2)
    assert len(told) == 1
    assert "--pyramid" in str(told[0].message)


@pytest.mark.parametrize("resolution", [64, 12, 2, 0])
def test_a_resolution_that_cannot_be_had(layered: ShardIndex, resolution: int) -> None:
    with pytest.raises(
        UserError, match=rf"cannot be had at {resolution}; allowed resolutions: 32, 16, 8, 4$"
    ):
        draw(layered, [(4, resolution)])

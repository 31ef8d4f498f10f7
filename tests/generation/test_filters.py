"""Filters: who is refused is a function of the candidates alone, and scores are what they say."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.contracts import Fakes
from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.reader import ShardReader
from pipeline.data.shards.sink import ShardSink
from pipeline.data.shards.verify import verify
from pipeline.errors import RunFailed, UserError
from pipeline.evaluation.cache import StatisticsCache
from pipeline.generation.duplicates import Seen, picture_hash
from pipeline.generation.filters import Filters, Least, Panel, parse_filters
from pipeline.generation.generate import generate_shards
from pipeline.generation.request import Request
from pipeline.generation.training_images import PixelFeatures, TrainingImages
from pipeline.images.codec import encode
from pipeline.images.pictures import to_uint8
from pipeline.storage.snapshots import Snapshot
from tests.evaluation.worlds import SmoothSampler, smooth_images, write_toy_snapshot

COPIED = 3  # every so many candidates repeat the one before


class Repeating(SmoothSampler):
    """Every third image is that of the seed before, a little brighter."""

    def draw(self, seeds: Sequence[int], **options: Any) -> Fakes:
        shown = [seed - 1 if seed % COPIED == 2 else seed for seed in seeds]
        fakes = super().draw(shown, **options)
        brighter = torch.tensor([0.02 if seed % COPIED == 2 else 0.0 for seed in seeds])
        return Fakes(fakes.images * 0.9 + brighter.view(-1, 1, 1, 1), fakes.labels, fakes.latents)


def brightness(pixels: Tensor, _: Tensor | None) -> Tensor:
    """A discriminator that looks at the whole batch, as minibatch statistics do."""
    assert len(pixels) == 8
    return pixels.float().mean(dim=(1, 2, 3)) - pixels.float().mean()


@pytest.fixture
def snapshot(tmp_path: Path) -> Snapshot:
    return write_toy_snapshot(tmp_path / "run", 8)


def make(snapshot: Snapshot, out: Path, filters: Filters, count: int = 20, **settings: Any) -> ShardIndex:
    panel = settings.pop("panel", lambda: Panel(filters, brightness if filters.discriminator else None))
    request = Request(snapshot, count, filters=filters, **settings)
    return generate_shards(
        request,
        lambda: Repeating(snapshot.spec),
        out,
        shard_size=12,
        progress=False,
        make_panel=panel,
    )


def files(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if not p.name.startswith(".")}


def seeds(index: ShardIndex) -> list[int]:
    with ShardReader(index) as reader:
        return [
            reader.read(s, m).meta["seed"] for s, shard in enumerate(index.shards) for m in range(shard.count)
        ]


def expected(snapshot: Snapshot, count: int, least: float | None, bits: int) -> tuple[list[int], int, int]:
    """Seeds kept, and how many score and likeness refuse to the end of the block that fills the set."""
    images = to_uint8(Repeating(snapshot.spec).draw(range(400)).images)
    blocks = [range(start, start + 12) for start in range(0, 396, 12)]
    scores = {}
    for block in blocks:
        for group in (range(block.start, block.start + 8), range(block.start + 8, block.stop)):
            filled = [group[i % len(group)] for i in range(8)]
            part = images[filled].float()
            for place, seed in enumerate(group):
                scores[seed] = float(part[place].mean() - part.mean())
    if least is None:
        least = -1e9
    elif least == 0.5:
        least = sorted((scores[seed] for seed in range(256)), reverse=True)[127]
    words = [np.array([int(c, 16) for c in text]) for text in picture_hash(images)]
    kept: list[int] = []
    low = alike = 0
    everything: list[int] = []
    for block in blocks:
        for seed in block:
            if scores[seed] < least:
                low += 1
            elif any(_apart(words[seed], words[other]) <= bits for other in everything):
                alike += 1
            else:
                everything.append(seed)
        if len(everything) >= count:
            break
    kept = everything[:count]
    return kept, low, alike


def _apart(one: Any, other: Any) -> int:
    return sum(bin(int(a) ^ int(b)).count("1") for a, b in zip(one, other, strict=True))


def test_what_is_kept_is_what_a_plain_loop_keeps_however_it_is_made(
    snapshot: Snapshot, tmp_path: Path
) -> None:
    filters = Filters(discriminator=Least(0.5, is_share=True), duplicates=10)
    kept, low, alike = expected(snapshot, 20, 0.5, 10)
    index = make(snapshot, tmp_path / "a", filters, batch_size=1)
    assert seeds(index) == kept
    assert index.count == 20
    verify(index)
    card = json.loads((tmp_path / "a" / "card.json").read_bytes())["candidates"]
    # The score's refusals come first; a copy of an image that was refused is none.
    assert (card["refused"], card["accepted"]) == ({"discriminator": low, "duplicates": alike}, 20)
    assert card["drawn"] == 20 + low + alike + card["surplus"]
    make(snapshot, tmp_path / "b", filters, batch_size=5)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    crews = [threading.Thread(target=make, args=(snapshot, tmp_path / "c", filters)) for _ in range(3)]
    for crew in crews:
        crew.start()
    for crew in crews:
        crew.join(60)
    assert files(tmp_path / "a") == files(tmp_path / "c")
    assert sorted(p.name for p in (tmp_path / "c").iterdir() if p.name.startswith(".")) == [".lock"]


def test_one_that_comes_late_finds_the_data_set_finished(snapshot: Snapshot, tmp_path: Path) -> None:
    """Others finish it, and sweep their locks away, while this one loads what judges."""
    filters = Filters(discriminator=Least(0.5, is_share=True))

    def late() -> Panel:
        make(snapshot, tmp_path / "a", filters)
        return Panel(filters, brightness)

    assert make(snapshot, tmp_path / "a", filters, panel=late).count == 20


def test_scores_stand_beside_each_image(snapshot: Snapshot, tmp_path: Path) -> None:
    index = make(snapshot, tmp_path / "a", Filters(discriminator=Least(0.0)), count=8)
    assert index.origin["filters"]["discriminator"] == "at least 0"
    with ShardReader(index) as reader:
        for member in range(index.shards[0].count):
            assert reader.read(0, member).meta["discriminator"] >= 0


def test_too_few_are_told_with_the_reasons(snapshot: Snapshot, tmp_path: Path) -> None:
    filters = Filters(discriminator=Least(1e6), most=30)
    with pytest.raises(RunFailed, match="0 of 20 images after 30 candidates; refused: discriminator 30"):
        make(snapshot, tmp_path / "a", filters)
    with pytest.raises(UserError, match="--most 10: fewer candidates than images; allowed: at least 20"):
        make(snapshot, tmp_path / "b", Filters(discriminator=Least(0), most=10))
    with pytest.raises(UserError, match="allowed: mixed"):
        make(snapshot, tmp_path / "b", Filters(duplicates=1), truncation=(0.5, 1.0))


def test_a_copy_in_other_light_or_size_is_near_and_another_picture_is_not() -> None:
    images = to_uint8(smooth_images(range(40), 64))
    words = picture_hash(images)
    small = torch.nn.functional.avg_pool2d(images.float(), 2).to(torch.uint8)
    dark = (images.float() * 0.8).to(torch.uint8)
    for altered in (picture_hash(small), picture_hash(dark)):
        for word, other in zip(words, altered, strict=True):
            assert bin(int(word, 16) ^ int(other, 16)).count("1") <= 10
    for i in range(40):
        for j in range(i):
            assert bin(int(words[i], 16) ^ int(words[j], 16)).count("1") > 40
    seen = Seen(10)
    assert [seen.take(word) for word in [*words[:5], *words[:2]]] == [True] * 5 + [False] * 2


def training(root: Path, count: int = 30) -> tuple[ShardIndex, Tensor]:
    images = to_uint8(smooth_images(range(500, 500 + count)))
    with ShardSink(root, name="t", height=32, width=32, channels=3, shard_size=13) as sink:
        for number, image in enumerate(images):
            sink.write(f"photo-{number}", encode(image.permute(1, 2, 0).contiguous().numpy(), "png"), "png")
    return ShardIndex.read(root), images


def test_realism_is_the_papers_and_neighbours_are_the_nearest(tmp_path: Path) -> None:
    index, reals = training(tmp_path / "reals")
    features = PixelFeatures()
    cache = StatisticsCache(tmp_path / "cache", lambda line: None)
    images = TrainingImages(index, features, cache, torch.device("cpu"))
    fakes = to_uint8(smooth_images(range(900, 909)))
    realism, nearest = images.look(fakes)
    ours, theirs = (features(x).double().numpy() for x in (fakes, reals))
    among = np.linalg.norm(theirs[:, None] - theirs[None], axis=2)
    radius = np.sort(among, axis=1)[:, 3]  # its own distance, 0, stands first
    small = radius <= np.sort(radius)[(len(radius) - 1) // 2]
    apart = np.linalg.norm(ours[:, None] - theirs[None], axis=2)
    np.testing.assert_allclose(realism, (radius / apart)[:, small].max(axis=1), rtol=1e-5)
    for row, found in zip(apart, nearest, strict=True):
        assert [number for number, _ in found] == np.argsort(row)[:3].tolist()
        np.testing.assert_allclose([d for _, d in found], np.sort(row)[:3], atol=2e-6)
    again = TrainingImages(index, features, cache, torch.device("cpu"))
    assert again.look(fakes) == (realism, nearest)
    assert len(list((tmp_path / "cache").glob("*.json"))) == 2


def test_copies_of_training_images_come_first_and_are_shown(snapshot: Snapshot, tmp_path: Path) -> None:
    from PIL import Image

    index, reals = training(tmp_path / "reals")

    class Copying(SmoothSampler):
        def draw(self, seeds: Sequence[int], **options: Any) -> Fakes:
            fakes = super().draw(seeds, **options)
            for place, seed in enumerate(seeds):
                if seed == 7:
                    fakes.images[place] = reals[21].float() / 127.5 - 1
            return fakes

    filters = Filters(neighbours=True)
    cache = StatisticsCache(tmp_path / "cache", lambda line: None)
    generate_shards(
        Request(snapshot, 10, filters=filters),
        lambda: Copying(snapshot.spec),
        tmp_path / "out",
        shard_size=4,
        progress=False,
        make_panel=lambda: Panel(
            filters, None, TrainingImages(index, PixelFeatures(), cache, torch.device("cpu"))
        ),
    )
    listed = json.loads((tmp_path / "out" / "neighbours.json").read_bytes())
    first, second = listed["images"][:2]
    assert (first["key"], first["nearest"][0]["key"]) == ("seed-000000007", "photo-21")
    assert (
        first["nearest"][0]["distance"]
        < 0.1 * listed["median_distance_between_training_images_and_their_nearest"]
    )
    assert second["nearest"][0]["distance"] > 5 * first["nearest"][0]["distance"]
    assert len(listed["images"]) == 10
    with Image.open(tmp_path / "out" / "neighbours.jpg") as picture:
        sheet = np.asarray(picture).astype(float)
    assert sheet.shape == (10 * 32, 4 * 32, 3)
    assert np.abs(sheet[:32, :32] - sheet[:32, 32:64]).mean() < 6


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sharpness:3"], "--filter sharpness:3: unknown; allowed: discriminator:VALUE, realism:VALUE"),
        (["realism"], "--filter realism: allowed: a number that the score must reach"),
        (["realism:0%"], "--filter realism:0%: allowed: a number"),
        (["realism:nan"], "--filter realism:nan: allowed: a number"),
        (["duplicates:256"], "allowed: duplicates:BITS, from 0 .equal hashes. to 255"),
        (["realism:1", "realism:2"], "--filter realism:2: realism is given twice"),
    ],
)
def test_filters_that_are_none(words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_filters(words)


def test_filters_as_they_are_written() -> None:
    assert parse_filters(["discriminator:30%", "realism:.9", "duplicates:10"]) == {
        "discriminator": Least(0.3, is_share=True),
        "realism": Least(0.9),
        "duplicates": 10,
    }

"""The data card: what a generated data set says of itself is what it is."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from pipeline.data.shards.reader import ShardReader
from pipeline.data.streaming.numbered import read_uint8
from pipeline.generation.card import About, reduced
from pipeline.generation.generate import generate_shards
from pipeline.generation.request import Request
from tests.evaluation.worlds import SmoothSampler, write_toy_snapshot


def test_the_card_counts_what_is_there(tmp_path: Path) -> None:
    snapshot = write_toy_snapshot(tmp_path / "run", 8, classes=("a", "b", "c"))
    request = Request(
        snapshot, 13, seed=5, truncation=(0.5, 1.0), classes=(2, 0), weights=(1.0, 2.0), kind="jpg"
    )
    about = About("hrgan generate run out --count 13", "CC0-1.0")
    index = generate_shards(
        request,
        lambda: SmoothSampler(snapshot.spec),
        tmp_path / "out",
        shard_size=4,
        progress=False,
        about=about,
    )
    card = json.loads((tmp_path / "out" / "card.json").read_bytes())
    with ShardReader(index) as reader:
        metas = [reader.read(s, m).meta for s, shard in enumerate(index.shards) for m in range(shard.count)]
    assert card["count"] == 13
    assert card["index_digest"] == index.digest
    assert card["seeds"] == {"first": 5, "last": 17}
    assert card["truncation"] == dict(Counter(str(meta["truncation"]) for meta in metas))
    assert card["classes"] == dict(Counter(index.classes[meta["class"]] for meta in metas))
    assert card["candidates"] == {"drawn": 13, "accepted": 13, "refused": {}, "surplus": 0, "least": {}}
    assert card["snapshot"]["digest"] == snapshot.digest
    assert card["versions"]["torch"] == torch.__version__
    text = (tmp_path / "out" / "README.md").read_text()
    for word in ("13 of 32x32, RGB, jpg, in 4", "Licence: CC0-1.0", about.command, "contact.jpg", "0.5: 7"):
        assert word in text


def test_the_contact_sheet_shows_the_images(tmp_path: Path) -> None:
    snapshot = write_toy_snapshot(tmp_path / "run", 8)
    index = generate_shards(
        Request(snapshot, 10), lambda: SmoothSampler(snapshot.spec), tmp_path / "out", progress=False
    )
    with Image.open(tmp_path / "out" / "contact.jpg") as picture:
        found = np.asarray(picture).astype(float)
    assert found.shape == (2 * 32, 8 * 32, 3)
    images = torch.cat([images for images, _, _ in read_uint8(index)])
    last = images[9].permute(1, 2, 0).numpy()
    assert np.abs(found[32:, 32:64] - last).mean() < 6
    assert np.abs(found[32:, 64:]).mean() < 3  # places left over
    assert np.abs(found[:32, :32] - last).mean() > 20


def test_a_reduced_image_is_the_mean_of_blocks() -> None:
    image = torch.randint(0, 256, (3, 512, 256), dtype=torch.uint8)
    small = reduced(image)
    mean = image.view(3, 128, 4, 64, 4).float().mean(dim=(2, 4))
    assert (small - mean).abs().max() <= 1  # rounded after each of two passes

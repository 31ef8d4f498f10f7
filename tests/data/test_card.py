"""What a data set says of itself."""

from __future__ import annotations

from pathlib import Path

from pipeline.data.shards.card import data_card
from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.rows import Shard


def test_the_card_says_what_the_data_are(tmp_path: Path) -> None:
    shards = (Shard("a.tar", 3, 2**20, "0" * 64), Shard("b.tar", 4, 2**20, "1" * 64))
    origin = {"source": "photos|2", "crop": "centre", "quality": None}
    index = ShardIndex(tmp_path, shards, 8, 16, 3, tuple(map(str, range(50))), origin)
    card = data_card(index)
    assert "| images | 7, 16x8, RGB |" in card
    assert "| shards | 2, 2.0 MiB |" in card
    assert "39, ... (50 in all) |" in card
    assert "| source | photos\\|2 |" in card
    assert index.digest in card
    (tmp_path / "README.md").write_text("# Faces\nCC0")
    assert data_card(index).endswith("# Faces\nCC0")

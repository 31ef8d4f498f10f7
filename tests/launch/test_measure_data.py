"""`hrgan measure-data`: what it counts, what it says, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from launch.commands.measure_data import fed
from launch.main import main
from pipeline.config.run import DataConfig
from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.reader import ShardReader, read_samples
from pipeline.data.shards.sink import ShardSink
from pipeline.data.streaming.lanes import Order
from pipeline.data.streaming.measuring import Measurement
from pipeline.images.codec import encode
from tests.data.sets import make_set


def photos(root: Path, count: int = 40, side: int = 256) -> ShardIndex:
    chance = np.random.default_rng(0)
    with ShardSink(root, name="data", height=side, width=side, channels=3, shard_size=16) as sink:
        for number in range(count):
            flat = np.full((side, side, 3), number, np.uint8) + chance.integers(
                0, 9, (side, side, 3), np.uint8
            )
            sink.write(f"{number:04d}", encode(flat, "jpg"), "jpg")
    return ShardIndex.read(root)


def test_it_counts_what_workers_deliver_and_the_gpus_they_feed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index = photos(tmp_path / "set")
    assert main(["measure-data", str(index.root), "--seconds", "0.3", "--batch", "8", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["height"], report["width"], report["decoder"]) == (256, 256, "simplejpeg")
    alone = report["alone"]
    sizes = [len(sample.image) for sample in read_samples(index)]
    assert min(sizes) <= alone["bytes"] <= max(sizes)
    assert alone["decode_ms"] > 0
    assert 0 <= alone["waiting_ms"] <= alone["read_ms"]
    assert [speed["workers"] for speed in report["workers"]] == [1, 2, 4]
    for speed in report["workers"]:
        assert 0 <= speed["waiting"] <= 1
        assert speed["batch_ms"] * speed["images_per_second"] == pytest.approx(8000)
        assert speed["bytes_per_second"] == pytest.approx(speed["images_per_second"] * alone["bytes"])
    asked = report["workers"][1]["images_per_second"]
    paper = next(row for row in report["feeds"] if (row["size"], row["gpu"]) == ("paper", "A100"))
    assert paper["gpus_fed"] == pytest.approx(asked / (1000 / 2.19 / 8))


def test_tables_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    index = make_set(tmp_path / "set", 20)
    assert main(["measure-data", str(index.root), "--seconds", "0.1", "--workers", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{index.root}: 8x8, png of 0.1 kB an image, decoded by ")
    assert lines[3].split() == ["workers", "images/s", "MB/s", "ms", "a", "batch", "waiting"]
    assert [line.split()[0] for line in lines[4:6]] == ["1", "2"]
    assert lines[-1] == "What a GPU takes of 8 pixels is not known: no figure is published."


def test_every_rate_is_of_a_known_source() -> None:
    rows = [row for side in (128, 256, 512, 1024) for row in fed(side, 100.0)]
    assert {256, 1024} <= {side for side in (128, 256, 512, 1024) if fed(side, 1.0)}
    for row in rows:
        assert row.source.startswith(("published: ", "ledger: "))
        assert row.gpus_fed * row.images_per_second == pytest.approx(100)
    assert fed(300, 100.0) == []


def test_nothing_is_read_twice_within_an_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = make_set(tmp_path / "set", 4000, shard_size=200)
    places: list[tuple[int, int]] = []
    read = ShardReader.read

    def noted(reader: ShardReader, shard: int, member: int) -> object:
        places.append((shard, member))
        return read(reader, shard, member)

    monkeypatch.setattr(ShardReader, "read", noted)
    measurement = Measurement(index)
    for _ in range(2):
        measurement.alone(0.3)
    assert len(places) > 2
    assert len(set(places)) == len(places)
    here = len(places)
    measurement.together(1, 64, 0.0)
    measurement.alone(0.05)
    order = Order([shard.count for shard in index.shards], seed=0, lanes=DataConfig().lanes)
    read_by_worker = [order.locate(position)[1:] for position in range(here, here + 64)]
    assert places[here] not in (*places[:here], *read_by_worker)


WRONG = {
    "nosuch": "nosuch: no such index; give a folder of shards with its index.json",
    "SET --workers 0": "invalid value for '--workers': must be greater than or equal to 1",
    "SET --workers 1e3": "invalid value for '--workers': ",
    "SET --batch 0": "invalid value for '--batch': must be greater than or equal to 1",
    "SET --seconds 0": "invalid value for '--seconds': must be greater than or equal to 0.1",
    "SET --seconds inf": "invalid value for '--seconds': must be less than or equal to 3600",
    "SET --seconds nan": "invalid value for '--seconds': ",
    "SET --seconds x": "invalid value for '--seconds': ",
    "DAMAGED": "image, label and key do not belong together (crc32 differs); restore it",
}


@pytest.mark.parametrize("arguments", WRONG)
def test_mistakes_and_damage_are_one_line(
    arguments: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index = make_set(tmp_path / "set", 1)
    shard = index.root / index.shards[0].name
    given = arguments.replace("SET", str(index.root)).split()
    if arguments == "DAMAGED":
        given = [str(index.root)]
        data = bytearray(shard.read_bytes())
        at = data.index(b"IDAT")
        data[at + 6] ^= 1
        shard.write_bytes(data)
    assert main(["measure-data", *given]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert WRONG[arguments] in printed.err

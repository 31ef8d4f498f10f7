"""What preparing costs: the table is counted as data sets are written."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pytest

from pipeline.data.preparing.prepare import prepare
from pipeline.data.preparing.settings import Asked
from pipeline.data.sources import names
from tools.research.simulate_prepare import Costs, heads, list_names, measure, rows


def test_bytes_and_index_are_those_of_a_data_set(tmp_path: Path) -> None:
    costs = measure(64, 4)
    assert list(costs.seconds) == ["decode", "hash", "crop, resize", "encode", "write"]
    assert all(seconds >= 0 for seconds in costs.seconds.values())
    index = prepare("demo:faces", tmp_path, Asked(resolution=64, count=40, shard_size=10), workers=1).out
    (made,) = rows(costs, [40_000], tasks=10, cores=4)
    row = dict(zip(heads(10, 4), made, strict=True))
    assert (row["images"], row["shards"], row["files at most"]) == ("40,000", "40", "160")
    entry = len(json.dumps(json.loads((index / "index.json").read_text())["shards"][0], indent=1))
    assert float(row["index, MB"]) * 1e6 / 40 == pytest.approx(entry, rel=0.35, abs=2500)
    assert float(row["GB"]) * 1e9 / 40_000 == pytest.approx(costs.sample_bytes, rel=0.01, abs=2500)


def test_hours_follow_from_seconds() -> None:
    one, two = rows(Costs(256, {"encode": 0.036}, 1e5), [1_000_000, 10_000_000], tasks=100, cores=8)
    assert one[-3:] == ("10.0", "1.25", "0.01")
    assert two[-3:] == ("100.0", "12.50", "0.12")


def test_names_do_not_stay_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "IN_MEMORY", 2000)
    monkeypatch.setattr(names, "_READ_BYTES", 1 << 12)
    list_names(5000)  # what is imported and cached at first
    peaks = []
    for count in (20_000, 60_000):
        tracemalloc.start()
        list_names(count)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # 40,000 more names are 4 MB as text; the order is 8 bytes each, and is drawn and sorted beside others.
    assert peaks[1] - peaks[0] < 40_000 * 40

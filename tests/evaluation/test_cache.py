"""Cached statistics: found by their key, verified, replaced when damaged."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
import torch

from pipeline.evaluation import cache as module
from pipeline.evaluation.cache import StatisticsCache, cache_folder

KEY = {"data": "d" * 64, "count": 3}


def test_what_was_saved_is_found_by_its_whole_key(tmp_path: Path) -> None:
    cache = StatisticsCache(tmp_path, print)
    assert cache.load("moments", KEY) is None
    cache.save("moments", KEY, {"a": torch.arange(4.0)})
    found = cache.load("moments", KEY)
    assert found is not None
    assert torch.equal(found["a"], torch.arange(4.0))
    assert cache.load("features", KEY) is None
    assert cache.load("moments", {**KEY, "count": 4}) is None


@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "sidecar", "renamed"])
def test_damage_is_named_and_computed_again(tmp_path: Path, damage: str) -> None:
    said: list[str] = []
    cache = StatisticsCache(tmp_path, said.append)
    cache.save("moments", KEY, {"a": torch.arange(4.0)})
    (path,) = tmp_path.glob("*.safetensors")
    data = path.read_bytes()
    if damage == "flip":
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif damage == "cut":
        path.write_bytes(data[:-4])
    elif damage == "remove":
        path.unlink()
    elif damage == "sidecar":
        path.with_suffix(".json").write_text("{")
    else:
        path.with_suffix(".json").write_text(path.with_suffix(".json").read_text().replace("3", "4"))
    assert cache.load("moments", KEY) is None
    assert len(said) == 1
    assert path.stem in said[0]
    cache.save("moments", KEY, {"a": torch.arange(4.0)})
    assert cache.load("moments", KEY) is not None


def test_a_kill_between_the_files_leaves_nothing_to_believe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = StatisticsCache(tmp_path, print)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "publish_bytes", killed)
        with pytest.raises(KeyboardInterrupt):
            cache.save("moments", KEY, {"a": torch.ones(1)})
    assert cache.load("moments", KEY) is None


def test_of_many_that_want_the_same_one_makes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL_SECONDS", 0.01)
    said: list[str] = []
    began: list[float] = []
    found: list[torch.Tensor] = []

    def make() -> dict[str, torch.Tensor]:
        began.append(time.monotonic())
        while len(said) < 2 and time.monotonic() < began[0] + 10:  # until the others wait
            time.sleep(0.01)
        return {"a": torch.arange(4.0)}

    def want() -> None:
        found.append(StatisticsCache(tmp_path, said.append).made("moments", KEY, make)["a"])

    jobs = [threading.Thread(target=want) for _ in range(3)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join(30)
    assert len(began) == 1
    assert said == ["another job is building the reals' statistics; waiting for it"] * 2
    assert len(found) == 3
    assert all(torch.equal(one, torch.arange(4.0)) for one in found)
    assert not list(tmp_path.glob(".*"))  # no claim is left


def test_read_only_data_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder(tmp_path / "data", tmp_path / "run") == tmp_path / "run" / "statistics"
    assert cache_folder(tmp_path, tmp_path / "run") == tmp_path / "statistics"

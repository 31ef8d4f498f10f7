"""`hrgan` with data sets in a store, as people start it: a run like one from disk, lines for what fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from launch.assembly.dataset import open_data
from pipeline.config.run import RunConfig
from pipeline.data.preparing.prepare import prepare
from pipeline.data.preparing.settings import Asked
from pipeline.data.shards.index import ShardIndex
from tests.small_run import hrgan, logged, write_config
from tests.tiny_families import tiny_config
from tools.compare_runs import differences
from tools.torture.faulty_store import PASSING, FaultyStore


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("digits") / "shards"
    prepare("demo:digits", out, Asked(resolution=8, channels=1, count=240, shard_size=20))
    return out


def test_a_run_from_a_store_that_fails_is_that_from_disk_and_goes_on_from_disk(
    shards: Path, tmp_path: Path
) -> None:
    config = write_config(tmp_path / "c.yaml", shards, length={"images": 96})
    assert hrgan("train", config, "--run", tmp_path / "disk").returncode == 0

    def choose(method: str, name: str, times: int) -> str | None:
        if method == "HEAD" or not name.endswith(".tar") or times > 1:
            return None
        return PASSING[(int(name[-6:-4]) + times) % len(PASSING)]

    with FaultyStore(shards.parent, choose) as store:
        told = (
            f"data.path={store.url}/shards",
            f"data.cache={tmp_path / 'cache'}",
            "data.store_silence_seconds=0.5",
        )
        half = hrgan("train", config, *told, "length.images=48", "--run", tmp_path / "store")
        assert half.returncode == 0, half.stderr
        assert len(store.faults) > 5
        failed = sum(store.faults.values()) - store.faults["redirect"] - store.faults["no-range"]
        ticks = logged(tmp_path / "store")
        # Chance says which process meets what fails, and whether its images are drawn before the end.
        retries = sum(tick.get("store/retries", 0) for tick in ticks)
        assert retries <= failed
        assert ("asked stores again" in half.stderr) == (retries > 0)
        assert all(tick["speed/data_wait_share"] >= 0 for tick in ticks)
        assert max(tick["speed/data_wait_seconds"] for tick in ticks) > 0
    # The rest comes from disk: where the data lie does not belong to a run.
    done = hrgan("train", config, "--run", tmp_path / "store")
    assert done.returncode == 0, done.stderr
    assert "going on from" in done.stderr
    assert differences(tmp_path / "disk", tmp_path / "store") == []


def test_a_secret_in_a_url_is_refused_in_one_line_and_not_shown(shards: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path / "c.yaml", shards)
    done = hrgan("train", config, "data.path=http://host:pw@host/x", "--run", tmp_path / "none")
    (line,) = done.stderr.strip().splitlines()
    assert done.returncode == 2
    assert line.startswith("hrgan: error: data.path: http://host/x: a URL with a user or a password")
    assert "pw" not in line.replace("password", "")


def test_export_takes_a_url_and_evaluate_measures_only_what_is_on_disk(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HRGAN_CACHE", str(tmp_path / "cache"))
    with FaultyStore(shards.parent) as store:
        done = hrgan("export", f"{store.url}/shards", tmp_path / "files")
        assert done.returncode == 0, done.stderr
        assert len(list((tmp_path / "files").rglob("*.png"))) == ShardIndex.read(shards).count
        done = hrgan("evaluate", f"{store.url}/shards", "--data", shards, "--metrics", "msssim")
        assert done.returncode == 2
        assert "lies in a store; what is measured must be on disk" in done.stderr


def test_settings_of_the_run_reach_the_store(shards: Path, tmp_path: Path) -> None:
    with FaultyStore(shards.parent) as store:
        data = {
            "path": f"{store.url}/shards",
            "second": f"{store.url}/shards",
            "cache": str(tmp_path),
            "cache_gb": 3,
            "store_patience_seconds": 5,
            "store_silence_seconds": 7,
        }
        sets = open_data(RunConfig(family=tiny_config("stylegan2"), data=data))
    for index in sets:
        settings = index.root.settings  # type: ignore[union-attr]
        assert (settings.cache, settings.cache_gb) == (str(tmp_path), 3)
        assert (settings.patience_seconds, settings.silence_seconds) == (5, 7)
    assert sets.claim()["path"] == f"{store.url}/shards"

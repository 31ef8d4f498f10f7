"""ProGAN killed (-9) in each of its fades, 4 to 32 pixels, ends as if nothing had happened."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
import yaml

from pipeline.config.load import load_config
from pipeline.contracts import ImageSpec
from pipeline.data.preparing.prepare import prepare
from pipeline.data.preparing.settings import Asked
from pipeline.models.registry import build_family
from tests.small_run import CONFIG, hrgan, logged, start_hrgan, wait_for
from tools.compare_runs import differences

pytestmark = pytest.mark.slow

FAMILY = {
    "name": "progan",
    "z_dim": 8,
    "fmap_base": 64,
    "fmap_max": 8,
    "minibatch_stddev_group": 2,
    "stable_images": 24,
    "fade_images": 120,
    "gpus": None,
    "level_batches": [8, 8, 8, 4],
}
FADES = {8: range(25, 144), 16: range(169, 288), 32: range(313, 432)}
"""Images seen while the level of so many pixels fades in."""
LENGTH = 464


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    shards = folder / "shards"
    prepare("demo:digits", shards, Asked(resolution=32, channels=1, count=200, shard_size=40))
    settings = {
        **CONFIG,
        "family": FAMILY,
        "length": {"images": LENGTH},
        "data": {**CONFIG["data"], "path": str(shards)},
        "snapshots": {"every_images": 144, "grid": 4},
        "checkpoints": {"every_images": 16},
        "report": {"every_images": 8, "tensorboard": False},
    }
    (folder / "small.yaml").write_text(yaml.safe_dump(settings))
    return folder / "small.yaml"


def test_the_fades_are_where_this_test_kills(config):
    family = build_family(load_config(config).family, ImageSpec(32, 32, 1, 10), batch_size=8)
    for position in range(LENGTH):
        stage = family.schedule.at(position)
        fading = [side for side, images in FADES.items() if position in images]
        assert fading == ([stage.resolution] if stage.fade < 1 else [])


def _newest(run: Path) -> int | None:
    whole = [int(path.parent.name) for path in run.glob("checkpoints/[0-9]*/manifest.json")]
    return max(whole, default=None)


def test_killed_in_every_fade_it_is_identical_to_the_bit(config, tmp_path):
    done = hrgan("train", config, "--run", tmp_path / "straight")
    assert done.returncode == 0, done.stderr
    killed = tmp_path / "killed"
    for images in FADES.values():
        with start_hrgan("train", config, "--run", killed) as process:
            wait_for(process, f"{images.start + 15}/{LENGTH} images")
            # On a busy machine the fade's first checkpoint, written in the background, may not be there yet.
            deadline = time.monotonic() + 30
            while _newest(killed) not in images and time.monotonic() < deadline:
                time.sleep(0.01)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        assert logged(killed)[-1]["images_seen"] in images
        assert _newest(killed) in images
    done = hrgan("train", config, "--run", killed)
    assert done.returncode == 0, done.stderr
    assert differences(tmp_path / "straight", killed) == []
    assert len(list((killed / "snapshots").iterdir())) == 5

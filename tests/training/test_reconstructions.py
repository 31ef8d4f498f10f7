"""The pictures of models that encode images: what the run sees, each image beside its reconstruction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from launch.main import main
from pipeline.config.load import load_config
from pipeline.data.shards.index import ShardIndex
from pipeline.images.pictures import compose_grid
from pipeline.training.pictures import draw_pairs, originals


class Dimming:
    def reconstruct(self, images: torch.Tensor) -> torch.Tensor:
        return images / 2


def test_each_is_followed_by_its_reconstruction():
    images = torch.randn(11, 1, 2, 2)
    pairs = draw_pairs(Dimming(), images)  # type: ignore[arg-type]
    assert torch.equal(pairs[::2], images)
    assert torch.equal(pairs[1::2], images / 2)


@pytest.mark.slow
def test_a_run_shows_its_first_images_and_what_it_makes_of_them(tmp_path: Path):
    assert main(["prepare", "demo:digits", str(tmp_path / "data"), "--count", "40", "--resolution", "8"]) == 0
    (tmp_path / "small.yaml").write_text(
        "length: {images: 16}\nbatch: {size: 8}\ndata: {resolution: 8, workers: 0, lanes: 4}\n"
        "snapshots: {grid: 6}\nengine: {device: cpu, precision: float32}\n"
        "family: {name: autoencoder, base_channels: 32, channel_multipliers: [1, 1], blocks: 1,"
        " perceptual_weight: 0, discriminator: none}\n"
    )
    run = tmp_path / "run"
    call = ["train", str(tmp_path / "small.yaml"), f"data.path={tmp_path / 'data'}", "--run", str(run)]
    assert main(call) == 0
    names = sorted(path.name for path in (run / "samples").iterdir())
    assert names == [
        "000000000000-reconstructions.png",
        "000000000000.png",
        "000000000016-reconstructions.png",
        "000000000016.png",
        "reals.png",
    ]
    first, last = (np.array(Image.open(run / "samples" / names[place]).convert("L")) for place in (0, 2))
    images = originals(ShardIndex.read(tmp_path / "data"), load_config(run / "config.yaml"), 3)
    shown = compose_grid(images, 1)[..., 0]
    for picture in (first, last):  # two pairs in a row
        assert picture.shape == (16, 32)
        assert np.array_equal(picture[:8, :8], shown[:8])
        assert np.array_equal(picture[8:, :8], shown[16:24])
        assert np.array_equal(picture[:8, 16:24], shown[8:16])
    assert not np.array_equal(first[:8, 8:16], last[:8, 8:16])

"""`hrgan generate --deterministic` on a GPU: the same bytes twice, and whatever else is asked."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from launch.assembly.sampling import sampler_of
from pipeline.config.families import StyleGAN2Config
from pipeline.contracts import ImageSpec, Stage
from pipeline.generation.generate import generate_shards
from pipeline.generation.request import Request
from pipeline.models.registry import build_family
from pipeline.storage.snapshots import open_snapshot, write_snapshot

pytestmark = pytest.mark.gpu


def test_deterministic_bytes_do_not_depend_on_the_batch_size(tmp_path: Path) -> None:
    family, spec = StyleGAN2Config(channel_base=4096, channel_max=128), ImageSpec(128, 128, 3)
    torch.manual_seed(0)
    folder = write_snapshot(
        tmp_path / "run",
        build_family(family, spec, batch_size=8).networks().generator.state_dict(),
        family=family,
        spec=spec,
        classes=(),
        stage=Stage(128, 1.0, 8, {}),
        images_seen=0,
        step=0,
        world_size=1,
        config_digest="0" * 64,
        data={},
    )
    snapshot, device = open_snapshot(folder), torch.device("cuda", 0)
    made = []
    for name, batch in (("a", 16), ("b", 16), ("c", 3)):
        request = Request(snapshot, 45, batch_size=batch, device=device, deterministic=True)
        index = generate_shards(
            request, lambda: sampler_of(snapshot, device), tmp_path / name, shard_size=20, progress=False
        )
        made.append((index.digest, [shard.sha256 for shard in index.shards]))
    assert made[0] == made[1] == made[2]

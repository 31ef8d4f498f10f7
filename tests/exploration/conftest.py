"""Snapshots of small generators to explore."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import pytest
import torch
from PIL import Image

from launch.assembly.sampling import sampler_of
from pipeline.contracts import ImageSpec
from pipeline.exploration.subject import Subject
from pipeline.storage.snapshots import open_snapshot, write_snapshot
from tests.models.test_every_family import stir
from tests.tiny_families import DIGITS, PLAIN, seeded_networks, tiny_config, tiny_family


def write(folder: Path, name: str, spec: ImageSpec) -> Path:
    family = tiny_family(name, spec)
    networks = seeded_networks(family)
    stir(networks)
    return write_snapshot(
        folder,
        networks.generator.state_dict(),
        family=tiny_config(name),
        spec=spec,
        classes=[f"c{number}" for number in range(spec.classes)],
        stage=family.schedule.at(10**9),
        images_seen=8,
        step=1,
        world_size=1,
        config_digest="0" * 64,
        data={},
    )


@pytest.fixture(scope="session")
def snapshots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By family, with classes; "plain": StyleGAN2 without."""
    root = tmp_path_factory.mktemp("explore")
    found = {name: write(root / name, name, DIGITS) for name in ("stylegan2", "progan", "biggan", "graf")}
    return found | {"plain": write(root / "plain", "stylegan2", PLAIN)}


@pytest.fixture
def subject(snapshots: dict[str, Path]) -> Subject:
    snapshot = open_snapshot(snapshots["stylegan2"])
    return Subject(snapshot, sampler_of(snapshot, torch.device("cpu")))


def write_bomb(path: Path) -> None:
    """A PNG of a few bytes that says it has 30,000 x 30,000 pixels."""
    buffer = io.BytesIO()
    Image.new("RGB", (1, 1)).save(buffer, "PNG")
    data = buffer.getvalue()
    header = b"IHDR" + struct.pack(">II", 30_000, 30_000) + data[24:29]
    path.write_bytes(data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:])


@pytest.fixture(scope="session")
def bomb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bomb") / "bomb.png"
    write_bomb(path)
    return path

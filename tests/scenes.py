"""A few portraits with their scene graphs, and a model that draws them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from launch.main import main
from pipeline.contracts import Family, ImageSpec
from pipeline.data.shards.index import ShardIndex
from tests.tiny_families import tiny_family


def portraits(folder: Path, count: int) -> ShardIndex:
    """Shards of portraits of 16 pixels."""
    asked = ["--resolution", "16", "--count", str(count), "--fields", "scene"]
    assert main(["prepare", "demo:faces", str(folder), *asked]) == 0
    return ShardIndex.read(folder)


def drawing(spec: ImageSpec) -> Family:
    """A tiny family for such portraits, which draws with their own boxes."""
    spec = replace(spec, classes=0)
    return tiny_family("sg2im", spec, objects=23, relations=6, sampled_boxes="given")

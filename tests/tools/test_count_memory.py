"""Counted memory is what real steps keep alive, and grows with images as a line does."""

from __future__ import annotations

import pytest
import torch
import yaml

from pipeline.config.load import load_config
from pipeline.config.shipped import shipped
from pipeline.contracts import ImageSpec
from tools.bench.families import NoiseStream
from tools.bench.without_data import step_without_data
from tools.research.count_memory import Peaks, memory, table
from tools.tiny_families import PLAIN, TINY, tiny_family, tiny_trainer

SMALL = ["family.channel_base=256", "family.channel_max=16", "family.ada.mode=off", "data.resolution=null"]
SMALL += ["family.minibatch_stddev_group=4", "family.mapping_layers=1", "family.w_dim=16"]


@pytest.mark.parametrize("name", ["biggan", "gat", "progan", "r3gan", "stylegan2", "stylegan3"])
def test_counted_peaks_are_those_of_a_real_step(name, tmp_path):
    plain = tiny_trainer(tiny_family(name, PLAIN))
    stream = NoiseStream(plain.family.spec, 8, torch.device("cpu"))
    plain.stream, real, counted = stream, Peaks(), Peaks()
    plain.around = real.around
    for _ in range(2):  # the second step: the first also makes what stays
        real.clear()
        plain.progress.step, plain.progress.images_seen = 0, 10**9
        plain.step()
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump({"family": {"name": name, **TINY[name]}}))
    step_without_data(load_config(file, []), ImageSpec(8, 8, 1), 8, around=counted.around)
    assert counted.keys() == real.keys()
    for phase, peak in counted.items():
        assert peak == pytest.approx(real[phase], rel=0.1), phase


def test_memory_is_a_line_over_images(monkeypatch):
    config = load_config(shipped("stylegan2-256.yaml"), SMALL)
    peaks = Peaks()
    most = step_without_data(config, ImageSpec(64, 64, 3), 32, around=peaks.around)
    found = memory("stylegan2-256.yaml", 64, SMALL, few=8)
    sizes = {net: 4 * sum(p.numel() for p in module.parameters()) for net, module in most.networks.items()}
    averages = 1 + len(config.averages.widths)
    standing = (4 + averages) * sizes["generator"] + 4 * sizes["discriminator"]
    assert standing + peaks[found.phase] == pytest.approx(found.rest + 32 * found.image, rel=0.03)


def test_what_is_computed_again_is_not_kept():
    kept, again = Peaks(), Peaks()
    for way, peaks in (("off", kept), ("blocks", again)):
        settings = [*SMALL, f"engine.recompute={way}"]
        config = load_config(shipped("stylegan2-256.yaml"), settings)
        step_without_data(config, ImageSpec(64, 64, 3), 8, around=peaks.around)
    assert again["generator"] < 0.8 * kept["generator"]
    assert again["discriminator"] < 0.8 * kept["discriminator"]


def test_the_table_has_a_line_a_resolution():
    found = [
        {"size": size, "image_bytes": 2.5e9, "rest_bytes": rest, "phase": "r1"}
        for size in ("256px", "512px")
        for rest in (1e9, 2e9, 1e9, 1e9)
    ]
    lines = table(found)
    assert len(lines) == 4
    assert lines[2] == "| 256px | 2.50 (r1) | 2.50 (r1) | 2.50 (r1) | 2.50 (r1) | 2.0 |"

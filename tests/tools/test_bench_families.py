"""The benchmark of families: a row a configuration, phases counted as often as they come."""

from __future__ import annotations

import json
import time
from functools import partial

import pytest
import torch

from pipeline.config.families import StyleGAN2Config
from pipeline.errors import UserError
from tools.bench import families as bench_families
from tools.research.peers import PEERS, Peer

SMALL = "family: {name: stylegan2, z_dim: 8, w_dim: 8, mapping_layers: 2, channel_base: 64, r1_every: 4}\n"


@pytest.mark.slow
def test_rows_of_a_configuration_and_what_fails_is_named(tmp_path, capsys):
    (tmp_path / "small.yaml").write_text(SMALL)
    (tmp_path / "wrong.yaml").write_text("family: {name: stylegan2, z_dimm: 8}\n")
    out = tmp_path / "rows.json"
    options = ["--resolution", "16", "--batch", "4", "--rounds", "2", "--json", str(out)]
    code = bench_families.main([*options, str(tmp_path / "small.yaml"), str(tmp_path / "wrong.yaml")])
    assert code == 1
    told = capsys.readouterr().out
    assert "family.z_dimm" in told
    (row,) = json.loads(out.read_text())["rows"]
    assert row["op"] == "iteration, stylegan2"
    assert row["size"] == "16px batch 4 float32"
    phases = row["phases_seconds"]
    assert set(phases) == {"generator", "path_length", "discriminator", "r1"}
    step = phases["generator"] + phases["path_length"] / 4 + phases["discriminator"] + phases["r1"] / 4
    assert row["seconds_per_kimg"] == pytest.approx(250 * step)
    assert row["ms"] >= 1e3 * max(phases.values())
    assert 0.1 < row["peak_gib"] < 8
    assert row["image_seconds"] > 0
    assert bench_families.main([*options, "--generate", str(tmp_path / "small.yaml")]) == 0
    (row,) = json.loads(out.read_text())["rows"]
    assert row["op"] == "image, stylegan2"
    assert row["image_seconds"] > 0
    assert "s/kimg" not in capsys.readouterr().out


class ToyPeer(Peer):
    """A peer whose phases take a known time."""

    name, landmark, trains = "toy", "toy.txt", True

    def __init__(self, checkout, device):
        self.checkout = checkout

    def training(self, config, images, *, low_levels=0):
        assert isinstance(config, StyleGAN2Config)
        assert images.shape == (4, 3, 16, 16)
        seconds = {"Gmain": 0.02, "Greg": 0.08, "Dmain": 0.03, "Dreg": 0.06}
        return {name: partial(time.sleep, share) for name, share in seconds.items()}

    def generator(self, config, resolution):
        def form(z):
            time.sleep(0.05)
            return torch.zeros(len(z), 3, resolution, resolution)

        return {"": form}


def test_a_peer_is_timed_at_the_settings_of_the_configuration(tmp_path, monkeypatch):
    (tmp_path / "small.yaml").write_text(SMALL)
    (tmp_path / "toy.txt").touch()
    monkeypatch.setitem(PEERS, "toy", ToyPeer)
    sizes = ["--resolution", "16", "--batch", "4", "--rounds", "2"]
    given = [*sizes, "--peer", f"toy={tmp_path}", str(tmp_path / "small.yaml")]
    options = bench_families.parser().parse_args(given)
    row = bench_families.measure(options.configs[0], options)
    phases = row["phases_seconds"]
    least = {"generator": 0.02, "path_length": 0.08, "discriminator": 0.03, "r1": 0.06}
    assert all(phases[name] >= seconds for name, seconds in least.items())
    step = phases["generator"] + phases["path_length"] / 4 + phases["discriminator"] + phases["r1"] / 4
    assert row["seconds_per_kimg"] == pytest.approx(250 * step)
    assert row["image_seconds"] >= 0.05
    assert row["peer"] == "toy"
    alone = bench_families.parser().parse_args(["--generate", *given])
    row = bench_families.measure(alone.configs[0], alone)
    assert row["op"] == "image, stylegan2"
    assert row["image_seconds"] >= 0.05
    assert "phases_seconds" not in row
    monkeypatch.setattr(ToyPeer, "trains", False)
    with pytest.raises(UserError, match="--peer toy: trains no stylegan2"):
        bench_families.measure(options.configs[0], options)


def test_a_wrong_peer_is_refused_before_anything_is_timed(tmp_path):
    with pytest.raises(UserError, match="--peer none=x: NAME=CHECKOUT is wanted; known names: "):
        bench_families.main(["--peer", "none=x", str(tmp_path / "small.yaml")])

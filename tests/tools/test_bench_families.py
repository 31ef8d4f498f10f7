"""The benchmark of families: a row a configuration, phases counted as often as they come."""

from __future__ import annotations

import json

import pytest

from tools.bench import families as bench_families

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

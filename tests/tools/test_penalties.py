"""Penalties by differences beside exact ones: what the bench counts and times, and what the table holds."""

from __future__ import annotations

import json

import pytest

from launch.assembly.trainer import family_of
from pipeline.config.load import load_config
from pipeline.config.shipped import shipped
from pipeline.contracts import ImageSpec
from tools.bench.penalties import TIMED, counted, time_rows
from tools.research import penalties

SMALL = ["family.widths=[16,16,8,8]", "family.cardinalities=[4,4,2,2]", "family.label_dim=4"]


def test_differences_hold_less_and_least_where_blocks_compute_again():
    found = {}
    for method in ("exact", "finite_difference"):
        for recompute in ("off", "blocks"):
            ways = [f"family.penalty_method={method}", f"engine.recompute={recompute}"]
            found[method, recompute] = counted("r3gan-32.yaml", 32, [*SMALL, *ways], few=4)["discriminator"]
    (exact, kept), (_, kept_again) = found["exact", "off"], found["exact", "blocks"]
    (flops, held), (_, held_again) = found["finite_difference", "off"], found["finite_difference", "blocks"]
    assert flops == pytest.approx(exact, rel=0.1)
    assert held < 0.8 * kept
    assert held_again < 0.75 * held
    assert kept_again == pytest.approx(kept, rel=0.1)  # second derivatives need what was computed again


@pytest.mark.parametrize("name", TIMED)
def test_timed_batches_are_such_as_the_networks_take(name):
    family_of(load_config(shipped(name)), ImageSpec(64, 64, 3)).check_batch(TIMED[name])


def test_a_row_has_the_time_of_both_ways(capsys):
    (row,) = time_rows("r3gan-32.yaml", range(3), 4, 32, SMALL)
    assert set(row["phases_seconds"]) == set(row["phases_seconds_exact"]) == {"discriminator", "generator"}
    assert row["vs_reference"] == pytest.approx(row["ms"] / row["floor_ms"])
    assert "s/kimg against" in capsys.readouterr().out


def test_the_table_has_both_values_over_a_run(tmp_path, capsys):
    out = tmp_path / "rows.json"
    options = ["--steps", "2", "--every", "2", "--directions", "12", "--moves", "0.01"]
    settings = ["--set", "batch.size=8", "--set", "data.resolution=16"]
    small = tmp_path / "small.yaml"
    small.write_text(
        "batch: {size: 8}\ndata: {resolution: 16}\n"
        "family: {name: r3gan, widths: [12, 8, 8], cardinalities: [3, 2, 2], blocks: [1, 1, 1],\n"
        "  burn_in_images: 8}\n"
    )
    assert penalties.main([str(small), *options, *settings, "--json", str(out)]) == 0
    rows = json.loads(out.read_text())["rows"]
    assert [(row["images"], row["penalty"]) for row in rows] == [(0, "r1"), (0, "r2"), (16, "r1"), (16, "r2")]
    for row in rows:
        assert row["exact"] > 0
        assert row["float32"] == pytest.approx(1, rel=0.5)
        assert row["tf32"] == pytest.approx(row["float32"], rel=0.1)
        assert row["tf32"] != row["float32"]
        assert row["bfloat16"] > 0.9 * row["float32"]
    assert capsys.readouterr().out.count("| R3GAN |") == 4

"""Averages in snapshots: as differences from the generator, each in a file of its own."""

from __future__ import annotations

import json

import pytest
import torch

from pipeline.errors import UserError
from pipeline.storage.averages import Kind, kept_average, stored_averages
from pipeline.storage.manifest import MANIFEST
from pipeline.storage.snapshots import is_averaged, open_snapshot, write_averaged, write_snapshot
from pipeline.storage.start import load_start
from tests.storage.test_snapshots import SPEC, STAGE, StyleGAN2Config

GENERATOR = {"w": torch.linspace(0.5, 2, 64), "huge": torch.zeros(2), "buffer": torch.ones(3)}
AVERAGE = {
    "w": GENERATOR["w"] + torch.linspace(-1e-4, 1e-4, 64),
    "huge": torch.tensor([1e6, 1.0]),  # float16 has no such number
}


def write(run, images=16, widths=(0.05,), since=0):
    return write_snapshot(
        run,
        GENERATOR,
        family=StyleGAN2Config(z_dim=64),
        spec=SPEC,
        classes=["cat", "dog"],
        stage=STAGE,
        images_seen=images,
        step=1,
        world_size=1,
        config_digest="c",
        data={"digest": "d"},
        averages=[kept_average(Kind(width, since), AVERAGE, GENERATOR) for width in widths],
    )


def test_they_come_back_as_near_as_float32_at_half_its_bytes(tmp_path):
    folder = write(tmp_path, widths=(0.05, 0.01))
    first, second = stored_averages(tmp_path)
    assert (first.kind, second.kind, first.images_seen) == (Kind(0.01, 0), Kind(0.05, 0), 16)
    assert first.file == "average-0.01.safetensors"
    found = dict(first.parameters())
    assert found.keys() == AVERAGE.keys()
    assert all(value.dtype == torch.float32 for value in found.values())
    torch.testing.assert_close(found["w"], AVERAGE["w"], rtol=0, atol=2e-7)
    assert torch.equal(found["huge"], AVERAGE["huge"])
    halves = (AVERAGE["w"].half().float() - AVERAGE["w"]).abs().max()
    assert (found["w"] - AVERAGE["w"]).abs().max() < halves / 1000
    assert (folder / first.file).stat().st_size < 64 * 2 + 2 * 4 + 300


def test_a_snapshot_is_whole_without_the_files_of_its_averages(tmp_path):
    folder = write(tmp_path, widths=(0.01, 0.05))
    (folder / "average-0.01.safetensors").unlink()
    assert [one.kind.width for one in stored_averages(tmp_path)] == [0.05]
    assert open_snapshot(folder).weights().keys() == GENERATOR.keys()
    assert load_start(folder).generator.keys() == GENERATOR.keys()


def test_older_snapshots_have_none_and_damaged_ones_are_named(tmp_path):
    write(tmp_path, 8, widths=())
    damaged = write(tmp_path, 16)
    write(tmp_path, 24)
    (damaged / MANIFEST).write_text("{")
    said = []
    assert [one.images_seen for one in stored_averages(tmp_path, said.append)] == [24]
    assert len(said) == 1
    assert said[0].startswith(f"snapshot passed over: {damaged}")


@pytest.mark.parametrize(
    "told",
    [
        {"average-0.05.safetensors": {"width": 0.7, "since": 0}},
        {"average-0.05.safetensors": {"width": 0.05, "since": 16}},
        {"average-0.05.safetensors": {"width": 0.05, "since": -1}},
        {"average-0.05.safetensors": {"width": "x", "since": 0}},
        {"../../other.safetensors": {"width": 0.05, "since": 0}},
        {"average-0.05.safetensors": 3},
        [],
        "averages",
    ],
)
def test_what_no_snapshot_says_is_passed_over(tmp_path, told):
    folder = write(tmp_path)
    body = json.loads((folder / MANIFEST).read_text())
    body["details"]["averages"] = told
    (folder / MANIFEST).write_text(json.dumps(body))
    said = []
    assert stored_averages(tmp_path, said.append) == []
    assert bool(said) == bool(told)


@pytest.mark.parametrize("name", ["average-0.05.safetensors", "generator.safetensors"])
def test_damaged_weights_are_refused_by_name(tmp_path, name):
    folder = write(tmp_path)
    path = folder / name
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    (one,) = stored_averages(tmp_path)
    with pytest.raises(UserError, match=rf"damaged snapshot: .*{name}.*sha256"):
        dict(one.parameters())


def test_what_is_made_of_them_is_a_snapshot_like_its_own(tmp_path):
    of = open_snapshot(write(tmp_path))
    about = {"width": 0.1, "since": 0, "error": 0.001, "parts": 3, "sha256": "s"}
    made = tmp_path / "averages/0.1/snapshots/000000000016"
    assert not is_averaged(made, of, about)
    write_averaged(made, {**GENERATOR, "w": torch.zeros(64)}, of, about)
    assert is_averaged(made, of, about)
    assert not is_averaged(made, of, {**about, "sha256": "of others"})
    found = open_snapshot(made)
    assert (found.images_seen, found.stage, found.spec, found.family) == (16, of.stage, of.spec, of.family)
    assert found.manifest.details["average"] == about
    assert "averages" not in found.manifest.details
    assert found.manifest.details["data"] == {"digest": "d"}
    assert torch.equal(found.weights()["w"], torch.zeros(64))
    assert stored_averages(tmp_path / "averages/0.1") == []

"""Families that need more than images and two networks, through `hrgan train`: they learn, go on bitwise
after a stop, and leave snapshots that draw."""

from __future__ import annotations

import json

import pytest
import torch

from launch.assembly import sampling, training
from pipeline.config.load import load_config, read_dump
from pipeline.errors import UserError
from pipeline.storage.checkpoints import CheckpointStore
from pipeline.storage.snapshots import open_snapshot
from tests.data.fields import make_fields_set
from tests.data.sets import make_set
from tests.small_run import logged
from tests.toy_families import TOYS, Alone, Filled, TwoWays, instead
from tools.compare_runs import differences

CONFIG = """
seed: 3
length: {images: 160}
data: {workers: 0, lanes: 4, mirror: true, labels: false}
batch: {size: 8}
family: {name: mlp}
engine: {device: cpu}
checkpoints: {every_images: 80}
snapshots: {every_images: 160, grid: 4}
report: {every_images: 16, tensorboard: false}
"""
each_toy = pytest.mark.parametrize("name", list(TOYS))


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    make_fields_set(folder / "fields", 40)
    make_set(folder / "second", 27)
    make_set(folder / "plain", 40, labelled=False)
    return folder


def run(sets, run_folder, name: str, *overrides: str):
    """Trains a toy; returns its folder."""
    path = sets / "c.yaml"
    path.write_text(CONFIG)
    data = [f"data.path={sets / 'fields'}"]
    if TOYS[name].needs.second:
        data.append(f"data.second={sets / 'second'}")
    with instead(TOYS[name]):
        assert training.train(load_config(path, [*data, *overrides]), run_folder, 1) == 0
    return run_folder


@each_toy
def test_it_learns_and_goes_on_bitwise(sets, tmp_path, name):
    straight = run(sets, tmp_path / "straight", name)
    stopped = run(sets, tmp_path / "stopped", name, "length.images=80")
    run(sets, stopped, name, "data.workers=1")
    assert differences(straight, stopped) == []
    log = logged(straight)
    assert log[-1]["error"] < 0.95 * log[0]["error"]
    for phase, most in {"alone": {"likelihood": 0.2}, "filled": {"generator": 1.0}}.get(name, {}).items():
        assert log[0][f"gradient_norm/{phase}"] > most  # before clipping, which there was
    other = run(sets, tmp_path / "other seed", name, "seed=4")
    assert differences(straight, other) != []


@each_toy
def test_every_parameter_moves_and_the_snapshot_draws(sets, tmp_path, name):
    folder = run(sets, tmp_path, name)
    first, last = (CheckpointStore(folder, 9).verified(path).load() for path in checkpoints(folder))
    for key, value in last["networks"].items():
        assert not torch.equal(value, first["networks"][key]), key
    assert any(key.startswith("discriminator.") for key in last["networks"]) == (name != "alone")
    slots = {key.rpartition(".")[2] for key in last["optimizers"]}
    assert slots == {slot for rule in TOYS[name].rules.values() for slot in rule.slots}
    with instead(TOYS[name]):
        sampler = sampling.sampler_of(open_snapshot(folder), torch.device("cpu"))
    images = sampler.draw([5, 6, 7]).images
    assert images.shape == (3, 3, 8, 8)
    assert torch.equal(images[1:2], sampler.draw([6]).images)
    assert images.std() > 0


def checkpoints(folder):
    found = CheckpointStore(folder, 9).folders()
    assert len(found) == 2
    return found[::-1]


@each_toy
def test_micro_batches_change_rounding_only(sets, tmp_path, name):
    whole = run(sets, tmp_path / "whole", name, "length.images=16")
    parts = run(sets, tmp_path / "parts", name, "length.images=16", "batch.micro=2")
    assert_close(whole, parts)


def assert_close(first, second) -> None:
    ours, theirs = (CheckpointStore(folder, 1).newest(print).load()["networks"] for folder in (first, second))
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():
        torch.testing.assert_close(theirs[key], value, rtol=1e-4, atol=1e-5, msg=lambda m, k=key: f"{k}: {m}")


@each_toy
def test_the_largest_micro_batch_is_found(sets, tmp_path, name):
    folder = run(sets, tmp_path, name, "length.images=8", "batch.micro=auto")
    assert read_dump(folder / "config.yaml").batch.micro == 8


def test_a_run_knows_its_second_set(sets, tmp_path):
    folder = run(sets, tmp_path / "run", "two ways", "length.images=80")
    held = json.loads((folder / "data.json").read_text())["second"]
    assert held["count"] == 27
    assert open_snapshot(folder).manifest.details["data"]["second"]["digest"] == held["digest"]
    with pytest.raises(UserError, match=r"data\.second: the shards are not the ones that .* was trained on"):
        run(sets, folder, "two ways", f"data.second={sets / 'fields'}")


@pytest.mark.parametrize(
    ("kind", "overrides", "message"),
    [
        (TwoWays, [], r"data\.second: not set, and family mlp learns from two sets"),
        (
            Alone,
            ["data.second=SETS/second"],
            r"data\.second=.*: family mlp learns from one set; allowed: null",
        ),
        (
            TwoWays,
            ["data.second=SETS/small"],
            r"data\.second: .*small holds images of 16x16 with 3 .*8x8 with 3",
        ),
        (TwoWays, ["data.second=/nowhere"], "/nowhere"),
        (
            TwoWays,
            ["data.second=SETS/plain"],
            r"data\.second: .* the field second\.labels, which its samples",
        ),
        (
            Filled,
            ["data.path=SETS/second"],
            r"data\.path: .* the field mask, which its samples lack; there are no",
        ),
    ],
)
def test_data_that_the_family_cannot_use_are_refused(sets, tmp_path, kind, overrides, message):
    if "small" in message:
        from pipeline.data.preparing.prepare import prepare
        from pipeline.data.preparing.settings import Asked

        prepare("demo:digits", sets / "small", Asked(resolution=16, count=8))
    path = sets / "c.yaml"
    path.write_text(CONFIG)
    overrides = [f"data.path={sets / 'fields'}", *(text.replace("SETS", str(sets)) for text in overrides)]
    if kind is Filled:  # which looks for its fields' shapes before
        kind = type("Asking", (Alone,), {"needs": Filled.needs})
    with instead(kind), pytest.raises(UserError, match=message) as refusal:
        training.train(load_config(path, overrides), tmp_path / "run", 1)
    assert len(str(refusal.value).splitlines()) == 1
    assert not (tmp_path / "run").exists()

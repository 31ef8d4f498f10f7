"""Snapshots and run folders: what a person points at, and what is said when it is the wrong thing."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pipeline.config.families import StyleGAN2Config
from pipeline.config.load import digest, read_dump
from pipeline.config.run import RunConfig, StartConfig
from pipeline.contracts import Field, ImageSpec, Stage
from pipeline.errors import Damaged, UserError
from pipeline.reading import checked
from pipeline.storage.lock import only_writer
from pipeline.storage.manifest import MANIFEST
from pipeline.storage.runs import as_begun, claim_run
from pipeline.storage.snapshots import list_snapshots, open_snapshot, write_snapshot
from pipeline.storage.stages import StoredStage

ROOT = Path(__file__).resolve().parents[2]
SPEC = ImageSpec(32, 32, 3, 2)
STAGE = Stage(32, 1.0, 16, {"generator": 0.1, "discriminator": 0.2}, 3, 0.99)


def snapshot(run: Path, images: int, value: float = 1.0, spec: ImageSpec = SPEC) -> Path:
    return write_snapshot(
        run,
        {"w": torch.full((4,), value)},
        family=StyleGAN2Config(z_dim=64),
        spec=spec,
        classes=["cat", "dog"],
        stage=STAGE,
        images_seen=images,
        step=1,
        world_size=1,
        config_digest="c",
        data={"digest": "d"},
    )


def test_a_run_folder_stands_for_its_newest_snapshot(tmp_path):
    snapshot(tmp_path, 8)
    folder = snapshot(tmp_path, 16, 2.0)
    for path in (tmp_path, folder):
        found = open_snapshot(path)
        assert (found.images_seen, found.family.z_dim, found.classes) == (16, 64, ("cat", "dog"))
        assert found.spec == ImageSpec(32, 32, 3, 2)
        assert found.stage == STAGE
        assert torch.equal(found.weights()["w"], torch.full((4,), 2.0))
    assert [path.name for path in list_snapshots(tmp_path)] == ["000000000008", "000000000016"]


@pytest.mark.parametrize("classes", [1, 3, 0])
def test_names_that_are_more_or_fewer_than_the_classes_are_damage(tmp_path, classes):
    folder = snapshot(tmp_path, 8, spec=dataclasses.replace(SPEC, classes=classes))
    with pytest.raises(UserError, match=rf"classes: 2 names of {classes} classes"):
        open_snapshot(folder)


def test_a_resumed_run_leaves_its_snapshots_alone(tmp_path):
    folder = snapshot(tmp_path, 8)
    before = (folder / MANIFEST).stat().st_ino
    snapshot(tmp_path, 8)
    assert (folder / MANIFEST).stat().st_ino == before


def test_what_a_start_that_was_killed_elsewhere_left_goes_with_the_next_snapshot(tmp_path):
    left = tmp_path / "snapshots/.000000000008.01234567-89-89.partial"
    left.mkdir(parents=True)
    (left / "generator.safetensors").write_bytes(b"half")
    folder = snapshot(tmp_path, 8)
    assert list(folder.parent.iterdir()) == [folder]


def rewrite(folder: Path, change) -> None:
    body = json.loads((folder / MANIFEST).read_text())
    change(body)
    (folder / MANIFEST).write_text(json.dumps(body))


def test_wrong_places_get_one_clear_line(tmp_path):
    run = tmp_path / "run"
    folder = snapshot(run, 8)
    cases = {
        tmp_path / "nowhere": "no such folder",
        tmp_path: "neither a snapshot .* nor a run with snapshots",
    }
    for path, message in cases.items():
        with pytest.raises(UserError, match=message):
            open_snapshot(path)
    weights = folder / "generator.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"damaged snapshot: .*generator.safetensors: \d+ bytes"):
        open_snapshot(folder).weights()
    rewrite(folder, lambda body: body["details"]["family"].update(name="nogan"))
    with pytest.raises(UserError, match=r"manifest.json: details: family: .*; this version cannot read it"):
        open_snapshot(folder)
    rewrite(folder, lambda body: body.update(kind="checkpoint"))
    with pytest.raises(UserError, match="a checkpoint; allowed: a snapshot or a run folder"):
        open_snapshot(folder)
    (folder / MANIFEST).write_text("{")
    with pytest.raises(UserError, match=r"damaged snapshot: .*not valid JSON"):
        open_snapshot(folder)


def config(size: int = 32, images: str = "1M") -> RunConfig:
    return RunConfig(family=StyleGAN2Config(), batch={"size": size}, length={"images": images})


def test_a_run_that_belongs_to_another_config_names_the_keys(tmp_path):
    claim_run(tmp_path, config(size=32), {"digest": "d"})
    claim_run(tmp_path, config(size=32, images="5k"), {"digest": "d"})
    assert read_dump(tmp_path / "config.yaml").length.images == 5000
    with pytest.raises(UserError, match=r"belongs to another configuration \(batch.size: 32 -> 64\)"):
        claim_run(tmp_path, config(size=64), {"digest": "d"})


def test_a_run_keeps_the_transfer_that_it_began_with(tmp_path):
    """Whatever a later start says of its source, and if it is started from its own settings."""
    family = StyleGAN2Config(ema_ramp=0.05, ema_from_images=8, ada={"mode": "adaptive"})
    plain = RunConfig(family=family)
    given = plain.model_copy(update={"start": StartConfig(source="elsewhere")})
    first = as_begun(given, tmp_path)
    average = (first.family.ema_ramp, first.family.ema_from_images, first.family.ada.adjust_images)
    assert average == (None, 0, 100_000)
    claim_run(tmp_path, first, {"digest": "d"})
    for later in (given, plain, read_dump(tmp_path / "config.yaml")):
        again = as_begun(later, tmp_path)
        assert again.start.transfer
        assert digest(again) == digest(first)
        claim_run(tmp_path, again, {"digest": "d"})


@pytest.mark.parametrize("source", [None, "elsewhere"])
def test_a_run_from_before_there_was_a_transfer_goes_on_as_it_was(tmp_path, source):
    config = RunConfig(family=StyleGAN2Config(ema_ramp=0.05), start=StartConfig(source=source))
    claim_run(tmp_path, config, {"digest": "d"})
    path = tmp_path / "config.yaml"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(line for line in lines if "transfer:" not in line))
    again = as_begun(config, tmp_path)
    assert (again.family, again.start.transfer) == (config.family, False)
    claim_run(tmp_path, again, {"digest": "d"})


@pytest.mark.parametrize(
    ("start", "ada", "wanted"),
    [
        ({}, {}, (0.05, 500_000)),
        ({"source": "x"}, {}, (None, 100_000)),
        ({"source": "x"}, {"adjust_images": 500_000}, (None, 500_000)),
        ({"source": "x", "transfer": False}, {}, (0.05, 500_000)),
        ({"transfer": True}, {}, (None, 100_000)),
    ],
)
def test_what_a_transfer_makes_of_a_configuration(tmp_path, start, ada, wanted):
    config = RunConfig(family=StyleGAN2Config(ema_ramp=0.05, ada=ada), start=start)
    begun = as_begun(config, tmp_path / "none").family
    assert (begun.ema_ramp, begun.ada.adjust_images) == wanted


def test_a_run_on_other_data_is_refused(tmp_path):
    claim_run(tmp_path, config(), {"digest": "aaaa"})
    with pytest.raises(
        UserError,
        match=r"the shards are not the ones .* \(index digest bbbb, was aaaa\); .* with start\.source=",
    ):
        claim_run(tmp_path, config(), {"digest": "bbbb"})
    (tmp_path / "data.json").write_text("{")
    with pytest.raises(UserError, match=r"data\.json: not valid"):
        claim_run(tmp_path, config(), {"digest": "aaaa"})


def test_two_writers_are_told_apart_and_a_dead_one_holds_nothing(tmp_path):
    code = (
        "import sys, os; from pathlib import Path; from pipeline.storage.lock import only_writer\n"
        "with only_writer(Path(sys.argv[1])):\n    print('in', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout.readline() == b"in\n"
        with pytest.raises(UserError, match="another process is writing this folder"), only_writer(tmp_path):
            pass
        other.kill()
    with only_writer(tmp_path):
        pass


def test_a_stored_stage_has_the_fields_of_a_stage_and_comes_back_as_it_was():
    stored, stage = dataclasses.fields(StoredStage), dataclasses.fields(Stage)
    assert [field.name for field in stored] == [field.name for field in stage]
    rates = {"generator": 0.1, "discriminator": 0.2}
    given = Stage(8, 0.5, 4, rates, 2, 0.9, {"generator": 0.99}, {"r1_gamma": 0.3})
    content = json.loads(json.dumps(dataclasses.asdict(given)))
    assert checked(StoredStage, content, "a stage").restored() == given
    for key, value in (("fade", "whole"), ("weights", {"r1_gamma": None}), ("rates", {"critic": 0.1})):
        with pytest.raises(Damaged, match=rf"a stage: {key}"):
            checked(StoredStage, {**content, key: value}, "a stage")


def test_a_spec_says_its_fields_only_where_there_are_some(tmp_path):
    spec = ImageSpec(
        32, 32, 3, 2, (Field("mask", "mask", (32, 32)), Field("second.labels", "array", (), "int64"))
    )
    for number, one in enumerate((ImageSpec(32, 32, 3, 2), spec)):
        folder = snapshot(tmp_path / str(number), 0, spec=one)
        content = json.loads((folder / MANIFEST).read_text())
        assert ("fields" in content["details"]["spec"]) == bool(one.fields)
        assert open_snapshot(folder).spec == one
    content["details"]["spec"]["fields"][0]["shape"] = [1 << 40, 32]
    (folder / MANIFEST).write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"spec: field 'mask' of shape \[1099511627776, 32\]"):
        open_snapshot(folder)

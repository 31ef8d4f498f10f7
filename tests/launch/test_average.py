"""`hrgan average` and `hrgan evaluate RUN --widths`: from a run's snapshots to another average, and which is
best."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from launch.assembly.sampling import sampler_of
from launch.main import main
from pipeline.config.families import FamilyConfig
from pipeline.contracts import ImageSpec
from pipeline.evaluation.results import Result
from pipeline.evaluation.widths import widths_picture
from pipeline.storage.averages import kept_average, stored_averages
from pipeline.storage.manifest import MANIFEST
from pipeline.storage.snapshots import open_snapshot, write_snapshot
from pipeline.training.ema import TrackedAverages
from tests.averaged_run import WIDTHS
from tests.evaluation.worlds import write_shards
from tests.tiny_families import seeded_networks, tiny_config, tiny_family

SPEC = ImageSpec(16, 16, 1)
STEPS, BATCH = 24, 8
LAST = STEPS * BATCH
NAME = "stylegan2"
CONFIG: FamilyConfig = tiny_config(NAME)


@pytest.fixture(scope="module")
def walked(tmp_path_factory) -> Path:
    """A run whose generator went at random, with a snapshot at every step."""
    run, family = tmp_path_factory.mktemp("walked") / "run", tiny_family(NAME, SPEC)
    generator, numbers = seeded_networks(family).generator, torch.Generator().manual_seed(0)
    tracked = TrackedAverages(generator, WIDTHS)
    for step in range(STEPS + 1):
        seen = step * BATCH
        if step:
            with torch.no_grad():
                for value in generator.parameters():
                    value.add_(torch.randn(value.shape, generator=numbers), alpha=0.05)
            tracked.update(seen, BATCH)
        weights = generator.state_dict()
        kept = [kept_average(kind, average, weights) for kind, average in tracked.at(seen).items()]
        write_snapshot(
            run,
            weights,
            family=CONFIG,
            spec=SPEC,
            classes=(),
            stage=family.schedule.at(seen),
            images_seen=seen,
            step=step,
            world_size=1,
            config_digest="c",
            data={},
            averages=kept,
        )
    return run


@pytest.fixture
def run(walked, tmp_path) -> Path:
    return Path(shutil.copytree(walked, tmp_path / "run"))


def said(capsys, *arguments: object, code: int = 0) -> tuple[str, str]:
    assert main([str(argument) for argument in arguments]) == code
    captured = capsys.readouterr()
    return captured.out, captured.err


def test_a_width_becomes_a_snapshot_in_a_folder_of_its_own(run, capsys):
    out, err = said(capsys, "average", run, "--width", "0.1")
    folder = run / f"averages/0.1/snapshots/{LAST:012d}"
    assert out.startswith(
        f"{folder}: width 0.1 at 192 images, of 72 stored averages; its profile is matched "
    )
    assert err == ""
    made = open_snapshot(folder)
    about = made.manifest.details["average"]
    assert (made.images_seen, about["width"], about["since"], about["parts"]) == (LAST, 0.1, 0, 72)
    exact = dict(stored_averages(run)[-1].parameters())
    weights = made.weights()
    assert all(torch.allclose(weights[name], value, atol=1e-5) for name, value in exact.items())
    ours = open_snapshot(run).weights()
    assert weights.keys() == ours.keys()
    assert not torch.equal(weights["mapping.w_avg"], ours["mapping.w_avg"])  # that of the average itself
    for name in weights:
        if name.endswith("noise_const"):
            assert torch.equal(weights[name], ours[name])
    images = sampler_of(made, torch.device("cpu")).draw([3, 4], truncation=0.5).images
    assert images.shape == (2, 1, 16, 16)
    assert open_snapshot(run).folder.parent == run / "snapshots"  # the run's own are as they were
    assert open_snapshot(run / "averages/0.1").folder == folder


def test_it_is_made_once_and_anew_when_what_it_is_made_of_is_another(run, capsys):
    asked = ("average", run, "--width", "0.03", "--at", "96")
    said(capsys, *asked)
    manifest = run / f"averages/0.03/snapshots/{96:012d}" / MANIFEST
    before = manifest.stat().st_ino
    said(capsys, *asked)
    assert manifest.stat().st_ino == before
    shutil.rmtree(run / f"snapshots/{88:012d}")
    said(capsys, *asked)
    assert manifest.stat().st_ino != before
    assert json.loads(manifest.read_text())["details"]["average"]["parts"] == 33


def test_a_folder_of_ones_own(run, tmp_path, capsys):
    for _ in range(2):
        out, _ = said(capsys, "average", run, "--width", "0.1", "--out", tmp_path / "chosen")
        assert out.startswith(f"{tmp_path / 'chosen'}: ")
    assert not (run / "averages").exists()
    _, err = said(capsys, "average", run, "--width", "0.05", "--out", tmp_path / "chosen", code=2)
    assert "--out" in err
    assert "allowed: a new or an empty folder" in err


def test_a_width_that_cannot_be_told_apart_is_made_with_a_warning(run, capsys):
    out, err = said(capsys, "average", run, "--width", "0.0006")
    assert "width 0.0006" in out
    assert err.startswith(
        "hrgan: width 0.0006: the snapshots up to 192 images match its profile only within "
    )
    assert "averages.widths" in err


WRONG = {
    ("--width", "0.3"): "--width 0.3: must be above 0 and below 0.2886",
    ("--width", "0"): "--width 0: must be above 0",
    ("--width", "nan"): "--width nan: must be above 0",
    ("--width", "0.1", "--at", "91"): "--at 91: no snapshot there keeps averages; allowed: such as 88 or 96",
    ("--width", "0.1", "--at", "0"): "--at 0: no snapshot there keeps averages",
    ("--width", "0.1", "--at", "soon"): "--at soon: not a count",
}


@pytest.mark.parametrize("words", WRONG)
def test_what_is_wrong_is_one_line(walked, capsys, words):
    out, err = said(capsys, "average", walked, *words, code=2)
    assert out == ""
    assert err.startswith(f"hrgan: error: {WRONG[words]}")
    assert err.count("\n") == 1


def test_what_is_no_run_with_averages_is_refused(run, tmp_path, capsys):
    for source, why in (
        (tmp_path / "none", "no such folder"),
        (run / f"snapshots/{LAST:012d}", "a single snapshot"),
        (tmp_path, "its snapshots keep no averages"),
    ):
        _, err = said(capsys, "average", source, "--width", "0.1", code=2)
        assert err.startswith(f"hrgan: error: {source}: {why}")


def test_a_scan_of_widths_is_a_table_a_picture_and_results_that_stand(run, tmp_path, capsys):
    shards = tmp_path / "shards"
    write_shards(shards, 24, 16, 1)
    asked = ("evaluate", run, "--data", shards, "--metrics", "swd", "--count", 16)
    asked += ("--widths", "0.1,0.01", "--at", "96", "--seeds", "2")
    out, _ = said(capsys, *asked)
    lines = out.splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["width", "own", "0.01", "0.1"]
    assert lines[-1] == f"picture: {run / 'averages' / f'{96:012d}.png'}"
    with Image.open(run / f"averages/{96:012d}.png") as picture:
        assert picture.size[0] > 300
    results = [run / f"averages/{width}/metrics/{96:012d}.json" for width in ("0.01", "0.1")]
    results.append(run / f"metrics/{96:012d}.json")
    values = {json.loads(path.read_text())["metrics"]["swd"]["value"] for path in results}
    assert len(values) == 3
    before = [path.stat().st_mtime_ns for path in results]
    assert said(capsys, *asked)[0] == out
    assert [path.stat().st_mtime_ns for path in results] == before
    assert (run / "averages/0.1/tensorboard/evaluation").is_dir()  # a curve of its own


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--widths", "0.1", "--all"), "--widths: compares averages at one position"),
        (("--widths", "0.1", "--watch"), "--widths: compares averages at one position"),
        (("--at", "96"), "--at: is only used with --widths"),
        (("--widths", "0.1,x"), "--widths 0.1,x: must be numbers"),
        (("--widths", "0.1,0.4"), "--widths 0.4: must be above 0"),
        (("--widths", "0.1", "--at", "91"), "--at 91: no snapshot there keeps averages"),
    ],
)
def test_a_scan_that_cannot_be_is_refused(walked, tmp_path, capsys, words, why):
    write_shards(tmp_path / "shards", 12, 16, 1)
    _, err = said(
        capsys, "evaluate", walked, "--data", tmp_path / "shards", "--metrics", "swd", *words, code=2
    )
    assert f"hrgan: error: {why}" in err


def test_a_single_width_has_a_picture_like_others():
    def result(value: float) -> Result:
        return Result(8, "s", {"swd": {"value": value, "low": value - 1, "high": value + 1}})

    picture = widths_picture({None: result(5.0), 0.01: result(2.0), 0.1: result(9.0)}, "title")
    assert picture.any(axis=-1).mean() > 0.5
    assert widths_picture({0.05: result(1.0)}, "one").shape == picture.shape

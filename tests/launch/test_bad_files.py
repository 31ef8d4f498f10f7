"""Files of a run that a crash or a stranger has left: each command says one line, or goes on without them."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from launch.cluster.record import make_way
from launch.cluster.run_states import find_runs
from launch.main import main
from pipeline.errors import Damaged
from pipeline.evaluation.results import read_result, read_results, standing_result
from pipeline.storage.ending import ENDING
from pipeline.storage.job import read_job
from tests.bad_files import BAD
from tests.launch.clusters import cluster_file
from tests.small_run import write_config

pytestmark = pytest.mark.timeout(300, func_only=True)  # a pipe must not be waited for


@pytest.fixture(scope="module")
def trained(home, tmp_path_factory) -> Path:
    """A folder with two runs, one of them evaluated."""
    folder = tmp_path_factory.mktemp("bad")
    config = write_config(
        folder / "c.yaml",
        home / "shards",
        length={"images": 16},
        checkpoints={"every_images": 8},
        snapshots={"every_images": 16, "grid": 4},
        family={"minibatch_stddev_group": 1},
    )
    for name in ("a", "b"):
        assert main(["train", str(config), "--run", str(folder / "runs" / name)]) == 0
    assert main(evaluation(folder, home)) == 0
    return folder


def evaluation(folder: Path, home: Path) -> list[str]:
    words = ["evaluate", str(folder / "runs/a"), "--data", str(home / "shards")]
    return [*words, "--metrics", "swd", "--count", "32", "--watch", "--poll", "0.1"]


@pytest.fixture
def runs(trained, tmp_path) -> Path:
    shutil.copytree(trained, tmp_path / "copy")
    return tmp_path / "copy"


SHOWN = ("job.json", "log.jsonl", "config.yaml", "metrics/000000000016.json")


@pytest.mark.parametrize("name", SHOWN)
def test_runs_shows_the_others_and_a_line_for_each_bad_file(runs, capsys, name):
    path = runs / "runs/a" / name
    whole = path.read_bytes()
    for bad, make in BAD.items():
        path.write_bytes(whole)
        make(path)
        capsys.readouterr()
        assert main(["runs", str(runs / "runs")]) == 0, bad
        out = capsys.readouterr().out
        rows = {Path(line.split()[0]).name: line.split()[1] for line in out.splitlines() if "/runs/" in line}
        assert rows["b"] == "finished", bad
        assert out.replace("\n", "").isprintable(), bad
        faults = [line for line in out.splitlines() if line.startswith("damaged: ")]
        assert all(str(path) in line for line in faults), bad
        assert len(faults) == (0 if (bad, name) == ("empty", "log.jsonl") else 1), bad
        assert main(["runs", str(runs / "runs"), "--json"]) == 0, bad
        states = json.loads(capsys.readouterr().out)["runs"]
        assert [Path(state["run"]).name for state in states] == ["a", "b"], bad
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()


@pytest.mark.parametrize("bad", ["deep", "folder", "pipe", "texts"])
def test_train_goes_on_from_the_newest_whole_checkpoint(runs, capsys, bad):
    run = runs / "runs/a"
    (run / ENDING).write_text(json.dumps({"metric": None, "patience_images": 2_000_000}))
    names = ["job.json", ENDING, "checkpoints/000000000016/manifest.json"]
    for name in [*names, *(["log.jsonl"] if bad in ("deep", "texts") else [])]:
        BAD[bad](run / name)
    assert main(["train", str(runs / "c.yaml"), "--run", str(run)]) == 0
    said = capsys.readouterr().err
    (job, checkpoint) = sorted(line for line in said.splitlines() if line.startswith("hrgan: warning: "))
    assert "warning: checkpoint passed over: " in checkpoint
    assert str(run / "job.json") in job
    assert "kept as job.json.damaged" in job
    assert f"going on from {run / 'checkpoints/000000000008'} (8 images)" in said
    assert read_job(run).state == "finished"
    assert os.path.lexists(run / "job.json.damaged")
    logged = [json.loads(line)["images_seen"] for line in (run / "log.jsonl").read_text().splitlines()]
    assert logged == ([16] if bad in ("deep", "texts") else [8, 16])


@pytest.mark.parametrize("bad", ["null", "deep", "folder", "pipe", "400 digits"])
@pytest.mark.parametrize("name", ["config.yaml", "data.json"])
def test_train_refuses_what_it_cannot_go_on_without(runs, capsys, name, bad):
    path = runs / "runs/a" / name
    BAD[bad](path)
    assert main(["train", str(runs / "c.yaml"), "--run", str(path.parent)]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("hrgan: error: ")]
    (line,) = lines
    assert str(path) in line
    assert "remove it to" in line


@pytest.mark.parametrize("bad", ["deep", "folder", "pipe", "escapes"])
def test_evaluate_names_a_bad_result_and_measures_it_anew(runs, home, capsys, bad):
    run = runs / "runs/a"
    whole = read_results(run)
    BAD[bad](run / "metrics/000000000016.json")
    if bad != "folder":  # which stands in the way of the new one
        BAD[bad](run / "tensorboard/evaluation/projector.json")
    assert main(evaluation(runs, home)) == 0
    said = capsys.readouterr()
    (line,) = [line for line in said.err.splitlines() if "measured anew" in line]
    assert f"{run}/metrics/000000000016.json: " in line
    assert "kept as 000000000016.json.damaged" in line
    assert (said.out + said.err).replace("\n", "").replace("\r", "").replace("\t", "").isprintable()
    assert [result.metrics for result in read_results(run)] == [result.metrics for result in whole]


def test_a_bad_result_among_others_is_passed_over_by_who_only_reads(runs):
    metrics, said = runs / "runs/a/metrics", []
    (metrics / "000000000008.json").write_text('{"images_seen": 8, "snapshot": "x", "metrics": {"swd": {}}}')
    assert [result.images_seen for result in read_results(runs / "runs/a", said.append)] == [0, 16]
    assert said == [f"{metrics}/000000000008.json: metrics: swd: value: field required; passed over"]
    with pytest.raises(Damaged):
        read_result(metrics / "000000000008.json")
    assert standing_result(metrics / "000000000008.json", said.append) is None
    assert (metrics / "000000000008.json.damaged").is_file()


SNAPSHOT = "runs/a/snapshots/000000000016"


@pytest.mark.parametrize("bad", [name for name in BAD if name != "date"])
def test_a_bad_snapshot_is_a_line(runs, capsys, bad):
    path = runs / SNAPSHOT / "manifest.json"
    BAD[bad](path)
    words = [
        ["generate", str(runs / "runs/a"), str(runs / "out"), "--count", "2"],
        ["explore", str(runs / "runs/a"), "sefa", str(runs / "x.png"), "--count", "1"],
        ["train", str(runs / "c.yaml"), "--run", str(runs / "new"), f"start.source={runs / SNAPSHOT}"],
    ]
    for command in words[: 3 if bad == "deep" else 2]:
        assert main(command) == 2
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("hrgan: error: ")]
        (line,) = lines
        assert str(path) in line
        assert line.isprintable()


@pytest.mark.parametrize("bad", [name for name in BAD if name not in ("escaped key", "date")])
def test_a_bad_index_is_a_line(home, tmp_path, capsys, bad):
    shards = tmp_path / "shards"
    shutil.copytree(home / "shards", shards)
    BAD[bad](shards / "index.json")
    assert main(["export", str(shards), str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(shards / "index.json") in line
    assert line.isprintable()


@pytest.mark.parametrize("bad", ["list", "deep", "pipe", "folder", "device", "date", "bytes"])
@pytest.mark.parametrize("name", ["cluster.yaml", "c.yaml"])
def test_a_bad_configuration_is_a_line(home, tmp_path, capsys, name, bad):
    cluster_file(tmp_path)
    shutil.copy(home / "c.yaml", tmp_path)
    BAD[bad](tmp_path / name)
    words = ["submit", "train", str(tmp_path / "c.yaml"), "--cluster", str(tmp_path / "cluster.yaml")]
    assert main([*words, "--dry-run"]) == 2
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert str(tmp_path / name) in line
    assert said.out == ""


def test_yaml_that_grows_or_goes_deep_is_a_line(home, tmp_path, capsys):
    laughs = "a: &a [x, x]\n" + "".join(
        f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdef", "bcdefg", strict=True)
    )
    texts = [laughs, "- " * 50_000, "".join(" " * n + "a:\n" for n in range(600)), 'seed: "\\ud800"\n']
    for text in [*texts, "a: " + "1" * 300_000 + "\n", "".join(f"a{n}: 1\n" for n in range(10_000))]:
        (tmp_path / "c.yaml").write_text(text)
        assert main(["train", str(tmp_path / "c.yaml"), "--run", str(tmp_path / "r")]) == 2
        lines = capsys.readouterr().err.splitlines()
        assert 1 <= len(lines) <= 21
        assert max(map(len, lines)) < 1000
    assert main(["train", str(home / "c.yaml"), "seed=" + "[" * 5000]) == 2
    assert "nested deeper than" in capsys.readouterr().err


def test_the_end_of_a_batch_script_and_training_move_a_bad_job_aside(tmp_path, capsys):
    for number, bad in enumerate(["deep", "pipe", "folder"], 1):
        (tmp_path / "job.json").write_text("{}")
        BAD[bad](tmp_path / "job.json")
        make_way(tmp_path)
        assert "the run goes on without it" in capsys.readouterr().err
        assert len(list(tmp_path.glob("job.json.damaged*"))) == number
        assert read_job(tmp_path) is None


def test_names_of_folders_that_only_look_like_numbers_are_no_positions(tmp_path, capsys):
    run = tmp_path / "a"
    for name in ("²", "9" * 200, "١٢"):
        (run / "checkpoints" / name).mkdir(parents=True)
        (run / "checkpoints" / name / "manifest.json").write_text("{}")
        (run / "metrics").mkdir(exist_ok=True)
        (run / "metrics" / f"{name}.json").write_text("{}")
    (run / "config.yaml").write_text("length: {images: 8}\n")
    assert [path.name for path in find_runs(tmp_path)] == ["a"]
    assert main(["runs", str(tmp_path)]) == 0
    assert "damaged" not in capsys.readouterr().out

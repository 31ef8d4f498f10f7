"""`hrgan submit` on no cluster: the script, the sweep, and what is written down and put back."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from launch.assembly.training import check_start
from launch.cluster.sweep import split_values, sweep_runs
from launch.main import main
from pipeline.config.load import digest, load_cluster, load_config, read_dump
from pipeline.errors import UserError
from pipeline.storage.job import Job, read_job, write_job
from tests.launch.clusters import CLUSTER, cluster_file, dry, options, sruns, submit_train
from tests.small_run import ROOT

CLUSTERS = ROOT / "configs/cluster"


def test_each_key_of_the_cluster_stands_in_the_script(home, tmp_path, capsys):
    run = tmp_path / "a run"
    script = dry(capsys, "train", home / "c.yaml", "--cluster", cluster_file(tmp_path), "--run", run)
    assert options(script) == {
        "partition": "gpu",
        "account": "faces",
        "qos": "long",
        "constraint": "a100&nvlink",
        "nodes": "2",
        "gpus-per-node": "4",
        "ntasks-per-node": "4",
        "cpus-per-task": "6",
        "mem": "102912M",
        "time": "90",
        "signal": "USR2@200",
        "exclusive": "",
        "requeue": "",
        "open-mode": "append",
        "job-name": "hrgan-train-a run",
        "comment": f"hrgan train {run}",
        "output": f"{run}/jobs/%j_0_log.out",
        "mail-user": "me@host",
        "hold": "",
        "nice": "10",
    }
    assert not run.exists()
    lines = script.splitlines()
    first = lines.index("module load cuda/13")
    exports = [shlex.split(line)[1] for line in lines[first + 1 : first + 4]]
    assert sorted(exports) == ["HRGAN_OPS_CACHE=/shared/ops", "NCCL_DEBUG=a 'b'", "NCCL_IB_TIMEOUT=22"]
    assert "export HRGAN_REQUEUE=7" in lines
    (srun,) = sruns(script)
    assert first < next(i for i, line in enumerate(lines) if line.startswith("srun "))
    assert {"--cpus-per-task=6", "--kill-on-bad-exit=1", f"--output={run}/jobs/%j_%t_log.out"} <= set(srun)
    settings = f"{run}/jobs/train.yaml"
    assert srun[-8:] == [*CLUSTER["container"], "hrgan", "train", settings, "--run", str(run)]
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0


def test_a_job_trains_by_the_settings_that_follow_from_data_and_source(home, tmp_path, slurm_stand_ins):
    """As the same command without a cluster: what is derived is not lost when all keys are written out."""
    overrides = ("family.auto_gpus=8", "family.r1_gamma=7", f"start.source={tmp_path / 'one'}")
    (tmp_path / "auto.yaml").write_text(
        f"family: {{name: stylegan2, ada: {{mode: adaptive}}}}\ndata: {{path: {home / 'shards'}}}\n"
    )
    words = ["submit", "train", tmp_path / "auto.yaml", *overrides, "--run", tmp_path / "r"]
    assert main([*map(str, words), "--cluster", cluster_file(tmp_path)]) == 0
    written = read_dump(tmp_path / "r" / "jobs" / "train.yaml")
    family = written.family
    assert (written.batch.size, family.mapping_layers, family.label_mapping_layers) == (64, 2, 8)
    assert (family.r1_gamma, family.ema_ramp, family.ada.adjust_images) == (7, None, 100_000)
    direct = load_config(tmp_path / "auto.yaml", overrides)
    for config in (written, direct):
        assert digest(check_start(config, tmp_path / "r", 8)) == digest(written)


def test_what_is_not_given_is_not_asked_for(home, tmp_path, capsys):
    (tmp_path / "small.yaml").write_text("time: 61s\nsignal_seconds: 10\n")
    script = dry(
        capsys, "train", home / "c.yaml", "--cluster", tmp_path / "small.yaml", "--run", tmp_path / "r"
    )
    asked = options(script)
    assert {"nodes": "1", "ntasks-per-node": "1", "cpus-per-task": "1", "time": "2"}.items() <= asked.items()
    assert asked.keys().isdisjoint({"partition", "gpus-per-node", "mem", "exclusive", "dependency", "wckey"})
    (srun,) = sruns(script)
    assert srun[srun.index("train") - 3 : srun.index("train")] == [sys.executable, "-m", "launch.main"]


def test_processes_and_program(home, tmp_path, capsys):
    cluster = cluster_file(tmp_path, tasks_per_node=2, program=["my python", "-m", "launch.main"])
    script = dry(
        capsys, "train", home / "c.yaml", "--cluster", cluster, "--run", tmp_path / "r", "--nodes", 1
    )
    assert {"nodes": "1", "ntasks-per-node": "2", "gpus-per-node": "4"}.items() <= options(script).items()
    assert sruns(script)[0][-7:-4] == ["my python", "-m", "launch.main"]


def _stand_ins(folder: Path) -> dict[str, str]:
    """srun, scontrol and the program that write down what they are called with, and end with $STATUS."""
    for name in ("srun", "scontrol", "program"):
        path = folder / name
        path.write_text('#!/bin/bash\nprintf "%s\\n" "${0##*/} $*" >> "$CALLS"\nexit ${STATUS:-0}\n')
        path.chmod(0o755)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "CALLS": str(folder / "calls")}


def test_each_task_of_an_array_runs_its_own_run(home, tmp_path, capsys):
    sweep = ("--sweep", "family.r1_gamma=1,2.5", "--sweep", "seed=3,4")
    cluster = cluster_file(tmp_path, setup=[], container=[], program=["program"])
    script = dry(capsys, "train", home / "c.yaml", "--cluster", cluster, "--run", tmp_path / "r", *sweep)
    asked = options(script)
    assert asked["array"].startswith("0-3")
    assert asked["output"] == f"{tmp_path}/r/jobs/%A_%a_0_log.out"
    names = [f"family.r1_gamma={gamma},seed={seed}" for gamma in ("1", "2.5") for seed in (3, 4)]
    environment = _stand_ins(tmp_path)
    called = f"trap {shlex.quote(f'{sys.executable} -m launch.cluster.requeue --run')}"
    assert script.count(called[:-1]) == 4
    for number, name in enumerate(names):
        (tmp_path / "calls").unlink(missing_ok=True)
        task = {"SLURM_ARRAY_TASK_ID": str(number), "STATUS": "3"}
        done = subprocess.run(
            ["bash"], input=script, text=True, env={**environment, **task}, capture_output=True, check=False
        )
        assert done.returncode == 3
        (call,) = (tmp_path / "calls").read_text().splitlines()
        assert call.endswith(f"program train {tmp_path}/r/{name}/jobs/train.yaml --run {tmp_path}/r/{name}")
        assert f"--output={tmp_path}/r/{name}/jobs/%A_%a_%t_log.out" in call


@pytest.mark.parametrize(
    ("status", "restarts", "requeued"),
    [(0, 0, False), (1, 0, False), (140, 6, True), (140, 7, False), (143, 0, False)],
)
def test_an_evaluation_ended_by_the_limit_goes_on_and_no_other(
    home, tmp_path, capsys, status, restarts, requeued
):
    write_job(tmp_path / "r", Job("pending", "17"))
    cluster = cluster_file(tmp_path, setup=[])
    words = ("evaluate", tmp_path / "r", "--data", home / "shards", "--metrics", "swd", "--count", 50)
    script = dry(capsys, *words, "--cluster", cluster, "--after", "17")
    task = {"STATUS": str(status), "SLURM_RESTART_COUNT": str(restarts), "SLURM_JOB_ID": "5"}
    environment = {**_stand_ins(tmp_path), **task}
    done = subprocess.run(
        ["bash"], input=script, text=True, env=environment, capture_output=True, check=False
    )
    assert done.returncode == status
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls[0].endswith(f"hrgan evaluate {tmp_path}/r --data {home}/shards --metrics swd --count 50")
    assert calls[1:] == (["scontrol requeue 5"] if requeued else [])


def test_an_evaluation_takes_one_node_unless_told_and_waits(home, tmp_path, capsys):
    write_job(tmp_path / "r", Job("pending", "17"))
    words = (
        "evaluate",
        tmp_path / "r",
        "--data",
        home / "shards",
        "--cluster",
        cluster_file(tmp_path),
        "--watch",
    )
    asked = options(dry(capsys, *words, "--after", "17_2"))
    expected = {
        "nodes": "1",
        "ntasks-per-node": "4",
        "gpus-per-node": "4",
        "mem": "102912M",
        "dependency": "afterok:17_2",
        "kill-on-invalid-dep": "yes",
        "comment": f"hrgan evaluate {tmp_path}/r",
    }
    assert expected.items() <= asked.items()
    assert options(dry(capsys, *words, "--nodes", 3))["nodes"] == "3"


def test_a_data_set_is_evaluated_beside_it(home, tmp_path, capsys):
    words = ("evaluate", home / "shards", "--data", home / "shards", "--cluster", cluster_file(tmp_path))
    assert options(dry(capsys, *words))["output"].startswith(f"{home}/jobs/")


def test_an_evaluation_of_each_snapshot_is_an_array(home, tmp_path, capsys):
    run = tmp_path / "r"
    names = ["000000000", "000000096", "000000192"]
    for name in names:
        (run / "snapshots" / name).mkdir(parents=True)
    cluster = cluster_file(tmp_path, setup=[], container=[], program=["program"])
    # The run's folder stands in two places; in one of them it is what is evaluated.
    words = ("evaluate", "--inception-weights", run, f"{run}/", "--data", home / "shards", "--each")
    script = dry(capsys, *words, "--cluster", cluster)
    asked = options(script)
    assert asked["array"].startswith("0-2")
    assert asked["output"] == f"{run}/jobs/%A_%a_0_log.out"
    for number, name in enumerate(names):
        (tmp_path / "calls").unlink(missing_ok=True)
        environment = {**_stand_ins(tmp_path), "SLURM_ARRAY_TASK_ID": str(number)}
        subprocess.run(["bash"], input=script, text=True, env=environment, capture_output=True, check=True)
        (call,) = (tmp_path / "calls").read_text().splitlines()
        expected = f"evaluate --inception-weights {run} {run}/snapshots/{name} --data {home}/shards"
        assert call.endswith(f"program {expected}")


def test_a_picture_takes_one_process_and_its_share_of_a_node(home, tmp_path, capsys):
    write_job(tmp_path / "r", Job("pending", "17"))
    words = ("generate", tmp_path / "r", "a.png", "--count", 4, "--grid", "--cluster", cluster_file(tmp_path))
    asked = options(dry(capsys, *words, "--after", "17"))
    expected = {"nodes": "1", "ntasks-per-node": "1", "gpus-per-node": "1", "mem": "25728M"}  # a quarter
    assert expected.items() <= asked.items()


def test_a_training_with_its_evaluation(home, tmp_path, capsys):
    words = ("train", home / "c.yaml", "--cluster", cluster_file(tmp_path), "--run", tmp_path / "r")
    first, second = dry(capsys, *words, "--evaluate", "swd").split("#!/bin/bash")[1:]
    assert "dependency" not in options(first)
    assert options(second)["dependency"] == "afterok:JOB"
    expected = ["evaluate", f"{tmp_path}/r", "--data", f"{home}/shards", "--metrics", "swd", "--all"]
    assert sruns(second)[0][-7:] == expected
    sweep = dry(capsys, *words, "--evaluate", "swd", "--sweep", "seed=1,2", "--after", "9").split(
        "#!/bin/bash"
    )
    assert [options(part).get("dependency") for part in sweep[1:]] == ["afterok:9", "aftercorr:JOB"]


def test_a_submission_is_written_down_and_told(home, tmp_path, capsys, slurm_stand_ins):
    run = tmp_path / "r"
    script = dry(
        capsys, "train", home / "c.yaml", "--cluster", cluster_file(tmp_path), "--run", run, "seed=9"
    )
    assert submit_train(home, tmp_path, "seed=9") == 0
    said = capsys.readouterr().out
    assert (slurm_stand_ins / "submitted.sh").read_text() == script
    assert (run / "jobs/40_submission.sh").read_text() == script
    assert sorted(path.name for path in (run / "jobs").iterdir()) == ["40_submission.sh", "train.yaml"]
    job = read_job(run)
    assert (job.state, job.job_id) == ("pending", "40")
    # What the file becomes while the job waits is of no account.
    assert read_dump(run / "jobs/train.yaml").seed == 9
    for word in (
        "job 40: train, 2 nodes x 4 processes",
        str(run),
        "jobs/40_0_log.out",
        "squeue -j 40",
        "hrgan runs",
    ):
        assert word in said


def test_what_another_submission_gives_to_sbatch_meanwhile_stays(home, tmp_path, slurm_stand_ins):
    other = tmp_path / "r/jobs/.submission_file_0123.sh"
    other.parent.mkdir(parents=True)
    other.touch()
    assert submit_train(home, tmp_path) == 0
    names = [".submission_file_0123.sh", "40_submission.sh", "train.yaml"]
    assert sorted(path.name for path in other.parent.iterdir()) == names


def test_from_inside_a_job_nothing_of_it_is_passed_on(home, tmp_path, slurm_stand_ins, monkeypatch):
    sbatch = slurm_stand_ins / "sbatch"
    sbatch.write_text(f"#!/bin/bash\nenv > {slurm_stand_ins}/environment\necho Submitted batch job 40\n")
    given = {
        "SLURM_JOB_ID": "3",
        "SLURM_MEM_PER_CPU": "100",
        "RANK": "0",
        "SLURM_CONF": "/etc/here",
        "MINE": "1",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert submit_train(home, tmp_path) == 0
    passed = dict(line.split("=", 1) for line in (slurm_stand_ins / "environment").read_text().splitlines())
    assert {name for name in given if name in passed} == {"SLURM_CONF", "MINE"}
    assert os.environ["SLURM_MEM_PER_CPU"] == "100"


def test_a_sweep_writes_down_each_run(home, tmp_path, capsys, slurm_stand_ins):
    assert submit_train(home, tmp_path, "--sweep", "seed=1,2") == 0
    assert "2 jobs of 2 nodes" in capsys.readouterr().out
    for number in (0, 1):
        run = tmp_path / f"r/seed={number + 1}"
        assert read_job(run).job_id == f"40_{number}"
        assert read_dump(run / "jobs/train.yaml").seed == number + 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1,2", ["1", "2"]),
        ("1", ["1"]),
        ("[1,2],[3]", ["[1,2]", "[3]"]),
        ("'a,b',c", ["'a,b'", "c"]),
        ("{a: [1,2]}, null", ["{a: [1,2]}", "null"]),
    ],
)
def test_values_of_a_sweep(text, expected):
    assert split_values(text) == expected


def test_points_of_a_sweep():
    assert [point.name for point in sweep_runs(["a.b=/x/y,z", "c=1e-4"])] == [
        "a.b=-x-y,c=1e-4",
        "a.b=z,c=1e-4",
    ]
    assert [(point.name, point.overrides) for point in sweep_runs([])] == [("", ())]
    with pytest.raises(UserError, match="has a name that is too long"):
        sweep_runs([f"a={'x' * 300}"])


@pytest.mark.parametrize("path", sorted(CLUSTERS.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_cluster_files_load_and_say_how_they_are_used(path):
    load_cluster(path)
    header = [line for line in path.read_text().splitlines() if line.startswith("#")]
    for word in ("Command:", "Hardware:"):
        assert any(line.startswith(f"# {word}") for line in header), word

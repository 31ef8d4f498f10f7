"""`hrgan runs`: each state from files and queue, damaged files named, speed and time left by hand."""

from __future__ import annotations

import json
import os
import time

import pytest

from launch.cluster.queue import Queue, Queued, ask_queue, parse_queue
from launch.cluster.run_states import find_runs, run_state
from launch.commands.runs import table
from launch.main import main
from pipeline.storage.job import Job, write_job

CONFIG = "family: {name: stylegan2}\nlength: {images: 1000}\n"
NO_QUEUE, EMPTY = Queue(None), Queue({})


def queue_with(state: str, reason: str | None = None) -> Queue:
    return Queue({"17": Queued("17", state, reason, "main", "")})


def make_run(folder, images=0, total=1000, job=None, **more):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(CONFIG.replace("1000", str(total)))
    if images:
        start = time.time()
        lines = [
            {"images_seen": seen, "time": start + seen, "speed/seconds_per_kimg": 20.0, **more}
            for seen in range(images // 4, images + 1, images // 4)
        ]
        (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if images == total:
        (folder / f"checkpoints/{total:012d}").mkdir(parents=True)
        (folder / f"checkpoints/{total:012d}/manifest.json").touch()
    if job is not None:
        write_job(folder, Job(job, "17"))
    return folder


def later(seconds: float) -> float:
    return time.time() + seconds


@pytest.mark.parametrize(
    ("job", "queue", "images", "after", "expected"),
    [
        ("pending", queue_with("PENDING", "Resources"), 0, 3600, "pending"),
        ("pending", EMPTY, 0, 60, "cancelled"),
        ("pending", EMPTY, 0, 0, "pending"),  # a queue may be a moment behind
        ("pending", NO_QUEUE, 0, 9999, "pending"),
        ("pending", queue_with("RUNNING"), 0, 0, "running"),  # started, and not far enough to say so
        ("running", queue_with("RUNNING"), 400, 99_999, "running"),
        ("running", queue_with("COMPLETING"), 400, 0, "running"),
        ("running", queue_with("PENDING", "BeginTime"), 400, 0, "requeued"),  # its node died
        ("running", EMPTY, 400, 30, "running"),
        ("running", EMPTY, 400, 3600, "died"),
        ("running", NO_QUEUE, 400, 600, "running"),
        ("running", NO_QUEUE, 400, 3 * 3600, "died"),
        ("requeued", queue_with("PENDING", "BeginTime"), 400, 0, "requeued"),
        ("requeued", queue_with("RUNNING"), 400, 0, "running"),
        ("requeued", EMPTY, 400, 60, "cancelled"),
        ("stopped", EMPTY, 400, 0, "stopped"),
        ("stopped", queue_with("PENDING", "BeginTime"), 400, 0, "requeued"),  # preempted
        ("stopped", queue_with("COMPLETING"), 400, 0, "stopped"),
        ("failed", EMPTY, 999, 0, "failed"),
        ("failed", EMPTY, 400, 0, "failed"),
        ("finished", EMPTY, 1000, 0, "finished"),
        ("running", EMPTY, 1000, 3600, "finished"),
        ("finished", EMPTY, 400, 0, "stopped"),  # its length was raised since
        (None, NO_QUEUE, 0, 0, "new"),
        (None, NO_QUEUE, 400, 0, "running"),
        (None, NO_QUEUE, 400, 3 * 3600, "stopped"),
    ],
)
def test_state(tmp_path, job, queue, images, after, expected):
    run = make_run(tmp_path / "run", images, job=job)
    assert run_state(run, queue, later(after)).state == expected


def test_a_run_whose_last_checkpoint_is_missing_is_not_finished(tmp_path):
    run = make_run(tmp_path / "run", 1000, job="running")
    (run / f"checkpoints/{1000:012d}/manifest.json").unlink()
    assert run_state(run, EMPTY, later(3600)).state == "died"


def test_a_slow_run_is_given_five_ticks(tmp_path):
    run = make_run(tmp_path / "run", 400, job="running")
    lines = [{"images_seen": 1, "time": 0.0}, {"images_seen": 400, "time": 3600.0}]
    (run / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert run_state(run, NO_QUEUE, later(4.9 * 3600)).state == "running"
    assert run_state(run, NO_QUEUE, later(5.1 * 3600)).state == "died"


def test_jobs_stand_in_the_order_of_their_numbers():
    lines = [f"{job}|{job.split('_')[0]}|RUNNING|None|main|" for job in ("10_2", "9", "10_11", "100")]
    assert [job.job_id for job in Queue(parse_queue("\n".join(lines))).all()] == ["9", "10_2", "10_11", "100"]


def test_of_other_peoples_jobs_the_queue_may_say_nothing(tmp_path, monkeypatch):
    run = make_run(tmp_path / "run", 400, job="running")
    monkeypatch.setattr(os, "getuid", lambda: (run / "job.json").stat().st_uid + 1)
    assert run_state(run, EMPTY, later(600)).state == "running"
    assert run_state(run, EMPTY, later(3 * 3600)).state == "died"


def test_figures(tmp_path):
    run = make_run(tmp_path / "run", 400, job="running")
    (run / "metrics").mkdir()
    for images, value in ((0, 90.0), (200, 30.5)):
        body = {
            "images_seen": images,
            "metrics": {
                "swd": {"value": value, "floor": {"value": 1.0, "count": 8}},
                "pr": {"value": 1 / 3, "precision": 0.5, "recall": 0.25, "extractor_name": "vgg16"},
                "dc-clip": {"value": 0.75, "density": 1.5, "coverage": 0.75, "neighbours": 5},
                "ppl-w": {"value": 90.0},
            },
        }
        (run / f"metrics/{images:012d}.json").write_text(json.dumps(body))
    state = run_state(run, queue_with("RUNNING"))
    assert (state.images_seen, state.images_total, state.seconds_per_kimg) == (400, 1000, 20.0)
    assert state.seconds_left == pytest.approx(600 * 20.0 / 1000)
    assert state.metrics == {
        "swd": 30.5,
        "precision": 0.5,
        "recall": 0.25,
        "density-clip": 1.5,
        "coverage-clip": 0.75,
        "ppl-w": 90.0,
    }
    assert (state.metrics_at, state.job_id, state.damaged) == (200, "17", [])


def test_images_without_a_log_come_from_the_newest_whole_checkpoint(tmp_path):
    run = make_run(tmp_path / "run")
    for images, whole in ((300, True), (600, False)):
        (run / f"checkpoints/{images:012d}").mkdir(parents=True)
        if whole:
            (run / f"checkpoints/{images:012d}/manifest.json").touch()
    assert run_state(run, NO_QUEUE).images_seen == 300


def test_a_run_that_waits_has_its_length_from_what_was_submitted(tmp_path):
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs/train.yaml").write_text(CONFIG)
    write_job(tmp_path, Job("pending", "17"))
    state = run_state(tmp_path, queue_with("PENDING", "Dependency"))
    assert (state.state, state.waits, state.images_total) == ("pending", "Dependency", 1000)


DAMAGE = {
    "job.json": "{",
    "log.jsonl": '{"images_seen": 4}\nnot JSON\n{"images_seen": 8}\n',
    "config.yaml": "family: {name: stylegan2}\nlength: {images: many}\n",
    "metrics/000000000004.json": "[]",
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_file_is_named_and_the_others_stand(tmp_path, capsys, name):
    run, whole = make_run(tmp_path / "a", 400, job="stopped"), make_run(tmp_path / "b", 400, job="stopped")
    (run / "metrics").mkdir()
    (run / name).write_text(DAMAGE[name])
    assert main(["runs", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    (fault,) = [line for line in out.splitlines() if line.startswith("damaged: ")]
    assert str(run / name) in fault
    assert [line.split()[1] for line in out.splitlines() if line.startswith(str(whole))] == ["stopped"]


def test_a_line_that_is_being_written_is_no_damage(tmp_path):
    run = make_run(tmp_path / "run", 400)
    with (run / "log.jsonl").open("a") as file:
        file.write('{"images_se')
    state = run_state(run, NO_QUEUE)
    assert (state.images_seen, state.damaged) == (400, [])


def test_of_a_long_log_only_the_end_is_read(tmp_path):
    run = make_run(tmp_path / "run")
    line = json.dumps({"images_seen": 1, "filling": "x" * 1000})
    last = json.dumps({"images_seen": 900})
    (run / "log.jsonl").write_text(f"{line}\n" * 200 + f"{last}\n")
    state = run_state(run, NO_QUEUE)
    assert (state.images_seen, state.damaged) == (900, [])


def test_runs_are_found_in_folders_of_runs_and_not_inside_themselves(tmp_path):
    for name in ("one", "sweep/rate=1", "sweep/rate=2", "one/snapshots/000000000000", ".hidden"):
        make_run(tmp_path / name)
    found = [str(run.relative_to(tmp_path)) for run in find_runs(tmp_path)]
    assert found == ["one", "sweep/rate=1", "sweep/rate=2"]
    assert list(find_runs(tmp_path / "one")) == [tmp_path / "one"]


def test_jobs_that_belong_to_a_run_are_listed(tmp_path):
    run = make_run(tmp_path / "run", 400, job="running")
    text = (
        f"17|17|RUNNING|None|main|hrgan train {run}\n"
        f"18|18|PENDING|Dependency|main|hrgan evaluate {run}\n"
        f"19|19|PENDING|Priority|main|hrgan evaluate {run}-other\n"
        "20|20|PENDING|Priority|main|(null)\n"
    )
    assert run_state(run, Queue(parse_queue(text))).jobs == ["evaluate 18 pending (Dependency)"]


def test_jobs_of_a_sweep_are_listed_with_its_folder(tmp_path, monkeypatch, capsys):
    make_run(tmp_path / "sweep/rate=1", 400, job="running")
    lines = f"17_0|17|RUNNING|None|main|hrgan train {tmp_path}/sweep\n"
    lines += f"18_0|18|PENDING|Dependency|main|hrgan evaluate {tmp_path}/sweep\n"
    _squeue(tmp_path, monkeypatch, f"printf '%s' '{lines}'")
    assert main(["runs", str(tmp_path)]) == 0
    row, _, *notes = capsys.readouterr().out.splitlines()[1:]
    assert row.split()[1] == "running"
    assert notes == [f"{tmp_path}/sweep: evaluate 18_0 pending (Dependency)"]


def test_filters_that_a_person_has_set_for_squeue_are_not_taken(tmp_path, monkeypatch):
    _squeue(tmp_path, monkeypatch, "env | grep ^SQUEUE_ >&2 && exit 1; exit 0")
    monkeypatch.setenv("SQUEUE_PARTITION", "debug")
    assert ask_queue().known


def test_the_queue_as_squeue_prints_it():
    jobs = parse_queue("12_3|15|PENDING|Resources|gpu|a|b\n12_2|14|RUNNING|None|gpu|(null)\nnoise\n")
    assert jobs["12_3"] == jobs["15"] == Queued("12_3", "PENDING", "Resources", "gpu", "a|b")
    assert jobs["14"].reason is None
    assert set(jobs) == {"12_3", "15", "12_2", "14"}


def _squeue(tmp_path, monkeypatch, body: str) -> None:
    tool = tmp_path / "bin/squeue"
    tool.parent.mkdir()
    tool.write_text(f"#!/bin/sh\n{body}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")


def test_a_controller_that_does_not_answer_is_said_and_files_are_read(tmp_path, monkeypatch, capsys):
    _squeue(tmp_path, monkeypatch, "echo noise >&2; echo 'squeue: error: Unable to contact' >&2; exit 1")
    make_run(tmp_path / "runs/one", 400, job="stopped")
    assert main(["runs", str(tmp_path / "runs"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["queue"], report["fault"]) == (False, "squeue: error: Unable to contact")
    assert report["runs"][0]["state"] == "stopped"
    assert "squeue: error: Unable to contact; states are from files" in table([], ask_queue(), "x")


def test_without_squeue_there_are_the_files(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    queue = ask_queue()
    assert (queue.known, queue.fault) == (False, None)


def test_the_table_for_people(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("launch.cluster.queue.shutil.which", lambda name: None)
    make_run(tmp_path / "failed", 40_000, total=25_000_000, job="failed")
    write_job(tmp_path / "failed", Job("failed", "17", 2, "rank 1 on n2 was killed"))
    assert main(["runs", str(tmp_path)]) == 0
    head, row, _, note = capsys.readouterr().out.splitlines()
    assert " ".join(head.split()) == "run state images of s/kimg left metrics job waits for"
    assert " ".join(row.split()) == f"{tmp_path}/failed failed 40k 25M 20 - - 17 (2 requeues) -"
    assert note == f"{tmp_path}/failed: failed: rank 1 on n2 was killed"
    assert main(["runs", str(tmp_path / "failed/jobs")]) == 2
    (tmp_path / "empty").mkdir()
    assert main(["runs", str(tmp_path / "empty")]) == 0
    assert capsys.readouterr().out == f"{tmp_path}/empty: no runs\n"


def test_watching_ends_with_ctrl_c(tmp_path, monkeypatch, capsys):
    make_run(tmp_path / "run", 400, job="stopped")
    monkeypatch.setenv("PATH", str(tmp_path))  # no squeue, whose time-out sleeps too
    seconds = []

    def sleep(duration: float) -> None:
        seconds.append(duration)
        if len(seconds) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("launch.commands.runs.time.sleep", sleep)
    assert main(["runs", str(tmp_path), "--watch", "3"]) == 0
    assert seconds == [3, 3]
    assert capsys.readouterr().out.count("s/kimg") == 2

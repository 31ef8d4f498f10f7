"""Runs that go on from another's checkpoint under settings of their own: `start.keep=all`."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator

from launch.assembly.forking import check_fork
from launch.assembly.training import check_start
from launch.main import main
from pipeline.board.events import EVALUATION, event_of, publish_events, scalar_summary
from pipeline.config.load import load_config, read_dump
from pipeline.config.run import RunConfig, StartConfig
from pipeline.data.preparing.prepare import prepare
from pipeline.data.preparing.settings import Asked
from pipeline.errors import RunFailed, UserError
from pipeline.storage.averages import stored_averages
from pipeline.storage.checkpoints import CheckpointStore
from pipeline.storage.lineage import run_lineage
from pipeline.storage.runs import as_begun, claim_run
from pipeline.storage.snapshots import open_snapshot
from pipeline.training.state import take
from tests.launch.clusters import cluster_file
from tests.small_run import hrgan, logged, write_config
from tests.tiny_families import BATCH, DIGITS, FIELDS, TINY, tiny_config, tiny_family, tiny_trainer
from tools.compare_runs import differences

LENGTH, HALF = 96, 48
CLOCKS = ("time", "speed/", "memory/")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """c.yaml; a: a run of half its length, with two checkpoints; straight: one of all of it."""
    folder = tmp_path_factory.mktemp("forks")
    prepare("demo:digits", folder / "shards", Asked(resolution=8, channels=1, count=60, shard_size=30))
    snapshots = {"every_images": 24, "grid": 4}
    write_config(folder / "base.yaml", folder / "shards", length={"images": LENGTH}, snapshots=snapshots)
    (folder / "c.yaml").write_text("inherit: base.yaml\ndata: {workers: 0}\n")
    assert train(folder, "straight") == 0
    assert train(folder, "a", f"length.images={HALF}") == 0
    figures = [event_of(scalar_summary("metrics/swd", 1.0 / n), n) for n in (24, HALF)]
    publish_events(folder / "a" / EVALUATION, figures)
    return folder


def train(place: Path, run: str, *overrides: str) -> int:
    return main(["train", str(place / "c.yaml"), "--run", str(place / run), *overrides])


def forked(place: Path, source: str = "a") -> tuple[str, str]:
    return f"start.source={place / source}", "start.keep=all"


def points(run: Path, tag: str = "loss/generator") -> list[int]:
    board = EventAccumulator(str(run / "tensorboard"), tensor_size_guidance={"scalars": 0}).Reload()
    return [event.step for event in board.Tensors(tag)]


def values(run: Path) -> dict[int, dict[str, float]]:
    """What the log says at each position, without what a clock has measured."""
    return {
        entry["images_seen"]: {name: x for name, x in entry.items() if not name.startswith(CLOCKS)}
        for entry in logged(run)
    }


def test_with_nothing_changed_it_is_the_run_that_was_never_forked(place, tmp_path, monkeypatch, capsys):
    shutil.copytree(place / "a", tmp_path / "a")
    begun = (str(place / "c.yaml"), "--run", str(tmp_path / "b"), *forked(tmp_path))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:  # when everything is there but the checkpoint
        patch.setattr(CheckpointStore, "adopt", killed)
        assert main(["train", *begun]) != 0
    assert not (tmp_path / "b" / "checkpoints").exists()
    assert main(["train", *begun, f"length.images={HALF + 16}"]) == 0
    shutil.move(tmp_path / "a", tmp_path / "moved")  # nothing depends on it any more
    assert main(["train", *begun]) == 0
    said = capsys.readouterr().err
    assert differences(place / "straight", tmp_path / "b") == []
    for number in (72, LENGTH):
        ours, theirs = (run / "snapshots" / f"{number:012d}" for run in (tmp_path / "b", place / "straight"))
        assert (ours / "generator.safetensors").read_bytes() == (
            theirs / "generator.safetensors"
        ).read_bytes()
    straight = values(place / "straight")
    assert values(tmp_path / "b") == {n: straight[n] for n in range(HALF + 8, LENGTH + 1, 8)}
    assert points(tmp_path / "b") == list(range(8, LENGTH + 1, 8))
    board = EventAccumulator(str(tmp_path / "b" / "tensorboard")).Reload()
    texts = ("config/text_summary", "data/text_summary", "lineage/text_summary", "reals")
    assert [[event.step for event in board.Tensors(tag)] for tag in texts] == [[0]] * 4
    (origin,) = run_lineage(tmp_path / "b")
    assert (origin.run, origin.images_seen) == (str(tmp_path / "a"), HALF)
    assert origin.checkpoint == CheckpointStore.verified(tmp_path / f"moved/checkpoints/{HALF:012d}").digest
    assert origin.changed == (f"length.images: {HALF} -> {HALF + 16}",)
    assert open_snapshot(tmp_path / "b").lineage == (origin,)
    assert str(origin) in said


def test_a_fork_of_a_fork_under_other_settings_keeps_the_whole_chain(place, tmp_path, capsys):
    assert main(["train", str(place / "c.yaml"), "--run", str(tmp_path / "b"), *forked(place)]) == 0
    prepare("demo:digits", tmp_path / "more", Asked(resolution=8, channels=1, count=80, shard_size=30))
    changes = ("batch.size=12", "family.generator_rate=0.001", "family.r1_gamma=1", "seed=6")
    words = ("--run", str(tmp_path / "c"), *forked(tmp_path, "b"), f"data.path={tmp_path / 'more'}")
    assert main(["train", str(place / "c.yaml"), *words, *changes, "length.images=150"]) == 0
    assert [entry["images_seen"] for entry in logged(tmp_path / "c")] == [108, 120, 132, 144, 156]
    assert [entry["step"] for entry in logged(tmp_path / "c")] == [13, 14, 15, 16, 17]
    # Lazy phases keep their rhythm in steps: R1 came at step 0, 4, 8, and so on.
    assert [entry["step"] for entry in logged(tmp_path / "c") if "penalty/r1" in entry] == [13, 17]
    assert points(tmp_path / "c") == [*range(8, LENGTH + 1, 8), 108, 120, 132, 144, 156]
    first, second = run_lineage(tmp_path / "c")
    assert (first.run, second.run) == (str(place / "a"), str(tmp_path / "b"))
    assert second.changed[:4] == (
        "seed: 5 -> 6",
        "batch.size: 8 -> 12",
        "family.generator_rate: 0.002 -> 0.001",
        "family.r1_gamma: 0.1 -> 1.0",
    )
    assert second.changed[4] == "length.images: 96 -> 150"
    assert second.changed[5].startswith("data.path: shards ")
    # What is averaged for later holds nothing from before the settings differed; the length is none of those.
    for run, began in (("b", 0), ("c", LENGTH)):
        assert {one.kind.since for one in stored_averages(tmp_path / run)} == {began}
    # Figures that were measured against other data are left to the run that has them.
    with pytest.raises(KeyError):
        evaluated(tmp_path / "c")
    assert evaluated(tmp_path / "b") == [24, HALF]
    assert main(["runs", str(tmp_path / "c")]) == 0
    assert main(["doctor", str(tmp_path / "c")]) in (0, 1)
    table, report = capsys.readouterr().out.split(f"{tmp_path / 'c'}: finished")
    for line in (str(first), str(second)):
        assert line in table
        assert line in report


def evaluated(run: Path) -> list[int]:
    board = EventAccumulator(str(run / EVALUATION), tensor_size_guidance={"scalars": 0}).Reload()
    return [event.step for event in board.Tensors("metrics/swd")]


@pytest.mark.slow
@pytest.mark.skipif(find_spec("deepspeed") is None, reason="deepspeed: not installed")
def test_it_goes_on_with_two_processes_under_another_engine(place, tmp_path):
    engine = ("engine.kind=zero", "engine.stage=2", "--processes", 2)
    done = hrgan("train", place / "c.yaml", "--run", tmp_path / "z", *forked(place), *engine)
    assert done.returncode == 0, done.stderr
    assert run_lineage(tmp_path / "z")[0].changed == (f"length.images: {HALF} -> {LENGTH}",)
    straight = values(place / "straight")
    for number, entry in values(tmp_path / "z").items():
        for name in entry:
            if name.startswith(("loss/", "logits/")):
                assert entry[name] == pytest.approx(straight[number][name], rel=2e-3, abs=2e-4), name


def test_a_checkpoint_may_be_named_and_a_damaged_one_is_passed_over(place, tmp_path, capsys):
    shutil.copytree(place / "a", tmp_path / "a")
    named = f"a/checkpoints/{24:012d}"
    for run, source in (("named", named), ("older", "a")):
        if run == "older":
            (weights,) = (tmp_path / f"a/checkpoints/{HALF:012d}").glob("weights*")
            weights.write_bytes(weights.read_bytes()[:-1] + b"x")
        words = ("--run", str(tmp_path / run), *forked(tmp_path, source), "length.images=40")
        assert main(["train", str(place / "c.yaml"), *words]) == 0
        said = capsys.readouterr().err
        assert f"going on from {tmp_path / run}/checkpoints/{24:012d} (24 images)" in said
        assert (f"warning: start.source: checkpoint passed over: {tmp_path}/a" in said) == (run == "older")
        assert run_lineage(tmp_path / run)[0].images_seen == 24
        assert points(tmp_path / run) == [8, 16, 24, 32, 40]
        assert evaluated(tmp_path / run) == [24]
    assert differences(tmp_path / "named", tmp_path / "older") == []


def no_checkpoint(run: Path) -> None:
    shutil.rmtree(run / "checkpoints")


def all_damaged(run: Path) -> None:
    for weights in run.glob("checkpoints/*/weights*"):
        weights.write_bytes(b"")


def bad_lineage(run: Path) -> None:
    for path in run.glob("checkpoints/*/manifest.json"):
        content = json.loads(path.read_text())
        content["details"] = {"lineage": [{"run": 3}]}
        path.write_text(json.dumps(content))


def no_settings(run: Path) -> None:
    (run / "config.yaml").unlink()


def nothing(run: Path) -> None:
    pass


REFUSED: list[tuple[Callable[[Path], None], str, tuple[str, ...], str]] = [
    (nothing, "nowhere", (), r"start\.source: .*nowhere: no such folder; allowed: a run with a checkpoint"),
    (
        no_settings,
        "a",
        (),
        r"start\.source: .*/a: no run, since .*/a/config\.yaml is missing; allowed: a run",
    ),
    (no_checkpoint, "a", (), r"start\.source: .*/a: holds no whole checkpoint; allowed: a run with a check"),
    (all_damaged, "a", (), r"start\.source: .*/a: holds no whole checkpoint"),
    (bad_lineage, "a", (), r"start\.source: .*/a: holds no whole checkpoint"),
    (all_damaged, f"a/checkpoints/{24:012d}", (), r"start\.source: damaged: .*/0+24/weights"),
    (nothing, f"a/snapshots/{24:012d}", (), r"a snapshot, which has no moments and no position; allowed"),
    (no_checkpoint, "r", (), r"start\.source: .*/r: the run itself; allowed: another run"),
    (nothing, "a", ("length.images=48",), r"length\.images=48: .* has seen 48 images.* more than 48"),
    (nothing, "a", ("family.w_dim=8",), r"start\.keep=all: .*/0+48: .*fit.*: .*\[.*\] in the checkpoint, \["),
    (nothing, "a", ("data.labels=false",), r"start\.keep=all: .*fit.*missing here.*or start\.keep=weights"),
    (nothing, "a", ("data.path=large",), r"start\.keep=all: .*fit.*: missing in the checkpoint, \["),
    (nothing, "a", ("family.lecam_weight=1",), r"start\.keep=all: .*fit.*: memory\.\S*lecam.*missing in"),
]


@pytest.mark.parametrize(("spoil", "source", "overrides", "message"), REFUSED, ids=range(len(REFUSED)))
def test_what_cannot_be_gone_on_from_is_refused_before_anything_is_written(
    place, home, tmp_path, spoil, source, overrides, message
):
    shutil.copytree(place / "a", tmp_path / "a")
    if source == "r":
        shutil.move(tmp_path / "a", tmp_path / "r")
    spoil(tmp_path / source.split("/")[0])
    changes = [word.replace("large", str(home / "shards")) for word in overrides]
    config = load_config(place / "c.yaml", [*forked(tmp_path, source), *changes])
    with pytest.raises(UserError, match=message):
        check_start(config, tmp_path / "r", 1)
    assert (tmp_path / "r").exists() == (source == "r")
    assert (
        main(
            [
                "train",
                str(place / "c.yaml"),
                "--run",
                str(tmp_path / "r"),
                *forked(tmp_path, source),
                *changes,
            ]
        )
        == 2
    )
    assert (tmp_path / "r" / "config.yaml").exists() == (source == "r")


@pytest.mark.parametrize("name", TINY)
def test_what_every_family_leaves_fits_itself_and_nothing_else(tmp_path, name):
    trainer = tiny_trainer(tiny_family(name))
    trainer.step()
    config = RunConfig(family=tiny_config(name), batch={"size": BATCH}, length={"images": 100})
    claim_run(tmp_path / "a", config, {})
    store = CheckpointStore(tmp_path / "a", 1)
    store.save(take(trainer), images_seen=8, step=1, world_size=1, config_digest="")
    again = config.model_copy(update={"start": StartConfig(source=str(tmp_path / "a"), keep="all")})
    digits = dataclasses.replace(DIGITS, fields=FIELDS.get(name, ()))
    check_fork(again, tmp_path / "b", digits)
    coloured = dataclasses.replace(digits, channels=3)
    with pytest.raises(
        UserError, match=r"^start\.keep=all: .*: does not fit .* in the checkpoint, .* here; allow"
    ):
        check_fork(again, tmp_path / "b", coloured)


def test_a_job_goes_on_from_a_run(place, tmp_path, slurm_stand_ins):
    words = ["submit", "train", str(place / "c.yaml"), "--run", str(tmp_path / "r"), *forked(place)]
    cluster = ["--cluster", cluster_file(tmp_path, nodes=1, gpus_per_node=1)]
    assert main([*words, *cluster, f"length.images={HALF}"]) == 2  # refused before it waits in a queue
    assert main([*words, *cluster, f"length.images={HALF + 8}"]) == 0
    assert main(["train", str(tmp_path / "r/jobs/train.yaml"), "--run", str(tmp_path / "r")]) == 0
    assert values(tmp_path / "r") == {HALF + 8: values(place / "straight")[HALF + 8]}


def test_another_family_is_refused_by_name(place, tmp_path):
    other = write_config(tmp_path / "c.yaml", place / "shards", length={"images": 200})
    other.write_text("family: {name: mlp}\n" + f"data: {{path: {place / 'shards'}}}\n")
    config = load_config(other, forked(place))
    with pytest.raises(UserError, match=r"family\.name=mlp: .*/a is a stylegan2; allowed .*: stylegan2"):
        check_start(config, tmp_path / "r", 1)


def test_all_needs_a_source(place):
    with pytest.raises(UserError, match=r"start\.keep=all: needs start\.source, a run to go on from"):
        load_config(place / "c.yaml", ["start.keep=all"])


@pytest.mark.parametrize("transfer", [True, False])
def test_whether_the_average_ramps_is_as_in_the_source(place, tmp_path, transfer):
    """A run that began with another's weights has no ramp, and what goes on from it has none either."""
    shutil.copytree(place / "a", tmp_path / "a")
    stored = tmp_path / "a" / "config.yaml"
    stored.write_text(stored.read_text().replace("transfer: false", f"transfer: {str(transfer).lower()}"))
    assert read_dump(stored).start.transfer is transfer
    config = load_config(place / "c.yaml", [*forked(tmp_path), "family.ema_ramp=0.05"])
    assert as_begun(config, tmp_path / "r").family.ema_ramp == (None if transfer else 0.05)
    given = load_config(place / "c.yaml", [*forked(tmp_path), "start.transfer=false"])
    assert as_begun(given, tmp_path / "r").start.transfer is False


def test_a_chain_that_comes_back_to_its_own_name_ends(place, tmp_path):
    """The folder of a run that others went on from may be given to one that goes on from them."""
    shutil.copytree(place / "a", tmp_path / "a")
    for run, source, length in (("b", "a", 56), ("a", "b", 64)):
        if run == "a":
            shutil.rmtree(tmp_path / "a")
        words = ("--run", str(tmp_path / run), *forked(tmp_path, source), f"length.images={length}")
        assert main(["train", str(place / "c.yaml"), *words]) == 0
    assert [Path(origin.run).name for origin in run_lineage(tmp_path / "a")] == ["a", "b"]
    assert [origin.images_seen for origin in run_lineage(tmp_path / "a")] == [48, 56]


def test_a_checkpoint_that_its_run_drops_or_replaces_meanwhile_is_said(place, tmp_path):
    shutil.copytree(place / "a", tmp_path / "a")
    newest = CheckpointStore(tmp_path / "a", 2).newest(pytest.fail)
    (weights,) = newest.folder.glob("weights*")
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(RunFailed, match=r"changed while it was copied; the same command tries again"):
        CheckpointStore(tmp_path / "r", 2).adopt(newest, ())
    shutil.rmtree(newest.folder)
    with pytest.raises(RunFailed, match=r"gone while it was copied.*the same command takes"):
        CheckpointStore(tmp_path / "r", 2).adopt(newest, ())
    assert not list((tmp_path / "r" / "checkpoints").iterdir())

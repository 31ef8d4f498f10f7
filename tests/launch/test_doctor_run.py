"""What the doctor says of runs: of real ones that were spoilt in one way (tools/research/spoilt_runs.py),
and of logs that are written here."""

from __future__ import annotations

import json
import math
import random
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from launch.cluster.run_states import RunState
from launch.doctor.examining import DIAGNOSES, diagnoses, run_report
from launch.doctor.labels import compared, label_signal
from launch.doctor.run_readings import RunReadings, read_run, since
from launch.main import main
from pipeline.config.families import R3GANConfig, StyleGAN2Config
from pipeline.config.run import RunConfig
from pipeline.data.preparing.prepare import prepare
from pipeline.data.preparing.settings import Asked
from pipeline.data.shards.index import ShardIndex
from pipeline.evaluation.results import Result

STORED = Path(__file__).parents[1] / "stored/runs"
SPOILT = {  # run -> what must be found first, and with which words
    "rate": ("learning rate", "125 times its default 0.002"),
    "few": ("few images", "has 8 images, and each was seen 1,000 times"),
    "p": ("ADA at its bound", "family.ada.target asks for 0"),
    "wait": ("waiting for data", "above 20% since 4,"),
    "nan": ("not finite", "first in the tick at 64 images"),
}
ALSO = {
    "rate": {"exploding", "slower"},
    "nan": {"learning rate", "skipped updates", "failed"},
    "few": {"slower"},
}
ALSO["p"] = {"samples look alike"}


def named(run: RunReadings) -> dict[str, str]:
    return {one.name: one.seen for one in diagnoses(run)}


@pytest.mark.parametrize("name", SPOILT)
def test_a_spoilt_run_is_known_by_what_spoilt_it(name: str) -> None:
    first, words = SPOILT[name]
    found = named(read_run(STORED / name))
    assert words in found.pop(first)
    assert found.keys() <= ALSO.get(name, set())


@pytest.mark.parametrize("name", ["healthy-digits", "healthy-faces"])
def test_nothing_is_wrong_with_a_healthy_run(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    run = read_run(STORED / name)
    assert (run.faults, len(run.ticks), run.state.state) == ([], 16, "finished")
    assert diagnoses(run) == []
    assert main(["doctor", str(STORED / name)]) == 0
    said = capsys.readouterr().out
    assert "nothing wrong was found" in said.splitlines()[0]
    assert "signs/real" in said


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits as a folder with a class each."""
    shards = tmp_path_factory.mktemp("digits") / "shards"
    prepare("demo:digits", shards, Asked(resolution=16, channels=1))
    return shards


@pytest.fixture(scope="module")
def shuffled(digits: Path) -> Path:
    """The same with each other's classes."""
    pictures, shards = digits.parent / "files.zip", digits.parent / "shuffled"
    assert main(["export", str(digits), str(pictures)]) == 0
    import zipfile

    names = sorted(n for n in zipfile.ZipFile(pictures).namelist() if n.endswith(".png"))
    classes = [name.split("/")[0] for name in names]
    random.Random(1).shuffle(classes)
    rows = digits.parent / "labels.csv"
    rows.write_text("file,class\n" + "".join(f"{n},{c}\n" for n, c in zip(names, classes, strict=True)))
    prepare(pictures, shards, Asked(resolution=16, channels=1, labels=rows))
    return shards


def test_labels_without_meaning_are_found_in_the_images(digits: Path, shuffled: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(STORED / "labels", tmp_path / "run"))
    config = yaml.safe_load((run / "config.yaml").read_text())
    for shards, found in ((shuffled, True), (digits, False)):
        config["data"]["path"] = str(shards)
        (run / "config.yaml").write_text(yaml.safe_dump(config))
        assert ("labels say nothing" in named(read_run(run))) == found
    known = label_signal(ShardIndex.read(digits))
    assert known is not None
    assert known.hits > 0.8  # as any classifier of these digits
    assert known.chance == pytest.approx(0.1, abs=0.02)


def test_settings_known_to_fail_are_said_once_when_a_run_starts(
    digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "r3gan-32 data.resolution=16 data.workers=0 batch.size=8 length.images=8 snapshots.grid=2"
    sizes = "family.widths=[8,8,8] family.cardinalities=[2,2,2] family.blocks=[1,1,1] family.r2_every=4"
    run = tmp_path / "run"
    assert main(["train", *words.split(), *sizes.split(), f"data.path={digits}", "--run", str(run)]) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("hrgan: warning: ")]
    assert [line.split(":")[2].strip() for line in said] == ["family.r2_every=4"]
    assert "settings known to fail" in named(read_run(run))


def test_hits_of_guesses_are_what_shuffling_gives() -> None:
    """The mean and spread of hits are those of many random orders of the same answers."""
    chance = np.random.default_rng(3)
    said, true = chance.choice(3, 200, p=[0.7, 0.2, 0.1]), chance.choice(3, 200, p=[0.6, 0.3, 0.1])
    hits = [float((chance.permutation(said) == true).mean()) for _ in range(4000)]
    known = compared(said, true, 3)
    assert known.chance == pytest.approx(np.mean(hits), abs=0.002)
    assert known.deviations == pytest.approx((known.hits - np.mean(hits)) / np.std(hits), abs=0.4)


def test_no_class_or_too_few_images_are_not_judged(digits: Path) -> None:
    index = ShardIndex.read(digits)
    assert label_signal(replace(index, classes=())) is None
    assert label_signal(replace(index, shards=(replace(index.shards[0], count=60),))) is None


def ticks(count: int = 12, **figures: Any) -> list[Mapping[str, float]]:
    """A quiet log, a figure of which may be a function of the tick's number."""
    quiet = {"loss/discriminator": 1.0, "loss/generator": 1.2, "signs/real": 0.5, "stage/resolution": 32}
    quiet |= {"logits/real": 0.6, "logits/fake": -0.6, "speed/seconds_per_kimg": 5.0}
    return [
        {"images_seen": 1000 * (n + 1)}
        | {name: v(n) if callable(v) else v for name, v in {**quiet, **figures}.items()}
        for n in range(count)
    ]


def results(*values: float, name: str = "fid", **more: Any) -> Sequence[Result]:
    return [Result(1000 * n, "", {name: {"value": value, **more}}) for n, value in enumerate(values)]


def ending(state: str, **facts: Any) -> RunState:
    return RunState("r", state, images_seen=12_000, images_total=20_000, **facts)


CASES: dict[str, tuple[dict[str, Any], str | None]] = {
    "quiet": ({"ticks": ticks()}, None),
    "no log": ({}, None),
    "inf once, long ago": (
        {"ticks": ticks(**{"penalty/r1": lambda n: math.inf if n == 1 else 1.0})},
        "not finite: NaN or infinity in penalty/r1, first in the tick at 2,000 images; 1 of 12",
    ),
    "a fifth is skipped": ({"ticks": ticks(skipped_updates=0.2)}, "skipped updates: 20% of all updates"),
    "one is skipped": ({"ticks": ticks(skipped_updates=lambda n: 0.01 * (n == 5))}, None),
    "gradients explode": (
        {"ticks": ticks(**{"gradient_norm/generator": lambda n: 10.0 ** (n - 3)})},
        "exploding: gradient_norm/generator is 1e+08 and has been beyond 1e+05 since 10,000 images",
    ),
    "p comes down again": ({"ticks": ticks(**{"state/ada_p": lambda n: 1.0 if n < 11 else 0.9})}, None),
    "p at its bound": (
        {"ticks": ticks(**{"state/ada_p": 1.0})},
        "ADA at its bound: state/ada_p has been at 1",
    ),
    "pseudo reals alone": (
        {"ticks": ticks(**{"state/apa_p": lambda n: min(n / 5, 1.0)})},
        "APA at its bound: state/apa_p has been at 1.00 since 6,000 images",
    ),
    "lazy penalties": (
        {"config": RunConfig(family=R3GANConfig(r1_every=16, r2_every=4))},
        "settings known to fail: family.r1_every=16, family.r2_every=4",
    ),
    "lazy penalties that are off": (
        {"config": RunConfig(family=R3GANConfig(r1_every=16, r1_gamma=0, r1_gamma_end=0))},
        None,
    ),
    "few, with DiffAugment": (
        {
            "ticks": ticks(**{"signs/real": 0.97}),
            "images": 500,
            "config": RunConfig(family=StyleGAN2Config(diffaugment=("color",))),
        },
        None,
    ),
    "D has won": (
        {"ticks": ticks(**{"loss/discriminator": 0.001, "loss/generator": 9.0})},
        "the discriminator has won: loss/discriminator is 0.001 and loss/generator 9, since 1,000 images",
    ),
    "few, by heart": (
        {"ticks": ticks(**{"signs/real": 0.97}), "images": 500},
        "learnt by heart: the mean sign of D on reals is 0.97",
    ),
    "few, with augmentation": (
        {"ticks": ticks(**{"signs/real": 0.97, "state/ada_p": 0.3}), "images": 500},
        None,
    ),
    "sure, of many": ({"ticks": ticks(**{"signs/real": 0.97}), "images": 50_000}, None),
    "nobody": (
        {"ticks": ticks(**{"logits/real": 0.001, "logits/fake": -0.002})},
        "nobody learns: the discriminator's logits have stayed within 0.002 of 0",
    ),
    "damage": (
        {"ticks": ticks(**{"data/damaged_images": lambda n: 3.0 * (n > 4)})},
        "damaged images: 3 damaged images were passed over up to 12,000 images, the first by 6,000",
    ),
    "waited once": ({"ticks": ticks(**{"speed/data_wait_share": lambda n: 0.9 * (n == 4)})}, None),
    "slower": (
        {"ticks": ticks(**{"speed/seconds_per_kimg": lambda n: 5.0 if n < 6 else 13.0})},
        "slower: 13 s/kimg over the last third of the ticks, 5 over the first",
    ),
    "grown, not slower": (
        {
            "ticks": ticks(
                **{"speed/seconds_per_kimg": lambda n: n + 5, "stage/resolution": lambda n: 8 << n // 3}
            )
        },
        None,
    ),
    "worse": (
        {"results": results(90, 40, 20, 33, 35)},
        "getting worse: fid was 20 at 2,000 images and is 35",
    ),
    "worse, the other way": ({"results": results(1, 3, 9, 5, 5, name="is")}, "getting worse: is was 9"),
    "one bad measurement": ({"results": results(90, 40, 20, 22, 60)}, None),
    "alike": (
        {"results": results(0.2, 0.7, name="msssim", reals={"value": 0.2, "count": 9})},
        "samples look alike: msssim of pairs of samples is 0.700 at 1,000 images, of pairs of images 0.200",
    ),
    "not yet as varied": ({"results": results(0.9, 0.5, name="msssim", reals=0.2)}, None),
    "as alike as the reals": ({"results": results(0.9, 0.8, name="msssim", reals=0.75)}, None),
    "failed": (
        {"state": ending("failed", reason="disk full")},
        "failed: the last start failed at 12,000 images: disk",
    ),
    "died": ({"state": ending("died")}, "died: it said that it was running, at 12,000 images"),
    "stopped": (
        {"state": ending("stopped", reason="SIGTERM")},
        "stopped: stopped at 12,000 images of 20,000 images: SIGTERM",
    ),
    "running": ({"state": ending("running"), "ticks": ticks()}, None),
    "full disk": (
        {"state": ending("running"), "free_bytes": 2**30, "checkpoint_bytes": 2**29},
        "disk: 1.00 GiB are free where the run lies, and a checkpoint takes 0.50",
    ),
    "room enough": ({"state": ending("running"), "free_bytes": 2**31, "checkpoint_bytes": 2**29}, None),
}


@pytest.mark.parametrize("case", CASES)
def test_each_diagnosis_and_what_it_leaves_alone(case: str) -> None:
    readings, words = CASES[case]
    found = [f"{one.name}: {one.seen}" for one in diagnoses(RunReadings(Path("r"), **readings))]
    assert [said for said in found if words is None or not said.startswith(words)] == []
    assert len(found) == (words is not None)


def test_every_diagnosis_has_been_tried() -> None:
    tried = {words.split(":")[0] for _, words in CASES.values() if words}
    tried |= {name for name, _ in SPOILT.values()} | {"labels say nothing"}
    assert len(tried) >= len(DIAGNOSES)


@pytest.mark.parametrize(
    ("values", "expected"),
    [([1, 2, 3], (20, 2)), ([3, 2, 1], None), ([2, 2, 2], (10, 3)), ([], None), ([2, 1, 2], (30, 1))],
)
def test_since_when_a_condition_holds(values: list[float], expected: tuple[int, int] | None) -> None:
    assert since([(10 * n, value) for n, value in enumerate(values, 1)], lambda v: v >= 2) == expected


def test_a_folder_with_damage_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "metrics").mkdir(parents=True)
    (run / "config.yaml").write_text("batch: [")
    (run / "job.json").write_text("{}")
    (run / "data.json").write_text("nothing")
    (run / "metrics/000000000008.json").write_text("[1]")
    entries = [json.dumps({**tick, "note": "\x1b[2J"}) for tick in ticks(8)]
    (run / "log.jsonl").write_text("\n".join([*entries, '{"images_seen": 9, "los']))
    report = read_run(run)
    assert len(report.ticks) == 8
    named_files = " ".join(fault.split(":")[0] for fault in report.faults)
    assert all(name in named_files for name in ("config.yaml", "job.json", "000000000008.json"))
    assert "\x1b" not in run_report(report, diagnoses(report))


def test_a_spoilt_run_ends_with_1_and_says_so_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", str(STORED / "rate"), "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in said["diagnoses"]][:2] == ["learning rate", "exploding"]
    assert said["passes"] == pytest.approx(8000 / 1797)


@pytest.mark.parametrize(
    ("place", "words"), [("nowhere", "no such folder"), (".", "holds no run"), ("file", "no such folder")]
)
def test_what_is_no_run_is_refused(
    place: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert main(["doctor", str(tmp_path / place)]) == 2
    assert f"{words}; allowed: the folder of a run" in capsys.readouterr().err

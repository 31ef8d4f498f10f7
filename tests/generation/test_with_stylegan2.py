"""The command line's whole way with a real family: a snapshot on disk to shards, grids and results."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from launch.assembly.sampling import sampler_of
from launch.main import main
from pipeline.config.families import StyleGAN2Config
from pipeline.contracts import ImageSpec, Stage
from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.reader import ShardReader
from pipeline.data.shards.verify import verify
from pipeline.models.registry import build_family
from pipeline.storage.snapshots import Snapshot, open_snapshot, write_snapshot
from tests.evaluation.worlds import write_shards
from tests.warm import run_warm

FAMILY = StyleGAN2Config(z_dim=16, w_dim=16, mapping_layers=2, channel_base=256, channel_max=16)
ROOT = Path(__file__).resolve().parents[2]
CLASSES = ("circle", "square", "star")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with an untrained conditional generator of 32px, at 0 and at 64 images."""
    folder = tmp_path_factory.mktemp("stylegan2") / "run"
    spec = ImageSpec(32, 32, 3, len(CLASSES))
    for images_seen in (0, 64):
        with torch.random.fork_rng():
            torch.manual_seed(images_seen)
            generator = build_family(FAMILY, spec, batch_size=8).networks().generator
        write_snapshot(
            folder,
            generator.state_dict(),
            family=FAMILY,
            spec=spec,
            classes=CLASSES,
            stage=Stage(32, 1.0, 8, {"generator": 0.001, "discriminator": 0.001}),
            images_seen=images_seen,
            step=images_seen // 8,
            world_size=1,
            config_digest="0" * 64,
            data={},
        )
    return folder


def hrgan(*words: object) -> int:
    return main([str(word) for word in words])


def shards(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.suffix == ".tar" or p.name == "index.json"}


def test_the_batch_does_not_change_a_byte(run: Path, tmp_path: Path) -> None:
    made = []
    for batch in (1, 3, 8):
        out = tmp_path / str(batch)
        assert (
            hrgan("generate", run, out, "--count", 11, "--shard-size", 4, "--batch", batch, "--seed", 2) == 0
        )
        verify(ShardIndex.read(out))
        made.append(shards(out))
    assert made[0] == made[1] == made[2]
    assert len(made[0]) == 4


@pytest.mark.slow
def test_what_was_generated_has_its_snapshots_figures_and_truncated_others(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without labels in the real images, classes are drawn from the seed in both."""
    reals, snapshot = write_shards(tmp_path / "reals", 14).root, open_snapshot(run)
    assert hrgan("evaluate", snapshot.folder, "--data", reals, "--count", 12) == 0
    expected = json.loads((run / f"metrics/{snapshot.folder.name}.json").read_bytes())["metrics"]
    for psi in ("1", "0.3"):
        out = tmp_path / psi
        assert hrgan("generate", run, out, "--count", 12, "--shard-size", 5, "--truncation", psi) == 0
        capsys.readouterr()
        assert hrgan("evaluate", out, "--data", reals) == 0
        assert f"images seen; truncation: {float(psi)}, classes: by seed\n" in capsys.readouterr().out
        (path,) = (out / "metrics").iterdir()
        found = json.loads(path.read_bytes())
        assert found["measured"]["origin"]["snapshot"] == snapshot.digest
        assert (found["metrics"] == expected) == (psi == "1")


@pytest.mark.slow
def test_the_number_of_processes_and_threads_does_not_change_a_byte(run: Path, tmp_path: Path) -> None:
    """Two processes that the command starts, one with four threads, and two that srun's environment has."""
    words = ["--count", "11", "--shard-size", "2", "--seed", "2"]

    def program(out: str, *more: str) -> list[str]:
        return ["-m", "launch.main", "generate", str(run), str(tmp_path / out), *words, *more]

    both = {"SLURM_STEP_TASKS_PER_NODE": "2", "SLURM_NODEID": "0"}
    ranks = [{**os.environ, **both, "SLURM_PROCID": n, "SLURM_LOCALID": n} for n in "01"]
    programs = [program("two", "--processes", "2"), program("srun"), program("srun")]
    done = run_warm(programs, [os.environ, *ranks], ROOT, 120)
    # What torch reads once, when it is imported.
    done += [
        subprocess.run(
            [sys.executable, *program("one")],
            env={**os.environ, "OMP_NUM_THREADS": "4"},
            cwd=ROOT,
            text=True,
            stdout=subprocess.PIPE,
            timeout=120,
            check=False,
        )
    ]
    assert [process.returncode for process in done] == [0] * 4
    assert [process.stdout.count("11 images in 6 shards") for process in done] == [1, 1, 0, 1]
    assert hrgan("generate", run, tmp_path / "here", *words) == 0
    made = [shards(tmp_path / name) for name in ("two", "one", "srun", "here")]
    assert made[0] == made[1] == made[2] == made[3]
    assert len(made[0]) == 7


def test_deterministic_is_the_same_on_a_cpu(run: Path, tmp_path: Path) -> None:
    words = ("--count", 3, "--seed", 2)
    assert hrgan("generate", run, tmp_path / "a", *words) == 0
    assert hrgan("generate", run, tmp_path / "b", *words, "--deterministic") == 0
    assert shards(tmp_path / "a") == shards(tmp_path / "b")
    assert not torch.are_deterministic_algorithms_enabled()


def test_truncation_and_classes_reach_the_generator(run: Path, tmp_path: Path) -> None:
    words = ("--count", 4, "--truncation", 0, "--classes", "star,0")
    assert hrgan("generate", run, tmp_path / "out", *words) == 0
    with ShardReader(ShardIndex.read(tmp_path / "out")) as reader:
        samples = [reader.read(0, i) for i in range(4)]
    assert [sample.label for sample in samples] == [2, 0, 2, 0]
    # Truncated to nothing, each is the average image of its class.
    assert samples[0].image == samples[2].image != samples[1].image == samples[3].image
    assert len({sample.meta["seed"] for sample in samples}) == 4


def test_a_grid(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert hrgan("generate", run, tmp_path / "g.png", "--count", 6, "--grid", "--classes", "0-2") == 0
    assert (tmp_path / "g.png").is_file()
    assert "g.png: 6 images" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "A.JPEG", "a.webp"])
def test_the_name_of_a_picture_makes_one(run: Path, tmp_path: Path, name: str) -> None:
    """Of one image, that image; of several, their grid."""
    assert hrgan("generate", run, tmp_path / name, "--count", 1) == 0
    with Image.open(tmp_path / name) as picture:
        assert picture.size == (32, 32)
    assert hrgan("generate", run, tmp_path / name, "--count", 4) == 0
    with Image.open(tmp_path / name) as picture:
        assert picture.size == (64, 64)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["a.zip", "a.gif", "a.tar", "a.TIFF", "a.mp4", "there", "there.txt"])
def test_names_of_neither_folders_nor_pictures(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    if name.startswith("there"):
        (tmp_path / name).write_text("mine")
    assert hrgan("generate", run, tmp_path / name, "--count", 1) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert f"{name}: {'is a file' if 'there' in name else 'no .'}" in said
    assert "allowed: a folder's name for shards" in said
    assert "ends in .png, .jpg or .webp for a picture" in said
    assert [path.name for path in tmp_path.iterdir()] == ([name] if name.startswith("there") else [])


def test_a_folder_with_the_name_of_a_picture_goes_on(run: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    assert hrgan("generate", run, tmp_path / "a.png", "--count", 2) == 0
    assert ShardIndex.read(tmp_path / "a.png").count == 2
    assert hrgan("generate", run, tmp_path / "v1.5", "--count", 2) == 0
    assert ShardIndex.read(tmp_path / "v1.5").count == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--classes", "sqare"), "unknown class 'sqare'; allowed: 0 to 2, .* did you mean square?"),
        (("--columns", 2), "--columns: only one picture has columns; add --grid"),
        (("--grid", "--processes", 2), "--processes: several make shards only"),
        (("--deterministic", "--batch", 2), "--batch: --deterministic fixes the batch size itself"),
        (("--truncation", "0.5;1"), "--truncation 0.5;1: must be a number, or several such as 0.5,0.7,1"),
        (("--classes", "0", "--classes-like", "x"), "--classes and --classes-like: give only one"),
        (("--quality", 50), "--quality 50: allowed: 1 to 100, for jpg and webp"),
    ],
)
def test_mistakes_end_in_one_line(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[object, ...], message: str
) -> None:
    import re

    assert hrgan("generate", run, tmp_path / "out", "--count", 4, *words) == 2
    said = capsys.readouterr().err.strip()
    assert re.search(message.replace("?", r"\?"), said)
    assert "\n" not in said


def test_generated_shards_are_evaluated(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert hrgan("generate", run, tmp_path / "data", "--count", 16, "--seed", 1000) == 0
    assert hrgan("evaluate", run, "--data", tmp_path / "data", "--metrics", "swd", "--count", 12) == 0
    values = [
        json.loads((run / f"metrics/{images:012d}.json").read_text())["metrics"]["swd"]["value"]
        for images in (0, 64)
    ]
    assert values[1] < values[0]  # the data came from the generator at 64
    assert "SWD x1000" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--metrics", "fdi"), "--metrics: unknown metric 'fdi'; .*did you mean fid"),
        (("--count", 3), "--count 3: must be at least 10"),
        (("--all", "--watch"), "--all and --watch: give one"),
        (
            ("--metrics", "fid", "--inception-weights", "none.pth"),
            "none.pth: Inception weights: No such file",
        ),
    ],
)
def test_evaluations_mistakes_end_in_one_line(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[object, ...], message: str
) -> None:
    import re

    assert hrgan("generate", run, tmp_path / "data", "--count", 10) == 0
    capsys.readouterr()
    assert hrgan("evaluate", run, "--data", tmp_path / "data", *words) == 2
    said = capsys.readouterr().err.strip()
    assert re.search(message, said)
    assert "\n" not in said


def test_weights_that_do_not_fit_are_named(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_snapshot(
        tmp_path / "other",
        {"weight": torch.ones(1)},
        family=FAMILY,
        spec=ImageSpec(32, 32, 3, 0),
        classes=(),
        stage=open_snapshot(run).stage,
        images_seen=8,
        step=1,
        world_size=1,
        config_digest="0" * 64,
        data={},
    )
    assert hrgan("generate", folder, tmp_path / "out", "--count", 4) == 2
    assert "its weights do not fit" in capsys.readouterr().err


def test_the_sampler_is_what_the_shards_hold(run: Path, tmp_path: Path) -> None:
    from pipeline.data.streaming.numbered import read_uint8
    from pipeline.images.pictures import to_uint8

    snapshot: Snapshot = open_snapshot(run)
    expected = sampler_of(snapshot, torch.device("cpu")).draw([7, 8, 9])
    assert hrgan("generate", run, tmp_path / "out", "--count", 3, "--seed", 7) == 0
    images, labels, _ = next(read_uint8(ShardIndex.read(tmp_path / "out")))
    assert torch.equal(images, to_uint8(expected.images))
    assert expected.labels is not None
    assert labels == expected.labels.tolist()


def test_a_generator_trained_in_low_precision_is_sampled_with_its_clamp(tmp_path: Path) -> None:
    """Where activations reach the clamp, a sample is what training's own grid showed."""
    spec, config = ImageSpec(32, 32, 3, 0), FAMILY.model_copy(update={"clamp": 0.5})
    family = build_family(config, spec, batch_size=8, low_precision=torch.bfloat16)
    torch.manual_seed(0)
    generator = family.networks().generator
    drawn = {}
    for precision in ("bfloat16", "float32"):
        folder = write_snapshot(
            tmp_path / precision,
            generator.state_dict(),
            family=config,
            spec=spec,
            classes=(),
            stage=Stage(32, 1.0, 8, {}),
            images_seen=8,
            step=1,
            world_size=1,
            config_digest="0" * 64,
            data={},
            precision=precision,
        )
        drawn[precision] = sampler_of(open_snapshot(folder), torch.device("cpu")).draw([1, 2]).images
    expected = family.sampler(generator.eval()).draw([1, 2]).images
    assert torch.equal(drawn["bfloat16"], expected)
    assert not torch.equal(drawn["float32"], expected)

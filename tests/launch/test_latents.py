"""From shards to latents to a trained family to images, by the commands that people give."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
import yaml

from launch.main import main
from pipeline.contracts import MOMENTS
from pipeline.data.preparing.prepare import prepare
from pipeline.data.preparing.settings import Asked
from pipeline.data.shards.decode import decode_field, decode_sample
from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.reader import read_samples
from pipeline.models.codecs import moments
from pipeline.storage.manifest import digest_file
from pipeline.storage.snapshots import GENERATOR, open_snapshot
from tests.data.sets import make_set
from tests.importing.autoencoders import weights_of
from tests.importing.test_autoencoder import RECORDED, brought
from tests.launch.clusters import cluster_file, dry, options, sruns
from tests.product import ROOT
from tests.tiny_codec import CHANNELS, FACTOR, tiny_autoencoder, tiny_snapshot
from tools.compare_runs import differences, newest_tensors

SIDE, COUNT = 16, 40
CPU = ("--device", "cpu")


class Home:
    """Shards, a codec, another codec, and the shards' latents by the first."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.shards, self.latents = folder, folder / "shards", folder / "latents"
        prepare("demo:digits", self.shards, Asked(resolution=SIDE, channels=1, count=COUNT, shard_size=16))
        self.codec, self.other = tiny_snapshot(folder / "ae", 1), tiny_snapshot(folder / "other", 2)
        assert self.encode(self.latents) == 0

    def encode(self, out: Path, *more: object) -> int:
        return hrgan("encode", self.shards, out, "--codec", self.codec, "--shard-size", 16, *CPU, *more)

    def config(self, folder: Path, **changes: object) -> Path:
        """Of an MLP on the latents. changes: over whole sections."""
        sections = {
            "seed": 5,
            "length": {"images": 48},
            "data": {"path": str(self.latents), "workers": 0},
            "batch": {"size": 8},
            "family": family(),
            "fixtures": {"codec": {"file": str(self.codec)}},
            "engine": {"device": "cpu"},
            "checkpoints": {"every_images": 24},
            "snapshots": {"every_images": 24, "grid": 4},
            "report": {"every_images": 24, "tensorboard": False},
        }
        path = folder / "c.yaml"
        path.write_text(yaml.safe_dump({**sections, **changes}))
        return path


def family(**codec: object) -> dict[str, object]:
    sizes = {"z_dim": 8, "width": 16, "layers": 2, "output": "linear", "ema_half_life_images": 40}
    return {"name": "mlp", **sizes, "codec": {"kind": "kl", **codec}}


def hrgan(*words: object) -> int:
    return main(list(map(str, words)))


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Home:
    return Home(tmp_path_factory.mktemp("latents"))


@pytest.fixture(scope="module")
def run(home, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    assert hrgan("train", home.config(folder), "--run", folder / "run") == 0
    return folder / "run"


@pytest.fixture
def refused(capsys):
    def line(*words: object) -> str:
        assert hrgan(*words) == 2
        (last,) = capsys.readouterr().err.splitlines()[-1:]
        return last.removeprefix("hrgan: error: ")

    return line


@pytest.fixture
def by_processes(monkeypatch):
    """A command with two processes, which it starts as it was typed."""

    def exit_code(*words: object) -> int:
        typed = [*map(str, words), "--processes", "2"]
        monkeypatch.setattr(sys, "argv", ["hrgan", *typed])
        monkeypatch.chdir(ROOT)
        return main(typed)

    return exit_code


def pictures(index: ShardIndex) -> torch.Tensor:
    """Images [N, 1, H, W] in [-1, 1]."""
    images = [decode_sample(index, 0, sample) for sample in read_samples(index)]
    return torch.stack(images).permute(0, 3, 1, 2).float() * (2 / 255) - 1


def test_stored_moments_are_those_of_encoding_directly(home):
    index = ShardIndex.read(home.latents)
    stored = torch.stack([decode_field(index.fields[-1], s.fields[MOMENTS][1]) for s in read_samples(index)])
    with torch.no_grad():
        direct = torch.cat(moments(tiny_autoencoder(1), pictures(index)), dim=1)
    assert stored.dtype == torch.float16
    torch.testing.assert_close(stored.float(), direct, rtol=1e-3, atol=1e-3)
    known = index.latents
    assert known is not None
    assert (known.factor, known.channels) == (FACTOR, CHANNELS)
    assert known.codec == digest_file(home.codec / GENERATOR)


def test_everything_that_people_see_of_a_run_in_latents_is_in_pixels(home, run, tmp_path, capsys):
    snapshot = open_snapshot(run)
    assert (snapshot.spec.height, snapshot.spec.channels) == (SIDE, 1)
    commands = [
        ("generate", run, tmp_path / "made", "--count", 12, *CPU),
        ("generate", run, tmp_path / "best", "--count", 6, "--filter", "discriminator:50%", *CPU),
        ("generate", run, tmp_path / "grid.png", "--count", 4, *CPU),
        ("evaluate", run, "--data", home.shards, "--count", 24, "--metrics", "swd,msssim", *CPU),
        ("evaluate", tmp_path / "made", "--data", home.latents, "--count", 12, "--metrics", "swd", *CPU),
        ("explore", run, "interpolate", tmp_path / "way.png", "--seeds", "0-2", "--steps", 3, *CPU),
        ("export", home.latents, tmp_path / "files"),
    ]
    for words in commands:
        assert hrgan(*words) == 0, (words, capsys.readouterr().err)
    made = pictures(ShardIndex.read(tmp_path / "made"))
    assert made.shape == (12, 1, SIDE, SIDE)
    assert made.std() > 0.05
    found = json.loads((run / "metrics/000000000048.json").read_text())["metrics"]
    assert found.keys() == {"swd", "msssim"}


def test_the_snapshot_says_all_that_decoding_needs(home, run):
    known, snapshot = ShardIndex.read(home.latents).latents, open_snapshot(run)
    assert known is not None
    codec = snapshot.family.codec
    assert (codec.factor, codec.channels, codec.scale) == (FACTOR, CHANNELS, known.scale)
    assert snapshot.fixtures["codec"].sha256 == known.codec


def test_a_restart_is_bitwise(home, run, tmp_path):
    config = home.config(tmp_path)
    for length in (24, 48):
        assert hrgan("train", config, f"length.images={length}", "--run", tmp_path / "run") == 0
    assert differences(run, tmp_path / "run") == []


@pytest.mark.slow
def test_two_ranks_and_micro_batches_are_the_same_run(home, run, tmp_path, by_processes):
    words = ("train", home.config(tmp_path), "batch.micro=2", "--run", tmp_path / "run")
    assert by_processes(*words) == 0
    ours, theirs = newest_tensors(tmp_path / "run"), newest_tensors(run)
    assert ours.keys() == theirs.keys()
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-3, atol=1e-4, msg=name)


def test_encoding_at_each_step_trains_the_same(home, run, tmp_path, capsys):
    """But for the half precision in which latents are stored."""
    known = ShardIndex.read(home.latents).latents
    assert known is not None
    told = family(factor=FACTOR, channels=CHANNELS, scale=known.scale)
    plain = {"data": {"path": str(home.shards), "workers": 0}, "family": told}
    assert hrgan("train", home.config(tmp_path, **plain), "--run", tmp_path / "run") == 0
    assert "8x8 with 4 channels, encoded at each step, slower than by hrgan encode" in capsys.readouterr().err
    ours, theirs = newest_tensors(tmp_path / "run"), newest_tensors(run)
    for name in (name for name in theirs if name.startswith("networks/")):
        torch.testing.assert_close(ours[name], theirs[name], rtol=2e-2, atol=1e-4, msg=name)


def test_another_codec_than_that_of_the_latents_is_refused(home, tmp_path, refused):
    run, digest = ("--run", tmp_path / "run"), digest_file(home.codec / GENERATOR)
    other = home.config(tmp_path, fixtures={"codec": {"file": str(home.other)}})
    line = refused("train", other, *run)
    assert line.startswith(f"fixtures.codec: {home.other / GENERATOR}: sha256 is ")
    assert line.endswith(f"must be {digest}; allowed: that file")
    wrong = digest_file(home.other / GENERATOR)
    line = refused("train", other, f"fixtures.codec.sha256={wrong}", *run)
    assert f"not the codec that made the latents of {home.latents}; allowed: {digest}" in line
    assert not (tmp_path / "run/snapshots").exists()


def test_what_else_does_not_go_with_latents_is_refused(home, tmp_path, refused):
    config, run = home.config(tmp_path), ("--run", tmp_path / "run")
    line = refused("train", config, "data.mirror=true", *run)
    assert line.startswith(f"data.mirror=true: {home.latents} has latents of the images as they are")
    line = refused("train", config, "family.codec.factor=4", *run)
    assert line == "family.codec.factor=4: the latents of data.path have 2; allowed: 2"
    line = refused("train", config, f"data.path={home.shards}", *run)
    assert line.startswith("family.codec.factor: not set, and the samples have no latents")
    line = refused("train", home.config(tmp_path, fixtures={}), *run)
    assert line.startswith("fixtures.codec: not set, and family mlp needs it")


def test_the_same_shards_train_a_family_in_pixels(home, tmp_path):
    plain = {"family": {**family(), "codec": {"kind": "pixels"}}, "fixtures": {}}
    assert hrgan("train", home.config(tmp_path, **plain), "length.images=24", "--run", tmp_path / "run") == 0


# ---- the command


@pytest.mark.slow
def test_several_processes_make_the_same_shards(home, tmp_path, by_processes, capfd):
    words = ("encode", home.shards, tmp_path / "out", "--codec", home.codec, "--shard-size", 16, *CPU)
    assert by_processes(*words) == 0
    said = capfd.readouterr()
    assert said.err.count("will hold about") == 1
    expected = f"{tmp_path / 'out'}: 40 images in 3 shards, with latents of 8x8 and 4 channels, scale 0."
    assert said.out.startswith(expected)
    for shard in ShardIndex.read(home.latents).shards:
        assert (tmp_path / "out" / shard.name).read_bytes() == (home.latents / shard.name).read_bytes()
    assert ShardIndex.read(tmp_path / "out").digest == ShardIndex.read(home.latents).digest


def test_the_estimate_of_the_disk_is_about_right(home, tmp_path, capsys):
    assert home.encode(tmp_path / "out", "--dtype", "float32", "--scale", "codec") == 0
    said = capsys.readouterr().err
    total = float(said.split("will hold about ")[1].split(" MB")[0])
    index = ShardIndex.read(tmp_path / "out")
    assert total == pytest.approx(sum(shard.bytes for shard in index.shards) / 1e6, abs=0.1)
    assert index.latents is not None
    assert index.latents.scale == 0.75


def test_an_imported_autoencoder_encodes_at_its_own_scale(tmp_path):
    assert brought(weights_of(RECORDED["shapes"]), tmp_path, "--scale", "0.18215") == 0
    shards = make_set(tmp_path / "shards", 6).root
    words = ("encode", shards, tmp_path / "latents", "--codec", tmp_path / "out", "--scale", "codec", *CPU)
    assert hrgan(*words) == 0
    known = ShardIndex.read(tmp_path / "latents").latents
    assert known is not None
    assert (known.factor, known.channels, known.scale) == (2, 4, pytest.approx(0.18215, rel=1e-6))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (("--scale", "0"), "--scale 0: allowed: data, codec or a number above 0"),
        (("--scale", "big"), "--scale big: allowed"),
        (("--codec", "nowhere"), "nowhere: no such folder"),
        (("--codec", "RUN"), "these are not the weights of an autoencoder"),
    ],
)
def test_wrong_wishes_are_refused(home, run, tmp_path, refused, changes, words):
    given = [run if word == "RUN" else word for word in changes]
    usual = () if "--codec" in given else ("--codec", home.codec)
    assert words in refused("encode", home.shards, tmp_path / "out", *usual, *given, *CPU)
    assert not (tmp_path / "out").exists()


def test_damage_in_the_source_is_named_and_what_is_whole_is_kept(home, tmp_path, refused):
    source = tmp_path / "source"
    shutil.copytree(home.shards, source)
    last = sorted(source.glob("*.tar"))[-1]
    data = bytearray(last.read_bytes())
    data[data.index(b"IDAT") + 8] ^= 1
    last.write_bytes(data)
    words = ("encode", source, tmp_path / "out", "--codec", home.codec, "--shard-size", 16, *CPU)
    assert str(last) in refused(*words)
    kept = [path.read_bytes() for path in sorted((tmp_path / "out").glob("*.tar"))]
    assert kept == [path.read_bytes() for path in sorted(home.latents.glob("*.tar"))[: len(kept)]]
    shutil.copy(home.shards / last.name, last)
    assert hrgan(*words) == 0


def test_a_job_encodes(home, tmp_path, capsys):
    out = tmp_path / "out"
    words = ("encode", home.shards, out, "--codec", home.codec, "--cluster", cluster_file(tmp_path))
    script = dry(capsys, *words)
    assert options(script)["comment"] == f"hrgan encode {out}"
    assert options(script)["gpus-per-node"] == "4"
    (srun,) = sruns(script)
    assert srun[-5:] == ["encode", str(home.shards), str(out), "--codec", str(home.codec)]
    assert not out.exists()

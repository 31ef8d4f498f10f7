"""A family with a frozen network, through `hrgan train`: loaded by file and digest, and in nothing that is
saved."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
import torch
from torch import nn

from launch.assembly import sampling, trainer, training
from launch.assembly.fixtures import load_fixtures, with_fixtures
from pipeline.config.load import digest, load_config, read_dump
from pipeline.contracts import ImageSpec, Needs, Process, Terms
from pipeline.data.preparing.prepare import prepare
from pipeline.data.preparing.settings import Asked
from pipeline.errors import UserError
from pipeline.models.mlp import MLP
from pipeline.storage.checkpoints import CheckpointStore
from pipeline.storage.snapshots import open_snapshot
from pipeline.storage.tensors import save_tensors
from tools.compare_runs import differences

SIDE = 8
CONFIG = """
seed: 3
length: {images: 64}
data: {path: SHARDS, workers: 0, lanes: 4}
batch: {size: 8}
family: {name: mlp, z_dim: 4, width: 8, layers: 2}
engine: {device: cpu}
checkpoints: {every_images: 32}
snapshots: {every_images: 64, grid: 4}
report: {every_images: 16, tensorboard: false}
"""


def teacher(weights) -> nn.Module:
    module = nn.Linear(SIDE * SIDE, 2)
    module.load_state_dict(dict(weights))
    return module


class Taught(MLP):
    """Whose generator is also to look to a teacher as the reals do; samples are shifted by what the teacher
    is called."""

    def __init__(self, *arguments, **settings):
        super().__init__(*arguments, **settings)
        self.needs = Needs(fixtures={"teacher": teacher}, sampling=("teacher",))
        first = next(phase for phase in self.phases if phase.trains == "generator")
        taught = replace(first, objective=lambda game, reals: self.added(first.objective, game, reals))
        self.phases = tuple(taught if phase is first else phase for phase in self.phases)

    def added(self, objective, game, reals) -> Terms:
        known = self.fixtures["teacher"]
        assert not any(p.requires_grad for p in known.parameters())
        assert not known.training
        terms = objective(game, reals)
        seen = [known(x.flatten(1)).mean(0) for x in (game.generate(len(reals)).images, reals.images)]
        return replace(terms, loss=terms.loss + (seen[0] - seen[1]).square().sum())

    def sampler(self, generator, stage=None):
        assert self.fixtures.keys() == {"teacher"}
        return super().sampler(generator, stage)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    out = tmp_path_factory.mktemp("digits") / "shards"
    prepare("demo:digits", out, Asked(resolution=SIDE, channels=1, count=40))
    return out


@pytest.fixture
def taught(monkeypatch):
    def build(config, spec, *, batch_size, low_precision=None):
        return Taught(config, spec, batch_size=batch_size, low_precision=low_precision)

    for module in (trainer, sampling):
        monkeypatch.setattr(module, "build_family", build)


@pytest.fixture
def weights(tmp_path):
    return written(tmp_path / "teacher.safetensors", 1)


def written(path, seed: int, **changes):
    torch.manual_seed(seed)
    save_tensors(path, {**nn.Linear(SIDE * SIDE, 2).state_dict(), **changes})
    return path


def config_of(tmp_path, shards, *overrides: str):
    path = tmp_path / "c.yaml"
    path.write_text(CONFIG.replace("SHARDS", str(shards)))
    return load_config(path, overrides)


def test_a_run_keeps_to_the_file_it_began_with(taught, shards, weights, tmp_path):
    run, named = tmp_path / "run", f"fixtures.teacher.file={weights}"
    assert training.train(config_of(tmp_path, shards, named), run, 1) == 0
    sha256 = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert read_dump(run / "config.yaml").fixtures["teacher"].sha256 == sha256

    held = CheckpointStore(run, 1).newest(print).load()
    names = [f"{group}/{name}" for group, tensors in held.items() for name in tensors]
    assert names
    assert not any("teacher" in name for name in names)
    parameters = {p for p in held["networks"] if p.startswith("generator.")}
    assert set(open_snapshot(run).weights()) == {p.removeprefix("generator.") for p in parameters}

    moved = weights.rename(tmp_path / "elsewhere.safetensors")
    longer = (f"fixtures.teacher.file={moved}", "length.images=128")
    assert training.train(config_of(tmp_path, shards, *longer), run, 1) == 0

    other = written(tmp_path / "other.safetensors", 2)
    changed = config_of(tmp_path, shards, f"fixtures.teacher.file={other}", "length.images=256")
    with pytest.raises(UserError, match=rf"fixtures\.teacher\.sha256: \"{sha256}\" -> ") as refusal:
        training.train(changed, run, 1)
    assert len(str(refusal.value).splitlines()) == 1


def test_a_restart_is_bitwise_and_the_teacher_counts(taught, shards, weights, tmp_path):
    named = f"fixtures.teacher.file={weights}"
    training.train(config_of(tmp_path, shards, named), tmp_path / "straight", 1)
    training.train(config_of(tmp_path, shards, named, "length.images=32"), tmp_path / "stopped", 1)
    training.train(config_of(tmp_path, shards, named), tmp_path / "stopped", 1)
    assert differences(tmp_path / "straight", tmp_path / "stopped") == []
    other = written(tmp_path / "other.safetensors", 2)
    training.train(
        config_of(tmp_path, shards, f"fixtures.teacher.file={other}"), tmp_path / "other teacher", 1
    )
    assert differences(tmp_path / "straight", tmp_path / "other teacher") != []


def test_samples_find_the_fixture_again(taught, shards, weights, tmp_path):
    training.train(config_of(tmp_path, shards, f"fixtures.teacher.file={weights}"), tmp_path / "run", 1)
    snapshot = open_snapshot(tmp_path / "run")
    device = torch.device("cpu")
    assert sampling.sampler_of(snapshot, device).draw([1, 2]).images.shape == (2, 1, SIDE, SIDE)
    written(weights, 2)
    with pytest.raises(UserError, match=r"fixtures\.teacher: .*: sha256 is .*, must be .*; allowed"):
        sampling.sampler_of(snapshot, device)
    weights.unlink()
    with pytest.raises(UserError, match=rf"{snapshot.folder}: fixtures\.teacher: {weights}: no such file"):
        sampling.sampler_of(snapshot, device)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], r"fixtures\.teacher: not set, .* allowed: fixtures\.teacher\.file=FILE"),
        (
            ["fixtures.teacher.file=FILE", "fixtures.other.file=FILE"],
            "fixtures.other: .* has no fixture of that name",
        ),
        (["fixtures.teacher.file=/nowhere"], "fixtures.teacher: /nowhere: no such file"),
        (["fixtures.teacher.file=FOLDER"], "fixtures.teacher: .* is a folder where a file should be"),
        (["fixtures.teacher.file=FILE", f"fixtures.teacher.sha256={'ab' * 32}"], f"must be {'ab' * 32}"),
        (["fixtures.teacher.file=JUNK"], "fixtures.teacher: .*: not a file of safetensors"),
        (["fixtures.teacher.file=ODD"], "fixtures.teacher: .*: does not fit: "),
    ],
)
def test_what_is_refused_before_any_work(taught, shards, weights, tmp_path, overrides, message):
    (tmp_path / "junk").write_bytes(b"\x80\x04junk")
    places = {
        "FILE": weights,
        "FOLDER": tmp_path,
        "JUNK": tmp_path / "junk",
        "ODD": written(tmp_path / "odd.safetensors", 1, bias=torch.zeros(3)),
    }
    for word, place in places.items():
        overrides = [override.replace(word, str(place)) for override in overrides]
    with pytest.raises(UserError, match=message) as refusal:
        training.train(config_of(tmp_path, shards, *overrides), tmp_path / "run", 1)
    assert len(str(refusal.value).splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_a_digest_or_a_file_that_is_none_is_refused_by_the_schema(shards, tmp_path):
    with pytest.raises(UserError, match=r"fixtures\.teacher\.sha256"):
        config_of(tmp_path, shards, "fixtures.teacher.file=x", "fixtures.teacher.sha256=12")
    with pytest.raises(UserError, match=r"fixtures\.teacher\.file"):
        config_of(tmp_path, shards, f"fixtures.teacher.sha256={'ab' * 32}")


def test_the_place_of_a_fixture_is_no_part_of_a_run_but_its_digest_is(taught, shards, weights, tmp_path):
    plain = config_of(tmp_path, shards)
    family = trainer.family_of(plain, ImageSpec(SIDE, SIDE, 1))
    found = [
        with_fixtures(config_of(tmp_path, shards, f"fixtures.teacher.file={file}"), family, Process())
        for file in (weights, weights.parent / "." / weights.name, written(tmp_path / "b.safetensors", 2))
    ]
    assert digest(found[0]) == digest(found[1])
    assert len({digest(config) for config in (plain, found[0], found[2])}) == 3
    again = load_fixtures(found[0].fixtures, family, torch.device("cpu")).modules["teacher"]
    assert again.weight.shape == (2, SIDE * SIDE)


def test_a_family_without_fixtures_refuses_one(shards, weights, tmp_path):
    with pytest.raises(
        UserError, match=r"fixtures\.teacher: family mlp has no fixture of that name; allowed: none"
    ):
        training.train(config_of(tmp_path, shards, f"fixtures.teacher.file={weights}"), tmp_path / "run", 1)


def test_the_largest_micro_batch_is_found_with_the_fixture(taught, shards, weights, tmp_path):
    named = f"fixtures.teacher.file={weights}"
    training.train(config_of(tmp_path, shards, named, "batch.micro=auto"), tmp_path / "run", 1)
    assert read_dump(tmp_path / "run" / "config.yaml").batch.micro == 8

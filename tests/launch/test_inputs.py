"""--inputs: the data set that a model makes its images of, where images are generated or measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from launch.main import main
from pipeline.contracts import Conditional, ImageSpec
from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.reader import read_samples
from pipeline.data.streaming.numbered import NumberedSamples
from pipeline.images.codec import decode
from pipeline.images.pictures import to_uint8
from tests.tiny_families import seeded_networks, tiny_family
from tests.tiny_snapshot import snapshot_of

SPEC = ImageSpec(16, 16, 1)


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits that are measured with, and others below them."""
    out = tmp_path_factory.mktemp("sets") / "digits"
    command = ["prepare", "demo:digits", str(out), "--resolution", "16", "--grey", "--labels", "none"]
    assert main([*command, "--hold-out", "5%"]) == 0
    return out


def stored(name: str, folder: Path) -> Path:
    return snapshot_of(tiny_family(name, SPEC), folder).folder


def result(folder: Path) -> Any:
    (file,) = (folder / "metrics").glob("*.json")
    return json.loads(file.read_text())["metrics"]["swd"]


def test_images_are_made_of_the_samples_in_turn(sets: Path, tmp_path: Path) -> None:
    snapshot, others = stored("superres", tmp_path), ShardIndex.read(sets / "held-out")
    first = others.count - 2
    command = ["generate", str(snapshot), str(tmp_path / "out"), "--count", "4", "--device", "cpu"]
    assert main([*command, "--seed", str(first), "--inputs", str(others.root)]) == 0
    made = ShardIndex.read(tmp_path / "out")
    assert made.origin["inputs"] == others.digest
    family = tiny_family("superres", SPEC)
    sampler = family.sampler(seeded_networks(family).generator.eval())
    assert isinstance(sampler, Conditional)
    given = NumberedSamples(others, sampler.fields).batch([first, first + 1, 0, 1])
    wanted = to_uint8(sampler.draw_given(given, range(first, first + 4)).images).numpy()
    found = np.stack([decode(sample.image, "png", 1).reshape(1, 16, 16) for sample in read_samples(made)])
    assert np.array_equal(found, wanted)


def test_figures_of_other_inputs_are_others_and_say_so(sets: Path, tmp_path: Path) -> None:
    found = []
    for place, more in enumerate(([], ["--inputs", str(sets / "held-out")])):
        snapshot = stored("superres", tmp_path / str(place))
        command = ["evaluate", str(snapshot), "--data", str(sets), "--metrics", "swd", "--count", "60"]
        assert main([*command, *more, "--device", "cpu"]) == 0
        found.append(result(tmp_path / str(place)))
    assert "inputs" not in found[0]
    assert found[1]["inputs"] == ShardIndex.read(sets / "held-out").digest
    assert found[0]["value"] != found[1]["value"]


@pytest.mark.parametrize("command", ["generate", "evaluate"])
def test_a_model_that_is_given_nothing_refuses_them(
    command: str, sets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    snapshot = stored("dcgan", tmp_path)
    how = {
        "generate": [str(tmp_path / "out"), "--count", "2"],
        "evaluate": ["--data", str(sets), "--metrics", "swd", "--count", "60"],
    }
    assert main([command, str(snapshot), *how[command], "--inputs", str(sets), "--device", "cpu"]) == 2
    assert "this model makes images of nothing that is given; leave it out" in capsys.readouterr().err


def test_what_does_not_go_together_is_refused(
    sets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--inputs", str(sets)]
    assert main(["generate", "run", "out.png", "--count", "1", "--text", "red", *given]) == 2
    assert "--inputs and --text, --texts: give only one of them" in capsys.readouterr().err
    assert main(["evaluate", str(sets / "held-out"), "--data", str(sets), "--metrics", "swd", *given]) == 2
    assert "is a data set, which is made of nothing else; leave it out" in capsys.readouterr().err

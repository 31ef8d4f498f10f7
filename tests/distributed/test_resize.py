"""A run goes on with more or fewer processes and under another engine: same images, same losses."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from pipeline.data.preparing.prepare import prepare
from pipeline.data.preparing.settings import Asked
from tests.distributed.gang import run_module
from tests.small_run import logged, write_config
from tools.compare_runs import newest_tensors

pytestmark = pytest.mark.slow
IMAGES = 128
ZERO = pytest.mark.skipif(find_spec("deepspeed") is None, reason="deepspeed: not installed")
CHAINS = [
    pytest.param([(2, ""), (1, ""), (2, ""), (4, "")], id="2-1-2-4"),
    pytest.param(
        [(1, "engine.kind=zero"), (2, "engine.kind=zero engine.stage=2"), (1, "engine.kind=replicated")],
        id="zero1-x1-zero2-x2-replicated-x1",
        marks=ZERO,
    ),
]


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("resize")
    prepare("demo:digits", folder / "shards", Asked(resolution=8, channels=1, count=200))
    return write_config(
        folder / "c.yaml",
        folder / "shards",
        length={"images": IMAGES},
        snapshots={"every_images": 1000},
        report={"every_images": 8, "tensorboard": False},
    )


@pytest.fixture(scope="module")
def straight(config, tmp_path_factory):
    run = tmp_path_factory.mktemp("straight") / "run"
    run_module("launch.main", 1, ["train", str(config), "--run", str(run)])
    return run


@pytest.mark.parametrize("chain", CHAINS)
def test_the_curve_of_one_process(config, straight, chain, tmp_path):
    for part, (processes, overrides) in enumerate(chain, start=1):
        until = f"length.images={IMAGES * part // len(chain) // 8 * 8}"
        arguments = ["train", str(config), until, *overrides.split(), "--run", str(tmp_path / "run")]
        run_module("launch.main", processes, arguments)
    ours, alone = logged(tmp_path / "run"), logged(straight)
    assert [entry["images_seen"] for entry in ours] == [entry["images_seen"] for entry in alone]
    assert len(ours) == IMAGES // 8
    for entry, expected in zip(ours, alone, strict=True):
        for name in expected:
            if name.startswith(("loss/", "logits/", "penalty/", "path_length", "signs/")):
                assert entry[name] == pytest.approx(expected[name], rel=2e-3, abs=2e-4), (name, expected)
    found, wanted = newest_tensors(tmp_path / "run"), newest_tensors(straight)
    assert found.keys() == wanted.keys()
    assert found["memory/ada.p"] == wanted["memory/ada.p"]

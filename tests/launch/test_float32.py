"""float32 in full, whatever was said before: the switches, and every command that computes."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from functools import partialmethod
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import backends

from launch.assembly import training as training
from launch.main import main
from pipeline.contracts import ImageSpec
from pipeline.data.preparing.prepare import prepare
from pipeline.data.preparing.settings import Asked
from pipeline.engines.replicated import Replicated
from pipeline.engines.zero import Zero
from pipeline.float32 import full_float32
from pipeline.models.stylegan2.sampler import StyleGAN2Sampler as Sampler
from tests.exploration.conftest import write
from tests.small_run import ROOT, environment, write_config


def older() -> None:
    backends.cuda.matmul.allow_tf32 = backends.cudnn.allow_tf32 = True


def newer() -> None:
    backends.fp32_precision = "tf32"


def convolutions() -> None:
    backends.cudnn.conv.fp32_precision = "tf32"


def products() -> None:
    backends.cuda.matmul.fp32_precision = "tf32"


def medium() -> None:
    torch.set_float32_matmul_precision("medium")


def on_cpu() -> None:
    backends.mkldnn.matmul.fp32_precision = backends.mkldnn.conv.fp32_precision = "bf16"


def switches() -> dict[str, Any]:
    """What torch says of each, by either of its two ways; RuntimeError where they disagree."""
    return {
        "products": backends.cuda.matmul.allow_tf32,
        "convolutions": backends.cudnn.allow_tf32,
        "matmul": torch.get_float32_matmul_precision(),
        "all": backends.fp32_precision,
        "cuda.matmul": backends.cuda.matmul.fp32_precision,
        "cudnn": backends.cudnn.fp32_precision,
        "cudnn.conv": backends.cudnn.conv.fp32_precision,
        "cudnn.rnn": backends.cudnn.rnn.fp32_precision,
        "mkldnn.conv": backends.mkldnn.conv.fp32_precision,
        "mkldnn.matmul": backends.mkldnn.matmul.fp32_precision,
    }


def in_full() -> bool:
    found = switches()
    loose = (found.pop("products"), found.pop("convolutions"))
    return loose == (False, False) and found.pop("matmul") == "highest" and set(found.values()) == {"ieee"}


@pytest.fixture(autouse=True)
def after() -> Iterator[None]:
    yield
    full_float32()


@pytest.mark.parametrize("said", [older, newer, convolutions, products, medium, on_cpu])
@pytest.mark.parametrize("times", [1, 2])
def test_what_a_program_said_before_does_not_count(said: Callable[[], None], times: int) -> None:
    said()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(times):
            full_float32()
    assert in_full()


def test_what_the_environment_says_does_not_count() -> None:
    """In a process of its own: torch reads it once."""
    code = (
        "import torch; from torch.backends import cuda; from pipeline.float32 import full_float32\n"
        "assert cuda.matmul.allow_tf32; full_float32(); assert not cuda.matmul.allow_tf32"
    )
    said = {**environment(), "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "1"}
    subprocess.run([sys.executable, "-c", code], env=said, cwd=ROOT, check=True)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`data`, and a snapshot that makes such images."""
    root = tmp_path_factory.mktemp("float32")
    prepare("demo:digits", root / "data", Asked(resolution=16, channels=1, count=24))
    write(root / "run", "stylegan2", ImageSpec(16, 16, 1)).rename(root / "snapshot")
    return root


@pytest.mark.parametrize(
    "words",
    [
        "generate snapshot shards --count 2 --device cpu",
        "generate snapshot grid.png --count 2 --grid --device cpu",
        "generate snapshot repeats --count 2 --deterministic --device cpu",
        "explore snapshot truncation psi.png --seeds 0 --psi 0.5 --device cpu",
        "evaluate snapshot --data data --metrics msssim --count 10 --device cpu",
    ],
)
@pytest.mark.parametrize("said", [older, newer])
def test_every_command_computes_in_full(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, said: Callable[[], None]
) -> None:
    for name in ("data", "snapshot"):
        os.symlink(world / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    said()
    assert main(words.split()) == 0
    assert in_full()


class Begun(Exception):
    """Training would begin here."""


def test_training_computes_in_full_and_says_so(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []

    def run(*_: object) -> None:
        seen.append(in_full())
        raise Begun

    monkeypatch.setattr(training, "_run", run)
    config = write_config(tmp_path / "c.yaml", world / "data")
    older()
    with pytest.raises(Begun):
        main(["train", str(config), "--run", str(tmp_path / "run")])
    assert seen == [True]


@pytest.mark.parametrize("kind", ["replicated", "zero"])
def test_training_uses_tf32_where_it_was_asked_and_its_samples_do_not(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Backward passes of either engine, of main phases and of penalties; pictures of each snapshot."""
    backward: dict[str, set[bool]] = {"generator": set(), "discriminator": set()}
    drawn: list[bool] = []

    def watched(engine: Any, net: str, *args: Any, _go_on: Any, **settings: Any) -> None:
        backward[net].add(in_full())
        _go_on(engine, net, *args, **settings)

    def draw(sampler: Any, *args: Any, _go_on: Any, **settings: Any) -> Any:
        drawn.append(in_full())
        return _go_on(sampler, *args, **settings)

    for owner, name, new in (
        (Replicated, "backward", watched),
        (Zero, "backward", watched),
        (Sampler, "draw", draw),
    ):
        monkeypatch.setattr(owner, name, partialmethod(new, _go_on=getattr(owner, name)))
    engine = {"kind": kind, "tf32": "main"}
    config = write_config(tmp_path / "c.yaml", world / "data", engine=engine, length={"images": 16})
    older()
    assert main(["train", str(config), "--run", str(tmp_path / "run")]) == 0
    assert backward == {"generator": {False, True}, "discriminator": {False, True}}
    assert set(drawn) == {True}
    assert in_full()

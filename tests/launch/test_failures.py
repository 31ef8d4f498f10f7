"""Memory that does not suffice: one line, whatever computes; and batch.micro=auto, which finds what does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from launch.assembly import fitting
from launch.assembly.fitting import candidates, largest_stage, settled
from launch.failures import memory_line, out_of_memory
from launch.main import main
from pipeline.config.load import read_dump
from pipeline.config.run import RunConfig
from pipeline.contracts import ImageSpec, Process
from pipeline.data.preparing.prepare import prepare
from pipeline.data.preparing.settings import Asked
from pipeline.errors import RunFailed
from pipeline.losses.turns import DiscriminatorTurn
from pipeline.models.registry import build_family
from pipeline.models.stylegan2.sampler import StyleGAN2Sampler
from tests.exploration.conftest import write
from tests.small_run import CONFIG, write_config
from tools.compare_runs import differences
from tools.tiny_families import TINY

CUDA = (
    "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 79.10 GiB of which "
    "1.20 GiB is free. Including non-PyTorch memory, this process has 77.90 GiB memory in use."
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("memory")
    prepare("demo:digits", root / "data", Asked(resolution=16, channels=1, count=64))
    write(root / "run", "stylegan2", ImageSpec(16, 16, 1)).rename(root / "snapshot")
    return root


def refused(size: int) -> BaseException:
    """What torch itself raises for so many bytes on a CPU."""
    try:
        torch.empty(size, dtype=torch.uint8)
    except RuntimeError as error:
        return error
    raise AssertionError("this machine has it")


def numpy_refused() -> BaseException:
    try:
        np.zeros(1 << 55, dtype=np.uint8)
    except MemoryError as error:
        return error
    raise AssertionError("this machine has it")


@pytest.mark.parametrize(
    ("make", "asked"),
    [
        (lambda: torch.OutOfMemoryError(CUDA), "2.50 GiB were asked for"),
        (lambda: refused(1 << 52), "4194304.00 GiB were asked for"),
        (lambda: RuntimeError("CUDA error: out of memory"), None),
        (lambda: RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), None),
        (numpy_refused, "33554432.00 GiB were asked for"),
        (MemoryError, None),
    ],
)
def test_the_line_has_what_was_asked_what_was_held_and_what_to_do(
    make: Callable[[], BaseException], asked: str | None
) -> None:
    error = make()
    line = memory_line(error, ["train", "c.yaml"])
    assert line is not None
    assert line.startswith("out of memory: ")
    assert (asked is None) == ("were asked for" not in line)
    assert asked is None or asked in line
    assert " GiB was the most that this process held; lower batch.micro, or let batch.micro=auto" in line
    assert "--batch" in str(memory_line(error, ["--x", "generate"]))


@pytest.mark.parametrize(
    "error", [RuntimeError("shapes differ"), ValueError("out of memory"), RunFailed("full")]
)
def test_other_errors_are_not_taken_for_it(error: BaseException) -> None:
    assert not out_of_memory(error)
    assert memory_line(error, ["train"]) is None


@pytest.mark.parametrize(
    ("words", "mend"),
    [
        ("train c.yaml --run run", "batch.micro"),
        ("generate snapshot shards --count 2 --device cpu", "--batch"),
        ("evaluate snapshot --data data --metrics msssim --count 10 --device cpu", "--batch"),
        ("explore snapshot truncation psi.png --seeds 0 --psi 0.5 --device cpu", "--batch"),
    ],
)
@pytest.mark.parametrize(
    "make", [lambda: torch.OutOfMemoryError(CUDA), lambda: refused(1 << 52), MemoryError]
)
def test_every_command_ends_with_one_line(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    words: str, mend: str, make: Callable[[], BaseException],
) -> None:  # fmt: skip
    def fail(*_: Any, **__: Any) -> Any:
        raise make()

    for name in ("data", "snapshot"):
        (tmp_path / name).symlink_to(world / name)
    write_config(tmp_path / "c.yaml", world / "data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(StyleGAN2Sampler, "_images", fail)
    assert main(words.split()) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("hrgan: error: ")]
    assert len(lines) == 1
    assert lines[0].startswith("hrgan: error: out of memory: ")
    assert mend in lines[0]
    if words.startswith("train"):
        assert json.loads((tmp_path / "run" / "job.json").read_text())["reason"].startswith("out of memory: ")


def short_of_memory(patch: pytest.MonkeyPatch, most: int) -> None:
    """A device that has room for `most` images in the discriminator's turn."""
    go_on = DiscriminatorTurn.__call__

    def turn(self: Any, game: Any, reals: Any) -> Any:
        if len(reals) > most:
            raise torch.OutOfMemoryError(CUDA)
        return go_on(self, game, reals)

    patch.setattr(DiscriminatorTurn, "__call__", turn)


def test_auto_is_the_same_run_as_the_number_by_hand_and_stays(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    auto = write_config(
        tmp_path / "auto.yaml", world / "data", batch={"micro": "auto"}, length={"images": 24}
    )
    hand = write_config(tmp_path / "hand.yaml", world / "data", batch={"micro": 4}, length={"images": 48})
    with monkeypatch.context() as patch:
        short_of_memory(patch, 5)
        assert main(["train", str(auto), "--run", str(tmp_path / "auto")]) == 0
    assert "hrgan: batch.micro=auto: 4, of the 8 images of a process" in capsys.readouterr().err
    assert read_dump(tmp_path / "auto" / "config.yaml").batch.micro == 4
    # There is room for all now; the run goes on as it began.
    assert main(["train", str(auto), "length.images=48", "--run", str(tmp_path / "auto")]) == 0
    assert "batch.micro=auto" not in capsys.readouterr().err
    assert main(["train", str(hand), "--run", str(tmp_path / "hand")]) == 0
    assert differences(tmp_path / "auto", tmp_path / "hand") == []


def config_of(**batch: Any) -> RunConfig:
    return RunConfig.model_validate({**CONFIG, "batch": {"size": 8, "micro": "auto", **batch}})


DIGITS = ImageSpec(8, 8, 1)


def test_without_a_limit_the_whole_batch_fits() -> None:
    assert settled(config_of(), DIGITS, Process()).batch.micro == 8
    assert settled(config_of(micro=2), DIGITS, Process()).batch.micro == 2


def test_all_ranks_take_the_smallest_and_only_what_the_family_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of(size=24)
    assert list(candidates(config, DIGITS, Process(0, 2))) == [12, 6, 4, 2]  # whole groups of 2
    for others, most in ((12, 6), (2, 2)):
        monkeypatch.setattr(fitting, "from_all", lambda here, process, others=others: [here, others])
        with monkeypatch.context() as patch:
            short_of_memory(patch, 7)
            assert settled(config, DIGITS, Process(0, 2)).batch.micro == most
    short_of_memory(monkeypatch, 1)
    monkeypatch.setattr(fitting, "from_all", lambda here, process: [here])
    with pytest.raises(RunFailed, match="not even the fewest"):
        settled(config, DIGITS, Process(0, 2))


def test_other_errors_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def turn(*_: Any) -> None:
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(DiscriminatorTurn, "__call__", turn)
    with pytest.raises(RuntimeError, match="shapes differ"):
        settled(config_of(), DIGITS, Process())


def test_batch_norm_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    family = {"family": {"name": "biggan", **TINY["biggan"]}}
    config = config_of().model_validate({**CONFIG, **family, "batch": {"size": 8, "micro": "auto"}})
    short_of_memory(monkeypatch, 2)
    assert settled(config, ImageSpec(8, 8, 1, 10), Process()).batch.micro == 2
    assert "batch normalisation takes its statistics over so many" in capsys.readouterr().err


def test_the_stage_with_most_pixels_is_tried() -> None:
    family = {"family": {"name": "progan", **TINY["progan"]}, "length": {"images": 10_000_000}}
    config = RunConfig.model_validate({**CONFIG, **family, "batch": {"size": 8, "micro": "auto"}})
    schedule = build_family(config.family, DIGITS, batch_size=8).schedule
    stage = largest_stage(config, schedule, 2, 4)
    assert stage.resolution == 8
    assert stage.batch_size == schedule.at(10_000_000).batch_size // 2

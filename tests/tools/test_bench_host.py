"""The count of what the host dispatches: closed forms, and real steps; the model of who waits for whom."""

from __future__ import annotations

import json

import pytest
import torch
import yaml
from torch.nn import functional

from pipeline.config.load import load_config
from pipeline.contracts import ImageSpec
from pipeline.errors import UserError
from tests.tiny_families import LABELLED
from tools.bench.dispatch import Dispatched
from tools.bench.host import CONSTANTS, GpuWork, count, main, waits
from tools.tiny_families import DIGITS, FIELDS, PLAIN, TINY, seeded_networks, tiny_family, tiny_trainer


def counted(tmp_path, name, side=8, **changes):
    """Turns by phase of the tiny family, unlabelled."""
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump({"family": {"name": name, **TINY[name], **changes}}))
    spec = ImageSpec(side, side, 1, 10 if name in LABELLED else 0, fields=FIELDS.get(name, ()))
    return {turn.name: turn for turn in count(load_config(file, []), spec, 8)}


def test_operations_of_a_layer():
    x, weight, bias = torch.randn(3, 4), torch.randn(5, 4), torch.randn(5)
    with Dispatched() as seen:
        functional.linear(x, weight, bias)
    assert seen.counts == {"aten::t": 1, "aten::addmm": 1}
    assert (seen.operations, seen.kernels, seen.convolutions) == (2, 1, 0)


def test_convolutions_of_a_generators_phase_are_twice_its_weights(tmp_path):
    """Each weight once forward, through both networks, and once backward."""
    turns = counted(tmp_path, "dcgan", 32)
    networks = seeded_networks(tiny_family("dcgan", ImageSpec(32, 32, 1)))
    weights = sum(p.ndim == 4 for _, module in networks.items() for p in module.parameters())
    assert weights > 2
    assert turns["generator"].convolutions == 2 * weights


@pytest.mark.parametrize("name", sorted(TINY))
def test_what_is_counted_without_data_is_what_a_real_step_convolves(tmp_path, name):
    trainer = tiny_trainer(tiny_family(name, DIGITS if name in LABELLED else PLAIN))
    trainer.progress.images_seen = 10**9
    trainer.step()  # in which Adam makes room for its moments
    trainer.progress.step = 0
    with Dispatched() as seen:
        trainer.step()
    turns = counted(tmp_path, name).values()
    repeats = {phase.name: phase.repeats for phase in trainer.family.phases}
    assert sum(repeats[turn.name] * turn.convolutions for turn in turns) == seen.convolutions
    # Adam, the average and figures are not counted, and what has no form for a GPU is counted as plain.
    ours = sum(repeats[turn.name] * turn.operations for turn in turns)
    assert 0.75 * seen.operations < ours < 1.1 * seen.operations


def test_each_resolution_adds_the_same(tmp_path):
    """So all layers of a large network are counted."""
    few, more, most = (counted(tmp_path, "stylegan2", side, channel_max=8) for side in (8, 16, 32))
    for name in few:
        for what in ("convolutions", "kernels"):
            a, b, c = (getattr(turns[name], what) for turns in (few, more, most))
            assert c - b == b - a > 0, (name, what)


def test_who_is_slower_is_waited_for():
    assert waits(2.0, 0.5) == 0.75
    assert waits(0.5, 2.0) == 0.0


def test_an_operation_takes_the_longest_of_arithmetic_bytes_and_launch():
    x = torch.empty(1 << 22, device="meta")
    with GpuWork(CONSTANTS) as work:
        x + 1
        x.view(-1, 2)
    assert work.seconds == pytest.approx(2 * 4 * (1 << 22) / CONSTANTS["bandwidth"])
    for dtype, rate in ((torch.float32, "float32"), (torch.bfloat16, "bfloat16")):
        a = torch.empty(4096, 4096, device="meta", dtype=dtype)
        with GpuWork(CONSTANTS) as work:
            a @ a
        assert work.seconds == pytest.approx(2 * 4096**3 / CONSTANTS[rate])
    with GpuWork(CONSTANTS) as work:
        torch.empty(2, device="meta") + 1
    assert work.seconds == CONSTANTS["launch"]


def test_rows_of_a_configuration(tmp_path, capsys):
    out = tmp_path / "rows.json"
    assert main(["mlp-32", "--rounds", "1", "--set", "launch=1", "--json", str(out)]) == 0
    rows = json.loads(out.read_text())["rows"]
    *turns, step = rows
    assert [row["op"] for row in rows] == ["mlp-32, generator", "mlp-32, discriminator", "mlp-32, step"]
    assert step["operations"] == sum(row["operations"] for row in turns)
    assert step["gpu_ms"] == pytest.approx(1e3 * step["kernels"])  # a second each
    assert step["waits"] == 0.0
    assert len(capsys.readouterr().out.splitlines()) == 4


@pytest.mark.parametrize("words", [["--set", "speed=1"], ["--set", "launch=0"], ["nobody"]])
def test_wrong_words_are_a_users_error(words):
    with pytest.raises(UserError, match="allowed"):
        main(words)


def test_a_replay_leaves_numbers_copies_and_the_update(tmp_path):
    """However deep the networks are; a phase that comes rarely is not captured."""
    shallow, deep = (
        counted(tmp_path, "stylegan2", side, channel_max=8, style_mixing=0.0) for side in (8, 32)
    )
    for name in ("generator", "discriminator"):
        assert deep[name].operations > shallow[name].operations + 100
        assert deep[name].replayed == shallow[name].replayed < 100
    assert deep["r1"].replayed == deep["r1"].operations

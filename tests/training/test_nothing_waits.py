"""A step leaves the device alone: nothing in it asks the host to wait for a value.

Everything runs on a CPU, which stands for the device: `unasked` refuses what would make a host wait for it.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from pipeline.contracts import CODEC, Batch, Family
from pipeline.training.flags import Flags
from pipeline.training.trainer import Trainer
from tests.tiny_codec import CHANNELS, FACTOR, tiny_autoencoder
from tests.tiny_families import DIGITS, FLOAT32_ALONE, LABELLED, PLAIN, TINY, tiny_family, tiny_trainer

aten = torch.ops.aten
READS = (
    aten._local_scalar_dense,  # item, float, bool, tolist
    aten.equal,
    aten.is_nonzero,
    aten.masked_select,
    aten.nonzero,
    aten._unique2,
    aten.bincount,
)
CONSTANTS = (aten.lift_fresh, aten.lift_fresh_copy)  # torch.tensor(3.0, device=...): a copy from the host
MASKABLE = (aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_)


class Waited(AssertionError):
    pass


TAKEN = (torch.Tensor.tolist, torch.Tensor.numpy, torch.Tensor.cpu, torch.Tensor.__array__)


class Untaken(TorchFunctionMode):
    """What a CPU's tensors do without any operation."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function in TAKEN:
            raise Waited(str(function))
        return function(*args, **(kwargs or {}))


class Undispatched(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        packet = function.overloadpacket
        masked = packet in MASKABLE and any(
            index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        )
        counted = packet is aten.repeat_interleave and (kwargs or {}).get("output_size") is None
        if packet in (*READS, *CONSTANTS) or masked or counted:
            raise Waited(str(function))
        return function(*args, **(kwargs or {}))


@contextmanager
def unasked():
    with Undispatched(), Untaken():
        yield


class Held:
    """A stream whose batches are on the device already."""

    damaged = retries = 0

    def __init__(self, batch: Batch) -> None:
        self._batch, self.others = batch, self

    def draw(self, batch_size, times=1, *, resolution=None):
        size = self._batch.images.shape[2] // (resolution or self._batch.images.shape[2])
        images = torch.nn.functional.avg_pool2d(self._batch.images, size)
        return [replace(self._batch, images=images)] * times


def run(name, spec, low_precision=None, **changes) -> Trainer:
    return held(tiny_family(name, spec, low_precision=low_precision, **changes))


def held(family: Family) -> Trainer:
    trainer = tiny_trainer(family)
    (batch,) = trainer.stream.draw(8)
    trainer.stream = Held(batch)
    return trainer


CASES = [
    *((name, DIGITS, None, {}) for name in TINY),
    *((name, PLAIN, None, {}) for name in TINY if name not in LABELLED),
    *((name, DIGITS, torch.bfloat16, {}) for name in TINY if name not in FLOAT32_ALONE),
    (
        "stylegan2",
        DIGITS,
        None,
        {"ada": {"mode": "adaptive", "kinds": ["blit", "geometry", "color"], "p": 0.5}},
    ),
    (
        "stylegan2",
        PLAIN,
        None,
        {"ada": {"mode": "adaptive", "kinds": ["filter", "noise", "cutout"], "p": 0.5}},
    ),
    ("stylegan2", DIGITS, None, {"conditioning": "classifier"}),
    ("r3gan", PLAIN, None, {"augment_kinds": ["blit", "color", "cutout"], "augment_p": 0.3}),
    ("gat", DIGITS, None, {"scales": [4, 2, 2, 1], "consistency_weight": 1.0}),
]


@pytest.mark.parametrize(("name", "spec", "low", "changes"), CASES)
def test_no_step_of_any_family_asks_the_device(name, spec, low, changes):
    trainer = run(name, spec, low, **changes)
    with unasked():
        for _ in range(4):  # each lazy phase, growth, the noting turn and those after it
            trainer.step()
            trainer.fetch()
    assert trainer.progress.step == 4


def test_no_step_in_latents_asks_the_device():
    """Those of an autoencoder whose own scale is taken, computed at each step."""
    codec = {"kind": "kl", "factor": FACTOR, "channels": CHANNELS}
    family = tiny_family("mlp", PLAIN, output="linear", codec=codec)
    family.fixtures = {CODEC: tiny_autoencoder()}
    trainer = held(family)
    with unasked():
        for _ in range(3):
            trainer.step()
    assert trainer.progress.step == 3


@pytest.mark.parametrize(
    "ask",
    [
        lambda x: x.sum().item(),
        lambda x: bool((x > 0).all()),
        lambda x: x.tolist(),
        lambda x: x.cpu(),
        lambda x: x.numpy(),
        lambda x: x[x > 0],
        lambda x: x.nonzero(),
        lambda x: torch.tensor(0.5) * x,
        lambda x: torch.nn.functional.one_hot(x.long(), 3),
        lambda x: x.index_put((x > 0,), torch.zeros(())),
        lambda x: torch.equal(x, x),
    ],
)
def test_what_waits_is_found(ask):
    x = torch.rand(4)
    with unasked(), pytest.raises(Waited):
        ask(x)


def test_flags_of_a_cpu_are_there_at_once():
    flags = Flags(torch.device("cpu"))
    assert flags.exchange(torch.tensor([1.0, 2.0])) == [1, 2]
    assert flags.exchange(torch.tensor([3.0, 4.0])) == [3, 4]


class Event:
    waited: list[int] = []  # noqa: RUF012
    count = 0

    def __init__(self) -> None:
        self.number, Event.count = Event.count, Event.count + 1
        self.recorded = False

    def record(self) -> None:
        self.recorded = True

    def synchronize(self) -> None:
        assert self.recorded
        Event.waited.append(self.number)


def test_flags_of_a_gpu_are_read_a_step_later_and_after_their_own_event(monkeypatch):
    empty = torch.empty
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch, "empty", lambda *a, pin_memory=False, **k: empty(*a, **k))
    flags = Flags(torch.device("cuda"))
    assert flags.exchange(torch.tensor([1.0, 2.0])) is None
    assert flags.exchange(torch.tensor([3.0, 4.0])) == [1, 2]
    assert flags.exchange(torch.tensor([5.0, 6.0])) == [3, 4]
    assert Event.waited == [0, 1]


def test_a_fault_of_the_next_batch_waits_for_its_step():
    trainer = run("mlp", PLAIN)
    trainer.step()
    drawn = trainer.stream.draw

    def fail(*a, **k):
        raise OSError("damaged")

    trainer.stream.draw = fail
    trainer.fetch()  # a snapshot that is due now is still made
    with pytest.raises(OSError, match="damaged"):
        trainer.step()
    trainer.stream.draw = drawn
    trainer.step()

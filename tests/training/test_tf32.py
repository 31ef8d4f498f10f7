"""engine.tf32: which convolutions and products of a step run with the switch on, forward and backward."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import ops
from ops import layout
from pipeline.float32 import Tf32, detached, full_float32, of_turn
from pipeline.models.registry import FAMILIES
from pipeline.training.trainer import Trainer
from tests.tiny_families import tiny_family, tiny_trainer
from tools.research.tf32 import PRODUCTS

PENALTIES: dict[str, dict[str, Any]] = {
    "wgan-gp": {"loss": "wasserstein", "gp_weight": 10.0},
    "lazy": {"r1_gamma": 1.0, "r1_every": 1, "r2_gamma": 1.0, "r2_every": 2, "gp_weight": 1.0, "gp_every": 2},
}


@pytest.fixture(autouse=True)
def _true_float32() -> Iterator[None]:
    full_float32()
    yield
    full_float32()


def loose() -> bool:
    one, other = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    assert one == other
    assert (torch.backends.cudnn.conv.fp32_precision == "tf32") == one
    assert (torch.backends.cuda.matmul.fp32_precision == "tf32") == one
    return one


class Seen(TorchDispatchMode):
    """By phase, whether the switch was on: in `alone` for fakes made without a gradient, in `graph` for all
    other products, forward and backward. asked: phases that asked for exactness."""

    def __init__(self) -> None:
        super().__init__()
        self.phase = ""
        self.graph: dict[str, set[bool]] = {}
        self.alone: dict[str, set[bool]] = {}
        self.asked: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func._schema.name in PRODUCTS:
            seen = self.alone if self._in_generate else self.graph
            seen.setdefault(self.phase, set()).add(loose())
        return func(*args, **(kwargs or {}))

    _in_generate = False

    def watch(self, trainer: Trainer) -> None:
        """Notes whose turn it is, and who asks for exactness."""
        family, make = trainer.family, trainer.family.game

        def objective(phase: Any) -> Any:
            def run(game: Any, reals: Any) -> Any:
                self.phase = phase.name
                return phase.objective(game, reals)

            return run

        def game(*parts: Any) -> Any:
            return Watched(make(*parts), self)

        family.phases = tuple(replace(p, objective=objective(p)) for p in family.phases)
        family.game = game  # type: ignore[method-assign]


class Watched:
    """A game whose passes are noted."""

    def __init__(self, game: Any, seen: Seen) -> None:
        self._game, self._seen = game, seen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._game, name)

    def generate(self, *args: Any, exact: bool = False) -> Any:
        if exact:
            self._seen.asked.add(self._seen.phase)
        self._seen._in_generate = not torch.is_grad_enabled()
        try:
            return self._game.generate(*args, exact=exact)
        finally:
            self._seen._in_generate = False

    def judge(self, *args: Any, exact: bool = False) -> Any:
        return self._noted(self._game.judge, args, exact)

    def judge_both(self, *args: Any, exact: bool = False) -> Any:
        return self._noted(self._game.judge_both, args, exact)

    def _noted(self, judge: Any, args: Any, exact: bool) -> Any:
        if exact:
            self._seen.asked.add(self._seen.phase)
        return judge(*args, exact=exact)


def step(name: str, allowed: Tf32, **more: Any) -> tuple[Seen, Trainer]:
    """One step with every phase."""
    trainer = tiny_trainer(tiny_family(name, **more), tf32=allowed)
    seen = Seen()
    seen.watch(trainer)
    with seen:
        trainer.step()
    assert not loose()
    return seen, trainer


CASES = [(name, {}) for name in sorted(FAMILIES)]
CASES += [(name, more) for name in ("dcgan", "biggan") for more in PENALTIES.values()]


@pytest.mark.parametrize("allowed", ["off", "main", "on"])
@pytest.mark.parametrize(("name", "more"), CASES)
def test_penalties_are_exact_and_the_rest_is_as_asked(name: str, more: dict[str, Any], allowed: Tf32) -> None:
    seen, trainer = step(name, allowed, **more)
    for phase in trainer.family.phases:
        main = allowed != "off" and not phase.exact
        assert seen.graph[phase.name] == {main}, phase.name
        if phase.name in seen.alone:  # made without a gradient
            assert seen.alone[phase.name] == {main or allowed == "on"}, phase.name
    assert {phase.name for phase in trainer.family.phases if phase.exact} == seen.asked


def test_the_switch_is_back_after_an_error() -> None:
    for exact in (False, True):
        with pytest.raises(ZeroDivisionError), of_turn("on", exact=exact), detached():
            raise ZeroDivisionError
        assert not loose()
        with detached():
            assert not loose()


def test_float32_on_a_gpu_is_arranged_for_tensor_cores_where_they_are_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Planes in full float32, channels innermost with TF32 and in bfloat16."""
    monkeypatch.setattr(layout._library, "loaded", lambda device: True)
    monkeypatch.setattr(layout._library, "backend", lambda: "auto")

    def prefers(kind: torch.dtype) -> bool:
        return layout._prefers_channels_last("cuda", kind)

    assert (prefers(torch.float32), prefers(torch.bfloat16)) == (False, True)
    with of_turn("main", exact=True):
        assert not prefers(torch.float32)
    with of_turn("main", exact=False):
        assert prefers(torch.float32)
    assert ops.arranged(torch.zeros(1, 2, 3, 3)).is_contiguous(memory_format=torch.channels_last)


def test_a_compiled_graph_follows_the_switch() -> None:
    def ask(x: torch.Tensor) -> torch.Tensor:
        return x + 1 if layout._uses_tf32() else x

    layout.settle_for_graphs()
    compiled = torch.compile(ask, backend="eager", fullgraph=True)
    found = []
    for exact in (True, False, True, False):
        with of_turn("main", exact=exact):
            found.append(float(compiled(torch.zeros(()))))
    assert found == [0, 1, 0, 1]

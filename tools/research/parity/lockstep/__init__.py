"""Our training loop in lockstep with other projects': same weights, reals and random numbers, step by step.

Beside the distance between both stands the distance that moving our own weights by 1e-7 causes in our own
loop: training amplifies rounding, and two loops of one law are as far apart as that. Where ours and theirs
differ by law, a peer's module says so (`LAWS`), and both runs are shown: with the law aligned, and as they
are. Nothing of theirs stands here: what can be is run as it stands, in a checkout that the user names.

A peer's module offers

- `PEER: str`, its name; the module's own if it has none;
- `LAWS: tuple[str, ...]`, and what "aligned" does about them;
- `setting(small, aligned) -> LoopSetting`, large for people, small for tests;
- `run(checkout, setting, aligned, step, after)`, their loop: `step` before each of its steps, `after` with
  its state after it;
- if it can train by itself (`tools.learning_race`), `alone(checkout, setting, course)`; `samples(generator,
  z, classes)`; and what of our configurations it takes: `CONFIG`, the family's class; `FOLLOWED`, the keys
  that it is told; `EQUAL`, pairs of keys that must agree; `STEP_BATCHES`, how many batches of reals a step
  takes.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor

from pipeline.config.families import GRAFConfig, SG2ImConfig
from tools.research.parity import GRADIENT, offering, whole
from tools.research.parity.lockstep.ours import Ours, State, TurnInputs
from tools.research.parity.lockstep.recorded import Digest, kept

MOVED, FACTOR = 1e-7, 10.0
"""How far our weights are moved for the yardstick, and how many times it a peer may be away."""
_ROUNDING = {"exp_avg": GRADIENT, "exp_avg_sq": 1e-5}
"""Of Adam's moments more is allowed where the yardstick is small: sums in another order, and in the first, a
single gradient, the kinks of ReLUs."""

NOT_DRIVEN: Mapping[str, str] = {
    "rosinality": "not yet; its networks have 512 channels up to 32 pixels, so that even a step of the "
    "smallest takes long on a CPU",
    "pytorch_GAN_zoo": "its weights are ours times constants that differ by layer, and each unit of its "
    "first layer has a bias of its own. Adam's steps are of one size in each one's own weights, so that the "
    "first step already leads elsewhere. Outputs and gradients are compared without --train",
    GRAFConfig().name: "its loop is not offered by itself. Outputs, losses and gradients are compared "
    "without --train",
    "pixel-cnn": "it needs TensorFlow 1. Outputs, the likelihood and gradients are compared without --train",
    "basicsr": "its training needs its own data sets. Outputs and gradients are compared without --train",
    "lama": "its training needs a segmentation network and pytorch_lightning. Outputs and gradients are "
    "compared without --train",
    "pix2pixhd": "its training needs folders of label maps and the weights of VGG19. Outputs, losses and "
    "gradients are compared without --train",
    SG2ImConfig().name: "its training needs the images of COCO. Outputs and gradients are compared without "
    "--train",
}
"""Peers whose loop is not driven beside ours, and why."""


@dataclass(frozen=True)
class Distance:
    """After a step, of one quantity: |ours - theirs| / |theirs|, and |ours moved - ours| / |ours|. aligned:
    whether both loops are of one law."""

    step: int
    what: str
    theirs: float
    yardstick: float
    aligned: bool

    @property
    def ok(self) -> bool:
        """Theirs is about as far as rounding takes ours; of loops of other laws nothing is asked."""
        return not self.aligned or self.theirs <= allowed(self.what, self.yardstick)


def allowed(what: str, yardstick: float) -> float:
    """The largest distance of a quantity between loops of one law."""
    return max(FACTOR * yardstick, _ROUNDING.get(what.rpartition(" ")[2], FACTOR * MOVED))


def loops() -> dict[str, ModuleType]:
    """The modules that run a peer's loop, by its name."""
    return offering(sys.modules[__name__], "run")


def lockstep(
    loop: Any, checkout: Path, steps: int, *, small: bool, aligned: bool
) -> tuple[list[Distance], list[Digest]]:
    """`steps` steps of both loops: distances after each, and digests of theirs after steps 1, 2, 4, ..."""
    setting = loop.setting(small=small, aligned=aligned)
    ours, moved = Ours(setting), Ours(setting, MOVED)
    measured: list[Distance] = []
    digests: list[Digest] = []
    done = 0

    def step() -> list[TurnInputs]:
        moved.step()
        return ours.step()

    def after(theirs: State) -> bool:
        nonlocal done
        done += 1
        measured.extend(distances(done, ours.state(), moved.state(), theirs, aligned))
        if small and (done & (done - 1) == 0 or done == steps):
            digests.extend(kept(theirs, done, {d.what: d.yardstick for d in measured if d.step == done}))
        return done >= steps

    loop.run(checkout, setting, aligned=aligned, step=step, after=after)
    return measured, digests


def distances(step: int, ours: State, moved: State, theirs: State, aligned: bool) -> list[Distance]:
    """Returns the distances of all quantities that the peer has."""
    return [
        Distance(step, what, apart(ours[what], wanted), apart(moved[what], ours[what]), aligned)
        for what, wanted in theirs.items()
        if wanted
    ]


def apart(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> float:
    """Returns |ours - theirs| / |theirs| of whole vectors. Raises KeyError if their names differ, and
    RuntimeError if their sizes do."""
    if ours.keys() != theirs.keys():
        raise KeyError(f"only one of both has {sorted(ours.keys() ^ theirs.keys())[:4]}")
    return whole((ours[name], tensor.reshape(ours[name].shape)) for name, tensor in theirs.items())

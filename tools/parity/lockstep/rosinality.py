"""Lockstep with rosinality's stylegan2-pytorch."""

from __future__ import annotations

import contextlib
import importlib
import io
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from pipeline.config.families import StyleGAN2Config
from pipeline.models.stylegan2.foreign import rosinality_name
from tools.parity.lockstep.ours import MOMENTS, After, Setting, State, Step, Turn
from tools.parity.lockstep.stylegan2 import Drawn, noise_shapes
from tools.parity.lockstep.supply import Supply
from tools.parity.rosinality import NEEDED
from tools.parity.stylegan2 import RULES, as_theirs, fill
from tools.peers import isolated

LAWS = (
    "the order: theirs lets the discriminator go first, then R1; ours the generator. Ours is driven in "
    "their order",
    "the path-length mean: ours is of the batches before, theirs of this one too, which also sends a "
    "hundredth of the penalty's gradient through it",
    "no w_avg, and the average's decay is that of batches of 32, whatever the batch: ours is set to it",
    "ADA is left out: theirs moves p within a step, between the discriminator's turn and R1",
)
"""Aligned, theirs follows our law in the path-length mean."""

TOO_LARGE = "its networks have 512 channels up to 32 pixels, too many for a test"
"""Why nothing is recorded."""

_ORDER = ("discriminator", "r1", "generator", "path_length")
_START = 16  # their count of steps: turns are due at multiples of 4 and 16, pictures at those of 100
_DECAY_IMAGES, _DECAY_BATCH = 10_000, 32


def setting(*, small: bool, aligned: bool) -> Setting:
    """16px with 512 channels: they are as wide as that up to 32px."""
    batch = 4
    family = {
        "name": StyleGAN2Config().name,
        "channel_base": 16384,
        "clamp": None,
        "ema_half_life_images": batch * _DECAY_IMAGES // _DECAY_BATCH,
    }
    spec = {"height": 16, "width": 16, "channels": 3, "classes": 0}
    return Setting(family, spec, batch, RULES, _ORDER)


class _Bar:
    """Stands in for tqdm and wandb: their loop tells it when a step is over."""

    def __init__(self, over: Any) -> None:
        self._over = over

    def __call__(self, steps: Iterable[int], **_: Any) -> _Bar:
        self._steps = steps
        return self

    def __iter__(self) -> Iterator[int]:
        for index in self._steps:
            yield index
            if self._over():
                return

    def set_description(self, _: str) -> None:
        return


def run(checkout: Path, setting: Setting, *, aligned: bool, step: Step, after: After) -> None:
    """Their loop; `step` makes ours go on by one step, and is called before each of theirs."""
    with isolated(checkout, stand_ins=NEEDED):
        train: Any = importlib.import_module("train")
        nets = _Networks(importlib.import_module("model"), setting)
        supply = Supply()
        if aligned:
            _align(train, nets)

        def batches() -> Iterator[Tensor]:
            while True:
                turns = step()
                _feed(supply, turns, setting)
                yield turns[0].reals.images.clone()

        def over() -> bool:
            supply.finish()
            return after(nets.state())

        with _stood_in(train, supply, over):
            train.train(
                _options(setting), batches(), nets.generator, nets.discriminator,
                nets.optimizers["generator"], nets.optimizers["discriminator"], nets.average, "cpu",
            )  # fmt: skip


class _Networks:
    """Theirs, filled, with Adam by their rule, and what their loop has become."""

    def __init__(self, model: Any, setting: Setting) -> None:
        config, side = setting.config, setting.spec["height"]
        self._levels = side.bit_length() - 3
        self.generator, self.average = (
            model.Generator(side, config.w_dim, config.mapping_layers, channel_multiplier=1) for _ in range(2)
        )
        self.discriminator = model.Discriminator(side, channel_multiplier=1)
        for network in (self.generator, self.average, self.discriminator):
            fill(network, self._rename)
        self.average.eval()
        self.mean_length: Tensor = torch.zeros(())
        self.optimizers = {
            "generator": _adam(self.generator, config.generator_rate, config.path_length_every),
            "discriminator": _adam(self.discriminator, config.discriminator_rate, config.r1_every),
        }

    def _rename(self, theirs: str) -> str | None:
        return rosinality_name(theirs, self._levels)

    def state(self) -> State:
        """By our names."""
        state: State = {"average": self._ours(self.average.named_parameters())}
        for net, network in (("generator", self.generator), ("discriminator", self.discriminator)):
            named = list(network.named_parameters())
            state[net] = self._ours(named)
            for moment in MOMENTS:
                held = self.optimizers[net].state
                state[f"{net}, {moment}"] = self._ours((n, held[p][moment]) for n, p in named if p in held)
        return state

    def _ours(self, named: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
        pairs = ((str(self._rename(name)), tensor.detach()) for name, tensor in named)
        return {own: as_theirs(own, tensor, tensor.shape) for own, tensor in pairs}


def _adam(network: Any, rate: float, every: int) -> torch.optim.Adam:
    """As the end of their script makes it."""
    ratio = every / (every + 1)
    return torch.optim.Adam(network.parameters(), lr=rate * ratio, betas=(0**ratio, 0.99**ratio))


def _align(train: Any, nets: _Networks) -> None:
    """The mean moves as theirs does; the penalty is against what it was before this batch."""
    regularise = train.g_path_regularize

    def before(images: Tensor, latents: Tensor, mean: Any, decay: float = 0.01) -> Any:
        loss, _, lengths = regularise(images, latents, mean, decay=0)
        moved = mean + decay * (lengths.detach().mean() - mean)
        return loss, moved, lengths

    train.g_path_regularize = before


@contextlib.contextmanager
def _stood_in(train: Any, supply: Supply, over: Any) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for owner, name, value in (
            (train, "tqdm", _Bar(over)),
            (random, "random", lambda: float(supply.take("uniform", ()))),
            (random, "randint", lambda low, high: int(supply.take("integers", ()))),
        ):
            stack.enter_context(mock.patch.object(owner, name, value))
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        stack.enter_context(supply.feeding())
        supply.put("normal", torch.zeros(1, 512))  # latents of pictures, which are never made
        yield


def _feed(supply: Supply, turns: Iterable[Turn], setting: Setting) -> None:
    for turn in turns:
        drawn = Drawn(turn)
        if turn.name == "r1":
            continue
        first, second, cutoff, mixes = (drawn.next(k) for k in ("normal", "normal", "integers", "uniform"))
        mixed = bool(mixes[0] < setting.config.style_mixing)
        supply.put("uniform", mixes[0])
        supply.put("normal", torch.stack([first, second]) if mixed else first)
        if mixed:
            supply.put("integers", cutoff[0] + 1)
        for noise in drawn.noise(noise_shapes(setting.spec["height"])):
            supply.put("normal", noise)
        if turn.name == "path_length":
            supply.put("normal", drawn.next("normal"))


def _options(setting: Setting) -> SimpleNamespace:
    config = setting.config
    return SimpleNamespace(
        iter=10**6,
        start_iter=_START,
        distributed=False,
        batch=setting.batch,
        latent=config.z_dim,
        n_sample=1,
        mixing=config.style_mixing,
        augment=False,
        augment_p=0,
        r1=config.r1_gamma,
        d_reg_every=config.r1_every,
        g_reg_every=config.path_length_every,
        path_regularize=config.path_length_weight,
        path_batch_shrink=config.path_length_shrink,
        wandb=False,
    )

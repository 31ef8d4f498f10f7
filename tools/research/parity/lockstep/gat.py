"""Lockstep with GAT's public code: its networks and losses, driven in the order of its training script, which
needs libraries and weights that have nothing to do with a step."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.config.families import GATConfig
from pipeline.contracts import ImageSpec, Net
from tools.research.parity.gat_code import (
    RULES,
    Numbers,
    fill,
    importing,
    played,
    their_loss,
    their_networks,
    translated,
)
from tools.research.parity.lockstep.ours import MOMENTS, After, LoopSetting, State, Step, TurnInputs

LAWS = (
    "z of the generator's turn: theirs has that of the discriminator's turn; ours draws another",
    "tables of positions: their networks mean them to stay as they are, but their script lets every "
    "parameter of the network whose turn it is learn; ours stay",
)
"""Aligned, theirs is given our z, and its tables stay. Alignment with DINOv2 is compared without --train."""

ORDER: tuple[Net, ...] = ("discriminator", "generator")


def setting(*, small: bool, aligned: bool) -> LoopSetting:
    """16px with 5 classes in 32 channels, or 32px with 10 classes in 96."""
    family = {
        "name": GATConfig().name,
        "width": 32 if small else 96,
        "depth": 4 if small else 8,
        "heads": 2 if small else 4,
        "label_dim": 48 if small else 512,
        "penalty_method": "finite_difference",
        "rate_width": None,
        "ema_half_life_images": 100,
    }
    side, classes = (16, 5) if small else (32, 10)
    spec = {"height": side, "width": side, "channels": 3, "classes": classes}
    return LoopSetting(family, spec, 4 if small else 8, RULES, ORDER)


def run(checkout: Path, setting: LoopSetting, *, aligned: bool, step: Step, after: After) -> None:
    """Their steps; `step` makes ours go on by one step, and is called before each of theirs."""
    about = setting.spec
    spec = ImageSpec(about["height"], about["width"], about["channels"], about["classes"])
    with importing(checkout) as made:
        theirs = Theirs(made, setting, spec)
        while True:
            theirs.step({turn.name: turn for turn in step()}, aligned=aligned)
            if after(theirs.state()):
                return


class Theirs:
    """Their networks, their average, and an optimizer of each network as their script has it."""

    def __init__(self, made: Any, setting: LoopSetting, spec: ImageSpec) -> None:
        config: GATConfig = setting.config
        self._spec, self._config = spec, config
        self._pair = their_networks(made, config, spec)
        self.networks: dict[Net, nn.Module] = dict(
            zip(("generator", "discriminator"), self._pair, strict=True)
        )
        for net, network in self.networks.items():
            fill(net, network.train())
        self.average = copy.deepcopy(self.networks["generator"])
        self._loss = their_loss(made, config)
        self._loss.approximated_GP_std = config.penalty_step
        self._decay = 0.5 ** (setting.batch / config.ema_half_life_images)
        rates = {"generator": config.generator_rate, "discriminator": config.discriminator_rate}
        betas = config.adam_beta1, config.adam_beta2
        self.optimizers = {
            net: torch.optim.AdamW(
                network.parameters(), lr=rates[net], betas=betas, eps=config.adam_eps, weight_decay=0
            )
            for net, network in self.networks.items()
        }

    def step(self, turns: Mapping[str, TurnInputs], *, aligned: bool) -> None:
        """A step with what our turns used."""
        z = None if aligned else Numbers(turns[ORDER[0]].draws, self._spec).take("normal")
        for net in ORDER:
            self._turn(net, turns[net], z, aligned=aligned)
        with torch.no_grad():
            pairs = zip(self.average.parameters(), self.networks["generator"].parameters(), strict=True)
            for mean, parameter in pairs:
                mean.mul_(self._decay).add_(parameter, alpha=1 - self._decay)

    def _turn(self, net: Net, turn: TurnInputs, z: Tensor | None, *, aligned: bool) -> None:
        for each, network in self.networks.items():
            network.requires_grad_(each == net)
            if aligned:
                network.pos_embed.requires_grad_(False)
        value = played(self._loss, self._pair, net, turn.reals, turn.draws, self._spec, z)
        torch.autograd.backward(value.mean())
        assert self._config.clip_norm is not None
        nn.utils.clip_grad_norm_(self.networks[net].parameters(), self._config.clip_norm)
        self.optimizers[net].step()
        self.optimizers[net].zero_grad(set_to_none=True)

    def state(self) -> State:
        """What they have become, by our names."""
        state: State = {"average": translated("generator", dict(self.average.named_parameters()))}
        for net, network in self.networks.items():
            named = dict(network.named_parameters())
            state[net] = translated(net, named)
            held = self.optimizers[net].state
            for moment in MOMENTS:
                moments = {name: held[p][moment] for name, p in named.items() if p in held}
                state[f"{net}, {moment}"] = translated(net, moments)
        return state

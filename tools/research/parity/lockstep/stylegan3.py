"""Lockstep with StyleGAN3's authors' code."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from pipeline.config.families import StyleGAN3Config
from pipeline.models.stylegan2.foreign import ada_name
from pipeline.models.stylegan3.foreign import stylegan3_name
from tools.research.parity.lockstep import stylegan2_in_stylegan3
from tools.research.parity.lockstep.nvidia import Course, Reals, drive, train_alone
from tools.research.parity.lockstep.ours import After, LoopSetting, State, Step, TurnInputs
from tools.research.parity.lockstep.stylegan2 import Drawn
from tools.research.parity.lockstep.stylegan2_ada import AGREE, ALL, as_ours, augmenting, moments
from tools.research.parity.lockstep.supply import Supply
from tools.research.parity.stylegan2 import fill
from tools.research.parity.stylegan3_code import RULES, Magnitudes, importing, options_of

LAWS = (
    "magnitudes: theirs move within the discriminator's turn, layer by layer, so that its fakes are of those "
    "that moved already; ours after the step",
    *(law for law in stylegan2_in_stylegan3.LAWS if not law.startswith(("w_avg", "the path-length"))),
)
"""Aligned, theirs follows our law, and the augmentation is of the groups that agree."""

CONFIG, STEP_BATCHES = StyleGAN3Config, 1
FOLLOWED = frozenset({
    *("name", "z_dim", "w_dim", "mapping_layers", "w_avg_decay", "low_precision_levels", "clamp", "ada"),
    *("channel_base", "channel_max", "layers", "critical_layers", "kernel", "radial", "margin"),
    *("first_cutoff", "first_stopband", "last_stopband_rel", "filter_size", "output_scale"),
    *("magnitude_half_life_images", "blur_sigma", "blur_images", "label_mapping_layers"),
    *("discriminator_channel_base", "discriminator_channel_max", "minibatch_stddev_group"),
    *("r1_gamma", "r1_every", "generator_rate", "discriminator_rate", "adam_beta1", "adam_beta2", "adam_eps"),
    *("ema_half_life_images", "ema_ramp"),
})  # fmt: skip
EQUAL: tuple[tuple[str, str], ...] = ()

ORDER = ("generator", "discriminator", "r1")
_LOSS = "training.loss.StyleGAN2Loss"
_GENERATOR, _DISCRIMINATOR = (
    "training.networks_stylegan3.Generator",
    "training.networks_stylegan2.Discriminator",
)
samples = stylegan2_in_stylegan3.samples


def setting(*, small: bool, aligned: bool) -> LoopSetting:
    """Config R with a blur that goes within 16 images, at 16px with 5 classes, or T at 64px."""
    family: dict[str, Any] = {
        "name": StyleGAN3Config().name,
        "clamp": None,
        "r1_gamma": 1.0,
        "magnitude_half_life_images": 200,
        "ema_half_life_images": 100,
        "ema_ramp": 0.5,
        "ada": {"mode": "adaptive", "p": 0.3, "adjust_images": 400, "kinds": AGREE if aligned else ALL},
    }
    if small:
        family |= {"kernel": 1, "radial": True, "blur_sigma": 1.6, "blur_images": 16, "r1_every": 4}
        family |= {"z_dim": 24, "w_dim": 16, "layers": 4, "margin": 4, "channel_base": 128, "channel_max": 16}
        family |= {
            "discriminator_channel_base": 128,
            "discriminator_channel_max": 16,
            "label_mapping_layers": 2,
        }
        family["ada"] |= {"every": 2}
        return LoopSetting(family, {"height": 16, "width": 16, "channels": 3, "classes": 5}, 4, RULES, ORDER)
    family |= {"channel_base": 1024, "channel_max": 64}
    family |= {"discriminator_channel_base": 2048, "discriminator_channel_max": 128}
    return LoopSetting(family, {"height": 64, "width": 64, "channels": 3, "classes": 0}, 4, RULES, ORDER)


def run(checkout: Path, setting: LoopSetting, *, aligned: bool, step: Step, after: After) -> None:
    """Their loop; `step` makes ours go on by one step, and is called before each of theirs."""
    supply, laws = Supply(), _Laws(aligned)

    def batches() -> list[TurnInputs]:
        turns = step()
        _feed(supply, turns, setting)
        return turns[:1]  # all turns of a step see one batch

    def made(kind: str, constructed: Any) -> None:
        if kind in (_GENERATOR, _DISCRIMINATOR):
            fill(constructed, stylegan3_name if kind == _GENERATOR else ada_name, RULES)
        if kind == _LOSS:
            laws.apply(constructed)

    def ended(variables: Mapping[str, Any]) -> bool:
        supply.finish()
        return after(_state(variables))

    with importing(checkout):
        drive(_options(setting), reals=Reals(setting.spec, batches), supply=supply, made=made, after=ended)


def alone(checkout: Path, setting: LoopSetting, course: Course) -> None:
    """Their loop as it stands, by its own laws and numbers."""
    with importing(checkout):
        train_alone(_options(setting), course)


class _Laws(stylegan2_in_stylegan3.Laws):
    def apply(self, loss: Any) -> None:
        super().apply(loss)
        self._magnitudes = Magnitudes(loss.G) if self._aligned else None

    def after_turn(self, loss: Any, phase: str) -> None:
        super().after_turn(loss, phase)
        if self._magnitudes is not None:
            self._magnitudes.move()


def _feed(supply: Supply, turns: Iterable[TurnInputs], setting: LoopSetting) -> None:
    """They draw z of all phases first, due or not."""
    drawn = {turn.name: Drawn(turn) for turn in turns}
    z = [drawn[name].next("normal") for name in ORDER if name != "r1"]
    supply.put("normal", torch.cat([*z, torch.zeros_like(z[0])]))
    for name, turn in drawn.items():
        for _ in range(2 if name == "discriminator" else 1):
            turn.augmented(supply, setting.config.ada.kinds)


def _options(setting: LoopSetting) -> dict[str, Any]:
    """Their loop's settings."""
    config = setting.config
    generator, discriminator = options_of(config, setting.batch)
    adam = {
        "class_name": "torch.optim.Adam",
        "betas": [config.adam_beta1, config.adam_beta2],
        "eps": config.adam_eps,
    }
    return {
        "G_kwargs": {"class_name": _GENERATOR, **generator},
        "D_kwargs": {"class_name": _DISCRIMINATOR, **discriminator},
        "G_opt_kwargs": {**adam, "lr": config.generator_rate},
        "D_opt_kwargs": {**adam, "lr": config.discriminator_rate},
        "loss_kwargs": {
            "class_name": _LOSS,
            "r1_gamma": config.r1_gamma,
            "blur_init_sigma": config.blur_sigma,
            "blur_fade_kimg": config.blur_images / 1000,
        },
        **augmenting(config.ada),
        "G_reg_interval": None,
        "D_reg_interval": config.r1_every,
        "ema_kimg": config.ema_half_life_images / 1000,
        "ema_rampup": config.ema_ramp,
        "batch_size": setting.batch,
        "batch_gpu": setting.batch,
    }


def _state(variables: Mapping[str, Any]) -> State:
    generator, discriminator = variables["G"], variables["D"]
    optimizers = {phase["name"]: phase["opt"] for phase in variables["phases"]}
    magnitudes = {n: x for n, x in generator.named_buffers() if n.endswith("magnitude_ema")}
    return {
        "generator": as_ours(generator.named_parameters(), stylegan3_name),
        "discriminator": as_ours(discriminator.named_parameters()),
        "average": as_ours(variables["G_ema"].named_parameters(), stylegan3_name),
        **moments("generator", generator, optimizers["Gboth"], stylegan3_name),
        **moments("discriminator", discriminator, optimizers["Dmain"]),
        "ada p": {"": variables["augment_pipe"].p},
        "w_avg": {"": generator.mapping.w_avg},
        "magnitudes": as_ours(magnitudes.items(), stylegan3_name),
    }

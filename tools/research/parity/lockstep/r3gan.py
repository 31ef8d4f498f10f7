"""Lockstep with R3GAN's public code."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.config.families import R3GANConfig
from tools.research.parity.lockstep.nvidia import MULTIPLIERS, Course, Reals, drive, train_alone
from tools.research.parity.lockstep.ours import MOMENTS, After, LoopSetting, State, Step, TurnInputs
from tools.research.parity.lockstep.stylegan2 import Drawn
from tools.research.parity.lockstep.supply import Supply
from tools.research.parity.r3gan import RULES, fill, importing, translated

LAWS = (
    "blit and geometry: ours flips and turns pixels exactly, and takes the wavelet about its centre of mass; "
    "theirs passes everything through the filters, taken about their middle (images differ by hundredths)",
)
"""Aligned, the augmentation is of the groups that agree. Which reals the generator's turn sees is ours."""

CONFIG, STEP_BATCHES = R3GANConfig, 2
FOLLOWED = frozenset({
    *("name", "z_dim", "widths", "cardinalities", "blocks", "label_dim", "low_precision_levels"),
    *("burn_in_images", "adam_eps", "augment_color", "augment_kinds"),
    *("generator_rate", "generator_rate_end", "discriminator_rate", "discriminator_rate_end"),
    *("r1_gamma", "r1_gamma_end", "r2_gamma", "r2_gamma_end", "adam_beta2", "adam_beta2_end"),
    *("ema_half_life_images", "ema_half_life_images_end", "augment_p", "augment_p_end"),
})  # fmt: skip
"""Keys of our configuration that their loop is told; of all others it has our defaults."""
EQUAL = (
    ("generator_rate", "discriminator_rate"),
    ("generator_rate_end", "discriminator_rate_end"),
    ("r1_gamma", "r2_gamma"),
    ("r1_gamma_end", "r2_gamma_end"),
)
"""Keys for which their loop has one value."""

_AGREE, _ALL = ("color", "cutout"), ("blit", "geometry", "color", "cutout")
_STAGES = {True: ((32, 16, 16), (8, 4, 4)), False: ((256, 256, 128, 64, 32), (32, 32, 16, 8, 4))}


def setting(*, small: bool, aligned: bool) -> LoopSetting:
    """16px with 5 classes, or 64px with up to 256 channels; all that moves does so over 200 images."""
    widths, groups = _STAGES[small]
    side = 4 << (len(widths) - 1)
    family = {
        "name": R3GANConfig().name,
        "widths": widths,
        "cardinalities": groups,
        "blocks": [2] * len(widths),
        "r1_gamma": 1.0,
        "r1_gamma_end": 0.1,
        "r2_gamma": 1.0,
        "r2_gamma_end": 0.1,
        "burn_in_images": 200,
        "ema_half_life_images_end": 100,
        "augment_p_end": 0.5,
        "augment_kinds": _AGREE if aligned else _ALL,
    }
    spec = {"height": side, "width": side, "channels": 3, "classes": 5 if small else 0}
    return LoopSetting(family, spec, 4 if small else 8, RULES, ("discriminator", "generator"))


def run(checkout: Path, setting: LoopSetting, *, aligned: bool, step: Step, after: After) -> None:
    """Their loop; `step` makes ours go on by one step, and is called before each of theirs."""
    supply = Supply()

    def batches() -> list[TurnInputs]:
        turns = step()
        _feed(supply, turns, setting)
        return turns  # the discriminator's batch, then the generator's

    def made(kind: str, constructed: Any) -> None:
        if kind in ("training.networks.Generator", "training.networks.Discriminator"):
            fill(constructed.Model, generates=kind.endswith("Generator"))

    def ended(variables: Mapping[str, Any]) -> bool:
        supply.finish()
        return after(_state(variables))

    with importing(checkout):
        drive(
            _options(setting),
            reals=Reals(setting.spec, batches),
            supply=supply,
            made=made,
            after=ended,
        )


def alone(checkout: Path, setting: LoopSetting, course: Course) -> None:
    """Their loop as it stands, by its own laws and numbers."""
    with importing(checkout):
        train_alone(_options(setting), course)


def samples(generator: Any, z: Tensor, classes: Tensor) -> Tensor:
    """Images of a generator of theirs. classes: one-hot, [N, 0] without any."""
    images: Tensor = generator(z, classes)
    return images


def _feed(supply: Supply, turns: Iterable[TurnInputs], setting: LoopSetting) -> None:
    """They draw z of both phases first; the discriminator's turn judges reals before fakes."""
    drawn = [Drawn(turn) for turn in turns]
    for turn in drawn:
        supply.put("normal", turn.next("normal"))
    judge, make = drawn
    fakes = Supply()
    _augmented(judge, fakes, setting)
    _augmented(judge, supply, setting)
    supply.append(fakes)
    for _ in range(2):
        _augmented(make, supply, setting)


def _augmented(turn: Drawn, supply: Supply, setting: LoopSetting) -> None:
    """Ours has pipes of their own for colours and for what stands before and after them."""
    kinds = setting.config.augment_kinds
    place = kinds.index("color")
    for pipe in (kinds[:place], kinds[place : place + 1], kinds[place + 1 :]):
        if pipe:
            turn.augmented(supply, pipe)


def _options(setting: LoopSetting) -> dict[str, Any]:
    config = setting.config
    adam = {"class_name": "torch.optim.Adam", "lr": 0.0, "betas": [0.0, 0.0], "eps": config.adam_eps}
    shared = {"class_name": "training.networks.Generator", "ExpansionFactor": 2, "FP16Stages": []}
    labels = bool(setting.spec["classes"])
    columns = {"WidthPerStage": config.widths, "CardinalityPerStage": config.cardinalities}
    columns["BlocksPerStage"] = config.blocks
    embeddings = config.label_dim, config.widths[0]
    generator, discriminator = (
        {**shared, "ConditionEmbeddingDimension": width if labels else 0} for width in embeddings
    )
    generator |= {"NoiseDimension": config.z_dim, **{k: list(v) for k, v in columns.items()}}
    discriminator |= {"class_name": "training.networks.Discriminator"}
    discriminator |= {key: list(value[::-1]) for key, value in columns.items()}

    def schedule(name: str) -> dict[str, float]:
        start, end = getattr(config, name), getattr(config, f"{name}_end")
        return {"base_value": start, "final_value": end, "total_nimg": config.burn_in_images}

    color = dict.fromkeys(MULTIPLIERS["color"], config.augment_color)
    multipliers = {name: 1.0 for kind in config.augment_kinds for name in MULTIPLIERS[kind]}
    return {
        "G_kwargs": generator,
        "D_kwargs": discriminator,
        "G_opt_kwargs": adam,
        "D_opt_kwargs": adam,
        "loss_kwargs": {"class_name": "training.loss.R3GANLoss"},
        "augment_kwargs": {"class_name": "training.augment.AugmentPipe", **multipliers, **color},
        "lr_scheduler": schedule("generator_rate"),
        "beta2_scheduler": schedule("adam_beta2"),
        "gamma_scheduler": schedule("r1_gamma"),
        "ema_scheduler": schedule("ema_half_life_images"),
        "aug_scheduler": schedule("augment_p"),
        "batch_size": setting.batch,
        "g_batch_gpu": setting.batch,
        "d_batch_gpu": setting.batch,
    }


def _state(variables: Mapping[str, Any]) -> State:
    optimizers = {phase["name"]: phase["opt"] for phase in variables["phases"]}
    state: State = {"average": _ours(variables["G_ema"].Model.named_parameters())}
    for net, name in (("generator", "G"), ("discriminator", "D")):
        named = list(variables[name].Model.named_parameters())
        state[net] = _ours(named)
        for moment in MOMENTS:
            held = optimizers[name].state
            state[f"{net}, {moment}"] = _ours((key, held[parameter][moment]) for key, parameter in named)
    return state


def _ours(named: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    with torch.no_grad():
        return translated(dict(named))

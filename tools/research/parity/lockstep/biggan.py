"""Lockstep with BigGAN-PyTorch."""

from __future__ import annotations

import contextlib
import importlib
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.config.families import BigGANConfig
from pipeline.models.biggan.foreign import from_ajbrock
from tools.research.modules import isolated
from tools.research.parity.biggan import RULES, fill
from tools.research.parity.lockstep.ours import MOMENTS, After, LoopSetting, State, Step, TurnInputs
from tools.research.parity.lockstep.stylegan2 import Drawn
from tools.research.parity.lockstep.supply import Supply

PEER = "biggan-pytorch"
LAWS = (
    "the order: theirs lets the discriminator go first; ours the generator. Ours is driven in their order",
    "labels of fakes: theirs are uniform; ours those of the reals, which theirs is given",
    "the discriminator's passes: by default theirs takes reals and fakes in one, so that the spectral "
    "normalisation moves once; ours in two",
    "orthogonal regularisation: theirs adds half of the gradient of the paper's term, and is given twice "
    "its weight",
)
"""Aligned, theirs takes two passes (its option split_D)."""

_ORDER = ("discriminator", "generator")
_FILES, _STAND_INS = ("BigGAN.py", "utils.py", "train_fns.py"), ("h5py",)


def setting(*, small: bool, aligned: bool) -> LoopSetting:
    """32px with 5 classes and ch 4, or 64px with 10 classes and ch 32."""
    ch, side, classes = (4, 32, 5) if small else (32, 64, 10)
    family = {
        "name": BigGANConfig().name,
        "generator_channels": ch,
        "discriminator_channels": ch,
        "z_dim": 32 if small else 100,
        "shared_dim": 128,
        "ema_half_life_images": 100,
        "ema_from_images": 0,
    }
    spec = {"height": side, "width": side, "channels": 3, "classes": classes}
    return LoopSetting(family, spec, 8, RULES, _ORDER)


def run(checkout: Path, setting: LoopSetting, *, aligned: bool, step: Step, after: After) -> None:
    """Their loop; `step` makes ours go on by one step, and is called before each of theirs."""
    supply = Supply()
    with isolated(checkout, stand_ins=_STAND_INS), contextlib.redirect_stdout(io.StringIO()):
        module, utils, functions = (importlib.import_module(Path(name).stem) for name in _FILES)
        config = setting.config
        made = _networks(module, setting)
        z, y = utils.prepare_z_y(setting.batch, config.z_dim, setting.spec["classes"], device="cpu")
        decay = 0.5 ** (setting.batch * config.discriminator_repeats / config.ema_half_life_images)
        counted = {"itr": 0}
        train = functions.GAN_training_function(
            made["generator"], made["discriminator"], module.G_D(made["generator"], made["discriminator"]),
            z, y, utils.ema(made["generator"], made["average"], decay), counted,
            _options(setting, split=aligned),
        )  # fmt: skip
        with supply.feeding():
            while True:
                counted["itr"] += 1
                turns = step()
                _feed(supply, turns)
                judged = [turn.reals for turn in turns if turn.name == "discriminator"]
                train(torch.cat([b.images for b in judged]), torch.cat([_labels(b.labels) for b in judged]))
                supply.finish()
                if after(_state(made)):
                    return


def _labels(labels: Tensor | None) -> Tensor:
    assert labels is not None
    return labels


def _networks(module: Any, setting: LoopSetting) -> dict[str, Any]:
    config, spec = setting.config, setting.spec
    common = {
        "resolution": spec["height"],
        "n_classes": spec["classes"],
        "SN_eps": config.spectral_eps,
        "BN_eps": config.norm_eps,
        "adam_eps": config.adam_eps,
        "skip_init": True,
    }
    makes = {"G_ch": config.generator_channels, "dim_z": config.z_dim, "shared_dim": config.shared_dim}
    makes |= {"hier": True, "G_shared": True, "G_attn": "64", "G_lr": config.generator_rate}
    judges = {"D_ch": config.discriminator_channels, "D_lr": config.discriminator_rate}
    made = {
        "generator": module.Generator(**makes, **common),
        "discriminator": module.Discriminator(**judges, **common),
        "average": module.Generator(**makes, **common, no_optim=True),
    }
    for network in made.values():
        fill(network)
    return made


def _options(setting: LoopSetting, *, split: bool) -> Mapping[str, Any]:
    config: BigGANConfig = setting.config
    return {
        "batch_size": setting.batch,
        "toggle_grads": True,
        "num_D_steps": config.discriminator_repeats,
        "num_D_accumulations": 1,
        "num_G_accumulations": 1,
        "split_D": split,
        "D_ortho": 0.0,
        "G_ortho": 2 * config.orthogonal_weight,
        "ema": True,
    }


def _feed(supply: Supply, turns: Iterable[TurnInputs]) -> None:
    for turn in turns:
        supply.put("normal", Drawn(turn).next("normal"))
        supply.put("integers", _labels(turn.reals.labels))


def _state(made: Mapping[str, Any]) -> State:
    state: State = {}
    for net, network in made.items():
        named = list(network.named_parameters())
        state[net] = _ours(named)
        if net != "average":
            held = network.optim.state
            for moment in MOMENTS:
                state[f"{net}, {moment}"] = _ours((n, held[p][moment]) for n, p in named)
    return state


def _ours(named: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    renamed = from_ajbrock({**{name: tensor.detach() for name, tensor in named}, "marker.u0": torch.zeros(1)})
    return {name: tensor for name, tensor in renamed.items() if name != "marker.u"}

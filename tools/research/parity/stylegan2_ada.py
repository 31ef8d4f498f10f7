"""StyleGAN2 against stylegan2-ada-pytorch."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.contracts import ImageSpec
from pipeline.importing import Part
from pipeline.models.stylegan2.foreign import STYLEGAN2_ADA, ada_name
from tools.research.modules import isolated
from tools.research.parity import ParityRow
from tools.research.parity.recorded import RecordedNetwork
from tools.research.parity.stylegan2 import (
    PATH_MEAN,
    R1_GAMMA,
    Inputs,
    Theirs,
    cases,
    fill,
    forward_rows,
    gradient_rows,
    plain_settings,
)

PEER = "stylegan2-ada-pytorch"
LANDMARK = "training/networks.py"
SMALL = {"z_dim": 24, "w_dim": 16, "mapping_layers": 2, "channel_base": 256, "channel_max": 32}


def compare(checkout: Path) -> list[ParityRow]:
    """Networks of config f at 1024px and 256px and a small one with classes; gradients at 256px."""
    with isolated(checkout, stand_ins=("requests",)):
        return rows("training.networks", AdaLosses)


def record(checkout: Path) -> list[RecordedNetwork]:
    """The outputs that tests keep."""
    with isolated(checkout, stand_ins=("requests",)):
        return cases(lambda changes, spec: built("training.networks", changes, spec))


def rows(networks: str, losses: Any) -> list[ParityRow]:
    """networks: their module. losses: their turns, made from generator and discriminator."""
    compared = []
    for name, changes, spec, images, judged in (
        ("1024px, config f", {}, ImageSpec(1024, 1024, 3), 1, 2),
        ("256px, config f", {}, ImageSpec(256, 256, 3), 2, 4),
        ("32px, 10 classes", {**SMALL, "clamp": 2.0}, ImageSpec(32, 32, 3, 10), 4, 8),
        ("32px, residual G, skip D", {**SMALL, "other": True}, ImageSpec(32, 32, 1), 4, 8),
    ):
        pair = built(networks, {**changes, "group": min(judged, 4)}, spec)
        compared += forward_rows(name, pair, STYLEGAN2_ADA, images=images, judged=judged)
    pair = built(networks, {"channel_base": 16384}, ImageSpec(256, 256, 3))
    turns = losses(pair.generator, pair.discriminator)
    return compared + gradient_rows("256px", pair, STYLEGAN2_ADA, turns, count=4)


def built(networks: str, changes: Mapping[str, Any], spec: ImageSpec) -> Theirs:
    """Their pair, filled. changes: keys of our config; other: the other architectures; group: of images."""
    module = importlib.import_module(networks)
    widths = {
        key: changes.get(key, default) for key, default in (("channel_base", 32768), ("channel_max", 512))
    }
    layers = {"num_layers": changes.get("mapping_layers", 8)}
    shared = {**widths, "num_fp16_res": 0, "conv_clamp": changes.get("clamp")}
    size = {"c_dim": spec.classes, "img_resolution": spec.height, "img_channels": spec.channels}
    other = "other" in changes
    how = {**shared, "architecture": "resnet" if other else "skip"}
    generator = module.Generator(
        z_dim=changes.get("z_dim", 512),
        w_dim=changes.get("w_dim", 512),
        mapping_kwargs=layers,
        **({"synthesis_kwargs": how} if module.__name__ == "training.networks" else how),
        **size,
    ).eval()
    discriminator = module.Discriminator(
        **size,
        **shared,
        architecture="skip" if other else "resnet",
        mapping_kwargs=layers,
        epilogue_kwargs={"mbstd_group_size": changes.get("group", 4)},
    ).eval()
    for network in (generator, discriminator):
        fill(network, ada_name)
    return _theirs(generator, discriminator, spec)


def _theirs(generator: Any, discriminator: Any, spec: ImageSpec) -> Theirs:
    def one_hot(labels: Tensor | None, count: int) -> Tensor:
        return torch.zeros(count, 0) if labels is None else F.one_hot(labels, spec.classes).float()

    def parts() -> dict[str, Part]:
        pair = {"G_ema": generator, "D": discriminator}
        return {name: Part("", net.state_dict(), plain_settings(net)) for name, net in pair.items()}

    return Theirs(
        generator,
        discriminator,
        ada_name,
        parts,
        latents=lambda z, labels: generator.mapping(z, one_hot(labels, len(z)))[:, 0],
        images=lambda z, labels, psi: generator(
            z, one_hot(labels, len(z)), truncation_psi=psi, noise_mode="const"
        ),
        logits=lambda images, labels: discriminator(images, one_hot(labels, len(images))),
    )


class ConstantNoise(nn.Module):
    """Their synthesis with its stored noise."""

    def __init__(self, synthesis: nn.Module) -> None:
        super().__init__()
        self.synthesis = synthesis

    def forward(self, ws: Tensor, **_: Any) -> Any:
        return self.synthesis(ws, noise_mode="const")


class AdaLosses:
    """Their loss, a turn at a time."""

    TURNS: Mapping[str, str] = {
        "generator": "Gmain",
        "path_length": "Greg",
        "discriminator": "Dmain",
        "r1": "Dreg",
    }
    SETTINGS: Mapping[str, Any] = {
        "style_mixing_prob": 0,
        "r1_gamma": R1_GAMMA,
        "pl_batch_shrink": 1,
        "pl_decay": 0,
        "pl_weight": 2,
    }

    def __init__(self, generator: Any, discriminator: nn.Module) -> None:
        self.loss = self.made(
            importlib.import_module("training.loss").StyleGAN2Loss, generator, discriminator
        )
        self.loss.pl_mean.fill_(PATH_MEAN)

    def made(self, kind: Any, generator: Any, discriminator: nn.Module) -> Any:
        """Their object."""
        synthesis = ConstantNoise(generator.synthesis)
        return kind(torch.device("cpu"), generator.mapping, synthesis, discriminator, **self.SETTINGS)

    def __call__(self, turn: str, inputs: Inputs) -> None:
        self.run(self.TURNS[turn], inputs, torch.zeros(len(inputs.z), 0))

    def run(self, phase: str, inputs: Inputs, labels: Tensor) -> None:
        """One of their phases."""
        self.loss.accumulate_gradients(
            phase=phase, real_img=inputs.reals, real_c=labels, gen_z=inputs.z, gen_c=labels, sync=True, gain=1
        )

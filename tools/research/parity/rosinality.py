"""StyleGAN2 against rosinality's stylegan2-pytorch."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.importing import Part
from pipeline.models.stylegan2.foreign import ROSINALITY, rosinality_name
from tools.research.modules import isolated
from tools.research.parity import ParityRow
from tools.research.parity.filling import drawn
from tools.research.parity.stylegan2 import (
    PATH_MEAN,
    R1_GAMMA,
    RULES,
    Inputs,
    Theirs,
    fill,
    forward_rows,
    gradient_rows,
)

LANDMARK = "op/upfirdn2d.py"
NEEDED = ("lmdb", "wandb", "tqdm")  # by its training script, for what is not run here


def compare(checkout: Path) -> list[ParityRow]:
    """Networks of config f at 1024px and 256px; gradients at 256px with half as many channels."""
    with isolated(checkout, stand_ins=NEEDED):
        rows = []
        for size, images in ((1024, 1), (256, 2)):
            rows += forward_rows(f"{size}px, config f", _built(size, 2), ROSINALITY, images=images, judged=4)
        pair = _built(256, 1)
        losses = _losses(importlib.import_module("train"), pair)
        return rows + gradient_rows("256px", pair, ROSINALITY, losses, count=4)


def _built(size: int, multiplier: int) -> Theirs:
    model = importlib.import_module("model")
    generator = model.Generator(size, 512, 8, channel_multiplier=multiplier).eval()
    discriminator = model.Discriminator(size, channel_multiplier=multiplier).eval()
    levels = size.bit_length() - 3
    average = drawn("mapping.w_avg", (512,), RULES)

    def rename(theirs: str) -> str | None:
        return rosinality_name(theirs, levels)

    def parts() -> dict[str, Part]:
        return {
            "": Part("", {"latent_avg": average}),
            "g_ema": Part("", generator.state_dict()),
            "d": Part("", discriminator.state_dict()),
        }

    def images(z: Tensor, labels: Tensor | None, psi: float) -> Any:
        mean = average[None]
        return generator([z], truncation=psi, truncation_latent=mean, randomize_noise=False)[0]

    for network in (generator, discriminator):
        fill(network, rename)
    return Theirs(
        generator,
        discriminator,
        rename,
        parts,
        latents=lambda z, labels: generator.style(z),
        images=images,
        logits=lambda pictures, labels: discriminator(pictures),
    )


def _losses(train: Any, pair: Theirs) -> Any:
    generator, discriminator = pair.generator, pair.discriminator

    def generated(inputs: Inputs) -> Any:
        return generator([inputs.z], randomize_noise=False, return_latents=True)

    def turn(name: str, inputs: Inputs) -> None:
        if name == "generator":
            loss = train.g_nonsaturating_loss(discriminator(generated(inputs)[0]))
        elif name == "discriminator":
            fakes = generated(inputs)[0].detach()
            loss = train.d_logistic_loss(discriminator(inputs.reals), discriminator(fakes))
        elif name == "r1":
            reals = inputs.reals.clone().requires_grad_()
            loss = train.d_r1_loss(discriminator(reals), reals) * R1_GAMMA / 2
        else:
            images, latents = generated(inputs)
            loss = 2 * train.g_path_regularize(images, latents, torch.tensor(PATH_MEAN), decay=0)[0]
        loss.backward()

    return turn
